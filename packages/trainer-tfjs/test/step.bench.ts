// npx vitest bench --run packages/trainer-tfjs
import { randomFromSeed } from "@rondo/kernels";
import { createTfjsTrainer, denseClassifier } from "@rondo/trainer-tfjs";
import { bench, describe } from "vitest";

const batch = {
	size: 32,
	inputs: Float32Array.from({ length: 32 * 784 }, (_, i) => Math.abs(Math.sin(i))),
	labels: Int32Array.from({ length: 32 }, (_, i) => i % 10),
};

for (const backend of ["wasm", "cpu"] as const) {
	for (const hidden of [[64], []]) {
		const { architecture, layout, weights } = denseClassifier({ inputs: 784, hidden, classes: 10, random: randomFromSeed("bench") });
		const trainer = await createTfjsTrainer({ architecture, layout, backend });
		const out = new Float32Array(layout.length);
		describe(`${[784, ...hidden, 10].join("-")}, batch 32, ${backend}`, () => {
			bench("gradient", async () => {
				await trainer.gradient(weights, batch, out);
			});
			bench("loss", async () => {
				await trainer.loss(weights, batch);
			});
		});
	}
}
