import { closeSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

// Faults that the test must find, and the record that it finds one of them with. They exist in this folder only.

/** How late a report is written that was acknowledged before. */
const LATE_WRITE_MS = 3_000;

/**
 * Answers reports before anything of them is durable: the row comes seconds later, the acceptance record is removed.
 * Without a crash nothing differs, because what needs the rows waits for them.
 * @param {import("@rondo/coordinator").Store} store
 * @param {string} dataDir
 */
function acknowledgeBeforeCommit(store, dataDir) {
	/** @type {Set<Promise<unknown>>} */
	const pending = new Set();
	/** @type {Map<string, number>} */
	const sequences = new Map();
	const settled = async () => {
		while (pending.size > 0) await Promise.all(pending);
	};
	return {
		accept: async (run, key, report) => {
			rmSync(join(dataDir, "accepted", run, report.task), { force: true });
			const round = JSON.stringify([run, key]);
			// A round that was open at the start has rows already; the number of the next one is the database's to say.
			if (!sequences.has(round)) sequences.set(round, (await store.reportsOf(run, key)).length);
			const sequence = sequences.get(round);
			sequences.set(round, sequence + 1);
			const written = new Promise((resolve) => setTimeout(resolve, LATE_WRITE_MS)).then(() => store.accept(run, key, report));
			pending.add(written);
			void written.finally(() => pending.delete(written));
			return { kind: "accepted", sequence };
		},
		freeze: async (...args) => {
			await settled();
			return store.freeze(...args);
		},
		abandon: async (...args) => {
			await settled();
			return store.abandon(...args);
		},
	};
}

/** Closes rounds without a trace: the frozen set reaches the database with the commit, the time used up never does. */
function commitWithoutFreeze(store) {
	const frozen = new Map();
	return {
		freeze: async (run, key, tasks, digest) => {
			frozen.set(JSON.stringify([run, key]), [run, key, tasks, digest]);
		},
		saveBudgets: async () => {},
		commit: async (write) => {
			const args = frozen.get(JSON.stringify([write.run, write.key]));
			if (args !== undefined) await store.freeze(...args);
			return store.commit(write);
		},
	};
}

/** Notes every set that the coordinator took for frozen, on disk before it goes on. */
function recordFrozenSets(store, file) {
	return {
		freeze: async (run, key, tasks, digest) => {
			await store.freeze(run, key, tasks, digest);
			const out = openSync(file, "a");
			writeSync(out, `${JSON.stringify({ run, key, digest })}\n`);
			fsyncSync(out);
			closeSync(out);
		},
	};
}

const overlay = (store, methods) => new Proxy(store, { get: (target, name) => methods[name] ?? Reflect.get(target, name) });

/** `--mutation`'s values. */
export const MUTATIONS = ["none", "ack-before-commit", "no-freeze"];

/** The wrapper that `startCoordinator` puts around its store. @param {{ mutation: string, dataDir: string, frozenFile: string }} options */
export const storeWrapper =
	({ mutation, dataDir, frozenFile }) =>
	(store) => {
		const mutated =
			mutation === "ack-before-commit"
				? overlay(store, acknowledgeBeforeCommit(store, dataDir))
				: mutation === "no-freeze"
					? overlay(store, commitWithoutFreeze(store))
					: store;
		return overlay(mutated, recordFrozenSets(mutated, frozenFile));
	};
