import { Command, CommanderError } from "commander";
import { describe, expect, it } from "vitest";
import type { AgentOptions } from "./agent.js";
import { addAgentOptions, agentOptionsOf } from "./options.js";

async function parse(args: readonly string[], env: Record<string, string> = {}): Promise<AgentOptions> {
	const command = addAgentOptions(new Command("agent").exitOverride().configureOutput({ writeErr: () => undefined }));
	command.parse(["--address", "127.0.0.1:9443", "--state-dir", "state", ...args], { from: "user" });
	return agentOptionsOf(command, env);
}

describe("agentOptionsOf", () => {
	it("describes the built-in workload", async () => {
		const options = await parse(
			[
				"--name",
				"a",
				"--partition",
				"dirichlet",
				"--alpha",
				"0.1",
				"--clients",
				"10",
				"--index",
				"3",
				"--seed",
				"s",
				"--trainer",
				"tfjs",
				"--backend",
				"wasm",
			],
			{ RONDO_TOKEN: "t" },
		);
		expect(options).toMatchObject({ address: "127.0.0.1:9443", stateDir: "state", enrolmentToken: "t", name: "a", strategies: [] });
		expect(String(options.workload)).toMatch(/mnist-workload\.js$/);
		expect(options.workloadOptions).toEqual({
			dataset: "mnist",
			split: "train",
			partition: "dirichlet",
			alpha: 0.1,
			clients: 10,
			index: 3,
			seed: "s",
			examples: 0,
			trainer: "tfjs",
			device: "auto",
			backend: "wasm",
			threads: 0,
		});
		expect("tls" in options).toBe(false);
	});

	it("prefers the flag to the variable", async () => {
		expect((await parse(["--token", "flag"], { RONDO_TOKEN: "variable" })).enrolmentToken).toBe("flag");
	});

	it("takes an own workload, strategies and device key", async () => {
		const options = await parse([
			"--workload",
			"./w.js",
			"--workload-options",
			'{"a":1}',
			"--strategies",
			"./s.js",
			"--strategies",
			"./t.js",
			"--device-key",
			"ab".repeat(32),
			"--insecure",
		]);
		expect(String(options.workload)).toMatch(/^file:.*\/w\.js$/);
		expect(options.workloadOptions).toEqual({ a: 1 });
		expect(options.strategies?.map(String)).toEqual([expect.stringMatching(/\/s\.js$/), expect.stringMatching(/\/t\.js$/)]);
		expect(options.deviceKey).toHaveLength(32);
		expect(options.tls).toBe(false);
	});

	it.each([
		[["--index", "1"], /--index must be less than --clients \(1\), got 1/],
		[["--workload", "./w.js", "--alpha", "1"], /--alpha goes with the built-in data/],
		[["--workload-options", "{}"], /--workload-options goes with --workload/],
		[["--workload", "./w.js", "--workload-options", "{"], /--workload-options is not JSON/],
		[["--tls-ca", "/does/not/exist"], /--tls-ca \/does\/not\/exist cannot be read/],
	])("refuses %j", async (args, message) => {
		await expect(parse(args)).rejects.toThrow(message);
	});

	it.each([
		["--device-key", "ab"],
		["--alpha", "x"],
		["--clients", "0"],
		["--split", "both"],
		["--trainer", "wasm"],
		["--device", "abacus"],
		["--backend", "abacus"],
		["--threads", "-1"],
		["--tls-ca", "x", "--insecure"],
	])("refuses %s %s", async (...args) => {
		await expect(parse(args)).rejects.toThrow(CommanderError);
	});
});
