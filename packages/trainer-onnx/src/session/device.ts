import { RondoError } from "@rondo/errors";
import type { Ort, OrtSession, SessionOptions } from "./runtime.js";

/** Where a graph is run. */
export type Device = "cuda" | "directml" | "coreml" | "webgpu" | "cpu";

/** In the order in which "auto" tries them. */
export const DEVICES: readonly Device[] = ["cuda", "directml", "coreml", "webgpu", "cpu"];

/** Names of the execution providers of ONNX Runtime. */
export const PROVIDERS: Record<Device, string> = { cuda: "cuda", directml: "dml", coreml: "coreml", webgpu: "webgpu", cpu: "cpu" };

/**
 * In the provider's own layout, NHWC, grouped convolutions of some sizes come out wrong (onnxruntime-node 1.30); beyond level
 * "basic" a LayerNormalization by parts becomes one node again, whose variance is less exact.
 */
const WEBGPU: SessionOptions = {
	executionProviders: [{ name: "webgpu", preferredLayout: "NCHW" }],
	graphOptimizationLevel: "basic",
};

/** Devices that keep results of one run as inputs of the next; elsewhere results come back to the host. */
export const keepsResults = (device: Device): boolean => device === "webgpu";

export interface DeviceOptions {
	readonly threads?: number;
	/** Whether a node that the device lacks is an error rather than run on the CPU. */
	readonly strict?: boolean;
	/**
	 * Whether ONNX Runtime puts all intermediate results into one block from the second run on, which costs memory at the peak.
	 * Default true.
	 */
	readonly planMemory?: boolean;
}

/** @throws INVALID_ARGUMENT for a name that is none of a device */
export function wantedDevices(device: string | readonly string[] = "auto"): readonly Device[] {
	const names = typeof device === "string" ? (device === "auto" ? DEVICES : [device]) : device;
	for (const name of names) {
		if (!(DEVICES as readonly string[]).includes(name))
			throw new RondoError(
				"INVALID_ARGUMENT",
				`device must be "auto", one of ${DEVICES.join(", ")}, or a list of them, got ${JSON.stringify(name)}`,
				{
					details: { field: "device", value: name },
				},
			);
	}
	if (names.length === 0)
		throw new RondoError("INVALID_ARGUMENT", "device must name at least one device", { details: { field: "device" } });
	return names as readonly Device[];
}

/**
 * Threads of ONNX Runtime that wait for each other spin by default, and take the processor from whatever else wants it. Clients
 * share their machine, and simulations run many of them: here they sleep. A step of ResNet-8 with 2 threads on 2 busy cores takes
 * 31 ms of processor time so, and 55 ms spinning (`npm run bench:trainer -- --model resnet8`).
 */
const sessionEntries = (device: Device, strict: boolean): { readonly [key: string]: unknown } =>
	device === "cpu" ? { intra_op: { allow_spinning: "0" } } : strict ? { disable_cpu_ep_fallback: "1" } : {};

/** @throws whatever ONNX Runtime throws, for a device that is not there too: it does not fall back by itself */
export function openSession(
	ort: Ort,
	graph: Uint8Array<ArrayBuffer>,
	device: Device,
	options: DeviceOptions,
	outputsOnDevice: readonly string[] = [],
): Promise<OrtSession> {
	const { threads, strict = false, planMemory = true } = options;
	const session: SessionOptions = {
		executionProviders: [PROVIDERS[device]],
		...(device === "webgpu" ? WEBGPU : {}),
		logSeverityLevel: 3,
		enableMemPattern: planMemory,
		...(threads === undefined ? {} : { intraOpNumThreads: threads }),
		...(outputsOnDevice.length === 0
			? {}
			: { preferredOutputLocation: Object.fromEntries(outputsOnDevice.map((name) => [name, "gpu-buffer" as const])) }),
		extra: { session: sessionEntries(device, strict) },
	};
	return ort.InferenceSession.create(graph, session);
}
