/* attention_args: what all kernels of attention share. Needs prelude.
 *
 * Rows of runs with few rows go through kernels that split the cache of a row over blocks, each of which leaves a maximum, a sum and an
 * unscaled result (a part); attention_merge joins them. Long runs go in tiles of up to 64 rows, whole in one block.
 * How the cache of a row is split depends on its position alone: what else is in the batch never changes a result. */

struct attention_args {
    const float *q; float *out;              /* (n, n_head, head_dim) at strides in floats */
    const char *k, *v;                       /* the pages of the layer */
    const float *sinks;                      /* n_head, or NULL */
    float *parts;                            /* (rows, n_head, max_splits, 4 + head_dim_v): maximum, sum, 2 unused, result */
    const int *pos, *run_of_row, *pages;     /* of the batch */
    const int *rows;                         /* tiles: (n, 4): first row, rows, run, 0. Split: rows */
    i64 q_stride, out_stride, page_bytes_k, page_bytes_v;
    int n_head, n_head_kv, pages_a_seq, window, max_splits;
    float scale, softcap;
    int head_dim_k, head_dim_v, row_bytes_k, row_bytes_v, type, split;   /* what attention_any asks for */
};

enum { PAGE = 32, PAGES_A_SPLIT = 4, MAX_SPLITS = 64, TILE_ROWS = 64 };
enum { KV_F16, KV_Q8_0, KV_F32 };
#define NOTHING (-__int_as_float(0x7F800000))       /* -inf */

/* The first position that the row at pos sees. */
DEVICE int first_seen(int pos, int window) { return window > 0 ? max(pos - window + 1, 0) : 0; }

/* Pages that one split of `total` pages takes: PAGES_A_SPLIT, more (by powers of two) when there would be more than max_splits. */
DEVICE int pages_a_split(int total, int max_splits)
{
    int pages = PAGES_A_SPLIT;
    while (pages * max_splits < total) pages *= 2;
    return pages;
}

DEVICE float cap(float s, float softcap) { return softcap * (1.0f - 2.0f / (expf(2.0f * s / softcap) + 1.0f)); }

/* e^(m - base) would be NaN where nothing was seen yet. */
DEVICE float finite_or_0(float m) { return m == NOTHING ? 0.0f : m; }

/* Joins the parts of one head of one row: in order, so that the sum is always the same. grid (n_head, rows), block 128. */
KERNEL __launch_bounds__(128) attention_merge(const attention_args a)
{
    __shared__ float m[MAX_SPLITS], l[MAX_SPLITS];
    const int head = blockIdx.x, row = a.rows[blockIdx.y], pos = a.pos[row], step = 4 + a.head_dim_v;
    const int total = pos / PAGE - first_seen(pos, a.window) / PAGE + 1, pages = pages_a_split(total, a.max_splits), n = (total + pages - 1) / pages;
    const float *part = a.parts + ((i64)blockIdx.y * a.n_head + head) * a.max_splits * step, sink = a.sinks ? a.sinks[head] : NOTHING;
    float top = sink, sum = 0;
    if ((int)threadIdx.x < n) {
        m[threadIdx.x] = part[threadIdx.x * step];
        l[threadIdx.x] = part[threadIdx.x * step + 1];
    }
    block_sync();
    for (int s = 0; s < n; s++) top = fmaxf(top, m[s]);
    top = finite_or_0(top);
    block_sync();                                             /* the maxima have been read: weights take their place */
    if ((int)threadIdx.x < n) m[threadIdx.x] = fast_exp(m[threadIdx.x] - top);
    block_sync();
    for (int s = 0; s < n; s++) sum = fmaf(l[s], m[s], sum);
    if (a.sinks) sum += fast_exp(sink - top);
    for (int i = threadIdx.x; i < a.head_dim_v; i += 128) {
        float x = 0;
#pragma unroll 8
        for (int s = 0; s < n; s++) x = fmaf(part[s * step + 4 + i], m[s], x);
        a.out[row * a.out_stride + (i64)head * a.head_dim_v + i] = x / sum;
    }
}
