/* infer/stream/answer: an answer begins and ends. */
#ifndef HYB_INFER_STREAM_ANSWER_C
#define HYB_INFER_STREAM_ANSWER_C
#include "make.c"

static hybrid_result hyb_stream_check(const hybrid_stream *s, const int32_t *ids, size_t n, hybrid_error *error)
{
    size_t i;
    if (!n)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "there are no tokens to begin with (an empty prompt? give it at least the BOS token)");
    if (!ids) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stream_begin: ids is NULL");
    for (i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= s->model->hp.n_vocab)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "token %llu of the prompt is %d, but the model's tokens are 0..%d", (unsigned long long)i,
                            ids[i], s->model->hp.n_vocab - 1);
    if (n < (size_t)s->n_max) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                    "the prompt has %llu tokens, but the context has only %d: shorten it, or raise n_ctx",
                    (unsigned long long)n, s->n_max);
}

/* The token at `at` of the cache, and those before it, are those of the ids: as many as can be kept. One token at least
 * must run, for its logits. */
static int32_t hyb_stream_kept(const hybrid_stream *s)
{
    const hyb_state *state = &s->ctx->state;
    const hyb_seq *seq = &state->seqs[s->seq];
    const int32_t same = HYB_MIN(HYB_MIN(s->n_same, seq->length), s->n_ids - 1);
    return hyb_seq_cut_at(state, seq, HYB_MAX(same, 0));
}

static void hyb_stream_begin_sampler(hybrid_stream *s)
{
    if (s->made) {
        hybrid_sampler_destroy(s->other);
        s->other = s->made;
        s->made = NULL;
    }
    s->sampler = s->other_next ? s->other : s->own;
}

/* What the answer begins with is read off the end of the prompt, n ids. begin: text at its very end that begins the
 * answer. An answer with a form is nothing but an answer, but when the form begins in its middle. */
static void hyb_stream_begin_pieces(hybrid_stream *s, int32_t n_ids, const char *begin, size_t n_begin)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    char ends[2 * HYB_MARK_LONGEST];
    size_t n = sizeof ends, skip = n_begin, size;
    int32_t i;
    s->splits = s->pieces.known && !s->whole;
#ifndef HYBRID_NO_GRAMMAR
    s->splits = s->splits && (!s->form || s->form->grammar->trigger.size);
#endif
    s->n_shown = s->shown_at = s->n_kept = 0;
    memset(&s->kept_utf8, 0, sizeof s->kept_utf8);
    for (i = n_ids - 1; i >= 0; i--) {
        const hybrid_string bytes = hybrid_token_bytes(tok, s->ids[i]);
        size = bytes.size - HYB_MIN(skip, bytes.size);
        skip -= bytes.size - size;
        if (size > n) break;
        if (size) memcpy(ends + (n -= size), bytes.data, size);
    }
    hyb_pieces_begin(&s->pieces, ends + n, sizeof ends - n);
    for (; n_begin && s->splits; n_begin--, begin++) {
        hyb_pieces_feed(&s->pieces, begin, 1, false);
        hyb_pieces_take(&s->pieces);
    }
    s->kind = s->pieces.kind;
}

/* ids: checked. Cannot fail. */
static void hyb_stream_begin(hybrid_stream *s, const int32_t *ids, int32_t n)
{
    int32_t same = 0, i;
    hyb_stream_unqueue(s);
    hyb_stream_guess_drop(s);
    hyb_stream_draft_drop(s);
    while (same < s->n_ids && same < n && s->ids[same] == ids[same]) same++;
    hyb_lookup_cut(&s->guess.lookup, s->ids, same);
    if (s->guess.kept_to >= same) s->guess.kept_to = 0;
    s->guess.mode = s->guess.next;
    s->guess.n_judged = -1;
    s->guess.purse = HYB_MIN(HYB_MAX(s->guess.purse, 0), HYB_PURSE_FIRST);
    memmove(s->ids + same, ids + same, (size_t)(n - same) * sizeof *ids);
    hyb_stream_begin_sampler(s);
    for (i = s->sampler->position ? same : 0; i < n; i++) hybrid_sampler_accept(s->sampler, ids[i]);
    s->max_tokens = s->next_max_tokens;
    s->n_ids = n;
    s->n_same = HYB_MIN(s->n_same, same);
    s->n_same = hyb_stream_kept(s);
    if (!s->stale) hyb_seq_cut(&s->ctx->state, &s->ctx->state.seqs[s->seq], s->n_same);
    s->chosen = -1;
    s->why.result = HYBRID_OK;
    s->force_again = false;
    memset(&s->utf8, 0, sizeof s->utf8);
    s->stops = s->own_stops.matcher;
    hyb_stop_texts_free(&s->other_stops, s->rt);
    hybrid_stop_matcher_reset(s->stops);
    s->sample_forced = s->own_sample_forced;
    hyb_stream_form_begin(s);
    hyb_stream_begin_pieces(s, n, NULL, 0);
    s->running = s->prompt_pending = s->fresh = true;
    s->piece_from = s->piece_end = n;
    s->info.stop = HYBRID_STOP_NONE;
    s->info.n_prompt = n;
    s->info.n_cached = s->n_same;
    s->info.n_generated = s->info.n_guessed = s->info.n_right = s->info.n_drafted = s->info.n_drafted_right = 0;
    s->info.prompt_us = s->info.generate_us = 0;
}

HYB_BORDER(hybrid_result, hybrid_stream_begin,
           (hybrid_stream * stream, const int32_t *ids, size_t n, hybrid_error *error), (stream, ids, n, error))
{
    hybrid_result r;
    if (!stream) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stream_begin: stream is NULL");
    if ((r = hyb_stream_enter(stream, "hybrid_stream_begin", error)) != HYBRID_OK) return r;
    if ((r = hyb_stream_check(stream, ids, n, error)) == HYBRID_OK) hyb_stream_begin(stream, ids, (int32_t)n);
    hyb_stream_leave(stream);
    return r;
}

/* The answer ends here; what was held back of it is never shown. */
static void hyb_stream_stop(hybrid_stream *s)
{
    s->n_shown = s->shown_at = 0;
    if (!s->running) return;
    hyb_stream_unqueue(s);
    hyb_stream_guess_drop(s);
    hyb_stream_draft_drop(s);
    s->chosen = -1;
    s->why.result = HYBRID_OK;
    s->running = false;
    s->info.stop = HYBRID_STOP_BROKEN;
}

HYB_BORDER_VOID(hybrid_stream_stop, (hybrid_stream * stream), (stream))
{
    hybrid_error error;
    if (!stream) return;
    if (hyb_stream_enter(stream, "hybrid_stream_stop", &error)) {
        hyb_log(stream->rt, HYBRID_LOG_ERROR, "%s; nothing was stopped", error.message);
        return;
    }
    hyb_stream_stop(stream);
    hyb_stream_leave(stream);
}

/* Back to the beginning; grammars and settings stay. */
static void hyb_stream_reset(hybrid_stream *s)
{
    hyb_stream_stop(s);
    hyb_stream_unqueue(s);
    if (!s->stale) hyb_seq_cut(&s->ctx->state, &s->ctx->state.seqs[s->seq], 0);
    hybrid_sampler_reset(s->own);
    hyb_lookup_reset(&s->guess.lookup);
    s->guess.kept_to = 0;
    s->n_ids = s->n_same = 0;
    s->prompt_pending = false;
    s->info.stop = HYBRID_STOP_NONE;
}

/* made: the sampler of the next answers, the stream's from now on; NULL: that of the descriptor. Cannot fail. */
static void hyb_stream_take_sampler(hybrid_stream *s, hybrid_sampler *made, int32_t max_tokens)
{
    hybrid_sampler_destroy(s->made);
    s->made = made;
    s->other_next = made != NULL;
    s->next_max_tokens = max_tokens ? max_tokens : s->own_max_tokens;
}

HYB_BORDER(hybrid_result, hybrid_stream_set_sampler,
           (hybrid_stream * stream, const hybrid_sampler_desc *sampler, int32_t max_tokens, hybrid_error *error),
           (stream, sampler, max_tokens, error))
{
    hybrid_sampler *made = NULL;
    hybrid_result r;
    if (!stream) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stream_set_sampler: stream is NULL");
    if (max_tokens < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "max_tokens is %d, must not be negative", max_tokens);
    if ((r = hyb_stream_enter(stream, "hybrid_stream_set_sampler", error)) != HYBRID_OK) return r;
    if (sampler) r = hybrid_sampler_create(stream->rt, sampler, &made, error);
    if (!r) hyb_stream_take_sampler(stream, made, max_tokens);
    hyb_stream_leave(stream);
    return r;
}
#endif
