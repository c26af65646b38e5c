import { contentDigest, digestOf, encodePlain, type Plain, vecOf } from "@rondo/algorithms";
import { isRondoError } from "@rondo/errors";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { reportOf } from "../../test/engine-fixture.js";
import { decodeReport, encodeReport, MAX_REPORT_BYTES, type Report, reportDigest } from "./report.js";

const good = reportOf([1, 2, 3], [4, 5], 7, { header: { words: ["a"], counts: Uint16Array.of(1, 2) }, metrics: { loss: 0.5 } });
const asPlain = (report: object): Plain => report as Plain;

describe("reports", () => {
	test("come back from their bytes; the digest is that of the value", () => {
		const blob = vecOf("u8", 3, contentDigest(Uint8Array.of(1, 2, 3)));
		const report = { ...good, lanes: { ...good.lanes, big: blob } };
		const { bytes, digest } = encodeReport(report);
		expect(decodeReport(bytes)).toEqual(report);
		expect(digest).toBe(digestOf(asPlain(report)));
		expect(reportDigest(bytes)).toBe(digest);
	});

	test.each<[string, object, string, RegExp]>([
		["no examples", { ...good, numExamples: 0 }, "INVALID_ARGUMENT", /numExamples .*got 0/],
		["half an example", { ...good, numExamples: 1.5 }, "INVALID_ARGUMENT", /numExamples .*got 1.5/],
		["more examples than a safe integer", { ...good, numExamples: 2n ** 60n }, "INVALID_ARGUMENT", /numExamples .*got 1152921504606846976/],
		["a text for a lane", { ...good, lanes: { delta: "x" } }, "INVALID_ARGUMENT", /lanes\.delta .*got "x"/],
		["a Vec of f32 for a lane", { ...good, lanes: { delta: vecOf("f32", 1, "0".repeat(64)) } }, "INVALID_ARGUMENT", /Vec of 1 f32/],
		["a list of lanes", { ...good, lanes: [] }, "INVALID_ARGUMENT", /report\.lanes must be a map/],
		["an odd lane name", { ...good, lanes: { "a b": Uint8Array.of() } }, "INVALID_ARGUMENT", /"a b"/],
		[
			"too many lanes",
			{ ...good, lanes: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`l${i}`, Uint8Array.of()])) },
			"TOO_LARGE",
			/65 entries/,
		],
		[
			"too many metrics",
			{ ...good, metrics: Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`m${i}`, i])) },
			"TOO_LARGE",
			/65 entries/,
		],
		["a text for a metric", { ...good, metrics: { loss: "0" } }, "INVALID_ARGUMENT", /metrics\.loss .*"0"/],
		["a huge metric", { ...good, metrics: { loss: -1e200 } }, "INVALID_ARGUMENT", /metrics\.loss .*-1e\+200/],
		["a missing field", { header: null, lanes: {}, metrics: {} }, "INVALID_ARGUMENT", /got header, lanes, metrics/],
		["an unknown field", { ...good, extra: 1 }, "INVALID_ARGUMENT", /extra/],
		["a large header", { ...good, header: "x".repeat(65_536) }, "TOO_LARGE", /header has 65541 bytes/],
		["a large report", { ...good, lanes: { delta: new Uint8Array(MAX_REPORT_BYTES) } }, "TOO_LARGE", /at most 196608/],
		["a list", [1, 2], "INVALID_ARGUMENT", /must be a map/],
	])("with %s are refused", (_what, report, code, message) => {
		const decoding = () => decodeReport(encodePlain(asPlain(report)));
		expect(decoding).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }));
	});

	test("that cannot be decoded cannot be encoded", () => {
		expect(() => encodeReport({ ...good, metrics: { loss: Number.NaN } })).toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
		expect(() => encodeReport({ ...good, numExamples: -1 })).toThrow(/got -1/);
		expect(() => encodeReport({ ...good, lanes: { delta: new Uint8Array(MAX_REPORT_BYTES) } })).toThrow(
			expect.objectContaining({ code: "TOO_LARGE" }),
		);
	});

	test("any bytes give a report or a RondoError", () => {
		const total = (bytes: Uint8Array) => {
			try {
				const report: Report = decodeReport(bytes);
				expect(encodeReport(report).bytes).toEqual(bytes);
			} catch (error) {
				expect(isRondoError(error) && error.message).toBeTruthy();
			}
		};
		fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), total));
		const { bytes } = encodeReport(good);
		fc.assert(
			fc.property(fc.nat(bytes.length - 1), fc.nat(255), fc.nat(bytes.length), (at, byte, cut) => {
				const changed = bytes.slice(0, Math.max(cut, at + 1));
				changed[at] = byte;
				total(changed);
			}),
		);
		// Nested far deeper than any stack.
		total(new Uint8Array(MAX_REPORT_BYTES).fill(0x81));
	});
});
