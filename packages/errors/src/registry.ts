/** What every edge needs to know of one error code. */
export interface ErrorSpec {
	/** Number of the gRPC status (https://grpc.io/docs/guides/status-codes/). */
	readonly grpc: number;
	/** HTTP status of the problem+json answer (RFC 9457). */
	readonly http: number;
	/** Whether the same call may succeed later without a change by the caller. */
	readonly retryable: boolean;
	/** One sentence, the head of the code's entry in docs/errors.md. */
	readonly title: string;
}

const spec = (grpc: number, http: number, retryable: boolean, title: string): ErrorSpec => ({ grpc, http, retryable, title });

/** Every error code of Rondo. `docs/errors.md` has an entry for each one; a test compares the two in both directions. */
export const ERROR_CODES = {
	// Input that the caller has to change.
	INVALID_ARGUMENT: spec(3, 400, false, "A field has the wrong type, range or shape."),
	UNKNOWN_STRATEGY: spec(3, 400, false, "No registered strategy has this name."),
	UNKNOWN_OPTION: spec(3, 400, false, "An option is not one that the strategy or setting declares."),
	UNKNOWN_CODEC: spec(3, 400, false, "A lane names a codec that is not registered."),
	UNKNOWN_REDUCER: spec(3, 400, false, "A lane names a reducer that is not registered."),
	SHAPE_MISMATCH: spec(3, 400, false, "Two arrays that must have the same length or shape do not."),
	BAD_SAFETENSORS: spec(3, 400, false, "A file is not a well-formed safetensors file."),
	BAD_MODEL: spec(3, 400, false, "A file is not an ONNX model that can be used here."),
	NOT_DIFFERENTIABLE: spec(3, 400, false, "An operator on the way to the loss has no gradient."),
	BAD_ENCODING: spec(3, 400, false, "Bytes are not the canonical encoding of a value."),
	NOT_FINITE: spec(3, 400, false, "A number is NaN or infinite where a finite one is required."),
	LANE_OUT_OF_BOUND: spec(3, 400, false, "A value in a lane is larger than the lane's declared bound."),
	LEDGER_OVERFLOW: spec(9, 409, false, "A coefficient left the int32 range; the unit of the ledger is too small."),
	TOO_LARGE: spec(3, 413, false, "A message, header, blob or update is larger than its declared limit."),
	DIGEST_MISMATCH: spec(3, 400, false, "Bytes do not hash to the digest that names them."),
	// Identity and permission.
	UNAUTHENTICATED: spec(16, 401, false, "No valid token or credential was presented."),
	TOKEN_EXPIRED: spec(16, 401, false, "The token is past its expiry or has no uses left."),
	TOKEN_REVOKED: spec(16, 401, false, "The token or client identity was revoked."),
	FORBIDDEN: spec(7, 403, false, "The token's scope does not allow this call."),
	PROTOCOL_TOO_OLD: spec(9, 426, false, "The client's protocol version is older than the coordinator supports."),
	SUPERSEDED: spec(10, 409, false, "A newer connection of the same client took over."),
	// State.
	NOT_FOUND: spec(5, 404, false, "The named thing does not exist."),
	ALREADY_EXISTS: spec(6, 409, false, "A thing with this name exists already."),
	CONFLICT: spec(9, 409, false, "The state of the run, round or task does not allow this."),
	RUN_OVER: spec(9, 409, false, "The run has ended."),
	ROUND_MISSED: spec(9, 409, false, "Too many rounds in a row ended below their quorum."),
	STRATEGY_VERSION: spec(9, 409, false, "The run is pinned to a strategy version that is not available here."),
	BLOB_MISSING: spec(9, 409, false, "Content that the run needs is not in the store."),
	MODEL_MISMATCH: spec(15, 500, false, "Weights assembled here differ from the coordinator's."),
	REPLAY_MISMATCH: spec(15, 500, false, "Replaying the commit log gives another hash than the one recorded."),
	FENCED: spec(10, 409, false, "Another coordinator has taken over the store."),
	FOLDER_LOCKED: spec(9, 409, true, "Another process holds the data folder."),
	// The machine and the network.
	DISK_FULL: spec(8, 507, true, "The disk has no room beyond the reserve."),
	OUTBOX_FULL: spec(8, 507, true, "The client's outbox has reached its bound."),
	UNAVAILABLE: spec(14, 503, true, "The other side cannot be reached now."),
	DEADLINE: spec(4, 504, true, "The time for this was used up."),
	CANCELLED: spec(1, 499, false, "The work was cancelled."),
	TRAINER_FAILED: spec(13, 500, false, "The trainer or its data module threw or is unusable."),
	INTERNAL: spec(13, 500, false, "A defect in Rondo; the log has the details."),
} as const satisfies Record<string, ErrorSpec>;

/** The name of a registered error code. */
export type ErrorCode = keyof typeof ERROR_CODES;
