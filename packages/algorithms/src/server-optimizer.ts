import { cohortSchema } from "./cohort.js";
import type { At, Folded, Outcome, Strategy } from "./contract.js";
import type { Vec } from "./plain.js";
import { type FedAvgConfig, type FedAvgTypes, fedavg, fedavgProperties } from "./strategies/fedavg.js";

/** Options of the adaptive server optimisers. */
export interface AdaptiveConfig extends FedAvgConfig {
	/** β₁: how much of the mean of updates so far a round keeps. */
	readonly beta1: number;
	/** τ: degree of adaptivity, what a step is divided by where updates have been 0. */
	readonly tau: number;
}

/** Types of a strategy that keeps both moments of the updates on the server. */
export interface AdaptiveTypes<Config extends AdaptiveConfig = AdaptiveConfig> extends FedAvgTypes {
	config: Config;
	state: { readonly model: Vec<"f32">; readonly m: Vec<"f32">; readonly v: Vec<"f32"> };
}

/** β₁ and β₂ as JSON Schema: below 1, beyond which nothing new would count. */
export const betaProperty = (value: number, description: string) =>
	({ type: "number", minimum: 0, maximum: 0.999999, default: value, description }) as const;

/** Options that the adaptive strategies share, as JSON Schema properties; the paper tunes the learning rate per task. */
export const adaptiveProperties = (serverLearningRate: number, beta1: number) => ({
	...fedavgProperties,
	serverLearningRate: {
		type: "number",
		exclusiveMinimum: 0,
		maximum: 1000,
		default: serverLearningRate,
		description: "step size of the server",
	},
	beta1: betaProperty(beta1, "decay of the server's mean of updates; 0 keeps the newest one only"),
	tau: {
		type: "number",
		minimum: 1e-9,
		maximum: 1000,
		default: 1e-3,
		description: "degree of adaptivity: the smaller, the more alike the steps of all weights",
	},
});

/**
 * Algorithm 2 of Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, "Adaptive Federated Optimization", ICLR
 * 2021, arXiv:2003.00295, but for the rule of v. With the mean update Δ_t of a round,
 *   m_t = β₁ m_{t−1} + (1 − β₁) Δ_t,   v_t = `second`(v_{t−1}, Δ_t²),   x_{t+1} = x_t + η m_t / (√v_t + τ),
 * for each weight, without bias correction, from m = 0 and v = τ², the least that the paper allows.
 *
 * m and v are kept as float32; a step is computed from them in float64 before they are rounded. Departs from Algorithm 2 as
 * the paper's experiments do: Δ_t is weighted by numbers of examples. Limit case: with β₁ 0 and a τ far above the updates v
 * stays near τ², and a step is FedAvg's with η/(2τ) as its server learning rate.
 * @param second v_t from v_{t−1} and Δ_t², not negative
 */
export function adaptive<Config extends AdaptiveConfig>(
	serverLearningRate: number,
	beta1: number,
	more: Readonly<Record<string, object>>,
	second: (v: number, square: number, config: Config) => number,
): Omit<Strategy<AdaptiveTypes<Config>>, "name" | "version" | "summary" | "about"> {
	type Own = AdaptiveTypes<Config>;
	return {
		// Its other functions read FedAvg's options and the model; TypeScript compares the types as wholes.
		...(fedavg as unknown as Strategy<Own>),
		schema: cohortSchema({ ...adaptiveProperties(serverLearningRate, beta1), ...more }),
		init: ({ initial, config, io }) => ({
			model: initial,
			m: io.write("f32", initial.length, (from, to) => new Float32Array(to - from)),
			v: io.write("f32", initial.length, (from, to) => new Float32Array(to - from).fill(config.tau * config.tau)),
		}),
		finish(state: Own["state"], { lanes }: Folded<Own>, { io, config }: At<Own>): Outcome<Own> {
			const delta = lanes.delta!;
			const first = (m: number, j: number): number => config.beta1 * m + (1 - config.beta1) * delta[j]!;
			const variance = (v: number, j: number): number => second(v, delta[j]! * delta[j]!, config);
			const { length } = state.model;
			const model = io.write("f32", length, (from, to) => {
				const [m, v] = [io.read(state.m, from, to), io.read(state.v, from, to)];
				return io
					.read(state.model, from, to)
					.map((x, j) => x + (config.serverLearningRate * first(m[j]!, from + j)) / (Math.sqrt(variance(v[j]!, from + j)) + config.tau));
			});
			return {
				state: {
					model,
					m: io.write("f32", length, (from, to) => io.read(state.m, from, to).map((m, j) => first(m, from + j))),
					v: io.write("f32", length, (from, to) => io.read(state.v, from, to).map((v, j) => variance(v, from + j))),
				},
			};
		},
	};
}

/** The paper of the three adaptive strategies. */
export const ADAPTIVE_PAPER =
	"Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar, McMahan, Adaptive Federated Optimization, ICLR 2021, arXiv:2003.00295";
/** Their messages are FedAvg's: the moments stay on the server. */
export const FEDAVG_BYTES = { bytesUp: fedavg.about!.bytesUp, bytesDown: fedavg.about!.bytesDown };
