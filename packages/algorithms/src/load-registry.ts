import { RondoError } from "@rondo/errors";
import type { AnyStrategy } from "./contract.js";
import { builtInStrategies, createRegistry, type Registry } from "./registry.js";

/**
 * The built-in strategies and those of additional modules, each of which exports `strategies`, an array.
 * @param modules URLs that `import()` takes
 * @throws INVALID_ARGUMENT naming a module that cannot be loaded or exports no strategies; ALREADY_EXISTS
 */
export async function loadRegistry(modules: readonly string[]): Promise<Registry> {
	const added: AnyStrategy[] = [];
	for (const url of modules) {
		const loaded: unknown = await import(url).catch((cause: unknown) => {
			throw new RondoError("INVALID_ARGUMENT", `strategies: cannot load ${url}: ${String(cause)}`, {
				cause,
				details: { field: "strategies", value: url },
			});
		});
		const { strategies } = loaded as { readonly strategies?: unknown };
		if (
			!Array.isArray(strategies) ||
			strategies.some(
				(strategy: Partial<AnyStrategy> | null) => typeof strategy?.name !== "string" || typeof strategy.finish !== "function",
			)
		) {
			throw new RondoError("INVALID_ARGUMENT", `strategies: ${url} does not export an array named strategies`, {
				details: { field: "strategies", value: url },
			});
		}
		added.push(...(strategies as AnyStrategy[]));
	}
	return createRegistry([...builtInStrategies, ...added]);
}
