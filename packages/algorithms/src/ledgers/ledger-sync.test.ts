import { RondoError } from "@rondo/errors";
import { describe, expect, it } from "vitest";
import { memoryStore } from "../../test/fixture.js";
import { encodePlain, type Vec } from "../plain.js";
import {
	advanceLedger,
	emptyLedger,
	type HeldLedger,
	type LedgerState,
	largestOffers,
	MAX_RECENT,
	offerLedger,
	readLedger,
} from "./ledger-sync.js";

const K = 256;

/** A server that has made `steps` additions, each of which changed `changed` entries. */
function served(steps: number, changed: number, change = 1000) {
	const store = memoryStore();
	const ledgers = [new Int32Array(K)];
	let state: LedgerState = emptyLedger(store.io, K);
	for (let step = 1; step <= steps; step++) {
		const before = ledgers.at(-1)!;
		const next = before.map((value, k) =>
			(k * 37 + step * 101) % K < changed ? value + (k % 2 === 0 ? change : -change) * step + k : value,
		);
		state = advanceLedger(store.io, state, before, next);
		ledgers.push(next);
	}
	/** What a client that holds this downloads, and what it then has. */
	const sync = async (held?: HeldLedger, missing: readonly Vec[] = []) => {
		let bytes = 0;
		const ledger = await readLedger(offerLedger(state), K, held, {
			read: async (vec) => {
				if (missing.some(({ sha256 }) => sha256 === vec.sha256)) throw new RondoError("NOT_FOUND", "the blob is gone");
				const array = store.io.read(vec);
				bytes += array.byteLength;
				return array;
			},
		});
		expect(ledger).toEqual(ledgers.at(-1));
		return bytes;
	};
	return { state, sync, held: (step: number): HeldLedger => ({ step, ledger: ledgers[step]! }) };
}

describe("a client brings its ledger up to date", () => {
	it("by the changes since", async () => {
		const { state, sync, held } = served(20, 8);
		expect(state).toMatchObject({ step: 20, recent: { length: MAX_RECENT } });
		const sizes = state.recent.map(({ length }) => length);
		for (let missed = 0; missed <= MAX_RECENT; missed++)
			expect(await sync(held(20 - missed))).toBe(sizes.slice(MAX_RECENT - missed).reduce((sum, size) => sum + size, 0));
		expect(Math.max(...sizes)).toBeLessThan(8 * 5);
	});

	it("by the whole when it was away for longer, or has none, or one of another kind", async () => {
		const { sync, held } = served(20, 8);
		for (const one of [
			held(20 - MAX_RECENT - 1),
			undefined,
			{ step: 21, ledger: new Int32Array(K) },
			{ step: 19, ledger: new Int32Array(3) },
		])
			expect(await sync(one)).toBe(4 * K);
	});

	it("from nothing in the first rounds", async () => {
		expect(await served(0, 8).sync()).toBe(0);
		const { state, sync } = served(2, 8);
		expect(await sync()).toBe(state.recent[0]!.length + state.recent[1]!.length);
	});

	it("by the whole when what it has is not what it thinks, or a change is gone", async () => {
		const { state, sync, held } = served(20, 8);
		const { step, ledger } = held(19);
		expect(await sync({ step, ledger: ledger.with(5, 1) })).toBe(state.recent.at(-1)!.length + 4 * K);
		expect(await sync(held(18), [state.recent.at(-1)!])).toBe(state.recent.at(-2)!.length + 4 * K);
	});

	it("and a defect is not taken for a missing blob", async () => {
		const { state, held } = served(2, 8);
		const broken = { read: () => Promise.reject(new TypeError("defect")) };
		await expect(readLedger(offerLedger(state), K, held(1), broken)).rejects.toThrow("defect");
	});
});

it("changes as large as the ledger are not kept, and the ledger travels with the task", async () => {
	const { state, sync, held } = served(3, K, 2 ** 28);
	expect(state.recent).toEqual([]);
	expect(offerLedger(state)).toEqual([3, state.ledger, new Uint8Array(0)]);
	expect(await sync(held(2))).toBe(4 * K);
	expect(await sync(held(3))).toBe(0);
	const half = served(3, K / 2);
	expect(half.state.recent.length).toBeGreaterThan(0);
	expect(half.state.recent.reduce((sum, { length }) => sum + length, 0)).toBeLessThan(4 * K);
});

it("no offer is larger than the largest ones", () => {
	const most = Math.max(...largestOffers(K).map((offer) => encodePlain(offer).length));
	for (const changed of [1, 8, 100, K]) expect(encodePlain(offerLedger(served(20, changed).state)).length).toBeLessThanOrEqual(most);
});

it("refuses references that are not whole", async () => {
	await expect(
		readLedger([1, new Uint8Array(32), new Uint8Array(35)], K, undefined, { read: () => Promise.reject(new Error("unread")) }),
	).rejects.toThrow(expect.objectContaining({ code: "BAD_ENCODING", message: "references take 36 bytes each, got 35 bytes" }));
});
