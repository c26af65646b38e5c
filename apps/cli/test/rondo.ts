import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const BIN = fileURLToPath(new URL("../bin/rondo.js", import.meta.url));

/** How a command ended. */
export interface Ended {
	/** Exit code, or the signal that ended it. */
	readonly code: number | string;
	readonly stdout: string;
	readonly stderr: string;
}

/** A `rondo` that runs in a process of its own. */
export class Rondo {
	readonly process: ChildProcess;
	readonly ended: Promise<Ended>;
	readonly #lines: string[] = [];
	readonly #waiting = new Set<() => void>();

	constructor(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
		const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith("RONDO_"));
		this.process = spawn(process.execPath, [BIN, ...args], {
			stdio: ["ignore", "pipe", "pipe"],
			env: { ...Object.fromEntries(inherited), ...env },
		});
		let stderr = "";
		this.process.stderr!.setEncoding("utf8").on("data", (text: string) => {
			stderr += text;
		});
		createInterface({ input: this.process.stdout! }).on("line", (line) => {
			this.#lines.push(line);
			for (const look of this.#waiting) look();
		});
		this.ended = once(this.process, "close").then(([code, signal]) => {
			for (const look of this.#waiting) look();
			return { code: (code ?? signal) as number | string, stdout: this.#lines.join("\n"), stderr };
		});
	}

	/** The first line of JSON on standard output that has this value of `event`, past or future. */
	async event<T>(event: string, wanted: (record: T) => boolean = () => true): Promise<T> {
		const find = (): T | undefined =>
			this.#lines.map(recordOf).find((record) => record?.event === event && wanted(record as T)) as T | undefined;
		return new Promise<T>((resolve, reject) => {
			const look = (): void => {
				const record = find();
				if (record !== undefined) resolve(record);
				else if (this.process.exitCode !== null || this.process.signalCode !== null)
					reject(new Error(`ended before event ${event}:\n${this.#lines.join("\n")}`));
				else return;
				this.#waiting.delete(look);
			};
			this.#waiting.add(look);
			void this.ended.then(look);
			look();
		});
	}

	/** Sends a signal and waits for the end. */
	async signal(name: NodeJS.Signals): Promise<Ended> {
		this.process.kill(name);
		return this.ended;
	}
}

function recordOf(line: string): { readonly event?: string } | undefined {
	if (!line.startsWith("{")) return undefined;
	return JSON.parse(line) as { readonly event?: string };
}

/** Runs a command to its end. */
export const rondo = (args: readonly string[], env?: Readonly<Record<string, string>>): Promise<Ended> => new Rondo(args, env).ended;

/** Processes and a folder that are gone after the tests. */
export class Workshop {
	readonly #started: Rondo[] = [];
	readonly dir: string;

	private constructor(dir: string) {
		this.dir = dir;
	}

	static async open(): Promise<Workshop> {
		return new Workshop(await mkdtemp(join(tmpdir(), "rondo-cli-")));
	}

	start(args: readonly string[], env?: Readonly<Record<string, string>>): Rondo {
		const started = new Rondo(args, env);
		this.#started.push(started);
		return started;
	}

	async close(): Promise<void> {
		for (const { process: child } of this.#started) child.kill("SIGKILL");
		await Promise.all(this.#started.map(({ ended }) => ended));
		await rm(this.dir, { recursive: true, force: true });
	}
}

/** Whether a process with this id is there. */
export function isAlive(pid: number): boolean {
	try {
		process.kill(pid, 0);
		return true;
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
		throw error;
	}
}
