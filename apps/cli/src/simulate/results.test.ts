import { describe, expect, it } from "vitest";
import type { CellResult } from "./cell.js";
import type { Experiment, Reach } from "./experiment.js";
import { withFigures } from "./figures.js";
import { markdownOf, spreadText } from "./markdown.js";
import { plotsOf } from "./plots.js";
import { resultsOf, spreadOf } from "./results.js";

const cell = (strategy: string, seed: number, accuracies: readonly number[], change: Partial<CellResult> = {}): CellResult => ({
	name: `${strategy}-seed${seed}`,
	digest: "d",
	setting: "",
	strategy,
	seed,
	parameters: 10,
	phase: "completed",
	reason: null,
	rounds: accuracies.map((accuracy, i) => ({
		round: i + 1,
		kind: "commit",
		metrics: {},
		evaluation: { accuracy },
		bytesUp: 100,
		bytesDown: 200,
		atMs: 500 * (i + 1),
		unanswered: i,
		reports: 2,
	})),
	refusals: seed === 2 ? { LANE_OUT_OF_BOUND: 3 } : {},
	firstRefusal: null,
	stateDigest: "s",
	modelDigest: "m",
	seconds: seed,
	peakRssBytes: 1000 * seed,
	...change,
});
const experiment = {
	about: { title: "A < B & C", claim: "a wins", citation: "Somebody, 2020", text: "few | seeds" },
	settings: [{ label: "", setting: { metrics: { last: 2 } } }],
	strategies: [{ label: "a" }, { label: "b" }],
} as unknown as Experiment;
const cells = [
	cell("a", 1, [0.1, 0.4, 0.6]),
	cell("a", 2, [0.2, 0.6, 0.8]),
	cell("b", 1, [0.1], { phase: "failed", reason: "no quorum", firstRefusal: "c1 in round 1: NOT_FINITE" }),
];
const results = resultsOf(experiment, cells);

describe("results", () => {
	it("are means and spreads over seeds of the last rounds", () => {
		const [a, b] = results.rows;
		expect(a!.final.accuracy!.mean).toBeCloseTo(0.6, 12);
		expect(a!.final.accuracy!.std).toBeCloseTo(Math.sqrt(0.02), 12);
		expect([a!.final.accuracy!.min, a!.final.accuracy!.max, a!.final.accuracy!.count]).toEqual([0.5, 0.7, 2]);
		expect([a!.bytesUpPerReport.mean, a!.bytesDownPerReport.mean, a!.bytes.mean]).toEqual([50, 100, 900]);
		expect([a!.seconds.mean, a!.virtualSeconds.mean, a!.peakRssBytes, a!.unanswered]).toEqual([1.5, 1.5, 2000, 6]);
		expect(a!.refusals).toEqual({ LANE_OUT_OF_BOUND: 3 });
		expect(b!.failures).toEqual([{ seed: 1, reason: "no quorum; first c1 in round 1: NOT_FINITE" }]);
		expect(a!.curve.map(({ round, bytes, virtualSeconds }) => [round, bytes, virtualSeconds])).toEqual([
			[1, 300, 0.5],
			[2, 600, 1],
			[3, 900, 1.5],
		]);
		expect(a!.curve[1]!.metrics.accuracy!.mean).toBeCloseTo(0.5, 12);
	});

	it("have a spread of one number, and of none", () => {
		expect(spreadOf([3])).toEqual({ mean: 3, std: 0, min: 3, max: 3, count: 1 });
		expect(spreadOf([])).toMatchObject({ count: 0 });
		expect(spreadText(spreadOf([3]))).toBe("3.0000");
	});

	it("make a page: the claim beside the result and the reason, a table, plots, failures", () => {
		const page = markdownOf(results, plotsOf(results));
		expect(page).toContain("# A < B & C\n\nSomebody, 2020\n\n| The paper | Here | Why |");
		expect(page).toContain("| a wins | a: accuracy 0.6000 ± 0.1414 (0.5000 to 0.7000)<br>b: accuracy 0.1000 | few \\| seeds |");
		expect(page).toContain(
			"| Strategy | accuracy | Up per report | Down per report | All bytes | Virtual seconds | Seconds | Unanswered tasks | Refused reports |",
		);
		expect(page).toContain("| a | 0.6000 ± 0.1414 (0.5000 to 0.7000) | 50 B | 100 B | 900 B | 1.5 | 1.5 | 6 | 3 LANE_OUT_OF_BOUND |");
		expect(page).toContain("![accuracy against rounds](plots/accuracy-rounds.svg)");
		expect(page).toContain("- b, seed 1: no quorum; first c1 in round 1: NOT_FINITE");
	});

	it("say when the mean over the seeds first reaches a goal", () => {
		const withGoal = (reach: Reach) =>
			resultsOf({ ...experiment, settings: [{ label: "", setting: { metrics: { last: 2, reach } } }] } as unknown as Experiment, cells);
		const half = withGoal({ metric: "accuracy", atLeast: 0.5 });
		expect(half.rows[0]!.reached).toMatchObject({ round: 2, bytes: 600, virtualSeconds: 1 });
		expect(half.rows[1]!.reached).toBeNull();
		expect(results.rows[0]).not.toHaveProperty("reached");
		expect(withGoal({ metric: "accuracy", atMost: 0.2 }).rows.map(({ reached }) => reached?.round)).toEqual([1, 1]);
		expect(withGoal({ metric: "loss", atMost: 9 }).rows.map(({ reached }) => reached)).toEqual([null, null]);
		const page = markdownOf(half, []);
		expect(page).toContain(
			"| accuracy | Rounds to accuracy ≥ 0.5 | Bytes to accuracy ≥ 0.5 | Virtual seconds to accuracy ≥ 0.5 | Up per report |",
		);
		expect(page).toContain("(0.5000 to 0.7000) | 2 | 600 B | 1.0 | 50 B |");
		expect(page).toContain("| b | 0.1000 | – | – | – |");
	});

	it("fill figures into texts", () => {
		const goal = { metrics: { last: 2, reach: { metric: "accuracy", atLeast: 0.5 } } };
		const about = { title: "t", result: "a: {x / y / a}", text: "{x / y / a | bytes} in all" };
		const all = resultsOf({ ...experiment, about, settings: [{ label: "x / y", setting: goal }] } as unknown as Experiment, [
			cell("a", 1, [0.1, 0.4, 0.6], { setting: "x / y" }),
			cell("a", 2, [0.2, 0.6, 0.8], { setting: "x / y" }),
		]);
		const text =
			"{x / y / a}, {x / y / a | worst accuracy}, {x / y / a | up}, {x / y / a | rounds to goal} rounds, {x / y / a | loss}, {x / y / b}";
		expect(withFigures(text, all.rows)).toBe("0.600, 0.500, 50 B, 2 rounds, –, –");
		expect(markdownOf(all, [])).toContain("| – | a: 0.600 | 900 B in all |");
	});

	it("give long labels room in the legend", () => {
		const lefts = (strategy: string): number[] => {
			const named = { ...results, rows: [results.rows[0]!, { ...results.rows[0]!, strategy }] };
			return [...plotsOf(named)[0]!.svg.matchAll(/<line x1="([0-9.]+)"[^>]*stroke-width="3"/g)].map(([, x]) => Number(x));
		};
		const [[, short], [, long], [first, longest]] = [lefts("b"), lefts("b".repeat(30)), lefts("b".repeat(60))];
		expect(long).toBeGreaterThan(short!);
		expect(longest).toBe(first);
	});

	it("draw only the plots that are named", () => {
		const chosen = { ...results, about: { ...results.about, plots: [{ metric: "accuracy", axis: "bytes" as const }] } };
		expect(plotsOf(chosen).map(({ file }) => file)).toEqual(["plots/accuracy-bytes.svg"]);
		const elsewhere = { ...results, about: { ...results.about, plots: [{ metric: "accuracy", axis: "bytes" as const, settings: ["b"] }] } };
		expect(plotsOf(elsewhere)).toEqual([]);
	});

	it("make plots whose lines lie where the numbers are", () => {
		const plots = plotsOf(results);
		expect(plots.map(({ file }) => file)).toEqual(["plots/accuracy-rounds.svg", "plots/accuracy-bytes.svg", "plots/accuracy-seconds.svg"]);
		const [{ svg }] = plots as [(typeof plots)[number]];
		// Only a has a course; its mean goes up in steps of 0.35 and 0.2, which is down on the screen.
		const [, course] = /<path d="M([^"]+)" fill="none"/.exec(svg)!;
		const points = course!.split("L").map((point) => point.split(",").map(Number) as [number, number]);
		expect(points).toHaveLength(3);
		const [[x1, y1], [x2, y2], [x3, y3]] = points as [[number, number], [number, number], [number, number]];
		expect(x2 - x1).toBeCloseTo(x3 - x2, 0);
		expect((y1 - y2) / (y2 - y3)).toBeCloseTo(0.35 / 0.2, 1);
		expect(svg).not.toMatch(/NaN|undefined/);
	});
});
