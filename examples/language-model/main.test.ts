import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("./main.mjs", import.meta.url));
let dir: string;
beforeAll(async () => {
	dir = await mkdtemp(join(tmpdir(), "rondo-language-model-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

function example(...args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
	return new Promise((resolve, reject) => {
		// The coordinator refuses variables of its prefix that it does not know, like those of tests.
		const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("RONDO_")));
		const child = spawn(process.execPath, [MAIN, "--dir", dir, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
		let output = "";
		const keep = (chunk: Buffer): void => {
			output += chunk.toString();
		};
		child.stdout.on("data", keep);
		child.stderr.on("data", keep);
		child.once("error", reject);
		child.once("close", (code) => resolve({ code, output }));
	});
}

test("two agents fine-tune the committed model over gRPC, and what they hold out gets likelier", async () => {
	const { code, output } = await example(
		"--strategy",
		"fedavg",
		"--agents",
		"2",
		"--rounds",
		"1",
		"--examples",
		"32",
		"--options",
		'{"learningRate":0.03}',
	);
	expect(code, output).toBe(0);
	expect(output).toContain("round 1/1");
	const [, before, after] = /^mean +(\d\.\d+) +(\d\.\d+)$/m.exec(output) ?? [];
	// A fresh model is at ln 96 = 4.56.
	expect(Number(before)).toBeLessThan(2.5);
	expect(Number(after)).toBeLessThan(Number(before));
	expect(output).toMatch(/^after: {2}My fellow Americans, .{20}/m);
}, 120_000);
