import { RondoError } from "@rondo/errors";
import { ceilLog2, powerOfTwo, ROUNDING } from "./float-bits.js";
import { BLOCK, checkMember, type Family, familyOf, type Perturbations } from "./perturbations.js";
import * as reference from "./reference/signs.js";
import { type Operand, type Runtime, runtime } from "./runtime/runtime.js";

/** |Σ ledger·z| of so many int32 entries is at most 2^51, which the kernels convert to float64 without a branch. */
const MAX_LEDGER = 2 ** 20;
/** Projected values are rounded to integers of at most this magnitude: 24 bits, sign included, like the significand of a float32. */
const MAX_ROUNDED = 2 ** 23;
const MAX_SUM = 2 ** 53;
const INT32_MAX = 2 ** 31 - 1;
const INT32_MIN = -(2 ** 31);

// What a tile of each kernel holds and about takes; the sizes are those of assembly/.
const PERTURB_TILE = 32_768;
const PERTURB_US = 8;
const INDEPENDENT_TILE = 2048;
const APPLY_TILE = 16_384;
const APPLY_US = 8;
const BLOCK_US = 10;
const PROJECTED_MEMBERS = 512;
/** Slots of sums of a structured projection: tiles that threads can share out. */
const PROJECTION_TILES = 16;
/** Parameters that are rounded and projected at a time. */
const PROJECTION_CHUNK = 64 * BLOCK;
/** Block sums of rounded values below it stay within int32. */
const MAX_NARROW = 2 ** 19;
const ADD = 0;
const APPLY = 1;

/**
 * out[j] = weights[j] + scale·z_k[from + j], where scale is rounded to float32 first: one float32 addition. `out` may be
 * `weights`.
 * @throws SHAPE_MISMATCH for the lengths, NOT_FINITE for `scale`, INVALID_ARGUMENT for `k` or `from`
 */
export function perturb(weights: Float32Array, scale: number, z: Perturbations, k: number, out: Float32Array, from = 0): void {
	checkLength("out", out.length, weights.length);
	const step = Math.fround(scale);
	if (!Number.isFinite(step)) throw new RondoError("NOT_FINITE", `scale must be finite in float32, got ${scale}`);
	checkMember(k);
	checkFrom(from, weights.length);
	const family = familyOf(z);
	const wasm = runtime();
	if (wasm === undefined) {
		reference.perturb(weights, step, family, k, out, from);
		return;
	}
	const { stream, row } = family.locate(k);
	const kind = family.kind === "noise/1" ? 1 : 2;
	const operands: Operand[] = [
		{ vector: weights, access: "read" },
		{ vector: out, access: "write" },
	];
	wasm.withTables([family.key(stream)], ([key]) => {
		wasm.chunks(operands, weights.length, ([x, y], at, count) => {
			wasm.run("perturb", [x!, y!, count, from + at, step, kind, key!, row], Math.ceil(count / PERTURB_TILE), PERTURB_US);
		});
	});
}

/**
 * sum[j] += Σ_k (ledger[k] − had[k]) · z_k[from + j]: brings an exact sum from the ledger it was made from (`had`; absent:
 * all zero) to `ledger`. The result is that of a sum made afresh, to the last bit. With `noise/1` the cost is in proportion to
 * the entries that changed.
 * @throws SHAPE_MISMATCH for the lengths of the ledgers, INVALID_ARGUMENT for `from` or a ledger of more than 2^20 entries
 */
export function addLedger(sum: Float64Array, ledger: Int32Array, z: Perturbations, from = 0, had?: Int32Array): void {
	checkFrom(from, sum.length);
	const family = familyOf(z);
	for (const terms of termsOf(ledger, family, had)) addTerms(sum, terms, family, from);
}

/**
 * out[j] = initial[j] − unit · sum[j]: a float64 product and difference, then one rounding to float32. `out` may be
 * `initial`.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT unless `unit` is positive and finite
 */
export function applySum(initial: Float32Array, sum: Float64Array, unit: number, out: Float32Array): void {
	checkLength("sum", sum.length, initial.length);
	checkLength("out", out.length, initial.length);
	checkUnit(unit);
	const wasm = runtime();
	if (wasm === undefined) {
		for (let j = 0; j < out.length; j++) out[j] = initial[j]! - unit * sum[j]!;
		return;
	}
	const operands: Operand[] = [
		{ vector: out, access: "write" },
		{ vector: initial, access: "read" },
		{ vector: sum, access: "read" },
	];
	wasm.chunks(operands, out.length, ([target, weights, sums], _at, count) => {
		wasm.run("applySums", [target!, weights!, sums!, unit, count], Math.ceil(count / APPLY_TILE), APPLY_US);
	});
}

/**
 * out[j] = initial[j] − unit · Σ_k ledger[k] · z_k[from + j]: `addLedger` and `applySum` in one pass, with the same bytes
 * and no vector of sums. Blocks of parameters are independent: shards call it with their own `from`. `out` may be `initial`.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT for `unit`, `from` or a ledger of more than 2^20 entries
 */
export function rebuild(initial: Float32Array, ledger: Int32Array, unit: number, z: Perturbations, out: Float32Array, from = 0): void {
	checkLength("out", out.length, initial.length);
	checkUnit(unit);
	checkFrom(from, initial.length);
	const family = familyOf(z);
	// Without `had` there is one list of terms, as all its coefficients fit int32.
	const [terms] = termsOf(ledger, family);
	const wasm = runtime();
	if (wasm === undefined) {
		const tile = new Float64Array(Math.min(APPLY_TILE, initial.length));
		for (let at = 0; at < initial.length; at += APPLY_TILE) {
			const end = Math.min(at + APPLY_TILE, initial.length);
			const sum = tile.subarray(0, end - at).fill(0);
			referenceTerms(sum, terms!, family, from + at);
			for (let j = at; j < end; j++) out[j] = initial[j]! - unit * sum[j - at]!;
		}
		return;
	}
	const operands: Operand[] = [
		{ vector: out, access: "write" },
		{ vector: initial, access: "read" },
	];
	withTerms(wasm, terms!, family, (run) => {
		wasm.chunks(operands, out.length, ([target, weights], at, count) => run([APPLY, target!, weights!, unit], from + at, count));
	});
}

/**
 * The power of two that `project` takes as its unit for values up to `absMax`: the largest of them become integers of 23 bits
 * and a sign, and no rounding is beyond absMax · 2^-23.
 * @throws INVALID_ARGUMENT unless `absMax` is positive, finite and a normal number
 */
export function projectionUnit(absMax: number): number {
	if (!(Number.isFinite(absMax) && absMax >= 2 ** -900 && absMax <= 2 ** 900))
		throw new RondoError("INVALID_ARGUMENT", `absMax must be a finite number from 2^-900 to 2^900, got ${absMax}`);
	return powerOfTwo(ceilLog2(absMax) - 23);
}

/**
 * out[k] += Σ_j x[j] · z_k[from + j] for every k below out.length, where x[j] = values[j] / unit rounded to the nearest
 * integer, ties to even: the projections γ_k in units, exact integers, so that shards add up in any order.
 * @param unit a power of two, at least `projectionUnit` of the largest magnitude
 * @throws INVALID_ARGUMENT for `unit`, `from`, or more than 2^20 projections; NOT_FINITE for a value that is not finite;
 * LANE_OUT_OF_BOUND for values beyond 2^23 units, or of more than 2^53 units together
 */
export function project(values: Float32Array, unit: number, z: Perturbations, out: Float64Array, from = 0): void {
	if (!(Number.isFinite(unit) && unit > 0 && powerOfTwo(ceilLog2(unit)) === unit))
		throw new RondoError("INVALID_ARGUMENT", `unit must be a power of two, got ${unit}`);
	if (out.length > MAX_LEDGER) throw new RondoError("INVALID_ARGUMENT", `out has ${out.length} elements, more than ${MAX_LEDGER}`);
	checkFrom(from, values.length);
	const family = familyOf(z);
	const wasm = runtime();
	if (wasm !== undefined) {
		projectInBlocks(wasm, values, unit, family, out, from);
		return;
	}
	let total = 0;
	const rounded = Int32Array.from(values, (value, j) => {
		const x = roundToEven(value / unit);
		if (!(Math.abs(x) <= MAX_ROUNDED)) throw beyond(values, j, unit);
		total += Math.abs(x);
		return x;
	});
	checkTotal(total, unit);
	reference.project(rounded, family, out, from);
}

/** As `project`, chunk by chunk of whole blocks: each is rounded into kernel memory, with zeros around, and projected there. */
function projectInBlocks(wasm: Runtime, values: Float32Array, unit: number, family: Family, out: Float64Array, from: number): void {
	const structured = family.kind === "noise/2";
	const step = structured ? BLOCK : 128;
	const streams = structured ? Math.ceil(out.length / BLOCK) : out.length;
	const room = structured ? Math.ceil(out.length / 8) * 8 : Math.ceil(out.length / 4) * 4;
	const keys = family.keyTable(Array.from({ length: streams }, (_, i) => i));
	const slots = new Float64Array(room * (structured ? PROJECTION_TILES : 1));
	const rounded = new Int32Array(PROJECTION_CHUNK);
	const checks = new Float64Array(2 * (PROJECTION_CHUNK / APPLY_TILE));
	let total = 0;
	wasm.withTables([structured ? keys : byFours(keys), slots, rounded, checks, new Float32Array(PROJECTION_CHUNK)], (addresses) => {
		const [keyTable, sums, integers, check, staging] = addresses as [number, number, number, number, number];
		for (let at = 0; at < values.length; ) {
			const skip = (from + at) % step;
			const count = Math.min(PROJECTION_CHUNK - skip, values.length - at);
			const blocks = Math.ceil((skip + count) / step);
			wasm.int32(integers, skip).fill(0);
			wasm.int32(integers + 4 * (skip + count), blocks * step - skip - count).fill(0);
			const part = values.subarray(at, at + count);
			wasm.float32(staging, count).set(part);
			const tiles = Math.ceil(count / APPLY_TILE);
			wasm.run("roundToUnits", [integers + 4 * skip, staging, 1 / unit, count, check], tiles, APPLY_US);
			const seen = wasm.float64(check, 2 * tiles);
			let peak = 0;
			for (let tile = 0; tile < tiles; tile++) {
				if (!(seen[2 * tile]! <= MAX_ROUNDED)) throw beyond(values, firstBeyond(part, unit) + at, unit);
				peak = Math.max(peak, seen[2 * tile]!);
				total += seen[2 * tile + 1]!;
			}
			checkTotal(total, unit);
			const args = [integers, blocks, (from + at - skip) / step, keyTable, out.length, sums];
			if (structured) {
				const wide = peak >= MAX_NARROW ? 1 : 0;
				wasm.run(
					"projectStructured",
					[...args, PROJECTION_TILES, wide],
					PROJECTION_TILES,
					(BLOCK_US * blocks * streams) / PROJECTION_TILES,
				);
			} else {
				const each = (blocks * 128 * Math.min(PROJECTED_MEMBERS, out.length)) / 5000;
				wasm.run("projectIndependent", args, Math.ceil(out.length / PROJECTED_MEMBERS), each);
			}
			at += count;
		}
		const seen = wasm.float64(sums, slots.length);
		for (let slot = 0; slot < slots.length; slot += room) for (let k = 0; k < out.length; k++) out[k]! += seen[slot + k]!;
	});
}

/** Keys as `projectIndependent` wants them: of every four, the words 0, the words 1, and so on. */
function byFours(keys: Uint32Array): Uint32Array {
	const out = new Uint32Array(Math.ceil(keys.length / 16) * 16);
	for (let i = 0; i < keys.length; i++) out[16 * (i >>> 4) + 4 * (i & 3) + ((i >>> 2) & 3)] = keys[i]!;
	return out;
}

const firstBeyond = (values: Float32Array, unit: number): number =>
	values.findIndex((value) => !(Math.abs(roundToEven(value / unit)) <= MAX_ROUNDED));

function beyond(values: Float32Array, index: number, unit: number): RondoError {
	const value = values[index]!;
	if (!Number.isFinite(value)) return new RondoError("NOT_FINITE", `values[${index}] must be finite, got ${value}`);
	return new RondoError("LANE_OUT_OF_BOUND", `values[${index}] must be within ±${MAX_ROUNDED * unit}, got ${value}: choose a larger unit`);
}

function checkTotal(total: number, unit: number): void {
	if (total > MAX_SUM)
		throw new RondoError("LANE_OUT_OF_BOUND", `values add up to ${total} units of ${unit}, more than 2^53: choose a larger unit`);
}

interface Terms {
	readonly members: Uint32Array;
	readonly coefficients: Int32Array;
}

/** The members whose entry changed and by how much, in int32 parts: one list of them, or more where a change is larger. */
function termsOf(ledger: Int32Array, family: Family, had?: Int32Array): Terms[] {
	if (ledger.length > MAX_LEDGER) throw new RondoError("INVALID_ARGUMENT", `ledger has ${ledger.length} entries, more than ${MAX_LEDGER}`);
	if (had !== undefined) checkLength("had", had.length, ledger.length);
	let rest: { readonly k: number; readonly change: number }[] = [];
	ledger.forEach((entry, k) => {
		const change = entry - (had?.[k] ?? 0);
		if (change !== 0) rest.push({ k, change });
	});
	const terms: Terms[] = [];
	do {
		const members = Uint32Array.from(rest, ({ k }) => k);
		const coefficients = Int32Array.from(rest, ({ change }) => Math.max(INT32_MIN, Math.min(INT32_MAX, change)));
		terms.push(family.kind === "noise/2" ? byGroup(members, coefficients) : { members, coefficients });
		rest = rest.map(({ k, change }, i) => ({ k, change: change - coefficients[i]! })).filter(({ change }) => change !== 0);
	} while (rest.length > 0);
	return terms;
}

/** Terms of `noise/2`: the groups that have some, and the coefficients of all their rows. */
function byGroup(members: Uint32Array, coefficients: Int32Array): Terms {
	const groups = new Map<number, Int32Array>();
	members.forEach((k, i) => {
		const group = Math.floor(k / BLOCK);
		let rows = groups.get(group);
		if (rows === undefined) {
			rows = new Int32Array(BLOCK);
			groups.set(group, rows);
		}
		rows[k % BLOCK] = coefficients[i]!;
	});
	const all = new Int32Array(BLOCK * groups.size);
	[...groups.values()].forEach((rows, g) => {
		all.set(rows, BLOCK * g);
	});
	return { members: Uint32Array.from(groups.keys()), coefficients: all };
}

function addTerms(sum: Float64Array, terms: Terms, family: Family, from: number): void {
	const wasm = runtime();
	if (wasm === undefined) {
		referenceTerms(sum, terms, family, from);
		return;
	}
	withTerms(wasm, terms, family, (run) => {
		wasm.chunks([{ vector: sum, access: "update" }], sum.length, ([target], at, count) => run([ADD, target!, 0, 0], from + at, count));
	});
}

function referenceTerms(sum: Float64Array, { members, coefficients }: Terms, family: Family, from: number): void {
	if (family.kind === "noise/1") reference.addTerms(sum, members, coefficients, family, from);
	else reference.addGroups(sum, [...members], coefficients, family, from);
}

/** Runs `body` with a function that calls the ledger kernel for a range of parameters, its tables in place. */
function withTerms(
	wasm: Runtime,
	{ members, coefficients }: Terms,
	family: Family,
	body: (run: (target: readonly number[], from: number, count: number) => void) => void,
): void {
	wasm.withTables([family.keyTable(members), coefficients], ([keys, table]) => {
		body((target, from, count) => {
			const args = [...target, count, from, keys!, table!, coefficients.length];
			if (family.kind === "noise/1") {
				const tiles = Math.ceil((count + (from % 128)) / INDEPENDENT_TILE);
				wasm.run("ledgerIndependent", args, tiles, (INDEPENDENT_TILE * members.length) / 10_000);
				return;
			}
			const tiles = Math.ceil((count + (from % BLOCK)) / BLOCK);
			wasm.run("ledgerStructured", [...args, overflows(coefficients) ? 1 : 0], tiles, BLOCK_US * Math.max(1, members.length));
		});
	});
}

/** Whether some group's Σ|coefficient| reaches 2^31. */
function overflows(coefficients: Int32Array): boolean {
	for (let g = 0; g < coefficients.length; g += BLOCK) {
		let total = 0;
		for (let i = g; i < g + BLOCK; i++) total += Math.abs(coefficients[i]!);
		if (total >= 2 ** 31) return true;
	}
	return false;
}

/** To the nearest integer, ties to even; what is beyond 2^51 stays beyond. */
const roundToEven = (x: number): number => x + ROUNDING - ROUNDING;

function checkFrom(from: number, length: number): void {
	if (!(Number.isSafeInteger(from) && from >= 0 && from <= 2 ** 53 - length)) {
		throw new RondoError("INVALID_ARGUMENT", `from must be an integer of which ${length} parameters remain below 2^53, got ${from}`);
	}
}

function checkUnit(unit: number): void {
	if (!(Number.isFinite(unit) && unit > 0)) throw new RondoError("INVALID_ARGUMENT", `unit must be a positive finite number, got ${unit}`);
}

function checkLength(field: string, length: number, wanted: number): void {
	if (length !== wanted) throw new RondoError("SHAPE_MISMATCH", `${field} has ${length} elements, expected ${wanted}`);
}
