/* infer/speculate: guesses of a stream's next tokens, which go into the batch behind its last one, and what becomes of
 * them.
 *
 *     ids        ... a b c | d e f        c is queued, and so are the guesses d e f: four rows of logits
 *     choices            d e x            from row 0 d, as guessed, from row 1 e, from row 2 x: row 3 is of no use
 *     ids        ... a b c d e            f goes out of the cache, x is the token that is chosen
 *
 * The sampler is asked row by row, each time with the tokens before it accepted: as if each had been decoded alone. A
 * guess that does not fit is not made: it never takes what other streams may need, and nothing waits for it. What is
 * guessed is what the text itself says, or else what a draft has said (drafting.c). */
#ifndef HYB_INFER_SPECULATE_C
#define HYB_INFER_SPECULATE_C
#include "stream/piece.c"

enum { HYB_GUESS_FORM = 96 /* bytes that a grammar is asked for */ };

/* Whether the next token can be chosen from a row that a guess has left. */
static bool hyb_stream_has_row(hybrid_stream *s)
{
    hyb_guess *g = &s->guess;
    if (g->live && s->ctx->worn.seq[s->seq] != g->worn) hyb_stream_guess_drop(s); /* it wears other adapters now */
    return g->live && s->running && s->chosen < 0 && !s->why.result;
}

/* Before the batch is filled for another decode: rows that are left will be lost. */
static void hyb_streams_drop_rows(hybrid_context *c)
{
    hybrid_stream *s;
    for (s = c->streams; s; s = s->next) hyb_stream_guess_drop(s);
}

/* A decode is done that had n_queued guesses. */
static void hyb_stream_guess_begin(hybrid_stream *s)
{
    hyb_guess *g = &s->guess;
    g->row = 0;
    g->live = g->n_queued > 0;
    g->worn = s->ctx->worn.seq[s->seq];
    s->n_same = s->ctx->state.seqs[s->seq].length - g->n_queued;
}

/* ---- what may come next ----------------------------------------------------------------------------------------- */

/* The tokens of what the form of the answer leaves no choice about, behind the stream's; returns how many. */
static int32_t hyb_stream_guess_form(hybrid_stream *s, int32_t most)
{
#ifdef HYBRID_NO_GRAMMAR
    HYB_UNUSED(s);
    HYB_UNUSED(most);
    return 0;
#else
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    char text[HYB_GUESS_FORM];
    int32_t ids[HYB_GUESS_FORM + 8];
    size_t size, n = 0;
    if (!s->form || most <= 0 || (size = hybrid_matcher_forced(s->form, text, sizeof text)) == 0) return 0;
    if (hybrid_tokenize(tok, text, size, 0, ids, HYB_COUNT(ids), &n, NULL)) return 0;
    n = HYB_MIN(n, (size_t)most);
    if (n) memcpy(s->ids + s->n_ids, ids, n * sizeof *ids);
    return (int32_t)n;
#endif
}

/* Where the n tokens that there are went on before: the kind of a guess from there, and its place *at; -1: nowhere. */
static int hyb_stream_guess_place(hybrid_stream *s, int32_t n, int32_t *at)
{
    hyb_guess *g = &s->guess;
    const int32_t match = hyb_lookup_find(&g->lookup, s->ids, n, at);
    if (match) {
        g->kept_from = *at;
        g->kept_to = n - 1;
        return hyb_guess_kind(match);
    }
    if (!g->kept_to || g->kept_to >= n - 1 || n - 1 - g->kept_to > HYB_LOOKUP_LOST) return -1;
    *at = hyb_lookup_near(s->ids, n, g->kept_from, g->kept_to);
    return *at < 0 ? -1 : (int)HYB_GUESS_NEAR;
}

/* Fills s->guess with at most `most` tokens. */
static void hyb_stream_guess_find(hybrid_stream *s, int32_t most)
{
    hyb_guess *g = &s->guess;
    int32_t n = hyb_stream_guess_form(s, most), at = 0;
    int kind;
    memset(g->kind, HYB_GUESS_FORCED, sizeof g->kind);
    hyb_lookup_add(&g->lookup, s->ids, s->n_ids);
    kind = n < most ? hyb_stream_guess_place(s, s->n_ids + n, &at) : -1;
    if (kind >= 0) {
        hyb_lookup_copy(s->ids, s->n_ids + n, at, most - n);
        memset(g->kind + n, hyb_guess_kind_later(kind), (size_t)(most - n));
        g->kind[n] = (uint8_t)kind;
        n = most;
    }
    g->n = n;
    g->n_judged = 0;
    if (n) memcpy(g->ids, s->ids + s->n_ids, (size_t)n * sizeof *g->ids);
}

/* ---- how many of them there is room for ------------------------------------------------------------------------- */

/* What the other streams may still want to put into this batch. */
typedef struct hyb_streams_need {
    int32_t rows, tokens, pages;
} hyb_streams_need;

static hyb_streams_need hyb_streams_wanted(const hybrid_context *c, const hybrid_stream *but)
{
    const hybrid_stream *s;
    hyb_streams_need w = { 0, 0, 0 };
    for (s = c->streams; s; s = s->next) {
        const hyb_seq *seq = &c->state.seqs[s->seq];
        const int32_t n = HYB_MAX(s->n_ids - HYB_MIN(s->n_same, seq->length), 1);
        if (s == but || !s->running || s->n_queued) continue;
        w.rows++;
        w.tokens += n;
        w.pages += hyb_seq_pages_for(c, seq, n) + 1;
    }
    return w;
}

/* Guesses that fit behind the last token of a stream. */
static int32_t hyb_stream_guess_room(const hybrid_stream *s)
{
    const hybrid_context *c = s->ctx;
    const hyb_seq *seq = &c->state.seqs[s->seq];
    const hyb_streams_need w = hyb_streams_wanted(c, s);
    const int32_t n_free = c->state.pages.n_free - hyb_batch_pages(c) - w.pages;
    int32_t n = HYB_MIN(s->guess.most, s->n_max - s->n_ids);
    if (s->max_tokens) n = HYB_MIN(n, s->max_tokens - s->info.n_generated - 1);
    if (c->model->hp.arch->has & HYB_HAS_POS_EMBD) n = HYB_MIN(n, c->model->hp.n_ctx_train - s->n_ids);
    n = HYB_MIN(n, c->desc.n_logits - c->n_rows_queued - w.rows - 1);
    n = HYB_MIN(n, c->desc.n_ctx - c->n_ids - w.tokens - 1);
    while (n > 0 && hyb_seq_pages_for(c, seq, 1 + n) > n_free) n--;
    return HYB_MAX(n, 0);
}

/* A GPU's logits depend on how many rows are computed together, and a clock is not to decide about bits. Who traces
 * wants to see what is computed, not what may be. */
static bool hyb_guess_by_clock(const hybrid_context *c)
{
    int i;
    for (i = 0; i < c->forward.n_stages; i++)
        if (!c->forward.stages[i].device->ops->is_host) return false;
    return !c->desc.trace;
}

/* How many of the guesses that there are pay. */
static int32_t hyb_stream_guess_best(const hybrid_stream *s)
{
    const hybrid_context *c = s->ctx;
    const hyb_guess *g = &s->guess;
    if (g->mode != HYBRID_SPECULATION_AUTO) return g->n;
    return hyb_gain_best(&c->row_times, g->hope, g->kind, hyb_guess_paid(g->purse, g->n), c->n_ids + 1,
                         c->n_entries + 1, (float)c->streams_choice_us);
}

/* Guesses of what the text itself says; returns how many of them are worth a row. */
static int32_t hyb_stream_guess_text(hybrid_stream *s, int32_t room)
{
    hyb_stream_guess_find(s, room);
    return hyb_stream_guess_best(s);
}

/* Those that the draft has made, instead. */
static int32_t hyb_stream_guess_drafted(hybrid_stream *s, int32_t room)
{
    hyb_guess *g = &s->guess;
    const hyb_drafter *d = &s->draft;
    int32_t n, i;
    if (!d->ctx || d->at != s->n_ids || !d->n) return 0;
    g->n = HYB_MIN(d->n, room);
    g->n_judged = 0;
    memcpy(g->ids, d->ids, (size_t)g->n * sizeof *g->ids);
    memcpy(g->kind, d->kind, (size_t)g->n);
    memcpy(s->ids + s->n_ids, d->ids, (size_t)g->n * sizeof *g->ids);
    n = hyb_stream_guess_best(s);
    for (i = 0; i < n; i++) s->info.n_drafted += d->kind[i] >= HYB_GUESS_DRAFT;
    return n;
}

/* Whether guesses are made at all. */
static bool hyb_stream_guesses(const hybrid_stream *s)
{
    const hyb_guess *g = &s->guess;
    if (!g->most || g->mode <= HYBRID_SPECULATION_OFF) return false;
    return g->mode != HYBRID_SPECULATION_AUTO || hyb_guess_by_clock(s->ctx);
}

/* The tokens of the stream, `last` of which is the only one that the cache does not have: guesses go behind it.
 * Returns how many are to be queued. */
static int32_t hyb_stream_guess(hybrid_stream *s)
{
    hyb_guess *g = &s->guess;
    int32_t room;
    g->n = g->n_queued = 0;
    if (!hyb_stream_guesses(s) || (room = hyb_stream_guess_room(s)) == 0) return 0;
    g->n_queued = hyb_stream_guess_text(s, room);
    if (!g->n_queued) g->n_queued = hyb_stream_guess_drafted(s, room);
    s->info.n_guessed += g->n_queued;
    g->purse -= hyb_guess_price(g->n_queued);
    return g->n_queued;
}
#endif
