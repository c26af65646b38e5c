// What is done with signs: they are an index into a table.

/** Parameters of one tile of `ledgerIndependent`: the distance of its four lists of indices. */
export const TILE: usize = 2048;

/** sum += four entries of tables of 256 int64, 2,048 bytes apart; the indices lie `TILE` bytes apart. */
// @ts-ignore: decorator
@inline
function addSum(sum: usize, index: usize, tables: usize): void {
	const first = load<i64>(tables + ((<usize>load<u8>(index)) << 3));
	const second = load<i64>(tables + ((<usize>load<u8>(index, TILE)) << 3), 2048);
	const third = load<i64>(tables + ((<usize>load<u8>(index, 2 * TILE)) << 3), 4096);
	const fourth = load<i64>(tables + ((<usize>load<u8>(index, 3 * TILE)) << 3), 6144);
	store<i64>(sum, load<i64>(sum) + first + second + third + fourth);
}

/** The sums of four parameters. Four at a time, because a loop of WebAssembly checks the stack in every turn. */
// @ts-ignore: decorator
@inline
export function addFourSums(sums: usize, index: usize, tables: usize): void {
	addSum(sums, index, tables);
	addSum(sums + 8, index + 1, tables);
	addSum(sums + 16, index + 2, tables);
	addSum(sums + 24, index + 3, tables);
}

/**
 * y = x + step for the 32 parameters of a word of signs, four signs at a time an index into a table of 16 vectors of ±scale: faster
 * than making masks of them (4.0 against 5.6 Gparam/s), and than 256 pairs of vectors (4.7).
 */
// @ts-ignore: decorator
@inline
export function stepWord(y: usize, x: usize, bits: u32, table: usize): void {
	v128.store(y, f32x4.add(v128.load(x), v128.load(table + ((bits << 4) & 0xf0))));
	v128.store(y, f32x4.add(v128.load(x, 16), v128.load(table + (bits & 0xf0))), 16);
	v128.store(y, f32x4.add(v128.load(x, 32), v128.load(table + ((bits >>> 4) & 0xf0))), 32);
	v128.store(y, f32x4.add(v128.load(x, 48), v128.load(table + ((bits >>> 8) & 0xf0))), 48);
	v128.store(y, f32x4.add(v128.load(x, 64), v128.load(table + ((bits >>> 12) & 0xf0))), 64);
	v128.store(y, f32x4.add(v128.load(x, 80), v128.load(table + ((bits >>> 16) & 0xf0))), 80);
	v128.store(y, f32x4.add(v128.load(x, 96), v128.load(table + ((bits >>> 20) & 0xf0))), 96);
	v128.store(y, f32x4.add(v128.load(x, 112), v128.load(table + ((bits >>> 24) & 0xf0))), 112);
}

/** Four words of signs, 128 parameters. */
// @ts-ignore: decorator
@inline
export function stepFourWords(y: usize, x: usize, words: usize, table: usize): void {
	stepWord(y, x, load<u32>(words), table);
	stepWord(y + 128, x + 128, load<u32>(words, 4), table);
	stepWord(y + 256, x + 256, load<u32>(words, 8), table);
	stepWord(y + 384, x + 384, load<u32>(words, 12), table);
}
