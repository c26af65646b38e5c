import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AGENTS } from "./scenarios.mjs";

const CLI = fileURLToPath(new URL("../../apps/cli/bin/rondo.js", import.meta.url));

/** JSON lines of a file; none when it does not exist. A line that a kill cut short is not a record. */
async function linesOf(file) {
	const text = await readFile(file, "utf8").catch((error) => {
		if (error.code === "ENOENT") return "";
		throw error;
	});
	return text
		.split("\n")
		.slice(0, -1)
		.map((line) => JSON.parse(line));
}

/** What a finished run says of itself: its log, and the digest of the file that holds its model. */
export async function resultOf(rest, run) {
	const log = await rest.log(run.id);
	const model = await rest.fetch(`/runs/${run.id}/model`);
	const sha256 = createHash("sha256")
		.update(new Uint8Array(await model.arrayBuffer()))
		.digest("hex");
	const rounds = log.map(({ content }) => JSON.stringify([content.round, content.state, content.publish, content.metrics]));
	return { log, sha256, rounds };
}

/** Reports whose ACCEPTED a client has on disk, but that are neither in the log nor discarded with their round. */
export async function missingReports({ rest, folder, run, log }) {
	const applied = new Map(log.flatMap(({ accepted }) => accepted.map(({ task, digest }) => [task, digest])));
	const discarded = new Set();
	for (const round of await rest.list(`/runs/${run.id}/rounds`)) {
		if (round.phase === "committed" && round.accepted > 0) continue;
		const { tasks } = await rest.get(`/runs/${run.id}/rounds/${round.kind}/${round.round}/${round.attempt}`);
		for (const { id, outcome } of tasks) if (outcome === "discarded") discarded.add(id);
	}
	const missing = [];
	let receipts = 0;
	for (let index = 0; index < AGENTS; index++) {
		for (const { taskId, digest } of await linesOf(join(folder, `receipts-${index}.jsonl`))) {
			receipts++;
			if (applied.get(taskId) !== digest && !discarded.has(taskId)) missing.push(taskId);
		}
	}
	return { receipts, missing };
}

/** Rounds whose frozen set is not the one that was committed. */
export async function changedSets({ file, log }) {
	const committed = new Map(log.map(({ content }) => [`${content.round}/${content.attempt}`, content.set]));
	const changed = new Set();
	const first = new Map();
	for (const { key, digest } of await linesOf(file)) {
		const name = `${key.round}/${key.attempt}`;
		if (!first.has(name)) first.set(name, digest);
		if (first.get(name) !== digest || (committed.get(name) ?? digest) !== digest) changed.add(name);
	}
	return [...changed];
}

/** Recomputes the run from its log and reports in a process of its own. @returns {Promise<string | undefined>} what differs */
export function replayDifference(rest, run) {
	return new Promise((resolve, reject) => {
		const args = [CLI, "--format", "json", "run", "verify", run.id, "--url", rest.url];
		const child = spawn(process.execPath, args, { env: { ...process.env, RONDO_TOKEN: rest.token }, stdio: ["ignore", "pipe", "pipe"] });
		let output = "";
		const keep = (chunk) => {
			output = (output + chunk).slice(-4_000);
		};
		child.stdout.on("data", keep);
		child.stderr.on("data", keep);
		child.once("error", reject);
		child.once("close", (code) => resolve(code === 0 ? undefined : `rondo run verify ended with ${code}: ${output}`));
	});
}
