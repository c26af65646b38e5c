import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ROUND_TRANSITIONS, RUN_TRANSITIONS } from "../../src/machine/transitions.js";
import { PLAN, SETTINGS, World } from "./world.js";

const RUNS = 200;

type Action =
	| { readonly do: "tick"; readonly ms: number }
	| {
			readonly do: "connect" | "disconnect" | "report" | "reject" | "resend" | "conflict" | "steal" | "decline";
			readonly who: number;
			readonly which: number;
	  }
	| { readonly do: "unknown"; readonly who: number }
	| { readonly do: "answer" | "done" | "fail" | "late" | "pause" | "resume" | "stop" }
	| { readonly do: "crash"; readonly after: number };

const client = { who: fc.nat(5), which: fc.nat(20) };
const action: fc.Arbitrary<Action> = fc.oneof(
	{ weight: 20, arbitrary: fc.record({ do: fc.constant("report" as const), ...client }) },
	{ weight: 14, arbitrary: fc.constant({ do: "answer" as const }) },
	{
		weight: 10,
		arbitrary: fc.record({ do: fc.constant("tick" as const), ms: fc.oneof(fc.nat(4_000), fc.constantFrom(-3_600_000, 3_600_000, 0.5)) }),
	},
	{ weight: 10, arbitrary: fc.record({ do: fc.constantFrom("resend" as const, "conflict", "steal", "reject", "decline"), ...client }) },
	{ weight: 8, arbitrary: fc.record({ do: fc.constantFrom("connect" as const, "disconnect"), ...client }) },
	{ weight: 8, arbitrary: fc.record({ do: fc.constant("crash" as const), after: fc.nat(8) }) },
	{ weight: 3, arbitrary: fc.record({ do: fc.constantFrom("pause" as const, "resume") }) },
	{ weight: 2, arbitrary: fc.record({ do: fc.constant("unknown" as const), who: fc.nat(5) }) },
	{ weight: 2, arbitrary: fc.record({ do: fc.constantFrom("late" as const) }) },
	{ weight: 1, arbitrary: fc.record({ do: fc.constantFrom("fail" as const, "done", "stop") }) },
);

const plan = fc
	.record({
		quorum: fc.integer({ min: 1, max: 3 }),
		early: fc.nat(1),
		extra: fc.nat(2),
		deadlineMs: fc.integer({ min: 500, max: 9_000 }),
		skip: fc.boolean(),
		exclude: fc.boolean(),
		// Asynchronous plans may have fewer leases than reports, and may take turns with synchronous ones.
		asynchronous: fc.option(fc.record({ maxStaleness: fc.nat(3), leases: fc.integer({ min: 1, max: 4 }) }), { nil: undefined }),
	})
	.map(({ quorum, early, extra, deadlineMs, skip, exclude, asynchronous }) => ({
		...PLAN,
		quorum,
		closeAt: quorum + early,
		leases: quorum + early + extra,
		deadlineMs,
		onMiss: skip ? ("skip" as const) : ("replan" as const),
		...(exclude ? { exclude: ["a"] } : {}),
		...asynchronous,
	}));

const worlds = fc
	.record({
		plans: fc.array(plan, { minLength: 1, maxLength: 4 }),
		rounds: fc.integer({ min: 1, max: 4 }),
		maxReplans: fc.integer({ min: 0, max: 3 }),
		minClients: fc.integer({ min: 1, max: 4 }),
		evaluateEvery: fc.nat(2),
	})
	.map(({ plans, ...settings }) => () => {
		const pick = (round: number, attempt: number) => plans[(round * 3 + attempt) % plans.length]!;
		return new World({ clients: ["a", "b", "c", "d", "f", "e0"], settings: { ...SETTINGS, ...settings }, plan: pick });
	});

function act(world: World, next: Action): void {
	switch (next.do) {
		case "tick":
			world.tick(next.ms);
			return;
		case "crash":
			world.crashAfter = next.after;
			return;
		case "answer":
			world.answer();
			return;
		case "done":
			world.answer({ reason: "the counts have settled" });
			return;
		case "fail":
			world.fail();
			return;
		case "late":
			world.post({ type: "planned", round: 1, attempt: 1, plan: PLAN });
			world.post({ type: "finished", key: { kind: "train", round: 1, attempt: 1 } });
			world.post({ type: "present", key: { kind: "evaluate", round: 1, attempt: 1 }, clients: ["e0"] });
			return;
		case "pause":
		case "resume":
		case "stop":
			expect([undefined, "CONFLICT"]).toContain(world.command(next.do));
			return;
		case "unknown":
			world.report(world.clients[next.who]!.id, "__proto__");
			return;
		default:
			actAsClient(world, next.do, world.clients[next.who]!.id, next.which);
	}
}

function actAsClient(world: World, what: Extract<Action, { which: number }>["do"], id: string, which: number): void {
	const model = world.client(id);
	const offers = [...model.offers.keys()];
	const sent = [...model.sent.keys()];
	const offered = offers.length > 0 ? offers[offers.length - 1 - (which % Math.min(2, offers.length))] : undefined;
	const again = sent.length > 0 ? sent[which % sent.length] : undefined;
	const foreign = world.clients[which % world.clients.length]!.offers.keys().next().value;
	if (what === "connect" || what === "disconnect") world.connect(model, what === "connect");
	if (what === "report" && offered !== undefined) world.report(id, offered);
	if (what === "reject" && offered !== undefined) world.report(id, offered, { ok: false });
	if (what === "decline" && offered !== undefined) world.decline(id, offered);
	if (what === "resend" && again !== undefined) world.report(id, again, { digest: model.sent.get(again)! });
	if (what === "conflict" && again !== undefined) world.report(id, again, { digest: "trained again" });
	if (what === "steal" && foreign !== undefined) world.report(id, foreign);
}

function checkTheEnd({ store, state }: World): void {
	for (const [task, outcome] of store.settlements()) expect(outcome, `task ${task} is settled`).toBeDefined();
	for (const { key, applied } of store.log) {
		for (const task of applied) expect(store.find(task)!.round.state).toMatchObject(key);
	}
	expect(state.open).toEqual([]);
	expect(store.log.map(({ key }) => key.round)).toEqual(store.log.map((_, index) => index + 1));
	expect(store.reason).toMatch(/\w+ \w+/);
	const { evaluateEvery } = state.settings;
	if (store.phase === "completed" && evaluateEvery > 0) {
		const due = store.log.map(({ key }) => key.round).filter((round) => round % evaluateEvery === 0 || round === store.commits);
		const evaluations = [...store.rounds.values()].filter((round) => round.state.kind === "evaluate");
		expect(evaluations.map((round) => round.state.round)).toEqual(due);
	}
	const runMoves = RUN_TRANSITIONS.map(({ from, to }) => `${from}>${to}`);
	for (const move of store.runMoves) expect(runMoves).toContain(move);
	const roundMoves = ROUND_TRANSITIONS.map(({ from, to }) => `${from}>${to}`);
	for (const move of store.roundMoves) expect(roundMoves).toContain(move);
}

describe("the round machine under random events and crashes", () => {
	it("keeps every promise and ends once clients stay", () => {
		fc.assert(
			fc.property(worlds, fc.array(action, { maxLength: 80, size: "max" }), (make, actions) => {
				const world = make();
				world.command("start");
				for (const next of actions) act(world, next);
				world.settleDown();
				checkTheEnd(world);
			}),
			{ numRuns: RUNS },
		);
	});

	it("completes every round when enough clients live, wherever it crashes", () => {
		fc.assert(
			fc.property(worlds, fc.array(fc.nat(12), { maxLength: 30 }), (make, crashes) => {
				const world = make();
				world.command("start");
				for (const after of crashes) {
					world.crashAfter = after;
					if (!world.ended) world.answer();
					for (const client of world.clients) {
						for (const task of world.outbox(client)) world.report(client.id, task, { digest: `report of ${client.id}` });
					}
				}
				world.settleDown();
				checkTheEnd(world);
				expect(world.store.phase).toBe("completed");
				expect(world.store.commits).toBe(world.state.settings.rounds);
			}),
			{ numRuns: RUNS },
		);
	});
});
