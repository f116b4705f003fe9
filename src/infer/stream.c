/* infer/stream: one sequence of a context, the sampler that chooses its tokens, and the text that comes out of them.
 *
 *     begin     ids are what the sequence is to hold; nothing is computed
 *     queue     what the cache does not have of them goes into the batch (streams.c)
 *     harvest   the decode is done: the next token is chosen (streams.c)
 *     absorb    the token becomes text, and goes behind the ids
 *
 * Everything that can fail comes before a token is absorbed, so that a call that failed can be made again. */
#ifndef HYB_INFER_STREAM_C
#define HYB_INFER_STREAM_C
#include "../api/stream.h"
#include "../core/grow.c"
#include "../model/model.c"
#include "../text/pieces.c"
#include "../text/stop.c"
#include "decode.c"
#include "drafter.c"
#include "lookup.c"
#include "sampler.c"
#ifndef HYBRID_NO_GRAMMAR
    #include "../text/grammar/forced.c"
#endif

/* A part of what a call makes, as text of one kind. */
typedef struct hyb_shown {
    size_t at, size; /* in the piece, with a zero behind */
    hybrid_piece_kind kind;
} hyb_shown;

enum { HYB_GUESS_MOST = 63, HYB_GUESS_USUAL = 15 };

/* Tokens that may come next, behind the last of the stream's. The first of them are in the batch, and then in the
 * cache; as long as the sampler chooses them, their rows of logits are those of the tokens to come. */
typedef struct hyb_guess {
    hybrid_speculation own, next, mode; /* the descriptor's, that of the next answer, and of this one */
    int32_t most;                       /* 0: none, ever */
    int32_t ids[HYB_GUESS_MOST], n;
    uint8_t kind[HYB_GUESS_MOST];
    float hope[HYB_GUESS_KINDS]; /* how often guesses of a kind were right of late */
    int32_t n_judged;            /* so many have come; -1: one has not, or it is not known what they are worth */
    int32_t n_queued;            /* are in the batch, or were */
    int32_t row;                 /* of the last decode, from which the next token is chosen */
    bool live;                   /* rows are left: nothing was decoded since, */
    int32_t worn;                /* and the sequence has these adapters still */
    hyb_lookup lookup;
} hyb_guess;

/* Tokens that a smaller model says come next, one after the other (drafting.c). */
typedef struct hyb_drafter {
    hybrid_context *ctx; /* its own; NULL: there is none */
    int32_t seq;         /* of that context, which follows the stream's */
    int32_t at;          /* they come behind so many of the stream's tokens; -1: none are asked for */
    int32_t ids[HYB_GUESS_MOST], n;
    uint8_t kind[HYB_GUESS_MOST];
    bool done;           /* there will be no more of them, */
    bool queued, last;   /* or tokens are in the draft's batch: up to the last one, which the next guess comes from */
    int32_t rest, rests; /* decodes that go without, as it did not pay; and how many the next time */
} hyb_drafter;

struct hybrid_stream {
    hybrid_model *model;
    hybrid_runtime *rt;
    hybrid_context *ctx;
    hybrid_stream *next; /* of the context */
    int32_t seq;
    hybrid_sampler *sampler;            /* of the last answer: one of the next two */
    hybrid_sampler *own, *other, *made; /* the descriptor's; one that came later; and the next of those, or NULL */
    bool other_next;                    /* the next answer takes what came later */
    hybrid_stop_matcher *stops;
#ifndef HYBRID_NO_GRAMMAR
    hybrid_lexicon *lexicon;          /* made when a grammar is asked for the first time */
    hybrid_matcher *form, *next_form; /* of the last answer, and of the next ones (the same or not); NULL: any text */
    hybrid_matcher *once;             /* of the next answer alone; it comes before next_form */
    hybrid_grammar *form_grammar, *once_grammar; /* those that were made for one answer */
#endif
    hyb_pieces pieces; /* what it knows of the model's marks */
    bool splits;       /* the last answer is told apart by them */
    bool sample_forced; /* the model chooses what is forced, too */
    bool force_again;   /* memory was short when a forced token was looked for */
    char *spare;       /* the splitter's two buffers, spare_size each */
    size_t spare_size;
    char
        *kept; /* what came of the answer but was not thought, since the session took it: as UTF-8, kept_size at most */
    size_t n_kept, kept_size;
    hybrid_utf8_stream kept_utf8;
    hyb_shown
        shown[2 * HYB_PIECE_RUNS + 1]; /* pieces that were made at once; those from shown_at on are still to be given */
    size_t n_shown, shown_at;
    hybrid_piece_kind kind; /* of the text that came last */
    hybrid_utf8_stream utf8;
    int32_t *ids;    /* what the sequence is to hold: n_ids, n_max at most, and room for one more */
    float *logprobs; /* of those that were generated, in the same places; NULL: not asked for */
    int32_t n_ids, n_max;
    int32_t n_same;          /* the cache has so many of them, unless it has been cut since */
    int32_t n_queued;        /* so many of them are in the batch */
    bool queued_last, stale; /* the last of them is; the answer that they were queued for was broken off */
    int32_t length_before;   /* of the sequence, before it was queued */
    int32_t chosen;          /* the next token, -1: not yet known */
    float chosen_logprob;
    hybrid_error why;              /* why none was chosen, until it is told */
    int32_t piece_from, piece_end; /* tokens of the piece */
    char *piece;
    size_t piece_size; /* room for all the text that one token and all guesses can complete */
    hyb_guess guess;
    hyb_drafter draft;
    int32_t own_max_tokens, next_max_tokens, max_tokens;
    bool prompt_pending, fresh; /* the prompt is not computed; nor is any of it */
    bool running;
    uint64_t last_used; /* by the clock of the context's streams */
    uint64_t in_use;    /* a call is under way: callbacks may not begin another */
    hybrid_stream_info info;
};

/* ---- one call at a time: callbacks of a call (trace, log, memory, parallel_for) may not begin another ----------- */

/* Streams of one context change each other's sequences: one call at a time for all of them. */
static hybrid_result hyb_stream_enter(hybrid_stream *s, const char *function, hybrid_error *error)
{
    if (hyb_busy(s->in_use) || hyb_busy(s->ctx->streams_in_use) || hyb_busy(s->ctx->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the stream is in use: one of its callbacks called it again",
                        function);
    s->in_use = s->ctx->streams_in_use = hyb_process();
    return HYBRID_OK;
}
static void hyb_stream_leave(hybrid_stream *s) { s->in_use = s->ctx->streams_in_use = 0; }

/* ---- the form of an answer -------------------------------------------------------------------------------------- */

#ifdef HYBRID_NO_GRAMMAR
static void hyb_stream_form_end(hybrid_stream *s) { HYB_UNUSED(s); }
static void hyb_stream_form_begin(hybrid_stream *s) { HYB_UNUSED(s); }
static bool hyb_stream_form_complete(const hybrid_stream *s)
{
    HYB_UNUSED(s);
    return false;
}
static hybrid_result hyb_stream_form_mask(hybrid_stream *s, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
static hybrid_result hyb_stream_form_accept(hybrid_stream *s, int32_t id, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(id);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
static hybrid_result hyb_stream_force(hybrid_stream *s, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
#else
static void hyb_stream_form_end(hybrid_stream *s)
{
    if (s->next_form != s->form) hybrid_matcher_destroy(s->next_form);
    hybrid_matcher_destroy(s->form);
    hybrid_grammar_destroy(s->form_grammar);
    hybrid_lexicon_destroy(s->lexicon);
}

static void hyb_stream_form_begin(hybrid_stream *s)
{
    hybrid_sampler_set_mask(s->sampler, NULL, 0);
    if (s->next_form != s->form) hybrid_matcher_destroy(s->form);
    hybrid_grammar_destroy(s->form_grammar);
    s->form = s->once ? s->once : s->next_form;
    s->form_grammar = s->once_grammar;
    s->once = NULL;
    s->once_grammar = NULL;
    hybrid_matcher_reset(s->form);
}

static bool hyb_stream_form_complete(const hybrid_stream *s) { return s->form && hyb_matcher_complete(s->form); }

/* The sampler chooses among what the form allows. */
static hybrid_result hyb_stream_form_mask(hybrid_stream *s, hybrid_error *error)
{
    const uint32_t *mask = NULL;
    size_t n = 0;
    hybrid_result r = s->form ? hybrid_matcher_mask(s->form, s->lexicon, &mask, &n, error) : HYBRID_OK;
    if (!r) hybrid_sampler_set_mask(s->sampler, mask, n);
    return r;
}

static hybrid_result hyb_stream_form_accept(hybrid_stream *s, int32_t id, hybrid_error *error)
{
    return s->form ? hybrid_matcher_accept_token(s->form, s->lexicon, id, error) : HYBRID_OK;
}

/* Chooses the next token if the form leaves no choice: the model computes it later, with those that follow. */
static hybrid_result hyb_stream_force(hybrid_stream *s, hybrid_error *error)
{
    int32_t id;
    hybrid_result r;
    if (!s->form || s->sample_forced) return HYBRID_OK;
    if ((r = hyb_forced_token(s->form, s->lexicon, hybrid_model_tokenizer(s->model), &id, error)) != HYBRID_OK)
        return r;
    if (id < 0) return HYBRID_OK;
    if ((r = hybrid_matcher_accept_token(s->form, s->lexicon, id, error)) != HYBRID_OK)
        return r == HYBRID_ERROR_MEMORY ? r : HYBRID_OK;
    s->chosen = id;
    s->chosen_logprob = 0;
    return HYBRID_OK;
}

/* A matcher of a grammar, and a lexicon if there is none yet. */
static hybrid_result hyb_stream_form(hybrid_stream *s, const hybrid_grammar *grammar, hybrid_matcher **form,
                                     hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    hybrid_lexicon *lexicon = s->lexicon;
    hybrid_result r = HYBRID_OK;
    if (!lexicon) r = hybrid_lexicon_create(tok, &lexicon, error);
    if (!r) r = hybrid_matcher_create(grammar, form, error);
    if (r && lexicon != s->lexicon)
        hybrid_lexicon_destroy(lexicon);
    else
        s->lexicon = lexicon;
    return r;
}

static hybrid_result hyb_stream_set_grammar(hybrid_stream *s, const hybrid_grammar *grammar, hybrid_error *error)
{
    hybrid_matcher *form = NULL;
    hybrid_result r = grammar ? hyb_stream_form(s, grammar, &form, error) : HYBRID_OK;
    if (r) return r;
    if (s->next_form != s->form) hybrid_matcher_destroy(s->next_form);
    s->next_form = form;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_stream_set_grammar,
           (hybrid_stream * stream, const hybrid_grammar *grammar, hybrid_error *error), (stream, grammar, error))
{
    hybrid_result r;
    if (!stream) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stream_set_grammar: stream is NULL");
    if ((r = hyb_stream_enter(stream, "hybrid_stream_set_grammar", error)) != HYBRID_OK) return r;
    r = hyb_stream_set_grammar(stream, grammar, error);
    hyb_stream_leave(stream);
    return r;
}
#endif

/* ---- creation --------------------------------------------------------------------------------------------------- */

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
    hybrid_stop_matcher_destroy(s->stops);
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

/* The caller's stop texts, and for models without a template the head of the next turn. */
static hybrid_result hyb_stream_stops(hybrid_stream *s, const hybrid_stream_desc *desc, size_t *longest,
                                      hybrid_error *error)
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
    for (i = 0; i < desc->n_stops + extra; i++) *longest = HYB_MAX(*longest, list[i].size);
    r = hybrid_stop_matcher_create(s->rt, list, desc->n_stops + extra, &s->stops, error);
    hyb_free(s->rt, list);
    return r;
}

/* Takes memory for the longest token after the longest beginning of a stop text (bytes), so that none is missing once a
 * token has been chosen. */
static hybrid_result hyb_stream_room(hybrid_stream *s, size_t longest_stop, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const int32_t n_vocab = hybrid_vocab_size(tok);
    hybrid_string safe;
    size_t size = 0;
    hybrid_result r;
    int32_t which, id;
    for (id = 0; id < n_vocab; id++) size = HYB_MAX(size, hybrid_token_bytes(tok, id).size);
    if (!hyb_add_size(size, longest_stop, &size) || size > SIZE_MAX / 16) return hyb_fail_memory(error, size);
    s->spare_size = size + HYB_PIECE_MORE; /* its own bytes, and those held back */
    s->piece_size = 2 * HYBRID_UTF8_ROOM(s->spare_size) + 16 +
                    9 * 2 * HYB_PIECE_RUNS; /* twice of these, unfinished characters, and a zero */
    s->piece_size *= (size_t)s->guess.most + 1;
    s->kept_size = s->piece_size + 1024;
    if (!(s->piece = (char *)hyb_calloc(s->rt, s->piece_size, 1))) return hyb_fail_memory(error, s->piece_size);
    if (!(s->spare = (char *)hyb_calloc(s->rt, s->spare_size, 2))) return hyb_fail_memory(error, 2 * s->spare_size);
    if (!(s->kept = (char *)hyb_calloc(s->rt, s->kept_size, 1))) return hyb_fail_memory(error, s->kept_size);
    if ((r = hybrid_stop_matcher_feed(s->stops, s->piece, size, &safe, &which, error)) != HYBRID_OK)
        return r; /* the matcher's memory has grown, and stays */
    hybrid_stop_matcher_reset(s->stops);
    return HYBRID_OK;
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
    if ((r = hyb_stream_draft_build(s, desc->draft, error)) != HYBRID_OK) return r;
    return g->most ? hyb_lookup_create(&g->lookup, s->rt, s->n_max, error) : HYBRID_OK;
}

static hybrid_result hyb_stream_build(hybrid_stream *s, const hybrid_stream_desc *desc, hybrid_error *error)
{
    size_t longest_stop = 0;
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
    if ((r = hyb_stream_stops(s, desc, &longest_stop, error)) != HYBRID_OK) return r;
    if ((r = hyb_stream_room(s, longest_stop, error)) != HYBRID_OK) return r;
    if (!(s->ids = (int32_t *)hyb_calloc(s->rt, (size_t)s->n_max + 1, sizeof *s->ids)) ||
        (desc->logprobs && !(s->logprobs = (float *)hyb_calloc(s->rt, (size_t)s->n_max + 1, sizeof *s->logprobs))))
        return hyb_fail_memory(error, ((size_t)s->n_max + 1) * sizeof *s->ids);
    s->chosen = -1;
    s->info.seq = s->seq;
    s->info.n_max = s->n_max;
    s->sample_forced = desc->sample_forced;
    if (hybrid_model_template(s->model) && !desc->whole)
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

/* ---- the beginning and the end of an answer --------------------------------------------------------------------- */

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
static void hyb_stream_begin_pieces(hybrid_stream *s, int32_t n_ids, const char *begin)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    char ends[2 * HYB_MARK_LONGEST];
    size_t n = sizeof ends, skip = strlen(begin), size;
    int32_t i;
    s->splits = s->pieces.known != 0;
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
    for (; *begin && s->splits; begin++) {
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
    s->guess.mode = s->guess.next;
    s->guess.n_judged = -1;
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
    hybrid_stop_matcher_reset(s->stops);
    hyb_stream_form_begin(s);
    hyb_stream_begin_pieces(s, n, "");
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

/* ---- from a token to a piece ------------------------------------------------------------------------------------ */

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

/* ---- what a stream tells ---------------------------------------------------------------------------------------- */

HYBRID_API const int32_t *hybrid_stream_ids(const hybrid_stream *stream, size_t *n)
{
    if (n) *n = stream ? (size_t)stream->n_ids : 0;
    return stream ? stream->ids : NULL;
}

static void hyb_stream_describe(const hybrid_stream *s, hybrid_stream_info *info)
{
    *info = s->info;
    info->n_used = s->guess.live ? s->n_same : s->ctx->state.seqs[s->seq].length;
}

HYB_BORDER_VOID(hybrid_stream_describe, (const hybrid_stream *stream, hybrid_stream_info *info), (stream, info))
{
    if (!info) return;
    memset(info, 0, sizeof *info);
    if (stream) hyb_stream_describe(stream, info);
}
#endif
