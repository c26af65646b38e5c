import { isVec, type Plain } from "@rondo/algorithms";
import { fillGaussian4 } from "@rondo/kernels";
import { cannot, type ForgeContext, type HonestWork } from "./forge-context.js";
import type { WorkSpec } from "./spec.js";

type Unpacked = { readonly [lane: string]: Float64Array };
type Numbers = Float32Array | Float64Array | Int8Array | Int16Array | Int32Array;

/** Halvings of a scale that the strategy refuses before the attack is given up. */
const HALVINGS = 20;
/** Relative error of a forged lane, for headers whose numbers are coarse. */
const TOLERANCE = 0.05;

const isNumbers = (value: Plain): value is Numbers & Plain =>
	value instanceof Float32Array ||
	value instanceof Float64Array ||
	value instanceof Int8Array ||
	value instanceof Int16Array ||
	value instanceof Int32Array;

/**
 * Forges a header whose meaning only the strategy knows: its numbers with a sign are changed, in its arrays or beside
 * them, and `unpack` tells whether the lanes became what the attack wants. A change that the strategy refuses is tried
 * again at half the strength.
 * @throws INVALID_ARGUMENT when no such change does what the attack wants
 */
export function forgeHeader(spec: WorkSpec, own: HonestWork, context: ForgeContext): HonestWork {
	const before = unpacked(own.header, context)!;
	const scale = "scale" in spec ? (spec.scale ?? 1) : 1;
	for (let halved = 0, strength = scale; halved < HALVINGS; halved++, strength /= 2) {
		for (const header of candidates(spec, own.header, context, strength)) {
			const forged = { ...own, header };
			if (!context.accepts(forged)) continue;
			const after = unpacked(header, context);
			if (after !== undefined && isWanted(spec, before, after, strength, context)) return forged;
		}
	}
	throw cannot(
		spec,
		`no change of the numbers in the header of ${context.strategy.name} does to its lanes what the attack wants; attacks on data and replay are possible`,
	);
}

function* candidates(spec: WorkSpec, header: Plain, { random }: ForgeContext, strength: number): Iterable<Plain> {
	switch (spec.kind) {
		case "sign-flip":
			yield mapped(header, (numbers) => numbers.map((x) => -strength * x), undefined);
			yield mapped(header, undefined, (x) => -strength * x);
			return;
		case "free-rider":
			if (spec.report === "zeros") {
				yield mapped(header, (numbers) => numbers.map(() => 0), undefined);
				yield mapped(header, undefined, () => 0);
				return;
			}
			yield mapped(header, (numbers, at) => noise(numbers, spec.report === "noise" ? spec.stdDev * strength : 0, at), undefined);
			return;
		case "noise":
			yield mapped(
				header,
				(numbers, at) => {
					const added = noise(numbers, strength * rootMeanSquare(numbers), at);
					return numbers.map((x, i) => x + added[i]!);
				},
				undefined,
			);
			return;
		case "reverse":
			yield arraysReversed(header);
			return;
	}
	function noise(numbers: Numbers, stdDev: number, at: number): Float64Array {
		return fillGaussian4(random.at("header", at), 0, new Float64Array(numbers.length)).map((z) => stdDev * z);
	}
}

/** Whether the lanes are what the attack makes of them. */
function isWanted(spec: WorkSpec, before: Unpacked, after: Unpacked, strength: number, { plan }: ForgeContext): boolean {
	const names = Object.keys(plan.lanes);
	const lanes = (combine: "mean" | "sum") => names.filter((name) => plan.lanes[name]!.combine === combine);
	const means = lanes("mean").length > 0 ? lanes("mean") : names;
	switch (spec.kind) {
		case "sign-flip":
			return means.every((name) =>
				isClose(
					after[name]!,
					before[name]!.map((x) => -strength * x),
				),
			);
		case "reverse":
			return lanes("sum").every((name) => {
				const most = before[name]!.reduce((a, b) => Math.max(a, b), 0);
				return isClose(
					after[name]!,
					before[name]!.map((x) => most - x),
				);
			});
		case "free-rider":
			return spec.report !== "zeros" || means.every((name) => after[name]!.every((x) => x === 0));
		default:
			return means.some((name) => after[name]!.some((x, j) => x !== before[name]![j]));
	}
}

function isClose(a: Float64Array, wanted: Float64Array): boolean {
	let apart = 0;
	let size = 0;
	for (let j = 0; j < wanted.length; j++) {
		apart += (a[j]! - wanted[j]!) ** 2;
		size += wanted[j]! ** 2;
	}
	return apart <= TOLERANCE ** 2 * size;
}

function unpacked(header: Plain, { strategy, plan, config, layout }: ForgeContext): Unpacked | undefined {
	try {
		return strategy.unpack!(header, plan, { config, layout });
	} catch {
		// The strategy refuses it; the reason is no news to an attacker.
		return undefined;
	}
}

/** The header with its arrays of signed numbers changed, or its plain numbers; `at` counts the arrays. */
function mapped(
	header: Plain,
	arrays: ((numbers: Numbers, at: number) => ArrayLike<number>) | undefined,
	scalars: ((x: number) => number) | undefined,
): Plain {
	let count = 0;
	const walk = (value: Plain): Plain => {
		if (typeof value === "number") return scalars === undefined ? value : scalars(value);
		if (value === null || typeof value !== "object" || isVec(value)) return value;
		if (isNumbers(value)) return arrays === undefined ? value : fitted(value, arrays(value, count++));
		if (ArrayBuffer.isView(value)) return value;
		if (Array.isArray(value)) return value.map(walk);
		return Object.fromEntries(Object.entries(value as { readonly [key: string]: Plain }).map(([key, inner]) => [key, walk(inner)]));
	};
	return walk(header);
}

function arraysReversed(header: Plain): Plain {
	if (header === null || typeof header !== "object" || isVec(header)) return header;
	if (ArrayBuffer.isView(header)) return (header as unknown as Uint32Array).slice().reverse() as unknown as Plain;
	if (Array.isArray(header)) return header.map(arraysReversed);
	return Object.fromEntries(
		Object.entries(header as { readonly [key: string]: Plain }).map(([key, value]) => [key, arraysReversed(value)]),
	);
}

/** An array of the kind of `like`; integers are rounded and stay in range. */
function fitted(like: Numbers, values: ArrayLike<number>): Plain {
	const out = like.slice();
	const most =
		like instanceof Float32Array || like instanceof Float64Array ? Number.POSITIVE_INFINITY : 2 ** (8 * like.BYTES_PER_ELEMENT - 1) - 1;
	for (let i = 0; i < out.length; i++) {
		const x = values[i]!;
		out[i] = most === Number.POSITIVE_INFINITY ? x : Math.max(-most, Math.min(most, Math.round(x)));
	}
	return out as Plain;
}

function rootMeanSquare(numbers: Numbers): number {
	let sum = 0;
	for (const x of numbers) sum += x * x;
	return numbers.length === 0 ? 0 : Math.sqrt(sum / numbers.length);
}
