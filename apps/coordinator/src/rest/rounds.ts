import { RondoError } from "@rondo/errors";
import type { RoundKey } from "@rondo/rounds";
import type { RoundRow, Store } from "../store/store.js";
import { type Area, PROBLEM, READ } from "./api.js";
import { findRun } from "./find-run.js";
import { IdParams, pageOf, Round, RoundDetail, RoundParams, RoundsQuery, ref } from "./schemas.js";
import { pageView, roundDetail, roundView } from "./views.js";

/** Rounds of a run and their tasks. */
export const roundRoutes: Area = (api, services) => {
	const { store } = services;
	const tags = ["rounds"];
	api.get(
		"/runs/:id/rounds",
		{
			...READ,
			schema: {
				operationId: "listRounds",
				summary: "Attempts at rounds.",
				tags,
				params: IdParams,
				querystring: RoundsQuery,
				response: { 200: pageOf(ref(Round)), default: PROBLEM },
			},
		},
		async ({ params: { id }, query }) => pageView(await store.listRounds((await findRun(services, id)).id, query), roundView),
	);
	api.get(
		"/runs/:id/rounds/:kind/:round/:attempt",
		{
			...READ,
			schema: {
				operationId: "getRound",
				summary: "One attempt, with its plan and the task of each client.",
				tags,
				params: RoundParams,
				response: { 200: ref(RoundDetail), default: PROBLEM },
			},
		},
		async ({ params: { id, kind, round, attempt } }) => {
			const run = await findRun(services, id);
			const key = { kind, round, attempt };
			const row = await findRound(store, run.id, key);
			return roundDetail(row, await store.listTasks(run.id, key));
		},
	);
};

/** @throws NOT_FOUND */
async function findRound(store: Store, run: string, { kind, round, attempt }: RoundKey): Promise<RoundRow> {
	for (let after: string | null | undefined; after !== null; ) {
		const page = await store.listRounds(run, { kind, limit: 200, ...(after === undefined ? {} : { after }) });
		const row = page.items.find(({ key }) => key.round === round && key.attempt === attempt);
		if (row !== undefined) return row;
		after = page.next;
	}
	throw new RondoError("NOT_FOUND", `run ${run} has no ${kind} round ${round} with attempt ${attempt}`, {
		details: { field: "round", value: round },
	});
}
