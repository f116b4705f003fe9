/* Adapters (LoRA): the bits of sequences that wear different ones in one batch, swaps between two tokens, forks; what
 * they add, against a model into which they were merged, and against PEFT; files, and spoilt files. */
#include "private.h"
#include <math.h>

#define FOLDER "tests/oracle/data/models/"
#define STORY  "examples/data/stories260K-q8_0.gguf"
enum { N_IDS = 24, MOST = 6 };
static char file_path[64], merged_path[64];
static hybrid_kv kv;

static float *hash_values(float *values, size_t n, unsigned seed, float scale)
{
    size_t i;
    for (i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        values[i] = scale * (float)((int)(seed >> 8) % 2001 - 1000) / 1000;
    }
    return values;
}

/* An adapter of any matrices, with values that change a lot. */
static hybrid_adapter *adapter_of(hybrid_model *m, int rank, const char *target, unsigned seed, float scale)
{
    hybrid_adapter_desc d;
    hybrid_adapter *a = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.rank = rank;
    d.alpha = 3;
    d.targets = target ? &target : NULL;
    d.n_targets = target ? 1 : 0;
    CHECK(!hybrid_adapter_create(m, &d, &a, &e), "%s", e.message);
    if (a) hash_values(a->values, a->n_values, seed, scale);
    if (a) CHECK(!hyb_adapter_changed(a, &e), "%s", e.message);
    return a;
}

static hybrid_model *model_of(hybrid_runtime *rt, const char *name)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error e;
    char path[128];
    memset(&d, 0, sizeof d);
    snprintf(path, sizeof path, "%s%s.gguf", FOLDER, name);
    d.path = strchr(name, '/') ? name : path;
    CHECK(!hybrid_model_load(rt, &d, &m, &e), "%s: %s", name, e.message);
    return m;
}

static hybrid_runtime *runtime_of(int n_threads, const char *device)
{
    hybrid_runtime_desc d;
    hybrid_runtime *rt = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_threads = n_threads;
    d.device = device;
    CHECK(!hybrid_runtime_create(&d, &rt, &e), "%s", e.message);
    return rt;
}

static hybrid_context *context_of(hybrid_model *m, int n_seq, int n_batch, int rank)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.n_ctx = 64 * n_seq;
    d.n_seq = n_seq;
    d.n_batch = n_batch;
    d.n_logits = N_IDS * n_seq;
    d.adapter_rank = rank;
    d.kv = kv;
    CHECK(!hybrid_context_create(m, &d, &c, &e), "%s", e.message);
    return c;
}

/* What a sequence can wear here: the adapters of a list by a mask, and factors. */
typedef struct outfit {
    int n, which[3];
    float scales[3];
} outfit;
static const outfit outfits[MOST] = {
    { 0, { 0 }, { 0 } },
    { 1, { 0 }, { 1 } },
    { 1, { 1 }, { 1 } },
    { 2, { 0, 1 }, { 1, 0.5f } },
    { 3, { 2, 0, 2 }, { -1, 0.25f, 2 } },
    { 2, { 1, 0 }, { 0.5f, 1 } },
};

static void wear(hybrid_context *c, int seq, hybrid_adapter *const *list, int outfit_of)
{
    const outfit *o = &outfits[outfit_of];
    hybrid_adapter *worn[3];
    hybrid_error e;
    int i;
    for (i = 0; i < o->n; i++) worn[i] = list[o->which[i]];
    CHECK(!hybrid_seq_set_adapters(c, seq, worn, o->scales, (size_t)o->n, &e), "%s", e.message);
}

static void ids_for(const hybrid_model *m, int seq, int32_t *ids)
{
    int i;
    for (i = 0; i < N_IDS; i++) ids[i] = (seq * 31 + i * 17 + i * i * 3) % HYB_MIN(m->hp.n_vocab, 250);
}

static void decode(hybrid_context *c, bool sliced)
{
    hybrid_error e;
    bool done = false;
    while (sliced && !done)
        if (hybrid_decode_step(c, 0, &done, &e)) break;
    CHECK(sliced ? done : !hybrid_decode(c, &e), "%s", e.message);
}

/* The logits of N_IDS tokens of a sequence that is alone and gets them in pieces: outfit `second` from token 9 on. */
static void alone(hybrid_model *m, hybrid_adapter *const *list, int seq, int first, int second, int piece, float *out)
{
    hybrid_context *c = context_of(m, 1, 512, 0);
    const size_t row = (size_t)m->hp.n_vocab;
    int32_t ids[N_IDS];
    hybrid_error e;
    int at, n, i;
    ids_for(m, seq, ids);
    for (at = 0; at < N_IDS; at += n) {
        n = HYB_MIN(piece, at < 9 ? 9 - at : N_IDS - at);
        wear(c, 0, list, at < 9 ? first : second);
        CHECK(!hybrid_batch_add_logits(c, 0, ids + at, (size_t)n, n, &e), "%s", e.message);
        decode(c, false);
        for (i = 0; i < n; i++) memcpy(out + (size_t)(at + i) * row, hybrid_logits_at(c, 0, i), row * sizeof *out);
    }
    hybrid_context_destroy(c);
}

/* Sequences of all outfits in one batch: 9 tokens each, a swap, and the others. A row has the bits that it has alone.
 */
static void check_mixed(hybrid_model *m, hybrid_model *threads, hybrid_adapter *const *list,
                        hybrid_adapter *const *of_threads, const char *name)
{
    const size_t row = (size_t)m->hp.n_vocab, all = row * N_IDS;
    float *want = (float *)malloc(all * MOST * sizeof *want), *again = (float *)malloc(all * sizeof *again);
    hybrid_context *c = context_of(threads, MOST, 7, 0);
    int32_t ids[N_IDS];
    hybrid_error e;
    int s, i, part, bad = 0, same = 0;
    for (s = 0; s < MOST; s++) alone(m, list, 0, s, (s + 2) % MOST, 1, want + all * (size_t)s);
    for (s = 0; s < MOST; s++) {
        alone(m, list, 0, s, (s + 2) % MOST, N_IDS, again);
        bad += memcmp(again, want + all * (size_t)s, all * sizeof *again) != 0;
        same += s && !memcmp(want, want + all * (size_t)s, all * sizeof *again);
    }
    CHECK(!bad && !same, "%s: %d differ by prefill and decode, %d are as without adapters", name, bad, same);
    ids_for(m, 0, ids);
    for (part = 0, bad = 0; part < 2; part++) {
        const int at = part ? 9 : 0, n = part ? N_IDS - 9 : 9;
        for (s = 0; s < MOST; s++) wear(c, s, of_threads, part ? (s + 2) % MOST : s);
        for (s = 0; s < MOST; s++) /* of every third one only some rows go on to the head */
            CHECK(!hybrid_batch_add_logits(c, s, ids + at, (size_t)n, s % 3 ? n : s / 3, &e), "%s", e.message);
        decode(c, true);
        for (s = 0; s < MOST; s++)
            for (i = 0; i < (s % 3 ? n : s / 3); i++) {
                const int token = s % 3 ? at + i : at + n - s / 3 + i;
                bad += memcmp(hybrid_logits_at(c, s, i), want + all * (size_t)s + (size_t)token * row,
                              row * sizeof *want) != 0;
            }
    }
    CHECK(!bad, "%s: %d rows of a mixed batch differ", name, bad);
    hybrid_context_destroy(c);
    free(want);
    free(again);
}

/* A copy wears the same, and goes its own way after a swap. */
static void check_fork(hybrid_model *m, hybrid_adapter *const *list, const char *name)
{
    const size_t row = (size_t)m->hp.n_vocab, all = row * N_IDS;
    float *want = (float *)malloc(2 * all * sizeof *want);
    hybrid_context *c = context_of(m, 3, 64, 16);
    int32_t ids[N_IDS];
    hybrid_error e;
    ids_for(m, 0, ids);
    alone(m, list, 0, 1, 1, N_IDS, want);
    alone(m, list, 0, 1, 3, N_IDS, want + all);
    wear(c, 0, list, 1);
    CHECK(!hybrid_batch_add(c, 0, ids, 9, &e), "%s", e.message);
    decode(c, false);
    CHECK(!hybrid_seq_fork(c, 0, 1, &e) && !hybrid_seq_fork(c, 0, 2, &e), "%s", e.message);
    wear(c, 2, list, 3);
    CHECK(!hybrid_batch_add(c, 1, ids + 9, N_IDS - 9, &e) && !hybrid_batch_add(c, 2, ids + 9, N_IDS - 9, &e), "%s",
          e.message);
    decode(c, false);
    CHECK(!memcmp(hybrid_logits(c, 1), want + all - row, row * sizeof *want), "%s: a fork wears something else", name);
    CHECK(!memcmp(hybrid_logits(c, 2), want + 2 * all - row, row * sizeof *want), "%s: a swapped fork", name);
    hybrid_context_destroy(c);
    free(want);
}

static double distance(const float *a, const float *b, size_t n)
{
    double diff = 0, most = 1e-30;
    size_t i;
    for (i = 0; i < n; i++) {
        diff = HYB_MAX(diff, fabs((double)a[i] - b[i]));
        most = HYB_MAX(most, fabs((double)b[i]));
    }
    return diff / most;
}

/* What two adapters add is what their products add to the weights: the merged file says the same. */
static void check_merged(hybrid_model *m, hybrid_adapter *const *list, const char *name)
{
    const size_t all = (size_t)m->hp.n_vocab * N_IDS;
    float *worn = (float *)malloc(2 * all * sizeof *worn), *merged = worn + all;
    hybrid_adapter *both[2];
    hybrid_model *made;
    hybrid_error e;
    double d;
    both[0] = list[0];
    both[1] = list[1];
    kv = HYBRID_KV_F32;
    alone(m, list, 0, 3, 3, N_IDS, worn);
    CHECK(!hybrid_adapter_merge(m, both, outfits[3].scales, 2, merged_path, HYBRID_MIX_F32, &e), "%s: %s", name,
          e.message);
    if ((made = model_of(NULL, merged_path)) != NULL) {
        alone(made, NULL, 0, 0, 0, N_IDS, merged);
        d = distance(worn, merged, all);
        CHECK(d < 2e-5, "%s: %.1e from the merged model", name, d);
        hybrid_model_destroy(made);
    }
    kv = HYBRID_KV_F16;
    free(worn);
}

static void check_bits(void)
{
    static const char *const models[] = { "llama", "gpt2",  "phi3",   "gemma3",       "qwen2moe", "mixtral",
                                          "lfm2",  "rwkv7", "arwkv7", "llama-layers", STORY };
    hybrid_runtime *one = runtime_of(1, "cpu"), *three = runtime_of(3, "cpu");
    size_t i;
    int k;
    for (i = 0; i < HYB_COUNT(models); i++) {
        hybrid_model *m = model_of(one, models[i]), *t = model_of(three, models[i]);
        hybrid_adapter *list[3], *of_t[3];
        if (!m || !t) continue;
        TEST(models[i]);
        for (k = 0; k < 3; k++) {
            const int rank = k == 0 ? 8 : k == 1 ? 3 : 16;
            list[k] = adapter_of(m, rank, k == 2 ? NULL : "all", 5u + (unsigned)k, 0.3f);
            of_t[k] = adapter_of(t, rank, k == 2 ? NULL : "all", 5u + (unsigned)k, 0.3f);
        }
        check_mixed(m, t, list, of_t, models[i]);
        check_fork(t, of_t, models[i]);
        if (strcmp(models[i], STORY)) check_merged(m, list, models[i]);
        for (k = 0; k < 3; k++) hybrid_adapter_destroy(list[k]);
        for (k = 0; k < 3; k++) hybrid_adapter_destroy(of_t[k]);
        hybrid_model_destroy(m);
        hybrid_model_destroy(t);
    }
    hybrid_runtime_destroy(one);
    hybrid_runtime_destroy(three);
}

/* ---- adapters that PEFT made ------------------------------------------------------------------------------------- */

#define PEFT "tests/oracle/data/adapters/"

static hybrid_adapter *load(hybrid_model *m, const char *path, hybrid_error *e)
{
    hybrid_source source;
    hybrid_adapter *a = NULL;
    memset(&source, 0, sizeof source);
    source.path = path;
    if (!hybrid_adapter_load(m, &source, &a, e)) e->message[0] = 0;
    return a;
}

static hybrid_gguf *open_gguf(const char *path)
{
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_error e;
    memset(&source, 0, sizeof source);
    source.path = path;
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &e), "%s", e.message);
    return g;
}

/* What hybrid saves of an adapter that it read is the file: every tensor and every key that matters to llama.cpp. */
static void check_saved(const hybrid_adapter *a, const char *path, hybrid_type type)
{
    hybrid_gguf *was = open_gguf(path), *is;
    hybrid_error e;
    hybrid_string text, again;
    double x = 0, y = 1;
    size_t i;
    static const char *const keys[] = { "general.type", "adapter.type", "general.architecture" };
    CHECK(!hybrid_adapter_save(a, file_path, type, &e), "%s", e.message);
    is = open_gguf(file_path);
    CHECK(hybrid_gguf_tensor_count(was) == hybrid_gguf_tensor_count(is), "the number of tensors");
    for (i = 0; i < hybrid_gguf_tensor_count(is); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(is, i), *o;
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        o = hybrid_gguf_find_tensor(was, name);
        CHECK(o && o->type == t->type && o->size == t->size && !memcmp(o->ne, t->ne, sizeof t->ne) &&
                  !memcmp(o->data, t->data, (size_t)t->size),
              "%s: %s", path, name);
    }
    for (i = 0; i < HYB_COUNT(keys); i++)
        CHECK(hybrid_gguf_get_string(was, keys[i], &text) && hybrid_gguf_get_string(is, keys[i], &again) &&
                  text.size == again.size && !memcmp(text.data, again.data, text.size),
              "%s", keys[i]);
    CHECK(hybrid_gguf_get_f64(was, "adapter.lora.alpha", &x) && hybrid_gguf_get_f64(is, "adapter.lora.alpha", &y) &&
              x == y,
          "alpha");
    hybrid_gguf_destroy(was);
    hybrid_gguf_destroy(is);
}

static const float *ref_of(const hybrid_gguf *ref, const char *name)
{
    const hybrid_gguf_tensor *t = hybrid_gguf_find_tensor(ref, name);
    CHECK(t != NULL, "%s", name);
    return t ? (const float *)t->data : NULL;
}

enum { LAST = 6, N_GREEDY = 24 };

static void check_peft_model(const char *name)
{
    char path[3][128];
    hybrid_model *m = model_of(NULL, name);
    hybrid_adapter *list[2];
    hybrid_context *c;
    hybrid_gguf *ref;
    hybrid_error e;
    const float *ids, *greedy, *gap;
    float scales[2] = { 1, 0.5f };
    int32_t tokens[64], best;
    int i, k, n;
    double d[2];
    TEST(name);
    for (i = 0; i < 3; i++) snprintf(path[i], sizeof path[i], PEFT "%s.%s.gguf", name, i == 2 ? "ref" : i ? "b" : "a");
    for (i = 0; i < 2; i++) {
        list[i] = load(m, path[i], &e);
        CHECK(list[i] != NULL, "%s: %s", path[i], e.message);
        if (!list[i]) return;
        check_saved(list[i], path[i], i ? HYBRID_TYPE_F16 : HYBRID_TYPE_F32);
    }
    ref = open_gguf(path[2]);
    ids = ref_of(ref, "ref.ids");
    greedy = ref_of(ref, "ref.greedy");
    gap = ref_of(ref, "ref.gap");
    n = (int)hybrid_gguf_find_tensor(ref, "ref.ids")->ne[0];
    for (i = 0; i < n; i++) tokens[i] = (int32_t)ids[i];
    kv = HYBRID_KV_F32;
    c = context_of(m, 2, 512, 0);
    for (i = 0; i < 2; i++) {
        CHECK(!hybrid_seq_set_adapters(c, i, list, scales, i ? 2 : 1, &e), "%s", e.message);
        CHECK(!hybrid_batch_add_logits(c, i, tokens, (size_t)n, LAST, &e), "%s", e.message);
    }
    decode(c, false);
    for (i = 0; i < 2; i++)
        d[i] = distance(hybrid_logits_at(c, i, 0), ref_of(ref, i ? "ref.both" : "ref.a"), LAST * (size_t)m->hp.n_vocab);
    CHECK(d[0] < 5e-6 && d[1] < 5e-6, "%s: %.1e and %.1e from PEFT", name, d[0], d[1]);
    for (i = 0; i < N_GREEDY; i++) {
        const float *row = hybrid_logits(c, 0);
        for (best = k = 0; k < m->hp.n_vocab; k++)
            if (row[k] > row[best]) best = k;
        CHECK(best == (int32_t)greedy[i] || gap[i] < 1e-4f, "%s: token %d is %d, not %d", name, i, best,
              (int)greedy[i]);
        tokens[0] = (int32_t)greedy[i];
        CHECK(!hybrid_batch_add(c, 0, tokens, 1, &e), "%s", e.message);
        decode(c, false);
    }
    printf("  %-8s %.1e with one adapter of PEFT, %.1e with two\n", name, d[0], d[1]);
    kv = HYBRID_KV_F16;
    hybrid_gguf_destroy(ref);
    hybrid_adapter_destroy(list[0]); /* the context has it still */
    hybrid_adapter_destroy(list[1]);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
}

static void check_peft(void)
{
    check_peft_model("llama");
    check_peft_model("gpt2");
    check_peft_model("phi3");
    check_peft_model("mixtral"); /* adapters of experts: transformers with the sums as weights, and llama.cpp */
    check_peft_model("qwen2moe");
}

/* ---- experts ----------------------------------------------------------------------------------------------------- */

/* Adapters of one kind of the experts' matrices each. */
static void check_experts_alone(hybrid_model *m, const char *name)
{
    static const char *const targets[] = { "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps" };
    const hyb_hparams *hp = &m->hp;
    hybrid_adapter *list[3];
    hybrid_adapter_info info;
    uint64_t id;
    int i;
    for (i = 0; i < 3; i++) {
        list[i] = adapter_of(m, i ? 5 : 16, targets[i], 3u + (unsigned)i, 0.4f);
        hybrid_adapter_describe(list[i], &info);
        CHECK(info.n_matrices == (size_t)hp->n_layer &&
                  info.n_params ==
                      (uint64_t)(i ? 5 : 16) * (uint64_t)((hp->n_embd + hp->n_ff_expert) * hp->n_expert * hp->n_layer),
              "%s: %s has %d matrices of %ld values", name, targets[i], (int)info.n_matrices, (long)info.n_params);
    }
    check_merged(m, list, name); /* outfits of gates and ups */
    check_merged(m, list + 1, name);
    for (i = 0; i < 2; i++) {
        const hyb_adapter_pair *p = &list[0]->pairs[0];
        id = hyb_adapter_identity(list[0]);
        list[0]->values[i ? p->b_at + hyb_adapter_count(&p->b) - 1 : p->a_at + hyb_adapter_count(&p->a) - 1] += 1;
        CHECK(id != hyb_adapter_identity(list[0]), "%s: the last expert's %c is no part of what it is", name, 'A' + i);
    }
    for (i = 0; i < 3; i++) hybrid_adapter_destroy(list[i]);
}

/* Over experts of block types: the bits of mixed batches, and what adapters add, as far as products of bytes tell. */
static void check_experts_quantized(hybrid_model *m, const char *name)
{
    hybrid_runtime *one = runtime_of(1, "cpu"), *three = runtime_of(3, "cpu");
    const size_t all = (size_t)m->hp.n_vocab * N_IDS;
    float *floats = (float *)malloc(3 * all * sizeof *floats);
    hybrid_model *q, *t;
    hybrid_adapter *list[3], *of_q[3], *of_t[3];
    hybrid_error e;
    double off;
    int k;
    CHECK(!hybrid_adapter_merge(m, NULL, NULL, 0, merged_path, HYBRID_MIX_Q8_0, &e), "%s", e.message);
    q = model_of(one, merged_path);
    t = model_of(three, merged_path);
    for (k = 0; k < 3; k++) {
        const char *target = k < 2 ? "all" : "ffn_down_exps";
        list[k] = adapter_of(m, 4 + 3 * k, target, 5u + (unsigned)k, 0.3f);
        of_q[k] = adapter_of(q, 4 + 3 * k, target, 5u + (unsigned)k, 0.3f);
        of_t[k] = adapter_of(t, 4 + 3 * k, target, 5u + (unsigned)k, 0.3f);
    }
    check_mixed(q, t, of_q, of_t, name);
    alone(m, list, 0, 1, 1, N_IDS, floats);
    alone(q, of_q, 0, 1, 1, N_IDS, floats + all);
    alone(m, list, 0, 0, 0, N_IDS, floats + 2 * all);
    off = distance(floats + all, floats, all);
    CHECK(off < 0.2 && off < distance(floats + 2 * all, floats, all) / 4, "%s as Q8_0: %.1e from floats", name, off);
    for (k = 0; k < 3; k++) hybrid_adapter_destroy(list[k]);
    for (k = 0; k < 3; k++) hybrid_adapter_destroy(of_q[k]);
    for (k = 0; k < 3; k++) hybrid_adapter_destroy(of_t[k]);
    hybrid_model_destroy(q);
    hybrid_model_destroy(t);
    hybrid_runtime_destroy(one);
    hybrid_runtime_destroy(three);
    free(floats);
}

static void check_experts(void)
{
    static const char *const models[] = { "mixtral", "qwen2moe", "qwen3moe" };
    size_t i;
    for (i = 0; i < HYB_COUNT(models); i++) {
        hybrid_model *m = model_of(NULL, models[i]);
        TEST("adapters of experts");
        if (!m) continue;
        check_experts_alone(m, models[i]);
        check_experts_quantized(m, models[i]);
        hybrid_model_destroy(m);
    }
}

/* ---- in which type they are read --------------------------------------------------------------------------------- */

/* B of (out, rank), turned, against a plain sum; and every instruction set that this machine has, bit by bit. */
static void check_widen_of(hybrid_type type, int rank, int out, int n)
{
    enum { MOST_OUT = 96, MOST_RANK = 40, MOST_N = 6 };
    static float y[2][MOST_N][MOST_OUT], t[MOST_N * MOST_RANK], first[MOST_N][MOST_OUT], panels[MOST_OUT * MOST_RANK];
    static float memory[MOST_OUT * MOST_RANK + 64];
    const int padded = (out + HYB_LOW_PANEL - 1) / HYB_LOW_PANEL * HYB_LOW_PANEL, from = out > 48 ? 16 : 0;
    const size_t scales = hyb_low_scales(type, out);
    char *bytes = (char *)memory + scales;
    double most = 0;
    hyb_tensor b;
    hyb_isa isa;
    int c, r, j;
    memset(&b, 0, sizeof b);
    b.type = type;
    b.ne[0] = rank;
    b.ne[1] = out;
    b.nb[1] = (size_t)rank * (type == HYBRID_TYPE_F32 ? 4 : type == HYBRID_TYPE_F16 ? 2 : 1);
    b.data = memory;
    hash_values(panels, (size_t)(padded * rank), 7u + (unsigned)(rank + out), 1);
    hash_values(t, (size_t)(n * rank), 3, 1);
    hash_values(&first[0][0], MOST_N * MOST_OUT, 5, 1);
    for (r = 0; r < padded / HYB_LOW_PANEL && scales; r++) memory[r] = 0.25f + (float)r;
    for (r = 0; r < padded * rank; r++) {
        const float v = panels[r];
        if (type == HYBRID_TYPE_F32) ((float *)(void *)bytes)[r] = v;
        if (type == HYBRID_TYPE_F16) hyb_store_u16(bytes + 2 * r, hyb_f32_to_f16(v));
        if (type == HYBRID_TYPE_F16) panels[r] = hyb_f16_to_f32(hyb_load_u16(bytes + 2 * r));
        if (type == HYBRID_TYPE_Q8_0) bytes[r] = (char)(int)(127 * v);
        if (type == HYBRID_TYPE_Q8_0) panels[r] = (float)(int)(127 * v) * memory[r / (HYB_LOW_PANEL * rank)];
    }
    for (isa = HYB_ISA_GENERIC; isa < HYB_ISA_COUNT; isa = (hyb_isa)(isa + 1)) {
        const int k = isa != HYB_ISA_GENERIC;
        if (hyb_isa_limit(isa, hyb_cpu_isa()) != isa) continue;
        memcpy(y[k], first, sizeof first);
        hyb_cpu_kernels_for(isa)->widen(&b, t, n, &y[k][0][from], MOST_OUT, from, out);
        CHECK(!k || !memcmp(y[0], y[1], sizeof y[0]), "%s, type %d, rank %d, %d outputs, %d rows", hyb_isa_name(isa),
              (int)type, rank, out, n);
    }
    for (c = 0; c < n; c++)
        for (r = 0; r < MOST_OUT; r++) {
            double want = (double)first[c][r];
            for (j = 0; r >= from && r < out && j < rank; j++)
                want += (double)t[c * rank + j] *
                        (double)panels[(r / HYB_LOW_PANEL * rank + j) * HYB_LOW_PANEL + r % HYB_LOW_PANEL];
            most = HYB_MAX(most, fabs(want - (double)y[0][c][r]) / (1 + fabs(want)));
        }
    CHECK(most < 5e-5, "type %d, rank %d, %d outputs, %d rows: %.1e from the sum", (int)type, rank, out, n, most);
}

static void check_widen(void)
{
    static const hybrid_type types[] = { HYBRID_TYPE_F32, HYBRID_TYPE_F16, HYBRID_TYPE_Q8_0 };
    static const int ranks[] = { 1, 3, 16, 40 }, outs[] = { 5, 16, 33, 64, 96 };
    size_t i, k, o;
    int n;
    TEST("t B");
    for (i = 0; i < HYB_COUNT(types); i++)
        for (k = 0; k < HYB_COUNT(ranks); k++)
            for (o = 0; o < HYB_COUNT(outs); o++)
                for (n = 1; n < 7; n++) check_widen_of(types[i], ranks[k], outs[o], n);
}

/* A long batch, whose rows are cut for x A^T, against token by token, on other threads. */
static void check_long(const char *name)
{
    enum { LONG = 150 };
    hybrid_runtime *rt[2];
    float *values[2];
    int i, k;
    TEST("a long batch");
    for (i = 0; i < 2; i++) {
        hybrid_context *c;
        hybrid_adapter *a;
        hybrid_model *m;
        hybrid_error e;
        int32_t ids[LONG];
        rt[i] = runtime_of(i ? 3 : 1, "cpu");
        m = model_of(rt[i], name);
        a = adapter_of(m, 19, "all", 8, 0.05f);
        c = context_of(m, 3, LONG, 0);
        CHECK(!hybrid_seq_set_adapters(c, 0, &a, NULL, 1, &e), "%s", e.message);
        for (k = 0; k < LONG; k++) ids[k] = k * 7 % HYB_MIN(m->hp.n_vocab, 250);
        for (k = 0; k < LONG; k += i ? LONG : 1) {
            CHECK(!hybrid_batch_add(c, 0, ids + k, i ? LONG : 1, &e), "%s", e.message);
            decode(c, false);
        }
        values[i] = (float *)malloc((size_t)m->hp.n_vocab * sizeof(float));
        memcpy(values[i], hybrid_logits(c, 0), (size_t)m->hp.n_vocab * sizeof(float));
        k = i && !memcmp(values[0], values[1], (size_t)m->hp.n_vocab * sizeof(float));
        CHECK(!i || k, "%s: a batch of %d differs from its tokens", name, LONG);
        hybrid_context_destroy(c);
        hybrid_adapter_destroy(a);
        hybrid_model_destroy(m);
    }
    for (i = 0; i < 2; i++) free(values[i]);
    for (i = 0; i < 2; i++) hybrid_runtime_destroy(rt[i]);
}

/* How far logits are with the adapter read in a type from those with F32, against what the adapter changes. */
static double rounding(hybrid_model *m, hybrid_adapter *a, hybrid_type type, float *values)
{
    const size_t all = (size_t)m->hp.n_vocab * N_IDS;
    float *exact = values, *none = values + all, *is = values + 2 * all;
    hybrid_error e;
    double far;
    CHECK(!hybrid_adapter_set_type(a, HYBRID_TYPE_F32, &e), "%s", e.message);
    alone(m, &a, 0, 1, 1, N_IDS, exact);
    alone(m, &a, 0, 0, 0, N_IDS, none);
    CHECK(!hybrid_adapter_set_type(a, type, &e), "%s", e.message);
    alone(m, &a, 0, 1, 1, N_IDS, is);
    far = distance(none, exact, all);
    return distance(is, exact, all) / far;
}

/* A value that a half holds is read exactly as F16, whatever its size: those of F16 files lose nothing. And a copy is
 * made anew when the values have changed. */
static void check_types(void)
{
    hybrid_model *m = model_of(NULL, STORY), *floats = model_of(NULL, "llama");
    hybrid_adapter *a = adapter_of(m, 16, "all", 6, 0.3f), *b = adapter_of(floats, 16, "all", 6, 0.3f);
    const size_t row = (size_t)HYB_MAX(m->hp.n_vocab, floats->hp.n_vocab) * N_IDS;
    float *values = (float *)malloc(3 * row * sizeof *values);
    hybrid_adapter_info info, again;
    hybrid_error e;
    double far[2];
    size_t i;
    TEST("types");
    CHECK(a->pairs[0].worn_a.type == HYBRID_TYPE_Q8_0 && b->pairs[0].worn_b.type == HYBRID_TYPE_F32,
          "as exact as what is changed");
    kv = HYBRID_KV_F32;
    far[0] = rounding(floats, b, HYBRID_TYPE_Q8_0, values);
    far[1] = rounding(floats, b, HYBRID_TYPE_F16, values);
    kv = HYBRID_KV_F16;
    printf("  of what an adapter changes: %.1e by Q8_0, %.1e by F16\n", far[0], far[1]);
    CHECK(far[0] > 0 && far[0] < 0.02 && far[1] > 0 && far[1] < 1e-3, "%.1e by Q8_0, %.1e by F16", far[0], far[1]);
    CHECK(!hybrid_adapter_set_type(a, HYBRID_TYPE_F16, &e), "%s", e.message);
    hybrid_adapter_describe(a, &info);
    for (i = 0; i < a->n_values; i++)
        a->values[i] = ldexpf(hyb_f16_to_f32(hyb_f32_to_f16(a->values[i])), i < a->pairs[0].b_at ? -20 : 0);
    CHECK(!hyb_adapter_changed(a, &e), "%s", e.message);
    CHECK(rounding(m, a, HYBRID_TYPE_F16, values) == 0, "halves are not exact");
    CHECK(!hybrid_adapter_set_type(a, HYBRID_TYPE_Q8_0, &e), "%s", e.message);
    hybrid_adapter_describe(a, &again);
    CHECK(again.bytes < info.bytes, "bytes are not fewer");
    e.message[0] = 0;
    CHECK(hybrid_adapter_set_type(a, HYBRID_TYPE_Q4_0, &e) == HYBRID_ERROR_INVALID && e.message[0] &&
              a->pairs[0].worn_a.type == HYBRID_TYPE_Q8_0,
          "a type that it cannot be read in");
    CHECK(hybrid_adapter_set_type(NULL, HYBRID_TYPE_F32, &e) == HYBRID_ERROR_INVALID, "no adapter");
    alone(m, &a, 0, 1, 1, N_IDS, values);
    memset(a->values, 0, a->n_values * sizeof *a->values);
    CHECK(!hyb_adapter_changed(a, &e), "%s", e.message);
    alone(m, &a, 0, 1, 1, N_IDS, values + row);
    alone(m, &a, 0, 0, 0, N_IDS, values);
    CHECK(!memcmp(values, values + row, (size_t)m->hp.n_vocab * N_IDS * sizeof *values), "an old copy, or no zeros");
    hybrid_adapter_destroy(a);
    hybrid_adapter_destroy(b);
    hybrid_model_destroy(m);
    hybrid_model_destroy(floats);
    free(values);
}

/* ---- a conversation ---------------------------------------------------------------------------------------------- */

static void talk(hybrid_session *s, hybrid_adapter *a, int at, char *text, size_t size)
{
    hybrid_error e;
    const char *piece;
    int n = 0;
    text[0] = 0;
    hybrid_session_reset(s);
    CHECK(!hybrid_session_set_adapters(s, NULL, NULL, 0, &e) && !hybrid_session_complete(s, "Once upon a"), "%s",
          e.message);
    for (; n < 40; n++) {
        if (n == at) CHECK(!hybrid_session_set_adapters(s, &a, NULL, 1, &e), "%s", e.message);
        if (!(piece = hybrid_session_next(s))) break;
        snprintf(text + strlen(text), size - strlen(text), "%s", piece);
    }
}

/* From its fourth piece on an answer goes another way; without the adapter it is what it was. */
static void check_session(void)
{
    static const hybrid_logit_bias ends[] = { { 2, -INFINITY } };
    hybrid_model *m = model_of(NULL, "llama");
    hybrid_adapter *a = adapter_of(m, 8, "all", 4, 0.5f);
    hybrid_session_desc d;
    hybrid_session *s = NULL;
    hybrid_error e;
    char text[4][512];
    size_t same = 0;
    TEST("a session");
    memset(&d, 0, sizeof d);
    d.max_tokens = 40;
    d.sampler.bias = ends;
    d.sampler.n_bias = 1;
    CHECK(!hybrid_session_create(m, &d, &s, &e), "%s", e.message);
    talk(s, a, 99, text[0], sizeof text[0]);
    talk(s, a, 0, text[1], sizeof text[1]);
    talk(s, a, 3, text[2], sizeof text[2]);
    hybrid_adapter_destroy(a);
    talk(s, NULL, 99, text[3], sizeof text[3]);
    while (text[0][same] && text[0][same] == text[2][same]) same++;
    CHECK(!strcmp(text[0], text[3]) && strcmp(text[0], text[1]) && strcmp(text[0], text[2]) && same >= 3,
          "'%s', '%s', '%s', '%s'", text[0], text[1], text[2], text[3]);
    hybrid_session_destroy(s);
    hybrid_model_destroy(m);
}

/* ---- files that are wrong ---------------------------------------------------------------------------------------- */

/* An adapter's file with one thing wrong. */
typedef struct wrong {
    const char *words; /* of the refusal; NULL: it is right */
    hybrid_result result;
    const char *general, *kind, *arch, *base;
    float alpha;
    uint64_t k, rank, rank_b, out;
    int spoilt; /* 1: no lora_b, 2: a NaN, 3: a tensor of another kind, 4: Q8_0, 5: alora, 6: no alpha */
} wrong;

static bool wrong_file(const wrong *w)
{
    hybrid_gguf_writer *out = NULL;
    hybrid_error e;
    static float values[1 << 20];
    char blocks[4096], name[128];
    uint64_t ne[2];
    bool good;
    hash_values(values, HYB_COUNT(values), 3, 0.1f);
    if (w->spoilt == 2) values[5] = NAN;
    good = !hybrid_gguf_writer_create(NULL, &out, &e);
    if (w->general) hybrid_gguf_set_string(out, "general.type", w->general, NULL);
    if (w->kind) hybrid_gguf_set_string(out, "adapter.type", w->kind, NULL);
    if (w->arch) hybrid_gguf_set_string(out, "general.architecture", w->arch, NULL);
    if (w->spoilt != 6) hybrid_gguf_set_float(out, "adapter.lora.alpha", HYBRID_GGUF_F32, w->alpha, NULL);
    if (w->spoilt == 5)
        hybrid_gguf_set_numbers(out, "adapter.alora.invocation_tokens", HYBRID_GGUF_U32, "abcd", 1, NULL);
    ne[0] = w->k;
    ne[1] = w->rank;
    snprintf(name, sizeof name, "%s.%s", w->base, w->spoilt == 3 ? "lora_magnitude" : "lora_a");
    hybrid_gguf_add_tensor(out, name, w->spoilt == 4 ? HYBRID_TYPE_Q8_0 : HYBRID_TYPE_F32, 2, ne, NULL);
    ne[0] = w->rank_b;
    ne[1] = w->out;
    snprintf(name, sizeof name, "%s.lora_b", w->base);
    if (w->spoilt != 1) hybrid_gguf_add_tensor(out, name, HYBRID_TYPE_F32, 2, ne, NULL);
    good = good && !hybrid_gguf_begin_path(out, file_path, &e);
    if (w->spoilt == 4) {
        good = good && !hybrid_quantize(HYBRID_TYPE_Q8_0, values, blocks, (size_t)(w->k * w->rank), NULL, &e);
        good = good && !hybrid_gguf_write(out, blocks, hybrid_type_row_bytes(HYBRID_TYPE_Q8_0, w->k * w->rank), &e);
    } else
        good = good && !hybrid_gguf_write(out, values, (size_t)(w->k * w->rank) * 4, &e);
    if (w->spoilt != 1) good = good && !hybrid_gguf_write(out, values, (size_t)(w->rank_b * w->out) * 4, &e);
    good = good && !hybrid_gguf_end(out, &e);
    hybrid_gguf_writer_destroy(out);
    CHECK(good, "%s", e.message);
    return good;
}

static void check_refused(hybrid_model *m, const wrong *all, size_t n)
{
    size_t i;
    TEST("wrong files");
    for (i = 0; i < n; i++) {
        hybrid_error e;
        hybrid_adapter *a;
        e.result = HYBRID_OK;
        if (!wrong_file(&all[i])) continue;
        a = load(m, file_path, &e);
        CHECK(!a == !!all[i].words && e.result == all[i].result && (!all[i].words || strstr(e.message, all[i].words)),
              "%s: %d '%s'", all[i].words ? all[i].words : "right", (int)e.result, e.message);
        if (a && i < 3)
            CHECK(a->pairs[0].scale == (i ? 1.0f : 2.0f), "file %d: the factor is %g", (int)i,
                  (double)a->pairs[0].scale);
        hybrid_adapter_destroy(a);
    }
}

static void check_refusals(hybrid_model *m)
{
    const hyb_tensor *t = &m->weights.tensors[m->net.layers[0].first + 1]; /* attn_q */
    const uint64_t k = (uint64_t)t->ne[0], out = (uint64_t)t->ne[1];
#define GOOD       "adapter", "lora", "llama", "blk.0.attn_q.weight"
#define BASE(base) "adapter", "lora", "llama", base
    const wrong all[] = {
        { NULL, HYBRID_OK, GOOD, 4, k, 2, 2, out, 0 },
        { NULL, HYBRID_OK, GOOD, 0, k, 2, 2, out, 0 },
        { NULL, HYBRID_OK, GOOD, 0, k, 2, 2, out, 6 },
        { NULL, HYBRID_OK, GOOD, 4, k, 2, 2, out, 4 },
        { "general.type is \"model\"", HYBRID_ERROR_FORMAT, "model", "lora", "llama", "blk.0.attn_q.weight", 4, k, 2, 2,
          out, 0 },
        { "general.type is missing", HYBRID_ERROR_FORMAT, NULL, "lora", "llama", "blk.0.attn_q.weight", 4, k, 2, 2, out,
          0 },
        { "adapter.type is \"ia3\"", HYBRID_ERROR_UNSUPPORTED, "adapter", "ia3", "llama", "blk.0.attn_q.weight", 4, k,
          2, 2, out, 0 },
        { "architecture qwen2", HYBRID_ERROR_FORMAT, "adapter", "lora", "qwen2", "blk.0.attn_q.weight", 4, k, 2, 2, out,
          0 },
        { "alpha", HYBRID_ERROR_FORMAT, GOOD, NAN, k, 2, 2, out, 0 },
        { "alpha", HYBRID_ERROR_FORMAT, GOOD, -1, k, 2, 2, out, 0 },
        { "blk.0.attn_q.weight.lora_a", HYBRID_ERROR_FORMAT, GOOD, 4, k + 1, 2, 2, out, 0 },
        { "blk.0.attn_q.weight.lora_a", HYBRID_ERROR_FORMAT, GOOD, 4, k, 2, 3, out, 0 },
        { "blk.0.attn_q.weight.lora_a", HYBRID_ERROR_FORMAT, GOOD, 4, k, 2, 2, out + 1, 0 },
        { "has rank 1025", HYBRID_ERROR_LIMIT, GOOD, 4, k, 1025, 1025, out, 0 },
        { "does not have", HYBRID_ERROR_FORMAT, BASE("blk.99.attn_q.weight"), 4, k, 2, 2, out, 0 },
        { "does not have", HYBRID_ERROR_FORMAT, BASE("blk.0.attn_q.bias"), 4, k, 2, 2, out, 0 },
        { "embeddings", HYBRID_ERROR_UNSUPPORTED, BASE("token_embd.weight"), 4, k, 2, 2, out, 0 },
        { "embeddings", HYBRID_ERROR_UNSUPPORTED, BASE("output.weight"), 4, k, 2, 2, out, 0 },
        { "vector", HYBRID_ERROR_UNSUPPORTED, BASE("blk.0.attn_norm.weight"), 4, k, 2, 2, out, 0 },
        { "not the other one", HYBRID_ERROR_FORMAT, GOOD, 4, k, 2, 2, out, 1 },
        { "not a finite", HYBRID_ERROR_NUMERIC, GOOD, 4, k, 2, 2, out, 2 },
        { "lora_magnitude", HYBRID_ERROR_UNSUPPORTED, GOOD, 4, k, 2, 2, out, 3 },
        { "alora", HYBRID_ERROR_UNSUPPORTED, GOOD, 4, k, 2, 2, out, 5 },
    };
    check_refused(m, all, HYB_COUNT(all));
}

/* A pair of two dimensions for the matrices of all experts, which have three. */
static void check_refused_experts(void)
{
    hybrid_model *m = model_of(NULL, "mixtral");
    const uint64_t k = (uint64_t)m->hp.n_embd, out = (uint64_t)m->hp.n_ff_expert;
    const wrong flat = { "blk.1.ffn_up_exps.weight.lora_a", HYBRID_ERROR_FORMAT, BASE("blk.1.ffn_up_exps.weight"), 4, k,
                         2,                                 2,                   out,                              0 };
    check_refused(m, &flat, 1);
    hybrid_model_destroy(m);
}

/* Bytes of a good file are changed, or missing: refused, or an adapter of finite values that can be worn. */
static void check_spoilt(hybrid_model *m)
{
    size_t size, i, good = 0;
    char *bytes = read_file(PEFT "llama.b.gguf", &size), *copy = (char *)malloc(size);
    hybrid_context *c = context_of(m, 1, 8, 8);
    hybrid_source source;
    hybrid_adapter *a;
    hybrid_error e;
    unsigned seed = 9;
    TEST("spoilt files");
    for (i = 0; i < 600; i++) {
        size_t at;
        memcpy(copy, bytes, size);
        seed = seed * 1664525u + 1013904223u;
        at = (seed >> 8) % (i % 2 ? size : HYB_MIN(size, 1400));
        memset(&source, 0, sizeof source);
        source.data = copy;
        source.size = i % 10 ? size : at;
        if (i % 10) copy[at] = (char)(copy[at] ^ 1 << (i / 10) % 8);
        if (hybrid_adapter_load(m, &source, &a, &e)) {
            CHECK(!a && e.message[0], "a sentence");
            continue;
        }
        good++;
        CHECK(!hyb_not_finite(a->values, a->n_values) || hyb_not_finite(a->values, a->n_values) == a->n_values,
              "finite");
        CHECK(!hybrid_seq_set_adapters(c, 0, &a, NULL, 1, &e), "%s", e.message);
        hybrid_adapter_destroy(a);
    }
    CHECK(good > 40 && good < 560, "%d of 600 are good", (int)good);
    hybrid_context_destroy(c);
    free(copy);
    free(bytes);
}

static void check_files(void)
{
    hybrid_model *m = model_of(NULL, "llama");
    check_refusals(m);
    check_refused_experts();
    check_spoilt(m);
    hybrid_model_destroy(m);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static size_t live, counted;
static bool empty_hand;
static void *count_alloc(void *user, size_t size)
{
    size_t *p = empty_hand ? NULL : (size_t *)malloc(size + 16);
    (void)user;
    if (!p) return NULL;
    *p = size;
    live += size;
    return p + 2;
}
static void count_free(void *user, void *block)
{
    (void)user;
    live -= ((size_t *)block)[-2];
    free((size_t *)block - 2);
}

/* The plan is what is then used, with room for adapters and without; an adapter says what it takes, and ends with the
 * last that holds it. */
static void check_memory(const char *path)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_context_desc cd;
    hybrid_memory_plan plan;
    hybrid_adapter_info info;
    hybrid_runtime *rt = NULL;
    hybrid_model *m = NULL;
    hybrid_context *c = NULL;
    hybrid_adapter *a, *b;
    hybrid_error e;
    size_t before, empty;
    int32_t ids[3] = { 5, 6, 7 };
    int rank;
    TEST("memory");
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&cd, 0, sizeof cd);
    rd.n_threads = 2;
    rd.allocator.alloc = count_alloc;
    rd.allocator.free = count_free;
    md.path = path;
    cd.n_ctx = 64;
    cd.n_seq = 2;
    CHECK(!hybrid_runtime_create(&rd, &rt, &e), "%s", e.message);
    empty = live;
    CHECK(!hybrid_model_load(rt, &md, &m, &e), "%s", e.message);
    for (rank = 0; rank < 40; rank += 13) {
        before = live;
        cd.adapter_rank = rank;
        CHECK(!hybrid_plan(rt, &md, &cd, &plan, &e), "%s", e.message);
        CHECK(live == before && !hybrid_context_create(m, &cd, &c, &e), "%s", e.message);
        CHECK(live - before == plan.kv + plan.compute, "rank %d: %ld bytes, planned %ld", rank, (long)(live - before),
              (long)(plan.kv + plan.compute));
        hybrid_context_destroy(c);
        CHECK(live == before, "%ld bytes leak", (long)(live - before));
    }
    before = live;
    a = adapter_of(m, 13, "all", 1, 0.1f);
    hybrid_adapter_describe(a, &info);
    CHECK(live - before == info.bytes && info.rank == 13 && info.n_matrices == 14 && !info.device_bytes,
          "%ld bytes, it says %ld", (long)(live - before), (long)info.bytes);
    CHECK(!hybrid_adapter_set_type(a, HYBRID_TYPE_F16, &e), "%s", e.message);
    empty_hand = true;
    CHECK(hybrid_adapter_set_type(a, HYBRID_TYPE_F32, &e) == HYBRID_ERROR_MEMORY, "without memory");
    empty_hand = false;
    hybrid_adapter_describe(a, &info);
    CHECK(live - before == info.bytes && a->pairs[0].worn_a.type == HYBRID_TYPE_F16, "%ld bytes, it says %ld as F16",
          (long)(live - before), (long)info.bytes);
    b = adapter_of(m, 3, NULL, 1, 0.1f);
    cd.adapter_rank = 0;
    CHECK(!hybrid_context_create(m, &cd, &c, &e), "%s", e.message);
    counted = live;
    CHECK(!hybrid_seq_set_adapters(c, 0, &a, NULL, 1, &e), "%s", e.message);
    hybrid_context_describe(c, &cd);
    CHECK(cd.adapter_rank == 13 && live > counted, "room for rank %d", cd.adapter_rank);
    CHECK(!hybrid_seq_fork(c, 0, 1, &e), "%s", e.message);
    hybrid_adapter_destroy(a);
    CHECK(!hybrid_seq_set_adapters(c, 0, &b, NULL, 1, &e), "%s", e.message);
    counted = live;
    CHECK(!hybrid_batch_add(c, 0, ids, 3, &e) && !hybrid_batch_add(c, 1, ids, 3, &e), "%s", e.message);
    decode(c, false);
    CHECK(!hybrid_seq_set_adapters(c, 1, NULL, NULL, 0, &e), "%s", e.message);
    CHECK(counted == live, "tokens were read with it, and %ld bytes of it are gone", (long)(counted - live));
    CHECK(!hybrid_seq_remove(c, 1, 0, &e), "%s", e.message);
    CHECK(!hybrid_seq_set_adapters(c, 1, NULL, NULL, 0, &e), "%s", e.message);
    CHECK(counted - live == info.bytes, "the last token gives %ld bytes back", (long)(counted - live));
    hybrid_adapter_destroy(b);
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    CHECK(live == empty, "%ld bytes leak", (long)(live - empty));
    hybrid_runtime_destroy(rt);
}

int main(void)
{
    snprintf(file_path, sizeof file_path, "build/tests/adapter-%d.gguf", (int)getpid());
    snprintf(merged_path, sizeof merged_path, "build/tests/merged-%d.gguf", (int)getpid());
    check_bits();
    check_peft();
    check_widen();
    check_types();
    check_long(STORY);
    check_long("mixtral"); /* more rows than experts take at a time */
    check_experts();
    check_session();
    check_files();
    check_memory(FOLDER "llama.gguf");
    check_memory(FOLDER "mixtral.gguf");
    remove(file_path);
    remove(merged_path);
    return test_end();
}
