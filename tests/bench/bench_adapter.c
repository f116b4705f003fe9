/* bench_adapter: what an adapter adds to a decode step. One sequence goes on token by token and wears another outfit
 * every five tokens (none, q and v, all matrices, ...), so that all are measured in the same second: what else the
 * machine does meets them alike. A line of JSON: for each outfit the lower quartile of its
 * steps in milliseconds, and how much more that is than without an adapter. For bench_adapter.py.
 *
 *     bench_adapter MODEL.gguf N_THREADS RANK N_ROUNDS [ISA or "" [repack]] */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_OUTFITS = 5, N_CTX = 256, FROM = 64, TURN = 5 };
typedef struct outfit {
    const char *name, *targets[2];
    size_t n_targets;
    bool typed;
    hybrid_type type;
    hybrid_adapter *adapter;
    double *seconds;
    int n;
} outfit;

static int fail(const char *text)
{
    fprintf(stderr, "bench_adapter: %s\n", text);
    return 1;
}

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
/* Of what is measured on a machine that others use as well: a quarter of it was faster. */
static double quartile(double *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return v[n / 4];
}

/* As a trained one has: no zeros in B. */
static int make(hybrid_model *model, outfit *o, int rank, hybrid_error *e)
{
    hybrid_adapter_desc d;
    size_t i;
    uint32_t random = 7;
    memset(&d, 0, sizeof d);
    d.rank = rank;
    d.targets = o->targets;
    d.n_targets = o->n_targets;
    if (hybrid_adapter_create(model, &d, &o->adapter, e)) return 1;
    for (i = 0; i < o->adapter->n_values; i++) {
        random = random * 1664525u + 1013904223u;
        o->adapter->values[i] = 1e-3f * (float)((int)(random >> 8) % 2001 - 1000) / 1000;
    }
    if (hyb_adapter_changed(o->adapter, e)) return 1;
    return o->typed ? hybrid_adapter_set_type(o->adapter, o->type, e) : 0;
}

static int step(hybrid_context *c, outfit *o, int32_t id, double *seconds, hybrid_error *e)
{
    const uint64_t since = hyb_now_ns();
    if (hybrid_seq_set_adapters(c, 0, &o->adapter, NULL, o->adapter ? 1 : 0, e) || hybrid_batch_add(c, 0, &id, 1, e) ||
        hybrid_decode(c, e))
        return 1;
    *seconds = (double)(hyb_now_ns() - since) * 1e-9;
    return 0;
}

static int measure(hybrid_context *c, outfit *outfits, int n_rounds, int n_vocab, hybrid_error *e)
{
    int32_t ids[FROM];
    double seconds;
    int r, k, i, at = N_CTX;
    uint32_t random = 1;
    for (k = 0; k < FROM; k++) ids[k] = 5 + k;
    for (r = -1; r < n_rounds; r++)
        for (k = 0; k < N_OUTFITS; k++) {
            if (at + TURN > N_CTX) {
                if (hybrid_seq_remove(c, 0, 0, e) || hybrid_batch_add(c, 0, ids, FROM, e) || hybrid_decode(c, e))
                    return 1;
                at = FROM;
            }
            for (i = 0; i < TURN; i++, at++) {
                random = random * 1664525u + 1013904223u;
                if (step(c, &outfits[k], (int32_t)(random >> 8) % n_vocab, &seconds, e)) return 1;
                if (r >= 0 && i) outfits[k].seconds[outfits[k].n++] = seconds; /* now caches know what is worn */
            }
        }
    return 0;
}

int main(int argc, char **argv)
{
    outfit outfits[N_OUTFITS] = {
        { "none", { NULL, NULL }, 0, false, HYBRID_TYPE_F32, NULL, NULL, 0 },
        { "q and v", { "attn_q", "attn_v" }, 2, false, HYBRID_TYPE_F32, NULL, NULL, 0 },
        { "all", { "all", NULL }, 1, false, HYBRID_TYPE_F32, NULL, NULL, 0 },
        { "all as F16", { "all", NULL }, 1, true, HYBRID_TYPE_F16, NULL, NULL, 0 },
        { "all as F32", { "all", NULL }, 1, true, HYBRID_TYPE_F32, NULL, NULL, 0 },
    };
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_model_info info;
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_context *c;
    hybrid_error e;
    int n_rounds, k;
    double none = 0;
    if (argc < 5) return fail("MODEL.gguf N_THREADS RANK N_ROUNDS [ISA or \"\" [repack]]");
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    md.path = argv[1];
    rd.n_threads = atoi(argv[2]);
    rd.device = "cpu";
    rd.isa = argc > 5 && argv[5][0] ? argv[5] : NULL;
    md.repack = argc > 6 && !strcmp(argv[6], "repack");
    cd.n_ctx = N_CTX;
    cd.adapter_rank = atoi(argv[3]);
    n_rounds = atoi(argv[4]);
    if (n_rounds < 1) return fail("N_ROUNDS must be 1 or more");
    if (hybrid_runtime_create(&rd, &rt, &e) || hybrid_model_load(rt, &md, &model, &e) ||
        hybrid_context_create(model, &cd, &c, &e))
        return fail(e.message);
    hybrid_model_describe(model, &info);
    for (k = 0; k < N_OUTFITS; k++) {
        if (k && make(model, &outfits[k], cd.adapter_rank, &e)) return fail(e.message);
        outfits[k].seconds = (double *)malloc(sizeof(double) * (size_t)n_rounds * TURN);
        if (!outfits[k].seconds) return fail("out of memory");
    }
    if (measure(c, outfits, n_rounds, info.n_vocab, &e)) return fail(e.message);
    printf("{\"isa\": \"%s\", \"threads\": %d, \"rank\": %d", hybrid_runtime_isa(rt), rd.n_threads, cd.adapter_rank);
    for (k = 0; k < N_OUTFITS; k++) {
        const double ms = 1e3 * quartile(outfits[k].seconds, outfits[k].n);
        if (!k) none = ms;
        printf(", \"%s\": {\"ms\": %.3f, \"more\": %.4f}", outfits[k].name, ms, ms / none - 1);
    }
    printf("}\n");
    for (k = 0; k < N_OUTFITS; k++) {
        hybrid_adapter_destroy(outfits[k].adapter);
        free(outfits[k].seconds);
    }
    hybrid_context_destroy(c);
    hybrid_model_destroy(model);
    hybrid_runtime_destroy(rt);
    return 0;
}
