/* ops_train: how the ops that only training asks for are drawn, and what each is in double precision. Part of ops.h. */
#ifndef OPS_TRAIN_H
#define OPS_TRAIN_H

static double *draw_doubles(side *s, int64_t n)
{
    double *x = (double *)malloc((size_t)(n + 1) * sizeof *x);
    int64_t i;
    for (i = 0; i < n; i++) x[i] = 7.5;
    return (double *)area_new(s, AREA_DOUBLES, x, (size_t)n * sizeof *x, 0);
}
static void want_double(side *s, const double *at, double value)
{
    wanted *w = want_new(s, at);
    w->is_double = true;
    w->value = value;
}

static void draw_round(side *s, hyb_op_round *op)
{
    uint16_t *out;
    int64_t i;
    op->type = s->turn % 2 ? HYBRID_TYPE_BF16 : HYBRID_TYPE_F16;
    op->n = draw_values(s);
    op->x = draw_floats(s, op->n, s->turn % 3 ? 1 : 60000);
    out = (uint16_t *)malloc((size_t)(op->n + 2) * sizeof *out);
    for (i = 0; i < op->n + 2; i++) out[i] = 0x7FFF;
    op->out = (uint16_t *)area_new(s, AREA_INTS, out, (size_t)(op->n + 1) / 2 * 4, 2 * (size_t)draw_int(s, 0, 3));
    s->near = s->exact = 0;
}
/* To the bit, two values at a time. */
static void exact_round(side *s, const hyb_op_round *op)
{
    int64_t i;
    for (i = 0; i < op->n; i += 2) {
        uint16_t pair[2] = { 0, 0x7FFF };
        int32_t bits;
        hybrid_quantize(op->type, op->x + i, pair, i + 1 < op->n ? 2 : 1, NULL, NULL);
        memcpy(&bits, pair, sizeof bits);
        want_id(s, (const int32_t *)(const void *)(op->out + i), bits);
    }
}

static void draw_embed_back(side *s, hyb_op_embed_back *op)
{
    int n, i, rows = 1;
    draw_batch(s, draw_chance(s, 70) ? 200 : 600);
    if (s->turn % 5 == 4) /* more rows than a GPU looks at at a time */
        for (; s->batch.n < 400; s->batch.n++, s->runs[s->batch.n_runs - 1].n_rows++, s->limits.n_rows++) {
            s->ids[s->batch.n] = draw_int(s, 0, 10);
            s->pos[s->batch.n] = draw_int(s, 0, PAGES_MAX * HYB_PAGE - 1);
        }
    op->index = (hyb_index)draw_int(s, 0, 2);
    batch_index(s, op->index, &n);
    for (i = 0; i < n; i++) rows = OPS_LARGER(rows, batch_index(s, op->index, &n)[i] + 1);
    op->n_embd = draw_size(s, s->batch.n < 300 ? 300 : 40);
    op->scale = draw_chance(s, 50) ? 1.0f : draw_float(s) * 3;
    op->dy = draw_rows(s, n, op->n_embd, op->n_embd);
    op->dtable = draw_rows(s, rows, op->n_embd, op->n_embd);
    s->near = 6e-6; /* of some hundred terms, rounded otherwise */
    s->exact = 2e-6;
}
static void exact_embed_back(side *s, const hyb_op_embed_back *op)
{
    int n, r, other;
    int64_t i;
    const int32_t *index = batch_index(s, op->index, &n);
    for (r = 0; r < n; r++)
        for (i = 0; i < op->n_embd; i++) {
            const float *at = op->dtable + index[r] * op->n_embd + i;
            double sum = *at;
            for (other = 0; other < n; other++)
                if (index[other] == index[r]) sum += (double)op->dy[other * op->n_embd + i] * op->scale;
            want(s, at, sum);
        }
}

static void draw_norm_back(side *s, hyb_op_norm_back *op)
{
    int64_t width;
    op->kind = (hyb_norm_kind)draw_int(s, 0, 1);
    op->n = draw_chance(s, 10) ? draw_int(s, 2000, 5000) : 1 + draw_size(s, 1000);
    op->n_group = op->n > 600 || draw_chance(s, 50) ? 1 : draw_int(s, 2, 9);
    op->n_rows = op->n > 1500 ? 2 : draw_chance(s, 20) && op->n < 100 ? draw_int(s, 250, 600) : draw_int(s, 1, 9);
    width = op->n * op->n_group;
    op->eps = draw_chance(s, 50) ? 1e-5f : 0.3f;
    op->x_stride = draw_stride(s, width);
    op->dy_stride = draw_stride(s, width);
    op->dx_stride = draw_stride(s, width);
    op->x = draw_rows(s, op->n_rows, width, op->x_stride);
    op->dy = draw_rows(s, op->n_rows, width, op->dy_stride);
    op->dx = draw_rows(s, op->n_rows, width, op->dx_stride);
    op->add = draw_chance(s, 30) ? NULL : draw_chance(s, 50) ? op->dx : draw_rows(s, op->n_rows, width, op->dx_stride);
    op->w = draw_chance(s, 70) ? draw_floats(s, op->n, 1) : NULL;
    op->dw = draw_chance(s, 70) ? draw_floats(s, op->n, 1) : NULL;
    op->db = draw_chance(s, 40) ? draw_floats(s, op->n, 1) : NULL;
    op->stats = draw_floats(s, op->n_rows * op->n_group * 2, 1);
    s->near = s->exact = 4e-6;
}
static void exact_norm_back(side *s, const hyb_op_norm_back *op)
{
    double *dw = (double *)calloc((size_t)op->n, sizeof *dw), *db = (double *)calloc((size_t)op->n, sizeof *db);
    int64_t r, g, i;
    for (r = 0; r < op->n_rows; r++)
        for (g = 0; g < op->n_group; g++) {
            const float *x = op->x + r * op->x_stride + g * op->n, *dy = op->dy + r * op->dy_stride + g * op->n;
            const double n = (double)op->n;
            double mean = 0, var = 0, g_mean = 0, gx_mean = 0, scale;
            for (i = 0; i < op->n; i++) mean += x[i] / n;
            mean = op->kind == HYB_NORM_LAYER ? mean : 0;
            for (i = 0; i < op->n; i++) var += (x[i] - mean) * (x[i] - mean) / n;
            scale = 1 / sqrt(var + op->eps);
            for (i = 0; i < op->n; i++) {
                const double d = (double)dy[i] * (op->w ? op->w[i] : 1), x_hat = (x[i] - mean) * scale;
                g_mean += op->kind == HYB_NORM_LAYER ? d / n : 0;
                gx_mean += d * x_hat / n;
                dw[i] += dy[i] * x_hat;
                db[i] += dy[i];
            }
            for (i = 0; i < op->n; i++) {
                const int64_t at = r * op->dx_stride + g * op->n + i;
                const double d = (double)dy[i] * (op->w ? op->w[i] : 1), x_hat = (x[i] - mean) * scale;
                want(s, op->dx + at, (op->add ? op->add[at] : 0) + (d - g_mean - x_hat * gx_mean) * scale);
            }
            want(s, op->stats + 2 * (r * op->n_group + g), mean);
            want(s, op->stats + 2 * (r * op->n_group + g) + 1, scale);
        }
    for (i = 0; i < op->n; i++) {
        if (op->dw) want(s, op->dw + i, op->dw[i] + dw[i]);
        if (op->db) want(s, op->db + i, op->db[i] + db[i]);
    }
    free(dw);
    free(db);
}

static void draw_matmul_back_x(side *s, hyb_op_matmul_back_x *op)
{
    const hybrid_type rounding = draw_rounding(s);
    const hybrid_type type = rounding ? HYBRID_TYPE_F32 : op_types[draw_int(s, 0, OP_TYPES - 1)];
    const int k = draw_k(s, type, 1100);
    int i;
    draw_batch(s, draw_chance(s, 60) ? 9 : 300);
    op->rows = HYB_ROWS_BATCH;
    op->n = s->batch.n;
    op->n_out = draw_chance(s, 50) ? 1 : draw_int(s, 2, 4);
    for (i = 0; i < op->n_out; i++) {
        const int out = draw_chance(s, 20) ? draw_int(s, 200, 600) : draw_size(s, 150);
        op->out[i].w = draw_matrix(s, type, k, out, 1);
        op->out[i].dy_stride = draw_stride(s, out);
        op->out[i].dy = draw_rows(s, op->n, out, op->out[i].dy_stride);
    }
    op->dx_stride = draw_stride(s, k);
    op->dx = draw_rows(s, op->n, k, op->dx_stride);
    draw_rounded(s, &op->rounding, rounding, op->out[0].w, op->n_out);
    s->limits.n_train = 1;
    s->near = 3e-5; /* thousands of products, one by one on a GPU */
    s->exact = 3e-6;
}
static void exact_matmul_back_x(side *s, const hyb_op_matmul_back_x *op)
{
    const int64_t k = op->out[0].w->ne[0];
    double *sums = (double *)calloc((size_t)(op->n * k), sizeof *sums);
    float *row = (float *)malloc((size_t)k * sizeof *row);
    int64_t i, r, o, c;
    for (i = 0; i < op->n_out; i++)
        for (o = 0; o < op->out[i].w->ne[1]; o++) {
            decoded(op->out[i].w, 0, o, row);
            for (r = 0; r < op->n; r++)
                for (c = 0; c < k; c++)
                    sums[r * k + c] +=
                        (double)hyb_rounded(op->rounding.type, op->out[i].dy[r * op->out[i].dy_stride + o]) *
                        (double)hyb_rounded(op->rounding.type, row[c]);
        }
    for (r = 0; r < op->n; r++)
        for (c = 0; c < k; c++) want(s, op->dx + r * op->dx_stride + c, sums[r * k + c]);
    free(sums);
    free(row);
}

static void draw_matmul_back_w(side *s, hyb_op_matmul_back_w *op)
{
    int i;
    draw_batch(s, draw_chance(s, 60) ? 9 : 500);
    op->rows = HYB_ROWS_BATCH;
    op->n = s->batch.n;
    op->k = draw_size(s, 600);
    op->x_stride = draw_stride(s, op->k);
    op->x = draw_rows(s, op->n, op->k, op->x_stride);
    op->n_out = draw_chance(s, 50) ? 1 : draw_int(s, 2, 4);
    for (i = 0; i < op->n_out; i++) {
        hyb_matmul_dw *o = &op->out[i];
        o->n = draw_chance(s, 20) ? draw_int(s, 150, 420) : draw_size(s, 150);
        o->dy_stride = draw_stride(s, o->n);
        o->dy = draw_rows(s, op->n, o->n, o->dy_stride);
        o->dw = draw_chance(s, 90) ? draw_floats(s, o->n * op->k, 1) : NULL;
        o->dbias = draw_chance(s, 50) ? draw_floats(s, o->n, 1) : NULL;
    }
    op->rounding.type = s->limits.operands = draw_rounding(s);
    for (i = 0; op->rounding.type && i < op->n_out; i++) { /* for which scratch is planned */
        hyb_tensor *w = &s->w[s->n_w++];
        memset(w, 0, sizeof *w);
        w->ne[0] = op->k;
        w->ne[1] = op->out[i].n;
        w->ne[2] = w->ne[3] = 1;
        w->nb[0] = sizeof(float);
        w->nb[1] = w->nb[2] = w->nb[3] = sizeof(float) * (size_t)op->k;
    }
    s->limits.n_train = 1;
    s->near = 1e-5;
    s->exact = 3e-6;
}
static void exact_matmul_back_w(side *s, const hyb_op_matmul_back_w *op)
{
    double *sums = (double *)malloc((size_t)(op->k + 1) * sizeof *sums);
    int64_t i, r, o, c;
    for (i = 0; i < op->n_out; i++)
        for (o = 0; o < op->out[i].n; o++) {
            const hyb_matmul_dw *at = &op->out[i];
            for (c = 0; c <= op->k; c++) sums[c] = 0;
            for (r = 0; r < op->n; r++) {
                const double d = at->dy[r * at->dy_stride + o];
                const double factor = (double)hyb_rounded(op->rounding.type, (float)d);
                for (c = 0; c < op->k; c++)
                    sums[c] += factor * (double)hyb_rounded(op->rounding.type, op->x[r * op->x_stride + c]);
                sums[op->k] += d;
            }
            for (c = 0; at->dw && c < op->k; c++) want(s, at->dw + o * op->k + c, at->dw[o * op->k + c] + sums[c]);
            if (at->dbias) want(s, at->dbias + o, at->dbias[o] + sums[op->k]);
        }
    free(sums);
}

static void draw_attention_back(side *s, hyb_op_attention_back *op)
{
    int dim_k, dim_v, n_head_kv = draw_int(s, 1, 3), i, r, longest = 0, width;
    const hybrid_type type = draw_kv_type(s, &dim_k, &dim_v);
    draw_batch(s, draw_chance(s, 70) ? 20 : 120);
    for (i = 0; i < s->batch.n_runs; i++) {
        s->runs[i].pos = 0;
        longest = OPS_LARGER(longest, s->runs[i].n_rows);
        for (r = 0; r < s->runs[i].n_rows; r++) s->pos[s->runs[i].first_row + r] = r;
    }
    op->kv = draw_cache(s, type, n_head_kv, dim_k, dim_v, true);
    op->n_head = n_head_kv * draw_int(s, 1, 4);
    op->q_stride = draw_stride(s, op->n_head * dim_k);
    op->q = draw_rows(s, s->batch.n, op->n_head * dim_k, op->q_stride);
    op->out_stride = draw_stride(s, op->n_head * dim_v);
    op->out = draw_rows(s, s->batch.n, op->n_head * dim_v, op->out_stride);
    op->dout = draw_rows(s, s->batch.n, op->n_head * dim_v, op->out_stride);
    width = op->n_head * dim_k + n_head_kv * (dim_k + dim_v);
    op->stride = draw_stride(s, width);
    op->dq = draw_rows(s, s->batch.n, width, op->stride);
    op->dk = op->dq + op->n_head * dim_k;
    op->dv = op->dk + n_head_kv * dim_k;
    op->scale = 1.0f / sqrtf((float)dim_k);
    op->softcap = draw_chance(s, 60) ? 0 : 2.0f;
    op->window = draw_chance(s, 60) ? 0 : draw_int(s, 1, 100);
    s->limits.n_head = op->n_head;
    s->limits.n_train = longest;
    s->near = 1e-5;
    s->exact = 4e-6;
}
/* What one row and head does to the gradients of the keys and values that it sees; sums of those: (T, dim). */
static void exact_attention_back_row(side *s, const hyb_op_attention_back *op, const hyb_run *run, int r, int h,
                                     double *dk, double *dv)
{
    const hyb_kv_view *kv = op->kv;
    const int dim_k = kv->head_dim_k, dim_v = kv->head_dim_v, head = h / (op->n_head / kv->n_head_kv);
    const int64_t row = run->first_row + r;
    const float *q = op->q + row * op->q_stride + h * dim_k, *out = op->out + row * op->out_stride + h * dim_v;
    const float *dout = op->dout + row * op->out_stride + h * dim_v;
    const int first = op->window > 0 ? OPS_LARGER(r - op->window + 1, 0) : 0;
    double dq[512] = { 0 }, e[ROWS_MAX], capped[ROWS_MAX], sum = 0, delta = 0;
    int p, i;
    for (i = 0; i < dim_v; i++) delta += (double)dout[i] * out[i];
    for (p = first; p <= r; p++) {
        const char *k = hyb_k_row(kv, run->pages[p / HYB_PAGE], head, p % HYB_PAGE);
        double score = 0;
        for (i = 0; i < dim_k; i++) score += (double)hyb_kv_value_generic(kv->type, k, i) * q[i];
        score *= op->scale;
        capped[p] = op->softcap > 0 ? tanh(score / op->softcap) : 0;
        sum += e[p] = exp(op->softcap > 0 ? op->softcap * capped[p] : score);
    }
    for (p = first; p <= r; p++) {
        const char *k = hyb_k_row(kv, run->pages[p / HYB_PAGE], head, p % HYB_PAGE);
        const char *v = hyb_v_row(kv, run->pages[p / HYB_PAGE], head, p % HYB_PAGE);
        const double probability = e[p] / sum;
        double d = 0;
        for (i = 0; i < dim_v; i++) {
            d += (double)dout[i] * hyb_kv_value_generic(kv->type, v, i);
            dv[p * dim_v + i] += probability * dout[i];
        }
        d = probability * (d - delta) * (1 - capped[p] * capped[p]) * op->scale;
        for (i = 0; i < dim_k; i++) {
            dq[i] += d * hyb_kv_value_generic(kv->type, k, i);
            dk[p * dim_k + i] += d * q[i];
        }
    }
    for (i = 0; i < dim_k; i++) want(s, op->dq + row * op->stride + h * dim_k + i, dq[i]);
}
static void exact_attention_back(side *s, const hyb_op_attention_back *op)
{
    const hyb_kv_view *kv = op->kv;
    const int dim_k = kv->head_dim_k, dim_v = kv->head_dim_v, group = op->n_head / kv->n_head_kv;
    int i, head, h, r, c;
    for (i = 0; i < s->batch.n_runs; i++)
        for (head = 0; head < kv->n_head_kv; head++) {
            const hyb_run *run = &s->runs[i];
            double *dk = (double *)calloc((size_t)(run->n_rows * dim_k), sizeof *dk);
            double *dv = (double *)calloc((size_t)(run->n_rows * dim_v), sizeof *dv);
            for (h = head * group; h < (head + 1) * group; h++)
                for (r = 0; r < run->n_rows; r++) exact_attention_back_row(s, op, run, r, h, dk, dv);
            for (r = 0; r < run->n_rows; r++) {
                const int64_t at = (run->first_row + r) * op->stride;
                for (c = 0; c < dim_k; c++) want(s, op->dk + at + head * dim_k + c, dk[r * dim_k + c]);
                for (c = 0; c < dim_v; c++) want(s, op->dv + at + head * dim_v + c, dv[r * dim_v + c]);
            }
            free(dk);
            free(dv);
        }
}

static void draw_glu_back(side *s, hyb_op_glu_back *op)
{
    const bool gated = draw_chance(s, 60), in_place = draw_chance(s, 50);
    op->act = (hyb_act_kind)(s->turn % HYB_ACT_KINDS);
    op->n = draw_chance(s, 10) ? draw_int(s, 4000, 9000) : draw_size(s, 2000);
    op->n_rows = op->n > 2000 ? 1 : draw_int(s, 1, 6);
    op->stride = draw_stride(s, op->n);
    op->dout_stride = draw_stride(s, op->n);
    op->dout = draw_rows(s, op->n_rows, op->n, op->dout_stride);
    op->dgate = draw_rows(s, op->n_rows, op->n, op->stride);
    op->gate = in_place ? op->dgate : draw_rows(s, op->n_rows, op->n, op->stride);
    op->dup = gated ? draw_rows(s, op->n_rows, op->n, op->stride) : NULL;
    op->up = !gated ? NULL : in_place ? op->dup : draw_rows(s, op->n_rows, op->n, op->stride);
    s->near = s->exact = 2e-6;
}
static double exact_act(hyb_act_kind act, double x, double *slope)
{
    const double c = 0.79788456080286535588, s = 1 / (1 + exp(-x)), t = tanh(x), w = 2 * c * (x + 0.044715 * x * x * x),
                 g = 1 / (1 + exp(-w)), phi = 0.5 * erfc(-x * 0.70710678118654752440);
    switch (act) {
    case HYB_ACT_SILU: *slope = s * (1 + x * (1 - s)); return x * s;
    case HYB_ACT_GELU: *slope = phi + x * exp(-0.5 * x * x) * 0.39894228040143267794; return x * phi;
    case HYB_ACT_TANH: *slope = 1 - t * t; return t;
    case HYB_ACT_SIGMOID: *slope = s * (1 - s); return s;
    case HYB_ACT_RELU2: *slope = x > 0 ? 2 * x : 0; return x > 0 ? x * x : 0;
    default: *slope = g + x * g * (1 - g) * 2 * c * (1 + 3 * 0.044715 * x * x); return x * g;
    }
}
static void exact_glu_back(side *s, const hyb_op_glu_back *op)
{
    int64_t r, i;
    for (r = 0; r < op->n_rows; r++)
        for (i = 0; i < op->n; i++) {
            const int64_t at = r * op->stride + i;
            const double d = op->dout[r * op->dout_stride + i];
            double slope, y = exact_act(op->act, op->gate[at], &slope);
            want(s, op->dgate + at, d * slope * (op->up ? op->up[at] : 1));
            if (op->up) want(s, op->dup + at, d * y);
        }
}

static void draw_cross_entropy(side *s, hyb_op_cross_entropy *op)
{
    int32_t *targets;
    int64_t r;
    op->n = draw_chance(s, 15) ? draw_int(s, 4000, 9000) : draw_size(s, 2000);
    op->n_rows = op->n > 2500 ? 2 : draw_int(s, 1, 9);
    op->stride = draw_stride(s, op->n);
    op->logits = draw_floats(s, (op->n_rows - 1) * op->stride + op->n, 4);
    op->softcap = draw_chance(s, 60) ? 0 : 3.0f;
    targets = (int32_t *)malloc((size_t)op->n_rows * sizeof *targets);
    for (r = 0; r < op->n_rows; r++) targets[r] = draw_chance(s, 20) ? -1 : draw_int(s, 0, (int)op->n - 1);
    op->targets = (const int32_t *)area_new(s, AREA_INTS, targets, (size_t)op->n_rows * sizeof *targets, 0);
    op->weights = draw_chance(s, 50) ? NULL : draw_floats(s, op->n_rows, 1);
    op->factor = draw_chance(s, 50) ? 1.0f : draw_float(s);
    op->loss = draw_doubles(s, op->n_rows);
    s->near = s->exact = 2e-6;
}
static void exact_cross_entropy(side *s, const hyb_op_cross_entropy *op)
{
    int64_t r, i;
    for (r = 0; r < op->n_rows; r++) {
        const float *x = op->logits + r * op->stride;
        const int32_t target = op->targets[r];
        double sum = 0;
        for (i = 0; i < op->n; i++) sum += exp(op->softcap > 0 ? op->softcap * tanh(x[i] / op->softcap) : x[i]);
        for (i = 0; i < op->n; i++) {
            const double t = op->softcap > 0 ? tanh(x[i] / op->softcap) : 0;
            const double y = op->softcap > 0 ? op->softcap * t : x[i];
            const double d = (exp(y) / sum - (i == target)) * (op->weights ? op->weights[r] : 1) * op->factor;
            want(s, x + i, target < 0 ? 0 : d * (1 - t * t));
            if (i == target) want_double(s, op->loss + r, log(sum) - y);
        }
        if (target < 0) want_double(s, op->loss + r, 0);
    }
}

static void draw_squares(side *s, hyb_op_squares *op)
{
    op->n = draw_chance(s, 5)    ? draw_int(s, 270000, 300000)
            : draw_chance(s, 20) ? draw_int(s, 4000, 30000)
                                 : draw_size(s, 5000);
    op->x = draw_floats(s, op->n, 1);
    op->sum = draw_doubles(s, 1);
    s->near = s->exact = 1e-6;
}
static void exact_squares(side *s, const hyb_op_squares *op)
{
    double sum = 0;
    int64_t i;
    for (i = 0; i < op->n; i++) sum += (double)op->x[i] * op->x[i];
    want_double(s, op->sum, sum);
}

/* Of the n weights w. */
static void draw_displacement(side *s, int64_t n, float *w, hyb_op_displace *op)
{
    op->n = n;
    op->w = w;
    op->anchor = draw_floats(s, op->n, 1);
    op->b = draw_floats(s, op->n, 1);
    op->s = draw_chance(s, 50) ? draw_floats(s, op->n, 1) : NULL;
    op->mean = draw_chance(s, 50) ? draw_floats(s, op->n, 1) : NULL;
    op->takes = draw_chance(s, 60);
    op->moves = draw_chance(s, 80);
    op->mu = 0.5f;
    op->gamma = 0.9f;
    op->c_d = -0.3f;
    op->c_b = draw_chance(s, 70) ? 0.35f : 0;
    op->c_s = draw_chance(s, 50) ? 0.25f : 0;
    op->c_r = draw_chance(s, 50) ? 0.2f : 0;
    op->goes = (hyb_anchor)draw_int(s, 0, HYB_ANCHOR_ALONG);
}
static void draw_displace(side *s, hyb_op_displace *op)
{
    const int64_t n = draw_values(s);
    draw_displacement(s, n, draw_floats(s, n, 1), op);
    s->near = s->exact = 1e-6;
}
/* Of the i-th weight, which is w. */
static void exact_displacement(side *s, const hyb_op_displace *op, int64_t i, double w)
{
    const double d = w - op->anchor[i], b = op->takes ? op->mu * (double)op->b[i] + d : op->b[i];
    const double slow = !op->s ? 0 : op->takes ? op->s[i] + (1.0 - op->gamma) * (d - op->s[i]) : op->s[i];
    double step = op->c_d * d + op->c_b * b + op->c_s * slow;
    if (op->mean) step += op->c_r * (op->mean[i] - w);
    if (!op->moves) step = 0;
    want(s, op->b + i, b);
    if (op->s) want(s, op->s + i, slow);
    want(s, op->w + i, w + step);
    want(s, op->anchor + i,
         op->goes == HYB_ANCHOR_BEFORE  ? w
         : op->goes == HYB_ANCHOR_AFTER ? w + step
         : op->goes == HYB_ANCHOR_ALONG ? op->anchor[i] + step
                                        : op->anchor[i]);
}
static void exact_displace(side *s, const hyb_op_displace *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) exact_displacement(s, op, i, op->w[i]);
}

static void draw_adamw(side *s, hyb_op_adamw *op)
{
    int64_t i;
    float *v;
    op->n = draw_values(s);
    op->w = draw_floats(s, op->n, 1);
    op->m = draw_floats(s, op->n, 1);
    v = (float *)malloc((size_t)op->n * sizeof *v + 1);
    for (i = 0; i < op->n; i++) v[i] = fabsf(draw_float(s));
    op->v = (float *)area_new(s, AREA_FLOATS, v, (size_t)op->n * sizeof *v, draw_begin(s));
    op->grad = draw_floats(s, op->n, 1);
    op->factor = draw_chance(s, 50) ? 1.0f : fabsf(draw_float(s));
    op->rate = 0.01f;
    op->beta1 = 0.9f;
    op->beta2 = draw_chance(s, 50) ? 0.95f : 0.999f;
    op->c1 = draw_chance(s, 50) ? 1.0f : 10.0f;
    op->c2 = draw_chance(s, 50) ? 1.0f : 20.0f;
    op->eps = 1e-8f;
    op->decay = draw_chance(s, 50) ? 0 : 0.1f;
    op->then = draw_chance(s, 60) ? &s->then : NULL;
    if (op->then) draw_displacement(s, op->n, op->w, &s->then);
    s->near = s->exact = 1e-6;
}
static void exact_adamw(side *s, const hyb_op_adamw *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) {
        const double g = (double)op->grad[i] * op->factor, m = op->beta1 * (double)op->m[i] + (1.0 - op->beta1) * g,
                     v = op->beta2 * (double)op->v[i] + (1.0 - op->beta2) * g * g;
        const double step = m * op->c1 / (sqrt(v * op->c2) + op->eps), w = op->w[i];
        want(s, op->m + i, m);
        want(s, op->v + i, v);
        if (op->then)
            exact_displacement(s, op->then, i, w - op->rate * (step + op->decay * w));
        else
            want(s, op->w + i, w - op->rate * (step + op->decay * w));
    }
}

static void draw_sgd(side *s, hyb_op_sgd *op)
{
    op->n = draw_values(s);
    op->w = draw_floats(s, op->n, 1);
    op->m = draw_chance(s, 70) ? draw_floats(s, op->n, 1) : NULL;
    op->grad = draw_floats(s, op->n, 1);
    op->factor = draw_chance(s, 50) ? 1.0f : fabsf(draw_float(s));
    op->rate = 0.01f;
    op->momentum = 0.9f;
    op->nesterov = draw_chance(s, 50);
    op->decay = draw_chance(s, 50) ? 0 : 0.1f;
    s->near = s->exact = 1e-6;
}
static void exact_sgd(side *s, const hyb_op_sgd *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) {
        const double g = (double)op->grad[i] * op->factor, m = op->m ? op->momentum * (double)op->m[i] + g : 0;
        const double step = !op->m ? g : op->nesterov ? g + op->momentum * m : m;
        if (op->m) want(s, op->m + i, m);
        want(s, op->w + i, op->w[i] - op->rate * (step + op->decay * op->w[i]));
    }
}

static void draw_lerp(side *s, hyb_op_lerp *op)
{
    float *a, *b;
    op->n = draw_values(s);
    op->a = a = draw_floats(s, op->n, 1);
    op->b = b = draw_floats(s, op->n, 1);
    op->t = draw_chance(s, 50) ? 0.05f : fabsf(draw_float(s));
    op->out = draw_chance(s, 40) ? a : draw_chance(s, 30) ? b : draw_floats(s, op->n, 1);
    s->near = s->exact = 1e-6;
}
static void exact_lerp(side *s, const hyb_op_lerp *op)
{
    int64_t i;
    for (i = 0; i < op->n; i++) want(s, op->out + i, op->a[i] + op->t * ((double)op->b[i] - op->a[i]));
}

static void draw_gram(side *s, hyb_op_gram *op)
{
    int i;
    op->n = draw_chance(s, 20)   ? draw_int(s, 270000, 300000)
            : draw_chance(s, 20) ? draw_int(s, 4000, 30000)
                                 : draw_size(s, 5000);
    for (i = 0; i < HYB_GRAM_OF; i++) {
        op->a[i] = draw_chance(s, 20) ? NULL : draw_floats(s, op->n, 1);
        op->b[i] = draw_chance(s, 50) ? NULL : draw_floats(s, op->n, 1);
    }
    op->sums = draw_doubles(s, HYB_GRAM_SUMS);
    s->near = s->exact = 3e-5; /* products of both signs cancel */
}
static void exact_gram(side *s, const hyb_op_gram *op)
{
    double sums[HYB_GRAM_SUMS] = { 0 }, x[HYB_GRAM_OF];
    int64_t i;
    int j, k, n;
    for (i = 0; i < op->n; i++) {
        for (j = 0; j < HYB_GRAM_OF; j++)
            x[j] = !op->a[j] ? 0 : op->b[j] ? (double)op->a[j][i] - (double)op->b[j][i] : (double)op->a[j][i];
        for (j = n = 0; j < HYB_GRAM_OF; j++)
            for (k = j; k < HYB_GRAM_OF; k++) sums[n++] += x[j] * x[k];
    }
    for (n = 0; n < HYB_GRAM_SUMS; n++) want_double(s, op->sums + n, sums[n]);
}

/* ---- low-rank factors -------------------------------------------------------------------------------------------- */

static double *draw_work(side *s, int n)
{
    const size_t values = (size_t)hyb_factors_work(n);
    return (double *)area_new(s, AREA_SCRATCH, calloc(values, sizeof(double)), values * sizeof(double), 0);
}

/* Columns that are far from being sums of each other; one may be zero, and then none of them is as good as any other.
 */
static void draw_orthogonal(side *s, hyb_op_orthogonal *op)
{
    const int zero = draw_chance(s, 30) ? draw_int(s, 0, 3) : -1;
    float *y;
    int64_t i;
    op->n = s->turn % 8 == 7 ? draw_int(s, 30, HYB_ORTHOGONAL_MOST) : draw_int(s, 1, 12);
    op->rows = 4 * op->n + draw_size(s, 300);
    y = (float *)malloc((size_t)(op->rows * op->n) * sizeof *y);
    for (i = 0; i < op->rows * op->n; i++) y[i] = i % op->n == zero ? 0.0f : draw_float(s);
    op->y = (float *)area_new(s, AREA_FLOATS, y, (size_t)(op->rows * op->n) * sizeof *y, 0);
    op->work = draw_work(s, op->n);
    s->near = s->exact = 1e-6;
}
/* Gram and Schmidt, twice. */
static void exact_orthogonal(side *s, const hyb_op_orthogonal *op)
{
    const int n = op->n;
    double *q = (double *)malloc((size_t)(op->rows * n) * sizeof *q), dot;
    int64_t r;
    int i, k, round;
    for (r = 0; r < op->rows * n; r++) q[r] = (double)op->y[r];
    for (i = 0; i < n; i++)
        for (round = 0; round < 2; round++) {
            for (k = 0; k <= i; k++) {
                for (r = 0, dot = 0; r < op->rows; r++) dot += q[r * n + k] * q[r * n + i];
                for (r = 0; r < op->rows && k < i; r++) q[r * n + i] -= dot * q[r * n + k];
            }
            for (r = 0; r < op->rows && dot > 0; r++) q[r * n + i] /= sqrt(dot);
        }
    for (r = 0; r < op->rows * n; r++) want(s, op->y + r, q[r]);
    free(q);
}

/* y = Q and z = V diag(e) W^T, all orthonormal: so the columns of Q W are the left vectors, those of V the right ones,
 * and e the values, each far from the next; after some they are zero. */
static void draw_columns(side *s, double *x, int64_t rows, int n)
{
    int64_t r;
    int i, k, round;
    for (r = 0; r < rows * n; r++) x[r] = (double)draw_float(s);
    for (i = 0; i < n; i++)
        for (round = 0; round < 2; round++)
            for (k = 0; k <= i; k++) {
                double dot = 0;
                for (r = 0; r < rows; r++) dot += x[r * n + k] * x[r * n + i];
                for (r = 0; r < rows; r++)
                    x[r * n + i] = k < i ? x[r * n + i] - dot * x[r * n + k] : x[r * n + i] / sqrt(dot);
            }
}
static float *draw_as_floats(side *s, const double *x, int64_t n)
{
    float *y = (float *)malloc((size_t)n * sizeof *y);
    int64_t i;
    for (i = 0; i < n; i++) y[i] = (float)x[i];
    return (float *)area_new(s, AREA_FLOATS, y, (size_t)n * sizeof *y, 0);
}
static void draw_factors(side *s, hyb_op_factors *op)
{
    double *v, *z, *q;
    int64_t r;
    int i, k, there;
    op->n = draw_int(s, 1, 12);
    op->rank = draw_int(s, 1, op->n);
    op->rows = op->n + draw_size(s, 300);
    op->cols = op->n + draw_size(s, 300);
    there = draw_chance(s, 30) ? draw_int(s, 1, op->n) : op->n;
    v = (double *)malloc((size_t)(op->cols * op->n) * sizeof *v);
    z = (double *)calloc((size_t)(op->cols * op->n), sizeof *z);
    q = (double *)malloc((size_t)(op->rows * op->n) * sizeof *q);
    draw_columns(s, q, op->rows, op->n);
    draw_columns(s, v, op->cols, op->n);
    memset(&s->factors, 0, sizeof s->factors);
    for (i = 0; i < op->n; i++) s->factors.values[i] = i < there ? 4 * pow(0.6, i) : 0;
    if (there < op->n) /* z has columns of zeros, and what is there is turned by nothing */
        for (i = 0; i < op->n; i++) s->factors.w[i][i] = 1;
    else {
        double w[12 * 12];
        draw_columns(s, w, op->n, op->n);
        for (i = 0; i < op->n; i++)
            for (k = 0; k < op->n; k++) s->factors.w[i][k] = w[i * op->n + k];
    }
    for (r = 0; r < op->cols; r++)
        for (i = 0; i < op->n; i++)
            for (k = 0; k < op->n; k++)
                z[r * op->n + i] += v[r * op->n + k] * s->factors.values[k] * s->factors.w[i][k];
    op->y = draw_as_floats(s, q, op->rows * op->n);
    op->z = draw_as_floats(s, z, op->cols * op->n);
    op->left = draw_floats(s, op->rows * op->rank, 1);
    op->right = draw_floats(s, op->cols * op->rank, 1);
    op->sigma = draw_floats(s, op->rank, 1);
    op->work = draw_work(s, op->n);
    free(v);
    free(z);
    free(q);
    s->near = 1e-5;
    s->exact = 5e-5; /* vectors turn by what is rounded of z, over the distance of two values */
}
static void exact_factors(side *s, const hyb_op_factors *op)
{
    int64_t r;
    int i, k, largest;
    for (k = 0; k < op->rank; k++) {
        double sign = 1;
        for (i = largest = 0; i < op->n; i++)
            if (fabs(s->factors.w[i][k]) > fabs(s->factors.w[largest][k])) largest = i;
        if (s->factors.w[largest][k] < 0) sign = -1;
        want(s, op->sigma + k, s->factors.values[k]);
        for (r = 0; r < op->rows; r++) {
            double sum = 0;
            for (i = 0; i < op->n && s->factors.values[k] > 0; i++)
                sum += sign * (double)op->y[r * op->n + i] * s->factors.w[i][k];
            want(s, op->left + r * op->rank + k, sum);
        }
        for (r = 0; r < op->cols; r++) {
            double sum = 0;
            for (i = 0; i < op->n && s->factors.values[k] > 0; i++)
                sum += sign * (double)op->z[r * op->n + i] * s->factors.w[i][k] / s->factors.values[k];
            want(s, op->right + k * op->cols + r, sum);
        }
    }
}

static void draw_deflate(side *s, hyb_op_deflate *op)
{
    double *bound = (double *)malloc(sizeof *bound);
    float *x, *add;
    op->rows = s->turn % 5 == 4 ? draw_int(s, 257, 300) : draw_size(s, 400); /* a GPU does 256 at a time */
    op->cols = s->turn % 5 == 4 ? draw_size(s, 80) : draw_size(s, 600);
    op->rank = draw_chance(s, 20) ? 0 : draw_int(s, 1, 9);
    op->x = x = draw_floats(s, op->rows * op->cols, 1);
    op->add = add = draw_chance(s, 50) ? draw_floats(s, op->rows * op->cols, 1) : NULL;
    op->left = draw_floats(s, op->rows * op->rank, 1);
    op->right = draw_floats(s, op->cols * op->rank, 1);
    op->sigma = draw_floats(s, op->rank, 1);
    op->rest = draw_chance(s, 30)          ? NULL
               : draw_chance(s, 30)        ? x
               : draw_chance(s, 40) && add ? add
                                           : draw_floats(s, op->rows * op->cols, 1);
    *bound = s->turn % 4 == 1 ? (double)NAN : s->turn % 4 == 2 ? 7.0 : 2.0;
    s->stops = !(*bound < 5);
    op->bound = (double *)area_new(s, AREA_DOUBLES, bound, sizeof *bound, 0);
    op->most = 5;
    if (s->turn % 4 == 3) op->bound = NULL;
    op->squares = draw_doubles(s, 1);
    s->near = s->exact = 2e-6;
}
static void exact_deflate(side *s, const hyb_op_deflate *op)
{
    double squares = 0;
    int64_t i, j;
    int k;
    for (i = 0; i < op->rows; i++)
        for (j = 0; j < op->cols; j++) {
            const int64_t at = i * op->cols + j;
            double rest = (double)op->x[at] + (op->add ? (double)op->add[at] : 0);
            for (k = 0; k < op->rank; k++)
                rest -= (double)op->left[i * op->rank + k] * (double)op->sigma[k] * (double)op->right[k * op->cols + j];
            if (op->rest && !s->stops) want(s, op->rest + at, rest);
            squares += rest * rest;
        }
    want_double(s, op->squares, squares);
}
#endif
