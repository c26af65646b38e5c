// A federation of processes: a coordinator, and one agent per president. See README.md.
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { randomFromSeed } from "@rondo/kernels";
import { readSafetensors } from "@rondo/tensors";
import { createOnnxTrainer, generate, importOnnxFile, loadOrt, sampling } from "@rondo/trainer-onnx";
import { AGENTS, SEPARATOR } from "./corpus.mjs";
import { Processes } from "./processes.mjs";
import { loadTokenizer } from "./tokenizer.mjs";
import { examplesOf, LENGTH } from "./workload.mjs";

const PRESETS = {
	fedavg: { rounds: 6, options: { learningRate: 0.05, batchSize: 8, localEpochs: 1 } },
	fedkseed: { rounds: 10, options: { candidates: 4096, localSteps: 50, batchSize: 8, learningRate: 2e-4, epsilon: 1e-3 } },
};

const { values } = parseArgs({
	options: {
		strategy: { type: "string", default: "fedavg" },
		rounds: { type: "string" },
		agents: { type: "string", default: String(AGENTS.length) },
		// Examples of 128 characters per agent.
		examples: { type: "string", default: "192" },
		// Options of the strategy, as JSON.
		options: { type: "string", default: "{}" },
		seed: { type: "string", default: "1" },
		// Where state and logs go; default: a new folder for temporary files.
		dir: { type: "string" },
	},
});
const preset = PRESETS[values.strategy];
if (preset === undefined) throw new Error(`--strategy must be one of ${Object.keys(PRESETS).join(", ")}, got ${values.strategy}`);
const presidents = AGENTS.slice(0, Number(values.agents));
const rounds = values.rounds ?? String(preset.rounds);
const options = { ...preset.options, cohortSize: presidents.length, ...JSON.parse(values.options) };
const dir = values.dir ?? mkdtempSync(join(tmpdir(), "rondo-language-model-"));
const file = (name) => fileURLToPath(new URL(name, import.meta.url));
/** Keys that make a run repeatable; real devices draw their own. */
const derived = (name) => createHash("sha256").update(`${values.seed}/${name}`).digest("hex");

const { manifest, layout, weights } = await importOnnxFile(await loadOrt(), file("model/model.onnx"), { loss: "causal-lm" });
const trainer = await createOnnxTrainer({ manifest, layout, device: "cpu", threads: availableParallelism() });
const tokenizer = loadTokenizer();

/** Loss per character on speeches that nobody trains on, by president. @param {Float32Array} at */
async function lossesOf(at) {
	const losses = [];
	for (const president of presidents) losses.push((await trainer.evaluate(at, examplesOf(president, 0).heldOut)).loss);
	return losses;
}

/** How the model goes on from a beginning. @param {Float32Array} at */
async function sample(at) {
	const prompt = tokenizer.encode(`${SEPARATOR}My fellow Americans, `).ids;
	const choose = sampling(randomFromSeed(values.seed), 0.7);
	const added = await generate(trainer, at, { prompt, maxTokens: LENGTH - prompt.length, contextLength: LENGTH, choose });
	return tokenizer.decode([...prompt, ...added]).trim();
}

console.log(`model.onnx: ${layout.length} parameters; ${presidents.length} agents; state and logs in ${dir}`);
const before = { losses: await lossesOf(weights), text: await sample(weights) };

const logs = join(dir, "logs");
mkdirSync(logs, { recursive: true });
const processes = new Processes(logs);
process.once("SIGINT", () => void processes.stop().then(() => process.exit(130)));

async function federate() {
	const ready = await processes.start("coordinator", [
		...["serve", "--format", "json", "--data-dir", join(dir, "coordinator")],
		...["--rest-port", "0", "--grpc-port", "0"],
	]);
	const env = { RONDO_URL: ready.restUrl, RONDO_TOKEN: readFileSync(ready.adminTokenFile, "utf8").trim() };
	await processes.run(["model", "import", file("model/model.onnx"), "--loss", "causal-lm", "--name", "speeches"], env);
	const enrol = await processes.run(["token", "create", "--scope", "enrol", "--max-uses", String(presidents.length)], env);
	for (const president of presidents) {
		void processes.start(
			president,
			[
				...["agent", "--address", ready.grpcAddress, "--state-dir", join(dir, president), "--name", president],
				...["--device-key", derived(president), "--workload", file("workload.mjs")],
				...["--workload-options", JSON.stringify({ president, examples: Number(values.examples) })],
			],
			{ RONDO_TOKEN: enrol.secret },
		);
	}
	await processes.run(
		[
			...["run", "submit", "--name", "speeches", "--model", "speeches", "--strategy", values.strategy, "--rounds", rounds],
			...Object.entries(options).flatMap(([name, value]) => ["-o", `${name}=${value}`]),
			...["--min-clients", String(presidents.length), "--evaluate-every", "0"],
			...["--public-seed", derived("public"), "--secret-seed", derived("secret")],
		],
		env,
	);
	await processes.show(["run", "watch", "speeches"], env);
	const model = join(dir, "model.safetensors");
	await processes.run(["run", "download", "speeches", "-o", model, "--force"], env);
	return readSafetensors(readFileSync(model)).weights;
}

const startedMs = performance.now();
let tuned;
try {
	tuned = await Promise.race([federate(), processes.failed]);
} finally {
	await processes.stop();
}
const seconds = (performance.now() - startedMs) / 1000;
const after = { losses: await lossesOf(tuned), text: await sample(tuned) };
await trainer.dispose();

const mean = (list) => list.reduce((a, b) => a + b, 0) / list.length;
const rows = [
	["loss per character", "before", "after"],
	...presidents.map((president, i) => [president, before.losses[i].toFixed(3), after.losses[i].toFixed(3)]),
	["mean", mean(before.losses).toFixed(3), mean(after.losses).toFixed(3)],
];
console.log(`\n${values.strategy}, ${rounds} rounds, ${seconds.toFixed(0)} s`);
for (const [name, ...cells] of rows) console.log(name.padEnd(20) + cells.map((cell) => cell.padStart(8)).join(""));
console.log(`\nbefore: ${before.text}\nafter:  ${after.text}`);
