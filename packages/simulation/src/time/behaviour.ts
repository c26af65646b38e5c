import type { ClientId } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { type Random, uniform01 } from "@rondo/kernels";
import type { TaskId } from "@rondo/rounds";
import { checkDistribution, type Distribution, drawFrom } from "./distribution.js";

/** How clients behave in virtual time. What is absent takes no time and never happens. */
export interface Behaviour {
	/** Examples that a client works through in a second, drawn once for each client. */
	readonly examplesPerSecond?: Distribution;
	/** Time that a task and its report are under way together, milliseconds, drawn for each task. */
	readonly latencyMs?: Distribution;
	/** A share of the clients works slower by a factor, drawn once for each of them. */
	readonly stragglers?: { readonly share: number; readonly slowdown: Distribution };
	/** Probability that the report of a task never comes. */
	readonly dropout?: number;
	/** Share of the time that a client is there, drawn for each client and slot of time; a slot has `slotMs` (default: a minute). */
	readonly availability?: { readonly share: number; readonly slotMs?: number };
}

/** Answers of the clients' world to the driver. */
export interface World {
	/** Time from the lease of a task to the arrival of its report, whole milliseconds; undefined when it never comes. */
	durationMs(task: TaskId, client: ClientId): number | undefined;
	isThere(client: ClientId, nowMs: number): boolean;
	/** When `isThere` may change next; Infinity when it never does. */
	nextChangeMs(nowMs: number): number;
}

const SLOT_MS = 60_000;

/**
 * The behaviour as a pure function of `random`: it does not depend on what is asked before.
 * @param numExamples of each client; what the time of a task is proportional to
 * @throws INVALID_ARGUMENT that names field and value
 */
export function worldOf(behaviour: Behaviour, numExamples: ReadonlyMap<ClientId, number | undefined>, random: Random): World {
	const { examplesPerSecond, latencyMs = 0, stragglers, dropout = 0, availability } = behaviour;
	if (examplesPerSecond !== undefined) checkDistribution("behaviour.examplesPerSecond", examplesPerSecond, Number.MIN_VALUE);
	checkDistribution("behaviour.latencyMs", latencyMs);
	if (stragglers !== undefined) {
		checkShare("behaviour.stragglers.share", stragglers.share);
		checkDistribution("behaviour.stragglers.slowdown", stragglers.slowdown, 1);
	}
	checkShare("behaviour.dropout", dropout);
	if (availability !== undefined) checkShare("behaviour.availability.share", availability.share);
	const slotMs = availability?.slotMs ?? SLOT_MS;
	if (!Number.isSafeInteger(slotMs) || slotMs < 1)
		throw new RondoError("INVALID_ARGUMENT", `behaviour.availability.slotMs must be a positive integer, got ${slotMs}`);
	const taskMs = new Map<ClientId, number>();
	for (const [client, examples] of numExamples) {
		if (examplesPerSecond === undefined) continue;
		if (examples === undefined)
			throw new RondoError("INVALID_ARGUMENT", `behaviour.examplesPerSecond needs numExamples of every client, ${client} has none`);
		const speed = drawFrom(examplesPerSecond, random.at("speed", client));
		const isSlow = stragglers !== undefined && uniform01(random.at("straggler", client), 0) < stragglers.share;
		const slowdown = isSlow ? drawFrom(stragglers.slowdown, random.at("slowdown", client)) : 1;
		taskMs.set(client, (1000 * examples * slowdown) / speed);
	}
	return {
		durationMs(task, client) {
			if (uniform01(random.at("dropout", task), 0) < dropout) return undefined;
			return Math.ceil((taskMs.get(client) ?? 0) + drawFrom(latencyMs, random.at("latency", task)));
		},
		isThere: (client, nowMs) =>
			availability === undefined || uniform01(random.at("availability", client, Math.floor(nowMs / slotMs)), 0) < availability.share,
		nextChangeMs: (nowMs) => (availability === undefined ? Number.POSITIVE_INFINITY : (Math.floor(nowMs / slotMs) + 1) * slotMs),
	};
}

function checkShare(field: string, value: number): void {
	if (!(value >= 0 && value <= 1))
		throw new RondoError("INVALID_ARGUMENT", `${field} must be from 0 to 1, got ${String(value)}`, { details: { field, value } });
}
