import { contentDigest } from "@rondo/algorithms";
import { readSafetensors } from "@rondo/tensors";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { as, HASH, LAYOUT, startFake, WEIGHTS } from "./fake-services.js";

const fake = await startFake({ flags: { heartbeatMs: 100 } });
beforeEach(() => fake.reset());
afterAll(() => fake.close());

const DIGEST = contentDigest(new Uint8Array(WEIGHTS.buffer));
const download = (path: string, headers: Record<string, string> = {}) =>
	fake.app.inject({ url: `/api/v1${path}`, headers: { ...as("admin"), ...headers } });

describe("the model of a run", () => {
	it("is a safetensors file of its weights", async () => {
		const answer = await download("/runs/run1/model");
		expect(answer.headers).toMatchObject({
			"content-type": "application/octet-stream",
			"content-length": String(answer.rawPayload.length),
			etag: `"${DIGEST}"`,
			"rondo-commit": "1",
			"rondo-round": "1",
			"content-disposition": 'attachment; filename="name-of-run1-1.safetensors"',
		});
		const model = readSafetensors(answer.rawPayload);
		expect(model).toEqual({ layout: LAYOUT, weights: WEIGHTS, metadata: { run: "run1", commit: "1", round: "1" } });
	});

	it("is not sent again to who has it", async () => {
		const answer = await download("/runs/run1/model", { "if-none-match": `"${DIGEST}"` });
		expect([answer.statusCode, answer.body]).toEqual([304, ""]);
	});
});

describe("blobs", () => {
	it("are sent as they are", async () => {
		await download("/runs/run1/model");
		const answer = await download(`/blobs/${DIGEST}`);
		expect(answer.headers).toMatchObject({ "content-length": "36", etag: `"${DIGEST}"` });
		expect(new Uint8Array(answer.rawPayload)).toEqual(new Uint8Array(WEIGHTS.buffer));
	});

	it("that are not there are not found", async () => {
		expect((await download(`/blobs/${HASH(3)}`)).json()).toMatchObject({ status: 404, code: "NOT_FOUND", field: "digest" });
		expect((await download("/blobs/..%2f..%2fetc%2fpasswd")).json()).toMatchObject({ status: 400, field: "digest" });
		await download("/runs/run1/model");
		await fake.blobs.remove(DIGEST);
		expect((await download(`/blobs/${DIGEST}`)).statusCode).toBe(404);
	});
});

describe("events of a run", () => {
	async function open() {
		await fake.app.listen({ port: 0, host: "127.0.0.1" });
		const { port } = fake.app.server.address() as { port: number };
		const stop = new AbortController();
		const answer = await fetch(`http://127.0.0.1:${port}/api/v1/runs/run1/events`, { headers: as("read"), signal: stop.signal });
		const reader = answer.body!.pipeThrough(new TextDecoderStream()).getReader();
		let text = "";
		/** Reads on until the text so far holds `wanted`. */
		const until = async (wanted: string): Promise<string> => {
			while (!text.includes(wanted)) {
				const { value, done } = await reader.read();
				if (done) throw new Error(`the stream ended after ${JSON.stringify(text)}`);
				text += value;
			}
			return text;
		};
		return { answer, stop, until };
	}

	it("arrive as server-sent events, with signs of life, until the reader leaves", async () => {
		fake.world.notices.push(
			{ run: "run1", type: "opened", kind: "train", round: 1, attempt: 1 },
			{ run: "run1", type: "committed", round: 1, metrics: { loss: 0.5 } },
		);
		const ended = new Promise<void>((resolve) => {
			fake.world.watchEnded = resolve;
		});
		const { answer, stop, until } = await open();
		expect(answer.headers.get("content-type")).toBe("text/event-stream");
		const text = await until("loss");
		expect(text).toContain('event: opened\ndata: {"run":"run1","type":"opened","kind":"train","round":1,"attempt":1}\n\n');
		expect(text).toContain('event: committed\ndata: {"run":"run1","type":"committed","round":1,"metrics":{"loss":0.5}}\n\n');
		await until("\n\n:\n\n");
		stop.abort();
		await ended;
	});

	it("need a run and a token", async () => {
		expect((await download("/runs/run9/events")).json()).toMatchObject({ status: 404, code: "NOT_FOUND" });
		expect((await fake.app.inject("/api/v1/runs/run1/events")).statusCode).toBe(401);
	});
});
