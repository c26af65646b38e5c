import { readdirSync } from "node:fs";
import { type AnyStrategy, builtInStrategies, type Work } from "@rondo/algorithms";
import { randomFrom } from "@rondo/kernels";
import { describe, expect, test } from "vitest";
import { softmaxTrainer } from "./fixtures.js";
import { allExamples, completed, runCase, type StrategyCase, softmaxClients } from "./law-kit.js";
import { LAWS, type Law, type LawName } from "./laws.js";
import { TOY_WORDS, toyHistogram } from "./toy-strategy.js";

/** How each built-in strategy is put before the laws: one file of the strategy's name. */
const CASES = new Map<string, readonly StrategyCase[]>();
for (const file of readdirSync(new URL("law-cases", import.meta.url))) {
	const name = file.replace(/\.ts$/, "");
	const { cases } = (await import(`./law-cases/${name}.ts`)) as { readonly cases: readonly StrategyCase[] };
	CASES.set(name, cases);
}
const trainer = softmaxTrainer(4, 3);

test("every built-in strategy is put before the laws", () => {
	expect([...CASES.keys()].sort()).toEqual(builtInStrategies.map(({ name }) => name).sort());
});

describe.each(builtInStrategies.flatMap((strategy) => (CASES.get(strategy.name) ?? []).map((row) => ({ strategy, ...row }))))(
	"$strategy.name, $label",
	({ strategy, options, cohort, exempt = {}, limit: [limit, check] }) => {
		const lawCase = { strategy, options, ...(cohort === undefined ? {} : { cohort }) };
		for (const [name, { holds, exemptedBy }] of Object.entries(LAWS) as [LawName, Law][]) {
			const requirement = exempt[name];
			if (requirement === undefined) test(name, () => holds(lawCase));
			else test(`is exempt because of ${requirement}: ${name}`, () => expect(exemptedBy).toContain(requirement));
		}
		test(`limit case: ${limit}`, () => check(strategy));
	},
);

describe("the toy", () => {
	const exempt: readonly LawName[] = [
		"identical clients give that client's result",
		"one client and one weight are enough",
		"losses that are not numbers reach no model",
		"clients assemble the coordinator's weights",
		"progress",
	];
	for (const [name, { holds }] of Object.entries(LAWS) as [LawName, Law][]) {
		if (!exempt.includes(name)) test(name, () => holds({ strategy: toyHistogram, options: {} }));
	}

	for (const name of [
		"inputs stay unchanged",
		"same seeds, same bytes",
		"state survives its encoding in mid-run",
		"the log replays",
	] as const) {
		test(`in asynchronous rounds, with device state and rows of clients: ${name}`, () => {
			const plan: AnyStrategy["plan"] = (state, at) => ({ ...toyHistogram.plan(state as never, at as never), closeAt: 2, maxStaleness: 2 });
			return LAWS[name].holds({ strategy: { ...toyHistogram, plan }, options: {} });
		});
	}

	test("counts every word, follows what was applied, and ends when it has enough", async () => {
		// Without the third client in the second round.
		const clients = softmaxClients(4).map((client, i) => (i === 2 ? { ...client, present: (round: number) => round !== 2 } : client));
		const { phase, reason, result, rounds, members, weights } = await completed(
			{ strategy: toyHistogram, options: { enough: 4 * 12 * 3 } },
			{ clients, rounds: 9 },
		);
		expect([phase, reason, rounds.length, weights]).toEqual(["completed", "counted 180 words", 4, undefined]);
		expect(Object.keys(result as object).sort()).toEqual([...TOY_WORDS.slice(0, 3)].sort());
		expect(rounds.map(({ metrics }) => [metrics.counted, metrics.lostCarries])).toEqual([
			[48, 0],
			[84, 0],
			[132, 0],
			[180, 0],
		]);
		expect(Array.from(members, ([client, row]) => [client, (row as { times: number }).times])).toEqual([
			["c0", 4],
			["c1", 4],
			["c2", 3],
			["c3", 4],
		]);
		expect(new Set(rounds.flatMap(({ scores }) => Object.values(scores).map(({ trail }) => trail))).size).toBeGreaterThan(3);
	});

	test("device state does not follow a report that was accepted and discarded", async () => {
		// Three of four decline in the first attempt of round 2, which therefore misses its quorum.
		const attempts = new Map<string, number>();
		const strategy: AnyStrategy = {
			...toyHistogram,
			train: async (task, client): Promise<Work> => {
				const attempt = (attempts.get(`${client.round} ${client.id}`) ?? 0) + 1;
				attempts.set(`${client.round} ${client.id}`, attempt);
				return client.round === 2 && attempt === 1 && client.id !== "c0"
					? toyHistogram.train(task, { ...client, data: { ...client.data, numExamples: 0 } } as never)
					: toyHistogram.train(task, client as never);
			},
		};
		const { rounds, refusals, phase } = await runCase(
			{ strategy, options: {} },
			{ options: { cohortSize: 4, quorum: 3 }, settings: { maxReplans: 2 } },
		);
		expect([phase, refusals.length, rounds.map(({ attempt }) => attempt)]).toEqual(["completed", 3, [1, 2, 1]]);
		expect(rounds.map(({ metrics }) => metrics.lostCarries)).toEqual([0, 0, 0]);
	});

	test.each<[string, unknown, RegExp]>([
		["null", null, /trail must hold/],
		["a text", "x", /trail must hold/],
		["no trail", { histogram: {}, times: 0 }, /trail must hold/],
		["a long trail", { histogram: {}, times: 0, trail: new Uint16Array(65) }, /trail must hold 1 to 64/],
		["half a time", { histogram: {}, times: 0.5, trail: new Uint16Array(1) }, /times must be a count, got 0.5/],
		["no histogram", { times: 0, trail: new Uint16Array(1) }, /histogram must be a map/],
		["an unknown word", { histogram: { omega: 1 }, times: 0, trail: new Uint16Array(1) }, /omega: 1/],
		["a negative count", { histogram: { alpha: -1 }, times: 0, trail: new Uint16Array(1) }, /alpha: -1/],
	])("refuses a header that is %s", (_what, header, message) => {
		expect(() => toyHistogram.unpack!(header as never, null as never, null as never)).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
		);
	});
});

test("the fixtures compute what they say", async () => {
	const data = allExamples(2);
	expect(data.numExamples).toBe(24);
	const weights = Float32Array.from({ length: 15 }, (_, j) => Math.sin(j));
	for await (const batch of data.batches(7, randomFrom(new Uint8Array(32)))) {
		const gradient = new Float32Array(15);
		const loss = await trainer.gradient(weights, batch, gradient);
		expect(await trainer.loss(weights, batch)).toBe(loss);
		for (let j = 0; j < 15; j++) {
			const [above, below] = [weights.slice(), weights.slice()];
			above[j]! += 2 ** -8;
			below[j]! -= 2 ** -8;
			const slope = ((await trainer.loss(above, batch)) - (await trainer.loss(below, batch))) / (above[j]! - below[j]!);
			expect(Math.abs(slope - gradient[j]!)).toBeLessThan(1e-4);
		}
		break;
	}
});
