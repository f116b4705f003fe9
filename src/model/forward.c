/* model/forward: one transformer for all families, over the op table.
 *
 * A batch is up to n_batch tokens, of any mix of sequences, that go through the layers together. The pass is three
 * kinds of calls that the caller makes one by one, so that it can be left and re-entered: forward_begin, forward_layer
 * for each layer, forward_end. */

/* The rows that go through the layers, and what a block makes on its way from x to x. */
typedef struct hyb_stream {
    hyb_rows rows;       /* which rows of the batch */
    float *x;            /* (n, E) the residual stream */
    float *h;            /* (n, E) a normed copy of it */
    float *block;        /* (n, E) what a block adds to x, before the norm of its own that some families have */
    float *block_normed; /* (n, E) and behind it */
} hyb_stream;

/* Memory of a pass, laid out by hyb_activations_layout, which also says what lies on what. E = n_embd, rows R =
 * n_batch. */
typedef struct hyb_activations {
    hyb_stream all;      /* R rows, up to the last attention */
    hyb_stream last;     /* n_out rows, those with wanted logits, behind it */
    float *qkv;          /* (R, q + k + v) */
    float *qkv_rotated;  /* of the same stride: q and k as attention wants them */
    float *attn;         /* (R, n_head * head_dim_v) */
    float *attn_last;    /* (n_out, n_head * head_dim_v) */
    float *ffn;          /* (R, 2 * n_ff): gate, up side by side. Of experts: (R * n_expert_used, 2 * n_ff_expert) */
    float *act;          /* (R, n_ff) of the same stride: act(gate) * up */
    float *router;       /* (R, n_expert) */
    int32_t *expert_ids; /* (R, n_expert_used), and their weights */
    float *expert_weights;
    float *expert_out;                 /* (R * n_expert_used, E) */
    float *rope, *rope_local;          /* (R, n_rot / 2, 2) */
    double *inv_freq, *inv_freq_local; /* n_rot / 2 */
    float *logits;    /* (n_out, V); this and what follows only on a device whose memory the host cannot read */
    int32_t *top_ids; /* (n_out, n_top) */
    float *top_values, *top_stats; /* (n_out, n_top), (n_out, 2) */
    float rope_scale, rope_scale_local;
    size_t bytes;
} hyb_activations;

/* Layers that run one after the other on one device. */
typedef struct hyb_stage {
    hyb_device *device;
    hyb_backend *be;
    hyb_activations a;
    void *memory;      /* of a */
    int32_t layer_end; /* the layer that the next stage begins with; n_layer for the last stage */
} hyb_stage;
enum { HYB_STAGES = 2 }; /* the first layers on the host, or none; the others on a GPU, or none */

/* Where the results of a batch go in the host's memory, row by row of those wanted. */
typedef struct hyb_results {
    float *logits;    /* (n_out, V) */
    bool later;       /* only the top is wanted now; the logits stay where they are until the next pass */
    int32_t *top_ids; /* as in hyb_activations */
    float *top_values, *top_stats;
} hyb_results;

typedef struct hyb_forward {
    const hyb_hparams *hp;
    const hyb_weights *w; /* addresses of the device of each tensor's stage */
    hyb_stage stages[HYB_STAGES];
    int n_stages;
    hyb_stage *at;           /* where the pass is, */
    const hyb_stream *s;     /* with which rows, */
    hyb_pass pass;           /* and how it goes on there */
    const hyb_kv_view *kv;   /* one a layer */
    int32_t n_top, n_tokens; /* the n_top largest of the first n_tokens logits are found where the logits are; 0: no */
    hybrid_trace_fn trace;
    void *trace_user;
    float *trace_host; /* hyb_trace_values floats, when a stage is not on the host */
} hyb_forward;

static int64_t hyb_width_q(const hyb_hparams *hp) { return (int64_t)hp->n_head * hp->head_dim_k; }
static int64_t hyb_width_k(const hyb_hparams *hp) { return (int64_t)hp->n_head_kv * hp->head_dim_k; }
static int64_t hyb_width_v(const hyb_hparams *hp) { return (int64_t)hp->n_head_kv * hp->head_dim_v; }
static int64_t hyb_width_qkv(const hyb_hparams *hp) { return hyb_width_q(hp) + hyb_width_k(hp) + hyb_width_v(hp); }
static int64_t hyb_width_attn(const hyb_hparams *hp) { return (int64_t)hp->n_head * hp->head_dim_v; }
static int64_t hyb_width_ffn(const hyb_hparams *hp)
{
    return 2 * HYB_MAX((int64_t)HYB_MAX(hp->n_ff, hp->n_ff_shared), (int64_t)hp->n_expert_used * hp->n_ff_expert);
}

/* What lies on what, so that a pass needs no more memory than it must: an input that nobody reads any more makes room
 * for the output. For a backward pass every one of these would have a place of its own. */
static void hyb_activations_overlay(hyb_activations *a, float *x, float *h)
{
    a->all.rows = HYB_ROWS_BATCH;
    a->all.x = x;
    a->all.h = a->all.block = a->all.block_normed = h;
    a->last.rows = HYB_ROWS_OUT;
    a->last.x = h; /* gathered from all.x when all.h has been read */
    a->last.h = a->last.block = a->last.block_normed = x;
    a->qkv_rotated = a->qkv;
    a->attn_last = a->qkv;
    a->act = a->ffn;
}

/* Places the buffers from base on (NULL: only counts). Every one is a multiple of 64 bytes. */
static void hyb_activations_layout(hyb_activations *a, const hyb_hparams *hp, int n_batch, int n_out, int n_top,
                                   char *base)
{
    const size_t rows = (size_t)n_batch, half = (size_t)hp->n_rot / 2;
    float *h;
    size_t at = 0;
    memset(a, 0, sizeof *a);
#define HYB_PLACE(field, type, count) \
    (a->field = base ? (type *)(void *)(base + at) : NULL, at += hyb_align(sizeof(type) * (count), 64))
    HYB_PLACE(all.x, float, rows * (size_t)hp->n_embd);
    HYB_PLACE(all.h, float, rows * (size_t)hp->n_embd);
    HYB_PLACE(qkv, float, rows * (size_t)HYB_MAX(hyb_width_qkv(hp), hyb_width_attn(hp)));
    HYB_PLACE(attn, float, rows * (size_t)hyb_width_attn(hp));
    HYB_PLACE(ffn, float, rows * (size_t)hyb_width_ffn(hp));
    HYB_PLACE(router, float, rows * (size_t)hp->n_expert);
    HYB_PLACE(expert_ids, int32_t, rows * (size_t)hp->n_expert_used);
    HYB_PLACE(expert_weights, float, rows * (size_t)hp->n_expert_used);
    HYB_PLACE(expert_out, float, rows * (size_t)hp->n_expert_used * (size_t)hp->n_embd);
    HYB_PLACE(rope, float, rows * half * 2);
    HYB_PLACE(rope_local, float, hp->rope_local ? rows * half * 2 : 0);
    HYB_PLACE(inv_freq, double, half);
    HYB_PLACE(inv_freq_local, double, half);
    HYB_PLACE(logits, float, (size_t)n_out * (size_t)hp->n_vocab);
    HYB_PLACE(top_ids, int32_t, (size_t)n_out * (size_t)n_top);
    HYB_PLACE(top_values, float, (size_t)n_out * (size_t)n_top);
    HYB_PLACE(top_stats, float, n_top ? (size_t)n_out * 2 : 0);
#undef HYB_PLACE
    h = a->all.h;
    hyb_activations_overlay(a, a->all.x, h);
    a->bytes = at;
}

/* Fills the frequencies. w: the host's table. */
static hybrid_result hyb_stage_rope(hyb_stage *stage, const hyb_hparams *hp, const hyb_weights *w, int32_t n_ctx,
                                    hybrid_error *error)
{
    hyb_device *device = stage->device;
    const size_t bytes = (size_t)hp->n_rot / 2 * sizeof(double);
    double *freq;
    hybrid_result r;
    if (!hp->n_rot) return HYBRID_OK;
    if (!(freq = (double *)hyb_alloc(device->rt, bytes))) return hyb_fail_memory(error, bytes);
    stage->a.rope_scale = hyb_rope_frequencies(hp, w, false, n_ctx, freq);
    r = device->ops->write(device, stage->a.inv_freq, freq, bytes, error);
    stage->a.rope_scale_local = hyb_rope_frequencies(hp, w, true, n_ctx, freq);
    if (!r) r = device->ops->write(device, stage->a.inv_freq_local, freq, bytes, error);
    if (!r) r = device->ops->flush(device, error);
    hyb_free(device->rt, freq);
    return r;
}

static void hyb_stage_free(hyb_stage *stage)
{
    if (stage->be) stage->be->ops->destroy(stage->be);
    if (stage->memory) stage->device->ops->free(stage->device, stage->memory);
    memset(stage, 0, sizeof *stage);
}

/* ---- pieces ---- */

/* Floats of the largest thing that is traced: rows of a batch, with what lies between them. */
static size_t hyb_trace_values(const hyb_hparams *hp, int n_batch, int n_out)
{
    size_t width = (size_t)HYB_MAX(hyb_width_qkv(hp), hyb_width_ffn(hp));
    width = HYB_MAX(width, (size_t)HYB_MAX((int64_t)hp->n_expert_used * hp->n_embd, (int64_t)hp->n_expert));
    width = HYB_MAX(width, (size_t)HYB_MAX(hyb_width_attn(hp), (int64_t)hp->n_embd));
    return HYB_MAX(width * (size_t)n_batch, (size_t)n_out * (size_t)hp->n_vocab);
}

static void hyb_traced(hyb_forward *f, const char *name, int layer, const float *data, int64_t rows, int64_t cols,
                       int64_t stride)
{
    hyb_backend *be = f->at->be;
    if (!f->trace) return;
    if (!f->at->device->ops->is_host) {
        be->ops->read(be, f->trace_host, data, (size_t)((rows - 1) * stride + cols) * sizeof *data);
        data = f->trace_host;
    }
    if (!be->ops->sync(be, NULL)) f->trace(f->trace_user, name, layer, data, rows, cols, stride);
    hyb_fp_plain();
}

static const float *hyb_vector(const hyb_tensor *t) { return (const float *)t->data; }

/* out (n_rows, E) = norm(x (n_rows, E)) */
static void hyb_normed(hyb_forward *f, float *out, const float *x, int64_t n_rows, const hyb_tensor *w,
                       const hyb_tensor *b)
{
    hyb_op_norm op;
    op.kind = f->hp->arch->norm;
    op.eps = f->hp->norm_eps;
    op.w = hyb_vector(w);
    op.b = b ? hyb_vector(b) : NULL;
    op.x = x;
    op.out = out;
    op.x_stride = op.out_stride = op.n = f->hp->n_embd;
    op.n_rows = n_rows;
    op.n_group = 1;
    hyb_do_norm(f->at->be, &op);
}

/* Products with the n rows x of the stream; hyb_matmul_out_set adds them one by one. add: rows like y, or NULL. */
static void hyb_matmul_begin(const hyb_forward *f, hyb_op_matmul *op, const float *x, int64_t x_stride, int n)
{
    memset(op, 0, sizeof *op);
    op->form = HYB_FORM_X_WT;
    op->rows = f->s->rows;
    op->x = x;
    op->x_stride = x_stride;
    op->n = n;
}
static void hyb_matmul_out_set(hyb_op_matmul *op, const hyb_tensor *w, const hyb_tensor *bias, const float *add,
                               float *y, int64_t y_stride)
{
    hyb_matmul_out *o = &op->out[op->n_out++];
    o->w = w;
    o->bias = bias && bias->data ? hyb_vector(bias) : NULL;
    o->add = add;
    o->add_stride = y_stride;
    o->y = y;
    o->y_stride = y_stride;
}

/* x (n, E) += y W^T + b, through a norm of its own where the family has one. */
static void hyb_block_out(hyb_forward *f, const char *name, int layer, int n, const float *y, int64_t y_stride,
                          const hyb_tensor *w, const hyb_tensor *b, const hyb_tensor *post_norm)
{
    const hyb_stream *s = f->s;
    const int64_t e = f->hp->n_embd;
    hyb_op_matmul op;
    hyb_op_add add;
    hyb_matmul_begin(f, &op, y, y_stride, n);
    if (!post_norm->data) {
        hyb_matmul_out_set(&op, w, b, s->x, s->x, e);
        hyb_do_matmul(f->at->be, &op);
        return;
    }
    hyb_matmul_out_set(&op, w, b, NULL, s->block, e);
    hyb_do_matmul(f->at->be, &op);
    hyb_traced(f, name, layer, s->block, n, e, e);
    hyb_normed(f, s->block_normed, s->block, n, post_norm, NULL);
    add.a = s->x;
    add.b = s->block_normed;
    add.out = s->x;
    add.n = n * e;
    hyb_do_add(f->at->be, &add);
}

/* ---- the pass ---- */

/* What a stage does before its layers: tables of rotations, and x = embeddings where it is the first. */
static void hyb_stage_open(hyb_forward *f, const hyb_batch *c)
{
    const hyb_hparams *hp = f->hp;
    hyb_stage *stage = f->at;
    hyb_backend *be = stage->be;
    hyb_op_rope_table rope;
    hyb_op_embed op;
    rope.n_rot = hp->n_rot;
    rope.inv_freq = stage->a.inv_freq;
    rope.scale = stage->a.rope_scale;
    rope.table = stage->a.rope;
    if (hp->n_rot) hyb_do_rope_table(be, &rope);
    rope.inv_freq = stage->a.inv_freq_local;
    rope.scale = stage->a.rope_scale_local;
    rope.table = stage->a.rope_local;
    if (hp->n_rot && hp->rope_local) hyb_do_rope_table(be, &rope);
    if (stage != f->stages) return;
    op.table = &f->w->embd;
    op.index = HYB_INDEX_ID;
    op.scale = hp->embd_scale;
    op.add = NULL;
    op.out = f->s->x;
    hyb_do_embed(be, &op);
    op.table = &f->w->pos_embd;
    op.index = HYB_INDEX_POS;
    op.scale = 1;
    op.add = f->s->x;
    if (hp->arch->learned_pos) hyb_do_embed(be, &op);
    hyb_traced(f, "embd", -1, f->s->x, c->n, hp->n_embd, hp->n_embd);
}

/* Begins a stage. x: what the stage before made (the host is the first one, so it is there), or NULL for the first. */
static void hyb_stage_begin(hyb_forward *f, hyb_stage *stage, const hyb_batch *c, const float *x)
{
    f->at = stage;
    f->s = &stage->a.all;
    stage->be->ops->begin(stage->be, c);
    if (x) stage->be->ops->write(stage->be, stage->a.all.x, x, (size_t)c->n * (size_t)f->hp->n_embd * sizeof *x);
    f->pass = f->trace || hyb_profiled() ? HYB_PASS_RUN : stage->be->ops->pass_begin(stage->be);
    if (f->pass != HYB_PASS_REPLAY) hyb_stage_open(f, c);
}

static void hyb_forward_begin(hyb_forward *f, const hyb_batch *c) { hyb_stage_begin(f, f->stages, c, NULL); }

/* h -> q, k, v in their strided place, normed, rotated, k and v stored */
static void hyb_forward_qkv(hyb_forward *f, const hyb_batch *c, int layer)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer *l = &f->w->layers[layer];
    const int64_t stride = hyb_width_qkv(hp);
    float *q = f->at->a.qkv, *k = q + hyb_width_q(hp), *v = k + hyb_width_k(hp);
    float *q_rotated = f->at->a.qkv_rotated, *k_rotated = q_rotated + hyb_width_q(hp);
    hyb_op_matmul mm;
    hyb_op_heads heads;
    hyb_matmul_begin(f, &mm, f->s->h, hp->n_embd, c->n);
    if (l->wqkv.data)
        hyb_matmul_out_set(&mm, &l->wqkv, &l->bqkv, NULL, q, stride);
    else {
        hyb_matmul_out_set(&mm, &l->wq, &l->bq, NULL, q, stride);
        hyb_matmul_out_set(&mm, &l->wk, &l->bk, NULL, k, stride);
        hyb_matmul_out_set(&mm, &l->wv, &l->bv, NULL, v, stride);
    }
    hyb_do_matmul(f->at->be, &mm);
    hyb_traced(f, "q", layer, q, c->n, hyb_width_q(hp), stride);
    hyb_traced(f, "k", layer, k, c->n, hyb_width_k(hp), stride);
    hyb_traced(f, "v", layer, v, c->n, hyb_width_v(hp), stride);
    heads.kv = &f->kv[layer];
    heads.q = q;
    heads.k = k;
    heads.v = v;
    heads.stride = stride;
    heads.q_out = q_rotated;
    heads.k_out = k_rotated;
    heads.out_stride = stride;
    heads.n = c->n;
    heads.n_head = hp->n_head;
    heads.q_norm = hyb_vector(&l->q_norm);
    heads.k_norm = hyb_vector(&l->k_norm);
    heads.norm = hp->arch->norm;
    heads.eps = hp->norm_eps;
    heads.rope = hp->arch->rope;
    heads.n_rot = hp->n_rot;
    heads.table = hp->rope_local && hyb_layer_is_local(hp, layer) ? f->at->a.rope_local : f->at->a.rope;
    hyb_do_heads(f->at->be, &heads);
    hyb_traced(f, "q_rope", layer, q_rotated, c->n, hyb_width_q(hp), stride);
    hyb_traced(f, "k_rope", layer, k_rotated, c->n, hyb_width_k(hp), stride);
}

static void hyb_forward_attention(hyb_forward *f, const hyb_batch *c, int layer)
{
    const hyb_hparams *hp = f->hp;
    hyb_op_attention op;
    memset(&op, 0, sizeof op);
    op.kv = &f->kv[layer];
    op.q = f->at->a.qkv_rotated;
    op.q_stride = hyb_width_qkv(hp);
    op.out = f->at->a.attn;
    op.out_stride = hyb_width_attn(hp);
    op.n_head = hp->n_head;
    op.scale = hp->attn_scale;
    op.softcap = hp->attn_softcap;
    op.window = hyb_layer_is_local(hp, layer) ? hp->window : 0;
    hyb_do_attention(f->at->be, &op);
    hyb_traced(f, "attn", layer, op.out, c->n, op.out_stride, op.out_stride);
}

/* act (n, F) at stride 2F = act(gate) * up, which stand side by side in ffn, or act of the first half */
static void hyb_activate(hyb_forward *f, int64_t n, int64_t n_ff, bool plain)
{
    hyb_op_glu glu;
    glu.act = f->hp->arch->act;
    glu.gate = f->at->a.ffn;
    glu.up = plain ? NULL : f->at->a.ffn + n_ff;
    glu.out = f->at->a.act;
    glu.gate_stride = glu.up_stride = glu.out_stride = 2 * n_ff;
    glu.n_rows = n;
    glu.n = n_ff;
    hyb_do_glu(f->at->be, &glu);
}

/* h (n, E) -> act (n, F) at stride 2F: act(gate) * up, or act(up) */
static void hyb_forward_ffn(hyb_forward *f, int n, int64_t n_ff, const hyb_tensor *gate, const hyb_tensor *gate_b,
                            const hyb_tensor *up, const hyb_tensor *up_b)
{
    float *ffn = f->at->a.ffn;
    hyb_op_matmul mm;
    hyb_matmul_begin(f, &mm, f->s->h, f->hp->n_embd, n);
    if (gate->data) hyb_matmul_out_set(&mm, gate, gate_b, NULL, ffn, 2 * n_ff);
    hyb_matmul_out_set(&mm, up, up_b, NULL, gate->data ? ffn + n_ff : ffn, 2 * n_ff);
    hyb_do_matmul(f->at->be, &mm);
    hyb_activate(f, n, n_ff, !gate->data && up->ne[1] == n_ff);
}

/* router (n, n_expert) = h . W^T, and the choice: n_used of n_expert */
static void hyb_forward_route(hyb_forward *f, int n, const hyb_tensor *w, hyb_op_route *op)
{
    const hyb_activations *a = &f->at->a;
    hyb_op_matmul mm;
    hyb_matmul_begin(f, &mm, f->s->h, f->hp->n_embd, n);
    hyb_matmul_out_set(&mm, w, NULL, NULL, a->router, op->n_expert);
    hyb_do_matmul(f->at->be, &mm);
    op->logits = a->router;
    op->n = n;
    op->ids = a->expert_ids;
    op->weights = a->expert_weights;
    hyb_do_route(f->at->be, op);
}

/* x (n, E) += sum of weight * expert_out (n * n_used, E) */
static void hyb_forward_combine(hyb_forward *f, int n, int n_used)
{
    const hyb_activations *a = &f->at->a;
    hyb_op_combine op;
    op.x = a->expert_out;
    op.weights = a->expert_weights;
    op.n = n;
    op.n_used = n_used;
    op.n_embd = f->hp->n_embd;
    op.add = f->s->x;
    op.out = f->s->x;
    hyb_do_combine(f->at->be, &op);
}

/* x (n, E) += the chosen experts' feed-forward of h (n, E), weighted */
static void hyb_forward_experts(hyb_forward *f, int n, int layer)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer *l = &f->w->layers[layer];
    const hyb_activations *a = &f->at->a;
    const int64_t n_ff = hp->n_ff_expert, rows = (int64_t)n * hp->n_expert_used;
    hyb_op_route route;
    hyb_op_experts op;
    route.kind = HYB_ROUTE_SOFTMAX;
    route.n_expert = hp->n_expert;
    route.n_used = hp->n_expert_used;
    route.norm = hp->expert_norm;
    route.scale = hp->expert_scale;
    hyb_forward_route(f, n, &l->router, &route);
    hyb_traced(f, "router", layer, a->router, n, hp->n_expert, hp->n_expert);
    hyb_traced(f, "expert_weights", layer, a->expert_weights, n, hp->n_expert_used, hp->n_expert_used);
    memset(&op, 0, sizeof op);
    op.form = HYB_FORM_X_WT;
    op.rows = f->s->rows;
    op.x = f->s->h;
    op.x_stride = hp->n_embd;
    op.ids = a->expert_ids;
    op.n = n;
    op.n_used = hp->n_expert_used;
    op.n_out = 2;
    op.out[0].w = &l->gate;
    op.out[0].y = a->ffn;
    op.out[0].y_stride = 2 * n_ff;
    op.out[1].w = &l->up;
    op.out[1].y = a->ffn + n_ff;
    op.out[1].y_stride = 2 * n_ff;
    hyb_do_experts(f->at->be, &op);
    hyb_activate(f, rows, n_ff, false);
    hyb_traced(f, "ffn_act", layer, a->act, rows, n_ff, 2 * n_ff);
    op.x = a->act;
    op.x_stride = 2 * n_ff;
    op.each_own = true;
    op.n_out = 1;
    op.out[0].w = &l->down;
    op.out[0].y = a->expert_out;
    op.out[0].y_stride = hp->n_embd;
    hyb_do_experts(f->at->be, &op);
    hyb_forward_combine(f, n, hp->n_expert_used);
}

/* x (n, E) += sigmoid(h . w) * the feed-forward of h (n, E) that every token has */
static void hyb_forward_shared(hyb_forward *f, int n, int layer)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer *l = &f->w->layers[layer];
    hyb_op_route route;
    hyb_op_matmul mm;
    route.kind = HYB_ROUTE_SIGMOID;
    route.n_expert = route.n_used = 1;
    route.norm = false;
    route.scale = 1;
    hyb_forward_route(f, n, &l->shared_router, &route);
    hyb_forward_ffn(f, n, hp->n_ff_shared, &l->shared_gate, NULL, &l->shared_up, NULL);
    hyb_traced(f, "shared_act", layer, f->at->a.act, n, hp->n_ff_shared, 2 * (int64_t)hp->n_ff_shared);
    hyb_matmul_begin(f, &mm, f->at->a.act, 2 * (int64_t)hp->n_ff_shared, n);
    hyb_matmul_out_set(&mm, &l->shared_down, NULL, NULL, f->at->a.expert_out, hp->n_embd);
    hyb_do_matmul(f->at->be, &mm);
    hyb_forward_combine(f, n, 1);
}

/* dst (n_out, cols) = the rows of src (n, cols) whose logits are wanted */
static void hyb_gather(hyb_forward *f, const hyb_batch *c, float *dst, const float *src, int64_t cols)
{
    hyb_tensor table;
    hyb_op_embed op;
    memset(&table, 0, sizeof table);
    table.type = HYBRID_TYPE_F32;
    table.ne[0] = cols;
    table.ne[1] = c->n;
    table.ne[2] = table.ne[3] = 1;
    table.nb[0] = sizeof(float);
    table.nb[1] = (size_t)cols * sizeof(float);
    table.nb[2] = table.nb[3] = table.nb[1] * (size_t)c->n;
    table.data = src;
    op.table = &table;
    op.index = HYB_INDEX_OUT;
    op.scale = 1;
    op.add = NULL;
    op.out = dst;
    hyb_do_embed(f->at->be, &op);
}

/* One layer. Behind the last attention only the rows with wanted logits go on, unless somebody watches. */
static void hyb_forward_layer(hyb_forward *f, const hyb_batch *c, int layer)
{
    const hyb_hparams *hp = f->hp;
    const hyb_layer *l = &f->w->layers[layer];
    const int64_t e = hp->n_embd;
    const bool last = layer + 1 == hp->n_layer && !f->trace && c->n_out < c->n;
    const float *attn;
    int n = c->n;
    if (layer == f->at->layer_end) hyb_stage_begin(f, f->at + 1, c, f->at->a.all.x);
    if (f->pass == HYB_PASS_REPLAY) return;
    hyb_normed(f, f->s->h, f->s->x, n, &l->attn_norm, &l->attn_norm_b);
    hyb_traced(f, "attn_norm", layer, f->s->h, n, e, e);
    hyb_forward_qkv(f, c, layer);
    if (last && !c->n_out) return;
    hyb_forward_attention(f, c, layer);
    attn = f->at->a.attn;
    if (last) {
        n = c->n_out;
        f->s = &f->at->a.last;
        hyb_gather(f, c, f->s->x, f->at->a.all.x, e);
        hyb_gather(f, c, f->at->a.attn_last, attn, hyb_width_attn(hp));
        attn = f->at->a.attn_last;
    }
    hyb_block_out(f, "attn_out", layer, n, attn, hyb_width_attn(hp), &l->wo, &l->bo, &l->attn_post_norm);
    hyb_traced(f, "ffn_in", layer, f->s->x, n, e, e);
    hyb_normed(f, f->s->h, f->s->x, n, &l->ffn_norm, &l->ffn_norm_b);
    hyb_traced(f, "ffn_norm", layer, f->s->h, n, e, e);
    if (l->router.data) {
        hyb_forward_experts(f, n, layer);
        if (l->shared_router.data) hyb_forward_shared(f, n, layer);
    } else {
        hyb_forward_ffn(f, n, hp->n_ff, &l->gate, &l->gate_b, &l->up, &l->up_b);
        hyb_traced(f, "ffn_act", layer, f->at->a.act, n, hp->n_ff, 2 * (int64_t)hp->n_ff);
        hyb_block_out(f, "ffn_out", layer, n, f->at->a.act, 2 * (int64_t)hp->n_ff, &l->down, &l->down_b,
                      &l->ffn_post_norm);
    }
    hyb_traced(f, "l_out", layer, f->s->x, n, e, e);
}

static void hyb_forward_top(hyb_forward *f, int n_out)
{
    const hyb_activations *a = &f->at->a;
    hyb_op_top_k op;
    op.logits = a->logits;
    op.stride = f->hp->n_vocab;
    op.n_rows = n_out;
    op.n = f->n_tokens;
    op.k = f->n_top;
    op.ids = a->top_ids;
    op.values = a->top_values;
    op.stats = a->top_stats;
    hyb_do_top_k(f->at->be, &op);
}

/* x -> logits (n_out, n_vocab) of the wanted rows */
static void hyb_forward_head(hyb_forward *f, const hyb_batch *c, float *logits)
{
    const hyb_hparams *hp = f->hp;
    const int64_t e = hp->n_embd;
    const int n = f->trace ? c->n : c->n_out; /* the rows that the last layer left */
    hyb_op_matmul mm;
    hyb_op_softcap cap;
    if (!c->n_out && !f->trace) return;
    hyb_normed(f, f->s->h, f->s->x, n, &f->w->out_norm, &f->w->out_norm_b);
    hyb_traced(f, "result_norm", -1, f->s->h, n, e, e);
    if (f->trace && c->n_out < c->n) { /* watched, all rows have come as far as this */
        f->s = &f->at->a.last;
        hyb_gather(f, c, f->s->h, f->at->a.all.h, e);
    }
    if (!c->n_out) return;
    hyb_matmul_begin(f, &mm, f->s->h, e, c->n_out);
    hyb_matmul_out_set(&mm, &f->w->head, NULL, NULL, logits, hp->n_vocab);
    hyb_do_matmul(f->at->be, &mm);
    cap.x = logits;
    cap.cap = hp->logit_softcap;
    cap.out = logits;
    cap.n = (int64_t)c->n_out * hp->n_vocab;
    if (hp->logit_softcap > 0) hyb_do_softcap(f->at->be, &cap);
    hyb_traced(f, "logits", -1, logits, c->n_out, hp->n_vocab, hp->n_vocab);
    if (f->n_top && !f->at->device->ops->is_host) hyb_forward_top(f, c->n_out);
}

static void hyb_forward_read(hyb_forward *f, int n_out, const hyb_results *out)
{
    const hyb_activations *a = &f->at->a;
    hyb_backend *be = f->at->be;
    const size_t top = (size_t)n_out * (size_t)f->n_top;
    if (!out->later)
        be->ops->read(be, out->logits, a->logits, (size_t)n_out * (size_t)f->hp->n_vocab * sizeof *a->logits);
    if (!top) return;
    be->ops->read(be, out->top_ids, a->top_ids, top * sizeof *a->top_ids);
    be->ops->read(be, out->top_values, a->top_values, top * sizeof *a->top_values);
    be->ops->read(be, out->top_stats, a->top_stats, (size_t)n_out * 2 * sizeof *a->top_stats);
}

/* Ends the pass. out is looked at when rows are wanted. */
static hybrid_result hyb_forward_end(hyb_forward *f, const hyb_batch *c, const hyb_results *out, hybrid_error *error)
{
    hyb_backend *be = f->at->be;
    const bool is_host = f->at->device->ops->is_host;
    float *y = !is_host ? f->at->a.logits : out ? out->logits : NULL;
    int layer;
    if (f->pass != HYB_PASS_REPLAY) hyb_forward_head(f, c, y);
    if (!f->trace &&
        !be->ops->pass_end(be)) { /* the last stage once more: its x is there still, or made by the embedding */
        f->s = &f->at->a.all;
        f->pass = HYB_PASS_RUN;
        hyb_stage_open(f, c);
        for (layer = f->at == f->stages ? 0 : f->at[-1].layer_end; layer < f->hp->n_layer; layer++)
            hyb_forward_layer(f, c, layer);
        hyb_forward_head(f, c, y);
    }
    f->pass = HYB_PASS_RUN;
    if (!is_host && c->n_out) hyb_forward_read(f, c->n_out, out);
    return be->ops->sync(be, error);
}
