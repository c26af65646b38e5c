// Makes model/: trains a small character model from scratch on the addresses of the presidents before the agents.
// node examples/language-model/pretrain.mjs [--steps 2500] [--threads 2]
import { readFileSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Tokenizer } from "@huggingface/tokenizers";
import { inMemoryData, tokenWindows } from "@rondo/datasets";
import { randomFromSeed, uniformBelow } from "@rondo/kernels";
import { createOnnxTrainer, exportOnnx, gpt2 } from "@rondo/trainer-onnx";
import { LAST_YEAR_OF_PRETRAINING, listAddresses, readAddress, SEPARATOR } from "./corpus.mjs";
import { characterTokenizer } from "./tokenizer.mjs";

const CONTEXT = 128;
const BATCH = 16;
const WARM_UP_STEPS = 100;
const LEARNING_RATE = 2e-3;
const FINAL_LEARNING_RATE = 1e-4;

const { values } = parseArgs({
	options: { steps: { type: "string", default: "2500" }, threads: { type: "string", default: String(availableParallelism()) } },
});
const steps = Number(values.steps);
const folder = new URL("./model/", import.meta.url);
const files = characterTokenizer();
writeFileSync(new URL("tokenizer.json", folder), `${JSON.stringify(files, null, "\t")}\n`);
const tokenizer = new Tokenizer(files, { clean_up_tokenization_spaces: false });

const addresses = listAddresses().filter(({ year }) => year <= LAST_YEAR_OF_PRETRAINING);
const tokensOf = (list) => Int32Array.from(list.flatMap((address) => tokenizer.encode(SEPARATOR + readAddress(address)).ids));
// Every twentieth address is for evaluation.
const training = tokensOf(addresses.filter((_, i) => i % 20 !== 10));
const heldOutTokens = tokensOf(addresses.filter((_, i) => i % 20 === 10));
const heldOut = inMemoryData(tokenWindows(heldOutTokens.slice(0, 200 * CONTEXT), CONTEXT));

const model = gpt2({ vocabulary: Object.keys(files.model.vocab).length, contextLength: CONTEXT, width: 128, layers: 4, heads: 4 });
const random = randomFromSeed("rondo language-model example");
const weights = model.initialWeights(random.at("weights"));
const trainer = await createOnnxTrainer({ ...model, device: "cpu", threads: Number(values.threads) });
console.log(`${model.layout.length} parameters, ${training.length} characters of ${addresses.length} addresses, ${trainer.description}`);

/** Windows drawn anywhere in the text. */
function batchOf(step) {
	const inputs = new Int32Array(BATCH * CONTEXT);
	const labels = new Int32Array(BATCH * CONTEXT);
	for (let row = 0; row < BATCH; row++) {
		const from = uniformBelow(random.at("batch", step), row, training.length - CONTEXT);
		inputs.set(training.subarray(from, from + CONTEXT), row * CONTEXT);
		labels.set(training.subarray(from + 1, from + CONTEXT + 1), row * CONTEXT);
	}
	return { size: BATCH, inputs, labels };
}

/** Linear to the top, then half a cosine down. */
function learningRateAt(step) {
	if (step < WARM_UP_STEPS) return (LEARNING_RATE * (step + 1)) / WARM_UP_STEPS;
	const done = (step - WARM_UP_STEPS) / (steps - WARM_UP_STEPS);
	return FINAL_LEARNING_RATE + ((LEARNING_RATE - FINAL_LEARNING_RATE) * (1 + Math.cos(Math.PI * done))) / 2;
}

const local = await trainer.begin(weights, { kind: "adam", weightDecay: 0.01, clipNorm: 1 });
const startedMs = performance.now();
let recent = 0;
for (let step = 0; step < steps; step++) {
	recent += await local.step(batchOf(step), learningRateAt(step));
	if ((step + 1) % 100 !== 0 && step + 1 < steps) continue;
	await local.read(weights);
	const { loss } = await trainer.evaluate(weights, heldOut);
	const seconds = (performance.now() - startedMs) / 1000;
	console.log(
		`step ${step + 1}: training ${(recent / ((step % 100) + 1)).toFixed(3)}, held out ${loss.toFixed(3)} nats per character, ${seconds.toFixed(0)} s`,
	);
	recent = 0;
	writeFileSync(new URL("model.onnx", folder), exportOnnx(model.manifest, model.layout, weights));
}
await local.dispose();
await trainer.dispose();
console.log(`model.onnx has ${readFileSync(new URL("model.onnx", folder)).length} bytes`);
