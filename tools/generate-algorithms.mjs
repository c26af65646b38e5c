// Writes the tables of docs/algorithms.md from the strategies as built: npm run build && node tools/generate-algorithms.mjs
import { readFileSync, writeFileSync } from "node:fs";
import { describeStrategies } from "../packages/algorithms/dist/index.js";

const page = new URL("../docs/algorithms.md", import.meta.url);
const marked = /(?<=<!-- begin generated -->\n).*(?=<!-- end generated -->\n)/s;
const text = readFileSync(page, "utf8");
if (!marked.test(text)) throw new Error("docs/algorithms.md has lost its markers");
writeFileSync(
	page,
	text.replace(marked, () => `\n${describeStrategies()}\n\n`),
);
