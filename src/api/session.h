/* ---- easy: a conversation ---------------------------------------------------------------------------------------- */
#ifndef HYB_API_SESSION_H
#define HYB_API_SESSION_H
#include "adapter.h"
#include "sampler.h"
#ifndef HYBRID_NO_GRAMMAR
    #include "grammar.h"
#endif

typedef struct hybrid_session hybrid_session;

typedef struct hybrid_session_desc {
    const char *system;          /* system prompt; NULL: none */
    hybrid_sampler_desc sampler; /* zero: greedy */
    int32_t max_tokens;          /* per answer; 0: until the model ends it or the context is full */
    const char *const *stops;    /* texts that end an answer; they are not shown */
    size_t n_stops;
    hybrid_context_desc context; /* n_seq and n_logits are the session's business */
} hybrid_session_desc;

typedef enum hybrid_stop_reason {
    HYBRID_STOP_NONE = 0, /* the answer is still running, or there is none */
    HYBRID_STOP_END,      /* the model said that it is done */
    HYBRID_STOP_TEXT,     /* one of the stop texts */
    HYBRID_STOP_LIMIT,    /* max_tokens */
    HYBRID_STOP_CONTEXT,  /* the context is full */
    HYBRID_STOP_ERROR     /* the last call failed: see hybrid_session_result */
} hybrid_stop_reason;

typedef struct hybrid_session_info {
    hybrid_stop_reason stop;
    int32_t n_ctx, n_used;           /* positions of the context, and those taken */
    int32_t n_prompt, n_cached;      /* tokens of the last prompt, and how many of them were already in the cache */
    int32_t n_generated;             /* tokens of the last answer */
    uint64_t prompt_us, generate_us; /* time that they took, in microseconds */
    int32_t n_forgotten;             /* messages dropped from the front so that the conversation fits */
} hybrid_session_info;

/* A session belongs to one thread at a time. desc may be NULL. */
HYBRID_API hybrid_result hybrid_session_create(hybrid_model *model, const hybrid_session_desc *desc,
                                               hybrid_session **session, hybrid_error *error);
HYBRID_API void hybrid_session_destroy(hybrid_session *session);

/* Adds a user message and starts an answer, which hybrid_session_next delivers. Uses the model's chat template (a model
 * without one gets "User: ... Assistant:"). Only what is new is computed. The oldest messages are dropped when the
 * conversation no longer fits. Special tokens that are spelled out in a text ("<|im_end|>") become tokens, as in
 * transformers: take them out of the words of strangers.
 * An answer that still runs is broken off, and what was shown of it becomes its message. A message that is refused (too
 * long, a template that raises, no memory) was not said: the conversation, the cache and an answer that still runs
 * are as they were. The sentence of a failure is to be had from hybrid_session_result. */
HYBRID_API hybrid_result hybrid_session_say(hybrid_session *session, const char *text);
/* Starts a continuation of plain text, without any template; it follows what is there already. */
HYBRID_API hybrid_result hybrid_session_complete(hybrid_session *session, const char *text);

/* The next piece of the answer: zero-terminated valid UTF-8, valid until the next call. NULL: the answer has ended, or,
 * with a result that is not HYBRID_OK, it could not go on (no memory, say): another call tries again, and the text
 * will be the same. */
HYBRID_API const char *hybrid_session_next(hybrid_session *session);

/* Of the last say, complete or next: HYBRID_OK, or why it failed, with the sentence. error may be NULL. */
HYBRID_API hybrid_result hybrid_session_result(const hybrid_session *session, hybrid_error *error);
HYBRID_API void hybrid_session_describe(const hybrid_session *session, hybrid_session_info *info);

#ifndef HYBRID_NO_GRAMMAR
/* Answers that begin from now on (hybrid_session_say, _complete) are texts of this grammar, whatever the model would
 * say: {"json": ...}, "yes" or "no". NULL: any text again. An answer ends where it can only end, or where the model
 * ends it and the grammar lets it; max_tokens and a full context still cut it. The grammar must outlive the
 * session, or be taken off.
 * An answer that still runs goes on as it began. Errors: INVALID, MEMORY; nothing has changed then. */
HYBRID_API hybrid_result hybrid_session_set_grammar(hybrid_session *session, const hybrid_grammar *grammar,
                                                    hybrid_error *error);

/* hybrid_session_say, and the answer is JSON that fits a JSON Schema (hybrid_grammar_desc says which, and how it is
 * written): the pieces of hybrid_session_next, put together, are one value, unless max_tokens or the context cut it
 * (hybrid_session_describe: stop is HYBRID_STOP_END when it is whole). For this answer only: it comes before the
 * grammar of hybrid_session_set_grammar. The model sees no more than text: what its answer is to be about belongs in
 * there. schema ends with a zero byte and is not kept. Beside those of hybrid_session_say: FORMAT, UNSUPPORTED or
 * LIMIT, with a sentence that names the keyword and its place; nothing was said then. */
HYBRID_API hybrid_result hybrid_session_say_json(hybrid_session *session, const char *text, const char *schema);
#endif

/* What the session wears from its next token on, as hybrid_seq_set_adapters says it; between two pieces of an answer,
 * too. What was read of the conversation stays as it was read: hybrid_session_reset begins anew. */
HYBRID_API hybrid_result hybrid_session_set_adapters(hybrid_session *session, hybrid_adapter *const *adapters,
                                                     const float *scales, size_t n, hybrid_error *error);

/* Forgets the conversation; the system prompt and the adapters stay. */
HYBRID_API void hybrid_session_reset(hybrid_session *session);
#endif
