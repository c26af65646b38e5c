import { describe, expect, it } from "vitest";
import { divide, type ShardOptions, shardOf } from "./shard.js";

const options: ShardOptions = { dataset: "mnist", split: "test", partition: "dirichlet", alpha: 0.5, clients: 4, seed: "1", examples: 0 };

describe("divide", () => {
	it.each(["iid", "dirichlet"] as const)("gives each example to one agent (%s)", async (partition) => {
		const { labels, parts } = await divide({ ...options, partition });
		expect(labels).toHaveLength(10_000);
		expect(parts).toHaveLength(4);
		expect(parts.flatMap((part) => [...part]).sort((a, b) => a - b)).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
	});

	it("gives everybody everything under all", async () => {
		const { parts } = await divide({ ...options, partition: "all", clients: 2 });
		expect(parts.map(({ length }) => length)).toEqual([10_000, 10_000]);
	});

	it("repeats itself, and differs by seed", async () => {
		const [first, again, other] = [await divide(options), await divide(options), await divide({ ...options, seed: "2" })];
		expect(again.parts).toEqual(first.parts);
		expect(other.parts).not.toEqual(first.parts);
	});

	it("takes a random subset first", async () => {
		const { parts } = await divide({ ...options, examples: 100 });
		const rows = parts.flatMap((part) => [...part]);
		expect(new Set(rows).size).toBe(100);
		expect(Math.max(...rows)).toBeGreaterThan(5_000);
		for (const part of parts) expect([...part]).toEqual([...part].sort((a, b) => a - b));
	});

	it("agrees with shardOf, which refuses what is outside", async () => {
		const { parts } = await divide(options);
		expect(await shardOf({ ...options, index: 2 })).toEqual(parts[2]);
		await expect(shardOf({ ...options, index: 4 })).rejects.toThrow(/index must be an integer from 0 to 3, got 4/);
	});

	it.each([-1, 1.5, 10_001])("refuses %d examples", async (examples) => {
		await expect(divide({ ...options, examples })).rejects.toThrow(
			new RegExp(`examples must be an integer from 0 to 10000, got ${examples}`),
		);
	});
});
