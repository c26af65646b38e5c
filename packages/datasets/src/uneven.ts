import { RondoError } from "@rondo/errors";
import { permutation, portableExp, portableLog, type Random } from "@rondo/kernels";

/**
 * Uneven split: client k, from 1, holds a share of the examples proportional to k^`exponent`, drawn at random. With 0 all
 * shares are equal, with 1 they grow evenly, which is close to the power-law split in the code of Xu and Lyu
 * (arXiv:2011.10464). Every client has at least one example.
 * @param n number of examples, at least `clients`
 * @param exponent 0 to 20
 * @returns for each client its example indices, ascending
 * @throws INVALID_ARGUMENT that names the argument and its value
 */
export function partitionPowerLaw(n: number, clients: number, exponent: number, random: Random): Uint32Array[] {
	if (!Number.isSafeInteger(n) || n < 0 || n >= 2 ** 32) throw invalid("n", "an integer from 0 to 2^32 - 1", n);
	if (!Number.isSafeInteger(clients) || clients < 1 || clients > n) throw invalid("clients", `an integer from 1 to ${n} examples`, clients);
	if (!(exponent >= 0 && exponent <= 20)) throw invalid("exponent", "0 to 20", exponent);
	// The largest weight is 1, so that none of the sums overflows.
	const weights = Array.from({ length: clients }, (_, k) => portableExp(exponent * (portableLog(k + 1) - portableLog(clients))));
	const total = weights.reduce((sum, weight) => sum + weight, 0);
	const order = permutation(random.at("power-law"), n);
	let from = 0;
	let share = 0;
	return weights.map((weight, k) => {
		share += weight / total;
		const to = k === clients - 1 ? n : Math.max(from + 1, Math.min(n - (clients - 1 - k), Math.round(share * n)));
		const part = order.slice(from, to).sort();
		from = to;
		return part;
	});
}

/**
 * Split by number of classes: client i holds examples of `classCounts[i]` classes, equally many of each up to one, and all
 * clients hold about equally many. Classes go to the clients with fewest first, each time those that are asked for least so far;
 * examples that are too many for an equal size go to nobody.
 * @param labels class index of each example, >= 0
 * @param classCounts for each client a number of classes, from 1 to all
 * @returns for each client its example indices, ascending
 * @throws INVALID_ARGUMENT that names the argument and its value, also where there are too few examples
 */
export function partitionByClassCount(labels: Int32Array, classCounts: readonly number[], random: Random): Uint32Array[] {
	const examples = new Map<number, number[]>();
	for (const [i, label] of labels.entries()) {
		if (label < 0) throw invalid(`labels[${i}]`, "a class index >= 0", label);
		const known = examples.get(label);
		if (known === undefined) examples.set(label, [i]);
		else known.push(i);
	}
	const classes = [...examples.keys()].sort((a, b) => a - b);
	for (const [i, count] of classCounts.entries()) {
		if (!(Number.isSafeInteger(count) && count >= 1 && count <= classes.length))
			throw invalid(`classCounts[${i}]`, `an integer from 1 to ${classes.length} classes`, count);
	}
	const order = permutation(random.at("class-count", "classes"), classes.length);
	const load = new Map(Array.from(order, (c) => [classes[c]!, 0]));
	const chosen = new Map<number, readonly number[]>();
	for (const client of [...classCounts.keys()].sort((a, b) => classCounts[a]! - classCounts[b]! || a - b)) {
		// Stable: of classes asked for equally, those drawn first.
		const picked = [...load.keys()].sort((a, b) => load.get(a)! - load.get(b)!).slice(0, classCounts[client]);
		for (const label of picked) load.set(label, load.get(label)! + 1 / classCounts[client]!);
		chosen.set(client, picked);
	}
	// The largest size for which every class has enough: of a class, a client takes its size over its classes, rounded up.
	let size = Math.floor(
		Math.min(...classes.map((label) => (load.get(label) === 0 ? labels.length : examples.get(label)!.length / load.get(label)!))),
	);
	while (size > 0 && !fits(size)) size--;
	if (classCounts.some((count) => size < count))
		throw invalid("labels", "enough for an example of each class of every client", labels.length);
	const taken = new Map(classes.map((label) => [label, 0]));
	return classCounts.map((count, client) => {
		const part: number[] = [];
		for (const [i, label] of chosen.get(client)!.entries()) {
			const of = examples.get(label)!;
			const from = taken.get(label)!;
			const drawn = permutation(random.at("class-count", "examples", label), of.length).subarray(from, from + quantity(size, count, i));
			for (const at of drawn) part.push(of[at]!);
			taken.set(label, from + drawn.length);
		}
		return Uint32Array.from(part).sort();
	});

	function fits(wanted: number): boolean {
		const need = new Map(classes.map((label) => [label, 0]));
		for (const [client, picked] of chosen) {
			for (const [i, label] of picked.entries()) need.set(label, need.get(label)! + quantity(wanted, classCounts[client]!, i));
		}
		return classes.every((label) => need.get(label)! <= examples.get(label)!.length);
	}
}

/** Examples of the i-th of `count` classes among `size`. */
const quantity = (size: number, count: number, i: number): number => Math.floor(((i + 1) * size) / count) - Math.floor((i * size) / count);

const invalid = (field: string, wanted: string, value: unknown): RondoError =>
	new RondoError("INVALID_ARGUMENT", `${field} must be ${wanted}, got ${String(value)}`, { details: { field } });
