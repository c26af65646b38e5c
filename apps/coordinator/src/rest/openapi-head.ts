import type { FastifyDynamicSwaggerOptions } from "@fastify/swagger";

/** How the OpenAPI document is made of the routes, and what it says besides them. */
export const OPENAPI_OPTIONS: FastifyDynamicSwaggerOptions = {
	openapi: {
		openapi: "3.1.0",
		info: {
			title: "Rondo coordinator",
			version: "1",
			description: "Admin API of a Rondo coordinator. Errors are problem+json (RFC 9457) with the codes of docs/errors.md.",
		},
		security: [{ token: [] }],
		components: { securitySchemes: { token: { type: "http", scheme: "bearer", description: "A token with scope admin or read." } } },
	},
	refResolver: { buildLocalReference: (schema, _baseUri, _fragment, i) => (typeof schema.$id === "string" ? schema.$id : `schema-${i}`) },
	transform: ({ schema, url, route }) => {
		const scope = route.config?.scope ?? "open";
		return {
			url,
			schema: {
				...schema,
				...(scope === "open"
					? { security: [] }
					: { description: `Needs a token with scope ${scope === "read" ? "read or admin" : "admin"}.` }),
			},
		};
	},
};
