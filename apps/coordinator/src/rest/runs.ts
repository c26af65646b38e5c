import { RondoError } from "@rondo/errors";
import { Type } from "@sinclair/typebox";
import { ADMIN, type Area, PROBLEM, READ } from "./api.js";
import { findRun } from "./find-run.js";
import { SAFETENSORS, sendModel } from "./model-export.js";
import { IdParams, LogPage, LogQuery, NewRun, PageQuery, pageOf, ReportParams, Run, ref, SubmittedRun } from "./schemas.js";
import { logView, pageView, runView } from "./views.js";

const CBOR = {
	description: "Canonical CBOR.",
	content: { "application/cbor": { schema: Type.Unsafe<unknown>({ type: "string", format: "binary" }) } },
};

/** Runs: submission, control, results. */
export const runRoutes: Area = (api, services) => {
	const { store, runs } = services;
	const tags = ["runs"];
	api.post(
		"/runs",
		{
			...ADMIN,
			schema: {
				operationId: "submitRun",
				summary: "Submits a run.",
				tags,
				body: NewRun,
				response: { 201: SubmittedRun, default: PROBLEM },
			},
		},
		async ({ body, actor }, reply) => {
			const { run, cost } = await runs.submit(body, actor);
			return reply
				.code(201)
				.header("location", `/api/v1/runs/${run.id}`)
				.send({ run: runView(run), cost });
		},
	);
	api.get(
		"/runs",
		{
			...READ,
			schema: {
				operationId: "listRuns",
				summary: "Runs.",
				tags,
				querystring: PageQuery,
				response: { 200: pageOf(ref(Run)), default: PROBLEM },
			},
		},
		async ({ query }) => pageView(await store.listRuns(query), runView),
	);
	api.get(
		"/runs/:id",
		{
			...READ,
			schema: { operationId: "getRun", summary: "One run.", tags, params: IdParams, response: { 200: ref(Run), default: PROBLEM } },
		},
		async ({ params: { id } }) => runView(await findRun(services, id)),
	);
	const actions = [
		["start", "Starts a run that was submitted with start = false."],
		["pause", "Lets open rounds end and plans no others."],
		["resume", "Goes on with a paused run."],
		["stop", "Ends a run for good."],
	] as const;
	for (const [action, summary] of actions) {
		api.post(
			`/runs/:id/${action}`,
			{ ...ADMIN, schema: { operationId: `${action}Run`, summary, tags, params: IdParams, response: { 200: ref(Run), default: PROBLEM } } },
			async ({ params: { id }, actor }) => runView(await runs[action]((await findRun(services, id)).id, actor)),
		);
	}
	api.get(
		"/runs/:id/model",
		{
			...READ,
			schema: {
				operationId: "exportModel",
				summary: "Weights after the newest commit.",
				tags,
				params: IdParams,
				response: { 200: SAFETENSORS, default: PROBLEM },
			},
		},
		async ({ params: { id } }, reply) => {
			const run = await findRun(services, id);
			return sendModel(reply, run, await runs.exportModel(run.id));
		},
	);
	api.get(
		"/runs/:id/log",
		{
			...READ,
			schema: {
				operationId: "readLog",
				summary: "The hash-chained commit log.",
				tags,
				params: IdParams,
				querystring: LogQuery,
				response: { 200: LogPage, default: PROBLEM },
			},
		},
		async ({ params: { id }, query: { from, limit } }) => {
			const records = await store.readLog((await findRun(services, id)).id, from, limit);
			return { items: records.map(logView), next: records.length < limit ? null : records.at(-1)!.commit + 1 };
		},
	);
	api.get(
		"/runs/:id/reports/:task",
		{
			...ADMIN,
			schema: {
				operationId: "readReport",
				summary: "An accepted report as its client sent it.",
				tags,
				params: ReportParams,
				response: { 200: CBOR, default: PROBLEM },
			},
		},
		async ({ params: { id, task } }, reply) => {
			const run = await findRun(services, id);
			const [row, report] = await Promise.all([store.getTask(task), store.getReport(task)]);
			if (report === null || row?.run !== run.id)
				throw new RondoError("NOT_FOUND", `run ${run.id} has no accepted report for task ${task}`, {
					details: { field: "task", value: task },
				});
			return reply.type("application/cbor").header("etag", `"${report.digest}"`).send(Buffer.from(report.content));
		},
	);
};
