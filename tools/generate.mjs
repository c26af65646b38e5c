// Makes every generated file anew: `npm run generate` after `npm run build`. CI runs it and expects no difference.
import { spawnSync } from "node:child_process";

const steps = [
	["node", ["tools/generate-kernels-wasm.mjs"]],
	["npm", ["run", "generate", "--workspace", "@rondo/protocol"]],
	["npm", ["run", "generate", "--workspace", "@rondo/trainer-onnx"]],
	["npx", ["prisma", "generate"]],
	["node", ["tools/generate-algorithms.mjs"]],
	["node", ["tools/generate-onnx-operators.mjs"]],
	["node", ["tools/generate-config-table.mjs"]],
	["node", ["tools/generate-openapi.mjs"]],
];
// Generating the client needs no schema engine; naming one keeps Prisma from downloading it.
const env = {
	...process.env,
	PRISMA_SCHEMA_ENGINE_BINARY: process.env.PRISMA_SCHEMA_ENGINE_BINARY ?? "/bin/true",
	CHECKPOINT_DISABLE: "1",
};
for (const [command, args] of steps) {
	const { status } = spawnSync(command, args, { stdio: "inherit", env });
	if (status !== 0) process.exit(status ?? 1);
}
