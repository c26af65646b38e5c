/** Where an exact sum goes. Add: target[j] += sum, in float64. */
export const ADD: i32 = 0;
/** Apply: target[j] = weights[j] − unit·sum, rounded once to float32. */
export const APPLY: i32 = 1;

/** One sum into its place; `weights` and `unit` count with `APPLY` only. */
// @ts-ignore: decorator
@inline
export function settle(mode: i32, target: usize, weights: usize, unit: f64, j: i32, sum: f64): void {
	if (mode === ADD) {
		const at = target + 8 * <usize>j;
		store<f64>(at, load<f64>(at) + sum);
	} else store<f32>(target + 4 * <usize>j, <f32>(<f64>load<f32>(weights + 4 * <usize>j) - unit * sum));
}

/** Four sums, `two` those of j and j + 1, `more` those of j + 2 and j + 3. */
// @ts-ignore: decorator
@inline
export function settleFour(mode: i32, target: usize, weights: usize, unit: f64, j: i32, two: v128, more: v128): void {
	if (mode === ADD) {
		const at = target + 8 * <usize>j;
		v128.store(at, f64x2.add(v128.load(at), two));
		v128.store(at, f64x2.add(v128.load(at, 16), more), 16);
		return;
	}
	const w = v128.load(weights + 4 * <usize>j);
	const u = f64x2.splat(unit);
	const a = f32x4.demote_f64x2_zero(f64x2.sub(f64x2.promote_low_f32x4(w), f64x2.mul(u, two)));
	const upper = v128.shuffle<i32>(w, w, 2, 3, 2, 3);
	const b = f32x4.demote_f64x2_zero(f64x2.sub(f64x2.promote_low_f32x4(upper), f64x2.mul(u, more)));
	v128.store(target + 4 * <usize>j, v128.shuffle<i64>(a, b, 0, 2));
}
