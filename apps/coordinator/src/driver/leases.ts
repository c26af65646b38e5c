import type { ClientId, Plan } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { fromHex, type Random, randomFrom } from "@rondo/kernels";
import { heldRounds, leaseLeftMs, type RoundKey, type RoundState, rankClients, type TaskId, type TaskState, turnOf } from "@rondo/rounds";
import type { RunNotice } from "../services.js";
import { keyOf, sameKey } from "./open-round.js";
import type { RunView } from "./run-view.js";

/** Who does what: draws clients, leases tasks to them and offers the tasks. */
export class Leases {
	readonly #run: RunView;
	readonly #secret: Random;

	constructor(run: RunView, secretSeed: string) {
		this.#run = run;
		this.#secret = randomFrom(fromHex(secretSeed));
	}

	/** Tells the machine who is connected, in the order of the secret draw. */
	async draw(key: RoundKey): Promise<void> {
		const state = this.#run.machine.open.find((round) => sameKey(keyOf(round), key));
		const clients = rankClients(this.#secret, key, this.#eligible(key.kind, state?.plan), state === undefined ? 0 : turnOf(state));
		if (state?.phase === "planned") this.#run.ports.notify(this.#waiting(state, clients.length));
		await this.#run.post({ type: "present", key, clients });
	}

	/** Tells open rounds who is connected. */
	presenceChanged(): void {
		for (const round of this.#run.machine.open) {
			if (round.phase === "planned" || round.phase === "collecting") this.#run.background(this.draw(keyOf(round)));
		}
	}

	/** What a new watcher should know: which rounds wait for clients, and for how many. */
	waiting(): readonly RunNotice[] {
		return this.#run.machine.open
			.filter(({ phase }) => phase === "planned")
			.map((round) => this.#waiting(round, this.#eligible(round.kind, round.plan).length));
	}

	#waiting({ kind, round, attempt, plan }: RoundState, connected: number): RunNotice {
		const total = kind === "evaluate" ? 1 : Math.max(this.#run.machine.settings.minClients, plan.quorum);
		return { run: this.#run.id, type: "waiting", kind, round, attempt, done: connected, total };
	}

	#eligible(kind: RoundKey["kind"], plan: Pick<Plan, "lanes"> = { lanes: {} }): readonly ClientId[] {
		const { spec, ports } = this.#run;
		return ports.link.eligible(kind === "evaluate" ? "evaluator" : "trainer", spec.strategy, spec.version, plan);
	}

	/** Makes leases durable, then offers the tasks. None only sets the round collecting. */
	async lease(key: RoundKey, tasks: readonly TaskState[]): Promise<void> {
		const { id, spec, ports, log } = this.#run;
		const { store, engine, notify } = ports;
		if (tasks.length === 0) return store.leaseTasks(id, key, []);
		const { open } = this.#run.round(key);
		const clients = tasks.map((task) => task.client);
		const payloads =
			open.payload === null ? await engine.tasks(spec, this.#run.position(open.population), clients) : clients.map(() => open.payload!);
		const rows = await Promise.all(
			tasks.map(async (task, i) => ({
				id: task.id,
				client: task.client,
				slot: task.slot,
				payload: payloads[i]!,
				carryBasis: key.kind === "train" ? await store.lastApplied(id, task.client) : null,
				...(task.endsAtMs === undefined ? {} : { endsAtMs: task.endsAtMs }),
			})),
		);
		await store.leaseTasks(id, key, rows);
		log.info({ ...key, tasks: tasks.length, clients }, "tasks leased");
		for (const task of tasks) notify({ run: id, type: "leased", ...key, client: task.client });
		await this.offer(key, tasks);
	}

	/** Offers leased tasks of the round `key` to their clients. */
	async offer(key: RoundKey, tasks: readonly TaskState[]): Promise<void> {
		const { spec, manifest, ports } = this.#run;
		for (const task of tasks) {
			const row = await ports.store.getTask(task.id);
			if (row === null) throw new RondoError("INTERNAL", `task ${task.id} has no row`);
			const round = heldRounds(this.#run.machine).find((candidate) => sameKey(keyOf(candidate), key));
			if (round === undefined) return;
			await ports.link.offer(task.client, {
				task: task.id,
				spec,
				manifest,
				incarnation: this.#run.machine.incarnation,
				key: row.key,
				track: round.track,
				plan: round.plan,
				payload: row.payload,
				leaseMs: leaseLeftMs(round, task),
				carryBasis: row.carryBasis,
				logHead: this.#run.logHead,
			});
		}
	}

	/** Offers that a returning client should get again, leased and not in its outbox. */
	async offersFor(client: ClientId, alreadyTrained: ReadonlySet<TaskId>): Promise<void> {
		for (const round of heldRounds(this.#run.machine)) {
			if (round.phase !== "collecting" && round.plan.maxStaleness === undefined) continue;
			const tasks = Object.values(round.tasks).filter(
				(task) => task.client === client && task.phase === "leased" && !alreadyTrained.has(task.id),
			);
			await this.offer(keyOf(round), tasks);
		}
	}
}
