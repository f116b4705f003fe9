/* model/pass: what the parts of a layer share: the rows on their way through the layers, the memory of a pass, and the
 * few steps that several parts take.
 *
 * A batch is up to n_batch tokens, of any mix of sequences, that go through the layers together. E = n_embd,
 * R = n_batch, n = the rows that are there. */
#ifndef HYB_MODEL_PASS_C
#define HYB_MODEL_PASS_C
#include "../api/context.h"
#include "../compute/call.c"
#include "../compute/cpu/job.c"
#include "adapter_worn.c"
#include "weights.c"

/* What a part asks of the memory of a pass, in values a row; there is as much as the layer that asks for most. */
typedef struct hyb_needs {
    int64_t mix;    /* what a mixer makes before it looks at other tokens */
    int64_t mixed;  /* and after */
    int64_t ffn;    /* what the other part makes */
    int64_t router; /* scores of experts, */
    int64_t used;   /* how many are chosen, */
    int64_t out;    /* and what they make */
    int64_t carry;  /* what the first layer hands to all others */
    /* and more when a backward pass will follow, which reads what a forward pass is done with: */
    int64_t act;      /* of what the other part makes, what it makes of that value by value */
    int64_t mix_both; /* of mix, as it was before it was changed value by value; 0: it is not read */
    int64_t block;    /* what goes through the norm of a block */
    int64_t shared;   /* of ffn, what a second feed-forward makes, which otherwise lies on it */
    int64_t work;     /* of a way back that puts rows in another order */
} hyb_needs;

static void hyb_need(int64_t *needed, int64_t values) { *needed = HYB_MAX(*needed, values); }

/* The rows that go through the layers, and what a part makes on its way from x to x. */
typedef struct hyb_stream {
    hyb_rows rows;       /* which rows of the batch */
    float *x, *x_out;    /* (n, E) the residual stream, before and after a part */
    float *h;            /* (n, E) a normed copy of it */
    float *block;        /* (n, E) what a part adds to x, before the norm of its own that some families have */
    float *block_normed; /* (n, E) and after it */
} hyb_stream;

/* Memory of a pass, laid out by hyb_activations_layout, which also says what lies on what. */
typedef struct hyb_activations {
    hyb_stream all;      /* R rows, up to the last part that looks at other tokens */
    hyb_stream last;     /* n_out rows after it: those with wanted logits */
    float *mix;          /* (R, needs.mix) */
    float *mix_out;      /* of the same shape: what is made of it value by value */
    float *mixed;        /* (R, needs.mixed) */
    float *gathered;     /* (n_out, needs.mixed) */
    float *ffn;          /* (R, needs.ffn) */
    float *act;          /* of the same shape: what is made of it value by value */
    float *shared;       /* (R, needs.shared), or as ffn: what a second feed-forward makes */
    float *router;       /* (R, n_expert) */
    int32_t *expert_ids; /* (R, n_expert_used), and their weights */
    float *expert_weights;
    float *expert_out;                 /* (R * n_expert_used, E) */
    float *carry;                      /* (R, needs.carry) */
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
    float *narrow;     /* hyb_narrow_floats: x A^T of the matrices of an op, where adapters are worn; or NULL */
    int32_t layer_end; /* the layer that the next stage begins with; n_layer for the last stage */
} hyb_stage;
enum { HYB_STAGES = 2 }; /* the first layers on the host, or none; the others on a GPU, or none */

/* Where a layer keeps the state of a sequence: keys and values in pages; what goes from row to row in slots, those of
 * its mixer and those of its other part. */
typedef struct hyb_layer_state {
    hyb_kv_view kv;
    hyb_slots mixer, ffn;
} hyb_layer_state;

typedef struct hyb_net hyb_net;

/* What a backward pass works with besides what the forward pass kept. */
typedef struct hyb_back {
    const float *weights;              /* the model's own memory, NULL: it is frozen, and */
    float *grads;                      /* a gradient for every value of it */
    float *dx;                         /* (n, E) of the residual stream after the part, then before it */
    float *dh;                         /* (n, E) of its normed copy */
    float *dblock;                     /* (n, E) of what goes through the norm of a block */
    float *dmix;                       /* (n, needs.mix) */
    float *dmix_in;                    /* (n, needs.mix_both) of mix before it was changed value by value */
    float *dmixed;                     /* (n, needs.mixed) */
    float *dact;                       /* (n, needs.act) */
    float *drouter;                    /* (n, needs.router) of scores of experts, */
    float *dused;                      /* (n, needs.used) of the weights of those that were chosen, */
    float *dshared;                    /* (n) and of the score of the one that sees every token */
    float *work;                       /* (n, needs.work) */
    float *dcarry;                     /* (n, needs.carry) */
    float *stats;                      /* of norms: two values a group */
    float *rope, *rope_local;          /* tables that turn back: those of the negative angles, */
    double *inv_freq, *inv_freq_local; /* and their frequencies */
    /* of the adapter that is trained, and the only one of set 0: */
    float *adapter_grads; /* a gradient for every value of its arena; NULL: none is trained */
    float *dlow;          /* (n, 4 * rank), or of the choices of experts (n * n_expert_used, rank), of x A^T */
    float *dx_low;        /* (n, k) what dlow makes of x */
    int first_layer;      /* below it no gradient is wanted */
} hyb_back;

typedef struct hyb_forward {
    const hyb_hparams *hp;
    const hyb_net *net;        /* which tensor does what, */
    const hyb_tensor *tensors; /* and where it is: addresses of the device of its stage */
    hyb_stage stages[HYB_STAGES];
    int n_stages;
    hyb_stage *at;                /* where the pass is, */
    const hyb_stream *s;          /* with which rows, */
    int n;                        /* how many, */
    hyb_pass pass;                /* and how it goes on there */
    const hyb_layer_state *state; /* one a layer */
    const hyb_activations *kept; /* what each part makes, two a layer and one for the head: a backward pass will follow;
                                    or NULL: parts share the memory of the stage */
    const hyb_back *back;
    /* Adapters: set_of_run[r] is the place in sets of what run r of the batch wears; NULL: no run wears any. Backward
     * finds the pair of a matrix w as forward does: hyb_adapter_pair_of(set->use[i].adapter, w), times use[i].scale. */
    const hyb_adapter_set *sets;
    const int32_t *set_of_run;
    hyb_rounding rounding;   /* of the products of a training pass */
    float *states;         /* (R, E), the host's: where the final states of all rows go, and then no logits are made; or
                            * NULL */
    int32_t n_top, n_tokens; /* the n_top largest of the first n_tokens logits are found where the logits are; 0: no */
    hybrid_trace_fn trace;
    void *trace_user;
    float *trace_host; /* hyb_trace_values floats, when a stage is not on the host */
} hyb_forward;

/* ---- parts of layers ---- */

/* How a layer mixes tokens, or works on each. `w` is its own structure of places in the table of tensors, w_bytes long.
 *
 *   find      looks its tensors up
 *   needs     what it asks of the memory of a pass
 *   slot      values of a sequence's state that goes from row to row; NULL: it keeps none
 *   forward   x_out (n, E) = x + what it makes of x, all rows of the batch together
 *   backward  dx (n, E), of x_out, becomes that of x; gradients of its weights are added to
 *
 * A part with keeps_pages writes keys and values into the pages of a sequence. One with looks_back mixes tokens though
 * it is not the mixer: all rows of the last layer must come as far as it. */
typedef struct hyb_part {
    const char *name;
    size_t w_bytes;
    bool keeps_pages, looks_back;
    void (*find)(hyb_loader *wl, const hyb_layer_hp *l, void *w);
    void (*needs)(const hyb_hparams *hp, const hyb_layer_hp *l, hyb_needs *needs);
    int64_t (*slot)(const hyb_hparams *hp);
    void (*forward)(hyb_forward *f, const hyb_batch *c, int layer, const void *w);
    void (*backward)(hyb_forward *f, int layer, const void *w);
} hyb_part;

#ifndef HYBRID_NO_TRAIN
    #define HYB_BACKWARD(function) function
#else
    #define HYB_BACKWARD(function) NULL
#endif

/* One layer: its parts, each with its tensors. */
typedef struct hyb_layer {
    hyb_weight first; /* of its tensors in the table */
    const hyb_part *mixer, *ffn;
    void *mixer_w, *ffn_w;
} hyb_layer;

/* The places of a model's tensors. */
struct hyb_net {
    hyb_weight embd, pos_embd, types, embd_norm, embd_norm_b, out_norm, out_norm_b, head;
    hyb_weight rope_freqs, rope_long, rope_short; /* divisors of the rope frequencies */
    hyb_layer *layers;
    char *w; /* the parts' structures */
};

/* ---- steps that parts share ---- */

static void hyb_traced(hyb_forward *f, const char *name, int32_t layer, const float *data, int64_t rows, int64_t cols,
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

static const hyb_tensor *hyb_tensor_of(const hyb_forward *f, hyb_weight w) { return &f->tensors[w]; }

/* The values of a vector; NULL when there is none. */
static const float *hyb_vector(const hyb_forward *f, hyb_weight w) { return (const float *)f->tensors[w].data; }

/* out (n, E) = norm(x (n, E)) */
static void hyb_normed(hyb_forward *f, float *out, const float *x, hyb_weight w, hyb_weight b)
{
    hyb_op_norm op;
    op.kind = f->hp->arch->norm;
    op.eps = f->hp->norm_eps;
    op.w = hyb_vector(f, w);
    op.b = hyb_vector(f, b);
    op.x = x;
    op.out = out;
    op.x_stride = op.out_stride = op.n = f->hp->n_embd;
    op.n_rows = f->n;
    op.n_group = 1;
    hyb_do_norm(f->at->be, &op);
}

/* h = norm(x), traced under a name. Returns the rows that the part reads: those, or x where there is no norm. */
static const float *hyb_part_norm(hyb_forward *f, const char *name, int layer, hyb_weight w, hyb_weight b)
{
    if (!w) return f->s->x;
    hyb_normed(f, f->s->h, f->s->x, w, b);
    hyb_traced(f, name, layer, f->s->h, f->n, f->hp->n_embd, f->hp->n_embd);
    return f->s->h;
}

/* x_out = norm(x_out), in families that have the norm there (Vaswani et al. 2017; BERT). */
static void hyb_part_sum_norm(hyb_forward *f, hyb_weight w, hyb_weight b)
{
    if (w) hyb_normed(f, f->s->x_out, f->s->x_out, w, b);
}

/* Products with the rows x of the stream; hyb_matmul_out_set adds them one by one. add: rows like y, or NULL. */
static void hyb_matmul_begin(const hyb_forward *f, hyb_op_matmul *op, const float *x, int64_t x_stride)
{
    memset(op, 0, sizeof *op);
    op->rows = f->s->rows;
    op->in_chunks = f->kept != NULL;
    op->rounding = f->rounding;
    op->x = x;
    op->x_stride = x_stride;
    op->n = f->n;
}
static void hyb_matmul_out_set(const hyb_forward *f, hyb_op_matmul *op, hyb_weight w, hyb_weight bias, const float *add,
                               float *y, int64_t y_stride)
{
    hyb_matmul_out *o = &op->out[op->n_out++];
    o->w = hyb_tensor_of(f, w);
    o->bias = hyb_vector(f, bias);
    o->add = add;
    o->add_stride = y_stride;
    o->y = y;
    o->y_stride = y_stride;
    o->low = NULL;
}

/* Floats of what lies between the two matrices of adapters up to a rank, of so many rows: of the matrices of one op
 * (n, 4 * rank); of one matrix of experts (n * n_expert_used, rank), and of HYB_WIDE_ROWS rows at a time what the pair
 * adds. */
enum { HYB_WIDE_ROWS = 128 };
static size_t hyb_narrow_floats(const hyb_hparams *hp, size_t n, size_t rank)
{
    const size_t used = (size_t)hp->n_expert_used, choices = HYB_MIN(n, (size_t)HYB_WIDE_ROWS) * used;
    const size_t wide = choices * (size_t)HYB_MAX(hp->n_ff_expert, hp->n_embd);
    const size_t narrow = n * HYB_MAX(used, (size_t)4) * rank;
    return rank ? HYB_MAX(narrow, hyb_align(choices * rank, 16) + wide) : 0;
}

/* t (n, rank) = x A^T for every pair of the op, one plane after the other, then times its factor. Planes without
 * gaps: those of one factor are scaled together. */
static void hyb_adapter_narrow(hyb_forward *f, const hyb_op_matmul *op, const hyb_adapter_use *use,
                               const hyb_adapter_pair *const pairs[4])
{
    hyb_tensor a[4];
    hyb_op_matmul narrow = *op;
    hyb_op_scale scale;
    float *t = f->at->narrow;
    int i;
    narrow.n_out = 0;
    for (i = 0; i < op->n_out; i++) {
        hyb_matmul_out *o = &narrow.out[narrow.n_out];
        if (!pairs[i]) continue;
        a[i] = hyb_adapter_on(use->adapter, &pairs[i]->a, f->at->device);
        o->w = &a[i];
        o->bias = o->add = NULL;
        o->y = t;
        o->y_stride = pairs[i]->rank;
        t += op->n * (int64_t)pairs[i]->rank;
        narrow.n_out++;
    }
    hyb_do_matmul(f->at->be, &narrow);
    t = f->at->narrow;
    scale.factor = 1;
    for (i = 0, scale.n = 0; i < op->n_out; i++) {
        const float factor = pairs[i] ? use->scale * pairs[i]->scale : 1;
        if (!pairs[i]) continue;
        if (scale.n && factor != scale.factor) {
            hyb_do_scale(f->at->be, &scale);
            t += scale.n;
            scale.n = 0;
        }
        scale.x = scale.out = t;
        scale.factor = factor;
        scale.n += op->n * (int64_t)pairs[i]->rank;
    }
    if (scale.n && scale.factor != 1) hyb_do_scale(f->at->be, &scale);
}

/* y += factor * (x A^T) B^T for those matrices of op that an adapter changes. */
static void hyb_adapter_add(hyb_forward *f, const hyb_op_matmul *op, const hyb_adapter_use *use)
{
    const hyb_adapter_pair *pairs[4];
    const float *t = f->at->narrow;
    int i, n = 0;
    for (i = 0; i < op->n_out; i++) {
        pairs[i] = hyb_adapter_pair_of(use->adapter, (hyb_weight)(op->out[i].w - f->tensors));
        n += pairs[i] != NULL;
    }
    if (!n) return;
    hyb_adapter_narrow(f, op, use, pairs);
    for (i = 0; i < op->n_out; i++) {
        hyb_op_matmul wide = *op;
        hyb_tensor b;
        if (!pairs[i]) continue;
        b = hyb_adapter_on(use->adapter, &pairs[i]->b, f->at->device);
        wide.x = t;
        wide.x_stride = pairs[i]->rank;
        wide.n_out = 1;
        wide.out[0].w = &b;
        wide.out[0].bias = NULL;
        wide.out[0].y = op->out[i].y;
        wide.out[0].y_stride = wide.out[0].add_stride = op->out[i].y_stride;
        wide.out[0].add = op->out[i].y;
        hyb_do_matmul(f->at->be, &wide);
        t += op->n * (int64_t)pairs[i]->rank;
    }
}

/* The row after the last of those from `row` on that wear the same. */
static int hyb_rows_alike(const hyb_forward *f, hyb_rows rows, int row, int n)
{
    const hyb_batch *batch = f->at->be->batch;
    int run = hyb_run_of_row(batch, rows, row);
    const int32_t set = f->set_of_run[run];
    for (; row < n; row++) {
        const int r = rows == HYB_ROWS_OUT ? (int)batch->out[row] : row;
        while (r >= batch->runs[run].first_row + batch->runs[run].n_rows) run++;
        if (f->set_of_run[run] != set) break;
    }
    return row;
}

/* What an adapter adds to the matrices of op that it changes, as the host does it with their products. Whether there
 * is any. */
static bool hyb_adapter_lows(const hyb_forward *f, hyb_op_matmul *op, const hyb_adapter_use *use, hyb_matmul_low low[4])
{
    const hyb_cpu_kernels *kernels = hyb_cpu_of(f->at->be)->kernels;
    float *t = f->at->narrow;
    bool any = false;
    int i;
    for (i = 0; i < op->n_out; i++) {
        const hyb_adapter_pair *pair =
            hyb_adapter_worn_of(use->adapter, (hyb_weight)(op->out[i].w - f->tensors), kernels);
        op->out[i].low = pair ? &low[i] : NULL;
        if (!pair) continue;
        low[i].a = pair->worn_a;
        low[i].b = pair->worn_b;
        low[i].factor = use->scale * pair->scale * pair->worn_scale;
        low[i].t = t;
        t += op->n * (int64_t)pair->rank;
        any = true;
    }
    return any;
}

/* Rows that wear the same, on the host. is_done: their products are there. */
static void hyb_products_worn(hyb_forward *f, hyb_op_matmul *op, const hyb_adapter_set *set, bool is_done)
{
    hyb_matmul_low low[4];
    int k;
    for (k = 0; k < set->n; k++) {
        if (!hyb_adapter_lows(f, op, &set->use[k], low)) continue;
        op->only_low = is_done;
        hyb_do_matmul(f->at->be, op);
        is_done = true;
    }
    if (!is_done) hyb_do_matmul(f->at->be, op);
}

/* The products of op, and what adapters add to them: the one way from parts to a product whose matrices an adapter may
 * change. Rows that wear the same go together; each row has the bits that it has alone. What is trained on, and a GPU,
 * take A and B as they are. */
static void hyb_products(hyb_forward *f, const hyb_op_matmul *op)
{
    const bool on_host = f->at->device->ops->is_host && !f->kept;
    int row, end, k, i;
    bool is_done = false;
    if (!f->set_of_run) {
        hyb_do_matmul(f->at->be, op);
        return;
    }
    for (row = 0; row < op->n; row = end) {
        const hyb_adapter_set *set = &f->sets[f->set_of_run[hyb_run_of_row(f->at->be->batch, op->rows, row)]];
        hyb_op_matmul some = *op;
        end = hyb_rows_alike(f, op->rows, row, op->n);
        if (!is_done && (end < op->n || !on_host)) {
            hyb_do_matmul(f->at->be, op);
            is_done = true;
        }
        some.x += row * op->x_stride;
        some.n = end - row;
        for (i = 0; i < op->n_out; i++) some.out[i].y += row * op->out[i].y_stride;
        if (on_host)
            hyb_products_worn(f, &some, set, is_done);
        else
            for (k = 0; k < set->n; k++) hyb_adapter_add(f, &some, &set->use[k]);
    }
}

/* One product alone. */
static void hyb_product(hyb_forward *f, const float *x, int64_t x_stride, hyb_weight w, hyb_weight bias, float *y,
                        int64_t y_stride)
{
    hyb_op_matmul op;
    hyb_matmul_begin(f, &op, x, x_stride);
    hyb_matmul_out_set(f, &op, w, bias, NULL, y, y_stride);
    hyb_products(f, &op);
}

/* out = act(gate) * up, or act(gate) when up is NULL: n_rows rows of n values, all of the same stride. */
static void hyb_activate(hyb_forward *f, hyb_act_kind act, const float *gate, const float *up, float *out,
                         int64_t stride, int64_t n_rows, int64_t n)
{
    hyb_op_glu glu;
    glu.act = act;
    glu.gate = gate;
    glu.up = up;
    glu.out = out;
    glu.gate_stride = glu.up_stride = glu.out_stride = stride;
    glu.n_rows = n_rows;
    glu.n = n;
    hyb_do_glu(f->at->be, &glu);
}

/* x_out (n, E) = x + y W^T + b, through a norm of its own where the family has one. x_out NULL: it is known already,
 * and only what a backward pass reads is made. */
static void hyb_part_out(hyb_forward *f, const char *name, int layer, const float *y, int64_t y_stride, hyb_weight w,
                         hyb_weight b, hyb_weight post_norm)
{
    const hyb_stream *s = f->s;
    const int64_t e = f->hp->n_embd;
    hyb_op_matmul op;
    hyb_op_add add;
    if (!s->x_out && !post_norm) return;
    hyb_matmul_begin(f, &op, y, y_stride);
    hyb_matmul_out_set(f, &op, w, b, post_norm ? NULL : s->x, post_norm ? s->block : s->x_out, e);
    hyb_products(f, &op);
    if (!post_norm || !s->x_out) return;
    hyb_traced(f, name, layer, s->block, f->n, e, e);
    hyb_normed(f, s->block_normed, s->block, post_norm, 0);
    add.a = s->x;
    add.b = s->block_normed;
    add.out = s->x_out;
    add.n = f->n * e;
    hyb_do_add(f->at->be, &add);
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

/* Whether this is the last part that looks at other tokens, and nothing is traced, nor kept for the way back, nor is
 * it states that are wanted: after it, only rows with wanted logits go on. */
static bool hyb_narrows(const hyb_forward *f, const hyb_batch *c, int layer, bool is_mixer)
{
    return layer + 1 == f->hp->n_layer && is_mixer != f->net->layers[layer].ffn->looks_back && !f->trace && !f->kept &&
           !f->states && c->n_out < c->n;
}

/* Called when a part has looked at other tokens, and has mixed (n, cols): tells where the rows are that go on, with
 * x. */
static const float *hyb_narrowed(hyb_forward *f, const hyb_batch *c, int layer, bool is_mixer, const float *mixed,
                                 int64_t cols)
{
    const hyb_activations *a = &f->at->a;
    if (!hyb_narrows(f, c, layer, is_mixer)) return mixed;
    f->s = &a->last;
    f->n = c->n_out;
    hyb_gather(f, c, f->s->x, a->all.x, f->hp->n_embd);
    hyb_gather(f, c, a->gathered, mixed, cols);
    return a->gathered;
}

/* No row goes on after that part: it has written what it had to write. */
static bool hyb_ends_here(const hyb_forward *f, const hyb_batch *c, int layer, bool is_mixer)
{
    return hyb_narrows(f, c, layer, is_mixer) && !c->n_out;
}
#endif
