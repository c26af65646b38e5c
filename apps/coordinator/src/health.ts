import { get as httpGet } from "node:http";
import { get as httpsGet } from "node:https";
import { RondoError } from "@rondo/errors";
import type { CoordinatorConfig } from "./config/schema.js";

const PROBE_TIMEOUT_MS = 4_000;
/** Addresses that mean "every interface", and the one of them that a probe can connect to. */
const REACHABLE: { readonly [host: string]: string } = { "0.0.0.0": "127.0.0.1", "::": "::1" };

/**
 * Asks the coordinator that this configuration describes, on this machine, for /readyz.
 * @throws UNAVAILABLE when it does not answer 200 in four seconds; INVALID_ARGUMENT when restPort is 0
 */
export async function probeReadiness(config: Pick<CoordinatorConfig, "restHost" | "restPort" | "tlsCertificate">): Promise<void> {
	if (config.restPort === 0) {
		throw new RondoError("INVALID_ARGUMENT", "restPort = 0 lets the coordinator take any free port, so it cannot be probed; set a port", {
			details: { field: "restPort", value: 0 },
		});
	}
	const options = {
		host: REACHABLE[config.restHost] ?? config.restHost,
		port: config.restPort,
		path: "/readyz",
		signal: AbortSignal.timeout(PROBE_TIMEOUT_MS),
	};
	const where = `${config.tlsCertificate === undefined ? "http" : "https"}://${options.host}:${options.port}${options.path}`;
	const status = await new Promise<number | undefined>((resolve, reject) => {
		// The certificate bears the public name, not the address that is probed here; the probe carries no secret.
		const request = config.tlsCertificate === undefined ? httpGet(options) : httpsGet({ ...options, rejectUnauthorized: false });
		request.on("error", reject).on("response", (response) => {
			response.resume();
			resolve(response.statusCode);
		});
	}).catch((cause: unknown) => {
		throw new RondoError("UNAVAILABLE", `${where} does not answer: ${String(cause)}`, { cause });
	});
	if (status !== 200)
		throw new RondoError("UNAVAILABLE", `${where} answers ${status}, not 200`, { details: { field: "status", value: status } });
}
