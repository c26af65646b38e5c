import { type ClientId, decodePlain, digestOf, type Metrics, type Plain, vecsIn } from "@rondo/algorithms";
import { isRondoError, RondoError, toRondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import {
	type AcceptedReport,
	createRun,
	decodeReport,
	type Finished,
	type Fold,
	type LogRecord,
	type Position,
	type Report,
	type RoundKey,
	type RoundState,
	type RunEffect,
	type RunEngine,
	type RunEvent,
	type RunPhase,
	type RunSettings,
	type RunState,
	rankClients,
	stalenessOf,
	step,
	type TaskId,
	type TaskState,
	TICK_MS,
	turnOf,
} from "@rondo/rounds";
import type { Attacks } from "./adversary/attacks.js";
import type { Done } from "./client-half.js";
import type { Device } from "./device.js";
import type { Executor } from "./executor.js";
import type { MemoryStore } from "./memory-store.js";
import { AttackImpossible, TaskRunner } from "./task-runner.js";
import { type Agenda, type Arrival, type Assignment, RealAgenda, VirtualAgenda } from "./time/agenda.js";
import type { World } from "./time/behaviour.js";

/** One commit of a simulated run. */
export interface SimulatedRound {
	readonly commit: number;
	readonly round: number;
	readonly attempt: number;
	readonly kind: "commit" | "skip";
	/** Clients whose reports were applied, in client-id order. */
	readonly clients: readonly ClientId[];
	/** Of the strategy, and the clients' means as `client.<name>`. */
	readonly metrics: Metrics;
	readonly scores: { readonly [client: ClientId]: Metrics };
	/** What `evaluate` returned for the weights after this commit. */
	readonly evaluation?: Metrics;
	/** Payloads and blobs of all tasks done since the last commit. */
	readonly bytesDown: number;
	readonly bytesUp: number;
	/** Time of the commit since the start of the run, milliseconds. */
	readonly atMs: number;
	/** Tasks of this attempt that ended without a report in time: late, lost, or not waited for. */
	readonly unanswered: number;
}

/** A task that ended without an accepted report. */
export interface Refusal {
	readonly round: number;
	readonly client: ClientId;
	readonly code: string;
	readonly message: string;
}

/** What drives a simulated run. */
export interface DriverParts {
	readonly run: string;
	readonly engine: RunEngine;
	readonly store: MemoryStore;
	readonly devices: ReadonlyMap<ClientId, Device>;
	readonly present: (client: ClientId, round: number) => boolean;
	readonly secret: Random;
	readonly settings: RunSettings;
	/** Order in which leased tasks are done. */
	readonly arrival: (tasks: readonly TaskState[]) => readonly TaskState[];
	/** Index of the task that is done next, of those that wait in the order of `arrival`; default: the first. */
	readonly next?: (waiting: readonly TaskState[]) => number;
	readonly evaluateEvery: number;
	readonly evaluate?: (weights: Float32Array, at: { readonly round: number; readonly commit: number }) => Promise<Metrics> | Metrics;
	readonly onCommit?: (round: SimulatedRound) => Promise<void> | void;
	readonly keepReports: boolean;
	readonly signal: AbortSignal;
	readonly executor: Executor;
	readonly attacks: Attacks;
	readonly clock: "virtual" | "real";
	readonly world: World;
}

interface OpenRound {
	readonly attempt: number;
	readonly position: Position;
	readonly fold: Fold;
	readonly accepted: Map<TaskId, AcceptedReport>;
	finished?: Finished;
	unanswered: number;
}

const INCARNATION = 1;
const RUNNING: readonly RunPhase[] = ["created", "running", "paused"];
/** Changes of who is there that a round waits for. */
const MAX_CHANGES = 10_000;

/**
 * Carries out what the round machine asks for, as the coordinator's driver does, with clients that answer in the same
 * process and a clock that only moves when nobody has anything to do.
 */
export class Driver {
	readonly records: LogRecord[] = [];
	/** Canonical bytes of accepted reports. */
	readonly reports = new Map<TaskId, Uint8Array>();
	readonly rounds: SimulatedRound[] = [];
	readonly refusals: Refusal[] = [];
	result: Plain | undefined;
	position: Position;
	state: RunState;
	readonly #parts: DriverParts;
	// The first tick starts the clock.
	readonly #events: RunEvent[] = [{ type: "start" }, { type: "tick" }];
	readonly #agenda: Agenda<Done>;
	/** Last report of a task until the machine has decided on it. */
	#received: { readonly bytes: Uint8Array; readonly report: Report } | undefined;
	#open: OpenRound | undefined;
	#idleMs = 0;
	#changes = 0;
	#traffic = { down: 0, up: 0 };

	constructor(parts: DriverParts) {
		this.#parts = parts;
		const { engine, run, settings, devices } = parts;
		const { state, record } = engine.genesis();
		this.records.push(record);
		this.position = { state, members: new Map(), round: 1, commit: 0, population: devices.size };
		this.state = createRun({ run, epoch: 1, settings, incarnation: INCARNATION });
		const runner = new TaskRunner(parts);
		const work = { start: (assignment: Assignment) => runner.start(assignment), width: parts.executor.width };
		this.#agenda = parts.clock === "real" ? new RealAgenda(work) : new VirtualAgenda(work, parts.world, parts.next);
	}

	/**
	 * Runs to the end.
	 * @throws CANCELLED when the signal says so; UNAVAILABLE when a round can never start; INVALID_ARGUMENT for an attack that
	 * this strategy's reports do not allow
	 */
	async run(): Promise<void> {
		while (RUNNING.includes(this.state.phase)) {
			if (this.#parts.signal.aborted) throw new RondoError("CANCELLED", `the simulation was cancelled in round ${this.position.round}`);
			const event = this.#events.shift();
			if (event !== undefined) {
				const { state, effects } = step(this.state, event, this.#agenda.nowMs);
				this.state = state;
				for (const effect of effects) await this.#carryOut(effect);
				continue;
			}
			await this.#advance();
		}
	}

	async #carryOut(effect: RunEffect): Promise<void> {
		switch (effect.type) {
			case "plan":
				this.#events.push({ type: "planned", round: effect.round, attempt: effect.attempt, plan: this.#parts.engine.plan(this.position) });
				return;
			case "openRound":
				this.#open?.fold.release();
				this.#open = {
					attempt: effect.state.attempt,
					position: this.position,
					fold: this.#parts.engine.fold(effect.state.plan),
					accepted: new Map(),
					unanswered: 0,
				};
				return;
			case "draw": {
				this.#tellPresent(effect.key, effect.turn);
				return;
			}
			case "lease": {
				const { engine, devices } = this.#parts;
				const { plan } = this.#stateOf(effect.key);
				const leased = this.#parts.arrival(effect.tasks);
				const cohort = leased.map((task) => ({
					task,
					payload: engine.task(this.position, this.position.members.get(task.client)),
					plan,
					basis: devices.get(task.client)!.carry,
				}));
				this.#agenda.add(cohort.map((one) => ({ ...one, key: effect.key, cohort, abort: new AbortController() })));
				return;
			}
			case "accept": {
				const { accepted } = this.#openRound();
				const { bytes } = this.#received!;
				const { client } = this.#stateOf(effect.key).tasks[effect.task]!;
				accepted.set(effect.task, {
					task: effect.task,
					client,
					numExamples: effect.numExamples,
					staleness: effect.staleness,
					sequence: accepted.size,
					digest: effect.digest,
				});
				this.reports.set(effect.task, bytes);
				return;
			}
			case "fold":
				this.#openRound().fold.add(effect.task, this.#received!.report, this.#openRound().accepted.get(effect.task)!.staleness);
				return;
			case "hold":
				// Everything that follows from a report happens before the next one arrives, so a round always collects by then.
				throw new RondoError("INTERNAL", `task ${effect.task} has no round to land in`);
			case "cancel": {
				this.#agenda.cancel(new Set(effect.tasks.map(({ id }) => id)));
				if (this.#open !== undefined) this.#open.unanswered = effect.tasks.length;
				return;
			}
			case "finish":
				this.#finish(effect.key, effect.tasks);
				return;
			case "commit":
				await this.#commit(effect.skip);
				return;
			case "abandon":
				for (const task of effect.discarded) this.reports.delete(task);
				return;
			case "settle":
				for (const task of effect.tasks) this.#parts.devices.get(task.client)!.settle(task.id, effect.outcome);
				this.#collect();
				return;
			default:
				// The rest is for stores and connections, which a simulation does not have.
				return;
		}
	}

	/** Lets time pass until the next report, or until something may happen without one. */
	async #advance(): Promise<void> {
		const beforeMs = this.#agenda.nowMs;
		const [open] = this.state.open;
		const accepted = this.#open?.accepted.size ?? 0;
		const arrival = await this.#agenda.next(this.#wakeMs(), open === undefined ? 0 : Math.max(1, open.plan.closeAt - accepted));
		const elapsedMs = this.#agenda.nowMs - beforeMs;
		if (elapsedMs > 0) this.#events.push({ type: "tick" });
		if (arrival === undefined) this.#idleMs += elapsedMs;
		else await this.#receive(arrival);
		if (this.#parts.world.nextChangeMs(beforeMs) <= this.#agenda.nowMs) {
			this.#changes++;
			for (const open of this.state.open) if (open.phase !== "closing") this.#tellPresent(open, turnOf(open));
		}
		this.#checkHope();
	}

	/** When to look at the clock if no report arrives before. */
	#wakeMs(): number {
		const { nowMs } = this.#agenda;
		const budgets = this.state.open.map(({ phase, waitLeftMs, leftMs }) => (phase === "planned" ? waitLeftMs : leftMs));
		return Math.min(nowMs + TICK_MS, this.#parts.world.nextChangeMs(nowMs), ...budgets.filter((ms) => ms > 0).map((ms) => nowMs + ms));
	}

	async #receive({ assignment, result }: Arrival<Done>): Promise<void> {
		const { key, task, payload } = assignment;
		this.#idleMs = 0;
		this.#changes = 0;
		let done: Done;
		let digest: string;
		let bytes: Uint8Array;
		try {
			done = await result;
			({ digest, bytes } = done.report!);
			const { down, up } = this.#parts.devices.get(task.client)!.keep(task.id, payload, done);
			this.#traffic = { down: this.#traffic.down + down, up: this.#traffic.up + up + bytes.length };
		} catch (error) {
			if (error instanceof AttackImpossible) throw toRondoError(error.cause);
			// A client that cannot do its task declines it; anything but a RondoError is a defect that must be seen.
			if (!isRondoError(error)) throw error;
			this.#refuse(key, task, error);
			this.#events.push({ type: "decline", task: task.id, client: task.client, reason: `${error.code}: ${error.message}` });
			return;
		}
		const about = { type: "report" as const, task: task.id, client: task.client, digest };
		try {
			const report = decodeReport(bytes);
			const landing = this.state.open.find((round) => task.id in round.tasks)!;
			this.#parts.engine.check(landing.plan, report, stalenessOf(landing, landing.tasks[task.id]!));
			this.#received = { bytes, report };
			this.#events.push({ ...about, landing, verdict: { ok: true, numExamples: report.numExamples } });
		} catch (error) {
			const { code, message } = toRondoError(error);
			this.#refuse(key, task, toRondoError(error));
			this.#events.push({ ...about, verdict: { ok: false, code, message } });
		}
	}

	#tellPresent(key: RoundKey, turn?: number): void {
		const there = [...this.#parts.devices.keys()].filter((client) => this.#isThere(client, key.round));
		this.#events.push({ type: "present", key, clients: rankClients(this.#parts.secret, key, there, turn) });
	}

	#isThere(client: ClientId, round: number): boolean {
		return this.#parts.present(client, round) && this.#parts.world.isThere(client, this.#agenda.nowMs);
	}

	#refuse({ round }: RoundKey, { client }: TaskState, { code, message }: RondoError): void {
		this.refusals.push({ round, client, code, message });
	}

	#finish(key: RoundKey, tasks: readonly TaskId[]): void {
		const open = this.#openRound();
		const { position, fold, attempt } = open;
		const { plan } = this.#stateOf(key);
		const accepted = tasks.map((task) => open.accepted.get(task)!);
		const reports = (task: TaskId): Report => decodeReport(this.reports.get(task)!);
		try {
			open.finished = this.#parts.engine.finish({
				position,
				plan,
				accepted,
				reports,
				fold,
				previous: this.records.at(-1)!.hash,
				attempt,
				incarnation: INCARNATION,
			});
			const { done } = open.finished;
			this.#events.push({ type: "finished", key, ...(done === undefined ? {} : { done: { reason: done.reason } }) });
		} catch (error) {
			const { code, message } = toRondoError(error);
			this.#events.push({ type: "finishFailed", key, code, message });
		}
	}

	async #commit(skip: boolean): Promise<void> {
		const { position, attempt, finished, accepted, fold, unanswered } = this.#openRound();
		fold.release();
		const { engine, evaluate, evaluateEvery, settings, onCommit } = this.#parts;
		const record = skip
			? engine.skip({ position, attempt, incarnation: INCARNATION, previous: this.records.at(-1)!.hash })
			: finished!.record;
		this.records.push(record);
		const after = skip ? position : finished!;
		this.position = { ...position, state: after.state, members: after.members, round: position.round + 1, commit: position.commit + 1 };
		if (finished?.done?.result !== undefined) this.result = finished.done.result;
		const isDue = position.round % evaluateEvery === 0 || position.round === settings.rounds || finished?.done !== undefined;
		const at = { round: position.round, commit: this.position.commit };
		const evaluation = evaluate !== undefined && isDue ? await evaluate(this.weights()!, at) : undefined;
		const round: SimulatedRound = {
			...at,
			attempt,
			kind: skip ? "skip" : "commit",
			clients: record.accepted.map(({ client }) => client),
			metrics: finished?.metrics ?? {},
			scores: finished?.scores ?? {},
			...(evaluation === undefined ? {} : { evaluation }),
			bytesDown: this.#traffic.down,
			bytesUp: this.#traffic.up,
			atMs: this.#agenda.nowMs,
			unanswered: skip ? this.#agenda.waiting().length : unanswered,
		};
		this.#traffic = { down: 0, up: 0 };
		this.rounds.push(round);
		for (const task of skip || !this.#parts.keepReports ? accepted.keys() : []) this.reports.delete(task);
		await onCommit?.(round);
	}

	/** The global weights now; undefined when the strategy has no model. */
	weights(): Float32Array | undefined {
		const { engine, store } = this.#parts;
		return engine.parts.strategy.model === undefined ? undefined : store.read(engine.model(this.position)).slice();
	}

	/** Digest of the strategy's state now. */
	stateDigest(): string {
		return digestOf(this.position.state);
	}

	/** Drops blobs that nothing refers to any more. */
	#collect(): void {
		const { engine, store, devices } = this.#parts;
		const published = this.records.flatMap(({ entry }) => (entry.kind === "genesis" ? [] : vecsIn(entry.publish)));
		const kept = [...this.reports.values()].flatMap((bytes) => vecsIn(decodeReport(bytes) as unknown as Plain));
		store.retain([
			engine.parts.initial,
			...vecsIn(this.position.state),
			...[...this.position.members.values()].flatMap((member) => vecsIn(member)),
			...published,
			...kept,
			...this.#agenda
				.waiting()
				.flatMap(({ payload, basis }) => [payload, ...(basis === undefined ? [] : [basis])].flatMap((bytes) => vecsIn(decodePlain(bytes)))),
			...[...devices.values()].flatMap((device) => device.vecs()),
		]);
	}

	/** @throws UNAVAILABLE when the open round will never find enough clients */
	#checkHope(): void {
		const [open] = this.state.open;
		const { settings, devices, world } = this.#parts;
		const changes = world.nextChangeMs(0) === Number.POSITIVE_INFINITY ? 0 : MAX_CHANGES;
		if (open !== undefined && (open.phase !== "planned" || this.#idleMs <= settings.waitForClientsMs + 2 * TICK_MS)) return;
		if (open === undefined ? this.#events.length > 0 : this.#changes < changes) return;
		const there = [...devices.keys()].filter((client) => this.#isThere(client, this.position.round)).length;
		throw new RondoError(
			"UNAVAILABLE",
			`round ${this.position.round} cannot start: ${there} clients are there, its quorum is ${open?.plan.quorum}`,
		);
	}

	#openRound(): OpenRound {
		if (this.#open === undefined) throw new RondoError("INTERNAL", "no round is open");
		return this.#open;
	}

	#stateOf(key: RoundKey): RoundState {
		const found = this.state.open.find(({ kind, round, attempt }) => kind === key.kind && round === key.round && attempt === key.attempt);
		if (found === undefined) throw new RondoError("INTERNAL", `${key.kind} round ${key.round} is not open`);
		return found;
	}
}
