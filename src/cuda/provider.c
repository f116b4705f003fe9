/* cuda/provider: the GPU as hybrid.h knows it: the list of devices, a device with memory, and the registration of both before main. */

typedef struct hybrid__cuda_device {
    hybrid__device      base;
    hybrid__cuda       *cu;
    hybrid__cuda_queue *uploads;           /* of write and flush, under the lock; made by the first write */
    hybrid__spin        lock;
} hybrid__cuda_device;

enum { HYBRID__CUDA_MARGIN = 100 << 20 };  /* bytes, or a tenth of the need: others use the GPU too, and the driver takes some for kernels */

static hybrid__cuda_device *hybrid__cuda_device_of(hybrid__device *device) { return (hybrid__cuda_device *)device; }

static hybrid_result hybrid__gpu_alloc(hybrid__device *device, size_t bytes, void **address, hybrid_error *error) { return hybrid__cuda_alloc(hybrid__cuda_device_of(device)->cu, bytes, address, error); }
static void hybrid__gpu_free(hybrid__device *device, void *address) { hybrid__cuda_free(hybrid__cuda_device_of(device)->cu, address); }
static uint64_t hybrid__gpu_cost(hybrid__device *device, size_t bytes) { HYBRID__UNUSED(device); return hybrid__arena_round(bytes); }

static bool hybrid__gpu_fits(hybrid__device *device, uint64_t bytes)
{
    hybrid__cuda *cu = hybrid__cuda_device_of(device)->cu;
    uint64_t available, total;
    if (bytes > hybrid__cuda_room(cu)) return false;
    hybrid__cuda_memory(cu, &available, &total);
    available += hybrid__cuda_idle(cu);                        /* what hybrid holds and does not use */
    return available >= bytes && available - bytes >= HYBRID__MAX(bytes / 10, (uint64_t)HYBRID__CUDA_MARGIN);
}

/* The next write begins with a new queue: it works, unless the device is lost. */
static void hybrid__gpu_uploads_failed(hybrid__cuda_device *self, hybrid_error *error)
{
    if (error) *error = self->uploads->error;
    hybrid__cuda_queue_destroy(self->uploads);
    self->uploads = NULL;
}

static hybrid_result hybrid__gpu_write(hybrid__device *device, void *dst, const void *host, size_t bytes, hybrid_error *error)
{
    hybrid__cuda_device *self = hybrid__cuda_device_of(device);
    hybrid_result r = HYBRID_OK;
    hybrid__spin_take(&self->lock);
    if (!self->uploads) r = hybrid__cuda_queue_create(self->cu, &self->uploads, error);
    if (!r) {
        hybrid__cuda_write(self->uploads, dst, host, bytes);
        if ((r = self->uploads->result) != HYBRID_OK) hybrid__gpu_uploads_failed(self, error);
    }
    hybrid__spin_give(&self->lock);
    return r;
}
static hybrid_result hybrid__gpu_flush(hybrid__device *device, hybrid_error *error)
{
    hybrid__cuda_device *self = hybrid__cuda_device_of(device);
    hybrid_result r;
    hybrid__spin_take(&self->lock);
    r = self->uploads ? hybrid__cuda_sync(self->uploads, NULL) : HYBRID_OK;
    if (r) hybrid__gpu_uploads_failed(self, error);
    hybrid__spin_give(&self->lock);
    return r;
}

static bool hybrid__gpu_attends(hybrid__device *device, const hybrid__limits *limits)
{
    return hybrid__cuda_attends(limits->head_dim_k, limits->head_dim_v, hybrid__cuda_device_of(device)->cu->shared_optin);
}

static bool hybrid__gpu_show(hybrid__device *device, hybrid__limits *limits, const hybrid__tensor *w)
{
    const int cc = hybrid__cuda_device_of(device)->cu->cc;
    const size_t scratch = w->ne[2] > 1 ? hybrid__cuda_experts_scratch(w->type, w->ne[0], w->ne[2], limits->n_rows, limits->n_expert_used, cc)
                                        : hybrid__cuda_matmul_scratch(w->type, w->ne[0], w->ne[1], limits->n_rows, cc);
    limits->scratch = HYBRID__MAX(limits->scratch, scratch);
    return true;
}
static uint64_t hybrid__gpu_backend_cost(hybrid__device *device, const hybrid__limits *limits)
{
    hybrid__cuda_layout l;
    const size_t workspace = hybrid__cuda_workspace(limits, hybrid__cuda_device_of(device)->cu->cc);
    hybrid__cuda_layout_make(&l, limits);
    return hybrid__gpu_cost(device, l.bytes) + (workspace ? hybrid__gpu_cost(device, workspace) : 0);
}
static hybrid_result hybrid__gpu_backend_create(hybrid__device *device, const hybrid__limits *limits, hybrid__backend **be, hybrid_error *error)
{
    return hybrid__cuda_backend_create(hybrid__cuda_device_of(device)->cu, limits, be, error);
}

/* ---- the provider ---- */

static void hybrid__gpu_provider_close(hybrid__device *device)
{
    hybrid__cuda_device *self = hybrid__cuda_device_of(device);
    hybrid_runtime *rt = device->rt;
    hybrid__cuda_queue_destroy(self->uploads);
    hybrid__cuda_release(self->cu);
    hybrid__free(rt, self);
}

static hybrid_result hybrid__gpu_provider_open(hybrid_runtime *rt, int index, hybrid__device **device, hybrid_error *error)
{
    static const hybrid__device_ops ops = {
        false, hybrid__gpu_alloc, hybrid__gpu_free, hybrid__gpu_cost, hybrid__gpu_fits, hybrid__gpu_write, hybrid__gpu_flush, hybrid__gpu_attends, hybrid__gpu_show,
        hybrid__gpu_backend_cost, hybrid__gpu_backend_create
    };
    hybrid__cuda_device *self = (hybrid__cuda_device *)hybrid__calloc(rt, 1, sizeof *self);
    hybrid__cuda_desc desc;
    hybrid_result r;
    *device = NULL;
    if (!self) return hybrid__fail_memory(error, sizeof *self);
    memset(&desc, 0, sizeof desc);
    desc.device = index;
    desc.max_bytes = rt->max_device_bytes;
    desc.cache = rt->kernel_cache;
    self->base.ops = &ops;
    self->base.rt = rt;
    r = hybrid__cuda_open(rt, &desc, &self->cu, error);
    if (!r && self->cu->cc < 75)                               /* tensor cores for bytes, ldmatrix */
        r = hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "'%.64s' has compute capability %d.%d; hybrid's kernels need 7.5 (Turing, 2018) or later", self->cu->name, self->cu->cc / 10, self->cu->cc % 10);
    if (!r) r = hybrid__cuda_can_compile(self->cu, error);     /* without kernels it is of no use */
    if (r) {
        hybrid__cuda_release(self->cu);
        hybrid__free(rt, self);
        return r;
    }
    *device = &self->base;
    return HYBRID_OK;
}

/* No driver, no device: a list without entries, and why. */
static hybrid_result hybrid__gpu_provider_list(hybrid_runtime *rt, hybrid_device_info *list, size_t capacity, size_t *count, hybrid_error *error)
{
    hybrid_error why;
    hybrid_result r = hybrid__cuda_list(list, capacity, count, &why);
    HYBRID__UNUSED(rt);
    if (!r) return HYBRID_OK;
    *count = 0;
    return hybrid__fail(error, r == HYBRID_ERROR_MEMORY ? r : HYBRID_OK, "%s", why.message);
}

static const char *hybrid__gpu_provider_name(const hybrid__device *device) { return ((const hybrid__cuda_device *)(const void *)device)->cu->name; }
static const char *hybrid__gpu_provider_wanted(void) { return getenv("HYBRID_DEVICE"); }

static const hybrid__provider hybrid__cuda_provider = {
    hybrid__gpu_provider_list, hybrid__gpu_provider_open, hybrid__gpu_provider_close, hybrid__gpu_provider_name, hybrid__gpu_provider_wanted
};

/* C has no other way for a header to say, behind another one, that it is there. It runs before main and only sets a pointer. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((constructor)) static void hybrid__cuda_register(void) { hybrid__gpu_provider = &hybrid__cuda_provider; }
#elif defined(_MSC_VER)
static void __cdecl hybrid__cuda_register(void) { hybrid__gpu_provider = &hybrid__cuda_provider; }
#pragma section(".CRT$XCU", read)
__declspec(allocate(".CRT$XCU")) static void(__cdecl *const hybrid__cuda_registration)(void) = hybrid__cuda_register;
#endif
