/* compute/cpu/train_generic: what only training asks for, in scalar C: products of gradients, the way back through
 * probabilities, the loss, the optimizer. Gradients of the ops of a forward pass stand beside those ops (generic.c). */
#ifndef HYB_COMPUTE_CPU_TRAIN_GENERIC_C
#define HYB_COMPUTE_CPU_TRAIN_GENERIC_C
#include "generic.c"

#ifndef HYBRID_NO_TRAIN

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* Where column n0 of row p of w is. */
HYB_INLINE const char *hyb_product_blocks(const hyb_product_op *q, int64_t p, int64_t n0)
{
    const hyb_type_traits *type = hyb_type_info(q->w->type);
    return (const char *)q->w->data + (size_t)p * q->w->nb[1] + (size_t)n0 / type->block_size * type->block_bytes;
}

/* Columns that are packed at a time: with the rows they stay in a near cache; whole blocks. */
static int64_t hyb_product_width(const hyb_product_op *q)
{
    const int64_t few = HYB_PRODUCT_FLOATS;
    return q->b ? few : HYB_MAX(few, (int64_t)hyb_type_info(q->w->type)->block_size);
}

/* x as the format of a product has it. */
HYB_INLINE float hyb_rounded(hybrid_type type, float x)
{
    if (type == HYBRID_TYPE_BF16) return hyb_bf16_to_f32(hyb_f32_to_bf16(x));
    return type == HYBRID_TYPE_F16 ? hyb_f16_to_f32(hyb_f32_to_f16(x)) : x;
}

/* Columns n0 .. n0 + n of row p of b: where they are side by side, or made in values. */
HYB_INLINE const float *hyb_product_row(const hyb_product_op *q, int64_t p, int64_t n0, int64_t n, float *values)
{
    int64_t i;
    if (q->b && q->b_n == 1) return q->b + p * q->b_p + n0;
    for (i = 0; q->b && i < n; i++) values[i] = q->b[p * q->b_p + (n0 + i) * q->b_n];
    if (!q->b) hyb_type_info(q->w->type)->dequantize_row(hyb_product_blocks(q, p, n0), values, (size_t)n);
    return values;
}

/* The part of b that will be packed next. It comes from memory row by row, while the tiles of this one are computed:
 * else packing waits for it (7 % of a step of GPT-2 124M). */
typedef struct hyb_product_ahead {
    const char *at;  /* its next row, */
    int64_t step;    /* bytes to the one after it, */
    int rows, lines; /* how many there are, and lines of 64 bytes of each */
} hyb_product_ahead;

/* Rows p .. p + 256 of b, columns n0 .. n0 + n. */
HYB_INLINE void hyb_product_ahead_begin(hyb_product_ahead *ahead, const hyb_product_op *q, int64_t p, int64_t n0,
                                        int64_t n)
{
    const int64_t k = HYB_MIN(q->p - p, (int64_t)HYB_PRODUCT_P);
    const bool turned = q->b_n != 1;
    ahead->rows = 0;
    if (!q->b || k < 1) return;
    ahead->at = (const char *)(q->b + p * q->b_p + n0 * q->b_n);
    ahead->step = (turned ? q->b_n : q->b_p) * (int64_t)sizeof(float);
    ahead->rows = (int)(turned ? n : k);
    ahead->lines = (int)((turned ? k : n) * (int64_t)sizeof(float) + 63) / 64;
}
HYB_INLINE void hyb_product_ahead_next(hyb_product_ahead *ahead)
{
    int i;
    if (!ahead->rows) return;
    for (i = 0; i < ahead->lines; i++) HYB_PREFETCH(ahead->at + 64 * i);
    ahead->at += ahead->step;
    ahead->rows--;
}

static void hyb_product_generic(const hyb_product_op *q, int64_t m0, int64_t m1, int64_t n0, int64_t n1, float *scratch)
{
    int64_t m, n, p, from, end;
    for (from = 0; from < q->p; from = end) {
        end = HYB_MIN(from + HYB_PRODUCT_P, q->p);
        for (m = m0; m < m1; m++) {
            float *sum = scratch + HYB_PRODUCT_N, *c = q->c + m * q->c_m;
            int64_t at, width;
            for (at = n0; at < n1; at += width) {
                width = HYB_MIN(n1 - at, (int64_t)HYB_PRODUCT_N);
                for (n = 0; n < width; n++) sum[n] = 0;
                for (p = from; p < end; p++) {
                    const float *b = hyb_product_row(q, p, at, width, scratch);
                    const float a = hyb_rounded(q->round, q->a[m * q->a_m + p * q->a_p]);
                    for (n = 0; n < width; n++) sum[n] = hyb_fmaf(a, hyb_rounded(q->round, b[n]), sum[n]);
                }
                for (n = 0; n < width; n++) c[at + n] = q->add || from ? c[at + n] + sum[n] : sum[n];
            }
        }
    }
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

static void hyb_softmax_back_generic(const hyb_op_attention_back *op, float *s, float *ds, float delta, int low,
                                     int high, int n, const float *sink, float *dsink)
{
    const float cap = op->softcap;
    float p[32] = { 0 }, most = -HUGE_VALF, sum, inverse;
    int i;
    for (i = low; i < high; i++) {
        s[i] = s[i] * op->scale;
        if (cap > 0) s[i] = cap * hyb_tanh_scalar(s[i] / cap);
        most = hyb_max_scalar(most, s[i]);
    }
    if (sink) most = hyb_max_scalar(most, *sink);
    for (i = low; i < high; i++) p[i % 32] = p[i % 32] + hyb_exp_scalar(s[i] - most);
    sum = hyb_halve(p, 32);
    if (sink) sum = sum + hyb_exp_scalar(*sink - most);
    inverse = 1.0f / sum;
    if (sink) *dsink = hyb_exp_scalar(*sink - most) * inverse * -delta;
    for (i = 0; i < n; i++) {
        const bool sees = i >= low && i < high;
        const float e = sees ? hyb_exp_scalar(s[i] - most) * inverse : 0.0f;
        float d = e * (ds[i] - delta);
        if (cap > 0) d = d * hyb_tanh_back_scalar(s[i] / cap);
        ds[i] = sees ? d * op->scale : 0.0f;
        s[i] = e;
    }
}

/* ---- loss -------------------------------------------------------------------------------------------------------- */

static void hyb_cross_entropy_generic(const hyb_op_cross_entropy *op, int64_t row)
{
    const int32_t target = op->targets[row];
    const float weight = (op->weights ? op->weights[row] : 1.0f) * op->factor, cap = op->softcap;
    float *x = op->logits + row * op->stride, p[32] = { 0 }, most = -HUGE_VALF, inverse, sum, at_target;
    int64_t i;
    op->loss[row] = 0;
    if (target < 0) {
        memset(x, 0, (size_t)op->n * sizeof *x);
        return;
    }
    for (i = 0; i < op->n; i++) {
        if (cap > 0) x[i] = cap * hyb_tanh_scalar(x[i] / cap);
        most = hyb_max_scalar(most, x[i]);
    }
    for (i = 0; i < op->n; i++) p[i % 32] = p[i % 32] + hyb_exp_scalar(x[i] - most);
    sum = hyb_halve(p, 32);
    inverse = 1.0f / sum;
    at_target = x[target];
    op->loss[row] = log((double)sum) + ((double)most - (double)at_target);
    for (i = 0; i < op->n; i++) {
        float d = hyb_exp_scalar(x[i] - most) * inverse;
        if (i == target) d = d - 1.0f;
        d = d * weight;
        x[i] = cap > 0 ? d * hyb_tanh_back_scalar(x[i] / cap) : d;
    }
}

/* ---- optimizer --------------------------------------------------------------------------------------------------- */

static void hyb_squares_generic(const float *x, int64_t n, float *sum) { *sum = hyb_sum_squares_generic(x, 0.0f, n); }

static void hyb_adamw_generic(const hyb_op_adamw *op, int64_t at, int64_t n)
{
    const float b1 = 1.0f - op->beta1, b2 = 1.0f - op->beta2;
    int64_t i;
    for (i = at; i < at + n; i++) {
        const float g = op->grad[i] * op->factor, m = hyb_fmaf(op->beta1, op->m[i], b1 * g),
                    v = hyb_fmaf(op->beta2, op->v[i], b2 * g * g);
        const float step = m * op->c1 / (sqrtf(v * op->c2) + op->eps);
        op->m[i] = m;
        op->v[i] = v;
        op->w[i] = hyb_fmaf(-op->rate, hyb_fmaf(op->decay, op->w[i], step), op->w[i]);
    }
}

static void hyb_sgd_generic(const hyb_op_sgd *op, int64_t at, int64_t n)
{
    int64_t i;
    for (i = at; i < at + n; i++) {
        const float g = op->grad[i] * op->factor;
        float step = g;
        if (op->m) {
            op->m[i] = hyb_fmaf(op->momentum, op->m[i], g);
            step = op->nesterov ? hyb_fmaf(op->momentum, op->m[i], g) : op->m[i];
        }
        op->w[i] = hyb_fmaf(-op->rate, hyb_fmaf(op->decay, op->w[i], step), op->w[i]);
    }
}

static void hyb_lerp_generic(const hyb_op_lerp *op, int64_t at, int64_t n)
{
    int64_t i;
    for (i = at; i < at + n; i++) op->out[i] = hyb_fmaf(op->t, op->b[i] - op->a[i], op->a[i]);
}

static void hyb_displace_generic(const hyb_op_displace *op, int64_t at, int64_t n)
{
    const float new_of_s = 1.0f - op->gamma;
    int64_t i;
    for (i = at; i < at + n; i++) {
        const float w = op->w[i], d = w - op->anchor[i];
        float step = 0.0f;
        if (op->takes) op->b[i] = hyb_fmaf(op->mu, op->b[i], d);
        if (op->takes && op->s) op->s[i] = hyb_fmaf(new_of_s, d - op->s[i], op->s[i]);
        if (op->moves) {
            step = hyb_fmaf(op->c_b, op->b[i], op->c_d * d);
            if (op->s) step = hyb_fmaf(op->c_s, op->s[i], step);
            if (op->mean) step = hyb_fmaf(op->c_r, op->mean[i] - w, step);
            op->w[i] = w + step;
        }
        if (op->goes == HYB_ANCHOR_BEFORE) op->anchor[i] = w;
        if (op->goes == HYB_ANCHOR_AFTER) op->anchor[i] = op->w[i];
        if (op->goes == HYB_ANCHOR_ALONG) op->anchor[i] = op->anchor[i] + step;
    }
}

static void hyb_gram_generic(const hyb_op_gram *op, int64_t at, int64_t n, float *sums)
{
    float x[HYB_GRAM_OF][32];
    float p[HYB_GRAM_SUMS][32];
    int64_t i;
    int j, k, at_sum;
    memset(p, 0, sizeof p);
    for (i = 0; i < n; i++) {
        const int lane = (int)(i % 32);
        for (j = 0; j < HYB_GRAM_OF; j++)
            x[j][lane] = !op->a[j] ? 0.0f : op->b[j] ? op->a[j][at + i] - op->b[j][at + i] : op->a[j][at + i];
        for (j = at_sum = 0; j < HYB_GRAM_OF; j++)
            for (k = j; k < HYB_GRAM_OF; k++, at_sum++)
                p[at_sum][lane] = hyb_fmaf(x[j][lane], x[k][lane], p[at_sum][lane]);
    }
    for (j = 0; j < HYB_GRAM_SUMS; j++) sums[j] = hyb_halve(p[j], 32);
}
#endif
#endif
