import { builtInStrategies } from "@rondo/algorithms";
import { expect, test } from "vitest";
import { digits } from "../digits/digits.mjs";

const justOneByte = builtInStrategies.find(({ name }) => name === "just-one-byte")!;

test("on the digits a byte for each scalar is within 0.01 of float32", async () => {
	const run = (scalars: string) =>
		digits(justOneByte, { seed: 1, rounds: 80, options: { cohortSize: 10, quorum: 10, samples: 10, learningRate: 0.05, scalars } });
	const [byte, float] = [await run("byte"), await run("f32")];
	expect(float.accuracy).toBeGreaterThan(0.85);
	expect(Math.abs(byte.accuracy - float.accuracy)).toBeLessThan(0.01);
	// Ten scalars of each of ten clients, eighty times: three bytes less for each, and nothing else.
	const saved = float.bytesUp - byte.bytesUp;
	expect(saved).toBeGreaterThanOrEqual(3 * 10 * 10 * 80);
	expect(saved).toBeLessThan(3 * 10 * 10 * 80 + 10 * 80 * 4);
}, 60_000);
