// What FedKSeed reaches and what it sends: `npm run bench:fedkseed [-- --seeds 1,2,3]`, after a build. Real round machine and
// encodings; exits 1 when a result is not as it should be.
import { parseArgs } from "node:util";
import { builtInStrategies } from "@rondo/algorithms";
import { sha256, toHex } from "@rondo/kernels";
import { simulate } from "@rondo/simulation";
import { TASKS } from "./tasks.mjs";

const ROUNDS = 40;
const LEAST_ACCURACY = 0.88;
const MOST_LOSS = 2;
/** How much accuracy scalars of a byte may cost. */
const BYTE_MARGIN = 0.01;
const GRID = [16, 64, 256, 1024, 4096];

const { values } = parseArgs({ options: { seeds: { type: "string", default: "1,2,3" } } });
if (!/^\d{1,9}(,\d{1,9})*$/.test(values.seeds)) {
	console.error(`--seeds must be whole numbers like 1,2,3, got ${values.seeds}`);
	process.exit(2);
}
const seeds = values.seeds.split(",").map(Number);
const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed");
const seedOf = (...names) => toHex(sha256(new TextEncoder().encode(`rondo-bench-fedkseed/1/${names.join("/")}`)));
const mean = (numbers) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;

/** One run: its metrics, and the mean bytes of a client and round after the first. */
async function learn(task, seed, options) {
	const { prepare, options: common } = TASKS[task];
	const { layout, initial, trainer, shards, evaluate } = await prepare(seed);
	const { phase, reason, weights, rounds } = await simulate({
		strategy: fedkseed,
		options: { ...common, ...options },
		layout,
		initial,
		publicSeed: seedOf(task, seed, "public"),
		secretSeed: seedOf(task, seed, "secret"),
		clients: shards.map((data, i) => ({ id: `client-${i}`, data, trainer })),
		rounds: ROUNDS,
		keepReports: false,
	});
	if (phase !== "completed") throw new Error(`${task}, seed ${seed}, ${JSON.stringify(options)} ${phase}: ${reason}`);
	// Clients that come for the first time also learn the initial weights.
	const later = rounds.slice(ROUNDS / 2);
	const perClient = (field) => mean(later.map((round) => round[field] / round.clients.length));
	return { ...(await evaluate(weights)), down: perClient("bytesDown"), up: perClient("bytesUp") };
}

const failures = [];
const row = (cells) => console.log(`| ${cells.join(" | ")} |`);

/** Runs of all seeds as one line of a table. */
async function line(task, metric, options, label) {
	const runs = [];
	for (const seed of seeds) runs.push(await learn(task, seed, options));
	const numbers = runs.map((run) => run[metric]);
	row([
		label,
		mean(numbers).toFixed(4),
		numbers.map((value) => value.toFixed(4)).join(" "),
		...["down", "up"].map((field) => Math.round(mean(runs.map((run) => run[field])))),
	]);
	return mean(numbers);
}

function heading(text, metric) {
	console.log(`\n${text}\n`);
	row(["options", metric, `seeds ${seeds.join(", ")}`, "bytes down", "bytes up"]);
	row(["---", "---", "---", "---", "---"]);
}

heading(`Softmax regression on digits, 650 parameters, 5 of 10 clients (Dirichlet 0.5), 50 steps, ${ROUNDS} rounds`, "accuracy");
const grid = [];
for (const candidates of GRID) grid.push(await line("digits", "accuracy", { candidates }, `K = ${candidates}`));
for (const candidates of [256, 1024]) await line("digits", "accuracy", { candidates, sampling: "pro" }, `K = ${candidates}, pro`);
const byte = await line("digits", "accuracy", { candidates: 4096, scalars: "byte" }, "K = 4096, scalars byte");
const fixed = grid[GRID.indexOf(64)];
const rebased = await line("digits", "accuracy", { candidates: 64, rebaseEvery: 4 }, "K = 64, re-based after every fourth commit");
await line(
	"digits",
	"accuracy",
	{ candidates: 4096, schedule: "cosine", scheduleRounds: ROUNDS, learningRate: 4e-3 },
	"K = 4096, cosine from 4e-3",
);
for (const aggregation of ["norm-cap", "trimmed-mean"])
	await line("digits", "accuracy", { candidates: 256, aggregation }, `K = 256, ${aggregation}`);

if (grid.at(-1) < LEAST_ACCURACY) failures.push(`digits with K = 4096 reach ${grid.at(-1).toFixed(3)}, not ${LEAST_ACCURACY}`);
grid.slice(1).forEach((accuracy, i) => {
	if (accuracy < grid[i]) failures.push(`digits with K = ${GRID[i + 1]} are below those with K = ${GRID[i]}`);
});
if (byte < grid.at(-1) - BYTE_MARGIN) failures.push(`scalars of a byte cost ${(grid.at(-1) - byte).toFixed(3)} of accuracy`);
if (rebased <= fixed) failures.push("new candidates do not help 64 of them");

heading(`GPT-2 of one layer, 3,824 parameters, on Markov text, 5 clients, 20 steps, ${ROUNDS} rounds`, "loss");
const loss = await line("text", "loss", { candidates: 4096 }, "K = 4096");
await line("text", "loss", { candidates: 4096, scalars: "byte" }, "K = 4096, scalars byte");
if (!(loss < MOST_LOSS)) failures.push(`the loss on text is ${loss.toFixed(3)}, not below ${MOST_LOSS}`);

for (const failure of failures) console.error(failure);
process.exitCode = failures.length === 0 ? 0 : 1;
