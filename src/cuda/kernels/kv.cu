/* kv: rows of k and v into the pages of a cache. Needs prelude.
 *
 * A page holds 32 positions of all kv heads: position slot s of head h lies at (h * 32 + s) * row_bytes of a page. */

enum { KV_F16, KV_Q8_0, KV_F32 };

/* Value x of lane i of 32 consecutive ones goes to row[0..n) at i. The 32 lanes of a warp come together; those at n
 * and above have none. */
__device__ __forceinline__ void kv_value(char *row, int i, int n, float x, int type)
{
    if (type == KV_F32) {
        if (i < n) ((float *)row)[i] = x;
    } else if (type == KV_F16) {
        if (i < n) ((half_t *)row)[i] = f2h(x);
    } else { /* d = max |x| / 127, q = x / d rounded to even; not finite: d is that, every q is 0 */
        int most = __float_as_int(x) & 0x7FFFFFFF; /* as bits: NaN is above inf */
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
KERNEL __launch_bounds__(128)
    kv_store(const float *k, i64 k_stride, const float *v, i64 v_stride, char *k_cache, char *v_cache, i64 page_bytes_k,
             i64 page_bytes_v, int row_bytes_k, int row_bytes_v, int n_head_kv, int head_dim_k, int head_dim_v,
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

/* ---- all that happens to heads between the products and attention, in one launch --------------------------------- */

struct heads_args {
    const float *q, *k, *v;       /* rows of heads, each at `stride` floats */
    float *q_out, *k_out;         /* may be q and k */
    const float *q_norm, *k_norm; /* dim_k weights of a norm of every head, or NULL */
    const float *table;           /* (n, half, 2), as rope.cu makes it */
    char *k_cache, *v_cache;
    const int *pos, *run_of_row, *pages;
    i64 stride, out_stride, page_bytes_k, page_bytes_v;
    int n_head, n_head_kv, dim_k, dim_v, row_bytes_k, row_bytes_v, pages_a_seq, type;
    int half, neox, layer; /* half 0: no rotation; layer: LayerNorm instead of RMS */
    float eps;
};
enum { HEAD_VALUES = 8 }; /* of a lane: heads of up to 256 */

DEVICE void head_norm(float x[HEAD_VALUES], const float *w, int n, float eps, bool layer)
{
    const int lane = threadIdx.x % 32;
    float mean = 0, sum = 0;
    if (layer) {
        #pragma unroll
        for (int j = 0; j < HEAD_VALUES; j++) mean += x[j]; /* zeros after n */
        mean = warp_sum(mean) / (float)n;
    }
    #pragma unroll
    for (int j = 0; j < HEAD_VALUES; j++)
        if (lane + 32 * j < n) {
            x[j] -= mean;
            sum = fmaf(x[j], x[j], sum);
        }
    const float scale = 1.0f / sqrtf(warp_sum(sum) / (float)n + eps);
    #pragma unroll
    for (int j = 0; j < HEAD_VALUES; j++)
        if (lane + 32 * j < n) x[j] *= scale * w[lane + 32 * j];
}

/* A lane's values are i = lane + 32 j; its partners in the pairs may be another lane's. */
DEVICE void head_rotate(float x[HEAD_VALUES], float *shared, const float *table, int half, bool neox)
{
    const int lane = threadIdx.x % 32;
    #pragma unroll
    for (int j = 0; j < HEAD_VALUES; j++) shared[lane + 32 * j] = x[j];
    warp_sync();
    #pragma unroll
    for (int j = 0; j < HEAD_VALUES; j++) {
        const int i = lane + 32 * j;
        if (i >= 2 * half) break;
        const bool first = neox ? i < half : i % 2 == 0;
        const float2 t = *(const float2 *)(table + 2 * (neox ? i % half : i / 2));
        const float other = shared[neox ? (first ? i + half : i - half) : i ^ 1];
        x[j] = first ? x[j] * t.x - other * t.y : other * t.y + x[j] * t.x;
    }
}

/* q: normed and rotated. k: too, and stored. v: stored. A warp a head; grid ((n_head + 2 n_head_kv) / 4, n), block
 * 128. */
KERNEL __launch_bounds__(128) heads(const heads_args a)
{
    __shared__ float shared[4][32 * HEAD_VALUES];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, at = blockIdx.x * 4 + warp;
    const bool is_q = at < a.n_head, is_v = at >= a.n_head + a.n_head_kv;
    const int head = is_q ? at : (at - a.n_head) % a.n_head_kv, n = is_v ? a.dim_v : a.dim_k;
    const i64 row = blockIdx.y;
    const float *norm = is_v ? (const float *)0 : is_q ? a.q_norm : a.k_norm;
    if (at >= a.n_head + 2 * a.n_head_kv) return;
    const float *from = (is_q ? a.q : is_v ? a.v : a.k) + row * a.stride + (i64)head * n;
    float x[HEAD_VALUES];
    #pragma unroll
    for (int j = 0; j < HEAD_VALUES; j++) x[j] = lane + 32 * j < n ? from[lane + 32 * j] : 0.0f;
    if (norm) head_norm(x, norm, n, a.eps, a.layer != 0);
    if (!is_v && a.half) head_rotate(x, shared[warp], a.table + row * a.half * 2, a.half, a.neox != 0);
    if (!is_v) {
        float *to = (is_q ? a.q_out : a.k_out) + row * a.out_stride + (i64)head * n;
        #pragma unroll
        for (int j = 0; j < HEAD_VALUES; j++)
            if (lane + 32 * j < n) to[lane + 32 * j] = x[j];
    }
    if (is_q) return;
    const int p = a.pos[row];
    const i64 page = a.pages[(i64)a.run_of_row[row] * a.pages_a_seq + p / 32];
    char *to = is_v ? a.v_cache + page * a.page_bytes_v + (i64)(head * 32 + p % 32) * a.row_bytes_v
                    : a.k_cache + page * a.page_bytes_k + (i64)(head * 32 + p % 32) * a.row_bytes_k;
    #pragma unroll
    for (int j = 0; j < HEAD_VALUES; j++)
        if (32 * j < n) kv_value(to, lane + 32 * j, n, x[j], a.type);
}
