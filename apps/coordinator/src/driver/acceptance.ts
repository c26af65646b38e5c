import { createHash } from "node:crypto";
import type { ClientId } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { type PastTask, type RunEffect, stalenessOf, type TaskId } from "@rondo/rounds";
import { keyOf } from "./open-round.js";
import type { RunView } from "./run-view.js";

/**
 * The way of a report from the wire to its row: checked against the round that it lands in, handed to the machine, made
 * durable. One whose task is in flight between two rounds waits here for the next.
 */
export class Acceptance {
	readonly #run: RunView;
	/** Bytes of reports between their check and their acceptance. */
	readonly #contents = new Map<TaskId, { readonly content: Uint8Array; readonly bytesUp: number }>();
	/** Wakes who waits for a round to land in; false: a newer message about the task waits in its place. */
	readonly #waiting = new Map<TaskId, (stay: boolean) => void>();
	/** Tasks whose last message the machine held. */
	readonly #held = new Set<TaskId>();
	#closed = false;

	constructor(run: RunView) {
		this.#run = run;
	}

	/**
	 * Checks a report and hands it to the machine. The receipt goes out through the link.
	 * @throws what may be tried again: BLOB_MISSING; UNAVAILABLE while the run is paused between two rounds
	 */
	async submit(task: TaskId, client: ClientId, content: Uint8Array, bytesUp: number, isPatient = false): Promise<void> {
		do {
			if (!(await this.#canLand(task, client, isPatient))) return;
			await this.#check(task, client, content, bytesUp);
		} while (this.#held.delete(task));
	}

	/** Hands a decline to the machine; one about a task in flight waits for the next round, however long. */
	async decline(task: TaskId, client: ClientId, reason: string, past: PastTask | null): Promise<void> {
		do {
			if (!(await this.#canLand(task, client, true))) return;
			await this.#run.post({ type: "decline", task, client, reason, ...(past === null ? {} : { past }) });
		} while (this.#held.delete(task));
	}

	async #check(task: TaskId, client: ClientId, content: Uint8Array, bytesUp: number): Promise<void> {
		const { spec, ports } = this.#run;
		const about = { type: "report" as const, task, client };
		const pastOf = async (): Promise<{ past?: PastTask }> => {
			const past = this.#run.find(task) === undefined ? await ports.store.pastTask(task) : null;
			return past === null ? {} : { past };
		};
		const found = this.#run.find(task);
		if (found === undefined || found.task.client !== client || found.task.phase !== "leased" || found.round.phase !== "collecting") {
			const past = await pastOf();
			const digest = createHash("sha256").update(content).digest("hex");
			await this.#run.post({ ...about, digest, verdict: { ok: true, numExamples: 1 }, ...past });
			return;
		}
		const verdict = await ports.engine.check(spec, found.round.plan, content, stalenessOf(found.round, found.task));
		if (!verdict.ok && verdict.code === "BLOB_MISSING") throw new RondoError("BLOB_MISSING", verdict.message);
		this.#contents.set(task, { content, bytesUp });
		try {
			await this.#run.post({
				...about,
				digest: verdict.digest,
				verdict: verdict.ok ? { ok: true, numExamples: verdict.numExamples } : { ok: false, code: verdict.code, message: verdict.message },
				landing: keyOf(found.round),
				...(await pastOf()),
			});
		} finally {
			this.#contents.delete(task);
		}
	}

	/**
	 * Waits while the client's task is in flight and no round collects. False when a newer message about the task waits
	 * instead: a client that comes back sends its report again.
	 */
	async #canLand(task: TaskId, client: ClientId, isPatient: boolean): Promise<boolean> {
		for (;;) {
			if (this.#closed) throw new RondoError("UNAVAILABLE", `run ${this.#run.id}: the coordinator is shutting down`);
			const found = this.#run.find(task);
			const isInFlight = found?.task.client === client && found.task.phase === "leased" && found.round.plan.maxStaleness !== undefined;
			if (!isInFlight || found.round.phase === "collecting") return true;
			if (!isPatient && this.#run.machine.phase !== "running")
				throw new RondoError("UNAVAILABLE", `run ${this.#run.id} is ${this.#run.machine.phase}: its next round will take the report`);
			this.#waiting.get(task)?.(false);
			const stay = await new Promise<boolean>((resolve) => this.#waiting.set(task, resolve));
			if (!stay) return false;
		}
	}

	/** The machine could not decide about the message under way. */
	hold(task: TaskId): void {
		this.#held.add(task);
	}

	/** Call after every step: who waits looks again. */
	changed(): void {
		const waiting = [...this.#waiting.values()];
		this.#waiting.clear();
		for (const wake of waiting) wake(true);
	}

	/** Nobody waits any more. */
	close(): void {
		this.#closed = true;
		this.changed();
	}

	/** Makes an accepted report durable. */
	async accept(effect: Extract<RunEffect, { type: "accept" }>): Promise<void> {
		const { id, ports } = this.#run;
		const { state, open } = this.#run.round(effect.key);
		const pending = this.#contents.get(effect.task);
		const task = state.tasks[effect.task];
		if (pending === undefined || task === undefined) throw new RondoError("INTERNAL", `task ${effect.task} is accepted without content`);
		const { content, bytesUp } = pending;
		await ports.acceptances.write(id, effect.task, { client: task.client, content });
		const { digest, numExamples, staleness } = effect;
		const report = { task: effect.task, digest, content, numExamples, staleness };
		const acceptance = await ports.store.accept(id, effect.key, { ...report, bytesUp });
		if (acceptance.kind !== "accepted") {
			throw new RondoError("CONFLICT", `task ${effect.task}: the store answers ${acceptance.kind} where the machine accepts`);
		}
		await ports.checkpoint("acceptance-row");
		open.reports.set(effect.task, { ...report, client: task.client, sequence: acceptance.sequence });
		ports.notify({ run: id, type: "accepted", ...effect.key, client: task.client, bytesUp });
	}

	/** Feeds acceptance records without a database row back in: a power cut may have cost the database its last rows. */
	async replay(tasks: readonly TaskId[]): Promise<void> {
		for (const task of tasks) {
			if (this.#run.find(task)?.task.phase !== "leased") continue;
			const record = await this.#run.ports.acceptances.read(this.#run.id, task);
			if (record === null) continue;
			this.#run.log.warn({ task, client: record.client }, "an acceptance record has no database row; accepting it again");
			await this.submit(task, record.client, record.content, 0, true);
		}
	}
}
