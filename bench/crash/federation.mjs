import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ADMIN_TOKEN, agentOptions, coordinatorFlags } from "./base.mjs";
import { Child, freePort } from "./processes.mjs";
import { Rest } from "./rest.mjs";
import { AGENTS, LATE_AGENT } from "./scenarios.mjs";

const POLL_MS = 200;
/** Longest wait for the receipt that the coordinator has just written to its socket. */
const RECEIPT_WAIT_MS = 2_000;
const ENDED = new Set(["completed", "failed", "stopped"]);

/** One coordinator process and its agents, which are killed after a scenario and started again. */
export class Federation {
	/** Kill points that were reached. @type {string[]} */
	kills = [];
	agentKills = 0;
	#folder;
	#scenario;
	#options;
	/** @type {Map<number, Child>} */
	#agents = new Map();
	/** @type {Child | undefined} */
	#coordinator;
	#receipts = 0;
	/** ACCEPTED receipts in the life of the present coordinator process, and who got the newest. */
	#accepted = 0;
	#newest = -1;
	#onReceipt = () => {};
	#commit = 0;
	/** Agents that stay away until the run has more commits than this. @type {Map<number, number>} */
	#held = new Map();
	#closing = false;
	/** @type {(error: Error) => void} */
	#fail = () => {};
	/** @type {Promise<never>} */
	#failed = new Promise((_resolve, reject) => {
		this.#fail = reject;
	});

	/** @param {{ folder: string, scenario: import("./scenarios.mjs").Scenario, mutation: string, seed: number, databaseFlags: object }} options */
	constructor({ folder, scenario, ...options }) {
		this.#folder = folder;
		this.#scenario = scenario;
		this.#options = options;
		this.#failed.catch(() => {});
	}

	/** Starts everything and drives the run to its end. @param {number} timeoutMs */
	async run(timeoutMs) {
		this.ports = { rest: await freePort(), grpc: await freePort() };
		this.rest = new Rest(`http://127.0.0.1:${this.ports.rest}`, ADMIN_TOKEN);
		this.#startCoordinator();
		for (let index = 0; index < AGENTS; index++) this.#startAgent(index);
		return Promise.race([this.#drive(timeoutMs), this.#failed]);
	}

	/** Path of the file with the sets that were frozen. */
	get frozenFile() {
		return join(this.#folder, "frozen.jsonl");
	}

	async #drive(timeoutMs) {
		const { name } = this.#scenario;
		for (const endAtMs = performance.now() + timeoutMs; performance.now() < endAtMs; ) {
			// The coordinator may be dead at this moment.
			const run = await this.rest.get(`/runs/${name}`).catch(() => undefined);
			if (run?.phase === "created") await this.rest.post(`/runs/${run.id}/start`).catch(() => undefined);
			if (run !== undefined) {
				this.#commit = run.commit;
				this.#release();
				if (ENDED.has(run.phase)) return run;
			}
			await delay(POLL_MS);
		}
		throw new Error(`the run is not over after ${timeoutMs} ms; it has ${this.#commit} commits. ${this.#coordinator?.output ?? ""}`);
	}

	#startCoordinator() {
		const { mutation, databaseFlags } = this.#options;
		const kill = this.#scenario.kills[this.kills.length] ?? null;
		const flags = coordinatorFlags(this.#folder, this.ports, databaseFlags);
		this.#accepted = 0;
		const coordinator = new Child(
			new URL("./coordinator.mjs", import.meta.url),
			{ flags, kill, mutation, frozenFile: this.frozenFile },
			{
				onMessage: (message) => {
					if (message.type !== "at") return;
					this.kills.push(message.point);
					void this.#beforeDeath(message).then(() => coordinator.send({ type: "go" }));
				},
			},
		);
		this.#coordinator = coordinator;
		void coordinator.exited.then(({ code, signal }) => {
			if (this.#closing) return;
			if (signal === "SIGKILL") this.#startCoordinator();
			else this.#fail(new Error(`the coordinator ended with ${code ?? signal}:\n${coordinator.output}`));
		});
	}

	/** A receipt that was sent is waited for; a client that shall stay away is killed before it can do anything more. */
	async #beforeDeath({ point, hit }) {
		if (point !== "receipt-sent") return;
		const arrived = new Promise((resolve) => {
			this.#onReceipt = () => this.#accepted >= hit && resolve(undefined);
			this.#onReceipt();
		});
		await Promise.race([arrived, delay(RECEIPT_WAIT_MS)]);
		const { hold } = this.#scenario.kills[this.kills.length - 1];
		if (hold !== true || this.#newest < 0) return;
		this.#held.set(this.#newest, this.#commit);
		await this.#agents.get(this.#newest)?.kill("SIGKILL");
	}

	#release() {
		for (const [index, commit] of this.#held) {
			if (this.#commit <= commit) continue;
			this.#held.delete(index);
			this.#startAgent(index);
		}
	}

	#startAgent(index) {
		const late = ["deadline", "buffered"].includes(this.#scenario.cohort) && index === LATE_AGENT;
		const options = { ...agentOptions(this.#folder, this.ports, this.#options.seed, index), late };
		const agent = new Child(new URL("./agent.mjs", import.meta.url), options, {
			onMessage: ({ type, code }) => {
				if (type !== "receipt") return;
				this.#receipts++;
				if (code === "ACCEPTED") {
					this.#accepted++;
					this.#newest = index;
				}
				this.#onReceipt();
				this.#killAgents();
			},
		});
		this.#agents.set(index, agent);
		void agent.exited.then(({ code, signal }) => {
			if (this.#closing || this.#agents.get(index) !== agent) return;
			if (signal !== "SIGKILL") this.#fail(new Error(`agent ${index} ended with ${code ?? signal}:\n${agent.output}`));
			else if (!this.#held.has(index)) this.#startAgent(index);
		});
	}

	#killAgents() {
		for (const { afterReceipts, agent } of this.#scenario.agentKills) {
			if (afterReceipts !== this.#receipts || this.#held.has(agent)) continue;
			this.agentKills++;
			void this.#agents.get(agent)?.kill("SIGKILL");
		}
	}

	async close() {
		this.#closing = true;
		await Promise.all([...this.#agents.values()].map((agent) => agent.kill("SIGKILL")));
		await this.#coordinator?.kill("SIGKILL");
	}
}
