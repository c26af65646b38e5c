import { adaptiveCases } from "../adaptive-cases.js";

export const cases = adaptiveCases({ serverLearningRate: 0.15, beta1: 0.5, beta2: 0.9 }, { beta2: 0.999999 });
