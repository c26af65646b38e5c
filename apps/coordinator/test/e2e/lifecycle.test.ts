import { expect, test } from "vitest";
import { startPostgres } from "../postgres.js";
import { CoordinatorProcess, freePort } from "./coordinator-process.js";
import { startClient } from "./sdk-client.js";

const OPTIONS = { cohortSize: 1, quorum: 1, deadlineMs: 600_000, candidates: 16, localSteps: 4, learningRate: 0.01, batchSize: 4 };

test("after kill -9 the next process takes the folder over and finishes the run; SIGTERM ends it in order", async () => {
	const killed = await CoordinatorProcess.start();
	await killed.importModel(8);
	const token = await killed.enrolmentToken();
	const run = await killed.submit({ strategy: "fedkseed", rounds: 2, options: OPTIONS });
	expect(await killed.child.kill("SIGKILL")).toMatchObject({ signal: "SIGKILL" });

	// A lock that is not taken over in nine seconds ends the start with FOLDER_LOCKED.
	const next = killed.restart();
	await next.ready();
	await startClient(next, token, 0);
	expect(await next.ended(run)).toMatchObject({ phase: "completed", commit: 2 });

	expect(await next.child.kill("SIGTERM")).toMatchObject({ code: 0 });
	const last = next.restart();
	await last.ready();
	expect(await last.get(`/runs/${run}`)).toMatchObject({ phase: "completed", commit: 2 });
});

test("SIGTERM in the middle of a run loses nothing: clients hear of it, come back and finish", async () => {
	const first = await CoordinatorProcess.start();
	await first.importModel(8);
	const token = await first.enrolmentToken();
	let finish: () => void = () => undefined;
	const mayTrain = new Promise<void>((resolve) => {
		finish = resolve;
	});
	const client = await startClient(first, token, 0, {
		shouldTrain: async () => {
			await mayTrain;
			return true;
		},
	});
	const offered = new Promise((resolve) => client.once("offer", resolve));
	const run = await first.submit({ strategy: "fedkseed", rounds: 1, options: OPTIONS });
	await offered;
	const lost = new Promise((resolve) => client.once("disconnected", resolve));
	expect(await first.child.kill("SIGTERM")).toMatchObject({ code: 0 });
	await lost;
	// The report is made while nobody listens: it waits in the outbox.
	finish();
	const next = first.restart();
	await next.ready();
	expect(await next.ended(run)).toMatchObject({ phase: "completed", commit: 1 });
});

test("a folder that a live coordinator holds is refused", async () => {
	const holder = await CoordinatorProcess.start();
	const other = await CoordinatorProcess.spawn({}, holder.dataDir);
	expect(await other.child.exited).toMatchObject({ code: 1 });
	expect(other.child.output).toContain("FOLDER_LOCKED");
	expect(holder.child.isRunning).toBe(true);
});

test("of two coordinators on one PostgreSQL the older one is fenced and ends", async () => {
	const postgres = await startPostgres();
	try {
		const database = { "database-url": await postgres.createDatabase() };
		const older = await CoordinatorProcess.start(database);
		await older.importModel(8);
		// Waits for a client, and writes down how long it has waited.
		const run = await older.submit({ strategy: "fedkseed", rounds: 1, options: OPTIONS });
		const newer = await CoordinatorProcess.start(database);
		expect(await older.child.exited).toMatchObject({ code: 1 });
		expect(older.child.output).toContain("FENCED");
		expect(await newer.get(`/runs/${run}`)).toMatchObject({ phase: "running" });
		await newer.child.kill("SIGKILL");
	} finally {
		await postgres.stop();
	}
});

test("a full disk makes clients wait, and costs no report", async () => {
	const roomy = await CoordinatorProcess.start({ "grpc-port": await freePort() });
	await roomy.importModel(2_000);
	const token = await roomy.enrolmentToken();
	const { candidates: _candidates, localSteps: _localSteps, ...options } = OPTIONS;
	const run = await roomy.submit({ strategy: "fedavg", rounds: 2, options });
	await roomy.child.kill("SIGTERM");

	// No disk has this much to spare: everything that arrives now would eat into the reserve.
	const full = await CoordinatorProcess.start({ ...roomy.flags, "reserve-bytes": 2 ** 49 }, roomy.dataDir);
	const client = await startClient(full, token, 0);
	const refused = await new Promise<{ code: string; errorCode: string }>((resolve) => {
		client.on("receipt", (receipt) => resolve(receipt));
		client.on("error", ({ code }) => resolve({ code: "error", errorCode: code }));
	});
	expect(refused).toMatchObject({ errorCode: "DISK_FULL" });
	expect(await full.get(`/runs/${run}`)).toMatchObject({ phase: "running", commit: 0 });
	await full.child.kill("SIGTERM");

	const again = await CoordinatorProcess.start({ ...full.flags, "reserve-bytes": 0 }, roomy.dataDir);
	expect(await again.ended(run)).toMatchObject({ phase: "completed", commit: 2 });
});
