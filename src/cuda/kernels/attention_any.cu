/* attention_any: attention in float32 for what the tensor cores do not take: caches of F32, and any head size up to
 * 256. Needs prelude, attention_args. Same work as attention.cu: a block has up to 16 queries of a kv head, over one
 * part of the cache of a row (split), or over all that the rows of a tile see. Four queries a warp. */

enum { ANY_QUERIES = 16, A_WARP = 4, DIMS = 256 / 32 };

DEVICE float cache_value(const char *row, int i, int type)
{
    if (type == KV_F32) return ((const float *)row)[i];
    if (type == KV_F16) return h2f(((const half_t *)row)[i]);
    const char *block = row + i / 32 * 34;
    return h2f(*(const half_t *)block) * (float)((const i8 *)block)[2 + i % 32];
}

/* Rows base .. base + 32 of a kv head as floats, stride apart; zeros outside low .. high and after n values. */
DEVICE void fetch_page(float *tile, int stride, const char *page, int row_bytes, int n, int low, int high, int type)
{
    for (int key = threadIdx.x / 32; key < PAGE; key += 4)
        for (int i = threadIdx.x % 32; i < stride; i += 32)
            tile[key * stride + i] =
                i < n && key >= low && key < high ? cache_value(page + (i64)key * row_bytes, i, type) : 0.0f;
}

/* grid: split: (splits, n_head_kv * groups of 16 query heads, rows); tiles: (tiles, n_head_kv * group * 4, 1). block
 * 128. shared floats: 16 * dim_k (q) + 16 * 32 (exps) + 32 * (4 + max(dim_k, dim_v)) (K, then V), dims rounded up to
 * 4; at least 16 * 64. */
KERNEL __launch_bounds__(128, 2) attention_any(const attention_args a)
{
    extern __shared__ float4 shared[];
    const int dim = (a.head_dim_k + 3) / 4 * 4, lane = threadIdx.x % 32, warp = threadIdx.x / 32,
              group = a.n_head / a.n_head_kv;
    const int pieces = a.split ? (group + ANY_QUERIES - 1) / ANY_QUERIES : group * (TILE_ROWS / ANY_QUERIES),
              head_kv = blockIdx.y / pieces;
    const int *tile = a.rows + (a.split ? blockIdx.z : 4 * blockIdx.x);
    const int row0 = tile[0], n_queries = (a.split ? 1 : tile[1]) * group,
              query0 = (int)blockIdx.y % pieces * ANY_QUERIES;
    const int pos0 = a.pos[row0], *pages = a.pages + (i64)a.run_of_row[row0] * a.pages_a_seq;
    const int low = first_seen(pos0 + query0 / group, a.window),
              high = pos0 + min(query0 + ANY_QUERIES - 1, n_queries - 1) / group + 1;
    int from = low / PAGE, to = (high - 1) / PAGE + 1;
    float *q = (float *)shared, *p = q + ANY_QUERIES * dim, *kv = p + ANY_QUERIES * PAGE, acc[A_WARP][DIMS], m[A_WARP],
          l[A_WARP];
    int n_splits = 1;
    if (a.split) {
        const int step = pages_a_split(to - from, a.max_splits);
        n_splits = (to - from + step - 1) / step;
        from += (int)blockIdx.x * step;
        to = min(from + step, to);
    }
    if (query0 >= n_queries || from >= to) return;
    for (int i = threadIdx.x; i < ANY_QUERIES * dim; i += 128) {
        const int query = query0 + i / dim, at = i % dim;
        q[i] =
            query < n_queries && at < a.head_dim_k
                ? a.q[(row0 + query / group) * a.q_stride + (i64)(head_kv * group + query % group) * a.head_dim_k + at]
                : 0.0f;
    }
    #pragma unroll
    for (int j = 0; j < A_WARP; j++) {
        m[j] = NOTHING;
        l[j] = 0;
        #pragma unroll
        for (int c = 0; c < DIMS; c++) acc[j][c] = 0;
    }
    for (int page = from; page < to; page++) {
        const int base = page * PAGE, key = base + lane;
        const i64 at = pages[page];
        block_sync(); /* q is there; nobody reads V any more */
        fetch_page(kv, dim + 4, a.k + at * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k, a.row_bytes_k,
                   a.head_dim_k, low - base, high - base, a.type);
        block_sync();
        float s[A_WARP] = { 0, 0, 0, 0 };
        #pragma unroll 2
        for (int i = 0; i < dim; i += 4) {
            const float4 x = *(const float4 *)(kv + lane * (dim + 4) + i);
            #pragma unroll
            for (int j = 0; j < A_WARP; j++) {
                const float4 y = *(const float4 *)(q + (A_WARP * warp + j) * dim + i);
                s[j] = fmaf(x.x, y.x, s[j]);
                s[j] = fmaf(x.y, y.y, s[j]);
                s[j] = fmaf(x.z, y.z, s[j]);
                s[j] = fmaf(x.w, y.w, s[j]);
            }
        }
        #pragma unroll
        for (int j = 0; j < A_WARP; j++) {
            const int pos = pos0 + min(query0 + A_WARP * warp + j, n_queries - 1) / group;
            s[j] *= a.scale;
            if (a.softcap > 0) s[j] = cap(s[j], a.softcap);
            if (key > pos || key < first_seen(pos, a.window)) s[j] = NOTHING;
            const float next = fmaxf(m[j], warp_max(s[j])), zero = finite_or_0(next), c = fast_exp(m[j] - zero),
                        e = fast_exp(s[j] - zero);
            p[(A_WARP * warp + j) * PAGE + lane] = e;
            m[j] = next;
            l[j] = fmaf(l[j], c, warp_sum(e));
            #pragma unroll
            for (int i = 0; i < DIMS; i++) acc[j][i] *= c;
        }
        block_sync(); /* p is there; nobody reads K any more */
        fetch_page(kv, a.head_dim_v, a.v + at * a.page_bytes_v + (i64)head_kv * PAGE * a.row_bytes_v, a.row_bytes_v,
                   a.head_dim_v, low - base, high - base, a.type);
        block_sync();
        for (int slot = 0; slot < PAGE; slot++) {
            float e[A_WARP];
            #pragma unroll
            for (int j = 0; j < A_WARP; j++) e[j] = p[(A_WARP * warp + j) * PAGE + slot];
            #pragma unroll
            for (int i = 0; i < DIMS; i++) {
                if (32 * i + lane >= a.head_dim_v) break;
                const float x = kv[slot * a.head_dim_v + 32 * i + lane];
                #pragma unroll
                for (int j = 0; j < A_WARP; j++) acc[j][i] = fmaf(e[j], x, acc[j][i]);
            }
        }
    }
    #pragma unroll
    for (int j = 0; j < A_WARP; j++) {
        const int query = query0 + A_WARP * warp + j, head = head_kv * group + query % group;
        float *to_row = a.out + (row0 + query / group) * a.out_stride + (i64)head * a.head_dim_v, factor = 1;
        if (query >= n_queries) break;
        if (a.split) {
            float *part =
                a.parts + (((i64)blockIdx.z * a.n_head + head) * a.max_splits + blockIdx.x) * (4 + a.head_dim_v);
            if (lane == 0) {
                part[0] = m[j];
                part[1] = l[j];
            }
            to_row = part + 4;
        } else {
            if (a.sinks) {
                const float top = fmaxf(m[j], a.sinks[head]);
                factor = fast_exp(m[j] - top);
                l[j] = fmaf(l[j], factor, fast_exp(a.sinks[head] - top));
            }
            factor /= l[j];
        }
        #pragma unroll
        for (int i = 0; i < DIMS; i++)
            if (32 * i + lane < a.head_dim_v) to_row[32 * i + lane] = acc[j][i] * factor;
    }
    float *out = a.out + row0 * a.out_stride + (i64)(head_kv * group + query0) * a.head_dim_v;
    if (a.split)
        join_parts<false>(a, (float *)shared, blockIdx.z, head_kv * group + query0,
                          min(n_queries - query0, (int)ANY_QUERIES), n_splits, a.head_dim_v,
                          [&](int query, int i, float4 x) { out[query * a.head_dim_v + i] = x.x; });
}
