import type { Plain } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { LIMITS } from "@rondo/protocol";
import type { BackoffOptions } from "./backoff.js";
import type { OfferInfo } from "./events.js";

/** Options of `connect`. */
export interface ClientOptions {
	/** host:port of the coordinator. */
	readonly address: string;
	/** Folder for identity, outbox, blobs and caches; one per client, never copied to another machine. */
	readonly stateDir: string;
	/** Needed once, while the state directory holds no identity. */
	readonly enrolmentToken?: string;
	/** Name proposed at enrolment: 1 to 64 characters of [A-Za-z0-9._-]. */
	readonly name?: string;
	/**
	 * `ca`: PEM of the authorities to trust instead of the system's. `false`: plain text, which beyond loopback must be
	 * asked for. Default: TLS, except for a loopback address.
	 */
	readonly tls?: { readonly ca?: string } | false;
	/** Module that runs in the training thread; exports `createTrainer` and `createData` (see `Workload`). */
	readonly workload: URL | string;
	/** Handed to the workload's functions. */
	readonly workloadOptions?: Plain;
	/** Modules with further strategies, each exporting `strategies`. */
	readonly strategies?: readonly (URL | string)[];
	/** Asked for each offer; anything but true declines it. */
	readonly shouldTrain?: (offer: OfferInfo) => Decision | Promise<Decision>;
	/** Closes the client. */
	readonly signal?: AbortSignal;
	/** Reports and their blobs on disk above which offers are declined, bytes. Default: 256 MiB. */
	readonly outboxLimitBytes?: number;
	/** Downloaded and kept arrays on disk, bytes; the least recently used go. Default: 1 GiB. */
	readonly blobLimitBytes?: number;
	/** Threads that perturb and sum weights, 1 to 64, the training thread among them. Default: 1. */
	readonly kernelThreads?: number;
	/** Waits between attempts to connect. Default: full jitter below 250 ms, doubling up to 20 s. */
	readonly reconnect?: Partial<BackoffOptions>;
	/** 32 bytes: key of the device's private randomness, for reproducible experiments only. */
	readonly deviceKey?: Uint8Array;
	/** Hears what happens. */
	readonly log?: (level: "debug" | "info" | "warn" | "error", message: string, fields: Readonly<Record<string, unknown>>) => void;
}

/** True: train. False or a reason: leave it to others. */
export type Decision = boolean | { readonly decline: string };

/** Options with every default filled in. */
export interface Settings
	extends Required<
		Pick<ClientOptions, "address" | "stateDir" | "outboxLimitBytes" | "blobLimitBytes" | "kernelThreads" | "shouldTrain" | "log">
	> {
	readonly enrolmentToken: string | undefined;
	readonly name: string;
	readonly tls: { readonly ca?: string } | undefined;
	readonly workload: string;
	readonly workloadOptions: Plain;
	readonly strategies: readonly string[];
	readonly reconnect: BackoffOptions;
	readonly deviceKey: Uint8Array | undefined;
	readonly signal: AbortSignal | undefined;
}

/** @throws INVALID_ARGUMENT that names option and value */
export function resolveOptions(options: ClientOptions): Settings {
	const { host } = parseAddress(options.address);
	const isLoopback = host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
	if (typeof options.stateDir !== "string" || options.stateDir === "") throw wrong("stateDir", "a folder", options.stateDir);
	if (options.name !== undefined && (options.name.length > LIMITS.clientNameChars || !/^[A-Za-z0-9._-]+$/.test(options.name))) {
		throw wrong("name", `1 to ${LIMITS.clientNameChars} characters of [A-Za-z0-9._-]`, options.name);
	}
	if (options.deviceKey !== undefined && options.deviceKey.length !== 32) throw wrong("deviceKey", "32 bytes", options.deviceKey.length);
	const reconnect = { minMs: options.reconnect?.minMs ?? 250, maxMs: options.reconnect?.maxMs ?? 20_000 };
	if (!(reconnect.minMs > 0 && reconnect.maxMs >= reconnect.minMs))
		throw wrong("reconnect", "0 < minMs <= maxMs", JSON.stringify(reconnect));
	return {
		address: options.address,
		stateDir: options.stateDir,
		enrolmentToken: options.enrolmentToken === "" ? undefined : options.enrolmentToken,
		name: options.name ?? "",
		tls: options.tls === false ? undefined : (options.tls ?? (isLoopback ? undefined : {})),
		workload: hrefOf("workload", options.workload),
		workloadOptions: options.workloadOptions ?? null,
		strategies: (options.strategies ?? []).map((module, i) => hrefOf(`strategies[${i}]`, module)),
		shouldTrain: options.shouldTrain ?? (() => true),
		signal: options.signal,
		outboxLimitBytes: positive("outboxLimitBytes", options.outboxLimitBytes ?? 256 * 1024 * 1024),
		blobLimitBytes: positive("blobLimitBytes", options.blobLimitBytes ?? 1024 * 1024 * 1024),
		kernelThreads: threads("kernelThreads", options.kernelThreads ?? 1),
		reconnect,
		deviceKey: options.deviceKey,
		log: options.log ?? (() => {}),
	};
}

function parseAddress(address: unknown): { host: string } {
	const match = typeof address === "string" ? /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:/[\]]+)):(\d{1,5})$/.exec(address) : null;
	const port = Number(match?.[3]);
	if (match === null || port < 1 || port > 65_535) throw wrong("address", "host:port", address);
	return { host: match[1] ?? match[2]! };
}

function hrefOf(option: string, module: URL | string): string {
	try {
		return new URL(module).href;
	} catch (cause) {
		throw wrong(option, "a URL, such as new URL('./workload.js', import.meta.url)", module, cause);
	}
}

function threads(option: string, value: number): number {
	if (!Number.isInteger(value) || value < 1 || value > 64) throw wrong(option, "an integer from 1 to 64", value);
	return value;
}

function positive(option: string, value: number): number {
	if (!Number.isSafeInteger(value) || value <= 0) throw wrong(option, "a positive integer", value);
	return value;
}

const wrong = (option: string, rule: string, got: unknown, cause?: unknown): RondoError =>
	new RondoError("INVALID_ARGUMENT", `${option} must be ${rule}, got ${JSON.stringify(got) ?? String(got)}`, {
		details: { option },
		cause,
	});
