// Every measured kernel: how it is set up, what one pass of it does, and what it is compared with.
import {
	addLedger,
	addRanks,
	allocateVector,
	argsort,
	checkPermutation,
	dot,
	foldInto,
	gram,
	gridOf,
	median,
	norm,
	perturb,
	perturbations,
	project,
	randomFromSeed,
	rankSums,
	rebuild,
	releaseVector,
	trimmedMean,
} from "@rondo/kernels";
import { checksumOf, fillNormal, fillUniform, ledgerOf, SCALE, SEED, UNIT } from "./data.mjs";

const FLOAT = 4;
const DOUBLE = 8;
const family = (kind) => perturbations(randomFromSeed(SEED), kind);

/** Vectors inside the kernels' memory, given back together. */
class Vectors {
	#taken = [];

	take(type, n) {
		const vector = allocateVector(type, n);
		this.#taken.push(vector);
		return vector;
	}

	uniform(n, vector = 0) {
		return fillUniform(this.take(Float32Array, n), vector);
	}

	release() {
		for (const vector of this.#taken) releaseVector(vector);
	}
}

/**
 * @typedef {object} Row
 * @property {string} name
 * @property {string} [kind] noise/1, noise/2 or what else tells rows of one name apart
 * @property {number} size elements of a vector
 * @property {number} [K] candidates, or vectors
 * @property {number} work what the rate counts: parameters, or seeds times parameters
 * @property {number} bytes memory traffic that one pass cannot avoid
 * @property {boolean} [oneThread] a kernel that never uses more
 * @property {object[]} [against] C benchmarks; the fastest is the denominator
 * @property {object} [exact] the C benchmark that computes the same bytes, when that is not one of `against`
 * @property {{ text: string, met: (result: object) => boolean }} [target]
 * @property {(vectors: Vectors) => { pass: () => void, result?: () => ArrayBufferView }} setUp `result` is checked after the first pass
 */

function perturbRow({ name, kind, size, K, against, target, heap = false }) {
	return {
		name,
		kind: heap ? `${kind}, own array` : kind,
		size,
		K,
		work: size * K,
		bytes: 2 * FLOAT * size * K,
		against,
		target,
		setUp(vectors) {
			const w = heap ? fillUniform(new Float32Array(size)) : vectors.uniform(size);
			const z = family(kind);
			const pass = () => {
				for (let k = 0; k < K; k++) perturb(w, SCALE, z, k, w);
			};
			return { pass, result: () => w };
		},
	};
}

function rebuildRow({ kind, size, K, against, exact, target }) {
	return {
		name: "rebuild",
		kind,
		size,
		K,
		work: size * K,
		bytes: 2 * FLOAT * size,
		against,
		exact,
		target,
		setUp(vectors) {
			const initial = vectors.uniform(size);
			const out = vectors.take(Float32Array, size);
			const [ledger, z] = [ledgerOf(K), family(kind)];
			return { pass: () => rebuild(initial, ledger, UNIT, z, out), result: () => out };
		},
	};
}

/** A ledger of which `changed` entries differ from those that the sum was made of. */
function incrementalRow({ kind, size, K, changed }) {
	return {
		name: "add changes",
		kind: `${kind}, ${changed} of K`,
		size,
		K,
		work: size * changed,
		bytes: 2 * DOUBLE * size,
		setUp(vectors) {
			const sum = vectors.take(Float64Array, size);
			const z = family(kind);
			const [had, ledger] = [ledgerOf(K), ledgerOf(K)];
			for (let i = 0; i < changed; i++) ledger[Math.floor((i * K) / changed)] += 1;
			addLedger(sum, had, z);
			let forth = false;
			const pass = () => {
				forth = !forth;
				addLedger(sum, forth ? ledger : had, z, 0, forth ? had : ledger);
			};
			return { pass };
		},
	};
}

function projectRow({ kind, size, K }) {
	return {
		name: "project",
		kind,
		size,
		K,
		work: size * K,
		bytes: FLOAT * size,
		setUp(vectors) {
			const values = vectors.uniform(size);
			const [out, z] = [new Float64Array(K), family(kind)];
			return { pass: () => project(values, 2 ** -24, z, out) };
		},
	};
}

function foldRow(size, vectorsInMemory) {
	const K = vectorsInMemory;
	return {
		name: "grid sum",
		kind: "float32 into float64",
		size,
		K,
		work: size * K,
		bytes: (FLOAT + 2 * DOUBLE) * size * K,
		against: [{ bench: "fold", n: size, K }],
		bandwidth: true,
		target: { text: ">= 0.8 of triad", met: ({ ofTriad }) => ofTriad >= 0.8 },
		setUp(vectors) {
			const sum = vectors.take(Float64Array, size).fill(0);
			const values = Array.from({ length: K }, (_, v) => vectors.uniform(size, v));
			const grid = gridOf(1, 20);
			const pass = () => {
				for (const [v, x] of values.entries()) foldInto(sum, x, (v + 1) / 32, grid);
			};
			return { pass, result: () => sum };
		},
	};
}

function sortRow(size) {
	return {
		name: "argsort",
		kind: "float32",
		size,
		work: size,
		bytes: 0,
		oneThread: true,
		against: [{ bench: "argsort", n: size }],
		target: { text: "<= 1.2 x time of C", met: ({ ratio }) => ratio >= 1 / 1.2 },
		setUp() {
			const values = fillNormal(new Float32Array(size));
			let order;
			const pass = () => {
				order = argsort(values);
			};
			return { pass, result: () => order };
		},
	};
}

function voteRow(size, clients) {
	return {
		name: "rank vote",
		kind: "check and add",
		size,
		K: clients,
		work: size * clients,
		bytes: 0,
		oneThread: true,
		setUp() {
			const orders = Array.from({ length: clients }, (_, client) => argsort(fillUniform(new Float32Array(size), client)));
			const sum = rankSums(size, clients);
			const pass = () => {
				sum.fill(0);
				for (const order of orders) {
					if (checkPermutation(order, size) !== -1) throw new Error("an order that argsort made is no permutation");
					addRanks(sum, order);
				}
			};
			return { pass };
		},
	};
}

/** A kernel of the vectors alone. */
function vectorRow(name, { size, K = 1, bytes, make }) {
	return {
		name,
		size,
		K,
		work: size * K,
		bytes,
		setUp(vectors) {
			const values = Array.from({ length: K }, (_, v) => vectors.uniform(size, v));
			return { pass: make(values) };
		},
	};
}

/** @returns {Row[]} */
export function rowsOf(quick) {
	const large = 10_000_000;
	const size = quick ? 1_000_000 : large;
	const K = 256;
	const fastC = (bench) => ({ text: `>= ${bench} x C`, met: ({ ratio }) => ratio >= bench });
	const axpy = { bench: "axpy", n: large, kind: "noise/1" };
	const cached = 65_536;
	const exact = { bench: "rebuild-exact", n: size, K, kind: "noise/1" };
	const structured = (n, members) => [{ bench: "structured", n, K: members, kind: "noise/2" }];
	return [
		perturbRow({ name: "axpy", kind: "noise/1", size: large, K: 1, against: [axpy], target: fastC(0.85) }),
		perturbRow({ name: "axpy", kind: "noise/1", size: large, K: 1, against: [axpy], heap: true }),
		perturbRow({ name: "axpy", kind: "noise/2", size: large, K: 1 }),
		perturbRow({
			name: "axpy cached",
			kind: "noise/1",
			size: cached,
			K: 256,
			against: [{ bench: "axpy-cached", n: cached, K: 256, kind: "noise/1" }],
		}),
		rebuildRow({
			kind: "noise/1",
			size,
			K,
			against: ["whole", "blocks"].map((order) => ({ ...exact, bench: `rebuild-${order}` })),
			exact,
			target: fastC(1),
		}),
		...[256, 4096, 65_536].map((members) =>
			rebuildRow({ kind: "noise/2", size: 1_000_000, K: members, against: structured(1_000_000, members) }),
		),
		rebuildRow({
			kind: "noise/2",
			size: large,
			K: 4096,
			against: structured(large, 4096),
			target: { text: "<= 0.1 s on 2 threads", met: ({ seconds }) => seconds <= 0.1, threads: 2 },
		}),
		...["noise/1", "noise/2"].map((kind) => incrementalRow({ kind, size: 1_000_000, K: 4096, changed: 200 })),
		projectRow({ kind: "noise/1", size: 1_000_000, K: 256 }),
		projectRow({ kind: "noise/2", size: 1_000_000, K: 4096 }),
		foldRow(large, quick ? 4 : 20),
		sortRow(1_000_000),
		voteRow(1_000_000, quick ? 5 : 25),
		vectorRow("dot", {
			size,
			K: 2,
			bytes: 2 * FLOAT * size,
			make:
				([a, b]) =>
				() =>
					dot(a, b),
		}),
		vectorRow("norm", {
			size,
			bytes: FLOAT * size,
			make:
				([a]) =>
				() =>
					norm(a),
		}),
		vectorRow("gram", { size: 1_000_000, K: 20, bytes: 20 * FLOAT * 1_000_000, make: (values) => () => gram(values) }),
		vectorRow("median", { size: 1_000_000, K: 25, bytes: 27 * FLOAT * 1_000_000, make: (values) => () => median(values) }),
		vectorRow("trimmed mean", { size: 1_000_000, K: 25, bytes: 27 * FLOAT * 1_000_000, make: (values) => () => trimmedMean(values, 5) }),
	];
}

export { checksumOf, Vectors };
