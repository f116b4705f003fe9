/* bench_train: steps of a GPT-2 of 124 million weights on random tokens. A line of JSON for each step, then the peak of
 * memory. For bench_train.py.
 *
 *     bench_train VOCAB.gguf N_SEQ N_CTX N_THREADS N_STEPS [DEVICE]     DEVICE: cpu, cuda:0 */
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include "hybrid_cuda.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static int fail(const char *text)
{
    fprintf(stderr, "bench_train: %s\n", text);
    return 1;
}

int main(int argc, char **argv)
{
    hybrid_runtime_desc rd;
    hybrid_source source;
    hybrid_model_shape shape;
    hybrid_trainer_desc td;
    hybrid_train_batch batch;
    hybrid_runtime *rt;
    hybrid_gguf *gguf;
    hybrid_tokenizer *tokenizer;
    hybrid_model *model;
    hybrid_trainer *trainer;
    hybrid_error e;
    struct rusage usage;
    int32_t *ids, *targets;
    uint32_t random = 1;
    int n, n_steps, i;
    if (argc != 6 && argc != 7) return fail("VOCAB.gguf N_SEQ N_CTX N_THREADS N_STEPS [DEVICE]");
    memset(&rd, 0, sizeof rd);
    memset(&source, 0, sizeof source);
    memset(&shape, 0, sizeof shape);
    memset(&td, 0, sizeof td);
    memset(&batch, 0, sizeof batch);
    td.n_seq = atoi(argv[2]);
    td.n_ctx = atoi(argv[3]);
    rd.n_threads = atoi(argv[4]);
    n_steps = atoi(argv[5]);
    rd.device = argc == 7 ? argv[6] : "cpu";
    source.path = argv[1];
    if (hybrid_runtime_create(&rd, &rt, &e) || hybrid_gguf_open(rt, &source, &gguf, &e) ||
        hybrid_tokenizer_from_gguf(rt, gguf, &tokenizer, &e))
        return fail(e.message);
    shape.tokenizer = tokenizer;
    shape.n_vocab = 50257;
    shape.n_ctx = 1024;
    shape.n_embd = 768;
    shape.n_layer = shape.n_head = 12;
    if (hybrid_model_create(rt, &shape, &model, &e)) return fail(e.message);
    td.model = model;
    td.decay = 0.1f;
    if (hybrid_trainer_create(&td, &trainer, &e)) return fail(e.message);
    n = td.n_seq * td.n_ctx;
    ids = (int32_t *)malloc(sizeof *ids * (size_t)n);
    targets = (int32_t *)malloc(sizeof *targets * (size_t)n);
    if (!ids || !targets) return fail("out of memory");
    for (i = 0; i < n; i++) {
        random = random * 1664525u + 1013904223u;
        ids[i] = (int32_t)(random >> 8) % 50257;
        targets[(i + n - 1) % n] = ids[i];
    }
    batch.ids = ids;
    batch.targets = targets;
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
