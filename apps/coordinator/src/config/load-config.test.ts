import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ErrorCode, isRondoError } from "@rondo/errors";
import { afterAll, describe, expect, it } from "vitest";
import { configTable, printConfig } from "./describe-config.js";
import { loadConfig } from "./load-config.js";
import { KEY_SPECS } from "./schema.js";

const folder = mkdtempSync(join(tmpdir(), "rondo-config-"));
afterAll(() => rmSync(folder, { recursive: true }));

const TOKEN = "a-token-of-thirty-characters-x";
const URL_WITH_PASSWORD = "postgres://rondo:pass-word@db/rondo";

function fileOf(content: unknown): string {
	const path = join(folder, "config.json");
	writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
	return path;
}

function failure(load: () => unknown): { code: ErrorCode; message: string; details: Readonly<Record<string, unknown>> } {
	try {
		load();
	} catch (error) {
		if (isRondoError(error)) return { code: error.code, message: error.message, details: error.details };
		throw error;
	}
	throw new Error("nothing was thrown");
}

describe("loadConfig", () => {
	it("knows a default for every key that a coordinator needs", () => {
		const config = loadConfig({ env: { PATH: "/bin", RONDO_LOG_LEVEL: undefined }, flags: { restPort: undefined } });
		expect(config).toMatchObject({
			dataDir: "./.rondo",
			restHost: "127.0.0.1",
			restPort: 8080,
			grpcHost: "127.0.0.1",
			grpcPort: 9443,
			logLevel: "info",
			heartbeatMs: 10_000,
			maxBlobBytes: 4 * 2 ** 30,
			reserveBytes: 256 * 2 ** 20,
			retainReportRounds: 0,
			strategies: [],
			shutdownGraceMs: 5_000,
		});
		expect(config.databaseUrl).toBeUndefined();
		expect(new Set(Object.values(config.sources))).toEqual(new Set(["default"]));
	});

	it("takes file over default, environment over file and flag over environment", () => {
		const file = fileOf({ restPort: 1, grpcPort: 2, heartbeatMs: 300, strategies: ["./a.js"] });
		const env = { RONDO_CONFIG: "/nowhere.json", RONDO_GRPC_PORT: "20", RONDO_HEARTBEAT_MS: "400", RONDO_STRATEGIES: "./b.js, ./c.js" };
		const config = loadConfig({ file, env, flags: { heartbeatMs: "500", strategies: ["./d.js"] } });
		expect(config).toMatchObject({ restPort: 1, grpcPort: 20, heartbeatMs: 500, strategies: ["./d.js"] });
		expect(config.sources).toMatchObject({
			dataDir: "default",
			restPort: `file ${file}`,
			grpcPort: "environment RONDO_GRPC_PORT",
			heartbeatMs: "flag --heartbeat-ms",
		});
		expect(loadConfig({ env: { RONDO_STRATEGIES: "./b.js, ./c.js" }, flags: {} }).strategies).toEqual(["./b.js", "./c.js"]);
		expect(loadConfig({ env: { RONDO_STRATEGIES: "" }, flags: {} }).strategies).toEqual([]);
		expect(loadConfig({ env: { RONDO_CONFIG: file }, flags: {} }).restPort).toBe(1);
	});

	it("does not share its defaults", () => {
		const first = loadConfig({ env: {}, flags: {} });
		(first.strategies as string[]).push("./x.js");
		expect(loadConfig({ env: {}, flags: {} }).strategies).toEqual([]);
	});

	it.each([
		[{ RONDO_REST_PORT: "99999" }, "restPort = 99999 (environment RONDO_REST_PORT) must be an integer from 0 to 65535"],
		[{ RONDO_REST_PORT: "80.5" }, 'restPort = "80.5" (environment RONDO_REST_PORT) must be an integer from 0 to 65535'],
		[{ RONDO_REST_PORT: "" }, 'restPort = "" (environment RONDO_REST_PORT) must be an integer from 0 to 65535'],
		[
			{ RONDO_LOG_LEVEL: "loud" },
			'logLevel = "loud" (environment RONDO_LOG_LEVEL) must be one of trace, debug, info, warn, error, fatal, silent',
		],
		[{ RONDO_DATA_DIR: "" }, 'dataDir = "" (environment RONDO_DATA_DIR) must be a non-empty string'],
		[{ RONDO_STRATEGIES: "a,,b" }, 'strategies = ["a","","b"] (environment RONDO_STRATEGIES) must be a list of non-empty strings'],
	])("names key, value, source and what is allowed: %o", (env, message) => {
		expect(failure(() => loadConfig({ env, flags: {} }))).toMatchObject({ code: "INVALID_ARGUMENT", message });
	});

	it("takes numbers in files as numbers only", () => {
		const file = fileOf({ restPort: "8081" });
		expect(failure(() => loadConfig({ file, env: {}, flags: {} })).message).toBe(
			`restPort = "8081" (file ${file}) must be an integer from 0 to 65535`,
		);
	});

	it("never repeats a secret", () => {
		for (const env of [{ RONDO_ADMIN_TOKEN: "short-secret" }, { RONDO_DATABASE_URL: "mysql://u:short-secret@db" }]) {
			const { code, message, details } = failure(() => loadConfig({ env, flags: {} }));
			expect(code).toBe("INVALID_ARGUMENT");
			expect(message).toMatch(/^(adminToken|databaseUrl) = \(a secret\) \(environment RONDO_\w+\) must be /);
			expect(message + JSON.stringify(details)).not.toContain("short-secret");
		}
	});

	it.each([
		["file", { restprot: 1 }, {}, {}, 'unknown key in file PATH: "restprot"; did you mean restPort?', "restPort"],
		["file", { sources: {} }, {}, {}, undefined, undefined],
		[
			"environment",
			{},
			{ RONDO_HEARTBEAT: "1" },
			{},
			'unknown environment variable: "RONDO_HEARTBEAT"; did you mean RONDO_HEARTBEAT_MS?',
			"RONDO_HEARTBEAT_MS",
		],
		["flags", {}, {}, { loglevel: "info" }, 'unknown flag: "loglevel"; did you mean logLevel?', "logLevel"],
	])("suggests the nearest name for one it does not know: %s %o", (_where, content, env, flags, message, suggestion) => {
		const file = fileOf(content);
		const error = failure(() => loadConfig({ file, env, flags }));
		expect(error.code).toBe("UNKNOWN_OPTION");
		if (message !== undefined) expect(error.message).toBe(message.replace("PATH", file));
		if (suggestion !== undefined) expect(error.details.suggestion).toBe(suggestion);
	});

	it("says what is wrong with the file itself", () => {
		expect(failure(() => loadConfig({ file: join(folder, "none.json"), env: {}, flags: {} }))).toMatchObject({
			code: "INVALID_ARGUMENT",
			message: expect.stringContaining("none.json cannot be read as JSON"),
		});
		expect(failure(() => loadConfig({ file: fileOf("{ restPort: 1 }"), env: {}, flags: {} })).message).toContain("cannot be read as JSON");
		expect(failure(() => loadConfig({ file: fileOf([1]), env: {}, flags: {} })).message).toContain("must hold a JSON object");
	});

	it("takes certificate and key together or not at all", () => {
		expect(failure(() => loadConfig({ env: { RONDO_TLS_KEY: "k.pem" }, flags: {} })).message).toBe(
			'tlsKey = "k.pem" (environment RONDO_TLS_KEY) needs tlsCertificate, which is not set; set both or none',
		);
		expect(failure(() => loadConfig({ env: {}, flags: { tlsCertificate: "c.pem" } })).details.field).toBe("tlsKey");
		expect(loadConfig({ env: {}, flags: { tlsCertificate: "c.pem", tlsKey: "k.pem" } })).toMatchObject({
			tlsCertificate: "c.pem",
			tlsKey: "k.pem",
		});
	});
});

describe("what is shown of a configuration", () => {
	it("has each value and its source, but no secret", () => {
		const config = loadConfig({
			env: { RONDO_DATABASE_URL: URL_WITH_PASSWORD },
			flags: { adminToken: TOKEN, strategies: "./a.js,./b.js" },
		});
		const text = printConfig(config);
		expect(text.split("\n")).toHaveLength(KEY_SPECS.length);
		expect(text).toMatch(/^restPort +8080 +default$/m);
		expect(text).toMatch(/^databaseUrl +\*\*\* +environment RONDO_DATABASE_URL$/m);
		expect(text).toMatch(/^adminToken +\*\*\* +flag --admin-token$/m);
		expect(text).toMatch(/^strategies +\.\/a\.js, \.\/b\.js +flag --strategies$/m);
		expect(text).toMatch(/^tlsKey +\(not set\)$/m);
		expect(text).not.toMatch(/pass-word|a-token-of/);
	});

	it("is the table in docs/configuration.md; `node tools/generate-config-table.mjs` writes it", () => {
		const page = readFileSync(new URL("../../../../docs/configuration.md", import.meta.url), "utf8");
		const [, table] = /<!-- keys:begin -->\n([\s\S]*?)\n<!-- keys:end -->/.exec(page) ?? [];
		expect(table).toBe(configTable());
	});
});
