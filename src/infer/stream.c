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

/* Texts that end an answer. */
typedef struct hyb_stop_texts {
    hybrid_stop_matcher *matcher;
    char *texts; /* one after the other, each with a zero behind */
    size_t size, longest;
} hyb_stop_texts;

enum { HYB_GUESS_MOST = 63, HYB_GUESS_USUAL = 15 };

/* Tokens that may come next, behind the last of the stream's. The first of them are in the batch, and then in the
 * cache; as long as the sampler chooses them, their rows of logits are those of the tokens to come. */
typedef struct hyb_guess {
    hybrid_speculation own, next, mode; /* the descriptor's, that of the next answer, and of this one */
    int32_t most;                       /* 0: none, ever */
    int32_t ids[HYB_GUESS_MOST], n;
    uint8_t kind[HYB_GUESS_MOST];
    float hope[HYB_GUESS_KINDS]; /* how often guesses of a kind were right of late */
    float purse;                 /* decodes that guesses may cost (gain.c) */
    int32_t n_judged;            /* so many have come; -1: one has not, or it is not known what they are worth */
    int32_t n_queued;            /* are in the batch, or were */
    int32_t row;                 /* of the last decode, from which the next token is chosen */
    bool live;                   /* rows are left: nothing was decoded since, */
    int32_t worn;                /* and the sequence has these adapters still */
    hyb_lookup lookup;
    int32_t kept_from, kept_to; /* the last match: place kept_from is the text's kept_to; 0: there was none */
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
    hybrid_stop_matcher *stops;         /* of the last answer: one of the next two */
    hyb_stop_texts own_stops, other_stops; /* the descriptor's; those of an answer that was loaded, or none */
#ifndef HYBRID_NO_GRAMMAR
    hybrid_lexicon *lexicon;          /* made when a grammar is asked for the first time */
    hybrid_matcher *form, *next_form; /* of the last answer, and of the next ones (the same or not); NULL: any text */
    hybrid_matcher *once;             /* of the next answer alone; it comes before next_form */
    hybrid_grammar *form_grammar, *once_grammar; /* those that were made for one answer */
#endif
    hyb_pieces pieces; /* what it knows of the model's marks */
    bool whole, splits; /* answers are not told apart by them; the last one is */
    bool own_sample_forced, sample_forced; /* the model chooses what is forced, too: in all answers, in the last one */
    bool force_again;   /* memory was short when a forced token was looked for */
    char *spare;       /* the splitter's two buffers, spare_size each */
    size_t spare_size;
    char
        *kept; /* what came of the answer but was not thought, since the session took it: as UTF-8, kept_size at most */
    size_t n_kept, kept_size;
    hybrid_utf8_stream kept_utf8;
    hyb_shown
        shown[2 * HYB_PIECE_RUNS + 2]; /* pieces that were made at once; those from shown_at on are still to be given */
    size_t n_shown, shown_at;
    hybrid_piece untold; /* a crowd has made this piece, and nobody has taken it yet: */
    bool is_untold;
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
