import {
	type AnyStrategy,
	type CohortOptions,
	checkCohort,
	cohortPlan,
	cohortSchema,
	type Metrics,
	type Plain,
	type Strategy,
	type Types,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";

/** Options of the toy. */
export interface ToyConfig extends CohortOptions {
	/** Examples counted after which the run is done; 0: never. */
	readonly enough: number;
}

type Histogram = { readonly [word: string]: number };

/** Types of the toy: nothing in it is a weight vector. */
export interface ToyTypes extends Types {
	config: ToyConfig;
	state: { readonly histogram: Histogram; readonly trail: number };
	/** Reports of this client that were applied, and where its last trail ended. */
	member: { readonly times: number; readonly end: number };
	/** Differs from client to client. */
	task: { readonly start: number; readonly length: number };
	report: { readonly histogram: Histogram; readonly trail: Uint16Array; readonly times: number };
	/** Reports of this device that were applied, by its own count. */
	carry: { readonly times: number };
}

/** Words that stand for labels 0, 1, …; some need more than one byte a letter. */
export const TOY_WORDS: readonly string[] = ["alpha", "bêta", "γάμμα", "дельта", "एप्सिलॉन"];

const MAX_TRAIL = 64;

/**
 * A strategy for tests of everything that must not know strategies: it counts words. Clients get tasks of their own,
 * keep state on the device and at the server, and report a histogram of strings and an array whose length changes; there
 * is no lane, no trainer and no model. `lostCarries` counts reports of devices whose own count of applied reports is not
 * the server's: it stays 0 while settlements arrive.
 */
export const toyHistogram: Strategy<ToyTypes> = {
	name: "toy-histogram",
	version: 1,
	summary: "Counts words; a test strategy without weights.",
	schema: cohortSchema({
		enough: { type: "integer", minimum: 0, default: 0, description: "examples after which the run is done; 0: never" },
	}),
	needs: { reads: "reports", trainer: "none", carry: "applied" },
	check: checkCohort,
	bounds: () => ({ task: 64, download: 0, report: 512, carry: 32, member: 64 }),
	init: () => ({ histogram: {}, trail: 0 }),
	plan: (_state, { config }) => ({ ...cohortPlan(config), lanes: {} }),
	task: (_state, member, { round }) => ({ start: member?.end ?? 0, length: 1 + ((7 * round + 3 * (member?.times ?? 0)) % MAX_TRAIL) }),
	unpack(header) {
		const { histogram, trail, times } = typeof header === "object" && header !== null ? header : ({} as Partial<ToyTypes["report"]>);
		if (!(trail instanceof Uint16Array) || trail.length === 0 || trail.length > MAX_TRAIL)
			throw new RondoError("INVALID_ARGUMENT", `trail must hold 1 to ${MAX_TRAIL} uint16`);
		if (!isCount(times)) throw new RondoError("INVALID_ARGUMENT", `times must be a count, got ${String(times)}`);
		if (typeof histogram !== "object" || histogram === null)
			throw new RondoError("INVALID_ARGUMENT", `histogram must be a map, got ${String(histogram)}`);
		for (const [word, count] of Object.entries(histogram)) {
			if (!TOY_WORDS.includes(word) || !isCount(count))
				throw new RondoError("INVALID_ARGUMENT", `histogram must count known words, got ${word}: ${String(count)}`);
		}
		return {};
	},
	finish(state, { reports }, { config, round }) {
		const histogram: Record<string, number> = { ...state.histogram };
		const members = new Map<string, ToyTypes["member"]>();
		const scores = new Map<string, Metrics>();
		let trail = state.trail;
		let lostCarries = 0;
		for (const { client, header, member } of reports) {
			for (const [word, count] of Object.entries(header.histogram)) histogram[word] = (histogram[word] ?? 0) + count;
			const times = member?.times ?? 0;
			if (header.times !== times) lostCarries++;
			trail += header.trail.length;
			members.set(client, { times: times + 1, end: header.trail.at(-1)! });
			scores.set(client, { trail: header.trail.length });
		}
		const counted = Object.values(histogram).reduce((sum, count) => sum + count, 0);
		return {
			state: { histogram, trail },
			members,
			scores,
			publish: { round, words: Object.keys(histogram).sort() },
			metrics: { counted, lostCarries, trail },
			...(config.enough > 0 && counted >= config.enough
				? { done: { reason: `counted ${counted} words`, result: histogram as Plain } }
				: {}),
		};
	},
	async train({ start, length }, client) {
		const { data, secret, carry } = client;
		if (data.numExamples === 0) throw new RondoError("CONFLICT", `client ${client.id} has nothing to count`);
		const histogram: Record<string, number> = {};
		for await (const { labels } of data.batches(data.numExamples, secret.at("order"))) {
			for (const label of labels) {
				const word = TOY_WORDS[label % TOY_WORDS.length]!;
				histogram[word] = (histogram[word] ?? 0) + 1;
			}
			break;
		}
		const words = secret.at("trail").words(0, new Uint32Array(length));
		const trail = Uint16Array.from(words, (word, i) => (i === 0 ? start : word % 65_536));
		const times = carry?.times ?? 0;
		return {
			header: { histogram, trail, times },
			lanes: {},
			numExamples: data.numExamples,
			metrics: { distinct: Object.keys(histogram).length },
			carry: { times: times + 1 },
		};
	},
};

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** What a module of additional strategies exports. */
export const strategies: readonly AnyStrategy[] = [toyHistogram];
