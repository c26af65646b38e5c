import { ADMIN, type Area, PROBLEM, READ } from "./api.js";
import { findRun } from "./find-run.js";
import { SAFETENSORS, sendModel } from "./model-export.js";
import { IdParams, PageQuery, pageOf, RunClient, RunClientParams, ref } from "./schemas.js";
import { pageView, runClientView } from "./views.js";

/** Clients as far as one run is concerned. */
export const runClientRoutes: Area = (api, services) => {
	const { store, presence, runs } = services;
	const tags = ["runs"];
	api.get(
		"/runs/:id/clients",
		{
			...READ,
			schema: {
				operationId: "listRunClients",
				summary: "Clients that took part, their newest scores and what the strategy keeps of them.",
				tags,
				params: IdParams,
				querystring: PageQuery,
				response: { 200: pageOf(ref(RunClient)), default: PROBLEM },
			},
		},
		async ({ params: { id }, query }) =>
			pageView(await store.listRunClients((await findRun(services, id)).id, query), (row) =>
				runClientView(row, presence.isConnected(row.client)),
			),
	);
	api.get(
		"/runs/:id/clients/:client/model",
		{
			...ADMIN,
			schema: {
				operationId: "exportClientModel",
				summary: "Weights that a client has after the newest commit, where the strategy keeps some for it.",
				tags,
				params: RunClientParams,
				response: { 200: SAFETENSORS, default: PROBLEM },
			},
		},
		async ({ params: { id, client } }, reply) => {
			const run = await findRun(services, id);
			return sendModel(reply, run, await runs.exportModel(run.id, client), client);
		},
	);
};
