/* hybrid_cuda 0.1.0: hybrid.h on an NVIDIA GPU. No CUDA toolkit is needed to build, none of its files is included.
 *
 * MADE FROM src/ BY amalgamate.py (source id 5b596afc5a010987): edit there, not here.
 *
 *     #define HYBRID_IMPLEMENTATION
 *     #include "hybrid.h"
 *     #include "hybrid_cuda.h"
 *
 * That is all: models now use the GPU when there is one, and the CPU when not. At run time the driver is looked for, then NVRTC (it compiles the
 * kernels below for the GPU that is found) and cuBLAS; both come with the CUDA toolkit or with the PyPI packages nvidia-cuda-nvrtc and
 * nvidia-cublas. What is missing is said in the log and by hybrid_devices(); the program runs on. Which device, and how much of its memory: see
 * hybrid_runtime_desc. Linux and Windows, 64 bit. Take both headers from the same release.
 *
 * CONTENTS (line, file)
 *
 *   src/core: errors, memory, threads, files, processor features, random numbers
 *       36  begin.h            opens the implementation: system headers, and what the compilers are told about this part of...
 *       99  macros.h           what compilers call things, and the macros that every room uses
 *     1115  end.h              closes what core/begin opened
 *
 *   src/cuda: the table of operations on a GPU
 *      137  modules.c          the programs that NVRTC compiles: which texts, with which -D, make which kernels
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
#define HYBRID_CUDA__SOURCE_ID "5b596afc5a010987"

/* ==== begin src/core/begin.h ==== */
/* core/begin: opens the implementation: system headers, and what the compilers are told about this part of the file only. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
    #ifndef WIN32_LEAN_AND_MEAN
        #define WIN32_LEAN_AND_MEAN
        #define HYBRID__WIN32_LEAN
    #endif
    #ifndef NOMINMAX
        #define NOMINMAX
        #define HYBRID__NOMINMAX
    #endif
    #include <windows.h>
    #ifdef _MSC_VER
        #include <intrin.h>
    #endif
#else
    #include <fcntl.h>
    #include <sys/mman.h>
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
    #pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wunused-function"
    #pragma GCC diagnostic ignored "-Wmaybe-uninitialized"    /* arrays of registers, set in loops that gcc warns about before it unrolls them */
    #pragma GCC push_options
    #pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
    #pragma warning(push, 3)
    #pragma fp_contract(off)
#endif
#if defined(__FAST_MATH__)
    #error "hybrid: -ffast-math breaks the promise of equal results (and NaN checks); compile the file with the implementation without it"
#endif
/* ==== end src/core/begin.h ==== */

/* ==== begin src/core/macros.h ==== */
/* core/macros: what compilers call things, and the macros that every room uses. */

#define HYBRID__UNUSED(x) ((void)(x))
#define HYBRID__COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HYBRID__MIN(a, b) ((a) < (b) ? (a) : (b))
#define HYBRID__MAX(a, b) ((a) > (b) ? (a) : (b))

#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__INLINE static inline __attribute__((always_inline))
    #define HYBRID__NOINLINE __attribute__((noinline))
    #define HYBRID__LIKELY(x) __builtin_expect(!!(x), 1)
    #define HYBRID__UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define HYBRID__RESTRICT __restrict__
    #define HYBRID__PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
    #define HYBRID__INLINE static __forceinline
    #define HYBRID__NOINLINE __declspec(noinline)
    #define HYBRID__LIKELY(x) (x)
    #define HYBRID__UNLIKELY(x) (x)
    #define HYBRID__RESTRICT __restrict
    #define HYBRID__PRINTF(fmt, args)
#endif

#ifndef HYBRID_NO_THREADS
    #if defined(_WIN32)
        #define HYBRID__THREADS_WIN32
    #else
        #define HYBRID__THREADS_POSIX
    #endif
#endif

/* A failing line reads: return hybrid__fail(err, HYBRID_ERROR_FORMAT, "..."); see core/base.c. */
#define hybrid__fail(err, result, ...) hybrid__fail_at(err, result, 0, __VA_ARGS__)
#define hybrid__fail_memory(err, bytes) \
    hybrid__fail_at(err, HYBRID_ERROR_MEMORY, 0, "out of memory: an allocation of %llu bytes failed", (unsigned long long)(bytes))
/* ==== end src/core/macros.h ==== */

/* ==== begin src/cuda/modules.c ==== */
/* cuda/modules: the programs that NVRTC compiles: which texts, with which -D, make which kernels. A module is compiled when one of its kernels
 * is first asked for, so modules are small: per quantized type one, from the same text.
 *
 * A new module: a text (HYBRID__EMBED), an entry of the enumeration, a row of the table, in the same order. tests/nvrtc_check.py compiles all. */

static const char *const hybrid__cuda_text_prelude[] = {
"/* prelude: the seam between kernels and the machine. Kernels are written over these functions and the CUDA built-ins alone; under NVRTC\n"
" * their bodies are PTX (no CUDA header is needed), the emulator of tests/emu brings its own. Lane numbers: t = lane % 4, g = lane / 4. */\n"
"#ifndef HYBRID_EMULATOR\n"
"\n"
"typedef unsigned short half_t;          /* the bits of an IEEE half */\n"
"typedef unsigned short bf16_t;          /* the upper half of a float */\n"
"typedef signed char i8;\n"
"typedef unsigned char u8;\n"
"typedef unsigned short u16;\n"
"typedef unsigned int u32;\n"
"typedef unsigned long long u64;\n"
"typedef long long i64;\n"
"\n"
"#define SEAM __device__ __forceinline__\n"
"\n"
"/* ---- 16-bit floats, to nearest even ---- */\n"
"SEAM float h2f(half_t h) { float f; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(f) : \"h\"(h)); return f; }\n"
"SEAM half_t f2h(float f) { half_t h; asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(f)); return h; }\n"
"SEAM float bf2f(bf16_t b) { return __uint_as_float((u32)b << 16); }\n"
"#if __CUDA_ARCH__ >= 800\n"
"SEAM bf16_t f2bf(float f) { bf16_t b; asm(\"cvt.rn.bf16.f32 %0, %1;\" : \"=h\"(b) : \"f\"(f)); return b; }\n"
"SEAM u32 f2h2(float lo, float hi) { u32 r; asm(\"cvt.rn.f16x2.f32 %0, %1, %2;\" : \"=r\"(r) : \"f\"(hi), \"f\"(lo)); return r; }\n"
"SEAM u32 f2bf2(float lo, float hi) { u32 r; asm(\"cvt.rn.bf16x2.f32 %0, %1, %2;\" : \"=r\"(r) : \"f\"(hi), \"f\"(lo)); return r; }\n"
"#else\n"
"SEAM bf16_t f2bf(float f)\n"
"{\n"
"    u32 u = __float_as_uint(f);\n"
"    return (bf16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FFFu : (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);\n"
"}\n"
"SEAM u32 f2h2(float lo, float hi) { return (u32)f2h(lo) | (u32)f2h(hi) << 16; }\n"
"SEAM u32 f2bf2(float lo, float hi) { return (u32)f2bf(lo) | (u32)f2bf(hi) << 16; }\n"
"#endif\n"
"\n"
"SEAM int dot4(int a, int b, int c) { return __dp4a(a, b, c); }\n"
"SEAM float fast_exp(float x) { float y; asm(\"ex2.approx.ftz.f32 %0, %1;\" : \"=f\"(y) : \"f\"(x * 1.4426950408889634f)); return y; }\n"
"\n"
"/* ---- a warp, a block ---- */\n"
"SEAM float shfl_xor(float v, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, v, mask); }\n"
"SEAM int shfl_xor(int v, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, v, mask); }\n"
"SEAM float shfl(float v, int lane) { return __shfl_sync(0xFFFFFFFFu, v, lane); }\n"
"SEAM int shfl(int v, int lane) { return __shfl_sync(0xFFFFFFFFu, v, lane); }\n"
"SEAM void warp_sync() { __syncwarp(); }\n"
"SEAM void block_sync() { __syncthreads(); }\n"
"\n"
"/* ---- tensor cores. A lane's share of m16n8k16: a0 = A[g][2t, 2t+1], a1 = A[g+8][..], a2 = A[g][2t+8, ..], a3 = A[g+8][2t+8, ..];\n"
" * b0 = B[2t, 2t+1][g], b1 = B[2t+8, ..][g]; d0, d1 = D[g][2t, 2t+1], d2, d3 = D[g+8][2t, 2t+1]. m16n8k32 of bytes: four for two values. ---- */\n"
"#if __CUDA_ARCH__ >= 800\n"
"SEAM void mma_f16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    asm(\"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1]));\n"
"}\n"
"SEAM void mma_bf16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    asm(\"mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1]));\n"
"}\n"
"SEAM void mma_s8(int d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    asm(\"mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\"\n"
"        : \"+r\"(d[0]), \"+r\"(d[1]), \"+r\"(d[2]), \"+r\"(d[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[0]), \"r\"(b[1]));\n"
"}\n"
"#else\n"
"SEAM void mma_f16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n",
"    asm(\"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"r\"(a[0]), \"r\"(a[1]), \"r\"(b[0]));\n"
"    asm(\"mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};\"\n"
"        : \"+f\"(d[0]), \"+f\"(d[1]), \"+f\"(d[2]), \"+f\"(d[3]) : \"r\"(a[2]), \"r\"(a[3]), \"r\"(b[1]));\n"
"}\n"
"/* No bf16 units before sm_80, and halves have not the range: rows and columns are gathered by shuffles and multiplied in float32. Slow, right. */\n"
"SEAM void mma_bf16(float d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    int lane = (int)(threadIdx.x & 31u), row = lane & ~3, column = (lane & 3) * 8;\n"
"    for (int j = 0; j < 4; j++) for (int half = 0; half < 2; half++) {\n"
"        u32 low = (u32)shfl((int)a[2 * half], row + j), high = (u32)shfl((int)a[2 * half + 1], row + j);\n"
"        u32 left = (u32)shfl((int)b[half], column + j), right = (u32)shfl((int)b[half], column + 4 + j);\n"
"        for (int i = 0; i < 2; i++) {\n"
"            float l = bf2f((bf16_t)(left >> 16 * i)), r = bf2f((bf16_t)(right >> 16 * i));\n"
"            float p = bf2f((bf16_t)(low >> 16 * i)), q = bf2f((bf16_t)(high >> 16 * i));\n"
"            d[0] = fmaf(p, l, d[0]); d[1] = fmaf(p, r, d[1]); d[2] = fmaf(q, l, d[2]); d[3] = fmaf(q, r, d[3]);\n"
"        }\n"
"    }\n"
"}\n"
"SEAM void mma_s8_part(int *d, u32 a, u32 b)\n"
"{\n"
"    asm(\"mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};\" : \"+r\"(d[0]), \"+r\"(d[1]) : \"r\"(a), \"r\"(b));\n"
"}\n"
"SEAM void mma_s8(int d[4], const u32 a[4], const u32 b[2])\n"
"{\n"
"    mma_s8_part(d, a[0], b[0]); mma_s8_part(d + 2, a[1], b[0]);\n"
"    mma_s8_part(d, a[2], b[1]); mma_s8_part(d + 2, a[3], b[1]);\n"
"}\n"
"#endif\n"
"\n"
"/* ---- shared memory ---- */\n"
"SEAM u32 shared_address(const void *shared) { return (u32)__cvta_generic_to_shared(shared); }\n"
"\n"
"/* Matrices of 8 x 8 16-bit values; lane i gives the address of row i % 8 (16 bytes, 16-aligned) of matrix i / 8 (x2: lanes 0-15). */\n"
"SEAM void ldsm_x4(u32 r[4], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\"\n"
"                 : \"=r\"(r[0]), \"=r\"(r[1]), \"=r\"(r[2]), \"=r\"(r[3]) : \"r\"(shared_address(shared)) : \"memory\");\n"
"}\n"
"SEAM void ldsm_x4_trans(u32 r[4], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\"\n"
"                 : \"=r\"(r[0]), \"=r\"(r[1]), \"=r\"(r[2]), \"=r\"(r[3]) : \"r\"(shared_address(shared)) : \"memory\");\n"
"}\n"
"SEAM void ldsm_x2(u32 r[2], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\" : \"=r\"(r[0]), \"=r\"(r[1]) : \"r\"(shared_address(shared)) : \"memory\");\n"
"}\n"
"SEAM void ldsm_x2_trans(u32 r[2], const void *shared)\n"
"{\n"
"    asm volatile(\"ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\" : \"=r\"(r[0]), \"=r\"(r[1]) : \"r\"(shared_address(shared)) : \"memory\");\n"
"}\n"
"\n"
"/* 16 bytes from global to shared memory, both 16-aligned; zeros when !valid (the address is not read then, but must be a pointer). They have\n"
" * arrived for the thread that asked after cp_wait<N>, N = the number of later cp_commit()s that may still be under way. */\n"
"#if __CUDA_ARCH__ >= 800\n"
"SEAM void cp_async16(void *shared, const void *global, bool valid)\n"
"{\n"
"    asm volatile(\"cp.async.cg.shared.global [%0], [%1], 16, %2;\" :: \"r\"(shared_address(shared)), \"l\"(global), \"r\"(valid ? 16 : 0) : \"memory\");\n"
"}\n"
"SEAM void cp_commit() { asm volatile(\"cp.async.commit_group;\" ::: \"memory\"); }\n"
"template<int N> SEAM void cp_wait() { asm volatile(\"cp.async.wait_group %0;\" :: \"n\"(N) : \"memory\"); }\n"
"#else\n"
"SEAM void cp_async16(void *shared, const void *global, bool valid)\n"
"{\n"
"    uint4 v = make_uint4(0, 0, 0, 0);\n",
"    if (valid) v = *(const uint4 *)global;\n"
"    *(uint4 *)shared = v;\n"
"}\n"
"SEAM void cp_commit() {}\n"
"template<int N> SEAM void cp_wait() {}\n"
"#endif\n"
"\n"
"/* 16 bytes of global memory, 16-aligned, that are read once: they shall not push others out of the first cache. */\n"
"SEAM uint4 load_stream(const void *global)\n"
"{\n"
"    uint4 v;\n"
"    asm(\"ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];\" : \"=r\"(v.x), \"=r\"(v.y), \"=r\"(v.z), \"=r\"(v.w) : \"l\"(global));\n"
"    return v;\n"
"}\n"
"\n"
"#endif /* HYBRID_EMULATOR */\n"
"\n"
"/* ---- over the seam, the same everywhere. All 32 lanes take part; every lane gets the result. ---- */\n"
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
static const char *const hybrid__cuda_text_quant[] = {
"/* quant: the blocks of weights as the device reads them. TYPE (-D) is the number of the type; layouts: quant/blocks.c.\n"
" *\n"
" * Quantized types: a block has PIECES pieces of 32 values. A piece is two halves of 16 neighbouring values, value = s[half] * q - m[half], with\n"
" * q as bytes (never negative but for Q8_0), four in a word. Half h starts at value half_at(piece, h) of the block. In the types of 32 it\n"
" * is all simple; in super-blocks the two halves are those that share bytes (low and high nibbles), so that no byte is read for nothing.\n"
" *     decode_piece(block, piece, &p);   then  piece_value(p, i), i = 0..31: values half_at(piece, 0) + i, and half_at(piece, 1) + i - 16\n"
" * Floats: IS_FLOAT, float_at(row, i).\n"
" * Blocks may lie in global or shared memory at the alignment that a file gives them (BLOCK_ALIGN); nothing outside a block's row is read. */\n"
"#define TYPE_F32 0\n"
"#define TYPE_F16 1\n"
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
"#define TYPE_BF16 30\n"
"\n"
"#if TYPE == TYPE_F32 || TYPE == TYPE_F16 || TYPE == TYPE_BF16\n"
"#define IS_FLOAT 1\n"
"#else\n"
"#define IS_FLOAT 0\n"
"#endif\n"
"\n"
"#if TYPE == TYPE_F32\n"
"#define BLOCK_BYTES 4\n"
"#elif TYPE == TYPE_F16 || TYPE == TYPE_BF16\n"
"#define BLOCK_BYTES 2\n"
"#elif TYPE == TYPE_Q4_0\n"
"#define BLOCK_BYTES 18\n"
"#define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q4_1\n"
"#define BLOCK_BYTES 20\n"
"#define BLOCK_ALIGN 4\n"
"#elif TYPE == TYPE_Q5_0\n"
"#define BLOCK_BYTES 22\n"
"#define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q5_1\n"
"#define BLOCK_BYTES 24\n"
"#define BLOCK_ALIGN 8\n"
"#elif TYPE == TYPE_Q8_0\n"
"#define BLOCK_BYTES 34\n"
"#define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q2_K\n"
"#define BLOCK_BYTES 84\n"
"#define BLOCK_ALIGN 4\n"
"#elif TYPE == TYPE_Q3_K\n"
"#define BLOCK_BYTES 110\n"
"#define BLOCK_ALIGN 2\n"
"#elif TYPE == TYPE_Q4_K\n"
"#define BLOCK_BYTES 144\n"
"#define BLOCK_ALIGN 16\n"
"#elif TYPE == TYPE_Q5_K\n"
"#define BLOCK_BYTES 176\n"
"#define BLOCK_ALIGN 16\n"
"#elif TYPE == TYPE_Q6_K\n"
"#define BLOCK_BYTES 210\n"
"#define BLOCK_ALIGN 2\n"
"#else\n"
"#error \"TYPE is not one of the types of weights\"\n"
"#endif\n"
"\n"
"#if IS_FLOAT\n"
"#define BLOCK 1\n"
"DEVICE float float_at(const void *row, i64 i)\n"
"{\n"
"#if TYPE == TYPE_F32\n"
"    return ((const float *)row)[i];\n"
"#elif TYPE == TYPE_F16\n"
"    return h2f(((const half_t *)row)[i]);\n"
"#else\n"
"    return bf2f(((const bf16_t *)row)[i]);\n"
"#endif\n"
"}\n"
"\n"
"#else\n"
"#if TYPE >= TYPE_Q2_K\n"
"#define PIECES 8\n"
"#else\n"
"#define PIECES 1\n"
"#endif\n"
"#define BLOCK (32 * PIECES)\n"
"#define HAS_MIN (TYPE != TYPE_Q8_0)         /* m is not zero */\n"
"#define ONE_SCALE (PIECES == 1)             /* both halves have the same s and m, and are neighbours */\n"
"\n"
"struct piece { int w[8]; float s[2], m[2]; };\n"
"\n"
"/* N words from p, which is aligned to ALIGN bytes. Aligned to two: the words around them, shifted; the last two bytes alone, so that nothing\n"
" * behind the N words is read. */\n"
"template<int N, int ALIGN> DEVICE void load_words(const u8 *p, u32 *w)\n"
"{\n"
"    if constexpr (ALIGN == 16 && N == 4) {\n"
"        uint4 v = *(const uint4 *)p;\n"
"        w[0] = v.x; w[1] = v.y; w[2] = v.z; w[3] = v.w;\n"
"    } else if constexpr (ALIGN >= 8 && N % 2 == 0) {\n"
"#pragma unroll\n"
"        for (int i = 0; i < N / 2; i++) { uint2 v = ((const uint2 *)p)[i]; w[2 * i] = v.x; w[2 * i + 1] = v.y; }\n"
"    } else if constexpr (ALIGN >= 4) {\n"
"#pragma unroll\n"
"        for (int i = 0; i < N; i++) w[i] = ((const u32 *)p)[i];\n"
"    } else {\n"
"        bool between = ((u64)p & 2) != 0;\n"
"        const u32 *words = (const u32 *)(p - (between ? 2 : 0));\n"
"        u32 v[N + 1], order = between ? 0x5432u : 0x3210u;\n"
"#pragma unroll\n"
"        for (int i = 0; i < N; i++) v[i] = words[i];\n",
"        v[N] = between ? (u32)*(const u16 *)(p + 4 * N - 2) : 0u;\n"
"#pragma unroll\n"
"        for (int i = 0; i < N; i++) w[i] = __byte_perm(v[i], v[i + 1], order);\n"
"    }\n"
"}\n"
"DEVICE float half_of(const u8 *p) { return h2f(*(const half_t *)p); }\n"
"\n"
"/* Bits 0-3 of `bits`, each as bit 4 of a byte. */\n"
"DEVICE u32 spread_fifth(u32 bits) { return ((bits & 15u) * 0x02040810u) & 0x10101010u; }\n"
"\n"
"#if PIECES == 1\n"
"DEVICE int half_at(int piece, int half) { return half * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int, piece *p)\n"
"{\n"
"#if TYPE == TYPE_Q8_0\n"
"    load_words<8, 2>(block + 2, (u32 *)p->w);\n"
"    p->s[0] = p->s[1] = half_of(block);\n"
"    p->m[0] = p->m[1] = 0.0f;\n"
"#else\n"
"    const int at_qs = BLOCK_BYTES - 16;\n"
"    u32 q[4];\n"
"#if TYPE == TYPE_Q5_1\n"
"    load_words<4, 8>(block + at_qs, q);\n"
"#elif TYPE == TYPE_Q4_1\n"
"    load_words<4, 4>(block + at_qs, q);\n"
"#else\n"
"    load_words<4, 2>(block + at_qs, q);\n"
"#endif\n"
"#pragma unroll\n"
"    for (int j = 0; j < 4; j++) { p->w[j] = (int)(q[j] & 0x0F0F0F0Fu); p->w[4 + j] = (int)(q[j] >> 4 & 0x0F0F0F0Fu); }\n"
"#if TYPE == TYPE_Q5_0 || TYPE == TYPE_Q5_1\n"
"    u32 qh;\n"
"    load_words<1, TYPE == TYPE_Q5_0 ? 2 : 4>(block + at_qs - 4, &qh);\n"
"#pragma unroll\n"
"    for (int j = 0; j < 8; j++) p->w[j] |= (int)spread_fifth(qh >> 4 * j);\n"
"#endif\n"
"    float d = half_of(block);\n"
"    p->s[0] = p->s[1] = d;\n"
"#if TYPE == TYPE_Q4_1 || TYPE == TYPE_Q5_1\n"
"    p->m[0] = p->m[1] = -half_of(block + 2);\n"
"#else\n"
"    p->m[0] = p->m[1] = d * (TYPE == TYPE_Q4_0 ? 8.0f : 16.0f);\n"
"#endif\n"
"#endif\n"
"}\n"
"\n"
"#elif TYPE == TYPE_Q4_K || TYPE == TYPE_Q5_K\n"
"/* A quarter of 64 values is two pieces: bytes 0-15 and 16-31 of its 32; a piece's halves are their low and their high nibbles. */\n"
"DEVICE int half_at(int piece, int half) { return (piece >> 1) * 64 + half * 32 + (piece & 1) * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int piece_, piece *p)\n"
"{\n"
"    int quarter = piece_ >> 1;\n"
"    u32 head[4], q[4];                                              /* d, dmin; 12 bytes of scales */\n"
"    load_words<4, 16>(block, head);\n"
"    load_words<4, 16>(block + BLOCK_BYTES - 128 + 16 * piece_, q);\n"
"#pragma unroll\n"
"    for (int j = 0; j < 4; j++) { p->w[j] = (int)(q[j] & 0x0F0F0F0Fu); p->w[4 + j] = (int)(q[j] >> 4 & 0x0F0F0F0Fu); }\n"
"#if TYPE == TYPE_Q5_K\n"
"    u32 h[4];\n"
"    load_words<4, 16>(block + 16 + 16 * (piece_ & 1), h);\n"
"#pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        u32 two = h[j] >> 2 * quarter;\n"
"        p->w[j] |= (int)(two << 4 & 0x10101010u);\n"
"        p->w[4 + j] |= (int)(two << 3 & 0x10101010u);\n"
"    }\n"
"#endif\n"
"    bool first = quarter < 2;                                       /* sub-blocks 0-3, 4-7 */\n"
"    u32 sc = first ? head[1] & 0x3F3F3F3Fu : (head[3] & 0x0F0F0F0Fu) | (head[1] >> 2 & 0x30303030u);\n"
"    u32 mn = first ? head[2] & 0x3F3F3F3Fu : (head[3] >> 4 & 0x0F0F0F0Fu) | (head[2] >> 2 & 0x30303030u);\n"
"    sc >>= 16 * (quarter & 1); mn >>= 16 * (quarter & 1);\n"
"    float d = h2f((half_t)head[0]), dmin = h2f((half_t)(head[0] >> 16));\n"
"    p->s[0] = d * (float)(sc & 255u); p->s[1] = d * (float)(sc >> 8 & 255u);\n"
"    p->m[0] = dmin * (float)(mn & 255u); p->m[1] = dmin * (float)(mn >> 8 & 255u);\n"
"}\n"
"\n"
"#elif TYPE == TYPE_Q6_K\n"
"/* A half of 128 values is four pieces, 16 bytes of ql each; a piece's halves are their low and high nibbles, 64 values apart. */\n"
"DEVICE int half_at(int piece, int half) { return (piece >> 2) * 128 + half * 64 + (piece & 3) * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int piece_, piece *p)\n"
"{\n"
"    int part = piece_ >> 2, r = piece_ & 3;\n"
"    u32 q[4], h[4];\n"
"    load_words<4, 2>(block + 16 * piece_, q);\n"
"    load_words<4, 2>(block + 128 + 32 * part + 16 * (r & 1), h);\n"
"#pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n",
"        u32 high = h[j] >> (r & 2);                                 /* bits 0, 1: of the low nibble's value; 4, 5: of the high one's */\n"
"        p->w[j] = (int)((q[j] & 0x0F0F0F0Fu) | (high << 4 & 0x30303030u));\n"
"        p->w[4 + j] = (int)((q[j] >> 4 & 0x0F0F0F0Fu) | (high & 0x30303030u));\n"
"    }\n"
"    float d = half_of(block + 208);\n"
"    const i8 *sc = (const i8 *)block + 192 + 8 * part + r;\n"
"    p->s[0] = d * (float)sc[0]; p->s[1] = d * (float)sc[4];\n"
"    p->m[0] = 32.0f * p->s[0]; p->m[1] = 32.0f * p->s[1];\n"
"}\n"
"\n"
"#else\n"
"/* Q2_K, Q3_K. A half of 128 values has 32 bytes in four planes of two bits. Piece: 16 of the bytes (side), two of the planes (pair). */\n"
"DEVICE int half_at(int piece, int half) { return (piece >> 2) * 128 + ((piece >> 1 & 1) * 2 + half) * 32 + (piece & 1) * 16; }\n"
"\n"
"DEVICE void decode_piece(const u8 *block, int piece_, piece *p)\n"
"{\n"
"    int part = piece_ >> 2, pair = piece_ >> 1 & 1, side = piece_ & 1, s0 = 8 * part + 4 * pair + side, s1 = s0 + 2;    /* sub-blocks */\n"
"    u32 q[4];\n"
"    load_words<4, BLOCK_ALIGN>(block + (TYPE == TYPE_Q2_K ? 16 : 32) + 32 * part + 16 * side, q);\n"
"#pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        u32 two = q[j] >> 4 * pair;\n"
"        p->w[j] = (int)(two & 0x03030303u);\n"
"        p->w[4 + j] = (int)(two >> 2 & 0x03030303u);\n"
"    }\n"
"#if TYPE == TYPE_Q2_K\n"
"    float d = half_of(block + 80), dmin = half_of(block + 82);\n"
"    u32 a = block[s0], b = block[s1];\n"
"    p->s[0] = d * (float)(a & 15u); p->s[1] = d * (float)(b & 15u);\n"
"    p->m[0] = dmin * (float)(a >> 4); p->m[1] = dmin * (float)(b >> 4);\n"
"#else\n"
"    u32 h[4];\n"
"    load_words<4, 2>(block + 16 * side, h);\n"
"#pragma unroll\n"
"    for (int j = 0; j < 4; j++) {\n"
"        u32 two = h[j] >> (4 * part + 2 * pair);\n"
"        p->w[j] |= (int)(two << 2 & 0x04040404u);\n"
"        p->w[4 + j] |= (int)(two << 1 & 0x04040404u);\n"
"    }\n"
"    const u8 *sc = block + 96;                                      /* s / 8 is part; s / 4 is 2 part + pair; s0 % 8 + 2 = s1 % 8 */\n"
"    int a = (sc[s0 & 7] >> 4 * part & 15) | (sc[8 + (s0 & 3)] >> 2 * (2 * part + pair) & 3) << 4;\n"
"    int b = (sc[s1 & 7] >> 4 * part & 15) | (sc[8 + (s1 & 3)] >> 2 * (2 * part + pair) & 3) << 4;\n"
"    float d = half_of(block + 108);\n"
"    p->s[0] = d * (float)(a - 32); p->s[1] = d * (float)(b - 32);\n"
"    p->m[0] = 4.0f * p->s[0]; p->m[1] = 4.0f * p->s[1];\n"
"#endif\n"
"}\n"
"#endif\n"
"\n"
"/* Value i (a constant, when unrolled) of a piece; rounded once. */\n"
"DEVICE float piece_value(const piece &p, int i)\n"
"{\n"
"    int byte = (int)((u32)p.w[i >> 2] << (24 - 8 * (i & 3))) >> 24;\n"
"    return fmaf(p.s[i >> 4], (float)byte, -p.m[i >> 4]);\n"
"}\n"
"#endif\n",
NULL
};
static const char *const hybrid__cuda_text_quantize[] = {
"/* quantize: activations into what the products of quantized weights read.\n"
" *\n"
" * Per row of k values (k % 32 == 0): q (k signed bytes), d (k / 32 scales; value = d * q), s (k / 16 sums d * sum(q) of 16 values each, for\n"
" * types whose blocks have an offset). Rows follow each other without gaps. One warp makes one block of 32; grid (ceil(k / 256), rows), 256 threads. */\n"
"KERNEL __launch_bounds__(256) quantize(const float *__restrict__ x, i64 x_stride, int k, i8 *__restrict__ q, float *__restrict__ d, float *__restrict__ s)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    i64 row = blockIdx.y;\n"
"    if (i >= k) return;                                             /* whole warps: k is a multiple of 32 */\n"
"    float v = x[row * x_stride + i];\n"
"    float top = warp_max(fabsf(v));\n"
"    int whole = top > 1e-35f ? (int)rintf(v * (127.0f / top)) : 0;\n"
"    int sum = whole;\n"
"    for (int mask = 8; mask > 0; mask >>= 1) sum += shfl_xor(sum, mask);\n"
"    float scale = top * (1.0f / 127.0f);\n"
"    q[row * k + i] = (i8)whole;\n"
"    if ((i & 31) == 0) d[(row * k + i) >> 5] = scale;\n"
"    if ((i & 15) == 0) s[(row * k + i) >> 4] = scale * (float)sum;\n"
"}\n"
"\n"
"/* Rows for the half-precision product: out (rows, k_out), zeros from k to k_out (a multiple of 8). A value beyond the range of a half becomes the\n"
" * largest half, not infinity: such an activation is off by its excess then, but the rest of the row is right. */\n"
"KERNEL __launch_bounds__(256) to_half(const float *__restrict__ x, i64 x_stride, int k, half_t *__restrict__ out, int k_out)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    i64 row = blockIdx.y;\n"
"    if (i >= k_out) return;\n"
"    float v = i < k ? x[row * x_stride + i] : 0.0f;\n"
"    out[row * k_out + i] = f2h(fminf(fmaxf(v, -65504.0f), 65504.0f));\n"
"}\n"
"\n"
"/* The same for bf16, which has the range of a float. */\n"
"KERNEL __launch_bounds__(256) to_bf16(const float *__restrict__ x, i64 x_stride, int k, bf16_t *__restrict__ out, int k_out)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    i64 row = blockIdx.y;\n"
"    if (i < k_out) out[row * k_out + i] = i < k ? f2bf(x[row * x_stride + i]) : (bf16_t)0;\n"
"}\n"
"\n"
"/* y (n, out) = bias, or y += bias: what a product by cuBLAS, which adds to y, begins with. grid (ceil(out / 256), n), 256 threads. */\n"
"KERNEL __launch_bounds__(256) begin_bias(const float *__restrict__ bias, float *__restrict__ y, i64 y_stride, int out, int add)\n"
"{\n"
"    int i = (int)(blockIdx.x * 256 + threadIdx.x);\n"
"    if (i >= out) return;\n"
"    float *to = y + (i64)blockIdx.y * y_stride + i;\n"
"    *to = bias[i] + (add ? *to : 0.0f);\n"
"}\n",
NULL
};
static const char *const hybrid__cuda_text_matvec[] = {
"/* matvec: y (n, rows) = x (n, k) . W (rows, k)^T + bias, or y += that, for 1 to 8 rows of x: limited by the bytes of W, which are read once, straight\n"
" * from the blocks of the file.\n"
" *\n"
" * A warp has ROWS neighbouring rows of W at a time and walks along them in segments of SEGMENT values. Segments are copied to the warp's own\n"
" * shared memory as they lie in the file, in aligned units of 16 bytes (rows begin at any even address), STAGES - 1 of them ahead: the\n"
" * copies need no registers, so enough bytes are under way to fill the memory's latency, also from one row of W to the next. Warps share nothing.\n"
" *\n"
" * Quantized types: x comes as q, d, s of quantize.cu. A lane has one piece of 32 values of a segment: 8 integer dot products of 4, then\n"
" * sum += s * d_x * (q . q_x) - m * s_x. Floats: x is float32, a lane has two groups of 16 bytes.\n"
" *\n"
" * Up to four matrices of one type and one k in a launch. Rows of x beyond n are computed as copies of the last and not stored.\n"
" * -DBATCH: the kernels for more than one row, which a program that answers one user may never need. */\n"
"#define WARPS 4\n"
"#define ROWS 2\n"
"\n"
"struct matrix { const u8 *w; const float *bias; float *y; i64 y_stride; int rows, add; };       /* w 16-aligned; bias may be NULL */\n"
"struct matrices { matrix m[4]; int n; };\n"
"\n"
"#if IS_FLOAT\n"
"#define VALUES (16 / BLOCK_BYTES)                           /* values in 16 bytes */\n"
"#define SEGMENT (64 * VALUES)\n"
"#else\n"
"#define SEGMENT 1024\n"
"#endif\n"
"#define SEGMENT_BYTES (SEGMENT / BLOCK * BLOCK_BYTES)\n"
"#define WINDOW ((SEGMENT_BYTES + 14 + 15) / 16 * 16)        /* a segment begins up to 14 bytes behind an aligned address */\n"
"#define STAGES (SEGMENT_BYTES > 800 ? 3 : 4)\n"
"\n"
"struct operand { int k, n; i64 row_bytes; const void *x; i64 x_stride; const float *d, *s; };\n"
"\n"
"/* Where a warp is: which group of ROWS rows, and which segment of it. */\n"
"struct place { int group, segment; };\n"
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
"/* The bytes of row r of a group at a segment: address of the first, and behind the last. */\n"
"DEVICE const u8 *segment_begin(const matrix &m, int group, int r, int segment, i64 row_bytes, const u8 **end)\n"
"{\n"
"    const u8 *row = m.w + (i64)min(group * ROWS + r, m.rows - 1) * row_bytes, *begin = row + (i64)segment * SEGMENT_BYTES;\n"
"    *end = (i64)(segment + 1) * SEGMENT_BYTES < row_bytes ? begin + SEGMENT_BYTES : row + row_bytes;\n"
"    return begin;\n"
"}\n"
"\n"
"DEVICE void fetch(const matrices &ms, place at, i64 row_bytes, u8 *stage, int lane)\n"
"{\n"
"    int group = at.group;\n"
"    const matrix &m = matrix_of(ms, &group);\n"
"    const u8 *limit = m.w + (i64)m.rows * row_bytes;\n"
"#pragma unroll\n"
"    for (int r = 0; r < ROWS; r++) {\n"
"        const u8 *end, *begin = segment_begin(m, group, r, at.segment, row_bytes, &end);\n"
"        const u8 *first = begin - ((u64)begin & 15);\n"
"#pragma unroll\n"
"        for (int i = 0; i < (WINDOW / 16 + 31) / 32; i++) {\n"
"            const u8 *from = first + 16 * (lane + 32 * i);\n"
"            u8 *to = stage + r * WINDOW + 16 * (lane + 32 * i);\n"
"            if (from >= end) continue;\n"
"            if (from + 16 <= limit) cp_async16(to, from, true);\n"
"            else for (int b = 0; b < 16 && from + b < limit; b += 2) *(u16 *)(to + b) = *(const u16 *)(from + b);    /* W ends within this unit */\n"
"        }\n"
"    }\n"
"}\n"
"\n"
"#if IS_FLOAT\n"
"/* VALUES values at p, of which the first `there` exist; the others are 0. */\n"
"DEVICE void load_values(const u8 *p, int there, float *v)\n"
"{\n"
"    if (there >= VALUES && ((u64)p & 15) == 0) {\n"
"        uint4 u = *(const uint4 *)p;\n",
"        u32 w[4] = { u.x, u.y, u.z, u.w };\n"
"#pragma unroll\n"
"        for (int i = 0; i < 4; i++) {\n"
"#if TYPE == TYPE_F32\n"
"            v[i] = __uint_as_float(w[i]);\n"
"#elif TYPE == TYPE_F16\n"
"            v[2 * i] = h2f((half_t)w[i]); v[2 * i + 1] = h2f((half_t)(w[i] >> 16));\n"
"#else\n"
"            v[2 * i] = __uint_as_float(w[i] << 16); v[2 * i + 1] = __uint_as_float(w[i] & 0xFFFF0000u);\n"
"#endif\n"
"        }\n"
"    } else {\n"
"#pragma unroll\n"
"        for (int i = 0; i < VALUES; i++) v[i] = i < there ? float_at(p, i) : 0.0f;\n"
"    }\n"
"}\n"
"DEVICE void load_x(const float *p, int there, float *v)\n"
"{\n"
"    if (there >= VALUES && ((u64)p & 15) == 0) {\n"
"#pragma unroll\n"
"        for (int i = 0; i < VALUES / 4; i++) {\n"
"            float4 u = ((const float4 *)p)[i];\n"
"            v[4 * i] = u.x; v[4 * i + 1] = u.y; v[4 * i + 2] = u.z; v[4 * i + 3] = u.w;\n"
"        }\n"
"    } else {\n"
"#pragma unroll\n"
"        for (int i = 0; i < VALUES; i++) v[i] = i < there ? p[i] : 0.0f;\n"
"    }\n"
"}\n"
"\n"
"template<int N> DEVICE void consume(const operand &o, int segment, const u8 *const *row, int lane, float (*sum)[N])\n"
"{\n"
"#pragma unroll\n"
"    for (int part = 0; part < 2; part++) {\n"
"        int at = (part * 32 + lane) * VALUES, there = o.k - segment * SEGMENT - at;\n"
"        if (there <= 0) continue;\n"
"        float w[ROWS][VALUES];\n"
"#pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) load_values(row[r] + at * BLOCK_BYTES, there, w[r]);\n"
"#pragma unroll\n"
"        for (int j = 0; j < N; j++) {\n"
"            float x[VALUES];\n"
"            load_x((const float *)o.x + (i64)min(j, o.n - 1) * o.x_stride + segment * SEGMENT + at, there, x);\n"
"#pragma unroll\n"
"            for (int r = 0; r < ROWS; r++)\n"
"#pragma unroll\n"
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
"template<int N> DEVICE void consume(const operand &o, int segment, const u8 *const *row, int lane, float (*sum)[N])\n"
"{\n"
"    int block = lane / PIECES, which = lane % PIECES, first = segment * SEGMENT + block * BLOCK;\n"
"    if (first >= o.k) return;\n"
"    piece p[ROWS];\n"
"#pragma unroll\n"
"    for (int r = 0; r < ROWS; r++) decode_piece(row[r] + block * BLOCK_BYTES, which, &p[r]);\n"
"#pragma unroll\n"
"    for (int j = 0; j < N; j++) {\n"
"        i64 at = (i64)min(j, o.n - 1) * o.k + first, at0 = at + half_at(which, 0), at1 = at + half_at(which, 1);\n"
"        uint4 x0 = *(const uint4 *)((const i8 *)o.x + at0), x1 = *(const uint4 *)((const i8 *)o.x + at1);\n"
"#if ONE_SCALE\n"
"        float d = o.d[at0 >> 5];\n"
"#pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) sum[r][j] = fmaf(p[r].s[0] * d, (float)dot16(p[r].w + 4, x1, dot16(p[r].w, x0, 0)), sum[r][j]);\n"
"#if HAS_MIN\n"
"        float2 s = *(const float2 *)(o.s + (at0 >> 4));\n"
"#pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) sum[r][j] = fmaf(-p[r].m[0], s.x + s.y, sum[r][j]);\n"
"#endif\n"
"#else\n"
"        float d0 = o.d[at0 >> 5], d1 = o.d[at1 >> 5], s0 = o.s[at0 >> 4], s1 = o.s[at1 >> 4];\n"
"#pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) {\n"
"            sum[r][j] = fmaf(p[r].s[0] * d0, (float)dot16(p[r].w, x0, 0), fmaf(-p[r].m[0], s0, sum[r][j]));\n"
"            sum[r][j] = fmaf(p[r].s[1] * d1, (float)dot16(p[r].w + 4, x1, 0), fmaf(-p[r].m[1], s1, sum[r][j]));\n"
"        }\n"
"#endif\n"
"    }\n"
"}\n"
"#endif\n"
"\n"
"/* The sums of all lanes; lane r * N + j stores y[j][row r]. */\n"
"template<int N> DEVICE void finish(const matrices &ms, int group, int n, int lane, float (*sum)[N])\n"
"{\n"
"    const matrix &m = matrix_of(ms, &group);\n"
"    float mine = 0.0f;\n"
"#pragma unroll\n"
"    for (int r = 0; r < ROWS; r++)\n"
"#pragma unroll\n"
"        for (int j = 0; j < N; j++) {\n",
"            float v = warp_sum(sum[r][j]);\n"
"            if (lane == r * N + j) mine = v;\n"
"            sum[r][j] = 0.0f;\n"
"        }\n"
"    int row = group * ROWS + lane / N, j = lane % N;\n"
"    if (lane >= ROWS * N || row >= m.rows || j >= n) return;\n"
"    float *y = m.y + j * m.y_stride + row;\n"
"    if (m.bias) mine += m.bias[row];\n"
"    if (m.add) mine += *y;\n"
"    *y = mine;\n"
"}\n"
"\n"
"DEVICE void step(place *at, int n_segments, int warps)\n"
"{\n"
"    if (++at->segment == n_segments) { at->segment = 0; at->group += warps; }\n"
"}\n"
"\n"
"template<int N> DEVICE void matvec(const matrices &ms, const operand &o, uint4 *memory)\n"
"{\n"
"    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, warps = (int)gridDim.x * WARPS, n_groups = 0, slot = 0;\n"
"    int n_segments = (o.k + SEGMENT - 1) / SEGMENT;\n"
"    u8 *stages = (u8 *)(memory + warp * (STAGES * ROWS * WINDOW / 16));\n"
"    place now = { (int)blockIdx.x * WARPS + warp, 0 }, ahead = now;\n"
"    float sum[ROWS][N];\n"
"    for (int i = 0; i < ms.n; i++) n_groups += groups_of(ms.m[i]);\n"
"#pragma unroll\n"
"    for (int r = 0; r < ROWS; r++)\n"
"#pragma unroll\n"
"        for (int j = 0; j < N; j++) sum[r][j] = 0.0f;\n"
"    for (int i = 0; i < STAGES - 1; i++) {\n"
"        if (ahead.group < n_groups) fetch(ms, ahead, o.row_bytes, stages + i * ROWS * WINDOW, lane);\n"
"        cp_commit();\n"
"        step(&ahead, n_segments, warps);\n"
"    }\n"
"    while (now.group < n_groups) {\n"
"        cp_wait<STAGES - 2>();\n"
"        warp_sync();                                        /* all lanes' copies are there, and all are done with the slot before */\n"
"        int free_slot = slot == 0 ? STAGES - 1 : slot - 1;\n"
"        if (ahead.group < n_groups) fetch(ms, ahead, o.row_bytes, stages + free_slot * ROWS * WINDOW, lane);\n"
"        cp_commit();\n"
"        step(&ahead, n_segments, warps);\n"
"        const u8 *row[ROWS];\n"
"        int group = now.group;\n"
"        const matrix &m = matrix_of(ms, &group);\n"
"#pragma unroll\n"
"        for (int r = 0; r < ROWS; r++) {\n"
"            const u8 *end, *begin = segment_begin(m, group, r, now.segment, o.row_bytes, &end);\n"
"            row[r] = stages + (slot * ROWS + r) * WINDOW + ((u64)begin & 15);\n"
"        }\n"
"        consume<N>(o, now.segment, row, lane, sum);\n"
"        if (now.segment == n_segments - 1) finish<N>(ms, now.group, o.n, lane, sum);\n"
"        step(&now, n_segments, warps);\n"
"        slot = slot == STAGES - 1 ? 0 : slot + 1;\n"
"    }\n"
"}\n"
"\n"
"#define MATVEC(N) \\\n"
"    KERNEL __launch_bounds__(32 * WARPS, 4) matvec_##N(const matrices ms, const operand o) \\\n"
"    { \\\n"
"        __shared__ uint4 memory[WARPS * STAGES * ROWS * WINDOW / 16]; \\\n"
"        matvec<N>(ms, o, memory); \\\n"
"    }\n"
"#ifdef BATCH\n"
"MATVEC(2)\n"
"MATVEC(4)\n"
"MATVEC(8)\n"
"#else\n"
"MATVEC(1)\n"
"#endif\n",
NULL
};
static const char *const hybrid__cuda_text_dequantize[] = {
"/* dequantize: rows of a matrix as halves, for the product by tensor cores. out (n_rows, k_out): zeros from k to k_out.\n"
" *\n"
" * Quantized types: a thread a piece of 32 values; grid (ceil(pieces of all rows / 256)), 256 threads. Floats: a thread 8 values of a row, grid the same with\n"
" * groups of 8. A value beyond the range of a half (BF16 has such) becomes the largest half. */\n"
"DEVICE u32 halves(float lo, float hi)\n"
"{\n"
"    return f2h2(fminf(fmaxf(lo, -65504.0f), 65504.0f), fminf(fmaxf(hi, -65504.0f), 65504.0f));\n"
"}\n"
"\n"
"KERNEL __launch_bounds__(256) dequantize(const u8 *__restrict__ w, i64 row_bytes, int n_rows, int k, half_t *__restrict__ out, int k_out)\n"
"{\n"
"    i64 id = (i64)blockIdx.x * 256 + threadIdx.x;\n"
"#if IS_FLOAT\n"
"    int groups = k_out / 8;\n"
"    i64 row = id / groups;\n"
"    int at = (int)(id - row * groups) * 8;\n"
"    if (row >= n_rows) return;\n"
"    const u8 *from = w + row * row_bytes;\n"
"    float v[8];\n"
"#pragma unroll\n"
"    for (int i = 0; i < 8; i++) v[i] = at + i < k ? float_at(from, at + i) : 0.0f;\n"
"    *(uint4 *)(out + row * k_out + at) = make_uint4(halves(v[0], v[1]), halves(v[2], v[3]), halves(v[4], v[5]), halves(v[6], v[7]));\n"
"#else\n"
"    int pieces = k / 32;\n"
"    i64 row = id / pieces;\n"
"    int at = (int)(id - row * pieces), block = at / PIECES, which = at % PIECES;\n"
"    if (row >= n_rows) return;\n"
"    piece p;\n"
"    decode_piece(w + row * row_bytes + (i64)block * BLOCK_BYTES, which, &p);\n"
"#pragma unroll\n"
"    for (int h = 0; h < 2; h++) {\n"
"        uint4 *to = (uint4 *)(out + row * k_out + block * BLOCK + half_at(which, h));\n"
"#pragma unroll\n"
"        for (int j = 0; j < 2; j++) {\n"
"            int i = 16 * h + 8 * j;\n"
"            to[j] = make_uint4(halves(piece_value(p, i), piece_value(p, i + 1)), halves(piece_value(p, i + 2), piece_value(p, i + 3)),\n"
"                               halves(piece_value(p, i + 4), piece_value(p, i + 5)), halves(piece_value(p, i + 6), piece_value(p, i + 7)));\n"
"        }\n"
"    }\n"
"#endif\n"
"}\n",
NULL
};
static const char *const hybrid__cuda_text_gemm[] = {
"/* gemm: y (n, out) = x (n, k) . w (out, k)^T + bias, or y += that, on tensor cores: x and w are 16-bit floats, sums are float32.\n"
" * For many rows where there is no cuBLAS. -DBF16: both are bf16 instead of halves.\n"
" *\n"
" * x and w are 16-aligned, and so are their rows (ldx, ldw and k are multiples of 8). A block makes a tile of TILE_N x 128 results; 32 values of k\n"
" * at a time come through shared memory, STAGES - 1 steps ahead. There a row has four chunks of 16 bytes, chunk c at c ^ (row / 2 % 4), so that the eight rows\n"
" * that ldmatrix reads at once lie in different banks. grid (n / TILE_N, out / 128), 256 threads: warps WARPS_N x 8 / WARPS_N. */\n"
"#define TILE_OUT 128\n"
"#define STEP 32\n"
"#define STAGES 3\n"
"\n"
"#ifdef BF16\n"
"#define MMA mma_bf16\n"
"#else\n"
"#define MMA mma_f16\n"
"#endif\n"
"\n"
"struct product { const u16 *x; i64 ldx; const u16 *w; i64 ldw; int n, out, k, add; const float *bias; float *y; i64 y_stride; };\n"
"\n"
"DEVICE int chunk_at(int row, int chunk) { return row * 4 + (chunk ^ (row >> 1 & 3)); }\n"
"\n"
"/* Rows `first`... of a matrix of `rows`, values k0 ... k0 + 31; zeros where there are none. */\n"
"template<int ROWS> DEVICE void fetch(uint4 *to, const u16 *from, i64 ld, int first, int rows, int k0, int k)\n"
"{\n"
"#pragma unroll\n"
"    for (int i = 0; i < (ROWS * 4 + 255) / 256; i++) {\n"
"        int id = (int)threadIdx.x + 256 * i, row = id >> 2, chunk = id & 3;\n"
"        bool valid = first + row < rows && k0 + 8 * chunk < k;\n"
"        if (ROWS * 4 % 256 == 0 || row < ROWS) cp_async16(to + chunk_at(row, chunk), valid ? from + (first + row) * ld + k0 + 8 * chunk : from, valid);\n"
"    }\n"
"}\n"
"\n"
"template<int TILE_N, int WARPS_N> DEVICE void gemm(const product &p, uint4 (*memory)[(TILE_N + TILE_OUT) * 4])\n"
"{\n"
"    const int M = TILE_N / WARPS_N / 16, N = TILE_OUT / (8 / WARPS_N) / 8;      /* tiles of 16 x 8 of a warp */\n"
"    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, n0 = (int)blockIdx.x * TILE_N, out0 = (int)blockIdx.y * TILE_OUT;\n"
"    int row_x = warp % WARPS_N * M * 16, row_w = warp / WARPS_N * N * 8, steps = (p.k + STEP - 1) / STEP;\n"
"    float sum[M][N][4];\n"
"#pragma unroll\n"
"    for (int i = 0; i < M; i++)\n"
"#pragma unroll\n"
"        for (int j = 0; j < N; j++)\n"
"#pragma unroll\n"
"            for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;\n"
"    for (int s = 0; s < STAGES - 1; s++) {\n"
"        fetch<TILE_N>(memory[s], p.x, p.ldx, n0, p.n, s * STEP, p.k);\n"
"        fetch<TILE_OUT>(memory[s] + TILE_N * 4, p.w, p.ldw, out0, p.out, s * STEP, p.k);\n"
"        cp_commit();\n"
"    }\n"
"    for (int s = 0; s < steps; s++) {\n"
"        cp_wait<STAGES - 2>();\n"
"        block_sync();                                       /* everyone's copies are there, and everyone has left the stage that is filled next */\n"
"        int ahead = s + STAGES - 1;\n"
"        fetch<TILE_N>(memory[ahead % STAGES], p.x, p.ldx, n0, p.n, ahead * STEP, p.k);\n"
"        fetch<TILE_OUT>(memory[ahead % STAGES] + TILE_N * 4, p.w, p.ldw, out0, p.out, ahead * STEP, p.k);\n"
"        cp_commit();\n"
"        const uint4 *x = memory[s % STAGES], *w = x + TILE_N * 4;\n"
"#pragma unroll\n"
"        for (int half = 0; half < 2; half++) {\n"
"            u32 a[M][4], b[N][2];\n"
"#pragma unroll\n"
"            for (int i = 0; i < M; i++)                     /* matrices: rows 0-7, 8-15 at k 0-7; the same at k 8-15 */\n"
"                ldsm_x4(a[i], x + chunk_at(row_x + i * 16 + (lane & 15), half * 2 + (lane >> 4)));\n"
"#pragma unroll\n"
"            for (int j = 0; j < N; j += 2) {                /* rows 0-7 at k 0-7, k 8-15; rows 8-15 likewise */\n"
"                u32 four[4];\n"
"                ldsm_x4(four, w + chunk_at(row_w + j * 8 + (lane & 7) + (lane >> 4) * 8, half * 2 + (lane >> 3 & 1)));\n"
"                b[j][0] = four[0]; b[j][1] = four[1]; b[j + 1][0] = four[2]; b[j + 1][1] = four[3];\n"
"            }\n"
"#pragma unroll\n"
"            for (int i = 0; i < M; i++)\n"
"#pragma unroll\n",
"                for (int j = 0; j < N; j++) MMA(sum[i][j], a[i], b[j]);\n"
"        }\n"
"    }\n"
"    cp_wait<0>();\n"
"#pragma unroll\n"
"    for (int i = 0; i < M; i++)\n"
"#pragma unroll\n"
"        for (int j = 0; j < N; j++)\n"
"#pragma unroll\n"
"            for (int e = 0; e < 4; e++) {\n"
"                int row = n0 + row_x + i * 16 + (lane >> 2) + (e >> 1) * 8, column = out0 + row_w + j * 8 + (lane & 3) * 2 + (e & 1);\n"
"                if (row >= p.n || column >= p.out) continue;\n"
"                float *y = p.y + row * p.y_stride + column, v = sum[i][j][e];\n"
"                if (p.bias) v += p.bias[column];\n"
"                if (p.add) v += *y;\n"
"                *y = v;\n"
"            }\n"
"}\n"
"\n"
"#define GEMM(TILE_N, WARPS_N) \\\n"
"    KERNEL __launch_bounds__(256) gemm_##TILE_N(const product p) \\\n"
"    { \\\n"
"        __shared__ uint4 memory[STAGES][(TILE_N + TILE_OUT) * 4]; \\\n"
"        gemm<TILE_N, WARPS_N>(p, memory); \\\n"
"    }\n"
"GEMM(128, 2)\n"
"GEMM(32, 1)\n",
NULL
};
static const char *const hybrid__cuda_text_gemm_f32[] = {
"/* gemm_f32: y (n, out) = x (n, k) . w (out, k)^T + bias, or y += that, all in float32 and any sizes: for models whose weights are float32.\n"
" * A block makes 64 x 64 results, a thread 4 x 4 of them, 16 apart; 16 values of k at a time lie in shared memory, transposed.\n"
" * grid (n / 64, out / 64), 256 threads. */\n"
"#define TILE 64\n"
"#define STEP 16\n"
"\n"
"struct product_f32 { const float *x; i64 ldx; const float *w; i64 ldw; int n, out, k, add; const float *bias; float *y; i64 y_stride; };\n"
"\n"
"DEVICE void fetch(float (*to)[TILE + 1], const float *from, i64 ld, int first, int rows, int k0, int k)\n"
"{\n"
"#pragma unroll\n"
"    for (int i = 0; i < TILE * STEP / 256; i++) {\n"
"        int id = (int)threadIdx.x + 256 * i, row = id / STEP, at = id % STEP;\n"
"        to[at][row] = first + row < rows && k0 + at < k ? from[(first + row) * ld + k0 + at] : 0.0f;\n"
"    }\n"
"}\n"
"\n"
"KERNEL __launch_bounds__(256) gemm_f32(const product_f32 p)\n"
"{\n"
"    __shared__ float x[STEP][TILE + 1], w[STEP][TILE + 1];\n"
"    int n0 = (int)blockIdx.x * TILE, out0 = (int)blockIdx.y * TILE, tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;\n"
"    float sum[4][4];\n"
"#pragma unroll\n"
"    for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = 0.0f;\n"
"    for (int k0 = 0; k0 < p.k; k0 += STEP) {\n"
"        fetch(x, p.x, p.ldx, n0, p.n, k0, p.k);\n"
"        fetch(w, p.w, p.ldw, out0, p.out, k0, p.k);\n"
"        block_sync();\n"
"#pragma unroll\n"
"        for (int at = 0; at < STEP; at++) {\n"
"            float a[4], b[4];\n"
"#pragma unroll\n"
"            for (int i = 0; i < 4; i++) { a[i] = x[at][ty + 16 * i]; b[i] = w[at][tx + 16 * i]; }\n"
"#pragma unroll\n"
"            for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = fmaf(a[i / 4], b[i % 4], sum[i / 4][i % 4]);\n"
"        }\n"
"        block_sync();\n"
"    }\n"
"#pragma unroll\n"
"    for (int i = 0; i < 16; i++) {\n"
"        int row = n0 + ty + 16 * (i / 4), column = out0 + tx + 16 * (i % 4);\n"
"        if (row >= p.n || column >= p.out) continue;\n"
"        float *y = p.y + row * p.y_stride + column, v = sum[i / 4][i % 4];\n"
"        if (p.bias) v += p.bias[column];\n"
"        if (p.add) v += *y;\n"
"        *y = v;\n"
"    }\n"
"}\n",
NULL
};

/* The 13 types of weights; the number is hybrid_type's, TYPE of the kernels. */
#define HYBRID__CUDA_TYPES(X) \
    X(F32, 0) X(F16, 1) X(Q4_0, 2) X(Q4_1, 3) X(Q5_0, 6) X(Q5_1, 7) X(Q8_0, 8) \
    X(Q2_K, 10) X(Q3_K, 11) X(Q4_K, 12) X(Q5_K, 13) X(Q6_K, 14) X(BF16, 30)

enum {
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATVEC_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_MATBATCH_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) HYBRID__MODULE_DEQUANTIZE_##type,
    HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
    HYBRID__MODULE_QUANTIZE, HYBRID__MODULE_GEMM_F16, HYBRID__MODULE_GEMM_BF16, HYBRID__MODULE_GEMM_F32,
    HYBRID__MODULE_COUNT
};

typedef struct hybrid__cuda_module_info {
    const char *name;                       /* shown in logs, part of the cache's key */
    const char *const *parts[4];            /* texts, joined in order; NULL behind the last */
    const char *options[4];                 /* NULL behind the last */
    const char *kernels[12];                /* extern "C" names, NULL behind the last; the index is hybrid__cuda_launch's `kernel` */
} hybrid__cuda_module_info;

static const hybrid__cuda_module_info *hybrid__cuda_module(int module)
{
    static const hybrid__cuda_module_info table[] = {
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matvec_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, NULL }, { "matvec_1", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "matbatch_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_matvec, NULL }, \
          { "-DTYPE=" #number, "-DBATCH", NULL }, { "matvec_2", "matvec_4", "matvec_8", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
#define HYBRID__MODULE_OF_TYPE(type, number) \
        { "dequantize_" #type, { hybrid__cuda_text_prelude, hybrid__cuda_text_quant, hybrid__cuda_text_dequantize, NULL }, \
          { "-DTYPE=" #number, NULL }, { "dequantize", NULL } },
        HYBRID__CUDA_TYPES(HYBRID__MODULE_OF_TYPE)
#undef HYBRID__MODULE_OF_TYPE
        { "quantize", { hybrid__cuda_text_prelude, hybrid__cuda_text_quantize, NULL, NULL }, { NULL }, { "quantize", "to_half", "to_bf16", "begin_bias", NULL } },
        { "gemm_f16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_bf16", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm, NULL, NULL }, { "-DBF16", NULL }, { "gemm_128", "gemm_32", NULL } },
        { "gemm_f32", { hybrid__cuda_text_prelude, hybrid__cuda_text_gemm_f32, NULL, NULL }, { NULL }, { "gemm_f32", NULL } }
    };
    typedef char every_module_has_a_row[(int)(sizeof(table) / sizeof(table[0])) == HYBRID__MODULE_COUNT ? 1 : -1];
    return (void)sizeof(every_module_has_a_row), &table[module];
}
/* ==== end src/cuda/modules.c ==== */

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
#ifdef HYBRID__WIN32_LEAN
    #undef WIN32_LEAN_AND_MEAN
#endif
#ifdef HYBRID__NOMINMAX
    #undef NOMINMAX
#endif
#undef HYBRID_CUDA__SOURCE_ID
#undef HYBRID__COUNT
#undef HYBRID__CUDA_TYPES
#undef HYBRID__INLINE
#undef HYBRID__LIKELY
#undef HYBRID__MAX
#undef HYBRID__MIN
#undef HYBRID__MODULE_OF_TYPE
#undef HYBRID__NOINLINE
#undef HYBRID__NOMINMAX
#undef HYBRID__PRINTF
#undef HYBRID__RESTRICT
#undef HYBRID__THREADS_POSIX
#undef HYBRID__THREADS_WIN32
#undef HYBRID__UNLIKELY
#undef HYBRID__UNUSED
#undef HYBRID__WIN32_LEAN
#undef hybrid__fail
#undef hybrid__fail_memory
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
