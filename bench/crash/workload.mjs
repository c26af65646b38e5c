// What the agents train: ½‖w − x‖², mean over the rows x of a batch. Its minimum is the mean of all rows. Pure
// arithmetic in a fixed order, so that a task that is trained again gives the same bytes.

const ROWS = 8;

/** Rows of agent `index`: a small integer hash, spread over [-1, 1]. */
function rowsOf(index, width) {
	return Float32Array.from({ length: ROWS * width }, (_, i) => {
		const hash = Math.imul((index + 1) * 0x9e37_79b1 + i, 0x85eb_ca6b) >>> 0;
		return (hash % 2001) / 1000 - 1;
	});
}

export function createData({ layout: { length } }, { index }) {
	const rows = rowsOf(index, length);
	const labels = new Int32Array(ROWS);
	return {
		numExamples: ROWS,
		*batches(size, order) {
			const word = new Uint32Array(1);
			for (let epoch = 0; ; epoch++) {
				// A rotation that the strategy's randomness draws: enough to notice a task that got other randomness.
				const first = order.at("epoch", epoch).words(0, word)[0] % ROWS;
				for (let from = 0; from < ROWS; from += size) {
					const count = Math.min(size, ROWS - from);
					const inputs = new Float32Array(count * length);
					for (let i = 0; i < count; i++) {
						const row = (first + from + i) % ROWS;
						inputs.set(rows.subarray(row * length, (row + 1) * length), i * length);
					}
					yield { size: count, inputs, labels: labels.subarray(0, count) };
				}
			}
		},
	};
}

export function createTrainer({ layout: { length } }) {
	const mean = (weights, { size, inputs }, out) => {
		out?.fill(0);
		let loss = 0;
		for (let row = 0; row < size; row++) {
			for (let j = 0; j < length; j++) {
				const error = weights[j] - inputs[row * length + j];
				if (out !== undefined) out[j] += error / size;
				loss += error ** 2 / 2;
			}
		}
		return loss / size / length;
	};
	return {
		description: "quadratic",
		loss: async (weights, batch) => mean(weights, batch),
		gradient: async (weights, batch, out) => mean(weights, batch, out),
		evaluate: async () => ({ loss: 0 }),
	};
}
