import { type ErrorCode, RondoError, toRondoError } from "@rondo/errors";
import {
	type ConnectRequest,
	type ConnectResponse,
	checkConnectResponse,
	fromServiceError,
	type Hello,
	type Welcome,
} from "@rondo/protocol";
import { Backoff, type BackoffOptions, pause } from "./backoff.js";
import type { ConnectStream } from "./transport.js";

/** Codes after which no further attempt can succeed without somebody's doing. */
export const FATAL_CODES: ReadonlySet<ErrorCode> = new Set([
	"UNAUTHENTICATED",
	"TOKEN_EXPIRED",
	"TOKEN_REVOKED",
	"FORBIDDEN",
	"PROTOCOL_TOO_OLD",
	"SUPERSEDED",
]);

const HANDSHAKE_TIMEOUT_MS = 10_000;
// Heartbeat intervals without a word from the coordinator after which the stream counts as dead.
const SILENT_INTERVALS = 3;

/** What a connection needs and whom it tells. Calls come one after the other. */
export interface ConnectionOptions {
	open(): ConnectStream;
	/** The first message of each connection. */
	hello(): Promise<Hello>;
	/** Highest epoch seen so far. */
	epochSeen(): number;
	/** The coordinator has answered Hello; nothing is handled before this resolves. */
	onWelcome(welcome: Welcome): Promise<void>;
	/** Messages can be sent. */
	onConnected(welcome: Welcome): void;
	onMessage(message: NonNullable<ConnectResponse["message"]>): void;
	/** A message that breaks the protocol; it is dropped. */
	onInvalid(error: RondoError): void;
	/** The stream ended, or could not be opened; the next attempt comes after `retryInMs`. */
	onLost(error: RondoError, retryInMs: number): void;
	readonly backoff: BackoffOptions;
	readonly signal: AbortSignal;
}

/** Keeps one Connect stream open: handshake, heartbeats, reconnection. */
export class Connection {
	readonly #options: ConnectionOptions;
	#stream: ConnectStream | undefined;

	constructor(options: ConnectionOptions) {
		this.#options = options;
	}

	/** Sends a message if the handshake is done; false otherwise. Delivery shows in what comes back. */
	send(message: NonNullable<ConnectRequest["message"]>): boolean {
		this.#stream?.write({ message });
		return this.#stream !== undefined;
	}

	/**
	 * Connects again and again until the signal aborts.
	 * @throws one of `FATAL_CODES`
	 */
	async run(): Promise<void> {
		const { signal, onLost } = this.#options;
		const backoff = new Backoff(this.#options.backoff);
		while (!signal.aborted) {
			const error = await this.#session(() => backoff.reset()).catch(toRondoError);
			if (signal.aborted) return;
			if (FATAL_CODES.has(error.code)) throw error;
			const retryInMs = backoff.next();
			onLost(error, retryInMs);
			await pause(retryInMs, signal);
		}
	}

	/** One stream, from Hello to its end; why it ended. */
	async #session(onWelcomed: () => void): Promise<RondoError> {
		const { signal } = this.#options;
		const hello = await this.#options.hello();
		const stream = this.#options.open();
		const cancel = (): void => stream.cancel();
		signal.addEventListener("abort", cancel, { once: true });
		let heartbeat: NodeJS.Timeout | undefined;
		let handshake: NodeJS.Timeout | undefined;
		let silentIntervals = 0;
		let over = false;
		try {
			return await new Promise<RondoError>((end) => {
				handshake = setTimeout(
					() => end(new RondoError("UNAVAILABLE", `no Welcome within ${HANDSHAKE_TIMEOUT_MS} ms`)),
					HANDSHAKE_TIMEOUT_MS,
				);
				stream.on("error", (error) => end(fromServiceError(error)));
				stream.on("end", () => end(new RondoError("UNAVAILABLE", "the coordinator ended the stream")));
				// Messages are handled in order, each after what the one before it awaited.
				let before: Promise<void> = Promise.resolve();
				let welcomed = false;
				const handle = async ({ message }: ConnectResponse): Promise<void> => {
					if (over) return;
					if (welcomed) return this.#dispatch(message);
					if (message?.$case !== "welcome")
						throw new RondoError("UNAVAILABLE", `the coordinator's first message is ${message?.$case ?? "unknown"}, not welcome`);
					checkConnectResponse({ message });
					await this.#welcome(message.welcome);
					if (over) return;
					welcomed = true;
					clearTimeout(handshake);
					onWelcomed();
					this.#stream = stream;
					heartbeat = setInterval(() => {
						if (++silentIntervals > SILENT_INTERVALS)
							end(new RondoError("UNAVAILABLE", `no word from the coordinator for ${SILENT_INTERVALS} heartbeats`));
						else stream.write({ message: { $case: "ping", ping: { nonce: 0n } } });
					}, message.welcome.heartbeatMs);
					this.#options.onConnected(message.welcome);
				};
				stream.on("data", (response: ConnectResponse) => {
					silentIntervals = 0;
					before = before.then(() => handle(response)).catch((error: unknown) => end(fromServiceError(error)));
				});
				stream.write({ message: { $case: "hello", hello } });
				if (signal.aborted) cancel();
			});
		} finally {
			over = true;
			this.#stream = undefined;
			clearTimeout(handshake);
			clearInterval(heartbeat);
			signal.removeEventListener("abort", cancel);
			stream.removeAllListeners("data");
			stream.cancel();
		}
	}

	async #welcome(welcome: Welcome): Promise<void> {
		const seen = this.#options.epochSeen();
		if (Number(welcome.epoch) < seen) {
			throw new RondoError(
				"FENCED",
				`the coordinator's epoch ${welcome.epoch} is older than ${seen}, which this client has seen: another coordinator has taken over`,
				{
					details: { epoch: Number(welcome.epoch), epochSeen: seen },
				},
			);
		}
		await this.#options.onWelcome(welcome);
	}

	#dispatch(message: ConnectResponse["message"]): void {
		try {
			checkConnectResponse({ message });
		} catch (error) {
			this.#options.onInvalid(fromServiceError(error));
			return;
		}
		if (message !== undefined && message.$case !== "pong") this.#options.onMessage(message);
	}
}
