import { readFile } from "node:fs/promises";
import { RondoError } from "@rondo/errors";

/** The token in a file, without the line end. @throws NOT_FOUND, INVALID_ARGUMENT */
export async function readToken(file: string): Promise<string> {
	const text = await readText(file, "token-file");
	const token = text.trim();
	if (!/^[!-~]+$/.test(token))
		throw new RondoError("INVALID_ARGUMENT", `--token-file ${file} must hold one token and nothing else`, {
			details: { field: "token-file", value: file },
		});
	return token;
}

/** The text of a file that an option names. @throws NOT_FOUND */
export function readText(file: string, option: string): Promise<string> {
	return readFile(file, "utf8").catch((cause: NodeJS.ErrnoException) => {
		throw new RondoError("NOT_FOUND", `--${option} ${file} cannot be read: ${cause.message}`, {
			cause,
			details: { field: option, value: file },
		});
	});
}

/** The JSON of a file that an option names. @throws NOT_FOUND, INVALID_ARGUMENT */
export async function readJson(file: string, option: string): Promise<unknown> {
	const text = await readText(file, option);
	try {
		return JSON.parse(text);
	} catch (cause) {
		throw new RondoError("INVALID_ARGUMENT", `--${option} ${file} is not JSON: ${(cause as SyntaxError).message}`, {
			cause,
			details: { field: option, value: file },
		});
	}
}
