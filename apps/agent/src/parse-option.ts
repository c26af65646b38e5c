import { InvalidArgumentError } from "commander";

/** Parses an option that is a whole number in a range; for commander's `argParser`. */
export const integer =
	(least: number, most = 2 ** 31 - 1) =>
	(text: string): number => {
		const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : Number.NaN;
		if (!(value >= least && value <= most)) throw new InvalidArgumentError(`It must be an integer from ${least} to ${most}.`);
		return value;
	};

/** Parses an option that is a number in a range. */
export const decimal =
	(least: number, most: number) =>
	(text: string): number => {
		const value = text.trim() === "" ? Number.NaN : Number(text);
		if (!(value >= least && value <= most)) throw new InvalidArgumentError(`It must be a number from ${least} to ${most}.`);
		return value;
	};

/** Parses an option that is 32 bytes in hexadecimal. */
export function hex32(text: string): string {
	if (!/^[0-9a-f]{64}$/.test(text)) throw new InvalidArgumentError("It must be 64 lower-case hexadecimal digits.");
	return text;
}

/** Collects the values of an option that may be repeated. */
export const repeated = (text: string, before: readonly string[] = []): string[] => [...before, text];
