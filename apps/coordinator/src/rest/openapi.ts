import { pino } from "pino";
import { loadConfig } from "../config/load-config.js";
import type { Services } from "../services.js";
import { createRestServer } from "./server.js";

/** The OpenAPI document of the REST API, as docs/api/openapi.json holds it. */
export async function openApiDocument(): Promise<object> {
	// Routes are only described, never called, so a log is all that they need of the services.
	const services = { log: pino({ level: "silent" }) } as unknown as Services;
	const app = createRestServer(services, loadConfig({ env: {}, flags: {} }));
	await app.ready();
	const document = app.swagger();
	await app.close();
	return document;
}
