/* cuda/device: an opened GPU: its context, its memory, its kernels. Counted, and usable by several threads at once. It belongs to a
 * runtime, which must outlive it.
 *
 * The primary context is retained, never created or reset: the process may share it with PyTorch, an engine, or another model.
 * Every function that talks to the driver makes it current and puts the caller's context back. */

typedef struct hybrid__cuda_desc {
    int                 device;         /* ordinal */
    uint64_t            max_bytes;      /* device memory that may be taken in all; 0: what there is */
    bool                separate;       /* every allocation is one of the driver's: slow, but overruns are seen by tools */
    hybrid_kernel_cache cache;
    const hybrid__cuda_module_info *(*modules)(int module);      /* NULL: those of hybrid */
    int                 n_modules;
} hybrid__cuda_desc;

/* A handle of cuBLAS that no queue has. */
typedef struct hybrid__blas_spare { void *handle; int (*destroy)(void *handle); struct hybrid__blas_spare *next; } hybrid__blas_spare;

typedef struct hybrid__cuda {
    hybrid_runtime    *rt;
    volatile uint64_t  references;
    volatile uint64_t  process;         /* in which the driver may be called */
    hybrid__spin       orphan_lock;
    hybrid__driver     driver;
    int                device, cc, n_sm, warp;
    unsigned           shared_block, shared_optin;     /* bytes of shared memory: of every kernel, and at most when asked for */
    uint64_t           l2_bytes;
    char               name[96];
    void              *context;
    hybrid__spin       lock;            /* of the arena and what is counted with it */
    hybrid__arena      arena;
    uint64_t           max_bytes;
    bool               separate;
    unsigned           n_device_allocations;           /* calls of cuMemAlloc */
    hybrid__jit        jit;
    struct hybrid__cublas *blas;        /* NULL: not there, or not asked for */
    hybrid__spin       blas_lock;       /* held while cuBLAS is opened, which takes a second */
    int                blas_state;      /* 0: not asked for, 1: there, 2: absent */
    volatile uint64_t  blas_proven;     /* it computes a known product */
    hybrid__blas_spare *blas_spares;
    hybrid_error       blas_why;
} hybrid__cuda;

/* ---- context ---- */

/* What a thread had before hybrid__cuda_enter. */
typedef struct hybrid__cuda_caller { void *context; int mode; } hybrid__cuda_caller;

/* In a forked child: from now on stand-ins answer for the driver. Returns true there. */
static bool hybrid__cuda_orphaned(hybrid__cuda *cu)
{
    if (HYBRID__LIKELY(hybrid__atomic_load(&cu->process) == hybrid__process())) return false;
    hybrid__spin_take(&cu->orphan_lock);
    if (hybrid__atomic_load(&cu->process)) {
        hybrid__driver_forked(&cu->driver.api);
        hybrid__atomic_store(&cu->process, 0);
    }
    hybrid__spin_give(&cu->orphan_lock);
    return true;
}

/* Makes the device's context current, and lets this thread allocate and wait although the host may be capturing a graph of its own: none of that
 * touches the host's streams. Returns what hybrid__cuda_leave puts back. */
static hybrid__cuda_caller hybrid__cuda_enter(hybrid__cuda *cu)
{
    const hybrid__driver_api *api = &cu->driver.api;
    hybrid__cuda_caller caller;
    hybrid__cuda_orphaned(cu);
    caller.context = NULL;
    caller.mode = HYBRID__CU_CAPTURE_RELAXED;
    api->cuCtxGetCurrent(&caller.context);
    if (caller.context != cu->context) api->cuCtxSetCurrent(cu->context);
    if (api->cuThreadExchangeStreamCaptureMode) api->cuThreadExchangeStreamCaptureMode(&caller.mode);
    return caller;
}
static void hybrid__cuda_leave(hybrid__cuda *cu, hybrid__cuda_caller caller)
{
    if (caller.mode != HYBRID__CU_CAPTURE_RELAXED) cu->driver.api.cuThreadExchangeStreamCaptureMode(&caller.mode);
    if (caller.context != cu->context) cu->driver.api.cuCtxSetCurrent(caller.context);
}

/* ---- the list ---- */

static int hybrid__cuda_attribute(const hybrid__driver *driver, int attribute, int device)
{
    int value = 0;
    return driver->api.cuDeviceGetAttribute(&value, attribute, device) == 0 ? value : 0;
}

/* with_free starts the device for a moment, which takes time and some of its memory. */
static void hybrid__cuda_describe(const hybrid__driver *driver, int device, int index, bool with_free, hybrid_device_info *info)
{
    size_t total = 0, available = 0;
    void *context = NULL, *caller = NULL;
    memset(info, 0, sizeof *info);
    snprintf(info->id, sizeof info->id, "cuda:%d", index);
    if (driver->api.cuDeviceGetName(info->name, (int)sizeof info->name - 1, device)) snprintf(info->name, sizeof info->name, "NVIDIA GPU");
    if (driver->api.cuDeviceTotalMem(&total, device) == 0) info->total_bytes = total;
    info->capability = hybrid__cuda_attribute(driver, HYBRID__CU_DEVICE_CC_MAJOR, device) * 10 + hybrid__cuda_attribute(driver, HYBRID__CU_DEVICE_CC_MINOR, device);
    if (!with_free || driver->api.cuDevicePrimaryCtxRetain(&context, device)) return;
    driver->api.cuCtxGetCurrent(&caller);
    if (driver->api.cuCtxSetCurrent(context) == 0 && driver->api.cuMemGetInfo(&available, &total) == 0) info->free_bytes = available;
    driver->api.cuCtxSetCurrent(caller);
    driver->api.cuDevicePrimaryCtxRelease(device);
}

/* Describes up to capacity devices; *count: how many there are. Without a driver or a device: an error that says so, and 0. */
static hybrid_result hybrid__cuda_list(hybrid_device_info *list, size_t capacity, size_t *count, hybrid_error *error)
{
    hybrid__driver driver;
    int i, device, n = 0;
    hybrid_result r = hybrid__driver_open(&driver, &n, error);
    *count = (size_t)n;
    for (i = 0; !r && i < n && (size_t)i < capacity; i++) {
        memset(&list[i], 0, sizeof list[i]);
        if (driver.api.cuDeviceGet(&device, i) == 0) hybrid__cuda_describe(&driver, device, i, true, &list[i]);
    }
    return r;
}

/* ---- opening ---- */

static void hybrid__cuda_retain(hybrid__cuda *cu) { hybrid__atomic_add(&cu->references, 1); }

/* The last one gives everything back: memory that was not freed, modules, the context. Works after any error of the device. */
static void hybrid__cuda_release(hybrid__cuda *cu)
{
    hybrid__blas_spare *spare, *next;
    hybrid__range *r;
    hybrid__cuda_caller caller;
    if (!cu || hybrid__atomic_add(&cu->references, (uint64_t)-1) != 1) return;
    caller = hybrid__cuda_enter(cu);
    hybrid__jit_destroy(&cu->jit);
    for (spare = cu->blas_spares; spare; spare = next) {
        next = spare->next;
        if (!hybrid__cuda_orphaned(cu)) spare->destroy(spare->handle);
        hybrid__free(cu->rt, spare);
    }
    for (r = cu->arena.first; r; r = r->next)
        if (r->starts_block) cu->driver.api.cuMemFree(r->at);
    hybrid__arena_destroy(&cu->arena);
    hybrid__cuda_leave(cu, caller);
    cu->driver.api.cuDevicePrimaryCtxRelease(cu->device);
    hybrid__free(cu->rt, cu->blas);
    hybrid__free(cu->rt, cu);
}

static hybrid_result hybrid__cuda_start(hybrid__cuda *cu, const hybrid__cuda_desc *desc, int n_devices, hybrid_error *error)
{
    const hybrid__driver *driver = &cu->driver;
    hybrid_device_info info;
    hybrid_result r;
    int code;
    if (desc->device < 0 || desc->device >= n_devices)
        return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "there is no CUDA device %d; the driver counts %d from 0", desc->device, n_devices);
    if ((code = driver->api.cuDeviceGet(&cu->device, desc->device)) != 0) return hybrid__driver_fail(driver, error, code, "opening the device");
    hybrid__cuda_describe(driver, cu->device, desc->device, false, &info);
    memcpy(cu->name, info.name, sizeof cu->name);
    cu->cc = info.capability;
    cu->n_sm = hybrid__cuda_attribute(driver, HYBRID__CU_DEVICE_SM_COUNT, cu->device);
    cu->warp = hybrid__cuda_attribute(driver, HYBRID__CU_DEVICE_WARP_SIZE, cu->device);
    cu->shared_block = (unsigned)hybrid__cuda_attribute(driver, HYBRID__CU_DEVICE_SHARED_PER_BLOCK, cu->device);
    cu->shared_optin = (unsigned)hybrid__cuda_attribute(driver, HYBRID__CU_DEVICE_SHARED_OPTIN, cu->device);
    cu->shared_optin = HYBRID__MAX(cu->shared_optin, cu->shared_block);
    cu->l2_bytes = (uint64_t)hybrid__cuda_attribute(driver, HYBRID__CU_DEVICE_L2_BYTES, cu->device);
    cu->max_bytes = desc->max_bytes;
    cu->separate = desc->separate;
    if (cu->warp != 32) return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "'%.64s' has warps of %d threads, not 32", cu->name, cu->warp);
    if ((code = driver->api.cuDevicePrimaryCtxRetain(&cu->context, cu->device)) != 0) return hybrid__driver_fail(driver, error, code, "starting the device");
    hybrid__arena_create(&cu->arena, cu->rt);
    r = hybrid__jit_create(&cu->jit, cu->rt, driver, cu->cc, desc->modules ? desc->modules : hybrid__cuda_module, desc->modules ? desc->n_modules : (int)HYBRID__MODULE_COUNT,
                           &desc->cache, error);
    if (r) driver->api.cuDevicePrimaryCtxRelease(cu->device);
    return r;
}

/* Opens a device. The texts in desc are not kept; its callbacks are. Without CUDA: an error whose message says what is missing. */
static hybrid_result hybrid__cuda_open(hybrid_runtime *rt, const hybrid__cuda_desc *desc, hybrid__cuda **out, hybrid_error *error)
{
    hybrid__cuda *cu = (hybrid__cuda *)hybrid__calloc(rt, 1, sizeof *cu);
    hybrid_result r;
    int n_devices = 0;
    *out = NULL;
    if (!cu) return hybrid__fail_memory(error, sizeof *cu);
    cu->rt = rt;
    cu->references = 1;
    cu->process = hybrid__process();
    if ((r = hybrid__driver_open(&cu->driver, &n_devices, error)) != HYBRID_OK || (r = hybrid__cuda_start(cu, desc, n_devices, error)) != HYBRID_OK) {
        hybrid__free(rt, cu);
        return r;
    }
    hybrid__log(rt, HYBRID_LOG_INFO, "cuda: %s, capability %d.%d, %d multiprocessors, driver for CUDA %d.%d (%s)", cu->name, cu->cc / 10, cu->cc % 10, cu->n_sm,
                cu->driver.version / 1000, cu->driver.version % 1000 / 10, cu->driver.library.path);
    *out = cu;
    return HYBRID_OK;
}

/* A kernel that does nothing, compiled and loaded: an NVRTC that is newer than the driver makes binaries that it may refuse. */
static hybrid_result hybrid__cuda_probe(hybrid__cuda *cu, hybrid_error *error)
{
    static const char *const text[] = { "extern \"C\" __global__ void probe(int *x) { x[0] = 1; }\n", NULL };
    static const hybrid__cuda_module_info info = { "probe", { text, NULL, NULL, NULL }, { NULL, NULL, NULL, NULL }, { "probe", NULL } };
    hybrid__module_slot slot;
    hybrid__cuda_caller caller = hybrid__cuda_enter(cu);
    hybrid_result r;
    memset(&slot, 0, sizeof slot);
    r = hybrid__jit_make(&cu->jit, &info, &slot, error);
    if (slot.module) cu->driver.api.cuModuleUnload(slot.module);
    hybrid__cuda_leave(cu, caller);
    return r;
}

/* Are kernels to be had, from a compiler that fits device and driver? Opens it; compiles nothing, as a rule. */
static hybrid_result hybrid__cuda_can_compile(hybrid__cuda *cu, hybrid_error *error)
{
    const hybrid_result r = hybrid__jit_nvrtc(&cu->jit, error);
    return !r && cu->jit.nvrtc.major > cu->driver.version / 1000 ? hybrid__cuda_probe(cu, error) : r;
}

/* Makes n modules ready, and says how far it is: progress (or NULL) gets 0..n of n and returns false to stop. */
static hybrid_result hybrid__cuda_warmup(hybrid__cuda *cu, const int *modules, int n, bool (*progress)(void *user, int done, int n), void *user, hybrid_error *error)
{
    hybrid__cuda_caller caller = hybrid__cuda_enter(cu);
    hybrid_result r = HYBRID_OK;
    int i;
    for (i = 0; !r && i <= n; i++) {
        if (progress && !progress(user, i, n)) r = hybrid__fail(error, HYBRID_ERROR_CANCELLED, "stopped by the caller after %d of %d CUDA modules", i, n);
        else if (i < n) r = hybrid__jit_module(&cu->jit, modules[i], error);
    }
    hybrid__cuda_leave(cu, caller);
    return r;
}

/* ---- memory ---- */

/* Bytes that the driver has to give, and those in all. */
static void hybrid__cuda_memory(hybrid__cuda *cu, uint64_t *available, uint64_t *total)
{
    size_t a = 0, t = 0;
    hybrid__cuda_caller caller = hybrid__cuda_enter(cu);
    if (cu->driver.api.cuMemGetInfo(&a, &t)) a = t = 0;
    hybrid__cuda_leave(cu, caller);
    *available = a;
    *total = t;
}

/* Bytes that hybrid__cuda_alloc can still give, in how many pieces ever: what the driver has, within the cap, and what lies free in blocks. */
static uint64_t hybrid__cuda_room(hybrid__cuda *cu)
{
    uint64_t available, total, room;
    hybrid__cuda_memory(cu, &available, &total);
    hybrid__spin_take(&cu->lock);
    room = cu->max_bytes ? HYBRID__MIN(available, cu->max_bytes - HYBRID__MIN(cu->arena.total, cu->max_bytes)) : available;
    room += cu->arena.total - cu->arena.used;
    hybrid__spin_give(&cu->lock);
    return room;
}

/* Bytes of blocks that nothing is in. */
static uint64_t hybrid__cuda_idle(hybrid__cuda *cu)
{
    uint64_t idle;
    hybrid__spin_take(&cu->lock);
    idle = cu->arena.total - cu->arena.used;
    hybrid__spin_give(&cu->lock);
    return idle;
}

static hybrid_result hybrid__cuda_fail_memory(hybrid__cuda *cu, uint64_t bytes, uint64_t block, int code, hybrid_error *error)
{
    uint64_t available, total;
    double mb = 1024 * 1024;
    if (code == 0)
        return hybrid__fail(error, HYBRID_ERROR_MEMORY, "GPU memory: %.1f MB asked for, but the cap of %.1f MB has only %.1f MB left; raise the cap or put fewer layers on the GPU",
                            (double)bytes / mb, (double)cu->max_bytes / mb, (double)(cu->max_bytes - HYBRID__MIN(cu->arena.total, cu->max_bytes)) / mb);
    if (code != HYBRID__CU_OUT_OF_MEMORY) return hybrid__driver_fail(&cu->driver, error, code, "allocating device memory");
    hybrid__cuda_memory(cu, &available, &total);
    return hybrid__fail(error, HYBRID_ERROR_MEMORY, "GPU memory: a block of %.1f MB was refused: %.1f of %.1f MB of '%.40s' are free, hybrid holds %.1f MB; "
                        "use a smaller context or fewer layers on the GPU", (double)block / mb, (double)available / mb, (double)total / mb, cu->name, (double)cu->arena.total / mb);
}

/* A new block from the driver that has room for bytes. The lock is held. */
static hybrid_result hybrid__cuda_grow(hybrid__cuda *cu, uint64_t bytes, hybrid_error *error)
{
    const uint64_t unit = 2u << 20;                          /* the driver's own grain; a cap counts to the byte, as the plan does */
    hybrid__cu_ptr address = 0;
    uint64_t block;
    hybrid__cuda_caller caller;
    int code = 0;
    if (bytes > (uint64_t)1 << 60) return hybrid__fail(error, HYBRID_ERROR_MEMORY, "GPU memory: %llu bytes asked for", (unsigned long long)bytes);
    block = hybrid__arena_round(bytes);
    if (!cu->separate && !cu->max_bytes) block = (block + unit - 1) / unit * unit;
    if (cu->max_bytes && (block > cu->max_bytes || cu->arena.total > cu->max_bytes - block)) return hybrid__cuda_fail_memory(cu, bytes, block, 0, error);
    caller = hybrid__cuda_enter(cu);
    code = cu->driver.api.cuMemAlloc(&address, (size_t)block);
    if (code == 0) {
        cu->n_device_allocations++;
        if (!hybrid__arena_add(&cu->arena, address, block)) {
            cu->driver.api.cuMemFree(address);
            hybrid__cuda_leave(cu, caller);
            return hybrid__fail_memory(error, sizeof(hybrid__range));
        }
    }
    hybrid__cuda_leave(cu, caller);
    return code ? hybrid__cuda_fail_memory(cu, bytes, block, code, error) : HYBRID_OK;
}

/* Device memory, aligned to 256 bytes, not initialised. */
static hybrid_result hybrid__cuda_alloc(hybrid__cuda *cu, size_t bytes, void **address, hybrid_error *error)
{
    uint64_t at = 0;
    hybrid_result r = HYBRID_ERROR_LIMIT;
    *address = NULL;
    hybrid__spin_take(&cu->lock);
    if (!cu->separate) r = hybrid__arena_take(&cu->arena, bytes, &at);
    if (r == HYBRID_ERROR_LIMIT && (r = hybrid__cuda_grow(cu, bytes, error)) != HYBRID_OK) {
        hybrid__spin_give(&cu->lock);
        return r;
    }
    if (!at) r = hybrid__arena_take(&cu->arena, bytes, &at);
    hybrid__spin_give(&cu->lock);
    if (r) return hybrid__fail_memory(error, sizeof(hybrid__range));
    *address = (void *)(uintptr_t)at;
    return HYBRID_OK;
}

/* A view: one more hybrid__cuda_free is needed before the memory around address is free. */
static void hybrid__cuda_hold(hybrid__cuda *cu, void *address)
{
    hybrid__spin_take(&cu->lock);
    hybrid__arena_hold(&cu->arena, (uint64_t)(uintptr_t)address);
    hybrid__spin_give(&cu->lock);
}

/* No queue may still be using it: sync first. NULL is nothing. */
static void hybrid__cuda_free(hybrid__cuda *cu, void *address)
{
    uint64_t block = 0;
    hybrid__cuda_caller caller;
    if (!address) return;
    hybrid__spin_take(&cu->lock);
    hybrid__arena_free(&cu->arena, (uint64_t)(uintptr_t)address, &block);
    if (block) {
        caller = hybrid__cuda_enter(cu);
        cu->driver.api.cuMemFree(block);
        hybrid__cuda_leave(cu, caller);
    }
    hybrid__spin_give(&cu->lock);
}
