/* infer/state: what a context keeps of its sequences, in two kinds of memory that sequences share.
 *
 * Pages: the keys and values of HYB_PAGE positions. A sequence is a table of pages; a fork shares all of them, and a
 * sequence that writes into a shared page gets a copy of it first. Such a state can be cut anywhere.
 *
 *     seq 0   [ 3 ][ 7 ][ 1 ]          pages of 32 positions, in any order; 3 and 7 are counted twice
 *     seq 1   [ 3 ][ 7 ][ 4 ]          forked from seq 0 after 64 tokens or more
 *
 * Slots: what a recurrent layer hands from token to token, a fixed size. A decode reads one and writes another, so that
 * the sequence is as it was until the decode is done; and then keeps the old one as long as it can: such a state can be
 * cut back to where it was before the last decode, or to nothing.
 *
 *     between decodes   slot: at `length`    before: at `length_before`, or none
 *     during one        slot: at `length`    next: what the chunks so far have made of it
 *
 * Both are taken, shared, cut and dropped here; saved.c writes them out as bytes and reads them in. */
#ifndef HYB_INFER_STATE_C
#define HYB_INFER_STATE_C
#include "../model/net.c"

typedef struct hyb_seq {
    int32_t length; /* tokens decoded */
    int32_t n_pages;
    int32_t *pages;
    int32_t slot, next, before, length_before; /* slots; -1: none */
} hyb_seq;

/* Pages or slots: how often each is in use, and a stack of those that are not. */
typedef struct hyb_counted {
    int32_t *refs, *free;
    int32_t n, n_free;
} hyb_counted;

typedef struct hyb_state {
    hyb_layer_state *layers; /* n_layer: where each has its memory */
    const hyb_hparams *hp;
    hybrid_type type; /* of keys and values */
    int32_t n_layer, n_seq, pages_a_seq;
    hyb_counted pages, slots;
    hyb_seq *seqs;
    int32_t *ids;  /* the token of each position of each page, so that a lost state can be made again, */
    int32_t *sets; /* and which adapters it was read with: a place in the context's table */
    size_t table_bytes;
} hyb_state;

static hybrid_type hyb_kv_type(hybrid_kv kv)
{
    return kv == HYBRID_KV_F32 ? HYBRID_TYPE_F32 : kv == HYBRID_KV_Q8_0 ? HYBRID_TYPE_Q8_0 : HYBRID_TYPE_F16;
}

/* ---- sizes ---- */

/* The pages of a layer, all sizes set and no memory. A layer without attention has pages of no bytes. */
static hyb_kv_view hyb_state_view(const hyb_state *s, int32_t layer)
{
    const int32_t n_head_kv = s->hp->layers[layer].n_head_kv;
    hyb_kv_view v;
    memset(&v, 0, sizeof v);
    v.type = s->type;
    v.n_head_kv = n_head_kv;
    v.head_dim_k = s->hp->head_dim_k;
    v.head_dim_v = s->hp->head_dim_v;
    v.row_bytes_k = hybrid_type_row_bytes(s->type, (size_t)v.head_dim_k);
    v.row_bytes_v = hybrid_type_row_bytes(s->type, (size_t)v.head_dim_v);
    v.page_bytes_k = v.row_bytes_k * (size_t)n_head_kv * HYB_PAGE;
    v.page_bytes_v = v.row_bytes_v * (size_t)n_head_kv * HYB_PAGE;
    return v;
}

/* Bytes of a layer's pages, and of those of its slots, which lie after them; false: beyond the address space. */
static bool hyb_state_layer_bytes(const hyb_state *s, int32_t layer, size_t *pages, size_t *slots)
{
    const hyb_kv_view v = hyb_state_view(s, layer);
    const size_t slot = hyb_align((size_t)hyb_layer_slot(s->hp, layer) * sizeof(float), 64);
    return hyb_mul_size(v.page_bytes_k + v.page_bytes_v, (size_t)s->pages.n, pages) &&
           hyb_mul_size(slot, (size_t)s->slots.n, slots);
}

/* Bytes of the layers first..end, which hyb_state_plan has found to be possible. */
static size_t hyb_state_bytes(const hyb_state *s, int32_t first, int32_t end)
{
    size_t bytes = 0, pages, slots;
    int32_t i;
    for (i = first; i < end; i++) {
        hyb_state_layer_bytes(s, i, &pages, &slots);
        bytes += pages + slots;
    }
    return bytes;
}

/* Sizes from the hyperparameters; no allocation. Every sequence may leave its last page half empty, so each gets one
 * page more. */
static hybrid_result hyb_state_plan(hyb_state *s, const hyb_hparams *hp, const hybrid_context_desc *desc,
                                    hybrid_error *error)
{
    size_t all = 0, pages, slots;
    int32_t i;
    memset(s, 0, sizeof *s);
    s->hp = hp;
    s->type = hyb_kv_type(desc->kv);
    if (hp->n_head_kv && (!hybrid_type_row_bytes(s->type, (size_t)hp->head_dim_k) ||
                          !hybrid_type_row_bytes(s->type, (size_t)hp->head_dim_v)))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "a %s cache needs head sizes that are multiples of 32; this model has %d and %d: use "
                        "HYBRID_KV_F16",
                        hybrid_type_name(s->type), hp->head_dim_k, hp->head_dim_v);
    s->n_layer = hp->n_layer;
    s->n_seq = desc->n_seq;
    s->pages_a_seq = (desc->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    s->pages.n = s->pages_a_seq + desc->n_seq - 1;
    s->slots.n = hyb_net_recurs(hp) ? HYB_SLOTS_A_SEQ * desc->n_seq : 0;
    for (i = 0; i < hp->n_layer; i++)
        if (!hyb_state_layer_bytes(s, i, &pages, &slots) || !hyb_add_size(all, pages, &all) ||
            !hyb_add_size(all, slots, &all))
            return hyb_fail(error, HYBRID_ERROR_LIMIT, "a cache for %d positions is beyond the address space",
                            desc->n_ctx);
    s->table_bytes = hyb_align((size_t)s->n_layer * sizeof *s->layers, 64) +
                     hyb_align((size_t)s->n_seq * sizeof *s->seqs, 64) +
                     sizeof(int32_t) * ((size_t)s->pages.n * (2 + 2 * HYB_PAGE) + (size_t)s->slots.n * 2 +
                                        (size_t)s->n_seq * (size_t)s->pages_a_seq);
    return HYBRID_OK;
}

/* ---- memory ---- */

static int32_t *hyb_counted_init(hyb_counted *pool, int32_t *table)
{
    pool->refs = table;
    pool->free = table + pool->n;
    memset(pool->refs, 0, (size_t)pool->n * sizeof *pool->refs);
    for (pool->n_free = 0; pool->n_free < pool->n; pool->n_free++)
        pool->free[pool->n_free] = pool->n - 1 - pool->n_free;
    return table + 2 * (size_t)pool->n;
}
static int32_t hyb_counted_take(hyb_counted *pool)
{
    const int32_t i = pool->free[--pool->n_free];
    pool->refs[i] = 1;
    return i;
}
static int32_t hyb_counted_share(hyb_counted *pool, int32_t i)
{
    if (i >= 0) pool->refs[i]++;
    return i;
}
static void hyb_counted_drop(hyb_counted *pool, int32_t i)
{
    if (i >= 0 && --pool->refs[i] == 0) pool->free[pool->n_free++] = i;
}

/* After hyb_state_plan. tables: a block of table_bytes. hyb_state_set gives the layers their memory. */
static void hyb_state_init(hyb_state *s, char *tables)
{
    int32_t *table, i;
    s->layers = (hyb_layer_state *)(void *)tables;
    tables += hyb_align((size_t)s->n_layer * sizeof *s->layers, 64);
    s->seqs = (hyb_seq *)(void *)tables;
    tables += hyb_align((size_t)s->n_seq * sizeof *s->seqs, 64);
    table = hyb_counted_init(&s->pages, (int32_t *)(void *)tables);
    table = hyb_counted_init(&s->slots, table);
    s->ids = table;
    s->sets = table + (size_t)s->pages.n * HYB_PAGE;
    table += 2 * (size_t)s->pages.n * HYB_PAGE;
    for (i = 0; i < s->n_layer; i++) {
        memset(&s->layers[i], 0, sizeof s->layers[i]);
        s->layers[i].kv = hyb_state_view(s, i);
    }
    for (i = 0; i < s->n_seq; i++, table += s->pages_a_seq) {
        s->seqs[i].length = s->seqs[i].n_pages = s->seqs[i].length_before = 0;
        s->seqs[i].slot = s->seqs[i].next = s->seqs[i].before = -1;
        s->seqs[i].pages = table;
    }
}

/* Layers first..end live in data, hyb_state_bytes of them. */
static void hyb_state_set(hyb_state *s, int32_t first, int32_t end, char *data)
{
    int32_t i;
    for (i = first; i < end; i++) {
        hyb_layer_state *l = &s->layers[i];
        size_t pages, slots;
        hyb_state_layer_bytes(s, i, &pages, &slots);
        l->kv.k = data;
        l->kv.v = data + l->kv.page_bytes_k * (size_t)s->pages.n;
        l->mixer.data = (float *)(void *)(data + pages);
        l->mixer.stride = s->slots.n ? (int64_t)(slots / sizeof(float)) / s->slots.n : 0;
        l->ffn.data = l->mixer.data + hyb_layer_slot_mixer(s->hp, i);
        l->ffn.stride = l->mixer.stride;
        data += pages + slots;
    }
}

/* ---- pages ---- */

/* The page in which a sequence goes on, which is copied first if others share it; -1: it goes on in a new one. */
static int32_t hyb_seq_open_page(const hyb_seq *seq)
{
    return seq->length % HYB_PAGE ? seq->pages[seq->length / HYB_PAGE] : -1;
}

static int32_t hyb_seq_place(const hyb_seq *seq, int32_t pos)
{
    return seq->pages[pos / HYB_PAGE] * HYB_PAGE + pos % HYB_PAGE;
}
static int32_t *hyb_seq_id(const hyb_state *s, const hyb_seq *seq, int32_t pos)
{
    return &s->ids[hyb_seq_place(seq, pos)];
}

static void hyb_page_copy(hyb_state *s, hyb_forward *f, int32_t to, int32_t from)
{
    const hyb_stage *stage = f->stages;
    int32_t i;
    memcpy(s->ids + to * HYB_PAGE, s->ids + from * HYB_PAGE, HYB_PAGE * sizeof *s->ids);
    memcpy(s->sets + to * HYB_PAGE, s->sets + from * HYB_PAGE, HYB_PAGE * sizeof *s->sets);
    for (i = 0; i < s->n_layer; i++) {
        const hyb_kv_view *v = &s->layers[i].kv;
        const size_t k = v->page_bytes_k, n = v->page_bytes_v;
        while (i >= stage->layer_end) stage++;
        if (!v->n_head_kv) continue;
        stage->be->ops->copy(stage->be, v->k + (size_t)to * k, v->k + (size_t)from * k, k);
        stage->be->ops->copy(stage->be, v->v + (size_t)to * n, v->v + (size_t)from * n, n);
    }
}

/* Keeps the first n_pages of a sequence's pages. */
static void hyb_seq_trim(hyb_state *s, hyb_seq *seq, int32_t n_pages)
{
    while (seq->n_pages > n_pages) hyb_counted_drop(&s->pages, seq->pages[--seq->n_pages]);
}

/* ---- a sequence ---- */

static void hyb_seq_drop_before(hyb_state *s, hyb_seq *seq)
{
    hyb_counted_drop(&s->slots, seq->before);
    seq->before = -1;
}

/* Room for n more tokens; the caller has made sure that there are enough pages. There is always a slot: no sequence
 * keeps more than HYB_SLOTS_A_SEQ. */
static void hyb_seq_take(hyb_state *s, hyb_forward *f, hyb_seq *seq, int32_t n)
{
    const int32_t pages = (seq->length + n + HYB_PAGE - 1) / HYB_PAGE, open = hyb_seq_open_page(seq);
    if (open >= 0 && s->pages.refs[open] > 1) {
        const int32_t page = hyb_counted_take(&s->pages);
        hyb_page_copy(s, f, page, open);
        hyb_counted_drop(&s->pages, open);
        seq->pages[seq->length / HYB_PAGE] = page;
    }
    while (seq->n_pages < pages) seq->pages[seq->n_pages++] = hyb_counted_take(&s->pages);
    if (!s->slots.n) return;
    hyb_seq_drop_before(s, seq);
    seq->next = hyb_counted_take(&s->slots);
}

/* A decode of n tokens is done: */
static void hyb_seq_keep(hyb_seq *seq, int32_t n)
{
    seq->before = seq->slot;
    seq->length_before = seq->length;
    seq->slot = seq->next;
    seq->next = -1;
    seq->length += n;
}

/* or was given up: what it took goes back. */
static void hyb_seq_give_back(hyb_state *s, hyb_seq *seq)
{
    hyb_seq_trim(s, seq, (seq->length + HYB_PAGE - 1) / HYB_PAGE);
    hyb_counted_drop(&s->slots, seq->next);
    seq->next = -1;
}

/* The largest position up to `from` to which the sequence can be cut. */
static int32_t hyb_seq_cut_at(const hyb_state *s, const hyb_seq *seq, int32_t from)
{
    if (!s->slots.n || from >= seq->length) return HYB_MIN(from, seq->length);
    return seq->before >= 0 && from >= seq->length_before ? seq->length_before : 0;
}

/* Keeps the first `from` tokens: a position that hyb_seq_cut_at has given. */
static void hyb_seq_cut(hyb_state *s, hyb_seq *seq, int32_t from)
{
    if (from < seq->length && seq->slot >= 0) {
        hyb_counted_drop(&s->slots, seq->slot);
        seq->slot = from ? seq->before : -1;
        if (from) seq->before = -1;
        hyb_seq_drop_before(s, seq);
    }
    seq->length = from;
    hyb_seq_trim(s, seq, (from + HYB_PAGE - 1) / HYB_PAGE);
}

static void hyb_seq_share(hyb_state *s, const hyb_seq *from, hyb_seq *to)
{
    int32_t i;
    hyb_seq_cut(s, to, 0);
    for (i = 0; i < from->n_pages; i++) to->pages[i] = hyb_counted_share(&s->pages, from->pages[i]);
    to->n_pages = from->n_pages;
    to->length = from->length;
    to->slot = hyb_counted_share(&s->slots, from->slot);
    to->before = hyb_counted_share(&s->slots, from->before);
    to->length_before = from->length_before;
}
#endif
