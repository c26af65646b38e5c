import { RondoError } from "@rondo/errors";
import { addProducts, type RealVector, tileSum } from "./reference/reductions.js";
import { type Operand, type Runtime, runtime } from "./runtime/runtime.js";

/**
 * Elements that are summed before they meet others; part of the definition of every reduction. Chunks of vectors that
 * are reduced one after the other begin at multiples of it.
 */
export const REDUCTION_TILE = 4096;

/** Shorter vectors are done before a kernel has its arguments. */
const KERNEL_FROM = 8192;
/** Tiles of one call of the kernels of two vectors, and about how long it takes. */
const TILES = 8;
const CALL_US = 6;
/** Vectors on one side of a block of the matrix. */
const SIDE = 32;
/** Products of two elements per microsecond. */
const PRODUCTS_PER_US = 6000;
/** Pairs of blocks that occupy threads by themselves, without tiles side by side. */
const MANY_PAIRS = 16;
/** Sums of tiles side by side that wait to be added up, in float64. */
const MAX_WAITING = 2 ** 21;
const MAX_TILES = 64;
/** Bytes of vectors that are copied into kernel memory at a time: about what stays in a cache. */
const STAGING_BYTES = 2 ** 21;

/**
 * Σ a[i]·b[i] in float64, the same bits on every machine and with any number of threads: of each tile of 4,096 elements
 * the products (exact for float32) go to eight sums, i mod 8, which are added as (s0 + s4 + (s2 + s6)) + (s1 + s5 + (s3 + s7));
 * sums of tiles are added in order. Of n elements in T = ⌈n / 4096⌉ tiles no product is rounded more than k = 513 + T times on
 * its way (float64: k + 1), so with u = 2^-53 the error is at most k·u / (1 − k·u) · Σ |a[i]·b[i]|, as of Higham, Accuracy and
 * Stability of Numerical Algorithms (2002), sections 3.1 and 4.2; products of float64 must not underflow.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT unless both have one type, NOT_FINITE for an element or when
 * the sum is beyond float64
 */
export function dot<V extends RealVector>(a: V, b: V): number {
	checkLike("b", b, "a", a);
	const [sum] = sumsOf("dot", a, b, 1);
	if (!Number.isFinite(sum)) throw notFinite({ a, b });
	return sum!;
}

/**
 * Σ a[i]², exactly `dot(a, a)`.
 * @throws NOT_FINITE for an element or when the sum is beyond float64
 */
export function normSquared(a: RealVector): number {
	const [sum] = sumsOf("dot", a, a, 1);
	if (!Number.isFinite(sum)) throw notFinite({ a });
	return sum!;
}

/**
 * The Euclidean norm, √`normSquared(a)`: 0 for float64 vectors whose squares all underflow.
 * @throws NOT_FINITE for an element or when the sum of squares is beyond float64
 */
export function norm(a: RealVector): number {
	return Math.sqrt(normSquared(a));
}

/**
 * a·b / (|a|·|b|) from the sums of `dot` and `normSquared`, in one pass; within ±1, and exactly 1 for equal vectors. 0 when
 * either norm is 0.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT unless both have one type, NOT_FINITE for an element or when a
 * sum is beyond float64
 */
export function cosine<V extends RealVector>(a: V, b: V): number {
	checkLike("b", b, "a", a);
	const [product, ofA, ofB] = sumsOf("cosine", a, b, 3) as [number, number, number];
	if (!(Number.isFinite(product) && Number.isFinite(ofA) && Number.isFinite(ofB))) throw notFinite({ a, b });
	if (ofA === 0 || ofB === 0) return 0;
	// The root of a square is exact, so equal vectors give 1; but float64 squares need not leave room for their product.
	const together = ofA * ofB;
	const norms = together >= 2 ** -900 && together <= 2 ** 900 ? Math.sqrt(together) : Math.sqrt(ofA) * Math.sqrt(ofB);
	return Math.max(-1, Math.min(1, product / norms));
}

/**
 * The n × n matrix of dot products, row by row: entry i·n + j is exactly `dot(vectors[i], vectors[j])`. Vectors of any
 * length pass through the caches once, by blocks of 32 against 32.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT unless all have one type, NOT_FINITE for an element or when a
 * sum is beyond float64
 */
export function gram<V extends RealVector>(vectors: readonly V[]): Float64Array {
	const out = new Float64Array(vectors.length * vectors.length);
	addGram(out, vectors);
	return out;
}

/**
 * Adds the products of the elements from … from + length − 1 to an n × n matrix: called for one chunk after the other, from
 * the first on, it leaves what `gram` gives for the whole vectors, to the last bit. After an error `out` is what it was.
 * @param from index of the chunks' first element, a multiple of `REDUCTION_TILE`: so only the last chunk is of any length
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT for `from` or unless all have one type, NOT_FINITE for an element
 * or when a sum is beyond float64
 */
export function gramInto<V extends RealVector>(out: Float64Array, vectors: readonly V[], from: number): void {
	if (out.length !== vectors.length * vectors.length)
		throw new RondoError("SHAPE_MISMATCH", `out has ${out.length} elements, expected ${vectors.length * vectors.length}`);
	if (!(Number.isSafeInteger(from) && from >= 0 && from % REDUCTION_TILE === 0))
		throw new RondoError("INVALID_ARGUMENT", `from must be a multiple of ${REDUCTION_TILE}, got ${from}`);
	const next = out.slice();
	addGram(next, vectors);
	out.set(next);
}

/** Sums of a kernel of two vectors, `each` of them: of tiles, in order. */
function sumsOf(kernel: "dot" | "cosine", a: RealVector, b: RealVector, each: number): number[] {
	const sums = new Array<number>(each).fill(0);
	const wasm = a.length < KERNEL_FROM ? undefined : runtime();
	if (wasm === undefined) {
		for (let from = 0; from < a.length; from += REDUCTION_TILE) {
			const to = Math.min(from + REDUCTION_TILE, a.length);
			sums[0]! += tileSum(a, b, from, to);
			if (each === 1) continue;
			sums[1]! += tileSum(a, a, from, to);
			sums[2]! += tileSum(b, b, from, to);
		}
		return sums;
	}
	const operands: Operand[] = (a === b ? [a] : [a, b]).map((vector) => ({ vector, access: "read" }));
	wasm.withTables([new Float64Array(each * Math.ceil(a.length / REDUCTION_TILE))], ([slots]) => {
		wasm.chunks(operands, a.length, ([x, y = x], _from, count) => {
			const tiles = Math.ceil(count / REDUCTION_TILE);
			wasm.run(nameOf(kernel, a), [x!, y!, count, slots!], Math.ceil(tiles / TILES), CALL_US);
			const seen = wasm.float64(slots!, each * tiles);
			for (let i = 0; i < seen.length; i++) sums[i % each]! += seen[i]!;
		});
	});
	return sums;
}

function addGram(out: Float64Array, vectors: readonly RealVector[]): void {
	const [first] = vectors;
	if (first === undefined) return;
	vectors.forEach((vector, i) => {
		checkLike(`vectors[${i}]`, vector, "vectors[0]", first);
	});
	const n = vectors.length;
	const wasm = runtime();
	if (wasm === undefined) addProducts(out, vectors, REDUCTION_TILE);
	else addBlocks(wasm, out, vectors, first);
	for (let i = 0; i < n; i++) {
		for (let j = 0; j <= i; j++) {
			const sum = out[i * n + j]!;
			if (!Number.isFinite(sum)) throw notFinite({ [`vectors[${i}]`]: vectors[i]!, [`vectors[${j}]`]: vectors[j]! });
			out[j * n + i] = sum;
		}
	}
}

/**
 * The lower triangle by the kernel. Threads share pairs of blocks; with few of those also the tiles, whose sums wait side by
 * side to be added in order.
 */
function addBlocks(wasm: Runtime, out: Float64Array, vectors: readonly RealVector[], first: RealVector): void {
	const n = vectors.length;
	const blocks = Math.ceil(n / SIDE);
	const pairs = (blocks * (blocks + 1)) / 2;
	const inOrder = pairs >= MANY_PAIRS;
	const tiles = inOrder ? MAX_TILES : Math.min(MAX_TILES, Math.floor(MAX_WAITING / (n * n)));
	const callUs = (REDUCTION_TILE * Math.min(n, SIDE) * Math.min(n, SIDE)) / 2 / PRODUCTS_PER_US;
	const operands = vectors.map((vector): Operand => ({ vector, access: "read" }));
	const chunkTiles = Math.min(MAX_TILES, Math.max(1, Math.floor(STAGING_BYTES / (n * first.BYTES_PER_ELEMENT * REDUCTION_TILE))));
	const kernel = nameOf("gram", first);
	wasm.withTables([new Float64Array(n), inOrder ? out : new Float64Array(tiles * n * n)], ([table, sums]) => {
		wasm.chunks(
			operands,
			first.length,
			(addresses, _from, count) => {
				for (let at = 0; at < count; at += tiles * REDUCTION_TILE) {
					const size = Math.min(tiles * REDUCTION_TILE, count - at);
					wasm.float64(table!, n).set(addresses.map((address) => address + at * first.BYTES_PER_ELEMENT));
					if (inOrder) {
						wasm.run(kernel, [table!, n, size, tiles, sums!], pairs, tiles * callUs);
						continue;
					}
					const groups = Math.ceil(size / REDUCTION_TILE);
					const waiting = wasm.float64(sums!, groups * n * n).fill(0);
					wasm.run(kernel, [table!, n, size, 1, sums!], groups * pairs, callUs);
					for (let group = 0; group < waiting.length; group += n * n)
						for (let i = 0; i < n; i++) for (let j = i * n; j <= i * n + i; j++) out[j]! += waiting[group + j]!;
				}
			},
			chunkTiles * REDUCTION_TILE,
		);
		if (inOrder) out.set(wasm.float64(sums!, n * n));
	});
}

const nameOf = (kernel: string, vector: RealVector): string => `${kernel}${vector instanceof Float32Array ? "Float32" : "Float64"}`;

function checkLike(field: string, vector: RealVector, otherField: string, other: RealVector): void {
	if (vector.constructor !== other.constructor)
		throw new RondoError(
			"INVALID_ARGUMENT",
			`${field} must be a ${other.constructor.name} like ${otherField}, got a ${vector.constructor.name}`,
		);
	if (vector.length !== other.length)
		throw new RondoError("SHAPE_MISMATCH", `${field} has ${vector.length} elements, expected ${other.length}`);
}

/** What made a sum of products of these vectors infinite or NaN. */
function notFinite(vectors: Readonly<Record<string, RealVector>>): RondoError {
	for (const [field, vector] of Object.entries(vectors)) {
		const index = vector.findIndex((value) => !Number.isFinite(value));
		if (index !== -1) return new RondoError("NOT_FINITE", `${field}[${index}] must be finite, got ${vector[index]}`);
	}
	return new RondoError("NOT_FINITE", `sums of products of ${Object.keys(vectors).join(" and ")} are beyond float64: scale them down`);
}
