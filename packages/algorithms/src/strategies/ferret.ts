import { RondoError } from "@rondo/errors";
import { NOISE_KINDS, type NoiseKind, norm, normSquared, type Perturbations, perturbations, type Random } from "@rondo/kernels";
import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { Client, Strategy, Types } from "../contract.js";
import { packScalars, SCALAR_KINDS, type ScalarKind, unpackScalars } from "../encoding/scalar-codec.js";
import { followModel } from "../following/followed-model.js";
import { localSgd } from "../local-training/local-sgd.js";
import { encodePlain, isVec, MAX_INLINE_BYTES, type Plain, type Vec, vecOf } from "../plain.js";
import { BLOCK_KINDS, type BlockKind, blocksOf, joined, type Range, split, subtractBlocks } from "../projections/blocks.js";
import { projections, subtractCombination } from "../projections/shared-bases.js";

/** Options of Ferret. */
export interface FerretConfig extends CohortOptions {
	/** K, bases of the block that changed most. */
	readonly bases: number;
	/** "groups": small tensors together, large ones alone. "tensors": each alone. "one": the whole model. */
	readonly blocks: BlockKind;
	/** "norm": bases of a block in proportion to the norm of its change. "equal": K for every block. */
	readonly allocation: "norm" | "equal";
	/** How the bases are made: "noise/1" independent, "noise/2" structured (docs/shared-randomness.md). */
	readonly noise: NoiseKind;
	/** How the projections of a report travel. */
	readonly scalars: ScalarKind;
	/** "none": as the paper, unbiased. "norm": no reconstructed block is longer than the clients' changes on average. */
	readonly rescale: "none" | "norm";
	/** T, steps per client and round. */
	readonly localSteps: number;
	readonly learningRate: number;
	readonly batchSize: number;
	readonly serverLearningRate: number;
	/** Commits from one snapshot of the model to the next. */
	readonly snapshotEvery: number;
	/** Largest norm of one block's change that a report may hold. */
	readonly maxNorm: number;
}

/** Types of Ferret. */
export interface FerretTypes extends Types {
	config: FerretConfig;
	/** The model, the last snapshot, and the blobs published since. */
	state: { readonly model: Vec<"f32">; readonly base: Vec<"f32">; readonly baseCommit: number; readonly tail: readonly Vec[] };
	member: null;
	/** Snapshot and its commit, then commit and digest of the model. */
	task: readonly [base: Vec<"f32">, baseCommit: number, commit: number, digest: string];
	/** Per block: bases used and norm of the change; then the projections, as shares of their block's norm. */
	report: readonly [counts: Uint16Array, norms: Float32Array, shares: Float32Array | Uint16Array | Uint8Array];
	carry: null;
}

const BYTES: { readonly [kind in ScalarKind]: number } = { f32: 4, f16: 2, byte: 1 };
/** Room for the CBOR around a header's arrays. */
const FRAME_BYTES = 64;
/** Publications above this are blobs. */
const INLINE_BYTES = 32_768;
/**
 * Largest |z·Δ| / |Δ|. For uniform signs the chance of more is below 2·exp(−16²/2) = 1e-55, so only forged reports have more;
 * the factor is room for rounding, a byte's too.
 */
const MAX_SHARE = 16;
const ROUNDING_ROOM = 1.07;
const shareBound = (length: number): number => ROUNDING_ROOM * Math.min(MAX_SHARE, Math.sqrt(length));
const NORM_TILE = 65_536;

/**
 * K_l: bases of each block, max(⌊K · norm_l / max norm⌋, 2) or K; cut in proportion where all together are beyond `most`.
 * A block uses the first K_l of its bases, so that their number says which.
 */
export function allocate(
	norms: Float32Array,
	{ bases, allocation }: Pick<FerretConfig, "bases" | "allocation">,
	most: number,
): Uint16Array {
	const longest = norms.reduce((max, value) => Math.max(max, value), 0);
	const least = Math.min(2, bases);
	const counts = Uint16Array.from(norms, (value) =>
		allocation === "equal" ? bases : longest === 0 ? least : Math.max(Math.floor((value / longest) * bases), least),
	);
	const total = counts.reduce((sum, count) => sum + count, 0);
	if (total <= most) return counts;
	return counts.map((count) => 1 + Math.floor(((count - 1) * (most - counts.length)) / (total - counts.length)));
}

/** Most projections that fit into a header. */
const mostProjections = ({ scalars }: FerretConfig, blocks: number): number =>
	Math.floor((MAX_INLINE_BYTES - FRAME_BYTES - 6 * blocks) / BYTES[scalars]);

/**
 * Largest norm per basis, norm_l / K_l, in a report whose counts `allocate` made: K_l is at least 2/3 of norm_l / max norm · K,
 * and keeps at least half of its share where the counts were cut. The tighter it is, the finer is the grid that reports are
 * added up on.
 */
function densityBound(config: FerretConfig, blocks: number): number {
	const { bases, maxNorm } = config;
	const kept = bases === 1 ? 1 : Math.min(1, (mostProjections(config, blocks) - blocks) / (blocks * (bases - 1)));
	return (ROUNDING_ROOM * 3 * maxNorm) / (bases * kept);
}

/** Whether publications of this many bases in each of the blocks are never blobs. */
const isInline = ({ bases }: FerretConfig, blocks: number): boolean => 4 * bases * blocks + 2 * blocks + FRAME_BYTES <= INLINE_BYTES;

/** The bases of each block in a round. */
const basesOf = (shared: Random, round: number, blocks: readonly Range[], { noise }: FerretConfig): readonly Perturbations[] =>
	blocks.map((_block, l) => perturbations(shared.at("ferret", round, l), noise));

/** Euclidean norm of Σ_k c_k z_k over a block, tile by tile. */
function combinationNorm(coefficients: Float64Array, z: Perturbations, length: number): number {
	const tile = new Float32Array(Math.min(NORM_TILE, length));
	let total = 0;
	for (let from = 0; from < length; from += NORM_TILE) {
		const part = tile.subarray(0, Math.min(NORM_TILE, length - from)).fill(0);
		subtractCombination(part, coefficients, z, part, from);
		total += normSquared(part);
	}
	return Math.sqrt(total);
}

/** The prefix that ends with the last coefficient that is not 0. */
function trimmed(values: Float64Array): Float64Array {
	let end = values.length;
	while (end > 0 && values[end - 1] === 0) end--;
	return values.subarray(0, end);
}

/**
 * Ferret: Shu, Hu, Ng, Low, Yu, "Ferret: Federated Full-Parameter Tuning at Scale for Large Language Models", 2024,
 * arXiv:2409.06277.
 *
 * A client takes T steps of SGD and projects the change Δ = w − w_T, block by block, onto shared bases that everyone draws
 * from (run seed, round, block): γ_k = z_k · Δ. It sends the γ_k; everyone reconstructs Δ~ = (1/K) Σ_k γ_k z_k and sets
 * w ← w − serverLearningRate · Σ_i c_i Δ~_i with c_i = n_i / Σ n. For bases of ±1, E z zᵀ = I, so E Δ~ = Δ; the error is
 * E|Δ~ − Δ|² = (d − 1)/K · |Δ|² for independent bases and less for structured ones (docs/structured-perturbations.md), so a
 * small K needs more rounds or a smaller server learning rate. As bases are shared, the sum over clients is taken of
 * coefficients: one commit is at most K numbers a block, with serverLearningRate and c_i in them, and the model is the
 * initial one minus all combinations in the order of the log. Clients follow the log from their own copy or a snapshot.
 *
 * Departs from the paper: bases are ±1 instead of normal truncated to ±1/√d (on that interval the two hardly differ, and
 * signs are exact on every machine), and scaled without bias: the authors' code reconstructs d·ρ·Δ ≈ Δ/3 and makes up for it
 * in the learning rate. Bases are drawn anew each round, so that the model is not confined to one span, and anew in each
 * block; K_l bases are the first K_l, not a random choice that would have to be sent. No single term is clipped, which would
 * make the result depend on how clients are added up; with `rescale` "norm" whole blocks are shortened instead, by √(1 + d/K)
 * where K ≪ d, which keeps a large model stable and wants a larger serverLearningRate. The norm of a block travels
 * as one float, and projections as shares of it, which half precision holds whatever the size of the model.
 * Limit case: a model of one block of up to 4,096 parameters with 4,096 structured bases is reconstructed exactly: FedAvg.
 */
export const ferret: Strategy<FerretTypes> = {
	name: "ferret",
	version: 1,
	summary: "First-order local training, sent as projections onto shared random bases (Shu et al., 2024, arXiv:2409.06277).",
	about: {
		paper: "Shu, Hu, Ng, Low, Yu, Ferret: Federated Full-Parameter Tuning at Scale for Large Language Models, 2024, arXiv:2409.06277",
		chooseWhen:
			"When devices can compute gradients but links are thin: kilobytes a round in both directions with far fewer rounds than zeroth-order tuning. With K far below the number of weights one round moves the model mostly in random directions, so it takes more rounds than FedAvg; use that where 4 bytes a weight are affordable.",
		bytesUp: "at most 4·bases·B + 6·B for B blocks (half of it with scalars f16)",
		bytesDown: "at most 4·bases·B for each commit since the client's own copy; 4·d more without one",
	},
	schema: cohortSchema({
		bases: {
			type: "integer",
			minimum: 1,
			maximum: 65_535,
			default: 512,
			description: "bases of the block that changed most, K in the paper",
		},
		blocks: {
			type: "string",
			enum: [...BLOCK_KINDS],
			default: "groups",
			description: "what is projected separately: groups of tensors (large ones alone), every tensor, or the whole model",
		},
		allocation: {
			type: "string",
			enum: ["norm", "equal"],
			default: "norm",
			description: "bases of a block: in proportion to the norm of its change, or K for each",
		},
		noise: {
			type: "string",
			enum: [...NOISE_KINDS],
			default: "noise/2",
			description: "bases: noise/1 independent, noise/2 structured (orthogonal within blocks, one fast transform for all)",
		},
		scalars: { type: "string", enum: [...SCALAR_KINDS], default: "f32", description: "how a projection travels" },
		rescale: {
			type: "string",
			enum: ["none", "norm"],
			default: "none",
			description: "none: as the paper, unbiased; norm: shorten a reconstructed block to the clients' mean norm",
		},
		localSteps: { type: "integer", minimum: 1, maximum: 100_000, default: 10, description: "steps per client and round, T in the paper" },
		learningRate: { type: "number", exclusiveMinimum: 0, maximum: 1000, default: 0.01, description: "step size of the local SGD" },
		batchSize: { type: "integer", minimum: 1, maximum: 1_000_000, default: 32, description: "examples per local step" },
		serverLearningRate: { type: "number", exclusiveMinimum: 0, maximum: 1000, default: 1, description: "factor of the reconstruction" },
		snapshotEvery: {
			type: "integer",
			minimum: 1,
			maximum: 4096,
			default: 50,
			description: "commits from one snapshot of the model to the next, for clients without a copy of their own",
		},
		maxNorm: {
			type: "number",
			minimum: 1e-6,
			maximum: 1e9,
			default: 100,
			description: "largest norm of one block's change that a report may hold",
		},
	}),
	needs: { reads: "lanes", trainer: "gradient" },

	check(config, layout) {
		checkCohort(config);
		const { length } = blocksOf(layout, config.blocks);
		const most = mostProjections(config, length);
		if (most < 2 * length)
			throw new RondoError(
				"INVALID_ARGUMENT",
				`option blocks "${config.blocks}" of ferret makes ${length} blocks, of which a report holds ${Math.max(0, most)} projections: too few`,
			);
	},

	bounds(config, layout) {
		const { length } = blocksOf(layout, config.blocks);
		const count = Math.min(config.bases * length, mostProjections(config, length));
		const digest = "0".repeat(64);
		return {
			task: encodePlain([vecOf("f32", layout.length, digest), Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, digest]).length,
			download: 4 * layout.length,
			report: FRAME_BYTES + 6 * length + BYTES[config.scalars] * count,
		};
	},

	init: ({ initial }) => ({ model: initial, base: initial, baseCommit: 0, tail: [] }),

	plan(_state, { config, layout }) {
		const blocks = blocksOf(layout, config.blocks);
		const longest = Math.max(...blocks.map(({ from, to }) => to - from));
		const lane = (length: number, absMax: number) => ({ length, absMax, combine: "mean" as const, codec: ["f32"] as const });
		return {
			...cohortPlan(config),
			lanes: {
				coefficients: lane(blocks.length * config.bases, densityBound(config, blocks.length) * shareBound(longest)),
				norms: lane(blocks.length, config.maxNorm),
			},
		};
	},

	task: ({ model, base, baseCommit }, _member, { commit }) => [base, baseCommit, commit, model.sha256],

	unpack(header, _plan, { config, layout }) {
		const blocks = blocksOf(layout, config.blocks);
		const [counts, norms, shares] = checkHeader(header, config, blocks);
		const coefficients = new Float64Array(blocks.length * config.bases);
		split(shares, counts).forEach((part, l) => {
			// Each client's own 1/K_l: what is summed is already a reconstruction's coefficient.
			for (let k = 0; k < part.length; k++) coefficients[l * config.bases + k] = (norms[l]! * part[k]!) / part.length;
		});
		return { coefficients, norms: Float64Array.from(norms) };
	},

	finish(state, { lanes }, { config, layout, io, shared, round, commit }) {
		const blocks = blocksOf(layout, config.blocks);
		const bases = basesOf(shared, round, blocks, config);
		let squares = 0;
		const coefficients = blocks.map(({ from, to }, l) => {
			const mean = trimmed(lanes.coefficients!.subarray(l * config.bases, (l + 1) * config.bases));
			const length = combinationNorm(mean, bases[l]!, to - from);
			const shrink = config.rescale === "norm" && length > lanes.norms![l]! ? lanes.norms![l]! / length : 1;
			squares += (config.serverLearningRate * shrink * length) ** 2;
			return Float32Array.from(mean, (c, k) =>
				finite(Math.fround(config.serverLearningRate * shrink * c), `coefficient ${k} of block ${l}`),
			);
		});
		const model = io.write("f32", layout.length, (from, to) => {
			const out = io.read(state.model, from, to).slice();
			subtractBlocks(out, from, blocks, coefficients, bases);
			for (let j = 0; j < out.length; j++) finite(out[j]!, `weight ${from + j}`);
			return out;
		});
		const counts = Uint16Array.from(coefficients, ({ length }) => length);
		const all = joined(coefficients);
		const values = isInline(config, blocks.length) ? all : io.write("f32", all.length, (from, to) => all.subarray(from, to));
		const isDue = commit + 1 - state.baseCommit >= config.snapshotEvery;
		return {
			state: isDue
				? { model, base: model, baseCommit: commit + 1, tail: [] }
				: { ...state, model, tail: isVec(values) ? [...state.tail, values] : [] },
			publish: [counts, values],
			metrics: { coefficients: all.length, updateNorm: Math.sqrt(squares) },
		};
	},

	model: (state) => state.model,

	assemble,

	async train(task, client) {
		const { config, layout, round, shared } = client;
		const start = await assemble(task, client);
		const { weights, meanLoss } = await localSgd(start, client, { ...config, localEpochs: 1 });
		const change = weights.map((weight, j) => start[j]! - weight);
		const blocks = blocksOf(layout, config.blocks);
		const parts = blocks.map(({ from, to }) => change.subarray(from, to));
		const norms = Float32Array.from(parts, (part, l) => finite(norm(part), `the norm of the change of block ${l}`));
		const counts = allocate(norms, config, mostProjections(config, blocks.length));
		const bases = basesOf(shared, round, blocks, config);
		const shares = parts.map((part, l) => {
			const gammas = projections(part, counts[l]!, bases[l]!);
			return Float32Array.from(gammas, (gamma) => (norms[l] === 0 ? 0 : gamma / norms[l]!));
		});
		return {
			header: [counts, norms, packScalars(config.scalars, joined(shares))],
			lanes: {},
			numExamples: client.data.numExamples,
			metrics: { loss: meanLoss },
		};
	},
};

/** The model of the task, whose digest the server has. */
function assemble([base, baseCommit, commit, digest]: FerretTypes["task"], client: Client<FerretTypes>): Promise<Float32Array> {
	const { config, layout, shared } = client;
	const blocks = blocksOf(layout, config.blocks);
	return followModel({ base, baseCommit, commit, digest }, client, {
		key: "ferret/1",
		keepsHistory: isInline(config, blocks.length),
		async apply(weights, value, round) {
			const [counts, values] = (Array.isArray(value) ? value : []) as unknown as readonly [Uint16Array?, (Float32Array | Vec<"f32">)?];
			const all = isVec(values) ? await client.read(values as Vec<"f32">) : values;
			const isWhole = counts instanceof Uint16Array && counts.length === blocks.length && all instanceof Float32Array;
			if (!isWhole || counts.reduce((sum, count) => sum + count, 0) !== all.length)
				throw new RondoError("BAD_ENCODING", `what round ${round} published is not [counts of ${blocks.length} blocks, coefficients]`);
			subtractBlocks(weights, 0, blocks, split(all, counts), basesOf(shared, round, blocks, config));
		},
	});
}

function checkHeader(header: Plain, config: FerretConfig, blocks: readonly Range[]) {
	const { bases, scalars, maxNorm } = config;
	const density = densityBound(config, blocks.length);
	const [counts, norms, packed] = Array.isArray(header) && header.length === 3 ? (header as readonly Plain[]) : [];
	if (!(counts instanceof Uint16Array && norms instanceof Float32Array))
		throw new RondoError("INVALID_ARGUMENT", "the header must be [Uint16Array, Float32Array, projections]");
	if (counts.length !== blocks.length || norms.length !== blocks.length)
		throw new RondoError(
			"INVALID_ARGUMENT",
			`the header must hold counts and norms of ${blocks.length} blocks, got ${counts.length} and ${norms.length}`,
		);
	const shares = unpackScalars(scalars, packed);
	let total = 0;
	for (const [l, count] of counts.entries()) {
		if (!(count >= 1 && count <= bases))
			throw new RondoError("INVALID_ARGUMENT", `the number of bases of block ${l} must be from 1 to ${bases}, got ${count}`);
		if (!(norms[l]! >= 0 && norms[l]! <= maxNorm))
			throw new RondoError("LANE_OUT_OF_BOUND", `the norm of block ${l} must be from 0 to ${maxNorm}, got ${norms[l]}`);
		if (norms[l]! > density * count)
			throw new RondoError(
				"LANE_OUT_OF_BOUND",
				`block ${l} must have a norm of at most ${density} per basis, got ${norms[l]} for ${count}`,
			);
		total += count;
	}
	if (shares.length !== total)
		throw new RondoError("INVALID_ARGUMENT", `the header must hold ${total} projections, as its counts say, got ${shares.length}`);
	split(shares, counts).forEach((part, l) => {
		const bound = shareBound(blocks[l]!.to - blocks[l]!.from);
		const odd = part.findIndex((share) => !(Math.abs(share) <= bound));
		if (odd >= 0)
			throw new RondoError("LANE_OUT_OF_BOUND", `projection ${odd} of block ${l} must be within ±${bound} norms, got ${part[odd]}`);
	});
	return [counts, norms, shares] as const;
}

function finite(value: number, what: string): number {
	if (!Number.isFinite(value)) throw new RondoError("NOT_FINITE", `${what} is ${value}`);
	return value;
}
