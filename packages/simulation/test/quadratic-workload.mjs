// The clients of test/quadratic.ts, as a workload module of threads; `options.fail` names a client whose data cannot be made.

const loss = (weights, { size, inputs }) => inputs.reduce((sum, x, i) => sum + (x - weights[i % weights.length]) ** 2, 0) / 2 / size;

export const createTrainer = () => ({
	loss: async (weights, batch) => loss(weights, batch),
	async gradient(weights, batch, out) {
		for (let j = 0; j < out.length; j++) {
			let sum = 0;
			for (let i = 0; i < batch.size; i++) sum += weights[j] - batch.inputs[i * weights.length + j];
			out[j] = sum / batch.size;
		}
		return loss(weights, batch);
	},
	evaluate: () => Promise.reject(new Error("unused")),
});

export function createData(_model, options, client) {
	if (options?.fail === client) throw new Error(`no data for ${client}`);
	const i = Number(client.slice(1));
	const inputs = Float32Array.from(Array.from({ length: i + 1 }, (_row, r) => [i + r / 8, -i, 1]).flat());
	const batch = { size: i + 1, inputs, labels: new Int32Array(i + 1) };
	return {
		numExamples: i + 1,
		*batches() {
			for (;;) yield batch;
		},
	};
}
