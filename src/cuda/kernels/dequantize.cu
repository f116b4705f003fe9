/* dequantize: rows of a matrix as halves, for the product by tensor cores. out (n_rows, k_out): zeros from k to k_out.
 *
 * Quantized types: a thread a piece of 32 values; grid (ceil(pieces of all rows / 256)), 256 threads. Floats: a thread
 * 8 values of a row, grid the same with groups of 8. A value beyond the range of a half (BF16 has such) becomes the
 * largest half. */
DEVICE u32 halves(float lo, float hi)
{
    return f2h2(fminf(fmaxf(lo, -65504.0f), 65504.0f), fminf(fmaxf(hi, -65504.0f), 65504.0f));
}

KERNEL __launch_bounds__(256)
    dequantize(const u8 *__restrict__ w, i64 row_bytes, int n_rows, int k, half_t *__restrict__ out, int k_out)
{
    i64 id = (i64)blockIdx.x * 256 + threadIdx.x;
#if IS_FLOAT
    int groups = k_out / 8;
    i64 row = id / groups;
    int at = (int)(id - row * groups) * 8;
    if (row >= n_rows) return;
    const u8 *from = w + row * row_bytes;
    float v[8];
    #pragma unroll
    for (int i = 0; i < 8; i++) v[i] = at + i < k ? float_at(from, at + i) : 0.0f;
    *(uint4 *)(out + row * k_out + at) =
        make_uint4(halves(v[0], v[1]), halves(v[2], v[3]), halves(v[4], v[5]), halves(v[6], v[7]));
#else
    int pieces = k / 32;
    i64 row = id / pieces;
    int at = (int)(id - row * pieces), block = at / PIECES, which = at % PIECES;
    if (row >= n_rows) return;
    piece p;
    decode_piece(w + row * row_bytes + (i64)block * BLOCK_BYTES, which, &p);
    #pragma unroll
    for (int h = 0; h < 2; h++) {
        uint4 *to = (uint4 *)(out + row * k_out + block * BLOCK + half_at(which, h));
        #pragma unroll
        for (int j = 0; j < 2; j++) {
            int i = 16 * h + 8 * j;
            to[j] = make_uint4(halves(piece_value(p, i), piece_value(p, i + 1)),
                               halves(piece_value(p, i + 2), piece_value(p, i + 3)),
                               halves(piece_value(p, i + 4), piece_value(p, i + 5)),
                               halves(piece_value(p, i + 6), piece_value(p, i + 7)));
        }
    }
#endif
}
