/* recurrent: what a layer keeps of a sequence from row to row, in slots. Needs prelude. -DBACK: the gradients of those
 * instead, over runs that begin with nothing, each after its op. Sums have one order, and nothing is added up by two
 * blocks.
 *
 * runs (n_runs, 4): first row, rows, the slot that the run goes on from (-1: zeros), the one that it leaves. They may
 * be the same slot, so whoever reads a value of the one writes that value of the other, afterwards; other runs only
 * read. */

#ifndef BACK
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
#else
/* Of shift: dx = the sum over i of dout_i (1 - mix_i) + that of the next row of the run * mix_i. grid (n / 256, rows),
 * block 256. */
KERNEL __launch_bounds__(256) shift_back(const float *mix, int n_mix, int n, const float *dout, i64 plane, float *dx,
                                         const int *run_of_row, const int *runs)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x);
    if (i >= n) return;
    const int *run = runs + 4 * run_of_row[blockIdx.y];
    const i64 row = blockIdx.y, at = row * n + i;
    const bool last = row + 1 == run[0] + run[1];
    float d = 0;
    for (int m = 0; m < n_mix; m++) {
        const float share = mix[(i64)m * n + i];
        d = fmaf(dout[m * plane + at], 1.0f - share, d);
        if (!last) d = fmaf(dout[m * plane + at + n], share, d);
    }
    dx[at] = d;
}

/* The sum over rows of value(row), to the threads with threadIdx.y 0, each of a column: 32 sums of every 32nd row, then
 * those in their order. block (32, 32). */
template <class Value> DEVICE float over_rows(int rows, bool there, const Value &value)
{
    __shared__ float sums[32][32];
    float sum = 0;
    for (int row = threadIdx.y; row < rows && there; row += 32) sum = value(row, sum);
    sums[threadIdx.y][threadIdx.x] = sum;
    block_sync();
    for (int y = 1; y < 32 && threadIdx.y == 0; y++) sum += sums[y][threadIdx.x];
    return sum;
}

/* dmix_i += the sum over rows of dout_i (before - x). grid (n / 32, n_mix), block (32, 32). */
KERNEL __launch_bounds__(1024) shift_back_w(const float *x, int n, int rows, const float *dout, i64 plane, float *dmix,
                                            const int *run_of_row, const int *runs)
{
    const int i = (int)(blockIdx.x * 32 + threadIdx.x), m = (int)blockIdx.y;
    const float sum = over_rows(rows, i < n, [&](int row, float before) {
        const i64 at = (i64)row * n + i;
        const float last = row == runs[4 * run_of_row[row]] ? 0.0f : x[at - n];
        return fmaf(dout[m * plane + at], last - x[at], before);
    });
    if (threadIdx.y == 0 && i < n) dmix[(i64)m * n + i] += sum;
}
#endif

/* ---- the short convolution ---- */

#ifndef BACK
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
#else

/* Of rows of b, c, x, as dbcx is of their gradients; with u = b x, s(t) what c is multiplied with, k = taps - 1:
 *
 *   dc(t) = dout(t) s(t),  ds(t) = dout(t) c(t),  du(t) = the sum over j of w_j ds(t + k - j)
 *   db(t) = du(t) x(t),  dx(t) = du(t) b(t),      dw_j += the sum over t of ds(t) u(t - k + j) */
struct conv_back_args {
    const float *bcx, *w, *dout;
    float *dbcx, *dw;
    const int *run_of_row, *runs;
    i64 stride, dout_stride, dbcx_stride;
    int n, taps, rows;
};
DEVICE float conv_u(const conv_back_args &a, i64 row, int i)
{
    return a.bcx[row * a.stride + i] * a.bcx[row * a.stride + 2 * a.n + i];
}
DEVICE float conv_ds(const conv_back_args &a, i64 row, int i)
{
    return a.dout[row * a.dout_stride + i] * a.bcx[row * a.stride + a.n + i];
}

/* grid (n / 256, rows), block 256. */
KERNEL __launch_bounds__(256) shortconv_back(const conv_back_args a)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x), row = (int)blockIdx.y, back = a.taps - 1;
    if (i >= a.n) return;
    const int *run = a.runs + 4 * a.run_of_row[row];
    const int before = min(back, row - run[0]), after = min(back, run[0] + run[1] - 1 - row); /* rows */
    const float *w = a.w + (i64)i * a.taps, *from = a.bcx + row * a.stride + i;
    float *to = a.dbcx + row * a.dbcx_stride + i, sum = 0, du = 0;
    for (int j = back - before; j <= back; j++) sum = fmaf(w[j], conv_u(a, row - back + j, i), sum);
    for (int j = 0; j <= after; j++) du = fmaf(w[back - j], conv_ds(a, row + j, i), du);
    to[0] = du * from[2 * a.n];
    to[a.n] = a.dout[row * a.dout_stride + i] * sum;
    to[2 * a.n] = du * from[0];
}

/* grid (n / 32, taps), block (32, 32). */
KERNEL __launch_bounds__(1024) shortconv_back_w(const conv_back_args a)
{
    const int i = (int)(blockIdx.x * 32 + threadIdx.x), j = (int)blockIdx.y, back = a.taps - 1 - j;
    const float sum = over_rows(a.rows, i < a.n, [&](int row, float sum) {
        if (row - back < a.runs[4 * a.run_of_row[row]]) return sum;
        return fmaf(conv_ds(a, row, i), conv_u(a, row - back, i), sum);
    });
    if (threadIdx.y == 0 && i < a.n) a.dw[(i64)i * a.taps + j] += sum;
}
#endif

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

/* The sums of x and y over the block. sums: two for every warp. */
DEVICE float2 pair_sum(float x, float y, float *sums)
{
    const int warp = threadIdx.x / 32;
    x = warp_sum(x);
    y = warp_sum(y);
    block_sync(); /* the last sums have been read, and what the rows share */
    if (threadIdx.x % 32 == 0) {
        sums[2 * warp] = x;
        sums[2 * warp + 1] = y;
    }
    block_sync();
    x = y = 0;
    for (int w = 0; w < (int)blockDim.x / 32; w++) {
        x += sums[2 * w];
        y += sums[2 * w + 1];
    }
    return make_float2(x, y);
}

DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

#ifndef BACK
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
#else

/* Of one head of a run, rows from the last to the first, with G the gradient of M after a row, P = M before it:
 *
 *   G_ij = G_ij + dy_i r_j,       dr_j = the sum over i of M_ij dy_i
 *   dv_i = the sum over j of G_ij k_j,  dk_j = the sum over i of G_ij v_i
 *   dsa_i = the sum over j of G_ij back_j,  dback_j = the sum over i of G_ij sa_i,  dw_j = the sum over i of G_ij P_ij
 *   G_ij = G_ij w_j + dsa_i away_j,     daway_j = the sum over i of P_ij dsa_i
 *
 * M is kept before every 16th row of the run, and made again for 16 rows at a time. Matrices are where all threads
 * reach them: M_ij at j * size + i, so that the lanes of a warp go along i. Sums over j: thread i % width has every
 * n-th j (over_j); sums over i: a warp has a j (wkv7_state_back). */
enum { WKV_BACK = 256, WKV_BACK_ROWS = 16, WKV_MAX = 128, WKV_STATES = WKV_BACK_ROWS + 2 };
struct wkv7_back_args {
    wkv7_args of; /* its slots and out are not looked at */
    const float *dout;
    i64 dout_stride;
    float *dr, *dk, *dv, *ddecay, *drate, *dvalue_gate, *dgate, *dv_first;
    float *kept;   /* (rows / 16 + runs, heads, size, size) */
    float *states; /* (runs, heads, WKV_STATES, size, size): G, M before and after each of 16 rows */
    float *parts;  /* (runs, 5, heads * size): gradients of k_k, k_a, r_k, ln_w, ln_b; or NULL */
};

/* What a row made, and what the way back makes of it. */
struct wkv7_row {
    float r[WKV_MAX], k[WKV_MAX], v[WKV_MAX], w[WKV_MAX], away[WKV_MAX], back[WKV_MAX], sa[WKV_MAX], y[WKV_MAX];
    float dy[WKV_MAX], dsa[WKV_MAX], dv[WKV_MAX];
    float dr[WKV_MAX], dk[WKV_MAX], dw[WKV_MAX], dback[WKV_MAX], daway[WKV_MAX];
    float parts[2][WKV_BACK], sums[2 * WKV_BACK / 32];
};

/* A thread's column of a head: weights, what it read of a row, and sums over rows. */
struct wkv7_column {
    float k_k, k_a, r_k, ln_w, ln_b;
    wkv7_values x;
    float rate, norm, bonus, dz, dbonus; /* of the row: rate after its sigmoid; norm of k k_k */
    float of[5];
};

DEVICE void wkv7_column_begin(wkv7_column &c, const wkv7_args &a, i64 at)
{
    c.k_k = a.k_k[at];
    c.k_a = a.k_a[at];
    c.r_k = a.r_k[at];
    c.ln_w = a.ln_w ? a.ln_w[at] : 1.0f;
    c.ln_b = a.ln_w ? a.ln_b[at] : 0.0f;
}

/* r, k, v, w, away, back of a row. All threads are there afterwards. */
DEVICE void wkv7_prepare(wkv7_row &t, wkv7_column &c, const wkv7_args &a, i64 row, i64 at, bool mine)
{
    const int i = threadIdx.x;
    if (mine) wkv7_load(c.x, a, row, at);
    c.rate = sigmoid(c.x.rate);
    const float raw = c.x.k * c.k_k, k = c.x.k * fmaf(c.rate - 1.0f, c.k_a, 1.0f);
    const float2 sum = pair_sum(mine ? raw * raw : 0.0f, mine ? c.x.r * k * c.r_k : 0.0f, t.sums);
    c.norm = sqrtf(sum.x);
    c.bonus = sum.y;
    if (mine) {
        const float kk = raw / (c.norm < 1e-12f ? 1e-12f : c.norm);
        t.r[i] = c.x.r;
        t.k[i] = k;
        t.v[i] = a.v_first ? fmaf(c.x.v_first - c.x.v, sigmoid(c.x.value_gate), c.x.v) : c.x.v;
        t.w[i] = expf(-0.606531f * sigmoid(c.x.decay));
        t.away[i] = -kk;
        t.back[i] = kk * c.rate;
    }
    block_sync();
}

/* to[i], and of[i] of the second: sums over j of what each(i, j) adds. */
template <class Each> DEVICE void over_j(wkv7_row &t, int size, float *to, float *of, const Each &each)
{
    const int width = size <= 32 ? 32 : size <= 64 ? 64 : 128, i = threadIdx.x % width;
    float2 sum = make_float2(0, 0);
    for (int j = (int)threadIdx.x / width; j < size && i < size; j += WKV_BACK / width) each(i, j, sum);
    t.parts[0][threadIdx.x] = sum.x;
    t.parts[1][threadIdx.x] = sum.y;
    block_sync();
    if ((int)threadIdx.x < size) {
        for (int other = i + width; other < WKV_BACK; other += width) {
            sum.x += t.parts[0][other];
            sum.y += t.parts[1][other];
        }
        to[i] = sum.x;
        if (of) of[i] = sum.y;
    }
    block_sync();
}

/* M after a row from M before it, which may be in the same place; sa too. */
DEVICE void wkv7_step(wkv7_row &t, int size, const float *before, float *after)
{
    over_j(t, size, t.sa, (float *)0,
           [&](int i, int j, float2 &sum) { sum.x = fmaf(before[j * size + i], t.away[j], sum.x); });
    for (int at = threadIdx.x; at < size * size; at += WKV_BACK) {
        const int i = at % size, j = at / size;
        after[at] = fmaf(t.v[i], t.k[j], fmaf(t.sa[i], t.back[j], before[at] * t.w[j]));
    }
    block_sync();
}

/* dout -> dgate, dz, dbonus, dy; t.y is there. */
DEVICE void wkv7_back_out(wkv7_row &t, wkv7_column &c, const wkv7_back_args &a, i64 row, i64 at, bool mine)
{
    const int i = threadIdx.x;
    const float n = (float)a.of.size, y = mine ? t.y[i] : 0.0f, dout = mine ? a.dout[row * a.dout_stride + at] : 0.0f;
    float mean = 0, scale = 1;
    if (a.of.ln_w) {
        mean = pair_sum(y, 0.0f, t.sums).x / n;
        scale = 1.0f / sqrtf(pair_sum(mine ? (y - mean) * (y - mean) : 0.0f, 0.0f, t.sums).x / n + a.of.eps);
    }
    const float hat = (y - mean) * scale, v = mine ? t.v[i] : 0.0f;
    c.dz = dout * c.x.gate;
    const float g = c.dz * c.ln_w;
    c.dbonus = pair_sum(mine ? c.dz * v : 0.0f, 0.0f, t.sums).x;
    float dy = g;
    if (a.of.ln_w) {
        const float2 sum = pair_sum(mine ? g : 0.0f, mine ? g * hat : 0.0f, t.sums);
        dy = fmaf(-hat, sum.y / n, g - sum.x / n) * scale;
    }
    if (mine) {
        t.dy[i] = dy;
        if (a.of.gate) a.dgate[row * a.of.stride + at] = dout * fmaf(c.bonus, v, fmaf(hat, c.ln_w, c.ln_b));
        c.of[3] = fmaf(c.dz, hat, c.of[3]);
        c.of[4] += c.dz;
    }
    block_sync();
}

/* g: G after the row, which becomes that before it. */
DEVICE void wkv7_state_back(wkv7_row &t, int size, float *g, const float *before, const float *after)
{
    over_j(t, size, t.dv, t.dsa, [&](int i, int j, float2 &sum) {
        const float next = fmaf(t.dy[i], t.r[j], g[j * size + i]);
        g[j * size + i] = next;
        sum.x = fmaf(next, t.k[j], sum.x);
        sum.y = fmaf(next, t.back[j], sum.y);
    });
    for (int j = (int)threadIdx.x / 32; j < size; j += WKV_BACK / 32) {
        float dr = 0, dk = 0, dw = 0, dback = 0, daway = 0;
        for (int i = (int)threadIdx.x % 32; i < size; i += 32) {
            const float now = g[j * size + i], p = before[j * size + i];
            dr = fmaf(after[j * size + i], t.dy[i], dr);
            dk = fmaf(now, t.v[i], dk);
            dw = fmaf(now, p, dw);
            dback = fmaf(now, t.sa[i], dback);
            daway = fmaf(p, t.dsa[i], daway);
            g[j * size + i] = fmaf(t.dsa[i], t.away[j], now * t.w[j]);
        }
        dr = warp_sum(dr);
        dk = warp_sum(dk);
        dw = warp_sum(dw);
        dback = warp_sum(dback);
        daway = warp_sum(daway);
        if (threadIdx.x % 32) continue;
        t.dr[j] = dr;
        t.dk[j] = dk;
        t.dw[j] = dw;
        t.dback[j] = dback;
        t.daway[j] = daway;
    }
    block_sync();
}

/* v: from the gradient of what it became to its own, that of v_first, and that of the gate between. */
DEVICE void wkv7_back_v(const wkv7_row &t, const wkv7_column &c, const wkv7_back_args &a, i64 row, i64 at)
{
    const i64 from = row * a.of.stride + at;
    const float dv = fmaf(c.bonus, c.dz, t.dv[threadIdx.x]);
    if (!a.of.v_first) {
        a.dv[from] = dv;
        return;
    }
    const float s = sigmoid(c.x.value_gate);
    float *first = a.dv_first + row * a.of.v_first_stride + at;
    a.dvalue_gate[from] = dv * (c.x.v_first - c.x.v) * (s * (1.0f - s));
    *first = fmaf(dv, s, *first);
    a.dv[from] = dv * (1.0f - s);
}

/* The rest: r, k, the decay, and the rate. */
DEVICE void wkv7_back_in(wkv7_row &t, wkv7_column &c, const wkv7_back_args &a, i64 row, i64 at, bool mine)
{
    const int j = threadIdx.x;
    const i64 from = row * a.of.stride + at;
    const float kk = mine ? -t.away[j] : 0.0f, dkk = mine ? fmaf(t.dback[j], c.rate, -t.daway[j]) : 0.0f;
    float along = pair_sum(kk * dkk, 0.0f, t.sums).x;
    if (!mine) return;
    if (!(c.norm > 1e-12f)) along = 0; /* a direction of no length is only scaled */
    const float du = fmaf(-kk, along, dkk) / (c.norm < 1e-12f ? 1e-12f : c.norm), less = c.rate - 1.0f;
    const float dk = fmaf(c.dbonus, c.x.r * c.r_k, t.dk[j]), s = sigmoid(c.x.decay);
    const float da = fmaf(dk * c.x.k, c.k_a, t.dback[j] * kk);
    c.of[0] = fmaf(du, c.x.k, c.of[0]);
    c.of[1] = fmaf(dk * c.x.k, less, c.of[1]);
    c.of[2] = fmaf(c.dbonus, c.x.r * t.k[j], c.of[2]);
    a.dr[from] = fmaf(c.dbonus, t.k[j] * c.r_k, t.dr[j]);
    a.dk[from] = fmaf(dk, fmaf(less, c.k_a, 1.0f), du * c.k_k);
    a.drate[from] = da * (c.rate * (1.0f - c.rate));
    a.ddecay[from] = t.dw[j] * t.w[j] * -0.606531f * (s * (1.0f - s));
}

/* Rows row0 .. row0 + n, from the last to the first; states: G, and M before them. */
DEVICE void wkv7_back_rows(wkv7_row &t, wkv7_column &c, const wkv7_back_args &a, i64 row0, int n, i64 at, float *states,
                           bool mine)
{
    const int size = a.of.size, values = size * size;
    float *g = states, *m = states + values;
    for (int i = 0; i < n; i++) {
        wkv7_prepare(t, c, a.of, row0 + i, at, mine);
        wkv7_step(t, size, m + i * values, m + (i + 1) * values);
    }
    for (int i = n - 1; i >= 0; i--) {
        const float *before = m + i * values, *after = before + values;
        wkv7_prepare(t, c, a.of, row0 + i, at, mine);
        over_j(t, size, t.sa, t.y, [&](int i, int j, float2 &sum) {
            sum.x = fmaf(before[j * size + i], t.away[j], sum.x);
            sum.y = fmaf(after[j * size + i], t.r[j], sum.y);
        });
        wkv7_back_out(t, c, a, row0 + i, at, mine);
        wkv7_state_back(t, size, g, before, after);
        if (mine) wkv7_back_v(t, c, a, row0 + i, at);
        wkv7_back_in(t, c, a, row0 + i, at, mine);
    }
}

/* grid (heads, runs), block 256. */
KERNEL __launch_bounds__(WKV_BACK) wkv7_back(const wkv7_back_args a)
{
    __shared__ wkv7_row t;
    const int size = a.of.size, values = size * size, head = blockIdx.x, heads = gridDim.x;
    const int *run = a.of.runs + 4 * blockIdx.y;
    const bool mine = (int)threadIdx.x < size;
    const i64 at = (i64)head * size + threadIdx.x;
    const i64 first = run[0] / WKV_BACK_ROWS + blockIdx.y; /* the runs before have not kept so many */
    float *states = a.states + ((i64)blockIdx.y * heads + head) * WKV_STATES * values, *m = states + values;
    wkv7_column c = {};
    if (mine) wkv7_column_begin(c, a.of, at);
    for (int i = threadIdx.x; i < values; i += WKV_BACK) states[i] = m[i] = 0;
    for (int row = 0; row < run[1]; row++) {
        float *kept = a.kept + ((first + row / WKV_BACK_ROWS) * heads + head) * values;
        for (int i = threadIdx.x; i < values && row % WKV_BACK_ROWS == 0; i += WKV_BACK) kept[i] = m[i];
        wkv7_prepare(t, c, a.of, run[0] + row, at, mine);
        wkv7_step(t, size, m, m);
    }
    for (int row0 = (run[1] - 1) / WKV_BACK_ROWS * WKV_BACK_ROWS; row0 >= 0; row0 -= WKV_BACK_ROWS) {
        const float *kept = a.kept + ((first + row0 / WKV_BACK_ROWS) * heads + head) * values;
        for (int i = threadIdx.x; i < values; i += WKV_BACK) m[i] = kept[i];
        wkv7_back_rows(t, c, a, run[0] + row0, min(run[1] - row0, (int)WKV_BACK_ROWS), at, states, mine);
    }
    #pragma unroll
    for (int i = 0; i < 5; i++)
        if (mine && a.parts) a.parts[((i64)blockIdx.y * 5 + i) * heads * size + at] = c.of[i];
}

/* The five gradients of weights += those of all runs, in their order. grid (n / 256, 5), block 256; ln_w may be
 * NULL. */
KERNEL __launch_bounds__(256)
    wkv7_back_w(const float *parts, int n_runs, int n, float *k_k, float *k_a, float *r_k, float *ln_w, float *ln_b)
{
    const int i = (int)(blockIdx.x * 256 + threadIdx.x), which = (int)blockIdx.y;
    float *to = which == 0 ? k_k : which == 1 ? k_a : which == 2 ? r_k : which == 3 ? ln_w : ln_b, sum = 0;
    if (i >= n || !to) return;
    for (int b = 0; b < n_runs; b++) sum += parts[((i64)b * 5 + which) * n + i];
    to[i] += sum;
}
#endif
