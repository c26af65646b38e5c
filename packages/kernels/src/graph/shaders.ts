import { RondoError } from "@rondo/errors";
import { BLOCK, type NoiseKind } from "../perturbations.js";
import { EXACT, JOB, PHILOX } from "./shader-parts.js";

/** WebGPU's limit for each dimension of a dispatch. */
const MAX_WORKGROUPS = 65_535;
const MAX_PARAMETERS = 2 ** 31;

/**
 * A WGSL compute shader: result[i] = weights[i] + scale · z_k[from + i]. Bindings of group 0: 0 uniform, the words of
 * `perturbJob`; 1 storage, read, `weights` (float32); 2 storage, read and write, `result` (float32, another buffer). One
 * workgroup does a block of 4096 parameters: dispatch `shaderWorkgroups`. Integers of 32 bits only, so the signs are exact on
 * every device; WGSL leaves the rounding of the one float32 sum and its denormals to the device.
 */
export function perturbShader(kind: NoiseKind): string {
	const structured = checkKind(kind) === "noise/2";
	return /* wgsl */ `${PHILOX}${JOB}
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;
var<workgroup> signs: array<vec4<u32>, 32>;
var<workgroup> row: u32;
var<workgroup> turn: u32;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
	let index = at.x + at.y * size.x;
	let block = advance(job.block, index);
	if (thread < 32u) {
		signs[thread] = stream_block(block, ${structured ? "7u" : "5u"}, thread, job.key);
	}
${
	structured
		? `	if (thread == 32u) {
		let words = stream_block(block, 7u, 32u + (job.member >> 7u), job.key);
		turn = words[(job.member >> 5u) & 3u] >> (job.member & 31u);
	}
	if (thread == 33u) {
		row = row_of(job.member, stream_block(block, 7u, 64u, job.key), stream_block(block, 7u, 65u, job.key));
	}
`
		: ""
}	workgroupBarrier();
	for (var i = thread; i < 4096u; i += 64u) {
		let position = index * 4096u + i;
		if (position >= job.skip && position - job.skip < job.count) {
			let word = signs[i >> 7u][(i >> 5u) & 3u];
			let bit = ((word >> (i & 31u))${structured ? " ^ turn ^ countOneBits(row & i)" : ""}) & 1u;
			let to = position - job.skip;
			result[to] = weights[to] + select(-job.scale, job.scale, bit == 1u);
		}
	}
}
`;
}

/**
 * A WGSL compute shader: result[i] = float32(float64(initial[i]) − unit · S[i]), exactly. Bindings of group 0: 0 uniform, the
 * words of `rebuildJob`; 1 storage, read, `initial` (float32); 2 storage, read, the sums S (int64, least significant word
 * first); 3 storage, read and write, `result` (float32). One workgroup does 4096 parameters.
 */
export function applySumShader(): string {
	return /* wgsl */ `${PHILOX}${JOB}${EXACT}
@group(0) @binding(1) var<storage, read> initial: array<u32>;
@group(0) @binding(2) var<storage, read> sums: array<vec2<u32>>;
@group(0) @binding(3) var<storage, read_write> result: array<u32>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
	for (var i = thread; i < 4096u; i += 256u) {
		let to = (at.x + at.y * size.x) * 4096u + i;
		if (to < job.count) { result[to] = applied(initial[to], sums[to]); }
	}
}
`;
}

/**
 * A WGSL compute shader that rebuilds `noise/2` weights from a ledger, exactly:
 * result[i] = float32(float64(initial[i]) − unit · Σ_k ledger[k] · z_k[from + i]). Bindings of group 0: 0 uniform, the words
 * of `rebuildJob`; 1 storage, read, `initial` (float32); 2 storage, read, the key of each group's node (4 words); 3 storage,
 * read, 4096 ledger entries (int32) for each group; 4 storage, read and write, `result` (float32).
 *
 * One workgroup does a block of 4096 parameters in 16 KiB of workgroup memory, the least that every WebGPU device has: for each
 * group it scatters the coefficients to π(r) and does one fast Walsh–Hadamard transform of their lower 16 bits and one of
 * the upper ones, so that no sum leaves 32 bits.
 */
export function rebuildShader(): string {
	return /* wgsl */ `${PHILOX}${JOB}${EXACT}
@group(0) @binding(1) var<storage, read> initial: array<u32>;
@group(0) @binding(2) var<storage, read> keys: array<vec4<u32>>;
@group(0) @binding(3) var<storage, read> ledger: array<i32>;
@group(0) @binding(4) var<storage, read_write> result: array<u32>;
var<workgroup> values: array<i32, 4096>;

// sum ± value · 2^(16 · half), of 64 bits.
fn with_part(sum: vec2<u32>, value: i32, minus: bool, half: u32) -> vec2<u32> {
	let part = select(value, -value, minus);
	let low = bitcast<u32>(part) << (16u * half);
	let high = bitcast<u32>(select(part >> 31u, part >> 16u, half == 1u));
	let total = sum.x + low;
	return vec2<u32>(total, sum.y + high + select(0u, 1u, total < low));
}

// Walsh–Hadamard transform of the 16 values at first + step · (0 … 15).
fn transform(first: u32, step: u32) {
${butterflies()}
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) at: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
	let index = at.x + at.y * size.x;
	let block = advance(job.block, index);
	// A thread's 16 members and, in the end, its 16 parameters are thread + 256 · (0 … 15).
${sixteen((e) => `	var sum${e} = vec2<u32>();`)}
	for (var group = 0u; group < job.groups; group++) {
		if (thread < 66u) {
			let words = bitcast<vec4<i32>>(stream_block(block, 7u, thread, keys[group]));
			for (var i = 0u; i < 4u; i++) { values[4u * thread + i] = words[i]; }
		}
		workgroupBarrier();
		var signs = 0u;
		var turns = 0u;
		for (var e = 0u; e < 16u; e++) {
			let word = 8u * e + (thread >> 5u);
			signs |= ((bitcast<u32>(values[word]) >> (thread & 31u)) & 1u) << e;
			turns |= ((bitcast<u32>(values[128u + word]) >> (thread & 31u)) & 1u) << e;
		}
		let qa = bitcast<vec4<u32>>(vec4<i32>(values[256], values[257], values[258], values[259]));
		let qb = bitcast<vec4<u32>>(vec4<i32>(values[260], values[261], 0, 0));
		for (var half = 0u; half < 2u; half++) {
			workgroupBarrier();
			for (var e = 0u; e < 16u; e++) {
				let member = thread + 256u * e;
				let entry = ledger[4096u * group + member];
				let part = select(entry & 0xffff, entry >> 16u, half == 1u);
				values[row_of(member, qa, qb)] = select(-part, part, ((turns >> e) & 1u) == 1u);
			}
			workgroupBarrier();
			transform(16u * thread, 1u);
			workgroupBarrier();
			transform((thread >> 4u) * 256u + (thread & 15u), 16u);
			workgroupBarrier();
			transform(thread, 256u);
			// The last transform wrote only what this thread reads here.
${sixteen((e) => `			sum${e} = with_part(sum${e}, values[thread + ${256 * e}u], ((signs >> ${e}u) & 1u) == 1u, half);`)}
		}
		workgroupBarrier();
	}
	// The rounding is long: a loop reads the sums from here, so that it is compiled once and not 16 times.
	for (var half = 0u; half < 2u; half++) {
		if (half == 0u) {
${parked(0)}
		} else {
${parked(8)}
		}
		for (var e = 0u; e < 8u; e++) {
			let position = index * 4096u + 2048u * half + 256u * e + thread;
			let sum = bitcast<vec2<u32>>(vec2<i32>(values[512u * e + thread], values[512u * e + 256u + thread]));
			if (position >= job.skip && position - job.skip < job.count) {
				let to = position - job.skip;
				result[to] = applied(initial[to], sum);
			}
		}
	}
}
`;
}

/** Lines for 0 … 15. Written out, because compilers put arrays with computed indices into memory, not into registers. */
function sixteen(line: (e: number) => string): string {
	return Array.from({ length: 16 }, (_, e) => line(e)).join("\n");
}

/** A thread's sums from `first` to `first + 7`, put into its own places of the workgroup's memory. */
function parked(first: number): string {
	return Array.from(
		{ length: 8 },
		(_, e) => `			values[thread + ${512 * e}u] = bitcast<i32>(sum${first + e}.x);
			values[thread + ${512 * e + 256}u] = bitcast<i32>(sum${first + e}.y);`,
	).join("\n");
}

function butterflies(): string {
	const lines = [sixteen((e) => `	let v0_${e} = values[first + ${e}u * step];`)];
	for (let stage = 0; stage < 4; stage++) {
		const width = 1 << stage;
		lines.push(
			sixteen((e) => `	let v${stage + 1}_${e} = v${stage}_${e & ~width} ${(e & width) === 0 ? "+" : "-"} v${stage}_${e | width};`),
		);
	}
	lines.push(sixteen((e) => `	values[first + ${e}u * step] = v4_${e};`));
	return lines.join("\n");
}

/**
 * The uniform of `perturbShader`, 64 bytes as words.
 * @param key 4 words: of z_k's own node for `noise/1`, of the group's for `noise/2`
 * @param from the parameter of weights[0]
 * @param member r = k mod 4096; for `noise/1` 0
 * @throws SHAPE_MISMATCH for `key`, NOT_FINITE for `scale`, INVALID_ARGUMENT for the rest
 */
export function perturbJob(key: Uint32Array, from: number, count: number, scale: number, member = 0): Uint32Array {
	if (key.length !== 4) throw new RondoError("SHAPE_MISMATCH", `key has ${key.length} words, expected 4`);
	if (!Number.isFinite(scale)) throw new RondoError("NOT_FINITE", `scale must be finite, got ${scale}`);
	if (!(Number.isInteger(member) && member >= 0 && member < 4096))
		throw new RondoError("INVALID_ARGUMENT", `member must be an integer from 0 to 4095, got ${member}`);
	const job = rangeJob(from, count);
	job.set(key);
	job[8] = new Uint32Array(Float32Array.of(scale).buffer)[0]!;
	job[9] = member;
	return job;
}

/**
 * The uniform of `rebuildShader` and `applySumShader`, 64 bytes as words.
 * @param groups how many groups the buffers of keys and of the ledger hold, at most 1024
 * @throws INVALID_ARGUMENT for a range that is not below 2^53 or longer than 2^31 − 4096, a unit outside 2^-900 … 2^900, or `groups`
 */
export function rebuildJob(from: number, count: number, unit: number, groups: number): Uint32Array {
	if (!(unit >= 2 ** -900 && unit <= 2 ** 900))
		throw new RondoError("INVALID_ARGUMENT", `unit must be a number from 2^-900 to 2^900, got ${unit}`);
	if (!(Number.isInteger(groups) && groups >= 0 && groups <= 1024))
		throw new RondoError("INVALID_ARGUMENT", `groups must be an integer from 0 to 1024, got ${groups}`);
	const job = rangeJob(from, count);
	const bits = new DataView(new ArrayBuffer(8));
	bits.setFloat64(0, unit);
	job[10] = bits.getUint32(4);
	job[11] = (bits.getUint32(0) & 0xfffff) | 0x100000;
	job[12] = ((bits.getUint32(0) >>> 20) & 2047) - 1075;
	job[13] = groups;
	return job;
}

/**
 * The dispatch of a shader for `count` parameters from `from` on.
 * @throws INVALID_ARGUMENT for a range that is not below 2^53 or longer than 2^31 − 4096
 */
export function shaderWorkgroups(from: number, count: number): [x: number, y: number] {
	checkRange(from, count);
	const blocks = Math.ceil(((from % BLOCK) + count) / BLOCK);
	const y = Math.ceil(blocks / MAX_WORKGROUPS);
	return [y === 0 ? 0 : Math.ceil(blocks / y), y];
}

/** A job with words 4 to 7, the range, filled in. */
function rangeJob(from: number, count: number): Uint32Array<ArrayBuffer> {
	checkRange(from, count);
	const job = new Uint32Array(16);
	const block = Math.floor(from / BLOCK);
	job[4] = block % 2 ** 32;
	job[5] = Math.floor(block / 2 ** 32);
	job[6] = from % BLOCK;
	job[7] = count;
	return job;
}

function checkKind(kind: NoiseKind): NoiseKind {
	if (kind !== "noise/1" && kind !== "noise/2") throw new RondoError("INVALID_ARGUMENT", `kind must be noise/1 or noise/2, got ${kind}`);
	return kind;
}

function checkRange(from: number, count: number): void {
	if (!(Number.isInteger(count) && count >= 0 && count <= MAX_PARAMETERS - BLOCK))
		throw new RondoError("INVALID_ARGUMENT", `count must be an integer from 0 to 2^31 − 4096, got ${count}`);
	if (!(Number.isSafeInteger(from) && from >= 0 && from <= 2 ** 53 - count))
		throw new RondoError("INVALID_ARGUMENT", `from must be an integer of which ${count} parameters remain below 2^53, got ${from}`);
}
