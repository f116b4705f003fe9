/* rows: norms and element-by-element work. Needs prelude. -DBACK: the gradients of those that training asks for
 * instead, each after its op.
 *
 * Where V is a number of floats that one load takes, the host chooses 4 when every address and stride allows it,
 * else 1. */

template <int V> struct vec;
template <> struct vec<1> {
    float x[1];
};
template <> struct vec<4> {
    float x[4];
};

template <int V> __device__ __forceinline__ vec<V> load_vec(const float *p);
template <> __device__ __forceinline__ vec<1> load_vec<1>(const float *p)
{
    vec<1> v;
    v.x[0] = p[0];
    return v;
}
template <> __device__ __forceinline__ vec<4> load_vec<4>(const float *p)
{
    const float4 f = *(const float4 *)p;
    vec<4> v;
    v.x[0] = f.x;
    v.x[1] = f.y;
    v.x[2] = f.z;
    v.x[3] = f.w;
    return v;
}
__device__ __forceinline__ void store_vec(float *p, const vec<1> &v) { p[0] = v.x[0]; }
__device__ __forceinline__ void store_vec(float *p, const vec<4> &v)
{
    *(float4 *)p = make_float4(v.x[0], v.x[1], v.x[2], v.x[3]);
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

/* The sum over the threads of a group, in one order whatever the machine does: lanes by halves, then warps one by one.
 * A group is blockDim.x threads; with more than one warp it is the whole block (blockDim.y is 1). */
__device__ __forceinline__ float group_sum(float x, float *shared)
{
    const int warp = threadIdx.x / 32, n_warps = blockDim.x / 32;
    #pragma unroll
    for (int mask = 16; mask; mask /= 2) x += shfl_xor(x, mask);
    if (n_warps == 1) return x;
    block_sync(); /* the last sum has been read */
    if (threadIdx.x % 32 == 0) shared[warp] = x;
    block_sync();
    x = 0;
    for (int w = 0; w < n_warps; w++) x += shared[w];
    return x;
}

#ifndef BACK
/* One row of n values. The first HELD loads of a thread stay in registers; what is longer is read again. */
enum { HELD = 4 };
template <int V>
__device__ __forceinline__ void norm_row(const float *x, float *out, const float *w, const float *b, int n, float eps,
                                         bool layer, float *shared)
{
    const int first = threadIdx.x * V, step = blockDim.x * V, last = first + HELD * step;
    vec<V> v[HELD];
    float mean = 0, sum = 0;
    #pragma unroll
    for (int c = 0; c < HELD; c++) {
        const int i = first + c * step;
        #pragma unroll
        for (int j = 0; j < V; j++) v[c].x[j] = 0;
        if (i < n) v[c] = load_vec<V>(x + i);
    }
    if (layer) {
        #pragma unroll
        for (int c = 0; c < HELD; c++)
            #pragma unroll
            for (int j = 0; j < V; j++) sum += v[c].x[j];
        for (int i = last; i < n; i += step) {
            const vec<V> u = load_vec<V>(x + i);
            #pragma unroll
            for (int j = 0; j < V; j++) sum += u.x[j];
        }
        mean = group_sum(sum, shared) / (float)n;
        sum = 0;
    }
    #pragma unroll
    for (int c = 0; c < HELD; c++)
        if (first + c * step < n)
            #pragma unroll
            for (int j = 0; j < V; j++) {
                v[c].x[j] -= mean;
                sum = fmaf(v[c].x[j], v[c].x[j], sum);
            }
    for (int i = last; i < n; i += step) {
        const vec<V> u = load_vec<V>(x + i);
        #pragma unroll
        for (int j = 0; j < V; j++) sum = fmaf(u.x[j] - mean, u.x[j] - mean, sum);
    }
    const float scale = 1.0f / sqrtf(group_sum(sum, shared) / (float)n + eps);
    int c = 0;
    #pragma unroll
    for (; c < HELD; c++) {
        const int i = first + c * step;
        if (i >= n) break;
        #pragma unroll
        for (int j = 0; j < V; j++) v[c].x[j] *= scale;
        if (w) {
            const vec<V> f = load_vec<V>(w + i);
            #pragma unroll
            for (int j = 0; j < V; j++) v[c].x[j] *= f.x[j];
        }
        if (b) {
            const vec<V> f = load_vec<V>(b + i);
            #pragma unroll
            for (int j = 0; j < V; j++) v[c].x[j] += f.x[j];
        }
        store_vec(out + i, v[c]);
    }
    for (int i = last; i < n; i += step) {
        vec<V> u = load_vec<V>(x + i);
        #pragma unroll
        for (int j = 0; j < V; j++) {
            u.x[j] = (u.x[j] - mean) * scale;
            if (w) u.x[j] *= w[i + j];
            if (b) u.x[j] += b[i + j];
        }
        store_vec(out + i, u);
    }
}

/* RMS:   out = x / sqrt(mean(x^2) + eps) * w          Layer: out = (x - mean) / sqrt(var + eps) * w + b
 * n_rows rows of n_group groups of n values, one group after the other. w, b (n) may be NULL; out may be x.
 * grid: groups of all rows / blockDim.y; block (threads of a group, groups). A warp a group, or a block a group. */
template <int V>
__device__ __forceinline__ void norm_groups(const float *x, i64 x_stride, float *out, i64 out_stride, const float *w,
                                            const float *b, int n_rows, int n_group, int n, float eps, int layer,
                                            float *shared)
{
    const i64 at = (i64)blockIdx.x * blockDim.y + threadIdx.y, row = at / n_group, group = at % n_group;
    if (row >= n_rows) return; /* whole warps */
    norm_row<V>(x + row * x_stride + group * n, out + row * out_stride + group * n, w, b, n, eps, layer != 0, shared);
}
KERNEL __launch_bounds__(1024) norm_4(const float *x, i64 x_stride, float *out, i64 out_stride, const float *w,
                                      const float *b, int n_rows, int n_group, int n, float eps, int layer)
{
    __shared__ float shared[32];
    norm_groups<4>(x, x_stride, out, out_stride, w, b, n_rows, n_group, n, eps, layer, shared);
}
KERNEL __launch_bounds__(1024) norm_1(const float *x, i64 x_stride, float *out, i64 out_stride, const float *w,
                                      const float *b, int n_rows, int n_group, int n, float eps, int layer)
{
    __shared__ float shared[32];
    norm_groups<1>(x, x_stride, out, out_stride, w, b, n_rows, n_group, n, eps, layer, shared);
}

#else

/* Of norm: with x^ = (x - mean) * scale, RMS: mean = 0, and g = dy * w
 *
 *   dx = add + (g - mean(g) - x^ mean(g x^)) * scale      RMS: without mean(g)
 *   dw += the sum of dy x^, db += the sum of dy, over rows and groups
 *
 * stats (groups, 2): the mean and the scale of each, which norm_back leaves to norm_back_w. add, w may be NULL: 0 and
 * 1. dw, db may be NULL; x too, for norm_back_w without dw. */
struct norm_back_args {
    const float *x, *dy, *w, *add;
    float *dx, *dw, *db, *stats;
    i64 x_stride, dy_stride, dx_stride;
    int n_rows, n_group, n, layer;
    float eps;
};

/* dx and stats. grid: groups of all rows / blockDim.y; block (threads of a group, groups): as norm. dx may be add. */
KERNEL __launch_bounds__(1024) norm_back(const norm_back_args a)
{
    __shared__ float shared[32];
    const i64 at = (i64)blockIdx.x * blockDim.y + threadIdx.y, row = at / a.n_group, group = at % a.n_group * a.n;
    if (row >= a.n_rows) return; /* whole warps */
    const float *x = a.x + row * a.x_stride + group, *dy = a.dy + row * a.dy_stride + group;
    const float *add = a.add ? a.add + row * a.dx_stride + group : a.add;
    float *dx = a.dx + row * a.dx_stride + group, mean = 0, g_mean = 0, sum = 0, both = 0;
    if (a.layer) {
        for (int i = threadIdx.x; i < a.n; i += blockDim.x) sum += x[i];
        mean = group_sum(sum, shared) / (float)a.n;
        sum = 0;
    }
    for (int i = threadIdx.x; i < a.n; i += blockDim.x) sum = fmaf(x[i] - mean, x[i] - mean, sum);
    const float scale = 1.0f / sqrtf(group_sum(sum, shared) / (float)a.n + a.eps);
    sum = 0;
    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {
        const float g = a.w ? dy[i] * a.w[i] : dy[i];
        sum += g;
        both = fmaf(g, (x[i] - mean) * scale, both);
    }
    if (a.layer) g_mean = group_sum(sum, shared) / (float)a.n;
    const float gx_mean = group_sum(both, shared) / (float)a.n;
    for (int i = threadIdx.x; i < a.n; i += blockDim.x) {
        const float g = a.w ? dy[i] * a.w[i] : dy[i], d = (g - g_mean - (x[i] - mean) * scale * gx_mean) * scale;
        dx[i] = add ? add[i] + d : d;
    }
    if (threadIdx.x) return;
    a.stats[2 * at] = mean;
    a.stats[2 * at + 1] = scale;
}

/* dw and db of 32 columns: 32 sums of every 32nd group each, then those in their order. grid n / 32, block (32, 32). */
KERNEL __launch_bounds__(1024) norm_back_w(const norm_back_args a)
{
    __shared__ float w_sums[32][32], b_sums[32][32];
    const int x = threadIdx.x, y = threadIdx.y, column = blockIdx.x * 32 + x;
    const i64 n = (i64)a.n_rows * a.n_group;
    float w_sum = 0, b_sum = 0;
    for (i64 at = y; at < n && column < a.n; at += 32) {
        const i64 row = at / a.n_group, i = at % a.n_group * a.n + column;
        const float d = a.dy[row * a.dy_stride + i];
        b_sum += d;
        if (a.dw) w_sum = fmaf(d, (a.x[row * a.x_stride + i] - a.stats[2 * at]) * a.stats[2 * at + 1], w_sum);
    }
    w_sums[y][x] = w_sum;
    b_sums[y][x] = b_sum;
    block_sync();
    if (y || column >= a.n) return;
    for (int i = 1; i < 32; i++) {
        w_sum += w_sums[i][x];
        b_sum += b_sums[i][x];
    }
    if (a.dw) a.dw[column] += w_sum;
    if (a.db) a.db[column] += b_sum;
}
#endif

/* ---- element by element ------------------------------------------------------------------------------------------ */

enum { SILU, GELU_TANH, GELU, TANH, SIGMOID, RELU2 }; /* as hyb_act_kind */
__device__ __forceinline__ float gelu_tanh(float x) { return tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x)); }
__device__ __forceinline__ float activate(float x, int act)
{
    if (act == SILU) return x / (1.0f + expf(-x));
    if (act == TANH) return tanhf(x);
    if (act == SIGMOID) return 1.0f / (1.0f + expf(-x));
    if (act == RELU2) return x < 0.0f ? 0.0f : x * x; /* NaN stays */
    if (act == GELU_TANH) return 0.5f * x * (1.0f + gelu_tanh(x));
    return 0.5f * x * (1.0f + erff(x * 0.7071067811865476f));
}

#ifndef BACK
/* out = act(gate) * up, or act(gate) when up is NULL. grid (n / (256 V), n_rows), block 256. out may be gate or up. */
template <int V>
__device__ __forceinline__ void glu_row(const float *gate, i64 gate_stride, const float *up, i64 up_stride, float *out,
                                        i64 out_stride, int n, int act)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x) * V;
    const i64 row = blockIdx.y;
    if (i >= n) return;
    vec<V> g = load_vec<V>(gate + row * gate_stride + i);
    #pragma unroll
    for (int j = 0; j < V; j++) g.x[j] = activate(g.x[j], act);
    if (up) {
        const vec<V> u = load_vec<V>(up + row * up_stride + i);
        #pragma unroll
        for (int j = 0; j < V; j++) g.x[j] *= u.x[j];
    }
    store_vec(out + row * out_stride + i, g);
}
KERNEL __launch_bounds__(256) glu_4(const float *gate, i64 gate_stride, const float *up, i64 up_stride, float *out,
                                    i64 out_stride, int n, int act)
{
    glu_row<4>(gate, gate_stride, up, up_stride, out, out_stride, n, act);
}
KERNEL __launch_bounds__(256) glu_1(const float *gate, i64 gate_stride, const float *up, i64 up_stride, float *out,
                                    i64 out_stride, int n, int act)
{
    glu_row<1>(gate, gate_stride, up, up_stride, out, out_stride, n, act);
}

#else

/* The derivative of activate. */
__device__ __forceinline__ float slope(float x, int act)
{
    if (act == TANH) {
        const float t = tanhf(x);
        return 1.0f - t * t;
    }
    if (act == RELU2) return x < 0.0f ? 0.0f : 2.0f * x;
    if (act == GELU_TANH) {
        const float t = gelu_tanh(x);
        return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608028654f * (1.0f + 0.134145f * x * x);
    }
    if (act == GELU) return 0.5f * (1.0f + erff(x * 0.7071067811865476f)) + x * expf(-0.5f * x * x) * 0.3989422804f;
    const float s = 1.0f / (1.0f + expf(-x));
    return act == SILU ? s * (1.0f + x * (1.0f - s)) : s * (1.0f - s);
}

/* Of glu: dgate = dout * up * act'(gate), dup = dout * act(gate); up NULL: dgate = dout * act'(gate). dgate may be
 * gate, dup may be up. grid (n_rows, n / 256), block 256. */
KERNEL __launch_bounds__(256) glu_back(const float *gate, const float *up, const float *dout, float *dgate, float *dup,
                                       i64 stride, i64 dout_stride, int n, int act)
{
    const int i = (int)(blockIdx.y * 256 + threadIdx.x);
    const i64 at = blockIdx.x * stride + i;
    if (i >= n) return;
    const float x = gate[at], d = dout[blockIdx.x * dout_stride + i];
    const float before = up ? d * up[at] : d; /* of what act made */
    if (up) dup[at] = d * activate(x, act);
    dgate[at] = before * slope(x, act);
}
#endif

#ifndef BACK
/* out = x + y, x * factor, factor * tanh(x / factor): n values. out may be x or y. grid n / (256 V), block 256. */
enum { ADD, SCALE, SOFTCAP };
template <int V>
__device__ __forceinline__ void values_row(float *out, const float *x, const float *y, float factor, i64 n, int kind)
{
    const i64 i = ((i64)blockIdx.x * 256 + threadIdx.x) * V;
    if (i >= n) return;
    vec<V> v = load_vec<V>(x + i);
    if (kind == ADD) {
        const vec<V> u = load_vec<V>(y + i);
        #pragma unroll
        for (int j = 0; j < V; j++) v.x[j] += u.x[j];
    } else {
        #pragma unroll
        for (int j = 0; j < V; j++) v.x[j] = kind == SCALE ? v.x[j] * factor : factor * tanhf(v.x[j] / factor);
    }
    store_vec(out + i, v);
}
KERNEL __launch_bounds__(256) values_4(float *out, const float *x, const float *y, float factor, i64 n, int kind)
{
    values_row<4>(out, x, y, factor, n, kind);
}
KERNEL __launch_bounds__(256) values_1(float *out, const float *x, const float *y, float factor, i64 n, int kind)
{
    values_row<1>(out, x, y, factor, n, kind);
}

/* out (rows, n) = add + sum over s of weights (rows, n_used) [r][s] * x (rows * n_used, n) [r * n_used + s], in the
 * order of s. out may be add. grid (n / (256 V), rows), block 256. */
template <int V>
__device__ __forceinline__ void combine_row(const float *x, const float *weights, int n_used, int n, const float *add,
                                            float *out)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x) * V;
    const i64 row = blockIdx.y;
    if (i >= n) return;
    vec<V> v = load_vec<V>(add + row * n + i), sum;
    #pragma unroll
    for (int j = 0; j < V; j++) sum.x[j] = 0;
    for (int s = 0; s < n_used; s++) {
        const float w = weights[row * n_used + s];
        const vec<V> u = load_vec<V>(x + (row * n_used + s) * n + i);
        #pragma unroll
        for (int j = 0; j < V; j++) sum.x[j] = fmaf(w, u.x[j], sum.x[j]);
    }
    #pragma unroll
    for (int j = 0; j < V; j++) v.x[j] += sum.x[j];
    store_vec(out + row * n + i, v);
}
KERNEL __launch_bounds__(256)
    combine_4(const float *x, const float *weights, int n_used, int n, const float *add, float *out)
{
    combine_row<4>(x, weights, n_used, n, add, out);
}
KERNEL __launch_bounds__(256)
    combine_1(const float *x, const float *weights, int n_used, int n, const float *add, float *out)
{
    combine_row<1>(x, weights, n_used, n, add, out);
}
#endif
