/* text/stop: finds strings that end an answer in bytes that come in pieces. Every stop string is followed by its own automaton (Knuth,
 * Morris, Pratt): after each byte it knows how much of the string the text so far ends with, which is also what must be held back. */

struct hybrid_stop_matcher {
    hybrid_runtime *rt;
    size_t          n;
    uint8_t       **text;        /* n stop strings */
    uint32_t      **fail;        /* of each: for every length matched, the longest shorter beginning that it ends with */
    uint32_t       *size, *state;
    uint8_t        *held;        /* bytes not shown yet, and those of the last feed */
    size_t          n_held, n_shown, capacity;      /* n_shown: at the front of held, given to the caller by the last call */
    bool            stopped;
    uint64_t        in_use;      /* the allocator may not call back */
};

HYBRID__BORDER_VOID(hybrid_stop_destroy, (hybrid_stop_matcher *matcher), (matcher))
{
    hybrid_runtime *rt;
    size_t i;
    if (!matcher) return;
    rt = matcher->rt;
    for (i = 0; i < matcher->n; i++) {
        if (matcher->text) hybrid__free(rt, matcher->text[i]);
        if (matcher->fail) hybrid__free(rt, matcher->fail[i]);
    }
    hybrid__free(rt, matcher->text);
    hybrid__free(rt, matcher->fail);
    hybrid__free(rt, matcher->size);
    hybrid__free(rt, matcher->state);
    hybrid__free(rt, matcher->held);
    hybrid__free(rt, matcher);
    hybrid__runtime_release(rt);
}

static bool hybrid__stop_add(hybrid_stop_matcher *m, size_t i, hybrid_string stop)
{
    uint32_t k = 0, *fail;
    size_t at;
    m->text[i] = (uint8_t *)hybrid__alloc(m->rt, stop.size);
    fail = m->fail[i] = (uint32_t *)hybrid__calloc(m->rt, stop.size + 1, sizeof *fail);
    if (!m->text[i] || !fail) return false;
    memcpy(m->text[i], stop.data, stop.size);
    m->size[i] = (uint32_t)stop.size;
    for (at = 1; at < stop.size; at++) {
        while (k && m->text[i][k] != m->text[i][at]) k = fail[k];
        if (m->text[i][k] == m->text[i][at]) k++;
        fail[at + 1] = k;
    }
    return true;
}

HYBRID__BORDER(hybrid_result, hybrid_stop_create, (hybrid_runtime *runtime, const hybrid_string *stops,
              size_t n_stops, hybrid_stop_matcher **matcher, hybrid_error *error),
              (runtime, stops, n_stops, matcher, error))
{
    hybrid_runtime *rt;
    hybrid_stop_matcher *m;
    hybrid_result r;
    size_t i;
    bool ok;
    if (!matcher) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: matcher is NULL");
    *matcher = NULL;
    if (n_stops && !stops) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: stops is NULL");
    for (i = 0; i < n_stops; i++)
        if (!stops[i].size || !stops[i].data || stops[i].size > 65536)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: stop string %llu has %llu bytes, must be 1..65536", (unsigned long long)i, (unsigned long long)stops[i].size);
    if ((r = hybrid__runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if (!(m = (hybrid_stop_matcher *)hybrid__calloc(rt, 1, sizeof *m))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof *m);
    }
    m->rt = rt;
    m->n = n_stops;
    m->text = (uint8_t **)hybrid__calloc(rt, n_stops, sizeof *m->text);
    m->fail = (uint32_t **)hybrid__calloc(rt, n_stops, sizeof *m->fail);
    m->size = (uint32_t *)hybrid__calloc(rt, n_stops, sizeof *m->size);
    m->state = (uint32_t *)hybrid__calloc(rt, n_stops, sizeof *m->state);
    ok = m->text && m->fail && m->size && m->state;
    for (i = 0; ok && i < n_stops; i++) ok = hybrid__stop_add(m, i, stops[i]);
    if (!ok) {
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
    if (m->n_held) memmove(m->held, m->held + m->n_shown, m->n_held);
    m->n_shown = 0;
}

/* One byte: the longest stop string that is complete with it, or -1; *keep: bytes from the end that may still become one. */
static int hybrid__stop_step(hybrid_stop_matcher *m, uint8_t byte, size_t *keep)
{
    int found = -1;
    size_t i;
    *keep = 0;
    for (i = 0; i < m->n; i++) {
        uint32_t k = m->state[i];
        while (k && m->text[i][k] != byte) k = m->fail[i][k];
        if (m->text[i][k] == byte) k++;
        m->state[i] = k;
        if (k == m->size[i] && (found < 0 || k > m->size[found])) found = (int)i;
        *keep = HYBRID__MAX(*keep, k);
    }
    return found;
}

HYBRID__BORDER(hybrid_result, hybrid_stop_feed, (hybrid_stop_matcher *matcher, const void *bytes, size_t size,
              hybrid_string *safe, int *which, hybrid_error *error), (matcher, bytes, size, safe, which, error))
{
    hybrid_stop_matcher *m = matcher;
    const uint8_t *p = (const uint8_t *)bytes;
    size_t i, keep = 0, need;
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
        found = hybrid__stop_step(m, p[i], &keep);
    }
    if (!size) for (i = 0; i < m->n; i++) keep = HYBRID__MAX(keep, m->state[i]);
    if (found >= 0) { keep = m->size[found]; m->stopped = true; }
    safe->data = (const char *)m->held;
    safe->size = m->n_shown = m->n_held - keep;
    *which = found;
    if (m->stopped) m->n_held = m->n_shown;              /* the stop string itself is never shown */
    return HYBRID_OK;
}

HYBRID__BORDER(hybrid_string, hybrid_stop_flush, (hybrid_stop_matcher *matcher), (matcher))
{
    hybrid_string s = { NULL, 0 };
    size_t i;
    if (!matcher) return s;
    hybrid__stop_forget(matcher);
    s.data = (const char *)matcher->held;
    s.size = matcher->n_shown = matcher->n_held;
    for (i = 0; i < matcher->n; i++) matcher->state[i] = 0;
    return s;
}

HYBRID__BORDER_VOID(hybrid_stop_reset, (hybrid_stop_matcher *matcher), (matcher))
{
    size_t i;
    if (!matcher) return;
    matcher->n_held = matcher->n_shown = 0;
    matcher->stopped = false;
    for (i = 0; i < matcher->n; i++) matcher->state[i] = 0;
}
