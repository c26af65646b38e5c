import type { Random } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import type { ArrayOf, DType, Plain, Vec } from "./plain.js";

/** ASCII, hence one sort order everywhere. */
export type ClientId = string;
export type Metrics = { readonly [name: string]: number };

/**
 * One vector that reports contribute to. The engine owns its sum, its weights and its codec: strategies declare lanes
 * and read the combined result, so arrival order, shards and retries cannot change a bit.
 */
export interface Lane {
	/** Number of elements. */
	readonly length: number;
	/**
	 * Largest |x| that a report may hold; beyond it the report is rejected with LANE_OUT_OF_BOUND. Together with the
	 * largest weight and `leases` it fixes a grid 2^-q: each w·x is rounded to the grid once, so partial sums are exact.
	 */
	readonly absMax: number;
	/** "mean": Σw·x/Σw, the only kind that a reducer may replace. "sum": Σx, never weighted (counts, ranks). */
	readonly combine: "mean" | "sum";
	/** Registered reducer and its arguments, which takes the place of the mean. Absent: the mean. */
	readonly reducer?: readonly [name: string, ...args: Plain[]];
	/** Registered codec and its arguments; how the lane travels. Unused when the strategy has `unpack`. */
	readonly codec: readonly [name: string, ...args: Plain[]];
}

/** One round as the coordinator sees it. */
export interface Plan {
	readonly lanes: { readonly [name: string]: Lane };
	/** Tasks handed out; more than `closeAt` is over-selection. Asynchronous: tasks out at any time, fewer or more than `closeAt`. */
	readonly leases: number;
	/** Reports that close the round early. */
	readonly closeAt: number;
	/** Fewest reports that may commit at the deadline. */
	readonly quorum: number;
	/** Budget of elapsed time for one attempt, milliseconds. */
	readonly deadlineMs: number;
	/** The clamp of every claimed number of examples, hence the largest weight. */
	readonly maxExamples: number;
	/** Below quorum at the deadline: the next attempt of the same round, or a skipped round with a null log entry. */
	readonly onMiss: "replan" | "skip";
	/** Clients that must not be drawn. */
	readonly exclude?: readonly ClientId[];
	/** Who computes: the drawn cohort (default), or the coordinator's own evaluator. */
	readonly audience?: "clients" | "coordinator";
	/**
	 * Present: asynchronous. A returned lease is handed out again at once; a report lands in the round that is open when it
	 * arrives, at most this many commits after the state that its task was made of; each lease lasts for `deadlineMs`. One
	 * client may land more than once in a round. Lanes must be the same in all rounds. Absent: a round ends its tasks.
	 */
	readonly maxStaleness?: number;
}

/** Static declarations, checked when a run is submitted. */
export interface Needs {
	/** "lanes": `finish` never sees one client's report. "reports": it reads them in client-id order. */
	readonly reads: "lanes" | "reports";
	/** What the client half asks of the trainer port. */
	readonly trainer: "none" | "loss" | "gradient";
	/** Device state to start from: that of the last report a commit applied, or the newest. Absent: the strategy keeps none. */
	readonly carry?: "applied" | "latest";
}

/** Maxima per client and round, bytes: shown and limited at submission, enforced before allocation. */
export interface Bounds {
	/** Encoded task. */
	readonly task: number;
	/** Blobs that the task refers to and a client with an empty store downloads. */
	readonly download: number;
	/** Encoded header plus all encoded lanes and the blobs that the header refers to. */
	readonly report: number;
	/** Encoded device state. */
	readonly carry?: number;
	/** Encoded server-held state of one client. */
	readonly member?: number;
}

/** Large data for the server half: local content store, synchronous, hence used in a worker. */
export interface Io {
	/** Elements `from` up to `to` (default: all). Do not write into the result. */
	read<D extends DType>(vec: Vec<D>, from?: number, to?: number): ArrayOf<D>;
	/** Stores an array of `length` elements, asked for tile by tile in ascending order. */
	write<D extends DType>(dtype: D, length: number, tile: (from: number, to: number) => ArrayOf<D>): Vec<D>;
}

/** The types that one strategy puts into the contract. */
export interface Types {
	config: unknown;
	state: Plain;
	member: Plain;
	task: Plain;
	report: Plain;
	carry: Plain;
}

/** Where a server-half function runs. No clock and no secret randomness. */
export interface At<T extends Types = Types> {
	readonly config: T["config"];
	readonly layout: Layout;
	/** Initial weights of the run. */
	readonly initial: Vec<"f32">;
	readonly io: Io;
	/** Public run seed: everyone can regenerate what is drawn from it. */
	readonly shared: Random;
	/** 1-based number of the open round. */
	readonly round: number;
	/** Number of the open commit's track; 0 while strategies have one track. */
	readonly track: number;
	/** Commits so far. */
	readonly commit: number;
	/** Clients enrolled for the run when the round was planned. */
	readonly population: number;
	/** Server-held state of every client, in client-id order. */
	members(): Iterable<readonly [ClientId, T["member"]]>;
}

/** One accepted report, for strategies that read reports. */
export interface Received<T extends Types = Types> {
	readonly client: ClientId;
	readonly weight: number;
	/** Commits between the task and the round that the report landed in. */
	readonly staleness: number;
	readonly header: T["report"];
	readonly member: T["member"] | undefined;
	/** Decoded and range-checked elements of a lane. */
	lane(name: string, from?: number, to?: number): Float64Array;
}

/** What a closed round yields. */
export interface Folded<T extends Types = Types> {
	/** Combined lanes; each has the lane's length. */
	readonly lanes: { readonly [name: string]: Float64Array };
	/** Σ weight. */
	readonly weight: number;
	/** Number of reports. */
	readonly count: number;
	/** In client-id order; empty where the strategy reads lanes only (`readsOf`). */
	readonly reports: readonly Received<T>[];
}

/** What a strategy makes of a closed round. */
export interface Outcome<T extends Types = Types> {
	readonly state: T["state"];
	/** Writes to server-held client state; null forgets. */
	readonly members?: ReadonlyMap<ClientId, T["member"] | null>;
	/** Payload of this commit in the run's hash-chained log, which clients follow. */
	readonly publish?: Plain;
	/** Of the round. */
	readonly metrics?: Metrics;
	/** Of single clients; hidden from other clients. */
	readonly scores?: ReadonlyMap<ClientId, Metrics>;
	/** Ends the run. */
	readonly done?: { readonly reason: string; readonly result?: Plain };
}

/** A mini-batch. */
export interface Batch {
	/** Rows: examples in the batch. */
	readonly size: number;
	/** `size` rows of features, or of token ids (Int32Array), row-major: the model's first input. */
	readonly inputs: Float32Array | Int32Array;
	/**
	 * `size` rows of equally many, row-major. Int32Array: class indices, one for each place the model classifies (a row, or
	 * every position of a sequence); −100 is left out of loss and gradient. Float32Array: targets of a regression, or of a
	 * binary loss (from 0 to 1).
	 */
	readonly labels: Int32Array | Float32Array;
	/** Further inputs by the model's names for them, each `size` rows, row-major. */
	readonly more?: { readonly [input: string]: Float32Array | Int32Array };
}

/** The device's data, as strategies and trainers see it. */
export interface Data {
	readonly numExamples: number;
	/**
	 * Endless mini-batches of `size` (the last of an epoch may be smaller): epoch after epoch, each in an order drawn
	 * from `order`. Take as many as needed. Empty data yields nothing.
	 */
	batches(size: number, order: Random): Iterable<Batch> | AsyncIterable<Batch>;
}

/**
 * How local training turns gradients into steps; g is the mean gradient of a step, η its learning rate, state starts at 0.
 * "sgd": v ← momentum·v + g, w ← w − η·v; momentum defaults to 0.
 * "adam": Algorithm 1 of Kingma & Ba (ICLR 2015, arXiv 1412.6980) with bias correction, by default β₁ 0.9, β₂ 0.999 and
 * ε 1e-8, and with weight decay λ (default 0) decoupled from the gradient: w ← w − η·(m̂/(√v̂ + ε) + λ·w), as AdamW of
 * Loshchilov & Hutter (ICLR 2019, arXiv 1711.05101, Algorithm 2 with a constant schedule, η in the decay too).
 */
export type Optimizer = (
	| { readonly kind: "sgd"; readonly momentum?: number }
	| { readonly kind: "adam"; readonly beta1?: number; readonly beta2?: number; readonly epsilon?: number; readonly weightDecay?: number }
) & {
	/** Bound of the Euclidean norm over all weights together: a longer g is scaled down to it first. Default: none. */
	readonly clipNorm?: number;
};

/**
 * Local training in progress: weights and optimiser state stay on the device from step to step. For one caller at a time,
 * each call after the one before has ended; the trainer's other methods may be used meanwhile and do not touch it.
 */
export interface LocalTraining {
	/**
	 * Takes one step. Several batches are one large one in parts (micro-batches): their gradients are averaged, each
	 * weighted by its rows.
	 * @returns the mean loss before the step, averaged like the gradients
	 */
	step(batch: Batch | readonly Batch[], learningRate: number): Promise<number>;
	/** Copies the current weights into `out`, which has the length of the layout. */
	read(out: Float32Array): Promise<void>;
	/** Frees the device's copies; only once, and nothing may be called afterwards. */
	dispose(): Promise<void>;
}

/**
 * Model computations on the device: the port that trainer packages and applications implement. Weights are one flat
 * float32 vector in layout order. Implementations must give equal bytes for equal inputs on one device.
 */
export interface Trainer {
	/** Mean loss of the batch at `weights`, without dropout. */
	loss(weights: Float32Array, batch: Batch): Promise<number>;
	/** Mean loss of the batch at `weights`; writes its gradient (same length as `weights`) into `out`. */
	gradient(weights: Float32Array, batch: Batch, out: Float32Array): Promise<number>;
	/** Metrics over all of `data`, each a mean over examples, or over the labels that count where examples have several; at least `loss`. */
	evaluate(weights: Float32Array, data: Data): Promise<Metrics>;
	/**
	 * Starts local training at `weights`, which are copied. Present where whole steps on the device are cheaper than
	 * gradients that travel: equal steps give equal bytes on one device, but need not equal steps made with `gradient`.
	 */
	begin?(weights: Float32Array, optimizer: Optimizer): Promise<LocalTraining>;
	/** Short text for logs and the console: library, backend, device. */
	readonly description?: string;
	/** Releases device memory. */
	dispose?(): void | Promise<void>;
}

/** One entry of the commit log as the client half sees it; the value is null when the round was skipped. */
export interface LogValue {
	readonly commit: number;
	readonly track: number;
	readonly round: number;
	readonly value: Plain;
}

/** Everything the client half may touch. */
export interface Client<T extends Types = Types> {
	readonly id: ClientId;
	readonly round: number;
	readonly config: T["config"];
	readonly layout: Layout;
	/** Initial weights of the run; a client learns them once, not with each task. */
	readonly initial: Vec<"f32">;
	readonly trainer: Trainer;
	readonly data: Data;
	readonly signal: AbortSignal;
	/** Public run seed. */
	readonly shared: Random;
	/** PRF(device key, task id): nobody else can compute it; a re-run of one task repeats it. */
	readonly secret: Random;
	/** Device state after `needs.carry`; undefined at first and after a loss. */
	readonly carry: T["carry"] | undefined;
	/** Survives tasks, may vanish at any time. */
	readonly cache: { get(key: string): Plain | undefined; set(key: string, value: Plain): void };
	/** Verified download, or the local copy. Do not write into the result. */
	read<D extends DType>(vec: Vec<D>): Promise<ArrayOf<D>>;
	/**
	 * The commits after `afterCommit` up to `upTo`, in order, as the run's hash-chained log has them; `upTo` is at most the
	 * commit that the task was made at. Entries come as they arrive: that the log is the one the task is based on, and that
	 * it continues what this device has verified before, is known when the iteration has ended, so nothing may be kept or
	 * reported before. @throws REPLAY_MISMATCH when it is not, INVALID_ARGUMENT for another range, UNAVAILABLE
	 */
	log(afterCommit: number, upTo: number): AsyncIterable<LogValue>;
	/** Stores in the device's content store. */
	keep<D extends DType>(dtype: D, array: ArrayOf<D>): Vec<D>;
	/** Tells the application how far the task is: steps done of steps planned. */
	progress(done: number, total: number): void;
}

/** What a client sends back. */
export interface Work<T extends Types = Types> {
	readonly header: T["report"];
	/** Empty when the strategy has `unpack`. */
	readonly lanes: { readonly [name: string]: Float64Array | Float32Array };
	readonly numExamples: number;
	readonly metrics?: Metrics;
	/** New device state; becomes current when its report is applied (`needs.carry`). */
	readonly carry?: T["carry"];
}

/** What the generated documentation says of a strategy. Every built-in one has it. */
export interface About {
	/** Authors, title, venue, identifier. */
	readonly paper: string;
	/** When to choose it and when not, two or three sentences. */
	readonly chooseWhen: string;
	/** Bytes of a report as a formula in the options' names; d is the number of weights. */
	readonly bytesUp: string;
	/** Bytes of a task and what it refers to, in a round after the first. */
	readonly bytesDown: string;
}

/**
 * A federated strategy: a value made of pure functions, both halves in one file. The server half is synchronous and
 * runs in a worker; the client half is asynchronous and touches only `client`.
 */
export interface Strategy<T extends Types = Types> {
	/** The paper's short name, kebab-case. */
	readonly name: string;
	readonly version: number;
	/** One sentence and the paper. */
	readonly summary: string;
	readonly about?: About;
	/** JSON Schema of the options (draft 7, `additionalProperties: false`, a default for every option). */
	readonly schema: object;
	readonly needs: Needs;
	/** Where it depends on the options what `finish` reads. Absent: `needs.reads`, whatever the options. */
	reads?(config: T["config"]): Needs["reads"];
	/** Checks that JSON Schema cannot express. @throws INVALID_ARGUMENT that names option and value. */
	check?(config: T["config"], layout: Layout): void;
	bounds(config: T["config"], layout: Layout): Bounds;
	init(at: At<T>): T["state"];
	plan(state: T["state"], at: At<T>): Plan;
	/** What client is asked, by member state; equal results are one payload. */
	task(state: T["state"], member: T["member"] | undefined, at: At<T>): T["task"];
	/**
	 * Present: the lanes of a report are this pure function of its header, so only the header travels (the wire form is
	 * smaller than the summed form). Total: @throws INVALID_ARGUMENT for a malformed header, which rejects the report.
	 */
	unpack?(header: T["report"], plan: Plan, at: Pick<At<T>, "config" | "layout">): { readonly [lane: string]: Float64Array };
	/** Weight of a report, in (0, plan.maxExamples]. Default: the clamped numExamples. */
	weigh?(numExamples: number, staleness: number, config: T["config"]): number;
	/** `state` is the state now, not as of `plan`. */
	finish(state: T["state"], folded: Folded<T>, at: At<T>): Outcome<T>;
	/** Global weights, or personal ones where a member is given: export and verification. Absent: the strategy has no model. */
	model?(state: T["state"], member: T["member"] | undefined, at: At<T>): Vec<"f32">;
	/** Weights to predict with, from the task: training, evaluation and the application. */
	assemble?(task: T["task"], client: Client<T>): Promise<Float32Array>;
	train(task: T["task"], client: Client<T>): Promise<Work<T>>;
}

/** How one lane's values become bytes. All functions check the arguments of `lane.codec`: @throws INVALID_ARGUMENT that names them. */
export interface Codec {
	readonly name: string;
	readonly lossless: boolean;
	/** Largest encoded size, bytes. */
	maxBytes(lane: Lane): number;
	/**
	 * What is decoded again is within ±absMax, whatever is rounded or scaled on the way: a value that cannot be so, or that is
	 * not finite, is refused here or by the engine.
	 * @param random of the task's secret, `at("codec", lane name)`: what is drawn is unknown to others before the report is sent,
	 * and a report that is encoded again has the same bytes. A draw that the decoder must repeat travels in the bytes.
	 */
	encode(values: Float64Array | Float32Array, lane: Lane, random: Random): Uint8Array;
	/** Pure and total: @throws BAD_ENCODING for malformed bytes. Does not check `absMax`. */
	decode(bytes: Uint8Array, lane: Lane): Float64Array | Float32Array;
	/**
	 * Where in the encoded bytes the elements from … to − 1 lie, so that `decode` reads just these bytes as a lane of that
	 * length. Absent: only whole lanes can be decoded.
	 */
	range?(lane: Lane, from: number, to: number): readonly [from: number, to: number];
}

/** One lane of the accepted reports of a round, in client-id order, as a reducer reads it. */
export interface Stack {
	/** Number of reports, at least 1. */
	readonly count: number;
	/** Elements of the lane. */
	readonly length: number;
	/** Units per 1 of the lane's exact sum: of `gridOf`. */
	readonly grid: number;
	/** Of the reports, as shares of the largest allowed weight: multiples of 2^-32 in (0, 1]. */
	readonly weights: readonly number[];
	/**
	 * Passes over the lane once, in ascending chunks that begin at multiples of `REDUCTION_TILE`, and decodes the reports anew.
	 * A result must not depend on where chunks end. Rows belong to the loop's turn: do not keep them, do not write into them.
	 * @param which ascending indices of the reports that are wanted; default: all
	 */
	chunks(which?: readonly number[]): Iterable<Chunk>;
}

/** Consecutive elements of several reports. */
export interface Chunk {
	/** Index of the first element. */
	readonly from: number;
	/** One for each report, all of one length and type. */
	readonly rows: readonly Float32Array[] | readonly Float64Array[];
}

/** What a reducer makes of a lane. */
export interface Reduced {
	/** Has the lane's length. */
	readonly center: Float64Array;
	/** Of each report, in the order of the stack. */
	readonly scores: readonly Metrics[];
}

/**
 * A way to combine the reports of a round other than their mean, which one report can move at will. Pure: the same reports
 * give the same bytes.
 */
export interface Reducer {
	readonly name: string;
	/** One sentence, with the source. */
	readonly summary: string;
	/** Names of its arguments, in order; options of the same names fill them in. */
	readonly parameters: readonly string[];
	/**
	 * Checks arguments and the number of reports that a round may commit with.
	 * @throws INVALID_ARGUMENT that names argument or number, and what is allowed
	 */
	check(args: readonly Plain[], reports: { readonly least: number; readonly most: number }): void;
	/** @param args have passed `check` with a range that holds `stack.count` */
	reduce(stack: Stack, args: readonly Plain[]): Reduced;
}

/** A strategy whose types only it knows; what registries hold. */
// biome-ignore lint/suspicious/noExplicitAny: the types are existential, each strategy agrees only with itself
export type AnyStrategy = Strategy<any>;
