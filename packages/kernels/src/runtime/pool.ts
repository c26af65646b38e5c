import { Worker } from "node:worker_threads";
import { RondoError } from "@rondo/errors";

// Words of the control block, which all threads see.
const WAKE = 0;
const TICKET = 1;
const TILES = 2;
const DONE = 3;
const KERNEL = 4;
const STOP = 5;
const FAILED = 6;
/** Bytes of the control block: 16 words, then 16 float64 arguments. */
export const CONTROL_BYTES = 192;
const ARGUMENTS_AT = 64;
export const MAX_ARGUMENTS = 16;
/** Bytes of scratch per thread. */
export const SCRATCH_BYTES = 262_144;

/** A ticket is the job's number, 12 bits, and the next tile that nobody has taken, 20 bits. */
const TILE_BITS = 20;
/** Most tiles of one job. */
export const MAX_TILES = 2 ** TILE_BITS - 2;
const CLOSED = 2 ** TILE_BITS - 1;

/**
 * How often a thread looks before it sleeps, some tens of microseconds: waking takes as long, and most jobs are followed by
 * another one, or end, within that time.
 */
const SPINS = 4000;

/**
 * What a helper thread runs. Plain text, because a file beside this one would have to be found again by every bundler and
 * test runner: it takes tiles while there are some and sleeps on the wake word otherwise.
 */
const HELPER = `
const { workerData } = require("node:worker_threads");
const { module, memory, control, scratch, names } = workerData;
const kernels = new WebAssembly.Instance(module, { env: { memory, abort() { throw new Error("abort"); } } }).exports;
const words = new Int32Array(memory.buffer, control, 16);
for (;;) {
	const seen = Atomics.load(words, ${WAKE});
	if (Atomics.load(words, ${STOP}) !== 0) break;
	for (;;) {
		const ticket = Atomics.load(words, ${TICKET});
		const tile = ticket & ${CLOSED};
		if (tile >= Atomics.load(words, ${TILES})) break;
		if (Atomics.compareExchange(words, ${TICKET}, ticket, ticket + 1) !== ticket) continue;
		// With a tile of its own the job cannot end before this thread has done it: kernel and arguments hold still.
		try {
			kernels[names[Atomics.load(words, ${KERNEL})]](control + ${ARGUMENTS_AT}, tile, scratch);
		} catch {
			Atomics.store(words, ${FAILED}, 1);
		}
		if (Atomics.add(words, ${DONE}, 1) + 1 === Atomics.load(words, ${TILES})) Atomics.notify(words, ${DONE});
	}
	for (let turn = 0; turn < ${SPINS} && Atomics.load(words, ${WAKE}) === seen; turn++);
	Atomics.wait(words, ${WAKE}, seen);
}
`;

/** A kernel: the arguments' address, the tile's number, the thread's scratch. */
export type Kernel = (args: number, tile: number, scratch: number) => void;

/** What a pool works with. */
export interface PoolSetup {
	readonly module: WebAssembly.Module;
	readonly memory: WebAssembly.Memory;
	readonly kernels: { readonly [name: string]: Kernel };
	/** Address of the control block. */
	readonly control: number;
	/** Addresses of the scratch of each thread; the first one is the caller's. */
	readonly scratch: readonly number[];
}

/**
 * Runs the tiles of one job after another on the calling thread and on helpers, which start with the first job that asks
 * for them. The caller works too, and waits on shared memory, so a job is a plain synchronous call; helpers that are not up yet
 * only make it slower. Nothing of a result depends on who did which tile.
 */
export class Pool {
	readonly #setup: PoolSetup;
	readonly #words: Int32Array;
	#args: Float64Array;
	readonly #names: readonly string[];
	#helpers: Worker[] = [];
	#job = 0;

	constructor(setup: PoolSetup) {
		this.#setup = setup;
		this.#words = new Int32Array(setup.memory.buffer, setup.control, 16);
		this.#args = new Float64Array(setup.memory.buffer, setup.control + ARGUMENTS_AT, MAX_ARGUMENTS);
		this.#names = Object.keys(setup.kernels);
		// A ticket is closed as long as there is no job: a helper that starts now finds nothing.
		this.#words.fill(0);
		this.#words[TICKET] = CLOSED;
	}

	/** Number of helper threads that run now. */
	get helpers(): number {
		return this.#helpers.length;
	}

	/**
	 * Calls the kernel for each tile, on helpers too where `parallel`.
	 * @throws INTERNAL when the kernel fails, which no input may make it do
	 */
	run(name: string, args: readonly number[], tiles: number, parallel: boolean): void {
		const kernel = this.#setup.kernels[name];
		if (kernel === undefined) throw new RondoError("INTERNAL", `no kernel is named ${name}`);
		if (args.length > MAX_ARGUMENTS)
			throw new RondoError("INTERNAL", `kernel ${name} got ${args.length} arguments, more than ${MAX_ARGUMENTS}`);
		if (tiles > MAX_TILES) throw new RondoError("INTERNAL", `kernel ${name} got ${tiles} tiles, more than ${MAX_TILES}`);
		// Memory that is not shared leaves its views behind when it grows.
		if (this.#args.length === 0)
			this.#args = new Float64Array(this.#setup.memory.buffer, this.#setup.control + ARGUMENTS_AT, MAX_ARGUMENTS);
		this.#args.set(args);
		const at = this.#setup.control + ARGUMENTS_AT;
		const scratch = this.#setup.scratch[0]!;
		if (!parallel || tiles < 2 || this.#setup.scratch.length < 2) {
			for (let tile = 0; tile < tiles; tile++) kernel(at, tile, scratch);
			return;
		}
		this.#start();
		const words = this.#words;
		this.#job = (this.#job + 1) % 2 ** (32 - TILE_BITS);
		Atomics.store(words, KERNEL, this.#names.indexOf(name));
		Atomics.store(words, DONE, 0);
		Atomics.store(words, FAILED, 0);
		Atomics.store(words, TILES, tiles);
		Atomics.store(words, TICKET, this.#job << TILE_BITS);
		Atomics.add(words, WAKE, 1);
		Atomics.notify(words, WAKE);
		let failure: unknown;
		for (;;) {
			const ticket = Atomics.load(words, TICKET);
			const tile = ticket & CLOSED;
			if (tile >= tiles) break;
			if (Atomics.compareExchange(words, TICKET, ticket, ticket + 1) !== ticket) continue;
			try {
				kernel(at, tile, scratch);
			} catch (error) {
				failure = error;
			}
			Atomics.add(words, DONE, 1);
		}
		for (let turn = 0; turn < SPINS && Atomics.load(words, DONE) < tiles; turn++);
		for (let done = Atomics.load(words, DONE); done < tiles; done = Atomics.load(words, DONE)) Atomics.wait(words, DONE, done);
		Atomics.store(words, TICKET, (this.#job << TILE_BITS) | CLOSED);
		if (failure !== undefined || Atomics.load(words, FAILED) !== 0)
			throw new RondoError("INTERNAL", `kernel ${name} failed`, { cause: failure });
	}

	/** Ends the helpers; the next job that wants some starts new ones. */
	async stop(): Promise<void> {
		const helpers = this.#helpers;
		if (helpers.length === 0) return;
		this.#helpers = [];
		Atomics.store(this.#words, STOP, 1);
		Atomics.add(this.#words, WAKE, 1);
		Atomics.notify(this.#words, WAKE);
		await Promise.all(
			helpers.map(
				(helper) =>
					new Promise<void>((resolve) => {
						helper.ref();
						helper.once("exit", () => resolve());
					}),
			),
		);
	}

	#start(): void {
		const { module, memory, control, scratch } = this.#setup;
		if (this.#helpers.length > 0) return;
		Atomics.store(this.#words, STOP, 0);
		this.#helpers = scratch.slice(1).map((own) => {
			const helper = new Worker(HELPER, {
				eval: true,
				name: "rondo-kernels",
				workerData: { module, memory, control, scratch: own, names: this.#names },
				execArgv: [],
				env: {},
			});
			// Without a helper that could not start, the others do its share.
			helper.on("error", () => undefined);
			// A pool that nobody stopped does not keep the process alive.
			helper.unref();
			return helper;
		});
	}
}
