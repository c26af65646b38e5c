import { readFile } from "node:fs/promises";
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { ERROR_CODES, type ErrorCode, RondoError } from "@rondo/errors";
import type { Page } from "./api-types.js";

/** Silence after which a call counts as dead; event streams send a sign of life every heartbeat. */
const SILENCE_MS = 60_000;
/** Largest JSON answer that is read, bytes. */
const MAX_JSON_BYTES = 64 * 1024 * 1024;
/** Longest line of an event stream, characters. */
const MAX_EVENT_LENGTH = 1024 * 1024;

interface Call {
	readonly method?: "GET" | "POST" | "PUT";
	/** JSON, or bytes that go out as application/octet-stream. */
	readonly body?: unknown;
	readonly signal?: AbortSignal;
}

/** An answer with content that is read as it comes. */
export interface Download {
	readonly headers: IncomingHttpHeaders;
	readonly body: IncomingMessage;
}

/** The admin REST API of one coordinator. Every failure is a RondoError. */
export class Api {
	/** Without a slash at the end. */
	readonly url: string;
	readonly #token: string | undefined;
	readonly #agent: HttpAgent;
	readonly #send: typeof httpRequest;

	private constructor(url: URL, token: string | undefined, ca: Buffer | undefined) {
		this.url = url.href.replace(/\/+$/, "");
		this.#token = token;
		const secure = url.protocol === "https:";
		this.#agent = secure ? new HttpsAgent({ keepAlive: true, ...(ca === undefined ? {} : { ca }) }) : new HttpAgent({ keepAlive: true });
		this.#send = secure ? httpsRequest : httpRequest;
	}

	/** @throws INVALID_ARGUMENT for a URL that is none, NOT_FOUND for a certificate file that cannot be read */
	static async open({
		url,
		token,
		caFile,
	}: {
		readonly url: string;
		readonly token?: string | undefined;
		readonly caFile?: string;
	}): Promise<Api> {
		const parsed = URL.canParse(url) ? new URL(url) : undefined;
		if (parsed === undefined || (parsed.protocol !== "http:" && parsed.protocol !== "https:")) {
			throw new RondoError("INVALID_ARGUMENT", `--url must be an http:// or https:// address, got ${JSON.stringify(url)}`, {
				details: { field: "url", value: url },
			});
		}
		const ca =
			caFile === undefined
				? undefined
				: await readFile(caFile).catch((cause: unknown) => {
						throw new RondoError("NOT_FOUND", `--ca ${caFile} cannot be read: ${String(cause)}`, {
							cause,
							details: { field: "ca", value: caFile },
						});
					});
		return new Api(parsed, token, ca);
	}

	/** JSON from `/api/v1` + path. */
	async get<T>(path: string, signal?: AbortSignal): Promise<T> {
		return (await json(await this.#call(path, signal === undefined ? {} : { signal }))) as T;
	}

	/** Sends JSON. */
	async post<T>(path: string, body?: unknown): Promise<T> {
		return (await json(await this.#call(path, { method: "POST", ...(body === undefined ? {} : { body }) }))) as T;
	}

	/** Sends bytes. */
	async put<T>(path: string, body: Uint8Array): Promise<T> {
		return (await json(await this.#call(path, { method: "PUT", body }))) as T;
	}

	/** Content that may be large. The caller reads `body` to its end or destroys it. */
	async download(path: string, signal?: AbortSignal): Promise<Download> {
		const body = await this.#call(path, signal === undefined ? {} : { signal });
		return { headers: body.headers, body };
	}

	/** Content as one array. */
	async bytes(path: string, signal?: AbortSignal): Promise<Uint8Array> {
		return collect(await this.#call(path, signal === undefined ? {} : { signal }), Number.POSITIVE_INFINITY);
	}

	/** All items of a list that comes in pages. */
	async list<T>(path: string, query: Readonly<Record<string, string>> = {}): Promise<T[]> {
		const items: T[] = [];
		for (let after: string | null | undefined; after !== null; ) {
			const search: string = new URLSearchParams({ ...query, ...(after === undefined ? {} : { after }) }).toString();
			const page: Page<T> = await this.get(`${path}${search === "" ? "" : `?${search}`}`);
			items.push(...page.items);
			after = page.next;
		}
		return items;
	}

	/** Data of server-sent events until the stream or the signal ends. Resolves once the stream is open. */
	async events<T>(path: string, signal: AbortSignal): Promise<AsyncIterable<T>> {
		const stream = await this.#call(path, { signal });
		// Also heard when nobody has begun to iterate.
		stream.on("error", () => undefined);
		return eventsOf<T>(stream);
	}

	/** Closes idle connections. */
	close(): void {
		this.#agent.destroy();
	}

	/** The answer, once it is one with content. */
	async #call(path: string, { method = "GET", body, signal }: Call): Promise<IncomingMessage> {
		const content = body === undefined ? undefined : body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body));
		const answer = await new Promise<IncomingMessage>((resolve, reject) => {
			const call: ClientRequest = this.#send(
				`${this.url}/api/v1${path}`,
				{
					method,
					agent: this.#agent,
					timeout: SILENCE_MS,
					...(signal === undefined ? {} : { signal }),
					headers: {
						accept: "application/json, application/problem+json, */*",
						...(this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` }),
						...(content === undefined
							? {}
							: {
									"content-type": body instanceof Uint8Array ? "application/octet-stream" : "application/json",
									"content-length": content.length,
								}),
					},
				},
				resolve,
			);
			call.once("timeout", () => call.destroy(new RondoError("DEADLINE", `${this.url} has been silent for ${SILENCE_MS / 1000} s`)));
			call.once("error", (cause) => reject(this.#unreachable(cause, signal)));
			call.end(content);
		});
		const { statusCode = 0 } = answer;
		if (statusCode >= 200 && statusCode < 300) return answer;
		throw problemOf(statusCode, await collect(answer, MAX_JSON_BYTES), this.url);
	}

	#unreachable(cause: Error & { readonly code?: string }, signal: AbortSignal | undefined): RondoError {
		if (cause instanceof RondoError) return cause;
		if (signal?.aborted) return new RondoError("CANCELLED", "the call was cancelled", { cause });
		const next = /CERT|SELF_SIGNED|UNABLE_TO_VERIFY/.test(cause.code ?? "")
			? "pass the authority's certificate with --ca"
			: "is it running? Start one with `rondo serve`, or point --url (RONDO_URL) at it";
		// A connection to several addresses fails with a collective error whose own message is empty.
		return new RondoError(
			"UNAVAILABLE",
			`cannot reach the coordinator at ${this.url}: ${cause.message || cause.code || cause.name}; ${next}`,
			{ cause },
		);
	}
}

async function json(answer: IncomingMessage): Promise<unknown> {
	const bytes = await collect(answer, MAX_JSON_BYTES);
	try {
		return JSON.parse(new TextDecoder().decode(bytes));
	} catch (cause) {
		throw new RondoError("UNAVAILABLE", "the answer is not JSON: this is not the REST address of a Rondo coordinator", { cause });
	}
}

async function collect(answer: IncomingMessage, maxBytes: number): Promise<Uint8Array> {
	const chunks: Buffer[] = [];
	let bytes = 0;
	try {
		for await (const chunk of answer as AsyncIterable<Buffer>) {
			bytes += chunk.length;
			if (bytes > maxBytes) throw new RondoError("TOO_LARGE", `the answer has more than ${maxBytes} bytes`);
			chunks.push(chunk);
		}
	} catch (cause) {
		if (cause instanceof RondoError) throw cause;
		throw new RondoError("UNAVAILABLE", `the answer broke off after ${bytes} bytes`, { cause });
	}
	return Buffer.concat(chunks);
}

function problemOf(status: number, bytes: Uint8Array, url: string): RondoError {
	let problem: { readonly code?: unknown; readonly detail?: unknown; readonly field?: unknown; readonly value?: unknown };
	try {
		problem = (JSON.parse(new TextDecoder().decode(bytes)) ?? {}) as typeof problem;
	} catch (cause) {
		return new RondoError(
			"UNAVAILABLE",
			`${url} answers ${status} without a problem description: it is not the REST address of a Rondo coordinator`,
			{ cause },
		);
	}
	const { code, detail, field, value } = problem;
	if (typeof code !== "string" || !Object.hasOwn(ERROR_CODES, code))
		return new RondoError("UNAVAILABLE", `${url} answers ${status}: it is not the REST address of a Rondo coordinator`);
	return new RondoError(code as ErrorCode, typeof detail === "string" ? detail : `status ${status}`, {
		details: { ...(field === undefined ? {} : { field }), ...(value === undefined ? {} : { value }) },
	});
}

/** Ends when the stream does, also where it breaks off: the reader decides whether to connect anew. */
async function* eventsOf<T>(stream: IncomingMessage): AsyncGenerator<T> {
	let rest = "";
	try {
		for await (const text of stream.setEncoding("utf8") as AsyncIterable<string>) {
			const lines = (rest + text).split("\n");
			rest = lines.pop()!;
			if (rest.length > MAX_EVENT_LENGTH) return;
			for (const line of lines) if (line.startsWith("data: ")) yield JSON.parse(line.slice(6)) as T;
		}
	} catch (cause) {
		if (cause instanceof SyntaxError) throw new RondoError("UNAVAILABLE", `an event is not JSON: ${cause.message}`, { cause });
	} finally {
		stream.destroy();
	}
}
