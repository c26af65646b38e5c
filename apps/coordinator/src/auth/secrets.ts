import { createHash, randomBytes } from "node:crypto";

/** What secrets of each kind begin with, so that a leaked one can be recognised. */
export const SECRET_PREFIXES = { admin: "rondo_a_", read: "rondo_r_", enrol: "rondo_e_", client: "rondo_c_" } as const;

/** A new secret: the prefix and 32 random bytes in base64url. */
export const newSecret = (prefix: string): string => prefix + randomBytes(32).toString("base64url");

/**
 * SHA-256 of a secret, 64 hexadecimal digits: the only form that is stored. Secrets are random and long, so a slow hash
 * would add nothing; looking a hash up leaks nothing through time that helps to find the secret.
 */
export const hashSecret = (secret: string): string => createHash("sha256").update(secret).digest("hex");
