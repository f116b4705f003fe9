/* quant/blocks: how the bytes of every quantized type lie in a file, and nothing else. Encoders, decoders and kernels
 * share these.
 *
 * A row of n values is n / 32 or n / 256 blocks, one after the other. d and dmin (m) are IEEE halves, little-endian.
 * "q[i]" below is the unsigned number that is stored for value i of the block.
 *
 * Blocks of 32. qs[j] holds q[j] in its low nibble and q[j + 16] in its high one; bit i of qh (a little-endian 32-bit
 * number) is bit 4 of q[i].
 *   Q4_0  value = d * (q - 8)             Q4_1  value = d * q + m
 *   Q5_0  value = d * (q - 16)            Q5_1  value = d * q + m           Q8_0  value = d * qs[i]
 *
 * Super-blocks of 256, in sub-blocks of 16 (Q2_K Q3_K Q6_K) or 32 (Q4_K Q5_K) values; sub-block s of value i is i / 16
 * or i / 32.
 *   Q2_K  value = (d * sc[s]) * q - (dmin * m[s])    scales[s] = sc | m << 4
 *         q: halves of 128 values h = i / 128; within one, value v = i % 128 is bits 2(v/32), +1 of qs[32h + v % 32]
 *   Q3_K  value = (d * (sc[s] - 32)) * (q - 4)       sc: 6 bits, packed in 12 bytes (below)
 *         bits 0, 1 of q as Q2_K; bit 2 is bit i / 32 of hmask[i % 32]
 *   Q4_K  value = (d * sc[s]) * q - (dmin * m[s])    sc, m: 6 bits each, packed in 12 bytes (below)
 *         q: quarters of 64 values c = i / 64; value v = i % 64 is the low (v < 32) or high nibble of qs[32c + v % 32]
 *   Q5_K  as Q4_K; bit 4 of q is bit i / 32 of qh[i % 32]
 *   Q6_K  value = (d * sc[s]) * (q - 32)             sc: signed bytes
 *         halves of 128, h = i / 128, v = i % 128: the low 4 bits are the low (v < 64) or high nibble of ql[64h + v %
 *         64], the high 2 are bits 2(v/32), +1 of qh[32h + v % 32] */
#ifndef HYB_QUANT_BLOCKS_C
#define HYB_QUANT_BLOCKS_C
#include "../core/number.c"

enum { HYB_QK = 32, HYB_QK_K = 256 }; /* values of a block, of a super-block */

typedef struct hyb_block_q4_0 {
    uint16_t d;
    uint8_t qs[16];
} hyb_block_q4_0;
typedef struct hyb_block_q4_1 {
    uint16_t d, m;
    uint8_t qs[16];
} hyb_block_q4_1;
typedef struct hyb_block_q5_0 {
    uint16_t d;
    uint8_t qh[4];
    uint8_t qs[16];
} hyb_block_q5_0;
typedef struct hyb_block_q5_1 {
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
} hyb_block_q5_1;
typedef struct hyb_block_q8_0 {
    uint16_t d;
    int8_t qs[32];
} hyb_block_q8_0;
typedef struct hyb_block_q2_K {
    uint8_t scales[16];
    uint8_t qs[64];
    uint16_t d, dmin;
} hyb_block_q2_K;
typedef struct hyb_block_q3_K {
    uint8_t hmask[32];
    uint8_t qs[64];
    uint8_t scales[12];
    uint16_t d;
} hyb_block_q3_K;
typedef struct hyb_block_q4_K {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qs[128];
} hyb_block_q4_K;
typedef struct hyb_block_q5_K {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32];
    uint8_t qs[128];
} hyb_block_q5_K;
typedef struct hyb_block_q6_K {
    uint8_t ql[128];
    uint8_t qh[64];
    int8_t scales[16];
    uint16_t d;
} hyb_block_q6_K;

/* The 12 bytes of Q4_K and Q5_K: 8 scales and 8 mins of 6 bits. Bytes 0-3: sc[0-3], 4-7: m[0-3], in the low 6 bits;
 * bytes 8-11: the low nibbles of sc[4-7] and m[4-7]; their two high bits are on top of bytes 0-3 and 4-7. Three
 * words at once. */
HYB_INLINE void hyb_scales_k4_unpack(const uint8_t *packed, uint8_t *sc, uint8_t *m)
{
    uint32_t a = hyb_load_u32(packed), b = hyb_load_u32(packed + 4), c = hyb_load_u32(packed + 8);
    hyb_store_u32(sc, a & 0x3F3F3F3Fu);
    hyb_store_u32(sc + 4, (c & 0x0F0F0F0Fu) | ((a >> 2) & 0x30303030u));
    hyb_store_u32(m, b & 0x3F3F3F3Fu);
    hyb_store_u32(m + 4, ((c >> 4) & 0x0F0F0F0Fu) | ((b >> 2) & 0x30303030u));
}
HYB_INLINE void hyb_scales_k4_pack(const uint8_t *sc, const uint8_t *m, uint8_t *packed)
{
    uint32_t s0 = hyb_load_u32(sc), s1 = hyb_load_u32(sc + 4), m0 = hyb_load_u32(m), m1 = hyb_load_u32(m + 4);
    hyb_store_u32(packed, s0 | ((s1 & 0x30303030u) << 2));
    hyb_store_u32(packed + 4, m0 | ((m1 & 0x30303030u) << 2));
    hyb_store_u32(packed + 8, (s1 & 0x0F0F0F0Fu) | ((m1 & 0x0F0F0F0Fu) << 4));
}

/* The 12 bytes of Q3_K: 16 scales of 6 bits. Low nibbles: sc[0-7] in the low, sc[8-15] in the high nibbles of bytes
 * 0-7; two high bits of sc[s]: bits 2(s/4), +1 of byte 8 + s % 4. Unpacked as sc - 32, -32..31. */
HYB_INLINE void hyb_scales_q3_unpack(const uint8_t *packed, int8_t *sc)
{
    int s;
    for (s = 0; s < 16; s++) {
        int low = (packed[s % 8] >> (s / 8 * 4)) & 15, high = (packed[8 + s % 4] >> (s / 4 * 2)) & 3;
        sc[s] = (int8_t)((low | high << 4) - 32);
    }
}
HYB_INLINE void hyb_scales_q3_pack(const int8_t *sc, uint8_t *packed)
{
    int s;
    memset(packed, 0, 12);
    for (s = 0; s < 16; s++) {
        int q = sc[s] + 32;
        packed[s % 8] = (uint8_t)(packed[s % 8] | (q & 15) << (s / 8 * 4));
        packed[8 + s % 4] = (uint8_t)(packed[8 + s % 4] | (q >> 4) << (s / 4 * 2));
    }
}
#endif
