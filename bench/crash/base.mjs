import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { layoutOf, writeSafetensors } from "@rondo/tensors";
import { hexSeed } from "./pick.mjs";
import { Child, freePort } from "./processes.mjs";
import { Rest } from "./rest.mjs";
import { AGENTS, submissions } from "./scenarios.mjs";

/** Parameters of the models; a lane of the large one takes more than 32 KiB and so travels as a blob. */
const SIZES = { small: 64, large: 12_000 };
/** Known beforehand, so that copies need no file read. */
export const ADMIN_TOKEN = "bench-admin-token-0123456789";

/** What a coordinator in `folder` is started with. */
export const coordinatorFlags = (folder, ports, databaseFlags) => ({
	dataDir: join(folder, "coordinator"),
	restPort: ports.rest,
	grpcPort: ports.grpc,
	logLevel: "warn",
	adminToken: ADMIN_TOKEN,
	reserveBytes: 0,
	...databaseFlags,
});

/** What agent `index` in `folder` is started with. */
export const agentOptions = (folder, ports, seed, index) => ({
	index,
	address: `127.0.0.1:${ports.grpc}`,
	stateDir: join(folder, `agent-${index}`),
	deviceKey: hexSeed("device", seed, index),
	receiptsFile: join(folder, `receipts-${index}.jsonl`),
	late: false,
});

/**
 * Makes a folder with everything that the runs begin with: enrolled agents, models, submitted runs. Each run works on a
 * copy, so that run id, client ids, seeds and device keys, and with them every task, are the same.
 */
export async function makeBase({ folder, rounds, seed, databases }) {
	await mkdir(folder, { recursive: true });
	const ports = { rest: await freePort(), grpc: await freePort() };
	const argument = {
		flags: coordinatorFlags(folder, ports, databases.flags("base")),
		kill: null,
		mutation: "none",
		frozenFile: join(folder, "frozen.jsonl"),
	};
	const coordinator = new Child(new URL("./coordinator.mjs", import.meta.url), argument);
	const agents = [];
	try {
		await coordinator.message("ready");
		const rest = new Rest(`http://127.0.0.1:${ports.rest}`, ADMIN_TOKEN);
		const { secret } = await rest.post("/tokens", { name: "agents", scope: "enrol", maxUses: AGENTS });
		for (let index = 0; index < AGENTS; index++) {
			const options = { ...agentOptions(folder, ports, seed, index), token: secret };
			agents.push(new Child(new URL("./agent.mjs", import.meta.url), options));
		}
		await Promise.all(agents.map((agent) => agent.message("connected")));
		for (const [name, length] of Object.entries(SIZES)) {
			const layout = layoutOf([{ name: "x", shape: [length] }]);
			await rest.importModel(name, layout, writeSafetensors(layout, new Float32Array(length)));
		}
		for (const submission of submissions(rounds)) {
			const seeds = { publicSeed: hexSeed("public", seed, submission.name), secretSeed: hexSeed("secret", seed, submission.name) };
			await rest.post("/runs", { ...submission, ...seeds });
		}
	} finally {
		await Promise.all(agents.map((agent) => agent.kill("SIGTERM")));
		await coordinator.kill("SIGTERM");
	}
}
