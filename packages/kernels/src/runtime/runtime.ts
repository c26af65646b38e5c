import { RondoError } from "@rondo/errors";
import { KERNELS_WASM } from "../generated/kernels-wasm.js";
import { KernelMemory, newMemory } from "./memory.js";
import { CONTROL_BYTES, type Kernel, Pool, SCRATCH_BYTES } from "./pool.js";

/** How kernels run in this thread. */
export interface KernelOptions {
	/** Threads that share one job, the calling one among them: 1 (the default) to 64. */
	readonly threads?: number;
	/** False: the TypeScript references, as on machines without WebAssembly SIMD. Same bytes, slower. */
	readonly wasm?: boolean;
}

/** How kernels run in this thread, as far as it is decided. */
export interface KernelState {
	/** What `configureKernels` asked for. */
	readonly threads: number;
	/** Whether WebAssembly does the work. */
	readonly wasm: boolean;
	/** Whether its memory can be shared with helper threads. */
	readonly shared: boolean;
	/** Helper threads that run now. */
	readonly helpers: number;
	/** Size of the WebAssembly module. */
	readonly moduleBytes: number;
}

/** The vectors that kernels take. */
export type KernelVector = Float32Array | Float64Array | Int32Array | Uint32Array | Uint8Array;

const MAX_THREADS = 64;
/** Jobs below this many microseconds are not worth waking a thread for. */
const PARALLEL_FROM_US = 150;
/** Elements that are copied into kernel memory at a time, for vectors that live elsewhere. */
const CHUNK = 262_144;

interface Loaded {
	readonly module: WebAssembly.Module;
	readonly kernels: { readonly [name: string]: Kernel };
	readonly memory: KernelMemory;
	readonly shared: boolean;
	readonly control: number;
	readonly scratch: number[];
}

let threads = 1;
let allowed = true;
/** Undefined: not tried yet. */
let loaded: Loaded | null | undefined;
let pool: Pool | undefined;

/**
 * Sets how kernels of this thread (a worker has its own) run from the next call on. Results never depend on it.
 * @throws INVALID_ARGUMENT for `threads`
 */
export async function configureKernels(options: KernelOptions): Promise<void> {
	const wanted = options.threads ?? threads;
	if (!(Number.isInteger(wanted) && wanted >= 1 && wanted <= MAX_THREADS))
		throw new RondoError("INVALID_ARGUMENT", `threads must be an integer from 1 to ${MAX_THREADS}, got ${wanted}`);
	if (wanted !== threads) {
		await stopKernels();
		threads = wanted;
	}
	allowed = options.wasm ?? allowed;
}

/** Ends the helper threads of this thread; vectors stay, and the next large job starts helpers again. */
export async function stopKernels(): Promise<void> {
	const old = pool;
	pool = undefined;
	await old?.stop();
}

/** How kernels run now; compiles the module if that has not happened yet. */
export function kernelState(): KernelState {
	const runtime = load();
	return {
		threads,
		wasm: allowed && runtime !== null,
		shared: runtime?.shared ?? false,
		helpers: pool?.helpers ?? 0,
		moduleBytes: atob(KERNELS_WASM).length,
	};
}

/**
 * A vector of zeros in kernel memory, on which kernels work in place instead of copying it in and out chunk by chunk. Where
 * there is no such memory, or no room in it (it ends at 4 GiB), an ordinary array, with which everything works too. It is not
 * garbage-collected: `releaseVector`, after which it must not be touched.
 * @throws INVALID_ARGUMENT for the length
 */
export function allocateVector<V extends KernelVector>(type: new (length: number) => V, length: number): V {
	if (!(Number.isSafeInteger(length) && length >= 0))
		throw new RondoError("INVALID_ARGUMENT", `length must be a non-negative integer, got ${length}`);
	const runtime = load();
	// Growing memory that is not shared detaches every view of it.
	if (runtime === null || !runtime.shared) return new type(length);
	const bytes = length * (type as unknown as { readonly BYTES_PER_ELEMENT: number }).BYTES_PER_ELEMENT;
	const at = runtime.memory.tryAllocate(bytes);
	if (at === undefined) return new type(length);
	const inPlace = type as unknown as new (buffer: ArrayBufferLike, byteOffset: number, length: number) => V;
	const vector = new inPlace(runtime.memory.memory.buffer, at, length);
	vector.fill(0);
	return vector;
}

/** Gives the memory of a vector of `allocateVector` back; other arrays are left to the garbage collector. */
export function releaseVector(vector: KernelVector): void {
	if (loaded?.memory.holds(vector)) loaded.memory.release(vector.byteOffset);
}

/** What a kernel reads or writes. */
export interface Operand {
	readonly vector: KernelVector;
	readonly access: "read" | "write" | "update";
}

/** How kernels are called; undefined where the references have to do. */
export interface Runtime {
	/** Whether the vector lies in kernel memory. */
	holds(vector: KernelVector): boolean;
	/**
	 * Calls `name` for each of `tiles` tiles.
	 * @param tileUs microseconds of one tile, roughly: decides whether threads are worth waking
	 */
	run(name: string, args: readonly number[], tiles: number, tileUs: number): void;
	/** Kernel memory with a copy of each table while `body` runs; its addresses are in the same order. */
	withTables<T>(tables: readonly KernelVector[], body: (addresses: readonly number[]) => T): T;
	/**
	 * Calls `body` with the operands' addresses for the elements from … from + count − 1: once, when all of them lie in kernel
	 * memory, else for one chunk after the other, copied in and out.
	 * @param chunkElements elements of a chunk: fewer where there are many operands
	 */
	chunks(
		operands: readonly Operand[],
		length: number,
		body: (addresses: readonly number[], from: number, count: number) => void,
		chunkElements?: number,
	): void;
	/** Views of kernel memory. */
	float32(address: number, length: number): Float32Array;
	float64(address: number, length: number): Float64Array;
	int32(address: number, length: number): Int32Array;
}

/** The runtime of this thread; undefined where there is no WebAssembly SIMD, or it is switched off. */
export function runtime(): Runtime | undefined {
	const ready = allowed ? load() : null;
	return ready === null ? undefined : runtimeOf(ready);
}

function runtimeOf(ready: Loaded): Runtime {
	const { memory } = ready;
	const buffer = () => memory.memory.buffer;
	return {
		holds: (vector) => memory.holds(vector),
		run(name, args, tiles, tileUs) {
			pool ??= newPool(ready);
			pool.run(name, args, tiles, tiles * tileUs >= PARALLEL_FROM_US);
		},
		withTables(tables, body) {
			const addresses: number[] = [];
			try {
				for (const table of tables) {
					const at = memory.allocate(table.byteLength);
					addresses.push(at);
					new Uint8Array(buffer(), at, table.byteLength).set(new Uint8Array(table.buffer, table.byteOffset, table.byteLength));
				}
				return body(addresses);
			} finally {
				for (const at of addresses) memory.release(at);
			}
		},
		chunks(operands, length, body, chunkElements = CHUNK) {
			const outside = operands.map(({ vector }) => !memory.holds(vector));
			if (!outside.includes(true)) {
				body(
					operands.map(({ vector }) => vector.byteOffset),
					0,
					length,
				);
				return;
			}
			const size = Math.min(chunkElements, length);
			const staging = operands.map(({ vector }, i) => (outside[i] ? memory.allocate(size * vector.BYTES_PER_ELEMENT) : -1));
			try {
				const views = operands.map(({ vector }, i) => (outside[i] ? viewOf(vector, buffer(), staging[i]!, size) : undefined));
				for (let from = 0; from < length; from += size) {
					const count = Math.min(size, length - from);
					operands.forEach(({ vector, access }, i) => {
						if (access !== "write") views[i]?.set(vector.subarray(from, from + count));
					});
					body(
						operands.map(({ vector }, i) => (outside[i] ? staging[i]! : vector.byteOffset + from * vector.BYTES_PER_ELEMENT)),
						from,
						count,
					);
					operands.forEach(({ vector, access }, i) => {
						if (access !== "read" && views[i] !== undefined) vector.set(views[i].subarray(0, count), from);
					});
				}
			} finally {
				for (const at of staging) memory.release(at);
			}
		},
		float32: (address, length) => new Float32Array(buffer(), address, length),
		float64: (address, length) => new Float64Array(buffer(), address, length),
		int32: (address, length) => new Int32Array(buffer(), address, length),
	};
}

function viewOf(like: KernelVector, buffer: ArrayBufferLike, at: number, length: number): KernelVector {
	const type = like.constructor as new (buffer: ArrayBufferLike, byteOffset: number, length: number) => KernelVector;
	return new type(buffer, at, length);
}

function newPool({ module, kernels, memory, shared, control, scratch }: Loaded): Pool {
	const own = shared ? threads : 1;
	while (scratch.length < own) scratch.push(memory.allocate(SCRATCH_BYTES));
	return new Pool({ module, memory: memory.memory, kernels, control, scratch: scratch.slice(0, own) });
}

/** Null where this machine cannot run the module. */
function load(): Loaded | null {
	if (loaded === undefined) loaded = tryLoad();
	return loaded;
}

function tryLoad(): Loaded | null {
	if (typeof WebAssembly !== "object") return null;
	const shared = typeof SharedArrayBuffer === "function" && typeof Atomics === "object";
	const bytes = Uint8Array.from(atob(KERNELS_WASM), (char) => char.charCodeAt(0));
	if (!shared) unshare(bytes);
	// The module needs 128-bit SIMD, and shared memory where there is any: an engine without them refuses it.
	if (!WebAssembly.validate(bytes)) return null;
	const module = new WebAssembly.Module(bytes);
	const memory = newMemory(shared);
	if (memory === undefined) return null;
	const instance = new WebAssembly.Instance(module, { env: { memory, abort } });
	const { memoryBase, ...kernels } = instance.exports as unknown as { readonly [name: string]: Kernel } & { memoryBase(): number };
	const kernelMemory = new KernelMemory(memory, memoryBase());
	return {
		module,
		kernels,
		memory: kernelMemory,
		shared,
		control: kernelMemory.allocate(CONTROL_BYTES),
		scratch: [kernelMemory.allocate(SCRATCH_BYTES)],
	};
}

function abort(): never {
	throw new RondoError("INTERNAL", "a kernel aborted");
}

/** Clears the shared flag of the memory that the module imports; it uses no atomic instruction. */
function unshare(bytes: Uint8Array): void {
	const mark = [...new TextEncoder().encode("env"), 6, ...new TextEncoder().encode("memory"), 2];
	const at = bytes.findIndex((_, i) => mark.every((byte, j) => bytes[i + j] === byte)) + mark.length;
	bytes[at] = 1;
}
