/* Kernels of the emulator's own test. BREAK (a -D of selftest.c) takes something out that the emulator must notice. */
#ifndef BREAK
    #define BREAK 0
#endif
#define KERNEL extern "C" __global__ void

template <int N> __device__ __forceinline__ float block_sum(float x)
{
    __shared__ float part[N];
    int warp = threadIdx.x >> 5, lane = threadIdx.x & 31;
    for (int m = 16; m; m >>= 1) x += shfl_xor(x, m);
    if (lane == 0) part[warp] = x;
    if (BREAK != 1) block_sync();
    x = lane < (int)blockDim.x / 32 ? part[lane] : 0.0f;
    for (int m = 16; m; m >>= 1) x += shfl_xor(x, m);
    return x;
}

KERNEL add(float *y, const float *a, const float *b, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n + (BREAK == 2)) y[i] = a[i] + b[i];
}

KERNEL __launch_bounds__(256, 2) row_sum(float *y, const float *x, int n)
{
    float s = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) s += x[(size_t)blockIdx.x * n + i];
    s = block_sum<32>(s);
    if (threadIdx.x == 0) y[blockIdx.x] = s;
}

KERNEL lanes(int *y)
{ /* 64 threads: shuffles, votes, bytes */
    int t = threadIdx.x, lane = t & 31;
    y[t] = shfl(t * 3, lane ^ 5) + dot4(0x01ff7f80, 0x02030405, t);
    y[64 + t] = (int)__ballot_sync(0xffffffffu, lane % 3 == 0);
    y[128 + t] = lane < 16 ? __shfl_down_sync(0x0000ffffu, t, 4, 16) : __shfl_up_sync(0xffff0000u, t, 2, 8);
    y[192 + t] = __byte_perm(0x33221100, 0x77665544, 0x7250);
    if (lane >= 20) return; /* lanes that have left: the others still can vote */
    y[256 + t] = __any_sync(0xffffffffu, lane == 19);
}

KERNEL histogram(int *count, float *sum, const u8 *x, int n)
{
    __shared__ int local[16];
    if (threadIdx.x < 16) local[threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        if (BREAK == 3)
            local[x[i] & 15]++;
        else
            atomicAdd(&local[x[i] & 15], 1);
        atomicAdd(sum, (float)x[i]);
    }
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(&count[threadIdx.x], local[threadIdx.x]);
}

/* C (m, n) = A (m, k) B (n, k)^T in halves: blocks of 4 warps make 32 x 32 tiles, each warp 16 x 16; k in
 * double-buffered steps of 16 */
KERNEL gemm(float *c, const half_t *a, const half_t *b, int m, int n, int k)
{
    extern __shared__ __align__(16) unsigned char memory[];
    half_t *sa = (half_t *)memory, *sb = sa + 2 * 32 * 24; /* rows of 16, 24 apart */
    int t = threadIdx.x, lane = t & 31, warp = t >> 5, row0 = blockIdx.y * 32, col0 = blockIdx.x * 32,
        wr = (warp >> 1) * 16, wc = (warp & 1) * 16;
    float d[2][4] = { { 0.0f, 0.0f, 0.0f, 0.0f }, { 0.0f, 0.0f, 0.0f, 0.0f } };
    auto load = [&](int step) {
        int r = t >> 2 & 31, which = t & 3, buffer = step & 1; /* 128 threads: 32 rows x 2 halves x 2 matrices */
        int half = which & 1, is_b = which >> 1, row = (is_b ? col0 : row0) + r, rows = is_b ? n : m;
        const half_t *from = (is_b ? b : a) + (size_t)(row < rows ? row : 0) * k + step * 16 + half * 8;
        cp_async16((is_b ? sb : sa) + (buffer * 32 + r) * 24 + half * 8, from, row < rows);
        cp_commit();
    };
    load(0);
    for (int step = 0; step < k / 16; step++) {
        if (step + 1 < k / 16) {
            load(step + 1);
            if (BREAK != 4) cp_wait<1>();
        } else if (BREAK != 4)
            cp_wait<0>();
        block_sync();
        const half_t *pa = sa + (step & 1) * 32 * 24, *pb = sb + (step & 1) * 32 * 24;
        u32 fa[4], fb[4];
        ldsm_x4(fa, pa + (wr + (lane & 15)) * 24 + (lane >> 4) * 8);
        ldsm_x4(fb, pb + (wc + (lane & 7) + (lane >> 4) * 8) * 24 + (lane >> 3 & 1) * 8);
        mma_f16(d[0], fa, fb);
        mma_f16(d[1], fa, fb + 2);
        if (BREAK != 5) block_sync();
    }
    for (int h = 0; h < 2; h++)
        for (int i = 0; i < 4; i++) {
            int row = row0 + wr + (lane >> 2) + (i >> 1) * 8, col = col0 + wc + h * 8 + (lane & 3) * 2 + (i & 1);
            if (row < m && col < n) c[(size_t)row * n + col] = d[h][i];
        }
}

/* One warp each: the fragments built by hand from the tables of the PTX ISA, independent of ldmatrix */
KERNEL mma_by_hand(float *cf, float *cb, int *ci, const half_t *af, const half_t *bf, const i8 *ai, const i8 *bi)
{
    int lane = threadIdx.x, g = lane >> 2, t = lane & 3;
    float d[4] = { 0.0f, 0.0f, 0.0f, 0.0f }, e[4] = { 0.0f, 0.0f, 0.0f, 0.0f };
    int s[4] = { 0, 0, 0, 0 };
    u32 a[4], b[2], x[4], y[2];
    /* A (16, 16) */
    for (int i = 0; i < 4; i++) a[i] = *(const u32 *)(af + (g + (i & 1) * 8) * 16 + 2 * t + (i >> 1) * 8);
    for (int i = 0; i < 2; i++) b[i] = *(const u32 *)(bf + g * 16 + 2 * t + i * 8); /* B given as (8 columns, 16) */
    mma_f16(d, a, b);
    for (int i = 0; i < 4; i++) a[i] = f2bf2(h2f((half_t)(a[i] & 0xffff)), h2f((half_t)(a[i] >> 16)));
    for (int i = 0; i < 2; i++) b[i] = f2bf2(h2f((half_t)(b[i] & 0xffff)), h2f((half_t)(b[i] >> 16)));
    mma_bf16(e, a, b);
    /* A (16, 32) */
    for (int i = 0; i < 4; i++) x[i] = *(const u32 *)(ai + (g + (i & 1) * 8) * 32 + 4 * t + (i >> 1) * 16);
    for (int i = 0; i < 2; i++) y[i] = *(const u32 *)(bi + g * 32 + 4 * t + i * 16);
    mma_s8(s, x, y);
    for (int i = 0; i < 4; i++) {
        int at = (g + (i >> 1) * 8) * 8 + 2 * t + (i & 1);
        cf[at] = d[i];
        cb[at] = e[i];
        ci[at] = s[i];
    }
}

/* ldmatrix and its transposed form against plain reads of the same tile; also static shared memory in a kernel */
KERNEL ldmatrix_layout(int *bad)
{
    __shared__ __align__(16) half_t tile[32][8]; /* four 8 x 8 matrices */
    int lane = threadIdx.x;
    u32 r[4], x[4], q[2];
    for (int c = 0; c < 8; c++) tile[lane][c] = (half_t)(lane * 8 + c);
    warp_sync();
    ldsm_x4(r, tile[lane]);
    ldsm_x4_trans(x, tile[lane]);
    ldsm_x2(q, tile[lane]);
    int row = lane >> 2, col = 2 * (lane & 3), wrong = 0;
    for (int m = 0; m < 4; m++) {
        u32 straight = (u32)(m * 64 + row * 8 + col) | (u32)(m * 64 + row * 8 + col + 1) << 16,
            across = (u32)(m * 64 + col * 8 + row) | (u32)(m * 64 + (col + 1) * 8 + row) << 16;
        wrong += (r[m] != straight) + (x[m] != across) + (m < 2 && q[m] != straight);
    }
    bad[lane] = wrong;
}

__constant__ float weights[4] = { 1.0f, 2.0f, 3.0f, 4.0f };
__device__ int ticket;
struct options {
    int n;
    float factor;
    const float *x;
    short tail[5];
};
KERNEL by_value(float *y, options o, double scale, u8 small)
{
    if (threadIdx.x < o.n)
        y[threadIdx.x] =
            o.factor * o.x[threadIdx.x] * (float)scale + (float)small + weights[threadIdx.x & 3] + (float)o.tail[4];
    if (threadIdx.x == 0) atomicAdd(&ticket, 1);
}

/* The last block of all sums what the others have left: fence, ticket, read */
KERNEL last_block(float *y, float *part, int *done)
{
    if (threadIdx.x == 31) part[blockIdx.x] = (float)(blockIdx.x + 1);
    if (BREAK != 9) block_sync();
    if (threadIdx.x == 0) {
        if (BREAK != 8) __threadfence();
        if (atomicAdd(done, 1) == (int)gridDim.x - 1) {
            float s = 0.0f;
            for (int i = 0; i < (int)gridDim.x; i++) s += part[i];
            *y = s;
        }
    }
}

/* reads its position from device memory, as a captured decode step does */
KERNEL scale_step(float *x, const int *step, int n)
{
    for (int i = threadIdx.x; i < n; i += blockDim.x) x[i] = x[i] * 2.0f + (float)*step;
}
KERNEL next_step(int *step) { *step += 1; }

KERNEL deadlock(int *y)
{
    if (threadIdx.x < 40)
        block_sync();
    else if (threadIdx.x < 50)
        warp_sync();
    y[0] = 1;
}
KERNEL divergent(int *y)
{
    if (threadIdx.x < 32)
        __syncthreads();
    else
        y[threadIdx.x] = 1, __syncthreads();
}
KERNEL wild(int *y, size_t offset) { y[offset + threadIdx.x] = 1; }
KERNEL misaligned(float *y, const float *x) { *(float4 *)y = *(const float4 *)(x + BREAK); }
KERNEL uninitialised(float *y, const float *x, int n)
{
    __shared__ float s[64];
    if (threadIdx.x < (BREAK == 6 ? n - 1 : n)) s[threadIdx.x] = x[threadIdx.x];
    block_sync();
    y[threadIdx.x] = s[n - 1 - threadIdx.x];
}
KERNEL neighbours(float *x, int n)
{ /* warp-wide exchange through shared memory */
    __shared__ float s[32];
    s[threadIdx.x] = x[threadIdx.x];
    if (BREAK != 7) warp_sync();
    x[threadIdx.x] = s[(threadIdx.x + 1) % 32] + (float)n;
}
KERNEL array_bounds(int *y, int i)
{
    __shared__ int s[8];
    if (threadIdx.x < 8) s[threadIdx.x] = 1;
    block_sync();
    if (threadIdx.x == 0) y[0] = s[i];
}
KERNEL overlap(int *y) { y[threadIdx.x + blockIdx.x * 30] = (int)blockIdx.x; } /* two blocks write the same places */
KERNEL forbidden(float *y, int n) { y[n] = 1.0f; }
KERNEL nothing(int n) { (void)n; }
