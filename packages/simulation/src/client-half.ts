import {
	type AnyStrategy,
	type ArrayOf,
	bytesOf,
	type Client,
	type ClientId,
	type Data,
	type DType,
	decodePlain,
	encodePlain,
	type Metrics,
	type Plan,
	type Trainer,
	type Vec,
	type Work,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import { type CodecLookup, type CommitEntry, encodeReport, INLINE_LANE_BYTES, INLINE_LANES_BYTES, type TaskId } from "@rondo/rounds";
import type { Layout } from "@rondo/tensors";

/** Of an entry's hash, which travels with it. */
const HASH_BYTES = 32;

/** What all client halves of a run share. */
export interface RunFacts {
	readonly strategy: AnyStrategy;
	readonly codec: CodecLookup;
	readonly config: unknown;
	readonly layout: Layout;
	readonly initial: Vec<"f32">;
	readonly shared: Random;
}

/** One task of one client, as plain data: it may travel to a thread. */
export interface Job {
	readonly client: ClientId;
	readonly task: TaskId;
	readonly round: number;
	readonly payload: Uint8Array;
	readonly lanes: Plan["lanes"];
	/** What the device kept, in canonical encoding. */
	readonly carry?: Uint8Array;
	readonly cache: ReadonlyMap<string, Uint8Array>;
	/** Whether the work is wanted as it is instead of as the bytes of a report: an attacker changes it first. */
	readonly raw: boolean;
}

/** What `train` returned, as plain data. */
export interface RawWork {
	/** Canonical bytes. */
	readonly header: Uint8Array;
	readonly lanes: Work["lanes"];
	readonly numExamples: number;
	readonly metrics: Metrics;
}

/** A report as it travels, and the blobs that it refers to. */
export interface EncodedReport {
	readonly bytes: Uint8Array;
	readonly digest: string;
	readonly blobs: readonly Vec[];
}

/** What a task made. Nothing of it counts before the report has arrived. */
export interface Done {
	readonly work: RawWork | undefined;
	readonly report: EncodedReport | undefined;
	readonly carry: Uint8Array | undefined;
	/** Entries that it wrote into the device's cache. */
	readonly cache: ReadonlyMap<string, Uint8Array>;
	/** Vecs that it read and stored, in this order. */
	readonly touched: readonly Touch[];
	/** Of the log, with its hashes: what it read, bytes. */
	readonly logBytes: number;
}

/** One use of content. What is stored on the device is there afterwards, and is not sent. */
interface Touch {
	readonly vec: Vec;
	readonly isStored: boolean;
}

/** What a client half reads and makes, as it goes on. */
interface Seen {
	readonly touched: Touch[];
	readonly cache: Map<string, Uint8Array>;
	logBytes: number;
}

/** Canonical bytes of the log's entries after one commit, up to another. @throws as `checkLogRange` */
export type ReadLog = (afterCommit: number, upTo: number) => Promise<readonly Uint8Array[]>;

/** Content that client halves read and make. */
export interface Blobs {
	read<D extends DType>(vec: Vec<D>): Promise<ArrayOf<D>>;
	/** Stores a copy. */
	put<D extends DType>(dtype: D, array: ArrayOf<D>): Vec<D>;
}

/** Where one client half runs. */
export interface HalfParts {
	readonly facts: RunFacts;
	readonly data: Data;
	readonly trainer: Trainer;
	/** Root of the device's secret randomness. */
	readonly secret: Random;
	readonly blobs: Blobs;
	readonly log: ReadLog;
	readonly signal: AbortSignal;
}

/** Runs the client half of one task. @throws whatever the strategy, the trainer or the data throw */
export async function runClientHalf(parts: HalfParts, job: Job): Promise<Done> {
	const { facts, blobs } = parts;
	const seen: Seen = { touched: [], cache: new Map(), logBytes: 0 };
	const client = clientView(parts, job, seen);
	const work: Work = await facts.strategy.train(decodePlain(job.payload), client);
	const raw: RawWork = {
		header: encodePlain(work.header),
		lanes: work.lanes,
		numExamples: work.numExamples,
		metrics: work.metrics ?? {},
	};
	return {
		work: job.raw ? raw : undefined,
		report: job.raw ? undefined : encodeWork(facts, job.lanes, raw, client.secret.at("codec"), blobs),
		carry: work.carry === undefined ? undefined : encodePlain(work.carry),
		...seen,
	};
}

/** What the client half may touch while it does a task; what it reads and keeps goes into `seen`. */
export function clientView(
	{ facts, data, trainer, secret, blobs, log, signal }: HalfParts,
	job: Pick<Job, "client" | "task" | "round" | "carry" | "cache">,
	seen: Seen,
): Client {
	const { config, layout, initial, shared } = facts;
	return {
		id: job.client,
		round: job.round,
		config,
		layout,
		initial,
		trainer,
		data,
		signal,
		shared,
		secret: secret.at("task", job.task),
		carry: job.carry === undefined ? undefined : decodePlain(job.carry),
		cache: {
			get: (key) => {
				const bytes = seen.cache.get(key) ?? job.cache.get(key);
				return bytes === undefined ? undefined : decodePlain(bytes);
			},
			set: (key, value) => seen.cache.set(key, encodePlain(value)),
		},
		read: async (vec) => {
			const array = await blobs.read(vec);
			seen.touched.push({ vec, isStored: false });
			return array;
		},
		async *log(afterCommit, upTo) {
			for (const bytes of await log(afterCommit, upTo)) {
				seen.logBytes += bytes.length + HASH_BYTES;
				const { commit, track, round, publish } = decodePlain(bytes) as unknown as CommitEntry;
				yield { commit, track, round, value: publish };
			}
		},
		keep: (dtype, array) => {
			const vec = blobs.put(dtype, array);
			seen.touched.push({ vec, isStored: true });
			return vec;
		},
		progress: () => undefined,
	};
}

/**
 * The report of a work: its lanes encoded, long ones as blobs.
 * @param random the node above those that the codecs draw from, one for each lane
 * @throws INVALID_ARGUMENT for a lane that was not planned, and what the codecs throw
 */
export function encodeWork(
	{ strategy, codec }: Pick<RunFacts, "strategy" | "codec">,
	planned: Plan["lanes"],
	work: RawWork,
	random: Random,
	blobs: Pick<Blobs, "put">,
): EncodedReport {
	const encoded = Object.entries(work.lanes).map(([name, values]): [string, Uint8Array] => {
		const lane = planned[name];
		if (lane === undefined || strategy.unpack !== undefined)
			throw new RondoError("INVALID_ARGUMENT", `${strategy.name} reports lane ${name}, which it did not plan`);
		return [name, codec(lane.codec).encode(values, lane, random.at(name))];
	});
	let inline = encoded.reduce((sum, [, bytes]) => sum + bytes.length, 0);
	const lanes: Record<string, Uint8Array | Vec<"u8">> = {};
	const stored: Vec[] = [];
	for (const [name, bytes] of encoded.sort(([, a], [, b]) => b.length - a.length)) {
		if (bytes.length <= INLINE_LANE_BYTES && inline <= INLINE_LANES_BYTES) {
			lanes[name] = bytes;
			continue;
		}
		const vec = blobs.put("u8", bytes);
		lanes[name] = vec;
		stored.push(vec);
		inline -= bytes.length;
	}
	const { header, numExamples, metrics } = work;
	return { ...encodeReport({ header: decodePlain(header), lanes, numExamples, metrics }), blobs: stored };
}

/** A copy of an array's bytes. */
export const copiedBytes = (array: ArrayOf<DType>): Uint8Array => bytesOf(array).slice();
