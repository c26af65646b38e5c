// Our side of the trainer bench, as a process: answers "run <steps>", "stats" and "quit" like `pytorch_steps.py --serve`.
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { createOnnxTrainer } from "@rondo/trainer-onnx";
import { prepared } from "./models.mjs";

const { values } = parseArgs({
	options: {
		model: { type: "string" },
		threads: { type: "string", default: "2" },
		device: { type: "string", default: "cpu" },
		batch: { type: "string" },
		recompute: { type: "boolean", default: false },
	},
});
const { manifest, layout, weights, batches } = prepared(values.model, values.batch === undefined ? undefined : Number(values.batch));
const { device, recompute } = values;
const strict = device !== "cpu";
const trainer = await createOnnxTrainer({ manifest, layout, device, strict, threads: Number(values.threads), recompute });
const training = await trainer.begin(weights, { kind: "sgd" });
let taken = 0;

async function run(steps) {
	const cpu = process.cpuUsage();
	const startedMs = performance.now();
	let loss;
	for (let i = 0; i < steps; i++) loss = await training.step(batches[taken++ % batches.length], 0.01);
	const seconds = (performance.now() - startedMs) / 1000;
	const { user, system } = process.cpuUsage(cpu);
	return { seconds, cpuSeconds: (user + system) / 1e6, steps, loss };
}

await run(10);
const answer = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
answer({ framework: "rondo", description: trainer.description, model: values.model, parameters: layout.length, ready: true });
for await (const line of createInterface({ input: process.stdin })) {
	const [command, argument] = line.split(" ");
	if (command === "quit") break;
	if (command === "run") answer(await run(Number(argument)));
	else if (command === "stats") answer({ peakRssBytes: process.resourceUsage().maxRSS * 1024, rssBytes: process.memoryUsage.rss() });
	else answer({ error: `unknown: ${line}` });
}
await training.dispose();
await trainer.dispose();
process.stdin.destroy();
