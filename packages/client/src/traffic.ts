import type { ConnectRequest, ConnectResponse } from "@rondo/protocol";

/** Serialized messages, bytes; gRPC, TLS and TCP framing is not in it. */
export interface Bytes {
	readonly bytesUp: number;
	readonly bytesDown: number;
}

/** Called with the size of each message that a call sends ("up") or receives ("down"). */
export type Count = (direction: "up" | "down", bytes: number) => void;

// Tasks whose receipt never comes must not be counted forever.
const MAX_TASKS = 2048;

/** Counts bytes, in total and by task. */
export class Traffic {
	readonly #tasks = new Map<string, { up: number; down: number }>();
	readonly #total = { up: 0, down: 0 };

	get total(): Bytes {
		return { bytesUp: this.#total.up, bytesDown: this.#total.down };
	}

	/** A counter for the calls of one task, or of none. */
	counter(taskId?: string): Count {
		return (direction, bytes) => {
			this.#total[direction] += bytes;
			if (taskId === undefined) return;
			let counts = this.#tasks.get(taskId);
			if (counts === undefined) {
				counts = { up: 0, down: 0 };
				this.#tasks.set(taskId, counts);
				if (this.#tasks.size > MAX_TASKS) this.#tasks.delete(this.#tasks.keys().next().value!);
			}
			counts[direction] += bytes;
		};
	}

	/** Ends the count of a task. */
	take(taskId: string): Bytes {
		const counts = this.#tasks.get(taskId) ?? { up: 0, down: 0 };
		this.#tasks.delete(taskId);
		return { bytesUp: counts.up, bytesDown: counts.down };
	}
}

/** The task that a message of the stream belongs to. */
export function taskOf(message: ConnectRequest["message"] | ConnectResponse["message"]): Uint8Array | undefined {
	switch (message?.$case) {
		case "offer":
			return message.offer.taskId;
		case "cancel":
			return message.cancel.taskId;
		case "receipt":
			return message.receipt.taskId;
		case "decline":
			return message.decline.taskId;
		case "submit":
			return message.submit.taskId;
		case "progress":
			return message.progress.taskId;
		default:
			return undefined;
	}
}
