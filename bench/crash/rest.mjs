/** The admin API of one coordinator. */
export class Rest {
	/** @param {string} url @param {string} token */
	constructor(url, token) {
		this.url = url;
		this.token = token;
	}

	/** @param {string} path @param {RequestInit} [init] */
	async fetch(path, init = {}) {
		const headers = { authorization: `Bearer ${this.token}`, ...init.headers };
		const response = await fetch(`${this.url}/api/v1${path}`, { ...init, headers });
		if (!response.ok) throw new Error(`${init.method ?? "GET"} ${path}: ${response.status} ${await response.text()}`);
		return response;
	}

	/** @param {string} path */
	get = async (path) => (await this.fetch(path)).json();

	/** @param {string} path @param {unknown} [body] */
	post = async (path, body) =>
		(
			await this.fetch(path, {
				method: "POST",
				...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
			})
		).json();

	/** All items of a paged list. @param {string} path */
	async list(path) {
		const items = [];
		const joint = path.includes("?") ? "&" : "?";
		for (let after = ""; ; ) {
			const page = await this.get(`${path}${joint}limit=200${after}`);
			items.push(...page.items);
			if (page.next === null) return items;
			after = `&after=${encodeURIComponent(page.next)}`;
		}
	}

	/** The whole commit log of a run. @param {string} run */
	async log(run) {
		const items = [];
		for (let from = 0; from !== null; ) {
			const page = await this.get(`/runs/${run}/log?from=${from}&limit=100`);
			items.push(...page.items);
			from = page.next;
		}
		return items;
	}

	/** Uploads weights and names them. @param {string} name @param {import("@rondo/tensors").Layout} layout @param {Uint8Array} file safetensors */
	async importModel(name, layout, file, manifest = {}) {
		const response = await this.fetch("/models/weights", {
			method: "PUT",
			body: file,
			headers: { "content-type": "application/octet-stream" },
		});
		const { digest } = await response.json();
		return this.post("/models", { name, weights: digest, layout, manifest });
	}
}
