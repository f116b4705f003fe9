/* infer/crowd: sessions of one context that take turns in its batch. */
#ifndef HYB_INFER_CROWD_C
#define HYB_INFER_CROWD_C
#include "../api/crowd.h"
#include "session.c"

enum { HYB_CROWD_TOKENS = 64 /* of a batch: a prompt's portion is what those that answer leave of it, */ };
enum { HYB_CROWD_PORTION = 16 /* but so many at least */ };

typedef struct hyb_talker {
    hybrid_session *session;
    float priority;
    double pass; /* turns that it has taken, each divided by its priority: the one with the fewest is next */
    bool waits;  /* it was not running when it could have had a turn */
} hyb_talker;

/* A piece of its stream has been made, and was not taken yet (hybrid_crowd_next). */
static bool hyb_talker_told(const hyb_talker *m) { return !m->session->stream->is_untold; }

static void hyb_talker_tell(hyb_talker *m, size_t at)
{
    hybrid_stream *s = m->session->stream;
    hyb_stream_piece(s, at, &s->untold);
    s->is_untold = true;
}

struct hybrid_crowd {
    hybrid_runtime *rt;
    hybrid_context *ctx;
    hyb_talker *members;
    size_t n, capacity;
};

static hybrid_result hyb_crowd_enter(hybrid_crowd *w, const char *function, hybrid_error *error)
{
    if (hyb_busy(w->ctx->streams_in_use) || hyb_busy(w->ctx->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the crowd is in use: one of its callbacks called it again",
                        function);
    w->ctx->streams_in_use = hyb_process();
    return HYBRID_OK;
}
static void hyb_crowd_leave(hybrid_crowd *w) { w->ctx->streams_in_use = 0; }

HYB_BORDER(hybrid_result, hybrid_crowd_create, (hybrid_context * context, hybrid_crowd **crowd, hybrid_error *error),
           (context, crowd, error))
{
    hybrid_crowd *w;
    if (crowd) *crowd = NULL;
    if (!context || !crowd)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_crowd_create: %s is NULL", context ? "crowd" : "context");
    if (!(w = (hybrid_crowd *)hyb_calloc(context->rt, 1, sizeof *w))) return hyb_fail_memory(error, sizeof *w);
    w->rt = context->rt;
    w->ctx = context;
    *crowd = w;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_crowd_destroy, (hybrid_crowd * crowd), (crowd))
{
    hybrid_error error;
    if (!crowd) return;
    if (hyb_crowd_enter(crowd, "hybrid_crowd_destroy", &error)) {
        hyb_log(crowd->rt, HYBRID_LOG_ERROR, "%s; it was not destroyed", error.message);
        return;
    }
    hyb_crowd_leave(crowd);
    hyb_free(crowd->rt, crowd->members);
    hyb_free(crowd->rt, crowd);
}

/* ---- who is in it --------------------------------------------------------------------------------------------------
 */

static hyb_talker *hyb_crowd_find(hybrid_crowd *w, const hybrid_session *s)
{
    size_t i;
    for (i = 0; i < w->n; i++)
        if (w->members[i].session == s) return &w->members[i];
    return NULL;
}

static hybrid_result hyb_crowd_add(hybrid_crowd *w, hybrid_session *s, float priority, hybrid_error *error)
{
    hyb_talker *m = hyb_crowd_find(w, s);
    hybrid_result r;
    if (!(priority > 0 && priority < INFINITY))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_crowd_add: the priority is %g, must be positive",
                        (double)priority);
    if (s->ctx != w->ctx)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_crowd_add: the session has another context: create it with context_shared");
    if (!m) {
        if ((r = HYB_GROW(w->rt, w->members, w->capacity, w->n, w->n + 1, error)) != HYBRID_OK) return r;
        m = &w->members[w->n++];
        memset(m, 0, sizeof *m);
        m->session = s;
        m->waits = true;
        s->stream->is_untold = false;
    }
    m->priority = priority;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_crowd_add,
           (hybrid_crowd * crowd, hybrid_session *session, float priority, hybrid_error *error),
           (crowd, session, priority, error))
{
    hybrid_result r;
    if (!crowd || !session)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_crowd_add: %s is NULL", crowd ? "session" : "crowd");
    if ((r = hyb_crowd_enter(crowd, "hybrid_crowd_add", error)) != HYBRID_OK) return r;
    r = hyb_crowd_add(crowd, session, priority, error);
    hyb_crowd_leave(crowd);
    return r;
}

HYB_BORDER_VOID(hybrid_crowd_remove, (hybrid_crowd * crowd, hybrid_session *session), (crowd, session))
{
    hyb_talker *m = crowd ? hyb_crowd_find(crowd, session) : NULL;
    hybrid_error error;
    if (!m) return;
    if (hyb_crowd_enter(crowd, "hybrid_crowd_remove", &error)) {
        hyb_log(crowd->rt, HYBRID_LOG_ERROR, "%s; nobody was taken out", error.message);
        return;
    }
    crowd->n--;
    memmove(m, m + 1, (size_t)(crowd->members + crowd->n - m) * sizeof *m);
    hyb_crowd_leave(crowd);
}

/* ---- a batch -------------------------------------------------------------------------------------------------------
 */

static bool hyb_talker_wants(const hyb_talker *m)
{
    const hybrid_stream *s = m->session->stream;
    return s->running && !s->is_untold && s->chosen < 0 && !s->why.result && !s->n_queued && !s->guess.live;
}

/* The fewest turns of those that have something to do. A session that rested begins there: it has saved none. */
static double hyb_crowd_pass(hybrid_crowd *w)
{
    double least = INFINITY, most = 0;
    size_t i;
    for (i = 0; i < w->n; i++) {
        const hyb_talker *m = &w->members[i];
        most = HYB_MAX(most, m->pass);
        if (m->session->stream->running && !m->waits) least = HYB_MIN(least, m->pass);
    }
    if (!(least < INFINITY)) least = most;
    for (i = 0; i < w->n; i++) {
        hyb_talker *m = &w->members[i];
        const bool waited = m->waits;
        m->waits = !m->session->stream->running;
        if (waited && !m->waits) m->pass = HYB_MAX(m->pass, least);
    }
    least = INFINITY;
    for (i = 0; i < w->n; i++)
        if (hyb_talker_wants(&w->members[i])) least = HYB_MIN(least, w->members[i].pass);
    return least;
}

/* Whether a stream that is in the batch makes what this one needs, too, so that this one can fork it. */
static bool hyb_crowd_waits(const hybrid_crowd *w, const hybrid_stream *s)
{
    const hyb_seq *from;
    int32_t have = hyb_stream_kept(s);
    size_t i;
    if (!s->prompt_pending) return false;
    have = hyb_stream_source(s, have, &from);
    for (i = 0; i < w->n; i++) {
        const hybrid_stream *t = w->members[i].session->stream;
        if (t == s || !t->n_queued || t->stale || t->length_before + t->n_queued < have + HYB_FORK_TOKENS) continue;
        if (HYB_MIN(hyb_streams_common(s, t), t->length_before + t->n_queued) >= have + HYB_FORK_TOKENS) return true;
    }
    return false;
}

/* A portion of a prompt ends where what others need, too, ends: states that go only forward can be forked there. */
static int32_t hyb_crowd_portion(const hybrid_crowd *w, const hybrid_stream *s, int32_t n)
{
    const int32_t from = hyb_stream_kept(s);
    size_t i;
    for (i = 0; i < w->n && s->prompt_pending; i++) {
        const hybrid_stream *t = w->members[i].session->stream;
        const int32_t common = t != s && t->running && t->prompt_pending ? hyb_streams_common(s, t) : 0;
        if (common >= from + HYB_FORK_TOKENS && common < from + n) n = common - from;
    }
    return n;
}

/* One cannot go on: its piece says so. */
static void hyb_talker_fail(hyb_talker *m, const hybrid_error *why)
{
    hybrid_session *s = m->session;
    hyb_stream_stop(s->stream);
    s->failure = *why;
    hyb_talker_tell(m, 0);
    s->stream->untold.stop = HYBRID_STOP_ERROR;
}

/* Puts a member's tokens into the batch, if there is room. `room`: tokens that the batch still takes. Whether it was
 * refused: it has its turn when the others have made room. */
static bool hyb_crowd_queue(hybrid_crowd *w, hyb_talker *m, int32_t *room, hybrid_error *why)
{
    hybrid_stream *s = m->session->stream;
    const int32_t portion = HYB_MAX(*room, (int32_t)HYB_CROWD_PORTION);
    hybrid_result r;
    size_t at = 0;
    if (hyb_crowd_waits(w, s)) return false;
    r = hyb_stream_queue(s, hyb_crowd_portion(w, s, portion), why);
    if (!r) {
        *room -= s->n_queued;
        m->pass += 1.0 / (double)m->priority;
    }
    if (r != HYBRID_ERROR_CONTEXT_FULL || s->prompt_pending) return r != HYBRID_OK;
    if (hyb_session_answer_room(m->session, why) != HYBRID_OK) return true;
    hyb_stream_end(s, HYBRID_STOP_CONTEXT, &at); /* which shows what was held back */
    hyb_talker_tell(m, at);
    hyb_session_keep(m->session, &s->untold);
    return false;
}

/* A batch of those who have taken at most so many turns: first those that answer, then prompts, as portions of what is
 * left. Returns one that was refused, or NULL. */
static hyb_talker *hyb_crowd_gather(hybrid_crowd *w, double pass, hybrid_error *why)
{
    hyb_talker *refused = NULL;
    int32_t room = HYB_CROWD_TOKENS;
    int prompts;
    size_t i;
    for (prompts = 0; prompts < 2; prompts++)
        for (i = 0; i < w->n; i++) {
            hyb_talker *m = &w->members[i];
            if (!hyb_talker_wants(m) || m->pass > pass || m->session->stream->prompt_pending != (prompts == 1))
                continue;
            if ((!prompts || room > 0) && hyb_crowd_queue(w, m, &room, why)) refused = m;
        }
    return refused;
}

/* Those whose turn it is; or, when there is no room for them, any who can go on. If nobody can, one has to give way. */
static void hyb_crowd_batch(hybrid_crowd *w)
{
    hyb_talker *refused;
    hybrid_error why;
    size_t i;
    refused = hyb_crowd_gather(w, hyb_crowd_pass(w), &why);
    if (!refused || w->ctx->n_entries) return;
    refused = hyb_crowd_gather(w, INFINITY, &why);
    for (i = 0; i < w->n; i++)
        if (!hyb_talker_told(&w->members[i])) return;
    if (refused && !w->ctx->n_entries) hyb_talker_fail(refused, &why);
}

/* ---- pieces --------------------------------------------------------------------------------------------------------
 */

/* Tokens that were chosen become text. */
static hybrid_result hyb_talker_absorb(hyb_talker *m, uint64_t until, hybrid_error *error)
{
    hybrid_session *s = m->session;
    hybrid_stream *stream = s->stream;
    const bool waits = hyb_stream_waits(stream);
    hybrid_result r;
    size_t at = 0;
    if (!hyb_talker_told(m) || (!stream->running && !waits)) return HYBRID_OK;
    if (!waits && hyb_stream_has_row(stream)) hyb_stream_choose_more(stream);
    if (stream->why.result && !waits) {
        const hybrid_error why = stream->why;
        stream->why.result = HYBRID_OK;
        hyb_talker_fail(m, &why);
    }
    if ((stream->chosen < 0 && !waits) || !hyb_talker_told(m)) return HYBRID_OK;
    if ((r = hyb_session_answer_room(s, error)) != HYBRID_OK) return r;
    if (!waits) hyb_stream_absorb_all(stream, until, &at);
    if (!waits && !at && stream->running) return HYBRID_OK;
    hyb_talker_tell(m, at);
    if (!waits) hyb_session_keep(s, &stream->untold);
    s->failure.result = HYBRID_OK;
    return HYBRID_OK;
}

static hybrid_result hyb_crowd_pieces(hybrid_crowd *w, uint64_t until, bool *any, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    size_t i;
    for (i = 0; i < w->n && !r; i++) {
        r = hyb_talker_absorb(&w->members[i], until, error);
        *any = *any || !hyb_talker_told(&w->members[i]);
    }
    return r;
}

static hybrid_result hyb_crowd_step(hybrid_crowd *w, uint64_t budget_us, hybrid_error *error)
{
    const uint64_t since = hyb_now_us(), until = budget_us < UINT64_MAX - since ? since + budget_us : UINT64_MAX;
    uint64_t used = 0;
    bool any = false;
    hybrid_result r;
    for (;;) {
        if ((r = hyb_crowd_pieces(w, until, &any, error)) != HYBRID_OK || any) return r;
        if (used && used >= budget_us) return HYBRID_OK;
        if (!hyb_streams_busy(w->ctx) && hyb_drafts_step(w->ctx, NULL, HYB_CROWD_TOKENS,
                                                         budget_us == UINT64_MAX ? budget_us : budget_us - used)) {
            used = HYB_MAX(hyb_now_us() - since, 1);
            continue;
        }
        if (!hyb_streams_busy(w->ctx)) hyb_crowd_batch(w);
        if (!hyb_streams_busy(w->ctx) && !w->ctx->n_entries) { /* nobody has anything to do, or all have pieces */
            r = hyb_crowd_pieces(w, until, &any, error);
            return r;
        }
        if ((r = hyb_streams_decode(w->ctx, budget_us == UINT64_MAX ? budget_us : budget_us - used, error)) !=
            HYBRID_OK)
            return r;
        used = HYB_MAX(hyb_now_us() - since, 1);
    }
}

HYB_BORDER(hybrid_result, hybrid_crowd_step, (hybrid_crowd * crowd, uint64_t budget_us, hybrid_error *error),
           (crowd, budget_us, error))
{
    hybrid_result r;
    if (!crowd) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_crowd_step: crowd is NULL");
    if ((r = hyb_crowd_enter(crowd, "hybrid_crowd_step", error)) != HYBRID_OK) return r;
    r = hyb_crowd_step(crowd, budget_us, error);
    hyb_crowd_leave(crowd);
    return r;
}

HYB_BORDER(hybrid_session *, hybrid_crowd_next, (hybrid_crowd * crowd, hybrid_piece *piece), (crowd, piece))
{
    size_t i;
    if (piece) {
        memset(piece, 0, sizeof *piece);
        piece->text = "";
    }
    for (i = 0; crowd && piece && i < crowd->n; i++) {
        hyb_talker *m = &crowd->members[i];
        if (hyb_talker_told(m)) continue;
        m->session->stream->is_untold = false;
        *piece = m->session->stream->untold;
        return m->session;
    }
    return NULL;
}
#endif
