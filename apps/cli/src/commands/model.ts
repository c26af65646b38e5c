import { decimal, integer, repeated } from "@rondo/agent";
import { type Command, Option } from "commander";
import type { ModelView } from "../api-types.js";
import { apiOf, type Context, connected, outputOf } from "../context.js";
import { describeModel, summaryOf } from "../model-source/describe.js";
import type { SourceChoices } from "../model-source/model-source.js";
import { importModel, readModel } from "../model-source/read-model.js";
import { table } from "../output.js";

/** `rondo model …` */
export function addModelCommands(program: Command, context: Context): void {
	const group = program.command("model").description("Initial models of runs.");
	withSource(connected(group.command("import").description("Sends a model to the coordinator.")))
		.requiredOption("--name <name>", "name that runs refer to")
		.action(async (source: string, { name, ...choices }: SourceChoices & { readonly name: string }, command: Command) => {
			const api = await apiOf(command, context);
			const read = await readModel(source, choices);
			const model = await importModel(api, name, read);
			const summary = summaryOf(read);
			outputOf(command, context).emit({ ...model, ...summary }, () =>
				describeModel(summary, { id: model.id, name: model.name, weights: model.weights }),
			);
		});
	withSource(group.command("inspect").description("Shows what `model import` would send; needs no coordinator.")).action(
		async (source: string, choices: SourceChoices, command: Command) => {
			const summary = summaryOf(await readModel(source, choices));
			outputOf(command, context).emit(summary, () => describeModel(summary));
		},
	);
	connected(group.command("list").description("Models of the coordinator.")).action(async (_options: unknown, command: Command) => {
		const api = await apiOf(command, context);
		const models = await api.list<ModelView & { readonly createdAt: string }>("/models");
		outputOf(command, context).emit(models, () =>
			table(
				["NAME", "ID", "PARAMETERS", "CREATED", "WEIGHTS"],
				models.map((model) => [model.name, model.id, model.parameters, model.createdAt, model.weights]),
				{ right: [2] },
			),
		);
	});
}

const withSource = (command: Command): Command =>
	command
		.argument(
			"<source>",
			"file.onnx, file.safetensors, model.json of a TensorFlow.js layers model, or dense:784-64-10 for new dense layers",
		)
		.option(
			"--loss <loss>",
			"for file.onnx: softmax-cross-entropy, causal-lm, mse, binary-cross-entropy, or an output that already is a loss",
		)
		.addOption(new Option("--train <pattern>", "for file.onnx: train only weights whose names match; may be repeated").argParser(repeated))
		.addOption(
			new Option("--freeze <pattern>", "for file.onnx: do not train weights whose names match; may be repeated").argParser(repeated),
		)
		.addOption(
			new Option(
				"--lora <pattern>",
				"for file.onnx: train low-rank adapters of matrix weights whose names match instead of weights; may be repeated",
			).argParser(repeated),
		)
		.addOption(new Option("--lora-rank <rank>", "with --lora: columns of an adapter's first matrix (default: 8)").argParser(integer(1)))
		.addOption(
			new Option("--lora-alpha <alpha>", "with --lora: adapters count alpha / rank times (default: 16)").argParser(decimal(0, 2 ** 31)),
		)
		.option("--lora-freeze-a", "with --lora: train the second matrix of each adapter alone, so that averages over clients are exact")
		.option("--output <name>", "for file.onnx: the output that the loss is put on (default: the first)")
		.option("--input <name>", "for file.onnx: the input that takes the data (default: the first that is no mask)")
		.option("--labels <name>", "for file.onnx that computes its own loss: the input that takes the labels")
		.option("--dropout", "for file.onnx: training drops what the model's Dropout nodes say (default: nothing)")
		.option("--architecture <file>", "topology of the model (Keras layers JSON), for file.safetensors")
		.option("--seed <seed>", "what the kernels of dense:… are drawn from (default: 0)");
