import { RondoError } from "@rondo/errors";
import type { Actor } from "../services.js";
import type { ClientRow, Store } from "../store/store.js";
import { hashSecret } from "./secrets.js";

/** Longer headers are refused unhashed, characters. */
const MAX_HEADER_LENGTH = 1024;

/** An authenticated caller of the REST API. Scope admin may do all that read may. */
export interface Caller {
	readonly actor: Actor;
	readonly scope: "admin" | "read";
}

/**
 * Who presents this `Authorization` header. Asks the store each time, so that a revocation acts at once.
 * @throws UNAUTHENTICATED, TOKEN_EXPIRED, TOKEN_REVOKED; FORBIDDEN for tokens that only enrol clients
 */
export async function authenticate(store: Pick<Store, "findToken">, header: string | undefined, nowMs = Date.now()): Promise<Caller> {
	if (header === undefined)
		throw new RondoError("UNAUTHENTICATED", "the Authorization header is missing; send Authorization: Bearer <token>");
	const secret = header.length <= MAX_HEADER_LENGTH ? /^Bearer +(\S+) *$/i.exec(header)?.[1] : undefined;
	if (secret === undefined) throw new RondoError("UNAUTHENTICATED", "the Authorization header is not of the form Bearer <token>");
	const token = await store.findToken(hashSecret(secret));
	if (token === null) throw new RondoError("UNAUTHENTICATED", "the token in the Authorization header is not known");
	if (token.revokedAt !== null) throw new RondoError("TOKEN_REVOKED", `token ${token.id} was revoked at ${token.revokedAt.toISOString()}`);
	if (token.expiresAt !== null && token.expiresAt.getTime() <= nowMs) {
		throw new RondoError("TOKEN_EXPIRED", `token ${token.id} expired at ${token.expiresAt.toISOString()}`);
	}
	if (token.scope !== "admin" && token.scope !== "read") {
		throw new RondoError("FORBIDDEN", `token ${token.id} has scope ${token.scope}, which allows no REST call`, {
			details: { field: "scope", value: token.scope },
		});
	}
	return { actor: `token:${token.id}`, scope: token.scope };
}

/**
 * The client that presents this credential.
 * @throws UNAUTHENTICATED, TOKEN_REVOKED
 */
export async function authenticateClient(store: Pick<Store, "findClientByCredential">, credential: string | undefined): Promise<ClientRow> {
	if (credential === undefined || credential === "" || credential.length > MAX_HEADER_LENGTH)
		throw new RondoError("UNAUTHENTICATED", "no usable client credential was presented");
	const client = await store.findClientByCredential(hashSecret(credential));
	if (client === null) throw new RondoError("UNAUTHENTICATED", "the client credential is not known");
	if (client.revokedAt !== null)
		throw new RondoError("TOKEN_REVOKED", `client ${client.id} was revoked at ${client.revokedAt.toISOString()}`);
	return client;
}
