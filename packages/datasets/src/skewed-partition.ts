import { RondoError } from "@rondo/errors";
import { permutation, portableExp, portableLog, type Random } from "@rondo/kernels";

/**
 * Splits `n` examples at random into parts whose sizes follow a power law: the k-th largest has a share proportional to
 * k^-exponent. Which client is how large is drawn, too; each has an example at least.
 * @param exponent 0 (equal sizes) to 10
 * @returns for each client its example indices, ascending
 * @throws INVALID_ARGUMENT that names the argument and its value
 */
export function partitionPowerLaw(n: number, clients: number, exponent: number, random: Random): Uint32Array[] {
	checkCount("clients", clients, n);
	if (!(exponent >= 0 && exponent <= 10)) throw invalid("exponent", "from 0 to 10", exponent);
	const shares = Float64Array.from({ length: clients }, (_, k) => portableExp(-exponent * portableLog(k + 1)));
	const total = shares.reduce((a, b) => a + b);
	const order = permutation(random.at("power-law", "examples"), n);
	const places = permutation(random.at("power-law", "clients"), clients);
	const parts: Uint32Array[] = new Array(clients);
	// One example each is set aside; the rest is cut at the running sums of the shares.
	let share = 0;
	let from = 0;
	for (const [k, client] of places.entries()) {
		share += shares[k]! / total;
		const to = k === clients - 1 ? n : k + 1 + Math.floor(share * (n - clients));
		parts[client] = order.slice(from, to).sort();
		from = to;
	}
	return parts;
}

/**
 * Gives each client examples of few classes: the examples, sorted by class, are cut into clients · classes shards of equal
 * size, which are dealt out at random (McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
 * Data", AISTATS 2017, arXiv:1602.05629, section 3). A shard that lies across a border has examples of two classes.
 * @param labels class index of each example
 * @param classes shards of a client
 * @returns for each client its example indices, ascending
 * @throws INVALID_ARGUMENT that names the argument and its value
 */
export function partitionByClassCount(labels: Int32Array, clients: number, classes: number, random: Random): Uint32Array[] {
	checkCount("classes", classes, labels.length);
	checkCount("clients", clients, Math.floor(labels.length / classes));
	const n = labels.length;
	const shuffled = permutation(random.at("class-count", "examples"), n);
	const sorted = [...shuffled].sort((a, b) => labels[a]! - labels[b]!);
	const shards = clients * classes;
	const dealt = permutation(random.at("class-count", "shards"), shards);
	const cut = (shard: number): number => Math.floor((shard * n) / shards);
	return Array.from({ length: clients }, (_, client) => {
		const own = dealt.subarray(client * classes, (client + 1) * classes);
		return Uint32Array.from([...own].flatMap((shard) => sorted.slice(cut(shard), cut(shard + 1)))).sort();
	});
}

function checkCount(field: string, value: number, most: number): void {
	if (!Number.isSafeInteger(value) || value < 1 || value > most) throw invalid(field, `an integer from 1 to ${most}`, value);
}

const invalid = (field: string, wanted: string, value: unknown): RondoError =>
	new RondoError("INVALID_ARGUMENT", `${field} must be ${wanted}, got ${String(value)}`, { details: { field, value } });
