/* train: the loss and the optimizer. Needs prelude, rows (-DBACK). Gradients of the ops of a forward pass stand beside
 * those ops. */

/* A row of n logits, y = cap tanh(logits / cap), cap 0: y = logits, becomes its gradient:
 *
 *   loss = log(sum of e^y) - y[target]                    0 where target < 0
 *   dlogits = (softmax(y) - [target]) * weight * factor   of a soft-cap times 1 - (y / cap)^2; 0 where target < 0
 *
 * grid n_rows, block 512. weights may be NULL: 1. */
struct cross_entropy_args {
    float *logits;
    i64 stride;
    const int *targets;
    const float *weights;
    double *loss;
    int n;
    float softcap, factor;
};

/* The largest of the threads of a block, to all of them; NaN is none. shared: a float for every warp. */
DEVICE float block_max(float x, float *shared)
{
    x = warp_max(x);
    block_sync(); /* the last one has been read */
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
    block_sync();
    for (int w = 0; w < (int)blockDim.x / 32; w++) x = fmaxf(x, shared[w]);
    return x;
}

KERNEL __launch_bounds__(512) cross_entropy(const cross_entropy_args a)
{
    __shared__ float shared[32];
    const i64 row = blockIdx.x;
    const int target = a.targets[row];
    const float weight = (a.weights ? a.weights[row] : 1.0f) * a.factor;
    float *x = a.logits + row * a.stride, most = -__int_as_float(0x7F800000), sum = 0, at_target = 0;
    if (target < 0) {
        for (int i = threadIdx.x; i < a.n; i += blockDim.x) x[i] = 0;
        if (threadIdx.x == 0) a.loss[row] = 0;
        return;
    }
    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {
        if (a.softcap > 0) x[i] = a.softcap * tanhf(x[i] / a.softcap);
        most = fmaxf(most, x[i]);
    }
    most = block_max(most, shared);
    for (int i = threadIdx.x; i < a.n; i += blockDim.x) sum += expf(x[i] - most);
    sum = group_sum(sum, shared); /* and all logits are final */
    at_target = x[target];
    block_sync(); /* which nobody reads any more */
    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {
        const float y = a.softcap > 0 ? x[i] / a.softcap : 0.0f;
        float d = expf(x[i] - most) / sum;
        if (i == target) d -= 1.0f;
        x[i] = d * weight * (1.0f - y * y);
    }
    if (threadIdx.x == 0) a.loss[row] = log((double)sum) + ((double)most - (double)at_target);
}

/* ---- optimizer --------------------------------------------------------------------------------------------------- */

/* The sum of the squares of n values in one order: chunks of 1024 in float, then in double. A block sums every
 * gridDim.x-th chunk to parts; squares_sum adds those. grid at most 256, block 256. */
enum { SQUARES = 1024 };
KERNEL __launch_bounds__(256) squares(const float *x, i64 n, double *parts)
{
    __shared__ float shared[32];
    double sum = 0;
    for (i64 first = (i64)blockIdx.x * SQUARES; first < n; first += (i64)gridDim.x * SQUARES) {
        float of_chunk = 0;
        for (int i = threadIdx.x; i < SQUARES && first + i < n; i += 256)
            of_chunk = fmaf(x[first + i], x[first + i], of_chunk);
        sum += (double)group_sum(of_chunk, shared);
    }
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

/* *sum = the sum of n parts. block 32. */
KERNEL __launch_bounds__(32) squares_sum(const double *parts, int n, double *sum)
{
    __shared__ double lanes[32];
    double all = 0;
    for (int i = threadIdx.x; i < n; i += 32) all += parts[i];
    lanes[threadIdx.x] = all;
    block_sync();
    if (threadIdx.x) return;
    for (int i = 1; i < 32; i++) all += lanes[i];
    *sum = all;
}

/* AdamW, with g = factor * grad:
 *
 *   m = beta1 m + (1 - beta1) g,  v = beta2 v + (1 - beta2) g^2
 *   w = w - rate (m c1 / (sqrt(v c2) + eps) + decay w)
 *
 * grid n / 256, block 256. */
struct adamw_args {
    float *w, *m, *v;
    const float *grad;
    i64 n;
    float factor, rate, beta1, beta2, c1, c2, eps, decay;
};
/* m, v, and w after the step, which is not written. */
DEVICE float adamw_step(const adamw_args &a, i64 i)
{
    const float g = a.grad[i] * a.factor, w = a.w[i];
    const float m = fmaf(a.beta1, a.m[i], (1.0f - a.beta1) * g), v = fmaf(a.beta2, a.v[i], (1.0f - a.beta2) * g * g);
    const float step = m * a.c1 / (sqrtf(v * a.c2) + a.eps);
    a.m[i] = m;
    a.v[i] = v;
    return fmaf(-a.rate, fmaf(a.decay, w, step), w);
}
KERNEL __launch_bounds__(256) adamw(const adamw_args a)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i < a.n) a.w[i] = adamw_step(a, i);
}

/* SGD with momentum, with g = factor * grad:
 *
 *   m = momentum m + g,  step = m, or of nesterov g + momentum m;  m NULL: step = g
 *   w = w - rate (step + decay w)
 *
 * grid n / 256, block 256. */
struct sgd_args {
    float *w, *m;
    const float *grad;
    i64 n;
    float factor, rate, momentum, decay;
    int nesterov;
};
KERNEL __launch_bounds__(256) sgd(const sgd_args a)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= a.n) return;
    const float g = a.grad[i] * a.factor, w = a.w[i];
    float step = g;
    if (a.m) {
        const float m = fmaf(a.momentum, a.m[i], g);
        a.m[i] = m;
        step = a.nesterov ? fmaf(a.momentum, m, g) : m;
    }
    a.w[i] = fmaf(-a.rate, fmaf(a.decay, w, step), w);
}

/* out = a + t (b - a). out may be a or b. grid n / 256, block 256. */
KERNEL __launch_bounds__(256) lerp(const float *a, const float *b, i64 n, float t, float *out)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i < n) out[i] = fmaf(t, b[i] - a[i], a[i]);
}

/* out = x as bf16, or as a half, to nearest even: what is too large becomes infinite. grid n / 256, block 256. */
KERNEL __launch_bounds__(256) round_values(const float *x, i64 n, int bf16, u16 *out)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i < n) out[i] = bf16 ? f2bf(x[i]) : f2h(x[i]);
}

/* What weights did since they were at the anchor, and where they are moved on that account, with d = w - anchor:
 *
 *   takes: b = mu b + d,  s = s + (1 - gamma) (d - s)
 *   moves: w = w + (c_d d + c_b b + c_s s + c_r (mean - w))
 *
 * goes: the anchor stays (0), becomes w before (1) or after (2), or is moved as w is (3). s and mean may be NULL. grid
 * n / 256, block 256. */
struct displace_args {
    float *w, *anchor, *b, *s;
    const float *mean;
    i64 n;
    float mu, gamma, c_d, c_b, c_s, c_r;
    int takes, moves, goes;
};
/* Of one weight w; w after it, which is not written. What has no part in it is not read. */
DEVICE float displace_one(const displace_args &a, i64 i, const float w)
{
    const float anchor = a.anchor[i], d = w - anchor;
    float b = a.takes || a.c_b != 0.0f ? a.b[i] : 0.0f, s = a.s ? a.s[i] : 0.0f, step = 0;
    if (a.takes) {
        b = fmaf(a.mu, b, d);
        a.b[i] = b;
        if (a.s) {
            s = fmaf(1.0f - a.gamma, d - s, s);
            a.s[i] = s;
        }
    }
    if (a.moves) {
        step = fmaf(a.c_b, b, a.c_d * d);
        if (a.s) step = fmaf(a.c_s, s, step);
        if (a.mean) step = fmaf(a.c_r, a.mean[i] - w, step);
    }
    if (a.goes == 1) a.anchor[i] = w;
    if (a.goes == 2) a.anchor[i] = w + step;
    if (a.goes == 3) a.anchor[i] = anchor + step;
    return w + step;
}
KERNEL __launch_bounds__(256) displace(const displace_args a)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= a.n) return;
    const float w = displace_one(a, i, a.w[i]);
    if (a.moves) a.w[i] = w;
}

/* Both, in one pass: w, which the step has in a register, is read and written once. grid n / 256, block 256. */
KERNEL __launch_bounds__(256) adamw_displace(const adamw_args a, const displace_args then)
{
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i < a.n) a.w[i] = displace_one(then, i, adamw_step(a, i));
}

/* The products of all pairs of four differences a_i - b_i (b_i may be NULL, and so may a_i: zero), summed over n values
 * as by squares: chunks of 1024 in float, then in double. parts: (gridDim.x, 10); gram_sum adds those. grid at most
 * 256, block 256. */
struct gram_args {
    const float *a[4], *b[4];
    i64 n;
    double *parts;
};
enum { GRAM = 10 };
KERNEL __launch_bounds__(256) gram(const gram_args a)
{
    __shared__ float shared[32];
    double sums[GRAM] = {};
    for (i64 first = (i64)blockIdx.x * SQUARES; first < a.n; first += (i64)gridDim.x * SQUARES) {
        float of_chunk[GRAM] = {};
        for (int i = threadIdx.x; i < SQUARES && first + i < a.n; i += 256) {
            float x[4];
            int at = 0;
#pragma unroll
            for (int j = 0; j < 4; j++)
                x[j] = !a.a[j] ? 0.0f : a.b[j] ? a.a[j][first + i] - a.b[j][first + i] : a.a[j][first + i];
#pragma unroll
            for (int j = 0; j < 4; j++)
#pragma unroll
                for (int k = j; k < 4; k++, at++) of_chunk[at] = fmaf(x[j], x[k], of_chunk[at]);
        }
#pragma unroll
        for (int j = 0; j < GRAM; j++) sums[j] += (double)group_sum(of_chunk[j], shared);
    }
    if (threadIdx.x) return;
#pragma unroll
    for (int j = 0; j < GRAM; j++) a.parts[(i64)blockIdx.x * GRAM + j] = sums[j];
}

/* sums (10) = those of n parts. block 32. */
KERNEL __launch_bounds__(32) gram_sum(const double *parts, int n, double *sums)
{
    if (threadIdx.x >= GRAM) return;
    double all = 0;
    for (int i = 0; i < n; i++) all += parts[i * GRAM + threadIdx.x];
    sums[threadIdx.x] = all;
}

/* out (rows, ld) = x (rows, k) so, zeros from k on. grid (ld / 256, rows), block 256. */
KERNEL __launch_bounds__(256) round_rows(const float *x, i64 x_stride, int rows, int k, int bf16, u16 *out, int ld)
{
    const int i = (int)blockIdx.x * 256 + (int)threadIdx.x;
    const i64 row = blockIdx.y;
    if (i >= ld) return;
    const float v = i < k ? x[row * x_stride + i] : 0.0f;
    out[row * ld + i] = bf16 ? f2bf(v) : f2h(v);
}

/* out (k, ld) = x (rows, k) so, and turned, zeros from rows on. grid (ld / 32, k / 32), block 256: a tile of 32 x 32
 * goes through shared memory, so that both sides are read and written along their rows. */
KERNEL __launch_bounds__(256) round_turned(const float *x, i64 x_stride, int rows, int k, int bf16, u16 *out, int ld)
{
    __shared__ float tile[32][33];
    const int row0 = (int)blockIdx.x * 32, column0 = (int)blockIdx.y * 32, at = (int)threadIdx.x % 32;
    for (int i = (int)threadIdx.x / 32; i < 32; i += 8)
        tile[i][at] = row0 + i < rows && column0 + at < k ? x[(row0 + i) * x_stride + column0 + at] : 0.0f;
    block_sync();
    for (int i = (int)threadIdx.x / 32; i < 32; i += 8)
        if (column0 + i < k && row0 + at < ld)
            out[(i64)(column0 + i) * ld + row0 + at] = bf16 ? f2bf(tile[at][i]) : f2h(tile[at][i]);
}
