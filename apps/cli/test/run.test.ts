import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { decodePlain, vecsIn } from "@rondo/algorithms";
import { readSafetensors } from "@rondo/tensors";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Api } from "../src/api.js";
import type { LogPageView } from "../src/api-types.js";
import { type Rondo, rondo, Workshop } from "./rondo.js";

// `rondo serve` and `rondo agent` as processes, and every command against them. One story: later tests use what earlier
// ones made.

interface Ready {
	readonly restUrl: string;
	readonly grpcAddress: string;
	readonly adminTokenFile: string;
}

const exported = (name: string): string =>
	fileURLToPath(new URL(`../../../packages/trainer-onnx/fixtures/models/${name}`, import.meta.url));
/** For processes that shall not find ONNX Runtime. */
const WITHOUT_ORT = `--import ${new URL("./without-onnxruntime.mjs", import.meta.url).href}`;

let workshop: Workshop;
let serve: Rondo;
let ready: Ready;
let env: Record<string, string>;
const agents: Rondo[] = [];

const json = async <T>(args: readonly string[], more: Record<string, string> = {}): Promise<T> => {
	const { code, stdout, stderr } = await rondo([...args, "--format", "json"], { ...env, ...more });
	expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
	return JSON.parse(stdout) as T;
};

beforeAll(async () => {
	workshop = await Workshop.open();
	serve = workshop.start([
		"serve",
		"--format",
		"json",
		"--data-dir",
		join(workshop.dir, "coordinator"),
		"--rest-port",
		"0",
		"--grpc-port",
		"0",
	]);
	ready = await serve.event<Ready>("ready");
	env = { RONDO_URL: ready.restUrl, RONDO_TOKEN: (await readFile(ready.adminTokenFile, "utf8")).trim() };
});

afterAll(() => workshop.close());

describe("a run from the command line", () => {
	it("imports a model", async () => {
		const model = await json<{ name: string; parameters: number }>(["model", "import", "dense:784-12-10", "--name", "small"]);
		expect(model).toMatchObject({ name: "small", parameters: 784 * 12 + 12 + 12 * 10 + 10 });
		expect((await rondo(["model", "list"], env)).stdout).toContain("small");
	});

	it("imports an ONNX file", async () => {
		const file = exported("lenet/dynamo-op18.onnx");
		const args = ["model", "import", file, "--loss", "softmax-cross-entropy", "--freeze", "conv1.*", "--name", "lenet"];
		const { code, stdout } = await rondo(args, env);
		expect(code).toBe(0);
		expect(stdout).toMatch(/^id .*\nname +lenet\n/);
		expect(stdout).toMatch(/gradients +can be derived/);
		expect(stdout).toMatch(/not trained \(2\)\n {2}conv1\.weight\n {2}conv1\.bias/);
	});

	it("says how to add ONNX Runtime where it is not installed", async () => {
		const absent = await rondo(["model", "inspect", exported("lenet/dynamo-op18.onnx"), "--loss", "mse"], { NODE_OPTIONS: WITHOUT_ORT });
		expect(absent.stderr).toContain("onnxruntime-node is not installed; add it with: npm install onnxruntime-node");
		expect(absent.code).toBe(70);
	});

	it("enrols agents with tokens and trains with them, each with the trainer that it has", async () => {
		const { secret } = await json<{ secret: string }>(["token", "create", "--scope", "enrol", "--max-uses", "2", "--name", "two agents"]);
		const evaluator = await json<{ secret: string }>(["token", "create", "--scope", "enrol:evaluator"]);
		const agent = (name: string, token: string, args: readonly string[], more: Record<string, string> = {}): Rondo =>
			workshop.start(
				["agent", "--format", "json", "--address", ready.grpcAddress, "--state-dir", join(workshop.dir, name), "--name", name, ...args],
				{ RONDO_TOKEN: token, ...more },
			);
		const part = (index: string): string[] => ["--clients", "2", "--index", index, "--examples", "200"];
		agents.push(agent("agent-0", secret, [...part("0"), "--trainer", "onnx", "--device", "cpu", "--threads", "1"]));
		agents.push(agent("agent-1", secret, [...part("1"), "--backend", "wasm"], { NODE_OPTIONS: WITHOUT_ORT }));
		agents.push(agent("judge", evaluator.secret, ["--split", "test", "--partition", "all", "--examples", "100", "--device", "cpu"]));
		await Promise.all(agents.map((started) => started.event("connected")));
		expect((await rondo(["client", "list"], env)).stdout.match(/connected/g)).toHaveLength(3);

		const { run } = await json<{ run: { name: string } }>([
			...[
				"run",
				"submit",
				"--model",
				"small",
				"--strategy",
				"fedavg",
				"--rounds",
				"3",
				"--name",
				"first",
				"--min-clients",
				"2",
				"--evaluate-every",
				"1",
			],
			...["-o", "cohortSize=2", "-o", "learningRate=0.1", "-o", "onMiss=replan"],
		]);
		expect(run.name).toBe("first");
		const watched = await rondo(["run", "watch", "first", "--format", "json"], env);
		expect(watched.code).toBe(0);
		const rounds = watched.stdout
			.split("\n")
			.map((line) => JSON.parse(line) as { event: string; round: number; reports: number; accuracy: number; clients: unknown[] });
		expect(rounds.filter(({ event }) => event === "round").map(({ round, reports, clients }) => [round, reports, clients.length])).toEqual([
			[1, 2, 2],
			[2, 2, 2],
			[3, 2, 2],
		]);
		expect(rounds.slice(0, 3).every(({ accuracy }) => accuracy > 0)).toBe(true);
		expect((await rondo(["run", "show", "first"], env)).stdout).toMatch(/phase +completed/);
		const trainers = await Promise.all(agents.slice(0, 2).map((started) => started.event<{ description: string }>("trainer")));
		expect(trainers.map(({ description }) => description)).toEqual([
			expect.stringMatching(/^onnxruntime [\d.]+ on cpu \(1 thread\)/),
			expect.stringMatching(/^tfjs-wasm /),
		]);
	});

	it("downloads the model", async () => {
		const file = join(workshop.dir, "first.safetensors");
		const saved = await json<{ round: number; bytes: number }>(["run", "download", "first", "--output", file]);
		const content = await readFile(file);
		expect(saved).toMatchObject({ round: 3, bytes: content.length });
		expect(readSafetensors(content).layout.length).toBe(9550);
		expect((await rondo(["run", "download", "first", "--output", file], env)).code).toBe(6);
		expect((await rondo(["run", "download", "first", "--output", file, "--force"], env)).code).toBe(0);
		// What was downloaded can start another run.
		const again = await json<{ weights: string }>(["model", "import", file, "--name", "second"]);
		expect(again.weights).toMatch(/^[0-9a-f]{64}$/);
	});

	it("ends agents with exit code 0 at SIGTERM and at Ctrl-C", async () => {
		const [first, second, judge] = agents;
		expect((await first!.signal("SIGTERM")).code).toBe(0);
		expect((await second!.signal("SIGINT")).code).toBe(0);
		expect((await judge!.signal("SIGTERM")).code).toBe(0);
	});
});

describe("run verify", () => {
	it("recomputes every round", async () => {
		const { code, stdout } = await rondo(["run", "verify", "first"], env);
		expect(code).toBe(0);
		expect(stdout.split("\n").map((line) => line.split("  ")[0])).toEqual([
			"initial",
			"round 1",
			"round 2",
			"round 3",
			expect.stringMatching(/^OK: 3 commits replayed/),
		]);
	});

	it("names the first round that differs when a byte of a report was changed, and says when a report is gone", async () => {
		const file = await laneFileOf("first", 2);
		const content = await readFile(file);
		content[100]! ^= 1;
		await writeFile(file, content);
		const tampered = await rondo(["run", "verify", "first"], env);
		expect(tampered.code).toBe(1);
		expect(tampered.stdout).toMatch(/DIFFERENT: round 2 \(commit 2\) is the first that differs/);
		const record = (await rondo(["run", "verify", "first", "--format", "json"], env)).stdout.split("\n").at(-1);
		expect(JSON.parse(record!)).toMatchObject({ event: "result", ok: false, first: { round: 2 } });

		await rm(file);
		const gone = await rondo(["run", "verify", "first"], env);
		expect(gone.code).toBe(5);
		expect(gone.stderr).toMatch(/round 2 cannot be recomputed: its reports are no longer kept/);
	});

	it("is interrupted with exit code 130", async () => {
		// A port that accepts and never answers.
		const { createServer } = await import("node:net");
		const server = createServer(() => undefined);
		await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
		const { port } = server.address() as { port: number };
		const connected = new Promise((resolve) => server.once("connection", resolve));
		const verify = workshop.start(["run", "verify", "first"], { ...env, RONDO_URL: `http://127.0.0.1:${port}` });
		await connected;
		expect((await verify.signal("SIGINT")).code).toBe(130);
		server.close();
	});
});

describe("exit codes", () => {
	it.each([
		[2, ["run", "list", "--bogus"]],
		[2, ["bogus"]],
		[2, ["run", "submit", "--model", "small", "--strategy", "nope", "--rounds", "1"]],
		[2, ["run", "submit", "--model", "small", "--strategy", "fedavg", "--rounds", "1", "-o", "nope=1"]],
		[3, ["run", "list", "--url", "http://127.0.0.1:1"]],
		[4, ["run", "list", "--token", "wrong"]],
		[5, ["run", "show", "nope"]],
		[6, ["run", "pause", "first"]],
		[6, ["model", "import", "dense:784-12-10", "--name", "small"]],
	])("%i for %j", async (code, args) => {
		const ended = await rondo(args, env);
		expect({ code: ended.code, stdout: ended.stdout }).toEqual({ code, stdout: "" });
		expect(ended.stderr).toMatch(/^error [A-Z_]+: [^\n]+\n$/);
	});

	it("4 for an agent without a valid token, and for a reader that wants to write", async () => {
		const agent = await rondo(["agent", "--address", ready.grpcAddress, "--state-dir", join(workshop.dir, "stranger"), "--token", "wrong"]);
		expect(agent.code).toBe(4);
		const { secret } = await json<{ secret: string }>(["token", "create", "--scope", "read"]);
		expect((await rondo(["run", "list"], { ...env, RONDO_TOKEN: secret })).code).toBe(0);
		expect((await rondo(["token", "list"], { ...env, RONDO_TOKEN: secret })).code).toBe(4);
	});

	it("1 for a watched run that is stopped", async () => {
		const { run } = await json<{ run: { id: string } }>(["run", "submit", "--model", "small", "--strategy", "fedavg", "--rounds", "1"]);
		const watch = workshop.start(["run", "watch", run.id, "--format", "json"], env);
		await json(["run", "stop", run.id]);
		expect((await watch.ended).code).toBe(1);
	});

	it("0 for a coordinator that is told to end", async () => {
		expect((await serve.signal("SIGTERM")).code).toBe(0);
	});
});

/** The file in the coordinator's store that holds the lane of a report of this round. */
async function laneFileOf(run: string, round: number): Promise<string> {
	const api = await Api.open({ url: ready.restUrl, token: env.RONDO_TOKEN });
	const { items } = await api.get<LogPageView>(`/runs/${run}/log?from=${round}&limit=1`);
	const report = decodePlain(await api.bytes(`/runs/${run}/reports/${items[0]!.accepted[0]!.task}`));
	const digest = vecsIn(report)[0]!.sha256;
	api.close();
	return join(workshop.dir, "coordinator", "blobs", digest.slice(0, 2), digest.slice(2));
}
