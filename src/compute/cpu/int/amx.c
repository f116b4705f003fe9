/* compute/cpu/int/amx: prefill with AMX: tiles of 16 activation rows x 16 weight rows; the panels and activations of
 * int/panel.c.
 *
 * The tile unit sums a block's products as int32; the tile goes through memory, and vectors scale and add it while the
 * unit works on the next one. While the unit is busy only one port is left for vectors, so their number is what counts:
 * two for a 32-weight block (sums start at the bits of 1.5 * 2^23, see NUMERICS.md), and for a super-block scales are
 * already in the weights: two planes of bytes. The mins of a super-block are products of small integers: exact in
 * bfloat16, and they come out as floats. */
#ifndef HYB_COMPUTE_CPU_INT_AMX_C
#define HYB_COMPUTE_CPU_INT_AMX_C
#include "gemm.c"

#if defined(HYB_AVX512) && (defined(__GNUC__) || defined(__clang__)) && defined(__linux__)
    #define HYB_AMX 1

enum { HYB_AMX_AHEAD = 3 }; /* 32-weight blocks whose products are under way while one is scaled */

    #define HYB_TILE_LOAD(t, p, stride) \
        __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"((const void *)(p)), "r"((size_t)(stride)) : "memory")
    #define HYB_TILE_STORE(t, p, stride) \
        __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"((void *)(p)), "r"((size_t)(stride)) : "memory")
    #define HYB_TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : : : "memory")
    #define HYB_TILE_DOT(c, a, b) \
        __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory") /* signed, signed */
    #define HYB_TILE_DOT_U(c, a, b) \
        __asm__ volatile("tdpbsud %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory") /* signed a, unsigned b */
    #define HYB_TILE_DOT_BF16(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")

/* Tiles 0-2: sums; 3, 4: weights and activations of 64 k; 5, 6: of 32 k. */
typedef struct hyb_tile_config {
    uint8_t palette, start, zero[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} hyb_tile_config;
HYB_TARGET_AMX static void hyb_amx_begin(void)
{
    hyb_tile_config c;
    int i;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (i = 0; i < 7; i++) {
        c.rows[i] = 16;
        c.row_bytes[i] = 64;
    }
    c.rows[5] = 8;
    c.row_bytes[6] = 32;
    __asm__ volatile("ldtilecfg %0" : : "m"(c));
}
HYB_TARGET_AMX static void hyb_amx_end(void) { __asm__ volatile("tilerelease" : : : "memory"); }

/* The system call, which the C library does not declare everywhere. */
static int64_t hyb_arch_prctl(uint64_t what, uint64_t argument)
{
    int64_t result;
    __asm__ volatile("syscall" : "=a"(result) : "0"((uint64_t)158), "D"(what), "S"(argument) : "rcx", "r11", "memory");
    return result;
}

/* Whether this process may use the tiles (int8 and bfloat16). Linux wants to be asked, once a process; asking again
 * is harmless. */
static bool hyb_amx_usable(void)
{
    uint32_t r[4];
    uint64_t granted = 0;
    hyb_cpuid(7, 0, r);
    if ((r[3] >> 22 & 1) == 0 || (r[3] >> 24 & 3) != 3 || (hyb_xgetbv() & 0x60000) != 0x60000) return false;
    hyb_arch_prctl(0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
    return !hyb_arch_prctl(0x1022 /* ARCH_GET_XCOMP_PERM */, (uint64_t)(uintptr_t)&granted) && (granted >> 18 & 1);
}

HYB_INLINE HYB_TARGET_AMX void hyb_tile32_amx(const hyb_tile *tile, bool affine)
{
    const __m512 magic = _mm512_set1_ps(-12582912.0f);
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hyb_many32_part(tile->k);
    const char *panel = tile->panel, *x = tile->acts, *ahead = tile->panel, *d[4];
    HYB_ALIGN64 float waiting[3][256], start[16];
    HYB_ALIGN64 char sums[4][1024];
    int64_t run[9], at, issued = 0;
    int j;
    for (j = 0; j < 16; j++) start[j] = 12582912.0f;
    d[0] = tile->acts + hyb_many32_d(tile->k);
    for (j = 1; j < 4; j++) d[j] = d[j - 1] + 4 * stride;
    hyb_runs(tile->k / 32, run);
    #define HYB_ISSUE \
        if (issued < run[8]) { \
            HYB_TILE_LOAD(0, start, 0); \
            HYB_TILE_LOAD(6, x, stride); \
            HYB_TILE_LOAD(5, ahead, 64); \
            HYB_TILE_DOT(0, 6, 5); \
            HYB_TILE_STORE(0, sums[issued & 3], 64); \
            issued++; \
            x += 32; \
            ahead += HYB_PANEL32; \
        }
    for (j = 0; j < HYB_AMX_AHEAD; j++) {
        HYB_ISSUE
    }
    for (j = 0; j < 8; j++) {
        __m512 v[16];
    #define HYB_X(i) v[i] = _mm512_setzero_ps();
        HYB_EACH16(HYB_X)
    #undef HYB_X
        for (at = run[j]; at < run[j + 1]; at++) {
            const char *sum = sums[at & 3];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYB_PANEL32_D)),
                   dm = _mm512_mul_ps(dw, magic), m = dw;
            if (affine) m = _mm512_load_ps((const float *)(const void *)(panel + HYB_PANEL32_M));
            HYB_ISSUE
    #define HYB_X(i) \
        { \
            __m512 t = _mm512_load_ps((const float *)(const void *)(sum + 64 * i)); \
            __asm__("" : "+v"(t)); \
            t = _mm512_fmadd_ps(t, dw, dm); \
            if (affine) t = _mm512_fmadd_ps(m, hyb_splat_avx512(HYB_ROW(d, i) + part), t); \
            v[i] = _mm512_fmadd_ps(t, hyb_splat_avx512(HYB_ROW(d, i)), v[i]); \
        }
            HYB_EACH16(HYB_X)
    #undef HYB_X
            panel += HYB_PANEL32;
            d[0] += 4;
            d[1] += 4;
            d[2] += 4;
            d[3] += 4;
        }
    #define HYB_X(i) hyb_merge_avx512(v[i], i, j, waiting, tile->out);
        HYB_EACH16(HYB_X)
    #undef HYB_X
    }
    #undef HYB_ISSUE
}
HYB_TARGET_AMX static void hyb_tile32_amx_plain(const hyb_tile *tile) { hyb_tile32_amx(tile, false); }
HYB_TARGET_AMX static void hyb_tile32_amx_affine(const hyb_tile *tile) { hyb_tile32_amx(tile, true); }

HYB_INLINE HYB_TARGET_AMX void hyb_tile256_amx(const hyb_tile *tile, bool two, bool affine, int correction)
{
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hyb_many256_part(tile->k);
    const char *panel = tile->panel, *x = tile->acts, *b16 = tile->acts + hyb_many256_b16(tile->k),
               *ahead = tile->panel, *d[4];
    HYB_ALIGN64 float waiting[3][256];
    HYB_ALIGN64 char sums[2][3][1024];
    int64_t run[9], at, issued = 0;
    int j, c;
    d[0] = tile->acts + hyb_many256_d(tile->k);
    for (j = 1; j < 4; j++) d[j] = d[j - 1] + 4 * stride;
    hyb_runs(tile->k / 256, run);
    #define HYB_ISSUE \
        if (issued < run[8]) { \
            char (*to)[1024] = sums[issued & 1]; \
            HYB_TILE_ZERO(0); \
            if (two) HYB_TILE_ZERO(1); \
            for (c = 0; c < 4; c++) { \
                HYB_TILE_LOAD(4, x + c * 64, stride); \
                HYB_TILE_LOAD(3, ahead + c * 1024, 64); \
                HYB_TILE_DOT_U(0, 4, 3); \
                if (two) { \
                    HYB_TILE_LOAD(3, ahead + HYB_PANEL256_HIGH + c * 1024, 64); \
                    HYB_TILE_DOT_U(1, 4, 3); \
                } \
            } \
            HYB_TILE_STORE(0, to[0], 64); \
            if (two) HYB_TILE_STORE(1, to[1], 64); \
            if (affine) { \
                HYB_TILE_ZERO(2); \
                HYB_TILE_LOAD(4, b16, stride); \
                HYB_TILE_LOAD(3, ahead + HYB_PANEL256_MB, 64); \
                HYB_TILE_DOT_BF16(2, 4, 3); \
                HYB_TILE_STORE(2, to[2], 64); \
            } \
            issued++; \
            x += 256; \
            b16 += 64; \
            ahead += HYB_PANEL256; \
        }
    HYB_ISSUE
    for (j = 0; j < 8; j++) {
        __m512 v[16];
    #define HYB_X(i) v[i] = _mm512_setzero_ps();
        HYB_EACH16(HYB_X)
    #undef HYB_X
        for (at = run[j]; at < run[j + 1]; at++) {
            char (*sum)[1024] = sums[at & 1];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYB_PANEL256_D)), dm = dw;
            if (affine) dm = _mm512_load_ps((const float *)(const void *)(panel + HYB_PANEL256_D + 64));
            HYB_ISSUE
    #define HYB_X(i) \
        { \
            __m512i s = _mm512_load_si512(sum[0] + 64 * i); \
            __m512 t; \
            if (two) s = _mm512_add_epi32(s, _mm512_slli_epi32(_mm512_load_si512(sum[1] + 64 * i), 8)); \
            if (correction) s = _mm512_add_epi32(s, hyb_splat_int_avx512(HYB_ROW(d, i) + (size_t)correction * part)); \
            t = _mm512_mul_ps(_mm512_cvtepi32_ps(s), dw); \
            if (affine) t = _mm512_fnmadd_ps(_mm512_load_ps((const float *)(const void *)(sum[2] + 64 * i)), dm, t); \
            v[i] = _mm512_fmadd_ps(t, hyb_splat_avx512(HYB_ROW(d, i)), v[i]); \
        }
            HYB_EACH16(HYB_X)
    #undef HYB_X
            panel += HYB_PANEL256;
            d[0] += 4;
            d[1] += 4;
            d[2] += 4;
            d[3] += 4;
        }
    #define HYB_X(i) hyb_merge_avx512(v[i], i, j, waiting, tile->out);
        HYB_EACH16(HYB_X)
    #undef HYB_X
    }
    #undef HYB_ISSUE
}
HYB_TARGET_AMX static void hyb_tile256_amx_q2(const hyb_tile *tile) { hyb_tile256_amx(tile, false, true, 0); }
HYB_TARGET_AMX static void hyb_tile256_amx_q3(const hyb_tile *tile) { hyb_tile256_amx(tile, false, false, 1); }
HYB_TARGET_AMX static void hyb_tile256_amx_q45(const hyb_tile *tile) { hyb_tile256_amx(tile, true, true, 0); }
HYB_TARGET_AMX static void hyb_tile256_amx_q6(const hyb_tile *tile) { hyb_tile256_amx(tile, true, false, 2); }

    #define HYB_KERNEL_AMX(type, family, tile) \
        HYB_KERNEL_PANELS(amx, type, family, hyb_panel_##type, HYB_PANEL##family, tile, NULL, 16, 6, hyb_amx_begin, \
                          hyb_amx_end)
HYB_KERNEL_AMX(q4_0, 32, hyb_tile32_amx_plain)
HYB_KERNEL_AMX(q4_1, 32, hyb_tile32_amx_affine)
HYB_KERNEL_AMX(q5_0, 32, hyb_tile32_amx_plain)
HYB_KERNEL_AMX(q5_1, 32, hyb_tile32_amx_affine)
HYB_KERNEL_AMX(q8_0, 32, hyb_tile32_amx_plain)
HYB_KERNEL_AMX(q2_K, 256, hyb_tile256_amx_q2)
HYB_KERNEL_AMX(q3_K, 256, hyb_tile256_amx_q3)
HYB_KERNEL_AMX(q4_K, 256, hyb_tile256_amx_q45)
HYB_KERNEL_AMX(q5_K, 256, hyb_tile256_amx_q45)
HYB_KERNEL_AMX(q6_K, 256, hyb_tile256_amx_q6)
    #undef HYB_KERNEL_AMX

#endif
#endif
