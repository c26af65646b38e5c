import { ranking } from "../codecs/ranking.js";
import type { Codec } from "../contract.js";
import { updateCodecs } from "./codec-options.js";

/** Every codec that comes with Rondo. A file in `codecs/` that is missing here fails a test. */
export const builtInCodecs: readonly Codec[] = [...updateCodecs, ranking];
