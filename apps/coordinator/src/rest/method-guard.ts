import { RondoError } from "@rondo/errors";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { pathOf, sendProblem } from "./problem.js";

/** Answers what no route takes: 405 with the allowed methods where the path exists, else 404. Call it before adding routes. */
export function answerUnknownRoutes(app: FastifyInstance): void {
	const routes: { readonly method: string; readonly path: RegExp }[] = [];
	app.addHook("onRoute", ({ method, url }) => {
		const path = new RegExp(`^${url.replaceAll(".", "\\.").replace(/:[a-z]+/gi, "[^/]+")}$`);
		for (const each of [method].flat()) routes.push({ method: each, path });
	});
	app.setNotFoundHandler((request: FastifyRequest, reply: FastifyReply) => {
		const path = pathOf(request);
		const allowed = [...new Set(routes.filter((route) => route.path.test(path)).map(({ method }) => method))].toSorted();
		if (allowed.length === 0)
			return sendProblem(new RondoError("NOT_FOUND", `there is no ${request.method} ${path.slice(0, 200)}`), request, reply);
		void reply.header("allow", allowed.join(", "));
		const error = Object.assign(new Error(`${path.slice(0, 200)} takes ${allowed.join(", ")}, not ${request.method}`), { statusCode: 405 });
		return sendProblem(error, request, reply);
	});
}
