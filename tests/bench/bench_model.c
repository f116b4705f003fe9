/* bench_model: speed of one model on this machine, as one line of JSON. tests/bench/bench.py runs it in turn with the
 * peer.
 *
 *     cc -O2 -I. tests/bench/bench_model.c -o build/bench_model -lm
 *     build/bench_model MODEL.gguf THREADS N_PROMPT N_GENERATE REPEATS [ISA or "" [repack] [no_map]]
 *
 * The prompt is random tokens (the same for every run); generation starts from an empty cache with one token. Times
 * are wall clock. */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static double now(void)
{
    struct timespec t;
    timespec_get(&t, TIME_UTC);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_row(const char *name, double *v, int n)
{
    int i;
    printf("\"%s\": [", name);
    for (i = 0; i < n; i++) printf("%s%.2f", i ? ", " : "", v[i]);
    qsort(v, (size_t)n, sizeof *v, by_value);
    printf("], \"%s_median\": %.2f, \"%s_best\": %.2f, ", name, n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2, name,
           v[n - 1]);
}

#define TRY(call) \
    do { \
        if (call) { \
            fprintf(stderr, "%s\n", err.message); \
            return 1; \
        } \
    } while (0)

int main(int argc, char **argv)
{
    hybrid_error err;
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_context *ctx;
    hybrid_model_info info;
    int32_t *ids;
    double load_ms, *prompt, *gen, t;
    int i, r, n_prompt, n_gen, reps;
    uint64_t seed = 1;
    struct rusage use;
    if (argc < 6) {
        fprintf(stderr, "usage: bench_model MODEL.gguf THREADS N_PROMPT N_GENERATE REPEATS "
                        "[ISA or \"\" [repack] [no_map]]\n");
        return 2;
    }
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    rd.n_threads = atoi(argv[2]);
    rd.isa = argc > 6 && argv[6][0] ? argv[6] : NULL;
    n_prompt = atoi(argv[3]);
    n_gen = atoi(argv[4]);
    reps = atoi(argv[5]);
    md.path = argv[1];
#ifndef BENCH_BASELINE /* headers of earlier commits do not know it */
    for (i = 7; i < argc; i++) {
        if (!strcmp(argv[i], "repack")) md.repack = true;
        if (!strcmp(argv[i], "no_map")) md.no_map = true;
    }
#endif
    cd.n_ctx = n_prompt + n_gen + 64;
    t = now();
    TRY(hybrid_runtime_create(&rd, &rt, &err));
    TRY(hybrid_model_load(rt, &md, &model, &err));
    TRY(hybrid_context_create(model, &cd, &ctx, &err));
    load_ms = 1e3 * (now() - t);
    hybrid_model_describe(model, &info);
    ids = (int32_t *)malloc(sizeof *ids * (size_t)(n_prompt + n_gen + 8));
    prompt = (double *)malloc(sizeof *prompt * (size_t)reps);
    gen = (double *)malloc(sizeof *gen * (size_t)reps);
    for (i = 0; i < n_prompt + n_gen + 8; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((seed >> 33) % (uint64_t)info.n_vocab);
    }
    TRY(hybrid_batch_add(ctx, 0, ids, 8, &err));
    TRY(hybrid_decode(ctx, &err));
    for (r = 0; r < reps; r++) {
        if (n_prompt > 0) {
            TRY(hybrid_seq_remove(ctx, 0, 0, &err));
            t = now();
            TRY(hybrid_batch_add(ctx, 0, ids, (size_t)n_prompt, &err));
            TRY(hybrid_decode(ctx, &err));
            prompt[r] = n_prompt / (now() - t);
        } else
            prompt[r] = 0;
        TRY(hybrid_seq_remove(ctx, 0, 0, &err));
        TRY(hybrid_batch_add(ctx, 0, ids, 1, &err));
        TRY(hybrid_decode(ctx, &err));
        t = now();
        for (i = 0; i < n_gen; i++) {
            TRY(hybrid_batch_add(ctx, 0, ids + 1 + i, 1, &err));
            TRY(hybrid_decode(ctx, &err));
        }
        gen[r] = n_gen / (now() - t);
    }
    printf("{\"engine\": \"hybrid\", \"isa\": \"%s\", \"threads\": %d, \"bytes\": %llu, \"load_ms\": %.1f, ",
           hybrid_runtime_isa(rt), rd.n_threads, (unsigned long long)info.n_bytes, load_ms);
    print_row("prompt", prompt, reps);
    print_row("gen", gen, reps);
    getrusage(RUSAGE_SELF, &use);
    printf("\"peak_rss_mib\": %.1f}\n", (double)use.ru_maxrss / 1024);
    free(ids);
    free(prompt);
    free(gen);
    hybrid_context_destroy(ctx);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    return 0;
}
