import { sha256, toHex } from "@rondo/kernels";

/** 64 hexadecimal digits for one purpose, so that equal seeds are equal simulations. */
export const derivedSeed = (seed: number, purpose: "public" | "secret" | "partition" | "initial" | "adversaries"): string =>
	toHex(sha256(new TextEncoder().encode(`rondo-simulate/1/${purpose}/${seed}`)));
