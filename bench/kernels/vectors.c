// What streams through memory: the limits (triad, update), the exact grid sum, and a radix argsort.
#include "bench.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRAIN 4096

typedef struct {
	double *restrict a;
	const double *restrict b, *restrict c;
} triad_job;

static void triad_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	const triad_job *j = job;
	double *restrict a = j->a;
	const double *restrict b = j->b, *restrict c = j->c;
	const double s = 1.5;
	for (size_t i = from; i < to; i++) a[i] = b[i] + s * c[i];
}

/** a = b + s·c of float64, as STREAM has it (McCalpin, 1995): 24 bytes per element. */
void bench_triad(const request *r) {
	double *a = allocate(r->n * sizeof(double)), *b = allocate(r->n * sizeof(double)), *c = allocate(r->n * sizeof(double));
	for (size_t i = 0; i < r->n; i++) a[i] = 0, b[i] = value_at(i, 1), c[i] = value_at(i, 2);
	triad_job job = {a, b, c};
	report(r, GRAIN, triad_part, &job, NULL);
}

static void update_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	float *w = job;
	for (size_t i = from; i < to; i++) w[i] = 1.0f - w[i];
}

/** In place, one load and one store of a float32: 8 bytes per element, the limit of an axpy whose addend needs no memory. */
void bench_update(const request *r) {
	float *w = allocate(r->n * sizeof(float));
	for (size_t i = 0; i < r->n; i++) w[i] = value_at(i, 0);
	report(r, GRAIN, update_part, w, NULL);
}

/** Distinct vectors of a fold; more would only need memory. */
#define FOLD_VECTORS 20
#define FOLD_WEIGHT_UNIT 32.0

typedef struct {
	const request *r;
	double *sum;
	float *values[FOLD_VECTORS];
	double grid;
} fold_job;

static void fold_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	const fold_job *j = job;
	for (size_t v = 0; v < j->r->K; v++) {
		double *restrict sum = j->sum;
		const float *restrict values = j->values[v];
		const double w = (double)(v + 1) / FOLD_WEIGHT_UNIT * j->grid;
		for (size_t i = from; i < to; i++) sum[i] += rint(values[i] * w);
	}
}

static void fold_init_part(void *job, size_t from, size_t to, int thread) {
	(void)thread;
	const fold_job *j = job;
	for (size_t i = from; i < to; i++) j->sum[i] = 0;
	for (size_t v = 0; v < j->r->K; v++)
		for (size_t i = from; i < to; i++) j->values[v][i] = value_at(i, (uint32_t)v);
}

/** sum += rint(x·w) of K float32 vectors, one after the other as they arrive: 20 bytes per value. */
void bench_fold(const request *r) {
	if (r->K > FOLD_VECTORS) refuse("K must be at most 20", r->name);
	// 2^46 units per 1: the grid of twenty values of at most 1.
	fold_job job = {.r = r, .sum = allocate(r->n * sizeof(double)), .grid = 0x1p46};
	for (size_t v = 0; v < r->K; v++) job.values[v] = allocate(r->n * sizeof(float));
	run(r, GRAIN, fold_init_part, &job);
	run(r, GRAIN, fold_part, &job);
	const uint32_t checksum = checksum_of(job.sum, 2 * r->n);
	report(r, GRAIN, fold_part, &job, &checksum);
}

#define DIGITS 2048

typedef struct {
	const float *values;
	uint32_t *order;
	uint64_t *a, *b;
	size_t n;
} argsort_job;

/** Unsigned integers in the order of the floats; −0 counts as 0. */
static uint32_t key_of(float value) {
	uint32_t bits;
	value += 0.0f;
	memcpy(&bits, &value, sizeof bits);
	return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// Key and index travel together in 64 bits: one store per element and pass, and no gather from the values.
static void argsort_part(void *job, size_t from, size_t to, int thread) {
	(void)from, (void)to, (void)thread;
	argsort_job *j = job;
	const size_t n = j->n;
	uint64_t *restrict a = j->a, *restrict b = j->b;
	uint32_t count[3][DIGITS];
	memset(count, 0, sizeof count);
	for (size_t i = 0; i < n; i++) {
		const uint32_t key = key_of(j->values[i]);
		a[i] = (uint64_t)key << 32 | i;
		count[0][key % DIGITS]++;
		count[1][key >> 11 & (DIGITS - 1)]++;
		count[2][key >> 22]++;
	}
	for (int pass = 0; pass < 3; pass++) {
		uint32_t at = 0;
		for (int d = 0; d < DIGITS; d++) {
			const uint32_t here = count[pass][d];
			count[pass][d] = at;
			at += here;
		}
	}
	for (size_t i = 0; i < n; i++) b[count[0][a[i] >> 32 & (DIGITS - 1)]++] = a[i];
	for (size_t i = 0; i < n; i++) a[count[1][b[i] >> 43 & (DIGITS - 1)]++] = b[i];
	for (size_t i = 0; i < n; i++) j->order[count[2][a[i] >> 54]++] = (uint32_t)a[i];
}

/** Stable order of float32 values: three passes of 11 bits, least significant first; one thread. */
void bench_argsort(const request *r) {
	if (r->threads != 1) refuse("threads must be 1", r->name);
	float *values = allocate(r->n * sizeof(float));
	for (size_t j = 0; j < r->n; j++) values[j] = normal_at(j);
	argsort_job job = {values, allocate(r->n * sizeof(uint32_t)), allocate(r->n * sizeof(uint64_t)), allocate(r->n * sizeof(uint64_t)), r->n};
	run(r, r->n, argsort_part, &job);
	const uint32_t checksum = checksum_of(job.order, r->n);
	report(r, r->n, argsort_part, &job, &checksum);
}
