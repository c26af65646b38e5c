export { BlobStore } from "./blobs/blob-store.js";
export { openSyncIo, reportSource } from "./blobs/sync-io.js";
export { type Coordinator, type Instruments, startCoordinator } from "./compose.js";
export { printConfig } from "./config/describe-config.js";
export { type ConfigInput, loadConfig } from "./config/load-config.js";
export { type CoordinatorConfig, KEY_SPECS } from "./config/schema.js";
export type { Checkpoint, Checkpoints } from "./driver/ports.js";
export { serve } from "./serve.js";
export type { Store } from "./store/store.js";
