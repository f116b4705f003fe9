/* gemm: y (n, out) = x (n, k) . w (out, k)^T + bias, or y += that, on tensor cores: x and w are 16-bit floats, sums are
 * float32. For many rows where there is no cuBLAS. -DBF16: both are bf16 instead of halves.
 *
 * x and w are 16-aligned, and so are their rows (ldx, ldw and k are multiples of 8). A block makes a tile of TILE_N x
 * 128 results; 32 values of k at a time come through shared memory, STAGES - 1 steps ahead. There a row has four chunks
 * of 16 bytes, chunk c at c ^ (row / 2 % 4), so that the eight rows that ldmatrix reads at once lie in different banks.
 * grid (n / TILE_N, out / 128), 256 threads: warps WARPS_N x 8 / WARPS_N.
 *
 * -DEXPERTS: a block takes a tile of the rows that go through one expert's matrix from a map (experts.cu); they are
 * read from where they are, and the results go to the rows from which they came. grid (at least the tiles of the
 * map, out / 128). */
#define TILE_OUT 128
#define STEP     32
#define STAGES   3

#ifdef BF16
    #define MMA mma_bf16
#else
    #define MMA mma_f16
#endif

/* next: values to the next expert's w */
struct product {
    const u16 *x;
    i64 ldx;
    const u16 *w;
    i64 ldw;
    int n, out, k;
    const float *bias, *add;
    float *y;
    i64 add_stride, y_stride, next;
};

DEVICE int chunk_at(int row, int chunk) { return row * 4 + (chunk ^ (row >> 1 & 3)); }

/* Rows `first`... of a matrix of `rows`, values k0 ... k0 + 31; zeros where there are none. row_of: where they are;
 * NULL: one after the other. */
template <int ROWS>
DEVICE void fetch(uint4 *to, const u16 *from, i64 ld, int first, int rows, int k0, int k, const int *row_of)
{
    #pragma unroll
    for (int i = 0; i < (ROWS * 4 + 255) / 256; i++) {
        int id = (int)threadIdx.x + 256 * i, row = id >> 2, chunk = id & 3;
        bool valid = first + row < rows && k0 + 8 * chunk < k;
        if (ROWS * 4 % 256 == 0 || row < ROWS)
            cp_async16(to + chunk_at(row, chunk),
                       valid ? from + (row_of ? row_of[row] : first + row) * ld + k0 + 8 * chunk : from, valid);
    }
}

/* Rows n0 ... of x; x_rows, y_rows: where the tile's rows of x and of y are; NULL: in order. */
template <int TILE_N, int WARPS_N>
DEVICE void gemm(const product &p, int n0, const int *x_rows, const int *y_rows,
                 uint4 (*memory)[(TILE_N + TILE_OUT) * 4])
{
    const int M = TILE_N / WARPS_N / 16, N = TILE_OUT / (8 / WARPS_N) / 8; /* tiles of 16 x 8 of a warp */
    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, out0 = (int)blockIdx.y * TILE_OUT;
    int row_x = warp % WARPS_N * M * 16, row_w = warp / WARPS_N * N * 8, steps = (p.k + STEP - 1) / STEP;
    float sum[M][N][4];
    #pragma unroll
    for (int i = 0; i < M; i++)
        #pragma unroll
        for (int j = 0; j < N; j++)
            #pragma unroll
            for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;
    for (int s = 0; s < STAGES - 1; s++) {
        fetch<TILE_N>(memory[s], p.x, p.ldx, n0, p.n, s * STEP, p.k, x_rows);
        fetch<TILE_OUT>(memory[s] + TILE_N * 4, p.w, p.ldw, out0, p.out, s * STEP, p.k, (const int *)0);
        cp_commit();
    }
    for (int s = 0; s < steps; s++) {
        cp_wait<STAGES - 2>();
        block_sync(); /* everyone's copies are there, and everyone has left the stage that is filled next */
        int ahead = s + STAGES - 1;
        fetch<TILE_N>(memory[ahead % STAGES], p.x, p.ldx, n0, p.n, ahead * STEP, p.k, x_rows);
        fetch<TILE_OUT>(memory[ahead % STAGES] + TILE_N * 4, p.w, p.ldw, out0, p.out, ahead * STEP, p.k,
                        (const int *)0);
        cp_commit();
        const uint4 *x = memory[s % STAGES], *w = x + TILE_N * 4;
        #pragma unroll
        for (int half = 0; half < 2; half++) {
            u32 a[M][4], b[N][2];
            #pragma unroll
            for (int i = 0; i < M; i++) /* matrices: rows 0-7, 8-15 at k 0-7; the same at k 8-15 */
                ldsm_x4(a[i], x + chunk_at(row_x + i * 16 + (lane & 15), half * 2 + (lane >> 4)));
            #pragma unroll
            for (int j = 0; j < N; j += 2) { /* rows 0-7 at k 0-7, k 8-15; rows 8-15 likewise */
                u32 four[4];
                ldsm_x4(four, w + chunk_at(row_w + j * 8 + (lane & 7) + (lane >> 4) * 8, half * 2 + (lane >> 3 & 1)));
                b[j][0] = four[0];
                b[j][1] = four[1];
                b[j + 1][0] = four[2];
                b[j + 1][1] = four[3];
            }
            #pragma unroll
            for (int i = 0; i < M; i++)
                #pragma unroll
                for (int j = 0; j < N; j++) MMA(sum[i][j], a[i], b[j]);
        }
    }
    cp_wait<0>();
    #pragma unroll
    for (int i = 0; i < M; i++)
        #pragma unroll
        for (int j = 0; j < N; j++)
            #pragma unroll
            for (int e = 0; e < 4; e++) {
                int row = n0 + row_x + i * 16 + (lane >> 2) + (e >> 1) * 8,
                    column = out0 + row_w + j * 8 + (lane & 3) * 2 + (e & 1);
                if (row >= p.n || column >= p.out) continue;
                float *y = p.y + (y_rows ? y_rows[row] : row) * p.y_stride + column, v = sum[i][j][e];
                if (p.bias) v += p.bias[column];
                if (p.add) v += p.add[row * p.add_stride + column];
                *y = v;
            }
}

#ifdef EXPERTS
/* of experts.cu */
struct sorted {
    const int4 *map;
    const int *order, *total;
    int share;
};

    #define GEMM(TILE_N, WARPS_N) \
        KERNEL __launch_bounds__(256) gemm_##TILE_N(product p, const sorted rows) \
        { \
            __shared__ uint4 memory[STAGES][(TILE_N + TILE_OUT) * 4]; \
            __shared__ int x_rows[TILE_N], y_rows[TILE_N]; \
            if ((int)blockIdx.x >= rows.total[0]) return; \
            int4 tile = rows.map[blockIdx.x]; /* expert, first place, rows */ \
            if ((int)threadIdx.x < tile.z) { \
                y_rows[threadIdx.x] = rows.order[tile.y + (int)threadIdx.x]; \
                x_rows[threadIdx.x] = y_rows[threadIdx.x] / rows.share; \
            } \
            block_sync(); \
            p.n = tile.z; \
            p.w += tile.x * p.next; \
            gemm<TILE_N, WARPS_N>(p, 0, x_rows, y_rows, memory); \
        }
GEMM(64, 2) /* not 128: that takes all of the shared memory for itself */
GEMM(32, 1)
#else
    #define GEMM(TILE_N, WARPS_N) \
        KERNEL __launch_bounds__(256) gemm_##TILE_N(const product p) \
        { \
            __shared__ uint4 memory[STAGES][(TILE_N + TILE_OUT) * 4]; \
            gemm<TILE_N, WARPS_N>(p, (int)blockIdx.x * TILE_N, (const int *)0, (const int *)0, memory); \
        }
GEMM(128, 2)
GEMM(32, 1)
#endif
