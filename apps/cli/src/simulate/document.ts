import { RondoError } from "@rondo/errors";
import { type Document, isNode, LineCounter, parseDocument } from "yaml";

/** Where in a document something stands: keys and indices from its root. */
export type Path = readonly (string | number)[];

/** A YAML file whose refusals say on which line the fault is. */
export class ExperimentDocument {
	readonly #name: string;
	readonly #document: Document;
	readonly #lines: LineCounter;

	/** @param name the file as messages name it. @throws INVALID_ARGUMENT for what is not YAML, with the line */
	constructor(name: string, text: string) {
		this.#name = name;
		this.#lines = new LineCounter();
		this.#document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false, uniqueKeys: true });
		const [error] = this.#document.errors;
		if (error !== undefined)
			throw new RondoError("INVALID_ARGUMENT", `${name}:${this.#lines.linePos(error.pos[0]).line}: is not YAML: ${error.message}`, {
				cause: error,
			});
	}

	/** The content as plain data. */
	data(): unknown {
		return this.#document.toJS({ maxAliasCount: 100 });
	}

	/** A refusal of what stands at `path`, or of the closest thing around it that there is. */
	refusal(path: Path, problem: string, code: "INVALID_ARGUMENT" | "UNKNOWN_OPTION" = "INVALID_ARGUMENT"): RondoError {
		const field = nameOf(path);
		return new RondoError(code, `${this.#name}:${this.#lineOf(path)}: ${field === "" ? "the experiment" : field} ${problem}`, {
			details: { field },
		});
	}

	/** The same for an error that says itself what is wrong. */
	located(path: Path, error: RondoError): RondoError {
		return new RondoError(error.code, `${this.#name}:${this.#lineOf(path)}: ${error.message}`, { details: error.details, cause: error });
	}

	#lineOf(path: Path): number {
		for (let length = path.length; length > 0; length--) {
			const node: unknown = this.#document.getIn(path.slice(0, length), true);
			if (isNode(node) && node.range !== undefined && node.range !== null) return this.#lines.linePos(node.range[0]).line;
		}
		// Fields that only the grid sets.
		const [field] = path;
		const { grid } = (this.data() ?? {}) as { readonly grid?: object };
		const varied = Object.keys(grid ?? {}).find((name) => name.split(".")[0] === field);
		return varied === undefined ? 1 : this.#lineOf(["grid", varied]);
	}
}

/** A path as messages and grids write it: `strategies[0].options.learningRate`. */
export const nameOf = (path: Path): string =>
	path.map((key, i) => (typeof key === "number" ? `[${key}]` : i === 0 ? key : `.${key}`)).join("");
