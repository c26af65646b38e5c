import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ClientEvents, type ClientOptions, connect, type RondoClient } from "@rondo/client";
import { afterEach } from "vitest";
import { FakeCoordinator } from "./fake-coordinator.js";

const undo: (() => unknown)[] = [];

afterEach(async () => {
	for (const step of undo.splice(0).reverse()) await step();
});

/** A running fake that stops with the test. */
export async function coordinator(prepare: (fake: FakeCoordinator) => void = () => {}): Promise<FakeCoordinator> {
	const fake = new FakeCoordinator();
	prepare(fake);
	await fake.start();
	undo.push(() => fake.stop());
	return fake;
}

/** A folder that goes with the test. */
export async function folder(): Promise<string> {
	const dir = await mkdtemp(join(tmpdir(), "rondo-client-"));
	undo.push(() => rm(dir, { recursive: true, force: true }));
	return dir;
}

/** URL of a file in test/fixtures. */
export const fixture = (name: string): URL => new URL(`./fixtures/${name}`, import.meta.url);

/** Options that suit tests: short waits, the fixtures as workload and strategies. */
export const options = (fake: FakeCoordinator, stateDir: string, more: Partial<ClientOptions> = {}): ClientOptions => ({
	stateDir,
	address: fake.address,
	enrolmentToken: "token",
	name: "ada",
	workload: fixture("workload.js"),
	workloadOptions: { examples: 12 },
	strategies: [fixture("strategies.js")],
	reconnect: { minMs: 5, maxMs: 50 },
	...more,
});

/** A client that is connected and closes with the test. */
export async function client(fake: FakeCoordinator, stateDir: string, more: Partial<ClientOptions> = {}): Promise<RondoClient> {
	const made = await connect(options(fake, stateDir, more));
	undo.push(() => made.close());
	await next(made, "connected");
	return made;
}

/** The next event of this name. */
export async function next<E extends keyof ClientEvents>(emitter: RondoClient, event: E): Promise<ClientEvents[E][0]> {
	const [payload] = (await once(emitter as unknown as NodeJS.EventEmitter, event)) as ClientEvents[E];
	return payload;
}
