/* Compares the declarations of src/cuda/abi.c with the headers of a CUDA toolkit: for every function the number, sizes and kinds of the parameters
 * and the name that it really has in the library; and the values of constants. It compiles, or the compiler says what differs. */
#include <cuda.h>
#include <nvrtc.h>
#include <cublas_v2.h>

#include <cstddef>
#include <type_traits>

#include "abi.c"

template <class A, class B> struct same {
    static const bool value = sizeof(A) == sizeof(B) && std::is_pointer<A>::value == std::is_pointer<B>::value &&
                              std::is_floating_point<A>::value == std::is_floating_point<B>::value;
};
template <class F, class G> struct alike { static const bool value = false; };
template <class R, class S> struct alike<R (*)(), S (*)()> { static const bool value = same<R, S>::value; };
template <class R, class A, class... As, class S, class B, class... Bs> struct alike<R (*)(A, As...), S (*)(B, Bs...)> {
    static const bool value = same<A, B>::value && alike<R (*)(As...), S (*)(Bs...)>::value;      /* false when one list is longer */
};

constexpr bool equal(const char *a, const char *b) { return *a == *b && (!*a || equal(a + 1, b + 1)); }
#define TEXT(x) #x
#define EXPANDED(x) TEXT(x)

/* In C++ the header has two of each of these; the one of the library is the one with this type. */
typedef cublasStatus_t (*GemmEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *, const void *, cudaDataType, int, const void *,
                                 cudaDataType, int, const void *, void *, cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
typedef cublasStatus_t (*GemmStridedBatchedEx)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void *, const void *, cudaDataType, int,
                                               long long, const void *, cudaDataType, int, long long, const void *, void *, cudaDataType, int, long long, int,
                                               cublasComputeType_t, cublasGemmAlgo_t);
static const GemmEx gemm_ex = cublasGemmEx;
static const GemmStridedBatchedEx gemm_strided_batched_ex = cublasGemmStridedBatchedEx;

#define HYBRID__X(required, name, symbol, parameters) static_assert(equal(EXPANDED(name), symbol), "the header calls " symbol " " EXPANDED(name));
HYBRID__DRIVER_LIST(HYBRID__X)
HYBRID__NVRTC_LIST(HYBRID__X)
HYBRID__CUBLAS_LIST(HYBRID__X)
#undef HYBRID__X

#define cublasGemmEx gemm_ex
#define cublasGemmStridedBatchedEx gemm_strided_batched_ex
#define HYBRID__X(required, name, symbol, parameters) static_assert(alike<decltype(+::name), int (*) parameters>::value, "the parameters of " symbol " differ");
HYBRID__DRIVER_LIST(HYBRID__X)
HYBRID__NVRTC_LIST(HYBRID__X)
HYBRID__CUBLAS_LIST(HYBRID__X)
#undef HYBRID__X

static_assert(sizeof(hybrid__cu_ptr) == sizeof(CUdeviceptr) && sizeof(CUdevice) == sizeof(int) && sizeof(CUresult) == sizeof(int), "basic types");

#define VALUE(ours, theirs) static_assert((int)ours == (int)theirs, #ours " is not " #theirs);
VALUE(HYBRID__CU_OK, CUDA_SUCCESS)
VALUE(HYBRID__CU_INVALID, CUDA_ERROR_INVALID_VALUE)
VALUE(HYBRID__CU_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY)
VALUE(HYBRID__CU_NOT_INITIALIZED, CUDA_ERROR_NOT_INITIALIZED)
VALUE(HYBRID__CU_DEINITIALIZED, CUDA_ERROR_DEINITIALIZED)
VALUE(HYBRID__CU_STUB_LIBRARY, CUDA_ERROR_STUB_LIBRARY)
VALUE(HYBRID__CU_DEVICE_UNAVAILABLE, CUDA_ERROR_DEVICE_UNAVAILABLE)
VALUE(HYBRID__CU_NO_DEVICE, CUDA_ERROR_NO_DEVICE)
VALUE(HYBRID__CU_INVALID_DEVICE, CUDA_ERROR_INVALID_DEVICE)
VALUE(HYBRID__CU_INVALID_IMAGE, CUDA_ERROR_INVALID_IMAGE)
VALUE(HYBRID__CU_INVALID_CONTEXT, CUDA_ERROR_INVALID_CONTEXT)
VALUE(HYBRID__CU_NO_BINARY_FOR_GPU, CUDA_ERROR_NO_BINARY_FOR_GPU)
VALUE(HYBRID__CU_ECC, CUDA_ERROR_ECC_UNCORRECTABLE)
VALUE(HYBRID__CU_INVALID_PTX, CUDA_ERROR_INVALID_PTX)
VALUE(HYBRID__CU_NO_JIT, CUDA_ERROR_JIT_COMPILER_NOT_FOUND)
VALUE(HYBRID__CU_PTX_TOO_NEW, CUDA_ERROR_UNSUPPORTED_PTX_VERSION)
VALUE(HYBRID__CU_NOT_FOUND, CUDA_ERROR_NOT_FOUND)
VALUE(HYBRID__CU_NOT_READY, CUDA_ERROR_NOT_READY)
VALUE(HYBRID__CU_ILLEGAL_ADDRESS, CUDA_ERROR_ILLEGAL_ADDRESS)
VALUE(HYBRID__CU_LAUNCH_RESOURCES, CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES)
VALUE(HYBRID__CU_LAUNCH_TIMEOUT, CUDA_ERROR_LAUNCH_TIMEOUT)
VALUE(HYBRID__CU_PEER_ALREADY_ON, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED)
VALUE(HYBRID__CU_ASSERT, CUDA_ERROR_ASSERT)
VALUE(HYBRID__CU_HARDWARE_STACK, CUDA_ERROR_HARDWARE_STACK_ERROR)
VALUE(HYBRID__CU_LAUNCH_FAILED, CUDA_ERROR_LAUNCH_FAILED)
VALUE(HYBRID__CU_SYSTEM_DRIVER_MISMATCH, CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)
VALUE(HYBRID__CU_COMPAT_NOT_SUPPORTED, CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE)
VALUE(HYBRID__CU_CAPTURE_UNSUPPORTED, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)
VALUE(HYBRID__CU_CAPTURE_INVALIDATED, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED)
VALUE(HYBRID__CU_DEVICE_THREADS_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)
VALUE(HYBRID__CU_DEVICE_SHARED_PER_BLOCK, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK)
VALUE(HYBRID__CU_DEVICE_WARP_SIZE, CU_DEVICE_ATTRIBUTE_WARP_SIZE)
VALUE(HYBRID__CU_DEVICE_SM_COUNT, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
VALUE(HYBRID__CU_DEVICE_INTEGRATED, CU_DEVICE_ATTRIBUTE_INTEGRATED)
VALUE(HYBRID__CU_DEVICE_L2_BYTES, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)
VALUE(HYBRID__CU_DEVICE_CC_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)
VALUE(HYBRID__CU_DEVICE_CC_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)
VALUE(HYBRID__CU_DEVICE_SHARED_PER_SM, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)
VALUE(HYBRID__CU_DEVICE_SHARED_OPTIN, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
VALUE(HYBRID__CU_FUNC_MAX_DYNAMIC_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES)
VALUE(HYBRID__CU_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING)
VALUE(HYBRID__CU_EVENT_DISABLE_TIMING, CU_EVENT_DISABLE_TIMING)
VALUE(HYBRID__CU_HOSTALLOC_PORTABLE, CU_MEMHOSTALLOC_PORTABLE)
VALUE(HYBRID__CU_CAPTURE_RELAXED, CU_STREAM_CAPTURE_MODE_RELAXED)
VALUE(HYBRID__CUBLAS_NO_MEMORY, CUBLAS_STATUS_ALLOC_FAILED)
VALUE(HYBRID__CUBLAS_OP_N, CUBLAS_OP_N)
VALUE(HYBRID__CUBLAS_OP_T, CUBLAS_OP_T)
VALUE(HYBRID__CUDA_R_32F, CUDA_R_32F)
VALUE(HYBRID__CUDA_R_16F, CUDA_R_16F)
VALUE(HYBRID__CUDA_R_16BF, CUDA_R_16BF)
VALUE(HYBRID__CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F)
VALUE(HYBRID__CUBLAS_GEMM_DEFAULT, CUBLAS_GEMM_DEFAULT)
VALUE(HYBRID__CUBLAS_NO_REDUCED_PRECISION, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)

int main() { return !gemm_ex || !gemm_strided_batched_ex; }
