import { decodePlain } from "@rondo/algorithms";
import { metricsOf, takeOf } from "./rows.js";
import type { RunClientRow, Store } from "./store.js";
import type { Database } from "./transactions.js";

interface Counted {
	readonly id: string;
	readonly name: string;
	readonly leased: bigint;
	readonly applied: bigint;
	readonly lastRound: number | null;
	readonly bytesDown: bigint;
	readonly bytesUp: bigint;
}

interface Scored {
	readonly client: string;
	readonly round: number;
	readonly scores: RunClientRow["scores"];
}

/** What a run knows of its clients: their tasks, the newest scores of each, and what the strategy keeps of them. */
export function runClients(database: Database): Pick<Store, "listRunClients"> {
	return {
		listRunClients: (run, { after = "", limit }) =>
			database.read("listRunClients", async (prisma) => {
				const rows = await prisma.$queryRaw<readonly Counted[]>`
					SELECT c.id, c.name, count(*) AS leased, count(*) FILTER (WHERE t.outcome = 'applied') AS applied,
						max(r.round) FILTER (WHERE t.outcome = 'applied') AS "lastRound",
						sum(t."bytesDown")::bigint AS "bytesDown", sum(t."bytesUp")::bigint AS "bytesUp"
					FROM "Task" t JOIN "Round" r ON r.id = t."roundId" JOIN "Client" c ON c.id = t."clientId"
					WHERE r."runId" = ${run} AND r.kind = 'train' AND c.id COLLATE "C" > ${after} COLLATE "C"
					GROUP BY c.id, c.name ORDER BY c.id COLLATE "C" LIMIT ${takeOf(limit)}`;
				const shown = rows.slice(0, limit);
				const ids = shown.map(({ id }) => id);
				const members = await prisma.member.findMany({ where: { runId: run, clientId: { in: ids } } });
				// From the newest round back, as far as needed for each client.
				const scored = await prisma.$queryRaw<readonly Scored[]>`
					SELECT client, s.round, s.scores FROM unnest(${ids}::text[]) AS client, LATERAL (
						SELECT r.round, r.scores->client AS scores FROM "Round" r
						WHERE r."runId" = ${run} AND r.kind = 'train' AND r.phase = 'committed' AND r.scores->client IS NOT NULL
						ORDER BY r.round DESC LIMIT 1
					) s`;
				const memberOf = new Map(members.map(({ clientId, value }) => [clientId, decodePlain(value)]));
				const scoresOf = new Map(scored.map((row) => [row.client, row]));
				const items = shown.map(
					({ id, name, leased, applied, lastRound, bytesDown, bytesUp }): RunClientRow => ({
						client: id,
						name,
						leased: Number(leased),
						applied: Number(applied),
						lastRound,
						bytesDown: Number(bytesDown),
						bytesUp: Number(bytesUp),
						scoredRound: scoresOf.get(id)?.round ?? null,
						scores: metricsOf(scoresOf.get(id)?.scores ?? {}),
						member: memberOf.get(id) ?? null,
					}),
				);
				return { items, next: rows.length > limit ? ids.at(-1)! : null };
			}),
	};
}
