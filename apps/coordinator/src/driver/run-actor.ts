import { createHash } from "node:crypto";
import type { ClientId, Plain } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import { fromHex, randomFrom } from "@rondo/kernels";
import {
	type Receipt,
	type RoundKey,
	type RoundState,
	type RunEffect,
	type RunEvent,
	type RunState,
	rankClients,
	setDigest,
	step,
	type TaskId,
	type TaskState,
} from "@rondo/rounds";
import type { Logger } from "pino";
import type { AcceptanceLog } from "../blobs/acceptance-log.js";
import type { EngineMethods, RunPosition, RunSpec } from "../engine/engine.js";
import type { RunNotice } from "../services.js";
import type { RunSnapshot, Store } from "../store/store.js";
import type { Remote } from "../threads/rpc.js";
import { acceptedOf, evaluationMetrics, keyOf, type OpenRound, sameKey } from "./open-round.js";
import { type Checkpoints, type ClientLink, keyText } from "./ports.js";

export interface ActorPorts {
	readonly store: Store;
	readonly engine: Remote<EngineMethods>;
	readonly link: ClientLink;
	readonly acceptances: AcceptanceLog;
	readonly checkpoint: Checkpoints;
	readonly notify: (notice: RunNotice) => void;
	readonly log: Logger;
	/** The store refuses this coordinator: another one took over. */
	readonly onFenced: (error: RondoError) => void;
}

const RELOAD_DELAYS_MS = [100, 500, 2_000, 5_000];

/**
 * Drives one run: feeds events to the round machine one at a time and carries its effects out in order. A failed effect
 * is treated like a crash: the in-memory state is dropped and loaded again from the store.
 */
export class RunActor {
	readonly id: string;
	readonly spec: RunSpec;
	readonly manifest: unknown;
	readonly #ports: ActorPorts;
	readonly #log: Logger;
	#machine: RunState;
	#state: Plain;
	#members: Map<ClientId, Plain>;
	#logHead: string;
	#secretSeed: string;
	readonly #rounds = new Map<string, OpenRound>();
	#queue: Promise<void> = Promise.resolve();
	#closed = false;
	#failures = 0;
	/** Counts loads from the store: an answer that was asked for before the newest one is dropped. */
	#generation = 0;
	/** An effect failed: the state in memory is ahead of the store and handles nothing until it is loaded again. */
	#stale = false;

	private constructor(snapshot: RunSnapshot, ports: ActorPorts) {
		const { row, model } = snapshot;
		this.id = row.id;
		this.#ports = ports;
		this.#log = ports.log.child({ run: row.id });
		this.manifest = model.manifest;
		this.spec = {
			run: row.id,
			strategy: row.strategy,
			version: row.strategyVersion,
			config: row.config,
			layout: model.layout,
			initial: snapshot.initial,
			publicSeed: row.publicSeed,
		};
		this.#machine = snapshot.machine;
		this.#state = snapshot.state;
		this.#members = new Map(snapshot.members);
		this.#logHead = row.logHead;
		this.#secretSeed = snapshot.secretSeed;
		this.#adopt(snapshot);
	}

	/** Loads a run from the store and lets it go on from wherever it was. */
	static async start(run: string, ports: ActorPorts): Promise<RunActor> {
		const actor = new RunActor(await ports.store.loadRun(run), ports);
		actor.#background(actor.post({ type: "recovered" }).then(async () => actor.#replayAcceptances(await ports.acceptances.list(run))));
		return actor;
	}

	get machine(): RunState {
		return this.#machine;
	}

	get logHead(): { readonly commit: number; readonly hash: string } {
		return { commit: this.#machine.commit, hash: this.#logHead };
	}

	/** The newest state, for exports and for tasks outside a round. */
	position(population = 0): RunPosition {
		return { state: this.#state, members: [...this.#members], commit: this.#machine.commit, round: this.#machine.rounds + 1, population };
	}

	/** Queues an event; resolves when its effects are carried out. @throws CONFLICT when the phase does not allow it. */
	post(event: RunEvent): Promise<void> {
		const done = this.#queue.then(() => this.#handle(event));
		this.#queue = done.then(
			() => undefined,
			() => undefined,
		);
		return done;
	}

	/** Stops handling events; resolves when the current one is done. */
	async close(): Promise<void> {
		this.#closed = true;
		await this.#queue;
	}

	/** The open round of a task and the task, if it is in one. */
	find(task: TaskId): { readonly round: RoundState; readonly task: TaskState } | undefined {
		for (const round of this.#machine.open) {
			const found = round.tasks[task];
			if (found !== undefined) return { round, task: found };
		}
		return undefined;
	}

	/** Tells open rounds who is connected. */
	presenceChanged(): void {
		for (const round of this.#machine.open) {
			if (round.phase === "planned" || round.phase === "collecting") this.#background(this.#draw(keyOf(round)));
		}
	}

	/**
	 * Checks a report and hands it to the machine. The receipt goes out through the link.
	 * @returns a receipt code to send at once when the report cannot be taken now but may be sent again.
	 */
	async submit(task: TaskId, client: ClientId, content: Uint8Array, pending: { readonly bytesUp: number }): Promise<void> {
		const found = this.find(task);
		if (found === undefined || found.task.client !== client || found.task.phase !== "leased" || found.round.phase !== "collecting") {
			const past = found === undefined ? await this.#ports.store.pastTask(task) : null;
			const digest = createHash("sha256").update(content).digest("hex");
			await this.post({ type: "report", task, client, digest, verdict: { ok: true, numExamples: 1 }, ...(past === null ? {} : { past }) });
			return;
		}
		const verdict = await this.#ports.engine.check(this.spec, found.round.plan, content);
		if (!verdict.ok && verdict.code === "BLOB_MISSING") throw new RondoError("BLOB_MISSING", verdict.message);
		this.#contents.set(task, { content, bytesUp: pending.bytesUp });
		try {
			const past = this.find(task) === undefined ? await this.#ports.store.pastTask(task) : null;
			await this.post({
				type: "report",
				task,
				client,
				digest: verdict.digest,
				verdict: verdict.ok ? { ok: true, numExamples: verdict.numExamples } : { ok: false, code: verdict.code, message: verdict.message },
				...(past === null ? {} : { past }),
			});
		} finally {
			this.#contents.delete(task);
		}
	}
	/** Bytes of reports between their check and their acceptance. */
	readonly #contents = new Map<TaskId, { readonly content: Uint8Array; readonly bytesUp: number }>();

	/** Offers that a returning client should get again, leased and not in its outbox. */
	async offersFor(client: ClientId, alreadyTrained: ReadonlySet<TaskId>): Promise<void> {
		for (const round of this.#machine.open) {
			if (round.phase !== "collecting") continue;
			const tasks = Object.values(round.tasks).filter(
				(task) => task.client === client && task.phase === "leased" && !alreadyTrained.has(task.id),
			);
			await this.#offer(keyOf(round), tasks);
		}
	}

	// --- machine -----------------------------------------------------------------------------------------------------

	async #handle(event: RunEvent): Promise<void> {
		if (this.#closed) throw new RondoError("UNAVAILABLE", `run ${this.id}: the coordinator is shutting down`);
		if (this.#stale) throw new RondoError("UNAVAILABLE", `run ${this.id} is being loaded again after a failure`);
		const { state, effects } = step(this.#machine, event, performance.now());
		this.#machine = state;
		try {
			for (const effect of effects) await this.#execute(effect);
			this.#failures = 0;
		} catch (thrown) {
			const error = toRondoError(thrown);
			this.#log.error({ err: error, event: event.type }, "an effect failed; loading the run again from the store");
			if (error.code === "FENCED") {
				this.#closed = true;
				this.#ports.onFenced(error);
			} else {
				this.#stale = true;
				this.#generation++;
				this.#background(this.#reload());
			}
			throw error;
		}
	}

	async #reload(): Promise<void> {
		const delayMs = RELOAD_DELAYS_MS[Math.min(this.#failures++, RELOAD_DELAYS_MS.length - 1)]!;
		await new Promise((resolve) => setTimeout(resolve, delayMs).unref());
		if (this.#closed) return;
		const reloaded = this.#queue.then(async () => {
			const snapshot = await this.#ports.store.loadRun(this.id);
			this.#machine = snapshot.machine;
			this.#state = snapshot.state;
			this.#members = new Map(snapshot.members);
			this.#logHead = snapshot.row.logHead;
			this.#rounds.clear();
			this.#adopt(snapshot);
			this.#stale = false;
		});
		this.#queue = reloaded.then(
			() => undefined,
			(error: unknown) => {
				this.#log.error({ err: error }, "the run could not be loaded; trying again");
				this.#background(this.#reload());
			},
		);
		await reloaded;
		await this.post({ type: "recovered" });
	}

	#adopt(snapshot: RunSnapshot): void {
		for (const { key, population, payload } of snapshot.rounds) {
			this.#ports.engine.drop(keyText(this.id, key)).catch(() => undefined);
			const tasks = snapshot.machine.open.find((round) => sameKey(keyOf(round), key))?.tasks ?? {};
			const reports = new Map(snapshot.reports.filter((report) => report.task in tasks).map((report) => [report.task, report]));
			this.#rounds.set(keyText(this.id, key), { population, payload, reports });
		}
	}

	/** Feeds acceptance records without a database row back in: a power cut may have cost the database its last rows. */
	async #replayAcceptances(tasks: readonly TaskId[]): Promise<void> {
		for (const task of tasks) {
			if (this.find(task)?.task.phase !== "leased") continue;
			const record = await this.#ports.acceptances.read(this.id, task);
			if (record === null) continue;
			this.#log.warn({ task, client: record.client }, "an acceptance record has no database row; accepting it again");
			await this.submit(task, record.client, record.content, { bytesUp: 0 });
		}
	}

	#round(key: RoundKey): { readonly state: RoundState; readonly open: OpenRound } {
		const state = this.#machine.open.find((round) => sameKey(keyOf(round), key));
		const open = this.#rounds.get(keyText(this.id, key));
		if (state === undefined || open === undefined)
			throw new RondoError("INTERNAL", `run ${this.id}: round ${keyText(this.id, key)} is not open`);
		return { state, open };
	}

	// --- effects -----------------------------------------------------------------------------------------------------

	async #execute(effect: RunEffect): Promise<void> {
		const { store, engine, link, checkpoint, notify } = this.#ports;
		switch (effect.type) {
			case "setPhase":
				await store.setPhase(this.id, effect.phase, effect.reason ?? null);
				this.#log.info({ phase: effect.phase, reason: effect.reason }, "run phase");
				link.runUpdate(this.id, effect.phase, this.logHead);
				notify({ run: this.id, type: "phase", phase: effect.phase, ...(effect.reason === undefined ? {} : { reason: effect.reason }) });
				return;
			case "plan": {
				await checkpoint("next-plan");
				this.#background(this.#plan(effect.round, effect.attempt));
				return;
			}
			case "openRound": {
				const population = await store.countTrainers();
				const key = keyOf(effect.state);
				const payload = effect.state.kind === "evaluate" ? (await engine.tasks(this.spec, this.position(population), [""]))[0]! : null;
				await store.openRound(this.id, effect.state, population, payload);
				this.#rounds.set(keyText(this.id, key), { population, payload, reports: new Map() });
				this.#log.info({ kind: key.kind, round: key.round, attempt: key.attempt }, "round opened");
				notify({ run: this.id, type: "opened", ...key });
				return;
			}
			case "draw":
				this.#background(this.#draw(effect.key));
				return;
			case "lease":
				await this.#lease(effect.key, effect.tasks);
				return;
			case "offer":
				await this.#offer(effect.key, effect.tasks);
				return;
			case "accept":
				await this.#accept(effect);
				return;
			case "endTask":
				await store.endTask(this.id, effect.task, effect.phase, effect.reason);
				this.#log.warn(
					{ task: effect.task, outcome: effect.phase, reason: effect.reason, round: effect.key.round },
					"task ended without a report",
				);
				notify({ run: this.id, type: "rejected", ...effect.key, reason: effect.reason });
				return;
			case "receipt":
				link.receipt(effect.receipt);
				this.#logReceipt(effect.receipt);
				if (effect.receipt.code === "ACCEPTED") await checkpoint("receipt-sent");
				return;
			case "fold": {
				const { state, open } = this.#round(effect.key);
				if (state.kind === "evaluate") return;
				const report = open.reports.get(effect.task);
				if (report === undefined) throw new RondoError("INTERNAL", `task ${effect.task} was accepted without content`);
				// Not awaited: the accumulator is a cache, and `finish` waits in the same worker.
				this.#background(engine.fold(this.spec, state.plan, keyText(this.id, effect.key), effect.task, report.content));
				await checkpoint("fold");
				return;
			}
			case "cancel":
				for (const task of effect.tasks) link.cancel(task.client, task.id, effect.reason);
				return;
			case "freeze": {
				const { open } = this.#round(effect.key);
				await store.freeze(this.id, effect.key, effect.tasks, setDigest(acceptedOf(open, effect.tasks)));
				notify({ run: this.id, type: "closing", ...effect.key });
				await checkpoint("set-frozen");
				return;
			}
			case "finish":
				this.#background(this.#finish(effect.key, effect.tasks));
				return;
			case "commit":
				await this.#commit(effect);
				return;
			case "abandon":
				await store.abandon(this.id, effect.key, effect.discarded, effect.reason, effect.misses);
				await engine.drop(keyText(this.id, effect.key));
				this.#rounds.delete(keyText(this.id, effect.key));
				this.#log.warn({ ...effect.key, reason: effect.reason, discarded: effect.discarded.length }, "round abandoned");
				notify({ run: this.id, type: "abandoned", ...effect.key, reason: effect.reason });
				return;
			case "settle":
				for (const task of effect.tasks) link.settled(task.client, task.id, effect.outcome, effect.commit);
				return;
			case "saveBudgets":
				await store.saveBudgets(this.id, effect.key, effect.waitLeftMs, effect.leftMs);
				return;
		}
	}

	#plan(round: number, attempt: number): Promise<void> {
		return this.#answer({ kind: "train", round, attempt }, async () => {
			const population = await this.#ports.store.countTrainers();
			return { type: "planned", round, attempt, plan: await this.#ports.engine.plan(this.spec, { ...this.position(population), round }) };
		});
	}

	/** Posts what the engine answers. What a strategy throws ends the run; what the store throws loads it again. */
	async #answer(key: RoundKey, ask: () => Promise<RunEvent>): Promise<void> {
		const generation = this.#generation;
		let event: RunEvent;
		try {
			event = await ask();
		} catch (thrown) {
			const { code, message } = toRondoError(thrown);
			if (code === "UNAVAILABLE") return;
			event = { type: "finishFailed", key, code, message };
		}
		if (!this.#closed && generation === this.#generation) await this.post(event);
	}

	async #draw(key: RoundKey): Promise<void> {
		const { strategy, version } = this.spec;
		const role = key.kind === "evaluate" ? "evaluator" : "trainer";
		const secret = randomFrom(fromHex(this.#secretSeed));
		const state = this.#machine.open.find((round) => sameKey(keyOf(round), key));
		const clients = rankClients(secret, key, this.#ports.link.eligible(role, strategy, version, state?.plan ?? { lanes: {} }));
		if (state?.phase === "planned") {
			this.#ports.notify(this.#waiting(state, clients.length));
		}
		await this.post({ type: "present", key, clients });
	}

	#waiting({ kind, round, attempt, plan }: RoundState, connected: number): RunNotice {
		const total = kind === "evaluate" ? 1 : Math.max(this.#machine.settings.minClients, plan.quorum);
		return { run: this.id, type: "waiting", kind, round, attempt, done: connected, total };
	}

	/** What a new watcher should know: which rounds wait for clients, and for how many. */
	waiting(): readonly RunNotice[] {
		const { strategy, version } = this.spec;
		return this.#machine.open
			.filter(({ phase }) => phase === "planned")
			.map((round) =>
				this.#waiting(
					round,
					this.#ports.link.eligible(round.kind === "evaluate" ? "evaluator" : "trainer", strategy, version, round.plan).length,
				),
			);
	}

	async #lease(key: RoundKey, tasks: readonly TaskState[]): Promise<void> {
		const { store, engine, notify } = this.#ports;
		const { open } = this.#round(key);
		const clients = tasks.map((task) => task.client);
		const payloads =
			open.payload === null ? await engine.tasks(this.spec, this.position(open.population), clients) : clients.map(() => open.payload!);
		const rows = await Promise.all(
			tasks.map(async (task, i) => ({
				id: task.id,
				client: task.client,
				slot: task.slot,
				payload: payloads[i]!,
				carryBasis: key.kind === "train" ? await store.lastApplied(this.id, task.client) : null,
			})),
		);
		await store.leaseTasks(this.id, key, rows);
		this.#log.info({ ...key, tasks: tasks.length, clients }, "tasks leased");
		for (const task of tasks) notify({ run: this.id, type: "leased", ...key, client: task.client });
		await this.#offer(key, tasks);
		this.#background(this.#replayAcceptances(tasks.map((task) => task.id)));
	}

	async #offer(key: RoundKey, tasks: readonly TaskState[]): Promise<void> {
		const { store, link } = this.#ports;
		for (const task of tasks) {
			const row = await store.getTask(task.id);
			if (row === null) throw new RondoError("INTERNAL", `task ${task.id} has no row`);
			const round = this.#machine.open.find((candidate) => sameKey(keyOf(candidate), key));
			if (round === undefined) return;
			await link.offer(task.client, {
				task: task.id,
				spec: this.spec,
				manifest: this.manifest,
				incarnation: this.#machine.incarnation,
				key,
				track: round.track,
				plan: round.plan,
				payload: row.payload,
				leaseMs: round.leftMs,
				carryBasis: row.carryBasis,
				logHead: this.logHead,
			});
		}
	}

	async #accept(effect: Extract<RunEffect, { type: "accept" }>): Promise<void> {
		const { store, acceptances, checkpoint, notify } = this.#ports;
		const { state, open } = this.#round(effect.key);
		const pending = this.#contents.get(effect.task);
		const task = state.tasks[effect.task];
		if (pending === undefined || task === undefined) throw new RondoError("INTERNAL", `task ${effect.task} is accepted without content`);
		const { content, bytesUp } = pending;
		await acceptances.write(this.id, effect.task, { client: task.client, content });
		const report = { task: effect.task, digest: effect.digest, content, numExamples: effect.numExamples, staleness: 0 };
		const acceptance = await store.accept(this.id, effect.key, { ...report, bytesUp });
		if (acceptance.kind !== "accepted") {
			throw new RondoError("CONFLICT", `task ${effect.task}: the store answers ${acceptance.kind} where the machine accepts`);
		}
		await checkpoint("acceptance-row");
		open.reports.set(effect.task, { ...report, client: task.client, sequence: acceptance.sequence });
		notify({ run: this.id, type: "accepted", ...effect.key, client: task.client, bytesUp });
	}

	#finish(key: RoundKey, tasks: readonly TaskId[]): Promise<void> {
		const { state, open } = this.#round(key);
		return this.#answer(key, async () => {
			if (key.kind === "evaluate") {
				open.evaluation = evaluationMetrics(open.reports.get(tasks[0]!)!);
				return { type: "finished", key };
			}
			const request = {
				position: { ...this.position(open.population), round: key.round },
				plan: state.plan,
				attempt: key.attempt,
				incarnation: this.#machine.incarnation,
				previous: this.#logHead,
				accepted: acceptedOf(open, tasks),
			};
			const contents = tasks.map((task) => [task, open.reports.get(task)!.content] as const);
			const outcome = await this.#ports.engine.finish(this.spec, keyText(this.id, key), request, contents);
			open.outcome = outcome;
			return { type: "finished", key, ...(outcome.done === undefined ? {} : { done: { reason: outcome.done.reason } }) };
		});
	}

	async #commit(effect: Extract<RunEffect, { type: "commit" }>): Promise<void> {
		const { store, engine, link, checkpoint, notify } = this.#ports;
		const { key } = effect;
		const text = keyText(this.id, key);
		const open = this.#rounds.get(text);
		if (open === undefined) throw new RondoError("INTERNAL", `round ${text} is not open`);
		if (key.kind === "evaluate") {
			const metrics = open.evaluation ?? {};
			await store.closeEvaluation(this.id, key, metrics, effect.applied);
			this.#rounds.delete(text);
			this.#log.info({ round: key.round, metrics }, "evaluated");
			await link.flush();
			notify({ run: this.id, type: "evaluated", ...key, metrics });
			return;
		}
		let outcome = open.outcome;
		if (effect.skip) {
			// The machine has counted this commit already; the record is that of the position before.
			const position = { ...this.position(open.population), commit: this.#machine.commit - 1, round: key.round };
			const record = await engine.skip(this.spec, {
				position,
				attempt: key.attempt,
				incarnation: this.#machine.incarnation,
				previous: this.#logHead,
			});
			outcome = { state: this.#state, members: [], record, metrics: {}, scores: {} };
		}
		if (outcome === undefined) throw new RondoError("INTERNAL", `round ${text} is committed without an outcome`);
		const { state, members, record, metrics, scores, done } = outcome;
		await store.commit({
			run: this.id,
			key,
			...(effect.skip ? {} : { state }),
			members,
			record,
			applied: effect.applied,
			misses: effect.misses,
			metrics,
			scores,
			...(done?.result === undefined ? {} : { result: done.result }),
			...(effect.done === undefined ? {} : { ending: effect.done.reason }),
		});
		await checkpoint("commit-transaction");
		this.#state = state;
		for (const [client, value] of members) value === null ? this.#members.delete(client) : this.#members.set(client, value);
		this.#logHead = record.hash;
		this.#rounds.delete(text);
		await engine.drop(text);
		this.#log.info(
			{ round: key.round, attempt: key.attempt, commit: record.commit, reports: effect.applied.length, hash: record.hash, metrics },
			"round committed",
		);
		await link.flush();
		notify({ run: this.id, type: "committed", ...key, commit: record.commit, metrics });
	}

	#logReceipt(receipt: Receipt): void {
		const level = receipt.code === "ACCEPTED" || receipt.code === "DUPLICATE" ? "debug" : "info";
		this.#log[level]({ task: receipt.task, client: receipt.client, receipt: receipt.code, error: receipt.error }, "receipt");
	}

	/** Runs a task nobody waits for; what it throws was logged by `#handle` or is logged here. */
	#background(work: Promise<unknown>): void {
		work.catch((thrown: unknown) => {
			const error = toRondoError(thrown);
			if (!this.#closed && error.code !== "UNAVAILABLE") this.#log.error({ err: error }, "background work of a run failed");
		});
	}
}
