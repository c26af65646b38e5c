// How well FedAvg learns the digits while some clients lie: accuracy of each reducer under each attack.
import { createRegistry } from "@rondo/algorithms";
import { inMemoryData, loadDigits, partitionDirichlet } from "@rondo/datasets";
import { fillGaussian4, randomFromSeed, toHex } from "@rondo/kernels";
import { simulate } from "@rondo/simulation";
import { layoutFor, trainerFor } from "./perceptron.mjs";

export const CLIENTS = 20;
export const ATTACKERS = 4;
export const FACTOR = 10;
const HIDDEN = 32;
const CLASSES = 10;
const PIXELS = 64;
const ABS_MAX = 16;

const norm = (vector) => Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
const clamped = (vector) => vector.map((x) => Math.max(-ABS_MAX, Math.min(ABS_MAX, x)));

/** What a lying client sends instead of its update. */
export const ATTACKS = {
	none: (delta) => delta,
	"sign flip": (delta) => delta.map((x) => -FACTOR * x),
	noise(delta, client) {
		const drawn = fillGaussian4(client.secret.at("attack"), 0, new Float64Array(delta.length));
		const scale = (FACTOR * norm(delta)) / norm(drawn);
		return Float32Array.from(drawn, (x) => scale * x);
	},
};

/** Accuracy at the end, and whether the run failed before: weights that have grown without bound give losses that are no numbers. */
export async function accuracyOf(options, attack, { seed, rounds, alpha }) {
	const [train, test] = await Promise.all([loadDigits("train"), loadDigits("test")]);
	const fedavg = createRegistry().strategy("fedavg");
	const random = randomFromSeed(`digits ${seed}`);
	const parts = partitionDirichlet(train.labels, CLIENTS, alpha, random.at("parts"), { minPerClient: 8 });
	const layout = layoutFor(PIXELS, HIDDEN, CLASSES);
	const drawn = fillGaussian4(random.at("initial"), 0, new Float64Array(layout.length));
	const trainer = trainerFor(HIDDEN, CLASSES);
	const testData = inMemoryData(test);
	const isLiar = (id) => Number(id.slice(1)) < ATTACKERS;
	const strategy = {
		...fedavg,
		async train(task, client) {
			const work = await fedavg.train(task, client);
			return isLiar(client.id) ? { ...work, lanes: { delta: clamped(ATTACKS[attack](work.lanes.delta, client)) } } : work;
		},
	};
	const hex = (name) => toHex(new Uint8Array(random.at(name).words(0, new Uint32Array(8)).buffer));
	const { phase, weights } = await simulate({
		strategy,
		options: { learningRate: 0.3, batchSize: 16, localEpochs: 3, cohortSize: CLIENTS, quorum: CLIENTS, absMax: ABS_MAX, ...options },
		layout,
		// The scale of He's initialisation in both layers; what it gives the biases is small.
		initial: Float32Array.from(drawn, (x, j) => x * Math.sqrt(2 / (j < (PIXELS + 1) * HIDDEN ? PIXELS : HIDDEN))),
		publicSeed: hex("public"),
		secretSeed: hex("secret"),
		clients: parts.map((rows, i) => ({ id: `c${i}`, trainer, data: inMemoryData({ ...train, rows }) })),
		rounds,
		settings: { maxReplans: 0 },
		keepReports: false,
	});
	const { accuracy } = await trainer.evaluate(weights, testData);
	return { accuracy, failed: phase !== "completed" };
}
