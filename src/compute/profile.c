/* compute/profile: where the time goes, op by op: calls, time and bytes of every op of a back end, as a table to read.
 * Compiled with HYBRID_PROFILE every op is waited for and timed; without, nothing of it is left but a sentence that
 * says so. */
#ifndef HYB_COMPUTE_PROFILE_C
#define HYB_COMPUTE_PROFILE_C
#include "backend.c"

#if defined(HYBRID_PROFILE)
HYB_INLINE bool hyb_profiled(void) { return true; }
#else
HYB_INLINE bool hyb_profiled(void) { return false; }
#endif

#if defined(HYBRID_PROFILE)

static const char *hyb_op_name(hyb_op op)
{
    static const char *const names[] = {
    #define HYB_OP(name_) #name_,
        HYB_OPS(HYB_OP, HYB_OP) HYB_TRAIN_OPS(HYB_OP)
    #undef HYB_OP
    };
    return names[op];
}

/* A device that works on while the host goes on is waited for: before the op, so that nothing else is counted, and
 * after it. */
static uint64_t hyb_profile_begin(hyb_backend *be)
{
    be->ops->sync(be, NULL);
    return hyb_now_ns();
}

static void hyb_profile_end(hyb_backend *be, hyb_op op, uint64_t since, double bytes)
{
    hyb_profile *p = &be->profile[op];
    uint64_t now;
    be->ops->sync(be, NULL);
    now = hyb_now_ns();
    p->calls++;
    p->nanoseconds += now - since;
    p->bytes += bytes;
    #if HYBRID_PROFILE + 0 > 1
    hyb_log(be->rt, HYBRID_LOG_DEBUG, "%s %s: %llu ns, %llu bytes", be->ops->name, hyb_op_name(op),
            (unsigned long long)(now - since), (unsigned long long)bytes);
    #endif
}

/* A text of which the first bytes are kept and all are counted. */
typedef struct hyb_profile_text {
    char *text;
    size_t size, length;
} hyb_profile_text;

static void hyb_profile_add(hyb_profile_text *t, const char *piece)
{
    for (; *piece; piece++, t->length++)
        if (t->length + 1 < t->size) t->text[t->length] = *piece;
}

/* value / 10^decimals, right-aligned in `width` columns: 1234, 2 is 12.34, in every locale. */
static void hyb_profile_number(hyb_profile_text *t, int width, double value, int decimals)
{
    char digits[32], line[64];
    const int n = snprintf(digits, sizeof digits, "%0*llu", decimals + 1, (unsigned long long)(value + 0.5));
    if (decimals)
        snprintf(line, sizeof line, "%.*s.%s", n - decimals, digits, digits + n - decimals);
    else
        snprintf(line, sizeof line, "%s", digits);
    snprintf(digits, sizeof digits, " %*.24s", width, line);
    hyb_profile_add(t, digits);
}

static void hyb_profile_row(hyb_profile_text *t, const char *name, const hyb_profile *p, double all)
{
    char head[32];
    snprintf(head, sizeof head, "%-12.16s", name);
    hyb_profile_add(t, head);
    hyb_profile_number(t, 9, (double)p->calls, 0);
    hyb_profile_number(t, 10, (double)p->nanoseconds * 1e-6, 3);
    hyb_profile_number(t, 7, all > 0 ? (double)p->nanoseconds / all * 1000 : 0, 1);
    hyb_profile_number(t, 11, p->bytes * 1e-6, 3);
    hyb_profile_number(t, 8, p->nanoseconds ? p->bytes / (double)p->nanoseconds * 10 : 0, 1);
    hyb_profile_add(t, "\n");
}

/* The ops that were called, those that took longest first. */
static void hyb_profile_print(hyb_profile_text *t, const hyb_backend *be)
{
    bool shown[HYB_OP_COUNT] = { false };
    hyb_profile all;
    char head[24], line[96];
    int op, most;
    memset(&all, 0, sizeof all);
    for (op = 0; op < HYB_OP_COUNT; op++) {
        all.calls += be->profile[op].calls;
        all.nanoseconds += be->profile[op].nanoseconds;
        all.bytes += be->profile[op].bytes;
    }
    snprintf(head, sizeof head, "op on %.8s", be->ops->name);
    snprintf(line, sizeof line, "%-12s %9s %10s %7s %11s %8s\n", head, "calls", "seconds", "share %", "GB", "GB/s");
    hyb_profile_add(t, line);
    for (;;) {
        for (most = -1, op = 0; op < HYB_OP_COUNT; op++)
            if (!shown[op] && be->profile[op].calls &&
                (most < 0 || be->profile[op].nanoseconds > be->profile[most].nanoseconds))
                most = op;
        if (most < 0) break;
        shown[most] = true;
        hyb_profile_row(t, hyb_op_name((hyb_op)most), &be->profile[most], (double)all.nanoseconds);
    }
    hyb_profile_row(t, "all", &all, (double)all.nanoseconds);
}

#endif
#endif
