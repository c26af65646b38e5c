import {
	type AnyStrategy,
	type ArrayOf,
	arrayFrom,
	bytesOf,
	contentDigest,
	createRegistry,
	type DType,
	type Io,
	type Plain,
	type Plan,
	type Strategy,
	type Types,
	type Vec,
	vecOf,
} from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { layoutOf } from "@rondo/tensors";
import { encodeReport, type Report, type ReportSource } from "../src/engine/report.js";
import { type Finished, type Position, RunEngine } from "../src/engine/run-engine.js";
import type { AcceptedReport, LogRecord } from "../src/log-types.js";

export const layout = layoutOf([{ name: "w", shape: [3] }]);
export const { codec, reducer } = createRegistry([]);

/** A content store in memory. */
export function memory(): Io & ReportSource & { put(array: ArrayOf<DType>): Vec } {
	const blobs = new Map<string, Uint8Array>();
	const get = (vec: Vec): Uint8Array => {
		const bytes = blobs.get(vec.sha256);
		if (bytes === undefined) throw new RondoError("BLOB_MISSING", `no blob ${vec.sha256}`);
		return bytes;
	};
	const put = <D extends DType>(dtype: D, array: ArrayOf<D>): Vec<D> => {
		const bytes = bytesOf(array).slice();
		const digest = contentDigest(bytes);
		blobs.set(digest, bytes);
		return vecOf(dtype, array.length, digest);
	};
	return {
		blob: (vec, from, to) => get(vec).subarray(from, to),
		read: <D extends DType>(vec: Vec<D>, from = 0, to = vec.length) => arrayFrom(vec.dtype, get(vec)).slice(from, to) as ArrayOf<D>,
		write: (dtype, length, tile) => put(dtype, tile(0, length)),
		put: (array) => put(array instanceof Float32Array ? "f32" : "u8", array as Float32Array),
	};
}

interface MeanTypes extends Types {
	config: { readonly rate: number };
	state: { readonly model: Vec<"f32"> };
	report: null;
}

const plan: Plan = {
	lanes: {
		delta: { length: 3, absMax: 8, combine: "mean", codec: ["f32"] },
		hits: { length: 2, absMax: 10, combine: "sum", codec: ["f32"] },
	},
	leases: 8,
	closeAt: 6,
	quorum: 1,
	deadlineMs: 1000,
	maxExamples: 100,
	onMiss: "replan",
};

/** Adds rate · mean(delta) to the model; counts hits. */
export const mean: Strategy<MeanTypes> = {
	name: "mean",
	version: 1,
	summary: "",
	schema: {},
	needs: { reads: "lanes", trainer: "none" },
	bounds: () => ({ task: 200, download: 12, report: 21, member: 100 }),
	init: ({ initial }) => ({ model: initial }),
	plan: () => plan,
	task: ({ model }) => ({ model }),
	finish: ({ model }, { lanes, count }, { io, config }) => ({
		state: {
			model: io.write("f32", 3, (a, b) => (io.read(model, a, b) as Float32Array).map((x, j) => x + config.rate * lanes.delta![a + j]!)),
		},
		publish: { hits: lanes.hits!, count },
		metrics: { count },
	}),
	model: ({ model }) => model,
	train: () => Promise.reject(new RondoError("INTERNAL", "unused")),
};

/** Reads single reports, keeps a row for each client: how often it took part. */
export const reader: AnyStrategy = {
	...mean,
	name: "reader",
	needs: { reads: "reports", trainer: "none" },
	init: () => [],
	task: (_state: Plain, member: Plain | undefined) => member ?? 0,
	finish: (state: readonly Plain[], { reports }) => ({
		state: [...state, reports.map((r) => [r.client, r.weight, r.header, r.lane("delta"), r.lane("hits", 1)] as Plain)].slice(-2),
		members: new Map(reports.map((r) => [r.client, ((r.member as number | undefined) ?? 0) + 1])),
		scores: new Map(reports.map((r) => [r.client, { weight: r.weight }])),
	}),
};

export const reportOf = (delta: readonly number[], hits: readonly number[], numExamples: number, extra: Partial<Report> = {}): Report => ({
	header: null,
	lanes: { delta: bytesOf(Float32Array.from(delta)).slice(), hits: bytesOf(Float32Array.from(hits)).slice() },
	numExamples,
	metrics: {},
	...extra,
});

/** A task id made of one hexadecimal digit. */
export const taskOf = (i: number): string => i.toString(16).repeat(64).slice(0, 64);

export function engineOf(strategy: AnyStrategy, overrides: Partial<ConstructorParameters<typeof RunEngine>[0]> = {}): RunEngine {
	const store = memory();
	const initial = store.put(Float32Array.of(1, 2, 3)) as Vec<"f32">;
	return new RunEngine({
		run: "r",
		strategy,
		codec,
		reducer,
		config: { rate: 0.5 },
		layout,
		initial,
		publicSeed: "ab".repeat(32),
		io: store,
		source: store,
		...overrides,
	});
}

export const acceptedOf = (reports: readonly Report[], order = reports.map((_, i) => i)): AcceptedReport[] =>
	order.map((i, sequence) => ({
		task: taskOf(i + 1),
		client: `c${9 - i}`,
		numExamples: reports[i]!.numExamples,
		staleness: 0,
		sequence,
		digest: encodeReport(reports[i]!).digest,
	}));

/** A run of three commits and one skip, with everything a replay needs. */
export function runOf(engine: RunEngine): { records: LogRecord[]; reports: Map<string, Uint8Array>; last: Finished } {
	const { state, record } = engine.genesis();
	const records = [record];
	const reports = new Map<string, Uint8Array>();
	let position: Position = { state, members: new Map(), round: 1, commit: 0, population: 4 };
	let last: Finished | undefined;
	for (let round = 1; round <= 4; round++) {
		const place = { position, incarnation: 1, attempt: 1, previous: records.at(-1)!.hash };
		if (round === 3) {
			records.push(engine.skip(place));
			position = { ...position, round: 4, commit: 3 };
			continue;
		}
		const sent = [0, 1, 2].map((i) => reportOf([i - 1, round / 3, 0.1], [1, i], 10 * i + round, { metrics: { loss: i + 1 / round } }));
		const accepted = acceptedOf(sent).map((row, i) => ({ ...row, task: taskOf(round * 4 + i) }));
		for (const [i, row] of accepted.entries()) reports.set(row.task, encodeReport(sent[i]!).bytes);
		const byTask = new Map(accepted.map((row, i) => [row.task, sent[i]!]));
		last = engine.finish({ ...place, plan: engine.plan(position), accepted, reports: (task) => byTask.get(task)! });
		records.push(last.record);
		position = { ...position, state: last.state, members: last.members, round: round + 1, commit: round };
	}
	return { records, reports, last: last! };
}
