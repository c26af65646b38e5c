import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { openApiDocument } from "../../src/rest/openapi.js";

interface Operation {
	readonly operationId?: string;
	readonly summary?: string;
	readonly security?: readonly unknown[];
	readonly responses: Readonly<Record<string, unknown>>;
}

let document: { openapi: string; paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, unknown> } };
beforeAll(async () => {
	document = (await openApiDocument()) as typeof document;
});

describe("the OpenAPI document", () => {
	it("is the one in docs/api; `node tools/generate-openapi.mjs` writes it", () => {
		const file = readFileSync(new URL("../../../../docs/api/openapi.json", import.meta.url), "utf8");
		expect(JSON.parse(file)).toEqual(JSON.parse(JSON.stringify(document)));
	});

	it("names every operation and its errors", () => {
		const operations = Object.values(document.paths).flatMap((path) => Object.values(path));
		expect(document.openapi).toBe("3.1.0");
		expect(operations.length).toBeGreaterThan(25);
		for (const { operationId, summary, responses } of operations) {
			expect([operationId, summary].every((text) => typeof text === "string" && text !== "")).toBe(true);
			expect(JSON.stringify(responses.default)).toContain("#/components/schemas/Problem");
		}
		expect(new Set(operations.map(({ operationId }) => operationId)).size).toBe(operations.length);
	});

	it("says which operations need no token", () => {
		const open = Object.entries(document.paths).flatMap(([url, path]) =>
			Object.values(path).flatMap(({ security }) => (security?.length === 0 ? [url] : [])),
		);
		expect(open.toSorted()).toEqual(["/healthz", "/readyz"]);
	});

	it("refers only to schemas that it holds", () => {
		const names = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map((match) => match[1]!);
		expect([...new Set(names)].filter((name) => !(name in document.components.schemas))).toEqual([]);
	});
});
