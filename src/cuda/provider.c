/* cuda/provider: the GPU as hybrid.h knows it: the list of devices, a device with memory, and the registration of
 * both before main. */
#ifndef HYB_CUDA_PROVIDER_C
#define HYB_CUDA_PROVIDER_C
#include "backend.c"

typedef struct hyb_cuda_device {
    hyb_device base;
    hyb_cuda *cu;
    hyb_cuda_queue *uploads; /* of write and flush, under the lock; made by the first write */
    hyb_spin lock;
} hyb_cuda_device;

/* bytes, or a tenth of the need: others use the GPU too, and the driver takes some for kernels */
enum { HYB_CUDA_MARGIN = 100 << 20 };

static hyb_cuda_device *hyb_cuda_device_of(hyb_device *device) { return (hyb_cuda_device *)device; }

static hybrid_result hyb_gpu_alloc(hyb_device *device, size_t bytes, void **address, hybrid_error *error)
{
    return hyb_cuda_alloc(hyb_cuda_device_of(device)->cu, bytes, address, error);
}
static void hyb_gpu_free(hyb_device *device, void *address) { hyb_cuda_free(hyb_cuda_device_of(device)->cu, address); }
static uint64_t hyb_gpu_cost(hyb_device *device, size_t bytes)
{
    HYB_UNUSED(device);
    return hyb_arena_round(bytes);
}

/* Page-locked, or plain where the system refuses to lock so much. */
static hybrid_result hyb_gpu_alloc_host(hyb_device *device, size_t bytes, hyb_host_memory *memory, hybrid_error *error)
{
    hyb_cuda *cu = hyb_cuda_device_of(device)->cu;
    hyb_cuda_caller caller = hyb_cuda_enter(cu);
    memory->address = NULL;
    memory->plain = cu->driver.api.cuMemHostAlloc(&memory->address, bytes, HYB_CU_HOSTALLOC_PORTABLE) != 0;
    hyb_cuda_leave(cu, caller);
    if (!memory->plain) return HYBRID_OK;
    if (!(memory->address = hyb_alloc(device->rt, bytes))) return hyb_fail_memory(error, bytes);
    hyb_log(device->rt, HYBRID_LOG_WARN,
            "the GPU: %llu bytes of the host's memory could not be page-locked: copies to and from it are slower",
            (unsigned long long)bytes);
    return HYBRID_OK;
}
static void hyb_gpu_free_host(hyb_device *device, hyb_host_memory *memory)
{
    hyb_cuda *cu = hyb_cuda_device_of(device)->cu;
    hyb_cuda_caller caller;
    if (memory->plain)
        hyb_free(device->rt, memory->address);
    else if (memory->address) {
        caller = hyb_cuda_enter(cu);
        cu->driver.api.cuMemFreeHost(memory->address);
        hyb_cuda_leave(cu, caller);
    }
    memory->address = NULL;
}

static bool hyb_gpu_fits(hyb_device *device, uint64_t bytes)
{
    hyb_cuda *cu = hyb_cuda_device_of(device)->cu;
    uint64_t available, total;
    if (bytes > hyb_cuda_room(cu)) return false;
    hyb_cuda_memory(cu, &available, &total);
    available += hyb_cuda_idle(cu); /* what hybrid holds and does not use */
    return available >= bytes && available - bytes >= HYB_MAX(bytes / 10, (uint64_t)HYB_CUDA_MARGIN);
}

/* The next write begins with a new queue, which works unless the device is lost. */
static void hyb_gpu_uploads_failed(hyb_cuda_device *self, hybrid_error *error)
{
    hyb_kept(&self->uploads->failure, error);
    hyb_cuda_queue_destroy(self->uploads);
    self->uploads = NULL;
}

static hybrid_result hyb_gpu_write(hyb_device *device, void *dst, const void *host, size_t bytes, hybrid_error *error)
{
    hyb_cuda_device *self = hyb_cuda_device_of(device);
    hybrid_result r = HYBRID_OK;
    hyb_spin_take(&self->lock);
    if (!self->uploads) r = hyb_cuda_queue_create(self->cu, &self->uploads, error);
    if (!r) {
        hyb_cuda_write(self->uploads, dst, host, bytes);
        if ((r = self->uploads->failure.result) != HYBRID_OK) hyb_gpu_uploads_failed(self, error);
    }
    hyb_spin_give(&self->lock);
    return r;
}
static hybrid_result hyb_gpu_flush(hyb_device *device, hybrid_error *error)
{
    hyb_cuda_device *self = hyb_cuda_device_of(device);
    hybrid_result r;
    hyb_spin_take(&self->lock);
    r = self->uploads ? hyb_cuda_sync(self->uploads, NULL) : HYBRID_OK;
    if (r) hyb_gpu_uploads_failed(self, error);
    hyb_spin_give(&self->lock);
    return r;
}

static bool hyb_gpu_attends(hyb_device *device, const hyb_limits *limits)
{
    const unsigned shared = hyb_cuda_device_of(device)->cu->shared_optin;
#ifndef HYBRID_NO_TRAIN
    if (limits->n_train && !hyb_cuda_attends_back(limits->head_dim_k, limits->head_dim_v, shared)) return false;
#endif
    return hyb_cuda_attends(limits->head_dim_k, limits->head_dim_v, shared);
}

/* Of halves every GPU that hybrid runs on has tensor cores, of bf16 those from 8.0 on. */
static bool hyb_gpu_gains(hyb_device *device, hybrid_type operands)
{
    return operands == HYBRID_TYPE_F16 || (operands == HYBRID_TYPE_BF16 && hyb_cuda_device_of(device)->cu->cc >= 80);
}

static bool hyb_gpu_show(hyb_device *device, hyb_limits *limits, const hyb_tensor *w)
{
    const int cc = hyb_cuda_device_of(device)->cu->cc;
    const size_t scratch =
        w->ne[2] > 1 ? hyb_cuda_experts_scratch(w->type, w->ne[0], w->ne[2], limits->n_rows, limits->n_expert_used, cc)
                     : hyb_cuda_matmul_scratch(w->type, w->ne[0], w->ne[1], limits->n_rows, cc);
    limits->scratch = HYB_MAX(limits->scratch, scratch);
#ifndef HYBRID_NO_TRAIN
    if (limits->n_train)
        limits->scratch = HYB_MAX(limits->scratch, hyb_cuda_back_scratch(w->type, w->ne[0], w->ne[1] * w->ne[2]));
    if (limits->operands != HYBRID_TYPE_F32 && w->type == HYBRID_TYPE_F32 && w->ne[2] == 1)
        limits->scratch = HYB_MAX(limits->scratch, hyb_cuda_format_scratch(w->ne[0], w->ne[1], limits->n_rows));
#endif
    return true;
}
static uint64_t hyb_gpu_backend_cost(hyb_device *device, const hyb_limits *limits)
{
    hyb_cuda_layout l;
    const size_t workspace = hyb_cuda_workspace(limits, hyb_cuda_device_of(device)->cu->cc);
    hyb_cuda_layout_make(&l, limits);
    return hyb_gpu_cost(device, l.bytes) + (workspace ? hyb_gpu_cost(device, workspace) : 0);
}
static hybrid_result hyb_gpu_backend_create(hyb_device *device, const hyb_limits *limits, hyb_backend **be,
                                            hybrid_error *error)
{
    return hyb_cuda_backend_create(hyb_cuda_device_of(device)->cu, limits, be, error);
}

/* ---- the provider ------------------------------------------------------------------------------------------------ */

static void hyb_gpu_provider_close(hyb_device *device)
{
    hyb_cuda_device *self = hyb_cuda_device_of(device);
    hybrid_runtime *rt = device->rt;
    hyb_cuda_queue_destroy(self->uploads);
    hyb_cuda_release(self->cu);
    hyb_free(rt, self);
}

static hybrid_result hyb_gpu_provider_open(hybrid_runtime *rt, int index, hyb_device **device, hybrid_error *error)
{
    static const hyb_device_ops ops = { false,
                                        hyb_gpu_alloc,
                                        hyb_gpu_free,
                                        hyb_gpu_cost,
                                        hyb_gpu_alloc_host,
                                        hyb_gpu_free_host,
                                        hyb_gpu_fits,
                                        hyb_gpu_write,
                                        hyb_gpu_flush,
                                        hyb_gpu_attends,
                                        hyb_gpu_gains,
                                        hyb_gpu_show,
                                        hyb_gpu_backend_cost,
                                        hyb_gpu_backend_create };
    hyb_cuda_device *self = (hyb_cuda_device *)hyb_calloc(rt, 1, sizeof *self);
    hyb_cuda_desc desc;
    hybrid_result r;
    *device = NULL;
    if (!self) return hyb_fail_memory(error, sizeof *self);
    memset(&desc, 0, sizeof desc);
    desc.device = index;
    desc.max_bytes = rt->max_device_bytes;
    desc.cache = rt->kernel_cache;
    self->base.ops = &ops;
    self->base.rt = rt;
    r = hyb_cuda_open(rt, &desc, &self->cu, error);
    if (!r && self->cu->cc < 75) /* tensor cores for bytes, ldmatrix */
        r = hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                     "'%.64s' has compute capability %d.%d; hybrid's kernels need 7.5 (Turing, 2018) or later",
                     self->cu->name, self->cu->cc / 10, self->cu->cc % 10);
    if (!r) r = hyb_cuda_can_compile(self->cu, error); /* a GPU without kernels is of no use */
    if (r) {
        hyb_cuda_release(self->cu);
        hyb_free(rt, self);
        return r;
    }
    *device = &self->base;
    return HYBRID_OK;
}

/* No driver, no device: a list without entries, and why. */
static hybrid_result hyb_gpu_provider_list(hybrid_runtime *rt, hybrid_device_info *list, size_t capacity, size_t *count,
                                           hybrid_error *error)
{
    hybrid_error why;
    hybrid_result r = hyb_cuda_list(list, capacity, count, &why);
    HYB_UNUSED(rt);
    if (!r) return HYBRID_OK;
    *count = 0;
    return hyb_fail(error, r == HYBRID_ERROR_MEMORY ? r : HYBRID_OK, "%s", why.message);
}

static const char *hyb_gpu_provider_name(const hyb_device *device)
{
    return ((const hyb_cuda_device *)(const void *)device)->cu->name;
}
static const char *hyb_gpu_provider_wanted(void) { return getenv("HYBRID_DEVICE"); }

/* clang-format off */
static const hyb_provider hyb_cuda_provider = {
    "cuda", hyb_gpu_provider_list, hyb_gpu_provider_open, hyb_gpu_provider_close, hyb_gpu_provider_name,
    hyb_gpu_provider_wanted
};
/* clang-format on */

/* C has no other way for a header to say, after another one, that it is there. It runs before main and only sets a
 * pointer. */
#if defined(__GNUC__) || defined(__clang__)
__attribute__((constructor)) static void hyb_cuda_register(void) { hyb_gpu_provider = &hyb_cuda_provider; }
#elif defined(_MSC_VER)
static void __cdecl hyb_cuda_register(void) { hyb_gpu_provider = &hyb_cuda_provider; }
    #pragma section(".CRT$XCU", read)
__declspec(allocate(".CRT$XCU")) static void(__cdecl *const hyb_cuda_registration)(void) = hyb_cuda_register;
#endif
#endif
