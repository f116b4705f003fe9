/* core/runtime: the runtime, which everything hangs off: what it holds, and work on all of its threads. */
#ifndef HYB_CORE_RUNTIME_C
#define HYB_CORE_RUNTIME_C
#include "base.c"
#include "thread.c"
#include "cpu.c"
#include "hash.c"

typedef struct hyb_device hyb_device; /* compute/backend.c says what it can do */

struct hybrid_runtime {
    hybrid_allocator allocator;
    hybrid_logger logger;
    hyb_isa isa;
    hyb_hash_key hash_key; /* of the tables of names that come from files */
    hyb_pool pool;
    volatile uint64_t references;
    /* of the fields below; held while the GPU is opened, which logs: a logger may then ask for no more than
     * hybrid_runtime_device */
    hyb_spin gpu_lock;
    char device_wanted[24];
    bool gpu_tried;
    hyb_device *gpu; /* NULL: none, or not yet opened */
    /* the process that opened it; once this is set, gpu stays as it is until the runtime ends, and can be read without
     * the lock */
    volatile uint64_t gpu_there;
    uint64_t max_device_bytes;
    hybrid_kernel_cache kernel_cache;
    char kernel_cache_path[512];
};

HYBRID_API const char *hybrid_runtime_isa(const hybrid_runtime *runtime)
{
    return runtime ? hyb_isa_name(runtime->isa) : hyb_isa_name(hyb_cpu_isa());
}
HYBRID_API int32_t hybrid_runtime_threads(const hybrid_runtime *runtime) { return runtime ? runtime->pool.n_lanes : 1; }

/* fn(arg, chunk, lane) for chunk 0..n-1; lane < hyb_lanes(rt). The order of chunks is free: no result may depend on
 * it. */
static void hyb_parallel(hybrid_runtime *rt, int n, hyb_chunk_fn fn, void *arg) { hyb_pool_run(&rt->pool, n, fn, arg); }
static int hyb_lanes(const hybrid_runtime *rt) { return rt->pool.n_lanes; }
#endif
