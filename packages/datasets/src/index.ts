export { type InMemoryExamples, inMemoryData } from "./data.js";
export { type DigitsSplit, loadDigits } from "./digits.js";
export { type IdxBytes, parseIdx, readIdx } from "./idx.js";
export { type LabelledImages, loadMnist, loadMnistLabels, type MnistSplit } from "./mnist.js";
export { partitionByKey, partitionDirichlet, partitionIid } from "./partition.js";
export { formatSummary, type PartitionSummary, summarize } from "./summary.js";
export { splitBySpeaker, tokenWindows } from "./text.js";
export { partitionByClassCount, partitionPowerLaw } from "./uneven.js";
