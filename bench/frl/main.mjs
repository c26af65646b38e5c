// Voting against averaging under attack: `npm run bench:frl [-- --seeds 1,2,3,4,5] [--rows frl,fedavg] [--cohorts 25]
// [--lambda 10]`, after a build.
// Digits of UCI, 50 clients with Dirichlet(1) shares of the classes, ONNX trainer, real round machine and encodings in this process.
// Accuracies are means over the last five rounds; the worst seed counts. FRL leaves biases at 0, FedAvg trains them.
import { parseArgs } from "node:util";
import { createRegistry } from "@rondo/algorithms";
import { inMemoryData, loadDigits, partitionDirichlet } from "@rondo/datasets";
import { randomFromSeed } from "@rondo/kernels";
import { simulate } from "@rondo/simulation";
import { createOnnxTrainer, mlp } from "@rondo/trainer-onnx";
import { colluding, reversedMean, reversedRanking } from "./attacks.mjs";

const CLIENTS = 50;
const MALICIOUS = CLIENTS / 5;
const LAST_ROUNDS = 5;
const LOCAL = { batchSize: 8, localEpochs: 2 };
const AVERAGING = { ...LOCAL, learningRate: 0.1 };

const { values } = parseArgs({
	options: {
		seeds: { type: "string", default: "1,2,3,4,5" },
		rows: { type: "string" },
		cohorts: { type: "string" },
		// Length of the malicious update in honest means, where updates are averaged.
		lambda: { type: "string", default: "10" },
	},
});
const vote = { attack: reversedRanking };
const mean = { attack: reversedMean(Number(values.lambda)) };
/** Multi-Krum's guarantee is about the smallest round that may commit: all reports are waited for. */
const multiKrumOf = ({ cohortSize, byzantine }) => ({ byzantine, quorum: cohortSize });
/** What is compared; another strategy or reducer is one more line. */
const ROWS = [
	{ name: "frl", strategy: "frl", options: LOCAL, ...vote, required: { clean: 0.94, attacked: 0.9, loss: 0.06 } },
	{ name: "frl-sparse", strategy: "frl", options: { ...LOCAL, ballot: "sparse" }, ...vote },
	{ name: "fedavg", strategy: "fedavg", options: AVERAGING, ...mean },
	{ name: "median", strategy: "fedavg", options: { ...AVERAGING, reducer: "median" }, ...mean },
	{ name: "multi-krum", strategy: "fedavg", options: { ...AVERAGING, reducer: "multi-krum" }, needs: multiKrumOf, ...mean },
];
/**
 * The first cohort is what the requirements are about; the second shows what a small one does, and the last what exactly a fifth
 * in every round does. `byzantine` is what Multi-Krum is told: the colluders expected in a drawn cohort, 5 and 2, and a margin,
 * 4 and 1. One round in 3,100 has more than 9 of 25, one in ten more than 3 of 10.
 */
const COHORTS = [
	{ cohortSize: 25, rounds: 20, byzantine: 9 },
	{ cohortSize: 10, rounds: 40, byzantine: 3 },
	{ cohortSize: CLIENTS, rounds: 20, byzantine: MALICIOUS },
];

const registry = createRegistry();
const [train, test] = await Promise.all([loadDigits("train"), loadDigits("test")]);
const model = mlp({ inputs: 64, hidden: [128, 128], classes: 10 });
const trainer = await createOnnxTrainer({ manifest: model.manifest, layout: model.layout, device: "cpu", threads: 1 });
const normalized = normalizer(train);
const examples = normalized(train);
const heldOut = inMemoryData(normalized(test));

/** Intensities of mean 0 and deviation 1 over the training set, as is usual for MNIST; networks of ± one constant need inputs of both signs. */
function normalizer({ inputs }) {
	const total = inputs.reduce((sum, byte) => sum + byte, 0);
	const average = total / inputs.length;
	const deviation = Math.sqrt(inputs.reduce((sum, byte) => sum + (byte - average) ** 2, 0) / inputs.length);
	return (images) => ({ ...images, inputs: Float32Array.from(images.inputs, (byte) => (byte - average) / deviation) });
}

/** Mean accuracy of the last rounds. */
async function accuracyOf({ strategy, options, needs, attack }, cohort, seed, isAttacked) {
	const { cohortSize, rounds } = cohort;
	const random = randomFromSeed(`bench:frl ${seed}`);
	const clients = partitionDirichlet(train.labels, CLIENTS, 1, random.at("partition"), { minPerClient: 1 }).map((rows, i) => ({
		id: `c${String(i).padStart(2, "0")}`,
		data: inMemoryData({ ...examples, rows }),
		trainer,
	}));
	const honest = registry.strategy(strategy);
	const accuracies = [];
	const result = await simulate({
		strategy: isAttacked ? colluding(honest, clients.slice(0, MALICIOUS), attack) : honest,
		options: { ...options, ...needs?.(cohort), cohortSize },
		layout: model.layout,
		initial: model.initialWeights(random.at("weights")),
		publicSeed: `a${seed.padStart(63, "0")}`,
		secretSeed: `b${seed.padStart(63, "0")}`,
		clients,
		rounds,
		evaluate: async (weights, { round }) => {
			if (round > rounds - LAST_ROUNDS) accuracies.push((await trainer.evaluate(weights, heldOut)).accuracy);
			return {};
		},
		keepReports: false,
	});
	if (!isAttacked && result.refusals.length > 0) throw new Error(`${strategy}: a report was refused: ${result.refusals[0].message}`);
	const bytes = { up: Math.max(...result.rounds.map(({ bytesUp }) => bytesUp)) / cohortSize, down: downOf(result.rounds, cohortSize) };
	if (result.phase === "completed") return { accuracy: accuracies.reduce((a, b) => a + b) / accuracies.length, bytes };
	if (!isAttacked) throw new Error(`${strategy} ended ${result.phase}: ${result.reason}`);
	// Weights so large that honest losses are not finite: what is left of the model counts.
	return { accuracy: (await trainer.evaluate(result.weights, heldOut)).accuracy, bytes, endedInRound: result.rounds.length + 1 };
}

/** Bytes of a task in a round all of whose clients took part before, if there was one. */
function downOf(rounds, cohortSize) {
	const seen = new Set();
	let bytes = Number.NaN;
	for (const { clients, bytesDown } of rounds) {
		if (clients.every((client) => seen.has(client))) bytes = bytesDown / cohortSize;
		for (const client of clients) seen.add(client);
	}
	return bytes;
}

const wanted = values.rows?.split(",") ?? ROWS.map(({ name }) => name);
const unknown = wanted.find((name) => !ROWS.some((row) => row.name === name));
if (unknown !== undefined) throw new Error(`--rows ${unknown}: known are ${ROWS.map(({ name }) => name).join(", ")}`);
const cohorts = COHORTS.filter(({ cohortSize }) => values.cohorts?.split(",").includes(String(cohortSize)) ?? true);
const seeds = values.seeds.split(",");
let failures = 0;
const check = (is, what) => {
	if (is) return "";
	failures += 1;
	return `  BELOW: ${what}`;
};

console.log(
	`64-128-128-10, ${model.layout.length} weights, ${CLIENTS} clients, ${MALICIOUS} of them collude; FedAvg's send −${values.lambda} · their mean`,
);
console.log(
	"strategy    cohort  rounds  clients   worst   mean  per seed                                   seconds  up/client  down/client",
);
for (const row of ROWS.filter(({ name }) => wanted.includes(name))) {
	for (const cohort of cohorts) {
		const worst = {};
		for (const kind of ["clean", "attacked"]) {
			const startedMs = performance.now();
			const runs = [];
			for (const seed of seeds) runs.push(await accuracyOf(row, cohort, seed, kind === "attacked"));
			const accuracies = runs.map(({ accuracy }) => accuracy);
			const ended = runs.flatMap(({ endedInRound }) => endedInRound ?? []);
			worst[kind] = Math.min(...accuracies);
			const seconds = (performance.now() - startedMs) / 1000 / seeds.length;
			const required = cohort === COHORTS[0] ? row.required : undefined;
			const note = ended.length === 0 ? "" : `  diverged and ended in round ${ended.join(", ")}`;
			const verdict =
				required === undefined
					? note
					: check(worst[kind] >= required[kind], `${required[kind]} required`) +
						(kind === "clean" ? "" : check(worst.attacked >= worst.clean - required.loss, `within ${required.loss} of clean required`));
			console.log(
				[
					row.name.padEnd(11),
					`${cohort.cohortSize}/${CLIENTS}`.padStart(6),
					String(cohort.rounds).padStart(7),
					kind.padStart(9),
					worst[kind].toFixed(4).padStart(7),
					(accuracies.reduce((a, b) => a + b) / accuracies.length).toFixed(4).padStart(6),
					` ${accuracies.map((accuracy) => accuracy.toFixed(4)).join("  ")}`.padEnd(42),
					seconds.toFixed(1).padStart(7),
					// Colluders train with each other's data: what they download is not what a client does.
					(kind === "clean" ? `${Math.round(runs[0].bytes.up)} B` : "").padStart(10),
					(kind === "clean" ? `${Math.round(runs[0].bytes.down)} B` : "").padStart(12),
					verdict,
				].join(" "),
			);
		}
	}
}
await trainer.dispose();
process.exit(failures === 0 ? 0 : 1);
