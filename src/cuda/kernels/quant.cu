/* quant: the blocks of weights as the device reads them. TYPE (-D) is the number of the type; layouts: quant/blocks.c.
 *
 * Quantized types: a block has PIECES pieces of 32 values. A piece is two halves of 16 neighbouring values, value =
 * s[half] * q - m[half], with q as bytes (never negative but for Q8_0), four in a word. Half h starts at value
 * half_at(piece, h) of the block. In the types of 32 it is all simple; in super-blocks the two halves are those that
 * share bytes (low and high nibbles), so that no byte is read for nothing.
 *     decode_piece(block, piece, &p);   then  piece_value(p, i), i = 0..31: values half_at(piece, 0) + i, and
 *     half_at(piece, 1) + i - 16
 * The older types have a decode_piece each, and lines of their own in matbatch.cu. Every other type has its sizes and
 * one function, decode_four, of which both are made (BY_FOURS; at the end).
 * Floats: IS_FLOAT, float_at(row, i).
 * Blocks may lie in global or shared memory at the alignment that a file gives them (BLOCK_ALIGN); nothing outside a
 * block's row is read. */
#define TYPE_F32  0
#define TYPE_F16  1
#define TYPE_Q4_0 2
#define TYPE_Q4_1 3
#define TYPE_Q5_0 6
#define TYPE_Q5_1 7
#define TYPE_Q8_0 8
#define TYPE_Q2_K 10
#define TYPE_Q3_K 11
#define TYPE_Q4_K 12
#define TYPE_Q5_K 13
#define TYPE_Q6_K 14
#define TYPE_IQ4_NL 20
#define TYPE_IQ4_XS 23
#define TYPE_BF16 30

#if TYPE == TYPE_F32 || TYPE == TYPE_F16 || TYPE == TYPE_BF16
    #define IS_FLOAT 1
#else
    #define IS_FLOAT 0
#endif

#if TYPE == TYPE_F32
    #define BLOCK_BYTES 4
#elif TYPE == TYPE_F16 || TYPE == TYPE_BF16
    #define BLOCK_BYTES 2
#elif TYPE == TYPE_Q4_0
    #define BLOCK_BYTES 18
    #define BLOCK_ALIGN 2
#elif TYPE == TYPE_Q4_1
    #define BLOCK_BYTES 20
    #define BLOCK_ALIGN 4
#elif TYPE == TYPE_Q5_0
    #define BLOCK_BYTES 22
    #define BLOCK_ALIGN 2
#elif TYPE == TYPE_Q5_1
    #define BLOCK_BYTES 24
    #define BLOCK_ALIGN 8
#elif TYPE == TYPE_Q8_0
    #define BLOCK_BYTES 34
    #define BLOCK_ALIGN 2
#elif TYPE == TYPE_Q2_K
    #define BLOCK_BYTES 84
    #define BLOCK_ALIGN 4
#elif TYPE == TYPE_Q3_K
    #define BLOCK_BYTES 110
    #define BLOCK_ALIGN 2
#elif TYPE == TYPE_Q4_K
    #define BLOCK_BYTES 144
    #define BLOCK_ALIGN 16
#elif TYPE == TYPE_Q5_K
    #define BLOCK_BYTES 176
    #define BLOCK_ALIGN 16
#elif TYPE == TYPE_Q6_K
    #define BLOCK_BYTES 210
    #define BLOCK_ALIGN 2
/* By fours: also the values of a block (a multiple of 32), those that share s and m (16 or 32), whether m is ever not
 * zero. BLOCK_ALIGN: the largest power of two that divides BLOCK_BYTES, and 16 at most. */
#elif TYPE == TYPE_IQ4_NL
    #define BLOCK_BYTES  18
    #define BLOCK_ALIGN  2
    #define BLOCK_VALUES 32
    #define SCALE_VALUES 32
    #define HAS_MIN      0
#elif TYPE == TYPE_IQ4_XS
    #define BLOCK_BYTES  136
    #define BLOCK_ALIGN  8
    #define BLOCK_VALUES 256
    #define SCALE_VALUES 32
    #define HAS_MIN      0
#else
    #error "TYPE is not one of the types of weights"
#endif

#if IS_FLOAT
    #define BLOCK 1
DEVICE float float_at(const void *row, i64 i)
{
    #if TYPE == TYPE_F32
    return ((const float *)row)[i];
    #elif TYPE == TYPE_F16
    return h2f(((const half_t *)row)[i]);
    #else
    return bf2f(((const bf16_t *)row)[i]);
    #endif
}

#else
    #ifdef BLOCK_VALUES
        #define BY_FOURS 1
        #define PIECES   (BLOCK_VALUES / 32)
    #else
        #define BY_FOURS     0
        #define PIECES       (TYPE >= TYPE_Q2_K ? 8 : 1)
        #define SCALE_VALUES (TYPE == TYPE_Q2_K || TYPE == TYPE_Q3_K || TYPE == TYPE_Q6_K ? 16 : 32)
        #define HAS_MIN      (TYPE != TYPE_Q8_0) /* m is not zero */
    #endif
    #define BLOCK     (32 * PIECES)
    /* both halves have the same s and m, and are neighbours */
    #define ONE_SCALE (PIECES == 1 && SCALE_VALUES == 32)

struct piece {
    int w[8];
    float s[2], m[2];
};

/* N words from p, which is aligned to ALIGN bytes. Aligned to two: the words around them, shifted; the last two bytes
 * alone, so that nothing after the N words is read. */
template <int N, int ALIGN> DEVICE void load_words(const u8 *p, u32 *w)
{
    if constexpr (ALIGN == 16 && N == 4) {
        uint4 v = *(const uint4 *)p;
        w[0] = v.x;
        w[1] = v.y;
        w[2] = v.z;
        w[3] = v.w;
    } else if constexpr (ALIGN >= 8 && N % 2 == 0) {
        #pragma unroll
        for (int i = 0; i < N / 2; i++) {
            uint2 v = ((const uint2 *)p)[i];
            w[2 * i] = v.x;
            w[2 * i + 1] = v.y;
        }
    } else if constexpr (ALIGN >= 4) {
        #pragma unroll
        for (int i = 0; i < N; i++) w[i] = ((const u32 *)p)[i];
    } else {
        bool between = ((u64)p & 2) != 0;
        const u32 *words = (const u32 *)(p - (between ? 2 : 0));
        u32 v[N + 1], order = between ? 0x5432u : 0x3210u;
        #pragma unroll
        for (int i = 0; i < N; i++) v[i] = words[i];
        v[N] = between ? (u32)*(const u16 *)(p + 4 * N - 2) : 0u;
        #pragma unroll
        for (int i = 0; i < N; i++) w[i] = __byte_perm(v[i], v[i + 1], order);
    }
}
DEVICE float half_of(const u8 *p) { return h2f(*(const half_t *)p); }

/* Bits 0-3 of `bits`, each as bit 4 of a byte. */
DEVICE u32 spread_fifth(u32 bits) { return ((bits & 15u) * 0x02040810u) & 0x10101010u; }

    #if BY_FOURS
/* Four neighbouring values: s * q - m, q as signed bytes. */
struct four {
    u32 q;
    float s, m;
};
DEVICE four decode_four(const u8 *block, int at);

DEVICE int half_at(int piece, int half) { return piece * 32 + half * 16; }

DEVICE void decode_piece(const u8 *block, int piece_, piece *p)
{
    #pragma unroll
    for (int j = 0; j < 8; j++) {
        four f = decode_four(block, 32 * piece_ + 4 * j);
        p->w[j] = (int)f.q;
        p->s[j >> 2] = f.s;
        p->m[j >> 2] = f.m;
    }
}

    #elif PIECES == 1
DEVICE int half_at(int piece, int half) { return half * 16; }

DEVICE void decode_piece(const u8 *block, int, piece *p)
{
        #if TYPE == TYPE_Q8_0
    load_words<8, 2>(block + 2, (u32 *)p->w);
    p->s[0] = p->s[1] = half_of(block);
    p->m[0] = p->m[1] = 0.0f;
        #else
    const int at_qs = BLOCK_BYTES - 16;
    u32 q[4];
            #if TYPE == TYPE_Q5_1
    load_words<4, 8>(block + at_qs, q);
            #elif TYPE == TYPE_Q4_1
    load_words<4, 4>(block + at_qs, q);
            #else
    load_words<4, 2>(block + at_qs, q);
            #endif
    #pragma unroll
    for (int j = 0; j < 4; j++) {
        p->w[j] = (int)(q[j] & 0x0F0F0F0Fu);
        p->w[4 + j] = (int)(q[j] >> 4 & 0x0F0F0F0Fu);
    }
            #if TYPE == TYPE_Q5_0 || TYPE == TYPE_Q5_1
    u32 qh;
    load_words<1, TYPE == TYPE_Q5_0 ? 2 : 4>(block + at_qs - 4, &qh);
    #pragma unroll
    for (int j = 0; j < 8; j++) p->w[j] |= (int)spread_fifth(qh >> 4 * j);
            #endif
    float d = half_of(block);
    p->s[0] = p->s[1] = d;
            #if TYPE == TYPE_Q4_1 || TYPE == TYPE_Q5_1
    p->m[0] = p->m[1] = -half_of(block + 2);
            #else
    p->m[0] = p->m[1] = d * (TYPE == TYPE_Q4_0 ? 8.0f : 16.0f);
            #endif
        #endif
}

    #elif TYPE == TYPE_Q4_K || TYPE == TYPE_Q5_K
/* A quarter of 64 values is two pieces: bytes 0-15 and 16-31 of its 32; a piece's halves are their low and their
 * high nibbles. */
DEVICE int half_at(int piece, int half) { return (piece >> 1) * 64 + half * 32 + (piece & 1) * 16; }

DEVICE void decode_piece(const u8 *block, int piece_, piece *p)
{
    int quarter = piece_ >> 1;
    u32 head[4], q[4]; /* d, dmin; 12 bytes of scales */
    load_words<4, 16>(block, head);
    load_words<4, 16>(block + BLOCK_BYTES - 128 + 16 * piece_, q);
    #pragma unroll
    for (int j = 0; j < 4; j++) {
        p->w[j] = (int)(q[j] & 0x0F0F0F0Fu);
        p->w[4 + j] = (int)(q[j] >> 4 & 0x0F0F0F0Fu);
    }
        #if TYPE == TYPE_Q5_K
    u32 h[4];
    load_words<4, 16>(block + 16 + 16 * (piece_ & 1), h);
    #pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 two = h[j] >> 2 * quarter;
        p->w[j] |= (int)(two << 4 & 0x10101010u);
        p->w[4 + j] |= (int)(two << 3 & 0x10101010u);
    }
        #endif
    bool first = quarter < 2; /* sub-blocks 0-3, 4-7 */
    u32 sc = first ? head[1] & 0x3F3F3F3Fu : (head[3] & 0x0F0F0F0Fu) | (head[1] >> 2 & 0x30303030u);
    u32 mn = first ? head[2] & 0x3F3F3F3Fu : (head[3] >> 4 & 0x0F0F0F0Fu) | (head[2] >> 2 & 0x30303030u);
    sc >>= 16 * (quarter & 1);
    mn >>= 16 * (quarter & 1);
    float d = h2f((half_t)head[0]), dmin = h2f((half_t)(head[0] >> 16));
    p->s[0] = d * (float)(sc & 255u);
    p->s[1] = d * (float)(sc >> 8 & 255u);
    p->m[0] = dmin * (float)(mn & 255u);
    p->m[1] = dmin * (float)(mn >> 8 & 255u);
}

    #elif TYPE == TYPE_Q6_K
/* A half of 128 values is four pieces, 16 bytes of ql each; a piece's halves are their low and high nibbles, 64
 * values apart. */
DEVICE int half_at(int piece, int half) { return (piece >> 2) * 128 + half * 64 + (piece & 3) * 16; }

DEVICE void decode_piece(const u8 *block, int piece_, piece *p)
{
    int part = piece_ >> 2, r = piece_ & 3;
    u32 q[4], h[4];
    load_words<4, 2>(block + 16 * piece_, q);
    load_words<4, 2>(block + 128 + 32 * part + 16 * (r & 1), h);
    #pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 high = h[j] >> (r & 2); /* bits 0, 1: of the low nibble's value; 4, 5: of the high one's */
        p->w[j] = (int)((q[j] & 0x0F0F0F0Fu) | (high << 4 & 0x30303030u));
        p->w[4 + j] = (int)((q[j] >> 4 & 0x0F0F0F0Fu) | (high & 0x30303030u));
    }
    float d = half_of(block + 208);
    const i8 *sc = (const i8 *)block + 192 + 8 * part + r;
    p->s[0] = d * (float)sc[0];
    p->s[1] = d * (float)sc[4];
    p->m[0] = 32.0f * p->s[0];
    p->m[1] = 32.0f * p->s[1];
}

    #else
/* Q2_K, Q3_K. A half of 128 values has 32 bytes in four planes of two bits. Piece: 16 of the bytes (side), two of
 * the planes (pair). */
DEVICE int half_at(int piece, int half)
{
    return (piece >> 2) * 128 + ((piece >> 1 & 1) * 2 + half) * 32 + (piece & 1) * 16;
}

DEVICE void decode_piece(const u8 *block, int piece_, piece *p)
{
    /* sub-blocks */
    int part = piece_ >> 2, pair = piece_ >> 1 & 1, side = piece_ & 1, s0 = 8 * part + 4 * pair + side, s1 = s0 + 2;
    u32 q[4];
    load_words<4, BLOCK_ALIGN>(block + (TYPE == TYPE_Q2_K ? 16 : 32) + 32 * part + 16 * side, q);
    #pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 two = q[j] >> 4 * pair;
        p->w[j] = (int)(two & 0x03030303u);
        p->w[4 + j] = (int)(two >> 2 & 0x03030303u);
    }
        #if TYPE == TYPE_Q2_K
    float d = half_of(block + 80), dmin = half_of(block + 82);
    u32 a = block[s0], b = block[s1];
    p->s[0] = d * (float)(a & 15u);
    p->s[1] = d * (float)(b & 15u);
    p->m[0] = dmin * (float)(a >> 4);
    p->m[1] = dmin * (float)(b >> 4);
        #else
    u32 h[4];
    load_words<4, 2>(block + 16 * side, h);
    #pragma unroll
    for (int j = 0; j < 4; j++) {
        u32 two = h[j] >> (4 * part + 2 * pair);
        p->w[j] |= (int)(two << 2 & 0x04040404u);
        p->w[4 + j] |= (int)(two << 1 & 0x04040404u);
    }
    const u8 *sc = block + 96; /* s / 8 is part; s / 4 is 2 part + pair; s0 % 8 + 2 = s1 % 8 */
    int a = (sc[s0 & 7] >> 4 * part & 15) | (sc[8 + (s0 & 3)] >> 2 * (2 * part + pair) & 3) << 4;
    int b = (sc[s1 & 7] >> 4 * part & 15) | (sc[8 + (s1 & 3)] >> 2 * (2 * part + pair) & 3) << 4;
    float d = half_of(block + 108);
    p->s[0] = d * (float)(a - 32);
    p->s[1] = d * (float)(b - 32);
    p->m[0] = 4.0f * p->s[0];
    p->m[1] = 4.0f * p->s[1];
        #endif
}
    #endif

/* Value i (a constant, when unrolled) of a piece; rounded once. */
DEVICE float piece_value(const piece &p, int i)
{
    int byte = (int)((u32)p.w[i >> 2] << (24 - 8 * (i & 3))) >> 24;
    return fmaf(p.s[i >> 4], (float)byte, -p.m[i >> 4]);
}

    /* ---- by fours: values at ... at + 3 of a block, at a multiple of 4 ---- */

    #if TYPE == TYPE_IQ4_NL || TYPE == TYPE_IQ4_XS
/* Four places, each in the low half of a byte, as the bytes of the table (quant/iq4.c) that stand there. */
DEVICE u32 iq4_codes(u32 q)
{
    u32 pairs = q & 0x07070707u, low, high, is_high = (q >> 3 & 0x01010101u) * 255u;
    pairs |= pairs >> 4;
    u32 order = (pairs & 0xFFu) | (pairs >> 8 & 0xFF00u);
    low = __byte_perm(0xBFAD9881u, 0xF6EADDCFu, order);
    high = __byte_perm(0x26190D01u, 0x71594535u, order);
    return (low & ~is_high) | (high & is_high);
}

DEVICE four decode_four(const u8 *block, int at)
{
    four f;
    u32 q;
        #if TYPE == TYPE_IQ4_NL
    load_words<1, 2>(block + 2 + (at & 15), &q);
    f.s = half_of(block);
        #else
    int sub = at >> 5; /* sub-block */
    load_words<1, 8>(block + 8 + 16 * sub + (at & 15), &q);
    int low = block[4 + (sub >> 1)] >> (sub & 1 ? 4 : 0) & 15, high = *(const u16 *)(block + 2) >> 2 * sub & 3;
    f.s = half_of(block) * (float)((low | high << 4) - 32);
        #endif
    f.q = iq4_codes(q >> (at & 16 ? 4 : 0) & 0x0F0F0F0Fu);
    f.m = 0.0f;
    return f;
}
    #endif
#endif
