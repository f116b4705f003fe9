/* ---- runtime: what models and sessions share: memory, log, worker threads ---------------------------------------- */
#ifndef HYB_API_RUNTIME_H
#define HYB_API_RUNTIME_H
#include "base.h"

typedef struct hybrid_runtime hybrid_runtime;

/* One piece of parallel work. Called with every index in 0..n-1, in any order, from any thread. */
typedef void (*hybrid_task_fn)(void *arg, int32_t index);

/* Where kernels that were compiled for a GPU are kept, so that the next start is fast. Zero: files in the user's cache
 * folder (HYBRID_CUDA_CACHE, else XDG_CACHE_HOME/hybrid, ~/.cache/hybrid or %LOCALAPPDATA%\hybrid); one that cannot
 * be written is not an error. */
typedef struct hybrid_kernel_cache {
    const char *path; /* a folder instead; "" for no cache */
    /* The host's own store instead, for instance one that a game ships with. load fills up to capacity bytes and
     * returns the size of the whole entry, 0 when there is none. key is a file name. Called from any thread that
     * uses hybrid. */
    size_t (*load)(void *user, const char *key, void *data, size_t capacity);
    void (*store)(void *user, const char *key, const void *data, size_t size);
    void *user;
} hybrid_kernel_cache;

typedef struct hybrid_runtime_desc {
    hybrid_allocator allocator;
    hybrid_logger logger;
    /* threads that compute, the caller's included; 0: the number of physical cores, at most 16 */
    int32_t n_threads;
    /* The host's job system instead of own threads: must run fn(arg, i) for all i in 0..n-1 and return when all are
     * done.
     * It may run them all on the calling thread. Own threads are then never started. */
    void (*parallel_for)(void *user, int32_t n, hybrid_task_fn fn, void *arg);
    void *parallel_user;
    const char *isa; /* NULL: the best that this CPU has; "generic", "avx2", "avxvnni", "avx512", "neon": at most that;
                      * a better one than this processor has, or one of another kind of processor, limits nothing */
    /* The GPU; needs hybrid_cuda.h. NULL: the environment's HYBRID_DEVICE, else "auto": a GPU when there is one, else
     * the CPU, with the reason in the log. "cpu": none. "cuda", "cuda:1": this one; creating the runtime fails when
     * it cannot be used. */
    const char *device;
    /* of GPU memory, over all models and contexts of the runtime; 0: what is free */
    uint64_t max_device_bytes;
    hybrid_kernel_cache kernel_cache;
} hybrid_runtime_desc;

/* Creates a runtime; desc may be NULL. Objects keep it alive: it may be destroyed before them. Threads start on first
 * use and sleep when idle. A runtime may be used by several threads; one parallel section runs at a time, others
 * compute alone.
 * A forked child may use and destroy what it inherited: worker threads are started anew there, and what was on a GPU is
 * computed on the CPU (CUDA does not work in a child; a device that was asked for by name is HYBRID_ERROR_DEVICE). What
 * another thread was using at the moment of the fork can only be destroyed there. */
HYBRID_API hybrid_result hybrid_runtime_create(const hybrid_runtime_desc *desc, hybrid_runtime **runtime,
                                               hybrid_error *error);
HYBRID_API void hybrid_runtime_destroy(hybrid_runtime *runtime);

/* "avx512", "avxvnni", "avx2", "neon" or "generic": what the kernels of this runtime use. */
HYBRID_API const char *hybrid_runtime_isa(const hybrid_runtime *runtime);
HYBRID_API int32_t hybrid_runtime_threads(const hybrid_runtime *runtime);

typedef struct hybrid_device_info {
    char id[16];   /* "cuda:0": for hybrid_runtime_desc.device */
    char name[96]; /* "NVIDIA H200" */
    uint64_t total_bytes, free_bytes;
    int32_t capability; /* CUDA: 10 * major + minor */
} hybrid_device_info;

/* Lists the GPUs that can be used: the first `capacity` of *count. None is a success too: then *count is 0 and error
 * (if any) says what was looked for and what would help. runtime may be NULL. */
HYBRID_API hybrid_result hybrid_devices(hybrid_runtime *runtime, hybrid_device_info *list, size_t capacity,
                                        size_t *count, hybrid_error *error);
/* "NVIDIA H200", or "" as long as the runtime computes on the CPU only. Opened when the first model is loaded. */
HYBRID_API const char *hybrid_runtime_device(hybrid_runtime *runtime);
#endif
