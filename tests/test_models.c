/* Models against transformers: every layer, logits and greedy text of tiny models of all architectures (tests/oracle/make_models.py),
 * and decode against prefill, bit for bit. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include "check.h"
#include <math.h>

static const char *const names[] = { "llama", "llama-rope-freqs", "llama-rope-linear", "smollm", "mistral", "qwen2", "qwen2-untied", "qwen3", "gemma2",
                                     "gemma3", "gemma3-rope-linear", "phi3", "phi3-window", "phi3-longrope", "phi3-shortrope", "gpt2" };

typedef struct reference {
    hybrid_gguf *gguf;
    int32_t ids[512];
    int n_ids, n_greedy;
    double worst;
    const char *worst_name;
    int worst_layer;
    int n_compared;
} reference;

static const float *ref_tensor(const reference *ref, const char *name, int64_t *n)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(ref->gguf, name);
    if (n) *n = t ? (int64_t)(t->ne[0] * t->ne[1]) : 0;
    return t ? (const float *)t->data : NULL;
}

/* Largest difference, relative to the largest value of the reference. */
static double relative(const float *a, int64_t stride, const float *b, int64_t rows, int64_t cols)
{
    double diff = 0, most = 1e-30;
    int64_t r, c;
    for (r = 0; r < rows; r++)
        for (c = 0; c < cols; c++) {
            double x = a[r * stride + c], y = b[r * cols + c], d = fabs(x - y);
            if (!(d <= 1e30)) return 1e30;
            if (d > diff) diff = d;
            if (fabs(y) > most) most = fabs(y);
        }
    return diff / most;
}

static void on_trace(void *user, const char *name, int layer, const float *data, int64_t rows, int64_t cols, int64_t stride)
{
    reference *ref = (reference *)user;
    char key[64];
    const float *want;
    int64_t n;
    double d;
    if (rows != ref->n_ids) return;                    /* the greedy part */
    if (!strcmp(name, "embd")) snprintf(key, sizeof key, "ref.embd");
    else if (!strcmp(name, "l_out")) snprintf(key, sizeof key, "ref.layer.%d", layer);
    else if (!strcmp(name, "result_norm")) snprintf(key, sizeof key, "ref.norm");
    else return;
    want = ref_tensor(ref, key, &n);
    CHECK(want && n == rows * cols, "%s has %lld values, not %lld", key, (long long)n, (long long)(rows * cols));
    if (!want || n != rows * cols) return;
    ref->n_compared++;
    d = relative(data, stride, want, rows, cols);
    if (d > ref->worst) { ref->worst = d; ref->worst_name = name; ref->worst_layer = layer; }
}

static int argmax(const float *v, int n)
{
    int i, best = 0;
    for (i = 1; i < n; i++) if (v[i] > v[best]) best = i;
    return best;
}

static bool load(const char *dir, const char *name, const char *end, hybrid_model **model, hybrid_gguf **gguf)
{
    char path[512];
    hybrid_error err;
    hybrid_result r;
    snprintf(path, sizeof path, "%s/%s%s.gguf", dir, name, end);
    if (model) {
        hybrid_model_desc d;
        memset(&d, 0, sizeof d);
        d.path = path;
        r = hybrid_model_load(NULL, &d, model, &err);
    } else {
        hybrid_source s;
        memset(&s, 0, sizeof s);
        s.path = path;
        r = hybrid_gguf_open(NULL, &s, gguf, &err);
    }
    CHECK(!r, "%s", err.message);
    return !r;
}

static hybrid_context *context_of(hybrid_model *model, hybrid_context_desc d)
{
    hybrid_error err;
    hybrid_context *c = NULL;
    hybrid_result r = hybrid_context_create(model, &d, &c, &err);
    CHECK(!r, "%s", err.message);
    return c;
}

/* Whole prompt in chunks of n_batch, all logits; then the greedy continuation token by token. */
static void check_model(hybrid_model *model, reference *ref, int n_batch)
{
    hybrid_context_desc d;
    hybrid_context *c;
    hybrid_error err;
    const float *logits = ref_tensor(ref, "ref.logits", NULL), *greedy = ref_tensor(ref, "ref.greedy", NULL), *gap = ref_tensor(ref, "ref.greedy_gap", NULL);
    const int n_vocab = model->hp.n_vocab;
    int i;
    double worst = 0;
    hybrid_result r;
    memset(&d, 0, sizeof d);
    d.n_ctx = 128; d.n_batch = n_batch; d.n_logits = 128; d.kv = HYBRID_KV_F32;
    if (n_batch >= ref->n_ids) { d.trace = on_trace; d.trace_user = ref; }
    if (model->hp.n_ctx_train < 128) d.n_ctx = model->hp.n_ctx_train;
    /* longrope picks its factors by the context: the reference of the short ones is at a short context */
    if (model->hp.rope_scaling == HYBRID__SCALING_LONGROPE && strstr(check_name, "short")) d.n_ctx = HYBRID__MIN(d.n_ctx, model->hp.n_ctx_orig);
    if (!(c = context_of(model, d))) return;
    r = hybrid_batch_add_logits(c, 0, ref->ids, (size_t)ref->n_ids, (size_t)ref->n_ids, &err);
    if (!r) r = hybrid_decode(c, &err);
    CHECK(!r, "%s", err.message);
    for (i = 0; !r && i < ref->n_ids; i++) {
        double e = relative(hybrid_logits_at(c, 0, (size_t)i), n_vocab, logits + (size_t)i * (size_t)n_vocab, 1, n_vocab);
        if (e > worst) worst = e;
    }
    CHECK(worst < 1e-4, "logits differ by %.2e (n_batch %d)", worst, n_batch);
    if (d.trace) {
        CHECK(ref->n_compared == model->hp.n_layer + 2, "%d of %d intermediate tensors compared", ref->n_compared, model->hp.n_layer + 2);
        CHECK(ref->worst < 1e-4, "%s of layer %d differs by %.2e", ref->worst_name, ref->worst_layer, ref->worst);
    }
    for (i = 0; !r && i < ref->n_greedy; i++) {
        int32_t id = argmax(hybrid_logits(c, 0), n_vocab);
        CHECK(id == (int)greedy[i], "greedy token %d is %d, not %d (gap %g)", i, id, (int)greedy[i], gap[i]);
        if (id != (int)greedy[i] || i + 1 == ref->n_greedy) break;
        r = hybrid_batch_add(c, 0, &id, 1, &err);
        if (!r) r = hybrid_decode(c, &err);
        CHECK(!r, "%s", err.message);
    }
    if (n_batch >= ref->n_ids) printf("  %-20s logits within %.1e, layers within %.1e\n", check_name, worst, ref->worst);
    hybrid_context_destroy(c);
}

/* The same bits whether tokens come at once, one by one, in odd chunks, or beside another sequence; for each kind of cache. */
static void check_invariance(hybrid_model *model, const reference *ref, hybrid_kv kv)
{
    static const int step[] = { 1, 7, 40 };
    hybrid_context_desc d;
    hybrid_context *whole, *other;
    hybrid_error err;
    const int n = HYBRID__MIN(ref->n_ids, 40), n_vocab = model->hp.n_vocab;
    int i, k;
    memset(&d, 0, sizeof d);
    d.n_ctx = 128; d.n_logits = 64; d.kv = kv; d.n_seq = 3;
    whole = context_of(model, d);
    d.n_batch = 16;
    other = context_of(model, d);
    if (!whole || !other) return;
    CHECK(!hybrid_batch_add_logits(whole, 0, ref->ids, (size_t)n, (size_t)n, &err) && !hybrid_decode(whole, &err), "%s", err.message);
    for (k = 0; k < 3; k++) {
        int wrong = 0, at, m;
        CHECK(!hybrid_seq_remove(other, 1, 0, &err) && !hybrid_seq_remove(other, 2, 0, &err), "%s", err.message);
        for (at = 0; at < n; at += m) {
            m = HYBRID__MIN(step[k], n - at);
            CHECK(!hybrid_batch_add(other, 2, ref->ids + (n - 1 - at), 1, &err), "%s", err.message);
            CHECK(!hybrid_batch_add_logits(other, 1, ref->ids + at, (size_t)m, (size_t)m, &err) && !hybrid_decode(other, &err), "%s", err.message);
            for (i = 0; i < m; i++)
                wrong += !!memcmp(hybrid_logits_at(other, 1, (size_t)i), hybrid_logits_at(whole, 0, (size_t)(at + i)), (size_t)n_vocab * sizeof(float));
        }
        CHECK(!wrong, "%d of %d rows differ in chunks of %d (cache %d)", wrong, n, step[k], (int)kv);
    }
    hybrid_context_destroy(whole);
    hybrid_context_destroy(other);
}

static void check_name_of(const char *dir, const char *name, const char *ref_name)
{
    reference ref;
    hybrid_model *model = NULL;
    const float *ids;
    int64_t n = 0, i;
    memset(&ref, 0, sizeof ref);
    TEST(name);
    if (!load(dir, name, "", &model, NULL)) return;
    if (load(dir, ref_name, ".ref", NULL, &ref.gguf)) {
        ids = ref_tensor(&ref, "ref.ids", &n);
        for (i = 0; i < n && i < 512; i++) ref.ids[i] = (int32_t)ids[i];
        ref.n_ids = (int)n;
        ref_tensor(&ref, "ref.greedy", &n);
        ref.n_greedy = (int)n;
        check_model(model, &ref, 64);
        check_model(model, &ref, 7);
        check_invariance(model, &ref, HYBRID_KV_F32);
        check_invariance(model, &ref, HYBRID_KV_F16);
        if (model->hp.head_dim_k % 32 == 0 && model->hp.head_dim_v % 32 == 0) check_invariance(model, &ref, HYBRID_KV_Q8_0);
        hybrid_gguf_destroy(ref.gguf);
    }
    hybrid_model_destroy(model);
}

int main(void)
{
    const char *dir = "tests/oracle/data/models";
    size_t i;
    for (i = 0; i < sizeof names / sizeof names[0]; i++) check_name_of(dir, names[i], names[i]);
    return test_end();
}
