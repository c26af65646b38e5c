import { InvalidArgumentError } from "commander";
import { describe, expect, it } from "vitest";
import { keyValue } from "./key-value.js";

describe("keyValue", () => {
	it.each([
		["a=1", { a: 1 }],
		["a=0.5", { a: 0.5 }],
		["a=true", { a: true }],
		["a=pro", { a: "pro" }],
		['a="1"', { a: "1" }],
		["a=[1,2]", { a: [1, 2] }],
		["a=", { a: "" }],
		["a=b=c", { a: "b=c" }],
	])("%s", (text, wanted) => {
		expect(keyValue(text)).toEqual(wanted);
	});

	it("keeps what came before, and the last of equal keys", () => {
		expect(keyValue("b=2", { a: 1, b: 1 })).toEqual({ a: 1, b: 2 });
	});

	it.each(["", "a", "=1"])("refuses %j", (text) => {
		expect(() => keyValue(text)).toThrow(InvalidArgumentError);
	});
});
