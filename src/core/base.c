/* core/base: what every room uses: results, errors, checked sizes. */
#ifndef HYB_CORE_BASE_C
#define HYB_CORE_BASE_C
#include "macros.h"

HYBRID_API const char *hybrid_result_text(hybrid_result result)
{
    switch (result) {
#define HYB_X(name, value, text) \
    case name: return text;
        HYBRID_RESULTS(HYB_X)
#undef HYB_X
    case HYBRID_RESULT_LAST_: break;
    }
    return "unknown result";
}

HYBRID_API const char *hybrid_version(void) { return HYBRID_VERSION; }

#ifndef HYB_SOURCE_ID
    #define HYB_SOURCE_ID "dev"
#endif
HYBRID_API const char *hybrid_source_id(void) { return HYB_SOURCE_ID; }

static HYB_PRINTF(4, 0) hybrid_result
    hyb_fail_words(hybrid_error *err, hybrid_result result, uint64_t offset, const char *format, va_list args)
{
    char *p;
    err->result = result;
    err->offset = offset;
    vsnprintf(err->message, sizeof err->message, format, args);
    /* names from files end up on terminals */
    for (p = err->message; *p; p++)
        if ((unsigned char)*p < 32 || *p == 127) *p = '?';
    return result;
}

/* Fills err (if any) and returns result, so that a failing line reads: return hyb_fail(err, HYBRID_ERROR_FORMAT,
 * "..."); */
static HYB_PRINTF(4, 5) hybrid_result hyb_fail_at(hybrid_error *err, hybrid_result result, uint64_t offset,
                                                  const char *format, ...)
{
    va_list args;
    if (!err) return result;
    va_start(args, format);
    hyb_fail_words(err, result, offset, format, args);
    va_end(args);
    return result;
}

/* Work that goes on after a failure keeps the first one, of which the others are often consequences. It begins with
 * kept->result 0; hyb_kept gives the failure, if there is one, to the caller. */
static HYB_PRINTF(3, 4) hybrid_result hyb_keep(hybrid_error *kept, hybrid_result result, const char *format, ...)
{
    va_list args;
    if (kept->result) return kept->result;
    va_start(args, format);
    hyb_fail_words(kept, result, 0, format, args);
    va_end(args);
    return result;
}
static hybrid_result hyb_kept(const hybrid_error *kept, hybrid_error *error)
{
    if (kept->result && error) *error = *kept;
    return kept->result;
}

/* Checked arithmetic on sizes: false on overflow. */
static bool hyb_mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}
static bool hyb_add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}
HYB_INLINE size_t hyb_align(size_t n, size_t to) { return (n + to - 1) / to * to; }
#endif
