import { type Static, type TSchema, Type } from "@sinclair/typebox";

const GIBIBYTE = 1024 ** 3;
const MEBIBYTE = 1024 ** 2;
/** Longest delay that a Node timer keeps, milliseconds. */
const MAX_TIMER_MS = 2 ** 31 - 1;

const port = (value: number, description: string) => Type.Integer({ minimum: 0, maximum: 65_535, default: value, description });
const path = (description: string) => Type.String({ minLength: 1, description });

/**
 * Every key of the coordinator's configuration. `default` is the lowest source, `secret` keeps a value out of output and
 * messages; a key without a default may be absent.
 */
export const CONFIG_SCHEMA = Type.Object(
	{
		dataDir: Type.String({ minLength: 1, default: "./.rondo", description: "Folder of the blobs and of the embedded database." }),
		databaseUrl: Type.Optional(
			Type.String({
				pattern: "^postgres(ql)?://",
				secret: true,
				description: "PostgreSQL to use in place of the embedded database: `postgres://…`.",
			}),
		),
		restHost: Type.String({ minLength: 1, default: "127.0.0.1", description: "Address that the admin REST API listens on." }),
		restPort: port(8080, "Port of the admin REST API; 0 takes a free one."),
		grpcHost: Type.String({ minLength: 1, default: "127.0.0.1", description: "Address that the clients' gRPC service listens on." }),
		grpcPort: port(9443, "Port of the clients' gRPC service; 0 takes a free one."),
		tlsCertificate: Type.Optional(path("PEM file with the certificate chain of both services. Goes with `tlsKey`.")),
		tlsKey: Type.Optional(path("PEM file with the certificate's private key. Goes with `tlsCertificate`.")),
		logLevel: Type.Union(
			(["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const).map((level) => Type.Literal(level)),
			{ default: "info", description: "Least severe log lines that are written. Logs are JSON lines." },
		),
		adminToken: Type.Optional(
			Type.String({
				minLength: 24,
				secret: true,
				description: "An admin token that is valid from the first start on, at least 24 characters.",
			}),
		),
		heartbeatMs: Type.Integer({
			minimum: 100,
			maximum: MAX_TIMER_MS,
			default: 10_000,
			description: "Silence after which a sign of life is sent on open streams, milliseconds.",
		}),
		maxBlobBytes: Type.Integer({
			minimum: MEBIBYTE,
			maximum: 2 ** 40,
			default: 4 * GIBIBYTE,
			description: "Largest blob (weights, large lanes) that is taken, bytes.",
		}),
		reserveBytes: Type.Integer({
			minimum: 0,
			maximum: 2 ** 50,
			default: 256 * MEBIBYTE,
			description: "Free disk space that uploads must leave, bytes.",
		}),
		retainReportRounds: Type.Integer({
			minimum: 0,
			maximum: 2 ** 31 - 1,
			default: 0,
			description: "Closed rounds whose reports' blobs are kept; 0 keeps all.",
		}),
		kernelThreads: Type.Optional(
			Type.Integer({
				minimum: 1,
				maximum: 64,
				description: "Threads that sum updates and rebuild models; without it, one per CPU, at most 16.",
			}),
		),
		strategies: Type.Array(Type.String({ minLength: 1 }), {
			default: [],
			description: "Paths of modules with additional strategies. Comma-separated in the environment and in flags.",
		}),
		shutdownGraceMs: Type.Integer({
			minimum: 0,
			maximum: MAX_TIMER_MS,
			default: 5_000,
			description: "Time for open requests to end at a shutdown, milliseconds.",
		}),
	},
	{ additionalProperties: false },
);

/** Values of all keys. */
export type ConfigValues = Readonly<Static<typeof CONFIG_SCHEMA>>;
export type ConfigKey = keyof ConfigValues;

/** The configuration of a coordinator, and where each value came from. */
export type CoordinatorConfig = ConfigValues & {
	/** Of the keys that have a value: "default", "file PATH", "environment NAME" or "flag --name". */
	readonly sources: { readonly [K in ConfigKey]?: string };
};

/** What loading, printing and documenting need to know of one key. */
export interface KeySpec {
	readonly key: ConfigKey;
	readonly schema: TSchema;
	readonly environment: string;
	readonly flag: string;
	readonly secret: boolean;
	/** The values that the key may have, in words. */
	readonly allowed: string;
}

function allowedOf(schema: TSchema): string {
	if (schema.type === "integer") return `an integer from ${schema.minimum} to ${schema.maximum}`;
	if (schema.type === "array") return "a list of non-empty strings";
	if (Array.isArray(schema.anyOf)) return `one of ${schema.anyOf.map((literal: TSchema) => literal.const).join(", ")}`;
	if (schema.pattern !== undefined) return "a URL that begins with postgres:// or postgresql://";
	return schema.minLength === 1 ? "a non-empty string" : `a string of at least ${schema.minLength} characters`;
}

/** All keys in the order of the schema. */
export const KEY_SPECS: readonly KeySpec[] = Object.entries(CONFIG_SCHEMA.properties as Record<string, TSchema>).map(([key, schema]) => ({
	key: key as ConfigKey,
	schema,
	environment: `RONDO_${key.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`,
	flag: `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
	secret: schema.secret === true,
	allowed: allowedOf(schema),
}));
