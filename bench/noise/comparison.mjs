// Runs of both kinds that differ in nothing else, seed by seed.

/** A mean difference is more than the seeds explain from this many standard errors on, if there are as many seeds. */
const STANDARD_ERRORS = 3;
const FEWEST_SEEDS = 3;
/** Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom. */
const STUDENT = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145, 2.131];
const NORMAL = 1.96;

const meanOf = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * How noise/2 did beside noise/1 in one metric.
 * @param pairs final values of noise/1 and noise/2, one pair for each seed
 * @param better 1 when larger values are better, -1 when smaller ones are
 */
export function compare(pairs, better, margin) {
	const gains = pairs.map(([independent, structured]) => better * (structured - independent));
	const gain = meanOf(gains);
	const n = gains.length;
	const standardError = n < 2 ? undefined : Math.sqrt(gains.reduce((sum, x) => sum + (x - gain) ** 2, 0) / (n - 1) / n);
	return {
		independent: meanOf(pairs.map(([first]) => first)),
		structured: meanOf(pairs.map(([, second]) => second)),
		gain,
		standardError,
		// Half the width of the 95 % interval of the gain.
		interval: standardError === undefined ? undefined : standardError * (STUDENT[n - 2] ?? NORMAL),
		worse: n < FEWEST_SEEDS ? undefined : gain < -margin && gain < -STANDARD_ERRORS * standardError,
	};
}

/** The rule in words. */
export const RULE = `worse: from ${FEWEST_SEEDS} seeds on, noise/2 is behind by more than the margin of the metric and by more than ${STANDARD_ERRORS} standard errors of the mean difference`;
