/* attention_args: what all kernels of attention share. Needs prelude.
 *
 * Rows of runs with few rows go through kernels that split the cache of a row over blocks, each of which leaves a
 * maximum, a sum and an unscaled result (a part); the block that comes last joins them. Long runs go in tiles of up to
 * 64 rows, whole in one block. How the cache of a row is split depends on its position alone: what else is in the
 * batch never changes a result. */

struct attention_args {
    const float *q;
    float *out;         /* (n, n_head, head_dim) at strides in floats */
    const char *k, *v;  /* the pages of the layer */
    const float *sinks; /* n_head, or NULL */
    /* (rows, n_head, max_splits, 4 + width): maximum, sum, 2 unused, result; width is at most head_dim_v rounded up
     * to 64 */
    float *parts;
    int *done;                           /* (rows, gridDim.y): blocks that are done; zero before and after */
    const int *pos, *run_of_row, *pages; /* of the batch */
    const int *rows;                     /* tiles: (n, 4): first row, rows, run, 0. Split: rows */
    i64 q_stride, out_stride, page_bytes_k, page_bytes_v;
    int n_head, n_head_kv, pages_a_seq, window, max_splits;
    float scale, softcap;
    int head_dim_k, head_dim_v, row_bytes_k, row_bytes_v, type, split; /* what attention_any asks for */
};

enum { PAGE = 32, PAGES_A_SPLIT = 4, MAX_SPLITS = 64, TILE_ROWS = 64 };
enum { KV_F16, KV_Q8_0, KV_F32 };
#define NOTHING (-__int_as_float(0x7F800000)) /* -inf */

/* The first position that the row at pos sees. */
DEVICE int first_seen(int pos, int window) { return window > 0 ? max(pos - window + 1, 0) : 0; }

/* Pages that one split of `total` pages takes: PAGES_A_SPLIT, more (by powers of two) when there would be more than
 * max_splits. */
DEVICE int pages_a_split(int total, int max_splits)
{
    int pages = PAGES_A_SPLIT;
    while (pages * max_splits < total) pages *= 2;
    return pages;
}

DEVICE float cap(float s, float softcap) { return softcap * (1.0f - 2.0f / (expf(2.0f * s / softcap) + 1.0f)); }

/* e^(m - base) would be NaN where nothing was seen yet. */
DEVICE float finite_or_0(float m) { return m == NOTHING ? 0.0f : m; }

/* All threads of a block have written their share of the parts of heads head .. head + n_heads of row number at. The
 * last block of the n_splits joins the parts: always in the same order. block 128. weight: shared memory, n_heads *
 * MAX_SPLITS. Calls put(h, i, values) for the values of head head + h from i, four when BY_4, else one. */
template <bool BY_4, class Put>
DEVICE void join_parts(const attention_args &a, float *weight, int at, int head, int n_heads, int n_splits, int width,
                       const Put &put)
{
    __shared__ int last;
    const int step = 4 + width, lane = threadIdx.x % 32, each = BY_4 ? width / 4 : width;
    const float *parts = a.parts + ((i64)at * a.n_head + head) * a.max_splits * step;
    block_sync(); /* the parts are written; fences make this known, and what others wrote known here */
    if (threadIdx.x == 0) {
        int *done = a.done + at * gridDim.y + blockIdx.y;
        __threadfence();
        last = atomicAdd(done, 1) == n_splits - 1;
        if (last) *done = 0;
        __threadfence();
    }
    block_sync();
    if (!last) return;
    for (int h = threadIdx.x / 32; h < n_heads; h += 4) {
        const float *part = parts + (i64)h * a.max_splits * step;
        const bool low = lane < n_splits, high = lane + 32 < n_splits;
        const float m0 = low ? part[lane * step] : NOTHING, m1 = high ? part[(lane + 32) * step] : NOTHING,
                    sink = a.sinks ? a.sinks[head + h] : NOTHING;
        const float top = finite_or_0(warp_max(fmaxf(fmaxf(m0, m1), sink))), w0 = fast_exp(m0 - top),
                    w1 = fast_exp(m1 - top);
        const float sum =
            warp_sum((low ? part[lane * step + 1] * w0 : 0.0f) + (high ? part[(lane + 32) * step + 1] * w1 : 0.0f)) +
            fast_exp(sink - top);
        weight[h * MAX_SPLITS + lane] = w0 / sum;
        weight[h * MAX_SPLITS + lane + 32] = w1 / sum;
    }
    block_sync();
    for (int i = threadIdx.x; i < n_heads * each; i += 128) {
        const int h = i / each, value = i % each * (BY_4 ? 4 : 1);
        const float *part = parts + (i64)h * a.max_splits * step + 4 + value;
        float4 sum = make_float4(0, 0, 0, 0);
        #pragma unroll 8
        for (int s = 0; s < n_splits; s++) {
            const float w = weight[h * MAX_SPLITS + s];
            if (BY_4) {
                const float4 x = *(const float4 *)(part + s * step);
                sum.x = fmaf(w, x.x, sum.x);
                sum.y = fmaf(w, x.y, sum.y);
                sum.z = fmaf(w, x.z, sum.z);
                sum.w = fmaf(w, x.w, sum.w);
            } else
                sum.x = fmaf(w, part[s * step], sum.x);
        }
        put(h, value, sum);
    }
}
