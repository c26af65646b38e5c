import { type Coordinator, startCoordinator } from "./compose.js";
import type { CoordinatorConfig } from "./config/schema.js";

/**
 * Runs a coordinator until `stop` aborts, then closes it in order. A stop during the start takes effect after it.
 * `onReady` is called when both services listen.
 * @throws what kept it from starting, or why it had to end by itself (FENCED, FOLDER_LOCKED, a worker that died)
 */
export async function serve(config: CoordinatorConfig, stop: AbortSignal, onReady: (coordinator: Coordinator) => void): Promise<void> {
	const coordinator = await startCoordinator(config);
	let reason: Error | undefined;
	try {
		onReady(coordinator);
		reason = await Promise.race([aborted(stop), coordinator.failed]);
	} finally {
		await coordinator.close();
	}
	if (reason !== undefined) throw reason;
}

const aborted = (signal: AbortSignal): Promise<undefined> =>
	new Promise((resolve) => {
		if (signal.aborted) resolve(undefined);
		else signal.addEventListener("abort", () => resolve(undefined), { once: true });
	});
