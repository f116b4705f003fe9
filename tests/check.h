/* check: the whole test framework. A test is a program: TEST names a part, CHECK counts, SKIP says why, test_end prints
 * the sum.
 * With HYBRID_NO_SKIP in the environment (set by .ci/run) a skip counts as a failure. HYBRID_FIRST_FAILURE: the first
 * failure ends the program, and HYBRID_ONLY=word leaves out the parts whose names do not hold it, where a test asks
 * test_wanted: for those who look for one fault. HYBRID_SHARE=k/n is of a program that has run whole and runs once more
 * in a slower way: of the parts about one in n, by their names, another one for each k. */
#ifndef CHECK_H
#define CHECK_H
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_passed, check_failed, check_skipped;
static const char *check_name = "?";

#define TEST(name) (check_name = (name))
#define CHECK(condition, ...) \
    do { \
        if (condition) \
            check_passed++; \
        else if (check_failed++ < 40) { \
            printf("FAILED %s:%d [%s] %s: ", __FILE__, __LINE__, check_name, #condition); \
            printf(__VA_ARGS__); \
            printf("\n"); \
            if (getenv("HYBRID_FIRST_FAILURE")) exit(1); \
        } \
    } while (0)
#define SKIP(...) \
    do { \
        if (getenv("HYBRID_NO_SKIP")) { \
            check_failed++; \
            printf("FAILED (a skip, where none is allowed) [%s] ", check_name); \
        } else { \
            check_skipped++; \
            printf("skipped [%s] ", check_name); \
        } \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)
/* A processor that is not here: nothing can be installed against that, so it is never a failure. */
#define SKIP_PROCESSOR(...) \
    do { \
        check_skipped++; \
        printf("skipped [%s] ", check_name); \
        printf(__VA_ARGS__); \
        printf("\n"); \
    } while (0)

static inline int test_wanted(const char *part)
{
    const char *only = getenv("HYBRID_ONLY"), *share = getenv("HYBRID_SHARE");
    unsigned k, n, hash = 2166136261u; /* FNV-1a */
    const char *c;
    if (only && !strstr(part, only)) return 0;
    if (!share || sscanf(share, "%u/%u", &k, &n) != 2 || !n) return 1;
    for (c = part; *c; c++) hash = (hash ^ (unsigned char)*c) * 16777619u;
    return (hash >> 8) % n == k;
}

/* A part of a test by the text of its call; see test_wanted. */
#define PART(call) \
    do { \
        if (test_wanted(#call)) call; \
    } while (0)

/* The same of a part whose name is made of what is tested. */
static inline int test_wanted_as(const char *format, ...)
{
    char name[256];
    va_list values;
    va_start(values, format);
    vsnprintf(name, sizeof name, format, values);
    va_end(values);
    return test_wanted(name);
}

static inline int test_end(void)
{
    printf("%d passed, %d failed, %d skipped\n", check_passed, check_failed, check_skipped);
    return check_failed != 0;
}

/* Path of a file in the shared data folder; NULL when the folder is absent. The buffer is reused after 4 calls. */
static inline const char *data_path(const char *name)
{
    static char buffer[4][1024];
    static int at;
    const char *root = getenv("HYBRID_DATA");
    FILE *f;
    char *p = buffer[at++ % 4];
    snprintf(p, sizeof buffer[0], "%s/%s", root ? root : "../shared/data", name);
    f = fopen(p, "rb");
    if (!f) return NULL;
    fclose(f);
    return p;
}

/* A whole file, with a zero byte after it; NULL when it cannot be read. Freed by the caller. */
static inline char *read_file(const char *path, size_t *size)
{
    FILE *f = path ? fopen(path, "rb") : NULL;
    char *p = NULL;
    long n;
    if (!f) return NULL;
    if (!fseek(f, 0, SEEK_END) && (n = ftell(f)) >= 0 && !fseek(f, 0, SEEK_SET) &&
        (p = (char *)malloc((size_t)n + 1)) != NULL) {
        if (fread(p, 1, (size_t)n, f) != (size_t)n) {
            free(p);
            p = NULL;
        } else {
            p[n] = 0;
            if (size) *size = (size_t)n;
        }
    }
    fclose(f);
    return p;
}
#endif
