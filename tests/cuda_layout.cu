/* One kernel a function of the seam (src/cuda/kernels/prelude.cu), for tests/test_cuda_layout.c: registers and memory
 * go in and come out as they are, and the host says what they should hold. Blocks of 32 threads where nothing else
 * is said. */

KERNEL from_16(const u16 *x, float *half, float *bf, int n)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) {
        half[i] = h2f(x[i]);
        bf[i] = bf2f(x[i]);
    }
}

/* Pairs are those of x[i] (low) and x[n - 1 - i] (high). */
KERNEL to_16(const float *x, u16 *half, u16 *bf, u32 *half_pair, u32 *bf_pair, int n)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n) return;
    half[i] = f2h(x[i]);
    bf[i] = f2bf(x[i]);
    half_pair[i] = f2h2(x[i], x[n - 1 - i]);
    bf_pair[i] = f2bf2(x[i], x[n - 1 - i]);
}

KERNEL arithmetic(const int *a, const int *b, const int *c, int *dots, const float *x, float *powers, int n)
{
    int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < n) {
        dots[i] = dot4(a[i], b[i], c[i]);
        powers[i] = fast_exp(x[i]);
    }
}

/* out (2, 64, 32): shfl_xor by the masks 0..31, then shfl from the lanes 0..31; first of floats, then of integers.
 * Last: sum and maximum (2, 32). */
KERNEL shuffles(const float *x, const int *y, float *floats, int *integers, float *sums)
{
    int lane = (int)threadIdx.x;
    for (int k = 0; k < 32; k++) {
        floats[k * 32 + lane] = shfl_xor(x[lane], k);
        floats[(32 + k) * 32 + lane] = shfl(x[lane], k);
        integers[k * 32 + lane] = shfl_xor(y[lane], k);
        integers[(32 + k) * 32 + lane] = shfl(y[lane], k);
    }
    sums[lane] = warp_sum(x[lane]);
    sums[32 + lane] = warp_max(x[lane]);
}

/* Registers of lane l: a[4 * l ..], b[2 * l ..], d[4 * l ..], which is added to. A block is a product of its own. */
#define MMA(name, T) \
    KERNEL name##_registers(const u32 *a, const u32 *b, T *d) \
    { \
        u32 ra[4], rb[2]; \
        T rd[4]; \
        int lane = (int)(blockIdx.x * 32 + threadIdx.x); \
        for (int i = 0; i < 4; i++) { \
            ra[i] = a[4 * lane + i]; \
            rd[i] = d[4 * lane + i]; \
        } \
        for (int i = 0; i < 2; i++) rb[i] = b[2 * lane + i]; \
        name(rd, ra, rb); \
        for (int i = 0; i < 4; i++) d[4 * lane + i] = rd[i]; \
    }
MMA(mma_f16, float)
MMA(mma_bf16, float)
MMA(mma_s8, int)

/* 32 rows of 8 halves (matrix m: rows 8 m ..), kept 48 bytes apart. out (12, 32): x4, x4 transposed, x2, x2
 * transposed. */
KERNEL matrices(const u16 *rows, u32 *out)
{
    __shared__ __align__(16) u16 tile[32 * 24];
    int lane = (int)threadIdx.x;
    u32 r[4];
    for (int i = 0; i < 8; i++) tile[lane * 24 + i] = rows[lane * 8 + i];
    for (int i = 8; i < 24; i++) tile[lane * 24 + i] = 0xDEAD;
    block_sync();
    ldsm_x4(r, tile + lane * 24);
    for (int i = 0; i < 4; i++) out[i * 32 + lane] = r[i];
    ldsm_x4_trans(r, tile + lane * 24);
    for (int i = 0; i < 4; i++) out[(4 + i) * 32 + lane] = r[i];
    ldsm_x2(r, tile + lane * 24);
    for (int i = 0; i < 2; i++) out[(8 + i) * 32 + lane] = r[i];
    ldsm_x2_trans(r, tile + lane * 24);
    for (int i = 0; i < 2; i++) out[(10 + i) * 32 + lane] = r[i];
}

/* 64 threads, two groups of 64 pieces of 16 bytes; every third piece is not valid. own: piece of group 0 as its thread
 * sees it when group 1 may still be under way; all (2, 64): what the neighbour sees of both after a barrier; stream:
 * load_stream of group 1. */
KERNEL copies(const uint4 *x, uint4 *own, uint4 *all, uint4 *stream)
{
    __shared__ uint4 tile[2][64];
    int i = (int)threadIdx.x, other = (i + 37) & 63;
    for (int g = 0; g < 2; g++) {
        cp_async16(&tile[g][i], x + g * 64 + i, (g * 64 + i) % 3 != 0);
        cp_commit();
    }
    cp_wait<1>();
    own[i] = tile[0][i];
    cp_wait<0>();
    block_sync();
    for (int g = 0; g < 2; g++) all[g * 64 + i] = tile[g][other];
    stream[i] = load_stream(x + 64 + i);
}

/* 64 threads: what a thread wrote before a barrier, others see behind it: of its warp (x reversed in 32s), then of
 * its block (x reversed). */
KERNEL barriers(const int *x, int *warp, int *block)
{
    __shared__ int a[64], b[64];
    int i = (int)threadIdx.x;
    a[i] = x[i];
    warp_sync();
    warp[i] = a[i ^ 31];
    b[i] = x[i];
    block_sync();
    block[i] = b[63 - i];
}
