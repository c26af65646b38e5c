import type { Needs } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";

/**
 * Refuses a strategy that asks for gradients of a model whose manifest says that there are none: `trainer: "loss"`, with a
 * `reason`. A manifest that says nothing is not judged.
 * @throws INVALID_ARGUMENT that names the model, the strategy and the reason
 */
export function checkTrainer(
	model: { readonly name: string; readonly manifest: unknown },
	strategy: { readonly name: string; readonly needs: Needs },
): void {
	const { trainer, reason } = (typeof model.manifest === "object" && model.manifest !== null ? model.manifest : {}) as {
		readonly trainer?: unknown;
		readonly reason?: unknown;
	};
	if (trainer !== "loss" || strategy.needs.trainer !== "gradient") return;
	throw new RondoError(
		"INVALID_ARGUMENT",
		`strategy ${strategy.name} needs gradients, and model ${model.name} gives losses only${typeof reason === "string" ? `: ${reason}` : ""}; take a strategy that needs no more`,
		{ details: { field: "strategy", value: strategy.name } },
	);
}
