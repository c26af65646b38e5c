import { type Static, type TProperties, type TSchema, Type } from "@sinclair/typebox";

// Shapes of requests and responses. Requests are validated as they stand here, and responses hold only what stands here,
// so a column that is not listed cannot leak. Named ones become components of the OpenAPI document.

/** An object that takes no other fields. */
const exact = <T extends TProperties>(properties: T, description?: string) =>
	Type.Object(properties, { additionalProperties: false, ...(description === undefined ? {} : { description }) });

/** A schema that routes refer to by name. */
const named = <T extends TProperties>($id: string, properties: T) => Type.Object(properties, { $id, additionalProperties: false });

/** Refers to a named schema. */
export const ref = <T extends TSchema>(schema: T) => Type.Unsafe<Static<T>>({ $ref: `${schema.$id}#` });

const nullable = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()]);
const text = (description: string) => Type.String({ description });
const instant = (description: string) => Type.String({ format: "date-time", description });
const count = (description: string) => Type.Integer({ minimum: 0, description });
const oneOf = <T extends readonly string[]>(values: T, description: string) =>
	Type.Unsafe<T[number]>({ type: "string", enum: [...values], description });
const HEX_64 = "^[0-9a-f]{64}$";
const NAME = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";
const MAX_INT = 2 ** 31 - 1;
/** Printable ASCII without spaces: databases refuse some control characters. */
const TOKEN_TEXT = "^[!-~]+$";
const NO_CONTROLS = "^[^\\u0000-\\u001f\\u007f]+$";

const Metrics = Type.Record(Type.String(), Type.Number(), { description: "Numbers by name." });
const KINDS = ["train", "evaluate"] as const;

export const Digest = Type.String({ pattern: HEX_64, description: "Digest, 64 lower-case hexadecimal digits." });
export const IdParams = exact({
	id: Type.String({ pattern: TOKEN_TEXT, maxLength: 128, description: "Id, or for models and runs also the name." }),
});
export const PageQuery = exact({
	after: Type.Optional(Type.String({ pattern: TOKEN_TEXT, maxLength: 256, description: "`next` of the page before." })),
	limit: Type.Integer({ minimum: 1, maximum: 200, default: 50, description: "Most items of the page." }),
});
export const pageOf = <T extends TSchema>(item: T) =>
	exact({ items: Type.Array(item), next: nullable(text("Pass as `after` for the next page; null at the end.")) });

export const Problem = Type.Object(
	{
		type: text("URN of the code."),
		title: text("The code in words."),
		status: Type.Integer(),
		detail: text("What is wrong here."),
		instance: text("Path of the request."),
		code: text("Code, as in docs/errors.md."),
		field: Type.Optional(text("The offending field.")),
		value: Type.Optional(Type.Unknown({ description: "Its value." })),
	},
	{ $id: "Problem", description: "Error after RFC 9457." },
);

// Models.
const Tensor = exact({
	name: Type.String({ minLength: 1, maxLength: 512 }),
	shape: Type.Array(count("Size of a dimension."), { maxItems: 32 }),
	from: count("First element in the flat vector."),
	to: count("The one after the last."),
});
export const Layout = named("Layout", { length: count("Number of elements."), tensors: Type.Array(Tensor) });
export const Weights = named("Weights", { digest: Digest, parameters: count("Number of parameters."), layout: ref(Layout) });
export const NewModel = exact({
	name: Type.String({ pattern: NAME, description: "Unique." }),
	weights: Digest,
	layout: ref(Layout),
	manifest: Type.Unknown({ description: "Architecture, for the clients' trainers; kept as it is." }),
});
const modelSummary = {
	id: text("Id."),
	name: text("Unique name."),
	createdAt: instant("When it was created."),
	weights: Digest,
	parameters: count("Number of parameters."),
};
export const ModelSummary = named("ModelSummary", modelSummary);
export const Model = named("Model", { ...modelSummary, layout: ref(Layout), manifest: Type.Unknown() });

// Runs.
export const NewRun = exact({
	name: Type.Optional(Type.String({ pattern: NAME, description: "Unique; default: made from strategy and time." })),
	model: Type.String({ pattern: TOKEN_TEXT, maxLength: 128, description: "Id or name of a model." }),
	strategy: Type.String({ pattern: TOKEN_TEXT, maxLength: 128, description: "Name of the strategy." }),
	options: Type.Optional(Type.Record(Type.String(), Type.Unknown(), { description: "The strategy's options." })),
	rounds: Type.Integer({ minimum: 1, maximum: MAX_INT, description: "Rounds after which the run is complete." }),
	minClients: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_INT, description: "Connected clients that a round waits for." })),
	waitForClientsMs: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_INT, description: "Longest such wait, milliseconds." })),
	maxReplans: Type.Optional(
		Type.Integer({ minimum: 0, maximum: MAX_INT, description: "Missed attempts in a row after which the run fails." }),
	),
	evaluateEvery: Type.Optional(Type.Integer({ minimum: 0, maximum: MAX_INT, description: "Commits between evaluations; 0: none." })),
	evaluateDeadlineMs: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_INT, description: "Budget of one evaluation, milliseconds." })),
	publicSeed: Type.Optional(Type.String({ pattern: HEX_64, description: "Seed that everyone may know; default: random." })),
	secretSeed: Type.Optional(
		Type.String({ pattern: HEX_64, description: "Seed of the cohort draws, for experiments; default: random. Never shown." }),
	),
	start: Type.Optional(Type.Boolean({ description: "Start at once; default: true." })),
});
const Settings = exact({
	rounds: count("Commits after which the run is complete."),
	maxReplans: count("Abandoned attempts in a row after which the run fails."),
	minClients: count("Connected clients that a round waits for."),
	waitForClientsMs: count("Longest such wait, milliseconds."),
	evaluateEvery: count("Commits between evaluations; 0: none."),
	evaluateDeadlineMs: count("Budget of one evaluation, milliseconds."),
});
export const Run = named("Run", {
	id: text("Id."),
	name: text("Unique name."),
	createdAt: instant("When it was submitted."),
	endedAt: nullable(instant("When it completed, failed or was stopped.")),
	model: text("Id of the initial model."),
	strategy: text("Name of the strategy."),
	strategyVersion: Type.Integer(),
	options: Type.Unknown({ description: "All options of the strategy, defaults included." }),
	settings: Settings,
	publicSeed: Digest,
	incarnation: Type.Integer(),
	phase: oneOf(["created", "running", "paused", "completed", "failed", "stopped"] as const, "Phase."),
	reason: nullable(text("Why it is in this phase.")),
	commit: count("Commits so far, skipped rounds included."),
	rounds: count("Rounds finished."),
	misses: count("Abandoned attempts in a row."),
	logHead: text("Hash of the newest log entry."),
	result: Type.Unknown({ description: "What the strategy left at its end; null before." }),
});
export const SubmittedRun = exact({
	run: ref(Run),
	cost: exact(
		{ task: count("Bytes."), download: count("Bytes."), report: count("Bytes.") },
		"Largest messages per client and round, bytes.",
	),
});
export const Accepted = exact({
	task: Digest,
	client: text("Client id."),
	numExamples: Type.Number(),
	staleness: count("Commits between the task and the round."),
	sequence: count("Order of acceptance."),
	digest: Digest,
});
export const LogRecord = named("LogRecord", {
	commit: count("Number of the entry; 0 is the genesis."),
	hash: Digest,
	entry: text("Canonical CBOR of the entry, base64: the bytes that are hashed."),
	content: Type.Unknown({ description: "The entry for reading; arrays are shortened." }),
	accepted: Type.Array(Accepted),
});
export const LogQuery = exact({
	from: Type.Integer({ minimum: 0, maximum: MAX_INT, default: 0, description: "First commit." }),
	limit: Type.Integer({ minimum: 1, maximum: 200, default: 50, description: "Most records." }),
});
export const LogPage = exact({
	items: Type.Array(ref(LogRecord)),
	next: nullable(count("Pass as `from` for the next page; null at the end.")),
});
export const ReportParams = exact({ id: IdParams.properties.id, task: Digest });

// Rounds and tasks.
const roundFields = {
	kind: oneOf(KINDS, "Kind."),
	round: Type.Integer(),
	attempt: Type.Integer(),
	track: Type.Integer(),
	commit: count("Commits that the tasks are based on."),
	phase: oneOf(["planned", "collecting", "closing", "committed", "abandoned"] as const, "Phase."),
	population: count("Clients enrolled when it was planned."),
	openedAt: instant("When it was planned."),
	closedAt: nullable(instant("When it was committed or abandoned.")),
	reason: nullable(text("Why it was abandoned.")),
	metrics: Metrics,
	leased: count("Tasks handed out."),
	accepted: count("Reports accepted."),
	bytesDown: count("Bytes sent to clients."),
	bytesUp: count("Bytes received from clients."),
};
export const Round = named("Round", roundFields);
export const Task = named("Task", {
	id: Digest,
	client: text("Client id."),
	slot: count("Place in the cohort."),
	phase: oneOf(["leased", "accepted", "declined", "rejected", "expired"] as const, "Phase."),
	deliveredAt: nullable(instant("When the client had it.")),
	endedAt: nullable(instant("When it ended.")),
	reason: nullable(text("Why it was declined or rejected, or expired.")),
	outcome: nullable(oneOf(["applied", "discarded"] as const, "What became of its report.")),
	settledCommit: nullable(count("Commit that settled it.")),
	bytesDown: count("Bytes sent."),
	bytesUp: count("Bytes received."),
	numExamples: nullable(Type.Number({ description: "What the report claims." })),
	staleness: nullable(count("Commits between the task's model and the round that its report counts for.")),
});
export const RoundDetail = named("RoundDetail", {
	...roundFields,
	scores: Type.Record(Type.String(), Metrics, { description: "Metrics by client." }),
	plan: Type.Unknown({ description: "Lanes, leases, quorum, deadline." }),
	tasks: Type.Array(ref(Task)),
});
export const RunClient = named("RunClient", {
	client: text("Client id."),
	name: text("Name given at enrolment."),
	connected: Type.Boolean({ description: "Whether it has an open stream." }),
	leased: count("Training tasks handed to it."),
	applied: count("Its reports that counted."),
	lastRound: nullable(count("Round of the newest of them.")),
	bytesDown: count("Bytes sent to it."),
	bytesUp: count("Bytes received from it."),
	scoredRound: nullable(count("Newest round in which the strategy scored it.")),
	scores: Metrics,
	state: Type.Unknown({ description: "What the strategy keeps of it, large arrays by type and length; null when nothing." }),
});
export const RunClientParams = exact({
	id: IdParams.properties.id,
	client: Type.String({ pattern: TOKEN_TEXT, maxLength: 128, description: "Client id." }),
});
export const RoundsQuery = exact({ ...PageQuery.properties, kind: Type.Optional(oneOf(KINDS, "Only this kind.")) });
export const RoundParams = exact({
	id: IdParams.properties.id,
	kind: oneOf(KINDS, "Kind."),
	round: Type.Integer({ minimum: 0, maximum: MAX_INT }),
	attempt: Type.Integer({ minimum: 0, maximum: MAX_INT }),
});

// Clients, tokens, audit, strategies.
export const Client = named("Client", {
	id: text("Id."),
	name: text("Name given at enrolment."),
	role: oneOf(["trainer", "evaluator"] as const, "Role."),
	createdAt: instant("When it enrolled."),
	lastSeenAt: nullable(instant("When it last connected.")),
	revokedAt: nullable(instant("When it was revoked.")),
	connected: Type.Boolean({ description: "Whether it has an open stream." }),
});
const SCOPES = ["admin", "read", "enrol", "enrol:evaluator"] as const;
export const NewToken = exact({
	name: Type.String({ pattern: NO_CONTROLS, maxLength: 128, description: "For people." }),
	scope: oneOf(SCOPES, "What it allows."),
	expiresInS: Type.Optional(
		Type.Integer({ minimum: 1, maximum: 10 * 366 * 86_400, description: "Lifetime, seconds; default: unlimited." }),
	),
	maxUses: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_INT, description: "Enrolments, for enrol scopes; default: unlimited." })),
});
export const Token = named("Token", {
	id: text("Id."),
	name: text("For people."),
	scope: oneOf(SCOPES, "What it allows."),
	createdAt: instant("When it was created."),
	expiresAt: nullable(instant("End of its lifetime.")),
	usesLeft: nullable(count("Enrolments left.")),
	revokedAt: nullable(instant("When it was revoked.")),
});
export const CreatedToken = exact({ token: ref(Token), secret: text("Shown this once.") });
export const AuditEntry = named("AuditEntry", {
	id: Type.Integer(),
	at: instant("When."),
	actor: text("token:<id>, client:<id> or coordinator."),
	action: text("Verb, like run.create."),
	subject: text("What it was done to."),
	details: Type.Unknown(),
});
export const Strategy = named("Strategy", {
	name: text("Name."),
	version: Type.Integer(),
	summary: text("One sentence and the paper."),
	schema: Type.Unknown({ description: "JSON Schema of the options." }),
	needs: Type.Unknown({ description: "What it needs of clients and coordinator." }),
});
export const DigestParams = exact({ digest: Digest });
export const Health = exact({ status: text("ok or ready.") });

/** Schemas that routes refer to by name. */
export const NAMED_SCHEMAS = [
	Problem,
	Layout,
	Weights,
	ModelSummary,
	Model,
	Run,
	LogRecord,
	Round,
	Task,
	RoundDetail,
	RunClient,
	Client,
	Token,
	AuditEntry,
	Strategy,
];
