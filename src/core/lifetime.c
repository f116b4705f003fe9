/* core/lifetime: creates and ends runtimes. They are counted, so that objects may outlive the caller's handle. */
#ifndef HYB_CORE_LIFETIME_C
#define HYB_CORE_LIFETIME_C
#include "device.c"

static void hyb_runtime_release(hybrid_runtime *rt)
{
    if (!rt || hyb_atomic_add(&rt->references, (uint64_t)-1) != 1) return;
    hyb_gpu_close(rt);
    hyb_pool_stop(&rt->pool);
#if defined(HYB_THREADS_POSIX)
    pthread_mutex_destroy(&rt->pool.mutex);
    pthread_cond_destroy(&rt->pool.wake);
#endif
    hyb_free(rt, rt->pool.workers);
    {
        hybrid_allocator a = rt->allocator;
        a.free(a.user, rt);
    }
}

HYB_BORDER(hybrid_result, hybrid_runtime_create,
           (const hybrid_runtime_desc *desc, hybrid_runtime **runtime, hybrid_error *error), (desc, runtime, error))
{
    hybrid_runtime_desc zero;
    hybrid_allocator a;
    hybrid_runtime *rt;
    hybrid_result r;
    int i;
    if (!runtime) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: runtime is NULL");
    *runtime = NULL;
    if (HYB_BIG_ENDIAN)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "hybrid runs on little-endian machines only, and this one is big-endian; converting the model "
                        "does not help");
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    a = desc->allocator;
    if (!a.alloc != !a.free)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: give both alloc and free, or neither");
    if (!desc->kernel_cache.load != !desc->kernel_cache.store)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_runtime_create: give both load and store of the kernel cache, or neither");
    if (desc->kernel_cache.path && strlen(desc->kernel_cache.path) >= sizeof rt->kernel_cache_path)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "hybrid_runtime_create: the path of the kernel cache is longer than %u bytes",
                        (unsigned)sizeof rt->kernel_cache_path - 1);
    if (desc->n_threads < 0 || desc->n_threads > HYB_MAX_THREADS)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: n_threads is %d, must be 0..%d",
                        desc->n_threads, HYB_MAX_THREADS);
    if (!a.alloc) {
        a.alloc = hyb_default_alloc;
        a.free = hyb_default_free;
    }
    rt = (hybrid_runtime *)a.alloc(a.user, sizeof *rt);
    hyb_fp_plain();
    if (!rt) return hyb_fail_memory(error, sizeof *rt);
    memset(rt, 0, sizeof *rt);
    rt->allocator = a;
    rt->logger = desc->logger;
    rt->references = 1;
    rt->hash_key = hyb_hash_key_make(rt);
    rt->isa = hyb_cpu_isa();
    if (desc->isa) {
        for (i = 0; i < HYB_ISA_COUNT && strcmp(desc->isa, hyb_isa_name((hyb_isa)i)); i++) {}
        if (i == HYB_ISA_COUNT) {
            a.free(a.user, rt);
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_runtime_create: isa \"%.32s\" is not one of generic, avx2, avxvnni, avx512, neon",
                            desc->isa);
        }
        rt->isa = hyb_isa_limit((hyb_isa)i, rt->isa);
    }
    rt->pool.n_lanes = desc->n_threads ? desc->n_threads : HYB_MIN(hyb_cpu_count(), 16);
    rt->pool.host_for = desc->parallel_for;
    rt->pool.host_user = desc->parallel_user;
#if !defined(HYB_THREADS_POSIX) && !defined(HYB_THREADS_WIN32)
    if (!rt->pool.host_for) rt->pool.n_lanes = 1;
#endif
    hyb_pool_init(&rt->pool);
    if (!(rt->pool.workers = (hyb_worker *)hyb_calloc(rt, (size_t)rt->pool.n_lanes, sizeof(hyb_worker)))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, (size_t)desc->n_threads * sizeof(hyb_worker));
    }
    rt->max_device_bytes = desc->max_device_bytes;
    rt->kernel_cache = desc->kernel_cache;
    if (desc->kernel_cache.path) { /* the caller's text may go */
        snprintf(rt->kernel_cache_path, sizeof rt->kernel_cache_path, "%s", desc->kernel_cache.path);
        rt->kernel_cache.path = rt->kernel_cache_path;
    }
    if ((r = hyb_runtime_choose(rt, desc->device, error)) != HYBRID_OK) {
        hyb_runtime_release(rt);
        return r;
    }
    *runtime = rt;
    return HYBRID_OK;
}

/* A runtime with the same settings but another allocator, and without a GPU: what it makes has the same size. */
static hybrid_result hyb_runtime_like(const hybrid_runtime *model, const hybrid_allocator *allocator,
                                      hybrid_runtime **runtime, hybrid_error *error)
{
    hybrid_runtime_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.allocator = *allocator;
    if (model) {
        desc.logger = model->logger;
        desc.n_threads = model->pool.n_lanes;
        desc.parallel_for = model->pool.host_for; /* in a build without threads it decides how many lanes there are */
        desc.parallel_user = model->pool.host_user;
        desc.isa = hyb_isa_name(model->isa);
        desc.device = "cpu";
    }
    return hybrid_runtime_create(&desc, runtime, error);
}

HYB_BORDER_VOID(hybrid_runtime_destroy, (hybrid_runtime *runtime), (runtime)) { hyb_runtime_release(runtime); }

/* The runtime that an object keeps: the caller's, counted once more, or (NULL) a default one of its own. */
static hybrid_result hyb_runtime_retain(hybrid_runtime *runtime, hybrid_runtime **own, hybrid_error *error)
{
    if (!runtime) return hybrid_runtime_create(NULL, own, error);
    hyb_atomic_add(&runtime->references, 1);
    *own = runtime;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_devices,
           (hybrid_runtime *runtime, hybrid_device_info *list, size_t capacity, size_t *count, hybrid_error *error),
           (runtime, list, capacity, count, error))
{
    hybrid_runtime_desc desc;
    hybrid_runtime *rt;
    hybrid_result r;
    if (count) *count = 0;
    if (!count || (!list && capacity))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_devices: %s is NULL", count ? "list" : "count");
    if (!hyb_gpu_provider) {
        hyb_fail(error, HYBRID_OK, "no GPU back end is compiled in: include hybrid_cuda.h after hybrid.h");
        return HYBRID_OK;
    }
    memset(&desc, 0, sizeof desc);
    desc.device = "cpu"; /* a list opens no device */
    if ((r = runtime ? hyb_runtime_retain(runtime, &rt, error) : hybrid_runtime_create(&desc, &rt, error)) != HYBRID_OK)
        return r;
    r = hyb_gpu_provider->list(rt, list, capacity, count, error);
    hyb_runtime_release(rt);
    return r;
}

HYBRID_API const char *hybrid_runtime_device(hybrid_runtime *runtime)
{
    return runtime && hyb_gpu_here(runtime) ? hyb_gpu_provider->name(runtime->gpu) : "";
}

#endif
