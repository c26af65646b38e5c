import { ADMIN, type Area, PROBLEM } from "./api.js";
import { AuditEntry, PageQuery, pageOf, ref } from "./schemas.js";
import { auditView, pageView } from "./views.js";

/** The append-only record of who did what. */
export const auditRoutes: Area = (api, services) => {
	const schema = {
		operationId: "listAudit",
		summary: "Audit record.",
		tags: ["audit"],
		querystring: PageQuery,
		response: { 200: pageOf(ref(AuditEntry)), default: PROBLEM },
	};
	api.get("/audit", { ...ADMIN, schema }, async ({ query }) => pageView(await services.store.listAudit(query), auditView));
};
