/* core/base: what every room uses: results, errors, checked sizes. */

HYBRID_API const char *hybrid_result_text(hybrid_result result)
{
    switch (result) {
#define HYBRID__X(name, value, text) case name: return text;
        HYBRID_RESULTS(HYBRID__X)
#undef HYBRID__X
        case HYBRID_RESULT_LAST_: break;
    }
    return "unknown result";
}

HYBRID_API const char *hybrid_version(void) { return HYBRID_VERSION; }

#ifndef HYBRID__SOURCE_ID
    #define HYBRID__SOURCE_ID "dev"
#endif
HYBRID_API const char *hybrid_source_id(void) { return HYBRID__SOURCE_ID; }

/* Fills err (if any) and returns result, so that a failing line reads: return hybrid__fail(err, HYBRID_ERROR_FORMAT, "..."); */
static HYBRID__PRINTF(4, 5) hybrid_result hybrid__fail_at(hybrid_error *err, hybrid_result result, uint64_t offset, const char *format, ...)
{
    va_list args;
    char *p;
    if (!err) return result;
    err->result = result;
    err->offset = offset;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    for (p = err->message; *p; p++) if ((unsigned char)*p < 32 || *p == 127) *p = '?';       /* names from files end up on terminals */
    return result;
}
/* Checked arithmetic on sizes: false on overflow. */
static bool hybrid__mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}
static bool hybrid__add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}
HYBRID__INLINE size_t hybrid__align(size_t n, size_t to) { return (n + to - 1) / to * to; }
