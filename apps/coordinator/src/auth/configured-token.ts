import { randomUUID } from "node:crypto";
import type { Store } from "../store/store.js";
import { hashSecret } from "./secrets.js";

const ID_PREFIX = "configured-";

/**
 * Makes the configured admin token valid and earlier configured ones invalid: changing the configuration is how it is
 * rotated. A token that an administrator revoked stays revoked.
 */
export async function ensureConfiguredToken(
	store: Pick<Store, "createToken" | "findToken" | "listTokens" | "revokeToken">,
	adminToken: string | undefined,
): Promise<void> {
	const hash = adminToken === undefined ? undefined : hashSecret(adminToken);
	const current = hash === undefined ? null : await store.findToken(hash);
	for (const token of await store.listTokens()) {
		if (!token.id.startsWith(ID_PREFIX) || token.id === current?.id || token.revokedAt !== null) continue;
		await store.revokeToken(token.id, {
			actor: "coordinator",
			action: "token.revoke",
			subject: token.id,
			details: { reason: "no longer configured" },
		});
	}
	if (hash === undefined || current !== null) return;
	const id = ID_PREFIX + randomUUID();
	await store.createToken(
		{ id, name: "configured admin token", hash, scope: "admin", expiresAt: null, usesLeft: null },
		{ actor: "coordinator", action: "token.create", subject: id, details: { scope: "admin" } },
	);
}
