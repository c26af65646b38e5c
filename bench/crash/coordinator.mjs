// A coordinator that kills itself: the production composition with the two hooks that it has for tests.
import { loadConfig, startCoordinator } from "@rondo/coordinator";
import { storeWrapper } from "./mutations.mjs";

const { flags, kill, mutation, frozenFile } = JSON.parse(process.argv[2]);

const hits = new Map();
const ask = (message) =>
	new Promise((resolve) => {
		process.once("message", resolve);
		process.send(message);
	});

/** @type {import("@rondo/coordinator").Instruments["checkpoint"]} */
const checkpoint = async (name) => {
	const hit = (hits.get(name) ?? 0) + 1;
	hits.set(name, hit);
	if (kill?.point !== name || kill.hit !== hit) return;
	// A receipt takes its time through the sockets; dying before it left would be dying at another point.
	await ask({ type: "at", point: name, hit });
	process.kill(process.pid, "SIGKILL");
	await new Promise(() => {});
};

const config = loadConfig({ env: {}, flags });
const coordinator = await startCoordinator(config, {
	checkpoint,
	wrapStore: storeWrapper({ mutation, dataDir: config.dataDir, frozenFile }),
});
process.once("SIGTERM", () => void coordinator.close().then(() => process.exit(0)));
process.once("disconnect", () => process.exit(1));
void coordinator.failed.then((error) => {
	process.stderr.write(`${error.code}: ${error.message}\n`);
	process.exit(1);
});
process.send({ type: "ready" });
