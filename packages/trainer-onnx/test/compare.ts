/** ‖a − b‖ / ‖b‖. */
export function relativeError(actual: ArrayLike<number>, wanted: ArrayLike<number>): number {
	let difference = 0;
	let size = 0;
	for (let i = 0; i < wanted.length; i++) {
		difference += (actual[i]! - wanted[i]!) ** 2;
		size += wanted[i]! ** 2;
	}
	return actual.length === wanted.length ? Math.sqrt(difference / size) : Number.POSITIVE_INFINITY;
}

export const norm = (values: ArrayLike<number>): number => Math.sqrt(Array.from(values).reduce((sum, value) => sum + value * value, 0));
