import { SingleBar } from "cli-progress";
import Table from "cli-table3";

/** A stream that a command writes to. */
export interface Sink {
	write(text: string): unknown;
	readonly isTTY?: boolean;
}

/** A bar that shows how far something is; does nothing where nobody looks. */
export interface Progress {
	update(done: number, total: number, text: string): void;
	stop(): void;
}

/** What a command says, as text for people or as JSON for programs. */
export class Output {
	readonly json: boolean;
	readonly #stdout: Sink;
	readonly #stderr: Sink;
	#bar: SingleBar | undefined;

	constructor(options: { readonly json: boolean; readonly stdout: Sink; readonly stderr: Sink }) {
		this.json = options.json;
		this.#stdout = options.stdout;
		this.#stderr = options.stderr;
	}

	/** The result of a command, or one event of a series: a JSON line, or text. */
	emit(record: unknown, text: () => string): void {
		this.#print(this.json ? JSON.stringify(record) : text());
	}

	/** A remark for people, which programs do not need. */
	say(text: string): void {
		if (!this.json) this.#print(text);
	}

	/** A line for people beside the result, on standard error. */
	aside(text: string): void {
		this.#clear();
		this.#stderr.write(`${text}\n`);
	}

	/** A progress bar on a terminal; lines that are printed meanwhile appear above it. */
	progress(): Progress {
		if (this.json || this.#stdout.isTTY !== true) return { update: () => undefined, stop: () => undefined };
		const bar = new SingleBar({
			format: "{bar} {text}",
			barsize: 24,
			hideCursor: true,
			clearOnComplete: true,
			stopOnComplete: false,
			stream: process.stdout,
		});
		let started = false;
		return {
			update: (done, total, text) => {
				if (!started) bar.start(total, done, { text });
				started = true;
				this.#bar = bar;
				bar.setTotal(Math.max(total, 1));
				bar.update(Math.min(done, total), { text });
			},
			stop: () => {
				if (started) bar.stop();
				this.#bar = undefined;
			},
		};
	}

	#print(text: string): void {
		this.#clear();
		this.#stdout.write(`${text}\n`);
		this.#bar?.render();
	}

	/** The line of the bar, which the next render draws again. */
	#clear(): void {
		if (this.#bar !== undefined) this.#stdout.write("\r\u001b[K");
	}
}

/** A table without frames: columns under a header. */
export function table(
	head: readonly string[],
	rows: readonly (readonly (string | number)[])[],
	options: { readonly right?: readonly number[] } = {},
): string {
	const none = Object.fromEntries(
		[
			"top",
			"top-mid",
			"top-left",
			"top-right",
			"bottom",
			"bottom-mid",
			"bottom-left",
			"bottom-right",
			"left",
			"left-mid",
			"mid",
			"mid-mid",
			"right",
			"right-mid",
		].map((part) => [part, ""]),
	);
	const view = new Table({
		head: [...head],
		chars: { ...none, middle: "  " },
		style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
		colAligns: head.map((_, i) => (options.right?.includes(i) ? "right" : "left")),
	});
	for (const row of rows) view.push(row.map(String));
	return view
		.toString()
		.split("\n")
		.map((line) => line.trimEnd())
		.join("\n");
}

/** Names and values, one a line. */
export function fields(pairs: Readonly<Record<string, unknown>>): string {
	const width = Math.max(...Object.keys(pairs).map((name) => name.length));
	return Object.entries(pairs)
		.map(
			([name, value]) =>
				`${name.padEnd(width)}  ${value === null || value === undefined ? "-" : typeof value === "object" ? JSON.stringify(value) : String(value)}`,
		)
		.join("\n");
}

/** A size in bytes for people: decimal units. */
export function size(bytes: number): string {
	const units = ["B", "kB", "MB", "GB", "TB"];
	let value = bytes;
	let unit = 0;
	for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
	return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}
