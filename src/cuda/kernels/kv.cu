/* kv: rows of k and v into the pages of a cache. Needs prelude.
 *
 * A page holds 32 positions of all kv heads: position slot s of head h lies at (h * 32 + s) * row_bytes of a page. */

enum { KV_F16, KV_Q8_0, KV_F32 };

/* Value x of lane i of 32 consecutive ones goes to row[0..n) at i. The 32 lanes of a warp come together; those at n and above have none. */
__device__ __forceinline__ void kv_value(char *row, int i, int n, float x, int type)
{
    if (type == KV_F32) { if (i < n) ((float *)row)[i] = x; }
    else if (type == KV_F16) { if (i < n) ((half_t *)row)[i] = f2h(x); }
    else {                                                    /* d = max |x| / 127, q = x / d rounded to even; not finite: d is that, every q is 0 */
        int most = __float_as_int(x) & 0x7FFFFFFF;            /* as bits: NaN is above inf */
#pragma unroll
        for (int mask = 16; mask; mask /= 2) most = max(most, shfl_xor(most, mask));
        const float d = __int_as_float(most) / 127.0f, inverse = d != 0.0f ? 1.0f / d : 0.0f;
        char *block = row + i / 32 * 34;
        if (i >= n) return;
        if (i % 32 == 0) *(half_t *)block = f2h(d);
        ((i8 *)block)[2 + i % 32] = (i8)(most < 0x7F800000 ? (int)rintf(x * inverse) : 0);
    }
}

/* grid (2 n_head_kv, n): k's heads, then v's; block 128 (whole warps share a block of 32 values). */
KERNEL __launch_bounds__(128) kv_store(const float *k, i64 k_stride, const float *v, i64 v_stride, char *k_cache, char *v_cache,
        i64 page_bytes_k, i64 page_bytes_v, int row_bytes_k, int row_bytes_v, int n_head_kv, int head_dim_k, int head_dim_v,
        const int *pos, const int *run_of_row, const int *pages, int pages_a_seq, int type)
{
    const bool is_v = (int)blockIdx.x >= n_head_kv;
    const int head = (int)blockIdx.x - (is_v ? n_head_kv : 0), n = is_v ? head_dim_v : head_dim_k, p = pos[blockIdx.y];
    const i64 row = blockIdx.y, page = pages[(i64)run_of_row[row] * pages_a_seq + p / 32];
    const float *x = is_v ? v + row * v_stride + (i64)head * n : k + row * k_stride + (i64)head * n;
    char *to = is_v ? v_cache + page * page_bytes_v + (i64)(head * 32 + p % 32) * row_bytes_v
                    : k_cache + page * page_bytes_k + (i64)(head * 32 + p % 32) * row_bytes_k;
    for (int i = threadIdx.x; i < (n + 31) / 32 * 32; i += 128) kv_value(to, i, n, i < n ? x[i] : 0.0f, type);
}
