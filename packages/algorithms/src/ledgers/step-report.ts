import { RondoError } from "@rondo/errors";
import { packBits, unpackBits } from "@rondo/kernels";
import { type PackedScalars, packScalars, type ScalarKind, unpackScalars } from "../encoding/scalar-codec.js";
import type { ScheduleOptions } from "../local-training/schedule.js";

/**
 * What a client reports of its steps, in their order: the candidates, ⌈log2 K⌉ bits each (`packBits`), their scalar gradients,
 * and the round of the task where the step size depends on it.
 */
export type StepReport =
	| readonly [candidates: Uint8Array, gradients: PackedScalars[ScalarKind]]
	| readonly [candidates: Uint8Array, gradients: PackedScalars[ScalarKind], round: number];

/** Options that the form and the limits of a report depend on. */
export interface StepOptions extends Pick<ScheduleOptions, "schedule"> {
	/** K, the number of candidates. */
	readonly candidates: number;
	/** Most steps. */
	readonly localSteps: number;
	/** How gradients travel. */
	readonly scalars: ScalarKind;
	/** Largest magnitude of a gradient. */
	readonly maxAbsGradient: number;
}

/** The steps of a report. */
export interface Steps {
	/** Each below `options.candidates`. */
	readonly candidates: Uint32Array;
	/** As many, within ±maxAbsGradient. */
	readonly gradients: Float32Array;
	/** Of the task; 1 where the step size does not depend on it. */
	readonly round: number;
}

/** Bits of a candidate's number. */
const widthOf = (candidates: number): number => Math.max(1, 32 - Math.clz32(candidates - 1));

/** A report of steps; gradients that `roundScalar` has rounded come back as they are. */
export function packSteps({ candidates, gradients, round }: Steps, options: StepOptions): StepReport {
	const packed = packBits(candidates, widthOf(options.candidates));
	const scalars = packScalars(options.scalars, gradients);
	return options.schedule === "constant" ? [packed, scalars] : [packed, scalars, round];
}

/**
 * The steps of a report from anybody.
 * @throws INVALID_ARGUMENT, BAD_ENCODING or LANE_OUT_OF_BOUND, each naming what is wrong
 */
export function unpackSteps(header: unknown, options: StepOptions): Steps {
	const scheduled = options.schedule !== "constant";
	const [packed, scalars, round = 1] = Array.isArray(header) && header.length === (scheduled ? 3 : 2) ? (header as unknown[]) : [];
	if (!(packed instanceof Uint8Array)) {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`the header must be [candidates, gradients${scheduled ? ", round" : ""}], candidates a Uint8Array`,
		);
	}
	if (!(Number.isSafeInteger(round) && (round as number) >= 1))
		throw new RondoError("INVALID_ARGUMENT", `the round must be a positive integer, got ${String(round)}`);
	const gradients = unpackScalars(options.scalars, scalars);
	if (gradients.length > options.localSteps)
		throw new RondoError("INVALID_ARGUMENT", `the header must hold at most ${options.localSteps} steps, got ${gradients.length}`);
	const candidates = unpackBits(packed, widthOf(options.candidates), gradients.length);
	for (let i = 0; i < candidates.length; i++) {
		if (candidates[i]! >= options.candidates)
			throw new RondoError("INVALID_ARGUMENT", `candidate of step ${i} must be below ${options.candidates}, got ${candidates[i]}`);
		if (!(Math.abs(gradients[i]!) <= options.maxAbsGradient)) {
			throw new RondoError("LANE_OUT_OF_BOUND", `gradient of step ${i} must be within ±${options.maxAbsGradient}, got ${gradients[i]}`);
		}
	}
	return { candidates, gradients, round: round as number };
}

/** A report of the largest encoded size. */
export function largestReport(options: StepOptions): StepReport {
	const { localSteps } = options;
	return packSteps(
		{ candidates: new Uint32Array(localSteps), gradients: new Float32Array(localSteps), round: Number.MAX_SAFE_INTEGER },
		options,
	);
}
