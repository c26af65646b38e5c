// Rates of counter-based generators, one thread: 64-bit wrapping sums keep the words from being optimised away.
#include "bench.h"

#define LANES 64

typedef struct {
	uint32_t words[4 * LANES];
	uint32_t total;
} generator_job;

// The rounds are a constant at each call, so the inner loop disappears.
static inline __attribute__((always_inline)) void philox_lanes(uint64_t block, int rounds, uint32_t *restrict words) {
	for (int i = 0; i < LANES; i++) {
		const uint64_t index = block + (uint64_t)i;
		uint64_t c0 = (uint32_t)index, c1 = index >> 32, c2 = 0x13198A2Eu, c3 = 0x03707344u;
		uint32_t k0 = 0xA4093822u, k1 = 0x299F31D0u;
#pragma GCC unroll 10
		for (int round = 0; round < rounds; round++) {
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

/** Rotations of the even and the odd rounds of Threefry4x32 (Salmon, Moraes, Dror, Shaw, SC'11, table 4), by round mod 8. */
static const int ROTATIONS[8][2] = {{10, 26}, {11, 21}, {13, 27}, {23, 5}, {6, 20}, {17, 11}, {25, 10}, {18, 20}};

static inline __attribute__((always_inline)) uint32_t rotated(uint32_t x, int by) { return x << by | x >> (32 - by); }

static inline __attribute__((always_inline)) void threefry_lanes(uint64_t block, int rounds, uint32_t *restrict words) {
	const uint32_t key[5] = {0xA4093822u, 0x299F31D0u, 0x082EFA98u, 0xEC4E6C89u,
	                         0x1BD11BDAu ^ 0xA4093822u ^ 0x299F31D0u ^ 0x082EFA98u ^ 0xEC4E6C89u};
	for (int i = 0; i < LANES; i++) {
		const uint64_t index = block + (uint64_t)i;
		uint32_t x0 = (uint32_t)index + key[0], x1 = (uint32_t)(index >> 32) + key[1], x2 = 0x13198A2Eu + key[2], x3 = 0x03707344u + key[3];
#pragma GCC unroll 20
		for (int round = 0; round < rounds; round++) {
			const int *by = ROTATIONS[round % 8];
			if (round % 2 == 0) {
				x0 += x1, x1 = rotated(x1, by[0]) ^ x0;
				x2 += x3, x3 = rotated(x3, by[1]) ^ x2;
			} else {
				x0 += x3, x3 = rotated(x3, by[0]) ^ x0;
				x2 += x1, x1 = rotated(x1, by[1]) ^ x2;
			}
			if (round % 4 != 3) continue;
			const uint32_t s = (uint32_t)round / 4 + 1;
			x0 += key[s % 5], x1 += key[(s + 1) % 5], x2 += key[(s + 2) % 5], x3 += key[(s + 3) % 5] + s;
		}
		words[4 * i] = x0;
		words[4 * i + 1] = x1;
		words[4 * i + 2] = x2;
		words[4 * i + 3] = x3;
	}
}

static void use(generator_job *job) {
	for (int i = 0; i < 4 * LANES; i++) job->total += job->words[i];
}
static void philox7_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	for (size_t b = from; b < to; b += LANES) philox_lanes(b, 7, ((generator_job *)job)->words), use(job);
}
static void philox10_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	for (size_t b = from; b < to; b += LANES) philox_lanes(b, 10, ((generator_job *)job)->words), use(job);
}
static void threefry12_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	for (size_t b = from; b < to; b += LANES) threefry_lanes(b, 12, ((generator_job *)job)->words), use(job);
}

// n is the number of blocks of 128 bits; the checksum is that of the four words of block 0, for known answers.
static void measure(const request *r, part work) {
	if (r->threads != 1) refuse("threads must be 1", r->name);
	generator_job job = {.total = 0};
	work(&job, 0, LANES, 0);
	const uint32_t checksum = checksum_of(job.words, 4);
	report(r, LANES, work, &job, &checksum);
}

void bench_philox7(const request *r) { measure(r, philox7_part); }
void bench_philox10(const request *r) { measure(r, philox10_part); }
void bench_threefry12(const request *r) { measure(r, threefry12_part); }
