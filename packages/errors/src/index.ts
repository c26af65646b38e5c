export { ERROR_CODES, type ErrorCode, type ErrorSpec } from "./registry.js";
export { isRondoError, RondoError, type RondoErrorOptions, toRondoError } from "./rondo-error.js";
