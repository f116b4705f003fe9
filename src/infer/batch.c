/* infer/batch: tokens that are queued for the next decode, of one sequence after the other. */
#ifndef HYB_INFER_BATCH_C
#define HYB_INFER_BATCH_C
#include "context.c"

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
#endif
