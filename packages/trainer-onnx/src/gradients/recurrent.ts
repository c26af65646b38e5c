import { type GraphBuilder, type Ref, range } from "../graph/graph-builder.js";
import { notDifferentiable } from "./refuse.js";
import { type Backward, constantNumbers, type GradientRule, intOf, stringOf } from "./rule.js";

// Equations: onnx.ai/onnx/operators/onnx__LSTM.html and onnx__GRU.html. T steps, B sequences, I inputs, H hidden values.
// With the hidden states of all steps known, gates of all steps are computed at once. Only what flows from a step to the one
// before it is unrolled.

/** One direction of a recurrent node. */
interface Lane {
	/** Steps in the order in which they are computed. */
	readonly steps: readonly number[];
	/** [T·B, I] and [T·B, H]: input, and hidden state before the step. */
	readonly x: Ref;
	readonly before: Ref;
	/** [gates·H, I] and [gates·H, H]. */
	readonly w: Ref;
	readonly r: Ref;
	/** [gates·H] each. */
	readonly biases: readonly [Ref, Ref] | undefined;
	/** Derivatives by the hidden states [1, B, H]: of each step, and further of the last one. */
	dyAt(step: number): Ref | undefined;
	readonly dyLast: Ref | undefined;
}

/** Derivatives that a lane yields; those by biases are of [2·gates·H], those by states of [1, B, H]. */
interface LaneGradients {
	readonly x: Ref;
	readonly w: Ref;
	readonly r: Ref;
	readonly biases: readonly [Ref, Ref];
	readonly state: Ref;
	readonly cell?: Ref;
}

const sum = (g: GraphBuilder, ...parts: readonly (Ref | undefined)[]): Ref | undefined =>
	parts
		.filter((part) => part !== undefined)
		.reduce<Ref | undefined>((total, part) => (total === undefined ? part : g.add(total, part)), undefined);

/** y·(1 − y): the derivative of the logistic function, by its result. */
const logisticSlope = (g: GraphBuilder, y: Ref): Ref => g.mul(y, g.sub(1, y));
/** 1 − y²: that of tanh. */
const tanhSlope = (g: GraphBuilder, y: Ref): Ref => g.sub(1, g.mul(y, y));

/** The part of one gate in [T, B, gates·H], or rows of one gate in a matrix. */
const gate = (g: GraphBuilder, x: Ref, axis: number, hidden: number, from: number, to = from + 1): Ref =>
	g.slice(x, axis, from * hidden, to * hidden);

const columns = (g: GraphBuilder, x: Ref): Ref => g.reduce("ReduceSum", x, [0], false);

const refuseVariants = (b: Backward, activations: readonly string[]): void => {
	const { node } = b;
	const given = node.attributes.activations;
	const named = given !== undefined && "strings" in given ? given.strings : [];
	if (named.some((name, i) => name.toLowerCase() !== activations[i % activations.length]!.toLowerCase()))
		throw notDifferentiable(b, `activations ${named.join(", ")}; only ${activations.join(", ")} have a gradient here`);
	if (node.attributes.clip !== undefined) throw notDifferentiable(b, "it clips its gates");
	if (intOf(node, "layout", 0) !== 0) throw notDifferentiable(b, "layout 1; export it with steps on the first axis (layout 0)");
	if (intOf(node, "input_forget", 0) !== 0) throw notDifferentiable(b, "input and forget gate are coupled (input_forget)");
	if (b.optional(7) !== undefined) throw notDifferentiable(b, "it has peephole weights");
	const length = b.input(0).dims[0]!;
	if (b.optional(4) !== undefined && constantNumbers(b, 4, "sequence lengths").some((steps) => steps !== length))
		throw notDifferentiable(b, `its sequences end before the last of ${length} steps; leave sequence_lens out and mask the loss instead`);
};

/** dx, dw, dr, db (bias), nothing for the lengths, dh0 and dc0, from what each direction yields. */
function recurrent(b: Backward, gates: number, gradientsOf: (lane: Lane, direction: number) => LaneGradients): (Ref | undefined)[] {
	const { g, node } = b;
	const [x, w, r] = [b.input(0), b.input(1), b.input(2)];
	const [length, batch, size] = x.dims as [number, number, number];
	const [directions, rows, hidden] = [w.dims[0]!, w.dims[1]!, r.dims[2]!];
	const y = b.output(0, [length, directions, batch, hidden]);
	const part = (ref: Ref, axis: number, direction: number): Ref => g.slice(ref, axis, direction, direction + 1);
	const lanes = range(directions).map((direction): LaneGradients => {
		const backwards = direction === 1 || stringOf(node, "direction", "forward") === "reverse";
		const forward = range(length);
		const states = g.reshape(part(y, 1, direction), [length, batch, hidden]);
		const first = stateOf(b, 5, direction, batch, hidden);
		const before = backwards
			? g.concat([g.slice(states, 0, 1, length), first], 0)
			: g.concat([first, g.slice(states, 0, 0, length - 1)], 0);
		const bias = b.optional(3) === undefined ? undefined : g.reshape(part(b.input(3), 0, direction), [2 * rows]);
		const [dy, dyLast] = [b.dy(0), b.dy(1)];
		const dStates = dy === undefined ? undefined : g.reshape(part(dy, 1, direction), [length, batch, hidden]);
		const lane: Lane = {
			steps: backwards ? forward.reverse() : forward,
			x: g.reshape(x, [length * batch, size]),
			before: g.reshape(before, [length * batch, hidden]),
			w: g.reshape(part(w, 0, direction), [rows, size]),
			r: g.reshape(part(r, 0, direction), [rows, hidden]),
			biases: bias === undefined ? undefined : [gate(g, bias, 0, hidden, 0, gates), gate(g, bias, 0, hidden, gates, 2 * gates)],
			dyAt: (step) => (dStates === undefined ? undefined : g.slice(dStates, 0, step, step + 1)),
			dyLast: dyLast === undefined ? undefined : part(dyLast, 0, direction),
		};
		return gradientsOf(lane, direction);
	});
	const stacked = (i: number, of: (lane: LaneGradients) => Ref, dims: readonly number[]): Ref | undefined => {
		if (b.optional(i) === undefined || !b.needs(i)) return undefined;
		return g.concat(
			lanes.map((lane) => g.reshape(of(lane), [1, ...dims])),
			0,
		);
	};
	return [
		b.needs(0) ? g.reshape(sum(g, ...lanes.map((lane) => lane.x))!, x.dims) : undefined,
		stacked(1, (lane) => lane.w, [rows, size]),
		stacked(2, (lane) => lane.r, [rows, hidden]),
		stacked(3, (lane) => g.concat(lane.biases, 0), [2 * rows]),
		undefined,
		stacked(5, (lane) => lane.state, [batch, hidden]),
		stacked(6, (lane) => lane.cell!, [batch, hidden]),
	];
}

/** An initial state of one direction [1, B, H]; 0 where the node has none. */
function stateOf(b: Backward, i: number, direction: number, batch: number, hidden: number): Ref {
	const { g } = b;
	return b.optional(i) === undefined ? g.filled(b.input(0).type, [1, batch, hidden], 0) : g.slice(b.input(i), 0, direction, direction + 1);
}

/** Input and hidden state times their weights, and biases: [T·B, gates·H]. */
function preactivations(g: GraphBuilder, { x, before, w, r, biases }: Lane): Ref {
	return sum(g, g.gemm(x, w, false, true), g.gemm(before, r, false, true), biases?.[0], biases?.[1])!;
}

/** Values of single steps [1, B, …], listed by step, one after the other: [T·B, …]. */
function allSteps(g: GraphBuilder, values: readonly Ref[]): Ref {
	const all = g.concat(values, 0);
	return g.reshape(all, [all.dims[0]! * all.dims[1]!, all.dims[2]!]);
}

/** i, o, f = σ(·), c̃ = tanh(·); c' = f·c + i·c̃; h' = o·tanh c'. */
const lstm: GradientRule = (b) => {
	refuseVariants(b, ["Sigmoid", "Tanh", "Tanh"]);
	const { g } = b;
	const [length, batch] = b.input(0).dims as [number, number];
	const hidden = b.input(2).dims[2]!;
	return recurrent(b, 4, (lane, direction) => {
		const at = (x: Ref, step: number): Ref => g.slice(x, 0, step, step + 1);
		const gates = g.reshape(preactivations(g, lane), [length, batch, 4 * hidden]);
		const logistic = g.unary("Sigmoid", gate(g, gates, 2, hidden, 0, 3));
		const [i, o, f] = [gate(g, logistic, 2, hidden, 0), gate(g, logistic, 2, hidden, 1), gate(g, logistic, 2, hidden, 2)];
		const candidate = g.unary("Tanh", gate(g, gates, 2, hidden, 3));

		const added = g.mul(i, candidate);
		const cells: Ref[] = [];
		const cellsBefore: Ref[] = [];
		let cell = stateOf(b, 6, direction, batch, hidden);
		for (const step of lane.steps) {
			cellsBefore[step] = cell;
			cell = g.add(g.mul(at(f, step), cell), at(added, step));
			cells[step] = cell;
		}
		const tanhCell = g.unary("Tanh", g.concat(cells, 0));
		const toCell = g.mul(o, tanhSlope(g, tanhCell));
		// The derivatives by the gates are these, times that by the cell (that by the hidden state for gate o).
		const slopes = logisticSlope(g, logistic);
		const factors = g.concat(
			[
				g.mul(candidate, gate(g, slopes, 2, hidden, 0)),
				g.mul(tanhCell, gate(g, slopes, 2, hidden, 1)),
				g.mul(g.concat(cellsBefore, 0), gate(g, slopes, 2, hidden, 2)),
				g.mul(i, tanhSlope(g, candidate)),
			],
			2,
		);

		const dyCell = b.dy(2);
		let dState = lane.dyLast;
		let dCell = dyCell === undefined ? undefined : at(dyCell, direction);
		const dGates: Ref[] = [];
		for (const step of lane.steps.toReversed()) {
			const dh = sum(g, lane.dyAt(step), dState) ?? g.filled(i.type, [1, batch, hidden], 0);
			const dc = sum(g, g.mul(dh, at(toCell, step)), dCell)!;
			const dGate = g.mul(g.concat([dc, dh, dc, dc], 2), at(factors, step));
			dGates[step] = dGate;
			dState = g.matMul(dGate, lane.r);
			dCell = g.mul(dc, at(f, step));
		}
		const d = allSteps(g, dGates);
		return {
			x: g.gemm(d, lane.w, false, false),
			w: g.gemm(d, lane.x, true, false),
			r: g.gemm(d, lane.before, true, false),
			biases: [columns(g, d), columns(g, d)],
			state: dState!,
			cell: dCell!,
		};
	});
};

/**
 * z, r = σ(·); n = tanh(Wₙx + r·(Rₙh + bias) + bias), or with r·h instead of h in the product (linear_before_reset 0);
 * h' = (1 − z)·n + z·h.
 */
const gru: GradientRule = (b) => {
	refuseVariants(b, ["Sigmoid", "Tanh"]);
	const { g } = b;
	const [length, batch] = b.input(0).dims as [number, number];
	const hidden = b.input(2).dims[2]!;
	const resetLast = intOf(b.node, "linear_before_reset", 0) !== 0;
	return recurrent(b, 3, (lane) => {
		const at = (x: Ref, step: number): Ref => g.slice(g.reshape(x, [length, batch, x.dims[1]!]), 0, step, step + 1);
		const rows = (x: Ref, from: number, to = from + 1): Ref => gate(g, x, 0, hidden, from, to);
		const two: Lane = {
			...lane,
			w: rows(lane.w, 0, 2),
			r: rows(lane.r, 0, 2),
			biases: lane.biases === undefined ? undefined : [rows(lane.biases[0], 0, 2), rows(lane.biases[1], 0, 2)],
		};
		const logistic = g.unary("Sigmoid", preactivations(g, two));
		const [z, reset] = [gate(g, logistic, 1, hidden, 0), gate(g, logistic, 1, hidden, 1)];
		const slopes = logisticSlope(g, logistic);
		const [wn, rn] = [rows(lane.w, 2), rows(lane.r, 2)];
		const [bias, recurrentBias] = lane.biases?.map((all) => rows(all, 2)) ?? [];
		const fromInput = sum(g, g.gemm(lane.x, wn, false, true), bias)!;
		const fed = resetLast ? lane.before : g.mul(reset, lane.before);
		const fromState = sum(g, g.gemm(fed, rn, false, true), recurrentBias)!;
		const n = g.unary("Tanh", g.add(fromInput, resetLast ? g.mul(reset, fromState) : fromState));

		// Derivatives by the three preactivations are these, times that by the hidden state.
		const toZ = g.mul(g.sub(lane.before, n), gate(g, slopes, 1, hidden, 0));
		const toN = g.mul(g.sub(1, z), tanhSlope(g, n));
		// By that of the reset gate; with r·h in the product: times the derivative by r·h.
		const toReset = g.mul(resetLast ? g.mul(toN, fromState) : lane.before, gate(g, slopes, 1, hidden, 1));
		const toFromState = resetLast ? g.mul(toN, reset) : toN;
		const factors = g.concat(resetLast ? [toZ, toReset, toFromState] : [toZ, toReset], 1);

		let dState = lane.dyLast;
		const dStates: Ref[] = [];
		const dGates: Ref[] = [];
		for (const step of lane.steps.toReversed()) {
			const dh = sum(g, lane.dyAt(step), dState) ?? g.filled(z.type, [1, batch, hidden], 0);
			const kept = g.mul(dh, at(z, step));
			dStates[step] = dh;
			if (resetLast) {
				const dGate = g.mul(g.concat([dh, dh, dh], 2), at(factors, step));
				dGates[step] = dGate;
				dState = g.add(kept, g.matMul(dGate, lane.r));
			} else {
				const dFed = g.matMul(g.mul(dh, at(toFromState, step)), rn);
				const dGate = g.mul(g.concat([dh, dFed], 2), at(factors, step));
				dGates[step] = dGate;
				dState = g.add(g.add(kept, g.mul(dFed, at(reset, step))), g.matMul(dGate, two.r));
			}
		}
		const dh = allSteps(g, dStates);
		const dTwo = gate(g, allSteps(g, dGates), 1, hidden, 0, 2);
		const [dN, dFromState] = [g.mul(dh, toN), g.mul(dh, toFromState)];
		const d = g.concat([dTwo, dN], 1);
		return {
			x: g.gemm(d, lane.w, false, false),
			w: g.gemm(d, lane.x, true, false),
			r: g.concat([g.gemm(dTwo, lane.before, true, false), g.gemm(dFromState, fed, true, false)], 0),
			biases: [columns(g, d), columns(g, g.concat([dTwo, dFromState], 1))],
			state: dState!,
		};
	});
};

export const recurrentRules: { readonly [op: string]: GradientRule } = { LSTM: lstm, GRU: gru };
