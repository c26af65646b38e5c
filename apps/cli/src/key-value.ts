import { InvalidArgumentError } from "commander";

/** Collects `-o key=value`; a value that is JSON is taken as such, any other as text. */
export function keyValue(text: string, before: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
	const at = text.indexOf("=");
	if (at < 1) throw new InvalidArgumentError("It must be of the form key=value.");
	const value = text.slice(at + 1);
	try {
		return { ...before, [text.slice(0, at)]: JSON.parse(value) as unknown };
	} catch (error) {
		if (error instanceof SyntaxError) return { ...before, [text.slice(0, at)]: value };
		throw error;
	}
}
