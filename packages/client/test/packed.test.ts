import { execFile } from "node:child_process";
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { bytesOf, contentDigest, createRegistry, encodePlain, type Plain, resolveConfig, vecOf } from "@rondo/algorithms";
import { digestBytes } from "@rondo/protocol";
import { layoutOf } from "@rondo/tensors";
import { expect, test } from "vitest";
import { coordinator, folder } from "./setup.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../..", import.meta.url));
const PACKAGES = ["errors", "kernels", "tensors", "algorithms", "protocol", "client"];

const WORKLOAD = `const half = (w) => w.reduce((sum, x) => sum + (x * x) / 2, 0);
export const createTrainer = () => ({
	loss: async (w) => half(w),
	gradient: async (w, _batch, out) => (out.set(w), half(w)),
	evaluate: async (w) => ({ loss: half(w) }),
});
export const createData = () => ({
	numExamples: 8,
	*batches(size) { for (;;) yield { size, inputs: new Float32Array(size), labels: new Int32Array(size) }; },
});
`;
const APP = `import { once } from "node:events";
import { connect } from "@rondo/client";
const [address] = process.argv.slice(2);
const client = await connect({ address, stateDir: "./state", enrolmentToken: "token", name: "ada", workload: new URL("./workload.js", import.meta.url) });
const [receipt] = await once(client, "receipt");
await client.close();
process.stdout.write(receipt.code);
`;

test("packed and installed outside the repository, the SDK trains with a ten-line workload and no trainer package", async () => {
	const weights = Float32Array.of(1, 2, -4);
	const model = vecOf("f32", 3, contentDigest(bytesOf(weights)));
	const strategy = createRegistry().strategy("fedavg");
	const config = resolveConfig(strategy, { learningRate: 0.1, batchSize: 4 }, layoutOf([{ name: "w", shape: [3] }])) as Plain;
	const fake = await coordinator((prepared) => prepared.addRun({ runId: "r1", strategy: "fedavg", config, weights }));
	fake.on("hello", () => {
		const lanes = [{ name: "delta", length: 3n, absMax: 16, combine: "mean", codec: encodePlain(["f32"]) }];
		fake.offer("ada", "r1", { model }, { lanes, round: 1, logHead: { commit: 0n, hash: digestBytes("0".repeat(64)) } });
	});

	const outside = await folder();
	const workspaces = PACKAGES.flatMap((name) => ["--workspace", `@rondo/${name}`]);
	await run("npm", ["pack", "--silent", ...workspaces, "--pack-destination", outside], { cwd: root });
	const tarballs = (await readdir(outside)).filter((name) => name.endsWith(".tgz")).map((name) => `./${name}`);
	expect(tarballs).toHaveLength(PACKAGES.length);
	await writeFile(join(outside, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
	await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", ...tarballs], { cwd: outside });
	expect(await readdir(join(outside, "node_modules", "@rondo"))).toEqual([...PACKAGES].sort());

	await writeFile(join(outside, "workload.js"), WORKLOAD);
	await writeFile(join(outside, "app.js"), APP);
	const { stdout } = await run(process.execPath, ["app.js", fake.address], { cwd: outside });
	expect(stdout).toBe("ACCEPTED");
	expect(fake.reports).toHaveLength(1);
}, 180_000);
