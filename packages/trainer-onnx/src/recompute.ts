import { RESERVED_PREFIX } from "./graph/check-graph.js";
import { GraphBuilder, type Ref } from "./graph/graph-builder.js";
import { bytesPerElement, isFloat, type Node, sizeOf } from "./graph/ir.js";
import { isRandom } from "./graph/random-operators.js";
import type { ReadyGraph } from "./training-graph.js";

const PREFIX = `${RESERVED_PREFIX}recomputed/`;
/** Masks of dropout are made in front of what is dropped. */
const FORWARD_PREFIX = `${RESERVED_PREFIX}dropout/`;
/** Most parts that a model is cut into. */
const MAX_SEGMENTS = 32;

/**
 * A gradient or step that keeps fewer intermediate results: the model is cut into parts, only what crosses a cut is kept, and
 * the rest is computed a second time when the gradient comes to that part. (T. Chen et al., "Training Deep Nets with Sublinear
 * Memory Cost", 2016: about 2·√n results instead of n, for one more forward pass.)
 *
 * ONNX Runtime makes one of two equal computations, so the second one must not look equal: its inputs get a zero added that
 * depends on the gradient that has come so far. That also keeps it from being run early.
 * @param weights names of inputs that do not change with the data
 */
export function withRecomputation(ready: ReadyGraph, weights: ReadonlySet<string>): ReadyGraph {
	const { graph } = ready;
	const refs = new Map(ready.refs);
	const forward = graph.nodes.filter(isForward);
	const backward = graph.nodes.filter((node) => !isForward(node));
	const outputs = new Set(graph.outputs.map(({ name }) => name));
	const segmentOf = segmentsOf(forward, refs);
	const last = segmentOf.at(-1) ?? 0;
	if (last === 0) return ready;

	const makerOf = new Map<string, number>();
	for (const [i, node] of forward.entries()) for (const output of node.outputs) if (output !== "") makerOf.set(output, i);
	const kept = new Set<string>();
	for (const [i, node] of forward.entries()) {
		const { inputs, outputs: made } = node;
		for (const input of inputs) if (makerOf.has(input) && segmentOf[makerOf.get(input)!] !== segmentOf[i]) kept.add(input);
		for (const output of made) if (outputs.has(output) || isRandom(node)) kept.add(output);
	}
	const dataInputs = new Set(graph.inputs.map(({ name }) => name).filter((name) => !weights.has(name)));

	const g = new GraphBuilder(PREFIX);
	const copies = new Map<string, string>();
	const nodes: Node[] = [...forward];
	const done = new Set<number>();
	/** The newest value that depends on the derivative of the loss. */
	let gradient: Ref | undefined;
	const late = new Set(forward.filter((_, i) => segmentOf[i] === last).flatMap(({ outputs: made }) => made));
	for (const [at, node] of backward.entries()) {
		for (const input of node.inputs) {
			const segment = segmentOf[makerOf.get(input) ?? -1];
			if (segment === undefined || segment === last || kept.has(input)) continue;
			// Read before there is a derivative, as by a penalty: it has to stay.
			if (gradient === undefined) kept.add(input);
			else if (!done.has(segment)) {
				done.add(segment);
				const wanted = backward.slice(at).flatMap(({ inputs }) => inputs);
				const inSegment = wanted.filter((name) => segmentOf[makerOf.get(name) ?? -1] === segment && !kept.has(name));
				const before = g.nodes.length;
				const zero = zeroOf(g, gradient);
				const again = copied(inSegment, { forward, makerOf, segmentOf, segment, kept, dataInputs, refs, copies, g, zero });
				nodes.push(...g.nodes.slice(before), ...again);
			}
		}
		nodes.push({ ...node, inputs: node.inputs.map((input) => copies.get(input) ?? input) });
		if (!node.inputs.some((input) => late.has(input))) continue;
		for (const output of node.outputs) {
			if (output === "") continue;
			late.add(output);
			const ref = refs.get(output);
			if (ref !== undefined && isFloat(ref.type) && sizeOf(ref.dims) > 0) gradient = ref;
		}
	}
	for (const [name, ref] of g.refs) refs.set(name, ref);
	return { ...ready, refs, graph: { ...graph, nodes, initializers: new Map([...graph.initializers, ...g.initializers]) } };
}

const isForward = ({ outputs }: Node): boolean =>
	outputs.some((output) => output !== "" && (!output.startsWith(RESERVED_PREFIX) || output.startsWith(FORWARD_PREFIX)));

/**
 * The part that each node belongs to: as many parts of about equal size as make the sum of what is kept and what one part
 * needs smallest, cut where little crosses.
 */
function segmentsOf(forward: readonly Node[], refs: ReadonlyMap<string, Ref>): readonly number[] {
	const bytesOf = (name: string): number => {
		const ref = refs.get(name);
		return ref === undefined ? 0 : sizeOf(ref.dims) * bytesPerElement(ref.type);
	};
	const lastRead = new Map<string, number>();
	for (const [i, { inputs }] of forward.entries()) for (const input of inputs) lastRead.set(input, i);
	/** Bytes that are made up to a node and read after it, and all bytes made up to it. */
	const crossing: number[] = [];
	const made: number[] = [];
	let open = 0;
	let total = 0;
	const closing = new Map<number, number>();
	for (const [i, { outputs }] of forward.entries()) {
		for (const output of outputs) {
			const bytes = bytesOf(output);
			total += bytes;
			const end = lastRead.get(output) ?? i;
			if (end <= i) continue;
			open += bytes;
			closing.set(end, (closing.get(end) ?? 0) + bytes);
		}
		open -= closing.get(i) ?? 0;
		crossing.push(open);
		made.push(total);
	}
	const inside = crossing.slice(1, -1).filter((bytes) => bytes > 0);
	if (inside.length === 0) return forward.map(() => 0);
	const typical = inside.toSorted((a, b) => a - b)[Math.floor(inside.length / 10)]!;
	const count = Math.min(MAX_SEGMENTS, Math.round(Math.sqrt(total / typical)));
	const cuts: number[] = [];
	for (let k = 1; k < count; k++) {
		const [from, to] = [(total * (k - 0.5)) / count, (total * (k + 0.5)) / count];
		let best = -1;
		for (let i = 0; i < forward.length - 1; i++) {
			if (made[i]! < from || made[i]! >= to) continue;
			if (best < 0 || crossing[i]! < crossing[best]!) best = i;
		}
		if (best >= 0 && best !== cuts.at(-1)) cuts.push(best);
	}
	return forward.map((_, i) => cuts.filter((cut) => cut < i).length);
}

/** 0, whatever the value is; but ONNX Runtime does not know that. */
function zeroOf(g: GraphBuilder, value: Ref): Ref {
	const first = g.slice(g.reshape(value, [sizeOf(value.dims)]), 0, 0, 1);
	// No absolute value is below −1, not even that of NaN.
	return g.reshape(g.indicator("Less", g.unary("Abs", first), -1), []);
}

interface Copying {
	readonly forward: readonly Node[];
	readonly makerOf: ReadonlyMap<string, number>;
	readonly segmentOf: readonly number[];
	readonly segment: number;
	readonly kept: ReadonlySet<string>;
	readonly dataInputs: ReadonlySet<string>;
	readonly refs: Map<string, Ref>;
	readonly copies: Map<string, string>;
	readonly g: GraphBuilder;
	readonly zero: Ref;
}

/** The nodes of one part that `wanted` depends on, under other names. What their inputs need is made in `g`. */
function copied(wanted: readonly string[], context: Copying): readonly Node[] {
	const { forward, makerOf, segmentOf, segment, kept, dataInputs, refs, copies, g, zero } = context;
	const needed = new Set<number>();
	const visit = [...new Set(wanted)];
	for (const name of visit) {
		const maker = makerOf.get(name);
		if (maker === undefined || kept.has(name) || segmentOf[maker] !== segment || needed.has(maker)) continue;
		needed.add(maker);
		visit.push(...forward[maker]!.inputs);
	}
	const made: Node[] = [];
	const behind = new Map<string, string>();
	/** A value from outside of the part, so that ONNX Runtime takes it for another. */
	const distinct = (name: string): string => {
		const known = behind.get(name);
		if (known !== undefined) return known;
		const ref = refs.get(name);
		const changes = (kept.has(name) || dataInputs.has(name)) && ref !== undefined && ref.type !== "bool";
		const result = changes ? g.add(ref, g.cast(zero, ref.type)).name : name;
		behind.set(name, result);
		return result;
	};
	for (const i of [...needed].sort((a, b) => a - b)) {
		const node = forward[i]!;
		const inputs = node.inputs.map((name) => {
			const maker = makerOf.get(name);
			return maker !== undefined && needed.has(maker) && !kept.has(name) ? `${PREFIX}${name}` : distinct(name);
		});
		const outputs = node.outputs.map((name) => {
			if (name === "") return "";
			const copy = `${PREFIX}${name}`;
			const ref = refs.get(name);
			if (ref !== undefined) refs.set(copy, { ...ref, name: copy });
			if (!kept.has(name)) copies.set(name, copy);
			return copy;
		});
		made.push({ ...node, name: node.name === "" ? "" : `${PREFIX}${node.name}`, inputs, outputs });
	}
	return made;
}
