import type { ClientId, Data, Plain, Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Layout } from "@rondo/tensors";

/** What a workload module learns of the run that it is to train for; what the agent's workloads learn, too. */
export interface SimulatedModel {
	readonly runId: string;
	readonly strategy: string;
	readonly layout: Layout;
	readonly manifest: unknown;
	/** @throws NOT_FOUND for a digest that is not among the assets of the simulation */
	asset(digest: string): Promise<Uint8Array>;
}

/**
 * What a workload module of a simulation exports: that of an agent, but that `createData` learns whose data is wanted. In
 * each thread `createTrainer` runs once per run, and `createData` once per run and client: what clients share belongs into
 * the module.
 */
export interface SimulatedWorkload {
	createTrainer(model: SimulatedModel, options: Plain): Trainer | Promise<Trainer>;
	createData(model: SimulatedModel, options: Plain, client: ClientId): Data | Promise<Data>;
}

/** @throws TRAINER_FAILED when the module cannot be loaded or lacks a function */
export async function loadWorkload(url: string): Promise<SimulatedWorkload> {
	const module: Partial<SimulatedWorkload> = await import(url).catch((cause: unknown) => {
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
	return module as SimulatedWorkload;
}
