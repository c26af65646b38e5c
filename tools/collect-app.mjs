// Build step of the container images: collects one app and what it needs in production, and nothing else.
//   node tools/collect-app.mjs WORKSPACE FOLDER [PACKAGE...]
// PACKAGEs are optional peers of the app that it shall have, with what they need at run time.
// Runs in a throw-away copy of the repository that is already built: it replaces node_modules.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, lstatSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const [workspace, to, ...peers] = process.argv.slice(2);
if (workspace === undefined || to === undefined) throw new Error("usage: node tools/collect-app.mjs WORKSPACE FOLDER [PACKAGE...]");

for (const name of peers) cpSync(join(root, "node_modules", name), join(to, "node_modules", name), { recursive: true });

// The optional packages are development's too: Prisma's command line and TypeScript are optional peers of its client.
const install = ["ci", "--omit=dev", "--omit=optional", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"];
const { status } = spawnSync("npm", [...install, "--workspace", workspace, "--include-workspace-root=false"], {
	cwd: root,
	stdio: "inherit",
});
if (status !== 0) throw new Error(`npm ci for ${workspace} failed with exit code ${status}`);

const modules = join(root, "node_modules");
cpSync(modules, join(to, "node_modules"), { recursive: true, verbatimSymlinks: true });
const scope = join(modules, "@rondo");
for (const name of readdirSync(scope)) {
	const from = realpathSync(join(scope, name));
	for (const part of ["package.json", "bin", "data", "dist", "node_modules"]) {
		if (existsSync(join(from, part)))
			cpSync(join(from, part), join(to, relative(root, from), part), { recursive: true, verbatimSymlinks: true });
	}
}

/** What Node never loads: types and sources, source maps, and the query compilers of databases that Rondo does not use. */
const UNUSED = /\.[cm]?ts$|\.map$|^query_compiler_(?!.*postgresql)|^query_compiler_small_/;
function prune(folder) {
	for (const name of readdirSync(folder)) {
		const path = join(folder, name);
		if (name === "@types" || UNUSED.test(name)) rmSync(path, { recursive: true });
		else if (lstatSync(path).isDirectory()) prune(path);
	}
}
prune(to);

/** Of the native libraries of ONNX Runtime, this machine's alone. */
const libraries = join(to, "node_modules/onnxruntime-node/bin/napi-v6");
if (existsSync(libraries)) {
	for (const platform of readdirSync(libraries)) {
		for (const arch of readdirSync(join(libraries, platform)))
			if (platform !== process.platform || arch !== process.arch) rmSync(join(libraries, platform, arch), { recursive: true });
	}
}
