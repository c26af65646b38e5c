/** Adding and subtracting it rounds a float64 of at most 2^51 to the nearest integer, ties to even. */
export const ROUNDING = 1.5 * 2 ** 52;

const view = new DataView(new ArrayBuffer(8));

/** 2^exponent for an exponent from −1022 to 1023, made from its bits: `Math.pow` is only approximate in the language. */
export function powerOfTwo(exponent: number): number {
	view.setUint32(0, (exponent + 1023) << 20);
	view.setUint32(4, 0);
	return view.getFloat64(0);
}

/** The smallest e with value ≤ 2^e, for a positive normal number, read off its bits. */
export function ceilLog2(value: number): number {
	view.setFloat64(0, value);
	const high = view.getUint32(0);
	const exact = (high & 0xfffff) === 0 && view.getUint32(4) === 0;
	return (high >>> 20) - 1023 + (exact ? 0 : 1);
}
