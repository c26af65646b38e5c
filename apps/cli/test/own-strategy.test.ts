import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Api } from "../src/api.js";
import { importModel, readModel } from "../src/model-source/read-model.js";
import { rondo, Workshop } from "./rondo.js";

// The blocks of docs/simulation.md as files of a folder outside the repository, and a strategy that imports.

const PAGE = new URL("../../../docs/simulation.md", import.meta.url);
const IMPORTING = `import { builtInStrategies } from "@rondo/algorithms";

const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed");
export const strategies = [{ ...fedkseed, name: "my-fedkseed" }];
`;

/** Nobody waits for an evaluator or a second client. */
const QUICK = ["--evaluate-every", "0", "--min-clients", "1"];

let workshop: Workshop;
let blocks: Map<string, string>;
const own = (name: string): string => join(workshop.dir, name);
beforeAll(async () => {
	workshop = await Workshop.open();
	const page = await readFile(PAGE, "utf8");
	blocks = new Map(
		[...page.matchAll(/```(?:js|yaml)\n(?:#|\/\/) ([\w.-]+)[^\n]*\n[\s\S]+?```/g)].map(([block, name]) => [
			name!,
			block.slice(block.indexOf("\n") + 1, -3),
		]),
	);
	for (const [name, text] of blocks) await writeFile(own(name), text);
	const project = own("project");
	await mkdir(join(project, "node_modules/@rondo"), { recursive: true });
	await symlink(fileURLToPath(new URL("../../../packages/algorithms", import.meta.url)), join(project, "node_modules/@rondo/algorithms"));
	await writeFile(join(project, "importing.mjs"), IMPORTING);
	await writeFile(own("orphan.mjs"), IMPORTING);
});
afterAll(() => workshop.close());

describe("a strategy of the user's own", () => {
	it("runs in the experiment of the documentation", async () => {
		expect([...blocks.keys()].sort()).toEqual(["experiment.yaml", "my-strategy.mjs"]);
		const { code, stderr } = await rondo(["simulate", own("experiment.yaml"), "--out", own("results"), "--threads", "2"]);
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		const page = await readFile(own("results/results.md"), "utf8");
		expect(page).toContain("## a quarter flips signs");
		expect(page.match(/\| clipped-sgd \| 0\.\d{4} ± /g)).toHaveLength(2);
	});

	it("may import Rondo from the project that it lies in, and is refused where there is nothing to import", async () => {
		const experiment = (file: string): string => `dataset: { kind: digits, trainExamples: 100, testExamples: 50 }
model: mlp
clients: 3
rounds: 2
strategies: [${file}]
options: { cohortSize: 3, candidates: 16, localSteps: 3 }
`;
		await writeFile(own("importing.yaml"), experiment("project/importing.mjs"));
		const { code, stderr } = await rondo(["simulate", own("importing.yaml"), "--out", own("importing"), "--threads", "1"]);
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		await writeFile(own("orphan.yaml"), experiment("orphan.mjs"));
		const refused = await rondo(["simulate", own("orphan.yaml"), "--out", own("orphan")]);
		expect(refused.code).toBe(2);
		expect(refused.stderr).toMatch(
			/^error INVALID_ARGUMENT: orphan\.yaml:5: strategies: cannot load .*orphan\.mjs: .*Cannot find package '@rondo\/algorithms'/,
		);
	});

	it("runs in a federation of processes, where coordinator and agents know it, and its run can be verified", async () => {
		const files = [own("my-strategy.mjs"), join(own("project"), "importing.mjs")];
		const serve = workshop.start([
			...["serve", "--format", "json", "--data-dir", own("coordinator"), "--rest-port", "0", "--grpc-port", "0"],
			...["--strategies", files.join(",")],
		]);
		const ready = await serve.event<{ restUrl: string; grpcAddress: string; adminTokenFile: string }>("ready");
		const token = (await readFile(ready.adminTokenFile, "utf8")).trim();
		const api = await Api.open({ url: ready.restUrl, token });
		await importModel(api, "small", await readModel("dense:784-10"));
		const { secret } = await api.post<{ readonly secret: string }>("/tokens", { name: "one", scope: "enrol", maxUses: 1, expiresInS: 600 });
		const agent = workshop.start(
			[
				...[
					"agent",
					"--format",
					"json",
					"--address",
					ready.grpcAddress,
					"--state-dir",
					own("agent"),
					"--examples",
					"100",
					"--clients",
					"1",
				],
				...["--index", "0", "--device", "cpu", "--threads", "1", ...files.flatMap((file) => ["--strategies", file])],
			],
			{ RONDO_TOKEN: secret },
		);
		await agent.event("connected");
		const env = { RONDO_URL: ready.restUrl, RONDO_TOKEN: token };
		for (const [strategy, options] of [
			["clipped-sgd", ["-o", "cohortSize=1"]],
			["my-fedkseed", ["-o", "cohortSize=1", "-o", "candidates=16", "-o", "localSteps=3"]],
		] as const) {
			const args = ["run", "submit", "--model", "small", "--strategy", strategy, "--rounds", "1", "--name", strategy, ...QUICK, ...options];
			expect(await rondo(args, env)).toMatchObject({ code: 0, stderr: "" });
			expect(await rondo(["run", "watch", strategy], env)).toMatchObject({ code: 0, stderr: "" });
		}
		const verified = await rondo(["run", "verify", "clipped-sgd", "--strategies", files[0]!], env);
		expect(verified).toMatchObject({ code: 0, stderr: "" });
	});
});
