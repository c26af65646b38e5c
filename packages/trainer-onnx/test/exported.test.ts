import { describe, test } from "vitest";
import { checkExported, exportedModels } from "./exported-models.js";

// Whole models as PyTorch's two exporters write them: loss and gradients against PyTorch in float64.

for (const [name, reference] of exportedModels) {
	describe(name, () => {
		test.each(Object.keys(reference.names))("%s", (file) => checkExported(name, file, { device: "cpu", threads: 1 }));
	});
}
