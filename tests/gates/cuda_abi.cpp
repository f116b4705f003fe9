/* Compares the declarations of src/cuda/abi.c with the headers of a CUDA toolkit: for every function the number, sizes
 * and kinds of the parameters and the name that it really has in the library; and the values of constants. It
 * compiles, or the compiler says what differs. */
#include <cuda.h>
#include <nvrtc.h>
#include <cublas_v2.h>

#include <cstddef>
#include <type_traits>

#include "abi.c"
#ifdef HYB_API_BASE_H
} /* of extern "C", which src/api/base.h opens */
#endif

template <class A, class B> struct same {
    static const bool value = sizeof(A) == sizeof(B) && std::is_pointer<A>::value == std::is_pointer<B>::value &&
                              std::is_floating_point<A>::value == std::is_floating_point<B>::value;
};
template <class F, class G> struct alike {
    static const bool value = false;
};
template <class R, class S> struct alike<R (*)(), S (*)()> {
    static const bool value = same<R, S>::value;
};
template <class R, class A, class... As, class S, class B, class... Bs> struct alike<R (*)(A, As...), S (*)(B, Bs...)> {
    /* false when one list is longer */
    static const bool value = same<A, B>::value && alike<R (*)(As...), S (*)(Bs...)>::value;
};

constexpr bool equal(const char *a, const char *b) { return *a == *b && (!*a || equal(a + 1, b + 1)); }
#define TEXT(x)     #x
#define EXPANDED(x) TEXT(x)

/* In C++ the header has two of each of these; the one of the library is the one with this type. */
typedef cublasStatus_t (*GemmEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *,
                                 const void *, cudaDataType, int, const void *, cudaDataType, int, const void *, void *,
                                 cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
typedef cublasStatus_t (*GemmStridedBatchedEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int,
                                               const void *, const void *, cudaDataType, int, long long, const void *,
                                               cudaDataType, int, long long, const void *, void *, cudaDataType, int,
                                               long long, int, cublasComputeType_t, cublasGemmAlgo_t);
static const GemmEx gemm_ex = cublasGemmEx;
static const GemmStridedBatchedEx gemm_strided_batched_ex = cublasGemmStridedBatchedEx;

#define HYB_X(required, name, symbol, parameters) \
    static_assert(equal(EXPANDED(name), symbol), "the header calls " symbol " " EXPANDED(name));
HYB_DRIVER_LIST(HYB_X)
HYB_NVRTC_LIST(HYB_X)
HYB_CUBLAS_LIST(HYB_X)
#undef HYB_X

#define cublasGemmEx               gemm_ex
#define cublasGemmStridedBatchedEx gemm_strided_batched_ex
#define HYB_X(required, name, symbol, parameters) \
    static_assert(alike<decltype(+::name), int(*) parameters>::value, "the parameters of " symbol " differ");
HYB_DRIVER_LIST(HYB_X)
HYB_NVRTC_LIST(HYB_X)
HYB_CUBLAS_LIST(HYB_X)
#undef HYB_X

static_assert(sizeof(hyb_cu_ptr) == sizeof(CUdeviceptr) && sizeof(CUdevice) == sizeof(int) &&
                  sizeof(CUresult) == sizeof(int),
              "basic types");

#define VALUE(ours, theirs) static_assert((int)ours == (int)theirs, #ours " is not " #theirs);
VALUE(HYB_CU_OK, CUDA_SUCCESS)
VALUE(HYB_CU_INVALID, CUDA_ERROR_INVALID_VALUE)
VALUE(HYB_CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY)
VALUE(HYB_CU_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED)
VALUE(HYB_CU_DEINITIALIZED, CUDA_ERROR_DEINITIALIZED)
VALUE(HYB_CU_STUB_LIBRARY, CUDA_ERROR_STUB_LIBRARY)
VALUE(HYB_CU_DEVICE_UNAVAILABLE, CUDA_ERROR_DEVICE_UNAVAILABLE)
VALUE(HYB_CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE)
VALUE(HYB_CU_INVALID_DEVICE, CUDA_ERROR_INVALID_DEVICE)
VALUE(HYB_CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE)
VALUE(HYB_CU_INVALID_CONTEXT, CUDA_ERROR_INVALID_CONTEXT)
VALUE(HYB_CU_NO_BINARY_FOR_GPU, CUDA_ERROR_NO_BINARY_FOR_GPU)
VALUE(HYB_CU_ECC, CUDA_ERROR_ECC_UNCORRECTABLE)
VALUE(HYB_CU_INVALID_PTX, CUDA_ERROR_INVALID_PTX)
VALUE(HYB_CU_NO_JIT, CUDA_ERROR_JIT_COMPILER_NOT_FOUND)
VALUE(HYB_CU_PTX_TOO_NEW, CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
VALUE(HYB_CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND)
VALUE(HYB_CU_NOT_READY, CUDA_ERROR_NOT_READY)
VALUE(HYB_CU_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS)
VALUE(HYB_CU_LAUNCH_RESOURCES, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES)
VALUE(HYB_CU_LAUNCH_TIMEOUT, CUDA_ERROR_LAUNCH_TIMEOUT)
VALUE(HYB_CU_PEER_ALREADY_ON, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED)
VALUE(HYB_CU_ASSERT, CUDA_ERROR_ASSERT)
VALUE(HYB_CU_HARDWARE_STACK, CUDA_ERROR_HARDWARE_STACK_ERROR)
VALUE(HYB_CU_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED)
VALUE(HYB_CU_SYSTEM_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
VALUE(HYB_CU_COMPAT_NOT_SUPPORTED, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE)
VALUE(HYB_CU_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
VALUE(HYB_CU_CAPTURE_INVALIDATED, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
VALUE(HYB_CU_DEVICE_THREADS_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)
VALUE(HYB_CU_DEVICE_SHARED_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)
VALUE(HYB_CU_DEVICE_WARP_SIZE, CU_DEVICE_ATTRIBUTE_WARP_SIZE)
VALUE(HYB_CU_DEVICE_SM_COUNT, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
VALUE(HYB_CU_DEVICE_INTEGRATED, CU_DEVICE_ATTRIBUTE_INTEGRATED)
VALUE(HYB_CU_DEVICE_L2_BYTES, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)
VALUE(HYB_CU_DEVICE_CC_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
VALUE(HYB_CU_DEVICE_CC_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
VALUE(HYB_CU_DEVICE_SHARED_PER_SM, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
VALUE(HYB_CU_DEVICE_SHARED_OPTIN, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
VALUE(HYB_CU_FUNC_MAX_DYNAMIC_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
VALUE(HYB_CU_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING)
VALUE(HYB_CU_EVENT_DISABLE_TIMING, CU_EVENT_DISABLE_TIMING)
VALUE(HYB_CU_HOSTALLOC_PORTABLE, CU_MEMHOSTALLOC_PORTABLE)
VALUE(HYB_CU_CAPTURE_RELAXED, CU_STREAM_CAPTURE_MODE_RELAXED)
VALUE(HYB_CUBLAS_NO_MEMORY, CUBLAS_STATUS_ALLOC_FAILED)
VALUE(HYB_CUBLAS_OP_N, CUBLAS_OP_N)
VALUE(HYB_CUBLAS_OP_T, CUBLAS_OP_T)
VALUE(HYB_CUDA_R_32F, CUDA_R_32F)
VALUE(HYB_CUDA_R_16F, CUDA_R_16F)
VALUE(HYB_CUDA_R_16BF, CUDA_R_16BF)
VALUE(HYB_CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F)
VALUE(HYB_CUBLAS_GEMM_DEFAULT, CUBLAS_GEMM_DEFAULT)
VALUE(HYB_CUBLAS_NO_REDUCED_PRECISION, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)

int main() { return !gemm_ex || !gemm_strided_batched_ex; }
