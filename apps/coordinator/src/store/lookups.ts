import { decodePlain, vecsIn } from "@rondo/algorithms";
import { logRecord, metricsOf, pageOf, planOf, reportRow, roundIdOf, startOf, TASK_RELATIONS, takeOf, taskRow } from "./rows.js";
import type { RoundRow, Store } from "./store.js";
import type { Database } from "./transactions.js";

type Lookups = Pick<
	Store,
	| "getTask"
	| "pastTask"
	| "openTasksOf"
	| "settlementsOf"
	| "lastApplied"
	| "getReport"
	| "reportsOf"
	| "listRounds"
	| "listTasks"
	| "readLog"
	| "readAccepted"
	| "reachableBlobs"
>;

const REPORT_RELATIONS = { task: { select: { clientId: true } } } as const;
const OPEN_PHASES = ["planned", "collecting", "closing"];
const LIVE_PHASES = ["created", "running", "paused"];
/** Reports decoded at a time; each may be as large as an inline report. */
const BATCH = 200;

/** Everything that only reads. */
export function lookups(database: Database): Lookups {
	return {
		getTask: (id) =>
			database.read("getTask", async (prisma) => {
				const row = await prisma.task.findUnique({ where: { id }, include: TASK_RELATIONS });
				return row === null ? null : taskRow(row);
			}),

		pastTask: (id) =>
			database.read("pastTask", async (prisma) => {
				const row = await prisma.task.findUnique({ where: { id }, select: { clientId: true, report: { select: { digest: true } } } });
				if (row === null) return null;
				return { client: row.clientId, ...(row.report === null ? {} : { acceptedDigest: row.report.digest }) };
			}),

		openTasksOf: (client) =>
			database.read("openTasksOf", async (prisma) => {
				const where = { clientId: client, outcome: null, phase: "leased", landing: { phase: "collecting" } };
				const rows = await prisma.task.findMany({ where, include: TASK_RELATIONS, orderBy: [{ leasedAt: "asc" }, { id: "asc" }] });
				return rows.map(taskRow);
			}),

		settlementsOf: (client, tasks) =>
			database.read("settlementsOf", async (prisma) => {
				const where = { clientId: client, id: { in: [...tasks] }, outcome: { not: null } };
				const rows = await prisma.task.findMany({ where, select: { id: true, outcome: true, settledCommit: true } });
				return rows.map((row) => ({ task: row.id, outcome: row.outcome as "applied" | "discarded", commit: row.settledCommit! }));
			}),

		lastApplied: (run, client) =>
			database.read("lastApplied", async (prisma) => {
				const row = await prisma.task.findFirst({
					where: { clientId: client, outcome: "applied", round: { runId: run, kind: "train" } },
					// Several reports of one client may be in one commit; their order there is that of their tasks.
					orderBy: [{ settledCommit: "desc" }, { id: "desc" }],
					select: { id: true },
				});
				return row?.id ?? null;
			}),

		getReport: (task) =>
			database.read("getReport", async (prisma) => {
				const row = await prisma.report.findUnique({ where: { taskId: task }, include: REPORT_RELATIONS });
				return row === null ? null : reportRow(row);
			}),

		reportsOf: (run, key) =>
			database.read("reportsOf", async (prisma) => {
				const where = { task: { landingId: roundIdOf(run, key) } };
				const rows = await prisma.report.findMany({ where, include: REPORT_RELATIONS, orderBy: { sequence: "asc" } });
				return rows.map(reportRow);
			}),

		listRounds: (run, { after, limit, kind }) =>
			database.read("listRounds", async (prisma) => {
				const rows = await prisma.round.findMany({
					where: { runId: run, ...(kind === undefined ? {} : { kind }) },
					orderBy: [{ round: "desc" }, { kind: "asc" }, { attempt: "desc" }],
					take: takeOf(limit),
					...startOf(after),
				});
				const sums = await prisma.task.groupBy({
					by: ["landingId"],
					where: { landingId: { in: rows.map(({ id }) => id) } },
					_count: true,
					_sum: { bytesDown: true, bytesUp: true },
				});
				const sumOf = new Map(sums.map((sum) => [sum.landingId, sum]));
				return pageOf(rows, limit, (row): RoundRow => {
					const sum = sumOf.get(row.id);
					return {
						id: row.id,
						key: { kind: row.kind as RoundRow["key"]["kind"], round: row.round, attempt: row.attempt },
						track: row.track,
						commit: row.commit,
						phase: row.phase as RoundRow["phase"],
						plan: planOf(row.plan),
						population: row.population,
						openedAt: row.openedAt,
						closedAt: row.closedAt,
						reason: row.reason,
						metrics: metricsOf(row.metrics),
						scores: row.scores as unknown as RoundRow["scores"],
						leased: sum?._count ?? 0,
						accepted: row.accepted,
						bytesDown: Number(sum?._sum.bytesDown ?? 0),
						bytesUp: Number(sum?._sum.bytesUp ?? 0),
					};
				});
			}),

		listTasks: (run, key) =>
			database.read("listTasks", async (prisma) => {
				const rows = await prisma.task.findMany({
					where: { landingId: roundIdOf(run, key) },
					include: TASK_RELATIONS,
					orderBy: { slot: "asc" },
				});
				return rows.map(taskRow);
			}),

		readLog: (run, fromCommit, limit) =>
			database.read("readLog", async (prisma) => {
				const where = { runId: run, commit: { gte: fromCommit } };
				return (await prisma.logEntry.findMany({ where, orderBy: { commit: "asc" }, take: takeOf(limit) - 1 })).map(logRecord);
			}),

		readAccepted: (run, commit) =>
			database.read("readAccepted", async (prisma) => {
				const row = await prisma.logEntry.findUnique({ where: { runId_commit: { runId: run, commit } } });
				return row === null ? [] : logRecord(row).accepted;
			}),

		reachableBlobs: (keepRounds) => database.read("reachableBlobs", (prisma) => reachableBlobs(prisma, keepRounds)),
	};
}

async function reachableBlobs(prisma: Database["prisma"], keepRounds: number): Promise<readonly string[]> {
	const digests = new Set<string>();
	const note = (bytes: Uint8Array): void => {
		for (const vec of vecsIn(decodePlain(bytes))) digests.add(vec.sha256);
	};
	for (const { weights } of await prisma.model.findMany({ select: { weights: true } })) digests.add(weights);
	// Manifests may be large, so the database picks the digests out of them.
	const assets = await prisma.$queryRaw<readonly { readonly digest: string | null }[]>`
		SELECT asset->>'digest' AS digest FROM "Model", jsonb_array_elements(
			CASE WHEN jsonb_typeof("manifest"->'assets') = 'array' THEN "manifest"->'assets' ELSE '[]'::jsonb END
		) AS asset`;
	for (const { digest } of assets) if (digest !== null) digests.add(digest);
	for (const { id } of await prisma.run.findMany({ select: { id: true } })) {
		const run = await prisma.run.findUniqueOrThrow({ where: { id }, select: { state: true, commit: true, rounds: true, phase: true } });
		note(run.state);
		const newest = { runId: id, commit: { gt: run.commit - keepRounds } };
		for (const { entry } of await prisma.logEntry.findMany({ where: newest, select: { entry: true } })) note(entry);
		const open = { runId: id, phase: { in: OPEN_PHASES } };
		for (const { payload } of await prisma.round.findMany({ where: { ...open, payload: { not: null } }, select: { payload: true } }))
			note(payload!);
		// Between two rounds of an asynchronous run.
		const inFlight = LIVE_PHASES.includes(run.phase) ? [{ endsAtMs: { not: null }, landing: { runId: id, phase: "committed" } }] : [];
		const kept = { OR: [open, { runId: id, round: { gt: run.rounds - keepRounds } }] };
		await eachBatch(
			(after) => prisma.member.findMany({ where: { runId: id, clientId: { gt: after } }, orderBy: { clientId: "asc" }, take: BATCH }),
			"clientId",
			(row) => note(row.value),
		);
		await eachBatch(
			(after) =>
				prisma.report.findMany({ where: { taskId: { gt: after }, task: { landing: kept } }, orderBy: { taskId: "asc" }, take: BATCH }),
			"taskId",
			(row) => note(row.content),
		);
		await eachBatch(
			(after) =>
				prisma.task.findMany({
					where: { id: { gt: after }, phase: "leased", OR: [{ landing: open }, ...inFlight] },
					orderBy: { id: "asc" },
					take: BATCH,
				}),
			"id",
			(row) => note(row.payload),
		);
	}
	return [...digests].sort();
}

/** Visits rows in the order of a text key, a batch at a time. */
async function eachBatch<K extends string, Row extends Readonly<Record<K, string>>>(
	next: (after: string) => Promise<Row[]>,
	key: K,
	visit: (row: Row) => void,
): Promise<void> {
	for (let after = ""; ; ) {
		const rows = await next(after);
		for (const row of rows) visit(row);
		const last = rows.at(-1);
		if (last === undefined) return;
		after = last[key];
	}
}
