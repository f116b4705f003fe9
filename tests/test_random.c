/* Random walks through the engine, beside a model of what it promises: pages and lengths are counted here again, and
 * every row of logits is computed once more from nothing, by a context of one sequence that gets all tokens at once, in
 * plain C. The bits must be equal. Sequences wear adapters, and change them on the way.
 *     HYBRID_WALKS=1000 HYBRID_SEED=5 build/tests/test_random-plain       more of them, or others */
#include "interface.h"

enum { PAGE = 32, MOST_CTX = 160, MOST_SEQ = 6, MOST_ROWS = 24, MOST_PAGES = MOST_CTX / PAGE + MOST_SEQ + 2 };
enum { N_ADAPTERS = 3, OUTFITS = 1 << N_ADAPTERS }; /* what a sequence wears: a bit for each adapter */

static uint64_t state;
static int below(int n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (int)((state >> 33) % (uint64_t)n);
}
static bool one_in(int n) { return below(n) == 0; }

/* ---- what should be ---------------------------------------------------------------------------------------------- */

typedef struct seq {
    int32_t ids[MOST_CTX];
    unsigned char wears, read_with[MOST_CTX];
    int length, n_pages, pages[MOST_PAGES];
    int before; /* the length before its last decode, where it can be cut, too, if it is recurrent; -1: no more */
} seq;
typedef struct queued {
    int seq, n, n_rows;
    int32_t ids[MOST_CTX];
} queued;

typedef struct world {
    hybrid_context_desc desc;
    int n_vocab, last_pos; /* last_pos: of the model, where positions are learned */
    bool is_recurrent;
    seq seqs[MOST_SEQ];
    int refs[1024], n_free; /* refs of pages by our own numbers */
    queued batch[MOST_SEQ];
    int n_batch, n_ids, n_rows;
    bool running;
    int rows[MOST_SEQ]; /* rows of logits of the last decode */
    uint64_t hash[MOST_SEQ][MOST_ROWS];
} world;

static void drop_page(world *w, int page)
{
    if (--w->refs[page] == 0) w->n_free++;
}
static void trim(world *w, seq *s)
{
    while (s->n_pages > (s->length + PAGE - 1) / PAGE) drop_page(w, s->pages[--s->n_pages]);
}
static bool new_page(world *w, int *page)
{
    for (*page = 0; w->refs[*page]; ++*page) {}
    w->refs[*page] = 1;
    return w->n_free-- > 0;
}

/* Takes pages for all that is queued; false: there are too few, and the world is spoilt. */
static bool take_pages(world *w)
{
    int i;
    for (i = 0; i < w->n_batch; i++) {
        seq *s = &w->seqs[w->batch[i].seq];
        const int end = s->length + w->batch[i].n, at = s->length / PAGE;
        if (end > w->desc.n_ctx || end > w->last_pos) return false;
        if (s->length % PAGE && w->refs[s->pages[at]] > 1) {
            int page;
            if (!new_page(w, &page)) return false;
            drop_page(w, s->pages[at]);
            s->pages[at] = page;
        }
        while (s->n_pages * PAGE < end)
            if (!new_page(w, &s->pages[s->n_pages++])) return false;
        s->before = -1;
    }
    return true;
}

static void forget_batch(world *w)
{
    int i;
    for (i = 0; i < w->n_batch; i++) trim(w, &w->seqs[w->batch[i].seq]);
    w->n_batch = w->n_ids = w->n_rows = 0;
    w->running = false;
}

/* ---- what is ----------------------------------------------------------------------------------------------------- */

typedef struct pair {
    hybrid_context *c, *from_nothing;
    hybrid_adapter *const *worn, *const *worn_from_nothing; /* of the model of each */
    hybrid_error err;
} pair;

static uint64_t hash_row(const float *row, int n)
{
    uint64_t h = 14695981039346656037u;
    int i;
    for (i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], 4);
        h = (h ^ bits) * 1099511628211u;
    }
    return h;
}

/* All that can be asked without changing anything. */
static void look(pair *p, world *w)
{
    int i, k;
    CHECK(hybrid_context_room(p->c) == w->n_free * PAGE, "free: %d, not %d", hybrid_context_room(p->c),
          w->n_free * PAGE);
    for (i = 0; i < w->desc.n_seq; i++) {
        const float *last = hybrid_logits(p->c, i);
        CHECK(hybrid_seq_length(p->c, i) == w->seqs[i].length, "sequence %d: %d, not %d", i, hybrid_seq_length(p->c, i),
              w->seqs[i].length);
        if (w->running || !w->rows[i])
            CHECK(!last && !hybrid_logits_at(p->c, i, 0), "there should be no logits of %d", i);
        else
            CHECK(last && last == hybrid_logits_at(p->c, i, w->rows[i] - 1) && !hybrid_logits_at(p->c, i, w->rows[i]),
                  "rows of %d", i);
        for (k = 0; !w->running && k < w->rows[i]; k++)
            CHECK(hash_row(hybrid_logits_at(p->c, i, k), w->n_vocab) == w->hash[i][k], "row %d of %d changed", k, i);
    }
}

static hybrid_result wear(hybrid_context *c, int seq, hybrid_adapter *const *list, unsigned outfit, hybrid_error *e)
{
    static const float factors[N_ADAPTERS] = { 1, -0.5f, 2 };
    hybrid_adapter *worn[N_ADAPTERS];
    float scales[N_ADAPTERS];
    size_t n = 0;
    int i;
    for (i = 0; i < N_ADAPTERS; i++) {
        if (!(outfit >> i & 1)) continue;
        worn[n] = list[i];
        scales[n++] = factors[i];
    }
    return hybrid_seq_set_adapters(c, seq, worn, scales, n, e);
}

/* A sequence once more from its first token, each token read with what it was read with. */
static bool again(pair *p, const seq *s, int n_rows)
{
    int at, n;
    hybrid_seq_remove(p->from_nothing, 0, 0, NULL);
    for (at = 0; at < s->length; at += n) {
        for (n = 1; at + n < s->length && s->read_with[at + n] == s->read_with[at]; n++) {}
        if (wear(p->from_nothing, 0, p->worn_from_nothing, s->read_with[at], &p->err) ||
            hybrid_batch_add_logits(p->from_nothing, 0, s->ids + at, (size_t)n, SMALLER(n, n_rows), &p->err) ||
            hybrid_decode(p->from_nothing, &p->err))
            return false;
    }
    return true;
}

/* The decode is done: lengths grow, and every row is computed again. */
static void finished(pair *p, world *w)
{
    int i, k;
    for (i = 0; i < w->n_batch; i++) {
        const queued *q = &w->batch[i];
        seq *s = &w->seqs[q->seq];
        memcpy(s->ids + s->length, q->ids, (size_t)q->n * sizeof *q->ids);
        memset(s->read_with + s->length, s->wears, (size_t)q->n);
        s->before = s->length;
        s->length += q->n;
        w->rows[q->seq] = q->n_rows;
        if (!q->n_rows) continue;
        CHECK(again(p, s, q->n_rows), "%s", p->err.message);
        for (k = 0; k < q->n_rows; k++) {
            const float *a = hybrid_logits_at(p->c, q->seq, k), *b = hybrid_logits_at(p->from_nothing, 0, k);
            CHECK(a && b && !memcmp(a, b, (size_t)w->n_vocab * sizeof *a),
                  "row %d of %d of sequence %d, %d tokens: other bits", k, q->n_rows, q->seq, s->length);
            w->hash[q->seq][k] = b ? hash_row(b, w->n_vocab) : 0;
        }
    }
    forget_batch(w);
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

static void step_add(pair *p, world *w)
{
    int32_t ids[MOST_CTX + 40];
    const int s = below(w->desc.n_seq + (one_in(20) ? 2 : 0)) - one_in(60),
              n = below(one_in(3) ? 40 : 6) + (one_in(30) ? MOST_CTX : 0);
    int i, n_rows = one_in(3) ? below(n + 2) : 1, bad = n && one_in(30) ? below(n) : -1, at;
    hybrid_result r, expected = HYBRID_OK;
    queued *q;
    for (i = 0; i < n && i < MOST_CTX + 40; i++) ids[i] = below(w->n_vocab);
    if (n > MOST_CTX + 40) return;
    if (bad >= 0) ids[bad] = one_in(2) ? -1 - below(1000) : w->n_vocab + below(1000);
    for (at = 0; at < w->n_batch && w->batch[at].seq != s; at++) {}
    if (s < 0 || s >= w->desc.n_seq || w->running || !n || bad >= 0)
        expected = HYBRID_ERROR_INVALID;
    else if (n > w->desc.n_ctx - w->n_ids)
        expected = HYBRID_ERROR_CONTEXT_FULL;
    else if (at < w->n_batch - 1)
        expected = HYBRID_ERROR_INVALID;
    else if (w->n_rows - (at < w->n_batch ? w->batch[at].n_rows : 0) + (n_rows < n ? n_rows : n) > w->desc.n_logits)
        expected = HYBRID_ERROR_LIMIT;
    if (n_rows > n) n_rows = n;
    r = n_rows == 1 && one_in(2) ? hybrid_batch_add(p->c, s, ids, (size_t)n, &p->err)
                                 : hybrid_batch_add_logits(p->c, s, ids, (size_t)n, n_rows, &p->err);
    CHECK(r == expected, "add %d tokens to %d: %d, not %d: %s", n, s, r, expected, r ? p->err.message : "");
    if (r || expected) return;
    q = &w->batch[at];
    if (at == w->n_batch) {
        w->n_batch++;
        q->seq = s;
        q->n = q->n_rows = 0;
    }
    memcpy(q->ids + q->n, ids, (size_t)n * sizeof *ids);
    q->n += n;
    w->n_ids += n;
    w->n_rows += n_rows - q->n_rows;
    q->n_rows = n_rows;
}

static void step_decode(pair *p, world *w)
{
    static world before;
    hybrid_result r, expected = HYBRID_OK;
    bool done = true;
    int units;
    before = *w;
    if (!w->running && !w->n_batch)
        expected = HYBRID_ERROR_INVALID;
    else if (!w->running && !take_pages(w)) {
        *w = before;
        expected = HYBRID_ERROR_CONTEXT_FULL;
    }
    if (one_in(2))
        r = hybrid_decode(p->c, &p->err);
    else
        for (units = 1 + below(8), done = false, r = HYBRID_OK; units > 0 && !done && !r; units--)
            r = hybrid_decode_step(p->c, 0, &done, &p->err);
    CHECK(r == expected, "decode: %d, not %d: %s", r, expected, r ? p->err.message : "");
    if (r || expected) return;
    w->running = !done;
    memset(w->rows, 0, sizeof w->rows);
    if (done) finished(p, w);
}

/* The largest position up to `from` at which a sequence can be cut. */
static int cut_at(const world *w, const seq *s, int from)
{
    if (from >= s->length) return s->length;
    if (!w->is_recurrent) return from;
    return s->before >= 0 && from >= s->before ? s->before : 0;
}

static void step_remove(pair *p, world *w)
{
    const int s = below(w->desc.n_seq + one_in(20)), length = s < w->desc.n_seq ? w->seqs[s].length : 0;
    const int any = one_in(4) ? 0 : below(length + 1) + one_in(20) - (one_in(20) ? 200 : 0);
    const bool good = s < w->desc.n_seq && any >= 0;
    const int back = good ? cut_at(w, &w->seqs[s], any) : -1, from = good && any <= length && one_in(2) ? back : any;
    hybrid_result r, expected = HYBRID_OK;
    CHECK(hybrid_seq_back(p->c, s, any) == back, "sequence %d, %d tokens, goes back from %d to %d, not %d", s, length,
          any, hybrid_seq_back(p->c, s, any), back);
    if (!good || w->running || from > length)
        expected = HYBRID_ERROR_INVALID;
    else if (cut_at(w, &w->seqs[s], from) != from)
        expected = HYBRID_ERROR_UNSUPPORTED;
    r = hybrid_seq_remove(p->c, s, from, &p->err);
    CHECK(r == expected, "remove from %d of %d: %d, not %d", from, s, r, expected);
    if (r || expected) return;
    if (from < length) w->seqs[s].before = -1;
    w->seqs[s].length = from;
    trim(w, &w->seqs[s]);
}

static void step_fork(pair *p, world *w)
{
    const int a = below(w->desc.n_seq), b = below(w->desc.n_seq + one_in(20));
    hybrid_result r = hybrid_seq_fork(p->c, a, b, &p->err),
                  expected = b >= w->desc.n_seq || w->running ? HYBRID_ERROR_INVALID : HYBRID_OK;
    int i;
    for (i = 0; i < w->n_batch; i++)
        if (w->batch[i].seq == b && a != b) expected = HYBRID_ERROR_INVALID;
    CHECK(r == expected, "fork %d to %d: %d, not %d", a, b, r, expected);
    if (r || expected || a == b) return;
    w->seqs[b].length = 0;
    trim(w, &w->seqs[b]);
    w->seqs[b] = w->seqs[a];
    for (i = 0; i < w->seqs[b].n_pages; i++) w->refs[w->seqs[b].pages[i]]++;
}

static void step_wear(pair *p, world *w)
{
    const int s = below(w->desc.n_seq + one_in(20)), outfit = below(OUTFITS);
    const hybrid_result r = wear(p->c, s, p->worn, (unsigned)outfit, &p->err);
    const hybrid_result expected = s >= w->desc.n_seq || w->running ? HYBRID_ERROR_INVALID : HYBRID_OK;
    CHECK(r == expected, "%d wears %d: %d, not %d", s, outfit, r, expected);
    if (!r && !expected) w->seqs[s].wears = (unsigned char)outfit;
}

/* ---- adapters ---------------------------------------------------------------------------------------------------- */

typedef struct bytes {
    char *data;
    size_t size;
} bytes;
static bool keep_bytes(void *user, const void *data, size_t n)
{
    bytes *b = (bytes *)user;
    b->data = (char *)realloc(b->data, b->size + n);
    memcpy(b->data + b->size, data, n);
    b->size += n;
    return true;
}

/* A matrix of a layer that an adapter can change. */
static bool changes(const hybrid_gguf_tensor *t, char name[64])
{
    snprintf(name, 64, "%.*s", (int)t->name.size, t->name.data);
    return !strncmp(name, "blk.", 4) && t->name.size > 7 && !strcmp(name + t->name.size - 7, ".weight") &&
           t->n_dims == 2 && t->ne[1] > 3 && !strstr(name, "_exps") && !strstr(name, "conv.conv") &&
           !strstr(name, "lerp") && !strstr(name, "r_k") && !strstr(name, "blk.0.time_mix_v");
}

/* A file of an adapter of every matrix of a model, or of every second one, of random values. */
static bytes adapter_file(const hybrid_model *m, int rank, int every)
{
    const hybrid_gguf *g = hybrid_model_gguf(m);
    hybrid_gguf_writer *w = NULL;
    hybrid_error e;
    bytes out = { NULL, 0 };
    char name[64], whole[80];
    static float values[1 << 16];
    size_t i, n = 0;
    int pass, half;
    bool good = !hybrid_gguf_writer_create(NULL, &w, &e);
    for (i = 0; i < sizeof values / sizeof *values; i++) values[i] = (float)(below(2001) - 1000) * 2e-4f;
    hybrid_gguf_set_string(w, "general.type", "adapter", NULL);
    hybrid_gguf_set_string(w, "adapter.type", "lora", NULL);
    hybrid_gguf_set_string(w, "general.architecture", model_info(m).architecture, NULL);
    for (pass = 0; pass < 2; pass++) {
        if (pass) good = good && !hybrid_gguf_begin(w, keep_bytes, &out, &e);
        for (i = n = 0; i < hybrid_gguf_tensor_count(g); i++) {
            const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
            if (!changes(t, name) || n++ % (size_t)every) continue;
            for (half = 0; half < 2; half++) {
                const uint64_t ne[2] = { half ? (uint64_t)rank : t->ne[0], half ? t->ne[1] : (uint64_t)rank };
                snprintf(whole, sizeof whole, "%s.lora_%c", name, half ? 'b' : 'a');
                if (!pass)
                    hybrid_gguf_add_tensor(w, whole, HYBRID_TYPE_F32, 2, ne, NULL);
                else
                    good = good && !hybrid_gguf_write(w, values + (i * 13 + (size_t)half) % 1000,
                                                      (size_t)(ne[0] * ne[1]) * 4, &e);
            }
        }
    }
    good = good && !hybrid_gguf_end(w, &e);
    hybrid_gguf_writer_destroy(w);
    CHECK(good, "%s", e.message);
    return out;
}

/* The same adapters for three models of one file. */
static void adapters_make(hybrid_model *const m[3], hybrid_adapter *list[3][N_ADAPTERS])
{
    static const int ranks[N_ADAPTERS] = { 16, 3, 8 };
    hybrid_source source;
    hybrid_error e;
    int i, k;
    for (i = 0; i < N_ADAPTERS; i++) {
        bytes file = adapter_file(m[0], ranks[i], 1 + i % 2);
        memset(&source, 0, sizeof source);
        source.data = file.data;
        source.size = file.size;
        for (k = 0; k < 3; k++) CHECK(!hybrid_adapter_load(m[k], &source, &list[k][i], &e), "%s", e.message);
        free(file.data);
    }
}

static void walk(hybrid_model *m, hybrid_model *plain, hybrid_adapter *const *worn, hybrid_adapter *const *worn_plain,
                 const char *name, int steps)
{
    static world w;
    static const hybrid_kv kinds[] = { HYBRID_KV_F16, HYBRID_KV_F32, HYBRID_KV_Q8_0 };
    hybrid_model_info info;
    hybrid_context_desc d;
    pair p;
    int i, failed = check_failed;
    memset(&w, 0, sizeof w);
    memset(&d, 0, sizeof d);
    memset(&p, 0, sizeof p);
    p.worn = worn;
    p.worn_from_nothing = worn_plain;
    hybrid_model_describe(m, &info);
    w.is_recurrent = info.is_recurrent;
    for (i = 0; i < MOST_SEQ; i++) w.seqs[i].before = -1;
    d.n_ctx = one_in(8) ? 1 + below(3) : one_in(2) ? 1 + below(2 * PAGE) : 1 + below(MOST_CTX);
    w.last_pos = strcmp(info.architecture, "gpt2") ? INT32_MAX : info.n_ctx_train;
    if (d.n_ctx > w.last_pos) d.n_ctx = w.last_pos;
    d.n_seq = one_in(3) ? 1 : 1 + below(MOST_SEQ);
    d.n_batch = one_in(3) ? 1 + below(3) : 1 + below(48);
    d.n_logits = one_in(2) ? 0 : 1 + below(MOST_ROWS);
    d.kv = kinds[below(info.head_dim % 32 ? 2 : 3)];
    CHECK(!hybrid_context_create(m, &d, &p.c, &p.err), "%s", p.err.message);
    if (!p.c) return;
    hybrid_context_describe(p.c, &w.desc);
    CHECK(w.desc.n_ctx == d.n_ctx && w.desc.n_logits <= MOST_ROWS, "%d positions, %d rows", w.desc.n_ctx,
          w.desc.n_logits);
    d.n_seq = 1;
    d.n_batch = 512;
    d.n_logits = MOST_ROWS;
    CHECK(!hybrid_context_create(plain, &d, &p.from_nothing, &p.err), "%s", p.err.message);
    w.n_vocab = info.n_vocab;
    w.n_free = (d.n_ctx + PAGE - 1) / PAGE + w.desc.n_seq - 1;
    for (i = 0; i < steps && check_failed == failed; i++) {
        const int what = below(23);
        if (what < 8)
            step_add(&p, &w);
        else if (what < 14)
            step_decode(&p, &w);
        else if (what < 16)
            step_remove(&p, &w);
        else if (what < 19)
            step_fork(&p, &w);
        else if (what < 20) {
            hybrid_batch_clear(p.c);
            forget_batch(&w);
        } else
            step_wear(&p, &w);
        look(&p, &w);
    }
    if (check_failed != failed)
        printf("    %s, step %d: n_ctx %d, n_seq %d, n_batch %d, n_logits %d, kv %d\n", name, i, w.desc.n_ctx,
               w.desc.n_seq, w.desc.n_batch, w.desc.n_logits, (int)w.desc.kv);
    hybrid_context_destroy(p.c); /* perhaps in the middle of a decode */
    hybrid_context_destroy(p.from_nothing);
}

static hybrid_runtime *runtime_of(const char *isa)
{
    hybrid_runtime_desc d;
    hybrid_runtime *rt = NULL;
    hybrid_error err;
    memset(&d, 0, sizeof d);
    d.n_threads = 2;
    d.isa = isa;
    CHECK(!hybrid_runtime_create(&d, &rt, &err), "%s", err.message);
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

int main(void)
{
    static const char *const isas[] = { NULL, "avx2" }; /* the best, and a lower one */
    static const char *const models[] = {
        "examples/data/stories260K-q8_0.gguf",        "tests/oracle/data/models/llama.gguf",
        "tests/oracle/data/models/gemma3.gguf",       "tests/oracle/data/models/gpt2.gguf",
        "tests/oracle/data/models/phi3-window.gguf",  "tests/oracle/data/models/mistral.gguf",
        "tests/oracle/data/models/llama-layers.gguf", "tests/oracle/data/models/lfm2.gguf",
        "tests/oracle/data/models/arwkv7.gguf",       "tests/oracle/data/models/rwkv7.gguf"
    };
    const char *walks = getenv("HYBRID_WALKS"), *seed = getenv("HYBRID_SEED");
    const int n = walks ? atoi(walks) : getenv("HYBRID_SANITIZER") ? 8 : 20;
    hybrid_runtime *plain_c = runtime_of("generic"), *best[2];
    const uint64_t first = seed ? strtoull(seed, NULL, 10) : 1;
    size_t i;
    int k;
    for (k = 0; k < 2; k++) best[k] = runtime_of(isas[k]);
    for (i = 0; i < COUNT(models); i++) {
        hybrid_model *m[3], *plain;
        hybrid_adapter *worn[3][N_ADAPTERS] = { { NULL } };
        int which;
        TEST(models[i]);
        if (!test_wanted(models[i])) continue;
        plain = load(plain_c, models[i]);
        for (k = 0; k < 2; k++) m[k] = load(best[k], models[i]);
        m[2] = plain;
        if (plain && m[0] && m[1]) adapters_make(m, worn);
        for (k = 0; plain && m[0] && m[1] && k < n; k++) {
            const int failed = check_failed;
            state = (first + (uint64_t)k) * 0x9E3779B97F4A7C15u + i;
            which = below(2);
            walk(m[which], plain, worn[which], worn[2], models[i], 80);
            if (check_failed != failed)
                printf("    HYBRID_WALKS=1 HYBRID_SEED=%llu repeats it\n",
                       (unsigned long long)first + (unsigned long long)k);
        }
        for (k = 0; k < 3 * N_ADAPTERS; k++) hybrid_adapter_destroy(worn[k / N_ADAPTERS][k % N_ADAPTERS]);
        for (k = 0; k < 3; k++) hybrid_model_destroy(m[k]);
    }
    for (k = 0; k < 2; k++) hybrid_runtime_destroy(best[k]);
    hybrid_runtime_destroy(plain_c);
    return test_end();
}
