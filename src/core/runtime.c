/* core/runtime: creates and ends runtimes. They are counted, so that objects may outlive the caller's handle. */

static void hybrid__runtime_release(hybrid_runtime *rt)
{
    if (!rt || hybrid__atomic_add(&rt->references, (uint64_t)-1) != 1) return;
    hybrid__gpu_close(rt);
    hybrid__pool_stop(&rt->pool);
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_destroy(&rt->pool.mutex);
    pthread_cond_destroy(&rt->pool.wake);
#endif
    hybrid__free(rt, rt->pool.workers);
    { hybrid_allocator a = rt->allocator; a.free(a.user, rt); }
}

HYBRID__BORDER(hybrid_result, hybrid_runtime_create, (const hybrid_runtime_desc *desc, hybrid_runtime **runtime,
              hybrid_error *error), (desc, runtime, error))
{
    hybrid_runtime_desc zero;
    hybrid_allocator a;
    hybrid_runtime *rt;
    hybrid_result r;
    int i;
    if (!runtime) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: runtime is NULL");
    *runtime = NULL;
    if (HYBRID__BIG_ENDIAN)
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "hybrid runs on little-endian machines only, and this one is big-endian; converting the model does not help");
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    a = desc->allocator;
    if (!a.alloc != !a.free) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: give both alloc and free, or neither");
    if (!desc->kernel_cache.load != !desc->kernel_cache.store) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: give both load and store of the kernel cache, or neither");
    if (desc->kernel_cache.path && strlen(desc->kernel_cache.path) >= sizeof rt->kernel_cache_path)
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "hybrid_runtime_create: the path of the kernel cache is longer than %u bytes", (unsigned)sizeof rt->kernel_cache_path - 1);
    if (desc->n_threads < 0 || desc->n_threads > HYBRID__MAX_THREADS)
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: n_threads is %d, must be 0..%d", desc->n_threads, HYBRID__MAX_THREADS);
    if (!a.alloc) { a.alloc = hybrid__default_alloc; a.free = hybrid__default_free; }
    rt = (hybrid_runtime *)a.alloc(a.user, sizeof *rt);
    hybrid__fp_plain();
    if (!rt) return hybrid__fail_memory(error, sizeof *rt);
    memset(rt, 0, sizeof *rt);
    rt->allocator = a;
    rt->logger = desc->logger;
    rt->references = 1;
    rt->hash_key = hybrid__hash_key_make(rt);
    rt->isa = hybrid__cpu_isa();
    if (desc->isa) {
        for (i = 0; i < HYBRID__ISA_COUNT && strcmp(desc->isa, hybrid__isa_name((hybrid__isa)i)); i++) {}
        if (i == HYBRID__ISA_COUNT) {
            a.free(a.user, rt);
            return hybrid__fail(error, HYBRID_ERROR_INVALID,
                "hybrid_runtime_create: isa \"%.32s\" is none of generic, avx2, avxvnni, avx512, neon", desc->isa);
        }
        rt->isa = hybrid__isa_limit((hybrid__isa)i, rt->isa);
    }
    rt->pool.n_lanes = desc->n_threads ? desc->n_threads : HYBRID__MIN(hybrid__cpu_count(), 16);
    rt->pool.host_for = desc->parallel_for;
    rt->pool.host_user = desc->parallel_user;
#if !defined(HYBRID__THREADS_POSIX) && !defined(HYBRID__THREADS_WIN32)
    if (!rt->pool.host_for) rt->pool.n_lanes = 1;
#endif
    hybrid__pool_init(&rt->pool);
    if (!(rt->pool.workers = (hybrid__worker *)hybrid__calloc(rt, (size_t)rt->pool.n_lanes, sizeof(hybrid__worker)))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, (size_t)desc->n_threads * sizeof(hybrid__worker));
    }
    rt->max_device_bytes = desc->max_device_bytes;
    rt->kernel_cache = desc->kernel_cache;
    if (desc->kernel_cache.path) {                         /* the caller's text may go */
        snprintf(rt->kernel_cache_path, sizeof rt->kernel_cache_path, "%s", desc->kernel_cache.path);
        rt->kernel_cache.path = rt->kernel_cache_path;
    }
    if ((r = hybrid__runtime_choose(rt, desc->device, error)) != HYBRID_OK) {
        hybrid__runtime_release(rt);
        return r;
    }
    *runtime = rt;
    return HYBRID_OK;
}

/* A runtime with the same settings but another allocator, and without a GPU: what it makes has the same size. */
static hybrid_result hybrid__runtime_like(const hybrid_runtime *model, const hybrid_allocator *allocator, hybrid_runtime **runtime, hybrid_error *error)
{
    hybrid_runtime_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.allocator = *allocator;
    if (model) {
        desc.logger = model->logger;
        desc.n_threads = model->pool.n_lanes;
        desc.parallel_for = model->pool.host_for;      /* without threads it decides how many lanes there are */
        desc.parallel_user = model->pool.host_user;
        desc.isa = hybrid__isa_name(model->isa);
        desc.device = "cpu";
    }
    return hybrid_runtime_create(&desc, runtime, error);
}

HYBRID__BORDER_VOID(hybrid_runtime_destroy, (hybrid_runtime *runtime), (runtime)) { hybrid__runtime_release(runtime); }
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

HYBRID__BORDER(hybrid_result, hybrid_devices, (hybrid_runtime *runtime, hybrid_device_info *list, size_t capacity,
              size_t *count, hybrid_error *error), (runtime, list, capacity, count, error))
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt;
    hybrid_result r;
    if (count) *count = 0;
    if (!count || (!list && capacity)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_devices: %s is NULL", count ? "list" : "count");
    if (!hybrid__gpu_provider) {
        hybrid__fail(error, HYBRID_OK, "no GPU back end is compiled in: include hybrid_cuda.h behind hybrid.h");
        return HYBRID_OK;
    }
    memset(&desc, 0, sizeof desc);
    desc.device = "cpu";                                   /* none need be opened to list them */
    if ((r = runtime ? hybrid__runtime_retain(runtime, &rt, error) : hybrid_runtime_create(&desc, &rt, error)) != HYBRID_OK) return r;
    r = hybrid__gpu_provider->list(rt, list, capacity, count, error);
    hybrid__runtime_release(rt);
    return r;
}

HYBRID_API const char *hybrid_runtime_device(const hybrid_runtime *runtime)
{
    return runtime && hybrid__gpu_here(runtime) ? hybrid__gpu_provider->name(runtime->gpu) : "";
}

/* fn(arg, chunk, lane) for chunk 0..n-1; lane < hybrid__lanes(rt). The order of chunks is free: no result may depend on it. */
static void hybrid__parallel(hybrid_runtime *rt, int n, hybrid__chunk_fn fn, void *arg) { hybrid__pool_run(&rt->pool, n, fn, arg); }
static int hybrid__lanes(const hybrid_runtime *rt) { return rt->pool.n_lanes; }
