import { readFileSync } from "node:fs";
import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fromHex } from "../hash.js";
import type { NoiseKind } from "../perturbations.js";
import { type Random, randomFrom, streamKeyOf } from "../random.js";
import { applySumShader, perturbJob, perturbShader, rebuildJob, rebuildShader, shaderWorkgroups } from "./shaders.js";

interface Ledger {
	kind: NoiseKind;
	entries: [k: number, entry: number][];
	from: number;
	sums: number[];
}
interface Signs {
	kind: NoiseKind;
	k: number;
	from: number;
	values: string;
}
const golden = JSON.parse(readFileSync(new URL("../shared-randomness.golden.json", import.meta.url), "utf8")) as {
	cases: { key: string; signs: Signs[]; ledgers: Ledger[] }[];
};

const groupKey = (family: Random, group: number): Uint32Array => streamKeyOf(family.at("noise/2", group));
const streamKey = (family: Random, kind: NoiseKind, k: number): Uint32Array =>
	kind === "noise/1" ? streamKeyOf(family.at(k)) : groupKey(family, Math.floor(k / 4096));

const device = await webgpuDevice(async () => {
	const dawn = await import("webgpu");
	Object.assign(globalThis, dawn.globals);
	const gpu = dawn.create([]);
	// Dawn's bindings crash once the root object is collected while its devices work.
	Object.assign(globalThis, { gpuOfShaderTests: gpu });
	return (await gpu.requestAdapter())?.requestDevice();
});

/** Runs a shader; the last buffer is the result. */
async function run(
	code: string,
	job: Uint32Array,
	inputs: readonly (Float32Array | Int32Array | Uint32Array)[],
	resultWords: number,
	workgroups: readonly [number, number],
): Promise<ArrayBuffer> {
	if (device === undefined) throw new Error("no WebGPU device");
	device.pushErrorScope("validation");
	const pipeline =
		pipelines.get(code) ?? device.createComputePipeline({ layout: "auto", compute: { module: device.createShaderModule({ code }) } });
	pipelines.set(code, pipeline);
	const buffers = [job, ...inputs].map((data, i) => {
		const buffer = device.createBuffer({
			size: Math.max(16, data.byteLength),
			usage: (i === 0 ? GPUBufferUsage.UNIFORM : GPUBufferUsage.STORAGE) | GPUBufferUsage.COPY_DST,
		});
		device.queue.writeBuffer(buffer, 0, data.buffer as ArrayBuffer, data.byteOffset, data.byteLength);
		return buffer;
	});
	const result = device.createBuffer({ size: 4 * resultWords, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
	const read = device.createBuffer({ size: 4 * resultWords, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
	const entries = [...buffers, result].map((buffer, binding) => ({ binding, resource: { buffer } }));
	const encoder = device.createCommandEncoder();
	const pass = encoder.beginComputePass();
	pass.setPipeline(pipeline);
	pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
	pass.dispatchWorkgroups(...workgroups);
	pass.end();
	encoder.copyBufferToBuffer(result, 0, read, 0, 4 * resultWords);
	device.queue.submit([encoder.finish()]);
	const error = await device.popErrorScope();
	if (error !== null) throw new Error(error.message);
	await read.mapAsync(GPUMapMode.READ);
	const copy = read.getMappedRange().slice(0);
	read.unmap();
	for (const buffer of [...buffers, result, read]) buffer.destroy();
	return copy;
}
const pipelines = new Map<string, GPUComputePipeline>();

const signsOf = (values: ArrayLike<number>): string => Array.from(values, (z) => (z === 1 ? "+" : z === -1 ? "-" : "?")).join("");

describe.skipIf(device === undefined)("shaders on a WebGPU device", () => {
	it("make the published signs", async () => {
		for (const { key, signs } of golden.cases)
			for (const { kind, k, from, values } of signs) {
				const job = perturbJob(streamKey(randomFrom(fromHex(key)), kind, k), from, 64, 1, kind === "noise/1" ? 0 : k % 4096);
				const result = await run(perturbShader(kind), job, [new Float32Array(64)], 64, shaderWorkgroups(from, 64));
				expect({ kind, k, from, signs: signsOf(new Float32Array(result)) }).toEqual({ kind, k, from, signs: values });
			}
	});

	it("add scale · z", async () => {
		const weights = Float32Array.from({ length: 9001 }, (_, i) => Math.fround(Math.sqrt(i) - 40));
		const key = groupKey(randomFrom(new Uint8Array(32)), 0);
		for (const kind of ["noise/1", "noise/2"] as const) {
			const at = (values: Float32Array, scale: number): Promise<ArrayBuffer> =>
				run(perturbShader(kind), perturbJob(key, 4000, 9001, scale, 0), [values], 9001, shaderWorkgroups(4000, 9001));
			const z = new Float32Array(await at(new Float32Array(9001), 1));
			expect(z.every((value) => Math.abs(value) === 1)).toBe(true);
			const expected = weights.map((w, i) => w + Math.fround(0.003) * z[i]!);
			expect(new Float32Array(await at(weights, 0.003))).toEqual(expected);
		}
	});

	it("apply sums like float64 does", async () => {
		const bits = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
		const sums = fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -70_000, max: 70_000 }), fc.bigInt(-(2n ** 40n), 2n ** 40n).map(Number));
		const exponents = fc.oneof(fc.constant(-30), fc.integer({ min: -200, max: 120 }));
		await fc.assert(
			fc.asyncProperty(
				fc.array(fc.tuple(bits, sums), { minLength: 1, maxLength: 5000, size: "max" }),
				exponents,
				fc.oneof(fc.constant(1), fc.double({ min: 1, max: 1.99, noNaN: true })),
				async (pairs, exponent, factor) => {
					const unit = factor * 2 ** exponent;
					const initial = new Float32Array(Int32Array.from(pairs, ([w]) => w).buffer).map((w) => (Number.isNaN(w) ? 1 : w));
					// Every third weight close to unit · S, so that most of it cancels.
					for (let i = 0; i < pairs.length; i += 3) initial[i] = unit * pairs[i]![1] * (1 + (i % 5) * 2 ** -24);
					const expected = initial.map((w, i) => w - unit * pairs[i]![1]);
					const int64 = new Uint32Array(BigInt64Array.from(pairs, ([, sum]) => BigInt(sum)).buffer);
					const job = rebuildJob(0, pairs.length, unit, 0);
					const result = await run(applySumShader(), job, [initial, int64], pairs.length, shaderWorkgroups(0, pairs.length));
					expect(Buffer.compare(Buffer.from(result), Buffer.from(expected.buffer))).toBe(0);
				},
			),
			{ numRuns: 40 },
		);
	});

	it("round ties of float64 to even, and see the last bit that breaks a tie", async () => {
		const cases: { w: number; sum: number; unit: number }[] = [];
		// 1 + 2^-24 + 2^-53: to float64 a tie, down to 1 + 2^-24; to float32 a tie again, down to 1. One bit more goes up, twice.
		for (const k of [0, 1, 11, 20])
			for (const rest of k === 0 ? [0] : [0, 1, -1])
				for (const sign of [1, -1]) cases.push({ w: sign, sum: -sign * (2 ** (29 + k) + 2 ** k + rest), unit: 2 ** (-53 - k) });
		// Products of 106 bits half a unit in the last place, plus less than 2^32, above a float64 that the weight nearly cancels.
		let sum = 2n ** 53n - 1n;
		for (; cases.length < 60; sum -= 2n) {
			let inverse = 1n;
			for (let i = 0; i < 6; i++) inverse = BigInt.asUintN(53, inverse * (2n - sum * inverse));
			const factor = BigInt.asUintN(53, (2n ** 52n + 1n) * inverse);
			const w = Math.fround(Number(sum * factor));
			if (factor < 2n ** 52n || Math.abs(w - Number(sum * factor)) > 2 ** (53 + 23)) continue;
			cases.push({ w, sum: Number(sum), unit: Number(factor) });
		}
		for (const { w, sum, unit } of cases) {
			const int64 = new Uint32Array(BigInt64Array.of(BigInt(sum)).buffer);
			const result = await run(applySumShader(), rebuildJob(0, 1, unit, 0), [Float32Array.of(w), int64], 1, [1, 1]);
			expect({ w, sum, unit, result: new Float32Array(result)[0] }).toEqual({ w, sum, unit, result: Math.fround(w - unit * sum) });
		}
	});

	it("rebuild weights from the published ledgers", async () => {
		let count = 0;
		for (const { key, ledgers } of golden.cases)
			for (const { kind, entries, from, sums } of ledgers) {
				if (kind !== "noise/2") continue;
				count++;
				const groups = [...new Set(entries.map(([k]) => Math.floor(k / 4096)))];
				const keys = Uint32Array.from(groups.flatMap((group) => [...groupKey(randomFrom(fromHex(key)), group)]));
				const ledger = new Int32Array(4096 * groups.length);
				for (const [k, entry] of entries) ledger[4096 * groups.indexOf(Math.floor(k / 4096)) + (k % 4096)]! += entry;
				const unit = [1, 2 ** -30, 1e-9][count % 3]!;
				const initial = Float32Array.from(sums, (_, i) => i / 7 - 3);
				const expected = initial.map((w, i) => w - unit * sums[i]!);
				const job = rebuildJob(from, 64, unit, groups.length);
				const inputs = [initial, keys.length > 0 ? keys : new Uint32Array(4), ledger.length > 0 ? ledger : new Int32Array(4)];
				const result = new Float32Array(await run(rebuildShader(), job, inputs, 64, shaderWorkgroups(from, 64)));
				expect({ from, unit, weights: result }).toEqual({ from, unit, weights: expected });
			}
		expect(count).toBeGreaterThan(5);
	});

	it("rebuild to within the int32 range of every entry", async () => {
		const keys = [0, 1, 2].map((group) => groupKey(randomFrom(new Uint8Array(32).fill(3)), group));
		const z = perturbShader("noise/2");
		const ledger = Int32Array.from({ length: 3 * 4096 }, (_, k) =>
			k % 3 === 0 ? -(2 ** 31) : k % 7 === 0 ? 2 ** 31 - 1 : Math.imul(k, 0x9e3779b9),
		);
		const kept = ledger.map((entry, k) => (k % 251 === 0 ? entry : 0));
		const sums = new Float64Array(5000);
		for (const [k, entry] of kept.entries()) {
			if (entry === 0) continue;
			const job = perturbJob(keys[k >> 12]!, 100, 5000, 1, k % 4096);
			const signs = new Float32Array(await run(z, job, [new Float32Array(5000)], 5000, shaderWorkgroups(100, 5000)));
			for (let j = 0; j < sums.length; j++) sums[j]! += entry * signs[j]!;
		}
		const flat = Uint32Array.from(keys.flatMap((key) => [...key]));
		const rebuild = async (entries: Int32Array): Promise<Float32Array> =>
			new Float32Array(
				await run(rebuildShader(), rebuildJob(100, 5000, 1, 3), [new Float32Array(5000), flat, entries], 5000, shaderWorkgroups(100, 5000)),
			);
		expect(await rebuild(kept)).toEqual(Float32Array.from(sums, (sum) => -sum));
	});
});

describe("jobs of shaders", () => {
	it("refuse what the shaders cannot do", () => {
		const key = new Uint32Array(4);
		expect(() => perturbJob(new Uint32Array(8), 0, 1, 1)).toThrow(/key has 8 words/);
		expect(() => perturbJob(key, -1, 1, 1)).toThrow(/from .* got -1/);
		expect(() => perturbJob(key, 2 ** 53 - 1, 2, 1)).toThrow(/below 2\^53/);
		expect(() => perturbJob(key, 0, 2 ** 31, 1)).toThrow(/count .* got 2147483648/);
		expect(() => perturbJob(key, 0, 1, Number.NaN)).toThrow(/scale/);
		expect(() => perturbJob(key, 0, 1, 1, 4096)).toThrow(/member .* 4096/);
		expect(() => rebuildJob(0, 1, 0, 1)).toThrow(/unit .* got 0/);
		expect(() => rebuildJob(0, 1, 1, 1025)).toThrow(/groups .* 1025/);
		expect(() => perturbShader("noise/3" as "noise/1")).toThrow(/kind .* noise\/3/);
	});

	it("dispatch enough workgroups within the limits of a dimension", () => {
		fc.assert(
			fc.property(fc.maxSafeInteger(), fc.integer({ min: 1, max: 2 ** 31 - 4096 }), (offset, count) => {
				const from = Math.max(0, Math.abs(offset) - count);
				const [x, y] = shaderWorkgroups(from, count);
				const blocks = Math.floor((from + count - 1) / 4096) - Math.floor(from / 4096) + 1;
				expect(x * y).toBeGreaterThanOrEqual(blocks);
				expect(x * y - blocks).toBeLessThan(y);
				expect(Math.max(x, y)).toBeLessThanOrEqual(65_535);
			}),
		);
	});
});
