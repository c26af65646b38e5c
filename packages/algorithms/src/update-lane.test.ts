import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { resolveConfig } from "./config.js";
import { checkCodec } from "./encoding/codec-options.js";
import { fedavg } from "./strategies/fedavg.js";
import { updateBytes, updateLane } from "./update-lane.js";

const layout = layoutOf([{ name: "w", shape: [1000] }]);
const config = (options: object) => resolveConfig(fedavg, options, layout);

describe("codec options", () => {
	it.each([
		[{}, ["f32"], 16, 4000],
		[{ codec: "f16", absMax: 3 }, ["f16"], 3, 2000],
		[{ codec: "bf16" }, ["bf16"], 16, 2000],
		[{ codec: "int8", absMax: 3 }, ["int8"], 4, 1001],
		[{ codec: "int4" }, ["int4"], 16, 501],
		// A share of 1 %: the bitmap would take 125 bytes, the gaps at most 12.
		[{ codec: "top-k", codecShare: 0.01 }, ["top-k", 0.01, "f32"], 16, 1 + 12 + 40],
		[{ codec: "seeded-sparse", absMax: 2 }, ["seeded-sparse", 0.1, "f32"], 20, 408],
		[{ codec: "seeded-sparse", codecShare: 0.25, codecValues: "f16" }, ["seeded-sparse", 0.25, "f16"], 64, 508],
		// Mean 500, eight standard deviations of 15.8, and 16.
		[{ codec: "dare", codecShare: 0.5 }, ["dare", 0.5, "f32"], 32, 8 + 4 * (500 + 127 + 16)],
	])("%j", (options, codec, absMax, bytes) => {
		expect(updateLane(config(options), layout)).toMatchObject({ length: 1000, combine: "mean", codec, absMax });
		expect(updateBytes(config(options), layout)).toBe(bytes);
		expect(fedavg.bounds(config(options), layout).report).toBe(1 + bytes);
	});

	it("a sparse codec goes with the mean alone", () => {
		expect(() => checkCodec(config({ codec: "int4" }), "median")).not.toThrow();
		expect(() => checkCodec(config({ codec: "dare" }))).not.toThrow();
		expect(() => checkCodec(config({ codec: "dare" }), "median")).toThrow(
			expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(/^option codec dare sends 0 .* reducer median/) }),
		);
	});

	it.each([
		[{ codecShare: 0.5 }, /^option codecShare is for the codecs dare, seeded-sparse, top-k: f32 sends every weight, .* got 0.5$/],
		[{ codec: "int8", codecShare: 0.1 }, /^option codecShare .* int8 sends every weight/],
		[{ codec: "f16", codecValues: "f16" }, /^option codecValues .* got f16$/],
		[{ codec: "top-k", codecShare: 1.5 }, /codecShare of fedavg must be <= 1/],
		[{ codec: "topk" }, /codec of fedavg must be one of/],
	])("refuses %j when the run is submitted", (options, message) => {
		expect(() => config(options)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }));
	});
});
