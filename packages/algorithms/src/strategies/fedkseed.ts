import { RondoError } from "@rondo/errors";
import { fromHex, NOISE_KINDS, perturb, rebuild, uniformBelow, weightedDraw } from "@rondo/kernels";
import { type AsyncOptions, asyncPlan, asyncProperties, type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { At, Client, Io, Lane, Strategy, Types } from "../contract.js";
import { roundScalar, SCALAR_KINDS, type ScalarKind } from "../encoding/scalar-codec.js";
import { addToLedger, isPowerOfTwo } from "../ledgers/ledger.js";
import { publicationOf } from "../ledgers/ledger-log.js";
import { assembleLedger, type BasisOffer, candidatesOf, type LedgerModel, type LedgerOptions } from "../ledgers/ledger-model.js";
import { advanceLedger, emptyLedger, type LedgerOffer, type LedgerState, largestOffers, offerLedger } from "../ledgers/ledger-sync.js";
import { cappedMean, trimmedSparseMean } from "../ledgers/robust-sums.js";
import { samplingWeights } from "../ledgers/sampling-weights.js";
import { largestReport, packSteps, type StepReport, unpackSteps } from "../ledgers/step-report.js";
import { checkCancelled, requireExamples } from "../local-training/local-sgd.js";
import { checkSchedule, learningRateAt, type ScheduleOptions, scheduleProperties } from "../local-training/schedule.js";
import { encodePlain, type Vec, vecOf } from "../plain.js";

/** Options of FedKSeed. */
export interface FedKSeedConfig extends CohortOptions, AsyncOptions, ScheduleOptions, LedgerOptions {
	/** τ, steps per client and round. */
	readonly localSteps: number;
	/** Distance of the two points of a step from the weights, along ±1 directions. */
	readonly epsilon: number;
	readonly batchSize: number;
	/** "uniform": FedKSeed. "pro": FedKSeed-Pro. */
	readonly sampling: "uniform" | "pro";
	/** How the scalar gradients of a report travel. */
	readonly scalars: ScalarKind;
	/** Commits after which the model becomes the new w_0, with new candidates; 0: never. */
	readonly rebaseEvery: number;
	/** How the clients' sums become one. */
	readonly aggregation: "mean" | "trimmed-mean" | "norm-cap";
	/** "trimmed-mean": the share of a candidate's values that is left out at each end. */
	readonly trim: number;
	/** "norm-cap": largest norm of a client's sums; 0: the median of the norms. */
	readonly normCap: number;
	/** c: larger scalar gradients count as this in a candidate's importance. */
	readonly importanceClip: number;
	/** Steps of a larger scalar gradient are skipped, and a report that holds one is rejected. */
	readonly maxAbsGradient: number;
}

/** Where an epoch after the first started: from these weights, to which `previous`, the last ledger of the epoch before, led. */
type Basis = { readonly epoch: number; readonly base: Vec<"f32">; readonly previous: Vec<"i32"> };

/** Sums and counts of clipped |gradient| behind the importances, K each. */
type Importance = { readonly h: Vec<"f64">; readonly n: Vec<"f64"> };

/** K coefficients, whole numbers of `unit`; null in the first epoch, and unless candidates are drawn by importance. */
type Model = LedgerState & { readonly basis: Basis | null; readonly importance: Importance | null };

/** With `verifyLog` the commit of the last addition too. */
type State = Model | (Model & { readonly commit: number });

type PlainTask = readonly [ledger: LedgerOffer, samplingWeights: Vec<"u8"> | null, basis: BasisOffer | null];

/** Types of FedKSeed. */
export interface FedKSeedTypes extends Types {
	config: FedKSeedConfig;
	state: State;
	member: null;
	/** Arrays, not maps: names would be a tenth of it. */
	task: PlainTask | readonly [...task: PlainTask, commit: number];
	report: StepReport;
	carry: null;
}

/** Room for the rounding of up to 10^4 float64 additions in a sum that may reach its bound. */
const ROUNDING_ROOM = 1 + 2 ** -32;
/** Average of min |gradient| that a candidate starts with, as one observation: grad_initial of the authors' code. */
const FIRST_OBSERVATION = 0;
/** Of a device, about a run. */
const MEMORY = "fedkseed/3";
/** Largest finite number of half precision. */
const MAX_FLOAT16 = 65_504;

/**
 * FedKSeed and FedKSeed-Pro: Qin, Chen, Qian, Ding, Li, Deng, "Federated Full-Parameter Tuning of Billion-Sized Language
 * Models with Communication Cost under 18 Kilobytes", ICML 2024, arXiv:2312.06353.
 *
 * The model is w = w_0 − unit · Σ_k ledger[k] · z_k for K fixed perturbations z_k that everyone regenerates from the
 * public run seed; the ledger of K integers is all that is kept and sent. In round r a client takes τ steps: draw k,
 * g = (L(w + ε z_k) − L(w − ε z_k)) / 2ε on one batch (SPSA, Spall 1992), w ← w − η_r · g · z_k; it reports the
 * pairs (k, g). The server adds the weighted mean over clients of Σ η_r · g to each ledger entry. The rebuilt
 * model is then the weighted mean of the clients' final weights.
 *
 * Departs from the paper: z_k is ±1 instead of Gaussian (same first two moments, exact on every machine) and, unless
 * `noise` says otherwise, orthogonal to the others within blocks of the model, so that all K are applied by one fast
 * transform (docs/structured-perturbations.md); the learning rate is inside the ledger, so that it may follow a `schedule`;
 * weights are numbers of examples, not of batches; no weight decay, which a ledger cannot express; steps whose
 * loss is not finite, or whose gradient is beyond maxAbsGradient, are skipped and counted. Pro: the clients draw from
 * one-byte chances (`samplingWeights`).
 *
 * Beyond the paper, each by an option: `scalars` rounds g before the step is taken, so that the report still describes it;
 * `rebaseEvery` starts an epoch with the model as w_0, new candidates and an empty ledger, as a fixed set spans K dimensions
 * only; `aggregation` replaces the mean by robust ones (`trimmedSparseMean`, `cappedMean`), for which every client counts the
 * same. A client downloads the changes since the ledger it has where they are smaller (`readLedger`), and makes the
 * base of an epoch itself when it has the one before. `maxStaleness` lets slow clients report to later rounds: the steps they
 * took at an older ledger are added to the new one with the weight n/√(1 + τ), τ the commits in between (FedBuff's choice for
 * its updates; robust aggregations count everybody the same), each with the η of the round that it trained in. `verifyLog`
 * has clients compare the ledger with what the run's hash-chained log says, as all clients see it (`checkPublished`).
 * Limit case: one step of one client moves the weights by −learningRate · g · z_k.
 */
export const fedkseed: Strategy<FedKSeedTypes> = {
	name: "fedkseed",
	version: 3,
	summary: "Zeroth-order tuning with K shared seeds, kilobytes a round whatever the model (Qin et al., ICML 2024, arXiv:2312.06353).",
	about: {
		paper:
			"Qin, Chen, Qian, Ding, Li, Deng, Federated Full-Parameter Tuning of Billion-Sized Language Models with Communication Cost under 18 Kilobytes, ICML 2024, arXiv:2312.06353",
		chooseWhen:
			"For tuning a pretrained model, above all a large one, over thin links or on devices without memory for gradients: both directions take kilobytes whatever the model. A model trained from nothing needs many more steps than gradients would.",
		bytesUp: "localSteps·(4 + ⌈log2 candidates⌉/8); 2 or 1 instead of 4 with scalars f16 or byte",
		bytesDown:
			"4·candidates, or some 4 for each that changed since the client's last ledger where that is less (candidates more under pro; 4·d once for a client that missed a whole epoch of rebaseEvery rounds; some 500 for each entry of the log that verifyLog reads)",
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
		...scheduleProperties,
		...asyncProperties,
		epsilon: { type: "number", exclusiveMinimum: 0, maximum: 1, default: 0.001, description: "distance of the two evaluation points" },
		batchSize: { type: "integer", minimum: 1, maximum: 1_000_000, default: 32, description: "examples per step" },
		sampling: { type: "string", enum: ["uniform", "pro"], default: "uniform", description: "how candidates are drawn; pro: by importance" },
		scalars: {
			type: "string",
			enum: [...SCALAR_KINDS],
			default: "f32",
			description: "how gradients travel; byte: sign and logarithm in steps of 1/8, within 6.5 %",
		},
		rebaseEvery: {
			type: "integer",
			minimum: 0,
			maximum: 1_000_000,
			default: 0,
			description: "commits after which the model becomes the new w0, with new candidates; 0: never",
		},
		aggregation: {
			type: "string",
			enum: ["mean", "trimmed-mean", "norm-cap"],
			default: "mean",
			description: "how clients' sums become one: by weight, trimmed for each candidate, or each cut to a norm",
		},
		trim: {
			type: "number",
			minimum: 0,
			exclusiveMaximum: 0.5,
			maximum: 0.5,
			default: 0.2,
			description: "share of a candidate's values left out at each end (trimmed-mean)",
		},
		normCap: {
			type: "number",
			minimum: 0,
			maximum: 1e9,
			default: 0,
			description: "largest norm of a client's sums (norm-cap); 0: the median of the norms",
		},
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
		verifyLog: {
			type: "boolean",
			enum: [false, true],
			default: false,
			description: "clients compare their task's ledger with the run's log, some 500 bytes a round",
		},
	}),
	needs: { reads: "reports", trainer: "loss" },
	reads: ({ aggregation }) => (aggregation === "mean" ? "lanes" : "reports"),

	check(config) {
		checkCohort(config);
		checkSchedule(config);
		const { unit, scalars, maxAbsGradient, maxStaleness, rebaseEvery } = config;
		if (!isPowerOfTwo(unit)) {
			throw new RondoError("INVALID_ARGUMENT", `option unit of fedkseed must be a power of two from 2^-60 to 1, got ${unit}`);
		}
		if (scalars === "f16" && maxAbsGradient > MAX_FLOAT16) {
			throw new RondoError(
				"INVALID_ARGUMENT",
				`option maxAbsGradient of fedkseed must be at most ${MAX_FLOAT16} with scalars f16, got ${maxAbsGradient}`,
			);
		}
		if (maxStaleness > 0 && rebaseEvery > 0) {
			throw new RondoError(
				"INVALID_ARGUMENT",
				`options maxStaleness and rebaseEvery of fedkseed cannot both be above 0, got ${maxStaleness} and ${rebaseEvery}: steps along an epoch's candidates would land in the next, which has others`,
			);
		}
	},

	bounds(config, layout) {
		const { candidates, sampling, rebaseEvery, verifyLog } = config;
		const digest = "0".repeat(64);
		const chances = sampling === "pro" ? vecOf("u8", candidates, digest) : null;
		const basis: BasisOffer | null = rebaseEvery > 0 ? [Number.MAX_SAFE_INTEGER, new Uint8Array(32), new Uint8Array(32)] : null;
		const tasks = largestOffers(candidates).map((offer) => {
			const task = [offer, chances, basis];
			return encodePlain(verifyLog ? [...task, Number.MAX_SAFE_INTEGER] : task).length;
		});
		return {
			task: Math.max(...tasks),
			download: (sampling === "pro" ? 5 : 4) * candidates + (rebaseEvery > 0 ? 4 * layout.length : 0),
			report: encodePlain(largestReport(config)).length,
		};
	},

	init: ({ config, io }) => ({ ...emptyLedger(io, config.candidates), basis: null, importance: noImportance(config, io) }),

	plan(_state, { config }) {
		const { localSteps, learningRate, maxAbsGradient, importanceClip, sampling } = config;
		const lane = (absMax: number, combine: Lane["combine"]): Lane => ({ length: config.candidates, absMax, combine, codec: ["f32"] });
		const a = lane(localSteps * learningRate * maxAbsGradient * ROUNDING_ROOM, "mean");
		if (sampling === "uniform") return { ...cohortPlan(config), ...asyncPlan(config), lanes: { a } };
		const [h, n] = [lane(localSteps * importanceClip * ROUNDING_ROOM, "sum"), lane(localSteps, "sum")];
		return { ...cohortPlan(config), ...asyncPlan(config), lanes: { a, h, n } };
	},

	task(state, _member, { io, config }) {
		const { importance, basis } = state;
		const weights = importance === null ? undefined : samplingWeights(io.read(importance.h), io.read(importance.n));
		const task: PlainTask = [
			offerLedger(state),
			weights === undefined ? null : io.write("u8", weights.length, (from, to) => weights.subarray(from, to)),
			basis === null ? null : [basis.epoch, fromHex(basis.base.sha256), fromHex(basis.previous.sha256)],
		];
		return config.verifyLog ? [...task, "commit" in state ? state.commit : 0] : task;
	},

	weigh: (numExamples, staleness) => numExamples / Math.sqrt(1 + staleness),

	unpack(header, _plan, { config }) {
		const { candidates, gradients, round } = unpackSteps(header, config);
		// Of the round that the client trained in, which need not be the one that its report lands in.
		const learningRate = learningRateAt(config, round);
		const a = new Float64Array(config.candidates);
		const h = new Float64Array(config.candidates);
		const n = new Float64Array(config.candidates);
		for (let i = 0; i < candidates.length; i++) {
			const k = candidates[i]!;
			a[k]! += learningRate * gradients[i]!;
			h[k]! += Math.min(Math.abs(gradients[i]!), config.importanceClip);
			n[k]! += 1;
		}
		return config.sampling === "pro" ? { a, h, n } : { a };
	},

	finish(state, folded, at) {
		const { config, io, round } = at;
		const { aggregation, candidates, trim, normCap, unit, rebaseEvery } = config;
		const sums =
			aggregation === "mean"
				? folded.lanes.a!
				: aggregation === "norm-cap"
					? cappedMean(folded.reports, "a", candidates, normCap)
					: trimmedSparseMean(folded.reports, "a", candidates, trim);
		const before = io.read(state.ledger);
		const { ledger, changed, peak } = addToLedger(before, sums, unit);
		const next = advanceLedger(io, state, before, ledger);
		const plus = (old: Vec<"f64">, add: Float64Array) =>
			io.write("f64", old.length, (from, to) => io.read(old, from, to).map((value, j) => value + add[from + j]!));
		const importance = state.importance && { h: plus(state.importance.h, folded.lanes.h!), n: plus(state.importance.n, folded.lanes.n!) };
		const model = next.step === rebaseEvery ? rebased(next.ledger, state.basis, at) : { ...next, basis: state.basis, importance };
		return {
			state: config.verifyLog ? { ...model, commit: at.commit + 1 } : model,
			publish: config.verifyLog ? publicationOf(model) : next.ledger,
			metrics: { changedCandidates: changed, ledgerPeak: peak, learningRate: learningRateAt(config, round) },
		};
	},

	model: (state, _member, at) => weightsOf(state.ledger, state.basis, at),

	assemble: (task, client) => assembleLedger(modelOf(task), client, MEMORY),

	async train(task, client) {
		requireExamples(client);
		const { localSteps, epsilon, batchSize, maxAbsGradient, scalars } = client.config;
		const learningRate = learningRateAt(client.config, client.round);
		const model = modelOf(task);
		const weights = await assembleLedger(model, client, MEMORY);
		const draw = await drawOf(task, client);
		const family = candidatesOf(client.shared, client.config, model.basis?.[0] ?? 0);
		const scratch = new Float32Array(weights.length);
		const candidates = new Uint32Array(localSteps);
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
			const slope = (above - below) / (2 * epsilon);
			// Rounded before use, so that the step taken here is the step that the report describes.
			const gradient = Math.abs(slope) <= maxAbsGradient ? roundScalar(scalars, slope) : Number.NaN;
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
		const steps = { candidates: candidates.subarray(0, taken), gradients: gradients.slice(0, taken), round: client.round };
		return {
			header: packSteps(steps, client.config),
			lanes: {},
			numExamples: client.data.numExamples,
			metrics: { loss: totalLoss / taken, skippedSteps: step - taken },
		};
	},
};

function noImportance({ sampling, candidates }: FedKSeedConfig, io: Io): Importance | null {
	const filled = (value: number) => io.write("f64", candidates, (from, to) => new Float64Array(to - from).fill(value));
	return sampling === "pro" ? { h: filled(FIRST_OBSERVATION), n: filled(1) } : null;
}

/** The global weights of a ledger in the epoch of `basis`. */
function weightsOf(ledger: Vec<"i32">, basis: Basis | null, { io, initial, shared, config }: At<FedKSeedTypes>): Vec<"f32"> {
	const entries = io.read(ledger);
	const candidates = candidatesOf(shared, config, basis?.epoch ?? 0);
	const base = basis?.base ?? initial;
	return io.write("f32", base.length, (from, to) => {
		const out = new Float32Array(to - from);
		rebuild(io.read(base, from, to), entries, config.unit, candidates, out, from);
		return out;
	});
}

/** The start of an epoch where `previous` ends the one of `basis`. */
const rebased = (previous: Vec<"i32">, basis: Basis | null, at: At<FedKSeedTypes>): Model => ({
	...emptyLedger(at.io, at.config.candidates),
	basis: { epoch: (basis?.epoch ?? 0) + 1, base: weightsOf(previous, basis, at), previous },
	importance: noImportance(at.config, at.io),
});

const modelOf = ([offer, , basis, commit]: FedKSeedTypes["task"]): LedgerModel => ({ offer, basis, commit });

/** How step i draws its candidate, from the device's secret. */
async function drawOf([, weightsVec]: FedKSeedTypes["task"], client: Client<FedKSeedTypes>): Promise<(step: number) => number> {
	const random = client.secret.at("candidates");
	if (weightsVec === null) return (step) => uniformBelow(random, step, client.config.candidates);
	let total = 0;
	const cumulative = Float64Array.from(await client.read(weightsVec), (weight) => (total += weight));
	return (step) => weightedDraw(random, step, cumulative);
}
