/** Most content that a thread keeps, bytes. */
const MAX_BYTES = 128 * 1024 * 1024;

/** Content by digest; the least recently used goes first. */
export class BlobCache {
	readonly #blobs = new Map<string, Uint8Array>();
	readonly #most: number;
	#bytes = 0;

	constructor(most = MAX_BYTES) {
		this.#most = most;
	}

	get(sha256: string): Uint8Array | undefined {
		const bytes = this.#blobs.get(sha256);
		if (bytes === undefined) return undefined;
		this.#blobs.delete(sha256);
		this.#blobs.set(sha256, bytes);
		return bytes;
	}

	/** The newest stays whatever its size. */
	set(sha256: string, bytes: Uint8Array): void {
		if (this.#blobs.has(sha256)) return;
		this.#blobs.set(sha256, bytes);
		this.#bytes += bytes.length;
		for (const [oldest, { length }] of this.#blobs) {
			if (this.#bytes <= this.#most || oldest === sha256) return;
			this.#blobs.delete(oldest);
			this.#bytes -= length;
		}
	}

	clear(): void {
		this.#blobs.clear();
		this.#bytes = 0;
	}
}
