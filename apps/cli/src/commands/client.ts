import type { Command } from "commander";
import type { ClientView } from "../api-types.js";
import { apiOf, type Context, connected, outputOf } from "../context.js";
import { table } from "../output.js";

/** `rondo client …` */
export function addClientCommands(program: Command, context: Context): void {
	const group = program.command("client").description("Enrolled clients.");
	connected(group.command("list").description("Enrolled clients and whether they are connected.")).action(
		async (_options: unknown, command: Command) => {
			const api = await apiOf(command, context);
			const clients = await api.list<ClientView>("/clients");
			outputOf(command, context).emit(clients, () =>
				table(
					["ID", "NAME", "ROLE", "STATE", "LAST SEEN"],
					clients.map(({ id, name, role, connected: present, lastSeenAt, revokedAt }) => [
						id,
						name,
						role,
						revokedAt !== null ? "revoked" : present ? "connected" : "away",
						lastSeenAt ?? "-",
					]),
				),
			);
		},
	);
	connected(
		group.command("revoke").description("Ends a client's identity; it cannot come back under it.").argument("<id>", "id of the client"),
	).action(async (id: string, _options: unknown, command: Command) => {
		const client = await (await apiOf(command, context)).post<ClientView>(`/clients/${encodeURIComponent(id)}/revoke`);
		outputOf(command, context).emit(client, () => `client ${client.id} is revoked`);
	});
}
