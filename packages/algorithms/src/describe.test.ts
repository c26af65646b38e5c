import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { describeStrategies } from "./describe.js";
import { builtInStrategies } from "./registry.js";

it("docs/algorithms.md has the tables of the strategies as they are", () => {
	const page = readFileSync(new URL("../../../docs/algorithms.md", import.meta.url), "utf8");
	const [, generated] = page.split(/<!-- (?:begin|end) generated -->\n/);
	expect(generated?.trim(), "regenerate it: npm run build && node tools/generate-algorithms.mjs").toBe(describeStrategies());
});

it("names every strategy and option", () => {
	const text = describeStrategies();
	for (const { name, schema } of builtInStrategies) {
		expect(text).toContain(`\n### ${name}\n`);
		for (const option of Object.keys((schema as { properties: object }).properties)) expect(text).toContain(`| \`${option}\` |`);
	}
	expect(text).toContain("| `unit` | 2^-30 | number above `0` to `1` |");
	expect(text).not.toContain("undefined");
});

it("every built-in strategy says where it is from, when to choose it, and what it sends", () => {
	for (const { name, about } of builtInStrategies) for (const text of Object.values({ ...about, name })) expect(text, name).toMatch(/\S/);
	expect(builtInStrategies.filter(({ about }) => about === undefined)).toEqual([]);
});

it("a strategy of somebody else needs no description", () => {
	const [first] = builtInStrategies;
	const { about, ...rest } = first!;
	expect(about).toBeDefined();
	expect(describeStrategies([{ ...rest, name: "mine" }])).toContain("### mine\n\nVersion");
});
