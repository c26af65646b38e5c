// What a codec costs: `npm run bench:codecs [-- --seeds 1,2,3] [--rounds 20] [--only name,...]`, after a build.
// Sizes and rates for 10^6 values, then the accuracy of ten clients with skewed shares of the digits of data/digits.bin.
import { parseArgs } from "node:util";
import { builtInStrategies, createRegistry } from "@rondo/algorithms";
import { inMemoryData, loadDigits, partitionDirichlet } from "@rondo/datasets";
import { fillGaussian4, randomFromSeed, sha256, toHex } from "@rondo/kernels";
import { simulate } from "@rondo/simulation";
import { perceptron } from "./perceptron.mjs";

const VALUES = 1_000_000;
const RUNS = 7;
const CLIENTS = 10;
const ALPHA = 0.5;
/** The lane's bound for sampled codecs has room for their factor. */
const SPECS = [
	["f32"],
	["f16"],
	["bf16"],
	["int8"],
	["int4"],
	["top-k", 0.1],
	["top-k", 0.01, "f16"],
	["dare", 0.1],
	["seeded-sparse", 0.1],
	["seeded-sparse", 0.1, "f16"],
];
const CASES = [
	["f32", "fedavg", {}],
	["f16", "fedavg", { codec: "f16" }],
	["bf16", "fedavg", { codec: "bf16" }],
	["int8", "fedavg", { codec: "int8" }],
	["int4", "fedavg", { codec: "int4" }],
	["top-k 0.1", "fedavg", { codec: "top-k", codecShare: 0.1 }],
	["top-k 0.01", "fedavg", { codec: "top-k", codecShare: 0.01 }],
	["dare 0.5", "fedavg", { codec: "dare", codecShare: 0.5 }],
	["dare 0.1", "fedavg", { codec: "dare", codecShare: 0.1 }],
	["seeded-sparse 0.5", "fedavg", { codec: "seeded-sparse", codecShare: 0.5 }],
	["seeded-sparse 0.1", "fedavg", { codec: "seeded-sparse", codecShare: 0.1 }],
	["ef21 0.1", "ef21", { codecShare: 0.1 }],
	["ef21 0.01", "ef21", { codecShare: 0.01 }],
];

const { values: options } = parseArgs({
	options: { seeds: { type: "string", default: "1,2,3" }, rounds: { type: "string", default: "20" }, only: { type: "string" } },
});
const seeds = options.seeds.split(",").map(Number);
const rounds = Number(options.rounds);
if (!seeds.every(Number.isSafeInteger) || !(Number.isSafeInteger(rounds) && rounds > 0))
	throw new Error("--seeds takes whole numbers like 1,2,3, and --rounds a positive one");
const only = options.only?.split(",");
const chosen = ([name]) => only === undefined || only.some((part) => name.startsWith(part));
const line = (cells, widths) =>
	console.log(cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "));
const median = (times) => times.sort((a, b) => a - b)[Math.floor(times.length / 2)];

function rates() {
	const widths = [24, 12, 10, 10, 12];
	line(["codec", "bytes", "of f32", "encode", "decode"], widths);
	line(["", "", "", "M values/s", "M values/s"], widths);
	const values = Float32Array.from(fillGaussian4(randomFromSeed("bench:codecs"), 0, new Float64Array(VALUES)), (x) => x / 100);
	const random = randomFromSeed("bench:codecs draws");
	for (const spec of SPECS.filter(chosen)) {
		const lane = { length: VALUES, absMax: 16, combine: "mean", codec: spec };
		const codec = createRegistry().codec(spec);
		const took = { encode: [], decode: [] };
		let bytes;
		for (let run = 0; run < RUNS; run++) {
			const start = performance.now();
			bytes = codec.encode(values, lane, random.at(run));
			const middle = performance.now();
			codec.decode(bytes, lane);
			took.encode.push(middle - start);
			took.decode.push(performance.now() - middle);
		}
		const rate = (times) => (VALUES / 1000 / median(times)).toFixed(0);
		line(
			[spec.join(" "), String(bytes.length), `${((100 * bytes.length) / (4 * VALUES)).toFixed(2)} %`, rate(took.encode), rate(took.decode)],
			widths,
		);
	}
}

async function accuracies() {
	const [train, test] = [await loadDigits("train"), await loadDigits("test")];
	const { layout, trainer, initial } = perceptron(64, 64, 10);
	const held = inMemoryData(test);
	const widths = [20, 16, 12, ...seeds.map(() => 8), 8];
	line(["codec", "bytes a report", "of f32", ...seeds.map((seed) => `seed ${seed}`), "mean"], widths);
	let whole;
	for (const [name, strategyName, more] of CASES.filter(chosen)) {
		const strategy = builtInStrategies.find((known) => known.name === strategyName);
		const found = [];
		let bytesUp = 0;
		for (const seed of seeds) {
			const random = randomFromSeed(`bench:codecs ${seed}`);
			const hex = (path) => toHex(sha256(new TextEncoder().encode(`bench:codecs ${path} ${seed}`)));
			const parts = partitionDirichlet(train.labels, CLIENTS, ALPHA, random.at("split"), { minPerClient: 10 });
			const result = await simulate({
				strategy,
				options: { learningRate: 0.1, batchSize: 16, localEpochs: 2, cohortSize: CLIENTS, ...more },
				layout,
				initial: initial(random.at("weights")),
				publicSeed: hex("public"),
				secretSeed: hex("secret"),
				clients: parts.map((rows, i) => ({ id: `c${i}`, trainer, data: inMemoryData({ ...train, rows }) })),
				rounds,
				evaluate: (weights) => trainer.evaluate(weights, held),
				settings: { evaluateEvery: rounds },
				keepReports: false,
			});
			if (result.phase !== "completed" || result.refusals.length > 0)
				throw new Error(`${name}, seed ${seed}: ${result.phase} ${result.reason} ${JSON.stringify(result.refusals[0])}`);
			found.push(result.rounds.at(-1).evaluation.accuracy);
			bytesUp = Math.round(result.rounds.at(-1).bytesUp / CLIENTS);
		}
		whole ??= bytesUp;
		const mean = found.reduce((sum, x) => sum + x, 0) / found.length;
		line([name, String(bytesUp), `${((100 * bytesUp) / whole).toFixed(1)} %`, ...found.map((x) => x.toFixed(3)), mean.toFixed(3)], widths);
	}
}

rates();
console.log(
	`\nDigits: ${CLIENTS} clients, Dirichlet ${ALPHA}, ${rounds} rounds of 2 local epochs, accuracy on the ${(await loadDigits("test")).labels.length} test images`,
);
await accuracies();
