import type { Socket } from "node:net";
import type { FastifyInstance } from "fastify";

/**
 * Lets a closing server end. Node waits for every connection: those that never sent anything (browsers open them in advance)
 * are cut at once, the others when `graceMs` are over.
 */
export function boundShutdown(app: FastifyInstance, graceMs: number): void {
	const sockets = new Set<Socket>();
	app.server.on("connection", (socket: Socket) => {
		sockets.add(socket);
		socket.once("close", () => sockets.delete(socket));
	});
	app.addHook("preClose", async () => {
		for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
		const cut = setTimeout(() => {
			for (const socket of sockets) socket.destroy();
		}, graceMs);
		app.server.once("close", () => clearTimeout(cut));
		cut.unref();
	});
}
