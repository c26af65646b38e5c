import { builtInStrategies, type Trainer } from "@rondo/algorithms";
import { inMemoryData, loadDigits } from "@rondo/datasets";
import { permutation, randomFromSeed } from "@rondo/kernels";
import { createOnnxTrainer, mlp } from "@rondo/trainer-onnx";
import { createTfjsTrainer, denseClassifier } from "@rondo/trainer-tfjs";
import { expect, test } from "vitest";
import { simulate } from "../../../packages/simulation/src/simulate.js";

const frl = builtInStrategies.find(({ name }) => name === "frl")!;
const SIZES = { inputs: 64, hidden: [32], classes: 10 };
const CLIENTS = 4;

async function run(trainer: Trainer) {
	const digits = await loadDigits("train");
	const { layout, weights } = denseClassifier({ ...SIZES, random: randomFromSeed("ranked training") });
	const order = permutation(randomFromSeed("examples"), digits.labels.length);
	const result = await simulate({
		strategy: frl,
		options: { cohortSize: CLIENTS },
		layout,
		initial: weights,
		publicSeed: "3c".repeat(32),
		secretSeed: "4d".repeat(32),
		clients: Array.from({ length: CLIENTS }, (_, i) => ({
			id: `c${i}`,
			data: inMemoryData({ ...digits, rows: order.slice(100 * i, 100 * (i + 1)) }),
			trainer,
		})),
		rounds: 5,
		evaluate: async (at) => ({ ...(await trainer.evaluate(at, inMemoryData(await loadDigits("test")))) }),
		settings: { evaluateEvery: 5 },
	});
	expect([result.phase, result.refusals]).toEqual(["completed", []]);
	return { accuracy: result.rounds.at(-1)!.evaluation!.accuracy!, weights: result.weights! };
}

test("both trainers choose subnetworks of one network, and learn", async () => {
	const { layout } = denseClassifier({ ...SIZES, random: randomFromSeed("ranked training") });
	const onnx = await createOnnxTrainer({ manifest: mlp(SIZES).manifest, layout, device: "cpu", threads: 1 });
	const { architecture } = denseClassifier({ ...SIZES, random: randomFromSeed("ranked training") });
	const tfjs = await createTfjsTrainer({ architecture, layout, backend: "cpu" });
	const runs = [await run(onnx), await run(tfjs)];
	for (const { accuracy } of runs) expect(accuracy).toBeGreaterThan(0.5);
	// Rounding differs, and with it a few votes, but not the network whose edges are chosen.
	const both = [...runs[0]!.weights.keys()].filter((e) => runs[0]!.weights[e] !== 0 && runs[1]!.weights[e] !== 0);
	expect(both.length).toBeGreaterThan(1000);
	for (const e of both) expect(runs[0]!.weights[e]).toBe(runs[1]!.weights[e]);
	for (const { weights } of runs) expect(weights.filter((weight) => weight !== 0).length).toBe((64 * 32 + 32 * 10) / 2);
	await onnx.dispose();
	await tfjs.dispose?.();
});
