/* infer/session: a conversation: prompts that reuse what is in the cache, and answers piece by piece. */

struct hybrid_session {
    hybrid_model        *model;
    hybrid_runtime      *rt;
    hybrid_context      *ctx;
    hybrid_sampler      *sampler;
    hybrid_stop_matcher *stops;
    hybrid_utf8_stream   utf8;
    hybrid__dialog       dialog;
    bool                 is_chat;          /* the running answer belongs to the dialog */
    int32_t             *ids; int32_t n_ids;                   /* tokens in the cache and in the batch, n_ctx at most */
    char                *answer; size_t answer_size, answer_capacity;   /* of the running answer, as shown */
    char                *piece; size_t piece_capacity;
    int32_t              max_tokens, n_vocab;
    bool                 prompt_pending;   /* the batch holds a prompt */
    bool                 running;
    hybrid_session_info  info;
    hybrid_error         error;
    hybrid_result        result;
};

HYBRID_API void hybrid_session_destroy(hybrid_session *session)
{
    hybrid_runtime *rt;
    if (!session) return;
    rt = session->rt;
    hybrid_context_destroy(session->ctx);
    hybrid_sampler_destroy(session->sampler);
    hybrid_stop_destroy(session->stops);
    hybrid__dialog_free(&session->dialog);
    hybrid__free(rt, session->ids);
    hybrid__free(rt, session->answer);
    hybrid__free(rt, session->piece);
    hybrid__free(rt, session);
}

/* The caller's stop texts, and for models without a template the head of the next turn. */
static hybrid_result hybrid__session_stops(hybrid_session *s, const hybrid_session_desc *desc, hybrid_error *error)
{
    static const char turn[] = "\nUser:";
    const size_t extra = hybrid_model_template(s->model) == NULL;
    hybrid_string *list = (hybrid_string *)hybrid__calloc(s->rt, desc->n_stops + extra, sizeof *list);
    hybrid_result r;
    size_t i;
    if (!list) return hybrid__fail_memory(error, (desc->n_stops + extra) * sizeof *list);
    for (i = 0; i < desc->n_stops; i++) {
        list[i].data = desc->stops[i];
        list[i].size = desc->stops[i] ? strlen(desc->stops[i]) : 0;
    }
    if (extra) { list[i].data = turn; list[i].size = sizeof turn - 1; }
    r = hybrid_stop_create(s->rt, list, desc->n_stops + extra, &s->stops, error);
    hybrid__free(s->rt, list);
    return r;
}

static hybrid_result hybrid__session_build(hybrid_session *s, const hybrid_session_desc *desc, hybrid_error *error)
{
    hybrid_context_desc cd = desc->context;
    hybrid_result r;
    if (desc->max_tokens < 0) return hybrid__fail(error, HYBRID_ERROR_INVALID, "max_tokens is %d, must not be negative", desc->max_tokens);
    if (desc->n_stops && !desc->stops) return hybrid__fail(error, HYBRID_ERROR_INVALID, "n_stops is %llu, but stops is NULL", (unsigned long long)desc->n_stops);
    cd.n_seq = 1;
    cd.n_logits = 1;
    cd.n_candidates = hybrid_sampler_candidates(&desc->sampler);
    if ((r = hybrid_context_create(s->model, &cd, &s->ctx, error)) != HYBRID_OK) return r;
    hybrid_context_describe(s->ctx, &cd);
    if ((r = hybrid_sampler_create(s->rt, &desc->sampler, &s->sampler, error)) != HYBRID_OK) return r;
    if ((r = hybrid__session_stops(s, desc, error)) != HYBRID_OK) return r;
    if (!(s->ids = (int32_t *)hybrid__calloc(s->rt, (size_t)cd.n_ctx, sizeof *s->ids))) return hybrid__fail_memory(error, (size_t)cd.n_ctx * sizeof *s->ids);
    s->max_tokens = desc->max_tokens;
    s->n_vocab = (int32_t)hybrid_vocab_size(hybrid_model_tokenizer(s->model));
    s->info.n_ctx = cd.n_ctx;
    return desc->system && desc->system[0] ? hybrid__dialog_add(&s->dialog, HYBRID__ROLE_SYSTEM, desc->system, strlen(desc->system), error) : HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_session_create(hybrid_model *model, const hybrid_session_desc *desc, hybrid_session **session, hybrid_error *error)
{
    hybrid_session_desc zero;
    hybrid_session *s;
    hybrid_result r;
    if (!model || !session) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_session_create: %s is NULL", model ? "session" : "model");
    *session = NULL;
    memset(&zero, 0, sizeof zero);
    if (!(s = (hybrid_session *)hybrid__calloc(model->rt, 1, sizeof *s))) return hybrid__fail_memory(error, sizeof *s);
    s->model = model;
    s->rt = s->dialog.rt = model->rt;
    if ((r = hybrid__session_build(s, desc ? desc : &zero, error)) != HYBRID_OK) {
        hybrid_session_destroy(s);
        return r;
    }
    *session = s;
    return HYBRID_OK;
}

/* ---- prompts ---- */

static hybrid_result hybrid__session_tokenize(hybrid_session *s, const char *text, size_t size, unsigned flags, int32_t **ids, size_t *n, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    hybrid_result r = hybrid_tokenize(tok, text, size, flags, NULL, 0, n, error);
    *ids = NULL;
    if (r && r != HYBRID_ERROR_LIMIT) return r;
    if (!(*ids = (int32_t *)hybrid__calloc(s->rt, *n + 1, sizeof **ids))) return hybrid__fail_memory(error, (*n + 1) * sizeof **ids);
    if ((r = hybrid_tokenize(tok, text, size, flags, *ids, *n, n, error)) != HYBRID_OK) {
        hybrid__free(s->rt, *ids);
        *ids = NULL;
    }
    return r;
}

/* Makes ids the content of the cache: what it begins with already is kept, the rest goes into the batch. */
static hybrid_result hybrid__session_prompt(hybrid_session *s, const int32_t *ids, int32_t n, hybrid_error *error)
{
    const int32_t length = hybrid_seq_length(s->ctx, 0);
    int32_t same = 0, i;
    hybrid_result r;
    hybrid_batch_clear(s->ctx);
    while (same < length && same < n - 1 && s->ids[same] == ids[same]) same++;       /* one token at least must run, for its logits */
    if ((r = hybrid_seq_remove(s->ctx, 0, same, error)) != HYBRID_OK) return r;
    s->n_ids = same;
    if ((r = hybrid_batch_add(s->ctx, 0, ids + same, (size_t)(n - same), error)) != HYBRID_OK) return r;
    memcpy(s->ids + same, ids + same, (size_t)(n - same) * sizeof *ids);
    s->n_ids = n;
    for (i = same; i < n; i++) hybrid_sampler_accept(s->sampler, ids[i]);
    memset(&s->utf8, 0, sizeof s->utf8);
    hybrid_stop_reset(s->stops);
    s->answer_size = 0;
    s->running = s->prompt_pending = true;
    s->info.stop = HYBRID_STOP_NONE;
    s->info.n_prompt = n;
    s->info.n_cached = same;
    s->info.n_generated = 0;
    s->info.prompt_us = s->info.generate_us = 0;
    return HYBRID_OK;
}

/* The tokens of the whole dialog, BOS included where the model wants one and the template has none. */
static hybrid_result hybrid__session_dialog_ids(hybrid_session *s, int32_t **ids, size_t *n, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const int32_t bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    hybrid_text text;
    hybrid_result r;
    memset(&text, 0, sizeof text);
    r = hybrid__dialog_render(&s->dialog, s->model, &text, error);
    if (!r) r = hybrid__session_tokenize(s, text.data ? text.data : "", text.size, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, n, error);
    hybrid_text_free(&text);
    if (!r && hybrid_tokenizer_adds_bos(tok) && bos >= 0 && (!*n || (*ids)[0] != bos)) {
        memmove(*ids + 1, *ids, *n * sizeof **ids);    /* hybrid__session_tokenize leaves room for one more */
        (*ids)[0] = bos;
        ++*n;
    }
    return r;
}

/* What has been shown of an answer becomes a message of the dialog. */
static hybrid_result hybrid__session_keep_answer(hybrid_session *s, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    if (s->is_chat && s->dialog.n && s->dialog.messages[s->dialog.n - 1].role == HYBRID__ROLE_USER)
        r = hybrid__dialog_add(&s->dialog, HYBRID__ROLE_ASSISTANT, s->answer ? s->answer : "", s->answer_size, error);
    if (!r) s->is_chat = s->running = false;
    return r;
}

static hybrid_result hybrid__session_failed(hybrid_session *s, hybrid_result r)
{
    s->result = r;
    s->error.result = r;
    s->info.stop = HYBRID_STOP_ERROR;
    s->running = false;
    hybrid_batch_clear(s->ctx);
    s->n_ids = hybrid_seq_length(s->ctx, 0);
    return r;
}

HYBRID_API hybrid_result hybrid_session_say(hybrid_session *session, const char *text)
{
    hybrid_session *s = session;
    int32_t *ids = NULL;
    size_t n = 0;
    hybrid_result r;
    if (!s) return HYBRID_ERROR_INVALID;
    s->result = HYBRID_OK;
    if (!text) return hybrid__session_failed(s, hybrid__fail(&s->error, HYBRID_ERROR_INVALID, "hybrid_session_say: text is NULL"));
    if ((r = hybrid__session_keep_answer(s, &s->error)) != HYBRID_OK) return hybrid__session_failed(s, r);
    if ((r = hybrid__dialog_add(&s->dialog, HYBRID__ROLE_USER, text, strlen(text), &s->error)) != HYBRID_OK) return hybrid__session_failed(s, r);
    for (;;) {                                         /* room for an answer: an eighth of the context, or what max_tokens asks */
        const int32_t room = s->max_tokens ? HYBRID__MIN(s->max_tokens, s->info.n_ctx / 2) : s->info.n_ctx / 8;
        if ((r = hybrid__session_dialog_ids(s, &ids, &n, &s->error)) != HYBRID_OK) break;
        if (n + (size_t)room <= (size_t)s->info.n_ctx || !hybrid__dialog_forget(&s->dialog, &s->info.n_forgotten)) break;
        hybrid__free(s->rt, ids);
        ids = NULL;
    }
    if (!r && n >= (size_t)s->info.n_ctx)
        r = hybrid__fail(&s->error, HYBRID_ERROR_CONTEXT_FULL, "the message makes a prompt of %llu tokens, but the context has only %d: shorten it, or raise n_ctx", (unsigned long long)n, s->info.n_ctx);
    if (!r) r = hybrid__session_prompt(s, ids, (int32_t)n, &s->error);
    hybrid__free(s->rt, ids);
    if (r) {                                           /* as if it had not been said */
        if (s->dialog.n && s->dialog.messages[s->dialog.n - 1].role == HYBRID__ROLE_USER) hybrid__dialog_drop(&s->dialog, s->dialog.n - 1);
        return hybrid__session_failed(s, r);
    }
    s->is_chat = true;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_session_complete(hybrid_session *session, const char *text)
{
    hybrid_session *s = session;
    const hybrid_tokenizer *tok;
    int32_t *ids = NULL, *all = NULL, length;
    size_t n = 0;
    hybrid_result r;
    if (!s) return HYBRID_ERROR_INVALID;
    s->result = HYBRID_OK;
    if (!text) return hybrid__session_failed(s, hybrid__fail(&s->error, HYBRID_ERROR_INVALID, "hybrid_session_complete: text is NULL"));
    if ((r = hybrid__session_keep_answer(s, &s->error)) != HYBRID_OK) return hybrid__session_failed(s, r);
    tok = hybrid_model_tokenizer(s->model);
    length = s->n_ids;
    r = hybrid__session_tokenize(s, text, strlen(text), HYBRID_TOKENIZE_PARSE_SPECIAL | (length ? 0u : HYBRID_TOKENIZE_ADD_SPECIAL), &ids, &n, &s->error);
    if (!r && n > 1 && !length && hybrid_tokenizer_adds_eos(tok)) n--;                          /* text that goes on has no end */
    if (!r && !n && !length && hybrid_token_role_id(tok, HYBRID_ROLE_BOS) >= 0) ids[n++] = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    if (!r && !n && !length) r = hybrid__fail(&s->error, HYBRID_ERROR_INVALID, "the prompt is empty, and this model has no token to begin with: give it some text");
    if (!r && n + (size_t)length >= (size_t)s->info.n_ctx)
        r = hybrid__fail(&s->error, HYBRID_ERROR_CONTEXT_FULL, "%llu tokens of text behind the %d that are there do not fit the context of %d", (unsigned long long)n, length, s->info.n_ctx);
    if (!r && !(all = (int32_t *)hybrid__calloc(s->rt, n + (size_t)length, sizeof *all))) r = hybrid__fail_memory(&s->error, (n + (size_t)length) * sizeof *all);
    if (!r) {
        memcpy(all, s->ids, (size_t)length * sizeof *all);
        memcpy(all + length, ids, n * sizeof *all);
        r = hybrid__session_prompt(s, all, length + (int32_t)n, &s->error);
    }
    hybrid__free(s->rt, ids);
    hybrid__free(s->rt, all);
    return r ? hybrid__session_failed(s, r) : HYBRID_OK;
}

/* ---- answers ---- */

static bool hybrid__grow(hybrid_runtime *rt, char **data, size_t *capacity, size_t used, size_t need)
{
    size_t to = HYBRID__MAX(need, 2 * *capacity);
    char *p;
    if (need <= *capacity) return true;
    if (!(p = (char *)hybrid__realloc(rt, *data, used, to))) return false;
    *data = p;
    *capacity = to;
    return true;
}

/* Bytes that may be shown become characters, behind the `at` bytes of the piece. */
static hybrid_result hybrid__session_show(hybrid_session *s, hybrid_string bytes, size_t *at)
{
    if (!hybrid__grow(s->rt, &s->piece, &s->piece_capacity, *at, *at + HYBRID_UTF8_ROOM(bytes.size) + 16)) return hybrid__fail_memory(&s->error, bytes.size);
    *at += hybrid_utf8_feed(&s->utf8, bytes.data, bytes.size, s->piece + *at);
    return HYBRID_OK;
}

/* The answer is over: what was held back is shown, unless a stop text ended it. */
static hybrid_result hybrid__session_stop(hybrid_session *s, hybrid_stop stop, size_t *at)
{
    hybrid_result r = stop == HYBRID_STOP_TEXT ? HYBRID_OK : hybrid__session_show(s, hybrid_stop_flush(s->stops), at);
    if (r) return r;
    if (!hybrid__grow(s->rt, &s->piece, &s->piece_capacity, *at, *at + 16)) return hybrid__fail_memory(&s->error, *at + 16);
    *at += hybrid_utf8_flush(&s->utf8, s->piece + *at);
    s->info.stop = stop;
    s->running = false;
    return HYBRID_OK;
}

/* Runs the model on what is queued and takes the next token; *at counts the bytes of the piece. */
static hybrid_result hybrid__session_token(hybrid_session *s, size_t *at)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const uint64_t since = hybrid__now_us();
    hybrid_string bytes;
    int32_t id;
    int which;
    hybrid_result r = hybrid_decode(s->ctx, &s->error);
    if (r) return r;
    if (s->prompt_pending) s->info.prompt_us += hybrid__now_us() - since;
    id = hybrid_sample_next(s->sampler, s->ctx, 0, s->n_vocab);
    if (!s->prompt_pending) s->info.generate_us += hybrid__now_us() - since;
    s->prompt_pending = false;
    if (id < 0) return hybrid__fail(&s->error, (hybrid_result)id, "no next token: a logit is not a number, or all tokens are forbidden (damaged weights?)");
    if (hybrid_token_is_end(tok, id)) return hybrid__session_stop(s, HYBRID_STOP_END, at);
    hybrid_sampler_accept(s->sampler, id);
    s->info.n_generated++;
    if (hybrid_token_kind(tok, id) != HYBRID_TOKEN_CONTROL && hybrid_token_kind(tok, id) != HYBRID_TOKEN_UNKNOWN) {      /* those are no text */
        bytes = hybrid_token_bytes(tok, id);
        if ((r = hybrid_stop_feed(s->stops, bytes.data, bytes.size, &bytes, &which, &s->error)) != HYBRID_OK) return r;
        if ((r = hybrid__session_show(s, bytes, at)) != HYBRID_OK) return r;
        if (which >= 0) return hybrid__session_stop(s, HYBRID_STOP_TEXT, at);
    }
    if (s->n_ids == s->info.n_ctx) return hybrid__session_stop(s, HYBRID_STOP_CONTEXT, at);
    if ((r = hybrid_batch_add(s->ctx, 0, &id, 1, &s->error)) != HYBRID_OK) return r;
    s->ids[s->n_ids++] = id;
    if (s->max_tokens && s->info.n_generated >= s->max_tokens) {
        hybrid_batch_clear(s->ctx);                    /* known, but not needed now: it is decoded with the next prompt */
        return hybrid__session_stop(s, HYBRID_STOP_LIMIT, at);
    }
    return HYBRID_OK;
}

HYBRID_API const char *hybrid_session_next(hybrid_session *session)
{
    hybrid_session *s = session;
    size_t at = 0;
    hybrid_result r = HYBRID_OK;
    if (!s || !s->running) return NULL;
    while (!r && s->running && !at) r = hybrid__session_token(s, &at);
    if (!r && at && !hybrid__grow(s->rt, &s->answer, &s->answer_capacity, s->answer_size, s->answer_size + at)) r = hybrid__fail_memory(&s->error, s->answer_size + at);
    if (r) {
        hybrid__session_failed(s, r);
        return NULL;
    }
    if (!at) return NULL;
    memcpy(s->answer + s->answer_size, s->piece, at);
    s->answer_size += at;
    s->piece[at] = 0;                                  /* HYBRID_UTF8_ROOM and + 16 leave room for it */
    return s->piece;
}

HYBRID_API hybrid_result hybrid_session_result(const hybrid_session *session, hybrid_error *error)
{
    if (!session) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_session_result: session is NULL");
    if (session->result && error) *error = session->error;
    return session->result;
}

HYBRID_API void hybrid_session_describe(const hybrid_session *session, hybrid_session_info *info)
{
    if (!info) return;
    memset(info, 0, sizeof *info);
    if (!session) return;
    *info = session->info;
    info->n_used = hybrid_seq_length(session->ctx, 0);
}

HYBRID_API void hybrid_session_reset(hybrid_session *session)
{
    hybrid__dialog *d;
    if (!session) return;
    d = &session->dialog;
    hybrid_batch_clear(session->ctx);
    hybrid_seq_remove(session->ctx, 0, 0, NULL);
    hybrid_sampler_reset(session->sampler);
    while (d->n && d->messages[d->n - 1].role != HYBRID__ROLE_SYSTEM) hybrid__dialog_drop(d, d->n - 1);
    session->n_ids = 0;
    session->running = session->is_chat = false;
    session->info.stop = HYBRID_STOP_NONE;
    session->info.n_forgotten = 0;
}
