import { readdirSync } from "node:fs";
import { expect, it } from "vitest";
import type { AnyStrategy, Codec, Reducer } from "./contract.js";
import { builtInReducers } from "./reducing/built-in-reducers.js";
import { builtInCodecs, builtInStrategies, createRegistry } from "./registry.js";

const filesIn = (folder: string) =>
	readdirSync(new URL(folder, import.meta.url))
		.filter((file) => !file.endsWith(".test.ts"))
		.map((file) => file.replace(".ts", ""))
		.sort();

it("has every strategy, codec and reducer that has a file", () => {
	expect(builtInStrategies.map(({ name }) => name).sort()).toEqual(filesIn("./strategies/"));
	expect(builtInCodecs.map(({ name }) => name).sort()).toEqual(filesIn("./codecs/"));
	expect(builtInReducers.map(({ name }) => name).sort()).toEqual(filesIn("./reducers/"));
});

it("finds strategies, codecs and reducers by name", () => {
	const registry = createRegistry();
	expect(registry.strategies()).toEqual(builtInStrategies);
	for (const strategy of builtInStrategies) expect(registry.strategy(strategy.name)).toBe(strategy);
	expect(registry.codec(["f32"]).name).toBe("f32");
	for (const reducer of builtInReducers) expect(registry.reducer([reducer.name])).toBe(reducer);
});

it("refuses an unknown name and lists the known ones", () => {
	const registry = createRegistry();
	const known = (items: readonly { readonly name: string }[]): string => items.map(({ name }) => name).join(", ");
	expect(() => registry.strategy("fedavgg")).toThrow(`no strategy is named "fedavgg"; known: ${known(builtInStrategies)}`);
	expect(() => registry.strategy("__proto__")).toThrow(expect.objectContaining({ code: "UNKNOWN_STRATEGY" }));
	expect(() => registry.codec(["f8"])).toThrow(
		expect.objectContaining({ code: "UNKNOWN_CODEC", message: `no codec is named "f8"; known: ${known(builtInCodecs)}` }),
	);
	expect(() => registry.reducer(["average"])).toThrow(
		expect.objectContaining({
			code: "UNKNOWN_REDUCER",
			message: `no reducer is named "average"; known: ${known(builtInReducers)}`,
		}),
	);
	expect(() => createRegistry([], []).strategy("x")).toThrow("known: none");
});

it("refuses two entries of one name", () => {
	const twice = <T>(item: T | undefined): T[] => [item!, item!];
	expect(() => createRegistry(twice<AnyStrategy>(builtInStrategies[0]))).toThrow(expect.objectContaining({ code: "ALREADY_EXISTS" }));
	expect(() => createRegistry([], twice<Codec>(builtInCodecs[0]))).toThrow('two codec entries are named "bf16"');
	expect(() => createRegistry([], [], twice<Reducer>(builtInReducers[0]))).toThrow(/two reducer entries are named/);
});
