import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("..", import.meta.url));
const PAGES = ["README.md", "packages/client/README.md", "packages/trainer-onnx/README.md", "docs/kernels.md", "docs/simulation.md"];

/** Fenced TypeScript of the pages, each block as a file that does not exist, where the SDK can be resolved. */
const blocks = new Map(
	PAGES.flatMap((page) =>
		[...readFileSync(join(root, page), "utf8").matchAll(/```ts\n([\s\S]+?)```/g)].map(
			([, code], i) => [join(root, "packages/client/test", `${page.replaceAll(/\W/g, "-")}-${i}.ts`), code!] as const,
		),
	),
);

test("the TypeScript of READMEs and of the kernels' page compiles", () => {
	const { options } = ts.parseJsonConfigFileContent(
		ts.readConfigFile(join(root, "tsconfig.base.json"), ts.sys.readFile).config,
		ts.sys,
		root,
	);
	const host = ts.createCompilerHost({ ...options, noEmit: true, declaration: false, declarationMap: false, sourceMap: false });
	const { getSourceFile, fileExists, readFile } = host;
	host.fileExists = (name) => blocks.has(name) || fileExists(name);
	host.readFile = (name) => blocks.get(name) ?? readFile(name);
	host.getSourceFile = (name, version, ...rest) => {
		const code = blocks.get(name);
		return code === undefined ? getSourceFile(name, version, ...rest) : ts.createSourceFile(name, code, version);
	};
	const program = ts.createProgram(
		[...blocks.keys()],
		{ ...options, noEmit: true, declaration: false, declarationMap: false, sourceMap: false },
		host,
	);
	const errors = ts.getPreEmitDiagnostics(program).map((error) => ts.flattenDiagnosticMessageText(error.messageText, "\n"));
	expect(blocks.size).toBeGreaterThanOrEqual(PAGES.length);
	expect(errors).toEqual([]);
});
