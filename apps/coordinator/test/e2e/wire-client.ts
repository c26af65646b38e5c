import { randomBytes } from "node:crypto";
import { type ClientDuplexStream, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { builtInStrategies, bytesOf, CHUNK_BYTES, contentDigestOf } from "@rondo/algorithms";
import type { RondoError } from "@rondo/errors";
import { sha256 } from "@rondo/kernels";
import {
	CLIENT_CHANNEL_OPTIONS,
	type ConnectRequest,
	type ConnectResponse,
	digestBytes,
	FederationServiceClient,
	fromServiceError,
	type Hello,
	type Offer,
	PROTOCOL_VERSION,
	type PutBlobRequest,
	type Receipt,
} from "@rondo/protocol";
import { onTestFinished, vi } from "vitest";

type Answer = NonNullable<ConnectResponse["message"]>;
type Case = Answer["$case"];

/** A client that says what it is told to say: the wire protocol without the SDK's care. */
export class WireClient {
	readonly grpc: FederationServiceClient;
	readonly metadata = new Metadata();
	readonly nonce = randomBytes(16);
	clientId = "";
	/** Everything that came, oldest first. */
	readonly received: Answer[] = [];
	/** Why the newest stream ended. */
	ended: RondoError | undefined;
	#stream: ClientDuplexStream<ConnectRequest, ConnectResponse> | undefined;
	#session = 0n;

	constructor(address: string) {
		this.grpc = new FederationServiceClient(address, credentials.createInsecure(), CLIENT_CHANNEL_OPTIONS);
		onTestFinished(() => {
			this.#stream?.cancel();
			this.grpc.close();
		});
	}

	/** Enrols and opens a stream. */
	static async connected(address: string, token: string): Promise<WireClient> {
		const client = new WireClient(address);
		await client.enrol(token);
		client.open();
		client.hello();
		await client.next("welcome");
		return client;
	}

	async enrol(token: string, protocolVersion = PROTOCOL_VERSION): Promise<void> {
		const request = {
			token,
			protocolVersion,
			clientName: `wire-${this.nonce.toString("hex")}`,
			installationNonce: this.nonce,
			certificateRequest: new Uint8Array(),
		};
		const { credential, clientId } = await new Promise<{ credential: string; clientId: string }>((resolve, reject) => {
			this.grpc.enrol(request, (error, value) => (error === null ? resolve(value) : reject(fromServiceError(error))));
		});
		this.clientId = clientId;
		this.metadata.set("authorization", `Bearer ${credential}`);
	}

	open(): void {
		this.ended = undefined;
		const stream = this.grpc.connect(this.metadata);
		this.#stream = stream;
		stream.on("data", ({ message }: ConnectResponse) => {
			if (message !== undefined) this.received.push(message);
		});
		stream.on("error", (error: ServiceError) => {
			if (this.#stream === stream) this.ended = fromServiceError(error);
		});
	}

	send(message: ConnectRequest["message"]): void {
		this.#stream?.write({ message } as ConnectRequest);
	}

	hello(more: Partial<Hello> = {}): void {
		const hello: Hello = {
			protocolVersion: PROTOCOL_VERSION,
			software: "wire",
			session: ++this.#session,
			epochSeen: 0n,
			installationNonce: this.nonce,
			strategies: builtInStrategies.map(({ name, version }) => ({ name, version })),
			randomness: ["rondo-random/1"],
			codecs: ["f32"],
			outboxTaskIds: [],
			unsettledTaskIds: [],
			knownRunIds: [],
			...more,
		};
		this.send({ $case: "hello", hello });
	}

	submit(taskId: Uint8Array, report: Uint8Array): void {
		this.send({ $case: "submit", submit: { taskId, report } });
	}

	/** Waits for a message of a kind, and takes it and all before it. */
	async next<C extends Case>($case: C, timeout = 30_000): Promise<Extract<Answer, { $case: C }>> {
		return vi.waitFor(
			() => {
				const at = this.received.findIndex((message) => message.$case === $case);
				if (at < 0)
					throw new Error(
						`no ${$case}; ${this.ended === undefined ? "the stream is open" : `the stream ended: ${this.ended.code} ${this.ended.message}`}`,
					);
				return this.received.splice(0, at + 1).at(-1) as Extract<Answer, { $case: C }>;
			},
			{ timeout, interval: 20 },
		);
	}

	async offer(): Promise<Offer> {
		return (await this.next("offer")).offer;
	}

	/** Submits a report and gives the receipt for it. */
	async receiptFor(taskId: Uint8Array, report: Uint8Array): Promise<Receipt> {
		this.submit(taskId, report);
		return (await this.next("receipt")).receipt;
	}

	/** Why the stream ended. */
	async failure(): Promise<RondoError> {
		return vi.waitFor(
			() => {
				if (this.ended === undefined) throw new Error(`the stream is open, session ${this.#session}`);
				return this.ended;
			},
			{ timeout: 30_000, interval: 20 },
		);
	}

	/** Sends messages of an upload as they are. @throws what the coordinator answers */
	put(messages: readonly NonNullable<PutBlobRequest["message"]>[]): Promise<bigint> {
		return new Promise((resolve, reject) => {
			const call = this.grpc.putBlob(this.metadata, (error, answer) =>
				error === null ? resolve(answer.receivedBytes) : reject(fromServiceError(error)),
			);
			for (const message of messages) call.write({ message });
			call.end();
		});
	}
}

/** The messages that upload an array for a task. */
export function uploadOf(
	taskId: Uint8Array,
	array: Float32Array,
): { readonly digest: string; readonly messages: NonNullable<PutBlobRequest["message"]>[] } {
	const bytes = bytesOf(array);
	const chunks = Array.from({ length: Math.ceil(bytes.length / CHUNK_BYTES) }, (_, i) =>
		bytes.subarray(i * CHUNK_BYTES, (i + 1) * CHUNK_BYTES),
	);
	const chunkHashes = chunks.map((chunk) => sha256(chunk));
	const digest = contentDigestOf(bytes.length, chunkHashes);
	const start = { taskId, digest: digestBytes(digest), totalBytes: BigInt(bytes.length), offset: 0n, chunkHashes };
	return { digest, messages: [{ $case: "start", start }, ...chunks.map((chunk) => ({ $case: "chunk" as const, chunk }))] };
}
