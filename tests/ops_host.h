/* ops_host: how the ops of HYB_HOST_TRAIN_OPS are drawn, which the host alone has, and what each is in double precision.
 * As ops.h does it for all others, on whose sides they run; no GPU is asked. */
#ifndef OPS_HOST_H
#define OPS_HOST_H
#include "ops.h"

/* Whole sequences, as training has them: some of one row, some times more rows than a sum takes at a time. */
static void draw_sequences(side *s)
{
    hyb_batch *b = &s->batch;
    int i, r;
    draw_batch(s, 20); /* its pages */
    b->n_runs = draw_int(s, 1, 4);
    for (b->n = i = 0; i < b->n_runs; i++) {
        hyb_run *run = &s->runs[i];
        run->first_row = b->n;
        run->n_rows = draw_chance(s, 20) ? 1 : draw_chance(s, 50) ? draw_int(s, 2, 40) : draw_int(s, 41, 170);
        run->pos = 0;
        run->slot_in = -1;
        run->slot_out = i;
        for (r = 0; r < run->n_rows; r++) s->pos[b->n + r] = r;
        b->n += run->n_rows;
    }
    b->n_out = 1;
    s->out[0] = b->n - 1;
    s->limits.n_rows = b->n;
    s->limits.n_seq = b->n_runs;
    s->limits.n_train = 170;
}

static void draw_shortconv_back(side *s, hyb_op_shortconv_back *op)
{
    draw_sequences(s);
    op->n_embd = draw_size(s, 300);
    op->n_taps = draw_chance(s, 60) ? 3 : draw_int(s, 1, HYB_TAPS_MAX);
    op->bcx_stride = draw_stride(s, 3 * op->n_embd);
    op->bcx = draw_rows(s, s->batch.n, 3 * op->n_embd, op->bcx_stride);
    op->w = draw_floats(s, op->n_embd * op->n_taps, 1);
    op->dout_stride = draw_stride(s, op->n_embd);
    op->dout = draw_rows(s, s->batch.n, op->n_embd, op->dout_stride);
    op->dbcx_stride = draw_stride(s, 3 * op->n_embd);
    op->dbcx = draw_rows(s, s->batch.n, 3 * op->n_embd, op->dbcx_stride);
    op->dw = draw_chance(s, 80) ? draw_floats(s, op->n_embd * op->n_taps, 1) : NULL;
    s->exact = 4e-6;
}
static void exact_shortconv_back(side *s, const hyb_op_shortconv_back *op)
{
    const int back = op->n_taps - 1;
    double *u = (double *)malloc(3 * ROWS_MAX * sizeof *u), *ds = u + ROWS_MAX, *sum = ds + ROWS_MAX;
    int64_t c;
    int b, t, j;
    for (c = 0; c < op->n_embd; c++) {
        double dw[HYB_TAPS_MAX] = { 0 };
        for (b = 0; b < s->batch.n_runs; b++) {
            const hyb_run *run = &s->runs[b];
            const float *bcx = op->bcx + run->first_row * op->bcx_stride + c, *w = op->w + c * op->n_taps;
            const float *dout = op->dout + run->first_row * op->dout_stride + c;
            const float *d = op->dbcx + run->first_row * op->dbcx_stride + c;
            for (t = 0; t < run->n_rows; t++) {
                const float *row = bcx + t * op->bcx_stride;
                u[t] = (double)row[0] * row[2 * op->n_embd];
                for (sum[t] = 0, j = 0; j <= back; j++)
                    if (t - back + j >= 0) sum[t] += w[j] * u[t - back + j];
                ds[t] = (double)dout[t * op->dout_stride] * row[op->n_embd];
                for (j = 0; j <= back; j++)
                    if (t - back + j >= 0) dw[j] += ds[t] * u[t - back + j];
            }
            for (t = 0; t < run->n_rows; t++) {
                const float *row = bcx + t * op->bcx_stride;
                double du = 0;
                for (j = 0; j <= back; j++)
                    if (t + back - j < run->n_rows) du += w[j] * ds[t + back - j];
                want(s, d + t * op->dbcx_stride, du * row[2 * op->n_embd]);
                want(s, d + t * op->dbcx_stride + op->n_embd, dout[t * op->dout_stride] * sum[t]);
                want(s, d + t * op->dbcx_stride + 2 * op->n_embd, du * row[0]);
            }
        }
        for (j = 0; op->dw && j <= back; j++) want(s, op->dw + c * op->n_taps + j, op->dw[c * op->n_taps + j] + dw[j]);
    }
    free(u);
}

/* ---- the table: from the list ------------------------------------------------------------------------------------ */

/* In the place of any_op, which is larger. */
#define OP_FUNCTIONS(name_) \
    static void any_draw_##name_(side *s, any_op *op) { draw_##name_(s, (hyb_op_##name_ *)(void *)op); } \
    static void any_exact_##name_(side *s, const any_op *op) \
    { \
        exact_##name_(s, (const hyb_op_##name_ *)(const void *)op); \
    } \
    static void any_run_##name_(hyb_backend *be, const any_op *op) \
    { \
        typedef char it_fits[sizeof(hyb_op_##name_) <= sizeof(any_op) ? 1 : -1]; \
        (void)sizeof(it_fits); \
        hyb_do_##name_(be, (const hyb_op_##name_ *)(const void *)op); \
    }
HYB_HOST_TRAIN_OPS(OP_FUNCTIONS)
#undef OP_FUNCTIONS
static const op_case host_cases[] = {
#define OP_CASE(name_) { #name_, any_draw_##name_, any_exact_##name_, any_run_##name_, true },
    HYB_HOST_TRAIN_OPS(OP_CASE)
#undef OP_CASE
};

/* Every one of them, n draws. HYBRID_SEED, HYBRID_ONLY: as for all ops. */
static void ops_compare_host(side *reference, side *others, int n_others, int n)
{
    const char *one = getenv("HYBRID_SEED");
    size_t o;
    int i;
    for (o = 0; o < sizeof host_cases / sizeof *host_cases; o++) {
        TEST(host_cases[o].name);
        for (i = 0; i < (one ? 1 : n) && test_wanted(host_cases[o].name); i++)
            op_compare_one(&host_cases[o], reference, others, n_others,
                           one ? strtoull(one, NULL, 10) : (uint64_t)i * 1000 + o, false);
    }
}
#endif
