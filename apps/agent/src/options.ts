import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import type { Plain } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { type Command, Option } from "commander";
import type { AgentOptions } from "./agent.js";
import type { MnistWorkloadOptions } from "./mnist-workload.js";
import { decimal, hex32, integer, repeated } from "./parse-option.js";
import { ONNX_DEVICES, TFJS_BACKENDS, TRAINERS, type TrainerChoice } from "./trainer-choice.js";

interface Flags extends TrainerChoice {
	readonly address: string;
	readonly stateDir: string;
	readonly token?: string;
	readonly name?: string;
	readonly tlsCa?: string;
	readonly insecure?: boolean;
	readonly deviceKey?: string;
	readonly strategies?: readonly string[];
	readonly kernelThreads: number;
	readonly workload?: string;
	readonly workloadOptions?: string;
	readonly dataset: "mnist";
	readonly split: "train" | "test";
	readonly partition: "iid" | "dirichlet" | "all";
	readonly alpha: number;
	readonly clients: number;
	readonly index: number;
	readonly seed: string;
	readonly examples: number;
}

/** Adds the agent's options to a command. */
export const addAgentOptions = (command: Command): Command =>
	command
		.requiredOption("--address <host:port>", "gRPC address of the coordinator")
		.requiredOption("--state-dir <folder>", "folder for identity, outbox and caches; one per agent")
		.option("--token <token>", "enrolment token (RONDO_TOKEN), needed at the first start; visible in process lists, so prefer the variable")
		.option("--name <name>", "name proposed at enrolment")
		.addOption(new Option("--tls-ca <file>", "PEM file of the authority that signed the coordinator's certificate").conflicts("insecure"))
		.option("--insecure", "plain text, also beyond this machine; default: TLS, except for loopback addresses")
		.addOption(
			new Option(
				"--device-key <hex>",
				"64 hexadecimal digits: key of this device's private randomness, for reproducible experiments",
			).argParser(hex32),
		)
		.addOption(new Option("--kernel-threads <count>", "threads for perturbing and summing weights").argParser(integer(1, 64)).default(1))
		.addOption(new Option("--strategies <module>", "module with additional strategies; may be repeated").argParser(repeated))
		.addOption(
			new Option("--workload <module>", "own module that exports createTrainer and createData, in place of the data options below"),
		)
		.addOption(new Option("--workload-options <json>", "what the functions of --workload get as their second argument"))
		.addOption(new Option("--dataset <name>", "data set").choices(["mnist"]).default("mnist"))
		.addOption(new Option("--split <split>", "training or test examples").choices(["train", "test"]).default("train"))
		.addOption(
			new Option("--partition <how>", "how the examples are divided among the agents").choices(["iid", "dirichlet", "all"]).default("iid"),
		)
		.addOption(new Option("--alpha <alpha>", "concentration of the Dirichlet partition").argParser(decimal(1e-6, 1e6)).default(0.5))
		.addOption(new Option("--clients <count>", "agents that the examples are divided among").argParser(integer(1)).default(1))
		.addOption(new Option("--index <index>", "which of them this is, from 0").argParser(integer(0)).default(0))
		.option("--seed <seed>", "seed of the partition, the same for all agents", "1")
		.addOption(new Option("--examples <count>", "examples of the split that are used at all; 0: all").argParser(integer(0)).default(0))
		.addOption(
			new Option("--trainer <library>", "what computes; auto: onnx where it is installed and the model has an ONNX graph, else tfjs")
				.choices(TRAINERS)
				.default("auto"),
		)
		.addOption(
			new Option("--device <device>", "where onnx computes; auto: the first that is there and worth it")
				.choices(ONNX_DEVICES)
				.default("auto"),
		)
		.addOption(
			new Option("--backend <backend>", "where tfjs computes; auto: the first that is there").choices(TFJS_BACKENDS).default("auto"),
		)
		.addOption(new Option("--threads <count>", "threads of onnx on the cpu; 0: one per core").argParser(integer(0, 1024)).default(0));

/** Options of the built-in data, which an own workload does not have. */
const DATA_FLAGS = [
	"dataset",
	"split",
	"partition",
	"alpha",
	"clients",
	"index",
	"seed",
	"examples",
	"trainer",
	"device",
	"backend",
	"threads",
] as const;

/**
 * What the flags of a parsed command ask for.
 * @throws INVALID_ARGUMENT, NOT_FOUND for a certificate that cannot be read
 */
export async function agentOptionsOf(command: Command, env: { readonly [name: string]: string | undefined }): Promise<AgentOptions> {
	const flags = command.opts<Flags>();
	const token = flags.token ?? env.RONDO_TOKEN;
	return {
		address: flags.address,
		stateDir: flags.stateDir,
		...(token === undefined ? {} : { enrolmentToken: token }),
		...(flags.name === undefined ? {} : { name: flags.name }),
		...(await tlsOf(flags)),
		...(flags.deviceKey === undefined ? {} : { deviceKey: Buffer.from(flags.deviceKey, "hex") }),
		strategies: (flags.strategies ?? []).map((path) => pathToFileURL(path)),
		kernelThreads: flags.kernelThreads,
		...workloadOf(command, flags),
	};
}

function workloadOf(command: Command, flags: Flags): Pick<AgentOptions, "workload" | "workloadOptions"> {
	const { workload, workloadOptions, dataset, split, partition, alpha, clients, index, seed, examples } = flags;
	const { trainer, device, backend, threads } = flags;
	if (workload !== undefined) {
		const unused = DATA_FLAGS.find((flag) => command.getOptionValueSource(flag) === "cli");
		if (unused !== undefined)
			throw new RondoError("INVALID_ARGUMENT", `--${unused} goes with the built-in data, not with --workload ${workload}`, {
				details: { field: unused },
			});
		return { workload: pathToFileURL(workload), workloadOptions: workloadOptions === undefined ? null : parseJson(workloadOptions) };
	}
	if (workloadOptions !== undefined)
		throw new RondoError("INVALID_ARGUMENT", "--workload-options goes with --workload", { details: { field: "workload-options" } });
	if (index >= clients)
		throw new RondoError("INVALID_ARGUMENT", `--index must be less than --clients (${clients}), got ${index}`, {
			details: { field: "index", value: index },
		});
	const shard = { dataset, split, partition, alpha, clients, index, seed, examples };
	const builtIn: MnistWorkloadOptions = { ...shard, trainer, device, backend, threads };
	return { workload: new URL("./mnist-workload.js", import.meta.url), workloadOptions: { ...builtIn } };
}

async function tlsOf({ tlsCa, insecure }: Flags): Promise<Pick<AgentOptions, "tls">> {
	if (insecure === true) return { tls: false };
	if (tlsCa === undefined) return {};
	const ca = await readFile(tlsCa, "utf8").catch((cause: unknown) => {
		throw new RondoError("NOT_FOUND", `--tls-ca ${tlsCa} cannot be read: ${String(cause)}`, {
			cause,
			details: { field: "tls-ca", value: tlsCa },
		});
	});
	return { tls: { ca } };
}

function parseJson(text: string): Plain {
	try {
		return JSON.parse(text) as Plain;
	} catch (cause) {
		throw new RondoError("INVALID_ARGUMENT", `--workload-options is not JSON: ${(cause as SyntaxError).message}`, {
			cause,
			details: { field: "workload-options", value: text.slice(0, 80) },
		});
	}
}
