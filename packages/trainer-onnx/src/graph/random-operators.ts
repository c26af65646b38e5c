import { RondoError } from "@rondo/errors";
import { type Graph, type Node, nodeTitle } from "./ir.js";

const DRAWING = new Set(["RandomUniform", "RandomNormal", "RandomUniformLike", "RandomNormalLike", "Bernoulli", "Multinomial"]);

const draws = ({ op, domain }: Node): boolean => domain === "" && DRAWING.has(op);

/** Whether equal inputs may give other results the next time. */
export const isRandom = (node: Node): boolean => draws(node) || (node.domain === "" && node.op === "Dropout");

/**
 * A model has to compute the same for equal inputs: losses are compared, and reports repeated after a crash. Dropout is no
 * exception, because its nodes pass everything on outside of training.
 * @throws BAD_MODEL that names the node
 */
export function refuseRandom({ nodes }: Graph): void {
	const node = nodes.find(draws);
	if (node === undefined) return;
	throw new RondoError(
		"BAD_MODEL",
		`${nodeTitle(node)} draws random numbers at every run; export the model in evaluation mode (model.eval()), or without it`,
		{ details: { op: node.op } },
	);
}
