import { test } from "vitest";
import { layoutOfSpec } from "../../testkit/src/model-spec.js";
import { trainerConformance } from "../../testkit/src/trainer-conformance.js";
import { createOnnxTrainer } from "../src/session/trainer.js";
import { manifestOfSpec } from "./model-of-spec.js";

trainerConformance(
	test,
	(spec) => createOnnxTrainer({ manifest: manifestOfSpec(spec), layout: layoutOfSpec(spec), device: "cpu", threads: 1 }),
	{
		localTraining: true,
	},
);
