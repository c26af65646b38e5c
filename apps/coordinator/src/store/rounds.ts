import { RondoError } from "@rondo/errors";
import type { RoundKey } from "@rondo/rounds";
import { ownBytes, roundIdOf, toBytes, toJson, toText } from "./rows.js";
import { resultColumn } from "./runs.js";
import type { Acceptance, CommitWrite, Store } from "./store.js";
import type { Database, Transaction } from "./transactions.js";

type Rounds = Pick<
	Store,
	"openRound" | "leaseTasks" | "accept" | "endTask" | "freeze" | "commit" | "closeEvaluation" | "abandon" | "saveBudgets" | "countBytes"
>;

interface LockedRound {
	readonly phase: string;
	readonly accepted: number;
	readonly setDigest: string | null;
}

/** The durable effects of the round machine. Each locks the round first, so that they happen one after the other. */
export function rounds(database: Database): Rounds {
	return {
		openRound: (run, state, population, payload) =>
			database.write("openRound", async (tx) => {
				const { kind, track, round, attempt, commit, phase, plan, waitLeftMs, leftMs } = state;
				const data = {
					runId: run,
					kind,
					track,
					round,
					attempt,
					commit,
					phase,
					waitLeftMs,
					leftMs,
					population,
					payload: payload === null ? null : ownBytes(payload),
				};
				const id = roundIdOf(run, state);
				await tx.round.createMany({ data: [{ id, plan: toBytes(plan), ...data }], skipDuplicates: true });
				const taken = Object.values(state.tasks);
				if (taken.length === 0) return;
				const [tasks, ends] = [taken.map((task) => task.id), taken.map(({ endsAtMs = 0 }) => endsAtMs)];
				await tx.$executeRaw`
					UPDATE "Task" t SET "landingId" = ${id}, "endsAtMs" = c.ends
					FROM unnest(${tasks}::text[], ${ends}::double precision[]) AS c (task, ends) WHERE t.id = c.task AND t.phase = 'leased'`;
			}),

		leaseTasks: (run, key, tasks) =>
			database.write("leaseTasks", async (tx) => {
				const id = roundIdOf(run, key);
				await lockIn(tx, run, key, ["planned", "collecting"]);
				await tx.task.createMany({
					data: tasks.map((task) => ({
						id: task.id,
						roundId: id,
						landingId: id,
						clientId: task.client,
						slot: task.slot,
						phase: "leased",
						payload: ownBytes(task.payload),
						carryBasis: task.carryBasis,
						endsAtMs: task.endsAtMs ?? null,
					})),
					skipDuplicates: true,
				});
				await tx.round.update({ where: { id }, data: { phase: "collecting" } });
			}),

		accept: (run, key, report) => database.write("accept", (tx) => accept(tx, run, key, report)),

		endTask: (run, task, phase, reason) =>
			database.write("endTask", async (tx) => {
				const where = { id: task, round: { runId: run } };
				const { count } = await tx.task.updateMany({
					where: { ...where, phase: "leased" },
					data: { phase, reason: toText(reason), endedAt: new Date() },
				});
				if (count === 1) return;
				const row = await tx.task.findFirst({ where, select: { phase: true } });
				if (row?.phase === phase) return;
				if (row === null) throw new RondoError("NOT_FOUND", `run ${run} has no task ${task}`, { details: { run, task } });
				throw conflict(`task ${task} is ${row.phase} and cannot become ${phase}`, { run, task, phase: row.phase });
			}),

		freeze: (run, key, tasks, setDigest) =>
			database.write("freeze", async (tx) => {
				const id = roundIdOf(run, key);
				const locked = await lockIn(tx, run, key, ["collecting", "closing"]);
				if (locked.phase === "closing" && locked.setDigest === setDigest) return;
				const accepted = await tx.task.findMany({ where: { landingId: id, phase: "accepted" }, select: { id: true } });
				const named = new Set(tasks);
				if (locked.phase !== "collecting" || named.size !== accepted.length || !accepted.every((task) => named.has(task.id))) {
					throw conflict(
						`${id} cannot be frozen with ${tasks.length} reports: it is ${locked.phase} and has accepted ${accepted.length}, or others`,
						{
							round: id,
							phase: locked.phase,
						},
					);
				}
				await tx.round.update({ where: { id }, data: { phase: "closing", setDigest } });
			}),

		commit: (write) => database.write("commit", (tx) => commit(tx, write)),

		closeEvaluation: (run, key, metrics, applied) =>
			database.write("closeEvaluation", async (tx) => {
				const locked = await lockIn(tx, run, key, ["closing", "committed"]);
				if (locked.phase === "committed") return;
				const { commit: at } = await tx.run.findUniqueOrThrow({ where: { id: run }, select: { commit: true } });
				await settle(tx, roundIdOf(run, key), applied.length, at);
				await closeRound(tx, roundIdOf(run, key), { phase: "committed", metrics: toJson(metrics) });
			}),

		abandon: (run, key, _discarded, reason, misses) =>
			database.write("abandon", async (tx) => {
				const id = roundIdOf(run, key);
				const locked = await lockIn(tx, run, key, ["planned", "collecting", "closing", "abandoned"]);
				if (locked.phase === "abandoned") return;
				const { commit: at } = await tx.run.update({ where: { id: run }, data: { misses }, select: { commit: true } });
				await settle(tx, id, 0, at);
				await closeRound(tx, id, { phase: "abandoned", reason: toText(reason) });
			}),

		saveBudgets: (run, key, waitLeftMs, leftMs) =>
			database.write("saveBudgets", async (tx) => {
				await tx.round.updateMany({ where: { id: roundIdOf(run, key) }, data: { waitLeftMs, leftMs } });
			}),

		countBytes: (counts) =>
			database.write("countBytes", async (tx) => {
				const [tasks, down, up, delivered] = [
					counts.map(({ task }) => task),
					counts.map((count) => count.down),
					counts.map((count) => count.up),
					counts.map((count) => count.delivered),
				];
				await tx.$executeRaw`
					UPDATE "Task" t SET "bytesDown" = "bytesDown" + c.down, "bytesUp" = "bytesUp" + c.up,
						"deliveredAt" = CASE WHEN c.delivered THEN COALESCE("deliveredAt", CURRENT_TIMESTAMP AT TIME ZONE 'UTC') ELSE "deliveredAt" END
					FROM (
						SELECT task, sum(down) AS down, sum(up) AS up, bool_or(delivered) AS delivered
						FROM unnest(${tasks}::text[], ${down}::bigint[], ${up}::bigint[], ${delivered}::boolean[]) AS one (task, down, up, delivered) GROUP BY task
					) c WHERE t.id = c.task`;
			}),
	};
}

const NOT_CARRIED = "its model was too old, its lease had ended or its run was over when the round was committed";

/** Acceptance and freezing meet at the lock of the round: a report is in the frozen set or hears that it came too late. */
async function accept(tx: Transaction, run: string, key: RoundKey, report: Parameters<Store["accept"]>[2]): Promise<Acceptance> {
	const id = roundIdOf(run, key);
	const round = await lock(tx, id);
	const [task] = await tx.$queryRaw<{ phase: string; landingId: string; digest: string | null }[]>`
		SELECT t.phase, t."landingId", r.digest FROM "Task" t LEFT JOIN "Report" r ON r."taskId" = t.id WHERE t.id = ${report.task}`;
	if (typeof task?.digest === "string") return { kind: task.digest === report.digest ? "duplicate" : "conflict", digest: task.digest };
	if (round?.phase !== "collecting" || task?.phase !== "leased" || task.landingId !== id) return { kind: "closed" };
	const { digest, content, numExamples, staleness, bytesUp } = report;
	// One statement instead of three: a round's reports are accepted one after the other, so its lock must be held briefly.
	await tx.$executeRaw`
		WITH counted AS (UPDATE "Round" SET accepted = accepted + 1 WHERE id = ${id}),
		written AS (
			INSERT INTO "Report" ("taskId", digest, content, "numExamples", staleness, sequence)
			VALUES (${report.task}, ${digest}, ${ownBytes(content)}, ${numExamples}, ${staleness}, ${round.accepted})
		)
		UPDATE "Task" SET phase = 'accepted', "endedAt" = CURRENT_TIMESTAMP AT TIME ZONE 'UTC', "bytesUp" = "bytesUp" + ${bytesUp} WHERE id = ${report.task}`;
	return { kind: "accepted", sequence: round.accepted };
}

async function commit(tx: Transaction, write: CommitWrite): Promise<void> {
	const { run, record } = write;
	const id = roundIdOf(run, write.key);
	const [head] = await tx.$queryRaw<{ commit: number; logHead: string; incarnation: number }[]>`
		SELECT commit, "logHead", incarnation FROM "Run" WHERE id = ${run} FOR NO KEY UPDATE`;
	if (head === undefined) throw new RondoError("NOT_FOUND", `no run has id ${JSON.stringify(run)}`, { details: { run } });
	if (head.commit === record.commit && head.logHead === record.hash) return;
	if (record.entry.kind === "genesis" || record.commit !== head.commit + 1 || record.entry.previous !== head.logHead) {
		throw conflict(`commit ${record.commit} of run ${run} does not follow commit ${head.commit} with hash ${head.logHead}`, {
			run,
			commit: head.commit,
		});
	}
	await lockIn(tx, run, write.key, record.entry.kind === "skip" ? ["planned", "collecting", "closing"] : ["closing"]);
	await settle(tx, id, write.applied.length, record.commit);
	if (write.carried !== undefined) {
		await tx.task.updateMany({
			where: { landingId: id, phase: "leased", id: { notIn: [...write.carried] } },
			data: { phase: "expired", reason: NOT_CARRIED, endedAt: new Date() },
		});
	}
	await closeRound(tx, id, { phase: "committed", metrics: toJson(write.metrics), scores: toJson(write.scores) });
	await tx.logEntry.create({
		data: { runId: run, commit: record.commit, hash: record.hash, entry: toBytes(record.entry), accepted: toBytes(record.accepted) },
	});
	if (write.members.length > 0) {
		await tx.member.deleteMany({ where: { runId: run, clientId: { in: write.members.map(([client]) => client) } } });
		const kept = write.members.flatMap(([clientId, value]) => (value === null ? [] : [{ runId: run, clientId, value: toBytes(value) }]));
		await tx.member.createMany({ data: kept });
	}
	await tx.run.update({
		where: { id: run },
		data: {
			commit: record.commit,
			rounds: { increment: 1 },
			misses: write.misses,
			logHead: record.hash,
			...(write.state === undefined ? {} : { state: toBytes(write.state) }),
			...resultColumn(write.result),
			...(write.ending === undefined ? {} : { ending: toText(write.ending) }),
		},
	});
}

/** Settles the accepted reports of a round: all applied, or, when none is, all discarded. */
async function settle(tx: Transaction, round: string, applied: number, at: number): Promise<void> {
	const outcome = applied > 0 ? "applied" : "discarded";
	const { count } = await tx.task.updateMany({ where: { landingId: round, phase: "accepted" }, data: { outcome, settledCommit: at } });
	if (applied > 0 && count !== applied) {
		throw conflict(`${round} has ${count} accepted reports, ${applied} were applied`, { round, accepted: count, applied });
	}
}

const closeRound = (tx: Transaction, id: string, data: Parameters<Transaction["round"]["update"]>[0]["data"]) =>
	tx.round.update({ where: { id }, data: { ...data, closedAt: new Date() } });

async function lock(tx: Transaction, id: string): Promise<LockedRound | undefined> {
	const [row] = await tx.$queryRaw<LockedRound[]>`SELECT phase, accepted, "setDigest" FROM "Round" WHERE id = ${id} FOR NO KEY UPDATE`;
	return row;
}

/** Locks a round until the end of the transaction. @throws NOT_FOUND; CONFLICT when its phase is not one of these. */
async function lockIn(tx: Transaction, run: string, key: RoundKey, phases: readonly string[]): Promise<LockedRound> {
	const id = roundIdOf(run, key);
	const row = await lock(tx, id);
	if (row === undefined) throw new RondoError("NOT_FOUND", `there is no round ${id}`, { details: { round: id } });
	if (!phases.includes(row.phase)) throw conflict(`${id} is ${row.phase}, not ${phases.join(" or ")}`, { round: id, phase: row.phase });
	return row;
}

const conflict = (message: string, details: Readonly<Record<string, unknown>>): RondoError =>
	new RondoError("CONFLICT", message, { details });
