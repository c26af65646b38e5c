import type { Device } from "@rondo/trainer-onnx";
import type { TfjsBackend } from "@rondo/trainer-tfjs";

// Lists of their own: the trainers' packages load only where something is trained.

/** Libraries that the agent can train with. */
export const TRAINERS = ["auto", "onnx", "tfjs"] as const;
/** Where onnx can compute. */
export const ONNX_DEVICES = ["auto", "cuda", "directml", "coreml", "webgpu", "cpu"] as const satisfies readonly ("auto" | Device)[];
/** Where tfjs can compute. */
export const TFJS_BACKENDS = ["auto", "gpu", "node", "wasm", "cpu"] as const satisfies readonly ("auto" | TfjsBackend)[];

/** What computes. */
export interface TrainerChoice {
	/** "auto": onnx where onnxruntime-node is installed and the model has an ONNX graph, else tfjs. */
	readonly trainer: (typeof TRAINERS)[number];
	/** Of onnx. */
	readonly device: (typeof ONNX_DEVICES)[number];
	/** Of tfjs. */
	readonly backend: (typeof TFJS_BACKENDS)[number];
	/** Of onnx on the cpu; 0: one per core. */
	readonly threads: number;
}
