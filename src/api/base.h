/* ---- base: version, linkage, results, errors, allocator, log ----------------------------------------------------- */
#ifndef HYB_API_BASE_H
#define HYB_API_BASE_H
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

/* Until 1.0 the interface may break between two minor versions (0.1, 0.2), never between two patch versions;
 * .github/CHANGELOG.md says how. The number is for the preprocessor: major * 10000 + minor * 100 + patch. */
#define HYBRID_VERSION        "0.1.0"
#define HYBRID_VERSION_NUMBER 100

/* Linkage. HYBRID_STATIC: everything static in your file. HYBRID_API: your own export attribute. */
#ifndef HYBRID_API
    #ifdef HYBRID_STATIC
        #define HYBRID_API static
    #elif defined(__cplusplus)
        #define HYBRID_API extern "C"
    #else
        #define HYBRID_API extern
    #endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Every fallible call returns one of these. Zero is success, failures are negative, the numbers never change. */
/* clang-format off */
#define HYBRID_RESULTS(X) \
    X(HYBRID_OK,                    0, "ok") \
    X(HYBRID_ERROR_INVALID,        -1, "an argument is invalid") \
    X(HYBRID_ERROR_MEMORY,         -2, "out of memory") \
    X(HYBRID_ERROR_IO,             -3, "reading or writing failed") \
    X(HYBRID_ERROR_FORMAT,         -4, "the data is malformed") \
    X(HYBRID_ERROR_UNSUPPORTED,    -5, "valid, but not supported by this build of hybrid") \
    X(HYBRID_ERROR_NOT_FOUND,      -6, "something that was asked for is not there") \
    X(HYBRID_ERROR_LIMIT,          -7, "a limit was exceeded") \
    X(HYBRID_ERROR_CONTEXT_FULL,   -8, "the context has no room for that many tokens") \
    X(HYBRID_ERROR_CANCELLED,      -9, "cancelled by the caller") \
    X(HYBRID_ERROR_NUMERIC,       -10, "a result is not a number: the weights or inputs are damaged") \
    X(HYBRID_ERROR_DEVICE,        -11, "the GPU, its driver or its libraries failed")
/* clang-format on */

typedef enum hybrid_result {
#define HYB_X(name, value, text) name = value,
    HYBRID_RESULTS(HYB_X)
#undef HYB_X
        HYBRID_RESULT_LAST_ = 1
} hybrid_result;

/* The text of a result code: a constant string, never NULL. Thread-safe. */
HYBRID_API const char *hybrid_result_text(hybrid_result result);

/* What went wrong. Pass a pointer to any fallible call, or NULL when the code is enough. Written only on failure.
 * message: one sentence without control characters: what was wrong, where, and what to do. offset: byte position in
 * the input, where that means something. */
typedef struct hybrid_error {
    hybrid_result result;
    uint64_t offset;
    char message[256];
} hybrid_error;

/* A call that fails has changed nothing: its object is as it was, and the call can be made again. What it was to give
 * is then empty: a handle is NULL; a count, a size, a plan are 0 (unless its own words say what they tell); buffers for
 * results may have been written to.
 * A call may call you back (log, memory, trace, progress, reading, writing, parallel_for). The object that it belongs
 * to is in use until it returns, or until it has ended: what you ask of that object meanwhile is refused by
 * HYBRID_ERROR_INVALID and a sentence that says "in use";
 * functions without a result, _destroy too, then do nothing but log. Other objects, of the same runtime as well, are
 * free. */

/* Numbers. What a model or a machine has is int32_t: tokens, positions, sequences, layers, rows of logits, threads.
 * How much a pointer leads to, and how much hybrid keeps in memory for you to list, is size_t: bytes, items of an
 * array, keys. What a file holds is uint64_t. There is no int. */

/* "0.1.0" and the id of the sources that a header was made from ("dev" in a source tree). Thread-safe. */
HYBRID_API const char *hybrid_version(void);
HYBRID_API const char *hybrid_source_id(void);

/* Memory. alloc returns NULL when there is none: every call of hybrid survives that. Blocks must be aligned for any C
 * type.
 * Both are called from the thread that calls hybrid, never from workers. Leave zero for malloc and free. */
typedef struct hybrid_allocator {
    void *(*alloc)(void *user, size_t size);
    void (*free)(void *user, void *block);
    void *user;
} hybrid_allocator;

typedef enum hybrid_log_level {
    HYBRID_LOG_ERROR = 1,
    HYBRID_LOG_WARN = 2,
    HYBRID_LOG_INFO = 3,
    HYBRID_LOG_DEBUG = 4
} hybrid_log_level;

/* Silent by default. message is one line without a newline, valid during the call. */
typedef struct hybrid_logger {
    void (*log)(void *user, hybrid_log_level level, const char *message);
    void *user;
} hybrid_logger;

/* A file that is not a path: a pak file, a download, an asset system. read_at must fill all n bytes and return true, or
 * return false. close may be NULL; it is called once when the object that owns the reader ends (also when opening it
 * failed). */
typedef struct hybrid_reader {
    bool (*read_at)(void *user, uint64_t offset, void *dst, size_t n);
    void (*close)(void *user);
    uint64_t size;
    void *user;
} hybrid_reader;

/* The bytes [begin, end) of a text. */
typedef struct hybrid_span {
    size_t begin, end;
} hybrid_span;

/* Receives bytes in order; returns false to stop. */
typedef bool (*hybrid_write_fn)(void *user, const void *data, size_t n);

/* Called now and then, fraction 0..1; returns false to cancel (HYBRID_ERROR_CANCELLED). */
typedef bool (*hybrid_progress_fn)(void *user, float fraction);

/* Where bytes come from: exactly one of the four. Zero-terminated UTF-8 path, memory that outlives the object, a
 * reader, or (where a model is asked for) the parts of a file that was split, each a source of its own, in any
 * order. The list itself need not outlive the call. */
typedef struct hybrid_source {
    const char *path;
    const void *data;
    size_t size; /* of data */
    hybrid_reader reader;
    const struct hybrid_source *parts;
    size_t n_parts;
} hybrid_source;
#endif
