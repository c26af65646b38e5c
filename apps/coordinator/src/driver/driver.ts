import { createHash, randomBytes, randomUUID } from "node:crypto";
import { stat } from "node:fs/promises";
import { type ClientId, type Plain, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { RunEvent, RunSettings, TaskId } from "@rondo/rounds";
import type { Logger } from "pino";
import type { AcceptanceLog } from "../blobs/acceptance-log.js";
import type { BlobStore } from "../blobs/blob-store.js";
import type { EngineMethods, RunPosition, RunSpec, StrategyInfo } from "../engine/engine.js";
import type { Actor, ModelExport, RunNotice, RunService, RunSubmission } from "../services.js";
import type { RunRow, Store } from "../store/store.js";
import type { Remote } from "../threads/rpc.js";
import { checkTrainer } from "./check-trainer.js";
import { Notices } from "./notices.js";
import type { Checkpoints, ClientLink } from "./ports.js";
import { RunActor } from "./run-actor.js";

export interface DriverPorts {
	readonly store: Store;
	readonly blobs: BlobStore;
	readonly acceptances: AcceptanceLog;
	/** Worker for rounds. */
	readonly engine: Remote<EngineMethods>;
	/** Worker for exports, so that a long reconstruction delays no round. */
	readonly exporter: Remote<EngineMethods>;
	readonly strategies: readonly StrategyInfo[];
	readonly checkpoint: Checkpoints;
	readonly log: Logger;
	readonly onFenced: (error: RondoError) => void;
}

const TICK_MS = 1_000;
/** Many clients come back at once after a restart: one draw serves them all. */
const PRESENCE_DEBOUNCE_MS = 50;
const HEX_SEED = /^[0-9a-f]{64}$/;

/** Leases rounds of all live runs and answers the administrator. */
export class Driver implements RunService {
	readonly #ports: DriverPorts;
	readonly #notices = new Notices();
	readonly #actors = new Map<string, RunActor>();
	#link: ClientLink | undefined;
	#timer: NodeJS.Timeout | undefined;
	#presenceTimer: NodeJS.Timeout | undefined;
	/** By run; of the newest commit that was exported, by client. */
	readonly #exports = new Map<string, { readonly commit: number; readonly results: Map<ClientId | undefined, Promise<ModelExport>> }>();

	constructor(ports: DriverPorts) {
		this.#ports = ports;
	}

	/** Loads every live run and starts the clock. */
	async open(link: ClientLink): Promise<void> {
		this.#link = link;
		for (const run of await this.#ports.store.listLiveRuns()) await this.#open(run);
		this.#timer = setInterval(() => {
			for (const actor of this.#actors.values()) this.#post(actor, { type: "tick" });
			this.#forgetEnded();
		}, TICK_MS);
	}

	/** Stops the clock and waits for the effects under way. */
	async close(): Promise<void> {
		clearInterval(this.#timer);
		clearTimeout(this.#presenceTimer);
		await Promise.all([...this.#actors.values()].map((actor) => actor.close()));
		this.#actors.clear();
	}

	// --- clients -----------------------------------------------------------------------------------------------------

	/** Call when a client came, went or changed what it can do. */
	presenceChanged(): void {
		if (this.#presenceTimer !== undefined) return;
		this.#presenceTimer = setTimeout(() => {
			this.#presenceTimer = undefined;
			for (const actor of this.#actors.values()) actor.presenceChanged();
		}, PRESENCE_DEBOUNCE_MS);
	}

	/** Sends a returning client its leased tasks again. */
	async offersFor(client: ClientId, alreadyTrained: ReadonlySet<TaskId>): Promise<void> {
		for (const actor of this.#actors.values()) await actor.offersFor(client, alreadyTrained);
	}

	#runOfOpen(task: TaskId): RunActor | undefined {
		for (const actor of this.#actors.values()) if (actor.find(task) !== undefined) return actor;
		return undefined;
	}

	/** Hands a report to its run. The receipt goes out through the link. @throws what may be tried again. */
	async submitReport(task: TaskId, client: ClientId, content: Uint8Array, bytesUp: number): Promise<void> {
		const actor = this.#runOfOpen(task) ?? (await this.#runOfPast(task));
		if (actor !== undefined) return actor.submit(task, client, content, bytesUp);
		const past = await this.#ports.store.pastTask(task);
		// The run has ended and is no longer driven, or the task never existed.
		const code = past === null || past.client !== client ? "NOT_SELECTED" : "RUN_OVER";
		if (code === "RUN_OVER" && past?.acceptedDigest !== undefined) {
			const digest = createHash("sha256").update(content).digest("hex");
			this.#link?.receipt({
				task,
				client,
				code: digest === past.acceptedDigest ? "DUPLICATE" : "CONFLICT",
				acceptedDigest: past.acceptedDigest,
			});
			return;
		}
		this.#link?.receipt({ task, client, code });
	}

	/** Most bytes that the blobs of a report of this task may have. @throws CONFLICT when the client holds no such lease. */
	async reportLimit(task: TaskId, client: ClientId): Promise<number> {
		const actor = this.#runOfOpen(task);
		const found = actor?.find(task);
		if (actor === undefined || found === undefined || found.task.client !== client) {
			throw new RondoError("CONFLICT", `task_id: client ${client} holds no lease on task ${task}`, {
				details: { field: "task_id", value: task },
			});
		}
		return (await this.#ports.engine.bounds(actor.spec)).report;
	}

	async decline(task: TaskId, client: ClientId, reason: string): Promise<void> {
		const actor = this.#runOfOpen(task) ?? (await this.#runOfPast(task));
		const past = await this.#ports.store.pastTask(task);
		if (actor === undefined) this.#link?.receipt({ task, client, code: past?.client === client ? "RUN_OVER" : "NOT_SELECTED" });
		else await actor.decline(task, client, reason, past);
	}

	progress(task: TaskId, client: ClientId, done: number, total: number): void {
		for (const actor of this.#actors.values()) {
			const found = actor.find(task);
			if (found === undefined || found.task.client !== client) continue;
			this.#notices.notify({
				run: actor.id,
				type: "progress",
				kind: found.round.kind,
				round: found.round.round,
				attempt: found.round.attempt,
				client,
				done,
				total,
			});
		}
	}

	/** The newest state of a run, for a client that wants the current model. @throws NOT_FOUND, RUN_OVER. */
	async current(run: string): Promise<{
		readonly spec: RunSpec;
		readonly manifest: unknown;
		readonly position: RunPosition;
		readonly logHead: { readonly commit: number; readonly hash: string };
	}> {
		const actor = this.#actors.get(run);
		if (actor !== undefined) return { spec: actor.spec, manifest: actor.manifest, position: actor.position(), logHead: actor.logHead };
		const row = await this.#ports.store.getRun(run);
		if (row === null) throw new RondoError("NOT_FOUND", `no run ${run}`);
		const snapshot = await this.#ports.store.loadRun(row.id);
		return {
			spec: specOf(row, snapshot.model.layout, snapshot.initial.sha256, snapshot.initial.length),
			manifest: snapshot.model.manifest,
			position: { state: snapshot.state, members: snapshot.members, commit: row.commit, round: row.rounds + 1, population: 0 },
			logHead: { commit: row.commit, hash: row.logHead },
		};
	}

	// --- administrators ----------------------------------------------------------------------------------------------

	strategies(): readonly StrategyInfo[] {
		return this.#ports.strategies;
	}

	async submit(submission: RunSubmission, actor: Actor): ReturnType<RunService["submit"]> {
		const { store, engine, strategies } = this.#ports;
		const model = await store.getModel(submission.model);
		if (model === null)
			throw new RondoError("NOT_FOUND", `model: no model ${submission.model}; import one with \`rondo model import\``, {
				details: { field: "model", value: submission.model },
			});
		for (const field of ["publicSeed", "secretSeed"] as const) {
			const seed = submission[field];
			if (seed !== undefined && !HEX_SEED.test(seed))
				throw new RondoError("INVALID_ARGUMENT", `${field}: not 64 hexadecimal digits`, { details: { field } });
		}
		// Whether there is such a strategy at all, the engine says.
		const strategy = strategies.find(({ name }) => name === submission.strategy);
		if (strategy !== undefined) checkTrainer(model, strategy);
		const { version, config, bounds } = await engine.resolve(submission.strategy, submission.options ?? {}, model.layout);
		const settings: RunSettings = {
			rounds: submission.rounds,
			maxReplans: submission.maxReplans ?? 3,
			minClients: submission.minClients ?? 1,
			waitForClientsMs: submission.waitForClientsMs ?? 30_000,
			evaluateEvery: submission.evaluateEvery ?? 0,
			evaluateDeadlineMs: submission.evaluateDeadlineMs ?? 600_000,
		};
		const id = runIdOf(submission);
		const publicSeed = submission.publicSeed ?? randomBytes(32).toString("hex");
		const initial = vecOf("f32", model.parameters, model.weights);
		const spec: RunSpec = { run: id, strategy: submission.strategy, version, config, layout: model.layout, initial, publicSeed };
		const { state, record } = await engine.genesis(spec);
		const run = await store.createRun(
			{
				id,
				name:
					submission.name ??
					`${submission.strategy}-${new Date().toISOString().slice(0, 19).replaceAll(":", "").replace("T", "-")}-${id.slice(0, 4)}`,
				modelId: model.id,
				strategy: submission.strategy,
				strategyVersion: version,
				config,
				settings,
				publicSeed,
				secretSeed: submission.secretSeed ?? randomBytes(32).toString("hex"),
				state,
				genesis: record,
			},
			{ actor, action: "run.create", subject: id, details: { strategy: submission.strategy, rounds: submission.rounds, model: model.id } },
		);
		const opened = await this.#open(id);
		if (submission.start ?? true) await opened.post({ type: "start" });
		return { run: (await store.getRun(run.id)) ?? run, cost: bounds };
	}

	start(id: string, actor: Actor): Promise<RunRow> {
		return this.#order(id, { type: "start" }, actor);
	}
	pause(id: string, actor: Actor): Promise<RunRow> {
		return this.#order(id, { type: "pause", reason: "paused by an administrator" }, actor);
	}
	resume(id: string, actor: Actor): Promise<RunRow> {
		return this.#order(id, { type: "resume" }, actor);
	}
	stop(id: string, actor: Actor): Promise<RunRow> {
		return this.#order(id, { type: "stop" }, actor);
	}

	async #order(idOrName: string, event: RunEvent & { type: "start" | "pause" | "resume" | "stop" }, actor: Actor): Promise<RunRow> {
		const { store } = this.#ports;
		const row = await this.#row(idOrName);
		const run = this.#actors.get(row.id);
		if (run === undefined)
			throw new RondoError("CONFLICT", `run ${row.name} is ${row.phase}; it cannot ${event.type}`, {
				details: { field: "phase", value: row.phase },
			});
		await run.post(event);
		await store.appendAudit({ actor, action: `run.${event.type}`, subject: row.id, details: {} });
		return this.#row(row.id);
	}

	async exportModel(idOrName: string, client?: ClientId): Promise<ModelExport> {
		const row = await this.#row(idOrName);
		const { spec, position } = await this.current(row.id);
		if (client !== undefined && !position.members.some(([id]) => id === client))
			throw new RondoError("NOT_FOUND", `run ${row.name} has no model of client ${JSON.stringify(client)}`, {
				details: { field: "client", value: client },
			});
		const known = this.#exports.get(row.id);
		const results = known?.commit === position.commit ? known.results : new Map<ClientId | undefined, Promise<ModelExport>>();
		this.#exports.set(row.id, { commit: position.commit, results });
		const result = results.get(client) ?? this.#export(spec, position, client);
		results.set(client, result);
		result.catch(() => results.delete(client));
		return result;
	}

	async #export(spec: RunSpec, position: RunPosition, client: ClientId | undefined): Promise<ModelExport> {
		const vec = await this.#ports.exporter.model(spec, position, client);
		const path = this.#ports.blobs.path(vec.sha256);
		const { size } = await stat(path);
		return { layout: spec.layout, commit: position.commit, round: position.round - 1, digest: vec.sha256, path, bytes: size };
	}

	async *watch(idOrName: string, signal: AbortSignal): AsyncIterable<RunNotice> {
		const row = await this.#row(idOrName);
		yield* this.#actors.get(row.id)?.waiting() ?? [];
		yield* this.#notices.watch(row.id, signal);
	}

	// --- inside ------------------------------------------------------------------------------------------------------

	async #row(idOrName: string): Promise<RunRow> {
		const row = await this.#ports.store.getRun(idOrName);
		if (row === null) throw new RondoError("NOT_FOUND", `no run ${idOrName}`, { details: { field: "run", value: idOrName } });
		return row;
	}

	async #open(run: string): Promise<RunActor> {
		const { store, engine, acceptances, checkpoint, log, onFenced } = this.#ports;
		const link = this.#link;
		if (link === undefined) throw new RondoError("UNAVAILABLE", "the coordinator is starting");
		const actor = await RunActor.start(run, { store, engine, link, acceptances, checkpoint, notify: this.#notices.notify, log, onFenced });
		this.#actors.set(run, actor);
		return actor;
	}

	async #runOfPast(task: TaskId): Promise<RunActor | undefined> {
		const row = await this.#ports.store.getTask(task);
		return row === null ? undefined : this.#actors.get(row.run);
	}

	/** Ended runs need no actor once nothing is open. */
	#forgetEnded(): void {
		for (const [id, actor] of this.#actors) {
			const { phase, open } = actor.machine;
			if (open.length === 0 && (phase === "completed" || phase === "failed" || phase === "stopped")) this.#actors.delete(id);
		}
	}

	#post(actor: RunActor, event: RunEvent): void {
		actor.post(event).catch((error: unknown) => this.#ports.log.debug({ err: error, event: event.type }, "event not handled"));
	}
}

/** Random, or for an experiment with a given secret seed a function of its seeds and name: tasks are named after it. */
function runIdOf({ secretSeed, publicSeed = "", name = "" }: RunSubmission): string {
	if (secretSeed === undefined) return randomUUID();
	const hex = createHash("sha256")
		.update(JSON.stringify(["rondo-run/1", secretSeed, publicSeed, name]))
		.digest("hex");
	return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join("-");
}

const specOf = (row: RunRow, layout: RunSpec["layout"], digest: string, length: number): RunSpec => ({
	run: row.id,
	strategy: row.strategy,
	version: row.strategyVersion,
	config: row.config as Plain,
	layout,
	initial: vecOf("f32", length, digest),
	publicSeed: row.publicSeed,
});
