/* infer/decode: the pass of a batch through the model, chunk by chunk and layer by layer, in units that a budget can
 * part; what happens when a GPU fails in it; and the logits that it leaves. */
#ifndef HYB_INFER_DECODE_C
#define HYB_INFER_DECODE_C
#include "batch.c"

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
#endif
