import type { AnyStrategy } from "@rondo/algorithms";

export const PARAMETERS: number;
/** Softmax regression on the digits over ten clients by Dirichlet(0.5); accuracy on the test images, and bytes. */
export function digits(
	strategy: AnyStrategy,
	options: { readonly seed: number; readonly rounds: number; readonly options: object },
): Promise<{ readonly accuracy: number; readonly bytesUp: number; readonly bytesDown: number }>;
