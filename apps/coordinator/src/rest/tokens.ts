import { randomUUID } from "node:crypto";
import { RondoError } from "@rondo/errors";
import { hashSecret, newSecret, SECRET_PREFIXES } from "../auth/secrets.js";
import { ADMIN, type Area, PROBLEM } from "./api.js";
import { CreatedToken, IdParams, NewToken, pageOf, ref, Token } from "./schemas.js";
import { tokenView } from "./views.js";

/** Tokens for administrators, readers and enrolling clients. */
export const tokenRoutes: Area = (api, { store }) => {
	const tags = ["tokens"];
	api.post(
		"/tokens",
		{
			...ADMIN,
			schema: {
				operationId: "createToken",
				summary: "Creates a token; its secret is shown this once.",
				tags,
				body: NewToken,
				response: { 201: CreatedToken, default: PROBLEM },
			},
		},
		async ({ body: { name, scope, expiresInS, maxUses }, actor }, reply) => {
			const enrols = scope === "enrol" || scope === "enrol:evaluator";
			if (maxUses !== undefined && !enrols) {
				throw new RondoError(
					"INVALID_ARGUMENT",
					`maxUses = ${maxUses} goes only with the scopes enrol and enrol:evaluator, not with ${scope}`,
					{ details: { field: "maxUses", value: maxUses } },
				);
			}
			const id = randomUUID();
			const secret = newSecret(SECRET_PREFIXES[enrols ? "enrol" : scope]);
			const expiresAt = expiresInS === undefined ? null : new Date(Date.now() + 1000 * expiresInS);
			const usesLeft = maxUses ?? null;
			const row = await store.createToken(
				{ id, name, hash: hashSecret(secret), scope, expiresAt, usesLeft },
				{ actor, action: "token.create", subject: id, details: { name, scope, expiresAt: expiresAt?.toISOString() ?? null, usesLeft } },
			);
			return reply.code(201).send({ token: tokenView(row), secret });
		},
	);
	api.get(
		"/tokens",
		{
			...ADMIN,
			schema: {
				operationId: "listTokens",
				summary: "All tokens, without their secrets.",
				tags,
				response: { 200: pageOf(ref(Token)), default: PROBLEM },
			},
		},
		async () => ({ items: (await store.listTokens()).map(tokenView), next: null }),
	);
	api.post(
		"/tokens/:id/revoke",
		{
			...ADMIN,
			schema: {
				operationId: "revokeToken",
				summary: "Makes a token invalid at once.",
				tags,
				params: IdParams,
				response: { 200: ref(Token), default: PROBLEM },
			},
		},
		async ({ params: { id }, actor }) =>
			tokenView(await store.revokeToken(id, { actor, action: "token.revoke", subject: id, details: {} })),
	);
};
