/* model/backward: the way back through any model, for training: forward with everything kept, the loss, and every
 * part's backward in turn.
 *
 *     x0 = embedding        dx: gradient of the residual stream, one buffer that goes down with the layers
 *      |  part 0            keeps x0, h, q k v, ...          backward of part 0
 *     x1                                                      ^
 *      |  part 1            keeps x1, h, gate, up, ...       backward of part 1
 *     x2                                                      ^
 *      :                                                      :
 *     xN  norm, head, loss, a chunk of rows at a time   ->   dx
 *
 * What is kept of a part is a hyb_activations of its own, in which only what the part makes has a place. */
#ifndef HYB_MODEL_BACKWARD_C
#define HYB_MODEL_BACKWARD_C
#include "forward.c"

#ifndef HYBRID_NO_TRAIN

/* Sizes of what a pass is trained on: n_seq sequences of n_ctx tokens. */
typedef struct hyb_train_shape {
    int n_seq, n_ctx;
} hyb_train_shape;

/* Rows of logits that exist at a time: as many as make 32 MB, at least 64, whatever the batch: the gradient of the head
 * is added up chunk by chunk, and may not depend on more than it must. */
static int hyb_loss_rows(const hyb_hparams *hp, int rows)
{
    const int64_t fit = ((int64_t)32 << 20) / (4 * (int64_t)hp->n_vocab);
    const int chunk = (int)HYB_MIN(HYB_MAX(fit, 64), 1024);
    return HYB_MIN(chunk, rows);
}

/* NULL, or the part that cannot be trained, and *layer. */
static const hyb_part *hyb_untrainable(const hyb_hparams *hp, const hyb_net *net, int *layer)
{
    for (*layer = 0; *layer < hp->n_layer; ++*layer) {
        const hyb_layer *l = &net->layers[*layer];
        if (!l->mixer->backward) return l->mixer;
        if (!l->ffn->backward) return l->ffn;
    }
    return NULL;
}

/* Memory of a pass that is trained on. */
typedef struct hyb_train_memory {
    hyb_activations base;  /* what all parts share: rotations, logits */
    hyb_activations *kept; /* 2 * n_layer + 1 */
    hyb_layer_state *state;
    int32_t *pages; /* (n_seq, pages a sequence): page i of sequence s is s * pages + i, in every layer */
    int32_t pages_a_seq;
    hyb_back back;
    int loss_rows;
    int32_t *ids, *pos, *out;
    hyb_run *runs;
    double *loss; /* (rows) */
    size_t bytes;
} hyb_train_memory;

/* What a part keeps, from base + at on. */
static size_t hyb_kept_layout(hyb_activations *a, const hyb_hparams *hp, const hyb_layer_hp *l, const hyb_part *part,
                              size_t rows, char *base, size_t at)
{
    hyb_needs needs;
    memset(&needs, 0, sizeof needs);
    part->needs(hp, l, &needs);
    #define HYB_PLACE(field, count) \
        (a->field = base && (count) > 0 ? (float *)(void *)(base + at) : NULL, \
         at += hyb_align(sizeof(float) * (count), 64))
    HYB_PLACE(all.h, rows * (size_t)hp->n_embd);
    HYB_PLACE(all.x_out, rows * (size_t)hp->n_embd);
    HYB_PLACE(all.block, rows * (size_t)needs.block);
    HYB_PLACE(mix, rows * (size_t)needs.mix);
    HYB_PLACE(mix_out, rows * (size_t)needs.mix_both);
    HYB_PLACE(mixed, rows * (size_t)needs.mixed);
    HYB_PLACE(ffn, rows * (size_t)needs.ffn);
    HYB_PLACE(act, rows * (size_t)needs.act);
    #undef HYB_PLACE
    if (!needs.mix_both) a->mix_out = a->mix;
    a->all.rows = HYB_ROWS_BATCH;
    return at;
}

/* Keys and values of a layer, as floats. */
static size_t hyb_kept_pages(hyb_kv_view *kv, const hyb_hparams *hp, const hyb_layer_hp *l, size_t n_pages, char *base,
                             size_t at)
{
    kv->type = HYBRID_TYPE_F32;
    kv->n_head_kv = l->n_head_kv;
    kv->head_dim_k = hp->head_dim_k;
    kv->head_dim_v = hp->head_dim_v;
    kv->row_bytes_k = sizeof(float) * (size_t)hp->head_dim_k;
    kv->row_bytes_v = sizeof(float) * (size_t)hp->head_dim_v;
    kv->page_bytes_k = kv->row_bytes_k * (size_t)l->n_head_kv * HYB_PAGE;
    kv->page_bytes_v = kv->row_bytes_v * (size_t)l->n_head_kv * HYB_PAGE;
    kv->k = base ? base + at : NULL;
    at += hyb_align(kv->page_bytes_k * n_pages, 64);
    kv->v = base ? base + at : NULL;
    return at + hyb_align(kv->page_bytes_v * n_pages, 64);
}

/* Groups of norms at most, of a row: those of heads are as many as there are heads. */
static size_t hyb_train_groups(const hyb_hparams *hp)
{
    int i, most = 1;
    for (i = 0; i < hp->n_layer; i++) most = HYB_MAX(most, hp->layers[i].n_head);
    return (size_t)most;
}

/* Places everything from base on (NULL: only counts) and returns the bytes. */
static size_t hyb_train_layout(hyb_train_memory *m, const hyb_hparams *hp, const hyb_train_shape *shape, char *base)
{
    const hyb_needs needs = hyb_net_needs(hp);
    const size_t rows = (size_t)shape->n_seq * (size_t)shape->n_ctx, half = (size_t)hp->n_rot / 2;
    const size_t e = (size_t)hp->n_embd, tables = rows * half * 2;
    hyb_activations *b = &m->base;
    size_t at = 0, n_pages;
    int i;
    memset(m, 0, sizeof *m);
    m->pages_a_seq = (shape->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    n_pages = (size_t)m->pages_a_seq * (size_t)shape->n_seq;
    m->loss_rows = hyb_loss_rows(hp, (int)rows);
    #define HYB_PLACE(field, type, count) \
        (m->field = base && (count) > 0 ? (type *)(void *)(base + at) : NULL, \
         at += hyb_align(sizeof(type) * (count), 64))
    HYB_PLACE(kept, hyb_activations, 2 * (size_t)hp->n_layer + 1);
    HYB_PLACE(state, hyb_layer_state, (size_t)hp->n_layer);
    HYB_PLACE(pages, int32_t, n_pages);
    HYB_PLACE(ids, int32_t, rows);
    HYB_PLACE(pos, int32_t, rows);
    HYB_PLACE(out, int32_t, rows);
    HYB_PLACE(runs, hyb_run, (size_t)shape->n_seq);
    HYB_PLACE(loss, double, rows);
    HYB_PLACE(base.rope, float, tables);
    HYB_PLACE(base.rope_local, float, hp->rope_local ? tables : 0);
    HYB_PLACE(base.inv_freq, double, half);
    HYB_PLACE(base.inv_freq_local, double, half);
    HYB_PLACE(base.logits, float, (size_t)m->loss_rows * (size_t)hp->n_vocab);
    HYB_PLACE(base.all.x, float, rows *e);
    HYB_PLACE(base.all.block_normed, float, rows * (size_t)(needs.block ? hp->n_embd : 0));
    HYB_PLACE(back.dx, float, rows *e);
    HYB_PLACE(back.dh, float, rows *e);
    HYB_PLACE(back.dblock, float, rows * (size_t)needs.block);
    HYB_PLACE(back.dmix, float, rows * (size_t)needs.mix);
    HYB_PLACE(back.dmix_in, float, rows * (size_t)needs.mix_both);
    HYB_PLACE(back.dmixed, float, rows * (size_t)needs.mixed);
    HYB_PLACE(back.dact, float, rows * (size_t)needs.act);
    HYB_PLACE(back.stats, float, rows * 2 * hyb_train_groups(hp));
    HYB_PLACE(back.rope, float, tables);
    HYB_PLACE(back.rope_local, float, hp->rope_local ? tables : 0);
    #undef HYB_PLACE
    for (i = 0; i < 2 * hp->n_layer; i++) {
        const hyb_layer_hp *l = &hp->layers[i / 2];
        hyb_activations a = *b;
        at = hyb_kept_layout(&a, hp, l, hyb_parts[i % 2 ? l->ffn : l->mixer], rows, base, at);
        a.all.x = base && i ? m->kept[i - 1].all.x_out : b->all.x;
        if (base) m->kept[i] = a;
    }
    for (i = 0; i < hp->n_layer; i++) {
        hyb_layer_state s;
        memset(&s, 0, sizeof s);
        at = hyb_kept_pages(&s.kv, hp, &hp->layers[i], n_pages, base, at);
        if (base) m->state[i] = s;
    }
    if (base) { /* the head: its norm goes where nothing else is kept any more */
        hyb_activations *head = &m->kept[2 * hp->n_layer];
        *head = *b;
        head->all.x = m->kept[2 * hp->n_layer - 1].all.x_out;
        head->all.h = m->back.dx;
        for (i = 0; i < (int)n_pages; i++) m->pages[i] = i;
    }
    m->bytes = at;
    return at;
}

/* ---- the pass ---- */

/* The batch of a step: sequence s is a run of n_ctx rows from position 0. ids (n_seq, n_ctx). */
static hyb_batch hyb_train_batch(hyb_train_memory *m, const hyb_train_shape *shape, const int32_t *ids)
{
    const int n = shape->n_seq * shape->n_ctx;
    hyb_batch batch;
    int i;
    for (i = 0; i < n; i++) {
        m->ids[i] = ids[i];
        m->pos[i] = i % shape->n_ctx;
        m->out[i] = i;
    }
    for (i = 0; i < shape->n_seq; i++) {
        hyb_run *run = &m->runs[i];
        run->first_row = i * shape->n_ctx;
        run->n_rows = shape->n_ctx;
        run->pos = 0;
        run->pages = m->pages + i * m->pages_a_seq;
        run->slot_in = run->slot_out = -1;
    }
    batch.ids = m->ids;
    batch.pos = m->pos;
    batch.out = m->out;
    batch.n = batch.n_out = n;
    batch.runs = m->runs;
    batch.n_runs = shape->n_seq;
    return batch;
}

/* Forward, everything kept: from ids to what the head reads. */
static void hyb_train_forward(hyb_forward *f, const hyb_batch *batch)
{
    int layer;
    f->stages[0].a = f->kept[0];
    hyb_forward_begin(f, batch);
    for (layer = 0; layer < f->hp->n_layer; layer++) hyb_forward_layer(f, batch, layer);
    hyb_enter(f, 2 * f->hp->n_layer);
}

/* What is asked of the loss: see hyb_op_cross_entropy. */
typedef struct hyb_loss {
    const int32_t *targets; /* (rows) */
    const float *weights;   /* or NULL */
    float factor;
    double *loss; /* (rows) */
} hyb_loss;

/* The head and the loss, `chunk` rows of logits at a time; with gradients, dx becomes that of what the head read. */
static void hyb_train_loss(hyb_forward *f, const hyb_loss *loss, int chunk, bool with_gradients)
{
    const hyb_hparams *hp = f->hp;
    const int64_t e = hp->n_embd;
    hyb_backend *be = f->at->be;
    float *logits = f->at->a.logits;
    const int n = f->n;
    int at;
    hyb_normed(f, f->s->h, f->s->x, f->net->out_norm, f->net->out_norm_b);
    for (at = 0; at < n; at += chunk) {
        hyb_op_cross_entropy op;
        hyb_back_products products;
        f->n = HYB_MIN(chunk, n - at);
        hyb_product(f, f->s->h + at * e, e, f->net->head, 0, logits, hp->n_vocab);
        op.logits = logits;
        op.stride = op.n = hp->n_vocab;
        op.n_rows = f->n;
        op.softcap = hp->logit_softcap;
        op.targets = loss->targets + at;
        op.weights = loss->weights ? loss->weights + at : NULL;
        op.factor = loss->factor;
        op.loss = loss->loss + at;
        hyb_do_cross_entropy(be, &op);
        if (!with_gradients) continue;
        hyb_back_products_begin(&products, f, f->s->h + at * e, e);
        hyb_back_products_add(&products, f->net->head, 0, logits, hp->n_vocab);
        hyb_back_products_do(&products, f->back->dh + at * e, e);
    }
    f->n = n;
    if (with_gradients)
        hyb_normed_back(f, f->back->dx, NULL, f->s->x, f->back->dh, f->net->out_norm, f->net->out_norm_b);
}

/* The factors of rotations, which hyb_stage_rope found, in what is kept of every part. */
static void hyb_train_rope_scale(hyb_train_memory *m, const hyb_hparams *hp, const hyb_activations *a)
{
    int i;
    for (i = 0; i <= 2 * hp->n_layer; i++) {
        m->kept[i].rope_scale = a->rope_scale;
        m->kept[i].rope_scale_local = a->rope_scale_local;
    }
}

/* Tables that turn back: those of the negative angles. */
static void hyb_train_tables(hyb_forward *f)
{
    const hyb_hparams *hp = f->hp;
    const hyb_activations *a = &f->at->a;
    const hyb_back *back = f->back;
    int64_t i;
    for (i = 0; i < (int64_t)f->n * hp->n_rot; i++) {
        back->rope[i] = i % 2 ? -a->rope[i] : a->rope[i];
        if (hp->rope_local) back->rope_local[i] = i % 2 ? -a->rope_local[i] : a->rope_local[i];
    }
}

/* Back to the embeddings. */
static void hyb_train_backward(hyb_forward *f)
{
    const hyb_hparams *hp = f->hp;
    const hyb_net *net = f->net;
    hyb_op_embed_back op;
    int layer;
    hyb_train_tables(f);
    for (layer = hp->n_layer - 1; layer >= 0; layer--) {
        const hyb_layer *l = &net->layers[layer];
        hyb_enter(f, 2 * layer + 1);
        l->ffn->backward(f, layer, l->ffn_w);
        hyb_enter(f, 2 * layer);
        l->mixer->backward(f, layer, l->mixer_w);
    }
    op.dy = f->back->dx;
    op.n_embd = hp->n_embd;
    op.index = HYB_INDEX_ID;
    op.scale = hp->embd_scale;
    op.dtable = hyb_grad(f, net->embd);
    if (op.dtable) hyb_do_embed_back(f->at->be, &op);
    op.index = HYB_INDEX_POS;
    op.scale = 1;
    op.dtable = hyb_grad(f, net->pos_embd);
    if (op.dtable) hyb_do_embed_back(f->at->be, &op);
}
#endif
#endif
