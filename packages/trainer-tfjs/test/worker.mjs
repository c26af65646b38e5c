import { parentPort } from "node:worker_threads";
import { randomFromSeed } from "@rondo/kernels";
import { createTfjsTrainer, denseClassifier } from "@rondo/trainer-tfjs";

const { architecture, layout, weights } = denseClassifier({ inputs: 784, hidden: [16], classes: 10, random: randomFromSeed("worker") });
const trainer = await createTfjsTrainer({ architecture, layout });
const inputs = Float32Array.from({ length: 4 * 784 }, (_, i) => Math.abs(Math.sin(i)));
const gradient = new Float32Array(layout.length);
const loss = await trainer.gradient(weights, { size: 4, inputs, labels: Int32Array.of(1, 2, 3, 4) }, gradient);
const result = { loss, gradient, description: trainer.description };
if (parentPort === null) process.stdout.write(JSON.stringify({ ...result, gradient: [...gradient] }));
else parentPort.postMessage(result);
await trainer.dispose();
