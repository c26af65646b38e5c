import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ReplayStep } from "@rondo/rounds";
import type { Api } from "../api.js";
import { AnswerIsNo } from "../failure.js";
import type { Output } from "../output.js";
import { openReplay } from "../replay.js";

/**
 * Recomputes a run here from what the coordinator serves (model, log, reports) and says where the two part.
 * @throws AnswerIsNo after the first difference; NOT_FOUND when reports were removed by retention
 */
export async function verifyRun(
	api: Api,
	id: string,
	options: { readonly strategies: readonly string[]; readonly out: Output; readonly stop: AbortSignal },
): Promise<void> {
	const { out, stop } = options;
	const folder = await mkdtemp(join(tmpdir(), "rondo-verify-"));
	const progress = out.progress();
	const steps: ReplayStep[] = [];
	try {
		const replay = await openReplay(api, id, { folder, strategies: options.strategies, stop });
		for await (const step of replay.steps()) {
			steps.push(step);
			out.emit({ event: "step", ...step }, () => stepLine(step));
			progress.update(step.commit, replay.commits, `replayed ${step.commit} of ${replay.commits} commits`);
		}
		progress.stop();
		const last = steps.at(-1);
		const model = last?.ok === true ? await replay.model() : undefined;
		const ok = last?.ok === true && model?.expected === model?.actual;
		out.emit(
			{ event: "result", ok, commits: replay.commits, model: model ?? null, first: last?.ok === true ? null : (last ?? null) },
			() => {
				if (last?.ok !== true)
					return `DIFFERENT: round ${last?.round} (commit ${last?.commit}) is the first that differs, in ${last?.what}`;
				if (!ok) return `DIFFERENT: the log replays, but the model's digest is ${model?.actual}, the coordinator serves ${model?.expected}`;
				return `OK: ${replay.commits} commits replayed to the recorded hashes${model === undefined ? "" : `, and to the model that the coordinator serves (${model.actual})`}`;
			},
		);
		if (!ok) throw new AnswerIsNo(`run ${id} does not verify`);
	} finally {
		progress.stop();
		await rm(folder, { recursive: true, force: true });
	}
}

function stepLine({ round, kind, expected, actual, ok }: ReplayStep): string {
	const name = kind === "genesis" ? "initial" : kind === "missing" ? "end of log" : `round ${round}${kind === "skip" ? " (skipped)" : ""}`;
	return `${name.padEnd(10)}  expected ${expected}  actual ${actual || "none"}  ${ok ? "same" : "DIFFERENT"}`;
}
