/* attention_any: attention in float32 for what the tensor cores do not take: caches of F32, and any head size up to
 * 256. Needs prelude, attention_args. Same work as attention.cu: a block has up to 16 queries of a kv head, over one
 * part of the cache of a row (split), or over all that the rows of a tile see. Four queries a warp. -DBACK: its
 * gradient instead, for any cache. */

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
    for (int key = threadIdx.x / 32; key < PAGE; key += blockDim.x / 32)
        for (int i = threadIdx.x % 32; i < stride; i += 32)
            tile[key * stride + i] =
                i < n && key >= low && key < high ? cache_value(page + (i64)key * row_bytes, i, type) : 0.0f;
}

#ifndef BACK
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
#else

/* Of runs that begin at position 0: with P the probabilities, made again from q and the cache,
 *
 *   dP = dout . V^T,  delta = the sum of dout * out,  dS = P (dP - delta) scale (and, of a soft-cap, 1 - (s / cap)^2)
 *   dq = dS . K,  dk = dS^T . q,  dv = P^T . dout         summed over the query heads of a kv head
 *
 * attention_back_q goes over the keys of a block of queries twice: for the maximum and the sum of every row, which it
 * leaves in stats with its delta, then for dq; a sink is in both from the beginning, and the gradient that a row makes
 * of it, -(its share) delta, goes to sink_rows. attention_back_kv goes over the queries of a page of keys. Every sum
 * has one order, and nothing is added up by two blocks. */
struct attention_back_args {
    const float *q, *out, *dout;
    const char *k, *v;
    float *dq, *dk, *dv;
    const float *sinks; /* n_head, or NULL */
    float *sink_rows;   /* (n, n_head) */
    float4 *stats;      /* (n_head, n): the maximum, 1 / the sum of e^(s - maximum), delta, 0 */
    const int *runs, *pages;
    i64 q_stride, out_stride, stride, page_bytes_k, page_bytes_v;
    int n, n_head, n_head_kv, pages_a_seq, window;
    float scale, softcap;
    int dim_k, dim_v, row_bytes_k, row_bytes_v, type;
};
enum { BACK_KEYS_QUERIES = 8 }; /* of a block of keys at a time: one a warp */

/* n rows of heads, from row `first` of at most `rows`, to shared memory; zeros after them. */
DEVICE void fetch_heads(float *to, int stride, const float *from, i64 from_stride, int first, int rows, int n, int dim)
{
    for (int i = threadIdx.x; i < n * stride; i += blockDim.x) {
        const int row = first + i / stride, at = i % stride;
        to[i] = row < rows && at < dim ? from[row * from_stride + at] : 0.0f;
    }
}

/* s[j] = row j . key */
template <int N> DEVICE void dots(float s[N], const float *rows, int stride, const float *key, int dim)
{
    #pragma unroll
    for (int j = 0; j < N; j++) s[j] = 0;
    #pragma unroll 2
    for (int i = 0; i < dim; i += 4) {
        const float4 x = *(const float4 *)(key + i);
        #pragma unroll
        for (int j = 0; j < N; j++) {
            const float4 y = *(const float4 *)(rows + j * stride + i);
            s[j] = fmaf(x.x, y.x, s[j]);
            s[j] = fmaf(x.y, y.y, s[j]);
            s[j] = fmaf(x.z, y.z, s[j]);
            s[j] = fmaf(x.w, y.w, s[j]);
        }
    }
}

/* The score that softmax takes, and the slope of what made it of the product. */
DEVICE float score_of(float product, float scale, float softcap, float *slope)
{
    const float s = product * scale, c = softcap > 0 ? tanhf(s / softcap) : 0.0f;
    *slope = scale * (1.0f - c * c);
    return softcap > 0 ? softcap * c : s;
}

DEVICE bool sees(const attention_back_args &a, int row, int key)
{
    return key <= row && key >= first_seen(row, a.window);
}

/* grid (rows of the longest run / 16, n_head, n_runs), block 128. shared floats: 16 (dim_k + dim_v) (q, dout) +
 * 32 (dim_k + 4) (K) + 32 (dim_v + 4) (V) + 16 * 32 (dS), dims rounded up to 4. */
KERNEL __launch_bounds__(128, 2) attention_back_q(const attention_back_args a)
{
    extern __shared__ float4 shared[];
    const int dim_k = (a.dim_k + 3) / 4 * 4, dim_v = (a.dim_v + 3) / 4 * 4, lane = threadIdx.x % 32,
              mine = threadIdx.x / 32 * A_WARP, head = blockIdx.y, head_kv = head / (a.n_head / a.n_head_kv);
    const int *run = a.runs + 4 * blockIdx.z, *pages = a.pages + (i64)blockIdx.z * a.pages_a_seq;
    const int first = run[0], rows = run[1], row0 = blockIdx.x * ANY_QUERIES;
    const int low = first_seen(row0, a.window), high = min(row0 + ANY_QUERIES, rows);
    float *q = (float *)shared, *dout = q + ANY_QUERIES * dim_k, *k = dout + ANY_QUERIES * dim_v,
          *v = k + PAGE * (dim_k + 4), *ds = v + PAGE * (dim_v + 4);
    const float sink = a.sinks ? a.sinks[head] : NOTHING;
    float m[A_WARP], l[A_WARP], delta[A_WARP], acc[A_WARP][DIMS], s[A_WARP], slope;
    if (row0 >= rows) return;
    fetch_heads(q, dim_k, a.q + first * a.q_stride + (i64)head * a.dim_k, a.q_stride, row0, rows, ANY_QUERIES, a.dim_k);
    fetch_heads(dout, dim_v, a.dout + first * a.out_stride + (i64)head * a.dim_v, a.out_stride, row0, rows, ANY_QUERIES,
                a.dim_v);
    block_sync();
    #pragma unroll
    for (int j = 0; j < A_WARP; j++) {
        const float *out = a.out + (first + min(row0 + mine + j, rows - 1)) * a.out_stride + (i64)head * a.dim_v;
        m[j] = sink;
        l[j] = 1.0f; /* of the sink; without one nothing is left of it */
        delta[j] = 0;
        for (int i = lane; i < a.dim_v; i += 32) delta[j] = fmaf(dout[(mine + j) * dim_v + i], out[i], delta[j]);
        delta[j] = warp_sum(delta[j]);
        #pragma unroll
        for (int c = 0; c < DIMS; c++) acc[j][c] = 0;
    }
    for (int page = low / PAGE; page * PAGE < high; page++) {
        const char *from = a.k + pages[page] * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k;
        block_sync(); /* nobody reads the last keys any more */
        fetch_page(k, dim_k + 4, from, a.row_bytes_k, a.dim_k, low - page * PAGE, high - page * PAGE, a.type);
        block_sync();
        dots<A_WARP>(s, q + mine * dim_k, dim_k, k + lane * (dim_k + 4), dim_k);
        #pragma unroll
        for (int j = 0; j < A_WARP; j++) {
            s[j] = score_of(s[j], a.scale, a.softcap, &slope);
            if (!sees(a, row0 + mine + j, page * PAGE + lane)) s[j] = NOTHING;
            const float next = fmaxf(m[j], warp_max(s[j])), zero = finite_or_0(next);
            l[j] = fmaf(l[j], expf(m[j] - zero), warp_sum(expf(s[j] - zero)));
            m[j] = next;
        }
    }
    #pragma unroll
    for (int j = 0; j < A_WARP; j++) {
        l[j] = 1.0f / l[j];
        if (lane || row0 + mine + j >= rows) continue;
        a.stats[(i64)head * a.n + first + row0 + mine + j] = make_float4(m[j], l[j], delta[j], 0.0f);
        if (a.sinks)
            a.sink_rows[(i64)(first + row0 + mine + j) * a.n_head + head] = expf(sink - m[j]) * l[j] * -delta[j];
    }
    for (int page = low / PAGE; page * PAGE < high; page++) {
        const char *k_from = a.k + pages[page] * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k;
        const char *v_from = a.v + pages[page] * a.page_bytes_v + (i64)head_kv * PAGE * a.row_bytes_v;
        float dp[A_WARP];
        block_sync(); /* nobody reads the last keys and values any more */
        fetch_page(k, dim_k + 4, k_from, a.row_bytes_k, a.dim_k, low - page * PAGE, high - page * PAGE, a.type);
        fetch_page(v, dim_v + 4, v_from, a.row_bytes_v, a.dim_v, low - page * PAGE, high - page * PAGE, a.type);
        block_sync();
        dots<A_WARP>(s, q + mine * dim_k, dim_k, k + lane * (dim_k + 4), dim_k);
        dots<A_WARP>(dp, dout + mine * dim_v, dim_v, v + lane * (dim_v + 4), dim_v);
        #pragma unroll
        for (int j = 0; j < A_WARP; j++) {
            const float p = expf(score_of(s[j], a.scale, a.softcap, &slope) - m[j]) * l[j];
            ds[(mine + j) * PAGE + lane] =
                sees(a, row0 + mine + j, page * PAGE + lane) ? p * (dp[j] - delta[j]) * slope : 0.0f;
        }
        warp_sync(); /* a warp reads only its own */
        for (int slot = 0; slot < PAGE; slot++) {
            float e[A_WARP];
            #pragma unroll
            for (int j = 0; j < A_WARP; j++) e[j] = ds[(mine + j) * PAGE + slot];
            #pragma unroll
            for (int c = 0; c < DIMS; c++) {
                if (32 * c + lane >= a.dim_k) break;
                const float x = k[slot * (dim_k + 4) + 32 * c + lane];
                #pragma unroll
                for (int j = 0; j < A_WARP; j++) acc[j][c] = fmaf(e[j], x, acc[j][c]);
            }
        }
    }
    #pragma unroll
    for (int j = 0; j < A_WARP; j++) {
        float *to = a.dq + (first + row0 + mine + j) * a.stride + (i64)head * a.dim_k;
        if (row0 + mine + j >= rows) break;
        #pragma unroll
        for (int c = 0; c < DIMS; c++)
            if (32 * c + lane < a.dim_k) to[32 * c + lane] = acc[j][c];
    }
}

/* grid (keys of the longest run / 32, n_head_kv, n_runs), block 256: a warp 4 keys. shared floats: as
 * attention_back_q, with 8 queries, and with their probabilities. */
KERNEL __launch_bounds__(256) attention_back_kv(const attention_back_args a)
{
    extern __shared__ float4 shared[];
    const int dim_k = (a.dim_k + 3) / 4 * 4, dim_v = (a.dim_v + 3) / 4 * 4, lane = threadIdx.x % 32,
              warp = threadIdx.x / 32, group = a.n_head / a.n_head_kv, head_kv = blockIdx.y;
    const int *run = a.runs + 4 * blockIdx.z;
    const int first = run[0], rows = run[1], key0 = blockIdx.x * PAGE;
    const int end = a.window > 0 ? min(rows, key0 + PAGE - 1 + a.window) : rows;
    float *q = (float *)shared, *dout = q + BACK_KEYS_QUERIES * dim_k, *k = dout + BACK_KEYS_QUERIES * dim_v,
          *v = k + PAGE * (dim_k + 4), *ps = v + PAGE * (dim_v + 4), *ds = ps + BACK_KEYS_QUERIES * PAGE;
    float acc_k[A_WARP][DIMS], acc_v[A_WARP][DIMS];
    if (key0 >= rows) return;
    const i64 page = a.pages[(i64)blockIdx.z * a.pages_a_seq + blockIdx.x];
    fetch_page(k, dim_k + 4, a.k + page * a.page_bytes_k + (i64)head_kv * PAGE * a.row_bytes_k, a.row_bytes_k, a.dim_k,
               0, rows - key0, a.type);
    fetch_page(v, dim_v + 4, a.v + page * a.page_bytes_v + (i64)head_kv * PAGE * a.row_bytes_v, a.row_bytes_v, a.dim_v,
               0, rows - key0, a.type);
    #pragma unroll
    for (int j = 0; j < A_WARP; j++)
        #pragma unroll
        for (int c = 0; c < DIMS; c++) acc_k[j][c] = acc_v[j][c] = 0;
    for (int head = head_kv * group; head < (head_kv + 1) * group; head++)
        for (int row0 = key0; row0 < end; row0 += BACK_KEYS_QUERIES) {
            const int row = row0 + warp;
            float product[1], dp[1], slope;
            block_sync(); /* nobody reads the last queries any more */
            fetch_heads(q, dim_k, a.q + first * a.q_stride + (i64)head * a.dim_k, a.q_stride, row0, rows,
                        BACK_KEYS_QUERIES, a.dim_k);
            fetch_heads(dout, dim_v, a.dout + first * a.out_stride + (i64)head * a.dim_v, a.out_stride, row0, rows,
                        BACK_KEYS_QUERIES, a.dim_v);
            block_sync();
            dots<1>(product, q + warp * dim_k, dim_k, k + lane * (dim_k + 4), dim_k);
            dots<1>(dp, dout + warp * dim_v, dim_v, v + lane * (dim_v + 4), dim_v);
            const bool seen = row < rows && sees(a, row, key0 + lane);
            const float4 stats = a.stats[(i64)head * a.n + first + min(row, rows - 1)];
            const float s = score_of(product[0], a.scale, a.softcap, &slope),
                        p = seen ? expf(s - stats.x) * stats.y : 0.0f;
            ps[warp * PAGE + lane] = p;
            ds[warp * PAGE + lane] = seen ? p * (dp[0] - stats.z) * slope : 0.0f;
            block_sync(); /* all probabilities are there */
            for (int query = 0; query < BACK_KEYS_QUERIES; query++) {
                const float *of_v = ps + query * PAGE + warp * A_WARP, *of_k = ds + query * PAGE + warp * A_WARP;
                #pragma unroll
                for (int c = 0; c < DIMS; c++) {
                    if (32 * c >= max(dim_k, dim_v)) break;
                    const float x = 32 * c + lane < dim_k ? q[query * dim_k + 32 * c + lane] : 0.0f,
                                y = 32 * c + lane < dim_v ? dout[query * dim_v + 32 * c + lane] : 0.0f;
                    #pragma unroll
                    for (int j = 0; j < A_WARP; j++) {
                        acc_k[j][c] = fmaf(of_k[j], x, acc_k[j][c]);
                        acc_v[j][c] = fmaf(of_v[j], y, acc_v[j][c]);
                    }
                }
            }
        }
    #pragma unroll
    for (int j = 0; j < A_WARP; j++) {
        const int key = key0 + warp * A_WARP + j;
        if (key >= rows) break;
        float *dk = a.dk + (first + key) * a.stride + (i64)head_kv * a.dim_k,
              *dv = a.dv + (first + key) * a.stride + (i64)head_kv * a.dim_v;
        #pragma unroll
        for (int c = 0; c < DIMS; c++) {
            if (32 * c + lane < a.dim_k) dk[32 * c + lane] = acc_k[j][c];
            if (32 * c + lane < a.dim_v) dv[32 * c + lane] = acc_v[j][c];
        }
    }
}
#endif
