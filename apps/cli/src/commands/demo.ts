import { decimal, integer, ONNX_DEVICES, TFJS_BACKENDS } from "@rondo/agent";
import { type Command, Option } from "commander";
import { type Context, outputOf } from "../context.js";
import type { DemoOptions } from "../demo/demo.js";
import { DEMO_STRATEGIES, type DemoChoices } from "../demo/plan.js";
import { keyValue } from "../key-value.js";

/** `rondo demo` */
export function addDemoCommand(program: Command, context: Context): void {
	const port = (flag: string, what: string): Option =>
		new Option(`${flag} <port>`, `port of ${what}; 0: a free one`).argParser(integer(0, 65_535)).default(0);
	program
		.command("demo")
		.description("A whole federation on this machine: coordinator, agents with MNIST digits and an evaluator, each a process.")
		.addOption(new Option("--strategy <name>", "strategy (default: fedavg)").choices(DEMO_STRATEGIES))
		.addOption(new Option("--rounds <count>", "rounds (default: 10, fedkseed 60)").argParser(integer(1)))
		.addOption(new Option("--agents <count>", "agents (default: 10)").argParser(integer(1, 200)))
		.option("--seed <seed>", "everything random is drawn from it; equal seeds end with equal models (default: 1)")
		.addOption(new Option("--alpha <alpha>", "concentration of the Dirichlet partition (default: 0.5)").argParser(decimal(1e-6, 1e6)))
		.addOption(new Option("--sampling <how>", "how fedkseed draws candidates").choices(["uniform", "pro"]))
		.addOption(new Option("-o, --option <key=value>", "option of the strategy; may be repeated").argParser(keyValue))
		.option("--model <source>", "as for `rondo model import` (default: dense:784-64-10, fedkseed dense:784-10)")
		.addOption(
			new Option("--train-examples <count>", "training examples that are used at all; 0: all 60,000").argParser(integer(0, 60_000)),
		)
		.addOption(new Option("--test-examples <count>", "test examples that are used at all; 0: all 10,000").argParser(integer(0, 10_000)))
		.addOption(
			new Option("--trainer <library>", "what computes (default: onnx where it is installed, else tfjs)").choices(["onnx", "tfjs"]),
		)
		.addOption(new Option("--device <device>", "where onnx computes (default: auto)").choices(ONNX_DEVICES))
		.addOption(new Option("--backend <backend>", "where tfjs computes (default: auto)").choices(TFJS_BACKENDS))
		.option("--dir <folder>", "folder of everything that the demo writes", "./rondo-demo")
		.option("--resume", "go on with the demo in --dir where it was interrupted", false)
		.addOption(port("--rest-port", "the REST API"))
		.addOption(port("--grpc-port", "the service for clients"))
		.action(async ({ dir, resume, restPort, grpcPort, ...choices }: DemoOptions & DemoChoices, command: Command) => {
			const out = outputOf(command, context);
			out.say("rondo demo");
			const { runDemo } = await import("../demo/demo.js");
			await runDemo({ dir, resume, restPort, grpcPort }, choices, out, context);
		});
}
