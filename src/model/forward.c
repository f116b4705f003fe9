/* model/forward: one pass of a batch through any model, over the op table.
 *
 *     embedding -> [ mixer, other part ] for each layer -> norm, head -> logits
 *
 * A chunk of three prompts on its way (here a layer on the host, the others on a GPU), and what is left of it where
 * only rows with wanted logits go on:
 *
 *     rows      0 1 2 3 4 | 5 6 7 | 8          runs of three sequences; logits are wanted of rows 4, 7 and 8
 *     layer 0   x x x x x   x x x   x          stage 0, the host
 *     --------  x is copied to the GPU (and `carry`, what the first layer hands to all others)
 *     layer 1   x x x x x   x x x   x          stage 1
 *     layer 2   x x x x x   x x x   x          the last one: its mixer still looks at all rows,
 *                       x       x   x          then x and what was mixed are gathered (hyb_narrowed)
 *     head              l       l   l          n_out rows of logits
 *
 * The caller makes its calls one by one, so that a pass can be left and re-entered: forward_begin, forward_layer for
 * each layer, forward_end. What a layer does is the business of its parts (model/parts). */
#ifndef HYB_MODEL_FORWARD_C
#define HYB_MODEL_FORWARD_C
#include "net.c"
#include "rope.c"

/* Where the results of a batch go in the host's memory, one row after the other of those wanted. */
typedef struct hyb_results {
    float *logits;    /* (n_out, V) */
    bool later;       /* only the top is wanted now; the logits stay where they are until the next pass */
    int32_t *top_ids; /* as in hyb_activations */
    float *top_values, *top_stats;
} hyb_results;

/* Lays buffers on each other, so that a pass needs no more memory than it must: an input that is not read any more
 * makes room for an output. For a backward pass each of these would have a place of its own. */
static void hyb_activations_overlay(hyb_activations *a, float *x, float *h)
{
    a->all.rows = HYB_ROWS_BATCH;
    a->all.x = a->all.x_out = x;
    a->all.h = a->all.block = a->all.block_normed = h;
    a->last.rows = HYB_ROWS_OUT;
    a->last.x = a->last.x_out = h; /* gathered from all.x when all.h has been read */
    a->last.h = a->last.block = a->last.block_normed = x;
    a->mix_out = a->mix;
    a->gathered = a->mix;
    a->act = a->shared = a->ffn;
}

/* Places the buffers from base on (NULL: only counts). Every one is a multiple of 64 bytes. */
static void hyb_activations_layout(hyb_activations *a, const hyb_hparams *hp, int n_batch, int n_out, int n_top,
                                   char *base)
{
    const hyb_needs needs = hyb_net_needs(hp);
    const size_t rows = (size_t)n_batch, half = (size_t)hp->n_rot / 2;
    float *h;
    size_t at = 0;
    memset(a, 0, sizeof *a);
#define HYB_PLACE(field, type, count) \
    (a->field = base ? (type *)(void *)(base + at) : NULL, at += hyb_align(sizeof(type) * (count), 64))
    HYB_PLACE(all.x, float, rows * (size_t)hp->n_embd);
    HYB_PLACE(all.h, float, rows * (size_t)hp->n_embd);
    HYB_PLACE(mix, float, rows * (size_t)HYB_MAX(needs.mix, needs.mixed));
    HYB_PLACE(mixed, float, rows * (size_t)needs.mixed);
    HYB_PLACE(ffn, float, rows * (size_t)needs.ffn);
    HYB_PLACE(router, float, rows * (size_t)needs.router);
    HYB_PLACE(expert_ids, int32_t, rows * (size_t)needs.used);
    HYB_PLACE(expert_weights, float, rows * (size_t)needs.used);
    HYB_PLACE(expert_out, float, rows * (size_t)needs.out);
    HYB_PLACE(carry, float, rows * (size_t)needs.carry);
    HYB_PLACE(rope, float, rows *half * 2);
    HYB_PLACE(rope_local, float, hp->rope_local ? rows *half * 2 : 0);
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

/* Fills the frequencies. tensors: the host's table. */
static hybrid_result hyb_stage_rope(hyb_stage *stage, const hyb_hparams *hp, const hyb_net *net,
                                    const hyb_tensor *tensors, int32_t n_ctx, hybrid_error *error)
{
    hyb_device *device = stage->device;
    const size_t bytes = (size_t)hp->n_rot / 2 * sizeof(double);
    double *freq;
    hybrid_result r;
    if (!hp->n_rot) return HYBRID_OK;
    if (!(freq = (double *)hyb_alloc(device->rt, bytes))) return hyb_fail_memory(error, bytes);
    stage->a.rope_scale = hyb_rope_frequencies(hp, net, tensors, false, n_ctx, freq);
    r = device->ops->write(device, stage->a.inv_freq, freq, bytes, error);
    stage->a.rope_scale_local = hyb_rope_frequencies(hp, net, tensors, true, n_ctx, freq);
    if (!r) r = device->ops->write(device, stage->a.inv_freq_local, freq, bytes, error);
    if (!r) r = device->ops->flush(device, error);
    hyb_free(device->rt, freq);
    return r;
}

static void hyb_stage_free(hyb_stage *stage)
{
    if (stage->be) stage->be->ops->destroy(stage->be);
    if (stage->memory) stage->device->ops->free(stage->device, stage->memory);
    if (stage->narrow) stage->device->ops->free(stage->device, stage->narrow);
    memset(stage, 0, sizeof *stage);
}

/* Floats of the largest thing that is traced: rows of a batch, with what lies between them. */
static size_t hyb_trace_values(const hyb_hparams *hp, int n_batch, int n_out)
{
    const hyb_needs needs = hyb_net_needs(hp);
    size_t width = (size_t)HYB_MAX(HYB_MAX(needs.mix, needs.mixed), HYB_MAX(needs.ffn, needs.router));
    width = HYB_MAX(width, (size_t)HYB_MAX(needs.out, (int64_t)hp->n_embd));
    return HYB_MAX(width * (size_t)n_batch, (size_t)n_out * (size_t)hp->n_vocab);
}

/* ---- the pass ---- */

/* x (n, E) = embeddings of tokens, of positions, and of the first type of tokens, which all of ours are */
static void hyb_embed_rows(hyb_forward *f, float *x)
{
    hyb_op_embed op;
    hyb_tensor first_type;
    op.table = hyb_tensor_of(f, f->net->embd);
    op.index = HYB_INDEX_ID;
    op.scale = f->hp->embd_scale;
    op.add = NULL;
    op.out = x;
    hyb_do_embed(f->at->be, &op);
    op.table = hyb_tensor_of(f, f->net->pos_embd);
    op.index = HYB_INDEX_POS;
    op.scale = 1;
    op.add = x;
    if (f->net->pos_embd) hyb_do_embed(f->at->be, &op);
    first_type = *hyb_tensor_of(f, f->net->types);
    first_type.nb[1] = 0; /* whatever the position, the same row */
    op.table = &first_type;
    if (f->net->types) hyb_do_embed(f->at->be, &op);
}

/* The work of a stage before its layers: tables of rotations, and x = embeddings where it is the first. */
static void hyb_stage_open(hyb_forward *f, const hyb_batch *c)
{
    const hyb_hparams *hp = f->hp;
    hyb_stage *stage = f->at;
    hyb_backend *be = stage->be;
    hyb_op_rope_table rope;
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
    hyb_embed_rows(f, f->s->x);
    if (f->net->embd_norm) hyb_normed(f, f->s->x, f->s->x, f->net->embd_norm, f->net->embd_norm_b);
    hyb_traced(f, "embd", -1, f->s->x, c->n, hp->n_embd, hp->n_embd);
}

/* Begins a stage. before: the memory of the stage before (the host's, so it can be read), or NULL for the first. */
static void hyb_stage_begin(hyb_forward *f, hyb_stage *stage, const hyb_batch *c, const hyb_activations *before)
{
    const size_t row = sizeof(float) * (size_t)c->n;
    f->at = stage;
    f->s = &stage->a.all;
    f->n = c->n;
    stage->be->ops->begin(stage->be, c);
    if (before) {
        const size_t carry = row * (size_t)hyb_net_needs(f->hp).carry;
        stage->be->ops->write(stage->be, stage->a.all.x, before->all.x, row * (size_t)f->hp->n_embd);
        if (carry) stage->be->ops->write(stage->be, stage->a.carry, before->carry, carry);
    }
    f->pass =
        f->trace || f->states || hyb_profiled() || f->set_of_run ? HYB_PASS_RUN : stage->be->ops->pass_begin(stage->be);
    if (f->pass != HYB_PASS_REPLAY) hyb_stage_open(f, c);
}

static void hyb_forward_begin(hyb_forward *f, const hyb_batch *c) { hyb_stage_begin(f, f->stages, c, NULL); }

/* Before part i of 2 a layer, or the head: to where it makes what is kept of it. */
static void hyb_enter(hyb_forward *f, int i)
{
    if (f->kept) f->at->a = f->kept[i];
}

/* One layer, from x to x. */
static void hyb_forward_layer(hyb_forward *f, const hyb_batch *c, int layer)
{
    const hyb_layer *l = &f->net->layers[layer];
    const int64_t e = f->hp->n_embd;
    if (layer == f->at->layer_end) hyb_stage_begin(f, f->at + 1, c, &f->at->a);
    if (f->pass == HYB_PASS_REPLAY) return;
    hyb_enter(f, 2 * layer);
    l->mixer->forward(f, c, layer, l->mixer_w);
    if (hyb_ends_here(f, c, layer, true)) return;
    hyb_traced(f, "ffn_in", layer, f->s->x, f->n, e, e);
    hyb_enter(f, 2 * layer + 1);
    l->ffn->forward(f, c, layer, l->ffn_w);
    hyb_traced(f, "l_out", layer, f->s->x, f->n, e, e);
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
    hyb_op_softcap cap;
    if (!c->n_out && !f->trace && !f->states) return;
    if (f->net->out_norm) hyb_normed(f, f->s->h, f->s->x, f->net->out_norm, f->net->out_norm_b);
    hyb_traced(f, "result_norm", -1, f->net->out_norm ? f->s->h : f->s->x, f->n, e, e);
    if (f->states) {
        f->at->be->ops->read(f->at->be, f->states, f->net->out_norm ? f->s->h : f->s->x,
                             sizeof *f->states * (size_t)(f->n * e));
        return;
    }
    if (f->trace && c->n_out < c->n) { /* a trace sees all rows, so all have come as far as this */
        f->s = &f->at->a.last;
        f->n = c->n_out;
        hyb_gather(f, c, f->s->h, f->at->a.all.h, e);
    }
    if (!c->n_out) return;
    hyb_product(f, f->s->h, e, f->net->head, 0, logits, hp->n_vocab);
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
        !be->ops->pass_end(be)) { /* the last stage once more: its x is still there, or the embedding makes it */
        f->s = &f->at->a.all;
        f->n = c->n;
        f->pass = HYB_PASS_RUN;
        hyb_stage_open(f, c);
        for (layer = f->at == f->stages ? 0 : f->at[-1].layer_end; layer < f->hp->n_layer; layer++)
            hyb_forward_layer(f, c, layer);
        hyb_forward_head(f, c, y);
    }
    f->pass = HYB_PASS_RUN;
    if (!is_host && c->n_out && !f->states) hyb_forward_read(f, c->n_out, out);
    return be->ops->sync(be, error);
}
#endif
