/* gemm_f32: y (n, out) = x (n, k) . w (out, k)^T + bias, or y += that, all in float32 and any sizes: for models whose weights are float32.
 * A block makes 64 x 64 results, a thread 4 x 4 of them, 16 apart; 16 values of k at a time lie in shared memory, transposed.
 * grid (n / 64, out / 64), 256 threads. */
#define TILE 64
#define STEP 16

struct product_f32 { const float *x; i64 ldx; const float *w; i64 ldw; int n, out, k, add; const float *bias; float *y; i64 y_stride; };

DEVICE void fetch(float (*to)[TILE + 1], const float *from, i64 ld, int first, int rows, int k0, int k)
{
#pragma unroll
    for (int i = 0; i < TILE * STEP / 256; i++) {
        int id = (int)threadIdx.x + 256 * i, row = id / STEP, at = id % STEP;
        to[at][row] = first + row < rows && k0 + at < k ? from[(first + row) * ld + k0 + at] : 0.0f;
    }
}

KERNEL __launch_bounds__(256) gemm_f32(const product_f32 p)
{
    __shared__ float x[STEP][TILE + 1], w[STEP][TILE + 1];
    int n0 = (int)blockIdx.x * TILE, out0 = (int)blockIdx.y * TILE, tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
    float sum[4][4];
#pragma unroll
    for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = 0.0f;
    for (int k0 = 0; k0 < p.k; k0 += STEP) {
        fetch(x, p.x, p.ldx, n0, p.n, k0, p.k);
        fetch(w, p.w, p.ldw, out0, p.out, k0, p.k);
        block_sync();
#pragma unroll
        for (int at = 0; at < STEP; at++) {
            float a[4], b[4];
#pragma unroll
            for (int i = 0; i < 4; i++) { a[i] = x[at][ty + 16 * i]; b[i] = w[at][tx + 16 * i]; }
#pragma unroll
            for (int i = 0; i < 16; i++) sum[i / 4][i % 4] = fmaf(a[i / 4], b[i % 4], sum[i / 4][i % 4]);
        }
        block_sync();
    }
#pragma unroll
    for (int i = 0; i < 16; i++) {
        int row = n0 + ty + 16 * (i / 4), column = out0 + tx + 16 * (i % 4);
        if (row >= p.n || column >= p.out) continue;
        float *y = p.y + row * p.y_stride + column, v = sum[i / 4][i % 4];
        if (p.bias) v += p.bias[column];
        if (p.add) v += *y;
        *y = v;
    }
}
