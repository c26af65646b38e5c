import { mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { contentDigest } from "@rondo/algorithms";
import { randomFromSeed } from "@rondo/kernels";
import { LIMITS } from "@rondo/protocol";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Backoff } from "./backoff.js";
import { BlobStore, digestOfBytes } from "./blob-store.js";
import { type ClientOptions, resolveOptions } from "./options.js";
import { Outbox } from "./outbox.js";
import { encodeWork } from "./report.js";
import { Traffic } from "./traffic.js";
import { WorkerCache } from "./worker-cache.js";

let dir: string;
beforeEach(async () => {
	dir = await mkdtemp(join(tmpdir(), "rondo-client-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test("the native digest is the protocol's", () => {
	for (const length of [0, 1, LIMITS.chunkBytes, LIMITS.chunkBytes + 1]) {
		const bytes = new Uint8Array(length).fill(3);
		expect(digestOfBytes(bytes)).toBe(contentDigest(bytes));
	}
});

test("blobs: kept, read back checked, removed when damaged", async () => {
	const store = new BlobStore(dir);
	const content = new Uint8Array(LIMITS.chunkBytes + 5).fill(9);
	const ref = store.keepSync(content);
	expect(await store.has(ref)).toBe(true);
	expect(await store.read(ref)).toEqual(content);
	await writeFile(store.pathOf(ref.digest), content.fill(8));
	await expect(store.read(ref)).rejects.toMatchObject({ code: "DIGEST_MISMATCH" });
	await expect(store.read(ref)).rejects.toMatchObject({ code: "BLOB_MISSING" });
});

test("blobs: the least recently used go, pinned ones stay", async () => {
	const store = new BlobStore(dir);
	const refs = [1, 2, 3].map((byte) => store.keepSync(new Uint8Array(100).fill(byte)));
	for (const [i, ref] of refs.entries()) await utimes(store.pathOf(ref.digest), 1000 + i, 1000 + i);
	await store.trim(100, new Set([refs[0]!.digest]));
	expect(await readdir(dir)).toEqual([refs[0]!.digest]);
});

test("the cache survives a restart, and a torn file is a miss", async () => {
	const path = join(dir, "run");
	const cache = new WorkerCache(path);
	cache.set("sum", Float64Array.of(1, 2));
	cache.set("round", 3);
	cache.flush();
	const again = new WorkerCache(path);
	expect([again.get("sum"), again.get("round"), again.get("other")]).toEqual([Float64Array.of(1, 2), 3, undefined]);
	for (const name of await readdir(path)) await writeFile(join(path, name), (await readFile(join(path, name))).subarray(0, 35));
	expect(new WorkerCache(path).get("sum")).toBeUndefined();
});

test("the outbox survives a restart, counts its bytes, and sets damaged files aside", async () => {
	const taskId = "ab".repeat(32);
	const entry = {
		taskId,
		runId: "r1",
		digest: "cd".repeat(32),
		report: Uint8Array.of(1, 2, 3),
		blobs: [{ digest: "ef".repeat(32), bytes: 100 }],
	};
	await (await Outbox.open(dir, 103, () => {})).add(entry);
	const damaged: string[] = [];
	await writeFile(join(dir, "00".repeat(32)), "not CBOR");
	const again = await Outbox.open(dir, 103, ({ code }) => damaged.push(code));
	expect(damaged).toEqual(["BAD_ENCODING"]);
	expect([again.taskIds, again.bytes, again.isFull, again.blobDigests]).toEqual([[taskId], 103, true, ["ef".repeat(32)]]);
	expect(await again.report(taskId)).toEqual(entry.report);
	await again.remove(taskId);
	expect(await readdir(dir)).toEqual([`${"00".repeat(32)}.damaged`]);
});

test("reports stay within the limit, however the lanes are cut", () => {
	const identity = {
		name: "u8",
		lossless: true,
		maxBytes: () => 0,
		encode: (x: ArrayLike<number>) => Uint8Array.from(x),
		decode: (b: Uint8Array) => Float32Array.from(b),
	};
	fc.assert(
		fc.property(fc.array(fc.integer({ min: 1, max: 50_000 }), { minLength: 1, maxLength: 64 }), (lengths) => {
			const lanes = new Map(
				lengths.map((length, i) => [`lane-${i}`, { length, absMax: 1, combine: "mean" as const, codec: ["u8"] as const }]),
			);
			const work = {
				header: new Uint8Array(60_000),
				numExamples: 1,
				lanes: Object.fromEntries(lengths.map((length, i) => [`lane-${i}`, new Float32Array(length)])),
			};
			const kept: number[] = [];
			const { report, blobs } = encodeWork(
				work,
				lanes,
				() => identity,
				randomFromSeed("stores"),
				(bytes) => {
					kept.push(bytes.length);
					return { digest: digestOfBytes(bytes), bytes: bytes.length };
				},
			);
			expect(report.length).toBeLessThanOrEqual(LIMITS.reportBytes);
			expect(kept.length).toBeGreaterThanOrEqual(lengths.filter((length) => length > LIMITS.inlineLaneBytes).length);
			expect(new Set(kept)).toEqual(new Set(blobs.map(({ bytes }) => bytes)));
		}),
		{ numRuns: 30 },
	);
});

test("plain text is for loopback, unless it is asked for", () => {
	const tlsOf = (address: string, tls?: ClientOptions["tls"]) =>
		resolveOptions({ address, stateDir: "x", workload: "file:///w.js", ...(tls === undefined ? {} : { tls }) }).tls;
	for (const address of ["127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"]) expect(tlsOf(address)).toBeUndefined();
	for (const address of ["10.0.0.1:1", "coordinator.example:443", "[2001:db8::1]:1", "127.example.org:1"])
		expect(tlsOf(address)).toEqual({});
	expect(tlsOf("10.0.0.1:1", false)).toBeUndefined();
	expect(tlsOf("127.0.0.1:1", { ca: "PEM" })).toEqual({ ca: "PEM" });
});

test("waits grow up to their bound, and begin anew after a success", () => {
	const backoff = new Backoff({ minMs: 250, maxMs: 20_000 });
	for (let i = 0; i < 50; i++) expect(backoff.next()).toBeLessThan(Math.min(20_000, 250 * 2 ** i));
	backoff.reset();
	expect(backoff.next()).toBeLessThan(250);
});

test("traffic is counted by task and in total", () => {
	const traffic = new Traffic();
	traffic.counter("a")("up", 5);
	traffic.counter()("down", 7);
	traffic.counter("a")("down", 1);
	expect(traffic.take("a")).toEqual({ bytesUp: 5, bytesDown: 1 });
	expect(traffic.take("a")).toEqual({ bytesUp: 0, bytesDown: 0 });
	expect(traffic.total).toEqual({ bytesUp: 5, bytesDown: 8 });
});
