import { spawnSync } from "node:child_process";
import { afterEach, describe, expect, it, vi } from "vitest";

// Each test has a runtime of its own, as a fresh thread would.
async function freshKernels() {
	vi.resetModules();
	return {
		...(await import("./runtime.js")),
		...(await import("../perturbations.js")),
		...(await import("../random.js")),
		...(await import("../signs.js")),
		...(await import("../grid-sum.js")),
	};
}
type Kernels = Awaited<ReturnType<typeof freshKernels>>;

const LENGTH = 700_001;

/** Bytes that depend on perturbing, rebuilding, projecting and folding. */
function fingerprint({
	perturbations,
	randomFromSeed,
	perturb,
	rebuild,
	project,
	foldInto,
	allocateVector,
	releaseVector,
}: Kernels): string {
	const sums = allocateVector(Float64Array, 70_001);
	const parts = (["noise/1", "noise/2"] as const).map((kind) => {
		const z = perturbations(randomFromSeed("runtime"), kind);
		const weights = Float32Array.from({ length: LENGTH }, (_, j) => (j % 1000) / 1000);
		perturb(weights, 0.25, z, 3, weights, 5);
		rebuild(weights, Int32Array.of(1, -2, 3, 0, 5), 2 ** -8, z, weights, 5);
		const gamma = new Float64Array(9);
		project(weights, 2 ** -19, z, gamma, 5);
		foldInto(sums, weights.subarray(0, sums.length), 0.5, 2 ** 30);
		return [...gamma, weights.reduce((sum, weight, j) => sum + weight * (j % 97), 0)].join();
	});
	const total = sums.reduce((sum, value) => sum + value, 0);
	releaseVector(sums);
	return [...parts, total].join();
}

afterEach(() => {
	vi.unstubAllGlobals();
});

describe("the runtime", () => {
	it("starts helpers with the first large job, gives the same bytes with any number, and stops them", async () => {
		const kernels = await freshKernels();
		const { configureKernels, kernelState, stopKernels } = kernels;
		expect(kernelState()).toMatchObject({ threads: 1, wasm: true, shared: true, helpers: 0 });
		const one = fingerprint(kernels);
		expect(kernelState().helpers).toBe(0);
		for (const threads of [2, 3, 7]) {
			await configureKernels({ threads });
			expect(kernelState().helpers).toBe(0);
			expect(fingerprint(kernels)).toBe(one);
			expect(kernelState().helpers).toBe(threads - 1);
			// Helpers that had the time to start take part.
			for (let i = 0; i < 5; i++) expect(fingerprint(kernels)).toBe(one);
		}
		await stopKernels();
		await stopKernels();
		expect(kernelState().helpers).toBe(0);
		expect(fingerprint(kernels)).toBe(one);
		await stopKernels();
	});

	it("does without shared memory, without SIMD, without memory and without WebAssembly", async () => {
		const normal = await freshKernels();
		const wanted = fingerprint(normal);

		vi.stubGlobal("SharedArrayBuffer", undefined);
		const alone = await freshKernels();
		await alone.configureKernels({ threads: 4 });
		expect(fingerprint(alone)).toBe(wanted);
		expect(fingerprint(alone)).toBe(wanted);
		expect(alone.kernelState()).toMatchObject({ threads: 4, wasm: true, shared: false, helpers: 0 });
		expect(alone.allocateVector(Float32Array, 3).buffer).toBeInstanceOf(ArrayBuffer);
		vi.unstubAllGlobals();

		vi.stubGlobal("WebAssembly", Object.assign(Object.create(WebAssembly), { validate: () => false }));
		const plain = await freshKernels();
		expect(fingerprint(plain)).toBe(wanted);
		expect(plain.kernelState()).toMatchObject({ threads: 1, wasm: false, shared: false, helpers: 0 });
		vi.unstubAllGlobals();

		const refuse = function refuse() {
			throw new RangeError("could not allocate memory");
		};
		vi.stubGlobal("WebAssembly", Object.assign(Object.create(WebAssembly), { Memory: refuse }));
		const starved = await freshKernels();
		expect(fingerprint(starved)).toBe(wanted);
		expect(starved.kernelState().wasm).toBe(false);
		vi.unstubAllGlobals();

		vi.stubGlobal("WebAssembly", undefined);
		const none = await freshKernels();
		expect(fingerprint(none)).toBe(wanted);
		expect(none.kernelState().wasm).toBe(false);
	}, 120_000);

	it("refuses a number of threads that makes no sense, and says which", async () => {
		const { configureKernels } = await freshKernels();
		for (const threads of [0, -1, 1.5, 65, Number.NaN])
			await expect(configureKernels({ threads })).rejects.toThrow(`threads must be an integer from 1 to 64, got ${threads}`);
	});

	it("keeps no process alive", () => {
		const script = `
			import { allocateVector, configureKernels, kernelState, perturb, perturbations, randomFromSeed } from "./dist/index.js";
			await configureKernels({ threads: 3 });
			const w = allocateVector(Float32Array, 5_000_000);
			perturb(w, 1, perturbations(randomFromSeed(""), "noise/1"), 0, w);
			if (kernelState().helpers !== 2) throw new Error("no helpers");
		`;
		const cwd = new URL("../..", import.meta.url);
		const { status, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], {
			cwd,
			encoding: "utf8",
			timeout: 50_000,
		});
		expect(stderr).toBe("");
		expect(status).toBe(0);
	});
});

describe("kernel memory", () => {
	it("gives zeros, takes vectors back and gives them out again", async () => {
		const { allocateVector, releaseVector } = await freshKernels();
		const first = allocateVector(Float32Array, 1000);
		const second = allocateVector(Int32Array, 33);
		const third = allocateVector(Float64Array, 10);
		for (const vector of [first, second, third]) {
			expect(vector.byteOffset % 64).toBe(0);
			expect(vector.every((value) => value === 0)).toBe(true);
			vector.fill(7);
		}
		releaseVector(second);
		releaseVector(first);
		const again = allocateVector(Float32Array, 1010);
		expect(again.byteOffset).toBe(first.byteOffset);
		expect(again.every((value) => value === 0)).toBe(true);
		expect(third.every((value) => value === 7)).toBe(true);
		// Not of kernel memory: nothing happens.
		releaseVector(new Float32Array(3));
	});

	it("grows under vectors that are in use", async () => {
		const kernels = await freshKernels();
		const { allocateVector, foldInto, kernelState } = kernels;
		expect(kernelState().shared).toBe(true);
		const early = allocateVector(Float64Array, 100_000).fill(1);
		const late = allocateVector(Float32Array, 5_000_000).fill(2);
		expect(early.buffer.byteLength).toBeLessThan(late.buffer.byteLength);
		foldInto(early, late.subarray(0, early.length), 1, 1);
		expect(early.every((value) => value === 3)).toBe(true);
	});

	it("falls back to ordinary arrays when it is full", async () => {
		const { KernelMemory } = await import("./memory.js");
		const memory = new KernelMemory(new WebAssembly.Memory({ initial: 1, maximum: 1100, shared: true }), 1000);
		const at = memory.tryAllocate(4 * 2 ** 20);
		expect(at).toBeDefined();
		expect(memory.tryAllocate(8 * 2 ** 20)).toBeUndefined();
		expect(() => memory.allocate(100 * 2 ** 20)).toThrow("kernel memory cannot grow");
		// What is kept back for the kernels themselves is still there.
		expect(memory.allocate(60 * 2 ** 20)).toBeGreaterThan(at!);
	});

	it("refuses lengths that are none", async () => {
		const { allocateVector } = await freshKernels();
		for (const length of [-1, 0.5, Number.NaN]) expect(() => allocateVector(Float32Array, length)).toThrow(`got ${length}`);
	});
});
