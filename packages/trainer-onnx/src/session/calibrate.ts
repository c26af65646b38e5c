import { encodeGraph } from "../graph/encode.js";
import type { Graph } from "../graph/ir.js";
import { type Device, openSession } from "./device.js";
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

/**
 * Why a device is not worth taking by itself: WebGPU is also there where software plays the GPU, and that is slower than the CPU.
 * Undefined: it is worth it, or is not known to come as software.
 */
export async function slowerThanCpu(ort: Ort, device: Device): Promise<string | undefined> {
	if (device !== "webgpu") return undefined;
	const [own, cpu] = [await bestTimeMs(ort, device), await bestTimeMs(ort, "cpu")];
	return own <= cpu
		? undefined
		: `slower than the CPU (a product of ${SIZE} × ${SIZE} matrices takes ${own.toFixed(1)} against ${cpu.toFixed(1)} ms)`;
}

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
