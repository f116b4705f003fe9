/* bench_lora: steps of an adapter of rank 16 (attn_q and attn_v) over a model that stays as it is, on random tokens. A
 * line of JSON for each step, then the peak of memory. For bench_train.py.
 *
 *     bench_lora MODEL.gguf N_SEQ N_CTX N_THREADS N_STEPS */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int fail(const char *text)
{
    fprintf(stderr, "bench_lora: %s\n", text);
    return 1;
}

int main(int argc, char **argv)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_adapter_desc ad;
    hybrid_trainer_desc td;
    hybrid_train_batch batch;
    hybrid_model_info info;
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_adapter *adapter;
    hybrid_trainer *trainer;
    hybrid_error e;
    struct rusage usage;
    int32_t *ids;
    uint32_t random = 1;
    int n, n_steps, i;
    if (argc != 6) return fail("MODEL.gguf N_SEQ N_CTX N_THREADS N_STEPS");
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&ad, 0, sizeof ad);
    memset(&td, 0, sizeof td);
    memset(&batch, 0, sizeof batch);
    md.path = argv[1];
    td.n_seq = atoi(argv[2]);
    td.n_ctx = atoi(argv[3]);
    rd.n_threads = atoi(argv[4]);
    rd.device = "cpu";
    n_steps = atoi(argv[5]);
    ad.rank = 16;
    if (hybrid_runtime_create(&rd, &rt, &e) || hybrid_model_load(rt, &md, &model, &e) ||
        hybrid_adapter_create(model, &ad, &adapter, &e))
        return fail(e.message);
    td.adapter = adapter;
    if (hybrid_trainer_create(&td, &trainer, &e)) return fail(e.message);
    hybrid_model_describe(model, &info);
    n = td.n_seq * td.n_ctx;
    ids = (int32_t *)malloc(sizeof *ids * (size_t)(n + 1));
    if (!ids) return fail("out of memory");
    for (i = 0; i <= n; i++) {
        random = random * 1664525u + 1013904223u;
        ids[i] = (int32_t)(random >> 8) % info.n_vocab;
    }
    batch.ids = ids;
    batch.targets = ids + 1;
    for (i = 0; i < n_steps; i++) {
        hybrid_train_metrics m;
        if (hybrid_trainer_step(trainer, &batch, &m, &e)) return fail(e.message);
        printf("{\"tokens_per_second\": %.2f, \"loss\": %.4f, \"isa\": \"%s\"}\n", n / m.seconds, m.loss,
               hybrid_runtime_isa(rt));
        fflush(stdout);
    }
    getrusage(RUSAGE_SELF, &usage);
    printf("{\"peak_mb\": %.0f}\n", (double)usage.ru_maxrss / 1024);
    return 0;
}
