import { RondoError } from "@rondo/errors";

/** A blob that a model needs beside its weights, as its manifest lists it. */
export interface ModelAsset {
	/** Content digest, 64 hexadecimal digits. */
	readonly digest: string;
	readonly bytes: number;
}

/** Most assets of one model. */
const MAX_ASSETS = 256;

/**
 * The blobs that a manifest lists under `assets`; the rest of it is opaque here.
 * @throws INVALID_ARGUMENT for a list that is none
 */
export function assetsOf(manifest: unknown): readonly ModelAsset[] {
	const { assets } = (typeof manifest === "object" && manifest !== null ? manifest : {}) as { readonly assets?: unknown };
	if (assets === undefined) return [];
	if (!Array.isArray(assets) || assets.length > MAX_ASSETS)
		throw new RondoError("INVALID_ARGUMENT", `manifest.assets must be an array of at most ${MAX_ASSETS} blobs`, {
			details: { field: "manifest.assets" },
		});
	return assets.map((asset: unknown, i): ModelAsset => {
		const { digest, bytes } = (typeof asset === "object" && asset !== null ? asset : {}) as { readonly [name: string]: unknown };
		if (typeof digest !== "string" || !/^[0-9a-f]{64}$/.test(digest) || !Number.isSafeInteger(bytes))
			throw new RondoError("INVALID_ARGUMENT", `manifest.assets[${i}] must be { digest, bytes }: a content digest and a number of bytes`, {
				details: { field: `manifest.assets[${i}]` },
			});
		return { digest, bytes: bytes as number };
	});
}
