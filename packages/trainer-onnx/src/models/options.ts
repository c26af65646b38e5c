import { RondoError } from "@rondo/errors";

const MAX_SIZE = 2 ** 24;

/** @throws INVALID_ARGUMENT that names the option and its value unless it is an integer of at least `least` */
export function checkSize(field: string, value: number, least = 1): void {
	if (!Number.isSafeInteger(value) || value < least || value > MAX_SIZE)
		throw new RondoError("INVALID_ARGUMENT", `${field} must be an integer from ${least} to 2^24, got ${value}`, { details: { field } });
}

/** @throws INVALID_ARGUMENT unless `divisor` divides `value` */
export function checkDivides(field: string, value: number, byField: string, divisor: number): void {
	if (value % divisor !== 0)
		throw new RondoError("INVALID_ARGUMENT", `${field} (${value}) must be a multiple of ${byField} (${divisor})`, { details: { field } });
}
