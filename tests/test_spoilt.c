/* Working models, spoilt: random edits of the keys and tensors of the tiny reference models. What the writer still
 * writes is loaded, planned, run and talked with. Whatever the edits are: a result code and a sentence, or a model that
 * decodes, takes the bytes that were planned, and leaves none behind. Before that, by design: every tensor and every
 * key of a file is computed with or refused (model_files.inc).
 *     HYBRID_WALKS=100000 HYBRID_SEED=5 build/tests/test_spoilt-asan       more of them, or others */
#include "interface.h"

enum { EDITS = 4 };

/* clang-format off */
static const char *const paths[] = {
    "llama", "llama-rope-freqs", "llama-rope-linear", "qwen2", "qwen3", "gemma2", "gemma3", "phi3", "phi3-longrope",
    "phi3-window", "mistral", "gpt2", "mixtral", "qwen2moe", "qwen3moe", "openelm", "llama-layers", "lfm2",
    "rwkv7", "arwkv7"
};
/* clang-format on */

static uint64_t state;
static uint32_t random_bits(void)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 32);
}
static int below(int n) { return (int)(random_bits() % (uint32_t)n); }

/* ---- memory that is counted, and limited ------------------------------------------------------------------------- */

typedef struct heap {
    size_t live;
} heap;
static void *heap_alloc(void *user, size_t size)
{
    size_t *p;
    if (size > (size_t)256 << 20 || !(p = (size_t *)malloc(size + 16))) return NULL;
    *p = size;
    ((heap *)user)->live += size;
    return p + 2;
}
static void heap_free(void *user, void *block)
{
    ((heap *)user)->live -= ((size_t *)block)[-2];
    free((size_t *)block - 2);
}

/* ---- edits ------------------------------------------------------------------------------------------------------- */

typedef enum edit_kind {
    KEY_INTEGER,
    KEY_NEAR,
    KEY_FLOAT,
    KEY_STRING,
    KEY_DROP,
    KEY_ARRAY,
    TENSOR_SIZE,
    TENSOR_DROP,
    TENSOR_TYPE,
    TENSOR_DATA,
    EDIT_KINDS
} edit_kind;

typedef struct edit {
    edit_kind kind;
    size_t which;
    int64_t value;
    uint8_t bytes[8];
} edit;

/* Numbers that are likely to matter, or any. */
static int64_t number(int64_t v)
{
    static const int64_t likely[] = {
        0, 1, 2, 3, 5, 7, 8, 15, 16, 31, 32, 33, 48, 64, 96, 127, 128, 255, 256, 4095, 4096, 65535, 65536, 1 << 24,
        INT32_MAX, (int64_t)INT32_MAX + 1, UINT32_MAX, INT64_MAX, -1, INT32_MIN, INT64_MIN
    };
    return (v & 1) ? likely[(uint64_t)v / 2 % COUNT(likely)] : v / 2;
}

static void set_key(hybrid_gguf_writer *w, const char *name, const hybrid_gguf_value *old, const edit *e)
{
    const int64_t now = hybrid_gguf_item_i64(old, 0);
    switch (e->kind) {
    case KEY_INTEGER: hybrid_gguf_set_int(w, name, HYBRID_GGUF_I64, number(e->value), NULL); break;
    case KEY_NEAR:
        hybrid_gguf_set_int(w, name, HYBRID_GGUF_I64,
                            e->value % 3 == 0   ? now + e->value / 3 % 5 - 2
                            : e->value % 3 == 1 ? now / 2
                                                : now * (e->value / 3 & 7),
                            NULL);
        break;
    case KEY_FLOAT: {
        double d;
        memcpy(&d, &e->value, 8);
        hybrid_gguf_set_float(w, name, HYBRID_GGUF_F64, e->value & 1 ? d : (double)(e->value % 1000) / 100, NULL);
        break;
    }
    case KEY_STRING: {
        hybrid_gguf_value v;
        memset(&v, 0, sizeof v);
        v.type = v.item_type = HYBRID_GGUF_STRING;
        v.count = 1;
        v.data = e->bytes;
        v.size = 8;
        hybrid_gguf_set(w, name, &v, NULL);
        break;
    }
    case KEY_ARRAY: hybrid_gguf_set_numbers(w, name, HYBRID_GGUF_U8, e->bytes, (size_t)(e->value & 7), NULL); break;
    default: break;
    }
}

typedef struct sink {
    unsigned char *data;
    size_t size, room;
} sink;
static bool write_more(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    if (s->size + n > s->room) s->data = (unsigned char *)realloc(s->data, s->room = (s->size + n) * 2);
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return true;
}

static const edit *edit_of(const edit *edits, int n, bool of_tensor, size_t which)
{
    int i;
    for (i = 0; i < n; i++)
        if ((edits[i].kind >= TENSOR_SIZE) == of_tensor && edits[i].which == which) return &edits[i];
    return NULL;
}

/* The file of a spoilt model; false when it cannot even be written. */
static bool spoil(const hybrid_gguf *base, const edit *edits, int n_edits, sink *out)
{
    static const hybrid_type types[] = { HYBRID_TYPE_F32,  HYBRID_TYPE_F16,  HYBRID_TYPE_BF16, HYBRID_TYPE_Q8_0,
                                         HYBRID_TYPE_Q4_0, HYBRID_TYPE_Q4_K, HYBRID_TYPE_Q6_K };
    const size_t n = hybrid_gguf_tensor_count(base);
    hybrid_gguf_writer *w;
    uint64_t *sizes = (uint64_t *)calloc(n, sizeof *sizes);
    unsigned char *zeros;
    bool good;
    size_t i;
    CHECK(sizes && !hybrid_gguf_writer_create(NULL, &w, NULL), "a writer");
    for (i = 0; i < hybrid_gguf_key_count(base); i++) {
        hybrid_gguf_value v;
        char name[128];
        const hybrid_string key = hybrid_gguf_key(base, i, &v);
        const edit *e = edit_of(edits, n_edits, false, i);
        snprintf(name, sizeof name, "%.*s", (int)key.size, key.data);
        /* templates have a fuzzer of their own */
        if (!e || !strcmp(name, "tokenizer.chat_template"))
            hybrid_gguf_set(w, name, &v, NULL);
        else if (e->kind != KEY_DROP)
            set_key(w, name, &v, e);
    }
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(base, i);
        const edit *e = edit_of(edits, n_edits, true, i);
        hybrid_type type = t->type;
        uint64_t ne[4];
        char name[128];
        memcpy(ne, t->ne, sizeof ne);
        if (e && e->kind == TENSOR_DROP) continue;
        if (e && e->kind == TENSOR_TYPE) type = types[(uint64_t)e->value % COUNT(types)];
        if (e && e->kind == TENSOR_SIZE)
            ne[e->value & 3] =
                (uint64_t)(e->value >> 2 & 4 ? number(e->value >> 8) & 511 : (int64_t)ne[e->value & 3] * 2);
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        if (hybrid_gguf_add_tensor(w, name, type, 4, ne, NULL)) continue;
        sizes[i] = hybrid_type_row_bytes(type, (size_t)ne[0]) * ne[1] * ne[2] * ne[3];
        if (sizes[i] > (4 << 20)) break;
    }
    good = i == n && !hybrid_gguf_begin(w, write_more, out, NULL);
    zeros = (unsigned char *)calloc(1, 4 << 20);
    for (i = 0; good && i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(base, i);
        const edit *e = edit_of(edits, n_edits, true, i);
        if (!sizes[i]) continue;
        memset(zeros, 0, (size_t)sizes[i]);
        memcpy(zeros, t->data, (size_t)SMALLER(sizes[i], t->size));
        if (e && e->kind == TENSOR_DATA)
            memcpy(zeros + (uint64_t)e->value % (sizes[i] - 7), e->bytes, sizes[i] > 15 ? 8 : 0);
        good = !hybrid_gguf_write(w, zeros, (size_t)sizes[i], NULL);
    }
    good = good && !hybrid_gguf_end(w, NULL);
    free(zeros);
    free(sizes);
    hybrid_gguf_writer_destroy(w);
    return good;
}

/* ---- use --------------------------------------------------------------------------------------------------------- */

#include "model_files.inc"

static int loaded, decoded;

static void use(hybrid_model *m)
{
    hybrid_context_desc cd;
    hybrid_session_desc sd;
    hybrid_context *c;
    hybrid_session *s;
    hybrid_model_info info;
    hybrid_error err;
    hybrid_result r;
    int32_t ids[6];
    int i;
    memset(&cd, 0, sizeof cd);
    memset(&sd, 0, sizeof sd);
    hybrid_model_describe(m, &info);
    cd.n_ctx = 1 + below(40);
    cd.n_batch = 1 + below(5);
    cd.kv = (hybrid_kv)below(3);
    for (i = 0; i < 6; i++) ids[i] = below(info.n_vocab);
    if (!hybrid_context_create(m, &cd, &c, &err)) {
        r = hybrid_batch_add(c, 0, ids, (size_t)SMALLER(cd.n_ctx, 6), &err);
        if (!r) r = hybrid_decode(c, &err);
        CHECK(r ? err.result == r && err.message[0] : hybrid_logits(c, 0) != NULL, "decode: %d", r);
        decoded += !r;
        hybrid_context_destroy(c);
    }
    if (below(3)) return;
    sd.context = cd;
    sd.max_tokens = 2;
    if (hybrid_session_create(m, &sd, &s, &err)) return;
    if (below(2))
        r = hybrid_session_say(s, "a");
    else
        r = hybrid_session_complete(s, "a <s> b");
    if (!r)
        while (hybrid_session_next(s)) {}
    hybrid_session_destroy(s);
}

static void spoil_and_use(const hybrid_gguf *base)
{
    edit edits[EDITS];
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid_model_desc md;
    hybrid_model *m = NULL;
    hybrid_memory_plan plan;
    hybrid_context_desc cd;
    hybrid_context *c = NULL;
    hybrid_error err;
    hybrid_result r, planned;
    sink out = { NULL, 0, 0 };
    heap h = { 0 };
    size_t before;
    const int n = below(4) ? 1 : 1 + below(EDITS);
    int i, k;
    for (i = 0; i < n; i++) {
        edit *e = &edits[i];
        e->kind = (edit_kind)below(EDIT_KINDS);
        e->which =
            (size_t)below((int)(e->kind >= TENSOR_SIZE ? hybrid_gguf_tensor_count(base) : hybrid_gguf_key_count(base)));
        for (k = 0; k < 8; k++) e->bytes[k] = (uint8_t)(random_bits() >> 24);
        memcpy(&e->value, e->bytes, 8);
        if (e->value < 0 && e->kind != KEY_FLOAT) e->value = ~e->value;
    }
    if (spoil(base, edits, n, &out)) {
        memset(&rd, 0, sizeof rd);
        memset(&md, 0, sizeof md);
        memset(&cd, 0, sizeof cd);
        rd.allocator.alloc = heap_alloc;
        rd.allocator.free = heap_free;
        rd.allocator.user = &h;
        rd.n_threads = 1;
        CHECK(!hybrid_runtime_create(&rd, &rt, &err), "%s", err.message);
        md.source.data = out.data;
        md.source.size = out.size;
        cd.n_ctx = 48;
        before = h.live;
        r = hybrid_model_load(rt, &md, &m, &err);
        CHECK(r ? !m && err.result == r && err.message[0] && h.live == before : m != NULL, "load: %d", r);
        if (!r) {
            loaded++;
            planned = hybrid_plan(rt, &md, &cd, &plan, &err);
            r = hybrid_context_create(m, &cd, &c, &err);
            CHECK(planned == r || (!planned && r == HYBRID_ERROR_MEMORY), "planned %d, created %d: %s", planned, r,
                  err.message);
            if (!r)
                CHECK(h.live - before == plan.total, "planned %llu, took %llu", (unsigned long long)plan.total,
                      (unsigned long long)(h.live - before));
            hybrid_context_destroy(c);
            use(m);
            hybrid_model_destroy(m);
        }
        CHECK(h.live == before, "%ld bytes left", (long)(h.live - before));
        hybrid_runtime_destroy(rt);
        CHECK(!h.live, "%ld bytes left", (long)h.live);
    }
    free(out.data);
}

int main(void)
{
    const char *walks = getenv("HYBRID_WALKS"), *seed = getenv("HYBRID_SEED");
    const int n = walks ? atoi(walks) : getenv("HYBRID_SANITIZER") ? 40 : 200;
    size_t i;
    int k;
    if (!walks) check_model_files();
    for (i = 0; i < COUNT(paths); i++) {
        hybrid_source source;
        hybrid_gguf *base = NULL;
        char path[128];
        memset(&source, 0, sizeof source);
        snprintf(path, sizeof path, "tests/oracle/data/models/%s.gguf", paths[i]);
        source.path = path;
        TEST(paths[i]);
        CHECK(!hybrid_gguf_open(NULL, &source, &base, NULL), "cannot read %s", path);
        for (k = 0; base && k < n && check_failed < 40; k++) {
            const int failed = check_failed;
            state = ((seed ? strtoull(seed, NULL, 10) : 1) + (uint64_t)k) * 7919 + i;
            spoil_and_use(base);
            if (check_failed != failed)
                printf("    HYBRID_WALKS=1 HYBRID_SEED=%llu repeats it (%s)\n",
                       (seed ? strtoull(seed, NULL, 10) : 1) + (unsigned long long)k, paths[i]);
        }
        hybrid_gguf_destroy(base);
    }
    printf("  %d spoilt models loaded, %d decoded\n", loaded, decoded);
    if (!walks) CHECK(loaded > n && decoded > n / 2, "too few: %d loaded, %d decoded", loaded, decoded);
    return test_end();
}
