/** Prints columns of text, aligned to the right. */
function printTable(head, rows) {
	const widths = head.map((name, column) => Math.max(name.length, ...rows.map((row) => row[column].length)));
	for (const row of [head, ...rows]) console.log(row.map((text, column) => text.padStart(widths[column])).join("  "));
	console.log("");
}

const signed = (value, digits) => `${value < 0 ? "" : "+"}${value.toFixed(digits)}`;
const verdictOf = (worse) => (worse === undefined ? "too few seeds" : worse ? "WORSE" : "");

function learningCells({ K, metric, independent, structured, gain, interval, halfway, worse }) {
	return [
		String(K),
		metric,
		independent.toFixed(4),
		structured.toFixed(4),
		signed(gain, 4),
		interval === undefined ? "" : `± ${interval.toFixed(4)}`,
		halfway.independent.toFixed(4),
		halfway.structured.toFixed(4),
		verdictOf(worse),
	];
}

function printLearning({ name, text, parameters, rounds, seeds, options, margins, rows }) {
	console.log(`${name}: ${text}; d = ${parameters}, ${rounds} rounds, ${seeds.length} seeds`);
	const settings = Object.entries(options).map(([option, value]) => `${option} ${value}`);
	const margin = Object.entries(margins).map(([metric, value]) => `${value} in ${metric}`);
	console.log(`${settings.join(", ")}; margin ${margin.join(", ")}`);
	const { round } = rows[0].halfway;
	printTable(
		["K", "metric", "noise/1", "noise/2", "gain", "95 %", `round ${round}: noise/1`, "noise/2", ""],
		rows.map((row) => learningCells(row)),
	);
}

const number = (value) => (value === 0 ? "0" : Math.abs(value) < 1e-10 ? "< 1e-10" : value.toPrecision(4));

function errorCells({ measured, expected, deviation, agrees }) {
	return [number(measured), number(expected), signed(deviation, 1), agrees ? "" : "OFF"];
}

/** Prints what `main.mjs` found. */
export function printReport({ quick, skipped, tasks, estimates, seconds }, rule) {
	if (quick) console.log("quick: too short for conclusions\n");
	if (skipped.length > 0) console.log(`MNIST is not installed; skipped: ${skipped.join(", ")}\n`);
	for (const task of tasks) printLearning(task);
	if (tasks.length > 0) {
		console.log("Means over seeds. gain: how much better noise/2 ends, mean over the seeds' differences, and its 95 % interval (Student).");
		console.log(`${rule}.\n`);
	}
	if (estimates.length > 0) {
		console.log(
			"estimator: relative mean squared error of (1/K) sum z_k z_k' g over all K members, means over nodes; off: distance from the formula in standard errors",
		);
		const columns = (kind) => [`${kind}: measured`, "formula", "off", ""];
		printTable(
			["d", "K", ...columns("noise/1"), ...columns("noise/2"), "noise/2 : noise/1"],
			estimates.map(({ d, K, independent, structured }) => [
				String(d),
				String(K),
				...errorCells(independent),
				...errorCells(structured),
				(structured.measured / independent.measured).toFixed(3),
			]),
		);
	}
	console.log(`${seconds.toFixed(0)} s`);
}
