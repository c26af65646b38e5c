import { readFileSync } from "node:fs";
import { ERROR_CODES, type ErrorCode, RondoError } from "@rondo/errors";
import { describe, expect, it } from "vitest";
import { EXIT_CODES, exitCodeOf } from "./exit-codes.js";

const codes = Object.keys(ERROR_CODES) as ErrorCode[];

describe("exit codes", () => {
	it("are those of docs/cli.md", () => {
		const docs = readFileSync(new URL("../../../docs/cli.md", import.meta.url), "utf8");
		const rows = [...docs.matchAll(/^\| ([0-9]+) \| (.*) \|$/gm)].map(([, code, meaning]) => ({ code: Number(code), meaning }));
		expect(rows).toEqual(Object.values(EXIT_CODES));
	});

	it.each(codes)("%s has one that is documented and is no success", (code) => {
		const exitCode = exitCodeOf(new RondoError(code, "x"));
		expect(Object.values(EXIT_CODES).map((entry): number => entry.code)).toContain(exitCode);
		expect(exitCode).not.toBe(0);
	});

	it.each([
		["REPLAY_MISMATCH", 1],
		["DIGEST_MISMATCH", 1],
		["INVALID_ARGUMENT", 2],
		["UNKNOWN_STRATEGY", 2],
		["UNAVAILABLE", 3],
		["TOKEN_REVOKED", 4],
		["FORBIDDEN", 4],
		["NOT_FOUND", 5],
		["ALREADY_EXISTS", 6],
		["FOLDER_LOCKED", 6],
		["TRAINER_FAILED", 70],
		["CANCELLED", 130],
	] as const)("%s is %i", (code, wanted) => {
		expect(exitCodeOf(new RondoError(code, "x"))).toBe(wanted);
	});
});
