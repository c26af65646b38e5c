import { Worker } from "node:worker_threads";

/**
 * Does all jobs in `threads` threads, in the order given.
 * @param onResult called with each result and the number of those before it
 * @returns the results, in the order of the jobs
 */
export async function runJobs(jobs, threads, onResult) {
	const results = new Array(jobs.length);
	const workers = Array.from({ length: Math.min(threads, jobs.length) }, () => new Worker(new URL("./worker.mjs", import.meta.url)));
	let next = 0;
	let done = 0;
	const work = (worker) =>
		new Promise((resolve, reject) => {
			let at;
			const send = () => {
				at = next++;
				if (at < jobs.length) worker.postMessage(jobs[at]);
				else resolve();
			};
			worker.on("message", (result) => {
				results[at] = result;
				onResult(result, done++);
				send();
			});
			worker.on("error", reject);
			worker.on("exit", () => reject(new Error("a worker ended before its work")));
			send();
		});
	try {
		await Promise.all(workers.map(work));
	} finally {
		await Promise.all(workers.map((worker) => worker.terminate()));
	}
	return results;
}
