import { readFileSync } from "node:fs";
import { CHUNK_BYTES, contentDigest, MAX_INLINE_BYTES } from "@rondo/algorithms";
import { sha256, toHex } from "@rondo/kernels";
import { LIMITS } from "@rondo/protocol";
import { expect, test } from "vitest";
import { fixture } from "./setup.js";

const docs = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
const readme = readFileSync(new URL("../README.md", import.meta.url), "utf8");
const eventsSource = readFileSync(new URL("../src/events.ts", import.meta.url), "utf8");

test("the example of docs/protocol.md holds", () => {
	const zeros = new Uint8Array(CHUNK_BYTES + 1);
	const hashes = [zeros.subarray(0, CHUNK_BYTES), zeros.subarray(CHUNK_BYTES)].map((chunk) => toHex(sha256(chunk)));
	expect([...docs.matchAll(/`([0-9a-f]{64})`/g)].map(([, hex]) => hex)).toEqual([
		...hashes,
		contentDigest(zeros),
		contentDigest(new Uint8Array()),
	]);
});

test("protocol and algorithms agree on sizes", () => {
	expect(LIMITS.chunkBytes).toBe(CHUNK_BYTES);
	for (const field of ["configBytes", "taskBytes"] as const) expect(LIMITS[field]).toBe(MAX_INLINE_BYTES);
});

test("the README's events are those of the client", () => {
	const table = readme.slice(readme.indexOf("## Events"), readme.indexOf("## What survives"));
	const events = [...eventsSource.slice(eventsSource.indexOf("interface ClientEvents")).matchAll(/^\t(\w+): \[/gm)].map(([, name]) => name);
	expect([...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, name]) => name).sort()).toEqual(events.sort());
});

test("the README's workload is a workload", async () => {
	const code = /```js\n([\s\S]+?)```/.exec(readme)![1]!;
	const { createData, createTrainer } = await import(`data:text/javascript,${encodeURIComponent(code)}`);
	expect(code.trim().split("\n").length).toBeLessThanOrEqual(12);
	const out = new Float32Array(2);
	expect(createData({}, { examples: 3 }).numExamples).toBe(3);
	expect(await createTrainer().gradient(Float32Array.of(1, 2), null, out)).toBe(2.5);
	expect([...out]).toEqual([1, 2]);
	expect(fixture("workload.js").protocol).toBe("file:");
});
