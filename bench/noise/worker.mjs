// Does one job after the other in a thread of its own.
import { parentPort } from "node:worker_threads";
import { errorsOf } from "./estimator.mjs";
import { learn } from "./tasks.mjs";

parentPort.on("message", async (job) => {
	const startedMs = performance.now();
	const result = job.task === "estimator" ? { errors: errorsOf(job) } : await learn(job);
	parentPort.postMessage({ ...job, ...result, seconds: (performance.now() - startedMs) / 1000 });
});
