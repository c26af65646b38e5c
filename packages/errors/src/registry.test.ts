import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ERROR_CODES, type ErrorCode } from "./registry.js";

const PAGE = readFileSync(new URL("../../../docs/errors.md", import.meta.url), "utf8");
/** https://grpc.io/docs/guides/status-codes/ */
const GRPC_NAMES = [
	"OK",
	"CANCELLED",
	"UNKNOWN",
	"INVALID_ARGUMENT",
	"DEADLINE_EXCEEDED",
	"NOT_FOUND",
	"ALREADY_EXISTS",
	"PERMISSION_DENIED",
	"RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION",
	"ABORTED",
	"OUT_OF_RANGE",
	"UNIMPLEMENTED",
	"INTERNAL",
	"UNAVAILABLE",
	"DATA_LOSS",
	"UNAUTHENTICATED",
];

/** Entries of the page: the text below each heading of a code. */
const entries = new Map(
	[...PAGE.matchAll(/^### ([A-Z_]+)\n\n([\s\S]*?)(?=\n#|$(?![\s\S]))/gm)].map(([, code, text]) => [code!, text!.trim()]),
);
const codes = Object.keys(ERROR_CODES) as ErrorCode[];

describe("docs/errors.md", () => {
	it("has an entry for each code, and no other, in the order of the registry", () => {
		expect([...entries.keys()]).toEqual(codes);
	});

	it.each(codes)("says of %s what the registry says, what it means and what to do", (code) => {
		const { title, grpc, http, retryable } = ERROR_CODES[code];
		const [head, status, meaning, remedy, ...rest] = entries.get(code)!.split("\n\n");
		expect(head).toBe(title);
		expect(status).toBe(`HTTP ${http} · gRPC ${GRPC_NAMES[grpc]} (${grpc}) · ${retryable ? "retryable" : "not retryable"}`);
		expect(meaning?.length).toBeGreaterThan(30);
		expect(remedy).toMatch(/^\*\*What to do:\*\* \S[\s\S]{20,}/);
		expect(rest).toEqual([]);
	});

	it("names no code that does not exist", () => {
		const known = new Set<string>([...codes, ...GRPC_NAMES]);
		const named = [...PAGE.matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map((match) => match[1]!).filter((name) => !name.startsWith("RONDO_"));
		expect(named.filter((name) => !known.has(name))).toEqual([]);
	});
});

describe("the registry", () => {
	it("has statuses that exist, and sentences for titles", () => {
		for (const [code, { grpc, http, title }] of Object.entries(ERROR_CODES)) {
			expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/);
			expect(grpc).toBeGreaterThan(0);
			expect(GRPC_NAMES[grpc]).toBeDefined();
			expect(http).toBeGreaterThanOrEqual(400);
			expect(http).toBeLessThan(600);
			expect(title).toMatch(/^[A-Z].*\.$/);
		}
	});

	it("calls retryable only what may pass without a change by the caller", () => {
		expect(codes.filter((code) => ERROR_CODES[code].retryable)).toEqual([
			"FOLDER_LOCKED",
			"DISK_FULL",
			"OUTBOX_FULL",
			"UNAVAILABLE",
			"DEADLINE",
		]);
	});
});
