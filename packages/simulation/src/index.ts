export { Device, type DeviceContext, type DeviceResult, type SimulatedClient } from "./device.js";
export type { Refusal, SimulatedRound } from "./driver.js";
export { createMemoryStore, type MemoryStore } from "./memory-store.js";
export { type SimulateOptions, type SimulationResult, simulate } from "./simulate.js";
