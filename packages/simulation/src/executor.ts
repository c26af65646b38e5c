import type { ClientId, Data, Trainer } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import type { Random } from "@rondo/kernels";
import { poisonedData, withoutTraining } from "./adversary/poison.js";
import type { AdversarySpec } from "./adversary/spec.js";
import { type Done, type Job, type ReadLog, type RunFacts, runClientHalf } from "./client-half.js";
import type { SimulatedClient } from "./device.js";
import type { MemoryStore } from "./memory-store.js";

/** Where client halves run. */
export interface Executor {
	/** Tasks that it can work on at once. */
	readonly width: number;
	/** @throws whatever the client half throws; CANCELLED when `signal` aborts before the end */
	run(job: Job, signal: AbortSignal): Promise<Done>;
}

/** Data and trainer as the client's attacks leave them. */
export const armed = (
	data: Data,
	trainer: Trainer,
	adversary: readonly AdversarySpec[] | undefined,
): { readonly data: Data; readonly trainer: Trainer } =>
	adversary === undefined ? { data, trainer } : { data: poisonedData(data, adversary), trainer: withoutTraining(trainer, adversary) };

/** Runs client halves one after the other in this thread. */
export function inThisThread(
	clients: readonly SimulatedClient[],
	facts: RunFacts,
	store: MemoryStore,
	log: ReadLog,
	secretOf: (client: ClientId) => Random,
): Executor {
	const byId = new Map(clients.map(({ id, data, trainer, adversary }) => [id, armed(data, trainer, adversary)]));
	let last: Promise<unknown> = Promise.resolve();
	return {
		width: 1,
		run(job, signal) {
			const done = last.then(() => {
				if (signal.aborted) throw new RondoError("CANCELLED", `task ${job.task} was cancelled`);
				const { data, trainer } = byId.get(job.client)!;
				const blobs = { read: async (vec: Parameters<MemoryStore["read"]>[0]) => store.read(vec) as never, put: store.put };
				return runClientHalf({ facts, data, trainer, secret: secretOf(job.client), blobs, log, signal }, job);
			});
			last = done.catch(() => undefined);
			return done;
		},
	};
}
