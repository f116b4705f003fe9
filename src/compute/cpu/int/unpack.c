/* compute/cpu/int/unpack: one block of every integer type as plain integers: what the scalar kernels multiply, and the
 * oracle of the rest.
 *
 * Blocks of 32: value i is d * q[i] + m (m: Q4_1 and Q5_1 only).
 * Super-blocks: value i is d * q[i] - dmin * m[i / 16], where q[i] = scale of its sub-block times the stored number:
 * exact in 16 bits. */
#ifndef HYB_COMPUTE_CPU_INT_UNPACK_C
#define HYB_COMPUTE_CPU_INT_UNPACK_C
#include "../../../quant/blocks.c"

typedef struct hyb_ints32 {
    float d, m;
    int8_t q[32];
} hyb_ints32;
typedef struct hyb_ints256 {
    float d, dmin;
    uint8_t m[16];
    int16_t q[256];
} hyb_ints256;

static void hyb_unpack_nibbles(const uint8_t *qs, uint32_t high, int offset, int8_t *q)
{
    int j;
    for (j = 0; j < 16; j++) {
        q[j] = (int8_t)(((qs[j] & 15) | (high >> j & 1) << 4) - (unsigned)offset);
        q[j + 16] = (int8_t)((qs[j] >> 4 | (high >> (j + 16) & 1) << 4) - (unsigned)offset);
    }
}
static void hyb_ints_q4_0(const void *block, hyb_ints32 *o)
{
    const hyb_block_q4_0 *b = (const hyb_block_q4_0 *)block;
    o->d = hyb_f16_to_f32(b->d);
    hyb_unpack_nibbles(b->qs, 0, 8, o->q);
}
static void hyb_ints_q4_1(const void *block, hyb_ints32 *o)
{
    const hyb_block_q4_1 *b = (const hyb_block_q4_1 *)block;
    o->d = hyb_f16_to_f32(b->d);
    o->m = hyb_f16_to_f32(b->m);
    hyb_unpack_nibbles(b->qs, 0, 0, o->q);
}
static void hyb_ints_q5_0(const void *block, hyb_ints32 *o)
{
    const hyb_block_q5_0 *b = (const hyb_block_q5_0 *)block;
    o->d = hyb_f16_to_f32(b->d);
    hyb_unpack_nibbles(b->qs, hyb_load_u32(b->qh), 16, o->q);
}
static void hyb_ints_q5_1(const void *block, hyb_ints32 *o)
{
    const hyb_block_q5_1 *b = (const hyb_block_q5_1 *)block;
    o->d = hyb_f16_to_f32(b->d);
    o->m = hyb_f16_to_f32(b->m);
    hyb_unpack_nibbles(b->qs, hyb_load_u32(b->qh), 0, o->q);
}
static void hyb_ints_q8_0(const void *block, hyb_ints32 *o)
{
    const hyb_block_q8_0 *b = (const hyb_block_q8_0 *)block;
    o->d = hyb_f16_to_f32(b->d);
    memcpy(o->q, b->qs, 32);
}

static void hyb_ints_q2_K(const void *block, hyb_ints256 *o)
{
    const hyb_block_q2_K *b = (const hyb_block_q2_K *)block;
    int i;
    o->d = hyb_f16_to_f32(b->d);
    o->dmin = hyb_f16_to_f32(b->dmin);
    for (i = 0; i < 16; i++) o->m[i] = (uint8_t)(b->scales[i] >> 4);
    for (i = 0; i < 256; i++)
        o->q[i] = (int16_t)((b->scales[i / 16] & 15) * (b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3));
}
static void hyb_ints_q3_K(const void *block, hyb_ints256 *o)
{
    const hyb_block_q3_K *b = (const hyb_block_q3_K *)block;
    int8_t sc[16];
    int i;
    o->d = hyb_f16_to_f32(b->d);
    hyb_scales_q3_unpack(b->scales, sc);
    for (i = 0; i < 256; i++) {
        int low = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3, high = b->hmask[i % 32] >> (i / 32) & 1;
        o->q[i] = (int16_t)(sc[i / 16] * ((low | high << 2) - 4));
    }
}
static void hyb_ints_q4_K(const void *block, hyb_ints256 *o)
{
    const hyb_block_q4_K *b = (const hyb_block_q4_K *)block;
    uint8_t sc[8], m[8];
    int i;
    o->d = hyb_f16_to_f32(b->d);
    o->dmin = hyb_f16_to_f32(b->dmin);
    hyb_scales_k4_unpack(b->scales, sc, m);
    for (i = 0; i < 16; i++) o->m[i] = m[i / 2];
    for (i = 0; i < 256; i++) o->q[i] = (int16_t)(sc[i / 32] * (b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15));
}
static void hyb_ints_q5_K(const void *block, hyb_ints256 *o)
{
    const hyb_block_q5_K *b = (const hyb_block_q5_K *)block;
    uint8_t sc[8], m[8];
    int i;
    o->d = hyb_f16_to_f32(b->d);
    o->dmin = hyb_f16_to_f32(b->dmin);
    hyb_scales_k4_unpack(b->scales, sc, m);
    for (i = 0; i < 16; i++) o->m[i] = m[i / 2];
    for (i = 0; i < 256; i++) {
        int low = b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15, high = b->qh[i % 32] >> (i / 32) & 1;
        o->q[i] = (int16_t)(sc[i / 32] * (low | high << 4));
    }
}
static void hyb_ints_q6_K(const void *block, hyb_ints256 *o)
{
    const hyb_block_q6_K *b = (const hyb_block_q6_K *)block;
    int i;
    o->d = hyb_f16_to_f32(b->d);
    for (i = 0; i < 256; i++) {
        int low = b->ql[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15,
            high = b->qh[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        o->q[i] = (int16_t)(b->scales[i / 16] * ((low | high << 4) - 32));
    }
}

/* ---- scales as words, for vectors ---- */

/* The 16 scales of Q3_K, plus 32, as two words (hyb_scales_q3_unpack). */
HYB_INLINE void hyb_scales_q3_words(const uint8_t *p, uint64_t *s0, uint64_t *s1)
{
    uint64_t low = hyb_load_u64(p), high = hyb_load_u32(p + 8), two = 0x0303030303030303u, four = 0x0F0F0F0F0F0F0F0Fu;
    *s0 = (low & four) | ((high | high << 30) & two) << 4;
    *s1 = (low >> 4 & four) | ((high >> 4 | (high >> 6) << 32) & two) << 4;
}
/* sc, m: 8 bytes each (hyb_scales_k4_unpack) */
HYB_INLINE void hyb_scales_k4_words(const uint8_t *p, uint64_t *sc, uint64_t *m)
{
    uint32_t a = hyb_load_u32(p), b = hyb_load_u32(p + 4), c = hyb_load_u32(p + 8);
    *sc = (a & 0x3F3F3F3Fu) | (uint64_t)((c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u)) << 32;
    *m = (b & 0x3F3F3F3Fu) | (uint64_t)((c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u)) << 32;
}
#endif
