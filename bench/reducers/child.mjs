// One closed round of one reducer, in a process of its own so that its peak of memory is its own.
import { createRegistry, encodePlain, resolveConfig, vecOf } from "@rondo/algorithms";
import { openSyncIo, reportSource } from "@rondo/coordinator";
import { configureKernels } from "@rondo/kernels";
import { RunEngine } from "@rondo/rounds";
import { layoutOf } from "@rondo/tensors";

const { folder, length, digests, initial, options, threads } = JSON.parse(process.argv[2]);
await configureKernels({ threads });
const registry = createRegistry();
const strategy = registry.strategy("fedavg");
const layout = layoutOf([{ name: "w", shape: [length] }]);
const io = openSyncIo(folder);
const engine = new RunEngine({
	run: "bench",
	strategy,
	codec: registry.codec,
	reducer: registry.reducer,
	config: resolveConfig(strategy, options, layout),
	layout,
	initial: vecOf("f32", length, initial),
	publicSeed: "00".repeat(32),
	io,
	source: reportSource(folder, io),
});
const position = { state: engine.genesis().state, members: new Map(), round: 1, commit: 0, population: digests.length };
const plan = engine.plan(position);
const tasks = digests.map((_, i) => i.toString(16).padStart(64, "0"));
const reports = new Map(
	digests.map((digest, i) => [
		tasks[i],
		{ header: null, lanes: { delta: vecOf("u8", 4 * length, digest) }, numExamples: 100, metrics: {} },
	]),
);
/** Of this process, on whatever thread: waiting for a busy processor does not count. */
const cpuSeconds = () => {
	const { user, system } = process.cpuUsage();
	return (user + system) / 1e6;
};
const fold = engine.fold(plan);
const start = cpuSeconds();
for (const [task, report] of reports) fold.add(task, report);
const arrived = cpuSeconds();
const accepted = tasks.map((task, i) => ({
	task,
	client: `client-${String(i).padStart(3, "0")}`,
	numExamples: 100,
	staleness: 0,
	sequence: i,
	digest: "0".repeat(64),
}));
const { state, record } = engine.finish({
	position,
	plan,
	accepted,
	reports: (task) => reports.get(task),
	fold,
	previous: "p",
	attempt: 1,
	incarnation: 1,
});
const finished = cpuSeconds();
if (encodePlain(record.entry).length === 0) throw new Error("the round left no record");
process.stdout.write(
	JSON.stringify({
		arrival: arrived - start,
		finish: finished - arrived,
		peak: process.resourceUsage().maxRSS * 1024,
		model: state.model.sha256,
	}),
);
process.exit(0);
