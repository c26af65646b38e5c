import type { KernelConfig, KernelFunc, TensorInfo } from "@tensorflow/tfjs";
import type { Tf } from "./runtime.js";

interface MatMulAttrs {
	transposeA: boolean;
	transposeB: boolean;
}

const replaced = new WeakSet<KernelFunc>();

/**
 * Makes the wasm backend transpose before it multiplies. Its kernel hands only untransposed products to XNNPACK and does
 * the others, which are all products of a backward pass, in a scalar loop: 784×32 · 32×64 takes 2.0 ms there and 0.5 ms
 * this way; a whole SGD step of the 784-64-10 classifier at batch 32 takes 2.7 ms of one core instead of 4.1
 * (`npx vitest bench --run packages/trainer-tfjs` times its gradient).
 */
export function transposeBeforeMatMul(tf: Tf): void {
	const matMul = tf.getKernel("BatchMatMul", "wasm");
	const transpose = tf.getKernel("Transpose", "wasm");
	if (matMul === undefined || transpose === undefined || replaced.has(matMul.kernelFunc)) return;

	const kernelFunc: KernelFunc = (params) => {
		const attrs = params.attrs as unknown as MatMulAttrs;
		const backend = params.backend as { disposeData(dataId: object): void };
		const made: TensorInfo[] = [];
		const straight = (x: TensorInfo, transposed: boolean): TensorInfo => {
			if (!transposed) return x;
			const perm = x.shape.map((_, i) => i);
			perm.push(...perm.splice(-2).reverse());
			const y = transpose.kernelFunc({ inputs: { x }, backend: params.backend, attrs: { perm } }) as TensorInfo;
			made.push(y);
			return y;
		};
		const inputs = { a: straight(params.inputs.a!, attrs.transposeA), b: straight(params.inputs.b!, attrs.transposeB) };
		const product = matMul.kernelFunc({ ...params, inputs, attrs: { transposeA: false, transposeB: false } });
		for (const { dataId } of made) backend.disposeData(dataId);
		return product;
	};
	const config: KernelConfig = { ...matMul, kernelFunc };
	replaced.add(kernelFunc);
	tf.unregisterKernel("BatchMatMul", "wasm");
	tf.registerKernel(config);
}
