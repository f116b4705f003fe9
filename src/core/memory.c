/* core/memory: memory, log and progress of a runtime: its host's, or the defaults. */
#ifndef HYB_CORE_MEMORY_C
#define HYB_CORE_MEMORY_C
#include "runtime.c"

static void *hyb_default_alloc(void *user, size_t size)
{
    HYB_UNUSED(user);
    return malloc(size);
}
static void hyb_default_free(void *user, void *block)
{
    HYB_UNUSED(user);
    free(block);
}

/* Uninitialised memory, or NULL. size 0 gives a block too, so that NULL always means failure. */
static void *hyb_alloc(hybrid_runtime *rt, size_t size)
{
    void *block = rt->allocator.alloc(rt->allocator.user, size ? size : 1);
    if (rt->allocator.alloc != hyb_default_alloc) hyb_fp_plain();
    return block;
}
static void hyb_free(hybrid_runtime *rt, void *block)
{
    if (!block) return;
    rt->allocator.free(rt->allocator.user, block);
    if (rt->allocator.free != hyb_default_free) hyb_fp_plain();
}

/* Zeroed memory for count elements, or NULL (also when count * size overflows). */
static void *hyb_calloc(hybrid_runtime *rt, size_t count, size_t size)
{
    size_t bytes;
    void *p;
    if (!hyb_mul_size(count, size, &bytes)) return NULL;
    if ((p = hyb_alloc(rt, bytes))) memset(p, 0, bytes);
    return p;
}

/* Grows block from old_size to new_size bytes; on failure NULL, and the old block stands. */
static void *hyb_realloc(hybrid_runtime *rt, void *block, size_t old_size, size_t new_size)
{
    void *p = hyb_alloc(rt, new_size);
    if (!p) return NULL;
    if (block) memcpy(p, block, HYB_MIN(old_size, new_size));
    hyb_free(rt, block);
    return p;
}

/* For kernels: 64-byte aligned, freed by hyb_free_aligned. */
enum { HYB_ALIGNED_EXTRA = 64 + sizeof(void *) };
static void *hyb_alloc_aligned(hybrid_runtime *rt, size_t size)
{
    size_t total;
    unsigned char *raw, *p;
    if (!hyb_add_size(size, HYB_ALIGNED_EXTRA, &total) || !(raw = (unsigned char *)hyb_alloc(rt, total))) return NULL;
    p = raw + sizeof(void *) + (64 - ((uintptr_t)raw + sizeof(void *)) % 64) % 64;
    memcpy(p - sizeof(void *), &raw, sizeof(void *));
    return p;
}
/* The same for much that is written at once and then read from end to end, as weights are: asked for in pages of 2 MB,
 * where the system has them, since with 4 KB the processor is slowed by looking up where they are (Ice Lake, a token of
 * 1B Q4_K_M: 1.1 times as fast). Only of malloc's own blocks, and of those that get a mapping of their own (glibc: from
 * 32 MB on), so that the advice ends with the block. Not for what is touched little by little, as a cache is: the first
 * touch of such a page takes a millisecond. */
enum { HYB_HUGE_PAGE = 2 << 20, HYB_HUGE_LEAST = 33 << 20 };
static void *hyb_alloc_streamed(hybrid_runtime *rt, size_t size)
{
    void *block = hyb_alloc_aligned(rt, size);
#if defined(__linux__) && defined(MADV_HUGEPAGE) /* strict -std=c99 hides it */
    const size_t skip = (HYB_HUGE_PAGE - (uintptr_t)block % HYB_HUGE_PAGE) % HYB_HUGE_PAGE;
    const int kept = errno;
    if (block && size >= HYB_HUGE_LEAST && rt->allocator.alloc == hyb_default_alloc)
        (void)madvise((char *)block + skip, size - skip, MADV_HUGEPAGE); /* what it says does not matter */
    errno = kept;
#endif
    return block;
}
static void hyb_free_aligned(hybrid_runtime *rt, void *block)
{
    void *raw;
    if (!block) return;
    memcpy(&raw, (unsigned char *)block - sizeof(void *), sizeof(void *));
    hyb_free(rt, raw);
}

static HYB_PRINTF(3, 4) void hyb_log(hybrid_runtime *rt, hybrid_log_level level, const char *format, ...)
{
    char line[512];
    va_list args;
    if (!rt->logger.log) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rt->logger.log(rt->logger.user, level, line);
    hyb_fp_plain();
}

/* Tells the host how far a call is. False: it wants to stop. */
static bool hyb_report(hybrid_progress_fn progress, void *user, float fraction)
{
    const bool on = !progress || progress(user, fraction);
    hyb_fp_plain();
    return on;
}
#endif
