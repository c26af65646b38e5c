import type { ClientId } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";

/** What clients gained by working together, and whether those got more that brought more. */
export interface FairnessReport {
	/**
	 * Pearson's correlation of standalone and final accuracies, from −1 to 1: the collaborative fairness of Lyu, Xu, Wang,
	 * "Collaborative Fairness in Federated Learning" (arXiv:2008.12161), there in per cent. NaN where either is constant.
	 */
	readonly fairness: number;
	readonly meanStandalone: number;
	readonly meanFinal: number;
	readonly maxFinal: number;
	/** Smallest gain of a client, negative for a loss. */
	readonly leastGain: number;
	/** Clients whose final accuracy is below their standalone one. */
	readonly losers: readonly ClientId[];
}

/**
 * Pearson's correlation of two equally long lists of numbers; NaN where one of them is constant.
 * @throws SHAPE_MISMATCH for the lengths, INVALID_ARGUMENT for fewer than two numbers
 */
export function pearson(x: readonly number[], y: readonly number[]): number {
	const n = x.length;
	if (n !== y.length) throw new RondoError("SHAPE_MISMATCH", `y has ${y.length} numbers, x has ${n}`);
	if (n < 2) throw new RondoError("INVALID_ARGUMENT", `x must have at least 2 numbers, got ${n}`);
	const centred = (values: readonly number[]): number[] => {
		const mean = average(values);
		// Equal numbers need not average to themselves.
		return values.every((value) => value === values[0]) ? values.map(() => 0) : values.map((value) => value - mean);
	};
	const [a, b] = [centred(x), centred(y)];
	const product = (u: readonly number[], v: readonly number[]): number => u.reduce((sum, value, i) => sum + value * v[i]!, 0);
	const norms = Math.sqrt(product(a, a)) * Math.sqrt(product(b, b));
	return norms === 0 ? Number.NaN : Math.max(-1, Math.min(1, product(a, b) / norms));
}

/**
 * Compares what each client reaches alone with what it ends up with.
 * @param standalone accuracy by client
 * @param final of the same clients
 * @throws INVALID_ARGUMENT for fewer than two clients, or a client that only one of the two has
 */
export function fairnessReport(standalone: ReadonlyMap<ClientId, number>, final: ReadonlyMap<ClientId, number>): FairnessReport {
	const clients = [...standalone.keys()].sort();
	const odd = clients.find((client) => !final.has(client)) ?? [...final.keys()].find((client) => !standalone.has(client));
	if (odd !== undefined) throw new RondoError("INVALID_ARGUMENT", `client ${JSON.stringify(odd)} has only one of the two accuracies`);
	const alone = clients.map((client) => standalone.get(client)!);
	const together = clients.map((client) => final.get(client)!);
	const gains = together.map((value, i) => value - alone[i]!);
	return {
		fairness: pearson(alone, together),
		meanStandalone: average(alone),
		meanFinal: average(together),
		maxFinal: Math.max(...together),
		leastGain: Math.min(...gains),
		losers: clients.filter((_, i) => gains[i]! < 0),
	};
}

const average = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
