export { checkLayout, type Layout, layoutOf, MAX_ELEMENTS, type TensorSpec, tensorOf } from "./layout.js";
export { MAX_HEADER_BYTES, type Model, readSafetensors, safetensorsHeader, writeSafetensors } from "./safetensors.js";
