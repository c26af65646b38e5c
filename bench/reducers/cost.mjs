// What a closed round costs: seconds and memory of each reducer, reports read from disk as the coordinator reads them.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openSyncIo } from "@rondo/coordinator";

const CHILD = fileURLToPath(new URL("child.mjs", import.meta.url));

/** Values like small updates: a hash of client and element, spread over ±0.02, around a common direction. */
function update(client, length) {
	return (from, to) => {
		const out = new Float32Array(to - from);
		for (let j = from; j < to; j++) {
			const common = (Math.imul(j + 1, 0x9e37_79b1) >>> 0) / 2 ** 32 - 0.5;
			const own = (Math.imul(j + 1 + client * length, 0x85eb_ca6b) >>> 0) / 2 ** 32 - 0.5;
			out[j - from] = 0.02 * (common + own);
		}
		return out;
	};
}

/** Rows of the table for one length of the model. */
export function measureCost(length, reports, reducers, threads) {
	const folder = mkdtempSync(join(tmpdir(), "rondo-reducers-"));
	try {
		mkdirSync(join(folder, "partial"), { recursive: true });
		const io = openSyncIo(folder);
		const initial = io.write("f32", length, (from, to) => new Float32Array(to - from)).sha256;
		const digests = Array.from({ length: reports }, (_, client) => io.write("f32", length, update(client, length)).sha256);
		return reducers.map((own) => {
			const options = { cohortSize: reports, quorum: reports, ...own };
			const argument = JSON.stringify({ folder, length, digests, initial, options, threads });
			const { status, stdout, stderr } = spawnSync(process.execPath, [CHILD, argument], { encoding: "utf8" });
			if (status !== 0) throw new Error(`${own.reducer} ended with ${status}: ${stderr}`);
			return { reducer: own.reducer, length, ...JSON.parse(stdout) };
		});
	} finally {
		rmSync(folder, { recursive: true, force: true });
	}
}
