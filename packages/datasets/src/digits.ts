import { readFile } from "node:fs/promises";
import { RondoError } from "@rondo/errors";
import type { LabelledImages } from "./mnist.js";

/** `train`: four of five examples of each class, 1,442; `test`: every fifth, 355. */
export type DigitsSplit = "train" | "test";

const PIXELS = 64;
/** Intensities end at 16, those of `LabelledImages` at 255. */
const DARKEST = 16;

/**
 * Optical Recognition of Handwritten Digits, 8 × 8 pixels (Alpaydin and Kaynak, UCI Machine Learning Repository, 1998,
 * CC BY 4.0; data/README.md): small enough for experiments that take seconds. The images are in the order of their
 * writers, who wrote the digits in turn: every fifth image would hold some digits twice as often as others, every fifth
 * one of each digit has all digits and all writers.
 * @throws INVALID_ARGUMENT for an unknown split
 */
export async function loadDigits(split: DigitsSplit): Promise<LabelledImages> {
	if (split !== "train" && split !== "test")
		throw new RondoError("INVALID_ARGUMENT", `split must be "train" or "test", got ${JSON.stringify(split)}`);
	const bytes = await readFile(new URL("../data/digits.bin", import.meta.url));
	const count = bytes.length / (PIXELS + 1);
	const seen = new Uint32Array(10);
	const chosen = Array.from({ length: count }, (_, row) => row).filter((row) => {
		const place = seen[bytes[row * (PIXELS + 1) + PIXELS]!]!++;
		return (place % 5 === 4) === (split === "test");
	});
	const inputs = new Uint8Array(chosen.length * PIXELS);
	const labels = new Int32Array(chosen.length);
	for (const [i, row] of chosen.entries()) {
		const from = row * (PIXELS + 1);
		for (let j = 0; j < PIXELS; j++) inputs[i * PIXELS + j] = Math.round((bytes[from + j]! * 255) / DARKEST);
		labels[i] = bytes[from + PIXELS]!;
	}
	return { inputs, labels, shape: [chosen.length, 8, 8] };
}
