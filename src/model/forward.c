/* model/forward: one transformer for all families, over the op table.
 *
 * A batch is up to n_batch tokens, of any mix of sequences, that go through the layers together. The pass is three kinds of calls that
 * the caller makes one by one, so that it can be left and re-entered: forward_begin, forward_layer for each layer, forward_end. */

/* Memory of a pass, laid out by hybrid__activations_layout. E = n_embd, rows R = n_batch. */
typedef struct hybrid__activations {
    float *x;                              /* (R, E) the residual stream */
    float *h;                              /* (R, E) a normed copy of it, or what a block adds to it */
    float *qkv;                            /* (R, q + k + v) */
    float *attn;                           /* (R, n_head * head_dim_v) */
    float *ffn;                            /* (R, 2 * n_ff): gate, up; the product replaces gate */
    float *rope, *rope_local;              /* (R, n_rot / 2, 2) */
    double *inv_freq, *inv_freq_local;     /* n_rot / 2 */
    float  rope_scale, rope_scale_local;
    size_t bytes;
} hybrid__activations;

typedef struct hybrid__forward {
    const hybrid__hparams *hp;
    const hybrid__weights *w;
    hybrid__backend *be;
    const hybrid__kv_view *kv;             /* one a layer */
    hybrid__activations a;
    hybrid_trace_fn trace;
    void *trace_user;
} hybrid__forward;

static int64_t hybrid__width_q(const hybrid__hparams *hp) { return (int64_t)hp->n_head * hp->head_dim_k; }
static int64_t hybrid__width_k(const hybrid__hparams *hp) { return (int64_t)hp->n_head_kv * hp->head_dim_k; }
static int64_t hybrid__width_v(const hybrid__hparams *hp) { return (int64_t)hp->n_head_kv * hp->head_dim_v; }
static int64_t hybrid__width_qkv(const hybrid__hparams *hp) { return hybrid__width_q(hp) + hybrid__width_k(hp) + hybrid__width_v(hp); }
static int64_t hybrid__width_attn(const hybrid__hparams *hp) { return (int64_t)hp->n_head * hp->head_dim_v; }

/* Places the buffers from base on (NULL: only counts). Every one is a multiple of 64 bytes. */
static void hybrid__activations_layout(hybrid__activations *a, const hybrid__hparams *hp, int n_batch, char *base)
{
    const size_t rows = (size_t)n_batch, half = (size_t)hp->n_rot / 2;
    size_t at = 0;
    memset(a, 0, sizeof *a);
#define HYBRID__PLACE(field, type, count) \
    (a->field = base ? (type *)(void *)(base + at) : NULL, at += hybrid__align(sizeof(type) * (count), 64))
    HYBRID__PLACE(x, float, rows * (size_t)hp->n_embd);
    HYBRID__PLACE(h, float, rows * (size_t)hp->n_embd);
    HYBRID__PLACE(qkv, float, rows * (size_t)HYBRID__MAX(hybrid__width_qkv(hp), hybrid__width_attn(hp)));
    HYBRID__PLACE(attn, float, rows * (size_t)hybrid__width_attn(hp));
    HYBRID__PLACE(ffn, float, rows * (size_t)hp->n_ff * 2);
    HYBRID__PLACE(rope, float, rows * half * 2);
    HYBRID__PLACE(rope_local, float, hp->arch->local_rope_base != 0 ? rows * half * 2 : 0);
    HYBRID__PLACE(inv_freq, double, half);
    HYBRID__PLACE(inv_freq_local, double, half);
#undef HYBRID__PLACE
    a->bytes = at;
}

static void hybrid__activations_rope(hybrid__activations *a, const hybrid__hparams *hp, const hybrid__weights *w, int32_t n_ctx)
{
    if (!hp->n_rot) return;
    a->rope_scale = hybrid__rope_frequencies(hp, w, false, n_ctx, a->inv_freq);
    a->rope_scale_local = hybrid__rope_frequencies(hp, w, true, n_ctx, a->inv_freq_local);
}

/* ---- pieces ---- */

static void hybrid__traced(hybrid__forward *f, const char *name, int layer, const float *data, int64_t rows, int64_t cols, int64_t stride)
{
    if (!f->trace || f->be->ops->sync(f->be, NULL)) return;
    f->trace(f->trace_user, name, layer, data, rows, cols, stride);
}

static const float *hybrid__vector(const hybrid__tensor *t) { return (const float *)t->data; }

static void hybrid__norm_begin(const hybrid__forward *f, hybrid__op_norm *op, const hybrid__tensor *w, const hybrid__tensor *b)
{
    op->kind = f->hp->arch->norm;
    op->w = hybrid__vector(w); op->b = b ? hybrid__vector(b) : NULL;
    op->eps = f->hp->norm_eps;
}

/* out (n_rows, E) = norm(x (n_rows, E)) */
static void hybrid__normed(hybrid__forward *f, float *out, const float *x, int64_t n_rows, const hybrid__tensor *w, const hybrid__tensor *b)
{
    hybrid__op_norm op;
    hybrid__norm_begin(f, &op, w, b);
    op.x = x; op.out = out;
    op.x_stride = op.out_stride = op.n = f->hp->n_embd;
    op.n_rows = n_rows; op.n_group = 1;
    f->be->ops->norm(f->be, &op);
}

/* Each head of x (n_rows, n_head, head_dim) by itself, in place, where the family does that. */
static void hybrid__norm_heads(hybrid__forward *f, float *x, int64_t x_stride, int64_t n_rows, int n_head, const hybrid__tensor *w)
{
    hybrid__op_norm op;
    if (!w->data) return;
    hybrid__norm_begin(f, &op, w, NULL);
    op.x = op.out = x;
    op.x_stride = op.out_stride = x_stride;
    op.n_rows = n_rows; op.n_group = n_head; op.n = f->hp->head_dim_k;
    f->be->ops->norm(f->be, &op);
}
static void hybrid__matmul_out_set(hybrid__op_matmul *op, const hybrid__tensor *w, const hybrid__tensor *bias, float *y, int64_t y_stride, bool add)
{
    hybrid__matmul_out *o = &op->out[op->n_out++];
    o->w = w;
    o->bias = bias && bias->data ? hybrid__vector(bias) : NULL;
    o->y = y; o->y_stride = y_stride;
    o->add = add;
}

static void hybrid__matmul_begin(hybrid__op_matmul *op, const float *x, int64_t x_stride, int n)
{
    memset(op, 0, sizeof *op);
    op->x = x; op->x_stride = x_stride; op->n = n;
}

/* x (n, E) += y W^T + b, through a norm of its own where the family has one. */
static void hybrid__block_out(hybrid__forward *f, const char *name, int layer, int n, const float *y, int64_t y_stride, const hybrid__tensor *w, const hybrid__tensor *b, const hybrid__tensor *post_norm)
{
    const int64_t e = f->hp->n_embd;
    hybrid__op_matmul op;
    hybrid__matmul_begin(&op, y, y_stride, n);
    if (!post_norm->data) {
        hybrid__matmul_out_set(&op, w, b, f->a.x, e, true);
        f->be->ops->matmul(f->be, &op);
        return;
    }
    hybrid__matmul_out_set(&op, w, b, f->a.h, e, false);
    f->be->ops->matmul(f->be, &op);
    hybrid__traced(f, name, layer, f->a.h, n, e, e);
    hybrid__normed(f, f->a.h, f->a.h, n, post_norm, NULL);
    f->be->ops->add(f->be, f->a.x, f->a.h, n * e);
}

/* ---- the pass ---- */

static void hybrid__forward_begin(hybrid__forward *f, const hybrid__batch *c)
{
    const hybrid__hparams *hp = f->hp;
    hybrid__op_embed op;
    f->be->ops->begin(f->be, c);
    op.table = &f->w->embd; op.index = HYBRID__INDEX_ID; op.scale = hp->embd_scale; op.add = false; op.out = f->a.x;
    f->be->ops->embed(f->be, &op);
    if (hp->arch->learned_pos) {
        op.table = &f->w->pos_embd; op.index = HYBRID__INDEX_POS; op.scale = 1; op.add = true;
        f->be->ops->embed(f->be, &op);
    } else if (hp->n_rot) {
        hybrid__op_rope_table rope;
        rope.n_rot = hp->n_rot;
        rope.inv_freq = f->a.inv_freq; rope.scale = f->a.rope_scale; rope.table = f->a.rope;
        f->be->ops->rope_table(f->be, &rope);
        rope.inv_freq = f->a.inv_freq_local; rope.scale = f->a.rope_scale_local; rope.table = f->a.rope_local;
        if (hp->arch->local_rope_base != 0) f->be->ops->rope_table(f->be, &rope);
    }
    hybrid__traced(f, "embd", -1, f->a.x, c->n, hp->n_embd, hp->n_embd);
}

/* h -> q, k, v in their strided place, normed, rotated, k and v stored */
static void hybrid__forward_qkv(hybrid__forward *f, const hybrid__batch *c, int layer)
{
    const hybrid__hparams *hp = f->hp;
    const hybrid__layer *l = &f->w->layers[layer];
    const int64_t stride = hybrid__width_qkv(hp);
    float *q = f->a.qkv, *k = q + hybrid__width_q(hp), *v = k + hybrid__width_k(hp);
    hybrid__op_matmul mm;
    hybrid__op_kv_store store;
    int i;
    hybrid__matmul_begin(&mm, f->a.h, hp->n_embd, c->n);
    if (l->wqkv.data) hybrid__matmul_out_set(&mm, &l->wqkv, &l->bqkv, q, stride, false);
    else {
        hybrid__matmul_out_set(&mm, &l->wq, &l->bq, q, stride, false);
        hybrid__matmul_out_set(&mm, &l->wk, &l->bk, k, stride, false);
        hybrid__matmul_out_set(&mm, &l->wv, &l->bv, v, stride, false);
    }
    f->be->ops->matmul(f->be, &mm);
    hybrid__traced(f, "q", layer, q, c->n, hybrid__width_q(hp), stride);
    hybrid__traced(f, "k", layer, k, c->n, hybrid__width_k(hp), stride);
    hybrid__traced(f, "v", layer, v, c->n, hybrid__width_v(hp), stride);
    hybrid__norm_heads(f, q, stride, c->n, hp->n_head, &l->q_norm);
    hybrid__norm_heads(f, k, stride, c->n, hp->n_head_kv, &l->k_norm);
    for (i = 0; i < 2 && hp->n_rot; i++) {
        hybrid__op_rope rope;
        rope.kind = hp->arch->rope;
        rope.x = i ? k : q; rope.x_stride = stride;
        rope.n = c->n; rope.n_head = i ? hp->n_head_kv : hp->n_head;
        rope.head_dim = hp->head_dim_k; rope.n_rot = hp->n_rot;
        rope.table = hp->arch->local_rope_base != 0 && hybrid__layer_is_local(hp, layer) ? f->a.rope_local : f->a.rope;
        f->be->ops->rope(f->be, &rope);
    }
    hybrid__traced(f, "q_rope", layer, q, c->n, hybrid__width_q(hp), stride);
    hybrid__traced(f, "k_rope", layer, k, c->n, hybrid__width_k(hp), stride);
    store.kv = &f->kv[layer];
    store.k = k; store.k_stride = stride;
    store.v = v; store.v_stride = stride;
    f->be->ops->kv_store(f->be, &store);
}

static void hybrid__forward_attention(hybrid__forward *f, const hybrid__batch *c, int layer)
{
    const hybrid__hparams *hp = f->hp;
    hybrid__op_attention op;
    memset(&op, 0, sizeof op);
    op.kv = &f->kv[layer];
    op.q = f->a.qkv; op.q_stride = hybrid__width_qkv(hp);
    op.out = f->a.attn; op.out_stride = hybrid__width_attn(hp);
    op.n_head = hp->n_head;
    op.scale = hp->attn_scale;
    op.softcap = hp->attn_softcap;
    op.window = hybrid__layer_is_local(hp, layer) ? hp->window : 0;
    f->be->ops->attention(f->be, &op);
    hybrid__traced(f, "attn", layer, op.out, c->n, op.out_stride, op.out_stride);
}

/* h (n, E) -> ffn (n, F) at stride 2F: act(gate) * up, or act(up) */
static void hybrid__forward_ffn(hybrid__forward *f, int n, int layer)
{
    const hybrid__hparams *hp = f->hp;
    const hybrid__layer *l = &f->w->layers[layer];
    const int64_t stride = 2 * (int64_t)hp->n_ff;
    const bool plain = !l->gate.data && l->up.ne[1] == hp->n_ff;
    hybrid__op_matmul mm;
    hybrid__op_glu glu;
    hybrid__matmul_begin(&mm, f->a.h, hp->n_embd, n);
    if (l->gate.data) hybrid__matmul_out_set(&mm, &l->gate, NULL, f->a.ffn, stride, false);
    hybrid__matmul_out_set(&mm, &l->up, &l->up_b, l->gate.data ? f->a.ffn + hp->n_ff : f->a.ffn, stride, false);
    f->be->ops->matmul(f->be, &mm);
    glu.act = hp->arch->act;
    glu.gate = f->a.ffn; glu.gate_stride = stride;
    glu.up = plain ? NULL : f->a.ffn + hp->n_ff; glu.up_stride = stride;
    glu.out = f->a.ffn; glu.out_stride = stride;
    glu.n_rows = n; glu.n = hp->n_ff;
    f->be->ops->glu(f->be, &glu);
    hybrid__traced(f, "ffn_act", layer, f->a.ffn, n, hp->n_ff, stride);
}

/* dst (n_out, cols) = the rows of src (n, cols) whose logits are wanted */
static void hybrid__gather(hybrid__forward *f, const hybrid__batch *c, float *dst, const float *src, int64_t cols)
{
    hybrid__tensor table;
    hybrid__op_embed op;
    memset(&table, 0, sizeof table);
    table.type = HYBRID_TYPE_F32;
    table.ne[0] = cols; table.ne[1] = c->n; table.ne[2] = table.ne[3] = 1;
    table.nb[0] = sizeof(float); table.nb[1] = (size_t)cols * sizeof(float); table.nb[2] = table.nb[3] = table.nb[1] * (size_t)c->n;
    table.data = src;
    op.table = &table; op.index = HYBRID__INDEX_OUT; op.scale = 1; op.add = false; op.out = dst;
    f->be->ops->embed(f->be, &op);
}

static void hybrid__swap_xh(hybrid__forward *f)
{
    float *x = f->a.x;
    f->a.x = f->a.h;
    f->a.h = x;
}
static void hybrid__gather_x(hybrid__forward *f, const hybrid__batch *c)
{
    hybrid__gather(f, c, f->a.h, f->a.x, f->hp->n_embd);
    hybrid__swap_xh(f);
}

/* One layer. Behind the last attention only the rows with wanted logits go on, unless somebody watches. */
static void hybrid__forward_layer(hybrid__forward *f, const hybrid__batch *c, int layer)
{
    const hybrid__hparams *hp = f->hp;
    const hybrid__layer *l = &f->w->layers[layer];
    const int64_t e = hp->n_embd;
    const bool last = layer + 1 == hp->n_layer && !f->trace && c->n_out < c->n;
    int n = c->n;
    hybrid__normed(f, f->a.h, f->a.x, n, &l->attn_norm, &l->attn_norm_b);
    hybrid__traced(f, "attn_norm", layer, f->a.h, n, e, e);
    hybrid__forward_qkv(f, c, layer);
    if (last && !c->n_out) return;
    hybrid__forward_attention(f, c, layer);
    if (last) {
        n = c->n_out;
        hybrid__gather_x(f, c);
        hybrid__gather(f, c, f->a.qkv, f->a.attn, hybrid__width_attn(hp));
        hybrid__block_out(f, "attn_out", layer, n, f->a.qkv, hybrid__width_attn(hp), &l->wo, &l->bo, &l->attn_post_norm);
    } else hybrid__block_out(f, "attn_out", layer, n, f->a.attn, hybrid__width_attn(hp), &l->wo, &l->bo, &l->attn_post_norm);
    hybrid__traced(f, "ffn_in", layer, f->a.x, n, e, e);
    hybrid__normed(f, f->a.h, f->a.x, n, &l->ffn_norm, &l->ffn_norm_b);
    hybrid__traced(f, "ffn_norm", layer, f->a.h, n, e, e);
    hybrid__forward_ffn(f, n, layer);
    hybrid__block_out(f, "ffn_out", layer, n, f->a.ffn, 2 * (int64_t)hp->n_ff, &l->down, &l->down_b, &l->ffn_post_norm);
    hybrid__traced(f, "l_out", layer, f->a.x, n, e, e);
}

/* x -> logits (n_out, n_vocab) of the wanted rows */
static hybrid_result hybrid__forward_end(hybrid__forward *f, const hybrid__batch *c, float *logits, hybrid_error *error)
{
    const hybrid__hparams *hp = f->hp;
    const int64_t e = hp->n_embd;
    const int n = f->trace ? c->n : c->n_out;          /* the rows that the last layer left */
    hybrid__op_matmul mm;
    if (!c->n_out && !f->trace) return f->be->ops->sync(f->be, error);
    hybrid__normed(f, f->a.h, f->a.x, n, &f->w->out_norm, &f->w->out_norm_b);
    hybrid__traced(f, "result_norm", -1, f->a.h, n, e, e);
    if (f->trace && c->n_out < c->n) hybrid__gather(f, c, f->a.x, f->a.h, e);
    if (f->trace && c->n_out < c->n) hybrid__swap_xh(f);
    if (c->n_out) {
        hybrid__matmul_begin(&mm, f->a.h, e, c->n_out);
        hybrid__matmul_out_set(&mm, &f->w->head, NULL, logits, hp->n_vocab, false);
        f->be->ops->matmul(f->be, &mm);
        if (hp->logit_softcap > 0) f->be->ops->softcap(f->be, logits, hp->logit_softcap, (int64_t)c->n_out * hp->n_vocab);
        hybrid__traced(f, "logits", -1, logits, c->n_out, hp->n_vocab, hp->n_vocab);
    }
    return f->be->ops->sync(f->be, error);
}
