// Training steps per second beside PyTorch: `npm run bench:trainer`, after a build. Windows of both take turns, so that
// whatever else the machine does falls on both. PyTorch comes from a Python with torch: `--python` or RONDO_PYTHON (default
// python3); without one the ratio stays open. Where others use the machine too, look at processor time per step with
// `--threads 1`: that hardly moves. `--recompute` keeps fewer
// intermediate results. `--device webgpu` is compared with PyTorch on `--pytorch-device cuda`. `--memory` instead takes 10,000 steps and prints how the process grows.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { MODELS } from "./models.mjs";

const { values } = parseArgs({
	options: {
		model: { type: "string", multiple: true, default: Object.keys(MODELS).filter((name) => MODELS[name].onRequest === undefined) },
		windows: { type: "string", default: "15" },
		seconds: { type: "string", default: "0.5" },
		threads: { type: "string", default: "2" },
		device: { type: "string", default: "cpu" },
		"pytorch-device": { type: "string", default: "cpu" },
		python: { type: "string", default: process.env.RONDO_PYTHON ?? "python3" },
		memory: { type: "boolean", default: false },
		recompute: { type: "boolean", default: false },
	},
});
const file = (name) => fileURLToPath(new URL(name, import.meta.url));
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(0)} MiB`;
const milliseconds = (seconds) => `${(seconds * 1e3).toPrecision(3)} ms`;

/** Rows of a table as text, columns as wide as they need. */
function printTable(rows) {
	const lines = [Object.keys(rows[0]), ...rows.map((row) => Object.values(row).map(String))];
	const widths = lines[0].map((_, i) => Math.max(...lines.map((line) => line[i].length)));
	for (const line of lines) console.log(line.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join("  "));
}

/** A process that answers a line with a line. */
class Stepper {
	static async open(command, args) {
		const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
		const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
		const failed = new Promise((_resolve, reject) => child.once("error", reject));
		failed.catch(() => undefined);
		const stepper = new Stepper(child, lines, failed);
		stepper.facts = await stepper.next();
		return stepper;
	}
	constructor(child, lines, failed) {
		Object.assign(this, { child, lines, failed });
	}
	async next() {
		const { value, done } = await Promise.race([this.lines.next(), this.failed]);
		if (done) throw new Error("the process ended");
		return JSON.parse(value);
	}
	ask(line) {
		this.child.stdin.write(`${line}\n`);
		return this.next();
	}
	close() {
		this.child.stdin.end("quit\n");
	}
}

const ours = (model) =>
	Stepper.open(process.execPath, [
		file("./steps.mjs"),
		"--model",
		model,
		"--threads",
		values.threads,
		"--device",
		values.device,
		...(values.recompute ? ["--recompute"] : []),
	]);
const pytorch = (model) =>
	Stepper.open(values.python, [
		file("./pytorch_steps.py"),
		"--serve",
		"--model",
		model,
		"--threads",
		values.threads,
		"--device",
		values["pytorch-device"],
	]);

/** Steps that fill a window. */
const stepsFor = ({ seconds, steps }) => Math.max(1, Math.round((Number(values.seconds) * steps) / seconds));

async function compare(model) {
	const mine = await ours(model);
	const theirs = await pytorch(model).catch(() => undefined);
	const steps = stepsFor(await mine.ask("run 20"));
	const theirSteps = theirs === undefined ? 0 : stepsFor(await theirs.ask("run 20"));
	const pairs = [];
	for (let window = 0; window < Number(values.windows); window++) {
		const a = await mine.ask(`run ${steps}`);
		const b = await theirs?.ask(`run ${theirSteps}`);
		pairs.push([a, b]);
	}
	const [memory, theirMemory] = [await mine.ask("stats"), await theirs?.ask("stats")];
	mine.close();
	theirs?.close();
	const speed = (window) => window.steps / window.seconds;
	const effort = (window) => window.cpuSeconds / window.steps;
	const compared = (value) => (theirs === undefined ? "-" : value());
	const row = {
		model: MODELS[model].title,
		batch: MODELS[model].batch,
		"steps/s": median(pairs.map(([a]) => speed(a))).toFixed(1),
		PyTorch: compared(() => median(pairs.map(([, b]) => speed(b))).toFixed(1)),
		ratio: compared(() => median(pairs.map(([a, b]) => speed(a) / speed(b))).toFixed(2)),
		"cpu/step": milliseconds(median(pairs.map(([a]) => effort(a)))),
		"PyTorch's": compared(() => milliseconds(median(pairs.map(([, b]) => effort(b))))),
		"cpu ratio": compared(() => median(pairs.map(([a, b]) => effort(b) / effort(a))).toFixed(2)),
		"peak memory": mib(memory.peakRssBytes),
		" PyTorch's": compared(() => mib(theirMemory.peakRssBytes)),
	};
	return { row, facts: [mine.facts.description, theirs === undefined ? "no PyTorch" : `PyTorch ${theirs.facts.torch}`] };
}

/** Slope of a straight line through points (least squares). */
function slope(points) {
	const [meanX, meanY] = [0, 1].map((i) => points.reduce((sum, point) => sum + point[i], 0) / points.length);
	const over = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
	return over / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

async function growth(model) {
	const mine = await ours(model);
	const points = [];
	for (let taken = 0; taken < 10_000; taken += 100) {
		await mine.ask("run 100");
		const { rssBytes } = await mine.ask("stats");
		if (taken + 100 > 2_000) points.push([taken + 100, rssBytes]);
	}
	mine.close();
	const bytesPerStep = slope(points);
	return {
		model: MODELS[model].title,
		steps: 10_000,
		"RSS at 2,100": mib(points[0][1]),
		"at 10,000": mib(points.at(-1)[1]),
		"bytes/step": bytesPerStep.toFixed(1),
	};
}

if (values.memory) {
	const models = process.argv.includes("--model") ? values.model : ["mlp"];
	const rows = [];
	for (const model of models) rows.push(await growth(model));
	printTable(rows);
	if (rows.some((row) => Number(row["bytes/step"]) >= 1000)) process.exitCode = 1;
} else {
	const rows = [];
	let facts;
	for (const model of values.model) {
		const result = await compare(model);
		rows.push(result.row);
		facts = result.facts;
		console.log(`${result.row.model}: ratio ${result.row.ratio}, by processor time ${result.row["cpu ratio"]}`);
	}
	console.log(`\nSGD, float32, ${values.threads} threads; ${facts.join("; ")}; medians of ${values.windows} windows that take turns`);
	printTable(rows);
}
