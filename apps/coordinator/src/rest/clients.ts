import { RondoError } from "@rondo/errors";
import type { ClientRow } from "../store/store.js";
import { ADMIN, type Area, PROBLEM, READ } from "./api.js";
import { Client, IdParams, PageQuery, pageOf, ref } from "./schemas.js";
import { clientView, pageView } from "./views.js";

/** Enrolled clients. */
export const clientRoutes: Area = (api, { store, presence }) => {
	const tags = ["clients"];
	const view = (row: ClientRow) => clientView(row, presence.isConnected(row.id));

	api.get(
		"/clients",
		{
			...READ,
			schema: {
				operationId: "listClients",
				summary: "Enrolled clients.",
				tags,
				querystring: PageQuery,
				response: { 200: pageOf(ref(Client)), default: PROBLEM },
			},
		},
		async ({ query }) => pageView(await store.listClients(query), view),
	);
	api.get(
		"/clients/:id",
		{
			...READ,
			schema: {
				operationId: "getClient",
				summary: "One client.",
				tags,
				params: IdParams,
				response: { 200: ref(Client), default: PROBLEM },
			},
		},
		async ({ params: { id } }) => {
			const row = await store.getClient(id);
			if (row === null)
				throw new RondoError("NOT_FOUND", `no client has the id ${JSON.stringify(id)}`, { details: { field: "id", value: id } });
			return view(row);
		},
	);
	api.post(
		"/clients/:id/revoke",
		{
			...ADMIN,
			schema: {
				operationId: "revokeClient",
				summary: "Ends a client's identity.",
				tags,
				params: IdParams,
				response: { 200: ref(Client), default: PROBLEM },
			},
		},
		async ({ params: { id }, actor }) => {
			const row = await store.revokeClient(id, { actor, action: "client.revoke", subject: id, details: {} });
			presence.revoke(id);
			return view(row);
		},
	);
};
