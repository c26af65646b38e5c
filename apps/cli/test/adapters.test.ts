import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { randomFromSeed } from "@rondo/kernels";
import { readSafetensors, tensorOf } from "@rondo/tensors";
import { exportOnnx, mlp } from "@rondo/trainer-onnx";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Rondo, rondo, Workshop } from "./rondo.js";

// Adapters of a model whose frozen weights are too large for its description, from the ONNX file to PyTorch's files, with a
// coordinator and an agent as processes. One story: later tests use what earlier ones made.

let workshop: Workshop;
let serve: Rondo;
let ready: { readonly restUrl: string; readonly grpcAddress: string; readonly adminTokenFile: string };
let env: Record<string, string>;
let onnx: string;

const MODEL = mlp({ inputs: 784, hidden: [32], classes: 10 });
const START = MODEL.initialWeights(randomFromSeed("adapters"));

const json = async <T>(args: readonly string[]): Promise<T> => {
	const { code, stdout, stderr } = await rondo([...args, "--format", "json"], env);
	expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
	return JSON.parse(stdout) as T;
};

beforeAll(async () => {
	workshop = await Workshop.open();
	onnx = join(workshop.dir, "mlp.onnx");
	await writeFile(onnx, exportOnnx(MODEL.manifest, MODEL.layout, START));
	serve = workshop.start(
		["serve", "--format", "json", "--data-dir", join(workshop.dir, "coordinator"), "--rest-port", "0"].concat(["--grpc-port", "0"]),
	);
	ready = await serve.event("ready");
	env = { RONDO_URL: ready.restUrl, RONDO_TOKEN: (await readFile(ready.adminTokenFile, "utf8")).trim() };
});

afterAll(() => workshop.close());

describe("adapters from the command line", () => {
	const matrices = MODEL.layout.tensors.filter(({ shape }) => shape.length === 2).map(({ name }) => name);

	it("are put beside the weights of an ONNX file, which go to the coordinator as a blob of their own", async () => {
		const args = [
			"model",
			"import",
			onnx,
			"--loss",
			"softmax-cross-entropy",
			"--lora",
			"*",
			"--lora-rank",
			"3",
			"--lora-alpha",
			"6",
			"--name",
			"m",
		];
		const { code, stdout } = await rondo(args, env);
		expect(code).toBe(0);
		expect(stdout).toMatch(/parameters +2574\n/);
		expect(stdout).toMatch(/adapters +2 of rank 3, alpha 6\n/);
		expect(stdout).toMatch(/not trained \(4\)/);
		const { manifest } = (await (
			await fetch(`${ready.restUrl}/api/v1/models/m`, { headers: { authorization: `Bearer ${env.RONDO_TOKEN}` } })
		).json()) as { readonly manifest: { readonly assets: readonly { readonly bytes: number }[] } };
		// Without biases, which are small and stay in the graph.
		expect(manifest.assets).toEqual([{ digest: expect.stringMatching(/^[0-9a-f]{64}$/), bytes: 4 * (784 * 32 + 32 * 10) }]);
	});

	it("are trained by agents, which fetch the blob once", async () => {
		const { secret } = await json<{ secret: string }>(["token", "create", "--scope", "enrol"]);
		const agent = workshop.start(
			["agent", "--format", "json", "--address", ready.grpcAddress, "--state-dir", join(workshop.dir, "agent"), "--name", "agent"].concat([
				"--clients",
				"1",
				"--index",
				"0",
				"--examples",
				"200",
				"--trainer",
				"onnx",
				"--device",
				"cpu",
				"--threads",
				"1",
			]),
			{ RONDO_TOKEN: secret },
		);
		await agent.event("connected");
		await json(
			["run", "submit", "--model", "m", "--strategy", "fedavg", "--rounds", "2", "--name", "lora", "--min-clients", "1"].concat([
				"-o",
				"cohortSize=1",
				"-o",
				"learningRate=0.5",
				"-o",
				"onMiss=replan",
			]),
		);
		expect((await rondo(["run", "watch", "lora"], env)).code).toBe(0);
		expect((await rondo(["run", "show", "lora"], env)).stdout).toMatch(/phase +completed/);
		await agent.signal("SIGTERM");
	});

	it("come back merged into all weights", async () => {
		const file = join(workshop.dir, "merged.safetensors");
		const saved = await json<{ round: number; bytes: number }>(["run", "download", "lora", "--merge-lora", "--output", file]);
		const content = await readFile(file);
		expect(saved).toMatchObject({ round: 2, bytes: content.length });
		const { layout, weights, metadata } = readSafetensors(content);
		expect(metadata).toEqual({ format: "pt" });
		expect(layout.tensors.map(({ name }) => name).sort()).toEqual(MODEL.layout.tensors.map(({ name }) => name).sort());
		for (const { name } of layout.tensors) {
			const [after, before] = [tensorOf(layout, name, weights), tensorOf(MODEL.layout, name, START)];
			if (matrices.includes(name)) expect(after).not.toEqual(before);
			else expect(after).toEqual(before);
		}
	});

	it("come back as PEFT reads them", async () => {
		const folder = join(workshop.dir, "peft/adapter");
		await json(["run", "download", "lora", "--peft", folder]);
		const { layout, weights } = readSafetensors(await readFile(join(folder, "adapter_model.safetensors")));
		expect(layout.tensors.map(({ shape }) => shape)).toEqual(
			expect.arrayContaining([
				[3, 784],
				[3, 32],
			]),
		);
		expect(weights.some((value) => value !== 0)).toBe(true);
		expect(JSON.parse(await readFile(join(folder, "adapter_config.json"), "utf8"))).toMatchObject({
			peft_type: "LORA",
			r: 3,
			lora_alpha: 6,
		});
		const again = await rondo(["run", "download", "lora", "--peft", folder], env);
		expect(again.code).toBe(6);
		expect(again.stderr).toContain("adapter_model.safetensors is there already; pass --force to replace it, or another --peft");
	});

	it("are half as many with --lora-freeze-a, and PEFT's files have the first matrices all the same", async () => {
		const lora = ["--loss", "softmax-cross-entropy", "--lora", "*", "--lora-rank", "3", "--lora-freeze-a"];
		const { code, stdout } = await rondo(["model", "import", onnx, ...lora, "--name", "frozen-a"], env);
		expect(code).toBe(0);
		expect(stdout).toMatch(/parameters +126\n/);
		const { secret } = await json<{ secret: string }>(["token", "create", "--scope", "enrol"]);
		const agent = workshop.start(
			[
				"agent",
				"--format",
				"json",
				"--address",
				ready.grpcAddress,
				"--state-dir",
				join(workshop.dir, "agent-a"),
				"--name",
				"agent-a",
			].concat(["--clients", "1", "--index", "0", "--examples", "200", "--trainer", "onnx", "--device", "cpu", "--threads", "1"]),
			{ RONDO_TOKEN: secret },
		);
		await agent.event("connected");
		await json(
			["run", "submit", "--model", "frozen-a", "--strategy", "fedavg", "--rounds", "1", "--name", "ffa", "--min-clients", "1"].concat([
				"-o",
				"cohortSize=1",
				"-o",
				"learningRate=0.5",
			]),
		);
		expect((await rondo(["run", "watch", "ffa"], env)).code).toBe(0);
		await agent.signal("SIGTERM");
		const folder = join(workshop.dir, "peft/frozen-a");
		await json(["run", "download", "ffa", "--peft", folder]);
		const { layout, weights } = readSafetensors(await readFile(join(folder, "adapter_model.safetensors")));
		expect(layout.tensors.map(({ shape }) => String(shape)).sort()).toEqual(["10,3", "3,32", "3,784", "32,3"]);
		for (const { name } of layout.tensors)
			expect(
				tensorOf(layout, name, weights).some((value) => value !== 0),
				name,
			).toBe(true);
	});

	it("are refused where they make no sense", async () => {
		const inspect = (...args: string[]) => rondo(["model", "inspect", onnx, "--loss", "mse", ...args], env);
		expect((await inspect("--lora-rank", "2")).stderr).toContain("go with --lora");
		expect((await inspect("--lora", "nothing*")).stderr).toContain('--lora "nothing*" matches no weight of a matrix product');
		expect((await inspect("--lora-freeze-a")).stderr).toContain("go with --lora");
		const dense = await rondo(["model", "inspect", "dense:8-4", "--lora-rank", "2"], env);
		expect(dense.stderr).toContain("is no ONNX file; --lora-rank goes with file.onnx");
	});
});
