import type { ClientId } from "@rondo/algorithms";
import type { Random } from "@rondo/kernels";
import type { RoundKey } from "../machine-types.js";

/**
 * Clients in the order in which an attempt draws them: sorted by the first four words of
 * `secret.at("cohort", kind, round, attempt, client)`, so that each order is equally likely and does not depend on who
 * else is connected or on the order of `clients`. Duplicates are dropped.
 * @param secret root of the run's secret seed, known to the coordinator alone
 * @param turn see `turnOf`; above 0 it goes in front of the client in the path
 */
export function rankClients(secret: Random, key: RoundKey, clients: Iterable<ClientId>, turn = 0): ClientId[] {
	const attempt = secret.at("cohort", key.kind, key.round, key.attempt);
	const node = turn === 0 ? attempt : attempt.at("turn", turn);
	const ranked = [...new Set(clients)].map((client) => ({ client, words: node.at(client).words(0, new Uint32Array(4)) }));
	return ranked.sort((a, b) => compareWords(a.words, b.words) || (a.client < b.client ? -1 : 1)).map(({ client }) => client);
}

function compareWords(a: Uint32Array, b: Uint32Array): number {
	for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
	return 0;
}
