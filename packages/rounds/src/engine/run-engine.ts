import {
	type AnyStrategy,
	type At,
	bytesPerElement,
	type ClientId,
	digestOf,
	encodePlain,
	type Io,
	isVec,
	MAX_INLINE_BYTES,
	type Metrics,
	type Outcome,
	type Plain,
	type Plan,
	readsOf,
	type Vec,
	vecsIn,
} from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import { fromHex, type Random, randomFrom } from "@rondo/kernels";
import type { Layout } from "@rondo/tensors";
import type { AcceptedReport, LogRecord } from "../log-types.js";
import { Fold } from "./fold.js";
import { type CodecLookup, checkReport, type FoldContext, type ReducerLookup } from "./lanes.js";
import { commitEntry, genesisEntry, inClientOrder } from "./log.js";
import { checkPlan } from "./plan-check.js";
import { type ReportLookup, receivedReports } from "./received.js";
import { mergeScores, reduceLanes } from "./reduce.js";
import { checkMetrics, type Report, type ReportSource } from "./report.js";

/** Largest encoded state of a strategy, bytes; large arrays in it are Vecs. */
export const MAX_STATE_BYTES = 1_048_576;

/** What a run is made of. */
export interface EngineParts {
	readonly run: string;
	readonly strategy: AnyStrategy;
	readonly codec: CodecLookup;
	readonly reducer: ReducerLookup;
	/** Resolved options of the strategy. */
	readonly config: unknown;
	readonly layout: Layout;
	readonly initial: Vec<"f32">;
	/** 64 hexadecimal digits. */
	readonly publicSeed: string;
	readonly io: Io;
	readonly source: ReportSource;
}

/** Where a run stands before a round: everything besides reports that the round's result depends on. */
export interface Position {
	readonly state: Plain;
	readonly members: ReadonlyMap<ClientId, Plain>;
	/** 1-based number of the open round. */
	readonly round: number;
	/** Commits so far. */
	readonly commit: number;
	/** Clients enrolled when the round was planned. */
	readonly population: number;
}

/** The place of a record in the log. */
export interface Place {
	readonly position: Position;
	readonly incarnation: number;
	readonly attempt: number;
	/** Hash of the record before. */
	readonly previous: string;
}

/** A frozen round. */
export interface ClosedRound extends Place {
	readonly plan: Plan;
	/** In any order. */
	readonly accepted: readonly AcceptedReport[];
	readonly reports: ReportLookup;
	/** The sum of the accepted reports, if it is at hand: a cache, made anew when it is of another set. */
	readonly fold?: Fold;
}

/** What a round made of the run. */
export interface Finished {
	readonly state: Plain;
	/** All members after the round. */
	readonly members: ReadonlyMap<ClientId, Plain>;
	/** Member rows that the round wrote, in client-id order; null forgets. */
	readonly writes: readonly (readonly [ClientId, Plain | null])[];
	readonly record: LogRecord;
	/** Of the strategy, and the clients' weighted means as `client.<name>`. */
	readonly metrics: Metrics;
	/** Of the strategy, and of reducers as `reducer.<name>`. */
	readonly scores: { readonly [client: ClientId]: Metrics };
	readonly done?: { readonly reason: string; readonly result?: Plain };
}

const TRACK = 0;
const byClient = <T>([a]: readonly [ClientId, T], [b]: readonly [ClientId, T]): number => (a < b ? -1 : a > b ? 1 : 0);

/** The server half of one run: synchronous and pure but for the content store behind `io` and `source`. */
export class RunEngine {
	readonly parts: EngineParts;
	readonly #context: FoldContext;
	readonly #shared: Random;
	readonly #bounds: ReturnType<AnyStrategy["bounds"]>;

	/** @throws INVALID_ARGUMENT for a malformed seed, an initial vector of another length, or what the strategy's `check` refuses */
	constructor(parts: EngineParts) {
		const { strategy, codec, reducer, config, layout, initial, publicSeed, source } = parts;
		if (!/^[0-9a-f]{64}$/.test(publicSeed))
			throw new RondoError("INVALID_ARGUMENT", `publicSeed must be 64 hexadecimal digits, got ${JSON.stringify(publicSeed)}`);
		if (initial.dtype !== "f32" || initial.length !== layout.length) {
			throw new RondoError("SHAPE_MISMATCH", `initial is ${initial.length} × ${initial.dtype}, the layout has ${layout.length} f32`);
		}
		this.parts = parts;
		this.#context = { strategy, codec, reducer, config, layout, source };
		this.#shared = randomFrom(fromHex(publicSeed));
		this.#call("check", 0, () => strategy.check?.(config, layout));
		this.#bounds = this.#call("bounds", 0, () => strategy.bounds(config, layout));
	}

	/** The initial state and record 0 of the log. */
	genesis(): { readonly state: Plain; readonly record: LogRecord } {
		const { run, strategy, config, layout, initial, publicSeed } = this.parts;
		const start: Position = { state: null, members: new Map(), round: 0, commit: 0, population: 0 };
		const { state, digest } = this.#call("init", 0, () => checkState(strategy.init(this.#at(start))));
		const record = genesisEntry({
			run,
			strategy: strategy.name,
			strategyVersion: strategy.version,
			config: config as Plain,
			initial,
			layout: digestOf(layout as unknown as Plain),
			publicSeed,
			state: digest,
		});
		return { state, record };
	}

	/** The plan of a round. @throws INVALID_ARGUMENT, UNKNOWN_CODEC, UNKNOWN_REDUCER, TOO_LARGE that name strategy and field */
	plan(position: Position): Plan {
		return this.#call("plan", position.round, () => checkPlan(this.#context, this.parts.strategy.plan(position.state, this.#at(position))));
	}

	/**
	 * Canonical bytes of the task of a client with this server-held state.
	 * @throws TOO_LARGE beyond `bounds.task` or 64 KiB, or when its blobs are beyond `bounds.download`
	 */
	task(position: Position, member: Plain | undefined): Uint8Array {
		return this.#call("task", position.round, () => {
			const task: Plain = this.parts.strategy.task(position.state, member, this.#at(position));
			const bytes = encodePlain(task);
			const most = Math.min(this.#bounds.task, MAX_INLINE_BYTES);
			if (bytes.length > most) throw new RondoError("TOO_LARGE", `the task has ${bytes.length} bytes, at most ${most} are allowed`);
			const blobs = new Map(vecsIn(task).map((vec) => [vec.sha256, vec.length * bytesPerElement(vec.dtype)]));
			const download = [...blobs.values()].reduce((sum, size) => sum + size, 0);
			if (download > this.#bounds.download)
				throw new RondoError("TOO_LARGE", `the task's blobs have ${download} bytes, bounds.download is ${this.#bounds.download}`);
			return bytes;
		});
	}

	/**
	 * Whether a report may be accepted; the coordinator asks before it stores one.
	 * @throws as `checkReport`
	 */
	check(plan: Plan, report: Report, staleness = 0): void {
		checkReport(this.#context, plan, report, staleness);
	}

	/** An empty sum for a round of this plan; its owner releases it. */
	fold(plan: Plan): Fold {
		return new Fold(this.#context, plan);
	}

	/** What the accepted reports make of the run. Throws without side effects, besides orphan blobs. */
	finish(closed: ClosedRound): Finished {
		const { position, plan, reports } = closed;
		const { round, state, members } = position;
		const accepted = inClientOrder(closed.accepted);
		const cached = closed.fold?.covers(accepted) ? closed.fold : undefined;
		const fold = cached ?? this.#refold(plan, accepted, reports);
		const { lanes, weight, weights, metrics: means } = fold.result(accepted);
		if (cached === undefined) fold.release();
		const { strategy } = this.parts;
		return this.#call("finish", round, () => {
			const received =
				readsOf(strategy, this.parts.config) === "reports" ? receivedReports(this.#context, plan, accepted, reports, weights, members) : [];
			const reduced = reduceLanes(this.#context, plan, accepted, reports, weights);
			const folded = { lanes: { ...lanes, ...reduced.lanes }, weight, count: accepted.length, reports: received };
			const outcome: Outcome = strategy.finish(state, folded, this.#at(position));
			const next = checkState(outcome.state);
			const writes = this.#checkWrites(outcome.members);
			const metrics = {
				...checkedMetrics(outcome.metrics ?? {}, "metrics"),
				...Object.fromEntries(Object.entries(means).map(([name, mean]) => [`client.${name}`, mean])),
			};
			const entry = {
				...this.#place(closed),
				kind: "commit" as const,
				publish: checkPublish(outcome.publish ?? null),
				state: next.digest,
				members: writes.length === 0 ? null : digestOf(writes as Plain),
				metrics,
			};
			return {
				state: next.state,
				members: applyWrites(members, writes),
				writes,
				record: commitEntry(entry, accepted),
				metrics,
				scores: Object.fromEntries(
					[...mergeScores(outcome.scores ?? new Map(), reduced.scores)]
						.sort(byClient)
						.map(([client, scores]) => [client, checkedMetrics(scores, `scores of ${client}`)]),
				),
				...(outcome.done === undefined ? {} : { done: outcome.done }),
			};
		});
	}

	/** Record of a round that was given up: nothing changes but the log. */
	skip(place: Place): LogRecord {
		return commitEntry(
			{ ...this.#place(place), kind: "skip", publish: null, state: digestOf(place.position.state), members: null, metrics: {} },
			[],
		);
	}

	/**
	 * Global weights, or those of a client with this server-held state.
	 * @throws CONFLICT when the strategy has no model, SHAPE_MISMATCH when it is not one float32 vector of the layout
	 */
	model(position: Position, member?: Plain): Vec<"f32"> {
		const { strategy, layout } = this.parts;
		if (strategy.model === undefined) throw new RondoError("CONFLICT", `strategy ${strategy.name} has no model`);
		return this.#call("model", position.round, () => {
			const vec: Vec = strategy.model!(position.state, member, this.#at(position));
			if (!isVec(vec) || vec.dtype !== "f32" || vec.length !== layout.length) {
				throw new RondoError("SHAPE_MISMATCH", `it is ${vec.length} × ${vec.dtype}, the layout has ${layout.length} f32`);
			}
			return vec as Vec<"f32">;
		});
	}

	#refold(plan: Plan, accepted: readonly AcceptedReport[], reports: ReportLookup): Fold {
		const fold = this.fold(plan);
		for (const { task, staleness } of accepted) fold.add(task, reports(task), staleness);
		return fold;
	}

	#place({ position, incarnation, attempt, previous }: Place) {
		const { commit, round, population } = position;
		return { commit: commit + 1, incarnation, track: TRACK, round, attempt, population, previous };
	}

	#at({ members, round, commit, population }: Position): At {
		const { config, layout, initial, io } = this.parts;
		return {
			config,
			layout,
			initial,
			io,
			shared: this.#shared,
			round,
			track: TRACK,
			commit,
			population,
			members: () => [...members].sort(byClient),
		};
	}

	#checkWrites(members: Outcome["members"]): readonly (readonly [ClientId, Plain | null])[] {
		const most = this.#bounds.member ?? 0;
		const writes = [...(members ?? [])].sort(byClient);
		for (const [client, row] of writes) {
			const size = row === null ? 0 : encodePlain(row).length;
			if (size > most) throw new RondoError("TOO_LARGE", `the member row of ${client} has ${size} bytes, bounds.member is ${most}`);
		}
		return writes;
	}

	/** Runs code of the strategy; whatever it throws comes out as a RondoError that names strategy, round and function. */
	#call<R>(what: string, round: number, run: () => R): R {
		try {
			return run();
		} catch (error) {
			const cause = toRondoError(error);
			throw new RondoError(cause.code, `strategy ${this.parts.strategy.name}, round ${round}, ${what}: ${cause.message}`, {
				details: cause.details,
				cause: error,
			});
		}
	}
}

function checkState(state: Plain): { readonly state: Plain; readonly digest: string } {
	const size = encodePlain(state).length;
	if (size > MAX_STATE_BYTES)
		throw new RondoError("TOO_LARGE", `the state has ${size} bytes, at most ${MAX_STATE_BYTES} are allowed; large arrays belong into Vecs`);
	return { state, digest: digestOf(state) };
}

function checkPublish(publish: Plain): Plain {
	const size = encodePlain(publish).length;
	if (size > MAX_INLINE_BYTES)
		throw new RondoError(
			"TOO_LARGE",
			`the published value has ${size} bytes, at most ${MAX_INLINE_BYTES} are allowed; large arrays belong into Vecs`,
		);
	return publish;
}

function checkedMetrics(metrics: Metrics, field: string): Metrics {
	checkMetrics(metrics, field);
	return metrics;
}

function applyWrites(
	members: ReadonlyMap<ClientId, Plain>,
	writes: readonly (readonly [ClientId, Plain | null])[],
): ReadonlyMap<ClientId, Plain> {
	if (writes.length === 0) return members;
	const next = new Map(members);
	for (const [client, row] of writes) {
		if (row === null) next.delete(client);
		else next.set(client, row);
	}
	return next;
}
