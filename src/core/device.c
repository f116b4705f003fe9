/* core/device: which GPU a runtime uses. A GPU back end (hybrid_cuda.h) makes itself known before main; a device is
 * opened when first needed. */
#ifndef HYB_CORE_DEVICE_C
#define HYB_CORE_DEVICE_C
#include "memory.c"

/* A GPU back end, as its header registers it. */
typedef struct hyb_provider {
    const char *kind; /* lower-case letters: its devices are kind:0, kind:1...; kind alone is the first */
    /* Fills up to capacity entries; *count: all. Without a usable one: OK, 0, and a sentence in error that says what
     * was looked for. */
    hybrid_result (*list)(hybrid_runtime *rt, hybrid_device_info *list, size_t capacity, size_t *count,
                          hybrid_error *error);
    /* The device does not keep the runtime: it belongs to it. */
    hybrid_result (*open)(hybrid_runtime *rt, int index, hyb_device **device, hybrid_error *error);
    void (*close)(hyb_device *device);
    const char *(*name)(const hyb_device *device);
    const char *(*wanted)(void); /* what the environment asks for, or NULL */
} hyb_provider;

static const hyb_provider *hyb_gpu_provider; /* a back end that is compiled in sets it once, before main: idempotent */

/* What hyb_device_index makes of the other names. */
enum { HYB_DEVICE_AUTO = -1, HYB_DEVICE_CPU = -2, HYB_DEVICE_UNKNOWN = -3 };

/* Of "kind" and "kind:N": 0 and N. Without a back end every word could be the kind of one that is missing. */
static int hyb_device_index(const char *device)
{
    const size_t kind = strspn(device, "abcdefghijklmnopqrstuvwxyz");
    const char *digit = device + kind + 1;
    int index = 0;
    if (!strcmp(device, "auto")) return HYB_DEVICE_AUTO;
    if (!strcmp(device, "cpu")) return HYB_DEVICE_CPU;
    if (!kind || strlen(device) > 20) return HYB_DEVICE_UNKNOWN;
    if (hyb_gpu_provider &&
        (strncmp(device, hyb_gpu_provider->kind, kind) != 0 || strlen(hyb_gpu_provider->kind) != kind))
        return HYB_DEVICE_UNKNOWN;
    if (!device[kind]) return 0;
    if (device[kind] != ':' || !*digit || strlen(digit) > 3) return HYB_DEVICE_UNKNOWN;
    for (; *digit; digit++) {
        if (*digit < '0' || *digit > '9') return HYB_DEVICE_UNKNOWN;
        index = index * 10 + *digit - '0';
    }
    return index;
}

/* The caller holds the lock. */
static hybrid_result hyb_gpu_open(hybrid_runtime *rt, hybrid_error *error)
{
    const int index = hyb_device_index(rt->device_wanted);
    hybrid_error why;
    hybrid_result r;
    rt->gpu_tried = true;
    if (index == HYB_DEVICE_CPU || (index < 0 && !hyb_gpu_provider)) return HYBRID_OK;
    why.message[0] = 0;
    if (!hyb_gpu_provider)
        r = hyb_fail(&why, HYBRID_ERROR_NOT_FOUND,
                     "there is no GPU '%.24s': no GPU back end is compiled in; include hybrid_cuda.h after hybrid.h",
                     rt->device_wanted);
    else
        r = hyb_gpu_provider->open(rt, index < 0 ? 0 : index, &rt->gpu, &why);
    if (!r) {
        hyb_atomic_store(&rt->gpu_there, hyb_process());
        return HYBRID_OK;
    }
    rt->gpu = NULL;
    if (index < 0) {
        hyb_log(rt, HYBRID_LOG_INFO, "computing on the CPU: %s", why.message);
        return HYBRID_OK;
    }
    rt->gpu_tried = false; /* the next call says it again */
    return hyb_fail(error, r, "%s", why.message);
}

/* There is a GPU, and it was opened by this process: CUDA does not work in a forked child of one that uses it. */
static bool hyb_gpu_here(hybrid_runtime *rt) { return hyb_atomic_load(&rt->gpu_there) == hyb_process(); }

/* *gpu: the device that the runtime computes on, opened by the first caller; NULL: the CPU. Belongs to the runtime. */
static hybrid_result hyb_runtime_gpu(hybrid_runtime *rt, hyb_device **gpu, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    hyb_spin_take(&rt->gpu_lock);
    if (!rt->gpu_tried)
        r = hyb_gpu_open(rt, error);
    else if (rt->gpu && !hyb_gpu_here(rt) && hyb_device_index(rt->device_wanted) >= 0)
        r = hyb_fail(error, HYBRID_ERROR_DEVICE,
                     "the GPU '%.24s' was opened before this process was forked, and CUDA does not work in a child: "
                     "make a runtime with another device, or begin the child with exec",
                     rt->device_wanted);
    *gpu = rt->gpu && hyb_gpu_here(rt) ? rt->gpu : NULL;
    hyb_spin_give(&rt->gpu_lock);
    return r;
}

static void hyb_gpu_close(hybrid_runtime *rt)
{
    if (rt->gpu) hyb_gpu_provider->close(rt->gpu);
}

/* From the descriptor or the environment; a device that is asked for by name is opened now. */
static hybrid_result hyb_runtime_choose(hybrid_runtime *rt, const char *device, hybrid_error *error)
{
    const char *wanted = device;
    hyb_device *gpu;
    if ((!wanted || !wanted[0]) && hyb_gpu_provider) wanted = hyb_gpu_provider->wanted();
    if (!wanted || !wanted[0]) wanted = "auto";
    if (hyb_device_index(wanted) == HYB_DEVICE_UNKNOWN && hyb_gpu_provider)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the device is \"%.32s\"; it must be \"auto\", \"cpu\", \"%s\" or \"%s:N\"", wanted,
                        hyb_gpu_provider->kind, hyb_gpu_provider->kind);
    if (hyb_device_index(wanted) == HYB_DEVICE_UNKNOWN)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the device is \"%.32s\"; it must be \"auto\", \"cpu\" or the id of a GPU", wanted);
    snprintf(rt->device_wanted, sizeof rt->device_wanted, "%s", wanted);
    return hyb_device_index(wanted) >= 0 ? hyb_runtime_gpu(rt, &gpu, error) : HYBRID_OK;
}
#endif
