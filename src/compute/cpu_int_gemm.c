/* compute/cpu_int_gemm: prefill with AVX-512: panels of weights times tiles of activations, by VNNI or by AMX. See cpu_int_panel.c. */
#if defined(HYBRID__X86)

/* A tile: rows of activations, one panel, and where the results go: out[i] = 16 results for activation row i. */
typedef struct hybrid__tile {
    const char *acts;                   /* prepared rows, act_bytes apart */
    size_t      act_bytes;
    int64_t     k;
    const char *panel;
    float      *out;                    /* vectors of 16 */
} hybrid__tile;
#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__ALIGN64 __attribute__((aligned(64)))
#else
    #define HYBRID__ALIGN64 __declspec(align(64))
#endif

typedef void (*hybrid__panel_fn)(const char *const *rows, char *panel);
typedef void (*hybrid__tile_fn)(const hybrid__tile *tile);

typedef struct hybrid__int_gemm {
    hybrid__panel_fn unpack;
    hybrid__tile_fn  tile;
    void (*begin)(void), (*end)(void); /* around the work of a thread, or NULL */
    int     tile_rows;                  /* activation rows that `tile` takes: 8 or 16 */
    int     block, panel_bytes;         /* weights and panel bytes of a block */
    size_t  block_bytes;
    size_t (*act_bytes)(int64_t k);
} hybrid__int_gemm;

enum { HYBRID__PANEL_BUDGET = 640 << 10, HYBRID__PANELS_MAX = 4, HYBRID__TILE_ROWS_MAX = 16 };

HYBRID__INLINE size_t hybrid__int_gemm_panel(const hybrid__int_gemm *g, int64_t k) { return (size_t)(k / g->block) * (size_t)g->panel_bytes; }
/* Panels unpacked at a time: what the second-level cache holds beside the activations. */
HYBRID__INLINE int hybrid__int_gemm_panels(const hybrid__int_gemm *g, int64_t k)
{
    size_t n = HYBRID__PANEL_BUDGET / hybrid__int_gemm_panel(g, k);
    return n < 1 ? 1 : n > HYBRID__PANELS_MAX ? (int)HYBRID__PANELS_MAX : (int)n;
}
static size_t hybrid__int_gemm_scratch(const hybrid__int_gemm *g, int64_t k)
{
    return hybrid__int_gemm_panel(g, k) * (size_t)hybrid__int_gemm_panels(g, k) + g->act_bytes(k) * HYBRID__TILE_ROWS_MAX + HYBRID__TILE_ROWS_MAX * 64;
}

/* Rows r..r+15 (those from r1 on are r1 - 1 again) of w to a panel, in the order of runs. */
static void hybrid__int_gemm_unpack(const hybrid__int_gemm *g, const char *w, size_t row_bytes, int64_t k, int64_t r, int64_t r1, char *panel)
{
    int64_t blocks = k / g->block, b;
    int i, j;
    for (j = 0; j < 8; j++)
        for (b = hybrid__run_sum[j]; b < blocks; b += 8, panel += g->panel_bytes) {
            const char *rows[16];
            for (i = 0; i < 16; i++) rows[i] = w + (size_t)HYBRID__MIN(r + i, r1 - 1) * row_bytes + (size_t)b * g->block_bytes;
            g->unpack(rows, panel);
        }
}

static void hybrid__int_gemm_run(const hybrid__int_gemm *g, const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,
                                 int64_t r0, int64_t r1, void *scratch)
{
    size_t panel_bytes = hybrid__int_gemm_panel(g, k), act_bytes = g->act_bytes(k);
    int panels = hybrid__int_gemm_panels(g, k), p, i, j;
    char *packed = (char *)scratch, *pad = packed + panel_bytes * (size_t)panels;
    hybrid__tile tile;
    int64_t r, at;
    tile.act_bytes = act_bytes;
    tile.k = k;
    tile.out = (float *)(void *)(pad + act_bytes * HYBRID__TILE_ROWS_MAX);
    if (g->begin) g->begin();
    for (r = r0; r < r1; r += 16 * panels) {
        int count = (int)HYBRID__MIN((r1 - r + 15) / 16, panels);
        for (p = 0; p < count; p++) hybrid__int_gemm_unpack(g, (const char *)w, row_bytes, k, r + 16 * p, r1, packed + (size_t)p * panel_bytes);
        for (i = 0; i < n; i += g->tile_rows) {
            int rows = HYBRID__MIN(n - i, g->tile_rows);
            tile.acts = (const char *)acts + (size_t)i * act_bytes;
            if (rows < g->tile_rows) {                                /* the rest of the tile: zeros */
                memcpy(pad, tile.acts, act_bytes * (size_t)rows);
                memset(pad + act_bytes * (size_t)rows, 0, act_bytes * (size_t)(g->tile_rows - rows));
                tile.acts = pad;
            }
            for (p = 0; p < count; p++) {
                at = r + 16 * p;
                tile.panel = packed + (size_t)p * panel_bytes;
                g->tile(&tile);
                for (j = 0; j < rows; j++) memcpy(y + (i + j) * y_stride + (at - r0), tile.out + 16 * j, (size_t)HYBRID__MIN(r1 - at, 16) * sizeof *y);
            }
        }
    }
    if (g->end) g->end();
}

/* The two functions of a kernel that run a plan. */
#define HYBRID__INT_GEMM_TYPE(isa, type)                                                                                                        \
    static size_t hybrid__gemm_scratch_##isa##_##type(int64_t k, int n)                                                                         \
    {                                                                                                                                           \
        HYBRID__UNUSED(n);                                                                                                                      \
        return hybrid__int_gemm_scratch(&hybrid__gemm_plan_##isa##_##type, k);                                                                  \
    }                                                                                                                                           \
    static void hybrid__gemm_##isa##_##type(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,    \
                                            int64_t r0, int64_t r1, void *scratch)                                                              \
    { hybrid__int_gemm_run(&hybrid__gemm_plan_##isa##_##type, w, row_bytes, k, acts, n, y, y_stride, r0, r1, scratch); }

/* ---- VNNI: 8 rows of activations ---- */

#define HYBRID__EACH8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define HYBRID__EACH16(X) HYBRID__EACH8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* Address of value `at` of row i (a constant) from four bases, so that all rows need 3 registers more. */
#define HYBRID__ROW(base, i) ((base)[(i) / 4] + ((i) % 4 == 3 ? stride3 : (size_t)((i) % 4) * stride))

/* A finished run (sum v of one activation row) joins the runs before it: run 0 waits; 1 joins 0; 2 waits; 3 joins 2, then both join 0 and 1; ... */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__merge_avx512(__m512 v, int i, int run, float (*waiting)[256], float *out)
{
    if (run & 1) v = _mm512_add_ps(_mm512_load_ps(waiting[0] + 16 * i), v);
    if ((run & 3) == 3) v = _mm512_add_ps(_mm512_load_ps(waiting[1] + 16 * i), v);
    if (run == 7) _mm512_store_ps(out + 16 * i, _mm512_add_ps(_mm512_load_ps(waiting[2] + 16 * i), v));
    else _mm512_store_ps(waiting[(run & 3) == 3 ? 2 : run & 1] + 16 * i, v);
}

HYBRID__INLINE HYBRID__TARGET_AVX512 __m512 hybrid__splat_avx512(const char *p) { return _mm512_set1_ps(hybrid__load_f32(p)); }
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__splat_int_avx512(const char *p) { return _mm512_set1_epi32((int)hybrid__load_u32(p)); }

HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__tile32_vnni(const hybrid__tile *tile, bool affine)
{
    const __m512 magic = _mm512_set1_ps(-12582912.0f);
    const __m512i top = _mm512_set1_epi8(-128);
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hybrid__many32_part(tile->k);
    const char *panel = tile->panel, *x[2], *d[2];
    HYBRID__ALIGN64 float waiting[3][256];
    int64_t run[9], at;
    int j, q;
    x[0] = tile->acts; x[1] = x[0] + 4 * stride;
    d[0] = x[0] + hybrid__many32_d(tile->k); d[1] = d[0] + 4 * stride;
    hybrid__runs(tile->k / 32, run);
    for (j = 0; j < 8; j++) {
        __m512 v[8];
#define HYBRID__X(i) v[i] = _mm512_setzero_ps();
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
        for (at = run[j]; at < run[j + 1]; at++) {
            __m512i s[8];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL32_D)), dm = _mm512_mul_ps(dw, magic), m = dw;
            if (affine) m = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL32_M));
#define HYBRID__X(i) s[i] = hybrid__splat_int_avx512(HYBRID__ROW(d, i) + 2 * part);
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            for (q = 0; q < 8; q++) {
                __m512i w = _mm512_xor_si512(_mm512_load_si512(panel + q * 64), top);
#define HYBRID__X(i) s[i] = _mm512_dpbusd_epi32(s[i], w, hybrid__splat_int_avx512(HYBRID__ROW(x, i) + q * 4));
                HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            }
#define HYBRID__X(i) {                                                                                    \
                __m512 t = _mm512_fmadd_ps(_mm512_castsi512_ps(s[i]), dw, dm);                            \
                if (affine) t = _mm512_fmadd_ps(m, hybrid__splat_avx512(HYBRID__ROW(d, i) + part), t);    \
                v[i] = _mm512_fmadd_ps(t, hybrid__splat_avx512(HYBRID__ROW(d, i)), v[i]); }
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            panel += HYBRID__PANEL32;
            x[0] += 32; x[1] += 32;
            d[0] += 4; d[1] += 4;
        }
#define HYBRID__X(i) hybrid__merge_avx512(v[i], i, j, waiting, tile->out);
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
    }
}
HYBRID__TARGET_AVX512 static void hybrid__tile32_vnni_plain(const hybrid__tile *tile) { hybrid__tile32_vnni(tile, false); }
HYBRID__TARGET_AVX512 static void hybrid__tile32_vnni_affine(const hybrid__tile *tile) { hybrid__tile32_vnni(tile, true); }

/* two: the panel has high bytes. affine: it has mins. correction: 0, or which of c3, c6 (1, 2) starts the sums. */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__tile256_vnni(const hybrid__tile *tile, bool two, bool affine, int correction)
{
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hybrid__many256_part(tile->k);
    const char *panel = tile->panel, *x[2], *d[2], *s16[2];
    HYBRID__ALIGN64 float waiting[3][256];
    int64_t run[9], at;
    int j, q;
    x[0] = tile->acts; x[1] = x[0] + 4 * stride;
    d[0] = x[0] + hybrid__many256_d(tile->k); d[1] = d[0] + 4 * stride;
    s16[0] = x[0] + hybrid__many256_s16(tile->k); s16[1] = s16[0] + 4 * stride;
    hybrid__runs(tile->k / 256, run);
    for (j = 0; j < 8; j++) {
        __m512 v[8];
#define HYBRID__X(i) v[i] = _mm512_setzero_ps();
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
        for (at = run[j]; at < run[j + 1]; at++) {
            __m512i s[8], h[8];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL256_D)), dm = dw;
            if (affine) dm = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL256_D + 64));
#define HYBRID__X(i) s[i] = correction ? hybrid__splat_int_avx512(HYBRID__ROW(d, i) + (size_t)correction * part) : _mm512_setzero_si512(); h[i] = _mm512_setzero_si512();
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            for (q = 0; q < 64; q++) {
                __m512i w = _mm512_load_si512(panel + q * 64), wh = w, xi;
                if (two) wh = _mm512_load_si512(panel + HYBRID__PANEL256_HIGH + q * 64);
#define HYBRID__X(i) xi = hybrid__splat_int_avx512(HYBRID__ROW(x, i) + q * 4); s[i] = _mm512_dpbusd_epi32(s[i], w, xi); if (two) h[i] = _mm512_dpbusd_epi32(h[i], wh, xi);
                HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            }
#define HYBRID__X(i) if (two) s[i] = _mm512_add_epi32(s[i], _mm512_slli_epi32(h[i], 8)); h[i] = _mm512_setzero_si512();
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            if (affine)
                for (q = 0; q < 8; q++) {
                    __m512i m = _mm512_load_si512(panel + HYBRID__PANEL256_MS + q * 64);
#define HYBRID__X(i) h[i] = _mm512_dpwssd_epi32(h[i], m, hybrid__splat_int_avx512(HYBRID__ROW(s16, i) + q * 4));
                    HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
                }
#define HYBRID__X(i) {                                                                                    \
                __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(s[i]), dw);                                   \
                if (affine) t = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(h[i]), dm, t);                        \
                v[i] = _mm512_fmadd_ps(t, hybrid__splat_avx512(HYBRID__ROW(d, i)), v[i]); }
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            panel += HYBRID__PANEL256;
            x[0] += 256; x[1] += 256;
            d[0] += 4; d[1] += 4;
            s16[0] += 32; s16[1] += 32;
        }
#define HYBRID__X(i) hybrid__merge_avx512(v[i], i, j, waiting, tile->out);
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
    }
}
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q2(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, false, true, 0); }
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q3(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, false, false, 1); }
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q45(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, true, true, 0); }
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q6(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, true, false, 2); }

/* ---- the kernels of every type ---- */
#define HYBRID__KERNEL_PANELS(isa, type, family, tile, tile_rows, begin, end)                                                                   \
    static const hybrid__int_gemm hybrid__gemm_plan_##isa##_##type = {                                                                          \
        hybrid__panel_##type, tile, begin, end, tile_rows, family, HYBRID__PANEL##family, sizeof(hybrid__block_##type),                         \
        hybrid__many##family##_bytes                                                                                                            \
    };                                                                                                                                          \
    HYBRID__INT_GEMM_TYPE(isa, type)                                                                                                            \
    static const hybrid__matmul_kernel hybrid__kernel_##isa##_##type = {                                                                        \
        &hybrid__one##family##_avx512, &hybrid__many##family##_avx512, 6, 16, hybrid__gemv_avx512_##type, hybrid__gemm_scratch_##isa##_##type,  \
        hybrid__gemm_##isa##_##type, NULL                                                                                                       \
    };
HYBRID__KERNEL_PANELS(avx512, q4_0, 32, hybrid__tile32_vnni_plain, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q4_1, 32, hybrid__tile32_vnni_affine, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q5_0, 32, hybrid__tile32_vnni_plain, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q5_1, 32, hybrid__tile32_vnni_affine, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q8_0, 32, hybrid__tile32_vnni_plain, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q2_K, 256, hybrid__tile256_vnni_q2, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q3_K, 256, hybrid__tile256_vnni_q3, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q4_K, 256, hybrid__tile256_vnni_q45, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q5_K, 256, hybrid__tile256_vnni_q45, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q6_K, 256, hybrid__tile256_vnni_q6, 8, NULL, NULL)

#endif
