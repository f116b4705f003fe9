/* Models against transformers: every layer, logits and greedy text of tiny models of all architectures (tests/oracle/make_models.py),
 * and decode against prefill, bit for bit; mixtures of experts also with quantized matrices. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include "check.h"

#define TOLERANCE 1e-4
#define SAME(a, b, n) (!memcmp(a, b, (size_t)(n) * sizeof(float)))
#include "models.inc"

typedef struct sink { char *data; size_t size; } sink;
static bool put(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    s->data = (char *)realloc(s->data, s->size + n);
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return true;
}

/* The file of a model in another mix, as examples/quantize.c makes it. */
static sink quantized(const hybrid_gguf *in, hybrid_mix mix, int n_expert)
{
    sink out = { NULL, 0 };
    hybrid_mix_model model = { "llama", 2, 0, 2, 1, false };
    hybrid_gguf_writer *w = NULL;
    hybrid_error err;
    hybrid_type types[64];
    const size_t n = hybrid_gguf_tensor_count(in);
    size_t i;
    char name[128];
    model.n_expert = n_expert;
    CHECK(n <= 64 && !hybrid_gguf_writer_create(NULL, &w, &err) && !hybrid_gguf_copy_keys(w, in, &err), "%s", err.message);
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(in, i);
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        types[i] = hybrid_quantize_type_for(mix, &model, name, t->n_dims, t->ne, t->type);
        CHECK(!hybrid_gguf_add_tensor(w, name, types[i], t->n_dims, t->ne, &err), "%s", err.message);
        if (strstr(name, "_exps")) CHECK(types[i] != HYBRID_TYPE_F32, "%s stays as it is", name);
        if (strstr(name, "gate_inp")) CHECK(types[i] == HYBRID_TYPE_F32, "%s is encoded", name);
    }
    CHECK(!hybrid_gguf_begin(w, put, &out, &err), "%s", err.message);
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(in, i);
        const size_t rows = (size_t)(t->ne[1] * t->ne[2]), bytes = hybrid_type_row_bytes(types[i], (size_t)t->ne[0]) * rows;
        char *data = (char *)malloc(bytes);
        CHECK(!hybrid_convert(NULL, t->type, t->data, types[i], data, rows, (size_t)t->ne[0], NULL, &err) && !hybrid_gguf_write(w, data, bytes, &err), "%s", err.message);
        free(data);
    }
    CHECK(!hybrid_gguf_end(w, &err), "%s", err.message);
    hybrid_gguf_writer_destroy(w);
    return out;
}

/* Near the floats, and the same bits in any batch. */
static void check_quantized(const char *name, hybrid_mix mix, int n_expert, double tolerance)
{
    hybrid_gguf *in = NULL;
    hybrid_model *m = NULL;
    hybrid_model_desc d;
    hybrid_context_desc cd;
    hybrid_context *c;
    hybrid_error err;
    reference ref;
    sink file;
    const float *ids, *logits;
    int64_t n = 0;
    int i;
    double worst = 0;
    TEST(name);
    memset(&ref, 0, sizeof ref);
    memset(&d, 0, sizeof d);
    memset(&cd, 0, sizeof cd);
    if (!load("tests/oracle/data/models", name, "", NULL, &in) || !load("tests/oracle/data/models", name, ".ref", NULL, &ref.gguf)) return;
    file = quantized(in, mix, n_expert);
    ids = ref_tensor(&ref, "ref.ids", &n);
    logits = ref_tensor(&ref, "ref.logits", NULL);
    ref.n_ids = (int)n;
    for (i = 0; i < ref.n_ids; i++) ref.ids[i] = (int32_t)ids[i];
    d.data = file.data; d.size = file.size;
    cd.n_ctx = 128; cd.n_logits = 128;
    CHECK(!hybrid_model_load(NULL, &d, &m, &err), "%s", err.message);
    if (m && (c = context_of(m, cd)) != NULL) {
        CHECK(!hybrid_batch_add_logits(c, 0, ref.ids, (size_t)ref.n_ids, (size_t)ref.n_ids, &err) && !hybrid_decode(c, &err), "%s", err.message);
        for (i = 0; i < ref.n_ids; i++) {
            const double e = relative(hybrid_logits_at(c, 0, (size_t)i), m->hp.n_vocab, logits + (size_t)i * (size_t)m->hp.n_vocab, 1, m->hp.n_vocab);
            worst += e / ref.n_ids;
        }
        CHECK(worst < tolerance, "logits differ by %.2e on average", worst);
        printf("  %-20s %s: logits within %.1e on average\n", name, hybrid_mix_name(mix), worst);
        hybrid_context_destroy(c);
        check_invariance(m, &ref, HYBRID_KV_F16);
    }
    hybrid_model_destroy(m);
    hybrid_gguf_destroy(in);
    hybrid_gguf_destroy(ref.gguf);
    free(file.data);
}

int main(void)
{
    check_all_models();
    check_quantized("mixtral", HYBRID_MIX_Q8_0, 4, 0.05);
    check_quantized("mixtral", HYBRID_MIX_Q4_0, 4, 0.5);
    check_quantized("qwen2moe", HYBRID_MIX_Q8_0, 5, 0.05);
    check_quantized("qwen3moe", HYBRID_MIX_Q8_0, 9, 0.05);
    return test_end();
}
