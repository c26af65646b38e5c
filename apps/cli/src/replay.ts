import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type AnyStrategy, bytesPerElement, decodePlain, loadRegistry, type Plain, type Vec, vecsIn } from "@rondo/algorithms";
import { BlobStore, openSyncIo, reportSource } from "@rondo/coordinator";
import { isRondoError, RondoError } from "@rondo/errors";
import {
	type ClosedRound,
	type CommitEntry,
	type Finished,
	type Genesis,
	type LogEntry,
	type LogRecord,
	type Position,
	type ReplayStep,
	RunEngine,
	replayRun,
} from "@rondo/rounds";
import type { Api } from "./api.js";
import type { LogPageView, LogRecordView, ModelView, RunView } from "./api-types.js";

/** Two digests that should be equal. */
export interface Comparison {
	/** What the coordinator serves. */
	readonly expected: string;
	/** What was recomputed. */
	readonly actual: string;
}

/** A run that can be recomputed here. */
export interface Replay {
	/** Commits that are replayed: those that the model of the coordinator was made of. */
	readonly commits: number;
	steps(): AsyncGenerator<ReplayStep>;
	/** After the last step. Undefined for a strategy without a model. */
	model(): Promise<Comparison | undefined>;
}

const PAGE = 200;

/**
 * Prepares the replay of a run: fetches what the genesis names; reports are fetched round by round.
 * @param options.folder an empty one, for the content that strategies read and write
 * @throws STRATEGY_VERSION, UNKNOWN_STRATEGY, NOT_FOUND
 */
export async function openReplay(
	api: Api,
	id: string,
	options: { readonly folder: string; readonly strategies: readonly string[]; readonly stop: AbortSignal },
): Promise<Replay> {
	const { folder, stop } = options;
	const served = await servedModel(api, id, stop);
	const run = await api.get<RunView>(`/runs/${encodeURIComponent(id)}`, stop);
	const commits = served?.commit ?? run.commit;
	const path = `/runs/${encodeURIComponent(run.id)}`;
	const blobs = await BlobStore.open({ folder: join(folder, "blobs"), maxBlobBytes: Number.MAX_SAFE_INTEGER, reserveBytes: 0 });
	const fetched = new Set<string>();
	const fetchVecs = async (value: Plain): Promise<void> => {
		for (const vec of vecsIn(value)) {
			if (fetched.has(vec.sha256)) continue;
			await fetchBlob(api, blobs, vec, stop);
			fetched.add(vec.sha256);
		}
	};

	const genesis = await readGenesis(api, path, stop);
	await fetchVecs(genesis.initial);
	const registry = await loadRegistry(options.strategies.map((module) => pathToFileURL(module).href));
	const strategy = pinned(registry.strategy(genesis.strategy), genesis);
	const { layout } = await api.get<ModelView>(`/models/${encodeURIComponent(run.model)}`, stop);
	const blobFolder = join(folder, "blobs");
	const io = openSyncIo(blobFolder);
	const engine = new ReplayEngine({
		run: genesis.run,
		strategy,
		codec: registry.codec,
		reducer: registry.reducer,
		config: genesis.config,
		layout,
		initial: genesis.initial,
		publicSeed: genesis.publicSeed,
		io,
		source: reportSource(blobFolder, io),
	});

	let collected: RondoError | undefined;
	let round = 0;
	async function* records(): AsyncGenerator<LogRecord> {
		for (let from: number | null = 0; from !== null && from <= commits; ) {
			const page: LogPageView = await api.get(`${path}/log?from=${from}&limit=${PAGE}`, stop);
			for (const item of page.items) {
				if (item.commit > commits) return;
				const record = recordOf(item);
				round = record.entry.kind === "genesis" ? 0 : record.entry.round;
				yield record;
			}
			from = page.next;
		}
	}
	const report = async (task: string): Promise<Uint8Array> => {
		try {
			const bytes = await api.bytes(`${path}/reports/${task}`, stop);
			await fetchVecs(decodePlain(bytes));
			return bytes;
		} catch (error) {
			if (isRondoError(error) && (error.code === "NOT_FOUND" || error.code === "BLOB_MISSING")) {
				collected = new RondoError(
					"NOT_FOUND",
					`round ${round} cannot be recomputed: its reports are no longer kept (retainReportRounds of the coordinator); the rounds before it verify`,
					{
						cause: error,
						details: { field: "round", value: round },
					},
				);
			}
			throw error;
		}
	};

	return {
		commits,
		async *steps() {
			const head = run.commit === commits ? { head: run.logHead } : {};
			for await (const step of replayRun({ records: records(), report, engine, ...head })) {
				if (stop.aborted) throw new RondoError("CANCELLED", "interrupted");
				if (collected !== undefined) throw collected;
				yield step;
			}
		},
		async model() {
			return served === undefined ? undefined : { expected: served.digest, actual: engine.model(engine.last).sha256 };
		},
	};
}

/** A RunEngine that remembers where it stands. */
class ReplayEngine extends RunEngine {
	last: Position = { state: null, members: new Map(), round: 1, commit: 0, population: 0 };

	override genesis(): { readonly state: Plain; readonly record: LogRecord } {
		const genesis = super.genesis();
		this.last = { ...this.last, state: genesis.state };
		return genesis;
	}

	override finish(closed: ClosedRound): Finished {
		const finished = super.finish(closed);
		const { round, commit, population } = closed.position;
		this.last = { state: finished.state, members: finished.members, round: round + 1, commit: commit + 1, population };
		return finished;
	}
}

/** Commit and digest of the model that the coordinator serves; undefined when the strategy has none. */
async function servedModel(
	api: Api,
	id: string,
	stop: AbortSignal,
): Promise<{ readonly commit: number; readonly digest: string } | undefined> {
	try {
		const { headers, body } = await api.download(`/runs/${encodeURIComponent(id)}/model`, stop);
		body.destroy();
		return { commit: Number(headers["rondo-commit"]), digest: String(headers.etag).replaceAll('"', "") };
	} catch (error) {
		if (isRondoError(error) && error.code === "CONFLICT") return undefined;
		throw error;
	}
}

async function readGenesis(api: Api, path: string, stop: AbortSignal): Promise<Genesis> {
	const { items } = await api.get<LogPageView>(`${path}/log?from=0&limit=1`, stop);
	const entry = items[0] === undefined ? undefined : recordOf(items[0]).entry;
	if (entry?.kind !== "genesis") throw new RondoError("REPLAY_MISMATCH", "the log does not begin with a genesis entry");
	return entry;
}

function pinned(strategy: AnyStrategy, genesis: Genesis): AnyStrategy {
	if (strategy.version === genesis.strategyVersion) return strategy;
	throw new RondoError(
		"STRATEGY_VERSION",
		`the run is pinned to ${genesis.strategy} version ${genesis.strategyVersion}, this installation has version ${strategy.version}`,
	);
}

/** The bytes that were hashed, decoded; the readable form beside them is not trusted. */
function recordOf({ commit, hash, entry, accepted }: LogRecordView): LogRecord {
	const value = decodePlain(Buffer.from(entry, "base64")) as unknown as LogEntry;
	return { commit, hash, entry: value as Genesis | CommitEntry, accepted };
}

/** @throws DIGEST_MISMATCH when the bytes are not those that the digest names */
async function fetchBlob(api: Api, blobs: BlobStore, vec: Vec, stop: AbortSignal): Promise<void> {
	const bytes = await api.bytes(`/blobs/${vec.sha256}`, stop);
	const wanted = vec.length * bytesPerElement(vec.dtype);
	const digest = await blobs.put(bytes);
	if (digest !== vec.sha256)
		throw new RondoError("DIGEST_MISMATCH", `blob ${vec.sha256} has the digest ${digest} and ${bytes.length} of ${wanted} bytes`, {
			details: { digest: vec.sha256 },
		});
}
