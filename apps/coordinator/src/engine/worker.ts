import { workerData } from "node:worker_threads";
import { loadRegistry, type Plain, resolveConfig } from "@rondo/algorithms";
import { RondoError, toRondoError } from "@rondo/errors";
import { configureKernels } from "@rondo/kernels";
import { decodeReport, type Fold, type Position, RunEngine, reportDigest } from "@rondo/rounds";
import { openSyncIo, reportSource } from "../blobs/sync-io.js";
import { answerCalls } from "../threads/rpc.js";
import type { EngineMethods, RunPosition, RunSpec } from "./engine.js";
import { importWeights } from "./import-weights.js";

// Entry of the worker thread in which strategies run: their server halves, the exact sums, the reading of reports.

/** What `compose` gives the worker. */
export interface EngineWorkerData {
	readonly blobFolder: string;
	/** `file:` URLs of modules with additional strategies. */
	readonly strategyModules: readonly string[];
	/** Threads of the vector kernels, this one among them. */
	readonly kernelThreads: number;
}

const { blobFolder, strategyModules, kernelThreads } = workerData as EngineWorkerData;
await configureKernels({ threads: kernelThreads });
const registry = await loadRegistry(strategyModules);
const io = openSyncIo(blobFolder);
const source = reportSource(blobFolder, io);

const engines = new Map<string, RunEngine>();
const folds = new Map<string, Fold>();

function engineOf(spec: RunSpec): RunEngine {
	const known = engines.get(spec.run);
	if (known !== undefined) return known;
	const { run, config, layout, initial, publicSeed } = spec;
	const strategy = registry.strategy(spec.strategy);
	if (strategy.version !== spec.version) {
		throw new RondoError(
			"STRATEGY_VERSION",
			`the run is pinned to ${spec.strategy}@${spec.version}, this coordinator has version ${strategy.version}`,
		);
	}
	const engine = new RunEngine({
		run,
		strategy,
		codec: registry.codec,
		reducer: registry.reducer,
		config,
		layout,
		initial,
		publicSeed,
		io,
		source,
	});
	engines.set(run, engine);
	return engine;
}

const positionOf = ({ state, members, commit, round, population }: RunPosition): Position => ({
	state,
	members: new Map(members),
	commit,
	round,
	population,
});

const methods: EngineMethods = {
	strategies: () =>
		registry.strategies().map(({ name, version, summary, schema, needs, unpack }) => ({
			name,
			version,
			summary,
			schema,
			needs,
			headerOnly: unpack !== undefined,
		})),

	resolve(name, options, layout) {
		const strategy = registry.strategy(name);
		const config = resolveConfig(strategy, options, layout) as Plain;
		const { task, download, report } = strategy.bounds(config, layout);
		return { version: strategy.version, config, bounds: { task, download, report } };
	},

	genesis: (spec) => {
		const genesis = engineOf(spec).genesis();
		// The submission may still fail; the engine of a run is made again from what the store keeps.
		engines.delete(spec.run);
		return genesis;
	},

	bounds: ({ strategy, config, layout }) => {
		const { task, download, report } = registry.strategy(strategy).bounds(config, layout);
		return { task, download, report };
	},

	plan: (spec, position) => engineOf(spec).plan(positionOf(position)),

	tasks(spec, position, clients) {
		const engine = engineOf(spec);
		const at = positionOf(position);
		return clients.map((client) => engine.task(at, at.members.get(client)));
	},

	check(spec, plan, content, staleness) {
		const digest = reportDigest(content);
		try {
			const report = decodeReport(content);
			// An evaluation has metrics only, which are checked with the report's shape.
			if (plan.audience !== "coordinator") engineOf(spec).check(plan, report, staleness);
			return { ok: true, numExamples: report.numExamples, digest };
		} catch (thrown) {
			const { code, message } = toRondoError(thrown);
			return { ok: false, code, message, digest };
		}
	},

	fold(spec, plan, key, task, content, staleness) {
		const fold = folds.get(key) ?? engineOf(spec).fold(plan);
		folds.set(key, fold);
		fold.add(task, decodeReport(content), staleness);
	},

	finish(spec, key, { position, plan, attempt, incarnation, previous, accepted }, reports) {
		const contents = new Map(reports);
		const fold = folds.get(key);
		const { state, writes, record, metrics, scores, done } = engineOf(spec).finish({
			position: positionOf(position),
			plan,
			attempt,
			incarnation,
			previous,
			accepted,
			reports: (task) => {
				const content = contents.get(task);
				if (content === undefined) throw new RondoError("BLOB_MISSING", `the report of task ${task} is missing`);
				return decodeReport(content);
			},
			...(fold === undefined ? {} : { fold }),
		});
		return { state, members: writes, record, metrics, scores, ...(done === undefined ? {} : { done }) };
	},

	skip: (spec, { position, attempt, incarnation, previous }) =>
		engineOf(spec).skip({ position: positionOf(position), attempt, incarnation, previous }),

	drop(key) {
		folds.get(key)?.release();
		folds.delete(key);
	},

	model(spec, position, client) {
		const at = positionOf(position);
		return engineOf(spec).model(at, client === undefined ? undefined : at.members.get(client));
	},

	importWeights: (file) => importWeights(io, new Uint8Array(file)),
};

answerCalls(methods as unknown as Parameters<typeof answerCalls>[0]);
