import { isRondoError } from "@rondo/errors";
import { addLedger, applySum, type NoiseKind, type Perturbations, perturbations, type Random, rebuild, toHex } from "@rondo/kernels";
import type { Client } from "../contract.js";
import { type Vec, vecOf } from "../plain.js";
import { checkPublished } from "./ledger-log.js";
import { type LedgerMemory, recallLedger, recallSum } from "./ledger-memory.js";
import { type LedgerOffer, ledgerOf, readLedger } from "./ledger-sync.js";

/** Options that a model made of a ledger depends on. */
export interface LedgerOptions {
	/** K, the number of candidate perturbations. */
	readonly candidates: number;
	readonly noise: NoiseKind;
	/** Value of one unit of the ledger, a power of two. */
	readonly unit: number;
	/** Whether the client compares the ledger with the log. Runs older than this option have none. */
	readonly verifyLog?: boolean;
}

/** By digest, because most clients have or can make what it names: the epoch, its base, and the last ledger of the one before. */
export type BasisOffer = readonly [epoch: number, base: Uint8Array, previous: Uint8Array];

/** What a task says of a model. */
export interface LedgerModel {
	readonly offer: LedgerOffer;
	/** null in the first epoch. */
	readonly basis: BasisOffer | null;
	/** Commit of the ledger's last addition, 0 where there was none; needed with `verifyLog` only. */
	readonly commit: number | undefined;
}

/** What making the model takes of a client. */
export interface LedgerClient extends Pick<Client, "initial" | "layout" | "shared" | "cache" | "read" | "keep" | "log"> {
	readonly config: LedgerOptions;
}

/** The candidates of an epoch of a run. */
export const candidatesOf = (shared: Random, { noise }: Pick<LedgerOptions, "noise">, epoch: number): Perturbations =>
	perturbations(epoch === 0 ? shared.at("z") : shared.at("z", "epoch", epoch), noise);

/**
 * The weights that a task's ledger leads to; with independent candidates by the change since the last one, where the cache
 * still has it.
 * @param name of the strategy with its version: names the entry in the cache
 * @throws MODEL_MISMATCH with `verifyLog` for a ledger that the log does not have; whatever reading throws
 */
export async function assembleLedger(model: LedgerModel, client: LedgerClient, name: string): Promise<Float32Array> {
	const { config, layout } = client;
	const { offer, basis } = model;
	// Before anything is downloaded or kept: what is read afterwards has the digests that were compared.
	if (config.verifyLog === true) await checkPublished(placeOf(model, client), model.commit, client);
	const epoch = basis === null ? 0 : basis[0];
	const key = cacheKey(client, name);
	const memory = recallLedger(client, key);
	const held = memory?.epoch === epoch && memory.ledger.length === config.candidates ? memory : undefined;
	const base = basis === null ? null : await baseOf(basis, memory, client);
	const ledger = await readLedger(offer, config.candidates, held, client);
	const start = await client.read(base ?? client.initial);
	const family = candidatesOf(client.shared, config, epoch);
	const out = new Float32Array(layout.length);
	const now: LedgerMemory = { epoch, step: offer[0], ledger, base, sum: null };
	if (family.kind === "noise/2") {
		// A whole rebuild takes less time than reading the sum of the last round.
		rebuild(start, ledger, config.unit, family, out);
		client.cache.set(key, now);
		return out;
	}
	// Sums of integers: going on from the last round gives the bytes of a sum made afresh.
	const had = await recallSum(held, client);
	const sum = had === undefined ? new Float64Array(layout.length) : had.slice();
	addLedger(sum, ledger, family, 0, had && held?.ledger);
	client.cache.set(key, { ...now, sum: client.keep("f64", sum) });
	applySum(start, sum, config.unit, out);
	return out;
}

function placeOf({ offer, basis }: LedgerModel, { config: { candidates }, layout }: LedgerClient) {
	return {
		ledger: ledgerOf(offer, candidates),
		step: offer[0],
		basis: basis && {
			epoch: basis[0],
			base: vecOf("f32", layout.length, toHex(basis[1])),
			previous: vecOf("i32", candidates, toHex(basis[2])),
		},
	};
}

/** The base of an epoch: the one that the device has, or made from that of the epoch before, or to be downloaded. */
async function baseOf([epoch, digest, previous]: BasisOffer, memory: LedgerMemory | undefined, client: LedgerClient): Promise<Vec<"f32">> {
	const { config, layout } = client;
	const base = vecOf("f32", layout.length, toHex(digest));
	const before = epoch === 1 ? client.initial : memory?.epoch === epoch - 1 ? memory.base : null;
	if (memory?.base?.sha256 === base.sha256 || before === null || config.candidates >= layout.length) return base;
	try {
		const ledger = await client.read(vecOf("i32", config.candidates, toHex(previous)));
		const out = new Float32Array(layout.length);
		rebuild(await client.read(before), ledger, config.unit, candidatesOf(client.shared, config, epoch - 1), out);
		client.keep("f32", out);
	} catch (error) {
		if (!isRondoError(error)) throw error;
	}
	// What was kept has this digest, or the base is downloaded.
	return base;
}

/** Names what the memory of a run depends on: initial weights and run seed. */
function cacheKey({ initial, shared }: LedgerClient, name: string): string {
	return `${name} ${initial.sha256} ${shared.at("z").words(0, new Uint32Array(4)).join("-")}`;
}
