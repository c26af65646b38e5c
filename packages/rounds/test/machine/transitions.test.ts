import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { checkedMove, drawRoundMachine, drawRunMachine, ROUND_TRANSITIONS, RUN_TRANSITIONS } from "../../src/machine/transitions.js";
import { World } from "./world.js";

const documentUrl = new URL("../../../../docs/data-model.md", import.meta.url);

describe("transition tables", () => {
	it("a move that a table lacks is a defect", () => {
		expect(checkedMove(RUN_TRANSITIONS, "running", "paused")).toBe("paused");
		expect(() => checkedMove(ROUND_TRANSITIONS, "committed", "planned")).toThrow(expect.objectContaining({ code: "INTERNAL" }));
	});

	it("have no move that never happens", () => {
		const report = (world: World) => ["a", "b", "c"].map((id) => world.reportNewest(id));
		const stop = (world: World) => world.command("stop");
		const pause = (world: World) => world.command("pause");
		const resume = (world: World) => world.command("resume");
		const begin = (world: World) => world.begin();
		const fail = (world: World) => world.fail();
		const done = (world: World) => world.answer({ reason: "done" });
		const leave = (world: World) => ["b", "c"].map((id) => world.connect(world.client(id), false));
		const missAll = (world: World) => world.wait(30_000);
		const scenarios: ((world: World) => void)[][] = [
			[stop],
			[leave, begin, stop],
			[begin, pause, stop],
			[begin, report, stop],
			[begin, report, pause, fail],
			[begin, report, pause, done],
			[begin, report, done],
			[begin, pause, resume, report, fail],
			[begin, missAll],
			[begin, stop],
		];
		const worlds = scenarios.map((deeds) => {
			const world = new World({ clients: ["a", "b", "c"], plan: { onMiss: "skip" } });
			for (const deed of deeds) deed(world);
			return world;
		});
		const moves = (table: readonly { from: string; to: string }[]) => table.map(({ from, to }) => `${from}>${to}`).sort();
		expect([...new Set(worlds.flatMap((world) => world.store.runMoves))].sort()).toEqual(moves(RUN_TRANSITIONS));
		expect([...new Set(worlds.flatMap((world) => world.store.roundMoves))].sort()).toEqual(moves(ROUND_TRANSITIONS));
	});
});

describe("docs/data-model.md", () => {
	it.each([
		["run", drawRunMachine()],
		["round", drawRoundMachine()],
	])("draws the %s machine as the code has it", (_machine, drawing) => {
		const block = `\`\`\`mermaid\n${drawing}\n\`\`\``;
		expect(
			readFileSync(documentUrl, "utf8").includes(block),
			`docs/data-model.md is out of date: put this block into it\n\n${block}\n`,
		).toBe(true);
	});
});
