// What Ferret's options are worth: `npm run bench:ferret [-- --seeds 1,2,3]`, after a build. Softmax regression on the digits of
// UCI, 650 weights, ten clients by Dirichlet(0.5), five a round, ten steps of 32 examples with learning rate 0.1. All 4,096
// structured bases give changes back exactly: the first row of each group is FedAvg.
import { parseArgs } from "node:util";
import { builtInStrategies } from "@rondo/algorithms";
import { digits, PARAMETERS } from "../digits/digits.mjs";

const ferret = builtInStrategies.find(({ name }) => name === "ferret");
const base = { cohortSize: 5, quorum: 5, learningRate: 0.1, batchSize: 32, localSteps: 10, blocks: "one" };
const GROUPS = [
	[20, [{ bases: 4096 }, { bases: 512 }, { bases: 128 }, { bases: 32 }, { bases: 32, noise: "noise/1" }, { bases: 32, rescale: "norm" }]],
	[22, [{ bases: 4096 }, { bases: 32 }]],
	[
		40,
		[
			{ bases: 4096 },
			{ bases: 32 },
			{ bases: 32, scalars: "f16" },
			{ bases: 32, scalars: "byte" },
			{ bases: 32, noise: "noise/1" },
			{ bases: 32, rescale: "norm" },
			{ bases: 32, rescale: "norm", serverLearningRate: 3 },
		],
	],
];
const { values } = parseArgs({ options: { seeds: { type: "string", default: "1,2,3" } } });
const seeds = values.seeds.split(",").map(Number);

console.log(`${PARAMETERS} weights, ${4 * PARAMETERS} bytes; accuracy by seed ${seeds.join(", ")}; bytes per client and round with frames`);
console.log("rounds  up     down    accuracy             options");
for (const [rounds, rows] of GROUPS) {
	for (const options of rows) {
		const runs = [];
		for (const seed of seeds) runs.push(await digits(ferret, { seed, rounds, options: { ...base, ...options } }));
		const bytes = (field) => String(Math.round(runs.reduce((sum, run) => sum + run[field], 0) / (seeds.length * rounds * base.cohortSize)));
		const accuracies = runs.map(({ accuracy }) => accuracy.toFixed(3)).join(" ");
		console.log(
			`${String(rounds).padEnd(8)}${bytes("bytesUp").padEnd(7)}${bytes("bytesDown").padEnd(8)}${accuracies.padEnd(21)}${JSON.stringify(options)}`,
		);
	}
}
