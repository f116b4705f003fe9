/* infer/streams: the streams of one context take turns in its batch: which tokens of whom go in, and what becomes of a
 * decode that is done.
 *
 *     stream 0   a b c d e f g h          ids; what the cache has of them: a b c
 *     stream 1   a b c d e x y            the cache has nothing of it
 *
 * Stream 1 takes a b c from stream 0 by a fork, where that saves HYB_FORK_TOKENS or more. Both would compute d e: where
 * that is as much, stream 1 waits until stream 0 has it, which stops there.
 *
 * Between two calls the batch is empty, or a decode of it is under way. */
#ifndef HYB_INFER_STREAMS_C
#define HYB_INFER_STREAMS_C
#include "drafting.c"
#include "next.c"
#include "speculate.c"
#include "stream/piece.c"

enum {
    HYB_FORK_TOKENS = HYB_PAGE,
    HYB_STREAM_PORTION = 64 /* tokens of a prompt that is computed in slices */
};

/* ---- beginnings in common --------------------------------------------------------------------------------------- */

/* Tokens that a sequence begins with as the ids of a stream do, and that were read with what the stream wears. */
static int32_t hyb_seq_common(const hybrid_context *c, const hyb_seq *seq, const hybrid_stream *s)
{
    const int32_t most = HYB_MIN(seq->length, s->n_ids - 1), set = c->worn.seq[s->seq];
    int32_t i = 0;
    while (i < most && *hyb_seq_id(&c->state, seq, i) == s->ids[i] && c->state.sets[hyb_seq_place(seq, i)] == set) i++;
    return hyb_seq_cut_at(&c->state, seq, i);
}

/* The sequence that has more of a stream's tokens than `kept`, by as many as a fork is worth; NULL: none. Returns how
 * many it has. */
static int32_t hyb_stream_source(const hybrid_stream *s, int32_t kept, const hyb_seq **from)
{
    const hybrid_context *c = s->ctx;
    int32_t most = kept + HYB_FORK_TOKENS, i;
    for (*from = NULL, i = 0; i < c->desc.n_seq && s->n_ids - 1 >= most; i++) {
        const hyb_seq *seq = &c->state.seqs[i];
        const int32_t n = i == s->seq || seq->length < most ? 0 : hyb_seq_common(c, seq, s);
        if (n < most || (*from && n == most)) continue;
        most = n;
        *from = seq;
    }
    return *from ? most : kept;
}

/* Takes them by a fork. Returns how many there are then. */
static int32_t hyb_stream_fork(hybrid_stream *s, int32_t kept)
{
    hyb_state *state = &s->ctx->state;
    const hyb_seq *from;
    const int32_t most = hyb_stream_source(s, kept, &from);
    if (!from) return kept;
    hyb_seq_share(state, from, &state->seqs[s->seq]);
    hyb_seq_cut(state, &state->seqs[s->seq], most);
    return most;
}

/* Ids that two streams begin with. */
static int32_t hyb_streams_common(const hybrid_stream *a, const hybrid_stream *b)
{
    const int32_t most = HYB_MIN(a->n_ids, b->n_ids);
    int32_t i = 0;
    while (i < most && a->ids[i] == b->ids[i]) i++;
    return i;
}

/* ---- into the batch --------------------------------------------------------------------------------------------- */

/* Forgets what the cache has of the stream that has rested longest, as that can be computed again. */
static bool hyb_streams_make_room(hybrid_context *c, const hybrid_stream *but)
{
    hybrid_stream *s, *oldest = NULL;
    for (s = c->streams; s; s = s->next)
        if (s != but && !s->running && !s->n_queued && c->state.seqs[s->seq].n_pages &&
            (!oldest || s->last_used < oldest->last_used))
            oldest = s;
    if (!oldest) return false;
    hyb_seq_cut(&c->state, &c->state.seqs[oldest->seq], 0);
    return true;
}

/* Puts what the cache does not have of a stream's tokens into the batch, `most` at most (0: all). CONTEXT_FULL: other
 * sequences have taken the pages that it needs. */
static hybrid_result hyb_stream_queue(hybrid_stream *s, int32_t most, hybrid_error *error)
{
    hybrid_context *c = s->ctx;
    hyb_seq *seq = &c->state.seqs[s->seq];
    int32_t kept, n;
    hybrid_result r;
    hyb_streams_drop_rows(c);
    kept = hyb_stream_kept(s);
    hyb_seq_cut(&c->state, seq, kept);
    if (s->prompt_pending) kept = hyb_stream_fork(s, kept);
    if (s->fresh) s->info.n_cached = kept;
    n = s->n_ids - kept;
    if (most && n > most) n = most;
    while (hyb_batch_pages(c) + hyb_seq_pages_for(c, seq, n) > c->state.pages.n_free)
        if (!hyb_streams_make_room(c, s))
            return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                            "%d more tokens of sequence %d do not fit beside the others: end some of them, or raise "
                            "n_ctx, which is %d for all",
                            n, s->seq, c->desc.n_ctx);
    s->queued_last = kept + n == s->n_ids;
    s->guess.n_queued = 0;
    if (n == 1 && !s->prompt_pending) n += hyb_stream_guess(s);
    r = hybrid_batch_add_logits(c, s->seq, s->ids + kept, (size_t)n, s->queued_last + s->guess.n_queued, error);
    if (r) return r;
    s->n_queued = n;
    s->stale = false;
    s->length_before = kept;
    s->last_used = ++c->streams_clock;
    return HYBRID_OK;
}

/* ---- out of it -------------------------------------------------------------------------------------------------- */

/* ln of the probability of a token, of those that the model has. */
static float hyb_logprob(const float *logits, int32_t n, int32_t id)
{
    float most = logits[0];
    double sum = 0;
    int32_t i;
    for (i = 1; i < n; i++) most = HYB_MAX(most, logits[i]);
    for (i = 0; i < n; i++) {
        const double z = (double)logits[i] - (double)most;
        if (z > -700) sum += hyb_exp_negative(z);
    }
    return (float)((double)logits[id] - (double)most - log(sum));
}

/* The next token, from a row of the logits of the last decode. */
static hybrid_result hyb_stream_choose(hybrid_stream *s, hybrid_error *error)
{
    const uint64_t tries = s->sampler->tries;
    hybrid_result r = hyb_stream_form_mask(s, error);
    const int32_t id = r ? (int32_t)r : hyb_sample_next_at(s->sampler, s->ctx, s->seq, s->guess.row, error);
    const float *logits;
    if (id < 0) return (hybrid_result)id;
    if ((r = hyb_stream_form_accept(s, id, error)) != HYBRID_OK) {
        s->sampler->tries = tries; /* the same token is drawn again */
        return r;
    }
    logits = s->logprobs ? hybrid_logits_at(s->ctx, s->seq, s->guess.row) : NULL;
    s->chosen_logprob = logits ? hyb_logprob(logits, s->ctx->forward.n_tokens, id) : 0;
    s->chosen = id;
    hyb_stream_guess_check(s);
    return HYBRID_OK;
}

/* The same from a row that a guess has left. If there is none, the last token is decoded again for the next call. */
static void hyb_stream_choose_more(hybrid_stream *s)
{
    if (hyb_stream_choose(s, &s->why) != HYBRID_OK) hyb_stream_guess_drop(s);
}

/* The chosen token becomes text, and so do those after it whose rows are there, as long as there is time and the text
 * is of one kind. */
static void hyb_stream_absorb_all(hybrid_stream *s, uint64_t until, size_t *at)
{
    for (;;) {
        hyb_stream_absorb(s, at);
        if (s->n_shown > 1 || !hyb_stream_has_row(s)) return;
        if (until != UINT64_MAX && hyb_now_us() + s->ctx->streams_choice_us > until) return;
        hyb_stream_choose_more(s);
        if (s->chosen < 0) return;
    }
}

/* A decode with tokens of this stream is done. If there is no next token, they are queued again later: what they left
 * in the cache is as bad as their logits. */
static void hyb_stream_harvest(hybrid_stream *s, uint64_t us)
{
    hybrid_context *c = s->ctx;
    const bool stale = s->stale;
    s->n_queued = 0;
    s->stale = false;
    if (stale) return;
    if (s->prompt_pending)
        s->info.prompt_us += us;
    else
        s->info.generate_us += us;
    hyb_stream_guess_begin(s);
    if (s->queued_last && hyb_stream_choose(s, &s->why) != HYBRID_OK) {
        hyb_seq *seq = &c->state.seqs[s->seq];
        s->guess.live = false;
        s->n_same = hyb_seq_cut_at(&c->state, seq, s->length_before);
        hyb_seq_cut(&c->state, seq, s->n_same);
        return;
    }
    s->fresh = false;
    s->prompt_pending = s->prompt_pending && !s->queued_last;
}

/* The batch is not to be touched: a decode is under way, or not all have their next token of it. */
static bool hyb_streams_busy(const hybrid_context *c) { return c->progress.running || c->streams_due; }

/* The streams of a decode that is done choose their tokens, as long as there is time: at least one of them, if nothing
 * else was done in this slice. */
static void hyb_streams_harvest(hybrid_context *c, uint64_t until, bool any)
{
    hybrid_stream *s;
    for (s = c->streams; s; s = s->next) {
        const uint64_t since = hyb_now_us();
        if (!s->n_queued) continue;
        if (any && until != UINT64_MAX && since + c->streams_choice_us > until) return;
        hyb_stream_harvest(s, c->streams_us);
        c->streams_choice_us = (3 * c->streams_choice_us + (hyb_now_us() - since)) / 4;
        any = true;
    }
    c->streams_due = false;
    c->streams_us = 0;
}

/* Rows of a batch that is all single tokens and guesses; 0: it is not. */
static int32_t hyb_streams_rows(const hybrid_context *c)
{
    const hybrid_stream *s;
    for (s = c->streams; s; s = s->next)
        if (s->n_queued && (s->prompt_pending || s->n_queued > 1 + s->guess.n_queued)) return 0;
    return c->n_ids;
}

/* Works on the batch for some microseconds. When it fails, nothing is queued any more. */
static hybrid_result hyb_streams_decode(hybrid_context *c, uint64_t budget_us, hybrid_error *error)
{
    const uint64_t since = hyb_now_us(), until = budget_us < UINT64_MAX - since ? since + budget_us : UINT64_MAX;
    const bool due = c->streams_due;
    hybrid_stream *s;
    bool done = due;
    hybrid_result r;
    if (!due && !c->progress.running) c->streams_rows = hyb_streams_rows(c);
    r = due ? HYBRID_OK : hybrid_decode_step(c, budget_us, &done, error);
    c->streams_us += hyb_now_us() - since;
    c->streams_due = !r && done;
    if (c->streams_due && !due) hyb_row_measure(&c->row_times, c->streams_rows, c->streams_us);
    if (c->streams_due) hyb_streams_harvest(c, until, !due);
    if (!r) return HYBRID_OK;
    hyb_batch_give_up(c);
    for (s = c->streams; s; s = s->next) s->n_queued = 0;
    c->streams_us = 0;
    return r;
}

/* ---- one stream alone ------------------------------------------------------------------------------------------- */

/* Tokens that are computed together when there is a budget: what is done with them is kept when an answer is broken
 * off in the middle of its prompt. */
static int32_t hyb_stream_portion(const hybrid_stream *s, uint64_t budget_us)
{
    return budget_us == UINT64_MAX ? 0 : HYB_MIN(s->ctx->desc.n_batch, HYB_STREAM_PORTION);
}

/* Until there are bytes of text (*at), the answer ends, or the time is over. */
static hybrid_result hyb_stream_work(hybrid_stream *s, uint64_t budget_us, size_t *at, hybrid_error *error)
{
    const uint64_t since = budget_us == UINT64_MAX ? 0 : hyb_now_us(),
                   until = budget_us < UINT64_MAX - since ? since + budget_us : UINT64_MAX;
    uint64_t used = 0;
    hybrid_result r;
    while (s->running && !*at) {
        if (hyb_stream_has_row(s)) hyb_stream_choose_more(s);
        if (s->why.result) {
            r = hyb_kept(&s->why, error);
            s->why.result = HYBRID_OK;
            return r;
        }
        if (s->force_again) {
            if ((r = hyb_stream_force(s, error)) != HYBRID_OK) return r;
            if (s->chosen >= 0) hyb_stream_guess_check(s);
            s->force_again = false;
        }
        if (s->chosen >= 0) {
            hyb_stream_absorb_all(s, until, at);
            continue;
        }
        if (used && used >= budget_us) break;
        if (!hyb_streams_busy(s->ctx) && hyb_drafts_step(s->ctx, s, hyb_stream_portion(s, budget_us),
                                                         budget_us == UINT64_MAX ? budget_us : budget_us - used)) {
            if (budget_us != UINT64_MAX) used = HYB_MAX(hyb_now_us() - since, 1);
            continue;
        }
        r = hyb_streams_busy(s->ctx) ? HYBRID_OK : hyb_stream_queue(s, hyb_stream_portion(s, budget_us), error);
        if (r == HYBRID_ERROR_CONTEXT_FULL && !s->prompt_pending) {
            hyb_stream_end(s, HYBRID_STOP_CONTEXT, at);
            continue;
        }
        if (r) return r;
        r = hyb_streams_decode(s->ctx, budget_us == UINT64_MAX ? budget_us : budget_us - used, error);
        if (r) return r;
        if (budget_us != UINT64_MAX) used = HYB_MAX(hyb_now_us() - since, 1);
    }
    return HYBRID_OK;
}

/* A piece of the answer, if there is one. */
static hybrid_result hyb_stream_step(hybrid_stream *s, uint64_t budget_us, hybrid_piece *piece, hybrid_error *error)
{
    size_t at = 0;
    const hybrid_result r = hyb_stream_waits(s) ? HYBRID_OK : hyb_stream_work(s, budget_us, &at, error);
    hyb_stream_piece(s, at, piece);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_stream_step,
           (hybrid_stream * stream, uint64_t budget_us, hybrid_piece *piece, hybrid_error *error),
           (stream, budget_us, piece, error))
{
    hybrid_result r;
    if (piece) {
        memset(piece, 0, sizeof *piece);
        piece->text = "";
    }
    if (!stream || !piece)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stream_step: %s is NULL", stream ? "piece" : "stream");
    if ((r = hyb_stream_enter(stream, "hybrid_stream_step", error)) != HYBRID_OK) return r;
    r = hyb_stream_step(stream, budget_us, piece, error);
    hyb_stream_leave(stream);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_stream_next, (hybrid_stream * stream, hybrid_piece *piece, hybrid_error *error),
           (stream, piece, error))
{
    return hybrid_stream_step(stream, UINT64_MAX, piece, error);
}
#endif
