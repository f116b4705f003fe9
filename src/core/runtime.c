/* core/runtime: the object that everything hangs off: memory, log, workers. Counted, so that objects may outlive the caller's handle. */

struct hybrid_runtime {
    hybrid_allocator  allocator;
    hybrid_logger     logger;
    hybrid__isa       isa;
    hybrid__pool      pool;
    volatile uint64_t references;
};

static void *hybrid__default_alloc(void *user, size_t size) { HYBRID__UNUSED(user); return malloc(size); }
static void hybrid__default_free(void *user, void *block) { HYBRID__UNUSED(user); free(block); }

/* Uninitialised memory, or NULL. size 0 gives a block too, so that NULL always means failure. */
static void *hybrid__alloc(hybrid_runtime *rt, size_t size) { return rt->allocator.alloc(rt->allocator.user, size ? size : 1); }
static void hybrid__free(hybrid_runtime *rt, void *block) { if (block) rt->allocator.free(rt->allocator.user, block); }

/* Zeroed memory for count elements, or NULL (also when count * size overflows). */
static void *hybrid__calloc(hybrid_runtime *rt, size_t count, size_t size)
{
    size_t bytes;
    void *p;
    if (!hybrid__mul_size(count, size, &bytes)) return NULL;
    if ((p = hybrid__alloc(rt, bytes))) memset(p, 0, bytes);
    return p;
}

/* Grows block from old_size to new_size bytes; on failure NULL, and the old block stands. */
static void *hybrid__realloc(hybrid_runtime *rt, void *block, size_t old_size, size_t new_size)
{
    void *p = hybrid__alloc(rt, new_size);
    if (!p) return NULL;
    if (block) memcpy(p, block, HYBRID__MIN(old_size, new_size));
    hybrid__free(rt, block);
    return p;
}

/* For kernels: 64-byte aligned, freed by hybrid__free_aligned. */
static void *hybrid__alloc_aligned(hybrid_runtime *rt, size_t size)
{
    size_t total;
    unsigned char *raw, *p;
    if (!hybrid__add_size(size, 64 + sizeof(void *), &total) || !(raw = (unsigned char *)hybrid__alloc(rt, total))) return NULL;
    p = raw + sizeof(void *) + (64 - ((uintptr_t)raw + sizeof(void *)) % 64) % 64;
    memcpy(p - sizeof(void *), &raw, sizeof(void *));
    return p;
}
static void hybrid__free_aligned(hybrid_runtime *rt, void *block)
{
    void *raw;
    if (!block) return;
    memcpy(&raw, (unsigned char *)block - sizeof(void *), sizeof(void *));
    hybrid__free(rt, raw);
}

static HYBRID__PRINTF(3, 4) void hybrid__log(hybrid_runtime *rt, hybrid_log_level level, const char *format, ...)
{
    char line[512];
    va_list args;
    if (!rt->logger.log) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rt->logger.log(rt->logger.user, level, line);
}

static void hybrid__runtime_release(hybrid_runtime *rt)
{
    if (!rt || hybrid__atomic_add(&rt->references, (uint64_t)-1) != 1) return;
    hybrid__pool_stop(&rt->pool);
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_destroy(&rt->pool.mutex);
    pthread_cond_destroy(&rt->pool.wake);
#endif
    hybrid__free(rt, rt->pool.workers);
    { hybrid_allocator a = rt->allocator; a.free(a.user, rt); }
}

HYBRID_API hybrid_result hybrid_runtime_create(const hybrid_runtime_desc *desc, hybrid_runtime **runtime, hybrid_error *error)
{
    static const hybrid_runtime_desc zero = { { NULL, NULL, NULL }, { NULL, NULL }, 0, NULL, NULL, NULL };
    hybrid_allocator a;
    hybrid_runtime *rt;
    int i;
    if (!runtime) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: runtime is NULL");
    *runtime = NULL;
    if (!desc) desc = &zero;
    a = desc->allocator;
    if (!a.alloc != !a.free) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: give both alloc and free, or neither");
    if (desc->n_threads < 0 || desc->n_threads > HYBRID__MAX_THREADS)
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: n_threads is %d, must be 0..%d", desc->n_threads, HYBRID__MAX_THREADS);
    if (!a.alloc) { a.alloc = hybrid__default_alloc; a.free = hybrid__default_free; }
    if (!(rt = (hybrid_runtime *)a.alloc(a.user, sizeof *rt))) return hybrid__fail_memory(error, sizeof *rt);
    memset(rt, 0, sizeof *rt);
    rt->allocator = a;
    rt->logger = desc->logger;
    rt->references = 1;
    rt->isa = hybrid__cpu_isa();
    if (desc->isa) {
        for (i = 0; i < HYBRID__ISA_COUNT && strcmp(desc->isa, hybrid__isa_name((hybrid__isa)i)); i++) {}
        if (i == HYBRID__ISA_COUNT) {
            a.free(a.user, rt);
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: isa \"%.32s\" is none of generic, avx2, avx512, neon", desc->isa);
        }
        if (hybrid__isa_below((hybrid__isa)i, rt->isa)) rt->isa = (hybrid__isa)i;
    }
    rt->pool.n_lanes = desc->n_threads ? desc->n_threads : HYBRID__MIN(hybrid__cpu_count(), 16);
    rt->pool.host_for = desc->parallel_for;
    rt->pool.host_user = desc->parallel_user;
#if !defined(HYBRID__THREADS_POSIX) && !defined(HYBRID__THREADS_WIN32)
    if (!rt->pool.host_for) rt->pool.n_lanes = 1;
#endif
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_init(&rt->pool.mutex, NULL);
    pthread_cond_init(&rt->pool.wake, NULL);
#elif defined(HYBRID__THREADS_WIN32)
    InitializeSRWLock(&rt->pool.mutex);
    InitializeConditionVariable(&rt->pool.wake);
#endif
    if (!(rt->pool.workers = (hybrid__worker *)hybrid__calloc(rt, (size_t)rt->pool.n_lanes, sizeof(hybrid__worker)))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, (size_t)desc->n_threads * sizeof(hybrid__worker));
    }
    *runtime = rt;
    return HYBRID_OK;
}

HYBRID_API void hybrid_runtime_destroy(hybrid_runtime *runtime) { hybrid__runtime_release(runtime); }
HYBRID_API const char *hybrid_runtime_isa(const hybrid_runtime *runtime) { return runtime ? hybrid__isa_name(runtime->isa) : hybrid__isa_name(hybrid__cpu_isa()); }
HYBRID_API int hybrid_runtime_threads(const hybrid_runtime *runtime) { return runtime ? runtime->pool.n_lanes : 1; }

/* The runtime that an object keeps: the caller's, counted once more, or (NULL) a default one of its own. */
static hybrid_result hybrid__runtime_retain(hybrid_runtime *runtime, hybrid_runtime **own, hybrid_error *error)
{
    if (!runtime) return hybrid_runtime_create(NULL, own, error);
    hybrid__atomic_add(&runtime->references, 1);
    *own = runtime;
    return HYBRID_OK;
}

/* fn(arg, chunk, lane) for chunk 0..n-1; lane < hybrid__lanes(rt). The order of chunks is free: no result may depend on it. */
static void hybrid__parallel(hybrid_runtime *rt, int n, hybrid__chunk_fn fn, void *arg) { hybrid__pool_run(&rt->pool, n, fn, arg); }
static int hybrid__lanes(const hybrid_runtime *rt) { return rt->pool.n_lanes; }
