import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NOISE_KINDS, type NoiseKind, type Perturbations, perturbations } from "./perturbations.js";
import { randomFromSeed } from "./random.js";
import { blockWords, rowPermutation } from "./reference/structured.js";
import { allocateVector, configureKernels, kernelState, releaseVector, stopKernels } from "./runtime/runtime.js";
import { addLedger, applySum, perturb, project, projectionUnit, rebuild } from "./signs.js";

const root = randomFromSeed("signs");
const families = Object.fromEntries(NOISE_KINDS.map((kind) => [kind, perturbations(root.at("z"), kind)])) as Record<
	NoiseKind,
	Perturbations
>;

/** z_k[j] by the definition of docs/shared-randomness.md, one parameter at a time. */
function sign(z: Perturbations, k: number, j: number): number {
	const bit = (words: Uint32Array, i: number) => (words[i >>> 5]! >>> (i & 31)) & 1;
	if (z.kind === "noise/1") return bit(z.random.at(k).words(Math.floor(j / 32), new Uint32Array(1)), j % 32) ? 1 : -1;
	const words = z.random.at("noise/2", Math.floor(k / 4096)).words(512 * Math.floor(j / 4096), new Uint32Array(262));
	const i = j % 4096;
	const r = k % 4096;
	let x = r;
	for (const q of words.subarray(256, 262)) {
		x = (x * (2 * (q % 2048) + 1) + Math.floor(q / 2048)) % 4096;
		x ^= Math.floor(x / 64);
	}
	let odd = bit(words, i) ^ bit(words.subarray(128), r);
	for (let common = x & i; common > 0; common >>= 1) odd ^= common & 1;
	return odd ? 1 : -1;
}

const lengths = fc.oneof(fc.nat(300), fc.constantFrom(2047, 2049, 4096, 8200, 32_768, 32_801));
const froms = fc.oneof(fc.nat(200), fc.constantFrom(4090, 32_768, 2 ** 32 - 3, 2 ** 37 + 5, 2 ** 45, 4096 * 2 ** 21 - 7));
const members = fc.oneof(fc.nat(40), fc.constantFrom(4095, 4096, 70_000, 2 ** 32 - 1));
const kinds = fc.constantFrom(...NOISE_KINDS);
const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
/** Lists of (index, entry); most entries of a ledger are 0. */
const ledgers = fc
	.tuple(
		fc.constantFrom(1, 9, 40, 300, 4096, 5000),
		fc.array(fc.tuple(fc.nat(10_000), fc.oneof(int32, fc.integer({ min: -9, max: 9 }))), { maxLength: 45 }),
	)
	.map(([size, entries]) => {
		const ledger = new Int32Array(size);
		for (const [index, entry] of entries) ledger[index % size] = entry;
		return ledger;
	});

/** Equal bytes; much faster than a structural comparison of long arrays. */
const sameBytes = (a: Float32Array | Float64Array, b: Float32Array | Float64Array): boolean =>
	Buffer.compare(new Uint8Array(a.buffer, a.byteOffset, a.byteLength), new Uint8Array(b.buffer, b.byteOffset, b.byteLength)) === 0;

function weightsOf(length: number): Float32Array {
	const words = root.at("w").words(0, new Uint32Array(length));
	return Float32Array.from(words, (word) => word / 2 ** 31 - 1);
}

/** Runs `body` on vectors in kernel memory, at an offset that is not aligned, and gives what is in `out` afterwards. */
function inPlace(vector: Float32Array, shift: number, body: (vector: Float32Array) => void): Float32Array {
	const room = allocateVector(Float32Array, vector.length + shift);
	try {
		const own = room.subarray(shift);
		own.set(vector);
		body(own);
		return own.slice();
	} finally {
		releaseVector(room);
	}
}

describe.each(NOISE_KINDS)("%s in TypeScript", (kind) => {
	const z = families[kind];
	beforeAll(() => configureKernels({ wasm: false }));
	afterAll(() => configureKernels({ wasm: true }));

	it("follows the definition", () => {
		fc.assert(
			fc.property(fc.nat(150), froms, members, (length, from, k) => {
				const out = new Float32Array(length);
				perturb(new Float32Array(length), 1, z, k, out, from);
				expect([...out]).toEqual(Array.from({ length }, (_, j) => sign(z, k, from + j)));
			}),
			{ numRuns: 40 },
		);
	});

	it("sums a ledger by the definition", () => {
		fc.assert(
			fc.property(fc.integer({ min: 1, max: 20 }), froms, ledgers, (length, from, ledger) => {
				const sum = Float64Array.from({ length }, (_, j) => j);
				addLedger(sum, ledger, z, from);
				const wanted = Array.from({ length }, (_, j) => j);
				ledger.forEach((entry, k) => {
					if (entry !== 0) for (let j = 0; j < length; j++) wanted[j]! += entry * sign(z, k, from + j);
				});
				expect([...sum]).toEqual(wanted);
			}),
			{ numRuns: 20 },
		);
	});

	it("projects by the definition", () => {
		const values = weightsOf(70);
		const unit = 2 ** -20;
		const out = new Float64Array(5);
		project(values, unit, z, out, 4050);
		out.forEach((gamma, k) => {
			let wanted = 0;
			values.forEach((value, j) => {
				// Rounds to the nearest integer, ties to even.
				wanted += (value / unit + 1.5 * 2 ** 52 - 1.5 * 2 ** 52) * sign(z, k, 4050 + j);
			});
			expect(gamma).toBe(wanted);
		});
	});
});

describe.each([1, 3])("WebAssembly on %i threads", (threads) => {
	beforeAll(() => configureKernels({ threads }));
	afterAll(() => stopKernels());

	/** What `body` writes in plain TypeScript and in WebAssembly. */
	async function bothWays<T>(body: () => T): Promise<{ reference: T; wasm: T }> {
		await configureKernels({ wasm: false });
		const reference = body();
		await configureKernels({ wasm: true });
		return { reference, wasm: body() };
	}

	it("is there", () => {
		expect(kernelState()).toMatchObject({ wasm: true, shared: true, threads });
	});

	it("perturbs to the same bytes", async () => {
		await fc.assert(
			fc.asyncProperty(
				kinds,
				lengths,
				froms,
				members,
				fc.double({ noNaN: true, min: -10, max: 10 }),
				async (kind, length, from, k, scale) => {
					const weights = weightsOf(length);
					const { reference, wasm } = await bothWays(() => {
						const out = new Float32Array(length);
						perturb(weights, scale, families[kind], k, out, from);
						return out;
					});
					expect(sameBytes(wasm, reference)).toBe(true);
					expect(
						sameBytes(
							inPlace(weights, k % 4, (own) => perturb(own, scale, families[kind], k, own, from)),
							reference,
						),
					).toBe(true);
				},
			),
			{ numRuns: 60 },
		);
	});

	it("perturbs long vectors to the same bytes", async () => {
		const length = 600_001;
		const weights = weightsOf(length);
		for (const kind of NOISE_KINDS) {
			const { reference, wasm } = await bothWays(() => {
				const out = new Float32Array(length);
				perturb(weights, 1e-3, families[kind], 7, out, 77);
				return out;
			});
			expect(sameBytes(wasm, reference)).toBe(true);
		}
	}, 20_000);

	it("rebuilds to the same bytes, from scratch, by changes, in shards", async () => {
		await fc.assert(
			fc.asyncProperty(kinds, lengths, froms, ledgers, ledgers, fc.nat(400), async (kind, length, from, ledger, other, cut) => {
				const z = families[kind];
				const initial = weightsOf(length);
				const { reference, wasm } = await bothWays(() => {
					const out = new Float32Array(length);
					rebuild(initial, ledger, 2 ** -33, z, out, from);
					return out;
				});
				expect(sameBytes(wasm, reference)).toBe(true);
				expect(
					sameBytes(
						inPlace(initial, cut % 4, (own) => rebuild(own, ledger, 2 ** -33, z, own, from)),
						reference,
					),
				).toBe(true);

				const had = Int32Array.from(ledger, (_, k) => other[k % other.length]!);
				const sum = new Float64Array(length);
				addLedger(sum, had, z, from);
				addLedger(sum, ledger, z, from, had);
				const changed = new Float32Array(length);
				applySum(initial, sum, 2 ** -33, changed);
				expect(sameBytes(changed, reference)).toBe(true);

				const shards = new Float32Array(length);
				const at = Math.min(cut, length);
				rebuild(initial.subarray(0, at), ledger, 2 ** -33, z, shards.subarray(0, at), from);
				rebuild(initial.subarray(at), ledger, 2 ** -33, z, shards.subarray(at), from + at);
				expect(sameBytes(shards, reference)).toBe(true);
			}),
			{ numRuns: 40 },
		);
	}, 60_000);

	it("sums extreme ledgers exactly", () => {
		for (const kind of NOISE_KINDS) {
			const z = families[kind];
			const ledger = Int32Array.from({ length: 8192 }, (_, k) => (k % 3 === 0 ? -(2 ** 31) : 2 ** 31 - 1));
			const sum = new Float64Array(10);
			addLedger(sum, ledger, z, 4093);
			const wanted = Array.from(sum, (_, j) =>
				Number(ledger.reduce((total, entry, k) => total + BigInt(entry) * BigInt(sign(z, k, 4093 + j)), 0n)),
			);
			expect([...sum]).toEqual(wanted);
			addLedger(
				sum,
				ledger.map(() => 2 ** 31 - 1),
				z,
				4093,
				ledger,
			);
			addLedger(
				sum,
				new Int32Array(8192),
				z,
				4093,
				ledger.map(() => 2 ** 31 - 1),
			);
			expect([...sum]).toEqual(new Array(10).fill(0));
		}
	});

	it("projects to the same numbers, in shards too", async () => {
		await fc.assert(
			fc.asyncProperty(
				kinds,
				lengths,
				froms,
				fc.constantFrom(1, 5, 33, 600, 4100),
				fc.constantFrom(1, 2 ** -12, 2 ** -23),
				fc.nat(500),
				async (kind, length, from, count, unit, cut) => {
					fc.pre(length * count < 4_000_000);
					const z = families[kind];
					const values = weightsOf(length);
					const { reference, wasm } = await bothWays(() => {
						const out = new Float64Array(count);
						project(values, unit, z, out, from);
						return out;
					});
					expect(sameBytes(wasm, reference)).toBe(true);
					const at = Math.min(cut, length);
					const shards = new Float64Array(count);
					project(values.subarray(at), unit, z, shards, from + at);
					project(values.subarray(0, at), unit, z, shards, from);
					expect(sameBytes(shards, reference)).toBe(true);
				},
			),
			{ numRuns: 40 },
		);
	}, 60_000);
});

describe("project", () => {
	it.each(NOISE_KINDS)("and rebuild give a vector back when %s spans its block", (kind) => {
		const values = weightsOf(4096);
		const unit = projectionUnit(1);
		const gamma = new Float64Array(4096);
		project(values, unit, families[kind], gamma, 4096);
		// Σ_k γ_k z_k = 4096·x for orthogonal members.
		const ledger = Int32Array.from(gamma, (value) => Math.round(value / 2 ** 12));
		const out = new Float32Array(4096);
		rebuild(new Float32Array(4096), ledger, unit, families[kind], out, 4096);
		let error = 0;
		let size = 0;
		values.forEach((value, j) => {
			error += (out[j]! + value) ** 2;
			size += value ** 2;
		});
		// Independent members leave a relative error of (d − 1)/K, here 1.
		if (kind === "noise/2") expect(error / size).toBeLessThan(1e-8);
		else expect(error / size).toBeGreaterThan(0.8);
	});

	it("refuses what would not be exact", () => {
		const z = families["noise/2"];
		const out = new Float64Array(3);
		expect(() => project(Float32Array.of(0, 2), 2 ** -23, z, out)).toThrow("values[1] must be within ±1, got 2");
		expect(() => project(Float32Array.of(0, 1, Number.NaN), 1, z, out)).toThrow("values[2] must be finite, got NaN");
		expect(() => project(Float32Array.of(Number.POSITIVE_INFINITY), 1, z, out)).toThrow("values[0] must be finite");
		expect(() => project(Float32Array.of(1), 0.3, z, out)).toThrow("unit must be a power of two, got 0.3");
		expect(() => projectionUnit(0)).toThrow("absMax");
		expect([...out]).toEqual([0, 0, 0]);
	});
});

describe("bad arguments", () => {
	const z = families["noise/1"];
	const w = new Float32Array(4);
	it.each<[string, () => void, string]>([
		["length of out", () => perturb(w, 1, z, 0, new Float32Array(3)), "out has 3 elements, expected 4"],
		["scale", () => perturb(w, Number.NaN, z, 0, w), "scale must be finite in float32, got NaN"],
		["scale beyond float32", () => perturb(w, 1e39, z, 0, w), "scale must be finite in float32, got 1e+39"],
		["k", () => perturb(w, 1, z, -1, w), "k must be an integer from 0 to 2^32 - 1, got -1"],
		["from", () => perturb(w, 1, z, 0, w, 2 ** 53 - 2), "from must be an integer"],
		["unit", () => rebuild(w, new Int32Array(1), 0, z, w), "unit must be a positive finite number, got 0"],
		["had", () => addLedger(new Float64Array(1), new Int32Array(2), z, 0, new Int32Array(3)), "had has 3 elements, expected 2"],
		["ledger", () => addLedger(new Float64Array(1), new Int32Array(2 ** 20 + 1), z), "ledger has 1048577 entries"],
		["kind", () => perturbations(root, "noise/3" as NoiseKind), "kind must be one of noise/1, noise/2, got noise/3"],
		["family", () => perturb(w, 1, { kind: "noise/1", random: root }, 0, w), "z must be a family made by perturbations"],
	])("names %s", (_name, call, message) => {
		expect(call).toThrow(message);
	});
});

describe("rowPermutation", () => {
	it("is a permutation for any words", () => {
		fc.assert(
			fc.property(fc.array(fc.nat(2 ** 32 - 1), { minLength: 6, maxLength: 6 }), (q) => {
				expect(new Set(rowPermutation(q)).size).toBe(4096);
			}),
			{ numRuns: 30 },
		);
		const words = blockWords(Uint32Array.of(1, 2, 3, 4), 5);
		expect(words.length).toBe(262);
	});
});
