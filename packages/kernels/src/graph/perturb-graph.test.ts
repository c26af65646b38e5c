import { readFileSync } from "node:fs";
import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { graphModel } from "../../test/graph-model.js";
import { fromHex } from "../hash.js";
import type { NoiseKind } from "../perturbations.js";
import { type Random, randomFrom, streamKeyOf } from "../random.js";
import { memberRows, type PerturbedTensor, packedBits, perturbGraph, type SignSource } from "./perturb-graph.js";

interface Signs {
	kind: NoiseKind;
	k: number;
	from: number;
	values: string;
}
const golden = JSON.parse(readFileSync(new URL("../shared-randomness.golden.json", import.meta.url), "utf8")) as {
	cases: { key: string; signs: Signs[]; permutations: { group: number; block: number; values: number[] }[] }[];
};

/** The node whose stream holds the bits of z_k. */
function streamOf(family: Random, kind: NoiseKind, k: number): Random {
	return kind === "noise/1" ? family.at(k) : family.at("noise/2", Math.floor(k / 4096));
}

type Provider = "cpu" | "webgpu";
type Mode = "bitwise" | "plain" | "bits";
const optionsOf = (provider: Provider): ort.InferenceSession.SessionOptions =>
	provider === "cpu"
		? { executionProviders: ["cpu"], intraOpNumThreads: 1 }
		: { executionProviders: ["webgpu"], extra: { session: { disable_cpu_ep_fallback: "1" } } };
const onDevice = await webgpuDevice(async () => {
	const part = perturbGraph({
		prefix: "z.",
		source: { kind: "noise/1", bits: "bits" },
		scale: "scale",
		tensors: [{ weights: "w", output: "o", shape: [8], from: 0 }],
	});
	const w = { type: "float32" as const, dims: [8] };
	const model = graphModel(
		[part],
		[
			{ name: "bits", type: "uint8", dims: [1] },
			{ name: "scale", type: "float32", dims: [1] },
			{ ...w, name: "w" },
		],
		[{ ...w, name: "o" }],
	);
	return ort.InferenceSession.create(model, optionsOf("webgpu"));
});
const CASES: { provider: Provider; mode: Mode }[] = (["bitwise", "plain", "bits"] as const).map((mode) => ({ provider: "cpu", mode }));
if (onDevice !== undefined) CASES.push({ provider: "webgpu", mode: "plain" }, { provider: "webgpu", mode: "bits" });
const KINDS: NoiseKind[] = ["noise/1", "noise/2"];

function sourceOf(kind: NoiseKind, mode: Mode): SignSource {
	if (mode === "bits") return kind === "noise/1" ? { kind, bits: "bits" } : { kind, bits: "bits", rows: "rows" };
	return kind === "noise/1" ? { kind, key: "key", arithmetic: mode } : { kind, key: "key", member: "member", arithmetic: mode };
}

/** A session for tensors, and what to feed it for a member of a family. */
async function perturber(provider: Provider, kind: NoiseKind, mode: Mode, tensors: readonly PerturbedTensor[]) {
	const from = Math.min(...tensors.map((tensor) => tensor.from));
	const count = Math.max(...tensors.map((tensor) => tensor.from + tensor.shape.reduce((a, b) => a * b, 1))) - from;
	const part = perturbGraph({ prefix: "z.", source: sourceOf(kind, mode), scale: "scale", tensors });
	const signs: { name: string; type: "uint8" | "uint32" | "int32"; dims: (number | string)[] }[] =
		mode === "bits" ? [{ name: "bits", type: "uint8", dims: ["bytes"] }] : [{ name: "key", type: "uint32", dims: [4] }];
	if (kind === "noise/2") signs.push({ name: mode === "bits" ? "rows" : "member", type: "int32", dims: ["n"] });
	const model = graphModel(
		[part],
		[
			...signs,
			{ name: "scale", type: "float32", dims: [1] },
			...tensors.map(({ weights, shape }) => ({ name: weights, type: "float32" as const, dims: shape })),
		],
		tensors.map(({ output, shape }) => ({ name: output, type: "float32", dims: shape })),
	);
	const session = await ort.InferenceSession.create(model, optionsOf(provider));
	return async (family: Random, k: number, scale: number, weights: Record<string, Float32Array>): Promise<Record<string, Float32Array>> => {
		const stream = streamOf(family, kind, k);
		const feeds: Record<string, ort.Tensor> = { scale: new ort.Tensor("float32", [scale], [1]) };
		if (mode === "bits") {
			const bits = packedBits(stream, kind, from, count);
			feeds.bits = new ort.Tensor("uint8", bits, [bits.length]);
			if (kind === "noise/2") feeds.rows = new ort.Tensor("int32", memberRows(stream, k % 4096, from, count));
		} else {
			feeds.key = new ort.Tensor("uint32", streamKeyOf(stream), [4]);
			if (kind === "noise/2") feeds.member = new ort.Tensor("int32", [k % 4096], [1]);
		}
		for (const tensor of tensors) feeds[tensor.weights] = new ort.Tensor("float32", weights[tensor.weights]!, tensor.shape);
		const results = await session.run(feeds);
		return Object.fromEntries(tensors.map(({ output }) => [output, results[output]!.data as Float32Array]));
	};
}

/** z_k[j] from the stream that holds its bits, by the formulas of section 4, one parameter at a time. */
function sign(stream: Random, kind: NoiseKind, k: number, j: number): number {
	const word = (at: number): number => stream.words(at, new Uint32Array(1))[0]!;
	const bit = (first: number, i: number): number => (word(first + Math.floor(i / 32)) >>> (i % 32)) & 1;
	if (kind === "noise/1") return 2 * bit(0, j) - 1;
	const base = 512 * Math.floor(j / 4096);
	let x = k % 4096;
	for (let q = base + 256; q < base + 262; q++) {
		x = Number((BigInt(x) * BigInt(2 * (word(q) % 2048) + 1) + BigInt(word(q) >>> 11)) % 4096n);
		x ^= x >> 6;
	}
	let sum = bit(base, j % 4096) + bit(base + 128, k % 4096);
	for (let both = x & (j % 4096); both > 0; both >>= 1) sum += both & 1;
	return 2 * (sum % 2) - 1;
}

const signsOf = (values: ArrayLike<number>): string => Array.from(values, (z) => (z === 1 ? "+" : z === -1 ? "-" : "?")).join("");

describe("perturbGraph in ONNX Runtime", () => {
	it.each(CASES)("makes the published signs on $provider, $mode", async ({ provider, mode }) => {
		const runs = new Map<string, { kind: NoiseKind; from: number; all: { family: Random; k: number; values: string }[] }>();
		for (const { key, signs } of golden.cases)
			for (const { kind, k, from, values } of signs) {
				const name = `${kind} ${from}`;
				if (!runs.has(name)) runs.set(name, { kind, from, all: [] });
				runs.get(name)!.all.push({ family: randomFrom(fromHex(key)), k, values });
			}
		expect(runs.size).toBeGreaterThan(15);
		for (const { kind, from, all } of runs.values()) {
			const perturb = await perturber(provider, kind, mode, [{ weights: "w", output: "o", shape: [64], from }]);
			for (const { family, k, values } of all) {
				const { o } = await perturb(family, k, 1, { w: new Float32Array(64) });
				expect({ kind, from, k, signs: signsOf(o!) }).toEqual({ kind, from, k, signs: values });
			}
		}
	});

	const shapes: { shape: number[]; gap: number }[] = [
		{ shape: [3, 5, 7], gap: 0 },
		{ shape: [], gap: 3 },
		{ shape: [16], gap: 0 },
		{ shape: [4100], gap: 11 },
		{ shape: [2, 8], gap: 9000 },
	];
	it.each(KINDS.flatMap((kind) => CASES.flatMap((each) => [8, 2 ** 45 + 4087].map((from) => ({ ...each, kind, from })))))(
		"adds scale · z to the tensors of a model on $provider: $kind, $mode, from $from",
		async ({ provider, kind, mode, from }) => {
			let at = from;
			const tensors = shapes.map(({ shape, gap }, i) => {
				const tensor = { weights: `w${i}`, output: `o${i}`, shape, from: at + gap };
				at = tensor.from + shape.reduce((a, b) => a * b, 1);
				return tensor;
			});
			const perturb = await perturber(provider, kind, mode, tensors);
			const family = randomFrom(new Uint8Array(32).fill(7));
			const weights = Object.fromEntries(
				tensors.map(({ weights, shape }, i) => [
					weights,
					Float32Array.from(family.at(i).words(0, new Uint32Array(shape.reduce((a, b) => a * b, 1))), (x) => x / 2 ** 31 - 1),
				]),
			);
			for (const [k, scale] of [
				[5000, 1e-3],
				[2 ** 32 - 1, -0.3],
			] as const) {
				const stream = streamOf(family, kind, k);
				const out = await perturb(family, k, scale, weights);
				for (const tensor of tensors) {
					const expected = weights[tensor.weights]!.map((w, i) => w + Math.fround(scale) * sign(stream, kind, k, tensor.from + i));
					expect(
						Buffer.compare(
							Buffer.from(out[tensor.output]!.buffer, out[tensor.output]!.byteOffset, 4 * expected.length),
							Buffer.from(expected.buffer),
						),
					).toBe(0);
				}
			}
		},
	);
});

describe.skipIf(onDevice === undefined)("on a device", () => {
	it("keeps weights there from step to step", async () => {
		const tensors = [{ weights: "w", output: "o", shape: [300], from: 7 }];
		const part = perturbGraph({ prefix: "z.", source: sourceOf("noise/1", "plain"), scale: "scale", tensors });
		const value = { type: "float32" as const, dims: [300] };
		const inputs = [
			{ name: "key", type: "uint32" as const, dims: [4] },
			{ name: "scale", type: "float32" as const, dims: [1] },
			{ ...value, name: "w" },
		];
		const model = graphModel([part], inputs, [{ ...value, name: "o" }]);
		const options = optionsOf("webgpu");
		const resident = await ort.InferenceSession.create(model, { ...options, preferredOutputLocation: { o: "gpu-buffer" } });
		const last = await ort.InferenceSession.create(model, options);
		const family = randomFrom(new Uint8Array(32).fill(9));
		const feeds = (k: number, scale: number, w: ort.Tensor) => ({
			key: new ort.Tensor("uint32", streamKeyOf(family.at(k)), [4]),
			scale: new ort.Tensor("float32", [scale], [1]),
			w,
		});
		const initial = Float32Array.from({ length: 300 }, (_, i) => i / 7);
		const first = (await resident.run(feeds(0, 0.1, new ort.Tensor("float32", initial, [300])))).o!;
		expect(first.location).toBe("gpu-buffer");
		const second = (await resident.run(feeds(1, -0.2, first))).o!;
		const third = (await last.run(feeds(2, 0.3, second))).o!;
		const streams = [0, 1, 2].map((k) => family.at(k));
		const expected = [0.1, -0.2, 0.3].reduce(
			(w, scale, k) => w.map((value, i) => value + Math.fround(scale) * sign(streams[k]!, "noise/1", k, 7 + i)),
			initial,
		);
		expect(third.data).toEqual(expected);
	});
});

describe("perturbGraph", () => {
	const source: SignSource = { kind: "noise/1", key: "key", arithmetic: "bitwise" };
	const tensor: PerturbedTensor = { weights: "w", output: "o", shape: [2], from: 0 };
	const graph = (tensors: PerturbedTensor[], of: SignSource = source) => perturbGraph({ prefix: "z.", source: of, scale: "s", tensors });

	it("grows with the model only by what it reads of its weights", () => {
		const size = (count: number): number =>
			graph([{ ...tensor, shape: [count] }]).initializers.reduce((sum, { data }) => sum + data.byteLength, 0);
		expect(size(2 ** 30)).toBe(size(2 ** 10));
	});

	it("leaves empty tensors to the graph around it", () => {
		expect(graph([tensor, { ...tensor, shape: [0], output: "none" }]).nodes.flatMap(({ outputs }) => outputs)).not.toContain("none");
	});

	it("refuses what section 4 does not define", () => {
		const refused = (run: () => unknown, message: RegExp): void => expect(run).toThrow(message);
		refused(() => graph([]), /span/);
		refused(() => graph([{ ...tensor, from: -1 }]), /from .* got -1/);
		refused(() => graph([{ ...tensor, from: 2 ** 53 - 1 }]), /2 parameters remain below 2\^53/);
		refused(() => graph([{ ...tensor, shape: [1.5] }]), /shape of w/);
		refused(() => graph([tensor, { ...tensor, from: 2 ** 31 }]), /span/);
		refused(() => graph([tensor], { ...source, kind: "noise/3" as "noise/1" }), /kind .* noise\/3/);
		refused(() => memberRows(randomFrom(new Uint8Array(32)), 4096, 0, 1), /member .* 4096/);
	});
});
