/* gemm_f32: y (n, out) = x (n, k) . w (out, k)^T + bias, or y += that, all in float32 and any sizes: for models whose
 * weights are float32. A block makes 64 x 64 results, a thread 4 x 4 of them, 16 apart; 16 values of k at a time lie in
 * shared memory, transposed. grid (n / 64, out / 64), 256 threads.
 *
 * -DEXPERTS: a block takes a tile of the rows that go through one expert's matrix from a map (experts.cu). Here w may
 * be of any float type: it is also the product of experts' matrices whose rows are not aligned as tensor cores want
 * them. grid (at least the tiles of the map, out / 64).
 *
 * -DBACK: the two other forms of products, dx = dy . w and dw += dy^T . x, where cuBLAS is not there; and of experts'
 * matrices. */
#define TILE 64
#define STEP 16

/* next: values to the next expert's w */
struct product_f32 {
    const float *x;
    i64 ldx;
    const u8 *w;
    i64 ldw;
    int n, out, k;
    const float *bias, *add;
    float *y;
    i64 add_stride, y_stride, next;
};

/* Values k0 ... k0 + 15 of rows `first`...; value(row, k) where there are such. ACROSS: those of neighbouring rows lie
 * side by side, not those of a row. */
template <bool ACROSS = false, class Value>
DEVICE void fetch(float (*to)[TILE + 1], int first, int rows, int k0, int k, const Value &value)
{
    #pragma unroll
    for (int i = 0; i < TILE * STEP / 256; i++) {
        int id = (int)threadIdx.x + 256 * i, row = ACROSS ? id % TILE : id / STEP, at = ACROSS ? id / TILE : id % STEP;
        to[at][row] = first + row < rows && k0 + at < k ? value(first + row, k0 + at) : 0.0f;
    }
}

#ifndef BACK
/* Rows n0 ... of x; x_rows, y_rows: where the tile's rows of x and of y are; NULL: in order. */
DEVICE void gemm(const product_f32 &p, int n0, const int *x_rows, const int *y_rows)
{
    __shared__ float x[STEP][TILE + 1], w[STEP][TILE + 1];
    int out0 = (int)blockIdx.y * TILE, tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
    float sum[4][4];
    #pragma unroll
    for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = 0.0f;
    for (int k0 = 0; k0 < p.k; k0 += STEP) {
        fetch(x, n0, p.n, k0, p.k, [&](int row, int at) { return p.x[(x_rows ? x_rows[row] : row) * p.ldx + at]; });
        fetch(w, out0, p.out, k0, p.k, [&](int row, int at) { return float_at(p.w, row * p.ldw + at); });
        block_sync();
        #pragma unroll
        for (int at = 0; at < STEP; at++) {
            float a[4], b[4];
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                a[i] = x[at][ty + 16 * i];
                b[i] = w[at][tx + 16 * i];
            }
            #pragma unroll
            for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = fmaf(a[i / 4], b[i % 4], sum[i / 4][i % 4]);
        }
        block_sync();
    }
    #pragma unroll
    for (int i = 0; i < 16; i++) {
        int row = n0 + ty + 16 * (i / 4), column = out0 + tx + 16 * (i % 4);
        if (row >= p.n || column >= p.out) continue;
        float *y = p.y + (y_rows ? y_rows[row] : row) * p.y_stride + column, v = sum[i / 4][i % 4];
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

KERNEL __launch_bounds__(256) gemm_f32(product_f32 p, const sorted rows)
{
    __shared__ int x_rows[TILE], y_rows[TILE];
    if ((int)blockIdx.x >= rows.total[0]) return;
    int4 tile = rows.map[blockIdx.x]; /* expert, first place, rows */
    if ((int)threadIdx.x < tile.z) {
        y_rows[threadIdx.x] = rows.order[tile.y + (int)threadIdx.x];
        x_rows[threadIdx.x] = y_rows[threadIdx.x] / rows.share;
    }
    block_sync();
    p.n = tile.z;
    p.w += tile.x * p.next * BLOCK_BYTES;
    gemm(p, 0, x_rows, y_rows);
}
    #else
KERNEL __launch_bounds__(256) gemm_f32(const product_f32 p)
{
    gemm(p, (int)blockIdx.x * TILE, (const int *)0, (const int *)0);
}
    #endif

#else

/* c (m, n) = or += a (m, p) . b (p, n). a_m, a_p: floats from one row or column of a to the next, one of them 1; those
 * of b are side by side in its rows. grid (m / 64, n / 64), 256 threads. */
struct product_back {
    const float *a, *b;
    float *c;
    i64 a_m, a_p, b_p, c_m;
    int m, n, p, add;
};

/* put(row, column, the sum over p of value_a(row, p) value_b(column, p)), of m, n and p of them; this block's 64 x 64
 * from m0 and n0 on, through a and b in shared memory. ACROSS: a of neighbouring rows lies side
 * by side; b of neighbouring columns always does. */
template <bool ACROSS, class A, class B, class C>
DEVICE void product(float (*a)[TILE + 1], float (*b)[TILE + 1], int m0, int n0, int m, int n, int p, const A &value_a,
                    const B &value_b, const C &put)
{
    const int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
    float sum[4][4];
    #pragma unroll
    for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = 0.0f;
    for (int p0 = 0; p0 < p; p0 += STEP) {
        fetch<ACROSS>(a, m0, m, p0, p, value_a);
        fetch<true>(b, n0, n, p0, p, value_b);
        block_sync();
        #pragma unroll
        for (int at = 0; at < STEP; at++) {
            float left[4], right[4];
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                left[i] = a[at][ty + 16 * i];
                right[i] = b[at][tx + 16 * i];
            }
            #pragma unroll
            for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = fmaf(left[i / 4], right[i % 4], sum[i / 4][i % 4]);
        }
        block_sync(); /* the tiles have been read */
    }
    #pragma unroll
    for (int i = 0; i < 16; i++) {
        const int row = m0 + ty + 16 * (i / 4), column = n0 + tx + 16 * (i % 4);
        if (row < m && column < n) put(row, column, sum[i / 4][i % 4]);
    }
}

    #ifdef EXPERTS
/* Of experts, for choices c = row * n_used + s:
 *
 *   dx of choice c = dy (out) . w of its expert (out, k)
 *   dw of an expert (out, k) += the sum over its choices of dy^T x
 *
 * order: the choices, of which those of expert e are at begin[e] ... begin[e + 1] (experts.cu). x_share, dy_share:
 * choices that read one row. w begins with row p0 of `expert0`, and has p rows of each of n_expert. */
struct experts_back_args {
    const float *x, *dy, *w;
    float *dx, *dw;
    const int *order, *begin;
    i64 x_stride, dy_stride;
    int k, out, x_share, dy_share, expert0, n_expert, p0, p, add;
};

/* grid (tiles of 64 rows of all experts' choices, at least; k / 64), 256 threads. dx = or += */
KERNEL __launch_bounds__(256) experts_back_x(const experts_back_args a)
{
    __shared__ float left[STEP][TILE + 1], right[STEP][TILE + 1];
    int tile = blockIdx.x, e = 0;
    for (; e < a.n_expert; e++) {
        const int tiles = (a.begin[a.expert0 + e + 1] - a.begin[a.expert0 + e] + TILE - 1) / TILE;
        if (tile < tiles) break;
        tile -= tiles;
    }
    if (e == a.n_expert) return;
    const int *choices = a.order + a.begin[a.expert0 + e];
    const int n = a.begin[a.expert0 + e + 1] - a.begin[a.expert0 + e];
    const float *w = a.w + (i64)e * a.p * a.k;
    product<false>(
        left, right, tile * TILE, (int)blockIdx.y * TILE, n, a.k, a.p,
        [&](int row, int at) { return a.dy[choices[row] / a.dy_share * a.dy_stride + a.p0 + at]; },
        [&](int column, int at) { return w[(i64)at * a.k + column]; },
        [&](int row, int column, float sum) {
            float *dx = a.dx + (i64)choices[row] * a.k + column;
            *dx = a.add ? *dx + sum : sum;
        });
}

/* grid (out / 64, k / 64, experts), 256 threads. */
KERNEL __launch_bounds__(256) experts_back_w(const experts_back_args a)
{
    __shared__ float left[STEP][TILE + 1], right[STEP][TILE + 1];
    const int *choices = a.order + a.begin[blockIdx.z];
    const int n = a.begin[blockIdx.z + 1] - a.begin[blockIdx.z];
    float *dw = a.dw + (i64)blockIdx.z * a.out * a.k;
    if (n == 0) return; /* nobody chose it */
    product<true>(
        left, right, (int)blockIdx.x * TILE, (int)blockIdx.y * TILE, a.out, a.k, n,
        [&](int row, int at) { return a.dy[choices[at] / a.dy_share * a.dy_stride + row]; },
        [&](int column, int at) { return a.x[choices[at] / a.x_share * a.x_stride + column]; },
        [&](int row, int column, float sum) { dw[(i64)row * a.k + column] += sum; });
}
    #else
KERNEL __launch_bounds__(256) gemm_back(const product_back q)
{
    __shared__ float left[STEP][TILE + 1], right[STEP][TILE + 1];
    const int m0 = (int)blockIdx.x * TILE, n0 = (int)blockIdx.y * TILE;
    const auto a = [&](int row, int at) { return q.a[row * q.a_m + at * q.a_p]; };
    const auto b = [&](int column, int at) { return q.b[at * q.b_p + column]; };
    const auto put = [&](int row, int column, float sum) {
        float *c = q.c + row * q.c_m + column;
        *c = q.add ? *c + sum : sum;
    };
    if (q.a_p == 1)
        product<false>(left, right, m0, n0, q.m, q.n, q.p, a, b, put);
    else
        product<true>(left, right, m0, n0, q.m, q.n, q.p, a, b, put);
}
    #endif
#endif
