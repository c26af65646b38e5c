import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { RondoError } from "@rondo/errors";

/** Time for processes to end in good order before they are killed, milliseconds. */
const GRACE_MS = 5_000;
/** Lines of a log that are shown when its process died. */
const SHOWN_LINES = 8;

const MAIN = fileURLToPath(new URL("../main.js", import.meta.url));

/** A process of the demo. */
export interface Child {
	readonly name: string;
	readonly pid: number;
	readonly log: string;
	/** The first message that it sends to its parent. */
	readonly message: Promise<object>;
}

/** The processes of a demo: `rondo` itself with other arguments, each with a log file. None outlives this process. */
export class Children {
	readonly #folder: string;
	readonly #running = new Map<ChildProcess, string>();
	#stopping = false;
	#fail: (error: RondoError) => void = () => undefined;
	/** Rejects when one of them ends by itself. */
	readonly failed: Promise<never>;

	private constructor(folder: string) {
		this.#folder = folder;
		this.failed = new Promise<never>((_resolve, reject) => {
			this.#fail = reject;
		});
		// Those who wait race it against their own work.
		this.failed.catch(() => undefined);
	}

	/** @param folder of the log files */
	static async open(folder: string): Promise<Children> {
		await mkdir(folder, { recursive: true });
		return new Children(folder);
	}

	/** Starts `rondo` with these arguments. Its output goes to the log file. */
	start(name: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
		const log = join(this.#folder, `${name}.log`);
		const file = openSync(log, "a");
		// A process group of its own, so that Ctrl-C reaches it through this process alone; the channel ends it if this process is killed.
		const child = spawn(process.execPath, [MAIN, ...args], {
			detached: true,
			stdio: ["ignore", file, file, "ipc"],
			env: { ...withoutRondo(process.env), ...env },
		});
		closeSync(file);
		this.#running.set(child, name);
		const message = new Promise<object>((resolve) => child.once("message", (value) => resolve(value as object)));
		child.once("error", (cause) => this.#fail(new RondoError("INTERNAL", `${name} cannot be started: ${cause.message}`, { cause })));
		child.once("exit", (code, signal) => {
			this.#running.delete(child);
			if (!this.#stopping) void this.#died(name, child.pid, log, signal ?? `exit code ${code}`);
		});
		return { name, pid: child.pid ?? -1, log, message };
	}

	/** Ends all in good order, then by force. */
	async stop(): Promise<void> {
		this.#stopping = true;
		const gone = [...this.#running.keys()].map((child) => new Promise<void>((resolve) => child.once("exit", () => resolve())));
		for (const child of this.#running.keys()) child.kill("SIGTERM");
		const timer = setTimeout(() => this.kill(), GRACE_MS);
		await Promise.all(gone);
		clearTimeout(timer);
	}

	/** Ends all at once. */
	kill(): void {
		this.#stopping = true;
		for (const child of this.#running.keys()) child.kill("SIGKILL");
	}

	async #died(name: string, pid: number | undefined, log: string, how: string): Promise<void> {
		const lines = (await readFile(log, "utf8").catch(() => "")).trimEnd().split("\n").slice(-SHOWN_LINES);
		this.#fail(
			new RondoError("INTERNAL", `${name} (process ${pid}) ended with ${how}; its log is ${log}`, { details: { process: name, lines } }),
		);
	}
}

const withoutRondo = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
	Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("RONDO_")));
