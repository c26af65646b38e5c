import { RondoError } from "@rondo/errors";
import { type Area, PROBLEM } from "./api.js";
import { Health } from "./schemas.js";

/** Probes for process managers, outside /api/v1 and without a token. */
export const healthRoutes: Area = (api, services) => {
	const options = { config: { scope: "open" } } as const;
	const schema = { tags: ["health"], response: { 200: Health, default: PROBLEM } };
	api.get("/healthz", { ...options, schema: { ...schema, operationId: "healthz", summary: "Whether the process answers." } }, async () => ({
		status: "ok",
	}));
	api.get(
		"/readyz",
		{
			...options,
			schema: { ...schema, operationId: "readyz", summary: "Whether the coordinator can work: started, and its database answers." },
		},
		async () => {
			if (!services.ready()) throw new RondoError("UNAVAILABLE", "the coordinator is starting or shutting down");
			try {
				await services.store.ping();
			} catch (cause) {
				throw new RondoError("UNAVAILABLE", "the database does not answer", { cause });
			}
			return { status: "ready" };
		},
	);
};
