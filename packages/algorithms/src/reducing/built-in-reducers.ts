import type { Reducer } from "../contract.js";
import { bulyan } from "../reducers/bulyan.js";
import { centeredClip } from "../reducers/centered-clip.js";
import { flag } from "../reducers/flag.js";
import { geometricMedian } from "../reducers/geometric-median.js";
import { krum } from "../reducers/krum.js";
import { median } from "../reducers/median.js";
import { multiKrum } from "../reducers/multi-krum.js";
import { normBound } from "../reducers/norm-bound.js";
import { trimmedMean } from "../reducers/trimmed-mean.js";

/** Every reducer that comes with Rondo. A file in `reducers/` that is missing here fails a test. */
export const builtInReducers: readonly Reducer[] = [
	bulyan,
	centeredClip,
	flag,
	geometricMedian,
	krum,
	median,
	multiKrum,
	normBound,
	trimmedMean,
];
