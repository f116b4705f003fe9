/* bench_batch: tokens a second when several sequences are generated together, as one line of JSON.
 * tests/bench/bench_batch.py runs it in turn with the peer.
 *
 *     cc -O2 -I. tests/bench/bench_batch.c -o build/bench_batch -lm
 *     build/bench_batch MODEL.gguf THREADS N_PROMPT STEPS SEQUENCES...
 *
 * Each sequence has a prompt of its own (random tokens, the same for every run), then one token a step; the logits of
 * each are wanted. A step is one hybrid_decode of a token of every sequence. */
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

static uint64_t seed = 1;
static void random_ids(int32_t *ids, int n, int32_t n_vocab)
{
    int i;
    for (i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        ids[i] = (int32_t)((seed >> 33) % (uint64_t)n_vocab);
    }
}

/* Tokens a second of n_seq sequences; below 0: what went wrong is in *e. */
static double generate(hybrid_model *model, int n_seq, int n_prompt, int steps, int32_t n_vocab, hybrid_error *e)
{
    hybrid_context_desc desc;
    hybrid_context *ctx;
    int32_t *ids = (int32_t *)malloc(sizeof *ids * (size_t)(n_prompt + 1));
    double t = 0, speed = -1;
    int s, i;
    memset(&desc, 0, sizeof desc);
    desc.n_seq = n_seq;
    desc.n_ctx = n_seq * ((n_prompt + steps + 64) / 32 * 32);
    if (!ids || hybrid_context_create(model, &desc, &ctx, e)) goto end;
    for (s = 0; s < n_seq; s++) {
        random_ids(ids, n_prompt, n_vocab);
        if (hybrid_batch_add(ctx, s, ids, (size_t)n_prompt, e)) goto destroy;
    }
    if (hybrid_decode(ctx, e)) goto destroy;
    t = now();
    for (i = 0; i < steps; i++) {
        for (s = 0; s < n_seq; s++) {
            random_ids(ids, 1, n_vocab);
            if (hybrid_batch_add(ctx, s, ids, 1, e)) goto destroy;
        }
        if (hybrid_decode(ctx, e)) goto destroy;
    }
    speed = (double)n_seq * steps / (now() - t);
destroy:
    hybrid_context_destroy(ctx);
end:
    free(ids);
    return speed;
}

int main(int argc, char **argv)
{
    hybrid_error e;
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_model_info info;
    hybrid_runtime *rt;
    hybrid_model *model;
    struct rusage use;
    int i;
    if (argc < 6) {
        fprintf(stderr, "usage: bench_batch MODEL.gguf THREADS N_PROMPT STEPS SEQUENCES...\n");
        return 2;
    }
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    rd.n_threads = atoi(argv[2]);
    md.path = argv[1];
    if (hybrid_runtime_create(&rd, &rt, &e) || hybrid_model_load(rt, &md, &model, &e)) {
        fprintf(stderr, "%s\n", e.message);
        return 1;
    }
    hybrid_model_describe(model, &info);
    printf("{\"isa\": \"%s\", \"speeds\": [", hybrid_runtime_isa(rt));
    generate(model, 1, 8, 4, info.n_vocab, &e); /* reads the weights once */
    for (i = 5; i < argc; i++) {
        const double speed = generate(model, atoi(argv[i]), atoi(argv[3]), atoi(argv[4]), info.n_vocab, &e);
        if (speed < 0) {
            fprintf(stderr, "%s\n", e.message);
            return 1;
        }
        printf("%s%.3f", i > 5 ? ", " : "", speed);
    }
    getrusage(RUSAGE_SELF, &use);
    printf("], \"peak_rss_mib\": %.1f}\n", (double)use.ru_maxrss / 1024);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    return 0;
}
