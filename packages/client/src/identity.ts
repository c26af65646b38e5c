import { createHash, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { RondoError } from "@rondo/errors";
import { LIMITS } from "@rondo/protocol";
import { writeDurably } from "./state-dir.js";

/** What a device knows of itself; the file is the only copy of the credential and the device key. */
export interface Identity {
	/** Absent until enrolled. */
	readonly clientId?: string;
	readonly credential?: string;
	/** 16 random bytes made once per installation, hexadecimal. */
	readonly installationNonce: string;
	/** Key of the device's private randomness, 32 bytes, hexadecimal. */
	readonly deviceKey: string;
	/** Number of connections so far. */
	readonly session: number;
	/** Highest coordinator epoch seen. */
	readonly epochSeen: number;
}

/** The identity file of a state directory. */
export class IdentityFile {
	readonly #path: string;
	#identity: Identity;

	private constructor(path: string, identity: Identity) {
		this.#path = path;
		this.#identity = identity;
	}

	get current(): Identity {
		return this.#identity;
	}

	/**
	 * Reads the file, or makes it: the nonce is on disk before it is used to enrol, so that an enrolment whose answer
	 * was lost is repeated under the same nonce.
	 * @param deviceKey 32 bytes, for reproducible experiments only; otherwise the key is made of fresh random bytes
	 * and the installation nonce
	 * @throws INVALID_ARGUMENT for a damaged file, which is left as it is
	 */
	static async open(path: string, deviceKey: Uint8Array | undefined): Promise<IdentityFile> {
		const text = await readFile(path, "utf8").catch((cause: NodeJS.ErrnoException) => {
			if (cause.code === "ENOENT") return undefined;
			throw cause;
		});
		const given = deviceKey === undefined ? {} : { deviceKey: Buffer.from(deviceKey).toString("hex") };
		const file = new IdentityFile(path, text === undefined ? fresh() : parse(path, text));
		if (text === undefined || (deviceKey !== undefined && given.deviceKey !== file.current.deviceKey)) await file.update(given);
		return file;
	}

	/** Changes fields; they are on disk when the promise resolves. @throws DISK_FULL */
	async update(change: Partial<Identity>): Promise<void> {
		this.#identity = { ...this.#identity, ...change };
		await writeDurably(this.#path, `${JSON.stringify(this.#identity, null, "\t")}\n`);
	}
}

function fresh(): Identity {
	const nonce = randomBytes(LIMITS.nonceBytes);
	const deviceKey = createHash("sha256").update("rondo-device/1\0").update(nonce).update(randomBytes(32)).digest("hex");
	return { installationNonce: nonce.toString("hex"), deviceKey, session: 0, epochSeen: 0 };
}

function parse(path: string, text: string): Identity {
	const bad = (field: string, value: unknown): never => {
		throw new RondoError(
			"INVALID_ARGUMENT",
			`${path}: ${field} is ${JSON.stringify(value)?.slice(0, 80)}; restore the file or remove the state directory and enrol anew`,
			{ details: { path, field } },
		);
	};
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch (cause) {
		throw new RondoError("INVALID_ARGUMENT", `${path} is not JSON: ${(cause as SyntaxError).message}`, { details: { path }, cause });
	}
	if (typeof value !== "object" || value === null) return bad("the content", value);
	const fields = value as Record<keyof Identity, unknown>;
	const hex = (field: keyof Identity, bytes: number): string => {
		const found = fields[field];
		return typeof found === "string" && found.length === 2 * bytes && /^[0-9a-f]+$/.test(found) ? found : bad(field, found);
	};
	const count = (field: keyof Identity): number => {
		const found = fields[field];
		return Number.isSafeInteger(found) && (found as number) >= 0 ? (found as number) : bad(field, found);
	};
	const text1 = (field: keyof Identity): string => {
		const found = fields[field];
		return typeof found === "string" && found !== "" ? found : bad(field, "a value that is not text");
	};
	return {
		...(fields.clientId === undefined ? {} : { clientId: text1("clientId"), credential: text1("credential") }),
		installationNonce: hex("installationNonce", LIMITS.nonceBytes),
		deviceKey: hex("deviceKey", 32),
		session: count("session"),
		epochSeen: count("epochSeen"),
	};
}
