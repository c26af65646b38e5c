import { addAgentOptions, agentOptionsOf, runAgent } from "@rondo/agent";
import type { Command } from "commander";
import { type Context, outputOf } from "../context.js";

/** `rondo agent` */
export function addAgentCommand(program: Command, context: Context): void {
	addAgentOptions(program.command("agent").description("Runs a client process that trains on this machine.")).action(
		async (_options: unknown, command: Command) => {
			const out = outputOf(command, context);
			await runAgent(await agentOptionsOf(command, context.env), {
				stop: context.stop,
				report: (event) => {
					out.emit(event, () => event.text);
					// What it trains with, a demo tells in its place.
					if (event.event === "trainer") context.tellParent?.(event);
				},
			});
		},
	);
}
