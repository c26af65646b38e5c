import { isRondoError, RondoError } from "@rondo/errors";
import type { Client, Types } from "../contract.js";
import { isVec, type Plain, type Vec } from "../plain.js";

/** A model that clients make from a snapshot and what was published after it. */
export interface FollowedModel {
	readonly base: Vec<"f32">;
	/** Commits that `base` contains. */
	readonly baseCommit: number;
}

/** Where a client finds the model: a part of the task. */
export interface FollowTask extends FollowedModel {
	/** Commits that the model contains. */
	readonly commit: number;
	/** Digest of the model, where the server has it. */
	readonly digest?: string;
}

/** How a client follows. */
export interface FollowOptions {
	/** Names the entry in the cache. */
	readonly key: string;
	/** Whether publications before the snapshot are still there for those whose own copy is older. */
	readonly keepsHistory: boolean;
	/** Do not use the device's own copy. */
	readonly afresh?: boolean;
	/** What one published value makes of the weights, in place. */
	apply(weights: Float32Array, value: Plain, round: number): void | Promise<void>;
}

/**
 * The model of a task: the device's own copy and what was published since, or the snapshot and what came after it. The
 * result is the device's next copy.
 * @throws MODEL_MISMATCH when the snapshot and the log do not give the model; whatever reading them throws
 */
export async function followModel<T extends Types>(task: FollowTask, client: Client<T>, options: FollowOptions): Promise<Float32Array> {
	const own = options.afresh === true ? undefined : await ownCopy(client, options.key);
	if (own !== undefined && own.commit <= task.commit && (own.commit >= task.baseCommit || options.keepsHistory)) {
		const weights = await advance(own.weights, own.commit, task, client, options);
		if (store(weights, task, client, options)) return weights;
	}
	const weights = await advance(await client.read(task.base), task.baseCommit, task, client, options);
	if (store(weights, task, client, options)) return weights;
	throw new RondoError(
		"MODEL_MISMATCH",
		`the snapshot of commit ${task.baseCommit} and the log up to commit ${task.commit} do not give the model ${task.digest}`,
		{ details: { commit: task.commit, baseCommit: task.baseCommit, expected: task.digest } },
	);
}

async function advance<T extends Types>(
	start: Float32Array,
	startCommit: number,
	task: FollowTask,
	client: Client<T>,
	options: FollowOptions,
): Promise<Float32Array> {
	const weights = start.slice();
	for await (const { value, round } of client.log(startCommit, task.commit)) {
		if (value !== null) await options.apply(weights, value, round);
	}
	return weights;
}

/** Keeps the weights as the device's copy; false when they are not the model. */
function store<T extends Types>(weights: Float32Array, { commit, digest }: FollowTask, client: Client<T>, { key }: FollowOptions): boolean {
	const copy = client.keep("f32", weights);
	if (digest !== undefined && copy.sha256 !== digest) return false;
	client.cache.set(key, { commit, copy });
	return true;
}

/** The device's copy; undefined when the cache or its blob is gone. */
async function ownCopy<T extends Types>(client: Client<T>, key: string): Promise<{ commit: number; weights: Float32Array } | undefined> {
	const entry = client.cache.get(key) as { readonly commit: number; readonly copy: Vec<"f32"> } | undefined;
	if (entry === undefined || !isVec(entry.copy) || entry.copy.length !== client.layout.length) return undefined;
	try {
		return { commit: entry.commit, weights: await client.read(entry.copy) };
	} catch (error) {
		if (!isRondoError(error)) throw error;
		return undefined;
	}
}
