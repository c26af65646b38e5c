import assert from "node:assert/strict";
import { bytesPerElement, type Codec, decodePlain, encodePlain, type Lane, type Plain, vecsIn } from "@rondo/algorithms";
import { isRondoError } from "@rondo/errors";
import { randomFrom } from "@rondo/kernels";
import { decodeReport, type Report, replayRun, reportSize } from "@rondo/rounds";
import { Device, logReader } from "@rondo/simulation";
import { layoutOf } from "@rondo/tensors";
import { memoryData, softmaxTrainer } from "./fixtures.js";
import {
	allExamples,
	completed,
	declaredOnly,
	examplesOf,
	guarded,
	type LawCase,
	onClient,
	optionsOf,
	outcomes,
	reencoded,
	runCase,
	SEEDS,
	scalarClients,
	softmaxClients,
} from "./law-kit.js";

/** What may exempt a strategy from a law. */
export type Requirement =
	| "lossy codec"
	| "server optimiser"
	| "sums"
	| "ranks"
	| "per-client models"
	| "no model"
	| "no trainer"
	| "asynchronous";

/** A property that every strategy has, unless a named requirement stands against it. */
export interface Law {
	readonly holds: (lawCase: LawCase) => Promise<void>;
	/** The requirements that may exempt; none: the law admits no exemption. */
	readonly exemptedBy: readonly Requirement[];
}

const law = (exemptedBy: readonly Requirement[], holds: Law["holds"]): Law => ({ holds, exemptedBy });

/** The laws, by name. */
export const LAWS = {
	"inputs stay unchanged": law([], async (lawCase) => {
		const { store } = await completed({ ...lawCase, strategy: guarded(lawCase.strategy) });
		store.verify();
	}),

	"same seeds, same bytes": law([], async (lawCase) => {
		const [first, again] = [await completed(lawCase), await completed(lawCase)];
		assert.deepEqual(again.records, first.records);
		assert.deepEqual(again.reports, first.reports);
	}),

	"order of arrival is irrelevant": law(["asynchronous"], async (lawCase) => {
		const [first, reversed] = [await completed(lawCase), await completed(lawCase, { arrival: (tasks) => [...tasks].reverse() })];
		assert.deepEqual(outcomes(reversed.records), outcomes(first.records));
		assert.deepEqual(reversed.weights, first.weights);
	}),

	"state survives its encoding in mid-run": law([], async (lawCase) => {
		const recode = (value: Plain): Plain => decodePlain(encodePlain(value));
		const wanted = await completed(lawCase);
		assert.deepEqual((await completed({ ...lawCase, strategy: reencoded(lawCase.strategy, recode) })).records, wanted.records);
	}),

	"the log replays": law([], async (lawCase) => {
		const { records, reports, engine } = await completed(lawCase);
		const report = async (task: string): Promise<Uint8Array> => reports.get(task)!;
		for await (const step of replayRun({ records, report, engine, head: records.at(-1)!.hash }))
			assert.ok(step.ok, `commit ${step.commit}: ${step.what}`);
	}),

	"identical clients give that client's result": law(
		["sums", "ranks", "per-client models", "lossy codec", "asynchronous"],
		async (lawCase) => {
			// The same data and, instead of one for each task, the same secret.
			const secret = randomFrom(new Uint8Array(32).fill(9));
			const strategy = onClient(lawCase.strategy, (client) => ({ ...client, secret: secret.at(client.round) }));
			const twins = softmaxClients(4).map((client) => ({ ...client, data: memoryData(examplesOf(0)) }));
			const options = optionsOf(lawCase, 4);
			const all = await completed({ ...lawCase, strategy }, { clients: twins, options });
			const one = await completed({ ...lawCase, strategy }, { clients: twins.slice(0, 1), options });
			assert.deepEqual(
				all.records.map(({ entry }) => entry.state),
				one.records.map(({ entry }) => entry.state),
			);
		},
	),

	"one client and one weight are enough": law(["no trainer", "ranks"], async (lawCase) => {
		const { rounds, weights } = await completed(lawCase, {
			clients: scalarClients(1),
			layout: layoutOf([{ name: "w", shape: [] }]),
			initial: Float32Array.of(0),
		});
		assert.equal(rounds.length, 3);
		if (weights !== undefined) assert.ok(weights[0]! > 0 && weights[0]! < 4, `the weight went from 0 to ${weights[0]}, away from 2`);
	}),

	"a client without examples declines": law([], async (lawCase) => {
		const clients = softmaxClients(3);
		const empty = { ...clients[1]!, data: memoryData({ inputs: [], labels: [] }) };
		const { phase, rounds, refusals } = await runCase(lawCase, { clients: [clients[0]!, empty, clients[2]!] });
		assert.equal(phase, "completed");
		// In asynchronous rounds a client may report more than once.
		for (const round of rounds) assert.deepEqual([...new Set(round.clients)], ["c0", "c2"]);
		assert.deepEqual([...new Set(refusals.map(({ client, code }) => `${client} ${code}`))], ["c1 CONFLICT"]);
	}),

	"losses that are not numbers reach no model": law(["no trainer"], async (lawCase) => {
		const broken = softmaxClients(3).map((client) => ({
			...client,
			trainer: {
				...client.trainer,
				loss: async () => Number.NaN,
				gradient: async (_w: Float32Array, _b: unknown, out: Float32Array) => out.fill(Number.NaN) && Number.NaN,
			},
		}));
		const { phase, refusals, reports } = await runCase(lawCase, { clients: broken });
		assert.deepEqual([phase, reports.size, refusals.length], ["failed", 0, 3]);
	}),

	"NaN and infinities in a report are refused": law([], async (lawCase) => {
		const { records, reports, engine, store } = await completed(lawCase, { rounds: 1 });
		const plan = engine.plan({ state: engine.genesis().state, members: new Map(), round: 1, commit: 0, population: 4 });
		const honest = decodeReport(reports.get(records[1]!.accepted[0]!.task)!);
		engine.check(plan, honest);
		for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
			for (const forged of poisoned(honest, plan.lanes, (lane) => encoded(engine.parts.codec(lane.codec), lane, odd), odd)) {
				assert.throws(() => engine.check(plan, decodeReport(encodePlain(forged as unknown as Plain))), isRondoError);
			}
		}
		store.verify();
	}),

	"real sizes are within the plan, and the plan is within the bounds": law([], async (lawCase) => {
		const { records, reports, engine, state, members } = await completed(lawCase);
		const bounds = lawCase.strategy.bounds(engine.parts.config, engine.parts.layout);
		const position = { state, members, round: 4, commit: 3, population: 4 };
		const plan = engine.plan(position);
		for (const { accepted } of records) {
			for (const { task } of accepted) {
				const report = decodeReport(reports.get(task)!);
				for (const [name, lane] of Object.entries(report.lanes)) {
					const { [name]: planned } = plan.lanes;
					assert.ok(lane.length <= engine.parts.codec(planned!.codec).maxBytes(planned!), `lane ${name}`);
				}
				assert.ok(reportSize(report) <= bounds.report, `a report of ${reportSize(report)} bytes, bounds.report is ${bounds.report}`);
			}
		}
		for (const member of [undefined, ...members.values()]) {
			const task = engine.task(position, member);
			const download = vecsIn(decodePlain(task)).reduce((sum, vec) => sum + vec.length * bytesPerElement(vec.dtype), 0);
			assert.ok(
				task.length <= bounds.task && download <= bounds.download,
				`a task of ${task.length} + ${download} bytes, bounds are ${bounds.task} + ${bounds.download}`,
			);
			if (member !== undefined) assert.ok(encodePlain(member).length <= bounds.member!, "bounds.member");
		}
	}),

	"clients ask the trainer for no more than is declared": law([], async (lawCase) => {
		const { trainer } = lawCase.strategy.needs;
		await completed(lawCase, {
			clients: softmaxClients(3).map((client) => ({ ...client, trainer: declaredOnly(client.trainer, trainer) })),
		});
	}),

	"clients assemble the coordinator's weights": law(["no model"], async (lawCase) => {
		const { strategy } = lawCase;
		const { engine, state, members, store, weights, records } = await completed(lawCase);
		const position = { state, members, round: 4, commit: 3, population: 4 };
		const { layout, initial, config, codec } = engine.parts;
		const shared = randomFrom(new Uint8Array(32).fill(Number.parseInt(SEEDS.publicSeed.slice(0, 2), 16)));
		const context = {
			strategy,
			layout,
			initial,
			config,
			codec,
			shared,
			store,
			signal: new AbortController().signal,
			log: logReader(() => records),
		};
		const device = new Device(softmaxClients(1)[0]!, shared, context);
		const task = decodePlain(engine.task(position, undefined));
		assert.deepEqual(await strategy.assemble!(task, device.client("0".repeat(64), 4)), weights);
	}),

	progress: law([], async (lawCase) => {
		const trainer = softmaxTrainer(4, 3);
		const data = allExamples(4);
		const { rounds, engine, store } = await completed(lawCase, {
			rounds: 10,
			evaluate: (weights) => trainer.evaluate(weights, data),
			settings: { evaluateEvery: 10, maxReplans: 0 },
			keepReports: false,
		});
		const before = (await trainer.evaluate(store.read(engine.parts.initial), data)).loss!;
		const after = rounds.at(-1)!.evaluation!.loss!;
		assert.ok(after <= before / 2, `the loss went from ${before} to ${after} in ten rounds`);
	}),

	use: law([], async (lawCase) => {
		const clients = softmaxClients(4);
		const other = clients.map((client, i) => (i === 2 ? { ...client, data: memoryData(examplesOf(7)) } : client));
		const [one, two] = [await completed(lawCase, { clients, rounds: 1 }), await completed(lawCase, { clients: other, rounds: 1 })];
		const digests = ({ records }: typeof one): (string | undefined)[] => records[1]!.accepted.map(({ digest }) => digest);
		assert.deepEqual(
			digests(one).map((digest, i) => digest === digests(two)[i]),
			[true, true, false, true],
		);
		assert.notEqual(one.stateDigest, two.stateDigest);
		if (one.weights !== undefined) assert.notDeepEqual(one.weights, two.weights);
	}),
} satisfies Record<string, Law>;

/** Name of a law. */
export type LawName = keyof typeof LAWS;

/** A lane full of this number; undefined where the codec refuses to encode it, or has no bytes for it. */
function encoded(codec: Codec, lane: Lane, odd: number): Uint8Array | undefined {
	try {
		return codec.encode(new Float64Array(lane.length).fill(odd), lane, randomFrom(new Uint8Array(32)));
	} catch (error) {
		assert.ok(isRondoError(error) && error.code === "NOT_FINITE", String(error));
		return undefined;
	}
}

/** Copies of a report with one odd number each: in a lane, or anywhere in the header. */
function* poisoned(
	report: Report,
	lanes: { readonly [name: string]: Lane },
	encode: (lane: Lane) => Uint8Array | undefined,
	odd: number,
): Generator<unknown> {
	for (const name of Object.keys(report.lanes)) {
		const bytes = encode(lanes[name]!);
		if (bytes !== undefined) yield { ...report, lanes: { ...report.lanes, [name]: bytes } };
	}
	yield { ...report, metrics: { loss: odd } };
	yield { ...report, numExamples: odd };
	for (const header of oddVariants(report.header, odd)) yield { ...report, header };
}

function* oddVariants(value: Plain, odd: number): Generator<Plain> {
	if (typeof value === "number") yield odd;
	else if (value instanceof Float32Array || value instanceof Float64Array) yield value.with(value.length - 1, odd);
	else if (Array.isArray(value)) {
		for (const [i, item] of value.entries()) for (const variant of oddVariants(item as Plain, odd)) yield value.with(i, variant) as Plain;
	} else if (typeof value === "object" && value !== null && !ArrayBuffer.isView(value)) {
		for (const [key, item] of Object.entries(value))
			for (const variant of oddVariants(item as Plain, odd)) yield { ...value, [key]: variant };
	}
}
