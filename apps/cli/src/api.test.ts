import { createServer, type RequestListener, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { Api } from "./api.js";

let server: Server | undefined;
let api: Api | undefined;

async function serving(handler: RequestListener): Promise<Api> {
	server = createServer(handler);
	await new Promise<void>((resolve) => server!.listen(0, "127.0.0.1", resolve));
	api = await Api.open({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, token: "secret" });
	return api;
}

afterEach(async () => {
	api?.close();
	server?.closeAllConnections();
	await new Promise((resolve) => (server?.listening ? server.close(resolve) : resolve(undefined)));
	server = undefined;
});

const never = new AbortController().signal;

describe("Api", () => {
	it("sends token and JSON to /api/v1", async () => {
		const seen: unknown[] = [];
		const client = await serving(async (request, reply) => {
			let body = "";
			for await (const chunk of request) body += String(chunk);
			seen.push([request.method, request.url, request.headers.authorization, request.headers["content-type"], body]);
			reply.end('{"ok":true}');
		});
		expect(await client.post("/runs", { a: 1 })).toEqual({ ok: true });
		expect(seen).toEqual([["POST", "/api/v1/runs", "Bearer secret", "application/json", '{"a":1}']]);
	});

	it("follows pages to their end", async () => {
		const client = await serving((request, reply) =>
			reply.end(JSON.stringify(request.url?.includes("after=b") ? { items: [3], next: null } : { items: [1, 2], next: "b" })),
		);
		expect(await client.list("/runs", { limit: "2" })).toEqual([1, 2, 3]);
	});

	it("turns a problem into its error", async () => {
		const client = await serving((_request, reply) => {
			reply.statusCode = 404;
			reply.end(JSON.stringify({ code: "NOT_FOUND", detail: "no run x", field: "id", value: "x" }));
		});
		await expect(client.get("/runs/x")).rejects.toMatchObject({
			code: "NOT_FOUND",
			message: "no run x",
			details: { field: "id", value: "x" },
		});
	});

	it.each([
		["a page of a proxy", "<html>", 502],
		["an answer that is not JSON", "hello", 200],
		["a problem of something else", '{"code":"E42"}', 400],
		["null", "null", 500],
	])("is UNAVAILABLE for %s", async (_what, body, status) => {
		const client = await serving((_request, reply) => {
			reply.statusCode = status;
			reply.end(body);
		});
		await expect(client.get("/runs")).rejects.toMatchObject({ code: "UNAVAILABLE" });
	});

	it("is UNAVAILABLE when the answer breaks off", async () => {
		const client = await serving((_request, reply) => {
			reply.writeHead(200, { "content-length": "100" });
			reply.write("{");
			setImmediate(() => reply.destroy());
		});
		await expect(client.get("/runs")).rejects.toMatchObject({ code: "UNAVAILABLE" });
	});

	it("is UNAVAILABLE where nobody listens", async () => {
		await expect((await Api.open({ url: "http://127.0.0.1:1" })).get("/runs")).rejects.toMatchObject({
			code: "UNAVAILABLE",
			message: expect.stringContaining("127.0.0.1:1"),
		});
	});

	it("is CANCELLED by the signal", async () => {
		const stop = new AbortController();
		const client = await serving(() => stop.abort());
		await expect(client.get("/runs", stop.signal)).rejects.toMatchObject({ code: "CANCELLED" });
	});

	it("reads server-sent events until the stream ends", async () => {
		const client = await serving((_request, reply) => reply.end(': open\n\nevent: a\ndata: {"n":1}\n\n:\n\nevent: b\ndata: {"n":2}\n\n'));
		const seen: unknown[] = [];
		for await (const event of await client.events("/runs/x/events", never)) seen.push(event);
		expect(seen).toEqual([{ n: 1 }, { n: 2 }]);
	});

	it("ends when a stream of events breaks off", async () => {
		const client = await serving((_request, reply) => {
			reply.write('data: {"n":1}\n\n');
			setImmediate(() => reply.destroy());
		});
		const seen: unknown[] = [];
		for await (const event of await client.events("/runs/x/events", never)) seen.push(event);
		expect(seen).toEqual([{ n: 1 }]);
	});

	it.each(["", "example.org", "ftp://example.org", "http//x"])("refuses the address %j", async (url) => {
		await expect(Api.open({ url })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	});
});
