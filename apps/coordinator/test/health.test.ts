import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { afterEach, expect, test } from "vitest";
import { probeReadiness } from "../src/health.js";
import { LOCALHOST } from "./rest/localhost-certificate.js";

const servers: Server[] = [];
afterEach(() => Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve)))));

async function listen(server: Server): Promise<number> {
	servers.push(server);
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	return (server.address() as AddressInfo).port;
}

/** Answers like a coordinator that is ready, or with `status` to everything. */
const coordinator =
	(status?: number): RequestListener =>
	(request, response) => {
		response.statusCode = status ?? (request.url === "/readyz" ? 200 : 404);
		response.end("{}");
	};

test("a ready coordinator passes, also when it listens on every interface", async () => {
	const restPort = await listen(createServer(coordinator()));
	await probeReadiness({ restHost: "127.0.0.1", restPort });
	await probeReadiness({ restHost: "0.0.0.0", restPort });
});

test("a coordinator with TLS is asked over TLS, whatever name its certificate bears", async () => {
	const restPort = await listen(createTlsServer({ cert: LOCALHOST.certificate, key: LOCALHOST.key }, coordinator()));
	await probeReadiness({ restHost: "127.0.0.1", restPort, tlsCertificate: "certificate.pem" });
	await expect(probeReadiness({ restHost: "127.0.0.1", restPort })).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("another answer, no listener and a port that is not known fail, and say what was asked", async () => {
	const restPort = await listen(createServer(coordinator(503)));
	const url = `http://127.0.0.1:${restPort}/readyz`;
	await expect(probeReadiness({ restHost: "0.0.0.0", restPort })).rejects.toMatchObject({
		code: "UNAVAILABLE",
		message: `${url} answers 503, not 200`,
	});
	await new Promise((resolve) => servers.pop()?.close(resolve));
	await expect(probeReadiness({ restHost: "0.0.0.0", restPort })).rejects.toMatchObject({
		code: "UNAVAILABLE",
		message: expect.stringContaining(`${url} does not answer`),
	});
	await expect(probeReadiness({ restHost: "0.0.0.0", restPort: 0 })).rejects.toMatchObject({
		code: "INVALID_ARGUMENT",
		message: expect.stringContaining("restPort = 0"),
	});
});
