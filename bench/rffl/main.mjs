// Fairness and robustness of RFFL on the digits of UCI: `npm run bench:rffl [-- --seeds 1,2,3,4,5] [--only honest|attacks|weak]
// [--split "power law"]`, after a build. Ten clients, with adversaries twelve; the worst of the seeds is what counts. Ends with 1 where something is not as required.
import { parseArgs } from "node:util";
import { fairnessReport } from "@rondo/simulation";
import { ATTACKS } from "./adversaries.mjs";
import { federation, ROUNDS, SPLITS, WARMUP } from "./federation.mjs";

const { values } = parseArgs({
	options: { seeds: { type: "string", default: "1,2,3,4,5" }, only: { type: "string" }, split: { type: "string" } },
});
const seeds = values.seeds.split(",");
const splits = (names) => names.filter((name) => values.split === undefined || values.split === name);
const shows = (part) => values.only === undefined || values.only === part;
const startedMs = performance.now();
let failures = 0;
let runs = 0;

/** One federation per seed. */
async function each(scenario) {
	const results = [];
	for (const seed of seeds) {
		results.push(await federation({ seed, ...scenario }));
		runs += 1;
	}
	return results;
}
const mean = (numbers) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;
const three = (value) => value.toFixed(3);
const row = (...cells) => console.log(cells.map((cell, i) => (i === 0 ? String(cell).padEnd(20) : String(cell).padStart(10))).join(" "));
function require(holds) {
	if (!holds) failures += 1;
	return holds ? "" : "  MISS";
}
/** Honest clients that were removed, over all seeds. */
const honestRemoved = (results) => results.flatMap(({ removedIn, honest }) => honest.filter((id) => removedIn.has(id))).length;

if (shows("honest")) {
	console.log(
		`Ten honest clients, ${ROUNDS} rounds, ${seeds.length} seeds. Means over clients; r: Pearson's correlation of standalone and final accuracy.`,
	);
	row("split", "standalone", "final", "least gain", "max final", "worst r", "mean r", "r >= .9", "base", "removed", "kB/round");
	for (const split of splits(Object.keys(SPLITS))) {
		const results = await each({ split });
		const reports = results.map(({ alone, final }) => fairnessReport(alone, final));
		const of = (field) => reports.map((report) => report[field]);
		const removed = honestRemoved(results);
		const gain = Math.min(...reports.map(({ meanFinal, meanStandalone }) => meanFinal - meanStandalone));
		const worst = Math.min(...of("fairness"));
		row(
			split,
			three(Math.min(...of("meanStandalone"))),
			three(Math.min(...of("meanFinal"))),
			three(Math.min(...of("leastGain"))),
			three(Math.min(...of("maxFinal"))),
			three(worst),
			three(mean(of("fairness"))),
			`${of("fairness").filter((r) => r >= 0.9).length}/${seeds.length}`,
			three(Math.min(...results.map(({ base }) => base))),
			removed,
			`${(Math.max(...results.map(({ bytesDown }) => bytesDown)) / 1000).toFixed(1)}${require(gain >= 0 && (split !== "power law" || worst >= 0.9) && (split === "class imbalance" || removed === 0))}`,
		);
	}
}

/** The rounds in which adversaries were removed, and how many stayed. */
function verdict(results) {
	const rounds = results.flatMap(({ removedIn, hostile }) => hostile.map((id) => removedIn.get(id)));
	const removed = rounds.filter((round) => round !== undefined);
	return {
		last: removed.length === 0 ? Number.NaN : Math.max(...removed),
		first: Math.min(...removed),
		stayed: rounds.length - removed.length,
	};
}

if (shows("attacks")) {
	console.log(`\nTwo adversaries of twelve; judged from round ${WARMUP + 1} on.`);
	row("attack", "split", "removed in", "stayed", "honest out", "worst final");
	for (const split of splits(["uniform", "power law"])) {
		for (const [name, attack] of Object.entries(ATTACKS)) {
			const results = await each({ split, attack });
			const { first, last, stayed } = verdict(results);
			const removed = honestRemoved(results);
			const final = Math.min(...results.map((result) => mean([...result.final.values()])));
			row(
				name,
				split,
				first === last ? last : `${first}-${last}`,
				stayed,
				removed,
				`${three(final)}${require(stayed === 0 && last === WARMUP + 1 && removed === 0)}`,
			);
		}
	}
}

if (shows("weak")) {
	console.log("\nKnown weaknesses, which nothing is required of.");
	row("case", "split", "stayed", "honest out", "their rank", "rep./mean");
	for (const split of splits(["uniform", "power law"])) {
		const results = await each({ split, attack: "flipped labels" });
		const ranks = results.flatMap(({ reputations, hostile }) => {
			const order = [...reputations].sort(([, a], [, b]) => b - a).map(([id]) => id);
			return hostile.map((id) => order.indexOf(id) + 1);
		});
		const relative = results.flatMap(({ reputations, hostile }) => hostile.map((id) => reputations.get(id) * reputations.size));
		row(
			"labels 1 as 7",
			split,
			verdict(results).stayed,
			honestRemoved(results),
			`${Math.min(...ranks)}-${Math.max(...ranks)}`,
			three(mean(relative)),
		);
	}
	const results = await each({ split: "class imbalance" });
	const lost = new Map();
	for (const { removedIn } of results) for (const [id, round] of removedIn) lost.set(id, [...(lost.get(id) ?? []), round]);
	for (const [id, rounds] of [...lost].sort())
		console.log(
			`honest ${id} (of class imbalance) was removed with ${rounds.length} of ${seeds.length} seeds, in rounds ${rounds.join(", ")}`,
		);
	if (lost.size === 0) console.log("no honest client of class imbalance was removed");
}
console.log(`\n${runs} runs in ${((performance.now() - startedMs) / 1000).toFixed(0)} s`);
process.exit(failures === 0 ? 0 : 1);
