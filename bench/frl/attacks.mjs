// Clients that collude: each round all of them train honestly, and those drawn send what `attack` makes of their honest work.
import { addRanks, argsort } from "@rondo/kernels";

/**
 * The strategy with some clients colluding.
 * @param colluders clients of the simulation
 * @param attack makes the lanes that all of them send from the honest lanes of all of them
 */
export function colluding(strategy, colluders, attack) {
	const ids = new Set(colluders.map(({ id }) => id));
	// One attempt per round: the key need not tell attempts apart.
	const made = new Map();
	const lanesOf = async (task, client) => {
		const works = [];
		for (const { id, data, trainer } of colluders)
			works.push(await strategy.train(task, { ...client, id, data, trainer, secret: client.secret.at(id) }));
		return attack(
			works.map(({ lanes }) => lanes),
			client.layout,
		);
	};
	return {
		...strategy,
		async train(task, client) {
			if (!ids.has(client.id)) return strategy.train(task, client);
			if (!made.has(client.round)) made.set(client.round, lanesOf(task, client));
			return { header: null, lanes: await made.get(client.round), numExamples: client.data.numExamples };
		},
	};
}

/** The reverse of the ranking that the colluders' own vote gives, tensor by tensor. */
export function reversedRanking(honest, layout) {
	const ranks = new Float64Array(honest[0].ranks.length);
	let from = 0;
	for (const tensor of layout.tensors.filter(({ shape }) => shape.length >= 2)) {
		const to = from + tensor.to - tensor.from;
		const votes = new Float64Array(to - from);
		for (const { ranks: ballot } of honest) for (let e = from; e < to; e++) votes[e - from] -= ballot[e];
		addRanks(ranks.subarray(from, to), argsort(votes));
		from = to;
	}
	return { ranks };
}

/** −lambda times the mean of the colluders' honest updates. */
export const reversedMean = (lambda) => (honest) => ({
	delta: honest[0].delta.map((_, j) => (-lambda * honest.reduce((sum, { delta }) => sum + delta[j], 0)) / honest.length),
});
