/* cuda/abi: what hybrid uses of the driver, NVRTC and cuBLAS, declared here: no CUDA header is needed to build, or ever
 * included.
 *
 * A list gives for each function: whether it is required (1) or may be missing in older versions (0), our name, the
 * name in the library (the plain names of many are older ABIs with 32-bit sizes: always take _v2), and the parameters.
 * Handles are void *, results and enums are int, CUdeviceptr is hyb_cu_ptr. The gate cuda_abi compares all of it with
 * the real headers where there is a toolkit. */
#ifndef HYB_CUDA_ABI_C
#define HYB_CUDA_ABI_C
#include "../core/macros.h"

typedef unsigned long long hyb_cu_ptr;

/* clang-format off */
/* CUresult; FORKED is our own: the answer in place of the driver's, where it must not be called */
enum {
    HYB_CU_FORKED = -1, HYB_CU_OK = 0, HYB_CU_INVALID = 1, HYB_CU_OUT_OF_MEMORY = 2, HYB_CU_NOT_INITIALIZED = 3,
    HYB_CU_DEINITIALIZED = 4,
    HYB_CU_STUB_LIBRARY = 34, HYB_CU_DEVICE_UNAVAILABLE = 46, HYB_CU_NO_DEVICE = 100, HYB_CU_INVALID_DEVICE = 101,
    HYB_CU_INVALID_IMAGE = 200, HYB_CU_INVALID_CONTEXT = 201, HYB_CU_NO_BINARY_FOR_GPU = 209, HYB_CU_ECC = 214,
    HYB_CU_INVALID_PTX = 218, HYB_CU_NO_JIT = 221, HYB_CU_PTX_TOO_NEW = 222, HYB_CU_NOT_FOUND = 500,
    HYB_CU_NOT_READY = 600, HYB_CU_ILLEGAL_ADDRESS = 700, HYB_CU_LAUNCH_RESOURCES = 701, HYB_CU_LAUNCH_TIMEOUT = 702,
    HYB_CU_PEER_ALREADY_ON = 704, HYB_CU_ASSERT = 710, HYB_CU_HARDWARE_STACK = 714, HYB_CU_LAUNCH_FAILED = 719,
    HYB_CU_SYSTEM_DRIVER_MISMATCH = 803,
    HYB_CU_COMPAT_NOT_SUPPORTED = 804, HYB_CU_CAPTURE_UNSUPPORTED = 900, HYB_CU_CAPTURE_INVALIDATED = 901
};
enum { /* CUdevice_attribute */
    HYB_CU_DEVICE_THREADS_PER_BLOCK = 1, HYB_CU_DEVICE_SHARED_PER_BLOCK = 8, HYB_CU_DEVICE_WARP_SIZE = 10,
    HYB_CU_DEVICE_SM_COUNT = 16,
    HYB_CU_DEVICE_INTEGRATED = 18, HYB_CU_DEVICE_L2_BYTES = 38, HYB_CU_DEVICE_CC_MAJOR = 75,
    HYB_CU_DEVICE_CC_MINOR = 76,
    HYB_CU_DEVICE_SHARED_PER_SM = 81, HYB_CU_DEVICE_SHARED_OPTIN = 97
};
enum { /* flags and other values */
    HYB_CU_FUNC_MAX_DYNAMIC_SHARED = 8, HYB_CU_STREAM_NON_BLOCKING = 1, HYB_CU_EVENT_DISABLE_TIMING = 2,
    HYB_CU_HOSTALLOC_PORTABLE = 1, HYB_CU_CAPTURE_RELAXED = 2,
    HYB_CUBLAS_NO_MEMORY = 3, HYB_CUBLAS_OP_N = 0, HYB_CUBLAS_OP_T = 1, HYB_CUDA_R_32F = 0, HYB_CUDA_R_16F = 2,
    HYB_CUDA_R_16BF = 14,
    HYB_CUBLAS_COMPUTE_32F = 68, HYB_CUBLAS_GEMM_DEFAULT = -1, HYB_CUBLAS_NO_REDUCED_PRECISION = 16
};

#define HYB_DRIVER_LIST(X) \
    X(1, cuInit,                    "cuInit",                        (unsigned flags)) \
    X(1, cuDriverGetVersion,        "cuDriverGetVersion",            (int *version)) \
    X(1, cuGetErrorName,            "cuGetErrorName",                (int result, const char **text)) \
    X(1, cuGetErrorString,          "cuGetErrorString",              (int result, const char **text)) \
    X(1, cuDeviceGetCount,          "cuDeviceGetCount",              (int *count)) \
    X(1, cuDeviceGet,               "cuDeviceGet",                   (int *device, int ordinal)) \
    X(1, cuDeviceGetName,           "cuDeviceGetName",               (char *name, int size, int device)) \
    X(1, cuDeviceGetAttribute,      "cuDeviceGetAttribute",          (int *value, int attribute, int device)) \
    X(1, cuDeviceTotalMem,          "cuDeviceTotalMem_v2",           (size_t *bytes, int device)) \
    X(1, cuDevicePrimaryCtxRetain,  "cuDevicePrimaryCtxRetain",      (void **context, int device)) \
    X(1, cuDevicePrimaryCtxRelease, "cuDevicePrimaryCtxRelease_v2",  (int device)) \
    X(1, cuCtxSetCurrent,           "cuCtxSetCurrent",               (void *context)) \
    X(1, cuCtxGetCurrent,           "cuCtxGetCurrent",               (void **context)) \
    X(1, cuMemGetInfo,              "cuMemGetInfo_v2",               (size_t *available, size_t *total)) \
    X(1, cuMemAlloc,                "cuMemAlloc_v2",                 (hyb_cu_ptr *address, size_t bytes)) \
    X(1, cuMemFree,                 "cuMemFree_v2",                  (hyb_cu_ptr address)) \
    X(1, cuMemHostAlloc,            "cuMemHostAlloc",                (void **address, size_t bytes, unsigned flags)) \
    X(1, cuMemFreeHost,             "cuMemFreeHost",                 (void *address)) \
    X(1, cuMemcpyHtoDAsync,         "cuMemcpyHtoDAsync_v2",          (hyb_cu_ptr to, const void *from, size_t bytes, \
                                      void *stream)) \
    X(1, cuMemcpyDtoHAsync,         "cuMemcpyDtoHAsync_v2",          (void *to, hyb_cu_ptr from, size_t bytes, \
                                      void *stream)) \
    X(1, cuMemcpyDtoDAsync,         "cuMemcpyDtoDAsync_v2",          (hyb_cu_ptr to, hyb_cu_ptr from, size_t bytes, \
                                      void *stream)) \
    X(1, cuMemsetD8Async,           "cuMemsetD8Async",               (hyb_cu_ptr to, unsigned char value, \
                                      size_t count, void *stream)) \
    X(1, cuStreamCreate,            "cuStreamCreate",                (void **stream, unsigned flags)) \
    X(1, cuStreamDestroy,           "cuStreamDestroy_v2",            (void *stream)) \
    X(1, cuStreamSynchronize,       "cuStreamSynchronize",           (void *stream)) \
    X(1, cuStreamWaitEvent,         "cuStreamWaitEvent",             (void *stream, void *event, unsigned flags)) \
    X(1, cuEventCreate,             "cuEventCreate",                 (void **event, unsigned flags)) \
    X(1, cuEventDestroy,            "cuEventDestroy_v2",             (void *event)) \
    X(1, cuEventRecord,             "cuEventRecord",                 (void *event, void *stream)) \
    X(1, cuEventQuery,              "cuEventQuery",                  (void *event)) \
    X(1, cuEventSynchronize,        "cuEventSynchronize",            (void *event)) \
    X(1, cuModuleLoadData,          "cuModuleLoadData",              (void **module, const void *image)) \
    X(1, cuModuleUnload,            "cuModuleUnload",                (void *module)) \
    X(1, cuModuleGetFunction,       "cuModuleGetFunction",           (void **function, void *module, \
                                      const char *name)) \
    X(1, cuFuncSetAttribute,        "cuFuncSetAttribute",            (void *function, int attribute, int value)) \
    X(1, cuLaunchKernel,            "cuLaunchKernel",                (void *function, unsigned grid_x, \
                                      unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
                                      unsigned block_z, unsigned shared_bytes, void *stream, void **args, \
                                      void **extra)) \
    X(1, cuStreamBeginCapture,      "cuStreamBeginCapture_v2",       (void *stream, int mode)) \
    X(1, cuStreamEndCapture,        "cuStreamEndCapture",            (void *stream, void **graph)) \
    X(1, cuGraphLaunch,             "cuGraphLaunch",                 (void *executable, void *stream)) \
    X(1, cuGraphExecDestroy,        "cuGraphExecDestroy",            (void *executable)) \
    X(1, cuGraphDestroy,            "cuGraphDestroy",                (void *graph)) \
    X(0, cuThreadExchangeStreamCaptureMode, "cuThreadExchangeStreamCaptureMode", (int *mode)) \
    X(0, cuGraphInstantiateWithFlags, "cuGraphInstantiateWithFlags",   (void **executable, void *graph, \
                                      unsigned long long flags))

/* Of drivers before 11.4; newer headers no longer declare it. */
#define HYB_DRIVER_OLD_LIST(X) \
    X(0, cuGraphInstantiate_v2,     "cuGraphInstantiate_v2",         (void **executable, void *graph, void **node, \
                                      char *log, size_t size))

#define HYB_NVRTC_LIST(X) \
    X(1, nvrtcVersion,              "nvrtcVersion",                  (int *major, int *minor)) \
    X(1, nvrtcGetNumSupportedArchs, "nvrtcGetNumSupportedArchs",     (int *count)) \
    X(1, nvrtcGetSupportedArchs,    "nvrtcGetSupportedArchs",        (int *archs)) \
    X(1, nvrtcCreateProgram,        "nvrtcCreateProgram",            (void **program, const char *source, \
                                      const char *name, int n_headers, const char *const *headers, \
                                      const char *const *header_names)) \
    X(1, nvrtcCompileProgram,       "nvrtcCompileProgram",           (void *program, int n_options, \
                                      const char *const *options)) \
    X(1, nvrtcDestroyProgram,       "nvrtcDestroyProgram",           (void **program)) \
    X(1, nvrtcGetPTXSize,           "nvrtcGetPTXSize",               (void *program, size_t *size)) \
    X(1, nvrtcGetPTX,               "nvrtcGetPTX",                   (void *program, char *ptx)) \
    X(1, nvrtcGetCUBINSize,         "nvrtcGetCUBINSize",             (void *program, size_t *size)) \
    X(1, nvrtcGetCUBIN,             "nvrtcGetCUBIN",                 (void *program, char *cubin)) \
    X(1, nvrtcGetProgramLogSize,    "nvrtcGetProgramLogSize",        (void *program, size_t *size)) \
    X(1, nvrtcGetProgramLog,        "nvrtcGetProgramLog",            (void *program, char *log))

#define HYB_CUBLAS_LIST(X) \
    X(1, cublasCreate,              "cublasCreate_v2",               (void **handle)) \
    X(1, cublasDestroy,             "cublasDestroy_v2",              (void *handle)) \
    X(1, cublasGetProperty,         "cublasGetProperty",             (int type, int *value)) \
    X(1, cublasSetStream,           "cublasSetStream_v2",            (void *handle, void *stream)) \
    X(1, cublasSetWorkspace,        "cublasSetWorkspace_v2",         (void *handle, void *workspace, size_t bytes)) \
    X(1, cublasSetMathMode,         "cublasSetMathMode",             (void *handle, int mode)) \
    X(1, cublasGemmEx,              "cublasGemmEx",                  (void *handle, int op_a, int op_b, int m, int n, \
                                      int k, const void *alpha, const void *a, int type_a, int lda, const void *b, \
                                      int type_b, int ldb, const void *beta, void *c, int type_c, int ldc, \
                                      int compute, int algorithm)) \
    X(1, cublasGemmStridedBatchedEx, "cublasGemmStridedBatchedEx",    (void *handle, int op_a, int op_b, int m, int n, \
                                      int k, const void *alpha, const void *a, int type_a, int lda, \
                                      long long stride_a, const void *b, int type_b, int ldb, long long stride_b, \
                                      const void *beta, void *c, int type_c, int ldc, long long stride_c, int count, \
                                      int compute, int algorithm))
/* clang-format on */

#define HYB_X(required, name, symbol, parameters) int (*name) parameters;
typedef struct hyb_driver_api {
    HYB_DRIVER_LIST(HYB_X) HYB_DRIVER_OLD_LIST(HYB_X)
} hyb_driver_api;
typedef struct hyb_nvrtc_api {
    HYB_NVRTC_LIST(HYB_X)
} hyb_nvrtc_api;
typedef struct hyb_cublas_api {
    HYB_CUBLAS_LIST(HYB_X)
} hyb_cublas_api;
#undef HYB_X

/* In a child that was forked while CUDA was in use, none of its functions may be called: these stand in for them, so
 * that objects can be destroyed there. */
#if defined(__GNUC__) || defined(__clang__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wunused-parameter"
#endif
#define HYB_X(required, name, symbol, parameters) \
    static int hyb_forked_##name parameters { return HYB_CU_FORKED; }
HYB_DRIVER_LIST(HYB_X)
HYB_DRIVER_OLD_LIST(HYB_X)
#undef HYB_X
#if defined(__GNUC__) || defined(__clang__)
    #pragma GCC diagnostic pop
#endif

#define HYB_X(required, name, symbol, parameters) api->name = hyb_forked_##name;
static void hyb_driver_forked(hyb_driver_api *api)
{
    HYB_DRIVER_LIST(HYB_X)
    HYB_DRIVER_OLD_LIST(HYB_X)
}
#undef HYB_X
#endif
