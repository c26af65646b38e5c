// kernels NAME n=… [K=1] [threads=1] [passes=1] [samples=5] [keys=FILE]: measures one kernel and prints a line of JSON
// with the median of the samples. With samples=0 it prints the line without, and then one more for each number of passes that
// it reads: so two programs can take turns, and a machine that is slow for a while is slow for both.
#include "bench.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_THREADS 64
#define MAX_SAMPLES 99

static const struct {
	const char *name;
	void (*bench)(const request *);
} BENCHES[] = {
	{"triad", bench_triad},
	{"update", bench_update},
	{"fold", bench_fold},
	{"argsort", bench_argsort},
	{"axpy", bench_axpy},
	{"axpy-cached", bench_axpy_cached},
	{"rebuild-whole", bench_rebuild_whole},
	{"rebuild-blocks", bench_rebuild_blocks},
	{"rebuild-exact", bench_rebuild_exact},
	{"hadamard", bench_hadamard},
	{"structured", bench_structured},
	{"philox7", bench_philox7},
	{"philox10", bench_philox10},
	{"threefry12", bench_threefry12},
};

void refuse(const char *message, const char *value) {
	fprintf(stderr, "%s: %s\n", message, value);
	exit(2);
}

void *allocate(size_t bytes) {
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
	if (memory == NULL) refuse("out of memory", "");
	return memory;
}

static double seconds_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

// One set of threads lives as long as the program: a start costs as much as a tenth of a short pass. Mutex and condition
// in place of pthread_barrier_t, which macOS has not.
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int threads;
	/** Jobs begun, and members that are through with the last one. */
	unsigned long begun;
	int done;
	int passes;
	size_t n, grain;
	part work;
	void *job;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void do_share(int thread) {
	size_t grains = (pool.n + pool.grain - 1) / pool.grain;
	size_t from = grains * (size_t)thread / (size_t)pool.threads * pool.grain;
	size_t to = grains * (size_t)(thread + 1) / (size_t)pool.threads * pool.grain;
	if (to > pool.n) to = pool.n;
	// Threads share nothing, so they need not wait for each other between passes: the best case of C.
	for (int pass = 0; pass < pool.passes; pass++) pool.work(pool.job, from, to, thread);
}

static void *member(void *number) {
	for (unsigned long seen = 0;;) {
		pthread_mutex_lock(&pool.lock);
		while (pool.begun == seen) pthread_cond_wait(&pool.changed, &pool.lock);
		seen = pool.begun;
		pthread_mutex_unlock(&pool.lock);
		do_share((int)(intptr_t)number);
		pthread_mutex_lock(&pool.lock);
		pool.done++;
		pthread_cond_broadcast(&pool.changed);
		pthread_mutex_unlock(&pool.lock);
	}
	return NULL;
}

static void run_passes(const request *r, size_t grain, part work, void *job, int passes) {
	if (pool.threads == 0) {
		pool.threads = r->threads;
		for (intptr_t i = 1; i < r->threads; i++) {
			pthread_t thread;
			if (pthread_create(&thread, NULL, member, (void *)i) != 0) refuse("cannot start a thread", "");
		}
	}
	pthread_mutex_lock(&pool.lock);
	pool.passes = passes;
	pool.n = r->n;
	pool.grain = grain;
	pool.work = work;
	pool.job = job;
	pool.done = 0;
	pool.begun++;
	pthread_cond_broadcast(&pool.changed);
	pthread_mutex_unlock(&pool.lock);
	do_share(0);
	pthread_mutex_lock(&pool.lock);
	while (pool.done < pool.threads - 1) pthread_cond_wait(&pool.changed, &pool.lock);
	pthread_mutex_unlock(&pool.lock);
}

void run(const request *r, size_t grain, part work, void *job) { run_passes(r, grain, work, job, 1); }

static int ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double sample(const request *r, size_t grain, part work, void *job, int passes) {
	double begun = seconds_now();
	run_passes(r, grain, work, job, passes);
	return (seconds_now() - begun) / passes;
}

void report(const request *r, size_t grain, part work, void *job, const uint32_t *checksum) {
	printf("{\"name\":\"%s\",\"n\":%zu,\"K\":%zu,\"threads\":%d", r->name, r->n, r->K, r->threads);
	if (checksum != NULL) printf(",\"checksum\":%u", *checksum);
	run_passes(r, grain, work, job, 1);
	if (r->samples > 0) {
		double seconds[MAX_SAMPLES];
		for (int i = 0; i < r->samples; i++) seconds[i] = sample(r, grain, work, job, r->passes);
		qsort(seconds, (size_t)r->samples, sizeof(double), ascending);
		printf(",\"seconds\":%.9g,\"best\":%.9g}\n", seconds[r->samples / 2], seconds[0]);
		return;
	}
	printf("}\n");
	fflush(stdout);
	for (int passes; scanf("%d", &passes) == 1 && passes > 0;) {
		printf("{\"seconds\":%.9g}\n", sample(r, grain, work, job, passes));
		fflush(stdout);
	}
}

uint32_t checksum_of(const void *words, size_t count) {
	const uint32_t *w = words;
	uint32_t hash = 0x811C9DC5u;
	for (size_t i = 0; i < count; i++) hash = (hash ^ w[i]) * 0x01000193u;
	return hash;
}

// The finaliser of MurmurHash3 (Appleby, 2011).
static uint32_t mixed(uint32_t x) {
	x = (x ^ x >> 16) * 0x85EBCA6Bu;
	x = (x ^ x >> 13) * 0xC2B2AE35u;
	return x ^ x >> 16;
}

float value_at(size_t j, uint32_t vector) {
	return (float)((int32_t)(mixed((uint32_t)j + vector * 0x9E3779B9u) >> 8) - (1 << 23)) / (float)(1 << 24);
}

float normal_at(size_t j) {
	uint32_t sum = 0;
	for (uint32_t i = 0; i < 4; i++) sum += mixed((uint32_t)j * 4 + i) >> 10;
	return (float)((int32_t)sum - (1 << 23)) / (float)(1 << 22);
}

int32_t ledger_at(size_t k) { return (int32_t)(mixed((uint32_t)k + 1) % 100001u) - 50000; }

static size_t number(const char *text) {
	char *end;
	unsigned long long value = strtoull(text, &end, 10);
	if (end == text || *end != '\0') refuse("no number", text);
	return (size_t)value;
}

static void read_keys(request *r, const char *path) {
	FILE *file = fopen(path, "rb");
	if (file == NULL) refuse("cannot open", path);
	fseek(file, 0, SEEK_END);
	size_t bytes = (size_t)ftell(file);
	rewind(file);
	stream_key *keys = allocate(bytes);
	r->key_count = fread(keys, sizeof(stream_key), bytes / sizeof(stream_key), file);
	r->keys = keys;
	fclose(file);
}

int main(int count, char **arguments) {
	request r = {.name = count > 1 ? arguments[1] : "", .n = 0, .K = 1, .threads = 1, .passes = 1, .samples = 5};
	for (int i = 2; i < count; i++) {
		char *value = strchr(arguments[i], '=');
		if (value == NULL) refuse("no NAME=VALUE", arguments[i]);
		*value++ = '\0';
		const char *name = arguments[i];
		if (strcmp(name, "keys") == 0) read_keys(&r, value);
		else if (strcmp(name, "n") == 0) r.n = number(value);
		else if (strcmp(name, "K") == 0) r.K = number(value);
		else if (strcmp(name, "threads") == 0) r.threads = (int)number(value);
		else if (strcmp(name, "passes") == 0) r.passes = (int)number(value);
		else if (strcmp(name, "samples") == 0) r.samples = (int)number(value);
		else refuse("unknown argument", name);
	}
	if (r.n == 0 || r.K == 0 || r.passes < 1) refuse("n, K and passes must be positive", r.name);
	if (r.threads < 1 || r.threads > MAX_THREADS) refuse("threads must be from 1 to 64", r.name);
	if (r.samples < 0 || r.samples > MAX_SAMPLES) refuse("samples must be from 0 to 99", r.name);
	for (size_t i = 0; i < sizeof BENCHES / sizeof *BENCHES; i++) {
		if (strcmp(r.name, BENCHES[i].name) != 0) continue;
		BENCHES[i].bench(&r);
		return 0;
	}
	refuse("unknown benchmark", r.name);
}
