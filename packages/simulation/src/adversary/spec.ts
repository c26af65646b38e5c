import type { ClientId } from "@rondo/algorithms";
import { RondoError } from "@rondo/errors";
import { permutation, type Random } from "@rondo/kernels";

/**
 * One thing that a malicious client does. Plain data, so that experiments can name it; a client may do several, in order.
 *
 * Data: "label-flip" takes examples of class `from` for class `to`, or every class c for (c + shift) mod classes.
 * Work, on the lanes of a report, whatever they mean, always within the bounds that the coordinator enforces:
 * "sign-flip" sends −scale·x; "noise" x plus normal noise of scale times the root mean square of x, on "sum" lanes the
 * values of x shuffled; "reverse" the values of each "sum" lane in the opposite order (max − x where they are ranks).
 * "free-rider" does no work: zeros, normal noise of `stdDev` ("sum" lanes: shuffled values), or "replay", what the strategy
 * makes of weights that were not trained. "collude": all colluders of a cohort see each other's honest work and send one
 * report: the sum or mean of theirs, then reversed or times −scale; "opposite" is the former on "sum" lanes, the latter on
 * others, so that one attack goes with strategies of both sorts.
 */
export type AdversarySpec =
	| { readonly kind: "label-flip"; readonly from: number; readonly to: number }
	| { readonly kind: "label-flip"; readonly shift: number; readonly classes: number }
	| { readonly kind: "sign-flip"; readonly scale?: number }
	| { readonly kind: "noise"; readonly scale?: number }
	| { readonly kind: "reverse" }
	| { readonly kind: "free-rider"; readonly report: "zeros" | "replay" }
	| { readonly kind: "free-rider"; readonly report: "noise"; readonly stdDev: number }
	| {
			readonly kind: "collude";
			readonly combine: "sum" | "mean";
			readonly send: "reverse" | "sign-flip" | "opposite";
			readonly scale?: number;
	  };

/** Attacks that change a work; the rest change what it is made from. */
export type WorkSpec = Exclude<AdversarySpec, { readonly kind: "label-flip" } | { readonly report: "replay" }>;

/** Whether the attack changes the report of a client after its work is done. */
export const changesWork = (spec: AdversarySpec): spec is WorkSpec =>
	spec.kind !== "label-flip" && !(spec.kind === "free-rider" && spec.report === "replay");

/**
 * Checks numbers and order of the attacks of one client.
 * @param field names them in messages
 * @throws INVALID_ARGUMENT
 */
export function checkAdversary(field: string, specs: readonly AdversarySpec[]): void {
	for (const [i, spec] of specs.entries()) {
		const at = `${field}[${i}]`;
		switch (spec.kind) {
			case "label-flip":
				if ("shift" in spec) {
					integer(`${at}.classes`, spec.classes, 2);
					integer(`${at}.shift`, spec.shift, 1);
					if (spec.shift % spec.classes === 0) throw refuse(`${at}.shift`, `no multiple of classes (${spec.classes})`, spec.shift);
				} else {
					integer(`${at}.from`, spec.from, 0);
					integer(`${at}.to`, spec.to, 0);
					if (spec.from === spec.to) throw refuse(`${at}.to`, `another class than from (${spec.from})`, spec.to);
				}
				break;
			case "free-rider":
				if (spec.report === "noise") positive(`${at}.stdDev`, spec.stdDev);
				break;
			case "collude":
				if (i !== specs.length - 1) throw refuse(`${at}.kind`, "the last attack of its client", spec.kind);
				positive(`${at}.scale`, spec.scale ?? 1);
				break;
			case "sign-flip":
			case "noise":
				positive(`${at}.scale`, spec.scale ?? 1);
				break;
			case "reverse":
				break;
			default:
				throw refuse(`${at}.kind`, "an attack that is known", (spec satisfies never as AdversarySpec).kind);
		}
	}
}

/**
 * The clients of a group that attacks: `count` of them, or their share rounded, drawn from `random`.
 * @returns ids in the order of `clients`
 * @throws INVALID_ARGUMENT unless exactly one of count and share is there and in range
 */
export function chooseClients(
	clients: readonly ClientId[],
	group: { readonly count?: number; readonly share?: number },
	random: Random,
): ClientId[] {
	const { count, share } = group;
	if ((count === undefined) === (share === undefined))
		throw new RondoError("INVALID_ARGUMENT", "a group of clients has either a count or a share");
	if (share !== undefined && !(share >= 0 && share <= 1)) throw refuse("share", "from 0 to 1", share);
	const wanted = count ?? Math.round(share! * clients.length);
	if (!Number.isSafeInteger(wanted) || wanted < 0 || wanted > clients.length)
		throw refuse("count", `an integer from 0 to ${clients.length}`, wanted);
	return [...permutation(random, clients.length).subarray(0, wanted)].sort((a, b) => a - b).map((at) => clients[at]!);
}

function integer(field: string, value: number, least: number): void {
	if (!Number.isSafeInteger(value) || value < least) throw refuse(field, `an integer of at least ${least}`, value);
}

function positive(field: string, value: number): void {
	if (!(value > 0 && Number.isFinite(value))) throw refuse(field, "a positive number", value);
}

const refuse = (field: string, wanted: string, value: unknown): RondoError =>
	new RondoError("INVALID_ARGUMENT", `${field} must be ${wanted}, got ${String(value)}`, { details: { field, value } });
