/* compute/call: hybrid__do_name(be, op) for every op of the list, and the ops that stand for others in their parts. */

#define HYBRID__OP(name_)
#define HYBRID__PARTS(name_) static void hybrid__##name_##_in_parts(hybrid__backend *be, const hybrid__op_##name_ *op);
HYBRID__OPS(HYBRID__OP, HYBRID__PARTS)
#undef HYBRID__OP
#undef HYBRID__PARTS

#if defined(HYBRID_PROFILE)
    #define HYBRID__OP(name_) \
        static void hybrid__do_##name_(hybrid__backend *be, const hybrid__op_##name_ *op) \
        { \
            const uint64_t since = hybrid__profile_begin(be); \
            be->ops->name_(be, op); \
            hybrid__profile_end(be, HYBRID__OP_##name_, since, hybrid__bytes_##name_(op, be->batch)); \
        }
    #define HYBRID__PARTS(name_) \
        static void hybrid__do_##name_(hybrid__backend *be, const hybrid__op_##name_ *op) \
        { \
            const uint64_t since = hybrid__profile_begin(be); \
            if (!be->ops->name_ || !be->ops->name_(be, op)) hybrid__##name_##_in_parts(be, op); \
            else hybrid__profile_end(be, HYBRID__OP_##name_, since, hybrid__bytes_##name_(op, be->batch)); \
        }
#else
    #define HYBRID__OP(name_) \
        HYBRID__INLINE void hybrid__do_##name_(hybrid__backend *be, const hybrid__op_##name_ *op) { be->ops->name_(be, op); }
    #define HYBRID__PARTS(name_) \
        HYBRID__INLINE void hybrid__do_##name_(hybrid__backend *be, const hybrid__op_##name_ *op) \
        { \
            if (!be->ops->name_ || !be->ops->name_(be, op)) hybrid__##name_##_in_parts(be, op); \
        }
#endif
HYBRID__OPS(HYBRID__OP, HYBRID__PARTS)
#undef HYBRID__OP
#undef HYBRID__PARTS

/* ---- ops by the ops that they stand for ---- */

static void hybrid__heads_norm(hybrid__backend *be, const hybrid__op_heads *op, const float *x, float *out, int n_head, const float *w)
{
    hybrid__op_norm norm;
    norm.kind = op->norm; norm.eps = op->eps;
    norm.w = w; norm.b = NULL;
    norm.x = x; norm.x_stride = x == out ? op->out_stride : op->stride;
    norm.out = out; norm.out_stride = op->out_stride;
    norm.n_rows = op->n; norm.n_group = n_head; norm.n = op->kv->head_dim_k;
    hybrid__do_norm(be, &norm);
}

/* Also the copy of what needs neither norm nor rotation to where it is wanted. */
static void hybrid__heads_rope(hybrid__backend *be, const hybrid__op_heads *op, const float *x, float *out, int n_head)
{
    hybrid__op_rope rope;
    if (!op->n_rot && x == out) return;
    rope.kind = op->rope; rope.table = op->table; rope.n_rot = op->n_rot;
    rope.x = x; rope.x_stride = x == out ? op->out_stride : op->stride;
    rope.out = out; rope.out_stride = op->out_stride;
    rope.n = op->n; rope.n_head = n_head; rope.head_dim = op->kv->head_dim_k;
    hybrid__do_rope(be, &rope);
}

static void hybrid__heads_in_parts(hybrid__backend *be, const hybrid__op_heads *op)
{
    const int n_head_kv = op->kv->n_head_kv;
    hybrid__op_kv_store store;
    if (op->q_norm) hybrid__heads_norm(be, op, op->q, op->q_out, op->n_head, op->q_norm);
    if (op->k_norm) hybrid__heads_norm(be, op, op->k, op->k_out, n_head_kv, op->k_norm);
    hybrid__heads_rope(be, op, op->q_norm ? op->q_out : op->q, op->q_out, op->n_head);
    hybrid__heads_rope(be, op, op->k_norm ? op->k_out : op->k, op->k_out, n_head_kv);
    store.kv = op->kv;
    store.k = op->k_out; store.k_stride = op->out_stride;
    store.v = op->v; store.v_stride = op->stride;
    hybrid__do_kv_store(be, &store);
}
