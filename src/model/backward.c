/* model/backward: the way back through any model, for training: forward with everything kept, the loss, and every
 * part's backward in turn.
 *
 *     x0 = embedding        dx: gradient of the residual stream, one buffer that goes down with the layers
 *      |  part 0            keeps x0, h, q k v, ...          backward of part 0
 *     x1                                                      ^
 *      |  part 1            keeps x1, h, gate, up, ...       backward of part 1
 *     x2                                                      ^
 *      :                                                      :
 *     xN  norm, head, loss, a chunk of rows at a time   ->   dx           only rows whose target counts
 *
 * What is kept of a part is a hyb_activations of its own, in which only what the part makes has a place. With `every`
 * layers to a segment, segments keep it in the same memory, one after the other, and each has only its last x for
 * itself: on the way back the segment's forward pass is run again, from the x before it. The same calls give the same
 * bits.
 * What is made of that value by value, or by a norm, is made again when its turn comes: it would be a third of all.
 *
 * A batch's description, and the tables of where things are, are the host's; all else is in the memory of the device.
 *
 *     memory     | x after layers 0 1 | x after layers 2 3 | ... | what layers 0, 2, 4... keep | layers 1, 3, 5... |
 *     (every 2)                                                  '--------------- one segment at a time -----------'
 *
 * A pass is done in units, so that it can be left after any of them (hyb_train_work). */
#ifndef HYB_MODEL_BACKWARD_C
#define HYB_MODEL_BACKWARD_C
#include "../compute/slicer.c"
#include "forward.c"

#ifndef HYBRID_NO_TRAIN

/* Sizes of what a pass is trained on: n_seq sequences of n_ctx tokens. */
typedef struct hyb_train_shape {
    int n_seq, n_ctx;
    int every; /* layers of a segment, of which only the last x is kept; 0: all layers are one, and all is kept */
    int rank;  /* the largest of the adapter that is trained; 0: the model's own weights are */
    hybrid_type operands; /* the format of products; it takes no memory here, but some of the back end */
} hyb_train_shape;

/* Layers of a segment. */
static int hyb_train_every(const hyb_hparams *hp, const hyb_train_shape *shape)
{
    return shape->every > 0 ? HYB_MIN(shape->every, HYB_MAX(hp->n_layer, 1)) : HYB_MAX(hp->n_layer, 1);
}

/* Rows of logits that exist at a time: as many as make 32 MB, at least 64, whatever the batch: the gradient of the head
 * is added up chunk by chunk, and may not depend on more than it must. */
static int hyb_loss_rows(const hyb_hparams *hp, int rows)
{
    const int64_t fit = ((int64_t)32 << 20) / (4 * (int64_t)hp->n_vocab);
    const int chunk = (int)HYB_MIN(HYB_MAX(fit, 64), 1024);
    return HYB_MIN(chunk, rows);
}

/* Memory of a pass that is trained on. On the host: kept to loss. */
typedef struct hyb_train_memory {
    hyb_activations base;  /* what all parts share: rotations, logits */
    hyb_activations *kept; /* 2 * n_layer + 1 */
    hyb_layer_state *state;
    hyb_slots slots; /* one a sequence, which all parts that want one have in turn: nobody goes on from it */
    int32_t *pages; /* (n_seq, pages a sequence): page i of sequence s is s * pages + i, in every layer */
    int32_t pages_a_seq;
    hyb_back back;
    int loss_rows;
    int every; /* layers of a segment */
    int32_t *ids, *pos, *out;
    hyb_run *runs;
    int32_t *set_of_run; /* (n_seq) zeros: all wear the adapter that is trained */
    double *loss;        /* (rows) read from `losses` */
    int32_t *targets;
    float *weights; /* of targets */
    double *losses;
    float *ends;   /* (segments, rows, E) x after each segment */
    float *narrow; /* of the stage */
    size_t bytes, host_bytes, kept_bytes, logits_bytes;
} hyb_train_memory;

/* What a part keeps, from base + at on. has_x_out: x after it has a place already. */
static size_t hyb_kept_layout(hyb_activations *a, const hyb_hparams *hp, const hyb_layer_hp *l, const hyb_part *part,
                              size_t rows, bool has_x_out, char *base, size_t at)
{
    hyb_needs needs;
    memset(&needs, 0, sizeof needs);
    part->needs(hp, l, &needs);
    #define HYB_PLACE(field, count) \
        (a->field = base && (count) > 0 ? (float *)(void *)(base + at) : NULL, \
         at += hyb_align(sizeof(float) * (count), 64))
    if (!has_x_out) HYB_PLACE(all.x_out, rows * (size_t)hp->n_embd);
    HYB_PLACE(all.block, rows * (size_t)needs.block);
    HYB_PLACE(mix, rows * (size_t)needs.mix);
    HYB_PLACE(mix_out, rows * (size_t)needs.mix_both);
    HYB_PLACE(mixed, rows * (size_t)needs.mixed);
    HYB_PLACE(ffn, rows * (size_t)needs.ffn);
    HYB_PLACE(shared, rows * (size_t)needs.shared);
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

/* Values of the widest row that a product of a layer reads. */
static int64_t hyb_train_widest(const hyb_hparams *hp)
{
    const hyb_needs needs = hyb_net_needs(hp);
    return HYB_MAX(HYB_MAX((int64_t)hp->n_embd, needs.mixed), needs.act);
}

/* Values of the largest slot of a part. */
static int64_t hyb_train_slot(const hyb_hparams *hp)
{
    int64_t most = 0;
    int i;
    for (i = 0; i < hp->n_layer; i++) {
        const int64_t mixer = hyb_layer_slot_mixer(hp, i), both = hyb_layer_slot(hp, i);
        most = HYB_MAX(most, HYB_MAX(mixer, both - mixer));
    }
    return most;
}

/* What the parts and pages of layers first to end - 1 keep, from base + at on. */
static size_t hyb_segment_layout(hyb_train_memory *m, const hyb_hparams *hp, size_t rows, size_t n_pages, int first,
                                 int end, char *base, size_t at)
{
    int i;
    for (i = 2 * first; i < 2 * end; i++) {
        const hyb_layer_hp *l = &hp->layers[i / 2];
        const bool is_last = i + 1 == 2 * end;
        hyb_activations a = m->base;
        if (base && is_last)
            a.all.x_out = m->ends + (size_t)(first / m->every) * hyb_align(rows * (size_t)hp->n_embd, 16);
        at = hyb_kept_layout(&a, hp, l, hyb_parts[i % 2 ? l->ffn : l->mixer], rows, is_last, base, at);
        a.all.x = base && i ? m->kept[i - 1].all.x_out : m->base.all.x;
        if (base) m->kept[i] = a;
    }
    for (i = first; i < end; i++) {
        hyb_layer_state s;
        memset(&s, 0, sizeof s);
        s.mixer = s.ffn = m->slots;
        at = hyb_kept_pages(&s.kv, hp, &hp->layers[i], n_pages, base, at);
        if (base) m->state[i] = s;
    }
    return at;
}

/* Segments on each other. */
static size_t hyb_segments_layout(hyb_train_memory *m, const hyb_hparams *hp, size_t rows, size_t n_pages, char *base,
                                  size_t at)
{
    size_t most = at;
    int first;
    for (first = 0; first < hp->n_layer; first += m->every) {
        const int end = HYB_MIN(first + m->every, hp->n_layer);
        const size_t bytes = hyb_segment_layout(m, hp, rows, n_pages, first, end, base, at);
        most = HYB_MAX(most, bytes);
    }
    return most;
}

/* What is the host's, from `base` on. */
static size_t hyb_train_host_layout(hyb_train_memory *m, const hyb_hparams *hp, const hyb_train_shape *shape,
                                    size_t n_pages, char *base)
{
    const size_t rows = (size_t)shape->n_seq * (size_t)shape->n_ctx;
    size_t at = 0;
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
    HYB_PLACE(set_of_run, int32_t, shape->rank ? (size_t)shape->n_seq : 0);
    HYB_PLACE(loss, double, rows);
    #undef HYB_PLACE
    m->host_bytes = at;
    return at;
}

/* Places everything from base on (NULL: only counts) and returns the bytes. host: NULL, or where the first of them are,
 * m->host_bytes, when base is an address of another device; the others are at base + m->host_bytes then, too. */
static size_t hyb_train_layout(hyb_train_memory *m, const hyb_hparams *hp, const hyb_train_shape *shape, char *base,
                               char *host)
{
    const hyb_needs needs = hyb_net_needs(hp);
    const size_t rows = (size_t)shape->n_seq * (size_t)shape->n_ctx, half = (size_t)hp->n_rot / 2;
    const size_t e = (size_t)hp->n_embd, tables = rows * half * 2;
    size_t at = 0, n_pages, n_segments;
    int i;
    memset(m, 0, sizeof *m);
    m->every = hyb_train_every(hp, shape);
    m->pages_a_seq = (shape->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    n_pages = (size_t)m->pages_a_seq * (size_t)shape->n_seq;
    n_segments = ((size_t)hp->n_layer + (size_t)m->every - 1) / (size_t)m->every;
    m->loss_rows = hyb_loss_rows(hp, (int)rows);
    m->slots.stride = hyb_train_slot(hp);
    at = hyb_train_host_layout(m, hp, shape, n_pages, host ? host : base);
    #define HYB_PLACE(field, type, count) \
        (m->field = base && (count) > 0 ? (type *)(void *)(base + at) : NULL, \
         at += hyb_align(sizeof(type) * (count), 64))
    HYB_PLACE(targets, int32_t, rows);
    HYB_PLACE(weights, float, rows);
    HYB_PLACE(losses, double, rows);
    HYB_PLACE(base.rope, float, tables);
    HYB_PLACE(base.rope_local, float, hp->rope_local ? tables : 0);
    HYB_PLACE(base.inv_freq, double, half);
    HYB_PLACE(base.inv_freq_local, double, half);
    HYB_PLACE(base.logits, float, (size_t)m->loss_rows * (size_t)hp->n_vocab);
    HYB_PLACE(base.all.x, float, rows *e);
    HYB_PLACE(base.all.h, float, rows *e);
    HYB_PLACE(base.act, float, rows * (size_t)needs.act);
    HYB_PLACE(slots.data, float, (size_t)shape->n_seq * (size_t)m->slots.stride);
    HYB_PLACE(base.all.block_normed, float, rows * (size_t)(needs.block ? hp->n_embd : 0));
    HYB_PLACE(back.dx, float, rows *e);
    HYB_PLACE(back.dh, float, rows *e);
    HYB_PLACE(back.dblock, float, rows * (size_t)needs.block);
    HYB_PLACE(back.dmix, float, rows * (size_t)needs.mix);
    HYB_PLACE(back.dmix_in, float, rows * (size_t)needs.mix_both);
    HYB_PLACE(back.dmixed, float, rows * (size_t)needs.mixed);
    HYB_PLACE(back.dact, float, rows * (size_t)needs.act);
    HYB_PLACE(base.router, float, rows * (size_t)needs.router);
    HYB_PLACE(base.expert_ids, int32_t, rows * (size_t)needs.used);
    HYB_PLACE(base.expert_weights, float, rows * (size_t)needs.used);
    HYB_PLACE(base.expert_out, float, rows * (size_t)needs.out);
    HYB_PLACE(back.drouter, float, rows * (size_t)needs.router);
    HYB_PLACE(back.dused, float, rows * (size_t)needs.used);
    HYB_PLACE(back.dshared, float, needs.shared ? rows : 0);
    HYB_PLACE(back.work, float, rows * (size_t)HYB_MAX(needs.work, hyb_experts_adapter_work(hp, shape->rank)));
    HYB_PLACE(base.carry, float, rows * (size_t)needs.carry);
    HYB_PLACE(back.dcarry, float, rows * (size_t)needs.carry);
    HYB_PLACE(back.stats, float, rows * 2 * hyb_train_groups(hp));
    HYB_PLACE(back.rope, float, tables);
    HYB_PLACE(back.rope_local, float, hp->rope_local ? tables : 0);
    HYB_PLACE(narrow, float, hyb_narrow_floats(hp, rows, (size_t)shape->rank));
    HYB_PLACE(back.dlow, float, rows * (size_t)HYB_MAX(hp->n_expert_used, 4) * (size_t)shape->rank);
    HYB_PLACE(back.dx_low, float, shape->rank ? rows * (size_t)hyb_train_widest(hp) : 0);
    HYB_PLACE(back.inv_freq, double, half);
    HYB_PLACE(back.inv_freq_local, double, half);
    m->kept_bytes = at;
    HYB_PLACE(ends, float, n_segments *hyb_align(rows * e, 16));
    #undef HYB_PLACE
    at = hyb_segments_layout(m, hp, rows, n_pages, base, at);
    m->kept_bytes = at - m->kept_bytes;
    m->logits_bytes = hyb_align(sizeof(float) * (size_t)m->loss_rows * (size_t)hp->n_vocab, 64);
    if (base) { /* the norm before the head goes where nothing else is kept any more */
        hyb_activations *head = &m->kept[2 * hp->n_layer];
        *head = m->base;
        head->all.x = m->kept[2 * hp->n_layer - 1].all.x_out;
        head->all.h = m->back.dx;
        for (i = 0; i < (int)n_pages; i++) m->pages[i] = i;
        for (i = 0; i < shape->n_seq && m->set_of_run; i++) m->set_of_run[i] = 0;
    }
    m->bytes = at;
    return at;
}

/* ---- the pass ---- */

/* The factors of rotations, which hyb_stage_rope found, in what is kept of every part. */
static void hyb_train_rope_scale(hyb_train_memory *m, const hyb_hparams *hp, const hyb_activations *a)
{
    int i;
    for (i = 0; i <= 2 * hp->n_layer; i++) {
        m->kept[i].rope_scale = a->rope_scale;
        m->kept[i].rope_scale_local = a->rope_scale_local;
    }
}

/* Frequencies of the tables that turn back. tensors: the host's table. */
static hybrid_result hyb_train_rope(hyb_train_memory *m, hyb_device *device, const hyb_hparams *hp, const hyb_net *net,
                                    const hyb_tensor *tensors, int32_t n_ctx, hybrid_error *error)
{
    const size_t bytes = (size_t)hp->n_rot / 2 * sizeof(double);
    hybrid_result r = HYBRID_OK;
    double *freq;
    int local, i;
    if (!hp->n_rot) return HYBRID_OK;
    if (!(freq = (double *)hyb_alloc(device->rt, bytes))) return hyb_fail_memory(error, bytes);
    for (local = 0; local < 2 && !r; local++) {
        hyb_rope_frequencies(hp, net, tensors, local != 0, n_ctx, freq);
        for (i = 0; i < hp->n_rot / 2; i++) freq[i] = -freq[i];
        r = device->ops->write(device, local ? m->back.inv_freq_local : m->back.inv_freq, freq, bytes, error);
    }
    if (!r) r = device->ops->flush(device, error);
    hyb_free(device->rt, freq);
    return r;
}

/* What is asked of a pass over one batch: n_seq sequences of n_ctx tokens, each from its beginning. */
typedef struct hyb_train_want {
    const int32_t *ids;     /* (n_seq, n_ctx) */
    const int32_t *targets; /* of the same shape; negative: not counted */
    const float *weights;   /* of targets, or NULL: 1 each */
    double factor;          /* of gradients */
    bool backward;          /* gradients are added to those that are there; else the loss alone */
} hyb_train_want;

/* Where a pass is: what its next unit does. */
typedef enum hyb_train_at {
    HYB_TRAIN_EMBED,      /* x = embeddings, tables of rotations */
    HYB_TRAIN_FORWARD,    /* part: x_out = x + ... */
    HYB_TRAIN_HEAD,       /* h = norm(x), and of it the rows whose target counts: they are the rows of the loss */
    HYB_TRAIN_LOSS,       /* rows from `row` on: logits, loss, and their gradients */
    HYB_TRAIN_HEAD_BACK,  /* dx = what dh makes of it; tables that turn back */
    HYB_TRAIN_AGAIN,      /* part, once more, for what it keeps */
    HYB_TRAIN_BACK,       /* part: dx of x_out becomes that of x */
    HYB_TRAIN_EMBED_BACK, /* gradients of the embeddings */
    HYB_TRAIN_END
} hyb_train_at;

typedef struct hyb_train_pass {
    hyb_forward *f;
    hyb_train_memory *m;
    hyb_batch batch;
    bool backward, weighted;
    float factor;
    hyb_train_at at;
    int part;     /* two a layer */
    int row;      /* of the loss */
    int finished; /* the layer whose gradients the last unit completed, or -1 */
} hyb_train_pass;

/* The rows whose target counts: their numbers, and their targets and weights one after the other. Returns how many. */
static int hyb_train_counted(hyb_train_memory *m, hyb_backend *be, const hyb_train_want *want, int n)
{
    int n_out = 0, i, end;
    for (i = 0; i < n; i = end + 1) {
        for (end = i; end < n && want->targets[end] >= 0; end++) m->out[n_out + end - i] = end;
        if (end == i) continue;
        be->ops->write(be, m->targets + n_out, want->targets + i, (size_t)(end - i) * sizeof *m->targets);
        if (want->weights)
            be->ops->write(be, m->weights + n_out, want->weights + i, (size_t)(end - i) * sizeof *m->weights);
        n_out += end - i;
    }
    return n_out;
}

/* The batch of a pass: sequence s is a run of n_ctx rows from position 0. It is copied: what it came from may change
 * before the pass ends. */
static void hyb_train_begin(hyb_train_pass *p, hyb_forward *f, hyb_train_memory *m, const hyb_train_shape *shape,
                            const hyb_train_want *want)
{
    const int n = shape->n_seq * shape->n_ctx;
    hyb_backend *be = f->stages[0].be;
    int i;
    memset(p, 0, sizeof *p);
    for (i = 0; i < n; i++) {
        m->ids[i] = want->ids[i];
        m->pos[i] = i % shape->n_ctx;
    }
    p->batch.n_out = hyb_train_counted(m, be, want, n);
    for (i = 0; i < shape->n_seq; i++) {
        hyb_run *run = &m->runs[i];
        run->first_row = i * shape->n_ctx;
        run->n_rows = shape->n_ctx;
        run->pos = 0;
        run->pages = m->pages + i * m->pages_a_seq;
        run->slot_in = -1;
        run->slot_out = m->slots.stride ? i : -1;
    }
    p->batch.ids = m->ids;
    p->batch.pos = m->pos;
    p->batch.out = m->out;
    p->batch.n = n;
    p->batch.runs = m->runs;
    p->batch.n_runs = shape->n_seq;
    p->f = f;
    p->m = m;
    p->backward = want->backward;
    p->weighted = want->weights != NULL;
    p->factor = (float)want->factor;
    p->finished = -1;
}

/* Part i of the layers, forward or back. again: x after a segment is not wanted, it is there. */
static void hyb_train_part(hyb_train_pass *p, int i, bool again)
{
    hyb_forward *f = p->f;
    const int layer = i / 2;
    const hyb_layer *l = &f->net->layers[layer];
    const hyb_part *part = i % 2 ? l->ffn : l->mixer;
    const void *w = i % 2 ? l->ffn_w : l->mixer_w;
    hyb_enter(f, i);
    if (p->at == HYB_TRAIN_BACK) {
        part->backward(f, layer, w);
        return;
    }
    if (again && i % 2 && ((layer + 1) % p->m->every == 0 || layer + 1 == f->hp->n_layer)) f->at->a.all.x_out = NULL;
    part->forward(f, &p->batch, layer, w);
}

/* The head and the loss of some rows; with gradients, dx becomes that of what the head read. */
static void hyb_train_loss(hyb_train_pass *p)
{
    hyb_forward *f = p->f;
    const hyb_train_memory *m = p->m;
    const hyb_hparams *hp = f->hp;
    const int64_t e = hp->n_embd, at = p->row;
    const float *h = m->base.all.h + at * e;
    float *logits = f->at->a.logits;
    hyb_op_cross_entropy op;
    hyb_back_products products;
    f->n = HYB_MIN(m->loss_rows, p->batch.n_out - p->row);
    hyb_product(f, h, e, f->net->head, 0, logits, hp->n_vocab);
    op.logits = logits;
    op.stride = op.n = hp->n_vocab;
    op.n_rows = f->n;
    op.softcap = hp->logit_softcap;
    op.targets = m->targets + at;
    op.weights = p->weighted ? m->weights + at : NULL;
    op.factor = p->factor;
    op.loss = m->losses + at;
    hyb_do_cross_entropy(f->at->be, &op);
    if (p->backward) {
        hyb_back_products_begin(&products, f, h, e);
        hyb_back_products_add(&products, f->net->head, 0, logits, hp->n_vocab);
        hyb_back_products_do(&products, f->back->dx + at * e, e);
    }
    f->n = p->batch.n;
}

/* Tables that turn back. */
static void hyb_train_tables(hyb_forward *f)
{
    const hyb_hparams *hp = f->hp;
    const hyb_activations *a = &f->at->a;
    const hyb_back *back = f->back;
    hyb_op_rope_table op;
    op.n_rot = hp->n_rot;
    op.inv_freq = back->inv_freq;
    op.scale = a->rope_scale;
    op.table = back->rope;
    if (hp->n_rot) hyb_do_rope_table(f->at->be, &op);
    op.inv_freq = back->inv_freq_local;
    op.scale = a->rope_scale_local;
    op.table = back->rope_local;
    if (hp->n_rot && hp->rope_local) hyb_do_rope_table(f->at->be, &op);
}

static void hyb_train_embed_back(hyb_train_pass *p)
{
    hyb_forward *f = p->f;
    const hyb_net *net = f->net;
    hyb_op_embed_back op;
    op.dy = f->back->dx;
    if (net->embd_norm && f->back->weights) {
        hyb_embed_rows(f, f->s->h);
        hyb_normed_back(f, f->back->dh, NULL, f->s->h, f->back->dx, net->embd_norm, net->embd_norm_b);
        op.dy = f->back->dh;
    }
    op.n_embd = f->hp->n_embd;
    op.index = HYB_INDEX_ID;
    op.scale = f->hp->embd_scale;
    op.dtable = hyb_grad(f, net->embd);
    if (op.dtable) hyb_do_embed_back(f->at->be, &op);
    op.index = HYB_INDEX_POS;
    op.scale = 1;
    op.dtable = hyb_grad(f, net->pos_embd);
    if (op.dtable) hyb_do_embed_back(f->at->be, &op);
}

/* dh (n, E) = dx (n_out, E) where a target counts, 0 elsewhere */
static void hyb_train_spread(hyb_train_pass *p)
{
    hyb_forward *f = p->f;
    const int64_t e = f->hp->n_embd;
    hyb_backend *be = f->at->be;
    hyb_op_embed_back op;
    be->ops->zero(be, f->back->dh, sizeof(float) * (size_t)p->batch.n * (size_t)e);
    op.index = HYB_INDEX_OUT;
    op.scale = 1;
    op.dy = f->back->dx;
    op.n_embd = e;
    op.dtable = f->back->dh;
    if (p->batch.n_out) hyb_do_embed_back(be, &op);
}

static void hyb_train_unit(hyb_train_pass *p)
{
    hyb_forward *f = p->f;
    switch (p->at) {
    case HYB_TRAIN_EMBED:
        f->stages[0].a = f->kept[0];
        hyb_forward_begin(f, &p->batch);
        break;
    case HYB_TRAIN_FORWARD: hyb_train_part(p, p->part, false); break;
    case HYB_TRAIN_HEAD:
        hyb_enter(f, 2 * f->hp->n_layer);
        hyb_normed(f, f->s->h, f->s->x, f->net->out_norm, f->net->out_norm_b);
        if (p->batch.n_out) hyb_gather(f, &p->batch, p->m->base.all.h, f->s->h, f->hp->n_embd);
        break;
    case HYB_TRAIN_LOSS:
        if (p->batch.n_out) hyb_train_loss(p);
        break;
    case HYB_TRAIN_HEAD_BACK:
        hyb_train_spread(p);
        hyb_normed_back(f, f->back->dx, NULL, f->s->x, f->back->dh, f->net->out_norm, f->net->out_norm_b);
        hyb_train_tables(f);
        if (f->back->dcarry)
            f->at->be->ops->zero(f->at->be, f->back->dcarry,
                                 sizeof(float) * (size_t)(f->n * hyb_net_needs(f->hp).carry));
        break;
    case HYB_TRAIN_AGAIN: hyb_train_part(p, p->part, true); break;
    case HYB_TRAIN_BACK: hyb_train_part(p, p->part, false); break;
    case HYB_TRAIN_EMBED_BACK: hyb_train_embed_back(p); break;
    case HYB_TRAIN_END: break;
    }
}

/* Before the segment that ends with part `end` goes back: its forward pass, if another segment's came after it. */
static void hyb_train_segment(hyb_train_pass *p, int end)
{
    const bool again = end < 2 * p->f->hp->n_layer;
    p->at = again ? HYB_TRAIN_AGAIN : HYB_TRAIN_BACK;
    p->part = again ? end - 2 * p->m->every : end - 1;
}

/* To the unit after the one that was done. */
static void hyb_train_next(hyb_train_pass *p)
{
    const int n_parts = 2 * p->f->hp->n_layer, segment = 2 * p->m->every;
    p->finished = p->at == HYB_TRAIN_BACK && p->part % 2 == 0 ? p->part / 2 : -1;
    switch (p->at) {
    case HYB_TRAIN_EMBED: p->at = HYB_TRAIN_FORWARD; break;
    case HYB_TRAIN_FORWARD:
        if (++p->part == n_parts) p->at = HYB_TRAIN_HEAD;
        break;
    case HYB_TRAIN_HEAD: p->at = HYB_TRAIN_LOSS; break;
    case HYB_TRAIN_LOSS:
        p->row += p->m->loss_rows;
        if (p->row >= p->batch.n_out) p->at = p->backward ? HYB_TRAIN_HEAD_BACK : HYB_TRAIN_END;
        break;
    case HYB_TRAIN_HEAD_BACK: hyb_train_segment(p, n_parts); break;
    case HYB_TRAIN_AGAIN: /* to the segment's end */
        if (++p->part % segment == 0) {
            p->at = HYB_TRAIN_BACK;
            p->part--;
        }
        break;
    case HYB_TRAIN_BACK:
        if (p->part == 2 * p->f->back->first_layer)
            p->at = HYB_TRAIN_EMBED_BACK;
        else if (p->part % segment == 0)
            hyb_train_segment(p, p->part);
        else
            p->part--;
        break;
    default: p->at = HYB_TRAIN_END; break;
    }
}

/* Does a unit, or as much of it as the cut has time for. Whether there is more: if not, the gradients are
 * there, in the device's memory, and hyb_train_end has the losses. */
static bool hyb_train_work(hyb_train_pass *p, hyb_slicer *cut)
{
    p->finished = -1;
    hyb_slicer_enter(cut, 2 * (int)p->at + p->part % 2);
    hyb_train_unit(p);
    if (!hyb_slicer_leave(cut)) return true;
    hyb_train_next(p);
    return p->at != HYB_TRAIN_END;
}

/* Waits: the losses are in m->loss. */
static hybrid_result hyb_train_end(hyb_train_pass *p, hybrid_error *error)
{
    hyb_backend *be = p->f->stages[0].be;
    if (p->batch.n_out) be->ops->read(be, p->m->loss, p->m->losses, (size_t)p->batch.n_out * sizeof *p->m->loss);
    return be->ops->sync(be, error);
}
#endif
#endif
