import { createHash, randomBytes } from "node:crypto";
import { appendFile, mkdtemp, readdir, readFile, rm, stat, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHUNK_BYTES, contentDigest, contentDigestOf, vecOf } from "@rondo/algorithms";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { AcceptanceLog } from "../src/blobs/acceptance-log.js";
import { BlobStore } from "../src/blobs/blob-store.js";
import { blobPath } from "../src/blobs/files.js";
import { openSyncIo, reportSource } from "../src/blobs/sync-io.js";
import type { UploadHead } from "../src/blobs/upload.js";

let folder: string;
let free: number;
const open = (): Promise<BlobStore> =>
	BlobStore.open({ folder, maxBlobBytes: 64 * CHUNK_BYTES, reserveBytes: CHUNK_BYTES, freeBytes: () => Promise.resolve(free) });

beforeEach(async () => {
	folder = await mkdtemp(join(tmpdir(), "rondo-blobs-"));
	free = 2 ** 40;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const chunksOf = (bytes: Uint8Array): readonly Uint8Array[] =>
	Array.from({ length: Math.ceil(bytes.length / CHUNK_BYTES) }, (_, i) => bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES));

function headOf(bytes: Uint8Array): UploadHead {
	const chunkHashes = chunksOf(bytes).map((chunk) => createHash("sha256").update(chunk).digest());
	return { digest: contentDigestOf(bytes.length, chunkHashes), totalBytes: bytes.length, chunkHashes };
}

/** Sends what is missing; gives where it began. */
async function send(store: BlobStore, bytes: Uint8Array, chunks = Number.POSITIVE_INFINITY): Promise<number> {
	const upload = await store.openUpload(headOf(bytes));
	const from = upload.receivedBytes;
	for (const chunk of chunksOf(bytes)
		.slice(Math.ceil(from / CHUNK_BYTES))
		.slice(0, chunks))
		await upload.append(chunk);
	return from;
}

const age = (path: string): Promise<void> => utimes(path, new Date(1000), new Date(1000));

describe("uploads", () => {
	const bytes = randomBytes(3 * CHUNK_BYTES + 12_345);
	const head = headOf(bytes);

	test("a blob is named by its content, whole or in pieces", async () => {
		const store = await open();
		expect(await send(store, bytes)).toBe(0);
		expect(head.digest).toBe(contentDigest(bytes));
		expect(await store.put(bytes)).toBe(head.digest);
		expect(await store.stat(head.digest)).toEqual({ size: bytes.length, receivedBytes: bytes.length });
		expect(Buffer.from(await store.read(head.digest)).equals(bytes)).toBe(true);
		expect(Buffer.from(await store.read(head.digest, 5, CHUNK_BYTES + 5)).equals(bytes.subarray(5, CHUNK_BYTES + 5))).toBe(true);
		expect(await store.chunkHashes(head.digest)).toEqual(head.chunkHashes);
		expect(await store.list()).toEqual([head.digest]);
		expect(store.path(head.digest)).toBe(join(folder, head.digest.slice(0, 2), head.digest.slice(2)));
		await expect(store.read(head.digest, 0, bytes.length + 1)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	});

	test("the empty blob is complete before its first chunk", async () => {
		const store = await open();
		const upload = await store.openUpload(headOf(new Uint8Array(0)));
		expect(upload.complete).toBe(true);
		expect(await store.read(contentDigest(new Uint8Array(0)))).toEqual(new Uint8Array(0));
	});

	test.each([0, 1, 2, 3])("goes on after a crash behind chunk %i", async (chunks) => {
		await send(await open(), bytes, chunks);
		// The half of a chunk that was being written, and what a write of the engine left.
		const partial = join(folder, "partial", head.digest);
		await appendFile(partial, bytes.subarray(chunks * CHUNK_BYTES, chunks * CHUNK_BYTES + 1000));
		await writeFile(join(folder, "partial", "left.tmp"), "x");
		const store = await open();
		expect(await store.stat(head.digest)).toEqual({ size: undefined, receivedBytes: chunks * CHUNK_BYTES });
		expect(await send(store, bytes)).toBe(chunks * CHUNK_BYTES);
		expect(contentDigest(await store.read(head.digest))).toBe(head.digest);
		expect(await readdir(join(folder, "partial"))).toEqual([]);
	});

	test("a crash between the last chunk and the new name costs nothing", async () => {
		await writeFile(join((await open()).path(head.digest), "..", "..", "partial", head.digest), bytes);
		const store = await open();
		const upload = await store.openUpload(head);
		expect([upload.receivedBytes, upload.complete]).toEqual([bytes.length, true]);
		expect(await store.stat(head.digest)).toMatchObject({ size: bytes.length });
		await expect(upload.append(bytes.subarray(0, 1))).rejects.toMatchObject({ code: "CONFLICT" });
	});

	test("garbage that a power cut left is cut off", async () => {
		await send(await open(), bytes, 2);
		const partial = join(folder, "partial", head.digest);
		const held = await readFile(partial);
		held[CHUNK_BYTES + 7]! ^= 1;
		await writeFile(partial, held);
		expect(await send(await open(), bytes)).toBe(CHUNK_BYTES);
	});

	test("a wrong chunk, a wrong length and a wrong digest are refused, and the upload goes on", async () => {
		const store = await open();
		const upload = await store.openUpload(head);
		const wrong = Buffer.from(bytes.subarray(0, CHUNK_BYTES));
		wrong[0]! ^= 1;
		await expect(upload.append(wrong)).rejects.toMatchObject({ code: "DIGEST_MISMATCH", details: { index: 0 } });
		await expect(upload.append(bytes.subarray(0, 10))).rejects.toMatchObject({
			code: "SHAPE_MISMATCH",
			details: { expected: CHUNK_BYTES, got: 10 },
		});
		expect(await upload.append(bytes.subarray(0, CHUNK_BYTES))).toBe(CHUNK_BYTES);
		await expect(store.openUpload({ ...head, digest: "0".repeat(64) })).rejects.toMatchObject({ code: "DIGEST_MISMATCH" });
		await expect(store.openUpload({ ...head, totalBytes: bytes.length + 1 })).rejects.toMatchObject({ code: "DIGEST_MISMATCH" });
		await expect(store.openUpload({ ...head, chunkHashes: head.chunkHashes.slice(1) })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
		await expect(store.openUpload({ ...head, digest: "../../etc/passwd" })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
		await expect(store.openUpload({ ...head, totalBytes: 65 * CHUNK_BYTES })).rejects.toMatchObject({ code: "TOO_LARGE" });
		await expect(store.openUpload({ ...head, totalBytes: Number.NaN })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
	});

	test("several senders of one blob help each other", async () => {
		const store = await open();
		const uploads = await Promise.all([0, 1, 2].map(() => store.openUpload(head)));
		await Promise.all(
			uploads.map(async (upload) => {
				for (const chunk of chunksOf(bytes)) await upload.append(chunk);
			}),
		);
		expect(uploads.map(({ complete, receivedBytes }) => [complete, receivedBytes])).toEqual(uploads.map(() => [true, bytes.length]));
		expect(contentDigest(await store.read(head.digest))).toBe(head.digest);
		await Promise.all([store.put(bytes), store.put(bytes), send(store, bytes)]);
		expect(await store.list()).toEqual([head.digest]);
	});

	test("a full disk stops an upload without losing it", async () => {
		const store = await open();
		free = bytes.length + CHUNK_BYTES;
		const upload = await store.openUpload(head);
		await upload.append(bytes.subarray(0, CHUNK_BYTES));
		free = CHUNK_BYTES;
		await expect(upload.append(bytes.subarray(CHUNK_BYTES, 2 * CHUNK_BYTES))).rejects.toMatchObject({ code: "DISK_FULL" });
		await expect(store.put(bytes)).rejects.toMatchObject({ code: "DISK_FULL" });
		await expect(store.openUpload(head)).rejects.toMatchObject({
			code: "DISK_FULL",
			details: { freeBytes: CHUNK_BYTES, reserveBytes: CHUNK_BYTES },
		});
		await store.requireSpace();
		free = CHUNK_BYTES - 1;
		await expect(store.requireSpace()).rejects.toMatchObject({ code: "DISK_FULL" });
		free = 2 ** 40;
		for (const chunk of chunksOf(bytes).slice(1)) await upload.append(chunk);
		expect(contentDigest(await store.read(head.digest))).toBe(head.digest);
	});

	test("what is not here is missing, what rotted is told", async () => {
		const store = await open();
		await expect(store.read(head.digest)).rejects.toMatchObject({ code: "BLOB_MISSING", details: { digest: head.digest } });
		await expect(store.read("nonsense")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
		await store.put(bytes);
		await truncate(store.path(head.digest), 1000);
		await expect(store.chunkHashes(head.digest)).rejects.toMatchObject({ code: "DIGEST_MISMATCH" });
		await store.remove(head.digest);
		await store.remove(head.digest);
		expect(await store.stat(head.digest)).toEqual({ size: undefined, receivedBytes: 0 });
	});
});

describe("collection", () => {
	test("takes what is old and not reachable, and nothing else", async () => {
		const store = await open();
		const [reachable, young, old, renewed] = (await Promise.all(["a", "b", "c", "d"].map((text) => store.put(Buffer.from(text))))) as [
			string,
			string,
			string,
			string,
		];
		for (const digest of [reachable, old, renewed]) await age(store.path(digest));
		await send(store, randomBytes(2 * CHUNK_BYTES), 1);
		const [partial] = await readdir(join(folder, "partial"));
		await age(join(folder, "partial", partial!));
		// Somebody wants to store it again: its lease begins anew.
		expect((await store.openUpload(headOf(Buffer.from("d")))).complete).toBe(true);
		expect(await store.collect(new Set([reachable]), 60_000)).toEqual({ removed: 2, bytes: 1 + CHUNK_BYTES });
		expect([...(await store.list())].sort()).toEqual([reachable, young, renewed].sort());
		await expect(store.read(old)).rejects.toMatchObject({ code: "BLOB_MISSING" });
		expect(await readdir(join(folder, "partial"))).toEqual([]);
	});
});

describe("the synchronous half", () => {
	test("writes what the other half reads, and the reverse", async () => {
		const store = await open();
		const io = openSyncIo(folder);
		const length = 600_001;
		const tiles: number[] = [];
		const vec = io.write("f32", length, (from, to) => {
			tiles.push(from);
			return Float32Array.from({ length: to - from }, (_, i) => (from + i) / 3);
		});
		expect(tiles).toEqual([...tiles].sort((a, b) => a - b));
		const all = Float32Array.from({ length }, (_, i) => i / 3);
		const bytes = new Uint8Array(all.buffer);
		expect(vec).toEqual(vecOf("f32", length, contentDigest(bytes)));
		expect(Buffer.from(await store.read(vec.sha256)).equals(bytes)).toBe(true);
		expect(Buffer.from(io.read(vec).buffer).equals(bytes)).toBe(true);
		expect(io.read(vec, 10, 20)).toEqual(all.subarray(10, 20));
		expect(io.write("f32", length, (from, to) => all.subarray(from, to))).toEqual(vec);
		const put = await store.put(Uint8Array.of(1, 2, 3));
		expect(io.read(vecOf("u8", 3, put))).toEqual(Uint8Array.of(1, 2, 3));
		expect(io.read(io.write("f64", 0, () => new Float64Array(0)))).toEqual(new Float64Array(0));
		expect(await readdir(join(folder, "partial"))).toEqual([]);
	});

	test("reads parts of what does not fit into its cache", async () => {
		await open();
		const io = openSyncIo(folder, 4000);
		const small = [1, 2, 3, 4, 5, 6].map((n) => io.write("i32", 200, (from, to) => new Int32Array(to - from).fill(n)));
		const large = io.write("u16", 3001, (from, to) => Uint16Array.from({ length: to - from }, (_, i) => from + i));
		for (let pass = 0; pass < 2; pass++) {
			for (const [i, vec] of small.entries()) expect(io.read(vec, 3, 5)).toEqual(Int32Array.of(i + 1, i + 1));
			expect(io.read(large, 2999, 3001)).toEqual(Uint16Array.of(2999, 3000));
		}
	});

	test("gives reports whole through the cache, and in parts past it", async () => {
		const store = await open();
		const io = openSyncIo(folder);
		const bytes = Uint8Array.from({ length: 5000 }, (_, i) => i % 251);
		const vec = vecOf("u8", 5000, await store.put(bytes));
		const source = reportSource(folder, io);
		expect(source.blob(vec, 17, 4000)).toEqual(bytes.subarray(17, 4000));
		expect(source.blob(vec)).toEqual(bytes);
		await rm(blobPath(folder, vec.sha256));
		expect(source.blob(vec)).toEqual(bytes);
		expect(() => source.blob(vec, 0, 1)).toThrow(expect.objectContaining({ code: "BLOB_MISSING" }));
	});

	test("refuses what is missing, of another size or out of range", async () => {
		const store = await open();
		const io = openSyncIo(folder);
		const digest = await store.put(new Uint8Array(16));
		expect(() => io.read(vecOf("f32", 5, digest))).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
		expect(io.read(vecOf("f32", 4, digest))).toEqual(new Float32Array(4));
		expect(() => io.read(vecOf("f64", 4, digest))).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
		expect(() => io.read(vecOf("f32", 4, digest), 2, 5)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
		expect(() => io.read(vecOf("f32", 4, "ab".repeat(32)))).toThrow(expect.objectContaining({ code: "BLOB_MISSING" }));
		expect(() => io.read(vecOf("f32", 4, "../x"))).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
		expect(() => io.write("f32", 10, () => new Float32Array(9))).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
		expect(() => io.write("f32", 1.5, () => new Float32Array(1))).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
	});
});

describe("the acceptance log", () => {
	const task = (n: number): string => createHash("sha256").update(`${n}`).digest("hex");

	test("brings back what was written, until it is settled and old", async () => {
		const log = await AcceptanceLog.open(join(folder, "accepted"));
		expect(await log.list("run-1")).toEqual([]);
		const tasks = Array.from({ length: 20 }, (_, i) => task(i));
		await Promise.all(tasks.map((id, i) => log.write("run-1", id, { client: `client-${i}`, content: Uint8Array.of(i) })));
		await log.write("run-1", tasks[0]!, { client: "client-0", content: Uint8Array.of(100) });
		const again = await AcceptanceLog.open(join(folder, "accepted"));
		expect(await again.list("run-1")).toEqual([...tasks].sort());
		expect(await again.read("run-1", tasks[0]!)).toEqual({ client: "client-0", content: Uint8Array.of(100) });
		expect(await again.read("run-1", task(99))).toBeNull();
		await writeFile(join(folder, "accepted", "run-1", `${task(98)}.tmp`), "the rest of a crash");
		for (const name of [`${task(98)}.tmp`, tasks[1]!, tasks[2]!]) await age(join(folder, "accepted", "run-1", name));
		expect(await again.removeSettled(async (id) => (id === tasks[1] ? null : "applied"), 60_000)).toBe(2);
		expect(await again.list("run-1")).toEqual(tasks.filter((id) => id !== tasks[2]).sort());
	});

	test("refuses names that could be paths and tells of damaged records", async () => {
		const log = await AcceptanceLog.open(join(folder, "accepted"));
		await expect(log.write("../run", task(1), { client: "c", content: new Uint8Array(1) })).rejects.toMatchObject({
			code: "INVALID_ARGUMENT",
		});
		await expect(log.read("run", "../task")).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
		await log.write("run", task(1), { client: "c", content: new Uint8Array(1) });
		const path = join(folder, "accepted", "run", task(1));
		expect((await stat(path)).size).toBeGreaterThan(0);
		await truncate(path, 3);
		await expect(log.read("run", task(1))).rejects.toMatchObject({ code: "BAD_ENCODING" });
	});
});
