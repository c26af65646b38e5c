// Runs experiments and writes a page for each: `npm run experiments [-- --only NAME --threads N]`, after a build. Finished cells
// are kept in bench/experiments/results, so that only what has changed is computed.
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parse } from "yaml";

const here = dirname(fileURLToPath(import.meta.url));
const pages = join(here, "../../docs/experiments");
const rondo = join(here, "../../apps/cli/bin/rondo.js");
const { values } = parseArgs({ options: { only: { type: "string", multiple: true }, threads: { type: "string", default: "0" } } });

const all = readdirSync(here)
	.filter((file) => file.endsWith(".yaml"))
	.map((file) => basename(file, ".yaml"))
	.sort();
for (const name of values.only ?? []) if (!all.includes(name)) throw new Error(`--only ${name}: there are ${all.join(", ")}`);

for (const name of values.only ?? all) {
	const out = join(here, "results", name);
	console.log(`\n${name}`);
	const { status } = spawnSync(
		process.execPath,
		[rondo, "simulate", join(here, `${name}.yaml`), "--out", out, "--threads", values.threads],
		{
			stdio: "inherit",
		},
	);
	// 1: some run failed, which is a result.
	if (status !== 0 && status !== 1) process.exit(status ?? 130);
	writePage(name, out);
}
writeIndex();

function writePage(name, out) {
	const plots = join(pages, name);
	rmSync(plots, { recursive: true, force: true });
	mkdirSync(plots, { recursive: true });
	if (existsSync(join(out, "plots"))) cpSync(join(out, "plots"), plots, { recursive: true });
	const page = readFileSync(join(out, "results.md"), "utf8").replaceAll("](plots/", `](${name}/`);
	const source = `\n[The experiment](../../bench/experiments/${name}.yaml); \`npm run experiments -- --only ${name}\` makes this page. Seconds are real time on the machine that made it, with all that it did besides.\n`;
	writeFileSync(join(pages, `${name}.md`), page + source);
}

function writeIndex() {
	const made = all.filter((name) => existsSync(join(pages, `${name}.md`)));
	const lines = made.map((name) => {
		const { title } = parse(readFileSync(join(here, `${name}.yaml`), "utf8")).about;
		return `| [${title}](${name}.md) | ${resultOf(name)} |`;
	});
	const intro =
		"What papers say, and what came out here: each page is one experiment of `bench/experiments`, run by `npm run experiments` ([how](../simulation.md)). Adapters (LoRA) are the subject of [language models](../language-models.md).";
	writeFileSync(join(pages, "README.md"), `# Experiments\n\n${intro}\n\n| Experiment | Result |\n| --- | --- |\n${lines.join("\n")}\n`);
}

/** What a page says came out, from its table beside the claim. */
function resultOf(name) {
	const [, row] = readFileSync(join(pages, `${name}.md`), "utf8").split("| The paper | Here | Why |\n| --- | --- | --- |\n| ");
	const [, table] = row.split("\n", 1)[0].split(/ (?<!\\)\| /);
	return table;
}
