import { type Layout, tensorOf } from "@rondo/tensors";
import type { Gpt2Config } from "../src/models/gpt2.js";
import type { LlamaConfig } from "../src/models/llama.js";

// Both decoders token by token in float64, straight from the papers: what the graphs are compared with.

type Vector = readonly number[];
type Weights = (name: string) => Vector;

const weightsOf =
	(layout: Layout, flat: Float32Array): Weights =>
	(name) =>
		Array.from(tensorOf(layout, name, flat));

const dot = (a: Vector, b: Vector): number => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const add = (a: Vector, b: Vector): Vector => a.map((value, i) => value + b[i]!);
const row = (matrix: Vector, i: number, width: number): Vector => matrix.slice(i * width, (i + 1) * width);
/** y_o = Σ_i W[o, i]·x_i */
const outIn = (matrix: Vector, x: Vector): Vector =>
	Array.from({ length: matrix.length / x.length }, (_, o) => dot(row(matrix, o, x.length), x));
/** y_o = Σ_i W[i, o]·x_i + b_o */
const inOut = (matrix: Vector, x: Vector, bias: Vector): Vector =>
	bias.map((b, o) => x.reduce((sum, value, i) => sum + value * matrix[i * bias.length + o]!, b));

function softmax(z: Vector): Vector {
	const top = Math.max(...z);
	const exps = z.map((value) => Math.exp(value - top));
	const total = exps.reduce((a, b) => a + b, 0);
	return exps.map((value) => value / total);
}

/** One head: what the query sees of the positions so far. */
function attend(query: Vector, keys: readonly Vector[], values: readonly Vector[]): Vector {
	const shares = softmax(keys.map((key) => dot(query, key) / Math.sqrt(query.length)));
	return values[0]!.map((_, i) => values.reduce((sum, value, t) => sum + shares[t]! * value[i]!, 0));
}

/** Logits [sequence][vocabulary]. */
export function llamaReference(config: LlamaConfig, layout: Layout, flat: Float32Array, tokens: readonly number[]): Vector[] {
	const { width, layers, heads, keyValueHeads = heads, ropeBase = 10_000, ropePairs = "adjacent", tiedHead = true } = config;
	const w = weightsOf(layout, flat);
	const headWidth = width / heads;
	const norm = (x: Vector, scale: Vector): Vector => {
		const root = Math.sqrt(dot(x, x) / x.length + (config.normEpsilon ?? 1e-5));
		return x.map((value, i) => (value / root) * scale[i]!);
	};
	const rotate = (x: Vector, position: number): Vector => {
		const out = [...x];
		for (let i = 0; i < headWidth / 2; i++) {
			const [a, b] = ropePairs === "adjacent" ? [2 * i, 2 * i + 1] : [i, i + headWidth / 2];
			const angle = position * ropeBase ** ((-2 * i) / headWidth);
			out[a] = x[a]! * Math.cos(angle) - x[b]! * Math.sin(angle);
			out[b] = x[a]! * Math.sin(angle) + x[b]! * Math.cos(angle);
		}
		return out;
	};
	const embedding = w("model.embed_tokens.weight");
	let states = tokens.map((token) => row(embedding, token, width));
	for (let layer = 0; layer < layers; layer++) {
		const at = (name: string): Vector => w(`model.layers.${layer}.${name}.weight`);
		const normed = states.map((x) => norm(x, at("input_layernorm")));
		const q = normed.map((x) => outIn(at("self_attn.q_proj"), x));
		const k = normed.map((x) => outIn(at("self_attn.k_proj"), x));
		const v = normed.map((x) => outIn(at("self_attn.v_proj"), x));
		states = states.map((x, t) => {
			const mixed = Array.from({ length: heads }, (_, head) => {
				const shared = Math.floor(head / (heads / keyValueHeads));
				const keys = k.slice(0, t + 1).map((key, s) => rotate(row(key, shared, headWidth), s));
				const values = v.slice(0, t + 1).map((value) => row(value, shared, headWidth));
				return attend(rotate(row(q[t]!, head, headWidth), t), keys, values);
			}).flat();
			return add(x, outIn(at("self_attn.o_proj"), mixed));
		});
		states = states.map((x) => {
			const y = norm(x, at("post_attention_layernorm"));
			const up = outIn(at("mlp.up_proj"), y);
			const gated = outIn(at("mlp.gate_proj"), y).map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!);
			return add(x, outIn(at("mlp.down_proj"), gated));
		});
	}
	const head = tiedHead ? embedding : w("lm_head.weight");
	return states.map((x) => outIn(head, norm(x, w("model.norm.weight"))));
}

/** Logits [sequence][vocabulary]. */
export function gpt2Reference(config: Gpt2Config, layout: Layout, flat: Float32Array, tokens: readonly number[]): Vector[] {
	const { width, layers, heads } = config;
	const w = weightsOf(layout, flat);
	const headWidth = width / heads;
	const norm = (x: Vector, name: string): Vector => {
		const mean = x.reduce((a, b) => a + b, 0) / x.length;
		const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
		const [scale, shift] = [w(`${name}.weight`), w(`${name}.bias`)];
		return x.map((value, i) => ((value - mean) / Math.sqrt(variance + 1e-5)) * scale[i]! + shift[i]!);
	};
	const dense = (x: Vector, name: string): Vector => inOut(w(`${name}.weight`), x, w(`${name}.bias`));
	const gelu = (x: number): number => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
	const embedding = w("transformer.wte.weight");
	let states = tokens.map((token, t) => add(row(embedding, token, width), row(w("transformer.wpe.weight"), t, width)));
	for (let layer = 0; layer < layers; layer++) {
		const at = `transformer.h.${layer}`;
		const joined = states.map((x) => dense(norm(x, `${at}.ln_1`), `${at}.attn.c_attn`));
		const part = (t: number, i: number, head: number): Vector => row(row(joined[t]!, i, width), head, headWidth);
		states = states.map((x, t) => {
			const past = Array.from({ length: t + 1 }, (_, s) => s);
			const mixed = Array.from({ length: heads }, (_, head) =>
				attend(
					part(t, 0, head),
					past.map((s) => part(s, 1, head)),
					past.map((s) => part(s, 2, head)),
				),
			).flat();
			return add(x, dense(mixed, `${at}.attn.c_proj`));
		});
		states = states.map((x) => add(x, dense(dense(norm(x, `${at}.ln_2`), `${at}.mlp.c_fc`).map(gelu), `${at}.mlp.c_proj`)));
	}
	return states.map((x) => outIn(embedding, norm(x, "transformer.ln_f")));
}
