import { isRondoError } from "@rondo/errors";
import type { Client } from "../contract.js";
import { isVec, type Plain, type Vec } from "../plain.js";

/** What a device remembers of a run whose model is a ledger. */
export type LedgerMemory = {
	readonly epoch: number;
	readonly step: number;
	readonly ledger: Int32Array;
	/** Weights that the epoch started from, unless it is the first. */
	readonly base: Vec<"f32"> | null;
	/** Σ_k ledger[k] · z_k, where it is worth keeping. */
	readonly sum: Vec<"f64"> | null;
};

/** The memory under `key` of the cache; undefined when there is none, or it is not one. */
export function recallLedger({ cache }: Pick<Client, "cache">, key: string): LedgerMemory | undefined {
	const entry = cache.get(key) as { readonly [field: string]: Plain } | null | undefined;
	const { epoch, step, ledger, base, sum } = entry ?? {};
	const isWhole = Number.isSafeInteger(epoch) && Number.isSafeInteger(step) && ledger instanceof Int32Array;
	const hasBlobs = (base === null || isVec(base)) && (sum === null || isVec(sum));
	return isWhole && hasBlobs ? (entry as unknown as LedgerMemory) : undefined;
}

/** The sum of a remembered ledger; undefined when there is none, or its blob is gone. */
export async function recallSum(memory: LedgerMemory | undefined, client: Pick<Client, "read">): Promise<Float64Array | undefined> {
	if (memory === undefined || memory.sum === null) return undefined;
	try {
		return await client.read(memory.sum);
	} catch (error) {
		if (!isRondoError(error)) throw error;
		return undefined;
	}
}
