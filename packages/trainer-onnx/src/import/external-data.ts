import { readFileSync, realpathSync } from "node:fs";
import { dirname, isAbsolute, relative, resolve, sep } from "node:path";
import { RondoError } from "@rondo/errors";
import type { ReadExternal } from "../graph/decode.js";

/**
 * Reads tensors that a model keeps in files beside it.
 * @throws BAD_MODEL for a path that leaves the model's folder, by its text or through links, and for a range beyond the file;
 * NOT_FOUND for a missing file
 */
export function externalDataBeside(modelFile: string): ReadExternal {
	const folder = realpathSync(dirname(resolve(modelFile)));
	const files = new Map<string, Buffer>();
	return (tensor, { location, offset, length }) => {
		const title = `initializer ${JSON.stringify(tensor)}: external data ${JSON.stringify(location.slice(0, 200))}`;
		const inside = (path: string): boolean => {
			const way = relative(folder, path);
			return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way);
		};
		const path = resolve(folder, location);
		if (isAbsolute(location) || location.includes("\0") || !inside(path))
			throw new RondoError("BAD_MODEL", `${title} must lie in the model's folder`, { details: { tensor } });
		let file = files.get(path);
		if (file === undefined) {
			let real: string;
			try {
				real = realpathSync(path);
			} catch (cause) {
				throw new RondoError("NOT_FOUND", `${title} cannot be read: ${(cause as Error).message}`, { cause, details: { tensor } });
			}
			if (!inside(real)) throw new RondoError("BAD_MODEL", `${title} is a link out of the model's folder`, { details: { tensor } });
			file = readFileSync(real);
			files.set(path, file);
		}
		const end = length === undefined ? file.length : offset + length;
		if (offset > file.length || end > file.length)
			throw new RondoError("BAD_MODEL", `${title} is to be read from byte ${offset} to ${end}, but has ${file.length} bytes`, {
				details: { tensor },
			});
		return file.subarray(offset, end);
	};
}
