// The production composition with a clock on its event loop.
import { monitorEventLoopDelay } from "node:perf_hooks";
import { loadConfig, startCoordinator } from "@rondo/coordinator";
import { watchLoop } from "./own-delay.mjs";

/** The histogram holds intervals between timers of this length, so an idle loop shows about this much. */
const RESOLUTION_MS = 1;
const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
const { flags } = JSON.parse(process.argv[2]);
const coordinator = await startCoordinator(loadConfig({ env: {}, flags }));
let stopWatching = () => ({});

process.on("message", ({ type }) => {
	if (type === "begin") {
		delays.reset();
		delays.enable();
		stopWatching = watchLoop();
	} else if (type === "end") {
		delays.disable();
		const ms = (nanoseconds) => nanoseconds / 1e6;
		process.send({
			type: "delays",
			maxMs: ms(delays.max),
			p99Ms: ms(delays.percentile(99)),
			...stopWatching(),
			peakRssMiB: process.resourceUsage().maxRSS / 1024,
		});
	}
});
process.once("SIGTERM", () => void coordinator.close().then(() => process.exit(0)));
process.once("disconnect", () => process.exit(1));
process.send({ type: "ready" });
