// Bytes on the wire per client and round, for every strategy on one model: `npm run bench:bytes`, after a build. A coordinator
// process and SDK clients behind a proxy that counts; what the coordinator stores with its rounds has to agree with the proxy, or
// the command fails. `--write FILE` puts the table into the generated part of a Markdown file.
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { connect } from "@rondo/client";
import { randomFromSeed } from "@rondo/kernels";
import { writeSafetensors } from "@rondo/tensors";
import { mlp } from "@rondo/trainer-onnx";
import { ADMIN_TOKEN, coordinatorFlags } from "../crash/base.mjs";
import { Child, freePort } from "../crash/processes.mjs";
import { Rest } from "../crash/rest.mjs";
import { CASES } from "./cases.mjs";
import { startCountingProxy } from "./proxy.mjs";

const { values } = parseArgs({
	options: {
		case: { type: "string", multiple: true },
		clients: { type: "string", default: "4" },
		rounds: { type: "string", default: "4" },
		hidden: { type: "string", default: "400,400" },
		write: { type: "string" },
	},
});
const [clientCount, rounds] = [Number(values.clients), Number(values.rounds)];
const hidden = values.hidden.split(",").map(Number);
const cases = CASES.filter(({ label }) => values.case === undefined || values.case.some((text) => label.includes(text)));
const folder = await mkdtemp(join(tmpdir(), "rondo-bytes-"));
const SETTLE_MS = 700;

const model = mlp({ inputs: 64, hidden, classes: 10 });
const ports = { rest: await freePort(), grpc: await freePort() };
const coordinator = new Child(new URL("../crash/coordinator.mjs", import.meta.url), {
	flags: coordinatorFlags(folder, ports, {}),
	kill: null,
	mutation: "none",
	frozenFile: join(folder, "frozen.jsonl"),
});
const clients = [];
const proxy = await startCountingProxy(`127.0.0.1:${ports.grpc}`);

/** Sums that the coordinator stores, once two readings agree: counts are written in batches. */
async function settledRounds(rest, run) {
	for (let before = ""; ; await delay(SETTLE_MS)) {
		const rows = (await rest.list(`/runs/${run}/rounds?kind=train`)).sort((a, b) => a.round - b.round);
		const now = JSON.stringify(rows.map(({ bytesUp, bytesDown }) => [bytesUp, bytesDown]));
		if (now === before) return rows;
		before = now;
	}
}

async function measured(rest, { label, strategy, options, cohort = true }) {
	const before = { ...proxy.counted };
	const { run, cost } = await rest.post("/runs", {
		model: "model",
		strategy,
		rounds,
		minClients: clientCount,
		waitForClientsMs: 600_000,
		options: { quorum: clientCount, ...(cohort ? { cohortSize: clientCount } : {}), ...options },
	});
	for (let phase = "created"; phase !== "completed"; await delay(50)) {
		({ phase } = await rest.get(`/runs/${run.id}`));
		if (phase === "failed" || phase === "stopped")
			throw new Error(`${label}: the run ${phase}: ${(await rest.get(`/runs/${run.id}`)).reason}`);
	}
	const stored = await settledRounds(rest, run.id);
	const total = (field) => stored.reduce((sum, row) => sum + row[field], 0);
	const wire = { up: proxy.counted.up - before.up, down: proxy.counted.down - before.down };
	// Heartbeats, acknowledgements and HTTP/2 frames pass the proxy too.
	const apart = Math.max(
		Math.abs(wire.up - total("bytesUp")) - 0.05 * wire.up,
		Math.abs(wire.down - total("bytesDown")) - 0.05 * wire.down,
	);
	if (apart > 20_000)
		throw new Error(`${label}: stored ${total("bytesUp")} up and ${total("bytesDown")} down, on the wire ${wire.up} and ${wire.down}`);
	const each = (row, field) => Math.round(row[field] / clientCount);
	const later = stored.slice(1);
	const most = (field) => Math.max(...later.map((row) => each(row, field)));
	return {
		label,
		up: most("bytesUp"),
		down: most("bytesDown"),
		firstDown: each(stored[0], "bytesDown"),
		limit: cost.task + cost.download + cost.report,
		payload: cost,
		wire: (wire.up + wire.down) / (total("bytesUp") + total("bytesDown")),
	};
}

try {
	await coordinator.message("ready");
	const rest = new Rest(`http://127.0.0.1:${ports.rest}`, ADMIN_TOKEN);
	const { secret } = await rest.post("/tokens", { name: "bytes", scope: "enrol", maxUses: clientCount });
	for (let index = 0; index < clientCount; index++) {
		clients.push(
			await connect({
				address: proxy.address,
				stateDir: join(folder, `client-${index}`),
				enrolmentToken: secret,
				name: `client-${index}`,
				tls: false,
				workload: new URL("./workload.mjs", import.meta.url),
				workloadOptions: { index, clients: clientCount },
			}),
		);
	}
	const { layout, manifest } = model;
	await rest.importModel("model", layout, writeSafetensors(layout, model.initialWeights(randomFromSeed("bench/bytes"))), manifest);
	const rows = [];
	for (const one of cases) {
		rows.push(await measured(rest, one));
		const { label, up, down } = rows.at(-1);
		console.log(`${label}: ${up} up, ${down} down`);
	}
	const dense = 8 * layout.length;
	const number = (value) => value.toLocaleString("en-US");
	const table = [
		"| Strategy | up | down | both, of float32 FedAvg's payload | first round, down | limit at submission | on the socket / counted |",
		"| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
		...rows.map(({ label, up, down, firstDown, limit, wire }) => {
			const share = ((100 * (up + down)) / dense).toPrecision(3);
			return `| ${label} | ${number(up)} | ${number(down)} | ${share} % | ${number(firstDown)} | ${number(limit)} | ${wire.toFixed(3)} |`;
		}),
	];
	const title = `Dense network 64-${hidden.join("-")}-10, ${number(layout.length)} weights; ${clientCount} clients, all in each of ${rounds} rounds; bytes per client and round.`;
	console.log(`\n${title}\n\n${table.join("\n")}`);
	if (values.write !== undefined) {
		const page = await readFile(values.write, "utf8");
		const marks = /(?<=<!-- begin generated -->\n)[\s\S]*?(?=<!-- end generated -->)/;
		if (!marks.test(page)) throw new Error(`${values.write} has no generated part`);
		await writeFile(values.write, page.replace(marks, `\n${title}\n\n${table.join("\n")}\n\n`));
	}
} finally {
	await Promise.all(clients.map((client) => client.close()));
	await proxy.close();
	await coordinator.kill("SIGTERM");
	await rm(folder, { recursive: true, force: true });
}
