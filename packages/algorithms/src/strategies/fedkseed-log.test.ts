import { describe, expect, it } from "vitest";
import { OPTIONS, play } from "../../test/fedkseed-runs.js";
import { atOf, clientOf, deviceOf, memoryData, quadratic, type Run, runOf, trainerOf } from "../../test/fixture.js";
import { devicesOf, WEIGHTS } from "../../test/problems.js";
import { advanceLedger } from "../ledgers/ledger-sync.js";
import { encodePlain } from "../plain.js";
import { type FedKSeedTypes, fedkseed } from "./fedkseed.js";

type State = FedKSeedTypes["state"];
const VERIFIED = { ...OPTIONS, candidates: 8, verifyLog: true };

/** What a device makes of the task of this state. */
const assembled = (run: Run<FedKSeedTypes>, state: State, device = devicesOf()[0]!, config = run.config) =>
	fedkseed.assemble!(fedkseed.task(state, undefined, { ...atOf(run, 9), config }), clientOf(run, device, 9));

/** The state with a ledger that differs in one entry, as a coordinator would make it. */
function forged(run: Run<FedKSeedTypes>, state: State): State {
	const ledger = run.store.io.read(state.ledger);
	return { ...state, ...advanceLedger(run.store.io, state, ledger, ledger.with(3, ledger[3]! + 2 ** 24)), step: state.step };
}

const mismatch = (...parts: readonly string[]) =>
	expect.objectContaining({ code: "MODEL_MISMATCH", message: expect.stringMatching(new RegExp(parts.join(".*"))) });

describe.each([{}, { noise: "noise/1" }, { sampling: "pro" }])("a ledger that is compared with the log (%o)", (more) => {
	const start = async (rounds: number) => {
		const run = runOf(fedkseed, { ...VERIFIED, ...more }, WEIGHTS);
		const devices = devicesOf();
		return { run, devices, played: await play(run, rounds, devices) };
	};

	it("is taken by those who were there and by one that joins late, and makes the weights it makes without", async () => {
		const { run, devices, played } = await start(4);
		const { state, model } = played.at(-1)!;
		expect(state).toMatchObject({ commit: 4 });
		for (const device of [devices[0]!, devicesOf()[1]!]) expect(await assembled(run, state, device)).toEqual(model);
		const plain = await play(runOf(fedkseed, { ...VERIFIED, ...more, verifyLog: false }, WEIGHTS), 4);
		expect(plain.map((round) => round.model)).toEqual(played.map((round) => round.model));
	});

	it("is refused when it is another, before anything is downloaded or remembered", async () => {
		const { run, devices, played } = await start(3);
		const { state, model } = played.at(-1)!;
		const other = forged(run, state);
		expect(other.ledger.sha256).not.toBe(state.ledger.sha256);
		for (const device of [devices[0]!, devicesOf()[0]!]) {
			const before = encodePlain([...device.cache]);
			const client = clientOf(run, device, 9);
			const read: string[] = [];
			const task = fedkseed.task(other, undefined, atOf(run, 9));
			const watched = { ...client, read: ((vec) => read.push(vec.sha256) && client.read(vec)) as typeof client.read };
			await expect(fedkseed.train(task, watched)).rejects.toEqual(mismatch("commit 3 of", state.ledger.sha256, other.ledger.sha256));
			expect([read, encodePlain([...device.cache])]).toEqual([[], before]);
			// The same client takes the true one afterwards.
			expect(await assembled(run, state, device)).toEqual(model);
		}
		// Without the option nobody notices.
		const trusting = { ...run, config: { ...run.config, verifyLog: false } };
		expect(await assembled(trusting, other)).not.toEqual(model);
	});

	it("is read at the commit of its last addition, whatever rounds were skipped since", async () => {
		const { run, played } = await start(2);
		const { state, model } = played.at(-1)!;
		for (const commit of [3, 4]) run.log.push({ commit, track: 0, round: commit, value: null });
		expect(await assembled(run, state)).toEqual(model);
		await expect(assembled(run, { ...state, commit: 4 } as State)).rejects.toEqual(mismatch("commit 4 of the run published no ledger"));
	});
});

it("before the first addition the ledger is empty, and no log is read", async () => {
	const run = runOf(fedkseed, VERIFIED, WEIGHTS);
	const state = fedkseed.init(atOf(run));
	expect(await assembled(run, state)).toEqual(Float32Array.from(WEIGHTS));
	await expect(assembled(run, forged(run, state))).rejects.toEqual(mismatch("commit 0 of"));
});

it("a task that names no commit, or not one, is refused", async () => {
	const run = runOf(fedkseed, VERIFIED, WEIGHTS);
	const { state } = (await play(run, 1)).at(-1)!;
	const [ledger, chances, basis] = fedkseed.task(state, undefined, atOf(run, 2));
	for (const task of [
		[ledger, chances, basis],
		[ledger, chances, basis, -1],
		[ledger, chances, basis, "1"],
	])
		await expect(fedkseed.assemble!(task as never, clientOf(run, devicesOf()[0]!, 2))).rejects.toEqual(
			mismatch("must name the commit of its ledger"),
		);
});

describe("in a later epoch", () => {
	const options = { ...VERIFIED, rebaseEvery: 2 };

	it.each([4, 5])("after commit %i true ledgers are taken", async (rounds) => {
		const run = runOf(fedkseed, options, WEIGHTS);
		const devices = devicesOf();
		const { state, model } = (await play(run, rounds, devices)).at(-1)!;
		expect(state).toMatchObject({ basis: { epoch: 2 }, step: rounds - 4 });
		for (const device of [devices[0]!, devicesOf()[0]!]) expect(await assembled(run, state, device)).toEqual(model);
	});

	it("every part of what a task names is compared", async () => {
		const run = runOf(fedkseed, options, WEIGHTS);
		const [first, middle] = (await play(run, 5)).map(({ state }) => state).slice(3);
		const basisWith = (state: State, change: object): State => ({ ...state, basis: { ...state.basis!, ...change } });
		const another = run.store.keep("i32", Int32Array.of(1, 2, 3, 4, 5, 6, 7, 8));
		const cases: readonly (readonly [State, string])[] = [
			// At the start of an epoch: the last ledger of the one before, and the empty one.
			[basisWith(first!, { previous: another }), another.sha256],
			[{ ...first!, ledger: another, recent: [] }, `and then ledger ${another.sha256}`],
			[basisWith(first!, { base: run.initial }), run.initial.sha256],
			[basisWith(first!, { epoch: 3 }), "epoch 3"],
			// The ledger of the epoch before, on the new base.
			[{ ...first!, ledger: first!.basis!.previous, recent: [], step: 2 }, "step 2 of epoch 2"],
			[forged(run, middle!), "with step 1"],
			[basisWith(middle!, { base: run.initial }), run.initial.sha256],
			[{ ...middle!, basis: null }, middle!.ledger.sha256],
		];
		for (const [state, part] of cases) await expect(assembled(run, state)).rejects.toEqual(mismatch("of the run published ledger", part));
	});
});

it("costs nine bytes of a task at most, and keeps task, download and report within the paper's bytes", async () => {
	const sized = { candidates: 4096, localSteps: 200 };
	const [plain, verified] = [{}, { verifyLog: true }].map((more) => {
		const run = runOf(fedkseed, { ...sized, ...more }, [0.5, -0.25]);
		return fedkseed.bounds(run.config, run.layout);
	});
	expect(verified!.task - plain!.task).toBe(9);
	expect(verified!.task + verified!.download + verified!.report).toBeLessThanOrEqual(4 * 4096 + 4 + 8 * 200);
	const run = runOf(fedkseed, { ...sized, verifyLog: true }, [0.5, -0.25]);
	const device = deviceOf("a", memoryData([[1, 2]]), trainerOf(quadratic));
	const { state } = (await play(run, 1, [device])).at(-1)!;
	expect(encodePlain(fedkseed.task(state, undefined, atOf(run, 2))).length).toBeLessThanOrEqual(verified!.task);
});
