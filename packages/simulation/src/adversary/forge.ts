import type { AnyStrategy, Lane, Plan } from "@rondo/algorithms";
import { argsort, fillGaussian4, permutation } from "@rondo/kernels";
import { cannot, type ForgeContext, type HonestWork } from "./forge-context.js";
import { forgeHeader } from "./forge-header.js";
import type { WorkSpec } from "./spec.js";

type Values = Float64Array | Float32Array;
type Change = (values: Values, lane: Lane, name: string) => Values;

/**
 * Says why an attack can do nothing to the reports of a strategy.
 * @param plan of the first round
 * @returns undefined when it can, as far as that is known before a report is there
 */
export function impossible(spec: WorkSpec, strategy: AnyStrategy, plan: Plan): string | undefined {
	const lanes = Object.values(plan.lanes);
	const reverses = spec.kind === "reverse" || (spec.kind === "collude" && spec.send === "reverse");
	if (lanes.length === 0) return `${strategy.name} reports no lanes that could be forged`;
	if (reverses && !lanes.some(({ combine }) => combine === "sum"))
		return `${spec.kind} turns "sum" lanes around, and ${strategy.name} has none`;
	if (strategy.unpack !== undefined && spec.kind === "collude")
		return `${strategy.name} reports a header that its lanes are unpacked from: headers of several clients cannot be combined`;
	return undefined;
}

/**
 * What the attacker sends instead.
 * @param honest its own work; of colluders: those of the group, in client-id order, its own first
 * @throws INVALID_ARGUMENT that says why when this strategy's reports cannot be forged so
 */
export function forge(spec: WorkSpec, honest: readonly HonestWork[], context: ForgeContext): HonestWork {
	const [own] = honest as readonly [HonestWork];
	const { strategy, plan } = context;
	const problem = impossible(spec, strategy, plan);
	if (problem !== undefined) throw cannot(spec, problem);
	if (strategy.unpack !== undefined) return forgeHeader(spec, own, context);
	const source = spec.kind === "collude" ? combined(spec, honest) : own.lanes;
	for (const segments of segmentations(context)) {
		const lanes = Object.entries(own.lanes).map(([name, values]): [string, Values] => {
			const lane = plan.lanes[name]!;
			return [name, changeOf(spec, context, segments(lane), source[name]!)(values, lane, name)];
		});
		const forged = { ...own, lanes: Object.fromEntries(lanes) };
		if (context.accepts(forged)) return forged;
	}
	throw cannot(spec, `the coordinator would refuse what it makes of the lanes of ${strategy.name}`);
}

/**
 * Where a lane may be cut: nowhere, or, where it lies like the model or like its tensors of two or more dimensions, between
 * tensors, because rankings are often of one tensor each.
 */
function segmentations({ layout }: ForgeContext): ((lane: Lane) => readonly number[])[] {
	const matrices = layout.tensors.filter(({ shape }) => shape.length >= 2);
	const cuts = [layout.tensors, matrices].map((tensors) => {
		let at = 0;
		return [0, ...tensors.map(({ from, to }) => (at += to - from))];
	});
	return [undefined, ...cuts].map((cut) => (lane) => (cut !== undefined && cut.at(-1) === lane.length ? cut : [0, lane.length]));
}

function changeOf(spec: WorkSpec, { random }: ForgeContext, bounds: readonly number[], source: Values): Change {
	const scale = "scale" in spec ? (spec.scale ?? 1) : 1;
	const flip: Change = (_values, lane) => source.map((x) => -scale * x).map(within(lane));
	const turn: Change = (values) => bySegment(bounds, values, (part, from) => turned(part, source.subarray(from, from + part.length)));
	const shuffle: Change = (values, _lane, name) =>
		bySegment(bounds, values, (part, from) => {
			const order = permutation(random.at("shuffle", name, from), part.length);
			return part.map((_x, i) => part[order[i]!]!);
		});
	const noisy = (values: Values, lane: Lane, name: string, mean: Values | undefined, stdDev: number): Values => {
		const noise = fillGaussian4(random.at("noise", name), 0, new Float64Array(values.length));
		return values.map((_x, i) => (mean?.[i] ?? 0) + stdDev * noise[i]!).map(within(lane));
	};
	switch (spec.kind) {
		case "sign-flip":
			return flip;
		case "reverse":
			return (values, lane, name) => (lane.combine === "sum" ? turn(values, lane, name) : values);
		case "noise":
			return (values, lane, name) =>
				lane.combine === "sum" ? shuffle(values, lane, name) : noisy(values, lane, name, values, scale * rootMeanSquare(values));
		case "free-rider":
			if (spec.report === "noise")
				return (values, lane, name) =>
					lane.combine === "sum" ? shuffle(values, lane, name) : noisy(values, lane, name, undefined, spec.stdDev);
			return (values) => values.map(() => 0);
		case "collude":
			return (values, lane, name) =>
				spec.send !== "sign-flip" && lane.combine === "sum" ? turn(values, lane, name) : flip(values, lane, name);
	}
}

/** Sum or mean of each lane over the works, in their order, float64. */
function combined(spec: WorkSpec & { readonly kind: "collude" }, honest: readonly HonestWork[]): HonestWork["lanes"] {
	const share = spec.combine === "mean" ? 1 / honest.length : 1;
	return Object.fromEntries(
		Object.keys(honest[0]!.lanes).map((name) => {
			const total = new Float64Array(honest[0]!.lanes[name]!.length);
			for (const { lanes } of honest) for (const [j, x] of lanes[name]!.entries()) total[j]! += x;
			return [name, total.map((x) => x * share)];
		}),
	);
}

/** The elements of `values`, the largest where `by` is smallest: max − x where both are one ranking. */
function turned(values: Values, by: Values): Values {
	const sorted = values.slice().sort();
	const out = values.slice();
	for (const [place, at] of argsort(by).entries()) out[at] = sorted[sorted.length - 1 - place]!;
	return out;
}

function bySegment(bounds: readonly number[], values: Values, change: (part: Values, from: number) => Values): Values {
	const out = values.slice();
	for (let s = 0; s + 1 < bounds.length; s++) {
		const from = bounds[s]!;
		out.set(change(values.subarray(from, bounds[s + 1]!), from), from);
	}
	return out;
}

function rootMeanSquare(values: Values): number {
	let sum = 0;
	for (const x of values) sum += x * x;
	return values.length === 0 ? 0 : Math.sqrt(sum / values.length);
}

/** Keeps a value within the lane's bound after its rounding to float32, too. */
function within({ absMax }: Lane): (x: number) => number {
	const most = Math.fround(absMax) <= absMax ? Math.fround(absMax) : Math.fround(absMax * (1 - 2 ** -23));
	return (x) => Math.max(-most, Math.min(most, x));
}
