// The part of the WebAssembly JavaScript interface that the runtime uses: the configured libraries of types have none.
declare namespace WebAssembly {
	class Module {
		constructor(bytes: Uint8Array);
	}
	class Memory {
		constructor(descriptor: { readonly initial: number; readonly maximum: number; readonly shared: boolean });
		readonly buffer: ArrayBuffer | SharedArrayBuffer;
		grow(pages: number): number;
	}
	class Instance {
		constructor(module: Module, imports: { readonly env: { readonly memory: Memory; readonly abort: () => never } });
		readonly exports: { readonly [name: string]: unknown };
	}
	function validate(bytes: Uint8Array): boolean;
}
