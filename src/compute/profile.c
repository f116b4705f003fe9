/* compute/profile: where the time goes, op by op: calls, time and bytes of every op of a back end, as a table to read. Compiled with HYBRID_PROFILE
 * every op is waited for and timed; without, nothing of it is left but a sentence that says so. */

#if defined(HYBRID_PROFILE)
    HYBRID__INLINE bool hybrid__profiled(void) { return true; }
#else
    HYBRID__INLINE bool hybrid__profiled(void) { return false; }
#endif

#if defined(HYBRID_PROFILE)

static const char *hybrid__op_name(hybrid__op op)
{
    static const char *const names[] = {
#define HYBRID__OP(name_) #name_,
        HYBRID__OPS(HYBRID__OP, HYBRID__OP)
#undef HYBRID__OP
    };
    return names[op];
}

/* A device that works on while the host goes on is waited for: before the op, so that nothing else is counted, and after it. */
static uint64_t hybrid__profile_begin(hybrid__backend *be)
{
    be->ops->sync(be, NULL);
    return hybrid__now_ns();
}

static void hybrid__profile_end(hybrid__backend *be, hybrid__op op, uint64_t since, double bytes)
{
    hybrid__profile *p = &be->profile[op];
    uint64_t now;
    be->ops->sync(be, NULL);
    now = hybrid__now_ns();
    p->calls++;
    p->nanoseconds += now - since;
    p->bytes += bytes;
#if HYBRID_PROFILE + 0 > 1
    hybrid__log(be->rt, HYBRID_LOG_DEBUG, "%s %s: %llu ns, %llu bytes", be->ops->name, hybrid__op_name(op), (unsigned long long)(now - since), (unsigned long long)bytes);
#endif
}

/* A text of which the first bytes are kept and all are counted. */
typedef struct hybrid__profile_text { char *text; size_t size, length; } hybrid__profile_text;

static void hybrid__profile_add(hybrid__profile_text *t, const char *piece)
{
    for (; *piece; piece++, t->length++) if (t->length + 1 < t->size) t->text[t->length] = *piece;
}

/* value / 10^decimals, right-aligned in `width` columns: 1234, 2 is 12.34, in every locale. */
static void hybrid__profile_number(hybrid__profile_text *t, int width, double value, int decimals)
{
    char digits[32], line[64];
    const int n = snprintf(digits, sizeof digits, "%0*llu", decimals + 1, (unsigned long long)(value + 0.5));
    if (decimals) snprintf(line, sizeof line, "%.*s.%s", n - decimals, digits, digits + n - decimals);
    else snprintf(line, sizeof line, "%s", digits);
    snprintf(digits, sizeof digits, " %*.24s", width, line);
    hybrid__profile_add(t, digits);
}

static void hybrid__profile_row(hybrid__profile_text *t, const char *name, const hybrid__profile *p, double all)
{
    char head[32];
    snprintf(head, sizeof head, "%-12.16s", name);
    hybrid__profile_add(t, head);
    hybrid__profile_number(t, 9, (double)p->calls, 0);
    hybrid__profile_number(t, 10, (double)p->nanoseconds * 1e-6, 3);
    hybrid__profile_number(t, 7, all > 0 ? (double)p->nanoseconds / all * 1000 : 0, 1);
    hybrid__profile_number(t, 11, p->bytes * 1e-6, 3);
    hybrid__profile_number(t, 8, p->nanoseconds ? p->bytes / (double)p->nanoseconds * 10 : 0, 1);
    hybrid__profile_add(t, "\n");
}

/* The ops that were called, those that took longest first. */
static void hybrid__profile_print(hybrid__profile_text *t, const hybrid__backend *be)
{
    bool shown[HYBRID__OP_COUNT] = { false };
    hybrid__profile all;
    char head[24], line[96];
    int op, most;
    memset(&all, 0, sizeof all);
    for (op = 0; op < HYBRID__OP_COUNT; op++) {
        all.calls += be->profile[op].calls;
        all.nanoseconds += be->profile[op].nanoseconds;
        all.bytes += be->profile[op].bytes;
    }
    snprintf(head, sizeof head, "op on %.8s", be->ops->name);
    snprintf(line, sizeof line, "%-12s %9s %10s %7s %11s %8s\n", head, "calls", "seconds", "share %", "GB", "GB/s");
    hybrid__profile_add(t, line);
    for (;;) {
        for (most = -1, op = 0; op < HYBRID__OP_COUNT; op++)
            if (!shown[op] && be->profile[op].calls && (most < 0 || be->profile[op].nanoseconds > be->profile[most].nanoseconds)) most = op;
        if (most < 0) break;
        shown[most] = true;
        hybrid__profile_row(t, hybrid__op_name((hybrid__op)most), &be->profile[most], (double)all.nanoseconds);
    }
    hybrid__profile_row(t, "all", &all, (double)all.nanoseconds);
}

#endif
