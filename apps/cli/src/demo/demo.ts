import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { divide, type ShardOptions } from "@rondo/agent";
import { formatSummary, summarize } from "@rondo/datasets";
import { isRondoError, RondoError } from "@rondo/errors";
import { Api } from "../api.js";
import { type ClientView, hasEnded, type RunView } from "../api-types.js";
import { downloadModel } from "../commands/download.js";
import type { Context } from "../context.js";
import { AnswerIsNo } from "../failure.js";
import { readToken } from "../files.js";
import type { ModelSource } from "../model-source/model-source.js";
import { importModel } from "../model-source/read-model.js";
import { type Output, size, table } from "../output.js";
import { finishedRounds, ROUND_HEAD, roundCells, roundLine } from "../rounds.js";
import { followRun, roundProgress } from "../watch.js";
import { type Child, Children } from "./children.js";
import { readDemoModel, withTrainer } from "./demo-model.js";
import { DEMO_NAME, type DemoChoices, type DemoPlan, derived, openPlan, planOf } from "./plan.js";

/** Where and how a demo runs. */
export interface DemoOptions {
	readonly dir: string;
	readonly resume: boolean;
	/** 0: a free one. */
	readonly restPort: number;
	readonly grpcPort: number;
}

/** What `rondo serve` says once it is ready. */
interface Ready {
	readonly restUrl: string;
	readonly grpcAddress: string;
}

const POLL_MS = 200;
/** A round waits this long for all agents to be there, milliseconds. */
const WAIT_FOR_AGENTS_MS = 3_600_000;

/**
 * Runs a federation of processes on this machine: a coordinator with its embedded database, agents that hold real MNIST
 * digits, and an evaluator. Whatever ends it, the processes end, and the folder can be resumed.
 * @throws AnswerIsNo when the run fails, CANCELLED when it is interrupted, INTERNAL when a process dies
 */
export async function runDemo(options: DemoOptions, choices: DemoChoices, out: Output, context: Context): Promise<void> {
	const { dir, resume } = options;
	const { stop, kill } = context;
	// What is wrong with the model shows before anything is written.
	const chosen = resume ? choices : await withTrainer(choices);
	const model = resume ? undefined : await readDemoModel(planOf(chosen));
	const plan = await openPlan(dir, chosen, resume);
	out.emit(
		{ event: "plan", dir, resume, plan },
		() =>
			`${resume ? "going on with" : "starting"} ${plan.strategy}, ${plan.rounds} rounds, ${plan.agents} agents, seed ${plan.seed}, trainer ${plan.trainer}, in ${dir}`,
	);
	const children = await Children.open(join(dir, "logs"));
	kill.addEventListener("abort", () => children.kill(), { once: true });
	const interrupted = new Promise<never>((_resolve, reject) => {
		const cancel = (): void => reject(new RondoError("CANCELLED", `interrupted; go on with \`rondo demo --resume --dir ${dir}\``));
		if (stop.aborted) cancel();
		else stop.addEventListener("abort", cancel, { once: true });
	});
	interrupted.catch(() => undefined);
	try {
		await Promise.race([new Demo(options, plan, model, out, children, stop).run(), children.failed, interrupted]);
	} catch (error) {
		if (isRondoError(error) && Array.isArray(error.details.lines)) out.aside((error.details.lines as string[]).join("\n"));
		throw error;
	} finally {
		out.say("stopping all processes");
		await children.stop();
	}
}

class Demo {
	readonly #options: DemoOptions;
	readonly #plan: DemoPlan;
	readonly #model: ModelSource | undefined;
	readonly #out: Output;
	readonly #children: Children;
	readonly #stop: AbortSignal;

	constructor(options: DemoOptions, plan: DemoPlan, model: ModelSource | undefined, out: Output, children: Children, stop: AbortSignal) {
		this.#options = options;
		this.#plan = plan;
		this.#model = model;
		this.#out = out;
		this.#children = children;
		this.#stop = stop;
	}

	async run(): Promise<void> {
		const startedMs = performance.now();
		const { ready, coordinator } = await this.#startCoordinator();
		const token = await readToken(join(this.#options.dir, "coordinator", "admin-token"));
		const api = await Api.open({ url: ready.restUrl, token });
		let run = await this.#findRun(api);
		if (run === undefined || !hasEnded(run.phase)) {
			await this.#describeShards();
			await this.#startAgents(api, ready, coordinator);
			await this.#waitForAgents(api);
			run ??= await this.#submit(api);
			run = await this.#follow(api, run);
		}
		await this.#summarize(api, run, (performance.now() - startedMs) / 1000);
		if (run.phase !== "completed") throw new AnswerIsNo(`the run is ${run.phase}`);
	}

	async #startCoordinator(): Promise<{ readonly ready: Ready; readonly coordinator: Child }> {
		const { dir, restPort, grpcPort } = this.#options;
		this.#out.say("starting the coordinator and its embedded database (the first start takes some seconds)");
		const coordinator = this.#children.start("coordinator", [
			"serve",
			"--format",
			"json",
			"--data-dir",
			join(dir, "coordinator"),
			"--rest-port",
			String(restPort),
			"--grpc-port",
			String(grpcPort),
		]);
		const ready = (await coordinator.message) as Ready;
		this.#out.emit(
			{
				event: "coordinator",
				pid: coordinator.pid,
				restUrl: ready.restUrl,
				grpcAddress: ready.grpcAddress,
				adminTokenFile: join(dir, "coordinator", "admin-token"),
			},
			() =>
				`coordinator is process ${coordinator.pid}: REST API ${ready.restUrl}/api/v1, for clients ${ready.grpcAddress}, admin token in ${join(dir, "coordinator", "admin-token")}`,
		);
		return { ready, coordinator };
	}

	async #findRun(api: Api): Promise<RunView | undefined> {
		try {
			return await api.get<RunView>(`/runs/${DEMO_NAME}`);
		} catch (error) {
			if (isRondoError(error) && error.code === "NOT_FOUND") return undefined;
			throw error;
		}
	}

	get #shards(): ShardOptions {
		const { alpha, agents, seed, trainExamples } = this.#plan;
		return { dataset: "mnist", split: "train", partition: "dirichlet", alpha, clients: agents, seed, examples: trainExamples };
	}

	async #describeShards(): Promise<void> {
		const { labels, parts } = await divide(this.#shards);
		const summary = summarize(parts, labels);
		this.#out.emit(
			{ event: "partition", ...summary },
			() =>
				`who holds which digits (Dirichlet, alpha ${this.#plan.alpha}):\n${formatSummary(
					summary,
					parts.map((_, i) => agentName(i)),
				)}`,
		);
	}

	async #startAgents(api: Api, { grpcAddress }: Ready, coordinator: Child): Promise<void> {
		const { agents, seed, alpha, trainExamples, testExamples, trainer, device, backend } = this.#plan;
		const secretOf = async (scope: string, maxUses: number): Promise<string> =>
			(await api.post<{ readonly secret: string }>("/tokens", { name: "demo", scope, maxUses, expiresInS: 3600 })).secret;
		const enrol = await secretOf("enrol", agents);
		const evaluate = await secretOf("enrol:evaluator", 1);
		const start = (name: string, token: string, args: readonly string[]): Child =>
			this.#children.start(
				name,
				[
					"agent",
					"--format",
					"json",
					"--address",
					grpcAddress,
					"--state-dir",
					join(this.#options.dir, "agents", name),
					"--name",
					name,
					"--device-key",
					derived(seed, `device/${name}`),
					"--trainer",
					trainer,
					"--device",
					device,
					"--backend",
					backend,
					// All agents share the cores.
					"--threads",
					"1",
					"--seed",
					seed,
					...args,
				],
				{ RONDO_TOKEN: token },
			);
		await mkdir(join(this.#options.dir, "agents"), { recursive: true });
		const started = Array.from({ length: agents }, (_, i) =>
			start(agentName(i), enrol, [
				"--split",
				"train",
				"--partition",
				"dirichlet",
				"--alpha",
				String(alpha),
				"--clients",
				String(agents),
				"--index",
				String(i),
				"--examples",
				String(trainExamples),
			]),
		);
		this.#tellTrainer(started);
		started.push(start("evaluator", evaluate, ["--split", "test", "--partition", "all", "--examples", String(testExamples)]));
		this.#out.emit(
			{ event: "processes", processes: [coordinator, ...started].map(({ name, pid, log }) => ({ name, pid, log })) },
			() => `processes: ${started.map(({ name, pid }) => `${name} ${pid}`).join(", ")}`,
		);
	}

	/** What the first agent that trains says of its trainer; the others are as it is. */
	#tellTrainer(agents: readonly Child[]): void {
		void Promise.race(agents.map(({ message }) => message)).then((message) => {
			const { description } = message as { readonly description: string };
			this.#out.emit(
				{ event: "trainer", description }, // What it was not and why is in the log.
				() => `agents train with ${description.split(";", 1)[0]}`,
			);
		});
	}

	/** The first round must find all of them: who takes part, and hence the result, depends on it. */
	async #waitForAgents(api: Api): Promise<void> {
		const wanted = this.#plan.agents + 1;
		const progress = this.#out.progress();
		try {
			for (let seen = -1; seen < wanted; ) {
				const present = (await api.list<ClientView>("/clients", { limit: "200" })).filter(({ connected }) => connected).length;
				if (present !== seen) progress.update(present, wanted, `${present} of ${wanted} agents are connected`);
				seen = present;
				if (seen < wanted) await setTimeout(POLL_MS, undefined, { signal: this.#stop });
			}
		} finally {
			progress.stop();
		}
		this.#out.say(`all ${wanted} agents are connected`);
	}

	async #submit(api: Api): Promise<RunView> {
		const { strategy, options, rounds, agents, seed } = this.#plan;
		const imported = await api.get<unknown>(`/models/${DEMO_NAME}`).catch((error: unknown) => {
			if (isRondoError(error) && error.code === "NOT_FOUND") return undefined;
			throw error;
		});
		if (imported === undefined) await importModel(api, DEMO_NAME, this.#model ?? (await readDemoModel(this.#plan)));
		const { run } = await api.post<{ readonly run: RunView }>("/runs", {
			name: DEMO_NAME,
			model: DEMO_NAME,
			strategy,
			options,
			rounds,
			minClients: agents,
			waitForClientsMs: WAIT_FOR_AGENTS_MS,
			evaluateEvery: 1,
			publicSeed: derived(seed, "public"),
			secretSeed: derived(seed, "secret"),
		});
		return run;
	}

	async #follow(api: Api, { id, rounds: done, settings, phase }: RunView): Promise<RunView> {
		if (done > 0) this.#out.emit({ event: "resumed", rounds: done }, () => `going on after round ${done} of ${settings.rounds}`);
		// An administrator may have paused it.
		if (phase === "paused") await api.post(`/runs/${id}/resume`);
		const progress = roundProgress(this.#out);
		try {
			return await followRun(
				api,
				id,
				{
					round: (round) => this.#out.emit({ event: "round", ...round }, () => roundLine(round, settings.rounds)),
					notice: progress.notice,
				},
				this.#stop,
				done + 1,
			);
		} finally {
			progress.stop();
		}
	}

	async #summarize(api: Api, run: RunView, seconds: number): Promise<void> {
		const rounds = await finishedRounds(api, run);
		const saved =
			run.commit === 0
				? undefined
				: await downloadModel(api, run.id, { output: join(this.#options.dir, "model.safetensors"), force: true });
		const sum = (pick: "up" | "down"): number =>
			rounds.reduce((total, { clients }) => total + clients.reduce((part, client) => part + client[pick], 0), 0);
		const summary = {
			event: "summary",
			run: { id: run.id, phase: run.phase, reason: run.reason },
			rounds,
			model: saved ?? null,
			logHead: run.logHead,
			bytesUp: sum("up"),
			bytesDown: sum("down"),
			seconds,
		};
		this.#out.emit(summary, () =>
			[
				"",
				table(ROUND_HEAD, rounds.map(roundCells), { right: ROUND_HEAD.map((_, i) => i) }),
				"",
				`run          ${run.phase}${run.reason === null ? "" : `: ${run.reason}`}, ${seconds.toFixed(1)} s, ${size(sum("up"))} up and ${size(sum("down"))} down in all`,
				`model hash   ${saved?.digest ?? "none"}`,
				`log head     ${run.logHead}`,
				`model file   ${saved?.file ?? "none"}`,
				`look again   rondo serve --data-dir ${join(this.#options.dir, "coordinator")}`,
			].join("\n"),
		);
	}
}

const agentName = (index: number): string => `agent-${String(index).padStart(2, "0")}`;
