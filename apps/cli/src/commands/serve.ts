import type { Command } from "commander";
import { CLI_VARIABLES, type Context, outputOf } from "../context.js";
import { fields } from "../output.js";

/** `rondo serve`; its flags are those of the coordinator's configuration. */
export function addServeCommand(program: Command, context: Context): void {
	const serve = program
		.command("serve")
		.description("Runs the coordinator. Every flag is also a key of the configuration file and a variable of the environment.")
		.option("--config <file>", "JSON file with configuration (RONDO_CONFIG)")
		.option("--print-config", "print every setting and where it comes from, and end")
		.action(async ({ config: file, printConfig: print, ...flags }: { config?: string; printConfig?: boolean }, command: Command) => {
			const { KEY_SPECS, loadConfig, printConfig, serve: runCoordinator } = await import("@rondo/coordinator");
			const own = new Set<string>(CLI_VARIABLES);
			const env = Object.fromEntries(Object.entries(context.env).filter(([name]) => !own.has(name)));
			const config = loadConfig({ ...(file === undefined ? {} : { file }), env, flags });
			const out = outputOf(command, context);
			if (print === true) {
				const settings = KEY_SPECS.map(({ key, secret }) => ({
					key,
					value: secret && config[key] !== undefined ? "***" : (config[key] ?? null),
					source: config.sources[key] ?? null,
				}));
				return out.emit(settings, () => printConfig(config));
			}
			await runCoordinator(config, context.stop, ({ restUrl, grpcAddress, adminTokenFile }) => {
				const ready = {
					event: "ready",
					pid: process.pid,
					restUrl,
					grpcAddress,
					dataDir: config.dataDir,
					adminTokenFile: adminTokenFile ?? null,
				};
				context.tellParent?.(ready);
				// Standard output is the coordinator's log, JSON lines.
				if (out.json) return out.emit(ready, () => "");
				const token = adminTokenFile === undefined ? "made at an earlier start, or configured" : `written to ${adminTokenFile}`;
				out.aside(fields({ "REST API": `${restUrl}/api/v1`, "for clients": grpcAddress, data: config.dataDir, "admin token": token }));
			});
		});
	// Known only once the coordinator is loaded, which other commands need not wait for.
	program.hook("preSubcommand", async (_program, subcommand) => {
		if (subcommand !== serve) return;
		const { KEY_SPECS } = await import("@rondo/coordinator");
		for (const { flag, schema, environment, allowed } of KEY_SPECS)
			serve.option(`${flag} <value>`, `${schema.description} Allowed: ${allowed}. (${environment})`);
	});
}
