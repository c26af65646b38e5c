import { activationRules } from "./activations.js";
import { convolutionRules } from "./convolution.js";
import { elementwiseRules } from "./elementwise.js";
import { indexingRules } from "./indexing.js";
import { linearRules } from "./linear.js";
import { lossRules } from "./losses.js";
import { normalizationRules } from "./normalization.js";
import { poolingRules } from "./pooling.js";
import { recurrentRules } from "./recurrent.js";
import { reductionRules } from "./reductions.js";
import { resizeRules } from "./resize.js";
import type { GradientRule } from "./rule.js";
import { shapeRules } from "./shape.js";

/** Every operator that has a gradient. */
export const gradientRules: ReadonlyMap<string, GradientRule> = new Map(
	Object.entries({
		...elementwiseRules,
		...activationRules,
		...linearRules,
		...reductionRules,
		...shapeRules,
		...indexingRules,
		...normalizationRules,
		...convolutionRules,
		...poolingRules,
		...recurrentRules,
		...resizeRules,
		...lossRules,
	}),
);

/** Operators whose results carry no derivative: what is computed from them alone needs none. */
export const CONSTANT_OPERATORS: ReadonlySet<string> = new Set([
	"ArgMax",
	"ArgMin",
	"Equal",
	"Greater",
	"GreaterOrEqual",
	"Less",
	"LessOrEqual",
	"And",
	"Or",
	"Xor",
	"Not",
	"IsNaN",
	"IsInf",
	"Shape",
	"Size",
	"NonZero",
	"OneHot",
	"Range",
	"ConstantOfShape",
	"EyeLike",
	"RandomUniform",
	"RandomNormal",
	"RandomUniformLike",
	"RandomNormalLike",
]);
