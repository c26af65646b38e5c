import { RondoError } from "@rondo/errors";
import { isUniqueViolation } from "./database-errors.js";
import { auditRow, clientRow, pageOf, startOf, takeOf, toJson, tokenRow, toText } from "./rows.js";
import type { AuditWrite, Store } from "./store.js";
import type { Database, Transaction } from "./transactions.js";

type Identities = Pick<
	Store,
	| "createToken"
	| "findToken"
	| "listTokens"
	| "revokeToken"
	| "enrol"
	| "findClientByCredential"
	| "getClient"
	| "listClients"
	| "revokeClient"
	| "touchClient"
	| "countTrainers"
	| "appendAudit"
	| "listAudit"
>;

/** Writes one audit record as a part of the transaction that it tells of. */
export async function audit(tx: Transaction, { actor, action, subject, details }: AuditWrite): Promise<void> {
	await tx.auditRecord.create({ data: { actor, action, subject: toText(subject), details: toJson(details) } });
}

/** Tokens, clients and the audit record. */
export function identities(database: Database): Identities {
	return {
		createToken: (row, record) =>
			database.write("createToken", async (tx) => {
				const created = await tx.token.create({ data: { ...row, name: toText(row.name) } });
				await audit(tx, record);
				return tokenRow(created);
			}),

		findToken: (hash) =>
			database.read("findToken", async (prisma) => {
				const row = await prisma.token.findUnique({ where: { hash } });
				return row === null ? null : tokenRow(row);
			}),

		listTokens: () =>
			database.read("listTokens", async (prisma) => {
				const rows = await prisma.token.findMany({ orderBy: [{ createdAt: "desc" }, { id: "desc" }] });
				return rows.map(tokenRow);
			}),

		revokeToken: (id, record) =>
			database.write("revokeToken", async (tx) => {
				const { count } = await tx.token.updateMany({ where: { id, revokedAt: null }, data: { revokedAt: new Date() } });
				const row = await tx.token.findUnique({ where: { id } });
				if (row === null) throw new RondoError("NOT_FOUND", `no token has id ${JSON.stringify(id)}`, { details: { id } });
				if (count === 1) await audit(tx, record);
				return tokenRow(row);
			}),

		enrol: (tokenHash, client) =>
			database.write("enrol", async (tx) => {
				const token = await spendToken(tx, tokenHash);
				const { credentialHash, installationNonce } = client;
				const [id, name] = [client.id, toText(client.name)];
				const role = token.scope === "enrol" ? "trainer" : "evaluator";
				const row = await tx.client.create({ data: { id, name, credentialHash, installationNonce, role } }).catch((error: unknown) => {
					if (!isUniqueViolation(error)) throw error;
					throw new RondoError("ALREADY_EXISTS", `a client with id ${JSON.stringify(id)} is enrolled already`, {
						details: { id },
						cause: error,
					});
				});
				await audit(tx, { actor: `token:${token.id}`, action: "client.enrol", subject: `client:${id}`, details: { name, role } });
				return clientRow(row);
			}),

		findClientByCredential: (hash) =>
			database.read("findClientByCredential", async (prisma) => {
				const row = await prisma.client.findUnique({ where: { credentialHash: hash } });
				return row === null ? null : clientRow(row);
			}),

		getClient: (id) =>
			database.read("getClient", async (prisma) => {
				const row = await prisma.client.findUnique({ where: { id } });
				return row === null ? null : clientRow(row);
			}),

		listClients: ({ after, limit }) =>
			database.read("listClients", async (prisma) => {
				const rows = await prisma.client.findMany({ orderBy: { id: "asc" }, take: takeOf(limit), ...startOf(after) });
				return pageOf(rows, limit, clientRow);
			}),

		revokeClient: (id, record) =>
			database.write("revokeClient", async (tx) => {
				const { count } = await tx.client.updateMany({ where: { id, revokedAt: null }, data: { revokedAt: new Date() } });
				const row = await tx.client.findUnique({ where: { id } });
				if (row === null) throw new RondoError("NOT_FOUND", `no client has id ${JSON.stringify(id)}`, { details: { id } });
				if (count === 1) await audit(tx, record);
				return clientRow(row);
			}),

		touchClient: (id, session) =>
			database.write("touchClient", async (tx) => {
				const { count } = await tx.client.updateMany({
					where: { id, session: { lte: session } },
					data: { session, lastSeenAt: new Date() },
				});
				if (count === 0 && (await tx.client.count({ where: { id } })) === 0) {
					throw new RondoError("NOT_FOUND", `no client has id ${JSON.stringify(id)}`, { details: { id } });
				}
				return count === 1;
			}),

		countTrainers: () => database.read("countTrainers", (prisma) => prisma.client.count({ where: { role: "trainer", revokedAt: null } })),

		appendAudit: (record) => database.write("appendAudit", (tx) => audit(tx, record)),

		listAudit: ({ after, limit }) =>
			database.read("listAudit", async (prisma) => {
				if (after !== undefined && !/^\d{1,18}$/.test(after)) {
					throw new RondoError(
						"INVALID_ARGUMENT",
						`after must be the number of an audit record, got ${JSON.stringify(after.slice(0, 80))}`,
					);
				}
				const where = after === undefined ? {} : { id: { lt: BigInt(after) } };
				const rows = await prisma.auditRecord.findMany({ where, orderBy: { id: "desc" }, take: takeOf(limit) });
				return pageOf(rows, limit, auditRow);
			}),
	};
}

/** Takes one use of an enrolment token. Its row stays locked, so that two clients cannot share the last use. */
async function spendToken(tx: Transaction, hash: string): Promise<{ id: string; scope: string }> {
	await tx.$queryRaw`SELECT id FROM "Token" WHERE hash = ${hash} FOR NO KEY UPDATE`;
	const token = await tx.token.findUnique({ where: { hash } });
	if (token === null) throw new RondoError("UNAUTHENTICATED", "the enrolment token is unknown");
	const { id, scope, usesLeft, expiresAt } = token;
	if (token.revokedAt !== null) throw new RondoError("TOKEN_REVOKED", `token ${id} was revoked`, { details: { id } });
	if (scope !== "enrol" && scope !== "enrol:evaluator") {
		throw new RondoError("FORBIDDEN", `token ${id} has scope "${scope}", which does not allow enrolment`, { details: { id, scope } });
	}
	if (expiresAt !== null && expiresAt <= new Date()) {
		throw new RondoError("TOKEN_EXPIRED", `token ${id} expired at ${expiresAt.toISOString()}`, { details: { id } });
	}
	if (usesLeft !== null) {
		if (usesLeft <= 0) throw new RondoError("TOKEN_EXPIRED", `token ${id} has no uses left`, { details: { id } });
		await tx.token.update({ where: { id }, data: { usesLeft: usesLeft - 1 } });
	}
	return { id, scope };
}
