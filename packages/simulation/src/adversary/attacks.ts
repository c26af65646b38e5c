import { type ClientId, decodePlain, encodePlain, type Plan } from "@rondo/algorithms";
import { isRondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import { decodeReport, type RunEngine, type TaskId, type TaskState } from "@rondo/rounds";
import { type Done, encodeWork, type RawWork } from "../client-half.js";
import type { MemoryStore } from "../memory-store.js";
import { forge, impossible } from "./forge.js";
import { cannot, type ForgeContext, type HonestWork } from "./forge-context.js";
import { type AdversarySpec, changesWork, type WorkSpec } from "./spec.js";

/** Work that was done honestly and is not sent yet. */
type RawDone = Done & { readonly work: RawWork };

/** What attackers of one simulation do to their reports. */
export class Attacks {
	readonly #byClient: ReadonlyMap<ClientId, readonly WorkSpec[]>;
	readonly #engine: RunEngine;
	readonly #store: MemoryStore;
	readonly #random: Random;

	/** @param random what noise is drawn from */
	constructor(adversaries: ReadonlyMap<ClientId, readonly AdversarySpec[]>, engine: RunEngine, store: MemoryStore, random: Random) {
		this.#byClient = new Map(
			Array.from(adversaries, ([client, specs]) => [client, specs.filter(changesWork)] as const).filter(([, specs]) => specs.length > 0),
		);
		this.#engine = engine;
		this.#store = store;
		this.#random = random;
	}

	/** @throws INVALID_ARGUMENT with the reason when an attack can do nothing to reports under this plan */
	check(plan: Plan): void {
		const { strategy } = this.#engine.parts;
		for (const spec of new Set([...this.#byClient.values()].flat())) {
			const reason = impossible(spec, strategy, plan);
			if (reason !== undefined) throw cannot(spec, reason);
		}
	}

	/** Whether the client's report is forged. */
	has(client: ClientId): boolean {
		return this.#byClient.has(client);
	}

	/** The tasks of a cohort whose clients collude with this one, itself among them; none unless it colludes. */
	colluders<L extends { readonly task: TaskState }>(client: ClientId, cohort: readonly L[]): readonly L[] {
		const last = this.#byClient.get(client)?.at(-1);
		if (last?.kind !== "collude") return [];
		const same = JSON.stringify(last);
		return cohort
			.filter(({ task }) => JSON.stringify(this.#byClient.get(task.client)?.at(-1)) === same)
			.sort((a, b) => (a.task.client < b.task.client ? -1 : 1));
	}

	/** The report that the attacker sends instead of its own. @throws INVALID_ARGUMENT when the attack is not possible */
	forged(task: TaskState, plan: Plan, done: RawDone): Done {
		const context = this.#context(plan, ["task", task.id]);
		return this.#sent(plan, done, this.#ownChanges(task, done, context), context.random);
	}

	/**
	 * The reports of a group that colludes, by task: one forged work, each with its own number of examples.
	 * @param group in client-id order; those that could not do their work left out
	 */
	agreed(group: readonly (readonly [TaskState, RawDone])[], plan: Plan): ReadonlyMap<TaskId, Done> {
		const works = group.map(([task, done]) => this.#ownChanges(task, done, this.#context(plan, ["task", task.id])));
		const [first] = group as readonly [readonly [TaskState, RawDone]];
		const spec = this.#byClient.get(first[0].client)!.at(-1)!;
		const context = this.#context(plan, ["group", first[0].id]);
		const work = forge(spec, works, context);
		return new Map(
			group.map(([task, done]) => [task.id, this.#sent(plan, done, { ...work, numExamples: done.work.numExamples }, context.random)]),
		);
	}

	#ownChanges({ client }: TaskState, done: RawDone, context: ForgeContext): HonestWork {
		const own = this.#byClient.get(client)!.filter(({ kind }) => kind !== "collude");
		return own.reduce((work, spec) => forge(spec, [work], context), opened(done.work));
	}

	#context(plan: Plan, path: readonly string[]): ForgeContext {
		const { strategy, config, layout } = this.#engine.parts;
		const random = this.#random.at(...path);
		return {
			strategy,
			config,
			layout,
			plan,
			random,
			accepts: (work) => {
				try {
					const { bytes } = encodeWork(this.#engine.parts, plan.lanes, closed(work), random.at("codec"), this.#store);
					this.#engine.check(plan, decodeReport(bytes));
					return true;
				} catch (error) {
					if (!isRondoError(error)) throw error;
					return false;
				}
			},
		};
	}

	#sent(plan: Plan, done: Done, work: HonestWork, random: Random): Done {
		return { ...done, work: undefined, report: encodeWork(this.#engine.parts, plan.lanes, closed(work), random.at("codec"), this.#store) };
	}
}

const opened = (work: RawWork): HonestWork => ({ ...work, header: decodePlain(work.header) });
const closed = (work: HonestWork): RawWork => ({ ...work, header: encodePlain(work.header) });
