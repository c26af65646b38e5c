import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { vecOf } from "@rondo/algorithms";
import { digestHex } from "@rondo/protocol";
import { expect, test } from "vitest";
import { client, coordinator, folder, next } from "./setup.js";

const COMMITS = 600;
const weights = Float32Array.of(1, 2, 3);

async function followed() {
	let head: { readonly commit: bigint; readonly hash: Uint8Array } = { commit: 0n, hash: new Uint8Array() };
	const fake = await coordinator((f) => {
		f.addRun({ runId: "r1", strategy: "follower", config: { x: 1 }, weights });
		// Large publications are blobs; two of them, each named by half of the entries.
		const blobs = [f.addBlob(new Uint8Array(10)), f.addBlob(new Uint8Array(20))];
		head = f.addLog(
			"r1",
			Array.from({ length: COMMITS }, (_, i) => vecOf("u8", 10 * (1 + (i % 2)), blobs[i % 2]!)),
		);
	});
	return { fake, head };
}

test("a strategy follows the log in pages, stops where it likes, and fetches what entries refer to once", async () => {
	const { fake, head } = await followed();
	const stateDir = await folder();
	const ada = await client(fake, stateDir);
	const traffic = next(ada, "traffic");
	fake.offer("ada", "r1", { after: 0, upTo: COMMITS }, { logHead: head, round: 1 });
	const { bytesDown } = await traffic;
	expect(fake.reports[0]!.report.header).toEqual({
		seen: Uint32Array.from({ length: COMMITS }, (_, i) => i + 1),
		bytes: (COMMITS / 2) * 30,
	});
	expect(fake.downloads).toHaveLength(2);
	const sent = fake.logs.get("r1")!.reduce((sum, { entry, hash }) => sum + entry.length + hash.length, 0);
	expect(bytesDown).toBeGreaterThan(sent);
	expect(bytesDown).toBeLessThan(1.1 * sent + 2000);
	expect(JSON.parse(await readFile(join(stateDir, "log-heads.json"), "utf8"))).toEqual({
		r1: { commit: COMMITS, hash: digestHex(head.hash) },
	});

	const receipt = next(ada, "receipt");
	fake.offer("ada", "r1", { after: 300, upTo: 500, stopAt: 302 }, { logHead: head, round: 2 });
	await receipt;
	expect(fake.reports[1]!.report.header).toEqual({ seen: Uint32Array.of(301, 302), bytes: 30 });
	expect(fake.logReads).toEqual([0, 301]);
	await ada.close();

	// After a restart a coordinator that tells another story is refused.
	const fork = fake.addLog("r1", Array(COMMITS + 1).fill(null));
	const again = await client(fake, stateDir);
	again.on("error", () => {});
	const declined = fake.next("decline");
	fake.offer("ada", "r1", { after: COMMITS, upTo: COMMITS + 1 }, { logHead: fork, round: 3 });
	expect((await declined)[0].reason).toMatch(/^REPLAY_MISMATCH: log of run r1, entry 601: previous hash: expected/);
});

test("a log that does not end in the head of the offer ends the task", async () => {
	const { fake, head } = await followed();
	const ada = await client(fake, await folder());
	ada.on("error", () => {});
	const declined = fake.next("decline");
	fake.offer("ada", "r1", { after: 10, upTo: 20 }, { logHead: { ...head, hash: new Uint8Array(32) } });
	expect((await declined)[0].reason).toMatch(/^REPLAY_MISMATCH: log of run r1, entry 600: hash, which is known from the offer/);
	const refused = fake.next("decline");
	fake.offer("ada", "r1", { after: 10, upTo: 601 }, { logHead: head, round: 2 });
	expect((await refused)[0].reason).toMatch(/^INVALID_ARGUMENT: log: the range/);
});
