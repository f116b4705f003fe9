/* prelude: the seam between kernels and the machine. Kernels are written over these functions and the CUDA built-ins
 * alone; under NVRTC their bodies are PTX (no CUDA header is needed), the emulator of tests/emu brings its own. Lane
 * numbers: t = lane % 4, g = lane / 4. */
#ifndef HYBRID_EMULATOR

typedef unsigned short half_t; /* the bits of an IEEE half */
typedef unsigned short bf16_t; /* the upper half of a float */
typedef signed char i8;
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

    #define SEAM __device__ __forceinline__

/* ---- 16-bit floats, to nearest even ------------------------------------------------------------------------------ */
SEAM float h2f(half_t h)
{
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}
SEAM half_t f2h(float f)
{
    half_t h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}
SEAM float bf2f(bf16_t b) { return __uint_as_float((u32)b << 16); }
    #if __CUDA_ARCH__ >= 800
SEAM bf16_t f2bf(float f)
{
    bf16_t b;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(b) : "f"(f));
    return b;
}
SEAM u32 f2h2(float lo, float hi)
{
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
SEAM u32 f2bf2(float lo, float hi)
{
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
}
    #else
SEAM bf16_t f2bf(float f)
{
    u32 u = __float_as_uint(f);
    return (bf16_t)((u & 0x7FFFFFFFu) > 0x7F800000u ? 0x7FFFu : (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16);
}
SEAM u32 f2h2(float lo, float hi) { return (u32)f2h(lo) | (u32)f2h(hi) << 16; }
SEAM u32 f2bf2(float lo, float hi) { return (u32)f2bf(lo) | (u32)f2bf(hi) << 16; }
    #endif

SEAM int dot4(int a, int b, int c) { return __dp4a(a, b, c); }
SEAM float fast_exp(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * 1.4426950408889634f));
    return y;
}

/* ---- a warp, a block --------------------------------------------------------------------------------------------- */
SEAM float shfl_xor(float v, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, v, mask); }
SEAM int shfl_xor(int v, int mask) { return __shfl_xor_sync(0xFFFFFFFFu, v, mask); }
SEAM float shfl(float v, int lane) { return __shfl_sync(0xFFFFFFFFu, v, lane); }
SEAM int shfl(int v, int lane) { return __shfl_sync(0xFFFFFFFFu, v, lane); }
SEAM void warp_sync() { __syncwarp(); }
SEAM void block_sync() { __syncthreads(); }

    /* ---- tensor cores. A lane's share of m16n8k16: a0 = A[g][2t, 2t+1], a1 = A[g+8][..], a2 = A[g][2t+8, ..], a3 =
     * A[g+8][2t+8, ..]; b0 = B[2t, 2t+1][g], b1 = B[2t+8, ..][g]; d0, d1 = D[g][2t, 2t+1], d2, d3 = D[g+8][2t, 2t+1].
     * m16n8k32 of bytes: four for two values. ---- */
    #if __CUDA_ARCH__ >= 800
SEAM void mma_f16(float d[4], const u32 a[4], const u32 b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
SEAM void mma_bf16(float d[4], const u32 a[4], const u32 b[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
SEAM void mma_s8(int d[4], const u32 a[4], const u32 b[2])
{
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
    #else
SEAM void mma_f16(float d[4], const u32 a[4], const u32 b[2])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(b[0]));
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[2]), "r"(a[3]), "r"(b[1]));
}
/* No bf16 units before sm_80, and halves have not the range: rows and columns are gathered by shuffles and
 * multiplied in float32. Slow, right. */
SEAM void mma_bf16(float d[4], const u32 a[4], const u32 b[2])
{
    int lane = (int)(threadIdx.x & 31u), row = lane & ~3, column = (lane & 3) * 8;
    for (int j = 0; j < 4; j++)
        for (int half = 0; half < 2; half++) {
            u32 low = (u32)shfl((int)a[2 * half], row + j), high = (u32)shfl((int)a[2 * half + 1], row + j);
            u32 left = (u32)shfl((int)b[half], column + j), right = (u32)shfl((int)b[half], column + 4 + j);
            for (int i = 0; i < 2; i++) {
                float l = bf2f((bf16_t)(left >> 16 * i)), r = bf2f((bf16_t)(right >> 16 * i));
                float p = bf2f((bf16_t)(low >> 16 * i)), q = bf2f((bf16_t)(high >> 16 * i));
                d[0] = fmaf(p, l, d[0]);
                d[1] = fmaf(p, r, d[1]);
                d[2] = fmaf(q, l, d[2]);
                d[3] = fmaf(q, r, d[3]);
            }
        }
}
SEAM void mma_s8_part(int *d, u32 a, u32 b)
{
    asm("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32 {%0,%1}, {%2}, {%3}, {%0,%1};"
        : "+r"(d[0]), "+r"(d[1])
        : "r"(a), "r"(b));
}
SEAM void mma_s8(int d[4], const u32 a[4], const u32 b[2])
{
    mma_s8_part(d, a[0], b[0]);
    mma_s8_part(d + 2, a[1], b[0]);
    mma_s8_part(d, a[2], b[1]);
    mma_s8_part(d + 2, a[3], b[1]);
}
    #endif

/* ---- shared memory ----------------------------------------------------------------------------------------------- */
SEAM u32 shared_address(const void *shared) { return (u32)__cvta_generic_to_shared(shared); }

/* Matrices of 8 x 8 16-bit values; lane i gives the address of row i % 8 (16 bytes, 16-aligned) of matrix i / 8 (x2:
 * lanes 0-15). */
SEAM void ldsm_x4(u32 r[4], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}
SEAM void ldsm_x4_trans(u32 r[4], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(shared))
                 : "memory");
}
SEAM void ldsm_x2(u32 r[2], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(shared))
                 : "memory");
}
SEAM void ldsm_x2_trans(u32 r[2], const void *shared)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(shared))
                 : "memory");
}

    /* 16 bytes from global to shared memory, both 16-aligned; zeros when !valid (the address is not read then, but must
     * be a pointer). They have arrived for the thread that asked after cp_wait<N>, N = the number of later cp_commit()s
     * that may still be under way. */
    #if __CUDA_ARCH__ >= 800
SEAM void cp_async16(void *shared, const void *global, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}
SEAM void cp_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> SEAM void cp_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
    #else
SEAM void cp_async16(void *shared, const void *global, bool valid)
{
    uint4 v = make_uint4(0, 0, 0, 0);
    if (valid) v = *(const uint4 *)global;
    *(uint4 *)shared = v;
}
SEAM void cp_commit() {}
template <int N> SEAM void cp_wait() {}
    #endif

/* 16 bytes of global memory, 16-aligned, that are read once: they shall not push others out of the first cache. */
SEAM uint4 load_stream(const void *global)
{
    uint4 v;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
        : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
        : "l"(global));
    return v;
}

#endif /* HYBRID_EMULATOR */

/* ---- over the seam, the same everywhere. All 32 lanes take part; every lane gets the result. --------------------- */
#define DEVICE __device__ __forceinline__
#define KERNEL extern "C" __global__ void

DEVICE float warp_sum(float v)
{
    for (int mask = 16; mask > 0; mask >>= 1) v += shfl_xor(v, mask);
    return v;
}
DEVICE float warp_max(float v)
{
    for (int mask = 16; mask > 0; mask >>= 1) v = fmaxf(v, shfl_xor(v, mask));
    return v;
}
