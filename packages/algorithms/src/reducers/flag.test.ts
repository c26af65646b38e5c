import { describe, expect, it } from "vitest";
import { distance, gaussians, meanOfRows, reduced, scoresOf } from "../../test/stack.js";
import { flag } from "./flag.js";
import { median } from "./median.js";

const WORKERS = 15;
const ATTACKERS = 3;
const LENGTH = 2000;
const truth = gaussians("truth", LENGTH);

const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a, (x, j) => x * b[j]!).reduce((sum, x) => sum + x, 0);
const norm = (a: ArrayLike<number>): number => Math.sqrt(dot(a, a));
const cosine = (a: ArrayLike<number>, b: ArrayLike<number>): number => dot(a, b) / norm(a) / norm(b);

/** A common direction and noise of 1.5; the first three are replaced by the attack. */
function workers(attack?: (honest: Float64Array, i: number) => Float64Array): Float64Array[] {
	return Array.from({ length: WORKERS }, (_, i) => {
		const own = gaussians(`worker ${i}`, LENGTH);
		const honest = truth.map((x, j) => x + 1.5 * own[j]!);
		return attack !== undefined && i < ATTACKERS ? attack(honest, i) : honest;
	});
}

const flipped = workers((honest) => honest.map((x) => -10 * x));
const random = workers((_, i) => gaussians(`attack ${i}`, LENGTH).map((x) => 100 * x));

/**
 * The iteration on the vectors themselves: columns are made one by one, and the leading left singular vectors come
 * from orthogonal iteration on the d × columns matrix.
 */
function dense(rows: readonly ArrayLike<number>[], m: number, lambda: number) {
	const p = rows.length;
	const vectors = rows.map((row) => Array.from(Float32Array.from(row)));
	const norms = vectors.map(norm);
	const units = vectors.map((vector, i) => vector.map((x) => x / norms[i]!));
	const inside = (basis: readonly number[][], u: readonly number[]) => basis.reduce((sum, b) => sum + dot(b, u) ** 2, 0);
	const weigh = (value: number) => (Math.abs(1 - value) + 1e-7) ** -0.25;
	const objective = (basis: readonly number[][]) => units.reduce((sum, u) => sum + Math.sqrt(Math.abs(1 - inside(basis, u))), 0);
	let basis = leading(units, m);
	for (let step = 0; step < 5; step++) {
		const columns = units.map((u) => u.map((x) => weigh(inside(basis, u)) * x));
		for (let i = 0; i < p && lambda > 0; i++) {
			for (let j = 0; j < p; j++) {
				if (i === j) continue;
				const apart = units[i]!.map((x, k) => x - units[j]![k]!);
				columns.push(apart.map((x) => (lambda / (p * (p - 1))) * weigh(inside(basis, apart)) * x));
			}
		}
		const next = leading(columns, m);
		if (!(objective(next) < objective(basis))) break;
		basis = next;
	}
	const sorted = [...norms].sort((a, b) => a - b);
	const size = (sorted[(p - 1) >> 1]! + sorted[p >> 1]!) / 2;
	const center = units[0]!.map((_, k) =>
		basis.reduce((sum, b) => sum + (b[k]! * units.reduce((all, u) => all + dot(b, u), 0) * size) / p, 0),
	);
	return { center, inside: units.map((u) => inside(basis, u)) };
}

function leading(columns: readonly number[][], m: number): number[][] {
	let basis = columns.slice(0, m).map((column) => column.slice());
	for (let step = 0; step < 400; step++) {
		basis = orthonormal(
			basis.map((b) => {
				const out = new Array<number>(b.length).fill(0);
				for (const column of columns) {
					const along = dot(column, b);
					for (let k = 0; k < out.length; k++) out[k]! += along * column[k]!;
				}
				return out;
			}),
		);
	}
	return basis;
}

function orthonormal(vectors: readonly number[][]): number[][] {
	const out: number[][] = [];
	for (const vector of vectors) {
		let rest = vector.slice();
		for (const b of [...out, ...out]) {
			const along = dot(rest, b);
			rest = rest.map((x, k) => x - along * b[k]!);
		}
		const length = norm(rest);
		out.push(rest.map((x) => x / length));
	}
	return out;
}

describe("the flag aggregator among 15 workers, 3 of them malicious", () => {
	it.each([1, 8])("keeps the direction without attack and under two attacks, m = %i", (m) => {
		for (const rows of [workers(), flipped, random]) {
			const { center } = reduced(flag, rows, [m, 0], { absMax: 1e4 });
			expect(cosine(center, truth)).toBeGreaterThanOrEqual(m === 1 ? 0.9 : 0.85);
			if (rows !== flipped && rows !== random) continue;
			expect(cosine(center, truth)).toBeGreaterThan(cosine(meanOfRows(rows), truth) + 0.5);
			if (m === 1) expect(cosine(center, truth)).toBeGreaterThan(cosine(reduced(median, rows, [], { absMax: 1e4 }).center, truth));
		}
	});

	it("scores honest reports above random ones, and gives flipped ones a sign", () => {
		const ofRandom = scoresOf(reduced(flag, random, [1, 0], { absMax: 1e4 }), "agreement");
		for (const agreement of ofRandom.slice(0, ATTACKERS)) expect(Math.abs(agreement)).toBeLessThanOrEqual(0.05);
		for (const agreement of ofRandom.slice(ATTACKERS)) expect(agreement).toBeGreaterThanOrEqual(0.25);
		const ofFlipped = scoresOf(reduced(flag, flipped, [1, 0], { absMax: 1e4 }), "agreement");
		for (const agreement of ofFlipped.slice(0, ATTACKERS)) expect(agreement).toBeLessThan(-0.25);
		for (const agreement of ofFlipped.slice(ATTACKERS)) expect(agreement).toBeGreaterThan(0.25);
	});

	it("is as long as an honest report, or shorter", () => {
		const lengths = workers().map(norm);
		for (const rows of [workers(), flipped, random]) {
			const length = norm(reduced(flag, rows, [1, 0], { absMax: 1e4 }).center);
			expect(length).toBeLessThan(Math.max(...lengths));
			expect(length).toBeGreaterThan(0.2 * Math.min(...lengths));
		}
	});
});

describe("the p × p algebra agrees with singular vectors of the long matrix", () => {
	const rows = flipped.map((row) => row.slice(0, 120)).slice(0, 8);
	it.each([
		[1, 0],
		[3, 0],
		[1, 40],
		[3, 40],
		[8, 0],
	])("m = %i, λ = %f", (m, lambda) => {
		const wanted = dense(rows, m, lambda);
		const result = reduced(flag, rows, [m, lambda], { absMax: 1e4 });
		expect(distance(result.center, wanted.center) / norm(wanted.center)).toBeLessThan(1e-6);
		scoresOf(result, "agreement").forEach((agreement, i) => {
			expect(Math.abs(Math.abs(agreement) - wanted.inside[i]!)).toBeLessThan(1e-6);
		});
	});

	it("and pairs make a difference", () => {
		const with0 = reduced(flag, rows, [3, 0], { absMax: 1e4 }).center;
		expect(distance(reduced(flag, rows, [3, 40], { absMax: 1e4 }).center, with0) / norm(with0)).toBeGreaterThan(1e-3);
	});
});

it("with as many dimensions as reports is the mean of unit vectors times the median norm", () => {
	const rows = workers().slice(0, 5);
	const norms = rows.map((row) => norm(Float32Array.from(row)));
	const size = [...norms].sort((a, b) => a - b)[2]!;
	const wanted = meanOfRows(rows.map((row, i) => row.map((x) => (x * size) / norms[i]!)));
	expect(distance(reduced(flag, rows, [5, 0]).center, wanted) / norm(wanted)).toBeLessThan(1e-6);
});

it("leaves reports of zeros out, whatever the number of dimensions", () => {
	const [a] = workers();
	const zeros = new Float64Array(LENGTH);
	const { center, scores } = reduced(flag, [a!, zeros, a!], [3, 1]);
	expect(cosine(center, a!)).toBeCloseTo(1, 6);
	expect(scores[1]).toEqual({ agreement: 0 });
});

it("refuses more dimensions than the smallest round has reports", () => {
	expect(() => flag.check([4, 0], { least: 3, most: 10 })).toThrow(/reports for flagDimensions 4 \(the quorum\) .* at least 4, got 3/);
});
