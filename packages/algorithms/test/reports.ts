import type { Outcome, Plan, Received, Types, Work } from "../src/contract.js";
import { decodePlain, encodePlain } from "../src/plain.js";
import { atOf, clientOf, type Device, foldOf, lanesOf, type Run } from "./fixture.js";

/** Where a run stands whose server reads reports, and what its devices keep. */
export interface Standing<T extends Types> {
	readonly state: T["state"];
	readonly members: Map<string, T["member"]>;
	/** Device states, by client. */
	readonly carries: Map<string, T["carry"]>;
}

export const standingOf = <T extends Types>(run: Run<T>): Standing<T> => ({
	state: run.strategy.init(atOf(run)),
	members: new Map(),
	carries: new Map(),
});

export interface Reported<T extends Types> extends Standing<T> {
	readonly outcome: Outcome<T>;
	readonly works: readonly Work<T>[];
	readonly plan: Plan;
	readonly model: Float32Array;
}

/**
 * One round in which these devices report, in client-id order; state, tasks, members and carries pass through their encoding.
 * @param population clients enrolled
 */
export async function reportRound<T extends Types>(
	run: Run<T>,
	before: Standing<T>,
	round: number,
	devices: readonly Device[],
	population: number,
): Promise<Reported<T>> {
	const at = { ...atOf(run, round), population, members: () => [...before.members].sort(([a], [b]) => (a < b ? -1 : 1)) };
	const plan = run.strategy.plan(before.state, at);
	const works: Work<T>[] = [];
	for (const device of devices) {
		const task = decodePlain(encodePlain(run.strategy.task(before.state, before.members.get(device.id), at))) as T["task"];
		works.push(await run.strategy.train(task, { ...clientOf(run, device, round), carry: before.carries.get(device.id) }));
	}
	const weighed = works.map((work) => ({
		...work,
		numExamples: run.strategy.weigh?.(Math.min(work.numExamples, plan.maxExamples), 0, run.config) ?? work.numExamples,
	}));
	const reports = weighed.map((work, i): Received<T> => {
		const lanes = lanesOf(run, work, plan);
		const { id } = devices[i]!;
		return {
			client: id,
			weight: work.numExamples,
			staleness: 0,
			header: work.header,
			member: before.members.get(id),
			lane: (name, from = 0, to) => Float64Array.from(lanes[name]!.subarray(from, to)),
		};
	});
	const outcome = run.strategy.finish(before.state, { ...foldOf(run, weighed, plan), reports }, at);
	const members = new Map(before.members);
	for (const [client, member] of outcome.members ?? []) {
		if (member === null) members.delete(client);
		else members.set(client, decodePlain(encodePlain(member)) as T["member"]);
	}
	const carries = new Map(before.carries);
	works.forEach(({ carry }, i) => {
		if (carry !== undefined) carries.set(devices[i]!.id, decodePlain(encodePlain(carry)) as T["carry"]);
	});
	const state = decodePlain(encodePlain(outcome.state)) as T["state"];
	return { state, members, carries, outcome, works, plan, model: run.store.io.read(run.strategy.model!(state, undefined, at)) };
}
