import { connect, createServer } from "node:net";

/** Starts a TCP proxy in front of `host:port` that counts what passes, in bytes. */
export async function startCountingProxy(target) {
	const [host, port] = target.split(":");
	const counted = { up: 0, down: 0 };
	const sockets = new Set();
	const server = createServer((near) => {
		const far = connect(Number(port), host);
		for (const [from, to, direction] of [
			[near, far, "up"],
			[far, near, "down"],
		]) {
			sockets.add(from);
			from.on("data", (chunk) => {
				counted[direction] += chunk.length;
			});
			from.on("error", () => to.destroy());
			from.on("close", () => to.destroy());
			from.pipe(to);
		}
	});
	await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
	return {
		address: `127.0.0.1:${server.address().port}`,
		counted,
		async close() {
			for (const socket of sockets) socket.destroy();
			await new Promise((resolve) => server.close(resolve));
		},
	};
}
