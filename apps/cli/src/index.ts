export { EXIT_CODES, exitCodeOf } from "./exit-codes.js";
export { runCli } from "./program.js";
