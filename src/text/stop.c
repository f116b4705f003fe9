/* text/stop: finds strings that end an answer in bytes that come in pieces. After each byte the automaton of all of
 * them knows the longest one that is complete, and how much of one the text so far ends with, which is what must be
 * held back. */
#ifndef HYB_TEXT_STOP_C
#define HYB_TEXT_STOP_C
#include "../api/tokenizer.h"
#include "../core/grow.c"
#include "../core/lifetime.c"
#include "automaton.c"

struct hybrid_stop_matcher {
    hybrid_runtime *rt;
    hyb_automaton automaton;
    uint32_t state;
    uint8_t *held; /* bytes not shown yet, and those of the last feed */
    /* n_shown: at the front of held, given to the caller by the last call */
    size_t n_held, n_shown, capacity;
    bool stopped;
    uint64_t in_use; /* the allocator may not call back */
};

HYB_BORDER_VOID(hybrid_stop_matcher_destroy, (hybrid_stop_matcher *matcher), (matcher))
{
    hybrid_runtime *rt;
    if (!matcher) return;
    rt = matcher->rt;
    if (hyb_busy(matcher->in_use)) {
        hyb_log(
            rt, HYBRID_LOG_ERROR,
            "hybrid_stop_matcher_destroy: the matcher is in use: its allocator called it again; it was not destroyed");
        return;
    }
    matcher->in_use = hyb_process();
    hyb_automaton_free(rt, &matcher->automaton);
    hyb_free(rt, matcher->held);
    hyb_free(rt, matcher);
    hyb_runtime_release(rt);
}

HYB_BORDER(hybrid_result, hybrid_stop_matcher_create,
           (hybrid_runtime *runtime, const hybrid_string *stops, size_t n_stops, hybrid_stop_matcher **matcher,
            hybrid_error *error),
           (runtime, stops, n_stops, matcher, error))
{
    hyb_automaton_source source;
    hybrid_runtime *rt;
    hybrid_stop_matcher *m;
    hybrid_result r;
    size_t i;
    if (!matcher) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_matcher_create: matcher is NULL");
    *matcher = NULL;
    if (n_stops && !stops) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_matcher_create: stops is NULL");
    if (n_stops > 32767) /* times 65536 bytes: states have 31 bits */
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "hybrid_stop_matcher_create: %llu stop strings, must be at most 32767",
                        (unsigned long long)n_stops);
    for (i = 0; i < n_stops; i++)
        if (!stops[i].size || !stops[i].data || stops[i].size > 65536)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_stop_matcher_create: stop string %llu has %llu bytes, must be 1..65536",
                            (unsigned long long)i, (unsigned long long)stops[i].size);
    if ((r = hyb_runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if (!(m = (hybrid_stop_matcher *)hyb_calloc(rt, 1, sizeof *m))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof *m);
    }
    m->rt = rt;
    memset(&source, 0, sizeof source);
    source.strings = stops;
    source.n = n_stops;
    if (!hyb_automaton_make(rt, &source, &m->automaton)) {
        hybrid_stop_matcher_destroy(m);
        return hyb_fail(error, HYBRID_ERROR_MEMORY, "out of memory for %llu stop strings", (unsigned long long)n_stops);
    }
    *matcher = m;
    return HYBRID_OK;
}

/* Forgets what the last call gave to the caller. */
static void hyb_stop_forget(hybrid_stop_matcher *m)
{
    m->n_held -= m->n_shown;
    if (m->n_held && m->n_shown) memmove(m->held, m->held + m->n_shown, m->n_held);
    m->n_shown = 0;
}

/* Bytes of the stop string that is complete: the way back from the state leads over beginnings, and the first that
 * is a whole one is it. */
static size_t hyb_stop_size(const hybrid_stop_matcher *m)
{
    const hyb_automaton *a = &m->automaton;
    uint32_t s = m->state;
    while (s && a->best[0][a->fail[s]] == a->best[0][s]) s = a->fail[s];
    return a->depth[s];
}

HYB_BORDER(hybrid_result, hybrid_stop_matcher_feed,
           (hybrid_stop_matcher *matcher, const void *bytes, size_t size, hybrid_string *safe, int32_t *which,
            hybrid_error *error),
           (matcher, bytes, size, safe, which, error))
{
    hybrid_stop_matcher *m = matcher;
    const uint8_t *p = (const uint8_t *)bytes;
    size_t i, keep, need;
    int found = -1;
    if (safe) safe->data = NULL;
    if (safe) safe->size = 0;
    if (which) *which = -1;
    if (!m || (!bytes && size) || !safe || !which)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_matcher_feed: matcher, bytes, safe or which is NULL");
    if (hyb_busy(m->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_stop_matcher_feed: the matcher is in use: its allocator called it again");
    if (!hyb_add_size(m->n_held - m->n_shown, size, &need))
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "hybrid_stop_matcher_feed: too many bytes");
    if (!m->stopped && need > m->capacity) {
        hybrid_result r;
        m->in_use = hyb_process();
        r = HYB_GROW(m->rt, m->held, m->capacity, m->n_held, need, error);
        m->in_use = 0;
        if (r) return r;
    }
    hyb_stop_forget(m);
    if (m->stopped) return HYBRID_OK;
    for (i = 0; i < size && found < 0; i++) {
        m->held[m->n_held++] = p[i];
        m->state = hyb_automaton_next(&m->automaton, m->state, p[i]);
        found = m->automaton.best[0][m->state];
    }
    keep = m->automaton.depth[m->state]; /* of the longest beginning: a complete string may be shorter */
    if (found >= 0) {
        keep = hyb_stop_size(m);
        m->stopped = true;
    }
    safe->data = (const char *)m->held;
    safe->size = m->n_shown = m->n_held - keep;
    *which = found;
    if (m->stopped) m->n_held = m->n_shown; /* the stop string itself is never shown */
    return HYBRID_OK;
}

HYB_BORDER(hybrid_string, hybrid_stop_matcher_flush, (hybrid_stop_matcher *matcher), (matcher))
{
    hybrid_string s = { NULL, 0 };
    if (!matcher || hyb_busy(matcher->in_use)) return s;
    hyb_stop_forget(matcher);
    s.data = (const char *)matcher->held;
    s.size = matcher->n_shown = matcher->n_held;
    matcher->state = 0;
    return s;
}

HYB_BORDER_VOID(hybrid_stop_matcher_reset, (hybrid_stop_matcher *matcher), (matcher))
{
    if (!matcher || hyb_busy(matcher->in_use)) return;
    matcher->n_held = matcher->n_shown = 0;
    matcher->stopped = false;
    matcher->state = 0;
}
#endif
