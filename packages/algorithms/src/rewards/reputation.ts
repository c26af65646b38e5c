import type { ClientId } from "../contract.js";

/** How reputations follow contributions. */
export interface ReputationOptions {
	/** α, share of the old reputation in the new one. */
	readonly alpha: number;
	/** The threshold β as a share of the mean reputation. */
	readonly thresholdFactor: number;
	/** Rounds in which nobody is judged. */
	readonly warmupRounds: number;
	/** Reports in a row with a reputation below β that it takes; those of the warm-up count. */
	readonly patience: number;
	/** What becomes of a client whose reputation stays below β. */
	readonly onBelowThreshold: "remove" | "probation";
}

/** Whether a client counts: removed for good, or on probation until its reputation recovers. */
export type Standing = "live" | "probation" | "removed";

/** Standings as scores, which are numbers. */
export const STANDING_SCORES: Readonly<Record<Standing, number>> = { live: 1, probation: 0.5, removed: 0 };

/** What is kept of a client between rounds. Reputations of live clients add up to 1. */
export type Reputed = {
	readonly reputation: number;
	readonly standing: Standing;
	/** Newest reports in a row that left the reputation below β. */
	readonly below: number;
	/** Why it is not live, else empty. */
	readonly reason: string;
};

/** A client that reported in the round, before and after it is judged. */
export interface Judged {
	readonly client: ClientId;
	/** Weight of its report, in examples. */
	readonly weight: number;
	readonly isNew: boolean;
	/** Weight in the round's sum; 0 on probation. */
	share: number;
	/** Contribution, 0 to 1; undefined when there was nothing to compare with. */
	phi: number | undefined;
	reputation: number;
	standing: Standing;
	below: number;
	reason: string;
}

const NEW: Reputed = { reputation: 0, standing: "live", below: 0, reason: "" };

/** A reporting client as it comes into the round. @param known what is kept of it; undefined: it is new */
export const judged = (client: ClientId, weight: number, known: Reputed | undefined): Judged => {
	const { reputation, standing, below, reason } = known ?? NEW;
	return { client, weight, isNew: known === undefined, share: 0, phi: undefined, reputation, standing, below, reason };
};

const live = (members: ReadonlyMap<ClientId, Reputed>): Reputed[] => [...members.values()].filter(({ standing }) => standing === "live");
const total = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0);

/**
 * Sets the shares of live reporters, which add up to 1: by examples while nobody has a reputation, by reputation then. New
 * clients get the mean of those that there are.
 * @param reporters in client-id order
 */
export function giveShares(reporters: readonly Judged[], members: ReadonlyMap<ClientId, Reputed>): void {
	const known = live(members);
	const mean = known.length === 0 ? 0 : total(known.map(({ reputation }) => reputation)) / known.length;
	const counting = reporters.filter(({ standing }) => standing === "live");
	for (const reporter of counting) if (reporter.isNew) reporter.reputation = mean;
	const byReputation = total(counting.map(({ reputation }) => reputation));
	const byExamples = total(counting.map(({ weight }) => weight));
	for (const reporter of counting) reporter.share = byReputation > 0 ? reporter.reputation / byReputation : reporter.weight / byExamples;
}

/**
 * r ← α·r + (1 − α)·φ for every reporter, scaled to the sum that the live ones of them had before; then who is below
 * β = thresholdFactor/|R| is removed or put on probation, and who is on probation and not below is live again.
 * @param reporters in client-id order, with shares and contributions
 * @returns the reputation of every client that is live now; those of the reporters are set
 */
export function updateReputations(
	reporters: readonly Judged[],
	members: ReadonlyMap<ClientId, Reputed>,
	round: number,
	options: ReputationOptions,
): Map<ClientId, number> {
	const { alpha, thresholdFactor, warmupRounds, patience, onBelowThreshold } = options;
	const counting = reporters.filter(({ standing }) => standing === "live");
	const mass = live(members).length === 0 ? 1 : total(counting.map(({ reputation }) => reputation));
	for (const reporter of reporters) {
		// Those without any reputation have none to share, and nobody's word that they deserve some.
		if (reporter.phi !== undefined && mass > 0) reporter.reputation = alpha * reporter.reputation + (1 - alpha) * reporter.phi;
	}
	const sum = total(counting.map(({ reputation }) => reputation));
	for (const reporter of reporters) {
		if (sum > 0) reporter.reputation *= mass / sum;
		else if (reporter.standing === "live") reporter.reputation = mass / counting.length;
	}

	const reputations = new Map<ClientId, number>();
	for (const [client, { standing, reputation }] of members) if (standing === "live") reputations.set(client, reputation);
	for (const { client, reputation } of counting) reputations.set(client, reputation);
	const rescale = (): void => {
		const all = total([...reputations.values()]);
		for (const [client, reputation] of reputations) reputations.set(client, reputation / all);
		for (const reporter of reporters) reporter.reputation /= all;
	};
	// New clients bring reputation with them. Otherwise the sum is what it was, and rows of absent clients stay as they are.
	if (counting.some(({ isNew }) => isNew)) rescale();
	const least = thresholdFactor / reputations.size;
	let changed = false;
	for (const reporter of reporters) {
		const { client, reputation, standing } = reporter;
		const isBelow = reputation < least;
		reporter.below = isBelow ? reporter.below + 1 : 0;
		const fails = standing === "live" && round > warmupRounds && reporter.below >= patience;
		const recovers = standing !== "live" && !isBelow;
		if (!fails && !recovers) continue;
		changed = true;
		reporter.standing = recovers ? "live" : onBelowThreshold === "remove" ? "removed" : "probation";
		reporter.reason = recovers ? "" : `round ${round}: reputation ${reputation.toFixed(6)} below ${least.toFixed(6)}`;
		if (recovers) reputations.set(client, reputation);
		else reputations.delete(client);
	}
	if (changed) rescale();
	for (const reporter of reporters) if (reporter.standing === "removed") reporter.reputation = 0;
	return reputations;
}

/** Clients by standing. */
export function standingsOf(members: ReadonlyMap<ClientId, Reputed>): Readonly<Record<Standing, number>> {
	const counts = { live: 0, probation: 0, removed: 0 };
	for (const { standing } of members.values()) counts[standing]++;
	return counts;
}
