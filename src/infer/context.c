/* infer/context: sequences, the batch, and the pass of a batch through the model, chunk by chunk and layer by layer. */
#ifndef HYB_INFER_CONTEXT_C
#define HYB_INFER_CONTEXT_C
#include "../model/model.c"
#include "gain.c"
#include "worn.c"

enum { HYB_CHUNK_NEXT = -2, HYB_CHUNK_OPEN = -1 }; /* the chunk is not filled; it is, but its embedding is not done */

typedef struct hyb_entry { /* the tokens that are queued for one sequence */
    int32_t seq, first_id, n, n_logits;
} hyb_entry;

/* Where a decode stands: a chunk begins, goes through the layers, ends; then the next. */
typedef struct hyb_progress {
    bool running;
    int32_t entry, offset; /* first token of the chunk: entry, and token in it */
    int32_t next_entry, next_offset;
    int32_t layer;       /* of the chunk, the next one; or HYB_CHUNK_NEXT, HYB_CHUNK_OPEN, and n_layer is the head */
    int32_t n_rows_done; /* rows of logits made by earlier chunks */
    bool again;          /* the unit was begun and left, */
    const hyb_stream *s; /* and before it the pass went on with these rows: */
    int n;
    hyb_batch chunk;
} hyb_progress;

struct hybrid_stream;

struct hybrid_context {
    hybrid_model *model;
    hybrid_runtime *rt;
    hybrid_context_desc desc;
    hyb_state state;
    hyb_worn worn;
    hyb_forward forward;
    hyb_progress progress;
    hyb_entry *entries;
    int32_t n_entries; /* n_seq at most */
    int32_t *ids;
    int32_t n_ids;                  /* queued, n_ctx at most */
    int32_t *chunk_pos, *chunk_out; /* n_batch each */
    hyb_run *runs;                  /* n_seq */
    int32_t *logits_row, *logits_n; /* per sequence, of the last decode: first row, rows */
    float *logits;                  /* (n_logits, n_vocab) */
    /* With a GPU and n_candidates: the largest logits of each row, (n_logits, n_candidates) and (n_logits, 2); the
     * logits of the last chunk's rows, from row n_logits_here on, are fetched when they are asked for. n_top rows are
     * valid, none after a decode on the host. */
    int32_t *top_ids, n_top, n_logits_here, n_logits_made;
    float *top_values, *top_stats;
    int32_t n_rows_queued;
    uint64_t
        in_use; /* a call is under way: callbacks (trace, progress, log, memory, parallel_for) may not begin another */
    struct hybrid_stream *streams;                         /* those of its sequences (stream.c), and for all of them: */
    uint64_t streams_clock, streams_us, streams_choice_us; /* turns; microseconds of this decode, and of a choice */
    bool streams_due;                                      /* a decode is done, and not all have chosen */
    int32_t streams_rows;                                  /* of the decode; 0: some of them are a prompt's */
    hyb_row_times row_times;
    uint64_t streams_in_use;                               /* a call of one of them is under way */
    void *memory_state[HYB_STAGES];                        /* of the layers of each stage, on its device */
    char *memory;                                          /* everything else */
};

/* ---- creation: one plan for what is allocated and for hybrid_plan ---- */

typedef struct hyb_context_layout {
    size_t table, worn, entries, ids, chunk_pos, chunk_out, runs, logits_row, logits, trace, top, bytes;
} hyb_context_layout;

static hybrid_result hyb_context_layout_make(const hyb_hparams *hp, const hyb_state *state,
                                             const hybrid_context_desc *d, bool on_gpu, hyb_context_layout *l,
                                             hybrid_error *error)
{
    size_t logits;
    l->bytes = 0;
#define HYB_PLACE(field, size) (l->field = l->bytes, l->bytes += hyb_align(size, 64))
    HYB_PLACE(table, state->table_bytes);
    HYB_PLACE(worn, (size_t)d->n_seq * 2 * sizeof(int32_t));
    HYB_PLACE(entries, (size_t)d->n_seq * sizeof(hyb_entry));
    HYB_PLACE(ids, (size_t)d->n_ctx * sizeof(int32_t));
    HYB_PLACE(chunk_pos, (size_t)d->n_batch * sizeof(int32_t));
    HYB_PLACE(chunk_out, (size_t)d->n_batch * sizeof(int32_t));
    HYB_PLACE(runs, (size_t)d->n_seq * sizeof(hyb_run));
    HYB_PLACE(logits_row, (size_t)d->n_seq * 2 * sizeof(int32_t));
    if (!hyb_mul_size((size_t)d->n_logits * sizeof(float), (size_t)hp->n_vocab, &logits))
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "%d rows of logits are beyond the address space", d->n_logits);
    HYB_PLACE(logits, logits);
    HYB_PLACE(trace, on_gpu && d->trace
                         ? hyb_trace_values(hp, d->n_batch, HYB_MIN(d->n_batch, d->n_logits)) * sizeof(float)
                         : 0);
    HYB_PLACE(top,
              on_gpu && d->n_candidates ? (size_t)d->n_logits * (2 * (size_t)d->n_candidates + 2) * sizeof(float) : 0);
#undef HYB_PLACE
    return HYBRID_OK;
}

/* The devices of a context and the layers of each: stages without memory. Returns how many. */
static int hyb_stages_plan(hybrid_model *m, bool on_host, hyb_stage *stages)
{
    const hyb_place *place = &m->place;
    const bool gpu = place->gpu && !on_host;
    int n = 0;
    memset(stages, 0, HYB_STAGES * sizeof *stages);
    if (!gpu || !place->embd) {
        stages[n].device = &m->host;
        stages[n++].layer_end = gpu ? place->first : m->hp.n_layer;
    }
    if (gpu) {
        stages[n].device = place->gpu;
        stages[n++].layer_end = m->hp.n_layer;
    }
    return n;
}

static int hyb_stage_n_out(const hyb_stage *stage, const hybrid_context_desc *d)
{
    return stage->device->ops->is_host ? 0 : HYB_MIN(d->n_batch, d->n_logits);
}

static void hyb_context_stages_free(hybrid_context *c)
{
    int i;
    for (i = 0; i < c->forward.n_stages; i++) {
        hyb_stage *stage = &c->forward.stages[i];
        hyb_device *device = stage->device;
        hyb_stage_free(stage);
        if (c->memory_state[i]) device->ops->free(device, c->memory_state[i]);
        c->memory_state[i] = NULL;
    }
    c->forward.n_stages = 0;
}

HYB_BORDER_VOID(hybrid_context_destroy, (hybrid_context * context), (context))
{
    if (!context) return;
    if (hyb_busy(context->in_use)) {
        hyb_log(context->rt, HYBRID_LOG_ERROR,
                "hybrid_context_destroy: the context is in use: one of its callbacks called it again; it was not "
                "destroyed");
        return;
    }
    context->in_use = hyb_process();
    context->desc.n_seq = 0; /* a callback that asks from within free finds no sequences: their tables are going */
    hyb_context_stages_free(context);
    hyb_worn_free(&context->worn, context->rt);
    hyb_free_aligned(context->rt, context->memory);
    hyb_free(context->rt, context);
}

/* The rows of a stage that adapters need. */
static hybrid_result hyb_context_narrow(const hybrid_context_desc *d, hyb_stage *stage, hybrid_error *error)
{
    const size_t bytes = hyb_narrow_bytes(d);
    void *memory = NULL;
    const hybrid_result r = bytes ? stage->device->ops->alloc(stage->device, bytes, &memory, error) : HYBRID_OK;
    stage->narrow = (float *)memory;
    return r;
}

static hybrid_result hyb_context_backend(const hybrid_model *m, const hybrid_context_desc *d, hyb_stage *stage,
                                         hybrid_error *error)
{
    hyb_device *device = stage->device;
    hyb_limits limits;
    hybrid_result r = hyb_context_narrow(d, stage, error);
    if (r) return r;
    if ((r = hyb_limits_of(device, &m->net, &m->weights, &m->hp, d, &limits, error)) != HYBRID_OK) return r;
    return device->ops->backend_create(device, &limits, &stage->be, error);
}

static hybrid_result hyb_context_stage(hybrid_context *c, hyb_stage *stage, int32_t first, void **memory_state,
                                       hybrid_error *error)
{
    hybrid_model *m = c->model;
    hyb_device *device = stage->device;
    hyb_activations a;
    hybrid_result r;
    const size_t bytes = hyb_state_bytes(&c->state, first, stage->layer_end);
    const int n_out = hyb_stage_n_out(stage, &c->desc);
    hyb_activations_layout(&a, &m->hp, c->desc.n_batch, n_out, c->desc.n_candidates, NULL);
    if (bytes && (r = device->ops->alloc(device, bytes, memory_state, error)) != HYBRID_OK) return r;
    if (bytes) hyb_state_set(&c->state, first, stage->layer_end, (char *)*memory_state);
    if ((r = device->ops->alloc(device, a.bytes, &stage->memory, error)) != HYBRID_OK) return r;
    hyb_activations_layout(&stage->a, &m->hp, c->desc.n_batch, n_out, c->desc.n_candidates, (char *)stage->memory);
    if ((r = hyb_stage_rope(stage, &m->hp, &m->net, m->weights.tensors, c->desc.n_ctx, error)) != HYBRID_OK) return r;
    return hyb_context_backend(m, &c->desc, stage, error);
}

/* Memory and back ends of all stages; on failure none are left. */
static hybrid_result hyb_context_stages(hybrid_context *c, bool on_host, hybrid_error *error)
{
    hyb_forward *f = &c->forward;
    hybrid_result r = HYBRID_OK;
    int i;
    f->n_stages = hyb_stages_plan(c->model, on_host, f->stages);
    f->tensors = on_host || !c->model->place.gpu ? c->model->weights.tensors : c->model->place.tensors;
    for (i = 0; i < f->n_stages && !r; i++)
        r = hyb_context_stage(c, &f->stages[i], i ? f->stages[i - 1].layer_end : 0, &c->memory_state[i], error);
    if (r) hyb_context_stages_free(c);
    return r;
}

/* A context of a model whose weights are trained on the GPU cannot do without it: the host's are older. */
static hybrid_result hyb_context_bound(const hybrid_error *why, hybrid_error *error)
{
    return hyb_fail(error, why->result,
                    "the context runs on the GPU, where the model's weights are trained, or not at all: %s",
                    why->message);
}

/* With the GPU, or without it when it fails. */
static hybrid_result hyb_context_stages_any(hybrid_context *c, hybrid_error *error)
{
    hybrid_error why;
    hybrid_result r;
    if (!c->model->place.gpu) return hyb_context_stages(c, true, error);
    if ((r = hyb_context_stages(c, false, &why)) == HYBRID_OK) return r;
    if (c->model->place.trained) return hyb_context_bound(&why, error);
    hyb_log(c->rt, HYBRID_LOG_WARN, "this context runs on the CPU: %s", why.message);
    return hyb_context_stages(c, true, error);
}

/* Texts that are longer than those of the training end in babble, unless positions are stretched. */
static void hyb_context_warn(const hybrid_context *c)
{
    const hyb_hparams *hp = &c->model->hp;
    const int32_t each = c->desc.n_ctx / c->desc.n_seq;
    const double stretched = hp->rope_scaling == HYB_SCALING_NONE ? 0 : (double)hp->n_ctx_orig * hp->rope_factor;
    if (each <= hp->n_ctx_train || each <= stretched) return;
    hyb_log(c->rt, HYBRID_LOG_WARN,
            "n_ctx is %d for %d sequences, but the model was trained on texts of %d tokens: beyond that, answers "
            "may make no sense",
            c->desc.n_ctx, c->desc.n_seq, hp->n_ctx_train);
}

static hybrid_result hyb_context_build(hybrid_context *c, const hybrid_context_desc *desc, hybrid_error *error)
{
    hybrid_model *m = c->model;
    hyb_context_layout l;
    hybrid_result r;
    if ((r = hyb_context_defaults(&m->hp, desc, &c->desc, error)) != HYBRID_OK) return r;
    if ((r = hyb_state_plan(&c->state, &m->hp, &c->desc, error)) != HYBRID_OK) return r;
    if ((r = hyb_context_layout_make(&m->hp, &c->state, &c->desc, m->place.gpu != NULL, &l, error)) != HYBRID_OK)
        return r;
    if (!(c->memory = (char *)hyb_alloc_aligned(c->rt, l.bytes))) return hyb_fail_memory(error, l.bytes);
    hyb_state_init(&c->state, c->memory + l.table);
    c->worn.seq = (int32_t *)(void *)(c->memory + l.worn);
    c->worn.run = c->worn.seq + c->desc.n_seq;
    memset(c->worn.seq, 0, (size_t)c->desc.n_seq * 2 * sizeof(int32_t));
    c->entries = (hyb_entry *)(void *)(c->memory + l.entries);
    c->ids = (int32_t *)(void *)(c->memory + l.ids);
    c->chunk_pos = (int32_t *)(void *)(c->memory + l.chunk_pos);
    c->chunk_out = (int32_t *)(void *)(c->memory + l.chunk_out);
    c->runs = (hyb_run *)(void *)(c->memory + l.runs);
    c->logits_row = (int32_t *)(void *)(c->memory + l.logits_row);
    c->logits_n = c->logits_row + c->desc.n_seq;
    c->logits = (float *)(void *)(c->memory + l.logits);
    memset(c->logits_row, 0, (size_t)c->desc.n_seq * 2 * sizeof(int32_t));
    c->forward.hp = &m->hp;
    c->forward.net = &m->net;
    c->forward.state = c->state.layers;
    c->forward.trace = c->desc.trace;
    c->forward.trace_user = c->desc.trace_user;
    c->forward.trace_host = (float *)(void *)(c->memory + l.trace);
    c->forward.n_top = m->place.gpu ? c->desc.n_candidates : 0;
    c->forward.n_tokens = hyb_model_n_tokens(m);
    c->top_ids = (int32_t *)(void *)(c->memory + l.top);
    c->top_values = (float *)(void *)(c->top_ids + (size_t)c->desc.n_logits * (size_t)c->desc.n_candidates);
    c->top_stats = c->top_values + (size_t)c->desc.n_logits * (size_t)c->desc.n_candidates;
    if ((r = hyb_context_stages_any(c, error)) == HYBRID_OK) hyb_context_warn(c);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_context_create,
           (hybrid_model * model, const hybrid_context_desc *desc, hybrid_context **context, hybrid_error *error),
           (model, desc, context, error))
{
    hybrid_context *c;
    hybrid_result r;
    if (context) *context = NULL;
    if (!model || !context)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_context_create: %s is NULL", model ? "context" : "model");
    if (!(c = (hybrid_context *)hyb_calloc(model->rt, 1, sizeof *c))) return hyb_fail_memory(error, sizeof *c);
    c->model = model;
    c->rt = model->rt;
    if ((r = hyb_context_build(c, desc, error)) != HYBRID_OK) {
        hybrid_context_destroy(c);
        return r;
    }
    *context = c;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_context_describe, (const hybrid_context *context, hybrid_context_desc *desc), (context, desc))
{
    if (!desc) return;
    if (context)
        *desc = context->desc;
    else
        memset(desc, 0, sizeof *desc);
}

/* ---- the batch ---- */

static hyb_entry *hyb_entry_of(hybrid_context *c, int32_t seq)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++)
        if (c->entries[i].seq == seq) return &c->entries[i];
    return NULL;
}

static hybrid_result hyb_check_seq(const hybrid_context *c, int32_t seq, hybrid_error *error)
{
    if (seq >= 0 && seq < c->desc.n_seq) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID, "sequence %d does not exist: the context has %d (0..%d); see n_seq",
                    seq, c->desc.n_seq, c->desc.n_seq - 1);
}

/* Refuses while another call of this context is under way. */
static hybrid_result hyb_check_free(const hybrid_context *c, hybrid_error *error)
{
    if (!hyb_busy(c->in_use)) return HYBRID_OK;
    return hyb_fail(
        error, HYBRID_ERROR_INVALID,
        "the context is in use: one of its callbacks (trace, progress, log, memory, parallel_for) called it again");
}

/* Refuses while a decode is under way, too. */
static hybrid_result hyb_check_idle(const hybrid_context *c, hybrid_error *error)
{
    const hybrid_result r = hyb_check_free(c, error);
    if (r) return r;
    if (!c->progress.running) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "a decode is under way: finish it with hybrid_decode_step, or give it up with hybrid_batch_clear");
}

HYB_BORDER(hybrid_result, hybrid_batch_add_logits,
           (hybrid_context * c, int32_t seq, const int32_t *ids, size_t n, int32_t n_logits, hybrid_error *error),
           (c, seq, ids, n, n_logits, error))
{
    hybrid_result r;
    hyb_entry *e;
    size_t i;
    if (!c || (!ids && n))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_batch_add: %s is NULL", c ? "ids" : "context");
    if ((r = hyb_check_free(c, error)) != HYBRID_OK || (r = hyb_check_seq(c, seq, error)) != HYBRID_OK) return r;
    if ((r = hyb_check_idle(c, error)) != HYBRID_OK) return r;
    if ((c->model->hp.arch->has & HYB_HAS_BOTH_WAYS) && !c->forward.states)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the model (%s) is an encoder: it makes vectors of texts (hybrid_embed), and writes none",
                        c->model->hp.arch->name);
    if (!n)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "there are no tokens to add to sequence %d (an empty prompt? give it at least the BOS token)",
                        seq);
    for (i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= c->model->hp.n_vocab)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "token %llu of the batch is %d, but the model's tokens are 0..%d", (unsigned long long)i,
                            ids[i], c->model->hp.n_vocab - 1);
    if (n_logits < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_batch_add_logits: n_logits is %d, must not be negative",
                        n_logits);
    if (n > (size_t)(c->desc.n_ctx - c->n_ids))
        return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                        "%llu more tokens do not fit the batch: it holds %d of n_ctx = %d", (unsigned long long)n,
                        c->n_ids, c->desc.n_ctx);
    n_logits = HYB_MIN(n_logits, (int32_t)n);
    e = hyb_entry_of(c, seq);
    if (e && e != &c->entries[c->n_entries - 1])
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "sequence %d already has tokens in this batch, with others after them", seq);
    if (n_logits > c->desc.n_logits - (c->n_rows_queued - (e ? e->n_logits : 0)))
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "this decode would keep more rows of logits than the descriptor's n_logits = %d",
                        c->desc.n_logits);
    if (!e) {
        e = &c->entries[c->n_entries++];
        e->seq = seq;
        e->first_id = c->n_ids;
        e->n = 0;
        e->n_logits = 0;
    }
    c->n_rows_queued += n_logits - e->n_logits;
    e->n_logits = n_logits;
    memcpy(c->ids + c->n_ids, ids, n * sizeof *ids);
    c->n_ids += (int32_t)n;
    e->n += (int32_t)n;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_batch_add,
           (hybrid_context * context, int32_t seq, const int32_t *ids, size_t n, hybrid_error *error),
           (context, seq, ids, n, error))
{
    return hybrid_batch_add_logits(context, seq, ids, n, 1, error);
}

/* Gives back what an unfinished decode took. The batch stays queued. */
static void hyb_batch_stop(hybrid_context *c)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) {
        hyb_seq_give_back(&c->state, &c->state.seqs[c->entries[i].seq]);
    }
    c->progress.running = false;
}

static void hyb_batch_forget(hybrid_context *c)
{
    hyb_batch_stop(c);
    c->n_entries = c->n_ids = c->n_rows_queued = 0;
}

/* Forgets the batch; a decode of it that is under way is given up, and leaves no logits. */
static void hyb_batch_give_up(hybrid_context *c)
{
    if (c->progress.running) memset(c->logits_n, 0, (size_t)c->desc.n_seq * sizeof *c->logits_n);
    hyb_batch_forget(c);
}

HYB_BORDER_VOID(hybrid_batch_clear, (hybrid_context * context), (context))
{
    if (!context) return;
    if (!hyb_busy(context->in_use))
        hyb_batch_give_up(context);
    else
        hyb_log(context->rt, HYBRID_LOG_ERROR,
                "hybrid_batch_clear: the context is in use: one of its callbacks called it again; nothing was cleared");
}

/* ---- decode ---- */

/* Pages that must be free before entry i can be written, once the entries before it have theirs. Of several sequences
 * that share a page and write into it, the last one keeps it if no other has it. */
static int32_t hyb_entry_need(const hybrid_context *c, int32_t i)
{
    const hyb_seq *s = &c->state.seqs[c->entries[i].seq];
    const int32_t page = hyb_seq_open_page(s), pages = (s->length + c->entries[i].n + HYB_PAGE - 1) / HYB_PAGE;
    int32_t refs = page < 0 ? 1 : c->state.pages.refs[page], k;
    for (k = 0; k < i && refs > 1; k++) refs -= hyb_seq_open_page(&c->state.seqs[c->entries[k].seq]) == page;
    return pages - s->n_pages + (refs > 1);
}

/* Pages that n more tokens of a sequence take, which shares its last page or not. */
static int32_t hyb_seq_pages_for(const hybrid_context *c, const hyb_seq *seq, int32_t n)
{
    const int32_t open = hyb_seq_open_page(seq);
    return (seq->length + n + HYB_PAGE - 1) / HYB_PAGE - seq->n_pages + (open >= 0 && c->state.pages.refs[open] > 1);
}

/* And those that the batch takes, at most. */
static int32_t hyb_batch_pages(const hybrid_context *c)
{
    int32_t i, n = 0;
    for (i = 0; i < c->n_entries; i++) n += hyb_seq_pages_for(c, &c->state.seqs[c->entries[i].seq], c->entries[i].n);
    return n;
}

/* Back to the first token of the batch. */
static void hyb_decode_rewind(hybrid_context *c)
{
    memset(c->logits_n, 0, (size_t)c->desc.n_seq * sizeof *c->logits_n);
    c->n_top = c->n_logits_here = c->n_logits_made = 0;
    memset(&c->progress, 0, sizeof c->progress);
    c->progress.running = true;
    c->progress.layer = HYB_CHUNK_NEXT;
}

static hybrid_result hyb_decode_begin(hybrid_context *c, hybrid_error *error)
{
    int32_t i, k, need = 0;
    if (!c->n_entries) return hyb_fail(error, HYBRID_ERROR_INVALID, "the batch is empty: call hybrid_batch_add first");
    for (i = 0; i < c->n_entries; i++) {
        const hyb_entry *e = &c->entries[i];
        const hyb_seq *s = &c->state.seqs[e->seq];
        if (e->n > c->desc.n_ctx - s->length)
            return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                            "sequence %d has %d tokens and %d more are queued, but n_ctx is %d", e->seq, s->length,
                            e->n, c->desc.n_ctx);
        if (c->model->hp.arch->has & HYB_HAS_POS_EMBD && e->n > c->model->hp.n_ctx_train - s->length)
            return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                            "sequence %d would pass position %d, the last one of the model", e->seq,
                            c->model->hp.n_ctx_train - 1);
        need += hyb_entry_need(c, i);
    }
    if (need > c->state.pages.n_free)
        return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                        "the batch needs %d pages of %d positions, but only %d are free: remove sequences, or make a "
                        "context with a larger n_ctx",
                        need, HYB_PAGE, c->state.pages.n_free);
    for (i = 0; i < c->n_entries; i++) {
        hyb_seq *s = &c->state.seqs[c->entries[i].seq];
        hyb_seq_take(&c->state, &c->forward, s, c->entries[i].n);
        for (k = 0; k < c->entries[i].n; k++) {
            const int32_t place = hyb_seq_place(s, s->length + k);
            c->state.ids[place] = c->ids[c->entries[i].first_id + k];
            c->state.sets[place] = c->worn.seq[c->entries[i].seq];
        }
    }
    hyb_decode_rewind(c);
    return HYBRID_OK;
}

/* Whether tokens look at later ones, so that a text goes through the model in one piece. */
static bool hyb_context_encodes(const hybrid_context *c) { return (c->model->hp.arch->has & HYB_HAS_BOTH_WAYS) != 0; }

/* Fills the chunk with the next n_batch tokens, and the runs, positions and wanted rows that belong to them. */
static void hyb_chunk_next(hybrid_context *c)
{
    hyb_progress *p = &c->progress;
    hyb_batch *k = &p->chunk;
    int32_t entry = p->entry, offset = p->offset, i;
    memset(k, 0, sizeof *k);
    k->ids = c->ids + c->entries[entry].first_id + offset;
    k->pos = c->chunk_pos;
    k->runs = c->runs;
    k->out = c->chunk_out;
    while (entry < c->n_entries && k->n < c->desc.n_batch) {
        const hyb_entry *e = &c->entries[entry];
        if (hyb_context_encodes(c) && k->n && e->n > c->desc.n_batch - k->n) break; /* its rows see each other */
        const hyb_seq *s = &c->state.seqs[e->seq];
        hyb_run *run = &c->runs[k->n_runs];
        c->worn.run[k->n_runs++] = c->worn.seq[e->seq];
        run->first_row = k->n;
        run->n_rows = HYB_MIN(e->n - offset, c->desc.n_batch - k->n);
        run->pos = s->length + offset;
        run->pages = s->pages;
        run->slot_in = offset ? s->next : s->slot; /* a later chunk goes on from the state that the first one left */
        run->slot_out = s->next;
        for (i = 0; i < run->n_rows; i++) {
            c->chunk_pos[k->n + i] = run->pos + i;
            if (offset + i < e->n - e->n_logits) continue;
            if (!c->logits_n[e->seq]++) c->logits_row[e->seq] = p->n_rows_done + k->n_out;
            c->chunk_out[k->n_out++] = k->n + i;
        }
        k->n += run->n_rows;
        offset += run->n_rows;
        if (offset == e->n) {
            entry++;
            offset = 0;
        }
    }
    p->next_entry = entry;
    p->next_offset = offset;
    hyb_worn_begin(&c->worn, &c->forward, k->n_runs);
}

static void hyb_decode_finish(hybrid_context *c)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) hyb_seq_keep(&c->state.seqs[c->entries[i].seq], c->entries[i].n);
    hyb_batch_forget(c);
}

/* Where the rows of the chunk go. Those of the last chunk can stay on the GPU, until the next decode. */
static const hyb_results *hyb_chunk_results(const hybrid_context *c, hyb_results *out)
{
    const size_t row = (size_t)c->progress.n_rows_done;
    out->logits = c->logits + row * (size_t)c->model->hp.n_vocab;
    out->top_ids = c->top_ids + row * (size_t)c->forward.n_top;
    out->top_values = c->top_values + row * (size_t)c->forward.n_top;
    out->top_stats = c->top_stats + row * 2;
    out->later = c->forward.n_top && !c->forward.at->device->ops->is_host && c->progress.next_entry == c->n_entries;
    return out;
}

/* The chunk is through. */
static void hyb_chunk_end(hybrid_context *c, bool later)
{
    hyb_progress *p = &c->progress;
    p->n_rows_done += p->chunk.n_out;
    c->n_logits_made = p->n_rows_done;
    if (!later) c->n_logits_here = p->n_rows_done;
    if (c->forward.n_top && !c->forward.at->device->ops->is_host) c->n_top = p->n_rows_done;
    p->entry = p->next_entry;
    p->offset = p->next_offset;
    p->layer = HYB_CHUNK_NEXT;
    if (p->entry == c->n_entries) hyb_decode_finish(c);
}

/* The pace of the stage on which the next unit runs; NULL: a device's, or all of the unit is traced. */
static hyb_pace *hyb_decode_pace(const hybrid_context *c)
{
    const hyb_progress *p = &c->progress;
    const hyb_forward *f = &c->forward;
    const hyb_stage *stage = p->layer == HYB_CHUNK_OPEN ? f->stages : f->at;
    if (p->layer >= 0 && p->layer < f->hp->n_layer && p->layer == stage->layer_end) stage++;
    return f->trace || !stage->device->ops->is_host ? NULL : &hyb_cpu_of(stage->be)->pace;
}

/* Units that take about as long: openings, heads, and layers by their number. */
static int hyb_decode_kind(const hyb_progress *p, const hyb_forward *f)
{
    if (p->layer == HYB_CHUNK_OPEN) return 0;
    return p->layer == f->hp->n_layer ? 1 : 2 + p->layer % (HYB_PACE_KINDS - 2);
}

/* One unit of work: opens a chunk, or runs a layer of it, or the head; or as much of that as its pace has time for. */
static hybrid_result hyb_decode_unit(hybrid_context *c, uint64_t until, hybrid_error *error)
{
    hyb_progress *p = &c->progress;
    hyb_forward *f = &c->forward;
    hyb_results out;
    hyb_pace *pace;
    hybrid_result r = HYBRID_OK;
    if (p->layer == HYB_CHUNK_NEXT) hyb_chunk_next(c);
    if (p->layer == HYB_CHUNK_NEXT) p->layer = HYB_CHUNK_OPEN;
    if ((pace = hyb_decode_pace(c)) != NULL) hyb_pace_enter(pace, hyb_decode_kind(p, f), p->chunk.n, until, p->again);
    if (p->again) {
        f->s = p->s;
        f->n = p->n;
    }
    p->s = f->s;
    p->n = f->n;
    if (p->layer == HYB_CHUNK_OPEN)
        hyb_forward_begin(f, &p->chunk);
    else if (p->layer < f->hp->n_layer)
        hyb_forward_layer(f, &p->chunk, p->layer);
    else
        r = hyb_forward_end(f, &p->chunk, hyb_chunk_results(c, &out), error);
    p->again = pace && !hyb_pace_leave(pace);
    if (r || p->again) return r;
    if (p->layer++ == f->hp->n_layer) hyb_chunk_end(c, out.later);
    return HYBRID_OK;
}

/* Tokens of a sequence, from `at` on, that were read with the same adapters: as many as a batch holds at most. */
static int32_t hyb_seq_alike(const hybrid_context *c, const hyb_seq *s, int32_t at)
{
    const int32_t set = c->state.sets[hyb_seq_place(s, at)], most = HYB_MIN(c->desc.n_batch, s->length - at);
    int32_t n = 1;
    while (n < most && c->state.sets[hyb_seq_place(s, at + n)] == set) n++;
    return n;
}

/* The tokens of a sequence once more through the model, into the pages that it has. Forks that share pages write the
 * same into them. */
static hybrid_result hyb_seq_again(hybrid_context *c, hyb_seq *s, hybrid_error *error)
{
    hyb_batch batch;
    hyb_run run;
    hybrid_result r;
    int32_t at, i, n;
    for (at = 0; at < s->length; at += n) {
        n = hyb_seq_alike(c, s, at);
        c->worn.run[0] = c->state.sets[hyb_seq_place(s, at)];
        memset(&batch, 0, sizeof batch);
        run.first_row = 0;
        run.n_rows = n;
        run.pos = at;
        run.pages = s->pages;
        run.slot_in = at ? s->slot : -1;
        run.slot_out = s->slot;
        for (i = 0; i < n; i++) c->chunk_pos[i] = at + i;
        for (i = 0; i < n; i++) /* no rows of logits are wanted, so chunk_out is free for it */
            c->chunk_out[i] = *hyb_seq_id(&c->state, s, at + i);
        batch.ids = c->chunk_out;
        batch.pos = c->chunk_pos;
        batch.n = n;
        batch.runs = &run;
        batch.n_runs = 1;
        hyb_worn_begin(&c->worn, &c->forward, 1);
        hyb_forward_begin(&c->forward, &batch);
        for (i = 0; i < c->model->hp.n_layer; i++) hyb_forward_layer(&c->forward, &batch, i);
        if ((r = hyb_forward_end(&c->forward, &batch, NULL, error)) != HYBRID_OK) return r;
    }
    return HYBRID_OK;
}

/* Memory of the host takes the place of a lost GPU's, and what the cache held is computed again. If that fails, the
 * sequences still know their tokens, and the next decode tries once more. */
static hybrid_result hyb_context_again(hybrid_context *c, hybrid_error *error)
{
    const hybrid_trace_fn trace = c->forward.trace;
    hybrid_result r;
    int32_t i;
    if ((r = hyb_context_stages(c, true, error)) != HYBRID_OK) return r;
    c->forward.trace = NULL;
    for (i = 0; i < c->desc.n_seq && !r; i++) {
        hyb_seq_drop_before(&c->state, &c->state.seqs[i]);
        r = hyb_seq_again(c, &c->state.seqs[i], error);
    }
    c->forward.trace = trace;
    if (r) hyb_context_stages_free(c);
    return r;
}

/* The GPU failed: the context goes on without it. Logits that only it held are gone. */
static hybrid_result hyb_context_fall_back(hybrid_context *c, const hybrid_error *why, hybrid_error *error)
{
    if (c->model->place.trained) return hyb_context_bound(why, error);
    hyb_log(c->rt, HYBRID_LOG_WARN, "the context goes on without the GPU: %s", why->message);
    hyb_context_stages_free(c);
    if (c->n_logits_here < c->n_logits_made) memset(c->logits_n, 0, (size_t)c->desc.n_seq * sizeof *c->logits_n);
    return hyb_context_again(c, error);
}

/* A rehearsal of one pass of n rows, n_out of them with logits: nothing runs. The stage before that of the GPU is the
 * host's, which needs none. */
static hybrid_result hyb_warmup_pass(hybrid_context *c, int32_t n, int32_t n_out, hybrid_error *error)
{
    hyb_forward *f = &c->forward;
    hyb_batch batch;
    hyb_results out;
    hyb_run run;
    int32_t i, layer = f->n_stages > 1 ? f->stages[0].layer_end : 0;
    hyb_stage *stage = &f->stages[f->n_stages - 1];
    memset(&batch, 0, sizeof batch);
    for (i = 0; i < n; i++) c->chunk_pos[i] = c->chunk_out[i] = 0;
    run.first_row = 0;
    run.n_rows = n;
    run.pos = 0;
    run.pages = c->chunk_out; /* page 0, as many times as pages are needed */
    run.slot_in = -1;
    run.slot_out = 0;
    batch.ids = c->chunk_pos;
    batch.pos = c->chunk_pos;
    batch.n = n;
    batch.runs = &run;
    batch.n_runs = 1;
    batch.out = c->chunk_out;
    batch.n_out = n_out;
    c->worn.run[0] = 0;
    hyb_worn_begin(&c->worn, f, 1);
    hyb_stage_begin(f, stage, &batch, f->n_stages > 1 ? &f->stages[0].a : NULL);
    for (; layer < c->model->hp.n_layer; layer++) hyb_forward_layer(f, &batch, layer);
    memset(&out, 0, sizeof out);
    return hyb_forward_end(f, &batch, &out, error);
}

static hybrid_result hyb_warmup(hybrid_context *c, hybrid_progress_fn progress, void *user, hybrid_error *error)
{
    static const int32_t rows[] = { 1, 2, 16, 32, 64, INT32_MAX }; /* back ends change kernels somewhere between */
    const hybrid_trace_fn trace = c->forward.trace;
    hyb_stage *stage = &c->forward.stages[c->forward.n_stages - 1];
    hybrid_error why;
    hybrid_result r = HYBRID_OK;
    size_t i;
    c->forward.trace = NULL; /* a rehearsal has no values to show */
    stage->be->ops->rehearse(stage->be, true);
    for (i = 0; i < 2 * HYB_COUNT(rows) && !r; i++) {
        const int32_t n = HYB_MIN(rows[i / 2], c->desc.n_batch);
        if (!hyb_report(progress, user, (float)i / (float)(2 * HYB_COUNT(rows))))
            r = hyb_fail(error, HYBRID_ERROR_CANCELLED, "the warm-up was cancelled");
        else if ((r = hyb_warmup_pass(c, n, i % 2 ? HYB_MIN(n, c->desc.n_logits) : 1, &why)) != HYBRID_OK && error)
            *error = why;
    }
    stage->be->ops->rehearse(stage->be, false);
    c->forward.trace = trace;
    if (r == HYBRID_ERROR_DEVICE) hyb_context_fall_back(c, &why, NULL);
    if (!r) hyb_report(progress, user, 1);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_warmup,
           (hybrid_context * c, hybrid_progress_fn progress, void *user, hybrid_error *error),
           (c, progress, user, error))
{
    hybrid_result r;
    if (!c) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_warmup: context is NULL");
    if ((r = hyb_check_idle(c, error)) != HYBRID_OK || !c->forward.n_stages) return r;
    if (c->forward.stages[c->forward.n_stages - 1].device->ops->is_host) return HYBRID_OK;
    c->in_use = hyb_process();
    r = hyb_warmup(c, progress, user, error);
    c->in_use = 0;
    return r;
}

/* Runs a unit. If a GPU fails in it, the context falls back to the CPU, and the batch begins anew. */
static hybrid_result hyb_decode_unit_any(hybrid_context *c, uint64_t until, hybrid_error *error)
{
    hybrid_error why;
    hybrid_result r = hyb_decode_unit(c, until, &why);
    if (r == HYBRID_ERROR_DEVICE && (r = hyb_context_fall_back(c, &why, &why)) == HYBRID_OK) hyb_decode_rewind(c);
    if (r && error) *error = why;
    return r;
}

/* On failure the batch stays queued, and the sequences are as they were. */
static hybrid_result hyb_decode_slice(hybrid_context *c, uint64_t budget_us, hybrid_error *error)
{
    const uint64_t now = budget_us == UINT64_MAX ? 0 : hyb_now_us(),
                   until = budget_us < UINT64_MAX - now ? now + budget_us : UINT64_MAX;
    hybrid_result r;
    int i;
    if (!c->forward.n_stages && (r = hyb_context_again(c, error)) != HYBRID_OK) return r;
    if (!c->progress.running && (r = hyb_decode_begin(c, error)) != HYBRID_OK) return r;
    for (i = 0; i < c->forward.n_stages; i++)
        if (c->forward.stages[i].device->ops->is_host) hyb_cpu_of(c->forward.stages[i].be)->pace.began = false;
    do {
        if ((r = hyb_decode_unit_any(c, until, error)) != HYBRID_OK) {
            memset(c->logits_n, 0, (size_t)c->desc.n_seq * sizeof *c->logits_n);
            hyb_batch_stop(c);
            return r;
        }
    } while (c->progress.running && !c->progress.again &&
             (until == UINT64_MAX || c->forward.pass == HYB_PASS_RECORD || hyb_now_us() < until));
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_decode_step,
           (hybrid_context * context, uint64_t budget_us, bool *done, hybrid_error *error),
           (context, budget_us, done, error))
{
    hybrid_result r;
    if (done) *done = false;
    if (!context || !done)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_decode_step: %s is NULL", context ? "done" : "context");
    if ((r = hyb_check_free(context, error)) != HYBRID_OK) return r;
    context->in_use = hyb_process();
    r = hyb_decode_slice(context, budget_us, error);
    context->in_use = 0;
    *done = !r && !context->progress.running;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_decode, (hybrid_context * context, hybrid_error *error), (context, error))
{
    bool done;
    return hybrid_decode_step(context, UINT64_MAX, &done, error);
}

/* Row of sequence seq's i-th logits, or -1. */
static int32_t hyb_logits_row(const hybrid_context *context, int32_t seq, int32_t i)
{
    if (!context || hyb_check_seq(context, seq, NULL) || hyb_busy(context->in_use) || context->progress.running ||
        i < 0 || i >= context->logits_n[seq])
        return -1;
    return context->logits_row[seq] + i;
}

/* Fetches what was left on the GPU. */
static bool hyb_logits_fetch(hybrid_context *c)
{
    hyb_stage *stage = c->forward.at;
    const size_t v = (size_t)c->model->hp.n_vocab, here = (size_t)c->n_logits_here;
    stage->be->ops->read(stage->be, c->logits + here * v, stage->a.logits,
                         ((size_t)c->n_logits_made - here) * v * sizeof *c->logits);
    if (stage->be->ops->sync(stage->be, NULL)) return false;
    c->n_logits_here = c->n_logits_made;
    return true;
}

HYB_BORDER(const float *, hybrid_logits_at, (hybrid_context * context, int32_t seq, int32_t i), (context, seq, i))
{
    const int32_t row = hyb_logits_row(context, seq, i);
    if (row < 0 || (row >= context->n_logits_here && !hyb_logits_fetch(context))) return NULL;
    return context->logits + (size_t)row * (size_t)context->model->hp.n_vocab;
}

HYB_BORDER(const float *, hybrid_logits, (hybrid_context * context, int32_t seq), (context, seq))
{
    if (!context || hyb_check_seq(context, seq, NULL) || !context->logits_n[seq]) return NULL;
    return hybrid_logits_at(context, seq, context->logits_n[seq] - 1);
}

/* ---- sequences ---- */

HYBRID_API int32_t hybrid_seq_length(const hybrid_context *context, int32_t seq)
{
    return context && !hyb_check_seq(context, seq, NULL) ? context->state.seqs[seq].length : -1;
}

HYB_BORDER(hybrid_result, hybrid_seq_remove, (hybrid_context * context, int32_t seq, int32_t from, hybrid_error *error),
           (context, seq, from, error))
{
    hyb_seq *s;
    hybrid_result r;
    if (!context) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_remove: context is NULL");
    if ((r = hyb_check_free(context, error)) != HYBRID_OK || (r = hyb_check_seq(context, seq, error)) != HYBRID_OK)
        return r;
    if ((r = hyb_check_idle(context, error)) != HYBRID_OK) return r;
    s = &context->state.seqs[seq];
    if (from < 0 || from > s->length)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "sequence %d has %d tokens: nothing begins at %d", seq, s->length,
                        from);
    if (hyb_seq_cut_at(&context->state, s, from) != from)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "sequence %d cannot be cut at %d: this model carries a state from token to token, which only "
                        "goes forward; it can be cut at %d (hybrid_seq_back says where), or fork it in time",
                        seq, from, hyb_seq_cut_at(&context->state, s, from));
    hyb_seq_cut(&context->state, s, from);
    return HYBRID_OK;
}

HYBRID_API int32_t hybrid_seq_back(const hybrid_context *context, int32_t seq, int32_t from)
{
    if (!context || hyb_check_seq(context, seq, NULL) || from < 0) return -1;
    return hyb_seq_cut_at(&context->state, &context->state.seqs[seq], from);
}

HYB_BORDER(hybrid_result, hybrid_seq_fork, (hybrid_context * context, int32_t from, int32_t to, hybrid_error *error),
           (context, from, to, error))
{
    hybrid_result r;
    if (!context) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_fork: context is NULL");
    if ((r = hyb_check_free(context, error)) != HYBRID_OK) return r;
    if ((r = hyb_check_seq(context, from, error)) != HYBRID_OK ||
        (r = hyb_check_seq(context, to, error)) != HYBRID_OK || (r = hyb_check_idle(context, error)) != HYBRID_OK)
        return r;
    if (from == to) return HYBRID_OK;
    if (hyb_entry_of(context, to))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "sequence %d has tokens in the batch: decode or clear it before it becomes a copy", to);
    hyb_seq_share(&context->state, &context->state.seqs[from], &context->state.seqs[to]);
    context->worn.seq[to] = context->worn.seq[from];
    return HYBRID_OK;
}

HYBRID_API int32_t hybrid_context_room(const hybrid_context *context)
{
    return context ? context->state.pages.n_free * HYB_PAGE : 0;
}

/* ---- where the time went ---- */

HYB_BORDER(size_t, hybrid_context_profile, (const hybrid_context *context, char *text, size_t size),
           (context, text, size))
{
#if defined(HYBRID_PROFILE)
    hyb_profile_text t;
    int i;
    t.text = text;
    t.size = text ? size : 0;
    t.length = 0;
    for (i = 0; context && i < context->forward.n_stages; i++) hyb_profile_print(&t, context->forward.stages[i].be);
    if (t.size) t.text[HYB_MIN(t.length, t.size - 1)] = 0;
    return t.length;
#else
    static const char none[] = "no profile: the implementation was compiled without HYBRID_PROFILE\n";
    const size_t n = text && size ? HYB_MIN(size, sizeof none) - 1 : 0;
    HYB_UNUSED(context);
    if (n) memcpy(text, none, n);
    if (text && size) text[n] = 0;
    return sizeof none - 1;
#endif
}

HYB_BORDER_VOID(hybrid_context_profile_reset, (hybrid_context * context), (context))
{
#if defined(HYBRID_PROFILE)
    int i;
    for (i = 0; context && i < context->forward.n_stages; i++)
        memset(context->forward.stages[i].be->profile, 0, sizeof context->forward.stages[i].be->profile);
#else
    HYB_UNUSED(context);
#endif
}
#endif
