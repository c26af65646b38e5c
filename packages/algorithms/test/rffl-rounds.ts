import { expect } from "vitest";
import type { At, Outcome, Received } from "../src/contract.js";
import { decodePlain, encodePlain, type Plain } from "../src/plain.js";
import { type RfflTypes, rffl } from "../src/strategies/rffl.js";
import { atOf, type Run } from "./fixture.js";

/** What the server keeps of a client. */
export type Row = RfflTypes["member"];
export type Rows = ReadonlyMap<string, Row>;
/** Changes by client, with weights and headers where they matter. */
export type Reports = Readonly<Record<string, { readonly delta: ArrayLike<number>; readonly weight?: number; readonly header?: unknown }>>;

/** Where the server half is at the beginning of a round. */
export const position = (run: Run<RfflTypes>, rows: Rows, round: number): At<RfflTypes> => ({
	...atOf(run, round),
	members: () => [...rows].sort(([a], [b]) => (a < b ? -1 : 1)),
});

/** What the server half makes of these reports; everything passes through its encoding. */
export function finished(run: Run<RfflTypes>, state: RfflTypes["state"], rows: Rows, round: number, reports: Reports) {
	const received = Object.entries(reports)
		.sort(([a], [b]) => (a < b ? -1 : 1))
		.map(
			([client, { delta, weight = 1, header = null }]): Received<RfflTypes> => ({
				client,
				weight,
				staleness: 0,
				header: header as RfflTypes["report"],
				member: rows.get(client),
				lane: (_name, from = 0, to = delta.length) => Float64Array.from(Float32Array.from(delta).subarray(from, to)),
			}),
		);
	const folded = { lanes: {}, weight: 1, count: received.length, reports: received };
	const outcome: Outcome<RfflTypes> = rffl.finish(state, folded, position(run, rows, round));
	const next = new Map(rows);
	for (const [client, row] of outcome.members ?? []) next.set(client, decodePlain(encodePlain(row as Plain)) as unknown as Row);
	return { outcome, state: outcome.state, rows: next as Rows, written: [...(outcome.members ?? new Map()).keys()] };
}

/** Reputations by client. */
export const reputationsOf = (rows: Rows) => Object.fromEntries([...rows].map(([client, { reputation }]) => [client, reputation]));
/** Weights of a client's own model. */
export const modelOf = (run: Run<RfflTypes>, row: Row | undefined) => [...run.store.io.read(row!.model)];
/** Matches a number but for rounding. */
export const near = (value: number) => expect.closeTo(value, 12);
