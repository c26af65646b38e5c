import { runCli } from "./program.js";

// The entry of the `rondo` command.

const stop = new AbortController();
const kill = new AbortController();

function interrupt(): void {
	if (!stop.signal.aborted) {
		stop.abort();
		return;
	}
	kill.abort();
	process.exit(130);
}

process.on("SIGINT", interrupt);
process.on("SIGTERM", interrupt);
// A parent with a channel to this process (the demo) wants no orphans, however it ends.
process.on("disconnect", () => {
	if (!stop.signal.aborted) interrupt();
});
// A reader that closes the pipe (`| head`) has seen enough.
process.stdout.on("error", () => process.exit(0));

process.exitCode = await runCli(process.argv.slice(2), {
	env: process.env,
	stdout: process.stdout,
	stderr: process.stderr,
	stop: stop.signal,
	kill: kill.signal,
	...(process.send === undefined ? {} : { tellParent: (message: object) => process.send?.(message) }),
});
// The channel would keep this process alive.
if (process.connected) process.disconnect();
