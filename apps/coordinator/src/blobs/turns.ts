/** Lets pieces of work with the same key run one after the other. */
export class Turns {
	readonly #last = new Map<string, Promise<unknown>>();

	/** Runs `work` when all work given before for this key has ended, well or badly. */
	async take<T>(key: string, work: () => Promise<T>): Promise<T> {
		const before = this.#last.get(key) ?? Promise.resolve();
		const mine = before.then(work, work);
		this.#last.set(key, mine);
		try {
			return await mine;
		} finally {
			if (this.#last.get(key) === mine) this.#last.delete(key);
		}
	}
}
