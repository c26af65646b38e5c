export { applySums, foldFloat32, foldFloat64, roundToUnits } from "./elementwise";
export { ledgerIndependent, projectIndependent } from "./independent";
export { perturb } from "./perturb";
export { rankCollect, rankCount, rankFinish, rankKeys, rankMove, rankPack, rankSpread, rankUnpack } from "./ranking";
export { ledgerStructured, projectStructured } from "./structured";

/** First byte behind the module's constants. */
export function memoryBase(): usize {
	return __heap_base;
}
