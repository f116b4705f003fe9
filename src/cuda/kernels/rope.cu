/* rope: cosines and sines of the positions of a batch, and the rotation of heads. Needs prelude. */

/* Sine and cosine as compute/cpu/trig.c makes them (the built-in ones keep a table in local memory): the nearest
 * quarter turn is taken off in three parts, the rest goes into the two series. */
DEVICE void sine_cosine(double x, double *sine, double *cosine)
{
    const double n = rint(x * 0.63661977236758134308),
                 r = fma(-n, 5.170182981794105e-19,
                         fma(-n, 9.920935791635221e-10, fma(-n, 1.57079632580280303955078125, x))),
                 z = r * r;
    const int quadrant = (int)((i64)n & 3);
    double s = 1.0 / 355687428096000.0, c = -1.0 / 6402373705728000.0;
    s = fma(s, z, -1.0 / 1307674368000.0);
    c = fma(c, z, 1.0 / 20922789888000.0);
    s = fma(s, z, 1.0 / 6227020800.0);
    c = fma(c, z, -1.0 / 87178291200.0);
    s = fma(s, z, -1.0 / 39916800.0);
    c = fma(c, z, 1.0 / 479001600);
    s = fma(s, z, 1.0 / 362880);
    c = fma(c, z, -1.0 / 3628800);
    s = fma(s, z, -1.0 / 5040);
    c = fma(c, z, 1.0 / 40320);
    s = fma(s, z, 1.0 / 120);
    c = fma(c, z, -1.0 / 720);
    s = fma(s, z, -1.0 / 6);
    c = fma(c, z, 1.0 / 24);
    s = fma(r * z, s, r);
    c = fma(z * z, c, 1 - z / 2);
    *sine = quadrant & 1 ? c : s;
    *cosine = quadrant & 1 ? s : c;
    if (quadrant & 2) *sine = -*sine;
    if ((quadrant + 1) & 2) *cosine = -*cosine;
}

/* table (n, half, 2) = cos, sin of pos * inv_freq, times scale; angles in double. grid (half / 64, n), block 64. */
KERNEL __launch_bounds__(64) rope_table(const int *pos, const double *inv_freq, int half, float scale, float *table)
{
    const int i = blockIdx.x * 64 + threadIdx.x, row = blockIdx.y;
    double s, c;
    if (i >= half) return;
    sine_cosine((double)pos[row] * inv_freq[i], &s, &c);
    *(float2 *)(table + ((i64)row * half + i) * 2) = make_float2((float)c * scale, (float)s * scale);
}

/* Rotates the first 2 half values of each head: pairs (2i, 2i+1), or with neox (i, i + half). A pair (a, b) becomes (a
 * c - b s, a s + b c). out may be x: then a head takes `each` = half threads, else each = head_dim - half, of which the
 * last ones copy what is not rotated. grid (n_head * each / 128, n), block 128. */
KERNEL __launch_bounds__(128) rope(const float *x, i64 x_stride, float *out, i64 out_stride, const float *table,
                                   int n_head, int head_dim, int half, int neox, int each)
{
    const int at = blockIdx.x * 128 + threadIdx.x, head = at / each, i = at % each;
    const i64 row = blockIdx.y;
    if (head >= n_head) return;
    const float *from = x + row * x_stride + (i64)head * head_dim;
    float *to = out + row * out_stride + (i64)head * head_dim;
    if (i >= half) {
        to[half + i] = from[half + i];
        return;
    }
    const float2 t = *(const float2 *)(table + (row * half + i) * 2);
    const int first = neox ? i : 2 * i, second = first + (neox ? half : 1);
    const float a = from[first], b = from[second];
    float *p = to + first, *q = to + second;
    *p = a * t.x - b * t.y;
    *q = a * t.y + b * t.x;
}
