export { CONSTANT_OPERATORS, gradientRules } from "./gradients/registry.js";
export { decodeGraph } from "./graph/decode.js";
export { encodeGraph } from "./graph/encode.js";
export type { Attribute, Graph, Node, Tensor, Value } from "./graph/ir.js";
export { type ImportedModel, type ImportOptions, importOnnx, importOnnxFile } from "./import/import-model.js";
export type { Lora, LoraOptions, LoraTarget } from "./lora/apply-lora.js";
export { type AdaptedModel, mergeLora, type NamedWeights, type PeftAdapter, peftAdapter } from "./lora/export-lora.js";
export { LOSSES, type LossName } from "./losses.js";
export type { FrozenWeights, ModelAsset, OnnxManifest } from "./model.js";
export { type LenetConfig, lenet, type MlpConfig, mlp, type ResnetConfig, resnet8 } from "./models/classifiers.js";
export { exportOnnx } from "./models/export-onnx.js";
export { type ChooseToken, type GenerateOptions, generate, greedy, sampling } from "./models/generate.js";
export { type Gpt2Config, gpt2 } from "./models/gpt2.js";
export { type LlamaConfig, llama } from "./models/llama.js";
export {
	LLAMA2C_BEGIN,
	LLAMA2C_END,
	type Llama2cModel,
	readLlama2c,
	readLlama2cTokenizer,
	type TokenizerFiles,
} from "./models/llama2c.js";
export type { ModelBlueprint } from "./models/model-writer.js";
export { DEVICES, type Device } from "./session/device.js";
export type { FrozenSource } from "./session/frozen.js";
export { isOrtInstalled, loadOrt, ORT_INSTALL } from "./session/runtime.js";
export { createOnnxTrainer, OnnxTrainer, type OnnxTrainerOptions, type Prediction } from "./session/trainer.js";
