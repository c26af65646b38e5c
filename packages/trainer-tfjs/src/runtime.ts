import { setImmediate } from "node:timers/promises";
import { isRondoError, RondoError } from "@rondo/errors";
import type * as tfjs from "@tensorflow/tfjs";
import { transposeBeforeMatMul } from "./wasm-mat-mul.js";

export type Tf = typeof tfjs;

/** Where the arithmetic happens: libtensorflow with CUDA, libtensorflow, WebAssembly, plain JavaScript. */
export type TfjsBackend = "gpu" | "node" | "wasm" | "cpu";

/** One opened backend of TensorFlow.js. */
export interface Runtime {
	readonly tf: Tf;
	/** Library, version and device, for logs. */
	readonly description: string;
	/**
	 * Runs `work` with this backend current. The engine of TensorFlow.js is one per process, so calls of all trainers
	 * take turns; between turns the event loop runs, so a long training never holds up heartbeats.
	 * @throws TRAINER_FAILED around whatever TensorFlow.js throws
	 */
	exclusive<T>(work: () => T | Promise<T>): Promise<T>;
}

/** `import()`, or a stand-in for packages that are not installed. */
export type ImportModule = (name: string) => Promise<unknown>;

const NATIVE = { gpu: "@tensorflow/tfjs-node-gpu", node: "@tensorflow/tfjs-node" } as const;
/** How training on a GPU is added. */
export const GPU_INSTALL = `npm install ${NATIVE.gpu}`;

/**
 * Loads and initialises one backend.
 * @throws TRAINER_FAILED that names the backend, and the install command when its package is absent
 */
export async function openRuntime(backend: TfjsBackend, importModule: ImportModule = (name) => import(name)): Promise<Runtime> {
	if (backend === "gpu" || backend === "node") return openNative(backend, importModule);
	const tf = (await importModule("@tensorflow/tfjs")) as Tf;
	quiet(tf);
	if (backend === "cpu") return opened(tf, "cpu", () => `tfjs-cpu ${tf.version_core}`);
	const wasm = (await importModule("@tensorflow/tfjs-backend-wasm")) as { readonly version_wasm: string };
	// In Node the wasm backend always has one thread: it switches its threads off there (its flags_wasm.ts).
	const runtime = await opened(
		tf,
		"wasm",
		() => `tfjs-wasm ${wasm.version_wasm} (${tf.env().getBool("WASM_HAS_SIMD_SUPPORT") ? "simd, " : ""}1 thread)`,
	);
	transposeBeforeMatMul(tf);
	return runtime;
}

async function openNative(backend: "gpu" | "node", importModule: ImportModule): Promise<Runtime> {
	const name = NATIVE[backend];
	// The port promises equal bytes for equal inputs; CUDA kernels keep that only when asked to before they load.
	if (backend === "gpu") process.env.TF_DETERMINISTIC_OPS ??= "1";
	let module: Tf & { readonly default?: Tf };
	try {
		module = (await importModule(name)) as typeof module;
	} catch (cause) {
		const message = cause instanceof Error ? cause.message : String(cause);
		const absent = (cause as { code?: unknown } | null)?.code === "ERR_MODULE_NOT_FOUND" && message.includes(name);
		const problem = absent ? `is not installed; add it with: npm install ${name}` : `failed to load: ${message.split("\n", 1)[0]}`;
		throw new RondoError("TRAINER_FAILED", `backend "${backend}": ${name} ${problem}`, { cause, details: { backend, absent } });
	}
	const tf = module.default ?? module;
	quiet(tf);
	return opened(tf, "tensorflow", () => {
		const device = (tf.backend() as { isUsingGpuDevice?: boolean }).isUsingGpuDevice === true ? "GPU" : "CPU";
		return `${name.slice("@tensorflow/".length)} ${tf.version_core} (${device})`;
	});
}

/** Without this, TensorFlow.js advertises its native package on the console. */
const quiet = (tf: Tf): void => tf.enableProdMode();

let turn: Promise<unknown> = Promise.resolve();

async function opened(tf: Tf, name: string, describe: () => string): Promise<Runtime> {
	const exclusive = <T>(work: () => T | Promise<T>): Promise<T> => {
		const mine = turn.then(async () => {
			await setImmediate();
			try {
				if (tf.getBackend() !== name && !(await tf.setBackend(name))) throw new Error(`backend ${name} did not initialise`);
				return await work();
			} catch (cause) {
				if (isRondoError(cause)) throw cause;
				throw new RondoError("TRAINER_FAILED", `tfjs: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
			}
		});
		turn = mine.then(
			() => undefined,
			() => undefined,
		);
		return mine;
	};
	return { tf, exclusive, description: await exclusive(describe) };
}
