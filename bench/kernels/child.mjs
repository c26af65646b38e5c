// One measurement that needs a process of its own: the time to the first result, or the peak of memory.
const begunAtMs = performance.now();
const { task, size, K, threads } = JSON.parse(process.argv[2]);

async function start() {
	const { kernelState, perturb, perturbations, randomFromSeed } = await import("@rondo/kernels");
	const importedAtMs = performance.now();
	const weights = new Float32Array(1000);
	perturb(weights, 2 ** -10, perturbations(randomFromSeed("bench"), "noise/1"), 0, weights);
	const readyAtMs = performance.now();
	return { importMs: importedAtMs - begunAtMs, readyMs: readyAtMs - importedAtMs, moduleBytes: kernelState().moduleBytes };
}

async function rebuildAt() {
	const { allocateVector, configureKernels, perturbations, randomFromSeed, rebuild, stopKernels } = await import("@rondo/kernels");
	const { fillUniform, ledgerOf, SEED, UNIT } = await import("./data.mjs");
	const { kernelSampler, takeTurns, warmUp } = await import("./measure.mjs");
	const mebibytes = () => process.resourceUsage().maxRSS / 1024;
	await configureKernels({ threads });
	const before = mebibytes();
	const weights = fillUniform(allocateVector(Float32Array, size));
	const [ledger, z] = [ledgerOf(K), perturbations(randomFromSeed(SEED), "noise/2")];
	const kernel = kernelSampler(() => rebuild(weights, ledger, UNIT, z, weights));
	const [seconds] = await takeTurns([kernel], await warmUp(kernel));
	await stopKernels();
	const vectorMiB = (4 * size) / 2 ** 20;
	return { size, K, threads, seconds, gparamPerS: (size * K) / 1e9 / seconds, startMiB: before, vectorMiB, peakMiB: mebibytes() };
}

console.log(JSON.stringify(await (task === "start" ? start() : rebuildAt())));
