/* text/stop: finds strings that end an answer in bytes that come in pieces. After each byte the automaton of all of them knows the longest
 * one that is complete, and how much of one the text so far ends with, which is what must be held back. */

struct hybrid_stop_matcher {
    hybrid_runtime   *rt;
    hybrid__automaton automaton;
    uint32_t          state;
    uint8_t          *held;      /* bytes not shown yet, and those of the last feed */
    size_t            n_held, n_shown, capacity;    /* n_shown: at the front of held, given to the caller by the last call */
    bool              stopped;
    uint64_t          in_use;    /* the allocator may not call back */
};

HYBRID__BORDER_VOID(hybrid_stop_destroy, (hybrid_stop_matcher *matcher), (matcher))
{
    hybrid_runtime *rt;
    if (!matcher) return;
    rt = matcher->rt;
    if (hybrid__busy(matcher->in_use)) {
        hybrid__log(rt, HYBRID_LOG_ERROR, "hybrid_stop_destroy: the matcher is in use: its allocator called it again; it was not destroyed");
        return;
    }
    matcher->in_use = hybrid__process();
    hybrid__automaton_free(rt, &matcher->automaton);
    hybrid__free(rt, matcher->held);
    hybrid__free(rt, matcher);
    hybrid__runtime_release(rt);
}

HYBRID__BORDER(hybrid_result, hybrid_stop_create, (hybrid_runtime *runtime, const hybrid_string *stops,
              size_t n_stops, hybrid_stop_matcher **matcher, hybrid_error *error),
              (runtime, stops, n_stops, matcher, error))
{
    hybrid__automaton_source source;
    hybrid_runtime *rt;
    hybrid_stop_matcher *m;
    hybrid_result r;
    size_t i;
    if (!matcher) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: matcher is NULL");
    *matcher = NULL;
    if (n_stops && !stops) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: stops is NULL");
    if (n_stops > 32767)       /* times 65536 bytes: states have 31 bits */
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "hybrid_stop_create: %llu stop strings, must be at most 32767", (unsigned long long)n_stops);
    for (i = 0; i < n_stops; i++)
        if (!stops[i].size || !stops[i].data || stops[i].size > 65536)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: stop string %llu has %llu bytes, must be 1..65536",
                                (unsigned long long)i, (unsigned long long)stops[i].size);
    if ((r = hybrid__runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if (!(m = (hybrid_stop_matcher *)hybrid__calloc(rt, 1, sizeof *m))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof *m);
    }
    m->rt = rt;
    memset(&source, 0, sizeof source);
    source.strings = stops;
    source.n = n_stops;
    if (!hybrid__automaton_make(rt, &source, &m->automaton)) {
        hybrid_stop_destroy(m);
        return hybrid__fail(error, HYBRID_ERROR_MEMORY, "out of memory for %llu stop strings", (unsigned long long)n_stops);
    }
    *matcher = m;
    return HYBRID_OK;
}

/* Forgets what the last call gave to the caller. */
static void hybrid__stop_forget(hybrid_stop_matcher *m)
{
    m->n_held -= m->n_shown;
    if (m->n_held && m->n_shown) memmove(m->held, m->held + m->n_shown, m->n_held);
    m->n_shown = 0;
}

/* Bytes of the stop string that is complete: the way back from the state leads over beginnings, and the first that is a whole one is it. */
static size_t hybrid__stop_size(const hybrid_stop_matcher *m)
{
    const hybrid__automaton *a = &m->automaton;
    uint32_t s = m->state;
    while (s && a->best[0][a->fail[s]] == a->best[0][s]) s = a->fail[s];
    return a->depth[s];
}

HYBRID__BORDER(hybrid_result, hybrid_stop_feed, (hybrid_stop_matcher *matcher, const void *bytes, size_t size,
              hybrid_string *safe, int *which, hybrid_error *error), (matcher, bytes, size, safe, which, error))
{
    hybrid_stop_matcher *m = matcher;
    const uint8_t *p = (const uint8_t *)bytes;
    size_t i, keep, need;
    int found = -1;
    if (safe) safe->data = NULL;
    if (safe) safe->size = 0;
    if (which) *which = -1;
    if (!m || (!bytes && size) || !safe || !which) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_feed: matcher, bytes, safe or which is NULL");
    if (hybrid__busy(m->in_use)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_feed: the matcher is in use: its allocator called it again");
    if (!hybrid__add_size(m->n_held - m->n_shown, size, &need)) return hybrid__fail(error, HYBRID_ERROR_LIMIT, "hybrid_stop_feed: too many bytes");
    if (!m->stopped && need > m->capacity) {
        size_t capacity = HYBRID__MAX(need, HYBRID__MAX(2 * m->capacity, 256));
        uint8_t *held;
        m->in_use = hybrid__process();
        held = (uint8_t *)hybrid__realloc(m->rt, m->held, m->capacity, capacity);
        m->in_use = 0;
        if (!held) return hybrid__fail_memory(error, capacity);
        m->held = held;
        m->capacity = capacity;
    }
    hybrid__stop_forget(m);
    if (m->stopped) return HYBRID_OK;
    for (i = 0; i < size && found < 0; i++) {
        m->held[m->n_held++] = p[i];
        m->state = hybrid__automaton_next(&m->automaton, m->state, p[i]);
        found = m->automaton.best[0][m->state];
    }
    keep = m->automaton.depth[m->state];                 /* of the longest beginning: a complete string may be shorter */
    if (found >= 0) { keep = hybrid__stop_size(m); m->stopped = true; }
    safe->data = (const char *)m->held;
    safe->size = m->n_shown = m->n_held - keep;
    *which = found;
    if (m->stopped) m->n_held = m->n_shown;              /* the stop string itself is never shown */
    return HYBRID_OK;
}

HYBRID__BORDER(hybrid_string, hybrid_stop_flush, (hybrid_stop_matcher *matcher), (matcher))
{
    hybrid_string s = { NULL, 0 };
    if (!matcher || hybrid__busy(matcher->in_use)) return s;
    hybrid__stop_forget(matcher);
    s.data = (const char *)matcher->held;
    s.size = matcher->n_shown = matcher->n_held;
    matcher->state = 0;
    return s;
}

HYBRID__BORDER_VOID(hybrid_stop_reset, (hybrid_stop_matcher *matcher), (matcher))
{
    if (!matcher || hybrid__busy(matcher->in_use)) return;
    matcher->n_held = matcher->n_shown = 0;
    matcher->stopped = false;
    matcher->state = 0;
}
