import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { builtInStrategies } from "@rondo/algorithms";
import { expect, test } from "vitest";

const ROOT = fileURLToPath(new URL("../../../../", import.meta.url));
const FOLDERS = ["packages/rounds/src", "packages/protocol/src", "apps/coordinator/src", "proto", "prisma"];
/** Where registry and store meet. */
const COMPOSED = "apps/coordinator/src/compose.ts";

async function filesOf(folder: string): Promise<string[]> {
	const entries = await readdir(join(ROOT, folder), { recursive: true, withFileTypes: true });
	return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

test("nothing but the composition knows a strategy by its name", async () => {
	const names = builtInStrategies.map(({ name }) => name);
	expect(names).toContain("fedkseed");
	const told: string[] = [];
	for (const folder of FOLDERS) {
		for (const file of await filesOf(folder)) {
			if (file.endsWith(COMPOSED) || file.endsWith(".test.ts") || file.endsWith(".binpb")) continue;
			const text = (await readFile(file, "utf8")).toLowerCase();
			for (const name of names) if (text.includes(name)) told.push(`${file.slice(ROOT.length)} names ${name}`);
		}
	}
	expect(told).toEqual([]);
});
