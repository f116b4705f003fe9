/* cuda/device: an opened GPU: its context, its memory, its kernels. Counted, and usable by several threads at once. It
 * belongs to a runtime, which must outlive it.
 *
 * The primary context is retained, never created or reset: the process may share it with PyTorch, an engine, or another
 * model. Every function that talks to the driver makes it current and puts the caller's context back. */
#ifndef HYB_CUDA_DEVICE_C
#define HYB_CUDA_DEVICE_C
#include "arena.c"
#include "jit.c"

typedef struct hyb_cuda_desc {
    int device;         /* ordinal */
    uint64_t max_bytes; /* device memory that may be taken in all; 0: all that there is */
    bool separate;      /* every allocation is one of the driver's: slow, but tools see overruns */
    hybrid_kernel_cache cache;
    const hyb_cuda_module_info *(*modules)(int module); /* NULL: those of hybrid */
    int n_modules;
} hyb_cuda_desc;

/* A spare handle of cuBLAS, which no queue uses. */
typedef struct hyb_blas_spare {
    void *handle;
    int (*destroy)(void *handle);
    struct hyb_blas_spare *next;
} hyb_blas_spare;

typedef struct hyb_cuda {
    hybrid_runtime *rt;
    volatile uint64_t references;
    volatile uint64_t process; /* in which the driver may be called */
    hyb_spin orphan_lock;
    hyb_driver driver;
    int device, cc, n_sm, warp;
    /* bytes of shared memory: of every kernel, and at most when asked for */
    unsigned shared_block, shared_optin;
    uint64_t l2_bytes;
    char name[96];
    void *context;
    hyb_spin lock; /* of the arena and what is counted with it */
    hyb_arena arena;
    uint64_t max_bytes;
    bool separate;
    unsigned n_device_allocations; /* calls of cuMemAlloc */
    hyb_jit jit;
    struct hyb_cublas *blas;       /* NULL: not there, or not asked for */
    hyb_spin blas_lock;            /* held while cuBLAS is opened, which takes a second */
    int blas_state;                /* 0: not asked for, 1: there, 2: absent */
    volatile uint64_t blas_proven; /* it has computed a known product right */
    hyb_blas_spare *blas_spares;
    hybrid_error blas_why;
} hyb_cuda;

/* ---- context ----------------------------------------------------------------------------------------------------- */

/* The state of a thread before hyb_cuda_enter. */
typedef struct hyb_cuda_caller {
    void *context;
    int mode;
} hyb_cuda_caller;

/* In a forked child: from now on stand-ins answer for the driver. Returns true there. */
static bool hyb_cuda_orphaned(hyb_cuda *cu)
{
    if (HYB_LIKELY(hyb_atomic_load(&cu->process) == hyb_process())) return false;
    hyb_spin_take(&cu->orphan_lock);
    if (hyb_atomic_load(&cu->process)) {
        hyb_driver_forked(&cu->driver.api);
        hyb_atomic_store(&cu->process, 0);
    }
    hyb_spin_give(&cu->orphan_lock);
    return true;
}

/* Makes the device's context current, and lets this thread allocate and wait although the host may be capturing a graph
 * of its own: none of that touches the host's streams. Returns what hyb_cuda_leave puts back. */
static hyb_cuda_caller hyb_cuda_enter(hyb_cuda *cu)
{
    const hyb_driver_api *api = &cu->driver.api;
    hyb_cuda_caller caller;
    hyb_cuda_orphaned(cu);
    caller.context = NULL;
    caller.mode = HYB_CU_CAPTURE_RELAXED;
    api->cuCtxGetCurrent(&caller.context);
    if (caller.context != cu->context) api->cuCtxSetCurrent(cu->context);
    if (api->cuThreadExchangeStreamCaptureMode) api->cuThreadExchangeStreamCaptureMode(&caller.mode);
    return caller;
}
static void hyb_cuda_leave(hyb_cuda *cu, hyb_cuda_caller caller)
{
    if (caller.mode != HYB_CU_CAPTURE_RELAXED) cu->driver.api.cuThreadExchangeStreamCaptureMode(&caller.mode);
    if (caller.context != cu->context) cu->driver.api.cuCtxSetCurrent(caller.context);
}

/* ---- the list ---------------------------------------------------------------------------------------------------- */

static int hyb_cuda_attribute(const hyb_driver *driver, int attribute, int device)
{
    int value = 0;
    return driver->api.cuDeviceGetAttribute(&value, attribute, device) == 0 ? value : 0;
}

/* with_free: starts the device for a moment, which takes time and some of its memory. */
static void hyb_cuda_describe(const hyb_driver *driver, int device, int index, bool with_free, hybrid_device_info *info)
{
    size_t total = 0, available = 0;
    void *context = NULL, *caller = NULL;
    memset(info, 0, sizeof *info);
    snprintf(info->id, sizeof info->id, "cuda:%d", index);
    if (driver->api.cuDeviceGetName(info->name, (int)sizeof info->name - 1, device))
        snprintf(info->name, sizeof info->name, "NVIDIA GPU");
    if (driver->api.cuDeviceTotalMem(&total, device) == 0) info->total_bytes = total;
    info->capability = hyb_cuda_attribute(driver, HYB_CU_DEVICE_CC_MAJOR, device) * 10 +
                       hyb_cuda_attribute(driver, HYB_CU_DEVICE_CC_MINOR, device);
    if (!with_free || driver->api.cuDevicePrimaryCtxRetain(&context, device)) return;
    driver->api.cuCtxGetCurrent(&caller);
    if (driver->api.cuCtxSetCurrent(context) == 0 && driver->api.cuMemGetInfo(&available, &total) == 0)
        info->free_bytes = available;
    driver->api.cuCtxSetCurrent(caller);
    driver->api.cuDevicePrimaryCtxRelease(device);
}

/* Describes up to capacity devices; *count: how many there are. Without a driver or a device: an error that says so,
 * and 0. */
static hybrid_result hyb_cuda_list(hybrid_device_info *list, size_t capacity, size_t *count, hybrid_error *error)
{
    hyb_driver driver;
    int i, device, n = 0;
    hybrid_result r = hyb_driver_open(&driver, &n, error);
    *count = (size_t)n;
    for (i = 0; !r && i < n && (size_t)i < capacity; i++) {
        memset(&list[i], 0, sizeof list[i]);
        if (driver.api.cuDeviceGet(&device, i) == 0) hyb_cuda_describe(&driver, device, i, true, &list[i]);
    }
    return r;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void hyb_cuda_retain(hyb_cuda *cu) { hyb_atomic_add(&cu->references, 1); }

/* The last holder gives everything back: memory that was not freed, modules, the context. Works after any error of the
 * device. */
static void hyb_cuda_release(hyb_cuda *cu)
{
    hyb_blas_spare *spare, *next;
    hyb_range *r;
    hyb_cuda_caller caller;
    if (!cu || hyb_atomic_add(&cu->references, (uint64_t)-1) != 1) return;
    caller = hyb_cuda_enter(cu);
    hyb_jit_destroy(&cu->jit);
    for (spare = cu->blas_spares; spare; spare = next) {
        next = spare->next;
        if (!hyb_cuda_orphaned(cu)) spare->destroy(spare->handle);
        hyb_free(cu->rt, spare);
    }
    for (r = cu->arena.first; r; r = r->next)
        if (r->starts_block) cu->driver.api.cuMemFree(r->at);
    hyb_arena_destroy(&cu->arena);
    hyb_cuda_leave(cu, caller);
    cu->driver.api.cuDevicePrimaryCtxRelease(cu->device);
    hyb_free(cu->rt, cu->blas);
    hyb_free(cu->rt, cu);
}

static hybrid_result hyb_cuda_start(hyb_cuda *cu, const hyb_cuda_desc *desc, int n_devices, hybrid_error *error)
{
    const hyb_driver *driver = &cu->driver;
    hybrid_device_info info;
    hybrid_result r;
    int code;
    if (desc->device < 0 || desc->device >= n_devices)
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND, "there is no CUDA device %d; the driver counts %d from 0",
                        desc->device, n_devices);
    if ((code = driver->api.cuDeviceGet(&cu->device, desc->device)) != 0)
        return hyb_driver_fail(driver, error, code, "opening the device");
    hyb_cuda_describe(driver, cu->device, desc->device, false, &info);
    memcpy(cu->name, info.name, sizeof cu->name);
    cu->cc = info.capability;
    cu->n_sm = hyb_cuda_attribute(driver, HYB_CU_DEVICE_SM_COUNT, cu->device);
    cu->warp = hyb_cuda_attribute(driver, HYB_CU_DEVICE_WARP_SIZE, cu->device);
    cu->shared_block = (unsigned)hyb_cuda_attribute(driver, HYB_CU_DEVICE_SHARED_PER_BLOCK, cu->device);
    cu->shared_optin = (unsigned)hyb_cuda_attribute(driver, HYB_CU_DEVICE_SHARED_OPTIN, cu->device);
    cu->shared_optin = HYB_MAX(cu->shared_optin, cu->shared_block);
    cu->l2_bytes = (uint64_t)hyb_cuda_attribute(driver, HYB_CU_DEVICE_L2_BYTES, cu->device);
    cu->max_bytes = desc->max_bytes;
    cu->separate = desc->separate;
    if (cu->warp != 32)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "'%.64s' has warps of %d threads, not 32", cu->name, cu->warp);
    if ((code = driver->api.cuDevicePrimaryCtxRetain(&cu->context, cu->device)) != 0)
        return hyb_driver_fail(driver, error, code, "starting the device");
    hyb_arena_create(&cu->arena, cu->rt);
    r = hyb_jit_create(&cu->jit, cu->rt, driver, cu->cc, desc->modules ? desc->modules : hyb_cuda_module,
                       desc->modules ? desc->n_modules : (int)HYB_MODULE_COUNT, &desc->cache, error);
    if (r) driver->api.cuDevicePrimaryCtxRelease(cu->device);
    return r;
}

/* Opens a device. The texts in desc are not kept; its callbacks are. Without CUDA: an error whose message says what
 * is missing. */
static hybrid_result hyb_cuda_open(hybrid_runtime *rt, const hyb_cuda_desc *desc, hyb_cuda **out, hybrid_error *error)
{
    hyb_cuda *cu = (hyb_cuda *)hyb_calloc(rt, 1, sizeof *cu);
    hybrid_result r;
    int n_devices = 0;
    *out = NULL;
    if (!cu) return hyb_fail_memory(error, sizeof *cu);
    cu->rt = rt;
    cu->references = 1;
    cu->process = hyb_process();
    if ((r = hyb_driver_open(&cu->driver, &n_devices, error)) != HYBRID_OK ||
        (r = hyb_cuda_start(cu, desc, n_devices, error)) != HYBRID_OK) {
        hyb_free(rt, cu);
        return r;
    }
    hyb_log(rt, HYBRID_LOG_INFO, "cuda: %s, capability %d.%d, %d multiprocessors, driver for CUDA %d.%d (%s)", cu->name,
            cu->cc / 10, cu->cc % 10, cu->n_sm, cu->driver.version / 1000, cu->driver.version % 1000 / 10,
            cu->driver.library.path);
    *out = cu;
    return HYBRID_OK;
}

/* A kernel that does nothing, compiled and loaded: an NVRTC that is newer than the driver makes binaries that it may
 * refuse. */
static hybrid_result hyb_cuda_probe(hyb_cuda *cu, hybrid_error *error)
{
    static const char *const text[] = { "extern \"C\" __global__ void probe(int *x) { x[0] = 1; }\n", NULL };
    static const hyb_cuda_module_info info = {
        "probe", { text, NULL, NULL, NULL }, { NULL, NULL, NULL, NULL }, { "probe", NULL }
    };
    hyb_module_slot slot;
    hyb_cuda_caller caller = hyb_cuda_enter(cu);
    hybrid_result r;
    memset(&slot, 0, sizeof slot);
    r = hyb_jit_make(&cu->jit, &info, &slot, error);
    if (slot.module) cu->driver.api.cuModuleUnload(slot.module);
    hyb_cuda_leave(cu, caller);
    return r;
}

/* Whether kernels can be compiled, by a compiler that fits device and driver. Opens it; as a rule compiles nothing. */
static hybrid_result hyb_cuda_can_compile(hyb_cuda *cu, hybrid_error *error)
{
    const hybrid_result r = hyb_jit_nvrtc(&cu->jit, error);
    return !r && cu->jit.nvrtc.major > cu->driver.version / 1000 ? hyb_cuda_probe(cu, error) : r;
}

/* Makes n modules ready, and tells the progress: progress (or NULL) gets 0..n of n and returns false to stop. */
static hybrid_result hyb_cuda_warmup(hyb_cuda *cu, const int *modules, int n,
                                     bool (*progress)(void *user, int done, int n), void *user, hybrid_error *error)
{
    hyb_cuda_caller caller = hyb_cuda_enter(cu);
    hybrid_result r = HYBRID_OK;
    int i;
    for (i = 0; !r && i <= n; i++) {
        if (progress && !progress(user, i, n))
            r = hyb_fail(error, HYBRID_ERROR_CANCELLED, "stopped by the caller after %d of %d CUDA modules", i, n);
        else if (i < n)
            r = hyb_jit_module(&cu->jit, modules[i], error);
    }
    hyb_cuda_leave(cu, caller);
    return r;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

/* Bytes that the driver can still give, and bytes in all. */
static void hyb_cuda_memory(hyb_cuda *cu, uint64_t *available, uint64_t *total)
{
    size_t a = 0, t = 0;
    hyb_cuda_caller caller = hyb_cuda_enter(cu);
    if (cu->driver.api.cuMemGetInfo(&a, &t)) a = t = 0;
    hyb_cuda_leave(cu, caller);
    *available = a;
    *total = t;
}

/* Bytes that hyb_cuda_alloc can still give, in any number of pieces: what the driver has, within the cap, and what is
 * free in blocks. */
static uint64_t hyb_cuda_room(hyb_cuda *cu)
{
    uint64_t available, total, room;
    hyb_cuda_memory(cu, &available, &total);
    hyb_spin_take(&cu->lock);
    room = cu->max_bytes ? HYB_MIN(available, cu->max_bytes - HYB_MIN(cu->arena.total, cu->max_bytes)) : available;
    room += cu->arena.total - cu->arena.used;
    hyb_spin_give(&cu->lock);
    return room;
}

/* Bytes of empty blocks. */
static uint64_t hyb_cuda_idle(hyb_cuda *cu)
{
    uint64_t idle;
    hyb_spin_take(&cu->lock);
    idle = cu->arena.total - cu->arena.used;
    hyb_spin_give(&cu->lock);
    return idle;
}

static hybrid_result hyb_cuda_fail_memory(hyb_cuda *cu, uint64_t bytes, uint64_t block, int code, hybrid_error *error)
{
    uint64_t available, total;
    double mb = 1024 * 1024;
    if (code == 0)
        return hyb_fail(error, HYBRID_ERROR_MEMORY,
                        "GPU memory: %.1f MB are needed, but of the cap of %.1f MB only %.1f MB are left; raise it or "
                        "put fewer layers on the GPU",
                        (double)bytes / mb, (double)cu->max_bytes / mb,
                        (double)(cu->max_bytes - HYB_MIN(cu->arena.total, cu->max_bytes)) / mb);
    if (code != HYB_CU_OUT_OF_MEMORY) return hyb_driver_fail(&cu->driver, error, code, "allocating device memory");
    hyb_cuda_memory(cu, &available, &total);
    return hyb_fail(
        error, HYBRID_ERROR_MEMORY,
        "GPU memory: a block of %.1f MB was refused: %.1f of %.1f MB of '%.40s' are free, hybrid holds %.1f MB; "
        "use a smaller context or fewer layers on the GPU",
        (double)block / mb, (double)available / mb, (double)total / mb, cu->name, (double)cu->arena.total / mb);
}

/* A new block from the driver that has room for bytes. The lock is held. */
static hybrid_result hyb_cuda_grow(hyb_cuda *cu, uint64_t bytes, hybrid_error *error)
{
    const uint64_t unit = 2u << 20; /* the driver's own grain; a cap counts to the byte, as the plan does */
    hyb_cu_ptr address = 0;
    uint64_t block;
    hyb_cuda_caller caller;
    int code = 0;
    if (bytes > (uint64_t)1 << 60)
        return hyb_fail(error, HYBRID_ERROR_MEMORY, "GPU memory: %llu bytes asked for", (unsigned long long)bytes);
    block = hyb_arena_round(bytes);
    if (!cu->separate && !cu->max_bytes) block = (block + unit - 1) / unit * unit;
    if (cu->max_bytes && (block > cu->max_bytes || cu->arena.total > cu->max_bytes - block))
        return hyb_cuda_fail_memory(cu, bytes, block, 0, error);
    caller = hyb_cuda_enter(cu);
    code = cu->driver.api.cuMemAlloc(&address, (size_t)block);
    if (code == 0) {
        cu->n_device_allocations++;
        if (!hyb_arena_add(&cu->arena, address, block)) {
            cu->driver.api.cuMemFree(address);
            hyb_cuda_leave(cu, caller);
            return hyb_fail_memory(error, sizeof(hyb_range));
        }
    }
    hyb_cuda_leave(cu, caller);
    return code ? hyb_cuda_fail_memory(cu, bytes, block, code, error) : HYBRID_OK;
}

/* Device memory, aligned to 256 bytes, not initialised. */
static hybrid_result hyb_cuda_alloc(hyb_cuda *cu, size_t bytes, void **address, hybrid_error *error)
{
    uint64_t at = 0;
    hybrid_result r = HYBRID_ERROR_LIMIT;
    *address = NULL;
    hyb_spin_take(&cu->lock);
    if (!cu->separate) r = hyb_arena_take(&cu->arena, bytes, &at);
    if (r == HYBRID_ERROR_LIMIT && (r = hyb_cuda_grow(cu, bytes, error)) != HYBRID_OK) {
        hyb_spin_give(&cu->lock);
        return r;
    }
    if (!at) r = hyb_arena_take(&cu->arena, bytes, &at);
    hyb_spin_give(&cu->lock);
    if (r) return hyb_fail_memory(error, sizeof(hyb_range));
    *address = (void *)(uintptr_t)at;
    return HYBRID_OK;
}

/* A view: one more hyb_cuda_free is needed before the memory around address is free. */
static void hyb_cuda_hold(hyb_cuda *cu, void *address)
{
    hyb_spin_take(&cu->lock);
    hyb_arena_hold(&cu->arena, (uint64_t)(uintptr_t)address);
    hyb_spin_give(&cu->lock);
}

/* No queue may still be using it: sync first. NULL is nothing. */
static void hyb_cuda_free(hyb_cuda *cu, void *address)
{
    uint64_t block = 0;
    hyb_cuda_caller caller;
    if (!address) return;
    hyb_spin_take(&cu->lock);
    hyb_arena_free(&cu->arena, (uint64_t)(uintptr_t)address, &block);
    if (block) {
        caller = hyb_cuda_enter(cu);
        cu->driver.api.cuMemFree(block);
        hyb_cuda_leave(cu, caller);
    }
    hyb_spin_give(&cu->lock);
}
#endif
