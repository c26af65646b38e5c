/** Version of the wire protocol that this package speaks. */
export const PROTOCOL_VERSION = 1;

/** Oldest version of the other side that is still understood. */
export const MIN_PROTOCOL_VERSION = 1;

/** Specification of the shared randomness that both sides draw from (docs/shared-randomness.md). */
export const RANDOMNESS_VERSION = "rondo-random/1";

const KIB = 1024;
const MIB = 1024 * KIB;

/**
 * Every limit of the protocol. They are part of it: both sides check them, and docs/protocol.md has a row for each
 * (compared by a test). Sizes are bytes of the field, not of its encoding.
 */
export const LIMITS = {
	/** A message of a client on the Connect stream. */
	connectRequestBytes: 256 * KIB,
	/** A message of the coordinator on the Connect stream. */
	connectResponseBytes: 4 * MIB,
	/** Enrolment token, UTF-8. */
	tokenBytes: 256,
	/** Bearer credential, UTF-8. */
	credentialBytes: 256,
	/** Name that a client proposes: characters of [A-Za-z0-9._-]. */
	clientNameChars: 64,
	/** Identity of a client: printable ASCII. */
	clientIdChars: 64,
	/** Identity of a run: characters of [A-Za-z0-9._-]. */
	runIdChars: 64,
	/** Random bytes made once per installation, exactly. */
	nonceBytes: 16,
	/** PKCS#10 request, DER. */
	certificateRequestBytes: 16 * KIB,
	/** Digests, task ids and log hashes, exactly. */
	digestBytes: 32,
	/** Public run seed, exactly. */
	seedBytes: 32,
	/** Name and version of the SDK. */
	softwareChars: 64,
	/** Names of strategies, lanes, codecs and randomness specifications. */
	nameChars: 64,
	/** Strategies that a client lists. */
	strategies: 256,
	/** Randomness specifications that a client lists. */
	randomness: 16,
	/** Codecs that a client lists. */
	codecs: 64,
	/** Reports in an outbox, and accepted reports without a settlement. */
	taskIds: 1024,
	/** Runs whose description a client holds. */
	knownRuns: 256,
	/** Canonical CBOR of a run's options. */
	configBytes: 64 * KIB,
	/** Layout, JSON in UTF-8. */
	layoutBytes: MIB,
	/** Manifest, JSON in UTF-8. */
	manifestBytes: MIB,
	/** Canonical CBOR of a strategy's task. */
	taskBytes: 64 * KIB,
	/** Lanes of a task. */
	lanes: 64,
	/** Canonical CBOR of a codec specification. */
	codecSpecBytes: 4 * KIB,
	/** One inline blob. */
	inlineBlobBytes: 64 * KIB,
	/** All inline blobs of one offer. */
	inlineBlobsBytes: MIB,
	/** Reason of a cancellation or a decline, message of a receipt, UTF-8. */
	reasonBytes: KIB,
	/** Canonical CBOR of a report. */
	reportBytes: 192 * KIB,
	/** A larger encoded lane travels as a blob. */
	inlineLaneBytes: 32 * KIB,
	/** Pieces in which blobs travel and are hashed. */
	chunkBytes: MIB,
	/** Chunks of one blob. */
	chunks: 4096,
	/** Canonical CBOR of an entry of the commit log. */
	logEntryBytes: 256 * KIB,
} as const satisfies Record<string, number>;

/** Largest blob that the protocol can name, bytes; a coordinator may set its own limit below. */
export const MAX_BLOB_BYTES = LIMITS.chunks * LIMITS.chunkBytes;
