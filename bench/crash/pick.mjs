import { createHash } from "node:crypto";

/**
 * A whole number below `below` that depends on the seed and the path alone.
 * @param {number} seed
 * @param {readonly (string | number)[]} path
 * @param {number} below
 */
export function pick(seed, path, below) {
	const digest = createHash("sha256")
		.update(JSON.stringify([seed, ...path]))
		.digest();
	return digest.readUInt32BE(0) % below;
}

/** 64 hexadecimal digits that depend on the path alone. @param {readonly (string | number)[]} path */
export const hexSeed = (...path) => createHash("sha256").update(JSON.stringify(path)).digest("hex");
