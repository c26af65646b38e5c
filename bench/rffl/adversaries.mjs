import { norm } from "@rondo/kernels";

/** Data of a client that takes ones for sevens. */
export const flippedLabels = (labels) => labels.map((label) => (label === 1 ? 7 : label));

const scaledTo = (delta, most) => {
	const length = norm(delta);
	return length > most ? delta.map((value) => (value * most) / length) : delta;
};
const words = (client, count) => client.secret.at("adversary").words(0, new Uint32Array(count));

/** What adversaries report instead of the change that they trained. */
export const ATTACKS = {
	/** Noise in [−1, 1), at the largest norm that is allowed: no training at all. */
	"noise free riders": (delta, client) =>
		scaledTo(
			Float32Array.from(words(client, delta.length), (word) => word / 2 ** 31 - 1),
			client.config.gamma,
		),
	"sign flip": (delta) => delta.map((value) => -value),
	"random signs": (delta, client) => {
		const signs = words(client, delta.length);
		return delta.map((value, j) => (signs[j] % 2 === 0 ? value : -value));
	},
};

/** The strategy with these clients reporting something else than what they trained. */
export const attacked = (strategy, adversaries, attack) => ({
	...strategy,
	async train(task, client) {
		const work = await strategy.train(task, client);
		return adversaries.has(client.id) ? { ...work, lanes: { delta: attack(work.lanes.delta, client) } } : work;
	},
});
