import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { randomFromSeed } from "@rondo/kernels";
import { exportOnnx, mlp } from "@rondo/trainer-onnx";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CellResult } from "../src/simulate/cell.js";
import { rondo, Workshop } from "./rondo.js";

const EXPERIMENT = `dataset: { kind: digits, trainExamples: 300, testExamples: 100 }
partition: { kind: dirichlet, alpha: 0.5 }
model: mlp
clients: 6
rounds: 3
seeds: 2
strategies:
  - fedavg
  - { name: fedkseed, options: { candidates: 32, localSteps: 5 } }
options: { cohortSize: 4, learningRate: 0.05 }
`;

let workshop: Workshop;
beforeAll(async () => {
	workshop = await Workshop.open();
});
afterAll(() => workshop.close());

async function fileOf(name: string, text: string): Promise<string> {
	const file = join(workshop.dir, name);
	await writeFile(file, text);
	return file;
}
const cellsIn = async (out: string): Promise<Map<string, CellResult>> =>
	new Map(
		await Promise.all(
			(await readdir(join(out, "cells"))).map(
				async (file) => [file, JSON.parse(await readFile(join(out, "cells", file), "utf8")) as CellResult] as const,
			),
		),
	);
const events = (stdout: string) => stdout.split("\n").map((line) => JSON.parse(line) as Record<string, unknown> & { event: string });
/** What does not depend on the machine. */
const numbers = (cells: Map<string, CellResult>) =>
	[...cells].sort().map(([name, { rounds, stateDigest, modelDigest, digest }]) => [name, rounds, stateDigest, modelDigest, digest]);

describe("rondo simulate", () => {
	it("runs every cell, writes results and plots; one thread or two make no difference, and a second run computes nothing", async () => {
		const file = await fileOf("first.yaml", EXPERIMENT);
		const [one, two] = [join(workshop.dir, "one"), join(workshop.dir, "two")];
		const first = await rondo(["simulate", file, "--out", one, "--threads", "1", "--format", "json"]);
		expect({ code: first.code, stderr: first.stderr }).toEqual({ code: 0, stderr: "" });
		expect(events(first.stdout).map(({ event }) => event)).toEqual(["experiment", "cell", "cell", "cell", "cell", "results"]);
		expect((await rondo(["simulate", file, "--out", two, "--threads", "2"])).code).toBe(0);
		expect(numbers(await cellsIn(two))).toEqual(numbers(await cellsIn(one)));
		const page = await readFile(join(one, "results.md"), "utf8");
		expect(page).toMatch(/\| fedavg \| 0\.\d{4} ± /);
		for (const [, plot] of page.matchAll(/\]\((plots\/[^)]+)\)/g)) expect(await readFile(join(one, plot!), "utf8")).toMatch(/^<svg /);
		const before = await cellsIn(one);
		const again = await rondo(["simulate", file, "--out", one]);
		expect(again.stdout).toMatch(/^4 cells, 4 finished before; /);
		expect(await cellsIn(one)).toEqual(before);
	});

	it("notices a changed experiment, and runs again what it changes", async () => {
		const out = join(workshop.dir, "changed");
		const file = await fileOf("changed.yaml", EXPERIMENT);
		expect((await rondo(["simulate", file, "--out", out, "--only", "fedavg-seed1", "--only", "fedkseed-seed1"])).code).toBe(0);
		expect([...(await cellsIn(out)).keys()].sort()).toEqual(["fedavg-seed1.json", "fedkseed-seed1.json"]);
		await writeFile(file, EXPERIMENT.replace("localSteps: 5", "localSteps: 6"));
		const { stdout } = await rondo(["simulate", file, "--out", out, "--format", "json"]);
		expect(events(stdout)[0]).toMatchObject({ cells: 4, finished: 1, changed: 1 });
		expect(
			events(stdout)
				.filter(({ event }) => event === "cell")
				.map(({ name }) => name),
		).toEqual(["fedavg-seed2", "fedkseed-seed1", "fedkseed-seed2"]);
	});

	it("ends at Ctrl-C with what is finished, and goes on from there", async () => {
		const out = join(workshop.dir, "interrupted");
		const file = await fileOf("long.yaml", EXPERIMENT.replace("rounds: 3", "rounds: 40"));
		const running = workshop.start(["simulate", file, "--out", out, "--format", "json"]);
		await running.event("cell");
		const { code, stderr } = await running.signal("SIGINT");
		expect(code).toBe(130);
		expect(stderr).toContain("interrupted; the same command goes on with the cells that are not in");
		const finished = [...(await cellsIn(out)).values()].map(({ name }) => name);
		expect(finished.length).toBeGreaterThanOrEqual(1);
		expect(finished.length).toBeLessThan(4);
		await writeFile(file, EXPERIMENT.replace("rounds: 3", "rounds: 40").replace("seeds: 2", "seeds: [1]"));
		const { stdout } = await rondo(["simulate", file, "--out", out, "--only", finished[0]!]);
		expect(stdout).toMatch(/^1 cells, 1 finished before; /);
	});

	it("has attackers and a world, and says what became of the reports", async () => {
		const file = await fileOf(
			"attacked.yaml",
			`${EXPERIMENT.replace("seeds: 2", "seeds: [7]")}adversaries: [{ count: 2, kind: sign-flip, scale: 3 }, { count: 1, kind: label-flip, shift: 1, classes: 10 }]
behaviour: { examplesPerSecond: { uniform: [10, 100] }, latencyMs: 100, dropout: 0.2 }
`,
		);
		const out = join(workshop.dir, "attacked");
		const { code, stderr } = await rondo(["simulate", file, "--out", out]);
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		expect(await readFile(join(out, "results.md"), "utf8")).toMatch(/Virtual seconds .* Unanswered tasks/);
	});

	it.each<[string, string, RegExp]>([
		[
			"an option that a strategy lacks",
			"options: { cohortSize: 4, mu: 1 }",
			/^error UNKNOWN_OPTION: refused\.yaml:10: fedavg has no option mu; it has: /,
		],
		[
			"a partition that does not fit",
			"options: {}\npartition: { kind: by-key }",
			/^error INVALID_ARGUMENT: refused\.yaml:10: partition by-key needs a dataset that says whose/,
		],
		[
			"an attack that is not possible",
			"options: {}\nadversaries: [{ count: 1, kind: reverse }]",
			/refused\.yaml:11: the attack reverse is not possible: .*fedavg has none/,
		],
		[
			"an attack that no header allows",
			"options: {}\nadversaries: [{ count: 1, kind: collude, send: sign-flip }]",
			/the attack collude is not possible: fedkseed reports a header/,
		],
	])("refuses %s before anything runs", async (_what, change, message) => {
		const text = EXPERIMENT.replace("options: { cohortSize: 4, learningRate: 0.05 }", change);
		const file = await fileOf(
			"refused.yaml",
			change.includes("partition") ? text.replace("partition: { kind: dirichlet, alpha: 0.5 }\n", "") : text,
		);
		const { code, stdout, stderr } = await rondo(["simulate", file, "--out", join(workshop.dir, "refused")]);
		expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
		expect(stderr).toMatch(message);
	});

	it("tries attacks before the first cell, whoever makes them later", async () => {
		// Lanes of a strategy that nothing signed in its header leads to.
		const strategy = `import { builtInStrategies } from "${new URL("../../../packages/algorithms/dist/index.js", import.meta.url).href}";
const fedkseed = builtInStrategies.find(({ name }) => name === "fedkseed");
const packed = ([candidates, gradients]) => [candidates, new Uint8Array(gradients.slice().buffer)];
const opened = ([candidates, bytes]) => [candidates, new Float32Array(bytes.slice().buffer)];
export const strategies = [{
	...fedkseed,
	name: "opaque",
	unpack: (header, plan, at) => fedkseed.unpack(opened(header), plan, at),
	train: async (task, client) => { const work = await fedkseed.train(task, client); return { ...work, header: packed(work.header) }; },
}];
`;
		await fileOf("opaque.mjs", strategy);
		const text = EXPERIMENT.replace(
			/strategies:[\s\S]*/,
			"strategies: [./opaque.mjs]\noptions: { candidates: 32, localSteps: 3, cohortSize: 2 }\n",
		);
		const file = await fileOf("opaque.yaml", `${text}adversaries: [{ count: 1, kind: sign-flip }]\n`);
		const { code, stdout, stderr } = await rondo(["simulate", file, "--out", join(workshop.dir, "opaque"), "--threads", "1"]);
		expect({ code, lines: stdout.split("\n").length }).toEqual({ code: 2, lines: 1 });
		expect(stderr).toMatch(
			/^error INVALID_ARGUMENT: opaque\.yaml:9: the attack sign-flip is not possible: no change of the numbers in the header of opaque/,
		);
	});

	it("trains a model file, part of it", async () => {
		const { manifest, layout, initialWeights } = mlp({ inputs: 64, hidden: [8], classes: 10 });
		const model = join(workshop.dir, "digits.onnx");
		await writeFile(model, exportOnnx(manifest, layout, initialWeights(randomFromSeed("file"))));
		const text = EXPERIMENT.replace(
			"model: mlp",
			"model: { kind: onnx, file: digits.onnx, loss: softmax-cross-entropy, freeze: [dense_0/*] }",
		);
		const out = join(workshop.dir, "model-file");
		const file = await fileOf("model-file.yaml", text);
		const { code, stderr } = await rondo(["simulate", file, "--out", out, "--threads", "1", "--only", "fedavg-seed1"]);
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		const [cell] = (await cellsIn(out)).values();
		expect(cell!.parameters).toBe(8 * 10 + 10);
		expect(cell!.rounds.at(-1)!.evaluation!.loss).toBeLessThan(cell!.rounds[0]!.evaluation!.loss!);
	});

	it("trains with TensorFlow.js on a dataset of the user's own", async () => {
		const own = await fileOf(
			"data.mjs",
			`export function load({ rows }) {
	const examples = (count) => ({
		inputs: Float32Array.from({ length: 2 * count }, (_, i) => (Math.floor(i / 2) % 2 === i % 2 ? 1 : 0)),
		labels: Int32Array.from({ length: count }, (_, i) => i % 2),
	});
	return { train: examples(rows), test: examples(10), keys: Array.from({ length: rows }, (_, i) => "writer" + (i % 3)), shape: { kind: "vector", inputs: 2, classes: 2 } };
}
`,
		);
		const text = `dataset: { kind: module, file: ${own}, options: { rows: 60 } }
partition: by-key
model: mlp
trainer: { kind: tfjs, backend: cpu }
clients: 3
rounds: 4
strategies: [fedavg]
options: { cohortSize: 3, learningRate: 1 }
`;
		const out = join(workshop.dir, "own-data");
		const { code, stderr } = await rondo(["simulate", await fileOf("own.yaml", text), "--out", out, "--threads", "1"]);
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		const [cell] = (await cellsIn(out)).values();
		expect(cell!.rounds.at(-1)!.evaluation!.accuracy).toBe(1);
	});
});
