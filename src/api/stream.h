/* ---- engine: prompts and streams: from messages to token ids, from a sequence to pieces of text ----------------- */
#ifndef HYB_API_STREAM_H
#define HYB_API_STREAM_H
#include "chat.h"
#include "sampler.h"
#ifndef HYBRID_NO_GRAMMAR
    #include "grammar.h"
#endif

/* What hybrid_session is made of, for programs that keep their own conversations, or none:
 *
 *     hybrid_ids ids = { 0 };
 *     hybrid_chat_message talk[] = { { "system", "Be brief." }, { "user", "Hello!" } };
 *     hybrid_prompt(model, &(hybrid_prompt_desc){ .messages = talk, .n_messages = 2 }, &ids, &err);
 *     hybrid_stream_begin(stream, ids.data, ids.n, &err);
 *     while (!hybrid_stream_next(stream, &piece, &err) && piece.size) fputs(piece.text, stdout);
 */

/* Token ids that hybrid makes for you. Start with zero; use it for as many calls as you like, its memory is used again;
 * end with hybrid_ids_free. After a failure it is empty. */
typedef struct hybrid_ids {
    int32_t *data;
    size_t n;
    size_t capacity; /* yours to read only, like runtime: where the memory is from */
    hybrid_runtime *runtime;
} hybrid_ids;

/* Gives the memory back and makes ids zero again. NULL is fine. */
HYBRID_API void hybrid_ids_free(hybrid_ids *ids);

typedef struct hybrid_prompt_desc {
    const hybrid_chat_message *messages; /* a model without a template gets "User: ...", "Assistant: ..." lines */
    size_t n_messages;
    const char *text;      /* instead of messages: plain text without a template, zero-terminated */
    bool follows;          /* text only: it goes on after other tokens, so nothing begins it */
    const char *answer;    /* begins the assistant's answer, which goes on from there; NULL: it begins with nothing */
    bool no_answer;        /* the prompt ends with the last message, and does not open the assistant's turn */
    const char *tools;     /* as in hybrid_chat_desc: a JSON array of tool definitions, */
    const char *variables; /* and a JSON object with more variables: {"enable_thinking": false} */
    /* Control tokens that messages, tools, variables or the answer spell out ("<|im_end|>") become tokens, as in
     * transformers. Else they are the letters that they are written with, and only the template's own become tokens:
     * see hybrid_tokenize_spans. In text they always do. */
    bool parse_special;
    int64_t now; /* and these */
    int32_t utc_offset;
    hybrid_template_limits limits;
} hybrid_prompt_desc;

/* The token ids of a conversation in the model's own template, or of plain text: BOS where the model wants one and the
 * template has not written it (never twice), no EOS at the end of text that is to go on. A system message that the
 * template refuses or drops goes before the first user message (hybrid_chat_desc.merge_system).
 * Errors: INVALID (a NULL, a role that a model without template does not know, no token at all), those of
 * hybrid_chat_render and hybrid_tokenize. Thread-safe. */
HYBRID_API hybrid_result hybrid_prompt(const hybrid_model *model, const hybrid_prompt_desc *desc, hybrid_ids *ids,
                                       hybrid_error *error);

typedef enum hybrid_stop_reason {
    HYBRID_STOP_NONE = 0, /* the answer is still running, or there is none */
    HYBRID_STOP_END,      /* the model said that it is done */
    HYBRID_STOP_TEXT,     /* one of the stop texts */
    HYBRID_STOP_LIMIT,    /* max_tokens */
    HYBRID_STOP_CONTEXT,  /* the context is full */
    HYBRID_STOP_ERROR,    /* the last call failed: see hybrid_session_result */
    HYBRID_STOP_BROKEN    /* it was broken off: hybrid_session_stop, hybrid_stream_stop */
} hybrid_stop_reason;

/* What a piece of an answer is a part of: told by the marks that the model's template speaks of (<think>, <tool_call>,
 * [TOOL_CALLS], channels, and others). The marks, and white space beside them, are in no piece. An answer with a
 * grammar is HYBRID_PIECE_ANSWER. */
typedef enum hybrid_piece_kind {
    HYBRID_PIECE_ANSWER = 0,
    HYBRID_PIECE_THINKING, /* for those who want to see how the model got there */
    /* for the program, not for the reader: what stands between the marks of a call, or of several calls, as the model
     * wrote it; control tokens in it that are no such marks stand there by their names */
    HYBRID_PIECE_TOOL_CALL
} hybrid_piece_kind;

/* A piece of an answer; its memory is the stream's, until the next call with it. */
typedef struct hybrid_piece {
    const char *text; /* valid UTF-8, zero-terminated; never NULL */
    size_t size;      /* bytes of text; 0: nothing to show yet, or the answer has ended */
    hybrid_piece_kind kind;
    hybrid_stop_reason stop; /* why the answer ended with this piece; HYBRID_STOP_NONE: it goes on */
    const int32_t *ids;      /* the tokens that were taken since the last piece, also those that are not shown, */
    const float *logprobs; /* and ln of the probability that the model gave to each, before the sampler changed it; NULL
                              unless asked for (hybrid_stream_desc.logprobs); 0 where a grammar left no choice */
    size_t n_ids;
} hybrid_piece;

/* Speculation: tokens that come next are guessed, and go through the model together with the last one; the sampler then
 * chooses at each of their places, in order, and goes on as long as it chooses what was guessed. What it is asked is
 * what it would have been asked without: the tokens and their log-probabilities are the same, bit for bit, for any
 * sampler, seed and grammar, on the CPU (on a GPU rows that are computed together differ in their last places from
 * those that are not: equally good, but others). A piece may have several tokens, and where a piece ends may differ.
 * Guessed is what followed when the text had the same end before (in the prompt, too: a quote, code that is changed,
 * one more record like the last), and what a grammar leaves no choice about; where that is nothing, and there is a
 * draft (below), what a smaller model says.
 * It pays where guesses are often right and the processor reads weights faster for several rows than for each. A model
 * with a recurrent state (hybrid_model_info.is_recurrent) computes what it has accepted once more after a wrong guess,
 * and guesses nothing meanwhile. A context needs rows of logits for guesses, beside one for each other stream:
 * hybrid_context_desc.n_logits; without them, and near the end of room of any kind, fewer are guessed, or none. */
typedef enum hybrid_speculation {
    HYBRID_SPECULATION_DEFAULT = 0, /* of an answer: that of its session; of sessions and streams: auto if they have a
                                     * draft, else off */
    HYBRID_SPECULATION_OFF,
    HYBRID_SPECULATION_AUTO,  /* where it pays, as far as the clock and the last guesses tell; wrong ones cost some
                               * 4 % of the answer at most, and one token */
    HYBRID_SPECULATION_ALWAYS /* whenever there is something to guess */
} hybrid_speculation;

typedef struct hybrid_stream_desc {
    int32_t seq;                 /* the sequence of the context that is the stream's alone; -1: the first free one */
    int32_t max_positions;       /* that it may fill; 0: n_ctx */
    hybrid_sampler_desc sampler; /* zero: greedy */
    int32_t max_tokens;          /* per answer; 0: until the model ends it or the context is full */
    const char *const *stops;    /* texts that end an answer; they are not shown */
    size_t n_stops;
    bool logprobs; /* pieces carry them; each costs a walk over all logits */
    bool whole;    /* nothing is told apart: all pieces are HYBRID_PIECE_ANSWER, and marks that are text are in them */
    hybrid_speculation speculation;
    int32_t n_guess; /* tokens that are guessed at once, at most; 0: 15; at most 63 */
    /* A context of a smaller model with the same tokens, which guesses for this stream; NULL: none. It is yours, so
     * make it as the stream needs it: n_ctx for all texts that it follows, n_seq for all streams that have it as their
     * draft (all of one context); hybrid_plan says what it takes. Its memory, its place (CPU or GPU) and its threads
     * are its own. It must outlive the streams, and belongs to their thread; leave its sequences and its batch to them.
     * It reads the prompt, too, before its first guess. With text that it has no room for, or when it fails, there are
     * no guesses of it, and the answer goes on. In slices, each of its decodes is work of the slice. */
    hybrid_context *draft;
    /* Where a grammar leaves no choice of text ({"name": ), the tokens that the tokenizer makes of it are taken without
     * the model, which computes them later, all at once; for penalties and DRY they are tokens as others. The text is
     * one that the model could have said; what follows may differ, as it could have been cut into other tokens. True:
     * the model chooses these, too. */
    bool sample_forced;
} hybrid_stream_desc;

typedef struct hybrid_stream_info {
    hybrid_stop_reason stop;
    int32_t seq, n_max;         /* its sequence; positions that it may fill */
    int32_t n_used;             /* tokens of it that are in the cache */
    int32_t n_prompt, n_cached; /* tokens of the last prompt, and how many of them needed no computing: they were in
                                 * the cache, or were forked from another sequence of the context */
    int32_t n_generated;        /* tokens of the last answer */
    int32_t n_guessed, n_right; /* tokens of it that were guessed, and those of them that came */
    int32_t n_drafted, n_drafted_right; /* and those of these that were guesses of the draft */
    uint64_t prompt_us, generate_us; /* time that they took, in microseconds; that of a draft is the answer's */
} hybrid_stream_info;

/* A sequence of a context, its sampler, and the text that comes out of it. Several streams may share one context, in
 * one thread: they are computed together where they run together, and a beginning that they have in common (32 tokens
 * or more) is computed and stored once, whichever of them had it first. The context must outlive them; its sequences
 * that belong to streams, and its batch while one runs, are not to be touched by other calls. */
typedef struct hybrid_stream hybrid_stream;

/* desc may be NULL. Errors: INVALID (the sequence belongs to another stream, there is none left, max_tokens; a draft
 * with other tokens, without a free sequence, or that has streams itself), UNSUPPORTED (a draft that is an encoder, or
 * whose model is recurrent), those of hybrid_sampler_create, MEMORY. All memory is taken here, but for that of
 * grammars. */
HYBRID_API hybrid_result hybrid_stream_create(hybrid_context *context, const hybrid_stream_desc *desc,
                                              hybrid_stream **stream, hybrid_error *error);
HYBRID_API void hybrid_stream_destroy(hybrid_stream *stream);

/* Makes n token ids the content of the sequence, and begins an answer after them; nothing is computed yet. What the
 * cache holds of them already is kept. An answer that still runs is broken off.
 * Errors: INVALID (n is 0, a bad id), CONTEXT_FULL (n is not below n_max); the stream is as it was. */
HYBRID_API hybrid_result hybrid_stream_begin(hybrid_stream *stream, const int32_t *ids, size_t n, hybrid_error *error);

/* The next piece. An empty one: the answer has ended, piece->stop says why. When it fails, another call tries again,
 * and the text will be the same. */
HYBRID_API hybrid_result hybrid_stream_next(hybrid_stream *stream, hybrid_piece *piece, hybrid_error *error);

/* The same in slices: works for about budget_us microseconds, on the prompt and on the answer alike, and returns with
 * a piece as soon as there is one (else with an empty one, and piece->stop is HYBRID_STOP_NONE). The text is that of
 * hybrid_stream_next, bit for bit. */
HYBRID_API hybrid_result hybrid_stream_step(hybrid_stream *stream, uint64_t budget_us, hybrid_piece *piece,
                                            hybrid_error *error);

/* Breaks the answer off, at any moment, also inside the prompt. What was computed stays in the cache. */
HYBRID_API void hybrid_stream_stop(hybrid_stream *stream);

/* From the next answer on: another sampler (NULL: that of the descriptor again), and another limit (0: that of the
 * descriptor). Errors: those of hybrid_sampler_create; nothing has changed then. */
HYBRID_API hybrid_result hybrid_stream_set_sampler(hybrid_stream *stream, const hybrid_sampler_desc *sampler,
                                                   int32_t max_tokens, hybrid_error *error);

/* All tokens of the sequence and of the batch: *n of them, of the last prompt and of its answer. Valid until the next
 * call. */
HYBRID_API const int32_t *hybrid_stream_ids(const hybrid_stream *stream, size_t *n);
HYBRID_API void hybrid_stream_describe(const hybrid_stream *stream, hybrid_stream_info *info);

#ifndef HYBRID_NO_GRAMMAR
/* Answers that begin from now on are texts of this grammar; as hybrid_session_set_grammar says it. */
HYBRID_API hybrid_result hybrid_stream_set_grammar(hybrid_stream *stream, const hybrid_grammar *grammar,
                                                   hybrid_error *error);
#endif
#endif
