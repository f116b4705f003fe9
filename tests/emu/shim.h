/* CUDA C++ for the host compiler: the built-ins that our kernels use and the seam functions of kernels/prelude.cu.
   The stand-in NVRTC puts this in front of every program. No other header is included: like NVRTC, a program sees only
   what is declared here, and compiles fast. */
#include "abi.h"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__    __attribute__((noinline))
#define __align__(n)    __attribute__((aligned(n)))
#define __launch_bounds__(...)
#if defined(__clang__)
    #define __shared__ static __attribute__((section("emu_shared"), used))
#else /* g++ knows no sections inside of templates: there .bss holds all __shared__ and nothing else */
    #define __shared__ static
#endif
#define EMU_DEVICE_VARIABLE __attribute__((section("emu_device")))
#define threadIdx           emu_now.thread
#define blockIdx            emu_now.block
#define blockDim            emu_now.block_dim
#define gridDim             emu_now.grid_dim
#define warpSize            32
#define EMU_LINE            int line = __builtin_LINE() /* the line of the caller */
#define EMU_INLINE          static inline __attribute__((always_inline))
#define EMU_BITS(to, from, x) \
    to r; \
    __builtin_memcpy(&r, &x, sizeof r); \
    return r

typedef __SIZE_TYPE__ size_t;
typedef unsigned short half_t, bf16_t;
typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

/* ---- vector types ------------------------------------------------------------------------------------------------ */
#define EMU_VECTOR(name, T, align2, align4) \
    struct name##1 { T x; }; \
    struct __attribute__((aligned(align2))) name##2 { T x, y; }; \
    struct name##3 { T x, y, z; }; \
    struct __attribute__((aligned(align4))) name##4 { T x, y, z, w; }; \
    EMU_INLINE name##1 make_##name##1(T x) { return name##1 { x }; } \
    EMU_INLINE name##2 make_##name##2(T x, T y) { return name##2 { x, y }; } \
    EMU_INLINE name##3 make_##name##3(T x, T y, T z) { return name##3 { x, y, z }; } \
    EMU_INLINE name##4 make_##name##4(T x, T y, T z, T w) { return name##4 { x, y, z, w }; }
/* clang-format off */
EMU_VECTOR(char, signed char, 2, 4)
EMU_VECTOR(uchar, unsigned char, 2, 4)
EMU_VECTOR(short, short, 4, 8)
EMU_VECTOR(ushort, unsigned short, 4, 8)
EMU_VECTOR(int, int, 8, 16)
EMU_VECTOR(uint, unsigned, 8, 16)
EMU_VECTOR(longlong, long long, 16, 16)
EMU_VECTOR(ulonglong, unsigned long long, 16, 16)
EMU_VECTOR(float, float, 8, 16)
EMU_VECTOR(double, double, 16, 16)
/* clang-format on */
struct dim3 {
    unsigned x, y, z;
};

/* ---- mathematics: the C library's functions under their own declarations ----------------------------------------- */
extern "C" {
#define EMU_F1(name) \
    float name##f(float) noexcept; \
    double name(double) noexcept;
/* clang-format off */
EMU_F1(sqrt) EMU_F1(exp) EMU_F1(exp2) EMU_F1(expm1) EMU_F1(log) EMU_F1(log2) EMU_F1(log10) EMU_F1(log1p) EMU_F1(sin)
EMU_F1(cos)
EMU_F1(tan) EMU_F1(asin) EMU_F1(acos) EMU_F1(atan) EMU_F1(sinh) EMU_F1(cosh) EMU_F1(tanh) EMU_F1(erf) EMU_F1(erfc)
EMU_F1(floor)
EMU_F1(ceil) EMU_F1(round) EMU_F1(rint) EMU_F1(nearbyint) EMU_F1(trunc) EMU_F1(fabs) EMU_F1(cbrt)
/* clang-format on */
#define EMU_F2(name) \
    float name##f(float, float) noexcept; \
    double name(double, double) noexcept;
    /* clang-format off */
EMU_F2(pow) EMU_F2(fmod) EMU_F2(fmax) EMU_F2(fmin) EMU_F2(copysign) EMU_F2(atan2) EMU_F2(hypot)
/* clang-format on */
float fmaf(float, float, float) noexcept;
double fma(double, double, double) noexcept;
float ldexpf(float, int) noexcept;
double ldexp(double, int) noexcept;
float frexpf(float, int *) noexcept;
double frexp(double, int *) noexcept;
float exp10f(float) noexcept;
double exp10(double) noexcept;
long lrintf(float) noexcept;
void sincosf(float, float *, float *) noexcept;
void sincos(double, double *, double *) noexcept;
int printf(const char *, ...);
void *memcpy(void *, const void *, size_t) noexcept;
void *memset(void *, int, size_t) noexcept;
int abs(int) noexcept;
}
#define EMU_OVER1(name) \
    EMU_INLINE float name(float x) { return name##f(x); }
/* clang-format off */
EMU_OVER1(sqrt) EMU_OVER1(exp) EMU_OVER1(log) EMU_OVER1(sin) EMU_OVER1(cos) EMU_OVER1(tanh) EMU_OVER1(floor)
EMU_OVER1(ceil)
EMU_OVER1(round) EMU_OVER1(rint) EMU_OVER1(fabs) EMU_OVER1(erf)
/* clang-format on */
EMU_INLINE float pow(float x, float y)
{
    return powf(x, y);
}
EMU_INLINE float abs(float x) { return fabsf(x); }
EMU_INLINE float fma(float x, float y, float z) { return fmaf(x, y, z); }
EMU_INLINE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
EMU_INLINE double rsqrt(double x) { return 1.0 / sqrt(x); }
EMU_INLINE bool isnan(float x) { return __builtin_isnan(x); }
EMU_INLINE bool isinf(float x) { return __builtin_isinf(x); }
EMU_INLINE bool isfinite(float x) { return __builtin_isfinite(x); }
EMU_INLINE float __expf(float x) { return expf(x); }
EMU_INLINE float __exp10f(float x) { return exp10f(x); }
EMU_INLINE float __logf(float x) { return logf(x); }
EMU_INLINE float __log2f(float x) { return log2f(x); }
EMU_INLINE float __sinf(float x) { return sinf(x); }
EMU_INLINE float __cosf(float x) { return cosf(x); }
EMU_INLINE float __powf(float x, float y) { return powf(x, y); }
EMU_INLINE float __fdividef(float x, float y) { return x / y; }
/* volatile: never contracted */
EMU_INLINE float __fmul_rn(float x, float y)
{
    volatile float r = x * y;
    return r;
}
EMU_INLINE float __fadd_rn(float x, float y)
{
    volatile float r = x + y;
    return r;
}
EMU_INLINE float __fsub_rn(float x, float y)
{
    volatile float r = x - y;
    return r;
}
EMU_INLINE float __fdiv_rn(float x, float y)
{
    volatile float r = x / y;
    return r;
}
EMU_INLINE float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
EMU_INLINE float __frcp_rn(float x) { return 1.0f / x; }
EMU_INLINE float __fsqrt_rn(float x) { return sqrtf(x); }
EMU_INLINE float __frsqrt_rn(float x) { return 1.0f / sqrtf(x); }
EMU_INLINE float __saturatef(float x) { return x > 1.0f ? 1.0f : x > 0.0f ? x : 0.0f; }
EMU_INLINE int __float2int_rn(float x) { return (int)rintf(x); }
EMU_INLINE int __float2int_rz(float x) { return (int)x; }
EMU_INLINE int __float2int_rd(float x) { return (int)floorf(x); }
EMU_INLINE int __float2int_ru(float x) { return (int)ceilf(x); }
EMU_INLINE unsigned __float2uint_rn(float x) { return (unsigned)rintf(x); }
EMU_INLINE float __int2float_rn(int x) { return (float)x; }
EMU_INLINE float __uint2float_rn(unsigned x) { return (float)x; }
#define EMU_MINMAX(T, A, B) \
    EMU_INLINE T min(A a, B b) \
    { \
        T x = (T)a, y = (T)b; \
        return y < x ? y : x; \
    } \
    EMU_INLINE T max(A a, B b) \
    { \
        T x = (T)a, y = (T)b; \
        return x < y ? y : x; \
    }
/* clang-format off */
EMU_MINMAX(int, int, int) EMU_MINMAX(unsigned, unsigned, unsigned) EMU_MINMAX(unsigned, int, unsigned)
EMU_MINMAX(unsigned, unsigned, int)
EMU_MINMAX(long, long, long) EMU_MINMAX(unsigned long, unsigned long, unsigned long)
EMU_MINMAX(long long, long long, long long) EMU_MINMAX(unsigned long long, unsigned long long, unsigned long long)
/* clang-format on */
EMU_INLINE float min(float a, float b)
{
    return fminf(a, b);
}
EMU_INLINE float max(float a, float b) { return fmaxf(a, b); }
EMU_INLINE double min(double a, double b) { return fmin(a, b); }
EMU_INLINE double max(double a, double b) { return fmax(a, b); }

/* ---- bits -------------------------------------------------------------------------------------------------------- */
EMU_INLINE int __float_as_int(float x) { EMU_BITS(int, float, x); }
EMU_INLINE unsigned __float_as_uint(float x) { EMU_BITS(unsigned, float, x); }
EMU_INLINE float __int_as_float(int x) { EMU_BITS(float, int, x); }
EMU_INLINE float __uint_as_float(unsigned x) { EMU_BITS(float, unsigned, x); }
EMU_INLINE long long __double_as_longlong(double x) { EMU_BITS(long long, double, x); }
EMU_INLINE double __longlong_as_double(long long x) { EMU_BITS(double, long long, x); }
EMU_INLINE int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
EMU_INLINE int __popc(unsigned x) { return __builtin_popcount(x); }
EMU_INLINE int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
EMU_INLINE int __ffs(int x) { return __builtin_ffs(x); }
EMU_INLINE unsigned __brev(unsigned x)
{
    unsigned r = 0;
    for (int i = 0; i < 32; i++) r |= (x >> i & 1u) << (31 - i);
    return r;
}
EMU_INLINE unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((unsigned long long)a * b >> 32); }
EMU_INLINE int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
EMU_INLINE unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n)
{
    return (unsigned)((((unsigned long long)hi << 32) | lo) >> (n & 31));
}
EMU_INLINE unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n)
{
    return (unsigned)((((unsigned long long)hi << 32) | lo) << (n & 31) >> 32);
}
EMU_INLINE unsigned __byte_perm(unsigned x, unsigned y, unsigned s)
{
    unsigned long long v = (unsigned long long)y << 32 | x;
    unsigned r = 0;
    for (int i = 0; i < 4; i++) {
        unsigned n = s >> 4 * i, b = (unsigned)(v >> 8 * (n & 7)) & 255u;
        r |= (n & 8 ? (b & 128u ? 255u : 0u) : b) << 8 * i;
    }
    return r;
}
#define EMU_BYTES(name, expression) \
    EMU_INLINE unsigned name(unsigned a, unsigned b) \
    { \
        unsigned r = 0; \
        for (int i = 0; i < 32; i += 8) { \
            int x = (i8)(a >> i), y = (i8)(b >> i); \
            (void)x; \
            (void)y; \
            r |= ((unsigned)(expression)&255u) << i; \
        } \
        return r; \
    }
/* clang-format off */
EMU_BYTES(__vsub4, x - y)
EMU_BYTES(__vadd4, x + y)
EMU_BYTES(__vsubss4, x - y > 127 ? 127 : x - y < -128 ? -128 : x - y)
EMU_BYTES(__vaddss4, x + y > 127 ? 127 : x + y < -128 ? -128 : x + y)
EMU_BYTES(__vcmpeq4, x == y ? 255 : 0)
EMU_BYTES(__vcmpne4, x != y ? 255 : 0)
/* clang-format on */
EMU_INLINE int dot4(int a, int b, int c)
{
    for (int i = 0; i < 32; i += 8) c += (int)(i8)(a >> i) * (int)(i8)(b >> i);
    return c;
}
EMU_INLINE int __dp4a(int a, int b, int c) { return dot4(a, b, c); }

/* ---- memory ------------------------------------------------------------------------------------------------------ */
template <class V, class P> EMU_INLINE P emu_aligned(P p, EMU_LINE)
{ /* put around the operand of casts to V * */
    if ((size_t)p & (alignof(V) - 1)) emu_misaligned((const void *)p, (int)alignof(V), line);
    return p;
}
template <class T> EMU_INLINE T __ldg(const T *p) { return *p; }
template <class T> EMU_INLINE T __ldcs(const T *p) { return *p; }
template <class T> EMU_INLINE T __ldca(const T *p) { return *p; }
template <class T> EMU_INLINE T __ldcg(const T *p) { return *p; }
template <class T> EMU_INLINE void __stcs(T *p, T v) { *p = v; }
EMU_INLINE uint4 load_stream(const void *p, EMU_LINE) { return *(const uint4 *)emu_aligned<uint4>(p, line); }
EMU_INLINE size_t __cvta_generic_to_shared(const void *p) { return (size_t)p; }
EMU_INLINE void __threadfence() { emu_fence(); }
EMU_INLINE void __threadfence_block() {}
#define EMU_PLAIN __attribute__((no_sanitize("thread")))
/* emu_atomic() has looked at the address */
#define EMU_UNCHECKED static __attribute__((noinline, no_sanitize("thread")))
#define EMU_ATOMIC(name, T, expression) \
    EMU_UNCHECKED T name(T *p, T v) \
    { \
        emu_atomic(p, sizeof *p); \
        T old = *p; \
        *p = (expression); \
        return old; \
    }
#define EMU_ATOMICS(T) \
    EMU_ATOMIC(atomicAdd, T, old + v) \
    EMU_ATOMIC(atomicMax, T, old < v ? v : old) \
    EMU_ATOMIC(atomicMin, T, v < old ? v : old) \
    EMU_ATOMIC(atomicExch, T, v)
/* clang-format off */
EMU_ATOMICS(int) EMU_ATOMICS(unsigned) EMU_ATOMICS(unsigned long long)
EMU_ATOMIC(atomicAdd, float, old + v) EMU_ATOMIC(atomicAdd, double, old + v) EMU_ATOMIC(atomicExch, float, v)
EMU_ATOMIC(atomicSub, int, old - v) EMU_ATOMIC(atomicSub, unsigned, old - v) EMU_ATOMIC(atomicOr, unsigned, old | v)
EMU_ATOMIC(atomicOr, int, old | v)
EMU_ATOMIC(atomicAnd, unsigned, old & v) EMU_ATOMIC(atomicAnd, int, old & v) EMU_ATOMIC(atomicXor, unsigned, old ^ v)
EMU_ATOMIC(atomicInc, unsigned, old >= v ? 0u : old + 1u)
/* clang-format on */
template <class T> EMU_UNCHECKED T atomicCAS(T *p, T compare, T v)
{
    emu_atomic(p, sizeof *p);
    T old = *p;
    if (old == compare) *p = v;
    return old;
}

/* ---- barriers and warp functions --------------------------------------------------------------------------------- */
EMU_INLINE void block_sync(EMU_LINE) { emu_block_sync(line); }
EMU_INLINE void __syncthreads(EMU_LINE) { emu_block_sync(line); }
EMU_INLINE void warp_sync(EMU_LINE) { emu_warp_sync(0xffffffffu, line); }
EMU_INLINE void __syncwarp(unsigned mask = 0xffffffffu, EMU_LINE) { emu_warp_sync(mask, line); }
/* a lane outside of its section of `width` lanes means: my own value */
EMU_INLINE int emu_lane(int target, int width)
{
    int mine = (int)emu_now.lane, base = mine & ~(width - 1);
    return target < base || target >= base + width ? mine : target;
}
EMU_INLINE unsigned emu_word(float x) { return __float_as_uint(x); }
EMU_INLINE unsigned emu_word(int x) { return (unsigned)x; }
EMU_INLINE unsigned emu_word(unsigned x) { return x; }
EMU_INLINE void emu_unword(unsigned w, float &x) { x = __uint_as_float(w); }
EMU_INLINE void emu_unword(unsigned w, int &x) { x = (int)w; }
EMU_INLINE void emu_unword(unsigned w, unsigned &x) { x = w; }
template <class T> EMU_INLINE T emu_exchange(T x, int source, unsigned mask, int line)
{
    T r;
    emu_unword(emu_shuffle(emu_word(x), source, mask, line), r);
    return r;
}
template <class T> EMU_INLINE T __shfl_xor_sync(unsigned mask, T x, int bits, int width = 32, EMU_LINE)
{
    return emu_exchange(x, emu_lane((int)emu_now.lane ^ bits, width), mask, line);
}
template <class T> EMU_INLINE T __shfl_down_sync(unsigned mask, T x, int n, int width = 32, EMU_LINE)
{
    return emu_exchange(x, emu_lane((int)emu_now.lane + n, width), mask, line);
}
template <class T> EMU_INLINE T __shfl_up_sync(unsigned mask, T x, int n, int width = 32, EMU_LINE)
{
    return emu_exchange(x, emu_lane((int)emu_now.lane - n, width), mask, line);
}
template <class T> EMU_INLINE T __shfl_sync(unsigned mask, T x, int lane, int width = 32, EMU_LINE)
{
    return emu_exchange(x, ((int)emu_now.lane & ~(width - 1)) | (lane & (width - 1)), mask, line);
}
EMU_INLINE float shfl_xor(float x, int mask, EMU_LINE)
{
    return emu_exchange(x, (int)emu_now.lane ^ (mask & 31), 0xffffffffu, line);
}
EMU_INLINE int shfl_xor(int x, int mask, EMU_LINE)
{
    return emu_exchange(x, (int)emu_now.lane ^ (mask & 31), 0xffffffffu, line);
}
EMU_INLINE float shfl(float x, int lane, EMU_LINE) { return emu_exchange(x, lane & 31, 0xffffffffu, line); }
EMU_INLINE int shfl(int x, int lane, EMU_LINE) { return emu_exchange(x, lane & 31, 0xffffffffu, line); }
EMU_INLINE unsigned __ballot_sync(unsigned mask, int predicate, EMU_LINE)
{
    unsigned all[32], here = emu_gather(predicate != 0, all, mask, line), r = 0;
    for (int i = 0; i < 32; i++)
        if (here >> i & 1u) r |= all[i] << i;
    return r;
}
EMU_INLINE int __any_sync(unsigned mask, int predicate, EMU_LINE) { return __ballot_sync(mask, predicate, line) != 0; }
EMU_INLINE int __all_sync(unsigned mask, int predicate, EMU_LINE) { return __ballot_sync(mask, !predicate, line) == 0; }
#define EMU_REDUCE(name, T, expression) \
    EMU_INLINE T name(unsigned mask, T x, EMU_LINE) \
    { \
        unsigned all[32], here = emu_gather((unsigned)x, all, mask, line); \
        T r = x; \
        for (unsigned i = 0; i < 32; i++) \
            if (i != emu_now.lane && here >> i & 1u) { \
                T v = (T)all[i]; \
                r = (expression); \
            } \
        return r; \
    }
/* clang-format off */
EMU_REDUCE(__reduce_add_sync, int, (int)((unsigned)r + (unsigned)v)) EMU_REDUCE(__reduce_add_sync, unsigned, r + v)
EMU_REDUCE(__reduce_max_sync, int, r < v ? v : r) EMU_REDUCE(__reduce_max_sync, unsigned, r < v ? v : r)
EMU_REDUCE(__reduce_min_sync, int, v < r ? v : r) EMU_REDUCE(__reduce_min_sync, unsigned, v < r ? v : r)
/* clang-format on */
EMU_INLINE unsigned __match_any_sync(unsigned mask, unsigned x, EMU_LINE)
{
    unsigned all[32], here = emu_gather(x, all, mask, line), r = 0;
    for (int i = 0; i < 32; i++)
        if (here >> i & 1u && all[i] == x) r |= 1u << i;
    return r;
}
EMU_INLINE void __trap(EMU_LINE) { emu_trap("__trap()", line); }
#define assert(condition) ((condition) ? (void)0 : emu_trap("assert(" #condition ")", __LINE__))
EMU_INLINE long long clock64() { return 0; }

/* ---- the seam: halves -------------------------------------------------------------------------------------------- */
#ifdef __F16C__
typedef float emu_f4 __attribute__((vector_size(16)));
typedef short emu_s8 __attribute__((vector_size(16)));
EMU_INLINE float h2f(half_t h)
{
    emu_s8 v = { (short)h };
    return __builtin_ia32_vcvtph2ps(v)[0];
}
EMU_INLINE half_t f2h(float f)
{
    emu_f4 v = { f };
    return (half_t)__builtin_ia32_vcvtps2ph(v, 0)[0];
}
#else
EMU_INLINE float h2f(half_t h)
{
    unsigned sign = (unsigned)(h & 0x8000u) << 16, exponent = h >> 10 & 31u, m = h & 0x3ffu;
    if (exponent == 31) return __uint_as_float(sign | 0x7f800000u | m << 13);
    if (exponent == 0) {
        float f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    return __uint_as_float(sign | (exponent + 112u) << 23 | m << 13);
}
EMU_INLINE half_t f2h(float f)
{ /* to the nearest, ties to even */
    unsigned u = __float_as_uint(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (half_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (half_t)(sign | 0x7c00u);
    if (a < 0x38800000u) return (half_t)(sign | (unsigned)rintf(__uint_as_float(a) * 0x1p24f));
    return (half_t)(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13));
}
#endif
EMU_INLINE float bf2f(bf16_t b) { return __uint_as_float((unsigned)b << 16); }
EMU_INLINE bf16_t f2bf(float f)
{
    unsigned u = __float_as_uint(f);
    return (u & 0x7fffffffu) > 0x7f800000u ? (bf16_t)0x7fff : (bf16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
EMU_INLINE u32 f2h2(float lo, float hi) { return (u32)f2h(lo) | (u32)f2h(hi) << 16; }
EMU_INLINE u32 f2bf2(float lo, float hi) { return (u32)f2bf(lo) | (u32)f2bf(hi) << 16; }
EMU_INLINE float fast_exp(float x) { return expf(x); }

/* ---- the seam: tensor cores and asynchronous copies -------------------------------------------------------------- */
EMU_INLINE void mma_f16(float d[4], const u32 a[4], const u32 b[2], EMU_LINE) { emu_mma(0, d, a, b, line); }
EMU_INLINE void mma_bf16(float d[4], const u32 a[4], const u32 b[2], EMU_LINE) { emu_mma(1, d, a, b, line); }
EMU_INLINE void mma_s8(int d[4], const u32 a[4], const u32 b[2], EMU_LINE) { emu_mma(2, d, a, b, line); }
EMU_INLINE void ldsm_x4(u32 r[4], const void *p, EMU_LINE) { emu_ldmatrix(r, p, 4, 0, line); }
EMU_INLINE void ldsm_x4_trans(u32 r[4], const void *p, EMU_LINE) { emu_ldmatrix(r, p, 4, 1, line); }
EMU_INLINE void ldsm_x2(u32 r[2], const void *p, EMU_LINE) { emu_ldmatrix(r, p, 2, 0, line); }
EMU_INLINE void ldsm_x2_trans(u32 r[2], const void *p, EMU_LINE) { emu_ldmatrix(r, p, 2, 1, line); }
EMU_INLINE void cp_async16(void *shared, const void *global, bool valid = true)
{
    emu_cp_async(shared, global, 16, valid);
}
EMU_INLINE void cp_commit() { emu_cp_commit(); }
template <int N> EMU_INLINE void cp_wait() { emu_cp_wait(N); }

/* ---- registration: the stand-in NVRTC writes one EMU_KERNEL / EMU_GLOBAL per name behind the program ------------- */
template <class F> struct emu_trampoline;
template <class... A> struct emu_trampoline<void (*)(A...)> {
    template <class T> struct pointer {
        static const unsigned char value = 0;
    };
    template <class T> struct pointer<T *> {
        static const unsigned char value = 1;
    };
    static constexpr int n = (int)sizeof...(A);
    static constexpr int sizes[] = { (int)sizeof(A)..., 0 };
    static constexpr unsigned char is_pointer[] = { pointer<A>::value..., 0 };
    template <int... I> struct list {
    };
    template <int N, int... I> struct upto : upto<N - 1, N - 1, I...> {
    };
    template <int... I> struct upto<0, I...> {
        typedef list<I...> type;
    };
    template <int... I> EMU_PLAIN static void apply(void (*f)(A...), void **p, list<I...>)
    {
        (void)p;
        f(*(A *)p[I]...);
    }
    template <void (*f)(A...)> EMU_PLAIN static void call(void **p) { apply(f, p, typename upto<n>::type()); }
};
#define EMU_KERNEL(name, bounds) \
    { #name,  &emu_trampoline<decltype(&name)>::call<&name>, emu_trampoline<decltype(&name)>::n, \
      bounds, emu_trampoline<decltype(&name)>::sizes,        emu_trampoline<decltype(&name)>::is_pointer },
#define EMU_GLOBAL(name) { #name, (void *)&name, sizeof name },
#if defined(__clang__)
extern "C" __attribute__((visibility("hidden"))) char __start_emu_shared[], __stop_emu_shared[];
static __attribute__((section("emu_shared"), used, aligned(16))) char emu_shared_is_there[16];
    #define EMU_SHARED __start_emu_shared, __stop_emu_shared
#else
extern "C" __attribute__((visibility("hidden"))) char __bss_start[], _end[];
    #define EMU_SHARED __bss_start, _end
#endif
