export { streamKeyOf } from "../random.js";
export type { GraphNode, GraphPart, GraphTensor, GraphType } from "./graph-writer.js";
export { GRAPH_TYPES } from "./graph-writer.js";
export {
	memberRows,
	type PerturbedTensor,
	type PerturbGraphOptions,
	packedBits,
	perturbGraph,
	type SignSource,
} from "./perturb-graph.js";
export type { GraphArithmetic } from "./philox-graph.js";
export { applySumShader, perturbJob, perturbShader, rebuildJob, rebuildShader, shaderWorkgroups } from "./shaders.js";
