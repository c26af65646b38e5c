import { isRondoError, RondoError } from "@rondo/errors";

const PAGE = 65_536;
const ALIGNMENT = 64;
/** Address space to ask for, in pages; less where a machine refuses. WebAssembly of 32 bits ends at 65,536. */
const MAXIMA = [65_536, 16_384, 4096, 1024];
/** Bytes that vectors leave for tables and for the chunks of vectors that live elsewhere. */
const RESERVE = 64 * 2 ** 20;

interface Hole {
	readonly at: number;
	readonly bytes: number;
}

/** The one memory that kernels of this thread and its helpers work in, and what is in use of it. */
export class KernelMemory {
	readonly memory: WebAssembly.Memory;
	/** Growing makes a new `buffer` object of the same bytes: arrays may be views of an older one. */
	readonly #buffers = new WeakSet<ArrayBufferLike>();
	readonly #used = new Map<number, number>();
	/** Free parts below `#end`, ascending, none beside another. */
	#holes: Hole[] = [];
	#end: number;

	/** @param base first byte that is free */
	constructor(memory: WebAssembly.Memory, base: number) {
		this.memory = memory;
		this.#end = roundUp(base);
	}

	/** Whether `array` lies in this memory. */
	holds(array: ArrayBufferView): boolean {
		return array.buffer === this.memory.buffer || this.#buffers.has(array.buffer);
	}

	/**
	 * As `allocate`, but leaves room for what kernels need while they run.
	 * @returns undefined when there is no room
	 */
	tryAllocate(bytes: number): number | undefined {
		try {
			this.release(this.allocate(bytes + RESERVE));
		} catch (error) {
			if (!isRondoError(error)) throw error;
			return undefined;
		}
		return this.allocate(bytes);
	}

	/**
	 * Address of `bytes` bytes, a multiple of 64; their content is left over from earlier use.
	 * @throws TOO_LARGE when the memory cannot grow that far
	 */
	allocate(bytes: number): number {
		const size = Math.max(roundUp(bytes), ALIGNMENT);
		const index = this.#holes.findIndex((hole) => hole.bytes >= size);
		if (index !== -1) {
			const hole = this.#holes[index]!;
			this.#holes.splice(index, 1, ...(hole.bytes > size ? [{ at: hole.at + size, bytes: hole.bytes - size }] : []));
			this.#used.set(hole.at, size);
			return hole.at;
		}
		const at = this.#end;
		this.#grow(at + size);
		this.#end = at + size;
		this.#used.set(at, size);
		return at;
	}

	/** Gives back what `allocate` returned; anything else, and a second time, does nothing. */
	release(at: number): void {
		const bytes = this.#used.get(at);
		if (bytes === undefined) return;
		this.#used.delete(at);
		let start = at;
		let end = at + bytes;
		const rest: Hole[] = [];
		for (const hole of this.#holes) {
			if (hole.at + hole.bytes === start) start = hole.at;
			else if (hole.at === end) end += hole.bytes;
			else rest.push(hole);
		}
		if (end === this.#end) this.#end = start;
		else rest.push({ at: start, bytes: end - start });
		this.#holes = rest.sort((a, b) => a.at - b.at);
	}

	#grow(end: number): void {
		const { buffer } = this.memory;
		if (end <= buffer.byteLength) return;
		this.#buffers.add(buffer);
		// At least an eighth more than there is: many small vectors make few steps.
		const wanted = Math.ceil((end - buffer.byteLength) / PAGE);
		const steps = [Math.max(wanted, Math.ceil(buffer.byteLength / PAGE / 8)), wanted];
		for (const pages of steps) {
			try {
				this.memory.grow(pages);
				return;
			} catch (error) {
				if (pages !== wanted) continue;
				throw new RondoError("TOO_LARGE", `kernel memory cannot grow to ${end} bytes: release vectors that are no longer needed`, {
					cause: error,
				});
			}
		}
	}
}

const roundUp = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

/** A memory with as much address space as the machine gives; undefined where it gives none. */
export function newMemory(shared: boolean): WebAssembly.Memory | undefined {
	const initial = 16;
	for (const maximum of MAXIMA) {
		try {
			return new WebAssembly.Memory({ initial, maximum, shared });
		} catch (error) {
			if (!(error instanceof RangeError)) throw error;
		}
	}
	return undefined;
}
