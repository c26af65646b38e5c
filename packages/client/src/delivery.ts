import { type RondoError, toRondoError } from "@rondo/errors";
import { digestBytes } from "@rondo/protocol";
import { Backoff, type BackoffOptions } from "./backoff.js";
import type { Connection } from "./connection.js";
import type { Outbox } from "./outbox.js";
import type { Traffic } from "./traffic.js";
import type { BlobTransfer } from "./transfer.js";

interface Item {
	/** "submitted" waits for a receipt, "later" for its timer. */
	state: "waiting" | "sending" | "submitted" | "later";
	readonly backoff: Backoff;
	timer?: NodeJS.Timeout;
}

/** What delivery works with. */
export interface DeliveryOptions {
	readonly outbox: Outbox;
	readonly transfer: BlobTransfer;
	readonly connection: Connection;
	readonly traffic: Traffic;
	readonly backoff: BackoffOptions;
	readonly signal: AbortSignal;
	onError(error: RondoError): void;
}

/**
 * Sends what is in the outbox: blobs first, then the report, once per connection until its receipt. It never removes
 * anything; the receipt does.
 */
export class Delivery {
	readonly #options: DeliveryOptions;
	readonly #items = new Map<string, Item>();
	#connected = false;
	#pumping = false;

	constructor(options: DeliveryOptions) {
		this.#options = options;
	}

	/** After Welcome: everything that has no receipt goes out again. */
	connected(): void {
		this.#connected = true;
		for (const taskId of this.#options.outbox.taskIds) {
			const item = this.#item(taskId);
			clearTimeout(item.timer);
			item.state = "waiting";
		}
		this.#pump();
	}

	disconnected(): void {
		this.#connected = false;
	}

	/** A report was added. */
	submit(taskId: string): void {
		this.#item(taskId).state = "waiting";
		this.#pump();
	}

	/** The coordinator wants it later. */
	retry(taskId: string): void {
		const item = this.#item(taskId);
		item.state = "later";
		clearTimeout(item.timer);
		item.timer = setTimeout(() => this.submit(taskId), item.backoff.next());
	}

	/** After a final receipt. */
	done(taskId: string): void {
		clearTimeout(this.#items.get(taskId)?.timer);
		this.#items.delete(taskId);
	}

	close(): void {
		this.#connected = false;
		for (const { timer } of this.#items.values()) clearTimeout(timer);
		this.#items.clear();
	}

	#item(taskId: string): Item {
		let item = this.#items.get(taskId);
		if (item === undefined) {
			item = { state: "waiting", backoff: new Backoff(this.#options.backoff) };
			this.#items.set(taskId, item);
		}
		return item;
	}

	#pump(): void {
		if (this.#pumping) return;
		this.#pumping = true;
		this.#drain().catch((error: unknown) => this.#options.onError(toRondoError(error)));
	}

	async #drain(): Promise<void> {
		const next = (): [string, Item] | undefined => [...this.#items].find(([, item]) => item.state === "waiting");
		try {
			for (let found = next(); found !== undefined && this.#connected; found = next()) await this.#send(...found);
		} finally {
			this.#pumping = false;
		}
	}

	async #send(taskId: string, item: Item): Promise<void> {
		const { outbox, transfer, traffic, connection, signal } = this.#options;
		const entry = outbox.get(taskId);
		if (entry === undefined) return this.done(taskId);
		item.state = "sending";
		const call = { signal, count: traffic.counter(taskId) };
		for (const blob of entry.blobs) {
			try {
				await transfer.upload(blob, taskId, call);
			} catch (cause) {
				const error = toRondoError(cause);
				if (signal.aborted) return;
				if (error.spec.retryable) return this.retry(taskId);
				// A final refusal (the task is over, the file is damaged): what becomes of the report, its receipt says.
				this.#options.onError(error);
			}
		}
		if (outbox.get(taskId) === undefined) return this.done(taskId);
		const report = await outbox.report(taskId);
		// Connected again meanwhile: the new connection has not seen it, and `send` goes there.
		const sent = connection.send({ $case: "submit", submit: { taskId: digestBytes(taskId), report } });
		item.state = sent ? "submitted" : "waiting";
		if (!sent) this.#connected = false;
	}
}
