import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Type } from "@sinclair/typebox";
import type { RunNotice } from "../services.js";
import { type Area, PROBLEM, READ } from "./api.js";
import { findRun } from "./find-run.js";
import { IdParams } from "./schemas.js";

/** Server-sent events of a run (https://html.spec.whatwg.org/multipage/server-sent-events.html). */
export const runEventRoutes: Area = (api, services, { heartbeatMs }) => {
	const open = new Set<AbortController>();
	// A server waits for its open answers before it closes, and these have no end of their own.
	api.addHook("preClose", async () => {
		for (const stream of open) stream.abort();
	});
	const events = {
		description: "One event per notice; its name is the notice's type, its data the notice.",
		content: { "text/event-stream": { schema: Type.Unsafe<unknown>({ type: "string" }) } },
	};
	api.get(
		"/runs/:id/events",
		{
			...READ,
			schema: {
				operationId: "watchRun",
				summary: "What happens to a run, as it happens.",
				tags: ["runs"],
				params: IdParams,
				produces: ["text/event-stream"],
				response: { 200: events, default: PROBLEM },
			},
		},
		async ({ params: { id }, log }, reply) => {
			const run = await findRun(services, id);
			const stop = new AbortController();
			const out = new PassThrough();
			// The first comment sends the headers; later ones keep proxies from closing a quiet stream.
			out.write(": open\n\n");
			const heartbeat = setInterval(() => {
				if (!out.writableNeedDrain) out.write(":\n\n");
			}, heartbeatMs);
			open.add(stop);
			out.once("close", () => {
				clearInterval(heartbeat);
				open.delete(stop);
				stop.abort();
			});
			void pipeline(services.runs.watch(run.id, stop.signal), asEvents, out).catch((error: unknown) => {
				if (!stop.signal.aborted) log.warn({ err: error, run: run.id }, "event stream failed");
			});
			return reply.type("text/event-stream").header("x-accel-buffering", "no").send(out);
		},
	);
};

async function* asEvents(notices: AsyncIterable<RunNotice>): AsyncGenerator<string> {
	for await (const notice of notices) yield `event: ${notice.type}\ndata: ${JSON.stringify(notice)}\n\n`;
}
