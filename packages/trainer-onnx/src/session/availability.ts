import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { encodeGraph } from "../graph/encode.js";
import type { Graph } from "../graph/ir.js";
import { type Device, openSession, PROVIDERS } from "./device.js";
import type { Ort } from "./runtime.js";

/** Side of the matrices that are multiplied for comparison. */
const SIZE = 512;
const RUNS = 3;

const product: Graph = {
	opset: 18,
	domains: {},
	inputs: ["a", "b"].map((name) => ({ name, type: "float32", dims: [SIZE, SIZE] })),
	outputs: [{ name: "c", type: "float32", dims: [SIZE, SIZE] }],
	initializers: new Map(),
	nodes: [{ op: "MatMul", domain: "", name: "", inputs: ["a", "b"], outputs: ["c"], attributes: {} }],
};

/** Folders where Vulkan's loader looks for drivers on Linux, and the variables that replace them. */
const VULKAN_FOLDERS = ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"];
const VULKAN_VARIABLES = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_ADD_DRIVER_FILES"];

/**
 * Why "auto" does not take a device; undefined: it is worth a try. What is plainly absent is not tried at all, because ONNX
 * Runtime writes about it on the console. WebGPU is also there where software plays the GPU, and that is slower than the CPU.
 */
export async function whyPassOver(ort: Ort, device: Device): Promise<string | undefined> {
	if (device === "cpu") return undefined;
	const backends = ort.listSupportedBackends().map(({ name }) => name);
	if (!backends.includes(PROVIDERS[device])) return "not in this build of onnxruntime-node";
	if (device === "cuda" && !hasCudaLibrary()) return "its libraries are not installed";
	if (device !== "webgpu") return undefined;
	if (process.platform === "linux" && !hasVulkanDriver()) return "no Vulkan driver";
	const [own, cpu] = [await bestTimeMs(ort, device), await bestTimeMs(ort, "cpu")];
	if (own <= cpu) return undefined;
	return `slower than the CPU (a product of ${SIZE} × ${SIZE} matrices takes ${own.toFixed(1)} against ${cpu.toFixed(1)} ms)`;
}

/** Whether the package's install step fetched the CUDA provider; true where the package cannot be looked into. */
function hasCudaLibrary(): boolean {
	try {
		const folder = join(dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json")), "bin");
		return readdirSync(folder, { recursive: true, encoding: "utf8" }).some((path) => path.includes("providers_cuda"));
	} catch {
		return true;
	}
}

const hasVulkanDriver = (): boolean =>
	VULKAN_VARIABLES.some((name) => (process.env[name] ?? "") !== "") ||
	VULKAN_FOLDERS.some((folder) => existsSync(folder) && readdirSync(folder).length > 0);

async function bestTimeMs(ort: Ort, device: Device): Promise<number> {
	const session = await openSession(ort, encodeGraph(product), device, {});
	try {
		const matrix = (): InstanceType<Ort["Tensor"]> => new ort.Tensor("float32", new Float32Array(SIZE * SIZE).fill(1), [SIZE, SIZE]);
		const feeds = { a: matrix(), b: matrix() };
		let best = Number.POSITIVE_INFINITY;
		await session.run(feeds);
		for (let run = 0; run < RUNS; run++) {
			const startedMs = performance.now();
			await session.run(feeds);
			best = Math.min(best, performance.now() - startedMs);
		}
		return best;
	} finally {
		await session.release();
	}
}
