/* compute/cpu/int/neon: integer blocks with NEON: straight from the file, for decode and prefill. Two sets: one
 * multiplies bytes to int16 and adds pairs, the other has the dot products of ARMv8.2 (sdot). */
#ifndef HYB_COMPUTE_CPU_INT_NEON_C
#define HYB_COMPUTE_CPU_INT_NEON_C
#include "../../../core/cpu.c"
#include "../../../quant/blocks.c"
#include "../kernels.c"
#include "act.c"

#if defined(HYB_ARM)

    /* The second set: always where the compiler may use sdot anyway, else by asking Linux. clang's header hides sdot
     * without the flag. */
    #if defined(__ARM_FEATURE_DOTPROD)
        #define HYB_NEON_DOT 1
        #define HYB_TARGET_NEON_DOT
static bool hyb_neon_dot_usable(void) { return true; }
    #elif defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
        #define HYB_NEON_DOT        1
        #define HYB_TARGET_NEON_DOT __attribute__((target("arch=armv8.2-a+dotprod")))
static bool hyb_neon_dot_usable(void) { return getauxval(16 /* AT_HWCAP */) >> 20 & 1; }
    #endif

/* ---- activations: the layout of int/act.c -------------------------------------------------------------------- */

/* The largest |x| of 4 n floats, divided by 127. */
HYB_INLINE float hyb_act_scale_neon(const float *x, int n)
{
    uint32x4_t a = vdupq_n_u32(0);
    int i;
    for (i = 0; i < n; i++)
        a = vmaxq_u32(a, vandq_u32(vreinterpretq_u32_f32(vld1q_f32(x + 4 * i)), vdupq_n_u32(0x7FFFFFFFu)));
    return hyb_bits_f32(vmaxvq_u32(a)) / 127.0f;
}
/* 16 floats to bytes. |x id| is below 127.01, or NaN or 0 when id is 0: the conversion makes both 0, and nothing
 * needs a clamp. */
HYB_INLINE int8x16_t hyb_quant16_neon(const float *x, float id)
{
    int16x4_t q[4];
    int i;
    HYB_UNROLL
    for (i = 0; i < 4; i++) q[i] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(vld1q_f32(x + 4 * i), id)));
    return vcombine_s8(vmovn_s16(vcombine_s16(q[0], q[1])), vmovn_s16(vcombine_s16(q[2], q[3])));
}

static void hyb_act32_prepare_neon(const float *x, int64_t k, void *act)
{
    float *d = (float *)(void *)((char *)act + hyb_act32_d(k)), *s = (float *)(void *)((char *)act + hyb_act32_s(k));
    int64_t b;
    for (b = 0; b < k / 32; b++) {
        int8x16_t q0, q1;
        float id = hyb_act_inverse(d[b] = hyb_act_scale_neon(x + b * 32, 8));
        q0 = hyb_quant16_neon(x + b * 32, id);
        q1 = hyb_quant16_neon(x + b * 32 + 16, id);
        vst1q_s8((int8_t *)act + b * 32, q0);
        vst1q_s8((int8_t *)act + b * 32 + 16, q1);
        s[b] = (float)(vaddlvq_s8(q0) + vaddlvq_s8(q1));
    }
}
static void hyb_act256_prepare_neon(const float *x, int64_t k, void *act)
{
    float *d = (float *)(void *)((char *)act + hyb_act256_d(k)), id = 0;
    int16_t *s = (int16_t *)(void *)((char *)act + hyb_act256_s(k));
    int64_t b;
    for (b = 0; b < k / 16; b++) {
        int8x16_t q;
        if (b % 16 == 0) id = hyb_act_inverse(d[b / 16] = hyb_act_scale_neon(x + b * 16, 64));
        q = hyb_quant16_neon(x + b * 16, id);
        vst1q_s8((int8_t *)act + b * 16, q);
        s[b] = vaddlvq_s8(q);
    }
}
static const hyb_act_format hyb_act32_neon = { hyb_act32_bytes, hyb_act32_prepare_neon };
static const hyb_act_format hyb_act256_neon = { hyb_act256_bytes, hyb_act256_prepare_neon };

/* ---- blocks in registers: 16 weights a vector, in order ---------------------------------------------------------- */

typedef struct hyb_neon32 {
    int8x16_t q[2];
    float d, m;
} hyb_neon32;
typedef struct hyb_neon256 {
    int8x16_t q[16];    /* without the scale of the sub-block */
    int32x4_t scale[4]; /* 16 sub-blocks, or (Q4_K, Q5_K) 8 */
    int16x8_t m[2];     /* of 16 weights each */
    float d, dmin;
} hyb_neon256;

HYB_INLINE size_t hyb_neon_block_bytes(const hybrid_type type)
{
    switch (type) {
    case HYBRID_TYPE_Q4_0: return sizeof(hyb_block_q4_0);
    case HYBRID_TYPE_Q4_1: return sizeof(hyb_block_q4_1);
    case HYBRID_TYPE_Q5_0: return sizeof(hyb_block_q5_0);
    case HYBRID_TYPE_Q5_1: return sizeof(hyb_block_q5_1);
    case HYBRID_TYPE_Q8_0: return sizeof(hyb_block_q8_0);
    case HYBRID_TYPE_Q2_K: return sizeof(hyb_block_q2_K);
    case HYBRID_TYPE_Q3_K: return sizeof(hyb_block_q3_K);
    case HYBRID_TYPE_Q4_K: return sizeof(hyb_block_q4_K);
    case HYBRID_TYPE_Q5_K: return sizeof(hyb_block_q5_K);
    default: return sizeof(hyb_block_q6_K);
    }
}

HYB_INLINE float hyb_neon_half(const void *p)
{
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(hyb_load_u16(p)))), 0);
}
HYB_INLINE uint8x16_t hyb_neon_shift_right(uint8x16_t v, int by) { return vshlq_u8(v, vdupq_n_s8((int8_t)-by)); }
HYB_INLINE int8x16_t hyb_neon_minus(uint8x16_t v, int offset)
{
    return vsubq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8((int8_t)offset));
}
/* value where bit number `bit` of each byte is set, else 0. */
HYB_INLINE uint8x16_t hyb_neon_bit(uint8x16_t v, int bit, int value)
{
    return vandq_u8(vtstq_u8(v, vdupq_n_u8((uint8_t)(1 << bit))), vdupq_n_u8((uint8_t)value));
}

/* 32 numbers: nibbles, and bit 4 of each from high. */
HYB_INLINE void hyb_neon_nibbles(const uint8_t *qs, bool five, uint32_t high, int offset, int8x16_t q[2])
{
    static const uint8_t each[8] = { 1, 2, 4, 8, 16, 32, 64, 128 };
    uint8x16_t v = vld1q_u8(qs), low = vandq_u8(v, vdupq_n_u8(15)), top = vshrq_n_u8(v, 4);
    if (five) {
        const uint8x16_t bits = vcombine_u8(vld1_u8(each), vld1_u8(each)), sixteen = vdupq_n_u8(16);
        low = vorrq_u8(low, vandq_u8(sixteen, vtstq_u8(bits, vcombine_u8(vdup_n_u8((uint8_t)high),
                                                                         vdup_n_u8((uint8_t)(high >> 8))))));
        top = vorrq_u8(top, vandq_u8(sixteen, vtstq_u8(bits, vcombine_u8(vdup_n_u8((uint8_t)(high >> 16)),
                                                                         vdup_n_u8((uint8_t)(high >> 24))))));
    }
    q[0] = hyb_neon_minus(low, offset);
    q[1] = hyb_neon_minus(top, offset);
}

HYB_INLINE void hyb_neon_unpack32(const hybrid_type type, const char *w, hyb_neon32 *o)
{
    o->d = hyb_neon_half(w);
    o->m = 0.0f;
    if (type == HYBRID_TYPE_Q8_0) {
        const hyb_block_q8_0 *b = (const hyb_block_q8_0 *)(const void *)w;
        o->q[0] = vld1q_s8(b->qs);
        o->q[1] = vld1q_s8(b->qs + 16);
    } else if (type == HYBRID_TYPE_Q4_0) {
        hyb_neon_nibbles(((const hyb_block_q4_0 *)(const void *)w)->qs, false, 0, 8, o->q);
    } else if (type == HYBRID_TYPE_Q5_0) {
        const hyb_block_q5_0 *b = (const hyb_block_q5_0 *)(const void *)w;
        hyb_neon_nibbles(b->qs, true, hyb_load_u32(b->qh), 16, o->q);
    } else if (type == HYBRID_TYPE_Q4_1) {
        o->m = hyb_neon_half(w + 2);
        hyb_neon_nibbles(((const hyb_block_q4_1 *)(const void *)w)->qs, false, 0, 0, o->q);
    } else {
        const hyb_block_q5_1 *b = (const hyb_block_q5_1 *)(const void *)w;
        o->m = hyb_neon_half(w + 2);
        hyb_neon_nibbles(b->qs, true, hyb_load_u32(b->qh), 0, o->q);
    }
}

HYB_INLINE void hyb_neon_scales(int8x16_t sc, hyb_neon256 *o)
{
    int16x8_t a = vmovl_s8(vget_low_s8(sc)), b = vmovl_s8(vget_high_s8(sc));
    o->scale[0] = vmovl_s16(vget_low_s16(a));
    o->scale[1] = vmovl_s16(vget_high_s16(a));
    o->scale[2] = vmovl_s16(vget_low_s16(b));
    o->scale[3] = vmovl_s16(vget_high_s16(b));
}

/* Q2_K, Q3_K. i: 16 weights each, 8 to a half of the block, of which two share a place in their bytes. */
HYB_INLINE void hyb_neon_unpack_2bit(const uint8_t *qs, const uint8_t *hmask, hyb_neon256 *o)
{
    int i;
    HYB_UNROLL
    for (i = 0; i < 16; i++) {
        uint8x16_t q =
            vandq_u8(hyb_neon_shift_right(vld1q_u8(qs + i / 8 * 32 + i % 2 * 16), i % 8 / 2 * 2), vdupq_n_u8(3));
        if (hmask) q = vorrq_u8(q, hyb_neon_bit(vld1q_u8(hmask + i % 2 * 16), i / 2, 4));
        o->q[i] = hyb_neon_minus(q, hmask ? 4 : 0);
    }
}
HYB_INLINE void hyb_neon_unpack_q2_K(const hyb_block_q2_K *b, hyb_neon256 *o)
{
    uint8x16_t sc = vld1q_u8(b->scales), m = vshrq_n_u8(sc, 4);
    o->d = hyb_neon_half(&b->d);
    o->dmin = hyb_neon_half(&b->dmin);
    hyb_neon_scales(vreinterpretq_s8_u8(vandq_u8(sc, vdupq_n_u8(15))), o);
    o->m[0] = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(m)));
    o->m[1] = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(m)));
    hyb_neon_unpack_2bit(b->qs, NULL, o);
}
HYB_INLINE void hyb_neon_unpack_q3_K(const hyb_block_q3_K *b, hyb_neon256 *o)
{
    int8_t sc[16];
    hyb_scales_q3_unpack(b->scales, sc);
    o->d = hyb_neon_half(&b->d);
    hyb_neon_scales(vld1q_s8(sc), o);
    hyb_neon_unpack_2bit(b->qs, b->hmask, o);
}

/* Q4_K and (qh is not NULL) Q5_K: d, dmin and scales lie in the same places. */
HYB_INLINE void hyb_neon_unpack_k4(const hyb_block_q4_K *head, const uint8_t *qs, const uint8_t *qh, hyb_neon256 *o)
{
    uint8_t sc[16], *m = sc + 8;
    int16x8_t mins;
    int i;
    hyb_scales_k4_unpack(head->scales, sc, m);
    o->d = hyb_neon_half(&head->d);
    o->dmin = hyb_neon_half(&head->dmin);
    hyb_neon_scales(vreinterpretq_s8_u8(vld1q_u8(sc)), o);
    mins = vreinterpretq_s16_u16(vmovl_u8(vld1_u8(m)));
    o->m[0] = vzip1q_s16(mins, mins);
    o->m[1] = vzip2q_s16(mins, mins);
    HYB_UNROLL
    for (i = 0; i < 16; i++) {
        uint8x16_t q = vld1q_u8(qs + i / 4 * 32 + i % 2 * 16);
        q = i % 4 / 2 ? vshrq_n_u8(q, 4) : vandq_u8(q, vdupq_n_u8(15));
        if (qh) q = vorrq_u8(q, hyb_neon_bit(vld1q_u8(qh + i % 2 * 16), i / 2, 16));
        o->q[i] = vreinterpretq_s8_u8(q);
    }
}
HYB_INLINE void hyb_neon_unpack_q6_K(const hyb_block_q6_K *b, hyb_neon256 *o)
{
    int i;
    o->d = hyb_neon_half(&b->d);
    hyb_neon_scales(vld1q_s8(b->scales), o);
    HYB_UNROLL
    for (i = 0; i < 16; i++) {
        uint8x16_t q = vld1q_u8(b->ql + i / 8 * 64 + i % 4 * 16),
                   high = hyb_neon_shift_right(vld1q_u8(b->qh + i / 8 * 32 + i % 2 * 16), i % 8 / 2 * 2);
        q = i % 8 / 4 ? vshrq_n_u8(q, 4) : vandq_u8(q, vdupq_n_u8(15));
        o->q[i] = hyb_neon_minus(vorrq_u8(q, vshlq_n_u8(vandq_u8(high, vdupq_n_u8(3)), 4)), 32);
    }
}

HYB_INLINE void hyb_neon_unpack256(const hybrid_type type, const char *w, hyb_neon256 *o)
{
    const void *b = w;
    if (type == HYBRID_TYPE_Q2_K)
        hyb_neon_unpack_q2_K((const hyb_block_q2_K *)b, o);
    else if (type == HYBRID_TYPE_Q3_K)
        hyb_neon_unpack_q3_K((const hyb_block_q3_K *)b, o);
    else if (type == HYBRID_TYPE_Q4_K)
        hyb_neon_unpack_k4((const hyb_block_q4_K *)b, ((const hyb_block_q4_K *)b)->qs, NULL, o);
    else if (type == HYBRID_TYPE_Q5_K)
        hyb_neon_unpack_k4((const hyb_block_q4_K *)b, ((const hyb_block_q5_K *)b)->qs, ((const hyb_block_q5_K *)b)->qh,
                           o);
    else
        hyb_neon_unpack_q6_K((const hyb_block_q6_K *)b, o);
}

/* ---- what follows the integer sums ------------------------------------------------------------------------------- */

/* Sums whose total is the sum of m times the sums of 16 activations. */
HYB_INLINE int32x4_t hyb_neon_mins(const hyb_neon256 *block, const int16_t *s)
{
    int16x8_t a = vld1q_s16(s), b = vld1q_s16(s + 8);
    int32x4_t v = vmull_s16(vget_low_s16(block->m[0]), vget_low_s16(a));
    v = vmlal_s16(v, vget_high_s16(block->m[0]), vget_high_s16(a));
    v = vmlal_s16(v, vget_low_s16(block->m[1]), vget_low_s16(b));
    return vmlal_s16(v, vget_high_s16(block->m[1]), vget_high_s16(b));
}

/* The first n of 4 floats, zeros above. */
HYB_INLINE float32x4_t hyb_neon_floats(const char *p, int n)
{
    float v[4] = { 0 };
    if (n == 4) return vld1q_f32((const float *)(const void *)p);
    memcpy(v, p, (size_t)n * sizeof *v);
    return vld1q_f32(v);
}

/* p[b % 8 ..] = fma(t, d, p[b % 8 ..]) for blocks b .. b + here. Other lanes are left as they are: adding 0 would
 * turn a -0 into 0. */
HYB_INLINE void hyb_neon_join(float32x4_t p[2], int64_t b, int here, float32x4_t t, float32x4_t d)
{
    static const int32_t number[4] = { 0, 1, 2, 3 };
    uint32x4_t valid = vcltq_s32(vld1q_s32(number), vdupq_n_s32(here));
    if (b & 4)
        p[1] = here == 4 ? vfmaq_f32(p[1], t, d) : vbslq_f32(valid, vfmaq_f32(p[1], t, d), p[1]);
    else
        p[0] = here == 4 ? vfmaq_f32(p[0], t, d) : vbslq_f32(valid, vfmaq_f32(p[0], t, d), p[0]);
}

HYB_INLINE float hyb_neon_halve8(const float32x4_t p[2])
{
    float32x4_t v = vaddq_f32(p[0], p[1]);
    float32x2_t x = vadd_f32(vget_low_f32(v), vget_high_f32(v));
    return vget_lane_f32(x, 0) + vget_lane_f32(x, 1);
}

static size_t hyb_neon_no_scratch(int64_t k, int n)
{
    HYB_UNUSED(k);
    HYB_UNUSED(n);
    return 0;
}

/* ---- the two sets ------------------------------------------------------------------------------------------------ */

/* Two products of bytes fit 16 bits: 2 * 128 * 127. */
HYB_INLINE int32x4_t hyb_neon_dot_plain(int32x4_t s, int8x16_t a, int8x16_t b)
{
    return vpadalq_s16(s, vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vget_high_s8(a), vget_high_s8(b)));
}
    #define HYB_N_FN(name)     hyb_##name##_neon
    #define HYB_N_KERNEL(type) hyb_kernel_neon_##type
    #define HYB_N_TARGET
    #define HYB_N_DOT(s, a, b) s = hyb_neon_dot_plain(s, a, b)
    #include "neon.inc"

    #if defined(HYB_NEON_DOT)
        #define HYB_N_FN(name)     hyb_##name##_neon_dot
        #define HYB_N_KERNEL(type) hyb_kernel_neon_dot_##type
        #define HYB_N_TARGET       HYB_TARGET_NEON_DOT
        #define HYB_N_DOT(s, a, b) s = vdotq_s32(s, a, b)
        #include "neon.inc"
    #endif

#endif
#endif
