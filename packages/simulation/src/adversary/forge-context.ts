import type { AnyStrategy, Plain, Plan, Work } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import type { WorkSpec } from "./spec.js";

/** A work that may still be changed. */
export interface HonestWork {
	readonly header: Plain;
	readonly lanes: Work["lanes"];
	readonly numExamples: number;
	readonly metrics: NonNullable<Work["metrics"]>;
}

/** What an attacker knows. */
export interface ForgeContext {
	readonly strategy: AnyStrategy;
	readonly config: unknown;
	readonly layout: Layout;
	readonly plan: Plan;
	/** Of this client and task, or of the group that colludes. */
	readonly random: Random;
	/** Whether the coordinator would take the report of this work. */
	accepts(work: HonestWork): boolean;
}

/** An attack that is not possible ends the simulation: it is no report that a coordinator could refuse. */
export const cannot = (spec: WorkSpec, reason: string): RondoError =>
	new RondoError("INVALID_ARGUMENT", `the attack ${spec.kind} is not possible: ${reason}`, {
		details: { field: "adversary", value: spec },
	});
