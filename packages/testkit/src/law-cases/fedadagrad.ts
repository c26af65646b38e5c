import { adaptiveCases } from "../adaptive-cases.js";

export const cases = adaptiveCases({ serverLearningRate: 0.3 });
