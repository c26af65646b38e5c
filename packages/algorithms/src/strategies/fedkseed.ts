import { isRondoError, RondoError } from "@rondo/errors";
import {
	addLedger,
	applySum,
	NOISE_KINDS,
	type NoiseKind,
	type Perturbations,
	perturb,
	perturbations,
	portableExp,
	type Random,
	rebuild,
	uniformBelow,
	weightedDraw,
} from "@rondo/kernels";
import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { At, Client, Lane, Strategy, Types } from "../contract.js";
import { checkCancelled, requireExamples } from "../local-sgd.js";
import { encodePlain, isVec, type Plain, type Vec, vecOf } from "../plain.js";

/** Options of FedKSeed. */
export interface FedKSeedConfig extends CohortOptions {
	/** K, the number of candidate perturbations. */
	readonly candidates: number;
	/** How they are made: "noise/1" independent, "noise/2" structured (docs/shared-randomness.md). */
	readonly noise: NoiseKind;
	/** τ, steps per client and round. */
	readonly localSteps: number;
	readonly learningRate: number;
	/** Distance of the two points of a step from the weights, along ±1 directions. */
	readonly epsilon: number;
	readonly batchSize: number;
	/** "uniform": FedKSeed. "pro": FedKSeed-Pro. */
	readonly sampling: "uniform" | "pro";
	/** Value of one unit of the ledger, a power of two. */
	readonly unit: number;
	/** c: larger scalar gradients count as this in a candidate's importance. */
	readonly importanceClip: number;
	/** Steps of a larger scalar gradient are skipped, and a report that holds one is rejected. */
	readonly maxAbsGradient: number;
}

/** Vec of K coefficients, whole numbers of `unit`; under "pro" also the sums and counts behind the importances, K each. */
type State = { readonly ledger: Vec<"i32"> } | { readonly ledger: Vec<"i32">; readonly h: Vec<"f64">; readonly n: Vec<"f64"> };

/** Types of FedKSeed. */
export interface FedKSeedTypes extends Types {
	config: FedKSeedConfig;
	state: State;
	member: null;
	/** An array, not a map: names would be a tenth of it. */
	task: readonly [ledger: Vec<"i32">] | readonly [ledger: Vec<"i32">, samplingWeights: Vec<"u8">];
	/** Per step: the candidate and its scalar gradient, in the order of the steps. */
	report: readonly [candidates: Uint16Array, gradients: Float32Array];
	carry: null;
}

const INT32_MAX = 2 ** 31 - 1;
const INT32_MIN = -(2 ** 31);
const MAX_SAMPLING_WEIGHT = 255;
/** Room for the rounding of up to 10^4 float64 additions in a sum that may reach its bound. */
const ROUNDING_ROOM = 1 + 2 ** -32;
/** Average of min |gradient| that a candidate starts with, as one observation: grad_initial of the authors' code. */
const FIRST_OBSERVATION = 0;

/**
 * The chance of each candidate under FedKSeed-Pro as whole numbers from 94 to 255: proportional to softmax(u), where
 * v_k = h_k / n_k and u_k = (v_k − min v) / (max v − min v + 1e-10). All chances lie within a factor e, so one byte
 * holds them to 0.3 %.
 * @param h sums of clipped |gradient| per candidate
 * @param n numbers of them, at least 1 each
 */
export function samplingWeights(h: Float64Array, n: Float64Array): Uint8Array {
	const importance = h.map((sum, k) => sum / n[k]!);
	let low = Number.POSITIVE_INFINITY;
	let high = Number.NEGATIVE_INFINITY;
	for (const v of importance) {
		low = Math.min(low, v);
		high = Math.max(high, v);
	}
	const exps = importance.map((v) => portableExp((v - low) / (high - low + 1e-10)));
	const largest = portableExp((high - low) / (high - low + 1e-10));
	return Uint8Array.from(exps, (e) => Math.max(1, Math.round((MAX_SAMPLING_WEIGHT * e) / largest)));
}

/** The candidates of a run. */
const candidatesOf = (shared: Random, { noise }: FedKSeedConfig): Perturbations => perturbations(shared.at("z"), noise);

/**
 * FedKSeed and FedKSeed-Pro: Qin, Chen, Qian, Ding, Li, Deng, "Federated Full-Parameter Tuning of Billion-Sized Language
 * Models with Communication Cost under 18 Kilobytes", ICML 2024, arXiv:2312.06353.
 *
 * The model is w = w_0 − unit · Σ_k ledger[k] · z_k for K fixed perturbations z_k that everyone regenerates from the
 * public run seed; the ledger of K integers is all that is kept and sent. A client takes τ steps: draw k,
 * g = (L(w + ε z_k) − L(w − ε z_k)) / 2ε on one batch (SPSA, Spall 1992), w ← w − learningRate · g · z_k; it reports the
 * pairs (k, g). The server adds the weighted mean over clients of Σ learningRate · g to each ledger entry. The rebuilt
 * model is then the weighted mean of the clients' final weights.
 *
 * Departs from the paper: z_k is ±1 instead of Gaussian (same first two moments, exact on every machine) and, unless
 * `noise` says otherwise, orthogonal to the others within blocks of the model, so that all K are applied by one fast
 * transform (docs/structured-perturbations.md); the learning rate is inside the ledger, so that it need not stay
 * constant; weights are numbers of examples, not of batches; no weight decay, which a ledger cannot express; steps whose
 * loss is not finite, or whose gradient is beyond maxAbsGradient, are skipped and counted. Pro: the clients draw from
 * one-byte chances (`samplingWeights`).
 * Limit case: one step of one client moves the weights by −learningRate · g · z_k.
 */
export const fedkseed: Strategy<FedKSeedTypes> = {
	name: "fedkseed",
	version: 2,
	summary: "Zeroth-order tuning with K shared seeds, kilobytes a round whatever the model (Qin et al., ICML 2024, arXiv:2312.06353).",
	about: {
		paper:
			"Qin, Chen, Qian, Ding, Li, Deng, Federated Full-Parameter Tuning of Billion-Sized Language Models with Communication Cost under 18 Kilobytes, ICML 2024, arXiv:2312.06353",
		chooseWhen:
			"For tuning a pretrained model, above all a large one, over thin links or on devices without memory for gradients: both directions take kilobytes whatever the model. A model trained from nothing needs many more steps than gradients would.",
		bytesUp: "6·localSteps",
		bytesDown: "4·candidates (5·candidates under pro)",
	},
	schema: cohortSchema({
		candidates: {
			type: "integer",
			minimum: 1,
			maximum: 65_536,
			default: 4096,
			description: "number K of shared perturbations; the model moves in their span",
		},
		noise: {
			type: "string",
			enum: [...NOISE_KINDS],
			default: "noise/2",
			description: "perturbations: noise/1 independent, noise/2 structured (a whole rebuild in one fast transform)",
		},
		localSteps: { type: "integer", minimum: 1, maximum: 10_000, default: 200, description: "steps per client and round, τ in the paper" },
		learningRate: { type: "number", exclusiveMinimum: 0, maximum: 1000, default: 0.001, description: "step size" },
		epsilon: { type: "number", exclusiveMinimum: 0, maximum: 1, default: 0.001, description: "distance of the two evaluation points" },
		batchSize: { type: "integer", minimum: 1, maximum: 1_000_000, default: 32, description: "examples per step" },
		sampling: { type: "string", enum: ["uniform", "pro"], default: "uniform", description: "how candidates are drawn; pro: by importance" },
		unit: { type: "number", exclusiveMinimum: 0, maximum: 1, default: 2 ** -30, description: "value of one ledger unit, a power of two" },
		importanceClip: {
			type: "number",
			exclusiveMinimum: 0,
			maximum: 1e6,
			default: 1000,
			description: "clip of gradients in importances (pro)",
		},
		maxAbsGradient: {
			type: "number",
			exclusiveMinimum: 0,
			maximum: 1e6,
			default: 1000,
			description: "largest magnitude of a gradient that a report may hold",
		},
	}),
	needs: { reads: "lanes", trainer: "loss" },

	check(config) {
		checkCohort(config);
		if (!isPowerOfTwo(config.unit)) {
			throw new RondoError("INVALID_ARGUMENT", `option unit of fedkseed must be a power of two from 2^-60 to 1, got ${config.unit}`);
		}
	},

	bounds({ candidates, localSteps, sampling }) {
		const pro = sampling === "pro";
		const ledger = vecOf("i32", candidates, "0".repeat(64));
		return {
			task: encodePlain(pro ? [ledger, vecOf("u8", candidates, "0".repeat(64))] : [ledger]).length,
			download: (pro ? 5 : 4) * candidates,
			report: encodePlain([new Uint16Array(localSteps), new Float32Array(localSteps)]).length,
		};
	},

	init({ config, io }) {
		const filled = (value: number) => io.write("f64", config.candidates, (from, to) => new Float64Array(to - from).fill(value));
		const ledger = io.write("i32", config.candidates, (from, to) => new Int32Array(to - from));
		return config.sampling === "pro" ? { ledger, h: filled(FIRST_OBSERVATION), n: filled(1) } : { ledger };
	},

	plan(_state, { config }) {
		const { localSteps, learningRate, maxAbsGradient, importanceClip, sampling } = config;
		const lane = (absMax: number, combine: Lane["combine"]): Lane => ({ length: config.candidates, absMax, combine, codec: ["f32"] });
		const a = lane(localSteps * learningRate * maxAbsGradient * ROUNDING_ROOM, "mean");
		if (sampling === "uniform") return { ...cohortPlan(config), lanes: { a } };
		return { ...cohortPlan(config), lanes: { a, h: lane(localSteps * importanceClip * ROUNDING_ROOM, "sum"), n: lane(localSteps, "sum") } };
	},

	task(state, _member, { io }) {
		if (!("h" in state)) return [state.ledger];
		const weights = samplingWeights(io.read(state.h), io.read(state.n));
		return [state.ledger, io.write("u8", weights.length, (from, to) => weights.subarray(from, to))];
	},

	unpack(header, _plan, { config }) {
		const [candidates, gradients] = checkHeader(header, config);
		const a = new Float64Array(config.candidates);
		const h = new Float64Array(config.candidates);
		const n = new Float64Array(config.candidates);
		for (let i = 0; i < candidates.length; i++) {
			const k = candidates[i]!;
			a[k]! += config.learningRate * gradients[i]!;
			h[k]! += Math.min(Math.abs(gradients[i]!), config.importanceClip);
			n[k]! += 1;
		}
		return config.sampling === "pro" ? { a, h, n } : { a };
	},

	finish(state, folded, { config, io }) {
		const a = folded.lanes.a!;
		const next = io.read(state.ledger).slice();
		let changed = 0;
		let peak = 0;
		for (let k = 0; k < next.length; k++) {
			// The unit is a power of two: the quotient is exact, and this is the only rounding.
			const value = next[k]! + Math.round(a[k]! / config.unit);
			if (!(value >= INT32_MIN && value <= INT32_MAX)) throw overflow(k, value, config.unit);
			if (value !== next[k]) changed++;
			peak = Math.max(peak, Math.abs(value));
			next[k] = value;
		}
		const ledger = io.write("i32", next.length, (from, to) => next.subarray(from, to));
		const plus = (old: Vec<"f64">, add: Float64Array) =>
			io.write("f64", old.length, (from, to) => io.read(old, from, to).map((value, j) => value + add[from + j]!));
		return {
			state: "h" in state ? { ledger, h: plus(state.h, folded.lanes.h!), n: plus(state.n, folded.lanes.n!) } : { ledger },
			publish: ledger,
			metrics: { changedCandidates: changed, ledgerPeak: peak / INT32_MAX },
		};
	},

	model(state, _member, { io, initial, shared, config }: At<FedKSeedTypes>) {
		const ledger = io.read(state.ledger);
		const candidates = candidatesOf(shared, config);
		return io.write("f32", initial.length, (from, to) => {
			const out = new Float32Array(to - from);
			rebuild(io.read(initial, from, to), ledger, config.unit, candidates, out, from);
			return out;
		});
	},

	assemble,

	async train(task, client) {
		requireExamples(client);
		const { localSteps, learningRate, epsilon, batchSize, maxAbsGradient } = client.config;
		const weights = await assemble(task, client);
		const draw = await drawOf(task, client);
		const family = candidatesOf(client.shared, client.config);
		const scratch = new Float32Array(weights.length);
		const candidates = new Uint16Array(localSteps);
		const gradients = new Float32Array(localSteps);
		let taken = 0;
		let step = 0;
		let totalLoss = 0;
		for await (const batch of client.data.batches(batchSize, client.secret.at("order"))) {
			checkCancelled(client, step, localSteps);
			const k = draw(step);
			// Both points from the pristine weights: adding and subtracting in place would leave a residue.
			perturb(weights, epsilon, family, k, scratch);
			const above = await client.trainer.loss(scratch, batch);
			perturb(weights, -epsilon, family, k, scratch);
			const below = await client.trainer.loss(scratch, batch);
			// Rounded before use, so that the step taken here is the step that the report describes.
			const gradient = Math.fround((above - below) / (2 * epsilon));
			if (Math.abs(gradient) <= maxAbsGradient) {
				perturb(weights, -learningRate * gradient, family, k, weights);
				candidates[taken] = k;
				gradients[taken++] = gradient;
				totalLoss += (above + below) / 2;
			}
			client.progress(++step, localSteps);
			if (step === localSteps) break;
		}
		if (taken === 0) throw new RondoError("NOT_FINITE", `none of ${step} steps had finite losses and a gradient within ±${maxAbsGradient}`);
		return {
			header: [candidates.slice(0, taken), gradients.slice(0, taken)],
			lanes: {},
			numExamples: client.data.numExamples,
			metrics: { loss: totalLoss / taken, skippedSteps: step - taken },
		};
	},
};

/** The weights of the task's ledger; with independent candidates by the change since the last one, where the cache still has it. */
async function assemble([ledgerVec]: FedKSeedTypes["task"], client: Client<FedKSeedTypes>): Promise<Float32Array> {
	const ledger = await client.read(ledgerVec);
	const initial = await client.read(client.initial);
	const family = candidatesOf(client.shared, client.config);
	const out = new Float32Array(initial.length);
	if (family.kind === "noise/2") {
		// A whole rebuild takes less time than reading the sum of the last round.
		rebuild(initial, ledger, client.config.unit, family, out);
		return out;
	}
	const key = cacheKey(client);
	const had = await cachedSum(client, key, ledger.length);
	// Sums of integers: going on from the last round gives the bytes of a sum made afresh.
	const sum = had === undefined ? new Float64Array(initial.length) : had.sum.slice();
	addLedger(sum, ledger, family, 0, had?.ledger);
	client.cache.set(key, { ledger: client.keep("i32", ledger), sum: client.keep("f64", sum) });
	applySum(initial, sum, client.config.unit, out);
	return out;
}

/** How step i draws its candidate, from the device's secret. */
async function drawOf(task: FedKSeedTypes["task"], client: Client<FedKSeedTypes>): Promise<(step: number) => number> {
	const random = client.secret.at("candidates");
	const [, weightsVec] = task;
	if (weightsVec === undefined) return (step) => uniformBelow(random, step, client.config.candidates);
	let total = 0;
	const cumulative = Float64Array.from(await client.read(weightsVec), (weight) => (total += weight));
	return (step) => weightedDraw(random, step, cumulative);
}

/** Names what a cached sum depends on besides the ledger: initial weights and run seed. */
function cacheKey({ initial, shared }: Client<FedKSeedTypes>): string {
	return `fedkseed/2 ${initial.sha256} ${shared.at("z").words(0, new Uint32Array(4)).join("-")}`;
}

/** The sum of an earlier round; undefined when the cache or its blobs are gone. */
async function cachedSum(
	client: Client<FedKSeedTypes>,
	key: string,
	candidates: number,
): Promise<{ ledger: Int32Array; sum: Float64Array } | undefined> {
	const entry = client.cache.get(key) as { readonly [field: string]: Plain } | undefined;
	if (entry === undefined || !isVec(entry.ledger) || !isVec(entry.sum) || entry.ledger.length !== candidates) return undefined;
	try {
		return { ledger: await client.read(entry.ledger as Vec<"i32">), sum: await client.read(entry.sum as Vec<"f64">) };
	} catch (error) {
		if (!isRondoError(error)) throw error;
		return undefined;
	}
}

function checkHeader(header: unknown, config: FedKSeedConfig): FedKSeedTypes["report"] {
	const [candidates, gradients] = Array.isArray(header) && header.length === 2 ? (header as unknown[]) : [];
	if (!(candidates instanceof Uint16Array && gradients instanceof Float32Array)) {
		throw new RondoError("INVALID_ARGUMENT", "the header must be [Uint16Array, Float32Array]");
	}
	if (candidates.length !== gradients.length || candidates.length > config.localSteps) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`the header must hold at most ${config.localSteps} candidates and as many gradients, got ${candidates.length} and ${gradients.length}`,
		);
	}
	for (let i = 0; i < candidates.length; i++) {
		if (candidates[i]! >= config.candidates) {
			throw new RondoError("INVALID_ARGUMENT", `candidate of step ${i} must be below ${config.candidates}, got ${candidates[i]}`);
		}
		if (!(Math.abs(gradients[i]!) <= config.maxAbsGradient)) {
			throw new RondoError("LANE_OUT_OF_BOUND", `gradient of step ${i} must be within ±${config.maxAbsGradient}, got ${gradients[i]}`);
		}
	}
	return [candidates, gradients];
}

const overflow = (k: number, value: number, unit: number): RondoError =>
	new RondoError("LEDGER_OVERFLOW", `candidate ${k} would be ${value} units of ${unit}, beyond int32: choose a larger unit`, {
		details: { candidate: k, value, unit },
	});

function isPowerOfTwo(value: number): boolean {
	for (let power = 1; power >= 2 ** -60; power /= 2) if (power === value) return true;
	return false;
}
