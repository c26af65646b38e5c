import { type EventEmitter, once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { CoordinatorProcess, testFolder } from "./coordinator-process.js";
import { startClient } from "./sdk-client.js";

const FOLLOWER = new URL("./fixtures/log-follower.mjs", import.meta.url);
const ROUNDS = 5;

test("clients follow the commit log of the run, whose bytes count, and one that comes late reads all of it", async () => {
	const coordinator = await CoordinatorProcess.start({ strategies: fileURLToPath(FOLLOWER) });
	await coordinator.importModel(4);
	const token = await coordinator.enrolmentToken();
	const stateDir = join(await testFolder(), "client-0");
	const first = await startClient(coordinator, token, 0, {
		stateDir,
		strategies: [FOLLOWER],
		// The second client comes while the third round is open, so that it is there for the fourth.
		shouldTrain: async ({ round }) => {
			if (round === 3)
				await startClient(coordinator, token, 1, { strategies: [FOLLOWER] }).then((late) => once(late as EventEmitter, "connected"));
			return true;
		},
	});
	const heads: unknown[] = [];
	first.on("settled", () =>
		readFile(join(stateDir, "log-heads.json"), "utf8").then(
			(text) => heads.push(JSON.parse(text)),
			() => {},
		),
	);
	const down: number[] = [];
	first.on("traffic", ({ bytesDown }) => down.push(bytesDown));
	const run = await coordinator.submit({
		strategy: "toy-follower",
		rounds: ROUNDS,
		options: { cohortSize: 2, quorum: 1, deadlineMs: 60_000 },
	});
	expect(await coordinator.ended(run)).toMatchObject({ phase: "completed", commit: ROUNDS });

	const { items } = await coordinator.get(`/runs/${run}/rounds?limit=50`);
	expect(items).toHaveLength(ROUNDS);
	for (const { metrics, round } of items)
		expect(metrics, `round ${round}`).toMatchObject({ "client.entries": round - 1, "client.sum": ((round - 1) * round) / 2 });
	const participants = items.map(({ accepted }: { accepted: number }) => accepted);
	expect([Math.min(...participants), Math.max(...participants)]).toEqual([1, 2]);
	// The last task cost what the log has grown to by then: four publications of 1000 bytes.
	expect(down).toHaveLength(ROUNDS);
	expect(down.at(-1)! - down[0]!).toBeGreaterThan(2000);
	expect(heads.at(-1)).toMatchObject({ [run]: { commit: expect.any(Number), hash: expect.stringMatching(/^[0-9a-f]{64}$/) } });
});
