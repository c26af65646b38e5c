export { packBits, unpackBits } from "./bit-packing.js";
export { fillGaussian4, gaussian4, permutation, uniform01, uniformBelow, weightedDraw } from "./draws.js";
export { ceilLog2, powerOfTwo } from "./float-bits.js";
export { checkRange, foldInto, gridOf, MAX_REPORTS, meanOf, normalizedWeight, sumOf } from "./grid-sum.js";
export { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from "./half-floats.js";
export { fromHex, sha256, toHex } from "./hash.js";
export { median, trimmedMean } from "./order-statistics.js";
export { NOISE_KINDS, type NoiseKind, type Perturbations, perturbations } from "./perturbations.js";
export { PHILOX_ROUNDS, philox4x32 } from "./philox.js";
export { portableExp, portableLog, portableTanh } from "./portable-math.js";
export { dequantizeInt4, dequantizeInt8, INT4_LEVELS, INT8_LEVELS, quantizeInt4, quantizeInt8, scaleFor } from "./quantize.js";
export { type Random, randomFrom, randomFromSeed } from "./random.js";
export { addRanks, addSparseRanks, argsort, checkPermutation, inversePermutation, type Rankable, rankSums, topK } from "./ranking.js";
export { cosine, dot, gram, gramInto, norm, normSquared, REDUCTION_TILE } from "./reductions.js";
export type { RealVector } from "./reference/reductions.js";
export {
	allocateVector,
	configureKernels,
	type KernelOptions,
	type KernelState,
	type KernelVector,
	kernelState,
	releaseVector,
	stopKernels,
} from "./runtime/runtime.js";
export { addLedger, applySum, perturb, project, projectionUnit, rebuild } from "./signs.js";
export { maxGapsBytes, packGaps, packMask, unpackGaps, unpackMask } from "./sparse-mask.js";
