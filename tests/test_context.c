/* The engine on good and bad days: capacity, fork, removal, slices, loaders, the memory plan, failing memory and
 * reads, damaged weights. */
#include "interface.h"
#include "split.h"

static const char model_path[] = "tests/oracle/data/models/llama.gguf";

/* ---- an allocator that counts, and fails on request -------------------------------------------------------------- */

typedef struct heap {
    size_t live, peak;
    long calls, fail_at;
} heap;

static void *heap_alloc(void *user, size_t size)
{
    heap *h = (heap *)user;
    size_t *p;
    if (h->fail_at && ++h->calls == h->fail_at) return NULL;
    if (!(p = (size_t *)malloc(size + 16))) return NULL;
    *p = size;
    h->live += size;
    if (h->live > h->peak) h->peak = h->live;
    return p + 2;
}
static void heap_free(void *user, void *block)
{
    size_t *p = (size_t *)block - 2;
    ((heap *)user)->live -= *p;
    free(p);
}

static hybrid_runtime *runtime_of(heap *h, int threads)
{
    hybrid_runtime_desc d;
    hybrid_runtime *rt = NULL;
    memset(&d, 0, sizeof d);
    if (h) {
        d.allocator.alloc = heap_alloc;
        d.allocator.free = heap_free;
        d.allocator.user = h;
    }
    d.n_threads = threads;
    hybrid_runtime_create(&d, &rt, NULL);
    return rt;
}

static hybrid_model *load(hybrid_runtime *rt, const char *path)
{
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error err;
    memset(&d, 0, sizeof d);
    d.path = path;
    CHECK(!hybrid_model_load(rt, &d, &m, &err), "%s", err.message);
    return m;
}

static hybrid_context *context_of(hybrid_model *m, int n_ctx, int n_seq, int n_batch)
{
    hybrid_context_desc d;
    hybrid_context *c = NULL;
    hybrid_error err;
    memset(&d, 0, sizeof d);
    d.n_ctx = n_ctx;
    d.n_seq = n_seq;
    d.n_batch = n_batch;
    CHECK(!hybrid_context_create(m, &d, &c, &err), "%s", err.message);
    return c;
}

static void feed(hybrid_context *c, int seq, int first, int n)
{
    int32_t ids[512];
    int i;
    hybrid_error err;
    for (i = 0; i < n; i++) ids[i] = (first + i * 7) % 120 + 3;
    CHECK(!hybrid_batch_add(c, seq, ids, (size_t)n, &err) && !hybrid_decode(c, &err), "%s", err.message);
}

static int same_logits(hybrid_context *a, int seq_a, hybrid_context *b, int seq_b, int n_vocab)
{
    const float *x = hybrid_logits(a, seq_a), *y = hybrid_logits(b, seq_b);
    return x && y && !memcmp(x, y, (size_t)n_vocab * sizeof *x);
}

static void capacity(hybrid_model *m)
{
    hybrid_context *c = context_of(m, 64, 2, 16), *d = context_of(m, 64, 1, 64);
    hybrid_error err;
    int32_t id = 5, bad = 100000, many[80] = { 0 };
    hybrid_result r;
    TEST("capacity");
    CHECK(hybrid_context_room(c) == 96, "%d", hybrid_context_room(c));
    feed(c, 0, 1, 63);
    feed(c, 0, 9, 1);
    CHECK(hybrid_seq_length(c, 0) == 64, "%d", hybrid_seq_length(c, 0));
    CHECK(!hybrid_batch_add(c, 0, &id, 1, &err), "%s", err.message);
    r = hybrid_decode(c, &err);
    CHECK(r == HYBRID_ERROR_CONTEXT_FULL && strstr(err.message, "n_ctx is 64"), "%d %s", r, err.message);
    CHECK(hybrid_seq_length(c, 0) == 64, "the sequence must be as before");
    CHECK(!hybrid_seq_remove(c, 0, 63, &err), "%s", err.message);
    CHECK(!hybrid_decode(c, &err), "the batch stays queued: %s", err.message);
    feed(c, 1, 3, 32);
    CHECK(hybrid_context_room(c) == 0, "%d", hybrid_context_room(c));
    CHECK(!hybrid_batch_add(c, 1, &id, 1, &err), "%s", err.message);
    r = hybrid_decode(c, &err);
    CHECK(r == HYBRID_ERROR_CONTEXT_FULL && strstr(err.message, "pages"), "%d %s", r, err.message);
    hybrid_batch_clear(c);
    r = hybrid_decode(c, &err);
    CHECK(r == HYBRID_ERROR_INVALID && strstr(err.message, "empty"), "%d %s", r, err.message);
    r = hybrid_batch_add(c, 2, &id, 1, &err);
    CHECK(r == HYBRID_ERROR_INVALID && strstr(err.message, "sequence 2"), "%d %s", r, err.message);
    r = hybrid_batch_add(c, 0, &bad, 1, &err);
    CHECK(r == HYBRID_ERROR_INVALID && strstr(err.message, "100000"), "%d %s", r, err.message);
    r = hybrid_batch_add(c, 0, &id, 0, &err);
    CHECK(r == HYBRID_ERROR_INVALID, "%d", r);
    r = hybrid_batch_add(c, 0, many, 80, &err);
    CHECK(r == HYBRID_ERROR_CONTEXT_FULL, "%d", r);
    r = hybrid_batch_add_logits(c, 0, many, 8, 8, &err);
    CHECK(r == HYBRID_ERROR_LIMIT && strstr(err.message, "n_logits"), "%d %s", r, err.message);
    CHECK(hybrid_seq_length(c, -1) == -1 && !hybrid_logits(c, 7), "bad ids");
    /* after all that it still computes what a fresh context does */
    CHECK(!hybrid_seq_remove(c, 0, 0, &err) && !hybrid_seq_remove(c, 1, 0, &err), "%s", err.message);
    feed(c, 1, 11, 40);
    feed(d, 0, 11, 40);
    CHECK(same_logits(c, 1, d, 0, model_info(m).n_vocab), "logits differ");
    hybrid_context_destroy(c);
    hybrid_context_destroy(d);
}

static void fork_and_remove(hybrid_model *m)
{
    hybrid_context *c = context_of(m, 256, 4, 0), *d = context_of(m, 256, 1, 0);
    hybrid_error err;
    int before;
    TEST("fork");
    feed(c, 0, 1, 45);
    before = hybrid_context_room(c);
    CHECK(!hybrid_seq_fork(c, 0, 1, &err) && !hybrid_seq_fork(c, 0, 2, &err), "%s", err.message);
    CHECK(hybrid_context_room(c) == before, "a fork costs nothing until it writes");
    feed(c, 1, 50, 3);
    CHECK(hybrid_context_room(c) == before - 32, "one page is copied: %d", before - hybrid_context_room(c));
    feed(c, 0, 90, 3);
    feed(c, 2, 50, 3);
    CHECK(same_logits(c, 2, c, 2, 1), "logits");
    feed(d, 0, 1, 45);
    feed(d, 0, 90, 3);
    feed(c, 0, 70, 2);
    feed(d, 0, 70, 2);
    CHECK(same_logits(c, 0, d, 0, model_info(m).n_vocab), "the origin is its own");
    CHECK(!hybrid_seq_remove(d, 0, 45, &err), "%s", err.message);
    feed(d, 0, 50, 3);
    feed(d, 0, 33, 1);
    feed(c, 2, 33, 1);
    CHECK(same_logits(c, 2, d, 0, model_info(m).n_vocab), "the second fork is its own");
    CHECK(!hybrid_seq_remove(d, 0, 45, &err), "%s", err.message);
    feed(d, 0, 50, 3);
    feed(d, 0, 33, 1);
    feed(c, 1, 33, 1);
    CHECK(same_logits(c, 1, d, 0, model_info(m).n_vocab), "the first fork is its own");
    CHECK(hybrid_seq_remove(c, 0, 99, &err) == HYBRID_ERROR_INVALID, "beyond the end");
    CHECK(hybrid_seq_fork(c, 0, 4, &err) == HYBRID_ERROR_INVALID, "no such sequence");
    CHECK(!hybrid_seq_remove(c, 0, 0, &err), "%s", err.message);
    CHECK(!hybrid_seq_remove(c, 1, 0, &err), "%s", err.message);
    CHECK(!hybrid_seq_remove(c, 2, 0, &err), "%s", err.message);
    CHECK(hybrid_context_room(c) == 256 + 3 * 32, "all pages are back: %d", hybrid_context_room(c));
    hybrid_context_destroy(c);
    hybrid_context_destroy(d);
}

static void slices(hybrid_model *m)
{
    hybrid_context *c = context_of(m, 128, 1, 16), *d = context_of(m, 128, 1, 0);
    hybrid_error err;
    int32_t ids[50];
    int i, n = 0;
    bool done = false;
    TEST("decode in slices");
    for (i = 0; i < 50; i++) ids[i] = i * 2 + 4;
    CHECK(!hybrid_batch_add(c, 0, ids, 50, &err), "%s", err.message);
    CHECK(!hybrid_batch_add(d, 0, ids, 50, &err), "%s", err.message);
    CHECK(!hybrid_decode(d, &err), "%s", err.message);
    while (!done && n < 100000) {
        CHECK(!hybrid_decode_step(c, 0, &done, &err), "%s", err.message);
        n++;
        if (!done) CHECK(hybrid_seq_length(c, 0) == 0 && !hybrid_logits(c, 0), "nothing shows before the end");
        if (n == 2)
            CHECK(hybrid_batch_add(c, 0, ids, 1, &err) == HYBRID_ERROR_INVALID &&
                      hybrid_seq_remove(c, 0, 0, &err) == HYBRID_ERROR_INVALID,
                  "under way");
    }
    CHECK(n > 8 * model_info(m).n_layer && n < 100000, "%d slices", n);
    CHECK(same_logits(c, 0, d, 0, model_info(m).n_vocab), "logits differ");
    CHECK(!hybrid_batch_add(c, 0, ids, 50, &err), "%s", err.message);
    CHECK(!hybrid_decode_step(c, 0, &done, &err), "%s", err.message);
    CHECK(!done, "%s", err.message);
    hybrid_batch_clear(c);
    CHECK(hybrid_seq_length(c, 0) == 50 && hybrid_context_room(c) == 64, "given up: %d, %d", hybrid_seq_length(c, 0),
          hybrid_context_room(c));
    hybrid_context_destroy(c);
    hybrid_context_destroy(d);
}

/* ---- loaders ----------------------------------------------------------------------------------------------------- */

typedef struct blob {
    char *data;
    size_t size;
    long reads, fail_at;
    int closed;
} blob;
static bool blob_read(void *user, uint64_t offset, void *dst, size_t n)
{
    blob *b = (blob *)user;
    if (b->fail_at && ++b->reads == b->fail_at) return false;
    if (offset > b->size || n > b->size - offset) return false;
    memcpy(dst, b->data + offset, n);
    return true;
}
static void blob_close(void *user) { ((blob *)user)->closed++; }

static hybrid_model_desc desc_of(blob *b)
{
    hybrid_model_desc d;
    memset(&d, 0, sizeof d);
    d.source.reader.read_at = blob_read;
    d.source.reader.close = blob_close;
    d.source.reader.size = b->size;
    d.source.reader.user = b;
    b->reads = 0;
    b->closed = 0;
    return d;
}

/* How often a file is mapped, where the system tells. */
static int mappings(const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') : path;
    char line[1024];
    int n = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    while (f && fgets(line, sizeof line, f)) n += strstr(line, name) != NULL;
    if (f) fclose(f);
    return n;
}

static void loaders(hybrid_model *by_path)
{
    blob b;
    hybrid_model_desc d;
    hybrid_model *m[4] = { NULL, NULL, NULL, NULL };
    hybrid_memory_plan plan;
    char *odd;
    hybrid_context *c, *e = context_of(by_path, 64, 1, 0);
    hybrid_error err;
    heap h;
    hybrid_runtime *rt;
    long n;
    int i, mapped;
    TEST("loaders");
    memset(&b, 0, sizeof b);
    b.data = read_file(model_path, &b.size);
    if (!b.data) {
        CHECK(false, "cannot read %s", model_path);
        return;
    }
    feed(e, 0, 1, 20);
    d = desc_of(&b);
    CHECK(!hybrid_model_load(NULL, &d, &m[0], &err), "%s", err.message);
    memset(&d, 0, sizeof d);
    d.source.data = b.data;
    d.source.size = b.size;
    CHECK(!hybrid_model_load(NULL, &d, &m[1], &err), "%s", err.message);
    memset(&d, 0, sizeof d);
    d.path = model_path;
    d.no_map = true;
    mapped = mappings(model_path);
    CHECK(!hybrid_model_load(NULL, &d, &m[2], &err), "%s", err.message);
    CHECK(mappings(model_path) == mapped, "%d mappings of the file, not %d", mappings(model_path), mapped);
    odd = (char *)malloc(b.size + 16);
    memcpy(odd + 3, b.data, b.size);
    memset(&d, 0, sizeof d);
    d.source.data = odd + 3;
    d.source.size = b.size;
    CHECK(!hybrid_model_load(NULL, &d, &m[3], &err), "at an odd address: %s", err.message);
    CHECK(!hybrid_plan(NULL, &d, NULL, &plan, &err), "at an odd address: %s", err.message);
    CHECK(plan.weights && !plan.mapped, "at an odd address: %s", err.message);
    for (i = 0; i < 4 && m[i]; i++) {
        c = context_of(m[i], 64, 1, 0);
        feed(c, 0, 1, 20);
        CHECK(same_logits(c, 0, e, 0, model_info(by_path).n_vocab), "loader %d", i);
        hybrid_context_destroy(c);
        hybrid_model_destroy(m[i]);
    }
    free(odd);
    CHECK(b.closed == 1, "closed %d times", b.closed);
    hybrid_context_destroy(e);
    TEST("reads that fail");
    memset(&h, 0, sizeof h);
    rt = runtime_of(&h, 1);
    n = (long)h.live;
    for (b.fail_at = 1; b.fail_at < 1000; b.fail_at++) {
        hybrid_model *x;
        hybrid_result r;
        d = desc_of(&b);
        r = hybrid_model_load(rt, &d, &x, &err);
        if (!r) {
            hybrid_model_destroy(x);
            break;
        }
        CHECK(r == HYBRID_ERROR_IO, "read %ld: %d %s", b.fail_at, r, err.message);
        CHECK(err.message[0] && !x, "read %ld: %d %s", b.fail_at, r, err.message);
        CHECK(b.closed == 1 && (long)h.live == n, "read %ld leaks: closed %d, %ld bytes", b.fail_at, b.closed,
              (long)h.live - n);
    }
    CHECK(b.fail_at > 3 && b.fail_at < 1000, "%ld reads", b.fail_at);
    hybrid_runtime_destroy(rt);
    CHECK(h.live == 0, "%zu bytes leaked", h.live);
    free(b.data);
}

static void plan_is_use_of(hybrid_model_desc d, bool owned, bool mapped)
{
    heap h;
    hybrid_runtime *rt;
    hybrid_context_desc cd;
    hybrid_memory_plan plan;
    hybrid_model *m = NULL;
    hybrid_context *c = NULL;
    hybrid_error err;
    size_t before, loaded;
    TEST("plan");
    memset(&h, 0, sizeof h);
    memset(&cd, 0, sizeof cd);
    cd.n_ctx = 300;
    cd.n_seq = 3;
    cd.n_batch = 40;
    cd.n_logits = 5;
    rt = runtime_of(&h, 2);
    before = h.live;
    CHECK(!hybrid_plan(rt, &d, &cd, &plan, &err), "%s", err.message);
    CHECK(h.live == before, "the plan leaks %zu bytes", h.live - before);
    CHECK(!hybrid_model_load(rt, &d, &m, &err), "%s", err.message);
    loaded = h.live - before;
    CHECK(loaded == plan.model + plan.weights, "model: planned %llu, used %zu",
          (unsigned long long)(plan.model + plan.weights), loaded);
    CHECK(!hybrid_context_create(m, &cd, &c, &err), "%s", err.message);
    CHECK(h.live - before == plan.total, "planned %llu, used %zu", (unsigned long long)plan.total, h.live - before);
    CHECK((plan.weights > 0) == owned && (plan.mapped > 0) == mapped, "where the weights are");
    feed(c, 0, 1, 90);
    feed(c, 2, 1, 70);
    CHECK(h.live - before == plan.total, "decoding allocates");
    hybrid_context_destroy(c);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
    CHECK(h.live == 0, "%zu bytes leaked", h.live);
}

static void plan_is_use(const char *path, bool no_map)
{
    hybrid_model_desc d;
    memset(&d, 0, sizeof d);
    d.path = path;
    d.no_map = no_map;
    plan_is_use_of(d, no_map, !no_map);
}

/* Loads, talks and ends with the N-th allocation failing, for every N until nothing fails. */
static int live_a_little(heap *h, hybrid_runtime *rt, const hybrid_model_desc *d)
{
    hybrid_session_desc sd;
    hybrid_model *m = NULL;
    hybrid_session *s = NULL;
    hybrid_error err;
    hybrid_result r;
    int n = 0;
    memset(&sd, 0, sizeof sd);
    sd.system = "Be brief.";
    sd.max_tokens = 4;
    sd.context.n_ctx = 128;
    r = hybrid_model_load(rt, d, &m, &err);
    if (!r) r = hybrid_session_create(m, &sd, &s, &err);
    if (!r) r = hybrid_session_complete(s, "Once upon a time");
    if (!r)
        while (hybrid_session_next(s)) n++;
    if (!r) r = hybrid_session_result(s, &err);
    if (!r) r = hybrid_session_say(s, "Go on.");
    if (!r)
        while (hybrid_session_next(s)) n++;
    if (!r) r = hybrid_session_result(s, &err);
    if (r == HYBRID_ERROR_MEMORY && s) { /* the session is still usable */
        long at = h->fail_at;
        h->fail_at = 0;
        CHECK(!hybrid_session_say(s, "Again."), "after a failed allocation");
        while (hybrid_session_next(s)) n++;
        CHECK(!hybrid_session_result(s, &err), "%s", err.message);
        h->fail_at = at;
    }
    hybrid_session_destroy(s);
    hybrid_model_destroy(m);
    return r;
}

static void memory_that_fails_with(hybrid_model_desc d)
{
    heap h;
    hybrid_runtime *rt;
    size_t before;
    long n;
    TEST("allocations that fail");
    memset(&h, 0, sizeof h);
    rt = runtime_of(&h, 1);
    before = h.live;
    for (n = 1; n < 5000; n++) {
        int r;
        h.calls = 0;
        h.fail_at = n;
        r = live_a_little(&h, rt, &d);
        CHECK(h.live == before, "allocation %ld: %ld bytes leaked", n, (long)(h.live - before));
        if (!r) break;
        CHECK(r == HYBRID_ERROR_MEMORY, "allocation %ld: result %d", n, r);
    }
    CHECK(n > 20 && n < 5000, "%ld allocations", n);
    printf("  %ld allocations, each failed once\n", n - 1);
    hybrid_runtime_destroy(rt);
}

static void memory_that_fails(const char *path)
{
    hybrid_model_desc d;
    memset(&d, 0, sizeof d);
    d.path = path;
    memory_that_fails_with(d);
}

/* ---- a copy of the weights for decode ---------------------------------------------------------------------------- */

static bool put_in_blob(void *user, const void *data, size_t n)
{
    blob *b = (blob *)user;
    b->data = (char *)realloc(b->data, b->size + n);
    memcpy(b->data + b->size, data, n);
    b->size += n;
    return true;
}
/* The file with all matrices but the embedding in a type. */
static void in_type(const char *path, hybrid_type type, blob *b)
{
    hybrid_source source;
    hybrid_gguf *in = NULL;
    hybrid_gguf_writer *w = NULL;
    size_t i;
    int pass;
    memset(&source, 0, sizeof source);
    memset(b, 0, sizeof *b);
    source.path = path;
    CHECK(!hybrid_gguf_open(NULL, &source, &in, NULL), "%s", path);
    CHECK(!hybrid_gguf_writer_create(NULL, &w, NULL), "%s", path);
    CHECK(!hybrid_gguf_copy_keys(w, in, NULL), "%s", path);
    for (pass = 0; pass < 2; pass++) {
        for (i = 0; i < hybrid_gguf_tensor_count(in); i++) {
            const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(in, i);
            const bool stays =
                t->n_dims != 2 || t->ne[0] % hybrid_type_block_size(type) || !strncmp(t->name.data, "token_embd", 10);
            const hybrid_type to = stays ? t->type : type;
            const size_t bytes = hybrid_type_row_bytes(to, (size_t)t->ne[0]) * (size_t)t->ne[1];
            char *data = (char *)malloc(bytes + 1), name[128];
            snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
            if (!pass)
                CHECK(!hybrid_gguf_add_tensor(w, name, to, t->n_dims, t->ne, NULL), "%s", name);
            else
                CHECK(!hybrid_convert(NULL, t->type, t->data, to, data, (size_t)t->ne[1], (size_t)t->ne[0], NULL,
                                      NULL) &&
                          !hybrid_gguf_write(w, data, bytes, NULL),
                      "%s", name);
            free(data);
        }
        if (!pass) CHECK(!hybrid_gguf_begin(w, put_in_blob, b, NULL), "begin");
    }
    CHECK(!hybrid_gguf_end(w, NULL), "end");
    hybrid_gguf_writer_destroy(w);
    hybrid_gguf_destroy(in);
}

typedef struct countdown {
    int left;
} countdown;
static bool until(void *user, float fraction)
{
    (void)fraction;
    return ((countdown *)user)->left-- > 0;
}
static void count_repack_lines(void *user, hybrid_log_level level, const char *message)
{
    (void)level;
    *(int *)user += strstr(message, "repacked") != NULL;
}

static void repacked_like(const hybrid_model *plain, hybrid_model_desc d, int threads, const char *isa)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid_model *m = NULL;
    hybrid_model_info info;
    hybrid_context *c, *e = context_of((hybrid_model *)(uintptr_t)plain, 64, 2, 16);
    hybrid_error err;
    int lines = 0;
    memset(&rd, 0, sizeof rd);
    rd.n_threads = threads;
    rd.isa = isa;
    rd.logger.log = count_repack_lines;
    rd.logger.user = &lines;
    CHECK(!hybrid_runtime_create(&rd, &rt, &err) && !hybrid_model_load(rt, &d, &m, &err), "%s", err.message);
    if (m) {
        hybrid_model_describe(m, &info);
        CHECK((info.repacked_bytes > 0) == !strcmp(hybrid_runtime_isa(rt), "avx2"), "%s: %llu bytes are repacked",
              hybrid_runtime_isa(rt), (unsigned long long)info.repacked_bytes);
        CHECK(lines == 1, "%d lines of the log say so", lines);
        c = context_of(m, 64, 2, 16);
        feed(c, 0, 1, 30);
        feed(e, 0, 1, 30); /* as a prompt, then one by one */
        CHECK(same_logits(c, 0, e, 0, info.n_vocab), "other logits after a prompt");
        feed(c, 0, 7, 1);
        feed(e, 0, 7, 1);
        feed(c, 0, 9, 1);
        feed(e, 0, 9, 1);
        CHECK(same_logits(c, 0, e, 0, info.n_vocab), "other logits from a repacked copy");
        feed(c, 1, 3, 3);
        feed(e, 1, 3, 3);
        CHECK(same_logits(c, 1, e, 1, info.n_vocab), "other logits from a repacked copy, 3 rows");
        hybrid_context_destroy(c);
    }
    hybrid_context_destroy(e);
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
}

/* The same logits from a copy; the plan, cancelled loads and failing memory with one. */
static void repacked(const char *path, hybrid_type type)
{
    hybrid_model *plain = NULL;
    hybrid_model_desc d;
    hybrid_error err;
    countdown down;
    heap h;
    hybrid_runtime *rt;
    size_t before;
    blob b;
    bool avx2;
    int i, r;
    TEST("repacked weights");
    memset(&h, 0, sizeof h);
    in_type(path, type, &b);
    memset(&d, 0, sizeof d);
    d.source.data = b.data;
    d.source.size = b.size;
    CHECK(!hybrid_model_load(NULL, &d, &plain, &err), "%s", err.message);
    d.repack = true;
    for (i = 1; plain && i <= 3; i++) repacked_like(plain, d, i, i == 2 ? "generic" : NULL);
    hybrid_model_destroy(plain);
    rt = runtime_of(&h, 1);
    avx2 = rt && !strcmp(hybrid_runtime_isa(rt), "avx2");
    hybrid_runtime_destroy(rt);
    plan_is_use_of(d, avx2, true);
    d = desc_of(&b);
    d.repack = true;
    plan_is_use_of(d, true, false);
    memory_that_fails_with(d);
    TEST("a load that is cancelled while it repacks");
    memset(&h, 0, sizeof h);
    rt = runtime_of(&h, 2);
    before = h.live;
    d.progress = until;
    d.progress_user = &down;
    for (r = 1, i = 0; r && i < 1000; i++) {
        hybrid_model *m = NULL;
        down.left = i;
        r = hybrid_model_load(rt, &d, &m, &err);
        CHECK(r ? r == HYBRID_ERROR_CANCELLED && !m && h.live == before : m != NULL, "after %d calls: %d, %zu bytes", i,
              r, h.live - before);
        hybrid_model_destroy(m);
    }
    CHECK(!r && i > 3, "%d calls", i);
    hybrid_runtime_destroy(rt);
    free(b.data);
}

/* A model in parts, each given in one of four ways: by the path of one, or all of them as memory, as readers, or one
 * of each kind. */
static hybrid_model_desc desc_of_parts(const split_set *s, const char *prefix, int way, hybrid_source list[3],
                                       blob blobs[3])
{
    hybrid_model_desc d;
    int i;
    memset(&d, 0, sizeof d);
    memset(list, 0, 3 * sizeof *list);
    d.no_map = way % 2 == 1;
    for (i = 0; i < 3; i++) {
        const int kind = way / 2 == 3 ? i : way / 2;
        const hybrid_model_desc reader = (blobs[i].data = s->data[i], blobs[i].size = s->size[i], desc_of(&blobs[i]));
        if (kind == 0) list[2 - i].path = split_path(prefix, i, 3);
        if (kind == 1) {
            list[2 - i].data = s->data[i];
            list[2 - i].size = s->size[i];
        }
        if (kind == 2) list[2 - i].reader = reader.source.reader;
    }
    if (way / 2) {
        d.source.parts = list;
        d.source.n_parts = 3;
    } else
        d.path = split_path(prefix, 1, 3);
    return d;
}

static void in_parts(const char *path)
{
    const char *prefix = split_scratch("model");
    hybrid_model *whole = load(NULL, path), *m;
    hybrid_context *c, *e = context_of(whole, 64, 1, 0);
    hybrid_source list[3];
    hybrid_error err;
    split_set s;
    blob blobs[3];
    int way, i;
    memset(blobs, 0, sizeof blobs);
    feed(e, 0, 1, 20);
    split_make(hybrid_model_gguf(whole), 3, SPLIT_SCATTERED, &s);
    split_save(&s, prefix);
    for (way = 0; way < 8; way++) {
        const hybrid_model_desc d = desc_of_parts(&s, prefix, way, list, blobs);
        const bool owned = way == 1 || way >= 4; /* something has to be read */
        TEST("a model in parts");
        if (hybrid_model_load(NULL, &d, &m, &err)) {
            CHECK(false, "way %d: %s", way, err.message);
            continue;
        }
        c = context_of(m, 64, 1, 0);
        feed(c, 0, 1, 20);
        CHECK(same_logits(c, 0, e, 0, model_info(whole).n_vocab), "way %d: other logits than those of the whole file",
              way);
        hybrid_context_destroy(c);
        hybrid_model_destroy(m);
        for (i = 0; i < 3; i++)
            CHECK(blobs[i].closed == (way / 2 == 2 || (way / 2 == 3 && i == 2)),
                  "way %d: reader %d was closed %d times", way, i, blobs[i].closed);
        plan_is_use_of(d, owned, !owned || way >= 6); /* 6, 7: one part of three is read */
    }
    TEST("a model in parts, and reads that fail");
    for (i = 0; i < 3; i++) {
        hybrid_result r = HYBRID_ERROR_IO;
        long n;
        for (n = 1; r && n < 200; n++) {
            const hybrid_model_desc d = desc_of_parts(&s, prefix, 4, list, blobs);
            heap h;
            hybrid_runtime *rt;
            memset(&h, 0, sizeof h);
            rt = runtime_of(&h, 1);
            blobs[i].fail_at = n;
            r = hybrid_model_load(rt, &d, &m, &err);
            CHECK(!r || (r == HYBRID_ERROR_IO && !m), "part %d, read %ld: %d %s", i, n, r, err.message);
            hybrid_model_destroy(m);
            hybrid_runtime_destroy(rt);
            CHECK(h.live == 0, "part %d, read %ld: %zu bytes leaked", i, n, h.live);
            CHECK(blobs[0].closed == 1, "part %d, read %ld: %zu bytes leaked", i, n, h.live);
            CHECK(blobs[1].closed == 1, "part %d, read %ld: %zu bytes leaked", i, n, h.live);
            CHECK(blobs[2].closed == 1, "part %d, read %ld: %zu bytes leaked", i, n, h.live);
            blobs[i].fail_at = 0;
        }
        CHECK(!r && n > 3, "part %d: no end after %ld reads", i, n);
    }
    hybrid_context_destroy(e);
    hybrid_model_destroy(whole);
    memory_that_fails(split_path(prefix, 2, 3));
    split_remove(&s, prefix);
    split_free(&s);
}

/* ---- damaged weights, and a host that has its own threads -------------------------------------------------------- */

static void damaged_weights(void)
{
    size_t size, at;
    char *data = read_file(model_path, &size);
    hybrid_model_desc d;
    hybrid_session_desc sd;
    hybrid_model *m = NULL;
    hybrid_session *s = NULL;
    hybrid_error err;
    const hybrid_gguf_tensor *t;
    const uint32_t nan = 0x7FC00000u;
    TEST("weights that are not numbers");
    if (!data) {
        CHECK(false, "cannot read %s", model_path);
        return;
    }
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    d.source.data = data;
    d.source.size = size;
    CHECK(!hybrid_model_load(NULL, &d, &m, &err), "%s", err.message);
    t = hybrid_gguf_find_tensor(hybrid_model_gguf(m), "blk.1.ffn_down.weight");
    at = (size_t)t->offset;
    memcpy(data + at, &nan, 4);
    sd.max_tokens = 3;
    CHECK(!hybrid_session_create(m, &sd, &s, &err), "%s", err.message);
    CHECK(!hybrid_session_complete(s, "Hello"), "complete");
    CHECK(!hybrid_session_next(s), "there can be no piece");
    CHECK(hybrid_session_result(s, &err) == HYBRID_ERROR_NUMERIC && err.message[0], "%d",
          hybrid_session_result(s, NULL));
    hybrid_session_destroy(s);
    hybrid_model_destroy(m);
    free(data);
}

static void run_all_here(void *user, int32_t n, hybrid_task_fn fn, void *arg)
{
    int i;
    ++*(int *)user;
    for (i = n - 1; i >= 0; i--) fn(arg, i);
}

static void host_threads(hybrid_model *m)
{
    hybrid_runtime_desc d;
    hybrid_runtime *rt = NULL;
    hybrid_model *own;
    hybrid_context *c, *e = context_of(m, 128, 1, 0);
    hybrid_model_desc md;
    hybrid_error err;
    int calls = 0;
    TEST("the host's threads");
    memset(&d, 0, sizeof d);
    memset(&md, 0, sizeof md);
    d.n_threads = 4;
    d.parallel_for = run_all_here;
    d.parallel_user = &calls;
    md.path = model_path;
    CHECK(!hybrid_runtime_create(&d, &rt, &err) && !hybrid_model_load(rt, &md, &own, &err), "%s", err.message);
    c = context_of(own, 128, 1, 0);
    feed(c, 0, 1, 60);
    feed(e, 0, 1, 60);
    CHECK(calls > 0, "the hook was not used");
    CHECK(same_logits(c, 0, e, 0, model_info(m).n_vocab), "logits differ");
    hybrid_context_destroy(c);
    hybrid_context_destroy(e);
    hybrid_model_destroy(own);
    hybrid_runtime_destroy(rt);
}

/* The model with the type of one tensor replaced in its file. */
static void foreign_type(const char *name, uint32_t type_id, const char *words)
{
    const size_t n = strlen(name);
    size_t size, at;
    char *data = read_file(model_path, &size);
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error err;
    hybrid_result r;
    uint32_t n_dims;
    if (!data) {
        CHECK(false, "cannot read %s", model_path);
        return;
    }
    for (at = 0; at + n + 64 < size && memcmp(data + at, name, n); at++) {}
    memcpy(&n_dims, data + at + n, 4);
    memcpy(data + at + n + 4 + 8 * n_dims, &type_id, 4);
    memset(&d, 0, sizeof d);
    d.source.data = data;
    d.source.size = size;
    r = hybrid_model_load(NULL, &d, &m, &err);
    CHECK(r == HYBRID_ERROR_UNSUPPORTED, "%d %s", r, err.message);
    CHECK(!m, "%d %s", r, err.message);
    CHECK(strstr(err.message, words), "%d %s", r, err.message);
    CHECK(strstr(err.message, name), "%d %s", r, err.message);
    free(data);
}

typedef struct sink {
    char *data;
    size_t size;
} sink;
static bool put(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    s->data = (char *)realloc(s->data, s->size + n);
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return true;
}

/* A model with a key more (a text when it is not NULL), or with the tensor `from` under the name `to`, or without it
 * when `to` is NULL. */
static void foreign_file(const char *path, const char *key, const char *text, int number, const char *from,
                         const char *to, hybrid_result expected, const char *words)
{
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_gguf_writer *w = NULL;
    hybrid_model_desc d;
    hybrid_model *m = NULL;
    hybrid_error err;
    hybrid_result r;
    sink out = { NULL, 0 };
    char name[128];
    size_t i;
    memset(&source, 0, sizeof source);
    source.path = path;
    CHECK(!hybrid_gguf_open(NULL, &source, &g, &err), "%s", err.message);
    CHECK(!hybrid_gguf_writer_create(NULL, &w, &err), "%s", err.message);
    CHECK(!hybrid_gguf_copy_keys(w, g, &err), "%s", err.message);
    if (text)
        hybrid_gguf_set_string(w, key, text, NULL);
    else if (key)
        hybrid_gguf_set_int(w, key, HYBRID_GGUF_U32, number, NULL);
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        hybrid_gguf_add_tensor(w,
                               from && to && !strcmp(name, from) ? to
                               : from && !strcmp(name, from)     ? "unknown"
                                                                 : name,
                               t->type, t->n_dims, t->ne, NULL);
    }
    CHECK(!hybrid_gguf_begin(w, put, &out, &err), "%s", err.message);
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++)
        CHECK(!hybrid_gguf_write(w, hybrid_gguf_tensor_at(g, i)->data, (size_t)hybrid_gguf_tensor_at(g, i)->size, &err),
              "%s", err.message);
    CHECK(!hybrid_gguf_end(w, &err), "%s", err.message);
    hybrid_gguf_writer_destroy(w);
    hybrid_gguf_destroy(g);
    memset(&d, 0, sizeof d);
    d.source.data = out.data;
    d.source.size = out.size;
    err.message[0] = 0;
    r = hybrid_model_load(NULL, &d, &m, &err);
    CHECK(r == expected, "%d %s", r, err.message);
    CHECK(!m == !!r, "%d %s", r, err.message);
    CHECK((!r || strstr(err.message, words)), "%d %s", r, err.message);
    if (m && text) {
        hybrid_model_info info;
        hybrid_model_describe(m, &info);
        CHECK(!strcmp(info.name, words), "'%s'", info.name);
    }
    hybrid_model_destroy(m);
    free(out.data);
}

static void foreign_key(const char *key, const char *text, int number, hybrid_result expected, const char *words)
{
    foreign_file(model_path, key, text, number, NULL, NULL, expected, words);
}

static bool cancel(void *user, float fraction)
{
    (void)user;
    return fraction < 0;
}

static void refusals(void)
{
    hybrid_model_desc d;
    hybrid_model *m = (hybrid_model *)1;
    hybrid_error err;
    hybrid_result r;
    TEST("refusals");
    memset(&d, 0, sizeof d);
    r = hybrid_model_load(NULL, &d, &m, &err);
    CHECK(r == HYBRID_ERROR_INVALID, "%d %s", r, err.message);
    CHECK(!m, "%d %s", r, err.message);
    CHECK(strstr(err.message, "exactly one"), "%d %s", r, err.message);
    d.path = "tests/oracle/data/models/there-is-none.gguf";
    r = hybrid_model_load(NULL, &d, &m, &err);
    CHECK(r == HYBRID_ERROR_IO && strstr(err.message, "there-is-none"), "%d %s", r, err.message);
    d.path = "tests/check.h";
    r = hybrid_model_load(NULL, &d, &m, &err);
    CHECK(r == HYBRID_ERROR_FORMAT, "%d %s", r, err.message);
    d.path = model_path;
    d.progress = cancel;
    r = hybrid_model_load(NULL, &d, &m, &err);
    CHECK(r == HYBRID_ERROR_CANCELLED && !m, "%d %s", r, err.message);
    CHECK(hybrid_model_load(NULL, NULL, &m, NULL) == HYBRID_ERROR_INVALID, "no descriptor");
    d.path = "";
    d.progress = NULL;
    r = hybrid_model_load(NULL, &d, &m, &err);
    CHECK(r == HYBRID_ERROR_INVALID && strstr(err.message, "empty"), "%d %s", r, err.message);
    foreign_key("llama.expert_count", NULL, 0, HYBRID_OK, "");
    foreign_key("llama.expert_count", NULL, 8, HYBRID_ERROR_FORMAT, "'llama.expert_used_count' is missing");
    foreign_key("general.architecture", "bad\33[31m\nname", 0, HYBRID_ERROR_UNSUPPORTED, "'bad?[31m?name'");
    foreign_key("general.name", "a\33]0;b\nc\x7F", 0, HYBRID_OK, "a?]0;b?c?");
    foreign_key("general.name", "0123456789012345678901234567890123456789012345678901234567890\xE2\x82\xAC", 0,
                HYBRID_OK, "0123456789012345678901234567890123456789012345678901234567890");
    foreign_key("llama.block_count", NULL, 5000, HYBRID_ERROR_FORMAT, "llama.block_count");
    foreign_type("blk.1.attn_q.weight", 21, "type 21 (IQ3_S)");
    foreign_type("blk.1.attn_q.weight", 31, "type 31 (unknown)");
    foreign_type("blk.0.attn_norm.weight", 64, "type 64 (unknown)");
    foreign_type("blk.0.attn_norm.weight", 4000000000u, "type 4000000000 (unknown)");
    hybrid_model_destroy(NULL);
    hybrid_context_destroy(NULL);
    hybrid_session_destroy(NULL);
}

/* Files of mixtures of experts that are not what they say. */
static void refused_mixtures(void)
{
    static const char mixtral[] = "tests/oracle/data/models/mixtral.gguf",
                      qwen2moe[] = "tests/oracle/data/models/qwen2moe.gguf";
    TEST("refused mixtures");
    foreign_file(mixtral, "llama.expert_count", NULL, 4, NULL, NULL, HYBRID_OK, "");
    foreign_file(mixtral, "llama.expert_count", NULL, 0, NULL, NULL, HYBRID_ERROR_FORMAT,
                 "'llama.expert_count' is missing or 0");
    foreign_file(mixtral, "llama.expert_count", NULL, 1, NULL, NULL, HYBRID_ERROR_FORMAT, "nothing to choose");
    foreign_file(mixtral, "llama.expert_count", NULL, 3, NULL, NULL, HYBRID_ERROR_FORMAT,
                 "'blk.0.ffn_gate_inp.weight' is 32 x 4 x 1");
    foreign_file(mixtral, "llama.expert_count", NULL, 5000, NULL, NULL, HYBRID_ERROR_FORMAT, "must be 0..1024");
    foreign_file(mixtral, "llama.expert_used_count", NULL, 0, NULL, NULL, HYBRID_ERROR_FORMAT, "must be 1..4");
    foreign_file(mixtral, "llama.expert_used_count", NULL, 5, NULL, NULL, HYBRID_ERROR_FORMAT, "must be 1..4");
    foreign_file(mixtral, "llama.expert_used_count", NULL, 4, NULL, NULL, HYBRID_OK, "");
    foreign_file(mixtral, "llama.expert_feed_forward_length", NULL, 16, NULL, NULL, HYBRID_ERROR_FORMAT,
                 "'blk.0.ffn_gate_exps.weight' is 32 x 32 x 4");
    foreign_file(mixtral, "llama.expert_gating_func", NULL, 2, NULL, NULL, HYBRID_ERROR_UNSUPPORTED, "softmax");
    foreign_file(mixtral, NULL, NULL, 0, "blk.1.ffn_up_exps.weight", NULL, HYBRID_ERROR_FORMAT,
                 "no tensor 'blk.1.ffn_up_exps.weight'");
    foreign_file(mixtral, NULL, NULL, 0, "blk.0.ffn_down_exps.weight", "blk.0.ffn_down.0.weight",
                 HYBRID_ERROR_UNSUPPORTED, "convert the model again");
    foreign_file(qwen2moe, "qwen2moe.expert_shared_feed_forward_length", NULL, 23, NULL, NULL, HYBRID_ERROR_FORMAT,
                 "'blk.0.ffn_gate_shexp.weight' is 32 x 24");
    foreign_file(qwen2moe, NULL, NULL, 0, "blk.2.ffn_gate_inp_shexp.weight", NULL, HYBRID_ERROR_FORMAT,
                 "no tensor 'blk.2.ffn_gate_inp_shexp.weight'");
    foreign_file("tests/oracle/data/models/qwen2.gguf", "qwen2.expert_count", NULL, 8, NULL, NULL,
                 HYBRID_ERROR_UNSUPPORTED, "mixture of 8 experts of the architecture 'qwen2'");
}

int main(void)
{
    hybrid_model *m = load(NULL, model_path);
    if (m) {
        capacity(m);
        fork_and_remove(m);
        slices(m);
        loaders(m);
        host_threads(m);
        hybrid_model_destroy(m);
    }
    plan_is_use(model_path, false);
    plan_is_use(model_path, true);
    plan_is_use("examples/data/stories260K-q8_0.gguf", false);
    memory_that_fails(model_path);
    memory_that_fails("examples/data/stories260K-q8_0.gguf");
    plan_is_use("tests/oracle/data/models/qwen2moe.gguf", false);
    plan_is_use("tests/oracle/data/models/qwen3moe.gguf", true);
    memory_that_fails("tests/oracle/data/models/qwen2moe.gguf");
    plan_is_use("tests/oracle/data/models/rwkv7.gguf", false);
    plan_is_use("tests/oracle/data/models/lfm2.gguf", true);
    memory_that_fails("tests/oracle/data/models/rwkv7.gguf");
    memory_that_fails("tests/oracle/data/models/lfm2.gguf");
    in_parts("tests/oracle/data/models/rwkv7.gguf");
    in_parts("tests/oracle/data/models/lfm2.gguf");
    repacked(model_path, HYBRID_TYPE_Q4_0);
    in_parts("tests/oracle/data/models/llama-rope-freqs.gguf");
    in_parts("tests/oracle/data/models/qwen2moe.gguf");
    damaged_weights();
    refusals();
    refused_mixtures();
    return test_end();
}
