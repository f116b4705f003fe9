/* compute/ops/recurrent: what goes on from row to row: the token shift, RWKV-7, short convolutions. */
#ifndef HYB_COMPUTE_OPS_RECURRENT_C
#define HYB_COMPUTE_OPS_RECURRENT_C
#include "batch.c"

/* What a layer keeps of a sequence from row to row, in a slot: slot s is at data + s * stride. A run goes on from its
 * slot_in and leaves its slot_out, which may be the same one. No two runs of a batch have the same slot_out, and no
 * slot_out is the slot_in of another run; several runs may have the same slot_in. */
typedef struct hyb_slots {
    float *data;
    int64_t stride; /* in floats */
} hyb_slots;

/* The bytes of what slots keep that a batch reads and writes, n floats a slot. */
HYB_INLINE double hyb_slots_bytes(const hyb_batch *batch, int64_t n) { return 8.0 * batch->n_runs * (double)n; }

/* The token shift: out_i (n, n_embd) = x + (before - x) * mix_i, where before is the row before x in its run, and for
 * the first row of a run what its slot keeps: n_embd values, the last row of x. All rows of the batch, no gaps; out_i
 * begins at out + i * plane. */
typedef struct hyb_op_shift {
    const float *x;
    const float *mix; /* (n_mix, n_embd) */
    int n_mix;
    int64_t n_embd;
    hyb_slots slots;
    float *out;
    int64_t plane;
} hyb_op_shift;
HYB_INLINE double hyb_bytes_shift(const hyb_op_shift *op, const hyb_batch *batch)
{
    const double values = (double)op->n_embd * (batch->n + (double)op->n_mix * (batch->n + 1));
    return 4 * values + hyb_slots_bytes(batch, op->n_embd);
}

/* The recurrence of RWKV-7 ("Goose", Peng et al. 2025), with what stands around it, for every head alone. Rows have
 * n_head * size values; those of r, k, v, decay, rate, value_gate and gate are `stride` floats apart.
 *
 *   v  = v + (v_first - v) * sigmoid(value_gate)           the first layer has neither: v as it is
 *   w  = exp(-0.606531 sigmoid(decay)), a = sigmoid(rate)
 *   kk = k k_k, over its L2 norm (at least 1e-12)
 *   k  = k (1 + (a - 1) k_a)
 *   sa_i = sum over j of -kk_j M_ij                        M (size, size) of the slot, from row to row
 *   M_ij = M_ij w_j + sa_i kk_j a_j + v_i k_j
 *   y_i  = sum over j of M_ij r_j
 *   y    = the normed y (mean and variance of the head, eps) ln_w + ln_b
 *   out  = (y + v sum over j of r_j k_j r_k_j) gate
 *
 * The slot keeps M of every head, transposed: M_ij is value (head * size + j) * size + i. */
enum { HYB_WKV_SIZE_MAX = 128 };
typedef struct hyb_op_wkv7 {
    const float *r, *k, *v;
    const float *decay, *rate; /* before the sigmoid */
    const float *value_gate;   /* before the sigmoid; NULL, as v_first then is: the first layer */
    const float *gate;         /* or NULL: 1 */
    int64_t stride;
    const float *v_first; /* v of the first layer */
    int64_t v_first_stride;
    const float *k_k, *k_a, *r_k; /* (n_head * size) */
    const float *ln_w, *ln_b;     /* (n_head * size), or NULL, both: no norm */
    float eps;
    int n_head, size; /* size <= HYB_WKV_SIZE_MAX */
    hyb_slots slots;
    float *out;
    int64_t out_stride; /* may be any of the rows that are `stride` apart */
} hyb_op_wkv7;
HYB_INLINE double hyb_bytes_wkv7(const hyb_op_wkv7 *op, const hyb_batch *batch)
{
    const double width = (double)op->n_head * op->size;
    const int rows = 6 + (op->gate ? 1 : 0) + (op->v_first ? 2 : 0), weights = 3 + (op->ln_w ? 2 : 0);
    return 4 * width * (rows * (double)batch->n + weights) + hyb_slots_bytes(batch, (int64_t)width * op->size);
}

#ifndef HYBRID_NO_TRAIN
/* Of shift, over runs that begin with nothing (before is 0 there, and nothing comes after them):
 *
 *   dx(t) = the sum over i of dout_i(t) (1 - mix_i) + dout_i(t + 1) mix_i
 *   dmix_i += the sum over t of dout_i(t) (before - x) */
typedef struct hyb_op_shift_back {
    const float *x;
    const float *mix; /* (n_mix, n_embd) */
    int n_mix;
    int64_t n_embd;
    const float *dout; /* dout_i begins at dout + i * plane */
    int64_t plane;
    float *dx;
    float *dmix; /* or NULL */
} hyb_op_shift_back;
HYB_INLINE double hyb_bytes_shift_back(const hyb_op_shift_back *op, const hyb_batch *batch)
{
    return 4 * (double)op->n_embd * (batch->n * (2.0 + op->n_mix) + (op->dmix ? 3.0 : 1.0) * op->n_mix);
}

/* Of wkv7, over runs that begin with nothing. With away = -kk, back = kk a, G the gradient of M after a row, P = M
 * before it, and dy that of y, for the rows of a run from the last to the first:
 *
 *   G_ij = G_ij + dy_i r_j,       dr_j = the sum over i of M_ij dy_i
 *   dv_i = the sum over j of G_ij k_j,  dk_j = the sum over i of G_ij v_i
 *   dsa_i = the sum over j of G_ij back_j,  dback_j = the sum over i of G_ij sa_i,  dw_j = the sum over i of G_ij P_ij
 *   G_ij = G_ij w_j + dsa_i away_j,     daway_j = the sum over i of P_ij dsa_i
 *
 * and then through all that stands around it. M is made again: it is kept before every HYB_WKV_BACK_ROWS-th row of a
 * run, and of that many rows at a time, so a head works in size^2 (rows / 16 + 18) floats, whatever the batch.
 *
 * Gradients of rows lie as those rows do, and each may be the rows that it is of. */
enum { HYB_WKV_BACK_ROWS = 16 };
typedef struct hyb_op_wkv7_back {
    hyb_op_wkv7 of; /* what was done: its slots and out are not looked at */
    const float *dout;
    int64_t dout_stride;
    float *dr, *dk, *dv, *ddecay, *drate;
    float *dvalue_gate, *dgate; /* where `of` has them */
    float *dv_first;            /* is added to */
    float *dk_k, *dk_a, *dr_k;  /* are added to; all may be NULL together, with the next two */
    float *dln_w, *dln_b;
} hyb_op_wkv7_back;
HYB_INLINE double hyb_bytes_wkv7_back(const hyb_op_wkv7_back *op, const hyb_batch *batch)
{
    const double width = (double)op->of.n_head * op->of.size, states = (double)batch->n / HYB_WKV_BACK_ROWS;
    const int rows = 6 + (op->of.gate ? 1 : 0) + (op->of.v_first ? 2 : 0);
    return 4 * width * ((2.0 * rows + 1) * (double)batch->n + 2 * states * op->of.size);
}
/* Floats that it works in for one head, of runs of at most n rows. */
HYB_INLINE size_t hyb_wkv7_back_floats(int size, int n)
{
    const int states = (n + HYB_WKV_BACK_ROWS - 1) / HYB_WKV_BACK_ROWS + HYB_WKV_BACK_ROWS + 2;
    return (size_t)size * (size_t)size * (size_t)states;
}
#endif

/* A gated short convolution (LFM2). Rows of bcx are b, c and x, n_embd values each, side by side:
 *
 *   u(t) = b x,   out(t) = c * sum over j of w_j * u(t - (n_taps - 1) + j)
 *
 * for every column alone; w is (n_embd, n_taps). The slot keeps the last n_taps - 1 rows of u, the oldest first. */
enum { HYB_TAPS_MAX = 16 };
typedef struct hyb_op_shortconv {
    const float *bcx;
    int64_t bcx_stride;
    const float *w;
    int n_taps; /* 1 .. HYB_TAPS_MAX */
    int64_t n_embd;
    hyb_slots slots;
    float *out;
    int64_t out_stride;
} hyb_op_shortconv;
HYB_INLINE double hyb_bytes_shortconv(const hyb_op_shortconv *op, const hyb_batch *batch)
{
    const double n = (double)op->n_embd;
    return 4 * n * (4.0 * batch->n + op->n_taps) + hyb_slots_bytes(batch, (op->n_taps - 1) * op->n_embd);
}

#ifndef HYBRID_NO_TRAIN
/* Of shortconv, over runs that begin with nothing (u is 0 before them, and nothing comes after them): with s(t) the sum
 * that c is multiplied with, and k = n_taps - 1,
 *
 *   dc(t) = dout(t) s(t),  ds(t) = dout(t) c(t),  du(t) = the sum over j of w_j ds(t + k - j)
 *   db(t) = du(t) x(t),  dx(t) = du(t) b(t),      dw_j += the sum over t of ds(t) u(t - k + j) */
typedef struct hyb_op_shortconv_back {
    const float *bcx; /* of b, c and x, as dbcx is of their gradients */
    int64_t bcx_stride;
    const float *w;
    int n_taps;
    int64_t n_embd;
    const float *dout;
    int64_t dout_stride;
    float *dbcx;
    int64_t dbcx_stride;
    float *dw; /* or NULL */
} hyb_op_shortconv_back;
HYB_INLINE double hyb_bytes_shortconv_back(const hyb_op_shortconv_back *op, const hyb_batch *batch)
{
    return 4 * (double)op->n_embd * (7.0 * batch->n + (op->dw ? 3.0 : 1.0) * op->n_taps);
}
#endif
#endif
