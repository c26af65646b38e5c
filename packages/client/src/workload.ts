import type { Data, Plain, Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";

/** What a workload module learns of the run that it is to train for. */
export interface WorkloadModel {
	readonly runId: string;
	readonly strategy: string;
	/** How the tensors lie in the flat weight vector. */
	readonly layout: Layout;
	/** What the run's creator says of the model (architecture); parsed JSON. */
	readonly manifest: unknown;
	/**
	 * The content of a blob that the manifest lists under `assets`, like weights that are not trained. It comes from the
	 * coordinator once and is checked whenever it is read.
	 * @throws NOT_FOUND for a digest that the manifest does not list
	 */
	asset(digest: string): Promise<Uint8Array>;
}

/**
 * What a workload module exports. Both functions run once per run, in the training thread; `options` is
 * `workloadOptions` of `connect`.
 */
export interface Workload {
	createTrainer(model: WorkloadModel, options: Plain): Trainer | Promise<Trainer>;
	createData(model: WorkloadModel, options: Plain): Data | Promise<Data>;
}

/** @throws TRAINER_FAILED when the module cannot be loaded or lacks a function */
export async function loadWorkload(url: string): Promise<Workload> {
	const module: Partial<Workload> = await import(url).catch((cause: unknown) => {
		throw new RondoError(
			"TRAINER_FAILED",
			`the workload module ${url} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
			{ cause },
		);
	});
	for (const name of ["createTrainer", "createData"] as const) {
		if (typeof module[name] !== "function")
			throw new RondoError("TRAINER_FAILED", `the workload module ${url} does not export a function ${name}`);
	}
	return module as Workload;
}
