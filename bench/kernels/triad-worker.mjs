import { parentPort, workerData } from "node:worker_threads";

const [a, b, c] = [0, 1, 2].map((value) => new Float64Array(workerData).fill(value));
const factor = 1.5;
parentPort.on("message", (passes) => {
	for (let pass = 0; pass < passes; pass++) for (let i = 0; i < a.length; i++) a[i] = b[i] + factor * c[i];
	parentPort.postMessage("done");
});
