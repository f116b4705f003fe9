/* compute/ops/experts: activations, and experts: who is chosen, their products, and their sum. */
#ifndef HYB_COMPUTE_OPS_EXPERTS_C
#define HYB_COMPUTE_OPS_EXPERTS_C
#include "batch.c"

/* ---- activations and experts ---- */

/* out = act(gate) * up, or act(gate) when up is NULL. n_rows rows of n values. RELU2 is the square of max(x, 0). */
typedef enum hyb_act_kind {
    HYB_ACT_SILU,
    HYB_ACT_GELU_TANH,
    HYB_ACT_GELU,
    HYB_ACT_TANH,
    HYB_ACT_SIGMOID,
    HYB_ACT_RELU2,
    HYB_ACT_KINDS
} hyb_act_kind;
typedef struct hyb_op_glu {
    hyb_act_kind act;
    const float *gate;
    int64_t gate_stride;
    const float *up;
    int64_t up_stride;
    int64_t n_rows, n;
    float *out;
    int64_t out_stride; /* may be gate or up */
} hyb_op_glu;
HYB_INLINE double hyb_bytes_glu(const hyb_op_glu *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->n_rows * (double)op->n * (op->up ? 3 : 2);
}

#ifndef HYBRID_NO_TRAIN
/* Of glu: dgate = dout * up * act'(gate), dup = dout * act(gate); without up, dgate = dout * act'(gate). dgate may be
 * gate, and dup may be up. */
typedef struct hyb_op_glu_back {
    hyb_act_kind act;
    const float *gate, *up, *dout;
    int64_t stride; /* of gate, up, dgate and dup */
    int64_t dout_stride;
    int64_t n_rows, n;
    float *dgate, *dup;
} hyb_op_glu_back;
HYB_INLINE double hyb_bytes_glu_back(const hyb_op_glu_back *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->n_rows * (double)op->n * (op->up ? 5 : 3);
}
#endif

/* Chooses experts for each row: ids (n, n_used), the largest of its n_expert logits, largest first, of equal ones the
 * lower id; and weights (n, n_used): SOFTMAX: of all logits, of which norm makes the chosen ones sum to 1; SIGMOID: of
 * each logit alone. All times scale. Both read logits that are NaN as the smallest. */
typedef enum hyb_route_kind { HYB_ROUTE_SOFTMAX, HYB_ROUTE_SIGMOID } hyb_route_kind;
enum { HYB_EXPERTS_MAX = 1024, HYB_EXPERTS_USED_MAX = 64 };
typedef struct hyb_op_route {
    hyb_route_kind kind;
    const float *logits;     /* (n, n_expert), no gaps */
    int n, n_expert, n_used; /* 1 <= n_used <= n_expert */
    bool norm;
    float scale;
    int32_t *ids;
    float *weights;
} hyb_op_route;
HYB_INLINE double hyb_bytes_route(const hyb_op_route *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n * (op->n_expert + 2 * op->n_used);
}

/* Products with the matrices of chosen experts, up to 2 that read the same rows: row r * n_used + s of y_i =
 * W_i[ids[r][s]] . x, where x is row r, or row r * n_used + s when each_own. W_i (out_i, k) of expert e lies at data +
 * e * nb[2]; ne[2] = n_expert. */
typedef struct hyb_op_experts {
    hyb_rows rows; /* which rows of the batch r counts */
    const float *x;
    int64_t x_stride;
    const int32_t *ids; /* (n, n_used), in 0 .. n_expert - 1, of one row all different */
    int n, n_used;
    bool each_own;
    int n_out;
    struct {
        const hyb_tensor *w;
        float *y;
        int64_t y_stride;
    } out[2];
} hyb_op_experts;
HYB_INLINE double hyb_bytes_experts(const hyb_op_experts *op, const hyb_batch *batch)
{
    const double choices = (double)op->n * op->n_used;
    double bytes = 0;
    int i;
    HYB_UNUSED(batch);
    for (i = 0; i < op->n_out; i++) { /* as if the choices were as different as can be */
        const hyb_tensor *w = op->out[i].w;
        if (!i) bytes += 4.0 * (op->each_own ? choices : op->n) * (double)w->ne[0];
        bytes += HYB_MIN(choices, (double)w->ne[2]) * (double)w->nb[2] + 4 * choices * (double)w->ne[1];
    }
    return bytes;
}

/* out (n, n_embd) = add + the sum over s of weights (n, n_used) [r][s] * x (n * n_used, n_embd) [r * n_used + s], in
 * the order of s. Rows without gaps. */
typedef struct hyb_op_combine {
    const float *x, *weights, *add;
    int n, n_used;
    int64_t n_embd;
    float *out; /* may be add */
} hyb_op_combine;
HYB_INLINE double hyb_bytes_combine(const hyb_op_combine *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n * (double)op->n_embd * (op->n_used + 2);
}

#ifndef HYBRID_NO_TRAIN
/* Of route, whose choice is taken as it was made: with g = dweights scale,
 *
 *   SOFTMAX, all:   dlogits_i = p_i (g of i, or 0 where it was not chosen - the sum of g p over the chosen)
 *   SOFTMAX, norm:  the same with p over the chosen alone; 0 where it was not chosen
 *   SIGMOID:        dlogits_i = g s (1 - s), s = sigmoid(logit), or 0 */
typedef struct hyb_op_route_back {
    hyb_route_kind kind;
    const float *logits;
    int n, n_expert, n_used;
    bool norm;
    float scale;
    const int32_t *ids;    /* (n, n_used) */
    const float *dweights; /* (n, n_used) */
    float *dlogits;        /* (n, n_expert) */
} hyb_op_route_back;
HYB_INLINE double hyb_bytes_route_back(const hyb_op_route_back *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * op->n * (2 * op->n_expert + 2 * op->n_used);
}

/* Rows times a weight each: out (n_rows, n) = x * weights (n_rows). And, before that, dots (n_rows) = the sum of x y
 * over each row; y and dots may be NULL, both. So the way back through y * weight is, of its gradient x: dots is that
 * of the weight, and out is that of y. */
typedef struct hyb_op_weigh {
    const float *x, *y;
    int64_t x_stride, y_stride;
    const float *weights;
    int64_t n_rows, n;
    float *dots;
    float *out;
    int64_t out_stride; /* may be x */
} hyb_op_weigh;
HYB_INLINE double hyb_bytes_weigh(const hyb_op_weigh *op, const hyb_batch *batch)
{
    HYB_UNUSED(batch);
    return 4.0 * (double)op->n_rows * (double)op->n * (op->y ? 3 : 2);
}

/* Of experts, for choices c = row * n_used + s:
 *
 *   dx of choice c = the sum over i of dy_i (out_i) . W_i[ids[c]] (out_i, k), in the order of i
 *   dw_i[e] (out_i, k) += the sum over the choices of expert e, in their order, of dy_i^T x
 *
 * x and dy have a row for each choice (x_each, dy_each), or one that all choices of a row share. dx_each: dx has a row
 * for each choice; else it has one for each row: add + the sum over its choices, in their order. Rows of dx and add
 * without gaps. W of any type. */
typedef struct hyb_op_experts_back {
    const float *x;
    int64_t x_stride;
    const int32_t *ids; /* (n, n_used) */
    int n, n_used;
    bool x_each, dy_each, dx_each;
    int n_out;
    struct {
        const hyb_tensor *w;
        const float *dy;
        int64_t dy_stride;
        float *dw; /* as W lies when it is of F32; or NULL */
    } out[2];
    const float *add; /* or NULL: 0 */
    float *dx;        /* may be add */
    float *work;      /* hyb_experts_back_work floats */
} hyb_op_experts_back;
/* Floats that it works in: the choices' rows in the order of their experts, and where they are. out: of all
 * matrices. */
HYB_INLINE int64_t hyb_experts_back_work(int64_t n_choices, int64_t n_expert, int64_t k, int64_t out)
{
    return n_choices * (2 + 2 * k + out) + n_expert + 1;
}
HYB_INLINE double hyb_bytes_experts_back(const hyb_op_experts_back *op, const hyb_batch *batch)
{
    const double choices = (double)op->n * op->n_used;
    double bytes = 0;
    int i;
    HYB_UNUSED(batch);
    for (i = 0; i < op->n_out; i++) {
        const hyb_tensor *w = op->out[i].w;
        const double values = (double)w->ne[0] * (double)w->ne[1];
        if (!i) bytes += 8.0 * choices * (double)w->ne[0];
        bytes += HYB_MIN(choices, (double)w->ne[2]) * ((double)w->nb[2] + (op->out[i].dw ? 8.0 * values : 0));
        bytes += 4 * choices * (double)w->ne[1];
    }
    return bytes;
}
#endif
#endif
