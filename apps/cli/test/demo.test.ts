import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isAlive, rondo, Workshop } from "./rondo.js";

interface Round {
	readonly round: number;
}
interface Processes {
	readonly processes: readonly { readonly name: string; readonly pid: number }[];
}
interface Summary {
	readonly model: { readonly digest: string };
	readonly rounds: readonly Round[];
}

const SMALL = [
	"--agents",
	"3",
	"--rounds",
	"4",
	"--train-examples",
	"600",
	"--test-examples",
	"200",
	"--model",
	"dense:784-10",
	"--seed",
	"7",
	"--trainer",
	"onnx",
	"--device",
	"cpu",
];

let workshop: Workshop;
const demo = (dir: string, ...args: string[]): string[] => ["demo", "--format", "json", "--dir", join(workshop.dir, dir), ...args];

beforeAll(async () => {
	workshop = await Workshop.open();
});
afterAll(() => workshop.close());

describe("rondo demo", () => {
	let uninterrupted: Summary;

	it("runs a federation of processes to the end and leaves none behind", { timeout: 180_000 }, async () => {
		const running = workshop.start(demo("whole", ...SMALL));
		const { processes } = await running.event<Processes>("processes");
		expect(processes.map(({ name }) => name)).toEqual(["coordinator", "agent-00", "agent-01", "agent-02", "evaluator"]);
		expect(await running.event<{ description: string }>("trainer")).toMatchObject({
			description: expect.stringMatching(/^onnxruntime [\d.]+ on cpu \(1 thread\)/),
		});
		uninterrupted = await running.event<Summary>("summary");
		expect((await running.ended).code).toBe(0);
		expect(uninterrupted.rounds.map(({ round }) => round)).toEqual([1, 2, 3, 4]);
		expect(processes.filter(({ pid }) => isAlive(pid))).toEqual([]);
	});

	it("goes on after Ctrl-C and ends with the model of an uninterrupted demo", { timeout: 240_000 }, async () => {
		const interrupted = workshop.start(demo("parts", ...SMALL));
		const { processes } = await interrupted.event<Processes>("processes");
		await interrupted.event<Round>("round", ({ round }) => round === 2);
		const { code, stderr } = await interrupted.signal("SIGINT");
		expect(code).toBe(130);
		expect(stderr).toContain("--resume");
		expect(processes.filter(({ pid }) => isAlive(pid))).toEqual([]);

		const resumed = workshop.start(demo("parts", "--resume"));
		const summary = await resumed.event<Summary>("summary");
		expect((await resumed.ended).code).toBe(0);
		expect(summary.rounds.map(({ round }) => round)).toEqual([1, 2, 3, 4]);
		expect(summary.model.digest).toBe(uninterrupted.model.digest);
	});

	it("says which process died and ends the others", { timeout: 120_000 }, async () => {
		const running = workshop.start(demo("death", ...SMALL));
		const { processes } = await running.event<Processes>("processes");
		process.kill(processes[2]!.pid, "SIGKILL");
		const { code, stderr } = await running.ended;
		expect(code).toBe(70);
		expect(stderr).toMatch(new RegExp(`agent-01 \\(process ${processes[2]!.pid}\\) ended with SIGKILL`));
		expect(processes.filter(({ pid }) => isAlive(pid))).toEqual([]);
	});

	it("refuses a folder that is in use, settings that differ, and nothing to resume", async () => {
		const used = await rondo(demo("whole"));
		expect([used.code, used.stderr]).toEqual([6, expect.stringContaining("--resume")]);
		expect((await rondo(demo("whole", "--resume", "--rounds", "5"))).code).toBe(6);
		expect((await rondo(demo("nothing", "--resume"))).code).toBe(5);
	});
});
