/* attention: tensor cores over a cache of halves or Q8_0. -DHEAD_DIM=d (a multiple of 16 up to 256, K and V alike)
 * -DKV=0 F16, 1 Q8_0. Needs prelude, attention_args. Products are of halves, sums are float.
 *
 * All query heads of a kv head share what is read of the cache: a "query" is one head of one row. g = lane / 4, t =
 * lane % 4. */

enum {
    D = HEAD_DIM,
    CHUNKS = D / 8, /* 16-byte pieces of a row of halves */
    ROW_BYTES = KV == KV_F16 ? 2 * D : D / 32 * 34
};

/* 8 values from 8 * chunk of a row of the cache, as halves. */
DEVICE uint4 load_8(const char *row, int chunk)
{
    if (KV == KV_F16) return load_stream(row + 16 * chunk);
    const u16 *block = (const u16 *)(row + chunk / 4 * 34), *q = block + 1 + chunk % 4 * 4;
    const float d = h2f(__ldg(block));
    u32 r[4];
    #pragma unroll
    for (int j = 0; j < 4; j++) {
        const u32 two = __ldg(q + j);
        r[j] = f2h2(d * (float)(i8)(two & 255), d * (float)(i8)(two >> 8));
    }
    return make_uint4(r[0], r[1], r[2], r[3]);
}

/* ---- few rows: one row, up to 8 query heads of a kv head, one part of the cache ---------------------------------- */

/* Warps take pages in turn, and read K and V straight into the operands of mma: which of its values a thread calls
 * number k of a product is free as long as both operands agree. K: value 8t + j of 32 is k = 2t + j (j < 2), 2t + 8 + j
 * - 2 (j < 4) of the first product, and so on in the second. V: pairs of keys are joined by byte_perm. Rows 8-15 of
 * the products are not used: reading the cache is all that takes time. */
enum {
    FEW_QUERIES = 8,
    FEW_WIDTH = (D + 63) / 64 * 64,
    FEW_KEYS = D > 128 ? 16 : 32,
    K_STEPS = (D + 31) / 32,
    V_STEPS = (D + 63) / 64,
    FEW_Q = D > 128 && KV == KV_F16 ? 1 : K_STEPS
};

/* of query g: o[8 v + j][i] is value 64 v + 8 (2t + i) + j */
struct few_state {
    float o[V_STEPS * 8][2], m, l;
};
/* Results keep this order on their way: number 64 v + 8 j + n is value 64 v + 8 n + j (none, when that is D or
 * more). */

/* FEW_KEYS keys, of which those at low .. high count. */
DEVICE void few_keys(few_state &state, const uint4 q[FEW_Q], const uint4 *q_shared, const char *k, const char *v,
                     int low, int high, float scale, float softcap, int g, int t)
{
    const uint4 zero = make_uint4(0, 0, 0, 0);
    const u32 none = 0;
    if (FEW_Q == 1) warp_sync(); /* lest the compiler carries q in registers through the loop */
    float s[FEW_KEYS / 8][2], top = NOTHING;
    #pragma unroll
    for (int j = 0; j < FEW_KEYS / 8; j++) {
        const int key = 8 * j + g;
        float d[4] = { 0, 0, 0, 0 };
        #pragma unroll
        for (int c = 0; c < K_STEPS; c++) {
            const bool there = key >= low && key < high && (D % 32 == 0 || 4 * c + t < CHUNKS);
            const uint4 x = there ? load_8(k + key * ROW_BYTES, 4 * c + t) : zero;
            const uint4 y = FEW_Q == 1 ? q_shared[32 * c + 4 * g + t] : q[FEW_Q == 1 ? 0 : c];
            const u32 a0[4] = { y.x, none, y.y, none }, b0[2] = { x.x, x.y }, a1[4] = { y.z, none, y.w, none },
                      b1[2] = { x.z, x.w };
            mma_f16(d, a0, b0);
            mma_f16(d, a1, b1);
        }
        #pragma unroll
        for (int i = 0; i < 2; i++) s[j][i] = d[i] * scale;
    }
    /* not above: the compiler asks for all of K at once only where no branch lies between */
    if (softcap > 0) {
        #pragma unroll
        for (int j = 0; j < FEW_KEYS / 8; j++)
            #pragma unroll
            for (int i = 0; i < 2; i++) s[j][i] = cap(s[j][i], softcap);
    }
    #pragma unroll
    for (int j = 0; j < FEW_KEYS / 8; j++)
        #pragma unroll
        for (int i = 0; i < 2; i++) {
            const int at = 8 * j + 2 * t + i;
            if (at < low || at >= high) s[j][i] = NOTHING;
            top = fmaxf(top, s[j][i]);
        }
    top = fmaxf(top, shfl_xor(top, 1));
    top = fmaxf(top, shfl_xor(top, 2));
    const float m = fmaxf(state.m, top), base = finite_or_0(m), c = fast_exp(state.m - base);
    float sum = 0;
    #pragma unroll
    for (int j = 0; j < FEW_KEYS / 8; j++)
        #pragma unroll
        for (int i = 0; i < 2; i++) {
            s[j][i] = fast_exp(s[j][i] - base);
            sum += s[j][i];
        }
    state.m = m;
    state.l = fmaf(state.l, c, sum);
    #pragma unroll
    for (int j = 0; j < V_STEPS * 8; j++) {
        state.o[j][0] *= c;
        state.o[j][1] *= c;
    }
    #pragma unroll
    for (int half = 0; half < FEW_KEYS / 16; half++) {
        const u32 p[4] = { f2h2(s[2 * half][0], s[2 * half][1]), none, f2h2(s[2 * half + 1][0], s[2 * half + 1][1]),
                           none };
        #pragma unroll
        for (int n = 0; n < V_STEPS; n++) {
            uint4 x[4];
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = 16 * half + 2 * t + i / 2 * 8 + i % 2;
                x[i] = key >= low && key < high && (D % 64 == 0 || 8 * n + g < CHUNKS)
                           ? load_8(v + key * ROW_BYTES, 8 * n + g)
                           : zero;
            }
            const u32 w[4][4] = { { x[0].x, x[0].y, x[0].z, x[0].w },
                                  { x[1].x, x[1].y, x[1].z, x[1].w },
                                  { x[2].x, x[2].y, x[2].z, x[2].w },
                                  { x[3].x, x[3].y, x[3].z, x[3].w } };
            #pragma unroll
            for (int j = 0; j < 8; j++) {
                const u32 order = j % 2 ? 0x7632 : 0x5410, b[2] = { __byte_perm(w[0][j / 2], w[1][j / 2], order),
                                                                    __byte_perm(w[2][j / 2], w[3][j / 2], order) };
                float d[4] = { state.o[8 * n + j][0], state.o[8 * n + j][1], 0, 0 };
                mma_f16(d, p, b);
                state.o[8 * n + j][0] = d[0];
                state.o[8 * n + j][1] = d[1];
            }
        }
    }
}

/* grid (splits, n_head_kv * groups of 8 query heads, rows), block 128. */
KERNEL __launch_bounds__(128, 2) attention_few(const attention_args a)
{
    __shared__ float o[4][FEW_QUERIES][FEW_WIDTH + 8], m[4][FEW_QUERIES], l[4][FEW_QUERIES];
    __shared__ uint4 q_shared[FEW_Q == 1 ? 32 * K_STEPS : 1];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4;
    const int row = a.rows[blockIdx.z], pos = a.pos[row], first = first_seen(pos, a.window),
              total = pos / PAGE - first / PAGE + 1;
    const int step = pages_a_split(total, a.max_splits), from = first / PAGE + (int)blockIdx.x * step,
              to = min(from + step, pos / PAGE + 1);
    const int group = a.n_head / a.n_head_kv, parts = (group + FEW_QUERIES - 1) / FEW_QUERIES,
              head_kv = blockIdx.y / parts;
    const int head = head_kv * group + (int)blockIdx.y % parts * FEW_QUERIES,
              n_queries = min(head_kv * group + group - head, (int)FEW_QUERIES);
    const int *pages = a.pages + (i64)a.run_of_row[row] * a.pages_a_seq;
    uint4 q[FEW_Q];
    few_state state;
    if (from >= to) return;
    #pragma unroll
    for (int c = 0; c < K_STEPS; c++) {
        float4 x = make_float4(0, 0, 0, 0), y = x;
        if (g < n_queries && (D % 32 == 0 || 4 * c + t < CHUNKS)) {
            const float4 *from_q = (const float4 *)(a.q + row * a.q_stride + (i64)(head + g) * D + 32 * c + 8 * t);
            x = from_q[0];
            y = from_q[1];
        }
        const uint4 halves = make_uint4(f2h2(x.x, x.y), f2h2(x.z, x.w), f2h2(y.x, y.y), f2h2(y.z, y.w));
        if (FEW_Q > 1)
            q[FEW_Q == 1 ? 0 : c] = halves;
        else if (warp == 0)
            q_shared[32 * c + lane] = halves;
    }
    if (FEW_Q == 1) block_sync();
    state.m = NOTHING;
    state.l = 0;
    #pragma unroll
    for (int j = 0; j < V_STEPS * 8; j++) state.o[j][0] = state.o[j][1] = 0;
    for (int page = from + warp; page < to; page += 4) {
        const i64 at = pages[page], inside = (i64)head_kv * PAGE * ROW_BYTES;
        const char *k = a.k + at * a.page_bytes_k + inside, *v = a.v + at * a.page_bytes_v + inside;
        #pragma unroll 1
        for (int key = 0; key < PAGE; key += FEW_KEYS)
            few_keys(state, q, q_shared, k + key * ROW_BYTES, v + key * ROW_BYTES, first - page * PAGE - key,
                     pos + 1 - page * PAGE - key, a.scale, a.softcap, g, t);
    }
    state.l += shfl_xor(state.l, 1);
    state.l += shfl_xor(state.l, 2);
    if (t == 0) {
        m[warp][g] = state.m;
        l[warp][g] = state.l;
    }
    #pragma unroll
    for (int j = 0; j < V_STEPS * 8; j++)
        *(float2 *)&o[warp][g][8 * j + 2 * t] = make_float2(state.o[j][0], state.o[j][1]);
    block_sync();
    for (int i = threadIdx.x; i < n_queries * (FEW_WIDTH / 4); i += 128) {
        const int query = i / (FEW_WIDTH / 4), at = i % (FEW_WIDTH / 4) * 4;
        float *part =
            a.parts + (((i64)blockIdx.z * a.n_head + head + query) * a.max_splits + blockIdx.x) * (4 + FEW_WIDTH);
        const float top = fmaxf(fmaxf(m[0][query], m[1][query]), fmaxf(m[2][query], m[3][query])),
                    base = finite_or_0(top);
        float4 sum = make_float4(0, 0, 0, 0);
        float all = 0;
        #pragma unroll
        for (int w = 0; w < 4; w++) {
            const float c = fast_exp(m[w][query] - base);
            const float4 x = *(const float4 *)&o[w][query][at];
            all = fmaf(l[w][query], c, all);
            sum.x = fmaf(x.x, c, sum.x);
            sum.y = fmaf(x.y, c, sum.y);
            sum.z = fmaf(x.z, c, sum.z);
            sum.w = fmaf(x.w, c, sum.w);
        }
        *(float4 *)(part + 4 + at) = sum;
        if (at == 0) {
            part[0] = top;
            part[1] = all;
        }
    }
    float *out = a.out + row * a.out_stride + (i64)head * D;
    join_parts<true>(a, &o[0][0][0], blockIdx.z, head, n_queries, (total + step - 1) / step, FEW_WIDTH,
                     [&](int query, int i, float4 x) {
                         const int at = i / 64 * 64 + i % 8 * 8 + i % 64 / 8;
                         float *to = out + query * D + at;
                         if (D % 64 == 0 || at < D) to[0] = x.x;
                         if (D % 64 == 0 || at + 8 < D) to[8] = x.y;
                         if (D % 64 == 0 || at + 16 < D) to[16] = x.z;
                         if (D % 64 == 0 || at + 24 < D) to[24] = x.w;
                     });
}

/* ---- many rows: 64 queries of a kv head, all of the cache that they see ------------------------------------------ */

/* A block walks over tiles of KEYS positions: while the products with K run, V is fetched, and the other way round.
 * Every warp has 16 queries. A row of a tile in shared memory is 16 bytes longer than its values: rows begin in
 * different banks. */
enum {
    KEYS = D > 128 ? 32 : 64,
    STRIDE = D + 8,     /* halves between rows of a tile */
    Q_SHARED = D > 128, /* so many values of q are kept in shared memory, not in registers */
    TILE_QUERIES = 64
};

/* Rows base .. base + KEYS of one kv head; those outside low .. high read as zeros. */
DEVICE void fetch_tile(half_t *tile, const char *cache, i64 page_bytes, i64 inside, const int *pages, int base, int low,
                       int high)
{
    #pragma unroll 4
    for (int i = threadIdx.x; i < KEYS * CHUNKS; i += 128) {
        const int key = i / CHUNKS, chunk = i % CHUNKS, at = base + key;
        const bool there = at >= low && at < high;
        const char *row = cache + inside;
        if (there) row += pages[at / PAGE] * page_bytes + at % PAGE * ROW_BYTES;
        if (KV == KV_F16)
            cp_async16(tile + key * STRIDE + 8 * chunk, there ? row + 16 * chunk : row, there);
        else
            *(uint4 *)(tile + key * STRIDE + 8 * chunk) = there ? load_8(row, chunk) : make_uint4(0, 0, 0, 0);
    }
    cp_commit();
}

/* Scores of 16 queries with KEYS keys: s[j] = d of keys 8j .. 8j + 7. */
DEVICE void many_scores(float s[KEYS / 8][4], const u32 q[Q_SHARED ? 1 : D / 16][4], const half_t *q_shared,
                        const half_t *k, int lane)
{
    const half_t *at = k + (lane / 16 * 8 + lane % 8) * STRIDE + lane / 8 % 2 * 8;
    #pragma unroll
    for (int j = 0; j < KEYS / 8; j++) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
    #pragma unroll
    for (int c = 0; c < D / 16; c++) {
        u32 from_shared[4];
        if (Q_SHARED) ldsm_x4(from_shared, q_shared + lane % 16 * STRIDE + 16 * c + lane / 16 * 8);
        #pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            u32 b[4];
            ldsm_x4(b, at + 16 * j * STRIDE + 16 * c);
            mma_f16(s[2 * j], Q_SHARED ? from_shared : q[Q_SHARED ? 0 : c], b);
            mma_f16(s[2 * j + 1], Q_SHARED ? from_shared : q[Q_SHARED ? 0 : c], b + 2);
        }
    }
}

/* o += p V, p in s. */
DEVICE void many_values(float o[D / 8][4], const float s[KEYS / 8][4], const half_t *v, int lane)
{
    const half_t *at = v + lane % 16 * STRIDE + lane / 16 * 8;
    #pragma unroll
    for (int c = 0; c < KEYS / 16; c++) {
        const u32 p[4] = { f2h2(s[2 * c][0], s[2 * c][1]), f2h2(s[2 * c][2], s[2 * c][3]),
                           f2h2(s[2 * c + 1][0], s[2 * c + 1][1]), f2h2(s[2 * c + 1][2], s[2 * c + 1][3]) };
        #pragma unroll
        for (int j = 0; j < D / 16; j++) {
            u32 b[4];
            ldsm_x4_trans(b, at + 16 * c * STRIDE + 16 * j);
            mma_f16(o[2 * j], p, b);
            mma_f16(o[2 * j + 1], p, b + 2);
        }
    }
}

/* Scores at base to exps, for the two queries of a thread (at positions pos[0], pos[1]); o, m and l follow the new
 * maxima. */
DEVICE void many_softmax(float s[KEYS / 8][4], float o[D / 8][4], float m[2], float l[2], const int pos[2], int base,
                         float scale, float softcap, int window, bool masked)
{
    if (softcap > 0) {
        #pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            #pragma unroll
            for (int i = 0; i < 4; i++) s[j][i] = cap(s[j][i] * scale, softcap);
        scale = 1;
    }
    if (masked) {
        #pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            #pragma unroll
            for (int i = 0; i < 4; i++) {
                const int key = base + 8 * j + (int)threadIdx.x % 4 * 2 + i % 2;
                if (key > pos[i / 2] || key < first_seen(pos[i / 2], window)) s[j][i] = NOTHING;
            }
    }
    #pragma unroll
    for (int r = 0; r < 2; r++) {
        float top = NOTHING, sum = 0;
        #pragma unroll
        for (int j = 0; j < KEYS / 8; j++) top = fmaxf(top, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
        top = fmaxf(top, shfl_xor(top, 1));
        top = fmaxf(top, shfl_xor(top, 2));
        const float next = fmaxf(m[r], top * scale), zero = finite_or_0(next), c = fast_exp(m[r] - zero);
        #pragma unroll
        for (int j = 0; j < KEYS / 8; j++)
            #pragma unroll
            for (int i = 2 * r; i < 2 * r + 2; i++) {
                s[j][i] = fast_exp(fmaf(s[j][i], scale, -zero));
                sum += s[j][i];
            }
        m[r] = next;
        l[r] = fmaf(l[r], c, sum);
        #pragma unroll
        for (int j = 0; j < D / 8; j++) {
            o[j][2 * r] *= c;
            o[j][2 * r + 1] *= c;
        }
    }
}

/* grid (tiles, n_head_kv * (n_head / n_head_kv)), block 128, shared (2 KEYS + Q_SHARED * 64) * STRIDE halves. Tile 64
 * rows * group queries, in order of row, is cut into group pieces of 64. */
KERNEL __launch_bounds__(128, 2) attention_many(const attention_args a)
{
    extern __shared__ uint4 shared[];
    half_t *k = (half_t *)shared, *v = k + KEYS * STRIDE, *q_shared = v + KEYS * STRIDE;
    const int *tile = a.rows + 4 * (gridDim.x - 1 - blockIdx.x); /* the long rows first */
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, g = lane / 4, t = lane % 4, row0 = tile[0];
    const int group = a.n_head / a.n_head_kv, head_kv = blockIdx.y / group,
              query0 = (int)blockIdx.y % group * TILE_QUERIES, n_queries = tile[1] * group;
    const int pos0 = a.pos[row0], *pages = a.pages + (i64)tile[2] * a.pages_a_seq;
    const int low = first_seen(pos0 + query0 / group, a.window),
              high = pos0 + min(query0 + TILE_QUERIES - 1, n_queries - 1) / group + 1;
    const int mine = query0 + 16 * warp, warp_low = pos0 + min(mine, n_queries - 1) / group,
              warp_high = pos0 + min(mine + 15, n_queries - 1) / group;
    const i64 inside = (i64)head_kv * PAGE * ROW_BYTES;
    u32 q[Q_SHARED ? 1 : D / 16][4];
    float o[D / 8][4], m[2], l[2];
    int pos[2];
    if (query0 >= n_queries) return;
    #pragma unroll
    for (int r = 0; r < 2; r++) {
        const int query = mine + g + 8 * r;
        const float *from =
            a.q + (row0 + query / group) * a.q_stride + (i64)(head_kv * group + query % group) * D + 2 * t;
        pos[r] = pos0 + min(query, n_queries - 1) / group;
        m[r] = NOTHING;
        l[r] = 0;
        #pragma unroll
        for (int c = 0; c < D / 16; c++)
            #pragma unroll
            for (int h = 0; h < 2; h++) {
                float2 x = make_float2(0, 0);
                if (query < n_queries) x = *(const float2 *)(from + 16 * c + 8 * h);
                if (Q_SHARED)
                    *(u32 *)(q_shared + (16 * warp + g + 8 * r) * STRIDE + 16 * c + 8 * h + 2 * t) = f2h2(x.x, x.y);
                else
                    q[Q_SHARED ? 0 : c][2 * h + r] = f2h2(x.x, x.y);
            }
    }
    #pragma unroll
    for (int j = 0; j < D / 8; j++) o[j][0] = o[j][1] = o[j][2] = o[j][3] = 0;
    fetch_tile(k, a.k, a.page_bytes_k, inside, pages, low / KEYS * KEYS, low, high);
    for (int base = low / KEYS * KEYS; base < high; base += KEYS) {
        float s[KEYS / 8][4];
        cp_wait<0>();
        block_sync(); /* K is there; nobody reads V any more */
        fetch_tile(v, a.v, a.page_bytes_v, inside, pages, base, low, high);
        many_scores(s, q, q_shared + 16 * warp * STRIDE, k, lane);
        many_softmax(s, o, m, l, pos, base, a.scale, a.softcap, a.window,
                     base + KEYS - 1 > warp_low || base < first_seen(warp_high, a.window));
        cp_wait<0>();
        block_sync(); /* V is there; nobody reads K any more */
        if (base + KEYS < high) fetch_tile(k, a.k, a.page_bytes_k, inside, pages, base + KEYS, low, high);
        many_values(o, s, v, lane);
    }
    #pragma unroll
    for (int r = 0; r < 2; r++) {
        const int query = mine + g + 8 * r, head = head_kv * group + query % group;
        float *to = a.out + (row0 + query / group) * a.out_stride + (i64)head * D + 2 * t, factor = 1;
        l[r] += shfl_xor(l[r], 1);
        l[r] += shfl_xor(l[r], 2);
        if (a.sinks) {
            const float top = fmaxf(m[r], a.sinks[head]);
            factor = fast_exp(m[r] - top);
            l[r] = fmaf(l[r], factor, fast_exp(a.sinks[head] - top));
        }
        factor /= l[r];
        if (query < n_queries)
            #pragma unroll
            for (int j = 0; j < D / 8; j++)
                *(float2 *)(to + 8 * j) = make_float2(o[j][2 * r] * factor, o[j][2 * r + 1] * factor);
    }
}
