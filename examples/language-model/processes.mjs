import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The program that `rondo` runs. */
const RONDO = fileURLToPath(new URL("../bin/rondo.js", import.meta.resolve("@rondo/cli")));

/** Starts and ends `rondo` processes. */
export class Processes {
	/** @type {Set<import("node:child_process").ChildProcess>} */
	#running = new Set();
	#folder;
	#stopping = false;
	/** Rejects when a process in the background ends by itself. */
	failed;
	#fail;

	/** @param {string} folder of log files */
	constructor(folder) {
		this.#folder = folder;
		this.failed = new Promise((_resolve, reject) => {
			this.#fail = reject;
		});
		this.failed.catch(() => undefined);
	}

	/**
	 * A process in the background, with a log file.
	 * @param {string} name
	 * @param {string[]} args
	 * @param {Record<string, string>} [env]
	 * @returns {Promise<any>} the first message that it sends: where `rondo serve` listens
	 */
	start(name, args, env = {}) {
		const log = join(this.#folder, `${name}.log`);
		const file = openSync(log, "a");
		const child = this.#spawn(args, ["ignore", file, file, "ipc"], env);
		closeSync(file);
		child.once("exit", (code, signal) => {
			if (!this.#stopping) this.#fail(new Error(`${name} ended with ${signal ?? `exit code ${code}`}; its log is ${log}`));
		});
		return new Promise((resolve) => child.once("message", resolve));
	}

	/**
	 * Runs a command to its end.
	 * @param {string[]} args
	 * @param {Record<string, string>} env
	 * @returns {Promise<any>} what it says, which is JSON
	 */
	async run(args, env) {
		const output = await this.#finish(this.#spawn([...args, "--format", "json"], ["ignore", "pipe", "inherit"], env), args);
		return JSON.parse(output);
	}

	/** Runs a command to its end; people read what it says. @param {string[]} args @param {Record<string, string>} env */
	show = (args, env) => this.#finish(this.#spawn(args, ["ignore", "inherit", "inherit"], env), args);

	/** Ends all. */
	async stop() {
		this.#stopping = true;
		const ended = [...this.#running].map((child) => new Promise((resolve) => child.once("exit", resolve)));
		for (const child of this.#running) child.kill("SIGTERM");
		await Promise.all(ended);
	}

	#spawn(args, stdio, env) {
		const child = spawn(process.execPath, [RONDO, ...args], { stdio, env: { ...process.env, ...env } });
		this.#running.add(child);
		child.once("exit", () => this.#running.delete(child));
		return child;
	}

	#finish(child, args) {
		let output = "";
		child.stdout?.on("data", (chunk) => {
			output += chunk;
		});
		return new Promise((resolve, reject) => {
			child.once("error", reject);
			child.once("close", (code) => {
				if (code === 0) resolve(output);
				else reject(new Error(`rondo ${args.slice(0, 2).join(" ")} ended with exit code ${code}`));
			});
		});
	}
}
