/* embed: rows of a table of any type as floats. Needs prelude, quant (-DTYPE).
 *
 * out (n, k) = table[index] * scale (+ add, where it is not NULL; out may be add). Quantized types: a thread 32 values;
 * grid (k / 32 / 64, n), block 64. Floats: a thread 4 values, block's width apart; grid (k / 256, n), block 64. */

DEVICE void embed_value(float *to, float x, float scale, const float *add)
{
    *to = add ? fmaf(x, scale, *add) : x * scale;
}

KERNEL __launch_bounds__(64) embed(const u8 *__restrict__ table, i64 row_bytes, const int *__restrict__ index, int k,
                                   float scale, const float *add, float *out)
{
    const u8 *from = table + index[blockIdx.y] * row_bytes;
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
