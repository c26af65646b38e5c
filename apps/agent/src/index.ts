export { type AgentOptions, type AgentPorts, runAgent } from "./agent.js";
export type { AgentEvent } from "./agent-event.js";
export type { MnistWorkloadOptions } from "./mnist-workload.js";
export { addAgentOptions, agentOptionsOf } from "./options.js";
export { decimal, hex32, integer, repeated } from "./parse-option.js";
export { divide, type ShardOptions, type Shards } from "./shard.js";
export { ONNX_DEVICES, TFJS_BACKENDS } from "./trainer-choice.js";
