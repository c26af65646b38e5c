// Seconds of both sides, taken in turns: on a machine with other work, a slow moment is slow for both.

const SAMPLES = 11;
/** A sample of some hundredths of a second outlasts a time slice that another process got. */
const SAMPLE_SECONDS = 0.04;
const MOST_PASSES = 200;
/** WebAssembly runs slowly until its functions have been called often and the optimiser is through with them. */
const WARM_UP_SECONDS = 0.25;
const WARM_UP_PASSES = 2;

export const medianOf = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function timed(pass, passes) {
	const begunAtMs = performance.now();
	for (let i = 0; i < passes; i++) pass();
	return (performance.now() - begunAtMs) / 1000 / passes;
}

/** A kernel of this process as something to take samples of. */
export function kernelSampler(pass) {
	return { sample: (passes) => timed(pass, passes) };
}

/** @returns {Promise<number>} passes of one sample, after a warm-up */
export async function warmUp(sampler) {
	const begunAtMs = performance.now();
	let seconds = Number.POSITIVE_INFINITY;
	for (let i = 0; i < WARM_UP_PASSES || performance.now() - begunAtMs < WARM_UP_SECONDS * 1000; i++) {
		seconds = Math.min(seconds, await sampler.sample(1));
	}
	return Math.min(MOST_PASSES, Math.max(1, Math.ceil(SAMPLE_SECONDS / seconds)));
}

/**
 * Medians of all samplers.
 * @returns {Promise<number[]>} seconds per pass
 */
export async function takeTurns(samplers, passes) {
	const seconds = samplers.map(() => []);
	for (let i = 0; i < SAMPLES; i++) {
		for (const [s, sampler] of samplers.entries()) seconds[s].push(await sampler.sample(passes));
	}
	return seconds.map(medianOf);
}
