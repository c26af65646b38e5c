import { integer } from "@rondo/agent";
import { type Command, Option } from "commander";
import type { TokenView } from "../api-types.js";
import { apiOf, type Context, connected, outputOf } from "../context.js";
import { fields, table } from "../output.js";

interface CreateOptions {
	readonly name: string;
	readonly scope: string;
	readonly expiresInS?: number;
	readonly maxUses?: number;
}

/** `rondo token …` */
export function addTokenCommands(program: Command, context: Context): void {
	const group = program.command("token").description("Tokens for administrators, readers and enrolling clients.");
	connected(group.command("create").description("Creates a token; its secret is shown this once."))
		.addOption(new Option("--scope <scope>", "what it allows").choices(["admin", "read", "enrol", "enrol:evaluator"]).makeOptionMandatory())
		.option("--name <name>", "for people", "rondo token create")
		.addOption(new Option("--expires-in-s <seconds>", "lifetime; default: unlimited").argParser(integer(1)))
		.addOption(new Option("--max-uses <count>", "enrolments that it is good for; default: unlimited").argParser(integer(1)))
		.action(async ({ name, scope, expiresInS, maxUses }: CreateOptions, command: Command) => {
			const api = await apiOf(command, context);
			const created = await api.post<{ readonly token: TokenView; readonly secret: string }>("/tokens", {
				name,
				scope,
				expiresInS,
				maxUses,
			});
			outputOf(command, context).emit(created, () =>
				fields({ id: created.token.id, scope: created.token.scope, expires: created.token.expiresAt ?? "never", secret: created.secret }),
			);
		});
	connected(group.command("list").description("All tokens, without their secrets.")).action(async (_options: unknown, command: Command) => {
		const api = await apiOf(command, context);
		const tokens = await api.list<TokenView>("/tokens");
		outputOf(command, context).emit(tokens, () =>
			table(
				["ID", "NAME", "SCOPE", "CREATED", "EXPIRES", "USES LEFT", "REVOKED"],
				tokens.map((token) => [
					token.id,
					token.name,
					token.scope,
					token.createdAt,
					token.expiresAt ?? "never",
					token.usesLeft ?? "-",
					token.revokedAt ?? "-",
				]),
			),
		);
	});
	connected(group.command("revoke").description("Makes a token invalid at once.").argument("<id>", "id of the token")).action(
		async (id: string, _options: unknown, command: Command) => {
			const token = await (await apiOf(command, context)).post<TokenView>(`/tokens/${encodeURIComponent(id)}/revoke`);
			outputOf(command, context).emit(token, () => `token ${token.id} (${token.name}) is revoked`);
		},
	);
}
