import { connect, createServer, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** A TCP proxy that counts what passes. */
export interface CountingProxy {
	readonly address: string;
	/** Bytes from clients, and to them, so far. */
	readonly counted: { up: number; down: number };
}

/** Starts a proxy in front of `target` (host:port); it is gone after the test. */
export async function startCountingProxy(target: string): Promise<CountingProxy> {
	const [host, port] = target.split(":");
	const counted = { up: 0, down: 0 };
	const sockets = new Set<Socket>();
	const server = createServer((near) => {
		const far = connect(Number(port), host);
		const join = (from: Socket, to: Socket, direction: "up" | "down"): void => {
			sockets.add(from);
			from.on("data", (chunk) => {
				counted[direction] += chunk.length;
			});
			from.on("error", () => to.destroy());
			from.on("close", () => to.destroy());
			from.pipe(to);
		};
		join(near, far, "up");
		join(far, near, "down");
	});
	await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
	onTestFinished(async () => {
		for (const socket of sockets) socket.destroy();
		await new Promise((resolve) => server.close(resolve));
	});
	const bound = server.address();
	if (bound === null || typeof bound === "string") throw new Error("the proxy has no port");
	return { address: `127.0.0.1:${bound.port}`, counted };
}
