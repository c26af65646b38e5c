/** An equation of Einsum without ellipses: a letter for each axis of the operands, and of the result. */
export interface Equation {
	readonly terms: readonly string[];
	readonly result: string;
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** @param ranks numbers of axes of the operands */
export function parseEquation(given: string, ranks: readonly number[]): Equation {
	const equation = given.replaceAll(" ", "");
	const [left = "", right] = equation.split("->");
	// Without an arrow the result has the axes of the ellipsis and the letters that occur once, in alphabetical order.
	const once = [...new Set(left.replaceAll(/[,.]/g, ""))].filter((letter) => left.split(letter).length === 2).sort();
	// Letters that the equation does not use stand for the axes of an ellipsis, the last one first.
	const free = [...LETTERS].filter((letter) => !equation.includes(letter));
	const ellipsis = (rank: number): string => free.slice(0, rank).reverse().join("");
	const spread = left.split(",").map((term, i) => ranks[i]! - term.replace("...", "").length);
	const terms = left.split(",").map((term, i) => term.replace("...", ellipsis(spread[i]!)));
	const result = (right ?? `...${once.join("")}`).replace("...", ellipsis(Math.max(...spread)));
	return { terms, result };
}
