import { get } from "node:https";
import { connect } from "node:net";
import { Writable } from "node:stream";
import { pino } from "pino";
import { afterAll, beforeEach, describe, expect, it, vi } from "vitest";
import { hashSecret } from "../../src/auth/secrets.js";
import { loadConfig } from "../../src/config/load-config.js";
import { createRestServer, type Tls } from "../../src/rest/server.js";
import type { Services } from "../../src/services.js";
import { as, aToken, SECRETS, startFake } from "./fake-services.js";
import { LOCALHOST } from "./localhost-certificate.js";

const fake = await startFake();
beforeEach(() => fake.reset());
afterAll(() => fake.close());

const newRun = { model: "m1", strategy: "fedavg", rounds: 3 };

describe("probes", () => {
	it("answer without a token", async () => {
		expect((await fake.app.inject("/healthz")).json()).toEqual({ status: "ok" });
		expect((await fake.app.inject("/readyz")).json()).toEqual({ status: "ready" });
	});

	it("say when the coordinator cannot work, while it is still alive", async () => {
		fake.world.databaseUp = false;
		expect((await fake.app.inject("/readyz")).json()).toMatchObject({
			status: 503,
			code: "UNAVAILABLE",
			detail: "the database does not answer",
		});
		fake.world.databaseUp = true;
		fake.world.ready = false;
		expect((await fake.app.inject("/readyz")).statusCode).toBe(503);
		expect((await fake.app.inject("/healthz")).statusCode).toBe(200);
	});
});

describe("tokens and scopes", () => {
	const get = (authorization?: string) =>
		fake.app.inject({ url: "/api/v1/runs", headers: authorization === undefined ? {} : { authorization } });

	it.each([
		["no header", undefined, 401, "UNAUTHENTICATED"],
		["another scheme", "Basic abc", 401, "UNAUTHENTICATED"],
		["an unknown token", "Bearer rondo_a_unknown", 401, "UNAUTHENTICATED"],
		["a header of two tokens", "Bearer a b", 401, "UNAUTHENTICATED"],
		["a very long header", `Bearer ${"x".repeat(5000)}`, 401, "UNAUTHENTICATED"],
		["a token that only enrols", `Bearer ${SECRETS.enrol}`, 403, "FORBIDDEN"],
	])("refuse %s", async (_what, authorization, status, code) => {
		const answer = await get(authorization);
		expect(answer.json()).toMatchObject({ status, code, type: `urn:rondo:error:${code}`, instance: "/api/v1/runs" });
		expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
		expect(answer.headers["www-authenticate"]).toBe(status === 401 ? "Bearer" : undefined);
	});

	it("refuse expired and revoked tokens from that moment on", async () => {
		const hash = hashSecret(SECRETS.read);
		fake.world.tokens.set(hash, aToken("t-read", "read", { expiresAt: new Date(Date.now() + 60_000) }));
		expect((await get(`Bearer ${SECRETS.read}`)).statusCode).toBe(200);
		fake.world.tokens.set(hash, aToken("t-read", "read", { expiresAt: new Date(Date.now()) }));
		expect((await get(`Bearer ${SECRETS.read}`)).json()).toMatchObject({ status: 401, code: "TOKEN_EXPIRED" });
		fake.world.tokens.set(hash, aToken("t-read", "read", { revokedAt: new Date() }));
		expect((await get(`bearer ${SECRETS.read}`)).json()).toMatchObject({ status: 401, code: "TOKEN_REVOKED" });
	});

	it("let readers read and only administrators change things", async () => {
		expect((await fake.app.inject({ url: "/api/v1/runs", headers: as("admin") })).statusCode).toBe(200);
		for (const [method, url] of [
			["POST", "/api/v1/runs"],
			["POST", "/api/v1/runs/run1/stop"],
			["PUT", "/api/v1/models/weights"],
			["POST", "/api/v1/models"],
			["POST", "/api/v1/clients/c1/revoke"],
			["POST", "/api/v1/tokens"],
			["GET", "/api/v1/tokens"],
			["POST", "/api/v1/tokens/t-read/revoke"],
			["GET", "/api/v1/audit"],
			["GET", `/api/v1/blobs/${"0".repeat(64)}`],
			["GET", `/api/v1/runs/run1/reports/${"0".repeat(64)}`],
		] as const) {
			const answer = await fake.app.inject({ method, url, headers: as("read") });
			expect([url, answer.statusCode, answer.json().code]).toEqual([url, 403, "FORBIDDEN"]);
		}
		expect(fake.world.audit).toEqual([]);
	});

	it("refuse a stranger before reading the body", async () => {
		const answer = await fake.app.inject({
			method: "POST",
			url: "/api/v1/runs",
			payload: "{ not json",
			headers: { "content-type": "application/json" },
		});
		expect(answer.statusCode).toBe(401);
	});
});

describe("requests that are not as they must be", () => {
	const submit = (payload: unknown, headers: Record<string, string> = {}) =>
		fake.app.inject({ method: "POST", url: "/api/v1/runs", headers: { ...as("admin"), ...headers }, payload: payload as object });

	it.each([
		["a number as text", { ...newRun, rounds: "3" }, "rounds", "3", 'body field "rounds" = "3" must be integer'],
		["a number out of range", { ...newRun, rounds: 0 }, "rounds", 0, 'body field "rounds" = 0 must be >= 1'],
		["an unknown field", { ...newRun, roundz: 4 }, "roundz", 4, 'body field "roundz" = 4 is not a field of this request'],
		["a missing field", { strategy: "fedavg", rounds: 1 }, "model", undefined, 'body field "model" is required'],
		[
			"a wrong pattern",
			{ ...newRun, publicSeed: "XYZ" },
			"publicSeed",
			"XYZ",
			'body field "publicSeed" = "XYZ" must match pattern "^[0-9a-f]{64}$"',
		],
		["an array", [newRun], "body", [newRun], undefined],
	])("are refused by name and value: %s", async (_what, body, field, value, detail) => {
		const answer = await submit(body);
		expect(answer.statusCode).toBe(400);
		expect(answer.json()).toMatchObject({
			code: "INVALID_ARGUMENT",
			field,
			...(value === undefined ? {} : { value }),
			...(detail === undefined ? {} : { detail }),
		});
		expect(fake.world.audit).toEqual([]);
	});

	it("are refused without repeating secrets and without repeating much", async () => {
		const secret = await submit({ ...newRun, secretSeed: "not-hex-but-secret" });
		expect(secret.json()).toMatchObject({ field: "secretSeed", code: "INVALID_ARGUMENT" });
		expect(secret.body).not.toContain("not-hex-but-secret");
		const long = await submit({ ...newRun, model: "x".repeat(100_000) });
		expect(long.json()).toMatchObject({ field: "model" });
		expect(long.body.length).toBeLessThan(1500);
	});

	it.each([
		["limit=0", "limit", 0],
		["limit=201", "limit", 201],
		["limit=ten", "limit", "ten"],
		["limit=1&limit=2", "limit", ["1", "2"]],
		["page=2", "page", "2"],
		["after=%00", "after", "\u0000"],
	])("in queries: %s", async (query, field, value) => {
		const answer = await fake.app.inject({ url: `/api/v1/runs?${query}`, headers: as("read") });
		expect(answer.json()).toMatchObject({ status: 400, code: "INVALID_ARGUMENT", field, value });
	});

	it("name the path parameter", async () => {
		const answer = await fake.app.inject({ url: "/api/v1/runs/run1/rounds/test/1/1", headers: as("read") });
		expect(answer.json()).toMatchObject({
			status: 400,
			field: "kind",
			value: "test",
			detail: 'path field "kind" = "test" must be one of train, evaluate',
		});
	});

	it("are problems when HTTP itself is wrong", async () => {
		const json = { "content-type": "application/json" };
		const cases = [
			[await submit("{ not json", json), 400, "INVALID_ARGUMENT"],
			[await submit('{"__proto__": {"a": 1}, "model": "m1"}', json), 400, "INVALID_ARGUMENT"],
			[await submit("", json), 400, "INVALID_ARGUMENT"],
			[await submit(undefined), 400, "INVALID_ARGUMENT"],
			[await submit("a=b", { "content-type": "application/x-www-form-urlencoded" }), 415, "INVALID_ARGUMENT"],
			[await submit({ ...newRun, name: "x".repeat(1024 * 1024) }), 413, "TOO_LARGE"],
			[await fake.app.inject("/api/v1/nothing"), 404, "NOT_FOUND"],
			[await fake.app.inject("/%zz"), 400, "INVALID_ARGUMENT"],
			[await fake.app.inject({ method: "DELETE", url: "/api/v1/runs/run1" }), 405, "INVALID_ARGUMENT"],
		] as const;
		for (const [answer, status, code] of cases) {
			expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
			expect(answer.json()).toMatchObject({ status, code });
			expect(answer.statusCode).toBe(status);
		}
		expect(cases.at(-1)![0].headers.allow).toBe("GET");
	});

	it("may not bring a body where none is taken", async () => {
		const stop = (payload: object) => fake.app.inject({ method: "POST", url: "/api/v1/runs/run1/stop", headers: as("admin"), payload });
		expect((await stop({ reason: "enough" })).json()).toMatchObject({ status: 400, field: "body" });
		expect((await stop({})).statusCode).toBe(200);
	});
});

describe("errors of the coordinator", () => {
	it("keep their code, field and value", async () => {
		const submit = (change: object) =>
			fake.app.inject({ method: "POST", url: "/api/v1/runs", headers: as("admin"), payload: { ...newRun, ...change } });
		expect((await submit({ strategy: "fedavgg" })).json()).toEqual({
			type: "urn:rondo:error:UNKNOWN_STRATEGY",
			title: "No registered strategy has this name.",
			status: 400,
			detail: 'strategy = "fedavgg" is not registered',
			instance: "/api/v1/runs",
			code: "UNKNOWN_STRATEGY",
			field: "strategy",
			value: "fedavgg",
		});
		expect((await submit({ model: "m9" })).json()).toMatchObject({ status: 404, code: "NOT_FOUND", field: "model" });
	});

	it("show nothing of a defect, but log it; no secret reaches the log", async () => {
		let lines = "";
		const sink = new Writable({
			write: (chunk, _encoding, done) => {
				lines += String(chunk);
				done();
			},
		});
		const log = pino({ level: "trace" }, sink);
		const logged = await startFake({ log });
		logged.world.runs.splice(0);
		Object.defineProperty(logged.world.runs, "find", {
			value: () => {
				throw new TypeError("column run_id is missing");
			},
		});
		const answer = await logged.app.inject({ url: "/api/v1/runs/run1", headers: as("admin") });
		const made = await logged.app.inject({
			method: "POST",
			url: "/api/v1/tokens",
			headers: as("admin"),
			payload: { name: "x", scope: "read" },
		});
		await logged.close();
		expect(answer.json()).toMatchObject({ status: 500, code: "INTERNAL" });
		expect(answer.body).not.toContain("run_id");
		expect(lines).toContain("column run_id is missing");
		for (const secret of [SECRETS.admin, made.json().secret]) expect(lines).not.toContain(secret);
	});
});

describe("TLS", () => {
	const serve = (tls: Tls) =>
		createRestServer({ log: pino({ level: "silent" }), ready: () => true } as unknown as Services, loadConfig({ env: {}, flags: {} }), tls);

	it("is refused when the certificate is none", () => {
		const pem = Buffer.from("not PEM");
		expect(() => serve({ certificate: pem, key: pem })).toThrow(/tlsCertificate and tlsKey are not a certificate and its key/);
	});

	it("serves HTTPS", async () => {
		const app = serve(LOCALHOST);
		await app.listen({ port: 0, host: "127.0.0.1" });
		const { port } = app.server.address() as { port: number };
		const body = await new Promise<string>((resolve, reject) => {
			get({ host: "127.0.0.1", port, path: "/healthz", ca: LOCALHOST.certificate }, (answer) => {
				let text = "";
				answer.on("data", (piece) => {
					text += String(piece);
				});
				answer.on("end", () => resolve(text));
			}).on("error", reject);
		});
		await app.close();
		expect(JSON.parse(body)).toEqual({ status: "ok" });
	});
});

describe("a server that closes", () => {
	it("ends event streams and frees the port", async () => {
		const closing = await startFake();
		const ended = new Promise<void>((resolve) => {
			closing.world.watchEnded = resolve;
		});
		await closing.app.listen({ port: 0, host: "127.0.0.1" });
		const { port } = closing.app.server.address() as { port: number };
		const answer = await fetch(`http://127.0.0.1:${port}/api/v1/runs/run1/events`, { headers: as("read") });
		const reader = answer.body!.getReader();
		expect(new TextDecoder().decode((await reader.read()).value)).toBe(": open\n\n");
		await closing.close();
		await ended;
		const refused = await new Promise((resolve) => {
			connect({ port, host: "127.0.0.1" }).once("error", (error: NodeJS.ErrnoException) => resolve(error.code));
		});
		expect(refused).toBe("ECONNREFUSED");
	});
	it("does not wait for connections that say nothing, nor longer than the grace for others", async () => {
		const closing = await startFake({ flags: { shutdownGraceMs: 20 } });
		await closing.app.listen({ port: 0, host: "127.0.0.1" });
		const { port } = closing.app.server.address() as { port: number };
		const cut = ["", "PUT /api/v1/models/weights HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n"].map((text) => {
			const socket = connect({ port, host: "127.0.0.1" }).on("error", () => undefined);
			socket.write(text);
			return new Promise((resolve) => socket.once("close", resolve));
		});
		await vi.waitUntil(() => new Promise<boolean>((resolve) => closing.app.server.getConnections((_error, count) => resolve(count === 2))));
		await closing.close();
		await Promise.all(cut);
	});
});
