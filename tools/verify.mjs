// What CI runs, stage for stage: `npm run verify`. Stops at the first stage that fails; the last line counts tests and stages.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "rondo-verify-"));
const report = join(folder, "tests.json");
const env = { ...process.env, TURBO_TELEMETRY_DISABLED: "1", CHECKPOINT_DISABLE: "1", NO_UPDATE_NOTIFIER: "1" };
// Generated files are compared with the tree as it was before this run, so that work in progress can be verified too.
const generated = [
	"packages/protocol/src/generated",
	"packages/trainer-onnx/src/generated",
	"apps/coordinator/src/generated",
	"docs/api",
	"docs/algorithms.md",
	"docs/onnx-operators.md",
	"docs/configuration.md",
];
const snapshot = () =>
	spawnSync("git", ["ls-files", "-s", "-c", "-o", "--exclude-standard", ...generated], { encoding: "utf8" }).stdout +
	spawnSync("git", ["diff", "--", ...generated], { encoding: "utf8" }).stdout;

const stages = [
	["lint", "npm", ["run", "lint"]],
	["protocol: lint", "npm", ["run", "lint:proto", "--workspace", "@rondo/protocol"]],
	["protocol: no breaking change", "npm", ["run", "breaking", "--workspace", "@rondo/protocol"]],
	["build", "npm", ["run", "build"]],
	["generated files are current", "npm", ["run", "generate"]],
	["migrations yield the schema", "node", ["tools/prisma-migrate.mjs", "--check"]],
	["types of tests and tools", "npm", ["run", "typecheck"]],
	["tests", "npx", ["vitest", "run", "--reporter=default", "--reporter=json", `--outputFile.json=${report}`]],
];

let passed = 0;
let failed = 0;
for (const [name, command, args] of stages) {
	console.log(`\n== ${name}`);
	const before = name.startsWith("generated") ? snapshot() : undefined;
	const { status } = spawnSync(command, args, { stdio: "inherit", env });
	const changed = before !== undefined && snapshot() !== before;
	if (changed)
		console.error(
			`generated files differ from what their sources yield: ${generated.join(", ")}; commit the result of \`npm run generate\``,
		);
	if (status === 0 && !changed) {
		passed += 1;
		continue;
	}
	failed += 1;
	console.error(`\n== stage failed: ${name}`);
	break;
}
try {
	const { numPassedTests, numFailedTests, numFailedTestSuites } = JSON.parse(readFileSync(report, "utf8"));
	passed += numPassedTests;
	failed += Math.max(numFailedTests, numFailedTestSuites > 0 ? 1 : 0);
} catch {
	// The stages before the tests failed: there is no report.
}
rmSync(folder, { recursive: true });
console.log(`\n${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
