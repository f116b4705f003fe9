/* cuda/driver: the driver's functions, its result codes in words, and the one message for a machine without CUDA. */
#ifndef HYB_CUDA_DRIVER_C
#define HYB_CUDA_DRIVER_C
#include "abi.c"
#include "library.c"

typedef struct hyb_driver {
    hyb_driver_api api;
    hyb_library library;
    int version;         /* 13000: the newest CUDA that this driver knows */
    const char *missing; /* the name of a required function that the library lacks */
} hyb_driver;

static bool hyb_driver_accept(void *user, hyb_library *lib)
{
    hyb_driver *driver = (hyb_driver *)user;
    driver->missing = NULL;
#define HYB_X(required, name, symbol, parameters) \
    if (!hyb_library_symbol(lib, symbol, &driver->api.name) && required) driver->missing = symbol;
    HYB_DRIVER_LIST(HYB_X)
    HYB_DRIVER_OLD_LIST(HYB_X)
#undef HYB_X
    hyb_library_locate(lib, "cuInit");
    driver->library = *lib;
    return !driver->missing;
}

/* A kernel did something forbidden, or the GPU broke: the context is lost, and every call says so from then on. */
static bool hyb_driver_is_fault(int result)
{
    return result == HYB_CU_FORKED || result == HYB_CU_ECC || result == HYB_CU_ILLEGAL_ADDRESS ||
           result == HYB_CU_LAUNCH_TIMEOUT || result == HYB_CU_ASSERT ||
           (result >= HYB_CU_HARDWARE_STACK && result <= HYB_CU_LAUNCH_FAILED);
}

/* What a user can do about a result of the driver; "" where nothing is known to help. */
static const char *hyb_driver_advice(int result)
{
    switch (result) {
    case HYB_CU_FORKED:
        return "; CUDA does not work in a forked process: continue on the CPU, or begin the child with exec";
    case HYB_CU_OUT_OF_MEMORY:
        return "; use a smaller context, fewer layers on the GPU, or close other programs that use it";
    case HYB_CU_STUB_LIBRARY:
        return "; this is the toolkit's stub, not a driver: take the stubs folder out of the library path";
    case HYB_CU_NO_DEVICE: return "; check that the GPU is visible (nvidia-smi, CUDA_VISIBLE_DEVICES, container flags)";
    case HYB_CU_DEVICE_UNAVAILABLE: return "; another process holds it in exclusive mode";
    case HYB_CU_SYSTEM_DRIVER_MISMATCH:
    case HYB_CU_COMPAT_NOT_SUPPORTED:
        return "; the driver's parts have different versions: reboot, or install the driver again";
    case HYB_CU_INVALID_IMAGE:
    case HYB_CU_NO_BINARY_FOR_GPU:
    case HYB_CU_PTX_TOO_NEW:
    case HYB_CU_INVALID_PTX:
        return "; NVRTC and driver do not fit: update the driver, or install an NVRTC of its CUDA version";
    case HYB_CU_LAUNCH_TIMEOUT: return "; the system stopped a kernel that ran too long: use smaller batches";
    case HYB_CU_DEINITIALIZED: return "; the process is ending";
    default:
        return hyb_driver_is_fault(result)
                   ? "; this process cannot use the GPU any more: continue on the CPU, and please report it"
                   : "";
    }
}

static hybrid_result hyb_driver_result(int result)
{
    switch (result) {
    case HYB_CU_OK: return HYBRID_OK;
    case HYB_CU_OUT_OF_MEMORY: return HYBRID_ERROR_MEMORY;
    case HYB_CU_NO_DEVICE:
    case HYB_CU_INVALID_DEVICE:
    case HYB_CU_STUB_LIBRARY:
    case HYB_CU_NOT_INITIALIZED:
    case HYB_CU_SYSTEM_DRIVER_MISMATCH:
    case HYB_CU_COMPAT_NOT_SUPPORTED: return HYBRID_ERROR_NOT_FOUND;
    case HYB_CU_INVALID_IMAGE:
    case HYB_CU_NO_BINARY_FOR_GPU:
    case HYB_CU_PTX_TOO_NEW:
    case HYB_CU_INVALID_PTX:
    case HYB_CU_NO_JIT: return HYBRID_ERROR_UNSUPPORTED;
    default: return HYBRID_ERROR_DEVICE;
    }
}

static const char *hyb_driver_name(const hyb_driver *driver, int result)
{
    const char *name = NULL;
    if (result == HYB_CU_FORKED) return "this process was forked";
    return driver->api.cuGetErrorName && driver->api.cuGetErrorName(result, &name) == HYB_CU_OK && name
               ? name
               : "an unknown CUDA error";
}

/* "the GPU: what: CUDA_ERROR_X (code); advice" */
static hybrid_result hyb_driver_fail(const hyb_driver *driver, hybrid_error *error, int result, const char *what)
{
    return hyb_fail(error, hyb_driver_result(result), "the GPU: %.80s: %.50s (%d)%s", what,
                    hyb_driver_name(driver, result), result, hyb_driver_advice(result));
}

/* Loads and starts the driver and counts its devices (at least one). Safe to call from several threads, and again. */
static hybrid_result hyb_driver_open(hyb_driver *driver, int *n_devices, hybrid_error *error)
{
#if defined(_WIN32)
    static const char *const names[] = { "nvcuda.dll", NULL };
#elif defined(__APPLE__)
    static const char *const names[] = { NULL };
#else
    static const char *const names[] = { "libcuda.so.1", "libcuda.so", NULL };
#endif
    int result;
    memset(driver, 0, sizeof *driver);
    *n_devices = 0;
    if (sizeof(void *) != 8)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "no CUDA: this is a 32-bit program, and CUDA is 64-bit only; computing on the CPU");
    if (!names[0])
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                        "no CUDA: there is no NVIDIA driver for this system; computing on the CPU");
    if (!hyb_library_find(names, NULL, false, hyb_driver_accept, driver)) {
        if (driver->missing)
            return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                            "no CUDA: the driver %.100s lacks %s, it is too old; install NVIDIA driver 470 or newer",
                            driver->library.path, driver->missing);
        return hyb_fail(
            error, HYBRID_ERROR_NOT_FOUND,
            "no CUDA: no NVIDIA driver found (%s in the loader's path, HYBRID_CUDA_PATH and the usual folders); "
            "install the NVIDIA driver to use a GPU; computing on the CPU",
            names[0]);
    }
    if ((result = driver->api.cuInit(0)) != 0 || (result = driver->api.cuDriverGetVersion(&driver->version)) != 0 ||
        (result = driver->api.cuDeviceGetCount(n_devices)) != 0 || *n_devices < 1) {
        *n_devices = 0;
        result = result ? result : HYB_CU_NO_DEVICE;
        return hyb_fail(error, hyb_driver_result(result), "no CUDA: the driver %.60s answers %.40s (%d)%s",
                        driver->library.path, hyb_driver_name(driver, result), result, hyb_driver_advice(result));
    }
    return HYBRID_OK;
}
#endif
