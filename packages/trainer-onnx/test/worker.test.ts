import { execFile } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";

const script = new URL("./worker.mjs", import.meta.url);

test("a worker thread and the main thread of a process train to equal bytes, and print nothing", async () => {
	const worker = new Worker(script, { stdout: true, stderr: true });
	const printed = Promise.all([text(worker.stdout), text(worker.stderr)]);
	const exited = once(worker, "exit");
	const [inWorker] = (await once(worker, "message")) as [{ losses: number[]; weights: Float32Array; description: string }];
	expect(await exited).toEqual([0]);
	expect(await printed).toEqual(["", ""]);

	const { stdout, stderr } = await promisify(execFile)(process.execPath, [fileURLToPath(script)], { maxBuffer: 2 ** 24 });
	expect(stderr).toBe("");
	const inProcess = JSON.parse(stdout) as { losses: number[]; weights: number[]; description: string };
	expect(inProcess).toEqual({ ...inWorker, weights: [...inWorker.weights] });
	expect(inProcess.description).toMatch(/^onnxruntime .* on cpu$/);
});
