/* infer/kv: the cache of keys and values: pages of HYB_PAGE positions, counted, so that sequences can share them.
 *
 * A sequence is a table of pages. A fork shares all pages; who writes into a shared page first gets a copy of it. */

typedef struct hyb_seq {
    int32_t length; /* tokens decoded */
    int32_t n_pages;
    int32_t *pages;
} hyb_seq;

typedef struct hyb_kv {
    hyb_kv_view *layers; /* n_layer */
    int32_t n_layer, n_pages, n_seq, pages_a_seq;
    int32_t *refs;               /* of each page */
    int32_t *free_pages, n_free; /* a stack */
    hyb_seq *seqs;
    int32_t *ids; /* the token of each position of each page, so that a lost cache can be made again */
    size_t layer_bytes, table_bytes;
} hyb_kv;

static hybrid_type hyb_kv_type(hybrid_kv kv)
{
    return kv == HYBRID_KV_F32 ? HYBRID_TYPE_F32 : kv == HYBRID_KV_Q8_0 ? HYBRID_TYPE_Q8_0 : HYBRID_TYPE_F16;
}

/* Sizes from the hyperparameters; no allocation. Every sequence may leave its last page half empty: they get a page
 * each on top. */
static hybrid_result hyb_kv_plan(hyb_kv *kv, const hyb_hparams *hp, const hybrid_context_desc *desc,
                                 hybrid_error *error)
{
    const hybrid_type type = hyb_kv_type(desc->kv);
    const size_t row_k = hybrid_type_row_bytes(type, (size_t)hp->head_dim_k),
                 row_v = hybrid_type_row_bytes(type, (size_t)hp->head_dim_v);
    size_t page, all;
    memset(kv, 0, sizeof *kv);
    if (!row_k || !row_v)
        return hyb_fail(
            error, HYBRID_ERROR_UNSUPPORTED,
            "a %s cache needs head sizes that are multiples of 32; this model has %d and %d: use HYBRID_KV_F16",
            hybrid_type_name(type), hp->head_dim_k, hp->head_dim_v);
    kv->n_layer = hp->n_layer;
    kv->n_seq = desc->n_seq;
    kv->pages_a_seq = (desc->n_ctx + HYB_PAGE - 1) / HYB_PAGE;
    kv->n_pages = kv->pages_a_seq + desc->n_seq - 1;
    page = (row_k + row_v) * (size_t)hp->n_head_kv * HYB_PAGE;
    if (!hyb_mul_size(page, (size_t)kv->n_pages, &kv->layer_bytes) ||
        !hyb_mul_size(kv->layer_bytes, (size_t)kv->n_layer, &all))
        return hyb_fail(error, HYBRID_ERROR_LIMIT, "a cache for %d positions is beyond the address space", desc->n_ctx);
    kv->table_bytes = hyb_align((size_t)kv->n_layer * sizeof *kv->layers, 64) +
                      hyb_align((size_t)kv->n_seq * sizeof *kv->seqs, 64) +
                      (size_t)kv->n_pages * (2 + HYB_PAGE) * sizeof(int32_t) +
                      (size_t)kv->n_seq * (size_t)kv->pages_a_seq * sizeof(int32_t);
    return HYBRID_OK;
}

/* Layers first..end live in data, (end - first) * layer_bytes. */
static void hyb_kv_set(hyb_kv *kv, int32_t first, int32_t end, char *data)
{
    int32_t i;
    for (i = first; i < end; i++) {
        kv->layers[i].k = data;
        kv->layers[i].v = data + kv->layers[i].page_bytes_k * (size_t)kv->n_pages;
        data += kv->layer_bytes;
    }
}

/* After hyb_kv_plan. tables: a block of table_bytes. hyb_kv_set gives the layers their memory. */
static void hyb_kv_init(hyb_kv *kv, const hyb_hparams *hp, const hybrid_context_desc *desc, char *tables)
{
    const hybrid_type type = hyb_kv_type(desc->kv);
    const size_t row_k = hybrid_type_row_bytes(type, (size_t)hp->head_dim_k),
                 row_v = hybrid_type_row_bytes(type, (size_t)hp->head_dim_v);
    int32_t i;
    kv->layers = (hyb_kv_view *)(void *)tables;
    tables += hyb_align((size_t)kv->n_layer * sizeof *kv->layers, 64);
    kv->seqs = (hyb_seq *)(void *)tables;
    tables += hyb_align((size_t)kv->n_seq * sizeof *kv->seqs, 64);
    kv->refs = (int32_t *)(void *)tables;
    kv->free_pages = kv->refs + kv->n_pages;
    kv->ids = kv->free_pages + kv->n_pages;
    memset(kv->refs, 0, (size_t)kv->n_pages * sizeof *kv->refs);
    for (i = 0; i < kv->n_layer; i++) {
        hyb_kv_view *v = &kv->layers[i];
        v->type = type;
        v->row_bytes_k = row_k;
        v->row_bytes_v = row_v;
        v->n_head_kv = hp->n_head_kv;
        v->head_dim_k = hp->head_dim_k;
        v->head_dim_v = hp->head_dim_v;
        v->page_bytes_k = row_k * (size_t)hp->n_head_kv * HYB_PAGE;
        v->page_bytes_v = row_v * (size_t)hp->n_head_kv * HYB_PAGE;
        v->k = v->v = NULL;
    }
    for (i = 0; i < kv->n_seq; i++) {
        kv->seqs[i].length = kv->seqs[i].n_pages = 0;
        kv->seqs[i].pages = kv->ids + (size_t)kv->n_pages * HYB_PAGE + (size_t)i * (size_t)kv->pages_a_seq;
    }
    for (kv->n_free = 0; kv->n_free < kv->n_pages; kv->n_free++)
        kv->free_pages[kv->n_free] = kv->n_pages - 1 - kv->n_free;
}

static void hyb_page_drop(hyb_kv *kv, int32_t page)
{
    if (--kv->refs[page] == 0) kv->free_pages[kv->n_free++] = page;
}

/* The page in which a sequence goes on, which is copied before when others share it; -1: it goes on with a new one. */
static int32_t hyb_kv_open_page(const hyb_seq *s) { return s->length % HYB_PAGE ? s->pages[s->length / HYB_PAGE] : -1; }

static int32_t *hyb_kv_id(const hyb_kv *kv, const hyb_seq *s, int32_t pos)
{
    return &kv->ids[s->pages[pos / HYB_PAGE] * HYB_PAGE + pos % HYB_PAGE];
}

static void hyb_page_copy(hyb_kv *kv, hyb_forward *f, int32_t to, int32_t from)
{
    const hyb_stage *stage = f->stages;
    int32_t i;
    memcpy(kv->ids + to * HYB_PAGE, kv->ids + from * HYB_PAGE, HYB_PAGE * sizeof *kv->ids);
    for (i = 0; i < kv->n_layer; i++) {
        const hyb_kv_view *v = &kv->layers[i];
        while (i >= stage->layer_end) stage++;
        stage->be->ops->copy(stage->be, v->k + (size_t)to * v->page_bytes_k, v->k + (size_t)from * v->page_bytes_k,
                             v->page_bytes_k);
        stage->be->ops->copy(stage->be, v->v + (size_t)to * v->page_bytes_v, v->v + (size_t)from * v->page_bytes_v,
                             v->page_bytes_v);
    }
}

/* Takes the pages; the caller has made sure that there are enough. */
static void hyb_kv_take(hyb_kv *kv, hyb_forward *f, hyb_seq *s, int32_t from, int32_t end)
{
    int32_t pages = (end + HYB_PAGE - 1) / HYB_PAGE, at = from / HYB_PAGE;
    if (from % HYB_PAGE && at < s->n_pages && kv->refs[s->pages[at]] > 1) {
        int32_t page = kv->free_pages[--kv->n_free];
        hyb_page_copy(kv, f, page, s->pages[at]);
        kv->refs[page] = 1;
        hyb_page_drop(kv, s->pages[at]);
        s->pages[at] = page;
    }
    while (s->n_pages < pages) {
        int32_t page = kv->free_pages[--kv->n_free];
        kv->refs[page] = 1;
        s->pages[s->n_pages++] = page;
    }
}

/* Keeps the first n_pages of a sequence's pages. */
static void hyb_kv_trim(hyb_kv *kv, hyb_seq *s, int32_t n_pages)
{
    while (s->n_pages > n_pages) hyb_page_drop(kv, s->pages[--s->n_pages]);
}

static void hyb_kv_share(hyb_kv *kv, const hyb_seq *from, hyb_seq *to)
{
    int32_t i;
    hyb_kv_trim(kv, to, 0);
    for (i = 0; i < from->n_pages; i++) kv->refs[to->pages[i] = from->pages[i]]++;
    to->n_pages = from->n_pages;
    to->length = from->length;
}
