import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RondoError } from "@rondo/errors";
import { sha256, toHex } from "@rondo/kernels";

/** Everything that the result of a demo depends on; kept in its folder, so that `--resume` repeats it. */
export interface DemoPlan {
	readonly version: 2;
	readonly strategy: string;
	/** Options of the strategy. */
	readonly options: { readonly [name: string]: unknown };
	readonly rounds: number;
	readonly agents: number;
	readonly seed: string;
	/** Concentration of the Dirichlet partition. */
	readonly alpha: number;
	/** As `rondo model import` takes it. */
	readonly model: string;
	/** Examples that are used at all; 0: all. */
	readonly trainExamples: number;
	readonly testExamples: number;
	/** onnx or tfjs. */
	readonly trainer: string;
	/** Where onnx computes. */
	readonly device: string;
	/** Where tfjs computes. */
	readonly backend: string;
}

/** What the command line may say of a plan. */
export interface DemoChoices {
	readonly strategy?: string;
	readonly option?: { readonly [name: string]: unknown };
	readonly sampling?: string;
	readonly rounds?: number;
	readonly agents?: number;
	readonly seed?: string;
	readonly alpha?: number;
	readonly model?: string;
	readonly trainExamples?: number;
	readonly testExamples?: number;
	readonly trainer?: string;
	readonly device?: string;
	readonly backend?: string;
}

/** Name of model and run in the demo's coordinator. */
export const DEMO_NAME = "demo";

const FILE = "demo.json";

/** What a strategy starts from where the command line says nothing. */
interface Preset {
	readonly rounds: number;
	readonly model: string;
	readonly options: (agents: number) => { readonly [name: string]: unknown };
}

const GRADIENT_PRESET: Preset = {
	rounds: 10,
	model: "dense:784-64-10",
	options: (agents) => ({ learningRate: 0.3, batchSize: 32, localEpochs: 1, cohortSize: agents }),
};

const PRESETS: { readonly [strategy: string]: Preset } = {
	fedavg: GRADIENT_PRESET,
	fedprox: GRADIENT_PRESET,
	fedkseed: {
		rounds: 60,
		model: "dense:784-10",
		options: (agents) => ({
			candidates: 4096,
			localSteps: 200,
			learningRate: 1e-3,
			epsilon: 1e-3,
			batchSize: 32,
			cohortSize: Math.ceil(agents / 2),
		}),
	},
};

/** Strategies that the demo knows how to start. */
export const DEMO_STRATEGIES = Object.keys(PRESETS);

/** The plan of these choices. @throws INVALID_ARGUMENT */
export function planOf(choices: DemoChoices): DemoPlan {
	const { strategy = "fedavg", agents = 10, sampling, option } = choices;
	const preset = PRESETS[strategy];
	if (preset === undefined)
		throw new RondoError("UNKNOWN_STRATEGY", `--strategy must be one of ${DEMO_STRATEGIES.join(", ")}, got ${JSON.stringify(strategy)}`, {
			details: { field: "strategy", value: strategy },
		});
	return {
		version: 2,
		strategy,
		options: { ...preset.options(agents), ...(sampling === undefined ? {} : { sampling }), ...option },
		rounds: choices.rounds ?? preset.rounds,
		agents,
		seed: choices.seed ?? "1",
		alpha: choices.alpha ?? 0.5,
		model: choices.model ?? preset.model,
		trainExamples: choices.trainExamples ?? 0,
		testExamples: choices.testExamples ?? 0,
		trainer: choices.trainer ?? "onnx",
		device: choices.device ?? "auto",
		backend: choices.backend ?? "auto",
	};
}

/**
 * The plan of a demo in `dir`: a new one, written there, or with `resume` the one that is there.
 * @throws ALREADY_EXISTS for a folder in use, NOT_FOUND for nothing to resume, CONFLICT for choices that differ from the plan
 */
export async function openPlan(dir: string, choices: DemoChoices, resume: boolean): Promise<DemoPlan> {
	const known = await readPlan(dir);
	if (resume) {
		if (known === undefined)
			throw new RondoError("NOT_FOUND", `--resume: ${dir} holds no demo; leave --resume out to start one there`, {
				details: { field: "dir", value: dir },
			});
		checkSame(known, choices, dir);
		return known;
	}
	if (known !== undefined) {
		throw new RondoError(
			"ALREADY_EXISTS",
			`--dir ${dir} holds a demo already (${known.strategy}, ${known.rounds} rounds); go on with it by --resume, or choose another --dir`,
			{
				details: { field: "dir", value: dir },
			},
		);
	}
	await mkdir(dir, { recursive: true });
	if ((await readdir(dir)).length > 0) {
		throw new RondoError("ALREADY_EXISTS", `--dir ${dir} is not empty and holds no demo; choose another --dir`, {
			details: { field: "dir", value: dir },
		});
	}
	const plan = planOf(choices);
	await writeFile(join(dir, `${FILE}.part`), `${JSON.stringify(plan, null, "\t")}\n`);
	await rename(join(dir, `${FILE}.part`), join(dir, FILE));
	return plan;
}

async function readPlan(dir: string): Promise<DemoPlan | undefined> {
	const text = await readFile(join(dir, FILE), "utf8").catch((error: NodeJS.ErrnoException) => {
		if (error.code === "ENOENT") return undefined;
		throw error;
	});
	if (text === undefined) return undefined;
	const refuse = (problem: string): never => {
		throw new RondoError("INVALID_ARGUMENT", `${join(dir, FILE)} ${problem}; choose another --dir`, {
			details: { field: "dir", value: dir },
		});
	};
	try {
		const plan = JSON.parse(text) as DemoPlan | null;
		return plan?.version === 2 ? plan : refuse(`is of version ${String(plan?.version)}, this is version 2`);
	} catch (error) {
		if (error instanceof SyntaxError) return refuse(`is not JSON: ${error.message}`);
		throw error;
	}
}

function checkSame(known: DemoPlan, { option, sampling, ...choices }: DemoChoices, dir: string): void {
	const wanted: { readonly [name: string]: unknown } = { ...choices, ...option, ...(sampling === undefined ? {} : { sampling }) };
	const fixed: { readonly [name: string]: unknown } = { ...known.options, ...known };
	for (const [name, value] of Object.entries(wanted)) {
		if (value === undefined || fixed[name] === value) continue;
		throw new RondoError(
			"CONFLICT",
			`${name} of the demo in ${dir} is ${JSON.stringify(fixed[name])}, not ${JSON.stringify(value)}; a demo that goes on keeps its settings`,
			{
				details: { field: name, value },
			},
		);
	}
}

/** 64 hexadecimal digits for one purpose, so that equal seeds give equal demos. */
export const derived = (seed: string, purpose: string): string =>
	toHex(sha256(new TextEncoder().encode(`rondo-demo/1/${purpose}/${seed}`)));
