// Many clients in one process, on the wire protocol itself: no training, no state on disk.
import { createHash, randomBytes } from "node:crypto";
import { credentials, Metadata } from "@grpc/grpc-js";
import { builtInStrategies, bytesOf, CHUNK_BYTES, contentDigestOf, vecOf } from "@rondo/algorithms";
import { packBits } from "@rondo/kernels";
import { CLIENT_CHANNEL_OPTIONS, digestBytes, digestHex, FederationServiceClient, PROTOCOL_VERSION, ReceiptCode } from "@rondo/protocol";
import { encodeReport } from "@rondo/rounds";

const { address, token, clients, parameters, candidates } = JSON.parse(process.argv[2]);
/** Values of every lane; client i changes the first one, so that each has a blob of its own. */
const values = parameters > 0 ? Float32Array.from({ length: parameters }, (_, j) => Math.sin(j) / 8) : undefined;
const blobs = Array.from({ length: values === undefined ? 0 : clients }, (_, i) => describe(i));

function describe(i) {
	values[0] = i / 1000;
	const bytes = bytesOf(values);
	const chunkHashes = [];
	for (let from = 0; from < bytes.length; from += CHUNK_BYTES) {
		chunkHashes.push(
			createHash("sha256")
				.update(bytes.subarray(from, from + CHUNK_BYTES))
				.digest(),
		);
	}
	return { first: bytes.slice(0, CHUNK_BYTES), chunkHashes, digest: contentDigestOf(bytes.length, chunkHashes) };
}

async function upload(client, metadata, taskId, { first, chunkHashes, digest }) {
	const bytes = bytesOf(values);
	await new Promise((resolve, reject) => {
		const call = client.putBlob(metadata, (error) => (error === null ? resolve(undefined) : reject(error)));
		const send = (message) => new Promise((sent) => call.write({ message }, () => sent(undefined)));
		const start = { taskId, digest: digestBytes(digest), totalBytes: BigInt(bytes.length), offset: 0n, chunkHashes };
		const pump = async () => {
			await send({ $case: "start", start });
			for (let from = 0; from < bytes.length; from += CHUNK_BYTES) {
				await send({ $case: "chunk", chunk: from === 0 ? first : bytes.subarray(from, from + CHUNK_BYTES) });
			}
			call.end();
		};
		pump().catch(reject);
	});
	return vecOf("u8", bytes.length, digest);
}

/** Reports once per offer: a dense lane, or one gradient for each candidate. */
async function reportOf(client, metadata, offer, i) {
	if (values !== undefined) {
		const delta = await upload(client, metadata, offer.taskId, blobs[i]);
		return { header: null, lanes: { delta }, numExamples: 1 + i, metrics: {} };
	}
	const header = [
		// Twelve bits for each number below 4096.
		packBits(
			Uint32Array.from({ length: candidates }, (_, k) => k),
			12,
		),
		Float32Array.from({ length: candidates }, (_, k) => 1 + k / candidates),
	];
	return { header, lanes: {}, numExamples: 1, metrics: {} };
}

async function start(i) {
	const client = new FederationServiceClient(address, credentials.createInsecure(), CLIENT_CHANNEL_OPTIONS);
	const installationNonce = randomBytes(16);
	const { credential } = await new Promise((resolve, reject) => {
		const request = {
			token,
			protocolVersion: PROTOCOL_VERSION,
			clientName: `load-${i}`,
			installationNonce,
			certificateRequest: new Uint8Array(),
		};
		client.enrol(request, (error, answer) => (error === null ? resolve(answer) : reject(error)));
	});
	const metadata = new Metadata();
	metadata.set("authorization", `Bearer ${credential}`);
	const stream = client.connect(metadata);
	stream.on("error", (error) => {
		process.stderr.write(`client ${i}: ${error.message}\n`);
		process.exit(1);
	});
	const strategies = builtInStrategies.map(({ name, version }) => ({ name, version }));
	const hello = {
		protocolVersion: PROTOCOL_VERSION,
		software: "load",
		session: 1n,
		epochSeen: 0n,
		installationNonce,
		strategies,
		randomness: ["rondo-random/1"],
		codecs: ["f32"],
		outboxTaskIds: [],
		unsettledTaskIds: [],
		knownRunIds: [],
	};
	stream.write({ message: { $case: "hello", hello } });
	setInterval(() => stream.write({ message: { $case: "ping", ping: { nonce: 0n } } }), 2_000).unref();
	stream.on("data", ({ message }) => {
		if (message?.$case === "welcome") process.send({ type: "connected" });
		if (message?.$case === "receipt")
			process.send({ type: "receipt", code: ReceiptCode[message.receipt.code], error: message.receipt.errorMessage });
		if (message?.$case !== "offer") return;
		const { offer } = message;
		void reportOf(client, metadata, offer, i).then((report) => {
			const { bytes } = encodeReport(report);
			stream.write({ message: { $case: "submit", submit: { taskId: offer.taskId, report: bytes } } });
			process.send({ type: "submitted", task: digestHex(offer.taskId) });
		});
	});
}

process.once("disconnect", () => process.exit(0));
for (let i = 0; i < clients; i++) await start(i);
