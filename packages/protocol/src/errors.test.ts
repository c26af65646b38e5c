import { Metadata, status } from "@grpc/grpc-js";
import { ERROR_CODES, type ErrorCode, RondoError } from "@rondo/errors";
import { describe, expect, test } from "vitest";
import { ERROR_CODE_KEY, ERROR_DETAILS_KEY, fromServiceError, toServiceError } from "./errors.js";

describe("errors as gRPC statuses", () => {
	test.each(Object.keys(ERROR_CODES) as ErrorCode[])("%s survives the way there and back", (code) => {
		const there = toServiceError(new RondoError(code, "cohortSize is 0", { details: { option: "cohortSize", value: 0 } }));
		expect(there.code).toBe(ERROR_CODES[code].grpc);
		const back = fromServiceError(there);
		expect(back).toMatchObject({ code, message: "cohortSize is 0", details: { option: "cohortSize", value: 0 } });
	});

	test("what is not a RondoError tells nothing but INTERNAL", () => {
		const there = toServiceError(new Error("connect ECONNREFUSED db:5432, password=hunter2"));
		expect(there.code).toBe(status.INTERNAL);
		expect(JSON.stringify([there.details, there.metadata.getMap()])).not.toContain("hunter2");
	});

	test("details that JSON or a header cannot carry do not hide the error", () => {
		const cycle: Record<string, unknown> = {};
		cycle.self = cycle;
		for (const details of [cycle, { name: "Zoë\n雪\u{1f600}" }, { big: 2n ** 60n }, { huge: "x".repeat(100_000) }]) {
			const there = toServiceError(new RondoError("CONFLICT", "no", { details }));
			expect(there.metadata.get(ERROR_DETAILS_KEY)[0]).toMatch(/^[ -~]{2,4096}$/);
			expect(fromServiceError(there).code).toBe("CONFLICT");
		}
		expect(fromServiceError(toServiceError(new RondoError("CONFLICT", "no", { details: { name: "雪" } }))).details).toEqual({ name: "雪" });
	});

	test.each([
		[status.UNAVAILABLE, "UNAVAILABLE"],
		[status.INTERNAL, "UNAVAILABLE"],
		[status.CANCELLED, "UNAVAILABLE"],
		[status.DEADLINE_EXCEEDED, "DEADLINE"],
		[status.RESOURCE_EXHAUSTED, "TOO_LARGE"],
		[status.UNAUTHENTICATED, "UNAUTHENTICATED"],
	])("status %i without a Rondo code means %s", (code, expected) => {
		const error = Object.assign(new Error("x"), { code, details: "x", metadata: new Metadata() });
		expect(fromServiceError(error).code).toBe(expected);
	});

	test("unknown codes and malformed details of a peer are not believed", () => {
		const metadata = new Metadata();
		metadata.set(ERROR_CODE_KEY, "toString");
		metadata.set(ERROR_DETAILS_KEY, "{");
		expect(fromServiceError(Object.assign(new Error("x"), { code: status.NOT_FOUND, details: "x", metadata })).code).toBe("NOT_FOUND");
		metadata.set(ERROR_CODE_KEY, "RUN_OVER");
		expect(fromServiceError(Object.assign(new Error("x"), { code: status.NOT_FOUND, details: "x", metadata }))).toMatchObject({
			code: "RUN_OVER",
			details: { omitted: "not JSON" },
		});
		expect(fromServiceError("boom").code).toBe("INTERNAL");
	});
});
