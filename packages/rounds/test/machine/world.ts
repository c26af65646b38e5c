import type { ClientId, Plan } from "@rondo/algorithms";
import { isRondoError } from "@rondo/errors";
import { expect } from "vitest";
import { keyOf } from "../../src/machine/draft.js";
import { heldRounds, turnOf } from "../../src/machine/in-flight.js";
import { createRun, step, TICK_MS } from "../../src/machine/run.js";
import { isEnded } from "../../src/machine/transitions.js";
import type {
	Receipt,
	ReceiptCode,
	RoundKey,
	RoundState,
	RunEffect,
	RunEvent,
	RunSettings,
	RunState,
	TaskId,
	TaskState,
} from "../../src/machine-types.js";
import { ModelStore, textOf } from "./model-store.js";

type Report = Extract<RunEvent, { type: "report" }>;
type Pending =
	| { readonly type: "plan"; readonly round: number; readonly attempt: number }
	| { readonly type: "finish"; readonly key: RoundKey };

export const SETTINGS: RunSettings = {
	rounds: 3,
	maxReplans: 2,
	minClients: 2,
	waitForClientsMs: 10_000,
	evaluateEvery: 0,
	evaluateDeadlineMs: 6_000,
};

export const PLAN: Plan = { lanes: {}, leases: 3, closeAt: 3, quorum: 2, deadlineMs: 10_000, maxExamples: 100, onMiss: "replan" };

/** A client with an outbox: what it was offered, and what it has sent. */
interface ModelClient {
	readonly id: ClientId;
	connected: boolean;
	readonly offers: Map<TaskId, RoundKey>;
	readonly sent: Map<TaskId, string>;
}

const frozen = <T>(value: T): T => {
	if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
		Object.freeze(value);
		for (const part of Object.values(value)) frozen(part);
	}
	return value;
};

/**
 * A coordinator around the machine with a model store, a fake clock and scripted clients. It carries out effects one at
 * a time and can crash between any two. After every step it compares the machine with what the store would load.
 */
export class World {
	readonly store: ModelStore;
	readonly clients: ModelClient[];
	/** Every effect carried out, in order. */
	readonly effects: RunEffect[] = [];
	readonly receipts: Receipt[] = [];
	/** Messages that no round could take, by task, as a driver keeps them. */
	readonly held = new Map<TaskId, RunEvent & { readonly task: TaskId }>();
	/** Questions to the engine that are not answered yet. */
	pending: Pending[] = [];
	state: RunState;
	nowMs = 1_000_000;
	/** Effects to carry out before the next crash; undefined: none is planned. */
	crashAfter: number | undefined;
	crashes = 0;
	readonly #plans: (round: number, attempt: number) => Plan;
	#draws: RoundKey[] = [];
	#folded = new Map<string, Set<TaskId>>();

	constructor(
		options: {
			clients?: readonly ClientId[];
			settings?: Partial<RunSettings>;
			plan?: Partial<Plan> | ((round: number, attempt: number) => Plan);
		} = {},
	) {
		const { clients = ["a", "b", "c", "d"], plan = {} } = options;
		this.clients = clients.map((id) => ({ id, connected: true, offers: new Map(), sent: new Map() }));
		this.#plans = typeof plan === "function" ? plan : () => ({ ...PLAN, ...plan });
		this.state = createRun({ run: "run-1", epoch: 1, settings: { ...SETTINGS, ...options.settings } });
		this.store = new ModelStore(this.state);
	}

	get ended(): boolean {
		return isEnded(this.store.phase);
	}

	client(id: ClientId): ModelClient {
		return this.clients.find((client) => client.id === id)!;
	}

	/** Feeds one event and everything that follows from it at once; returns the effects of all that. */
	post(event: RunEvent): RunEffect[] {
		const from = this.effects.length;
		this.#handle(event);
		while (this.#draws.length > 0) this.present(this.#draws.shift()!);
		this.#release();
		return this.effects.slice(from);
	}

	/** Sends what was held again, once something can come of it. */
	#release(): void {
		for (const [task, event] of this.held) {
			const round = this.#holding(task);
			if (round !== undefined && round.phase !== "collecting") continue;
			this.held.delete(task);
			const past = this.store.past(task);
			this.post({ ...event, ...(round && { landing: keyOf(round) }), ...(past && { past }) } as RunEvent);
		}
	}

	#holding(task: TaskId): RoundState | undefined {
		return heldRounds(this.state).find(({ tasks }) => tasks[task]?.phase === "leased");
	}

	/** An administrator's command; the error's code when it is refused. */
	command(type: "start" | "pause" | "resume" | "stop"): string | undefined {
		try {
			this.post({ type });
			return undefined;
		} catch (error) {
			if (isRondoError(error)) return error.code;
			throw error;
		}
	}

	/** Starts the run, answers the first plan and lets the machine read the clock. */
	begin(): this {
		this.post({ type: "start" });
		this.answer();
		this.tick(0);
		return this;
	}

	present(key: RoundKey): void {
		const isEvaluator = (id: ClientId): boolean => id.startsWith("e");
		const clients = this.clients.filter(({ id, connected }) => connected && isEvaluator(id) === (key.kind === "evaluate"));
		const round = this.state.open.find((open) => textOf(open) === textOf(key));
		const ids = clients.map(({ id }) => id);
		// As a secret draw would: in another order for every lease that is handed out again.
		const first = round === undefined || ids.length === 0 ? 0 : turnOf(round) % ids.length;
		this.#handle({ type: "present", key, clients: [...ids.slice(first), ...ids.slice(0, first)] });
	}

	connect(client: ModelClient, connected: boolean): void {
		client.connected = connected;
		if (connected) {
			for (const round of heldRounds(this.store.load())) {
				if (round.phase === "collecting" || round.plan.maxStaleness !== undefined) this.#offer(round, Object.values(round.tasks));
			}
		}
		for (const round of this.state.open) if (round.phase !== "closing") this.present(round);
	}

	/** Answers the oldest question to the engine. */
	answer(done?: { readonly reason: string }): void {
		const pending = this.pending.shift();
		if (pending?.type === "plan") this.post({ ...pending, type: "planned", plan: this.#plans(pending.round, pending.attempt) });
		if (pending?.type === "finish") this.post({ type: "finished", key: pending.key, ...(done && { done }) });
	}

	fail(): void {
		const pending = this.pending.shift();
		if (!pending) return;
		const key = pending.type === "finish" ? pending.key : ({ kind: "train", round: pending.round, attempt: pending.attempt } as const);
		this.post({ type: "finishFailed", key, code: "LEDGER_OVERFLOW", message: "unit too small" });
	}

	tick(elapsedMs: number = TICK_MS): RunEffect[] {
		this.nowMs += elapsedMs;
		return this.post({ type: "tick" });
	}

	/** Time passes in ticks. */
	wait(elapsedMs: number): void {
		for (let spent = 0; spent < elapsedMs; spent += TICK_MS) this.tick();
	}

	/** The client sends a report and gets exactly one receipt, the one that the rows of the store call for. */
	report(id: ClientId, task: TaskId, options: { digest?: string; ok?: boolean } = {}): ReceiptCode | "CRASH" | "HELD" {
		const { digest = `report of ${id}`, ok = true } = options;
		const verdict: Report["verdict"] = ok ? { ok, numExamples: 10 } : { ok, code: "NOT_FINITE", message: "lane w[3] is NaN" };
		this.client(id).sent.set(task, digest);
		return this.#converse(
			{ type: "report", task, client: id, digest, verdict },
			this.#expected(id, task, ok ? "ACCEPTED" : "REJECTED", digest),
		);
	}

	/** The client sends its newest task's report. */
	reportNewest(id: ClientId, options: { digest?: string; ok?: boolean } = {}): ReceiptCode | "CRASH" | "HELD" {
		return this.report(id, this.newest(id), options);
	}

	decline(id: ClientId, task: TaskId): ReceiptCode | "CRASH" | "HELD" {
		return this.#converse({ type: "decline", task, client: id, reason: "on battery" }, this.#expected(id, task, "DECLINED"));
	}

	/** Tasks that the client was offered or has reported and has heard nothing final about. */
	outbox(client: ModelClient): TaskId[] {
		const answered = new Set(this.receipts.filter((receipt) => receipt.client === client.id).map((receipt) => receipt.task));
		return [...new Set([...client.offers.keys(), ...client.sent.keys()])].filter((task) => !answered.has(task) && !this.held.has(task));
	}

	/** Newest task that the client was offered. */
	newest(id: ClientId): TaskId {
		return [...this.client(id).offers.keys()].at(-1)!;
	}

	/** The process dies: memory and unanswered questions are gone, the store stays. */
	crash(): void {
		this.crashes++;
		this.crashAfter = undefined;
		this.pending = [];
		this.#draws = [];
		this.held.clear();
		this.#folded = new Map();
		this.state = this.store.load();
		this.nowMs = this.crashes * 7;
		this.post({ type: "recovered" });
	}

	/** Everyone is there and honest, empties the outbox, and every question is answered, until the run ends. */
	settleDown(): void {
		this.crashAfter = undefined;
		if (this.store.phase === "created") this.post({ type: "start" });
		if (this.store.phase === "paused") this.post({ type: "resume" });
		for (const client of this.clients) this.connect(client, true);
		for (let turn = 0; !this.ended; turn++) {
			expect(turn, `the run goes on: ${JSON.stringify(this.state)}`).toBeLessThan(500);
			while (this.pending.length > 0) this.answer();
			let isIdle = true;
			for (const client of this.clients) {
				for (const task of this.outbox(client)) {
					isIdle = false;
					this.report(client.id, task, client.sent.has(task) ? { digest: client.sent.get(task)! } : {});
				}
			}
			// Time passes for clients that have nothing to do: a lease may have gone to one that was asked before.
			if (isIdle && this.pending.length === 0) this.tick();
		}
	}

	#handle(event: RunEvent): void {
		const before = frozen(this.state);
		const next = step(before, event, this.nowMs);
		expect(step(before, event, this.nowMs)).toEqual(next);
		this.state = next.state;
		for (const effect of next.effects) {
			if (this.crashAfter === 0) {
				this.crash();
				return;
			}
			if (this.crashAfter !== undefined) this.crashAfter--;
			this.effects.push(effect);
			if (!this.store.apply(effect)) this.#volatile(effect);
			if (effect.type === "lease") this.#offer(effect.key, effect.tasks);
		}
		this.#compare();
	}

	#volatile(effect: RunEffect): void {
		switch (effect.type) {
			case "plan":
				this.pending.push(effect);
				break;
			case "finish":
				expect(effect.tasks).toEqual(this.store.rounds.get(textOf(effect.key))!.frozen);
				this.pending.push({ type: "finish", key: effect.key });
				break;
			case "draw":
				this.#draws.push(effect.key);
				break;
			case "offer":
				this.#offer(effect.key, effect.tasks);
				break;
			case "receipt":
				if (effect.receipt.code === "ACCEPTED") {
					expect(this.store.find(effect.receipt.task)!.stored.task).toMatchObject({
						phase: "accepted",
						digest: effect.receipt.acceptedDigest,
					});
				}
				this.receipts.push(effect.receipt);
				break;
			case "hold":
				this.#hold(effect.task);
				break;
			case "fold": {
				const folded = this.#folded.get(textOf(effect.key)) ?? new Set();
				expect(folded.has(effect.task)).toBe(false);
				expect(this.store.find(effect.task)!.stored.task.phase).toBe("accepted");
				this.#folded.set(textOf(effect.key), folded.add(effect.task));
				break;
			}
			case "settle":
				for (const task of effect.tasks) expect(this.store.find(task.id)!.stored.outcome).toBe(effect.outcome);
				break;
			case "cancel":
				for (const task of effect.tasks) this.client(task.client).offers.delete(task.id);
				break;
			default:
				expect.unreachable(`effect ${effect.type} is neither durable nor volatile`);
		}
	}

	#offer(key: RoundKey, tasks: readonly TaskState[]): void {
		for (const task of tasks) {
			const client = this.client(task.client);
			if (client.connected && task.phase === "leased") client.offers.set(task.id, key);
		}
	}

	#converse(
		event: RunEvent & { readonly task: TaskId; readonly client: ClientId },
		expected: ReceiptCode | "HELD",
	): ReceiptCode | "CRASH" | "HELD" {
		const past = this.store.past(event.task);
		const landing = this.#holding(event.task);
		const { crashes } = this;
		const from = this.receipts.length;
		this.#event = { ...event, ...(past && { past }), ...(landing && { landing: keyOf(landing) }) };
		this.post(this.#event);
		if (this.crashes > crashes) return "CRASH";
		const receipts = this.receipts.slice(from);
		if (expected === "HELD") {
			expect([receipts, this.held.has(event.task)]).toEqual([[], true]);
			return expected;
		}
		expect(receipts.map(({ task, client, code }) => ({ task, client, code }))).toEqual([
			{ task: event.task, client: event.client, code: expected },
		]);
		return expected;
	}

	/** The message under way, which a `hold` effect is about. */
	#event: (RunEvent & { readonly task: TaskId }) | undefined;

	#hold(task: TaskId): void {
		expect(this.#event?.task).toBe(task);
		this.held.set(task, this.#event!);
	}

	/** The receipt by the rows of the store, told in another way than the machine does. */
	#expected(client: ClientId, task: TaskId, fresh: ReceiptCode, digest?: string): ReceiptCode | "HELD" {
		const found = this.store.find(task);
		const mine = found?.stored.task.client === client ? found : undefined;
		if (mine?.stored.task.phase === "accepted") return mine.stored.task.digest === digest ? "DUPLICATE" : "CONFLICT";
		if (this.ended) return "RUN_OVER";
		if (!mine) return "NOT_SELECTED";
		const { phase, plan } = mine.round.state;
		if (mine.stored.task.phase !== "leased") return "STALE";
		if (phase === "collecting") return fresh;
		return plan.maxStaleness !== undefined && phase !== "abandoned" ? "HELD" : "STALE";
	}

	/** The machine and the store agree on everything but the budgets, of which a crash gives back at most five seconds. */
	#compare(): void {
		const { tickedAtMs: _ticked, ...memory } = this.state;
		const stored = this.store.load();
		expect(memory.open.length).toBe(stored.open.length);
		const open = stored.open.map((round, index) => {
			const { waitLeftMs, leftMs } = memory.open[index]!;
			for (const lag of [round.waitLeftMs - waitLeftMs, round.leftMs - leftMs]) {
				expect(lag).toBeGreaterThanOrEqual(0);
				expect(lag).toBeLessThanOrEqual(5_000);
			}
			return { ...round, waitLeftMs, leftMs };
		});
		const { waitLeftMs, leftMs } = memory.carried ?? {};
		expect({ ...stored, open, ...(stored.carried && { carried: { ...stored.carried, waitLeftMs, leftMs } }) }).toEqual(memory);
	}
}
