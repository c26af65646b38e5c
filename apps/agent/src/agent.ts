import type { ClientEvents, ClientOptions, RondoClient } from "@rondo/client";
import { isRondoError } from "@rondo/errors";
import type { AgentEvent } from "./agent-event.js";

/** Options of `runAgent`: those of the SDK, which the agent completes. */
export type AgentOptions = Omit<ClientOptions, "signal" | "log">;

/** Where an agent hears from and speaks to. */
export interface AgentPorts {
	/** Ends the agent in good order. */
	readonly stop: AbortSignal;
	readonly report: (event: AgentEvent) => void;
}

/**
 * Connects, trains and reports until `stop` aborts.
 * @throws what ends a client: TOKEN_REVOKED, UNAUTHENTICATED, PROTOCOL_TOO_OLD, SUPERSEDED, FOLDER_LOCKED, TRAINER_FAILED
 */
export async function runAgent(options: AgentOptions, { stop, report }: AgentPorts): Promise<void> {
	report({
		event: "started",
		text: `process ${process.pid}, state in ${options.stateDir}, coordinator ${options.address}`,
		pid: process.pid,
		stateDir: options.stateDir,
		address: options.address,
	});
	// The SDK loads gRPC, which those who only want the names of the options need not wait for.
	const { connect } = await import("@rondo/client");
	try {
		const client = await connect({
			...options,
			signal: stop,
			log: (level, message, fields) => {
				if (level === "warn" || level === "error")
					report({ event: "warning", text: `${message} ${JSON.stringify(fields)}`, message, ...fields });
			},
		});
		tell(client, report);
		await client.closed;
	} catch (error) {
		// Whoever stops an agent while it enrols has got what was asked for.
		if (!(stop.aborted && isRondoError(error) && error.code === "CANCELLED")) throw error;
	}
	report({ event: "stopped", text: "stopped" });
}

function tell(client: RondoClient, report: AgentPorts["report"]): void {
	/** What tasks are, by id: later events name the id alone. */
	const tasks = new Map<string, string>();
	const name = (taskId: string): string => tasks.get(taskId) ?? `task ${taskId.slice(0, 12)}`;
	const on = <K extends keyof ClientEvents>(event: K, describe: (detail: ClientEvents[K][0]) => AgentEvent): void => {
		client.on(event, ((detail: ClientEvents[K][0]) => report(describe(detail))) as never);
	};
	on("connected", ({ clientId, epoch }) => ({ event: "connected", text: `connected as ${clientId}`, clientId, epoch }));
	on("trainer", ({ runId, description }) => ({
		event: "trainer",
		text: `training with ${description === "" ? "the workload's trainer" : description}`,
		runId,
		description,
	}));
	on("offer", (offer) => {
		const what = offer.kind === "evaluate" ? "evaluation" : offer.strategy;
		tasks.set(offer.taskId, `${what}, round ${offer.round}${offer.attempt === 1 ? "" : `, attempt ${offer.attempt}`}`);
		return { event: "offer", text: `${name(offer.taskId)}: started`, ...offer };
	});
	on("declined", ({ offer, reason }) => ({
		event: "declined",
		text: `${name(offer.taskId)}: declined: ${reason}`,
		taskId: offer.taskId,
		reason,
	}));
	on("cancelled", ({ taskId, reason }) => ({ event: "cancelled", text: `${name(taskId)}: cancelled: ${reason}`, taskId, reason }));
	on("receipt", (receipt) => {
		const why = receipt.errorMessage === "" ? "" : `: ${receipt.errorCode} ${receipt.errorMessage}`;
		return { event: "receipt", text: `${name(receipt.taskId)}: ${receipt.code}${why}`, ...receipt };
	});
	on("traffic", ({ taskId, bytesUp, bytesDown }) => ({
		event: "report",
		text: `${name(taskId)}: ${bytesUp} bytes up, ${bytesDown} bytes down`,
		taskId,
		bytesUp,
		bytesDown,
	}));
	on("settled", ({ taskId, outcome, commit }) => {
		const text = `${name(taskId)}: ${outcome} in commit ${commit}`;
		tasks.delete(taskId);
		return { event: "settled", text, taskId, outcome, commit };
	});
	on("error", ({ code, message }) => ({ event: "warning", text: `${code}: ${message}`, code, message }));
}
