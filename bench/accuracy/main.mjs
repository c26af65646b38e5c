// Accuracy that the README states: `npm run bench:accuracy [-- --strategy fedavg|fedkseed] [--seeds 1,2,3]`, after a build.
// Each line is one whole `rondo demo`: coordinator, ten agents and an evaluator as processes over gRPC.
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const CASES = {
	fedavg: { rounds: 10, least: 0.955, args: [] },
	fedprox: { rounds: 10, least: 0.95, args: [] },
	fedkseed: { rounds: 60, least: 0.82, args: [] },
};
const { values } = parseArgs({
	options: { strategy: { type: "string", multiple: true, default: ["fedavg", "fedkseed"] }, seeds: { type: "string", default: "1,2,3" } },
});
const rondo = fileURLToPath(new URL("../../apps/cli/bin/rondo.js", import.meta.url));

/** The summary event of one demo. */
async function demo(strategy, seed, { rounds, args }) {
	const dir = await mkdtemp(join(tmpdir(), "rondo-accuracy-"));
	const child = spawn(
		process.execPath,
		[
			rondo,
			"demo",
			"--format",
			"json",
			"--strategy",
			strategy,
			"--seed",
			seed,
			"--rounds",
			String(rounds),
			"--dir",
			join(dir, "demo"),
			...args,
		],
		{
			stdio: ["ignore", "pipe", "inherit"],
		},
	);
	let summary;
	for await (const line of createInterface({ input: child.stdout })) {
		const event = JSON.parse(line);
		if (event.event === "summary") summary = event;
		if (event.event === "round") process.stderr.write(`\r${strategy} seed ${seed}: round ${event.round}/${rounds}   `);
	}
	process.stderr.write("\n");
	await rm(dir, { recursive: true, force: true });
	if (summary === undefined) throw new Error(`the demo of ${strategy} with seed ${seed} ended without a summary`);
	return summary;
}

let failures = 0;
console.log("strategy  seed  rounds  accuracy  required  seconds  up/client/round  down/client/round  model");
for (const strategy of values.strategy) {
	const scenario = CASES[strategy];
	if (scenario === undefined) throw new Error(`--strategy ${strategy}: known are ${Object.keys(CASES).join(", ")}`);
	for (const seed of values.seeds.split(",")) {
		const { rounds, seconds, model } = await demo(strategy, seed, scenario);
		const last = rounds.at(-1);
		const accuracy = last.accuracy;
		const passed = accuracy >= scenario.least;
		if (!passed) failures += 1;
		// The first round holds the initial weights; the last one is what every further round costs.
		const most = (pick) => Math.max(...last.clients.map((client) => client[pick]));
		console.log(
			[
				strategy.padEnd(8),
				seed.padStart(5),
				String(rounds.length).padStart(7),
				accuracy.toFixed(4).padStart(9),
				scenario.least.toFixed(3).padStart(9),
				seconds.toFixed(0).padStart(8),
				`${most("up")} B`.padStart(16),
				`${most("down")} B`.padStart(18),
				` ${model.digest.slice(0, 16)}`,
				passed ? "" : "BELOW",
			].join(" "),
		);
	}
}
process.exit(failures === 0 ? 0 : 1);
