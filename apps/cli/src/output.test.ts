import { describe, expect, it } from "vitest";
import { fields, Output, size, table } from "./output.js";

function recorded(json: boolean) {
	const stdout: string[] = [];
	const stderr: string[] = [];
	return {
		stdout,
		stderr,
		out: new Output({ json, stdout: { write: (text) => stdout.push(text) }, stderr: { write: (text) => stderr.push(text) } }),
	};
}

describe("Output", () => {
	it("prints text for people", () => {
		const { out, stdout, stderr } = recorded(false);
		out.emit({ a: 1 }, () => "one");
		out.say("two");
		out.aside("three");
		expect({ stdout, stderr }).toEqual({ stdout: ["one\n", "two\n"], stderr: ["three\n"] });
	});

	it("prints one JSON value per line for programs, and no remarks", () => {
		const { out, stdout } = recorded(true);
		out.emit({ a: 1 }, () => "one");
		out.say("two");
		expect(stdout).toEqual(['{"a":1}\n']);
	});

	it("shows no progress where nobody looks", () => {
		const { out, stdout, stderr } = recorded(false);
		const progress = out.progress();
		progress.update(1, 2, "half");
		progress.stop();
		expect([...stdout, ...stderr]).toEqual([]);
	});
});

describe("text", () => {
	it("lays tables out in columns", () => {
		expect(
			table(
				["NAME", "SIZE"],
				[
					["a", 10],
					["long", 5],
				],
				{ right: [1] },
			),
		).toBe("NAME  SIZE\na       10\nlong     5");
	});

	it("writes names and values", () => {
		expect(fields({ id: "x", longer: null, list: [1] })).toBe("id      x\nlonger  -\nlist    [1]");
	});

	it.each([
		[0, "0 B"],
		[999, "999 B"],
		[1000, "1.0 kB"],
		[203_702, "203.7 kB"],
		[5.3e6, "5.3 MB"],
		[7.25e15, "7250.0 TB"],
	])("writes %d bytes as %s", (bytes, text) => {
		expect(size(bytes)).toBe(text);
	});
});
