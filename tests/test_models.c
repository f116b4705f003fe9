/* Models against transformers: every layer, logits and greedy text of tiny models of all architectures
 * (tests/oracle/make_models.py), and decode against prefill, bit for bit; mixtures of experts also with quantized
 * matrices. */
#include "private.h"

#define TOLERANCE     1e-4
#define SAME(a, b, n) (!memcmp(a, b, (size_t)(n) * sizeof(float)))
#include "models.inc"
#include "rwkv_cpp.inc"

/* Whatever becomes of decodes, every slot comes back. */
static void slots_come_back(void)
{
    hybrid_model *m = NULL;
    hybrid_context_desc d;
    hybrid_context *c;
    hybrid_error err;
    static const int32_t ids[] = { 3, 1, 4, 1, 5 };
    bool done;
    int k;
    TEST("slots come back");
    memset(&d, 0, sizeof d);
    d.n_ctx = 64;
    d.n_seq = 2;
    d.n_batch = 2;
    if (!load("tests/oracle/data/models", "arwkv7", "", &m, NULL) || !(c = context_of(m, d))) return;
    CHECK(c->state.slots.n == 4, "%d slots", c->state.slots.n);
    for (k = 0; k < 5; k++) {
        CHECK(!hybrid_batch_add(c, 0, ids, 5, &err) && !hybrid_decode_step(c, 0, &done, &err), "%s", err.message);
        CHECK(!done, "one slice was enough");
        hybrid_batch_clear(c);
        CHECK(!hybrid_batch_add(c, 0, ids, 5, &err) && !hybrid_decode(c, &err), "%s", err.message);
        CHECK(!hybrid_seq_fork(c, 0, 1, &err), "%s", err.message);
        CHECK(c->state.slots.n_free == (k ? 2 : 3), "after turn %d %d slots are free", k, c->state.slots.n_free);
    }
    CHECK(!hybrid_seq_remove(c, 1, 5 * (k - 1), &err), "%s", err.message);
    CHECK(!hybrid_seq_remove(c, 0, 0, &err) && !hybrid_seq_remove(c, 1, 0, &err), "%s", err.message);
    CHECK(c->state.slots.n_free == 4, "%d slots are free", c->state.slots.n_free);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

/* The logits after some tokens of the model in a file, n_vocab of them; NULL: it does not run. */
static float *logits_of(const sink *file, int *n_vocab)
{
    static const int32_t ids[] = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5 };
    hybrid_model *m = NULL;
    hybrid_model_desc d;
    hybrid_context_desc cd;
    hybrid_context *c;
    hybrid_error err;
    float *copy = NULL;
    memset(&d, 0, sizeof d);
    memset(&cd, 0, sizeof cd);
    d.source.data = file->data;
    d.source.size = file->size;
    cd.n_ctx = 64;
    CHECK(!hybrid_model_load(NULL, &d, &m, &err), "%s", err.message);
    if (m && (c = context_of(m, cd)) != NULL) {
        CHECK(!hybrid_batch_add(c, 0, ids, HYB_COUNT(ids), &err) && !hybrid_decode(c, &err), "%s", err.message);
        *n_vocab = m->hp.n_vocab;
        copy = (float *)malloc((size_t)m->hp.n_vocab * sizeof *copy);
        memcpy(copy, hybrid_logits(c, 0), (size_t)m->hp.n_vocab * sizeof *copy);
        hybrid_context_destroy(c);
    }
    hybrid_model_destroy(m);
    return copy;
}

/* A type that has no kernels of its own: the model gives the bits of the one whose matrices were decoded. */
static void check_decoded(const char *name, hybrid_type type, int n_expert)
{
    hybrid_gguf *in = NULL;
    sink file[2];
    float *logits[2];
    int i, n_vocab = 0;
    TEST("as its decoded matrices");
    if (!load("tests/oracle/data/models", name, "", NULL, &in)) return;
    for (i = 0; i < 2; i++) {
        file[i] = quantized(in, HYBRID_MIX_Q8_0, type, n_expert, i == 1);
        logits[i] = logits_of(&file[i], &n_vocab);
    }
    CHECK(file[0].size < file[1].size / 2, "%s: %zu bytes, as floats %zu", name, file[0].size, file[1].size);
    CHECK(logits[0] && logits[1] && !memcmp(logits[0], logits[1], (size_t)n_vocab * sizeof(float)), "%s in %s", name,
          hybrid_type_name(type));
    for (i = 0; i < 2; i++) {
        free(logits[i]);
        free(file[i].data);
    }
    hybrid_gguf_destroy(in);
}

/* A decode that is left in the middle of ops, between any two groups of their chunks, has the bits of one that is not:
 * three sequences, two chunks, more than once the same sequences, on one lane and on more. */
static void check_paced(const char *name)
{
    static const int lengths[] = { 21, 1, 9 };
    hybrid_model *m = NULL;
    hybrid_context_desc d;
    hybrid_context *c[2];
    hybrid_error err;
    int32_t ids[32];
    int k, i, turn, calls = 0;
    TEST("left in the middle of ops");
    if (!load("tests/oracle/data/models", name, "", &m, NULL)) return;
    memset(&d, 0, sizeof d);
    d.n_ctx = 128;
    d.n_seq = 3;
    d.n_batch = 24;
    d.n_logits = 6;
    for (k = 0; k < 2; k++)
        if (!(c[k] = context_of(m, d))) return;
    for (turn = 0; turn < 2; turn++) {
        for (k = 0; k < 2; k++)
            for (i = 0; i < 3; i++) {
                int j;
                for (j = 0; j < 32; j++) ids[j] = (turn * 7 + i * 13 + j * 5) % HYB_MIN(m->hp.n_vocab, 60);
                CHECK(!hybrid_batch_add_logits(c[k], i, ids, (size_t)(turn ? 1 + i % 2 : lengths[i]), 2, &err), "%s",
                      err.message);
            }
        CHECK(!hybrid_decode(c[0], &err), "%s", err.message);
        for (;; calls++) {
            bool done = false;
            CHECK(!hybrid_decode_step(c[1], calls % 5 == 4 ? 40 : 0, &done, &err), "%s", err.message);
            if (done) break;
        }
        for (i = 0; i < 3; i++)
            for (k = 0; k < c[0]->logits_n[i]; k++)
                CHECK(SAME(hybrid_logits_at(c[0], i, k), hybrid_logits_at(c[1], i, k), m->hp.n_vocab),
                      "%s: turn %d, row %d of sequence %d", name, turn, k, i);
    }
    /* how often beyond that depends on the time that the ops take */
    CHECK(calls > 2 * m->hp.n_layer, "%s: left %d times only", name, calls);
    for (k = 0; k < 2; k++) hybrid_context_destroy(c[k]);
    hybrid_model_destroy(m);
}

int main(void)
{
    size_t i;
    check_all_models();
    for (i = 0; i < HYB_COUNT(names); i++) check_paced(names[i]);
    check_quantized("mixtral", HYBRID_MIX_Q8_0, 4, 0.05);
    check_quantized("mixtral", HYBRID_MIX_Q4_0, 4, 0.5);
    check_quantized("qwen2moe", HYBRID_MIX_Q8_0, 5, 0.05);
    check_quantized("qwen3moe", HYBRID_MIX_Q8_0, 9, 0.05);
    check_quantized("rwkv7", HYBRID_MIX_F16, 0, 2e-3); /* and the narrow products, as llama.cpp's converter has them */
    check_quantized("rwkv7", HYBRID_MIX_Q8_0, 0, 0.05);
    check_quantized("lfm2", HYBRID_MIX_Q8_0, 0, 0.15);
    check_quantized_as("llama", HYBRID_MIX_Q8_0, HYBRID_TYPE_IQ4_NL, 0, 0.3);
    check_quantized_as("mixtral", HYBRID_MIX_Q8_0, HYBRID_TYPE_IQ4_NL, 4, 0.5);
    check_decoded("llama", HYBRID_TYPE_IQ4_NL, 0);
    check_decoded("qwen3moe", HYBRID_TYPE_IQ4_NL, 9);
    check_trained_rwkv();
    slots_come_back();
    return test_end();
}
