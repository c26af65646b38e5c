import type { ChannelOptions } from "@grpc/grpc-js";
import { LIMITS } from "./limits.js";

// A chunk message is a chunk plus a few bytes of framing; nothing that a client sends is larger.
const FRAMING_BYTES = 64 * 1024;

/**
 * Keepalive finds a dead peer on an idle stream: 30 s is below the idle timeout of common NATs and load balancers, and
 * at 2,000 clients costs the coordinator 67 pings a second.
 */
const KEEPALIVE = { "grpc.keepalive_time_ms": 30_000, "grpc.keepalive_timeout_ms": 10_000 } as const;

/** Channel options of a client: message sizes after `LIMITS`, keepalive, no retries below ours, no shared connections. */
export const CLIENT_CHANNEL_OPTIONS: ChannelOptions = {
	...KEEPALIVE,
	"grpc.keepalive_permit_without_calls": 1,
	"grpc.max_receive_message_length": LIMITS.connectResponseBytes,
	"grpc.max_send_message_length": LIMITS.chunkBytes + FRAMING_BYTES,
	"grpc.enable_retries": 0,
	"grpc.use_local_subchannel_pool": 1,
	"grpc.initial_reconnect_backoff_ms": 250,
	"grpc.min_reconnect_backoff_ms": 250,
	"grpc.max_reconnect_backoff_ms": 5_000,
};

/** Server options of a coordinator: a message above the largest legal one is refused before it is buffered. */
export const SERVER_OPTIONS: ChannelOptions = {
	...KEEPALIVE,
	"grpc.max_receive_message_length": LIMITS.chunkBytes + FRAMING_BYTES,
	"grpc.max_send_message_length": LIMITS.connectResponseBytes,
};
