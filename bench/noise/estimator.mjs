// The estimate of a full pass, (1/K) Σ_k z_k z_kᵀ g over all K members, against the vector g that it estimates.
import { addLedger, perturbations, project, randomFromSeed } from "@rondo/kernels";

/** Parameters in a block of noise/2, and members in a group. */
const BLOCK = 4096;
const LENGTHS = [1000, 4096, 12_288, 50_000];
const MEMBERS = [64, 512, 2048, 4096, 6144, 8192, 10_000, 16_384];
/** Up to this many standard errors a mean over nodes counts as agreeing with its formula; fewer nodes show no standard error. */
const MAX_DEVIATION = 5;
const FEWEST_NODES = 16;
/** Room for the rounding of the errors, which are float64 sums of up to 50,000 squares. */
const ROUNDING = 1e-10;
/** A byte sum of `gaussian4` has this mean. */
const BYTE_SUM_MEAN = 510;

/**
 * Expected |estimate − g|² / |g|² for g with the squared norms `shares` (of a total of 1) in its blocks, where d is the
 * length of g and ℓ_b that of block b. Independent: (d − 1) / K. Structured: blocks see each other as before, and within a
 * block what remains depends on the members r = K mod 4096 of the last, incomplete group,
 *
 *     (1/K) Σ_b shares_b ((d − ℓ_b) + (ℓ_b − 1) r (4096 − r) / (4095 K))
 */
export function expectedError(kind, d, K, shares) {
	if (kind === "noise/1") return (d - 1) / K;
	const rest = K % BLOCK;
	const within = (rest * (BLOCK - rest)) / ((BLOCK - 1) * K);
	return shares.reduce((sum, share, block) => {
		const length = Math.min(BLOCK, d - block * BLOCK);
		return sum + (share * (d - length + (length - 1) * within)) / K;
	}, 0);
}

/** A random vector of integers, larger from block to block: then the formula's shares of the blocks matter. */
function vectorOf(random, d) {
	const words = random.words(0, new Uint32Array(d));
	return Float32Array.from(words, (word, j) => {
		const bytes = (word & 255) + ((word >>> 8) & 255) + ((word >>> 16) & 255) + (word >>> 24);
		return (bytes - BYTE_SUM_MEAN) * (1 + Math.floor(j / BLOCK));
	});
}

function sharesOf(g) {
	const shares = new Float64Array(Math.ceil(g.length / BLOCK));
	for (let j = 0; j < g.length; j++) shares[Math.floor(j / BLOCK)] += g[j] ** 2;
	const total = shares.reduce((a, b) => a + b);
	return { total, shares: shares.map((share) => share / total) };
}

/** For each node the errors, measured and expected, for each number of members. All sums are exact integers. */
export function errorsOf({ d, kind, nodes }) {
	return Array.from({ length: nodes }, (_, node) => {
		const random = randomFromSeed(`rondo-bench-noise/1/${node}`);
		const g = vectorOf(random.at("vector", d), d);
		const { total, shares } = sharesOf(g);
		const z = perturbations(random.at("z", d), kind);
		const projections = new Float64Array(MEMBERS.at(-1));
		project(g, 1, z, projections);
		return MEMBERS.map((K) => {
			const sum = new Float64Array(d);
			addLedger(sum, Int32Array.from(projections.subarray(0, K)), z);
			let squares = 0;
			for (let j = 0; j < d; j++) squares += (sum[j] / K - g[j]) ** 2;
			return { K, measured: squares / total, expected: expectedError(kind, d, K, shares) };
		});
	});
}

/** Everything to measure, one job for each length and kind. */
export const estimatorJobs = (nodes) =>
	LENGTHS.toReversed().flatMap((d) => ["noise/1", "noise/2"].map((kind) => ({ task: "estimator", d, kind, nodes })));

/** Rows of the report from the results of `estimatorJobs`: means over nodes, and how far they are from their formulas. */
export function estimatorRows(results) {
	const of = (d, kind, K) => {
		const { errors } = results.find((result) => result.d === d && result.kind === kind);
		const cells = errors.map((row) => row.find((cell) => cell.K === K));
		const mean = (field) => cells.reduce((sum, cell) => sum + cell[field], 0) / cells.length;
		const off = cells.map(({ measured, expected }) => measured - expected);
		const offMean = mean("measured") - mean("expected");
		const standardError = Math.sqrt(off.reduce((sum, x) => sum + (x - offMean) ** 2, 0) / (off.length - 1) / off.length);
		// Where members are exactly orthogonal some errors are the same for every node: no spread to measure with.
		const deviation = Math.abs(offMean) <= ROUNDING ? 0 : offMean / standardError;
		const agrees = cells.length < FEWEST_NODES || Math.abs(deviation) <= MAX_DEVIATION;
		return { measured: mean("measured"), expected: mean("expected"), deviation, agrees };
	};
	return LENGTHS.flatMap((d) => MEMBERS.map((K) => ({ d, K, independent: of(d, "noise/1", K), structured: of(d, "noise/2", K) })));
}
