import { join } from "node:path";
import { type ClientOptions, connect, type RondoClient } from "@rondo/client";
import { onTestFinished } from "vitest";
import { type CoordinatorProcess, testFolder } from "./coordinator-process.js";

/** ½‖w − x‖², the workload of the crash test. */
export const WORKLOAD = new URL("../../../../bench/crash/workload.mjs", import.meta.url);

/** An SDK client in this process, with an empty state folder; closed when its test ends. */
export async function startClient(
	coordinator: Pick<CoordinatorProcess, "address">,
	token: string,
	index: number,
	more: Partial<ClientOptions> = {},
): Promise<RondoClient> {
	const client = await connect({
		address: coordinator.address,
		stateDir: join(await testFolder(), `client-${index}`),
		enrolmentToken: token,
		name: `client-${index}`,
		workload: WORKLOAD,
		workloadOptions: { index },
		reconnect: { minMs: 50, maxMs: 200 },
		...more,
	});
	onTestFinished(() => client.close());
	return client;
}
