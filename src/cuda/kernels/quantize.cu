/* quantize: activations into what the products of quantized weights read.
 *
 * Per row of k values (k % 32 == 0): q (k signed bytes), d (k / 32 scales; value = d * q), s (k / 16 sums d * sum(q) of
 * 16 values each, for types whose blocks have an offset). Rows follow each other without gaps. One warp makes one
 * block of 32; grid (ceil(k / 256), rows), 256 threads. */
/* a value's byte, its block's scale, its half block's sum */
struct eighth {
    int q;
    float d, s;
};

DEVICE eighth to_8_bits(float v)
{
    /* as integers, a NaN is the largest: one makes the scale NaN, and so the results */
    int bits = __float_as_int(fabsf(v));
    for (int mask = 16; mask > 0; mask >>= 1) bits = max(bits, shfl_xor(bits, mask));
    float top = __int_as_float(bits), inverse = top > 1e-35f && top < 3e38f ? 127.0f / top : 0.0f;
    eighth r;
    r.q = inverse > 0.0f ? (int)rintf(v * inverse) : 0;
    r.d = top * (1.0f / 127.0f);
    int sum = r.q;
    for (int mask = 8; mask > 0; mask >>= 1) sum += shfl_xor(sum, mask);
    r.s = r.d * (float)sum;
    return r;
}

KERNEL __launch_bounds__(256) quantize(const float *__restrict__ x, i64 x_stride, int k, i8 *__restrict__ q,
                                       float *__restrict__ d, float *__restrict__ s)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x);
    i64 row = blockIdx.y;
    if (i >= k) return; /* whole warps: k is a multiple of 32 */
    eighth e = to_8_bits(x[row * x_stride + i]);
    q[row * k + i] = (i8)e.q;
    if ((i & 31) == 0) d[(row * k + i) >> 5] = e.d;
    if ((i & 15) == 0) s[(row * k + i) >> 4] = e.s;
}

/* The same in the order in which matbatch.cu takes it: for each group of 8 rows, for each 32 values: 32 lanes' 8 bytes
 * (lane 4 * row + t: values 4t .. 4t + 3 and 16 + 4t ..), 8 scales, 2 x 8 sums. v: value i of a row. */
DEVICE void store_tiles(float v, int row, int i, int k, i8 *q, float *d, float *s)
{
    int g = row & 7, half = i >> 4 & 1, t = i >> 2 & 3;
    eighth e = to_8_bits(v);
    i64 at = (i64)(row >> 3) * (k / 32) + (i >> 5);
    q[at * 256 + (g * 4 + t) * 8 + half * 4 + (i & 3)] = (i8)e.q;
    if ((i & 31) == 0) d[at * 8 + g] = e.d;
    if ((i & 15) == 0) s[at * 16 + half * 8 + g] = e.s;
}

/* Rows from n on are zero. */
KERNEL __launch_bounds__(256) quantize_tiles(const float *__restrict__ x, i64 x_stride, int k, int n,
                                             i8 *__restrict__ q, float *__restrict__ d, float *__restrict__ s)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x), row = (int)blockIdx.y;
    if (i < k) store_tiles(row < n ? x[(i64)row * x_stride + i] : 0.0f, row, i, k, q, d, s);
}

/* Rows in the order of experts.cu: place p has row order[p] / share, or zeros when that is -1. grid (at least
 * total[1], ceil(k / 256)). */
KERNEL __launch_bounds__(256) quantize_sorted(const float *__restrict__ x, i64 x_stride, int k,
                                              const int *__restrict__ order, const int *__restrict__ total, int share,
                                              i8 *__restrict__ q, float *__restrict__ d, float *__restrict__ s)
{
    int i = (int)(blockIdx.y * 256 + threadIdx.x), at = (int)blockIdx.x;
    if (i >= k || at >= total[1]) return;
    int row = order[at];
    store_tiles(row >= 0 ? x[(i64)(row / share) * x_stride + i] : 0.0f, at, i, k, q, d, s);
}

/* Rows for the half-precision product: out (rows, k_out), zeros from k to k_out (a multiple of 8). A finite value
 * beyond the range of a half becomes the largest half, not infinity: such an activation is off by its excess then,
 * but the rest of the row is right. */
KERNEL __launch_bounds__(256)
    to_half(const float *__restrict__ x, i64 x_stride, int k, half_t *__restrict__ out, int k_out)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x);
    i64 row = blockIdx.y;
    if (i >= k_out) return;
    float v = i < k ? x[row * x_stride + i] : 0.0f;
    out[row * k_out + i] = f2h(fabsf(v) < 3.4e38f ? fminf(fmaxf(v, -65504.0f), 65504.0f) : v);
}

/* The same for bf16, which has the range of a float. */
KERNEL __launch_bounds__(256)
    to_bf16(const float *__restrict__ x, i64 x_stride, int k, bf16_t *__restrict__ out, int k_out)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x);
    i64 row = blockIdx.y;
    if (i < k_out) out[row * k_out + i] = i < k ? f2bf(x[row * x_stride + i]) : (bf16_t)0;
}

/* y (n, out) = bias + add, either of which may be NULL, and add may be y: what a product by cuBLAS, which adds to y,
 * begins with. grid (ceil(out / 256), n), 256 threads. */
KERNEL __launch_bounds__(256)
    begin_bias(const float *bias, const float *add, i64 add_stride, float *y, i64 y_stride, int out)
{
    int i = (int)(blockIdx.x * 256 + threadIdx.x);
    if (i >= out) return;
    y[(i64)blockIdx.y * y_stride + i] = (bias ? bias[i] : 0.0f) + (add ? add[(i64)blockIdx.y * add_stride + i] : 0.0f);
}
