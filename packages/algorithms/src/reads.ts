import type { Needs, Strategy, Types } from "./contract.js";

/** What `finish` reads with these options. */
export const readsOf = <T extends Types>(strategy: Strategy<T>, config: T["config"]): Needs["reads"] =>
	strategy.reads === undefined ? strategy.needs.reads : strategy.reads(config);
