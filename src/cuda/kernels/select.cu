/* select: the k largest of a row of logits with their ids (equal ones: the lower id first), its maximum, and the sum of
 * e^(x - maximum). Exact, and the same every time. Needs prelude.
 *
 * Two steps: every chunk of 4096 logits keeps its k largest, in order of id; then one block a row selects among these
 * and sorts. A selection is a search for the key of the last one that is kept: by histograms over its bits, 11 + 11
 * + 10, from the top. */

enum { CHUNK_VALUES = 4096, BINS = 2048, MOST = 256 };
/* keep the keys above key, and the first `equal` of those that are key */
struct cut {
    u32 key;
    int equal;
};

struct select_shared {
    int bins[BINS], warps[32], found, left;
    float most[32], sums[32];
};

/* Unsigned integers in the order of the floats (-0 = 0). */
DEVICE u32 order_of(float x)
{
    const u32 u = __float_as_uint(x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

/* The sum of x over the threads below this one. */
DEVICE int sum_below(int x, int *warps)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int sum = x;
    #pragma unroll
    for (int d = 1; d < 32; d *= 2) {
        const int other = shfl(sum, (lane - d) & 31);
        if (lane >= d) sum += other;
    }
    block_sync(); /* the last sums have been read */
    if (lane == 31) warps[warp] = sum;
    block_sync();
    sum -= x;
    for (int w = 0; w < warp; w++) sum += warps[w];
    return sum;
}

/* One digit: of the keys that agree with prefix in the bits of mask, the largest digit at which `left` keys are
 * reached. */
template <class Keys>
DEVICE void find_digit(const Keys &key, int count, select_shared *s, u32 *prefix, u32 *mask, int *left, int shift,
                       u32 digits)
{
    const int threads = blockDim.x, each = BINS / threads;
    for (int i = threadIdx.x; i < BINS; i += threads) s->bins[i] = 0;
    block_sync();
    #pragma unroll
    for (int j = 0; j < count; j++) {
        const u32 x = key(j);
        /* largest digit first */
        if ((x & *mask) == *prefix) atomicAdd(&s->bins[BINS - 1 - (x >> shift & (digits - 1))], 1);
    }
    block_sync();
    int mine = 0;
    for (int i = 0; i < each; i++) mine += s->bins[threadIdx.x * each + i];
    const int below = sum_below(mine, s->warps);
    if (below < *left && *left <= below + mine) { /* one thread */
        int at = threadIdx.x * each, n = below;
        while (n + s->bins[at] < *left) n += s->bins[at++];
        s->found = BINS - 1 - at;
        s->left = *left - n;
    }
    block_sync();
    *prefix |= (u32)s->found << shift;
    *mask |= (digits - 1) << shift;
    *left = s->left;
}

/* Of all threads' keys (in order of thread, then j), of which there are at least k, the cut that keeps k. */
template <class Keys> DEVICE cut find_cut(const Keys &key, int count, int k, select_shared *s)
{
    u32 prefix = 0, mask = 0;
    int left = k;
    find_digit(key, count, s, &prefix, &mask, &left, 21, 2048);
    find_digit(key, count, s, &prefix, &mask, &left, 10, 2048);
    find_digit(key, count, s, &prefix, &mask, &left, 0, 1024);
    cut c;
    c.key = prefix;
    c.equal = left;
    return c;
}

/* Calls keep(place, j) for what a cut keeps, place = 0 .. k - 1 in order. */
template <class Keys, class Keep>
DEVICE void apply_cut(const Keys &key, int count, cut c, select_shared *s, const Keep &keep)
{
    int above = 0, equal = 0;
    #pragma unroll
    for (int j = 0; j < count; j++) {
        above += key(j) > c.key;
        equal += key(j) == c.key;
    }
    int equal_below = sum_below(equal, s->warps), place = sum_below(above, s->warps) + min(equal_below, c.equal);
    #pragma unroll
    for (int j = 0; j < count; j++) {
        const u32 x = key(j);
        if (x > c.key || (x == c.key && equal_below++ < c.equal)) keep(place++, j);
    }
}

/* grid (chunks, n_rows), block 256. keys, ids (n_rows, chunks, k); parts (n_rows, chunks, 2): maximum, sum. What is
 * after a row has id -1. */
KERNEL __launch_bounds__(256)
    top_k_chunk(const float *logits, i64 stride, int n_vocab, int k, u32 *keys, int *ids, float *parts)
{
    __shared__ select_shared s;
    const int first = blockIdx.x * CHUNK_VALUES + threadIdx.x * 16, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const i64 part = (i64)blockIdx.y * gridDim.x + blockIdx.x;
    const float *x = logits + blockIdx.y * stride + first;
    float v[16], most = -__int_as_float(0x7F800000), sum = 0;
    u32 mine[16];
    if (first + 16 <= n_vocab && ((u64)x & 15) == 0) {
        #pragma unroll
        for (int j = 0; j < 4; j++) {
            const float4 f = ((const float4 *)x)[j];
            v[4 * j] = f.x;
            v[4 * j + 1] = f.y;
            v[4 * j + 2] = f.z;
            v[4 * j + 3] = f.w;
        }
    } else {
        #pragma unroll
        for (int j = 0; j < 16; j++) v[j] = first + j < n_vocab ? x[j] : -__int_as_float(0x7F800000);
    }
    #pragma unroll
    for (int j = 0; j < 16; j++) {
        mine[j] = first + j < n_vocab ? order_of(v[j]) : 0;
        most = fmaxf(most, v[j]);
    }
    most = warp_max(most);
    if (lane == 0) s.most[warp] = most;
    block_sync();
    for (int w = 0; w < 8; w++) most = fmaxf(most, s.most[w]);
    const float base = most < -3.4e38f ? 0.0f : most; /* all -inf: no NaN from it */
    #pragma unroll
    for (int j = 0; j < 16; j++) sum += expf(v[j] - base);
    sum = warp_sum(sum);
    if (lane == 0) s.sums[warp] = sum;
    const auto key = [&](int j) { return mine[j]; };
    const cut c = find_cut(key, 16, k, &s);
    apply_cut(key, 16, c, &s, [&](int place, int j) {
        keys[part * k + place] = mine[j];
        ids[part * k + place] = first + j < n_vocab ? first + j : -1;
    });
    if (threadIdx.x == 0) {
        sum = 0;
        for (int w = 0; w < 8; w++) sum += s.sums[w];
        parts[2 * part] = most;
        parts[2 * part + 1] = sum;
    }
}

/* grid n_rows, block 1024. out_ids, out_values (n_rows, k): the largest first; after n_vocab of them id -1, -inf.
 * stats (n_rows, 2): maximum, sum. A NaN in a row makes its sum NaN. */
KERNEL __launch_bounds__(1024)
    top_k_row(const float *logits, i64 stride, int n_chunks, int k, const u32 *keys, const int *ids, const float *parts,
              int *out_ids, float *out_values, float *stats)
{
    __shared__ select_shared s;
    __shared__ u32 kept_key[MOST];
    __shared__ int kept_id[MOST];
    const i64 row = blockIdx.x, at = row * n_chunks * k;
    const int n = n_chunks * k, each = (n + 1023) / 1024, first = min((int)threadIdx.x * each, n),
              count = min(each, n - first);
    const auto key = [&](int j) { return keys[at + first + j]; };
    const cut c = find_cut(key, count, k, &s);
    apply_cut(key, count, c, &s, [&](int place, int j) {
        kept_key[place] = keys[at + first + j];
        kept_id[place] = ids[at + first + j];
    });
    block_sync();
    if ((int)threadIdx.x < k) {
        const u32 mine = kept_key[threadIdx.x];
        const int id = kept_id[threadIdx.x];
        int rank = 0;
        for (int j = 0; j < k; j++) rank += kept_key[j] > mine || (kept_key[j] == mine && j < (int)threadIdx.x);
        out_ids[row * k + rank] = id;
        out_values[row * k + rank] = id < 0 ? -__int_as_float(0x7F800000) : logits[row * stride + id];
    }
    if (threadIdx.x == 0) {
        float most = -__int_as_float(0x7F800000), sum = 0;
        for (int j = 0; j < n_chunks; j++) most = fmaxf(most, parts[2 * (row * n_chunks + j)]);
        for (int j = 0; j < n_chunks; j++) {
            const float m = parts[2 * (row * n_chunks + j)];
            sum = fmaf(parts[2 * (row * n_chunks + j) + 1], m == most ? 1.0f : expf(m - most), sum);
        }
        stats[2 * row] = most;
        stats[2 * row + 1] = sum;
    }
}
