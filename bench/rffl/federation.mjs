import { builtInStrategies } from "@rondo/algorithms";
import { inMemoryData, loadDigits, partitionByClassCount, partitionIid, partitionPowerLaw } from "@rondo/datasets";
import { randomFromSeed, sha256, toHex } from "@rondo/kernels";
import { simulate } from "@rondo/simulation";
import { createOnnxTrainer, mlp } from "@rondo/trainer-onnx";
import { attacked, flippedLabels } from "./adversaries.mjs";

export const CLIENTS = 10;
export const ADVERSARIES = 2;
export const ROUNDS = 40;
export const WARMUP = 10;
const LEARNING_RATE = 0.1;
const DECAY = 0.977;
/** As the paper has it for MNIST. */
const BATCH = 32;

const rffl = builtInStrategies.find(({ name }) => name === "rffl");
const hex = (text) => toHex(sha256(new TextEncoder().encode(text)));
const blueprint = mlp({ inputs: 64, hidden: [64], classes: 10 });
const trainer = await createOnnxTrainer({ manifest: blueprint.manifest, layout: blueprint.layout, device: "cpu", threads: 1 });
const [train, test] = [await loadDigits("train"), await loadDigits("test")];
const testData = inMemoryData(test);

/** How the training examples are dealt to the clients. */
export const SPLITS = {
	uniform: (labels, clients, random) => partitionIid(labels.length, clients, random),
	"power law": (labels, clients, random) => partitionPowerLaw(labels.length, clients, 1, random),
	"class imbalance": (labels, clients, random) =>
		partitionByClassCount(
			labels,
			Array.from({ length: clients }, (_, i) => 1 + Math.floor((i * 10) / clients)),
			random,
		),
};

const nameOf = (i) => `client-${String(i).padStart(2, "0")}`;

async function accuracy(weights) {
	return (await trainer.evaluate(weights, testData)).accuracy;
}

/** What a client reaches by itself in as many epochs, at the same learning rates. */
async function standalone(initial, data, random) {
	const training = await trainer.begin(initial, { kind: "sgd" });
	const steps = Math.ceil(data.numExamples / BATCH);
	let step = 0;
	let learningRate = LEARNING_RATE;
	for (const batch of data.batches(BATCH, random)) {
		await training.step(batch, learningRate);
		if (++step % steps === 0) learningRate *= DECAY;
		if (step === ROUNDS * steps) break;
	}
	const weights = new Float32Array(initial.length);
	await training.read(weights);
	await training.dispose();
	return accuracy(weights);
}

/**
 * One run on the digits of UCI: 64-64-10 perceptrons, one epoch a round.
 * @param attack what the last `ADVERSARIES` of twelve clients do, "flipped labels" or a function of `ATTACKS`; none: ten honest ones
 */
export async function federation({ seed, split, attack, options = {} }) {
	const random = randomFromSeed(`rffl ${seed}`);
	const initial = blueprint.initialWeights(random.at("initial"));
	const adversaries = attack === undefined ? 0 : ADVERSARIES;
	// Adversaries hold an even share each; the rest is split among the honest.
	const shares = partitionIid(train.labels.length, CLIENTS + adversaries, random.at("adversaries"));
	const forHonest =
		adversaries === 0 ? Uint32Array.from(train.labels.keys()) : Uint32Array.from(shares.slice(0, CLIENTS).flatMap((part) => [...part]));
	const labels = Int32Array.from(forHonest, (row) => train.labels[row]);
	const rows = [
		...SPLITS[split](labels, CLIENTS, random.at("split")).map((part) => part.map((at) => forHonest[at])),
		...shares.slice(CLIENTS, CLIENTS + adversaries),
	];
	const flipped = flippedLabels(train.labels);
	const clients = rows.map((part, i) => ({
		id: nameOf(i),
		data: inMemoryData({ ...train, labels: i >= CLIENTS && attack === "flipped labels" ? flipped : train.labels, rows: part }),
		trainer,
	}));
	const hostile = new Set(clients.slice(CLIENTS).map(({ id }) => id));
	const strategy = typeof attack === "function" ? attacked(rffl, hostile, attack) : rffl;
	const removedIn = new Map();
	const result = await simulate({
		strategy,
		options: {
			learningRate: LEARNING_RATE,
			lrDecay: DECAY,
			batchSize: BATCH,
			localEpochs: 1,
			gamma: 0.5,
			alpha: 0.95,
			warmupRounds: WARMUP,
			cohortSize: clients.length,
			quorum: 1,
			...options,
		},
		layout: blueprint.layout,
		initial,
		publicSeed: hex(`public ${seed}`),
		secretSeed: hex(`secret ${seed}`),
		clients,
		rounds: ROUNDS,
		keepReports: false,
		onCommit: ({ round, scores }) => {
			for (const [client, { standing }] of Object.entries(scores)) if (standing === 0) removedIn.set(client, round);
		},
	});
	if (result.phase !== "completed" || result.refusals.length > 0)
		throw new Error(`${result.phase}: ${result.reason ?? JSON.stringify(result.refusals[0])}`);
	const { engine, state, members, store } = result;
	const position = { state, members, round: ROUNDS + 1, commit: ROUNDS, population: clients.length };
	const honest = clients.slice(0, CLIENTS);
	const [alone, final] = [new Map(), new Map()];
	for (const [i, { id, data }] of honest.entries()) {
		if (attack === undefined) alone.set(id, await standalone(initial, data, random.at("standalone", i)));
		final.set(id, await accuracy(store.read(engine.model(position, members.get(id)))));
	}
	return {
		alone,
		final,
		base: await accuracy(result.weights),
		reputations: new Map([...members].map(([id, { reputation }]) => [id, reputation])),
		removedIn,
		honest: honest.map(({ id }) => id),
		hostile: [...hostile],
		bytesDown: result.rounds.at(-1).bytesDown / clients.length,
	};
}
