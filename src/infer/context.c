/* infer/context: a context: how it is laid out, planned and made, its sequences, and where its time went. */
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
    /* A call is under way: callbacks (trace, progress, log, memory, parallel_for) may not begin another. */
    uint64_t in_use;
    struct hybrid_stream *streams;                         /* those of its sequences (stream.c), and for all of them: */
    uint64_t streams_clock, streams_us, streams_choice_us; /* turns; microseconds of this decode, and of a choice */
    bool streams_due;                                      /* a decode is done, and not all have chosen */
    int32_t streams_rows;                                  /* of the decode; 0: some of them are a prompt's */
    hyb_row_times row_times;
    uint64_t streams_in_use;                               /* a call of one of them is under way */
    hybrid_context *draft_of;        /* it guesses for streams of that one, and has none; NULL: it does not */
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
static hybrid_result hyb_context_narrow(const hybrid_model *m, const hybrid_context_desc *d, hyb_stage *stage,
                                        hybrid_error *error)
{
    const size_t bytes = hyb_narrow_bytes(&m->hp, d);
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
    hybrid_result r = hyb_context_narrow(m, d, stage, error);
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

/* ---- sequences ---- */

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
