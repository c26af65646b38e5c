import { defineConfig } from "vitest/config";

export default defineConfig({
	test: {
		include: [
			"packages/*/{src,test}/**/*.test.ts",
			"apps/*/{src,test}/**/*.test.ts",
			"bench/**/*.test.ts",
			"examples/**/*.test.ts",
			"tools/**/*.test.ts",
		],
		// Two cores: more workers than that only slow the spawned processes of the end-to-end tests.
		maxWorkers: 2,
		testTimeout: 60_000,
		hookTimeout: 60_000,
	},
});
