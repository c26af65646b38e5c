import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { derived, openPlan, planOf } from "./plan.js";

let root: string;
beforeAll(async () => {
	root = await mkdtemp(join(tmpdir(), "rondo-plan-"));
});
afterAll(() => rm(root, { recursive: true }));

describe("planOf", () => {
	it("starts fedavg with every agent, fedkseed with half of them", () => {
		expect(planOf({})).toMatchObject({
			strategy: "fedavg",
			rounds: 10,
			agents: 10,
			model: "dense:784-64-10",
			options: { learningRate: 0.3, cohortSize: 10 },
		});
		expect(planOf({ strategy: "fedkseed", sampling: "pro" })).toMatchObject({
			rounds: 60,
			model: "dense:784-10",
			options: { cohortSize: 5, sampling: "pro", candidates: 4096 },
		});
	});

	it("lets the command line win", () => {
		expect(planOf({ rounds: 3, agents: 4, option: { cohortSize: 2, quorum: 1 } })).toMatchObject({
			rounds: 3,
			agents: 4,
			options: { cohortSize: 2, quorum: 1, batchSize: 32 },
		});
	});

	it("refuses a strategy that it has no settings for", () => {
		expect(() => planOf({ strategy: "nope" })).toThrow(/--strategy must be one of fedavg, fedprox, fedkseed, got "nope"/);
	});
});

describe("openPlan", () => {
	it("keeps a plan for --resume and refuses other settings", async () => {
		const dir = join(root, "kept");
		const plan = await openPlan(dir, { rounds: 3, seed: "x", option: { quorum: 2 } }, false);
		expect(await openPlan(dir, {}, true)).toEqual(plan);
		expect(await openPlan(dir, { rounds: 3, option: { quorum: 2 } }, true)).toEqual(plan);
		await expect(openPlan(dir, { rounds: 4 }, true)).rejects.toMatchObject({
			code: "CONFLICT",
			message: expect.stringContaining("rounds of the demo"),
		});
		await expect(openPlan(dir, { option: { quorum: 3 } }, true)).rejects.toMatchObject({ code: "CONFLICT" });
		await expect(openPlan(dir, {}, false)).rejects.toMatchObject({ code: "ALREADY_EXISTS", message: expect.stringContaining("--resume") });
	});

	it("leaves folders of others alone and needs something to resume", async () => {
		await writeFile(join(root, "file"), "");
		await expect(openPlan(root, {}, false)).rejects.toMatchObject({ code: "ALREADY_EXISTS" });
		await expect(openPlan(join(root, "none"), {}, true)).rejects.toMatchObject({ code: "NOT_FOUND" });
	});

	it.each(["", "{", "null", '{"version":1}'])("refuses the file %j", async (text) => {
		const dir = await mkdtemp(join(root, "bad-"));
		await writeFile(join(dir, "demo.json"), text);
		await expect(openPlan(dir, {}, true)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	});
});

describe("derived", () => {
	it("gives each purpose and seed its own 32 bytes", () => {
		const keys = [derived("1", "public"), derived("1", "secret"), derived("2", "public"), derived("1", "device/agent-00")];
		expect(new Set(keys).size).toBe(4);
		expect(keys.every((key) => /^[0-9a-f]{64}$/.test(key))).toBe(true);
		expect(derived("1", "public")).toBe(keys[0]);
	});
});
