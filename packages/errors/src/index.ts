export { ERROR_CODES, type ErrorCode, type ErrorSpec } from "./registry.js";
export { RondoError, type RondoErrorOptions, isRondoError, toRondoError } from "./rondo-error.js";
