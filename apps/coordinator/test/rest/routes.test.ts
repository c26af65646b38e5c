import { decodePlain, encodePlain } from "@rondo/algorithms";
import { layoutOf, readSafetensors, writeSafetensors } from "@rondo/tensors";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { hashSecret } from "../../src/auth/secrets.js";
import { aClient, aRound, aRun, as, HASH, LAYOUT, startFake, WEIGHTS } from "./fake-services.js";

const fake = await startFake();
beforeEach(() => fake.reset());
afterAll(() => fake.close());

const api = async (method: "GET" | "POST", path: string, payload?: object) => {
	const answer = await fake.app.inject({
		method,
		url: `/api/v1${path}`,
		headers: as(method === "GET" ? "read" : "admin"),
		...(payload === undefined ? {} : { payload }),
	});
	return { status: answer.statusCode, headers: answer.headers, body: answer.json(), text: answer.body };
};
const upload = (payload: Uint8Array, type = "application/octet-stream") =>
	fake.app.inject({
		method: "PUT",
		url: "/api/v1/models/weights",
		headers: { ...as("admin"), "content-type": type },
		payload: Buffer.from(payload),
	});

describe("models", () => {
	const manifest = { format: "test", layers: [1, 2] };

	it("are uploaded, named, listed and shown", async () => {
		const weights = await upload(writeSafetensors(LAYOUT, WEIGHTS));
		expect(weights.statusCode).toBe(200);
		const { digest, parameters, layout } = weights.json();
		expect({ parameters, layout }).toEqual({ parameters: 9, layout: LAYOUT });
		const made = await api("POST", "/models", { name: "mlp", weights: digest, layout, manifest });
		expect(made.status).toBe(201);
		expect(made.body).toMatchObject({ name: "mlp", weights: digest, parameters: 9, layout, manifest });
		expect(made.headers.location).toBe(`/api/v1/models/${made.body.id}`);
		expect((await api("GET", "/models")).body).toEqual({
			items: [{ id: made.body.id, name: "mlp", createdAt: made.body.createdAt, weights: digest, parameters: 9 }],
			next: null,
		});
		expect((await api("GET", "/models/mlp")).body).toEqual(made.body);
		expect((await api("GET", `/models/${made.body.id}`)).body).toEqual(made.body);
		expect((await api("POST", "/models", { name: "mlp", weights: digest, layout, manifest })).body).toMatchObject({
			status: 409,
			code: "ALREADY_EXISTS",
		});
		expect(fake.world.audit.map(({ actor, action }) => [actor, action])).toEqual([
			["token:t-admin", "weights.upload"],
			["token:t-admin", "model.create"],
		]);
	});

	it("with bad files are refused", async () => {
		const bad = WEIGHTS.slice();
		bad[7] = Number.NaN;
		expect((await upload(writeSafetensors(LAYOUT, bad))).json()).toMatchObject({
			status: 400,
			code: "NOT_FINITE",
			field: "dense/bias[1]",
			value: "NaN",
		});
		expect((await upload(writeSafetensors(layoutOf([]), new Float32Array(0)))).json()).toMatchObject({
			status: 400,
			code: "BAD_SAFETENSORS",
			detail: "the file has no parameters",
		});
		expect((await upload(new Uint8Array([1, 2, 3]))).json()).toMatchObject({ status: 400, code: "BAD_SAFETENSORS" });
		expect((await upload(new TextEncoder().encode("{}"), "application/json")).json()).toMatchObject({ status: 400, field: "body" });
		expect((await upload(new Uint8Array(8), "image/png")).json()).toMatchObject({ status: 415 });
		expect(fake.world.audit).toEqual([]);
	});

	it("with files beyond the limit are refused before they are read", async () => {
		const small = await startFake({ flags: { maxBlobBytes: 2 ** 20 } });
		const answer = await small.app.inject({
			method: "PUT",
			url: "/api/v1/models/weights",
			headers: { ...as("admin"), "content-type": "application/octet-stream" },
			payload: Buffer.alloc(2 ** 20 + 1),
		});
		await small.close();
		expect(answer.json()).toMatchObject({
			status: 413,
			code: "TOO_LARGE",
			detail: "the body of 1048577 bytes is larger than the limit of 1048576 bytes",
		});
	});

	it("need weights that are there, of the layout's length, and finite", async () => {
		const { digest, layout } = (await upload(writeSafetensors(LAYOUT, WEIGHTS))).json();
		const make = async (change: object) => (await api("POST", "/models", { name: "m", weights: digest, layout, manifest, ...change })).body;
		expect(await make({ weights: HASH(5) })).toMatchObject({ status: 404, code: "NOT_FOUND", field: "weights", value: HASH(5) });
		expect(await make({ layout: { length: 6, tensors: layout.tensors.slice(0, 1) } })).toMatchObject({
			status: 400,
			code: "SHAPE_MISMATCH",
		});
		expect(await make({ layout: { ...layout, length: 8 } })).toMatchObject({
			status: 400,
			code: "INVALID_ARGUMENT",
			detail: "layout.length must be 9, got 8",
		});
		expect(await make({ layout: { ...layout, tensors: [{ ...layout.tensors[0], dtype: "f32" }] } })).toMatchObject({
			field: "layout.tensors.0.dtype",
			value: "f32",
		});
		expect(await make({ manifest: "x".repeat(2 ** 20 - 1) })).toMatchObject({
			status: 413,
			code: "TOO_LARGE",
			field: "manifest",
			detail: "manifest has 1048577 bytes as JSON, clients take at most 1048576",
		});
		expect(await make({ manifest: { text: "a\u0000b" } })).toMatchObject({ status: 400, field: "manifest" });
		expect((await make({ manifest: { text: "a\\u0000b" } })).id).toBeTypeOf("string");
		const infinite = await fake.blobs.put(new Uint8Array(Float32Array.from({ length: 9 }, () => Number.POSITIVE_INFINITY).buffer));
		expect(await make({ name: "n", weights: infinite })).toMatchObject({
			status: 400,
			code: "NOT_FINITE",
			field: "dense/kernel[0]",
			value: "Infinity",
		});
	});

	it("list blobs that must be there", async () => {
		const { digest, layout } = (await upload(writeSafetensors(LAYOUT, WEIGHTS))).json();
		const make = async (assets: unknown) =>
			(await api("POST", "/models", { name: "m", weights: digest, layout, manifest: { ...manifest, assets } })).body;
		expect(await make([{ digest: HASH(5), bytes: 4 }])).toMatchObject({
			status: 404,
			code: "NOT_FOUND",
			field: "manifest.assets[0]",
			value: HASH(5),
		});
		expect(
			await make([
				{ digest, bytes: 36 },
				{ digest, bytes: 35 },
			]),
		).toMatchObject({
			status: 400,
			field: "manifest.assets[1].bytes",
			detail: `manifest.assets[1].bytes is 35, the blob ${digest} has 36`,
		});
		expect(await make({})).toMatchObject({ status: 400, field: "manifest.assets" });
		expect(await make(Array(257).fill({ digest, bytes: 36 }))).toMatchObject({ status: 400, field: "manifest.assets" });
		for (const asset of [null, digest, { digest: "../x", bytes: 1 }, { digest }, { digest, bytes: 0.5 }])
			expect(await make([asset])).toMatchObject({ status: 400, code: "INVALID_ARGUMENT", field: "manifest.assets[0]" });
		expect((await make([{ digest, bytes: 36 }])).manifest.assets).toEqual([{ digest, bytes: 36 }]);
	});

	it("that do not exist are not found", async () => {
		expect((await api("GET", "/models/nope")).body).toMatchObject({ status: 404, code: "NOT_FOUND", field: "id", value: "nope" });
	});
});

describe("runs", () => {
	it("are submitted, listed and shown without secrets", async () => {
		const made = await api("POST", "/runs", { model: "m1", strategy: "fedavg", rounds: 3, options: { lr: 0.1 }, secretSeed: HASH(1) });
		expect(made.status).toBe(201);
		expect(made.headers).toMatchObject({ location: "/api/v1/runs/run2", "cache-control": "no-store" });
		expect(made.body).toMatchObject({ run: { id: "run2", phase: "running" }, cost: { task: 1, download: 2, report: 3 } });
		const one = (await api("GET", "/runs/run1")).body;
		expect(one).toMatchObject({
			name: "name-of-run1",
			createdAt: "2026-01-02T03:04:05.678Z",
			endedAt: null,
			model: "m1",
			options: { lr: 0.5, scale: { dtype: "f32", length: 2, head: [1, 2] }, big: "1180591620717411303424" },
			settings: { rounds: 3 },
			result: null,
		});
		expect((await api("GET", "/runs/name-of-run1")).body).toEqual(one);
		expect(JSON.stringify(one)).not.toMatch(/secret/i);
		expect((await api("GET", "/runs/run9")).body).toMatchObject({ status: 404, code: "NOT_FOUND", value: "run9" });
	});

	it("are paged", async () => {
		for (let i = 2; i <= 5; i++) fake.world.runs.push(aRun(`run${i}`));
		const seen: string[] = [];
		for (let after = ""; ; ) {
			const { body } = await api("GET", `/runs?limit=2${after}`);
			seen.push(...body.items.map(({ id }: { id: string }) => id));
			if (body.next === null) break;
			after = `&after=${body.next}`;
		}
		expect(seen).toEqual(["run1", "run2", "run3", "run4", "run5"]);
	});

	it("are started, paused, resumed and stopped in the name of the caller", async () => {
		for (const [action, phase] of [
			["pause", "paused"],
			["resume", "running"],
			["stop", "stopped"],
			["start", "running"],
		]) {
			expect((await api("POST", `/runs/name-of-run1/${action}`)).body).toMatchObject({ id: "run1", phase });
			expect(fake.world.audit.at(-1)).toMatchObject({ actor: "token:t-admin", action: `run.${action}`, subject: "run1" });
		}
		expect((await api("POST", "/runs/run1/start")).body).toMatchObject({ status: 409, code: "CONFLICT" });
		expect((await api("POST", "/runs/run9/stop")).status).toBe(404);
	});

	it("show their log for reading and as the bytes that are hashed", async () => {
		const { body } = await api("GET", "/runs/run1/log?from=0&limit=2");
		expect(body.next).toBe(2);
		expect(body.items[1]).toMatchObject({ commit: 1, hash: HASH(101), accepted: [{ client: "c1", numExamples: 30 }] });
		expect(body.items[0].content).toMatchObject({
			kind: "genesis",
			initial: { dtype: "f32", length: 9, sha256: HASH(9) },
			config: { steps: { dtype: "i32", length: 40, head: Array(32).fill(7) } },
		});
		const entry = decodePlain(Buffer.from(body.items[0].entry, "base64"));
		expect(entry).toMatchObject({ kind: "genesis", config: { steps: new Int32Array(40).fill(7) } });
		expect(Buffer.from(encodePlain(entry)).toString("base64")).toBe(body.items[0].entry);
		expect((await api("GET", "/runs/run1/log?from=2&limit=2")).body.next).toBeNull();
	});

	it("show rounds, and one round with its tasks", async () => {
		fake.world.rounds.push({ ...aRound(2), key: { kind: "evaluate", round: 2, attempt: 1 } });
		for (let round = 3; round < 250; round++) fake.world.rounds.push(aRound(round));
		expect((await api("GET", "/runs/run1/rounds?kind=evaluate")).body).toMatchObject({
			items: [{ kind: "evaluate", round: 2, attempt: 1, bytesUp: 20 }],
			next: null,
		});
		expect((await api("GET", "/runs/run1/rounds?limit=1")).body).toMatchObject({
			items: [{ round: 1, phase: "committed", metrics: { loss: 0.5 } }],
			next: "1",
		});
		const one = await api("GET", "/runs/run1/rounds/train/2/1");
		expect(one.body).toMatchObject({
			round: 2,
			scores: { c1: { loss: 0.5 } },
			plan: { quorum: 1 },
			tasks: [{ id: HASH(2), client: "c1", phase: "accepted", outcome: "applied", bytesUp: 20, numExamples: 30 }],
		});
		expect(one.text).not.toContain("payload");
		expect((await api("GET", "/runs/run1/rounds/train/249/1")).status).toBe(200);
		expect((await api("GET", "/runs/run1/rounds/train/2/7")).body).toMatchObject({ status: 404, code: "NOT_FOUND" });
	});

	it("give accepted reports, but only their own", async () => {
		const read = (path: string) => fake.app.inject({ url: `/api/v1/runs/${path}`, headers: as("admin") });
		const report = await read(`run1/reports/${HASH(1)}`);
		expect(report.headers["content-type"]).toBe("application/cbor");
		expect([...report.rawPayload]).toEqual([0xa0]);
		fake.world.runs.push(aRun("run2"));
		expect((await read(`run2/reports/${HASH(1)}`)).json()).toMatchObject({ status: 404, field: "task" });
		expect((await read(`run1/reports/${HASH(2)}`)).json()).toMatchObject({ status: 404, code: "NOT_FOUND" });
		expect((await read("run1/reports/abc")).json()).toMatchObject({ status: 400, field: "task", value: "abc" });
	});
});

describe("clients of a run", () => {
	it("are listed with their newest scores and what is kept of them, without digests", async () => {
		const { body, text } = await api("GET", "/runs/name-of-run1/clients");
		expect(body.items).toEqual([
			{
				client: "c1",
				name: "device c1",
				connected: true,
				leased: 3,
				applied: 2,
				lastRound: 2,
				bytesDown: 30,
				bytesUp: 40,
				scoredRound: 2,
				scores: { reputation: 0.25, standing: 1 },
				state: {
					model: { dtype: "f32", length: 9 },
					kept: [{ dtype: "u8", length: 3 }],
					reason: "because",
					trail: { dtype: "u8", length: 2, head: [1, 2] },
				},
			},
			expect.objectContaining({ client: "c2", connected: false, applied: 0, lastRound: null, scoredRound: null, scores: {}, state: null }),
		]);
		expect(text).not.toMatch(/[0-9a-f]{64}/);
		expect((await api("GET", "/runs/run1/clients?limit=1")).body).toMatchObject({ items: [{ client: "c1" }], next: "1" });
		expect((await api("GET", "/runs/run9/clients")).status).toBe(404);
	});

	it("have models of their own, for administrators only", async () => {
		const read = (client: string, who: "admin" | "read") =>
			fake.app.inject({ url: `/api/v1/runs/run1/clients/${client}/model`, headers: as(who) });
		const answer = await read("c1", "admin");
		expect(answer.headers["content-disposition"]).toBe('attachment; filename="name-of-run1-1-c1.safetensors"');
		expect(readSafetensors(answer.rawPayload)).toMatchObject({ weights: WEIGHTS.map((weight) => 2 * weight) });
		expect((await read("c1", "read")).statusCode).toBe(403);
		expect((await read("c2", "admin")).json()).toMatchObject({ status: 404, code: "NOT_FOUND" });
	});
});

describe("clients", () => {
	it("are listed and shown with their connection, without credentials", async () => {
		fake.world.clients.push(aClient("c2"));
		const { body, text } = await api("GET", "/clients");
		expect(body.items.map(({ id, connected }: { id: string; connected: boolean }) => [id, connected])).toEqual([
			["c1", true],
			["c2", false],
		]);
		expect(text).not.toMatch(/nonce|session|hash/i);
		expect((await api("GET", "/clients/c1")).body).toMatchObject({ id: "c1", name: "device c1", role: "trainer", revokedAt: null });
		expect((await api("GET", "/clients/c9")).status).toBe(404);
	});

	it("are revoked", async () => {
		expect((await api("POST", "/clients/c1/revoke")).body.revokedAt).toBe("2026-01-02T03:04:05.678Z");
		expect(fake.world.audit).toMatchObject([{ actor: "token:t-admin", action: "client.revoke", subject: "c1" }]);
		expect((await api("POST", "/clients/c9/revoke")).body).toMatchObject({ status: 404, code: "NOT_FOUND" });
	});
});

describe("tokens", () => {
	it("are created with a secret that is shown once and works at once, until it is revoked", async () => {
		const made = await api("POST", "/tokens", { name: "dashboard", scope: "read", expiresInS: 60 });
		expect(made.status).toBe(201);
		const { secret, token } = made.body;
		expect(secret).toMatch(/^rondo_r_[A-Za-z0-9_-]{43}$/);
		expect(Date.parse(token.expiresAt)).toBeGreaterThan(Date.now());
		const use = () => fake.app.inject({ url: "/api/v1/runs", headers: { authorization: `Bearer ${secret}` } });
		expect((await use()).statusCode).toBe(200);
		const list = await fake.app.inject({ url: "/api/v1/tokens", headers: as("admin") });
		expect(list.json().items).toHaveLength(4);
		expect(list.body).not.toContain(secret);
		expect(list.body).not.toContain(hashSecret(secret));
		expect((await api("POST", `/tokens/${token.id}/revoke`)).body.revokedAt).not.toBeNull();
		expect((await use()).json()).toMatchObject({ status: 401, code: "TOKEN_REVOKED" });
		expect(fake.world.audit.map(({ action, subject }) => [action, subject])).toEqual([
			["token.create", token.id],
			["token.revoke", token.id],
		]);
		expect(JSON.stringify(fake.world.audit)).not.toContain(secret);
	});

	it("count uses only when they enrol", async () => {
		const made = await api("POST", "/tokens", { name: "lab", scope: "enrol:evaluator", maxUses: 2 });
		expect(made.body).toMatchObject({ token: { scope: "enrol:evaluator", usesLeft: 2, expiresAt: null } });
		expect(made.body.secret).toMatch(/^rondo_e_/);
		expect((await api("POST", "/tokens", { name: "x", scope: "admin", maxUses: 2 })).body).toMatchObject({
			status: 400,
			field: "maxUses",
			value: 2,
		});
		expect((await api("POST", "/tokens", { name: "x", scope: "root" })).body).toMatchObject({ status: 400, field: "scope", value: "root" });
	});
});

describe("audit and strategies", () => {
	it("list what was done", async () => {
		await api("POST", "/clients/c1/revoke");
		await api("POST", "/runs/run1/stop");
		const list = async (query: string) => (await fake.app.inject({ url: `/api/v1/audit?${query}`, headers: as("admin") })).json();
		expect(await list("limit=1")).toEqual({
			items: [{ id: 1, at: "2026-01-02T03:04:05.678Z", actor: "token:t-admin", action: "client.revoke", subject: "c1", details: {} }],
			next: "1",
		});
		expect((await list("after=1")).items).toMatchObject([{ action: "run.stop" }]);
	});

	it("list what runs may name", async () => {
		expect((await api("GET", "/strategies")).body).toEqual({
			items: [{ name: "fedavg", version: 1, summary: "Averages.", schema: { type: "object" }, needs: { reads: "lanes" } }],
			next: null,
		});
	});
});
