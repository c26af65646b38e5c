import { loadMnistLabels, type MnistSplit, partitionDirichlet, partitionIid } from "@rondo/datasets";
import { RondoError } from "@rondo/errors";
import { permutation, randomFromSeed } from "@rondo/kernels";

/** How the examples of a split are divided among agents. */
export interface ShardOptions {
	readonly dataset: "mnist";
	readonly split: MnistSplit;
	/** "all": every agent holds the whole split, as an evaluator does. */
	readonly partition: "iid" | "dirichlet" | "all";
	/** Concentration of the Dirichlet partition. */
	readonly alpha: number;
	/** Number of parts. */
	readonly clients: number;
	/** Equal seeds give equal parts on every machine. */
	readonly seed: string;
	/** Examples of the split that are used at all, drawn at random; 0: all. */
	readonly examples: number;
}

/** The class index of each example of a split, and which examples each agent holds. */
export interface Shards {
	readonly labels: Int32Array;
	/** One entry per agent, ascending rows of the split. */
	readonly parts: readonly Uint32Array[];
}

/**
 * Divides a split among agents. A pure function of the options, so agents need not talk to each other.
 * @throws INVALID_ARGUMENT that names the option and its value
 */
export async function divide(options: ShardOptions): Promise<Shards> {
	const { split, partition, alpha, clients, seed, examples } = options;
	const labels = await loadMnistLabels(split);
	if (!Number.isSafeInteger(examples) || examples < 0 || examples > labels.length) {
		throw new RondoError("INVALID_ARGUMENT", `examples must be an integer from 0 to ${labels.length}, got ${examples}`, {
			details: { field: "examples", value: examples },
		});
	}
	const random = randomFromSeed(`rondo-shards/1/${seed}`);
	const used = examples === 0 ? undefined : permutation(random.at("subset", split), labels.length).slice(0, examples).sort();
	const rowOf = (index: number): number => used?.[index] ?? index;
	const kept = used === undefined ? labels : Int32Array.from(used, (row) => labels[row]!);
	const byPartition = (): readonly Uint32Array[] => {
		switch (partition) {
			case "iid":
				return partitionIid(kept.length, clients, random.at(split));
			case "dirichlet":
				return partitionDirichlet(kept, clients, alpha, random.at(split));
			case "all":
				return Array.from({ length: clients }, () => Uint32Array.from(kept, (_, i) => i));
		}
	};
	return { labels, parts: byPartition().map((part) => part.map(rowOf)) };
}

/**
 * The examples of one agent.
 * @throws INVALID_ARGUMENT as `divide`, and for an index outside 0 to clients - 1
 */
export async function shardOf(options: ShardOptions & { readonly index: number }): Promise<Uint32Array> {
	const part = (await divide(options)).parts[options.index];
	if (part === undefined) {
		throw new RondoError("INVALID_ARGUMENT", `index must be an integer from 0 to ${options.clients - 1}, got ${options.index}`, {
			details: { field: "index", value: options.index },
		});
	}
	return part;
}
