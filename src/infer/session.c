/* infer/session: a conversation: prompts that reuse what is in the cache, and answers piece by piece. */
#ifndef HYB_INFER_SESSION_C
#define HYB_INFER_SESSION_C
#include "../api/session.h"
#include "../core/grow.c"
#include "../model/model.c"
#include "adapters.c"
#include "dialog.c"
#include "sampler.c"
#ifndef HYBRID_NO_GRAMMAR
    #include "../text/grammar/grammar.c"
#endif

struct hybrid_session {
    hybrid_model *model;
    hybrid_runtime *rt;
    hybrid_context *ctx;
    hybrid_sampler *sampler;
    hybrid_stop_matcher *stops;
#ifndef HYBRID_NO_GRAMMAR
    hybrid_lexicon *lexicon; /* made when a grammar is asked for the first time */
    hybrid_matcher *form, *next_form; /* of the last answer, and of the next ones (the same or not); NULL: any text */
    hybrid_matcher *once;             /* of the next answer alone; it comes before next_form */
    hybrid_grammar *form_grammar, *once_grammar; /* those that the session made itself */
#endif
    hybrid_utf8_stream utf8;
    hyb_dialog dialog;
    bool is_chat; /* the running answer belongs to the dialog */
    int32_t *ids;
    int32_t n_ids; /* tokens in the cache and in the batch, n_ctx at most */
    char *answer;
    size_t answer_size, answer_capacity; /* of the running answer, as shown */
    char *piece;
    size_t piece_size; /* room for all the text that one token can complete */
    int32_t max_tokens, n_vocab;
    bool prompt_pending; /* the batch holds a prompt */
    bool running;
    uint64_t in_use; /* a call is under way: callbacks may not begin another */
    hybrid_session_info info;
    hybrid_error failure; /* of the last call, if it failed */
};

/* ---- one call at a time: callbacks of a call (trace, log, memory, parallel_for) may not begin another ---- */

/* False: the call is refused, and the result says so until the call under way ends. */
static bool hyb_session_enter(hybrid_session *s, const char *function)
{
    if (!hyb_busy(s->in_use)) return (s->in_use = hyb_process()) != 0;
    hyb_fail(&s->failure, HYBRID_ERROR_INVALID, "%s: the session is in use: one of its callbacks called it again",
             function);
    return false;
}

/* Only the failure of a call that failed is new: everything else is as it was. */
static hybrid_result hyb_session_leave(hybrid_session *s, hybrid_result r, const hybrid_error *error)
{
    s->in_use = 0;
    if (r) s->failure = *error;
    s->failure.result = r;
    return r;
}

/* ---- the form of an answer ---- */

#ifdef HYBRID_NO_GRAMMAR
static void hyb_session_form_end(hybrid_session *s) { HYB_UNUSED(s); }
static void hyb_session_form_begin(hybrid_session *s) { HYB_UNUSED(s); }
static bool hyb_session_form_complete(const hybrid_session *s)
{
    HYB_UNUSED(s);
    return false;
}
static hybrid_result hyb_session_form_mask(hybrid_session *s, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
static hybrid_result hyb_session_form_accept(hybrid_session *s, int32_t id, hybrid_error *error)
{
    HYB_UNUSED(s);
    HYB_UNUSED(id);
    HYB_UNUSED(error);
    return HYBRID_OK;
}
#else
static void hyb_session_form_end(hybrid_session *s)
{
    if (s->next_form != s->form) hybrid_matcher_destroy(s->next_form);
    hybrid_matcher_destroy(s->form);
    hybrid_grammar_destroy(s->form_grammar);
    hybrid_lexicon_destroy(s->lexicon);
}

static void hyb_session_form_begin(hybrid_session *s)
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

static bool hyb_session_form_complete(const hybrid_session *s) { return s->form && hyb_matcher_complete(s->form); }

/* The sampler chooses among what the form allows. */
static hybrid_result hyb_session_form_mask(hybrid_session *s, hybrid_error *error)
{
    const uint32_t *mask = NULL;
    size_t n = 0;
    hybrid_result r = s->form ? hybrid_matcher_mask(s->form, s->lexicon, &mask, &n, error) : HYBRID_OK;
    if (!r) hybrid_sampler_set_mask(s->sampler, mask, n);
    return r;
}

static hybrid_result hyb_session_form_accept(hybrid_session *s, int32_t id, hybrid_error *error)
{
    return s->form ? hybrid_matcher_accept_token(s->form, s->lexicon, id, error) : HYBRID_OK;
}

/* A matcher of a grammar, and a lexicon if there is none yet. */
static hybrid_result hyb_session_form(hybrid_session *s, const hybrid_grammar *grammar, hybrid_matcher **form,
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

static hybrid_result hyb_session_set_grammar(hybrid_session *s, const hybrid_grammar *grammar, hybrid_error *error)
{
    hybrid_matcher *form = NULL;
    hybrid_result r = grammar ? hyb_session_form(s, grammar, &form, error) : HYBRID_OK;
    if (r) return r;
    if (s->next_form != s->form) hybrid_matcher_destroy(s->next_form);
    s->next_form = form;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_session_set_grammar,
           (hybrid_session *session, const hybrid_grammar *grammar, hybrid_error *error), (session, grammar, error))
{
    hybrid_result r;
    if (!session) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_set_grammar: session is NULL");
    if (hyb_busy(session->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_session_set_grammar: the session is in use: one of its callbacks called it again");
    session->in_use = hyb_process();
    r = hyb_session_set_grammar(session, grammar, error);
    session->in_use = 0;
    return r;
}
#endif

HYB_BORDER_VOID(hybrid_session_destroy, (hybrid_session *session), (session))
{
    hybrid_runtime *rt;
    hybrid_context *ctx;
    if (!session) return;
    rt = session->rt;
    if (!hyb_session_enter(session, "hybrid_session_destroy")) {
        hyb_log(rt, HYBRID_LOG_ERROR, "%s; it was not destroyed", session->failure.message);
        return;
    }
    ctx = session->ctx;
    session->ctx = NULL; /* free may call hybrid_session_describe */
    hybrid_context_destroy(ctx);
    hybrid_sampler_destroy(session->sampler);
    hybrid_stop_matcher_destroy(session->stops);
    hyb_session_form_end(session);
    hyb_dialog_free(&session->dialog);
    hyb_free(rt, session->ids);
    hyb_free(rt, session->answer);
    hyb_free(rt, session->piece);
    hyb_free(rt, session);
}

/* The caller's stop texts, and for models without a template the head of the next turn. */
static hybrid_result hyb_session_stops(hybrid_session *s, const hybrid_session_desc *desc, size_t *longest,
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
static hybrid_result hyb_session_room(hybrid_session *s, size_t longest_stop, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    hybrid_string safe;
    size_t size = 0;
    hybrid_result r;
    int32_t which, id;
    for (id = 0; id < s->n_vocab; id++) size = HYB_MAX(size, hybrid_token_bytes(tok, id).size);
    if (!hyb_add_size(size, longest_stop, &size) || size > SIZE_MAX / 16) return hyb_fail_memory(error, size);
    s->piece_size =
        2 * HYBRID_UTF8_ROOM(size) + 16; /* its own bytes, those held back, an unfinished character, and a zero */
    if (!(s->piece = (char *)hyb_calloc(s->rt, s->piece_size, 1))) return hyb_fail_memory(error, s->piece_size);
    if ((r = hybrid_stop_matcher_feed(s->stops, s->piece, size, &safe, &which, error)) != HYBRID_OK)
        return r; /* the matcher's memory has grown, and stays */
    hybrid_stop_matcher_reset(s->stops);
    return HYBRID_OK;
}

static hybrid_result hyb_session_build(hybrid_session *s, const hybrid_session_desc *desc, hybrid_error *error)
{
    hybrid_context_desc cd = desc->context;
    size_t longest_stop = 0;
    hybrid_result r;
    if (desc->max_tokens < 0)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "max_tokens is %d, must not be negative", desc->max_tokens);
    if (desc->n_stops && !desc->stops)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "n_stops is %llu, but stops is NULL",
                        (unsigned long long)desc->n_stops);
    cd.n_seq = 1;
    cd.n_logits = 1;
    cd.n_candidates = hybrid_sampler_candidates(&desc->sampler);
    if ((r = hybrid_context_create(s->model, &cd, &s->ctx, error)) != HYBRID_OK) return r;
    hybrid_context_describe(s->ctx, &cd);
    if ((r = hybrid_sampler_create(s->rt, &desc->sampler, &s->sampler, error)) != HYBRID_OK) return r;
    if ((r = hyb_session_stops(s, desc, &longest_stop, error)) != HYBRID_OK) return r;
    s->n_vocab = hybrid_vocab_size(hybrid_model_tokenizer(s->model));
    if ((r = hyb_session_room(s, longest_stop, error)) != HYBRID_OK) return r;
    if (!(s->ids = (int32_t *)hyb_calloc(s->rt, (size_t)cd.n_ctx, sizeof *s->ids)))
        return hyb_fail_memory(error, (size_t)cd.n_ctx * sizeof *s->ids);
    s->max_tokens = desc->max_tokens;
    s->info.n_ctx = cd.n_ctx;
    return desc->system && desc->system[0]
               ? hyb_dialog_add(&s->dialog, HYB_ROLE_SYSTEM, desc->system, strlen(desc->system), error)
               : HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_session_create,
           (hybrid_model *model, const hybrid_session_desc *desc, hybrid_session **session, hybrid_error *error),
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
        hybrid_session_destroy(s);
        return r;
    }
    *session = s;
    return HYBRID_OK;
}

/* ---- prompts ---- */

static hybrid_result hyb_session_tokenize(hybrid_session *s, const char *text, size_t size, unsigned flags,
                                          int32_t **ids, size_t *n, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    hybrid_result r = hybrid_tokenize(tok, text, size, flags, NULL, 0, n, error);
    *ids = NULL;
    if (r && r != HYBRID_ERROR_LIMIT) return r;
    if (!(*ids = (int32_t *)hyb_calloc(s->rt, *n + 1, sizeof **ids)))
        return hyb_fail_memory(error, (*n + 1) * sizeof **ids);
    if ((r = hybrid_tokenize(tok, text, size, flags, *ids, *n, n, error)) != HYBRID_OK) {
        hyb_free(s->rt, *ids);
        *ids = NULL;
    }
    return r;
}

/* Makes ids (n, below n_ctx) the content of the cache: tokens that the cache already begins with are kept, the others
 * go into the batch. */
static hybrid_result hyb_session_prompt(hybrid_session *s, const int32_t *ids, int32_t n, hybrid_error *error)
{
    const int32_t length = hybrid_seq_length(s->ctx, 0);
    int32_t same = 0, i;
    hybrid_result r;
    hybrid_batch_clear(s->ctx);
    while (same < length && same < n - 1 && s->ids[same] == ids[same])
        same++; /* one token at least must run, for its logits */
    same = hybrid_seq_back(s->ctx, 0, same);
    if ((r = hybrid_seq_remove(s->ctx, 0, same, error)) != HYBRID_OK) return r;
    s->n_ids = same;
    if ((r = hybrid_batch_add(s->ctx, 0, ids + same, (size_t)(n - same), error)) != HYBRID_OK) return r;
    memcpy(s->ids + same, ids + same, (size_t)(n - same) * sizeof *ids);
    s->n_ids = n;
    for (i = same; i < n; i++) hybrid_sampler_accept(s->sampler, ids[i]);
    memset(&s->utf8, 0, sizeof s->utf8);
    hybrid_stop_matcher_reset(s->stops);
    s->answer_size = 0;
    hyb_session_form_begin(s);
    s->running = s->prompt_pending = true;
    s->info.stop = HYBRID_STOP_NONE;
    s->info.n_prompt = n;
    s->info.n_cached = same;
    s->info.n_generated = 0;
    s->info.prompt_us = s->info.generate_us = 0;
    return HYBRID_OK;
}

/* The tokens of a whole dialog, BOS included where the model wants one and the template has none. */
static hybrid_result hyb_session_dialog_ids(hybrid_session *s, const hyb_dialog *dialog, int32_t **ids, size_t *n,
                                            hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const int32_t bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    hybrid_text text;
    hybrid_result r;
    memset(&text, 0, sizeof text);
    r = hyb_dialog_render(dialog, s->model, &text, error);
    if (!r)
        r = hyb_session_tokenize(s, text.data ? text.data : "", text.size, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, n,
                                 error);
    hybrid_text_free(&text);
    if (!r && hybrid_tokenizer_adds_bos(tok) && bos >= 0 && (!*n || (*ids)[0] != bos)) {
        memmove(*ids + 1, *ids, *n * sizeof **ids); /* hyb_session_tokenize leaves room for one more */
        (*ids)[0] = bos;
        ++*n;
    }
    return r;
}

/* The dialog as it will be: what has been shown of a running answer becomes a message, and so does what the user says
 * (unless it is NULL). */
static hybrid_result hyb_session_turn(hybrid_session *s, const char *said, hyb_turn *turn, hybrid_error *error)
{
    const hyb_dialog *d = &s->dialog;
    const bool answered = s->is_chat && d->n && d->messages[d->n - 1].role == HYB_ROLE_USER;
    return hyb_turn_begin(turn, d, answered ? s->answer ? s->answer : "" : NULL, answered ? s->answer_size : 0, said,
                          error);
}

/* The prompt of a turn. As many of the oldest messages are left out as it takes to fit it beside an answer: an eighth
 * of the context, or what max_tokens asks. */
static hybrid_result hyb_session_turn_ids(hybrid_session *s, hyb_turn *turn, int32_t **ids, size_t *n,
                                          hybrid_error *error)
{
    const int32_t n_ctx = s->info.n_ctx, room = s->max_tokens ? HYB_MIN(s->max_tokens, n_ctx / 2) : n_ctx / 8;
    hybrid_result r;
    for (;;) {
        *ids = NULL;
        if ((r = hyb_session_dialog_ids(s, &turn->view, ids, n, error)) != HYBRID_OK) return r;
        if (*n + (size_t)room <= (size_t)n_ctx || !hyb_turn_forget(turn)) break;
        hyb_free(s->rt, *ids);
    }
    if (*n < (size_t)n_ctx) return HYBRID_OK;
    return hyb_fail(
        error, HYBRID_ERROR_CONTEXT_FULL,
        "the message makes a prompt of %llu tokens, but the context has only %d: shorten it, or raise n_ctx",
        (unsigned long long)*n, n_ctx);
}

static hybrid_result hyb_session_say(hybrid_session *s, const char *text, hybrid_error *error)
{
    hyb_turn turn;
    int32_t *ids = NULL;
    size_t n = 0;
    hybrid_result r;
    if (!text) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_say: text is NULL");
    if ((r = hyb_session_turn(s, text, &turn, error)) != HYBRID_OK) return r;
    r = hyb_session_turn_ids(s, &turn, &ids, &n, error);
    if (!r) r = hyb_session_prompt(s, ids, (int32_t)n, error);
    if (!r) {
        s->info.n_forgotten += (int32_t)turn.n_dropped;
        hyb_turn_take(&turn, &s->dialog);
        s->is_chat = true;
    } else
        hyb_turn_drop(&turn);
    hyb_free(s->rt, ids);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_session_say, (hybrid_session *session, const char *text), (session, text))
{
    hybrid_error error;
    if (!session || !hyb_session_enter(session, "hybrid_session_say")) return HYBRID_ERROR_INVALID;
    return hyb_session_leave(session, hyb_session_say(session, text, &error), &error);
}

#ifndef HYBRID_NO_GRAMMAR
/* The form is made first; it is dropped when nothing is said. */
static hybrid_result hyb_session_say_json(hybrid_session *s, const char *text, const char *schema, hybrid_error *error)
{
    hybrid_lexicon *before = s->lexicon;
    hybrid_grammar_desc d;
    hybrid_result r;
    memset(&d, 0, sizeof d);
    if (!(d.schema = schema)) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_say_json: schema is NULL");
    r = hybrid_grammar_create(s->rt, &d, &s->once_grammar, error);
    if (!r) r = hyb_session_form(s, s->once_grammar, &s->once, error);
    if (!r) r = hyb_session_say(s, text, error);
    hybrid_matcher_destroy(s->once); /* NULL: it is in use */
    hybrid_grammar_destroy(s->once_grammar);
    s->once = NULL;
    s->once_grammar = NULL;
    if (r && s->lexicon != before) {
        hybrid_lexicon_destroy(s->lexicon);
        s->lexicon = before;
    }
    return r;
}

HYB_BORDER(hybrid_result, hybrid_session_say_json, (hybrid_session *session, const char *text, const char *schema),
           (session, text, schema))
{
    hybrid_error error;
    if (!session || !hyb_session_enter(session, "hybrid_session_say_json")) return HYBRID_ERROR_INVALID;
    return hyb_session_leave(session, hyb_session_say_json(session, text, schema, &error), &error);
}
#endif

/* The tokens in the cache and in the batch, and after them those of a text. */
static hybrid_result hyb_session_text_ids(hybrid_session *s, const char *text, int32_t **all, size_t *n_all,
                                          hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const int32_t length = s->n_ids, bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    const unsigned flags = HYBRID_TOKENIZE_PARSE_SPECIAL | (length ? 0u : HYBRID_TOKENIZE_ADD_SPECIAL);
    int32_t *ids;
    size_t n = 0;
    hybrid_result r = hyb_session_tokenize(s, text, strlen(text), flags, &ids, &n, error);
    *all = NULL;
    if (!r && n > 1 && !length && hybrid_tokenizer_adds_eos(tok)) n--; /* text that goes on has no end */
    if (!r && !n && !length && bos >= 0) ids[n++] = bos;
    if (!r && !n && !length)
        r = hyb_fail(error, HYBRID_ERROR_INVALID,
                     "the prompt is empty, and this model has no token to begin with: give it some text");
    if (!r && n + (size_t)length >= (size_t)s->info.n_ctx)
        r = hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                     "%llu tokens of text after the %d that are there do not fit the context of %d",
                     (unsigned long long)n, length, s->info.n_ctx);
    *n_all = n + (size_t)length;
    if (!r && !(*all = (int32_t *)hyb_calloc(s->rt, *n_all, sizeof **all)))
        r = hyb_fail_memory(error, *n_all * sizeof **all);
    if (!r) {
        if (length) memcpy(*all, s->ids, (size_t)length * sizeof **all);
        if (n) memcpy(*all + length, ids, n * sizeof **all);
    }
    hyb_free(s->rt, ids);
    return r;
}

static hybrid_result hyb_session_complete(hybrid_session *s, const char *text, hybrid_error *error)
{
    hyb_turn turn;
    int32_t *ids = NULL;
    size_t n;
    hybrid_result r;
    if (!text) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_complete: text is NULL");
    if ((r = hyb_session_turn(s, NULL, &turn, error)) != HYBRID_OK) return r;
    r = hyb_session_text_ids(s, text, &ids, &n, error);
    if (!r) r = hyb_session_prompt(s, ids, (int32_t)n, error);
    if (!r) {
        hyb_turn_take(&turn, &s->dialog);
        s->is_chat = false;
    } else
        hyb_turn_drop(&turn);
    hyb_free(s->rt, ids);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_session_complete, (hybrid_session *session, const char *text), (session, text))
{
    hybrid_error error;
    if (!session || !hyb_session_enter(session, "hybrid_session_complete")) return HYBRID_ERROR_INVALID;
    return hyb_session_leave(session, hyb_session_complete(session, text, &error), &error);
}

/* ---- answers ---- */

/* Bytes that may be shown become characters, after the `at` bytes of the piece, which has room for them. */
static void hyb_session_show(hybrid_session *s, hybrid_string bytes, size_t *at)
{
    *at += hybrid_utf8_feed(&s->utf8, bytes.data, bytes.size, s->piece + *at);
}

/* The answer is over: what was held back is shown, unless a stop text ended it. */
static void hyb_session_stop(hybrid_session *s, hybrid_stop_reason stop, size_t *at)
{
    if (stop != HYBRID_STOP_TEXT) hyb_session_show(s, hybrid_stop_matcher_flush(s->stops), at);
    *at += hybrid_utf8_flush(&s->utf8, s->piece + *at);
    s->info.stop = stop;
    s->running = false;
}

/* Runs the model on what is queued and chooses the next token. If there is none, the tokens are queued again: what they
 * left in the cache is as bad as their logits. */
static hybrid_result hyb_session_choose(hybrid_session *s, int32_t *id, hybrid_error *error)
{
    const uint64_t since = hyb_now_us();
    const int32_t length = hybrid_seq_length(s->ctx, 0);
    const uint64_t tries = s->sampler->tries;
    uint64_t decoded;
    hybrid_result r;
    if ((r = hybrid_decode(s->ctx, error)) != HYBRID_OK) return r;
    decoded = hyb_now_us();
    r = hyb_session_form_mask(s, error);
    *id = r ? (int32_t)r : hybrid_sample_next(s->sampler, s->ctx, 0, error);
    if (*id >= 0 && (r = hyb_session_form_accept(s, *id, error)) != HYBRID_OK) {
        s->sampler->tries = tries; /* the same token is drawn again */
        *id = (int32_t)r;
    }
    if (*id < 0) {
        hybrid_seq_remove(s->ctx, 0, length, NULL);
        hybrid_batch_add(s->ctx, 0, s->ids + length, (size_t)(s->n_ids - length), NULL);
        return (hybrid_result)*id;
    }
    if (s->prompt_pending)
        s->info.prompt_us += decoded - since;
    else
        s->info.generate_us += hyb_now_us() - since;
    s->prompt_pending = false;
    return HYBRID_OK;
}

/* Adds the token after the others if the answer goes on; else returns why it ends. */
static hybrid_stop_reason hyb_session_append(hybrid_session *s, int32_t id)
{
    if (s->n_ids == s->info.n_ctx) return HYBRID_STOP_CONTEXT;
    s->ids[s->n_ids++] = id;
    if (s->max_tokens && s->info.n_generated >= s->max_tokens)
        return HYBRID_STOP_LIMIT;              /* it is decoded with the next prompt */
    hybrid_batch_add(s->ctx, 0, &id, 1, NULL); /* there is room */
    return HYBRID_STOP_NONE;
}

/* Takes one more token; *at counts the bytes of the piece. Everything that can fail comes before the first change. */
static hybrid_result hyb_session_token(hybrid_session *s, size_t *at, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const size_t need = s->answer_size + s->piece_size;
    hybrid_string bytes = { NULL, 0 };
    hybrid_stop_reason stop;
    hybrid_result r;
    int32_t id, which = -1;
    if ((r = HYB_GROW(s->rt, s->answer, s->answer_capacity, s->answer_size, need, error)) != HYBRID_OK) return r;
    if ((r = hyb_session_choose(s, &id, error)) != HYBRID_OK) return r;
    if (hybrid_token_is_end(tok, id)) {
        hyb_session_stop(s, HYBRID_STOP_END, at);
        return HYBRID_OK;
    }
    hybrid_sampler_accept(s->sampler, id);
    s->info.n_generated++;
    if (hybrid_token_kind(tok, id) != HYBRID_TOKEN_CONTROL &&
        hybrid_token_kind(tok, id) != HYBRID_TOKEN_UNKNOWN) { /* those are not text */
        bytes = hybrid_token_bytes(tok, id);
        hybrid_stop_matcher_feed(s->stops, bytes.data, bytes.size, &bytes, &which,
                                 NULL); /* cannot fail: hyb_session_room took its memory */
        hyb_session_show(s, bytes, at);
    }
    stop = which >= 0 ? HYBRID_STOP_TEXT : hyb_session_append(s, id);
    if (!stop && hyb_session_form_complete(s)) { /* nothing can follow: the token is decoded with the next prompt */
        hybrid_batch_clear(s->ctx);
        stop = HYBRID_STOP_END;
    }
    if (stop) hyb_session_stop(s, stop, at);
    return HYBRID_OK;
}

HYB_BORDER(const char *, hybrid_session_next, (hybrid_session *session), (session))
{
    hybrid_session *s = session;
    hybrid_error error;
    size_t at = 0;
    hybrid_result r = HYBRID_OK;
    if (!s || (!s->running && !hyb_busy(s->in_use)) || !hyb_session_enter(s, "hybrid_session_next")) return NULL;
    while (!r && s->running && !at) r = hyb_session_token(s, &at, &error);
    if (hyb_session_leave(s, r, &error) || !at) return NULL;
    memcpy(s->answer + s->answer_size, s->piece, at);
    s->answer_size += at;
    s->piece[at] = 0;
    return s->piece;
}

HYB_BORDER(hybrid_result, hybrid_session_result, (const hybrid_session *session, hybrid_error *error), (session, error))
{
    if (!session) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_result: session is NULL");
    return hyb_kept(&session->failure, error);
}

HYB_BORDER_VOID(hybrid_session_describe, (const hybrid_session *session, hybrid_session_info *info), (session, info))
{
    if (!info) return;
    memset(info, 0, sizeof *info);
    if (!session) return;
    *info = session->info;
    if (session->failure.result) info->stop = HYBRID_STOP_ERROR;
    info->n_used = hybrid_seq_length(session->ctx, 0);
}

HYB_BORDER(hybrid_result, hybrid_session_set_adapters,
           (hybrid_session *session, hybrid_adapter *const *adapters, const float *scales, size_t n,
            hybrid_error *error),
           (session, adapters, scales, n, error))
{
    hybrid_result r;
    if (!session) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_set_adapters: session is NULL");
    if (hyb_busy(session->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_session_set_adapters: the session is in use: one of its callbacks called it again");
    session->in_use = hyb_process();
    r = hybrid_seq_set_adapters(session->ctx, 0, adapters, scales, n, error);
    session->in_use = 0;
    return r;
}

HYB_BORDER_VOID(hybrid_session_reset, (hybrid_session *session), (session))
{
    hyb_dialog *d;
    if (!session) return;
    if (!hyb_session_enter(session, "hybrid_session_reset")) {
        hyb_log(session->rt, HYBRID_LOG_ERROR, "%s; nothing was forgotten", session->failure.message);
        return;
    }
    d = &session->dialog;
    hybrid_batch_clear(session->ctx);
    hybrid_seq_remove(session->ctx, 0, 0, NULL);
    hybrid_sampler_reset(session->sampler);
    while (d->n && d->messages[d->n - 1].role != HYB_ROLE_SYSTEM) hyb_dialog_drop(d, d->n - 1);
    session->n_ids = 0;
    session->running = session->is_chat = session->prompt_pending = false;
    session->info.stop = HYBRID_STOP_NONE;
    session->info.n_forgotten = 0;
    hyb_session_leave(session, HYBRID_OK, NULL);
}
#endif
