import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, stat } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";
import { KEY_SPECS } from "../src/config/schema.js";

const BIN = fileURLToPath(new URL("../bin/rondo-coordinator.js", import.meta.url));

let folder: string;
let children: ChildProcessByStdio<null, Readable, Readable>[];
beforeEach(async () => {
	children = [];
	folder = await mkdtemp(join(tmpdir(), "rondo-main-"));
});
afterEach(async () => {
	for (const child of children) if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
	await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** The command with nothing in its environment but the given variables. */
function start(args: readonly string[], env: { readonly [name: string]: string } = {}): ChildProcessByStdio<null, Readable, Readable> {
	const child = spawn(process.execPath, [BIN, ...args], { stdio: ["ignore", "pipe", "pipe"], cwd: folder, env });
	children.push(child);
	return child;
}

async function end(child: ChildProcessByStdio<null, Readable, Readable>): Promise<{ code: number | null; stdout: string; stderr: string }> {
	const text = { stdout: "", stderr: "" };
	for (const name of ["stdout", "stderr"] as const) child[name].setEncoding("utf8").on("data", (chunk: string) => (text[name] += chunk));
	const [code] = (await once(child, "close")) as [number | null];
	return { code, ...text };
}

async function freePort(): Promise<string> {
	const probe = createServer().listen(0, "127.0.0.1");
	await once(probe, "listening");
	const address = probe.address();
	probe.close();
	await once(probe, "close");
	return String(typeof address === "object" && address !== null ? address.port : 0);
}

test.each([
	[["--rest-prt", "1"], "error UNKNOWN_OPTION: Unknown option '--rest-prt'; --help lists all\n"],
	[["--rest-port", "x"], 'error INVALID_ARGUMENT: restPort = "x" (flag --rest-port) must be an integer from 0 to 65535\n'],
	[["start"], 'error INVALID_ARGUMENT: command must be serve or health, got "start"\n'],
	[["serve", "health"], 'error INVALID_ARGUMENT: command must be serve or health, got "serve health"\n'],
	[["--config", "missing.json"], expect.stringContaining("error INVALID_ARGUMENT: configuration file missing.json cannot be read")],
])("%j exits 2 and says why", async (args, stderr) => {
	expect(await end(start(args))).toEqual({ code: 2, stdout: "", stderr });
});

test("the help names every key, and the configuration is printed without secrets", async () => {
	const { code, stdout } = await end(start(["--help"]));
	expect(code).toBe(0);
	for (const { flag, environment } of KEY_SPECS) expect(stdout).toMatch(new RegExp(`${flag} +${environment}\n`));
	const secret = "rondo_a_0123456789abcdef";
	const printed = await end(start(["--print-config"], { RONDO_ADMIN_TOKEN: secret, RONDO_REST_PORT: "81" }));
	expect(printed.code).toBe(0);
	expect(printed.stdout).toMatch(/^restPort +81 +environment RONDO_REST_PORT$/m);
	expect(printed.stdout).not.toContain(secret);
});

test("serve becomes ready, health says so, and SIGTERM ends it with 0", async () => {
	const env = { RONDO_DATA_DIR: join(folder, "data"), RONDO_REST_PORT: await freePort(), RONDO_GRPC_PORT: "0" };
	const before = await end(start(["health"], env));
	expect(before).toMatchObject({ code: 1, stderr: expect.stringContaining("error UNAVAILABLE: http://127.0.0.1:") });

	const server = start([], env);
	const ended = once(server, "close");
	const errors = server.stderr.setEncoding("utf8").toArray();
	for await (const line of createInterface({ input: server.stdout })) if (line.includes("coordinator is ready")) break;
	expect((await end(start(["health"], env))).code).toBe(0);
	expect((await stat(join(folder, "data", "admin-token"))).mode & 0o777).toBe(0o600);

	const second = await end(start([], { ...env, RONDO_REST_PORT: "0" }));
	expect(second).toMatchObject({ code: 1, stderr: expect.stringContaining("error FOLDER_LOCKED:") });

	server.kill("SIGTERM");
	expect(await ended).toEqual([0, null]);
	expect((await errors).join("")).toBe(`an admin token was written to ${join(folder, "data", "admin-token")}\n`);
});
