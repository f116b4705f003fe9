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

int main(void)
{
    check_all_models();
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
