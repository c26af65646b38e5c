// Compiles packages/kernels/assembly to WebAssembly, as a module that holds it in base64: no file to find at run time.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import asc from "assemblyscript/asc";

const folder = "packages/kernels";
const binary = `${folder}/src/generated/kernels.wasm`;
const { error, stderr } = await asc.main([
	`${folder}/assembly/index.ts`,
	"-O3",
	"--noAssert",
	"--runtime",
	"stub",
	"--enable",
	"simd,threads",
	"--importMemory",
	"--sharedMemory",
	"--initialMemory",
	"1",
	"--maximumMemory",
	"65536",
	"-o",
	binary,
]);
if (error) {
	process.stderr.write(stderr.toString());
	throw error;
}
const bytes = readFileSync(binary);
rmSync(binary);
writeFileSync(
	`${folder}/src/generated/kernels-wasm.ts`,
	`// Made by tools/generate-kernels-wasm.mjs from packages/kernels/assembly: ${bytes.length} bytes of WebAssembly.\nexport const KERNELS_WASM =\n\t"${bytes.toString("base64")}";\n`,
);
