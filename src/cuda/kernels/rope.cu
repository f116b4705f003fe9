/* rope: cosines and sines of the positions of a batch, and the rotation of heads. Needs prelude. */

/* table (n, half, 2) = cos, sin of pos * inv_freq, times scale; angles in double. grid (half / 64, n), block 64. */
KERNEL __launch_bounds__(64) rope_table(const int *pos, const double *inv_freq, int half, float scale, float *table)
{
    const int i = blockIdx.x * 64 + threadIdx.x, row = blockIdx.y;
    double s, c;
    if (i >= half) return;
    sincos((double)pos[row] * inv_freq[i], &s, &c);
    *(float2 *)(table + ((i64)row * half + i) * 2) = make_float2((float)c * scale, (float)s * scale);
}

/* Rotates the first 2 half values of each head in place: pairs (2i, 2i+1), or with neox (i, i + half). A pair (a, b) becomes
 * (a c - b s, a s + b c). grid (n_head * half / 128, n), block 128. */
KERNEL __launch_bounds__(128) rope(float *x, i64 x_stride, const float *table, int n_head, int head_dim, int half, int neox)
{
    const int at = blockIdx.x * 128 + threadIdx.x, head = at / half, i = at % half;
    const i64 row = blockIdx.y;
    if (head >= n_head) return;
    const float2 t = *(const float2 *)(table + (row * half + i) * 2);
    float *p = x + row * x_stride + (i64)head * head_dim + (neox ? i : 2 * i), *q = p + (neox ? half : 1);
    const float a = *p, b = *q;
    *p = a * t.x - b * t.y;
    *q = a * t.y + b * t.x;
}
