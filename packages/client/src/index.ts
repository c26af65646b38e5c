export type { BackoffOptions } from "./backoff.js";
export { type GlobalModel, RondoClient } from "./client.js";
export { connect } from "./connect.js";
export type { ClientEvents, OfferInfo, ReceiptName } from "./events.js";
export type { ClientOptions, Decision } from "./options.js";
export type { Bytes } from "./traffic.js";
export type { Workload, WorkloadModel } from "./workload.js";
