/* ---- runtime: what models and sessions share: memory, log, worker threads ------------------------------------------ */

typedef struct hybrid_runtime hybrid_runtime;

/* One piece of parallel work. Called with every index in 0..n-1, in any order, from any thread. */
typedef void (*hybrid_task_fn)(void *arg, int index);

typedef struct hybrid_runtime_desc {
    hybrid_allocator allocator;
    hybrid_logger    logger;
    int              n_threads;  /* threads that compute, the caller's included; 0: the number of physical cores, at most 16 */
    /* The host's job system instead of own threads: must run fn(arg, i) for all i in 0..n-1 and return when all are done.
     * It may run them all on the calling thread. Own threads are then never started. */
    void           (*parallel_for)(void *user, int n, hybrid_task_fn fn, void *arg);
    void            *parallel_user;
    const char      *isa;        /* NULL: the best that this CPU has; "generic", "avx2", "avx512", "neon": at most that; one that this
                                  * processor does not have, or of another kind of processor, limits nothing */
} hybrid_runtime_desc;

/* Creates a runtime; desc may be NULL. Objects keep it alive: it may be destroyed before them. Threads start on first use and
 * sleep when idle. A runtime may be used by several threads; one parallel section runs at a time, others compute alone. */
HYBRID_API hybrid_result hybrid_runtime_create(const hybrid_runtime_desc *desc, hybrid_runtime **runtime, hybrid_error *error);
HYBRID_API void hybrid_runtime_destroy(hybrid_runtime *runtime);

/* "avx512", "avx2", "neon" or "generic": what the kernels of this runtime use. */
HYBRID_API const char *hybrid_runtime_isa(const hybrid_runtime *runtime);
HYBRID_API int hybrid_runtime_threads(const hybrid_runtime *runtime);
