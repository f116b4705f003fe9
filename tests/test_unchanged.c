/* A call that fails has changed nothing: every fallible function of src/api, refused in every way that it knows and
 * with each of its allocations failing, between two dumps of all that there is; conversations with refused calls in
 * between beside conversations without; and no call begins inside of a callback of its own object. A function that
 * is new in src/api must be added to both tables, or the test fails. */
#include "private.h"

static const char model_path[] = "tests/oracle/data/models/llama.gguf";
static const char chat_template[] = "{% for m in messages %}{% if 'RAISE' in m.content %}{{ raise_exception('not "
                                    "this') }}{% endif %}{% if 'BREAK' in m.content %}{{ 1 + 'a' }}{% endif %}"
                                    "{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:";

/* ---- the host: memory that fails on request, and a callback that may ask for more while it is asked -------------- */

typedef struct host {
    size_t live;
    long calls, fail_at;        /* fail_at 0: never */
    void (*inside)(void *user); /* called from within every callback, once at a time */
    void *user;
    bool is_inside;
    int n_inside, n_logged;
    char logged[512];
} host;

static void host_inside(host *h)
{
    if (!h->inside || h->is_inside) return;
    h->is_inside = true;
    h->n_inside++;
    h->inside(h->user);
    h->is_inside = false;
}

static void *host_alloc(void *user, size_t size)
{
    host *h = (host *)user;
    size_t *p;
    host_inside(h);
    if (h->fail_at && ++h->calls == h->fail_at) return NULL;
    if (size > (size_t)1 << 28 || !(p = (size_t *)malloc(size + 16))) return NULL;
    *p = size;
    h->live += size;
    return p + 2;
}

static void host_free(void *user, void *block)
{
    host_inside((host *)user);
    ((host *)user)->live -= ((size_t *)block)[-2];
    free((size_t *)block - 2);
}

static void host_log(void *user, hybrid_log_level level, const char *message)
{
    host *h = (host *)user;
    if (level == HYBRID_LOG_ERROR) h->n_logged++;
    snprintf(h->logged, sizeof h->logged, "%s", message);
    host_inside(h);
}

static void host_for(void *user, int32_t n, hybrid_task_fn fn, void *arg)
{
    int i;
    host_inside((host *)user);
    for (i = 0; i < n; i++) fn(arg, i);
}

static void host_trace(void *user, const char *name, int32_t layer, const float *data, int64_t n_rows, int64_t n_cols,
                       int64_t row_stride)
{
    (void)name;
    (void)layer;
    (void)data;
    (void)n_rows;
    (void)n_cols;
    (void)row_stride;
    host_inside((host *)user);
}

typedef struct sink {
    host *host;
    char *data;
    size_t size;
    long calls, fail_at;
} sink;
static bool sink_write(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    if (s->host) host_inside(s->host);
    if (s->fail_at && ++s->calls >= s->fail_at) return false;
    s->data = (char *)realloc(s->data, s->size + n + 1);
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return true;
}

typedef struct blob {
    host *host;
    char *data;
    size_t size;
    long reads, fail_at;
    int closed;
} blob;
static bool blob_read(void *user, uint64_t offset, void *dst, size_t n)
{
    blob *b = (blob *)user;
    if (b->host) host_inside(b->host);
    if (b->fail_at && ++b->reads >= b->fail_at) return false;
    if (offset > b->size || n > b->size - offset) return false;
    memcpy(dst, b->data + offset, n);
    return true;
}
static void blob_close(void *user) { ((blob *)user)->closed++; }

static bool cancel(void *user, float fraction) { return --*(int *)user >= 0 || fraction < 0; }

/* ---- a world with an object of every kind, each in the middle of something --------------------------------------- */

enum { N_CTX = 160, SLICED = 2 };

typedef struct world {
    host host;
    blob file;        /* a copy of the model, in which weights can be spoilt while it is in use */
    uint32_t *weight; /* one of its weights */
    hybrid_runtime *rt;
    hybrid_model *model;
    hybrid_context *ctx[3];      /* with a batch queued; with an empty one; in the middle of a decode */
    hybrid_context *shared;      /* of two sequences, */
    hybrid_stream *stream;       /* of which one is in the middle of an answer */
    hybrid_session *talk, *base; /* in the middle of an answer of the template's model; at the end of one */
    hybrid_sampler *sampler;
    hybrid_gguf *gguf;                 /* by way of a reader */
    hybrid_gguf_writer *writer, *half; /* collecting; in the middle of a tensor */
    sink out, half_out, refusing;
    hybrid_stop_matcher *stops;
    hybrid_grammar *grammar;
    hybrid_matcher *matcher; /* in the middle of a text */
    hybrid_lexicon *lexicon;
    hybrid_text text;
    float *logits; /* (n_vocab) that a sampler can use */
    int turns;     /* for a progress callback that cancels */
} world;

static char *model_bytes;
static size_t model_size;

/* The tiny model with a chat template, in memory. */
static void make_model(void)
{
    hybrid_source source;
    hybrid_gguf *g = NULL;
    hybrid_gguf_writer *w = NULL;
    hybrid_error e;
    sink out;
    size_t i;
    memset(&source, 0, sizeof source);
    memset(&out, 0, sizeof out);
    source.path = model_path;
    if (hybrid_gguf_open(NULL, &source, &g, &e) || hybrid_gguf_writer_create(NULL, &w, &e) ||
        hybrid_gguf_copy_keys(w, g, &e)) {
        CHECK(false, "%s", e.message);
        return;
    }
    hybrid_gguf_set_string(w, "tokenizer.chat_template", chat_template, NULL);
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)t->name.size, t->name.data);
        hybrid_gguf_add_tensor(w, name, t->type, t->n_dims, t->ne, NULL);
    }
    CHECK(!hybrid_gguf_begin(w, sink_write, &out, &e), "%s", e.message);
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++)
        hybrid_gguf_write(w, hybrid_gguf_tensor_at(g, i)->data, (size_t)hybrid_gguf_tensor_at(g, i)->size, NULL);
    CHECK(!hybrid_gguf_end(w, &e), "%s", e.message);
    hybrid_gguf_writer_destroy(w);
    hybrid_gguf_destroy(g);
    model_bytes = out.data;
    model_size = out.size;
}

static void ids_of(int32_t *ids, int n, int first)
{
    int i;
    for (i = 0; i < n; i++) ids[i] = (first + i * 7) % 120 + 3;
}

static void feed(hybrid_context *c, int seq, int first, int n, bool decode)
{
    int32_t ids[64];
    hybrid_error e;
    ids_of(ids, n, first);
    CHECK(!hybrid_batch_add_logits(c, seq, ids, (size_t)n, 2, &e) && (!decode || !hybrid_decode(c, &e)), "%s",
          e.message);
}

static void make_contexts(world *w)
{
    hybrid_context_desc d;
    hybrid_error e;
    bool done = false;
    int i;
    memset(&d, 0, sizeof d);
    d.n_ctx = 96;
    d.n_seq = 3;
    d.n_batch = 16;
    d.n_logits = 6;
    d.trace = host_trace;
    d.trace_user = &w->host;
    for (i = 0; i < 3; i++) {
        CHECK(!hybrid_context_create(w->model, &d, &w->ctx[i], &e), "%s", e.message);
        feed(w->ctx[i], 0, 1, 40, true);
        CHECK(!hybrid_seq_fork(w->ctx[i], 0, 1, &e), "%s", e.message);
        feed(w->ctx[i], 1, 9, 3, false);
        feed(w->ctx[i], 0, 5, 1, i == 1);
    }
    CHECK(!hybrid_decode_step(w->ctx[SLICED], 0, &done, &e) && !done, "%s", e.message);
}

static void make_sessions(world *w)
{
    static const char *const stops[] = { "zzzz", "\n\n\n" };
    static const hybrid_logit_bias ends[] = { { 2, -INFINITY } };
    hybrid_session_desc d;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    d.system = "Be brief.";
    d.max_tokens = 10;
    d.stops = stops;
    d.n_stops = 2;
    d.sampler.temperature = 0.9f;
    d.sampler.repetition_penalty = 1.2f;
    d.sampler.seed = 3;
    d.sampler.bias = ends;
    d.sampler.n_bias = 1;
    d.context.n_ctx = N_CTX;
    d.context.n_batch = 32;
    d.context.trace = host_trace;
    d.context.trace_user = &w->host;
    CHECK(!hybrid_session_create(w->model, &d, &w->talk, &e) && !hybrid_session_create(w->model, &d, &w->base, &e),
          "%s", e.message);
    CHECK(!hybrid_session_say(w->talk, "One.") && hybrid_session_next(w->talk), "an answer");
    CHECK(!hybrid_session_say(w->talk, "Two."), "another");
    CHECK(hybrid_session_next(w->talk), "another");
    CHECK(hybrid_session_next(w->talk), "another");
    CHECK(!hybrid_session_complete(w->base, "Once upon"), "a text");
    while (hybrid_session_next(w->base)) {}
}

static void make_streams(world *w)
{
    hybrid_context_desc d;
    hybrid_stream_desc sd;
    hybrid_piece piece;
    hybrid_error e;
    int32_t ids[6];
    memset(&d, 0, sizeof d);
    memset(&sd, 0, sizeof sd);
    d.n_ctx = 96;
    d.n_seq = 2;
    d.trace = host_trace;
    d.trace_user = &w->host;
    sd.seq = 1;
    sd.logprobs = true;
    ids_of(ids, 6, 3);
    CHECK(!hybrid_context_create(w->model, &d, &w->shared, &e), "%s", e.message);
    CHECK(!hybrid_stream_create(w->shared, &sd, &w->stream, &e), "%s", e.message);
    CHECK(!hybrid_stream_begin(w->stream, ids, 6, &e) && !hybrid_stream_next(w->stream, &piece, &e), "%s", e.message);
    CHECK(piece.size && piece.n_ids && piece.logprobs && piece.logprobs[0] < 0, "a piece");
}

static void make_files(world *w)
{
    static const uint64_t ne[2] = { 32, 2 };
    static const float row[32] = { 1, 2, 3 };
    hybrid_source source;
    hybrid_error e;
    memset(&source, 0, sizeof source);
    source.reader.read_at = blob_read;
    source.reader.close = blob_close;
    source.reader.size = w->file.size;
    source.reader.user = &w->file;
    CHECK(!hybrid_gguf_open(w->rt, &source, &w->gguf, &e), "%s", e.message);
    CHECK(!hybrid_gguf_writer_create(w->rt, &w->writer, &e) && !hybrid_gguf_writer_create(w->rt, &w->half, &e), "%s",
          e.message);
    CHECK(!hybrid_gguf_set_string(w->writer, "general.architecture", "none", &e), "%s", e.message);
    CHECK(!hybrid_gguf_set_int(w->writer, "a", HYBRID_GGUF_U32, 7, &e), "%s", e.message);
    CHECK(!hybrid_gguf_add_tensor(w->writer, "t", HYBRID_TYPE_F32, 2, ne, &e), "%s", e.message);
    CHECK(!hybrid_gguf_add_tensor(w->half, "t", HYBRID_TYPE_F32, 2, ne, &e), "%s", e.message);
    CHECK(!hybrid_gguf_begin(w->half, sink_write, &w->half_out, &e), "%s", e.message);
    CHECK(!hybrid_gguf_write(w->half, row, sizeof row, &e), "%s", e.message);
}

static void make_others(world *w)
{
    static const hybrid_logit_bias bias[] = { { 5, 1 }, { 9, -INFINITY } };
    hybrid_string stops[2], safe;
    hybrid_sampler_desc d;
    hybrid_chat_message hello;
    hybrid_error e;
    hybrid_model_info info;
    hybrid_grammar_desc gd;
    int which, i;
    memset(&gd, 0, sizeof gd);
    memset(&d, 0, sizeof d);
    d.temperature = 1;
    d.repetition_penalty = 1.1f;
    d.frequency_penalty = 0.1f;
    d.bias = bias;
    d.n_bias = 2;
    CHECK(!hybrid_sampler_create(w->rt, &d, &w->sampler, &e), "%s", e.message);
    for (i = 0; i < 9; i++) hybrid_sampler_accept(w->sampler, i * i % 11);
    stops[0] = hyb_string("stop");
    stops[1] = hyb_string("halt!");
    CHECK(!hybrid_stop_matcher_create(w->rt, stops, 2, &w->stops, &e) &&
              !hybrid_stop_matcher_feed(w->stops, "a text st", 9, &safe, &which, &e),
          "%s", e.message);
    gd.gbnf = "root ::= \"[\" (root (\",\" root)*)? \"]\"";
    CHECK(!hybrid_grammar_create(w->rt, &gd, &w->grammar, &e) && !hybrid_matcher_create(w->grammar, &w->matcher, &e) &&
              !hybrid_matcher_accept(w->matcher, "[[],[", 5, &e) &&
              !hybrid_lexicon_create(hybrid_model_tokenizer(w->model), &w->lexicon, &e),
          "%s", e.message);
    hello.role = "user";
    hello.content = "Hello";
    CHECK(!hybrid_chat_render(hybrid_model_template(w->model), &hello, 1, NULL, &w->text, &e), "%s", e.message);
    hybrid_model_describe(w->model, &info);
    w->logits = (float *)calloc((size_t)info.n_vocab, sizeof *w->logits);
    for (i = 0; i < info.n_vocab; i++) w->logits[i] = (float)(i * 31 % 17);
}

static world *world_make(void)
{
    world *w = (world *)calloc(1, sizeof *w);
    hybrid_runtime_desc rd;
    hybrid_model_desc md;
    hybrid_error e;
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    rd.allocator.alloc = host_alloc;
    rd.allocator.free = host_free;
    rd.allocator.user = &w->host;
    rd.logger.log = host_log;
    rd.logger.user = &w->host;
    rd.n_threads = 2;
    rd.parallel_for = host_for;
    rd.parallel_user = &w->host;
    w->file.data = (char *)malloc(model_size);
    w->file.size = model_size;
    memcpy(w->file.data, model_bytes, model_size);
    md.source.data = w->file.data;
    md.source.size = model_size;
    w->refusing.fail_at = 1;
    CHECK(!hybrid_runtime_create(&rd, &w->rt, &e) && !hybrid_model_load(w->rt, &md, &w->model, &e), "%s", e.message);
    w->weight =
        (uint32_t *)(uintptr_t)hybrid_gguf_find_tensor(hybrid_model_gguf(w->model), "blk.1.ffn_down.weight")->data;
    make_contexts(w);
    make_sessions(w);
    make_streams(w);
    make_files(w);
    make_others(w);
    return w;
}

static void world_end(world *w)
{
    int i;
    hybrid_text_free(&w->text);
    hybrid_stop_matcher_destroy(w->stops);
    hybrid_matcher_destroy(w->matcher);
    hybrid_lexicon_destroy(w->lexicon);
    hybrid_grammar_destroy(w->grammar);
    hybrid_gguf_writer_destroy(w->writer);
    hybrid_gguf_writer_destroy(w->half);
    hybrid_gguf_destroy(w->gguf);
    hybrid_sampler_destroy(w->sampler);
    hybrid_session_destroy(w->talk);
    hybrid_session_destroy(w->base);
    hybrid_stream_destroy(w->stream);
    hybrid_context_destroy(w->shared);
    for (i = 0; i < 3; i++) hybrid_context_destroy(w->ctx[i]);
    hybrid_model_destroy(w->model);
    hybrid_runtime_destroy(w->rt);
    CHECK(w->host.live == 0, "%ld bytes leak", (long)w->host.live);
    CHECK(w->file.closed == 1, "the reader was closed %d times", w->file.closed);
    free(w->out.data);
    free(w->half_out.data);
    free(w->refusing.data);
    free(w->file.data);
    free(w->logits);
    free(w);
}

/* ---- the dump: all that can be seen of a world, and what decides its future -------------------------------------- */

enum { PARTS = 160 };
typedef struct dump {
    int n;
    const char *name[PARTS];
    uint64_t hash[PARTS];
} dump;

static void part(dump *d, const char *name, const void *data, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)data;
    uint64_t hash = 1469598103934665603u, word;
    size_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, bytes + i, 8);
        hash = ((hash ^ word) * 1099511628211u) ^ (hash >> 29);
    }
    for (; i < size; i++) hash = (hash ^ bytes[i]) * 1099511628211u;
    if (d->n == PARTS) exit(printf("PARTS is too small\n"));
    d->name[d->n] = name;
    d->hash[d->n++] = hash;
}
#define PART(what)      part(d, #what, &(what), sizeof(what))
#define PART_N(what, n) part(d, #what, (what), (size_t)(n) * sizeof *(what))

/* The slots' stack is left out: a decode that fails has given up the way back, which is no part of the sequence. */
static void dump_state(dump *d, const hyb_state *state)
{
    uint64_t content = 0;
    int32_t i, k, p;
    PART_N(state->pages.refs, state->pages.n);
    PART_N(state->pages.free, state->pages.n_free);
    for (i = 0; i < state->n_seq; i++) {
        const hyb_seq *s = &state->seqs[i];
        PART(s->length);
        PART(s->n_pages);
        PART(s->slot);
        PART(s->next);
        PART_N(s->pages, s->n_pages);
        for (p = 0; p < s->length; p++) content = content * 31 + (uint64_t)*hyb_seq_id(state, s, p);
        for (k = 0; k < state->n_layer; k++) {
            const hyb_layer_state *l = &state->layers[k];
            dump one;
            for (p = 0; p < s->length / HYB_PAGE; p++) {
                one.n = 0;
                part(&one, "", l->kv.k + (size_t)s->pages[p] * l->kv.page_bytes_k, l->kv.page_bytes_k);
                part(&one, "", l->kv.v + (size_t)s->pages[p] * l->kv.page_bytes_v, l->kv.page_bytes_v);
                content = content * 31 + one.hash[0] * 7 + one.hash[1];
            }
            if (s->slot < 0) continue;
            one.n = 0;
            part(&one, "", l->mixer.data + s->slot * l->mixer.stride, (size_t)l->mixer.stride * sizeof(float));
            content = content * 31 + one.hash[0];
        }
    }
    PART(content);
}

/* rows: the logits, too. Those of a session are never asked for twice. */
static void dump_context(dump *d, hybrid_context *c, bool rows)
{
    hybrid_context_desc seen;
    int32_t i, k;
    memset(&seen, 0, sizeof seen);
    hybrid_context_describe(c, &seen);
    PART(seen.n_ctx);
    PART(seen.n_seq);
    PART(seen.n_batch);
    PART(seen.n_logits);
    PART(seen.adapter_rank);
    PART_N(c->worn.seq, c->desc.n_seq);
    PART(c->in_use);
    PART(c->n_entries);
    for (i = 0; i < c->n_entries; i++) PART(c->entries[i]);
    PART_N(c->ids, c->n_ids);
    PART(c->n_rows_queued);
    PART(c->progress.running);
    if (c->progress.running) {
        PART(c->progress.entry);
        PART(c->progress.offset);
        PART(c->progress.layer);
        PART(c->progress.n_rows_done);
        PART_N(c->chunk_pos, c->progress.chunk.n);
        PART_N(c->chunk_out, c->progress.chunk.n_out);
    }
    if (rows) PART_N(c->logits_row, 2 * c->desc.n_seq);
    for (i = 0; i < c->desc.n_seq; i++)
        for (k = 0; rows && k < c->logits_n[i] && !c->progress.running; k++) {
            const float *row = hybrid_logits_at(c, i, k);
            CHECK(row != NULL, "row %d of sequence %d", k, i);
            if (row) PART_N(row, c->model->hp.n_vocab);
        }
    PART(c->forward.trace);
    PART(c->forward.n_stages);
    dump_state(d, &c->state);
}

static void dump_sampler(dump *d, const hybrid_sampler *s)
{
    if (s->history) PART_N(s->history, s->n_history);
    if (s->seen) PART_N(s->seen, s->n_seen);
    PART_N(s->bias, s->desc.n_bias);
    if (s->repeats.ring) PART_N(s->repeats.ring, s->repeats.n);
    PART(s->repeats.position);
    PART(s->mu);
    PART(s->position);
    PART(s->tries);
}

static void dump_stops(dump *d, const hybrid_stop_matcher *m)
{
    PART_N(m->held, m->n_held);
    PART(m->n_shown);
    PART(m->state);
    PART(m->stopped);
    PART(m->in_use);
}

/* Where the text stands: numbers of states may change. */
static void dump_matcher(dump *d, const hybrid_matcher *m)
{
    const hyb_set *set = &m->match.sets[m->match.state_set[m->state]];
    PART(set->end);
    PART(set->n);
    PART(m->in_use);
}

static void dump_stream(dump *d, const hybrid_stream *s)
{
    hybrid_stream_info info = s->info;
    info.prompt_us = info.generate_us = 0;
    PART(info);
    PART_N(s->ids, s->n_ids);
    PART(s->n_same);
    PART(s->n_queued);
    PART(s->stale);
    PART(s->chosen);
    PART(s->why.result);
    PART(s->utf8.size);
    PART_N(s->utf8.pending, s->utf8.size);
    PART(s->prompt_pending);
    PART(s->fresh);
    PART(s->running);
    PART(s->other_next);
    PART(s->next_max_tokens);
    PART(s->max_tokens);
    PART(s->piece_from);
    PART(s->piece_end);
    PART(s->in_use);
    dump_sampler(d, s->sampler);
    dump_stops(d, s->stops);
    dump_context(d, s->ctx, false);
}

static void dump_session(dump *d, const hybrid_session *s)
{
    size_t i;
    PART_N(s->answer, s->answer_size);
    PART(s->n_forgotten);
    PART(s->is_chat);
    PART(s->in_use);
    PART(s->dialog.n);
    for (i = 0; i < s->dialog.n; i++) {
        PART(s->dialog.messages[i].role);
        PART_N(s->dialog.messages[i].text, strlen(s->dialog.messages[i].text));
    }
    dump_stream(d, s->stream);
}

static void dump_writer(dump *d, const hybrid_gguf_writer *w)
{
    size_t i;
    PART(w->stage);
    PART(w->in_use);
    PART(w->key_names.count);
    PART(w->tensor_names.count);
    for (i = 0; i < w->key_names.count; i++) PART_N(w->entries[i].bytes, w->entries[i].size);
    for (i = 0; i < w->tensor_names.count; i++) PART_N(w->tensors[i].name, w->tensors[i].tensor.name.size);
    PART(w->metadata);
    PART(w->written);
    PART(w->current);
    PART(w->got);
}

static void dump_world(dump *d, world *w)
{
    hybrid_model_info info;
    uint64_t counts[2];
    int i;
    d->n = 0;
    memset(&info, 0, sizeof info);
    hybrid_model_describe(w->model, &info);
    PART(info);
    counts[0] = hyb_atomic_load(&w->rt->references);
    counts[1] = hyb_atomic_load(&w->rt->pool.busy);
    PART(counts);
    PART_N(w->text.data, w->text.size);
    dump_sampler(d, w->sampler);
    dump_stops(d, w->stops);
    dump_matcher(d, w->matcher);
    dump_writer(d, w->writer);
    dump_writer(d, w->half);
    PART(w->gguf->in_use);
    part(d, "half written", w->half_out.data, w->half_out.size);
    part(d, "the model's bytes", w->file.data, w->file.size);
    for (i = 0; i < 3; i++) {
        dump one;
        one.n = 0;
        dump_context(&one, w->ctx[i], true);
        part(d,
             i == SLICED ? "the context in a decode"
             : i         ? "the context between batches"
                         : "the context with a batch",
             one.hash, (size_t)one.n * sizeof *one.hash);
    }
    dump_session(d, w->talk);
    {
        dump one;
        one.n = 0;
        dump_session(&one, w->base);
        part(d, "the session of a text", one.hash, (size_t)one.n * sizeof *one.hash);
        one.n = 0;
        dump_stream(&one, w->stream);
        part(d, "the stream", one.hash, (size_t)one.n * sizeof *one.hash);
    }
}

/* The first part that differs, or NULL. */
static const char *difference(const dump *a, const dump *b)
{
    int i;
    for (i = 0; i < a->n && i < b->n; i++) {
        if (strcmp(a->name[i], b->name[i])) return a->name[i];
        if (a->hash[i] != b->hash[i]) return a->name[i];
    }
    return a->n != b->n ? "the number of parts" : NULL;
}

/* ---- which functions there are, and which a table has ------------------------------------------------------------ */

enum { NAMES = 192 };
static char fallible[NAMES][64];
static bool was_refused[NAMES], was_short[NAMES];
static int n_fallible;

static void read_api(void)
{
    static const char *const files[] = { "base",    "runtime", "quant",   "gguf",    "tokenizer",   "chat",
                                         "model",   "context", "sampler", "session", "bpe_trainer", "train_data",
                                         "trainer", "shape",   "adapter", "curve",   "learn",       "trainable",
                                         "predict", "grammar", "score",   "abi",     "stream",      "saved",
                                         "crowd",   "embed" };
    static const char *const heads[] = { "HYBRID_API hybrid_result ", "HYBRID_API int32_t hybrid_sample",
                                         "HYBRID_API const char *hybrid_session_next" };
    char path[64], *text, *at, *all = read_file("src/api/api.h", NULL);
    size_t i, k, n;
    TEST("the list of fallible functions");
    for (at = all, n = 0; at && (at = strstr(at, "#include \"")) != NULL; at++) n++;
    CHECK(n == HYB_COUNT(files), "api.h includes %d files: this test must know them all", (int)n);
    free(all);
    for (i = 0; i < HYB_COUNT(files); i++) {
        snprintf(path, sizeof path, "src/api/%s.h", files[i]);
        if (!(text = read_file(path, NULL))) {
            CHECK(false, "cannot read %s", path);
            continue;
        }
        for (k = 0; k < HYB_COUNT(heads); k++)
            for (at = text; (at = strstr(at, heads[k])) != NULL; at++) {
                const char *name = strstr(at, "hybrid_result hybrid_") == at + 11 ? at + 25 : strstr(at, "hybrid_");
                for (n = 0; name[n] == '_' || (name[n] >= 'a' && name[n] <= 'z') || (name[n] >= '0' && name[n] <= '9');
                     n++) {}
                if (name[n] != '(' || n > 60 || n_fallible == NAMES) continue;
                memcpy(fallible[n_fallible], name, n);
                fallible[n_fallible][n] = 0;
                n_fallible += strcmp(fallible[n_fallible], "hybrid_sampler_candidates") &&
                              strcmp(fallible[n_fallible], "hybrid_result_text");
            }
        free(text);
    }
    CHECK(n_fallible > 40, "only %d fallible functions found", n_fallible);
}

static void mark(bool *list, const char *function)
{
    int i;
    for (i = 0; i < n_fallible && strcmp(fallible[i], function); i++) {}
    CHECK(i < n_fallible, "%s is no function of src/api", function);
    if (i < n_fallible) list[i] = true;
}

static void check_marks(const bool *list, const char *table)
{
    int i;
    for (i = 0; i < n_fallible; i++) CHECK(list[i], "%s is not in the table of %s: add it", fallible[i], table);
}

/* ---- refused in every way ---------------------------------------------------------------------------------------- */

static dump before, after;

/* The session's calls have no error parameter: the sentence is in its result. */
static int told(hybrid_session *s, int r, hybrid_error *e)
{
    const hybrid_result result = hybrid_session_result(s, e);
    CHECK(r == (int)result, "the result is %d, but the call said %d", (int)result, r);
    return r;
}
static int32_t sample(hybrid_sampler *s, const float *logits, int32_t n_vocab, hybrid_error *e)
{
    const int32_t id = hybrid_sample(s, logits, n_vocab);
    const hybrid_result result = hybrid_sampler_result(s, e);
    CHECK((id < 0 ? id : 0) == (int32_t)result, "the result is %d, but the call said %d", (int)result, (int)id);
    return id;
}
static int next_of(hybrid_session *s, hybrid_error *e)
{
    return hybrid_session_next(s) ? 0 : (int)hybrid_session_result(s, e);
}

/* An output that was poisoned must be empty behind a failure. */
#define REFUSED(function, expected, words, ...) \
    do { \
        int r_; \
        const char *what_; \
        mark(was_refused, #function); \
        e.message[0] = 0; \
        dump_world(&before, w); \
        r_ = (int)(__VA_ARGS__); \
        dump_world(&after, w); \
        what_ = difference(&before, &after); \
        CHECK(r_ == (int)(expected) && strstr(e.message, words), "%s gives %d '%s', not %d '%s'", #function, r_, \
              e.message, (int)(expected), words); \
        CHECK(!what_, "%s (%s) changed %s", #function, words, what_); \
    } while (0)
#define EMPTY(what)  CHECK(what, "%s is not so behind a failure", #what)
#define POISON(type) ((type *)(uintptr_t)16)

static void refused_contexts(world *w)
{
    hybrid_context_desc d;
    hybrid_context *made = POISON(hybrid_context);
    hybrid_error e;
    int32_t ids[120], bad = 100000, one = 5;
    int i;
    TEST("refused: contexts");
    ids_of(ids, 120, 3);
    memset(&d, 0, sizeof d);
    REFUSED(hybrid_context_create, HYBRID_ERROR_INVALID, "model is NULL", hybrid_context_create(NULL, &d, &made, &e));
    EMPTY(!made);
    REFUSED(hybrid_context_create, HYBRID_ERROR_INVALID, "context is NULL",
            hybrid_context_create(w->model, &d, NULL, &e));
    d.n_seq = -1;
    made = POISON(hybrid_context);
    REFUSED(hybrid_context_create, HYBRID_ERROR_INVALID, "n_seq", hybrid_context_create(w->model, &d, &made, &e));
    EMPTY(!made);
    d.n_seq = 0;
    d.n_logits = INT32_MAX;
    REFUSED(hybrid_context_create, HYBRID_ERROR_MEMORY, "memory", hybrid_context_create(w->model, &d, &made, &e));
    REFUSED(hybrid_warmup, HYBRID_ERROR_INVALID, "NULL", hybrid_warmup(NULL, NULL, NULL, &e));
    REFUSED(hybrid_warmup, HYBRID_ERROR_INVALID, "under way", hybrid_warmup(w->ctx[SLICED], NULL, NULL, &e));
    for (i = 0; i < 3; i++) { /* where a batch is queued, none is, or a decode is under way */
        hybrid_context *c = w->ctx[i];
        REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "NULL", hybrid_batch_add(NULL, 0, ids, 1, &e));
        REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "NULL", hybrid_batch_add(c, 0, NULL, 1, &e));
        REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "sequence 3", hybrid_batch_add(c, 3, ids, 1, &e));
        REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "sequence -1", hybrid_batch_add(c, -1, ids, 1, &e));
        REFUSED(hybrid_seq_remove, HYBRID_ERROR_INVALID, "NULL", hybrid_seq_remove(NULL, 0, 0, &e));
        REFUSED(hybrid_seq_remove, HYBRID_ERROR_INVALID, "sequence 9", hybrid_seq_remove(c, 9, 0, &e));
        REFUSED(hybrid_seq_fork, HYBRID_ERROR_INVALID, "NULL", hybrid_seq_fork(NULL, 0, 1, &e));
        REFUSED(hybrid_seq_fork, HYBRID_ERROR_INVALID, "sequence 7", hybrid_seq_fork(c, 0, 7, &e));
        REFUSED(hybrid_seq_fork, HYBRID_ERROR_INVALID, "sequence -2", hybrid_seq_fork(c, -2, 0, &e));
        if (i == SLICED) {
            REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "under way", hybrid_batch_add(c, 0, ids, 1, &e));
            REFUSED(hybrid_seq_remove, HYBRID_ERROR_INVALID, "under way", hybrid_seq_remove(c, 0, 0, &e));
            REFUSED(hybrid_seq_fork, HYBRID_ERROR_INVALID, "under way", hybrid_seq_fork(c, 0, 2, &e));
            continue;
        }
        REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "empty prompt", hybrid_batch_add(c, 0, ids, 0, &e));
        REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "100000", hybrid_batch_add(c, 0, &bad, 1, &e));
        REFUSED(hybrid_batch_add, HYBRID_ERROR_CONTEXT_FULL, "do not fit", hybrid_batch_add(c, 0, ids, 97, &e));
        REFUSED(hybrid_batch_add_logits, HYBRID_ERROR_LIMIT, "n_logits", hybrid_batch_add_logits(c, 2, ids, 9, 9, &e));
        REFUSED(hybrid_seq_remove, HYBRID_ERROR_INVALID, "nothing begins", hybrid_seq_remove(c, 0, 60, &e));
        REFUSED(hybrid_seq_remove, HYBRID_ERROR_INVALID, "nothing begins", hybrid_seq_remove(c, 0, -1, &e));
    }
    REFUSED(hybrid_batch_add, HYBRID_ERROR_INVALID, "others after", hybrid_batch_add(w->ctx[0], 1, &one, 1, &e));
    REFUSED(hybrid_seq_fork, HYBRID_ERROR_INVALID, "tokens in the batch", hybrid_seq_fork(w->ctx[0], 0, 1, &e));
}

static void refused_meaning(world *w)
{
    static const char *const texts[] = { "a", "" };
    static int32_t ids[200];
    static const int32_t *const too_long = ids;
    size_t n = 200;
    float vector = 0;
    hybrid_embed_desc ed;
    hybrid_score_desc sd;
    hybrid_score_info scores[2];
    hybrid_error e;
    memset(&sd, 0, sizeof sd);
    memset(scores, 0, sizeof scores);
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "NULL", hybrid_score(NULL, &sd, scores, &e));
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "NULL", hybrid_score(w->ctx[1], NULL, scores, &e));
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "NULL", hybrid_score(w->ctx[1], &sd, NULL, &e));
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "no texts", hybrid_score(w->ctx[1], &sd, scores, &e));
    sd.prompt = "a mouse and";
    sd.texts = texts;
    sd.n_texts = 2;
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "text 1 is empty", hybrid_score(w->ctx[1], &sd, scores, &e));
    sd.n_texts = 1;
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "queued", hybrid_score(w->ctx[0], &sd, scores, &e));
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "under way", hybrid_score(w->ctx[SLICED], &sd, scores, &e));
    REFUSED(hybrid_score, HYBRID_ERROR_INVALID, "1 of the context's 3 are empty",
            hybrid_score(w->ctx[1], &sd, scores, &e));
    CHECK(!scores[0].n_tokens, "refused scores were written");
    memset(&ed, 0, sizeof ed);
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "NULL", hybrid_embed(NULL, &ed, &vector, &e));
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "NULL", hybrid_embed(w->ctx[1], NULL, &vector, &e));
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "NULL", hybrid_embed(w->ctx[1], &ed, NULL, &e));
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "no texts", hybrid_embed(w->ctx[1], &ed, &vector, &e));
    ed.ids = &too_long;
    ed.n_ids = &n;
    ed.n_texts = 1;
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "queued", hybrid_embed(w->ctx[0], &ed, &vector, &e));
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "under way", hybrid_embed(w->ctx[SLICED], &ed, &vector, &e));
    REFUSED(hybrid_embed, HYBRID_ERROR_LIMIT, "200 tokens", hybrid_embed(w->ctx[1], &ed, &vector, &e));
    n = 0;
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "no tokens", hybrid_embed(w->ctx[1], &ed, &vector, &e));
    n = 1;
    ids[0] = -3;
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "is -3", hybrid_embed(w->ctx[1], &ed, &vector, &e));
    ed.pooling = (hybrid_pooling)7;
    REFUSED(hybrid_embed, HYBRID_ERROR_INVALID, "pooling", hybrid_embed(w->ctx[1], &ed, &vector, &e));
}

/* CONTEXT_FULL by the length of one sequence, and by pages, from either call. */
static void refused_decodes(world *w)
{
    hybrid_context *c = w->ctx[1];
    hybrid_error e;
    bool done = true;
    TEST("refused: decodes");
    REFUSED(hybrid_decode, HYBRID_ERROR_INVALID, "empty", hybrid_decode(c, &e));
    REFUSED(hybrid_decode, HYBRID_ERROR_INVALID, "NULL", hybrid_decode(NULL, &e));
    REFUSED(hybrid_decode_step, HYBRID_ERROR_INVALID, "done is NULL", hybrid_decode_step(c, 0, NULL, &e));
    REFUSED(hybrid_decode_step, HYBRID_ERROR_INVALID, "context is NULL", hybrid_decode_step(NULL, 0, &done, &e));
    EMPTY(!done);
    done = true;
    REFUSED(hybrid_decode_step, HYBRID_ERROR_INVALID, "empty", hybrid_decode_step(c, 0, &done, &e));
    EMPTY(!done);
    feed(c, 0, 1, 60, false);
    REFUSED(hybrid_decode, HYBRID_ERROR_CONTEXT_FULL, "n_ctx is 96", hybrid_decode(c, &e));
    done = true;
    REFUSED(hybrid_decode_step, HYBRID_ERROR_CONTEXT_FULL, "n_ctx is 96", hybrid_decode_step(c, 0, &done, &e));
    EMPTY(!done);
    hybrid_batch_clear(c);
    feed(c, 2, 1, 60, false);
    feed(c, 0, 1, 30, false);
    REFUSED(hybrid_decode, HYBRID_ERROR_CONTEXT_FULL, "pages", hybrid_decode(c, &e));
    REFUSED(hybrid_decode_step, HYBRID_ERROR_CONTEXT_FULL, "pages", hybrid_decode_step(c, 0, &done, &e));
    hybrid_batch_clear(c);
}

static void refused_sessions(world *w)
{
    const uint32_t good = *w->weight, nan = 0x7FC00000u;
    hybrid_session_desc d;
    hybrid_session *made = POISON(hybrid_session), *s[2];
    hybrid_error e;
    char *much = (char *)calloc(8001, 1);
    int i;
    TEST("refused: sessions");
    memset(much, 'z', 8000);
    memset(&d, 0, sizeof d);
    REFUSED(hybrid_session_create, HYBRID_ERROR_INVALID, "model is NULL", hybrid_session_create(NULL, &d, &made, &e));
    EMPTY(!made);
    REFUSED(hybrid_session_create, HYBRID_ERROR_INVALID, "session is NULL",
            hybrid_session_create(w->model, &d, NULL, &e));
    d.max_tokens = -1;
    made = POISON(hybrid_session);
    REFUSED(hybrid_session_create, HYBRID_ERROR_INVALID, "max_tokens", hybrid_session_create(w->model, &d, &made, &e));
    EMPTY(!made);
    d.max_tokens = 0;
    d.n_stops = 1;
    REFUSED(hybrid_session_create, HYBRID_ERROR_INVALID, "stops is NULL",
            hybrid_session_create(w->model, &d, &made, &e));
    d.n_stops = 0;
    d.sampler.top_p = 2;
    REFUSED(hybrid_session_create, HYBRID_ERROR_INVALID, "top_p", hybrid_session_create(w->model, &d, &made, &e));
    s[0] = w->talk;
    s[1] = w->base;
    for (i = 0; i < 2; i++) { /* in the middle of an answer, and behind one */
        REFUSED(hybrid_session_say, HYBRID_ERROR_INVALID, "text is NULL",
                told(s[i], hybrid_session_say(s[i], NULL), &e));
        REFUSED(hybrid_session_say, HYBRID_ERROR_CONTEXT_FULL, "n_ctx", told(s[i], hybrid_session_say(s[i], much), &e));
        REFUSED(hybrid_session_say, HYBRID_ERROR_INVALID, "not this",
                told(s[i], hybrid_session_say(s[i], "RAISE"), &e));
        REFUSED(hybrid_session_say, HYBRID_ERROR_FORMAT, "", told(s[i], hybrid_session_say(s[i], "BREAK"), &e));
        REFUSED(hybrid_session_say_json, HYBRID_ERROR_INVALID, "schema is NULL",
                told(s[i], hybrid_session_say_json(s[i], "x", NULL), &e));
        REFUSED(hybrid_session_say_json, HYBRID_ERROR_UNSUPPORTED, "'contains'",
                told(s[i], hybrid_session_say_json(s[i], "x", "{\"contains\":true}"), &e));
        REFUSED(hybrid_session_say_json, HYBRID_ERROR_CONTEXT_FULL, "n_ctx",
                told(s[i], hybrid_session_say_json(s[i], much, "{\"type\":\"integer\"}"), &e));
        REFUSED(hybrid_session_complete, HYBRID_ERROR_INVALID, "text is NULL",
                told(s[i], hybrid_session_complete(s[i], NULL), &e));
        REFUSED(hybrid_session_complete, HYBRID_ERROR_CONTEXT_FULL, "do not fit",
                told(s[i], hybrid_session_complete(s[i], much), &e));
    }
    *w->weight = nan; /* the prompt's or the token's logits are no numbers */
    REFUSED(hybrid_session_next, HYBRID_ERROR_NUMERIC, "not a number", next_of(w->talk, &e));
    REFUSED(hybrid_session_next, HYBRID_ERROR_NUMERIC, "not a number", next_of(w->talk, &e));
    CHECK(!hybrid_session_say(w->base, "Go on."), "a message behind a text");
    REFUSED(hybrid_session_next, HYBRID_ERROR_NUMERIC, "not a number", next_of(w->base, &e));
    *w->weight = good;
    CHECK(hybrid_session_next(w->base) && hybrid_session_next(w->talk), "they answer as soon as the weights are right");
    CHECK(hybrid_session_say(NULL, "x") == HYBRID_ERROR_INVALID, "no session");
    CHECK(hybrid_session_say_json(NULL, "x", "true") == HYBRID_ERROR_INVALID, "no session");
    CHECK(hybrid_session_complete(NULL, "x") == HYBRID_ERROR_INVALID, "no session");
    CHECK(!hybrid_session_next(NULL), "no session");
    REFUSED(hybrid_session_result, HYBRID_ERROR_INVALID, "NULL", hybrid_session_result(NULL, &e));
    free(much);
}

/* What changes messages, and what a stream refuses. */
static void refused_messages(world *w)
{
    hybrid_session_desc d;
    hybrid_session *made = POISON(hybrid_session), *s[2];
    hybrid_answer_desc a;
    hybrid_sampler_desc sampler;
    hybrid_piece piece;
    hybrid_error e;
    int i;
    TEST("refused: messages");
    memset(&d, 0, sizeof d);
    memset(&sampler, 0, sizeof sampler);
    d.keep = 1.5f;
    REFUSED(hybrid_session_create, HYBRID_ERROR_INVALID, "keep", hybrid_session_create(w->model, &d, &made, &e));
    EMPTY(!made);
    d.keep = 0;
    d.max_positions = -1;
    d.context_shared = w->shared;
    REFUSED(hybrid_session_create, HYBRID_ERROR_INVALID, "max_positions",
            hybrid_session_create(w->model, &d, &made, &e));
    s[0] = w->talk;
    s[1] = w->base;
    for (i = 0; i < 2; i++) {
        memset(&a, 0, sizeof a);
        a.max_tokens = -1;
        REFUSED(hybrid_session_answer, HYBRID_ERROR_INVALID, "max_tokens",
                told(s[i], hybrid_session_answer(s[i], "x", &a), &e));
        a.max_tokens = 0;
        a.begin = "Once";
        a.sampler = &sampler;
        sampler.top_p = 2;
        REFUSED(hybrid_session_answer, HYBRID_ERROR_INVALID, "top_p",
                told(s[i], hybrid_session_answer(s[i], "x", &a), &e));
        a.variables = "[]";
        REFUSED(hybrid_session_answer, HYBRID_ERROR_FORMAT, "", told(s[i], hybrid_session_answer(s[i], NULL, &a), &e));
        REFUSED(hybrid_session_add, HYBRID_ERROR_INVALID, "text",
                told(s[i], hybrid_session_add(s[i], "user", NULL), &e));
        REFUSED(hybrid_session_add, HYBRID_ERROR_INVALID, "'wizard'",
                told(s[i], hybrid_session_add(s[i], "wizard", "x"), &e));
        REFUSED(hybrid_session_edit, HYBRID_ERROR_INVALID, "text", told(s[i], hybrid_session_edit(s[i], 0, NULL), &e));
        REFUSED(hybrid_session_edit, HYBRID_ERROR_INVALID, "no message 99",
                told(s[i], hybrid_session_edit(s[i], 99, "x"), &e));
        REFUSED(hybrid_session_cut, HYBRID_ERROR_INVALID, "no message 99",
                told(s[i], hybrid_session_cut(s[i], 99), &e));
        REFUSED(hybrid_session_step, HYBRID_ERROR_INVALID, "piece is NULL",
                told(s[i], hybrid_session_step(s[i], 100, NULL), &e));
    }
    CHECK(hybrid_session_answer(NULL, "x", NULL) == HYBRID_ERROR_INVALID, "no session");
    CHECK(hybrid_session_step(NULL, 1, &piece) == HYBRID_ERROR_INVALID && !*piece.text, "no session");
    CHECK(hybrid_session_add(NULL, "user", "x") == HYBRID_ERROR_INVALID, "no session");
    CHECK(hybrid_session_edit(NULL, 0, "x") == HYBRID_ERROR_INVALID, "no session");
    CHECK(hybrid_session_cut(NULL, 0) == HYBRID_ERROR_INVALID, "no session");
}

static void refused_crowds(world *w)
{
    const uint32_t good = *w->weight, nan = 0x7FC00000u;
    hybrid_crowd *made = POISON(hybrid_crowd), *crowd = NULL;
    hybrid_piece piece;
    hybrid_error e;
    TEST("refused: crowds");
    REFUSED(hybrid_crowd_create, HYBRID_ERROR_INVALID, "context is NULL", hybrid_crowd_create(NULL, &made, &e));
    EMPTY(!made);
    REFUSED(hybrid_crowd_create, HYBRID_ERROR_INVALID, "crowd is NULL", hybrid_crowd_create(w->shared, NULL, &e));
    CHECK(!hybrid_crowd_create(w->shared, &crowd, &e), "%s", e.message);
    REFUSED(hybrid_crowd_add, HYBRID_ERROR_INVALID, "crowd is NULL", hybrid_crowd_add(NULL, w->talk, 1, &e));
    REFUSED(hybrid_crowd_add, HYBRID_ERROR_INVALID, "session is NULL", hybrid_crowd_add(crowd, NULL, 1, &e));
    REFUSED(hybrid_crowd_add, HYBRID_ERROR_INVALID, "another context", hybrid_crowd_add(crowd, w->talk, 1, &e));
    REFUSED(hybrid_crowd_add, HYBRID_ERROR_INVALID, "priority", hybrid_crowd_add(crowd, w->talk, 0, &e));
    REFUSED(hybrid_crowd_step, HYBRID_ERROR_INVALID, "crowd is NULL", hybrid_crowd_step(NULL, 1, &e));
    CHECK(!hybrid_crowd_step(crowd, 1, &e) && !hybrid_crowd_next(crowd, &piece) && !*piece.text, "nobody has a piece");
    hybrid_crowd_destroy(crowd);
    CHECK(!hybrid_crowd_create(w->talk->ctx, &crowd, &e) && !hybrid_crowd_add(crowd, w->talk, 1, &e), "%s", e.message);
    *w->weight = nan;
    CHECK(!hybrid_crowd_step(crowd, UINT64_MAX, &e), "%s", e.message);
    CHECK(hybrid_crowd_next(crowd, &piece) == w->talk && piece.stop == HYBRID_STOP_ERROR, "it stops for %d",
          piece.stop);
    CHECK(hybrid_session_result(w->talk, &e) == HYBRID_ERROR_NUMERIC, "%s", e.message);
    *w->weight = good;
    hybrid_crowd_destroy(crowd);
}

static void refused_prompts(world *w)
{
    const hybrid_chat_message bad = { "user", "RAISE" };
    hybrid_prompt_desc d;
    hybrid_ids ids;
    hybrid_error e;
    TEST("refused: prompts");
    memset(&d, 0, sizeof d);
    memset(&ids, 0, sizeof ids);
    d.text = "Once upon a time";
    CHECK(!hybrid_prompt(w->model, &d, &ids, &e) && ids.n, "%s", e.message);
    REFUSED(hybrid_prompt, HYBRID_ERROR_INVALID, "model is NULL", hybrid_prompt(NULL, &d, &ids, &e));
    EMPTY(!ids.n);
    REFUSED(hybrid_prompt, HYBRID_ERROR_INVALID, "desc is NULL", hybrid_prompt(w->model, NULL, &ids, &e));
    REFUSED(hybrid_prompt, HYBRID_ERROR_INVALID, "ids is NULL", hybrid_prompt(w->model, &d, NULL, &e));
    d.n_messages = 1;
    REFUSED(hybrid_prompt, HYBRID_ERROR_INVALID, "messages is NULL", hybrid_prompt(w->model, &d, &ids, &e));
    d.messages = &bad;
    REFUSED(hybrid_prompt, HYBRID_ERROR_INVALID, "not both", hybrid_prompt(w->model, &d, &ids, &e));
    d.text = NULL;
    REFUSED(hybrid_prompt, HYBRID_ERROR_INVALID, "not this", hybrid_prompt(w->model, &d, &ids, &e));
    EMPTY(!ids.n);
    hybrid_ids_free(&ids);
}

static void refused_streams(world *w)
{
    const uint32_t good = *w->weight, nan = 0x7FC00000u;
    hybrid_stream_desc d;
    hybrid_stream *made = POISON(hybrid_stream);
    hybrid_sampler_desc sampler;
    hybrid_piece piece;
    hybrid_error e;
    int32_t ids[200];
    TEST("refused: streams");
    memset(&d, 0, sizeof d);
    memset(&sampler, 0, sizeof sampler);
    ids_of(ids, 200, 1);
    REFUSED(hybrid_stream_create, HYBRID_ERROR_INVALID, "context is NULL", hybrid_stream_create(NULL, &d, &made, &e));
    EMPTY(!made);
    REFUSED(hybrid_stream_create, HYBRID_ERROR_INVALID, "stream is NULL",
            hybrid_stream_create(w->shared, &d, NULL, &e));
    d.seq = 1;
    made = POISON(hybrid_stream);
    REFUSED(hybrid_stream_create, HYBRID_ERROR_INVALID, "another stream",
            hybrid_stream_create(w->shared, &d, &made, &e));
    EMPTY(!made);
    d.seq = 2;
    REFUSED(hybrid_stream_create, HYBRID_ERROR_INVALID, "does not exist",
            hybrid_stream_create(w->shared, &d, &made, &e));
    d.seq = 0;
    d.max_tokens = -1;
    REFUSED(hybrid_stream_create, HYBRID_ERROR_INVALID, "max_tokens", hybrid_stream_create(w->shared, &d, &made, &e));
    d.max_tokens = 0;
    d.n_stops = 1;
    REFUSED(hybrid_stream_create, HYBRID_ERROR_INVALID, "stops is NULL",
            hybrid_stream_create(w->shared, &d, &made, &e));
    REFUSED(hybrid_stream_begin, HYBRID_ERROR_INVALID, "stream is NULL", hybrid_stream_begin(NULL, ids, 3, &e));
    REFUSED(hybrid_stream_begin, HYBRID_ERROR_INVALID, "no tokens", hybrid_stream_begin(w->stream, ids, 0, &e));
    REFUSED(hybrid_stream_begin, HYBRID_ERROR_INVALID, "ids is NULL", hybrid_stream_begin(w->stream, NULL, 3, &e));
    REFUSED(hybrid_stream_begin, HYBRID_ERROR_CONTEXT_FULL, "n_ctx", hybrid_stream_begin(w->stream, ids, 96, &e));
    ids[1] = -1;
    REFUSED(hybrid_stream_begin, HYBRID_ERROR_INVALID, "is -1", hybrid_stream_begin(w->stream, ids, 3, &e));
    REFUSED(hybrid_stream_next, HYBRID_ERROR_INVALID, "stream is NULL", hybrid_stream_next(NULL, &piece, &e));
    REFUSED(hybrid_stream_step, HYBRID_ERROR_INVALID, "piece is NULL", hybrid_stream_step(w->stream, 9, NULL, &e));
    REFUSED(hybrid_stream_set_sampler, HYBRID_ERROR_INVALID, "stream", hybrid_stream_set_sampler(NULL, NULL, 0, &e));
    REFUSED(hybrid_stream_set_sampler, HYBRID_ERROR_INVALID, "max_tokens",
            hybrid_stream_set_sampler(w->stream, NULL, -1, &e));
    sampler.top_p = 3;
    REFUSED(hybrid_stream_set_sampler, HYBRID_ERROR_INVALID, "top_p",
            hybrid_stream_set_sampler(w->stream, &sampler, 0, &e));
    REFUSED(hybrid_stream_set_grammar, HYBRID_ERROR_INVALID, "stream", hybrid_stream_set_grammar(NULL, NULL, &e));
    *w->weight = nan;
    REFUSED(hybrid_stream_next, HYBRID_ERROR_NUMERIC, "not a number", hybrid_stream_next(w->stream, &piece, &e));
    EMPTY(!piece.size && !*piece.text);
    *w->weight = good;
    CHECK(!hybrid_stream_next(w->stream, &piece, &e) && piece.size, "it goes on as soon as the weights are right");
}

static void refused_samplers(world *w)
{
    hybrid_sampler_desc d;
    hybrid_sampler *made = POISON(hybrid_sampler);
    hybrid_logit_bias bias[2] = { { 1, 1 }, { 1, 2 } };
    hybrid_error e;
    const int32_t n = w->model->hp.n_vocab;
    const float kept = w->logits[3];
    TEST("refused: samplers");
    memset(&d, 0, sizeof d);
    REFUSED(hybrid_sampler_create, HYBRID_ERROR_INVALID, "sampler is NULL", hybrid_sampler_create(w->rt, &d, NULL, &e));
    d.temperature = -1;
    REFUSED(hybrid_sampler_create, HYBRID_ERROR_INVALID, "temperature", hybrid_sampler_create(w->rt, &d, &made, &e));
    EMPTY(!made);
    d.temperature = 0;
    d.bias = bias;
    d.n_bias = 2;
    REFUSED(hybrid_sampler_create, HYBRID_ERROR_INVALID, "two biases", hybrid_sampler_create(w->rt, &d, &made, &e));
    REFUSED(hybrid_sample, HYBRID_ERROR_INVALID, "logits is NULL", sample(w->sampler, NULL, n, &e));
    REFUSED(hybrid_sample, HYBRID_ERROR_INVALID, "n_vocab", sample(w->sampler, w->logits, 0, &e));
    w->logits[3] = NAN;
    REFUSED(hybrid_sample, HYBRID_ERROR_NUMERIC, "token 3 is not a number", sample(w->sampler, w->logits, n, &e));
    REFUSED(hybrid_sampler_result, HYBRID_ERROR_NUMERIC, "token 3", hybrid_sampler_result(w->sampler, &e));
    w->logits[3] = INFINITY;
    REFUSED(hybrid_sample, HYBRID_ERROR_NUMERIC, "token 3 is infinite", sample(w->sampler, w->logits, n, &e));
    w->logits[3] = kept;
    REFUSED(hybrid_sample_next, HYBRID_ERROR_INVALID, "no logits of sequence 2",
            hybrid_sample_next(w->sampler, w->ctx[0], 2, &e));
    REFUSED(hybrid_sample_next, HYBRID_ERROR_INVALID, "sequence 5", hybrid_sample_next(w->sampler, w->ctx[0], 5, &e));
    REFUSED(hybrid_sample_next, HYBRID_ERROR_INVALID, "has not ended",
            hybrid_sample_next(w->sampler, w->ctx[SLICED], 0, &e));
    REFUSED(hybrid_sample_next, HYBRID_ERROR_INVALID, "context is NULL", hybrid_sample_next(w->sampler, NULL, 0, &e));
    REFUSED(hybrid_sample_next, HYBRID_ERROR_INVALID, "sampler is NULL", hybrid_sample_next(NULL, w->ctx[0], 0, &e));
}

static void refused_models(world *w)
{
    hybrid_runtime_desc rd;
    hybrid_model_desc md, none;
    hybrid_context_desc cd;
    hybrid_memory_plan plan;
    hybrid_source source;
    hybrid_runtime *rt = POISON(hybrid_runtime);
    hybrid_model *m = POISON(hybrid_model);
    hybrid_gguf *g = POISON(hybrid_gguf);
    hybrid_device_info list[1];
    hybrid_error e;
    blob b = w->file;
    size_t n = 99;
    int turns;
    TEST("refused: runtimes, models, plans");
    memset(&rd, 0, sizeof rd);
    memset(&md, 0, sizeof md);
    memset(&none, 0, sizeof none);
    memset(&cd, 0, sizeof cd);
    REFUSED(hybrid_runtime_create, HYBRID_ERROR_INVALID, "runtime is NULL", hybrid_runtime_create(&rd, NULL, &e));
    rd.n_threads = 1000;
    REFUSED(hybrid_runtime_create, HYBRID_ERROR_INVALID, "n_threads", hybrid_runtime_create(&rd, &rt, &e));
    EMPTY(!rt);
    rd.n_threads = 0;
    rd.isa = "z80";
    REFUSED(hybrid_runtime_create, HYBRID_ERROR_INVALID, "z80", hybrid_runtime_create(&rd, &rt, &e));
    rd.isa = NULL;
    rd.device = "cuda:99"; /* no half for GPUs, no driver, or no such GPU */
    REFUSED(hybrid_runtime_create, HYBRID_ERROR_NOT_FOUND, "cuda", hybrid_runtime_create(&rd, &rt, &e));
    REFUSED(hybrid_devices, HYBRID_ERROR_INVALID, "count is NULL", hybrid_devices(w->rt, list, 1, NULL, &e));
    REFUSED(hybrid_devices, HYBRID_ERROR_INVALID, "list is NULL", hybrid_devices(w->rt, NULL, 1, &n, &e));
    EMPTY(n == 0);
    REFUSED(hybrid_model_load, HYBRID_ERROR_INVALID, "desc is NULL", hybrid_model_load(w->rt, NULL, &m, &e));
    EMPTY(!m);
    REFUSED(hybrid_model_load, HYBRID_ERROR_INVALID, "model is NULL", hybrid_model_load(w->rt, &md, NULL, &e));
    m = POISON(hybrid_model);
    REFUSED(hybrid_model_load, HYBRID_ERROR_INVALID, "exactly one", hybrid_model_load(w->rt, &md, &m, &e));
    EMPTY(!m);
    none.path = "tests/oracle/data/models/none.gguf";
    REFUSED(hybrid_model_load, HYBRID_ERROR_IO, "none.gguf", hybrid_model_load(w->rt, &none, &m, &e));
    md.source.reader.read_at = blob_read;
    md.source.reader.close = blob_close;
    md.source.reader.size = b.size;
    md.source.reader.user = &b;
    md.progress = cancel;
    md.progress_user = &w->turns;
    for (turns = 0; turns < 40; turns++) { /* cancelled at every turn */
        w->turns = turns;
        m = POISON(hybrid_model);
        if (!hybrid_model_load(w->rt, &md, &m, &e)) break;
        w->turns = turns;
        REFUSED(hybrid_model_load, HYBRID_ERROR_CANCELLED, "cancelled", hybrid_model_load(w->rt, &md, &m, &e));
        EMPTY(!m);
    }
    CHECK(turns > 1 && turns < 40, "%d turns", turns);
    hybrid_model_destroy(m);
    md.progress = NULL;
    for (b.fail_at = 1; b.fail_at < 200; b.fail_at++) {
        b.reads = 0;
        m = POISON(hybrid_model);
        if (!hybrid_model_load(w->rt, &md, &m, &e)) break;
        b.reads = 0;
        REFUSED(hybrid_model_load, HYBRID_ERROR_IO, "", hybrid_model_load(w->rt, &md, &m, &e));
        EMPTY(!m);
        if (b.fail_at > 4) b.fail_at += 5;
    }
    hybrid_model_destroy(m);
    memset(&plan, 0xAA, sizeof plan);
    REFUSED(hybrid_plan, HYBRID_ERROR_INVALID, "model is NULL", hybrid_plan(w->rt, NULL, &cd, &plan, &e));
    EMPTY(!plan.total && !plan.model && !plan.kv);
    REFUSED(hybrid_plan, HYBRID_ERROR_INVALID, "plan is NULL", hybrid_plan(w->rt, &md, &cd, NULL, &e));
    memset(&plan, 0xAA, sizeof plan);
    REFUSED(hybrid_plan, HYBRID_ERROR_IO, "none.gguf", hybrid_plan(w->rt, &none, &cd, &plan, &e));
    EMPTY(!plan.total && !plan.model && !plan.kv);
    cd.n_ctx = -1;
    b.fail_at = 0;
    memset(&plan, 0xAA, sizeof plan);
    REFUSED(hybrid_plan, HYBRID_ERROR_INVALID, "n_ctx", hybrid_plan(w->rt, &md, &cd, &plan, &e));
    EMPTY(!plan.total && !plan.model && !plan.kv);
    memset(&source, 0, sizeof source);
    REFUSED(hybrid_gguf_open, HYBRID_ERROR_INVALID, "", hybrid_gguf_open(w->rt, &source, &g, &e));
    EMPTY(!g);
    REFUSED(hybrid_gguf_open, HYBRID_ERROR_INVALID, "source is NULL", hybrid_gguf_open(w->rt, NULL, &g, &e));
    source.data = "GGUF";
    source.size = 4;
    g = POISON(hybrid_gguf);
    REFUSED(hybrid_gguf_open, HYBRID_ERROR_FORMAT, "", hybrid_gguf_open(w->rt, &source, &g, &e));
    EMPTY(!g);
}

static void refused_bricks(world *w)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(w->model);
    const hybrid_template *tmpl = hybrid_model_template(w->model);
    static const uint64_t ne[2] = { 32, 2 }, odd[2] = { 31, 1 };
    const float values[32] = { 1 }, bad[32] = { NAN };
    const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(w->gguf, 0);
    hybrid_gguf_tensor foreign = *t;
    hybrid_gguf_value v;
    hybrid_tokenizer_desc td;
    hybrid_bpe_desc bd;
    hybrid_bpe_info info;
    hybrid_data_desc dd;
    hybrid_data *data = POISON(hybrid_data);
    const hybrid_data_position begin = { 0, 0 };
    hybrid_tokenizer *other = POISON(hybrid_tokenizer);
    hybrid_template_desc pd;
    hybrid_template *page = POISON(hybrid_template);
    hybrid_grammar_desc gd;
    hybrid_grammar *form = POISON(hybrid_grammar);
    hybrid_matcher *matcher = POISON(hybrid_matcher);
    hybrid_lexicon *words = POISON(hybrid_lexicon);
    const uint32_t *mask = POISON(const uint32_t);
    hybrid_stop_matcher *stops = POISON(hybrid_stop_matcher);
    hybrid_chat_message hello;
    hybrid_render_desc rd;
    hybrid_text out = w->text;
    hybrid_span span = { 0, 2 };
    hybrid_string empty, safe = { "x", 1 };
    hybrid_error e;
    char text[64], *bytes = (char *)malloc((size_t)t->size);
    unsigned char block[36] = { 7 };
    float one[32];
    int32_t ids[4] = { 3, 4, -5, 6 };
    size_t n = 99;
    int which = 7;
    TEST("refused: bricks");
    empty.data = "";
    empty.size = 0;
    memset(&gd, 0, sizeof gd);
    memset(&td, 0, sizeof td);
    memset(&pd, 0, sizeof pd);
    memset(&rd, 0, sizeof rd);
    memset(&v, 0, sizeof v);
    /* text */
    REFUSED(hybrid_tokenizer_create, HYBRID_ERROR_INVALID, "NULL", hybrid_tokenizer_create(w->rt, &td, &other, &e));
    EMPTY(!other);
    td.tokens = &empty;
    td.n_tokens = 1;
    td.pre = "no such";
    REFUSED(hybrid_tokenizer_create, HYBRID_ERROR_UNSUPPORTED, "no such",
            hybrid_tokenizer_create(w->rt, &td, &other, &e));
    other = POISON(hybrid_tokenizer);
    REFUSED(hybrid_tokenizer_from_gguf, HYBRID_ERROR_INVALID, "NULL",
            hybrid_tokenizer_from_gguf(w->rt, NULL, &other, &e));
    EMPTY(!other);
    memset(&bd, 0, sizeof bd);
    memset(&info, 7, sizeof info);
    other = POISON(hybrid_tokenizer);
    REFUSED(hybrid_bpe_train, HYBRID_ERROR_INVALID, "no texts", hybrid_bpe_train(w->rt, &bd, &other, &info, &e));
    EMPTY(!other && !info.n_tokens && !info.n_bytes);
    REFUSED(hybrid_tokenizer_to_gguf, HYBRID_ERROR_INVALID, "NULL", hybrid_tokenizer_to_gguf(NULL, w->writer, &e));
    memset(&dd, 0, sizeof dd);
    REFUSED(hybrid_data_create, HYBRID_ERROR_INVALID, "no sources", hybrid_data_create(w->rt, &dd, &data, &e));
    EMPTY(!data);
    REFUSED(hybrid_data_next, HYBRID_ERROR_INVALID, "NULL", hybrid_data_next(NULL, 1, ids, ids, &e));
    REFUSED(hybrid_data_next_weighted, HYBRID_ERROR_INVALID, "weights is NULL",
            hybrid_data_next_weighted(NULL, 1, ids, ids, NULL, &e));
    REFUSED(hybrid_data_validation, HYBRID_ERROR_INVALID, "NULL", hybrid_data_validation(NULL, 0, 1, ids, ids, &e));
    REFUSED(hybrid_data_seek, HYBRID_ERROR_INVALID, "NULL", hybrid_data_seek(NULL, begin, &e));
    REFUSED(hybrid_tokenizer_write, HYBRID_ERROR_INVALID, "no text 7",
            hybrid_tokenizer_write(tok, (hybrid_tokenizer_text)7, sink_write, &w->out, &e));
    REFUSED(hybrid_tokenize, HYBRID_ERROR_INVALID, "NULL", hybrid_tokenize(NULL, "x", 1, 0, ids, 4, &n, &e));
    EMPTY(n == 0);
    REFUSED(hybrid_tokenize, HYBRID_ERROR_LIMIT, "room",
            hybrid_tokenize(tok, "one two three four", 18, 0, NULL, 0, &n, &e));
    REFUSED(hybrid_tokenize_spans, HYBRID_ERROR_INVALID, "NULL",
            hybrid_tokenize_spans(tok, "x", 1, NULL, 1, 0, ids, 4, &n, &e));
    EMPTY(n == 0);
    REFUSED(hybrid_tokenize_spans, HYBRID_ERROR_INVALID, "spans[0]",
            hybrid_tokenize_spans(tok, "x", 1, &span, 1, 0, ids, 4, &n, &e));
    EMPTY(n == 0);
    span.end = 3;
    REFUSED(hybrid_tokenize_spans, HYBRID_ERROR_LIMIT, "room",
            hybrid_tokenize_spans(tok, "one two three four", 18, &span, 1, 0, NULL, 0, &n, &e));
    n = 99;
    strcpy(text, "kept");
    REFUSED(hybrid_detokenize, HYBRID_ERROR_INVALID, "ids[2]",
            hybrid_detokenize(tok, ids, 4, 0, text, sizeof text, &n, &e));
    EMPTY(n == 0 && !strcmp(text, "kept"));
    REFUSED(hybrid_detokenize, HYBRID_ERROR_LIMIT, "room", hybrid_detokenize(tok, ids, 2, 0, NULL, 0, &n, &e));
    pd.text = "{% if %}";
    REFUSED(hybrid_template_create, HYBRID_ERROR_FORMAT, "line 1", hybrid_template_create(w->rt, &pd, &page, &e));
    EMPTY(!page);
    REFUSED(hybrid_template_create, HYBRID_ERROR_INVALID, "NULL", hybrid_template_create(w->rt, &pd, NULL, &e));
    memset(&out, 0, sizeof out);
    hello.role = "user";
    hello.content = "RAISE";
    REFUSED(hybrid_chat_render, HYBRID_ERROR_INVALID, "not this", hybrid_chat_render(tmpl, &hello, 1, NULL, &out, &e));
    EMPTY(!out.size);
    REFUSED(hybrid_chat_render, HYBRID_ERROR_INVALID, "has no chat template",
            hybrid_chat_render(NULL, &hello, 1, NULL, &out, &e));
    REFUSED(hybrid_chat_render, HYBRID_ERROR_INVALID, "out is NULL",
            hybrid_chat_render(tmpl, &hello, 1, NULL, NULL, &e));
    rd.context = "[]";
    REFUSED(hybrid_template_render, HYBRID_ERROR_FORMAT, "object", hybrid_template_render(tmpl, &rd, &out, &e));
    REFUSED(hybrid_template_render, HYBRID_ERROR_INVALID, "tmpl is NULL", hybrid_template_render(NULL, &rd, &out, &e));
    hybrid_text_free(&out);
    REFUSED(hybrid_stop_matcher_create, HYBRID_ERROR_INVALID, "stop string 0",
            hybrid_stop_matcher_create(w->rt, &empty, 1, &stops, &e));
    EMPTY(!stops);
    REFUSED(hybrid_stop_matcher_feed, HYBRID_ERROR_INVALID, "NULL",
            hybrid_stop_matcher_feed(w->stops, NULL, 3, &safe, &which, &e));
    EMPTY(!safe.size && which == -1);
    REFUSED(hybrid_grammar_create, HYBRID_ERROR_INVALID, "desc is NULL", hybrid_grammar_create(w->rt, NULL, &form, &e));
    EMPTY(!form);
    gd.gbnf = "root ::= (";
    form = POISON(hybrid_grammar);
    REFUSED(hybrid_grammar_create, HYBRID_ERROR_FORMAT, "line 1", hybrid_grammar_create(w->rt, &gd, &form, &e));
    gd.schema = "{\"minimum\":\"x\"}";
    form = POISON(hybrid_grammar);
    REFUSED(hybrid_grammar_create, HYBRID_ERROR_INVALID, "both gbnf and schema",
            hybrid_grammar_create(w->rt, &gd, &form, &e));
    gd.gbnf = NULL;
    form = POISON(hybrid_grammar);
    REFUSED(hybrid_grammar_create, HYBRID_ERROR_FORMAT, "at /minimum", hybrid_grammar_create(w->rt, &gd, &form, &e));
    EMPTY(!form);
    REFUSED(hybrid_matcher_create, HYBRID_ERROR_INVALID, "grammar is NULL", hybrid_matcher_create(NULL, &matcher, &e));
    EMPTY(!matcher);
    REFUSED(hybrid_matcher_accept, HYBRID_ERROR_FORMAT, "byte 2", hybrid_matcher_accept(w->matcher, "[]x", 3, &e));
    REFUSED(hybrid_matcher_accept, HYBRID_ERROR_INVALID, "NULL", hybrid_matcher_accept(w->matcher, NULL, 3, &e));
    REFUSED(hybrid_lexicon_create, HYBRID_ERROR_INVALID, "tokenizer is NULL", hybrid_lexicon_create(NULL, &words, &e));
    EMPTY(!words);
    REFUSED(hybrid_matcher_mask, HYBRID_ERROR_INVALID, "NULL", hybrid_matcher_mask(w->matcher, NULL, &mask, &n, &e));
    EMPTY(!mask && !n);
    REFUSED(hybrid_matcher_accept_token, HYBRID_ERROR_FORMAT, "token -1",
            hybrid_matcher_accept_token(w->matcher, w->lexicon, -1, &e));
    REFUSED(hybrid_session_set_grammar, HYBRID_ERROR_INVALID, "NULL", hybrid_session_set_grammar(NULL, w->grammar, &e));
    /* files */
    REFUSED(hybrid_gguf_read_tensor, HYBRID_ERROR_INVALID, "NULL", hybrid_gguf_read_tensor(w->gguf, t, NULL, &e));
    foreign.type = HYBRID_TYPE_LAST_;
    REFUSED(hybrid_gguf_read_tensor, HYBRID_ERROR_UNSUPPORTED, "cannot read",
            hybrid_gguf_read_tensor(w->gguf, &foreign, bytes, &e));
    w->file.fail_at = 1;
    REFUSED(hybrid_gguf_read_tensor, HYBRID_ERROR_IO, "", hybrid_gguf_read_tensor(w->gguf, t, bytes, &e));
    w->file.fail_at = 0;
    REFUSED(hybrid_gguf_writer_create, HYBRID_ERROR_INVALID, "NULL", hybrid_gguf_writer_create(w->rt, NULL, &e));
    REFUSED(hybrid_gguf_write, HYBRID_ERROR_INVALID, "between", hybrid_gguf_write(w->writer, values, 4, &e));
    REFUSED(hybrid_gguf_end, HYBRID_ERROR_INVALID, "after hybrid_gguf_begin", hybrid_gguf_end(w->writer, &e));
    REFUSED(hybrid_gguf_set, HYBRID_ERROR_INVALID, "NULL", hybrid_gguf_set(w->writer, "k", NULL, &e));
    v.type = HYBRID_GGUF_STRING;
    v.size = 4;
    REFUSED(hybrid_gguf_set, HYBRID_ERROR_INVALID, "no data", hybrid_gguf_set(w->writer, "a", &v, &e));
    REFUSED(hybrid_gguf_set_int, HYBRID_ERROR_INVALID, "not a value",
            hybrid_gguf_set_int(w->writer, "a", HYBRID_GGUF_U8, 300, &e));
    REFUSED(hybrid_gguf_set_float, HYBRID_ERROR_INVALID, "neither",
            hybrid_gguf_set_float(w->writer, "a", HYBRID_GGUF_U8, 1, &e));
    REFUSED(hybrid_gguf_set_string, HYBRID_ERROR_INVALID, "NULL", hybrid_gguf_set_string(w->writer, "a", NULL, &e));
    REFUSED(hybrid_gguf_set_string, HYBRID_ERROR_INVALID, "needs a name",
            hybrid_gguf_set_string(w->writer, "", "x", &e));
    REFUSED(hybrid_gguf_set_numbers, HYBRID_ERROR_INVALID, "",
            hybrid_gguf_set_numbers(w->writer, "a", HYBRID_GGUF_STRING, values, 3, &e));
    REFUSED(hybrid_gguf_set_strings, HYBRID_ERROR_INVALID, "NULL",
            hybrid_gguf_set_strings(w->writer, "a", NULL, 1, &e));
    REFUSED(hybrid_gguf_set_arrays, HYBRID_ERROR_INVALID, "not an array",
            hybrid_gguf_set_arrays(w->writer, "a", &v, 1, &e));
    REFUSED(hybrid_gguf_copy_keys, HYBRID_ERROR_INVALID, "NULL", hybrid_gguf_copy_keys(w->writer, NULL, &e));
    REFUSED(hybrid_gguf_add_tensor, HYBRID_ERROR_INVALID, "already",
            hybrid_gguf_add_tensor(w->writer, "t", HYBRID_TYPE_F32, 2, ne, &e));
    REFUSED(hybrid_gguf_add_tensor, HYBRID_ERROR_INVALID, "",
            hybrid_gguf_add_tensor(w->writer, "u", HYBRID_TYPE_Q4_0, 2, odd, &e));
    REFUSED(hybrid_gguf_add_tensor, HYBRID_ERROR_INVALID, "before writing begins",
            hybrid_gguf_add_tensor(w->half, "u", HYBRID_TYPE_F32, 2, ne, &e));
    REFUSED(hybrid_gguf_set_string, HYBRID_ERROR_INVALID, "too late", hybrid_gguf_set_string(w->half, "u", "x", &e));
    REFUSED(hybrid_gguf_begin, HYBRID_ERROR_INVALID, "NULL", hybrid_gguf_begin(w->writer, NULL, NULL, &e));
    REFUSED(hybrid_gguf_begin, HYBRID_ERROR_INVALID, "begun already",
            hybrid_gguf_begin(w->half, sink_write, &w->out, &e));
    REFUSED(hybrid_gguf_begin_path, HYBRID_ERROR_INVALID, "NULL", hybrid_gguf_begin_path(w->writer, NULL, &e));
    REFUSED(hybrid_gguf_begin_path, HYBRID_ERROR_INVALID, "begun already", hybrid_gguf_begin_path(w->half, "x", &e));
    REFUSED(hybrid_gguf_write, HYBRID_ERROR_INVALID, "to come", hybrid_gguf_write(w->half, bytes, 1000, &e));
    REFUSED(hybrid_gguf_end, HYBRID_ERROR_INVALID, "lacks 128", hybrid_gguf_end(w->half, &e));
    /* the first failure is given again */
    REFUSED(hybrid_gguf_end, HYBRID_ERROR_INVALID, "no data", hybrid_gguf_end(w->writer, &e));
    /* numbers: no objects; nothing is written either */
    REFUSED(hybrid_abi_check, HYBRID_ERROR_INVALID, "structs is NULL",
            hybrid_abi_check(HYBRID_VERSION_NUMBER, NULL, 1, &e));
    REFUSED(hybrid_quantize, HYBRID_ERROR_INVALID, "31 values",
            hybrid_quantize(HYBRID_TYPE_Q8_0, values, block, 31, NULL, &e));
    REFUSED(hybrid_quantize, HYBRID_ERROR_INVALID, "99 is not a type",
            hybrid_quantize((hybrid_type)99, values, block, 32, NULL, &e));
    REFUSED(hybrid_quantize, HYBRID_ERROR_INVALID, "importance 0 is nan",
            hybrid_quantize(HYBRID_TYPE_Q8_0, values, block, 32, bad, &e));
    REFUSED(hybrid_dequantize, HYBRID_ERROR_INVALID, "values is NULL",
            hybrid_dequantize(HYBRID_TYPE_Q8_0, block, NULL, 32, &e));
    REFUSED(hybrid_dequantize, HYBRID_ERROR_INVALID, "odd address",
            hybrid_dequantize(HYBRID_TYPE_Q8_0, (char *)block + ((uintptr_t)block % 2 ? 2 : 1), one, 32, &e));
    REFUSED(hybrid_convert, HYBRID_ERROR_INVALID, "importance",
            hybrid_convert(w->rt, HYBRID_TYPE_F32, values, HYBRID_TYPE_Q8_0, block, 1, 32, bad, &e));
    REFUSED(hybrid_convert, HYBRID_ERROR_INVALID, "NULL",
            hybrid_convert(w->rt, HYBRID_TYPE_F32, NULL, HYBRID_TYPE_Q8_0, block, 1, 32, NULL, &e));
    EMPTY(block[0] == 7);
    REFUSED(hybrid_convert, HYBRID_ERROR_NUMERIC, "NaN",
            hybrid_convert(w->rt, HYBRID_TYPE_F32, bad, HYBRID_TYPE_Q8_0, block, 1, 32, NULL, &e));
    free(bytes);
}

static const char checkpoint_path[] = "build/unchanged.ckpt", export_path[] = "build/unchanged.gguf",
                  curve_path[] = "build/unchanged.svg";

/* A model that can be trained, and its trainer; one batch. */
typedef struct school {
    hybrid_model *model;
    hybrid_trainer *trainer;
    hybrid_train_batch batch;
    int32_t ids[16], targets[16];
} school;

static int school_make(school *s, world *w, hybrid_error *e)
{
    hybrid_model_desc md;
    hybrid_trainer_desc td;
    int i, r;
    memset(&md, 0, sizeof md);
    memset(&td, 0, sizeof td);
    memset(s, 0, sizeof *s);
    for (i = 0; i < 16; i++) s->targets[i] = 1 + (s->ids[i] = 3 + i);
    s->batch.ids = s->ids;
    s->batch.targets = s->targets;
    md.source.data = w->file.data;
    md.source.size = model_size;
    md.trainable = true;
    if ((r = hybrid_model_load(w->rt, &md, &s->model, e)) != 0) return r;
    td.model = s->model;
    td.n_seq = 2;
    td.n_ctx = 8;
    td.ema = 0.9f;
    s->trainer = POISON(hybrid_trainer);
    r = hybrid_trainer_create(&td, &s->trainer, e);
    CHECK(!s->trainer == !!r, "a handle");
    return r;
}

static void school_end(school *s)
{
    hybrid_trainer_destroy(s->trainer);
    hybrid_model_destroy(s->model);
}

/* A loss that says what the weights are. */
static double school_loss(school *s)
{
    hybrid_error e;
    double loss = -1;
    CHECK(!hybrid_trainer_evaluate(s->trainer, &s->batch, &loss, &e), "%s", e.message);
    return loss;
}

/* A vocabulary of the 256 bytes and an end; NULL: e says why. */
static hybrid_tokenizer *bytes_only(world *w, hybrid_error *e)
{
    hybrid_source source;
    hybrid_bpe_desc desc;
    hybrid_tokenizer *made;
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    source.data = "ab";
    source.size = 2;
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 257;
    return hybrid_bpe_train(w->rt, &desc, &made, NULL, e) ? NULL : made;
}

/* What a trainer refuses, after which its weights are those that they were. */
static void refused_predictors(world *w, hybrid_trainer *t)
{
    hybrid_error e;
    hybrid_predictor *made = POISON(hybrid_predictor);
    hybrid_predict_desc d;
    uint64_t bytes = 7;
    dump before, after;
    memset(&d, 0, sizeof d);
    REFUSED(hybrid_predictor_create, HYBRID_ERROR_INVALID, "trainer is NULL", hybrid_predictor_create(&d, &made, &e));
    EMPTY(!made);
    d.trainer = t;
    d.window = 1;
    made = POISON(hybrid_predictor);
    REFUSED(hybrid_predictor_create, HYBRID_ERROR_INVALID, "window is 1", hybrid_predictor_create(&d, &made, &e));
    EMPTY(!made);
    REFUSED(hybrid_predictor_plan, HYBRID_ERROR_INVALID, "window is 1", hybrid_predictor_plan(&d, &bytes, &e));
    EMPTY(!bytes);
    REFUSED(hybrid_predictor_plan, HYBRID_ERROR_INVALID, "bytes is NULL", hybrid_predictor_plan(&d, NULL, &e));
}

static void refused_trainers(world *w)
{
    hybrid_predict_desc setting;
    hybrid_trainer_desc td;
    hybrid_trainer *made = POISON(hybrid_trainer);
    hybrid_train_batch bad;
    hybrid_error e;
    school s;
    hybrid_train_plan plan;
    bool done = true;
    double loss = 5, at_first;
    int32_t beyond[16];
    hybrid_model_shape shape;
    hybrid_model *m = POISON(hybrid_model);
    TEST("refused: trainers");
    CHECK(!school_make(&s, w, &e), "%s", e.message);
    at_first = school_loss(&s);
    memset(&td, 0, sizeof td);
    memset(&setting, 0, sizeof setting);
    REFUSED(hybrid_trainer_create, HYBRID_ERROR_INVALID, "desc is NULL", hybrid_trainer_create(NULL, &made, &e));
    EMPTY(!made);
    made = POISON(hybrid_trainer);
    REFUSED(hybrid_trainer_create, HYBRID_ERROR_INVALID, "model is NULL", hybrid_trainer_create(&td, &made, &e));
    EMPTY(!made);
    td.model = w->model;
    REFUSED(hybrid_trainer_create, HYBRID_ERROR_INVALID, "trainable", hybrid_trainer_create(&td, &made, &e));
    td.model = s.model;
    td.n_seq = -1;
    REFUSED(hybrid_trainer_create, HYBRID_ERROR_INVALID, "n_seq -1", hybrid_trainer_create(&td, &made, &e));
    bad = s.batch;
    memcpy(beyond, s.ids, sizeof beyond);
    beyond[5] = s.model->hp.n_vocab;
    bad.ids = beyond;
    REFUSED(hybrid_trainer_step, HYBRID_ERROR_INVALID, "batches is NULL",
            hybrid_trainer_step(s.trainer, NULL, NULL, &e));
    REFUSED(hybrid_trainer_step, HYBRID_ERROR_INVALID, "token 5", hybrid_trainer_step(s.trainer, &bad, NULL, &e));
    REFUSED(hybrid_trainer_work, HYBRID_ERROR_INVALID, "batches is NULL",
            hybrid_trainer_work(s.trainer, NULL, 9, &done, NULL, &e));
    EMPTY(!done);
    REFUSED(hybrid_trainer_work, HYBRID_ERROR_INVALID, "token 5",
            hybrid_trainer_work(s.trainer, &bad, 9, &done, NULL, &e));
    REFUSED(hybrid_trainer_plan, HYBRID_ERROR_INVALID, "desc is NULL", hybrid_trainer_plan(NULL, &plan, &e));
    EMPTY(!plan.total && !plan.n_seq);
    hybrid_trainer_describe(s.trainer, &td);
    REFUSED(hybrid_trainer_plan, HYBRID_ERROR_INVALID, "plan is NULL", hybrid_trainer_plan(&td, NULL, &e));
    td.max_bytes = 1;
    REFUSED(hybrid_trainer_plan, HYBRID_ERROR_LIMIT, "max_bytes is 1", hybrid_trainer_plan(&td, &plan, &e));
    REFUSED(hybrid_trainer_create, HYBRID_ERROR_LIMIT, "max_bytes is 1", hybrid_trainer_create(&td, &made, &e));
    td.max_bytes = 0;
    td.optimizer = (hybrid_optimizer)9;
    REFUSED(hybrid_trainer_create, HYBRID_ERROR_INVALID, "no optimizer 9", hybrid_trainer_create(&td, &made, &e));
    td.optimizer = HYBRID_OPTIMIZER_SGD;
    td.momentum = 1;
    REFUSED(hybrid_trainer_create, HYBRID_ERROR_INVALID, "momentum 1", hybrid_trainer_create(&td, &made, &e));
    REFUSED(hybrid_trainer_swap_ema, HYBRID_ERROR_INVALID, "trainer is NULL", hybrid_trainer_swap_ema(NULL, &e));
    REFUSED(hybrid_trainer_set_format, HYBRID_ERROR_INVALID, "trainer is NULL",
            hybrid_trainer_set_format(NULL, HYBRID_TYPE_BF16, &e));
    REFUSED(hybrid_trainer_set_format, HYBRID_ERROR_INVALID, "not in the type of number 8",
            hybrid_trainer_set_format(s.trainer, HYBRID_TYPE_Q8_0, &e));
    REFUSED(hybrid_predict_set, HYBRID_ERROR_INVALID, "desc is NULL", hybrid_predict_set(NULL, "window", "12", &e));
    REFUSED(hybrid_predict_set, HYBRID_ERROR_INVALID, "no setting 'x'", hybrid_predict_set(&setting, "x", "12", &e));
    REFUSED(hybrid_predict_preset, HYBRID_ERROR_INVALID, "name is NULL", hybrid_predict_preset(NULL, &setting, &e));
    REFUSED(hybrid_predict_preset, HYBRID_ERROR_INVALID, "no preset 'x'", hybrid_predict_preset("x", &setting, &e));
    CHECK(!setting.window, "a setting");
    REFUSED(hybrid_trainer_set_batches, HYBRID_ERROR_INVALID, "trainer is NULL",
            hybrid_trainer_set_batches(NULL, 2, &e));
    REFUSED(hybrid_trainer_set_batches, HYBRID_ERROR_INVALID, "n_batches is 0",
            hybrid_trainer_set_batches(s.trainer, 0, &e));
    refused_predictors(w, s.trainer);
    REFUSED(hybrid_trainer_evaluate, HYBRID_ERROR_INVALID, "NULL", hybrid_trainer_evaluate(s.trainer, NULL, &loss, &e));
    REFUSED(hybrid_trainer_evaluate, HYBRID_ERROR_INVALID, "token 5",
            hybrid_trainer_evaluate(s.trainer, &bad, &loss, &e));
    REFUSED(hybrid_trainer_set_user, HYBRID_ERROR_INVALID, "data is NULL",
            hybrid_trainer_set_user(s.trainer, NULL, 4, &e));
    REFUSED(hybrid_trainer_save, HYBRID_ERROR_INVALID, "path is NULL", hybrid_trainer_save(s.trainer, NULL, &e));
    REFUSED(hybrid_trainer_save, HYBRID_ERROR_IO, "/nowhere", hybrid_trainer_save(s.trainer, "/nowhere/at all/x", &e));
    REFUSED(hybrid_trainer_load, HYBRID_ERROR_INVALID, "path is NULL", hybrid_trainer_load(s.trainer, NULL, &e));
    REFUSED(hybrid_trainer_load, HYBRID_ERROR_FORMAT, "", hybrid_trainer_load(s.trainer, model_path, &e));
    REFUSED(hybrid_trainer_export, HYBRID_ERROR_INVALID, "mix 99",
            hybrid_trainer_export(s.trainer, export_path, (hybrid_mix)99, &e));
    REFUSED(hybrid_trainer_export, HYBRID_ERROR_IO, "/nowhere",
            hybrid_trainer_export(s.trainer, "/nowhere/at all/x", HYBRID_MIX_F32, &e));
    CHECK(school_loss(&s) == at_first, "the weights were changed");
    school_end(&s);
    memset(&shape, 0, sizeof shape);
    REFUSED(hybrid_model_create, HYBRID_ERROR_INVALID, "shape is NULL", hybrid_model_create(w->rt, NULL, &m, &e));
    EMPTY(!m);
    REFUSED(hybrid_model_create, HYBRID_ERROR_INVALID, "tokenizer is NULL", hybrid_model_create(w->rt, &shape, &m, &e));
    shape.tokenizer = hybrid_model_tokenizer(w->model);
    shape.n_head = -1;
    REFUSED(hybrid_model_create, HYBRID_ERROR_INVALID, "n_head -1", hybrid_model_create(w->rt, &shape, &m, &e));
    shape.architecture = "t5";
    REFUSED(hybrid_model_create, HYBRID_ERROR_UNSUPPORTED, "t5", hybrid_model_create(w->rt, &shape, &m, &e));
}

static uint64_t hash_of(const void *data, size_t size)
{
    hyb_hash_key key;
    memset(&key, 0, sizeof key);
    return hyb_hash(&key, data, size);
}

/* What an adapter refuses to learn, whose values are those that they were. */
static void refused_lessons(world *w, hybrid_adapter *adapter)
{
    static const int32_t ids[4] = { 5, 6, 7, 8 }, wrong[4] = { 5, 6, 7, 1 << 20 };
    const uint64_t was = hash_of(adapter->values, adapter->n_values * sizeof(float));
    hybrid_learn_info info;
    hybrid_learn_desc d;
    hybrid_example ex;
    hybrid_error e;
    memset(&d, 0, sizeof d);
    memset(&ex, 0, sizeof ex);
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "adapter is NULL", hybrid_adapter_learn(NULL, &d, 0, NULL, &e));
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "no lesson", hybrid_adapter_learn(adapter, NULL, 0, &info, &e));
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "no examples", hybrid_adapter_learn(adapter, &d, 0, NULL, &e));
    d.examples = &ex;
    d.n_examples = 1;
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "example 0", hybrid_adapter_learn(adapter, &d, 0, NULL, &e));
    ex.ids = ids;
    ex.n_ids = ex.n_prompt = 4;
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "its prompt", hybrid_adapter_learn(adapter, &d, 0, NULL, &e));
    ex.n_prompt = 2;
    ex.ids = wrong;
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "token 3", hybrid_adapter_learn(adapter, &d, 0, NULL, &e));
    ex.ids = ids;
    ex.n_ids = 1 << 20;
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_LIMIT, "cut it", hybrid_adapter_learn(adapter, &d, 0, NULL, &e));
    ex.n_ids = 4;
    ex.weight = NAN;
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "weight", hybrid_adapter_learn(adapter, &d, 0, NULL, &e));
    ex.weight = 0;
    d.rate = -1;
    REFUSED(hybrid_adapter_learn, HYBRID_ERROR_INVALID, "rate", hybrid_adapter_learn(adapter, &d, 0, NULL, &e));
    REFUSED(hybrid_adapter_commit, HYBRID_ERROR_INVALID, "NULL", hybrid_adapter_commit(NULL, &e));
    REFUSED(hybrid_adapter_rollback, HYBRID_ERROR_INVALID, "NULL", hybrid_adapter_rollback(NULL, &e));
    CHECK(hash_of(adapter->values, adapter->n_values * sizeof(float)) == was, "the adapter was changed");
}

/* What an adapter refuses; and a context, which goes on wearing what it did. */
static void refused_adapters(world *w)
{
    hybrid_adapter_desc d;
    hybrid_adapter *made = POISON(hybrid_adapter), *good, *list[HYBRID_SEQ_MAX_ADAPTERS + 1];
    hybrid_source source;
    hybrid_error e;
    const char *name = "ffn_wrong";
    float scale = INFINITY;
    int i;
    TEST("refused: adapters");
    memset(&d, 0, sizeof d);
    memset(&source, 0, sizeof source);
    CHECK(!hybrid_adapter_create(w->model, NULL, &good, &e), "%s", e.message);
    REFUSED(hybrid_adapter_create, HYBRID_ERROR_INVALID, "model is NULL", hybrid_adapter_create(NULL, &d, &made, &e));
    EMPTY(!made);
    d.rank = -1;
    REFUSED(hybrid_adapter_create, HYBRID_ERROR_INVALID, "rank is -1", hybrid_adapter_create(w->model, &d, &made, &e));
    d.rank = 0;
    d.alpha = NAN;
    REFUSED(hybrid_adapter_create, HYBRID_ERROR_INVALID, "alpha", hybrid_adapter_create(w->model, &d, &made, &e));
    d.alpha = 0;
    d.targets = &name;
    d.n_targets = 1;
    REFUSED(hybrid_adapter_create, HYBRID_ERROR_NOT_FOUND, "ffn_wrong", hybrid_adapter_create(w->model, &d, &made, &e));
    name = "token_embd";
    REFUSED(hybrid_adapter_create, HYBRID_ERROR_INVALID, "embeddings", hybrid_adapter_create(w->model, &d, &made, &e));
    name = "attn_norm";
    REFUSED(hybrid_adapter_create, HYBRID_ERROR_INVALID, "vector", hybrid_adapter_create(w->model, &d, &made, &e));
    made = POISON(hybrid_adapter);
    REFUSED(hybrid_adapter_load, HYBRID_ERROR_INVALID, "source is NULL",
            hybrid_adapter_load(w->model, NULL, &made, &e));
    EMPTY(!made);
    source.path = model_path;
    made = POISON(hybrid_adapter);
    REFUSED(hybrid_adapter_load, HYBRID_ERROR_FORMAT, "not an adapter",
            hybrid_adapter_load(w->model, &source, &made, &e));
    EMPTY(!made);
    REFUSED(hybrid_adapter_set_type, HYBRID_ERROR_INVALID, "adapter is NULL",
            hybrid_adapter_set_type(NULL, HYBRID_TYPE_F16, &e));
    REFUSED(hybrid_adapter_set_type, HYBRID_ERROR_INVALID, "", hybrid_adapter_set_type(good, HYBRID_TYPE_Q4_K, &e));
    REFUSED(hybrid_adapter_save, HYBRID_ERROR_INVALID, "path is NULL",
            hybrid_adapter_save(good, NULL, HYBRID_TYPE_F32, &e));
    REFUSED(hybrid_adapter_save, HYBRID_ERROR_INVALID, "F32 or F16",
            hybrid_adapter_save(good, export_path, HYBRID_TYPE_Q8_0, &e));
    REFUSED(hybrid_adapter_save, HYBRID_ERROR_IO, "/nowhere",
            hybrid_adapter_save(good, "/nowhere/at all/x", HYBRID_TYPE_F32, &e));
    for (i = 0; i <= HYBRID_SEQ_MAX_ADAPTERS; i++) list[i] = good;
    REFUSED(hybrid_seq_set_adapters, HYBRID_ERROR_INVALID, "context is NULL",
            hybrid_seq_set_adapters(NULL, 0, list, NULL, 1, &e));
    REFUSED(hybrid_seq_set_adapters, HYBRID_ERROR_INVALID, "sequence 3",
            hybrid_seq_set_adapters(w->ctx[1], 3, list, NULL, 1, &e));
    REFUSED(hybrid_seq_set_adapters, HYBRID_ERROR_INVALID, "NULL",
            hybrid_seq_set_adapters(w->ctx[1], 0, NULL, NULL, 1, &e));
    REFUSED(hybrid_seq_set_adapters, HYBRID_ERROR_INVALID, "not a finite",
            hybrid_seq_set_adapters(w->ctx[1], 0, list, &scale, 1, &e));
    REFUSED(hybrid_seq_set_adapters, HYBRID_ERROR_LIMIT, "8 adapters",
            hybrid_seq_set_adapters(w->ctx[1], 0, list, NULL, HYBRID_SEQ_MAX_ADAPTERS + 1, &e));
    REFUSED(hybrid_seq_set_adapters, HYBRID_ERROR_INVALID, "under way",
            hybrid_seq_set_adapters(w->ctx[SLICED], 0, list, NULL, 1, &e));
    REFUSED(hybrid_session_set_adapters, HYBRID_ERROR_INVALID, "session is NULL",
            hybrid_session_set_adapters(NULL, list, NULL, 1, &e));
    REFUSED(hybrid_session_set_adapters, HYBRID_ERROR_INVALID, "not a finite",
            hybrid_session_set_adapters(w->talk, list, &scale, 1, &e));
    REFUSED(hybrid_adapter_merge, HYBRID_ERROR_INVALID, "model is NULL",
            hybrid_adapter_merge(NULL, list, NULL, 1, export_path, HYBRID_MIX_F32, &e));
    REFUSED(hybrid_adapter_merge, HYBRID_ERROR_INVALID, "mix 99",
            hybrid_adapter_merge(w->model, list, NULL, 1, export_path, (hybrid_mix)99, &e));
    REFUSED(hybrid_adapter_merge, HYBRID_ERROR_INVALID, "not a finite",
            hybrid_adapter_merge(w->model, list, &scale, 1, export_path, HYBRID_MIX_F32, &e));
    REFUSED(hybrid_adapter_merge, HYBRID_ERROR_IO, "/nowhere",
            hybrid_adapter_merge(w->model, list, NULL, 1, "/nowhere/at all/x", HYBRID_MIX_F32, &e));
    refused_lessons(w, good);
    hybrid_adapter_destroy(good);
}

/* What a curve refuses, after which its points are those that they were. */
static void refused_curves(world *w)
{
    const hybrid_train_metrics second = { 2, 5, 2.5, 1, 1, 1 }, first = { 1, 5, 2.5, 1, 1, 1 };
    hybrid_curve_desc desc;
    hybrid_curve *made = POISON(hybrid_curve);
    hybrid_error e;
    size_t n;
    TEST("refused: curves");
    memset(&desc, 0, sizeof desc);
    REFUSED(hybrid_curve_create, HYBRID_ERROR_INVALID, "desc or curve is NULL",
            hybrid_curve_create(w->rt, NULL, &made, &e));
    EMPTY(!made);
    made = POISON(hybrid_curve);
    desc.path = model_path;
    REFUSED(hybrid_curve_create, HYBRID_ERROR_FORMAT, "lines", hybrid_curve_create(w->rt, &desc, &made, &e));
    EMPTY(!made);
    desc.path = NULL;
    CHECK(!hybrid_curve_create(w->rt, &desc, &made, &e), "%s", e.message);
    CHECK(!hybrid_curve_add(made, &second, NULL, &e), "%s", e.message);
    REFUSED(hybrid_curve_add, HYBRID_ERROR_INVALID, "metrics is NULL", hybrid_curve_add(made, NULL, NULL, &e));
    REFUSED(hybrid_curve_add, HYBRID_ERROR_INVALID, "step 1 comes after step 2",
            hybrid_curve_add(made, &first, NULL, &e));
    REFUSED(hybrid_curve_draw, HYBRID_ERROR_INVALID, "write is NULL", hybrid_curve_draw(made, NULL, NULL, &e));
    REFUSED(hybrid_curve_draw_path, HYBRID_ERROR_INVALID, "path is NULL", hybrid_curve_draw_path(made, NULL, &e));
    REFUSED(hybrid_curve_draw_path, HYBRID_ERROR_IO, "/nowhere", hybrid_curve_draw_path(made, "/nowhere/at all/x", &e));
    CHECK(hybrid_curve_points(made, &n)->step == 2 && n == 1, "the points were changed");
    hybrid_curve_destroy(made);
}

/* A bad key or path is set right, and writing begins; the keys that a failed copy would have set are as the others. */
static void refused_saved(world *w)
{
    static char data[64];
    hybrid_target to;
    hybrid_source from;
    hybrid_save_desc d;
    hybrid_named_adapter none = { "x", NULL };
    hybrid_error e;
    memset(&to, 0, sizeof to);
    memset(&from, 0, sizeof from);
    memset(&d, 0, sizeof d);
    REFUSED(hybrid_seq_save, HYBRID_ERROR_INVALID, "context is NULL", hybrid_seq_save(NULL, 0, NULL, &to, &e));
    REFUSED(hybrid_seq_save, HYBRID_ERROR_INVALID, "to is NULL", hybrid_seq_save(w->ctx[1], 0, NULL, NULL, &e));
    REFUSED(hybrid_seq_save, HYBRID_ERROR_INVALID, "exactly one", hybrid_seq_save(w->ctx[1], 0, NULL, &to, &e));
    to.path = "";
    REFUSED(hybrid_seq_save, HYBRID_ERROR_INVALID, "empty", hybrid_seq_save(w->ctx[1], 0, NULL, &to, &e));
    to.path = "/nowhere/at all/x";
    REFUSED(hybrid_seq_save, HYBRID_ERROR_IO, "/nowhere", hybrid_seq_save(w->ctx[1], 0, NULL, &to, &e));
    to.path = NULL;
    to.data = data;
    to.capacity = sizeof data;
    REFUSED(hybrid_seq_save, HYBRID_ERROR_LIMIT, "bytes are needed", hybrid_seq_save(w->ctx[1], 0, NULL, &to, &e));
    REFUSED(hybrid_seq_save, HYBRID_ERROR_INVALID, "sequence 3", hybrid_seq_save(w->ctx[1], 3, NULL, &to, &e));
    d.n_adapters = 1;
    REFUSED(hybrid_seq_save, HYBRID_ERROR_INVALID, "adapters is NULL", hybrid_seq_save(w->ctx[1], 0, &d, &to, &e));
    d.adapters = &none;
    REFUSED(hybrid_seq_save, HYBRID_ERROR_INVALID, "adapter 0 is NULL", hybrid_seq_save(w->ctx[1], 0, &d, &to, &e));
    REFUSED(hybrid_session_save, HYBRID_ERROR_INVALID, "session is NULL", hybrid_session_save(NULL, NULL, &to, &e));
    REFUSED(hybrid_session_save, HYBRID_ERROR_INVALID, "to is NULL", hybrid_session_save(w->talk, NULL, NULL, &e));
    REFUSED(hybrid_session_save, HYBRID_ERROR_LIMIT, "bytes are", hybrid_session_save(w->talk, NULL, &to, &e));
    REFUSED(hybrid_session_save, HYBRID_ERROR_INVALID, "adapter 0 is", hybrid_session_save(w->talk, &d, &to, &e));
    REFUSED(hybrid_session_load, HYBRID_ERROR_INVALID, "session is NULL", hybrid_session_load(NULL, NULL, &from, &e));
    REFUSED(hybrid_session_load, HYBRID_ERROR_INVALID, "from is NULL", hybrid_session_load(w->talk, NULL, NULL, &e));
    REFUSED(hybrid_session_load, HYBRID_ERROR_INVALID, "exactly one", hybrid_session_load(w->talk, NULL, &from, &e));
    REFUSED(hybrid_session_load, HYBRID_ERROR_INVALID, "adapter 0 is", hybrid_session_load(w->talk, &d, &from, &e));
    from.data = data;
    from.size = sizeof data;
    REFUSED(hybrid_session_load, HYBRID_ERROR_FORMAT, "no saved game", hybrid_session_load(w->talk, NULL, &from, &e));
    from.data = NULL;
    REFUSED(hybrid_seq_load, HYBRID_ERROR_INVALID, "context is NULL", hybrid_seq_load(NULL, 2, NULL, &from, &e));
    REFUSED(hybrid_seq_load, HYBRID_ERROR_INVALID, "from is NULL", hybrid_seq_load(w->ctx[1], 2, NULL, NULL, &e));
    REFUSED(hybrid_seq_load, HYBRID_ERROR_INVALID, "exactly one", hybrid_seq_load(w->ctx[1], 2, NULL, &from, &e));
    from.data = data;
    from.size = sizeof data;
    REFUSED(hybrid_seq_load, HYBRID_ERROR_FORMAT, "no saved game", hybrid_seq_load(w->ctx[1], 2, NULL, &from, &e));
    REFUSED(hybrid_seq_load, HYBRID_ERROR_INVALID, "tokens: remove", hybrid_seq_load(w->ctx[1], 1, NULL, &from, &e));
    REFUSED(hybrid_seq_load, HYBRID_ERROR_INVALID, "under way", hybrid_seq_load(w->ctx[SLICED], 2, NULL, &from, &e));
}

static void refused_beginnings(void)
{
    world *w = world_make();
    hybrid_error e;
    TEST("refused: beginnings");
    CHECK(!hybrid_gguf_set_int(w->writer, "general.alignment", HYBRID_GGUF_U32, 24, &e), "%s", e.message);
    REFUSED(hybrid_gguf_begin, HYBRID_ERROR_INVALID, "alignment",
            hybrid_gguf_begin(w->writer, sink_write, &w->out, &e));
    CHECK(!hybrid_gguf_set_int(w->writer, "general.alignment", HYBRID_GGUF_U32, 64, &e), "%s", e.message);
    REFUSED(hybrid_gguf_begin_path, HYBRID_ERROR_IO, "/nowhere",
            hybrid_gguf_begin_path(w->writer, "/nowhere/at all/x.gguf", &e));
    CHECK(!hybrid_gguf_begin(w->writer, sink_write, &w->out, &e), "%s", e.message);
    world_end(w);
}

/* ---- with each allocation failing -------------------------------------------------------------------------------- */

/* clang-format off */
static const char *const good_names[] = {
    "hybrid_context_create", "hybrid_session_create", "hybrid_sampler_create", "hybrid_runtime_create",
    "hybrid_model_load", "hybrid_plan", "hybrid_gguf_open", "hybrid_gguf_writer_create", "hybrid_gguf_set",
    "hybrid_gguf_set_int", "hybrid_gguf_set_float", "hybrid_gguf_set_string", "hybrid_gguf_set_numbers",
    "hybrid_gguf_set_strings", "hybrid_gguf_set_arrays", "hybrid_gguf_copy_keys", "hybrid_gguf_add_tensor",
    "hybrid_gguf_begin", "hybrid_gguf_begin_path", "hybrid_gguf_write", "hybrid_gguf_end", "hybrid_gguf_read_tensor",
    "hybrid_tokenizer_create", "hybrid_tokenizer_from_gguf", "hybrid_tokenize", "hybrid_detokenize",
    "hybrid_template_create", "hybrid_template_render", "hybrid_chat_render", "hybrid_stop_matcher_create",
    "hybrid_stop_matcher_feed", "hybrid_decode", "hybrid_decode_step", "hybrid_warmup", "hybrid_seq_remove",
    "hybrid_seq_fork", "hybrid_batch_add", "hybrid_batch_add_logits", "hybrid_session_next", "hybrid_session_say",
    "hybrid_session_complete", "hybrid_session_result", "hybrid_quantize", "hybrid_dequantize", "hybrid_convert",
    "hybrid_devices", "hybrid_sample", "hybrid_sample_next", "hybrid_sampler_result",
    "hybrid_bpe_train", "hybrid_tokenizer_to_gguf", "hybrid_tokenizer_write",
    "hybrid_data_create", "hybrid_data_next", "hybrid_data_validation", "hybrid_data_seek", "hybrid_trainer_create",
    "hybrid_trainer_step", "hybrid_trainer_evaluate", "hybrid_trainer_set_user", "hybrid_trainer_save",
    "hybrid_trainer_load", "hybrid_trainer_export", "hybrid_model_create",
    "hybrid_adapter_create", "hybrid_adapter_load", "hybrid_adapter_save", "hybrid_seq_set_adapters",
    "hybrid_trainer_work", "hybrid_trainer_plan", "hybrid_trainer_swap_ema",
    "hybrid_curve_create", "hybrid_curve_add", "hybrid_curve_draw", "hybrid_curve_draw_path",
    "hybrid_data_next_weighted",
    "hybrid_adapter_learn", "hybrid_adapter_commit", "hybrid_adapter_rollback",
    "hybrid_adapter_merge", "hybrid_session_set_adapters",
    "hybrid_predictor_create", "hybrid_predictor_plan", "hybrid_trainer_set_format",
    "hybrid_trainer_set_batches", "hybrid_predict_set", "hybrid_predict_preset",
    "hybrid_grammar_create", "hybrid_matcher_create", "hybrid_matcher_accept",
    "hybrid_lexicon_create", "hybrid_matcher_mask", "hybrid_matcher_accept_token", "hybrid_session_set_grammar",
    "hybrid_session_say_json", "hybrid_adapter_set_type", "hybrid_abi_check", "hybrid_score", "hybrid_embed",
    "hybrid_prompt", "hybrid_stream_create", "hybrid_stream_begin", "hybrid_stream_next", "hybrid_stream_step",
    "hybrid_stream_set_sampler", "hybrid_stream_set_grammar", "hybrid_session_answer", "hybrid_session_step",
    "hybrid_session_add", "hybrid_session_edit", "hybrid_session_cut",
    "hybrid_seq_save", "hybrid_seq_load", "hybrid_tokenize_spans", "hybrid_session_save", "hybrid_session_load",
    "hybrid_crowd_create", "hybrid_crowd_add", "hybrid_crowd_step"
};
/* clang-format on */

static const float numbers[64] = { 1, -2, 3.5f, 0.25f };
static char long_text[4000];

static int good_create(world *w, int which, hybrid_error *e)
{
    static const char *const stops[] = { "stop here" };
    hybrid_context_desc cd;
    hybrid_session_desc sd;
    hybrid_sampler_desc pd;
    hybrid_runtime_desc rd;
    hybrid_context *c = POISON(hybrid_context);
    hybrid_session *s = POISON(hybrid_session);
    hybrid_sampler *p = POISON(hybrid_sampler);
    hybrid_runtime *rt = POISON(hybrid_runtime);
    hybrid_logit_bias bias = { 3, 1 };
    int r;
    memset(&cd, 0, sizeof cd);
    memset(&sd, 0, sizeof sd);
    memset(&pd, 0, sizeof pd);
    memset(&rd, 0, sizeof rd);
    pd.bias = &bias;
    pd.n_bias = 1;
    pd.repetition_penalty = 1.1f;
    switch (which) {
    case 0:
        r = hybrid_context_create(w->model, &cd, &c, e);
        CHECK(!c == !!r, "a handle");
        hybrid_context_destroy(c);
        return r;
    case 1:
        sd.system = "S";
        sd.stops = stops;
        sd.n_stops = 1;
        sd.sampler = pd;
        r = hybrid_session_create(w->model, &sd, &s, e);
        CHECK(!s == !!r, "a handle");
        hybrid_session_destroy(s);
        return r;
    case 2:
        r = hybrid_sampler_create(w->rt, &pd, &p, e);
        CHECK(!p == !!r, "a handle");
        hybrid_sampler_destroy(p);
        return r;
    default:
        rd.allocator = w->rt->allocator;
        rd.n_threads = 2;
        r = hybrid_runtime_create(&rd, &rt, e);
        CHECK(!rt == !!r, "a handle");
        hybrid_runtime_destroy(rt);
        return r;
    }
}

static int good_load(world *w, int which, hybrid_error *e)
{
    hybrid_model_desc md;
    hybrid_memory_plan plan;
    hybrid_source source;
    hybrid_model *m = POISON(hybrid_model);
    hybrid_gguf *g = POISON(hybrid_gguf);
    hybrid_gguf_writer *made = POISON(hybrid_gguf_writer);
    blob b = w->file;
    int r;
    b.closed = 0;
    memset(&md, 0, sizeof md);
    memset(&source, 0, sizeof source);
    md.source.reader.read_at = blob_read;
    md.source.reader.close = blob_close;
    md.source.reader.size = b.size;
    md.source.reader.user = &b;
    source.reader = md.source.reader;
    if (which == 4) {
        r = hybrid_model_load(w->rt, &md, &m, e);
        CHECK(!m == !!r, "a handle");
        hybrid_model_destroy(m);
        CHECK(b.closed == 1, "closed %d times", b.closed);
        return r;
    }
    if (which == 5) {
        memset(&plan, 0xAA, sizeof plan);
        r = hybrid_plan(w->rt, &md, NULL, &plan, e);
        CHECK(r ? !plan.total : plan.total > 0, "the plan");
        CHECK(b.closed == 0, "a plan must not close the reader");
        return r;
    }
    if (which == 6) {
        r = hybrid_gguf_open(w->rt, &source, &g, e);
        CHECK(!g == !!r, "a handle");
        hybrid_gguf_destroy(g);
        CHECK(b.closed == 1, "closed %d times", b.closed);
        return r;
    }
    r = hybrid_gguf_writer_create(w->rt, &made, e);
    CHECK(!made == !!r, "a handle");
    hybrid_gguf_writer_destroy(made);
    return r;
}

static int good_write(world *w, int which, hybrid_error *e)
{
    static const uint64_t ne[1] = { 32 };
    hybrid_string strings[2];
    hybrid_gguf_value v, rows[1];
    char path[256], *bytes;
    const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(w->gguf, 0);
    int r;
    strings[0] = hyb_string("one");
    strings[1] = hyb_string("two");
    memset(&v, 0, sizeof v);
    v.type = HYBRID_GGUF_STRING;
    v.data = "text";
    v.size = 4;
    memset(rows, 0, sizeof rows);
    rows[0].type = HYBRID_GGUF_ARRAY;
    rows[0].item_type = HYBRID_GGUF_F32;
    rows[0].count = 4;
    rows[0].data = numbers;
    rows[0].size = 16;
    switch (which) {
    case 8: return hybrid_gguf_set(w->writer, "new", &v, e);
    case 9: return hybrid_gguf_set_int(w->writer, "a", HYBRID_GGUF_U64, 9, e);
    case 10: return hybrid_gguf_set_float(w->writer, "new", HYBRID_GGUF_F64, 9, e);
    case 11: return hybrid_gguf_set_string(w->writer, "a", "text", e);
    case 12: return hybrid_gguf_set_numbers(w->writer, "new", HYBRID_GGUF_F32, numbers, 5, e);
    case 13: return hybrid_gguf_set_strings(w->writer, "a", strings, 2, e);
    case 14: return hybrid_gguf_set_arrays(w->writer, "a", rows, 1, e);
    case 15: return hybrid_gguf_copy_keys(w->writer, hybrid_model_gguf(w->model), e);
    case 16: return hybrid_gguf_add_tensor(w->writer, "new", HYBRID_TYPE_Q8_0, 1, ne, e);
    case 17: return hybrid_gguf_begin(w->writer, sink_write, &w->out, e);
    case 18:
        snprintf(path, sizeof path, "%s/hybrid-unchanged-%ld.gguf", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
                 (long)getpid());
        return hybrid_gguf_begin_path(w->writer, path, e);
    case 19: return hybrid_gguf_write(w->half, numbers, 64, e);
    case 20:
        if (w->half->got) hybrid_gguf_write(w->half, numbers, (size_t)(sizeof numbers - w->half->got), NULL);
        return hybrid_gguf_end(w->half, e);
    default:
        bytes = (char *)malloc((size_t)t->size);
        r = hybrid_gguf_read_tensor(w->gguf, t, bytes, e);
        free(bytes);
        return r;
    }
}

static int good_text(world *w, int which, hybrid_error *e)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(w->model);
    hybrid_tokenizer_desc td;
    hybrid_tokenizer *made = POISON(hybrid_tokenizer);
    hybrid_template *page = POISON(hybrid_template);
    hybrid_stop_matcher *stops = POISON(hybrid_stop_matcher);
    hybrid_string tokens[3], safe;
    hybrid_chat_message hello;
    hybrid_text out;
    int32_t ids[3] = { 5, 6, 7 };
    char text[256];
    size_t n = 0;
    int r, flag;
    memset(&td, 0, sizeof td);
    memset(&out, 0, sizeof out);
    tokens[0] = hyb_string("a");
    tokens[1] = hyb_string("b");
    tokens[2] = hyb_string("ab");
    td.tokens = tokens;
    td.n_tokens = 3;
    hello.role = "user";
    hello.content = "Hello";
    switch (which) {
    case 22:
        r = hybrid_tokenizer_create(w->rt, &td, &made, e);
        CHECK(!made == !!r, "a handle");
        hybrid_tokenizer_destroy(made);
        return r;
    case 23:
        r = hybrid_tokenizer_from_gguf(w->rt, w->gguf, &made, e);
        CHECK(!made == !!r, "a handle");
        hybrid_tokenizer_destroy(made);
        return r;
    case 24:
        r = hybrid_tokenize(tok, long_text, sizeof long_text, 0, NULL, 0, &n, e);
        CHECK(r == HYBRID_ERROR_LIMIT ? n > 0 : n == 0, "%d ids", (int)n);
        return r == HYBRID_ERROR_LIMIT ? 0 : r;
    case 25: return hybrid_detokenize(tok, ids, 3, 0, text, sizeof text, &n, e);
    case 26:
        r = hybrid_template_create(w->rt, NULL, &page, e);
        CHECK(!page == !!r, "a handle");
        hybrid_template_destroy(page);
        return r;
    case 27:
        r = hybrid_template_create(NULL, NULL, &page, NULL);
        hybrid_template_destroy(page);
        if (!r) r = hybrid_template_render(hybrid_model_template(w->model), NULL, &out, e);
        if (r == HYBRID_ERROR_FORMAT) r = 0; /* messages is undefined */
        CHECK(!r || !out.size, "the text is empty behind a failure");
        hybrid_text_free(&out);
        return r;
    case 28:
        r = hybrid_chat_render(hybrid_model_template(w->model), &hello, 1, NULL, &out, e);
        CHECK(!r == !!out.size, "the text is empty behind a failure");
        hybrid_text_free(&out);
        return r;
    case 29:
        r = hybrid_stop_matcher_create(w->rt, tokens, 3, &stops, e);
        CHECK(!stops == !!r, "a handle");
        hybrid_stop_matcher_destroy(stops);
        return r;
    default: return hybrid_stop_matcher_feed(w->stops, long_text, sizeof long_text, &safe, &flag, e);
    }
}

static int good_run(world *w, int which, hybrid_error *e)
{
    int32_t ids[4] = { 7, 8, 9, 10 };
    bool done;
    switch (which) {
    case 31: return hybrid_decode(w->ctx[0], e);
    case 32: return hybrid_decode_step(w->ctx[SLICED], UINT64_MAX, &done, e);
    case 33: return hybrid_warmup(w->ctx[0], NULL, NULL, e);
    case 34: return hybrid_seq_remove(w->ctx[1], 0, 37, e);
    case 35: return hybrid_seq_fork(w->ctx[1], 0, 2, e);
    case 36: return hybrid_batch_add(w->ctx[1], 2, ids, 4, e);
    case 37: return hybrid_batch_add_logits(w->ctx[1], 2, ids, 4, 3, e);
    case 38: return next_of(w->talk, e);
    case 39:
        return told(
            w->talk,
            hybrid_session_say(w->talk,
                               "Three, and so that something must be forgotten, a little more than that: 0123456789."),
            e);
    case 40: return told(w->base, hybrid_session_complete(w->base, " and then"), e);
    default: return hybrid_session_result(w->talk, e);
    }
}

/* A vocabulary is trained, and written. */
static int good_vocabulary(world *w, int which, hybrid_error *e)
{
    hybrid_source source;
    hybrid_bpe_desc desc;
    hybrid_bpe_info info;
    hybrid_tokenizer *made = POISON(hybrid_tokenizer);
    hybrid_gguf_writer *writer = NULL;
    sink out;
    int r;
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    memset(&out, 0, sizeof out);
    out.host = &w->host;
    source.data = long_text;
    source.size = sizeof long_text;
    desc.texts = &source;
    desc.n_texts = 1;
    desc.vocab_size = 262;
    r = hybrid_bpe_train(w->rt, &desc, &made, &info, e);
    CHECK(!made == !!r && !info.n_tokens == !!r, "a handle, and what is said of it");
    if (r || which == 49) {
        hybrid_tokenizer_destroy(made);
        return r;
    }
    if (which == 51)
        r = hybrid_tokenizer_write(made, HYBRID_TOKENIZER_VOCAB, sink_write, &out, e);
    else if (!(r = hybrid_gguf_writer_create(w->rt, &writer, e))) {
        r = hybrid_tokenizer_to_gguf(made, writer, e);
        CHECK(!writer->key_names.count == !!r, "all keys or none, not %d", (int)writer->key_names.count);
    }
    hybrid_gguf_writer_destroy(writer);
    hybrid_tokenizer_destroy(made);
    free(out.data);
    return r;
}

static int good_data(world *w, int which, hybrid_error *e)
{
    static int32_t ids[16], targets[16];
    static float weights[16];
    const hybrid_data_position second = { 1, 3 };
    hybrid_source source;
    hybrid_data_desc desc;
    hybrid_data *data = POISON(hybrid_data);
    int r;
    memset(&source, 0, sizeof source);
    memset(&desc, 0, sizeof desc);
    source.data = long_text;
    source.size = sizeof long_text;
    desc.sources = &source;
    desc.n_sources = 1;
    desc.tokenizer = hybrid_model_tokenizer(w->model);
    desc.n_ctx = 8;
    desc.validation = 0.1f;
    r = hybrid_data_create(w->rt, &desc, &data, e);
    CHECK(!data == !!r, "a handle");
    if (r) return r;
    if (which == 53) r = hybrid_data_next(data, 2, ids, targets, e);
    if (!strcmp(good_names[which], "hybrid_data_next_weighted"))
        r = hybrid_data_next_weighted(data, 2, ids, targets, weights, e);
    if (which == 54) r = hybrid_data_validation(data, 0, 2, ids, targets, e);
    if (which == 55) r = hybrid_data_seek(data, second, e);
    hybrid_data_destroy(data);
    return r;
}

static int good_setting(const char *name, hybrid_error *e)
{
    hybrid_predict_desc d;
    memset(&d, 0, sizeof d);
    if (!strcmp(name, "hybrid_predict_set")) return hybrid_predict_set(&d, "window", "12", e);
    return hybrid_predict_preset("balanced", &d, e);
}

static int good_predictor(hybrid_trainer *t, const char *name, hybrid_error *e)
{
    hybrid_predict_desc d;
    hybrid_predictor *p = POISON(hybrid_predictor);
    uint64_t bytes = 1;
    int r;
    memset(&d, 0, sizeof d);
    d.trainer = t;
    if (!strcmp(name, "hybrid_predictor_plan")) {
        r = hybrid_predictor_plan(&d, &bytes, e);
        CHECK(!bytes == !!r, "a plan");
        return r;
    }
    r = hybrid_predictor_create(&d, &p, e);
    CHECK(!p == !!r, "a handle");
    if (!r) hybrid_predictor_destroy(p);
    return r;
}

static int good_trainer(world *w, int which, hybrid_error *e)
{
    school s;
    hybrid_trainer_desc td;
    hybrid_train_plan plan;
    double loss = -1;
    bool done = false;
    int r = school_make(&s, w, e);
    if (!r && which == 57) r = hybrid_trainer_step(s.trainer, &s.batch, NULL, e);
    if (!r && which == 58) r = hybrid_trainer_evaluate(s.trainer, &s.batch, &loss, e);
    if (!r && which == 59) r = hybrid_trainer_set_user(s.trainer, "here", 4, e);
    if (!r && which == 60) r = hybrid_trainer_save(s.trainer, checkpoint_path, e);
    if (!r && which == 61) r = hybrid_trainer_load(s.trainer, checkpoint_path, e); /* 60 has saved it */
    if (!r && which == 62) r = hybrid_trainer_export(s.trainer, export_path, HYBRID_MIX_Q8_0, e);
    if (!r && which == 68) r = hybrid_trainer_work(s.trainer, &s.batch, UINT64_MAX, &done, NULL, e);
    if (!r && !strcmp(good_names[which], "hybrid_trainer_swap_ema")) r = hybrid_trainer_swap_ema(s.trainer, e);
    if (!r && !strcmp(good_names[which], "hybrid_trainer_set_format"))
        r = hybrid_trainer_set_format(s.trainer, HYBRID_TYPE_BF16, e);
    if (!r && !strcmp(good_names[which], "hybrid_trainer_set_batches")) r = hybrid_trainer_set_batches(s.trainer, 1, e);
    if (!r && strstr(good_names[which], "hybrid_predict_")) r = good_setting(good_names[which], e);
    if (!r && strstr(good_names[which], "hybrid_predictor_")) r = good_predictor(s.trainer, good_names[which], e);
    if (!r && which == 69) {
        hybrid_trainer_describe(s.trainer, &td);
        r = hybrid_trainer_plan(&td, &plan, e);
        CHECK(!plan.total == !!r, "a plan");
    }
    school_end(&s);
    return r;
}

static int good_shape(world *w, hybrid_error *e)
{
    hybrid_tokenizer *tokenizer = bytes_only(w, e);
    hybrid_model *m = POISON(hybrid_model);
    hybrid_model_shape shape;
    int r;
    if (!tokenizer) return e->result;
    memset(&shape, 0, sizeof shape);
    shape.tokenizer = tokenizer;
    shape.n_ctx = 16;
    shape.n_embd = 32;
    shape.n_layer = 1;
    r = hybrid_model_create(w->rt, &shape, &m, e);
    CHECK(!m == !!r, "a handle");
    hybrid_tokenizer_destroy(tokenizer);
    if (!r) hybrid_model_destroy(m);
    return r;
}

/* A lesson of one step; the adapter is as it was where memory failed. */
static int good_lesson(hybrid_adapter *a, hybrid_error *e)
{
    static const int32_t ids[4] = { 5, 6, 7, 8 };
    const uint64_t was = hash_of(a->values, a->n_values * sizeof(float));
    hybrid_learn_desc d;
    hybrid_example ex;
    int r;
    memset(&d, 0, sizeof d);
    memset(&ex, 0, sizeof ex);
    ex.ids = ids;
    ex.n_ids = 4;
    ex.n_prompt = 2;
    d.examples = &ex;
    d.n_examples = d.n_steps = 1;
    r = hybrid_adapter_learn(a, &d, 0, NULL, e);
    CHECK((hash_of(a->values, a->n_values * sizeof(float)) == was) == (r != 0), "values behind %d", r);
    return r;
}

static int good_adapter(world *w, const char *name, hybrid_error *e)
{
    hybrid_adapter *a = POISON(hybrid_adapter), *b = POISON(hybrid_adapter);
    hybrid_source source;
    const bool loads = !strcmp(name, "hybrid_adapter_load"), worn = !strcmp(name, "hybrid_seq_set_adapters");
    const bool told = !strcmp(name, "hybrid_session_set_adapters");
    int r = hybrid_adapter_create(w->model, NULL, &a, e);
    CHECK(!a == !!r, "a handle");
    memset(&source, 0, sizeof source);
    source.path = export_path;
    if (!r && (loads || !strcmp(name, "hybrid_adapter_save")))
        r = hybrid_adapter_save(a, export_path, HYBRID_TYPE_F16, e);
    if (!r && loads) {
        r = hybrid_adapter_load(w->model, &source, &b, e);
        CHECK(!b == !!r, "a handle");
        hybrid_adapter_destroy(b);
    }
    if (!r && worn) r = hybrid_seq_set_adapters(w->ctx[1], 2, &a, NULL, 1, e);
    if (!r && worn) r = hybrid_seq_set_adapters(w->ctx[1], 2, NULL, NULL, 0, e);
    if (!r && !strcmp(name, "hybrid_adapter_merge"))
        r = hybrid_adapter_merge(w->model, &a, NULL, 1, export_path, HYBRID_MIX_Q8_0, e);
    if (!r && told) r = hybrid_session_set_adapters(w->talk, &a, NULL, 1, e);
    if (!r && told) r = hybrid_session_set_adapters(w->talk, NULL, NULL, 0, e);
    if (!r && !strcmp(name, "hybrid_adapter_learn")) r = good_lesson(a, e);
    if (!r && !strcmp(name, "hybrid_adapter_set_type")) r = hybrid_adapter_set_type(a, HYBRID_TYPE_F16, e);
    if (!r && (strstr(name, "_commit") || strstr(name, "_rollback"))) r = hybrid_adapter_commit(a, e);
    if (!r && strstr(name, "_rollback")) r = hybrid_adapter_rollback(a, e);
    hybrid_adapter_destroy(a);
    return r;
}

static int good_stream(world *w, const char *name, hybrid_error *e)
{
    static const char *const stops[] = { "stop here" };
    const hybrid_chat_message hello = { "user", "Hello." };
    hybrid_stream_desc d;
    hybrid_prompt_desc pd;
    hybrid_sampler_desc sampler;
    hybrid_stream *made = POISON(hybrid_stream);
    hybrid_piece piece;
    hybrid_ids ids;
    int r;
    memset(&d, 0, sizeof d);
    memset(&pd, 0, sizeof pd);
    memset(&ids, 0, sizeof ids);
    memset(&sampler, 0, sizeof sampler);
    pd.messages = &hello;
    pd.n_messages = 1;
    pd.answer = "Hello";
    d.stops = stops;
    d.n_stops = 1;
    d.logprobs = true;
    sampler.repetition_penalty = 1.5f;
    if (!strcmp(name, "hybrid_prompt")) {
        r = hybrid_prompt(w->model, &pd, &ids, e);
        CHECK(!ids.n == !!r, "ids or none");
        hybrid_ids_free(&ids);
        return r;
    }
    if (!strcmp(name, "hybrid_stream_create")) {
        r = hybrid_stream_create(w->shared, &d, &made, e);
        CHECK(!made == !!r, "a handle");
        hybrid_stream_destroy(made);
        return r;
    }
    if (!strcmp(name, "hybrid_stream_next")) return hybrid_stream_next(w->stream, &piece, e);
    if (!strcmp(name, "hybrid_stream_step")) return hybrid_stream_step(w->stream, UINT64_MAX, &piece, e);
    if (!strcmp(name, "hybrid_stream_set_sampler")) {
        r = hybrid_stream_set_sampler(w->stream, &sampler, 5, e);
        return r ? r : hybrid_stream_set_sampler(w->stream, NULL, 0, e);
    }
    if (!strcmp(name, "hybrid_stream_set_grammar")) {
        r = hybrid_stream_set_grammar(w->stream, w->grammar, e);
        return r ? r : hybrid_stream_set_grammar(w->stream, NULL, NULL);
    }
    {
        int32_t some[9];
        ids_of(some, 9, 3);
        return hybrid_stream_begin(w->stream, some, 9, e);
    }
}

static int good_crowd(world *w, const char *name, hybrid_error *e)
{
    hybrid_crowd *made = POISON(hybrid_crowd);
    int r = hybrid_crowd_create(w->talk->ctx, &made, e);
    CHECK(!made == !!r, "a handle");
    if (!r && strcmp(name, "hybrid_crowd_create")) r = hybrid_crowd_add(made, w->talk, 1, e);
    if (!r && !strcmp(name, "hybrid_crowd_step")) r = hybrid_crowd_step(made, UINT64_MAX, e);
    hybrid_crowd_destroy(made);
    return r;
}

static int good_messages(world *w, const char *name, hybrid_error *e)
{
    hybrid_sampler_desc sampler;
    hybrid_answer_desc a;
    hybrid_piece piece;
    memset(&a, 0, sizeof a);
    memset(&sampler, 0, sizeof sampler);
    a.sampler = &sampler;
    a.begin = "It is";
    a.max_tokens = 3;
    if (strstr(name, "_add")) return told(w->talk, hybrid_session_add(w->talk, "user", "And this?"), e);
    if (strstr(name, "_edit")) return told(w->talk, hybrid_session_edit(w->talk, 1, "Not that."), e);
    if (strstr(name, "_cut")) return told(w->talk, hybrid_session_cut(w->talk, 2), e);
    if (strstr(name, "_step")) return told(w->talk, hybrid_session_step(w->talk, 1, &piece), e);
    return told(w->talk, hybrid_session_answer(w->talk, "What is it?", &a), e);
}

static int good_curve(world *w, const char *name, hybrid_error *e)
{
    const hybrid_train_metrics first = { 1, 5, 2.5, 1, 1, 1 };
    hybrid_curve_desc desc;
    hybrid_curve *made = POISON(hybrid_curve);
    sink out = { NULL, NULL, 0, 0, 0 };
    int r;
    memset(&desc, 0, sizeof desc);
    desc.title = "a title";
    r = hybrid_curve_create(w->rt, &desc, &made, e);
    CHECK(!made == !!r, "a handle");
    if (!r && !strcmp(name, "hybrid_curve_add")) r = hybrid_curve_add(made, &first, NULL, e);
    if (!r && !strcmp(name, "hybrid_curve_draw")) r = hybrid_curve_draw(made, sink_write, &out, e);
    if (!r && !strcmp(name, "hybrid_curve_draw_path")) r = hybrid_curve_draw_path(made, curve_path, e);
    hybrid_curve_destroy(made);
    free(out.data);
    return r;
}

static int good_grammar(world *w, const char *name, hybrid_error *e)
{
    static const char text[] = "[[],[[],[[[[[[[],[]]]]]]]],";
    hybrid_grammar_desc gd;
    hybrid_grammar *form = POISON(hybrid_grammar);
    hybrid_matcher *m = POISON(hybrid_matcher);
    hybrid_lexicon *words = POISON(hybrid_lexicon);
    const uint32_t *mask;
    size_t n;
    int r;
    memset(&gd, 0, sizeof gd);
    gd.gbnf = "root ::= [a-z]+ | other{3}\nother ::= \"x\" | .";
    if (!strcmp(name, "hybrid_matcher_accept")) return hybrid_matcher_accept(w->matcher, text, sizeof text - 1, e);
    if (!strcmp(name, "hybrid_matcher_mask")) return hybrid_matcher_mask(w->matcher, w->lexicon, &mask, &n, e);
    if (!strcmp(name, "hybrid_matcher_accept_token"))
        return hybrid_matcher_accept_token(w->matcher, w->lexicon,
                                           hybrid_token_find(hybrid_model_tokenizer(w->model), "[", 1), e);
    if (!strcmp(name, "hybrid_session_set_grammar")) {
        r = hybrid_session_set_grammar(w->base, w->grammar, e);
        if (!r) r = hybrid_session_set_grammar(w->base, NULL, NULL);
        return r;
    }
    if (!strcmp(name, "hybrid_lexicon_create")) {
        r = hybrid_lexicon_create(hybrid_model_tokenizer(w->model), &words, e);
        CHECK(!words == !!r, "a handle");
        hybrid_lexicon_destroy(words);
        return r;
    }
    if (!strcmp(name, "hybrid_matcher_create")) {
        r = hybrid_matcher_create(w->grammar, &m, e);
        CHECK(!m == !!r, "a handle");
        hybrid_matcher_destroy(m);
        return r;
    }
    r = hybrid_grammar_create(w->rt, &gd, &form, e);
    CHECK(!form == !!r, "a handle");
    hybrid_grammar_destroy(form);
    return r;
}

static int good_meaning(world *w, const char *name, hybrid_error *e)
{
    static const char *const texts[] = { "and a cat", "and the dog", "x" };
    hybrid_context_desc cd;
    hybrid_context *c = POISON(hybrid_context);
    static float vectors[3 * 128];
    hybrid_score_desc sd;
    hybrid_score_info scores[3];
    hybrid_embed_desc ed;
    int r;
    memset(&ed, 0, sizeof ed);
    memset(&cd, 0, sizeof cd);
    memset(&sd, 0, sizeof sd);
    memset(scores, 0, sizeof scores);
    cd.n_ctx = 96;
    cd.n_seq = 2;
    r = hybrid_context_create(w->model, &cd, &c, e);
    CHECK(!c == !!r, "a handle");
    sd.prompt = "a mouse ";
    sd.texts = texts;
    sd.n_texts = 3;
    ed.texts = texts;
    ed.n_texts = 3;
    if (!r && !strcmp(name, "hybrid_embed")) r = hybrid_embed(c, &ed, vectors, e);
    if (!r && !strcmp(name, "hybrid_score")) {
        r = hybrid_score(c, &sd, scores, e);
        CHECK(!r == (scores[0].sum < 0), "scores were %swritten", r ? "" : "not ");
    }
    hybrid_context_destroy(c);
    return r;
}

/* A sequence into memory, and into an empty one of another context, with its cache and without; that is then removed.
 */
static int good_saved(world *w, const char *name, hybrid_error *e)
{
    static char data[1 << 20];
    hybrid_target to;
    hybrid_source from;
    hybrid_save_desc d;
    int r = 0, k;
    memset(&to, 0, sizeof to);
    memset(&from, 0, sizeof from);
    memset(&d, 0, sizeof d);
    to.data = data;
    to.capacity = sizeof data;
    from.data = data;
    for (k = 0; k < 2 && !r && strstr(name, "session"); k++) { /* one becomes the other */
        d.recompute = k == 1;
        r = hybrid_session_save(w->talk, &d, &to, e);
        from.size = (size_t)hyb_load_u64(data + 16);
        if (!r && !strcmp(name, "hybrid_session_load")) return hybrid_session_load(w->base, &d, &from, e);
    }
    for (k = 0; k < 2 && !r && !strstr(name, "session"); k++) {
        d.recompute = k == 1;
        r = hybrid_seq_save(w->ctx[1], 0, &d, &to, e);
        if (r || strcmp(name, "hybrid_seq_load")) continue;
        from.size = (size_t)hyb_load_u64(data + 16);
        r = hybrid_seq_load(w->ctx[0], 2, &d, &from, e);
        if (!r) r = hybrid_seq_remove(w->ctx[0], 2, 0, e);
    }
    return r;
}

static int good(world *w, int which, hybrid_error *e)
{
    unsigned char block[68];
    float back[64];
    size_t n;
    if (strstr(good_names[which], "hybrid_stream_") || !strcmp(good_names[which], "hybrid_prompt"))
        return good_stream(w, good_names[which], e);
    if (strstr(good_names[which], "hybrid_crowd_")) return good_crowd(w, good_names[which], e);
    if (which > 90 &&
        (strstr(good_names[which], "_answer") || strstr(good_names[which], "_session_step") ||
         strstr(good_names[which], "_add") || strstr(good_names[which], "_edit") || strstr(good_names[which], "_cut")))
        return good_messages(w, good_names[which], e);
    if (strstr(good_names[which], "hybrid_curve_")) return good_curve(w, good_names[which], e);
    if (!strcmp(good_names[which], "hybrid_data_next_weighted")) return good_data(w, which, e);
    if (strstr(good_names[which], "_grammar") || strstr(good_names[which], "_lexicon") ||
        strstr(good_names[which], "_matcher_")) {
        if (!strstr(good_names[which], "stop")) return good_grammar(w, good_names[which], e);
    }
    if (strstr(good_names[which], "_json"))
        return told(w->base, hybrid_session_say_json(w->base, "How many?", "{\"type\":\"integer\",\"minimum\":7}"), e);
    if (strstr(good_names[which], "hybrid_se") &&
        (strstr(good_names[which], "_save") || strstr(good_names[which], "_load")))
        return good_saved(w, good_names[which], e);
    if (!strcmp(good_names[which], "hybrid_abi_check")) return hybrid_abi_check(HYBRID_VERSION_NUMBER, NULL, 0, e);
    if (strstr(good_names[which], "_adapter")) return good_adapter(w, good_names[which], e);
    if (!strcmp(good_names[which], "hybrid_score") || !strcmp(good_names[which], "hybrid_embed"))
        return good_meaning(w, good_names[which], e);
    if (which < 4) return good_create(w, which, e);
    if (which < 8) return good_load(w, which, e);
    if (which < 22) return good_write(w, which, e);
    if (!strcmp(good_names[which], "hybrid_tokenize_spans")) {
        const hybrid_span span = { 0, 9 };
        size_t n;
        int r = hybrid_tokenize_spans(hybrid_model_tokenizer(w->model), long_text, sizeof long_text, &span, 1, 0, NULL,
                                      0, &n, e);
        CHECK(r == HYBRID_ERROR_LIMIT ? n > 0 : n == 0, "%d ids", (int)n);
        return r == HYBRID_ERROR_LIMIT ? 0 : r;
    }
    if (which < 31) return good_text(w, which, e);
    if (which < 42) return good_run(w, which, e);
    switch (which) {
    case 42: return hybrid_quantize(HYBRID_TYPE_Q8_0, numbers, block, 64, NULL, e);
    case 43: return hybrid_dequantize(HYBRID_TYPE_F32, numbers, back, 64, e);
    case 44: return hybrid_convert(w->rt, HYBRID_TYPE_F32, numbers, HYBRID_TYPE_Q8_0, block, 2, 32, NULL, e);
    case 45: return hybrid_devices(w->rt, NULL, 0, &n, e);
    case 46: return hybrid_sample(w->sampler, w->logits, w->model->hp.n_vocab) >= 0 ? 0 : -1;
    case 47: return hybrid_sample_next(w->sampler, w->ctx[0], 0, e) >= 0 ? 0 : -1;
    case 48: return hybrid_sampler_result(w->sampler, e);
    case 49:
    case 50:
    case 51: return good_vocabulary(w, which, e);
    case 52:
    case 53:
    case 54:
    case 55: return good_data(w, which, e);
    case 63: return good_shape(w, e);
    default: return good_trainer(w, which, e);
    }
}

/* All answers to their ends. */
static void drain(world *w)
{
    bool done;
    while (hybrid_session_next(w->talk)) {}
    while (hybrid_session_next(w->base)) {}
    CHECK(!hybrid_session_result(w->talk, NULL) && !hybrid_session_result(w->base, NULL), "the answers end");
    if (w->ctx[0]->n_entries) CHECK(!hybrid_decode(w->ctx[0], NULL), "what was queued is decoded");
    if (w->ctx[SLICED]->n_entries)
        CHECK(!hybrid_decode_step(w->ctx[SLICED], UINT64_MAX, &done, NULL) && done, "what was begun ends");
}

/* Says what differs between a world in which something failed, or tried to, and one in which nothing did. */
static void compare(world *w, world *twin, const char *name, const char *how)
{
    const char *what;
    dump_world(&before, twin);
    dump_world(&after, w);
    what = difference(&before, &after);
    CHECK(!what, "%s, %s: %s is not as without", name, how, what);
}

static void end_both(world *w, world *twin, const char *how)
{
    drain(w);
    drain(twin);
    compare(w, twin, "in the end", how);
    world_end(w);
    world_end(twin);
}

static void failing_memory(world *w, world *twin, int which)
{
    hybrid_error e;
    const char *what;
    long k;
    int r = -1;
    mark(was_short, good_names[which]);
    dump_world(&before, w);
    for (k = 1; k < 500; k++) {
        w->host.calls = 0;
        w->host.fail_at = k;
        e.message[0] = 0;
        r = good(w, which, &e);
        w->host.fail_at = 0;
        if (!r) break;
        dump_world(&after, w);
        what = difference(&before, &after);
        CHECK(r == HYBRID_ERROR_MEMORY && e.message[0], "%s, allocation %ld: %d '%s'", good_names[which], k, r,
              e.message);
        CHECK(!what, "%s, allocation %ld: changed %s", good_names[which], k, what);
    }
    CHECK(!r && (k > 1 || which > 7), "%s: %d after %ld allocations", good_names[which], r, k - 1);
    CHECK(!good(twin, which, &e), "%s: %s", good_names[which], e.message);
    compare(w, twin, good_names[which], "after allocations that failed");
}

static void failing_memories(void)
{
    world *w = world_make(), *twin = world_make(), *v, *other;
    int i;
    TEST("each allocation failing");
    for (i = 0; i < (int)HYB_COUNT(good_names); i++) {
        if (strncmp(good_names[i], "hybrid_gguf_begin", 17)) {
            failing_memory(w, twin, i);
            continue;
        }
        v = world_make(); /* a writer in which nothing has failed: it would say so again */
        other = world_make();
        failing_memory(v, other, i);
        end_both(v, other, "after allocations that failed");
    }
    end_both(w, twin, "after allocations that failed");
}

/* ---- a conversation with refused calls in between, beside one without -------------------------------------------- */

static uint32_t seed = 1;
static int below(int n)
{
    seed = seed * 1664525u + 1013904223u;
    return (int)(seed >> 8) % n;
}

/* Something that fails, in one of many ways. */
static void refuse_something(world *w)
{
    static const char *const words[] = { "RAISE", "a message that says BREAK" };
    const uint32_t good_weight = *w->weight, nan = 0x7FC00000u;
    const int kind = below(7);
    int r = -1;
    w->host.calls = 0;
    switch (kind) {
    case 0: r = hybrid_session_say(w->talk, long_text); break;
    case 1: r = hybrid_session_say(w->talk, words[below(2)]); break;
    case 2: r = hybrid_session_say(w->talk, NULL); break;
    case 3: r = hybrid_session_complete(w->talk, long_text); break;
    case 4:
        w->host.fail_at = 1 + below(5);
        r = hybrid_session_say(w->talk, "never heard");
        break;
    case 5:
        w->host.fail_at = 1 + below(3);
        r = hybrid_session_complete(w->talk, " never read");
        break;
    default:
        if (!w->talk->stream->running) break;
        *w->weight = nan;
        r = hybrid_session_next(w->talk) ? 0 : (int)hybrid_session_result(w->talk, NULL);
        *w->weight = good_weight;
    }
    CHECK(r < 0, "kind %d was not refused", kind);
    if (r < 0 && kind < 6) CHECK(w->talk->stream->info.stop != HYBRID_STOP_ERROR, "the last failure is no state");
    w->host.fail_at = 0;
}

static void conversations(void)
{
    static const char *const says[] = { "Hello.", "What is a story?",
                                        "A longer message, so that something must go: 0123456789 0123456789.", "",
                                        "No." };
    world *a = world_make(), *b = world_make();
    const int rounds = getenv("HYBRID_SANITIZER") ? 40 : 100;
    hybrid_session_info x, y;
    int i, n_forgotten = 0;
    TEST("a conversation with refused calls in between");
    for (i = 0; i < rounds; i++) {
        const char *p, *q;
        int k = below(8), n = below(12), which = below(5);
        for (; k > 4; k--) refuse_something(a);
        k = below(5);
        if (!k)
            CHECK(hybrid_session_complete(a->talk, " x") == hybrid_session_complete(b->talk, " x"), "round %d", i);
        else
            CHECK(hybrid_session_say(a->talk, says[which]) == hybrid_session_say(b->talk, says[which]), "round %d", i);
        for (; n > 0; n--) {
            if (!below(4)) refuse_something(a);
            p = hybrid_session_next(a->talk);
            q = hybrid_session_next(b->talk);
            CHECK(!p == !q && (!p || !strcmp(p, q)), "round %d: '%s' is not '%s'", i, p ? p : "", q ? q : "");
        }
        hybrid_session_describe(a->talk, &x);
        hybrid_session_describe(b->talk, &y);
        CHECK(x.n_used == y.n_used, "round %d: used %d %d, prompt %d %d, cached %d %d, forgotten %d %d", i, x.n_used,
              y.n_used, x.n_prompt, y.n_prompt, x.n_cached, y.n_cached, x.n_forgotten, y.n_forgotten);
        CHECK(x.n_prompt == y.n_prompt, "round %d: used %d %d, prompt %d %d, cached %d %d, forgotten %d %d", i,
              x.n_used, y.n_used, x.n_prompt, y.n_prompt, x.n_cached, y.n_cached, x.n_forgotten, y.n_forgotten);
        CHECK(x.n_cached == y.n_cached, "round %d: used %d %d, prompt %d %d, cached %d %d, forgotten %d %d", i,
              x.n_used, y.n_used, x.n_prompt, y.n_prompt, x.n_cached, y.n_cached, x.n_forgotten, y.n_forgotten);
        CHECK(x.n_forgotten == y.n_forgotten, "round %d: used %d %d, prompt %d %d, cached %d %d, forgotten %d %d", i,
              x.n_used, y.n_used, x.n_prompt, y.n_prompt, x.n_cached, y.n_cached, x.n_forgotten, y.n_forgotten);
        CHECK(x.n_generated == y.n_generated, "round %d: used %d %d, prompt %d %d, cached %d %d, forgotten %d %d", i,
              x.n_used, y.n_used, x.n_prompt, y.n_prompt, x.n_cached, y.n_cached, x.n_forgotten, y.n_forgotten);
        n_forgotten += x.n_forgotten;
        if (!below(20)) {
            hybrid_session_reset(a->talk);
            hybrid_session_reset(b->talk);
        }
    }
    CHECK(n_forgotten > 0, "the walk must come to where messages are forgotten");
    world_end(a);
    world_end(b);
}

/* The context of ../shared/cases 05: the refused message must not be known to the next prompt. */
static void histlost(void)
{
    world *w = world_make();
    hybrid_session_info x, y;
    hybrid_error e;
    TEST("a message that is too long");
    CHECK(!hybrid_session_say(w->talk, "And?"), "a turn");
    while (hybrid_session_next(w->talk)) {}
    hybrid_session_describe(w->talk, &x);
    CHECK(hybrid_session_say(w->talk, long_text) == HYBRID_ERROR_CONTEXT_FULL, "too long");
    CHECK(hybrid_session_result(w->talk, &e) == HYBRID_ERROR_CONTEXT_FULL && strstr(e.message, "n_ctx"), "%s",
          e.message);
    hybrid_session_describe(w->talk, &y);
    CHECK(y.stop == HYBRID_STOP_ERROR, "the last call failed");
    y.stop = x.stop;
    CHECK(!memcmp(&x, &y, sizeof x), "nothing else is to be seen of it");
    CHECK(!hybrid_session_say(w->talk, "Go on.") && w->talk->stream->info.n_prompt > x.n_prompt,
          "a prompt of %d behind one of %d", w->talk->stream->info.n_prompt, x.n_prompt);
    hybrid_session_describe(w->talk, &y);
    CHECK(y.stop == HYBRID_STOP_NONE && !hybrid_session_result(w->talk, NULL), "and that one did not");
    world_end(w);
}

/* ---- calls from within callbacks --------------------------------------------------------------------------------- */

#define IN_USE(function, ...) \
    do { \
        int r_ = (int)(__VA_ARGS__); \
        CHECK(r_ == HYBRID_ERROR_INVALID && strstr(e.message, "in use"), "%s from a callback: %d '%s'", function, r_, \
              e.message); \
        e.message[0] = 0; \
    } while (0)
#define LOGGED(w, words, call) \
    do { \
        (w)->host.logged[0] = 0; \
        call; \
        CHECK(strstr((w)->host.logged, "in use") && strstr((w)->host.logged, words), "%s: '%s'", words, \
              (w)->host.logged); \
    } while (0)

static void inside_context(void *user)
{
    world *w = (world *)user;
    hybrid_context *c = w->ctx[0];
    hybrid_context_desc d;
    hybrid_score_desc sd;
    hybrid_score_info score;
    hybrid_target to;
    hybrid_source from;
    hybrid_embed_desc ed;
    float vector;
    hybrid_error e;
    int32_t id = 5;
    bool done = true;
    e.message[0] = 0;
    memset(&sd, 0, sizeof sd);
    memset(&ed, 0, sizeof ed);
    IN_USE("hybrid_decode", hybrid_decode(c, &e));
    IN_USE("hybrid_decode_step", hybrid_decode_step(c, 0, &done, &e));
    CHECK(!done, "done");
    IN_USE("hybrid_batch_add", hybrid_batch_add(c, 2, &id, 1, &e));
    IN_USE("hybrid_batch_add_logits", hybrid_batch_add_logits(c, 2, &id, 1, 1, &e));
    IN_USE("hybrid_seq_remove", hybrid_seq_remove(c, 0, 0, &e));
    IN_USE("hybrid_seq_fork", hybrid_seq_fork(c, 0, 2, &e));
    IN_USE("hybrid_warmup", hybrid_warmup(c, NULL, NULL, &e));
    IN_USE("hybrid_score", hybrid_score(c, &sd, &score, &e));
    IN_USE("hybrid_embed", hybrid_embed(c, &ed, &vector, &e));
    IN_USE("hybrid_seq_set_adapters", hybrid_seq_set_adapters(c, 0, NULL, NULL, 0, &e));
    memset(&to, 0, sizeof to);
    memset(&from, 0, sizeof from);
    IN_USE("hybrid_seq_save", hybrid_seq_save(c, 0, NULL, &to, &e));
    IN_USE("hybrid_seq_load", hybrid_seq_load(c, 2, NULL, &from, &e));
    LOGGED(w, "hybrid_batch_clear", hybrid_batch_clear(c));
    LOGGED(w, "hybrid_context_destroy", hybrid_context_destroy(c));
    CHECK(!hybrid_logits(c, 0) && !hybrid_logits_at(c, 0, 0), "there are no logits yet");
    CHECK(hybrid_sample_next(w->sampler, c, 0, NULL) == HYBRID_ERROR_INVALID, "nor a next token");
    CHECK(hybrid_seq_length(c, 0) != 0 && hybrid_context_room(c) >= 0,
          "questions are answered; none is there at the end: -1");
    hybrid_context_describe(c, &d);
    feed(w->ctx[1], 2, 3, 1, false); /* another context is free */
    hybrid_batch_clear(w->ctx[1]);
}

static void inside_session(void *user)
{
    world *w = (world *)user;
    hybrid_session *s = w->talk;
    hybrid_session_info info;
    hybrid_target to;
    hybrid_source from;
    hybrid_error e;
    e.message[0] = 0;
    memset(&to, 0, sizeof to);
    memset(&from, 0, sizeof from);
    IN_USE("hybrid_session_save", hybrid_session_save(s, NULL, &to, &e));
    IN_USE("hybrid_session_load", hybrid_session_load(s, NULL, &from, &e));
    CHECK(!hybrid_session_save_size(s, NULL), "no size");
    CHECK(!hybrid_session_next(s), "no piece");
    IN_USE("hybrid_session_next", hybrid_session_result(s, &e));
    IN_USE("hybrid_session_say", (hybrid_session_say(s, "x"), hybrid_session_result(s, &e)));
    IN_USE("hybrid_session_say_json", (hybrid_session_say_json(s, "x", "true"), hybrid_session_result(s, &e)));
    IN_USE("hybrid_session_complete", (hybrid_session_complete(s, "x"), hybrid_session_result(s, &e)));
    IN_USE("hybrid_session_set_adapters", hybrid_session_set_adapters(s, NULL, NULL, 0, &e));
    LOGGED(w, "hybrid_session_reset", hybrid_session_reset(s));
    LOGGED(w, "hybrid_session_destroy", hybrid_session_destroy(s));
    hybrid_session_describe(s, &info);
}

static void inside_writer(void *user)
{
    static const uint64_t ne[1] = { 32 };
    world *w = (world *)user;
    hybrid_gguf_writer *x = w->writer;
    hybrid_string one = hyb_string("x");
    hybrid_gguf_value v;
    hybrid_error e;
    memset(&v, 0, sizeof v);
    e.message[0] = 0;
    IN_USE("hybrid_gguf_set", hybrid_gguf_set(x, "k", &v, &e));
    IN_USE("hybrid_gguf_set_int", hybrid_gguf_set_int(x, "k", HYBRID_GGUF_U8, 1, &e));
    IN_USE("hybrid_gguf_set_int", hybrid_gguf_set_int(x, "k", HYBRID_GGUF_U8, 1000, &e));
    IN_USE("hybrid_gguf_set_float", hybrid_gguf_set_float(x, "k", HYBRID_GGUF_F32, 1, &e));
    IN_USE("hybrid_gguf_set_float", hybrid_gguf_set_float(x, "k", HYBRID_GGUF_U8, 1, &e));
    IN_USE("hybrid_gguf_set_string", hybrid_gguf_set_string(x, "k", "v", &e));
    IN_USE("hybrid_gguf_set_numbers", hybrid_gguf_set_numbers(x, "k", HYBRID_GGUF_F32, numbers, 1, &e));
    IN_USE("hybrid_gguf_set_strings", hybrid_gguf_set_strings(x, "k", &one, 1, &e));
    IN_USE("hybrid_gguf_set_arrays", hybrid_gguf_set_arrays(x, "k", &v, 1, &e));
    IN_USE("hybrid_gguf_copy_keys", hybrid_gguf_copy_keys(x, hybrid_model_gguf(w->model), &e));
    IN_USE("hybrid_tokenizer_to_gguf", hybrid_tokenizer_to_gguf(hybrid_model_tokenizer(w->model), x, &e));
    IN_USE("hybrid_gguf_add_tensor", hybrid_gguf_add_tensor(x, "n", HYBRID_TYPE_F32, 1, ne, &e));
    IN_USE("hybrid_gguf_begin", hybrid_gguf_begin(x, sink_write, &w->out, &e));
    IN_USE("hybrid_gguf_begin_path", hybrid_gguf_begin_path(x, "x", &e));
    IN_USE("hybrid_gguf_write", hybrid_gguf_write(x, numbers, 4, &e));
    IN_USE("hybrid_gguf_end", hybrid_gguf_end(x, &e));
    LOGGED(w, "hybrid_gguf_writer_destroy", hybrid_gguf_writer_destroy(x));
}

static void inside_others(void *user)
{
    world *w = (world *)user;
    const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(w->gguf, 0);
    hybrid_string safe;
    hybrid_error e;
    char byte = 0;
    int which;
    e.message[0] = 0;
    if (w->gguf->in_use) {
        IN_USE("hybrid_gguf_read_tensor", hybrid_gguf_read_tensor(w->gguf, t, &byte, &e));
        LOGGED(w, "hybrid_gguf_destroy", hybrid_gguf_destroy(w->gguf));
    }
    if (w->matcher->in_use) {
        IN_USE("hybrid_matcher_accept", hybrid_matcher_accept(w->matcher, "]", 1, &e));
        LOGGED(w, "hybrid_matcher_destroy", hybrid_matcher_destroy(w->matcher));
        hybrid_matcher_reset(w->matcher);
        CHECK(!hybrid_matcher_forced(w->matcher, &byte, 1) && !hybrid_matcher_can_end(w->matcher), "nothing is told");
    }
    if (w->stops->in_use) {
        IN_USE("hybrid_stop_matcher_feed", hybrid_stop_matcher_feed(w->stops, "x", 1, &safe, &which, &e));
        LOGGED(w, "hybrid_stop_matcher_destroy", hybrid_stop_matcher_destroy(w->stops));
        hybrid_stop_matcher_reset(w->stops);
        CHECK(!hybrid_stop_matcher_flush(w->stops).size, "nothing comes of it");
    }
}

static int good_of(const char *name)
{
    int i;
    for (i = 0; i < (int)HYB_COUNT(good_names) && strcmp(good_names[i], name); i++) {}
    CHECK(i < (int)HYB_COUNT(good_names), "%s", name);
    return i;
}

/* A good call in a world whose callbacks ask for more of the same object, and in one whose do not. */
static void called_inside(world *w, world *twin, const char *name, void (*inside)(void *user))
{
    const int which = good_of(name);
    hybrid_error e;
    int r;
    TEST("called from its own callbacks");
    w->out.host = w->file.host = &w->host;
    w->host.user = w;
    w->host.inside = inside;
    w->host.n_inside = 0;
    r = good(w, which, &e);
    w->host.inside = NULL;
    CHECK(!r, "%s: %d %s", name, r, e.message);
    CHECK(w->host.n_inside > 0, "%s: no callback was called", name);
    CHECK(!good(twin, which, &e), "%s", e.message);
    compare(w, twin, name, "with calls from its callbacks");
}

static void callbacks(void)
{
    world *w = world_make(), *twin = world_make(), *v = world_make(), *other = world_make();
    called_inside(w, twin, "hybrid_decode", inside_context);
    called_inside(w, twin, "hybrid_session_next", inside_session);
    called_inside(w, twin, "hybrid_session_say", inside_session);
    called_inside(w, twin, "hybrid_session_next", inside_session);
    called_inside(w, twin, "hybrid_gguf_set", inside_writer);
    called_inside(w, twin, "hybrid_gguf_set_strings", inside_writer);
    called_inside(w, twin, "hybrid_gguf_copy_keys", inside_writer);
    called_inside(w, twin, "hybrid_gguf_begin", inside_writer);
    called_inside(v, other, "hybrid_gguf_begin_path", inside_writer);
    called_inside(v, other, "hybrid_gguf_read_tensor", inside_others);
    called_inside(v, other, "hybrid_stop_matcher_feed", inside_others);
    called_inside(v, other, "hybrid_matcher_accept", inside_others);
    end_both(w, twin, "with calls from callbacks");
    end_both(v, other, "with calls from callbacks");
}

/* An object that ends calls back, too: memory that it gives. */
static void inside_end(void *user)
{
    world *w = (world *)user;
    if (w->ctx[0])
        inside_context(w);
    else
        inside_session(w);
}

static void ends(void)
{
    world *w = world_make();
    TEST("called from its own callbacks: the end");
    w->host.user = w;
    w->host.inside = inside_end;
    hybrid_context_destroy(w->ctx[0]);
    CHECK(w->host.n_inside > 0, "no callback was called");
    w->ctx[0] = NULL;
    w->host.n_inside = 0;
    hybrid_session_destroy(w->talk);
    w->host.inside = NULL;
    CHECK(w->host.n_inside > 0, "no callback was called");
    w->talk = NULL;
    world_end(w);
}

int main(void)
{
    world *w;
    size_t i;
    memset(long_text, 'a', sizeof long_text - 1);
    for (i = 0; i < sizeof long_text - 1; i += 5) long_text[i] = ' ';
    read_api();
    make_model();
    if (!model_bytes) return test_end();
    w = world_make();
    refused_contexts(w);
    refused_meaning(w);
    refused_decodes(w);
    refused_sessions(w);
    refused_messages(w);
    refused_prompts(w);
    refused_streams(w);
    refused_crowds(w);
    refused_samplers(w);
    refused_models(w);
    refused_bricks(w);
    refused_trainers(w);
    refused_adapters(w);
    refused_curves(w);
    refused_saved(w);
    world_end(w);
    refused_beginnings();
    check_marks(was_refused, "refusals");
    failing_memories();
    remove(checkpoint_path);
    remove(export_path);
    remove(curve_path);
    check_marks(was_short, "failing memory");
    histlost();
    conversations();
    callbacks();
    ends();
    free(model_bytes);
    return test_end();
}
