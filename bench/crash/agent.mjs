// One client process. It writes each receipt to a file, and syncs it, before it tells anybody.
import { fsyncSync, openSync, writeSync } from "node:fs";
import { connect } from "@rondo/client";

const { index, address, stateDir, token, deviceKey, receiptsFile, late } = JSON.parse(process.argv[2]);
const tell = (message) => process.connected && process.send?.(message);
const receipts = openSync(receiptsFile, "a");

let connections = 0;
/** Number of connections when a task was offered first. */
const offeredAt = new Map();
let onConnected = () => {};

const stop = new AbortController();
process.once("SIGTERM", () => stop.abort());
process.once("disconnect", () => stop.abort());

const client = await connect({
	address,
	stateDir,
	...(token === undefined ? {} : { enrolmentToken: token, name: `agent-${index}` }),
	deviceKey: Buffer.from(deviceKey, "hex"),
	tls: false,
	workload: new URL("./workload.mjs", import.meta.url),
	workloadOptions: { index },
	reconnect: { minMs: 50, maxMs: 300 },
	signal: stop.signal,
	shouldTrain: async ({ taskId }) => {
		if (!late) return true;
		if (!offeredAt.has(taskId)) offeredAt.set(taskId, connections);
		while (connections === offeredAt.get(taskId) && !stop.signal.aborted) {
			await new Promise((resolve) => {
				onConnected = resolve;
				stop.signal.addEventListener("abort", resolve, { once: true });
			});
		}
		return true;
	},
});
client.on("connected", () => {
	connections++;
	onConnected();
	tell({ type: "connected" });
});
client.on("receipt", ({ taskId, code, acceptedDigest }) => {
	if (code !== "ACCEPTED" && code !== "DUPLICATE") return;
	writeSync(receipts, `${JSON.stringify({ taskId, code, digest: acceptedDigest })}\n`);
	fsyncSync(receipts);
	tell({ type: "receipt", code });
});
await client.closed;
process.disconnect?.();
