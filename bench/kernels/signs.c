// noise/1 of docs/shared-randomness.md: ±1 from Philox4x32-10, added to a vector as plain C does it best.
#include "bench.h"

#include <string.h>

/** Parameters of a block that stays in the second-level cache while all candidates pass over it. */
#define BLOCK 32768
#define CHUNK_WORDS (4 * CHUNK_BLOCKS)

// Four 64-bit variables of which only the lower halves count: so gcc 12 makes the products with one vector instruction
// and no shuffles (63 Gbit/s; 45 with a loop over arrays of 32-bit words per round, 33 with 32-bit variables; AVX-512).
void philox_chunk(const stream_key *key, uint64_t block, uint32_t *restrict words) {
	const uint64_t n2 = key->n[2], n3 = key->n[3];
	for (int i = 0; i < CHUNK_BLOCKS; i++) {
		const uint64_t index = block + (uint64_t)i;
		uint64_t c0 = (uint32_t)index, c1 = index >> 32, c2 = n2, c3 = n3;
		uint32_t k0 = key->n[0], k1 = key->n[1];
#pragma GCC unroll 10
		for (int round = 0; round < 10; round++) {
			const uint64_t p0 = 0xD2511F53ull * (uint32_t)c0, p1 = 0xCD9E8D57ull * (uint32_t)c2;
			c0 = p1 >> 32 ^ c1 ^ k0;
			c1 = (uint32_t)p1;
			c2 = p0 >> 32 ^ c3 ^ k1;
			c3 = (uint32_t)p0;
			k0 += 0x9E3779B9u;
			k1 += 0xBB67AE85u;
		}
		words[4 * i] = (uint32_t)c0;
		words[4 * i + 1] = (uint32_t)c1;
		words[4 * i + 2] = (uint32_t)c2;
		words[4 * i + 3] = (uint32_t)c3;
	}
}

// A select on one bit becomes a mask register or a blend: 18.5 Gparam/s in cache. Shifting the bit into the sign made
// 18.0, choosing between two sums 15.2, a table of two steps 2.2, a table of eight steps for each byte 2.8.
static void add_words(float *restrict w, const uint32_t *restrict words, size_t count, float scale) {
	const size_t whole = count / 32;
	for (size_t i = 0; i < whole; i++) {
		const uint32_t bits = words[i];
		float *at = w + 32 * i;
		for (int b = 0; b < 32; b++) at[b] += bits & 1u << b ? scale : -scale;
	}
	for (size_t j = 32 * whole; j < count; j++) w[j] += words[whole] >> j % 32 & 1 ? scale : -scale;
}

static void add_words_int(int32_t *restrict sum, const uint32_t *restrict words, size_t count, int32_t entry) {
	const size_t whole = count / 32;
	for (size_t i = 0; i < whole; i++) {
		const uint32_t bits = words[i];
		int32_t *at = sum + 32 * i;
		for (int b = 0; b < 32; b++) at[b] += bits & 1u << b ? entry : -entry;
	}
	for (size_t j = 32 * whole; j < count; j++) sum[j] += words[whole] >> j % 32 & 1 ? entry : -entry;
}

/** w[j] += scale·z[j] for j from `from`, a multiple of CHUNK_SIGNS, to `to`. */
static void axpy(float *w, const stream_key *key, float scale, size_t from, size_t to) {
	uint32_t words[CHUNK_WORDS];
	for (size_t at = from; at < to; at += CHUNK_SIGNS) {
		philox_chunk(key, at / 128, words);
		add_words(w + at, words, to - at < CHUNK_SIGNS ? to - at : CHUNK_SIGNS, scale);
	}
}

typedef struct {
	const request *r;
	float *w;
	const float *initial;
	int32_t *sum;
	float scale;
	float unit;
} signs_job;

static void axpy_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	const signs_job *j = job;
	axpy(j->w, &j->r->keys[0], j->scale, from, to);
}

static void need_keys(const request *r, size_t count) {
	if (r->key_count < count) refuse("too few keys", r->name);
}

static signs_job new_job(const request *r) {
	need_keys(r, r->K);
	float *w = allocate(r->n * sizeof(float)), *initial = allocate(r->n * sizeof(float));
	for (size_t j = 0; j < r->n; j++) w[j] = initial[j] = value_at(j, 0);
	return (signs_job){.r = r, .w = w, .initial = initial, .scale = 0x1p-10f, .unit = 0x1p-30f};
}

/** One candidate on the whole vector, in place. The checksum is that of one pass. */
void bench_axpy(const request *r) {
	signs_job job = new_job(r);
	run(r, CHUNK_SIGNS, axpy_part, &job);
	const uint32_t checksum = checksum_of(job.w, r->n);
	report(r, CHUNK_SIGNS, axpy_part, &job, &checksum);
}

static void candidates_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	const signs_job *j = job;
	for (size_t k = 0; k < j->r->K; k++) axpy(j->w, &j->r->keys[k], j->scale, from, to);
}

/** All candidates one after the other on vectors that stay in cache: one block per thread. */
void bench_axpy_cached(const request *r) {
	signs_job job = new_job(r);
	run(r, BLOCK, candidates_part, &job);
	const uint32_t checksum = checksum_of(job.w, r->n);
	report(r, BLOCK, candidates_part, &job, &checksum);
}

static void rebuild_float(const signs_job *j, size_t from, size_t to) {
	memcpy(j->w + from, j->initial + from, (to - from) * sizeof(float));
	for (size_t k = 0; k < j->r->K; k++) axpy(j->w, &j->r->keys[k], -j->unit * (float)ledger_at(k), from, to);
}

static void rebuild_whole_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	rebuild_float(job, from, to);
}

static void rebuild_blocks_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	for (size_t at = from; at < to; at += BLOCK) rebuild_float(job, at, to - at < BLOCK ? to : at + BLOCK);
}

static void rebuild_exact_part(void *job, size_t from, size_t to, int thread) {
	const signs_job *j = job;
	int32_t *sum = j->sum + (size_t)thread * BLOCK;
	uint32_t words[CHUNK_WORDS];
	for (size_t at = from; at < to; at += BLOCK) {
		const size_t count = to - at < BLOCK ? to - at : BLOCK;
		memset(sum, 0, count * sizeof(int32_t));
		for (size_t k = 0; k < j->r->K; k++) {
			for (size_t i = 0; i < count; i += CHUNK_SIGNS) {
				philox_chunk(&j->r->keys[k], (at + i) / 128, words);
				add_words_int(sum + i, words, count - i < CHUNK_SIGNS ? count - i : CHUNK_SIGNS, ledger_at(k));
			}
		}
		for (size_t i = 0; i < count; i++) j->w[at + i] = (float)((double)j->initial[at + i] - (double)j->unit * sum[i]);
	}
}

// Sums of float32 round at every candidate, so these two have no checksum to share with the exact kernels.
void bench_rebuild_whole(const request *r) {
	signs_job job = new_job(r);
	report(r, CHUNK_SIGNS, rebuild_whole_part, &job, NULL);
}

void bench_rebuild_blocks(const request *r) {
	signs_job job = new_job(r);
	report(r, BLOCK, rebuild_blocks_part, &job, NULL);
}

/** Integer sums, one rounding at the end: the bytes of the specification. */
void bench_rebuild_exact(const request *r) {
	signs_job job = new_job(r);
	job.sum = allocate((size_t)r->threads * BLOCK * sizeof(int32_t));
	run(r, BLOCK, rebuild_exact_part, &job);
	const uint32_t checksum = checksum_of(job.w, r->n);
	report(r, BLOCK, rebuild_exact_part, &job, &checksum);
}
