/* embed: rows of a table of any type as floats. Needs prelude, quant (-DTYPE). -DBACK: its gradient instead; needs
 * prelude alone.
 *
 * out (n, k) = table[index] * scale (+ add, where it is not NULL; out may be add). Quantized types: a thread 32 values;
 * grid (k / 32 / 64, n), block 64. Floats: a thread 4 values, block's width apart; grid (k / 256, n), block 64.
 * index NULL: row blockIdx.y, which is how a matrix is decoded. */
#ifndef BACK

DEVICE void embed_value(float *to, float x, float scale, const float *add)
{
    *to = add ? fmaf(x, scale, *add) : x * scale;
}

KERNEL __launch_bounds__(64) embed(const u8 *__restrict__ table, i64 row_bytes, const int *__restrict__ index, int k,
                                   float scale, const float *add, float *out)
{
    const u8 *from = table + (index ? index[blockIdx.y] : (i64)blockIdx.y) * row_bytes;
    float *to = out + (i64)blockIdx.y * k;
    if (add) add += (i64)blockIdx.y * k;
    #if IS_FLOAT
    const int first = blockIdx.x * 256 + threadIdx.x;
    #pragma unroll
    for (int i = first; i < first + 256; i += 64)
        if (i < k) embed_value(to + i, float_at(from, i), scale, add ? add + i : add);
    #else
    const int at = blockIdx.x * 64 + threadIdx.x, block = at / PIECES, which = at % PIECES;
    piece p;
    if (at >= k / 32) return;
    decode_piece(from + (i64)block * BLOCK_BYTES, which, &p);
    #pragma unroll
    for (int half = 0; half < 2; half++)
        #pragma unroll
        for (int i = 0; i < 16; i++) {
            const int j = block * BLOCK + half_at(which, half) + i;
            embed_value(to + j, piece_value(p, 16 * half + i), scale, add ? add + j : add);
        }
    #endif
}
#else

/* Which of the 32 lanes say so, as bits; to all lanes. */
DEVICE u32 lanes_that(bool yes)
{
    int bits = (int)((u32)yes << threadIdx.x % 32);
    #pragma unroll
    for (int mask = 16; mask; mask /= 2) bits |= shfl_xor(bits, mask);
    return (u32)bits;
}

/* dtable (n_embd, vocabulary) [index] += scale * dy (n, n_embd), row by row in their order: the block of the first row
 * of an index takes all rows that have it. grid (n, n_embd / 1024), block 256: a thread 4 columns, 256 apart. */
KERNEL __launch_bounds__(256)
    embed_back(const float *dy, int n, const int *index, int n_embd, float scale, float *dtable)
{
    __shared__ u32 found[8];
    const int row = blockIdx.x, mine = index[row], lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first = blockIdx.y * 1024 + threadIdx.x;
    float *to = dtable + (i64)mine * n_embd, sum[4];
    bool earlier = false;
    for (int r = threadIdx.x; r < row; r += 256) earlier = earlier || index[r] == mine;
    const u32 who = lanes_that(earlier);
    if (lane == 0) found[warp] = who;
    block_sync();
    for (int w = 0; w < 8; w++)
        if (found[w]) return; /* the whole block: another one has this index */
    #pragma unroll
    for (int j = 0; j < 4; j++) sum[j] = first + 256 * j < n_embd ? to[first + 256 * j] : 0.0f;
    for (int base = row / 256 * 256; base < n; base += 256) {
        const int r = base + (int)threadIdx.x;
        const u32 same = lanes_that(r >= row && r < n && index[r] == mine);
        block_sync(); /* what was found before has been read */
        if (lane == 0) found[warp] = same;
        block_sync();
        for (int w = 0; w < 8; w++)
            for (u32 bits = found[w]; bits; bits &= bits - 1) {
                const float *from = dy + (i64)(base + 32 * w + __ffs((int)bits) - 1) * n_embd;
                #pragma unroll
                for (int j = 0; j < 4; j++)
                    if (first + 256 * j < n_embd) sum[j] = fmaf(from[first + 256 * j], scale, sum[j]);
            }
    }
    #pragma unroll
    for (int j = 0; j < 4; j++)
        if (first + 256 * j < n_embd) to[first + 256 * j] = sum[j];
}
#endif
