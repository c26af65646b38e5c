import { RondoError } from "@rondo/errors";

/** One named tensor inside a flat parameter vector, row-major. */
export interface TensorSpec {
	/** Printable ASCII, 1 to 512 characters, unique in its layout. */
	readonly name: string;
	/** Sizes of the dimensions; empty for a scalar. */
	readonly shape: readonly number[];
	/** First element, and the one after the last. */
	readonly from: number;
	readonly to: number;
}

/** How the tensors of a model lie in one flat vector: one after the other, without gaps. */
export interface Layout {
	/** Number of elements. */
	readonly length: number;
	readonly tensors: readonly TensorSpec[];
}

/** Most elements of one layout. */
export const MAX_ELEMENTS = 2 ** 31;

const MAX_NAME_LENGTH = 512;
const MAX_RANK = 32;

/**
 * Lays tensors out one after the other, in the given order.
 * @throws INVALID_ARGUMENT for a name or shape that a layout cannot have, or more than 2^31 elements
 */
export function layoutOf(tensors: readonly { readonly name: string; readonly shape: readonly number[] }[]): Layout {
	let length = 0;
	const names = new Set<string>();
	const specs = tensors.map(({ name, shape }, i): TensorSpec => {
		checkName(name, `tensors[${i}].name`, names);
		const from = length;
		length += elementsOf(shape, `shape of tensor ${JSON.stringify(name)}`);
		if (length > MAX_ELEMENTS)
			throw new RondoError("INVALID_ARGUMENT", `tensor ${JSON.stringify(name)} ends at element ${length}, beyond 2^31`);
		return { name, shape: [...shape], from, to: length };
	});
	return { length, tensors: specs };
}

/**
 * A copy of `value` once it is known to be a layout.
 * @throws INVALID_ARGUMENT that names the first field that is not as it must be
 */
export function checkLayout(value: unknown): Layout {
	const given = objectAt(value, "layout");
	if (!Array.isArray(given.tensors))
		throw new RondoError("INVALID_ARGUMENT", `layout.tensors must be an array, got ${show(given.tensors)}`);
	const wanted = given.tensors.map((tensor: unknown, i) => {
		const { name, shape, from, to } = objectAt(tensor, `layout.tensors[${i}]`);
		return { name: name as string, shape: shape as number[], from, to };
	});
	const layout = layoutOf(wanted);
	for (const [i, spec] of layout.tensors.entries()) {
		for (const end of ["from", "to"] as const) {
			if (wanted[i]![end] !== spec[end]) {
				throw new RondoError(
					"INVALID_ARGUMENT",
					`layout.tensors[${i}].${end} (${JSON.stringify(spec.name)}) must be ${spec[end]}, got ${show(wanted[i]![end])}`,
				);
			}
		}
	}
	if (given.length !== layout.length)
		throw new RondoError("INVALID_ARGUMENT", `layout.length must be ${layout.length}, got ${show(given.length)}`);
	return layout;
}

/**
 * The elements of one tensor, as a view into `flat`.
 * @throws NOT_FOUND for an unknown name, SHAPE_MISMATCH when `flat` has not the layout's length
 */
export function tensorOf(layout: Layout, name: string, flat: Float32Array): Float32Array {
	if (flat.length !== layout.length)
		throw new RondoError("SHAPE_MISMATCH", `flat has ${flat.length} elements, its layout ${layout.length}`);
	const spec = layout.tensors.find((tensor) => tensor.name === name);
	if (spec === undefined) throw new RondoError("NOT_FOUND", `the layout has no tensor ${JSON.stringify(name)}`);
	return flat.subarray(spec.from, spec.to);
}

function checkName(name: unknown, field: string, names: Set<string>): void {
	if (typeof name !== "string" || name.length > MAX_NAME_LENGTH || !/^[\x20-\x7e]+$/.test(name)) {
		throw new RondoError("INVALID_ARGUMENT", `${field} must be 1 to ${MAX_NAME_LENGTH} printable ASCII characters, got ${show(name)}`);
	}
	if (names.has(name)) throw new RondoError("INVALID_ARGUMENT", `${field} ${JSON.stringify(name)} occurs twice`);
	names.add(name);
}

/**
 * Number of elements of a shape.
 * @throws INVALID_ARGUMENT that names `field` for anything but a shape of at most 2^31 elements
 */
function elementsOf(shape: unknown, field: string): number {
	if (!Array.isArray(shape) || shape.length > MAX_RANK)
		throw new RondoError("INVALID_ARGUMENT", `${field} must be an array of at most ${MAX_RANK} sizes, got ${show(shape)}`);
	let elements = 1;
	for (const size of shape as unknown[]) {
		if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0)
			throw new RondoError("INVALID_ARGUMENT", `${field} must hold non-negative integers, got ${show(size)}`);
		elements *= size;
	}
	// Sizes are at most 2^53, so the product is at worst infinite, or NaN where an infinity met a zero.
	if (!(elements <= MAX_ELEMENTS)) throw new RondoError("INVALID_ARGUMENT", `${field} is of ${elements} elements, beyond 2^31`);
	return elements;
}

function objectAt(value: unknown, field: string): Record<string, unknown> {
	if (typeof value !== "object" || value === null || Array.isArray(value))
		throw new RondoError("INVALID_ARGUMENT", `${field} must be an object, got ${show(value)}`);
	return value as Record<string, unknown>;
}

/** A value for a message: short, whatever it is. */
function show(value: unknown): string {
	if (typeof value === "string") return JSON.stringify(value.slice(0, 80));
	if (typeof value === "object" && value !== null) return Array.isArray(value) ? `an array of ${value.length}` : "an object";
	return String(value);
}
