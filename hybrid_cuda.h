/* hybrid_cuda ?: hybrid.h on an NVIDIA GPU. No CUDA toolkit is needed to build, none of its files is included.
 *
 * MADE FROM src/ BY amalgamate.py (source id 9e1d4d252ea471e0): edit there, not here.
 *
 *     #define HYBRID_IMPLEMENTATION
 *     #include "hybrid.h"
 *     #include "hybrid_cuda.h"
 *
 * That is all: models now use the GPU when there is one, and the CPU when not. At run time the driver is looked for,
 * then NVRTC (it compiles the kernels below for the GPU that is found) and cuBLAS; both come with the CUDA toolkit or
 * with the PyPI packages nvidia-cuda-nvrtc and nvidia-cublas. What is missing is said in the log and by
 * hybrid_devices(); the program runs on. Which device, and how much of its memory: see hybrid_runtime_desc. Linux and
 * Windows, 64 bit. Take both headers from the same release.
 *
 * CONTENTS (line, file)
 *
 *   src/core: errors, memory, threads, files, processor features, random numbers
 *       65  begin.h                  opens the implementation: system headers, and what the compilers are told abou...
 *      169  macros.h                 what compilers call things, and the macros that every room uses
 *    12493  end.h                    closes what core/begin opened
 *
 *   src/quant: formats of numbers, a file a family
 *
 *   src/compute: the table of operations, and its kernels for each instruction set
 *
 *   src/cuda: the table of operations on a GPU
 *      254  system.h                 system headers that only the GPU part needs: opening libraries, listing folder...
 *      475  abi.c                    what hybrid uses of the driver, NVRTC and cuBLAS, declared here: no CUDA heade...
 *      644  library.c                finds and opens a dynamic library by a list of names, in the places where user...
 *      939  driver.c                 the driver's functions, its result codes in words, and the one message for a m...
 *     1077  arena.c                  hands out parts of a few big blocks of address space: best fit, 256-byte align...
 *     1231  modules.c                the programs that NVRTC compiles: which texts, with which -D, make which kernels
 *     7034  cache.c                  compiled kernels on disk, or in the host's own store
 *     7312  jit.c                    from the text of kernels to functions on the device: which NVRTC, for which ar...
 *     7789  device.c                 an opened GPU: its context, its memory, its kernels
 *     8176  blas.c                   cuBLAS, opened only when a large product asks for it (it is half a gigabyte),...
 *     8349  queue.c                  work in order on one stream of a device, used by one thread at a time
 *     8837  gemm.c                   large products by cuBLAS.
 *     9001  ops.c                    what every op on a GPU is given: a queue, the batch in device memory, scratch
 *     9066  ops_rows.c               the ops over rows: embeddings, norms, rotations, activations, the writing of t...
 *     9474  ops_matmul.c             the op matmul: which kernels a product takes
 *     9962  ops_matmul_back.c        what training asks of products besides y = x W^T: the gradients of what they r...
 *    10297  ops_recurrent.c          the ops of layers that keep a state of a sequence from row to row, in slots, a...
 *    10552  ops_attention.c          which kernel of attention takes which rows
 *    10835  ops_experts.c            mixtures of experts: the choice of experts for each row, products with the mat...
 *    11357  ops_train.c              the loss and the optimizer
 *    11559  ops_lowrank.c            low-rank factors of a matrix (predict/lowrank.c)
 *    11702  ops_rssm.c               a step of learning of the predictor's world models (compute/ops/rssm.c), all m...
 *    11749  module_table.c           what each module is made of, in the order of the enumeration of modules.c
 *    11882  backend.c                the op table on a GPU: one queue, the batch in device memory, and scratch whos...
 *    12262  provider.c               the GPU as hybrid.h knows it: the list of devices, a device with memory, and t...
 */
#ifndef HYBRID_CUDA_H
#define HYBRID_CUDA_H
#ifndef HYBRID_H
    #error "hybrid_cuda.h adds a GPU to hybrid.h: include hybrid.h first"
#endif
#endif

#ifdef HYBRID_IMPLEMENTATION
#ifndef HYBRID_CUDA_IMPLEMENTED
#define HYBRID_CUDA_IMPLEMENTED
#define HYBRID_CUDA__SOURCE_ID "9e1d4d252ea471e0"

/* ==== begin src/core/begin.h ==== */
/* core/begin: opens the implementation: system headers, and what the compilers are told about this part of the file
 * only. */
#if defined(__TINYC__)
    #error "hybrid: tcc cannot compile the implementation (no atomic operations): compile that file with gcc or clang"
#elif !defined(__GNUC__) && !defined(__clang__) && !defined(_MSC_VER)
    #error "hybrid: compile the file with the implementation with gcc, clang or MSVC: this compiler is another"
#endif
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
    #ifndef WIN32_LEAN_AND_MEAN
        #define WIN32_LEAN_AND_MEAN
        #define HYB_WIN32_LEAN
    #endif
    #ifndef NOMINMAX
        #define NOMINMAX
        #define HYB_NOMINMAX
    #endif
    #include <windows.h>
    #ifdef _MSC_VER
        #include <intrin.h>
    #endif
#else
    #include <dirent.h>
    #include <fcntl.h>
    #include <signal.h>
    #include <sys/mman.h>
    #include <sys/select.h>
    #include <sys/stat.h>
    #include <sys/time.h>
    #include <unistd.h>
    #ifndef HYBRID_NO_THREADS
        #include <pthread.h>
        #include <sched.h>
    #endif
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
    #include <immintrin.h>
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
    #include <arm_neon.h>
    #if defined(__linux__)
        #include <sys/auxv.h>
    #endif
#endif

/* Determinism: products and sums are fused only where the code says fma. */
#if defined(__clang__)
    #pragma clang diagnostic push
    #pragma clang diagnostic ignored "-Wunused-function"
    #if defined(__cplusplus) && __cplusplus > 201703L /* enumerations are C's: numbers like others */
        #pragma clang diagnostic ignored "-Wdeprecated"
    #endif
    #pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wunused-function"
    #if defined(__cplusplus) && __cplusplus > 201703L && __GNUC__ >= 10 /* enumerations are C's: numbers like others */
        #pragma GCC diagnostic ignored "-Wdeprecated-enum-enum-conversion"
        #pragma GCC diagnostic ignored "-Wdeprecated-enum-float-conversion"
    #endif
    #ifdef __cplusplus
        /* intrinsics that begin with '__m512 __Y = __Y', in g++ only */
        #pragma GCC diagnostic ignored "-Wuninitialized"
    #endif
    /* arrays of registers, set in loops that gcc warns about before it unrolls them */
    #pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
    #pragma GCC push_options
    #pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
    #pragma warning(push, 3)
    #pragma fp_contract(off)
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || \
    defined(__NO_SIGNED_ZEROS__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__ > 0)
    #error "hybrid: -ffast-math and its parts break equal results and NaN checks: compile this file without them"
#endif
/* A float operation must give a float: where sums are kept wider (x87), rounding by adding 1.5 * 2^23 and much else
 * goes wrong without a word. */
#if defined(__FLT_EVAL_METHOD__)
    #if __FLT_EVAL_METHOD__ != 0 && __FLT_EVAL_METHOD__ != 16
        #define HYB_EXCESS_PRECISION
    #endif
#elif defined(_MSC_VER) && defined(_M_IX86)
    #if !defined(_M_IX86_FP) || _M_IX86_FP < 2
        #define HYB_EXCESS_PRECISION
    #endif
#elif !defined(_MSC_VER) && defined(FLT_EVAL_METHOD)
    #if FLT_EVAL_METHOD != 0
        #define HYB_EXCESS_PRECISION
    #endif
#endif
#if defined(HYB_EXCESS_PRECISION)
    #error "hybrid: excess precision (x87) gives wrong results: add -msse2 -mfpmath=sse (MSVC: /arch:SSE2)"
#endif
/* ==== end src/core/begin.h ==== */

/* ==== begin src/core/macros.h ==== */
/* core/macros: what compilers call things, and the macros that every room uses. */

#define HYB_UNUSED(x) ((void)(x))
#define HYB_COUNT(a)  (sizeof(a) / sizeof((a)[0]))
#define HYB_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HYB_MAX(a, b) ((a) > (b) ? (a) : (b))

#if defined(__GNUC__) || defined(__clang__)
    #define HYB_INLINE            static inline __attribute__((always_inline))
    #define HYB_NOINLINE          __attribute__((noinline))
    #define HYB_LIKELY(x)         __builtin_expect(!!(x), 1)
    #define HYB_UNLIKELY(x)       __builtin_expect(!!(x), 0)
    #define HYB_RESTRICT          __restrict__
    #define HYB_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
    #define HYB_INLINE      static __forceinline
    #define HYB_NOINLINE    __declspec(noinline)
    #define HYB_LIKELY(x)   (x)
    #define HYB_UNLIKELY(x) (x)
    #define HYB_RESTRICT    __restrict
    #define HYB_PRINTF(fmt, args)
#endif

/* Cold rooms run once for a file or a message, cool ones once for a step of training, tepid ones once for a token or a
 * layer, and none of them once for a value. Compilers that optimize are told to be quick about them. What is cold is
 * not optimized at all: a chat is rendered in 1.5 times the time (0.2 ms for 200 messages). Of the others gcc leaves
 * out the passes that are named: they cost the most and do the least for such code (all of them are older than gcc 5,
 * and stacks do not grow). clang cannot leave out single passes. */
#if defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) && defined(__clang__)
    #define HYB_COLD_BEGIN  _Pragma("clang optimize off")
    #define HYB_COLD_END    _Pragma("clang optimize on")
    #define HYB_COOL_BEGIN  HYB_COLD_BEGIN
    #define HYB_COOL_END    HYB_COLD_END
    #define HYB_TEPID_BEGIN _Pragma("clang attribute push(__attribute__((minsize)), apply_to = function)")
    #define HYB_TEPID_END   _Pragma("clang attribute pop")
#elif defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) && defined(__GNUC__)
    #define HYB_COLD_BEGIN \
        _Pragma("GCC push_options") _Pragma("GCC optimize(\"O0\", \"fp-contract=off\")")
    #define HYB_COLD_END    _Pragma("GCC pop_options")
    #define HYB_TEPID_BEGIN \
        _Pragma("GCC push_options") _Pragma("GCC optimize(\"O1\", \"fp-contract=off\")") \
        _Pragma("GCC optimize(\"no-tree-dominator-opts\", \"no-tree-fre\", \"no-ivopts\", \"no-tree-pta\")") \
        _Pragma("GCC optimize(\"no-guess-branch-probability\", \"no-forward-propagate\", \"no-tree-loop-optimize\")")
    #define HYB_TEPID_END   _Pragma("GCC pop_options")
    #define HYB_COOL_BEGIN  HYB_TEPID_BEGIN
    #define HYB_COOL_END    HYB_TEPID_END
#else
    #define HYB_COLD_BEGIN
    #define HYB_COLD_END
    #define HYB_COOL_BEGIN
    #define HYB_COOL_END
    #define HYB_TEPID_BEGIN
    #define HYB_TEPID_END
#endif

#ifndef HYBRID_NO_THREADS
    #if defined(_WIN32)
        #define HYB_THREADS_WIN32
    #else
        #define HYB_THREADS_POSIX
    #endif
#endif

/* Files are little-endian, and so is every machine that hybrid runs on. Tests define it to pretend otherwise. */
#ifndef HYB_BIG_ENDIAN
    #if defined(__BYTE_ORDER__) && defined(__ORDER_BIG_ENDIAN__)
        #define HYB_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
    #else
        #define HYB_BIG_ENDIAN 0
    #endif
#endif

/* Marks work whose amount a foreign file chooses. Tests define it to count; the library itself has no counter. */
#ifndef HYB_STEPS
    #define HYB_STEPS(n) ((void)0)
#endif

/* A failing line reads: return hyb_fail(err, HYBRID_ERROR_FORMAT, "..."); see core/base.c. */
#define hyb_fail(err, result, ...) hyb_fail_at(err, result, 0, __VA_ARGS__)
#define hyb_fail_memory(err, bytes) \
    hyb_fail_at(err, HYBRID_ERROR_MEMORY, 0, "out of memory: an allocation of %llu bytes failed", \
                (unsigned long long)(bytes))
/* ==== end src/core/macros.h ==== */

/* ==== begin src/cuda/system.h ==== */
/* cuda/system: system headers that only the GPU part needs: opening libraries, listing folders, keeping the locale. */
#include <locale.h>
#if !defined(_WIN32)
    #include <dirent.h>
    #include <dlfcn.h>
#endif
/* ==== end src/cuda/system.h ==== */

/* ==== begin src/quant/types.inc ==== */
/* quant/types: the one list of the types of tensors. Everything that is made for each of them is made from it: the
 * table of names, sizes and functions (types.c), the kernels' modules on the GPU (cuda/modules.c), and the tests.
 *
 * X(id, number, values, bytes, suffix): HYBRID_TYPE_id of api/quant.h, the number that GGUF has for it; the values of a
 * block, and its bytes; hyb_dequantize_suffix, hyb_quantize_suffix and, for blocks, struct hyb_block_suffix. The CPU
 * multiplies a type that has kernels of its own (cpu/int/select.c) with them, and any other by decoding rows of weights
 * (cpu/matmul.c); the GPU reads all of them by kernels/quant.cu. A new type stands last in its list;
 * .github/CONTRIBUTING.md says what else to touch. This file holds lists only: hybrid_cuda.h includes it once more. */
/* clang-format off */
#define HYB_FLOAT_TYPES(X) \
    X(F32,   0, 1, 4, f32) \
    X(F16,   1, 1, 2, f16) \
    X(BF16, 30, 1, 2, bf16)

#define HYB_BLOCK_TYPES(X) \
    X(Q4_0,  2,  32,  18, q4_0) \
    X(Q4_1,  3,  32,  20, q4_1) \
    X(Q5_0,  6,  32,  22, q5_0) \
    X(Q5_1,  7,  32,  24, q5_1) \
    X(Q8_0,  8,  32,  34, q8_0) \
    X(Q2_K, 10, 256,  84, q2_K) \
    X(Q3_K, 11, 256, 110, q3_K) \
    X(Q4_K, 12, 256, 144, q4_K) \
    X(Q5_K, 13, 256, 176, q5_K) \
    X(Q6_K, 14, 256, 210, q6_K) \
    X(IQ4_NL, 20, 32, 18, iq4_nl) \
    X(IQ4_XS, 23, 256, 136, iq4_xs)
/* clang-format on */

#define HYB_TYPES(X) HYB_FLOAT_TYPES(X) HYB_BLOCK_TYPES(X)
/* ==== end src/quant/types.inc ==== */

/* ==== begin src/compute/ops.inc ==== */
/* compute/ops: the one list of ops. Everything that is made for each of them is made from it: the type of a back end's
 * table and its filling, the calls, the enumeration and the names, the counters of a profile, and the tests
 * (tests/ops.h), which run every op on two back ends.
 *
 * OP(name): every back end has a function for it. PARTS(name): it stands for other ops, which do the same one after the
 * other (hyb_name_in_parts): a back end that does not do it in one go has NULL there. The structure of an op is
 * hyb_op_name, in ops/. A new op: .github/CONTRIBUTING.md says what to touch; it stands last, since what tests draw for
 * an op goes by its place in the list. This file holds lists only: hybrid_cuda.h includes it once more. */
#define HYB_OPS(OP, PARTS) \
    OP(embed) \
    OP(norm) \
    OP(matmul) \
    OP(rope_table) \
    OP(rope) \
    OP(kv_store) \
    PARTS(heads) \
    OP(attention) \
    OP(glu) \
    OP(route) \
    OP(experts) \
    OP(combine) \
    OP(add) \
    OP(scale) \
    OP(softcap) \
    OP(top_k) \
    OP(shift) \
    OP(wkv7) \
    OP(shortconv)

/* What training asks for as well: gradients, the loss, and the optimizer. A back end that cannot train has NULL for
 * each. */
#ifndef HYBRID_NO_TRAIN
#define HYB_TRAIN_OPS(OP) \
    OP(embed_back) \
    OP(norm_back) \
    OP(matmul_back_x) \
    OP(matmul_back_w) \
    OP(attention_back) \
    OP(glu_back) \
    OP(cross_entropy) \
    OP(squares) \
    OP(adamw) \
    OP(sgd) \
    OP(lerp) \
    OP(round) \
    OP(displace) \
    OP(gram) \
    OP(orthogonal) \
    OP(factors) \
    OP(deflate) \
    OP(shortconv_back) \
    OP(route_back) \
    OP(weigh) \
    OP(experts_back) \
    OP(shift_back) \
    OP(wkv7_back) \
    OP(rssm)
#else
#define HYB_TRAIN_OPS(OP)
#endif

/* What else a back end does, X(result, name, parameters):
 *   begin        the batch of the ops that follow
 *   pass_begin   the ops up to pass_end are the same, with the same addresses, for every batch of this shape
 *   pass_end     false: what was recorded cannot be run; call the ops again, without pass_begin
 *   copy         within the device
 *   zero         so many bytes
 *   write        host may change on return
 *   read         host is filled after sync
 *   rehearse     while on, ops and copies only make ready what they need, and touch nothing
 *   sync         waits; what failed since the last one is its result
 *   stream       a GPU's, on which it computes (a CUstream); NULL: it is the host
 *
 * Copies that go on beside the ops are in two lanes of their own, each in order; await alone orders lanes:
 *   lanes        makes both ready: before the first of the next three
 *   upload       host, of alloc_host, stays as it is until the lane is through
 *   download     to memory of alloc_host, which is filled when the lane is through
 *   await        what is put into `lane` from now on runs after all that is in `other` now; sync waits for ops alone */
/* clang-format off */
#define HYB_BACKEND_CALLS(X) \
    X(void,          begin,      (hyb_backend *be, const hyb_batch *batch)) \
    X(hyb_pass,      pass_begin, (hyb_backend *be)) \
    X(bool,          pass_end,   (hyb_backend *be)) \
    X(void,          copy,       (hyb_backend *be, void *dst, const void *src, size_t bytes)) \
    X(void,          zero,       (hyb_backend *be, void *dst, size_t bytes)) \
    X(void,          write,      (hyb_backend *be, void *dst, const void *host, size_t bytes)) \
    X(void,          read,       (hyb_backend *be, void *host, const void *src, size_t bytes)) \
    X(void,          rehearse,   (hyb_backend *be, bool on)) \
    X(hybrid_result, sync,       (hyb_backend *be, hybrid_error *error)) \
    X(void *,        stream,     (hyb_backend *be)) \
    X(hybrid_result, lanes,      (hyb_backend *be, hybrid_error *error)) \
    X(void,          upload,     (hyb_backend *be, void *dst, const void *host, size_t bytes)) \
    X(void,          download,   (hyb_backend *be, void *host, const void *src, size_t bytes)) \
    X(void,          await,      (hyb_backend *be, hyb_lane lane, hyb_lane other)) \
    X(void,          destroy,    (hyb_backend *be))
/* clang-format on */

/* What the CPU back end needs of an instruction set besides matrix products, X(name, parameters): row functions in the
 * order of NUMERICS.md. cpu/generic.c has them in scalar C, which is the reference; the others give the same bits.
 * Where an output may lie on an input, it is that input, value by value.
 *   norm         one group
 *   rope         one row
 *   glu          n values; up may be NULL, out may be either
 *   add          out = a + b; out may be either
 *   add_scaled   out = a + x * factor, each rounded; out may be a
 *   scale        out = x * factor; out may be x
 *   softcap      out = cap * tanh(x / cap); out may be x
 *   kv_row       one head's row, to the cache's type
 *   widen        y += t B^T for outputs r0 .. r1 of an adapter's B (hyb_matmul_low; r0 a multiple of HYB_LOW_PANEL), to
 *                y[i * y_stride + r - r0]
 *   attention    rows row0 .. row0 + n_rows of a run, query heads head0 .. head0 + n_heads of one kv head;
 *                n_rows * n_heads is at most HYB_ATTENTION_QUERIES. scratch: hyb_attention_bytes, aligned to 64
 *   shift, shortconv: columns at .. at + n of all rows of a run
 *   wkv7         one head of all rows of a run */
/* clang-format off */
#define HYB_CPU_KERNELS(X) \
    X(norm,       (const hyb_op_norm *op, const float *x, float *out)) \
    X(rope,       (const hyb_op_rope *op, int row)) \
    X(glu,        (hyb_act_kind act, const float *gate, const float *up, float *out, int64_t n)) \
    X(add,        (float *out, const float *a, const float *b, int64_t n)) \
    X(add_scaled, (float *out, const float *a, const float *x, float factor, int64_t n)) \
    X(scale,      (float *out, const float *x, float factor, int64_t n)) \
    X(softcap,    (float *out, const float *x, float cap, int64_t n)) \
    X(kv_row,     (hybrid_type type, const float *x, void *row, int n)) \
    X(widen,      (const hyb_tensor *b, const float *t, int n, float *y, int64_t y_stride, int64_t r0, int64_t r1)) \
    X(attention,  (const hyb_op_attention *op, const hyb_run *run, int row0, int n_rows, int head0, int n_heads, \
                   void *scratch)) \
    X(shift,      (const hyb_op_shift *op, const hyb_run *run, int64_t at, int64_t n)) \
    X(wkv7,       (const hyb_op_wkv7 *op, const hyb_run *run, int head)) \
    X(shortconv,  (const hyb_op_shortconv *op, const hyb_run *run, int64_t at, int64_t n))
/* clang-format on */

/* And for training:
 *   product       rows m0 .. m1, columns n0 .. n1 (n0 a multiple of HYB_PRODUCT_N) of a product; scratch:
 *                 HYB_PRODUCT_SCRATCH floats
 *   norm_back     one group; stats: its mean and its factor
 *   norm_back_w   columns at .. at + n of dw, over all groups in their order
 *   sum_rows      out = out + the sum of rows, n columns
 *   softmax_back  one row of scores and of their gradients; what it sees is low .. high of n; sink may be NULL
 *   glu_back      n values; up and dup may be NULL, dgate may be gate, and dup may be up
 *   cross_entropy one row
 *   squares       the sum of the squares of n values
 *   adamw, sgd, lerp, displace: n values from at on
 *   row_dot       the sum of x * y over n values
 *   shortconv_back, shift_back  columns at .. at + n of all runs of a batch
 *   wkv7_back     one head of all runs of a batch; scratch: hyb_wkv7_back_floats
 *   gram          the sums of at most HYB_GRAM values from at on */
/* clang-format off */
#ifndef HYBRID_NO_TRAIN
#define HYB_CPU_TRAIN_KERNELS(X) \
    X(product,       (const hyb_product_op *p, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float *scratch)) \
    X(norm_back,     (const hyb_op_norm_back *op, const float *x, const float *dy, const float *add, float *dx, \
                      float *stats)) \
    X(norm_back_w,   (const hyb_op_norm_back *op, int64_t at, int64_t n)) \
    X(sum_rows,      (const float *x, int64_t stride, int64_t n_rows, float *out, int64_t n)) \
    X(softmax_back,  (const hyb_op_attention_back *op, float *s, float *ds, float delta, int low, int high, int n, \
                      const float *sink, float *dsink)) \
    X(glu_back,      (hyb_act_kind act, const float *dout, const float *gate, const float *up, float *dgate, \
                      float *dup, int64_t n)) \
    X(cross_entropy, (const hyb_op_cross_entropy *op, int64_t row)) \
    X(squares,       (const float *x, int64_t n, float *sum)) \
    X(adamw,         (const hyb_op_adamw *op, int64_t at, int64_t n)) \
    X(sgd,           (const hyb_op_sgd *op, int64_t at, int64_t n)) \
    X(lerp,          (const hyb_op_lerp *op, int64_t at, int64_t n)) \
    X(displace,      (const hyb_op_displace *op, int64_t at, int64_t n)) \
    X(gram,          (const hyb_op_gram *op, int64_t at, int64_t n, float *sums)) \
    X(row_dot,       (const float *x, const float *y, int64_t n, float *sum)) \
    X(shortconv_back, (const hyb_op_shortconv_back *op, const hyb_batch *batch, int64_t at, int64_t n)) \
    X(shift_back,    (const hyb_op_shift_back *op, const hyb_batch *batch, int64_t at, int64_t n)) \
    X(wkv7_back,     (const hyb_op_wkv7_back *op, const hyb_batch *batch, int head, float *scratch))
#else
#define HYB_CPU_TRAIN_KERNELS(X)
#endif
/* clang-format on */
/* ==== end src/compute/ops.inc ==== */

HYB_TEPID_BEGIN

/* ==== begin src/cuda/abi.c ==== */
/* cuda/abi: what hybrid uses of the driver, NVRTC and cuBLAS, declared here: no CUDA header is needed to build, or ever
 * included.
 *
 * A list gives for each function: whether it is required (1) or may be missing in older versions (0), our name, the
 * name in the library (the plain names of many are older ABIs with 32-bit sizes: always take _v2), and the parameters.
 * Handles are void *, results and enums are int, CUdeviceptr is hyb_cu_ptr. The gate cuda_abi compares all of it with
 * the real headers where there is a toolkit. */

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
/* ==== end src/cuda/abi.c ==== */

/* ==== begin src/cuda/library.c ==== */
/* cuda/library: finds and opens a dynamic library by a list of names, in the places where users have CUDA.
 *
 * Order: the folder in HYBRID_CUDA_PATH; what the process has already loaded (a host with PyTorch or an engine inside
 * shares its copy with us); then name by name, newest first: the loader's own path, and the folders of toolkits and of
 * Python wheels. A library that was opened is never closed: the driver would not survive it, and to open it twice costs
 * nothing. */

enum { HYB_PATH_MAX = 512 };

typedef struct hyb_library {
    void *handle;
    char path[HYB_PATH_MAX]; /* full path where the system tells it, else the name */
    bool is_override;        /* found in HYBRID_CUDA_PATH */
} hyb_library;

/* The text of an environment variable, or NULL when it is absent or empty. */
static const char *hyb_environment(const char *name)
{
    const char *text = getenv(name);
    return text && *text ? text : NULL;
}

#if defined(_WIN32)
    #define HYB_SEPARATOR '\\'
static void *hyb_library_load(const char *path, bool only_if_loaded)
{
    if (only_if_loaded) return (void *)GetModuleHandleA(path);
    return (void *)LoadLibraryExA(path, NULL, strchr(path, '\\') ? LOAD_WITH_ALTERED_SEARCH_PATH : 0);
}
static bool hyb_library_symbol(const hyb_library *lib, const char *name, void *function)
{
    FARPROC address = GetProcAddress((HMODULE)lib->handle, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}
static void hyb_library_locate(hyb_library *lib, const char *symbol)
{
    char path[HYB_PATH_MAX];
    DWORD n = GetModuleFileNameA((HMODULE)lib->handle, path, sizeof path);
    HYB_UNUSED(symbol);
    if (n && n < sizeof path) memcpy(lib->path, path, n + 1);
}
#else
    #define HYB_SEPARATOR '/'
static void *hyb_library_load(const char *path, bool only_if_loaded)
{
    #if defined(RTLD_NOLOAD)
    return dlopen(path, RTLD_LAZY | RTLD_LOCAL | (only_if_loaded ? RTLD_NOLOAD : 0));
    #else
    return only_if_loaded ? NULL : dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    #endif
}
/* Stores the address of the function called name into *function, a pointer to a function pointer. */
static bool hyb_library_symbol(const hyb_library *lib, const char *name, void *function)
{
    void *address = dlsym(lib->handle, name);
    memcpy(function, &address, sizeof address);
    return address != NULL;
}
/* Finds where a library came from that was opened by its bare name: by dladdr, which -std=c99 hides but the process
 * has. */
static void hyb_library_locate(hyb_library *lib, const char *symbol)
{
    struct {
        const char *file;
        void *base;
        const char *name;
        void *address;
    } info = { NULL, NULL, NULL, NULL };
    int (*find)(const void *address, void *info) = NULL;
    void *self = dlopen(NULL, RTLD_LAZY), *address = dlsym(lib->handle, symbol),
         *function = self ? dlsym(self, "dladdr") : NULL;
    memcpy(&find, &function, sizeof function);
    if (address && find && find(address, &info) && info.file && strchr(info.file, '/') &&
        strlen(info.file) < sizeof lib->path)
        memcpy(lib->path, info.file, strlen(info.file) + 1);
    if (self) dlclose(self);
}
#endif

/* folder/file into path; false when it does not fit. */
static bool hyb_path_join(char path[HYB_PATH_MAX], const char *folder, const char *file)
{
    size_t n = strlen(folder);
    const char *between = n && (folder[n - 1] == '/' || folder[n - 1] == HYB_SEPARATOR) ? ""
                          : HYB_SEPARATOR == '/'                                        ? "/"
                                                                                        : "\\";
    int length = snprintf(path, HYB_PATH_MAX, "%s%s%s", folder, between, file);
    return length > 0 && length < HYB_PATH_MAX;
}

/* The folder of a path, with its last separator; "" for a bare name. */
static void hyb_path_folder(char folder[HYB_PATH_MAX], const char *path)
{
    size_t i, n = 0;
    for (i = 0; path[i] && i + 1 < HYB_PATH_MAX; i++)
        if (path[i] == '/' || path[i] == HYB_SEPARATOR) n = i + 1;
    memcpy(folder, path, n);
    folder[n] = 0;
}

/* ---- folders ----------------------------------------------------------------------------------------------------- */

/* Called with one folder after the other; returns true to stop. */
typedef bool (*hyb_folder_fn)(void *user, const char *folder);

static bool hyb_star_match(const char *name, const char *pattern, size_t n)
{
    const char *star = (const char *)memchr(pattern, '*', n);
    size_t head = (size_t)(star - pattern), tail = n - head - 1, length = strlen(name);
    return name[0] != '.' && length >= head + tail && !memcmp(name, pattern, head) &&
           !memcmp(name + length - tail, star + 1, tail);
}

/* cuda-9.2 comes after cuda-12.8, python3.9 after python3.11: longer is newer. */
static int hyb_star_compare(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b);
    return la != lb ? (la < lb ? -1 : 1) : strcmp(a, b);
}

/* The greatest name in folder that fits the pattern of n characters and is below `below` ("" = no limit). */
static bool hyb_folder_next(const char *folder, const char *pattern, size_t n, const char *below, char best[128])
{
    bool found = false;
#if defined(_WIN32)
    char all[HYB_PATH_MAX];
    WIN32_FIND_DATAA entry;
    HANDLE list = hyb_path_join(all, folder, "*") ? FindFirstFileA(all, &entry) : INVALID_HANDLE_VALUE;
    bool more = list != INVALID_HANDLE_VALUE;
    for (; more; more = FindNextFileA(list, &entry) != 0) {
        const char *name = entry.cFileName;
#else
    DIR *list = opendir(folder);
    struct dirent *entry;
    while (list && (entry = readdir(list)) != NULL) {
        const char *name = entry->d_name;
#endif
        if (strlen(name) >= 128 || !hyb_star_match(name, pattern, n)) continue;
        if (*below && hyb_star_compare(name, below) >= 0) continue;
        if (found && hyb_star_compare(name, best) <= 0) continue;
        memcpy(best, name, strlen(name) + 1);
        found = true;
    }
#if defined(_WIN32)
    if (list != INVALID_HANDLE_VALUE) FindClose(list);
#else
    if (list) closedir(list);
#endif
    return found;
}

/* Calls fn with every folder that a pattern stands for: each part of the path may hold one star. '/' separates, on
 * Windows too. */
static bool hyb_folder_expand(const char *pattern, hyb_folder_fn fn, void *user)
{
    const char *star = strchr(pattern, '*'), *part = star, *end = star;
    char folder[HYB_PATH_MAX], path[HYB_PATH_MAX], below[128] = "", name[128];
    if (!star) return fn(user, pattern);
    while (part > pattern && part[-1] != '/') part--;
    end += strcspn(end, "/");
    if ((size_t)(part - pattern) >= sizeof folder) return false;
    memcpy(folder, pattern, (size_t)(part - pattern));
    folder[part - pattern] = 0;
    while (hyb_folder_next(folder, part, (size_t)(end - part), below, name)) {
        int length = snprintf(path, sizeof path, "%s%s%s", folder, name, end);
        if (length > 0 && length < (int)sizeof path && hyb_folder_expand(path, fn, user)) return true;
        memcpy(below, name, sizeof below);
    }
    return false;
}

typedef struct hyb_cuda_place {
    const char *variable, *pattern;
} hyb_cuda_place;

/* All folders in which toolkits, distributions, Conda and Python wheels put the libraries of CUDA. Patterns that begin
 * with a variable are skipped where it is not set. */
static bool hyb_cuda_folders(hyb_folder_fn fn, void *user)
{
    static const hyb_cuda_place places[] = {
#if defined(_WIN32)
        { "CUDA_PATH", "/bin/x64" },
        { "CUDA_PATH", "/bin" },
        { "CUDA_HOME", "/bin/x64" },
        { "CUDA_HOME", "/bin" },
        { "ProgramFiles", "/NVIDIA GPU Computing Toolkit/CUDA/v*/bin/x64" },
        { "ProgramFiles", "/NVIDIA GPU Computing Toolkit/CUDA/v*/bin" },
        { "VIRTUAL_ENV", "/Lib/site-packages/nvidia/*/bin" },
        { "VIRTUAL_ENV", "/Lib/site-packages/nvidia/*/bin/x86_64" },
        { "CONDA_PREFIX", "/Library/bin" },
        { "CONDA_PREFIX", "/Lib/site-packages/nvidia/*/bin" },
        { "CONDA_PREFIX", "/Lib/site-packages/nvidia/*/bin/x86_64" },
        { "LOCALAPPDATA", "/Programs/Python/Python3*/Lib/site-packages/nvidia/*/bin" },
        { "LOCALAPPDATA", "/Programs/Python/Python3*/Lib/site-packages/nvidia/*/bin/x86_64" },
        { "APPDATA", "/Python/Python3*/site-packages/nvidia/*/bin" }
#else
        { "CUDA_PATH", "/lib64" },
        { "CUDA_PATH", "/targets/*/lib" },
        { "CUDA_PATH", "/lib" },
        { "CUDA_HOME", "/lib64" },
        { "CUDA_HOME", "/targets/*/lib" },
        { "CUDA_HOME", "/lib" },
        { NULL, "/usr/local/cuda/lib64" },
        { NULL, "/usr/local/cuda-*/lib64" },
        { NULL, "/usr/local/cuda-*/targets/*/lib" },
        { NULL, "/opt/cuda/lib64" },
        { NULL, "/opt/cuda-*/lib64" },
        { NULL, "/usr/lib/cuda/lib64" },
        { NULL, "/usr/lib/*-linux-gnu" },
        { NULL, "/usr/lib64" },
        { NULL, "/usr/lib/wsl/lib" },
        { NULL, "/run/opengl-driver/lib" },
        { "VIRTUAL_ENV", "/lib/python3*/site-packages/nvidia/*/lib" },
        { "CONDA_PREFIX", "/lib" },
        { "CONDA_PREFIX", "/targets/*/lib" },
        { "CONDA_PREFIX", "/lib/python3*/site-packages/nvidia/*/lib" },
        { "HOME", "/.local/lib/python3*/site-packages/nvidia/*/lib" },
        { NULL, "/usr/local/lib/python3*/*-packages/nvidia/*/lib" },
        { NULL, "/usr/lib/python3*/*-packages/nvidia/*/lib" }
#endif
    };
    char pattern[HYB_PATH_MAX];
    size_t i;
    for (i = 0; i < HYB_COUNT(places); i++) {
        const char *root = places[i].variable ? hyb_environment(places[i].variable) : "";
        int n = root ? snprintf(pattern, sizeof pattern, "%s%s", root, places[i].pattern) : 0;
        if (n > 0 && n < (int)sizeof pattern && hyb_folder_expand(pattern, fn, user)) return true;
    }
    return false;
}

/* ---- the search -------------------------------------------------------------------------------------------------- */

/* Looks at an opened library; returns true to take it, false to look for the next one. */
typedef bool (*hyb_library_fn)(void *user, hyb_library *lib);

typedef struct hyb_library_search {
    const char *name;
    const char *first; /* a library that must come from the same folder and be opened before, or NULL */
    hyb_library_fn accept;
    void *user;
    bool is_override;
} hyb_library_search;

static bool hyb_library_try(const hyb_library_search *search, const char *path, bool only_if_loaded)
{
    hyb_library lib;
    memset(&lib, 0, sizeof lib);
    if (strlen(path) >= sizeof lib.path || !(lib.handle = hyb_library_load(path, only_if_loaded))) return false;
    memcpy(lib.path, path, strlen(path) + 1);
    lib.is_override = search->is_override;
    return search->accept(search->user, &lib);
}

static bool hyb_library_in_folder(void *user, const char *folder)
{
    const hyb_library_search *search = (const hyb_library_search *)user;
    char path[HYB_PATH_MAX];
    if (strstr(folder, "/stubs")) return false; /* the toolkit's stub, to link with and not to run */
    if (search->first && hyb_path_join(path, folder, search->first)) hyb_library_load(path, false);
    return hyb_path_join(path, folder, search->name) && hyb_library_try(search, path, false);
}

/* Offers the libraries that have one of the names (the best first, NULL after the last) to accept, until it takes one.
 * firsts: NULL, or for each name what must be opened before it. only_override: HYBRID_CUDA_PATH and nothing else. */
static bool hyb_library_find(const char *const *names, const char *const *firsts, bool only_override,
                             hyb_library_fn accept, void *user)
{
    const char *override_folder = hyb_environment("HYBRID_CUDA_PATH");
    hyb_library_search search;
    int i;
    memset(&search, 0, sizeof search);
    search.accept = accept;
    search.user = user;
    search.is_override = true;
    for (i = 0; override_folder && names[i]; i++) {
        search.name = names[i];
        search.first = firsts ? firsts[i] : NULL;
        if (hyb_library_in_folder(&search, override_folder)) return true;
    }
    search.is_override = false;
    if (only_override) return false;
    for (i = 0; names[i]; i++)
        if (hyb_library_try(&search, names[i], true)) return true;
    for (i = 0; names[i]; i++) {
        search.name = names[i];
        search.first = firsts ? firsts[i] : NULL;
        if (hyb_library_try(&search, names[i], false) || hyb_cuda_folders(hyb_library_in_folder, &search)) return true;
    }
    return false;
}
/* ==== end src/cuda/library.c ==== */

/* ==== begin src/cuda/driver.c ==== */
/* cuda/driver: the driver's functions, its result codes in words, and the one message for a machine without CUDA. */

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
/* ==== end src/cuda/driver.c ==== */

/* ==== begin src/cuda/arena.c ==== */
/* cuda/arena: hands out parts of a few big blocks of address space: best fit, 256-byte alignment, neighbours joined
 * when freed. Pure bookkeeping: addresses are numbers, the blocks come from the caller. A part has a count of holders,
 * so that a view into it keeps it. */

enum { HYB_ARENA_ALIGN = 256 };

typedef struct hyb_range hyb_range;
struct hyb_range { /* ranges cover their blocks without gaps, in the order of addresses within a block */
    uint64_t at, size;
    unsigned holders; /* 0: free */
    bool starts_block;
    hyb_range *next, *previous;
};

typedef struct hyb_arena {
    hybrid_runtime *rt;
    hyb_range *first;
    uint64_t total, used, peak; /* bytes */
    unsigned n_blocks, n_used;
} hyb_arena;

static void hyb_arena_create(hyb_arena *arena, hybrid_runtime *rt)
{
    memset(arena, 0, sizeof *arena);
    arena->rt = rt;
}

/* Forgets everything; the blocks are the caller's to free. */
static void hyb_arena_destroy(hyb_arena *arena)
{
    hyb_range *r = arena->first, *next;
    for (; r; r = next) {
        next = r->next;
        hyb_free(arena->rt, r);
    }
    arena->first = NULL;
}

/* A new range after `after` (NULL: as the first). NULL when the host has no memory. */
static hyb_range *hyb_range_insert(hyb_arena *arena, hyb_range *after, uint64_t at, uint64_t size)
{
    hyb_range *r = (hyb_range *)hyb_calloc(arena->rt, 1, sizeof *r);
    if (!r) return NULL;
    r->at = at;
    r->size = size;
    r->previous = after;
    r->next = after ? after->next : arena->first;
    if (r->next) r->next->previous = r;
    if (after)
        after->next = r;
    else
        arena->first = r;
    return r;
}

static void hyb_range_remove(hyb_arena *arena, hyb_range *r)
{
    if (r->previous)
        r->previous->next = r->next;
    else
        arena->first = r->next;
    if (r->next) r->next->previous = r->previous;
    hyb_free(arena->rt, r);
}

/* The range that a range of the same block begins after, or NULL. */
static hyb_range *hyb_range_before(hyb_range *r) { return r->starts_block ? NULL : r->previous; }
static hyb_range *hyb_range_after(hyb_range *r) { return r->next && !r->next->starts_block ? r->next : NULL; }

/* Adds a block: at and size are multiples of the alignment. False when the host has no memory. */
static bool hyb_arena_add(hyb_arena *arena, uint64_t at, uint64_t size)
{
    hyb_range *r = hyb_range_insert(arena, NULL, at, size);
    if (!r) return false;
    r->starts_block = true;
    arena->total += size;
    arena->n_blocks++;
    return true;
}

static uint64_t hyb_arena_round(uint64_t size)
{
    return (HYB_MAX(size, 1) + HYB_ARENA_ALIGN - 1) / HYB_ARENA_ALIGN * HYB_ARENA_ALIGN;
}

/* HYBRID_OK and an address; HYBRID_ERROR_LIMIT: no block has so much in one piece; HYBRID_ERROR_MEMORY: the host has no
 * memory. */
static hybrid_result hyb_arena_take(hyb_arena *arena, uint64_t size, uint64_t *at)
{
    hyb_range *r, *best = NULL;
    if (size > UINT64_MAX - HYB_ARENA_ALIGN) return HYBRID_ERROR_LIMIT;
    size = hyb_arena_round(size);
    for (r = arena->first; r; r = r->next)
        if (!r->holders && r->size >= size && (!best || r->size < best->size)) best = r;
    if (!best) return HYBRID_ERROR_LIMIT;
    if (best->size > size) {
        if (!hyb_range_insert(arena, best, best->at + size, best->size - size)) return HYBRID_ERROR_MEMORY;
        best->size = size;
    }
    best->holders = 1;
    arena->n_used++;
    arena->used += size;
    arena->peak = HYB_MAX(arena->peak, arena->used);
    *at = best->at;
    return HYBRID_OK;
}

/* The part in use that an address lies in, or NULL. */
static hyb_range *hyb_arena_at(const hyb_arena *arena, uint64_t address)
{
    hyb_range *r = arena->first;
    while (r && !(r->holders && address >= r->at && address - r->at < r->size)) r = r->next;
    return r;
}

/* One more holder of the part around an address: a view. False when nothing is in use there. */
static bool hyb_arena_hold(hyb_arena *arena, uint64_t address)
{
    hyb_range *r = hyb_arena_at(arena, address);
    if (r) r->holders++;
    return r != NULL;
}

/* One holder less; with the last one the part is free. An address anywhere in the part will do. When its whole block is
 * free then, the block leaves the arena and its address goes to *block (else 0): the caller gives it back or adds it
 * again. */
static bool hyb_arena_free(hyb_arena *arena, uint64_t address, uint64_t *block)
{
    hyb_range *r = hyb_arena_at(arena, address), *other;
    *block = 0;
    if (!r) return false;
    if (--r->holders) return true;
    arena->n_used--;
    arena->used -= r->size;
    if ((other = hyb_range_after(r)) != NULL && !other->holders) {
        r->size += other->size;
        hyb_range_remove(arena, other);
    }
    if ((other = hyb_range_before(r)) != NULL && !other->holders) {
        other->size += r->size;
        hyb_range_remove(arena, r);
        r = other;
    }
    if (r->starts_block && !hyb_range_after(r)) {
        *block = r->at;
        arena->total -= r->size;
        arena->n_blocks--;
        hyb_range_remove(arena, r);
    }
    return true;
}
/* ==== end src/cuda/arena.c ==== */

/* ==== begin src/cuda/modules.c ==== */
/* cuda/modules: the programs that NVRTC compiles: which texts, with which -D, make which kernels. A module is compiled
 * when one of its kernels is first asked for, so modules are small: per quantized type one, from the same text. Those
 * of mixtures of experts are the texts of the other products with -DEXPERTS: experts_1 one by one, experts_8 and
 * experts_64 by tiles of so many rows, experts_gemm and experts_tensor for floats. Gradients are in the texts of their
 * ops, with -DBACK: a program that only runs a model never compiles them.
 *
 * A new module: a text (HYB_EMBED), an entry of the enumeration, a row of module_table.c, in the same order.
 * tests/nvrtc_check.py compiles all. */

static const char *const hyb_cuda_text_prelude[] = {
"/* prelude: the seam between kernels and the machine. Kernels are written over these functions and the CUDA built-ins\n"
" * alone; under NVRTC their bodies are PTX (no CUDA header is needed), the emulator of tests/emu brings its own. Lane\n"
" * numbers: t = lane % 4, g = lane / 4. */\n"
"#ifndef HYBRID_EMULATOR\n"
"\n"
"typedef unsigned short half_t; /* the bits of an IEEE half */\n"
"typedef unsigned short bf16_t; /* the upper half of a float */\n"
"typedef signed char i8;\n"
"typedef unsigned char u8;\n"
"typedef unsigned short u16;\n"
"typedef unsigned int u32;\n"
"typedef unsigned long long u64;\n"
"typedef long long i64;\n"
"\n"
"    #define SEAM __device__ __forceinline__\n"
"\n"
"/* ---- 16-bit floats, to nearest even ------------------------------------------------------------------------------ */\n"
"SEAM float h2f(half_t h)\n"
"{\n"
"    float f;\n"
"    asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(f) : \"h\"(h));\n"
"    return f;\n"
"}\n"
"SEAM half_t f2h(float f)\n"
"{\n"
"    half_t h;\n"
"    asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(f));\n"
"    return h;\n"
"}\n"
"SEAM float bf2f(bf16_t b) { return __uint_as_float((u32)b << 16); }\n"
"    #if __CUDA_ARCH__ >= 800\n"
"SEAM bf16_t f2bf(float f)\n"
"{\n"
"    bf16_t b;\n"
"    asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(b) : \"f\"(f));\n"
"    return b;\n"
"}\n"
"SEAM u32 f2h2(float lo, float hi)\n"
"{\n"
"    u32 r;\n"
"    asm(\"cvt.rn.f16x2.f32 %0, %1, %2;\" : \"=r\"(r) : \"f\"(hi), \"f\"(lo));\n"
"    return r;\n"
"}\n"
"SEAM u32 f2bf2(float lo, float hi)\n"
"{\n"
"    u32 r;\n"
"    asm(\"cvt.rn.bf16x2.f32 %0, %1, %2;\" : \"=r\"(r) : \"f\"(hi), \"f\"(lo));\n"
"    return r;\n"
"}\n"
"    #else\n"
"SEAM bf16_t f2bf(float f)\n"
"{\n"
"    u32 u = __float_as_uint(f);\n"
"    return (bf16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FFFu : (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);\n"
"}\n"
"SEAM u32 f2h2(float lo, float hi) { return (u32)f2h(lo) | (u32)f2h(hi) << 16; }\n"
"SEAM u32 f2bf2(float lo, float hi) { return (u32)f2bf(lo) | (u32)f2bf(hi) << 16; }\n"
"    #endif\n"
"\n"
"SEAM int dot4(int a, int b, int c) { return __dp4a(a, b, c); }\n"
"SEAM float fast_exp(float x)\n"
"{\n"
"    float y;\n"
"    asm(\"ex2.approx.ftz.f32 %0, %1;\" : \"=f\"(y) : \"f\"(x * 1.4426950408889634f));\n"
"    return y;\n"
"}\n"
"\n"
"/* ---- a warp, a block --------------------------------------------------------------------------------------------- */\n"
"SEAM float shfl_xor(float v, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, v, mask); }\n"
"SEAM int shfl_xor(int v, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, v, mask); }\n"
"SEAM float shfl(float v, int lane) { return __shfl_sync(0xFFFFFFFFu, v, lane); }\n"
"SEAM int shfl(int v, int lane) { return __shfl_sync(0xFFFFFFFFu, v, lane); }\n"
"SEAM void warp_sync() { __syncwarp(); }\n"
"SEAM void block_sync() { __syncthreads(); }\n"
"\n"
"    /* ---- tensor cores. A lane's share of m16n8k16: a0 = A[g][2t, 2t+1], a1 = A[g+8][..], a2 = A[g][2t+8, ..], a3 =\n"
"     * A[g+8][2t+8, ..]; b0 = B[2t, 2t+1][g], b1 = B[2t+8, ..][g]; d0, d1 = D[g][2t, 2t+1], d2, d3 = D[g+8][2t, 2t+1].\n"
"     * m16n8k32 of bytes: four for two values. ---- */\n"
"    #if __CUDA_ARCH__ >= 800\n"
"SEAM void mma_f16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    asm(\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3])\n"
"        : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1]));\n"
"}\n"
"SEAM void mma_bf16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    asm(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3])\n"
"        : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1]));\n"
"}\n"
"SEAM void mma_s8(int d[4], const u32 a[4], const u32 b[2])\n"
"{\n",
"    asm(\"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
"        : \"+r\"(d[0]), \"+r\"(d[1]), \"+r\"(d[2]), \"+r\"(d[3])\n"
"        : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1]));\n"
"}\n"
"    #else\n"
"SEAM void mma_f16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    asm(\"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3])\n"
"        : \"r\"(a[0]), \"r\"(a[1]), \"r\"(b[0]));\n"
"    asm(\"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3])\n"
"        : \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[1]));\n"
"}\n"
"/* No bf16 units before sm_80, and halves have not the range: rows and columns are gathered by shuffles and\n"
" * multiplied in float32. Slow, right. */\n"
"SEAM void mma_bf16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    int lane = (int)(threadIdx.x & 31u), row = lane & ~3, column = (lane & 3) * 8;\n"
"    for (int j = 0; j < 4; j++)\n"
"        for (int half = 0; half < 2; half++) {\n"
"            u32 low = (u32)shfl((int)a[2 * half], row + j), high = (u32)shfl((int)a[2 * half + 1], row + j);\n"
"            u32 left = (u32)shfl((int)b[half], column + j), right = (u32)shfl((int)b[half], column + 4 + j);\n"
"            for (int i = 0; i < 2; i++) {\n"
"                float l = bf2f((bf16_t)(left >> 16 * i)), r = bf2f((bf16_t)(right >> 16 * i));\n"
"                float p = bf2f((bf16_t)(low >> 16 * i)), q = bf2f((bf16_t)(high >> 16 * i));\n"
"                d[0] = fmaf(p, l, d[0]);\n"
"                d[1] = fmaf(p, r, d[1]);\n"
"                d[2] = fmaf(q, l, d[2]);\n"
"                d[3] = fmaf(q, r, d[3]);\n"
"            }\n"
"        }\n"
"}\n"
"SEAM void mma_s8_part(int *d, u32 a, u32 b)\n"
"{\n"
"    asm(\"mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};\"\n"
"        : \"+r\"(d[0]), \"+r\"(d[1])\n"
"        : \"r\"(a), \"r\"(b));\n"
"}\n"
"SEAM void mma_s8(int d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    mma_s8_part(d, a[0], b[0]);\n"
"    mma_s8_part(d + 2, a[1], b[0]);\n"
"    mma_s8_part(d, a[2], b[1]);\n"
"    mma_s8_part(d + 2, a[3], b[1]);\n"
"}\n"
"    #endif\n"
"\n"
"/* ---- shared memory ----------------------------------------------------------------------------------------------- */\n"
"SEAM u32 shared_address(const void *shared) { return (u32)__cvta_generic_to_shared(shared); }\n"
"\n"
"/* Matrices of 8 x 8 16-bit values; lane i gives the address of row i % 8 (16 bytes, 16-aligned) of matrix i / 8 (x2:\n"
" * lanes 0-15). */\n"
"SEAM void ldsm_x4(u32 r[4], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\"\n"
"                 : \"=r\"(r[0]), \"=r\"(r[1]), \"=r\"(r[2]), \"=r\"(r[3])\n"
"                 : \"r\"(shared_address(shared))\n"
"                 : \"memory\");\n"
"}\n"
"SEAM void ldsm_x4_trans(u32 r[4], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\"\n"
"                 : \"=r\"(r[0]), \"=r\"(r[1]), \"=r\"(r[2]), \"=r\"(r[3])\n"
"                 : \"r\"(shared_address(shared))\n"
"                 : \"memory\");\n"
"}\n"
"SEAM void ldsm_x2(u32 r[2], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\"\n"
"                 : \"=r\"(r[0]), \"=r\"(r[1])\n"
"                 : \"r\"(shared_address(shared))\n"
"                 : \"memory\");\n"
"}\n"
"SEAM void ldsm_x2_trans(u32 r[2], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\"\n"
"                 : \"=r\"(r[0]), \"=r\"(r[1])\n"
"                 : \"r\"(shared_address(shared))\n"
"                 : \"memory\");\n"
"}\n"
"\n",
"    /* 16 bytes from global to shared memory, both 16-aligned; zeros when !valid (the address is not read then, but must\n"
"     * be a pointer). They have arrived for the thread that asked after cp_wait<N>, N = the number of later cp_commit()s\n"
"     * that may still be under way. */\n"
"    #if __CUDA_ARCH__ >= 800\n"
"SEAM void cp_async16(void *shared, const void *global, bool valid)\n"
"{\n"
"    asm volatile(\"cp.async.cg.shared.global [%0], [%1], 16, %2;\" ::\"r\"(shared_address(shared)), \"l\"(global),\n"
"                 \"r\"(valid ? 16 : 0)\n"
"                 : \"memory\");\n"
"}\n"
"SEAM void cp_commit() { asm volatile(\"cp.async.commit_group;\" ::: \"memory\"); }\n"
"template <int N> SEAM void cp_wait() { asm volatile(\"cp.async.wait_group %0;\" ::\"n\"(N) : \"memory\"); }\n"
"    #else\n"
"SEAM void cp_async16(void *shared, const void *global, bool valid)\n"
"{\n"
"    uint4 v = make_uint4(0, 0, 0, 0);\n"
"    if (valid) v = *(const uint4 *)global;\n"
"    *(uint4 *)shared = v;\n"
"}\n"
"SEAM void cp_commit() {}\n"
"template <int N> SEAM void cp_wait() {}\n"
"    #endif\n"
"\n"
"/* 16 bytes of global memory, 16-aligned, that are read once: they shall not push others out of the first cache. */\n"
"SEAM uint4 load_stream(const void *global)\n"
"{\n"
"    uint4 v;\n"
"    asm(\"ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];\"\n"
"        : \"=r\"(v.x), \"=r\"(v.y), \"=r\"(v.z), \"=r\"(v.w)\n"
"        : \"l\"(global));\n"
"    return v;\n"
"}\n"
"\n"
"#endif /* HYBRID_EMULATOR */\n"
"\n"
"/* ---- over the seam, the same everywhere. All 32 lanes take part; every lane gets the result. --------------------- */\n"
"#define DEVICE __device__ __forceinline__\n"
"#define KERNEL extern \"C\" __global__ void\n"
"\n"
"DEVICE float warp_sum(float v)\n"
"{\n"
"    for (int mask = 16; mask > 0; mask >>= 1) v += shfl_xor(v, mask);\n"
"    return v;\n"
"}\n"
"DEVICE float warp_max(float v)\n"
"{\n"
"    for (int mask = 16; mask > 0; mask >>= 1) v = fmaxf(v, shfl_xor(v, mask));\n"
"    return v;\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_quant[] = {
"/* quant: the blocks of weights as the device reads them. TYPE (-D) is the number of the type; layouts: quant/blocks.c.\n"
" *\n"
" * Quantized types: a block has PIECES pieces of 32 values. A piece is two halves of 16 neighbouring values, value =\n"
" * s[half] * q - m[half], with q as bytes (never negative but for Q8_0), four in a word. Half h starts at value\n"
" * half_at(piece, h) of the block. In the types of 32 it is all simple; in super-blocks the two halves are those that\n"
" * share bytes (low and high nibbles), so that no byte is read for nothing.\n"
" *     decode_piece(block, piece, &p);   then  piece_value(p, i), i = 0..31: values half_at(piece, 0) + i, and\n"
" *     half_at(piece, 1) + i - 16\n"
" * The older types have a decode_piece each, and lines of their own in matbatch.cu. Every other type has its sizes and\n"
" * one function, decode_four, of which both are made (BY_FOURS; at the end).\n"
" * Floats: IS_FLOAT, float_at(row, i).\n"
" * Blocks may lie in global or shared memory at the alignment that a file gives them (BLOCK_ALIGN); nothing outside a\n"
" * block's row is read. */\n"
"#define TYPE_F32  0\n"
"#define TYPE_F16  1\n"
"#define TYPE_Q4_0 2\n"
"#define TYPE_Q4_1 3\n"
"#define TYPE_Q5_0 6\n"
"#define TYPE_Q5_1 7\n"
"#define TYPE_Q8_0 8\n"
"#define TYPE_Q2_K 10\n"
"#define TYPE_Q3_K 11\n"
"#define TYPE_Q4_K 12\n"
"#define TYPE_Q5_K 13\n"
"#define TYPE_Q6_K 14\n"
"#define TYPE_IQ4_NL 20\n"
"#define TYPE_IQ4_XS 23\n"
"#define TYPE_BF16 30\n"
"\n"
"#if TYPE == TYPE_F32 || TYPE == TYPE_F16 || TYPE == TYPE_BF16\n"
"    #define IS_FLOAT 1\n"
"#else\n"
"    #define IS_FLOAT 0\n"
"#endif\n"
"\n"
"#if TYPE == TYPE_F32\n"
"    #define BLOCK_BYTES 4\n"
"#elif TYPE == TYPE_F16 || TYPE == TYPE_BF16\n"
"    #define BLOCK_BYTES 2\n"
"#elif TYPE == TYPE_Q4_0\n"
"    #define BLOCK_BYTES 18\n"
"    #define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q4_1\n"
"    #define BLOCK_BYTES 20\n"
"    #define BLOCK_ALIGN 4\n"
"#elif TYPE == TYPE_Q5_0\n"
"    #define BLOCK_BYTES 22\n"
"    #define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q5_1\n"
"    #define BLOCK_BYTES 24\n"
"    #define BLOCK_ALIGN 8\n"
"#elif TYPE == TYPE_Q8_0\n"
"    #define BLOCK_BYTES 34\n"
"    #define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q2_K\n"
"    #define BLOCK_BYTES 84\n"
"    #define BLOCK_ALIGN 4\n"
"#elif TYPE == TYPE_Q3_K\n"
"    #define BLOCK_BYTES 110\n"
"    #define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q4_K\n"
"    #define BLOCK_BYTES 144\n"
"    #define BLOCK_ALIGN 16\n"
"#elif TYPE == TYPE_Q5_K\n"
"    #define BLOCK_BYTES 176\n"
"    #define BLOCK_ALIGN 16\n"
"#elif TYPE == TYPE_Q6_K\n"
"    #define BLOCK_BYTES 210\n"
"    #define BLOCK_ALIGN 2\n"
"/* By fours: also the values of a block (a multiple of 32), those that share s and m (16 or 32), whether m is ever not\n"
" * zero. BLOCK_ALIGN: the largest power of two that divides BLOCK_BYTES, and 16 at most. */\n"
"#elif TYPE == TYPE_IQ4_NL\n"
"    #define BLOCK_BYTES  18\n"
"    #define BLOCK_ALIGN  2\n"
"    #define BLOCK_VALUES 32\n"
"    #define SCALE_VALUES 32\n"
"    #define HAS_MIN      0\n"
"#elif TYPE == TYPE_IQ4_XS\n"
"    #define BLOCK_BYTES  136\n"
"    #define BLOCK_ALIGN  8\n"
"    #define BLOCK_VALUES 256\n"
"    #define SCALE_VALUES 32\n"
"    #define HAS_MIN      0\n"
"#else\n"
"    #error \"TYPE is not one of the types of weights\"\n"
"#endif\n"
"\n"
"#if IS_FLOAT\n"
"    #define BLOCK 1\n"
"DEVICE float float_at(const void *row, i64 i)\n"
"{\n"
"    #if TYPE == TYPE_F32\n"
"    return ((const float *)row)[i];\n"
"    #elif TYPE == TYPE_F16\n"
"    return h2f(((const half_t *)row)[i]);\n"
"    #else\n"
"    return bf2f(((const bf16_t *)row)[i]);\n"
"    #endif\n"
"}\n"
"\n"
"#else\n"
"    #ifdef BLOCK_VALUES\n"
"        #define BY_FOURS 1\n"
"        #define PIECES   (BLOCK_VALUES / 32)\n"
"    #else\n"
"        #define BY_FOURS     0\n"
"        #define PIECES       (TYPE >= TYPE_Q2_K ? 8 : 1)\n"
"        #define SCALE_VALUES (TYPE == TYPE_Q2_K || TYPE == TYPE_Q3_K || TYPE == TYPE_Q6_K ? 16 : 32)\n"
"        #define HAS_MIN      (TYPE != TYPE_Q8_0) /* m is not zero */\n"
"    #endif\n",
"    #define BLOCK     (32 * PIECES)\n"
"    /* both halves have the same s and m, and are neighbours */\n"
"    #define ONE_SCALE (PIECES == 1 && SCALE_VALUES == 32)\n"
"\n"
"struct piece {\n"
"    int w[8];\n"
"    float s[2], m[2];\n"
"};\n"
"\n"
"/* N words from p, which is aligned to ALIGN bytes. Aligned to two: the words around them, shifted; the last two bytes\n"
" * alone, so that nothing after the N words is read. */\n"
"template <int N, int ALIGN> DEVICE void load_words(const u8 *p, u32 *w)\n"
"{\n"
"    if constexpr (ALIGN == 16 && N == 4) {\n"
"        uint4 v = *(const uint4 *)p;\n"
"        w[0] = v.x;\n"
"        w[1] = v.y;\n"
"        w[2] = v.z;\n"
"        w[3] = v.w;\n"
"    } else if constexpr (ALIGN >= 8 && N % 2 == 0) {\n"
"        #pragma unroll\n"
"        for (int i = 0; i < N / 2; i++) {\n"
"            uint2 v = ((const uint2 *)p)[i];\n"
"            w[2 * i] = v.x;\n"
"            w[2 * i + 1] = v.y;\n"
"        }\n"
"    } else if constexpr (ALIGN >= 4) {\n"
"        #pragma unroll\n"
"        for (int i = 0; i < N; i++) w[i] = ((const u32 *)p)[i];\n"
"    } else {\n"
"        bool between = ((u64)p & 2) != 0;\n"
"        const u32 *words = (const u32 *)(p - (between ? 2 : 0));\n"
"        u32 v[N + 1], order = between ? 0x5432u : 0x3210u;\n"
"        #pragma unroll\n"
"        for (int i = 0; i < N; i++) v[i] = words[i];\n"
"        v[N] = between ? (u32)*(const u16 *)(p + 4 * N - 2) : 0u;\n"
"        #pragma unroll\n"
"        for (int i = 0; i < N; i++) w[i] = __byte_perm(v[i], v[i + 1], order);\n"
"    }\n"
"}\n"
"DEVICE float half_of(const u8 *p) { return h2f(*(const half_t *)p); }\n"
"\n"
"/* Bits 0-3 of `bits`, each as bit 4 of a byte. */\n"
"DEVICE u32 spread_fifth(u32 bits) { return ((bits & 15u) * 0x02040810u) & 0x10101010u; }\n"
"\n"
"    #if BY_FOURS\n"
"/* Four neighbouring values: s * q - m, q as signed bytes. */\n"
"struct four {\n"
"    u32 q;\n"
"    float s, m;\n"
"};\n"
"DEVICE four decode_four(const u8 *block, int at);\n"
"\n"
"DEVICE int half_at(int piece, int half) { return piece * 32 + half * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int piece_, piece *p)\n"
"{\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 8; j++) {\n"
"        four f = decode_four(block, 32 * piece_ + 4 * j);\n"
"        p->w[j] = (int)f.q;\n"
"        p->s[j >> 2] = f.s;\n"
"        p->m[j >> 2] = f.m;\n"
"    }\n"
"}\n"
"\n"
"    #elif PIECES == 1\n"
"DEVICE int half_at(int piece, int half) { return half * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int, piece *p)\n"
"{\n"
"        #if TYPE == TYPE_Q8_0\n"
"    load_words<8, 2>(block + 2, (u32 *)p->w);\n"
"    p->s[0] = p->s[1] = half_of(block);\n"
"    p->m[0] = p->m[1] = 0.0f;\n"
"        #else\n"
"    const int at_qs = BLOCK_BYTES - 16;\n"
"    u32 q[4];\n"
"            #if TYPE == TYPE_Q5_1\n"
"    load_words<4, 8>(block + at_qs, q);\n"
"            #elif TYPE == TYPE_Q4_1\n"
"    load_words<4, 4>(block + at_qs, q);\n"
"            #else\n"
"    load_words<4, 2>(block + at_qs, q);\n"
"            #endif\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        p->w[j] = (int)(q[j] & 0x0F0F0F0Fu);\n"
"        p->w[4 + j] = (int)(q[j] >> 4 & 0x0F0F0F0Fu);\n"
"    }\n"
"            #if TYPE == TYPE_Q5_0 || TYPE == TYPE_Q5_1\n"
"    u32 qh;\n"
"    load_words<1, TYPE == TYPE_Q5_0 ? 2 : 4>(block + at_qs - 4, &qh);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 8; j++) p->w[j] |= (int)spread_fifth(qh >> 4 * j);\n"
"            #endif\n"
"    float d = half_of(block);\n"
"    p->s[0] = p->s[1] = d;\n"
"            #if TYPE == TYPE_Q4_1 || TYPE == TYPE_Q5_1\n"
"    p->m[0] = p->m[1] = -half_of(block + 2);\n"
"            #else\n"
"    p->m[0] = p->m[1] = d * (TYPE == TYPE_Q4_0 ? 8.0f : 16.0f);\n"
"            #endif\n"
"        #endif\n"
"}\n"
"\n"
"    #elif TYPE == TYPE_Q4_K || TYPE == TYPE_Q5_K\n"
"/* A quarter of 64 values is two pieces: bytes 0-15 and 16-31 of its 32; a piece's halves are their low and their\n"
" * high nibbles. */\n",
"DEVICE int half_at(int piece, int half) { return (piece >> 1) * 64 + half * 32 + (piece & 1) * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int piece_, piece *p)\n"
"{\n"
"    int quarter = piece_ >> 1;\n"
"    u32 head[4], q[4]; /* d, dmin; 12 bytes of scales */\n"
"    load_words<4, 16>(block, head);\n"
"    load_words<4, 16>(block + BLOCK_BYTES - 128 + 16 * piece_, q);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        p->w[j] = (int)(q[j] & 0x0F0F0F0Fu);\n"
"        p->w[4 + j] = (int)(q[j] >> 4 & 0x0F0F0F0Fu);\n"
"    }\n"
"        #if TYPE == TYPE_Q5_K\n"
"    u32 h[4];\n"
"    load_words<4, 16>(block + 16 + 16 * (piece_ & 1), h);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        u32 two = h[j] >> 2 * quarter;\n"
"        p->w[j] |= (int)(two << 4 & 0x10101010u);\n"
"        p->w[4 + j] |= (int)(two << 3 & 0x10101010u);\n"
"    }\n"
"        #endif\n"
"    bool first = quarter < 2; /* sub-blocks 0-3, 4-7 */\n"
"    u32 sc = first ? head[1] & 0x3F3F3F3Fu : (head[3] & 0x0F0F0F0Fu) | (head[1] >> 2 & 0x30303030u);\n"
"    u32 mn = first ? head[2] & 0x3F3F3F3Fu : (head[3] >> 4 & 0x0F0F0F0Fu) | (head[2] >> 2 & 0x30303030u);\n"
"    sc >>= 16 * (quarter & 1);\n"
"    mn >>= 16 * (quarter & 1);\n"
"    float d = h2f((half_t)head[0]), dmin = h2f((half_t)(head[0] >> 16));\n"
"    p->s[0] = d * (float)(sc & 255u);\n"
"    p->s[1] = d * (float)(sc >> 8 & 255u);\n"
"    p->m[0] = dmin * (float)(mn & 255u);\n"
"    p->m[1] = dmin * (float)(mn >> 8 & 255u);\n"
"}\n"
"\n"
"    #elif TYPE == TYPE_Q6_K\n"
"/* A half of 128 values is four pieces, 16 bytes of ql each; a piece's halves are their low and high nibbles, 64\n"
" * values apart. */\n"
"DEVICE int half_at(int piece, int half) { return (piece >> 2) * 128 + half * 64 + (piece & 3) * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int piece_, piece *p)\n"
"{\n"
"    int part = piece_ >> 2, r = piece_ & 3;\n"
"    u32 q[4], h[4];\n"
"    load_words<4, 2>(block + 16 * piece_, q);\n"
"    load_words<4, 2>(block + 128 + 32 * part + 16 * (r & 1), h);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        u32 high = h[j] >> (r & 2); /* bits 0, 1: of the low nibble's value; 4, 5: of the high one's */\n"
"        p->w[j] = (int)((q[j] & 0x0F0F0F0Fu) | (high << 4 & 0x30303030u));\n"
"        p->w[4 + j] = (int)((q[j] >> 4 & 0x0F0F0F0Fu) | (high & 0x30303030u));\n"
"    }\n"
"    float d = half_of(block + 208);\n"
"    const i8 *sc = (const i8 *)block + 192 + 8 * part + r;\n"
"    p->s[0] = d * (float)sc[0];\n"
"    p->s[1] = d * (float)sc[4];\n"
"    p->m[0] = 32.0f * p->s[0];\n"
"    p->m[1] = 32.0f * p->s[1];\n"
"}\n"
"\n"
"    #else\n"
"/* Q2_K, Q3_K. A half of 128 values has 32 bytes in four planes of two bits. Piece: 16 of the bytes (side), two of\n"
" * the planes (pair). */\n"
"DEVICE int half_at(int piece, int half)\n"
"{\n"
"    return (piece >> 2) * 128 + ((piece >> 1 & 1) * 2 + half) * 32 + (piece & 1) * 16;\n"
"}\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int piece_, piece *p)\n"
"{\n"
"    /* sub-blocks */\n"
"    int part = piece_ >> 2, pair = piece_ >> 1 & 1, side = piece_ & 1, s0 = 8 * part + 4 * pair + side, s1 = s0 + 2;\n"
"    u32 q[4];\n"
"    load_words<4, BLOCK_ALIGN>(block + (TYPE == TYPE_Q2_K ? 16 : 32) + 32 * part + 16 * side, q);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        u32 two = q[j] >> 4 * pair;\n"
"        p->w[j] = (int)(two & 0x03030303u);\n"
"        p->w[4 + j] = (int)(two >> 2 & 0x03030303u);\n"
"    }\n"
"        #if TYPE == TYPE_Q2_K\n"
"    float d = half_of(block + 80), dmin = half_of(block + 82);\n"
"    u32 a = block[s0], b = block[s1];\n"
"    p->s[0] = d * (float)(a & 15u);\n"
"    p->s[1] = d * (float)(b & 15u);\n"
"    p->m[0] = dmin * (float)(a >> 4);\n"
"    p->m[1] = dmin * (float)(b >> 4);\n"
"        #else\n"
"    u32 h[4];\n"
"    load_words<4, 2>(block + 16 * side, h);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        u32 two = h[j] >> (4 * part + 2 * pair);\n",
"        p->w[j] |= (int)(two << 2 & 0x04040404u);\n"
"        p->w[4 + j] |= (int)(two << 1 & 0x04040404u);\n"
"    }\n"
"    const u8 *sc = block + 96; /* s / 8 is part; s / 4 is 2 part + pair; s0 % 8 + 2 = s1 % 8 */\n"
"    int a = (sc[s0 & 7] >> 4 * part & 15) | (sc[8 + (s0 & 3)] >> 2 * (2 * part + pair) & 3) << 4;\n"
"    int b = (sc[s1 & 7] >> 4 * part & 15) | (sc[8 + (s1 & 3)] >> 2 * (2 * part + pair) & 3) << 4;\n"
"    float d = half_of(block + 108);\n"
"    p->s[0] = d * (float)(a - 32);\n"
"    p->s[1] = d * (float)(b - 32);\n"
"    p->m[0] = 4.0f * p->s[0];\n"
"    p->m[1] = 4.0f * p->s[1];\n"
"        #endif\n"
"}\n"
"    #endif\n"
"\n"
"/* Value i (a constant, when unrolled) of a piece; rounded once. */\n"
"DEVICE float piece_value(const piece &p, int i)\n"
"{\n"
"    int byte = (int)((u32)p.w[i >> 2] << (24 - 8 * (i & 3))) >> 24;\n"
"    return fmaf(p.s[i >> 4], (float)byte, -p.m[i >> 4]);\n"
"}\n"
"\n"
"    /* ---- by fours: values at ... at + 3 of a block, at a multiple of 4 ---- */\n"
"\n"
"    #if TYPE == TYPE_IQ4_NL || TYPE == TYPE_IQ4_XS\n"
"/* Four places, each in the low half of a byte, as the bytes of the table (quant/iq4.c) that stand there. */\n"
"DEVICE u32 iq4_codes(u32 q)\n"
"{\n"
"    u32 pairs = q & 0x07070707u, low, high, is_high = (q >> 3 & 0x01010101u) * 255u;\n"
"    pairs |= pairs >> 4;\n"
"    u32 order = (pairs & 0xFFu) | (pairs >> 8 & 0xFF00u);\n"
"    low = __byte_perm(0xBFAD9881u, 0xF6EADDCFu, order);\n"
"    high = __byte_perm(0x26190D01u, 0x71594535u, order);\n"
"    return (low & ~is_high) | (high & is_high);\n"
"}\n"
"\n"
"DEVICE four decode_four(const u8 *block, int at)\n"
"{\n"
"    four f;\n"
"    u32 q;\n"
"        #if TYPE == TYPE_IQ4_NL\n"
"    load_words<1, 2>(block + 2 + (at & 15), &q);\n"
"    f.s = half_of(block);\n"
"        #else\n"
"    int sub = at >> 5; /* sub-block */\n"
"    load_words<1, 8>(block + 8 + 16 * sub + (at & 15), &q);\n"
"    int low = block[4 + (sub >> 1)] >> (sub & 1 ? 4 : 0) & 15, high = *(const u16 *)(block + 2) >> 2 * sub & 3;\n"
"    f.s = half_of(block) * (float)((low | high << 4) - 32);\n"
"        #endif\n"
"    f.q = iq4_codes(q >> (at & 16 ? 4 : 0) & 0x0F0F0F0Fu);\n"
"    f.m = 0.0f;\n"
"    return f;\n"
"}\n"
"    #endif\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_quantize[] = {
"/* quantize: activations into what the products of quantized weights read.\n"
" *\n"
" * Per row of k values (k % 32 == 0): q (k signed bytes), d (k / 32 scales; value = d * q), s (k / 16 sums d * sum(q) of\n"
" * 16 values each, for types whose blocks have an offset). Rows follow each other without gaps. One warp makes one\n"
" * block of 32; grid (ceil(k / 256), rows), 256 threads. */\n"
"/* a value's byte, its block's scale, its half block's sum */\n"
"struct eighth {\n"
"    int q;\n"
"    float d, s;\n"
"};\n"
"\n"
"DEVICE eighth to_8_bits(float v)\n"
"{\n"
"    /* as integers, a NaN is the largest: one makes the scale NaN, and so the results */\n"
"    int bits = __float_as_int(fabsf(v));\n"
"    for (int mask = 16; mask > 0; mask >>= 1) bits = max(bits, shfl_xor(bits, mask));\n"
"    float top = __int_as_float(bits), inverse = top > 1e-35f && top < 3e38f ? 127.0f / top : 0.0f;\n"
"    eighth r;\n"
"    r.q = inverse > 0.0f ? (int)rintf(v * inverse) : 0;\n"
"    r.d = top * (1.0f / 127.0f);\n"
"    int sum = r.q;\n"
"    for (int mask = 8; mask > 0; mask >>= 1) sum += shfl_xor(sum, mask);\n"
"    r.s = r.d * (float)sum;\n"
"    return r;\n"
"}\n"
"\n"
"KERNEL __launch_bounds__(256) quantize(const float *__restrict__ x, i64 x_stride, int k, i8 *__restrict__ q,\n"
"                                       float *__restrict__ d, float *__restrict__ s)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    i64 row = blockIdx.y;\n"
"    if (i >= k) return; /* whole warps: k is a multiple of 32 */\n"
"    eighth e = to_8_bits(x[row * x_stride + i]);\n"
"    q[row * k + i] = (i8)e.q;\n"
"    if ((i & 31) == 0) d[(row * k + i) >> 5] = e.d;\n"
"    if ((i & 15) == 0) s[(row * k + i) >> 4] = e.s;\n"
"}\n"
"\n"
"/* The same in the order in which matbatch.cu takes it: for each group of 8 rows, for each 32 values: 32 lanes' 8 bytes\n"
" * (lane 4 * row + t: values 4t .. 4t + 3 and 16 + 4t ..), 8 scales, 2 x 8 sums. v: value i of a row. */\n"
"DEVICE void store_tiles(float v, int row, int i, int k, i8 *q, float *d, float *s)\n"
"{\n"
"    int g = row & 7, half = i >> 4 & 1, t = i >> 2 & 3;\n"
"    eighth e = to_8_bits(v);\n"
"    i64 at = (i64)(row >> 3) * (k / 32) + (i >> 5);\n"
"    q[at * 256 + (g * 4 + t) * 8 + half * 4 + (i & 3)] = (i8)e.q;\n"
"    if ((i & 31) == 0) d[at * 8 + g] = e.d;\n"
"    if ((i & 15) == 0) s[at * 16 + half * 8 + g] = e.s;\n"
"}\n"
"\n"
"/* Rows from n on are zero. */\n"
"KERNEL __launch_bounds__(256) quantize_tiles(const float *__restrict__ x, i64 x_stride, int k, int n,\n"
"                                             i8 *__restrict__ q, float *__restrict__ d, float *__restrict__ s)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x), row = (int)blockIdx.y;\n"
"    if (i < k) store_tiles(row < n ? x[(i64)row * x_stride + i] : 0.0f, row, i, k, q, d, s);\n"
"}\n"
"\n"
"/* Rows in the order of experts.cu: place p has row order[p] / share, or zeros when that is -1. grid (at least\n"
" * total[1], ceil(k / 256)). */\n"
"KERNEL __launch_bounds__(256) quantize_sorted(const float *__restrict__ x, i64 x_stride, int k,\n"
"                                              const int *__restrict__ order, const int *__restrict__ total, int share,\n"
"                                              i8 *__restrict__ q, float *__restrict__ d, float *__restrict__ s)\n"
"{\n"
"    int i = (int)(blockIdx.y * 256 + threadIdx.x), at = (int)blockIdx.x;\n"
"    if (i >= k || at >= total[1]) return;\n"
"    int row = order[at];\n"
"    store_tiles(row >= 0 ? x[(i64)(row / share) * x_stride + i] : 0.0f, at, i, k, q, d, s);\n"
"}\n"
"\n"
"/* Rows for the half-precision product: out (rows, k_out), zeros from k to k_out (a multiple of 8). A finite value\n"
" * beyond the range of a half becomes the largest half, not infinity: such an activation is off by its excess then,\n"
" * but the rest of the row is right. */\n"
"KERNEL __launch_bounds__(256)\n"
"    to_half(const float *__restrict__ x, i64 x_stride, int k, half_t *__restrict__ out, int k_out)\n"
"{\n",
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    i64 row = blockIdx.y;\n"
"    if (i >= k_out) return;\n"
"    float v = i < k ? x[row * x_stride + i] : 0.0f;\n"
"    out[row * k_out + i] = f2h(fabsf(v) < 3.4e38f ? fminf(fmaxf(v, -65504.0f), 65504.0f) : v);\n"
"}\n"
"\n"
"/* The same for bf16, which has the range of a float. */\n"
"KERNEL __launch_bounds__(256)\n"
"    to_bf16(const float *__restrict__ x, i64 x_stride, int k, bf16_t *__restrict__ out, int k_out)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    i64 row = blockIdx.y;\n"
"    if (i < k_out) out[row * k_out + i] = i < k ? f2bf(x[row * x_stride + i]) : (bf16_t)0;\n"
"}\n"
"\n"
"/* y (n, out) = bias + add, either of which may be NULL, and add may be y: what a product by cuBLAS, which adds to y,\n"
" * begins with. grid (ceil(out / 256), n), 256 threads. */\n"
"KERNEL __launch_bounds__(256)\n"
"    begin_bias(const float *bias, const float *add, i64 add_stride, float *y, i64 y_stride, int out)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    if (i >= out) return;\n"
"    y[(i64)blockIdx.y * y_stride + i] = (bias ? bias[i] : 0.0f) + (add ? add[(i64)blockIdx.y * add_stride + i] : 0.0f);\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_matvec[] = {
"/* matvec: y (n, rows) = x (n, k) . W (rows, k)^T + bias, or y += that, for 1 to 8 rows of x: limited by the bytes of W,\n"
" * which are read once, straight from the blocks of the file.\n"
" *\n"
" * A warp has ROWS neighbouring rows of W at a time and walks along them in segments of SEGMENT values. Segments are\n"
" * copied to the warp's own shared memory as they lie in the file, in aligned units of 16 bytes (rows begin at any even\n"
" * address), STAGES - 1 of them ahead: the copies need no registers, so enough bytes are under way to fill the memory's\n"
" * latency, also from one row of W to the next. Warps share nothing.\n"
" *\n"
" * Quantized types: x as bytes, scales and sums of 16 (quantize.cu). A lane has one piece of 32 values of a segment: 8\n"
" * integer dot products of 4, then sum += s * d_x * (q . q_x) - m * s_x. One row of x is quantized by every block for\n"
" * itself, into dynamic shared memory, while its first segments are on their way: cheaper than one more launch. -DFAR: x\n"
" * has been quantized before, because k is large. Floats: x is float32, a lane has two groups of 16 bytes.\n"
" *\n"
" * Up to four matrices of one type and one k in a launch. Rows of x beyond n are computed as copies of the last and not\n"
" * stored. -DBATCH: the kernels for more than one row, which a program that answers one user may never need.\n"
" * -DEXPERTS: row r of y by matrix ids[r] of a pile of matrices, for r = blockIdx.y; `share` neighbouring rows of y read\n"
" * one row of x. The ids are read here, so that the host need not know them. */\n"
"#define WARPS 4\n"
"#define ROWS  2\n"
"/* of a multiprocessor, at least: the compiler may take as many registers (Q6_K: more of them save instructions) */\n"
"#define BLOCKS (TYPE == TYPE_Q6_K ? 1 : 4)\n"
"#if !IS_FLOAT && !defined(FAR)\n"
"    #define NEAR 1\n"
"#else\n"
"    #define NEAR 0\n"
"#endif\n"
"\n"
"/* w 16-aligned; bias, add may be NULL; next: bytes to the next expert's */\n"
"struct matrix {\n"
"    const u8 *w;\n"
"    const float *bias, *add;\n"
"    float *y;\n"
"    i64 add_stride, y_stride, next;\n"
"    int rows;\n"
"};\n"
"struct matrices {\n"
"    matrix m[4];\n"
"    int n;\n"
"};\n"
"\n"
"#if IS_FLOAT\n"
"    #define VALUES  (16 / BLOCK_BYTES) /* values in 16 bytes */\n"
"    #define SEGMENT (64 * VALUES)\n"
"#else\n"
"    #define SEGMENT 1024\n"
"#endif\n"
"#define SEGMENT_BYTES (SEGMENT / BLOCK * BLOCK_BYTES)\n"
"/* a segment begins up to 14 bytes after an aligned address */\n"
"#define WINDOW ((SEGMENT_BYTES + 14 + 15) / 16 * 16)\n"
"#define STAGES (SEGMENT_BYTES > 800 ? 3 : 4)\n"
"\n"
"struct operand {\n"
"    int k, n;\n"
"    i64 row_bytes;\n"
"    const void *x;\n"
"    i64 x_stride;\n"
"    const float *d, *s;\n"
"};\n"
"\n"
"/* Where a warp is: a segment of a group of ROWS rows of an expert's matrices (there is only expert 0 without\n"
" * EXPERTS). Kept up to date instead of computed, since addresses are what a warp spends most instructions on. */\n"
"struct place {\n"
"    int group, left; /* left: bytes of a row from here on */\n"
"    bool limited;    /* the end of the matrix is in these rows and not 16-aligned: */\n"
"    const u8 *limit;\n"
"    /* of each row's segment: what the lane copies first, 16-aligned; how far after lane 0's the segment begins */\n"
"    const u8 *from[ROWS];\n"
"    int phase[ROWS];\n"
"};\n"
"\n"
"DEVICE int groups_of(const matrix &m) { return (m.rows + ROWS - 1) / ROWS; }\n"
"\n"
"/* The matrix of a group, and the group within it. */\n"
"DEVICE const matrix &matrix_of(const matrices &ms, int *group)\n"
"{\n"
"    int i = 0;\n"
"    while (i < ms.n - 1 && *group >= groups_of(ms.m[i])) *group -= groups_of(ms.m[i++]);\n"
"    return ms.m[i];\n"
"}\n"
"\n"
"/* How far after an aligned address a row's segment begins. */\n"
"DEVICE int phase_of(const u8 *at)\n"
"{\n"
"#if !IS_FLOAT && BLOCK_ALIGN == 16\n"
"    (void)at;\n"
"    return 0;\n"
"#else\n"
"    return (int)((u64)at & 15);\n"
"#endif\n"
"}\n"
"\n"
"/* To the begin of a group; nothing beyond the last. */\n",
"DEVICE void seek(place *p, const matrices &ms, int n_groups, int group, i64 row_bytes, int expert, int lane)\n"
"{\n"
"    p->group = group;\n"
"    if (group >= n_groups) return;\n"
"    const matrix &m = matrix_of(ms, &group);\n"
"    p->left = (int)row_bytes;\n"
"    const u8 *w = m.w + expert * m.next;\n"
"    p->limit = w + (i64)m.rows * row_bytes;\n"
"    p->limited = ((u64)p->limit & 15) != 0 && (group + 1) * ROWS >= m.rows;\n"
"    #pragma unroll\n"
"    for (int r = 0; r < ROWS; r++) {\n"
"        const u8 *at = w + (i64)min(group * ROWS + r, m.rows - 1) * row_bytes;\n"
"        p->phase[r] = phase_of(at);\n"
"        p->from[r] = at - p->phase[r] + 16 * lane;\n"
"    }\n"
"}\n"
"\n"
"DEVICE void step(place *p, const matrices &ms, int n_groups, int warps, i64 row_bytes, int expert, int lane)\n"
"{\n"
"    p->left -= SEGMENT_BYTES;\n"
"    if (p->left <= 0) {\n"
"        seek(p, ms, n_groups, p->group + warps, row_bytes, expert, lane);\n"
"        return;\n"
"    }\n"
"    #pragma unroll\n"
"    for (int r = 0; r < ROWS; r++) {\n"
"        if (SEGMENT_BYTES % 16 == 0) {\n"
"            p->from[r] += SEGMENT_BYTES;\n"
"        } else {\n"
"            const u8 *at = p->from[r] + p->phase[r] + SEGMENT_BYTES;\n"
"            p->phase[r] = phase_of(at);\n"
"            p->from[r] = at - p->phase[r];\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"DEVICE void fetch(const place &p, u8 *stage, int lane)\n"
"{\n"
"    int bytes = min(p.left, SEGMENT_BYTES), units[ROWS];\n"
"    u8 *to = stage + 16 * lane;\n"
"    #pragma unroll\n"
"    for (int r = 0; r < ROWS; r++) units[r] = (p.phase[r] + bytes + 15) >> 4;\n"
"    if (p.limited) {\n"
"        #pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) {\n"
"            const u8 *last = p.from[r] + 16 * units[r] - 16; /* for lane 0, the last unit */\n"
"            if (last - 16 * lane + 16 <= p.limit) continue;\n"
"            units[r]--; /* W ends within it */\n"
"            if (lane < 8 && last - 14 * lane < p.limit)\n"
"                *(u16 *)(to + r * WINDOW + 16 * units[r] - 14 * lane) = *(const u16 *)(last - 14 * lane);\n"
"        }\n"
"    }\n"
"    #pragma unroll\n"
"    for (int r = 0; r < ROWS; r++)\n"
"        #pragma unroll\n"
"        for (int i = 0; i < (WINDOW / 16 + 31) / 32; i++)\n"
"            if (lane + 32 * i < units[r]) cp_async16(to + r * WINDOW + 512 * i, p.from[r] + 512 * i, true);\n"
"}\n"
"\n"
"#if IS_FLOAT\n"
"/* VALUES values at p, of which the first `there` exist; the others are 0. */\n"
"DEVICE void load_values(const u8 *p, int there, float *v)\n"
"{\n"
"    if (there >= VALUES && ((u64)p & 15) == 0) {\n"
"        uint4 u = *(const uint4 *)p;\n"
"        u32 w[4] = { u.x, u.y, u.z, u.w };\n"
"        #pragma unroll\n"
"        for (int i = 0; i < 4; i++) {\n"
"    #if TYPE == TYPE_F32\n"
"            v[i] = __uint_as_float(w[i]);\n"
"    #elif TYPE == TYPE_F16\n"
"            v[2 * i] = h2f((half_t)w[i]);\n"
"            v[2 * i + 1] = h2f((half_t)(w[i] >> 16));\n"
"    #else\n"
"            v[2 * i] = __uint_as_float(w[i] << 16);\n"
"            v[2 * i + 1] = __uint_as_float(w[i] & 0xFFFF0000u);\n"
"    #endif\n"
"        }\n"
"    } else {\n"
"        #pragma unroll\n"
"        for (int i = 0; i < VALUES; i++) v[i] = i < there ? float_at(p, i) : 0.0f;\n"
"    }\n"
"}\n"
"DEVICE void load_x(const float *p, int there, float *v)\n"
"{\n"
"    if (there >= VALUES && ((u64)p & 15) == 0) {\n"
"        #pragma unroll\n"
"        for (int i = 0; i < VALUES / 4; i++) {\n"
"            float4 u = ((const float4 *)p)[i];\n"
"            v[4 * i] = u.x;\n"
"            v[4 * i + 1] = u.y;\n"
"            v[4 * i + 2] = u.z;\n"
"            v[4 * i + 3] = u.w;\n"
"        }\n"
"    } else {\n"
"        #pragma unroll\n"
"        for (int i = 0; i < VALUES; i++) v[i] = i < there ? p[i] : 0.0f;\n"
"    }\n"
"}\n"
"\n"
"template <int N> DEVICE void consume(const operand &o, int segment, const u8 *const *row, int lane, float (*sum)[N])\n"
"{\n"
"    #pragma unroll\n"
"    for (int part = 0; part < 2; part++) {\n",
"        int at = (part * 32 + lane) * VALUES, there = o.k - segment * SEGMENT - at;\n"
"        if (there <= 0) continue;\n"
"        float w[ROWS][VALUES];\n"
"        #pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) load_values(row[r] + at * BLOCK_BYTES, there, w[r]);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < N; j++) {\n"
"            float x[VALUES];\n"
"            load_x((const float *)o.x + (i64)min(j, o.n - 1) * o.x_stride + segment * SEGMENT + at, there, x);\n"
"            #pragma unroll\n"
"            for (int r = 0; r < ROWS; r++)\n"
"                #pragma unroll\n"
"                for (int i = 0; i < VALUES; i++) sum[r][j] = fmaf(w[r][i], x[i], sum[r][j]);\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"#else\n"
"DEVICE int dot16(const int *w, uint4 x, int c)\n"
"{\n"
"    return dot4(w[3], (int)x.w, dot4(w[2], (int)x.z, dot4(w[1], (int)x.y, dot4(w[0], (int)x.x, c))));\n"
"}\n"
"\n"
"/* Where value `first` + half_at(half) of x is, first the start of a block. In shared memory the halves of every other\n"
" * four blocks of 32 change places: lanes that read at once read from different banks. */\n"
"DEVICE i64 place_of(i64 first, int at) { return first + (NEAR && ONE_SCALE ? at ^ (int)(first >> 3 & 16) : at); }\n"
"\n"
"template <int N> DEVICE void consume(const operand &o, int segment, const u8 *const *row, int lane, float (*sum)[N])\n"
"{\n"
"    int block = lane / PIECES, which = lane % PIECES, first = segment * SEGMENT + block * BLOCK;\n"
"    if (first >= o.k) return;\n"
"    piece p[ROWS];\n"
"    #pragma unroll\n"
"    for (int r = 0; r < ROWS; r++) decode_piece(row[r] + block * BLOCK_BYTES, which, &p[r]);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < N; j++) {\n"
"        i64 at = (i64)min(j, o.n - 1) * o.k + first, at0 = at + half_at(which, 0), at1 = at + half_at(which, 1);\n"
"        uint4 x0 = *(const uint4 *)((const i8 *)o.x + place_of(at, half_at(which, 0))),\n"
"              x1 = *(const uint4 *)((const i8 *)o.x + place_of(at, half_at(which, 1)));\n"
"    #if ONE_SCALE\n"
"        float d = o.d[at0 >> 5];\n"
"        #pragma unroll\n"
"        for (int r = 0; r < ROWS; r++)\n"
"            sum[r][j] = fmaf(p[r].s[0] * d, (float)dot16(p[r].w + 4, x1, dot16(p[r].w, x0, 0)), sum[r][j]);\n"
"        #if HAS_MIN\n"
"        float2 s = *(const float2 *)(o.s + (at0 >> 4));\n"
"        #pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) sum[r][j] = fmaf(-p[r].m[0], s.x + s.y, sum[r][j]);\n"
"        #endif\n"
"    #else\n"
"        float d0 = o.d[at0 >> 5], d1 = o.d[at1 >> 5], s0 = o.s[at0 >> 4], s1 = o.s[at1 >> 4];\n"
"        #pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) {\n"
"            sum[r][j] = fmaf(p[r].s[0] * d0, (float)dot16(p[r].w, x0, 0), fmaf(-p[r].m[0], s0, sum[r][j]));\n"
"            sum[r][j] = fmaf(p[r].s[1] * d1, (float)dot16(p[r].w + 4, x1, 0), fmaf(-p[r].m[1], s1, sum[r][j]));\n"
"        }\n"
"    #endif\n"
"    }\n"
"}\n"
"#endif\n"
"\n"
"#if NEAR\n"
"/* Values at, ... at + 3 of x, zeros beyond its end. */\n"
"DEVICE float4 load_four(const float *x, int at, int k)\n"
"{\n"
"    if (at >= k) return make_float4(0.0f, 0.0f, 0.0f, 0.0f);\n"
"    if (((u64)(x + at) & 15) == 0) return *(const float4 *)(x + at);\n"
"    return make_float4(x[at], x[at + 1], x[at + 2], x[at + 3]);\n"
"}\n"
"\n"
"/* Four values, of the block of 32 that eight lanes have, to bytes at `to`. All lanes take part. */\n"
"DEVICE void quantize_four(float4 values, int at, int k, u8 *to, float *s, float *d)\n"
"{\n"
"    float v[4] = { values.x, values.y, values.z, values.w };\n"
"    int bits = 0; /* of the largest: NaN is larger than all, see quantize.cu */\n"
"    #pragma unroll\n"
"    for (int i = 0; i < 4; i++) bits = max(bits, __float_as_int(fabsf(v[i])));\n"
"    #pragma unroll\n"
"    for (int mask = 4; mask > 0; mask >>= 1) bits = max(bits, shfl_xor(bits, mask));\n"
"    float top = __int_as_float(bits), inverse = top > 1e-35f && top < 3e38f ? 127.0f / top : 0.0f,\n"
"          scale = top * (1.0f / 127.0f);\n"
"    u32 word = 0;\n",
"    if (inverse > 0.0f) {\n"
"        #pragma unroll\n"
"        for (int i = 0; i < 4; i++) word |= ((u32)(int)rintf(v[i] * inverse) & 255u) << 8 * i;\n"
"    }\n"
"    int sum = dot4((int)word, 0x01010101, 0);\n"
"    sum += shfl_xor(sum, 2);\n"
"    sum += shfl_xor(sum, 1);\n"
"    if (at >= k) return;\n"
"    *(u32 *)(to + place_of(at & ~31, at & 31)) = word;\n"
"    if ((at & 15) == 0) s[at >> 4] = scale * (float)sum;\n"
"    if ((at & 31) == 0) d[at >> 5] = scale;\n"
"}\n"
"\n"
"/* x as bytes, scales and sums, at `to`. What the next turn needs is on its way during one: a turn takes about as long\n"
" * as a load, and what is unrolled here costs registers where the weights are multiplied. */\n"
"DEVICE void quantize_x(operand *o, u8 *to)\n"
"{\n"
"    const float *x = (const float *)o->x;\n"
"    float *s = (float *)(to + o->k), *d = s + o->k / 16;\n"
"    float4 next = load_four(x, 4 * (int)threadIdx.x, o->k);\n"
"    #pragma unroll 1\n"
"    for (int first = 0; first < o->k; first += 128 * WARPS) {\n"
"        int at = first + 4 * (int)threadIdx.x;\n"
"        float4 v = next;\n"
"        next = load_four(x, at + 128 * WARPS, o->k);\n"
"        quantize_four(v, at, o->k, to, s, d);\n"
"    }\n"
"    o->x = to;\n"
"    o->s = s;\n"
"    o->d = d;\n"
"    block_sync();\n"
"}\n"
"#endif\n"
"\n"
"/* The sums of all lanes; lane r * N + j stores y[first + j][row r]. */\n"
"template <int N> DEVICE void finish(const matrices &ms, int group, int first, int n, int lane, float (*sum)[N])\n"
"{\n"
"    const matrix &m = matrix_of(ms, &group);\n"
"    float mine = 0.0f;\n"
"    #pragma unroll\n"
"    for (int r = 0; r < ROWS; r++)\n"
"        #pragma unroll\n"
"        for (int j = 0; j < N; j++) {\n"
"            float v = warp_sum(sum[r][j]);\n"
"            if (lane == r * N + j) mine = v;\n"
"            sum[r][j] = 0.0f;\n"
"        }\n"
"    int row = group * ROWS + lane / N, j = lane % N;\n"
"    if (lane >= ROWS * N || row >= m.rows || j >= n) return;\n"
"    float *y = m.y + (i64)(first + j) * m.y_stride + row;\n"
"    if (m.bias) mine += m.bias[row];\n"
"    if (m.add) mine += m.add[(i64)(first + j) * m.add_stride + row];\n"
"    *y = mine;\n"
"}\n"
"\n"
"template <int N> DEVICE void matvec(const matrices &ms, operand o, int expert, int first, uint4 *memory)\n"
"{\n"
"    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, warps = (int)gridDim.x * WARPS, n_groups = 0,\n"
"        segment = 0, slot = 0;\n"
"    u8 *stages = (u8 *)(memory + warp * (STAGES * ROWS * WINDOW / 16));\n"
"    place now, ahead;\n"
"    float sum[ROWS][N];\n"
"    for (int i = 0; i < ms.n; i++) n_groups += groups_of(ms.m[i]);\n"
"    seek(&now, ms, n_groups, (int)blockIdx.x * WARPS + warp, o.row_bytes, expert, lane);\n"
"    ahead = now;\n"
"    #pragma unroll\n"
"    for (int r = 0; r < ROWS; r++)\n"
"        #pragma unroll\n"
"        for (int j = 0; j < N; j++) sum[r][j] = 0.0f;\n"
"    #pragma unroll 1\n"
"    for (int i = 0; i < STAGES - 1; i++) {\n"
"        if (ahead.group < n_groups) {\n"
"            fetch(ahead, stages + i * ROWS * WINDOW, lane);\n"
"            step(&ahead, ms, n_groups, warps, o.row_bytes, expert, lane);\n"
"        }\n"
"        cp_commit();\n"
"    }\n"
"#if NEAR\n"
"    extern __shared__ uint4 near_x[];\n"
"    quantize_x(&o, (u8 *)near_x);\n"
"#endif\n"
"    #pragma unroll 1\n"
"    while (now.group < n_groups) {\n"
"        cp_wait<STAGES - 2>();\n"
"        warp_sync(); /* all lanes' copies are there, and all are done with the slot before */\n"
"        if (ahead.group < n_groups) {\n"
"            fetch(ahead, stages + (slot == 0 ? STAGES - 1 : slot - 1) * ROWS * WINDOW, lane);\n"
"            step(&ahead, ms, n_groups, warps, o.row_bytes, expert, lane);\n"
"        }\n"
"        cp_commit();\n"
"        const u8 *row[ROWS];\n"
"        #pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) row[r] = stages + (slot * ROWS + r) * WINDOW + now.phase[r];\n"
"        consume<N>(o, segment, row, lane, sum);\n"
"        segment++;\n"
"        if (now.left <= SEGMENT_BYTES) {\n",
"            finish<N>(ms, now.group, first, o.n, lane, sum);\n"
"            segment = 0;\n"
"        }\n"
"        step(&now, ms, n_groups, warps, o.row_bytes, expert, lane);\n"
"        slot = slot == STAGES - 1 ? 0 : slot + 1;\n"
"    }\n"
"}\n"
"\n"
"#define MATVEC(N) \\\n"
"    KERNEL __launch_bounds__(32 * WARPS, BLOCKS) matvec_##N(const matrices ms, const operand o) \\\n"
"    { \\\n"
"        __shared__ uint4 memory[WARPS * STAGES * ROWS * WINDOW / 16]; \\\n"
"        matvec<N>(ms, o, 0, 0, memory); \\\n"
"    }\n"
"#ifdef EXPERTS\n"
"KERNEL __launch_bounds__(32 * WARPS, 4) matvec_experts(const matrices ms, operand o, const int *ids, int share)\n"
"{\n"
"    __shared__ uint4 memory[WARPS * STAGES * ROWS * WINDOW / 16];\n"
"    int row = (int)blockIdx.y, of_x = row / share;\n"
"    #if IS_FLOAT || NEAR\n"
"    o.x = (const float *)o.x + of_x * o.x_stride;\n"
"    #else\n"
"    o.x = (const i8 *)o.x + (i64)of_x * o.k;\n"
"    o.d += (i64)of_x * (o.k / 32);\n"
"    o.s += (i64)of_x * (o.k / 16);\n"
"    #endif\n"
"    matvec<1>(ms, o, ids[row], row, memory);\n"
"}\n"
"#elif defined(BATCH)\n"
"MATVEC(2)\n"
"MATVEC(4)\n"
"MATVEC(8)\n"
"#else\n"
"MATVEC(1)\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_matbatch[] = {
"/* matbatch: y (n, rows) = x (n, k) . W (rows, k)^T + bias, or y += that, for 2 to 64 rows of x and quantized W, read\n"
" * once from the blocks of the file and multiplied as bytes by tensor cores: few enough rows that the bytes of W are\n"
" * what takes time.\n"
" *\n"
" * A block of 4 warps makes TILES * 16 rows of W times up to GROUPS * 8 rows of x (-DGROUPS: 1, 4 or 8). Its warps take\n"
" * segments of k in turn, each through its own shared memory, two ahead, and add their sums at the end. A step is 32\n"
" * values of k: one m16n8k32 product per tile and group where a row of W has one scale for them, two where it has one\n"
" * for 16 (the other half is zero then). In its fragment lane (g, t) has rows g and g + 8 of W at values 4t ... 4t + 3\n"
" * and 16 + 4t ... 16 + 4t + 3, which in every format are the same bits of two words.\n"
" *\n"
" * -DEXPERTS: the rows of x that go through one expert's matrix are neighbours, padded to whole groups (experts.cu sorts\n"
" * them); a block takes a tile of them from a map, and its results to the rows from which they came. What of the grid\n"
" * lies after the map's end leaves at once.\n"
" *\n"
" * x comes in that order from quantize_tiles: per group of 8 rows and per 32 values of k: 32 lanes' 8 bytes; 8\n"
" * scales; 2 x 8 sums of 16 (d * sum). */\n"
"#define WARPS 4\n"
"#define TILES 1\n"
"/* at least so many on a multiprocessor: limits registers */\n"
"#define BLOCKS (GROUPS == 1 ? 4 : GROUPS == 4 && !TWO_SCALES ? 3 : 2)\n"
"/* of 32 values, a segment: 256 values, 128 where they take twice the room */\n"
"#define STEPS         (PIECES == 1 && BLOCK_BYTES > 30 ? 4 : 8)\n"
"#define STAGES        3\n"
"#define SEGMENT_BYTES (STEPS * 32 / BLOCK * BLOCK_BYTES)\n"
"/* of a row's window; odd, so that eight rows lie in different banks */\n"
"#define CHUNKS ((SEGMENT_BYTES + 14 + 15) / 16 | 1)\n"
"\n"
"#if TYPE == TYPE_Q4_0\n"
"    #define CENTER 8\n"
"#elif TYPE == TYPE_Q5_0\n"
"    #define CENTER 16\n"
"#elif TYPE == TYPE_Q6_K\n"
"    #define CENTER 32\n"
"#elif TYPE == TYPE_Q3_K\n"
"    #define CENTER 4\n"
"#elif !HAS_MIN\n"
"    #define CENTER 0\n"
"#endif /* none: m is the format's own */\n"
"\n"
"#define TWO_SCALES (SCALE_VALUES == 16)\n"
"\n"
"/* w 16-aligned; bias, add may be NULL; next: bytes to the next expert's */\n"
"struct matrix {\n"
"    const u8 *w;\n"
"    const float *bias, *add;\n"
"    float *y;\n"
"    i64 add_stride, y_stride, next;\n"
"    int rows;\n"
"};\n"
"struct matrices {\n"
"    matrix m[4];\n"
"    int n;\n"
"};\n"
"struct tiles {\n"
"    int k, n;\n"
"    i64 row_bytes;\n"
"    const uint2 *q;\n"
"    const float *d, *s;\n"
"};\n"
"\n"
"/* A lane's share of 32 values of one row of W: bytes 4t.. and 16 + 4t.., scales and offsets of both halves (of the\n"
" * whole in [0] when it has one). */\n"
"struct share {\n"
"    u32 q[2];\n"
"    float s[2], m[2];\n"
"};\n"
"\n"
"template <int ALIGN> DEVICE u32 word_at(const u8 *p)\n"
"{\n"
"    u32 w;\n"
"    load_words<1, ALIGN>(p, &w);\n"
"    return w;\n"
"}\n"
"\n"
"DEVICE share share_of(const u8 *block, int step, int t)\n"
"{\n"
"    share r;\n"
"    r.m[0] = r.m[1] = 0.0f;\n"
"#if BY_FOURS\n"
"    int first = 32 * (step % PIECES) + 4 * t;\n"
"    four a = decode_four(block, first), b = decode_four(block, first + 16);\n"
"    r.q[0] = a.q;\n"
"    r.q[1] = b.q;\n"
"    r.s[0] = a.s;\n"
"    r.s[1] = b.s;\n"
"    r.m[0] = a.m;\n"
"    r.m[1] = b.m;\n"
"#elif TYPE == TYPE_Q8_0\n"
"    r.q[0] = word_at<2>(block + 2 + 4 * t);\n"
"    r.q[1] = word_at<2>(block + 18 + 4 * t);\n"
"    r.s[0] = r.s[1] = half_of(block);\n"
"#elif PIECES == 1\n"
"    const int align = BLOCK_ALIGN < 4 ? 2 : 4;\n"
"    u32 q = word_at<align>(block + BLOCK_BYTES - 16 + 4 * t);\n"
"    r.q[0] = q & 0x0F0F0F0Fu;\n"
"    r.q[1] = q >> 4 & 0x0F0F0F0Fu;\n"
"    #if TYPE == TYPE_Q5_0 || TYPE == TYPE_Q5_1\n"
"    u32 qh = word_at<align>(block + BLOCK_BYTES - 20);\n"
"    r.q[0] |= spread_fifth(qh >> 4 * t);\n"
"    r.q[1] |= spread_fifth(qh >> (16 + 4 * t));\n"
"    #endif\n"
"    r.s[0] = r.s[1] = half_of(block);\n",
"    #if TYPE == TYPE_Q4_1 || TYPE == TYPE_Q5_1\n"
"    r.m[0] = -half_of(block + 2);\n"
"    #endif\n"
"#elif TYPE == TYPE_Q4_K || TYPE == TYPE_Q5_K\n"
"    const u32 *head = (const u32 *)block, *qs = (const u32 *)(block + BLOCK_BYTES - 128) + 8 * (step >> 1);\n"
"    int shift = 4 * (step & 1), at = 8 * (step & 3);\n"
"    r.q[0] = qs[t] >> shift & 0x0F0F0F0Fu;\n"
"    r.q[1] = qs[4 + t] >> shift & 0x0F0F0F0Fu;\n"
"    #if TYPE == TYPE_Q5_K\n"
"    const u32 *qh = head + 4;\n"
"    r.q[0] |= qh[t] >> step << 4 & 0x10101010u;\n"
"    r.q[1] |= qh[4 + t] >> step << 4 & 0x10101010u;\n"
"    #endif\n"
"    bool first = step < 4;\n"
"    u32 sc = first ? head[1] >> at & 63u : (head[3] >> at & 15u) | (head[1] >> at >> 2 & 48u);\n"
"    u32 mn = first ? head[2] >> at & 63u : (head[3] >> at >> 4 & 15u) | (head[2] >> at >> 2 & 48u);\n"
"    r.s[0] = r.s[1] = h2f((half_t)head[0]) * (float)sc;\n"
"    r.m[0] = h2f((half_t)(head[0] >> 16)) * (float)mn;\n"
"#elif TYPE == TYPE_Q6_K\n"
"    const u8 *ql = block + 64 * (step >> 2) + 32 * (step & 1) + 4 * t, *qh = block + 128 + 32 * (step >> 2) + 4 * t;\n"
"    int shift = 2 * (step & 2), high = 2 * (step & 3);\n"
"    r.q[0] = (word_at<2>(ql) >> shift & 0x0F0F0F0Fu) | (word_at<2>(qh) >> high << 4 & 0x30303030u);\n"
"    r.q[1] = (word_at<2>(ql + 16) >> shift & 0x0F0F0F0Fu) | (word_at<2>(qh + 16) >> high << 4 & 0x30303030u);\n"
"    float d = half_of(block + 208);\n"
"    const i8 *sc = (const i8 *)block + 192 + 2 * step;\n"
"    r.s[0] = d * (float)sc[0];\n"
"    r.s[1] = d * (float)sc[1];\n"
"#else\n"
"    const u8 *qs = block + (TYPE == TYPE_Q2_K ? 16 : 32) + 32 * (step >> 2) + 4 * t;\n"
"    int shift = 2 * (step & 3);\n"
"    r.q[0] = word_at<BLOCK_ALIGN>(qs) >> shift & 0x03030303u;\n"
"    r.q[1] = word_at<BLOCK_ALIGN>(qs + 16) >> shift & 0x03030303u;\n"
"    #if TYPE == TYPE_Q2_K\n"
"    float d = half_of(block + 80), dmin = half_of(block + 82);\n"
"    u32 a = block[2 * step], b = block[2 * step + 1];\n"
"    r.s[0] = d * (float)(a & 15u);\n"
"    r.s[1] = d * (float)(b & 15u);\n"
"    r.m[0] = dmin * (float)(a >> 4);\n"
"    r.m[1] = dmin * (float)(b >> 4);\n"
"    #else\n"
"    r.q[0] |= word_at<2>(block + 4 * t) >> step << 2 & 0x04040404u;\n"
"    r.q[1] |= word_at<2>(block + 16 + 4 * t) >> step << 2 & 0x04040404u;\n"
"    /* sub-blocks 2 step and 2 step + 1 */\n"
"    const u8 *sc = block + 96 + (2 * step & 7), *top = block + 104 + (2 * step & 3);\n"
"    int low = 4 * (step >> 2), high = 2 * (step >> 1);\n"
"    float d = half_of(block + 108);\n"
"    r.s[0] = d * (float)((int)((sc[0] >> low & 15) | (top[0] >> high & 3) << 4) - 32);\n"
"    r.s[1] = d * (float)((int)((sc[1] >> low & 15) | (top[1] >> high & 3) << 4) - 32);\n"
"    #endif\n"
"#endif\n"
"    return r;\n"
"}\n"
"\n"
"/* The window of a lane's row (lane / 2 of the tile) at a segment; two lanes copy a row. */\n"
"DEVICE void fetch_row(const u8 *row, const u8 *limit, i64 row_bytes, int segment, uint4 *to, int odd)\n"
"{\n"
"    const u8 *begin = row + (i64)segment * SEGMENT_BYTES, *first = begin - ((u64)begin & 15);\n"
"    const u8 *end = (i64)(segment + 1) * SEGMENT_BYTES < row_bytes ? begin + SEGMENT_BYTES : row + row_bytes;\n"
"    int units = (int)(end - first + 15) >> 4, whole = first + 16 * units <= limit ? units : units - 1;\n"
"    #pragma unroll\n"
"    for (int i = 0; i < (CHUNKS + 1) / 2; i++)\n"
"        if (2 * i + odd < whole) cp_async16(to + 2 * i + odd, first + 16 * (2 * i + odd), true);\n"
"    if (whole < units && odd == 0) /* W ends within the last unit */\n"
"        #pragma unroll 1\n"
"        for (int b = 0; b < 16 && first + 16 * whole + b < limit; b += 2)\n"
"            *(u16 *)((u8 *)(to + whole) + b) = *(const u16 *)(first + 16 * whole + b);\n"
"}\n"
"\n"
"/* sum += s * d_x * (q . q_x) - m * s_x for the four results of a lane: rows g and g + 8 of W, rows 2t and 2t + 1 of\n"
" * x. */\n"
"DEVICE void add_product(float sum[4], const int dot[4], float s_low, float s_high, float m_low, float m_high, float2 d,\n"
"                        float2 s)\n"
"{\n",
"#ifdef CENTER\n"
"    sum[0] = fmaf(s_low, fmaf(d.x, (float)dot[0], -(float)CENTER * s.x), sum[0]);\n"
"    sum[1] = fmaf(s_low, fmaf(d.y, (float)dot[1], -(float)CENTER * s.y), sum[1]);\n"
"    sum[2] = fmaf(s_high, fmaf(d.x, (float)dot[2], -(float)CENTER * s.x), sum[2]);\n"
"    sum[3] = fmaf(s_high, fmaf(d.y, (float)dot[3], -(float)CENTER * s.y), sum[3]);\n"
"#else\n"
"    sum[0] = fmaf(s_low, d.x * (float)dot[0], fmaf(-m_low, s.x, sum[0]));\n"
"    sum[1] = fmaf(s_low, d.y * (float)dot[1], fmaf(-m_low, s.y, sum[1]));\n"
"    sum[2] = fmaf(s_high, d.x * (float)dot[2], fmaf(-m_high, s.x, sum[2]));\n"
"    sum[3] = fmaf(s_high, d.y * (float)dot[3], fmaf(-m_high, s.y, sum[3]));\n"
"#endif\n"
"}\n"
"\n"
"/* One step: 32 values of k. block: this lane's rows g and g + 8 of each tile, at its block. */\n"
"DEVICE void multiply(const tiles &x, i64 step_of_row, int step, const u8 *(*block)[2], int lane,\n"
"                     float (*sum)[GROUPS][4])\n"
"{\n"
"    int t = lane & 3, n_steps = x.k / 32;\n"
"    share w[TILES][2];\n"
"    #pragma unroll\n"
"    for (int i = 0; i < TILES; i++) {\n"
"        w[i][0] = share_of(block[i][0], step, t);\n"
"        w[i][1] = share_of(block[i][1], step, t);\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < GROUPS; j++) {\n"
"        if (j > 0 && 8 * j >= x.n) break;\n"
"        i64 at = (i64)j * n_steps + step_of_row;\n"
"        uint2 q = x.q[at * 32 + lane];\n"
"        u32 b[2] = { q.x, q.y };\n"
"        float2 d = *(const float2 *)(x.d + at * 8 + 2 * t), s0 = make_float2(0.0f, 0.0f), s1 = s0;\n"
"#if HAS_MIN\n"
"        s0 = *(const float2 *)(x.s + at * 16 + 2 * t);\n"
"        s1 = *(const float2 *)(x.s + at * 16 + 8 + 2 * t);\n"
"#endif\n"
"        #pragma unroll\n"
"        for (int i = 0; i < TILES; i++) {\n"
"            const share &lo = w[i][0], &hi = w[i][1];\n"
"            int dot[4] = { 0, 0, 0, 0 };\n"
"#if TWO_SCALES\n"
"            u32 a[4] = { lo.q[0], hi.q[0], 0u, 0u }, c[4] = { 0u, 0u, lo.q[1], hi.q[1] };\n"
"            int dot1[4] = { 0, 0, 0, 0 };\n"
"            mma_s8(dot, a, b);\n"
"            mma_s8(dot1, c, b);\n"
"            add_product(sum[i][j], dot, lo.s[0], hi.s[0], lo.m[0], hi.m[0], d, s0);\n"
"            add_product(sum[i][j], dot1, lo.s[1], hi.s[1], lo.m[1], hi.m[1], d, s1);\n"
"#else\n"
"            u32 a[4] = { lo.q[0], hi.q[0], lo.q[1], hi.q[1] };\n"
"            mma_s8(dot, a, b);\n"
"            add_product(sum[i][j], dot, lo.s[0], hi.s[0], lo.m[0], hi.m[0], d, make_float2(s0.x + s1.x, s0.y + s1.y));\n"
"#endif\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"/* row_of: where the results of row j of x go; NULL: to row j. */\n"
"DEVICE void matbatch_tile(const matrices &ms, const tiles &x, int expert, const int *row_of, uint4 *memory)\n"
"{\n"
"    const int ROWS = 16 * TILES, STAGE = ROWS * CHUNKS; /* rows of W of a block; 16-byte units of a warp's stage */\n"
"    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, g = lane >> 2, tile = (int)blockIdx.x, which = 0;\n"
"    while (which < ms.n - 1 && tile >= (ms.m[which].rows + ROWS - 1) / ROWS)\n"
"        tile -= (ms.m[which++].rows + ROWS - 1) / ROWS;\n"
"    const matrix &m = ms.m[which];\n"
"    const u8 *w = m.w + expert * m.next, *limit = w + (i64)m.rows * x.row_bytes, *from[TILES];\n"
"    int first = tile * ROWS, n_segments = (x.k / 32 + STEPS - 1) / STEPS;\n"
"    uint4 *stages = memory + warp * STAGES * STAGE;\n"
"    float sum[TILES][GROUPS][4];\n"
"    int phase[TILES][2]; /* of rows g and g + 8: where they begin within their window, at segment 0 */\n"
"    #pragma unroll\n"
"    for (int i = 0; i < TILES; i++) {\n"
"        from[i] = w + (i64)min(first + 16 * i + (lane >> 1), m.rows - 1) * x.row_bytes;\n"
"        #pragma unroll\n"
"        for (int h = 0; h < 2; h++)\n"
"            phase[i][h] = (int)((u64)(w + (i64)min(first + 16 * i + 8 * h + g, m.rows - 1) * x.row_bytes) & 15);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < GROUPS; j++)\n"
"            #pragma unroll\n",
"            for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;\n"
"    }\n"
"    for (int s = 0; s < STAGES - 1; s++) {\n"
"        if (warp + s * WARPS < n_segments)\n"
"            #pragma unroll\n"
"            for (int i = 0; i < TILES; i++)\n"
"                fetch_row(from[i], limit, x.row_bytes, warp + s * WARPS,\n"
"                          stages + s * STAGE + (16 * i + (lane >> 1)) * CHUNKS, lane & 1);\n"
"        cp_commit();\n"
"    }\n"
"    int slot = 0;\n"
"    for (int segment = warp; segment < n_segments; segment += WARPS) {\n"
"        cp_wait<STAGES - 2>();\n"
"        warp_sync(); /* all lanes' copies are there, and all are done with the slot before */\n"
"        int free_slot = slot == 0 ? STAGES - 1 : slot - 1, ahead = segment + (STAGES - 1) * WARPS;\n"
"        if (ahead < n_segments)\n"
"            #pragma unroll\n"
"            for (int i = 0; i < TILES; i++)\n"
"                fetch_row(from[i], limit, x.row_bytes, ahead,\n"
"                          stages + free_slot * STAGE + (16 * i + (lane >> 1)) * CHUNKS, lane & 1);\n"
"        cp_commit();\n"
"        const u8 *row[TILES][2];\n"
"        #pragma unroll\n"
"        for (int i = 0; i < TILES; i++)\n"
"            #pragma unroll\n"
"            for (int h = 0; h < 2; h++)\n"
"                row[i][h] = (const u8 *)(stages + slot * STAGE + (16 * i + 8 * h + g) * CHUNKS) +\n"
"                            ((phase[i][h] + (int)((i64)segment * SEGMENT_BYTES & 15)) & 15);\n"
"        int steps = min(STEPS, x.k / 32 - segment * STEPS);\n"
"#if PIECES > 1\n"
"#pragma unroll 2\n"
"#endif\n"
"        for (int step = 0; step < steps; step++) {\n"
"            const u8 *block[TILES][2];\n"
"            #pragma unroll\n"
"            for (int i = 0; i < TILES; i++)\n"
"                #pragma unroll\n"
"                for (int h = 0; h < 2; h++)\n"
"                    block[i][h] = row[i][h] + (PIECES == 8 ? 0 : step / PIECES * BLOCK_BYTES);\n"
"            multiply(x, (i64)segment * STEPS + step, step, block, lane, sum);\n"
"        }\n"
"        slot = slot == STAGES - 1 ? 0 : slot + 1;\n"
"    }\n"
"    cp_wait<0>();\n"
"    block_sync(); /* stages are free: the warps' sums go there, (GROUPS * 8, ROWS) a warp */\n"
"    float *all = (float *)memory;\n"
"    #pragma unroll\n"
"    for (int i = 0; i < TILES; i++)\n"
"        #pragma unroll\n"
"        for (int j = 0; j < GROUPS; j++)\n"
"            #pragma unroll\n"
"            for (int e = 0; e < 4; e++)\n"
"                all[(warp * GROUPS * 8 + j * 8 + (lane & 3) * 2 + (e & 1)) * (ROWS + 1) + 16 * i + g + (e >> 1) * 8] =\n"
"                    sum[i][j][e];\n"
"    block_sync();\n"
"    for (int id = (int)threadIdx.x; id < GROUPS * 8 * ROWS; id += 32 * WARPS) {\n"
"        int r = id % ROWS, j = id / ROWS;\n"
"        if (first + r >= m.rows || j >= x.n) continue;\n"
"        float v = 0.0f;\n"
"        for (int part = 0; part < WARPS; part++) v += all[(part * GROUPS * 8 + j) * (ROWS + 1) + r];\n"
"        const i64 row = row_of ? row_of[j] : j;\n"
"        if (m.bias) v += m.bias[first + r];\n"
"        if (m.add) v += m.add[row * m.add_stride + first + r];\n"
"        m.y[row * m.y_stride + first + r] = v;\n"
"    }\n"
"}\n"
"\n"
"#define STAGES_16 (WARPS * STAGES * TILES * 16 * CHUNKS)\n"
"#define SUMS_16   ((WARPS * GROUPS * 8 * (16 * TILES + 1) + 3) / 4)\n"
"\n"
"#ifdef EXPERTS\n"
"/* of experts.cu */\n"
"struct sorted {\n"
"    const int4 *map;\n"
"    const int *order, *total;\n"
"    int share;\n"
"};\n"
"\n"
"KERNEL __launch_bounds__(32 * WARPS, BLOCKS) matbatch_experts(const matrices ms, tiles x, const sorted rows)\n"
"{\n"
"    __shared__ uint4 memory[STAGES_16 > SUMS_16 ? STAGES_16 : SUMS_16];\n"
"    if ((int)blockIdx.y >= rows.total[0]) return;\n"
"    int4 tile = rows.map[blockIdx.y];            /* expert, first place, rows */\n"
"    i64 steps = (i64)(tile.y >> 3) * (x.k / 32); /* groups before the tile's */\n"
"    x.n = tile.z;\n"
"    x.q += steps * 32;\n"
"    x.d += steps * 8;\n"
"    x.s += steps * 16;\n",
"    matbatch_tile(ms, x, tile.x, rows.order + tile.y, memory);\n"
"}\n"
"#else\n"
"KERNEL __launch_bounds__(32 * WARPS, BLOCKS) matbatch(const matrices ms, const tiles x)\n"
"{\n"
"    __shared__ uint4 memory[STAGES_16 > SUMS_16 ? STAGES_16 : SUMS_16];\n"
"    matbatch_tile(ms, x, 0, (const int *)0, memory);\n"
"}\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_dequantize[] = {
"/* dequantize: rows of a matrix as halves, for the product by tensor cores. out (n_rows, k_out): zeros from k to k_out.\n"
" *\n"
" * Quantized types: a thread a piece of 32 values; grid (ceil(pieces of all rows / 256)), 256 threads. Floats: a thread\n"
" * 8 values of a row, grid the same with groups of 8. A value beyond the range of a half (BF16 has such) becomes the\n"
" * largest half. */\n"
"DEVICE u32 halves(float lo, float hi)\n"
"{\n"
"    return f2h2(fminf(fmaxf(lo, -65504.0f), 65504.0f), fminf(fmaxf(hi, -65504.0f), 65504.0f));\n"
"}\n"
"\n"
"KERNEL __launch_bounds__(256)\n"
"    dequantize(const u8 *__restrict__ w, i64 row_bytes, int n_rows, int k, half_t *__restrict__ out, int k_out)\n"
"{\n"
"    i64 id = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"#if IS_FLOAT\n"
"    int groups = k_out / 8;\n"
"    i64 row = id / groups;\n"
"    int at = (int)(id - row * groups) * 8;\n"
"    if (row >= n_rows) return;\n"
"    const u8 *from = w + row * row_bytes;\n"
"    float v[8];\n"
"    #pragma unroll\n"
"    for (int i = 0; i < 8; i++) v[i] = at + i < k ? float_at(from, at + i) : 0.0f;\n"
"    *(uint4 *)(out + row * k_out + at) =\n"
"        make_uint4(halves(v[0], v[1]), halves(v[2], v[3]), halves(v[4], v[5]), halves(v[6], v[7]));\n"
"#else\n"
"    int pieces = k / 32;\n"
"    i64 row = id / pieces;\n"
"    int at = (int)(id - row * pieces), block = at / PIECES, which = at % PIECES;\n"
"    if (row >= n_rows) return;\n"
"    piece p;\n"
"    decode_piece(w + row * row_bytes + (i64)block * BLOCK_BYTES, which, &p);\n"
"    #pragma unroll\n"
"    for (int h = 0; h < 2; h++) {\n"
"        uint4 *to = (uint4 *)(out + row * k_out + block * BLOCK + half_at(which, h));\n"
"        #pragma unroll\n"
"        for (int j = 0; j < 2; j++) {\n"
"            int i = 16 * h + 8 * j;\n"
"            to[j] = make_uint4(halves(piece_value(p, i), piece_value(p, i + 1)),\n"
"                               halves(piece_value(p, i + 2), piece_value(p, i + 3)),\n"
"                               halves(piece_value(p, i + 4), piece_value(p, i + 5)),\n"
"                               halves(piece_value(p, i + 6), piece_value(p, i + 7)));\n"
"        }\n"
"    }\n"
"#endif\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_gemm[] = {
"/* gemm: y (n, out) = x (n, k) . w (out, k)^T + bias, or y += that, on tensor cores: x and w are 16-bit floats, sums are\n"
" * float32. For many rows where there is no cuBLAS. -DBF16: both are bf16 instead of halves.\n"
" *\n"
" * x and w are 16-aligned, and so are their rows (ldx, ldw and k are multiples of 8). A block makes a tile of TILE_N x\n"
" * 128 results; 32 values of k at a time come through shared memory, STAGES - 1 steps ahead. There a row has four chunks\n"
" * of 16 bytes, chunk c at c ^ (row / 2 % 4), so that the eight rows that ldmatrix reads at once lie in different banks.\n"
" * grid (n / TILE_N, out / 128), 256 threads: warps WARPS_N x 8 / WARPS_N.\n"
" *\n"
" * -DEXPERTS: a block takes a tile of the rows that go through one expert's matrix from a map (experts.cu); they are\n"
" * read from where they are, and the results go to the rows from which they came. grid (at least the tiles of the\n"
" * map, out / 128). */\n"
"#define TILE_OUT 128\n"
"#define STEP     32\n"
"#define STAGES   3\n"
"\n"
"#ifdef BF16\n"
"    #define MMA mma_bf16\n"
"#else\n"
"    #define MMA mma_f16\n"
"#endif\n"
"\n"
"/* next: values to the next expert's w */\n"
"struct product {\n"
"    const u16 *x;\n"
"    i64 ldx;\n"
"    const u16 *w;\n"
"    i64 ldw;\n"
"    int n, out, k;\n"
"    const float *bias, *add;\n"
"    float *y;\n"
"    i64 add_stride, y_stride, next;\n"
"};\n"
"\n"
"DEVICE int chunk_at(int row, int chunk) { return row * 4 + (chunk ^ (row >> 1 & 3)); }\n"
"\n"
"/* Rows `first`... of a matrix of `rows`, values k0 ... k0 + 31; zeros where there are none. row_of: where they are;\n"
" * NULL: one after the other. */\n"
"template <int ROWS>\n"
"DEVICE void fetch(uint4 *to, const u16 *from, i64 ld, int first, int rows, int k0, int k, const int *row_of)\n"
"{\n"
"    #pragma unroll\n"
"    for (int i = 0; i < (ROWS * 4 + 255) / 256; i++) {\n"
"        int id = (int)threadIdx.x + 256 * i, row = id >> 2, chunk = id & 3;\n"
"        bool valid = first + row < rows && k0 + 8 * chunk < k;\n"
"        if (ROWS * 4 % 256 == 0 || row < ROWS)\n"
"            cp_async16(to + chunk_at(row, chunk),\n"
"                       valid ? from + (row_of ? row_of[row] : first + row) * ld + k0 + 8 * chunk : from, valid);\n"
"    }\n"
"}\n"
"\n"
"/* Rows n0 ... of x; x_rows, y_rows: where the tile's rows of x and of y are; NULL: in order. */\n"
"template <int TILE_N, int WARPS_N>\n"
"DEVICE void gemm(const product &p, int n0, const int *x_rows, const int *y_rows,\n"
"                 uint4 (*memory)[(TILE_N + TILE_OUT) * 4])\n"
"{\n"
"    const int M = TILE_N / WARPS_N / 16, N = TILE_OUT / (8 / WARPS_N) / 8; /* tiles of 16 x 8 of a warp */\n"
"    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, out0 = (int)blockIdx.y * TILE_OUT;\n"
"    int row_x = warp % WARPS_N * M * 16, row_w = warp / WARPS_N * N * 8, steps = (p.k + STEP - 1) / STEP;\n"
"    float sum[M][N][4];\n"
"    #pragma unroll\n"
"    for (int i = 0; i < M; i++)\n"
"        #pragma unroll\n"
"        for (int j = 0; j < N; j++)\n"
"            #pragma unroll\n"
"            for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;\n"
"    for (int s = 0; s < STAGES - 1; s++) {\n"
"        fetch<TILE_N>(memory[s], p.x, p.ldx, n0, p.n, s * STEP, p.k, x_rows);\n"
"        fetch<TILE_OUT>(memory[s] + TILE_N * 4, p.w, p.ldw, out0, p.out, s * STEP, p.k, (const int *)0);\n"
"        cp_commit();\n"
"    }\n"
"    for (int s = 0; s < steps; s++) {\n"
"        cp_wait<STAGES - 2>();\n"
"        block_sync(); /* everyone's copies are there, and everyone has left the stage that is filled next */\n"
"        int ahead = s + STAGES - 1;\n"
"        fetch<TILE_N>(memory[ahead % STAGES], p.x, p.ldx, n0, p.n, ahead * STEP, p.k, x_rows);\n"
"        fetch<TILE_OUT>(memory[ahead % STAGES] + TILE_N * 4, p.w, p.ldw, out0, p.out, ahead * STEP, p.k,\n"
"                        (const int *)0);\n"
"        cp_commit();\n"
"        const uint4 *x = memory[s % STAGES], *w = x + TILE_N * 4;\n"
"        #pragma unroll\n"
"        for (int half = 0; half < 2; half++) {\n",
"            u32 a[M][4], b[N][2];\n"
"            #pragma unroll\n"
"            for (int i = 0; i < M; i++) /* matrices: rows 0-7, 8-15 at k 0-7; the same at k 8-15 */\n"
"                ldsm_x4(a[i], x + chunk_at(row_x + i * 16 + (lane & 15), half * 2 + (lane >> 4)));\n"
"            #pragma unroll\n"
"            for (int j = 0; j < N; j += 2) { /* rows 0-7 at k 0-7, k 8-15; rows 8-15 likewise */\n"
"                u32 four[4];\n"
"                ldsm_x4(four, w + chunk_at(row_w + j * 8 + (lane & 7) + (lane >> 4) * 8, half * 2 + (lane >> 3 & 1)));\n"
"                b[j][0] = four[0];\n"
"                b[j][1] = four[1];\n"
"                b[j + 1][0] = four[2];\n"
"                b[j + 1][1] = four[3];\n"
"            }\n"
"            #pragma unroll\n"
"            for (int i = 0; i < M; i++)\n"
"                #pragma unroll\n"
"                for (int j = 0; j < N; j++) MMA(sum[i][j], a[i], b[j]);\n"
"        }\n"
"    }\n"
"    cp_wait<0>();\n"
"    #pragma unroll\n"
"    for (int i = 0; i < M; i++)\n"
"        #pragma unroll\n"
"        for (int j = 0; j < N; j++)\n"
"            #pragma unroll\n"
"            for (int e = 0; e < 4; e++) {\n"
"                int row = n0 + row_x + i * 16 + (lane >> 2) + (e >> 1) * 8,\n"
"                    column = out0 + row_w + j * 8 + (lane & 3) * 2 + (e & 1);\n"
"                if (row >= p.n || column >= p.out) continue;\n"
"                float *y = p.y + (y_rows ? y_rows[row] : row) * p.y_stride + column, v = sum[i][j][e];\n"
"                if (p.bias) v += p.bias[column];\n"
"                if (p.add) v += p.add[row * p.add_stride + column];\n"
"                *y = v;\n"
"            }\n"
"}\n"
"\n"
"#ifdef EXPERTS\n"
"/* of experts.cu */\n"
"struct sorted {\n"
"    const int4 *map;\n"
"    const int *order, *total;\n"
"    int share;\n"
"};\n"
"\n"
"    #define GEMM(TILE_N, WARPS_N) \\\n"
"        KERNEL __launch_bounds__(256) gemm_##TILE_N(product p, const sorted rows) \\\n"
"        { \\\n"
"            __shared__ uint4 memory[STAGES][(TILE_N + TILE_OUT) * 4]; \\\n"
"            __shared__ int x_rows[TILE_N], y_rows[TILE_N]; \\\n"
"            if ((int)blockIdx.x >= rows.total[0]) return; \\\n"
"            int4 tile = rows.map[blockIdx.x]; /* expert, first place, rows */ \\\n"
"            if ((int)threadIdx.x < tile.z) { \\\n"
"                y_rows[threadIdx.x] = rows.order[tile.y + (int)threadIdx.x]; \\\n"
"                x_rows[threadIdx.x] = y_rows[threadIdx.x] / rows.share; \\\n"
"            } \\\n"
"            block_sync(); \\\n"
"            p.n = tile.z; \\\n"
"            p.w += tile.x * p.next; \\\n"
"            gemm<TILE_N, WARPS_N>(p, 0, x_rows, y_rows, memory); \\\n"
"        }\n"
"GEMM(64, 2) /* not 128: that takes all of the shared memory for itself */\n"
"GEMM(32, 1)\n"
"#else\n"
"    #define GEMM(TILE_N, WARPS_N) \\\n"
"        KERNEL __launch_bounds__(256) gemm_##TILE_N(const product p) \\\n"
"        { \\\n"
"            __shared__ uint4 memory[STAGES][(TILE_N + TILE_OUT) * 4]; \\\n"
"            gemm<TILE_N, WARPS_N>(p, (int)blockIdx.x * TILE_N, (const int *)0, (const int *)0, memory); \\\n"
"        }\n"
"GEMM(128, 2)\n"
"GEMM(32, 1)\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_gemm_f32[] = {
"/* gemm_f32: y (n, out) = x (n, k) . w (out, k)^T + bias, or y += that, all in float32 and any sizes: for models whose\n"
" * weights are float32. A block makes 64 x 64 results, a thread 4 x 4 of them, 16 apart; 16 values of k at a time lie in\n"
" * shared memory, transposed. grid (n / 64, out / 64), 256 threads.\n"
" *\n"
" * -DEXPERTS: a block takes a tile of the rows that go through one expert's matrix from a map (experts.cu). Here w may\n"
" * be of any float type: it is also the product of experts' matrices whose rows are not aligned as tensor cores want\n"
" * them. grid (at least the tiles of the map, out / 64).\n"
" *\n"
" * -DBACK: the two other forms of products, dx = dy . w and dw += dy^T . x, where cuBLAS is not there; and of experts'\n"
" * matrices. */\n"
"#define TILE 64\n"
"#define STEP 16\n"
"\n"
"/* next: values to the next expert's w */\n"
"struct product_f32 {\n"
"    const float *x;\n"
"    i64 ldx;\n"
"    const u8 *w;\n"
"    i64 ldw;\n"
"    int n, out, k;\n"
"    const float *bias, *add;\n"
"    float *y;\n"
"    i64 add_stride, y_stride, next;\n"
"};\n"
"\n"
"/* Values k0 ... k0 + 15 of rows `first`...; value(row, k) where there are such. ACROSS: those of neighbouring rows lie\n"
" * side by side, not those of a row. */\n"
"template <bool ACROSS = false, class Value>\n"
"DEVICE void fetch(float (*to)[TILE + 1], int first, int rows, int k0, int k, const Value &value)\n"
"{\n"
"    #pragma unroll\n"
"    for (int i = 0; i < TILE * STEP / 256; i++) {\n"
"        int id = (int)threadIdx.x + 256 * i, row = ACROSS ? id % TILE : id / STEP, at = ACROSS ? id / TILE : id % STEP;\n"
"        to[at][row] = first + row < rows && k0 + at < k ? value(first + row, k0 + at) : 0.0f;\n"
"    }\n"
"}\n"
"\n"
"#ifndef BACK\n"
"/* Rows n0 ... of x; x_rows, y_rows: where the tile's rows of x and of y are; NULL: in order. */\n"
"DEVICE void gemm(const product_f32 &p, int n0, const int *x_rows, const int *y_rows)\n"
"{\n"
"    __shared__ float x[STEP][TILE + 1], w[STEP][TILE + 1];\n"
"    int out0 = (int)blockIdx.y * TILE, tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;\n"
"    float sum[4][4];\n"
"    #pragma unroll\n"
"    for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = 0.0f;\n"
"    for (int k0 = 0; k0 < p.k; k0 += STEP) {\n"
"        fetch(x, n0, p.n, k0, p.k, [&](int row, int at) { return p.x[(x_rows ? x_rows[row] : row) * p.ldx + at]; });\n"
"        fetch(w, out0, p.out, k0, p.k, [&](int row, int at) { return float_at(p.w, row * p.ldw + at); });\n"
"        block_sync();\n"
"        #pragma unroll\n"
"        for (int at = 0; at < STEP; at++) {\n"
"            float a[4], b[4];\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 4; i++) {\n"
"                a[i] = x[at][ty + 16 * i];\n"
"                b[i] = w[at][tx + 16 * i];\n"
"            }\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = fmaf(a[i / 4], b[i % 4], sum[i / 4][i % 4]);\n"
"        }\n"
"        block_sync();\n"
"    }\n"
"    #pragma unroll\n"
"    for (int i = 0; i < 16; i++) {\n"
"        int row = n0 + ty + 16 * (i / 4), column = out0 + tx + 16 * (i % 4);\n"
"        if (row >= p.n || column >= p.out) continue;\n"
"        float *y = p.y + (y_rows ? y_rows[row] : row) * p.y_stride + column, v = sum[i / 4][i % 4];\n"
"        if (p.bias) v += p.bias[column];\n"
"        if (p.add) v += p.add[row * p.add_stride + column];\n"
"        *y = v;\n"
"    }\n"
"}\n"
"\n"
"    #ifdef EXPERTS\n"
"/* of experts.cu */\n"
"struct sorted {\n"
"    const int4 *map;\n"
"    const int *order, *total;\n"
"    int share;\n"
"};\n"
"\n"
"KERNEL __launch_bounds__(256) gemm_f32(product_f32 p, const sorted rows)\n"
"{\n"
"    __shared__ int x_rows[TILE], y_rows[TILE];\n"
"    if ((int)blockIdx.x >= rows.total[0]) return;\n"
"    int4 tile = rows.map[blockIdx.x]; /* expert, first place, rows */\n"
"    if ((int)threadIdx.x < tile.z) {\n"
"        y_rows[threadIdx.x] = rows.order[tile.y + (int)threadIdx.x];\n"
"        x_rows[threadIdx.x] = y_rows[threadIdx.x] / rows.share;\n",
"    }\n"
"    block_sync();\n"
"    p.n = tile.z;\n"
"    p.w += tile.x * p.next * BLOCK_BYTES;\n"
"    gemm(p, 0, x_rows, y_rows);\n"
"}\n"
"    #else\n"
"KERNEL __launch_bounds__(256) gemm_f32(const product_f32 p)\n"
"{\n"
"    gemm(p, (int)blockIdx.x * TILE, (const int *)0, (const int *)0);\n"
"}\n"
"    #endif\n"
"\n"
"#else\n"
"\n"
"/* c (m, n) = or += a (m, p) . b (p, n). a_m, a_p: floats from one row or column of a to the next, one of them 1; those\n"
" * of b are side by side in its rows. grid (m / 64, n / 64), 256 threads. */\n"
"struct product_back {\n"
"    const float *a, *b;\n"
"    float *c;\n"
"    i64 a_m, a_p, b_p, c_m;\n"
"    int m, n, p, add;\n"
"};\n"
"\n"
"/* put(row, column, the sum over p of value_a(row, p) value_b(column, p)), of m, n and p of them; this block's 64 x 64\n"
" * from m0 and n0 on, through a and b in shared memory. ACROSS: a of neighbouring rows lies side\n"
" * by side; b of neighbouring columns always does. */\n"
"template <bool ACROSS, class A, class B, class C>\n"
"DEVICE void product(float (*a)[TILE + 1], float (*b)[TILE + 1], int m0, int n0, int m, int n, int p, const A &value_a,\n"
"                    const B &value_b, const C &put)\n"
"{\n"
"    const int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;\n"
"    float sum[4][4];\n"
"    #pragma unroll\n"
"    for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = 0.0f;\n"
"    for (int p0 = 0; p0 < p; p0 += STEP) {\n"
"        fetch<ACROSS>(a, m0, m, p0, p, value_a);\n"
"        fetch<true>(b, n0, n, p0, p, value_b);\n"
"        block_sync();\n"
"        #pragma unroll\n"
"        for (int at = 0; at < STEP; at++) {\n"
"            float left[4], right[4];\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 4; i++) {\n"
"                left[i] = a[at][ty + 16 * i];\n"
"                right[i] = b[at][tx + 16 * i];\n"
"            }\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = fmaf(left[i / 4], right[i % 4], sum[i / 4][i % 4]);\n"
"        }\n"
"        block_sync(); /* the tiles have been read */\n"
"    }\n"
"    #pragma unroll\n"
"    for (int i = 0; i < 16; i++) {\n"
"        const int row = m0 + ty + 16 * (i / 4), column = n0 + tx + 16 * (i % 4);\n"
"        if (row < m && column < n) put(row, column, sum[i / 4][i % 4]);\n"
"    }\n"
"}\n"
"\n"
"    #ifdef EXPERTS\n"
"/* Of experts, for choices c = row * n_used + s:\n"
" *\n"
" *   dx of choice c = dy (out) . w of its expert (out, k)\n"
" *   dw of an expert (out, k) += the sum over its choices of dy^T x\n"
" *\n"
" * order: the choices, of which those of expert e are at begin[e] ... begin[e + 1] (experts.cu). x_share, dy_share:\n"
" * choices that read one row. w begins with row p0 of `expert0`, and has p rows of each of n_expert. */\n"
"struct experts_back_args {\n"
"    const float *x, *dy, *w;\n"
"    float *dx, *dw;\n"
"    const int *order, *begin;\n"
"    i64 x_stride, dy_stride;\n"
"    int k, out, x_share, dy_share, expert0, n_expert, p0, p, add;\n"
"};\n"
"\n"
"/* grid (tiles of 64 rows of all experts' choices, at least; k / 64), 256 threads. dx = or += */\n"
"KERNEL __launch_bounds__(256) experts_back_x(const experts_back_args a)\n"
"{\n"
"    __shared__ float left[STEP][TILE + 1], right[STEP][TILE + 1];\n"
"    int tile = blockIdx.x, e = 0;\n"
"    for (; e < a.n_expert; e++) {\n"
"        const int tiles = (a.begin[a.expert0 + e + 1] - a.begin[a.expert0 + e] + TILE - 1) / TILE;\n"
"        if (tile < tiles) break;\n"
"        tile -= tiles;\n"
"    }\n"
"    if (e == a.n_expert) return;\n"
"    const int *choices = a.order + a.begin[a.expert0 + e];\n"
"    const int n = a.begin[a.expert0 + e + 1] - a.begin[a.expert0 + e];\n"
"    const float *w = a.w + (i64)e * a.p * a.k;\n"
"    product<false>(\n"
"        left, right, tile * TILE, (int)blockIdx.y * TILE, n, a.k, a.p,\n"
"        [&](int row, int at) { return a.dy[choices[row] / a.dy_share * a.dy_stride + a.p0 + at]; },\n"
"        [&](int column, int at) { return w[(i64)at * a.k + column]; },\n",
"        [&](int row, int column, float sum) {\n"
"            float *dx = a.dx + (i64)choices[row] * a.k + column;\n"
"            *dx = a.add ? *dx + sum : sum;\n"
"        });\n"
"}\n"
"\n"
"/* grid (out / 64, k / 64, experts), 256 threads. */\n"
"KERNEL __launch_bounds__(256) experts_back_w(const experts_back_args a)\n"
"{\n"
"    __shared__ float left[STEP][TILE + 1], right[STEP][TILE + 1];\n"
"    const int *choices = a.order + a.begin[blockIdx.z];\n"
"    const int n = a.begin[blockIdx.z + 1] - a.begin[blockIdx.z];\n"
"    float *dw = a.dw + (i64)blockIdx.z * a.out * a.k;\n"
"    if (n == 0) return; /* nobody chose it */\n"
"    product<true>(\n"
"        left, right, (int)blockIdx.x * TILE, (int)blockIdx.y * TILE, a.out, a.k, n,\n"
"        [&](int row, int at) { return a.dy[choices[at] / a.dy_share * a.dy_stride + row]; },\n"
"        [&](int column, int at) { return a.x[choices[at] / a.x_share * a.x_stride + column]; },\n"
"        [&](int row, int column, float sum) { dw[(i64)row * a.k + column] += sum; });\n"
"}\n"
"    #else\n"
"KERNEL __launch_bounds__(256) gemm_back(const product_back q)\n"
"{\n"
"    __shared__ float left[STEP][TILE + 1], right[STEP][TILE + 1];\n"
"    const int m0 = (int)blockIdx.x * TILE, n0 = (int)blockIdx.y * TILE;\n"
"    const auto a = [&](int row, int at) { return q.a[row * q.a_m + at * q.a_p]; };\n"
"    const auto b = [&](int column, int at) { return q.b[at * q.b_p + column]; };\n"
"    const auto put = [&](int row, int column, float sum) {\n"
"        float *c = q.c + row * q.c_m + column;\n"
"        *c = q.add ? *c + sum : sum;\n"
"    };\n"
"    if (q.a_p == 1)\n"
"        product<false>(left, right, m0, n0, q.m, q.n, q.p, a, b, put);\n"
"    else\n"
"        product<true>(left, right, m0, n0, q.m, q.n, q.p, a, b, put);\n"
"}\n"
"    #endif\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_experts[] = {
"/* experts: around the products of mixtures of experts: which experts a row goes to, and which rows go to an expert.\n"
" * Both are decided here and stay here: the host never knows. Exact, and the same every time. Needs prelude. -DBACK: the\n"
" * way back through the weights of the choice, and around the products (gemm_f32.cu). */\n"
"enum { EXPERTS_MAX = 1024, USED_MAX = 64, PLACES = 8 }; /* PLACES: an expert's rows begin at a multiple */\n"
"enum { SOFTMAX, SIGMOID };\n"
"\n"
"#ifndef BACK\n"
"/* Logits (n, n_expert) to ids and weights (n, n_used): those of the largest logits, the largest first, of equal ones\n"
" * the lower id; a NaN is read as -inf. Weights: SOFTMAX of all logits, or of the chosen ones (norm); SIGMOID of each;\n"
" * times scale. A row a block, an expert a thread, which counts how many come before its own. grid n, block n_expert\n"
" * rounded up to warps. */\n"
"KERNEL __launch_bounds__(EXPERTS_MAX)\n"
"    route(const float *logits, int n_expert, int n_used, int kind, int norm, float scale, int *ids, float *weights)\n"
"{\n"
"    __shared__ float all[EXPERTS_MAX], chosen[USED_MAX], warps[32];\n"
"    const int id = threadIdx.x, lane = id % 32, warp = id / 32, n_warps = blockDim.x / 32;\n"
"    const i64 row = blockIdx.x;\n"
"    const float lowest = -__int_as_float(0x7F800000);\n"
"    float x = id < n_expert ? logits[row * n_expert + id] : lowest;\n"
"    if (x != x) x = lowest;\n"
"    all[id] = x;\n"
"    float most = warp_max(x);\n"
"    if (lane == 0) warps[warp] = most;\n"
"    block_sync();\n"
"    for (int w = 0; w < n_warps; w++) most = fmaxf(most, warps[w]);\n"
"    const float e = expf(x - (most < -3.4e38f ? 0.0f : most)); /* all -inf: no NaN from it */\n"
"    const float sum = warp_sum(e);\n"
"    int rank = 0;\n"
"    for (int j = 0; j < n_expert; j++) rank += all[j] > x || (all[j] == x && j < id);\n"
"    block_sync(); /* the maxima have been read */\n"
"    if (lane == 0) warps[warp] = sum;\n"
"    if (id < n_expert && rank < n_used) {\n"
"        ids[row * n_used + rank] = id;\n"
"        chosen[rank] = kind == SOFTMAX ? e : 1.0f / (1.0f + expf(-x));\n"
"    }\n"
"    block_sync();\n"
"    if (id >= n_used) return;\n"
"    float total = kind == SOFTMAX ? 0.0f : 1.0f;\n"
"    if (kind == SOFTMAX && norm)\n"
"        for (int s = 0; s < n_used; s++) total += chosen[s];\n"
"    else if (kind == SOFTMAX)\n"
"        for (int w = 0; w < n_warps; w++) total += warps[w];\n"
"    weights[row * n_used + id] = chosen[id] / total * scale;\n"
"}\n"
"\n"
"#else\n"
"\n"
"/* Of route, whose choice is taken as it was made: with g = dweights scale,\n"
" *\n"
" *   SOFTMAX, all:   dlogits_i = p_i (g of i, or 0 where it was not chosen - the sum of g p over the chosen)\n"
" *   SOFTMAX, norm:  the same with p over the chosen alone; 0 where it was not chosen\n"
" *   SIGMOID:        dlogits_i = g s (1 - s), s = sigmoid(logit), or 0\n"
" *\n"
" * A row a block, an expert a thread. grid n, block n_expert rounded up to warps. */\n"
"KERNEL __launch_bounds__(EXPERTS_MAX) route_back(const float *logits, int n_expert, int n_used, int kind, int norm,\n"
"                                                 float scale, const int *ids, const float *dweights, float *dlogits)\n"
"{\n"
"    __shared__ float g[EXPERTS_MAX], e[EXPERTS_MAX], warps[32];\n"
"    __shared__ int chosen[USED_MAX];\n"
"    const int id = threadIdx.x, n_warps = blockDim.x / 32;\n"
"    const i64 row = blockIdx.x;\n"
"    const float x = id < n_expert ? logits[row * n_expert + id] : 0.0f;\n"
"    bool mine = false; /* this expert was chosen */\n"
"    g[id] = 0;\n"
"    if (id < n_used) chosen[id] = ids[row * n_used + id];\n"
"    block_sync();\n"
"    if (id < n_used) g[chosen[id]] = dweights[row * n_used + id] * scale;\n"
"    for (int s = 0; s < n_used; s++) mine = mine || chosen[s] == id;\n"
"    e[id] = id < n_expert ? expf(x - logits[row * n_expert + chosen[0]]) : 0.0f;\n"
"    const float all = warp_sum(e[id]);\n"
"    if (id % 32 == 0) warps[id / 32] = all;\n"
"    block_sync();\n",
"    if (id >= n_expert) return;\n"
"    if (kind == SIGMOID) {\n"
"        const float s = 1.0f / (1.0f + expf(-x));\n"
"        dlogits[row * n_expert + id] = mine ? g[id] * s * (1.0f - s) : 0.0f;\n"
"        return;\n"
"    }\n"
"    float sum = 0, along = 0;\n"
"    for (int s = 0; s < n_used && norm; s++) sum += e[chosen[s]];\n"
"    for (int w = 0; w < n_warps && !norm; w++) sum += warps[w];\n"
"    for (int s = 0; s < n_used; s++) along = fmaf(g[chosen[s]], e[chosen[s]] / sum, along);\n"
"    dlogits[row * n_expert + id] = mine || !norm ? e[id] / sum * (g[id] - along) : 0.0f;\n"
"}\n"
"\n"
"/* out (rows, n) = x * weights (rows); before that dots (rows) = the sum of x y over a row; y and dots may be NULL. out\n"
" * may be x. grid rows, block 256. */\n"
"KERNEL __launch_bounds__(256) weigh(const float *x, i64 x_stride, const float *y, i64 y_stride, const float *weights,\n"
"                                    int n, float *dots, float *out, i64 out_stride)\n"
"{\n"
"    __shared__ float warps[8];\n"
"    const i64 row = blockIdx.x;\n"
"    const float weight = weights[row];\n"
"    float dot = 0;\n"
"    for (int i = threadIdx.x; i < n; i += 256) {\n"
"        const float v = x[row * x_stride + i];\n"
"        if (y) dot = fmaf(v, y[row * y_stride + i], dot);\n"
"        out[row * out_stride + i] = v * weight;\n"
"    }\n"
"    if (!y) return;\n"
"    dot = warp_sum(dot);\n"
"    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = dot;\n"
"    block_sync();\n"
"    if (threadIdx.x) return;\n"
"    for (int w = 1; w < 8; w++) dot += warps[w];\n"
"    dots[row] = dot;\n"
"}\n"
"\n"
"/* dx (rows, k) = add + those of the choices of each row, in their order. add may be NULL. dx may be add. grid (k / 256,\n"
" * rows), block 256. */\n"
"KERNEL __launch_bounds__(256) sum_choices(const float *of_choices, int n_used, int k, const float *add, float *dx)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    const i64 row = blockIdx.y;\n"
"    if (i >= k) return;\n"
"    float sum = add ? add[row * k + i] : 0.0f;\n"
"    for (int s = 0; s < n_used; s++) sum += of_choices[(row * n_used + s) * k + i];\n"
"    dx[row * k + i] = sum;\n"
"}\n"
"#endif\n"
"\n"
"DEVICE int lanes_sum(int v)\n"
"{\n"
"    for (int mask = 16; mask > 0; mask >>= 1) v += shfl_xor(v, mask);\n"
"    return v;\n"
"}\n"
"\n"
"/* Those of the numbers first ... last - 1 whose id is the expert's, in their order, to order from `at` on. A warp. */\n"
"DEVICE void put_in_order(const int *ids, int expert, int first, int last, int at, int *order)\n"
"{\n"
"    const int lane = threadIdx.x % 32;\n"
"    for (int i = first; i < last; i += 32) {\n"
"        const int hit = i + lane < last && ids[i + lane] == expert;\n"
"        int upto = hit; /* hits of the lanes up to this one */\n"
"        #pragma unroll\n"
"        for (int d = 1; d < 32; d *= 2) {\n"
"            const int other = shfl(upto, (lane - d) & 31);\n"
"            if (lane >= d) upto += other;\n"
"        }\n"
"        if (hit) order[at + upto - 1] = i + lane;\n"
"        at += shfl(upto, 31);\n"
"    }\n"
"}\n"
"\n"
"#ifndef BACK\n"
"/* Sorts the numbers 0 ... n_pairs - 1 by ids[number], stably: order[place] = number, where the places of an expert\n"
" * begin at a multiple of 8 after those of the expert before, and those that are left over up to there have -1. map:\n"
" * for tiles of up to `tile` places of one expert (a multiple of 8) in order: expert, first place, how many. total:\n"
" * tiles, places.\n"
" *\n"
" * A block an expert: each counts all, which is cheaper than a launch to count, and puts its own. A warp has a piece\n"
" * of the ids. grid n_expert, block 256. */\n"
"KERNEL __launch_bounds__(256) sort_by_expert(const int *ids, int n_pairs, int tile, int *order, int4 *map, int *total)\n"
"{\n"
"    __shared__ int counts[EXPERTS_MAX], own[8], places_below[8], tiles_below[8];\n"
"    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, expert = blockIdx.x, n_expert = gridDim.x;\n",
"    const int span = (n_pairs + 255) / 256 * 32, first = min(warp * span, n_pairs), last = min(first + span, n_pairs);\n"
"    for (int i = threadIdx.x; i < n_expert; i += 256) counts[i] = 0;\n"
"    block_sync();\n"
"    int mine = 0;\n"
"    for (int i = first + lane; i < last; i += 32) {\n"
"        const int id = ids[i];\n"
"        mine += id == expert;\n"
"        atomicAdd(&counts[id], 1);\n"
"    }\n"
"    mine = lanes_sum(mine);\n"
"    if (lane == 0) own[warp] = mine;\n"
"    block_sync();\n"
"    int places = 0, tiles = 0;\n"
"    for (int i = threadIdx.x; i < expert; i += 256) {\n"
"        places += (counts[i] + PLACES - 1) / PLACES * PLACES;\n"
"        tiles += (counts[i] + tile - 1) / tile;\n"
"    }\n"
"    places = lanes_sum(places);\n"
"    tiles = lanes_sum(tiles);\n"
"    if (lane == 0) {\n"
"        places_below[warp] = places;\n"
"        tiles_below[warp] = tiles;\n"
"    }\n"
"    block_sync();\n"
"    places = tiles = 0;\n"
"    for (int w = 0; w < 8; w++) {\n"
"        places += places_below[w];\n"
"        tiles += tiles_below[w];\n"
"    }\n"
"    const int count = counts[expert], end = places + (count + PLACES - 1) / PLACES * PLACES;\n"
"    if (expert == n_expert - 1 && threadIdx.x == 0) {\n"
"        total[0] = tiles + (count + tile - 1) / tile;\n"
"        total[1] = end;\n"
"    }\n"
"    for (int i = threadIdx.x; i * tile < count; i += 256)\n"
"        map[tiles + i] = make_int4(expert, places + i * tile, min(tile, count - i * tile), 0);\n"
"    for (int i = places + count + threadIdx.x; i < end; i += 256) order[i] = -1;\n"
"    int at = places;\n"
"    for (int w = 0; w < warp; w++) at += own[w];\n"
"    if (own[warp] > 0) put_in_order(ids, expert, first, last, at, order);\n"
"}\n"
"\n"
"#else\n"
"\n"
"/* The same without gaps and tiles: those of expert e are at begin[e] ... begin[e + 1]. grid n_expert, block 256. */\n"
"KERNEL __launch_bounds__(256) order_choices(const int *ids, int n, int *begin, int *order)\n"
"{\n"
"    __shared__ int lower[8], equal[8];\n"
"    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, expert = blockIdx.x;\n"
"    const int span = (n + 255) / 256 * 32, first = min(warp * span, n), last = min(first + span, n);\n"
"    int before = 0, mine = 0, at = 0;\n"
"    for (int i = first + lane; i < last; i += 32) {\n"
"        before += ids[i] < expert;\n"
"        mine += ids[i] == expert;\n"
"    }\n"
"    before = lanes_sum(before);\n"
"    mine = lanes_sum(mine);\n"
"    if (lane == 0) {\n"
"        lower[warp] = before;\n"
"        equal[warp] = mine;\n"
"    }\n"
"    block_sync();\n"
"    for (int w = 0; w < 8; w++) at += lower[w];\n"
"    if (threadIdx.x == 0) begin[expert] = at;\n"
"    if (threadIdx.x == 0 && expert == (int)gridDim.x - 1) begin[expert + 1] = n;\n"
"    for (int w = 0; w < warp; w++) at += equal[w];\n"
"    if (mine) put_in_order(ids, expert, first, last, at, order);\n"
"}\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_embed[] = {
"/* embed: rows of a table of any type as floats. Needs prelude, quant (-DTYPE). -DBACK: its gradient instead; needs\n"
" * prelude alone.\n"
" *\n"
" * out (n, k) = table[index] * scale (+ add, where it is not NULL; out may be add). Quantized types: a thread 32 values;\n"
" * grid (k / 32 / 64, n), block 64. Floats: a thread 4 values, block's width apart; grid (k / 256, n), block 64.\n"
" * index NULL: row blockIdx.y, which is how a matrix is decoded. */\n"
"#ifndef BACK\n"
"\n"
"DEVICE void embed_value(float *to, float x, float scale, const float *add)\n"
"{\n"
"    *to = add ? fmaf(x, scale, *add) : x * scale;\n"
"}\n"
"\n"
"KERNEL __launch_bounds__(64) embed(const u8 *__restrict__ table, i64 row_bytes, const int *__restrict__ index, int k,\n"
"                                   float scale, const float *add, float *out)\n"
"{\n"
"    const u8 *from = table + (index ? index[blockIdx.y] : (i64)blockIdx.y) * row_bytes;\n"
"    float *to = out + (i64)blockIdx.y * k;\n"
"    if (add) add += (i64)blockIdx.y * k;\n"
"    #if IS_FLOAT\n"
"    const int first = blockIdx.x * 256 + threadIdx.x;\n"
"    #pragma unroll\n"
"    for (int i = first; i < first + 256; i += 64)\n"
"        if (i < k) embed_value(to + i, float_at(from, i), scale, add ? add + i : add);\n"
"    #else\n"
"    const int at = blockIdx.x * 64 + threadIdx.x, block = at / PIECES, which = at % PIECES;\n"
"    piece p;\n"
"    if (at >= k / 32) return;\n"
"    decode_piece(from + (i64)block * BLOCK_BYTES, which, &p);\n"
"    #pragma unroll\n"
"    for (int half = 0; half < 2; half++)\n"
"        #pragma unroll\n"
"        for (int i = 0; i < 16; i++) {\n"
"            const int j = block * BLOCK + half_at(which, half) + i;\n"
"            embed_value(to + j, piece_value(p, 16 * half + i), scale, add ? add + j : add);\n"
"        }\n"
"    #endif\n"
"}\n"
"#else\n"
"\n"
"/* Which of the 32 lanes say so, as bits; to all lanes. */\n"
"DEVICE u32 lanes_that(bool yes)\n"
"{\n"
"    int bits = (int)((u32)yes << threadIdx.x % 32);\n"
"    #pragma unroll\n"
"    for (int mask = 16; mask; mask /= 2) bits |= shfl_xor(bits, mask);\n"
"    return (u32)bits;\n"
"}\n"
"\n"
"/* dtable (n_embd, vocabulary) [index] += scale * dy (n, n_embd), row by row in their order: the block of the first row\n"
" * of an index takes all rows that have it. grid (n, n_embd / 1024), block 256: a thread 4 columns, 256 apart. */\n"
"KERNEL __launch_bounds__(256)\n"
"    embed_back(const float *dy, int n, const int *index, int n_embd, float scale, float *dtable)\n"
"{\n"
"    __shared__ u32 found[8];\n"
"    const int row = blockIdx.x, mine = index[row], lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n"
"    const int first = blockIdx.y * 1024 + threadIdx.x;\n"
"    float *to = dtable + (i64)mine * n_embd, sum[4];\n"
"    bool earlier = false;\n"
"    for (int r = threadIdx.x; r < row; r += 256) earlier = earlier || index[r] == mine;\n"
"    const u32 who = lanes_that(earlier);\n"
"    if (lane == 0) found[warp] = who;\n"
"    block_sync();\n"
"    for (int w = 0; w < 8; w++)\n"
"        if (found[w]) return; /* the whole block: another one has this index */\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) sum[j] = first + 256 * j < n_embd ? to[first + 256 * j] : 0.0f;\n"
"    for (int base = row / 256 * 256; base < n; base += 256) {\n"
"        const int r = base + (int)threadIdx.x;\n"
"        const u32 same = lanes_that(r >= row && r < n && index[r] == mine);\n"
"        block_sync(); /* what was found before has been read */\n"
"        if (lane == 0) found[warp] = same;\n"
"        block_sync();\n"
"        for (int w = 0; w < 8; w++)\n"
"            for (u32 bits = found[w]; bits; bits &= bits - 1) {\n"
"                const float *from = dy + (i64)(base + 32 * w + __ffs((int)bits) - 1) * n_embd;\n"
"                #pragma unroll\n"
"                for (int j = 0; j < 4; j++)\n"
"                    if (first + 256 * j < n_embd) sum[j] = fmaf(from[first + 256 * j], scale, sum[j]);\n"
"            }\n"
"    }\n"
"    #pragma unroll\n",
"    for (int j = 0; j < 4; j++)\n"
"        if (first + 256 * j < n_embd) to[first + 256 * j] = sum[j];\n"
"}\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_rows[] = {
"/* rows: norms and element-by-element work. Needs prelude. -DBACK: the gradients of those that training asks for\n"
" * instead, each after its op.\n"
" *\n"
" * Where V is a number of floats that one load takes, the host chooses 4 when every address and stride allows it,\n"
" * else 1. */\n"
"\n"
"template <int V> struct vec;\n"
"template <> struct vec<1> {\n"
"    float x[1];\n"
"};\n"
"template <> struct vec<4> {\n"
"    float x[4];\n"
"};\n"
"\n"
"template <int V> __device__ __forceinline__ vec<V> load_vec(const float *p);\n"
"template <> __device__ __forceinline__ vec<1> load_vec<1>(const float *p)\n"
"{\n"
"    vec<1> v;\n"
"    v.x[0] = p[0];\n"
"    return v;\n"
"}\n"
"template <> __device__ __forceinline__ vec<4> load_vec<4>(const float *p)\n"
"{\n"
"    const float4 f = *(const float4 *)p;\n"
"    vec<4> v;\n"
"    v.x[0] = f.x;\n"
"    v.x[1] = f.y;\n"
"    v.x[2] = f.z;\n"
"    v.x[3] = f.w;\n"
"    return v;\n"
"}\n"
"__device__ __forceinline__ void store_vec(float *p, const vec<1> &v) { p[0] = v.x[0]; }\n"
"__device__ __forceinline__ void store_vec(float *p, const vec<4> &v)\n"
"{\n"
"    *(float4 *)p = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);\n"
"}\n"
"\n"
"/* ---- norms ------------------------------------------------------------------------------------------------------- */\n"
"\n"
"/* The sum over the threads of a group, in one order whatever the machine does: lanes by halves, then warps one by one.\n"
" * A group is blockDim.x threads; with more than one warp it is the whole block (blockDim.y is 1). */\n"
"__device__ __forceinline__ float group_sum(float x, float *shared)\n"
"{\n"
"    const int warp = threadIdx.x / 32, n_warps = blockDim.x / 32;\n"
"    #pragma unroll\n"
"    for (int mask = 16; mask; mask /= 2) x += shfl_xor(x, mask);\n"
"    if (n_warps == 1) return x;\n"
"    block_sync(); /* the last sum has been read */\n"
"    if (threadIdx.x % 32 == 0) shared[warp] = x;\n"
"    block_sync();\n"
"    x = 0;\n"
"    for (int w = 0; w < n_warps; w++) x += shared[w];\n"
"    return x;\n"
"}\n"
"\n"
"#ifndef BACK\n"
"/* One row of n values. The first HELD loads of a thread stay in registers; what is longer is read again. */\n"
"enum { HELD = 4 };\n"
"template <int V>\n"
"__device__ __forceinline__ void norm_row(const float *x, float *out, const float *w, const float *b, int n, float eps,\n"
"                                         bool layer, float *shared)\n"
"{\n"
"    const int first = threadIdx.x * V, step = blockDim.x * V, last = first + HELD * step;\n"
"    vec<V> v[HELD];\n"
"    float mean = 0, sum = 0;\n"
"    #pragma unroll\n"
"    for (int c = 0; c < HELD; c++) {\n"
"        const int i = first + c * step;\n"
"        #pragma unroll\n"
"        for (int j = 0; j < V; j++) v[c].x[j] = 0;\n"
"        if (i < n) v[c] = load_vec<V>(x + i);\n"
"    }\n"
"    if (layer) {\n"
"        #pragma unroll\n"
"        for (int c = 0; c < HELD; c++)\n"
"            #pragma unroll\n"
"            for (int j = 0; j < V; j++) sum += v[c].x[j];\n"
"        for (int i = last; i < n; i += step) {\n"
"            const vec<V> u = load_vec<V>(x + i);\n"
"            #pragma unroll\n"
"            for (int j = 0; j < V; j++) sum += u.x[j];\n"
"        }\n"
"        mean = group_sum(sum, shared) / (float)n;\n"
"        sum = 0;\n"
"    }\n"
"    #pragma unroll\n"
"    for (int c = 0; c < HELD; c++)\n"
"        if (first + c * step < n)\n"
"            #pragma unroll\n"
"            for (int j = 0; j < V; j++) {\n"
"                v[c].x[j] -= mean;\n"
"                sum = fmaf(v[c].x[j], v[c].x[j], sum);\n"
"            }\n"
"    for (int i = last; i < n; i += step) {\n"
"        const vec<V> u = load_vec<V>(x + i);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < V; j++) sum = fmaf(u.x[j] - mean, u.x[j] - mean, sum);\n"
"    }\n"
"    const float scale = 1.0f / sqrtf(group_sum(sum, shared) / (float)n + eps);\n"
"    int c = 0;\n"
"    #pragma unroll\n"
"    for (; c < HELD; c++) {\n"
"        const int i = first + c * step;\n"
"        if (i >= n) break;\n"
"        #pragma unroll\n",
"        for (int j = 0; j < V; j++) v[c].x[j] *= scale;\n"
"        if (w) {\n"
"            const vec<V> f = load_vec<V>(w + i);\n"
"            #pragma unroll\n"
"            for (int j = 0; j < V; j++) v[c].x[j] *= f.x[j];\n"
"        }\n"
"        if (b) {\n"
"            const vec<V> f = load_vec<V>(b + i);\n"
"            #pragma unroll\n"
"            for (int j = 0; j < V; j++) v[c].x[j] += f.x[j];\n"
"        }\n"
"        store_vec(out + i, v[c]);\n"
"    }\n"
"    for (int i = last; i < n; i += step) {\n"
"        vec<V> u = load_vec<V>(x + i);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < V; j++) {\n"
"            u.x[j] = (u.x[j] - mean) * scale;\n"
"            if (w) u.x[j] *= w[i + j];\n"
"            if (b) u.x[j] += b[i + j];\n"
"        }\n"
"        store_vec(out + i, u);\n"
"    }\n"
"}\n"
"\n"
"/* RMS:   out = x / sqrt(mean(x^2) + eps) * w          Layer: out = (x - mean) / sqrt(var + eps) * w + b\n"
" * n_rows rows of n_group groups of n values, one group after the other. w, b (n) may be NULL; out may be x.\n"
" * grid: groups of all rows / blockDim.y; block (threads of a group, groups). A warp a group, or a block a group. */\n"
"template <int V>\n"
"__device__ __forceinline__ void norm_groups(const float *x, i64 x_stride, float *out, i64 out_stride, const float *w,\n"
"                                            const float *b, int n_rows, int n_group, int n, float eps, int layer,\n"
"                                            float *shared)\n"
"{\n"
"    const i64 at = (i64)blockIdx.x * blockDim.y + threadIdx.y, row = at / n_group, group = at % n_group;\n"
"    if (row >= n_rows) return; /* whole warps */\n"
"    norm_row<V>(x + row * x_stride + group * n, out + row * out_stride + group * n, w, b, n, eps, layer != 0, shared);\n"
"}\n"
"KERNEL __launch_bounds__(1024) norm_4(const float *x, i64 x_stride, float *out, i64 out_stride, const float *w,\n"
"                                      const float *b, int n_rows, int n_group, int n, float eps, int layer)\n"
"{\n"
"    __shared__ float shared[32];\n"
"    norm_groups<4>(x, x_stride, out, out_stride, w, b, n_rows, n_group, n, eps, layer, shared);\n"
"}\n"
"KERNEL __launch_bounds__(1024) norm_1(const float *x, i64 x_stride, float *out, i64 out_stride, const float *w,\n"
"                                      const float *b, int n_rows, int n_group, int n, float eps, int layer)\n"
"{\n"
"    __shared__ float shared[32];\n"
"    norm_groups<1>(x, x_stride, out, out_stride, w, b, n_rows, n_group, n, eps, layer, shared);\n"
"}\n"
"\n"
"#else\n"
"\n"
"/* Of norm: with x^ = (x - mean) * scale, RMS: mean = 0, and g = dy * w\n"
" *\n"
" *   dx = add + (g - mean(g) - x^ mean(g x^)) * scale      RMS: without mean(g)\n"
" *   dw += the sum of dy x^, db += the sum of dy, over rows and groups\n"
" *\n"
" * stats (groups, 2): the mean and the scale of each, which norm_back leaves to norm_back_w. add, w may be NULL: 0 and\n"
" * 1. dw, db may be NULL; x too, for norm_back_w without dw. */\n"
"struct norm_back_args {\n"
"    const float *x, *dy, *w, *add;\n"
"    float *dx, *dw, *db, *stats;\n"
"    i64 x_stride, dy_stride, dx_stride;\n"
"    int n_rows, n_group, n, layer;\n"
"    float eps;\n"
"};\n"
"\n"
"/* dx and stats. grid: groups of all rows / blockDim.y; block (threads of a group, groups): as norm. dx may be add. */\n"
"KERNEL __launch_bounds__(1024) norm_back(const norm_back_args a)\n"
"{\n"
"    __shared__ float shared[32];\n"
"    const i64 at = (i64)blockIdx.x * blockDim.y + threadIdx.y, row = at / a.n_group, group = at % a.n_group * a.n;\n"
"    if (row >= a.n_rows) return; /* whole warps */\n"
"    const float *x = a.x + row * a.x_stride + group, *dy = a.dy + row * a.dy_stride + group;\n"
"    const float *add = a.add ? a.add + row * a.dx_stride + group : a.add;\n"
"    float *dx = a.dx + row * a.dx_stride + group, mean = 0, g_mean = 0, sum = 0, both = 0;\n"
"    if (a.layer) {\n"
"        for (int i = threadIdx.x; i < a.n; i += blockDim.x) sum += x[i];\n"
"        mean = group_sum(sum, shared) / (float)a.n;\n",
"        sum = 0;\n"
"    }\n"
"    for (int i = threadIdx.x; i < a.n; i += blockDim.x) sum = fmaf(x[i] - mean, x[i] - mean, sum);\n"
"    const float scale = 1.0f / sqrtf(group_sum(sum, shared) / (float)a.n + a.eps);\n"
"    sum = 0;\n"
"    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {\n"
"        const float g = a.w ? dy[i] * a.w[i] : dy[i];\n"
"        sum += g;\n"
"        both = fmaf(g, (x[i] - mean) * scale, both);\n"
"    }\n"
"    if (a.layer) g_mean = group_sum(sum, shared) / (float)a.n;\n"
"    const float gx_mean = group_sum(both, shared) / (float)a.n;\n"
"    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {\n"
"        const float g = a.w ? dy[i] * a.w[i] : dy[i], d = (g - g_mean - (x[i] - mean) * scale * gx_mean) * scale;\n"
"        dx[i] = add ? add[i] + d : d;\n"
"    }\n"
"    if (threadIdx.x) return;\n"
"    a.stats[2 * at] = mean;\n"
"    a.stats[2 * at + 1] = scale;\n"
"}\n"
"\n"
"/* dw and db of 32 columns: 32 sums of every 32nd group each, then those in their order. grid n / 32, block (32, 32). */\n"
"KERNEL __launch_bounds__(1024) norm_back_w(const norm_back_args a)\n"
"{\n"
"    __shared__ float w_sums[32][32], b_sums[32][32];\n"
"    const int x = threadIdx.x, y = threadIdx.y, column = blockIdx.x * 32 + x;\n"
"    const i64 n = (i64)a.n_rows * a.n_group;\n"
"    float w_sum = 0, b_sum = 0;\n"
"    for (i64 at = y; at < n && column < a.n; at += 32) {\n"
"        const i64 row = at / a.n_group, i = at % a.n_group * a.n + column;\n"
"        const float d = a.dy[row * a.dy_stride + i];\n"
"        b_sum += d;\n"
"        if (a.dw) w_sum = fmaf(d, (a.x[row * a.x_stride + i] - a.stats[2 * at]) * a.stats[2 * at + 1], w_sum);\n"
"    }\n"
"    w_sums[y][x] = w_sum;\n"
"    b_sums[y][x] = b_sum;\n"
"    block_sync();\n"
"    if (y || column >= a.n) return;\n"
"    for (int i = 1; i < 32; i++) {\n"
"        w_sum += w_sums[i][x];\n"
"        b_sum += b_sums[i][x];\n"
"    }\n"
"    if (a.dw) a.dw[column] += w_sum;\n"
"    if (a.db) a.db[column] += b_sum;\n"
"}\n"
"#endif\n"
"\n"
"/* ---- element by element ------------------------------------------------------------------------------------------ */\n"
"\n"
"enum { SILU, GELU_TANH, GELU, TANH, SIGMOID, RELU2 }; /* as hyb_act_kind */\n"
"__device__ __forceinline__ float gelu_tanh(float x) { return tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)); }\n"
"__device__ __forceinline__ float activate(float x, int act)\n"
"{\n"
"    if (act == SILU) return x / (1.0f + expf(-x));\n"
"    if (act == TANH) return tanhf(x);\n"
"    if (act == SIGMOID) return 1.0f / (1.0f + expf(-x));\n"
"    if (act == RELU2) return x < 0.0f ? 0.0f : x * x; /* NaN stays */\n"
"    if (act == GELU_TANH) return 0.5f * x * (1.0f + gelu_tanh(x));\n"
"    return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));\n"
"}\n"
"\n"
"#ifndef BACK\n"
"/* out = act(gate) * up, or act(gate) when up is NULL. grid (n / (256 V), n_rows), block 256. out may be gate or up. */\n"
"template <int V>\n"
"__device__ __forceinline__ void glu_row(const float *gate, i64 gate_stride, const float *up, i64 up_stride, float *out,\n"
"                                        i64 out_stride, int n, int act)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x) * V;\n"
"    const i64 row = blockIdx.y;\n"
"    if (i >= n) return;\n"
"    vec<V> g = load_vec<V>(gate + row * gate_stride + i);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < V; j++) g.x[j] = activate(g.x[j], act);\n"
"    if (up) {\n"
"        const vec<V> u = load_vec<V>(up + row * up_stride + i);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < V; j++) g.x[j] *= u.x[j];\n"
"    }\n"
"    store_vec(out + row * out_stride + i, g);\n"
"}\n"
"KERNEL __launch_bounds__(256) glu_4(const float *gate, i64 gate_stride, const float *up, i64 up_stride, float *out,\n"
"                                    i64 out_stride, int n, int act)\n"
"{\n"
"    glu_row<4>(gate, gate_stride, up, up_stride, out, out_stride, n, act);\n"
"}\n",
"KERNEL __launch_bounds__(256) glu_1(const float *gate, i64 gate_stride, const float *up, i64 up_stride, float *out,\n"
"                                    i64 out_stride, int n, int act)\n"
"{\n"
"    glu_row<1>(gate, gate_stride, up, up_stride, out, out_stride, n, act);\n"
"}\n"
"\n"
"#else\n"
"\n"
"/* The derivative of activate. */\n"
"__device__ __forceinline__ float slope(float x, int act)\n"
"{\n"
"    if (act == TANH) {\n"
"        const float t = tanhf(x);\n"
"        return 1.0f - t * t;\n"
"    }\n"
"    if (act == RELU2) return x < 0.0f ? 0.0f : 2.0f * x;\n"
"    if (act == GELU_TANH) {\n"
"        const float t = gelu_tanh(x);\n"
"        return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608028654f * (1.0f + 0.134145f * x * x);\n"
"    }\n"
"    if (act == GELU) return 0.5f * (1.0f + erff(x * 0.7071067811865476f)) + x * expf(-0.5f * x * x) * 0.3989422804f;\n"
"    const float s = 1.0f / (1.0f + expf(-x));\n"
"    return act == SILU ? s * (1.0f + x * (1.0f - s)) : s * (1.0f - s);\n"
"}\n"
"\n"
"/* Of glu: dgate = dout * up * act'(gate), dup = dout * act(gate); up NULL: dgate = dout * act'(gate). dgate may be\n"
" * gate, dup may be up. grid (n_rows, n / 256), block 256. */\n"
"KERNEL __launch_bounds__(256) glu_back(const float *gate, const float *up, const float *dout, float *dgate, float *dup,\n"
"                                       i64 stride, i64 dout_stride, int n, int act)\n"
"{\n"
"    const int i = (int)(blockIdx.y * 256 + threadIdx.x);\n"
"    const i64 at = blockIdx.x * stride + i;\n"
"    if (i >= n) return;\n"
"    const float x = gate[at], d = dout[blockIdx.x * dout_stride + i];\n"
"    const float before = up ? d * up[at] : d; /* of what act made */\n"
"    if (up) dup[at] = d * activate(x, act);\n"
"    dgate[at] = before * slope(x, act);\n"
"}\n"
"#endif\n"
"\n"
"#ifndef BACK\n"
"/* out = x + y, x * factor, factor * tanh(x / factor): n values. out may be x or y. grid n / (256 V), block 256. */\n"
"enum { ADD, SCALE, SOFTCAP };\n"
"template <int V>\n"
"__device__ __forceinline__ void values_row(float *out, const float *x, const float *y, float factor, i64 n, int kind)\n"
"{\n"
"    const i64 i = ((i64)blockIdx.x * 256 + threadIdx.x) * V;\n"
"    if (i >= n) return;\n"
"    vec<V> v = load_vec<V>(x + i);\n"
"    if (kind == ADD) {\n"
"        const vec<V> u = load_vec<V>(y + i);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < V; j++) v.x[j] += u.x[j];\n"
"    } else {\n"
"        #pragma unroll\n"
"        for (int j = 0; j < V; j++) v.x[j] = kind == SCALE ? v.x[j] * factor : factor * tanhf(v.x[j] / factor);\n"
"    }\n"
"    store_vec(out + i, v);\n"
"}\n"
"KERNEL __launch_bounds__(256) values_4(float *out, const float *x, const float *y, float factor, i64 n, int kind)\n"
"{\n"
"    values_row<4>(out, x, y, factor, n, kind);\n"
"}\n"
"KERNEL __launch_bounds__(256) values_1(float *out, const float *x, const float *y, float factor, i64 n, int kind)\n"
"{\n"
"    values_row<1>(out, x, y, factor, n, kind);\n"
"}\n"
"\n"
"/* out (rows, n) = add + sum over s of weights (rows, n_used) [r][s] * x (rows * n_used, n) [r * n_used + s], in the\n"
" * order of s. out may be add. grid (n / (256 V), rows), block 256. */\n"
"template <int V>\n"
"__device__ __forceinline__ void combine_row(const float *x, const float *weights, int n_used, int n, const float *add,\n"
"                                            float *out)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x) * V;\n"
"    const i64 row = blockIdx.y;\n"
"    if (i >= n) return;\n"
"    vec<V> v = load_vec<V>(add + row * n + i), sum;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < V; j++) sum.x[j] = 0;\n"
"    for (int s = 0; s < n_used; s++) {\n"
"        const float w = weights[row * n_used + s];\n"
"        const vec<V> u = load_vec<V>(x + (row * n_used + s) * n + i);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < V; j++) sum.x[j] = fmaf(w, u.x[j], sum.x[j]);\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < V; j++) v.x[j] += sum.x[j];\n",
"    store_vec(out + row * n + i, v);\n"
"}\n"
"KERNEL __launch_bounds__(256)\n"
"    combine_4(const float *x, const float *weights, int n_used, int n, const float *add, float *out)\n"
"{\n"
"    combine_row<4>(x, weights, n_used, n, add, out);\n"
"}\n"
"KERNEL __launch_bounds__(256)\n"
"    combine_1(const float *x, const float *weights, int n_used, int n, const float *add, float *out)\n"
"{\n"
"    combine_row<1>(x, weights, n_used, n, add, out);\n"
"}\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_rope[] = {
"/* rope: cosines and sines of the positions of a batch, and the rotation of heads. Needs prelude. */\n"
"\n"
"/* Sine and cosine as compute/cpu/trig.c makes them (the built-in ones keep a table in local memory): the nearest\n"
" * quarter turn is taken off in three parts, the rest goes into the two series. */\n"
"DEVICE void sine_cosine(double x, double *sine, double *cosine)\n"
"{\n"
"    const double n = rint(x * 0.63661977236758134308),\n"
"                 r = fma(-n, 5.170182981794105e-19,\n"
"                         fma(-n, 9.920935791635221e-10, fma(-n, 1.57079632580280303955078125, x))),\n"
"                 z = r * r;\n"
"    const int quadrant = (int)((i64)n & 3);\n"
"    double s = 1.0 / 355687428096000.0, c = -1.0 / 6402373705728000.0;\n"
"    s = fma(s, z, -1.0 / 1307674368000.0);\n"
"    c = fma(c, z, 1.0 / 20922789888000.0);\n"
"    s = fma(s, z, 1.0 / 6227020800.0);\n"
"    c = fma(c, z, -1.0 / 87178291200.0);\n"
"    s = fma(s, z, -1.0 / 39916800.0);\n"
"    c = fma(c, z, 1.0 / 479001600);\n"
"    s = fma(s, z, 1.0 / 362880);\n"
"    c = fma(c, z, -1.0 / 3628800);\n"
"    s = fma(s, z, -1.0 / 5040);\n"
"    c = fma(c, z, 1.0 / 40320);\n"
"    s = fma(s, z, 1.0 / 120);\n"
"    c = fma(c, z, -1.0 / 720);\n"
"    s = fma(s, z, -1.0 / 6);\n"
"    c = fma(c, z, 1.0 / 24);\n"
"    s = fma(r * z, s, r);\n"
"    c = fma(z * z, c, 1 - z / 2);\n"
"    *sine = quadrant & 1 ? c : s;\n"
"    *cosine = quadrant & 1 ? s : c;\n"
"    if (quadrant & 2) *sine = -*sine;\n"
"    if ((quadrant + 1) & 2) *cosine = -*cosine;\n"
"}\n"
"\n"
"/* table (n, half, 2) = cos, sin of pos * inv_freq, times scale; angles in double. grid (half / 64, n), block 64. */\n"
"KERNEL __launch_bounds__(64) rope_table(const int *pos, const double *inv_freq, int half, float scale, float *table)\n"
"{\n"
"    const int i = blockIdx.x * 64 + threadIdx.x, row = blockIdx.y;\n"
"    double s, c;\n"
"    if (i >= half) return;\n"
"    sine_cosine((double)pos[row] * inv_freq[i], &s, &c);\n"
"    *(float2 *)(table + ((i64)row * half + i) * 2) = make_float2((float)c * scale, (float)s * scale);\n"
"}\n"
"\n"
"/* Rotates the first 2 half values of each head: pairs (2i, 2i+1), or with neox (i, i + half). A pair (a, b) becomes (a\n"
" * c - b s, a s + b c). out may be x: then a head takes `each` = half threads, else each = head_dim - half, of which the\n"
" * last ones copy what is not rotated. grid (n_head * each / 128, n), block 128. */\n"
"KERNEL __launch_bounds__(128) rope(const float *x, i64 x_stride, float *out, i64 out_stride, const float *table,\n"
"                                   int n_head, int head_dim, int half, int neox, int each)\n"
"{\n"
"    const int at = blockIdx.x * 128 + threadIdx.x, head = at / each, i = at % each;\n"
"    const i64 row = blockIdx.y;\n"
"    if (head >= n_head) return;\n"
"    const float *from = x + row * x_stride + (i64)head * head_dim;\n"
"    float *to = out + row * out_stride + (i64)head * head_dim;\n"
"    if (i >= half) {\n"
"        to[half + i] = from[half + i];\n"
"        return;\n"
"    }\n"
"    const float2 t = *(const float2 *)(table + (row * half + i) * 2);\n"
"    const int first = neox ? i : 2 * i, second = first + (neox ? half : 1);\n"
"    const float a = from[first], b = from[second];\n"
"    float *p = to + first, *q = to + second;\n"
"    *p = a * t.x - b * t.y;\n"
"    *q = a * t.y + b * t.x;\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_kv[] = {
"/* kv: rows of k and v into the pages of a cache. Needs prelude.\n"
" *\n"
" * A page holds 32 positions of all kv heads: position slot s of head h lies at (h * 32 + s) * row_bytes of a page. */\n"
"\n"
"enum { KV_F16, KV_Q8_0, KV_F32 };\n"
"\n"
"/* Value x of lane i of 32 consecutive ones goes to row[0..n) at i. The 32 lanes of a warp come together; those at n\n"
" * and above have none. */\n"
"__device__ __forceinline__ void kv_value(char *row, int i, int n, float x, int type)\n"
"{\n"
"    if (type == KV_F32) {\n"
"        if (i < n) ((float *)row)[i] = x;\n"
"    } else if (type == KV_F16) {\n"
"        if (i < n) ((half_t *)row)[i] = f2h(x);\n"
"    } else { /* d = max |x| / 127, q = x / d rounded to even; not finite: d is that, every q is 0 */\n"
"        int most = __float_as_int(x) & 0x7FFFFFFF; /* as bits: NaN is above inf */\n"
"        #pragma unroll\n"
"        for (int mask = 16; mask; mask /= 2) most = max(most, shfl_xor(most, mask));\n"
"        const float d = __int_as_float(most) / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;\n"
"        char *block = row + i / 32 * 34;\n"
"        if (i >= n) return;\n"
"        if (i % 32 == 0) *(half_t *)block = f2h(d);\n"
"        ((i8 *)block)[2 + i % 32] = (i8)(most < 0x7F800000 ? (int)rintf(x * inverse) : 0);\n"
"    }\n"
"}\n"
"\n"
"/* grid (2 n_head_kv, n): k's heads, then v's; block 128 (whole warps share a block of 32 values). */\n"
"KERNEL __launch_bounds__(128)\n"
"    kv_store(const float *k, i64 k_stride, const float *v, i64 v_stride, char *k_cache, char *v_cache, i64 page_bytes_k,\n"
"             i64 page_bytes_v, int row_bytes_k, int row_bytes_v, int n_head_kv, int head_dim_k, int head_dim_v,\n"
"             const int *pos, const int *run_of_row, const int *pages, int pages_a_seq, int type)\n"
"{\n"
"    const bool is_v = (int)blockIdx.x >= n_head_kv;\n"
"    const int head = (int)blockIdx.x - (is_v ? n_head_kv : 0), n = is_v ? head_dim_v : head_dim_k, p = pos[blockIdx.y];\n"
"    const i64 row = blockIdx.y, page = pages[(i64)run_of_row[row] * pages_a_seq + p / 32];\n"
"    const float *x = is_v ? v + row * v_stride + (i64)head * n : k + row * k_stride + (i64)head * n;\n"
"    char *to = is_v ? v_cache + page * page_bytes_v + (i64)(head * 32 + p % 32) * row_bytes_v\n"
"                    : k_cache + page * page_bytes_k + (i64)(head * 32 + p % 32) * row_bytes_k;\n"
"    for (int i = threadIdx.x; i < (n + 31) / 32 * 32; i += 128) kv_value(to, i, n, i < n ? x[i] : 0.0f, type);\n"
"}\n"
"\n"
"/* ---- all that happens to heads between the products and attention, in one launch --------------------------------- */\n"
"\n"
"struct heads_args {\n"
"    const float *q, *k, *v;       /* rows of heads, each at `stride` floats */\n"
"    float *q_out, *k_out;         /* may be q and k */\n"
"    const float *q_norm, *k_norm; /* dim_k weights of a norm of every head, or NULL */\n"
"    const float *table;           /* (n, half, 2), as rope.cu makes it */\n"
"    char *k_cache, *v_cache;\n"
"    const int *pos, *run_of_row, *pages;\n"
"    i64 stride, out_stride, page_bytes_k, page_bytes_v;\n"
"    int n_head, n_head_kv, dim_k, dim_v, row_bytes_k, row_bytes_v, pages_a_seq, type;\n"
"    int half, neox, layer; /* half 0: no rotation; layer: LayerNorm instead of RMS */\n"
"    float eps;\n"
"};\n"
"enum { HEAD_VALUES = 8 }; /* of a lane: heads of up to 256 */\n"
"\n"
"DEVICE void head_norm(float x[HEAD_VALUES], const float *w, int n, float eps, bool layer)\n"
"{\n"
"    const int lane = threadIdx.x % 32;\n"
"    float mean = 0, sum = 0;\n"
"    if (layer) {\n"
"        #pragma unroll\n"
"        for (int j = 0; j < HEAD_VALUES; j++) mean += x[j]; /* zeros after n */\n"
"        mean = warp_sum(mean) / (float)n;\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < HEAD_VALUES; j++)\n"
"        if (lane + 32 * j < n) {\n"
"            x[j] -= mean;\n"
"            sum = fmaf(x[j], x[j], sum);\n"
"        }\n"
"    const float scale = 1.0f / sqrtf(warp_sum(sum) / (float)n + eps);\n"
"    #pragma unroll\n",
"    for (int j = 0; j < HEAD_VALUES; j++)\n"
"        if (lane + 32 * j < n) x[j] *= scale * w[lane + 32 * j];\n"
"}\n"
"\n"
"/* A lane's values are i = lane + 32 j; its partners in the pairs may be another lane's. */\n"
"DEVICE void head_rotate(float x[HEAD_VALUES], float *shared, const float *table, int half, bool neox)\n"
"{\n"
"    const int lane = threadIdx.x % 32;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < HEAD_VALUES; j++) shared[lane + 32 * j] = x[j];\n"
"    warp_sync();\n"
"    #pragma unroll\n"
"    for (int j = 0; j < HEAD_VALUES; j++) {\n"
"        const int i = lane + 32 * j;\n"
"        if (i >= 2 * half) break;\n"
"        const bool first = neox ? i < half : i % 2 == 0;\n"
"        const float2 t = *(const float2 *)(table + 2 * (neox ? i % half : i / 2));\n"
"        const float other = shared[neox ? (first ? i + half : i - half) : i ^ 1];\n"
"        x[j] = first ? x[j] * t.x - other * t.y : other * t.y + x[j] * t.x;\n"
"    }\n"
"}\n"
"\n"
"/* q: normed and rotated. k: too, and stored. v: stored. A warp a head; grid ((n_head + 2 n_head_kv) / 4, n), block\n"
" * 128. */\n"
"KERNEL __launch_bounds__(128) heads(const heads_args a)\n"
"{\n"
"    __shared__ float shared[4][32 * HEAD_VALUES];\n"
"    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = blockIdx.x * 4 + warp;\n"
"    const bool is_q = at < a.n_head, is_v = at >= a.n_head + a.n_head_kv;\n"
"    const int head = is_q ? at : (at - a.n_head) % a.n_head_kv, n = is_v ? a.dim_v : a.dim_k;\n"
"    const i64 row = blockIdx.y;\n"
"    const float *norm = is_v ? (const float *)0 : is_q ? a.q_norm : a.k_norm;\n"
"    if (at >= a.n_head + 2 * a.n_head_kv) return;\n"
"    const float *from = (is_q ? a.q : is_v ? a.v : a.k) + row * a.stride + (i64)head * n;\n"
"    float x[HEAD_VALUES];\n"
"    #pragma unroll\n"
"    for (int j = 0; j < HEAD_VALUES; j++) x[j] = lane + 32 * j < n ? from[lane + 32 * j] : 0.0f;\n"
"    if (norm) head_norm(x, norm, n, a.eps, a.layer != 0);\n"
"    if (!is_v && a.half) head_rotate(x, shared[warp], a.table + row * a.half * 2, a.half, a.neox != 0);\n"
"    if (!is_v) {\n"
"        float *to = (is_q ? a.q_out : a.k_out) + row * a.out_stride + (i64)head * n;\n"
"        #pragma unroll\n"
"        for (int j = 0; j < HEAD_VALUES; j++)\n"
"            if (lane + 32 * j < n) to[lane + 32 * j] = x[j];\n"
"    }\n"
"    if (is_q) return;\n"
"    const int p = a.pos[row];\n"
"    const i64 page = a.pages[(i64)a.run_of_row[row] * a.pages_a_seq + p / 32];\n"
"    char *to = is_v ? a.v_cache + page * a.page_bytes_v + (i64)(head * 32 + p % 32) * a.row_bytes_v\n"
"                    : a.k_cache + page * a.page_bytes_k + (i64)(head * 32 + p % 32) * a.row_bytes_k;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < HEAD_VALUES; j++)\n"
"        if (32 * j < n) kv_value(to, lane + 32 * j, n, x[j], a.type);\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_select[] = {
"/* select: the k largest of a row of logits with their ids (equal ones: the lower id first), its maximum, and the sum of\n"
" * e^(x - maximum). Exact, and the same every time. Needs prelude.\n"
" *\n"
" * Two steps: every chunk of 4096 logits keeps its k largest, in order of id; then one block a row selects among these\n"
" * and sorts. A selection is a search for the key of the last one that is kept: by histograms over its bits, 11 + 11\n"
" * + 10, from the top. */\n"
"\n"
"enum { CHUNK_VALUES = 4096, BINS = 2048, MOST = 256 };\n"
"/* keep the keys above key, and the first `equal` of those that are key */\n"
"struct cut {\n"
"    u32 key;\n"
"    int equal;\n"
"};\n"
"\n"
"struct select_shared {\n"
"    int bins[BINS], warps[32], found, left;\n"
"    float most[32], sums[32];\n"
"};\n"
"\n"
"/* Unsigned integers in the order of the floats (-0 = 0). */\n"
"DEVICE u32 order_of(float x)\n"
"{\n"
"    const u32 u = __float_as_uint(x + 0.0f);\n"
"    return u & 0x80000000u ? ~u : u | 0x80000000u;\n"
"}\n"
"\n"
"/* The sum of x over the threads below this one. */\n"
"DEVICE int sum_below(int x, int *warps)\n"
"{\n"
"    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n"
"    int sum = x;\n"
"    #pragma unroll\n"
"    for (int d = 1; d < 32; d *= 2) {\n"
"        const int other = shfl(sum, (lane - d) & 31);\n"
"        if (lane >= d) sum += other;\n"
"    }\n"
"    block_sync(); /* the last sums have been read */\n"
"    if (lane == 31) warps[warp] = sum;\n"
"    block_sync();\n"
"    sum -= x;\n"
"    for (int w = 0; w < warp; w++) sum += warps[w];\n"
"    return sum;\n"
"}\n"
"\n"
"/* One digit: of the keys that agree with prefix in the bits of mask, the largest digit at which `left` keys are\n"
" * reached. */\n"
"template <class Keys>\n"
"DEVICE void find_digit(const Keys &key, int count, select_shared *s, u32 *prefix, u32 *mask, int *left, int shift,\n"
"                       u32 digits)\n"
"{\n"
"    const int threads = blockDim.x, each = BINS / threads;\n"
"    for (int i = threadIdx.x; i < BINS; i += threads) s->bins[i] = 0;\n"
"    block_sync();\n"
"    #pragma unroll\n"
"    for (int j = 0; j < count; j++) {\n"
"        const u32 x = key(j);\n"
"        /* largest digit first */\n"
"        if ((x & *mask) == *prefix) atomicAdd(&s->bins[BINS - 1 - (x >> shift & (digits - 1))], 1);\n"
"    }\n"
"    block_sync();\n"
"    int mine = 0;\n"
"    for (int i = 0; i < each; i++) mine += s->bins[threadIdx.x * each + i];\n"
"    const int below = sum_below(mine, s->warps);\n"
"    if (below < *left && *left <= below + mine) { /* one thread */\n"
"        int at = threadIdx.x * each, n = below;\n"
"        while (n + s->bins[at] < *left) n += s->bins[at++];\n"
"        s->found = BINS - 1 - at;\n"
"        s->left = *left - n;\n"
"    }\n"
"    block_sync();\n"
"    *prefix |= (u32)s->found << shift;\n"
"    *mask |= (digits - 1) << shift;\n"
"    *left = s->left;\n"
"}\n"
"\n"
"/* Of all threads' keys (in order of thread, then j), of which there are at least k, the cut that keeps k. */\n"
"template <class Keys> DEVICE cut find_cut(const Keys &key, int count, int k, select_shared *s)\n"
"{\n"
"    u32 prefix = 0, mask = 0;\n"
"    int left = k;\n"
"    find_digit(key, count, s, &prefix, &mask, &left, 21, 2048);\n"
"    find_digit(key, count, s, &prefix, &mask, &left, 10, 2048);\n"
"    find_digit(key, count, s, &prefix, &mask, &left, 0, 1024);\n"
"    cut c;\n"
"    c.key = prefix;\n"
"    c.equal = left;\n"
"    return c;\n"
"}\n"
"\n"
"/* Calls keep(place, j) for what a cut keeps, place = 0 .. k - 1 in order. */\n"
"template <class Keys, class Keep>\n"
"DEVICE void apply_cut(const Keys &key, int count, cut c, select_shared *s, const Keep &keep)\n"
"{\n"
"    int above = 0, equal = 0;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < count; j++) {\n"
"        above += key(j) > c.key;\n"
"        equal += key(j) == c.key;\n"
"    }\n"
"    int equal_below = sum_below(equal, s->warps), place = sum_below(above, s->warps) + min(equal_below, c.equal);\n"
"    #pragma unroll\n",
"    for (int j = 0; j < count; j++) {\n"
"        const u32 x = key(j);\n"
"        if (x > c.key || (x == c.key && equal_below++ < c.equal)) keep(place++, j);\n"
"    }\n"
"}\n"
"\n"
"/* grid (chunks, n_rows), block 256. keys, ids (n_rows, chunks, k); parts (n_rows, chunks, 2): maximum, sum. What is\n"
" * after a row has id -1. */\n"
"KERNEL __launch_bounds__(256)\n"
"    top_k_chunk(const float *logits, i64 stride, int n_vocab, int k, u32 *keys, int *ids, float *parts)\n"
"{\n"
"    __shared__ select_shared s;\n"
"    const int first = blockIdx.x * CHUNK_VALUES + threadIdx.x * 16, lane = threadIdx.x % 32, warp = threadIdx.x / 32;\n"
"    const i64 part = (i64)blockIdx.y * gridDim.x + blockIdx.x;\n"
"    const float *x = logits + blockIdx.y * stride + first;\n"
"    float v[16], most = -__int_as_float(0x7F800000), sum = 0;\n"
"    u32 mine[16];\n"
"    if (first + 16 <= n_vocab && ((u64)x & 15) == 0) {\n"
"        #pragma unroll\n"
"        for (int j = 0; j < 4; j++) {\n"
"            const float4 f = ((const float4 *)x)[j];\n"
"            v[4 * j] = f.x;\n"
"            v[4 * j + 1] = f.y;\n"
"            v[4 * j + 2] = f.z;\n"
"            v[4 * j + 3] = f.w;\n"
"        }\n"
"    } else {\n"
"        #pragma unroll\n"
"        for (int j = 0; j < 16; j++) v[j] = first + j < n_vocab ? x[j] : -__int_as_float(0x7F800000);\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 16; j++) {\n"
"        mine[j] = first + j < n_vocab ? order_of(v[j]) : 0;\n"
"        most = fmaxf(most, v[j]);\n"
"    }\n"
"    most = warp_max(most);\n"
"    if (lane == 0) s.most[warp] = most;\n"
"    block_sync();\n"
"    for (int w = 0; w < 8; w++) most = fmaxf(most, s.most[w]);\n"
"    const float base = most < -3.4e38f ? 0.0f : most; /* all -inf: no NaN from it */\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 16; j++) sum += expf(v[j] - base);\n"
"    sum = warp_sum(sum);\n"
"    if (lane == 0) s.sums[warp] = sum;\n"
"    const auto key = [&](int j) { return mine[j]; };\n"
"    const cut c = find_cut(key, 16, k, &s);\n"
"    apply_cut(key, 16, c, &s, [&](int place, int j) {\n"
"        keys[part * k + place] = mine[j];\n"
"        ids[part * k + place] = first + j < n_vocab ? first + j : -1;\n"
"    });\n"
"    if (threadIdx.x == 0) {\n"
"        sum = 0;\n"
"        for (int w = 0; w < 8; w++) sum += s.sums[w];\n"
"        parts[2 * part] = most;\n"
"        parts[2 * part + 1] = sum;\n"
"    }\n"
"}\n"
"\n"
"/* grid n_rows, block 1024. out_ids, out_values (n_rows, k): the largest first; after n_vocab of them id -1, -inf.\n"
" * stats (n_rows, 2): maximum, sum. A NaN in a row makes its sum NaN. */\n"
"KERNEL __launch_bounds__(1024)\n"
"    top_k_row(const float *logits, i64 stride, int n_chunks, int k, const u32 *keys, const int *ids, const float *parts,\n"
"              int *out_ids, float *out_values, float *stats)\n"
"{\n"
"    __shared__ select_shared s;\n"
"    __shared__ u32 kept_key[MOST];\n"
"    __shared__ int kept_id[MOST];\n"
"    const i64 row = blockIdx.x, at = row * n_chunks * k;\n"
"    const int n = n_chunks * k, each = (n + 1023) / 1024, first = min((int)threadIdx.x * each, n),\n"
"              count = min(each, n - first);\n"
"    const auto key = [&](int j) { return keys[at + first + j]; };\n"
"    const cut c = find_cut(key, count, k, &s);\n"
"    apply_cut(key, count, c, &s, [&](int place, int j) {\n"
"        kept_key[place] = keys[at + first + j];\n"
"        kept_id[place] = ids[at + first + j];\n"
"    });\n"
"    block_sync();\n"
"    if ((int)threadIdx.x < k) {\n"
"        const u32 mine = kept_key[threadIdx.x];\n"
"        const int id = kept_id[threadIdx.x];\n"
"        int rank = 0;\n"
"        for (int j = 0; j < k; j++) rank += kept_key[j] > mine || (kept_key[j] == mine && j < (int)threadIdx.x);\n"
"        out_ids[row * k + rank] = id;\n"
"        out_values[row * k + rank] = id < 0 ? -__int_as_float(0x7F800000) : logits[row * stride + id];\n"
"    }\n"
"    if (threadIdx.x == 0) {\n"
"        float most = -__int_as_float(0x7F800000), sum = 0;\n",
"        for (int j = 0; j < n_chunks; j++) most = fmaxf(most, parts[2 * (row * n_chunks + j)]);\n"
"        for (int j = 0; j < n_chunks; j++) {\n"
"            const float m = parts[2 * (row * n_chunks + j)];\n"
"            sum = fmaf(parts[2 * (row * n_chunks + j) + 1], m == most ? 1.0f : expf(m - most), sum);\n"
"        }\n"
"        stats[2 * row] = most;\n"
"        stats[2 * row + 1] = sum;\n"
"    }\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_recurrent[] = {
"/* recurrent: what a layer keeps of a sequence from row to row, in slots. Needs prelude. -DBACK: the gradients of those\n"
" * instead, over runs that begin with nothing, each after its op. Sums have one order, and nothing is added up by two\n"
" * blocks.\n"
" *\n"
" * runs (n_runs, 4): first row, rows, the slot that the run goes on from (-1: zeros), the one that it leaves. They may\n"
" * be the same slot, so whoever reads a value of the one writes that value of the other, afterwards; other runs only\n"
" * read. */\n"
"\n"
"#ifndef BACK\n"
"/* out_i = x + (before - x) * mix_i, i < n_mix; rows without gaps, out_i at out + i * plane. grid (n / 256, rows), block\n"
" * 256. The first row of a run leaves the slot: the last one is there to be read. */\n"
"KERNEL __launch_bounds__(256) shift(const float *x, const float *mix, int n_mix, int n, float *slots, i64 slot_stride,\n"
"                                    float *out, i64 plane, const int *run_of_row, const int *runs)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    if (i >= n) return;\n"
"    const int *run = runs + 4 * run_of_row[blockIdx.y];\n"
"    const i64 row = blockIdx.y, at = row * n + i;\n"
"    const bool first = row == run[0];\n"
"    float before = 0;\n"
"    if (!first)\n"
"        before = x[at - n];\n"
"    else if (run[2] >= 0)\n"
"        before = slots[run[2] * slot_stride + i];\n"
"    if (first) slots[run[3] * slot_stride + i] = x[(i64)(run[0] + run[1] - 1) * n + i];\n"
"    const float now = x[at], back = before - now;\n"
"    for (int m = 0; m < n_mix; m++) out[m * plane + at] = fmaf(back, mix[(i64)m * n + i], now);\n"
"}\n"
"#else\n"
"/* Of shift: dx = the sum over i of dout_i (1 - mix_i) + that of the next row of the run * mix_i. grid (n / 256, rows),\n"
" * block 256. */\n"
"KERNEL __launch_bounds__(256) shift_back(const float *mix, int n_mix, int n, const float *dout, i64 plane, float *dx,\n"
"                                         const int *run_of_row, const int *runs)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    if (i >= n) return;\n"
"    const int *run = runs + 4 * run_of_row[blockIdx.y];\n"
"    const i64 row = blockIdx.y, at = row * n + i;\n"
"    const bool last = row + 1 == run[0] + run[1];\n"
"    float d = 0;\n"
"    for (int m = 0; m < n_mix; m++) {\n"
"        const float share = mix[(i64)m * n + i];\n"
"        d = fmaf(dout[m * plane + at], 1.0f - share, d);\n"
"        if (!last) d = fmaf(dout[m * plane + at + n], share, d);\n"
"    }\n"
"    dx[at] = d;\n"
"}\n"
"\n"
"/* The sum over rows of value(row), to the threads with threadIdx.y 0, each of a column: 32 sums of every 32nd row, then\n"
" * those in their order. block (32, 32). */\n"
"template <class Value> DEVICE float over_rows(int rows, bool there, const Value &value)\n"
"{\n"
"    __shared__ float sums[32][32];\n"
"    float sum = 0;\n"
"    for (int row = threadIdx.y; row < rows && there; row += 32) sum = value(row, sum);\n"
"    sums[threadIdx.y][threadIdx.x] = sum;\n"
"    block_sync();\n"
"    for (int y = 1; y < 32 && threadIdx.y == 0; y++) sum += sums[y][threadIdx.x];\n"
"    return sum;\n"
"}\n"
"\n"
"/* dmix_i += the sum over rows of dout_i (before - x). grid (n / 32, n_mix), block (32, 32). */\n"
"KERNEL __launch_bounds__(1024) shift_back_w(const float *x, int n, int rows, const float *dout, i64 plane, float *dmix,\n"
"                                            const int *run_of_row, const int *runs)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 32 + threadIdx.x), m = (int)blockIdx.y;\n"
"    const float sum = over_rows(rows, i < n, [&](int row, float before) {\n"
"        const i64 at = (i64)row * n + i;\n"
"        const float last = row == runs[4 * run_of_row[row]] ? 0.0f : x[at - n];\n"
"        return fmaf(dout[m * plane + at], last - x[at], before);\n"
"    });\n"
"    if (threadIdx.y == 0 && i < n) dmix[(i64)m * n + i] += sum;\n"
"}\n"
"#endif\n"
"\n"
"/* ---- the short convolution ---- */\n"
"\n"
"#ifndef BACK\n"
"struct conv_args {\n",
"    const float *bcx, *w; /* rows of b, c, x, n each; (n, taps) */\n"
"    float *slots, *out;   /* a slot: (taps - 1, n), the oldest first */\n"
"    const int *run_of_row, *runs;\n"
"    i64 stride, slot_stride, out_stride;\n"
"    int n, taps;\n"
"};\n"
"\n"
"/* Column i of the product of row t of a run; before its start, what the slot keeps. */\n"
"DEVICE float conv_value(const conv_args &a, const int *run, int t, int i)\n"
"{\n"
"    if (t >= 0) {\n"
"        const float *row = a.bcx + (run[0] + t) * a.stride + i;\n"
"        return row[0] * row[2 * a.n];\n"
"    }\n"
"    return run[2] < 0 ? 0.0f : a.slots[run[2] * a.slot_stride + (i64)(t + a.taps - 1) * a.n + i];\n"
"}\n"
"\n"
"/* grid (n / 256, rows), block 256. Those of the first row do all rows that need the slot, and leave it. */\n"
"KERNEL __launch_bounds__(256) shortconv(const conv_args a)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x), back = a.taps - 1;\n"
"    if (i >= a.n) return;\n"
"    const int *run = a.runs + 4 * a.run_of_row[blockIdx.y];\n"
"    const int first = (int)blockIdx.y - run[0], last = first ? first : min(back, run[1]) - 1;\n"
"    if (first && first < back) return;\n"
"    for (int t = first; t <= max(first, last); t++) {\n"
"        float sum = 0;\n"
"        for (int j = 0; j <= back; j++) sum = fmaf(a.w[(i64)i * a.taps + j], conv_value(a, run, t - back + j, i), sum);\n"
"        a.out[(run[0] + t) * a.out_stride + i] = a.bcx[(run[0] + t) * a.stride + a.n + i] * sum;\n"
"    }\n"
"    if (first) return;\n"
"    for (int j = 0; j < back; j++) /* upwards: a value moves down, to where nothing is read any more */\n"
"        a.slots[run[3] * a.slot_stride + (i64)j * a.n + i] = conv_value(a, run, run[1] - back + j, i);\n"
"}\n"
"#else\n"
"\n"
"/* Of rows of b, c, x, as dbcx is of their gradients; with u = b x, s(t) what c is multiplied with, k = taps - 1:\n"
" *\n"
" *   dc(t) = dout(t) s(t),  ds(t) = dout(t) c(t),  du(t) = the sum over j of w_j ds(t + k - j)\n"
" *   db(t) = du(t) x(t),  dx(t) = du(t) b(t),      dw_j += the sum over t of ds(t) u(t - k + j) */\n"
"struct conv_back_args {\n"
"    const float *bcx, *w, *dout;\n"
"    float *dbcx, *dw;\n"
"    const int *run_of_row, *runs;\n"
"    i64 stride, dout_stride, dbcx_stride;\n"
"    int n, taps, rows;\n"
"};\n"
"DEVICE float conv_u(const conv_back_args &a, i64 row, int i)\n"
"{\n"
"    return a.bcx[row * a.stride + i] * a.bcx[row * a.stride + 2 * a.n + i];\n"
"}\n"
"DEVICE float conv_ds(const conv_back_args &a, i64 row, int i)\n"
"{\n"
"    return a.dout[row * a.dout_stride + i] * a.bcx[row * a.stride + a.n + i];\n"
"}\n"
"\n"
"/* grid (n / 256, rows), block 256. */\n"
"KERNEL __launch_bounds__(256) shortconv_back(const conv_back_args a)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x), row = (int)blockIdx.y, back = a.taps - 1;\n"
"    if (i >= a.n) return;\n"
"    const int *run = a.runs + 4 * a.run_of_row[row];\n"
"    const int before = min(back, row - run[0]), after = min(back, run[0] + run[1] - 1 - row); /* rows */\n"
"    const float *w = a.w + (i64)i * a.taps, *from = a.bcx + row * a.stride + i;\n"
"    float *to = a.dbcx + row * a.dbcx_stride + i, sum = 0, du = 0;\n"
"    for (int j = back - before; j <= back; j++) sum = fmaf(w[j], conv_u(a, row - back + j, i), sum);\n"
"    for (int j = 0; j <= after; j++) du = fmaf(w[back - j], conv_ds(a, row + j, i), du);\n"
"    to[0] = du * from[2 * a.n];\n"
"    to[a.n] = a.dout[row * a.dout_stride + i] * sum;\n"
"    to[2 * a.n] = du * from[0];\n"
"}\n"
"\n"
"/* grid (n / 32, taps), block (32, 32). */\n"
"KERNEL __launch_bounds__(1024) shortconv_back_w(const conv_back_args a)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 32 + threadIdx.x), j = (int)blockIdx.y, back = a.taps - 1 - j;\n"
"    const float sum = over_rows(a.rows, i < a.n, [&](int row, float sum) {\n"
"        if (row - back < a.runs[4 * a.run_of_row[row]]) return sum;\n"
"        return fmaf(conv_ds(a, row, i), conv_u(a, row - back, i), sum);\n"
"    });\n",
"    if (threadIdx.y == 0 && i < a.n) a.dw[(i64)i * a.taps + j] += sum;\n"
"}\n"
"#endif\n"
"\n"
"/* ---- RWKV-7 ---- */\n"
"\n"
"struct wkv7_args {\n"
"    const float *r, *k, *v, *decay, *rate, *value_gate, *gate,\n"
"        *v_first;                               /* value_gate and v_first, and gate, may be NULL */\n"
"    const float *k_k, *k_a, *r_k, *ln_w, *ln_b; /* ln_w and ln_b may be NULL */\n"
"    float *slots, *out;\n"
"    const int *runs;\n"
"    i64 stride, v_first_stride, out_stride, slot_stride;\n"
"    int size;\n"
"    float eps;\n"
"};\n"
"\n"
"/* A thread's values of a row. */\n"
"struct wkv7_values {\n"
"    float r, k, v, decay, rate, value_gate, v_first, gate;\n"
"};\n"
"DEVICE void wkv7_load(wkv7_values &x, const wkv7_args &a, i64 row, i64 at)\n"
"{\n"
"    const i64 from = row * a.stride + at;\n"
"    x.r = a.r[from];\n"
"    x.k = a.k[from];\n"
"    x.v = a.v[from];\n"
"    x.decay = a.decay[from];\n"
"    x.rate = a.rate[from];\n"
"    x.gate = a.gate ? a.gate[from] : 1.0f;\n"
"    if (!a.v_first) return;\n"
"    x.value_gate = a.value_gate[from];\n"
"    x.v_first = a.v_first[row * a.v_first_stride + at];\n"
"}\n"
"\n"
"/* The sums of x and y over the block. sums: two for every warp. */\n"
"DEVICE float2 pair_sum(float x, float y, float *sums)\n"
"{\n"
"    const int warp = threadIdx.x / 32;\n"
"    x = warp_sum(x);\n"
"    y = warp_sum(y);\n"
"    block_sync(); /* the last sums have been read, and what the rows share */\n"
"    if (threadIdx.x % 32 == 0) {\n"
"        sums[2 * warp] = x;\n"
"        sums[2 * warp + 1] = y;\n"
"    }\n"
"    block_sync();\n"
"    x = y = 0;\n"
"    for (int w = 0; w < (int)blockDim.x / 32; w++) {\n"
"        x += sums[2 * w];\n"
"        y += sums[2 * w + 1];\n"
"    }\n"
"    return make_float2(x, y);\n"
"}\n"
"\n"
"DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }\n"
"\n"
"#ifndef BACK\n"
"    /* M stays in registers only if its loops are unrolled; the emulator has none, and takes half a minute to compile so\n"
"     * many. */\n"
"    #ifdef HYBRID_EMULATOR\n"
"        #define UNROLL_M\n"
"    #else\n"
"        #define UNROLL_M _Pragma(\"unroll\")\n"
"    #endif\n"
"\n"
"/* A head of a run: thread i has row i of M in registers, column by column; size <= N. grid (heads, runs), block N.\n"
" * of: w, kk a, k, r of every column; away: -kk. */\n"
"template <int N> DEVICE void wkv7_head(const wkv7_args &a, float4 *of, float4 *away, float *sums)\n"
"{\n"
"    const int i = threadIdx.x, size = a.size;\n"
"    const int *run = a.runs + 4 * blockIdx.y;\n"
"    const i64 at = (i64)blockIdx.x * size + i, matrix = (i64)blockIdx.x * size * size + i;\n"
"    const bool mine = i < size;\n"
"    float m[N], k_k = 0, k_a = 0, r_k = 0, ln_w = 0, ln_b = 0;\n"
"    wkv7_values next = {};\n"
"    if (mine) {\n"
"        k_k = a.k_k[at];\n"
"        k_a = a.k_a[at];\n"
"        r_k = a.r_k[at];\n"
"        if (a.ln_w) {\n"
"            ln_w = a.ln_w[at];\n"
"            ln_b = a.ln_b[at];\n"
"        }\n"
"        wkv7_load(next, a, run[0], at);\n"
"    }\n"
"    UNROLL_M\n"
"    for (int j = 0; j < N; j++)\n"
"        m[j] = mine && j < size && run[2] >= 0 ? a.slots[run[2] * a.slot_stride + matrix + (i64)j * size] : 0.0f;\n"
"    for (int row = run[0]; row < run[0] + run[1]; row++) {\n"
"        const wkv7_values x = next;\n"
"        const float rate = sigmoid(x.rate), raw = x.k * k_k, k = x.k * fmaf(rate - 1.0f, k_a, 1.0f);\n"
"        if (mine && row + 1 < run[0] + run[1]) wkv7_load(next, a, row + 1, at);\n"
"        const float2 sum = pair_sum(raw * raw, x.r * k * r_k, sums);\n"
"        const float length = sqrtf(sum.x), kk = raw / (length < 1e-12f ? 1e-12f : length); /* NaN stays */\n"
"        const float v = a.v_first ? fmaf(x.v_first - x.v, sigmoid(x.value_gate), x.v) : x.v;\n"
"        of[i] = mine ? make_float4(expf(-0.606531f * sigmoid(x.decay)), kk * rate, k, x.r) : make_float4(0, 0, 0, 0);\n"
"        ((float *)away)[i] = mine ? -kk : 0.0f;\n"
"        block_sync();\n"
"        float sa = 0, y = 0;\n"
"        UNROLL_M\n",
"        for (int j = 0; j < N; j += 4) {\n"
"            const float4 f = away[j / 4];\n"
"            sa = fmaf(m[j], f.x, sa);\n"
"            sa = fmaf(m[j + 1], f.y, sa);\n"
"            sa = fmaf(m[j + 2], f.z, sa);\n"
"            sa = fmaf(m[j + 3], f.w, sa);\n"
"        }\n"
"        UNROLL_M\n"
"        for (int j = 0; j < N; j++) {\n"
"            const float4 f = of[j];\n"
"            m[j] = fmaf(v, f.z, fmaf(sa, f.y, m[j] * f.x));\n"
"            y = fmaf(m[j], f.w, y);\n"
"        }\n"
"        if (a.ln_w) {\n"
"            y -= pair_sum(mine ? y : 0.0f, 0.0f, sums).x / (float)size;\n"
"            const float var = pair_sum(mine ? y * y : 0.0f, 0.0f, sums).x / (float)size;\n"
"            y = y / sqrtf(var + a.eps) * ln_w + ln_b;\n"
"        }\n"
"        if (mine) a.out[row * a.out_stride + at] = fmaf(sum.y, v, y) * x.gate;\n"
"    }\n"
"    UNROLL_M\n"
"    for (int j = 0; j < N; j++)\n"
"        if (mine && j < size) a.slots[run[3] * a.slot_stride + matrix + (i64)j * size] = m[j];\n"
"}\n"
"    #define WKV7(N) \\\n"
"        KERNEL __launch_bounds__(N, 1) wkv7_##N(const wkv7_args a) \\\n"
"        { \\\n"
"            __shared__ float4 of[N], away[N / 4]; \\\n"
"            __shared__ float sums[8]; \\\n"
"            wkv7_head<N>(a, of, away, sums); \\\n"
"        }\n"
"WKV7(32)\n"
"WKV7(64)\n"
"WKV7(128)\n"
"#else\n"
"\n"
"/* Of one head of a run, rows from the last to the first, with G the gradient of M after a row, P = M before it:\n"
" *\n"
" *   G_ij = G_ij + dy_i r_j,       dr_j = the sum over i of M_ij dy_i\n"
" *   dv_i = the sum over j of G_ij k_j,  dk_j = the sum over i of G_ij v_i\n"
" *   dsa_i = the sum over j of G_ij back_j,  dback_j = the sum over i of G_ij sa_i,  dw_j = the sum over i of G_ij P_ij\n"
" *   G_ij = G_ij w_j + dsa_i away_j,     daway_j = the sum over i of P_ij dsa_i\n"
" *\n"
" * M is kept before every 16th row of the run, and made again for 16 rows at a time. Matrices are where all threads\n"
" * reach them: M_ij at j * size + i, so that the lanes of a warp go along i. Sums over j: thread i % width has every\n"
" * n-th j (over_j); sums over i: a warp has a j (wkv7_state_back). */\n"
"enum { WKV_BACK = 256, WKV_BACK_ROWS = 16, WKV_MAX = 128, WKV_STATES = WKV_BACK_ROWS + 2 };\n"
"struct wkv7_back_args {\n"
"    wkv7_args of; /* its slots and out are not looked at */\n"
"    const float *dout;\n"
"    i64 dout_stride;\n"
"    float *dr, *dk, *dv, *ddecay, *drate, *dvalue_gate, *dgate, *dv_first;\n"
"    float *kept;   /* (rows / 16 + runs, heads, size, size) */\n"
"    float *states; /* (runs, heads, WKV_STATES, size, size): G, M before and after each of 16 rows */\n"
"    float *parts;  /* (runs, 5, heads * size): gradients of k_k, k_a, r_k, ln_w, ln_b; or NULL */\n"
"};\n"
"\n"
"/* What a row made, and what the way back makes of it. */\n"
"struct wkv7_row {\n"
"    float r[WKV_MAX], k[WKV_MAX], v[WKV_MAX], w[WKV_MAX], away[WKV_MAX], back[WKV_MAX], sa[WKV_MAX], y[WKV_MAX];\n"
"    float dy[WKV_MAX], dsa[WKV_MAX], dv[WKV_MAX];\n"
"    float dr[WKV_MAX], dk[WKV_MAX], dw[WKV_MAX], dback[WKV_MAX], daway[WKV_MAX];\n"
"    float parts[2][WKV_BACK], sums[2 * WKV_BACK / 32];\n"
"};\n"
"\n"
"/* A thread's column of a head: weights, what it read of a row, and sums over rows. */\n"
"struct wkv7_column {\n"
"    float k_k, k_a, r_k, ln_w, ln_b;\n"
"    wkv7_values x;\n"
"    float rate, norm, bonus, dz, dbonus; /* of the row: rate after its sigmoid; norm of k k_k */\n"
"    float of[5];\n"
"};\n"
"\n"
"DEVICE void wkv7_column_begin(wkv7_column &c, const wkv7_args &a, i64 at)\n"
"{\n"
"    c.k_k = a.k_k[at];\n"
"    c.k_a = a.k_a[at];\n"
"    c.r_k = a.r_k[at];\n"
"    c.ln_w = a.ln_w ? a.ln_w[at] : 1.0f;\n"
"    c.ln_b = a.ln_w ? a.ln_b[at] : 0.0f;\n"
"}\n"
"\n"
"/* r, k, v, w, away, back of a row. All threads are there afterwards. */\n"
"DEVICE void wkv7_prepare(wkv7_row &t, wkv7_column &c, const wkv7_args &a, i64 row, i64 at, bool mine)\n"
"{\n"
"    const int i = threadIdx.x;\n"
"    if (mine) wkv7_load(c.x, a, row, at);\n"
"    c.rate = sigmoid(c.x.rate);\n",
"    const float raw = c.x.k * c.k_k, k = c.x.k * fmaf(c.rate - 1.0f, c.k_a, 1.0f);\n"
"    const float2 sum = pair_sum(mine ? raw * raw : 0.0f, mine ? c.x.r * k * c.r_k : 0.0f, t.sums);\n"
"    c.norm = sqrtf(sum.x);\n"
"    c.bonus = sum.y;\n"
"    if (mine) {\n"
"        const float kk = raw / (c.norm < 1e-12f ? 1e-12f : c.norm);\n"
"        t.r[i] = c.x.r;\n"
"        t.k[i] = k;\n"
"        t.v[i] = a.v_first ? fmaf(c.x.v_first - c.x.v, sigmoid(c.x.value_gate), c.x.v) : c.x.v;\n"
"        t.w[i] = expf(-0.606531f * sigmoid(c.x.decay));\n"
"        t.away[i] = -kk;\n"
"        t.back[i] = kk * c.rate;\n"
"    }\n"
"    block_sync();\n"
"}\n"
"\n"
"/* to[i], and of[i] of the second: sums over j of what each(i, j) adds. */\n"
"template <class Each> DEVICE void over_j(wkv7_row &t, int size, float *to, float *of, const Each &each)\n"
"{\n"
"    const int width = size <= 32 ? 32 : size <= 64 ? 64 : 128, i = threadIdx.x % width;\n"
"    float2 sum = make_float2(0, 0);\n"
"    for (int j = (int)threadIdx.x / width; j < size && i < size; j += WKV_BACK / width) each(i, j, sum);\n"
"    t.parts[0][threadIdx.x] = sum.x;\n"
"    t.parts[1][threadIdx.x] = sum.y;\n"
"    block_sync();\n"
"    if ((int)threadIdx.x < size) {\n"
"        for (int other = i + width; other < WKV_BACK; other += width) {\n"
"            sum.x += t.parts[0][other];\n"
"            sum.y += t.parts[1][other];\n"
"        }\n"
"        to[i] = sum.x;\n"
"        if (of) of[i] = sum.y;\n"
"    }\n"
"    block_sync();\n"
"}\n"
"\n"
"/* M after a row from M before it, which may be in the same place; sa too. */\n"
"DEVICE void wkv7_step(wkv7_row &t, int size, const float *before, float *after)\n"
"{\n"
"    over_j(t, size, t.sa, (float *)0,\n"
"           [&](int i, int j, float2 &sum) { sum.x = fmaf(before[j * size + i], t.away[j], sum.x); });\n"
"    for (int at = threadIdx.x; at < size * size; at += WKV_BACK) {\n"
"        const int i = at % size, j = at / size;\n"
"        after[at] = fmaf(t.v[i], t.k[j], fmaf(t.sa[i], t.back[j], before[at] * t.w[j]));\n"
"    }\n"
"    block_sync();\n"
"}\n"
"\n"
"/* dout -> dgate, dz, dbonus, dy; t.y is there. */\n"
"DEVICE void wkv7_back_out(wkv7_row &t, wkv7_column &c, const wkv7_back_args &a, i64 row, i64 at, bool mine)\n"
"{\n"
"    const int i = threadIdx.x;\n"
"    const float n = (float)a.of.size, y = mine ? t.y[i] : 0.0f, dout = mine ? a.dout[row * a.dout_stride + at] : 0.0f;\n"
"    float mean = 0, scale = 1;\n"
"    if (a.of.ln_w) {\n"
"        mean = pair_sum(y, 0.0f, t.sums).x / n;\n"
"        scale = 1.0f / sqrtf(pair_sum(mine ? (y - mean) * (y - mean) : 0.0f, 0.0f, t.sums).x / n + a.of.eps);\n"
"    }\n"
"    const float hat = (y - mean) * scale, v = mine ? t.v[i] : 0.0f;\n"
"    c.dz = dout * c.x.gate;\n"
"    const float g = c.dz * c.ln_w;\n"
"    c.dbonus = pair_sum(mine ? c.dz * v : 0.0f, 0.0f, t.sums).x;\n"
"    float dy = g;\n"
"    if (a.of.ln_w) {\n"
"        const float2 sum = pair_sum(mine ? g : 0.0f, mine ? g * hat : 0.0f, t.sums);\n"
"        dy = fmaf(-hat, sum.y / n, g - sum.x / n) * scale;\n"
"    }\n"
"    if (mine) {\n"
"        t.dy[i] = dy;\n"
"        if (a.of.gate) a.dgate[row * a.of.stride + at] = dout * fmaf(c.bonus, v, fmaf(hat, c.ln_w, c.ln_b));\n"
"        c.of[3] = fmaf(c.dz, hat, c.of[3]);\n"
"        c.of[4] += c.dz;\n"
"    }\n"
"    block_sync();\n"
"}\n"
"\n"
"/* g: G after the row, which becomes that before it. */\n"
"DEVICE void wkv7_state_back(wkv7_row &t, int size, float *g, const float *before, const float *after)\n"
"{\n"
"    over_j(t, size, t.dv, t.dsa, [&](int i, int j, float2 &sum) {\n"
"        const float next = fmaf(t.dy[i], t.r[j], g[j * size + i]);\n"
"        g[j * size + i] = next;\n"
"        sum.x = fmaf(next, t.k[j], sum.x);\n"
"        sum.y = fmaf(next, t.back[j], sum.y);\n"
"    });\n"
"    for (int j = (int)threadIdx.x / 32; j < size; j += WKV_BACK / 32) {\n"
"        float dr = 0, dk = 0, dw = 0, dback = 0, daway = 0;\n"
"        for (int i = (int)threadIdx.x % 32; i < size; i += 32) {\n",
"            const float now = g[j * size + i], p = before[j * size + i];\n"
"            dr = fmaf(after[j * size + i], t.dy[i], dr);\n"
"            dk = fmaf(now, t.v[i], dk);\n"
"            dw = fmaf(now, p, dw);\n"
"            dback = fmaf(now, t.sa[i], dback);\n"
"            daway = fmaf(p, t.dsa[i], daway);\n"
"            g[j * size + i] = fmaf(t.dsa[i], t.away[j], now * t.w[j]);\n"
"        }\n"
"        dr = warp_sum(dr);\n"
"        dk = warp_sum(dk);\n"
"        dw = warp_sum(dw);\n"
"        dback = warp_sum(dback);\n"
"        daway = warp_sum(daway);\n"
"        if (threadIdx.x % 32) continue;\n"
"        t.dr[j] = dr;\n"
"        t.dk[j] = dk;\n"
"        t.dw[j] = dw;\n"
"        t.dback[j] = dback;\n"
"        t.daway[j] = daway;\n"
"    }\n"
"    block_sync();\n"
"}\n"
"\n"
"/* v: from the gradient of what it became to its own, that of v_first, and that of the gate between. */\n"
"DEVICE void wkv7_back_v(const wkv7_row &t, const wkv7_column &c, const wkv7_back_args &a, i64 row, i64 at)\n"
"{\n"
"    const i64 from = row * a.of.stride + at;\n"
"    const float dv = fmaf(c.bonus, c.dz, t.dv[threadIdx.x]);\n"
"    if (!a.of.v_first) {\n"
"        a.dv[from] = dv;\n"
"        return;\n"
"    }\n"
"    const float s = sigmoid(c.x.value_gate);\n"
"    float *first = a.dv_first + row * a.of.v_first_stride + at;\n"
"    a.dvalue_gate[from] = dv * (c.x.v_first - c.x.v) * (s * (1.0f - s));\n"
"    *first = fmaf(dv, s, *first);\n"
"    a.dv[from] = dv * (1.0f - s);\n"
"}\n"
"\n"
"/* The rest: r, k, the decay, and the rate. */\n"
"DEVICE void wkv7_back_in(wkv7_row &t, wkv7_column &c, const wkv7_back_args &a, i64 row, i64 at, bool mine)\n"
"{\n"
"    const int j = threadIdx.x;\n"
"    const i64 from = row * a.of.stride + at;\n"
"    const float kk = mine ? -t.away[j] : 0.0f, dkk = mine ? fmaf(t.dback[j], c.rate, -t.daway[j]) : 0.0f;\n"
"    float along = pair_sum(kk * dkk, 0.0f, t.sums).x;\n"
"    if (!mine) return;\n"
"    if (!(c.norm > 1e-12f)) along = 0; /* a direction of no length is only scaled */\n"
"    const float du = fmaf(-kk, along, dkk) / (c.norm < 1e-12f ? 1e-12f : c.norm), less = c.rate - 1.0f;\n"
"    const float dk = fmaf(c.dbonus, c.x.r * c.r_k, t.dk[j]), s = sigmoid(c.x.decay);\n"
"    const float da = fmaf(dk * c.x.k, c.k_a, t.dback[j] * kk);\n"
"    c.of[0] = fmaf(du, c.x.k, c.of[0]);\n"
"    c.of[1] = fmaf(dk * c.x.k, less, c.of[1]);\n"
"    c.of[2] = fmaf(c.dbonus, c.x.r * t.k[j], c.of[2]);\n"
"    a.dr[from] = fmaf(c.dbonus, t.k[j] * c.r_k, t.dr[j]);\n"
"    a.dk[from] = fmaf(dk, fmaf(less, c.k_a, 1.0f), du * c.k_k);\n"
"    a.drate[from] = da * (c.rate * (1.0f - c.rate));\n"
"    a.ddecay[from] = t.dw[j] * t.w[j] * -0.606531f * (s * (1.0f - s));\n"
"}\n"
"\n"
"/* Rows row0 .. row0 + n, from the last to the first; states: G, and M before them. */\n"
"DEVICE void wkv7_back_rows(wkv7_row &t, wkv7_column &c, const wkv7_back_args &a, i64 row0, int n, i64 at, float *states,\n"
"                           bool mine)\n"
"{\n"
"    const int size = a.of.size, values = size * size;\n"
"    float *g = states, *m = states + values;\n"
"    for (int i = 0; i < n; i++) {\n"
"        wkv7_prepare(t, c, a.of, row0 + i, at, mine);\n"
"        wkv7_step(t, size, m + i * values, m + (i + 1) * values);\n"
"    }\n"
"    for (int i = n - 1; i >= 0; i--) {\n"
"        const float *before = m + i * values, *after = before + values;\n"
"        wkv7_prepare(t, c, a.of, row0 + i, at, mine);\n"
"        over_j(t, size, t.sa, t.y, [&](int i, int j, float2 &sum) {\n"
"            sum.x = fmaf(before[j * size + i], t.away[j], sum.x);\n"
"            sum.y = fmaf(after[j * size + i], t.r[j], sum.y);\n"
"        });\n"
"        wkv7_back_out(t, c, a, row0 + i, at, mine);\n"
"        wkv7_state_back(t, size, g, before, after);\n"
"        if (mine) wkv7_back_v(t, c, a, row0 + i, at);\n"
"        wkv7_back_in(t, c, a, row0 + i, at, mine);\n"
"    }\n"
"}\n"
"\n"
"/* grid (heads, runs), block 256. */\n"
"KERNEL __launch_bounds__(WKV_BACK) wkv7_back(const wkv7_back_args a)\n"
"{\n"
"    __shared__ wkv7_row t;\n",
"    const int size = a.of.size, values = size * size, head = blockIdx.x, heads = gridDim.x;\n"
"    const int *run = a.of.runs + 4 * blockIdx.y;\n"
"    const bool mine = (int)threadIdx.x < size;\n"
"    const i64 at = (i64)head * size + threadIdx.x;\n"
"    const i64 first = run[0] / WKV_BACK_ROWS + blockIdx.y; /* the runs before have not kept so many */\n"
"    float *states = a.states + ((i64)blockIdx.y * heads + head) * WKV_STATES * values, *m = states + values;\n"
"    wkv7_column c = {};\n"
"    if (mine) wkv7_column_begin(c, a.of, at);\n"
"    for (int i = threadIdx.x; i < values; i += WKV_BACK) states[i] = m[i] = 0;\n"
"    for (int row = 0; row < run[1]; row++) {\n"
"        float *kept = a.kept + ((first + row / WKV_BACK_ROWS) * heads + head) * values;\n"
"        for (int i = threadIdx.x; i < values && row % WKV_BACK_ROWS == 0; i += WKV_BACK) kept[i] = m[i];\n"
"        wkv7_prepare(t, c, a.of, run[0] + row, at, mine);\n"
"        wkv7_step(t, size, m, m);\n"
"    }\n"
"    for (int row0 = (run[1] - 1) / WKV_BACK_ROWS * WKV_BACK_ROWS; row0 >= 0; row0 -= WKV_BACK_ROWS) {\n"
"        const float *kept = a.kept + ((first + row0 / WKV_BACK_ROWS) * heads + head) * values;\n"
"        for (int i = threadIdx.x; i < values; i += WKV_BACK) m[i] = kept[i];\n"
"        wkv7_back_rows(t, c, a, run[0] + row0, min(run[1] - row0, (int)WKV_BACK_ROWS), at, states, mine);\n"
"    }\n"
"    #pragma unroll\n"
"    for (int i = 0; i < 5; i++)\n"
"        if (mine && a.parts) a.parts[((i64)blockIdx.y * 5 + i) * heads * size + at] = c.of[i];\n"
"}\n"
"\n"
"/* The five gradients of weights += those of all runs, in their order. grid (n / 256, 5), block 256; ln_w may be\n"
" * NULL. */\n"
"KERNEL __launch_bounds__(256)\n"
"    wkv7_back_w(const float *parts, int n_runs, int n, float *k_k, float *k_a, float *r_k, float *ln_w, float *ln_b)\n"
"{\n"
"    const int i = (int)(blockIdx.x * 256 + threadIdx.x), which = (int)blockIdx.y;\n"
"    float *to = which == 0 ? k_k : which == 1 ? k_a : which == 2 ? r_k : which == 3 ? ln_w : ln_b, sum = 0;\n"
"    if (i >= n || !to) return;\n"
"    for (int b = 0; b < n_runs; b++) sum += parts[((i64)b * 5 + which) * n + i];\n"
"    to[i] += sum;\n"
"}\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_attention_args[] = {
"/* attention_args: what all kernels of attention share. Needs prelude.\n"
" *\n"
" * Rows of runs with few rows go through kernels that split the cache of a row over blocks, each of which leaves a\n"
" * maximum, a sum and an unscaled result (a part); the block that comes last joins them. Long runs go in tiles of up to\n"
" * 64 rows, whole in one block. How the cache of a row is split depends on its position alone: what else is in the\n"
" * batch never changes a result. */\n"
"\n"
"struct attention_args {\n"
"    const float *q;\n"
"    float *out;         /* (n, n_head, head_dim) at strides in floats */\n"
"    const char *k, *v;  /* the pages of the layer */\n"
"    const float *sinks; /* n_head, or NULL */\n"
"    /* (rows, n_head, max_splits, 4 + width): maximum, sum, 2 unused, result; width is at most head_dim_v rounded up\n"
"     * to 64 */\n"
"    float *parts;\n"
"    int *done;                           /* (rows, gridDim.y): blocks that are done; zero before and after */\n"
"    const int *pos, *run_of_row, *pages; /* of the batch */\n"
"    const int *rows;                     /* tiles: (n, 4): first row, rows, run, 0. Split: rows */\n"
"    i64 q_stride, out_stride, page_bytes_k, page_bytes_v;\n"
"    int n_head, n_head_kv, pages_a_seq, window, max_splits;\n"
"    float scale, softcap;\n"
"    int head_dim_k, head_dim_v, row_bytes_k, row_bytes_v, type, split; /* what attention_any asks for */\n"
"};\n"
"\n"
"enum { PAGE = 32, PAGES_A_SPLIT = 4, MAX_SPLITS = 64, TILE_ROWS = 64 };\n"
"enum { KV_F16, KV_Q8_0, KV_F32 };\n"
"#define NOTHING (-__int_as_float(0x7F800000)) /* -inf */\n"
"\n"
"/* The first position that the row at pos sees. */\n"
"DEVICE int first_seen(int pos, int window) { return window > 0 ? max(pos - window + 1, 0) : 0; }\n"
"\n"
"/* Pages that one split of `total` pages takes: PAGES_A_SPLIT, more (by powers of two) when there would be more than\n"
" * max_splits. */\n"
"DEVICE int pages_a_split(int total, int max_splits)\n"
"{\n"
"    int pages = PAGES_A_SPLIT;\n"
"    while (pages * max_splits < total) pages *= 2;\n"
"    return pages;\n"
"}\n"
"\n"
"DEVICE float cap(float s, float softcap) { return softcap * (1.0f - 2.0f / (expf(2.0f * s / softcap) + 1.0f)); }\n"
"\n"
"/* e^(m - base) would be NaN where nothing was seen yet. */\n"
"DEVICE float finite_or_0(float m) { return m == NOTHING ? 0.0f : m; }\n"
"\n"
"/* All threads of a block have written their share of the parts of heads head .. head + n_heads of row number at. The\n"
" * last block of the n_splits joins the parts: always in the same order. block 128. weight: shared memory, n_heads *\n"
" * MAX_SPLITS. Calls put(h, i, values) for the values of head head + h from i, four when BY_4, else one. */\n"
"template <bool BY_4, class Put>\n"
"DEVICE void join_parts(const attention_args &a, float *weight, int at, int head, int n_heads, int n_splits, int width,\n"
"                       const Put &put)\n"
"{\n"
"    __shared__ int last;\n"
"    const int step = 4 + width, lane = threadIdx.x % 32, each = BY_4 ? width / 4 : width;\n"
"    const float *parts = a.parts + ((i64)at * a.n_head + head) * a.max_splits * step;\n"
"    block_sync(); /* the parts are written; fences make this known, and what others wrote known here */\n"
"    if (threadIdx.x == 0) {\n"
"        int *done = a.done + at * gridDim.y + blockIdx.y;\n"
"        __threadfence();\n"
"        last = atomicAdd(done, 1) == n_splits - 1;\n"
"        if (last) *done = 0;\n"
"        __threadfence();\n"
"    }\n"
"    block_sync();\n"
"    if (!last) return;\n"
"    for (int h = threadIdx.x / 32; h < n_heads; h += 4) {\n"
"        const float *part = parts + (i64)h * a.max_splits * step;\n"
"        const bool low = lane < n_splits, high = lane + 32 < n_splits;\n"
"        const float m0 = low ? part[lane * step] : NOTHING, m1 = high ? part[(lane + 32) * step] : NOTHING,\n"
"                    sink = a.sinks ? a.sinks[head + h] : NOTHING;\n"
"        const float top = finite_or_0(warp_max(fmaxf(fmaxf(m0, m1), sink))), w0 = fast_exp(m0 - top),\n",
"                    w1 = fast_exp(m1 - top);\n"
"        const float sum =\n"
"            warp_sum((low ? part[lane * step + 1] * w0 : 0.0f) + (high ? part[(lane + 32) * step + 1] * w1 : 0.0f)) +\n"
"            fast_exp(sink - top);\n"
"        weight[h * MAX_SPLITS + lane] = w0 / sum;\n"
"        weight[h * MAX_SPLITS + lane + 32] = w1 / sum;\n"
"    }\n"
"    block_sync();\n"
"    for (int i = threadIdx.x; i < n_heads * each; i += 128) {\n"
"        const int h = i / each, value = i % each * (BY_4 ? 4 : 1);\n"
"        const float *part = parts + (i64)h * a.max_splits * step + 4 + value;\n"
"        float4 sum = make_float4(0, 0, 0, 0);\n"
"        #pragma unroll 8\n"
"        for (int s = 0; s < n_splits; s++) {\n"
"            const float w = weight[h * MAX_SPLITS + s];\n"
"            if (BY_4) {\n"
"                const float4 x = *(const float4 *)(part + s * step);\n"
"                sum.x = fmaf(w, x.x, sum.x);\n"
"                sum.y = fmaf(w, x.y, sum.y);\n"
"                sum.z = fmaf(w, x.z, sum.z);\n"
"                sum.w = fmaf(w, x.w, sum.w);\n"
"            } else\n"
"                sum.x = fmaf(w, part[s * step], sum.x);\n"
"        }\n"
"        put(h, value, sum);\n"
"    }\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_attention[] = {
"/* attention: tensor cores over a cache of halves or Q8_0. -DHEAD_DIM=d (a multiple of 16 up to 256, K and V alike)\n"
" * -DKV=0 F16, 1 Q8_0. Needs prelude, attention_args. Products are of halves, sums are float.\n"
" *\n"
" * All query heads of a kv head share what is read of the cache: a \"query\" is one head of one row. g = lane / 4, t =\n"
" * lane % 4. */\n"
"\n"
"enum {\n"
"    D = HEAD_DIM,\n"
"    CHUNKS = D / 8, /* 16-byte pieces of a row of halves */\n"
"    ROW_BYTES = KV == KV_F16 ? 2 * D : D / 32 * 34\n"
"};\n"
"\n"
"/* 8 values from 8 * chunk of a row of the cache, as halves. */\n"
"DEVICE uint4 load_8(const char *row, int chunk)\n"
"{\n"
"    if (KV == KV_F16) return load_stream(row + 16 * chunk);\n"
"    const u16 *block = (const u16 *)(row + chunk / 4 * 34), *q = block + 1 + chunk % 4 * 4;\n"
"    const float d = h2f(__ldg(block));\n"
"    u32 r[4];\n"
"    #pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        const u32 two = __ldg(q + j);\n"
"        r[j] = f2h2(d * (float)(i8)(two & 255), d * (float)(i8)(two >> 8));\n"
"    }\n"
"    return make_uint4(r[0], r[1], r[2], r[3]);\n"
"}\n"
"\n"
"/* ---- few rows: one row, up to 8 query heads of a kv head, one part of the cache ---------------------------------- */\n"
"\n"
"/* Warps take pages in turn, and read K and V straight into the operands of mma: which of its values a thread calls\n"
" * number k of a product is free as long as both operands agree. K: value 8t + j of 32 is k = 2t + j (j < 2), 2t + 8 + j\n"
" * - 2 (j < 4) of the first product, and so on in the second. V: pairs of keys are joined by byte_perm. Rows 8-15 of\n"
" * the products are not used: reading the cache is all that takes time. */\n"
"enum {\n"
"    FEW_QUERIES = 8,\n"
"    FEW_WIDTH = (D + 63) / 64 * 64,\n"
"    FEW_KEYS = D > 128 ? 16 : 32,\n"
"    K_STEPS = (D + 31) / 32,\n"
"    V_STEPS = (D + 63) / 64,\n"
"    FEW_Q = D > 128 && KV == KV_F16 ? 1 : K_STEPS\n"
"};\n"
"\n"
"/* of query g: o[8 v + j][i] is value 64 v + 8 (2t + i) + j */\n"
"struct few_state {\n"
"    float o[V_STEPS * 8][2], m, l;\n"
"};\n"
"/* Results keep this order on their way: number 64 v + 8 j + n is value 64 v + 8 n + j (none, when that is D or\n"
" * more). */\n"
"\n"
"/* FEW_KEYS keys, of which those at low .. high count. */\n"
"DEVICE void few_keys(few_state &state, const uint4 q[FEW_Q], const uint4 *q_shared, const char *k, const char *v,\n"
"                     int low, int high, float scale, float softcap, int g, int t)\n"
"{\n"
"    const uint4 zero = make_uint4(0, 0, 0, 0);\n"
"    const u32 none = 0;\n"
"    if (FEW_Q == 1) warp_sync(); /* lest the compiler carries q in registers through the loop */\n"
"    float s[FEW_KEYS / 8][2], top = NOTHING;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < FEW_KEYS / 8; j++) {\n"
"        const int key = 8 * j + g;\n"
"        float d[4] = { 0, 0, 0, 0 };\n"
"        #pragma unroll\n"
"        for (int c = 0; c < K_STEPS; c++) {\n"
"            const bool there = key >= low && key < high && (D % 32 == 0 || 4 * c + t < CHUNKS);\n"
"            const uint4 x = there ? load_8(k + key * ROW_BYTES, 4 * c + t) : zero;\n"
"            const uint4 y = FEW_Q == 1 ? q_shared[32 * c + 4 * g + t] : q[FEW_Q == 1 ? 0 : c];\n"
"            const u32 a0[4] = { y.x, none, y.y, none }, b0[2] = { x.x, x.y }, a1[4] = { y.z, none, y.w, none },\n"
"                      b1[2] = { x.z, x.w };\n"
"            mma_f16(d, a0, b0);\n"
"            mma_f16(d, a1, b1);\n"
"        }\n"
"        #pragma unroll\n"
"        for (int i = 0; i < 2; i++) s[j][i] = d[i] * scale;\n"
"    }\n"
"    /* not above: the compiler asks for all of K at once only where no branch lies between */\n"
"    if (softcap > 0) {\n"
"        #pragma unroll\n"
"        for (int j = 0; j < FEW_KEYS / 8; j++)\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 2; i++) s[j][i] = cap(s[j][i], softcap);\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < FEW_KEYS / 8; j++)\n"
"        #pragma unroll\n"
"        for (int i = 0; i < 2; i++) {\n",
"            const int at = 8 * j + 2 * t + i;\n"
"            if (at < low || at >= high) s[j][i] = NOTHING;\n"
"            top = fmaxf(top, s[j][i]);\n"
"        }\n"
"    top = fmaxf(top, shfl_xor(top, 1));\n"
"    top = fmaxf(top, shfl_xor(top, 2));\n"
"    const float m = fmaxf(state.m, top), base = finite_or_0(m), c = fast_exp(state.m - base);\n"
"    float sum = 0;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < FEW_KEYS / 8; j++)\n"
"        #pragma unroll\n"
"        for (int i = 0; i < 2; i++) {\n"
"            s[j][i] = fast_exp(s[j][i] - base);\n"
"            sum += s[j][i];\n"
"        }\n"
"    state.m = m;\n"
"    state.l = fmaf(state.l, c, sum);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < V_STEPS * 8; j++) {\n"
"        state.o[j][0] *= c;\n"
"        state.o[j][1] *= c;\n"
"    }\n"
"    #pragma unroll\n"
"    for (int half = 0; half < FEW_KEYS / 16; half++) {\n"
"        const u32 p[4] = { f2h2(s[2 * half][0], s[2 * half][1]), none, f2h2(s[2 * half + 1][0], s[2 * half + 1][1]),\n"
"                           none };\n"
"        #pragma unroll\n"
"        for (int n = 0; n < V_STEPS; n++) {\n"
"            uint4 x[4];\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 4; i++) {\n"
"                const int key = 16 * half + 2 * t + i / 2 * 8 + i % 2;\n"
"                x[i] = key >= low && key < high && (D % 64 == 0 || 8 * n + g < CHUNKS)\n"
"                           ? load_8(v + key * ROW_BYTES, 8 * n + g)\n"
"                           : zero;\n"
"            }\n"
"            const u32 w[4][4] = { { x[0].x, x[0].y, x[0].z, x[0].w },\n"
"                                  { x[1].x, x[1].y, x[1].z, x[1].w },\n"
"                                  { x[2].x, x[2].y, x[2].z, x[2].w },\n"
"                                  { x[3].x, x[3].y, x[3].z, x[3].w } };\n"
"            #pragma unroll\n"
"            for (int j = 0; j < 8; j++) {\n"
"                const u32 order = j % 2 ? 0x7632 : 0x5410, b[2] = { __byte_perm(w[0][j / 2], w[1][j / 2], order),\n"
"                                                                    __byte_perm(w[2][j / 2], w[3][j / 2], order) };\n"
"                float d[4] = { state.o[8 * n + j][0], state.o[8 * n + j][1], 0, 0 };\n"
"                mma_f16(d, p, b);\n"
"                state.o[8 * n + j][0] = d[0];\n"
"                state.o[8 * n + j][1] = d[1];\n"
"            }\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"/* grid (splits, n_head_kv * groups of 8 query heads, rows), block 128. */\n"
"KERNEL __launch_bounds__(128, 2) attention_few(const attention_args a)\n"
"{\n"
"    __shared__ float o[4][FEW_QUERIES][FEW_WIDTH + 8], m[4][FEW_QUERIES], l[4][FEW_QUERIES];\n"
"    __shared__ uint4 q_shared[FEW_Q == 1 ? 32 * K_STEPS : 1];\n"
"    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;\n"
"    const int row = a.rows[blockIdx.z], pos = a.pos[row], first = first_seen(pos, a.window),\n"
"              total = pos / PAGE - first / PAGE + 1;\n"
"    const int step = pages_a_split(total, a.max_splits), from = first / PAGE + (int)blockIdx.x * step,\n"
"              to = min(from + step, pos / PAGE + 1);\n"
"    const int group = a.n_head / a.n_head_kv, parts = (group + FEW_QUERIES - 1) / FEW_QUERIES,\n"
"              head_kv = blockIdx.y / parts;\n"
"    const int head = head_kv * group + (int)blockIdx.y % parts * FEW_QUERIES,\n"
"              n_queries = min(head_kv * group + group - head, (int)FEW_QUERIES);\n"
"    const int *pages = a.pages + (i64)a.run_of_row[row] * a.pages_a_seq;\n"
"    uint4 q[FEW_Q];\n"
"    few_state state;\n"
"    if (from >= to) return;\n"
"    #pragma unroll\n"
"    for (int c = 0; c < K_STEPS; c++) {\n"
"        float4 x = make_float4(0, 0, 0, 0), y = x;\n"
"        if (g < n_queries && (D % 32 == 0 || 4 * c + t < CHUNKS)) {\n"
"            const float4 *from_q = (const float4 *)(a.q + row * a.q_stride + (i64)(head + g) * D + 32 * c + 8 * t);\n"
"            x = from_q[0];\n"
"            y = from_q[1];\n"
"        }\n",
"        const uint4 halves = make_uint4(f2h2(x.x, x.y), f2h2(x.z, x.w), f2h2(y.x, y.y), f2h2(y.z, y.w));\n"
"        if (FEW_Q > 1)\n"
"            q[FEW_Q == 1 ? 0 : c] = halves;\n"
"        else if (warp == 0)\n"
"            q_shared[32 * c + lane] = halves;\n"
"    }\n"
"    if (FEW_Q == 1) block_sync();\n"
"    state.m = NOTHING;\n"
"    state.l = 0;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < V_STEPS * 8; j++) state.o[j][0] = state.o[j][1] = 0;\n"
"    for (int page = from + warp; page < to; page += 4) {\n"
"        const i64 at = pages[page], inside = (i64)head_kv * PAGE * ROW_BYTES;\n"
"        const char *k = a.k + at * a.page_bytes_k + inside, *v = a.v + at * a.page_bytes_v + inside;\n"
"        #pragma unroll 1\n"
"        for (int key = 0; key < PAGE; key += FEW_KEYS)\n"
"            few_keys(state, q, q_shared, k + key * ROW_BYTES, v + key * ROW_BYTES, first - page * PAGE - key,\n"
"                     pos + 1 - page * PAGE - key, a.scale, a.softcap, g, t);\n"
"    }\n"
"    state.l += shfl_xor(state.l, 1);\n"
"    state.l += shfl_xor(state.l, 2);\n"
"    if (t == 0) {\n"
"        m[warp][g] = state.m;\n"
"        l[warp][g] = state.l;\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < V_STEPS * 8; j++)\n"
"        *(float2 *)&o[warp][g][8 * j + 2 * t] = make_float2(state.o[j][0], state.o[j][1]);\n"
"    block_sync();\n"
"    for (int i = threadIdx.x; i < n_queries * (FEW_WIDTH / 4); i += 128) {\n"
"        const int query = i / (FEW_WIDTH / 4), at = i % (FEW_WIDTH / 4) * 4;\n"
"        float *part =\n"
"            a.parts + (((i64)blockIdx.z * a.n_head + head + query) * a.max_splits + blockIdx.x) * (4 + FEW_WIDTH);\n"
"        const float top = fmaxf(fmaxf(m[0][query], m[1][query]), fmaxf(m[2][query], m[3][query])),\n"
"                    base = finite_or_0(top);\n"
"        float4 sum = make_float4(0, 0, 0, 0);\n"
"        float all = 0;\n"
"        #pragma unroll\n"
"        for (int w = 0; w < 4; w++) {\n"
"            const float c = fast_exp(m[w][query] - base);\n"
"            const float4 x = *(const float4 *)&o[w][query][at];\n"
"            all = fmaf(l[w][query], c, all);\n"
"            sum.x = fmaf(x.x, c, sum.x);\n"
"            sum.y = fmaf(x.y, c, sum.y);\n"
"            sum.z = fmaf(x.z, c, sum.z);\n"
"            sum.w = fmaf(x.w, c, sum.w);\n"
"        }\n"
"        *(float4 *)(part + 4 + at) = sum;\n"
"        if (at == 0) {\n"
"            part[0] = top;\n"
"            part[1] = all;\n"
"        }\n"
"    }\n"
"    float *out = a.out + row * a.out_stride + (i64)head * D;\n"
"    join_parts<true>(a, &o[0][0][0], blockIdx.z, head, n_queries, (total + step - 1) / step, FEW_WIDTH,\n"
"                     [&](int query, int i, float4 x) {\n"
"                         const int at = i / 64 * 64 + i % 8 * 8 + i % 64 / 8;\n"
"                         float *to = out + query * D + at;\n"
"                         if (D % 64 == 0 || at < D) to[0] = x.x;\n"
"                         if (D % 64 == 0 || at + 8 < D) to[8] = x.y;\n"
"                         if (D % 64 == 0 || at + 16 < D) to[16] = x.z;\n"
"                         if (D % 64 == 0 || at + 24 < D) to[24] = x.w;\n"
"                     });\n"
"}\n"
"\n"
"/* ---- many rows: 64 queries of a kv head, all of the cache that they see ------------------------------------------ */\n"
"\n"
"/* A block walks over tiles of KEYS positions: while the products with K run, V is fetched, and the other way round.\n"
" * Every warp has 16 queries. A row of a tile in shared memory is 16 bytes longer than its values: rows begin in\n"
" * different banks. */\n"
"enum {\n"
"    KEYS = D > 128 ? 32 : 64,\n"
"    STRIDE = D + 8,     /* halves between rows of a tile */\n"
"    Q_SHARED = D > 128, /* so many values of q are kept in shared memory, not in registers */\n"
"    TILE_QUERIES = 64\n"
"};\n"
"\n"
"/* Rows base .. base + KEYS of one kv head; those outside low .. high read as zeros. */\n"
"DEVICE void fetch_tile(half_t *tile, const char *cache, i64 page_bytes, i64 inside, const int *pages, int base, int low,\n",
"                       int high)\n"
"{\n"
"    #pragma unroll 4\n"
"    for (int i = threadIdx.x; i < KEYS * CHUNKS; i += 128) {\n"
"        const int key = i / CHUNKS, chunk = i % CHUNKS, at = base + key;\n"
"        const bool there = at >= low && at < high;\n"
"        const char *row = cache + inside;\n"
"        if (there) row += pages[at / PAGE] * page_bytes + at % PAGE * ROW_BYTES;\n"
"        if (KV == KV_F16)\n"
"            cp_async16(tile + key * STRIDE + 8 * chunk, there ? row + 16 * chunk : row, there);\n"
"        else\n"
"            *(uint4 *)(tile + key * STRIDE + 8 * chunk) = there ? load_8(row, chunk) : make_uint4(0, 0, 0, 0);\n"
"    }\n"
"    cp_commit();\n"
"}\n"
"\n"
"/* Scores of 16 queries with KEYS keys: s[j] = d of keys 8j .. 8j + 7. */\n"
"DEVICE void many_scores(float s[KEYS / 8][4], const u32 q[Q_SHARED ? 1 : D / 16][4], const half_t *q_shared,\n"
"                        const half_t *k, int lane)\n"
"{\n"
"    const half_t *at = k + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;\n"
"    #pragma unroll\n"
"    for (int j = 0; j < KEYS / 8; j++) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;\n"
"    #pragma unroll\n"
"    for (int c = 0; c < D / 16; c++) {\n"
"        u32 from_shared[4];\n"
"        if (Q_SHARED) ldsm_x4(from_shared, q_shared + lane % 16 * STRIDE + 16 * c + lane / 16 * 8);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < KEYS / 16; j++) {\n"
"            u32 b[4];\n"
"            ldsm_x4(b, at + 16 * j * STRIDE + 16 * c);\n"
"            mma_f16(s[2 * j], Q_SHARED ? from_shared : q[Q_SHARED ? 0 : c], b);\n"
"            mma_f16(s[2 * j + 1], Q_SHARED ? from_shared : q[Q_SHARED ? 0 : c], b + 2);\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"/* o += p V, p in s. */\n"
"DEVICE void many_values(float o[D / 8][4], const float s[KEYS / 8][4], const half_t *v, int lane)\n"
"{\n"
"    const half_t *at = v + lane % 16 * STRIDE + lane / 16 * 8;\n"
"    #pragma unroll\n"
"    for (int c = 0; c < KEYS / 16; c++) {\n"
"        const u32 p[4] = { f2h2(s[2 * c][0], s[2 * c][1]), f2h2(s[2 * c][2], s[2 * c][3]),\n"
"                           f2h2(s[2 * c + 1][0], s[2 * c + 1][1]), f2h2(s[2 * c + 1][2], s[2 * c + 1][3]) };\n"
"        #pragma unroll\n"
"        for (int j = 0; j < D / 16; j++) {\n"
"            u32 b[4];\n"
"            ldsm_x4_trans(b, at + 16 * c * STRIDE + 16 * j);\n"
"            mma_f16(o[2 * j], p, b);\n"
"            mma_f16(o[2 * j + 1], p, b + 2);\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"/* Scores at base to exps, for the two queries of a thread (at positions pos[0], pos[1]); o, m and l follow the new\n"
" * maxima. */\n"
"DEVICE void many_softmax(float s[KEYS / 8][4], float o[D / 8][4], float m[2], float l[2], const int pos[2], int base,\n"
"                         float scale, float softcap, int window, bool masked)\n"
"{\n"
"    if (softcap > 0) {\n"
"        #pragma unroll\n"
"        for (int j = 0; j < KEYS / 8; j++)\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 4; i++) s[j][i] = cap(s[j][i] * scale, softcap);\n"
"        scale = 1;\n"
"    }\n"
"    if (masked) {\n"
"        #pragma unroll\n"
"        for (int j = 0; j < KEYS / 8; j++)\n"
"            #pragma unroll\n"
"            for (int i = 0; i < 4; i++) {\n"
"                const int key = base + 8 * j + (int)threadIdx.x % 4 * 2 + i % 2;\n"
"                if (key > pos[i / 2] || key < first_seen(pos[i / 2], window)) s[j][i] = NOTHING;\n"
"            }\n"
"    }\n"
"    #pragma unroll\n"
"    for (int r = 0; r < 2; r++) {\n"
"        float top = NOTHING, sum = 0;\n"
"        #pragma unroll\n"
"        for (int j = 0; j < KEYS / 8; j++) top = fmaxf(top, fmaxf(s[j][2 * r], s[j][2 * r + 1]));\n"
"        top = fmaxf(top, shfl_xor(top, 1));\n"
"        top = fmaxf(top, shfl_xor(top, 2));\n"
"        const float next = fmaxf(m[r], top * scale), zero = finite_or_0(next), c = fast_exp(m[r] - zero);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < KEYS / 8; j++)\n"
"            #pragma unroll\n"
"            for (int i = 2 * r; i < 2 * r + 2; i++) {\n",
"                s[j][i] = fast_exp(fmaf(s[j][i], scale, -zero));\n"
"                sum += s[j][i];\n"
"            }\n"
"        m[r] = next;\n"
"        l[r] = fmaf(l[r], c, sum);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < D / 8; j++) {\n"
"            o[j][2 * r] *= c;\n"
"            o[j][2 * r + 1] *= c;\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"/* grid (tiles, n_head_kv * (n_head / n_head_kv)), block 128, shared (2 KEYS + Q_SHARED * 64) * STRIDE halves. Tile 64\n"
" * rows * group queries, in order of row, is cut into group pieces of 64. */\n"
"KERNEL __launch_bounds__(128, 2) attention_many(const attention_args a)\n"
"{\n"
"    extern __shared__ uint4 shared[];\n"
"    half_t *k = (half_t *)shared, *v = k + KEYS * STRIDE, *q_shared = v + KEYS * STRIDE;\n"
"    const int *tile = a.rows + 4 * (gridDim.x - 1 - blockIdx.x); /* the long rows first */\n"
"    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4, row0 = tile[0];\n"
"    const int group = a.n_head / a.n_head_kv, head_kv = blockIdx.y / group,\n"
"              query0 = (int)blockIdx.y % group * TILE_QUERIES, n_queries = tile[1] * group;\n"
"    const int pos0 = a.pos[row0], *pages = a.pages + (i64)tile[2] * a.pages_a_seq;\n"
"    const int low = first_seen(pos0 + query0 / group, a.window),\n"
"              high = pos0 + min(query0 + TILE_QUERIES - 1, n_queries - 1) / group + 1;\n"
"    const int mine = query0 + 16 * warp, warp_low = pos0 + min(mine, n_queries - 1) / group,\n"
"              warp_high = pos0 + min(mine + 15, n_queries - 1) / group;\n"
"    const i64 inside = (i64)head_kv * PAGE * ROW_BYTES;\n"
"    u32 q[Q_SHARED ? 1 : D / 16][4];\n"
"    float o[D / 8][4], m[2], l[2];\n"
"    int pos[2];\n"
"    if (query0 >= n_queries) return;\n"
"    #pragma unroll\n"
"    for (int r = 0; r < 2; r++) {\n"
"        const int query = mine + g + 8 * r;\n"
"        const float *from =\n"
"            a.q + (row0 + query / group) * a.q_stride + (i64)(head_kv * group + query % group) * D + 2 * t;\n"
"        pos[r] = pos0 + min(query, n_queries - 1) / group;\n"
"        m[r] = NOTHING;\n"
"        l[r] = 0;\n"
"        #pragma unroll\n"
"        for (int c = 0; c < D / 16; c++)\n"
"            #pragma unroll\n"
"            for (int h = 0; h < 2; h++) {\n"
"                float2 x = make_float2(0, 0);\n"
"                if (query < n_queries) x = *(const float2 *)(from + 16 * c + 8 * h);\n"
"                if (Q_SHARED)\n"
"                    *(u32 *)(q_shared + (16 * warp + g + 8 * r) * STRIDE + 16 * c + 8 * h + 2 * t) = f2h2(x.x, x.y);\n"
"                else\n"
"                    q[Q_SHARED ? 0 : c][2 * h + r] = f2h2(x.x, x.y);\n"
"            }\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < D / 8; j++) o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0;\n"
"    fetch_tile(k, a.k, a.page_bytes_k, inside, pages, low / KEYS * KEYS, low, high);\n"
"    for (int base = low / KEYS * KEYS; base < high; base += KEYS) {\n"
"        float s[KEYS / 8][4];\n"
"        cp_wait<0>();\n"
"        block_sync(); /* K is there; nobody reads V any more */\n"
"        fetch_tile(v, a.v, a.page_bytes_v, inside, pages, base, low, high);\n"
"        many_scores(s, q, q_shared + 16 * warp * STRIDE, k, lane);\n"
"        many_softmax(s, o, m, l, pos, base, a.scale, a.softcap, a.window,\n"
"                     base + KEYS - 1 > warp_low || base < first_seen(warp_high, a.window));\n"
"        cp_wait<0>();\n"
"        block_sync(); /* V is there; nobody reads K any more */\n"
"        if (base + KEYS < high) fetch_tile(k, a.k, a.page_bytes_k, inside, pages, base + KEYS, low, high);\n"
"        many_values(o, s, v, lane);\n"
"    }\n"
"    #pragma unroll\n"
"    for (int r = 0; r < 2; r++) {\n"
"        const int query = mine + g + 8 * r, head = head_kv * group + query % group;\n"
"        float *to = a.out + (row0 + query / group) * a.out_stride + (i64)head * D + 2 * t, factor = 1;\n"
"        l[r] += shfl_xor(l[r], 1);\n"
"        l[r] += shfl_xor(l[r], 2);\n"
"        if (a.sinks) {\n",
"            const float top = fmaxf(m[r], a.sinks[head]);\n"
"            factor = fast_exp(m[r] - top);\n"
"            l[r] = fmaf(l[r], factor, fast_exp(a.sinks[head] - top));\n"
"        }\n"
"        factor /= l[r];\n"
"        if (query < n_queries)\n"
"            #pragma unroll\n"
"            for (int j = 0; j < D / 8; j++)\n"
"                *(float2 *)(to + 8 * j) = make_float2(o[j][2 * r] * factor, o[j][2 * r + 1] * factor);\n"
"    }\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_attention_any[] = {
"/* attention_any: attention in float32 for what the tensor cores do not take: caches of F32, and any head size up to\n"
" * 256. Needs prelude, attention_args. Same work as attention.cu: a block has up to 16 queries of a kv head, over one\n"
" * part of the cache of a row (split), or over all that the rows of a tile see. Four queries a warp. -DBACK: its\n"
" * gradient instead, for any cache. */\n"
"\n"
"enum { ANY_QUERIES = 16, A_WARP = 4, DIMS = 256 / 32 };\n"
"\n"
"DEVICE float cache_value(const char *row, int i, int type)\n"
"{\n"
"    if (type == KV_F32) return ((const float *)row)[i];\n"
"    if (type == KV_F16) return h2f(((const half_t *)row)[i]);\n"
"    const char *block = row + i / 32 * 34;\n"
"    return h2f(*(const half_t *)block) * (float)((const i8 *)block)[2 + i % 32];\n"
"}\n"
"\n"
"/* Rows base .. base + 32 of a kv head as floats, stride apart; zeros outside low .. high and after n values. */\n"
"DEVICE void fetch_page(float *tile, int stride, const char *page, int row_bytes, int n, int low, int high, int type)\n"
"{\n"
"    for (int key = threadIdx.x / 32; key < PAGE; key += blockDim.x / 32)\n"
"        for (int i = threadIdx.x % 32; i < stride; i += 32)\n"
"            tile[key * stride + i] =\n"
"                i < n && key >= low && key < high ? cache_value(page + (i64)key * row_bytes, i, type) : 0.0f;\n"
"}\n"
"\n"
"#ifndef BACK\n"
"/* grid: split: (splits, n_head_kv * groups of 16 query heads, rows); tiles: (tiles, n_head_kv * group * 4, 1). block\n"
" * 128. shared floats: 16 * dim_k (q) + 16 * 32 (exps) + 32 * (4 + max(dim_k, dim_v)) (K, then V), dims rounded up to\n"
" * 4; at least 16 * 64. */\n"
"KERNEL __launch_bounds__(128, 2) attention_any(const attention_args a)\n"
"{\n"
"    extern __shared__ float4 shared[];\n"
"    const int dim = (a.head_dim_k + 3) / 4 * 4, lane = threadIdx.x % 32, warp = threadIdx.x / 32,\n"
"              group = a.n_head / a.n_head_kv;\n"
"    const int pieces = a.split ? (group + ANY_QUERIES - 1) / ANY_QUERIES : group * (TILE_ROWS / ANY_QUERIES),\n"
"              head_kv = blockIdx.y / pieces;\n"
"    const int *tile = a.rows + (a.split ? blockIdx.z : 4 * blockIdx.x);\n"
"    const int row0 = tile[0], n_queries = (a.split ? 1 : tile[1]) * group,\n"
"              query0 = (int)blockIdx.y % pieces * ANY_QUERIES;\n"
"    const int pos0 = a.pos[row0], *pages = a.pages + (i64)a.run_of_row[row0] * a.pages_a_seq;\n"
"    const int low = first_seen(pos0 + query0 / group, a.window),\n"
"              high = pos0 + min(query0 + ANY_QUERIES - 1, n_queries - 1) / group + 1;\n"
"    int from = low / PAGE, to = (high - 1) / PAGE + 1;\n"
"    float *q = (float *)shared, *p = q + ANY_QUERIES * dim, *kv = p + ANY_QUERIES * PAGE, acc[A_WARP][DIMS], m[A_WARP],\n"
"          l[A_WARP];\n"
"    int n_splits = 1;\n"
"    if (a.split) {\n"
"        const int step = pages_a_split(to - from, a.max_splits);\n"
"        n_splits = (to - from + step - 1) / step;\n"
"        from += (int)blockIdx.x * step;\n"
"        to = min(from + step, to);\n"
"    }\n"
"    if (query0 >= n_queries || from >= to) return;\n"
"    for (int i = threadIdx.x; i < ANY_QUERIES * dim; i += 128) {\n"
"        const int query = query0 + i / dim, at = i % dim;\n"
"        q[i] =\n"
"            query < n_queries && at < a.head_dim_k\n"
"                ? a.q[(row0 + query / group) * a.q_stride + (i64)(head_kv * group + query % group) * a.head_dim_k + at]\n"
"                : 0.0f;\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < A_WARP; j++) {\n"
"        m[j] = NOTHING;\n"
"        l[j] = 0;\n"
"        #pragma unroll\n"
"        for (int c = 0; c < DIMS; c++) acc[j][c] = 0;\n"
"    }\n"
"    for (int page = from; page < to; page++) {\n"
"        const int base = page * PAGE, key = base + lane;\n"
"        const i64 at = pages[page];\n"
"        block_sync(); /* q is there; nobody reads V any more */\n"
"        fetch_page(kv, dim + 4, a.k + at * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k, a.row_bytes_k,\n",
"                   a.head_dim_k, low - base, high - base, a.type);\n"
"        block_sync();\n"
"        float s[A_WARP] = { 0, 0, 0, 0 };\n"
"        #pragma unroll 2\n"
"        for (int i = 0; i < dim; i += 4) {\n"
"            const float4 x = *(const float4 *)(kv + lane * (dim + 4) + i);\n"
"            #pragma unroll\n"
"            for (int j = 0; j < A_WARP; j++) {\n"
"                const float4 y = *(const float4 *)(q + (A_WARP * warp + j) * dim + i);\n"
"                s[j] = fmaf(x.x, y.x, s[j]);\n"
"                s[j] = fmaf(x.y, y.y, s[j]);\n"
"                s[j] = fmaf(x.z, y.z, s[j]);\n"
"                s[j] = fmaf(x.w, y.w, s[j]);\n"
"            }\n"
"        }\n"
"        #pragma unroll\n"
"        for (int j = 0; j < A_WARP; j++) {\n"
"            const int pos = pos0 + min(query0 + A_WARP * warp + j, n_queries - 1) / group;\n"
"            s[j] *= a.scale;\n"
"            if (a.softcap > 0) s[j] = cap(s[j], a.softcap);\n"
"            if (key > pos || key < first_seen(pos, a.window)) s[j] = NOTHING;\n"
"            const float next = fmaxf(m[j], warp_max(s[j])), zero = finite_or_0(next), c = fast_exp(m[j] - zero),\n"
"                        e = fast_exp(s[j] - zero);\n"
"            p[(A_WARP * warp + j) * PAGE + lane] = e;\n"
"            m[j] = next;\n"
"            l[j] = fmaf(l[j], c, warp_sum(e));\n"
"            #pragma unroll\n"
"            for (int i = 0; i < DIMS; i++) acc[j][i] *= c;\n"
"        }\n"
"        block_sync(); /* p is there; nobody reads K any more */\n"
"        fetch_page(kv, a.head_dim_v, a.v + at * a.page_bytes_v + (i64)head_kv * PAGE * a.row_bytes_v, a.row_bytes_v,\n"
"                   a.head_dim_v, low - base, high - base, a.type);\n"
"        block_sync();\n"
"        for (int slot = 0; slot < PAGE; slot++) {\n"
"            float e[A_WARP];\n"
"            #pragma unroll\n"
"            for (int j = 0; j < A_WARP; j++) e[j] = p[(A_WARP * warp + j) * PAGE + slot];\n"
"            #pragma unroll\n"
"            for (int i = 0; i < DIMS; i++) {\n"
"                if (32 * i + lane >= a.head_dim_v) break;\n"
"                const float x = kv[slot * a.head_dim_v + 32 * i + lane];\n"
"                #pragma unroll\n"
"                for (int j = 0; j < A_WARP; j++) acc[j][i] = fmaf(e[j], x, acc[j][i]);\n"
"            }\n"
"        }\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < A_WARP; j++) {\n"
"        const int query = query0 + A_WARP * warp + j, head = head_kv * group + query % group;\n"
"        float *to_row = a.out + (row0 + query / group) * a.out_stride + (i64)head * a.head_dim_v, factor = 1;\n"
"        if (query >= n_queries) break;\n"
"        if (a.split) {\n"
"            float *part =\n"
"                a.parts + (((i64)blockIdx.z * a.n_head + head) * a.max_splits + blockIdx.x) * (4 + a.head_dim_v);\n"
"            if (lane == 0) {\n"
"                part[0] = m[j];\n"
"                part[1] = l[j];\n"
"            }\n"
"            to_row = part + 4;\n"
"        } else {\n"
"            if (a.sinks) {\n"
"                const float top = fmaxf(m[j], a.sinks[head]);\n"
"                factor = fast_exp(m[j] - top);\n"
"                l[j] = fmaf(l[j], factor, fast_exp(a.sinks[head] - top));\n"
"            }\n"
"            factor /= l[j];\n"
"        }\n"
"        #pragma unroll\n"
"        for (int i = 0; i < DIMS; i++)\n"
"            if (32 * i + lane < a.head_dim_v) to_row[32 * i + lane] = acc[j][i] * factor;\n"
"    }\n"
"    float *out = a.out + row0 * a.out_stride + (i64)(head_kv * group + query0) * a.head_dim_v;\n"
"    if (a.split)\n"
"        join_parts<false>(a, (float *)shared, blockIdx.z, head_kv * group + query0,\n"
"                          min(n_queries - query0, (int)ANY_QUERIES), n_splits, a.head_dim_v,\n"
"                          [&](int query, int i, float4 x) { out[query * a.head_dim_v + i] = x.x; });\n"
"}\n"
"#else\n"
"\n"
"/* Of runs that begin at position 0: with P the probabilities, made again from q and the cache,\n"
" *\n",
" *   dP = dout . V^T,  delta = the sum of dout * out,  dS = P (dP - delta) scale (and, of a soft-cap, 1 - (s / cap)^2)\n"
" *   dq = dS . K,  dk = dS^T . q,  dv = P^T . dout         summed over the query heads of a kv head\n"
" *\n"
" * attention_back_q goes over the keys of a block of queries twice: for the maximum and the sum of every row, which it\n"
" * leaves in stats with its delta, then for dq; a sink is in both from the beginning, and the gradient that a row makes\n"
" * of it, -(its share) delta, goes to sink_rows. attention_back_kv goes over the queries of a page of keys. Every sum\n"
" * has one order, and nothing is added up by two blocks. */\n"
"struct attention_back_args {\n"
"    const float *q, *out, *dout;\n"
"    const char *k, *v;\n"
"    float *dq, *dk, *dv;\n"
"    const float *sinks; /* n_head, or NULL */\n"
"    float *sink_rows;   /* (n, n_head) */\n"
"    float4 *stats;      /* (n_head, n): the maximum, 1 / the sum of e^(s - maximum), delta, 0 */\n"
"    const int *runs, *pages;\n"
"    i64 q_stride, out_stride, stride, page_bytes_k, page_bytes_v;\n"
"    int n, n_head, n_head_kv, pages_a_seq, window;\n"
"    float scale, softcap;\n"
"    int dim_k, dim_v, row_bytes_k, row_bytes_v, type;\n"
"};\n"
"enum { BACK_KEYS_QUERIES = 8 }; /* of a block of keys at a time: one a warp */\n"
"\n"
"/* n rows of heads, from row `first` of at most `rows`, to shared memory; zeros after them. */\n"
"DEVICE void fetch_heads(float *to, int stride, const float *from, i64 from_stride, int first, int rows, int n, int dim)\n"
"{\n"
"    for (int i = threadIdx.x; i < n * stride; i += blockDim.x) {\n"
"        const int row = first + i / stride, at = i % stride;\n"
"        to[i] = row < rows && at < dim ? from[row * from_stride + at] : 0.0f;\n"
"    }\n"
"}\n"
"\n"
"/* s[j] = row j . key */\n"
"template <int N> DEVICE void dots(float s[N], const float *rows, int stride, const float *key, int dim)\n"
"{\n"
"    #pragma unroll\n"
"    for (int j = 0; j < N; j++) s[j] = 0;\n"
"    #pragma unroll 2\n"
"    for (int i = 0; i < dim; i += 4) {\n"
"        const float4 x = *(const float4 *)(key + i);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < N; j++) {\n"
"            const float4 y = *(const float4 *)(rows + j * stride + i);\n"
"            s[j] = fmaf(x.x, y.x, s[j]);\n"
"            s[j] = fmaf(x.y, y.y, s[j]);\n"
"            s[j] = fmaf(x.z, y.z, s[j]);\n"
"            s[j] = fmaf(x.w, y.w, s[j]);\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"/* The score that softmax takes, and the slope of what made it of the product. */\n"
"DEVICE float score_of(float product, float scale, float softcap, float *slope)\n"
"{\n"
"    const float s = product * scale, c = softcap > 0 ? tanhf(s / softcap) : 0.0f;\n"
"    *slope = scale * (1.0f - c * c);\n"
"    return softcap > 0 ? softcap * c : s;\n"
"}\n"
"\n"
"DEVICE bool sees(const attention_back_args &a, int row, int key)\n"
"{\n"
"    return key <= row && key >= first_seen(row, a.window);\n"
"}\n"
"\n"
"/* grid (rows of the longest run / 16, n_head, n_runs), block 128. shared floats: 16 (dim_k + dim_v) (q, dout) +\n"
" * 32 (dim_k + 4) (K) + 32 (dim_v + 4) (V) + 16 * 32 (dS), dims rounded up to 4. */\n"
"KERNEL __launch_bounds__(128, 2) attention_back_q(const attention_back_args a)\n"
"{\n"
"    extern __shared__ float4 shared[];\n"
"    const int dim_k = (a.dim_k + 3) / 4 * 4, dim_v = (a.dim_v + 3) / 4 * 4, lane = threadIdx.x % 32,\n"
"              mine = threadIdx.x / 32 * A_WARP, head = blockIdx.y, head_kv = head / (a.n_head / a.n_head_kv);\n"
"    const int *run = a.runs + 4 * blockIdx.z, *pages = a.pages + (i64)blockIdx.z * a.pages_a_seq;\n"
"    const int first = run[0], rows = run[1], row0 = blockIdx.x * ANY_QUERIES;\n"
"    const int low = first_seen(row0, a.window), high = min(row0 + ANY_QUERIES, rows);\n"
"    float *q = (float *)shared, *dout = q + ANY_QUERIES * dim_k, *k = dout + ANY_QUERIES * dim_v,\n"
"          *v = k + PAGE * (dim_k + 4), *ds = v + PAGE * (dim_v + 4);\n"
"    const float sink = a.sinks ? a.sinks[head] : NOTHING;\n",
"    float m[A_WARP], l[A_WARP], delta[A_WARP], acc[A_WARP][DIMS], s[A_WARP], slope;\n"
"    if (row0 >= rows) return;\n"
"    fetch_heads(q, dim_k, a.q + first * a.q_stride + (i64)head * a.dim_k, a.q_stride, row0, rows, ANY_QUERIES, a.dim_k);\n"
"    fetch_heads(dout, dim_v, a.dout + first * a.out_stride + (i64)head * a.dim_v, a.out_stride, row0, rows, ANY_QUERIES,\n"
"                a.dim_v);\n"
"    block_sync();\n"
"    #pragma unroll\n"
"    for (int j = 0; j < A_WARP; j++) {\n"
"        const float *out = a.out + (first + min(row0 + mine + j, rows - 1)) * a.out_stride + (i64)head * a.dim_v;\n"
"        m[j] = sink;\n"
"        l[j] = 1.0f; /* of the sink; without one nothing is left of it */\n"
"        delta[j] = 0;\n"
"        for (int i = lane; i < a.dim_v; i += 32) delta[j] = fmaf(dout[(mine + j) * dim_v + i], out[i], delta[j]);\n"
"        delta[j] = warp_sum(delta[j]);\n"
"        #pragma unroll\n"
"        for (int c = 0; c < DIMS; c++) acc[j][c] = 0;\n"
"    }\n"
"    for (int page = low / PAGE; page * PAGE < high; page++) {\n"
"        const char *from = a.k + pages[page] * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k;\n"
"        block_sync(); /* nobody reads the last keys any more */\n"
"        fetch_page(k, dim_k + 4, from, a.row_bytes_k, a.dim_k, low - page * PAGE, high - page * PAGE, a.type);\n"
"        block_sync();\n"
"        dots<A_WARP>(s, q + mine * dim_k, dim_k, k + lane * (dim_k + 4), dim_k);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < A_WARP; j++) {\n"
"            s[j] = score_of(s[j], a.scale, a.softcap, &slope);\n"
"            if (!sees(a, row0 + mine + j, page * PAGE + lane)) s[j] = NOTHING;\n"
"            const float next = fmaxf(m[j], warp_max(s[j])), zero = finite_or_0(next);\n"
"            l[j] = fmaf(l[j], expf(m[j] - zero), warp_sum(expf(s[j] - zero)));\n"
"            m[j] = next;\n"
"        }\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < A_WARP; j++) {\n"
"        l[j] = 1.0f / l[j];\n"
"        if (lane || row0 + mine + j >= rows) continue;\n"
"        a.stats[(i64)head * a.n + first + row0 + mine + j] = make_float4(m[j], l[j], delta[j], 0.0f);\n"
"        if (a.sinks)\n"
"            a.sink_rows[(i64)(first + row0 + mine + j) * a.n_head + head] = expf(sink - m[j]) * l[j] * -delta[j];\n"
"    }\n"
"    for (int page = low / PAGE; page * PAGE < high; page++) {\n"
"        const char *k_from = a.k + pages[page] * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k;\n"
"        const char *v_from = a.v + pages[page] * a.page_bytes_v + (i64)head_kv * PAGE * a.row_bytes_v;\n"
"        float dp[A_WARP];\n"
"        block_sync(); /* nobody reads the last keys and values any more */\n"
"        fetch_page(k, dim_k + 4, k_from, a.row_bytes_k, a.dim_k, low - page * PAGE, high - page * PAGE, a.type);\n"
"        fetch_page(v, dim_v + 4, v_from, a.row_bytes_v, a.dim_v, low - page * PAGE, high - page * PAGE, a.type);\n"
"        block_sync();\n"
"        dots<A_WARP>(s, q + mine * dim_k, dim_k, k + lane * (dim_k + 4), dim_k);\n"
"        dots<A_WARP>(dp, dout + mine * dim_v, dim_v, v + lane * (dim_v + 4), dim_v);\n"
"        #pragma unroll\n"
"        for (int j = 0; j < A_WARP; j++) {\n"
"            const float p = expf(score_of(s[j], a.scale, a.softcap, &slope) - m[j]) * l[j];\n"
"            ds[(mine + j) * PAGE + lane] =\n"
"                sees(a, row0 + mine + j, page * PAGE + lane) ? p * (dp[j] - delta[j]) * slope : 0.0f;\n"
"        }\n"
"        warp_sync(); /* a warp reads only its own */\n"
"        for (int slot = 0; slot < PAGE; slot++) {\n"
"            float e[A_WARP];\n"
"            #pragma unroll\n"
"            for (int j = 0; j < A_WARP; j++) e[j] = ds[(mine + j) * PAGE + slot];\n"
"            #pragma unroll\n"
"            for (int c = 0; c < DIMS; c++) {\n"
"                if (32 * c + lane >= a.dim_k) break;\n"
"                const float x = k[slot * (dim_k + 4) + 32 * c + lane];\n"
"                #pragma unroll\n",
"                for (int j = 0; j < A_WARP; j++) acc[j][c] = fmaf(e[j], x, acc[j][c]);\n"
"            }\n"
"        }\n"
"    }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < A_WARP; j++) {\n"
"        float *to = a.dq + (first + row0 + mine + j) * a.stride + (i64)head * a.dim_k;\n"
"        if (row0 + mine + j >= rows) break;\n"
"        #pragma unroll\n"
"        for (int c = 0; c < DIMS; c++)\n"
"            if (32 * c + lane < a.dim_k) to[32 * c + lane] = acc[j][c];\n"
"    }\n"
"}\n"
"\n"
"/* grid (keys of the longest run / 32, n_head_kv, n_runs), block 256: a warp 4 keys. shared floats: as\n"
" * attention_back_q, with 8 queries, and with their probabilities. */\n"
"KERNEL __launch_bounds__(256) attention_back_kv(const attention_back_args a)\n"
"{\n"
"    extern __shared__ float4 shared[];\n"
"    const int dim_k = (a.dim_k + 3) / 4 * 4, dim_v = (a.dim_v + 3) / 4 * 4, lane = threadIdx.x % 32,\n"
"              warp = threadIdx.x / 32, group = a.n_head / a.n_head_kv, head_kv = blockIdx.y;\n"
"    const int *run = a.runs + 4 * blockIdx.z;\n"
"    const int first = run[0], rows = run[1], key0 = blockIdx.x * PAGE;\n"
"    const int end = a.window > 0 ? min(rows, key0 + PAGE - 1 + a.window) : rows;\n"
"    float *q = (float *)shared, *dout = q + BACK_KEYS_QUERIES * dim_k, *k = dout + BACK_KEYS_QUERIES * dim_v,\n"
"          *v = k + PAGE * (dim_k + 4), *ps = v + PAGE * (dim_v + 4), *ds = ps + BACK_KEYS_QUERIES * PAGE;\n"
"    float acc_k[A_WARP][DIMS], acc_v[A_WARP][DIMS];\n"
"    if (key0 >= rows) return;\n"
"    const i64 page = a.pages[(i64)blockIdx.z * a.pages_a_seq + blockIdx.x];\n"
"    fetch_page(k, dim_k + 4, a.k + page * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k, a.row_bytes_k, a.dim_k,\n"
"               0, rows - key0, a.type);\n"
"    fetch_page(v, dim_v + 4, a.v + page * a.page_bytes_v + (i64)head_kv * PAGE * a.row_bytes_v, a.row_bytes_v, a.dim_v,\n"
"               0, rows - key0, a.type);\n"
"    #pragma unroll\n"
"    for (int j = 0; j < A_WARP; j++)\n"
"        #pragma unroll\n"
"        for (int c = 0; c < DIMS; c++) acc_k[j][c] = acc_v[j][c] = 0;\n"
"    for (int head = head_kv * group; head < (head_kv + 1) * group; head++)\n"
"        for (int row0 = key0; row0 < end; row0 += BACK_KEYS_QUERIES) {\n"
"            const int row = row0 + warp;\n"
"            float product[1], dp[1], slope;\n"
"            block_sync(); /* nobody reads the last queries any more */\n"
"            fetch_heads(q, dim_k, a.q + first * a.q_stride + (i64)head * a.dim_k, a.q_stride, row0, rows,\n"
"                        BACK_KEYS_QUERIES, a.dim_k);\n"
"            fetch_heads(dout, dim_v, a.dout + first * a.out_stride + (i64)head * a.dim_v, a.out_stride, row0, rows,\n"
"                        BACK_KEYS_QUERIES, a.dim_v);\n"
"            block_sync();\n"
"            dots<1>(product, q + warp * dim_k, dim_k, k + lane * (dim_k + 4), dim_k);\n"
"            dots<1>(dp, dout + warp * dim_v, dim_v, v + lane * (dim_v + 4), dim_v);\n"
"            const bool seen = row < rows && sees(a, row, key0 + lane);\n"
"            const float4 stats = a.stats[(i64)head * a.n + first + min(row, rows - 1)];\n"
"            const float s = score_of(product[0], a.scale, a.softcap, &slope),\n"
"                        p = seen ? expf(s - stats.x) * stats.y : 0.0f;\n"
"            ps[warp * PAGE + lane] = p;\n"
"            ds[warp * PAGE + lane] = seen ? p * (dp[0] - stats.z) * slope : 0.0f;\n"
"            block_sync(); /* all probabilities are there */\n"
"            for (int query = 0; query < BACK_KEYS_QUERIES; query++) {\n"
"                const float *of_v = ps + query * PAGE + warp * A_WARP, *of_k = ds + query * PAGE + warp * A_WARP;\n"
"                #pragma unroll\n"
"                for (int c = 0; c < DIMS; c++) {\n"
"                    if (32 * c >= max(dim_k, dim_v)) break;\n"
"                    const float x = 32 * c + lane < dim_k ? q[query * dim_k + 32 * c + lane] : 0.0f,\n",
"                                y = 32 * c + lane < dim_v ? dout[query * dim_v + 32 * c + lane] : 0.0f;\n"
"                    #pragma unroll\n"
"                    for (int j = 0; j < A_WARP; j++) {\n"
"                        acc_k[j][c] = fmaf(of_k[j], x, acc_k[j][c]);\n"
"                        acc_v[j][c] = fmaf(of_v[j], y, acc_v[j][c]);\n"
"                    }\n"
"                }\n"
"            }\n"
"        }\n"
"    #pragma unroll\n"
"    for (int j = 0; j < A_WARP; j++) {\n"
"        const int key = key0 + warp * A_WARP + j;\n"
"        if (key >= rows) break;\n"
"        float *dk = a.dk + (first + key) * a.stride + (i64)head_kv * a.dim_k,\n"
"              *dv = a.dv + (first + key) * a.stride + (i64)head_kv * a.dim_v;\n"
"        #pragma unroll\n"
"        for (int c = 0; c < DIMS; c++) {\n"
"            if (32 * c + lane < a.dim_k) dk[32 * c + lane] = acc_k[j][c];\n"
"            if (32 * c + lane < a.dim_v) dv[32 * c + lane] = acc_v[j][c];\n"
"        }\n"
"    }\n"
"}\n"
"#endif\n",
NULL
};
static const char *const hyb_cuda_text_train[] = {
"/* train: the loss and the optimizer. Needs prelude, rows (-DBACK). Gradients of the ops of a forward pass stand beside\n"
" * those ops. */\n"
"\n"
"/* A row of n logits, y = cap tanh(logits / cap), cap 0: y = logits, becomes its gradient:\n"
" *\n"
" *   loss = log(sum of e^y) - y[target]                    0 where target < 0\n"
" *   dlogits = (softmax(y) - [target]) * weight * factor   of a soft-cap times 1 - (y / cap)^2; 0 where target < 0\n"
" *\n"
" * grid n_rows, block 512. weights may be NULL: 1. */\n"
"struct cross_entropy_args {\n"
"    float *logits;\n"
"    i64 stride;\n"
"    const int *targets;\n"
"    const float *weights;\n"
"    double *loss;\n"
"    int n;\n"
"    float softcap, factor;\n"
"};\n"
"\n"
"/* The largest of the threads of a block, to all of them; NaN is none. shared: a float for every warp. */\n"
"DEVICE float block_max(float x, float *shared)\n"
"{\n"
"    x = warp_max(x);\n"
"    block_sync(); /* the last one has been read */\n"
"    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;\n"
"    block_sync();\n"
"    for (int w = 0; w < (int)blockDim.x / 32; w++) x = fmaxf(x, shared[w]);\n"
"    return x;\n"
"}\n"
"\n"
"KERNEL __launch_bounds__(512) cross_entropy(const cross_entropy_args a)\n"
"{\n"
"    __shared__ float shared[32];\n"
"    const i64 row = blockIdx.x;\n"
"    const int target = a.targets[row];\n"
"    const float weight = (a.weights ? a.weights[row] : 1.0f) * a.factor;\n"
"    float *x = a.logits + row * a.stride, most = -__int_as_float(0x7F800000), sum = 0, at_target = 0;\n"
"    if (target < 0) {\n"
"        for (int i = threadIdx.x; i < a.n; i += blockDim.x) x[i] = 0;\n"
"        if (threadIdx.x == 0) a.loss[row] = 0;\n"
"        return;\n"
"    }\n"
"    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {\n"
"        if (a.softcap > 0) x[i] = a.softcap * tanhf(x[i] / a.softcap);\n"
"        most = fmaxf(most, x[i]);\n"
"    }\n"
"    most = block_max(most, shared);\n"
"    for (int i = threadIdx.x; i < a.n; i += blockDim.x) sum += expf(x[i] - most);\n"
"    sum = group_sum(sum, shared); /* and all logits are final */\n"
"    at_target = x[target];\n"
"    block_sync(); /* which nobody reads any more */\n"
"    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {\n"
"        const float y = a.softcap > 0 ? x[i] / a.softcap : 0.0f;\n"
"        float d = expf(x[i] - most) / sum;\n"
"        if (i == target) d -= 1.0f;\n"
"        x[i] = d * weight * (1.0f - y * y);\n"
"    }\n"
"    if (threadIdx.x == 0) a.loss[row] = log((double)sum) + ((double)most - (double)at_target);\n"
"}\n"
"\n"
"/* ---- optimizer --------------------------------------------------------------------------------------------------- */\n"
"\n"
"/* The sum of the squares of n values in one order: chunks of 1024 in float, then in double. A block sums every\n"
" * gridDim.x-th chunk to parts; squares_sum adds those. grid at most 256, block 256. */\n"
"enum { SQUARES = 1024 };\n"
"KERNEL __launch_bounds__(256) squares(const float *x, i64 n, double *parts)\n"
"{\n"
"    __shared__ float shared[32];\n"
"    double sum = 0;\n"
"    for (i64 first = (i64)blockIdx.x * SQUARES; first < n; first += (i64)gridDim.x * SQUARES) {\n"
"        float of_chunk = 0;\n"
"        for (int i = threadIdx.x; i < SQUARES && first + i < n; i += 256)\n"
"            of_chunk = fmaf(x[first + i], x[first + i], of_chunk);\n"
"        sum += (double)group_sum(of_chunk, shared);\n"
"    }\n"
"    if (threadIdx.x == 0) parts[blockIdx.x] = sum;\n"
"}\n"
"\n"
"/* *sum = the sum of n parts. block 32. */\n"
"KERNEL __launch_bounds__(32) squares_sum(const double *parts, int n, double *sum)\n"
"{\n"
"    __shared__ double lanes[32];\n"
"    double all = 0;\n"
"    for (int i = threadIdx.x; i < n; i += 32) all += parts[i];\n"
"    lanes[threadIdx.x] = all;\n"
"    block_sync();\n"
"    if (threadIdx.x) return;\n"
"    for (int i = 1; i < 32; i++) all += lanes[i];\n"
"    *sum = all;\n"
"}\n"
"\n"
"/* AdamW, with g = factor * grad:\n"
" *\n"
" *   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2\n",
" *   w = w - rate (m c1 / (sqrt(v c2) + eps) + decay w)\n"
" *\n"
" * grid n / 256, block 256. */\n"
"struct adamw_args {\n"
"    float *w, *m, *v;\n"
"    const float *grad;\n"
"    i64 n;\n"
"    float factor, rate, beta1, beta2, c1, c2, eps, decay;\n"
"};\n"
"/* m, v, and w after the step, which is not written. */\n"
"DEVICE float adamw_step(const adamw_args &a, i64 i)\n"
"{\n"
"    const float g = a.grad[i] * a.factor, w = a.w[i];\n"
"    const float m = fmaf(a.beta1, a.m[i], (1.0f - a.beta1) * g), v = fmaf(a.beta2, a.v[i], (1.0f - a.beta2) * g * g);\n"
"    const float step = m * a.c1 / (sqrtf(v * a.c2) + a.eps);\n"
"    a.m[i] = m;\n"
"    a.v[i] = v;\n"
"    return fmaf(-a.rate, fmaf(a.decay, w, step), w);\n"
"}\n"
"KERNEL __launch_bounds__(256) adamw(const adamw_args a)\n"
"{\n"
"    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"    if (i < a.n) a.w[i] = adamw_step(a, i);\n"
"}\n"
"\n"
"/* SGD with momentum, with g = factor * grad:\n"
" *\n"
" *   m = momentum m + g,  step = m, or of nesterov g + momentum m;  m NULL: step = g\n"
" *   w = w - rate (step + decay w)\n"
" *\n"
" * grid n / 256, block 256. */\n"
"struct sgd_args {\n"
"    float *w, *m;\n"
"    const float *grad;\n"
"    i64 n;\n"
"    float factor, rate, momentum, decay;\n"
"    int nesterov;\n"
"};\n"
"KERNEL __launch_bounds__(256) sgd(const sgd_args a)\n"
"{\n"
"    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"    if (i >= a.n) return;\n"
"    const float g = a.grad[i] * a.factor, w = a.w[i];\n"
"    float step = g;\n"
"    if (a.m) {\n"
"        const float m = fmaf(a.momentum, a.m[i], g);\n"
"        a.m[i] = m;\n"
"        step = a.nesterov ? fmaf(a.momentum, m, g) : m;\n"
"    }\n"
"    a.w[i] = fmaf(-a.rate, fmaf(a.decay, w, step), w);\n"
"}\n"
"\n"
"/* out = a + t (b - a). out may be a or b. grid n / 256, block 256. */\n"
"KERNEL __launch_bounds__(256) lerp(const float *a, const float *b, i64 n, float t, float *out)\n"
"{\n"
"    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"    if (i < n) out[i] = fmaf(t, b[i] - a[i], a[i]);\n"
"}\n"
"\n"
"/* out = x as bf16, or as a half, to nearest even: what is too large becomes infinite. grid n / 256, block 256. */\n"
"KERNEL __launch_bounds__(256) round_values(const float *x, i64 n, int bf16, u16 *out)\n"
"{\n"
"    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"    if (i < n) out[i] = bf16 ? f2bf(x[i]) : f2h(x[i]);\n"
"}\n"
"\n"
"/* What weights did since they were at the anchor, and where they are moved on that account, with d = w - anchor:\n"
" *\n"
" *   takes: b = mu b + d,  s = s + (1 - gamma) (d - s)\n"
" *   moves: w = w + (c_d d + c_b b + c_s s + c_r (mean - w))\n"
" *\n"
" * goes: the anchor stays (0), becomes w before (1) or after (2), or is moved as w is (3). s and mean may be NULL. grid\n"
" * n / 256, block 256. */\n"
"struct displace_args {\n"
"    float *w, *anchor, *b, *s;\n"
"    const float *mean;\n"
"    i64 n;\n"
"    float mu, gamma, c_d, c_b, c_s, c_r;\n"
"    int takes, moves, goes;\n"
"};\n"
"/* Of one weight w; w after it, which is not written. What has no part in it is not read. */\n"
"DEVICE float displace_one(const displace_args &a, i64 i, const float w)\n"
"{\n"
"    const float anchor = a.anchor[i], d = w - anchor;\n"
"    float b = a.takes || a.c_b != 0.0f ? a.b[i] : 0.0f, s = a.s ? a.s[i] : 0.0f, step = 0;\n"
"    if (a.takes) {\n"
"        b = fmaf(a.mu, b, d);\n"
"        a.b[i] = b;\n"
"        if (a.s) {\n"
"            s = fmaf(1.0f - a.gamma, d - s, s);\n"
"            a.s[i] = s;\n"
"        }\n"
"    }\n"
"    if (a.moves) {\n"
"        step = fmaf(a.c_b, b, a.c_d * d);\n"
"        if (a.s) step = fmaf(a.c_s, s, step);\n"
"        if (a.mean) step = fmaf(a.c_r, a.mean[i] - w, step);\n"
"    }\n"
"    if (a.goes == 1) a.anchor[i] = w;\n"
"    if (a.goes == 2) a.anchor[i] = w + step;\n"
"    if (a.goes == 3) a.anchor[i] = anchor + step;\n"
"    return w + step;\n"
"}\n"
"KERNEL __launch_bounds__(256) displace(const displace_args a)\n"
"{\n"
"    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"    if (i >= a.n) return;\n",
"    const float w = displace_one(a, i, a.w[i]);\n"
"    if (a.moves) a.w[i] = w;\n"
"}\n"
"\n"
"/* Both, in one pass: w, which the step has in a register, is read and written once. grid n / 256, block 256. */\n"
"KERNEL __launch_bounds__(256) adamw_displace(const adamw_args a, const displace_args then)\n"
"{\n"
"    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"    if (i < a.n) a.w[i] = displace_one(then, i, adamw_step(a, i));\n"
"}\n"
"\n"
"/* The products of all pairs of four differences a_i - b_i (b_i may be NULL, and so may a_i: zero), summed over n values\n"
" * as by squares: chunks of 1024 in float, then in double. parts: (gridDim.x, 10); gram_sum adds those. grid at most\n"
" * 256, block 256. */\n"
"struct gram_args {\n"
"    const float *a[4], *b[4];\n"
"    i64 n;\n"
"    double *parts;\n"
"};\n"
"enum { GRAM = 10 };\n"
"KERNEL __launch_bounds__(256) gram(const gram_args a)\n"
"{\n"
"    __shared__ float shared[32];\n"
"    double sums[GRAM] = {};\n"
"    for (i64 first = (i64)blockIdx.x * SQUARES; first < a.n; first += (i64)gridDim.x * SQUARES) {\n"
"        float of_chunk[GRAM] = {};\n"
"        for (int i = threadIdx.x; i < SQUARES && first + i < a.n; i += 256) {\n"
"            float x[4];\n"
"            int at = 0;\n"
"#pragma unroll\n"
"            for (int j = 0; j < 4; j++)\n"
"                x[j] = !a.a[j] ? 0.0f : a.b[j] ? a.a[j][first + i] - a.b[j][first + i] : a.a[j][first + i];\n"
"#pragma unroll\n"
"            for (int j = 0; j < 4; j++)\n"
"#pragma unroll\n"
"                for (int k = j; k < 4; k++, at++) of_chunk[at] = fmaf(x[j], x[k], of_chunk[at]);\n"
"        }\n"
"#pragma unroll\n"
"        for (int j = 0; j < GRAM; j++) sums[j] += (double)group_sum(of_chunk[j], shared);\n"
"    }\n"
"    if (threadIdx.x) return;\n"
"#pragma unroll\n"
"    for (int j = 0; j < GRAM; j++) a.parts[(i64)blockIdx.x * GRAM + j] = sums[j];\n"
"}\n"
"\n"
"/* sums (10) = those of n parts. block 32. */\n"
"KERNEL __launch_bounds__(32) gram_sum(const double *parts, int n, double *sums)\n"
"{\n"
"    if (threadIdx.x >= GRAM) return;\n"
"    double all = 0;\n"
"    for (int i = 0; i < n; i++) all += parts[i * GRAM + threadIdx.x];\n"
"    sums[threadIdx.x] = all;\n"
"}\n"
"\n"
"/* out (rows, ld) = x (rows, k) so, zeros from k on. grid (ld / 256, rows), block 256. */\n"
"KERNEL __launch_bounds__(256) round_rows(const float *x, i64 x_stride, int rows, int k, int bf16, u16 *out, int ld)\n"
"{\n"
"    const int i = (int)blockIdx.x * 256 + (int)threadIdx.x;\n"
"    const i64 row = blockIdx.y;\n"
"    if (i >= ld) return;\n"
"    const float v = i < k ? x[row * x_stride + i] : 0.0f;\n"
"    out[row * ld + i] = bf16 ? f2bf(v) : f2h(v);\n"
"}\n"
"\n"
"/* out (k, ld) = x (rows, k) so, and turned, zeros from rows on. grid (ld / 32, k / 32), block 256: a tile of 32 x 32\n"
" * goes through shared memory, so that both sides are read and written along their rows. */\n"
"KERNEL __launch_bounds__(256) round_turned(const float *x, i64 x_stride, int rows, int k, int bf16, u16 *out, int ld)\n"
"{\n"
"    __shared__ float tile[32][33];\n"
"    const int row0 = (int)blockIdx.x * 32, column0 = (int)blockIdx.y * 32, at = (int)threadIdx.x % 32;\n"
"    for (int i = (int)threadIdx.x / 32; i < 32; i += 8)\n"
"        tile[i][at] = row0 + i < rows && column0 + at < k ? x[(row0 + i) * x_stride + column0 + at] : 0.0f;\n"
"    block_sync();\n"
"    for (int i = (int)threadIdx.x / 32; i < 32; i += 8)\n"
"        if (column0 + i < k && row0 + at < ld)\n"
"            out[(i64)(column0 + i) * ld + row0 + at] = bf16 ? f2bf(tile[at][i]) : f2h(tile[at][i]);\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_lowrank[] = {
"/* lowrank: dense algebra of matrices of few columns, all sums in double: columns made orthonormal, the factors of a\n"
" * product of two such matrices, and what factors leave of a matrix. Needs prelude. compute/cpu/orthogonal.c has the\n"
" * same steps, and says where they come from. What is done depends on flags in device memory, so that no host waits. */\n"
"\n"
"enum { COLUMNS = 64, PARTS = 32 };\n"
"\n"
"/* The sum over the 256 threads of a block, to all of them. */\n"
"DEVICE double block_total(double x, double *lanes)\n"
"{\n"
"    block_sync(); /* the last total has been read */\n"
"    lanes[threadIdx.x] = x;\n"
"    block_sync();\n"
"    for (int h = 128; h; h /= 2) {\n"
"        if ((int)threadIdx.x < h) lanes[threadIdx.x] += lanes[threadIdx.x + h];\n"
"        block_sync();\n"
"    }\n"
"    return lanes[0];\n"
"}\n"
"\n"
"/* parts (PARTS, n, n): each block's rows of y^T y, of y (rows, n). grid PARTS, block 256. */\n"
"KERNEL __launch_bounds__(256) columns_gram(const float *y, i64 rows, int n, double *parts)\n"
"{\n"
"    const i64 share = (rows + PARTS - 1) / PARTS, first = blockIdx.x * share;\n"
"    const i64 last = first + share < rows ? first + share : rows;\n"
"    for (int at = threadIdx.x; at < n * n; at += 256) {\n"
"        const int i = at / n, j = at % n;\n"
"        double sum = 0;\n"
"        for (i64 row = first; row < last; row++) sum += (double)y[row * n + i] * (double)y[row * n + j];\n"
"        parts[(i64)blockIdx.x * n * n + at] = sum;\n"
"    }\n"
"}\n"
"\n"
"/* out (n, n) = the sum of the parts. Of a block of 64. */\n"
"DEVICE void gram_of_parts(const double *parts, int n, double *out)\n"
"{\n"
"    for (int at = threadIdx.x; at < n * n; at += 64) {\n"
"        double sum = 0;\n"
"        for (int part = 0; part < PARTS; part++) sum += parts[part * n * n + at];\n"
"        out[at] = sum;\n"
"    }\n"
"    block_sync();\n"
"}\n"
"\n"
"/* g = r^T r, of the parts of g; r on and above the diagonal. *bad = 1: a column is, as good as, a sum of those before\n"
" * it; in the second round nothing is done then. One block of 64. */\n"
"KERNEL __launch_bounds__(64) columns_cholesky(const double *parts, int n, double *g, double *bad, int second)\n"
"{\n"
"    if (second && *bad != 0) return;\n"
"    gram_of_parts(parts, n, g);\n"
"    if (threadIdx.x == 0) *bad = 0;\n"
"    for (int i = 0; i < n; i++) {\n"
"        const double whole = g[i * n + i];\n"
"        double pivot = whole;\n"
"        for (int k = 0; k < i; k++) pivot -= g[k * n + i] * g[k * n + i];\n"
"        block_sync(); /* all have read it */\n"
"        if (!(pivot > 1e-13 * whole)) {\n"
"            if (threadIdx.x == 0) *bad = 1;\n"
"            return;\n"
"        }\n"
"        pivot = sqrt(pivot);\n"
"        if (threadIdx.x == 0) g[i * n + i] = pivot;\n"
"        for (int j = i + 1 + (int)threadIdx.x; j < n; j += 64) {\n"
"            double sum = g[i * n + j];\n"
"            for (int k = 0; k < i; k++) sum -= g[k * n + i] * g[k * n + j];\n"
"            g[i * n + j] = sum / pivot;\n"
"        }\n"
"        block_sync(); /* this row of r is there */\n"
"    }\n"
"}\n"
"\n"
"/* y = y r^-1, a row a thread, unless it is bad. grid rows / 64, block 64. */\n"
"KERNEL __launch_bounds__(64) columns_solve(float *y, i64 rows, int n, const double *r, const double *bad)\n"
"{\n"
"    __shared__ double solved[COLUMNS * 64];\n"
"    double *q = solved + threadIdx.x; /* a value of a row every 64 */\n"
"    const i64 row = (i64)blockIdx.x * 64 + threadIdx.x;\n"
"    if (*bad != 0 || row >= rows) return;\n"
"    for (int i = 0; i < n; i++) {\n"
"        double sum = (double)y[row * n + i];\n"
"        for (int k = 0; k < i; k++) sum -= q[k * 64] * r[k * n + i];\n"
"        q[i * 64] = sum / r[i * n + i];\n"
"    }\n"
"    for (int i = 0; i < n; i++) y[row * n + i] = (float)q[i * 64];\n"
"}\n"
"\n"
"DEVICE double column_dot(const float *y, i64 rows, int n, int a, int b, double *lanes)\n"
"{\n"
"    double sum = 0;\n"
"    for (i64 row = threadIdx.x; row < rows; row += 256) sum += (double)y[row * n + a] * (double)y[row * n + b];\n",
"    return block_total(sum, lanes);\n"
"}\n"
"\n"
"DEVICE void column_divide(float *y, i64 rows, int n, int i, double by)\n"
"{\n"
"    for (i64 row = threadIdx.x; row < rows; row += 256) y[row * n + i] = (float)((double)y[row * n + i] / by);\n"
"}\n"
"\n"
"/* Gram and Schmidt, each column until cleaning it changes nothing, if it is bad. A thread has the same rows throughout.\n"
" * One block of 256. */\n"
"KERNEL __launch_bounds__(256) columns_gram_schmidt(float *y, i64 rows, int n, const double *bad)\n"
"{\n"
"    __shared__ double lanes[256];\n"
"    if (*bad == 0) return;\n"
"    for (int i = 0; i < n; i++) {\n"
"        const double before = sqrt(column_dot(y, rows, n, i, i, lanes));\n"
"        bool clean = false;\n"
"        if (before > 0) column_divide(y, rows, n, i, before);\n"
"        for (int round = 0; before > 0 && !clean && round < 4; round++) {\n"
"            for (int k = 0; k < i; k++) {\n"
"                const double dot = column_dot(y, rows, n, k, i, lanes);\n"
"                for (i64 row = threadIdx.x; row < rows; row += 256)\n"
"                    y[row * n + i] = (float)((double)y[row * n + i] - dot * (double)y[row * n + k]);\n"
"            }\n"
"            const double length = sqrt(column_dot(y, rows, n, i, i, lanes));\n"
"            if (!(length > 0)) break;\n"
"            column_divide(y, rows, n, i, length);\n"
"            clean = length > 0.9;\n"
"        }\n"
"        for (i64 row = threadIdx.x; row < rows && !clean; row += 256) y[row * n + i] = 0;\n"
"    }\n"
"}\n"
"\n"
"/* The largest eigenvalue comes first, and of each vector the largest component is positive. */\n"
"DEVICE void eigen_sort(double *a, double *v, int n)\n"
"{\n"
"    for (int i = 0; i < n; i++) {\n"
"        int best = i, largest = 0;\n"
"        for (int j = i + 1; j < n; j++)\n"
"            if (a[j * n + j] > a[best * n + best]) best = j;\n"
"        const double value = a[i * n + i];\n"
"        a[i * n + i] = a[best * n + best];\n"
"        a[best * n + best] = value;\n"
"        for (int k = 0; k < n; k++) {\n"
"            const double x = v[k * n + i];\n"
"            v[k * n + i] = v[k * n + best];\n"
"            v[k * n + best] = x;\n"
"            if (fabs(v[k * n + i]) > fabs(v[largest * n + i])) largest = k;\n"
"        }\n"
"        const bool turns = v[largest * n + i] < 0;\n"
"        for (int k = 0; turns && k < n; k++) v[k * n + i] = -v[k * n + i];\n"
"    }\n"
"}\n"
"\n"
"/* Eigenvalues of the sum of the parts, onto the diagonal of a, and their vectors, columns of v: Jacobi's rotations, one\n"
" * after the other in the order of the host. One block of 64. */\n"
"KERNEL __launch_bounds__(64) gram_eigen(const double *parts, int n, double *a, double *v)\n"
"{\n"
"    const int k = threadIdx.x;\n"
"    bool turned = true;\n"
"    for (int at = k; at < n * n; at += 64) v[at] = at / n == at % n ? 1 : 0;\n"
"    gram_of_parts(parts, n, a);\n"
"    for (int sweep = 0; sweep < 40 && turned; sweep++) {\n"
"        turned = false;\n"
"        for (int p = 0; p < n; p++)\n"
"            for (int q = p + 1; q < n; q++) {\n"
"                const double pq = a[p * n + q], pp = a[p * n + p], qq = a[q * n + q], beside = fabs(pq);\n"
"                if (!(beside > 1e-17 * (fabs(pp) + fabs(qq))) || !(beside > 2.2250738585072014e-308)) continue;\n"
"                const double theta = (qq - pp) / (2 * pq);\n"
"                const double t = (theta >= 0 ? 1.0 : -1.0) / (fabs(theta) + sqrt(theta * theta + 1));\n"
"                const double c = 1 / sqrt(t * t + 1), s = t * c;\n"
"                turned = true;\n"
"                block_sync(); /* all have read them */\n"
"                if (k < n) {\n"
"                    const double x = a[k * n + p], y = a[k * n + q], vx = v[k * n + p], vy = v[k * n + q];\n"
"                    a[k * n + p] = c * x - s * y;\n"
"                    a[k * n + q] = s * x + c * y;\n"
"                    v[k * n + p] = c * vx - s * vy;\n"
"                    v[k * n + q] = s * vx + c * vy;\n"
"                }\n",
"                block_sync(); /* columns are turned, rows come */\n"
"                if (k < n) {\n"
"                    const double x = a[p * n + k], y = a[q * n + k];\n"
"                    a[p * n + k] = k == q ? 0 : c * x - s * y;\n"
"                    a[q * n + k] = k == p ? 0 : s * x + c * y;\n"
"                }\n"
"                block_sync();\n"
"            }\n"
"    }\n"
"    block_sync(); /* nobody reads them any more */\n"
"    if (k == 0) eigen_sort(a, v, n);\n"
"}\n"
"\n"
"/* sigma = the roots of a's diagonal, left (rows, rank) = y v, right (rank, cols) = (z v)^T / sigma; zeros where sigma\n"
" * is. grid (rows + cols) / 256, block 256: a row of y or of z each. */\n"
"struct factors_args {\n"
"    const float *y, *z;\n"
"    i64 rows, cols;\n"
"    int n, rank;\n"
"    const double *a, *v;\n"
"    float *left, *right, *sigma;\n"
"};\n"
"KERNEL __launch_bounds__(256) factors(const factors_args a)\n"
"{\n"
"    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"    if (i >= a.rows + a.cols) return;\n"
"    const bool is_left = i < a.rows;\n"
"    const float *from = is_left ? a.y + i * a.n : a.z + (i - a.rows) * a.n;\n"
"    for (int k = 0; k < a.rank; k++) {\n"
"        const double square = a.a[k * a.n + k], sigma = square > 0 ? sqrt(square) : 0;\n"
"        double sum = 0;\n"
"        for (int l = 0; l < a.n; l++) sum += (double)from[l] * a.v[l * a.n + k];\n"
"        if (!is_left) sum /= sigma;\n"
"        if (!((float)sigma > 0)) sum = 0;\n"
"        if (is_left)\n"
"            a.left[i * a.rank + k] = (float)sum;\n"
"        else\n"
"            a.right[k * a.cols + i - a.rows] = (float)sum;\n"
"        if (i == 0) a.sigma[k] = (float)sigma;\n"
"    }\n"
"}\n"
"\n"
"/* rest = x + add - left diag(sigma) right, which is written unless *bound is `most` or above, or no number; parts: the\n"
" * sums of its squares. add, rest and bound may be NULL. grid at most 256, block 256. */\n"
"struct deflate_args {\n"
"    const float *x, *add, *left, *sigma, *right;\n"
"    i64 rows, cols;\n"
"    int rank;\n"
"    float *rest;\n"
"    const double *bound;\n"
"    double most;\n"
"    double *parts;\n"
"};\n"
"KERNEL __launch_bounds__(256) deflate(const deflate_args a)\n"
"{\n"
"    __shared__ double left[COLUMNS], lanes[256];\n"
"    const bool writes = a.rest && (!a.bound || *a.bound < a.most);\n"
"    double squares = 0;\n"
"    for (i64 row = blockIdx.x; row < a.rows; row += gridDim.x) {\n"
"        block_sync(); /* the last row's have been read */\n"
"        if ((int)threadIdx.x < a.rank)\n"
"            left[threadIdx.x] = (double)a.left[row * a.rank + threadIdx.x] * (double)a.sigma[threadIdx.x];\n"
"        block_sync();\n"
"        for (i64 j = threadIdx.x; j < a.cols; j += 256) {\n"
"            const i64 at = row * a.cols + j;\n"
"            double rest = (double)(a.add ? a.x[at] + a.add[at] : a.x[at]);\n"
"            for (int k = 0; k < a.rank; k++) rest -= left[k] * (double)a.right[k * a.cols + j];\n"
"            if (writes) a.rest[at] = (float)rest;\n"
"            squares += rest * rest;\n"
"        }\n"
"    }\n"
"    squares = block_total(squares, lanes);\n"
"    if (threadIdx.x == 0) a.parts[blockIdx.x] = squares;\n"
"}\n",
NULL
};
static const char *const hyb_cuda_text_rssm[] = {
"/* rssm: a step of learning of the predictor's world models: each runs over windows of ticks, and its gradients go back\n"
" * through time. A block of 256 threads is a member, and a launch does all members. Needs prelude. compute/cpu/rssm/ has\n"
" * the same steps, and says what they mean.\n"
" *\n"
" * A panel has a row of ROW floats for each feature; column t * windows + i is tick t of window i. Panels lie in global\n"
" * memory: 3.6 MB a member, which stay in the second cache.\n"
" *\n"
" * Nearly all of the work is in products, of which there are 37, some of them once for each tick. They are rows of a\n"
" * table, and one piece of code goes through it: a product that is written out 37 times takes NVRTC half a minute, and a\n"
" * function that is called has registers to save. */\n"
"\n"
"enum {\n"
"    ROW = 272,\n"
"    INPUTS = 70,\n"
"    UNITS = 128,\n"
"    CHOICES = 4,\n"
"    CLASSES = 8,\n"
"    LATENT = CHOICES * CLASSES,\n"
"    HORIZONS = 4,\n"
"    GROUPS = 8,\n"
"    DELTA = HORIZONS, /* outputs of the heads */\n"
"    GAIN = 16,\n"
"    VERDICT = 17,\n"
"    SIGMA = 18,\n"
"    GAIN_SIGMA = 22,\n"
"    HEADS = 23,\n"
"    /* columns of matrices: x, a layer on units, on [units; 1; z], on [e; 1; h], of the heads */\n"
"    OF_X = INPUTS + 1,\n"
"    OF_UNITS = UNITS + 1,\n"
"    OF_Z = UNITS + 1 + LATENT,\n"
"    OF_BOTH = 2 * UNITS + 1,\n"
"    OF_TRUNK = UNITS + 2\n"
"};\n"
"enum { NOTHING, TAUGHT, HELD };\n"
"\n"
"/* Where the weights of a member begin. */\n"
"enum {\n"
"    AT_ENCODER = 0,\n"
"    AT_NORM = AT_ENCODER + UNITS * OF_X,\n"
"    AT_GRU_W = AT_NORM + 2 * UNITS,\n"
"    AT_GRU_U = AT_GRU_W + 3 * UNITS * OF_Z,\n"
"    AT_POSTERIOR = AT_GRU_U + 3 * UNITS * UNITS,\n"
"    AT_POSTERIOR2 = AT_POSTERIOR + UNITS * OF_BOTH,\n"
"    AT_PRIOR = AT_POSTERIOR2 + LATENT * OF_UNITS,\n"
"    AT_PRIOR2 = AT_PRIOR + UNITS * OF_UNITS,\n"
"    AT_TRUNK = AT_PRIOR2 + LATENT * OF_UNITS,\n"
"    AT_HEAD = AT_TRUNK + UNITS * OF_Z,\n"
"    SIZE = AT_HEAD + HEADS * OF_TRUNK,\n"
"    ROOM = (SIZE + 15) / 16 * 16\n"
"};\n"
"\n"
"/* And its panels: rows. Of those with a row of ones, it comes after the units; of trunk_act, the miss after that. */\n"
"enum {\n"
"    X = 0,\n"
"    NORMED = X + OF_X,\n"
"    DEVIATION = NORMED + UNITS,\n"
"    ENCODED = DEVIATION + 1,\n"
"    IN = ENCODED + UNITS, /* [e; 1; z] */\n"
"    GATES = IN + OF_Z,\n"
"    RH = GATES + 3 * UNITS,\n"
"    H = RH + UNITS, /* from before tick 0 to after the last */\n"
"    POST = H + OF_UNITS,\n"
"    POST_ACT = POST + UNITS,\n"
"    Q_SOFT = POST_ACT + OF_UNITS,\n"
"    Q = Q_SOFT + LATENT,\n"
"    PRI = Q + LATENT,\n"
"    PRI_ACT = PRI + UNITS,\n"
"    P_SOFT = PRI_ACT + OF_UNITS,\n"
"    P = P_SOFT + LATENT,\n"
"    TRUNK = P + LATENT,\n"
"    TRUNK_ACT = TRUNK + UNITS,\n"
"    OUT = TRUNK_ACT + OF_TRUNK,\n"
"    D_OUT = OUT + HEADS,\n"
"    D_TRUNK = D_OUT + HEADS,\n"
"    D_H = D_TRUNK + UNITS,\n"
"    D_GATES = D_H + UNITS,\n"
"    D_RH = D_GATES + 3 * UNITS,\n"
"    D_IN = D_RH + UNITS,\n"
"    D_Q = D_IN + OF_Z,\n"
"    D_POST = D_Q + LATENT,\n"
"    D_P = D_POST + UNITS,\n"
"    D_PRI = D_P + LATENT,\n"
"    PANELS = D_PRI + UNITS,\n"
"    ONES = UNITS,     /* after the beginning of a panel: its row of ones */\n"
"    Z = UNITS + 1,    /* and of IN and D_IN: z */\n"
"    MISS = UNITS + 1, /* and of TRUNK_ACT: the miss */\n"
"    NEW = 2 * UNITS   /* and of GATES and D_GATES: the third gate */\n"
"};\n"
"\n"
"/* As in compute/ops/rssm.c. */\n"
"struct tick_labels {\n"
"    u32 has_loss;\n"
"    bool has_delta, has_gain, has_ok;\n"
"    float y[HORIZONS], c[GROUPS][3], gram[GROUPS][6], gain;\n"
"    bool ok;\n"
"};\n"
"struct tick_share {\n"
"    int role;\n"
"    float weight, kl;\n"
"};\n"
"struct member_trust {\n"
"    double n[HORIZONS], oo[HORIZONS], or_[HORIZONS], rr[HORIZONS], oy[HORIZONS], ry[HORIZONS], a[HORIZONS], b[HORIZONS];\n"
"};\n"
"struct member_loss {\n"
"    double nll[HORIZONS], delta, gain, ok, kl, n_nll[HORIZONS], n_delta, n_gain, n_ok, n_ticks;\n"
"};\n"
"struct rssm_args {\n"
"    int ticks, windows;\n",
"    const float *weights, *x;\n"
"    const u32 *random;\n"
"    const tick_labels *labels;\n"
"    const tick_share *shares;\n"
"    member_trust *trusts;\n"
"    member_loss *taught, *held;\n"
"    float *gradients, *work;\n"
"};\n"
"\n"
"/* ---- products ---------------------------------------------------------------------------------------------------- */\n"
"\n"
"/* Two pieces of operands, so many terms of a sum: of 64 rows, and of up to 64 columns. */\n"
"enum { TERMS = 16, TILE = 64, PADDED = TILE + 4 };\n"
"struct pieces {\n"
"    float a[TERMS][PADDED], b[TERMS][PADDED];\n"
"};\n"
"\n"
"/* A matrix: floats from one row to the next, and from one column; one of the two is 1. */\n"
"struct view {\n"
"    const float *at;\n"
"    int row, column;\n"
"};\n"
"\n"
"/* c (m, n) = or += a (m, p) b (p, n), the rows of c `row` floats apart; N columns at a time. A thread has 4 rows of N /\n"
" * 16 columns, and adds its terms in their order. It begins and goes on with barriers, so that what was written before\n"
" * it is there; what it writes is there after the next one. */\n"
"template <int N>\n"
"DEVICE void product(pieces *s, const view &a, const view &b, float *c, int row, int m, int n, int p, bool add)\n"
"{\n"
"    const int of_row = 4 * ((int)threadIdx.x / 16), of_column = N / 16 * ((int)threadIdx.x % 16);\n"
"    for (int m0 = 0; m0 < m; m0 += TILE)\n"
"        for (int n0 = 0; n0 < n; n0 += N) {\n"
"            float sum[4][N / 16];\n"
"            for (int i = 0; i < 4; i++)\n"
"                for (int j = 0; j < N / 16; j++) sum[i][j] = 0;\n"
"            for (int p0 = 0; p0 < p; p0 += TERMS) {\n"
"                block_sync(); /* nobody reads the last pieces any more */\n"
"                for (int i = threadIdx.x; i < TERMS * TILE; i += 256) {\n"
"                    const int r = a.column == 1 ? i / TERMS : i % TILE, t = a.column == 1 ? i % TERMS : i / TILE;\n"
"                    const bool there = m0 + r < m && p0 + t < p;\n"
"                    s->a[t][r] = there ? a.at[(m0 + r) * a.row + (p0 + t) * a.column] : 0.0f;\n"
"                }\n"
"                for (int i = threadIdx.x; i < TERMS * N; i += 256) {\n"
"                    const int r = b.column == 1 ? i % N : i / TERMS, t = b.column == 1 ? i / N : i % TERMS;\n"
"                    const bool there = n0 + r < n && p0 + t < p;\n"
"                    s->b[t][r] = there ? b.at[(p0 + t) * b.row + (n0 + r) * b.column] : 0.0f;\n"
"                }\n"
"                block_sync(); /* these are there */\n"
"                for (int t = 0; t < TERMS; t++) {\n"
"                    const float4 x = *(const float4 *)&s->a[t][of_row];\n"
"                    for (int j = 0; j < N / 16; j++) {\n"
"                        const float y = s->b[t][of_column + j];\n"
"                        sum[0][j] = fmaf(x.x, y, sum[0][j]);\n"
"                        sum[1][j] = fmaf(x.y, y, sum[1][j]);\n"
"                        sum[2][j] = fmaf(x.z, y, sum[2][j]);\n"
"                        sum[3][j] = fmaf(x.w, y, sum[3][j]);\n"
"                    }\n"
"                }\n"
"            }\n"
"            for (int i = 0; i < 4; i++)\n"
"                for (int j = 0; j < N / 16; j++) {\n"
"                    float *to = c + (m0 + of_row + i) * row + n0 + of_column + j;\n"
"                    if (m0 + of_row + i < m && n0 + of_column + j < n) *to = add ? *to + sum[i][j] : sum[i][j];\n"
"                }\n"
"        }\n"
"}\n"
"\n"
"/* ---- all products, in their order -------------------------------------------------------------------------------- */\n"
"\n"
"enum product_kind {\n"
"    FORWARD, /* y = W x */\n"
"    BACK_X,  /* y = W' x */\n"
"    BACK_W   /* W's gradient = x y', each once */\n"
"};\n"
"enum { ADDS = 1, X_AFTER = 2, Y_AFTER = 4 }; /* y += ; from the column of the next tick on: the state after a tick */\n"
"\n"
"/* What follows a product. */\n"
"enum follows {\n"
"    NO_MORE,\n"
"    ENCODE,\n"
"    LATENT_OF,\n"
"    RESET,\n"
"    CELL,\n"
"    PRIORS,\n"
"    LOSSES,\n"
"    POSTERIOR_ACT,\n"
"    PRIOR_ACT,\n",
"    TRUNK_SILU,\n"
"    TRUNK_BACK,\n"
"    PRIOR_BACK,\n"
"    CELL_BACK,\n"
"    RESET_BACK,\n"
"    LATENT_BACK,\n"
"    POSTERIOR_BACK,\n"
"    ENCODE_BACK\n"
"};\n"
"\n"
"/* W is (rows, columns), `of` floats from row to row; x and y are panels. */\n"
"struct step {\n"
"    int kind, weights, of, rows, columns, x, y, flags, then;\n"
"};\n"
"__constant__ step STEPS[] = {\n"
"    { FORWARD, AT_ENCODER, OF_X, UNITS, OF_X, X, NORMED, 0, ENCODE },\n"
"    { FORWARD, AT_GRU_W, OF_Z, 3 * UNITS, OF_UNITS, IN, GATES, 0, NO_MORE },\n"
"    { FORWARD, AT_POSTERIOR, OF_BOTH, UNITS, OF_UNITS, IN, POST, 0, NO_MORE },\n"
"    /* a tick */\n"
"    { FORWARD, AT_POSTERIOR + OF_UNITS, OF_BOTH, UNITS, UNITS, H, POST, ADDS, POSTERIOR_ACT },\n"
"    { FORWARD, AT_POSTERIOR2, OF_UNITS, LATENT, OF_UNITS, POST_ACT, Q_SOFT, 0, LATENT_OF },\n"
"    { FORWARD, AT_GRU_W + OF_UNITS, OF_Z, 3 * UNITS, LATENT, IN + Z, GATES, ADDS, NO_MORE },\n"
"    { FORWARD, AT_GRU_U, UNITS, 2 * UNITS, UNITS, H, GATES, ADDS, RESET },\n"
"    { FORWARD, AT_GRU_U + 2 * UNITS *UNITS, UNITS, UNITS, UNITS, RH, GATES + NEW, ADDS, CELL },\n"
"    /* priors and heads of all ticks, from their states */\n"
"    { FORWARD, AT_PRIOR, OF_UNITS, UNITS, OF_UNITS, H, PRI, 0, PRIOR_ACT },\n"
"    { FORWARD, AT_PRIOR2, OF_UNITS, LATENT, OF_UNITS, PRI_ACT, P_SOFT, 0, PRIORS },\n"
"    { FORWARD, AT_TRUNK, OF_Z, UNITS, OF_UNITS, H, TRUNK, X_AFTER, NO_MORE },\n"
"    { FORWARD, AT_TRUNK + OF_UNITS, OF_Z, UNITS, LATENT, IN + Z, TRUNK, ADDS, TRUNK_SILU },\n"
"    { FORWARD, AT_HEAD, OF_TRUNK, HEADS, OF_TRUNK, TRUNK_ACT, OUT, 0, LOSSES },\n"
"    /* back: heads and trunk, but not of the deviations; into D_H of the states after each tick, and z of D_IN */\n"
"    { BACK_W, AT_HEAD, OF_TRUNK, HEADS, OF_TRUNK, D_OUT, TRUNK_ACT, 0, NO_MORE },\n"
"    { BACK_X, AT_HEAD, OF_TRUNK, SIGMA, UNITS, D_OUT, D_TRUNK, 0, TRUNK_BACK },\n"
"    { BACK_W, AT_TRUNK, OF_Z, UNITS, OF_UNITS, D_TRUNK, H, Y_AFTER, NO_MORE },\n"
"    { BACK_W, AT_TRUNK + OF_UNITS, OF_Z, UNITS, LATENT, D_TRUNK, IN + Z, 0, NO_MORE },\n"
"    { BACK_X, AT_TRUNK, OF_Z, UNITS, UNITS, D_TRUNK, D_H, Y_AFTER, NO_MORE },\n"
"    { BACK_X, AT_TRUNK + OF_UNITS, OF_Z, UNITS, LATENT, D_TRUNK, D_IN + Z, 0, NO_MORE },\n"
"    /* priors: into D_H of the states before each tick */\n"
"    { BACK_W, AT_PRIOR2, OF_UNITS, LATENT, OF_UNITS, D_P, PRI_ACT, 0, NO_MORE },\n"
"    { BACK_X, AT_PRIOR2, OF_UNITS, LATENT, UNITS, D_P, D_PRI, 0, PRIOR_BACK },\n"
"    { BACK_W, AT_PRIOR, OF_UNITS, UNITS, OF_UNITS, D_PRI, H, 0, NO_MORE },\n"
"    { BACK_X, AT_PRIOR, OF_UNITS, UNITS, UNITS, D_PRI, D_H, ADDS, CELL_BACK },\n"
"    /* a tick, the gradient of whose state is complete: through the cell, z and the posterior, into the state before */\n"
"    { BACK_X, AT_GRU_U + 2 * UNITS *UNITS, UNITS, UNITS, UNITS, D_GATES + NEW, D_RH, 0, RESET_BACK },\n"
"    { BACK_X, AT_GRU_U, UNITS, 2 * UNITS, UNITS, D_GATES, D_H, ADDS, NO_MORE },\n"
"    { BACK_X, AT_GRU_W + OF_UNITS, OF_Z, 3 * UNITS, LATENT, D_GATES, D_IN + Z, ADDS, LATENT_BACK },\n"
"    { BACK_X, AT_POSTERIOR2, OF_UNITS, LATENT, UNITS, D_Q, D_POST, 0, POSTERIOR_BACK },\n"
"    { BACK_X, AT_POSTERIOR + OF_UNITS, OF_BOTH, UNITS, UNITS, D_POST, D_H, ADDS, CELL_BACK },\n"
"    /* what the ticks left: the weights of gates and posterior, and the encoder */\n"
"    { BACK_W, AT_GRU_W, OF_Z, 3 * UNITS, OF_Z, D_GATES, IN, 0, NO_MORE },\n"
"    { BACK_W, AT_GRU_U, UNITS, 2 * UNITS, UNITS, D_GATES, H, 0, NO_MORE },\n"
"    { BACK_W, AT_GRU_U + 2 * UNITS *UNITS, UNITS, UNITS, UNITS, D_GATES + NEW, RH, 0, NO_MORE },\n"
"    { BACK_W, AT_POSTERIOR2, OF_UNITS, LATENT, OF_UNITS, D_Q, POST_ACT, 0, NO_MORE },\n"
"    { BACK_W, AT_POSTERIOR, OF_BOTH, UNITS, OF_UNITS, D_POST, IN, 0, NO_MORE },\n"
"    { BACK_W, AT_POSTERIOR + OF_UNITS, OF_BOTH, UNITS, UNITS, D_POST, H, 0, NO_MORE },\n"
"    { BACK_X, AT_GRU_W, OF_Z, 3 * UNITS, UNITS, D_GATES, D_IN, 0, NO_MORE },\n"
"    { BACK_X, AT_POSTERIOR, OF_BOTH, UNITS, UNITS, D_POST, D_IN, ADDS, ENCODE_BACK },\n",
"    { BACK_W, AT_ENCODER, OF_X, UNITS, OF_X, D_IN, X, 0, NO_MORE },\n"
"};\n"
"enum { STEP_COUNT = sizeof STEPS / sizeof *STEPS, TICK = 3, TICK_END = 8, TICK_BACK = 23, TICK_BACK_END = 28 };\n"
"\n"
"/* ---- a member ---------------------------------------------------------------------------------------------------- */\n"
"\n"
"struct member {\n"
"    pieces *s;\n"
"    const float *w, *miss;\n"
"    const u32 *random;\n"
"    const tick_labels *labels;\n"
"    const tick_share *shares;\n"
"    member_trust *trust;\n"
"    member_loss *taught, *held;\n"
"    float *d, *work;\n"
"    int windows, n; /* n: columns */\n"
"};\n"
"\n"
"DEVICE float *panel(const member &m, int row) { return m.work + row * ROW; }\n"
"\n"
"/* A step over columns at .. at + n. */\n"
"DEVICE void multiply(const member &m, const step &s, int at, int n)\n"
"{\n"
"    const bool back_w = s.kind == BACK_W, back_x = s.kind == BACK_X;\n"
"    const float *x = panel(m, s.x) + at + (s.flags & X_AFTER ? m.windows : 0);\n"
"    float *y = panel(m, s.y) + at + (s.flags & Y_AFTER ? m.windows : 0), *to = back_w ? m.d + s.weights : y;\n"
"    const float *w = m.w + s.weights;\n"
"    const int rows = back_x ? s.columns : s.rows, columns = back_w ? s.columns : n;\n"
"    const int terms = back_w ? n : back_x ? s.rows : s.columns, row = back_w ? s.of : ROW;\n"
"    view a = { w, s.of, 1 }, b = { x, ROW, 1 };\n"
"    if (back_x) a = { w, 1, s.of };\n"
"    if (back_w) {\n"
"        a = { x, ROW, 1 };\n"
"        b = { y, 1, ROW };\n"
"    }\n"
"    if (columns <= 32)\n"
"        product<16>(m.s, a, b, to, row, rows, columns, terms, s.flags & ADDS);\n"
"    else\n"
"        product<TILE>(m.s, a, b, to, row, rows, columns, terms, s.flags & ADDS);\n"
"}\n"
"\n"
"/* f(place) for each of so many rows, columns at .. at + n. What was written before it is there. */\n"
"template <class F> DEVICE void each(int rows, int at, int n, const F &f)\n"
"{\n"
"    block_sync(); /* what came before has been written, and read */\n"
"    for (int i = threadIdx.x; i < rows * n; i += 256) f(i / n * ROW + at + i % n);\n"
"}\n"
"\n"
"DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }\n"
"DEVICE float silu(float x) { return x * sigmoid(x); }\n"
"DEVICE float silu_back(float x)\n"
"{\n"
"    const float s = sigmoid(x);\n"
"    return s * (1.0f + x * (1.0f - s));\n"
"}\n"
"DEVICE void act(const member &m, int x, int y, int at, int n)\n"
"{\n"
"    each(UNITS, at, n, [&](int i) { panel(m, y)[i] = silu(panel(m, x)[i]); });\n"
"}\n"
"DEVICE void act_back(const member &m, int x, int d, int at, int n)\n"
"{\n"
"    each(UNITS, at, n, [&](int i) { panel(m, d)[i] *= silu_back(panel(m, x)[i]); });\n"
"}\n"
"\n"
"/* ---- forward ----------------------------------------------------------------------------------------------------- */\n"
"\n"
"/* A choice's softmax over its logits, and mixed: p. */\n"
"DEVICE void chances(float *soft, float *p)\n"
"{\n"
"    float most = soft[0], sum = 0;\n"
"    for (int i = 1; i < CLASSES; i++) most = fmaxf(most, soft[i * ROW]);\n"
"    for (int i = 0; i < CLASSES; i++) {\n"
"        soft[i * ROW] = expf(soft[i * ROW] - most);\n"
"        sum += soft[i * ROW];\n"
"    }\n"
"    for (int i = 0; i < CLASSES; i++) {\n"
"        soft[i * ROW] = soft[i * ROW] / sum;\n"
"        p[i * ROW] = 0.99f * soft[i * ROW] + 0.01f / CLASSES;\n"
"    }\n"
"}\n"
"DEVICE void sample(const float *p, u32 random, float *z)\n"
"{\n"
"    const double u = random / 4294967296.0;\n"
"    double below = 0;\n"
"    int chosen = CLASSES - 1;\n"
"    for (int i = 0; i < chosen; i++)\n"
"        if (u < (below += (double)p[i * ROW])) chosen = i;\n"
"    for (int i = 0; i < CLASSES; i++) z[i * ROW] = i == chosen ? 1.0f : 0.0f;\n"
"}\n"
"/* The gradient of p becomes that of the logits. */\n"
"DEVICE void chances_back(const float *soft, float *d)\n"
"{\n"
"    float mean = 0;\n"
"    for (int i = 0; i < CLASSES; i++) mean += soft[i * ROW] * d[i * ROW];\n"
"    for (int i = 0; i < CLASSES; i++) d[i * ROW] = 0.99f * (soft[i * ROW] * (d[i * ROW] - mean));\n"
"}\n"
"\n",
"/* Inputs, rows of ones, and states of zeros. */\n"
"DEVICE void begin(const member &m, const float *x)\n"
"{\n"
"    const int ones[] = { X + INPUTS, IN + ONES, H + ONES, POST_ACT + ONES, PRI_ACT + ONES, TRUNK_ACT + ONES };\n"
"    each(INPUTS, 0, m.n, [&](int i) { m.work[i] = x[i]; });\n"
"    each(UNITS, 0, m.windows, [&](int i) { panel(m, H)[i] = 0; });\n"
"    for (int i = 0; i < 6; i++) each(1, 0, m.n + m.windows, [&](int c) { panel(m, ones[i])[c] = 1; });\n"
"    each(1, 0, m.n, [&](int c) { panel(m, TRUNK_ACT + MISS)[c] = m.miss[c]; });\n"
"}\n"
"\n"
"/* Each column has mean 0 and variance 1; a thread has a column. */\n"
"DEVICE void norm(const member &m)\n"
"{\n"
"    float *x = panel(m, NORMED), *encoded = panel(m, ENCODED);\n"
"    const float *w = m.w + AT_NORM;\n"
"    each(1, 0, m.n, [&](int c) {\n"
"        float mean = 0, square = 0;\n"
"#pragma unroll 1\n"
"        for (int i = 0; i < UNITS; i++) mean += x[i * ROW + c];\n"
"        mean *= 1.0f / UNITS;\n"
"#pragma unroll 1\n"
"        for (int i = 0; i < UNITS; i++) square = fmaf(x[i * ROW + c] - mean, x[i * ROW + c] - mean, square);\n"
"        const float scale = 1.0f / sqrtf(square * (1.0f / UNITS) + 1e-5f);\n"
"        panel(m, DEVIATION)[c] = scale;\n"
"#pragma unroll 1\n"
"        for (int i = 0; i < UNITS; i++) {\n"
"            const float v = (x[i * ROW + c] - mean) * scale;\n"
"            x[i * ROW + c] = v;\n"
"            encoded[i * ROW + c] = fmaf(v, w[i], w[UNITS + i]);\n"
"        }\n"
"    });\n"
"}\n"
"\n"
"/* Of a tick at column `at`: q and z, of the logits. */\n"
"DEVICE void latent(const member &m, int at)\n"
"{\n"
"    each(CHOICES, at, m.windows, [&](int i) {\n"
"        const int choice = i / ROW, c = i % ROW, row = choice * CLASSES;\n"
"        chances(panel(m, Q_SOFT + row) + c, panel(m, Q + row) + c);\n"
"        sample(panel(m, Q + row) + c, m.random[c * CHOICES + choice], panel(m, IN + Z + row) + c);\n"
"    });\n"
"}\n"
"DEVICE void priors(const member &m)\n"
"{\n"
"    each(CHOICES, 0, m.n, [&](int i) {\n"
"        const int row = i / ROW * CLASSES, c = i % ROW;\n"
"        chances(panel(m, P_SOFT + row) + c, panel(m, P + row) + c);\n"
"    });\n"
"}\n"
"\n"
"/* z and r of the tick, and r h. */\n"
"DEVICE void reset(const member &m, int at)\n"
"{\n"
"    float *gates = panel(m, GATES);\n"
"    each(2 * UNITS, at, m.windows, [&](int i) { gates[i] = sigmoid(gates[i]); });\n"
"    each(UNITS, at, m.windows, [&](int i) { panel(m, RH)[i] = gates[UNITS * ROW + i] * panel(m, H)[i]; });\n"
"}\n"
"/* h of the next tick. */\n"
"DEVICE void cell(const member &m, int at)\n"
"{\n"
"    float *gates = panel(m, GATES), *h = panel(m, H);\n"
"    each(UNITS, at, m.windows, [&](int i) {\n"
"        const float new_h = tanhf(gates[NEW * ROW + i]), z = gates[i];\n"
"        gates[NEW * ROW + i] = new_h;\n"
"        h[i + m.windows] = (1.0f - z) * h[i] + z * new_h;\n"
"    });\n"
"}\n"
"\n"
"/* ---- the loss ---------------------------------------------------------------------------------------------------- */\n"
"\n"
"/* What a tick costs, in the memory of D_GATES, which is free until gradients go back: (COSTS, ROW) doubles. */\n"
"enum { COST_DELTA = HORIZONS, COST_GAIN, COST_OK, COST_KL, COSTS };\n"
"\n"
"/* A bound lets a gradient through if a step against it leads back from the bound. */\n"
"DEVICE float bound_back(float x, float low, float high, float d)\n"
"{\n"
"    return (x >= high && d < 0.0f) || (x <= low && d > 0.0f) ? 0.0f : d;\n"
"}\n"
"\n"
"/* -ln of the density of a normal distribution at y, and its gradients. */\n"
"DEVICE double normal_loss(float mu, float log_sigma, float y, float *d_mu, float *d_log_sigma)\n"
"{\n"
"    const float s = fminf(fmaxf(log_sigma, -5.0f), 3.0f), e = expf(-s), r = (mu - y) * e;\n"
"    *d_mu = r * e;\n"
"    *d_log_sigma = bound_back(log_sigma, -5.0f, 3.0f, 1.0f - r * r);\n"
"    return 0.5 * (double)r * (double)r + (double)s + 0.91893853320467274;\n"
"}\n"
"\n"
"/* Of outputs `at` and `at_sigma`; d: their column. The one that the role does not teach stays 0. */\n",
"DEVICE double normal_head(const float *o, float *d, int at, int at_sigma, float mu, float y, const tick_share &share)\n"
"{\n"
"    const bool taught = share.role == TAUGHT;\n"
"    float d_mu, d_sigma;\n"
"    const double loss = normal_loss(taught ? o[at * ROW] : mu, o[at_sigma * ROW], y, &d_mu, &d_sigma);\n"
"    if (taught) d[at * ROW] = d_mu * share.weight;\n"
"    if (share.role == HELD) d[at_sigma * ROW] = d_sigma * share.weight;\n"
"    return loss;\n"
"}\n"
"\n"
"/* (c - c*)' G (c - c*) over the groups, of the outputs o0 .. o11. */\n"
"DEVICE double delta_head(const float *o, const tick_labels &y, float *d, float weight)\n"
"{\n"
"    const float t0 = tanhf(o[0]), s1 = sigmoid(o[1 * ROW]), q = fminf(2.0f * s1, 1.0f), s10 = sigmoid(o[10 * ROW]);\n"
"    const float t11 = tanhf(o[11 * ROW]), magnitude = 1.0f + 1.5f * t0;\n"
"    float d_magnitude = 0, d_q = 0, d_d = 0, d_r = 0;\n"
"    double loss = 0;\n"
"#pragma unroll 1\n"
"    for (int g = 0; g < GROUPS; g++) {\n"
"        const float s = sigmoid(o[(2 + g) * ROW]), *gram = y.gram[g];\n"
"        const float v0 = -0.6f * s10 - y.c[g][0], v1 = 0.35f * magnitude * q * (2.0f * s) - y.c[g][1];\n"
"        const float v2 = 0.5f * fmaxf(t11, 0.0f) - y.c[g][2];\n"
"        const float c0 = 2.0f * (gram[0] * v0 + gram[1] * v1 + gram[2] * v2);\n"
"        const float c1 = 2.0f * (gram[1] * v0 + gram[3] * v1 + gram[4] * v2);\n"
"        const float c2 = 2.0f * (gram[2] * v0 + gram[4] * v1 + gram[5] * v2), b = 0.35f * c1;\n"
"        loss += 0.5 * ((double)c0 * (double)v0 + (double)c1 * (double)v1 + (double)c2 * (double)v2);\n"
"        d[(2 + g) * ROW] = b * magnitude * q * (2.0f * s * (1.0f - s)) * weight;\n"
"        d_magnitude += b * q * (2.0f * s);\n"
"        d_q += b * magnitude * (2.0f * s);\n"
"        d_d += c0;\n"
"        d_r += c2;\n"
"    }\n"
"    d[0] = d_magnitude * 1.5f * (1.0f - t0 * t0) * weight;\n"
"    d[1 * ROW] = o[1 * ROW] >= 0.0f && d_q < 0.0f ? 0.0f : d_q * (2.0f * s1 * (1.0f - s1)) * weight;\n"
"    d[10 * ROW] = d_d * -0.6f * s10 * (1.0f - s10) * weight;\n"
"    d_r *= 0.5f * (1.0f - t11 * t11) * weight;\n"
"    d[11 * ROW] = o[11 * ROW] <= 0.0f && d_r > 0.0f ? 0.0f : d_r;\n"
"    return loss;\n"
"}\n"
"\n"
"/* Both gradients of the balanced KL, and what it is. */\n"
"DEVICE double kl_of(const float *q, const float *p, float *d_q, float *d_p, float weight)\n"
"{\n"
"    double sum = 0;\n"
"#pragma unroll 1\n"
"    for (int i = 0; i < LATENT; i++)\n"
"        sum += (double)q[i * ROW] * (double)(float)(log((double)q[i * ROW]) - log((double)p[i * ROW]));\n"
"    if (!(sum > 1.0)) return sum;\n"
"#pragma unroll 1\n"
"    for (int i = 0; i < LATENT; i++) {\n"
"        d_q[i * ROW] = 0.1f * weight * (float)(log((double)q[i * ROW]) - log((double)p[i * ROW]));\n"
"        d_p[i * ROW] = -0.5f * weight * (q[i * ROW] / p[i * ROW]);\n"
"    }\n"
"    return sum;\n"
"}\n"
"\n"
"/* Gradients of the outputs and of both latents, and what each label costs; a thread has a column. */\n"
"DEVICE void costs_of(const member &m, double *costs)\n"
"{\n"
"    const member_trust &trust = *m.trust;\n"
"    const float *out = panel(m, OUT);\n"
"    each(LATENT, 0, m.n, [&](int i) { panel(m, D_Q)[i] = panel(m, D_P)[i] = 0; });\n"
"    each(HEADS, 0, m.n, [&](int i) { panel(m, D_OUT)[i] = 0; });\n"
"    each(1, 0, m.n, [&](int c) {\n"
"        const tick_labels &y = m.labels[c];\n"
"        const tick_share share = m.shares[c];\n"
"        const float *o = out + c, miss = m.miss[c];\n"
"        float *d = panel(m, D_OUT) + c;\n"
"        if (share.role == NOTHING) return;\n"
"#pragma unroll 1\n"
"        for (int h = 0; h < HORIZONS; h++) {\n"
"            const float mu = (float)(trust.a[h] * (double)o[h * ROW] + trust.b[h] * (double)miss);\n"
"            if (y.has_loss >> h & 1) costs[h * ROW + c] = normal_head(o, d, h, SIGMA + h, mu, y.y[h], share);\n"
"        }\n"
"        if (y.has_gain) costs[COST_GAIN * ROW + c] = normal_head(o, d, GAIN, GAIN_SIGMA, o[GAIN * ROW], y.gain, share);\n"
"        if (y.has_delta && share.role == TAUGHT)\n",
"            costs[COST_DELTA * ROW + c] = delta_head(o + DELTA * ROW, y, d + DELTA * ROW, share.weight);\n"
"        if (y.has_ok && share.role == TAUGHT) {\n"
"            const float logit = o[VERDICT * ROW], wrong = y.ok ? -logit : logit;\n"
"            d[VERDICT * ROW] = 0.2f * (sigmoid(logit) - (y.ok ? 1.0f : 0.0f)) * share.weight;\n"
"            costs[COST_OK * ROW + c] = (double)fmaxf(wrong, 0.0f) + log(1.0 + exp(-fabs((double)logit)));\n"
"        }\n"
"        costs[COST_KL * ROW + c] =\n"
"            kl_of(panel(m, Q) + c, panel(m, P) + c, panel(m, D_Q) + c, panel(m, D_P) + c, share.kl);\n"
"    });\n"
"}\n"
"\n"
"/* What a horizon cost, and what its ticks that are held back have shown. A thread goes through all columns in their\n"
" * order. */\n"
"DEVICE void add_horizon(const member &m, int h, const double *costs)\n"
"{\n"
"    for (int c = 0; c < m.n; c++) {\n"
"        const int role = m.shares[c].role;\n"
"        if (role == NOTHING || !(m.labels[c].has_loss >> h & 1)) continue;\n"
"        member_loss *to = role == TAUGHT ? m.taught : m.held;\n"
"        to->nll[h] += costs[h * ROW + c];\n"
"        to->n_nll[h]++;\n"
"        if (role == TAUGHT) continue;\n"
"        const double o = (double)panel(m, OUT + h)[c], r = (double)m.miss[c], y = (double)m.labels[c].y[h];\n"
"        m.trust->n[h]++;\n"
"        m.trust->oo[h] += o * o;\n"
"        m.trust->or_[h] += o * r;\n"
"        m.trust->rr[h] += r * r;\n"
"        m.trust->oy[h] += o * y;\n"
"        m.trust->ry[h] += r * y;\n"
"    }\n"
"}\n"
"DEVICE void add_rest(const member &m, const double *costs)\n"
"{\n"
"    for (int c = 0; c < m.n; c++) {\n"
"        const tick_labels &y = m.labels[c];\n"
"        const bool is_taught = m.shares[c].role == TAUGHT;\n"
"        member_loss *to = is_taught ? m.taught : m.held;\n"
"        if (m.shares[c].role == NOTHING) continue;\n"
"        m.taught->kl += costs[COST_KL * ROW + c];\n"
"        m.taught->n_ticks++;\n"
"        if (y.has_gain) {\n"
"            to->gain += costs[COST_GAIN * ROW + c];\n"
"            to->n_gain++;\n"
"        }\n"
"        if (y.has_delta && is_taught) {\n"
"            m.taught->delta += costs[COST_DELTA * ROW + c];\n"
"            m.taught->n_delta++;\n"
"        }\n"
"        if (y.has_ok && is_taught) {\n"
"            m.taught->ok += costs[COST_OK * ROW + c];\n"
"            m.taught->n_ok++;\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"/* Of all ticks, and their gradients. */\n"
"DEVICE void losses(const member &m)\n"
"{\n"
"    double *costs = (double *)panel(m, D_GATES);\n"
"    costs_of(m, costs);\n"
"    block_sync(); /* they are there */\n"
"    if (threadIdx.x < HORIZONS) add_horizon(m, threadIdx.x, costs);\n"
"    if (threadIdx.x == 32) add_rest(m, costs);\n"
"    each(UNITS, 0, m.windows, [&](int i) { panel(m, D_H)[i] = 0; });\n"
"    each(CHOICES, 0, m.n, [&](int i) {\n"
"        const int row = i / ROW * CLASSES, c = i % ROW;\n"
"        chances_back(panel(m, P_SOFT + row) + c, panel(m, D_P + row) + c);\n"
"    });\n"
"}\n"
"\n"
"/* ---- back -------------------------------------------------------------------------------------------------------- */\n"
"\n"
"/* Of a tick, the gradient of whose state is complete. */\n"
"DEVICE void cell_back(const member &m, int at)\n"
"{\n"
"    const float *gates = panel(m, GATES), *h = panel(m, H);\n"
"    float *d_gates = panel(m, D_GATES), *d_h = panel(m, D_H);\n"
"    each(UNITS, at, m.windows, [&](int i) {\n"
"        const float z = gates[i], new_h = gates[NEW * ROW + i], d = d_h[i + m.windows];\n"
"        d_gates[NEW * ROW + i] = d * z * (1.0f - new_h * new_h);\n"
"        d_gates[i] = d * (new_h - h[i]) * (z * (1.0f - z));\n"
"        d_h[i] = fmaf(d, 1.0f - z, d_h[i]);\n"
"    });\n"
"}\n"
"DEVICE void reset_back(const member &m, int at)\n"
"{\n"
"    float *d_h = panel(m, D_H);\n"
"    each(UNITS, at, m.windows, [&](int i) {\n"
"        const float r = panel(m, GATES + UNITS)[i], d = panel(m, D_RH)[i];\n"
"        panel(m, D_GATES + UNITS)[i] = d * panel(m, H)[i] * (r * (1.0f - r));\n",
"        d_h[i] = fmaf(d, r, d_h[i]);\n"
"    });\n"
"}\n"
"/* Straight through what was drawn. */\n"
"DEVICE void latent_back(const member &m, int at)\n"
"{\n"
"    each(CHOICES, at, m.windows, [&](int i) {\n"
"        const int row = i / ROW * CLASSES, c = i % ROW;\n"
"        float *d = panel(m, D_Q + row) + c;\n"
"        for (int k = 0; k < CLASSES; k++) d[k * ROW] += panel(m, D_IN + Z + row + k)[c];\n"
"        chances_back(panel(m, Q_SOFT + row) + c, d);\n"
"    });\n"
"}\n"
"\n"
"/* Of encoded (D_IN), and then of encoder x; of the norm's own weights: a thread has one of each. */\n"
"DEVICE void norm_back(const member &m)\n"
"{\n"
"    const float *x = panel(m, NORMED), *w = m.w + AT_NORM;\n"
"    float *d = panel(m, D_IN);\n"
"    block_sync(); /* d is there */\n"
"    if (threadIdx.x < UNITS) {\n"
"        float by_factor = 0, by_term = 0;\n"
"        for (int c = 0; c < m.n; c++) {\n"
"            by_factor = fmaf(d[threadIdx.x * ROW + c], x[threadIdx.x * ROW + c], by_factor);\n"
"            by_term += d[threadIdx.x * ROW + c];\n"
"        }\n"
"        m.d[AT_NORM + threadIdx.x] = by_factor;\n"
"        m.d[AT_NORM + UNITS + threadIdx.x] = by_term;\n"
"    }\n"
"    each(1, 0, m.n, [&](int c) {\n"
"        const float scale = panel(m, DEVIATION)[c];\n"
"        float mean = 0, along = 0;\n"
"#pragma unroll 1\n"
"        for (int i = 0; i < UNITS; i++) {\n"
"            mean = fmaf(d[i * ROW + c], w[i], mean);\n"
"            along = fmaf(d[i * ROW + c] * w[i], x[i * ROW + c], along);\n"
"        }\n"
"        mean *= 1.0f / UNITS;\n"
"        along *= 1.0f / UNITS;\n"
"#pragma unroll 1\n"
"        for (int i = 0; i < UNITS; i++)\n"
"            d[i * ROW + c] = (d[i * ROW + c] * w[i] - mean - x[i * ROW + c] * along) * scale;\n"
"    });\n"
"}\n"
"\n"
"/* ---- all of it --------------------------------------------------------------------------------------------------- */\n"
"\n"
"/* The gradient of the tick before begins where that of a tick ends. */\n"
"DEVICE void follow(const member &m, int then, int at)\n"
"{\n"
"    switch (then) {\n"
"    case ENCODE:\n"
"        norm(m);\n"
"        act(m, ENCODED, IN, 0, m.n);\n"
"        break;\n"
"    case POSTERIOR_ACT: act(m, POST, POST_ACT, at, m.windows); break;\n"
"    case LATENT_OF: latent(m, at); break;\n"
"    case RESET: reset(m, at); break;\n"
"    case CELL: cell(m, at); break;\n"
"    case PRIOR_ACT: act(m, PRI, PRI_ACT, 0, m.n); break;\n"
"    case PRIORS: priors(m); break;\n"
"    case TRUNK_SILU: act(m, TRUNK, TRUNK_ACT, 0, m.n); break;\n"
"    case LOSSES: losses(m); break;\n"
"    case TRUNK_BACK: act_back(m, TRUNK, D_TRUNK, 0, m.n); break;\n"
"    case PRIOR_BACK: act_back(m, PRI, D_PRI, 0, m.n); break;\n"
"    case CELL_BACK:\n"
"        if (at > 0) cell_back(m, at - m.windows);\n"
"        break;\n"
"    case RESET_BACK: reset_back(m, at); break;\n"
"    case LATENT_BACK: latent_back(m, at); break;\n"
"    case POSTERIOR_BACK: act_back(m, POST, D_POST, at, m.windows); break;\n"
"    case ENCODE_BACK:\n"
"        act_back(m, ENCODED, D_IN, 0, m.n);\n"
"        norm_back(m);\n"
"        break;\n"
"    default: break;\n"
"    }\n"
"}\n"
"\n"
"/* grid n_members, block 256. work (n_members, PANELS, ROW) may hold anything. */\n"
"KERNEL __launch_bounds__(256) rssm(const rssm_args a)\n"
"{\n"
"    __shared__ __align__(16) pieces shared;\n"
"    const i64 k = blockIdx.x;\n"
"    int at = 0;\n"
"    member m;\n"
"    m.s = &shared;\n"
"    m.w = a.weights + k * ROOM;\n"
"    m.miss = a.x + INPUTS * ROW;\n"
"    m.random = a.random + k * ROW * CHOICES;\n"
"    m.labels = a.labels;\n"
"    m.shares = a.shares + k * ROW;\n"
"    m.trust = a.trusts + k;\n"
"    m.taught = a.taught + k;\n"
"    m.held = a.held + k;\n"
"    m.d = a.gradients + k * ROOM;\n"
"    m.work = a.work + k * PANELS * ROW;\n"
"    m.windows = a.windows;\n"
"    m.n = a.ticks * a.windows;\n"
"    for (int i = SIZE + threadIdx.x; i < ROOM; i += 256) m.d[i] = 0;\n"
"    begin(m, a.x);\n"
"    for (int i = 0; i < STEP_COUNT; i++) {\n",
"        const bool forth = i >= TICK && i < TICK_END, back = i >= TICK_BACK && i < TICK_BACK_END;\n"
"        if (i == TICK_END) at = m.n; /* which the first tick to go back ends at */\n"
"        if (i == TICK_BACK) at -= m.windows;\n"
"        multiply(m, STEPS[i], forth || back ? at : 0, forth || back ? m.windows : m.n);\n"
"        follow(m, STEPS[i].then, at);\n"
"        if (i + 1 == TICK_END && (at += m.windows) < m.n) i = TICK - 1;\n"
"        if (i + 1 == TICK_BACK_END && at > 0) i = TICK_BACK - 1;\n"
"    }\n"
"}\n",
NULL
};

/* clang-format off */
/* Caches and head sizes with tensor-core kernels for attention; KV is that of kernels/attention_args.cu. The others:
 * attention_any. */
#define HYB_CUDA_HEADS(X) \
    X(F16, 0, 64) X(F16, 0, 80) X(F16, 0, 96) X(F16, 0, 112) X(F16, 0, 128) X(F16, 0, 192) X(F16, 0, 256) \
    X(Q8_0, 1, 64) X(Q8_0, 1, 96) X(Q8_0, 1, 128) X(Q8_0, 1, 192) X(Q8_0, 1, 256)

/* TYPE of the kernels is the number of a type. */
enum {
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATVEC_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATVEC_FAR_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATVEC_FEW_##type,
    HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATBATCH_8_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATBATCH_32_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_MATBATCH_64_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_DEQUANTIZE_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
    HYB_MODULE_QUANTIZE, HYB_MODULE_GEMM_F16, HYB_MODULE_GEMM_BF16, HYB_MODULE_GEMM_F32,
    HYB_MODULE_EXPERTS, HYB_MODULE_EXPERTS_TENSOR_F16, HYB_MODULE_EXPERTS_TENSOR_BF16,
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_1_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_1_FAR_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_8_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_64_##type,
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EXPERTS_GEMM_##type,
    HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) HYB_MODULE_EMBED_##type,
    HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
    HYB_MODULE_ROWS, HYB_MODULE_ROPE, HYB_MODULE_KV, HYB_MODULE_SELECT, HYB_MODULE_RECURRENT,
#define HYB_MODULE_OF_HEAD(type, kv, dim) HYB_MODULE_ATTENTION_##type##_##dim,
    HYB_CUDA_HEADS(HYB_MODULE_OF_HEAD)
#undef HYB_MODULE_OF_HEAD
    HYB_MODULE_ATTENTION_ANY,
    HYB_MODULE_TRAIN, HYB_MODULE_EMBED_BACK, HYB_MODULE_GEMM_BACK, HYB_MODULE_ATTENTION_BACK,
    HYB_MODULE_RECURRENT_BACK, HYB_MODULE_EXPERTS_BACK, HYB_MODULE_EXPERTS_GEMM_BACK,
    HYB_MODULE_LOWRANK, HYB_MODULE_RSSM,
    HYB_MODULE_COUNT
};
/* clang-format on */

enum { HYB_MODULE_KERNELS = 16 };
typedef struct hyb_cuda_module_info {
    const char *name;            /* shown in logs, part of the cache's key */
    const char *const *parts[4]; /* texts, joined in order; NULL after the last */
    const char *options[4];      /* NULL after the last */
    const char *kernels[HYB_MODULE_KERNELS + 1]; /* extern "C" names, NULL after the last; index: hyb_cuda_launch's
                                                  * `kernel` */
} hyb_cuda_module_info;

/* module_table.c, after the ops: which kernels a module has is said where they are launched. */
static const hyb_cuda_module_info *hyb_cuda_module(int module);

/* By hybrid_type; by the kernels' number of a cache's type and the size of a head. -1: no such module. */
static int hyb_cuda_embed_module(int type)
{
#define HYB_MODULE_OF_TYPE(name, number, values, bytes, suffix) \
    case number: return HYB_MODULE_EMBED_##name;
    switch (type) {
        HYB_TYPES(HYB_MODULE_OF_TYPE)
    }
#undef HYB_MODULE_OF_TYPE
    return -1;
}
static int hyb_cuda_attention_module(int kv, int dim)
{
#define HYB_MODULE_OF_HEAD(name, number, d) \
    if (kv == number && dim == d) return HYB_MODULE_ATTENTION_##name##_##d;
    HYB_CUDA_HEADS(HYB_MODULE_OF_HEAD)
#undef HYB_MODULE_OF_HEAD
    return -1;
}
/* ==== end src/cuda/modules.c ==== */

/* ==== begin src/cuda/cache.c ==== */
/* cuda/cache: compiled kernels on disk, or in the host's own store. A cache is never a reason to fail: an entry that is
 * damaged counts as absent, a folder that cannot be written counts as absent.
 *
 * An entry is a header of 48 bytes and the binary (or PTX): "HYBRIDCU", version (u64), key (2 x u64), size (u64), hash
 * of the binary (u64). Written under a temporary name and renamed: readers see a whole entry or none, and of several
 * writers the last one stays. */

enum { HYB_CACHE_VERSION = 1, HYB_CACHE_HEADER = 48, HYB_CACHE_KEY_TEXT = 40 };

typedef struct hyb_cache {
    hybrid_runtime *rt;
    hybrid_kernel_cache host;  /* its load and store; path is not kept */
    char folder[HYB_PATH_MAX]; /* "": nothing on disk */
} hyb_cache;

typedef struct hyb_cache_key {
    uint64_t a, b;
} hyb_cache_key;

/* ---- hashing: two independent lanes of 64 bits; they name a text, and defend against no one ------------------ */

static uint64_t hyb_hash_step(uint64_t h, uint64_t word, uint64_t factor)
{
    h = (h ^ word) * factor;
    return h ^ h >> 29;
}

static uint64_t hyb_hash_bytes(uint64_t h, const void *data, size_t n, uint64_t factor)
{
    const unsigned char *p = (const unsigned char *)data;
    unsigned char last[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    size_t i;
    for (i = 0; i + 8 <= n; i += 8) h = hyb_hash_step(h, hyb_load_u64(p + i), factor);
    memcpy(last, p + i, n - i);
    return hyb_hash_step(hyb_hash_step(h, hyb_load_u64(last), factor), (uint64_t)n, factor);
}

#define HYB_HASH_A 0x9E3779B97F4A7C15u
#define HYB_HASH_B 0xD6E8FEB86659FD93u

static void hyb_cache_key_add(hyb_cache_key *key, const void *data, size_t n)
{
    key->a = hyb_hash_bytes(key->a, data, n, HYB_HASH_A);
    key->b = hyb_hash_bytes(key->b + 1, data, n, HYB_HASH_B);
}

/* ---- places ------------------------------------------------------------------------------------------------------ */

/* An environment variable as UTF-8; false when it is absent, "" when it is too long. */
static bool hyb_environment_path(const char *name, char path[HYB_PATH_MAX])
{
#if defined(_WIN32)
    wchar_t wide_name[64], wide[HYB_PATH_MAX];
    DWORD n;
    if (MultiByteToWideChar(CP_UTF8, 0, name, -1, wide_name, 64) <= 0) return false;
    SetLastError(0);
    n = GetEnvironmentVariableW(wide_name, wide, HYB_PATH_MAX);
    path[0] = 0;
    if (n >= HYB_PATH_MAX) return true;
    if (!n && GetLastError()) return false;
    return WideCharToMultiByte(CP_UTF8, 0, wide, n ? -1 : 1, path, HYB_PATH_MAX, NULL, NULL) > 0;
#else
    const char *text = getenv(name);
    if (!text) return false;
    snprintf(path, HYB_PATH_MAX, "%s", strlen(text) < HYB_PATH_MAX ? text : "");
    return true;
#endif
}

/* Makes root and tail the cache's folder; "" when that, with the name of an entry, would be too long: a wrong folder is
 * worse than none. */
static void hyb_cache_at(hyb_cache *cache, const char *root, const char *tail)
{
    const size_t room = sizeof cache->folder - HYB_CACHE_KEY_TEXT - 48, n = strlen(root), n_tail = strlen(tail);
    if (n + n_tail >= room) return;
    memcpy(cache->folder, root, n);
    memcpy(cache->folder + n, tail, n_tail + 1);
}

/* The same; "" when root is relative, too. */
static void hyb_cache_below(hyb_cache *cache, const char *root, const char *tail)
{
    if (root[0] == '/' || (root[0] && root[1] == ':') || root[0] == '\\') hyb_cache_at(cache, root, tail);
}

/* From what the runtime's descriptor says. */
static void hyb_cache_create(hyb_cache *cache, hybrid_runtime *rt, const hybrid_kernel_cache *desc)
{
    char root[HYB_PATH_MAX];
    memset(cache, 0, sizeof *cache);
    cache->rt = rt;
    cache->host = *desc;
    cache->host.path = NULL;
    if (desc->load || desc->store) return;
    if (desc->path)
        hyb_cache_at(cache, desc->path, "");
    else if (hyb_environment_path("HYBRID_CUDA_CACHE", root))
        hyb_cache_at(cache, root, "");
#if defined(_WIN32)
    else if (hyb_environment_path("LOCALAPPDATA", root))
        hyb_cache_below(cache, root, "\\hybrid");
#else
    else if (hyb_environment_path("XDG_CACHE_HOME", root) && root[0])
        hyb_cache_below(cache, root, "/hybrid");
    else if (hyb_environment_path("HOME", root))
        hyb_cache_below(cache, root, "/.cache/hybrid");
#endif
}

static void hyb_cache_name(const hyb_cache_key *key, char name[HYB_CACHE_KEY_TEXT])
{
    snprintf(name, HYB_CACHE_KEY_TEXT, "%08lx%08lx%08lx%08lx.bin", (unsigned long)(key->a >> 32),
             (unsigned long)(key->a & 0xFFFFFFFFu), (unsigned long)(key->b >> 32),
             (unsigned long)(key->b & 0xFFFFFFFFu));
}

/* ---- disk -------------------------------------------------------------------------------------------------------- */

#ifdef HYBRID_NO_STDIO
static bool hyb_cache_write(const char *folder, const char *name, const void *data, size_t size)
{
    HYB_UNUSED(folder);
    HYB_UNUSED(name);
    HYB_UNUSED(data);
    HYB_UNUSED(size);
    return false;
}
#else
    #if defined(_WIN32)
static bool hyb_cache_wide(const char *path, wchar_t wide[HYB_PATH_MAX])
{
    return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, HYB_PATH_MAX) > 0;
}
static void hyb_cache_mkdir(const char *path)
{
    wchar_t w[HYB_PATH_MAX];
    if (hyb_cache_wide(path, w)) CreateDirectoryW(w, NULL);
}
static FILE *hyb_cache_open(const char *path)
{
    wchar_t w[HYB_PATH_MAX];
    return hyb_cache_wide(path, w) ? _wfopen(w, L"wb") : NULL;
}
static void hyb_cache_remove(const char *path)
{
    wchar_t w[HYB_PATH_MAX];
    if (hyb_cache_wide(path, w)) DeleteFileW(w);
}
static bool hyb_cache_rename(const char *from, const char *to)
{
    wchar_t a[HYB_PATH_MAX], b[HYB_PATH_MAX];
    return hyb_cache_wide(from, a) && hyb_cache_wide(to, b) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
}
static unsigned long hyb_process_id(void) { return GetCurrentProcessId(); }
    #else
static void hyb_cache_mkdir(const char *path) { mkdir(path, 0700); }
static FILE *hyb_cache_open(const char *path) { return fopen(path, "wb"); }
static void hyb_cache_remove(const char *path) { remove(path); }
static bool hyb_cache_rename(const char *from, const char *to) { return rename(from, to) == 0; }
static unsigned long hyb_process_id(void) { return (unsigned long)getpid(); }
    #endif

/* Makes a folder and those above it. */
static void hyb_cache_folders(const char *folder)
{
    char path[HYB_PATH_MAX];
    size_t i, n = strlen(folder);
    memcpy(path, folder, n + 1);
    for (i = 1; i <= n; i++) {
        char c = path[i];
        if (c && c != '/' && c != HYB_SEPARATOR) continue;
        path[i] = 0;
        hyb_cache_mkdir(path);
        path[i] = c;
    }
}

static bool hyb_cache_write(const char *folder, const char *name, const void *data, size_t size)
{
    char path[HYB_PATH_MAX], temporary_name[HYB_CACHE_KEY_TEXT + 64], temporary[HYB_PATH_MAX];
    FILE *f;
    bool ok;
    /* A name unlike that of any other writer: another process, another thread (by the address of a local), another
     * time. */
    snprintf(temporary_name, sizeof temporary_name, "%.32s.%lx.%lx.%lx", name, hyb_process_id(),
             (unsigned long)(uintptr_t)&ok, (unsigned long)hyb_now_us());
    if (!hyb_path_join(path, folder, name) || !hyb_path_join(temporary, folder, temporary_name)) return false;
    if (!(f = hyb_cache_open(temporary))) {
        hyb_cache_folders(folder);
        if (!(f = hyb_cache_open(temporary))) return false;
    }
    ok = fwrite(data, 1, size, f) == size;
    ok = fclose(f) == 0 && ok;
    ok = ok && hyb_cache_rename(temporary, path);
    if (!ok) hyb_cache_remove(temporary);
    return ok;
}
#endif

/* ---- entries ----------------------------------------------------------------------------------------------------- */

static void hyb_cache_header(unsigned char header[HYB_CACHE_HEADER], const hyb_cache_key *key, const void *data,
                             uint64_t size)
{
    const uint64_t version = HYB_CACHE_VERSION, hash = hyb_hash_bytes(version, data, (size_t)size, HYB_HASH_A);
    memcpy(header, "HYBRIDCU", 8);
    memcpy(header + 8, &version, 8);
    memcpy(header + 16, &key->a, 8);
    memcpy(header + 24, &key->b, 8);
    memcpy(header + 32, &size, 8);
    memcpy(header + 40, &hash, 8);
}

/* The whole entry, read from the host's store or the disk; NULL when there is none. */
static unsigned char *hyb_cache_read(hyb_cache *cache, const char *name, size_t *size)
{
    unsigned char *entry = NULL;
    if (cache->host.load) {
        *size = cache->host.load(cache->host.user, name, NULL, 0);
        if (*size < HYB_CACHE_HEADER || !(entry = (unsigned char *)hyb_alloc(cache->rt, *size))) return NULL;
        if (cache->host.load(cache->host.user, name, entry, *size) == *size) return entry;
    } else if (cache->folder[0]) {
        char path[HYB_PATH_MAX];
        hybrid_source source;
        hyb_file f;
        memset(&source, 0, sizeof source);
        source.path = path;
        if (!hyb_path_join(path, cache->folder, name) || hyb_file_open(&source, &f, NULL)) return NULL;
        *size = (size_t)f.size;
        if (f.size < HYB_CACHE_HEADER || f.size > SIZE_MAX || !(entry = (unsigned char *)hyb_alloc(cache->rt, *size)) ||
            !hyb_file_read(&f, 0, entry, *size, NULL)) {
            hyb_file_close(&f);
            return entry;
        }
        hyb_file_close(&f);
    }
    hyb_free(cache->rt, entry);
    return NULL;
}

/* A binary from the cache: true, and a block of *size bytes with a zero after it, freed by the caller. */
static bool hyb_cache_get(hyb_cache *cache, const hyb_cache_key *key, void **data, size_t *size)
{
    unsigned char header[HYB_CACHE_HEADER], *entry;
    char name[HYB_CACHE_KEY_TEXT], *copy = NULL;
    size_t n = 0;
    hyb_cache_name(key, name);
    if (!(entry = hyb_cache_read(cache, name, &n))) return false;
    *size = n - HYB_CACHE_HEADER;
    hyb_cache_header(header, key, entry + HYB_CACHE_HEADER, *size);
    if (!memcmp(header, entry, HYB_CACHE_HEADER) && (copy = (char *)hyb_alloc(cache->rt, *size + 1)) != NULL) {
        memcpy(copy, entry + HYB_CACHE_HEADER, *size);
        copy[*size] = 0;
    }
    hyb_free(cache->rt, entry);
    *data = copy;
    return copy != NULL;
}

/* Keeps a binary, if it can. */
static void hyb_cache_put(hyb_cache *cache, const hyb_cache_key *key, const void *data, size_t size)
{
    unsigned char *entry;
    char name[HYB_CACHE_KEY_TEXT];
    if (!cache->host.store && !cache->folder[0]) return;
    if (!(entry = (unsigned char *)hyb_alloc(cache->rt, HYB_CACHE_HEADER + size))) return;
    hyb_cache_name(key, name);
    hyb_cache_header(entry, key, data, size);
    memcpy(entry + HYB_CACHE_HEADER, data, size);
    if (cache->host.store)
        cache->host.store(cache->host.user, name, entry, HYB_CACHE_HEADER + size);
    else
        hyb_cache_write(cache->folder, name, entry, HYB_CACHE_HEADER + size);
    hyb_free(cache->rt, entry);
}
/* ==== end src/cuda/cache.c ==== */

/* ==== begin src/cuda/jit.c ==== */
/* cuda/jit: from the text of kernels to functions on the device: which NVRTC, for which architecture, compiled or from
 * the cache. A module is loaded or compiled when one of its kernels is first asked for. One compilation at a time: old
 * versions need that, and newer ones gain nothing from two. The host's own functions (log, load, store) are called
 * without the lock. */

/* ---- architecture: a pure choice --------------------------------------------------------------------------------- */

/* 90: sm_90 as a binary, or compute_90 as PTX; 0: none */
typedef struct hyb_target {
    int number;
    bool ptx;
} hyb_target;

/* Chips of the Jetson family: their binaries run on no other chip, and those of other chips not on them. */
static bool hyb_is_tegra(int number)
{
    return number == 53 || number == 62 || number == 72 || number == 87 || number == 101 || number == 110;
}

/* The best target for a device of capability cc (major * 10 + minor) among those that an NVRTC offers (in any order):
 * the very same; a binary for an earlier minor version, which later ones run; PTX of an earlier version, which the
 * driver translates; or none. */
static hyb_target hyb_target_choose(int cc, const int *archs, int n)
{
    hyb_target binary = { 0, false }, ptx = { 0, true };
    int i;
    for (i = 0; i < n; i++) {
        if (archs[i] > cc || archs[i] <= 0) continue;
        if (archs[i] == cc) {
            binary.number = cc;
            return binary;
        }
        if (archs[i] / 10 == cc / 10 && !hyb_is_tegra(archs[i]) && !hyb_is_tegra(cc))
            binary.number = HYB_MAX(binary.number, archs[i]);
        ptx.number = HYB_MAX(ptx.number, archs[i]);
    }
    return binary.number ? binary : ptx;
}

/* ---- NVRTC ------------------------------------------------------------------------------------------------------- */

typedef struct hyb_nvrtc {
    hyb_nvrtc_api api;
    hyb_library library;
    int major, minor;
    hyb_target arch; /* what it makes for the device that it was opened for */
    int cc;
    char refused[96]; /* what was found and could not be used, in words */
} hyb_nvrtc;

/* NVRTC opens its library of built-ins by bare name when it compiles: outside the loader's path that fails, unless
 * it is there already. */
static void hyb_nvrtc_builtins(const hyb_nvrtc *nvrtc)
{
    char folder[HYB_PATH_MAX], path[HYB_PATH_MAX], name[64];
    hyb_path_folder(folder, nvrtc->library.path);
#if defined(_WIN32)
    snprintf(name, sizeof name, "nvrtc-builtins64_%d%d.dll", nvrtc->major, nvrtc->minor);
#else
    snprintf(name, sizeof name, "libnvrtc-builtins.so.%d.%d", nvrtc->major, nvrtc->minor);
#endif
    if (folder[0] && hyb_path_join(path, folder, name)) hyb_library_load(path, false);
}

static bool hyb_nvrtc_accept(void *user, hyb_library *lib)
{
    hyb_nvrtc *nvrtc = (hyb_nvrtc *)user;
    const char *missing = NULL;
    int archs[128], n = 0;
#define HYB_X(required, name, symbol, parameters) \
    if (!hyb_library_symbol(lib, symbol, &nvrtc->api.name) && required) missing = symbol;
    HYB_NVRTC_LIST(HYB_X)
#undef HYB_X
    hyb_library_locate(lib, "nvrtcVersion");
    nvrtc->library = *lib;
    if (missing || nvrtc->api.nvrtcVersion(&nvrtc->major, &nvrtc->minor) || nvrtc->api.nvrtcGetNumSupportedArchs(&n) ||
        n < 1 || n > 128 || nvrtc->api.nvrtcGetSupportedArchs(archs)) {
        snprintf(nvrtc->refused, sizeof nvrtc->refused, "%.70s is too old", lib->path);
        return false;
    }
    nvrtc->arch = hyb_target_choose(nvrtc->cc, archs, n);
    if (!nvrtc->arch.number) {
        snprintf(nvrtc->refused, sizeof nvrtc->refused, "NVRTC %d.%d no longer knows a GPU of capability %d.%d",
                 nvrtc->major, nvrtc->minor, nvrtc->cc / 10, nvrtc->cc % 10);
        return false;
    }
    hyb_nvrtc_builtins(nvrtc);
    return true;
}

/* The names of NVRTC, that of a CUDA version first: binaries of a newer one may not load in an older driver. */
static void hyb_nvrtc_names(int driver_version, const char *names[5])
{
#if defined(_WIN32)
    static const char *const all[] = { "nvrtc64_130_0.dll", "nvrtc64_120_0.dll", "nvrtc64_112_0.dll" };
#else
    static const char *const all[] = { "libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so.11.2" };
#endif
    int i, n = 0, newest = driver_version >= 13000 ? 0 : driver_version >= 12000 ? 1 : 2;
    for (i = newest; i < 3; i++) names[n++] = all[i];
    for (i = newest - 1; i >= 0; i--) names[n++] = all[i];
#if !defined(_WIN32)
    names[n++] = "libnvrtc.so";
#endif
    names[n] = NULL;
}

/* Opens the NVRTC that can compile for a device of capability cc: the newest that the driver fits, older ones for
 * older devices. */
static hybrid_result hyb_nvrtc_open(hyb_nvrtc *nvrtc, int cc, int driver_version, bool only_override,
                                    hybrid_error *error)
{
    const char *names[5];
    memset(nvrtc, 0, sizeof *nvrtc);
    nvrtc->cc = cc;
    hyb_nvrtc_names(driver_version, names);
    if (hyb_library_find(names, NULL, only_override, hyb_nvrtc_accept, nvrtc)) return HYBRID_OK;
    if (nvrtc->refused[0])
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                        "no CUDA compiler for this GPU: %s; an older one will do: pip install nvidia-cuda-nvrtc-cu12, "
                        "or set HYBRID_CUDA_PATH to the folder of its library",
                        nvrtc->refused);
    return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                    "driver found, but no NVRTC (%s in HYBRID_CUDA_PATH, the loader's path, CUDA_PATH, toolkit, Conda, "
                    "Python folders); "
                    "pip install nvidia-cuda-nvrtc, or set HYBRID_CUDA_PATH to its folder",
                    names[0]);
}

/* ---- the locale: NVRTC before 12.6.2 leaves another one behind --------------------------------------------------- */

typedef struct hyb_locale {
#if defined(_WIN32)
    int threads;
    char name[256];
#else
    void *(*use)(void *locale); /* uselocale, which -std=c99 hides */
    void *of_thread;
#endif
} hyb_locale;

static void hyb_locale_keep(hyb_locale *kept)
{
#if defined(_WIN32)
    const char *name;
    kept->threads = _configthreadlocale(_ENABLE_PER_THREAD_LOCALE);
    name = setlocale(LC_ALL, NULL);
    snprintf(kept->name, sizeof kept->name, "%s", name && strlen(name) < sizeof kept->name ? name : "");
#else
    void *self = dlopen(NULL, RTLD_LAZY), *function = self ? dlsym(self, "uselocale") : NULL;
    memcpy(&kept->use, &function, sizeof function);
    kept->of_thread = kept->use ? kept->use(NULL) : NULL;
    if (self) dlclose(self);
#endif
}

static void hyb_locale_restore(const hyb_locale *kept)
{
#if defined(_WIN32)
    if (kept->name[0]) setlocale(LC_ALL, kept->name);
    if (kept->threads > 0) _configthreadlocale(kept->threads);
#else
    if (kept->use && kept->of_thread && kept->use(NULL) != kept->of_thread) kept->use(kept->of_thread);
#endif
}

/* ---- compiling --------------------------------------------------------------------------------------------------- */

/* The parts of a module in one text, freed by the caller; NULL when the host has no memory. */
static char *hyb_module_text(hybrid_runtime *rt, const hyb_cuda_module_info *info, size_t *size)
{
    char *text = NULL, *at;
    int pass, i, j;
    for (pass = 0, at = NULL; pass < 2; pass++) {
        size_t n = 0;
        for (i = 0; i < 4 && info->parts[i]; i++)
            for (j = 0; info->parts[i][j]; j++) {
                size_t length = strlen(info->parts[i][j]);
                if (at) memcpy(at + n, info->parts[i][j], length);
                n += length;
            }
        *size = n;
        if (pass)
            text[n] = 0;
        else if (!(text = at = (char *)hyb_alloc(rt, n + 1)))
            return NULL;
    }
    return text;
}

/* The compiler's messages, freed by the caller, or NULL; the first of its lines that names an error goes into
 * `line`. */
static char *hyb_nvrtc_words(hybrid_runtime *rt, const hyb_nvrtc *nvrtc, void *program, char *line, size_t capacity)
{
    size_t size = 0;
    char *log = NULL, *p, *end;
    bool found = false;
    snprintf(line, capacity, "the compiler gives no reason");
    if (nvrtc->api.nvrtcGetProgramLogSize(program, &size) || size < 2 || !(log = (char *)hyb_calloc(rt, size + 1, 1)))
        return NULL;
    if (nvrtc->api.nvrtcGetProgramLog(program, log)) log[0] = 0;
    for (p = log; *p && !found; p = *end ? end + 1 : end) {
        end = p + strcspn(p, "\n");
        if (end == p) continue;
        snprintf(line, capacity, "%.*s", (int)(end - p), p);
        found = strstr(line, "error") != NULL;
    }
    return log;
}

/* Into the log, line by line, and freed. */
static void hyb_nvrtc_log(hybrid_runtime *rt, char *words)
{
    char *p, *end;
    for (p = words; p && *p; p = *end ? end + 1 : end) {
        end = p + strcspn(p, "\n");
        hyb_log(rt, HYBRID_LOG_ERROR, "nvrtc: %.*s", (int)HYB_MIN(end - p, 480), p);
    }
    hyb_free(rt, words);
}

enum { HYB_NVRTC_NO_MEMORY = 1 };

/* Compiles text for nvrtc->arch. *data: the binary or PTX with a zero after it; *words: the compiler's messages about
 * an error, for hyb_nvrtc_log, or NULL. Both are freed by the caller. */
static hybrid_result hyb_nvrtc_compile(hybrid_runtime *rt, const hyb_nvrtc *nvrtc, const hyb_cuda_module_info *info,
                                       const char *text, void **data, size_t *size, char **words, hybrid_error *error)
{
    const char *options[8];
    char arch[40], name[80], line[200];
    void *program = NULL;
    hyb_locale locale;
    hybrid_result r = HYBRID_OK;
    int code, i, n = 0;
    snprintf(arch, sizeof arch, "--gpu-architecture=%s_%d", nvrtc->arch.ptx ? "compute" : "sm", nvrtc->arch.number);
    snprintf(name, sizeof name, "%.60s.cu", info->name);
    options[n++] = arch;
    options[n++] = "--std=c++17";
    for (i = 0; i < 4 && info->options[i]; i++) options[n++] = info->options[i];
    *data = NULL;
    *size = 0;
    *words = NULL;
    hyb_locale_keep(&locale);
    if ((code = nvrtc->api.nvrtcCreateProgram(&program, text, name, 0, NULL, NULL)) == 0)
        code = nvrtc->api.nvrtcCompileProgram(program, n, options);
    hyb_locale_restore(&locale);
    if (code) {
        if (program)
            *words = hyb_nvrtc_words(rt, nvrtc, program, line, sizeof line);
        else
            snprintf(line, sizeof line, "no memory for the compiler");
        r = hyb_fail(error, code == HYB_NVRTC_NO_MEMORY ? HYBRID_ERROR_MEMORY : HYBRID_ERROR_UNSUPPORTED,
                     "NVRTC %d.%d cannot compile the kernels '%.40s' for %s (error %d): %.140s", nvrtc->major,
                     nvrtc->minor, info->name, arch + 19, code, line);
    } else if ((nvrtc->arch.ptx ? nvrtc->api.nvrtcGetPTXSize(program, size)
                                : nvrtc->api.nvrtcGetCUBINSize(program, size)) ||
               !*size) {
        r = hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                     "NVRTC %d.%d compiled the kernels '%.40s' for %s, but gave no binary", nvrtc->major, nvrtc->minor,
                     info->name, arch + 19);
    } else if (!(*data = hyb_calloc(rt, *size + 1, 1))) {
        r = hyb_fail_memory(error, *size + 1);
    } else {
        code = nvrtc->arch.ptx ? nvrtc->api.nvrtcGetPTX(program, (char *)*data)
                               : nvrtc->api.nvrtcGetCUBIN(program, (char *)*data);
        if (code)
            r = hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "NVRTC %d.%d does not give the kernels '%.40s' (error %d)",
                         nvrtc->major, nvrtc->minor, info->name, code);
    }
    if (program) nvrtc->api.nvrtcDestroyProgram(&program);
    if (r) {
        hyb_free(rt, *data);
        *data = NULL;
    }
    return r;
}

/* ---- modules on a device ----------------------------------------------------------------------------------------- */

typedef struct hyb_module_slot {
    volatile uint64_t ready; /* 1: loaded, and the fields below are valid */
    void *module;
    void *functions[HYB_MODULE_KERNELS];
    unsigned shared[HYB_MODULE_KERNELS]; /* bytes of dynamic shared memory that were asked for */
    bool failed;                         /* for good: the same text will not compile the next time */
    hybrid_error why;
} hyb_module_slot;

typedef struct hyb_jit {
    hybrid_runtime *rt;
    const hyb_driver *driver;
    const hyb_cuda_module_info *(*info)(int module);
    hyb_module_slot *slots;
    int n_slots, cc;
    hyb_spin lock; /* of the fields below and the slots; held while anything is compiled or loaded */
    hyb_nvrtc nvrtc;
    int nvrtc_state; /* 0 not looked for, 1 there, 2 absent */
    hybrid_error nvrtc_why;
    hyb_cache cache;
    unsigned n_compiled, n_from_cache;
} hyb_jit;

static hybrid_result hyb_jit_create(hyb_jit *jit, hybrid_runtime *rt, const hyb_driver *driver, int cc,
                                    const hyb_cuda_module_info *(*info)(int module), int n_modules,
                                    const hybrid_kernel_cache *cache, hybrid_error *error)
{
    memset(jit, 0, sizeof *jit);
    jit->rt = rt;
    jit->driver = driver;
    jit->info = info;
    jit->n_slots = n_modules;
    jit->cc = cc;
    if (!(jit->slots = (hyb_module_slot *)hyb_calloc(rt, (size_t)n_modules, sizeof *jit->slots)))
        return hyb_fail_memory(error, (size_t)n_modules * sizeof *jit->slots);
    hyb_cache_create(&jit->cache, rt, cache);
    return HYBRID_OK;
}

/* The device's context must be current. */
static void hyb_jit_destroy(hyb_jit *jit)
{
    int i;
    for (i = 0; i < jit->n_slots; i++)
        if (jit->slots[i].module) jit->driver->api.cuModuleUnload(jit->slots[i].module);
    hyb_free(jit->rt, jit->slots);
}

/* Opens NVRTC on the first call; when it returns OK, jit->nvrtc is valid. */
static hybrid_result hyb_jit_nvrtc(hyb_jit *jit, hybrid_error *error)
{
    const uint64_t start = hyb_now_us();
    bool first;
    hyb_spin_take(&jit->lock);
    first = jit->nvrtc_state == 0;
    if (first)
        jit->nvrtc_state = hyb_nvrtc_open(&jit->nvrtc, jit->cc, jit->driver->version, jit->driver->library.is_override,
                                          &jit->nvrtc_why)
                               ? 2
                               : 1;
    hyb_spin_give(&jit->lock);
    if (jit->nvrtc_state == 2 && error) *error = jit->nvrtc_why;
    if (jit->nvrtc_state == 2) return jit->nvrtc_why.result;
    if (first)
        hyb_log(jit->rt, HYBRID_LOG_INFO, "cuda: NVRTC %d.%d (%s) makes %s_%d, opened in %.0f ms", jit->nvrtc.major,
                jit->nvrtc.minor, jit->nvrtc.library.path, jit->nvrtc.arch.ptx ? "compute" : "sm",
                jit->nvrtc.arch.number, (double)(hyb_now_us() - start) / 1000);
    return HYBRID_OK;
}

static void hyb_jit_key(const hyb_jit *jit, const hyb_cuda_module_info *info, const char *text, size_t size,
                        hyb_cache_key *key)
{
    char target[96];
    int i, n = snprintf(target, sizeof target, "%.40s nvrtc %d.%d %s_%d", info->name, jit->nvrtc.major,
                        jit->nvrtc.minor, jit->nvrtc.arch.ptx ? "compute" : "sm", jit->nvrtc.arch.number);
    memset(key, 0, sizeof *key);
    hyb_cache_key_add(key, target, (size_t)n);
    for (i = 0; i < 4 && info->options[i]; i++) hyb_cache_key_add(key, info->options[i], strlen(info->options[i]));
    hyb_cache_key_add(key, text, size);
}

/* The driver's part: from a binary to functions. */
static hybrid_result hyb_jit_load(hyb_jit *jit, const hyb_cuda_module_info *info, hyb_module_slot *slot,
                                  const void *binary, hybrid_error *error)
{
    char what[96];
    int i, code = jit->driver->api.cuModuleLoadData(&slot->module, binary);
    snprintf(what, sizeof what, "loading the kernels '%.40s'", info->name);
    if (code) slot->module = NULL;
    for (i = 0; !code && i < HYB_MODULE_KERNELS && info->kernels[i]; i++) {
        code = jit->driver->api.cuModuleGetFunction(&slot->functions[i], slot->module, info->kernels[i]);
        if (code) snprintf(what, sizeof what, "finding the kernel '%.32s' in '%.32s'", info->kernels[i], info->name);
    }
    if (!code) return HYBRID_OK;
    if (slot->module) jit->driver->api.cuModuleUnload(slot->module);
    slot->module = NULL;
    return hyb_driver_fail(jit->driver, error, code, what);
}

/* The memory of one thread that makes a module. */
typedef struct hyb_jit_work {
    char *text, *words;  /* of the module, and of the compiler */
    void *cached, *made; /* binaries */
    size_t text_size, cached_size, made_size;
    bool from_cache;
} hyb_jit_work;

/* From the cached binary, else compiled: a cached one that the driver refuses (another driver made it, or NVRTC was
 * updated) is compiled anew. The lock is held. */
static hybrid_result hyb_jit_build(hyb_jit *jit, const hyb_cuda_module_info *info, hyb_module_slot *slot,
                                   hyb_jit_work *work, hybrid_error *error)
{
    hybrid_result r;
    if (work->cached && hyb_jit_load(jit, info, slot, work->cached, NULL) == HYBRID_OK) {
        work->from_cache = true;
        jit->n_from_cache++;
        return HYBRID_OK;
    }
    if ((r = hyb_nvrtc_compile(jit->rt, &jit->nvrtc, info, work->text, &work->made, &work->made_size, &work->words,
                               error)) != HYBRID_OK)
        return r;
    jit->n_compiled++;
    return hyb_jit_load(jit, info, slot, work->made, error);
}

static bool hyb_jit_ready(hyb_jit *jit, int module)
{
    return module >= 0 && module < jit->n_slots && hyb_atomic_load(&jit->slots[module].ready);
}

/* Fills a slot. Of threads that want the same one, all look into the cache, and one builds. */
static hybrid_result hyb_jit_make(hyb_jit *jit, const hyb_cuda_module_info *info, hyb_module_slot *slot,
                                  hybrid_error *error)
{
    const uint64_t start = hyb_now_us();
    hyb_jit_work work;
    hyb_cache_key key;
    hybrid_error why;
    bool mine = false;
    hybrid_result r = hyb_jit_nvrtc(jit, error);
    if (r) return r;
    memset(&work, 0, sizeof work);
    if (!(work.text = hyb_module_text(jit->rt, info, &work.text_size))) return hyb_fail_memory(error, work.text_size);
    hyb_jit_key(jit, info, work.text, work.text_size, &key);
    if (!hyb_cache_get(&jit->cache, &key, &work.cached, &work.cached_size)) work.cached = NULL;
    hyb_spin_take(&jit->lock);
    if (slot->failed) {
        why = slot->why;
        r = why.result;
    } else if (!hyb_atomic_load(&slot->ready)) {
        r = hyb_jit_build(jit, info, slot, &work, &why);
        mine = !r;
        if (!r)
            hyb_atomic_store(&slot->ready, 1);
        else if (r == HYBRID_ERROR_UNSUPPORTED) {
            slot->failed = true;
            slot->why = why;
        } /* a wrong text stays wrong; other failures may pass */
    }
    hyb_spin_give(&jit->lock);
    if (r && error) *error = why;
    hyb_nvrtc_log(jit->rt, work.words);
    if (mine && work.made) hyb_cache_put(&jit->cache, &key, work.made, work.made_size);
    if (mine)
        hyb_log(jit->rt, HYBRID_LOG_DEBUG, "cuda: kernels '%s' %s in %.1f ms", info->name,
                work.from_cache ? "from the cache" : "compiled", (double)(hyb_now_us() - start) / 1000);
    hyb_free(jit->rt, work.text);
    hyb_free(jit->rt, work.cached);
    hyb_free(jit->rt, work.made);
    return r;
}

/* Makes a module ready. The device's context must be current. Safe to call from several threads. */
static hybrid_result hyb_jit_module(hyb_jit *jit, int module, hybrid_error *error)
{
    if (hyb_jit_ready(jit, module)) return HYBRID_OK;
    if (module < 0 || module >= jit->n_slots)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "there is no CUDA module %d", module);
    return hyb_jit_make(jit, jit->info(module), &jit->slots[module], error);
}

/* Asks for more dynamic shared memory than every kernel may have (48 KB), once for each kernel and size. */
static int hyb_jit_shared(hyb_jit *jit, int module, int kernel, unsigned bytes)
{
    hyb_module_slot *slot = &jit->slots[module];
    int code = 0;
    hyb_spin_take(&jit->lock);
    if (slot->shared[kernel] < bytes &&
        (code = jit->driver->api.cuFuncSetAttribute(slot->functions[kernel], HYB_CU_FUNC_MAX_DYNAMIC_SHARED,
                                                    (int)bytes)) == 0)
        slot->shared[kernel] = bytes;
    hyb_spin_give(&jit->lock);
    return code;
}
/* ==== end src/cuda/jit.c ==== */

/* ==== begin src/cuda/device.c ==== */
/* cuda/device: an opened GPU: its context, its memory, its kernels. Counted, and usable by several threads at once. It
 * belongs to a runtime, which must outlive it.
 *
 * The primary context is retained, never created or reset: the process may share it with PyTorch, an engine, or another
 * model. Every function that talks to the driver makes it current and puts the caller's context back. */

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
/* ==== end src/cuda/device.c ==== */

/* ==== begin src/cuda/blas.c ==== */
/* cuda/blas: cuBLAS, opened only when a large product asks for it (it is half a gigabyte), and only whole: libcublas
 * with the libcublasLt of its own folder. A mixture of two installations computes wrong numbers without an error. */

typedef struct hyb_cublas {
    hyb_cublas_api api;
    hyb_library library;
    int version[3];
    const char *refused;
} hyb_cublas;

/* A handle belongs to one stream and one thread; its workspace is our memory, so that nothing is allocated while a
 * graph is captured. To destroy a handle waits for the whole device, which breaks what other contexts record: a handle
 * that is no longer needed is kept for the next stream. */
typedef struct hyb_blas_handle {
    void *handle, *workspace;
    hyb_blas_spare *spare;
} hyb_blas_handle;

/* Whether the libcublasLt that the process uses lies beside this libcublas. */
static bool hyb_cublas_is_whole(const hyb_library *lib)
{
#if defined(_WIN32)
    HYB_UNUSED(lib); /* loaded with its own folder first in the search */
    return true;
#else
    char folder[HYB_PATH_MAX], other_folder[HYB_PATH_MAX];
    struct stat a, b;
    hyb_library other;
    const char *suffix = strstr(lib->path, "libcublas.so");
    memset(&other, 0, sizeof other);
    if (!suffix) return true;
    snprintf(other.path, sizeof other.path, "libcublasLt.so%.8s", suffix + 12);
    if (!(other.handle = hyb_library_load(other.path, true))) return true;
    hyb_library_locate(&other, "cublasLtCreate");
    hyb_path_folder(folder, lib->path);
    hyb_path_folder(other_folder, other.path);
    return !folder[0] || !other_folder[0] || stat(folder, &a) || stat(other_folder, &b) ||
           (a.st_dev == b.st_dev && a.st_ino == b.st_ino);
#endif
}

static bool hyb_cublas_accept(void *user, hyb_library *lib)
{
    hyb_cublas *blas = (hyb_cublas *)user;
    const char *missing = NULL;
    int i;
#define HYB_X(required, name, symbol, parameters) \
    if (!hyb_library_symbol(lib, symbol, &blas->api.name) && required) missing = symbol;
    HYB_CUBLAS_LIST(HYB_X)
#undef HYB_X
    hyb_library_locate(lib, "cublasCreate_v2");
    blas->library = *lib;
    if (missing) {
        blas->refused = "it is too old";
        return false;
    }
    if (!hyb_cublas_is_whole(lib)) {
        blas->refused = "libcublasLt comes from another folder: mixed installations compute wrong numbers";
        return false;
    }
    for (i = 0; i < 3; i++) blas->api.cublasGetProperty(i, &blas->version[i]);
    return true;
}

static hybrid_result hyb_cublas_open(hyb_cublas *blas, int driver_version, bool only_override, hybrid_error *error)
{
#if defined(_WIN32)
    static const char *const names[] = { "cublas64_13.dll", "cublas64_12.dll", "cublas64_11.dll", NULL };
    static const char *const firsts[] = { "cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll", NULL };
#else
    static const char *const names[] = { "libcublas.so.13", "libcublas.so.12", "libcublas.so.11", NULL };
    static const char *const firsts[] = { "libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", NULL };
#endif
    /* one that needs a newer driver does not start */
    int newest = driver_version >= 13000 ? 0 : driver_version >= 12000 ? 1 : 2;
    if (hyb_library_find(names + newest, firsts + newest, only_override, hyb_cublas_accept, blas)) return HYBRID_OK;
    if (blas->refused)
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND, "cuBLAS at %.90s is not used: %s", blas->library.path,
                        blas->refused);
    return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                    "no cuBLAS (%s in HYBRID_CUDA_PATH, the loader's path, toolkit and Python folders): own kernels do "
                    "the large products; "
                    "pip install nvidia-cublas would make prompts faster",
                    names[newest]);
}

/* The table of cuBLAS, opened on the first call; NULL, and the reason, when there is none. Safe to call from several
 * threads. */
static const hyb_cublas *hyb_cuda_blas(hyb_cuda *cu, hybrid_error *why)
{
    hyb_cublas *blas;
    bool asked;
    hyb_spin_take(&cu->blas_lock);
    asked = cu->blas_state != 0;
    if (!asked) {
        cu->blas_state = 2;
        if (!(blas = (hyb_cublas *)hyb_calloc(cu->rt, 1, sizeof *blas)))
            hyb_fail_memory(&cu->blas_why, sizeof *blas);
        else if (hyb_cublas_open(blas, cu->driver.version, cu->driver.library.is_override, &cu->blas_why))
            hyb_free(cu->rt, blas);
        else {
            cu->blas = blas;
            cu->blas_state = 1;
        }
    }
    blas = cu->blas;
    hyb_spin_give(&cu->blas_lock);
    if (!asked && blas)
        hyb_log(cu->rt, HYBRID_LOG_INFO, "cuda: cuBLAS %d.%d.%d (%s)", blas->version[0], blas->version[1],
                blas->version[2], blas->library.path);
    else if (!asked)
        hyb_log(cu->rt, HYBRID_LOG_INFO, "cuda: %s", cu->blas_why.message);
    if (!blas && why) *why = cu->blas_why;
    return blas;
}

static size_t hyb_blas_workspace(int cc) { return (size_t)(cc >= 90 ? 32 : 8) << 20; }

/* A spare handle, or a new one: h->handle, unless a status of cuBLAS is returned. */
static int hyb_blas_take(hyb_cuda *cu, hyb_blas_handle *h)
{
    int code;
    hyb_spin_take(&cu->lock);
    if ((h->spare = cu->blas_spares) != NULL) cu->blas_spares = h->spare->next;
    hyb_spin_give(&cu->lock);
    if (!h->spare) {
        if (!(h->spare = (hyb_blas_spare *)hyb_calloc(cu->rt, 1, sizeof *h->spare))) return HYB_CUBLAS_NO_MEMORY;
        h->spare->destroy = cu->blas->api.cublasDestroy;
        if ((code = cu->blas->api.cublasCreate(&h->spare->handle)) != 0) {
            hyb_free(cu->rt, h->spare);
            h->spare = NULL;
            return code;
        }
    }
    h->handle = h->spare->handle;
    return 0;
}

/* The work of its stream must be done. */
static void hyb_blas_give(hyb_cuda *cu, hyb_blas_handle *h)
{
    if (h->spare) {
        /* the stream and the workspace are about to end */
        if (!hyb_cuda_orphaned(cu)) cu->blas->api.cublasSetStream(h->handle, NULL);
        hyb_spin_take(&cu->lock);
        h->spare->next = cu->blas_spares;
        cu->blas_spares = h->spare;
        hyb_spin_give(&cu->lock);
    }
    hyb_cuda_free(cu, h->workspace);
    memset(h, 0, sizeof *h);
}

/* A handle for a stream. The device's context must be current, and nothing being captured. */
static hybrid_result hyb_blas_create(hyb_cuda *cu, void *stream, hyb_blas_handle *h, hybrid_error *error)
{
    const hyb_cublas *blas = hyb_cuda_blas(cu, error);
    const size_t bytes = hyb_blas_workspace(cu->cc);
    hybrid_result r;
    int code;
    if (!blas) return HYBRID_ERROR_NOT_FOUND;
    if (!h->workspace && (r = hyb_cuda_alloc(cu, bytes, &h->workspace, error)) != HYBRID_OK) return r;
    if ((code = hyb_blas_take(cu, h)) == 0 && (code = blas->api.cublasSetStream(h->handle, stream)) == 0 &&
        (code = blas->api.cublasSetWorkspace(h->handle, h->workspace, bytes)) == 0)
        code = blas->api.cublasSetMathMode(h->handle, HYB_CUBLAS_NO_REDUCED_PRECISION);
    if (!code) return HYBRID_OK;
    hyb_blas_give(cu, h);
    return hyb_fail(error, HYBRID_ERROR_DEVICE, "cuBLAS %d.%d does not start on '%.60s' (status %d)", blas->version[0],
                    blas->version[1], cu->name, code);
}
/* ==== end src/cuda/blas.c ==== */

/* ==== begin src/cuda/queue.c ==== */
/* cuda/queue: work in order on one stream of a device, used by one thread at a time. Calls return before the work is
 * done.
 *
 * The first failure is kept in q->failure, and everything after it does nothing, so that a forward
 * pass is checked once, at its end. A queue whose device is lost can still be synchronised and destroyed. While work is
 * recorded, only a lost device is a failure of the queue: anything else (another thread may break a capture) is one of
 * the recording.
 *
 * Host memory crosses in pinned pieces. Writes are copied into a ring of them and are on their way while the caller
 * reads on in its file; reads wait in one until the next sync. Without pinned memory both are plain copies, which
 * the driver passes through pinned memory of its own.
 *
 *     writes   [ on its way, event 0 ][ on its way, event 1 ][ being filled ][ free ]     4 pieces of 4 MB, in a ring:
 *                                                            ^ stage                      the write that comes round
 *                                                                                         waits for the piece's event
 *     reads    [ read 0 | read 1 | ... | back_used ]          1 piece; sync copies each to its place in the host */

enum { HYB_STAGE_COUNT = 4, HYB_STAGE_BYTES = 4 << 20, HYB_READS_MAX = 16 };

typedef struct hyb_pinned {
    char *host;
    void *event;
    size_t used;
} hyb_pinned;
typedef struct hyb_pending_read {
    void *host;
    size_t offset, bytes;
} hyb_pending_read;

typedef struct hyb_cuda_queue {
    hyb_cuda *cu;
    void *stream;
    hybrid_error failure;   /* the first; its result is HYBRID_OK while there is none */
    bool capturing;         /* calls are recorded, not run */
    bool rehearsing;        /* calls only prepare what they need: modules are compiled, nothing runs */
    bool refused;           /* the failure is only one of the recording */
    uint64_t capture_start; /* n_launches then */
    const char *last;       /* the kernel that was launched last: one of the suspects when the device fails */
    uint64_t n_launches, n_graph_launches, n_copies, n_writes, n_reads, n_syncs, bytes_written, bytes_read;
    hyb_pinned stages[HYB_STAGE_COUNT];
    int stage;     /* the one that is being filled */
    bool pageable; /* there is no pinned memory */
    char *back;    /* pinned, of HYB_STAGE_BYTES: where reads land */
    size_t back_used;
    int n_pending;
    hyb_pending_read pending[HYB_READS_MAX];
    void *event; /* of hyb_cuda_wait */
    hyb_blas_handle blas;
    bool no_blas; /* it could not be had for this queue */
} hyb_cuda_queue;

typedef struct hyb_cuda_graph {
    void *executable;
    uint64_t n_launches;
} hyb_cuda_graph;

/* A kernel fails after its launch: the call that reports it, a copy perhaps, is not to blame. A call that fails in a
 * capture may work outside of one. */
static void hyb_cuda_break(hyb_cuda_queue *q, int code, const char *what)
{
    char suspect[96];
    if (!code || q->failure.result) return;
    if (q->last && hyb_driver_is_fault(code)) {
        snprintf(suspect, sizeof suspect, "running kernels, the last one %.40s", q->last);
        what = suspect;
    }
    q->refused = q->capturing && !hyb_driver_is_fault(code);
    hyb_driver_fail(&q->cu->driver, &q->failure, code, what);
}

/* For calls that work outside of a capture, but not inside one. */
static bool hyb_cuda_refuse(hyb_cuda_queue *q, const char *what)
{
    if (!q->capturing) return false;
    q->refused = q->refused || !q->failure.result; /* a lost device stays one */
    hyb_keep(&q->failure, HYBRID_ERROR_INVALID, "the GPU: %s cannot be part of a captured graph", what);
    return true;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_cuda_queue_create(hyb_cuda *cu, hyb_cuda_queue **out, hybrid_error *error)
{
    hyb_cuda_queue *q = (hyb_cuda_queue *)hyb_calloc(cu->rt, 1, sizeof *q);
    hyb_cuda_caller caller;
    int code;
    *out = NULL;
    if (!q) return hyb_fail_memory(error, sizeof *q);
    q->cu = cu;
    caller = hyb_cuda_enter(cu);
    code = cu->driver.api.cuStreamCreate(&q->stream, HYB_CU_STREAM_NON_BLOCKING);
    hyb_cuda_leave(cu, caller);
    if (code) {
        hyb_free(cu->rt, q);
        return hyb_driver_fail(&cu->driver, error, code, "creating a stream");
    }
    hyb_cuda_retain(cu);
    *out = q;
    return HYBRID_OK;
}

/* Waits for the work in flight. NULL is nothing. */
static void hyb_cuda_queue_destroy(hyb_cuda_queue *q)
{
    const hyb_driver_api *api;
    hyb_cuda *cu;
    hyb_cuda_caller caller;
    int i;
    if (!q) return;
    cu = q->cu;
    api = &cu->driver.api;
    caller = hyb_cuda_enter(cu);
    if (q->capturing) {
        void *graph = NULL;
        if (api->cuStreamEndCapture(q->stream, &graph) == 0 && graph) api->cuGraphDestroy(graph);
    }
    api->cuStreamSynchronize(q->stream);
    hyb_blas_give(cu, &q->blas);
    for (i = 0; i < HYB_STAGE_COUNT; i++) {
        if (q->stages[i].event) api->cuEventDestroy(q->stages[i].event);
        if (q->stages[i].host) api->cuMemFreeHost(q->stages[i].host);
    }
    if (q->back) api->cuMemFreeHost(q->back);
    if (q->event) api->cuEventDestroy(q->event);
    api->cuStreamDestroy(q->stream);
    hyb_cuda_leave(cu, caller);
    hyb_free(cu->rt, q);
    hyb_cuda_release(cu);
}

/* Waits until everything is done; reads are valid then. Returns the first failure since the queue was made. */
static hybrid_result hyb_cuda_sync(hyb_cuda_queue *q, hybrid_error *error)
{
    hyb_cuda_caller caller = hyb_cuda_enter(q->cu);
    int i, code;
    if (!hyb_cuda_refuse(q, "waiting")) {
        code = q->cu->driver.api.cuStreamSynchronize(q->stream); /* after a failure too: copies may be in flight */
        hyb_cuda_break(q, code, "waiting");
        for (i = 0; i < q->n_pending && !code; i++)
            memcpy(q->pending[i].host, q->back + q->pending[i].offset, q->pending[i].bytes);
        q->n_pending = 0;
        q->back_used = 0;
        q->stages[q->stage].used = 0;
        q->n_syncs++;
    }
    hyb_cuda_leave(q->cu, caller);
    return hyb_kept(&q->failure, error);
}

/* Work put into q from now on runs after all the work that is in other now. */
static void hyb_cuda_wait(hyb_cuda_queue *q, hyb_cuda_queue *other)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cuda_caller caller;
    int code = 0;
    if (q->failure.result || q == other || hyb_cuda_refuse(q, "waiting for another queue")) return;
    caller = hyb_cuda_enter(q->cu);
    if (!other->event && (code = api->cuEventCreate(&other->event, HYB_CU_EVENT_DISABLE_TIMING)) != 0)
        other->event = NULL;
    if (!code) code = api->cuEventRecord(other->event, other->stream);
    if (!code) code = api->cuStreamWaitEvent(q->stream, other->event, 0);
    hyb_cuda_break(q, code, "waiting for another queue");
    hyb_cuda_leave(q->cu, caller);
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static bool hyb_pinned_create(hyb_cuda_queue *q, hyb_pinned *s)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    void *host = NULL;
    if (api->cuMemHostAlloc(&host, HYB_STAGE_BYTES, HYB_CU_HOSTALLOC_PORTABLE)) return false;
    if (api->cuEventCreate(&s->event, HYB_CU_EVENT_DISABLE_TIMING)) {
        s->event = NULL;
        api->cuMemFreeHost(host);
        return false;
    }
    s->host = (char *)host;
    s->used = 0;
    return true;
}

/* The piece to fill: the current one while it has room, else one whose copies are done, else a new one, else the
 * oldest, after a wait. NULL when there is no pinned memory at all. */
static hyb_pinned *hyb_pinned_next(hyb_cuda_queue *q)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    int i, k, oldest = -1;
    if (q->pageable) return NULL;
    if (q->stages[q->stage].host && q->stages[q->stage].used < HYB_STAGE_BYTES) return &q->stages[q->stage];
    for (i = 1; i <= HYB_STAGE_COUNT; i++) {
        k = (q->stage + i) % HYB_STAGE_COUNT;
        if (!q->stages[k].host) continue;
        if (oldest < 0) oldest = k;
        if (api->cuEventQuery(q->stages[k].event) == 0) break;
    }
    if (i > HYB_STAGE_COUNT) {
        for (k = 0; k < HYB_STAGE_COUNT && q->stages[k].host; k++) {}
        if (k == HYB_STAGE_COUNT || !hyb_pinned_create(q, &q->stages[k])) {
            if (oldest < 0) {
                q->pageable = true;
                return NULL;
            }
            k = oldest;
            hyb_cuda_break(q, api->cuEventSynchronize(q->stages[k].event), "copying to the device");
        }
    }
    q->stage = k;
    q->stages[k].used = 0;
    return &q->stages[k];
}

enum { HYB_BULK_CHUNK = 256 << 10 };
typedef struct hyb_bulk {
    char *to;
    const char *from;
    size_t bytes;
} hyb_bulk;

static void hyb_bulk_chunk(void *arg, int chunk, int lane)
{
    const hyb_bulk *b = (const hyb_bulk *)arg;
    const size_t at = (size_t)chunk * HYB_BULK_CHUNK;
    HYB_UNUSED(lane);
    memcpy(b->to + at, b->from + at, HYB_MIN(b->bytes - at, (size_t)HYB_BULK_CHUNK));
}

/* memcpy. All our threads copy large pieces: one alone cannot keep up with the bus, and several read the pages of a
 * mapped file faster. A host's own parallel_for is not used: it may run anything on this thread, which holds a lock and
 * the device's context. */
static void hyb_bulk_copy(hybrid_runtime *rt, char *to, const char *from, size_t bytes)
{
    hyb_bulk b;
    b.to = to;
    b.from = from;
    b.bytes = bytes;
    if (bytes < 4 * HYB_BULK_CHUNK || rt->pool.host_for)
        memcpy(to, from, bytes);
    else
        hyb_parallel(rt, (int)((bytes + HYB_BULK_CHUNK - 1) / HYB_BULK_CHUNK), hyb_bulk_chunk, &b);
}

/* Host to device; the host's memory may be used again at once. */
static void hyb_cuda_write(hyb_cuda_queue *q, void *device, const void *host, size_t bytes)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cu_ptr to = (hyb_cu_ptr)(uintptr_t)device;
    const char *from = (const char *)host;
    hyb_cuda_caller caller;
    if (q->failure.result || q->rehearsing || !bytes || hyb_cuda_refuse(q, "a write from the host")) return;
    caller = hyb_cuda_enter(q->cu);
    /* pinned pages are not here */
    if (hyb_cuda_orphaned(q->cu)) hyb_cuda_break(q, HYB_CU_FORKED, "copying to the device");
    q->n_writes++;
    q->bytes_written += bytes;
    while (bytes && !q->failure.result) {
        hyb_pinned *s = hyb_pinned_next(q);
        size_t n = s ? HYB_MIN(bytes, HYB_STAGE_BYTES - s->used) : bytes;
        if (q->failure.result) break;
        if (s) hyb_bulk_copy(q->cu->rt, s->host + s->used, from, n);
        hyb_cuda_break(q, api->cuMemcpyHtoDAsync(to, s ? s->host + s->used : from, n, q->stream),
                       "copying to the device");
        if (s) {
            s->used = HYB_MIN(hyb_align(s->used + n, 64), (size_t)HYB_STAGE_BYTES);
            if (s->used == HYB_STAGE_BYTES)
                hyb_cuda_break(q, api->cuEventRecord(s->event, q->stream), "copying to the device");
        }
        to += n;
        from += n;
        bytes -= n;
    }
    hyb_cuda_leave(q->cu, caller);
}

/* Device to host; valid after the next sync. */
static void hyb_cuda_read(hyb_cuda_queue *q, void *host, const void *device, size_t bytes)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cuda_caller caller;
    void *to = host;
    if (q->failure.result || q->rehearsing || !bytes || hyb_cuda_refuse(q, "a read to the host")) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_reads++;
    q->bytes_read += bytes;
    if (!q->back && !q->pageable && bytes <= HYB_STAGE_BYTES) {
        void *pinned = NULL;
        if (api->cuMemHostAlloc(&pinned, HYB_STAGE_BYTES, HYB_CU_HOSTALLOC_PORTABLE)) pinned = NULL;
        q->back = (char *)pinned;
    }
    if (q->back && q->n_pending < HYB_READS_MAX && bytes <= HYB_STAGE_BYTES - q->back_used) {
        hyb_pending_read *p = &q->pending[q->n_pending++];
        p->host = host;
        p->offset = q->back_used;
        p->bytes = bytes;
        to = q->back + q->back_used;
        q->back_used = HYB_MIN(hyb_align(q->back_used + bytes, 64), (size_t)HYB_STAGE_BYTES);
    }
    hyb_cuda_break(q, api->cuMemcpyDtoHAsync(to, (hyb_cu_ptr)(uintptr_t)device, bytes, q->stream),
                   "copying from the device");
    hyb_cuda_leave(q->cu, caller);
}

/* Straight from page-locked memory (or plain, which the driver copies first), or to it: both stay as they are until the
 * queue is through. */
static void hyb_cuda_upload(hyb_cuda_queue *q, void *device, const void *host, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || !bytes || hyb_cuda_refuse(q, "an upload")) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_writes++;
    q->bytes_written += bytes;
    hyb_cuda_break(q, q->cu->driver.api.cuMemcpyHtoDAsync((hyb_cu_ptr)(uintptr_t)device, host, bytes, q->stream),
                   "copying to the device");
    hyb_cuda_leave(q->cu, caller);
}
static void hyb_cuda_download(hyb_cuda_queue *q, void *host, const void *device, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || !bytes || hyb_cuda_refuse(q, "a download")) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_reads++;
    q->bytes_read += bytes;
    hyb_cuda_break(q, q->cu->driver.api.cuMemcpyDtoHAsync(host, (hyb_cu_ptr)(uintptr_t)device, bytes, q->stream),
                   "copying from the device");
    hyb_cuda_leave(q->cu, caller);
}

static void hyb_cuda_copy(hyb_cuda_queue *q, void *dst, const void *src, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || q->rehearsing || !bytes) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_copies++;
    hyb_cuda_break(q,
                   q->cu->driver.api.cuMemcpyDtoDAsync((hyb_cu_ptr)(uintptr_t)dst, (hyb_cu_ptr)(uintptr_t)src, bytes,
                                                       q->stream),
                   "copying on the device");
    hyb_cuda_leave(q->cu, caller);
}

static void hyb_cuda_zero(hyb_cuda_queue *q, void *device, size_t bytes)
{
    hyb_cuda_caller caller;
    if (q->failure.result || q->rehearsing || !bytes) return;
    caller = hyb_cuda_enter(q->cu);
    q->n_copies++;
    hyb_cuda_break(q, q->cu->driver.api.cuMemsetD8Async((hyb_cu_ptr)(uintptr_t)device, 0, bytes, q->stream),
                   "clearing device memory");
    hyb_cuda_leave(q->cu, caller);
}

/* ---- kernels ----------------------------------------------------------------------------------------------------- */

/* Puts a kernel of a module into the queue. args: addresses of its arguments, read before this returns. The module is
 * compiled on first use (not while capturing). A grid with a zero does nothing. */
static void hyb_cuda_launch(hyb_cuda_queue *q, int module, int kernel, const unsigned grid[3], const unsigned block[3],
                            unsigned shared_bytes, void **args)
{
    hyb_cuda *cu = q->cu;
    hyb_module_slot *slot;
    char what[112];
    hyb_cuda_caller caller;
    int code = 0;
    if (q->failure.result || !grid[0] || !grid[1] || !grid[2]) return;
    if (!hyb_jit_ready(&cu->jit, module) && hyb_cuda_refuse(q, "compiling kernels")) return;
    caller = hyb_cuda_enter(cu);
    if (!hyb_jit_module(&cu->jit, module, &q->failure)) {
        slot = &cu->jit.slots[module];
        if (kernel < 0 || kernel >= HYB_MODULE_KERNELS || !slot->functions[kernel])
            hyb_keep(&q->failure, HYBRID_ERROR_INVALID, "the CUDA module '%.60s' has no kernel %d",
                     cu->jit.info(module)->name, kernel);
        else if (!q->rehearsing) {
            if (shared_bytes > 48u << 10) code = hyb_jit_shared(&cu->jit, module, kernel, shared_bytes);
            if (!code)
                code = cu->driver.api.cuLaunchKernel(slot->functions[kernel], grid[0], grid[1], grid[2], block[0],
                                                     block[1], block[2], shared_bytes, q->stream, args, NULL);
            q->n_launches++;
            q->last = cu->jit.info(module)->kernels[kernel];
            if (code) {
                snprintf(what, sizeof what, "kernel %.36s (grid %u,%u,%u block %u,%u,%u)", q->last, grid[0], grid[1],
                         grid[2], block[0], block[1], block[2]);
                hyb_cuda_break(q, code, what);
            }
        }
    }
    hyb_cuda_leave(cu, caller);
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

/* A graph that cannot be made or run: the queue is as good as before, unless the device is lost. */
static hybrid_result hyb_cuda_graph_fail(hyb_cuda_queue *q, int code, const char *what, hybrid_error *error)
{
    if (hyb_driver_is_fault(code)) hyb_cuda_break(q, code, what);
    return hyb_driver_fail(&q->cu->driver, error, code, what);
}

/* From here to hyb_cuda_capture_end launches, copies and clears are recorded and not run. Modules must be loaded
 * before, and what changes from one replay to the next must lie in device memory: arguments are kept as they are now.
 * No code of the process may synchronise the device meanwhile, so host code never runs while a capture is open. On
 * failure nothing is being captured. */
static hybrid_result hyb_cuda_capture_begin(hyb_cuda_queue *q, hybrid_error *error)
{
    hyb_cuda_caller caller;
    int code;
    if (q->failure.result) return hyb_kept(&q->failure, error);
    caller = hyb_cuda_enter(q->cu);
    code = q->cu->driver.api.cuStreamBeginCapture(q->stream, HYB_CU_CAPTURE_RELAXED);
    q->capturing = !code;
    q->capture_start = q->n_launches;
    hyb_cuda_leave(q->cu, caller);
    return code ? hyb_cuda_graph_fail(q, code, "beginning a capture", error) : HYBRID_OK;
}

/* The recorded work as a graph that can be launched. When only the capture failed, the queue is as good as before:
 * run without a graph. */
static hybrid_result hyb_cuda_capture_end(hyb_cuda_queue *q, hyb_cuda_graph **out, hybrid_error *error)
{
    const hyb_driver_api *api = &q->cu->driver.api;
    hyb_cuda_graph *g;
    hybrid_result r = HYBRID_OK;
    hyb_cuda_caller caller;
    void *graph = NULL;
    int code;
    *out = NULL;
    if (!q->capturing) {
        if (q->failure.result) return hyb_kept(&q->failure, error);
        return hyb_fail(error, HYBRID_ERROR_INVALID, "the GPU: there is no capture to end");
    }
    caller = hyb_cuda_enter(q->cu);
    code = api->cuStreamEndCapture(q->stream, &graph);
    q->capturing = false;
    if (q->failure.result) {
        r = hyb_kept(&q->failure, error);
        if (q->refused) q->failure.result = HYBRID_OK;
        q->refused = false;
    } else if (code || !graph)
        r = hyb_cuda_graph_fail(q, code ? code : HYB_CU_CAPTURE_INVALIDATED, "ending a capture", error);
    else if (!(g = (hyb_cuda_graph *)hyb_calloc(q->cu->rt, 1, sizeof *g)))
        r = hyb_fail_memory(error, sizeof *g);
    else {
        g->n_launches = q->n_launches - q->capture_start;
        if (api->cuGraphInstantiateWithFlags)
            code = api->cuGraphInstantiateWithFlags(&g->executable, graph, 0);
        else if (api->cuGraphInstantiate_v2)
            code = api->cuGraphInstantiate_v2(&g->executable, graph, NULL, NULL, 0);
        else
            code = HYB_CU_CAPTURE_UNSUPPORTED;
        if (!code)
            *out = g;
        else {
            hyb_free(q->cu->rt, g);
            r = hyb_cuda_graph_fail(q, code, "making a graph", error);
        }
    }
    if (graph) api->cuGraphDestroy(graph);
    hyb_cuda_leave(q->cu, caller);
    return r;
}

/* When this fails, nothing of the graph runs: its work can be put into the queue piece by piece, unless the queue
 * has failed. */
static hybrid_result hyb_cuda_graph_launch(hyb_cuda_queue *q, const hyb_cuda_graph *graph, hybrid_error *error)
{
    hyb_cuda_caller caller;
    int code;
    if (q->failure.result || hyb_cuda_refuse(q, "another graph")) return hyb_kept(&q->failure, error);
    caller = hyb_cuda_enter(q->cu);
    code = q->cu->driver.api.cuGraphLaunch(graph->executable, q->stream);
    hyb_cuda_leave(q->cu, caller);
    if (code) return hyb_cuda_graph_fail(q, code, "running a captured graph", error);
    q->n_graph_launches++;
    return HYBRID_OK;
}

/* Nothing may be running it: sync first. NULL is nothing. */
static void hyb_cuda_graph_destroy(hyb_cuda *cu, hyb_cuda_graph *graph)
{
    hyb_cuda_caller caller;
    if (!graph) return;
    caller = hyb_cuda_enter(cu);
    cu->driver.api.cuGraphExecDestroy(graph->executable);
    hyb_cuda_leave(cu, caller);
    hyb_free(cu->rt, graph);
}
/* ==== end src/cuda/queue.c ==== */

/* ==== begin src/cuda/gemm.c ==== */
/* cuda/gemm: large products by cuBLAS. */

/* The call itself: see hyb_cuda_gemm. Returns cuBLAS' status. */
static int hyb_blas_gemm(hyb_cuda *cu, void *handle, int w_type, const void *w, int ldw, const void *x, int ldx,
                         int y_type, void *y, int ldy, int n_rows, int n_out, int n_in, bool add)
{
    const float alpha = 1.0f, beta = add ? 1.0f : 0.0f;
    return cu->blas->api.cublasGemmEx(handle, HYB_CUBLAS_OP_T, HYB_CUBLAS_OP_N, n_out, n_rows, n_in, &alpha, w, w_type,
                                      ldw, x, w_type, ldx, &beta, y, y_type, ldy, HYB_CUBLAS_COMPUTE_32F,
                                      HYB_CUBLAS_GEMM_DEFAULT);
}

enum { HYB_PROOF_N = 64, HYB_PROOF_HALF = HYB_PROOF_N * HYB_PROOF_N * 2, HYB_PROOF_BYTES = 4 * HYB_PROOF_HALF };

static float hyb_proof_value(int i, int j, int m) { return (float)((i * 7 + j * 3) % m - m / 2); }

/* A product of small whole numbers, which every order of summation gets exactly. host: HYB_PROOF_BYTES. */
static bool hyb_blas_is_right(hyb_cuda_queue *q, void *handle, void *device, char *host)
{
    uint16_t *w = (uint16_t *)(void *)host;
    float *y = (float *)(void *)(host + 2 * HYB_PROOF_HALF);
    char *d = (char *)device;
    const int n = HYB_PROOF_N;
    int i, j, k;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            w[i * n + j] = hyb_f32_to_f16(hyb_proof_value(i, j, 5));
            w[n * n + i * n + j] = hyb_f32_to_f16(hyb_proof_value(i, j, 7));
        }
    hyb_cuda_write(q, d, host, 2 * HYB_PROOF_HALF);
    if (hyb_blas_gemm(q->cu, handle, HYB_CUDA_R_16F, d, n, d + HYB_PROOF_HALF, n, HYB_CUDA_R_32F,
                      d + 2 * HYB_PROOF_HALF, n, n, n, n, false))
        return false;
    hyb_cuda_read(q, y, d + 2 * HYB_PROOF_HALF, 2 * HYB_PROOF_HALF);
    if (hyb_cuda_sync(q, NULL)) return false;
    for (i = 0; i < n; i++)
        for (j = 0; j < n; j++) {
            float sum = 0;
            for (k = 0; k < n; k++) sum += hyb_proof_value(i, k, 7) * hyb_proof_value(j, k, 5);
            if (y[i * n + j] != sum) return false;
        }
    return true;
}

/* Once for each device, checks that this cuBLAS computes right: some mixtures of installations give wrong numbers
 * without an error. */
static hybrid_result hyb_blas_prove(hyb_cuda_queue *q, void *handle, hybrid_error *error)
{
    hyb_cuda *cu = q->cu;
    char *host;
    void *device;
    hybrid_result r;
    const bool rehearsing = q->rehearsing;
    bool right;
    if (hyb_atomic_load(&cu->blas_proven)) return HYBRID_OK;
    if (!(host = (char *)hyb_alloc(cu->rt, HYB_PROOF_BYTES))) return hyb_fail_memory(error, HYB_PROOF_BYTES);
    if ((r = hyb_cuda_alloc(cu, HYB_PROOF_BYTES, &device, error)) == HYBRID_OK) {
        q->rehearsing = false; /* this one runs */
        right = hyb_blas_is_right(q, handle, device, host);
        q->rehearsing = rehearsing;
        hyb_cuda_free(cu, device);
        if (right)
            hyb_atomic_store(&cu->blas_proven, 1);
        else
            r = hyb_fail(error, HYBRID_ERROR_DEVICE,
                         "cuBLAS %d.%d at %.100s computes a wrong product: its parts may come from different "
                         "installations; own kernels do it",
                         cu->blas->version[0], cu->blas->version[1], cu->blas->library.path);
    }
    hyb_free(cu->rt, host);
    return r;
}

/* The handle of a queue, made on the first call (not while capturing); NULL, and the reason, when there is none. What
 * failed once is not tried again. */
static void *hyb_cuda_queue_blas(hyb_cuda_queue *q, hybrid_error *why)
{
    hybrid_error reason;
    hybrid_result r;
    hyb_cuda_caller caller;
    if (q->blas.handle) return q->blas.handle;
    if (q->capturing || q->failure.result || q->no_blas) {
        hyb_fail(why, HYBRID_ERROR_INVALID, "cuBLAS is not opened: %s",
                 q->capturing        ? "a capture is under way"
                 : q->failure.result ? "the queue has failed"
                                     : "that failed before (see the log)");
        return NULL;
    }
    if (!hyb_cuda_blas(q->cu, why)) return NULL;
    caller = hyb_cuda_enter(q->cu);
    reason.message[0] = 0;
    r = hyb_blas_create(q->cu, q->stream, &q->blas, &reason);
    if (!r && (r = hyb_blas_prove(q, q->blas.handle, &reason)) != HYBRID_OK) hyb_blas_give(q->cu, &q->blas);
    hyb_cuda_leave(q->cu, caller);
    if (r) {
        q->no_blas = true;
        hyb_log(q->cu->rt, HYBRID_LOG_WARN, "cuda: %s", reason.message);
        if (why) *why = reason;
    }
    return q->blas.handle;
}

/* y (n_rows, n_out) = x (n_rows, n_in) * w (n_out, n_in)^T [+ y]: all row-major, ld*: elements from row to row. w and x
 * are of w_type (HYB_CUDA_R_16F, _16BF or _32F), y of y_type; sums are float32. False: there is no cuBLAS, nothing
 * was done. */
static bool hyb_cuda_gemm(hyb_cuda_queue *q, int w_type, const void *w, int ldw, const void *x, int ldx, int y_type,
                          void *y, int ldy, int n_rows, int n_out, int n_in, bool add)
{
    hyb_cuda_caller caller;
    void *handle;
    int status;
    if (hyb_cuda_orphaned(q->cu)) hyb_cuda_break(q, HYB_CU_FORKED, "a product");
    if (!(handle = hyb_cuda_queue_blas(q, NULL))) return false;
    if (q->failure.result || q->rehearsing || !n_rows || !n_out) return true;
    caller = hyb_cuda_enter(q->cu);
    status = hyb_blas_gemm(q->cu, handle, w_type, w, ldw, x, ldx, y_type, y, ldy, n_rows, n_out, n_in, add);
    hyb_cuda_leave(q->cu, caller);
    q->n_launches++;
    if (!status) return true;
    q->refused = q->capturing; /* outside of a recording it may work */
    hyb_keep(&q->failure, HYBRID_ERROR_DEVICE, "the GPU: cuBLAS: a product of %d x %d with %d rows failed (status %d)",
             n_out, n_in, n_rows, status);
    return true;
}

#ifndef HYBRID_NO_TRAIN
/* c (m, n) = a (m, p) . b (p, n), or c += that, all of float32 (by cuBLAS a and b may be of 16 bits). a_m, a_p: floats
 * from one row or column of a to the next, one of them 1; those of b and c are side by side in their rows. The
 * structure of kernels/gemm_f32.cu. */
typedef struct hyb_cuda_product_back {
    const float *a, *b;
    float *c;
    int64_t a_m, a_p, b_p, c_m;
    int32_t m, n, p, add;
} hyb_cuda_product_back;

/* False: there is no cuBLAS, nothing was done. It counts columns first: c^T = b^T . a^T. type: of a and b. */
static bool hyb_cuda_gemm_back(hyb_cuda_queue *q, int type, const hyb_cuda_product_back *o)
{
    const float alpha = 1.0f, beta = o->add ? 1.0f : 0.0f;
    const bool rows = o->a_p == 1;
    const int64_t lda = !rows ? o->a_p : o->m > 1 ? o->a_m : o->p; /* a column of p rows has a_m 1, too */
    hyb_cuda_caller caller;
    void *handle;
    int status;
    if (hyb_cuda_orphaned(q->cu)) hyb_cuda_break(q, HYB_CU_FORKED, "a product");
    if (!(handle = hyb_cuda_queue_blas(q, NULL))) return false;
    if (q->failure.result || q->rehearsing || !o->m || !o->n) return true;
    caller = hyb_cuda_enter(q->cu);
    status =
        q->cu->blas->api.cublasGemmEx(handle, HYB_CUBLAS_OP_N, rows ? HYB_CUBLAS_OP_N : HYB_CUBLAS_OP_T, o->n, o->m,
                                      o->p, &alpha, o->b, type, (int)o->b_p, o->a, type, (int)lda, &beta, o->c,
                                      HYB_CUDA_R_32F, (int)o->c_m, HYB_CUBLAS_COMPUTE_32F, HYB_CUBLAS_GEMM_DEFAULT);
    hyb_cuda_leave(q->cu, caller);
    q->n_launches++;
    if (status)
        hyb_keep(&q->failure, HYBRID_ERROR_DEVICE, "the GPU: cuBLAS: a product of %d x %d x %d failed (status %d)",
                 (int)o->m, (int)o->p, (int)o->n, status);
    return true;
}
#endif
/* ==== end src/cuda/gemm.c ==== */

/* ==== begin src/cuda/ops.c ==== */
/* cuda/ops: what every op on a GPU is given: a queue, the batch in device memory, scratch. hyb_cuda_op_name(at, op)
 * runs hyb_op_name; these functions are in the files ops_*.c.
 *
 * What changes from one step to the next (ids, positions, page tables) is read by kernels from the buffers of
 * hyb_cuda_batch, whose addresses stay; so the launches of a decode step can be captured once and replayed. */

/* The batch in device memory. Addresses are fixed for the life of a context; numbers are those of the current batch,
 * and choose grids. */
typedef struct hyb_cuda_batch {
    int32_t *ids, *pos, *out, *run_of_row; /* n, n, n_out, n */
    int32_t *pages;
    int32_t pages_a_seq; /* (runs, pages_a_seq): row r is the page table of run r */
    int32_t *tiles;      /* (n_tiles, 4): first row, rows (at most HYB_CUDA_TILE), run, 0: long runs in tiles */
    int32_t *runs;       /* (n_runs, 4): first row, rows, slot_in, slot_out */
    int32_t *split_rows; /* rows of short runs: attention splits their cache over blocks */
    float *parts;        /* scratch of attention: hyb_cuda_split_bytes, zero at first */
    int32_t max_rows, max_splits; /* of hyb_cuda_split */
    int32_t n, n_out, n_runs, n_tiles, n_split;
    /* the longest sequence, its new rows included, rounded up to a power of two; at least 256 */
    int32_t max_length_class;
} hyb_cuda_batch;

/* Where an op runs. Its scratch is free again when it is done. */
typedef struct hyb_cuda_at {
    hyb_cuda_queue *q;
    hyb_cuda_batch batch;
    char *scratch;
    size_t scratch_bytes;
} hyb_cuda_at;

static void hyb_cuda_launch3(hyb_cuda_queue *q, int module, int kernel, int64_t x, int64_t y, int64_t z,
                             unsigned block_x, unsigned block_y, unsigned shared, void **args)
{
    unsigned grid[3], block[3];
    grid[0] = (unsigned)x;
    grid[1] = (unsigned)y;
    grid[2] = (unsigned)z;
    block[0] = block_x;
    block[1] = block_y;
    block[2] = 1;
    hyb_cuda_launch(q, module, kernel, grid, block, shared, args);
}

/* Scratch of the ops squares and gram: their parts. */
enum { HYB_CUDA_SQUARES_PARTS = 256 };

static int64_t hyb_div_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

/* Whether 16 bytes at a time can be read at p and every `stride` floats after it. NULL is fine. */
static bool hyb_cuda_by_4(const void *p, int64_t stride) { return ((uintptr_t)p & 15) == 0 && stride % 4 == 0; }

static void hyb_cuda_grid(hyb_cuda_queue *q, int module, int kernel, int64_t x, int64_t y, unsigned threads,
                          void **args)
{
    unsigned grid[3], block[3];
    grid[0] = (unsigned)x;
    grid[1] = (unsigned)y;
    grid[2] = 1;
    block[0] = threads;
    block[1] = block[2] = 1;
    hyb_cuda_launch(q, module, kernel, grid, block, 0, args);
}
/* ==== end src/cuda/ops.c ==== */

/* ==== begin src/cuda/ops_rows.c ==== */
/* cuda/ops_rows: the ops over rows: embeddings, norms, rotations, activations, the writing of the cache, and the choice
 * of the largest logits. */

/* The kernels of the modules rows, rope, kv, select, train. */
/* clang-format off */
#define HYB_CUDA_KERNELS_ROWS(X) \
    X(norm_4) X(norm_1) X(glu_4) X(glu_1) X(values_4) X(values_1) X(combine_4) X(combine_1)
/* clang-format on */
#define HYB_CUDA_KERNELS_ROPE(X)   X(rope_table) X(rope)
#define HYB_CUDA_KERNELS_KV(X)     X(kv_store) X(heads)
#define HYB_CUDA_KERNELS_SELECT(X) X(top_k_chunk) X(top_k_row)
/* of rows and train, -DBACK */
#define HYB_CUDA_KERNELS_TRAIN(X) \
    X(norm_back) X(norm_back_w) X(glu_back) X(cross_entropy) X(squares) X(squares_sum) X(adamw) X(sgd) X(lerp) \
    X(round_values) X(round_rows) X(round_turned) \
    X(displace) X(adamw_displace) X(gram) X(gram_sum)
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_ROWS(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_ROWS };
enum { HYB_CUDA_KERNELS_ROPE(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_ROPE };
enum { HYB_CUDA_KERNELS_KV(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_KV };
enum { HYB_CUDA_KERNELS_SELECT(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_SELECT };
enum { HYB_CUDA_KERNELS_TRAIN(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_TRAIN };
#undef HYB_KERNEL_NUMBER

static void hyb_cuda_op_embed(hyb_cuda_at *at, const hyb_op_embed *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    const void *table = op->table->data;
    const int32_t *index = op->index == HYB_INDEX_ID    ? batch->ids
                           : op->index == HYB_INDEX_POS ? batch->pos
                                                        : batch->out;
    int64_t row_bytes = (int64_t)op->table->nb[1], n = op->index == HYB_INDEX_OUT ? batch->n_out : batch->n;
    int32_t k = (int32_t)op->table->ne[0];
    const float *add = op->add;
    float scale = op->scale, *out = op->out;
    bool blocks = hybrid_type_block_size(op->table->type) > 1;
    void *args[7];
    args[0] = &table;
    args[1] = &row_bytes;
    args[2] = &index;
    args[3] = &k;
    args[4] = &scale;
    args[5] = &add;
    args[6] = &out;
    hyb_cuda_launch3(at->q, hyb_cuda_embed_module((int)op->table->type), 0, hyb_div_up(k, blocks ? 32 * 64 : 256), n, 1,
                     64, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
static void hyb_cuda_op_embed_back(hyb_cuda_at *at, const hyb_op_embed_back *op)
{
    hyb_op_embed_back o = *op;
    const hyb_cuda_batch *batch = &at->batch;
    const int32_t *index = op->index == HYB_INDEX_ID    ? batch->ids
                           : op->index == HYB_INDEX_POS ? batch->pos
                                                        : batch->out;
    int32_t n = op->index == HYB_INDEX_OUT ? batch->n_out : batch->n, n_embd = (int32_t)op->n_embd;
    void *args[6];
    args[0] = &o.dy;
    args[1] = &n;
    args[2] = &index;
    args[3] = &n_embd;
    args[4] = &o.scale;
    args[5] = &o.dtable;
    hyb_cuda_launch3(at->q, HYB_MODULE_EMBED_BACK, 0, n, hyb_div_up(n_embd, 1024), 1, 256, 1, 0, args);
}
#endif

static void hyb_cuda_op_norm(hyb_cuda_at *at, const hyb_op_norm *op)
{
    const bool by_4 = op->n % 4 == 0 && hyb_cuda_by_4(op->x, op->x_stride) && hyb_cuda_by_4(op->out, op->out_stride) &&
                      hyb_cuda_by_4(op->w, 0) && hyb_cuda_by_4(op->b, 0);
    const int64_t loads = hyb_div_up(op->n, by_4 ? 4 : 1), groups = op->n_rows * op->n_group;
    const unsigned threads = (unsigned)HYB_MIN(hyb_div_up(loads, 32) * 32, 1024);
    hyb_op_norm o = *op;
    int32_t n_rows = (int32_t)op->n_rows, n_group = (int32_t)op->n_group, n = (int32_t)op->n,
            layer = op->kind == HYB_NORM_LAYER;
    const int kernel = by_4 ? HYB_KERNEL_norm_4 : HYB_KERNEL_norm_1;
    void *args[11];
    args[0] = &o.x;
    args[1] = &o.x_stride;
    args[2] = &o.out;
    args[3] = &o.out_stride;
    args[4] = &o.w;
    args[5] = &o.b;
    args[6] = &n_rows;
    args[7] = &n_group;
    args[8] = &n;
    args[9] = &o.eps;
    args[10] = &layer;
    /* a warp each */
    if (threads <= 128)
        hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, kernel, hyb_div_up(groups, 4), 1, 1, 32, 4, 0, args);
    else
        hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, kernel, groups, 1, 1, threads, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
/* As in kernels/rows.cu. */
typedef struct hyb_cuda_norm_back_args {
    const float *x, *dy, *w, *add;
    float *dx, *dw, *db, *stats;
    int64_t x_stride, dy_stride, dx_stride;
    int32_t n_rows, n_group, n, layer;
    float eps;
} hyb_cuda_norm_back_args;

static void hyb_cuda_norm_back_set(hyb_cuda_norm_back_args *a, const hyb_op_norm_back *op)
{
    memset(a, 0, sizeof *a);
    a->x = op->x;
    a->dy = op->dy;
    a->w = op->w;
    a->add = op->add;
    a->dx = op->dx;
    a->dw = op->dw;
    a->db = op->db;
    a->stats = op->stats;
    a->x_stride = op->x_stride;
    a->dy_stride = op->dy_stride;
    a->dx_stride = op->dx_stride;
    a->n_rows = (int32_t)op->n_rows;
    a->n_group = (int32_t)op->n_group;
    a->n = (int32_t)op->n;
    a->layer = op->kind == HYB_NORM_LAYER;
    a->eps = op->eps;
}

/* dw and db alone, from stats; without dw, sums of the rows of dy: what the gradient of a bias is. */
static void hyb_cuda_norm_back_w(hyb_cuda_at *at, const hyb_op_norm_back *op)
{
    hyb_cuda_norm_back_args a;
    void *args[1];
    hyb_cuda_norm_back_set(&a, op);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_norm_back_w, hyb_div_up(op->n, 32), 1, 1, 32, 32, 0, args);
}

/* sum (n) += the rows of dy. */
static void hyb_cuda_sum_rows(hyb_cuda_at *at, const float *dy, int64_t stride, int64_t rows, int64_t n, float *sum)
{
    hyb_op_norm_back op;
    memset(&op, 0, sizeof op);
    op.dy = dy;
    op.dy_stride = stride;
    op.n_rows = rows;
    op.n_group = 1;
    op.n = n;
    op.db = sum;
    hyb_cuda_norm_back_w(at, &op);
}

static void hyb_cuda_op_norm_back(hyb_cuda_at *at, const hyb_op_norm_back *op)
{
    const int64_t groups = op->n_rows * op->n_group;
    const unsigned threads = (unsigned)HYB_MIN(hyb_div_up(op->n, 32) * 32, 1024);
    hyb_cuda_norm_back_args a;
    void *args[1];
    hyb_cuda_norm_back_set(&a, op);
    args[0] = &a;
    /* a warp each */
    if (threads <= 128)
        hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_norm_back, hyb_div_up(groups, 4), 1, 1, 32, 4, 0, args);
    else
        hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_norm_back, groups, 1, 1, threads, 1, 0, args);
    if (op->dw || op->db) hyb_cuda_norm_back_w(at, op);
}
#endif

static void hyb_cuda_op_rope_table(hyb_cuda_at *at, const hyb_op_rope_table *op)
{
    hyb_op_rope_table o = *op;
    const int32_t *pos = at->batch.pos;
    int32_t half = op->n_rot / 2;
    void *args[5];
    args[0] = &pos;
    args[1] = &o.inv_freq;
    args[2] = &half;
    args[3] = &o.scale;
    args[4] = &o.table;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROPE, HYB_KERNEL_rope_table, hyb_div_up(half, 64), at->batch.n, 1, 64, 1, 0,
                     args);
}

static void hyb_cuda_op_rope(hyb_cuda_at *at, const hyb_op_rope *op)
{
    hyb_op_rope o = *op;
    int32_t half = op->n_rot / 2, neox = op->kind == HYB_ROPE_NEOX,
            each = op->x == op->out ? half : op->head_dim - half;
    void *args[10];
    args[0] = &o.x;
    args[1] = &o.x_stride;
    args[2] = &o.out;
    args[3] = &o.out_stride;
    args[4] = &o.table;
    args[5] = &o.n_head;
    args[6] = &o.head_dim;
    args[7] = &half;
    args[8] = &neox;
    args[9] = &each;
    if (each < 1) return;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROPE, HYB_KERNEL_rope, hyb_div_up((int64_t)op->n_head * each, 128), op->n, 1,
                     128, 1, 0, args);
}

/* The numbers that kernels give the types of a cache. */
static int32_t hyb_cuda_kv_type(hybrid_type type)
{
    return type == HYBRID_TYPE_F16 ? 0 : type == HYBRID_TYPE_Q8_0 ? 1 : 2;
}

static void hyb_cuda_op_kv_store(hyb_cuda_at *at, const hyb_op_kv_store *op)
{
    hyb_cuda_batch b = at->batch;
    hyb_op_kv_store o = *op;
    hyb_kv_view kv = *op->kv;
    int64_t page_k = (int64_t)kv.page_bytes_k, page_v = (int64_t)kv.page_bytes_v;
    int32_t row_k = (int32_t)kv.row_bytes_k, row_v = (int32_t)kv.row_bytes_v, type = hyb_cuda_kv_type(kv.type);
    void *args[18];
    args[0] = &o.k;
    args[1] = &o.k_stride;
    args[2] = &o.v;
    args[3] = &o.v_stride;
    args[4] = &kv.k;
    args[5] = &kv.v;
    args[6] = &page_k;
    args[7] = &page_v;
    args[8] = &row_k;
    args[9] = &row_v;
    args[10] = &kv.n_head_kv;
    args[11] = &kv.head_dim_k;
    args[12] = &kv.head_dim_v;
    args[13] = &b.pos;
    args[14] = &b.run_of_row;
    args[15] = &b.pages;
    args[16] = &b.pages_a_seq;
    args[17] = &type;
    hyb_cuda_launch3(at->q, HYB_MODULE_KV, HYB_KERNEL_kv_store, 2 * (int64_t)kv.n_head_kv, b.n, 1, 128, 1, 0, args);
}

/* As in kernels/kv.cu. */
typedef struct hyb_cuda_heads_args {
    const float *q, *k, *v;
    float *q_out, *k_out;
    const float *q_norm, *k_norm, *table;
    char *k_cache, *v_cache;
    const int32_t *pos, *run_of_row, *pages;
    int64_t stride, out_stride, page_bytes_k, page_bytes_v;
    int32_t n_head, n_head_kv, dim_k, dim_v, row_bytes_k, row_bytes_v, pages_a_seq, type;
    int32_t half, neox, layer;
    float eps;
} hyb_cuda_heads_args;

/* False: heads of more than 256 values; nothing was done. */
static bool hyb_cuda_op_heads(hyb_cuda_at *at, const hyb_op_heads *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    const hyb_kv_view *kv = op->kv;
    hyb_cuda_heads_args a;
    void *args[1];
    if (kv->head_dim_k > 256 || kv->head_dim_v > 256) return false;
    memset(&a, 0, sizeof a);
    a.q = op->q;
    a.k = op->k;
    a.v = op->v;
    a.stride = op->stride;
    a.q_out = op->q_out;
    a.k_out = op->k_out;
    a.out_stride = op->out_stride;
    a.q_norm = op->q_norm;
    a.k_norm = op->k_norm;
    a.layer = op->norm == HYB_NORM_LAYER;
    a.eps = op->eps;
    a.table = op->table;
    a.half = op->n_rot / 2;
    a.neox = op->rope == HYB_ROPE_NEOX;
    a.k_cache = kv->k;
    a.page_bytes_k = (int64_t)kv->page_bytes_k;
    a.row_bytes_k = (int32_t)kv->row_bytes_k;
    a.dim_k = kv->head_dim_k;
    a.v_cache = kv->v;
    a.page_bytes_v = (int64_t)kv->page_bytes_v;
    a.row_bytes_v = (int32_t)kv->row_bytes_v;
    a.dim_v = kv->head_dim_v;
    a.n_head = op->n_head;
    a.n_head_kv = kv->n_head_kv;
    a.type = hyb_cuda_kv_type(kv->type);
    a.pos = batch->pos;
    a.run_of_row = batch->run_of_row;
    a.pages = batch->pages;
    a.pages_a_seq = batch->pages_a_seq;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_KV, HYB_KERNEL_heads,
                     hyb_div_up((int64_t)op->n_head + 2 * (int64_t)kv->n_head_kv, 4), batch->n, 1, 128, 1, 0, args);
    return true;
}

static void hyb_cuda_op_glu(hyb_cuda_at *at, const hyb_op_glu *op)
{
    const bool by_4 = op->n % 4 == 0 && hyb_cuda_by_4(op->gate, op->gate_stride) &&
                      hyb_cuda_by_4(op->out, op->out_stride) && hyb_cuda_by_4(op->up, op->up ? op->up_stride : 0);
    hyb_op_glu o = *op;
    int64_t first, rows;
    int32_t n = (int32_t)op->n, act = (int32_t)op->act;
    void *args[8];
    args[0] = &o.gate;
    args[1] = &o.gate_stride;
    args[2] = &o.up;
    args[3] = &o.up_stride;
    args[4] = &o.out;
    args[5] = &o.out_stride;
    args[6] = &n;
    args[7] = &act;
    /* experts have several rows for each of a batch; a grid has at most 65535 */
    for (first = 0; first < op->n_rows; first += rows) {
        rows = HYB_MIN(op->n_rows - first, 65535);
        hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, by_4 ? HYB_KERNEL_glu_4 : HYB_KERNEL_glu_1,
                         hyb_div_up(op->n, by_4 ? 1024 : 256), rows, 1, 256, 1, 0, args);
        o.gate += rows * o.gate_stride;
        o.out += rows * o.out_stride;
        if (o.up) o.up += rows * o.up_stride;
    }
}

#ifndef HYBRID_NO_TRAIN
static void hyb_cuda_op_glu_back(hyb_cuda_at *at, const hyb_op_glu_back *op)
{
    hyb_op_glu_back o = *op;
    int32_t n = (int32_t)op->n, act = (int32_t)op->act;
    void *args[9];
    args[0] = &o.gate;
    args[1] = &o.up;
    args[2] = &o.dout;
    args[3] = &o.dgate;
    args[4] = &o.dup;
    args[5] = &o.stride;
    args[6] = &o.dout_stride;
    args[7] = &n;
    args[8] = &act;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_glu_back, op->n_rows, hyb_div_up(n, 256), 1, 256, 1, 0, args);
}
#endif

/* x and y (NULL: none) to out. */
typedef enum hyb_cuda_values_kind { HYB_CUDA_ADD, HYB_CUDA_SCALE, HYB_CUDA_SOFTCAP } hyb_cuda_values_kind;
static void hyb_cuda_values(hyb_cuda_at *at, float *out, const float *x, const float *y, float factor, int64_t n,
                            hyb_cuda_values_kind which)
{
    const bool by_4 = n % 4 == 0 && hyb_cuda_by_4(out, 0) && hyb_cuda_by_4(x, 0) && hyb_cuda_by_4(y, 0);
    int32_t kind = (int32_t)which;
    void *args[6];
    args[0] = &out;
    args[1] = &x;
    args[2] = &y;
    args[3] = &factor;
    args[4] = &n;
    args[5] = &kind;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, by_4 ? HYB_KERNEL_values_4 : HYB_KERNEL_values_1,
                     hyb_div_up(n, by_4 ? 1024 : 256), 1, 1, 256, 1, 0, args);
}
static void hyb_cuda_op_add(hyb_cuda_at *at, const hyb_op_add *op)
{
    hyb_cuda_values(at, op->out, op->a, op->b, 0, op->n, HYB_CUDA_ADD);
}
static void hyb_cuda_op_scale(hyb_cuda_at *at, const hyb_op_scale *op)
{
    hyb_cuda_values(at, op->out, op->x, NULL, op->factor, op->n, HYB_CUDA_SCALE);
}
static void hyb_cuda_op_softcap(hyb_cuda_at *at, const hyb_op_softcap *op)
{
    hyb_cuda_values(at, op->out, op->x, NULL, op->cap, op->n, HYB_CUDA_SOFTCAP);
}

/* ---- the largest logits ------------------------------------------------------------------------------------------ */

enum { HYB_CUDA_TOP_K_CHUNK = 4096 };

static size_t hyb_cuda_top_k_bytes(int n_rows, int n_vocab, int k)
{
    return (size_t)n_rows * (size_t)hyb_div_up(n_vocab, HYB_CUDA_TOP_K_CHUNK) * (8 * (size_t)k + 8);
}

/* In hyb_cuda_top_k_bytes of the scratch. */
static void hyb_cuda_op_top_k(hyb_cuda_at *at, const hyb_op_top_k *op)
{
    hyb_op_top_k o = *op;
    int32_t n_chunks = (int32_t)hyb_div_up(op->n, HYB_CUDA_TOP_K_CHUNK);
    const int64_t each = (int64_t)op->n_rows * n_chunks * op->k;
    int32_t *keys = (int32_t *)(void *)at->scratch, *ids = keys + each;
    float *parts = (float *)(ids + each);
    void *args[10];
    args[0] = &o.logits;
    args[1] = &o.stride;
    args[2] = &o.n;
    args[3] = &o.k;
    args[4] = &keys;
    args[5] = &ids;
    args[6] = &parts;
    hyb_cuda_launch3(at->q, HYB_MODULE_SELECT, HYB_KERNEL_top_k_chunk, n_chunks, op->n_rows, 1, 256, 1, 0, args);
    args[2] = &n_chunks;
    args[7] = &o.ids;
    args[8] = &o.values;
    args[9] = &o.stats;
    hyb_cuda_launch3(at->q, HYB_MODULE_SELECT, HYB_KERNEL_top_k_row, op->n_rows, 1, 1, 1024, 1, 0, args);
}
/* ==== end src/cuda/ops_rows.c ==== */

/* ==== begin src/cuda/ops_matmul.c ==== */
/* cuda/ops_matmul: the op matmul: which kernels a product takes.
 *
 *   quantized, 1 row        matvec straight from the blocks of the file, with x quantized to 8
 *                           bits by every block of threads (once before, when it is long): integer products (dot4)
 *   quantized, 2-64 rows    the same bytes by integer tensor cores (matbatch): W is still what is read most
 *   floats, 1-8 rows        matvec, float32 products
 *   F32, more               float32 throughout
 *   BF16, more              from sm_80: x as bf16, tensor cores
 *   other, more             W as halves (F16: as it lies in the file; others: made in slices in
 *                           the scratch), x as halves, tensor cores. Halves because they have three bits more than
 *                           bf16, and no block format spans more than a half holds. |x| > 65504 is clamped; the hidden
 *                           states that are that large in some models go through a norm before a product.
 *
 * x is quantized once for all matrices of the op; in the first three, matrices of one type go in one launch.
 * Tensor-core products of floats are cuBLAS's where it is there, else ours. Nothing depends on what is in device
 * memory, so all of it can be captured in a graph. */

enum {
    HYB_CUDA_FEW_FLOATS = 8, /* rows of x up to which the weights are read from where they lie */
    HYB_CUDA_FEW_QUANTS = 64,
    HYB_CUDA_NEAR_K = 8192,    /* values of x that a block quantizes for itself: 11 KB of shared memory */
    HYB_CUDA_MATVEC_WARPS = 4, /* matvec.cu: WARPS, ROWS */
    HYB_CUDA_MATVEC_ROWS = 2,
    HYB_CUDA_MATBATCH_ROWS = 16, /* matbatch.cu: rows of W of a block */
    HYB_CUDA_SLICE = 64 << 20    /* at most this many bytes of W are there as halves at a time */
};
#define HYB_CUDA_KERNELS_QUANTIZE(X) \
    X(quantize) X(quantize_tiles) X(to_half) X(to_bf16) X(begin_bias) X(quantize_sorted)
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_QUANTIZE(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_QUANTIZE };
#undef HYB_KERNEL_NUMBER
enum { HYB_KERNEL_GEMM_128, HYB_KERNEL_GEMM_32 };

/* What the kernels take: the structures of matvec.cu, matbatch.cu and gemm.cu. */
typedef struct hyb_cuda_matrix {
    const void *w;
    const float *bias, *add; /* or NULL */
    float *y;
    int64_t add_stride, y_stride, next; /* next: bytes to the next expert's w */
    int rows;
} hyb_cuda_matrix;
typedef struct hyb_cuda_matrices {
    hyb_cuda_matrix m[4];
    int n;
} hyb_cuda_matrices;
typedef struct hyb_cuda_operand {
    int k, n;
    int64_t row_bytes;
    const void *x;
    int64_t x_stride;
    const float *d, *s;
} hyb_cuda_operand;
typedef struct hyb_cuda_tiles {
    int k, n;
    int64_t row_bytes;
    const void *q;
    const float *d, *s;
} hyb_cuda_tiles;
typedef struct hyb_cuda_product {
    const void *x;
    int64_t ldx;
    const void *w;
    int64_t ldw;
    int n, out, k;
    const float *bias, *add; /* or NULL */
    float *y;
    int64_t add_stride, y_stride;
    int64_t next; /* values to the next expert's w */
} hyb_cuda_product;

/* The form of x that the scratch holds; the matrices of an op may need different ones. */
typedef enum hyb_cuda_x { HYB_CUDA_X_NOTHING, HYB_CUDA_X_Q8, HYB_CUDA_X_HALF, HYB_CUDA_X_BF16 } hyb_cuda_x;

typedef struct hyb_cuda_matmul_job {
    hyb_cuda_queue *q;
    const hyb_op_matmul *op;
    int n;
    int64_t k, k_pad; /* k, rounded up to 8 */
    char *x;          /* scratch: x in the form that `form` says, */
    hyb_cuda_x form;
    char *w; /* then a slice of W */
    size_t w_bytes;
} hyb_cuda_matmul_job;

static int64_t hyb_cuda_pad(int64_t k) { return (k + 7) / 8 * 8; }

static bool hyb_cuda_is_float(hybrid_type type)
{
    return type == HYBRID_TYPE_F32 || type == HYBRID_TYPE_F16 || type == HYBRID_TYPE_BF16;
}
static bool hyb_cuda_is_few(hybrid_type type, int n)
{
    return n <= (hyb_cuda_is_float(type) ? (int)HYB_CUDA_FEW_FLOATS : (int)HYB_CUDA_FEW_QUANTS);
}

/* Rows of x as bytes: matbatch takes them by eight. */
static int hyb_cuda_q8_rows(int n) { return n == 1 ? 1 : (HYB_MIN(n, (int)HYB_CUDA_FEW_QUANTS) + 7) / 8 * 8; }

/* Bytes of n rows of x in the scratch: signed bytes, scales and sums of quantize.cu, or 16-bit floats. */
static size_t hyb_cuda_x_bytes(int n, int64_t k)
{
    size_t k_pad = (size_t)hyb_cuda_pad(k), rows = (size_t)hyb_cuda_q8_rows(n);
    size_t q8 = rows * (k_pad + k_pad / 32 * 4 + k_pad / 16 * 4),
           half = n > HYB_CUDA_FEW_FLOATS ? (size_t)n * k_pad * 2 : 0;
    return hyb_align(HYB_MAX(q8, half), 256);
}

/* F16 and BF16 matrices with aligned rows go to the tensor cores as they lie in the file, the latter where there is
 * bf16. */
static bool hyb_cuda_is_bf16(hybrid_type type, int64_t k, int cc)
{
    return type == HYBRID_TYPE_BF16 && cc >= 80 && k % 8 == 0;
}
static bool hyb_cuda_as_it_is(hybrid_type type, int64_t k, int cc)
{
    return hyb_cuda_is_bf16(type, k, cc) || (type == HYBRID_TYPE_F16 && k % 8 == 0);
}

/* Bytes of scratch that a product of up to n rows with a matrix (out, k) needs on a device of capability cc (90 for
 * 9.0). The scratch of a model is the largest of its matrices'; matmul never touches more than it was given. */
static size_t hyb_cuda_matmul_scratch(hybrid_type type, int64_t k, int64_t out, int n, int cc)
{
    size_t x = hyb_cuda_x_bytes(n, k), row = (size_t)hyb_cuda_pad(k) * 2;
    if (hyb_cuda_is_few(type, n) || type == HYBRID_TYPE_F32 || hyb_cuda_as_it_is(type, k, cc)) return x;
    if ((size_t)out <= HYB_CUDA_SLICE / row) return x + (size_t)out * row;
    return x + HYB_MAX((size_t)HYB_CUDA_SLICE / row, 1) * row;
}

/* The module of a type, in a family of modules that has one for each type of a list, in its order. */
#define HYB_MODULE_OF_TYPE(name, number, values, bytes, suffix) \
    if (type == HYBRID_TYPE_##name) \
        return module; \
    else \
        module++;
static int hyb_cuda_module_of(int first, hybrid_type type)
{
    int module = first;
    HYB_TYPES(HYB_MODULE_OF_TYPE) return module;
}
static int hyb_cuda_module_of_float(int first, hybrid_type type)
{
    int module = first;
    HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE) return module;
}
static int hyb_cuda_module_of_quant(int first, hybrid_type type)
{
    int module = first;
    HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE) return module;
}
#undef HYB_MODULE_OF_TYPE

/* ---- x ----------------------------------------------------------------------------------------------------------- */

/* As bytes: first these, then rows * k / 16 sums (an even number, they are read in pairs), then rows * k / 32
 * scales. */
static float *hyb_cuda_matmul_sums(const hyb_cuda_matmul_job *job)
{
    return (float *)(void *)(job->x + (size_t)hyb_cuda_q8_rows(job->n) * (size_t)job->k);
}
static float *hyb_cuda_matmul_scales(const hyb_cuda_matmul_job *job)
{
    return hyb_cuda_matmul_sums(job) + hyb_cuda_q8_rows(job->n) * (job->k / 16);
}

static void hyb_cuda_matmul_x(hyb_cuda_matmul_job *job, hyb_cuda_x form)
{
    const float *x = job->op->x;
    int64_t x_stride = job->op->x_stride;
    int k = (int)job->k, k_pad = (int)job->k_pad;
    if (job->form == form) return;
    job->form = form;
    if (form == HYB_CUDA_X_Q8) {
        int rows = hyb_cuda_q8_rows(job->n);
        float *d = hyb_cuda_matmul_scales(job), *s = hyb_cuda_matmul_sums(job);
        void *one[6], *many[7];
        one[0] = many[0] = &x;
        one[1] = many[1] = &x_stride;
        one[2] = many[2] = &k;
        many[3] = &job->n;
        one[3] = many[4] = &job->x;
        one[4] = many[5] = &d;
        one[5] = many[6] = &s;
        hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE, rows == 1 ? HYB_KERNEL_quantize : HYB_KERNEL_quantize_tiles,
                      (k + 255) / 256, rows, 256, rows == 1 ? one : many);
    } else {
        void *args[5];
        args[0] = &x;
        args[1] = &x_stride;
        args[2] = &k;
        args[3] = &job->x;
        args[4] = &k_pad;
        hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE, form == HYB_CUDA_X_HALF ? HYB_KERNEL_to_half : HYB_KERNEL_to_bf16,
                      (k_pad + 255) / 256, job->n, 256, args);
    }
}

/* ---- few rows ---------------------------------------------------------------------------------------------------- */

/* Blocks of a launch over all matrices: rows_a_block rows of one matrix each. */
static int64_t hyb_cuda_matmul_blocks(const hyb_cuda_matrices *ms, int rows_a_block)
{
    int64_t blocks = 0;
    int i;
    for (i = 0; i < ms->n; i++) blocks += (ms->m[i].rows + rows_a_block - 1) / rows_a_block;
    return blocks;
}

static void hyb_cuda_matvec(hyb_cuda_matmul_job *job, hybrid_type type, hyb_cuda_matrices *ms, int64_t row_bytes)
{
    hyb_cuda_operand o;
    int64_t groups = hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATVEC_ROWS),
            blocks = (groups + HYB_CUDA_MATVEC_WARPS - 1) / HYB_CUDA_MATVEC_WARPS;
    /* every warp the same number of groups, or one less */
    int64_t most = (int64_t)HYB_MAX(job->q->cu->n_sm, 1) * 8, turns = (blocks + most - 1) / most;
    int n = job->n, module = n == 1 ? hyb_cuda_module_of(HYB_MODULE_MATVEC_F32, type)
                                    : hyb_cuda_module_of_float(HYB_MODULE_MATVEC_FEW_F32, type);
    bool quantized = !hyb_cuda_is_float(type), near_x = quantized && job->k <= HYB_CUDA_NEAR_K;
    unsigned grid[3], block[3];
    void *args[2];
    o.k = (int)job->k;
    o.n = n;
    o.row_bytes = row_bytes;
    if (!quantized || near_x) {
        o.x = job->op->x;
        o.x_stride = job->op->x_stride;
        o.d = o.s = NULL;
    } else {
        hyb_cuda_matmul_x(job, HYB_CUDA_X_Q8);
        module = hyb_cuda_module_of_quant(HYB_MODULE_MATVEC_FAR_Q4_0, type);
        o.x = job->x;
        o.x_stride = job->k;
        o.d = hyb_cuda_matmul_scales(job);
        o.s = hyb_cuda_matmul_sums(job);
    }
    args[0] = ms;
    args[1] = &o;
    grid[0] = (unsigned)((blocks + turns - 1) / turns);
    grid[1] = grid[2] = 1;
    block[0] = 32 * HYB_CUDA_MATVEC_WARPS;
    block[1] = block[2] = 1;
    hyb_cuda_launch(job->q, module,
                    n <= 2   ? 0
                    : n <= 4 ? 1
                             : 2,
                    grid, block, near_x ? (unsigned)(job->k + job->k / 16 * 4 + job->k / 32 * 4) : 0, args);
}

static void hyb_cuda_matbatch(hyb_cuda_matmul_job *job, hybrid_type type, hyb_cuda_matrices *ms, int64_t row_bytes)
{
    hyb_cuda_tiles x;
    int first = job->n <= 8    ? HYB_MODULE_MATBATCH_8_Q4_0
                : job->n <= 32 ? HYB_MODULE_MATBATCH_32_Q4_0
                               : HYB_MODULE_MATBATCH_64_Q4_0;
    void *args[2];
    hyb_cuda_matmul_x(job, HYB_CUDA_X_Q8);
    x.k = (int)job->k;
    x.n = job->n;
    x.row_bytes = row_bytes;
    x.q = job->x;
    x.d = hyb_cuda_matmul_scales(job);
    x.s = hyb_cuda_matmul_sums(job);
    args[0] = ms;
    args[1] = &x;
    hyb_cuda_grid(job->q, hyb_cuda_module_of_quant(first, type), 0, hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATBATCH_ROWS),
                  1, 128, args);
}

/* The matrices of the op that have the type of matrix `first` (and come after it). */
static void hyb_cuda_matmul_few(hyb_cuda_matmul_job *job, int first)
{
    const hyb_tensor *w = job->op->out[first].w;
    hyb_cuda_matrices ms;
    int i;
    memset(&ms, 0, sizeof ms);
    for (i = first; i < job->op->n_out; i++) {
        const hyb_matmul_out *out = &job->op->out[i];
        hyb_cuda_matrix *m = &ms.m[ms.n];
        if (out->w->type != w->type || out->w->ne[1] < 1) continue;
        m->w = out->w->data;
        m->bias = out->bias;
        m->add = out->add;
        m->add_stride = out->add_stride;
        m->y = out->y;
        m->y_stride = out->y_stride;
        m->rows = (int)out->w->ne[1];
        ms.n++;
    }
    if (!ms.n) return;
    if (hyb_cuda_is_float(w->type) || job->n == 1)
        hyb_cuda_matvec(job, w->type, &ms, (int64_t)w->nb[1]);
    else
        hyb_cuda_matbatch(job, w->type, &ms, (int64_t)w->nb[1]);
}

/* ---- many rows --------------------------------------------------------------------------------------------------- */

/* y = what a product by cuBLAS is added to. */
static void hyb_cuda_before(hyb_cuda_queue *q, const hyb_cuda_product *p)
{
    hyb_cuda_product copy = *p;
    void *args[6];
    args[0] = &copy.bias;
    args[1] = &copy.add;
    args[2] = &copy.add_stride;
    args[3] = &copy.y;
    args[4] = &copy.y_stride;
    args[5] = &copy.out;
    hyb_cuda_grid(q, HYB_MODULE_QUANTIZE, HYB_KERNEL_begin_bias, (p->out + 255) / 256, p->n, 256, args);
}

/* Whether cuBLAS is there, and multiplies values of 16 bits of that kind on this GPU. */
static bool hyb_cuda_blas_has(hyb_cuda_queue *q, bool bf16)
{
    return (!bf16 || q->cu->cc >= 80) && hyb_cuda_queue_blas(q, NULL);
}

static void hyb_cuda_tensor_cores(hyb_cuda_queue *q, bool bf16, hyb_cuda_product *p)
{
    void *args[1];
    bool wide = p->n > 64;
    if (hyb_cuda_blas_has(q, bf16)) {
        if (p->bias || (p->add && p->add != p->y)) hyb_cuda_before(q, p);
        hyb_cuda_gemm(q, bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_16F, p->w, (int)p->ldw, p->x, (int)p->ldx, HYB_CUDA_R_32F,
                      p->y, (int)p->y_stride, p->n, p->out, p->k, p->bias != NULL || p->add != NULL);
        return;
    }
    args[0] = p;
    hyb_cuda_grid(q, bf16 ? HYB_MODULE_GEMM_BF16 : HYB_MODULE_GEMM_F16, wide ? HYB_KERNEL_GEMM_128 : HYB_KERNEL_GEMM_32,
                  (p->n + (wide ? 127 : 31)) / (wide ? 128 : 32), (p->out + 127) / 128, 256, args);
}

/* in_chunks: by cuBLAS, whose order of a sum may depend on how many rows there are. */
static void hyb_cuda_matmul_f32(hyb_cuda_queue *q, hyb_cuda_product *p, bool in_chunks)
{
    void *args[1];
    if (in_chunks && hyb_cuda_queue_blas(q, NULL)) {
        if (p->bias || (p->add && p->add != p->y)) hyb_cuda_before(q, p);
        hyb_cuda_gemm(q, HYB_CUDA_R_32F, p->w, (int)p->ldw, p->x, (int)p->ldx, HYB_CUDA_R_32F, p->y, (int)p->y_stride,
                      p->n, p->out, p->k, p->bias != NULL || p->add != NULL);
        return;
    }
    args[0] = p;
    hyb_cuda_grid(q, HYB_MODULE_GEMM_F32, 0, (p->n + 63) / 64, (p->out + 63) / 64, 256, args);
}

/* Rows of w, from `first`, as halves at job->w. */
static void hyb_cuda_dequantize(hyb_cuda_matmul_job *job, const hyb_tensor *w, int64_t first, int rows)
{
    const char *from = (const char *)w->data + (size_t)first * w->nb[1];
    int64_t row_bytes = (int64_t)w->nb[1], threads = (hyb_cuda_is_float(w->type) ? job->k_pad / 8 : job->k / 32) * rows;
    int k = (int)job->k, k_pad = (int)job->k_pad;
    void *args[6];
    args[0] = &from;
    args[1] = &row_bytes;
    args[2] = &rows;
    args[3] = &k;
    args[4] = &job->w;
    args[5] = &k_pad;
    hyb_cuda_grid(job->q, hyb_cuda_module_of(HYB_MODULE_DEQUANTIZE_F32, w->type), 0, (threads + 255) / 256, 1, 256,
                  args);
}

/* Rows of w, from `first`, as floats at `to`: the kernel of the op embed, without an index. */
static void hyb_cuda_decode(hyb_cuda_queue *q, const hyb_tensor *w, int64_t first, int64_t rows, float *to)
{
    const char *from = (const char *)w->data + (size_t)first * w->nb[1];
    int64_t row_bytes = (int64_t)w->nb[1];
    const int32_t *index = NULL;
    const float *add = NULL;
    int32_t k = (int32_t)w->ne[0];
    float scale = 1;
    void *args[7];
    args[0] = &from;
    args[1] = &row_bytes;
    args[2] = &index;
    args[3] = &k;
    args[4] = &scale;
    args[5] = &add;
    args[6] = &to;
    hyb_cuda_grid(q, hyb_cuda_embed_module((int)w->type), 0,
                  hyb_div_up(k, hybrid_type_block_size(w->type) > 1 ? 32 * 64 : 256), rows, 64, args);
}

/* Rows of w that fit into so many bytes as floats, of those that a grid has. */
static int64_t hyb_cuda_decoded_rows(const hyb_tensor *w, size_t bytes)
{
    return HYB_MAX(HYB_MIN((int64_t)(bytes / (sizeof(float) * (size_t)w->ne[0])), 65535), 1);
}

/* A frozen matrix of a pass that is trained on, as floats, some rows at a time: y is what its gradient is about. */
static void hyb_cuda_matmul_decoded(hyb_cuda_queue *q, const hyb_op_matmul *op, const hyb_matmul_out *out,
                                    void *scratch, size_t scratch_bytes)
{
    const hyb_tensor *w = out->w;
    const int64_t slice = hyb_cuda_decoded_rows(w, scratch_bytes);
    hyb_cuda_product p;
    int64_t first;
    p.x = op->x;
    p.ldx = op->x_stride;
    p.w = scratch;
    p.ldw = w->ne[0];
    p.n = op->n;
    p.k = (int)w->ne[0];
    p.add_stride = out->add_stride;
    p.y_stride = out->y_stride;
    p.next = 0;
    for (first = 0; first < w->ne[1]; first += slice) {
        p.out = (int)HYB_MIN(slice, w->ne[1] - first);
        p.bias = out->bias ? out->bias + first : NULL;
        p.add = out->add ? out->add + first : NULL;
        p.y = out->y + first;
        hyb_cuda_decode(q, w, first, p.out, (float *)scratch);
        hyb_cuda_matmul_f32(q, &p, true);
    }
}

static void hyb_cuda_matmul_many(hyb_cuda_matmul_job *job, const hyb_matmul_out *out)
{
    const hyb_tensor *w = out->w;
    hyb_cuda_product p;
    int cc = job->q->cu->cc;
    bool bf16 = hyb_cuda_is_bf16(w->type, job->k, cc), as_it_is = hyb_cuda_as_it_is(w->type, job->k, cc);
    int64_t rows = w->ne[1], first, slice = as_it_is ? rows : (int64_t)(job->w_bytes / ((size_t)job->k_pad * 2));
    p.n = job->n;
    p.k = (int)job->k;
    p.add = out->add;
    p.add_stride = out->add_stride;
    p.y_stride = out->y_stride;
    p.next = 0;
    if (w->type == HYBRID_TYPE_F32) {
        p.x = job->op->x;
        p.ldx = job->op->x_stride;
        p.w = w->data;
        p.ldw = job->k;
        p.out = (int)rows;
        p.bias = out->bias;
        p.y = out->y;
        hyb_cuda_matmul_f32(job->q, &p, job->op->in_chunks);
        return;
    }
    hyb_cuda_matmul_x(job, bf16 ? HYB_CUDA_X_BF16 : HYB_CUDA_X_HALF);
    p.k = (int)job->k_pad;
    p.x = job->x;
    p.ldx = p.ldw = job->k_pad;
    if (slice >= 128 && slice < rows) slice = slice / 128 * 128; /* whole tiles */
    slice = HYB_MAX(slice, 1);
    for (first = 0; first < rows; first += slice) {
        p.out = (int)HYB_MIN(slice, rows - first);
        p.bias = out->bias ? out->bias + first : NULL;
        p.add = out->add ? out->add + first : NULL;
        p.y = out->y + first;
        p.w = as_it_is ? w->data : (const void *)job->w;
        if (!as_it_is) hyb_cuda_dequantize(job, w, first, p.out);
        hyb_cuda_tensor_cores(job->q, bf16, &p);
    }
}

/* scratch: as many bytes of device memory as hyb_cuda_matmul_scratch says for this model; nothing in it outlives the
 * call. */
static void hyb_cuda_matmul(hyb_cuda_queue *q, const hyb_op_matmul *op, void *scratch, size_t scratch_bytes)
{
    hyb_cuda_matmul_job job;
    size_t x_bytes;
    int i, j;
    if (op->n < 1 || op->n_out < 1) return;
    memset(&job, 0, sizeof job);
    job.q = q;
    job.op = op;
    job.n = op->n;
    job.k = op->out[0].w->ne[0];
    job.k_pad = hyb_cuda_pad(job.k);
    x_bytes = hyb_cuda_x_bytes(job.n, job.k);
    job.x = (char *)scratch;
    job.w = job.x + x_bytes;
    job.w_bytes = scratch_bytes - HYB_MIN(x_bytes, scratch_bytes);
    for (i = 0; i < op->n_out; i++) {
        for (j = 0; j < i && op->out[j].w->type != op->out[i].w->type; j++) {}
        if (op->in_chunks && op->out[i].w->type != HYBRID_TYPE_F32)
            hyb_cuda_matmul_decoded(q, op, &op->out[i], scratch, scratch_bytes);
        else if (!hyb_cuda_is_few(op->out[i].w->type, op->n))
            hyb_cuda_matmul_many(&job, &op->out[i]);
        else if (j == i)
            hyb_cuda_matmul_few(&job, i);
    }
}
/* ==== end src/cuda/ops_matmul.c ==== */

/* ==== begin src/cuda/ops_matmul_back.c ==== */
/* cuda/ops_matmul_back: what training asks of products besides y = x W^T: the gradients of what they read and of their
 * weights, and all three in a number format of 16 bits (hyb_rounding), by tensor cores.
 *
 *                   cuBLAS reads                 own kernels, which know y = x w^T alone
 *     y = x W^T     x and W                      x and W
 *     dx = dy W     dy and W                     dy, and W turned
 *     dW = dy^T x   dy and x                     dy turned, and x turned
 *
 * What they read is rounded, into the scratch; W need not be, where it is there in the format already. Rows of W go in
 * slices, so that the scratch is not as large as a head. */

#ifdef HYBRID_NO_TRAIN
static void hyb_cuda_op_matmul(hyb_cuda_at *at, const hyb_op_matmul *op)
{
    hyb_cuda_matmul(at->q, op, at->scratch, at->scratch_bytes);
}
#else
/* ---- number formats ---------------------------------------------------------------------------------------------- */

/* Products of n rows and matrices (.., k) in a format. */
typedef struct hyb_cuda_format {
    hyb_cuda_queue *q;
    const hyb_rounding *rounding;
    bool bf16, blas;
    int n;
    int64_t k, n_pad, k_pad; /* rounded up to 8 */
    uint16_t *x;             /* scratch: (n, k_pad), or turned (k, n_pad); */
    uint16_t *dy, *w;        /* of a slice: (n, slice) or (slice, n_pad), and (slice, k_pad) or (k, slice) */
    int64_t slice;           /* rows of W, a multiple of 8 */
} hyb_cuda_format;

static size_t hyb_cuda_format_near(int64_t n, int64_t k)
{
    return hyb_align((size_t)hyb_cuda_pad(n) * (size_t)hyb_cuda_pad(k) * sizeof(uint16_t), 256);
}
/* Bytes that a row of W takes in a slice. */
static size_t hyb_cuda_format_row(int64_t n, int64_t k)
{
    return (size_t)(hyb_cuda_pad(n) + hyb_cuda_pad(k)) * sizeof(uint16_t);
}
enum { HYB_CUDA_FORMAT_ALIGN = 512 }; /* of dy and w */

/* Bytes of scratch of the three products of up to n rows with a matrix (out, k). */
static size_t hyb_cuda_format_scratch(int64_t k, int64_t out, int n)
{
    const size_t row = hyb_cuda_format_row(n, k), rows = HYB_MAX((size_t)HYB_CUDA_SLICE / row / 8 * 8, 8);
    return hyb_cuda_format_near(n, k) + HYB_MIN(rows, (size_t)hyb_cuda_pad(out)) * row + HYB_CUDA_FORMAT_ALIGN;
}

static void hyb_cuda_format_begin(hyb_cuda_format *f, hyb_cuda_at *at, const hyb_rounding *rounding, int n, int64_t k,
                                  int64_t out)
{
    const size_t bytes = hyb_cuda_format_near(n, k), row = hyb_cuda_format_row(n, k);
    const int64_t fit = (int64_t)((at->scratch_bytes - bytes - HYB_CUDA_FORMAT_ALIGN) / row);
    f->q = at->q;
    f->rounding = rounding;
    f->bf16 = rounding->type == HYBRID_TYPE_BF16;
    f->blas = hyb_cuda_blas_has(at->q, f->bf16);
    f->n = n;
    f->k = k;
    f->n_pad = hyb_cuda_pad(n);
    f->k_pad = hyb_cuda_pad(k);
    f->slice = HYB_MAX(HYB_MIN(HYB_MIN(fit, hyb_cuda_pad(out)), 65528) / 8 * 8, 8); /* rows of a grid */
    f->x = (uint16_t *)(void *)at->scratch;
    f->dy = (uint16_t *)(void *)(at->scratch + bytes);
    f->w = (uint16_t *)(void *)(at->scratch + bytes +
                                hyb_align((size_t)f->slice * (size_t)f->n_pad * sizeof(uint16_t), 256));
}

/* to (rows, ld) = x (rows, k), zeros from k on; or turned: to (k, ld), zeros from rows on. */
static void hyb_cuda_format_round(const hyb_cuda_format *f, bool turned, const float *x, int64_t x_stride, int64_t rows,
                                  int64_t k, uint16_t *to, int64_t ld)
{
    int32_t bf16 = f->bf16, rows32 = (int32_t)rows, k32 = (int32_t)k, ld32 = (int32_t)ld;
    void *args[7];
    args[0] = &x;
    args[1] = &x_stride;
    args[2] = &rows32;
    args[3] = &k32;
    args[4] = &bf16;
    args[5] = &to;
    args[6] = &ld32;
    if (turned)
        hyb_cuda_grid(f->q, HYB_MODULE_TRAIN, HYB_KERNEL_round_turned, hyb_div_up(ld, 32), hyb_div_up(k, 32), 256,
                      args);
    else
        hyb_cuda_grid(f->q, HYB_MODULE_TRAIN, HYB_KERNEL_round_rows, hyb_div_up(ld, 256), rows, 256, args);
}

/* The matrix in the format, where it is there; else NULL. Its rows are aligned as tensor cores want them. */
static const uint16_t *hyb_cuda_format_ready(const hyb_cuda_format *f, const hyb_tensor *w)
{
    const uint16_t *to = f->rounding->to;
    if (!to || f->k % 8) return NULL;
    to += (const float *)w->data - f->rounding->of;
    return (uintptr_t)(const void *)to % 16 ? NULL : to;
}

static const float *hyb_cuda_format_rows(const hyb_tensor *w, int64_t first)
{
    return (const float *)w->data + first * (int64_t)(w->nb[1] / sizeof(float));
}

/* y = x W^T + bias + add; x is rounded. */
static void hyb_cuda_format_y(const hyb_cuda_format *f, const hyb_matmul_out *o)
{
    const uint16_t *ready = hyb_cuda_format_ready(f, o->w);
    const int64_t rows = o->w->ne[1], slice = ready ? rows : f->slice;
    hyb_cuda_product p;
    int64_t first;
    memset(&p, 0, sizeof p);
    p.x = f->x;
    p.ldx = p.ldw = f->k_pad;
    p.n = f->n;
    p.k = (int)f->k_pad;
    p.add_stride = o->add_stride;
    p.y_stride = o->y_stride;
    for (first = 0; first < rows; first += slice) {
        p.out = (int)HYB_MIN(slice, rows - first);
        p.w = ready ? ready : f->w;
        p.bias = o->bias ? o->bias + first : NULL;
        p.add = o->add ? o->add + first : NULL;
        p.y = o->y + first;
        if (!ready)
            hyb_cuda_format_round(f, false, hyb_cuda_format_rows(o->w, first), (int64_t)(o->w->nb[1] / sizeof(float)),
                                  p.out, f->k, f->w, f->k_pad);
        hyb_cuda_tensor_cores(f->q, f->bf16, &p);
    }
}

/* dx (n, k) = or += dy W, of some rows of W. */
static void hyb_cuda_format_dx(const hyb_cuda_format *f, const hyb_matmul_dy *o, int64_t first, int64_t rows, float *dx,
                               int64_t dx_stride, bool add)
{
    const uint16_t *ready = f->blas ? hyb_cuda_format_ready(f, o->w) : NULL;
    const int64_t rows_pad = hyb_cuda_pad(rows);
    hyb_cuda_product p;
    hyb_cuda_product_back b;
    hyb_cuda_format_round(f, false, o->dy + first, o->dy_stride, f->n, rows, f->dy, rows_pad);
    if (!ready)
        hyb_cuda_format_round(f, !f->blas, hyb_cuda_format_rows(o->w, first), (int64_t)(o->w->nb[1] / sizeof(float)),
                              rows, f->k, f->w, f->blas ? f->k_pad : rows_pad);
    if (f->blas) {
        memset(&b, 0, sizeof b);
        b.a = (const float *)(const void *)f->dy;
        b.b = (const float *)(const void *)(ready ? ready + first * f->k : f->w);
        b.c = dx;
        b.a_m = rows_pad;
        b.a_p = 1;
        b.b_p = f->k_pad;
        b.c_m = dx_stride;
        b.m = f->n;
        b.n = (int32_t)f->k;
        b.p = (int32_t)rows;
        b.add = add;
        hyb_cuda_gemm_back(f->q, f->bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_16F, &b);
        return;
    }
    memset(&p, 0, sizeof p);
    p.x = f->dy;
    p.w = f->w;
    p.ldx = p.ldw = rows_pad;
    p.n = f->n;
    p.out = (int)f->k;
    p.k = (int)rows_pad;
    p.add = add ? dx : NULL;
    p.y = dx;
    p.add_stride = p.y_stride = dx_stride;
    hyb_cuda_tensor_cores(f->q, f->bf16, &p);
}

/* Some rows of dw (out, k) += dy^T x; x is rounded, and turned where own kernels want it. */
static void hyb_cuda_format_dw(const hyb_cuda_format *f, const hyb_matmul_dw *o, int64_t first, int64_t rows)
{
    const int64_t ld = f->blas ? hyb_cuda_pad(rows) : f->n_pad;
    float *dw = o->dw + first * f->k;
    hyb_cuda_product p;
    hyb_cuda_product_back b;
    hyb_cuda_format_round(f, !f->blas, o->dy + first, o->dy_stride, f->n, rows, f->dy, ld);
    if (f->blas) {
        memset(&b, 0, sizeof b);
        b.a = (const float *)(const void *)f->dy;
        b.b = (const float *)(const void *)f->x;
        b.c = dw;
        b.a_m = 1;
        b.a_p = ld;
        b.b_p = f->k_pad;
        b.c_m = f->k;
        b.m = (int32_t)rows;
        b.n = (int32_t)f->k;
        b.p = f->n;
        b.add = 1;
        hyb_cuda_gemm_back(f->q, f->bf16 ? HYB_CUDA_R_16BF : HYB_CUDA_R_16F, &b);
        return;
    }
    memset(&p, 0, sizeof p);
    p.x = f->dy;
    p.w = f->x;
    p.ldx = p.ldw = f->n_pad;
    p.n = (int)rows;
    p.out = (int)f->k;
    p.k = (int)f->n_pad;
    p.add = p.y = dw;
    p.add_stride = p.y_stride = f->k;
    hyb_cuda_tensor_cores(f->q, f->bf16, &p);
}

static bool hyb_cuda_format_is(const hyb_op_matmul *op)
{
    int i;
    if (!op->in_chunks || op->rounding.type == HYBRID_TYPE_F32) return false;
    for (i = 0; i < op->n_out; i++)
        if (op->out[i].w->type != HYBRID_TYPE_F32) return false;
    return true;
}

static void hyb_cuda_op_matmul(hyb_cuda_at *at, const hyb_op_matmul *op)
{
    hyb_cuda_format f;
    int i;
    if (!hyb_cuda_format_is(op)) {
        hyb_cuda_matmul(at->q, op, at->scratch, at->scratch_bytes);
        return;
    }
    for (i = 0; i < op->n_out && op->n > 0; i++) {
        hyb_cuda_format_begin(&f, at, &op->rounding, op->n, op->out[0].w->ne[0], op->out[i].w->ne[1]);
        if (!i) hyb_cuda_format_round(&f, false, op->x, op->x_stride, f.n, f.k, f.x, f.k_pad);
        hyb_cuda_format_y(&f, &op->out[i]);
    }
}

/* ---- gradients --------------------------------------------------------------------------------------------------- */

/* Bytes of scratch of matmul_back_x: rows of W as floats, all of them or a slice. */
static size_t hyb_cuda_back_scratch(hybrid_type type, int64_t k, int64_t out)
{
    const size_t row = (size_t)k * sizeof(float);
    if (type == HYBRID_TYPE_F32) return 0;
    return HYB_MIN((size_t)out, HYB_MAX((size_t)HYB_CUDA_SLICE / row, 1)) * row;
}

static void hyb_cuda_product_by_any(hyb_cuda_queue *q, const hyb_cuda_product_back *o)
{
    hyb_cuda_product_back copy = *o;
    void *args[1];
    if (hyb_cuda_gemm_back(q, HYB_CUDA_R_32F, o)) return;
    args[0] = &copy;
    hyb_cuda_grid(q, HYB_MODULE_GEMM_BACK, 0, (o->m + 63) / 64, (o->n + 63) / 64, 256, args);
}

/* dx (n, k) = or += dy (n, out) . w (out, k); w of any type, F32 from where it lies. */
static void hyb_cuda_back_x(hyb_cuda_at *at, const hyb_op_matmul_back_x *op, const hyb_matmul_dy *o, bool add)
{
    const hyb_tensor *w = o->w;
    const bool f32 = w->type == HYBRID_TYPE_F32;
    const int64_t k = w->ne[0], slice = f32 ? w->ne[1] : hyb_cuda_decoded_rows(w, at->scratch_bytes);
    hyb_cuda_product_back p;
    int64_t first;
    p.m = op->n;
    p.n = (int32_t)k;
    p.a_m = o->dy_stride;
    p.a_p = 1;
    p.b_p = k;
    p.c = op->dx;
    p.c_m = op->dx_stride;
    for (first = 0; first < w->ne[1]; first += slice) {
        p.p = (int32_t)HYB_MIN(slice, w->ne[1] - first);
        p.a = o->dy + first;
        p.b = f32 ? (const float *)w->data : (const float *)(void *)at->scratch;
        p.add = add || first;
        if (!f32) hyb_cuda_decode(at->q, w, first, p.p, (float *)(void *)at->scratch);
        hyb_cuda_product_by_any(at->q, &p);
    }
}
static void hyb_cuda_op_matmul_back_x(hyb_cuda_at *at, const hyb_op_matmul_back_x *op)
{
    hyb_cuda_format f;
    int64_t first;
    int i;
    for (i = 0; i < op->n_out && op->n > 0; i++) {
        const hyb_matmul_dy *o = &op->out[i];
        if (op->rounding.type == HYBRID_TYPE_F32 || o->w->type != HYBRID_TYPE_F32) {
            hyb_cuda_back_x(at, op, o, i > 0);
            continue;
        }
        hyb_cuda_format_begin(&f, at, &op->rounding, op->n, o->w->ne[0], o->w->ne[1]);
        for (first = 0; first < o->w->ne[1]; first += f.slice)
            hyb_cuda_format_dx(&f, o, first, HYB_MIN(f.slice, o->w->ne[1] - first), op->dx, op->dx_stride,
                               i > 0 || first > 0);
    }
}

/* dw += dy^T x in float32. */
static void hyb_cuda_back_w(hyb_cuda_at *at, const hyb_op_matmul_back_w *op, const hyb_matmul_dw *o)
{
    hyb_cuda_product_back p;
    p.m = (int32_t)o->n;
    p.n = (int32_t)op->k;
    p.p = op->n;
    p.a = o->dy;
    p.a_m = 1;
    p.a_p = o->dy_stride;
    p.b = op->x;
    p.b_p = op->x_stride;
    p.c = o->dw;
    p.c_m = op->k;
    p.add = 1;
    hyb_cuda_product_by_any(at->q, &p);
}

static void hyb_cuda_op_matmul_back_w(hyb_cuda_at *at, const hyb_op_matmul_back_w *op)
{
    const bool rounds = op->rounding.type != HYBRID_TYPE_F32;
    bool x_is_there = false;
    hyb_cuda_format f;
    int64_t first;
    int i;
    for (i = 0; i < op->n_out && op->n > 0; i++) {
        const hyb_matmul_dw *o = &op->out[i];
        if (o->dw && !rounds) hyb_cuda_back_w(at, op, o);
        if (o->dw && rounds) {
            hyb_cuda_format_begin(&f, at, &op->rounding, op->n, op->k, o->n);
            if (!x_is_there)
                hyb_cuda_format_round(&f, !f.blas, op->x, op->x_stride, f.n, f.k, f.x, f.blas ? f.k_pad : f.n_pad);
            x_is_there = true;
            for (first = 0; first < o->n; first += f.slice)
                hyb_cuda_format_dw(&f, o, first, HYB_MIN(f.slice, o->n - first));
        }
        if (o->dbias) hyb_cuda_sum_rows(at, o->dy, o->dy_stride, op->n, o->n, o->dbias);
    }
}
#endif
/* ==== end src/cuda/ops_matmul_back.c ==== */

/* ==== begin src/cuda/ops_recurrent.c ==== */
/* cuda/ops_recurrent: the ops of layers that keep a state of a sequence from row to row, in slots, and their gradients.
 * Kernels find the slots in the table of runs, so that a recorded pass can be replayed for other sequences. */

#define HYB_CUDA_KERNELS_RECURRENT(X) X(shift) X(shortconv) X(wkv7_32) X(wkv7_64) X(wkv7_128)
#define HYB_CUDA_KERNELS_RECURRENT_BACK(X) \
    X(shift_back) X(shift_back_w) X(shortconv_back) X(shortconv_back_w) X(wkv7_back) X(wkv7_back_w)
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_RECURRENT(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_RECURRENT };
enum { HYB_CUDA_KERNELS_RECURRENT_BACK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_RECURRENT_BACK };
#undef HYB_KERNEL_NUMBER

static void hyb_cuda_op_shift(hyb_cuda_at *at, const hyb_op_shift *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_op_shift o = *op;
    const int32_t *run_of_row = batch->run_of_row, *runs = batch->runs;
    int32_t n = (int32_t)op->n_embd;
    void *args[10];
    args[0] = &o.x;
    args[1] = &o.mix;
    args[2] = &o.n_mix;
    args[3] = &n;
    args[4] = &o.slots.data;
    args[5] = &o.slots.stride;
    args[6] = &o.out;
    args[7] = &o.plane;
    args[8] = &run_of_row;
    args[9] = &runs;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT, HYB_KERNEL_shift, hyb_div_up(n, 256), batch->n, 1, 256, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
static void hyb_cuda_op_shift_back(hyb_cuda_at *at, const hyb_op_shift_back *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_op_shift_back o = *op;
    const int32_t *run_of_row = batch->run_of_row, *runs = batch->runs;
    int32_t n = (int32_t)op->n_embd, rows = batch->n;
    void *args[8];
    args[0] = &o.mix;
    args[1] = &o.n_mix;
    args[2] = &n;
    args[3] = &o.dout;
    args[4] = &o.plane;
    args[5] = &o.dx;
    args[6] = &run_of_row;
    args[7] = &runs;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shift_back, hyb_div_up(n, 256), rows, 1, 256, 1, 0,
                     args);
    if (!op->dmix) return;
    args[0] = &o.x;
    args[1] = &n;
    args[2] = &rows;
    args[5] = &o.dmix;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shift_back_w, hyb_div_up(n, 32), op->n_mix, 1, 32, 32,
                     0, args);
}
#endif

/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_conv_args {
    const float *bcx, *w;
    float *slots, *out;
    const int32_t *run_of_row, *runs;
    int64_t stride, slot_stride, out_stride;
    int32_t n, taps;
} hyb_cuda_conv_args;

static void hyb_cuda_op_shortconv(hyb_cuda_at *at, const hyb_op_shortconv *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_conv_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.bcx = op->bcx;
    a.w = op->w;
    a.slots = op->slots.data;
    a.out = op->out;
    a.run_of_row = batch->run_of_row;
    a.runs = batch->runs;
    a.stride = op->bcx_stride;
    a.slot_stride = op->slots.stride;
    a.out_stride = op->out_stride;
    a.n = (int32_t)op->n_embd;
    a.taps = op->n_taps;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT, HYB_KERNEL_shortconv, hyb_div_up(a.n, 256), batch->n, 1, 256, 1, 0,
                     args);
}

#ifndef HYBRID_NO_TRAIN
/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_conv_back_args {
    const float *bcx, *w, *dout;
    float *dbcx, *dw;
    const int32_t *run_of_row, *runs;
    int64_t stride, dout_stride, dbcx_stride;
    int32_t n, taps, rows;
} hyb_cuda_conv_back_args;

static void hyb_cuda_op_shortconv_back(hyb_cuda_at *at, const hyb_op_shortconv_back *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_conv_back_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.bcx = op->bcx;
    a.w = op->w;
    a.dout = op->dout;
    a.dbcx = op->dbcx;
    a.dw = op->dw;
    a.run_of_row = batch->run_of_row;
    a.runs = batch->runs;
    a.stride = op->bcx_stride;
    a.dout_stride = op->dout_stride;
    a.dbcx_stride = op->dbcx_stride;
    a.n = (int32_t)op->n_embd;
    a.taps = op->n_taps;
    a.rows = batch->n;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shortconv_back, hyb_div_up(a.n, 256), batch->n, 1,
                     256, 1, 0, args);
    if (op->dw)
        hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_shortconv_back_w, hyb_div_up(a.n, 32), a.taps, 1,
                         32, 32, 0, args);
}
#endif

/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_wkv7_args {
    const float *r, *k, *v, *decay, *rate, *value_gate, *gate, *v_first;
    const float *k_k, *k_a, *r_k, *ln_w, *ln_b;
    float *slots, *out;
    const int32_t *runs;
    int64_t stride, v_first_stride, out_stride, slot_stride;
    int32_t size;
    float eps;
} hyb_cuda_wkv7_args;

static void hyb_cuda_wkv7_set(hyb_cuda_wkv7_args *a, const hyb_cuda_at *at, const hyb_op_wkv7 *op)
{
    memset(a, 0, sizeof *a);
    a->r = op->r;
    a->k = op->k;
    a->v = op->v;
    a->decay = op->decay;
    a->rate = op->rate;
    a->value_gate = op->value_gate;
    a->gate = op->gate;
    a->v_first = op->v_first;
    a->k_k = op->k_k;
    a->k_a = op->k_a;
    a->r_k = op->r_k;
    a->ln_w = op->ln_w;
    a->ln_b = op->ln_b;
    a->slots = op->slots.data;
    a->out = op->out;
    a->runs = at->batch.runs;
    a->stride = op->stride;
    a->v_first_stride = op->v_first_stride;
    a->out_stride = op->out_stride;
    a->slot_stride = op->slots.stride;
    a->size = op->size;
    a->eps = op->eps;
}

static void hyb_cuda_op_wkv7(hyb_cuda_at *at, const hyb_op_wkv7 *op)
{
    const int kernel = op->size <= 32 ? HYB_KERNEL_wkv7_32 : op->size <= 64 ? HYB_KERNEL_wkv7_64 : HYB_KERNEL_wkv7_128;
    const unsigned threads = op->size <= 32 ? 32 : op->size <= 64 ? 64 : HYB_WKV_SIZE_MAX;
    hyb_cuda_wkv7_args a;
    void *args[1];
    hyb_cuda_wkv7_set(&a, at, op);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT, kernel, op->n_head, at->batch.n_runs, 1, threads, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
/* As in kernels/recurrent.cu. */
typedef struct hyb_cuda_wkv7_back_args {
    hyb_cuda_wkv7_args of;
    const float *dout;
    int64_t dout_stride;
    float *dr, *dk, *dv, *ddecay, *drate, *dvalue_gate, *dgate, *dv_first;
    float *kept, *states, *parts;
} hyb_cuda_wkv7_back_args;
enum {
    HYB_CUDA_WKV_STATES = HYB_WKV_BACK_ROWS + 2,
    HYB_CUDA_WKV_WEIGHTS = 5 /* kinds of weights that have gradients */
};

/* Floats of scratch: matrices that are kept of all rows; those of the rows that are worked on; gradients of runs. */
static size_t hyb_cuda_wkv7_back_kept(int n_head, int size, int n_rows, int n_runs)
{
    return (size_t)n_head * (size_t)size * (size_t)size * (size_t)(n_rows / HYB_WKV_BACK_ROWS + n_runs);
}
static size_t hyb_cuda_wkv7_back_states(int n_head, int size, int n_runs)
{
    return (size_t)n_head * (size_t)size * (size_t)size * HYB_CUDA_WKV_STATES * (size_t)n_runs;
}
static size_t hyb_cuda_wkv7_back_scratch(int n_head, int size, int n_rows, int n_runs)
{
    return (hyb_cuda_wkv7_back_kept(n_head, size, n_rows, n_runs) + hyb_cuda_wkv7_back_states(n_head, size, n_runs) +
            (size_t)n_runs * HYB_CUDA_WKV_WEIGHTS * (size_t)n_head * (size_t)size) *
           sizeof(float);
}

static void hyb_cuda_wkv7_back_weights(hyb_cuda_at *at, const hyb_op_wkv7_back *op, float *parts)
{
    hyb_op_wkv7_back o = *op;
    int32_t n_runs = at->batch.n_runs, n = op->of.n_head * op->of.size;
    void *args[8];
    args[0] = &parts;
    args[1] = &n_runs;
    args[2] = &n;
    args[3] = &o.dk_k;
    args[4] = &o.dk_a;
    args[5] = &o.dr_k;
    args[6] = &o.dln_w;
    args[7] = &o.dln_b;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_wkv7_back_w, hyb_div_up(n, 256), HYB_CUDA_WKV_WEIGHTS,
                     1, 256, 1, 0, args);
}

/* In hyb_cuda_wkv7_back_scratch of the scratch. */
static void hyb_cuda_op_wkv7_back(hyb_cuda_at *at, const hyb_op_wkv7_back *op)
{
    const hyb_op_wkv7 *of = &op->of;
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_wkv7_back_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    hyb_cuda_wkv7_set(&a.of, at, of);
    a.dout = op->dout;
    a.dout_stride = op->dout_stride;
    a.dr = op->dr;
    a.dk = op->dk;
    a.dv = op->dv;
    a.ddecay = op->ddecay;
    a.drate = op->drate;
    a.dvalue_gate = op->dvalue_gate;
    a.dgate = op->dgate;
    a.dv_first = op->dv_first;
    a.kept = (float *)(void *)at->scratch;
    a.states = a.kept + hyb_cuda_wkv7_back_kept(of->n_head, of->size, batch->n, batch->n_runs);
    if (op->dk_k) a.parts = a.states + hyb_cuda_wkv7_back_states(of->n_head, of->size, batch->n_runs);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RECURRENT_BACK, HYB_KERNEL_wkv7_back, of->n_head, batch->n_runs, 1, 256, 1, 0,
                     args);
    if (op->dk_k) hyb_cuda_wkv7_back_weights(at, op, a.parts);
}
#endif
/* ==== end src/cuda/ops_recurrent.c ==== */

/* ==== begin src/cuda/ops_attention.c ==== */
/* cuda/ops_attention: which kernel of attention takes which rows.
 *
 * Rows of short runs (decoding, above all) are split: blocks share the cache of a row, and the last one joins their
 * parts. Long runs go in tiles. F16 and Q8_0 caches of the usual head sizes go to tensor cores, the rest to
 * attention_any in float32. */

enum { HYB_CUDA_TILE = 64, HYB_CUDA_SPLIT_PAGES = 4, HYB_CUDA_SPLIT_MAX = 64 };

/* How a context splits; fixed for its life, so that results depend on a row's own sequence alone. */
typedef struct hyb_cuda_split {
    int few; /* runs of at most so many rows are split */
    int max_rows, max_splits;
} hyb_cuda_split;

static hyb_cuda_split hyb_cuda_split_plan(int n_seq, int n_rows, int n_head_kv, int max_length)
{
    const int pages = (max_length + HYB_PAGE - 1) / HYB_PAGE;
    hyb_cuda_split s;
    s.few = HYB_MAX(HYB_MIN(64 / n_seq, 8), 1);
    s.max_rows = (int)HYB_MAX(HYB_MIN((int64_t)n_seq * s.few, n_rows), 1);
    /* 256 blocks keep any GPU busy */
    s.max_splits = HYB_MAX(HYB_MIN(2048 / s.max_rows, 256 / HYB_MAX(n_head_kv, 1)), 8);
    s.max_splits = HYB_MIN(s.max_splits, (int)HYB_CUDA_SPLIT_MAX);
    s.max_splits = HYB_MIN(s.max_splits, (pages + HYB_CUDA_SPLIT_PAGES - 1) / HYB_CUDA_SPLIT_PAGES);
    return s;
}

/* How many counters of blocks stand before the parts. */
static size_t hyb_cuda_done_count(int max_rows, int n_head) { return hyb_align((size_t)max_rows * (size_t)n_head, 64); }

/* Bytes of hyb_cuda_batch.parts. They must be zero before the first use. */
static size_t hyb_cuda_split_bytes(const hyb_cuda_split *s, int n_head, int head_dim_v)
{
    const size_t parts =
        (size_t)s->max_rows * (size_t)n_head * (size_t)s->max_splits * (4 + hyb_align((size_t)head_dim_v, 64));
    return (hyb_cuda_done_count(s->max_rows, n_head) + parts) * sizeof(float);
}

/* Tiles of a batch of n_rows rows in n_runs runs, at most. */
static size_t hyb_cuda_tiles_max(int n_rows, int n_runs) { return (size_t)n_rows / HYB_CUDA_TILE + (size_t)n_runs; }

/* For begin(): fills the host's copies of run_of_row (n), tiles, split_rows and runs, and the numbers of b. */
static void hyb_cuda_batch_fill(hyb_cuda_batch *b, const hyb_cuda_split *s, const hyb_batch *batch, int32_t *run_of_row,
                                int32_t *tiles, int32_t *split_rows, int32_t *runs)
{
    int32_t i, r, length = 0;
    b->n = batch->n;
    b->n_out = batch->n_out;
    b->n_runs = batch->n_runs;
    b->n_tiles = b->n_split = 0;
    b->max_splits = s->max_splits;
    b->max_rows = s->max_rows;
    for (i = 0; i < batch->n_runs; i++) {
        const hyb_run *run = &batch->runs[i];
        runs[4 * i] = run->first_row;
        runs[4 * i + 1] = run->n_rows;
        runs[4 * i + 2] = run->slot_in;
        runs[4 * i + 3] = run->slot_out;
        length = HYB_MAX(length, run->pos + run->n_rows);
        for (r = 0; r < run->n_rows; r++) run_of_row[run->first_row + r] = i;
        if (run->n_rows <= s->few && b->n_split + run->n_rows <= s->max_rows)
            for (r = 0; r < run->n_rows; r++) split_rows[b->n_split++] = run->first_row + r;
        else
            for (r = 0; r < run->n_rows; r += HYB_CUDA_TILE, tiles += 4, b->n_tiles++) {
                tiles[0] = run->first_row + r;
                tiles[1] = HYB_MIN(run->n_rows - r, (int32_t)HYB_CUDA_TILE);
                tiles[2] = i;
                tiles[3] = 0;
            }
    }
    for (b->max_length_class = 256; b->max_length_class < length && b->max_length_class < 1 << 30;
         b->max_length_class *= 2) {}
}

/* As in kernels/attention_args.cu. */
typedef struct hyb_cuda_attention_args {
    const float *q;
    float *out;
    const char *k, *v;
    const float *sinks;
    float *parts;
    int32_t *done;
    const int32_t *pos, *run_of_row, *pages, *rows;
    int64_t q_stride, out_stride, page_bytes_k, page_bytes_v;
    int32_t n_head, n_head_kv, pages_a_seq, window, max_splits;
    float scale, softcap;
    int32_t head_dim_k, head_dim_v, row_bytes_k, row_bytes_v, type, split;
} hyb_cuda_attention_args;

static void hyb_cuda_attention_set(hyb_cuda_attention_args *a, const hyb_cuda_batch *batch, const hyb_op_attention *op)
{
    const hyb_kv_view *kv = op->kv;
    memset(a, 0, sizeof *a);
    a->q = op->q;
    a->q_stride = op->q_stride;
    a->out = op->out;
    a->out_stride = op->out_stride;
    a->k = kv->k;
    a->page_bytes_k = (int64_t)kv->page_bytes_k;
    a->row_bytes_k = (int32_t)kv->row_bytes_k;
    a->head_dim_k = kv->head_dim_k;
    a->v = kv->v;
    a->page_bytes_v = (int64_t)kv->page_bytes_v;
    a->row_bytes_v = (int32_t)kv->row_bytes_v;
    a->head_dim_v = kv->head_dim_v;
    a->type = hyb_cuda_kv_type(kv->type);
    a->n_head = op->n_head;
    a->n_head_kv = kv->n_head_kv;
    a->scale = op->scale;
    a->softcap = op->softcap;
    a->window = op->window;
    a->sinks = op->sinks;
    a->pos = batch->pos;
    a->run_of_row = batch->run_of_row;
    a->pages = batch->pages;
    a->pages_a_seq = batch->pages_a_seq;
    a->done = (int32_t *)(void *)batch->parts;
    a->parts = batch->parts + hyb_cuda_done_count(batch->max_rows, op->n_head);
    a->max_splits = batch->max_splits;
}

/* The module of tensor-core kernels for this cache, or that of attention_any. */
static int hyb_cuda_attention_choose(const hyb_op_attention *op)
{
    const hyb_kv_view *kv = op->kv;
    int module =
        kv->head_dim_k == kv->head_dim_v ? hyb_cuda_attention_module(hyb_cuda_kv_type(kv->type), kv->head_dim_k) : -1;
    bool aligned = hyb_cuda_by_4(op->q, op->q_stride) && hyb_cuda_by_4(op->out, op->out_stride) &&
                   hyb_cuda_by_4(kv->k, (int64_t)kv->page_bytes_k / 4) &&
                   hyb_cuda_by_4(kv->v, (int64_t)kv->page_bytes_v / 4);
    return module >= 0 && aligned ? module : HYB_MODULE_ATTENTION_ANY;
}

enum { HYB_CUDA_ATTENTION_FEW, HYB_CUDA_ATTENTION_MANY }; /* kernels of a module; attention_any is both */

static unsigned hyb_cuda_attention_any_shared(int head_dim_k, int head_dim_v)
{
    const unsigned k = (unsigned)(head_dim_k + 3) / 4 * 4, v = (unsigned)head_dim_v;
    return 4 * HYB_MAX(16 * k + 16 * HYB_PAGE + HYB_PAGE * HYB_MAX(k + 4, v), 16 * (unsigned)HYB_CUDA_SPLIT_MAX);
}

/* Whether there is a kernel: attention_any takes every type of cache. shared: bytes that a block may have. */
static bool hyb_cuda_attends(int head_dim_k, int head_dim_v, unsigned shared)
{
    /* 256: DIMS of attention_any.cu */
    return head_dim_v <= 256 && hyb_cuda_attention_any_shared(head_dim_k, head_dim_v) <= shared;
}

/* Rows of short runs: the grid is as large as the length class may ask for; blocks after the end of a row leave. */
static void hyb_cuda_attention_split(hyb_cuda_queue *q, const hyb_cuda_batch *batch, const hyb_op_attention *op,
                                     int module, hyb_cuda_attention_args *a)
{
    const bool any = module == HYB_MODULE_ATTENTION_ANY;
    const int group = op->n_head / op->kv->n_head_kv, queries = any ? 16 : 8;
    int64_t pages = batch->max_length_class / HYB_PAGE, splits;
    void *args[1];
    args[0] = a;
    if (op->window > 0) pages = HYB_MIN(pages, (int64_t)op->window / HYB_PAGE + 2);
    splits = HYB_MIN(hyb_div_up(pages, HYB_CUDA_SPLIT_PAGES), batch->max_splits);
    a->rows = batch->split_rows;
    a->split = 1;
    hyb_cuda_launch3(q, module, HYB_CUDA_ATTENTION_FEW, splits, op->kv->n_head_kv * hyb_div_up(group, queries),
                     batch->n_split, 128, 1,
                     any ? hyb_cuda_attention_any_shared(op->kv->head_dim_k, op->kv->head_dim_v) : 0, args);
}

static void hyb_cuda_attention_tiles(hyb_cuda_queue *q, const hyb_cuda_batch *batch, const hyb_op_attention *op,
                                     int module, hyb_cuda_attention_args *a)
{
    const int dim = op->kv->head_dim_k, keys = dim > 128 ? 32 : 64;
    /* K, V, and q of large heads */
    const unsigned shared = (unsigned)((2 * keys + (dim > 128 ? HYB_CUDA_TILE : 0)) * (dim + 8) * 2);
    void *args[1];
    args[0] = a;
    a->rows = batch->tiles;
    a->split = 0;
    if (module != HYB_MODULE_ATTENTION_ANY && shared <= q->cu->shared_optin)
        hyb_cuda_launch3(q, module, HYB_CUDA_ATTENTION_MANY, batch->n_tiles, op->n_head, 1, 128, 1, shared, args);
    else
        hyb_cuda_launch3(q, HYB_MODULE_ATTENTION_ANY, HYB_CUDA_ATTENTION_FEW, batch->n_tiles, 4 * (int64_t)op->n_head,
                         1, 128, 1, hyb_cuda_attention_any_shared(op->kv->head_dim_k, op->kv->head_dim_v), args);
}

static void hyb_cuda_op_attention(hyb_cuda_at *at, const hyb_op_attention *op)
{
    const hyb_cuda_batch *batch = &at->batch;
    hyb_cuda_attention_args a;
    const int module = hyb_cuda_attention_choose(op);
    hyb_cuda_attention_set(&a, batch, op);
    if (batch->n_split) hyb_cuda_attention_split(at->q, batch, op, module, &a);
    if (batch->n_tiles) hyb_cuda_attention_tiles(at->q, batch, op, module, &a);
}

#ifndef HYBRID_NO_TRAIN
/* ---- gradients --------------------------------------------------------------------------------------------------- */

/* As in kernels/attention_any.cu. */
typedef struct hyb_cuda_attention_back_args {
    const float *q, *out, *dout;
    const char *k, *v;
    float *dq, *dk, *dv;
    const float *sinks;
    float *sink_rows;
    void *stats;
    const int32_t *runs, *pages;
    int64_t q_stride, out_stride, stride, page_bytes_k, page_bytes_v;
    int32_t n, n_head, n_head_kv, pages_a_seq, window;
    float scale, softcap;
    int32_t dim_k, dim_v, row_bytes_k, row_bytes_v, type;
} hyb_cuda_attention_back_args;

/* Bytes of scratch: four floats a row and head. */
static size_t hyb_cuda_attention_back_scratch(int n_rows, int n_head)
{
    return (size_t)n_rows * (size_t)n_head * 4 * sizeof(float);
}

/* Shared memory of a block of the queries' kernel; that of the keys' needs less. */
static unsigned hyb_cuda_attention_back_shared(int head_dim_k, int head_dim_v)
{
    const unsigned k = (unsigned)(head_dim_k + 3) / 4 * 4, v = (unsigned)(head_dim_v + 3) / 4 * 4;
    return 4 * (16 * (k + v) + HYB_PAGE * (k + v + 8) + 16 * HYB_PAGE);
}
static bool hyb_cuda_attends_back(int head_dim_k, int head_dim_v, unsigned shared)
{
    return head_dim_k <= 256 && head_dim_v <= 256 && hyb_cuda_attention_back_shared(head_dim_k, head_dim_v) <= shared;
}

static void hyb_cuda_attention_back_set(hyb_cuda_attention_back_args *a, const hyb_cuda_at *at,
                                        const hyb_op_attention_back *op)
{
    const hyb_kv_view *kv = op->kv;
    memset(a, 0, sizeof *a);
    a->q = op->q;
    a->q_stride = op->q_stride;
    a->out = op->out;
    a->dout = op->dout;
    a->out_stride = op->out_stride;
    a->dq = op->dq;
    a->dk = op->dk;
    a->dv = op->dv;
    a->stride = op->stride;
    a->k = kv->k;
    a->page_bytes_k = (int64_t)kv->page_bytes_k;
    a->row_bytes_k = (int32_t)kv->row_bytes_k;
    a->dim_k = kv->head_dim_k;
    a->v = kv->v;
    a->page_bytes_v = (int64_t)kv->page_bytes_v;
    a->row_bytes_v = (int32_t)kv->row_bytes_v;
    a->dim_v = kv->head_dim_v;
    a->type = hyb_cuda_kv_type(kv->type);
    a->n_head = op->n_head;
    a->n_head_kv = kv->n_head_kv;
    a->scale = op->scale;
    a->softcap = op->softcap;
    a->window = op->window;
    a->sinks = op->sinks;
    a->sink_rows = op->sink_rows;
    a->stats = at->scratch;
    a->runs = at->batch.runs;
    a->pages = at->batch.pages;
    a->pages_a_seq = at->batch.pages_a_seq;
    a->n = at->batch.n;
}

static void hyb_cuda_op_attention_back(hyb_cuda_at *at, const hyb_op_attention_back *op)
{
    const hyb_kv_view *kv = op->kv;
    const int64_t rows = HYB_MIN(at->batch.max_length_class, at->batch.n); /* of the longest run, at least */
    hyb_cuda_attention_back_args a;
    void *args[1];
    hyb_cuda_attention_back_set(&a, at, op);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_ATTENTION_BACK, 0, hyb_div_up(rows, 16), op->n_head, at->batch.n_runs, 128, 1,
                     hyb_cuda_attention_back_shared(kv->head_dim_k, kv->head_dim_v), args);
    hyb_cuda_launch3(at->q, HYB_MODULE_ATTENTION_BACK, 1, hyb_div_up(rows, HYB_PAGE), kv->n_head_kv, at->batch.n_runs,
                     256, 1, hyb_cuda_attention_back_shared(kv->head_dim_k, kv->head_dim_v), args);
    if (op->sinks) hyb_cuda_sum_rows(at, op->sink_rows, op->n_head, at->batch.n, op->n_head, op->dsinks);
}
#endif
/* ==== end src/cuda/ops_attention.c ==== */

/* ==== begin src/cuda/ops_experts.c ==== */
/* cuda/ops_experts: mixtures of experts: the choice of experts for each row, products with the matrices of the chosen
 * ones, and the weighted sum.
 *
 * Only the device knows which experts were chosen: nothing waits for the host, and a decode step with experts is
 * captured like any other. Two ways:
 *
 *   few rows                for every (row, chosen expert) a product of matvec.cu, which reads
 *                           the expert's number itself; W is read once for each pair
 *   more                    the pairs are sorted by expert (experts.cu), and tiles of up to 8,
 *                           32 or 64 pairs of one expert go through kernels that take their tile from a map in device
 *                           memory. The grid is as large as the map can become; what is after its end leaves at once
 *       quantized           matbatch.cu: bytes, integer tensor cores; x is quantized in sorted order
 *       F16, BF16           gemm.cu: tensor cores; x as 16-bit floats, read from where it is
 *       F32, unaligned rows gemm_f32.cu: float32
 *
 * A pair's result does not depend on the other pairs of the batch, nor on where sorting has put it, only on which of
 * the two ways is taken. */

#define HYB_CUDA_KERNELS_EXPERTS(X)           X(route) X(sort_by_expert)
#define HYB_CUDA_KERNELS_EXPERTS_BACK(X)      X(route_back) X(weigh) X(sum_choices) X(order_choices)
#define HYB_CUDA_KERNELS_EXPERTS_GEMM_BACK(X) X(experts_back_x) X(experts_back_w)
#define HYB_KERNEL_NUMBER(name_)              HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_EXPERTS(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_EXPERTS };
enum { HYB_CUDA_KERNELS_EXPERTS_BACK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_EXPERTS_BACK };
enum { HYB_CUDA_KERNELS_EXPERTS_GEMM_BACK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_EXPERTS_GEMM_BACK };
#undef HYB_KERNEL_NUMBER
enum { HYB_KERNEL_TENSOR_64, HYB_KERNEL_TENSOR_32 }; /* of the modules experts_tensor */
enum { HYB_CUDA_PLACES = 8 };                        /* an expert's rows begin at a multiple: PLACES of experts.cu */

/* From the kernels' structure `sorted`: the map's tiles, and the order of the pairs. share: rows of y that read one row
 * of x. */
typedef struct hyb_cuda_sorted {
    const void *map;
    const int32_t *order, *total;
    int32_t share;
} hyb_cuda_sorted;

typedef struct hyb_cuda_experts_job {
    hyb_cuda_queue *q;
    const hyb_op_experts *op;
    int64_t n_pairs, n_expert, k;
    int share;
    int tile;                      /* of the map in the scratch; 0: there is none yet */
    char *map, *order, *total, *x; /* scratch */
    hyb_cuda_x form;               /* of x there */
} hyb_cuda_experts_job;

/* ---- sizes: follow from the numbers of rows and experts, not from what is chosen --------------------------------- */

/* So few pairs that hardly two of them ask for the same expert. */
static bool hyb_cuda_experts_few(int64_t n, int64_t n_used, int64_t n_expert)
{
    return n == 1 || 2 * n * n_used <= n_expert;
}

/* Places in sorted order, and tiles of them, for the worst choice. */
static int64_t hyb_cuda_experts_places(int64_t n_pairs, int64_t n_expert)
{
    return (n_pairs + (HYB_CUDA_PLACES - 1) * HYB_MIN(n_pairs, n_expert)) / HYB_CUDA_PLACES * HYB_CUDA_PLACES;
}
static int64_t hyb_cuda_experts_tiles(int64_t n_pairs, int64_t n_expert, int tile)
{
    return (n_pairs + (tile - 1) * HYB_MIN(n_pairs, n_expert)) / tile;
}

/* Pairs of a tile: small ones while most experts have only a few. Tensor cores take floats as they lie in the file
 * or not at all. */
static int hyb_cuda_experts_tile(hybrid_type type, int64_t k, int64_t n_pairs, int64_t n_expert, int cc)
{
    if (!hyb_cuda_is_float(type)) return n_pairs <= 8 * n_expert ? 8 : 64;
    if (hyb_cuda_as_it_is(type, k, cc)) return n_pairs <= 32 * n_expert ? 32 : 64;
    return 64;
}

static size_t hyb_cuda_experts_map_bytes(int64_t n_pairs, int64_t n_expert)
{
    return hyb_align((size_t)hyb_cuda_experts_tiles(n_pairs, n_expert, HYB_CUDA_PLACES) * 16, 256);
}
static size_t hyb_cuda_experts_order_bytes(int64_t n_pairs, int64_t n_expert)
{
    return hyb_align((size_t)hyb_cuda_experts_places(n_pairs, n_expert) * 4, 256);
}

/* Bytes of scratch for products of up to n rows with n_used of n_expert matrices (k, out), as
 * hyb_cuda_matmul_scratch. */
static size_t hyb_cuda_experts_scratch(hybrid_type type, int64_t k, int64_t n_expert, int n, int n_used, int cc)
{
    const int64_t n_pairs = (int64_t)n * n_used;
    const size_t sorted =
        hyb_cuda_experts_map_bytes(n_pairs, n_expert) + hyb_cuda_experts_order_bytes(n_pairs, n_expert) + 256;
    const size_t bytes = (size_t)hyb_cuda_experts_places(n_pairs, n_expert) * (size_t)(k + k / 16 * 4 + k / 32 * 4);
    if (!hyb_cuda_is_float(type)) return sorted + hyb_align(bytes, 256);
    return sorted + (hyb_cuda_as_it_is(type, k, cc) ? hyb_align((size_t)n_pairs * (size_t)k * 2, 256) : 0);
}

/* ---- the sorted order, and x ------------------------------------------------------------------------------------- */

static hyb_cuda_sorted hyb_cuda_experts_sorted(const hyb_cuda_experts_job *job)
{
    hyb_cuda_sorted s;
    s.map = job->map;
    s.order = (const int32_t *)(const void *)job->order;
    s.total = (const int32_t *)(const void *)job->total;
    s.share = job->share;
    return s;
}

static void hyb_cuda_experts_sort(hyb_cuda_experts_job *job, int tile)
{
    const int32_t *ids = job->op->ids;
    int32_t n_pairs = (int32_t)job->n_pairs;
    void *args[6];
    if (job->tile == tile) return;
    job->tile = tile;
    args[0] = &ids;
    args[1] = &n_pairs;
    args[2] = &job->tile;
    args[3] = &job->order;
    args[4] = &job->map;
    args[5] = &job->total;
    hyb_cuda_grid(job->q, HYB_MODULE_EXPERTS, HYB_KERNEL_sort_by_expert, job->n_expert, 1, 256, args);
}

/* x as bytes: as in hyb_cuda_matmul_x, for this many rows or places. */
static float *hyb_cuda_experts_sums(const hyb_cuda_experts_job *job, int64_t rows)
{
    return (float *)(void *)(job->x + rows * job->k);
}
static float *hyb_cuda_experts_scales(const hyb_cuda_experts_job *job, int64_t rows)
{
    return hyb_cuda_experts_sums(job, rows) + rows * (job->k / 16);
}

static int64_t hyb_cuda_experts_x_rows(const hyb_cuda_experts_job *job) { return job->n_pairs / job->share; }

/* Rows of x one after the other: quantized, or as 16-bit floats. A grid has at most 65535 rows. */
static void hyb_cuda_experts_x(hyb_cuda_experts_job *job, hyb_cuda_x form)
{
    const int64_t rows = hyb_cuda_experts_x_rows(job);
    int64_t x_stride = job->op->x_stride, first;
    int32_t k = (int32_t)job->k;
    if (job->form == form) return;
    job->form = form;
    for (first = 0; first < rows; first += 65535) {
        const float *x = job->op->x + first * x_stride;
        char *to = job->x + first * job->k * (form == HYB_CUDA_X_Q8 ? 1 : 2);
        float *d = hyb_cuda_experts_scales(job, rows) + first * (k / 32),
              *s = hyb_cuda_experts_sums(job, rows) + first * (k / 16);
        void *args[6];
        args[0] = &x;
        args[1] = &x_stride;
        args[2] = &k;
        args[3] = &to;
        if (form == HYB_CUDA_X_Q8) {
            args[4] = &d;
            args[5] = &s;
        } else
            args[4] = &k;
        hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE,
                      form == HYB_CUDA_X_Q8     ? HYB_KERNEL_quantize
                      : form == HYB_CUDA_X_HALF ? HYB_KERNEL_to_half
                                                : HYB_KERNEL_to_bf16,
                      hyb_div_up(k, 256), HYB_MIN(rows - first, 65535), 256, args);
    }
}

/* Places in sorted order: quantized, in tiles. */
static void hyb_cuda_experts_x_sorted(hyb_cuda_experts_job *job)
{
    const int64_t places = hyb_cuda_experts_places(job->n_pairs, job->n_expert);
    const float *x = job->op->x;
    int64_t x_stride = job->op->x_stride;
    int32_t k = (int32_t)job->k;
    float *d = hyb_cuda_experts_scales(job, places), *s = hyb_cuda_experts_sums(job, places);
    void *args[9];
    if (job->form == HYB_CUDA_X_Q8) return;
    job->form = HYB_CUDA_X_Q8;
    args[0] = &x;
    args[1] = &x_stride;
    args[2] = &k;
    args[3] = &job->order;
    args[4] = &job->total;
    args[5] = &job->share;
    args[6] = &job->x;
    args[7] = &d;
    args[8] = &s;
    hyb_cuda_grid(job->q, HYB_MODULE_QUANTIZE, HYB_KERNEL_quantize_sorted, places, hyb_div_up(k, 256), 256, args);
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

static void hyb_cuda_experts_few_rows(hyb_cuda_experts_job *job, hybrid_type type, hyb_cuda_matrices *ms,
                                      int64_t row_bytes)
{
    const bool quantized = !hyb_cuda_is_float(type), near_x = quantized && job->k <= HYB_CUDA_NEAR_K;
    const int64_t blocks = hyb_div_up(hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATVEC_ROWS), HYB_CUDA_MATVEC_WARPS);
    /* as hyb_cuda_matvec */
    const int64_t most = (int64_t)HYB_MAX(job->q->cu->n_sm, 1) * 8, turns = hyb_div_up(blocks * job->n_pairs, most);
    const int32_t *ids = job->op->ids;
    int module = hyb_cuda_module_of(HYB_MODULE_EXPERTS_1_F32, type);
    hyb_cuda_operand o;
    void *args[4];
    memset(&o, 0, sizeof o);
    o.k = (int)job->k;
    o.n = 1;
    o.row_bytes = row_bytes;
    if (quantized && !near_x) {
        hyb_cuda_experts_x(job, HYB_CUDA_X_Q8);
        module = hyb_cuda_module_of_quant(HYB_MODULE_EXPERTS_1_FAR_Q4_0, type);
        o.x = job->x;
        o.x_stride = job->k;
        o.d = hyb_cuda_experts_scales(job, hyb_cuda_experts_x_rows(job));
        o.s = hyb_cuda_experts_sums(job, hyb_cuda_experts_x_rows(job));
    } else {
        o.x = job->op->x;
        o.x_stride = job->op->x_stride;
    }
    args[0] = ms;
    args[1] = &o;
    args[2] = &ids;
    args[3] = &job->share;
    hyb_cuda_launch3(job->q, module, 0, hyb_div_up(blocks, turns), job->n_pairs, 1, 32 * HYB_CUDA_MATVEC_WARPS, 1,
                     near_x ? (unsigned)(job->k + job->k / 16 * 4 + job->k / 32 * 4) : 0, args);
}

static void hyb_cuda_experts_quantized(hyb_cuda_experts_job *job, hybrid_type type, hyb_cuda_matrices *ms,
                                       int64_t row_bytes)
{
    const int64_t places = hyb_cuda_experts_places(job->n_pairs, job->n_expert);
    const int tile = hyb_cuda_experts_tile(type, job->k, job->n_pairs, job->n_expert, job->q->cu->cc);
    hyb_cuda_sorted sorted = hyb_cuda_experts_sorted(job);
    hyb_cuda_tiles x;
    void *args[3];
    hyb_cuda_experts_sort(job, tile);
    hyb_cuda_experts_x_sorted(job);
    memset(&x, 0, sizeof x);
    x.k = (int)job->k;
    x.row_bytes = row_bytes;
    x.q = job->x;
    x.d = hyb_cuda_experts_scales(job, places);
    x.s = hyb_cuda_experts_sums(job, places);
    args[0] = ms;
    args[1] = &x;
    args[2] = &sorted;
    hyb_cuda_grid(job->q,
                  hyb_cuda_module_of_quant(tile == 8 ? HYB_MODULE_EXPERTS_8_Q4_0 : HYB_MODULE_EXPERTS_64_Q4_0, type), 0,
                  hyb_cuda_matmul_blocks(ms, HYB_CUDA_MATBATCH_ROWS),
                  hyb_cuda_experts_tiles(job->n_pairs, job->n_expert, tile), 128, args);
}

static void hyb_cuda_experts_floats(hyb_cuda_experts_job *job, const hyb_tensor *w, float *y, int64_t y_stride)
{
    const int cc = job->q->cu->cc, tile = hyb_cuda_experts_tile(w->type, job->k, job->n_pairs, job->n_expert, cc);
    const bool tensor = hyb_cuda_as_it_is(w->type, job->k, cc), bf16 = hyb_cuda_is_bf16(w->type, job->k, cc);
    const int64_t tiles = hyb_cuda_experts_tiles(job->n_pairs, job->n_expert, tile);
    hyb_cuda_sorted sorted = hyb_cuda_experts_sorted(job);
    hyb_cuda_product p;
    void *args[2];
    hyb_cuda_experts_sort(job, tile);
    memset(&p, 0, sizeof p);
    p.k = (int)job->k;
    p.out = (int)w->ne[1];
    p.w = w->data;
    p.ldw = job->k;
    p.next = (int64_t)(w->nb[2] / w->nb[0]);
    p.y = y;
    p.y_stride = y_stride;
    args[0] = &p;
    args[1] = &sorted;
    if (tensor) {
        hyb_cuda_experts_x(job, bf16 ? HYB_CUDA_X_BF16 : HYB_CUDA_X_HALF);
        p.x = job->x;
        p.ldx = job->k;
        hyb_cuda_grid(job->q, bf16 ? HYB_MODULE_EXPERTS_TENSOR_BF16 : HYB_MODULE_EXPERTS_TENSOR_F16,
                      tile == 64 ? HYB_KERNEL_TENSOR_64 : HYB_KERNEL_TENSOR_32, tiles, hyb_div_up(p.out, 128), 256,
                      args);
    } else {
        p.x = job->op->x;
        p.ldx = job->op->x_stride;
        hyb_cuda_grid(job->q, hyb_cuda_module_of_float(HYB_MODULE_EXPERTS_GEMM_F32, w->type), 0, tiles,
                      hyb_div_up(p.out, 64), 256, args);
    }
}

/* The matrices of the op that have the type of matrix `first` (and come after it). */
static void hyb_cuda_experts_of_type(hyb_cuda_experts_job *job, int first)
{
    const hyb_op_experts *op = job->op;
    const hyb_tensor *w = op->out[first].w;
    const bool few = hyb_cuda_experts_few(op->n, op->n_used, job->n_expert);
    hyb_cuda_matrices ms;
    int i;
    memset(&ms, 0, sizeof ms);
    for (i = first; i < op->n_out; i++) {
        hyb_cuda_matrix *m = &ms.m[ms.n];
        if (op->out[i].w->type != w->type) continue;
        if (!few && hyb_cuda_is_float(w->type)) {
            hyb_cuda_experts_floats(job, op->out[i].w, op->out[i].y, op->out[i].y_stride);
            continue;
        }
        m->w = op->out[i].w->data;
        m->next = (int64_t)op->out[i].w->nb[2];
        m->y = op->out[i].y;
        m->y_stride = op->out[i].y_stride;
        m->rows = (int)op->out[i].w->ne[1];
        ms.n++;
    }
    if (!ms.n) return;
    if (few)
        hyb_cuda_experts_few_rows(job, w->type, &ms, (int64_t)w->nb[1]);
    else
        hyb_cuda_experts_quantized(job, w->type, &ms, (int64_t)w->nb[1]);
}

/* In hyb_cuda_experts_scratch, for the matrices of the model, of the scratch. */
static void hyb_cuda_op_experts(hyb_cuda_at *at, const hyb_op_experts *op)
{
    hyb_cuda_experts_job job;
    int i, j;
    if (op->n < 1 || op->n_out < 1) return;
    memset(&job, 0, sizeof job);
    job.q = at->q;
    job.op = op;
    job.k = op->out[0].w->ne[0];
    job.n_expert = op->out[0].w->ne[2];
    job.n_pairs = (int64_t)op->n * op->n_used;
    job.share = op->each_own ? 1 : op->n_used;
    job.total = at->scratch;
    job.map = job.total + 256;
    job.order = job.map + hyb_cuda_experts_map_bytes(job.n_pairs, job.n_expert);
    job.x = job.order + hyb_cuda_experts_order_bytes(job.n_pairs, job.n_expert);
    for (i = 0; i < op->n_out; i++) {
        for (j = 0; j < i && op->out[j].w->type != op->out[i].w->type; j++) {}
        if (j == i) hyb_cuda_experts_of_type(&job, i);
    }
}

/* ---- around them ------------------------------------------------------------------------------------------------- */

static void hyb_cuda_op_route(hyb_cuda_at *at, const hyb_op_route *op)
{
    hyb_op_route o = *op;
    int32_t kind = op->kind == HYB_ROUTE_SIGMOID, norm = op->norm;
    void *args[8];
    args[0] = &o.logits;
    args[1] = &o.n_expert;
    args[2] = &o.n_used;
    args[3] = &kind;
    args[4] = &norm;
    args[5] = &o.scale;
    args[6] = &o.ids;
    args[7] = &o.weights;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS, HYB_KERNEL_route, op->n, 1, 1,
                     (unsigned)hyb_div_up(op->n_expert, 32) * 32, 1, 0, args);
}

static void hyb_cuda_op_combine(hyb_cuda_at *at, const hyb_op_combine *op)
{
    const bool by_4 =
        hyb_cuda_by_4(op->x, op->n_embd) && hyb_cuda_by_4(op->add, op->n_embd) && hyb_cuda_by_4(op->out, op->n_embd);
    hyb_op_combine o = *op;
    int32_t n = (int32_t)op->n_embd;
    void *args[6];
    args[0] = &o.x;
    args[1] = &o.weights;
    args[2] = &o.n_used;
    args[3] = &n;
    args[4] = &o.add;
    args[5] = &o.out;
    hyb_cuda_launch3(at->q, HYB_MODULE_ROWS, by_4 ? HYB_KERNEL_combine_4 : HYB_KERNEL_combine_1,
                     hyb_div_up(n, by_4 ? 1024 : 256), op->n, 1, 256, 1, 0, args);
}

#ifndef HYBRID_NO_TRAIN
/* ---- the way back ------------------------------------------------------------------------------------------------ */

static void hyb_cuda_op_route_back(hyb_cuda_at *at, const hyb_op_route_back *op)
{
    hyb_op_route_back o = *op;
    int32_t kind = op->kind == HYB_ROUTE_SIGMOID, norm = op->norm;
    void *args[9];
    args[0] = &o.logits;
    args[1] = &o.n_expert;
    args[2] = &o.n_used;
    args[3] = &kind;
    args[4] = &norm;
    args[5] = &o.scale;
    args[6] = &o.ids;
    args[7] = &o.dweights;
    args[8] = &o.dlogits;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_route_back, op->n, 1, 1,
                     (unsigned)hyb_div_up(op->n_expert, 32) * 32, 1, 0, args);
}

static void hyb_cuda_op_weigh(hyb_cuda_at *at, const hyb_op_weigh *op)
{
    hyb_op_weigh o = *op;
    int32_t n = (int32_t)op->n;
    void *args[9];
    args[0] = &o.x;
    args[1] = &o.x_stride;
    args[2] = &o.y;
    args[3] = &o.y_stride;
    args[4] = &o.weights;
    args[5] = &n;
    args[6] = &o.dots;
    args[7] = &o.out;
    args[8] = &o.out_stride;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_weigh, op->n_rows, 1, 1, 256, 1, 0, args);
}

/* As in kernels/gemm_f32.cu. */
typedef struct hyb_cuda_experts_back_args {
    const float *x, *dy, *w;
    float *dx, *dw;
    const int32_t *order, *begin;
    int64_t x_stride, dy_stride;
    int32_t k, out, x_share, dy_share, expert0, n_expert, p0, p, add;
} hyb_cuda_experts_back_args;

/* Some rows, from p0 on, of w of some experts, from expert0 on, which lie at a->w. */
static void hyb_cuda_experts_back_x(hyb_cuda_at *at, hyb_cuda_experts_back_args *a, int64_t n_choices)
{
    const int64_t tiles = hyb_div_up(n_choices, 64) + HYB_MIN((int64_t)a->n_expert, n_choices);
    void *args[1];
    args[0] = a;
    hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_GEMM_BACK, HYB_KERNEL_experts_back_x, tiles, hyb_div_up(a->k, 64), 1,
                     256, 1, 0, args);
}

/* dx = or += dy w: F32 from where it lies; of other types as many experts as the scratch holds as floats, or rows of
 * one. */
static void hyb_cuda_experts_back_dx(hyb_cuda_at *at, hyb_cuda_experts_back_args *a, const hyb_tensor *w,
                                     int64_t n_choices)
{
    const int64_t fit = hyb_cuda_decoded_rows(w, at->scratch_bytes), out = w->ne[1], n_expert = w->ne[2];
    const int64_t rows = HYB_MIN(fit, out), experts = HYB_MIN(HYB_MAX(fit / out, 1), n_expert);
    int64_t expert, row;
    a->n_expert = (int32_t)n_expert;
    a->p = (int32_t)out;
    a->w = (const float *)w->data;
    if (w->type == HYBRID_TYPE_F32) {
        hyb_cuda_experts_back_x(at, a, n_choices);
        return;
    }
    a->w = (const float *)(void *)at->scratch;
    for (expert = 0; expert < n_expert; expert += experts)
        for (row = 0; row < out; row += rows) {
            hyb_cuda_experts_back_args part = *a;
            part.expert0 = (int32_t)expert;
            part.n_expert = (int32_t)HYB_MIN(experts, n_expert - expert);
            part.p0 = (int32_t)row;
            part.p = (int32_t)HYB_MIN(rows, out - row);
            part.add = a->add || row;
            hyb_cuda_decode(at->q, w, expert * out + row, (int64_t)part.n_expert * part.p,
                            (float *)(void *)at->scratch);
            hyb_cuda_experts_back_x(at, &part, n_choices);
        }
}

static void hyb_cuda_experts_back_order(hyb_cuda_at *at, const hyb_op_experts_back *op, int32_t *begin, int32_t *order)
{
    const int32_t *ids = op->ids;
    int32_t n = op->n * op->n_used;
    void *args[4];
    args[0] = &ids;
    args[1] = &n;
    args[2] = &begin;
    args[3] = &order;
    hyb_cuda_grid(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_order_choices, op->out[0].w->ne[2], 1, 256, args);
}

static void hyb_cuda_experts_back_sum(hyb_cuda_at *at, const hyb_op_experts_back *op, const float *of_choices)
{
    hyb_op_experts_back o = *op;
    int32_t k = (int32_t)op->out[0].w->ne[0];
    void *args[5];
    args[0] = &of_choices;
    args[1] = &o.n_used;
    args[2] = &k;
    args[3] = &o.add;
    args[4] = &o.dx;
    hyb_cuda_grid(at->q, HYB_MODULE_EXPERTS_BACK, HYB_KERNEL_sum_choices, hyb_div_up(k, 256), op->n, 256, args);
}

/* Works in op->work: the order of the choices, where those of each expert begin, and dx of choices that a row sums. */
static void hyb_cuda_op_experts_back(hyb_cuda_at *at, const hyb_op_experts_back *op)
{
    const int64_t n_choices = (int64_t)op->n * op->n_used, n_expert = op->out[0].w->ne[2];
    int32_t *order = (int32_t *)(void *)op->work, *begin = order + n_choices;
    hyb_cuda_experts_back_args a;
    void *args[1];
    int i;
    if (op->n < 1) return;
    memset(&a, 0, sizeof a);
    a.x = op->x;
    a.x_stride = op->x_stride;
    a.x_share = op->x_each ? 1 : op->n_used;
    a.dy_share = op->dy_each ? 1 : op->n_used;
    a.k = (int32_t)op->out[0].w->ne[0];
    a.order = order;
    a.begin = begin;
    a.dx = op->dx_each ? op->dx : op->work + n_choices + n_expert + 1;
    args[0] = &a;
    hyb_cuda_experts_back_order(at, op, begin, order);
    for (i = 0; i < op->n_out; i++) {
        a.dy = op->out[i].dy;
        a.dy_stride = op->out[i].dy_stride;
        a.out = (int32_t)op->out[i].w->ne[1];
        a.dw = op->out[i].dw;
        a.add = i > 0;
        if (a.dw)
            hyb_cuda_launch3(at->q, HYB_MODULE_EXPERTS_GEMM_BACK, HYB_KERNEL_experts_back_w, hyb_div_up(a.out, 64),
                             hyb_div_up(a.k, 64), n_expert, 256, 1, 0, args);
        hyb_cuda_experts_back_dx(at, &a, op->out[i].w, n_choices);
    }
    if (!op->dx_each) hyb_cuda_experts_back_sum(at, op, a.dx);
}
#endif
/* ==== end src/cuda/ops_experts.c ==== */

/* ==== begin src/cuda/ops_train.c ==== */
/* cuda/ops_train: the loss and the optimizer. Gradients of the ops of a forward pass stand beside those ops. */

#ifndef HYBRID_NO_TRAIN

/* As in kernels/train.cu. */
typedef struct hyb_cuda_cross_entropy_args {
    float *logits;
    int64_t stride;
    const int32_t *targets;
    const float *weights;
    double *loss;
    int32_t n;
    float softcap, factor;
} hyb_cuda_cross_entropy_args;

static void hyb_cuda_op_cross_entropy(hyb_cuda_at *at, const hyb_op_cross_entropy *op)
{
    hyb_cuda_cross_entropy_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.logits = op->logits;
    a.stride = op->stride;
    a.targets = op->targets;
    a.weights = op->weights;
    a.loss = op->loss;
    a.n = (int32_t)op->n;
    a.softcap = op->softcap;
    a.factor = op->factor;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_cross_entropy, op->n_rows, 1, 1, 512, 1, 0, args);
}

/* In hyb_cuda_squares_bytes of the scratch. */
static void hyb_cuda_op_squares(hyb_cuda_at *at, const hyb_op_squares *op)
{
    hyb_op_squares o = *op;
    double *parts = (double *)(void *)at->scratch;
    int32_t n_parts = (int32_t)HYB_MIN(hyb_div_up(op->n, 1024), (int64_t)HYB_CUDA_SQUARES_PARTS);
    void *args[3];
    args[0] = &o.x;
    args[1] = &o.n;
    args[2] = &parts;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_squares, n_parts, 1, 1, 256, 1, 0, args);
    args[0] = &parts;
    args[1] = &n_parts;
    args[2] = &o.sum;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_squares_sum, 1, 1, 1, 32, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_displace_args {
    float *w, *anchor, *b, *s;
    const float *mean;
    int64_t n;
    float mu, gamma, c_d, c_b, c_s, c_r;
    int32_t takes, moves, goes;
} hyb_cuda_displace_args;

static void hyb_cuda_displace_fill(const hyb_op_displace *op, hyb_cuda_displace_args *a)
{
    memset(a, 0, sizeof *a);
    a->w = op->w;
    a->anchor = op->anchor;
    a->b = op->b;
    a->s = op->s;
    a->mean = op->mean;
    a->n = op->n;
    a->mu = op->mu;
    a->gamma = op->gamma;
    a->c_d = op->c_d;
    a->c_b = op->c_b;
    a->c_s = op->c_s;
    a->c_r = op->c_r;
    a->takes = op->takes;
    a->moves = op->moves;
    a->goes = (int32_t)op->goes;
}

static void hyb_cuda_op_displace(hyb_cuda_at *at, const hyb_op_displace *op)
{
    hyb_cuda_displace_args a;
    void *args[1];
    hyb_cuda_displace_fill(op, &a);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_displace, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_adamw_args {
    float *w, *m, *v;
    const float *grad;
    int64_t n;
    float factor, rate, beta1, beta2, c1, c2, eps, decay;
} hyb_cuda_adamw_args;

static void hyb_cuda_op_adamw(hyb_cuda_at *at, const hyb_op_adamw *op)
{
    const int kernel = op->then ? HYB_KERNEL_adamw_displace : HYB_KERNEL_adamw;
    hyb_cuda_adamw_args a;
    hyb_cuda_displace_args then;
    void *args[2];
    memset(&a, 0, sizeof a);
    a.w = op->w;
    a.m = op->m;
    a.v = op->v;
    a.grad = op->grad;
    a.n = op->n;
    a.factor = op->factor;
    a.rate = op->rate;
    a.beta1 = op->beta1;
    a.beta2 = op->beta2;
    a.c1 = op->c1;
    a.c2 = op->c2;
    a.eps = op->eps;
    a.decay = op->decay;
    if (op->then) hyb_cuda_displace_fill(op->then, &then);
    args[0] = &a;
    args[1] = &then;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, kernel, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_sgd_args {
    float *w, *m;
    const float *grad;
    int64_t n;
    float factor, rate, momentum, decay;
    int32_t nesterov;
} hyb_cuda_sgd_args;

static void hyb_cuda_op_sgd(hyb_cuda_at *at, const hyb_op_sgd *op)
{
    hyb_cuda_sgd_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.w = op->w;
    a.m = op->m;
    a.grad = op->grad;
    a.n = op->n;
    a.factor = op->factor;
    a.rate = op->rate;
    a.momentum = op->momentum;
    a.decay = op->decay;
    a.nesterov = op->nesterov;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_sgd, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

static void hyb_cuda_op_lerp(hyb_cuda_at *at, const hyb_op_lerp *op)
{
    hyb_op_lerp o = *op;
    void *args[5];
    args[0] = &o.a;
    args[1] = &o.b;
    args[2] = &o.n;
    args[3] = &o.t;
    args[4] = &o.out;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_lerp, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

static void hyb_cuda_op_round(hyb_cuda_at *at, const hyb_op_round *op)
{
    hyb_op_round o = *op;
    int32_t bf16 = op->type == HYBRID_TYPE_BF16;
    void *args[4];
    args[0] = &o.x;
    args[1] = &o.n;
    args[2] = &bf16;
    args[3] = &o.out;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_round_values, hyb_div_up(op->n, 256), 1, 1, 256, 1, 0, args);
}

/* As in kernels/train.cu. */
typedef struct hyb_cuda_gram_args {
    const float *a[HYB_GRAM_OF], *b[HYB_GRAM_OF];
    int64_t n;
    double *parts;
} hyb_cuda_gram_args;

/* In the scratch. */
static void hyb_cuda_op_gram(hyb_cuda_at *at, const hyb_op_gram *op)
{
    hyb_cuda_gram_args a;
    double *sums = op->sums;
    int32_t n_parts = (int32_t)HYB_MIN(hyb_div_up(op->n, 1024), (int64_t)HYB_CUDA_SQUARES_PARTS);
    void *args[3];
    memset(&a, 0, sizeof a);
    memcpy(a.a, op->a, sizeof a.a);
    memcpy(a.b, op->b, sizeof a.b);
    a.n = op->n;
    a.parts = (double *)(void *)at->scratch;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_gram, n_parts, 1, 1, 256, 1, 0, args);
    args[0] = &a.parts;
    args[1] = &n_parts;
    args[2] = &sums;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_gram_sum, 1, 1, 1, 32, 1, 0, args);
}
#endif
/* ==== end src/cuda/ops_train.c ==== */

/* ==== begin src/cuda/ops_lowrank.c ==== */
/* cuda/ops_lowrank: low-rank factors of a matrix (predict/lowrank.c). */

/* clang-format off */
#define HYB_CUDA_KERNELS_LOWRANK(X) \
    X(columns_gram) X(columns_cholesky) X(columns_solve) X(columns_gram_schmidt) X(gram_eigen) X(factors) X(deflate)
/* clang-format on */
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_LOWRANK(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_LOWRANK };
#undef HYB_KERNEL_NUMBER

#ifndef HYBRID_NO_TRAIN

/* The work of an op: g (n, n), turn (n, n), parts (HYB_FACTORS_PARTS, n, n), a flag. */
typedef struct hyb_cuda_factors_work {
    double *g, *turn, *parts, *bad;
} hyb_cuda_factors_work;

static hyb_cuda_factors_work hyb_cuda_factors_lay(double *work, int n)
{
    const int64_t square = (int64_t)n * n;
    hyb_cuda_factors_work w;
    w.g = work;
    w.turn = w.g + square;
    w.parts = w.turn + square;
    w.bad = w.parts + HYB_FACTORS_PARTS * square;
    return w;
}

static void hyb_cuda_columns_gram(hyb_cuda_at *at, const float *y, int64_t rows, int32_t n, double *parts)
{
    void *args[4];
    args[0] = &y;
    args[1] = &rows;
    args[2] = &n;
    args[3] = &parts;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_gram, HYB_FACTORS_PARTS, 1, 1, 256, 1, 0, args);
}

static void hyb_cuda_op_orthogonal(hyb_cuda_at *at, const hyb_op_orthogonal *op)
{
    hyb_op_orthogonal o = *op;
    hyb_cuda_factors_work w = hyb_cuda_factors_lay(op->work, op->n);
    int32_t n = op->n, second;
    void *args[5];
    for (second = 0; second < 2; second++) {
        hyb_cuda_columns_gram(at, op->y, op->rows, n, w.parts);
        args[0] = &w.parts;
        args[1] = &n;
        args[2] = &w.g;
        args[3] = &w.bad;
        args[4] = &second;
        hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_cholesky, 1, 1, 1, 64, 1, 0, args);
        args[0] = &o.y;
        args[1] = &o.rows;
        args[2] = &n;
        args[3] = &w.g;
        args[4] = &w.bad;
        hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_solve, hyb_div_up(o.rows, 64), 1, 1, 64, 1, 0,
                         args);
    }
    args[3] = &w.bad;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_columns_gram_schmidt, 1, 1, 1, 256, 1, 0, args);
}

/* As in kernels/lowrank.cu. */
typedef struct hyb_cuda_factors_args {
    const float *y, *z;
    int64_t rows, cols;
    int32_t n, rank;
    const double *a, *v;
    float *left, *right, *sigma;
} hyb_cuda_factors_args;

static void hyb_cuda_op_factors(hyb_cuda_at *at, const hyb_op_factors *op)
{
    hyb_cuda_factors_work w = hyb_cuda_factors_lay(op->work, op->n);
    hyb_cuda_factors_args a;
    void *args[4];
    memset(&a, 0, sizeof a);
    a.y = op->y;
    a.z = op->z;
    a.rows = op->rows;
    a.cols = op->cols;
    a.n = op->n;
    a.rank = op->rank;
    a.a = w.g;
    a.v = w.turn;
    a.left = op->left;
    a.right = op->right;
    a.sigma = op->sigma;
    hyb_cuda_columns_gram(at, op->z, op->cols, a.n, w.parts);
    args[0] = &w.parts;
    args[1] = &a.n;
    args[2] = &w.g;
    args[3] = &w.turn;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_gram_eigen, 1, 1, 1, 64, 1, 0, args);
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_factors, hyb_div_up(op->rows + op->cols, 256), 1, 1, 256, 1,
                     0, args);
}

/* As in kernels/lowrank.cu. */
typedef struct hyb_cuda_deflate_args {
    const float *x, *add, *left, *sigma, *right;
    int64_t rows, cols;
    int32_t rank;
    float *rest;
    const double *bound;
    double most;
    double *parts;
} hyb_cuda_deflate_args;

/* In the scratch of squares. */
static void hyb_cuda_op_deflate(hyb_cuda_at *at, const hyb_op_deflate *op)
{
    double *squares = op->squares;
    int32_t n_parts = (int32_t)HYB_MIN(op->rows, (int64_t)HYB_CUDA_SQUARES_PARTS);
    hyb_cuda_deflate_args a;
    void *args[3];
    memset(&a, 0, sizeof a);
    a.x = op->x;
    a.add = op->add;
    a.left = op->left;
    a.sigma = op->sigma;
    a.right = op->right;
    a.rows = op->rows;
    a.cols = op->cols;
    a.rank = op->rank;
    a.rest = op->rest;
    a.bound = op->bound;
    a.most = op->most;
    a.parts = (double *)(void *)at->scratch;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_LOWRANK, HYB_KERNEL_deflate, n_parts, 1, 1, 256, 1, 0, args);
    args[0] = &a.parts;
    args[1] = &n_parts;
    args[2] = &squares;
    hyb_cuda_launch3(at->q, HYB_MODULE_TRAIN, HYB_KERNEL_squares_sum, 1, 1, 1, 32, 1, 0, args);
}
#endif
/* ==== end src/cuda/ops_lowrank.c ==== */

/* ==== begin src/cuda/ops_rssm.c ==== */
/* cuda/ops_rssm: a step of learning of the predictor's world models (compute/ops/rssm.c), all members in one launch. */

/* clang-format off */
#define HYB_CUDA_KERNELS_RSSM(X) X(rssm)
/* clang-format on */
#define HYB_KERNEL_NUMBER(name_) HYB_KERNEL_##name_,
enum { HYB_CUDA_KERNELS_RSSM(HYB_KERNEL_NUMBER) HYB_KERNELS_OF_RSSM };
#undef HYB_KERNEL_NUMBER

#ifndef HYBRID_NO_TRAIN

/* As in kernels/rssm.cu. */
typedef struct hyb_cuda_rssm_args {
    int32_t ticks, windows;
    const float *weights, *x;
    const uint32_t (*random)[HYB_LATENT_CHOICES];
    const hyb_heads_labels *labels;
    const hyb_share *shares;
    hyb_trust *trusts;
    hyb_world_loss *taught, *held;
    float *gradients, *work;
} hyb_cuda_rssm_args;

static void hyb_cuda_op_rssm(hyb_cuda_at *at, const hyb_op_rssm *op)
{
    hyb_cuda_rssm_args a;
    void *args[1];
    memset(&a, 0, sizeof a);
    a.ticks = op->ticks;
    a.windows = op->windows;
    a.weights = op->weights;
    a.x = op->x;
    a.random = op->random;
    a.labels = op->labels;
    a.shares = op->shares;
    a.trusts = op->trusts;
    a.taught = op->taught;
    a.held = op->held;
    a.gradients = op->gradients;
    a.work = op->work;
    args[0] = &a;
    hyb_cuda_launch3(at->q, HYB_MODULE_RSSM, HYB_KERNEL_rssm, op->n_members, 1, 1, 256, 1, 0, args);
}
#endif
/* ==== end src/cuda/ops_rssm.c ==== */

/* ==== begin src/cuda/module_table.c ==== */
/* cuda/module_table: what each module is made of, in the order of the enumeration of modules.c. */

static const hyb_cuda_module_info *hyb_cuda_module(int module)
{
#define HYB_KERNEL_NAME(name_) #name_,
    /* clang-format off */
    static const hyb_cuda_module_info table[] = {
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matvec_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, NULL }, { "matvec_1", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matvec_far_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DFAR", NULL }, { "matvec_1", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matvec_few_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DBATCH", NULL }, { "matvec_2", "matvec_4", "matvec_8", NULL } },
        HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matbatch_8_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=1", NULL }, { "matbatch", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matbatch_32_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=4", NULL }, { "matbatch", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "matbatch_64_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=8", NULL }, { "matbatch", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "dequantize_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_dequantize, NULL }, \
          { "-DTYPE=" #number, NULL }, { "dequantize", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
        { "quantize", { hyb_cuda_text_prelude, hyb_cuda_text_quantize, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_QUANTIZE(HYB_KERNEL_NAME) NULL } },
        { "gemm_f16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_bf16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { "-DBF16", NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_f32", { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL },
          { "-DTYPE=0", NULL }, { "gemm_f32", NULL } },
        { "experts", { hyb_cuda_text_prelude, hyb_cuda_text_experts, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_EXPERTS(HYB_KERNEL_NAME) NULL } },
        { "experts_tensor_f16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { "-DEXPERTS", NULL }, { "gemm_64", "gemm_32", NULL } },
        { "experts_tensor_bf16", { hyb_cuda_text_prelude, hyb_cuda_text_gemm, NULL, NULL },
          { "-DEXPERTS", "-DBF16", NULL }, { "gemm_64", "gemm_32", NULL } },
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_1_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", NULL }, { "matvec_experts", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_1_far_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", "-DFAR", NULL }, { "matvec_experts", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_8_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=1", "-DEXPERTS", NULL }, { "matbatch_experts", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_64_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_matbatch, NULL }, \
          { "-DTYPE=" #number, "-DGROUPS=8", "-DEXPERTS", NULL }, { "matbatch_experts", NULL } },
        HYB_BLOCK_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "experts_gemm_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL }, \
          { "-DTYPE=" #number, "-DEXPERTS", NULL }, { "gemm_f32", NULL } },
        HYB_FLOAT_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
#define HYB_MODULE_OF_TYPE(type, number, values, bytes, suffix) \
        { "embed_" #type, { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_embed, NULL }, \
          { "-DTYPE=" #number, NULL }, { "embed", NULL } },
        HYB_TYPES(HYB_MODULE_OF_TYPE)
#undef HYB_MODULE_OF_TYPE
        { "rows", { hyb_cuda_text_prelude, hyb_cuda_text_rows, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_ROWS(HYB_KERNEL_NAME) NULL } },
        { "rope", { hyb_cuda_text_prelude, hyb_cuda_text_rope, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_ROPE(HYB_KERNEL_NAME) NULL } },
        { "kv", { hyb_cuda_text_prelude, hyb_cuda_text_kv, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_KV(HYB_KERNEL_NAME) NULL } },
        { "select", { hyb_cuda_text_prelude, hyb_cuda_text_select, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_SELECT(HYB_KERNEL_NAME) NULL } },
        { "recurrent", { hyb_cuda_text_prelude, hyb_cuda_text_recurrent, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_RECURRENT(HYB_KERNEL_NAME) NULL } },
#define HYB_MODULE_OF_HEAD(type, kv, dim) \
        { "attention_" #type "_" #dim, \
          { hyb_cuda_text_prelude, hyb_cuda_text_attention_args, hyb_cuda_text_attention, NULL }, \
          { "-DKV=" #kv, "-DHEAD_DIM=" #dim, NULL }, { "attention_few", "attention_many", NULL } },
        HYB_CUDA_HEADS(HYB_MODULE_OF_HEAD)
#undef HYB_MODULE_OF_HEAD
        { "attention_any", { hyb_cuda_text_prelude, hyb_cuda_text_attention_args, hyb_cuda_text_attention_any, NULL },
          { NULL },
          { "attention_any", NULL } },
        { "train", { hyb_cuda_text_prelude, hyb_cuda_text_rows, hyb_cuda_text_train, NULL },
          { "-DBACK", NULL }, { HYB_CUDA_KERNELS_TRAIN(HYB_KERNEL_NAME) NULL } },
        { "embed_back", { hyb_cuda_text_prelude, hyb_cuda_text_embed, NULL, NULL },
          { "-DBACK", NULL }, { "embed_back", NULL } },
        { "gemm_back", { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL },
          { "-DTYPE=0", "-DBACK", NULL }, { "gemm_back", NULL } },
        { "attention_back", { hyb_cuda_text_prelude, hyb_cuda_text_attention_args, hyb_cuda_text_attention_any, NULL },
          { "-DBACK", NULL }, { "attention_back_q", "attention_back_kv", NULL } },
        { "recurrent_back", { hyb_cuda_text_prelude, hyb_cuda_text_recurrent, NULL, NULL },
          { "-DBACK", NULL }, { HYB_CUDA_KERNELS_RECURRENT_BACK(HYB_KERNEL_NAME) NULL } },
        { "experts_back", { hyb_cuda_text_prelude, hyb_cuda_text_experts, NULL, NULL },
          { "-DBACK", NULL }, { HYB_CUDA_KERNELS_EXPERTS_BACK(HYB_KERNEL_NAME) NULL } },
        { "experts_gemm_back", { hyb_cuda_text_prelude, hyb_cuda_text_quant, hyb_cuda_text_gemm_f32, NULL },
          { "-DTYPE=0", "-DBACK", "-DEXPERTS", NULL },
          { HYB_CUDA_KERNELS_EXPERTS_GEMM_BACK(HYB_KERNEL_NAME) NULL } },
        { "lowrank", { hyb_cuda_text_prelude, hyb_cuda_text_lowrank, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_LOWRANK(HYB_KERNEL_NAME) NULL } },
        { "rssm", { hyb_cuda_text_prelude, hyb_cuda_text_rssm, NULL, NULL },
          { NULL }, { HYB_CUDA_KERNELS_RSSM(HYB_KERNEL_NAME) NULL } }
    };
    /* clang-format on */
#undef HYB_KERNEL_NAME
    typedef char every_module_has_a_row[(int)(sizeof(table) / sizeof(table[0])) == HYB_MODULE_COUNT ? 1 : -1];
    return (void)sizeof(every_module_has_a_row), &table[module];
}
/* ==== end src/cuda/module_table.c ==== */

/* ==== begin src/cuda/backend.c ==== */
/* cuda/backend: the op table on a GPU: one queue, the batch in device memory, and scratch whose size is known
 * beforehand. */

/* Where the parts of a back end's one block of device memory are. The first ones are a picture of the batch, copied
 * from the host in one piece. */
typedef struct hyb_cuda_layout {
    size_t ids, pos, out, run_of_row, tiles, split_rows, runs, pages, picture; /* picture: bytes of all of these */
    size_t parts, scratch, scratch_bytes, bytes;
    int32_t pages_a_seq; /* of the longest sequence that there can be */
    hyb_cuda_split split;
} hyb_cuda_layout;

/* The launches of a pass are kept as a graph from the second time that a batch of the same shape comes; the first time
 * loads the kernels.
 *
 *     shape new        HYB_PASS_RUN     ops are launched one by one
 *     second time      HYB_PASS_RECORD  ops are launched into a capture; pass_end makes a graph of it, and runs that
 *     from then on     HYB_PASS_REPLAY  ops are not called at all; pass_end runs the graph
 *
 * What differs between batches of a shape (ids, positions, pages, slots) is in the picture in device memory, where
 * kernels find it; nothing of it is an argument of a kernel. */
typedef struct hyb_cuda_record {
    int32_t n, n_out, n_runs, n_split, max_length_class; /* everything that chooses kernels and grids */
    uint32_t used;                                       /* when; 0: never */
    hyb_cuda_graph *graph;
} hyb_cuda_record;
/* after so many failures in a row it goes on without graphs */
enum { HYB_CUDA_RECORDS = 8, HYB_CUDA_GRAPH_FAILURES = 3 };

typedef struct hyb_cuda_backend {
    hyb_backend base;
    hyb_cuda *cu;
    hyb_cuda_queue *queue;
    hyb_cuda_queue *up, *down; /* of copies beside the ops; NULL: no lanes were asked for */
    hyb_cuda_layout layout;
    hyb_cuda_at at;                                     /* where ops run */
    char *memory;                                       /* on the device */
    char *picture;                                      /* on the host */
    hyb_cuda_record records[HYB_CUDA_RECORDS], *record; /* record: of the pass under way, or NULL */
    uint32_t clock;
    int n_graph_failures; /* in a row */
} hyb_cuda_backend;

/* Bytes of scratch of the ops of training, besides those of matrices. */
static size_t hyb_cuda_train_scratch(const hyb_limits *limits)
{
#ifndef HYBRID_NO_TRAIN
    if (limits->n_train) {
        const size_t wkv = hyb_cuda_wkv7_back_scratch(limits->n_wkv, limits->wkv_size, limits->n_rows, limits->n_seq);
        const size_t bytes = HYB_MAX(hyb_cuda_attention_back_scratch(limits->n_rows, limits->n_head),
                                     HYB_CUDA_SQUARES_PARTS * HYB_GRAM_SUMS * sizeof(double));
        return HYB_MAX(bytes, wkv);
    }
#endif
    HYB_UNUSED(limits);
    return 0;
}

static void hyb_cuda_layout_make(hyb_cuda_layout *l, const hyb_limits *limits)
{
    const size_t rows = (size_t)limits->n_rows;
    size_t at = 0;
    memset(l, 0, sizeof *l);
    l->pages_a_seq = limits->pages_a_seq;
    l->split = hyb_cuda_split_plan(limits->n_seq, limits->n_rows, limits->n_head_kv, limits->pages_a_seq * HYB_PAGE);
    l->scratch_bytes = HYB_MAX(limits->scratch,
                               limits->n_top ? hyb_cuda_top_k_bytes(limits->n_out, limits->n_vocab, limits->n_top) : 0);
    l->scratch_bytes = HYB_MAX(l->scratch_bytes, hyb_cuda_train_scratch(limits));
#define HYB_PLACE(field, size) (l->field = at, at += hyb_align(size, 256))
    HYB_PLACE(ids, rows * sizeof(int32_t));
    HYB_PLACE(pos, rows * sizeof(int32_t));
    HYB_PLACE(out, rows * sizeof(int32_t));
    HYB_PLACE(run_of_row, rows * sizeof(int32_t));
    HYB_PLACE(tiles, hyb_cuda_tiles_max(limits->n_rows, limits->n_seq) * 4 * sizeof(int32_t));
    HYB_PLACE(split_rows, (size_t)l->split.max_rows * sizeof(int32_t));
    HYB_PLACE(runs, (size_t)limits->n_seq * 4 * sizeof(int32_t));
    HYB_PLACE(pages, (size_t)limits->n_seq * (size_t)limits->pages_a_seq * sizeof(int32_t));
    l->picture = at;
    HYB_PLACE(parts, hyb_cuda_split_bytes(&l->split, limits->n_head, limits->head_dim_v));
    HYB_PLACE(scratch, l->scratch_bytes);
#undef HYB_PLACE
    l->bytes = at;
}

/* Bytes of cuBLAS' workspace, if the largest batch is worth it: taken at once, so that the plan holds. */
static size_t hyb_cuda_workspace(const hyb_limits *limits, int cc)
{
    return limits->n_rows > HYB_CUDA_FEW_FLOATS ? hyb_blas_workspace(cc) : 0;
}

static hyb_cuda_backend *hyb_cuda_of(hyb_backend *be) { return (hyb_cuda_backend *)be; }

/* ---- the batch --------------------------------------------------------------------------------------------------- */

/* bytes up to which one copy of everything is cheaper than eight of what is used */
enum { HYB_CUDA_WHOLE_PICTURE = 64 << 10 };

static void hyb_cuda_picture_write(hyb_cuda_backend *self, size_t at, size_t bytes)
{
    hyb_cuda_write(self->queue, self->memory + at, self->picture + at, bytes);
}

static void hyb_cuda_be_begin(hyb_backend *be, const hyb_batch *batch)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    const hyb_cuda_layout *l = &self->layout;
    hyb_cuda_batch *b = &self->at.batch;
    char *p = self->picture;
    const size_t n = (size_t)batch->n * sizeof(int32_t);
    size_t row;
    int i;
    self->record = NULL; /* of a replay that was given up */
    be->batch = batch;
    memcpy(p + l->ids, batch->ids, n);
    memcpy(p + l->pos, batch->pos, n);
    if (batch->n_out) memcpy(p + l->out, batch->out, (size_t)batch->n_out * sizeof(int32_t));
    hyb_cuda_batch_fill(b, &l->split, batch, (int32_t *)(void *)(p + l->run_of_row), (int32_t *)(void *)(p + l->tiles),
                        (int32_t *)(void *)(p + l->split_rows), (int32_t *)(void *)(p + l->runs));
    /* an argument of kernels: it is the same for all batches of a record */
    b->pages_a_seq = HYB_MIN(l->pages_a_seq, b->max_length_class / HYB_PAGE);
    row = (size_t)b->pages_a_seq * sizeof(int32_t);
    for (i = 0; row && i < batch->n_runs; i++) { /* a model without attention has no pages */
        const hyb_run *run = &batch->runs[i];
        memcpy(p + l->pages + (size_t)i * row, run->pages,
               (size_t)((run->pos + run->n_rows - 1) / HYB_PAGE + 1) * sizeof(int32_t));
    }
    if (l->pages + (size_t)batch->n_runs * row <= HYB_CUDA_WHOLE_PICTURE) {
        hyb_cuda_picture_write(self, 0, l->pages + (size_t)batch->n_runs * row); /* the page tables come last */
        return;
    }
    hyb_cuda_picture_write(self, l->ids, n);
    hyb_cuda_picture_write(self, l->pos, n);
    hyb_cuda_picture_write(self, l->out, (size_t)batch->n_out * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->run_of_row, n);
    hyb_cuda_picture_write(self, l->tiles, (size_t)b->n_tiles * 4 * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->split_rows, (size_t)b->n_split * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->runs, (size_t)batch->n_runs * 4 * sizeof(int32_t));
    hyb_cuda_picture_write(self, l->pages, (size_t)batch->n_runs * row);
}

/* ---- recorded passes: a decode step is hundreds of launches of a few microseconds, which one graph starts at once */

/* The record of this shape of batch; a new one replaces the one that was used longest ago. */
static hyb_cuda_record *hyb_cuda_record_of(hyb_cuda_backend *self)
{
    const hyb_cuda_batch *b = &self->at.batch;
    hyb_cuda_record *oldest = self->records;
    int i;
    for (i = 0; i < HYB_CUDA_RECORDS; i++) {
        hyb_cuda_record *r = &self->records[i];
        if (r->used && r->n == b->n && r->n_out == b->n_out && r->n_runs == b->n_runs && r->n_split == b->n_split &&
            r->max_length_class == b->max_length_class)
            return r;
        if (r->used < oldest->used) oldest = r;
    }
    hyb_cuda_graph_destroy(self->cu, oldest->graph);
    memset(oldest, 0, sizeof *oldest);
    oldest->n = b->n;
    oldest->n_out = b->n_out;
    oldest->n_runs = b->n_runs;
    oldest->n_split = b->n_split;
    oldest->max_length_class = b->max_length_class;
    return oldest;
}

/* Another thread of the process may break a recording: that is not a reason to give up recording for good. */
static void hyb_cuda_graph_failed(hyb_cuda_backend *self, const hybrid_error *why)
{
    const bool last = ++self->n_graph_failures == HYB_CUDA_GRAPH_FAILURES;
    hyb_log(self->base.rt, HYBRID_LOG_WARN, "decoding without CUDA graphs%s: %s", last ? "" : " for once",
            why->message);
}

static hyb_pass hyb_cuda_be_pass_begin(hyb_backend *be)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hybrid_error why;
    bool seen;
    /* tiles mean a prompt, and no other batch will have its shape */
    if (self->n_graph_failures >= HYB_CUDA_GRAPH_FAILURES || self->at.batch.n_tiles || self->queue->failure.result ||
        self->queue->rehearsing)
        return HYB_PASS_RUN;
    self->record = hyb_cuda_record_of(self);
    seen = self->record->used != 0;
    self->record->used = ++self->clock;
    if (self->record->graph) return HYB_PASS_REPLAY;
    if (seen && !hyb_cuda_capture_begin(self->queue, &why)) return HYB_PASS_RECORD;
    if (seen) hyb_cuda_graph_failed(self, &why);
    self->record = NULL;
    return HYB_PASS_RUN;
}

static void hyb_cuda_be_rehearse(hyb_backend *be, bool on) { hyb_cuda_of(be)->queue->rehearsing = on; }

static bool hyb_cuda_be_pass_end(hyb_backend *be)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hyb_cuda_record *record = self->record;
    hybrid_error why;
    self->record = NULL;
    if (!record) return true;
    if ((record->graph || !hyb_cuda_capture_end(self->queue, &record->graph, &why)) &&
        !hyb_cuda_graph_launch(self->queue, record->graph, &why)) {
        self->n_graph_failures = 0;
        return true;
    }
    hyb_cuda_graph_destroy(self->cu, record->graph);
    record->graph = NULL;
    if (self->queue->failure.result) return true; /* sync tells of a lost device */
    hyb_cuda_graph_failed(self, &why);
    return false;
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

#define HYB_OP(name_) \
    static void hyb_cuda_be_##name_(hyb_backend *be, const hyb_op_##name_ *op) \
    { \
        hyb_cuda_op_##name_(&hyb_cuda_of(be)->at, op); \
    }
#define HYB_PARTS(name_) \
    static bool hyb_cuda_be_##name_(hyb_backend *be, const hyb_op_##name_ *op) \
    { \
        return hyb_cuda_op_##name_(&hyb_cuda_of(be)->at, op); \
    }
HYB_OPS(HYB_OP, HYB_PARTS)
HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
#undef HYB_PARTS

static void hyb_cuda_be_copy(hyb_backend *be, void *dst, const void *src, size_t bytes)
{
    hyb_cuda_copy(hyb_cuda_of(be)->queue, dst, src, bytes);
}
static void hyb_cuda_be_zero(hyb_backend *be, void *dst, size_t bytes)
{
    hyb_cuda_zero(hyb_cuda_of(be)->queue, dst, bytes);
}
static void hyb_cuda_be_write(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    hyb_cuda_write(hyb_cuda_of(be)->queue, dst, host, bytes);
}
static void hyb_cuda_be_read(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    hyb_cuda_read(hyb_cuda_of(be)->queue, host, src, bytes);
}

static hyb_cuda_queue *hyb_cuda_lane(hyb_backend *be, hyb_lane lane)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    return lane == HYB_LANE_UP ? self->up : lane == HYB_LANE_DOWN ? self->down : self->queue;
}
static hybrid_result hyb_cuda_be_lanes(hyb_backend *be, hybrid_error *error)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hybrid_result r = self->down ? HYBRID_OK : hyb_cuda_queue_create(self->cu, &self->down, error);
    return r || self->up ? r : hyb_cuda_queue_create(self->cu, &self->up, error);
}
static void hyb_cuda_be_upload(hyb_backend *be, void *dst, const void *host, size_t bytes)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    if (self->up || !hyb_cuda_be_lanes(be, &self->queue->failure)) hyb_cuda_upload(self->up, dst, host, bytes);
}
static void hyb_cuda_be_download(hyb_backend *be, void *host, const void *src, size_t bytes)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    if (self->down || !hyb_cuda_be_lanes(be, &self->queue->failure)) hyb_cuda_download(self->down, host, src, bytes);
}
static void hyb_cuda_be_await(hyb_backend *be, hyb_lane lane, hyb_lane other)
{
    hyb_cuda_queue *q = hyb_cuda_lane(be, lane), *o = hyb_cuda_lane(be, other);
    if (q && o) hyb_cuda_wait(q, o); /* a lane that was never made holds nothing */
}

/* Whether copies beside the ops have failed: then none of them is under way any more. */
static hybrid_result hyb_cuda_lanes_failed(hyb_cuda_backend *self, hybrid_error *error)
{
    const bool failed = self->queue->failure.result || (self->up && self->up->failure.result) ||
                        (self->down && self->down->failure.result);
    hybrid_result up, down;
    if (!failed) return HYBRID_OK;
    up = self->up ? hyb_cuda_sync(self->up, error) : HYBRID_OK;
    down = self->down ? hyb_cuda_sync(self->down, up ? NULL : error) : HYBRID_OK;
    return up ? up : down;
}

/* Whatever failed on the GPU, the remedy is the same, to go on without it; so there is one code. */
static hybrid_result hyb_cuda_be_sync(hyb_backend *be, hybrid_error *error)
{
    hyb_cuda_at *at = &hyb_cuda_of(be)->at;
    hybrid_error why;
    const hybrid_result r = hyb_cuda_sync(at->q, &why), lanes = hyb_cuda_lanes_failed(hyb_cuda_of(be), r ? NULL : &why);
    return r || lanes ? hyb_fail(error, HYBRID_ERROR_DEVICE, "%s", why.message) : HYBRID_OK;
}

static void *hyb_cuda_be_stream(hyb_backend *be) { return hyb_cuda_of(be)->queue->stream; }

static void hyb_cuda_be_destroy(hyb_backend *be)
{
    hyb_cuda_backend *self = hyb_cuda_of(be);
    hyb_cuda *cu;
    hybrid_runtime *rt;
    int i;
    if (!be) return;
    cu = self->cu;
    rt = be->rt;
    if (self->queue) hyb_cuda_sync(self->queue, NULL);
    for (i = 0; i < HYB_CUDA_RECORDS; i++) hyb_cuda_graph_destroy(cu, self->records[i].graph);
    hyb_cuda_queue_destroy(self->up);
    hyb_cuda_queue_destroy(self->down);
    hyb_cuda_queue_destroy(self->queue);
    hyb_cuda_free(cu, self->memory);
    hyb_free(rt, self->picture);
    hyb_free(rt, self);
    hyb_runtime_release(rt);
}

static hybrid_result hyb_cuda_backend_fill(hyb_cuda_backend *self, const hyb_limits *limits, hybrid_error *error)
{
    const hyb_cuda_layout *l = &self->layout;
    hyb_cuda_batch *b = &self->at.batch;
    void *memory;
    hybrid_result r;
    if (!(self->picture = (char *)hyb_calloc(self->base.rt, 1, l->picture))) return hyb_fail_memory(error, l->picture);
    if ((r = hyb_cuda_alloc(self->cu, l->bytes, &memory, error)) != HYBRID_OK) return r;
    self->memory = (char *)memory;
    b->ids = (int32_t *)(void *)(self->memory + l->ids);
    b->pos = (int32_t *)(void *)(self->memory + l->pos);
    b->out = (int32_t *)(void *)(self->memory + l->out);
    b->run_of_row = (int32_t *)(void *)(self->memory + l->run_of_row);
    b->tiles = (int32_t *)(void *)(self->memory + l->tiles);
    b->split_rows = (int32_t *)(void *)(self->memory + l->split_rows);
    b->runs = (int32_t *)(void *)(self->memory + l->runs);
    b->pages = (int32_t *)(void *)(self->memory + l->pages);
    b->parts = (float *)(void *)(self->memory + l->parts);
    self->at.scratch = self->memory + l->scratch;
    self->at.scratch_bytes = l->scratch_bytes;
    if ((r = hyb_cuda_queue_create(self->cu, &self->queue, error)) != HYBRID_OK) return r;
    self->at.q = self->queue;
    hyb_cuda_zero(self->queue, b->parts, hyb_cuda_split_bytes(&l->split, limits->n_head, limits->head_dim_v));
    if (!hyb_cuda_workspace(limits, self->cu->cc)) return HYBRID_OK;
    return hyb_cuda_alloc(self->cu, hyb_cuda_workspace(limits, self->cu->cc), &self->queue->blas.workspace, error);
}

static hybrid_result hyb_cuda_backend_create(hyb_cuda *cu, const hyb_limits *limits, hyb_backend **be,
                                             hybrid_error *error)
{
    /* clang-format off */
    static const hyb_backend_ops ops = {
        "cuda",
#define HYB_OP(name_) hyb_cuda_be_##name_,
        HYB_OPS(HYB_OP, HYB_OP)
#undef HYB_OP
#define HYB_CALL(result_, name_, parameters_) hyb_cuda_be_##name_,
        HYB_BACKEND_CALLS(HYB_CALL)
#undef HYB_CALL
#define HYB_OP(name_) hyb_cuda_be_##name_,
        HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
    };
    /* clang-format on */
    hyb_cuda_backend *self = (hyb_cuda_backend *)hyb_calloc(cu->rt, 1, sizeof *self);
    hybrid_result r;
    *be = NULL;
    if (!self) return hyb_fail_memory(error, sizeof *self);
    self->base.ops = &ops;
    self->base.rt = cu->rt;
    self->cu = cu;
    hyb_atomic_add(&cu->rt->references, 1);
    hyb_cuda_layout_make(&self->layout, limits);
    if ((r = hyb_cuda_backend_fill(self, limits, error)) != HYBRID_OK) {
        hyb_cuda_be_destroy(&self->base);
        return r;
    }
    *be = &self->base;
    return HYBRID_OK;
}
/* ==== end src/cuda/backend.c ==== */

/* ==== begin src/cuda/provider.c ==== */
/* cuda/provider: the GPU as hybrid.h knows it: the list of devices, a device with memory, and the registration of
 * both before main. */

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
/* ==== end src/cuda/provider.c ==== */
HYB_TEPID_END

/* ==== begin src/core/end.h ==== */
/* core/end: closes what core/begin opened. */
#if defined(__clang__)
    #pragma clang diagnostic pop
    #pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
    #pragma GCC pop_options
    #pragma GCC diagnostic pop
#elif defined(_MSC_VER)
    #pragma warning(pop)
#endif
/* ==== end src/core/end.h ==== */

/* No private macro stays behind. */
#ifdef HYB_WIN32_LEAN
    #undef WIN32_LEAN_AND_MEAN
#endif
#ifdef HYB_NOMINMAX
    #undef NOMINMAX
#endif
#undef HYB_BACKEND_CALLS
#undef HYB_BIG_ENDIAN
#undef HYB_BLOCK_TYPES
#undef HYB_CALL
#undef HYB_COLD_BEGIN
#undef HYB_COLD_END
#undef HYB_COOL_BEGIN
#undef HYB_COOL_END
#undef HYB_COUNT
#undef HYB_CPU_KERNELS
#undef HYB_CPU_TRAIN_KERNELS
#undef HYB_CUBLAS_LIST
#undef HYB_CUDA_HEADS
#undef HYB_CUDA_KERNELS_EXPERTS
#undef HYB_CUDA_KERNELS_EXPERTS_BACK
#undef HYB_CUDA_KERNELS_EXPERTS_GEMM_BACK
#undef HYB_CUDA_KERNELS_KV
#undef HYB_CUDA_KERNELS_LOWRANK
#undef HYB_CUDA_KERNELS_QUANTIZE
#undef HYB_CUDA_KERNELS_RECURRENT
#undef HYB_CUDA_KERNELS_RECURRENT_BACK
#undef HYB_CUDA_KERNELS_ROPE
#undef HYB_CUDA_KERNELS_ROWS
#undef HYB_CUDA_KERNELS_RSSM
#undef HYB_CUDA_KERNELS_SELECT
#undef HYB_CUDA_KERNELS_TRAIN
#undef HYB_DRIVER_LIST
#undef HYB_DRIVER_OLD_LIST
#undef HYB_EXCESS_PRECISION
#undef HYB_FLOAT_TYPES
#undef HYB_HASH_A
#undef HYB_HASH_B
#undef HYB_INLINE
#undef HYB_KERNEL_NAME
#undef HYB_KERNEL_NUMBER
#undef HYB_LIKELY
#undef HYB_MAX
#undef HYB_MIN
#undef HYB_MODULE_OF_HEAD
#undef HYB_MODULE_OF_TYPE
#undef HYB_NOINLINE
#undef HYB_NOMINMAX
#undef HYB_NVRTC_LIST
#undef HYB_OP
#undef HYB_OPS
#undef HYB_PARTS
#undef HYB_PLACE
#undef HYB_PRINTF
#undef HYB_RESTRICT
#undef HYB_SEPARATOR
#undef HYB_STEPS
#undef HYB_TEPID_BEGIN
#undef HYB_TEPID_END
#undef HYB_THREADS_POSIX
#undef HYB_THREADS_WIN32
#undef HYB_TRAIN_OPS
#undef HYB_TYPES
#undef HYB_UNLIKELY
#undef HYB_UNUSED
#undef HYB_WIN32_LEAN
#undef HYB_X
#undef hyb_fail
#undef hyb_fail_memory
#endif
#endif

/*
 * hybrid is available under two licences: choose the one that you prefer.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE A - MIT No Attribution License (MIT-0)
 *
 * Copyright (c) 2026 the authors of hybrid
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of
 * this software and associated documentation files (the "Software"), to deal in
 * the Software without restriction, including without limitation the rights to
 * use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies
 * of the Software, and to permit persons to whom the Software is furnished to do
 * so.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 * SOFTWARE.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE B - Public Domain (www.unlicense.org)
 *
 * This is free and unencumbered software released into the public domain.
 *
 * Anyone is free to copy, modify, publish, use, compile, sell, or distribute this
 * software, either in source code form or as a compiled binary, for any purpose,
 * commercial or non-commercial, and by any means.
 *
 * In jurisdictions that recognize copyright laws, the author or authors of this
 * software dedicate any and all copyright interest in the software to the public
 * domain. We make this dedication for the benefit of the public at large and to
 * the detriment of our heirs and successors. We intend this dedication to be an
 * overt act of relinquishment in perpetuity of all present and future rights to
 * this software under copyright law.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
 * ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION
 * WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */
