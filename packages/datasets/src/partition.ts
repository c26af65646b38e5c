import { RondoError } from "@rondo/errors";
import { permutation, portableExp, type Random, uniformBelow } from "@rondo/kernels";
import { logGammaVariate } from "./gamma.js";

/**
 * Splits `n` examples at random into parts whose sizes differ by at most one.
 * @returns for each client its example indices, ascending
 * @throws INVALID_ARGUMENT unless 1 <= clients <= n
 */
export function partitionIid(n: number, clients: number, random: Random): Uint32Array[] {
	checkClients(clients, n, 1);
	const order = permutation(random.at("iid"), n);
	return Array.from({ length: clients }, (_, client) =>
		order.slice(Math.floor((client * n) / clients), Math.floor(((client + 1) * n) / clients)).sort(),
	);
}

/**
 * Label-skewed split: the examples of each class are dealt to the clients in proportions drawn from a symmetric
 * Dirichlet(`alpha`) over the clients (Yurochkin et al., "Bayesian Nonparametric Federated Learning of Neural Networks",
 * ICML 2019, arXiv:1905.12022, section 4). Hsu, Qi, Brown (arXiv:1909.06335) draw a distribution over classes for each
 * client instead, with equal sizes; here sizes differ too. Limits: alpha to infinity gives every client the same mix,
 * alpha to 0 gives each class to one client.
 *
 * Where that leaves a client with fewer than `minPerClient` examples, examples drawn at random from the largest client
 * of the moment move to it. Equal seeds give equal splits on every machine.
 * @param labels class index of each example, >= 0
 * @param alpha 1e-6 to 1e6
 * @param options.minPerClient default 1
 * @returns for each client its example indices, ascending
 * @throws INVALID_ARGUMENT that names the argument and its value
 */
export function partitionDirichlet(
	labels: Int32Array,
	clients: number,
	alpha: number,
	random: Random,
	options: { readonly minPerClient?: number } = {},
): Uint32Array[] {
	const { minPerClient = 1 } = options;
	if (!Number.isSafeInteger(minPerClient) || minPerClient < 0) throw invalid("minPerClient", "a non-negative integer", minPerClient);
	checkClients(clients, labels.length, minPerClient);
	if (!(alpha >= 1e-6 && alpha <= 1e6)) throw invalid("alpha", "1e-6 to 1e6", alpha);

	const parts: number[][] = Array.from({ length: clients }, () => []);
	for (const [label, examples] of examplesByClass(labels)) {
		const order = permutation(random.at("dirichlet", "order", label), examples.length);
		const shares = dirichlet(clients, alpha, random.at("dirichlet", "share", label));
		let share = 0;
		let from = 0;
		for (let client = 0; client < clients; client++) {
			share += shares[client]!;
			const to = client === clients - 1 ? examples.length : Math.max(from, Math.min(examples.length, Math.floor(share * examples.length)));
			for (; from < to; from++) parts[client]!.push(examples[order[from]!]!);
		}
	}
	topUp(parts, minPerClient, random.at("dirichlet", "top-up"));
	return parts.map((part) => Uint32Array.from(part).sort());
}

/**
 * Natural split: one client per distinct key (writer, device, hospital).
 * @param keys one per example
 * @returns key to example indices, ascending; keys in the order of their UTF-16 code units
 */
export function partitionByKey(keys: readonly string[]): Map<string, Uint32Array> {
	const examples = new Map<string, number[]>();
	for (const [i, key] of keys.entries()) {
		const known = examples.get(key);
		if (known === undefined) examples.set(key, [i]);
		else known.push(i);
	}
	return new Map([...examples.keys()].sort().map((key) => [key, Uint32Array.from(examples.get(key)!)]));
}

function examplesByClass(labels: Int32Array): [label: number, examples: number[]][] {
	const classes = new Map<number, number[]>();
	for (let i = 0; i < labels.length; i++) {
		const label = labels[i]!;
		if (label < 0) throw invalid(`labels[${i}]`, "a class index >= 0", label);
		const known = classes.get(label);
		if (known === undefined) classes.set(label, [i]);
		else known.push(i);
	}
	return [...classes].sort(([a], [b]) => a - b);
}

/** One draw of Dirichlet(alpha, …, alpha): normalised gamma variates, by way of their logarithms. */
function dirichlet(clients: number, alpha: number, random: Random): Float64Array {
	const logs = Float64Array.from({ length: clients }, (_, client) => logGammaVariate(alpha, random.at(client)));
	const largest = logs.reduce((a, b) => Math.max(a, b));
	const shares = logs.map((log) => portableExp(log - largest));
	const sum = shares.reduce((a, b) => a + b);
	return shares.map((share) => share / sum);
}

function topUp(parts: number[][], minPerClient: number, random: Random): void {
	let moves = 0;
	for (const part of parts) {
		while (part.length < minPerClient) {
			const largest = parts.reduce((a, b) => (b.length > a.length ? b : a));
			const chosen = uniformBelow(random, moves++, largest.length);
			part.push(largest[chosen]!);
			largest[chosen] = largest.at(-1)!;
			largest.pop();
		}
	}
}

function checkClients(clients: number, n: number, minPerClient: number): void {
	if (!Number.isSafeInteger(n) || n < 0 || n >= 2 ** 32) throw invalid("n", "an integer from 0 to 2^32 - 1", n);
	if (!Number.isSafeInteger(clients) || clients < 1) throw invalid("clients", "a positive integer", clients);
	if (clients * minPerClient > n) throw invalid("clients", `at most ${n} examples / ${minPerClient} per client`, clients);
}

const invalid = (field: string, wanted: string, value: unknown): RondoError =>
	new RondoError("INVALID_ARGUMENT", `${field} must be ${wanted}, got ${String(value)}`, { details: { field } });
