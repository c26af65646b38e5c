import { type FileHandle, open } from "node:fs/promises";
import { RondoError } from "@rondo/errors";

/** Unsigned bytes of one IDX file, row-major. */
export interface IdxBytes {
	/** Sizes of the dimensions; the first one counts rows. */
	readonly shape: readonly number[];
	readonly values: Uint8Array;
}

const UNSIGNED_BYTE = 0x08;
const MAX_RANK = 8;
const MAX_HEADER_BYTES = 4 + 4 * MAX_RANK;

/**
 * Sizes of the dimensions that an IDX file declares (Y. LeCun, C. Cortes, C. Burges, "The MNIST database", file format
 * section: two zero bytes, the type, the rank, then one big-endian uint32 per dimension).
 * @param head the first bytes of the file, at least the whole header
 * @param totalBytes size of the file; the declared sizes must add up to it exactly, so nothing larger is ever allocated
 * @throws INVALID_ARGUMENT that names file, field and value
 */
function idxShape(head: Uint8Array, totalBytes: number, file: string): number[] {
	if (head.length < 4) throw bad(file, "size", `${head.length} bytes, an IDX header has at least 4`);
	const [zero0, zero1, type, rank] = head as Uint8Array & [number, number, number, number];
	if (zero0 === 0x1f && zero1 === 0x8b) throw bad(file, "magic", "0x1f8b, a gzip file; decompress it first");
	if (zero0 !== 0 || zero1 !== 0) throw bad(file, "magic", `bytes ${zero0}, ${zero1}, must be 0, 0`);
	if (type !== UNSIGNED_BYTE) throw bad(file, "type", `0x${type.toString(16).padStart(2, "0")}, must be 0x08 (unsigned byte)`);
	if (rank < 1 || rank > MAX_RANK) throw bad(file, "rank", `${rank}, must be 1 to ${MAX_RANK}`);
	const headerBytes = 4 + 4 * rank;
	if (head.length < headerBytes) throw bad(file, "size", `${head.length} bytes, the header of rank ${rank} has ${headerBytes}`);
	const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
	const shape = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
	const elements = shape.reduce((product, size) => product * size, 1);
	if (headerBytes + elements !== totalBytes) {
		throw bad(file, "shape", `[${shape.join(", ")}], which takes ${headerBytes + elements} bytes; the file has ${totalBytes}`);
	}
	return shape;
}

/**
 * Decodes a whole IDX file of unsigned bytes. Total: any input gives a value or the error below.
 * @returns a view into `bytes`, not a copy
 * @throws INVALID_ARGUMENT that names `file`, field and value
 */
export function parseIdx(bytes: Uint8Array, file: string): IdxBytes {
	const shape = idxShape(bytes.subarray(0, MAX_HEADER_BYTES), bytes.length, file);
	return { shape, values: bytes.subarray(4 + 4 * shape.length) };
}

/**
 * Reads an IDX file of unsigned bytes, or only some of its rows: ten clients of one machine then hold one copy of the
 * data between them, not ten.
 * @param rows indices along the first dimension, in the order wanted; default: all
 * @throws INVALID_ARGUMENT that names file, field and value; NOT_FOUND when there is no such file
 */
export async function readIdx(path: string, rows?: Uint32Array): Promise<IdxBytes> {
	const file = await openFile(path);
	try {
		const totalBytes = (await file.stat()).size;
		const head = await readAt(file, 0, Math.min(MAX_HEADER_BYTES, totalBytes), path);
		const [count, ...rest] = idxShape(head, totalBytes, path) as [number, ...number[]];
		const headerBytes = 4 + 4 * (1 + rest.length);
		if (rows === undefined) return { shape: [count, ...rest], values: await readAt(file, headerBytes, totalBytes - headerBytes, path) };
		const rowBytes = rest.reduce((product, size) => product * size, 1);
		const values = new Uint8Array(rows.length * rowBytes);
		// Neighbouring rows share a read: a client's rows of a sorted partition come in runs.
		for (let i = 0; i < rows.length; ) {
			const first = rows[i]!;
			let run = 1;
			while (i + run < rows.length && rows[i + run] === first + run) run++;
			if (first + run > count) throw bad(path, `rows[${i}]`, `${first} to ${first + run - 1}, the file has ${count} rows`);
			values.set(await readAt(file, headerBytes + first * rowBytes, run * rowBytes, path), i * rowBytes);
			i += run;
		}
		return { shape: [rows.length, ...rest], values };
	} finally {
		await file.close();
	}
}

async function openFile(path: string): Promise<FileHandle> {
	try {
		return await open(path, "r");
	} catch (cause) {
		throw new RondoError("NOT_FOUND", `cannot open ${path}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
	}
}

async function readAt(file: FileHandle, position: number, length: number, path: string): Promise<Uint8Array> {
	const out = new Uint8Array(length);
	let done = 0;
	while (done < length) {
		const { bytesRead } = await file.read(out, done, length - done, position + done);
		if (bytesRead === 0) throw bad(path, "size", `short: the file ended at byte ${position + done} while it was read`);
		done += bytesRead;
	}
	return out;
}

const bad = (file: string, field: string, problem: string): RondoError =>
	new RondoError("INVALID_ARGUMENT", `IDX file ${file}: ${field} is ${problem}`, { details: { file, field } });
