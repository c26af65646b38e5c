export { permutation, uniform01, uniformBelow, weightedDraw } from "./draws.js";
export { checkRange, foldInto, gridOf, MAX_REPORTS, meanOf, normalizedWeight, sumOf } from "./grid-sum.js";
export { fromHex, sha256, toHex } from "./hash.js";
export { PHILOX_ROUNDS, philox4x32 } from "./philox.js";
export { portableExp } from "./portable-exp.js";
export { type Random, randomFrom, randomFromSeed } from "./random.js";
export { addLedger, addSigns, applySum, perturb, rebuild } from "./signs.js";
