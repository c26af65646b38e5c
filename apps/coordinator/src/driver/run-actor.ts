import type { ClientId, Plain } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import {
	heldRounds,
	type PastTask,
	type Receipt,
	type RoundKey,
	type RoundState,
	type RunEffect,
	type RunEvent,
	type RunState,
	setDigest,
	step,
	type TaskId,
	type TaskState,
} from "@rondo/rounds";
import type { Logger } from "pino";
import type { RunPosition, RunSpec } from "../engine/engine.js";
import type { RunNotice } from "../services.js";
import type { RunSnapshot } from "../store/store.js";
import { Acceptance } from "./acceptance.js";
import { Leases } from "./leases.js";
import { acceptedOf, evaluationMetrics, keyOf, type OpenRound, sameKey } from "./open-round.js";
import { keyText } from "./ports.js";
import type { ActorPorts, RunView } from "./run-view.js";

const RELOAD_DELAYS_MS = [100, 500, 2_000, 5_000];

/**
 * Drives one run: feeds events to the round machine one at a time and carries its effects out in order. A failed effect
 * is treated like a crash: the in-memory state is dropped and loaded again from the store.
 */
export class RunActor implements RunView {
	readonly id: string;
	readonly spec: RunSpec;
	readonly manifest: unknown;
	readonly ports: ActorPorts;
	readonly log: Logger;
	readonly #leases: Leases;
	readonly #acceptance: Acceptance;
	#machine: RunState;
	#state: Plain;
	#members: Map<ClientId, Plain>;
	#logHead: string;
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
		this.ports = ports;
		this.log = ports.log.child({ run: row.id });
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
		this.#leases = new Leases(this, snapshot.secretSeed);
		this.#acceptance = new Acceptance(this);
		this.#adopt(snapshot);
	}

	/** Loads a run from the store and lets it go on from wherever it was. */
	static async start(run: string, ports: ActorPorts): Promise<RunActor> {
		const actor = new RunActor(await ports.store.loadRun(run), ports);
		actor.background(actor.post({ type: "recovered" }).then(async () => actor.#acceptance.replay(await ports.acceptances.list(run))));
		return actor;
	}

	get machine(): RunState {
		return this.#machine;
	}

	get logHead(): { readonly commit: number; readonly hash: string } {
		return { commit: this.#machine.commit, hash: this.#logHead };
	}

	position(population = 0): RunPosition {
		return { state: this.#state, members: [...this.#members], commit: this.#machine.commit, round: this.#machine.rounds + 1, population };
	}

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
		this.#acceptance.close();
		await this.#queue;
	}

	find(task: TaskId): { readonly round: RoundState; readonly task: TaskState } | undefined {
		for (const round of heldRounds(this.#machine)) {
			const found = round.tasks[task];
			if (found !== undefined) return { round, task: found };
		}
		return undefined;
	}

	presenceChanged(): void {
		this.#leases.presenceChanged();
	}

	/** Takes a report. @throws what may be tried again */
	submit(task: TaskId, client: ClientId, content: Uint8Array, bytesUp: number): Promise<void> {
		return this.#acceptance.submit(task, client, content, bytesUp);
	}

	/** Takes a decline. @throws what may be tried again */
	decline(task: TaskId, client: ClientId, reason: string, past: PastTask | null): Promise<void> {
		return this.#acceptance.decline(task, client, reason, past);
	}

	/** Offers that a returning client should get again, leased and not in its outbox. */
	offersFor(client: ClientId, alreadyTrained: ReadonlySet<TaskId>): Promise<void> {
		return this.#leases.offersFor(client, alreadyTrained);
	}

	/** What a new watcher should know: which rounds wait for clients, and for how many. */
	waiting(): readonly RunNotice[] {
		return this.#leases.waiting();
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
			this.#acceptance.changed();
		} catch (thrown) {
			const error = toRondoError(thrown);
			this.log.error({ err: error, event: event.type }, "an effect failed; loading the run again from the store");
			if (error.code === "FENCED") {
				this.#closed = true;
				this.ports.onFenced(error);
			} else {
				this.#stale = true;
				this.#generation++;
				this.background(this.#reload());
			}
			throw error;
		}
	}

	async #reload(): Promise<void> {
		const delayMs = RELOAD_DELAYS_MS[Math.min(this.#failures++, RELOAD_DELAYS_MS.length - 1)]!;
		await new Promise((resolve) => setTimeout(resolve, delayMs).unref());
		if (this.#closed) return;
		const reloaded = this.#queue.then(async () => {
			const snapshot = await this.ports.store.loadRun(this.id);
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
				this.log.error({ err: error }, "the run could not be loaded; trying again");
				this.background(this.#reload());
			},
		);
		await reloaded;
		await this.post({ type: "recovered" });
	}

	#adopt(snapshot: RunSnapshot): void {
		for (const { key, population, payload } of snapshot.rounds) {
			this.ports.engine.drop(keyText(this.id, key)).catch(() => undefined);
			const tasks = snapshot.machine.open.find((round) => sameKey(keyOf(round), key))?.tasks ?? {};
			const reports = new Map(snapshot.reports.filter((report) => report.task in tasks).map((report) => [report.task, report]));
			this.#rounds.set(keyText(this.id, key), { population, payload, reports });
		}
	}

	round(key: RoundKey): { readonly state: RoundState; readonly open: OpenRound } {
		const state = this.#machine.open.find((round) => sameKey(keyOf(round), key));
		const open = this.#rounds.get(keyText(this.id, key));
		if (state === undefined || open === undefined)
			throw new RondoError("INTERNAL", `run ${this.id}: round ${keyText(this.id, key)} is not open`);
		return { state, open };
	}

	// --- effects -----------------------------------------------------------------------------------------------------

	async #execute(effect: RunEffect): Promise<void> {
		const { store, engine, link, checkpoint, notify } = this.ports;
		switch (effect.type) {
			case "setPhase":
				await store.setPhase(this.id, effect.phase, effect.reason ?? null);
				this.log.info({ phase: effect.phase, reason: effect.reason }, "run phase");
				link.runUpdate(this.id, effect.phase, this.logHead);
				notify({ run: this.id, type: "phase", phase: effect.phase, ...(effect.reason === undefined ? {} : { reason: effect.reason }) });
				return;
			case "plan": {
				await checkpoint("next-plan");
				this.background(this.#plan(effect.round, effect.attempt));
				return;
			}
			case "openRound": {
				const population = await store.countTrainers();
				const key = keyOf(effect.state);
				const payload = effect.state.kind === "evaluate" ? (await engine.tasks(this.spec, this.position(population), [""]))[0]! : null;
				await store.openRound(this.id, effect.state, population, payload);
				this.#rounds.set(keyText(this.id, key), { population, payload, reports: new Map() });
				this.log.info({ kind: key.kind, round: key.round, attempt: key.attempt }, "round opened");
				notify({ run: this.id, type: "opened", ...key });
				return;
			}
			case "draw":
				this.background(this.#leases.draw(effect.key));
				return;
			case "lease":
				await this.#leases.lease(effect.key, effect.tasks);
				if (effect.tasks.length > 0) this.background(this.#acceptance.replay(effect.tasks.map((task) => task.id)));
				return;
			case "offer":
				await this.#leases.offer(effect.key, effect.tasks);
				return;
			case "accept":
				await this.#acceptance.accept(effect);
				return;
			case "endTask":
				await store.endTask(this.id, effect.task, effect.phase, effect.reason);
				this.log.warn(
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
			case "hold":
				this.#acceptance.hold(effect.task);
				return;
			case "fold": {
				const { state, open } = this.round(effect.key);
				if (state.kind === "evaluate") return;
				const report = open.reports.get(effect.task);
				if (report === undefined) throw new RondoError("INTERNAL", `task ${effect.task} was accepted without content`);
				// Not awaited: the accumulator is a cache, and `finish` waits in the same worker.
				this.background(engine.fold(this.spec, state.plan, keyText(this.id, effect.key), effect.task, report.content, report.staleness));
				await checkpoint("fold");
				return;
			}
			case "cancel":
				for (const task of effect.tasks) link.cancel(task.client, task.id, effect.reason);
				return;
			case "freeze": {
				const { open } = this.round(effect.key);
				await store.freeze(this.id, effect.key, effect.tasks, setDigest(acceptedOf(open, effect.tasks)));
				notify({ run: this.id, type: "closing", ...effect.key });
				await checkpoint("set-frozen");
				return;
			}
			case "finish":
				this.background(this.#finish(effect.key, effect.tasks));
				return;
			case "commit":
				await this.#commit(effect);
				return;
			case "abandon":
				await store.abandon(this.id, effect.key, effect.discarded, effect.reason, effect.misses);
				await engine.drop(keyText(this.id, effect.key));
				this.#rounds.delete(keyText(this.id, effect.key));
				this.log.warn({ ...effect.key, reason: effect.reason, discarded: effect.discarded.length }, "round abandoned");
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
			const population = await this.ports.store.countTrainers();
			return { type: "planned", round, attempt, plan: await this.ports.engine.plan(this.spec, { ...this.position(population), round }) };
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

	#finish(key: RoundKey, tasks: readonly TaskId[]): Promise<void> {
		const { state, open } = this.round(key);
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
			const outcome = await this.ports.engine.finish(this.spec, keyText(this.id, key), request, contents);
			open.outcome = outcome;
			return { type: "finished", key, ...(outcome.done === undefined ? {} : { done: { reason: outcome.done.reason } }) };
		});
	}

	async #commit(effect: Extract<RunEffect, { type: "commit" }>): Promise<void> {
		const { store, engine, link, checkpoint, notify } = this.ports;
		const { key } = effect;
		const text = keyText(this.id, key);
		const open = this.#rounds.get(text);
		if (open === undefined) throw new RondoError("INTERNAL", `round ${text} is not open`);
		if (key.kind === "evaluate") {
			const metrics = open.evaluation ?? {};
			await store.closeEvaluation(this.id, key, metrics, effect.applied);
			this.#rounds.delete(text);
			this.log.info({ round: key.round, metrics }, "evaluated");
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
			...(effect.carried === undefined ? {} : { carried: effect.carried }),
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
		this.log.info(
			{ round: key.round, attempt: key.attempt, commit: record.commit, reports: effect.applied.length, hash: record.hash, metrics },
			"round committed",
		);
		await link.flush();
		notify({ run: this.id, type: "committed", ...key, commit: record.commit, metrics });
	}

	#logReceipt(receipt: Receipt): void {
		const level = receipt.code === "ACCEPTED" || receipt.code === "DUPLICATE" ? "debug" : "info";
		this.log[level]({ task: receipt.task, client: receipt.client, receipt: receipt.code, error: receipt.error }, "receipt");
	}

	/** What the work throws was logged by `#handle` or is logged here. */
	background(work: Promise<unknown>): void {
		work.catch((thrown: unknown) => {
			const error = toRondoError(thrown);
			if (!this.#closed && error.code !== "UNAVAILABLE") this.log.error({ err: error }, "background work of a run failed");
		});
	}
}
