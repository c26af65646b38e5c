import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("./main.mjs", import.meta.url));
/** An idle machine needs half a minute for each. */
const TIMEOUT_MS = 300_000;

/** Runs `npm run bench:crash` with these arguments. */
function crash(...args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }> {
	return new Promise((resolve, reject) => {
		const child = spawn(process.execPath, [MAIN, ...args], { stdio: ["ignore", "pipe", "pipe"] });
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

test.concurrent(
	"coordinator and agents are killed, and nothing that was accepted is missing",
	async () => {
		const { code, output } = await crash("--runs", "2", "--rounds", "3");
		expect(output).toContain("No accepted report is missing");
		expect(output).toMatch(/receipt-sent 1, set-frozen 1/);
		expect(code, output).toBe(0);
	},
	TIMEOUT_MS,
);

test.concurrent(
	"and in an asynchronous run every report counts where it landed",
	async () => {
		const { code, output } = await crash("--runs", "1", "--rounds", "3", "--cohort", "buffered");
		expect(output).toContain("No accepted report is missing");
		expect(output).toMatch(/reports of older models: [1-9]/);
		expect(code, output).toBe(0);
	},
	TIMEOUT_MS,
);

test.concurrent(
	"the test finds a coordinator that acknowledges before the row is committed",
	async () => {
		const { code, output } = await crash("--runs", "1", "--rounds", "2", "--mutation", "ack-before-commit");
		expect(output).toContain("accepted reports are missing");
		expect(code, output).toBe(1);
	},
	TIMEOUT_MS,
);

test.concurrent(
	"the test finds a coordinator that commits without freezing the set",
	async () => {
		const { code, output } = await crash("--runs", "1", "--rounds", "2", "--mutation", "no-freeze");
		expect(output).toMatch(/the frozen set of round \S+ changed/);
		expect(code, output).toBe(1);
	},
	TIMEOUT_MS,
);
