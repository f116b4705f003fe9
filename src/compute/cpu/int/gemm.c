/* compute/cpu/int/gemm: prefill with AVX-512: panels of weights times tiles of activations, by VNNI or by AMX. See
 * int/panel.c. */
#ifndef HYB_COMPUTE_CPU_INT_GEMM_C
#define HYB_COMPUTE_CPU_INT_GEMM_C
#include "../kernels.c"
#include "panel.c"

#if defined(HYB_AVX512)

/* A tile: rows of activations, one panel, and where the results go: out[i] = 16 results for activation row i. */
typedef struct hyb_tile {
    const char *acts; /* prepared rows, act_bytes apart */
    size_t act_bytes;
    int64_t k;
    const char *panel;
    float *out; /* vectors of 16 */
} hyb_tile;
typedef void (*hyb_panel_fn)(const char *const *rows, size_t from, char *panel);
typedef void (*hyb_tile_fn)(const hyb_tile *tile);

typedef struct hyb_int_gemm {
    hyb_panel_fn unpack;
    hyb_tile_fn tile, tile4;           /* of tile_rows activation rows; of 4, or NULL */
    void (*begin)(void), (*end)(void); /* around the work of a thread, or NULL */
    int tile_rows;                     /* 8 or 16 */
    int block, panel_bytes;            /* weights and panel bytes of a block */
    size_t block_bytes;
    size_t (*act_bytes)(int64_t k);
} hyb_int_gemm;

enum { HYB_PANEL_BUDGET = 640 << 10, HYB_PANELS_MAX = 4, HYB_TILE_ROWS_MAX = 16 };

HYB_INLINE size_t hyb_int_gemm_panel(const hyb_int_gemm *g, int64_t k)
{
    return (size_t)(k / g->block) * (size_t)g->panel_bytes;
}
/* Panels unpacked at a time: what the second-level cache holds beside the activations. */
HYB_INLINE int hyb_int_gemm_panels(const hyb_int_gemm *g, int64_t k)
{
    size_t n = HYB_PANEL_BUDGET / hyb_int_gemm_panel(g, k);
    return n < 1 ? 1 : n > HYB_PANELS_MAX ? (int)HYB_PANELS_MAX : (int)n;
}
static size_t hyb_int_gemm_scratch(const hyb_int_gemm *g, int64_t k)
{
    return hyb_int_gemm_panel(g, k) * (size_t)hyb_int_gemm_panels(g, k) + g->act_bytes(k) * HYB_TILE_ROWS_MAX +
           HYB_TILE_ROWS_MAX * 64;
}

/* Rows r..r+15 (those from r1 on are r1 - 1 again) of w to a panel, in the order of runs. */
static void hyb_int_gemm_unpack(const hyb_int_gemm *g, const char *w, size_t row_bytes, int64_t k, int64_t r,
                                int64_t r1, char *panel)
{
    const int64_t blocks = k / g->block;
    const char *rows[16];
    size_t next = (size_t)(r + 16) * row_bytes; /* the 16 rows after these are asked for meanwhile */
    int64_t b;
    int i, j;
    for (i = 0; i < 16; i++) rows[i] = w + (size_t)HYB_MIN(r + i, r1 - 1) * row_bytes;
    for (j = 0; j < 8; j++)
        for (b = hyb_run_sum[j]; b < blocks; b += 8, panel += g->panel_bytes) {
            for (i = 0; next < (size_t)r1 * row_bytes && i < 16 * (int)g->block_bytes; i += 64)
                HYB_PREFETCH(w + next + i);
            next += 16 * g->block_bytes;
            g->unpack(rows, (size_t)b * g->block_bytes, panel);
        }
}

static void hyb_int_gemm_run(const hyb_int_gemm *g, const void *w, size_t row_bytes, int64_t k, const void *acts, int n,
                             float *y, int64_t y_stride, int64_t r0, int64_t r1, void *scratch)
{
    size_t panel_bytes = hyb_int_gemm_panel(g, k), act_bytes = g->act_bytes(k);
    int panels = hyb_int_gemm_panels(g, k), rows, p, i, j;
    char *packed = (char *)scratch, *pad = packed + panel_bytes * (size_t)panels;
    hyb_tile tile;
    int64_t r, at;
    tile.act_bytes = act_bytes;
    tile.k = k;
    tile.out = (float *)(void *)(pad + act_bytes * HYB_TILE_ROWS_MAX);
    if (g->begin) g->begin();
    for (r = r0; r < r1; r += 16 * panels) {
        int count = (int)HYB_MIN((r1 - r + 15) / 16, panels);
        for (p = 0; p < count; p++)
            hyb_int_gemm_unpack(g, (const char *)w, row_bytes, k, r + 16 * p, r1, packed + (size_t)p * panel_bytes);
        for (i = 0; i < n; i += rows) {
            const bool four = g->tile4 && n - i <= 4;
            const int full = four ? 4 : g->tile_rows;
            const hyb_tile_fn multiply = four ? g->tile4 : g->tile;
            rows = HYB_MIN(n - i, full);
            tile.acts = (const char *)acts + (size_t)i * act_bytes;
            if (rows < full) { /* the rest of the tile: zeros */
                memcpy(pad, tile.acts, act_bytes * (size_t)rows);
                memset(pad + act_bytes * (size_t)rows, 0, act_bytes * (size_t)(full - rows));
                tile.acts = pad;
            }
            for (p = 0; p < count; p++) {
                at = r + 16 * p;
                tile.panel = packed + (size_t)p * panel_bytes;
                multiply(&tile);
                for (j = 0; j < rows; j++)
                    memcpy(y + (i + j) * y_stride + (at - r0), tile.out + 16 * j,
                           (size_t)HYB_MIN(r1 - at, 16) * sizeof *y);
            }
        }
    }
    if (g->end) g->end();
}

    /* The two functions of a kernel that run a plan. */
    #define HYB_INT_GEMM_TYPE(isa, type) \
        static size_t hyb_gemm_scratch_##isa##_##type(int64_t k, int n) \
        { \
            HYB_UNUSED(n); \
            return hyb_int_gemm_scratch(&hyb_gemm_plan_##isa##_##type, k); \
        } \
        static void hyb_gemm_##isa##_##type(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, \
                                            float *y, int64_t y_stride, int64_t r0, int64_t r1, void *scratch) \
        { \
            hyb_int_gemm_run(&hyb_gemm_plan_##isa##_##type, w, row_bytes, k, acts, n, y, y_stride, r0, r1, scratch); \
        }

/* ---- VNNI: 8 rows of activations, or 4 --------------------------------------------------------------------------- */

    #define HYB_EACH8(X)  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
    #define HYB_EACH_ROW(X) \
        X(0) X(1) X(2) X(3) \
        if (rows == 8) { \
            X(4) X(5) X(6) X(7) \
        }
    #define HYB_EACH16(X) HYB_EACH8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

    /* Address of value `at` of row i (a constant) from four bases, so that all rows need 3 registers more. */
    #define HYB_ROW(base, i) ((base)[(i) / 4] + ((i) % 4 == 3 ? stride3 : (size_t)((i) % 4) * stride))

/* A finished run (sum v of one activation row) joins the runs before it: run 0 waits; 1 joins 0; 2 waits; 3 joins 2,
 * then both join 0 and 1; ... */
HYB_INLINE HYB_TARGET_AVX512 void hyb_merge_avx512(__m512 v, int i, int run, float (*waiting)[256], float *out)
{
    if (run & 1) v = _mm512_add_ps(_mm512_load_ps(waiting[0] + 16 * i), v);
    if ((run & 3) == 3) v = _mm512_add_ps(_mm512_load_ps(waiting[1] + 16 * i), v);
    if (run == 7)
        _mm512_store_ps(out + 16 * i, _mm512_add_ps(_mm512_load_ps(waiting[2] + 16 * i), v));
    else
        _mm512_store_ps(waiting[(run & 3) == 3 ? 2 : run & 1] + 16 * i, v);
}

HYB_INLINE HYB_TARGET_AVX512 __m512 hyb_splat_avx512(const char *p) { return _mm512_set1_ps(hyb_load_f32(p)); }
HYB_INLINE HYB_TARGET_AVX512 __m512i hyb_splat_int_avx512(const char *p)
{
    return _mm512_set1_epi32((int)hyb_load_u32(p));
}

    #define HYB_TILE_VNNI(name, tile, kind) \
        HYB_TARGET_AVX512 static void name(const hyb_tile *t) { tile(t, 8, kind); } \
        HYB_TARGET_AVX512 static void name##_4(const hyb_tile *t) { tile(t, 4, kind); }
HYB_INLINE HYB_TARGET_AVX512 void hyb_tile32_vnni(const hyb_tile *tile, const int rows, bool affine)
{
    const __m512 magic = _mm512_set1_ps(-12582912.0f);
    const __m512i top = _mm512_set1_epi8(-128);
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hyb_many32_part(tile->k);
    const char *panel = tile->panel, *x[2], *d[2];
    HYB_ALIGN64 float waiting[3][256];
    int64_t run[9], at;
    int j, q;
    x[0] = tile->acts;
    x[1] = x[0] + 4 * stride;
    d[0] = x[0] + hyb_many32_d(tile->k);
    d[1] = d[0] + 4 * stride;
    hyb_runs(tile->k / 32, run);
    for (j = 0; j < 8; j++) {
        __m512 v[8];
    #define HYB_X(i) v[i] = _mm512_setzero_ps();
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
        for (at = run[j]; at < run[j + 1]; at++) {
            __m512i s[8];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYB_PANEL32_D)),
                   dm = _mm512_mul_ps(dw, magic), m = dw;
            if (affine) m = _mm512_load_ps((const float *)(const void *)(panel + HYB_PANEL32_M));
    #define HYB_X(i) s[i] = hyb_splat_int_avx512(HYB_ROW(d, i) + 2 * part);
            HYB_EACH_ROW(HYB_X)
    #undef HYB_X
            HYB_UNROLL
            for (q = 0; q < 8; q++) {
                __m512i w = _mm512_xor_si512(_mm512_load_si512(panel + q * 64), top);
    #define HYB_X(i) s[i] = _mm512_dpbusd_epi32(s[i], w, hyb_splat_int_avx512(HYB_ROW(x, i) + q * 4));
                HYB_EACH_ROW(HYB_X)
    #undef HYB_X
            }
    #define HYB_X(i) \
        { \
            __m512 t = _mm512_fmadd_ps(_mm512_castsi512_ps(s[i]), dw, dm); \
            if (affine) t = _mm512_fmadd_ps(m, hyb_splat_avx512(HYB_ROW(d, i) + part), t); \
            v[i] = _mm512_fmadd_ps(t, hyb_splat_avx512(HYB_ROW(d, i)), v[i]); \
        }
            HYB_EACH_ROW(HYB_X)
    #undef HYB_X
            panel += HYB_PANEL32;
            x[0] += 32;
            x[1] += 32;
            d[0] += 4;
            d[1] += 4;
        }
    #define HYB_X(i) hyb_merge_avx512(v[i], i, j, waiting, tile->out);
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
    }
}
HYB_TILE_VNNI(hyb_tile32_vnni_plain, hyb_tile32_vnni, false)
HYB_TILE_VNNI(hyb_tile32_vnni_affine, hyb_tile32_vnni, true)

/* A super-block's sums join those of the blocks before: v = t * d_x + v, t = isum * d - msum * dmin. dw: d[16], and
 * dmin[16] where there are mins. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_join256_avx512(const int rows, __m512 v[8], const __m512i isum[8],
                                                     const __m512i msum[8], const float *dw, bool affine,
                                                     const char *const d[2], size_t stride)
{
    const size_t stride3 = 3 * stride;
    #define HYB_X(i) \
        { \
            __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(isum[i]), _mm512_load_ps(dw)); \
            if (affine) t = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(msum[i]), _mm512_load_ps(dw + 16), t); \
            v[i] = _mm512_fmadd_ps(t, hyb_splat_avx512(HYB_ROW(d, i)), v[i]); \
        }
    HYB_EACH_ROW(HYB_X)
    #undef HYB_X
}

/* Q2_K (affine: it has mins) and Q3_K (the sums begin with c3), whose bytes hold q times its scale. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_tile256_vnni(const hyb_tile *tile, const int rows, bool affine)
{
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hyb_many256_part(tile->k);
    const char *panel = tile->panel, *x[2], *d[2], *s16[2];
    HYB_ALIGN64 float waiting[3][256];
    int64_t run[9], at;
    int j, q;
    x[0] = tile->acts;
    x[1] = x[0] + 4 * stride;
    d[0] = x[0] + hyb_many256_d(tile->k);
    d[1] = d[0] + 4 * stride;
    s16[0] = x[0] + hyb_many256_s16(tile->k);
    s16[1] = s16[0] + 4 * stride;
    hyb_runs(tile->k / 256, run);
    for (j = 0; j < 8; j++) {
        __m512 v[8];
    #define HYB_X(i) v[i] = _mm512_setzero_ps();
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
        for (at = run[j]; at < run[j + 1]; at++) {
            const float *dw = (const float *)(const void *)(panel + HYB_PANEL256_D);
            __m512i s[8], h[8];
    #define HYB_X(i) \
        s[i] = affine ? _mm512_setzero_si512() : hyb_splat_int_avx512(HYB_ROW(d, i) + part); \
        h[i] = _mm512_setzero_si512();
            HYB_EACH_ROW(HYB_X)
    #undef HYB_X
            for (q = 0; q < 64; q++) {
                __m512i w = _mm512_load_si512(panel + q * 64);
    #define HYB_X(i) s[i] = _mm512_dpbusd_epi32(s[i], w, hyb_splat_int_avx512(HYB_ROW(x, i) + q * 4));
                HYB_EACH_ROW(HYB_X)
    #undef HYB_X
            }
            if (affine)
                for (q = 0; q < 8; q++) {
                    __m512i m = _mm512_load_si512(panel + HYB_PANEL256_MS + q * 64);
    #define HYB_X(i) h[i] = _mm512_dpwssd_epi32(h[i], m, hyb_splat_int_avx512(HYB_ROW(s16, i) + q * 4));
                    HYB_EACH_ROW(HYB_X)
    #undef HYB_X
                }
            hyb_join256_avx512(rows, v, s, h, dw, affine, d, stride);
            panel += HYB_PANEL256;
            x[0] += 256;
            x[1] += 256;
            d[0] += 4;
            d[1] += 4;
            s16[0] += 32;
            s16[1] += 32;
        }
    #define HYB_X(i) hyb_merge_avx512(v[i], i, j, waiting, tile->out);
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
    }
}
HYB_TILE_VNNI(hyb_tile256_vnni_q2, hyb_tile256_vnni, true)
HYB_TILE_VNNI(hyb_tile256_vnni_q3, hyb_tile256_vnni, false)

/* Q4_K, Q5_K and Q6_K: bytes hold q alone. The products of 16 weights (less an offset of 16 and 32, that the sums e
 * begin with) fit the low word of a dword, and that is multiplied by the scale: one vpdpwssd for 4 vpdpbusd, where q
 * times its scale would take two planes of bytes. Those of Q6_K, 32 * |x| at most, fit if the activations are not all
 * great; where they do not (wide), the dword is multiplied. h: the sums of a super-block and 8 rows of activations. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_apart_products(const int rows, __m512i h[8], const char *panel,
                                                     const char *const x[2], const char *const e[2], size_t stride,
                                                     int bits, bool wide)
{
    const size_t stride3 = 3 * stride;
    __m512i s[8];
    int n, q;
    #define HYB_X(i) h[i] = _mm512_setzero_si512();
    HYB_EACH_ROW(HYB_X)
    #undef HYB_X
    for (n = 0; n < 16; n++) {
        const __m512i scale = _mm512_load_si512(panel + HYB_APART256_SC + (bits == 6 ? n : n / 2) * 64),
                      full = wide ? _mm512_srai_epi32(_mm512_slli_epi32(scale, 16), 16) : scale;
    #define HYB_X(i) s[i] = bits > 4 ? hyb_splat_int_avx512(HYB_ROW(e, i) + n * 4) : _mm512_setzero_si512();
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
        HYB_UNROLL
        for (q = 0; q < 4; q++) {
            __m512i w = _mm512_load_si512(panel + n * 256 + q * 64);
    #define HYB_X(i) s[i] = _mm512_dpbusd_epi32(s[i], w, hyb_splat_int_avx512(HYB_ROW(x, i) + n * 16 + q * 4));
            HYB_EACH_ROW(HYB_X)
    #undef HYB_X
        }
    #define HYB_X(i) \
        h[i] = wide ? _mm512_add_epi32(h[i], _mm512_mullo_epi32(s[i], full)) : _mm512_dpwssd_epi32(h[i], s[i], scale);
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
    }
}
/* Whether of any of 8 rows the products of 16 weights of Q6_K may not fit. w: where the rows' greatest sums are. */
HYB_INLINE bool hyb_apart_wide(const int rows, const char *const w[2], size_t stride)
{
    const size_t stride3 = 3 * stride;
    uint32_t most = 0;
    #define HYB_X(i) most = HYB_MAX(most, hyb_load_u32(HYB_ROW(w, i)));
    HYB_EACH_ROW(HYB_X)
    #undef HYB_X
    return most * 32 > 32767;
}
/* The offset of Q5_K is not part of the weights: it comes back with the sums of 32. */
HYB_INLINE HYB_TARGET_AVX512 void hyb_tile256_apart(const hyb_tile *tile, const int rows, int bits)
{
    const size_t stride = tile->act_bytes, stride3 = 3 * stride;
    const char *panel = tile->panel, *x[2], *d[2], *e[2], *s32[2], *w[2];
    HYB_ALIGN64 float waiting[3][256];
    int64_t run[9], at;
    int j, q, n;
    x[0] = tile->acts;
    d[0] = x[0] + hyb_many256_d(tile->k);
    w[0] = d[0] + 3 * hyb_many256_part(tile->k);
    e[0] = x[0] + (bits == 6 ? hyb_many256_e32(tile->k) : hyb_many256_e16(tile->k));
    s32[0] = x[0] + hyb_many256_s32(tile->k);
    x[1] = x[0] + 4 * stride;
    d[1] = d[0] + 4 * stride;
    w[1] = w[0] + 4 * stride;
    e[1] = e[0] + 4 * stride;
    s32[1] = s32[0] + 4 * stride;
    hyb_runs(tile->k / 256, run);
    for (j = 0; j < 8; j++) {
        __m512 v[8];
    #define HYB_X(i) v[i] = _mm512_setzero_ps();
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
        for (at = run[j]; at < run[j + 1]; at++) {
            const float *dw = (const float *)(const void *)(panel + HYB_APART256_D);
            __m512i s[8], h[8];
            if (bits == 6 && hyb_apart_wide(rows, w, stride))
                hyb_apart_products(rows, h, panel, x, e, stride, bits, true);
            else
                hyb_apart_products(rows, h, panel, x, e, stride, bits, false);
    #define HYB_X(i) s[i] = _mm512_setzero_si512();
            HYB_EACH_ROW(HYB_X)
    #undef HYB_X
            for (q = 0; bits < 6 && q < 4; q++) {
                const __m512i m = _mm512_load_si512(panel + HYB_APART256_M + q * 64);
                __m512i r = m;
                if (bits == 5) r = _mm512_load_si512(panel + HYB_APART256_R + q * 64);
    #define HYB_X(i) \
        s[i] = _mm512_dpwssd_epi32(s[i], m, hyb_splat_int_avx512(HYB_ROW(s32, i) + q * 4)); \
        if (bits == 5) h[i] = _mm512_dpwssd_epi32(h[i], r, hyb_splat_int_avx512(HYB_ROW(s32, i) + q * 4));
                HYB_EACH_ROW(HYB_X)
    #undef HYB_X
            }
            hyb_join256_avx512(rows, v, h, s, dw, bits < 6, d, stride);
            panel += HYB_APART256;
            for (n = 0; n < 2; n++) {
                x[n] += 256;
                d[n] += 4;
                w[n] += 4;
                e[n] += 64;
                s32[n] += 16;
            }
        }
    #define HYB_X(i) hyb_merge_avx512(v[i], i, j, waiting, tile->out);
        HYB_EACH_ROW(HYB_X)
    #undef HYB_X
    }
}
HYB_TILE_VNNI(hyb_tile256_apart_q4, hyb_tile256_apart, 4)
HYB_TILE_VNNI(hyb_tile256_apart_q5, hyb_tile256_apart, 5)
HYB_TILE_VNNI(hyb_tile256_apart_q6, hyb_tile256_apart, 6)
    #undef HYB_TILE_VNNI

    /* ---- the kernels of every type ------------------------------------------------------------------------------- */
    /* panel: how the panel is made, and its bytes of a block. */
    #define HYB_KERNEL_PANELS(isa, type, family, panel, panel_bytes, tile, tile4, tile_rows, few_up_to, begin, end) \
        static const hyb_int_gemm hyb_gemm_plan_##isa##_##type = { \
            panel, tile, tile4, begin, end, tile_rows, family, panel_bytes, sizeof(hyb_block_##type), \
            hyb_many##family##_bytes \
        }; \
        HYB_INT_GEMM_TYPE(isa, type) \
        static const hyb_matmul_kernel hyb_kernel_##isa##_##type = { \
            &hyb_one##family##_avx512, &hyb_many##family##_avx512, 6, few_up_to, 16, \
            hyb_gemv_avx512_##type, hyb_gemm_scratch_##isa##_##type, hyb_gemm_##isa##_##type, hyb_few_avx512_##type \
        };
    #define HYB_KERNEL_VNNI(type, family, panel, panel_bytes, tile) \
        HYB_KERNEL_PANELS(avx512, type, family, panel, panel_bytes, tile, tile##_4, 8, family == 32 ? 8 : 6, NULL, NULL)
HYB_KERNEL_VNNI(q4_0, 32, hyb_panel_q4_0, HYB_PANEL32, hyb_tile32_vnni_plain)
HYB_KERNEL_VNNI(q4_1, 32, hyb_panel_q4_1, HYB_PANEL32, hyb_tile32_vnni_affine)
HYB_KERNEL_VNNI(q5_0, 32, hyb_panel_q5_0, HYB_PANEL32, hyb_tile32_vnni_plain)
HYB_KERNEL_VNNI(q5_1, 32, hyb_panel_q5_1, HYB_PANEL32, hyb_tile32_vnni_affine)
HYB_KERNEL_VNNI(q8_0, 32, hyb_panel_q8_0, HYB_PANEL32, hyb_tile32_vnni_plain)
HYB_KERNEL_VNNI(q2_K, 256, hyb_panel_q2_K, HYB_PANEL256, hyb_tile256_vnni_q2)
HYB_KERNEL_VNNI(q3_K, 256, hyb_panel_q3_K, HYB_PANEL256, hyb_tile256_vnni_q3)
HYB_KERNEL_VNNI(q4_K, 256, hyb_panel_q4_K_apart, HYB_APART256, hyb_tile256_apart_q4)
HYB_KERNEL_VNNI(q5_K, 256, hyb_panel_q5_K_apart, HYB_APART256, hyb_tile256_apart_q5)
HYB_KERNEL_VNNI(q6_K, 256, hyb_panel_q6_K_apart, HYB_APART256, hyb_tile256_apart_q6)
    #undef HYB_KERNEL_VNNI

#endif
#endif
