import type { ClientId, Plan } from "@rondo/algorithms";
import { isRondoError } from "@rondo/errors";
import type { RoundKey, TaskId, TaskState } from "@rondo/rounds";
import type { Attacks } from "./adversary/attacks.js";
import type { Done, Job, RawWork } from "./client-half.js";
import type { Device } from "./device.js";
import type { Executor } from "./executor.js";
import type { Assignment, Leased } from "./time/agenda.js";

/** An attack that can do nothing to the strategy's reports: a fault of the experiment, not of a client. */
export class AttackImpossible extends Error {}

/** What a runner works with. */
export interface TaskRunnerParts {
	readonly devices: ReadonlyMap<ClientId, Device>;
	readonly executor: Executor;
	readonly attacks: Attacks;
	readonly signal: AbortSignal;
}

type RawDone = Done & { readonly work: RawWork };

/** Has tasks worked on, and attackers change what they send. */
export class TaskRunner {
	readonly #parts: TaskRunnerParts;
	/** What groups agreed on, by the cohort they are in and the first task of the group. */
	readonly #agreements = new WeakMap<readonly Leased[], Map<TaskId, Promise<ReadonlyMap<TaskId, Done | Error>>>>();

	constructor(parts: TaskRunnerParts) {
		this.#parts = parts;
	}

	/** @throws what the client half throws; AttackImpossible */
	async start(assignment: Assignment): Promise<Done> {
		const { attacks, executor, signal } = this.#parts;
		const { task, cohort, abort, plan } = assignment;
		if (!attacks.has(task.client))
			return executor.run(this.#job(assignment.key, assignment, false), AbortSignal.any([signal, abort.signal]));
		const group = attacks.colluders(task.client, cohort);
		if (group.length === 0) {
			const done = (await executor.run(this.#job(assignment.key, assignment, true), AbortSignal.any([signal, abort.signal]))) as RawDone;
			return forging(() => attacks.forged(task, plan, done));
		}
		const agreements = this.#agreements.get(cohort) ?? new Map();
		this.#agreements.set(cohort, agreements);
		const key = group[0]!.task.id;
		if (!agreements.has(key)) agreements.set(key, this.#agree(assignment.key, group, plan));
		const agreed: Done | Error = (await agreements.get(key)!).get(task.id)!;
		if (agreed instanceof Error) throw agreed;
		return agreed;
	}

	/** All of a group work before the first of them sends; each that cannot has its error instead of a report. */
	async #agree(key: RoundKey, group: readonly Leased[], plan: Plan): Promise<ReadonlyMap<TaskId, Done | Error>> {
		const { attacks, executor, signal } = this.#parts;
		const works = await Promise.all(
			group.map(async (leased): Promise<readonly [TaskState, RawDone | Error]> => {
				try {
					return [leased.task, (await executor.run(this.#job(key, leased, true), signal)) as RawDone];
				} catch (error) {
					if (!isRondoError(error)) throw error;
					return [leased.task, error];
				}
			}),
		);
		const able = works.filter((entry): entry is readonly [TaskState, RawDone] => !(entry[1] instanceof Error));
		const reports: ReadonlyMap<TaskId, Done> = able.length === 0 ? new Map() : forging(() => attacks.agreed(able, plan));
		return new Map(works.map(([task, done]) => [task.id, done instanceof Error ? done : reports.get(task.id)!]));
	}

	#job({ round }: RoundKey, { task, payload, plan, basis }: Leased, raw: boolean): Job {
		return this.#parts.devices.get(task.client)!.job({ id: task.id, round, payload, basis }, plan, raw);
	}
}

function forging<T>(forge: () => T): T {
	try {
		return forge();
	} catch (cause) {
		throw new AttackImpossible("an attack is not possible", { cause });
	}
}
