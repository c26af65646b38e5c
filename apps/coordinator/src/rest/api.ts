import type { Static, TSchema } from "@sinclair/typebox";
import type {
	FastifyBaseLogger,
	FastifyInstance,
	FastifyTypeProvider,
	RawReplyDefaultExpression,
	RawRequestDefaultExpression,
	RawServerDefault,
} from "fastify";
import type { CoordinatorConfig } from "../config/schema.js";
import type { Actor, Services } from "../services.js";
import { Problem, ref } from "./schemas.js";

/** Types requests and responses after their TypeBox schemas. */
interface TypeBoxProvider extends FastifyTypeProvider {
	readonly validator: this["schema"] extends TSchema ? Static<this["schema"]> : unknown;
	readonly serializer: this["schema"] extends TSchema ? Static<this["schema"]> : unknown;
}

/** A Fastify instance whose handlers are typed by their schemas. */
export type Api = FastifyInstance<
	RawServerDefault,
	RawRequestDefaultExpression,
	RawReplyDefaultExpression,
	FastifyBaseLogger,
	TypeBoxProvider
>;

/** One area of the API: adds its routes. */
export type Area = (api: Api, services: Services, config: CoordinatorConfig) => void;

declare module "fastify" {
	interface FastifyContextConfig {
		/** What the caller's token must allow; "open" needs no token. Every route under /api/v1 has one. */
		scope?: "admin" | "read" | "open";
	}
	interface FastifyRequest {
		/** The authenticated caller, for the audit record. */
		actor: Actor;
	}
}

/** The error answer in a route's list of responses. */
export const PROBLEM = { description: "Error after RFC 9457.", content: { "application/problem+json": { schema: ref(Problem) } } };

/** Options of a route that readers may call. */
export const READ = { config: { scope: "read" } } as const;
/** Options of a route that only administrators may call. */
export const ADMIN = { config: { scope: "admin" } } as const;
