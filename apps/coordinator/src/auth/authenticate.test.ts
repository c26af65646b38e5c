import { isRondoError } from "@rondo/errors";
import { describe, expect, it } from "vitest";
import type { AuditWrite, ClientRow, TokenRow } from "../store/store.js";
import { authenticate, authenticateClient } from "./authenticate.js";
import { ensureConfiguredToken } from "./configured-token.js";
import { hashSecret, newSecret, SECRET_PREFIXES } from "./secrets.js";

const NOW_MS = Date.parse("2026-01-02T03:04:05Z");
const token = (change: Partial<TokenRow> = {}): TokenRow => ({
	id: "t1",
	name: "token",
	scope: "admin",
	createdAt: new Date(NOW_MS),
	expiresAt: null,
	usesLeft: null,
	revokedAt: null,
	...change,
});
const codeOf = (work: Promise<unknown>): Promise<unknown> =>
	work.then(
		() => "nothing was thrown",
		(error: unknown) => (isRondoError(error) ? error.code : error),
	);

describe("secrets", () => {
	it("are 32 random bytes behind a prefix", () => {
		const secrets = Array.from({ length: 100 }, () => newSecret(SECRET_PREFIXES.admin));
		for (const secret of secrets) expect(secret).toMatch(/^rondo_a_[A-Za-z0-9_-]{43}$/);
		expect(new Set(secrets).size).toBe(100);
	});

	it("are stored as SHA-256 (the vector of FIPS 180-2 for abc)", () => {
		expect(hashSecret("abc")).toBe("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	});
});

describe("authenticate", () => {
	const secret = "rondo_a_x";
	const storeOf = (row: TokenRow) => ({ findToken: async (hash: string) => (hash === hashSecret(secret) ? row : null) });
	const header = `Bearer ${secret}`;

	it("gives actor and scope of a valid token", async () => {
		expect(await authenticate(storeOf(token()), header)).toEqual({ actor: "token:t1", scope: "admin" });
		expect(await authenticate(storeOf(token({ scope: "read", expiresAt: new Date(NOW_MS + 1) })), header, NOW_MS)).toEqual({
			actor: "token:t1",
			scope: "read",
		});
	});

	it.each([
		["missing", undefined, {}, "UNAUTHENTICATED"],
		["empty", "", {}, "UNAUTHENTICATED"],
		["of another scheme", `Basic ${secret}`, {}, "UNAUTHENTICATED"],
		["unknown", "Bearer rondo_a_y", {}, "UNAUTHENTICATED"],
		["expired to the millisecond", header, { expiresAt: new Date(NOW_MS) }, "TOKEN_EXPIRED"],
		["revoked and expired", header, { expiresAt: new Date(NOW_MS), revokedAt: new Date(NOW_MS) }, "TOKEN_REVOKED"],
		["of scope enrol", header, { scope: "enrol" }, "FORBIDDEN"],
		["of scope enrol:evaluator", header, { scope: "enrol:evaluator" }, "FORBIDDEN"],
	] as const)("refuses a token that is %s", async (_what, presented, change, code) => {
		expect(await codeOf(authenticate(storeOf(token(change)), presented, NOW_MS))).toBe(code);
	});
});

describe("authenticateClient", () => {
	const row = { id: "c1", revokedAt: null } as ClientRow;
	const storeOf = (client: ClientRow) => ({
		findClientByCredential: async (hash: string) => (hash === hashSecret("rondo_c_x") ? client : null),
	});

	it("gives the client of a credential", async () => {
		expect(await authenticateClient(storeOf(row), "rondo_c_x")).toBe(row);
	});

	it("refuses what is missing, too long, unknown or revoked", async () => {
		for (const credential of [undefined, "", "x".repeat(100_000), "rondo_c_y"])
			expect(await codeOf(authenticateClient(storeOf(row), credential))).toBe("UNAUTHENTICATED");
		expect(await codeOf(authenticateClient(storeOf({ ...row, revokedAt: new Date() }), "rondo_c_x"))).toBe("TOKEN_REVOKED");
	});
});

describe("ensureConfiguredToken", () => {
	const world = () => {
		const rows = new Map<string, TokenRow>([["other", token({ id: "made-by-hand" })]]);
		const audit: AuditWrite[] = [];
		const store = {
			findToken: async (hash: string) => rows.get(hash) ?? null,
			listTokens: async () => [...rows.values()],
			createToken: async (
				{
					hash,
					...row
				}: { id: string; name: string; hash: string; scope: TokenRow["scope"]; expiresAt: Date | null; usesLeft: number | null },
				write: AuditWrite,
			) => {
				audit.push(write);
				rows.set(hash, token(row));
				return rows.get(hash)!;
			},
			revokeToken: async (id: string, write: AuditWrite) => {
				audit.push(write);
				const [hash, row] = [...rows].find(([, candidate]) => candidate.id === id)!;
				rows.set(hash, { ...row, revokedAt: new Date(NOW_MS) });
				return rows.get(hash)!;
			},
		};
		const works = (secret: string) => authenticate(store, `Bearer ${secret}`).then(({ scope }) => scope);
		return { rows, audit, store, works };
	};
	const [first, second] = ["first-configured-admin-token", "second-configured-admin-token"] as const;

	it("makes the token valid once, and replaces it when the configuration changes", async () => {
		const { rows, audit, store, works } = world();
		await ensureConfiguredToken(store, first);
		await ensureConfiguredToken(store, first);
		expect(await works(first)).toBe("admin");
		expect(audit.map(({ action }) => action)).toEqual(["token.create"]);
		await ensureConfiguredToken(store, second);
		expect(await works(second)).toBe("admin");
		expect(await codeOf(works(first))).toBe("TOKEN_REVOKED");
		await ensureConfiguredToken(store, undefined);
		expect(await codeOf(works(second))).toBe("TOKEN_REVOKED");
		expect(rows.get("other")?.revokedAt).toBeNull();
		expect(JSON.stringify([...rows.values(), audit])).not.toContain(hashSecret(second).slice(0, 12));
	});

	it("does not bring back a token that was revoked", async () => {
		const { store, works, rows } = world();
		await ensureConfiguredToken(store, first);
		const id = rows.get(hashSecret(first))!.id;
		await store.revokeToken(id, { actor: "token:x", action: "token.revoke", subject: id, details: {} });
		await ensureConfiguredToken(store, first);
		expect(await codeOf(works(first))).toBe("TOKEN_REVOKED");
	});
});
