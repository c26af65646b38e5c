import { closeSync, fstatSync, openSync, readSync, realpathSync, statSync } from "node:fs";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { RondoError } from "@rondo/errors";
import type { ReadExternal } from "../graph/decode.js";

/**
 * Reads tensors that a model keeps in files beside it. Only what a tensor needs is read, so files may be of any size.
 * @throws BAD_MODEL for a path that leaves the model's folder, by its text or through links, for what is no file, and for a
 * range beyond the file or not of the tensor's size; NOT_FOUND for a missing file
 */
export function externalDataBeside(modelFile: string): ReadExternal {
	const folder = realpathSync(dirname(resolve(modelFile)));
	const inside = (path: string): boolean => {
		const way = relative(folder, path);
		return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
	};
	return (tensor, { location, offset, length, bytes }) => {
		const title = `${tensor}: external data ${JSON.stringify(location.slice(0, 200))}`;
		const refuse = (problem: string): RondoError => new RondoError("BAD_MODEL", `${title} ${problem}`, { details: { location } });
		const path = resolve(folder, location);
		if (isAbsolute(location) || location.includes("\0") || !inside(path)) throw refuse("must lie in the model's folder");
		let real: string;
		let file: number;
		try {
			real = realpathSync(path);
			if (!inside(real)) throw refuse("is a link out of the model's folder");
			// Before it is opened: opening a pipe would wait for whoever writes to it.
			if (!statSync(real).isFile()) throw refuse("is no file");
			file = openSync(real, "r");
		} catch (cause) {
			if (cause instanceof RondoError) throw cause;
			throw new RondoError("NOT_FOUND", `${title} cannot be read: ${(cause as Error).message}`, { cause, details: { location } });
		}
		try {
			const { size } = fstatSync(file);
			const end = length === undefined ? size : offset + length;
			if (offset > size || end > size) throw refuse(`is to be read from byte ${offset} to ${end}, but has ${size} bytes`);
			if (end - offset !== bytes) throw refuse(`gives ${end - offset} bytes from ${offset} on; the tensor needs ${bytes}`);
			return readRange(file, offset, bytes);
		} finally {
			closeSync(file);
		}
	};
}

/** One call reads at most 2 GiB. */
const CHUNK_BYTES = 2 ** 30;

function readRange(file: number, offset: number, bytes: number): Uint8Array {
	const out = new Uint8Array(bytes);
	for (let done = 0; done < bytes; ) {
		const read = readSync(file, out, done, Math.min(CHUNK_BYTES, bytes - done), offset + done);
		if (read === 0) throw new RondoError("BAD_MODEL", `a file of external data ended at byte ${offset + done} while it was read`);
		done += read;
	}
	return out;
}
