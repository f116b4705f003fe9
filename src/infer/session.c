/* infer/session: a conversation: a dialog, and the stream that answers it. */
#ifndef HYB_INFER_SESSION_C
#define HYB_INFER_SESSION_C
#include "../api/session.h"
#include "../core/grow.c"
#include "../model/model.c"
#include "adapters.c"
#include "dialog.c"
#include "streams.c"

struct hybrid_session {
    hybrid_model *model;
    hybrid_runtime *rt;
    hybrid_context *ctx, *own_ctx; /* the same, or own_ctx is NULL: it is shared */
    hybrid_stream *stream;
    hyb_dialog dialog;
    bool is_chat;                        /* the last answer belongs to the dialog */
    char *answer;                        /* zero-terminated as soon as there is room */
    size_t answer_size, answer_capacity; /* of the last answer, as shown */
    size_t n_begun;                      /* so many bytes of it were written for the model */
    float keep;
    bool parse_special;
    int32_t n_forgotten;
    void *user;
    uint64_t in_use;      /* a call is under way: callbacks may not begin another */
    hybrid_error failure; /* of the last call, if it failed */
};

/* ---- one call at a time: callbacks of a call (trace, log, memory, parallel_for) may not begin another ----------- */

static hybrid_result hyb_session_begin(hybrid_session *s, const char *function, hybrid_error *error)
{
    if (hyb_busy(s->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the session is in use: one of its callbacks called it again",
                        function);
    if (hyb_busy(s->ctx->streams_in_use) || hyb_busy(s->ctx->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "%s: the context that the session shares is in use: one of its callbacks called it again",
                        function);
    s->in_use = s->ctx->streams_in_use = hyb_process();
    return HYBRID_OK;
}

static void hyb_session_end(hybrid_session *s) { s->in_use = s->ctx->streams_in_use = 0; }

/* False: the call is refused, and the result says so until the call under way ends. */
static bool hyb_session_enter(hybrid_session *s, const char *function)
{
    return hyb_session_begin(s, function, &s->failure) == HYBRID_OK;
}

/* Only the failure of a call that failed is new: everything else is as it was. */
static hybrid_result hyb_session_leave(hybrid_session *s, hybrid_result r, const hybrid_error *error)
{
    hyb_session_end(s);
    if (r) s->failure = *error;
    s->failure.result = r;
    return r;
}

/* ---- creation --------------------------------------------------------------------------------------------------- */

#ifndef HYBRID_NO_GRAMMAR
HYB_BORDER(hybrid_result, hybrid_session_set_grammar,
           (hybrid_session * session, const hybrid_grammar *grammar, hybrid_error *error), (session, grammar, error))
{
    hybrid_result r;
    if (!session) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_set_grammar: session is NULL");
    if ((r = hyb_session_begin(session, "hybrid_session_set_grammar", error)) != HYBRID_OK) return r;
    r = hyb_stream_set_grammar(session->stream, grammar, error);
    hyb_session_end(session);
    return r;
}
#endif

/* What callbacks of free see is a session without a stream. */
static void hyb_session_free(hybrid_session *s)
{
    hybrid_stream *stream = s->stream;
    s->stream = NULL;
    if (stream) hyb_stream_free(stream);
    if (s->own_ctx) s->own_ctx->streams_in_use = 0;
    hybrid_context_destroy(s->own_ctx);
    hyb_dialog_free(&s->dialog);
    hyb_free(s->rt, s->answer);
    hyb_free(s->rt, s);
}

HYB_BORDER_VOID(hybrid_session_destroy, (hybrid_session * session), (session))
{
    hybrid_context *shared;
    if (!session) return;
    if (!hyb_session_enter(session, "hybrid_session_destroy")) {
        hyb_log(session->rt, HYBRID_LOG_ERROR, "%s; it was not destroyed", session->failure.message);
        return;
    }
    shared = session->own_ctx ? NULL : session->ctx;
    hyb_session_free(session);
    if (shared) shared->streams_in_use = 0;
}

static hybrid_result hyb_session_context(hybrid_session *s, const hybrid_session_desc *desc, hybrid_error *error)
{
    hybrid_context_desc cd = desc->context;
    hybrid_result r;
    if (desc->context_shared && desc->context_shared->model != s->model)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "context_shared is a context of another model");
    if ((s->ctx = desc->context_shared) != NULL) return HYBRID_OK;
    cd.n_seq = 1;
    cd.n_logits = 1 + hyb_guess_most(hyb_guess_mode(desc->speculation, desc->draft), desc->n_guess);
    cd.n_candidates = desc->logprobs ? 0 : hybrid_sampler_candidates(&desc->sampler);
    r = hybrid_context_create(s->model, &cd, &s->own_ctx, error);
    s->ctx = s->own_ctx;
    return r;
}

static hybrid_result hyb_session_build(hybrid_session *s, const hybrid_session_desc *desc, hybrid_error *error)
{
    hybrid_stream_desc sd;
    hybrid_result r;
    if (!(desc->keep >= 0 && desc->keep <= 1))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "keep is %g, must be 0 to 1", (double)desc->keep);
    if (desc->max_tokens < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "max_tokens is %d, must not be negative", desc->max_tokens);
    if (desc->n_stops && !desc->stops)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "n_stops is %llu, but stops is NULL",
                        (unsigned long long)desc->n_stops);
    if ((r = hyb_guess_check(desc->speculation, desc->n_guess, error)) != HYBRID_OK) return r;
    if ((r = hyb_session_context(s, desc, error)) != HYBRID_OK) return r;
    memset(&sd, 0, sizeof sd);
    sd.seq = -1;
    sd.sampler = desc->sampler;
    sd.max_positions = desc->max_positions;
    sd.max_tokens = desc->max_tokens;
    sd.stops = desc->stops;
    sd.n_stops = desc->n_stops;
    sd.logprobs = desc->logprobs;
    sd.whole = desc->whole;
    sd.speculation = desc->speculation;
    sd.n_guess = desc->n_guess;
    sd.draft = desc->draft;
    sd.sample_forced = desc->sample_forced;
    if ((r = hybrid_stream_create(s->ctx, &sd, &s->stream, error)) != HYBRID_OK) return r;
    s->keep = desc->keep > 0 ? desc->keep : 0.5f;
    s->user = desc->user;
    s->parse_special = desc->parse_special;
    return desc->system && desc->system[0]
               ? hyb_dialog_add(&s->dialog, HYB_ROLE_SYSTEM, desc->system, strlen(desc->system), error)
               : HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_session_create,
           (hybrid_model * model, const hybrid_session_desc *desc, hybrid_session **session, hybrid_error *error),
           (model, desc, session, error))
{
    hybrid_session_desc zero;
    hybrid_session *s;
    hybrid_result r;
    if (session) *session = NULL;
    if (!model || !session)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_create: %s is NULL", model ? "session" : "model");
    memset(&zero, 0, sizeof zero);
    if (!(s = (hybrid_session *)hyb_calloc(model->rt, 1, sizeof *s))) return hyb_fail_memory(error, sizeof *s);
    s->model = model;
    s->rt = s->dialog.rt = model->rt;
    if ((r = hyb_session_build(s, desc ? desc : &zero, error)) != HYBRID_OK) {
        hyb_session_free(s);
        return r;
    }
    *session = s;
    return HYBRID_OK;
}

/* ---- prompts ---------------------------------------------------------------------------------------------------- */

/* What was shown of the last answer is not among the messages yet. */
static bool hyb_session_answered(const hybrid_session *s) { return s->is_chat && s->stream; }

/* The dialog as it will be: what has been shown of the last answer becomes a message, and so does what is said (unless
 * it is NULL). */
static hybrid_result hyb_session_turn(hybrid_session *s, int role, const char *said, hyb_turn *turn,
                                      hybrid_error *error)
{
    const bool answered = hyb_session_answered(s);
    hybrid_result r = hyb_turn_begin(turn, &s->dialog, answered ? s->answer ? s->answer : "" : NULL,
                                     answered ? s->answer_size : 0, error);
    if (!r && said) {
        r = hyb_turn_set(turn, turn->view.n, role, said, strlen(said), error);
        if (r) hyb_turn_drop(turn);
    }
    return r;
}

/* The messages are those of the turn, and no answer belongs to them yet. */
static void hyb_session_take(hybrid_session *s, hyb_turn *turn)
{
    s->n_forgotten += (int32_t)turn->n_dropped;
    hyb_turn_take(turn, &s->dialog);
    s->answer_size = s->n_begun = 0;
    s->is_chat = false;
}

/* The prompt of a turn. When it does not fit beside an answer (an eighth of the positions, or what max_tokens asks), as
 * many of the oldest messages are left out as it takes to fit it into its share. */
static hybrid_result hyb_session_turn_ids(hybrid_session *s, hyb_turn *turn, const hybrid_prompt_desc *desc,
                                          int32_t max_tokens, hybrid_ids *ids, hybrid_error *error)
{
    const int32_t n_max = s->stream->n_max, room = max_tokens ? HYB_MIN(max_tokens, n_max / 2) : n_max / 8,
                  share = (int32_t)((double)s->keep * n_max);
    size_t most = (size_t)(n_max - room);
    hybrid_result r;
    for (;;) {
        if ((r = hyb_dialog_ids(&turn->view, s->model, desc, ids, error)) != HYBRID_OK) return r;
        if (ids->n <= most || !hyb_turn_forget(turn)) break;
        most = HYB_MIN(most, (size_t)share);
    }
    if (ids->n < (size_t)n_max) return HYBRID_OK;
    return hyb_fail(
        error, HYBRID_ERROR_CONTEXT_FULL,
        "the message makes a prompt of %llu tokens, but the context has only %d: shorten it, or raise n_ctx",
        (unsigned long long)ids->n, n_max);
}

/* What one answer needs beside the prompt: a sampler of its own, and room for how it begins. */
static hybrid_result hyb_session_prepare(hybrid_session *s, const hybrid_answer_desc *a, hybrid_sampler **sampler,
                                         hybrid_error *error)
{
    const size_t size = a->begin ? strlen(a->begin) : 0;
    *sampler = NULL;
    if (a->max_tokens < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "max_tokens is %d, must not be negative", a->max_tokens);
    if (hyb_guess_check(a->speculation, 0, error)) return HYBRID_ERROR_INVALID;
    if (hyb_guess_most(a->speculation, 0) && !s->stream->guess.most)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the answer asks for speculation, but the session was created without "
                        "(hybrid_session_desc.speculation): it has no room for guesses");
    if (size && HYB_GROW(s->rt, s->answer, s->answer_capacity, s->answer_size, size + 1, error))
        return HYBRID_ERROR_MEMORY;
    return a->sampler ? hybrid_sampler_create(s->rt, a->sampler, sampler, error) : HYBRID_OK;
}

static void hyb_session_go(hybrid_session *s, hyb_turn *turn, const hybrid_ids *ids, const hybrid_answer_desc *a,
                           hybrid_sampler *sampler)
{
    hyb_session_take(s, turn);
    hyb_stream_take_sampler(s->stream, sampler, a->max_tokens);
    s->stream->guess.next = a->speculation ? a->speculation : s->stream->guess.own;
    hyb_stream_begin(s->stream, ids->data, (int32_t)ids->n);
    if (!a->begin || !*a->begin) return;
    s->answer_size = s->n_begun = strlen(a->begin);
    hyb_stream_begin_pieces(s->stream, s->stream->n_ids, a->begin, s->n_begun);
    memcpy(s->answer, a->begin, s->answer_size + 1);
}

static hybrid_result hyb_session_answer(hybrid_session *s, const char *text, const hybrid_answer_desc *a,
                                        hybrid_error *error)
{
    const int32_t max_tokens = a->max_tokens ? a->max_tokens : s->stream->own_max_tokens;
    hybrid_prompt_desc desc;
    hybrid_sampler *sampler = NULL;
    hybrid_ids ids;
    hyb_turn turn;
    hybrid_result r;
    memset(&ids, 0, sizeof ids);
    memset(&desc, 0, sizeof desc);
    desc.answer = a->begin;
    desc.variables = a->variables;
    desc.tools = a->tools;
    desc.parse_special = s->parse_special;
    if ((r = hyb_session_turn(s, HYB_ROLE_USER, text, &turn, error)) != HYBRID_OK) return r;
    r = hyb_session_turn_ids(s, &turn, &desc, max_tokens, &ids, error);
    if (!r) r = hyb_stream_check(s->stream, ids.data, ids.n, error);
    if (!r) r = hyb_session_prepare(s, a, &sampler, error);
    if (!r) {
        hyb_session_go(s, &turn, &ids, a, sampler);
        s->is_chat = true;
    } else
        hyb_turn_drop(&turn);
    hybrid_ids_free(&ids);
    return r;
}

static hybrid_result hyb_session_say(hybrid_session *s, const char *function, const char *text, hybrid_error *error)
{
    hybrid_answer_desc as_always;
    if (!text) return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: text is NULL", function);
    memset(&as_always, 0, sizeof as_always);
    return hyb_session_answer(s, text, &as_always, error);
}

HYB_BORDER(hybrid_result, hybrid_session_say, (hybrid_session * session, const char *text), (session, text))
{
    hybrid_error error;
    if (!session || !hyb_session_enter(session, "hybrid_session_say")) return HYBRID_ERROR_INVALID;
    return hyb_session_leave(session, hyb_session_say(session, "hybrid_session_say", text, &error), &error);
}

HYB_BORDER(hybrid_result, hybrid_session_answer,
           (hybrid_session * session, const char *text, const hybrid_answer_desc *how), (session, text, how))
{
    hybrid_answer_desc as_always;
    hybrid_error error;
    memset(&as_always, 0, sizeof as_always);
    if (!session || !hyb_session_enter(session, "hybrid_session_answer")) return HYBRID_ERROR_INVALID;
    return hyb_session_leave(session, hyb_session_answer(session, text, how ? how : &as_always, &error), &error);
}

#ifndef HYBRID_NO_GRAMMAR
/* The form is made first; it is dropped when nothing is said. */
static hybrid_result hyb_session_say_json(hybrid_session *s, const char *text, const char *schema, hybrid_error *error)
{
    hybrid_stream *stream = s->stream;
    hybrid_lexicon *before = stream->lexicon;
    hybrid_grammar_desc d;
    hybrid_result r;
    memset(&d, 0, sizeof d);
    if (!(d.schema = schema)) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_say_json: schema is NULL");
    r = hybrid_grammar_create(s->rt, &d, &stream->once_grammar, error);
    if (!r) r = hyb_stream_form(stream, stream->once_grammar, &stream->once, error);
    if (!r) r = hyb_session_say(s, "hybrid_session_say_json", text, error);
    hybrid_matcher_destroy(stream->once); /* NULL: it is in use */
    hybrid_grammar_destroy(stream->once_grammar);
    stream->once = NULL;
    stream->once_grammar = NULL;
    if (r && stream->lexicon != before) {
        hybrid_lexicon_destroy(stream->lexicon);
        stream->lexicon = before;
    }
    return r;
}

HYB_BORDER(hybrid_result, hybrid_session_say_json, (hybrid_session * session, const char *text, const char *schema),
           (session, text, schema))
{
    hybrid_error error;
    if (!session || !hyb_session_enter(session, "hybrid_session_say_json")) return HYBRID_ERROR_INVALID;
    return hyb_session_leave(session, hyb_session_say_json(session, text, schema, &error), &error);
}
#endif

/* The tokens in the cache and those that follow, and after them those of a text. */
static hybrid_result hyb_session_text_ids(hybrid_session *s, const char *text, hybrid_ids *all, hybrid_error *error)
{
    const hybrid_stream *stream = s->stream;
    const int32_t length = stream->n_ids;
    hybrid_prompt_desc d;
    hybrid_ids ids;
    hybrid_result r;
    memset(&d, 0, sizeof d);
    memset(&ids, 0, sizeof ids);
    d.text = text;
    d.follows = length > 0;
    r = hybrid_prompt(s->model, &d, &ids, error);
    if (!r && ids.n + (size_t)length >= (size_t)stream->n_max)
        r = hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                     "%llu tokens of text after the %d that are there do not fit the context of %d",
                     (unsigned long long)ids.n, length, stream->n_max);
    if (!r) r = hyb_ids_room(s->rt, all, (size_t)length + ids.n, error);
    if (!r) {
        if (length) memcpy(all->data, stream->ids, (size_t)length * sizeof *all->data);
        if (ids.n) memcpy(all->data + length, ids.data, ids.n * sizeof *ids.data);
        all->n = (size_t)length + ids.n;
    }
    hybrid_ids_free(&ids);
    return r;
}

static hybrid_result hyb_session_complete(hybrid_session *s, const char *text, hybrid_error *error)
{
    hybrid_answer_desc as_always;
    hyb_turn turn;
    hybrid_ids ids;
    hybrid_result r;
    if (!text) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_complete: text is NULL");
    memset(&ids, 0, sizeof ids);
    memset(&as_always, 0, sizeof as_always);
    if ((r = hyb_session_turn(s, HYB_ROLE_USER, NULL, &turn, error)) != HYBRID_OK) return r;
    r = hyb_session_text_ids(s, text, &ids, error);
    if (!r) r = hyb_stream_check(s->stream, ids.data, ids.n, error);
    if (!r)
        hyb_session_go(s, &turn, &ids, &as_always, NULL);
    else
        hyb_turn_drop(&turn);
    hybrid_ids_free(&ids);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_session_complete, (hybrid_session * session, const char *text), (session, text))
{
    hybrid_error error;
    if (!session || !hyb_session_enter(session, "hybrid_session_complete")) return HYBRID_ERROR_INVALID;
    return hyb_session_leave(session, hyb_session_complete(session, text, &error), &error);
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Room in the answer for what one piece can add, and a zero. */
static hybrid_result hyb_session_answer_room(hybrid_session *s, hybrid_error *error)
{
    const size_t need = s->answer_size + s->stream->kept_size + 1; /* which is more than a piece */
    return HYB_GROW(s->rt, s->answer, s->answer_capacity, s->answer_size, need, error);
}

/* What a piece, or what came with it, adds to the message that the answer becomes. There is room. */
static void hyb_session_keep(hybrid_session *s, const hybrid_piece *piece)
{
    hybrid_stream *stream = s->stream;
    const char *text = stream->splits ? stream->kept : piece->text;
    const size_t n = stream->splits ? stream->n_kept : piece->size;
    if (n) memcpy(s->answer + s->answer_size, text, n);
    s->answer_size += n;
    s->answer[s->answer_size] = 0;
    stream->n_kept = 0;
}

/* A piece, whose text is added to the answer: there is room for it before anything is done. */
static hybrid_result hyb_session_step(hybrid_session *s, uint64_t budget_us, hybrid_piece *piece, hybrid_error *error)
{
    hybrid_stream *stream = s->stream;
    const bool waits = hyb_stream_waits(stream); /* it is in the answer already */
    hybrid_result r = hyb_session_answer_room(s, error);
    if (!r) r = hyb_stream_step(stream, budget_us, piece, error);
    if (r) return r;
    if (!waits) hyb_session_keep(s, piece);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_session_step, (hybrid_session * session, uint64_t budget_us, hybrid_piece *piece),
           (session, budget_us, piece))
{
    hybrid_error error;
    hybrid_result r;
    if (piece) {
        memset(piece, 0, sizeof *piece);
        piece->text = "";
    }
    if (!session || !hyb_session_enter(session, "hybrid_session_step")) return HYBRID_ERROR_INVALID;
    r = piece ? hyb_session_step(session, budget_us, piece, &error)
              : hyb_fail(&error, HYBRID_ERROR_INVALID, "hybrid_session_step: piece is NULL");
    return hyb_session_leave(session, r, &error);
}

HYB_BORDER(const char *, hybrid_session_next, (hybrid_session * session), (session))
{
    hybrid_session *s = session;
    hybrid_piece piece;
    hybrid_error error;
    hybrid_result r;
    if (!s || (!hyb_busy(s->in_use) && !s->stream->running && !hyb_stream_waits(s->stream)) ||
        !hyb_session_enter(s, "hybrid_session_next"))
        return NULL;
    memset(&piece, 0, sizeof piece);
    do r = hyb_session_step(s, UINT64_MAX, &piece, &error);
    while (!r && piece.size && piece.kind != HYBRID_PIECE_ANSWER);
    if (hyb_session_leave(s, r, &error) || !piece.size) return NULL;
    return piece.text;
}

HYB_BORDER_VOID(hybrid_session_stop, (hybrid_session * session), (session))
{
    if (!session) return;
    if (!hyb_session_enter(session, "hybrid_session_stop")) {
        hyb_log(session->rt, HYBRID_LOG_ERROR, "%s; nothing was stopped", session->failure.message);
        return;
    }
    hyb_stream_stop(session->stream);
    hyb_session_leave(session, HYBRID_OK, NULL);
}

HYB_BORDER(hybrid_result, hybrid_session_result, (const hybrid_session *session, hybrid_error *error), (session, error))
{
    if (!session) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_result: session is NULL");
    return hyb_kept(&session->failure, error);
}

HYB_BORDER_VOID(hybrid_session_describe, (const hybrid_session *session, hybrid_session_info *info), (session, info))
{
    hybrid_stream_info stream;
    if (!info) return;
    memset(info, 0, sizeof *info);
    if (!session || !session->stream) return;
    hyb_stream_describe(session->stream, &stream);
    info->stop = session->failure.result ? HYBRID_STOP_ERROR : stream.stop;
    info->n_ctx = stream.n_max;
    info->n_used = stream.n_used;
    info->n_prompt = stream.n_prompt;
    info->n_cached = stream.n_cached;
    info->n_generated = stream.n_generated;
    info->n_guessed = stream.n_guessed;
    info->n_drafted = stream.n_drafted;
    info->n_drafted_right = stream.n_drafted_right;
    info->n_right = stream.n_right;
    info->prompt_us = stream.prompt_us;
    info->generate_us = stream.generate_us;
    info->n_forgotten = session->n_forgotten;
}

HYBRID_API void *hybrid_session_user(const hybrid_session *session) { return session ? session->user : NULL; }

/* ---- messages --------------------------------------------------------------------------------------------------- */

HYBRID_API size_t hybrid_session_count(const hybrid_session *session)
{
    return session ? session->dialog.n + hyb_session_answered(session) : 0;
}

HYB_BORDER(hybrid_chat_message, hybrid_session_message, (const hybrid_session *session, size_t i), (session, i))
{
    hybrid_chat_message m = { NULL, NULL };
    if (i >= hybrid_session_count(session)) return m;
    m.role = hyb_role_text(i < session->dialog.n ? session->dialog.messages[i].role : (int)HYB_ROLE_ASSISTANT);
    m.content = i < session->dialog.n ? session->dialog.messages[i].text : session->answer_size ? session->answer : "";
    return m;
}

/* Ends a call that changes messages: the turn is taken, and an answer that still runs is broken off. */
static hybrid_result hyb_session_change(hybrid_session *s, hyb_turn *turn, hybrid_result r, hybrid_error *error)
{
    if (r)
        hyb_turn_drop(turn);
    else {
        hyb_stream_stop(s->stream);
        hyb_session_take(s, turn);
    }
    return hyb_session_leave(s, r, error);
}

HYB_BORDER(hybrid_result, hybrid_session_add, (hybrid_session * session, const char *role, const char *text),
           (session, role, text))
{
    hybrid_error error;
    hyb_turn turn;
    hybrid_result r = HYBRID_OK;
    if (!session || !hyb_session_enter(session, "hybrid_session_add")) return HYBRID_ERROR_INVALID;
    memset(&turn, 0, sizeof turn);
    if (!text) r = hyb_fail(&error, HYBRID_ERROR_INVALID, "hybrid_session_add: text is NULL");
    if (!r && hyb_role_of(role) == HYB_ROLES)
        r = hyb_fail(&error, HYBRID_ERROR_INVALID,
                     "hybrid_session_add: the role is '%.40s'; roles are system, user, assistant and tool",
                     role ? role : "");
    if (!r) r = hyb_session_turn(session, hyb_role_of(role), text, &turn, &error);
    if (r) return hyb_session_leave(session, r, &error);
    return hyb_session_change(session, &turn, r, &error);
}

/* The messages as they are, for a change of message i, which must be there. */
static hybrid_result hyb_session_edit_begin(hybrid_session *s, const char *function, size_t i, hyb_turn *turn,
                                            hybrid_error *error)
{
    const size_t n = hybrid_session_count(s);
    if (i < n) return hyb_session_turn(s, HYB_ROLE_USER, NULL, turn, error);
    return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: there is no message %llu: there are %llu", function,
                    (unsigned long long)i, (unsigned long long)n);
}

HYB_BORDER(hybrid_result, hybrid_session_edit, (hybrid_session * session, size_t i, const char *text),
           (session, i, text))
{
    hybrid_error error;
    hyb_turn turn;
    hybrid_result r = HYBRID_OK;
    if (!session || !hyb_session_enter(session, "hybrid_session_edit")) return HYBRID_ERROR_INVALID;
    if (!text) r = hyb_fail(&error, HYBRID_ERROR_INVALID, "hybrid_session_edit: text is NULL");
    if (!r) r = hyb_session_edit_begin(session, "hybrid_session_edit", i, &turn, &error);
    if (r) return hyb_session_leave(session, r, &error);
    r = hyb_turn_set(&turn, i, turn.view.messages[i].role, text, strlen(text), &error);
    return hyb_session_change(session, &turn, r, &error);
}

HYB_BORDER(hybrid_result, hybrid_session_cut, (hybrid_session * session, size_t n), (session, n))
{
    hybrid_error error;
    hyb_turn turn;
    hybrid_result r;
    if (!session || !hyb_session_enter(session, "hybrid_session_cut")) return HYBRID_ERROR_INVALID;
    if (n == hybrid_session_count(session)) return hyb_session_leave(session, HYBRID_OK, NULL);
    r = hyb_session_edit_begin(session, "hybrid_session_cut", n, &turn, &error);
    if (r) return hyb_session_leave(session, r, &error);
    turn.view.n = n;
    return hyb_session_change(session, &turn, HYBRID_OK, &error);
}

/* ---- the rest --------------------------------------------------------------------------------------------------- */

/* No decode is under way afterwards: what only this session waits for is given up, what others do is done. */
static hybrid_result hyb_session_settle(hybrid_session *s, hybrid_error *error)
{
    hyb_stream_unqueue(s->stream);
    hyb_stream_guess_drop(s->stream);
    return hyb_streams_busy(s->ctx) ? hyb_streams_decode(s->ctx, UINT64_MAX, error) : HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_session_set_adapters,
           (hybrid_session * session, hybrid_adapter *const *adapters, const float *scales, size_t n,
            hybrid_error *error),
           (session, adapters, scales, n, error))
{
    hyb_adapter_set set;
    hybrid_result r;
    if (!session) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_set_adapters: session is NULL");
    if ((r = hyb_session_begin(session, "hybrid_session_set_adapters", error)) != HYBRID_OK) return r;
    r = hyb_adapters_check(session->model, adapters, scales, n, &set, error);
    if (!r) r = hyb_session_settle(session, error);
    if (!r) r = hybrid_seq_set_adapters(session->ctx, session->stream->seq, adapters, scales, n, error);
    hyb_session_end(session);
    return r;
}

HYB_BORDER_VOID(hybrid_session_reset, (hybrid_session * session), (session))
{
    hyb_dialog *d;
    if (!session) return;
    if (!hyb_session_enter(session, "hybrid_session_reset")) {
        hyb_log(session->rt, HYBRID_LOG_ERROR, "%s; nothing was forgotten", session->failure.message);
        return;
    }
    d = &session->dialog;
    hyb_stream_reset(session->stream);
    while (d->n && d->messages[d->n - 1].role != HYB_ROLE_SYSTEM) hyb_dialog_drop(d, d->n - 1);
    session->is_chat = false;
    session->answer_size = session->n_begun = 0;
    session->n_forgotten = 0;
    hyb_session_leave(session, HYBRID_OK, NULL);
}
#endif
