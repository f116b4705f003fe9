/* compute/call: hyb_do_name(be, op) for every op of the list, and the ops that stand for others in their parts. */
#ifndef HYB_COMPUTE_CALL_C
#define HYB_COMPUTE_CALL_C
#include "profile.c"

#define HYB_OP(name_)
#define HYB_PARTS(name_) static void hyb_##name_##_in_parts(hyb_backend *be, const hyb_op_##name_ *op);
HYB_OPS(HYB_OP, HYB_PARTS)
#undef HYB_OP
#undef HYB_PARTS

#if defined(HYBRID_PROFILE)
    #define HYB_OP(name_)                                                                 \
        static void hyb_do_##name_(hyb_backend *be, const hyb_op_##name_ *op)             \
        {                                                                                 \
            const uint64_t since = hyb_profile_begin(be);                                 \
            be->ops->name_(be, op);                                                       \
            hyb_profile_end(be, HYB_OP_##name_, since, hyb_bytes_##name_(op, be->batch)); \
        }
    #define HYB_PARTS(name_)                                                                  \
        static void hyb_do_##name_(hyb_backend *be, const hyb_op_##name_ *op)                 \
        {                                                                                     \
            const uint64_t since = hyb_profile_begin(be);                                     \
            if (!be->ops->name_ || !be->ops->name_(be, op))                                   \
                hyb_##name_##_in_parts(be, op);                                               \
            else                                                                              \
                hyb_profile_end(be, HYB_OP_##name_, since, hyb_bytes_##name_(op, be->batch)); \
        }
#else
    #define HYB_OP(name_) \
        HYB_INLINE void hyb_do_##name_(hyb_backend *be, const hyb_op_##name_ *op) { be->ops->name_(be, op); }
    #define HYB_PARTS(name_)                                                                \
        HYB_INLINE void hyb_do_##name_(hyb_backend *be, const hyb_op_##name_ *op)           \
        {                                                                                   \
            if (!be->ops->name_ || !be->ops->name_(be, op)) hyb_##name_##_in_parts(be, op); \
        }
#endif
HYB_OPS(HYB_OP, HYB_PARTS)
HYB_TRAIN_OPS(HYB_OP)
#undef HYB_OP
#undef HYB_PARTS

/* ---- ops by the ops that they stand for ---- */

static void hyb_heads_norm(hyb_backend *be, const hyb_op_heads *op, const float *x, float *out, int n_head,
                           const float *w)
{
    hyb_op_norm norm;
    norm.kind = op->norm;
    norm.eps = op->eps;
    norm.w = w;
    norm.b = NULL;
    norm.x = x;
    norm.x_stride = x == out ? op->out_stride : op->stride;
    norm.out = out;
    norm.out_stride = op->out_stride;
    norm.n_rows = op->n;
    norm.n_group = n_head;
    norm.n = op->kv->head_dim_k;
    hyb_do_norm(be, &norm);
}

/* Also the copy of what needs neither norm nor rotation to where it is wanted. */
static void hyb_heads_rope(hyb_backend *be, const hyb_op_heads *op, const float *x, float *out, int n_head)
{
    hyb_op_rope rope;
    if (!op->n_rot && x == out) return;
    rope.kind = op->rope;
    rope.table = op->table;
    rope.n_rot = op->n_rot;
    rope.x = x;
    rope.x_stride = x == out ? op->out_stride : op->stride;
    rope.out = out;
    rope.out_stride = op->out_stride;
    rope.n = op->n;
    rope.n_head = n_head;
    rope.head_dim = op->kv->head_dim_k;
    hyb_do_rope(be, &rope);
}

static void hyb_heads_in_parts(hyb_backend *be, const hyb_op_heads *op)
{
    const int n_head_kv = op->kv->n_head_kv;
    hyb_op_kv_store store;
    if (op->q_norm) hyb_heads_norm(be, op, op->q, op->q_out, op->n_head, op->q_norm);
    if (op->k_norm) hyb_heads_norm(be, op, op->k, op->k_out, n_head_kv, op->k_norm);
    hyb_heads_rope(be, op, op->q_norm ? op->q_out : op->q, op->q_out, op->n_head);
    hyb_heads_rope(be, op, op->k_norm ? op->k_out : op->k, op->k_out, n_head_kv);
    store.kv = op->kv;
    store.k = op->k_out;
    store.k_stride = op->out_stride;
    store.v = op->v;
    store.v_stride = op->stride;
    hyb_do_kv_store(be, &store);
}
#endif
