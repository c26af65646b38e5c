// Text of a Markov chain: what the next character may be depends on the last one only, so the least possible loss is known.
import { uniform01, uniformBelow, weightedDraw } from "@rondo/kernels";

/** Larger powers of uniform numbers as weights make the next character easier to guess. */
const SHARPNESS = 12;
const WEIGHT_RANGE = 10_000;
const SETTLING_STEPS = 1000;

/** A chain over `size` characters, drawn from `random`. */
export class MarkovChain {
	#cumulative;

	constructor(random, size) {
		this.#cumulative = Array.from({ length: size }, (_, from) => {
			let total = 0;
			return Float64Array.from({ length: size }, (_x, to) => {
				total += 1 + Math.floor(WEIGHT_RANGE * uniform01(random.at(from), to) ** SHARPNESS);
				return total;
			});
		});
	}

	/** Mean surprise of a character after its predecessor, in nats: no model has a smaller expected loss. */
	get entropy() {
		const rows = this.#cumulative.map((row) => row.map((sum, to) => (sum - (to === 0 ? 0 : row[to - 1])) / row.at(-1)));
		let often = new Float64Array(rows.length).fill(1 / rows.length);
		for (let step = 0; step < SETTLING_STEPS; step++) {
			const next = new Float64Array(rows.length);
			for (const [from, row] of rows.entries()) for (const [to, chance] of row.entries()) next[to] += often[from] * chance;
			often = next;
		}
		return rows.reduce((sum, row, from) => sum - often[from] * row.reduce((s, chance) => s + chance * Math.log(chance), 0), 0);
	}

	/** Texts of `length` characters, one after the other, as numbers. */
	texts(random, count, length) {
		const out = new Float32Array(count * length);
		let last = uniformBelow(random.at("start"), 0, this.#cumulative.length);
		const draws = random.at("next");
		for (let i = 0; i < out.length; i++) {
			last = weightedDraw(draws, i, this.#cumulative[last]);
			out[i] = last;
		}
		return out;
	}
}
