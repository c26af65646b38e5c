import { Server, ServerCredentials } from "@grpc/grpc-js";
import { RondoError } from "@rondo/errors";
import { type FederationServiceServer, FederationServiceService, SERVER_OPTIONS } from "@rondo/protocol";
import { HealthImplementation } from "grpc-health-check";

export interface GrpcServer {
	readonly port: number;
	/** Answers of grpc.health.v1 from now on. */
	setServing(serving: boolean): void;
	/** Refuses new calls, lets running ones end for `graceMs`, then cuts them. */
	close(graceMs: number): Promise<void>;
}

/** Starts the server for clients. @throws CONFLICT when the address cannot be bound. */
export async function startGrpcServer(options: {
	readonly host: string;
	readonly port: number;
	readonly tls: { readonly certificate: Buffer; readonly key: Buffer } | undefined;
	readonly service: FederationServiceServer;
}): Promise<GrpcServer> {
	const { host, port, tls, service } = options;
	const server = new Server(SERVER_OPTIONS);
	server.addService(FederationServiceService, service);
	const health = new HealthImplementation({ "": "NOT_SERVING", "rondo.v1.FederationService": "NOT_SERVING" });
	health.addToServer(server);
	const credentials =
		tls === undefined
			? ServerCredentials.createInsecure()
			: ServerCredentials.createSsl(null, [{ cert_chain: tls.certificate, private_key: tls.key }]);
	const bound = await new Promise<number>((resolve, reject) => {
		server.bindAsync(`${host}:${port}`, credentials, (cause, actual) => {
			if (cause === null) resolve(actual);
			else reject(new RondoError("CONFLICT", `grpcHost, grpcPort: cannot listen on ${host}:${port}: ${cause.message}`, { cause }));
		});
	});
	return {
		port: bound,
		setServing: (serving) => {
			for (const name of ["", "rondo.v1.FederationService"]) health.setStatus(name, serving ? "SERVING" : "NOT_SERVING");
		},
		close: (graceMs) =>
			new Promise((resolve) => {
				const timer = setTimeout(() => server.forceShutdown(), graceMs);
				server.tryShutdown(() => {
					clearTimeout(timer);
					resolve();
				});
			}),
	};
}
