import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readExperiment } from "./read-experiment.js";

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "rondo-experiment-"));
});
afterAll(() => rm(folder, { recursive: true }));

const BASE = `dataset: digits
model: { kind: mlp, hidden: [8] }
clients: 4
rounds: 2
strategies: [fedavg]
`;
async function read(text: string) {
	const file = join(folder, "experiment.yaml");
	await writeFile(file, text);
	return readExperiment(file);
}

describe("an experiment file", () => {
	it("is short where the defaults do", async () => {
		const { experiment } = await read(BASE);
		expect(experiment.cells).toEqual([
			{
				name: "fedavg-seed1",
				settingLabel: "",
				seed: 1,
				strategy: { name: "fedavg", label: "fedavg", options: {} },
				setting: {
					dataset: { kind: "digits", trainExamples: 0, testExamples: 0 },
					partition: { kind: "iid" },
					model: { kind: "mlp", hidden: [8], bias: true },
					trainer: { kind: "onnx", device: "cpu" },
					clients: 4,
					rounds: 2,
					options: {},
					adversaries: [],
					behaviour: {},
					maxReplans: 3,
					evaluateEvery: 1,
					metrics: { last: 1 },
				},
			},
		]);
		expect(experiment.about).toEqual({ title: "experiment" });
	});

	it("multiplies strategies, seeds and the grid out", async () => {
		const { experiment } = await read(`${BASE.replace("[fedavg]", "[fedavg, { name: fedprox, label: µ = 1, options: { mu: 1 } }]")}seeds: 3
partition: { kind: dirichlet, alpha: 1 }
grid:
  partition.alpha: [0.1, 100]
  adversaries:
    - { label: nobody, value: [] }
    - { label: a fifth flips, value: [{ share: 0.25, kind: sign-flip, scale: 2 }] }
`);
		expect(experiment.settings.map(({ label }) => label)).toEqual([
			"alpha=0.1, nobody",
			"alpha=0.1, a fifth flips",
			"alpha=100, nobody",
			"alpha=100, a fifth flips",
		]);
		expect(experiment.cells).toHaveLength(4 * 2 * 3);
		expect(experiment.cells.map(({ name }) => name).slice(2, 5)).toEqual([
			"alpha-0.1-nobody-fedavg-seed3",
			"alpha-0.1-nobody-1-seed1",
			"alpha-0.1-nobody-1-seed2",
		]);
		const { setting } = experiment.cells.at(-1)!;
		expect(setting.partition).toEqual({ kind: "dirichlet", alpha: 100, minPerClient: 1 });
		expect(setting.adversaries).toEqual([{ share: 0.25, attacks: [{ kind: "sign-flip", scale: 2 }] }]);
	});

	it("finds the line of what only the grid sets", async () => {
		const { document } = await read(
			`${BASE}grid:\n  partition.alpha: [1]\n  adversaries:\n    - []\n`.replace(
				"clients: 4\n",
				"clients: 4\npartition: { kind: dirichlet, alpha: 2 }\n",
			),
		);
		expect(document.refusal(["adversaries", 0], "no").message).toMatch(/^experiment\.yaml:10: adversaries\[0\] no/);
		expect(document.refusal(["partition", "alpha"], "no").message).toMatch(/^experiment\.yaml:4: /);
		expect(document.refusal(["behaviour"], "no").message).toMatch(/^experiment\.yaml:1: /);
	});

	it("has strategies of files of its own, beside it", async () => {
		await writeFile(
			join(folder, "own.mjs"),
			`export const strategies = [{ name: "own", version: 1, finish() {}, schema: { type: "object" } }];`,
		);
		const { experiment, registry } = await read(BASE.replace("[fedavg]", "[fedavg, ./own.mjs]"));
		expect(experiment.strategies.map(({ name }) => name)).toEqual(["fedavg", "own"]);
		expect(experiment.modules).toEqual([new URL(`file://${join(folder, "own.mjs")}`).href]);
		expect(registry.strategy("own").version).toBe(1);
	});

	it.each<[string, string, string, RegExp]>([
		["an unknown field", `${BASE}round: 3\n`, "UNKNOWN_OPTION", /^experiment\.yaml:6: round is not known here; known are about, dataset,/],
		["a missing field", BASE.replace("rounds: 2\n", ""), "INVALID_ARGUMENT", /^experiment\.yaml:1: the experiment lacks rounds/],
		[
			"a value out of range",
			BASE.replace("clients: 4", "clients: 0"),
			"INVALID_ARGUMENT",
			/^experiment\.yaml:3: clients must be >= 1, got 0/,
		],
		[
			"an unknown kind",
			BASE.replace("digits", "digit"),
			"INVALID_ARGUMENT",
			/:1: dataset\.kind must be one of digits, mnist, text, module, got "digit"/,
		],
		[
			"an unknown field of a part",
			BASE.replace("hidden: [8]", "hiden: [8]"),
			"UNKNOWN_OPTION",
			/:2: model\.hiden is not known here; known are hidden, bias/,
		],
		["a missing field of a part", `${BASE}partition: dirichlet\n`, "INVALID_ARGUMENT", /:6: partition lacks alpha/],
		["a wrong value deep inside", BASE.replace("[8]", "[8, -1]"), "INVALID_ARGUMENT", /:2: model\.hidden\[1\] must be >= 1, got -1/],
		[
			"a choice",
			`${BASE}trainer:\n  kind: onnx\n  device: gpu\n`,
			"INVALID_ARGUMENT",
			/:8: trainer\.device must be one of cpu, auto, cuda, .*, got "gpu"/,
		],
		[
			"an unknown strategy",
			BASE.replace("[fedavg]", "\n  - fedavg\n  - fedwhat"),
			"UNKNOWN_STRATEGY",
			/:7: no strategy is named "fedwhat"/,
		],
		[
			"two strategies of one label",
			BASE.replace("[fedavg]", "[fedavg, fedavg]"),
			"INVALID_ARGUMENT",
			/two entries labelled "fedavg"; give them labels/,
		],
		[
			"a strategy file that is not there",
			BASE.replace("[fedavg]", "[./absent.mjs]"),
			"INVALID_ARGUMENT",
			/:5: strategies: cannot load file:.*absent\.mjs/,
		],
		[
			"an attack that is malformed",
			`${BASE}adversaries:\n  - { count: 1, kind: label-flip, from: 1, to: 1 }\n`,
			"INVALID_ARGUMENT",
			/:7: adversaries\[0\]\.attacks\[0\]\.to must be another class/,
		],
		[
			"a group without a size",
			`${BASE}adversaries: [{ kind: noise }]\n`,
			"INVALID_ARGUMENT",
			/:6: adversaries\[0\] must have either a count or a share/,
		],
		[
			"a grid of something unknown",
			`${BASE}grid:\n  partition.beta: [1]\n`,
			"UNKNOWN_OPTION",
			/:7: grid\.partition\.beta is not known here/,
		],
		[
			"a goal without a bound",
			`${BASE}metrics: { reach: { metric: loss } }\n`,
			"INVALID_ARGUMENT",
			/:6: metrics\.reach must have either atLeast or atMost/,
		],
		[
			"a goal with two bounds",
			`${BASE}metrics: { reach: { metric: loss, atLeast: 1, atMost: 2 } }\n`,
			"INVALID_ARGUMENT",
			/:6: metrics\.reach must have either atLeast or atMost/,
		],
		[
			"a figure of an unknown strategy",
			`${BASE}about: { title: t, result: "{fedavg} and {fedwhat | loss}" }\n`,
			"INVALID_ARGUMENT",
			/:6: about\.result names \{fedwhat \| loss\}; strategies are: fedavg/,
		],
		[
			"a figure of an unknown setting",
			`${BASE}about: { title: t, text: "{clients=3 / fedavg}" }\ngrid: { clients: [2, 4] }\n`,
			"INVALID_ARGUMENT",
			/:6: about\.text names \{clients=3 \/ fedavg\}; settings are: clients=2; clients=4/,
		],
		[
			"a plot of an unknown setting",
			`${BASE}about: { title: t, plots: [{ metric: loss, axis: rounds, settings: [all] }] }\ngrid: { clients: [2, 4] }\n`,
			"INVALID_ARGUMENT",
			/:6: about\.plots\[0\]\.settings names "all"; the grid has: clients=2; clients=4/,
		],
		["a grid of strategies", `${BASE}grid:\n  strategies: [fedavg]\n`, "INVALID_ARGUMENT", /:7: grid\.strategies cannot vary strategies/],
		["a wrong value in the grid", `${BASE}grid:\n  clients: [2, 0]\n`, "INVALID_ARGUMENT", /:7: grid\.clients must be >= 1, got 0/],
		[
			"a distribution of two kinds",
			`${BASE}behaviour:\n  latencyMs: { exponential: { mean: 1 }, uniform: [1, 2] }\n`,
			"INVALID_ARGUMENT",
			/:7: behaviour\.latencyMs must NOT have more than 1 properties/,
		],
		["a key that comes twice", `${BASE}rounds: 3\n`, "INVALID_ARGUMENT", /:6: is not YAML: Map keys must be unique/],
		["what is not YAML", "dataset: [", "INVALID_ARGUMENT", /^experiment\.yaml:1: is not YAML/],
		["a list", "- 1\n", "INVALID_ARGUMENT", /the experiment must be a map of fields/],
	])("with %s is refused by line", async (_what, text, code, message) => {
		await expect(read(text)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
	});
});
