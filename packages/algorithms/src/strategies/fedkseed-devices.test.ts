import { RondoError } from "@rondo/errors";
import { expect, it } from "vitest";
import { OPTIONS, play } from "../../test/fedkseed-runs.js";
import { atOf, clientOf, runOf } from "../../test/fixture.js";
import { devicesOf, WEIGHTS } from "../../test/problems.js";
import type { Plain } from "../plain.js";
import { fedkseed } from "./fedkseed.js";

const INDEPENDENT = { ...OPTIONS, noise: "noise/1" };

it("with structured candidates devices keep no vector and assemble the same bytes as the server", async () => {
	const run = runOf(fedkseed, OPTIONS, WEIGHTS);
	const devices = devicesOf();
	const { state, model } = (await play(run, 4, devices)).at(-1)!;
	const task = fedkseed.task(state, undefined, atOf(run, 5));
	for (const device of [devices[0]!, devicesOf()[0]!]) expect(await fedkseed.assemble!(task, clientOf(run, device, 5))).toEqual(model);
});

it("a device that goes on, one that joins late, and one that lost its cache or its blobs assemble the same bytes as the server", async () => {
	const run = runOf(fedkseed, INDEPENDENT, WEIGHTS);
	const devices = devicesOf();
	const played = await play(run, 4, devices);
	const { state, model } = played.at(-1)!;
	const task = fedkseed.task(state, undefined, atOf(run, 5));
	const assembled = async (device: (typeof devices)[number]) => fedkseed.assemble!(task, clientOf(run, device, 5));

	expect(devices[0]!.cache.size).toBe(1);
	expect(await assembled(devices[0]!)).toEqual(model);
	expect(await assembled(devicesOf()[0]!)).toEqual(model);
	devices[1]!.cache.clear();
	expect(await assembled(devices[1]!)).toEqual(model);
	for (const key of devices[2]!.cache.keys()) devices[2]!.cache.set(key, { ledger: null, sum: 7 });
	expect(await assembled(devices[2]!)).toEqual(model);

	const lost = devices[0]!;
	const client = clientOf(run, lost, 5);
	lost.store.forget();
	const reading: typeof client.read = (vec) =>
		vec.dtype === "f64" ? Promise.reject(new RondoError("NOT_FOUND", "the blob is gone")) : client.read(vec);
	expect(await fedkseed.assemble!(task, { ...client, read: reading })).toEqual(model);
	await expect(fedkseed.assemble!(task, { ...client, read: () => Promise.reject(new TypeError("defect")) })).rejects.toThrow("defect");
});

it("another run seed does not meet the cache of the first", async () => {
	const devices = devicesOf();
	const [one, two] = [runOf(fedkseed, INDEPENDENT, WEIGHTS, "one"), runOf(fedkseed, INDEPENDENT, WEIGHTS, "two")];
	await play(one, 2, devices);
	const shared = await play(two, 2, devices);
	const fresh = await play(runOf(fedkseed, INDEPENDENT, WEIGHTS, "two"), 2);
	expect(shared.map(({ model }) => model)).toEqual(fresh.map(({ model }) => model));
});

it.each(["noise/1", "noise/2"])(
	"in a later epoch a device that was there, one that was not, and one whose memory is wrong assemble the same bytes (%s)",
	async (noise) => {
		// Fewer candidates than weights: a base is made rather than downloaded. Round 7 is the first of epoch 2.
		const run = runOf(fedkseed, { ...OPTIONS, candidates: 8, noise, rebaseEvery: 3 }, WEIGHTS);
		const devices = devicesOf();
		const played = await play(run, 6, devices);
		const { state, model } = played.at(-1)!;
		expect(state).toMatchObject({ step: 0, basis: { epoch: 2 } });
		expect(run.store.io.read(state.basis!.base)).toEqual(model);
		const task = fedkseed.task(state, undefined, atOf(run, 7));
		/** Weights, and whether the base came from elsewhere. */
		const assembled = async (device: (typeof devices)[number]) => {
			const client = clientOf(run, device, 7);
			const kept: string[] = [];
			let downloaded = false;
			const weights = await fedkseed.assemble!(task, {
				...client,
				keep: (dtype, array) => {
					const vec = client.keep(dtype, array);
					kept.push(vec.sha256);
					return vec;
				},
				read: (vec) => {
					downloaded ||= vec.sha256 === state.basis!.base.sha256 && !kept.includes(vec.sha256);
					return client.read(vec);
				},
			});
			expect(weights).toEqual(model);
			return downloaded;
		};
		expect(await assembled(devices[0]!)).toBe(false);
		expect(await assembled(devicesOf()[0]!)).toBe(true);
		const [key] = devices[1]!.cache.keys();
		const memory = devices[1]!.cache.get(key!) as { readonly [field: string]: Plain };
		devices[1]!.cache.set(key!, { ...memory, base: run.initial });
		expect(await assembled(devices[1]!)).toBe(true);
	},
);
