import { type Area, PROBLEM, READ } from "./api.js";
import { pageOf, ref, Strategy } from "./schemas.js";

/** The strategies that runs may name. */
export const strategyRoutes: Area = (api, services) => {
	const schema = {
		operationId: "listStrategies",
		summary: "Strategies and the schemas of their options.",
		tags: ["strategies"],
		response: { 200: pageOf(ref(Strategy)), default: PROBLEM },
	};
	api.get("/strategies", { ...READ, schema }, async () => ({
		items: services.runs.strategies().map(({ name, version, summary, schema, needs }) => ({ name, version, summary, schema, needs })),
		next: null,
	}));
};
