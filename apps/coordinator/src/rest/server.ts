import swagger from "@fastify/swagger";
import { RondoError } from "@rondo/errors";
import { Ajv } from "ajv";
import fastify, { type FastifyInstance, type FastifyPluginAsync, LogController } from "fastify";
import { authenticate } from "../auth/authenticate.js";
import type { CoordinatorConfig } from "../config/schema.js";
import type { Services } from "../services.js";
import type { Api, Area } from "./api.js";
import { auditRoutes } from "./audit.js";
import { blobRoutes } from "./blobs.js";
import { clientRoutes } from "./clients.js";
import { healthRoutes } from "./health.js";
import { answerUnknownRoutes } from "./method-guard.js";
import { modelRoutes } from "./models.js";
import { OPENAPI_OPTIONS } from "./openapi-head.js";
import { pathOf, sendProblem } from "./problem.js";
import { roundRoutes } from "./rounds.js";
import { runClientRoutes } from "./run-clients.js";
import { runEventRoutes } from "./run-events.js";
import { runRoutes } from "./runs.js";
import { Layout, NAMED_SCHEMAS } from "./schemas.js";
import { boundShutdown } from "./shutdown.js";
import { strategyRoutes } from "./strategies.js";
import { tokenRoutes } from "./tokens.js";

/** Largest JSON body, unless a route says otherwise, bytes. */
const MAX_JSON_BYTES = 1024 * 1024;
/** Longest time that a request may take to arrive; Node's own default, which Fastify turns off. */
const REQUEST_TIMEOUT_MS = 300_000;
/** Wherever a log line could hold what the caller authenticates with. */
const REDACTED = ["headers.authorization", "headers.cookie", "req.headers.authorization", "req.headers.cookie"];

const AREAS: readonly Area[] = [
	modelRoutes,
	runRoutes,
	runEventRoutes,
	roundRoutes,
	runClientRoutes,
	clientRoutes,
	tokenRoutes,
	auditRoutes,
	blobRoutes,
	strategyRoutes,
];

/** PEM of a certificate chain and its private key. */
export interface Tls {
	readonly certificate: Buffer;
	readonly key: Buffer;
}

/**
 * The admin REST API; `listen` is the caller's. Serves HTTPS when it gets a certificate.
 * @throws INVALID_ARGUMENT when certificate or key cannot be used
 */
export function createRestServer(services: Services, config: CoordinatorConfig, tls?: Tls): FastifyInstance {
	const app = start(services, tls);
	app.setErrorHandler(sendProblem);
	answerUnknownRoutes(app);
	boundShutdown(app, config.shutdownGraceMs);
	validateStrictly(app);
	for (const schema of NAMED_SCHEMAS) app.addSchema(schema);
	void app.register(swagger, OPENAPI_OPTIONS);
	void app.register(plugin(healthRoutes, services, config));
	void app.register(apiPlugin(services, config), { prefix: "/api/v1" });
	return app;
}

function start({ log }: Services, tls: Tls | undefined): FastifyInstance {
	const options = {
		loggerInstance: log.child({}, { redact: REDACTED }),
		logController: new LogController({ disableRequestLogging: true }),
		bodyLimit: MAX_JSON_BYTES,
		requestTimeout: REQUEST_TIMEOUT_MS,
		exposeHeadRoutes: false,
		routerOptions: { maxParamLength: 256 },
		frameworkErrors: sendProblem,
	};
	if (tls === undefined) return fastify(options) as unknown as FastifyInstance;
	try {
		return fastify({ ...options, https: { cert: tls.certificate, key: tls.key } }) as unknown as FastifyInstance;
	} catch (cause) {
		throw new RondoError("INVALID_ARGUMENT", `tlsCertificate and tlsKey are not a certificate and its key: ${String(cause)}`, {
			cause,
			details: { field: "tlsCertificate" },
		});
	}
}

/** Bodies are taken as they are; text in paths and queries becomes a number where one is wanted. Unknown fields are errors. */
function validateStrictly(app: FastifyInstance): void {
	const bodies = new Ajv({ removeAdditional: false, useDefaults: true, schemas: [Layout] });
	const texts = new Ajv({ removeAdditional: false, useDefaults: true, coerceTypes: true });
	app.setValidatorCompiler(({ schema, httpPart }) => (httpPart === "body" ? bodies : texts).compile(schema as object));
}

/** An area as a plugin of its own: hooks and parsers that it adds are seen by no other. */
const plugin =
	(area: Area, services: Services, config: CoordinatorConfig): FastifyPluginAsync =>
	async (scope) => {
		area(scope as unknown as Api, services, config);
	};

const apiPlugin =
	(services: Services, config: CoordinatorConfig): FastifyPluginAsync =>
	async (scope) => {
		scope.decorateRequest("actor");
		scope.addHook("onRoute", ({ url, config: route }) => {
			if (route?.scope === undefined) throw new RondoError("INTERNAL", `route ${url} does not say who may call it`);
		});
		// Before the body is read: a stranger cannot make the server buffer anything.
		scope.addHook("onRequest", async (request, reply) => {
			void reply.header("cache-control", "no-store");
			const wanted = request.routeOptions.config.scope;
			if (wanted === "open") return;
			const caller = await authenticate(services.store, request.headers.authorization);
			if (wanted === "admin" && caller.scope !== "admin") {
				throw new RondoError(
					"FORBIDDEN",
					`${request.method} ${pathOf(request)} needs a token with scope admin; this one has ${caller.scope}`,
					{ details: { field: "scope", value: caller.scope } },
				);
			}
			request.actor = caller.actor;
		});
		// Routes without a body schema take no JSON: what would be ignored is an error.
		scope.addHook("preValidation", async ({ body, routeOptions }) => {
			if (body === undefined || routeOptions.schema?.body !== undefined) return;
			const text = JSON.stringify(body);
			if (text !== "{}")
				throw new RondoError("INVALID_ARGUMENT", `this request takes no body, got ${text.slice(0, 80)}`, { details: { field: "body" } });
		});
		scope.addHook("onResponse", async (request, reply) => {
			request.log.info(
				{
					method: request.method,
					path: pathOf(request),
					status: reply.statusCode,
					ms: Math.round(reply.elapsedTime),
					actor: request.actor,
				},
				"request",
			);
		});
		scope.get("/openapi.json", { config: { scope: "open" }, schema: { hide: true } }, async () => scope.swagger());
		for (const area of AREAS) await scope.register(plugin(area, services, config));
	};
