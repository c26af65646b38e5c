// What the C side of the benchmark shares: one request, one measured job, one line of JSON.
#ifndef RONDO_BENCH_H
#define RONDO_BENCH_H

#include <stddef.h>
#include <stdint.h>

/** Key words of one stream: n0 and n1 are the Philox key, n2 and n3 the upper half of its counter (docs/shared-randomness.md §3). */
typedef struct {
	uint32_t n[4];
} stream_key;

/** One request, from the command line. */
typedef struct {
	const char *name;
	/** Elements of the vector. */
	size_t n;
	/** Candidates of a ledger, or vectors of a fold. */
	size_t K;
	int threads;
	/** Times that one sample does the work; seconds are per pass. */
	int passes;
	/** 0: as standard input asks. */
	int samples;
	/** One per candidate (noise/1) or per group of 4096 candidates (noise/2). */
	const stream_key *keys;
	size_t key_count;
} request;

/** Does the part [from, to) of the work; `thread` is the caller's number. Both bounds are multiples of the request's grain, or n. */
typedef void (*part)(void *job, size_t from, size_t to, int thread);

/** Fails with a message and exit status 2. */
void refuse(const char *message, const char *value);
void *allocate(size_t bytes);

/** Does the whole work once, on `threads` threads that each take one contiguous piece of whole grains. */
void run(const request *r, size_t grain, part work, void *job);
/** Does the work once, then prints its name, the checksum unless null, and the seconds that the request asks for. */
void report(const request *r, size_t grain, part work, void *job, const uint32_t *checksum);

/** FNV-1a over 32-bit words: what both sides compare. */
uint32_t checksum_of(const void *words, size_t count);
/** Uniform in [-0.5, 0.5), a multiple of 2^-24: exact in every language. */
float value_at(size_t j, uint32_t vector);
/** Sum of four uniforms, a multiple of 2^-22: about normal, few ties. */
float normal_at(size_t j);
/** Ledger entry of candidate k: from -50000 to 50000, small enough for an int32 sum of 2^15 of them. */
int32_t ledger_at(size_t k);

/** Philox4x32-10 blocks in one call of `philox_chunk`, and the signs that they make. */
#define CHUNK_BLOCKS 64
#define CHUNK_SIGNS (128 * CHUNK_BLOCKS)
/** The words of CHUNK_BLOCKS blocks from `block` on. */
void philox_chunk(const stream_key *key, uint64_t block, uint32_t *restrict words);

void bench_triad(const request *r);
void bench_update(const request *r);
void bench_fold(const request *r);
void bench_argsort(const request *r);
void bench_axpy(const request *r);
void bench_axpy_cached(const request *r);
void bench_rebuild_whole(const request *r);
void bench_rebuild_blocks(const request *r);
void bench_rebuild_exact(const request *r);
void bench_hadamard(const request *r);
void bench_structured(const request *r);
void bench_philox7(const request *r);
void bench_philox10(const request *r);
void bench_threefry12(const request *r);

#endif
