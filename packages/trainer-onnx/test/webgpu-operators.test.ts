import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { webgpuDevice } from "@rondo/testkit/webgpu-device";
import { describe, expect, test } from "vitest";
import { gradientRules } from "../src/gradients/registry.js";
import { rewrittenErrors, sideBySide } from "./merged-cases.js";
import { type OpCase, opCases } from "./op-cases.js";
import { openWebgpu } from "./open-webgpu.js";

// Values and gradients of single operators on a WebGPU device, no node of them on the CPU, against PyTorch in float64. What
// comes out is written down in fixtures/webgpu.json, of which docs/onnx-operators.md is made:
// RONDO_WRITE_WEBGPU=1 RONDO_REQUIRE_WEBGPU=1 npx vitest run packages/trainer-onnx/test/webgpu-operators.test.ts

const LIMIT = 1e-4;
const FILE = new URL("../fixtures/webgpu.json", import.meta.url);
const recorded = existsSync(FILE)
	? (JSON.parse(readFileSync(FILE, "utf8")) as { readonly operators: { readonly [op: string]: string } }).operators
	: {};

const device = await webgpuDevice(openWebgpu);

describe.skipIf(device === undefined)("on WebGPU alone", () => {
	const found = new Map<string, string>();

	test.each([...sideBySide(opCases)])("%s", async (_name, cases) => {
		const { op } = cases[0]!;
		const reason = await whyNot(cases);
		if (reason !== undefined || !found.has(op)) found.set(op, reason === undefined ? "device" : `falls back: ${reason}`);
		if (process.env.RONDO_WRITE_WEBGPU !== "1" && gradientRules.has(op)) expect(found.get(op)).toBe(recorded[op]);
		else if (!gradientRules.has(op)) expect(reason).toBeUndefined();
	});

	test("what came out is what is written down", () => {
		const rows = [...found].filter(([op]) => gradientRules.has(op)).sort(([a], [b]) => (a < b ? -1 : 1));
		if (process.env.RONDO_WRITE_WEBGPU === "1")
			writeFileSync(FILE, `${JSON.stringify({ operators: Object.fromEntries(rows) }, null, "\t")}\n`);
		else expect(Object.fromEntries(rows)).toEqual(recorded);
	});
});

/** Why not all of the cases run on the device with the right results; undefined if they do. */
async function whyNot(cases: readonly OpCase[]): Promise<string | undefined> {
	try {
		const errors = await rewrittenErrors(cases, { device: "webgpu", strict: true });
		const wrong = cases.filter((_, i) => !(errors[i]! < LIMIT)).map(({ name }) => name);
		return wrong.length === 0 ? undefined : `wrong values (${wrong.join("; ")})`;
	} catch (cause) {
		return (cause as Error).message.split("\n", 1)[0];
	}
}
