import { type MessagePort, parentPort, Worker } from "node:worker_threads";
import { type ErrorCode, RondoError, toRondoError } from "@rondo/errors";

// Calls into a worker thread: one message per call, one per answer, values by structured clone. An ArrayBuffer that is
// itself an argument is handed over, not copied: the caller has it no longer.

interface Call {
	readonly id: number;
	readonly method: string;
	readonly args: readonly unknown[];
}
type Answer =
	| { readonly id: number; readonly value: unknown }
	| {
			readonly id: number;
			readonly error: {
				readonly code: ErrorCode;
				readonly message: string;
				readonly details: Readonly<Record<string, unknown>>;
				readonly stack: string | undefined;
			};
	  };

/** Methods that a worker offers: arguments and results are structured-cloneable. */
// biome-ignore lint/suspicious/noExplicitAny: any argument list will do
export type Methods = { readonly [name: string]: (...args: any[]) => unknown };

/** The same methods seen from the other thread: all asynchronous. */
export type Remote<M> = {
	readonly [K in keyof M]: M[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never;
};

/** Answers calls from the parent thread with `methods`; errors cross as RondoErrors. Call it once in a worker's entry. */
export function answerCalls(methods: Methods, port: MessagePort | null = parentPort): void {
	if (port === null) throw new RondoError("INTERNAL", "this module runs only in a worker thread");
	const answer = async (call: Call): Promise<Answer> => {
		try {
			const method = methods[call.method];
			if (method === undefined) throw new RondoError("INTERNAL", `the worker has no method ${call.method}`);
			return { id: call.id, value: await method(...call.args) };
		} catch (thrown) {
			const { code, message, details } = toRondoError(thrown);
			return { id: call.id, error: { code, message, details, stack: thrown instanceof Error ? thrown.stack : undefined } };
		}
	};
	port.on("message", (call: Call) => {
		void answer(call).then((message) => port.postMessage(message));
	});
}

export interface WorkerThread<M> {
	readonly call: Remote<M>;
	/** Stops the thread; pending calls fail with UNAVAILABLE. */
	terminate(): Promise<void>;
}

/**
 * Starts a worker and gives its methods. When the thread dies, pending and later calls fail with INTERNAL and `onDeath`
 * is called once; after `terminate` they fail with UNAVAILABLE.
 */
export function startWorker<M>(entry: URL, workerData: unknown, onDeath: (error: RondoError) => void): WorkerThread<M> {
	const worker = new Worker(entry, { workerData });
	const pending = new Map<number, { resolve: (value: unknown) => void; reject: (error: RondoError) => void }>();
	let nextId = 0;
	let dead: RondoError | undefined;

	const die = (error: RondoError): void => {
		if (dead !== undefined) return;
		dead = error;
		for (const { reject } of pending.values()) reject(error);
		pending.clear();
		if (error.code !== "UNAVAILABLE") onDeath(error);
	};
	worker.on("message", (message: Answer) => {
		const call = pending.get(message.id);
		pending.delete(message.id);
		if (call === undefined) return;
		if ("error" in message) {
			const error = new RondoError(message.error.code, message.error.message, { details: message.error.details });
			if (message.error.stack !== undefined) error.stack = message.error.stack;
			call.reject(error);
		} else {
			call.resolve(message.value);
		}
	});
	worker.on("error", (cause) =>
		die(new RondoError("INTERNAL", `worker ${entry.pathname.split("/").pop()} died: ${String(cause)}`, { cause })),
	);
	worker.on("exit", (exitCode) => die(new RondoError("INTERNAL", `worker ${entry.pathname.split("/").pop()} exited with ${exitCode}`)));

	const send = (method: string, args: readonly unknown[]): Promise<unknown> => {
		if (dead !== undefined) return Promise.reject(dead);
		return new Promise((resolve, reject) => {
			const id = nextId++;
			pending.set(id, { resolve, reject });
			const transfer = args.filter((argument): argument is ArrayBuffer => argument instanceof ArrayBuffer);
			worker.postMessage({ id, method, args } satisfies Call, transfer);
		});
	};
	const call = new Proxy({} as Remote<M>, {
		// `then` must stay undefined, or awaiting the proxy would call it.
		get: (_target, name) => (typeof name === "string" && name !== "then" ? (...args: unknown[]) => send(name, args) : undefined),
	});
	return {
		call,
		async terminate() {
			die(new RondoError("UNAVAILABLE", "the worker was stopped"));
			await worker.terminate();
		},
	};
}
