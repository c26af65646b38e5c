import { Client, type ClientDuplexStream, credentials, Metadata, type MethodDefinition, type ServiceError } from "@grpc/grpc-js";
import { RondoError } from "@rondo/errors";
import {
	CLIENT_CHANNEL_OPTIONS,
	type ConnectRequest,
	type ConnectResponse,
	type EnrolRequest,
	type EnrolResponse,
	fromServiceError,
	type GetBlobRequest,
	type GetBlobResponse,
	type GetCurrentTaskRequest,
	type GetCurrentTaskResponse,
	type PutBlobRequest,
	type PutBlobResponse,
	type ReadLogRequest,
	type ReadLogResponse,
	FederationServiceService as Service,
	type StatBlobRequest,
	type StatBlobResponse,
} from "@rondo/protocol";
import type { Count } from "./traffic.js";

/** What every call has. */
export interface CallContext {
	readonly signal: AbortSignal;
	readonly count: Count;
}

/** The stream of a connection. */
export type ConnectStream = ClientDuplexStream<ConnectRequest, ConnectResponse>;

// Unary calls are small; one that takes longer has lost its peer.
const UNARY_DEADLINE_MS = 30_000;

/** The calls of the protocol over one channel. Every failure is a RondoError. */
export class Transport {
	readonly #client: Client;
	#metadata = new Metadata();

	/** @param tls undefined: plain text; `ca`: PEM of the authorities to trust instead of the system's */
	constructor(address: string, tls: { readonly ca?: string } | undefined) {
		const channel =
			tls === undefined ? credentials.createInsecure() : credentials.createSsl(tls.ca === undefined ? null : Buffer.from(tls.ca));
		this.#client = new Client(address, channel, CLIENT_CHANNEL_OPTIONS);
	}

	/** The credential that later calls present. */
	set credential(credential: string) {
		const metadata = new Metadata();
		metadata.set("authorization", `Bearer ${credential}`);
		this.#metadata = metadata;
	}

	enrol(request: EnrolRequest, call: CallContext): Promise<EnrolResponse> {
		return this.#unary(Service.enrol, request, call);
	}

	statBlob(request: StatBlobRequest, call: CallContext): Promise<StatBlobResponse> {
		return this.#unary(Service.statBlob, request, call);
	}

	getCurrentTask(request: GetCurrentTaskRequest, call: CallContext): Promise<GetCurrentTaskResponse> {
		return this.#unary(Service.getCurrentTask, request, call);
	}

	/** Messages as they arrive; ending the iteration cancels the call. */
	getBlob(request: GetBlobRequest, call: CallContext): AsyncGenerator<GetBlobResponse> {
		return this.#serverStream(Service.getBlob, request, call);
	}

	/** Entries as they arrive, no faster than they are taken; ending the iteration cancels the call. */
	readLog(request: ReadLogRequest, call: CallContext): AsyncGenerator<ReadLogResponse> {
		return this.#serverStream(Service.readLog, request, call);
	}

	async *#serverStream<Req, Res>(method: MethodDefinition<Req, Res>, request: Req, { signal, count }: CallContext): AsyncGenerator<Res> {
		const { path, serialize, deserialize } = counted(method, count);
		const call = this.#client.makeServerStreamRequest(path, serialize, deserialize, request, this.#metadata);
		// After a cancel the status comes as an error that nobody waits for any more.
		call.on("error", () => {});
		const cancel = onAbort(signal, () => call.cancel());
		try {
			for await (const message of call) yield message as Res;
		} catch (error) {
			throw failure(error, signal);
		} finally {
			cancel.dispose();
			call.cancel();
		}
	}

	/** Sends messages no faster than the peer takes them; stops early when the coordinator answers early. */
	async putBlob(messages: AsyncIterable<PutBlobRequest>, { signal, count }: CallContext): Promise<PutBlobResponse> {
		const { path, serialize, deserialize } = counted(Service.putBlob, count);
		const { promise, resolve, reject } = deferred<PutBlobResponse>();
		const call = this.#client.makeClientStreamRequest(path, serialize, deserialize, this.#metadata, callback(resolve, reject, signal));
		const cancel = onAbort(signal, () => call.cancel());
		let answered = false;
		const answer = promise.finally(() => {
			answered = true;
		});
		answer.catch(() => {});
		try {
			for await (const message of messages) {
				await Promise.race([answer, new Promise<void>((done) => call.write(message, () => done()))]);
				if (answered) break;
			}
			call.end();
			return await answer;
		} catch (error) {
			call.cancel();
			throw error;
		} finally {
			cancel.dispose();
		}
	}

	/** @param count sizes with the message they belong to */
	connect(count: (direction: "up" | "down", bytes: number, message: ConnectRequest | ConnectResponse) => void): ConnectStream {
		const { connect } = Service;
		return this.#client.makeBidiStreamRequest(
			connect.path,
			(value: ConnectRequest) => {
				const bytes = connect.requestSerialize(value);
				count("up", bytes.length, value);
				return bytes;
			},
			(bytes: Buffer) => {
				const value = connect.responseDeserialize(bytes);
				count("down", bytes.length, value);
				return value;
			},
			this.#metadata,
		);
	}

	close(): void {
		this.#client.close();
	}

	#unary<Req, Res>(method: MethodDefinition<Req, Res>, request: Req, { signal, count }: CallContext): Promise<Res> {
		const { path, serialize, deserialize } = counted(method, count);
		const { promise, resolve, reject } = deferred<Res>();
		const options = { deadline: Date.now() + UNARY_DEADLINE_MS };
		const call = this.#client.makeUnaryRequest(
			path,
			serialize,
			deserialize,
			request,
			this.#metadata,
			options,
			callback(resolve, reject, signal),
		);
		const cancel = onAbort(signal, () => call.cancel());
		return promise.finally(() => cancel.dispose());
	}
}

function counted<Req, Res>(method: MethodDefinition<Req, Res>, count: Count) {
	return {
		path: method.path,
		serialize: (value: Req): Buffer => {
			const bytes = method.requestSerialize(value);
			count("up", bytes.length);
			return bytes;
		},
		deserialize: (bytes: Buffer): Res => {
			count("down", bytes.length);
			return method.responseDeserialize(bytes);
		},
	};
}

const failure = (error: unknown, signal: AbortSignal): RondoError =>
	signal.aborted ? new RondoError("CANCELLED", "the call was cancelled", { cause: error }) : fromServiceError(error);

const callback =
	<T>(resolve: (value: T) => void, reject: (error: unknown) => void, signal: AbortSignal) =>
	(error: ServiceError | null, value?: T): void => {
		if (error !== null) reject(failure(error, signal));
		else if (value === undefined) reject(new RondoError("UNAVAILABLE", "the call ended without an answer"));
		else resolve(value);
	};

function deferred<T>() {
	let resolve!: (value: T) => void;
	let reject!: (error: unknown) => void;
	const promise = new Promise<T>((yes, no) => {
		resolve = yes;
		reject = no;
	});
	return { promise, resolve, reject };
}

/** Calls `act` once when (or if already) aborted. */
function onAbort(signal: AbortSignal, act: () => void): { dispose(): void } {
	if (signal.aborted) act();
	else signal.addEventListener("abort", act, { once: true });
	return { dispose: () => signal.removeEventListener("abort", act) };
}
