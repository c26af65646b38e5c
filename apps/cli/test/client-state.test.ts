import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Rondo, rondo, Workshop } from "./rondo.js";

// Strategies with state on devices and lossy codecs, through a coordinator and two agents as processes. One story.

let workshop: Workshop;
let grpcAddress: string;
let env: Record<string, string>;
let agents: Rondo[];

interface Round {
	readonly round: number;
	readonly metrics: Readonly<Record<string, number>>;
	readonly clients: readonly { readonly up: number; readonly down: number }[];
}
interface End {
	readonly run: { readonly phase: string; readonly reason: string | null; readonly rounds: number };
}

async function json<T>(args: readonly string[]): Promise<T> {
	const { code, stdout, stderr } = await rondo([...args, "--format", "json"], env);
	expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
	return JSON.parse(stdout) as T;
}

async function startAgent(index: number): Promise<Rondo> {
	const { secret } = await json<{ secret: string }>(["token", "create", "--scope", "enrol"]);
	const agent = workshop.start(
		["agent", "--format", "json", "--address", grpcAddress, "--state-dir", join(workshop.dir, `agent-${index}`)].concat(
			["--name", `agent-${index}`, "--clients", "2", "--index", String(index), "--examples", "300"],
			["--trainer", "tfjs", "--backend", "cpu"],
		),
		{ RONDO_TOKEN: secret },
	);
	await agent.event("connected");
	return agent;
}

/** Submits a run of both agents, with no reports but those of both in a round. */
async function submit(name: string, strategy: string, rounds: number, options: readonly string[]): Promise<Rondo> {
	const chosen = ["cohortSize=2", "quorum=2", "learningRate=0.1", ...options].flatMap((option) => ["-o", option]);
	await json(
		["run", "submit", "--model", "m", "--strategy", strategy, "--rounds", String(rounds), "--name", name].concat(
			["--min-clients", "2"],
			chosen,
		),
	);
	return workshop.start(["run", "watch", name, "--format", "json"], env);
}

beforeAll(async () => {
	workshop = await Workshop.open();
	const serve = workshop.start(
		["serve", "--format", "json", "--data-dir", join(workshop.dir, "coordinator"), "--rest-port", "0"].concat(["--grpc-port", "0"]),
	);
	const ready = await serve.event<{ readonly restUrl: string; readonly grpcAddress: string; readonly adminTokenFile: string }>("ready");
	({ grpcAddress } = ready);
	env = { RONDO_URL: ready.restUrl, RONDO_TOKEN: (await readFile(ready.adminTokenFile, "utf8")).trim() };
	await json(["model", "import", "dense:784-32-10", "--name", "m"]);
	agents = [await startAgent(0), await startAgent(1)];
});

afterAll(() => workshop.close());

describe("over gRPC", () => {
	it.each([
		["int8", 25_450 + 25],
		["top-k", 4 * 2545 + 1 + 2600],
		["seeded-sparse", 4 * 2545 + 8],
	])("FedAvg with the codec %s", async (codec, most) => {
		const watch = await submit(`codec-${codec}`, "fedavg", 2, [`codec=${codec}`]);
		const { clients } = await watch.event<Round>("round", ({ round }) => round === 2);
		// Beside the lane: the report's other fields, and messages around it.
		for (const { up } of clients) expect(up).toBeLessThan(most + 1500);
		expect((await watch.event<End>("end")).run).toMatchObject({ phase: "completed", rounds: 2 });
	});

	it("EF21 downloads no estimates as long as devices have theirs", async () => {
		const watch = await submit("ef21", "ef21", 4, ["codecShare=0.02"]);
		const { clients, metrics } = await watch.event<Round>("round", ({ round }) => round === 4);
		expect(metrics.countedClients).toBe(2);
		// The model of 25,450 weights, and not another vector of its size.
		for (const { down } of clients) expect(down).toBeLessThan(1.5 * 4 * 25_450);
		expect((await watch.event<End>("end")).run.phase).toBe("completed");
	});

	it("SCAFFOLD ends when a device comes back without its state", async () => {
		const watch = await submit("scaffold", "scaffold", 100_000, ["maxLostShare=0.4"]);
		expect((await watch.event<Round>("round")).metrics).toMatchObject({ freshClients: 2, lostClients: 0 });
		await agents[1]!.signal("SIGTERM");
		await rm(join(workshop.dir, "agent-1", "carry"), { recursive: true });
		agents[1] = await startAgent(1);
		const { run } = await watch.event<End>("end");
		expect(run.phase).toBe("completed");
		expect(run.reason).toMatch(/^1 of 2 clients have lost their control variates/);
		expect((await rondo(["run", "verify", "scaffold"], env)).code).toBe(0);
	});
});
