import { join } from "node:path";
import { type AnyStrategy, type Data, decodePlain, type Plain, type Registry, type Trainer, type Vec, vecOf } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { type Random, randomFrom } from "@rondo/kernels";
import { checkLayout, type Layout } from "@rondo/tensors";
import type { BlobRef } from "./blob-store.js";
import type { RunSpec, WorkerSettings } from "./messages.js";
import { trimCaches, WorkerCache } from "./worker-cache.js";
import type { Workload, WorkloadModel } from "./workload.js";

/** A run that the training thread is ready for. */
export interface ReadyRun {
	readonly strategy: AnyStrategy;
	readonly config: Plain;
	readonly layout: Layout;
	readonly initial: Vec<"f32">;
	readonly shared: Random;
	readonly trainer: Trainer;
	readonly data: Data;
	readonly cache: WorkerCache;
}

/** Gets the content of a blob. */
export type ReadBlob = (ref: BlobRef) => Promise<Uint8Array>;

// A trainer holds device memory: few runs are ready at once.
const READY_RUNS = 4;

/** Makes trainer and data once per run; the least recently used runs are disposed of. */
export class WorkerRuns {
	readonly #runs = new Map<string, { readonly spec: RunSpec; readonly ready: ReadyRun }>();
	readonly #registry: Registry;
	readonly #workload: Workload;
	readonly #settings: WorkerSettings;

	constructor(registry: Registry, workload: Workload, settings: WorkerSettings) {
		this.#registry = registry;
		this.#workload = workload;
		this.#settings = settings;
	}

	/**
	 * @param onTrainer hears of a trainer that is made
	 * @param read gets blobs, from the coordinator where they are not here
	 * @throws UNKNOWN_STRATEGY, STRATEGY_VERSION, BAD_ENCODING, INVALID_ARGUMENT, or whatever the workload throws
	 */
	async get(spec: RunSpec, onTrainer: (description: string) => void, read: ReadBlob): Promise<ReadyRun> {
		const known = this.#runs.get(spec.runId);
		if (known !== undefined) {
			this.#runs.delete(spec.runId);
			if (isSame(known.spec, spec)) {
				this.#runs.set(spec.runId, known);
				return known.ready;
			}
			await known.ready.trainer.dispose?.();
		}
		const ready = await this.#prepare(spec, read);
		onTrainer(ready.trainer.description ?? "");
		this.#runs.set(spec.runId, { spec, ready });
		if (this.#runs.size > READY_RUNS) {
			const [oldest, { ready: unused }] = this.#runs.entries().next().value!;
			this.#runs.delete(oldest);
			await unused.trainer.dispose?.();
		}
		return ready;
	}

	async dispose(): Promise<void> {
		for (const { ready } of this.#runs.values()) await ready.trainer.dispose?.();
		this.#runs.clear();
	}

	async #prepare(spec: RunSpec, read: ReadBlob): Promise<ReadyRun> {
		const strategy = this.#registry.strategy(spec.strategy);
		if (strategy.version !== spec.version) {
			throw new RondoError(
				"STRATEGY_VERSION",
				`run ${spec.runId} needs ${spec.strategy} version ${spec.version}, this client has ${strategy.version}`,
			);
		}
		const layout = checkLayout(parseJson("layout_json", spec.layoutJson));
		if (spec.initialLength !== layout.length) {
			throw new RondoError(
				"SHAPE_MISMATCH",
				`run ${spec.runId}: the initial weights have ${spec.initialLength} elements, the layout ${layout.length}`,
			);
		}
		const manifest = parseJson("manifest_json", spec.manifestJson);
		const asset = async (digest: string): Promise<Uint8Array> => read(assetOf(manifest, digest));
		const model: WorkloadModel = { runId: spec.runId, strategy: spec.strategy, layout, manifest, asset };
		const data = await this.#workload.createData(model, this.#settings.workloadOptions);
		const trainer = await this.#workload.createTrainer(model, this.#settings.workloadOptions);
		trimCaches(this.#settings.cacheDir);
		return {
			strategy,
			config: decodePlain(spec.config),
			layout,
			initial: vecOf("f32", spec.initialLength, spec.initialDigest),
			shared: randomFrom(spec.publicSeed),
			trainer,
			data,
			// A run id is a name of [A-Za-z0-9._-]; the suffix keeps ".." a plain name.
			cache: new WorkerCache(join(this.#settings.cacheDir, `${spec.runId}.run`)),
		};
	}
}

/** What a manifest says of one of its assets. @throws NOT_FOUND, INVALID_ARGUMENT */
function assetOf(manifest: unknown, digest: string): BlobRef {
	const { assets } = (typeof manifest === "object" && manifest !== null ? manifest : {}) as { readonly assets?: unknown };
	const listed = (Array.isArray(assets) ? assets : []) as readonly Partial<BlobRef>[];
	const found = listed.find((asset) => asset?.digest === digest);
	// A digest is a file name here.
	if (found === undefined || !/^[0-9a-f]{64}$/.test(digest))
		throw new RondoError("NOT_FOUND", `the model's manifest lists no asset ${JSON.stringify(digest)}`, { details: { digest } });
	const { bytes } = found;
	if (!Number.isSafeInteger(bytes) || bytes! < 0)
		throw new RondoError("INVALID_ARGUMENT", `manifest.assets: bytes of ${digest} must be a non-negative integer, got ${String(bytes)}`);
	return { digest, bytes: bytes! };
}

function parseJson(field: string, text: string): unknown {
	if (text === "") return null;
	try {
		return JSON.parse(text);
	} catch (cause) {
		throw new RondoError("INVALID_ARGUMENT", `run.${field} is not JSON: ${(cause as SyntaxError).message}`, { cause });
	}
}

function isSame(a: RunSpec, b: RunSpec): boolean {
	return (Object.keys(a) as (keyof RunSpec)[]).every((key) => {
		const [x, y] = [a[key], b[key]];
		return x instanceof Uint8Array && y instanceof Uint8Array ? Buffer.compare(x, y) === 0 : x === y;
	});
}
