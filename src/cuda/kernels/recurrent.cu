/* recurrent: what a layer keeps of a sequence from row to row, in slots. Needs prelude.
 *
 * runs (n_runs, 4): first row, rows, the slot that the run goes on from (-1: zeros), the one that it leaves. They may
 * be the same slot, so whoever reads a value of the one writes that value of the other, afterwards; other runs only
 * read. */

/* out_i = x + (before - x) * mix_i, i < n_mix; rows without gaps, out_i at out + i * plane. grid (n / 256, rows), block
 * 256. The first row of a run leaves the slot: the last one is there to be read. */
KERNEL __launch_bounds__(256) shift(const float *x, const float *mix, int n_mix, int n, float *slots, i64 slot_stride,
                                    float *out, i64 plane, const int *run_of_row, const int *runs)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x);
    if (i >= n) return;
    const int *run = runs + 4 * run_of_row[blockIdx.y];
    const i64 row = blockIdx.y, at = row * n + i;
    const bool first = row == run[0];
    float before = 0;
    if (!first)
        before = x[at - n];
    else if (run[2] >= 0)
        before = slots[run[2] * slot_stride + i];
    if (first) slots[run[3] * slot_stride + i] = x[(i64)(run[0] + run[1] - 1) * n + i];
    const float now = x[at], back = before - now;
    for (int m = 0; m < n_mix; m++) out[m * plane + at] = fmaf(back, mix[(i64)m * n + i], now);
}

/* ---- the short convolution ---- */

struct conv_args {
    const float *bcx, *w; /* rows of b, c, x, n each; (n, taps) */
    float *slots, *out;   /* a slot: (taps - 1, n), the oldest first */
    const int *run_of_row, *runs;
    i64 stride, slot_stride, out_stride;
    int n, taps;
};

/* Column i of the product of row t of a run; before its start, what the slot keeps. */
DEVICE float conv_value(const conv_args &a, const int *run, int t, int i)
{
    if (t >= 0) {
        const float *row = a.bcx + (run[0] + t) * a.stride + i;
        return row[0] * row[2 * a.n];
    }
    return run[2] < 0 ? 0.0f : a.slots[run[2] * a.slot_stride + (i64)(t + a.taps - 1) * a.n + i];
}

/* grid (n / 256, rows), block 256. Those of the first row do all rows that need the slot, and leave it. */
KERNEL __launch_bounds__(256) shortconv(const conv_args a)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x), back = a.taps - 1;
    if (i >= a.n) return;
    const int *run = a.runs + 4 * a.run_of_row[blockIdx.y];
    const int first = (int)blockIdx.y - run[0], last = first ? first : min(back, run[1]) - 1;
    if (first && first < back) return;
    for (int t = first; t <= max(first, last); t++) {
        float sum = 0;
        for (int j = 0; j <= back; j++) sum = fmaf(a.w[(i64)i * a.taps + j], conv_value(a, run, t - back + j, i), sum);
        a.out[(run[0] + t) * a.out_stride + i] = a.bcx[(run[0] + t) * a.stride + a.n + i] * sum;
    }
    if (first) return;
    for (int j = 0; j < back; j++) /* upwards: a value moves down, to where nothing is read any more */
        a.slots[run[3] * a.slot_stride + (i64)j * a.n + i] = conv_value(a, run, run[1] - back + j, i);
}

/* ---- RWKV-7 ---- */

struct wkv7_args {
    const float *r, *k, *v, *decay, *rate, *value_gate, *gate,
        *v_first;                               /* value_gate and v_first, and gate, may be NULL */
    const float *k_k, *k_a, *r_k, *ln_w, *ln_b; /* ln_w and ln_b may be NULL */
    float *slots, *out;
    const int *runs;
    i64 stride, v_first_stride, out_stride, slot_stride;
    int size;
    float eps;
};

/* A thread's values of a row. */
struct wkv7_values {
    float r, k, v, decay, rate, value_gate, v_first, gate;
};
DEVICE void wkv7_load(wkv7_values &x, const wkv7_args &a, i64 row, i64 at)
{
    const i64 from = row * a.stride + at;
    x.r = a.r[from];
    x.k = a.k[from];
    x.v = a.v[from];
    x.decay = a.decay[from];
    x.rate = a.rate[from];
    x.gate = a.gate ? a.gate[from] : 1.0f;
    if (!a.v_first) return;
    x.value_gate = a.value_gate[from];
    x.v_first = a.v_first[row * a.v_first_stride + at];
}

/* The sums of x and y over the block. sums: 8. */
DEVICE float2 pair_sum(float x, float y, float *sums)
{
    const int warp = threadIdx.x / 32;
    x = warp_sum(x);
    y = warp_sum(y);
    block_sync(); /* the last sums have been read, and what the rows share */
    if (threadIdx.x % 32 == 0) {
        sums[warp] = x;
        sums[4 + warp] = y;
    }
    block_sync();
    x = y = 0;
    for (int w = 0; w < (int)blockDim.x / 32; w++) {
        x += sums[w];
        y += sums[4 + w];
    }
    return make_float2(x, y);
}

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* M stays in registers only if its loops are unrolled; the emulator has none, and takes half a minute to compile so
 * many. */
#ifdef HYBRID_EMULATOR
    #define UNROLL_M
#else
    #define UNROLL_M _Pragma("unroll")
#endif

/* A head of a run: thread i has row i of M in registers, column by column; size <= N. grid (heads, runs), block N.
 * of: w, kk a, k, r of every column; away: -kk. */
template <int N> DEVICE void wkv7_head(const wkv7_args &a, float4 *of, float4 *away, float *sums)
{
    const int i = threadIdx.x, size = a.size;
    const int *run = a.runs + 4 * blockIdx.y;
    const i64 at = (i64)blockIdx.x * size + i, matrix = (i64)blockIdx.x * size * size + i;
    const bool mine = i < size;
    float m[N], k_k = 0, k_a = 0, r_k = 0, ln_w = 0, ln_b = 0;
    wkv7_values next = {};
    if (mine) {
        k_k = a.k_k[at];
        k_a = a.k_a[at];
        r_k = a.r_k[at];
        if (a.ln_w) {
            ln_w = a.ln_w[at];
            ln_b = a.ln_b[at];
        }
        wkv7_load(next, a, run[0], at);
    }
    UNROLL_M
    for (int j = 0; j < N; j++)
        m[j] = mine && j < size && run[2] >= 0 ? a.slots[run[2] * a.slot_stride + matrix + (i64)j * size] : 0.0f;
    for (int row = run[0]; row < run[0] + run[1]; row++) {
        const wkv7_values x = next;
        const float rate = sigmoid(x.rate), raw = x.k * k_k, k = x.k * fmaf(rate - 1.0f, k_a, 1.0f);
        if (mine && row + 1 < run[0] + run[1]) wkv7_load(next, a, row + 1, at);
        const float2 sum = pair_sum(raw * raw, x.r * k * r_k, sums);
        const float length = sqrtf(sum.x), kk = raw / (length < 1e-12f ? 1e-12f : length); /* NaN stays */
        const float v = a.v_first ? fmaf(x.v_first - x.v, sigmoid(x.value_gate), x.v) : x.v;
        of[i] = mine ? make_float4(expf(-0.606531f * sigmoid(x.decay)), kk * rate, k, x.r) : make_float4(0, 0, 0, 0);
        ((float *)away)[i] = mine ? -kk : 0.0f;
        block_sync();
        float sa = 0, y = 0;
        UNROLL_M
        for (int j = 0; j < N; j += 4) {
            const float4 f = away[j / 4];
            sa = fmaf(m[j], f.x, sa);
            sa = fmaf(m[j + 1], f.y, sa);
            sa = fmaf(m[j + 2], f.z, sa);
            sa = fmaf(m[j + 3], f.w, sa);
        }
        UNROLL_M
        for (int j = 0; j < N; j++) {
            const float4 f = of[j];
            m[j] = fmaf(v, f.z, fmaf(sa, f.y, m[j] * f.x));
            y = fmaf(m[j], f.w, y);
        }
        if (a.ln_w) {
            y -= pair_sum(mine ? y : 0.0f, 0.0f, sums).x / (float)size;
            const float var = pair_sum(mine ? y * y : 0.0f, 0.0f, sums).x / (float)size;
            y = y / sqrtf(var + a.eps) * ln_w + ln_b;
        }
        if (mine) a.out[row * a.out_stride + at] = fmaf(sum.y, v, y) * x.gate;
    }
    UNROLL_M
    for (int j = 0; j < N; j++)
        if (mine && j < size) a.slots[run[3] * a.slot_stride + matrix + (i64)j * size] = m[j];
}
#define WKV7(N) \
    KERNEL __launch_bounds__(N, 1) wkv7_##N(const wkv7_args a) \
    { \
        __shared__ float4 of[N], away[N / 4]; \
        __shared__ float sums[8]; \
        wkv7_head<N>(a, of, away, sums); \
    }
WKV7(32)
WKV7(64)
WKV7(128)
