import { RondoError } from "@rondo/errors";
import { BLOCK, type NoiseKind } from "../perturbations.js";
import type { Random } from "../random.js";
import { permutedRow } from "../reference/structured.js";
import { type GraphPart, GraphWriter } from "./graph-writer.js";
import { type GraphArithmetic, philoxGraph } from "./philox-graph.js";

/** Where a graph takes the signs from. All names are of values that the surrounding graph has: inputs, most of the time. */
export type SignSource =
	/** `key`: uint32 [4], the first words of the key of z_k's own node. Nothing else is copied from the host. */
	| { readonly kind: "noise/1"; readonly key: string; readonly arithmetic: GraphArithmetic }
	/** `bits`: uint8, the output of `packedBits` of z_k's own node: an eighth of a byte per parameter and member. */
	| { readonly kind: "noise/1"; readonly bits: string }
	/** `key`: uint32 [4], of the node of the group; `member`: int32 [1], r = k mod 4096. Nothing else is copied from the host. */
	| { readonly kind: "noise/2"; readonly key: string; readonly member: string; readonly arithmetic: GraphArithmetic }
	/**
	 * `bits`: uint8, the output of `packedBits` of the group's node: copied once per group of 4096 members; `rows`: int32, the
	 * output of `memberRows`: 4 bytes per 4096 parameters and member.
	 */
	| { readonly kind: "noise/2"; readonly bits: string; readonly rows: string };

/** A tensor of the model: the float32 value `weights` of this shape starts at parameter `from`; the graph makes `output`. */
export interface PerturbedTensor {
	readonly weights: string;
	readonly output: string;
	readonly shape: readonly number[];
	readonly from: number;
}

/** What `perturbGraph` builds. */
export interface PerturbGraphOptions {
	/** Starts the name of each node and constant of the part; unique in the surrounding graph. */
	readonly prefix: string;
	readonly source: SignSource;
	/** Name of a float32 value of one element. */
	readonly scale: string;
	readonly tensors: readonly PerturbedTensor[];
}

/** Parameters of one unit of a kind: of one Philox block, and of one block of structured signs. */
const UNIT = { "noise/1": 128, "noise/2": BLOCK } as const;
/** z_k[j] is defined for j below this. */
const PARAMETERS = 2 ** 53;
/** Philox blocks from the words of one structured block to those of the next, and where its parts start (section 4). */
const STRIDE = 128;
const SIGN_BLOCKS = 32;
const TURN_BLOCK = 32;
const ROW_BLOCK = 64;
/** Words that make a permutation. */
const ROW_WORDS = 6;

/**
 * Nodes that compute `output = weights + scale · z_k` for tensors of a model: the signs are made for the whole range of
 * parameters that the tensors span, once. Bits are those of `perturb` for the same parameters. A float32 product with ±1 is
 * exact, so contracting product and sum changes nothing; on a device whose float32 sums are not those of IEEE 754
 * (denormals flushed, other rounding) only that last sum differs, never a sign.
 * @throws INVALID_ARGUMENT for a kind, no tensors, a shape, or a range of parameters that is not below 2^53 or spans 2^31 or more
 */
export function perturbGraph(options: PerturbGraphOptions): GraphPart {
	const { source, tensors } = options;
	const spans = tensors.map((tensor) => spanOf(tensor));
	const range = unitsOf(source.kind, spans);
	const g = new GraphWriter(options.prefix);
	const bytes = source.kind === "noise/1" ? independentBytes(g, source, range) : structuredBytes(g, source, range);
	// Bytes are cut as float32: ONNX Runtime's webgpu provider cuts no integers.
	const floats = g.cast(bytes, "float32");
	const table = g.op("Mul", [g.constant("float32", [256, 8], signTable()), options.scale]);
	const unit = UNIT[source.kind];
	const allBytes = (range.units * unit) / 8;
	for (const [i, tensor] of tensors.entries()) {
		const { from, count } = spans[i]!;
		if (count === 0) continue;
		const start = from - range.first * unit;
		const firstByte = Math.floor(start / 8);
		const lastByte = Math.ceil((start + count) / 8);
		const index = lastByte - firstByte === allBytes ? bytes : g.cast(cut(g, floats, firstByte, lastByte), "int32");
		let steps = g.reshape(g.gather(table, index), -1);
		const skip = start - 8 * firstByte;
		if (skip !== 0 || count !== 8 * (lastByte - firstByte)) steps = cut(g, steps, skip, skip + count);
		g.op("Add", [tensor.weights, g.reshape(steps, ...tensor.shape)], {}, tensor.output);
	}
	return { nodes: g.nodes, initializers: g.initializers, opset: "arithmetic" in source && source.arithmetic === "bitwise" ? 18 : 14 };
}

/**
 * The bits that a graph with `bits` reads for parameters from … from + count − 1, widened to whole units (128 parameters of
 * `noise/1`, 4096 of `noise/2`): bit i mod 8 of byte ⌊i / 8⌋ is that of parameter i of the range.
 * @param node z_k's own node for `noise/1`, the group's for `noise/2`: there the bits s are the same for all members
 * @throws INVALID_ARGUMENT for a range that is not below 2^53 or spans 2^31 or more
 */
export function packedBits(node: Random, kind: NoiseKind, from: number, count: number): Uint8Array {
	const { first, units } = unitsOf(kind, [{ from, count }]);
	const words = new Uint32Array((units * UNIT[kind]) / 32);
	if (kind === "noise/1") node.words(first * 4, words);
	else for (let b = 0; b < units; b++) node.words((first + b) * 4 * STRIDE, words.subarray(128 * b, 128 * (b + 1)));
	const bytes = new Uint8Array(4 * words.length);
	const view = new DataView(bytes.buffer);
	for (let i = 0; i < words.length; i++) view.setUint32(4 * i, words[i]!, true);
	return bytes;
}

/**
 * π(r) + 4096·t(r) of `noise/2` for each block that parameters from … from + count − 1 touch: what a graph reads as `rows`.
 * @param group the group's node
 * @param member r = k mod 4096
 * @throws INVALID_ARGUMENT for `member`, or a range that is not below 2^53 or spans 2^31 or more
 */
export function memberRows(group: Random, member: number, from: number, count: number): Int32Array {
	if (!(Number.isInteger(member) && member >= 0 && member < 4096))
		throw new RondoError("INVALID_ARGUMENT", `member must be an integer from 0 to 4095, got ${member}`);
	const { first, units } = unitsOf("noise/2", [{ from, count }]);
	const rows = new Int32Array(units);
	const words = new Uint32Array(1 + ROW_WORDS);
	for (let b = 0; b < units; b++) {
		const block = (first + b) * 4 * STRIDE;
		group.words(block + 4 * TURN_BLOCK + (member >>> 5), words.subarray(0, 1));
		group.words(block + 4 * ROW_BLOCK, words.subarray(1));
		rows[b] = permutedRow(words.subarray(1), member) + 4096 * ((words[0]! >>> (member & 31)) & 1);
	}
	return rows;
}

interface Span {
	readonly from: number;
	readonly count: number;
}

interface Units {
	readonly first: number;
	readonly units: number;
}

function spanOf(tensor: PerturbedTensor): Span {
	if (!tensor.shape.every((size) => Number.isSafeInteger(size) && size >= 0))
		throw new RondoError("INVALID_ARGUMENT", `shape of ${tensor.weights} must have sizes that are integers >= 0, got [${tensor.shape}]`);
	return { from: tensor.from, count: tensor.shape.reduce((product, size) => product * size, 1) };
}

function unitsOf(kind: NoiseKind, spans: readonly Span[]): Units {
	const unit = UNIT[kind];
	if (unit === undefined) throw new RondoError("INVALID_ARGUMENT", `kind must be noise/1 or noise/2, got ${kind}`);
	let from = Number.POSITIVE_INFINITY;
	let end = 0;
	for (const span of spans) {
		if (!(Number.isSafeInteger(span.from) && span.from >= 0 && span.from <= PARAMETERS - span.count))
			throw new RondoError(
				"INVALID_ARGUMENT",
				`from must be an integer of which ${span.count} parameters remain below 2^53, got ${span.from}`,
			);
		from = Math.min(from, span.from);
		end = Math.max(end, span.from + span.count);
	}
	// Also false where there is no span at all.
	if (!(end - from < 2 ** 31 && end - from >= 0))
		throw new RondoError("INVALID_ARGUMENT", `tensors must span from 0 to 2^31 − 1 parameters, got ${end - from}`);
	const first = Math.floor(from / unit);
	return { first, units: Math.max(1, Math.ceil(end / unit) - first) };
}

/** int32 [16 · units]: each the signs of 8 parameters. */
function independentBytes(g: GraphWriter, source: SignSource & { kind: "noise/1" }, range: Units): string {
	if ("bits" in source) return g.cast(source.bits, "int32");
	const index = g.cast(indices(g, range.units), "uint32");
	const [low, high] = counters(g, range.first, index, range.units);
	return bytesOf(g, philoxGraph(g, source.key, low, high, range.units, source.arithmetic), 16 * range.units);
}

/**
 * int32 [512 · units]. With i = 8·m + e and π(r) = 8·h + l, parity(π(r) and i) is parity(h and m) xor parity(l and e): the
 * second makes one pattern of 8 bits for each l, the first turns whole bytes. In ±1, with v the byte: turned or not, the
 * byte is (255 ± (2v − 255)) / 2.
 */
function structuredBytes(g: GraphWriter, source: SignSource & { kind: "noise/2" }, range: Units): string {
	const { bits, rows } = "bits" in source ? { bits: g.cast(source.bits, "int32"), rows: source.rows } : generated(g, source, range);
	const [high, low] = g.divMod(g.reshape(rows, -1, 1), g.int32(8));
	const [turnA, b] = g.divMod(high, g.int32(32));
	const patterned = Int32Array.from({ length: 256 * 8 }, (_, i) => 2 * ((i >> 3) ^ parityByte(i & 7)) - 255);
	const index = g.op("Add", [g.op("Mul", [g.reshape(bits, -1, 512), g.int32(8)]), low]);
	const centred = g.gather(g.constant("int32", [256 * 8], patterned), index);
	// Bit 4 of the first factor's index is t(r).
	const factorA = Int32Array.from({ length: 32 * 16 }, (_, i) => signOf((i >> 8) ^ parity((i >> 4) & i & 15)));
	const factorB = Int32Array.from({ length: 32 * 32 }, (_, i) => signOf(parity((i >> 5) & i & 31)));
	const turnByA = g.reshape(g.gather(g.constant("int32", [32, 16], factorA), turnA), -1, 16, 1);
	const turnByB = g.reshape(g.gather(g.constant("int32", [32, 32], factorB), b), -1, 1, 32);
	const turns = g.reshape(g.op("Mul", [turnByA, turnByB]), -1, 512);
	const doubled = g.op("Add", [g.op("Mul", [centred, turns]), g.int32(255)]);
	return g.reshape(g.op("Div", [doubled, g.int32(2)]), -1);
}

/** The bits s of each block, int32 [512 · units], and π(r) + 4096·t(r), int32 [units]. */
function generated(
	g: GraphWriter,
	source: { readonly key: string; readonly member: string; readonly arithmetic: GraphArithmetic },
	{ first, units }: Units,
): { bits: string; rows: string } {
	const lanes = SIGN_BLOCKS + 3;
	const member = g.cast(source.member, "uint32");
	const [word, bit] = g.divMod(member, g.uint32(32));
	const [turnLane, turnWord] = g.divMod(word, g.uint32(4));
	const turn = g.op("Add", [turnLane, g.uint32(TURN_BLOCK)]);
	const lane = g.op("Concat", [g.uint32(...Array(SIGN_BLOCKS).keys()), turn, g.uint32(ROW_BLOCK, ROW_BLOCK + 1)], { axis: 0 });
	const block = g.op("Mul", [g.reshape(g.cast(indices(g, units), "uint32"), units, 1), g.uint32(STRIDE)]);
	const [low, high] = counters(g, first * STRIDE, g.op("Add", [block, lane]), units * lanes);
	const words = g.reshape(philoxGraph(g, source.key, low, high, units * lanes, source.arithmetic), units, lanes, 4);
	const [signWords = "", turnWords = "", rowWords = ""] = g.split(words, 1, [SIGN_BLOCKS, 1, 2]);
	const powers = g.constant(
		"uint32",
		[32],
		Uint32Array.from({ length: 32 }, (_, i) => 2 ** i),
	);
	const chosen = g.op("Gather", [g.reshape(turnWords, units, 4), g.cast(turnWord, "int32")], { axis: 1 });
	const shifted = g.op("Div", [chosen, g.gather(powers, g.cast(bit, "int32"))]);
	const turnBit = g.cast(g.divMod(shifted, g.uint32(2))[1], "int32");
	const [offset, step] = g.divMod(g.reshape(rowWords, units, 8), g.uint32(2048));
	const factors = g.op("Add", [g.op("Mul", [g.cast(step, "int32"), g.int32(2)]), g.int32(1)]);
	const ones = Array(8).fill(1);
	const offsets = g.split(g.cast(offset, "int32"), 1, ones);
	const folded = g.constant(
		"int32",
		[4096],
		Int32Array.from({ length: 4096 }, (_, x) => x ^ (x >> 6)),
	);
	let x = source.member;
	for (const [i, factor] of g.split(factors, 1, ones).slice(0, ROW_WORDS).entries()) {
		const sum = g.op("Add", [g.op("Mul", [x, factor]), offsets[i]!]);
		x = g.gather(folded, g.divMod(sum, g.int32(4096))[1]);
	}
	const rows = g.op("Add", [x, g.op("Mul", [turnBit, g.int32(4096)])]);
	return { bits: bytesOf(g, signWords, 512 * units), rows };
}

function indices(g: GraphWriter, count: number): string {
	const scalar = (value: number): string => g.constant("int32", [], Int32Array.of(value));
	return g.op("Range", [scalar(0), scalar(count), scalar(1)]);
}

/** Words 0 and 1 of the counters first + index, each [1, 1, count] or, where it is one value, [1, 1, 1]. */
function counters(g: GraphWriter, first: number, index: string, count: number): [low: string, high: string] {
	const start = g.uint32(first % 2 ** 32);
	const low = g.reshape(g.op("Add", [index, start]), 1, 1, count);
	const high = g.constant("uint32", [1, 1, 1], Uint32Array.of(Math.floor(first / 2 ** 32)));
	const span = STRIDE * count;
	if ((first % 2 ** 32) + span < 2 ** 32) return [low, high];
	// The sum wrapped where it is less than what it started from.
	return [low, g.op("Add", [g.cast(g.op("Less", [low, start]), "uint32"), high])];
}

/** The bytes of words, the least significant first: int32 [count]. */
function bytesOf(g: GraphWriter, words: string, count: number): string {
	const shifted = g.op("Div", [g.reshape(words, -1, 1), g.uint32(1, 2 ** 8, 2 ** 16, 2 ** 24)]);
	return g.reshape(g.cast(g.divMod(shifted, g.uint32(256))[1], "int32"), count);
}

function cut(g: GraphWriter, value: string, start: number, end: number): string {
	return g.op("Slice", [value, g.int64(start), g.int64(end)]);
}

/** Row b: −1 or +1 for bits 0 … 7 of b. */
function signTable(): Float32Array {
	return Float32Array.from({ length: 256 * 8 }, (_, i) => -signOf((i >> (3 + (i & 7))) & 1));
}

/** +1 for an even number, −1 for an odd one. */
function signOf(parity: number): number {
	return 1 - 2 * (parity & 1);
}

/** Parity of a number below 32. */
function parity(x: number): number {
	return (x ^ (x >> 1) ^ (x >> 2) ^ (x >> 3) ^ (x >> 4)) & 1;
}

/** Bit e: parity of row and e. */
function parityByte(row: number): number {
	let byte = 0;
	for (let e = 0; e < 8; e++) byte |= parity(row & e) << e;
	return byte;
}
