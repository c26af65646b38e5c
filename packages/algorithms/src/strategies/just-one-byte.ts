import { RondoError } from "@rondo/errors";
import { NOISE_KINDS, type NoiseKind, type Perturbations, perturb, perturbations, type Random } from "@rondo/kernels";
import { type CohortOptions, checkCohort, cohortPlan, cohortSchema } from "../cohort.js";
import type { At, Client, ClientId, Strategy, Types } from "../contract.js";
import { packScalars, SCALAR_KINDS, type ScalarKind, unpackScalars } from "../encoding/scalar-codec.js";
import { followModel } from "../following/followed-model.js";
import { checkCancelled, requireExamples } from "../local-training/local-sgd.js";
import { encodePlain, MAX_INLINE_BYTES, type Plain, type Vec, vecOf } from "../plain.js";
import { subtractCombination } from "../projections/shared-bases.js";

/** Options of Just One Byte. */
export interface JustOneByteConfig extends CohortOptions {
	/** n, batches that each client evaluates in a step: so many scalars it sends. */
	readonly samples: number;
	readonly batchSize: number;
	/** Distance of the two points of an estimate from the weights, along ±1 directions. */
	readonly epsilon: number;
	readonly learningRate: number;
	/** What the sum over N scalars of a step is divided by: √N, as the authors' code does, or N, which makes it a mean. */
	readonly scaling: "sqrt" | "mean";
	/** How perturbations are made: "noise/1" independent, "noise/2" structured (docs/shared-randomness.md). */
	readonly noise: NoiseKind;
	/** How a scalar travels. */
	readonly scalars: ScalarKind;
	/** Commits from one snapshot, and comparison of the replicas, to the next. */
	readonly snapshotEvery: number;
	/** What a client without a copy starts from: the last snapshot, or the initial weights and the whole log. */
	readonly join: "snapshot" | "replay";
	/** Samples of a larger scalar gradient count as 0, and a report that holds one is rejected. */
	readonly maxAbsGradient: number;
}

/** What a step published: clients in order, and the scalars of each, one after the other. */
type Step = readonly [clients: readonly ClientId[], scalars: Float32Array | Uint16Array | Uint8Array];

/** Types of Just One Byte. */
export interface JustOneByteTypes extends Types {
	config: JustOneByteConfig;
	/** The last snapshot, and the steps after it with the rounds they were taken in. */
	state: { readonly base: Vec<"f32">; readonly baseCommit: number; readonly tail: readonly (readonly [round: number, step: Step])[] };
	/** Present: the client's replica was another one, and its next task tells it to start afresh. */
	member: true;
	task: readonly [base: Vec<"f32">, baseCommit: number, commit: number, compare: boolean, afresh: boolean];
	/** The scalars, and the digest of the weights they were taken at where the task wants to compare. */
	report: readonly [scalars: Float32Array | Uint16Array | Uint8Array, digest: string | null];
	carry: null;
}

const BYTES: { readonly [kind in ScalarKind]: number } = { f32: 4, f16: 2, byte: 1 };
/** A client id, 64 characters, with its CBOR head. */
const CLIENT_BYTES = 66;
const FRAME_BYTES = 64;
/** Room for the steps since a snapshot in the state of at most 1 MiB. */
const TAIL_BYTES = 1_000_000;
/** What rounding to one byte adds to a scalar at most, and a little. */
const ROUNDING_ROOM = 1.07;

/** Bytes of a published step when every client has the longest name. */
const stepBytes = ({ cohortSize, samples, scalars }: JustOneByteConfig): number =>
	FRAME_BYTES + cohortSize * (CLIENT_BYTES + samples * BYTES[scalars]);

/** The perturbations of one client in a round; sample s uses member s. */
const directionsOf = (shared: Random, round: number, client: ClientId, { noise }: JustOneByteConfig): Perturbations =>
	perturbations(shared.at("just-one-byte", round, client), noise);

/** A step as every replica takes it: w ← w − learningRate · Σ g z / √N (or N), one client after the other. */
function takeStep(
	weights: Float32Array,
	from: number,
	[clients, packed]: Step,
	round: number,
	shared: Random,
	config: JustOneByteConfig,
): void {
	const gradients = unpackScalars(config.scalars, packed);
	const { samples, learningRate, scaling } = config;
	const factor = learningRate / (scaling === "sqrt" ? Math.sqrt(gradients.length) : gradients.length);
	for (const [i, client] of clients.entries()) {
		const coefficients = Float32Array.from(gradients.subarray(i * samples, (i + 1) * samples), (g) => factor * g);
		subtractCombination(weights, coefficients, directionsOf(shared, round, client, config), weights, from);
	}
}

/** The snapshot and all steps after it. */
function currentModel(
	{ base, tail }: JustOneByteTypes["state"],
	{ io, shared, config }: Pick<At<JustOneByteTypes>, "io" | "shared" | "config">,
): Vec<"f32"> {
	if (tail.length === 0) return base;
	return io.write("f32", base.length, (from, to) => {
		const out = io.read(base, from, to).slice();
		for (const [round, step] of tail) takeStep(out, from, step, round, shared, config);
		const odd = out.findIndex((weight) => !Number.isFinite(weight));
		if (odd >= 0) throw new RondoError("NOT_FINITE", `weight ${from + odd} is ${out[odd]}: choose a smaller learningRate`);
		return out;
	});
}

/**
 * Just One Byte: Zelikman, Huang, Liang, Haber, Goodman, "Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized
 * Language Model Finetuning Using Shared Randomness", 2023, arXiv:2306.10015.
 *
 * All clients hold the same weights and take every step together. In a step each evaluates n batches: for sample s it draws
 * z from (run seed, round, client, s), g = (L(w + ε z) − L(w − ε z)) / 2ε (SPSA, Spall 1992), and sends g as one byte. The
 * commit is the list of all scalars; everyone applies w ← w − learningRate · Σ g z / √N over the N of them, so that replicas
 * stay equal without weights being sent. The log is the checkpoint: a client that comes late replays it from a snapshot or
 * from the initial weights, with the same bytes.
 *
 * The server keeps a snapshot and the steps since. Every `snapshotEvery` commits it makes the model itself, in the order of
 * the log and by the same exact kernels, which is the next snapshot; in that step clients send the digest of their weights.
 * Scalars of a replica that is another one are left out, and its client is told to start afresh. The server's own model
 * decides instead of a majority, because it can be recomputed by anyone.
 *
 * Departs from the paper: a coordinator collects and orders the scalars instead of peers with barriers and clocks, and seeds
 * are paths instead of concatenated digits, which collide. The code of a scalar has steps of 1/8 so that sign and exponent
 * are one byte (see `toByte`); the authors' code computes the byte but sends the float. `scaling` "sqrt" is what the code
 * does: the step grows with √N; with "mean" it does not depend on N. Directions are ±1, and perturbed weights are made from
 * the pristine ones. Samples whose losses are not finite count as 0.
 * Limit case: one client with one sample moves the weights by −learningRate · g · z.
 */
export const justOneByte: Strategy<JustOneByteTypes> = {
	name: "just-one-byte",
	version: 1,
	summary: "Zeroth-order steps taken by all together, one byte per sample in each direction (Zelikman et al., 2023, arXiv:2306.10015).",
	about: {
		paper:
			"Zelikman, Huang, Liang, Haber, Goodman, Just One Byte (per gradient): A Note on Low-Bandwidth Decentralized Language Model Finetuning Using Shared Randomness, 2023, arXiv:2306.10015",
		chooseWhen:
			"For a few clients that are always there and have little memory and almost no bandwidth, tuning a pretrained model together. Every step waits for its slowest client and costs a round trip; where clients come and go, or rounds are expensive, FedKSeed takes many steps a round.",
		bytesUp: "samples (4·samples with scalars f32)",
		bytesDown: "cohortSize·(samples + a name) for each commit since the client's own copy; 4·d more without one",
	},
	schema: cohortSchema({
		samples: { type: "integer", minimum: 1, maximum: 4096, default: 30, description: "batches per client and step, a scalar for each" },
		batchSize: { type: "integer", minimum: 1, maximum: 1_000_000, default: 32, description: "examples per batch" },
		epsilon: { type: "number", exclusiveMinimum: 0, maximum: 1, default: 0.001, description: "distance of the two evaluation points" },
		learningRate: { type: "number", exclusiveMinimum: 0, maximum: 1000, default: 0.001, description: "step size" },
		scaling: {
			type: "string",
			enum: ["sqrt", "mean"],
			default: "sqrt",
			description: "the sum over the N scalars of a step is divided by √N (the authors' code) or by N",
		},
		noise: {
			type: "string",
			enum: [...NOISE_KINDS],
			default: "noise/2",
			description: "perturbations: noise/1 independent, noise/2 structured (a client's samples in one fast transform)",
		},
		scalars: { type: "string", enum: [...SCALAR_KINDS], default: "byte", description: "how a scalar gradient travels" },
		snapshotEvery: {
			type: "integer",
			minimum: 1,
			maximum: 4096,
			default: 16,
			description: "commits from one snapshot, and comparison of the replicas, to the next",
		},
		join: {
			type: "string",
			enum: ["snapshot", "replay"],
			default: "snapshot",
			description: "what a client without a copy starts from: the last snapshot, or the initial weights and the whole log",
		},
		maxAbsGradient: {
			type: "number",
			exclusiveMinimum: 0,
			maximum: 1e6,
			default: 1000,
			description: "largest magnitude of a gradient; samples beyond it count as 0",
		},
	}),
	needs: { reads: "reports", trainer: "loss" },

	check(config) {
		checkCohort(config);
		const { cohortSize, samples, snapshotEvery } = config;
		const bytes = stepBytes(config);
		if (bytes > MAX_INLINE_BYTES)
			throw new RondoError(
				"INVALID_ARGUMENT",
				`options cohortSize ${cohortSize} and samples ${samples} of just-one-byte make steps of ${bytes} bytes, at most ${MAX_INLINE_BYTES} are allowed`,
			);
		if (bytes * snapshotEvery > TAIL_BYTES)
			throw new RondoError(
				"INVALID_ARGUMENT",
				`option snapshotEvery of just-one-byte must be at most ${Math.floor(TAIL_BYTES / bytes)} for steps of ${bytes} bytes, got ${snapshotEvery}`,
			);
	},

	bounds: ({ samples, scalars }, layout) => ({
		task: encodePlain([vecOf("f32", layout.length, "0".repeat(64)), Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, true, true]).length,
		download: 4 * layout.length,
		report: encodePlain([new Uint8Array(samples * BYTES[scalars]), "0".repeat(64)]).length + FRAME_BYTES,
		member: encodePlain(true).length,
	}),

	init: ({ initial }) => ({ base: initial, baseCommit: 0, tail: [] }),

	plan: (_state, { config }) => ({ ...cohortPlan(config), lanes: {} }),

	task: ({ base, baseCommit }, member, { commit, config }) => [
		base,
		baseCommit,
		commit,
		isDue(baseCommit, commit, config),
		member !== undefined,
	],

	unpack(header, _plan, { config }) {
		const { samples, scalars, maxAbsGradient } = config;
		const [packed, digest] = Array.isArray(header) && header.length === 2 ? (header as readonly Plain[]) : [];
		if (digest !== null && !isDigest(digest))
			throw new RondoError("INVALID_ARGUMENT", "the header must be [scalars, digest or null], the digest 64 hexadecimal digits");
		const gradients = unpackScalars(scalars, packed);
		if (gradients.length !== samples)
			throw new RondoError("INVALID_ARGUMENT", `the header must hold ${samples} scalars, got ${gradients.length}`);
		const odd = gradients.findIndex((g) => !(Math.abs(g) <= ROUNDING_ROOM * maxAbsGradient));
		if (odd >= 0)
			throw new RondoError("LANE_OUT_OF_BOUND", `scalar ${odd} must be within ±${ROUNDING_ROOM * maxAbsGradient}, got ${gradients[odd]}`);
		return {};
	},

	finish(state, { reports }, at) {
		const { commit, config, round } = at;
		const compare = isDue(state.baseCommit, commit, config);
		const base = compare ? currentModel(state, at) : state.base;
		const isReplica = ({ header: [, digest] }: (typeof reports)[number]): boolean => !compare || digest === base.sha256;
		const taken = reports.filter(isReplica);
		const members = new Map<ClientId, true | null>();
		for (const report of reports) {
			if (!isReplica(report)) members.set(report.client, true);
			else if (report.member !== undefined) members.set(report.client, null);
		}
		const before = compare ? { base, baseCommit: commit, tail: [] } : state;
		const step: Step | null =
			taken.length === 0 ? null : [taken.map(({ client }) => client), concatenated(taken.map(({ header: [scalars] }) => scalars))];
		return {
			state: step === null ? before : { ...before, tail: [...before.tail, [round, step]] },
			members,
			publish: step,
			metrics: {
				scalars: taken.length * config.samples,
				...(compare
					? { replicas: new Set(reports.map(({ header: [, digest] }) => digest)).size, discarded: reports.length - taken.length }
					: {}),
			},
		};
	},

	model: (state, _member, at) => currentModel(state, at),

	assemble,

	async train(task, client) {
		requireExamples(client);
		const { config, round, id, shared, trainer } = client;
		const { samples, batchSize, epsilon, maxAbsGradient, scalars } = config;
		const weights = await assemble(task, client);
		const z = directionsOf(shared, round, id, config);
		const scratch = new Float32Array(weights.length);
		const gradients = new Float32Array(samples);
		let totalLoss = 0;
		let counted = 0;
		let sample = 0;
		for await (const batch of client.data.batches(batchSize, client.secret.at("order"))) {
			checkCancelled(client, sample, samples);
			perturb(weights, epsilon, z, sample, scratch);
			const above = await trainer.loss(scratch, batch);
			perturb(weights, -epsilon, z, sample, scratch);
			const below = await trainer.loss(scratch, batch);
			const gradient = (above - below) / (2 * epsilon);
			if (Math.abs(gradient) <= maxAbsGradient) {
				gradients[sample] = gradient;
				totalLoss += (above + below) / 2;
				counted++;
			}
			client.progress(++sample, samples);
			if (sample === samples) break;
		}
		if (counted === 0)
			throw new RondoError("NOT_FINITE", `none of ${sample} samples had finite losses and a gradient within ±${maxAbsGradient}`);
		const [, , , compare] = task;
		return {
			header: [packScalars(scalars, gradients), compare ? client.keep("f32", weights).sha256 : null],
			lanes: {},
			numExamples: client.data.numExamples,
			metrics: { loss: totalLoss / counted, skippedSamples: sample - counted },
		};
	},
};

/** Whether the step after `commit` compares the replicas and makes a snapshot. */
const isDue = (baseCommit: number, commit: number, { snapshotEvery }: JustOneByteConfig): boolean => commit - baseCommit >= snapshotEvery;

const isDigest = (value: unknown): boolean => typeof value === "string" && /^[0-9a-f]{64}$/.test(value);

/** The replica: the device's own copy, or a snapshot, and the steps since. */
function assemble([base, baseCommit, commit, , afresh]: JustOneByteTypes["task"], client: Client<JustOneByteTypes>): Promise<Float32Array> {
	const { config, shared, initial } = client;
	const start = config.join === "replay" ? { base: initial, baseCommit: 0 } : { base, baseCommit };
	return followModel({ ...start, commit }, client, {
		afresh,
		key: "just-one-byte/1",
		keepsHistory: true,
		apply: (weights, value, round) => takeStep(weights, 0, checkStep(value, round, config), round, shared, config),
	});
}

/** What a round published, once it is known to be a step. @throws BAD_ENCODING */
function checkStep(value: Plain, round: number, { samples, scalars }: JustOneByteConfig): Step {
	const [clients, packed] = Array.isArray(value) && value.length === 2 ? (value as readonly Plain[]) : [];
	const isNamed = Array.isArray(clients) && clients.every((client) => typeof client === "string");
	if (!isNamed || !ArrayBuffer.isView(packed) || packed.byteLength !== clients.length * samples * BYTES[scalars])
		throw new RondoError("BAD_ENCODING", `what round ${round} published is not [clients, ${samples} scalars of each]`);
	return [clients, packed as Step[1]];
}

/** Arrays of one type, at least one of them, one after the other. */
function concatenated<A extends Float32Array | Uint16Array | Uint8Array>(parts: readonly A[]): A {
	const ArrayOfKind = parts[0]!.constructor as new (length: number) => A;
	const all = new ArrayOfKind(parts.reduce((sum, { length }) => sum + length, 0));
	let at = 0;
	for (const part of parts) {
		all.set(part, at);
		at += part.length;
	}
	return all;
}
