export { applySums, foldFloat32, foldFloat64, roundToUnits } from "./elementwise";
export { ledgerIndependent, projectIndependent } from "./independent";
export { selectFloat32, selectFloat64 } from "./order-statistics";
export { perturb } from "./perturb";
export { rankCollect, rankCount, rankFinish, rankKeys, rankMove, rankPack, rankSpread, rankUnpack } from "./ranking";
export { cosineFloat32, cosineFloat64, dotFloat32, dotFloat64, gramFloat32, gramFloat64 } from "./reductions";
export { ledgerStructured, projectStructured } from "./structured";

/** First byte behind the module's constants. */
export function memoryBase(): usize {
	return __heap_base;
}
