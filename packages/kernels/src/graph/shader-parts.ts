/** Philox4x32-10, blocks of a stream by 64-bit numbers, and π(r) of `noise/2`. */
export const PHILOX = /* wgsl */ `
fn multiply_high(c: u32, m: u32) -> u32 {
	let a = c & 0xffffu;
	let b = c >> 16u;
	let t = b * (m & 0xffffu) + ((a * (m & 0xffffu)) >> 16u);
	let u = a * (m >> 16u) + (t & 0xffffu);
	return b * (m >> 16u) + (t >> 16u) + (u >> 16u);
}

fn philox(low: u32, high: u32, key: vec4<u32>) -> vec4<u32> {
	var c = vec4<u32>(low, high, key.z, key.w);
	var k = key.xy;
	for (var round = 0u; round < 10u; round++) {
		c = vec4<u32>(
			multiply_high(c.z, 0xcd9e8d57u) ^ c.y ^ k.x,
			c.z * 0xcd9e8d57u,
			multiply_high(c.x, 0xd2511f53u) ^ c.w ^ k.y,
			c.x * 0xd2511f53u,
		);
		k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
	}
	return c;
}

// Philox block number (block · 2^shift + lane), block being a pair of words, the less significant first.
fn stream_block(block: vec2<u32>, shift: u32, lane: u32, key: vec4<u32>) -> vec4<u32> {
	return philox((block.x << shift) | lane, (block.y << shift) | (block.x >> (32u - shift)), key);
}

fn advance(block: vec2<u32>, by: u32) -> vec2<u32> {
	let low = block.x + by;
	return vec2<u32>(low, block.y + select(0u, 1u, low < by));
}

fn mixed(x: u32, word: u32) -> u32 {
	let y = (x * (2u * (word & 2047u) + 1u) + (word >> 11u)) & 4095u;
	return y ^ (y >> 6u);
}

// π(member) by the first six of eight words.
fn row_of(member: u32, a: vec4<u32>, b: vec4<u32>) -> u32 {
	return mixed(mixed(mixed(mixed(mixed(mixed(member, a.x), a.y), a.z), a.w), b.x), b.y);
}
`;

/** The uniform that all shaders read. */
export const JOB = /* wgsl */ `
struct Job {
	key: vec4<u32>,
	block: vec2<u32>,
	skip: u32,
	count: u32,
	scale: f32,
	member: u32,
	unit: vec2<u32>,
	unit_exponent: i32,
	groups: u32,
}
@group(0) @binding(0) var<uniform> job: Job;
`;

/**
 * float32(float64(w) − unit · S) in integers: WGSL has neither float64 nor a promise on rounding. A Number is a sign, an
 * exponent and 64 bits of which the highest is set, or none; what falls off at the lower end stays as a set bit 0.
 */
export const EXACT = /* wgsl */ `
struct Number { high: u32, low: u32, exponent: i32, negative: bool }

fn multiply(a: u32, b: u32) -> vec2<u32> {
	return vec2<u32>(a * b, multiply_high(a, b));
}

fn normalized(high: u32, low: u32, exponent: i32, negative: bool) -> Number {
	if (high != 0u) {
		let by = countLeadingZeros(high);
		let moved = select((high << by) | (low >> (32u - by)), high, by == 0u);
		return Number(moved, low << by, exponent - i32(by), negative);
	}
	let by = countLeadingZeros(low) & 31u;
	return Number(low << by, 0u, exponent - i32(32u + by), negative);
}

fn shifted_right(high: u32, low: u32, by: u32) -> vec2<u32> {
	if (by == 0u) { return vec2<u32>(low, high); }
	if (by < 32u) {
		return vec2<u32>((low >> by) | (high << (32u - by)) | select(0u, 1u, (low << (32u - by)) != 0u), high >> by);
	}
	if (by == 32u) { return vec2<u32>(high | select(0u, 1u, low != 0u), 0u); }
	if (by < 64u) {
		let lost = low != 0u || (high << (64u - by)) != 0u;
		return vec2<u32>((high >> (by - 32u)) | select(0u, 1u, lost), 0u);
	}
	return vec2<u32>(select(0u, 1u, (high | low) != 0u), 0u);
}

// To the 53 bits of float64, ties to even.
fn rounded(x: Number) -> Number {
	let rest = x.low & 0x7ffu;
	var low = x.low & 0xfffff800u;
	var high = x.high;
	if (rest > 0x400u || (rest == 0x400u && (low & 0x800u) != 0u)) {
		low += 0x800u;
		if (low == 0u) {
			high += 1u;
			if (high == 0u) { return Number(0x80000000u, 0u, x.exponent + 1, x.negative); }
		}
	}
	return Number(high, low, x.exponent, x.negative);
}

fn product(sum: vec2<u32>, unit: vec2<u32>, unit_exponent: i32) -> Number {
	let negative = (sum.y & 0x80000000u) != 0u;
	var low = sum.x;
	var high = sum.y;
	if (negative) {
		low = ~low + 1u;
		high = ~high + select(0u, 1u, low == 0u);
	}
	let a = multiply(low, unit.x);
	let b = multiply(low, unit.y);
	let c = multiply(high, unit.x);
	let d = multiply(high, unit.y);
	// Sum of the parts of weight 2^32, then 2^64: both factors are below 2^54, so nothing leaves 128 bits.
	var w1 = a.y + b.x;
	var carry = select(0u, 1u, w1 < b.x);
	w1 += c.x;
	carry += select(0u, 1u, w1 < c.x);
	var w2 = b.y + carry;
	var carry2 = select(0u, 1u, w2 < carry);
	w2 += c.y;
	carry2 += select(0u, 1u, w2 < c.y);
	w2 += d.x;
	carry2 += select(0u, 1u, w2 < d.x);
	let w3 = d.y + carry2;
	// 128 bits to 64, keeping a bit for what is lost.
	if (w3 == 0u && w2 == 0u) { return rounded(normalized(w1, a.x, unit_exponent, negative)); }
	let lost = select(0u, 1u, a.x != 0u);
	if (w3 == 0u) { return rounded(normalized_wide(w2, w1, a.x, unit_exponent + 32, negative)); }
	return rounded(normalized_wide(w3, w2, w1 | lost, unit_exponent + 64, negative));
}

// Of 96 bits, the highest word not zero; the exponent is that of the middle word's lowest bit.
fn normalized_wide(high: u32, middle: u32, low: u32, exponent: i32, negative: bool) -> Number {
	let by = countLeadingZeros(high);
	if (by == 0u) { return Number(high, middle | select(0u, 1u, low != 0u), exponent, negative); }
	let rest = select(0u, 1u, (low << by) != 0u);
	return Number((high << by) | (middle >> (32u - by)), (middle << by) | (low >> (32u - by)) | rest, exponent - i32(by), negative);
}

fn added(a: Number, b: Number) -> Number {
	var x = a;
	var y = b;
	if (y.exponent > x.exponent || (y.exponent == x.exponent && (y.high > x.high || (y.high == x.high && y.low > x.low)))) {
		x = b;
		y = a;
	}
	let part = shifted_right(y.high, y.low, min(u32(x.exponent - y.exponent), 64u));
	if (x.negative == y.negative) {
		let low = x.low + part.x;
		let carry = select(0u, 1u, low < part.x);
		let first = x.high + part.y;
		let high = first + carry;
		if (first < part.y || high < first) {
			let half = shifted_right(high, low, 1u);
			return rounded(Number(half.y | 0x80000000u, half.x, x.exponent + 1, x.negative));
		}
		return rounded(Number(high, low, x.exponent, x.negative));
	}
	let high = x.high - part.y - select(0u, 1u, x.low < part.x);
	return rounded(normalized(high, x.low - part.x, x.exponent, x.negative));
}

fn as_float32(x: Number) -> u32 {
	let sign = select(0u, 0x80000000u, x.negative);
	// The value is 1.… · 2^e; a denormal has fewer bits.
	let e = x.exponent + 63;
	if (e > 127) { return sign | 0x7f800000u; }
	let drop = 40u + u32(clamp(-126 - e, 0, 25));
	let cut = shifted_right(x.high, x.low, drop - 2u);
	// 24 bits or fewer, one bit to round by, one for everything below.
	var bits = cut.x >> 2u;
	if ((cut.x & 3u) == 3u || ((cut.x & 3u) == 2u && (bits & 1u) == 1u)) { bits += 1u; }
	// A carry out of the fraction goes into the exponent, as it should, also from the denormals and into infinity.
	if (e < -126) { return sign | bits; }
	return sign | (bits + (u32(e + 126) << 23u));
}

fn applied(w: u32, sum: vec2<u32>) -> u32 {
	let biased = (w >> 23u) & 255u;
	if (biased == 255u || (sum.x | sum.y) == 0u) { return w; }
	var step = product(sum, job.unit, job.unit_exponent);
	step.negative = !step.negative;
	if ((w & 0x7fffffffu) == 0u) { return as_float32(step); }
	let fraction = (w & 0x7fffffu) | select(0u, 0x800000u, biased != 0u);
	let start = normalized(fraction, 0u, i32(max(biased, 1u)) - 182, (w & 0x80000000u) != 0u);
	let result = added(start, step);
	if ((result.high | result.low) == 0u) { return 0u; }
	return as_float32(result);
}
`;
