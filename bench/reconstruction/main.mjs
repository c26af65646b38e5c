// Seconds that a client takes in a round to rebuild the model, beside those that it trains: `npm run bench:reconstruction
// [-- --parameters 1000000,10000000] [--threads 1]`, after a build.
import { parseArgs } from "node:util";
import {
	addLedger,
	applySum,
	configureKernels,
	perturb,
	perturbations,
	project,
	projectionUnit,
	randomFromSeed,
	rebuild,
	stopKernels,
} from "@rondo/kernels";
import { createOnnxTrainer, mlp } from "@rondo/trainer-onnx";

const CANDIDATES = 4096;
/** Entries that a round of five clients with 200 steps each changes. */
const CHANGED = 1000;
const UNIT = 2 ** -30;
const EPSILON = 1e-3;
const LOCAL_STEPS = 200;
const BATCH = 32;
const INPUTS = 784;
const CLASSES = 10;
/** Steps that are timed; the rest of `LOCAL_STEPS` take as long. */
const TIMED_STEPS = 10;
const REPEATS = 3;

const { values } = parseArgs({
	options: { parameters: { type: "string", default: "1000000,10000000" }, threads: { type: "string", default: "1" } },
});
const [sizes, threads] = [values.parameters.split(",").map(Number), Number(values.threads)];
if (![...sizes, threads].every((value) => Number.isSafeInteger(value) && value > 0)) {
	console.error("--parameters must be positive whole numbers with commas between them, --threads one");
	process.exit(2);
}
await configureKernels({ threads });

/** Median seconds of `REPEATS` runs. */
async function secondsOf(run) {
	const seconds = [];
	for (let i = 0; i < REPEATS; i++) {
		const startedMs = performance.now();
		await run();
		seconds.push((performance.now() - startedMs) / 1000);
	}
	return seconds.sort((a, b) => a - b)[REPEATS >> 1];
}

/** A ledger of K entries, and the one before the last round. */
function ledgers() {
	const words = randomFromSeed("ledger").words(0, new Uint32Array(CANDIDATES));
	const now = Int32Array.from(words, (word) => (word % 2 ** 21) - 2 ** 20);
	return { now, before: now.map((value, k) => (k < CHANGED ? value - 1 - (k % 1000) : value)) };
}

/** A perceptron with two hidden layers and about `parameters` parameters, and its trainer on one thread of the CPU. */
async function perceptron(parameters) {
	const width = Math.round((Math.sqrt(INPUTS ** 2 + 4 * parameters) - INPUTS) / 2);
	const { manifest, layout, initialWeights } = mlp({ inputs: INPUTS, hidden: [width, width], classes: CLASSES });
	const trainer = await createOnnxTrainer({ manifest, layout, device: "cpu", threads });
	return { trainer, weights: initialWeights(randomFromSeed("weights")) };
}

const batch = {
	size: BATCH,
	inputs: Float32Array.from(randomFromSeed("inputs").words(0, new Uint32Array(BATCH * INPUTS)), (word) => word / 2 ** 32),
	labels: Int32Array.from({ length: BATCH }, (_, i) => i % CLASSES),
};

/** What a round takes at about so many parameters, seconds by task. */
async function measured(parameters) {
	const { trainer, weights } = await perceptron(parameters);
	const { now, before } = ledgers();
	const out = new Float32Array(weights.length);
	const [independent, structured] = ["noise/1", "noise/2"].map((kind) => perturbations(randomFromSeed("candidates"), kind));
	const seconds = {};
	seconds["rebuild, noise/2"] = await secondsOf(() => rebuild(weights, now, UNIT, structured, out));
	const fast = out.slice();
	seconds["rebuild, noise/1"] = await secondsOf(() => rebuild(weights, now, UNIT, independent, out));
	const sum = new Float64Array(weights.length);
	addLedger(sum, before, independent);
	const whole = out.slice();
	// Going forth and back in turn, so that each run changes as many entries.
	let turn = 0;
	seconds[`noise/1, ${CHANGED} changed`] = await secondsOf(() => {
		const [from, to] = turn++ % 2 === 0 ? [before, now] : [now, before];
		addLedger(sum, to, independent, 0, from);
		applySum(weights, sum, UNIT, out);
	});
	if (out.some((value, j) => value !== whole[j])) throw new Error("going on from a sum does not give the bytes of a rebuild");
	const delta = Float32Array.from(fast, (value, j) => value - weights[j]);
	const unit = projectionUnit(delta.reduce((most, value) => Math.max(most, Math.abs(value)), 0));
	const projections = new Float64Array(CANDIDATES);
	const coefficients = new Int32Array(CANDIDATES);
	seconds["project and rebuild (Ferret), noise/2"] = await secondsOf(() => {
		project(delta, unit, structured, projections.fill(0));
		for (let k = 0; k < CANDIDATES; k++) coefficients[k] = Math.round((projections[k] / CANDIDATES) * (unit / UNIT));
		rebuild(weights, coefficients, UNIT, structured, out);
	});
	const steps = (loss) => async () => {
		for (let step = 0; step < TIMED_STEPS; step++) {
			for (const scale of [EPSILON, -EPSILON]) {
				perturb(weights, scale, structured, step, out);
				if (loss) await trainer.loss(out, batch);
			}
			perturb(weights, 0, structured, step, out);
		}
	};
	await steps(true)();
	const scaled = (value) => (value * LOCAL_STEPS) / TIMED_STEPS;
	seconds[`train ${LOCAL_STEPS} steps`] = scaled(await secondsOf(steps(true)));
	seconds["of it perturbations"] = scaled(await secondsOf(steps(false)));
	await trainer.dispose();
	return { parameters: weights.length, seconds };
}

console.log(
	`K = ${CANDIDATES}, ${threads} thread(s); training: perceptron on the ONNX trainer (cpu), batches of ${BATCH}, ${TIMED_STEPS} steps timed and scaled to ${LOCAL_STEPS}\n`,
);
const results = [];
for (const size of sizes) results.push(await measured(size));
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);
row(["seconds per client and round", ...results.map(({ parameters }) => `d = ${parameters.toLocaleString("en-US")}`)]);
row(["---", ...results.map(() => "---")]);
for (const task of Object.keys(results[0].seconds)) row([task, ...results.map(({ seconds }) => Number(seconds[task].toPrecision(3)))]);
await stopKernels();
