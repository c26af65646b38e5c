// Writes the tables of docs/onnx-operators.md from the gradient rules as built and their fixtures:
// npm run build && node tools/generate-onnx-operators.mjs
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { CONSTANT_OPERATORS, gradientRules } from "../packages/trainer-onnx/dist/index.js";

const page = new URL("../docs/onnx-operators.md", import.meta.url);
const fixtures = new URL("../packages/trainer-onnx/fixtures/", import.meta.url);
const marked = /(?<=<!-- begin generated -->\n).*(?=<!-- end generated -->\n)/s;

const read = (path) => JSON.parse(readFileSync(new URL(path, fixtures), "utf8"));
const cases = readdirSync(new URL("ops/", fixtures))
	.filter((name) => name.endsWith(".json"))
	.sort()
	.flatMap((name) => read(`ops/${name}`).cases);
// What a live WebGPU device made of each operator's cases; absent until one was asked.
const onDevice = existsSync(new URL("webgpu.json", fixtures)) ? read("webgpu.json").operators : {};

const byName = (a, b) => (a.toLowerCase() < b.toLowerCase() ? -1 : 1);
const table = (head, rows) => [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
const escaped = (text) => text.replaceAll("|", "\\|");

/** Cases of one operator or composition, as cells. */
function covered(op) {
	const own = cases.filter((c) => c.op === op);
	const forms = own.map(({ name }) => name.slice(op.length + 2)).join("; ");
	const wide = own.filter(({ checkedWith }) => checkedWith.includes("onnxruntime float64")).length;
	const precisions = wide === 0 ? "float32" : wide === own.length ? "float32, float64" : `float32, float64 (${wide} of ${own.length})`;
	return [escaped(forms), String(own.length), precisions];
}

const rules = [...gradientRules.keys()].sort(byName);
const operators = table(
	["Operator", "Forms", "Cases", "Checked in", "WebGPU"],
	rules.map((op) => [`\`${op}\``, ...covered(op), escaped(onDevice[op] ?? "not run")]),
);
const compositions = [...new Set(cases.map(({ op }) => op))].filter((op) => !gradientRules.has(op)).sort(byName);
const composed = table(
	["What", "Made of", "Forms", "Cases", "Checked in"],
	compositions.map((name) => {
		const nodes = cases.filter((c) => c.op === name).flatMap((c) => c.nodes.map(({ op }) => op));
		return [name, [...new Set(nodes)].map((op) => `\`${op}\``).join(", "), ...covered(name)];
	}),
);
const constant = [...CONSTANT_OPERATORS].sort(byName).map((op) => `\`${op}\``);
const text = readFileSync(page, "utf8");
if (!marked.test(text)) throw new Error("docs/onnx-operators.md has lost its markers");
const generated = `
## Operators (${rules.length})

${operators}

## Compositions that exporters write

${composed}

## Without a derivative

Results of these are constants to the gradient, so a model may use them anywhere: ${constant.join(", ")}.

`;
writeFileSync(
	page,
	text.replace(marked, () => generated),
);
