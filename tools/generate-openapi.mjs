// Writes docs/api/openapi.json from the routes of the built coordinator: node tools/generate-openapi.mjs
import { mkdir, writeFile } from "node:fs/promises";
import { openApiDocument } from "../apps/coordinator/dist/rest/openapi.js";

const folder = new URL("../docs/api/", import.meta.url);
await mkdir(folder, { recursive: true });
await writeFile(new URL("openapi.json", folder), `${JSON.stringify(await openApiDocument(), null, "\t")}\n`);
