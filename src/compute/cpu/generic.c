/* compute/cpu/generic: every row function in scalar C: the statement of NUMERICS.md that the fast ones are compared
 * with, bit by bit. */
#ifndef HYB_COMPUTE_CPU_GENERIC_C
#define HYB_COMPUTE_CPU_GENERIC_C
#include "../../core/fma.c"
#include "../../quant/blocks.c"
#include "kernels.c"

#include "vec_scalar.inc"
#include "math.inc"
#include "vec_end.inc"

/* Sums p[0..n) by halves; p is spoilt. */
HYB_INLINE float hyb_halve(float *p, int n)
{
    int h, i;
    for (h = n / 2; h; h /= 2)
        for (i = 0; i < h; i++) p[i] = p[i] + p[i + h];
    return p[0];
}

/* ---- norms ------------------------------------------------------------------------------------------------------- */

static float hyb_sum_generic(const float *x, int64_t n)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < n; i++) p[i % 32] = p[i % 32] + x[i];
    return hyb_halve(p, 32);
}

/* Sum of (x - mean)^2. */
static float hyb_sum_squares_generic(const float *x, float mean, int64_t n)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < n; i++) p[i % 32] = hyb_fmaf(x[i] - mean, x[i] - mean, p[i % 32]);
    return hyb_halve(p, 32);
}

/* One group: what the row function of that name is, and one of the steps of another. */
static void hyb_norm_group_generic(const hyb_op_norm *op, const float *x, float *out)
{
    float mean = op->kind == HYB_NORM_LAYER ? hyb_sum_generic(x, op->n) / (float)op->n : 0.0f;
    float scale = 1.0f / sqrtf(hyb_sum_squares_generic(x, mean, op->n) / (float)op->n + op->eps);
    int64_t i;
    for (i = 0; i < op->n; i++) {
        float v = (x[i] - mean) * scale;
        if (op->w) v = v * op->w[i];
        if (op->b) v = v + op->b[i];
        out[i] = v;
    }
}
static void hyb_norm_generic(const hyb_op_norm *op, const float *x, float *out) { hyb_norm_group_generic(op, x, out); }

#ifndef HYBRID_NO_TRAIN
static void hyb_row_dot_generic(const float *x, const float *y, int64_t n, float *sum)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < n; i++) p[i % 32] = hyb_fmaf(x[i], y[i], p[i % 32]);
    *sum = hyb_halve(p, 32);
}

static void hyb_norm_back_generic(const hyb_op_norm_back *op, const float *x, const float *dy, const float *add,
                                  float *dx, float *stats)
{
    const bool layer = op->kind == HYB_NORM_LAYER;
    const float mean = layer ? hyb_sum_generic(x, op->n) / (float)op->n : 0.0f;
    const float scale = 1.0f / sqrtf(hyb_sum_squares_generic(x, mean, op->n) / (float)op->n + op->eps);
    float sums[32] = { 0 }, products[32] = { 0 }, g_mean, gx_mean;
    int64_t i;
    for (i = 0; i < op->n; i++) {
        const float g = op->w ? dy[i] * op->w[i] : dy[i], x_hat = (x[i] - mean) * scale;
        sums[i % 32] = sums[i % 32] + g;
        products[i % 32] = hyb_fmaf(g, x_hat, products[i % 32]);
    }
    g_mean = layer ? hyb_halve(sums, 32) / (float)op->n : 0.0f;
    gx_mean = hyb_halve(products, 32) / (float)op->n;
    for (i = 0; i < op->n; i++) {
        const float g = op->w ? dy[i] * op->w[i] : dy[i], x_hat = (x[i] - mean) * scale;
        const float d = hyb_fmaf(-x_hat, gx_mean, g - g_mean) * scale;
        dx[i] = add ? add[i] + d : d;
    }
    stats[0] = mean;
    stats[1] = scale;
}

static void hyb_norm_back_w_generic(const hyb_op_norm_back *op, int64_t at, int64_t n)
{
    const int64_t groups = op->n_rows * op->n_group;
    int64_t c, g, from;
    for (c = at; c < at + n; c++)
        for (from = 0; from < groups; from += HYB_PRODUCT_P) {
            float sum = 0;
            for (g = from; g < HYB_MIN(from + HYB_PRODUCT_P, groups); g++) {
                const int64_t row = g / op->n_group, i = g % op->n_group * op->n + c;
                const float x_hat = (op->x[row * op->x_stride + i] - op->stats[2 * g]) * op->stats[2 * g + 1];
                sum = hyb_fmaf(op->dy[row * op->dy_stride + i], x_hat, sum);
            }
            op->dw[c] = op->dw[c] + sum;
        }
}

static void hyb_sum_rows_generic(const float *x, int64_t stride, int64_t n_rows, float *out, int64_t n)
{
    int64_t c, r, from;
    for (c = 0; c < n; c++)
        for (from = 0; from < n_rows; from += HYB_PRODUCT_P) {
            float sum = 0;
            for (r = from; r < HYB_MIN(from + HYB_PRODUCT_P, n_rows); r++) sum = sum + x[r * stride + c];
            out[c] = out[c] + sum;
        }
}
#endif

/* ---- element by element ------------------------------------------------------------------------------------------ */

static void hyb_rope_generic(const hyb_op_rope *op, int row)
{
    const float *table = op->table + (int64_t)row * op->n_rot;
    int h, i, half = op->n_rot / 2, step = op->kind == HYB_ROPE_NORM ? 2 : 1,
              pair = op->kind == HYB_ROPE_NORM ? 1 : half;
    for (h = 0; h < op->n_head; h++) {
        const float *x = op->x + row * op->x_stride + (int64_t)h * op->head_dim;
        float *out = op->out + row * op->out_stride + (int64_t)h * op->head_dim;
        for (i = 0; i < half; i++) {
            float c = table[2 * i], s = table[2 * i + 1], a = x[i * step], b = x[i * step + pair];
            out[i * step] = a * c - b * s;
            out[i * step + pair] = a * s + b * c;
        }
        for (i = 2 * half; i < op->head_dim; i++) out[i] = x[i];
    }
}

static void hyb_glu_generic(hyb_act_kind act, const float *gate, const float *up, float *out, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) {
        const float v = hyb_activate_scalar(act, gate[i]);
        out[i] = up ? v * up[i] : v;
    }
}

#ifndef HYBRID_NO_TRAIN
static void hyb_glu_back_generic(hyb_act_kind act, const float *dout, const float *gate, const float *up, float *dgate,
                                 float *dup, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) {
        const float x = gate[i], d = up ? dout[i] * up[i] : dout[i];
        if (up) dup[i] = dout[i] * hyb_activate_scalar(act, x);
        dgate[i] = d * hyb_activate_back_scalar(act, x);
    }
}
#endif

static void hyb_add_generic(float *out, const float *a, const float *b, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) out[i] = a[i] + b[i];
}
static void hyb_add_scaled_generic(float *out, const float *a, const float *x, float factor, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) out[i] = a[i] + x[i] * factor;
}
static void hyb_scale_generic(float *out, const float *x, float factor, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) out[i] = x[i] * factor;
}
static void hyb_softcap_generic(float *out, const float *x, float cap, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) out[i] = cap * hyb_tanh_scalar(x[i] / cap);
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

/* A block of Q8_0: d = max |x| / 127, q = x / d rounded to even. Not finite x: d is that, and every q is 0: reads as
 * NaN. */
static void hyb_kv_q8_0_generic(const float *x, hyb_block_q8_0 *block)
{
    uint32_t most = 0; /* as bits, where NaN is above inf, and no order of the maxima matters */
    float d, inverse;
    int i;
    for (i = 0; i < 32; i++) most = HYB_MAX(most, hyb_f32_bits(x[i]) & 0x7FFFFFFFu);
    d = hyb_bits_f32(most) / 127.0f;
    inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block->d = hyb_f32_to_f16(d);
    for (i = 0; i < 32; i++) {
        /* 1.5 * 2^23: the sum rounds to an integer */
        float t = most < 0x7F800000u ? x[i] * inverse + 12582912.0f : 12582912.0f;
        block->qs[i] = (int8_t)(t - 12582912.0f);
    }
}

static void hyb_kv_row_generic(hybrid_type type, const float *x, void *row, int n)
{
    int i;
    if (type == HYBRID_TYPE_F32)
        memcpy(row, x, (size_t)n * sizeof *x);
    else if (type == HYBRID_TYPE_F16)
        for (i = 0; i < n; i++) hyb_store_u16((char *)row + 2 * i, hyb_f32_to_f16(x[i]));
    else
        for (i = 0; i < n / 32; i++) hyb_kv_q8_0_generic(x + 32 * i, (hyb_block_q8_0 *)row + i);
}

HYB_INLINE float hyb_kv_value_generic(hybrid_type type, const char *row, int i)
{
    const hyb_block_q8_0 *block;
    if (type == HYBRID_TYPE_F32) return hyb_load_f32(row + 4 * i);
    if (type == HYBRID_TYPE_F16) return hyb_f16_to_f32(hyb_load_u16(row + 2 * i));
    block = (const hyb_block_q8_0 *)(const void *)row + i / 32;
    return hyb_f16_to_f32(block->d) * (float)block->qs[i % 32];
}

/* ---- what adapters add ------------------------------------------------------------------------------------------- */

HYB_INLINE float hyb_weight_generic(hybrid_type type, const char *row, int64_t i)
{
    if (type == HYBRID_TYPE_F32) return hyb_load_f32(row + 4 * i);
    return type == HYBRID_TYPE_F16 ? hyb_f16_to_f32(hyb_load_u16(row + 2 * i))
                                   : hyb_bf16_to_f32(hyb_load_u16(row + 2 * i));
}

/* y += factor * sum: of signed bytes with the factor of their panel, of floats with 1. */
static void hyb_widen_generic(const hyb_tensor *b, const float *t, int n, float *y, int64_t y_stride, int64_t r0,
                              int64_t r1)
{
    const char *panels = (const char *)b->data + hyb_low_scales(b->type, b->ne[1]);
    const bool bytes = b->type == HYBRID_TYPE_Q8_0;
    const int64_t rank = b->ne[0];
    int64_t r, j;
    int i;
    for (i = 0; i < n; i++)
        for (r = r0; r < r1; r++) {
            const float factor = bytes ? ((const float *)b->data)[r / HYB_LOW_PANEL] : 1.0f;
            float sum = 0;
            for (j = 0; j < rank; j++) {
                const int64_t at = (r / HYB_LOW_PANEL * rank + j) * HYB_LOW_PANEL + r % HYB_LOW_PANEL;
                const float w = bytes ? (float)((const int8_t *)panels)[at] : hyb_weight_generic(b->type, panels, at);
                sum = hyb_fmaf(w, t[i * rank + j], sum);
            }
            y[i * y_stride + r - r0] = hyb_fmaf(sum, factor, y[i * y_stride + r - r0]);
        }
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

static float hyb_score_generic(const hyb_op_attention *op, const float *q, const char *k)
{
    float p[32] = { 0 }, s;
    int i;
    for (i = 0; i < op->kv->head_dim_k; i++)
        p[i % 32] = hyb_fmaf(hyb_kv_value_generic(op->kv->type, k, i), q[i], p[i % 32]);
    s = hyb_halve(p, 32) * op->scale;
    return op->softcap > 0 ? op->softcap * hyb_tanh_scalar(s / op->softcap) : s;
}

/* pos: the last position that the row may see. */
static void hyb_attention_row_generic(const hyb_op_attention *op, const int32_t *pages, int32_t pos, int head,
                                      const float *q, float *out)
{
    const hyb_kv_view *kv = op->kv;
    int head_kv = head / (op->n_head / kv->n_head_kv), dim = kv->head_dim_v, s, i;
    const int32_t first = hyb_attention_first(op, pos);
    int32_t page;
    float m = -HUGE_VALF, l = 0;
    for (i = 0; i < dim; i++) out[i] = 0;
    for (page = first / HYB_PAGE; page <= pos / HYB_PAGE; page++) {
        int low = HYB_MAX(first - page * HYB_PAGE, 0), high = HYB_MIN(pos - page * HYB_PAGE + 1, HYB_PAGE);
        float e[HYB_PAGE], p[HYB_PAGE] = { 0 }, m_new = m, c;
        for (s = low; s < high; s++) {
            e[s] = hyb_score_generic(op, q, hyb_k_row(kv, pages[page], head_kv, s));
            m_new = hyb_max_scalar(m_new, e[s]);
        }
        c = hyb_exp_scalar(m - m_new);
        for (s = low; s < high; s++) e[s] = p[s] = hyb_exp_scalar(e[s] - m_new);
        l = l * c;
        l = l + hyb_halve(p, HYB_PAGE);
        for (i = 0; i < dim; i++) out[i] = out[i] * c;
        for (s = low; s < high; s++)
            for (i = 0; i < dim; i++)
                out[i] =
                    hyb_fmaf(e[s], hyb_kv_value_generic(kv->type, hyb_v_row(kv, pages[page], head_kv, s), i), out[i]);
        m = m_new;
    }
    if (op->sinks) {
        float m_new = hyb_max_scalar(m, op->sinks[head]), c = hyb_exp_scalar(m - m_new);
        l = l * c;
        l = l + hyb_exp_scalar(op->sinks[head] - m_new);
        for (i = 0; i < dim; i++) out[i] = out[i] * c;
    }
    l = 1.0f / l;
    for (i = 0; i < dim; i++) out[i] = out[i] * l;
}

static void hyb_attention_generic(const hyb_op_attention *op, const hyb_run *run, int row0, int n_rows, int head0,
                                  int n_heads, void *scratch)
{
    int r, h;
    HYB_UNUSED(scratch);
    for (r = row0; r < row0 + n_rows; r++)
        for (h = head0; h < head0 + n_heads; h++)
            hyb_attention_row_generic(op, run->pages, hyb_attention_last(op, run, run->pos + r), h,
                                      op->q + (run->first_row + r) * op->q_stride + (int64_t)h * op->kv->head_dim_k,
                                      op->out + (run->first_row + r) * op->out_stride +
                                          (int64_t)h * op->kv->head_dim_v);
}

/* ---- recurrence -----------------------------------------------------------------------------------------------------
 *
 * What a slot keeps is read before it is written, so that slot_out may be slot_in. */

static void hyb_shift_generic(const hyb_op_shift *op, const hyb_run *run, int64_t at, int64_t n)
{
    const float *x = op->x + run->first_row * op->n_embd;
    const float *kept = run->slot_in < 0 ? NULL : op->slots.data + run->slot_in * op->slots.stride;
    float *keep = op->slots.data + run->slot_out * op->slots.stride;
    int64_t c;
    int r, i;
    for (c = at; c < at + n; c++) {
        float before = kept ? kept[c] : 0.0f;
        for (r = 0; r < run->n_rows; r++) {
            const float now = x[r * op->n_embd + c], back = before - now;
            for (i = 0; i < op->n_mix; i++) {
                const float part = back * op->mix[i * op->n_embd + c];
                op->out[i * op->plane + (run->first_row + r) * op->n_embd + c] = now + part;
            }
            before = now;
        }
        keep[c] = before;
    }
}

static void hyb_shortconv_generic(const hyb_op_shortconv *op, const hyb_run *run, int64_t at, int64_t n)
{
    const int64_t width = op->n_embd;
    const float *kept = run->slot_in < 0 ? NULL : op->slots.data + run->slot_in * op->slots.stride;
    float *keep = op->slots.data + run->slot_out * op->slots.stride;
    const int back = op->n_taps - 1;
    int64_t c;
    int r, j;
    for (c = at; c < at + n; c++) {
        float u[HYB_TAPS_MAX]; /* the last n_taps of them, the newest at the end */
        for (j = 0; j < back; j++) u[j] = kept ? kept[j * width + c] : 0.0f;
        for (r = 0; r < run->n_rows; r++) {
            const float *row = op->bcx + (run->first_row + r) * op->bcx_stride + c;
            float sum = 0;
            u[back] = row[0] * row[2 * width];
            for (j = 0; j < op->n_taps; j++) sum = hyb_fmaf(op->w[c * op->n_taps + j], u[j], sum);
            op->out[(run->first_row + r) * op->out_stride + c] = row[width] * sum;
            for (j = 0; j < back; j++) u[j] = u[j + 1];
        }
        for (j = 0; j < back; j++) keep[j * width + c] = u[j];
    }
}

/* What the recurrence makes of a row of a head before it touches M. */
typedef struct hyb_wkv7_row {
    float r[HYB_WKV_SIZE_MAX], k[HYB_WKV_SIZE_MAX], v[HYB_WKV_SIZE_MAX], w[HYB_WKV_SIZE_MAX];
    float away[HYB_WKV_SIZE_MAX], back[HYB_WKV_SIZE_MAX]; /* -kk and kk a */
    float y[HYB_WKV_SIZE_MAX];
    float bonus; /* sum of r k r_k */
} hyb_wkv7_row;

/* row: of the batch; at: the head's first value. */
static void hyb_wkv7_prepare_generic(const hyb_op_wkv7 *op, int64_t row, int64_t at, hyb_wkv7_row *t)
{
    const int64_t from = row * op->stride + at;
    const float *v_first = op->v_first ? op->v_first + row * op->v_first_stride + at : NULL;
    float squares[32] = { 0 }, bonus[32] = { 0 }, norm;
    int j;
    for (j = 0; j < op->size; j++) {
        t->away[j] = op->k[from + j] * op->k_k[at + j];
        squares[j % 32] = hyb_fmaf(t->away[j], t->away[j], squares[j % 32]);
    }
    norm = 1.0f / hyb_max_scalar(1e-12f, sqrtf(hyb_halve(squares, 32)));
    for (j = 0; j < op->size; j++) {
        const float a = hyb_sigmoid_scalar(op->rate[from + j]), kk = t->away[j] * norm;
        t->r[j] = op->r[from + j];
        t->w[j] = hyb_exp_scalar(-0.606531f * hyb_sigmoid_scalar(op->decay[from + j]));
        t->away[j] = -kk;
        t->back[j] = kk * a;
        t->k[j] = op->k[from + j] * hyb_fmaf(a - 1.0f, op->k_a[at + j], 1.0f);
        t->v[j] = op->v[from + j];
        if (v_first) {
            const float part = (v_first[j] - t->v[j]) * hyb_sigmoid_scalar(op->value_gate[from + j]);
            t->v[j] = t->v[j] + part;
        }
        bonus[j % 32] = hyb_fmaf(t->r[j] * t->k[j], op->r_k[at + j], bonus[j % 32]);
    }
    t->bonus = hyb_halve(bonus, 32);
}

/* One row: M (size, size), transposed, and y. */
static void hyb_wkv7_step_generic(float *m, int size, hyb_wkv7_row *t)
{
    float sa[HYB_WKV_SIZE_MAX] = { 0 };
    int i, j;
    for (j = 0; j < size; j++)
        for (i = 0; i < size; i++) sa[i] = hyb_fmaf(m[j * size + i], t->away[j], sa[i]);
    for (i = 0; i < size; i++) t->y[i] = 0;
    for (j = 0; j < size; j++)
        for (i = 0; i < size; i++) {
            float x = m[j * size + i] * t->w[j];
            x = hyb_fmaf(sa[i], t->back[j], x);
            x = hyb_fmaf(t->v[i], t->k[j], x);
            m[j * size + i] = x;
            t->y[i] = hyb_fmaf(x, t->r[j], t->y[i]);
        }
}

/* The norm of a head's y, as an op of one group. */
static hyb_op_norm hyb_wkv7_norm(const hyb_op_wkv7 *op, int64_t at)
{
    hyb_op_norm norm;
    memset(&norm, 0, sizeof norm);
    norm.kind = HYB_NORM_LAYER;
    norm.n = op->size;
    norm.eps = op->eps;
    norm.w = op->ln_w + at;
    norm.b = op->ln_b + at;
    return norm;
}

/* M of a head in the slot that the run leaves, as it was in the one that it goes on from. */
static float *hyb_wkv7_matrix(const hyb_op_wkv7 *op, const hyb_run *run, int head)
{
    const int64_t values = (int64_t)op->size * op->size;
    float *m = op->slots.data + run->slot_out * op->slots.stride + head * values;
    if (run->slot_in < 0)
        memset(m, 0, (size_t)values * sizeof *m);
    else if (run->slot_in != run->slot_out)
        memcpy(m, op->slots.data + run->slot_in * op->slots.stride + head * values, (size_t)values * sizeof *m);
    return m;
}

static void hyb_wkv7_generic(const hyb_op_wkv7 *op, const hyb_run *run, int head)
{
    const int64_t at = (int64_t)head * op->size;
    float *m = hyb_wkv7_matrix(op, run, head);
    hyb_wkv7_row t;
    int r, i;
    for (r = 0; r < run->n_rows; r++) {
        const int64_t row = run->first_row + r;
        const float *gate = op->gate ? op->gate + row * op->stride + at : NULL;
        float *out = op->out + row * op->out_stride + at;
        hyb_wkv7_prepare_generic(op, row, at, &t);
        hyb_wkv7_step_generic(m, op->size, &t);
        if (op->ln_w) {
            const hyb_op_norm norm = hyb_wkv7_norm(op, at);
            hyb_norm_group_generic(&norm, t.y, t.y);
        }
        for (i = 0; i < op->size; i++) {
            const float y = hyb_fmaf(t.bonus, t.v[i], t.y[i]);
            out[i] = gate ? y * gate[i] : y;
        }
    }
}
#endif
