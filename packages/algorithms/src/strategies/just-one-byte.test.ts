import { perturb, perturbations } from "@rondo/kernels";
import { layoutOf } from "@rondo/tensors";
import { describe, expect, it } from "vitest";
import { atOf, clientOf, type Device, type Run, runOf } from "../../test/fixture.js";
import { batchOf, devicesOf, gap, lossAndGradient, WEIGHTS } from "../../test/problems.js";
import { resolveConfig } from "../config.js";
import type { Outcome, Received, Work } from "../contract.js";
import { fromByte, toByte } from "../encoding/scalar-codec.js";
import { decodePlain, encodePlain, type Plain } from "../plain.js";
import { type JustOneByteTypes, justOneByte } from "./just-one-byte.js";

type T = JustOneByteTypes;
const OPTIONS = { samples: 3, batchSize: 100, epsilon: 2 ** -10, learningRate: 0.25, noise: "noise/1", cohortSize: 3, snapshotEvery: 2 };
const ids = ["ann", "bob", "cid"];

const receivedOf = (client: string, header: T["report"], member?: true): Received<T> => ({
	client,
	header,
	member,
	weight: 1,
	staleness: 0,
	lane: () => new Float64Array(0),
});

/** One step of all devices, in client-id order; what is published goes into the log. */
async function play(run: Run<T>, state: T["state"], round: number, devices: readonly Device[], members = new Map<string, true>()) {
	const at = atOf(run, round);
	const works: Work<T>[] = [];
	for (const device of devices)
		works.push(await justOneByte.train(justOneByte.task(state, members.get(device.id), at), clientOf(run, device, round)));
	const reports = works.map(({ header }, i) =>
		receivedOf(devices[i]!.id, decodePlain(encodePlain(header)) as T["report"], members.get(devices[i]!.id)),
	);
	const outcome: Outcome<T> = justOneByte.finish(state, { lanes: {}, weight: reports.length, count: reports.length, reports }, at);
	run.log.push({ commit: round, track: 0, round, value: outcome.publish ?? null });
	return { outcome, works, model: run.store.io.read(justOneByte.model!(outcome.state, undefined, atOf(run, round + 1))) };
}

/** The equations in float64: perturbed losses, the codes, the sum over all samples. */
function reference(run: Run<T>, rounds: number): number[] {
	const { samples, epsilon, learningRate, scaling, scalars } = run.config;
	let global = WEIGHTS.slice();
	for (let round = 1; round <= rounds; round++) {
		const count = ids.length * samples;
		const step = global.map(() => 0);
		for (const id of ids) {
			for (let s = 0; s < samples; s++) {
				const z = new Float32Array(global.length);
				perturb(z, 1, perturbations(run.shared.at("just-one-byte", round, id), "noise/1"), s, z);
				const at = (distance: number) =>
					lossAndGradient(
						Float32Array.from(global, (w, j) => w + distance * z[j]!),
						batchOf(id),
					)[0];
				const g = (at(epsilon) - at(-epsilon)) / (2 * epsilon);
				const exponent = Math.max(-63, Math.min(63, Math.round(8 * Math.log(Math.abs(g)))));
				const sent = scalars === "f32" ? g : Math.sign(g) * Math.exp(exponent / 8);
				for (let j = 0; j < step.length; j++) step[j]! += sent * z[j]!;
			}
		}
		global = global.map((w, j) => w - (learningRate / (scaling === "sqrt" ? Math.sqrt(count) : count)) * step[j]!);
	}
	return global;
}

describe.each([
	["sqrt", "byte"],
	["mean", "byte"],
	["sqrt", "f32"],
])("scaling %s, scalars %s", (scaling, scalars) => {
	it("five steps agree with the equations", async () => {
		const run = runOf(justOneByte, { ...OPTIONS, scaling, scalars }, WEIGHTS);
		let state = justOneByte.init(atOf(run));
		const devices = devicesOf();
		for (let round = 1; round <= 5; round++) {
			const { outcome, model } = await play(run, state, round, devices);
			state = decodePlain(encodePlain(outcome.state)) as T["state"];
			expect(gap(model, reference(run, round))).toBeLessThan(scalars === "byte" ? 2e-6 : 2e-5);
			// Steps 3 and 5 come two commits after a snapshot.
			expect([state.baseCommit, state.tail.length]).toEqual(
				[
					[0, 1],
					[0, 2],
					[2, 1],
					[2, 2],
					[4, 1],
				][round - 1],
			);
			expect(outcome.metrics!.replicas).toBe(round % 2 === 1 && round > 1 ? 1 : undefined);
		}
		expect(gap(reference(run, 5), WEIGHTS)).toBeGreaterThan(0.05);
	});
});

it("sends one byte a sample, and the scaling is √N or N", async () => {
	const run = runOf(justOneByte, OPTIONS, WEIGHTS);
	const { works, model } = await play(run, justOneByte.init(atOf(run)), 1, devicesOf());
	expect(works.map(({ header: [scalars] }) => [scalars.constructor, scalars.length])).toEqual(Array(3).fill([Uint8Array, 3]));
	const mean = runOf(justOneByte, { ...OPTIONS, scaling: "mean" }, WEIGHTS);
	const other = await play(mean, justOneByte.init(atOf(mean)), 1, devicesOf());
	// Of nine scalars the mean's step is a third of the root's.
	expect(
		gap(
			model.map((w, j) => w - WEIGHTS[j]!),
			other.model.map((w, j) => 3 * (w - WEIGHTS[j]!)),
		),
	).toBeLessThan(1e-6);
});

it("a replica that is another one is left out, starts afresh, and is believed again", async () => {
	const run = runOf(justOneByte, OPTIONS, WEIGHTS);
	const devices = devicesOf();
	let state = justOneByte.init(atOf(run));
	for (const round of [1, 2]) state = (await play(run, state, round, devices)).outcome.state;
	// bob's copy changes on his disk: it is one commit old, and of other weights.
	const wrong = run.store.keep("f32", new Float32Array(WEIGHTS.length).fill(1));
	devices[1]!.cache.set("just-one-byte/1", { commit: 1, copy: wrong });
	const third = await play(run, state, 3, devices);
	const [clients] = third.outcome.publish as unknown as [string[], Uint8Array];
	expect([clients, third.outcome.metrics]).toEqual([["ann", "cid"], { scalars: 6, replicas: 2, discarded: 1 }]);
	expect(third.outcome.members).toEqual(new Map([["bob", true]]));
	// Only bob is told so; he is back on the common weights, and his row goes.
	expect(justOneByte.task(third.outcome.state, undefined, atOf(run, 4))[4]).toBe(false);
	const fourth = await play(run, third.outcome.state, 4, devices, new Map([["bob", true]]));
	expect(fourth.outcome.members).toEqual(new Map([["bob", null]]));
	const task = justOneByte.task(fourth.outcome.state, undefined, atOf(run, 5));
	for (const device of devices) expect(gap(await justOneByte.assemble!(task, clientOf(run, device, 5)), fourth.model)).toBe(0);
});

it("a step in which nobody agrees changes nothing but the snapshot", () => {
	const run = runOf(justOneByte, { ...OPTIONS, snapshotEvery: 1 }, WEIGHTS);
	const scalars = toByte([0.5, 0.5, 0.5]);
	const state: T["state"] = { base: run.initial, baseCommit: 0, tail: [[1, [["ann"], scalars]]] };
	const at = { ...atOf(run, 2), commit: 1 };
	const before = run.store.io.read(justOneByte.model!(state, undefined, at));
	const reports = [receivedOf("ann", [scalars, null]), receivedOf("bob", [scalars, "ab".repeat(32)])];
	const { state: next, publish, members, metrics } = justOneByte.finish(state, { lanes: {}, weight: 2, count: 2, reports }, at);
	expect([publish, metrics, next.tail, next.baseCommit]).toEqual([null, { scalars: 0, replicas: 2, discarded: 2 }, [], 1]);
	expect(run.store.io.read(next.base)).toEqual(before);
	expect(members).toEqual(
		new Map([
			["ann", true],
			["bob", true],
		]),
	);
});

it("samples without a finite loss count as 0; a device without any declines", async () => {
	const run = runOf(justOneByte, OPTIONS, WEIGHTS);
	const [ann] = devicesOf();
	const failing = (from: number): Device => {
		let calls = 0;
		const loss: Device["trainer"]["loss"] = (weights, batch) =>
			calls++ >= from ? Promise.resolve(Number.NaN) : ann!.trainer.loss(weights, batch);
		return { ...ann!, trainer: { ...ann!.trainer, loss } };
	};
	const task = justOneByte.task(justOneByte.init(atOf(run)), undefined, atOf(run));
	const { header, metrics } = await justOneByte.train(task, clientOf(run, failing(4)));
	expect([header[0].at(-1), metrics!.skippedSamples]).toEqual([0, 1]);
	expect(header[0][0]).not.toBe(0);
	await expect(justOneByte.train(task, clientOf(run, failing(0)))).rejects.toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
});

describe("what is refused", () => {
	const run = runOf(justOneByte, OPTIONS, WEIGHTS);
	const unpack = (header: unknown, options: object = {}) =>
		justOneByte.unpack!(header as T["report"], null as never, { ...run, config: { ...run.config, ...options } });
	const codes = Uint8Array.of(64, 0, 192);

	it("nothing of an honest header", () => {
		expect([...fromByte(codes)]).toEqual([1, 0, -1]);
		expect([unpack([codes, null]), unpack([codes, "ab".repeat(32)])]).toEqual([{}, {}]);
	});

	it.each<[string, unknown, object, string]>([
		["null", null, {}, "INVALID_ARGUMENT"],
		["no digest", [codes], {}, "INVALID_ARGUMENT"],
		["a short digest", [codes, "ab"], {}, "INVALID_ARGUMENT"],
		["a digest that is a number", [codes, 1], {}, "INVALID_ARGUMENT"],
		["no scalars", [null, null], {}, "INVALID_ARGUMENT"],
		["too few scalars", [codes.subarray(1), null], {}, "INVALID_ARGUMENT"],
		["too many scalars", [new Uint8Array(4), null], {}, "INVALID_ARGUMENT"],
		["scalars of another kind", [Float32Array.of(1, 2, 3), null], {}, "INVALID_ARGUMENT"],
		["a negative zero", [Uint8Array.of(64, 128, 1), null], {}, "BAD_ENCODING"],
		["a large scalar", [Uint8Array.of(64, 127, 1), null], {}, "LANE_OUT_OF_BOUND"],
		["a scalar that is NaN", [Float32Array.of(0, Number.NaN, 0), null], { scalars: "f32" }, "LANE_OUT_OF_BOUND"],
		["an infinite scalar", [Uint16Array.of(0, 0, 0xfc00), null], { scalars: "f16" }, "LANE_OUT_OF_BOUND"],
	])("%s", (_what, header, options, code) => {
		expect(() => unpack(header, options)).toThrow(expect.objectContaining({ code }));
	});

	it.each<[string, Plain]>([
		["a map", { clients: ["ann"] }],
		["scalars without clients", [[], codes]],
		["a client without scalars", [["ann", "bob"], codes]],
		["a name that is a number", [[1], codes]],
		["scalars of another kind", [["ann"], new Float32Array(3)]],
	])("a published step that is %s", async (_what, value) => {
		const followed = { ...run, log: [{ commit: 1, track: 0, round: 1, value }] };
		const task = [run.initial, 0, 1, false, false] as const;
		await expect(justOneByte.assemble!(task, clientOf(followed, devicesOf()[0]!, 2))).rejects.toThrow(
			expect.objectContaining({ code: "BAD_ENCODING" }),
		);
	});

	it("steps that are too large for the log, and more of them than a state holds", () => {
		const layout = layoutOf([{ name: "w", shape: [3] }]);
		expect(() => resolveConfig(justOneByte, { cohortSize: 1000 }, layout)).toThrow(/steps of 96064 bytes/);
		expect(() => resolveConfig(justOneByte, { cohortSize: 500, snapshotEvery: 100 }, layout)).toThrow(/snapshotEvery .* at most 20/);
	});

	it("weights that are no longer finite", () => {
		const state: T["state"] = { base: run.initial, baseCommit: 0, tail: [[1, [["ann"], Uint8Array.of(127, 127, 127)]]] };
		const at = { ...atOf(run, 2), config: { ...run.config, learningRate: 1e37 } };
		expect(() => justOneByte.model!(state, undefined, at)).toThrow(expect.objectContaining({ code: "NOT_FINITE" }));
	});
});
