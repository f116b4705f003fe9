/* infer/stream/piece: from a token to a piece of text. */
#ifndef HYB_INFER_STREAM_PIECE_C
#define HYB_INFER_STREAM_PIECE_C
#include "answer.c"

/* Bytes become characters of one kind behind the `at` bytes of the piece; NULL: an unfinished one ends. */
static void hyb_stream_add(hybrid_stream *s, hybrid_piece_kind kind, const char *bytes, size_t n, size_t *at)
{
    hyb_shown *run = s->n_shown ? &s->shown[s->n_shown - 1] : NULL;
    const bool fresh = !run || (run->kind != kind && s->n_shown < HYB_COUNT(s->shown));
    char *to = s->piece + *at + (run && fresh);
    const size_t made = bytes ? hybrid_utf8_feed(&s->utf8, bytes, n, to) : hybrid_utf8_flush(&s->utf8, to);
    if (!made) return;
    if (fresh) {
        run = &s->shown[s->n_shown++];
        run->at = (size_t)(to - s->piece);
        run->size = 0;
        run->kind = kind;
    }
    run->size += made;
    *at = run->at + run->size;
}

/* What the splitter made. A mark cuts an unfinished character off. */
static void hyb_stream_runs(hybrid_stream *s, size_t *at)
{
    hyb_pieces *p = &s->pieces;
    const char *bytes = p->out;
    size_t i;
    for (i = 0; i < p->n_runs; bytes += p->runs[i++].size) {
        if (p->runs[i].kind != s->kind) hyb_stream_add(s, s->kind, NULL, 0, at);
        s->kind = p->runs[i].kind;
        hyb_stream_add(s, s->kind, bytes, p->runs[i].size, at);
    }
    if (HYBRID_UTF8_ROOM(p->n_kept) <= s->kept_size - s->n_kept)
        s->n_kept += hybrid_utf8_feed(&s->kept_utf8, p->kept, p->n_kept, s->kept + s->n_kept);
    hyb_pieces_take(p);
}

/* Bytes that may be shown become characters, after the `at` bytes of the piece, which has room for them. control: the
 * name of a control token, which may be a mark. */
static void hyb_stream_show(hybrid_stream *s, hybrid_string bytes, bool control, size_t *at)
{
    if (s->splits) {
        hyb_pieces_feed(&s->pieces, bytes.data, bytes.size, control);
        hyb_stream_runs(s, at);
    } else if (!control)
        *at += hybrid_utf8_feed(&s->utf8, bytes.data, bytes.size, s->piece + *at);
}

/* A control token is no text, but may be a mark: what was held back as the beginning of a stop text was none then. */
static void hyb_stream_control(hybrid_stream *s, hybrid_string name, size_t *at)
{
    if (!s->splits || !name.size) return;
    if (s->pieces.begins[(unsigned char)*name.data]) {
        hyb_stream_show(s, hybrid_stop_matcher_flush(s->stops), false, at);
        hybrid_stop_matcher_reset(s->stops);
    }
    hyb_stream_show(s, name, true, at);
}

/* The answer is over: what was held back is shown, unless a stop text ended it. */
static void hyb_stream_end(hybrid_stream *s, hybrid_stop_reason stop, size_t *at)
{
    if (stop != HYBRID_STOP_TEXT) hyb_stream_show(s, hybrid_stop_matcher_flush(s->stops), false, at);
    if (s->splits) {
        hyb_pieces_end(&s->pieces);
        hyb_stream_runs(s, at);
        if (s->kept_size - s->n_kept > 9) s->n_kept += hybrid_utf8_flush(&s->kept_utf8, s->kept + s->n_kept);
        hyb_stream_add(s, s->kind, NULL, 0, at);
    } else
        *at += hybrid_utf8_flush(&s->utf8, s->piece + *at);
    hyb_stream_guess_drop(s);
    s->info.stop = stop;
    s->running = false;
}

/* Adds the token after the others if the answer goes on; else returns why it ends. It stands there for the piece in any
 * case. */
static hybrid_stop_reason hyb_stream_append(hybrid_stream *s, int32_t id, float logprob)
{
    s->ids[s->n_ids] = id;
    if (s->logprobs) s->logprobs[s->n_ids] = logprob;
    s->piece_end = s->n_ids + 1;
    if (s->n_ids == s->n_max) return HYBRID_STOP_CONTEXT;
    s->n_ids++; /* on a limit it is decoded with the next prompt */
    return s->max_tokens && s->info.n_generated >= s->max_tokens ? HYBRID_STOP_LIMIT : HYBRID_STOP_NONE;
}

/* What was guessed of the token that is taken, whether it went into the batch or not, was right or wrong. */
static void hyb_stream_judge(hybrid_stream *s, int32_t id)
{
    hyb_guess *g = &s->guess;
    const int32_t i = g->n_judged;
    g->purse += HYB_PURSE_TOKEN;
    if (i < 0 || i >= g->n) return;
    hyb_guess_learn(&g->hope[g->kind[i]], g->ids[i] == id);
    if (g->kind[i] >= HYB_GUESS_DRAFT) hyb_guess_learn(&g->hope[HYB_GUESS_DRAFTED], g->ids[i] == id);
    g->n_judged = g->ids[i] == id ? i + 1 : -1;
}

/* The chosen token becomes text; *at counts the bytes of the piece. Cannot fail. */
static void hyb_stream_absorb(hybrid_stream *s, size_t *at)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const int32_t id = s->chosen;
    const hybrid_token_type kind = hybrid_token_kind(tok, id);
    hybrid_string bytes = { NULL, 0 };
    hybrid_stop_reason stop;
    hybrid_error why;
    int32_t which = -1;
    s->chosen = -1;
    hyb_stream_judge(s, id);
    if (hybrid_token_is_end(tok, id)) {
        hyb_stream_end(s, HYBRID_STOP_END, at);
        return;
    }
    hybrid_sampler_accept(s->sampler, id);
    s->info.n_generated++;
    bytes = hybrid_token_bytes(tok, id);
    if (kind == HYBRID_TOKEN_CONTROL || kind == HYBRID_TOKEN_UNKNOWN)
        hyb_stream_control(s, bytes, at);
    else {
        hybrid_stop_matcher_feed(s->stops, bytes.data, bytes.size, &bytes, &which,
                                 NULL); /* cannot fail: hyb_stream_room took its memory */
        hyb_stream_show(s, bytes, false, at);
    }
    stop = hyb_stream_append(s, id, s->chosen_logprob);
    if (which >= 0) {
        if (stop != HYBRID_STOP_CONTEXT) s->n_ids--; /* it is not a part of the answer */
        stop = HYBRID_STOP_TEXT;
    } else if (!stop && hyb_stream_form_complete(s))
        stop = HYBRID_STOP_END; /* nothing can follow: the token is decoded with the next prompt */
    if (stop) {
        hyb_stream_end(s, stop, at);
        return;
    }
    if (s->guess.live) s->n_same = s->n_ids; /* it was guessed: the cache has it */
    if (hyb_stream_force(s, &why) != HYBRID_OK) {
        s->why = why;
        s->force_again = true;
    } else if (s->chosen >= 0)
        hyb_stream_guess_check(s);
}

/* Whether there are pieces that were made with the last one, and are of another kind. */
static bool hyb_stream_waits(const hybrid_stream *s) { return s->shown_at < s->n_shown; }

/* The piece of the last call: at bytes of text, or the first of what waits. */
static void hyb_stream_piece(hybrid_stream *s, size_t at, hybrid_piece *piece)
{
    memset(piece, 0, sizeof *piece);
    piece->text = s->piece;
    piece->size = at;
    if (hyb_stream_waits(s)) {
        const hyb_shown *run = &s->shown[s->shown_at++];
        piece->text = s->piece + run->at;
        piece->size = run->size;
        piece->kind = run->kind;
        if (!hyb_stream_waits(s)) s->n_shown = s->shown_at = 0;
    }
    s->piece[(size_t)(piece->text - s->piece) + piece->size] = 0;
    piece->stop = s->running || hyb_stream_waits(s) ? HYBRID_STOP_NONE : s->info.stop;
    if (!piece->size && s->running) return; /* tokens wait for their text */
    piece->ids = s->ids + s->piece_from;
    piece->logprobs = s->logprobs ? s->logprobs + s->piece_from : NULL;
    piece->n_ids = (size_t)(s->piece_end - s->piece_from);
    s->piece_from = s->piece_end;
}
#endif
