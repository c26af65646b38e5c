import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { LIMITS } from "@rondo/protocol";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const bufBin = join(dirname(createRequire(import.meta.url).resolve("@bufbuild/buf/package.json")), "bin", "buf");
const buf = (...args: string[]): string => execFileSync(process.execPath, [bufBin, ...args], { cwd: root, encoding: "utf8" });

test("the committed code is what the definition generates: npm run generate -w @rondo/protocol", () => {
	const out = mkdtempSync(join(tmpdir(), "rondo-proto-"));
	try {
		buf("generate", "--output", out);
		const file = "packages/protocol/src/generated/rondo/v1/federation.ts";
		expect(readFileSync(join(out, file), "utf8")).toBe(readFileSync(join(root, file), "utf8"));
	} finally {
		rmSync(out, { recursive: true, force: true });
	}
});

test("the definition is linted, formatted, and compatible with the committed baseline", () => {
	buf("lint");
	buf("format", "--diff", "--exit-code");
	buf("breaking", "--against", "proto/baseline.binpb");
});

test("docs/protocol.md lists every limit with its value", () => {
	const rows = [...readFileSync(join(root, "docs/protocol.md"), "utf8").matchAll(/^\| `([A-Za-z]+)` \| ([\d,]+) \|/gm)];
	expect(Object.fromEntries(rows.map(([, name, value]) => [name, Number(value!.replaceAll(",", ""))]))).toEqual({ ...LIMITS });
	expect(rows).toHaveLength(Object.keys(LIMITS).length);
});
