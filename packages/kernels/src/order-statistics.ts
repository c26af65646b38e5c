import { RondoError } from "@rondo/errors";
import { select } from "./reference/order-statistics.js";
import type { RealVector } from "./reference/reductions.js";
import { SCRATCH_BYTES } from "./runtime/pool.js";
import { type Operand, type Runtime, runtime } from "./runtime/runtime.js";

/** Bytes of the rows of a strip: about half of a first-level cache. */
const STRIP_BYTES = 16_384;
/** Strips of one tile. */
const STRIPS = 16;
/** Most vectors of which a strip of one row of 16 bytes each has room in a thread's scratch. */
const MAX_VECTORS = SCRATCH_BYTES / 16;
/** Comparators of 16 bytes per microsecond. */
const COMPARATORS_PER_US = 1000;
/** Bytes of vectors that are copied into kernel memory at a time: about what stays in a cache. */
const STAGING_BYTES = 2 ** 22;
const MEDIAN = -1;

/**
 * Coordinate-wise median of n vectors of one length, into `out`: the middle value, for even n (a + b) / 2 of the two middle
 * ones in float64. Neither the order of the vectors matters nor the sign of zeros: there is no −0 in `out`. A sorting
 * network on strips of coordinates; beyond 16,384 vectors plain TypeScript.
 * @throws INVALID_ARGUMENT for no vectors or vectors of different types, SHAPE_MISMATCH for the lengths, NOT_FINITE for a
 * value; `out` is then partly written
 */
export function median<V extends RealVector>(vectors: readonly V[], out?: Float64Array): Float64Array {
	return selectInto(vectors, MEDIAN, out);
}

/**
 * Coordinate-wise mean of n vectors without the `trim` least and the `trim` greatest values, into `out`: those kept are summed
 * in ascending order in float64 and the sum is divided by n − 2·trim, so neither the order of the vectors matters nor the
 * sign of zeros. Cost as of `median`. Yin, Chen, Ramchandran and Bartlett, "Byzantine-robust distributed learning: towards
 * optimal statistical rates" (2018), definition 2.
 * @throws INVALID_ARGUMENT unless 0 ≤ 2·trim < n, or for vectors of different types, SHAPE_MISMATCH for the lengths,
 * NOT_FINITE for a value or when a sum is beyond float64; `out` is then partly written
 */
export function trimmedMean<V extends RealVector>(vectors: readonly V[], trim: number, out?: Float64Array): Float64Array {
	if (!(Number.isInteger(trim) && trim >= 0 && (2 * trim < vectors.length || vectors.length === 0)))
		throw new RondoError("INVALID_ARGUMENT", `trim must be an integer from 0 to below half of ${vectors.length} vectors, got ${trim}`);
	return selectInto(vectors, trim, out);
}

function selectInto(vectors: readonly RealVector[], trim: number, given: Float64Array | undefined): Float64Array {
	const [first] = vectors;
	if (first === undefined) throw new RondoError("INVALID_ARGUMENT", "vectors must be one or more, got none");
	vectors.forEach((vector, i) => {
		if (vector.constructor !== first.constructor) {
			const [wanted, got] = [first.constructor.name, vector.constructor.name];
			throw new RondoError("INVALID_ARGUMENT", `vectors[${i}] must be a ${wanted} like vectors[0], got a ${got}`);
		}
		checkLength(`vectors[${i}]`, vector.length, first.length);
	});
	const out = given ?? new Float64Array(first.length);
	checkLength("out", out.length, first.length);
	const wasm = vectors.length <= MAX_VECTORS ? runtime() : undefined;
	const finite = wasm === undefined ? select(vectors, trim, out) : selectByNetwork(wasm, vectors, first, trim, out);
	if (!finite) throw notFinite(vectors);
	// A sum of finite float64 can still be infinite, one of float32 cannot.
	if (trim !== MEDIAN && first instanceof Float64Array) {
		const index = out.findIndex((value) => !Number.isFinite(value));
		if (index !== -1) throw new RondoError("NOT_FINITE", `the sum of the kept vectors[·][${index}] is beyond float64: scale them down`);
	}
	return out;
}

/** False when a value is not finite. */
function selectByNetwork(wasm: Runtime, vectors: readonly RealVector[], first: RealVector, trim: number, out: Float64Array): boolean {
	const n = vectors.length;
	const rowBytes = 16 * Math.max(1, Math.floor(STRIP_BYTES / (16 * n)));
	const strip = rowBytes / first.BYTES_PER_ELEMENT;
	const coordinates = STRIPS * strip;
	const chunkTiles = Math.max(1, Math.floor(STAGING_BYTES / (coordinates * (n * first.BYTES_PER_ELEMENT + 8))));
	const operands: Operand[] = [...vectors.map((vector): Operand => ({ vector, access: "read" })), { vector: out, access: "write" }];
	const kernel = first instanceof Float32Array ? "selectFloat32" : "selectFloat64";
	const flags = new Float64Array(Math.ceil(first.length / coordinates));
	return wasm.withTables([new Float64Array(n + 1), flags], ([table, marks]) => {
		let finite = true;
		wasm.chunks(
			operands,
			first.length,
			(addresses, _from, count) => {
				if (!finite) return;
				wasm.float64(table!, n + 1).set(addresses);
				const tiles = Math.ceil(count / coordinates);
				const args = [table!, n, count, strip, trim, addresses[n]!, marks!];
				wasm.run(kernel, args, tiles, ((STRIPS * rowBytes) / 16) * (comparatorsOf(n) / COMPARATORS_PER_US));
				finite = !wasm.float64(marks!, tiles).includes(1);
			},
			chunkTiles * coordinates,
		);
		return finite;
	});
}

/** Comparators of the network, roughly. */
function comparatorsOf(n: number): number {
	const levels = 32 - Math.clz32(n);
	return (n * levels * levels) / 4;
}

function checkLength(field: string, length: number, wanted: number): void {
	if (length !== wanted) throw new RondoError("SHAPE_MISMATCH", `${field} has ${length} elements, expected ${wanted}`);
}

function notFinite(vectors: readonly RealVector[]): RondoError {
	const i = vectors.findIndex((vector) => vector.some((value) => !Number.isFinite(value)));
	const j = vectors[i]!.findIndex((value) => !Number.isFinite(value));
	return new RondoError("NOT_FINITE", `vectors[${i}][${j}] must be finite, got ${vectors[i]![j]}`);
}
