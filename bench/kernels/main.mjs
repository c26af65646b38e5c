import { execFile } from "node:child_process";
import { availableParallelism, cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { configureKernels, stopKernels } from "@rondo/kernels";
import { kernelSampler, medianOf, takeTurns, warmUp } from "./measure.mjs";
import { Compiled, ScriptTriad } from "./opponent.mjs";
import { checksumOf, rowsOf, Vectors } from "./rows.mjs";
import { printTables } from "./table.mjs";

const USAGE = `usage: npm run bench:kernels -- [--format table|json] [--quick] [--only NAME,...] [--threads 1,2]

Rates of the kernels beside memory bandwidth and plain C (cc -O3 -march=native) measured in the same run, and whether both sides
make the same bytes. NAME is a name of the table's first column, or "limits", "size" or "start". Exits 1 when bytes differ.
`;
const LARGE = 10_000_000;
const TRIAD_BYTES = 24;
const UPDATE_BYTES = 8;
const GENERATOR_BLOCKS = 2_000_000;
const BITS_PER_BLOCK = 128;
const TRANSFORM = 4096;
/** Vectors of this many parameters are rebuilt in processes of their own, for their peak of memory. */
const SIZES = [1_000_000, LARGE, 100_000_000];
const STARTS = 5;
const START_TARGET_MS = 30;
const MODULE_TARGET_BYTES = 64_000;
const EXTRAS = ["limits", "size", "start"];

function usageError(message) {
	process.stderr.write(`${message}\n\n${USAGE}`);
	process.exit(2);
}

function readOptions() {
	let values;
	try {
		({ values } = parseArgs({
			options: {
				format: { type: "string", default: "table" },
				quick: { type: "boolean", default: false },
				only: { type: "string" },
				threads: { type: "string", default: availableParallelism() > 1 ? "1,2" : "1" },
			},
		}));
	} catch (error) {
		usageError(error.message);
	}
	if (!["table", "json"].includes(values.format)) usageError(`--format must be table or json, got ${values.format}`);
	if (!/^[1-9]\d?(,[1-9]\d?)*$/.test(values.threads)) usageError(`--threads must be numbers from 1 to 99, got ${values.threads}`);
	const names = [...new Set(rowsOf(values.quick).map(({ name }) => name)), ...EXTRAS];
	const only = values.only?.split(",") ?? names;
	const unknown = only.filter((name) => !names.includes(name));
	if (unknown.length > 0) usageError(`--only: no kernel ${unknown.join(", ")}; there are ${names.join(", ")}`);
	return { format: values.format, quick: values.quick, only: new Set(only), threads: [...new Set(values.threads.split(",").map(Number))] };
}

async function measureAlone(sampler) {
	const passes = await warmUp(sampler);
	const [seconds] = await takeTurns([sampler], passes);
	await sampler.close();
	return seconds;
}

/** Memory bandwidth for each number of threads, and rates that C reaches with the parts of the work. */
async function measureLimits(compiled, threads) {
	const limits = { bandwidth: [], generators: [] };
	for (const count of threads) {
		const request = { bench: "triad", n: LARGE, threads: count };
		const triad = compiled === undefined ? await ScriptTriad.start(LARGE, count) : await compiled.start(request);
		const row = { threads: count, by: triad.name, triadGbPerS: (TRIAD_BYTES * LARGE) / 1e9 / (await measureAlone(triad)) };
		if (compiled !== undefined) {
			const update = await compiled.start({ ...request, bench: "update" });
			row.updateGbPerS = (UPDATE_BYTES * LARGE) / 1e9 / (await measureAlone(update));
		}
		limits.bandwidth.push(row);
	}
	if (compiled === undefined) return limits;
	for (const bench of ["philox7", "philox10", "threefry12"]) {
		const seconds = await measureAlone(await compiled.start({ bench, n: GENERATOR_BLOCKS }));
		limits.generators.push({ name: bench, gbitPerS: (BITS_PER_BLOCK * GENERATOR_BLOCKS) / 1e9 / seconds });
	}
	const transforms = 2048;
	const seconds = await measureAlone(await compiled.start({ bench: "hadamard", n: TRANSFORM * transforms }));
	limits.transformMicroseconds = (seconds / transforms) * 1e6;
	return limits;
}

/** One row on one number of threads, and every checksum of it. */
async function measureRow(row, threads, compiled) {
	const vectors = new Vectors();
	const opponents = [];
	const checks = [];
	try {
		const { pass, result } = row.setUp(vectors);
		pass();
		const checksum = result === undefined ? undefined : checksumOf(result());
		const check = (bench) => {
			if (bench.checksum === undefined) return;
			if (checksum === undefined) throw new Error(`${row.name}: nothing to compare with the checksum of ${bench.name}`);
			checks.push({ name: row.name, kind: row.kind, size: row.size, K: row.K, threads, c: bench.checksum, kernels: checksum });
		};
		const start = (request) => compiled.start({ ...request, threads });
		if (compiled !== undefined) {
			if (row.exact !== undefined) {
				const exact = await start(row.exact);
				check(exact);
				await exact.close();
			}
			for (const request of row.against ?? []) opponents.push(await start(request));
			for (const bench of opponents) check(bench);
		}
		if (row.bandwidth) {
			const triad = { bench: "triad", n: LARGE, threads };
			opponents.push(compiled === undefined ? await ScriptTriad.start(LARGE, threads) : await compiled.start(triad));
		}
		const kernel = kernelSampler(pass);
		const passes = await warmUp(kernel);
		const [seconds, ...others] = await takeTurns([kernel, ...opponents], passes);
		return { result: resultOf(row, threads, seconds, opponents, others), checks };
	} finally {
		for (const bench of opponents) await bench.close();
		vectors.release();
	}
}

function resultOf(row, threads, seconds, opponents, others) {
	const { name, kind, size, K, work, bytes, target } = row;
	const result = { name, kind: kind ?? "", size, K: K ?? 1, threads, seconds, gparamPerS: work / 1e9 / seconds };
	if (row.against !== undefined && compiled === undefined) result.withoutC = "no C compiler";
	if (bytes > 0) result.gbPerS = bytes / 1e9 / seconds;
	if (row.bandwidth) {
		result.triadGbPerS = (TRIAD_BYTES * LARGE) / 1e9 / others.pop();
		result.ofTriad = result.gbPerS / result.triadGbPerS;
	}
	if (others.length > 0) {
		const best = Math.min(...others);
		result.denominator = { name: `C ${opponents[others.indexOf(best)].name}`, seconds: best, gparamPerS: work / 1e9 / best };
		result.ratio = best / seconds;
	}
	const needs = target?.text.includes("C") ? result.ratio !== undefined : true;
	if (target !== undefined && needs && (target.threads === undefined || target.threads === threads)) {
		result.target = target.text;
		result.passed = target.met(result);
	}
	return result;
}

const run = promisify(execFile);
const CHILD = fileURLToPath(new URL("./child.mjs", import.meta.url));
const inChild = async (task) => JSON.parse((await run(process.execPath, [CHILD, JSON.stringify(task)])).stdout);

async function measureSizes(quick, threads) {
	const sizes = [];
	for (const size of quick ? SIZES.slice(0, 2) : SIZES) {
		for (const count of threads) sizes.push(await inChild({ task: "rebuild", size, K: 4096, threads: count }));
	}
	return sizes;
}

async function measureStart() {
	const starts = [];
	for (let i = 0; i < STARTS; i++) starts.push(await inChild({ task: "start" }));
	const importMs = medianOf(starts.map((start) => start.importMs));
	const readyMs = medianOf(starts.map((start) => start.readyMs));
	const { moduleBytes } = starts[0];
	return {
		importMs,
		readyMs,
		moduleBytes,
		targets: [
			{ name: "first result after the import", target: `<= ${START_TARGET_MS} ms`, passed: readyMs <= START_TARGET_MS },
			{ name: "WebAssembly module", target: `< ${MODULE_TARGET_BYTES} bytes`, passed: moduleBytes < MODULE_TARGET_BYTES },
		],
	};
}

const options = readOptions();
const progress = (text) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`);
const made = await Compiled.make();
const compiled = typeof made === "string" ? undefined : made;
const report = {
	machine: {
		processor: cpus()[0].model.trim(),
		cores: availableParallelism(),
		memoryGiB: Math.round(totalmem() / 2 ** 30),
		system: `${process.platform} ${process.arch}`,
		node: process.version,
		compiler: compiled === undefined ? made : `${compiled.compiler}, ${compiled.flags}`,
	},
	kernels: [],
	checks: [],
};
try {
	// Before the kernels take their memory: a process of another size would start more slowly.
	if (options.only.has("start")) report.start = await measureStart();
	progress("limits");
	if (options.only.has("limits")) report.limits = await measureLimits(compiled, options.threads);
	for (const threads of options.threads) {
		await configureKernels({ threads });
		for (const row of rowsOf(options.quick)) {
			if (!options.only.has(row.name) || (row.oneThread && threads !== options.threads[0])) continue;
			progress(`${row.name} ${row.kind ?? ""} ${row.size} on ${threads}`);
			const { result, checks } = await measureRow(row, threads, compiled);
			report.kernels.push(result);
			report.checks.push(...checks);
		}
	}
	await stopKernels();
	progress("sizes");
	if (options.only.has("size")) report.sizes = await measureSizes(options.quick, options.threads);
	progress("");
} finally {
	await compiled?.close();
}
if (options.format === "json") console.log(JSON.stringify(report));
else printTables(report);
const differing = report.checks.filter(({ c, kernels }) => c !== kernels);
for (const { name, kind, size, threads, c, kernels } of differing) {
	console.error(`${name} ${kind ?? ""} of ${size} on ${threads} threads: C made ${c}, the kernels ${kernels}`);
}
process.exitCode = differing.length === 0 ? 0 : 1;
