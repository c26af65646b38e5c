import { decodePlain, type Vec, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { RoundKey } from "@rondo/rounds";
import { Prisma } from "../generated/prisma/client.js";
import { isUniqueViolation } from "./database-errors.js";
import { audit } from "./identities.js";
import {
	HELD_TASK,
	modelRow,
	pageOf,
	RUN_COLUMNS,
	reportRow,
	roundState,
	runRow,
	startOf,
	takeOf,
	toBytes,
	toJson,
	toText,
} from "./rows.js";
import type { RunSnapshot, Store } from "./store.js";
import type { Database, Transaction } from "./transactions.js";

type Runs = Pick<
	Store,
	"createModel" | "getModel" | "listModels" | "createRun" | "getRun" | "listRuns" | "listLiveRuns" | "loadRun" | "setPhase"
>;

const NEWEST_FIRST = [{ createdAt: "desc" }, { id: "desc" }] as const satisfies readonly object[];
const LIVE_PHASES = ["created", "running", "paused"];
const OPEN_PHASES = ["planned", "collecting", "closing"];

const byIdOrName = (idOrName: string) => ({ OR: [{ id: idOrName }, { name: idOrName }] });

/** Models and runs as wholes; their rounds are in rounds.ts. */
export function runs(database: Database): Runs {
	return {
		createModel: (row, record) =>
			database.write("createModel", async (tx) => {
				const same = await tx.model.findUnique({ where: { id: row.id } });
				if (same !== null && same.name === row.name && same.weights === row.weights) return modelRow(same);
				const data = { ...row, layout: toJson(row.layout), manifest: toJson(row.manifest) };
				const created = await tx.model.create({ data }).catch((error: unknown) => refuseTaken("model", row, error));
				await audit(tx, record);
				return modelRow(created);
			}),

		getModel: (idOrName) =>
			database.read("getModel", async (prisma) => {
				const row = await prisma.model.findFirst({ where: byIdOrName(idOrName) });
				return row === null ? null : modelRow(row);
			}),

		listModels: ({ after, limit }) =>
			database.read("listModels", async (prisma) => {
				const rows = await prisma.model.findMany({ orderBy: [...NEWEST_FIRST], take: takeOf(limit), ...startOf(after) });
				return pageOf(rows, limit, modelRow);
			}),

		createRun: ({ genesis, config, settings, state, ...row }, record) =>
			database.write("createRun", async (tx) => {
				const data = { ...row, config: toBytes(config), settings: toJson(settings), state: toBytes(state), logHead: genesis.hash };
				const created = await tx.run.create({ data, select: RUN_COLUMNS }).catch((error: unknown) => refuseTaken("run", row, error));
				await tx.logEntry.create({
					data: { runId: row.id, commit: 0, hash: genesis.hash, entry: toBytes(genesis.entry), accepted: toBytes(genesis.accepted) },
				});
				await audit(tx, record);
				return runRow(created);
			}),

		getRun: (idOrName) =>
			database.read("getRun", async (prisma) => {
				const row = await prisma.run.findFirst({ where: byIdOrName(idOrName), select: RUN_COLUMNS });
				return row === null ? null : runRow(row);
			}),

		listRuns: ({ after, limit }) =>
			database.read("listRuns", async (prisma) => {
				const rows = await prisma.run.findMany({ select: RUN_COLUMNS, orderBy: [...NEWEST_FIRST], take: takeOf(limit), ...startOf(after) });
				return pageOf(rows, limit, runRow);
			}),

		listLiveRuns: () =>
			database.read("listLiveRuns", async (prisma) => {
				const rows = await prisma.run.findMany({ where: { phase: { in: LIVE_PHASES } }, select: { id: true }, orderBy: { id: "asc" } });
				return rows.map(({ id }) => id);
			}),

		// A transaction, although it only reads: a coordinator that was fenced off must not drive what it loads.
		loadRun: (id) => database.write("loadRun", (tx) => snapshotOf(tx, id, database.epoch)),

		setPhase: (run, phase, reason) =>
			database.write("setPhase", async (tx) => {
				const endedAt = LIVE_PHASES.includes(phase) ? null : new Date();
				const { count } = await tx.run.updateMany({
					where: { id: run },
					data: { phase, reason: reason === null ? null : toText(reason), endedAt },
				});
				if (count === 0) throw noSuchRun(run);
			}),
	};
}

async function snapshotOf(tx: Transaction, id: string, epoch: number): Promise<RunSnapshot> {
	const found = await tx.run.findUnique({ where: { id }, include: { model: true, members: { orderBy: { clientId: "asc" } } } });
	if (found === null) throw noSuchRun(id);
	const inOpenRounds = { landing: { runId: id, phase: { in: OPEN_PHASES } } };
	const rounds = await tx.round.findMany({
		where: { runId: id, phase: { in: OPEN_PHASES } },
		include: { landings: { select: HELD_TASK, orderBy: { slot: "asc" } } },
		orderBy: [{ kind: "desc" }, { round: "asc" }, { attempt: "asc" }],
	});
	const reports = await tx.report.findMany({
		where: { task: inOpenRounds },
		include: { task: { select: { clientId: true } } },
		orderBy: [{ task: { landingId: "asc" } }, { sequence: "asc" }],
	});
	const inFlight = { phase: "leased", endsAtMs: { not: null } };
	const carried = LIVE_PHASES.includes(found.phase)
		? await tx.round.findFirst({
				where: { runId: id, kind: "train", phase: "committed", landings: { some: inFlight } },
				include: { landings: { select: HELD_TASK, where: inFlight } },
				orderBy: { round: "desc" },
			})
		: null;
	const evaluated = await tx.round.aggregate({ where: { runId: id, kind: "evaluate" }, _max: { round: true } });
	const [row, model] = [runRow(found), modelRow(found.model)];
	const initial: Vec<"f32"> = vecOf("f32", model.parameters, model.weights);
	return {
		row,
		secretSeed: found.secretSeed,
		model,
		initial,
		state: decodePlain(found.state),
		members: found.members.map(({ clientId, value }) => [clientId, decodePlain(value)] as const),
		machine: {
			run: id,
			incarnation: row.incarnation,
			epoch,
			settings: row.settings,
			phase: row.phase,
			...(row.reason === null ? {} : { reason: row.reason }),
			commit: row.commit,
			rounds: row.rounds,
			misses: row.misses,
			evaluated: evaluated._max.round ?? 0,
			...(found.ending === null ? {} : { ending: found.ending }),
			open: rounds.map(roundState),
			...(carried === null ? {} : { carried: roundState(carried) }),
		},
		rounds: rounds.map(({ kind, round, attempt, population, payload }) => ({
			key: { kind: kind as RoundKey["kind"], round, attempt },
			population,
			payload,
		})),
		reports: reports.map(reportRow),
	};
}

function refuseTaken(what: "model" | "run", row: { id: string; name: string }, error: unknown): never {
	if (!isUniqueViolation(error)) throw error;
	throw new RondoError("ALREADY_EXISTS", `a ${what} with name ${JSON.stringify(row.name)} or id ${JSON.stringify(row.id)} exists already`, {
		details: { id: row.id, name: row.name },
		cause: error,
	});
}

const noSuchRun = (id: string): RondoError => new RondoError("NOT_FOUND", `no run has id ${JSON.stringify(id)}`, { details: { run: id } });

/** The value of a nullable Json column; an absent result leaves the column as it is. */
export const resultColumn = (result: unknown): { result?: Prisma.InputJsonValue | typeof Prisma.DbNull } =>
	result === undefined ? {} : { result: result === null ? Prisma.DbNull : toJson(result) };
