export type { LayersArchitecture, LayersModelParts } from "./architecture.js";
export { type DenseClassifierOptions, denseClassifier } from "./dense-classifier.js";
export { loadLayersModel } from "./layers-model-file.js";
export type { TfjsLoss } from "./objective.js";
export type { ImportModule, TfjsBackend } from "./runtime.js";
export { createTfjsTrainer, type TfjsTrainerOptions } from "./trainer.js";
