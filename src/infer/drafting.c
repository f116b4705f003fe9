/* infer/drafting: guesses that a smaller model makes (hybrid_stream_desc.draft), for one stream or for several at once.
 *
 *     stream      a b c d e          what comes behind e is asked for
 *     draft       a b c x y          what its sequence has: x and y were guesses that did not come
 *     1st batch   d e           f    cut to what both have, it decodes the others, and says what is likeliest then
 *     2nd batch   f             g    and again, as long as that seems to pay
 *
 * Nobody keeps account of what the draft has: whatever happened to the stream's tokens, comparing finds it. Nothing
 * here fails: where a draft cannot go on, there are no guesses. */
#ifndef HYB_INFER_DRAFTING_C
#define HYB_INFER_DRAFTING_C
#include "speculate.c"
#include "stream/piece.c"

enum {
    HYB_DRAFT_REST = 64,       /* decodes without, after it did not pay: doubled each time, */
    HYB_DRAFT_REST_MOST = 4096 /* up to so many */
};

/* ---- whether there is something to guess ------------------------------------------------------------------------ */

/* The next decode of the stream is to be of one token, which guesses can follow. */
static bool hyb_stream_drafts_here(const hybrid_stream *s)
{
    const hyb_guess *g = &s->guess;
    if (!s->draft.ctx || !s->running || s->prompt_pending || s->n_queued || s->chosen >= 0) return false;
    if (s->why.result || s->force_again || g->live || !hyb_stream_guesses(s)) return false;
    return hyb_stream_kept(s) == s->n_ids - 1;
}

static hyb_gain_batch hyb_stream_gain(const hybrid_stream *s)
{
    const hybrid_stream *other;
    hyb_gain_batch b = { NULL, NULL, 0, 0, 0, 0 };
    b.times = &s->ctx->row_times;
    b.draft = &s->draft.ctx->row_times;
    b.choice_us = (float)s->ctx->streams_choice_us;
    for (other = s->ctx->streams; other; other = other->next) {
        if (other != s && !other->running) continue;
        b.streams++;
        b.drafting += other->draft.ctx == s->draft.ctx && (other == s || !other->draft.rest);
    }
    b.rows = b.streams;
    return b;
}

static bool hyb_stream_draft_more(const hybrid_stream *s)
{
    const hyb_drafter *d = &s->draft;
    const int32_t room = hyb_stream_guess_room(s);
    const hyb_gain_batch b = hyb_stream_gain(s);
    if (s->guess.mode == HYBRID_SPECULATION_ALWAYS) return d->n < room;
    return hyb_gain_draft(&b, s->guess.hope, d->kind, d->n, hyb_guess_paid(s->guess.purse, room));
}

/* It goes without for a while, and then there is new hope. */
static void hyb_stream_draft_rest(hybrid_stream *s)
{
    hyb_drafter *d = &s->draft;
    float *hope = s->guess.hope;
    d->rests = d->rests ? HYB_MIN(2 * d->rests, (int32_t)HYB_DRAFT_REST_MOST) : (int32_t)HYB_DRAFT_REST;
    d->rest = d->rests;
    hope[HYB_GUESS_DRAFTED] = HYB_MAX(hope[HYB_GUESS_DRAFTED], HYB_GUESS_HOPE_DRAFTED);
}

#ifndef HYBRID_NO_GRAMMAR
/* The form goes ahead by the guesses; returns what is for hyb_matcher_come_back. */
static size_t hyb_stream_draft_ahead(const hybrid_stream *s, hybrid_result *r)
{
    const hyb_drafter *d = &s->draft;
    const size_t heard = hyb_matcher_go_ahead(s->form);
    int32_t i;
    for (i = 0, *r = HYBRID_OK; i < d->n && !*r; i++)
        *r = hybrid_matcher_accept_token(s->form, s->lexicon, d->ids[i], NULL);
    return heard;
}
#endif

/* Tokens that the form of the answer leaves no choice about come behind the guesses without the draft, which goes on
 * behind them. Where they are sampled, it knows better how the model spells them. */
static void hyb_stream_draft_forced(hybrid_stream *s)
{
#ifdef HYBRID_NO_GRAMMAR
    HYB_UNUSED(s);
#else
    hyb_drafter *d = &s->draft;
    const int32_t room = hyb_stream_guess_room(s);
    hybrid_result r;
    size_t heard;
    int32_t id;
    if (!s->form || s->sample_forced) return;
    heard = hyb_stream_draft_ahead(s, &r);
    while (!r && d->n < room) {
        r = hyb_forced_token(s->form, s->lexicon, hybrid_model_tokenizer(s->model), &id, NULL);
        if (r || id < 0 || hybrid_matcher_accept_token(s->form, s->lexicon, id, NULL)) break;
        d->kind[d->n] = HYB_GUESS_FORCED;
        d->ids[d->n++] = id;
    }
    hyb_matcher_come_back(s->form, heard);
#endif
}

/* The stream has come to another token. What the text itself says is guessed without a draft. */
static void hyb_stream_draft_begin(hybrid_stream *s)
{
    hyb_drafter *d = &s->draft;
    const int32_t room = hyb_stream_guess_room(s);
    d->at = s->n_ids;
    d->n = 0;
    d->done = true;
    if (!room || hyb_stream_guess_text(s, room)) return;
    if (d->rest > 0 && s->guess.mode == HYBRID_SPECULATION_AUTO) {
        d->rest--;
        return;
    }
    d->done = !hyb_stream_draft_more(s);
    if (d->done && hyb_row_known(&s->ctx->row_times)) hyb_stream_draft_rest(s);
}

/* Whether the draft has to do something for the stream before that is decoded. */
static bool hyb_stream_drafts(hybrid_stream *s)
{
    hyb_drafter *d = &s->draft;
    if (!hyb_stream_drafts_here(s)) return false;
    if (d->at != s->n_ids) hyb_stream_draft_begin(s);
    return !d->done;
}

/* ---- into the draft's batch ------------------------------------------------------------------------------------- */

/* Tokens, less than n, that a sequence of the draft begins with as the stream does. */
static int32_t hyb_drafter_common(const hybrid_stream *s, int32_t which, int32_t n)
{
    const hyb_state *state = &s->draft.ctx->state;
    const hyb_seq *seq = &state->seqs[which];
    const int32_t most = HYB_MIN(seq->length, n - 1);
    int32_t i = 0;
    while (i < most && *hyb_seq_id(state, seq, i) == s->ids[i]) i++;
    return i;
}

/* Cuts the draft's sequence to what it has of n tokens of the stream, or makes it a fork of another that has a page
 * more of them. Returns how many it has then. */
static int32_t hyb_stream_draft_keep(hybrid_stream *s, int32_t n)
{
    hyb_state *state = &s->draft.ctx->state;
    hyb_seq *seq = &state->seqs[s->draft.seq];
    int32_t most = hyb_drafter_common(s, s->draft.seq, n), i, from = -1;
    for (i = 0; i < state->n_seq && n - most > HYB_PAGE; i++) {
        const int32_t common = i == s->draft.seq ? 0 : hyb_drafter_common(s, i, n);
        if (common < most + HYB_PAGE) continue;
        most = common;
        from = i;
    }
    if (from >= 0) hyb_seq_share(state, &state->seqs[from], seq);
    hyb_seq_cut(state, seq, most);
    return most;
}

/* Forgets what a draft has of a stream that rests. */
static bool hyb_drafts_make_room(const hybrid_stream *but)
{
    hybrid_context *d = but->draft.ctx;
    const hybrid_stream *s;
    for (s = but->ctx->streams; s; s = s->next) {
        if (s == but || s->running || s->draft.ctx != d || !d->state.seqs[s->draft.seq].n_pages) continue;
        hyb_seq_cut(&d->state, &d->state.seqs[s->draft.seq], 0);
        return true;
    }
    return false;
}

/* Puts what the draft does not have of the stream and of the guesses so far into its batch, `most` at most (0: all).
 * False: there is no room for it. */
static bool hyb_stream_draft_queue(hybrid_stream *s, int32_t most)
{
    hyb_drafter *d = &s->draft;
    hybrid_context *c = d->ctx;
    const int32_t end = s->n_ids + d->n;
    int32_t kept, n;
    if (d->n) memcpy(s->ids + s->n_ids, d->ids, (size_t)d->n * sizeof *d->ids);
    kept = hyb_stream_draft_keep(s, end);
    n = most ? HYB_MIN(most, end - kept) : end - kept;
    if (kept + n > c->desc.n_ctx) return false;
    if (c->model->hp.arch->has & HYB_HAS_POS_EMBD && kept + n > c->model->hp.n_ctx_train) return false;
    while (hyb_batch_pages(c) + hyb_seq_pages_for(c, &c->state.seqs[d->seq], n) > c->state.pages.n_free)
        if (!hyb_drafts_make_room(s)) return false;
    d->last = kept + n == end;
    if (hybrid_batch_add_logits(c, d->seq, s->ids + kept, (size_t)n, d->last, NULL)) return false;
    d->queued = true;
    return true;
}

/* ---- out of it -------------------------------------------------------------------------------------------------- */

/* The likeliest token of those in a mask (NULL: of all), by how much its logit is *ahead of the others'; -1: there is
 * none. */
static int32_t hyb_draft_best(const float *logits, int32_t n, const uint32_t *mask, float *ahead)
{
    float most = -INFINITY, next = -INFINITY;
    int32_t best = -1, i;
    for (i = 0; i < n; i++) {
        if (mask && !(mask[i / 32] >> i % 32 & 1)) continue;
        if (best < 0 || logits[i] > most) {
            next = most;
            most = logits[i];
            best = i;
        } else
            next = HYB_MAX(next, logits[i]);
    }
    *ahead = most - next;
    return best;
}

/* What the form of the answer allows behind the guesses so far: *mask, NULL: anything. The form stays where it is.
 * False: nothing can be guessed. */
static bool hyb_stream_draft_mask(hybrid_stream *s, const uint32_t **mask, int32_t *n)
{
#ifndef HYBRID_NO_GRAMMAR
    hybrid_result r;
    size_t heard, n_words = 0;
    if (s->form) {
        heard = hyb_stream_draft_ahead(s, &r);
        if (!r) r = hybrid_matcher_mask(s->form, s->lexicon, mask, &n_words, NULL);
        hyb_matcher_come_back(s->form, heard);
        *n = (int32_t)HYB_MIN((size_t)*n, 32 * n_words);
        return !r;
    }
#else
    HYB_UNUSED(s);
    HYB_UNUSED(n);
#endif
    *mask = NULL;
    return true;
}

/* A batch of the draft is done: its likeliest token, of those that the form of the answer allows, is the next guess. */
static void hyb_stream_draft_harvest(hybrid_stream *s)
{
    hyb_drafter *d = &s->draft;
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const float *logits = d->last ? hybrid_logits(d->ctx, d->seq) : NULL;
    const uint32_t *mask = NULL;
    int32_t n = d->ctx->forward.n_tokens, best;
    float ahead;
    d->queued = false;
    d->done = true; /* where it does not know the text yet, it guesses nothing */
    if (!logits || !hyb_stream_draft_mask(s, &mask, &n)) return;
    best = hyb_draft_best(logits, n, mask, &ahead);
    if (best < 0 || best >= hybrid_vocab_size(tok) || hybrid_token_is_end(tok, best)) return;
    d->kind[d->n] = (uint8_t)hyb_guess_kind_drafted(ahead);
    d->ids[d->n++] = best;
    hyb_stream_draft_forced(s);
    d->done = !hyb_stream_draft_more(s);
}

/* ---- a decode of the draft -------------------------------------------------------------------------------------- */

static bool hyb_drafts_queued(const hybrid_context *c, const hybrid_context *d)
{
    const hybrid_stream *s = c->streams;
    while (s && !(s->draft.ctx == d && s->draft.queued)) s = s->next;
    return s != NULL;
}

/* Fills the draft's batch with tokens of all streams that want guesses, or of `only` one. `most`: of a text that it
 * does not know, at once. */
static void hyb_drafts_gather(hybrid_context *c, hybrid_context *d, const hybrid_stream *only, int32_t most)
{
    hybrid_stream *s;
    const bool free = !d->n_entries && !hyb_busy(d->in_use);
    d->streams_us = 0;
    for (s = c->streams; s; s = s->next) {
        if ((only && s != only) || s->draft.ctx != d || !hyb_stream_drafts(s)) continue;
        if (!free || !hyb_stream_draft_queue(s, most)) s->draft.done = true;
    }
    d->streams_rows = d->n_ids == d->n_entries ? d->n_ids : 0;
}

/* Goes on with the draft's batch, for some microseconds. */
static void hyb_drafts_decode(hybrid_context *c, hybrid_context *d, uint64_t budget_us)
{
    const uint64_t since = hyb_now_us();
    hybrid_stream *s;
    bool done;
    const hybrid_result r = hybrid_decode_step(d, budget_us, &done, NULL);
    d->streams_us += hyb_now_us() - since;
    if (!r && !done) return;
    if (r)
        hyb_batch_give_up(d);
    else
        hyb_row_measure(&d->row_times, d->streams_rows, d->streams_us);
    for (s = c->streams; s; s = s->next) {
        if (s->draft.ctx != d || !s->draft.queued) continue;
        s->info.generate_us += d->streams_us;
        if (!r) hyb_stream_draft_harvest(s);
        if (!r) continue;
        s->draft.queued = false;
        s->draft.done = true;
        hyb_stream_draft_rest(s);
    }
}

/* Works on guesses for the streams of a context whose batch is empty; `only`: for that one alone. False: all that there
 * are to be are there. */
static bool hyb_drafts_step(hybrid_context *c, hybrid_stream *only, int32_t most, uint64_t budget_us)
{
    hybrid_context *d = NULL;
    hybrid_stream *s;
    for (s = c->streams; s && !d; s = s->next)
        if ((!only || s == only) && hyb_stream_drafts(s)) d = s->draft.ctx;
    if (!d) return false;
    if (!hyb_drafts_queued(c, d)) hyb_drafts_gather(c, d, only, most);
    if (hyb_drafts_queued(c, d)) hyb_drafts_decode(c, d, budget_us);
    return true;
}
#endif
