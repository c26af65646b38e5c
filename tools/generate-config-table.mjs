// Writes the table of docs/configuration.md from the built coordinator's schema: node tools/generate-config-table.mjs
import { readFile, writeFile } from "node:fs/promises";
import { configTable } from "../apps/coordinator/dist/config/describe-config.js";

const page = new URL("../docs/configuration.md", import.meta.url);
const text = await readFile(page, "utf8");
await writeFile(
	page,
	text.replace(/(<!-- keys:begin -->\n)[\s\S]*?(<!-- keys:end -->)/, (_all, begin, end) => `${begin}${configTable()}\n${end}`),
);
