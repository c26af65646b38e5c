import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));

/** What each package may import of Rondo: imports point one way. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
	"packages/errors": [],
	"packages/kernels": ["errors"],
	"packages/tensors": ["errors", "kernels"],
	"packages/algorithms": ["errors", "kernels", "tensors"],
	"packages/rounds": ["errors", "kernels", "tensors", "algorithms"],
	"packages/protocol": ["errors"],
	"packages/client": ["errors", "kernels", "tensors", "algorithms", "protocol"],
	"packages/datasets": ["errors", "kernels", "algorithms"],
	"packages/trainer-onnx": ["errors", "kernels", "tensors", "algorithms"],
	"packages/trainer-tfjs": ["errors", "kernels", "tensors", "algorithms"],
	"packages/simulation": ["errors", "kernels", "tensors", "algorithms", "rounds"],
	"packages/testkit": ["errors", "kernels", "tensors", "algorithms", "rounds", "simulation"],
	"apps/coordinator": ["errors", "kernels", "tensors", "algorithms", "rounds", "protocol"],
	"apps/agent": ["errors", "kernels", "algorithms", "client", "datasets", "trainer-onnx", "trainer-tfjs"],
	"apps/cli": [
		"errors",
		"kernels",
		"tensors",
		"algorithms",
		"rounds",
		"protocol",
		"coordinator",
		"agent",
		"client",
		"datasets",
		"simulation",
		"trainer-onnx",
		"trainer-tfjs",
	],
};
const PURE = ["packages/errors", "packages/kernels", "packages/tensors", "packages/algorithms", "packages/rounds"];
/** Clocks, hidden randomness, and functions that ECMAScript leaves to the implementation (sqrt and abs are exact). */
const IMPURE = /\bMath\.(random|exp|expm1|log|log2|log10|log1p|pow|tanh|sin|cos|tan|cbrt|hypot)\b|\bDate\b|\bcrypto\.|\*\*\s*[a-z]\w*\.\w/;

function sourcesOf(folder: string): { readonly name: string; readonly text: string }[] {
	return readdirSync(join(root, folder, "src"), { recursive: true, withFileTypes: true })
		.filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && !entry.name.endsWith(".test.ts"))
		.map((entry) => join(entry.parentPath, entry.name))
		.filter((path) => !path.includes("/generated/"))
		.map((path) => ({ name: path.slice(root.length), text: readFileSync(path, "utf8") }));
}
const withoutComments = (text: string): string => text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");

test("every package has its place in the order of imports", () => {
	const folders = ["packages", "apps"].flatMap((parent) => readdirSync(join(root, parent)).map((name) => `${parent}/${name}`));
	expect(folders.sort()).toEqual(Object.keys(MAY_IMPORT).sort());
});

test.each(Object.entries(MAY_IMPORT))("%s imports only what lies below it", (folder, allowed) => {
	const found = sourcesOf(folder).flatMap(({ name, text }) =>
		[...withoutComments(text).matchAll(/(?:from|import)\s*\(?\s*"@rondo\/([a-z-]+)/g)].map(([, target]) => ({ name, target: target! })),
	);
	expect(found.filter(({ target }) => !allowed.includes(target))).toEqual([]);
});

test.each(PURE)("%s has no clock, no hidden randomness and no function that differs between engines", (folder) => {
	expect(
		sourcesOf(folder)
			.filter(({ text }) => IMPURE.test(withoutComments(text)))
			.map(({ name }) => name),
	).toEqual([]);
});

test("the engine and the round machine see the contract, never the registry", () => {
	const offenders = sourcesOf("packages/rounds").filter(({ text }) => /\b(builtInStrategies|createRegistry|loadRegistry)\b/.test(text));
	expect(offenders.map(({ name }) => name)).toEqual([]);
});
