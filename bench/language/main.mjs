// A pretrained language model, fine-tuned federatedly on the lines of Shakespeare's characters: `npm run bench:language`, after a
// build. Real round machine, real encodings, ONNX trainer; the clients take turns in this process.
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createRegistry } from "@rondo/algorithms";
import { simulate } from "@rondo/simulation";
import { createOnnxTrainer, exportOnnx, generate, importOnnx, LLAMA2C_BEGIN, mergeLora } from "@rondo/trainer-onnx";
import * as ort from "onnxruntime-node";
import { loadSpeakers, loadStories, missingFiles } from "./data.mjs";
import { lossPlot } from "./plot.mjs";

const REFERENCE_TEXT =
	"Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball";

const CASES = {
	fedavg: { label: "FedAvg", rounds: 15, options: { learningRate: 0.1, batchSize: 4, localEpochs: 1 } },
	"fedavg-lora": {
		label: "FedAvg, LoRA of rank 8",
		strategy: "fedavg",
		adapters: true,
		rounds: 15,
		options: { learningRate: 0.3, batchSize: 4, localEpochs: 1 },
	},
	ferret: {
		label: "Ferret, 4,096 bases",
		rounds: 30,
		options: { learningRate: 0.1, batchSize: 4, localSteps: 40, bases: 4096, serverLearningRate: 1, rescale: "norm" },
	},
	fedkseed: {
		label: "FedKSeed, K 4,096",
		rounds: 30,
		options: { candidates: 4096, localSteps: 50, learningRate: 3e-4, epsilon: 1e-3, batchSize: 8 },
	},
};
/** Adapters beside all products of the attention and feed-forward layers. */
const LORA = { targets: ["*.weight"], rank: 8, alpha: 16 };

const { values } = parseArgs({
	options: {
		data: { type: "string", default: fileURLToPath(new URL("../../../shared/data", import.meta.url)) },
		strategy: { type: "string", multiple: true, default: Object.keys(CASES) },
		clients: { type: "string", default: "32" },
		cohort: { type: "string", default: "8" },
		rounds: { type: "string" },
		length: { type: "string", default: "128" },
		device: { type: "string", default: "cpu" },
		threads: { type: "string", default: String(availableParallelism()) },
		// Other options of the strategy, as JSON.
		options: { type: "string", default: "{}" },
		seed: { type: "string", default: "1" },
		// Loss against bytes and against seconds, as SVG.
		plot: { type: "string" },
	},
});
const registry = createRegistry();
const seedOf = (digit) => `${digit}${values.seed.padStart(63, "0")}`;
const [clients, cohort, length] = [values.clients, values.cohort, values.length].map(Number);

const missing = missingFiles(values.data);
if (missing.length > 0) {
	console.error(`NOTHING WAS MEASURED: files are missing (--data names another folder):\n${missing.join("\n")}`);
	process.exit(1);
}
const model = loadStories(values.data);
const { manifest, layout, weights, tokenizer } = model;
const trainer = await createOnnxTrainer({ manifest, layout, device: values.device, threads: Number(values.threads) });
const textOf = (tokens) => tokenizer.decode([LLAMA2C_BEGIN, ...tokens], { skip_special_tokens: true });
const continued = async (at, text, maxTokens) => {
	const prompt = text === "" ? [LLAMA2C_BEGIN] : tokenizer.encode(text).ids;
	const added = await generate(trainer, at, { prompt, maxTokens, contextLength: model.contextLength, end: LLAMA2C_BEGIN });
	return textOf([...prompt.slice(1), ...added]);
};

console.log(`stories260K: ${layout.length} parameters, ${trainer.description}`);
const story = await continued(weights, "", 80);
console.log(`greedy text: ${story}`);
if (!story.startsWith(REFERENCE_TEXT)) throw new Error(`the greedy text must begin: ${REFERENCE_TEXT}`);

const { speakers, heldOut } = loadSpeakers(values.data, tokenizer, { clients, length });
const sizes = speakers.map(({ tokens }) => tokens);
console.log(
	`${speakers.length} clients with ${Math.min(...sizes)} to ${Math.max(...sizes)} tokens in examples of ${length}, cohorts of ${cohort}; ${heldOut.numExamples} examples held out`,
);
const before = (await trainer.evaluate(weights, heldOut)).loss;

/** What is trained: the model as it is, or adapters beside its frozen weights. */
async function trained(adapters) {
	if (!adapters) return { layout, weights, trainer, whole: (at) => at };
	const adapted = await importOnnx(ort, exportOnnx(manifest, layout, weights), { loss: "causal-lm", lora: LORA });
	const frozen = adapted.frozenWeights;
	return {
		layout: adapted.layout,
		weights: adapted.weights,
		trainer: await createOnnxTrainer({
			manifest: adapted.manifest,
			layout: adapted.layout,
			frozen,
			device: values.device,
			threads: Number(values.threads),
		}),
		/** All weights, the adapters merged into them, in the order of the whole model. */
		whole(at) {
			const merged = mergeLora({ manifest: adapted.manifest, layout: adapted.layout, weights: at }, frozen);
			return inOrderOf(layout, merged);
		},
	};
}

function inOrderOf({ length, tensors }, named) {
	const all = new Float32Array(length);
	for (const { name, from } of tensors) {
		const found = named.layout.tensors.find((tensor) => tensor.name === name);
		all.set(named.weights.subarray(found.from, found.to), from);
	}
	return all;
}

/** Bytes of one task: of clients that take part for the first time, and of the others. */
function bytesPerTask(rounds) {
	const seen = new Set();
	const kinds = { first: [], later: [] };
	for (const { clients: who, bytesDown, bytesUp } of rounds) {
		const known = who.filter((client) => seen.has(client)).length;
		if (known === 0) kinds.first.push({ down: bytesDown / who.length, up: bytesUp / who.length });
		if (known === who.length) kinds.later.push({ down: bytesDown / who.length, up: bytesUp / who.length });
		for (const client of who) seen.add(client);
	}
	const most = (list, pick) => (list.length === 0 ? undefined : Math.max(...list.map(pick)));
	return {
		up: most([...kinds.first, ...kinds.later], ({ up }) => up),
		firstDown: most(kinds.first, ({ down }) => down),
		laterDown: most(kinds.later, ({ down }) => down),
	};
}

const series = [];
const bytes = (count) => (count === undefined ? "-" : `${Math.round(count)} B`);
const rows = [["strategy", "rounds", "loss before", "loss after", "up/client/round", "down/client/round", "first task down", "seconds"]];
for (const name of values.strategy) {
	const scenario = CASES[name];
	if (scenario === undefined) throw new Error(`--strategy ${name}: known are ${Object.keys(CASES).join(", ")}`);
	const rounds = Number(values.rounds ?? scenario.rounds);
	const model = await trained(scenario.adapters === true);
	const lossOf = async (at) => (await model.trainer.evaluate(at, heldOut)).loss;
	let evaluatingMs = 0;
	const startedMs = performance.now();
	const points = [{ round: 0, loss: before, seconds: 0, bytes: 0 }];
	const started = new Set();
	let bytesSoFar = 0;
	const result = await simulate({
		strategy: registry.strategy(scenario.strategy ?? name),
		options: { ...scenario.options, cohortSize: cohort, ...JSON.parse(values.options) },
		layout: model.layout,
		initial: model.weights,
		publicSeed: seedOf("a"),
		secretSeed: seedOf("b"),
		clients: speakers.map(({ name: id, data }) => ({ id, data, trainer: model.trainer })),
		rounds,
		evaluate: async (at) => {
			const fromMs = performance.now();
			const loss = await lossOf(at);
			evaluatingMs += performance.now() - fromMs;
			return { loss };
		},
		settings: { evaluateEvery: Math.max(1, Math.floor(rounds / 10)) },
		keepReports: false,
		onCommit: ({ round, clients: who, metrics, evaluation, bytesUp, bytesDown }) => {
			// The model that all start from travels once for each client, whatever the strategy.
			const fresh = who.filter((client) => !started.has(client));
			for (const client of fresh) started.add(client);
			bytesSoFar += bytesUp + bytesDown - 4 * model.layout.length * fresh.length;
			if (evaluation !== undefined)
				points.push({
					round,
					loss: evaluation.loss,
					seconds: (performance.now() - startedMs - evaluatingMs) / 1000,
					bytes: bytesSoFar / clients,
				});
			const measured = evaluation === undefined ? "" : `, held out ${evaluation.loss.toFixed(3)}`;
			console.log(`${name} round ${round}/${rounds}: training loss ${metrics["client.loss"]?.toFixed(3)}${measured}`);
		},
	});
	if (result.phase !== "completed") throw new Error(`${name} ended ${result.phase}: ${result.reason}`);
	const seconds = (performance.now() - startedMs - evaluatingMs) / 1000;
	const { up, firstDown, laterDown } = bytesPerTask(result.rounds);
	const after = await lossOf(result.weights);
	console.log(`${name} writes: ${await continued(model.whole(result.weights), "My lord,", 60)}`);
	rows.push([name, String(rounds), before.toFixed(3), after.toFixed(3), bytes(up), bytes(laterDown), bytes(firstDown), seconds.toFixed(0)]);
	series.push({ label: scenario.label, points });
	if (model.trainer !== trainer) await model.trainer.dispose();
}
await trainer.dispose();
if (values.plot !== undefined) writeFileSync(values.plot, lossPlot("loss per held-out token, nats", series));
const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
for (const row of rows) console.log(row.map((cell, i) => cell.padStart(widths[i])).join("  "));
