import { builtInStrategies } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { Driver, type DriverPorts } from "../../src/driver/driver.js";
import { as, HASH, LAYOUT, NOW, startFake } from "./fake-services.js";

// Submission through the driver itself, up to the engine, which judges options.

const fake = await startFake({
	runs: (store) =>
		new Driver({
			store,
			strategies: builtInStrategies,
			engine: {
				resolve: async (strategy: string) => {
					throw new RondoError("UNKNOWN_OPTION", `the engine judges ${strategy}`);
				},
			},
		} as unknown as DriverPorts),
});
beforeEach(() => fake.reset());
afterAll(() => fake.close());

async function submit(manifest: unknown, strategy: string) {
	fake.world.models.push({ id: "m9", name: "net", weights: HASH(9), parameters: LAYOUT.length, layout: LAYOUT, manifest, createdAt: NOW });
	const payload = { model: "net", strategy, rounds: 1 };
	return (await fake.app.inject({ method: "POST", url: "/api/v1/runs", headers: as("admin"), payload })).json();
}

describe("a model that gives losses only", () => {
	const manifest = { format: "any", trainer: "loss", reason: 'no gradient is known for Det node "d"' };

	it.each(["fedavg", "fedprox"])("is refused for %s", async (strategy) => {
		expect(await submit(manifest, strategy)).toMatchObject({
			status: 400,
			code: "INVALID_ARGUMENT",
			field: "strategy",
			value: strategy,
			detail: `strategy ${strategy} needs gradients, and model net gives losses only: no gradient is known for Det node "d"; take a strategy that needs no more`,
		});
	});

	it.each([
		["fedkseed", manifest],
		["nobody-knows", manifest],
		["fedavg", { ...manifest, trainer: "gradient" }],
		["fedavg", { layers: [] }],
		["fedavg", null],
	])("is no obstacle for %s and %j", async (strategy, other) => {
		expect(await submit(other, strategy)).toMatchObject({ code: "UNKNOWN_OPTION", detail: `the engine judges ${strategy}` });
	});
});
