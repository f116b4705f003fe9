/* matbatch: y (n, rows) = x (n, k) . W (rows, k)^T + bias, or y += that, for 2 to 64 rows of x and quantized W, read
 * once from the blocks of the file and multiplied as bytes by tensor cores: few enough rows that the bytes of W are
 * what takes time.
 *
 * A block of 4 warps makes TILES * 16 rows of W times up to GROUPS * 8 rows of x (-DGROUPS: 1, 4 or 8). Its warps take
 * segments of k in turn, each through its own shared memory, two ahead, and add their sums at the end. A step is 32
 * values of k: one m16n8k32 product per tile and group where a row of W has one scale for them, two where it has one
 * for 16 (the other half is zero then). In its fragment lane (g, t) has rows g and g + 8 of W at values 4t ... 4t + 3
 * and 16 + 4t ... 16 + 4t + 3, which in every format are the same bits of two words.
 *
 * -DEXPERTS: the rows of x that go through one expert's matrix are neighbours, padded to whole groups (experts.cu sorts
 * them); a block takes a tile of them from a map, and its results to the rows from which they came. What of the grid
 * lies after the map's end leaves at once.
 *
 * x comes in that order from quantize_tiles: per group of 8 rows and per 32 values of k: 32 lanes' 8 bytes; 8
 * scales; 2 x 8 sums of 16 (d * sum). */
#define WARPS 4
#define TILES 1
/* at least so many on a multiprocessor: limits registers */
#define BLOCKS (GROUPS == 1 ? 4 : GROUPS == 4 && !TWO_SCALES ? 3 : 2)
/* of 32 values, a segment: 256 values, 128 where they take twice the room */
#define STEPS         (PIECES == 1 && BLOCK_BYTES > 30 ? 4 : 8)
#define STAGES        3
#define SEGMENT_BYTES (STEPS * 32 / BLOCK * BLOCK_BYTES)
/* of a row's window; odd, so that eight rows lie in different banks */
#define CHUNKS ((SEGMENT_BYTES + 14 + 15) / 16 | 1)

#if TYPE == TYPE_Q4_0
    #define CENTER 8
#elif TYPE == TYPE_Q5_0
    #define CENTER 16
#elif TYPE == TYPE_Q6_K
    #define CENTER 32
#elif TYPE == TYPE_Q3_K
    #define CENTER 4
#elif !HAS_MIN
    #define CENTER 0
#endif /* none: m is the format's own */

#define TWO_SCALES (SCALE_VALUES == 16)

/* w 16-aligned; bias, add may be NULL; next: bytes to the next expert's */
struct matrix {
    const u8 *w;
    const float *bias, *add;
    float *y;
    i64 add_stride, y_stride, next;
    int rows;
};
struct matrices {
    matrix m[4];
    int n;
};
struct tiles {
    int k, n;
    i64 row_bytes;
    const uint2 *q;
    const float *d, *s;
};

/* A lane's share of 32 values of one row of W: bytes 4t.. and 16 + 4t.., scales and offsets of both halves (of the
 * whole in [0] when it has one). */
struct share {
    u32 q[2];
    float s[2], m[2];
};

template <int ALIGN> DEVICE u32 word_at(const u8 *p)
{
    u32 w;
    load_words<1, ALIGN>(p, &w);
    return w;
}

DEVICE share share_of(const u8 *block, int step, int t)
{
    share r;
    r.m[0] = r.m[1] = 0.0f;
#if BY_FOURS
    int first = 32 * (step % PIECES) + 4 * t;
    four a = decode_four(block, first), b = decode_four(block, first + 16);
    r.q[0] = a.q;
    r.q[1] = b.q;
    r.s[0] = a.s;
    r.s[1] = b.s;
    r.m[0] = a.m;
    r.m[1] = b.m;
#elif TYPE == TYPE_Q8_0
    r.q[0] = word_at<2>(block + 2 + 4 * t);
    r.q[1] = word_at<2>(block + 18 + 4 * t);
    r.s[0] = r.s[1] = half_of(block);
#elif PIECES == 1
    const int align = BLOCK_ALIGN < 4 ? 2 : 4;
    u32 q = word_at<align>(block + BLOCK_BYTES - 16 + 4 * t);
    r.q[0] = q & 0x0F0F0F0Fu;
    r.q[1] = q >> 4 & 0x0F0F0F0Fu;
    #if TYPE == TYPE_Q5_0 || TYPE == TYPE_Q5_1
    u32 qh = word_at<align>(block + BLOCK_BYTES - 20);
    r.q[0] |= spread_fifth(qh >> 4 * t);
    r.q[1] |= spread_fifth(qh >> (16 + 4 * t));
    #endif
    r.s[0] = r.s[1] = half_of(block);
    #if TYPE == TYPE_Q4_1 || TYPE == TYPE_Q5_1
    r.m[0] = -half_of(block + 2);
    #endif
#elif TYPE == TYPE_Q4_K || TYPE == TYPE_Q5_K
    const u32 *head = (const u32 *)block, *qs = (const u32 *)(block + BLOCK_BYTES - 128) + 8 * (step >> 1);
    int shift = 4 * (step & 1), at = 8 * (step & 3);
    r.q[0] = qs[t] >> shift & 0x0F0F0F0Fu;
    r.q[1] = qs[4 + t] >> shift & 0x0F0F0F0Fu;
    #if TYPE == TYPE_Q5_K
    const u32 *qh = head + 4;
    r.q[0] |= qh[t] >> step << 4 & 0x10101010u;
    r.q[1] |= qh[4 + t] >> step << 4 & 0x10101010u;
    #endif
    bool first = step < 4;
    u32 sc = first ? head[1] >> at & 63u : (head[3] >> at & 15u) | (head[1] >> at >> 2 & 48u);
    u32 mn = first ? head[2] >> at & 63u : (head[3] >> at >> 4 & 15u) | (head[2] >> at >> 2 & 48u);
    r.s[0] = r.s[1] = h2f((half_t)head[0]) * (float)sc;
    r.m[0] = h2f((half_t)(head[0] >> 16)) * (float)mn;
#elif TYPE == TYPE_Q6_K
    const u8 *ql = block + 64 * (step >> 2) + 32 * (step & 1) + 4 * t, *qh = block + 128 + 32 * (step >> 2) + 4 * t;
    int shift = 2 * (step & 2), high = 2 * (step & 3);
    r.q[0] = (word_at<2>(ql) >> shift & 0x0F0F0F0Fu) | (word_at<2>(qh) >> high << 4 & 0x30303030u);
    r.q[1] = (word_at<2>(ql + 16) >> shift & 0x0F0F0F0Fu) | (word_at<2>(qh + 16) >> high << 4 & 0x30303030u);
    float d = half_of(block + 208);
    const i8 *sc = (const i8 *)block + 192 + 2 * step;
    r.s[0] = d * (float)sc[0];
    r.s[1] = d * (float)sc[1];
#else
    const u8 *qs = block + (TYPE == TYPE_Q2_K ? 16 : 32) + 32 * (step >> 2) + 4 * t;
    int shift = 2 * (step & 3);
    r.q[0] = word_at<BLOCK_ALIGN>(qs) >> shift & 0x03030303u;
    r.q[1] = word_at<BLOCK_ALIGN>(qs + 16) >> shift & 0x03030303u;
    #if TYPE == TYPE_Q2_K
    float d = half_of(block + 80), dmin = half_of(block + 82);
    u32 a = block[2 * step], b = block[2 * step + 1];
    r.s[0] = d * (float)(a & 15u);
    r.s[1] = d * (float)(b & 15u);
    r.m[0] = dmin * (float)(a >> 4);
    r.m[1] = dmin * (float)(b >> 4);
    #else
    r.q[0] |= word_at<2>(block + 4 * t) >> step << 2 & 0x04040404u;
    r.q[1] |= word_at<2>(block + 16 + 4 * t) >> step << 2 & 0x04040404u;
    /* sub-blocks 2 step and 2 step + 1 */
    const u8 *sc = block + 96 + (2 * step & 7), *top = block + 104 + (2 * step & 3);
    int low = 4 * (step >> 2), high = 2 * (step >> 1);
    float d = half_of(block + 108);
    r.s[0] = d * (float)((int)((sc[0] >> low & 15) | (top[0] >> high & 3) << 4) - 32);
    r.s[1] = d * (float)((int)((sc[1] >> low & 15) | (top[1] >> high & 3) << 4) - 32);
    #endif
#endif
    return r;
}

/* The window of a lane's row (lane / 2 of the tile) at a segment; two lanes copy a row. */
DEVICE void fetch_row(const u8 *row, const u8 *limit, i64 row_bytes, int segment, uint4 *to, int odd)
{
    const u8 *begin = row + (i64)segment * SEGMENT_BYTES, *first = begin - ((u64)begin & 15);
    const u8 *end = (i64)(segment + 1) * SEGMENT_BYTES < row_bytes ? begin + SEGMENT_BYTES : row + row_bytes;
    int units = (int)(end - first + 15) >> 4, whole = first + 16 * units <= limit ? units : units - 1;
    #pragma unroll
    for (int i = 0; i < (CHUNKS + 1) / 2; i++)
        if (2 * i + odd < whole) cp_async16(to + 2 * i + odd, first + 16 * (2 * i + odd), true);
    if (whole < units && odd == 0) /* W ends within the last unit */
        #pragma unroll 1
        for (int b = 0; b < 16 && first + 16 * whole + b < limit; b += 2)
            *(u16 *)((u8 *)(to + whole) + b) = *(const u16 *)(first + 16 * whole + b);
}

/* sum += s * d_x * (q . q_x) - m * s_x for the four results of a lane: rows g and g + 8 of W, rows 2t and 2t + 1 of
 * x. */
DEVICE void add_product(float sum[4], const int dot[4], float s_low, float s_high, float m_low, float m_high, float2 d,
                        float2 s)
{
#ifdef CENTER
    sum[0] = fmaf(s_low, fmaf(d.x, (float)dot[0], -(float)CENTER * s.x), sum[0]);
    sum[1] = fmaf(s_low, fmaf(d.y, (float)dot[1], -(float)CENTER * s.y), sum[1]);
    sum[2] = fmaf(s_high, fmaf(d.x, (float)dot[2], -(float)CENTER * s.x), sum[2]);
    sum[3] = fmaf(s_high, fmaf(d.y, (float)dot[3], -(float)CENTER * s.y), sum[3]);
#else
    sum[0] = fmaf(s_low, d.x * (float)dot[0], fmaf(-m_low, s.x, sum[0]));
    sum[1] = fmaf(s_low, d.y * (float)dot[1], fmaf(-m_low, s.y, sum[1]));
    sum[2] = fmaf(s_high, d.x * (float)dot[2], fmaf(-m_high, s.x, sum[2]));
    sum[3] = fmaf(s_high, d.y * (float)dot[3], fmaf(-m_high, s.y, sum[3]));
#endif
}

/* One step: 32 values of k. block: this lane's rows g and g + 8 of each tile, at its block. */
DEVICE void multiply(const tiles &x, i64 step_of_row, int step, const u8 *(*block)[2], int lane,
                     float (*sum)[GROUPS][4])
{
    int t = lane & 3, n_steps = x.k / 32;
    share w[TILES][2];
    #pragma unroll
    for (int i = 0; i < TILES; i++) {
        w[i][0] = share_of(block[i][0], step, t);
        w[i][1] = share_of(block[i][1], step, t);
    }
    #pragma unroll
    for (int j = 0; j < GROUPS; j++) {
        if (j > 0 && 8 * j >= x.n) break;
        i64 at = (i64)j * n_steps + step_of_row;
        uint2 q = x.q[at * 32 + lane];
        u32 b[2] = { q.x, q.y };
        float2 d = *(const float2 *)(x.d + at * 8 + 2 * t), s0 = make_float2(0.0f, 0.0f), s1 = s0;
#if HAS_MIN
        s0 = *(const float2 *)(x.s + at * 16 + 2 * t);
        s1 = *(const float2 *)(x.s + at * 16 + 8 + 2 * t);
#endif
        #pragma unroll
        for (int i = 0; i < TILES; i++) {
            const share &lo = w[i][0], &hi = w[i][1];
            int dot[4] = { 0, 0, 0, 0 };
#if TWO_SCALES
            u32 a[4] = { lo.q[0], hi.q[0], 0u, 0u }, c[4] = { 0u, 0u, lo.q[1], hi.q[1] };
            int dot1[4] = { 0, 0, 0, 0 };
            mma_s8(dot, a, b);
            mma_s8(dot1, c, b);
            add_product(sum[i][j], dot, lo.s[0], hi.s[0], lo.m[0], hi.m[0], d, s0);
            add_product(sum[i][j], dot1, lo.s[1], hi.s[1], lo.m[1], hi.m[1], d, s1);
#else
            u32 a[4] = { lo.q[0], hi.q[0], lo.q[1], hi.q[1] };
            mma_s8(dot, a, b);
            add_product(sum[i][j], dot, lo.s[0], hi.s[0], lo.m[0], hi.m[0], d, make_float2(s0.x + s1.x, s0.y + s1.y));
#endif
        }
    }
}

/* row_of: where the results of row j of x go; NULL: to row j. */
DEVICE void matbatch_tile(const matrices &ms, const tiles &x, int expert, const int *row_of, uint4 *memory)
{
    const int ROWS = 16 * TILES, STAGE = ROWS * CHUNKS; /* rows of W of a block; 16-byte units of a warp's stage */
    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, g = lane >> 2, tile = (int)blockIdx.x, which = 0;
    while (which < ms.n - 1 && tile >= (ms.m[which].rows + ROWS - 1) / ROWS)
        tile -= (ms.m[which++].rows + ROWS - 1) / ROWS;
    const matrix &m = ms.m[which];
    const u8 *w = m.w + expert * m.next, *limit = w + (i64)m.rows * x.row_bytes, *from[TILES];
    int first = tile * ROWS, n_segments = (x.k / 32 + STEPS - 1) / STEPS;
    uint4 *stages = memory + warp * STAGES * STAGE;
    float sum[TILES][GROUPS][4];
    int phase[TILES][2]; /* of rows g and g + 8: where they begin within their window, at segment 0 */
    #pragma unroll
    for (int i = 0; i < TILES; i++) {
        from[i] = w + (i64)min(first + 16 * i + (lane >> 1), m.rows - 1) * x.row_bytes;
        #pragma unroll
        for (int h = 0; h < 2; h++)
            phase[i][h] = (int)((u64)(w + (i64)min(first + 16 * i + 8 * h + g, m.rows - 1) * x.row_bytes) & 15);
        #pragma unroll
        for (int j = 0; j < GROUPS; j++)
            #pragma unroll
            for (int e = 0; e < 4; e++) sum[i][j][e] = 0.0f;
    }
    for (int s = 0; s < STAGES - 1; s++) {
        if (warp + s * WARPS < n_segments)
            #pragma unroll
            for (int i = 0; i < TILES; i++)
                fetch_row(from[i], limit, x.row_bytes, warp + s * WARPS,
                          stages + s * STAGE + (16 * i + (lane >> 1)) * CHUNKS, lane & 1);
        cp_commit();
    }
    int slot = 0;
    for (int segment = warp; segment < n_segments; segment += WARPS) {
        cp_wait<STAGES - 2>();
        warp_sync(); /* all lanes' copies are there, and all are done with the slot before */
        int free_slot = slot == 0 ? STAGES - 1 : slot - 1, ahead = segment + (STAGES - 1) * WARPS;
        if (ahead < n_segments)
            #pragma unroll
            for (int i = 0; i < TILES; i++)
                fetch_row(from[i], limit, x.row_bytes, ahead,
                          stages + free_slot * STAGE + (16 * i + (lane >> 1)) * CHUNKS, lane & 1);
        cp_commit();
        const u8 *row[TILES][2];
        #pragma unroll
        for (int i = 0; i < TILES; i++)
            #pragma unroll
            for (int h = 0; h < 2; h++)
                row[i][h] = (const u8 *)(stages + slot * STAGE + (16 * i + 8 * h + g) * CHUNKS) +
                            ((phase[i][h] + (int)((i64)segment * SEGMENT_BYTES & 15)) & 15);
        int steps = min(STEPS, x.k / 32 - segment * STEPS);
#if PIECES > 1
#pragma unroll 2
#endif
        for (int step = 0; step < steps; step++) {
            const u8 *block[TILES][2];
            #pragma unroll
            for (int i = 0; i < TILES; i++)
                #pragma unroll
                for (int h = 0; h < 2; h++)
                    block[i][h] = row[i][h] + (PIECES == 8 ? 0 : step / PIECES * BLOCK_BYTES);
            multiply(x, (i64)segment * STEPS + step, step, block, lane, sum);
        }
        slot = slot == STAGES - 1 ? 0 : slot + 1;
    }
    cp_wait<0>();
    block_sync(); /* stages are free: the warps' sums go there, (GROUPS * 8, ROWS) a warp */
    float *all = (float *)memory;
    #pragma unroll
    for (int i = 0; i < TILES; i++)
        #pragma unroll
        for (int j = 0; j < GROUPS; j++)
            #pragma unroll
            for (int e = 0; e < 4; e++)
                all[(warp * GROUPS * 8 + j * 8 + (lane & 3) * 2 + (e & 1)) * (ROWS + 1) + 16 * i + g + (e >> 1) * 8] =
                    sum[i][j][e];
    block_sync();
    for (int id = (int)threadIdx.x; id < GROUPS * 8 * ROWS; id += 32 * WARPS) {
        int r = id % ROWS, j = id / ROWS;
        if (first + r >= m.rows || j >= x.n) continue;
        float v = 0.0f;
        for (int part = 0; part < WARPS; part++) v += all[(part * GROUPS * 8 + j) * (ROWS + 1) + r];
        const i64 row = row_of ? row_of[j] : j;
        if (m.bias) v += m.bias[first + r];
        if (m.add) v += m.add[row * m.add_stride + first + r];
        m.y[row * m.y_stride + first + r] = v;
    }
}

#define STAGES_16 (WARPS * STAGES * TILES * 16 * CHUNKS)
#define SUMS_16   ((WARPS * GROUPS * 8 * (16 * TILES + 1) + 3) / 4)

#ifdef EXPERTS
/* of experts.cu */
struct sorted {
    const int4 *map;
    const int *order, *total;
    int share;
};

KERNEL __launch_bounds__(32 * WARPS, BLOCKS) matbatch_experts(const matrices ms, tiles x, const sorted rows)
{
    __shared__ uint4 memory[STAGES_16 > SUMS_16 ? STAGES_16 : SUMS_16];
    if ((int)blockIdx.y >= rows.total[0]) return;
    int4 tile = rows.map[blockIdx.y];            /* expert, first place, rows */
    i64 steps = (i64)(tile.y >> 3) * (x.k / 32); /* groups before the tile's */
    x.n = tile.z;
    x.q += steps * 32;
    x.d += steps * 8;
    x.s += steps * 16;
    matbatch_tile(ms, x, tile.x, rows.order + tile.y, memory);
}
#else
KERNEL __launch_bounds__(32 * WARPS, BLOCKS) matbatch(const matrices ms, const tiles x)
{
    __shared__ uint4 memory[STAGES_16 > SUMS_16 ? STAGES_16 : SUMS_16];
    matbatch_tile(ms, x, 0, (const int *)0, memory);
}
#endif
