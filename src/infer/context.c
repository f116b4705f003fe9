/* infer/context: sequences, the batch, and the pass of a batch through the model, chunk by chunk and layer by layer. */

typedef struct hybrid__entry {             /* what is queued for one sequence */
    int32_t seq, first_id, n, n_logits;
} hybrid__entry;

/* Where a decode stands: a chunk begins, goes through the layers, ends; then the next. */
typedef struct hybrid__progress {
    bool    running;
    int32_t entry, offset;                 /* first token of the chunk: entry, and token in it */
    int32_t next_entry, next_offset;
    int32_t layer;                         /* next layer of the chunk; -1: the chunk has not begun */
    int32_t n_rows_done;                   /* rows of logits made by earlier chunks */
    hybrid__batch chunk;
} hybrid__progress;

struct hybrid_context {
    hybrid_model        *model;
    hybrid_runtime      *rt;
    hybrid_context_desc  desc;
    hybrid__kv           kv;
    hybrid__forward      forward;
    hybrid__progress     progress;
    hybrid__entry       *entries; int32_t n_entries;      /* n_seq at most */
    int32_t             *ids; int32_t n_ids;              /* queued, n_ctx at most */
    int32_t             *chunk_pos, *chunk_out;           /* n_batch each */
    hybrid__run         *runs;                            /* n_seq */
    int32_t             *logits_row, *logits_n;           /* per sequence, of the last decode: first row, rows */
    float               *logits;                          /* (n_logits, n_vocab) */
    int32_t              n_rows_queued;
    char                *memory_kv, *memory;              /* the two blocks */
};

/* ---- creation: one plan for what is allocated and for hybrid_plan ---- */

typedef struct hybrid__context_layout { hybrid__activations a; size_t table, entries, ids, chunk_pos, chunk_out, runs, logits_row, logits, bytes; } hybrid__context_layout;

static hybrid_result hybrid__context_defaults(const hybrid__hparams *hp, const hybrid_context_desc *given, hybrid_context_desc *d, hybrid_error *error)
{
    if (given) *d = *given;
    else memset(d, 0, sizeof *d);
    if (d->n_ctx < 0 || d->n_seq < 0 || d->n_batch < 0 || d->n_logits < 0 || (unsigned)d->kv > HYBRID_KV_F32)
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "a number of the context's descriptor is out of range (n_ctx %d, n_seq %d, n_batch %d, n_logits %d)", d->n_ctx, d->n_seq, d->n_batch, d->n_logits);
    if (!d->n_ctx) d->n_ctx = HYBRID__MIN(hp->n_ctx_train, 4096);
    if (!d->n_seq) d->n_seq = 1;
    if (!d->n_batch) d->n_batch = 512;
    d->n_batch = HYBRID__MIN(d->n_batch, d->n_ctx);
    if (!d->n_logits) d->n_logits = d->n_seq;
    if (d->n_seq > 65536 || d->n_batch > 65536 || d->n_ctx > INT32_MAX - 65536 - HYBRID__PAGE)
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "n_seq and n_batch may be 65536 at most, n_ctx %d", INT32_MAX - 65536 - HYBRID__PAGE);
    if (hp->arch->learned_pos && d->n_ctx > hp->n_ctx_train && d->n_seq == 1)
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "n_ctx is %d, but the model has a table of %d positions and cannot go beyond it", d->n_ctx, hp->n_ctx_train);
    return HYBRID_OK;
}

static hybrid_result hybrid__context_layout_make(const hybrid__hparams *hp, const hybrid__kv *kv, const hybrid_context_desc *d, hybrid__context_layout *l, hybrid_error *error)
{
    size_t logits;
    hybrid__activations_layout(&l->a, hp, d->n_batch, NULL);
    l->bytes = l->a.bytes;
#define HYBRID__PLACE(field, size) (l->field = l->bytes, l->bytes += hybrid__align(size, 64))
    HYBRID__PLACE(table, kv->table_bytes);
    HYBRID__PLACE(entries, (size_t)d->n_seq * sizeof(hybrid__entry));
    HYBRID__PLACE(ids, (size_t)d->n_ctx * sizeof(int32_t));
    HYBRID__PLACE(chunk_pos, (size_t)d->n_batch * sizeof(int32_t));
    HYBRID__PLACE(chunk_out, (size_t)d->n_batch * sizeof(int32_t));
    HYBRID__PLACE(runs, (size_t)d->n_seq * sizeof(hybrid__run));
    HYBRID__PLACE(logits_row, (size_t)d->n_seq * 2 * sizeof(int32_t));
    if (!hybrid__mul_size((size_t)d->n_logits * sizeof(float), (size_t)hp->n_vocab, &logits))
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "%d rows of logits are beyond the address space", d->n_logits);
    HYBRID__PLACE(logits, logits);
#undef HYBRID__PLACE
    return HYBRID_OK;
}

/* What the back end must be ready for: the largest of everything. */
static hybrid_result hybrid__context_limits(hybrid_model *m, const hybrid_context_desc *d, hybrid__cpu_limits *limits, hybrid_error *error)
{
    size_t i;
    const hybrid__tensor *t;
    memset(limits, 0, sizeof *limits);
    limits->n_rows = d->n_batch;
    limits->head_dim_k = m->hp.head_dim_k;
    limits->head_dim_v = m->hp.head_dim_v;
    for (i = 0; (t = hybrid__weights_item(&m->weights, &m->hp, i)) != NULL; i++)
        if (t->name && t->ne[1] > 1 && t != &m->weights.embd && t != &m->weights.pos_embd && !hybrid__cpu_limits_matrix(m->rt, limits, t))
            return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "there is no kernel for matrices of type %s", hybrid_type_name(t->type));
    return HYBRID_OK;
}

HYBRID_API void hybrid_context_destroy(hybrid_context *context)
{
    if (!context) return;
    if (context->forward.be) context->forward.be->ops->destroy(context->forward.be);
    hybrid__free_aligned(context->rt, context->memory);
    hybrid__free_aligned(context->rt, context->memory_kv);
    hybrid__free(context->rt, context);
}

static hybrid_result hybrid__context_build(hybrid_context *c, const hybrid_context_desc *desc, hybrid_error *error)
{
    hybrid_model *m = c->model;
    hybrid__context_layout l;
    hybrid__cpu_limits limits;
    hybrid_result r;
    if ((r = hybrid__context_defaults(&m->hp, desc, &c->desc, error)) != HYBRID_OK) return r;
    if ((r = hybrid__kv_plan(&c->kv, &m->hp, &c->desc, error)) != HYBRID_OK) return r;
    if ((r = hybrid__context_layout_make(&m->hp, &c->kv, &c->desc, &l, error)) != HYBRID_OK) return r;
    if (!(c->memory_kv = (char *)hybrid__alloc_aligned(c->rt, c->kv.data_bytes))) return hybrid__fail_memory(error, c->kv.data_bytes);
    if (!(c->memory = (char *)hybrid__alloc_aligned(c->rt, l.bytes))) return hybrid__fail_memory(error, l.bytes);
    if ((r = hybrid__context_limits(m, &c->desc, &limits, error)) != HYBRID_OK) return r;
    if ((r = hybrid__cpu_backend_create(c->rt, &limits, &c->forward.be, error)) != HYBRID_OK) return r;
    hybrid__kv_init(&c->kv, &m->hp, &c->desc, c->memory_kv, c->memory + l.table);
    hybrid__activations_layout(&c->forward.a, &m->hp, c->desc.n_batch, c->memory);
    hybrid__activations_rope(&c->forward.a, &m->hp, &m->weights, c->desc.n_ctx);
    c->entries = (hybrid__entry *)(void *)(c->memory + l.entries);
    c->ids = (int32_t *)(void *)(c->memory + l.ids);
    c->chunk_pos = (int32_t *)(void *)(c->memory + l.chunk_pos);
    c->chunk_out = (int32_t *)(void *)(c->memory + l.chunk_out);
    c->runs = (hybrid__run *)(void *)(c->memory + l.runs);
    c->logits_row = (int32_t *)(void *)(c->memory + l.logits_row);
    c->logits_n = c->logits_row + c->desc.n_seq;
    c->logits = (float *)(void *)(c->memory + l.logits);
    memset(c->logits_row, 0, (size_t)c->desc.n_seq * 2 * sizeof(int32_t));
    c->forward.hp = &m->hp;
    c->forward.w = &m->weights;
    c->forward.kv = c->kv.layers;
    c->forward.trace = c->desc.trace;
    c->forward.trace_user = c->desc.trace_user;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_context_create(hybrid_model *model, const hybrid_context_desc *desc, hybrid_context **context, hybrid_error *error)
{
    hybrid_context *c;
    hybrid_result r;
    if (!model || !context) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_context_create: %s is NULL", model ? "context" : "model");
    *context = NULL;
    if (!(c = (hybrid_context *)hybrid__calloc(model->rt, 1, sizeof *c))) return hybrid__fail_memory(error, sizeof *c);
    c->model = model;
    c->rt = model->rt;
    if ((r = hybrid__context_build(c, desc, error)) != HYBRID_OK) {
        hybrid_context_destroy(c);
        return r;
    }
    *context = c;
    return HYBRID_OK;
}

HYBRID_API void hybrid_context_describe(const hybrid_context *context, hybrid_context_desc *desc) { *desc = context->desc; }

/* ---- the batch ---- */

static hybrid__entry *hybrid__entry_of(hybrid_context *c, int32_t seq)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) if (c->entries[i].seq == seq) return &c->entries[i];
    return NULL;
}

static hybrid_result hybrid__check_seq(const hybrid_context *c, int32_t seq, hybrid_error *error)
{
    if (seq >= 0 && seq < c->desc.n_seq) return HYBRID_OK;
    return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d does not exist: the context has %d (0..%d); see n_seq", seq, c->desc.n_seq, c->desc.n_seq - 1);
}

static hybrid_result hybrid__check_idle(const hybrid_context *c, hybrid_error *error)
{
    if (!c->progress.running) return HYBRID_OK;
    return hybrid__fail(error, HYBRID_ERROR_INVALID, "a decode is under way: finish it with hybrid_decode_step, or give it up with hybrid_batch_clear");
}

HYBRID_API hybrid_result hybrid_batch_add_logits(hybrid_context *c, int32_t seq, const int32_t *ids, size_t n, size_t n_logits, hybrid_error *error)
{
    hybrid_result r;
    hybrid__entry *e;
    size_t i;
    if (!c || (!ids && n)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_batch_add: %s is NULL", c ? "ids" : "context");
    if ((r = hybrid__check_seq(c, seq, error)) != HYBRID_OK || (r = hybrid__check_idle(c, error)) != HYBRID_OK) return r;
    if (!n) return hybrid__fail(error, HYBRID_ERROR_INVALID, "there are no tokens to add to sequence %d (an empty prompt? give it at least the BOS token)", seq);
    for (i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= c->model->hp.n_vocab)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "token %llu of the batch is %d, but the model's tokens are 0..%d", (unsigned long long)i, ids[i], c->model->hp.n_vocab - 1);
    if (n > (size_t)(c->desc.n_ctx - c->n_ids))
        return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "%llu more tokens do not fit the batch: it holds %d of n_ctx = %d", (unsigned long long)n, c->n_ids, c->desc.n_ctx);
    n_logits = HYBRID__MIN(n_logits, n);
    e = hybrid__entry_of(c, seq);
    if (e && e != &c->entries[c->n_entries - 1])
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d already has tokens in this batch, with others behind them", seq);
    if ((size_t)(c->n_rows_queued - (e ? e->n_logits : 0)) + n_logits > (size_t)c->desc.n_logits)
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "this decode would keep more rows of logits than the descriptor's n_logits = %d", c->desc.n_logits);
    if (!e) {
        e = &c->entries[c->n_entries++];
        e->seq = seq; e->first_id = c->n_ids; e->n = 0; e->n_logits = 0;
    }
    c->n_rows_queued += (int32_t)n_logits - e->n_logits;
    e->n_logits = (int32_t)n_logits;
    memcpy(c->ids + c->n_ids, ids, n * sizeof *ids);
    c->n_ids += (int32_t)n;
    e->n += (int32_t)n;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_batch_add(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n, hybrid_error *error)
{
    return hybrid_batch_add_logits(context, seq, ids, n, 1, error);
}

/* Pages beyond the sequences' lengths go back: those that a decode took and did not finish with. */
static void hybrid__batch_forget(hybrid_context *c)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) {
        hybrid__seq *s = &c->kv.seqs[c->entries[i].seq];
        hybrid__kv_trim(&c->kv, s, (s->length + HYBRID__PAGE - 1) / HYBRID__PAGE);
    }
    c->n_entries = c->n_ids = c->n_rows_queued = 0;
    c->progress.running = false;
}

HYBRID_API void hybrid_batch_clear(hybrid_context *context) { if (context) hybrid__batch_forget(context); }

/* ---- decode ---- */

static hybrid_result hybrid__decode_begin(hybrid_context *c, hybrid_error *error)
{
    int32_t i, need = 0;
    if (!c->n_entries) return hybrid__fail(error, HYBRID_ERROR_INVALID, "the batch is empty: call hybrid_batch_add first");
    for (i = 0; i < c->n_entries; i++) {
        const hybrid__entry *e = &c->entries[i];
        const hybrid__seq *s = &c->kv.seqs[e->seq];
        if (e->n > c->desc.n_ctx - s->length)
            return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "sequence %d has %d tokens and %d more are queued, but n_ctx is %d", e->seq, s->length, e->n, c->desc.n_ctx);
        if (c->model->hp.arch->learned_pos && e->n > c->model->hp.n_ctx_train - s->length)
            return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "sequence %d would pass position %d, the last one of the model", e->seq, c->model->hp.n_ctx_train - 1);
        need += hybrid__kv_need(&c->kv, s, s->length, s->length + e->n);
    }
    if (need > c->kv.n_free)
        return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "the batch needs %d pages of %d positions, but only %d are free: remove sequences, or make a context with a larger n_ctx", need, HYBRID__PAGE, c->kv.n_free);
    for (i = 0; i < c->n_entries; i++) {
        hybrid__seq *s = &c->kv.seqs[c->entries[i].seq];
        hybrid__kv_take(&c->kv, s, s->length, s->length + c->entries[i].n);
    }
    memset(c->logits_n, 0, (size_t)c->desc.n_seq * sizeof *c->logits_n);
    memset(&c->progress, 0, sizeof c->progress);
    c->progress.running = true;
    c->progress.layer = -1;
    return HYBRID_OK;
}

/* Fills the chunk with the next n_batch tokens, and the runs, positions and wanted rows that belong to them. */
static void hybrid__chunk_next(hybrid_context *c)
{
    hybrid__progress *p = &c->progress;
    hybrid__batch *k = &p->chunk;
    int32_t entry = p->entry, offset = p->offset, i;
    memset(k, 0, sizeof *k);
    k->ids = c->ids + c->entries[entry].first_id + offset;
    k->pos = c->chunk_pos;
    k->runs = c->runs;
    k->out = c->chunk_out;
    while (entry < c->n_entries && k->n < c->desc.n_batch) {
        const hybrid__entry *e = &c->entries[entry];
        const hybrid__seq *s = &c->kv.seqs[e->seq];
        hybrid__run *run = &c->runs[k->n_runs++];
        run->first_row = k->n;
        run->n_rows = HYBRID__MIN(e->n - offset, c->desc.n_batch - k->n);
        run->pos = s->length + offset;
        run->pages = s->pages;
        for (i = 0; i < run->n_rows; i++) {
            c->chunk_pos[k->n + i] = run->pos + i;
            if (offset + i < e->n - e->n_logits) continue;
            if (!c->logits_n[e->seq]++) c->logits_row[e->seq] = p->n_rows_done + k->n_out;
            c->chunk_out[k->n_out++] = k->n + i;
        }
        k->n += run->n_rows;
        offset += run->n_rows;
        if (offset == e->n) { entry++; offset = 0; }
    }
    p->next_entry = entry;
    p->next_offset = offset;
}

static void hybrid__decode_finish(hybrid_context *c)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) c->kv.seqs[c->entries[i].seq].length += c->entries[i].n;
    hybrid__batch_forget(c);
}

/* One unit of work: begins a chunk, or runs a layer of it (and what follows the last one). */
static hybrid_result hybrid__decode_unit(hybrid_context *c, hybrid_error *error)
{
    hybrid__progress *p = &c->progress;
    hybrid_result r;
    if (p->layer < 0) {
        hybrid__chunk_next(c);
        hybrid__forward_begin(&c->forward, &p->chunk);
        p->layer = 0;
    }
    hybrid__forward_layer(&c->forward, &p->chunk, p->layer);
    if (++p->layer < c->model->hp.n_layer) return HYBRID_OK;
    if ((r = hybrid__forward_end(&c->forward, &p->chunk, c->logits + (size_t)p->n_rows_done * (size_t)c->model->hp.n_vocab, error)) != HYBRID_OK) return r;
    p->n_rows_done += p->chunk.n_out;
    p->entry = p->next_entry;
    p->offset = p->next_offset;
    p->layer = -1;
    if (p->entry == c->n_entries) hybrid__decode_finish(c);
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_decode_step(hybrid_context *context, uint64_t budget_us, bool *done, hybrid_error *error)
{
    const uint64_t since = budget_us == UINT64_MAX ? 0 : hybrid__now_us();
    hybrid_result r;
    if (done) *done = false;
    if (!context || !done) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_decode_step: %s is NULL", context ? "done" : "context");
    if (!context->progress.running && (r = hybrid__decode_begin(context, error)) != HYBRID_OK) return r;
    do {
        if ((r = hybrid__decode_unit(context, error)) != HYBRID_OK) {
            hybrid__batch_forget(context);
            return r;
        }
    } while (context->progress.running && (budget_us == UINT64_MAX || hybrid__now_us() - since < budget_us));
    *done = !context->progress.running;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_decode(hybrid_context *context, hybrid_error *error)
{
    bool done;
    return hybrid_decode_step(context, UINT64_MAX, &done, error);
}

HYBRID_API const float *hybrid_logits_at(const hybrid_context *context, int32_t seq, size_t i)
{
    if (!context || hybrid__check_seq(context, seq, NULL) || context->progress.running || i >= (size_t)context->logits_n[seq]) return NULL;
    return context->logits + ((size_t)context->logits_row[seq] + i) * (size_t)context->model->hp.n_vocab;
}

HYBRID_API const float *hybrid_logits(const hybrid_context *context, int32_t seq)
{
    if (!context || hybrid__check_seq(context, seq, NULL) || !context->logits_n[seq]) return NULL;
    return hybrid_logits_at(context, seq, (size_t)context->logits_n[seq] - 1);
}

/* ---- sequences ---- */

HYBRID_API int32_t hybrid_seq_length(const hybrid_context *context, int32_t seq)
{
    return context && !hybrid__check_seq(context, seq, NULL) ? context->kv.seqs[seq].length : -1;
}

HYBRID_API hybrid_result hybrid_seq_remove(hybrid_context *context, int32_t seq, int32_t from, hybrid_error *error)
{
    hybrid__seq *s;
    hybrid_result r;
    if (!context) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_remove: context is NULL");
    if ((r = hybrid__check_seq(context, seq, error)) != HYBRID_OK || (r = hybrid__check_idle(context, error)) != HYBRID_OK) return r;
    s = &context->kv.seqs[seq];
    if (from < 0 || from > s->length) return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d has %d tokens: nothing begins at %d", seq, s->length, from);
    s->length = from;
    hybrid__kv_trim(&context->kv, s, (from + HYBRID__PAGE - 1) / HYBRID__PAGE);
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_seq_fork(hybrid_context *context, int32_t from, int32_t to, hybrid_error *error)
{
    hybrid_result r;
    if (!context) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_fork: context is NULL");
    if ((r = hybrid__check_seq(context, from, error)) != HYBRID_OK || (r = hybrid__check_seq(context, to, error)) != HYBRID_OK ||
        (r = hybrid__check_idle(context, error)) != HYBRID_OK) return r;
    if (from == to) return HYBRID_OK;
    if (hybrid__entry_of(context, to)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d has tokens in the batch: decode or clear it before it becomes a copy", to);
    hybrid__kv_share(&context->kv, &context->kv.seqs[from], &context->kv.seqs[to]);
    return HYBRID_OK;
}

HYBRID_API int32_t hybrid_context_free(const hybrid_context *context) { return context ? context->kv.n_free * HYBRID__PAGE : 0; }
