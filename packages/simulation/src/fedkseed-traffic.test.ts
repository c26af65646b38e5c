import { builtInStrategies } from "@rondo/algorithms";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, test } from "vitest";
import { quadratic, rowsOf } from "../test/quadratic.js";
import type { SimulatedClient } from "./device.js";
import { type SimulateOptions, simulate } from "./simulate.js";

const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed")!;
const WIDTH = 3000;
/** Bytes of all weights. */
const DENSE = 4 * WIDTH;

const client = (id: string, present: SimulatedClient["present"] = () => true): SimulatedClient => ({
	id,
	present,
	trainer: quadratic,
	data: rowsOf(
		WIDTH,
		Array.from({ length: 2 * WIDTH }, (_, j) => ((j * 7 + id.charCodeAt(1)) % 11) / 11),
	),
});

/** Bytes of each round in both directions. */
async function traffic(options: object, clients: readonly SimulatedClient[], rounds: number) {
	const setup: SimulateOptions = {
		strategy: fedkseed,
		options: { learningRate: 1e-4, batchSize: 2, cohortSize: clients.length, quorum: 1, ...options },
		layout: layoutOf([{ name: "w", shape: [WIDTH] }]),
		initial: Float32Array.from({ length: WIDTH }, (_, j) => (j % 13) / 13),
		publicSeed: "0a".repeat(32),
		secretSeed: "0b".repeat(32),
		clients,
		rounds,
	};
	const { phase, rounds: played } = await simulate(setup);
	expect(phase).toBe("completed");
	return played.map(({ bytesDown, bytesUp, clients: cohort }) => ({ down: bytesDown, up: bytesUp, count: cohort.length }));
}

const always = () => [client("c0"), client("c1")];
const K = 2048;

describe("bytes down", () => {
	test("are those of the changes when rounds change few candidates", async () => {
		const rounds = await traffic({ candidates: K, localSteps: 20 }, always(), 12);
		expect(rounds[0]!.down).toBeLessThan(2 * (DENSE + 100));
		rounds.slice(1).forEach(({ down }, i) => {
			// At most 40 changes of four bytes, and the references of up to eight rounds.
			expect(down).toBeLessThanOrEqual(2 * (40 * 4.5 + 36 * Math.min(8, i + 1) + 60));
		});
	});

	test("are those of the changes of all rounds that a client missed, or of the ledger when it was away too long", async () => {
		const returning = (rounds: readonly number[]) => [...always(), client("c2", (round) => rounds.includes(round))];
		const share = async (back: number) => {
			const [without, together] = [
				await traffic({ candidates: K, localSteps: 20, cohortSize: 3 }, always(), back),
				await traffic({ candidates: K, localSteps: 20, cohortSize: 3 }, returning([1, back]), back),
			];
			return together.at(-1)!.down - without.at(-1)!.down;
		};
		const [short, long] = [await share(6), await share(12)];
		expect(short).toBeLessThan(5 * 40 * 4.5 + 36 * 8 + 60 + 100);
		expect(short).toBeGreaterThan(4 * 40 * 2);
		expect(long).toBeGreaterThan(4 * K);
		expect(long).toBeLessThan(4 * K + 36 * 8 + 200);
	});

	test("are those of the ledger, and no more, when most candidates change", async () => {
		const [, second, third] = await traffic({ candidates: 64, localSteps: 300 }, always(), 3);
		for (const { down } of [second!, third!]) expect(down).toBeLessThanOrEqual(2 * (4 * 64 + 80));
	});
});

test("reports take half a byte more than half a kilobyte for 200 steps among 4096 candidates", async () => {
	const [first] = await traffic({ candidates: 4096, localSteps: 200, scalars: "byte" }, [client("c0")], 1);
	// Keys, the number of examples and the metrics of a report, beside the 510 bytes of its header.
	expect(first!.up).toBeLessThanOrEqual(520 + 80);
});

describe("the base of a new epoch", () => {
	const options = { candidates: 256, localSteps: 20, rebaseEvery: 3 };

	test("is made by clients that were there, and downloaded once by one that comes late", async () => {
		// Epoch 0 is rounds 1 to 3, epoch 1 rounds 4 to 6, epoch 2 rounds 7 to 9.
		const rounds = await traffic({ ...options, cohortSize: 3 }, [...always(), client("c2", (round) => round >= 8)], 10);
		const down = rounds.map((round) => round.down);
		expect(rounds.map(({ count }) => count)).toEqual([2, 2, 2, 2, 2, 2, 2, 3, 3, 3]);
		expect(down[0]).toBeGreaterThan(2 * DENSE);
		for (const round of [2, 3, 5, 6, 9]) expect(down[round - 1]).toBeLessThan(3000);
		// The last ledger of the epoch before, for each client.
		for (const round of [4, 7]) {
			expect(down[round - 1]).toBeGreaterThanOrEqual(2 * 4 * 256);
			expect(down[round - 1]).toBeLessThan(2 * 4 * 256 + 1000);
		}
		expect(down[7]).toBeGreaterThan(DENSE);
		expect(down[7]).toBeLessThan(DENSE + 3000);
		// Epoch 3: now the late one makes it, too.
		expect(down[9]).toBeLessThan(3 * 4 * 256 + 1000);
	});

	test("is made from the initial weights in the second epoch, whoever comes", async () => {
		const rounds = await traffic({ ...options, cohortSize: 3 }, [...always(), client("c2", (round) => round >= 5)], 5);
		// The initial weights, as everybody learns them, and not the base besides.
		expect(rounds[4]!.down).toBeGreaterThan(DENSE);
		expect(rounds[4]!.down).toBeLessThan(DENSE + 4 * 256 + 2000);
	});
});
