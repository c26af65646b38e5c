import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { CONSTANT_OPERATORS, gradientRules } from "../src/gradients/registry.js";
import { opCases } from "./op-cases.js";

// Rules and fixtures cover each other: docs/onnx-operators.md is made of both.

const own = (op: string): number => opCases.filter((c) => c.op === op).length;

test("every rule has two cases or more", () => {
	expect([...gradientRules.keys()].filter((op) => own(op) < 2)).toEqual([]);
});

test("every operator of the cases has a rule, or no derivative", () => {
	const used = new Set(opCases.flatMap(({ nodes }) => nodes.map(({ op }) => op)));
	expect([...used].filter((op) => !gradientRules.has(op) && !CONSTANT_OPERATORS.has(op))).toEqual([]);
	expect([...gradientRules.keys()].filter((op) => CONSTANT_OPERATORS.has(op))).toEqual([]);
});

test("every case runs in ONNX Runtime", () => {
	expect(opCases.filter(({ checkedWith }) => !checkedWith.includes("onnxruntime float32")).map(({ name }) => name)).toEqual([]);
});

test("the page lists every rule as it is", () => {
	const page = readFileSync(new URL("../../../docs/onnx-operators.md", import.meta.url), "utf8");
	const rows = page.split("\n").map((line) => line.split(" | "));
	for (const op of gradientRules.keys()) {
		const row = rows.find(([first]) => first === `| \`${op}\``);
		expect(row?.[2], `${op}; regenerate it: npm run build && node tools/generate-onnx-operators.mjs`).toBe(String(own(op)));
	}
});

test("a device was asked about every rule", () => {
	const file = new URL("../fixtures/webgpu.json", import.meta.url);
	const { operators } = JSON.parse(readFileSync(file, "utf8")) as { readonly operators: { readonly [op: string]: string } };
	expect(Object.keys(operators).sort()).toEqual([...gradientRules.keys()].sort());
	for (const [op, text] of Object.entries(operators)) expect(text, op).toMatch(/^device$|^falls back: \S/);
});
