import { RondoError } from "@rondo/errors";
import type { AnyStrategy, Codec, Lane, Reducer } from "./contract.js";
import { builtInCodecs } from "./encoding/built-in-codecs.js";
import { builtInReducers } from "./reducing/built-in-reducers.js";
import { ef21 } from "./strategies/ef21.js";
import { fedadagrad } from "./strategies/fedadagrad.js";
import { fedadam } from "./strategies/fedadam.js";
import { fedavg } from "./strategies/fedavg.js";
import { fedavgm } from "./strategies/fedavgm.js";
import { fedbuff } from "./strategies/fedbuff.js";
import { fedkseed } from "./strategies/fedkseed.js";
import { fednova } from "./strategies/fednova.js";
import { fedprox } from "./strategies/fedprox.js";
import { fedyogi } from "./strategies/fedyogi.js";
import { ferret } from "./strategies/ferret.js";
import { frl } from "./strategies/frl.js";
import { justOneByte } from "./strategies/just-one-byte.js";
import { rffl } from "./strategies/rffl.js";
import { scaffold } from "./strategies/scaffold.js";

/** Every strategy that comes with Rondo. A file in `strategies/` that is missing here fails a test. */
// biome-ignore format: one line per strategy
export const builtInStrategies: readonly AnyStrategy[] = [
	ef21,
	fedadagrad,
	fedadam,
	fedavg,
	fedavgm,
	fedbuff,
	fedkseed,
	fednova,
	fedprox,
	fedyogi,
	ferret,
	frl,
	justOneByte,
	rffl,
	scaffold,
];

export { builtInCodecs, builtInReducers };

/** The strategies, codecs and reducers that one process knows, by name. */
export interface Registry {
	/** @throws UNKNOWN_STRATEGY that lists the known ones. */
	strategy(name: string): AnyStrategy;
	/** In order of registration. */
	strategies(): readonly AnyStrategy[];
	/** The codec that a lane names. @throws UNKNOWN_CODEC that lists the known ones. */
	codec(spec: Lane["codec"]): Codec;
	/** The reducer that a lane names. @throws UNKNOWN_REDUCER that lists the known ones. */
	reducer(spec: NonNullable<Lane["reducer"]>): Reducer;
}

/**
 * A registry of these strategies, codecs and reducers.
 * @throws ALREADY_EXISTS when two of a kind share a name
 */
export function createRegistry(
	strategies: readonly AnyStrategy[] = builtInStrategies,
	codecs: readonly Codec[] = builtInCodecs,
	reducers: readonly Reducer[] = builtInReducers,
): Registry {
	const strategyOf = byName("strategy", strategies);
	const codecOf = byName("codec", codecs);
	const reducerOf = byName("reducer", reducers);
	return {
		strategy(name) {
			const found = strategyOf.get(name);
			if (found === undefined)
				throw new RondoError("UNKNOWN_STRATEGY", `no strategy is named ${JSON.stringify(name)}; known: ${listOf(strategyOf)}`);
			return found;
		},
		strategies: () => [...strategyOf.values()],
		codec([name]) {
			const found = codecOf.get(name);
			if (found === undefined)
				throw new RondoError("UNKNOWN_CODEC", `no codec is named ${JSON.stringify(name)}; known: ${listOf(codecOf)}`);
			return found;
		},
		reducer([name]) {
			const found = reducerOf.get(name);
			if (found === undefined)
				throw new RondoError("UNKNOWN_REDUCER", `no reducer is named ${JSON.stringify(name)}; known: ${listOf(reducerOf)}`);
			return found;
		},
	};
}

function byName<T extends { readonly name: string }>(kind: string, items: readonly T[]): ReadonlyMap<string, T> {
	const map = new Map<string, T>();
	for (const item of items) {
		if (map.has(item.name)) throw new RondoError("ALREADY_EXISTS", `two ${kind} entries are named ${JSON.stringify(item.name)}`);
		map.set(item.name, item);
	}
	return map;
}

const listOf = (map: ReadonlyMap<string, unknown>): string => [...map.keys()].join(", ") || "none";
