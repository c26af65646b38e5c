/** Prints columns of text; the first two are aligned to the left. */
function printTable(head, rows) {
	const cells = [head, ...rows].map((row) => row.map(String));
	const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column].length)));
	for (const row of cells) {
		console.log(row.map((text, column) => (column < 2 ? text.padEnd(widths[column]) : text.padStart(widths[column]))).join("  "));
	}
	console.log("");
}

const fixed = (value, digits) => (value === undefined ? "" : value.toFixed(digits));
const verdict = (passed) => (passed === undefined ? "" : passed ? "pass" : "MISS");

function printLimits({ bandwidth, generators, transformMicroseconds }) {
	printTable(
		["bandwidth", "", "threads", "triad GB/s", "in place GB/s"],
		bandwidth.map(({ by, threads, triadGbPerS, updateGbPerS }) => [by, "", threads, fixed(triadGbPerS, 1), fixed(updateGbPerS, 1)]),
	);
	if (generators.length === 0) return;
	printTable(
		["C, 1 thread", "", "rate"],
		[
			...generators.map(({ name, gbitPerS }) => [name, "", `${fixed(gbitPerS, 1)} Gbit/s`]),
			["transform of 4096 int32", "", `${fixed(transformMicroseconds, 2)} us`],
		],
	);
}

function kernelCells(kernel) {
	const { name, kind, size, K, threads, seconds, gparamPerS, gbPerS, denominator, ratio, ofTriad, withoutC, target, passed } = kernel;
	return [
		name,
		kind,
		size,
		K,
		threads,
		fixed(seconds * 1000, 3),
		fixed(gparamPerS, gparamPerS < 100 ? 2 : 0),
		fixed(gbPerS, 1),
		denominator === undefined ? (withoutC ?? "") : fixed(denominator.gparamPerS, denominator.gparamPerS < 100 ? 2 : 0),
		fixed(ratio, 2),
		ofTriad === undefined ? "" : fixed(ofTriad, 2),
		target ?? "",
		verdict(passed),
	];
}

/** Prints what `main.mjs` measured. */
export function printTables({ machine, limits, kernels, start, sizes, checks }) {
	console.log(Object.values(machine).join("; "));
	console.log("");
	if (limits !== undefined) printLimits(limits);
	printTable(
		["kernel", "kind", "size", "K", "threads", "ms", "G/s", "GB/s", "C G/s", "x C", "x triad", "target", ""],
		kernels.map((kernel) => kernelCells(kernel)),
	);
	console.log("G/s: parameters, or candidates times parameters, in thousand millions per second.\n");
	if (sizes !== undefined) {
		printTable(
			["rebuild in a process of its own", "", "size", "K", "threads", "ms", "G/s", "vector MiB", "peak MiB", "of it at start"],
			sizes.map(({ size, K, threads, seconds, gparamPerS, vectorMiB, peakMiB, startMiB }) => [
				"noise/2",
				"",
				size,
				K,
				threads,
				fixed(seconds * 1000, 1),
				fixed(gparamPerS, 0),
				fixed(vectorMiB, 0),
				fixed(peakMiB, 0),
				fixed(startMiB, 0),
			]),
		);
	}
	if (start !== undefined) {
		const measured = [`${fixed(start.readyMs, 1)} ms`, `${start.moduleBytes} bytes`];
		printTable(
			["start", "", "measured", "target", ""],
			[
				["import of @rondo/kernels", "", `${fixed(start.importMs, 1)} ms`, "", ""],
				...start.targets.map(({ name, target, passed }, i) => [name, "", measured[i], target, verdict(passed)]),
			],
		);
	}
	const same = checks.filter(({ c, kernels: ours }) => c === ours).length;
	console.log(`${same} of ${checks.length} results have the bytes of the C program.`);
}
