/* compute/cpu/int/act: activations as 8-bit integers, in natural order: what the gemm of every ISA reads.
 *
 * A row for 32-weight blocks:  q: k int8;  d: k/32 floats;   s: k/32 floats, the sum of the block's q.
 * A row for super-blocks:      q: k int8;  d: k/256 floats;  s: k/16 int16, sums of 16 q.
 * Each part starts at a multiple of 64 bytes; a row is an odd number of 64-byte lines, so that equal columns of many
 * rows spread over the sets of a cache. */
#ifndef HYB_COMPUTE_CPU_INT_ACT_C
#define HYB_COMPUTE_CPU_INT_ACT_C
#include "../../../core/base.c"
#include "../../../core/number.c"
#include "../matmul_kernel.c"

HYB_INLINE size_t hyb_act32_d(int64_t k) { return hyb_align((size_t)k, 64); }
HYB_INLINE size_t hyb_act32_s(int64_t k) { return hyb_act32_d(k) + hyb_align((size_t)k / 8, 64); }
static size_t hyb_act32_bytes(int64_t k) { return (hyb_act32_s(k) + hyb_align((size_t)k / 8, 64)) | 64; }
HYB_INLINE size_t hyb_act256_d(int64_t k) { return (size_t)k; }
HYB_INLINE size_t hyb_act256_s(int64_t k) { return (size_t)k + hyb_align((size_t)k / 64, 64); }
static size_t hyb_act256_bytes(int64_t k) { return (hyb_act256_s(k) + hyb_align((size_t)k / 8, 64)) | 64; }

/* 1/d where the block can be scaled, 0 where it is all zeros (or below 127 * the smallest normal float), infinite or
 * NaN. */
HYB_INLINE float hyb_act_inverse(float d) { return d >= 1.17549435e-38f && d <= 3.402823466e+38f ? 1.0f / d : 0.0f; }

/* n values to int8; returns d. */
static float hyb_act_quantize(const float *x, int n, int8_t *q)
{
    uint32_t a = 0;
    float d, id;
    int i;
    for (i = 0; i < n; i++) {
        uint32_t u = hyb_f32_bits(x[i]) & 0x7FFFFFFFu; /* as integers: NaN > infinity > numbers */
        a = HYB_MAX(a, u);
    }
    d = hyb_bits_f32(a) / 127.0f;
    id = hyb_act_inverse(d);
    for (i = 0; i < n; i++) {
        float v = x[i] * id + 12582912.0f; /* 1.5 * 2^23: the adder rounds to nearest even */
        int r = (int)(hyb_f32_bits(v) - 0x4B400000u);
        q[i] = (int8_t)(id > 0 ? HYB_MIN(r, 127) : 0);
        if (id > 0 && r < -127) q[i] = -127;
    }
    return d;
}

static void hyb_act32_prepare(const float *x, int64_t k, void *act)
{
    int8_t *q = (int8_t *)act;
    float *d = (float *)(void *)((char *)act + hyb_act32_d(k)), *s = (float *)(void *)((char *)act + hyb_act32_s(k));
    int64_t b;
    int i, sum;
    for (b = 0; b < k / 32; b++) {
        d[b] = hyb_act_quantize(x + b * 32, 32, q + b * 32);
        for (sum = 0, i = 0; i < 32; i++) sum += q[b * 32 + i];
        s[b] = (float)sum;
    }
}

static void hyb_act256_prepare(const float *x, int64_t k, void *act)
{
    int8_t *q = (int8_t *)act;
    float *d = (float *)(void *)((char *)act + hyb_act256_d(k));
    int16_t *s = (int16_t *)(void *)((char *)act + hyb_act256_s(k));
    int64_t b;
    int i, sum;
    for (b = 0; b < k / 256; b++) d[b] = hyb_act_quantize(x + b * 256, 256, q + b * 256);
    for (b = 0; b < k / 16; b++) {
        for (sum = 0, i = 0; i < 16; i++) sum += q[b * 16 + i];
        s[b] = (int16_t)sum;
    }
}

static const hyb_act_format hyb_act32_generic = { hyb_act32_bytes, hyb_act32_prepare };
static const hyb_act_format hyb_act256_generic = { hyb_act256_bytes, hyb_act256_prepare };
#endif
