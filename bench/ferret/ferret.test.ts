import { builtInStrategies } from "@rondo/algorithms";
import { expect, test } from "vitest";
import { digits } from "../digits/digits.mjs";

const ferret = builtInStrategies.find(({ name }) => name === "ferret")!;
const run = (rounds: number, bases: number) =>
	digits(ferret, { seed: 1, rounds, options: { cohortSize: 5, quorum: 5, learningRate: 0.1, localSteps: 10, blocks: "one", bases } });

test("on the digits, 512 bases are within 0.03 of FedAvg, and a twentieth of the numbers still learns", async () => {
	const [exact, many, few] = [await run(20, 4096), await run(20, 512), await run(40, 32)];
	expect(exact.accuracy).toBeGreaterThan(0.9);
	expect(Math.abs(many.accuracy - exact.accuracy)).toBeLessThan(0.03);
	expect(few.accuracy).toBeGreaterThan(0.8);
	// 4·32 bytes of projections and their frame, for each of five clients in forty rounds, where a model has 2600.
	expect(few.bytesUp / (5 * 40)).toBeLessThan(200);
}, 60_000);
