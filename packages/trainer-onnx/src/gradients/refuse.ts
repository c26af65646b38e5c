import { RondoError } from "@rondo/errors";
import { nodeTitle } from "../graph/ir.js";
import type { Backward } from "./rule.js";

/** The error of a rule that knows its operator, but not this use of it. */
export const notDifferentiable = ({ node }: Pick<Backward, "node">, why: string): RondoError =>
	new RondoError("NOT_DIFFERENTIABLE", `${nodeTitle(node)}: ${why}`, { details: { op: node.op, node: node.name } });
