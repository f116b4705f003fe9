/* bench_sampler: what each part of the sampler's chain costs with 262,144 logits: medians, in microseconds, and as a
 * part of a token of Gemma 3 270M when the time of one is given.
 *
 *     make bench-sampler ARGS='12.5'        12.5: milliseconds of a token (make bench says them)
 *
 * The logits are normal with a deviation of 4.9: the mean of the model's, whose best is 20 to 28 above the rest. */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { N = 262144, ROUNDS = 41 };

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int rising(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double uniform(void)
{
    static uint64_t n;
    return hyb_random_uniform(7, 0, n++);
}

static double median_us(const hybrid_sampler_desc *d, const float *logits)
{
    double times[ROUNDS];
    hybrid_sampler *s = NULL;
    hybrid_error e;
    int i;
    if (hybrid_sampler_create(NULL, d, &s, &e)) {
        printf("%s\n", e.message);
        exit(1);
    }
    for (i = 0; i < 1500; i++) hybrid_sampler_accept(s, (int32_t)(i % 700 * 13));
    for (i = 0; i < ROUNDS; i++) {
        const double t = now();
        const int32_t id = hybrid_sample(s, logits, N);
        if (id < 0) exit(1);
        hybrid_sampler_accept(s, id);
        times[i] = now() - t;
    }
    hybrid_sampler_destroy(s);
    qsort(times, ROUNDS, sizeof *times, rising);
    return times[ROUNDS / 2];
}

static void host(void *user, const int32_t *ids, float *x, int32_t n)
{
    int32_t i;
    (void)user;
    for (i = 0; i < n; i++) x[i] += (float)(ids[i] & 1);
}

static float *logits;
static double token_us;

static void row(const char *name, const hybrid_sampler_desc *d)
{
    const double us = median_us(d, logits);
    if (token_us > 0)
        printf("| %s | %.0f | %.1f %% |\n", name, us, 100 * us / token_us);
    else
        printf("| %s | %.0f |\n", name, us);
}

int main(int argc, char **argv)
{
    hybrid_sampler_desc d, one;
    int i;
    token_us = argc > 1 ? 1e3 * atof(argv[1]) : 0;
    if (!(logits = (float *)malloc(N * sizeof *logits))) return 1;
    for (i = 0; i < N; i++) logits[i] = (float)(4.9 * sqrt(-2 * log(1 - uniform())) * cos(6.283185307 * uniform()));
    memset(&d, 0, sizeof d);
    printf(token_us > 0 ? "| sampler | us | of a token |\n|---|---|---|\n" : "| sampler | us |\n|---|---|\n");
    row("greedy", &d);
    d.temperature = 0.8f;
    one = d;
    row("temperature 0.8", &d);
#define ROW(name, ...) \
    one = d; \
    __VA_ARGS__; \
    row(name, &one)
    ROW("top-k 40", one.top_k = 40);
    ROW("top-p 0.95", one.top_p = 0.95f);
    ROW("min-p 0.05", one.min_p = 0.05f);
    ROW("typical 0.95", one.typical_p = 0.95f);
    ROW("penalties", one.repetition_penalty = 1.1f);
    ROW("DRY 0.8, of 1024", one.dry_multiplier = 0.8f);
    ROW("host's function", one.function = host);
    ROW("dynamic temperature 0.5", one.temperature_range = 0.5f);
    ROW("top-n-sigma 1", one.top_n_sigma = 1);
    ROW("XTC, always", one.xtc_probability = 1);
    ROW("mirostat 1", one.mirostat = 1);
    ROW("mirostat 2", one.mirostat = 2);
    ROW("top-k 40, top-p 0.95, min-p 0.05", one.top_k = 40, one.top_p = 0.95f, one.min_p = 0.05f);
    free(logits);
    return 0;
}
