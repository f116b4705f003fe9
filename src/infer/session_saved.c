/* infer/session_saved: a conversation as a saved game: beside the sequence (infer/seq_saved.c)
 *
 *     "talk"   the messages: how many (u32), and of each its role (u32) and text (u64 of bytes, the bytes); whether the
 *              last answer belongs to them (u32), what was shown of it (a text), messages that were forgotten (u32)
 *     "strm"   the numbers of the stream (hyb_saved_numbers, u32 each), the times of prompt and answer (u64 each), the
 *              ln of the probability of the token that was chosen (f32); the ids (u32 each); whether there are ln of
 *              the probabilities of those that no piece has told yet (u32), and those (f32 each)
 *     "samp"   which samplers there are, of HYB_SAVED_SAMPLERS (u32 each), and those (infer/sampler_saved.c)
 *     "form"   whether the answer that runs has a form (u32: 0 none, 1 GBNF, 2 JSON Schema; 3 and 4: these, after a
 *              trigger), its text, and the trigger (a text)
 *     "show"   whether the answer is told apart into kinds, whether what is forced is sampled (u32 each); bytes of the
 *              answer that were written for the model (u64); the stop texts of an answer that runs: how many (u32),
 *              and those; pieces that are made and were not taken: how many (u32), and of each its kind (u32) and text.
 *              Version 1 has no such part: the session's own settings stand for it, and nothing waits
 *
 * What the stream has in its hands while an answer runs (an unfinished character, the beginning of a stop text or of a
 * mark, the place in a grammar) is made again from the tokens of the answer. */
#ifndef HYB_INFER_SESSION_SAVED_C
#define HYB_INFER_SESSION_SAVED_C
#include "sampler_saved.c"
#include "seq_saved.c"
#include "session.c"

enum { HYB_SAVED_TRIGGER = 255 }; /* the longest of a grammar */
enum { HYB_SAVED_SAMPLERS = 3 }; /* the descriptor's, one that came later, and the next of those */

typedef struct hyb_saved_numbers {
    int32_t n_ids, n_stored; /* n_stored: with a token that ended the answer and is not part of the sequence */
    int32_t n_prompt, n_generated, n_cached, max_tokens, next_max_tokens, chosen, piece_from, piece_end, stop;
    int32_t running, prompt_pending, fresh, other, other_next; /* 0, 1 */
} hyb_saved_numbers;
enum { HYB_SAVED_NUMBERS = sizeof(hyb_saved_numbers) / sizeof(int32_t) };

/* ---- out ---- */

static void hyb_save_talk(const hybrid_session *s, hyb_pack *out)
{
    size_t i;
    hyb_pack_u32(out, (uint32_t)s->dialog.n);
    for (i = 0; i < s->dialog.n; i++) {
        hyb_pack_u32(out, (uint32_t)s->dialog.messages[i].role);
        hyb_pack_text(out, s->dialog.messages[i].text, strlen(s->dialog.messages[i].text));
    }
    hyb_pack_u32(out, s->is_chat);
    hyb_pack_text(out, s->answer, s->answer_size);
    hyb_pack_u32(out, (uint32_t)s->n_forgotten);
}

/* Whether the first piece that waits brings tokens, too: it is one that a crowd has made. */
static bool hyb_save_untold(const hybrid_stream *s)
{
    return s->is_untold && s->untold.n_ids && s->piece_from == s->piece_end;
}

static hyb_saved_numbers hyb_save_numbers(const hybrid_stream *s)
{
    hyb_saved_numbers n;
    n.n_ids = s->n_ids;
    n.n_stored = HYB_MAX(s->n_ids, s->piece_end);
    n.n_prompt = s->info.n_prompt;
    n.n_generated = s->info.n_generated;
    n.n_cached = s->info.n_cached;
    n.max_tokens = s->max_tokens;
    n.next_max_tokens = s->next_max_tokens;
    n.chosen = s->chosen;
    n.piece_from = hyb_save_untold(s) ? s->piece_end - (int32_t)s->untold.n_ids : s->piece_from;
    n.piece_end = s->piece_end;
    n.stop = (int32_t)s->info.stop;
    n.running = s->running;
    n.prompt_pending = s->prompt_pending;
    n.fresh = s->fresh;
    n.other = s->sampler == s->other && s->other;
    n.other_next = s->other_next;
    return n;
}

static void hyb_save_stream(const hybrid_stream *s, hyb_pack *out)
{
    const hyb_saved_numbers n = hyb_save_numbers(s);
    hyb_pack_bytes(out, &n, sizeof n);
    hyb_pack_u64(out, s->info.prompt_us);
    hyb_pack_u64(out, s->info.generate_us);
    hyb_pack_f32(out, s->chosen_logprob);
    hyb_pack_bytes(out, s->ids, (size_t)n.n_stored * sizeof *s->ids);
    hyb_pack_u32(out, s->logprobs != NULL);
    if (s->logprobs)
        hyb_pack_bytes(out, s->logprobs + n.piece_from, (size_t)(n.piece_end - n.piece_from) * sizeof *s->logprobs);
}

static void hyb_save_samplers(const hybrid_stream *s, hyb_pack *out)
{
    const hybrid_sampler *list[HYB_SAVED_SAMPLERS];
    int i;
    list[0] = s->own;
    list[1] = s->other;
    list[2] = s->made;
    for (i = 0; i < HYB_SAVED_SAMPLERS; i++) hyb_pack_u32(out, list[i] != NULL);
    for (i = 0; i < HYB_SAVED_SAMPLERS; i++)
        if (list[i]) hyb_sampler_pack(list[i], out);
}

static void hyb_save_form(const hybrid_stream *s, hyb_pack *out)
{
#ifndef HYBRID_NO_GRAMMAR
    const hybrid_grammar *g = s->running && s->form ? s->form->grammar : NULL;
    hyb_pack_u32(out, g ? 1 + (uint32_t)g->schema + (g->trigger.size ? 2 : 0) : 0);
    if (g) hyb_pack_text(out, g->text, g->size);
    if (g && g->trigger.size) hyb_pack_text(out, (const char *)g->trigger.text, g->trigger.size);
#else
    HYB_UNUSED(s);
    hyb_pack_u32(out, 0);
#endif
}

static void hyb_save_piece(hybrid_piece_kind kind, const char *text, size_t n, hyb_pack *out)
{
    hyb_pack_u32(out, (uint32_t)kind);
    hyb_pack_text(out, text, n);
}

static void hyb_save_show(const hybrid_session *session, hyb_pack *out)
{
    const hybrid_stream *s = session->stream;
    const hyb_stop_texts *stops = s->other_stops.matcher ? &s->other_stops : &s->own_stops;
    const char *text = stops->texts, *end = text + (s->running ? stops->size : 0), *p;
    uint32_t n = 0;
    size_t i;
    hyb_pack_u32(out, s->splits);
    hyb_pack_u32(out, s->sample_forced);
    hyb_pack_u64(out, session->n_begun);
    for (p = text; p < end; p += strlen(p) + 1) n++;
    hyb_pack_u32(out, n);
    for (; text < end; text += strlen(text) + 1) hyb_pack_text(out, text, strlen(text));
    hyb_pack_u32(out, (uint32_t)(s->is_untold + s->n_shown - s->shown_at));
    if (s->is_untold) hyb_save_piece(s->untold.kind, s->untold.text, s->untold.size, out);
    for (i = s->shown_at; i < s->n_shown; i++)
        hyb_save_piece(s->shown[i].kind, s->piece + s->shown[i].at, s->shown[i].size, out);
}

enum { HYB_SAVED_SMALL = 6 };
static const char *hyb_saved_part(int i)
{
    static const char *const names[HYB_SAVED_SMALL] = { "talk", "strm", "samp", "form", "show", "wear" };
    return names[i];
}

/* All small parts. They are freed by the caller, whether it fails or not. */
static hybrid_result hyb_save_small(const hybrid_session *s, const hybrid_save_desc *desc, bool hash,
                                    hyb_pack parts[HYB_SAVED_SMALL], hybrid_error *error)
{
    int i;
    memset(parts, 0, HYB_SAVED_SMALL * sizeof *parts);
    for (i = 0; i < HYB_SAVED_SMALL; i++) {
        parts[i].rt = s->rt;
        parts[i].error = error;
    }
    hyb_save_talk(s, &parts[0]);
    hyb_save_stream(s->stream, &parts[1]);
    hyb_save_samplers(s->stream, &parts[2]);
    hyb_save_form(s->stream, &parts[3]);
    hyb_save_show(s, &parts[4]);
    for (i = 0; i < HYB_SAVED_SMALL - 1; i++)
        if (parts[i].result) return parts[i].result;
    return hyb_save_worn(s->ctx, s->stream->seq, desc, hash, &parts[HYB_SAVED_SMALL - 1], error);
}

static uint64_t hyb_save_session_size(const hybrid_session *s, const hybrid_save_desc *desc, const hyb_pack *parts)
{
    uint64_t n = hyb_saved_write_size(s->ctx, s->stream->seq, desc->recompute);
    int i;
    for (i = 0; i < HYB_SAVED_SMALL; i++) n += parts[i].n;
    return hyb_archive_size(HYB_SAVED_SMALL + 1, n);
}

static hybrid_result hyb_save_session(hybrid_session *s, const hybrid_save_desc *desc, const hybrid_target *to,
                                      hybrid_error *error)
{
    const int32_t seq = s->stream->seq;
    hyb_pack parts[HYB_SAVED_SMALL];
    hyb_archive_out out;
    hybrid_result r = hyb_save_small(s, desc, true, parts, error);
    int i;
    if (!r) {
        const uint64_t size = hyb_save_session_size(s, desc, parts);
        r = hyb_archive_begin(&out, s->rt, to, HYB_ARCHIVE_SESSION, hyb_model_identity(s->model), size, error);
        for (i = 0; i < HYB_SAVED_SMALL && !r; i++) r = hyb_archive_packed(&out, hyb_saved_part(i), &parts[i], error);
        if (!r) r = hyb_archive_part(&out, "stat", hyb_saved_write_size(s->ctx, seq, desc->recompute), error);
        if (!r) r = hyb_saved_write(s->ctx, seq, desc->recompute, hyb_archive_write_some, &out, error);
        r = hyb_archive_end(&out, r, error);
    }
    for (i = 0; i < HYB_SAVED_SMALL; i++) hyb_free(s->rt, parts[i].data);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_session_save,
           (hybrid_session * session, const hybrid_save_desc *desc, const hybrid_target *to, hybrid_error *error),
           (session, desc, to, error))
{
    hybrid_save_desc zero;
    hybrid_result r;
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    if (!session || !to)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_save: %s is NULL", session ? "to" : "session");
    if ((r = hyb_session_begin(session, "hybrid_session_save", error)) != HYBRID_OK) return r;
    hyb_stream_guess_drop(session->stream); /* a saved game has no guesses */
    session->ctx->in_use = hyb_process();
    if ((r = hyb_save_check(session->ctx, desc, error)) == HYBRID_OK) r = hyb_save_session(session, desc, to, error);
    session->ctx->in_use = 0;
    hyb_session_end(session);
    return r;
}

HYB_BORDER(uint64_t, hybrid_session_save_size, (const hybrid_session *session, const hybrid_save_desc *desc),
           (session, desc))
{
    hyb_pack parts[HYB_SAVED_SMALL];
    hybrid_save_desc zero;
    uint64_t size = 0;
    int i;
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    if (!session || hyb_busy(session->in_use) || hyb_busy(session->ctx->in_use) ||
        hyb_save_check(session->ctx, desc, NULL))
        return 0;
    hyb_stream_guess_drop(session->stream); /* as saving will */
    if (!hyb_save_small(session, desc, false, parts, NULL)) size = hyb_save_session_size(session, desc, parts);
    for (i = 0; i < HYB_SAVED_SMALL; i++) hyb_free(session->rt, parts[i].data);
    return size;
}

/* ---- in ---- */

/* A piece that waits. */
typedef struct hyb_saved_piece {
    hybrid_piece_kind kind;
    hybrid_string text;
} hyb_saved_piece;
enum { HYB_SAVED_PIECES = 2 * HYB_PIECE_RUNS + 2 };

/* All that is read, before anything changes. */
typedef struct hyb_loaded {
    hyb_dialog dialog;
    char *answer;
    size_t answer_size, answer_capacity;
    bool is_chat;
    int32_t n_forgotten;
    hyb_saved_numbers n;
    uint64_t prompt_us, generate_us;
    float chosen_logprob;
    int32_t *ids;
    float *logprobs; /* of piece_from .. piece_end; NULL: none */
    hybrid_sampler *samplers[HYB_SAVED_SAMPLERS];
    bool has_show, splits, sample_forced;
    size_t n_begun;
    hyb_stop_texts stops; /* empty: those of the session */
    hyb_saved_piece waiting[HYB_SAVED_PIECES];
    uint32_t n_waiting;
    unsigned char *show; /* the part, which their texts are in */
#ifndef HYBRID_NO_GRAMMAR
    hybrid_lexicon *before; /* the stream's, which may have got one meanwhile */
    hybrid_grammar *grammar;
    hybrid_matcher *form;
#endif
} hyb_loaded;

static hybrid_result hyb_loaded_damaged(const char *what, hybrid_error *error)
{
    return hyb_fail(error, HYBRID_ERROR_FORMAT, "the saved game is damaged: what it says of %s makes no sense", what);
}

static void hyb_loaded_free(hybrid_session *s, hyb_loaded *l)
{
    int i;
    hyb_dialog_free(&l->dialog);
    hyb_free(s->rt, l->answer);
    hyb_free(s->rt, l->ids);
    hyb_free(s->rt, l->logprobs);
    for (i = 0; i < HYB_SAVED_SAMPLERS; i++) hybrid_sampler_destroy(l->samplers[i]);
    hyb_stop_texts_free(&l->stops, s->rt);
    hyb_free(s->rt, l->show);
#ifndef HYBRID_NO_GRAMMAR
    hybrid_matcher_destroy(l->form);
    hybrid_grammar_destroy(l->grammar);
    if (s->stream->lexicon != l->before) { /* nothing was loaded */
        hybrid_lexicon_destroy(s->stream->lexicon);
        s->stream->lexicon = l->before;
    }
#endif
}

static hybrid_result hyb_load_talk(hybrid_session *s, hyb_unpack *u, hyb_loaded *l, hybrid_error *error)
{
    uint32_t i, n = hyb_unpack_u32(u), role;
    hybrid_string text;
    hybrid_result r = HYBRID_OK;
    for (i = 0; i < n && !r; i++) {
        role = hyb_unpack_u32(u);
        text = hyb_unpack_text(u);
        if (u->bad || role >= HYB_ROLES || (text.size && memchr(text.data, 0, text.size)))
            return hyb_loaded_damaged("messages", error);
        r = hyb_dialog_add(&l->dialog, (int)role, text.size ? text.data : "", text.size, error);
    }
    if (r) return r;
    l->is_chat = hyb_unpack_u32(u) != 0;
    text = hyb_unpack_text(u);
    l->n_forgotten = (int32_t)hyb_unpack_u32(u);
    if (!hyb_unpack_done(u) || l->n_forgotten < 0) return hyb_loaded_damaged("messages", error);
    if ((r = HYB_GROW(s->rt, l->answer, l->answer_capacity, 0, text.size + 1, error)) != HYBRID_OK) return r;
    if (text.size) memcpy(l->answer, text.data, text.size);
    l->answer[text.size] = 0;
    l->answer_size = text.size;
    return HYBRID_OK;
}

static bool hyb_loaded_sound(const hyb_saved_numbers *n, int32_t n_vocab)
{
    const int32_t flags[] = { n->running, n->prompt_pending, n->fresh, n->other, n->other_next };
    size_t i;
    for (i = 0; i < HYB_COUNT(flags); i++)
        if (flags[i] < 0 || flags[i] > 1) return false;
    return n->n_ids >= 0 && n->n_stored >= n->n_ids && n->n_stored <= n->n_ids + 1 && n->n_prompt >= 0 &&
           n->n_prompt <= n->n_ids + (n->running ? 0 : 1) && n->n_generated >= 0 && n->n_cached >= 0 &&
           n->max_tokens >= 0 && n->next_max_tokens >= 0 && n->chosen >= -1 && n->chosen < n_vocab &&
           n->piece_from >= 0 && n->piece_from <= n->piece_end && n->piece_end <= n->n_stored && n->stop >= 0 &&
           n->stop <= (int32_t)HYBRID_STOP_BROKEN && (!n->running || (n->stop == 0 && n->n_ids > 0));
}

static hybrid_result hyb_load_stream(hybrid_session *s, hyb_unpack *u, hyb_loaded *l, hybrid_error *error)
{
    const int32_t n_vocab = s->model->hp.n_vocab;
    const void *p = hyb_unpack_bytes(u, sizeof l->n);
    int32_t i, n;
    if (p) memcpy(&l->n, p, sizeof l->n);
    l->prompt_us = hyb_unpack_u64(u);
    l->generate_us = hyb_unpack_u64(u);
    l->chosen_logprob = hyb_unpack_f32(u);
    if (u->bad || !hyb_loaded_sound(&l->n, n_vocab)) return hyb_loaded_damaged("the answer", error);
    if (l->n.n_ids > s->stream->n_max)
        return hyb_fail(
            error, HYBRID_ERROR_CONTEXT_FULL,
            "the saved conversation has %d tokens, and the session has room for %d: create it with a larger "
            "n_ctx",
            l->n.n_ids, s->stream->n_max);
    if (!(p = hyb_unpack_bytes(u, 4 * (uint64_t)l->n.n_stored))) return hyb_loaded_damaged("the answer", error);
    if (!(l->ids = (int32_t *)hyb_calloc(s->rt, (size_t)l->n.n_stored, sizeof *l->ids)))
        return hyb_fail_memory(error, (size_t)l->n.n_stored * sizeof *l->ids);
    if (l->n.n_stored) memcpy(l->ids, p, (size_t)l->n.n_stored * sizeof *l->ids);
    for (i = 0; i < l->n.n_stored; i++)
        if (l->ids[i] < 0 || l->ids[i] >= n_vocab) return hyb_loaded_damaged("the answer's tokens", error);
    n = hyb_unpack_u32(u) ? l->n.piece_end - l->n.piece_from : 0;
    p = hyb_unpack_bytes(u, 4 * (uint64_t)n);
    if (!hyb_unpack_done(u)) return hyb_loaded_damaged("the answer", error);
    if (!n) return HYBRID_OK;
    if (!(l->logprobs = (float *)hyb_alloc(s->rt, (size_t)n * sizeof *l->logprobs)))
        return hyb_fail_memory(error, (size_t)n * sizeof *l->logprobs);
    memcpy(l->logprobs, p, (size_t)n * sizeof *l->logprobs);
    return HYBRID_OK;
}

static hybrid_result hyb_load_samplers(hybrid_session *s, hyb_unpack *u, hyb_loaded *l, hybrid_error *error)
{
    bool is[HYB_SAVED_SAMPLERS];
    hybrid_result r = HYBRID_OK;
    int i;
    for (i = 0; i < HYB_SAVED_SAMPLERS; i++) is[i] = hyb_unpack_u32(u) != 0;
    if (!is[0] || (l->n.other && !is[1]) || (l->n.other_next && !is[1] && !is[2]))
        return hyb_loaded_damaged("samplers", error);
    for (i = 0; i < HYB_SAVED_SAMPLERS && !r; i++)
        if (is[i]) r = hyb_sampler_unpack(u, s->rt, &l->samplers[i], error);
    return r || hyb_unpack_done(u) ? r : hyb_loaded_damaged("samplers", error);
}

#ifndef HYBRID_NO_GRAMMAR
/* The place in the grammar, by way of the tokens of the answer. */
static hybrid_result hyb_load_form_walk(hybrid_session *s, hyb_loaded *l, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int32_t i;
    for (i = l->n.n_prompt; i < l->n.n_ids && !r; i++)
        r = hybrid_matcher_accept_token(l->form, s->stream->lexicon, l->ids[i], error);
    if (!r && l->n.chosen >= 0) r = hybrid_matcher_accept_token(l->form, s->stream->lexicon, l->n.chosen, error);
    return r == HYBRID_ERROR_FORMAT ? hyb_loaded_damaged("the form of the answer", error) : r;
}
#endif

static hybrid_result hyb_load_form(hybrid_session *s, hyb_unpack *u, hyb_loaded *l, hybrid_error *error)
{
    const uint32_t kind = hyb_unpack_u32(u);
    hybrid_string text = { NULL, 0 }, trigger = { NULL, 0 };
    hybrid_result r = HYBRID_OK;
    if (kind) text = hyb_unpack_text(u);
    if (kind > 2) trigger = hyb_unpack_text(u);
    if (!hyb_unpack_done(u) || kind > 4 || (kind && (!text.size || !l->n.running)) ||
        (kind > 2 && (!trigger.size || trigger.size > HYB_SAVED_TRIGGER)))
        return hyb_loaded_damaged("the form of the answer", error);
#ifdef HYBRID_NO_GRAMMAR
    HYB_UNUSED(s);
    HYB_UNUSED(l);
    if (kind)
        r = hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                     "the saved answer has a form, and this build of hybrid has none (HYBRID_NO_GRAMMAR)");
#else
    if (kind) {
        char begins[HYB_SAVED_TRIGGER + 1] = "";
        hybrid_grammar_desc d;
        memset(&d, 0, sizeof d);
        if (trigger.size) memcpy(begins, trigger.data, trigger.size);
        d.trigger = trigger.size ? begins : NULL;
        *(kind % 2 ? &d.gbnf : &d.schema) = text.data;
        *(kind % 2 ? &d.gbnf_size : &d.schema_size) = text.size;
        r = hybrid_grammar_create(s->rt, &d, &l->grammar, error);
        if (!r) r = hyb_stream_form(s->stream, l->grammar, &l->form, error);
        if (!r) r = hyb_load_form_walk(s, l, error);
    }
#endif
    return r;
}

/* The stop texts of the answer, of which it has its own when they are others than the session's. */
static hybrid_result hyb_load_stops(hybrid_session *s, hyb_unpack *u, hyb_loaded *l, hybrid_error *error)
{
    const hyb_stop_texts *own = &s->stream->own_stops;
    const uint32_t n = hyb_unpack_u32(u);
    hybrid_string *list;
    hybrid_result r = HYBRID_OK;
    uint32_t i;
    if (u->bad || n > u->n / 9 || (n && !l->n.running)) return hyb_loaded_damaged("stop texts", error);
    if (!l->n.running) return HYBRID_OK;
    if (!(list = (hybrid_string *)hyb_calloc(s->rt, n, sizeof *list))) return hyb_fail_memory(error, n * sizeof *list);
    for (i = 0; i < n && !r; i++) {
        list[i] = hyb_unpack_text(u);
        if (!list[i].size || memchr(list[i].data, 0, list[i].size)) r = hyb_loaded_damaged("stop texts", error);
    }
    if (!r) r = hyb_stop_texts_make(&l->stops, s->rt, list, n, error);
    hyb_free(s->rt, list);
    if (!r && l->stops.size == own->size && !memcmp(l->stops.texts, own->texts, own->size))
        hyb_stop_texts_free(&l->stops, s->rt);
    return r == HYBRID_ERROR_INVALID ? hyb_loaded_damaged("stop texts", error) : r;
}

/* Pieces that wait; the last one of an answer that is over may be empty. *size: bytes of all, with a zero behind each.
 */
static hybrid_result hyb_load_waiting(hyb_unpack *u, hyb_loaded *l, size_t *size, hybrid_error *error)
{
    uint32_t i, kind;
    *size = 0;
    l->n_waiting = hyb_unpack_u32(u);
    if (l->n_waiting > HYB_SAVED_PIECES) return hyb_loaded_damaged("pieces", error);
    for (i = 0; i < l->n_waiting; i++) {
        hyb_saved_piece *p = &l->waiting[i];
        kind = hyb_unpack_u32(u);
        p->text = hyb_unpack_text(u);
        if (u->bad || kind > HYBRID_PIECE_TOOL_CALL || (!p->text.size && (l->n.running || i + 1 < l->n_waiting)))
            return hyb_loaded_damaged("pieces", error);
        p->kind = (hybrid_piece_kind)kind;
        *size += p->text.size + 1;
    }
    return HYBRID_OK;
}

static hybrid_result hyb_load_show(hybrid_session *s, hyb_unpack *u, hyb_loaded *l, hybrid_error *error)
{
    uint64_t begun;
    hybrid_result r;
    size_t size;
    if (!u->data) return HYBRID_OK; /* version 1 */
    l->has_show = true;
    l->splits = hyb_unpack_u32(u) != 0;
    l->sample_forced = hyb_unpack_u32(u) != 0;
    begun = hyb_unpack_u64(u);
    if (begun > l->answer_size) return hyb_loaded_damaged("the answer", error);
    l->n_begun = (size_t)begun;
    if ((r = hyb_load_stops(s, u, l, error)) != HYBRID_OK) return r;
    if ((r = hyb_load_waiting(u, l, &size, error)) != HYBRID_OK) return r;
    if (!hyb_unpack_done(u)) return hyb_loaded_damaged("pieces", error);
    l->show = u->data; /* the texts are there */
    u->data = NULL;
    return hyb_stream_room(s->stream, l->stops.matcher, HYB_MAX(size, l->stops.longest), error);
}

static hybrid_result hyb_load_small(hybrid_session *s, hyb_archive_in *in, hyb_loaded *l, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int i;
    for (i = 0; i < HYB_SAVED_SMALL - 1 && !r; i++) {
        hyb_unpack u;
        if ((r = hyb_archive_take(in, hyb_saved_part(i), &u, error)) != HYBRID_OK) break;
        switch (i) {
        case 0: r = hyb_load_talk(s, &u, l, error); break;
        case 1: r = hyb_load_stream(s, &u, l, error); break;
        case 2: r = hyb_load_samplers(s, &u, l, error); break;
        case 3: r = hyb_load_form(s, &u, l, error); break;
        default: r = hyb_load_show(s, &u, l, error);
        }
        hyb_free(s->rt, u.data);
    }
    return r;
}

/* What the stream holds between two pieces: an unfinished character, the beginning of a stop text or of a mark, and
 * what kind of text comes. begin: what the answer began with. */
static void hyb_loaded_text(hybrid_stream *s, const hyb_loaded *l, const char *begin)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const bool whole = s->whole;
    int32_t i, which = -1;
    memset(&s->utf8, 0, sizeof s->utf8);
    hybrid_stop_matcher_reset(s->stops);
    if (l->has_show) s->whole = !l->splits; /* for the moment */
    hyb_stream_begin_pieces(s, s->info.n_prompt, begin, l->n_begun);
    s->whole = whole;
    for (i = s->info.n_prompt; i < s->n_ids && s->running && which < 0; i++) {
        const hybrid_token_type kind = hybrid_token_kind(tok, s->ids[i]);
        hybrid_string bytes = hybrid_token_bytes(tok, s->ids[i]);
        size_t at = 0;
        if (kind == HYBRID_TOKEN_CONTROL || kind == HYBRID_TOKEN_UNKNOWN)
            hyb_stream_control(s, bytes, &at);
        else {
            hybrid_stop_matcher_feed(s->stops, bytes.data, bytes.size, &bytes, &which, NULL);
            hyb_stream_show(s, bytes, false, &at);
        }
        s->n_shown = s->n_kept = 0; /* it was shown */
    }
    if (which < 0) return;
    s->running = false; /* version 1 says nothing of stop texts, and the session has others than the saved one had */
    s->info.stop = HYBRID_STOP_TEXT;
}

/* Pieces wait as they did. */
static void hyb_loaded_pieces(hybrid_stream *s, const hyb_loaded *l)
{
    size_t at = 0;
    uint32_t i;
    for (i = 0; i < l->n_waiting; i++, at++) {
        const hyb_saved_piece *p = &l->waiting[i];
        hyb_shown *run = &s->shown[s->n_shown++];
        run->at = at;
        run->size = p->text.size;
        run->kind = p->kind;
        if (p->text.size) memcpy(s->piece + at, p->text.data, p->text.size);
        s->piece[at += p->text.size] = 0;
    }
}

/* A token that is forced may not have been found for want of memory. */
static void hyb_loaded_force(hybrid_stream *s)
{
    hybrid_error why;
    if (!s->running || s->prompt_pending || s->chosen >= 0 || !s->info.n_generated) return;
    if (hyb_stream_force(s, &why) == HYBRID_OK) return;
    s->why = why;
    s->force_again = true;
}

/* The stop texts of the answer: from now on what was loaded, or the session's. */
static void hyb_loaded_take_stops(hybrid_stream *s, hyb_loaded *l)
{
    const hyb_stop_texts old = s->other_stops;
    s->other_stops = l->stops;
    l->stops = old;
    s->stops = s->other_stops.matcher ? s->other_stops.matcher : s->own_stops.matcher;
}

static void hyb_loaded_take_samplers(hybrid_stream *s, hyb_loaded *l)
{
    hybrid_sampler *old[HYB_SAVED_SAMPLERS];
    int i;
    hybrid_sampler_set_mask(s->sampler, NULL, 0);
    old[0] = s->own;
    old[1] = s->other;
    old[2] = s->made;
    s->own = l->samplers[0];
    s->other = l->samplers[1];
    s->made = l->samplers[2];
    s->other_next = l->n.other_next != 0;
    s->sampler = l->n.other ? s->other : s->own;
    for (i = 0; i < HYB_SAVED_SAMPLERS; i++) l->samplers[i] = old[i];
}

static void hyb_loaded_take_form(hybrid_stream *s, hyb_loaded *l)
{
#ifdef HYBRID_NO_GRAMMAR
    HYB_UNUSED(s);
    HYB_UNUSED(l);
#else
    hybrid_grammar *grammar = s->form_grammar;
    hybrid_matcher *form = s->form == s->next_form ? NULL : s->form;
    s->form_grammar = l->grammar;
    s->form = l->form;
    l->grammar = grammar;
    l->form = form;
    l->before = s->lexicon;
#endif
}

/* The stream goes on as the saved one would have. Cannot fail. */
static void hyb_loaded_take_stream(hybrid_stream *s, hyb_loaded *l, const char *begin)
{
    const hyb_saved_numbers *n = &l->n;
    const hyb_seq *seq = &s->ctx->state.seqs[s->seq];
    int32_t i = 0;
    hyb_lookup_reset(&s->guess.lookup);
    s->guess.kept_to = 0;
    s->guess.n_judged = -1;
    hyb_stream_draft_drop(s);
    s->info.n_guessed = s->info.n_right = s->info.n_drafted = s->info.n_drafted_right = 0;
    if (n->n_stored) memcpy(s->ids, l->ids, (size_t)n->n_stored * sizeof *s->ids);
    for (; s->logprobs && i < n->piece_end - n->piece_from; i++)
        s->logprobs[n->piece_from + i] = l->logprobs ? l->logprobs[i] : 0;
    s->n_ids = n->n_ids;
    for (i = 0; i < seq->length && i < s->n_ids && *hyb_seq_id(&s->ctx->state, seq, i) == s->ids[i];) i++;
    s->n_same = i;
    s->chosen = n->chosen;
    s->chosen_logprob = l->chosen_logprob;
    s->why.result = HYBRID_OK;
    s->piece_from = n->piece_from;
    s->piece_end = n->piece_end;
    s->max_tokens = n->max_tokens;
    s->next_max_tokens = n->next_max_tokens;
    s->prompt_pending = n->prompt_pending != 0;
    s->fresh = n->fresh != 0;
    s->running = n->running != 0;
    s->info.stop = (hybrid_stop_reason)n->stop;
    s->info.n_prompt = n->n_prompt;
    s->info.n_cached = n->n_cached;
    s->info.n_generated = n->n_generated;
    s->info.prompt_us = l->prompt_us;
    s->info.generate_us = l->generate_us;
    hyb_loaded_take_samplers(s, l);
    hyb_loaded_take_form(s, l);
    hyb_loaded_take_stops(s, l);
    s->sample_forced = l->has_show ? l->sample_forced : s->own_sample_forced;
    s->is_untold = false;
    hyb_loaded_text(s, l, begin);
    hyb_loaded_pieces(s, l);
    hyb_loaded_force(s);
}

/* What was loaded and what the session had change places. Cannot fail. */
static void hyb_loaded_take(hybrid_session *s, hyb_loaded *l)
{
    const hyb_dialog dialog = s->dialog;
    char *answer = s->answer;
    s->dialog = l->dialog;
    l->dialog = dialog;
    s->answer = l->answer;
    l->answer = answer;
    s->answer_size = l->answer_size;
    s->answer_capacity = l->answer_capacity;
    s->is_chat = l->is_chat;
    s->n_forgotten = l->n_forgotten;
    s->n_begun = l->n_begun;
    s->failure.result = HYBRID_OK;
    hyb_loaded_take_stream(s->stream, l, s->answer);
}

/* The sequence, in the place of the one that is there. What can fail now is a GPU, or a source that gives other bytes
 * than before: then the cache is empty, and the session as it was computes its tokens again. */
static hybrid_result hyb_load_session_state(hybrid_session *s, hyb_archive_in *in, int state, const hyb_load_worn *w,
                                            hybrid_error *error)
{
    hybrid_context *c = s->ctx;
    hybrid_stream *stream = s->stream;
    hybrid_result r;
    c->in_use = 0;
    r = hyb_session_settle(s, error);
    c->in_use = hyb_process();
    if (r) return r;
    hyb_seq_cut(&c->state, &c->state.seqs[stream->seq], 0);
    stream->n_same = 0;
    return hyb_load_state(c, stream->seq, in, state, w, error);
}

static hybrid_result hyb_load_session_parts(hybrid_session *s, const hybrid_save_desc *desc, hyb_archive_in *in,
                                            hyb_loaded *l, hybrid_error *error)
{
    hyb_load_worn w;
    int state = -1;
    hybrid_result r = hyb_load_worn_read(s->ctx, desc, in, &w, error);
    if (!r) r = hyb_load_small(s, in, l, error);
    if (!r) r = hyb_load_find_state(in, &state, error);
    if (!r) r = hyb_archive_all(in, error);
    if (!r)
        r = hyb_saved_look(s->ctx, s->stream->seq, &in->file, in->parts[state].at,
                           in->parts[state].at + in->parts[state].size, error);
    if (!r) r = hyb_adapters_room(s->ctx, w.rank, error);
    if (!r) r = hyb_load_session_state(s, in, state, &w, error);
    hyb_load_worn_free(s->ctx, &w);
    return r;
}

static hybrid_result hyb_load_session(hybrid_session *s, const hybrid_save_desc *desc, const hybrid_source *from,
                                      hybrid_error *error)
{
    hyb_archive_in in;
    hyb_loaded l;
    hybrid_result r = hyb_archive_open(&in, s->rt, from, HYB_ARCHIVE_SESSION, hyb_model_identity(s->model), error);
    if (r) return r;
    memset(&l, 0, sizeof l);
    l.dialog.rt = s->rt;
#ifndef HYBRID_NO_GRAMMAR
    l.before = s->stream->lexicon;
#endif
    r = hyb_load_session_parts(s, desc, &in, &l, error);
    if (!r) hyb_loaded_take(s, &l);
    hyb_loaded_free(s, &l);
    hyb_archive_close(&in);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_session_load,
           (hybrid_session * session, const hybrid_save_desc *desc, const hybrid_source *from, hybrid_error *error),
           (session, desc, from, error))
{
    hybrid_save_desc zero;
    hybrid_result r = HYBRID_OK;
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    if (!session || !from)
        r = hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_session_load: %s is NULL", session ? "from" : "session");
    if (!r && (r = hyb_session_begin(session, "hybrid_session_load", error)) == HYBRID_OK &&
        (r = hyb_save_check(session->ctx, desc, error)) != HYBRID_OK)
        hyb_session_end(session);
    if (r) {
        if (from && from->reader.close) from->reader.close(from->reader.user);
        return r;
    }
    session->ctx->in_use = hyb_process();
    r = hyb_load_session(session, desc, from, error);
    session->ctx->in_use = 0;
    hyb_session_end(session);
    return r;
}
#endif
