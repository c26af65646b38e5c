import { readFileSync } from "node:fs";
import { Command } from "commander";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { addAgentOptions, agentOptionsOf } from "../apps/agent/src/options.js";
import { runCli } from "../apps/cli/src/program.js";
import { loadConfig } from "../apps/coordinator/src/config/load-config.js";

// The files for Docker name variables and flags of three programs; here those programs read them.

interface Service {
	readonly image: string;
	readonly environment?: { readonly [name: string]: string };
	readonly entrypoint?: readonly string[];
	readonly command?: readonly string[];
}

const read = (path: string): string => readFileSync(new URL(`../${path}`, import.meta.url), "utf8");
const servicesOf = (path: string) =>
	(parse(read(path), { merge: true }) as { readonly services: { readonly [name: string]: Service } }).services;
const services = servicesOf("docker-compose.yml");
const secured = servicesOf("docker-compose.tls.yml");
const dockerfile = read("Dockerfile");
const SECRET = "0123456789abcdef0123456789abcdef";

/** A service's environment, with every variable of .env set; with TLS when asked for. */
function environmentOf(name: string, tls = false): { [variable: string]: string } {
	const variables = Object.entries({ ...services[name]?.environment, ...(tls ? secured[name]?.environment : {}) });
	return Object.fromEntries(variables.map(([variable, value]) => [variable, value.replaceAll(/\$\{[A-Z_]+:\?[^}]*\}/g, SECRET)]));
}

test("the coordinator understands the variables of its service and of its image", () => {
	const image = [...dockerfile.matchAll(/(RONDO_[A-Z_]+)=(\S+)/g)].map(([, variable, value]) => [variable!, value!] as const);
	const config = loadConfig({ env: { ...Object.fromEntries(image), ...environmentOf("coordinator") }, flags: {} });
	expect(config).toMatchObject({ dataDir: "/var/lib/rondo", restHost: "0.0.0.0", grpcHost: "0.0.0.0", adminToken: SECRET });
	expect(config.databaseUrl).toBe(`postgres://rondo:${SECRET}@postgres:5432/rondo`);
	expect(config.tlsCertificate).toBeUndefined();
	expect(loadConfig({ env: environmentOf("coordinator", true), flags: {} }).tlsKey).toBe("/run/tls/key.pem");
});

const parseAgent = (name: string, tls: boolean): Command => {
	const transport = environmentOf(name, tls).TRANSPORT?.split(" ") ?? [];
	return addAgentOptions(new Command("agent"))
		.exitOverride()
		.parse([...transport, ...(services[name]?.command ?? [])], { from: "user" });
};

test("the agents understand their flags, and divide the examples among all of them", async () => {
	const agents = Object.entries(services).filter(([name]) => name.startsWith("agent-"));
	expect(agents).toHaveLength(2);
	for (const [index, [name]] of agents.entries()) {
		expect(await agentOptionsOf(parseAgent(name, false), { RONDO_TOKEN: SECRET })).toMatchObject({
			address: "coordinator:9443",
			tls: false,
			name,
			enrolmentToken: SECRET,
			workloadOptions: { partition: "dirichlet", clients: agents.length, index },
		});
		expect(parseAgent(name, true).opts()).toMatchObject({ tlsCa: "/run/tls/ca.pem" });
	}
});

test("the command that makes the enrolment token is one that `rondo` has", async () => {
	const [line] = services.enrolment?.entrypoint?.at(-1)?.match(/(?<=\(rondo ).*(?=\)")/) ?? [];
	const stderr: string[] = [];
	const context = {
		env: { ...environmentOf("enrolment"), RONDO_URL: "http://127.0.0.1:1" },
		stdout: { write: () => true },
		stderr: { write: (text: string) => stderr.push(text) > 0 },
		stop: new AbortController().signal,
		kill: new AbortController().signal,
	};
	// Everything about it is right but that nothing listens there.
	expect(await runCli(line?.split(" ") ?? [], context)).toBe(3);
	expect(stderr.join("")).toContain("UNAVAILABLE");
});

test("images run as user node, hold no secret, and leave .env outside", () => {
	const stages = dockerfile.split(/^FROM /m).slice(1);
	for (const name of ["agent", "coordinator"]) expect(stages.find((stage) => stage.includes(` AS ${name}\n`))).toContain("\nUSER node\n");
	expect(dockerfile).not.toMatch(/token|password|secret/i);
	expect(read(".dockerignore").split("\n")).toContain(".env");
	expect(read(".env.example")).not.toMatch(/^[A-Z_]+=./m);
});
