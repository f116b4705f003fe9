/* ---- easy: a conversation ---------------------------------------------------------------------------------------- */
#ifndef HYB_API_SESSION_H
#define HYB_API_SESSION_H
#include "adapter.h"
#include "stream.h"

/* A stream and a dialog: the messages of a conversation, of which hybrid_prompt makes the ids that the stream goes on
 * from. */
typedef struct hybrid_session hybrid_session;

typedef struct hybrid_session_desc {
    const char *system;          /* system prompt; NULL: none */
    hybrid_sampler_desc sampler; /* zero: greedy */
    int32_t max_tokens;          /* per answer; 0: until the model ends it or the context is full */
    const char *const *stops;    /* texts that end an answer; they are not shown */
    size_t n_stops;
    hybrid_context_desc context; /* n_seq and n_logits are the session's business */
    /* Instead of a context of its own: one that it shares with other sessions, in one thread, and that outlives them.
     * It takes the first sequence that no stream has. What conversations begin with in common (a long system prompt) is
     * computed and stored once. n_candidates, where there is a GPU, must be 0 or fit all their samplers. */
    hybrid_context *context_shared;
    int32_t max_positions; /* of a shared context that this session may fill; 0: all n_ctx */
    /* A conversation that no longer fits drops its oldest messages until it takes at most this share of the positions,
     * so that not every turn that follows drops some, and computes all others again. 0: 0.5; at most 1: only as many as
     * it takes to fit it beside an answer, which has an eighth of the positions, or max_tokens. */
    float keep;
    bool logprobs;      /* pieces carry log-probabilities (hybrid_piece) */
    void *user;         /* yours: hybrid_session_user gives it back */
    bool parse_special; /* as in hybrid_prompt_desc: control tokens that messages spell out become tokens */
    /* What is thought is the answer too, and so are calls of tools, with their marks: as in hybrid_stream_desc. Else
     * hybrid_session_next leaves both out, hybrid_session_step gives them by their kind, and the message that an answer
     * becomes has everything but what was thought. */
    bool whole;
    hybrid_speculation speculation; /* a context of its own has the rows of logits that guesses take */
    int32_t n_guess;                /* as in hybrid_stream_desc, */
    hybrid_context *draft;          /* and so is this: a context of a smaller model, which guesses */
    bool sample_forced; /* as in hybrid_stream_desc: of answers with a form, the model chooses every token */
} hybrid_session_desc;

typedef struct hybrid_session_info {
    hybrid_stop_reason stop;
    int32_t n_ctx, n_used;           /* positions of the context, and those taken */
    int32_t n_prompt, n_cached;      /* tokens of the last prompt, and how many of them were already in the cache */
    int32_t n_generated;             /* tokens of the last answer */
    int32_t n_guessed, n_right;      /* tokens of it that were guessed, and those of them that came, */
    int32_t n_drafted, n_drafted_right; /* and those of these that were guesses of the draft */
    uint64_t prompt_us, generate_us; /* time that they took, in microseconds */
    int32_t n_forgotten;             /* messages dropped from the front so that the conversation fits */
} hybrid_session_info;

/* A session belongs to one thread at a time, and so do all sessions that share a context. desc may be NULL. */
HYBRID_API hybrid_result hybrid_session_create(hybrid_model *model, const hybrid_session_desc *desc,
                                               hybrid_session **session, hybrid_error *error);
HYBRID_API void hybrid_session_destroy(hybrid_session *session);

/* Adds a user message and starts an answer, which hybrid_session_next delivers. Uses the model's chat template (a model
 * without one gets "User: ... Assistant:"). Only what is new is computed. The oldest messages are dropped when the
 * conversation no longer fits. What a text spells out ("<|im_end|>") stays words: only the template itself writes
 * control tokens (but see parse_special).
 * An answer that still runs is broken off, and what was shown of it becomes its message. A message that is refused (too
 * long, a template that raises, no memory) was not said: the conversation, the cache and an answer that still runs
 * are as they were. The sentence of a failure is to be had from hybrid_session_result. */
HYBRID_API hybrid_result hybrid_session_say(hybrid_session *session, const char *text);
/* Starts a continuation of plain text, without any template; it follows what is there already. */
HYBRID_API hybrid_result hybrid_session_complete(hybrid_session *session, const char *text);

/* How one answer is made. Zero: as the session makes its answers. */
typedef struct hybrid_answer_desc {
    const hybrid_sampler_desc *sampler; /* another sampler, of its own seed; NULL: that of the session goes on */
    int32_t max_tokens;                 /* 0: the session's */
    const char *begin; /* the answer begins with this text, as if the model had said it; it is no piece, but a part of
                          the message. NULL: nothing */
    const char *variables; /* of the template, a JSON object: {"enable_thinking": false} */
    const char *tools;     /* a JSON array of tool definitions */
    hybrid_speculation speculation; /* INVALID when it is not off, but the session was created without */
} hybrid_answer_desc;

/* hybrid_session_say with settings for this answer alone; how may be NULL. text NULL: nobody says anything, and the
 * messages that are there are answered (after hybrid_session_add, _edit or _cut). */
HYBRID_API hybrid_result hybrid_session_answer(hybrid_session *session, const char *text,
                                               const hybrid_answer_desc *how);

/* The next piece of the answer: zero-terminated valid UTF-8, valid until the next call. NULL: the answer has ended, or,
 * with a result that is not HYBRID_OK, it could not go on (no memory, say): another call tries again, and the text
 * will be the same. */
HYBRID_API const char *hybrid_session_next(hybrid_session *session);

/* The same for a frame of a program: works for about budget_us microseconds, on the prompt and on the answer alike, and
 * returns as soon as there is a piece. piece->size 0 and piece->stop HYBRID_STOP_NONE: not yet, call again in the next
 * frame. The text is that of hybrid_session_next, bit for bit.
 *
 *     while (frame() && !hybrid_session_step(npc, 2000, &piece) && !piece.stop) show(piece.text);
 */
HYBRID_API hybrid_result hybrid_session_step(hybrid_session *session, uint64_t budget_us, hybrid_piece *piece);

/* Breaks the answer off, at any moment, also inside the prompt: what was shown of it stays as its message. */
HYBRID_API void hybrid_session_stop(hybrid_session *session);

/* Of the last call that starts, delivers or changes something: HYBRID_OK, or why it failed, with the sentence. error
 * may be NULL. */
HYBRID_API hybrid_result hybrid_session_result(const hybrid_session *session, hybrid_error *error);
HYBRID_API void hybrid_session_describe(const hybrid_session *session, hybrid_session_info *info);
HYBRID_API void *hybrid_session_user(const hybrid_session *session);

/* ---- the messages of a conversation; those of hybrid_session_complete are none ---- */

/* How many there are, with the system prompt, and with what was shown of the last answer. */
HYBRID_API size_t hybrid_session_count(const hybrid_session *session);
/* Message i: its role ("system", "user", "assistant", "tool") and its text, valid until the next call; both NULL when
 * there is no such message. */
HYBRID_API hybrid_chat_message hybrid_session_message(const hybrid_session *session, size_t i);
/* Adds a message without an answer. Errors of these three: INVALID (no such role or message), MEMORY; nothing has
 * changed then, else an answer that runs is broken off. They compute nothing: the next answer does. */
HYBRID_API hybrid_result hybrid_session_add(hybrid_session *session, const char *role, const char *text);
/* Another text for message i. */
HYBRID_API hybrid_result hybrid_session_edit(hybrid_session *session, size_t i, const char *text);
/* Keeps the first n messages. */
HYBRID_API hybrid_result hybrid_session_cut(hybrid_session *session, size_t n);

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
