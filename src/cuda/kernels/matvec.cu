/* matvec: y (n, rows) = x (n, k) . W (rows, k)^T + bias, or y += that, for 1 to 8 rows of x: limited by the bytes of W,
 * which are read once, straight from the blocks of the file.
 *
 * A warp has ROWS neighbouring rows of W at a time and walks along them in segments of SEGMENT values. Segments are
 * copied to the warp's own shared memory as they lie in the file, in aligned units of 16 bytes (rows begin at any even
 * address), STAGES - 1 of them ahead: the copies need no registers, so enough bytes are under way to fill the memory's
 * latency, also from one row of W to the next. Warps share nothing.
 *
 * Quantized types: x as bytes, scales and sums of 16 (quantize.cu). A lane has one piece of 32 values of a segment: 8
 * integer dot products of 4, then sum += s * d_x * (q . q_x) - m * s_x. One row of x is quantized by every block for
 * itself, into dynamic shared memory, while its first segments are on their way: cheaper than one more launch. -DFAR: x
 * has been quantized before, because k is large. Floats: x is float32, a lane has two groups of 16 bytes.
 *
 * Up to four matrices of one type and one k in a launch. Rows of x beyond n are computed as copies of the last and not
 * stored. -DBATCH: the kernels for more than one row, which a program that answers one user may never need.
 * -DEXPERTS: row r of y by matrix ids[r] of a pile of matrices, for r = blockIdx.y; `share` neighbouring rows of y read
 * one row of x. The ids are read here, so that the host need not know them. */
#define WARPS 4
#define ROWS  2
/* of a multiprocessor, at least: the compiler may take as many registers (Q6_K: more of them save instructions) */
#define BLOCKS (TYPE == TYPE_Q6_K ? 1 : 4)
#if !IS_FLOAT && !defined(FAR)
    #define NEAR 1
#else
    #define NEAR 0
#endif

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

#if IS_FLOAT
    #define VALUES  (16 / BLOCK_BYTES) /* values in 16 bytes */
    #define SEGMENT (64 * VALUES)
#else
    #define SEGMENT 1024
#endif
#define SEGMENT_BYTES (SEGMENT / BLOCK * BLOCK_BYTES)
/* a segment begins up to 14 bytes after an aligned address */
#define WINDOW ((SEGMENT_BYTES + 14 + 15) / 16 * 16)
#define STAGES (SEGMENT_BYTES > 800 ? 3 : 4)

struct operand {
    int k, n;
    i64 row_bytes;
    const void *x;
    i64 x_stride;
    const float *d, *s;
};

/* Where a warp is: a segment of a group of ROWS rows of an expert's matrices (there is only expert 0 without
 * EXPERTS). Kept up to date instead of computed, since addresses are what a warp spends most instructions on. */
struct place {
    int group, left; /* left: bytes of a row from here on */
    bool limited;    /* the end of the matrix is in these rows and not 16-aligned: */
    const u8 *limit;
    /* of each row's segment: what the lane copies first, 16-aligned; how far after lane 0's the segment begins */
    const u8 *from[ROWS];
    int phase[ROWS];
};

DEVICE int groups_of(const matrix &m) { return (m.rows + ROWS - 1) / ROWS; }

/* The matrix of a group, and the group within it. */
DEVICE const matrix &matrix_of(const matrices &ms, int *group)
{
    int i = 0;
    while (i < ms.n - 1 && *group >= groups_of(ms.m[i])) *group -= groups_of(ms.m[i++]);
    return ms.m[i];
}

/* How far after an aligned address a row's segment begins. */
DEVICE int phase_of(const u8 *at)
{
#if !IS_FLOAT && BLOCK_ALIGN == 16
    (void)at;
    return 0;
#else
    return (int)((u64)at & 15);
#endif
}

/* To the begin of a group; nothing beyond the last. */
DEVICE void seek(place *p, const matrices &ms, int n_groups, int group, i64 row_bytes, int expert, int lane)
{
    p->group = group;
    if (group >= n_groups) return;
    const matrix &m = matrix_of(ms, &group);
    p->left = (int)row_bytes;
    const u8 *w = m.w + expert * m.next;
    p->limit = w + (i64)m.rows * row_bytes;
    p->limited = ((u64)p->limit & 15) != 0 && (group + 1) * ROWS >= m.rows;
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u8 *at = w + (i64)min(group * ROWS + r, m.rows - 1) * row_bytes;
        p->phase[r] = phase_of(at);
        p->from[r] = at - p->phase[r] + 16 * lane;
    }
}

DEVICE void step(place *p, const matrices &ms, int n_groups, int warps, i64 row_bytes, int expert, int lane)
{
    p->left -= SEGMENT_BYTES;
    if (p->left <= 0) {
        seek(p, ms, n_groups, p->group + warps, row_bytes, expert, lane);
        return;
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++) {
        if (SEGMENT_BYTES % 16 == 0) {
            p->from[r] += SEGMENT_BYTES;
        } else {
            const u8 *at = p->from[r] + p->phase[r] + SEGMENT_BYTES;
            p->phase[r] = phase_of(at);
            p->from[r] = at - p->phase[r];
        }
    }
}

DEVICE void fetch(const place &p, u8 *stage, int lane)
{
    int bytes = min(p.left, SEGMENT_BYTES), units[ROWS];
    u8 *to = stage + 16 * lane;
    #pragma unroll
    for (int r = 0; r < ROWS; r++) units[r] = (p.phase[r] + bytes + 15) >> 4;
    if (p.limited) {
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const u8 *last = p.from[r] + 16 * units[r] - 16; /* for lane 0, the last unit */
            if (last - 16 * lane + 16 <= p.limit) continue;
            units[r]--; /* W ends within it */
            if (lane < 8 && last - 14 * lane < p.limit)
                *(u16 *)(to + r * WINDOW + 16 * units[r] - 14 * lane) = *(const u16 *)(last - 14 * lane);
        }
    }
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int i = 0; i < (WINDOW / 16 + 31) / 32; i++)
            if (lane + 32 * i < units[r]) cp_async16(to + r * WINDOW + 512 * i, p.from[r] + 512 * i, true);
}

#if IS_FLOAT
/* VALUES values at p, of which the first `there` exist; the others are 0. */
DEVICE void load_values(const u8 *p, int there, float *v)
{
    if (there >= VALUES && ((u64)p & 15) == 0) {
        uint4 u = *(const uint4 *)p;
        u32 w[4] = { u.x, u.y, u.z, u.w };
        #pragma unroll
        for (int i = 0; i < 4; i++) {
    #if TYPE == TYPE_F32
            v[i] = __uint_as_float(w[i]);
    #elif TYPE == TYPE_F16
            v[2 * i] = h2f((half_t)w[i]);
            v[2 * i + 1] = h2f((half_t)(w[i] >> 16));
    #else
            v[2 * i] = __uint_as_float(w[i] << 16);
            v[2 * i + 1] = __uint_as_float(w[i] & 0xFFFF0000u);
    #endif
        }
    } else {
        #pragma unroll
        for (int i = 0; i < VALUES; i++) v[i] = i < there ? float_at(p, i) : 0.0f;
    }
}
DEVICE void load_x(const float *p, int there, float *v)
{
    if (there >= VALUES && ((u64)p & 15) == 0) {
        #pragma unroll
        for (int i = 0; i < VALUES / 4; i++) {
            float4 u = ((const float4 *)p)[i];
            v[4 * i] = u.x;
            v[4 * i + 1] = u.y;
            v[4 * i + 2] = u.z;
            v[4 * i + 3] = u.w;
        }
    } else {
        #pragma unroll
        for (int i = 0; i < VALUES; i++) v[i] = i < there ? p[i] : 0.0f;
    }
}

template <int N> DEVICE void consume(const operand &o, int segment, const u8 *const *row, int lane, float (*sum)[N])
{
    #pragma unroll
    for (int part = 0; part < 2; part++) {
        int at = (part * 32 + lane) * VALUES, there = o.k - segment * SEGMENT - at;
        if (there <= 0) continue;
        float w[ROWS][VALUES];
        #pragma unroll
        for (int r = 0; r < ROWS; r++) load_values(row[r] + at * BLOCK_BYTES, there, w[r]);
        #pragma unroll
        for (int j = 0; j < N; j++) {
            float x[VALUES];
            load_x((const float *)o.x + (i64)min(j, o.n - 1) * o.x_stride + segment * SEGMENT + at, there, x);
            #pragma unroll
            for (int r = 0; r < ROWS; r++)
                #pragma unroll
                for (int i = 0; i < VALUES; i++) sum[r][j] = fmaf(w[r][i], x[i], sum[r][j]);
        }
    }
}

#else
DEVICE int dot16(const int *w, uint4 x, int c)
{
    return dot4(w[3], (int)x.w, dot4(w[2], (int)x.z, dot4(w[1], (int)x.y, dot4(w[0], (int)x.x, c))));
}

/* Where value `first` + half_at(half) of x is, first the start of a block. In shared memory the halves of every other
 * four blocks of 32 change places: lanes that read at once read from different banks. */
DEVICE i64 place_of(i64 first, int at) { return first + (NEAR && ONE_SCALE ? at ^ (int)(first >> 3 & 16) : at); }

template <int N> DEVICE void consume(const operand &o, int segment, const u8 *const *row, int lane, float (*sum)[N])
{
    int block = lane / PIECES, which = lane % PIECES, first = segment * SEGMENT + block * BLOCK;
    if (first >= o.k) return;
    piece p[ROWS];
    #pragma unroll
    for (int r = 0; r < ROWS; r++) decode_piece(row[r] + block * BLOCK_BYTES, which, &p[r]);
    #pragma unroll
    for (int j = 0; j < N; j++) {
        i64 at = (i64)min(j, o.n - 1) * o.k + first, at0 = at + half_at(which, 0), at1 = at + half_at(which, 1);
        uint4 x0 = *(const uint4 *)((const i8 *)o.x + place_of(at, half_at(which, 0))),
              x1 = *(const uint4 *)((const i8 *)o.x + place_of(at, half_at(which, 1)));
    #if ONE_SCALE
        float d = o.d[at0 >> 5];
        #pragma unroll
        for (int r = 0; r < ROWS; r++)
            sum[r][j] = fmaf(p[r].s[0] * d, (float)dot16(p[r].w + 4, x1, dot16(p[r].w, x0, 0)), sum[r][j]);
        #if HAS_MIN
        float2 s = *(const float2 *)(o.s + (at0 >> 4));
        #pragma unroll
        for (int r = 0; r < ROWS; r++) sum[r][j] = fmaf(-p[r].m[0], s.x + s.y, sum[r][j]);
        #endif
    #else
        float d0 = o.d[at0 >> 5], d1 = o.d[at1 >> 5], s0 = o.s[at0 >> 4], s1 = o.s[at1 >> 4];
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
            sum[r][j] = fmaf(p[r].s[0] * d0, (float)dot16(p[r].w, x0, 0), fmaf(-p[r].m[0], s0, sum[r][j]));
            sum[r][j] = fmaf(p[r].s[1] * d1, (float)dot16(p[r].w + 4, x1, 0), fmaf(-p[r].m[1], s1, sum[r][j]));
        }
    #endif
    }
}
#endif

#if NEAR
/* Values at, ... at + 3 of x, zeros beyond its end. */
DEVICE float4 load_four(const float *x, int at, int k)
{
    if (at >= k) return make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (((u64)(x + at) & 15) == 0) return *(const float4 *)(x + at);
    return make_float4(x[at], x[at + 1], x[at + 2], x[at + 3]);
}

/* Four values, of the block of 32 that eight lanes have, to bytes at `to`. All lanes take part. */
DEVICE void quantize_four(float4 values, int at, int k, u8 *to, float *s, float *d)
{
    float v[4] = { values.x, values.y, values.z, values.w };
    int bits = 0; /* of the largest: NaN is larger than all, see quantize.cu */
    #pragma unroll
    for (int i = 0; i < 4; i++) bits = max(bits, __float_as_int(fabsf(v[i])));
    #pragma unroll
    for (int mask = 4; mask > 0; mask >>= 1) bits = max(bits, shfl_xor(bits, mask));
    float top = __int_as_float(bits), inverse = top > 1e-35f && top < 3e38f ? 127.0f / top : 0.0f,
          scale = top * (1.0f / 127.0f);
    u32 word = 0;
    if (inverse > 0.0f) {
        #pragma unroll
        for (int i = 0; i < 4; i++) word |= ((u32)(int)rintf(v[i] * inverse) & 255u) << 8 * i;
    }
    int sum = dot4((int)word, 0x01010101, 0);
    sum += shfl_xor(sum, 2);
    sum += shfl_xor(sum, 1);
    if (at >= k) return;
    *(u32 *)(to + place_of(at & ~31, at & 31)) = word;
    if ((at & 15) == 0) s[at >> 4] = scale * (float)sum;
    if ((at & 31) == 0) d[at >> 5] = scale;
}

/* x as bytes, scales and sums, at `to`. What the next turn needs is on its way during one: a turn takes about as long
 * as a load, and what is unrolled here costs registers where the weights are multiplied. */
DEVICE void quantize_x(operand *o, u8 *to)
{
    const float *x = (const float *)o->x;
    float *s = (float *)(to + o->k), *d = s + o->k / 16;
    float4 next = load_four(x, 4 * (int)threadIdx.x, o->k);
    #pragma unroll 1
    for (int first = 0; first < o->k; first += 128 * WARPS) {
        int at = first + 4 * (int)threadIdx.x;
        float4 v = next;
        next = load_four(x, at + 128 * WARPS, o->k);
        quantize_four(v, at, o->k, to, s, d);
    }
    o->x = to;
    o->s = s;
    o->d = d;
    block_sync();
}
#endif

/* The sums of all lanes; lane r * N + j stores y[first + j][row r]. */
template <int N> DEVICE void finish(const matrices &ms, int group, int first, int n, int lane, float (*sum)[N])
{
    const matrix &m = matrix_of(ms, &group);
    float mine = 0.0f;
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int j = 0; j < N; j++) {
            float v = warp_sum(sum[r][j]);
            if (lane == r * N + j) mine = v;
            sum[r][j] = 0.0f;
        }
    int row = group * ROWS + lane / N, j = lane % N;
    if (lane >= ROWS * N || row >= m.rows || j >= n) return;
    float *y = m.y + (i64)(first + j) * m.y_stride + row;
    if (m.bias) mine += m.bias[row];
    if (m.add) mine += m.add[(i64)(first + j) * m.add_stride + row];
    *y = mine;
}

template <int N> DEVICE void matvec(const matrices &ms, operand o, int expert, int first, uint4 *memory)
{
    int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5, warps = (int)gridDim.x * WARPS, n_groups = 0,
        segment = 0, slot = 0;
    u8 *stages = (u8 *)(memory + warp * (STAGES * ROWS * WINDOW / 16));
    place now, ahead;
    float sum[ROWS][N];
    for (int i = 0; i < ms.n; i++) n_groups += groups_of(ms.m[i]);
    seek(&now, ms, n_groups, (int)blockIdx.x * WARPS + warp, o.row_bytes, expert, lane);
    ahead = now;
    #pragma unroll
    for (int r = 0; r < ROWS; r++)
        #pragma unroll
        for (int j = 0; j < N; j++) sum[r][j] = 0.0f;
    #pragma unroll 1
    for (int i = 0; i < STAGES - 1; i++) {
        if (ahead.group < n_groups) {
            fetch(ahead, stages + i * ROWS * WINDOW, lane);
            step(&ahead, ms, n_groups, warps, o.row_bytes, expert, lane);
        }
        cp_commit();
    }
#if NEAR
    extern __shared__ uint4 near_x[];
    quantize_x(&o, (u8 *)near_x);
#endif
    #pragma unroll 1
    while (now.group < n_groups) {
        cp_wait<STAGES - 2>();
        warp_sync(); /* all lanes' copies are there, and all are done with the slot before */
        if (ahead.group < n_groups) {
            fetch(ahead, stages + (slot == 0 ? STAGES - 1 : slot - 1) * ROWS * WINDOW, lane);
            step(&ahead, ms, n_groups, warps, o.row_bytes, expert, lane);
        }
        cp_commit();
        const u8 *row[ROWS];
        #pragma unroll
        for (int r = 0; r < ROWS; r++) row[r] = stages + (slot * ROWS + r) * WINDOW + now.phase[r];
        consume<N>(o, segment, row, lane, sum);
        segment++;
        if (now.left <= SEGMENT_BYTES) {
            finish<N>(ms, now.group, first, o.n, lane, sum);
            segment = 0;
        }
        step(&now, ms, n_groups, warps, o.row_bytes, expert, lane);
        slot = slot == STAGES - 1 ? 0 : slot + 1;
    }
}

#define MATVEC(N) \
    KERNEL __launch_bounds__(32 * WARPS, BLOCKS) matvec_##N(const matrices ms, const operand o) \
    { \
        __shared__ uint4 memory[WARPS * STAGES * ROWS * WINDOW / 16]; \
        matvec<N>(ms, o, 0, 0, memory); \
    }
#ifdef EXPERTS
KERNEL __launch_bounds__(32 * WARPS, 4) matvec_experts(const matrices ms, operand o, const int *ids, int share)
{
    __shared__ uint4 memory[WARPS * STAGES * ROWS * WINDOW / 16];
    int row = (int)blockIdx.y, of_x = row / share;
    #if IS_FLOAT || NEAR
    o.x = (const float *)o.x + of_x * o.x_stride;
    #else
    o.x = (const i8 *)o.x + (i64)of_x * o.k;
    o.d += (i64)of_x * (o.k / 32);
    o.s += (i64)of_x * (o.k / 16);
    #endif
    matvec<1>(ms, o, ids[row], row, memory);
}
#elif defined(BATCH)
MATVEC(2)
MATVEC(4)
MATVEC(8)
#else
MATVEC(1)
#endif
