// noise/2 of docs/shared-randomness.md §4: a fast Walsh–Hadamard transform per block of 4096 parameters.
#include "bench.h"

#include <string.h>

#define B 4096
#define T_WORDS 128
#define Q_WORDS 256

/** Stages over bits 4 to 11 of the index, two at a time, in place: rows of sixteen neighbours are vectors. */
static void upper_stages(int32_t *restrict a) {
	for (int h = 16; h < B; h *= 4) {
		for (int at = 0; at < B; at += 4 * h) {
			int32_t *restrict p = a + at;
			for (int i = 0; i < h; i++) {
				const int32_t s0 = p[i] + p[i + h], d0 = p[i] - p[i + h];
				const int32_t s1 = p[i + 2 * h] + p[i + 3 * h], d1 = p[i + 2 * h] - p[i + 3 * h];
				p[i] = s0 + s1;
				p[i + h] = d0 + d1;
				p[i + 2 * h] = s0 - s1;
				p[i + 3 * h] = d0 - d1;
			}
		}
	}
}

// The stage of bit 0, which becomes bit 11 while all others move down by one: neighbours come apart as vectors,
// whereas butterflies of neighbours in place do not vectorise.
static void lowest_stage(const int32_t *restrict a, int32_t *restrict out) {
	for (int i = 0; i < B / 2; i++) {
		out[i] = a[2 * i] + a[2 * i + 1];
		out[i + B / 2] = a[2 * i] - a[2 * i + 1];
	}
}

/** Where the coefficient of row x has to stand, so that four stages of bit 0 leave the result in natural order. */
static inline uint16_t place_of(uint16_t x) { return (uint16_t)((x << 4 | x >> 8) & (B - 1)); }

/** a becomes H·a, for an `a` whose row x is at place_of(x); `other` is scratch. */
static void transform(int32_t *restrict a, int32_t *restrict other) {
	upper_stages(a);
	lowest_stage(a, other);
	lowest_stage(other, a);
	lowest_stage(a, other);
	lowest_stage(other, a);
}

static void hadamard_part(void *job, size_t from, size_t to, int thread) {
	int32_t *blocks = job;
	int32_t other[B];
	(void)thread;
	for (size_t b = from; b < to; b += B) {
		int32_t *a = blocks + b % (16 * B);
		transform(a, other);
		// A transform multiplies by 64 in the mean square.
		for (int i = 0; i < B; i++) a[i] >>= 6;
	}
}

/** Transforms alone, of blocks that stay in cache: the part of noise/2 that no implementation can do without. */
void bench_hadamard(const request *r) {
	int32_t *blocks = allocate(16 * B * sizeof(int32_t));
	for (size_t i = 0; i < 16 * B; i++) blocks[i] = ledger_at(i);
	report(r, B, hadamard_part, blocks, NULL);
}

typedef struct {
	const request *r;
	float *w;
	const float *initial;
	int32_t *ledger;
	double unit;
} structured_job;

/** Steps of π, a word each. */
#define ROUNDS 6

/** place_of(π(r)) for all r. */
static void places_of(const uint32_t q[ROUNDS], uint16_t *restrict places) {
	uint16_t multiplier[ROUNDS], addend[ROUNDS];
	for (int round = 0; round < ROUNDS; round++) {
		multiplier[round] = (uint16_t)(2 * (q[round] % 2048) + 1);
		addend[round] = (uint16_t)(q[round] >> 11 & (B - 1));
	}
	for (int r = 0; r < B; r++) {
		uint16_t x = (uint16_t)r;
		for (int round = 0; round < ROUNDS; round++) {
			x = (uint16_t)((uint16_t)(x * multiplier[round] + addend[round]) & (B - 1));
			x = (uint16_t)(x ^ x >> 6);
		}
		places[r] = place_of(x);
	}
}

static void structured_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	const structured_job *j = job;
	const size_t groups = (j->r->K + B - 1) / B;
	int32_t a[B], other[B], sum[B], signed_entries[B];
	uint16_t places[B];
	uint32_t words[2][4 * CHUNK_BLOCKS];
	for (size_t at = from; at < to; at += B) {
		const size_t count = to - at < B ? to - at : B;
		memset(sum, 0, sizeof sum);
		for (size_t g = 0; g < groups; g++) {
			const size_t members = j->r->K - g * B < B ? j->r->K - g * B : B;
			const int32_t *entries = j->ledger + g * B;
			philox_chunk(&j->r->keys[g], at / B * 128, words[0]);
			philox_chunk(&j->r->keys[g], at / B * 128 + Q_WORDS / 4, words[1]);
			const uint32_t *s = words[0], *t = words[0] + T_WORDS;
			places_of(words[1], places);
			for (int i = 0; i < B / 32; i++) {
				const uint32_t bits = t[i];
				for (int b = 0; b < 32; b++) signed_entries[32 * i + b] = bits & 1u << b ? -entries[32 * i + b] : entries[32 * i + b];
			}
			memset(a, 0, sizeof a);
			for (size_t m = 0; m < members; m++) a[places[m]] = signed_entries[m];
			transform(a, other);
			for (int i = 0; i < B / 32; i++) {
				const uint32_t bits = s[i];
				for (int b = 0; b < 32; b++) sum[32 * i + b] += bits & 1u << b ? a[32 * i + b] : -a[32 * i + b];
			}
		}
		for (size_t i = 0; i < count; i++) j->w[at + i] = (float)((double)j->initial[at + i] - j->unit * sum[i]);
	}
}

/** Rebuild from a ledger of K entries, in whole groups' streams: the bytes of the specification while sums fit into int32. */
void bench_structured(const request *r) {
	const size_t groups = (r->K + B - 1) / B;
	if (r->key_count < groups) refuse("too few keys", r->name);
	structured_job job = {.r = r, .w = allocate(r->n * sizeof(float)), .ledger = allocate(groups * B * sizeof(int32_t)), .unit = 0x1p-30};
	float *initial = allocate(r->n * sizeof(float));
	for (size_t j = 0; j < r->n; j++) initial[j] = value_at(j, 0);
	memset(job.ledger, 0, groups * B * sizeof(int32_t));
	for (size_t k = 0; k < r->K; k++) job.ledger[k] = ledger_at(k);
	job.initial = initial;
	run(r, B, structured_part, &job);
	const uint32_t checksum = checksum_of(job.w, r->n);
	report(r, B, structured_part, &job, &checksum);
}
