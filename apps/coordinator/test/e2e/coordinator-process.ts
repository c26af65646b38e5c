import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { layoutOf, writeSafetensors } from "@rondo/tensors";
import { onTestFinished, vi } from "vitest";

const ENTRY = fileURLToPath(new URL("../../bin/rondo-coordinator.js", import.meta.url));
const ADMIN_TOKEN = "e2e-admin-token-0123456789";
// Far above what a start takes (one second, six after a kill): machines that test are busy.
const START_TIMEOUT_MS = 90_000;
const RUN_TIMEOUT_MS = 90_000;
vi.setConfig({ testTimeout: 240_000, hookTimeout: 60_000 });

/** How a process ended. */
export interface Exit {
	readonly code: number | null;
	readonly signal: string | null;
}

/** A started script; killed when its test ends. */
export class Child {
	readonly exited: Promise<Exit>;
	readonly #process: ChildProcess;
	#output = "";

	constructor(script: string, args: readonly string[]) {
		const env = { PATH: process.env.PATH, HOME: process.env.HOME };
		this.#process = spawn(process.execPath, [script, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
		const keep = (chunk: Buffer): void => {
			this.#output += chunk.toString();
		};
		this.#process.stdout?.on("data", keep);
		this.#process.stderr?.on("data", keep);
		this.exited = new Promise((resolve) => this.#process.once("close", (code, signal) => resolve({ code, signal })));
		onTestFinished(async () => {
			await this.kill("SIGKILL");
		});
	}

	/** Everything that it printed. */
	get output(): string {
		return this.#output;
	}

	get isRunning(): boolean {
		return this.#process.exitCode === null && this.#process.signalCode === null;
	}

	kill(signal: "SIGKILL" | "SIGTERM"): Promise<Exit> {
		this.#process.kill(signal);
		return this.exited;
	}
}

/** A port that nobody listens on. */
export function freePort(): Promise<number> {
	return new Promise((resolve, reject) => {
		const probe = createServer().once("error", reject);
		probe.listen(0, "127.0.0.1", () => {
			const address = probe.address();
			probe.close(() => (address !== null && typeof address === "object" ? resolve(address.port) : reject(new Error("no port"))));
		});
	});
}

/** A folder that is gone after the test. */
export async function testFolder(): Promise<string> {
	const folder = await mkdtemp(join(tmpdir(), "rondo-e2e-"));
	onTestFinished(() => rm(folder, { recursive: true, force: true }));
	return folder;
}

/** What a coordinator is started with, besides defaults for tests. */
export type Flags = { readonly [flag: string]: string | number };

export interface Problem {
	readonly status: number;
	readonly body: { readonly code?: string; readonly detail?: string };
}

// biome-ignore lint/suspicious/noExplicitAny: the API's answers are checked where they are used
type Json = any;

/** A coordinator in a process of its own. */
export class CoordinatorProcess {
	readonly child: Child;
	readonly url: string;
	readonly address: string;

	private constructor(
		readonly flags: Flags,
		readonly dataDir: string,
	) {
		const { restPort, grpcPort } = { restPort: flags["rest-port"], grpcPort: flags["grpc-port"] };
		this.url = `http://127.0.0.1:${restPort}`;
		this.address = `127.0.0.1:${grpcPort}`;
		this.child = new Child(ENTRY, [
			"serve",
			...Object.entries({ "data-dir": dataDir, ...flags }).flatMap(([flag, value]) => [`--${flag}`, String(value)]),
		]);
	}

	/** Starts one, in a folder of its own unless one is given, without waiting for it. */
	static async spawn(more: Flags = {}, dataDir?: string): Promise<CoordinatorProcess> {
		const ports = { "rest-port": await freePort(), "grpc-port": await freePort() };
		const flags = { ...ports, "admin-token": ADMIN_TOKEN, "log-level": "info", "reserve-bytes": 0, "heartbeat-ms": 2_000, ...more };
		return new CoordinatorProcess(flags, dataDir ?? join(await testFolder(), "data"));
	}

	/** Starts one and waits until it is ready. */
	static async start(more: Flags = {}, dataDir?: string): Promise<CoordinatorProcess> {
		const coordinator = await CoordinatorProcess.spawn(more, dataDir);
		await coordinator.ready();
		return coordinator;
	}

	/** The same again: folder, ports, settings. */
	restart(): CoordinatorProcess {
		return new CoordinatorProcess(this.flags, this.dataDir);
	}

	/** Resolves when it serves. @throws when it ends before that */
	async ready(): Promise<void> {
		await vi.waitFor(
			async () => {
				if (!this.child.isRunning) return;
				const { status } = await fetch(`${this.url}/readyz`);
				if (status !== 200) throw new Error(`/readyz answers ${status}`);
			},
			{ timeout: START_TIMEOUT_MS, interval: 100 },
		);
		if (!this.child.isRunning) throw new Error(`the coordinator ended: ${this.child.output}`);
	}

	async request(method: string, path: string, body?: unknown): Promise<Response> {
		return fetch(`${this.url}/api/v1${path}`, {
			method,
			headers: { authorization: `Bearer ${ADMIN_TOKEN}`, ...(body === undefined ? {} : { "content-type": "application/json" }) },
			...(body === undefined ? {} : { body: JSON.stringify(body) }),
		});
	}

	async get(path: string): Promise<Json> {
		return this.#json(await this.request("GET", path));
	}

	async post(path: string, body?: unknown): Promise<Json> {
		return this.#json(await this.request("POST", path, body));
	}

	async #json(response: Response): Promise<Json> {
		if (!response.ok) throw new Error(`${response.url}: ${response.status} ${await response.text()}`);
		return response.json();
	}

	/** A token with which clients enrol. */
	async enrolmentToken(): Promise<string> {
		return (await this.post("/tokens", { name: "e2e", scope: "enrol" })).secret;
	}

	/** Imports a model of one tensor of zeros under the name "model". */
	async importModel(...shape: readonly number[]): Promise<void> {
		const layout = layoutOf([{ name: "x", shape }]);
		const response = await fetch(`${this.url}/api/v1/models/weights`, {
			method: "PUT",
			headers: { authorization: `Bearer ${ADMIN_TOKEN}`, "content-type": "application/octet-stream" },
			body: Buffer.from(writeSafetensors(layout, new Float32Array(layout.length))),
		});
		const { digest } = await this.#json(response);
		await this.post("/models", { name: "model", weights: digest, layout, manifest: {} });
	}

	/** Submits and starts a run of "model"; its id. */
	async submit(submission: {
		readonly strategy: string;
		readonly rounds: number;
		readonly minClients?: number;
		readonly options?: object;
		readonly publicSeed?: string;
		readonly secretSeed?: string;
	}): Promise<string> {
		return (await this.post("/runs", { model: "model", waitForClientsMs: 600_000, ...submission })).run.id;
	}

	/** Waits for the end of a run. */
	async ended(run: string): Promise<Json> {
		return vi.waitFor(
			async () => {
				const row = await this.get(`/runs/${run}`);
				if (row.phase === "running" || row.phase === "created")
					throw new Error(`the run is ${row.phase}, commit ${row.commit}: ${this.child.output.slice(-2_000)}`);
				return row;
			},
			{ timeout: RUN_TIMEOUT_MS, interval: 100 },
		);
	}
}
