export { type Examples, memoryData, quadraticTrainer, softmaxTrainer } from "./fixtures.js";
export type { LawCase } from "./law-kit.js";
export { LAWS, type Law, type LawName, type Requirement } from "./laws.js";
export {
	type ConvolutionalSpec,
	type DenseSpec,
	layoutOfSpec,
	type ModelSpec,
	NORM_EPSILON,
	type TransformerSpec,
} from "./model-spec.js";
export { TOY_WORDS, type ToyConfig, type ToyTypes, toyHistogram } from "./toy-strategy.js";
export { type ConformanceOptions, type RegisterTest, trainerConformance } from "./trainer-conformance.js";
