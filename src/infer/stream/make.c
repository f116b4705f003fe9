/* infer/stream/make: how a stream is made, and taken apart. */
#ifndef HYB_INFER_STREAM_MAKE_C
#define HYB_INFER_STREAM_MAKE_C
#include "form.c"

/* The rows that are left of a decode are lost, and the cache has none of the guesses. */
static void hyb_stream_guess_drop(hybrid_stream *s)
{
    hyb_state *state = &s->ctx->state;
    hyb_seq *seq = &state->seqs[s->seq];
    if (!s->guess.live) return;
    s->guess.live = false;
    s->n_same = hyb_seq_cut_at(state, seq, s->n_same);
    hyb_seq_cut(state, seq, s->n_same);
}

/* A token was chosen from the row: is it the guess that the next row is of? */
static void hyb_stream_guess_check(hybrid_stream *s)
{
    hyb_guess *g = &s->guess;
    if (!g->live) return;
    if (g->row < g->n_queued && s->chosen == g->ids[g->row]) {
        s->info.n_right++;
        g->purse += 1;
        s->info.n_drafted_right += g->kind[g->row] >= HYB_GUESS_DRAFT;
        g->row++;
    } else
        hyb_stream_guess_drop(s);
}

/* Nothing of the stream is in the batch afterwards, or it does not count. */
static void hyb_stream_unqueue(hybrid_stream *s)
{
    hybrid_context *c = s->ctx;
    if (!s->n_queued) return;
    if (c->n_entries == 1 && c->entries[0].seq == s->seq) {
        hyb_batch_give_up(c);
        s->n_queued = 0;
    } else
        s->stale = true;
}

/* No guesses of the draft are asked for, and nothing of the stream is in its batch: others queue theirs again. */
static void hyb_stream_draft_drop(hybrid_stream *s)
{
    hybrid_stream *other;
    s->draft.at = -1;
    if (!s->draft.queued) return;
    hyb_batch_give_up(s->draft.ctx);
    for (other = s->ctx->streams; other; other = other->next)
        if (other->draft.ctx == s->draft.ctx) other->draft.queued = false;
}

/* The draft is free for others, when it was the last of its streams. The stream is not among those of the context. */
static void hyb_stream_draft_leave(hybrid_stream *s)
{
    hybrid_context *d = s->draft.ctx;
    const hybrid_stream *other = s->ctx->streams;
    if (!d) return;
    while (other && other->draft.ctx != d) other = other->next;
    if (!other) d->draft_of = NULL;
    hyb_seq_cut(&d->state, &d->state.seqs[s->draft.seq], 0);
}

/* A sequence of the draft for the stream. */
static hybrid_result hyb_stream_draft_build(hybrid_stream *s, hybrid_context *d, hybrid_error *error)
{
    const hybrid_stream *other;
    hybrid_result r;
    int32_t seq;
    s->draft.at = -1;
    if (!d || !s->guess.most) return HYBRID_OK;
    if ((r = hyb_drafter_check(s->ctx, d, error)) != HYBRID_OK) return r;
    for (seq = 0; seq < d->desc.n_seq; seq++) {
        for (other = s->ctx->streams; other; other = other->next)
            if (other->draft.ctx == d && other->draft.seq == seq) break;
        if (!other) break;
    }
    if (seq == d->desc.n_seq)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "all %d sequences of the draft guess for other streams: raise its n_seq", seq);
    s->draft.ctx = d;
    s->draft.seq = seq;
    d->draft_of = s->ctx;
    return HYBRID_OK;
}

static void hyb_stop_texts_free(hyb_stop_texts *t, hybrid_runtime *rt)
{
    hybrid_stop_matcher_destroy(t->matcher);
    hyb_free(rt, t->texts);
    memset(t, 0, sizeof *t);
}

static void hyb_stream_free(hybrid_stream *s)
{
    hybrid_runtime *rt = s->rt;
    hybrid_stream **at = &s->ctx->streams;
    hyb_stream_unqueue(s);
    hyb_stream_draft_drop(s);
    while (*at && *at != s) at = &(*at)->next;
    if (*at) {
        *at = s->next;
        if (s->stale) { /* the others' tokens are queued again */
            hyb_batch_give_up(s->ctx);
            s->ctx->streams_due = false;
            for (at = &s->ctx->streams; *at; at = &(*at)->next) (*at)->n_queued = 0;
        }
        hyb_seq_cut(&s->ctx->state, &s->ctx->state.seqs[s->seq], 0);
    }
    hyb_stream_draft_leave(s);
    hybrid_sampler_destroy(s->own);
    hybrid_sampler_destroy(s->other);
    hybrid_sampler_destroy(s->made);
    hyb_stop_texts_free(&s->own_stops, rt);
    hyb_stop_texts_free(&s->other_stops, rt);
    hyb_stream_form_end(s);
    hyb_lookup_free(&s->guess.lookup, rt);
    hyb_free(rt, s->ids);
    hyb_free(rt, s->logprobs);
    hyb_free(rt, s->piece);
    hyb_free(rt, s->spare);
    hyb_free(rt, s->kept);
    hyb_free(rt, s);
}

HYB_BORDER_VOID(hybrid_stream_destroy, (hybrid_stream * stream), (stream))
{
    hybrid_context *c;
    hybrid_error error;
    if (!stream) return;
    c = stream->ctx;
    if (hyb_stream_enter(stream, "hybrid_stream_destroy", &error)) {
        hyb_log(stream->rt, HYBRID_LOG_ERROR, "%s; it was not destroyed", error.message);
        return;
    }
    hyb_stream_free(stream);
    c->streams_in_use = 0;
}

/* Makes a matcher of texts, and keeps these. */
static hybrid_result hyb_stop_texts_make(hyb_stop_texts *t, hybrid_runtime *rt, const hybrid_string *list, size_t n,
                                         hybrid_error *error)
{
    hybrid_result r = hybrid_stop_matcher_create(rt, list, n, &t->matcher, error);
    char *to;
    size_t i;
    if (r) return r;
    for (i = 0; i < n; i++) {
        t->longest = HYB_MAX(t->longest, list[i].size);
        if (!hyb_add_size(t->size, list[i].size + 1, &t->size)) return hyb_fail_memory(error, SIZE_MAX);
    }
    if (!(t->texts = to = (char *)hyb_alloc(rt, t->size + 1))) return hyb_fail_memory(error, t->size + 1);
    for (i = 0; i < n; to += list[i++].size + 1) {
        memcpy(to, list[i].data, list[i].size);
        to[list[i].size] = 0;
    }
    return HYBRID_OK;
}

/* The caller's stop texts, and for models without a template the head of the next turn. */
static hybrid_result hyb_stream_stops(hybrid_stream *s, const hybrid_stream_desc *desc, hybrid_error *error)
{
    static const char turn[] = "\nUser:";
    const size_t extra = hybrid_model_template(s->model) == NULL;
    hybrid_string *list = (hybrid_string *)hyb_calloc(s->rt, desc->n_stops + extra, sizeof *list);
    hybrid_result r;
    size_t i;
    if (!list) return hyb_fail_memory(error, (desc->n_stops + extra) * sizeof *list);
    for (i = 0; i < desc->n_stops; i++) {
        list[i].data = desc->stops[i];
        list[i].size = desc->stops[i] ? strlen(desc->stops[i]) : 0;
    }
    if (extra) {
        list[i].data = turn;
        list[i].size = sizeof turn - 1;
    }
    r = hyb_stop_texts_make(&s->own_stops, s->rt, list, desc->n_stops + extra, error);
    s->stops = s->own_stops.matcher;
    hyb_free(s->rt, list);
    return r;
}

static size_t hyb_stream_longest_token(const hybrid_stream *s)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const int32_t n_vocab = hybrid_vocab_size(tok);
    size_t size = 0;
    int32_t id;
    for (id = 0; id < n_vocab; id++) size = HYB_MAX(size, hybrid_token_bytes(tok, id).size);
    return size;
}

/* The three buffers of pieces, whose sizes are set; the piece that is there stays. On failure they are as they were. */
static hybrid_result hyb_stream_buffers(hybrid_stream *s, size_t spare, size_t piece, size_t kept, hybrid_error *error)
{
    char *to[3];
    to[0] = (char *)hyb_calloc(s->rt, piece, 1);
    to[1] = (char *)hyb_calloc(s->rt, spare, 2);
    to[2] = (char *)hyb_calloc(s->rt, kept, 1);
    if (!to[0] || !to[1] || !to[2]) {
        hyb_free(s->rt, to[0]);
        hyb_free(s->rt, to[1]);
        hyb_free(s->rt, to[2]);
        return hyb_fail_memory(error, piece + 2 * spare + kept);
    }
    if (s->piece) memcpy(to[0], s->piece, s->piece_size);
    if (s->is_untold) s->untold.text = to[0] + (s->untold.text - s->piece);
    hyb_free(s->rt, s->piece);
    hyb_free(s->rt, s->spare);
    hyb_free(s->rt, s->kept);
    s->piece = to[0];
    s->pieces.out = s->spare = to[1];
    s->pieces.kept = s->spare + spare;
    s->kept = to[2];
    s->spare_size = spare;
    s->piece_size = piece;
    s->kept_size = kept;
    return HYBRID_OK;
}

/* Takes memory for the longest token after `held` bytes that were held back, so that none is missing once a token has
 * been chosen; what is there already is not taken again. stops: a new matcher, which takes its own; or NULL. */
static hybrid_result hyb_stream_room(hybrid_stream *s, hybrid_stop_matcher *stops, size_t held, hybrid_error *error)
{
    hybrid_string safe;
    size_t size = hyb_stream_longest_token(s), spare, piece;
    hybrid_result r = HYBRID_OK;
    int32_t which;
    if (!hyb_add_size(size, held, &size) || size > SIZE_MAX / 16 / (HYB_GUESS_MOST + 1))
        return hyb_fail_memory(error, size);
    spare = size + HYB_PIECE_MORE; /* its own bytes, and those held back */
    piece = 2 * HYBRID_UTF8_ROOM(spare) + 16 + 9 * 2 * HYB_PIECE_RUNS; /* twice of these, unfinished characters, and a
                                                                        * zero */
    piece *= (size_t)s->guess.most + 1;
    if (spare > s->spare_size) r = hyb_stream_buffers(s, spare, piece, piece + 1024, error);
    if (r || !stops) return r;
    r = hybrid_stop_matcher_feed(stops, s->piece, size, &safe, &which, error);
    if (!r) hybrid_stop_matcher_reset(stops); /* its memory has grown, and stays */
    return r;
}

static hybrid_stream *hyb_stream_of(const hybrid_context *c, int32_t seq)
{
    hybrid_stream *s = c->streams;
    while (s && s->seq != seq) s = s->next;
    return s;
}

static hybrid_result hyb_stream_seq(hybrid_stream *s, int32_t seq, hybrid_error *error)
{
    hybrid_context *c = s->ctx;
    hybrid_result r;
    for (s->seq = HYB_MAX(seq, 0); seq < 0 && s->seq < c->desc.n_seq && hyb_stream_of(c, s->seq); s->seq++) {}
    if (s->seq == c->desc.n_seq && seq < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "all %d sequences of the context belong to streams: raise n_seq, or destroy one of them",
                        c->desc.n_seq);
    if ((r = hyb_check_seq(c, s->seq, error)) != HYBRID_OK) return r;
    if (hyb_stream_of(c, s->seq))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "sequence %d belongs to another stream", s->seq);
    return HYBRID_OK;
}

/* What a descriptor says of guesses. */
static hybrid_result hyb_guess_check(hybrid_speculation mode, int32_t n_guess, hybrid_error *error)
{
    if (n_guess < 0 || n_guess > HYB_GUESS_MOST)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "n_guess is %d, must be 0 to %d", n_guess, (int)HYB_GUESS_MOST);
    if ((int)mode < 0 || mode > HYBRID_SPECULATION_ALWAYS)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "speculation is %d, which is none of hybrid_speculation",
                        (int)mode);
    return HYBRID_OK;
}

/* Who gives a draft wants it to be used. */
static hybrid_speculation hyb_guess_mode(hybrid_speculation mode, const hybrid_context *draft)
{
    return draft && mode == HYBRID_SPECULATION_DEFAULT ? HYBRID_SPECULATION_AUTO : mode;
}

static int32_t hyb_guess_most(hybrid_speculation mode, int32_t n_guess)
{
    if (mode <= HYBRID_SPECULATION_OFF) return 0;
    return n_guess ? n_guess : (int32_t)HYB_GUESS_USUAL;
}

static hybrid_result hyb_stream_guess_build(hybrid_stream *s, const hybrid_stream_desc *desc, hybrid_error *error)
{
    hyb_guess *g = &s->guess;
    hybrid_result r = hyb_guess_check(desc->speculation, desc->n_guess, error);
    if (r) return r;
    g->own = g->next = g->mode = hyb_guess_mode(desc->speculation, desc->draft);
    g->most = hyb_guess_most(g->mode, desc->n_guess);
    g->n_judged = -1;
    hyb_guess_hopes(g->hope);
    g->purse = HYB_PURSE_FIRST;
    if ((r = hyb_stream_draft_build(s, desc->draft, error)) != HYBRID_OK) return r;
    return g->most ? hyb_lookup_create(&g->lookup, s->rt, s->n_max, error) : HYBRID_OK;
}

static hybrid_result hyb_stream_build(hybrid_stream *s, const hybrid_stream_desc *desc, hybrid_error *error)
{
    hybrid_result r;
    if (desc->max_tokens < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "max_tokens is %d, must not be negative", desc->max_tokens);
    if (desc->max_positions < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "max_positions is %d, must not be negative", desc->max_positions);
    if (desc->n_stops && !desc->stops)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "n_stops is %llu, but stops is NULL",
                        (unsigned long long)desc->n_stops);
    if (s->ctx->draft_of)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the context is the draft of another one's streams, and can have none itself");
    if ((r = hyb_stream_seq(s, desc->seq, error)) != HYBRID_OK) return r;
    s->n_max = s->ctx->desc.n_ctx;
    if (desc->max_positions) s->n_max = HYB_MIN(s->n_max, desc->max_positions);
    s->own_max_tokens = s->next_max_tokens = desc->max_tokens;
    if ((r = hyb_stream_guess_build(s, desc, error)) != HYBRID_OK) return r;
    if ((r = hybrid_sampler_create(s->rt, &desc->sampler, &s->own, error)) != HYBRID_OK) return r;
    s->sampler = s->own;
    if ((r = hyb_stream_stops(s, desc, error)) != HYBRID_OK) return r;
    if ((r = hyb_stream_room(s, s->stops, s->own_stops.longest, error)) != HYBRID_OK) return r;
    if (!(s->ids = (int32_t *)hyb_calloc(s->rt, (size_t)s->n_max + 1, sizeof *s->ids)) ||
        (desc->logprobs && !(s->logprobs = (float *)hyb_calloc(s->rt, (size_t)s->n_max + 1, sizeof *s->logprobs))))
        return hyb_fail_memory(error, ((size_t)s->n_max + 1) * sizeof *s->ids);
    s->chosen = -1;
    s->info.seq = s->seq;
    s->info.n_max = s->n_max;
    s->own_sample_forced = s->sample_forced = desc->sample_forced;
    s->whole = desc->whole;
    if (hybrid_model_template(s->model))
        hyb_pieces_open(&s->pieces, hybrid_model_template(s->model)->source, hybrid_model_template(s->model)->n_source);
    s->pieces.out = s->spare;
    s->pieces.kept = s->spare + s->spare_size;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_stream_create,
           (hybrid_context * context, const hybrid_stream_desc *desc, hybrid_stream **stream, hybrid_error *error),
           (context, desc, stream, error))
{
    hybrid_stream_desc zero;
    hybrid_stream *s;
    hybrid_result r;
    if (stream) *stream = NULL;
    if (!context || !stream)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stream_create: %s is NULL",
                        context ? "stream" : "context");
    if (hyb_busy(context->streams_in_use) || hyb_busy(context->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_stream_create: the context is in use: one of its callbacks called it again");
    memset(&zero, 0, sizeof zero);
    if (!(s = (hybrid_stream *)hyb_calloc(context->rt, 1, sizeof *s))) return hyb_fail_memory(error, sizeof *s);
    s->ctx = context;
    s->model = context->model;
    s->rt = context->rt;
    context->streams_in_use = hyb_process();
    r = hyb_stream_build(s, desc ? desc : &zero, error);
    if (r)
        hyb_stream_free(s);
    else {
        s->next = context->streams;
        context->streams = s;
        *stream = s;
    }
    context->streams_in_use = 0;
    return r;
}
#endif
