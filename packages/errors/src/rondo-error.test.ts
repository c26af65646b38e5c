import { describe, expect, it } from "vitest";
import { isRondoError, RondoError, toRondoError } from "./rondo-error.js";

describe("RondoError", () => {
	it("carries code, message, details, cause and the code's entry in the registry", () => {
		const cause = new Error("no space left");
		const error = new RondoError("DISK_FULL", "blob abc needs 5 bytes", { details: { bytes: 5 }, cause });
		expect(error).toBeInstanceOf(Error);
		expect(error).toMatchObject({ name: "RondoError", code: "DISK_FULL", message: "blob abc needs 5 bytes", details: { bytes: 5 }, cause });
		expect(error.spec).toMatchObject({ http: 507, grpc: 8, retryable: true });
		expect(error.stack).toContain("rondo-error.test");
	});

	it("has empty details and no cause by default", () => {
		const error = new RondoError("INTERNAL", "x");
		expect(error.details).toEqual({});
		expect("cause" in error).toBe(false);
	});
});

describe("isRondoError", () => {
	it("knows its own, and those of another copy of this package", () => {
		expect(isRondoError(new RondoError("CONFLICT", "x"))).toBe(true);
		expect(isRondoError(Object.assign(new Error("x"), { name: "RondoError", code: "CONFLICT" }))).toBe(true);
	});

	it.each([
		["a plain error", new Error("x")],
		["an error of the system", Object.assign(new Error("x"), { code: "ENOENT" })],
		["an unregistered code", Object.assign(new Error("x"), { name: "RondoError", code: "NO_SUCH_CODE" })],
		["an object of that shape", { name: "RondoError", code: "CONFLICT", message: "x" }],
		["a string", "CONFLICT"],
		["null", null],
	])("does not know %s", (_what, value) => {
		expect(isRondoError(value)).toBe(false);
	});
});

describe("toRondoError", () => {
	it("leaves a RondoError as it is", () => {
		const error = new RondoError("NOT_FOUND", "x");
		expect(toRondoError(error)).toBe(error);
	});

	it("makes anything else INTERNAL and keeps it as the cause", () => {
		const cause = new TypeError("x is not a function");
		expect(toRondoError(cause)).toMatchObject({ code: "INTERNAL", message: "x is not a function", cause });
		expect(toRondoError("thrown text")).toMatchObject({ code: "INTERNAL", message: "thrown text", cause: "thrown text" });
		expect(toRondoError(undefined)).toMatchObject({ code: "INTERNAL", message: "undefined" });
	});
});
