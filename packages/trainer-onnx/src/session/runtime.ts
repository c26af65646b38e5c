import { RondoError } from "@rondo/errors";
import type * as onnxruntime from "onnxruntime-node";

export type Ort = typeof onnxruntime;
export type OrtSession = onnxruntime.InferenceSession;
export type OrtTensor = onnxruntime.Tensor;
export type SessionOptions = onnxruntime.InferenceSession.SessionOptions;

/** `import()`, or a stand-in. */
export type ImportModule = (name: string) => Promise<unknown>;

const PACKAGE = "onnxruntime-node";
/** How training on ONNX models is added. */
export const ORT_INSTALL = `npm install ${PACKAGE}`;

/** @throws TRAINER_FAILED with the command that installs the package, when it is absent or does not load */
export async function loadOrt(importModule: ImportModule = (name) => import(name)): Promise<Ort> {
	let module: Ort & { readonly default?: Ort };
	try {
		module = (await importModule(PACKAGE)) as typeof module;
	} catch (cause) {
		const message = cause instanceof Error ? cause.message : String(cause);
		const absent = (cause as { code?: unknown } | null)?.code === "ERR_MODULE_NOT_FOUND" && message.includes(PACKAGE);
		const problem = absent ? `is not installed; add it with: ${ORT_INSTALL}` : `failed to load: ${message.split("\n", 1)[0]}`;
		throw new RondoError("TRAINER_FAILED", `${PACKAGE} ${problem}`, { cause, details: { absent } });
	}
	return module.default ?? module;
}

/** Whether the trainer can run here at all. */
export async function isOrtInstalled(importModule?: ImportModule): Promise<boolean> {
	try {
		await loadOrt(importModule);
		return true;
	} catch {
		return false;
	}
}
