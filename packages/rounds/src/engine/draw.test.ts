import { randomFrom } from "@rondo/kernels";
import fc from "fast-check";
import { expect, test } from "vitest";
import type { RoundKey } from "../machine-types.js";
import { rankClients } from "./draw.js";

const secret = randomFrom(new Uint8Array(32).fill(3));
const key: RoundKey = { kind: "train", round: 1, attempt: 1 };
const clients = Array.from({ length: 20 }, (_, i) => `client-${i}`);

test("the rank of a client depends on neither the order nor the presence of the others", () => {
	const all = rankClients(secret, key, clients);
	fc.assert(
		fc.property(fc.shuffledSubarray(clients), (some) => {
			expect(rankClients(secret, key, [...some, ...some])).toEqual(all.filter((client) => some.includes(client)));
		}),
	);
});

test("another round, attempt, kind or secret draws another order", () => {
	const orders = [
		rankClients(secret, key, clients),
		rankClients(secret, { ...key, round: 2 }, clients),
		rankClients(secret, { ...key, attempt: 2 }, clients),
		rankClients(secret, { ...key, kind: "evaluate" }, clients),
		rankClients(randomFrom(new Uint8Array(32).fill(4)), key, clients),
	].map((order) => order.join());
	expect(new Set(orders).size).toBe(orders.length);
});

test("every turn draws another order, the first that of the attempt", () => {
	expect(rankClients(secret, key, clients, 0)).toEqual(rankClients(secret, key, clients));
	const orders = Array.from({ length: 50 }, (_, turn) => rankClients(secret, key, clients, turn));
	expect(new Set(orders.map((order) => order.join())).size).toBe(50);
	expect(new Set(orders.map(([winner]) => winner)).size).toBeGreaterThan(10);
});

test("each client comes first about equally often", () => {
	const first = new Map<string, number>();
	for (let round = 1; round <= 2000; round++) {
		const [winner] = rankClients(secret, { ...key, round }, clients.slice(0, 4));
		first.set(winner!, (first.get(winner!) ?? 0) + 1);
	}
	// 500 expected, standard deviation 19.
	for (const count of first.values()) expect(Math.abs(count - 500)).toBeLessThan(100);
});

test("the order is part of what a run can be recomputed from: it never changes", () => {
	expect(rankClients(secret, { kind: "train", round: 3, attempt: 2 }, clients.slice(0, 6))).toEqual([
		"client-4",
		"client-2",
		"client-5",
		"client-3",
		"client-0",
		"client-1",
	]);
});
