import { readFileSync } from "node:fs";
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import type { Context } from "./context.js";
import { createProgram, runCli } from "./program.js";

async function run(...args: string[]): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
	const { context, said } = quietContext();
	const code = await runCli(args, context);
	return { code, stdout: said.stdout.join(""), stderr: said.stderr.join("") };
}

function quietContext() {
	const said = { stdout: [] as string[], stderr: [] as string[] };
	const { signal } = new AbortController();
	const context: Context = {
		env: {},
		stdout: { write: (text) => said.stdout.push(text) },
		stderr: { write: (text) => said.stderr.push(text) },
		stop: signal,
		kill: signal,
	};
	return { context, said };
}

describe("the command line", () => {
	it.each([
		[["bogus"], /^error UNKNOWN_OPTION: unknown command 'bogus'; add --help/],
		[["run", "bogus"], /unknown command 'bogus'/],
		[["run", "list", "--bogus"], /unknown option '--bogus'/],
		[["run", "show"], /missing required argument 'run'/],
		[["run", "submit", "--rounds", "0"], /argument '0' is invalid. It must be an integer from 1 to/],
		[["run", "submit", "-o", "novalue"], /It must be of the form key=value/],
		[["run", "submit", "--public-seed", "abc"], /64 lower-case hexadecimal digits/],
		[["run", "submit"], /--model, --strategy, --rounds must be given/],
		[["run", "list", "--format", "xml"], /Allowed choices are text, json/],
		[["run", "list", "--url", "ftp://example"], /--url must be an http:\/\/ or https:\/\/ address, got "ftp:\/\/example"/],
		[["token", "create"], /required option '--scope <scope>' not specified/],
		[["token", "create", "--scope", "root"], /Allowed choices are admin, read, enrol, enrol:evaluator/],
		[["model", "import", "dense:7", "--name", "x"], /must name the widths of the layers/],
		[["model", "import", "weights.bin", "--name", "x"], /must end in .onnx, .safetensors or .json/],
		[["demo", "--strategy", "bogus"], /Allowed choices are fedavg, fedprox, fedkseed/],
		[["demo", "--alpha", "-1"], /It must be a number from/],
		[["agent", "--state-dir", "x"], /required option '--address <host:port>' not specified/],
		[[], /a command is missing/],
	])("%j is refused with exit code 2", async (args, message) => {
		const { code, stdout, stderr } = await run(...args);
		expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
		expect(stderr).toMatch(message);
		expect(stderr.trimEnd()).not.toContain("\n");
	});

	it("reports errors as JSON where JSON is asked for, also when the rest cannot be parsed", async () => {
		const { code, stderr } = await run("run", "list", "--bogus", "--format", "json");
		expect(code).toBe(2);
		expect(JSON.parse(stderr)).toMatchObject({ error: { code: "UNKNOWN_OPTION" } });
	});

	it("adds a stack with --debug", async () => {
		expect((await run("run", "submit", "--debug")).stderr).toMatch(/\n +at /);
	});

	it("prints help and version with exit code 0", async () => {
		expect(await run("--version")).toEqual({ code: 0, stdout: "0.1.0\n", stderr: "" });
		expect((await run("run", "submit", "--help")).stdout).toContain("--evaluate-every <rounds>");
	});
});

describe("docs/cli.md", () => {
	const docs = readFileSync(new URL("../../../docs/cli.md", import.meta.url), "utf8");
	const examples = [...docs.matchAll(/```sh\n([\s\S]*?)```/g)].flatMap(([, block]) => block!.trim().split("\n"));

	it("has an example of every command", () => {
		const { context } = quietContext();
		const leaves = leavesOf(createProgram(context)).map((path) => `rondo ${path}`);
		expect(leaves.filter((leaf) => !examples.some((example) => example.includes(leaf)))).toEqual([]);
	});

	// The flags of `serve` are loaded with the coordinator; its own tests check them.
	it.each(examples.filter((example) => !example.includes("rondo serve")))("%s can be parsed", async (example) => {
		const args = [...example.replace(/^.*?rondo /, "").matchAll(/'([^']*)'|"([^"]*)"|(\S+)/g)].map(
			([, single, double, bare]) => single ?? double ?? bare!,
		);
		const program = createProgram(quietContext().context);
		const called: string[] = [];
		for (const leaf of commandsOf(program)) leaf.action(() => void called.push(leaf.name()));
		await program.parseAsync(args, { from: "user" });
		expect(called).toHaveLength(1);
	});
});

/** Commands that do something, groups left out. */
const commandsOf = (command: Command): Command[] =>
	command.commands.length === 0 ? [command] : command.commands.flatMap((child) => commandsOf(child as Command));

const leavesOf = (program: Command): string[] =>
	program.commands.flatMap((child) =>
		child.commands.length === 0 ? [child.name()] : child.commands.map((leaf) => `${child.name()} ${leaf.name()}`),
	);
