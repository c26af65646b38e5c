import { RondoError, toRondoError } from "@rondo/errors";
import { checkEnrolResponse, PROTOCOL_VERSION } from "@rondo/protocol";
import { Backoff, pause } from "./backoff.js";
import { BlobStore } from "./blob-store.js";
import { CarryStore } from "./carry.js";
import { RondoClient } from "./client.js";
import { IdentityFile } from "./identity.js";
import { LogHeads } from "./log-heads.js";
import { type ClientOptions, resolveOptions, type Settings } from "./options.js";
import { Outbox } from "./outbox.js";
import { RunLogs } from "./run-log.js";
import { lockStateDir, openStateDir } from "./state-dir.js";
import { Traffic } from "./traffic.js";
import { TrainerHost } from "./trainer-host.js";
import { BlobTransfer } from "./transfer.js";
import { Transport } from "./transport.js";
import { Unsettled } from "./unsettled.js";

/**
 * Opens the state directory, enrols if need be (waiting for the coordinator as long as it takes), loads the workload
 * and returns a client that connects, trains and reports until it is closed.
 * @throws INVALID_ARGUMENT for an option; FOLDER_LOCKED; TRAINER_FAILED for an unusable workload; UNAUTHENTICATED without
 * identity and token; TOKEN_EXPIRED, TOKEN_REVOKED, PROTOCOL_TOO_OLD when enrolling; CANCELLED by `signal`
 */
export async function connect(options: ClientOptions): Promise<RondoClient> {
	const settings = resolveOptions(options);
	const paths = await openStateDir(settings.stateDir);
	const abort = new AbortController();
	let client: RondoClient | undefined;
	let lost: RondoError | undefined;
	const undo: (() => unknown)[] = [];
	try {
		const unlock = await lockStateDir(settings.stateDir, (error) => {
			lost = error;
			client?.end(error);
		});
		undo.push(unlock);
		const traffic = new Traffic();
		const transport = new Transport(settings.address, settings.tls);
		undo.push(() => transport.close());
		const identity = await IdentityFile.open(paths.identity, settings.deviceKey);
		await enrol(settings, identity, transport, traffic);
		transport.credential = identity.current.credential!;
		const host = new TrainerHost({
			workload: settings.workload,
			workloadOptions: settings.workloadOptions,
			strategies: settings.strategies,
			blobsDir: paths.blobs,
			cacheDir: paths.cache,
			deviceKey: Buffer.from(identity.current.deviceKey, "hex"),
			clientId: identity.current.clientId!,
			kernelThreads: settings.kernelThreads,
		});
		undo.push(() => host.close());
		const inventory = await host.start();
		const store = new BlobStore(paths.blobs);
		const outbox = await Outbox.open(paths.outbox, settings.outboxLimitBytes, (error) =>
			settings.log("error", error.message, { code: error.code }),
		);
		const unsettled = await Unsettled.open(paths.unsettled);
		const logHeads = await LogHeads.open(paths.logHeads);
		if (lost !== undefined) throw lost;
		client = new RondoClient({
			settings,
			paths,
			identity,
			transport,
			traffic,
			store,
			outbox,
			unsettled,
			logHeads,
			host,
			inventory,
			unlock,
			abort,
			transfer: new BlobTransfer(transport, store, settings.reconnect),
			logs: new RunLogs(transport, logHeads, settings.reconnect),
			carry: new CarryStore(paths.carry),
		});
		return client;
	} catch (error) {
		for (const step of undo.reverse()) await step();
		throw error;
	}
}

async function enrol(settings: Settings, identity: IdentityFile, transport: Transport, traffic: Traffic): Promise<void> {
	if (identity.current.credential !== undefined) return;
	const token = settings.enrolmentToken;
	if (token === undefined)
		throw new RondoError("UNAUTHENTICATED", `${settings.stateDir} holds no identity: an enrolmentToken is needed to get one`);
	const signal = settings.signal ?? new AbortController().signal;
	const request = {
		token,
		protocolVersion: PROTOCOL_VERSION,
		clientName: settings.name,
		installationNonce: Buffer.from(identity.current.installationNonce, "hex"),
		certificateRequest: new Uint8Array(),
	};
	const backoff = new Backoff(settings.reconnect);
	for (;;) {
		if (signal.aborted) throw new RondoError("CANCELLED", "enrolment was cancelled");
		try {
			const response = await transport.enrol(request, { signal, count: traffic.counter() });
			checkEnrolResponse(response);
			await identity.update({ clientId: response.clientId, credential: response.credential });
			return;
		} catch (cause) {
			const error = toRondoError(cause);
			if (signal.aborted || !error.spec.retryable || error.code === "DISK_FULL") throw error;
			const retryInMs = backoff.next();
			settings.log("warn", "enrolment: the coordinator cannot be reached", { error: error.message, retryInMs });
			await pause(retryInMs, signal);
		}
	}
}
