import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";

/** A started script: messages, and how it ended. */
export class Child {
	/** @type {string} */
	#output = "";

	/**
	 * @param {URL} script
	 * @param {unknown} argument JSON value, the script's only argument
	 * @param {{ onMessage?: (message: any) => void, nodeArgs?: string[] }} [options]
	 */
	constructor(script, argument, { onMessage = () => {}, nodeArgs = [] } = {}) {
		this.process = spawn(process.execPath, [...nodeArgs, fileURLToPath(script), JSON.stringify(argument)], {
			stdio: ["ignore", "pipe", "pipe", "ipc"],
			env: { PATH: process.env.PATH, HOME: process.env.HOME },
		});
		const keep = (chunk) => {
			this.#output = (this.#output + chunk).slice(-8_000);
		};
		this.process.stdout.on("data", keep);
		this.process.stderr.on("data", keep);
		this.process.on("message", onMessage);
		/** @type {Promise<{ code: number | null, signal: string | null }>} */
		this.exited = new Promise((resolve) => this.process.once("exit", (code, signal) => resolve({ code, signal })));
	}

	/** The end of what it printed. */
	get output() {
		return this.#output;
	}

	/** Sends a message; a process that has ended gets none. @param {object} message */
	send(message) {
		if (this.process.connected) this.process.send(message, () => {});
	}

	/** @param {NodeJS.Signals} signal */
	kill(signal) {
		this.process.kill(signal);
		return this.exited;
	}

	/** Resolves with the first message of a type. @throws when the process ends before it. @param {string} type */
	async message(type) {
		const found = new Promise((resolve) => {
			const listen = (message) => {
				if (message.type !== type) return;
				this.process.off("message", listen);
				resolve(message);
			};
			this.process.on("message", listen);
		});
		const ended = this.exited.then(({ code, signal }) => {
			throw new Error(`the process ended with ${code ?? signal} before it said "${type}":\n${this.#output}`);
		});
		return Promise.race([found, ended]);
	}
}

/**
 * A port that nobody listens on, below those that systems give to outgoing connections (32,768 on Linux): such a one could be
 * taken again before its process listens.
 * @returns {Promise<number>}
 */
export function freePort() {
	return new Promise((resolve, reject) => {
		const probe = createServer();
		const attempt = () => probe.listen(20_000 + Math.floor(Math.random() * 12_000), "127.0.0.1");
		probe.on("error", (error) => (/** @type {NodeJS.ErrnoException} */ (error).code === "EADDRINUSE" ? attempt() : reject(error)));
		probe.once("listening", () => {
			const { port } = /** @type {import("node:net").AddressInfo} */ (probe.address());
			probe.close(() => resolve(port));
		});
		attempt();
	});
}
