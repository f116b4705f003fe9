/* infer/kv: the cache of keys and values: pages of HYBRID__PAGE positions, counted, so that sequences can share them.
 *
 * A sequence is a table of pages. A fork shares all pages; who writes into a shared page first gets a copy of it. */

typedef struct hybrid__seq {
    int32_t  length;                       /* tokens decoded */
    int32_t  n_pages;
    int32_t *pages;
} hybrid__seq;

typedef struct hybrid__kv {
    hybrid__kv_view *layers;               /* n_layer */
    int32_t          n_layer, n_pages, n_seq, pages_a_seq;
    int32_t         *refs;                 /* of each page */
    int32_t         *free_pages, n_free;   /* a stack */
    hybrid__seq     *seqs;
    int32_t         *ids;                  /* the token of each position of each page, so that a lost cache can be made again */
    size_t           layer_bytes, table_bytes;
} hybrid__kv;

static hybrid_type hybrid__kv_type(hybrid_kv kv) { return kv == HYBRID_KV_F32 ? HYBRID_TYPE_F32 : kv == HYBRID_KV_Q8_0 ? HYBRID_TYPE_Q8_0 : HYBRID_TYPE_F16; }

/* Sizes from the hyperparameters; no allocation. Every sequence may leave its last page half empty: they get a page each on top. */
static hybrid_result hybrid__kv_plan(hybrid__kv *kv, const hybrid__hparams *hp, const hybrid_context_desc *desc, hybrid_error *error)
{
    const hybrid_type type = hybrid__kv_type(desc->kv);
    const size_t row_k = hybrid_type_row_bytes(type, (size_t)hp->head_dim_k), row_v = hybrid_type_row_bytes(type, (size_t)hp->head_dim_v);
    size_t page, all;
    memset(kv, 0, sizeof *kv);
    if (!row_k || !row_v)
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "a %s cache needs head sizes that are multiples of 32; this model has %d and %d: use HYBRID_KV_F16", hybrid_type_name(type), hp->head_dim_k, hp->head_dim_v);
    kv->n_layer = hp->n_layer;
    kv->n_seq = desc->n_seq;
    kv->pages_a_seq = (desc->n_ctx + HYBRID__PAGE - 1) / HYBRID__PAGE;
    kv->n_pages = kv->pages_a_seq + desc->n_seq - 1;
    page = (row_k + row_v) * (size_t)hp->n_head_kv * HYBRID__PAGE;
    if (!hybrid__mul_size(page, (size_t)kv->n_pages, &kv->layer_bytes) || !hybrid__mul_size(kv->layer_bytes, (size_t)kv->n_layer, &all))
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "a cache for %d positions is beyond the address space", desc->n_ctx);
    kv->table_bytes = hybrid__align((size_t)kv->n_layer * sizeof *kv->layers, 64) + hybrid__align((size_t)kv->n_seq * sizeof *kv->seqs, 64)
                    + (size_t)kv->n_pages * (2 + HYBRID__PAGE) * sizeof(int32_t) + (size_t)kv->n_seq * (size_t)kv->pages_a_seq * sizeof(int32_t);
    return HYBRID_OK;
}

/* Layers first..end live in data, (end - first) * layer_bytes. */
static void hybrid__kv_set(hybrid__kv *kv, int32_t first, int32_t end, char *data)
{
    int32_t i;
    for (i = first; i < end; i++) {
        kv->layers[i].k = data;
        kv->layers[i].v = data + kv->layers[i].page_bytes_k * (size_t)kv->n_pages;
        data += kv->layer_bytes;
    }
}

/* After hybrid__kv_plan. tables: a block of table_bytes. hybrid__kv_set gives the layers their memory. */
static void hybrid__kv_init(hybrid__kv *kv, const hybrid__hparams *hp, const hybrid_context_desc *desc, char *tables)
{
    const hybrid_type type = hybrid__kv_type(desc->kv);
    const size_t row_k = hybrid_type_row_bytes(type, (size_t)hp->head_dim_k), row_v = hybrid_type_row_bytes(type, (size_t)hp->head_dim_v);
    int32_t i;
    kv->layers = (hybrid__kv_view *)(void *)tables; tables += hybrid__align((size_t)kv->n_layer * sizeof *kv->layers, 64);
    kv->seqs = (hybrid__seq *)(void *)tables;       tables += hybrid__align((size_t)kv->n_seq * sizeof *kv->seqs, 64);
    kv->refs = (int32_t *)(void *)tables;
    kv->free_pages = kv->refs + kv->n_pages;
    kv->ids = kv->free_pages + kv->n_pages;
    memset(kv->refs, 0, (size_t)kv->n_pages * sizeof *kv->refs);
    for (i = 0; i < kv->n_layer; i++) {
        hybrid__kv_view *v = &kv->layers[i];
        v->type = type;
        v->row_bytes_k = row_k; v->row_bytes_v = row_v;
        v->n_head_kv = hp->n_head_kv; v->head_dim_k = hp->head_dim_k; v->head_dim_v = hp->head_dim_v;
        v->page_bytes_k = row_k * (size_t)hp->n_head_kv * HYBRID__PAGE;
        v->page_bytes_v = row_v * (size_t)hp->n_head_kv * HYBRID__PAGE;
        v->k = v->v = NULL;
    }
    for (i = 0; i < kv->n_seq; i++) {
        kv->seqs[i].length = kv->seqs[i].n_pages = 0;
        kv->seqs[i].pages = kv->ids + (size_t)kv->n_pages * HYBRID__PAGE + (size_t)i * (size_t)kv->pages_a_seq;
    }
    for (kv->n_free = 0; kv->n_free < kv->n_pages; kv->n_free++) kv->free_pages[kv->n_free] = kv->n_pages - 1 - kv->n_free;
}

static void hybrid__page_drop(hybrid__kv *kv, int32_t page)
{
    if (--kv->refs[page] == 0) kv->free_pages[kv->n_free++] = page;
}

/* The page in which a sequence goes on, which is copied before when others share it; -1: it goes on with a new one. */
static int32_t hybrid__kv_open_page(const hybrid__seq *s) { return s->length % HYBRID__PAGE ? s->pages[s->length / HYBRID__PAGE] : -1; }

static int32_t *hybrid__kv_id(const hybrid__kv *kv, const hybrid__seq *s, int32_t pos) { return &kv->ids[s->pages[pos / HYBRID__PAGE] * HYBRID__PAGE + pos % HYBRID__PAGE]; }

static void hybrid__page_copy(hybrid__kv *kv, hybrid__forward *f, int32_t to, int32_t from)
{
    const hybrid__stage *stage = f->stages;
    int32_t i;
    memcpy(kv->ids + to * HYBRID__PAGE, kv->ids + from * HYBRID__PAGE, HYBRID__PAGE * sizeof *kv->ids);
    for (i = 0; i < kv->n_layer; i++) {
        const hybrid__kv_view *v = &kv->layers[i];
        while (i >= stage->layer_end) stage++;
        stage->be->ops->copy(stage->be, v->k + (size_t)to * v->page_bytes_k, v->k + (size_t)from * v->page_bytes_k, v->page_bytes_k);
        stage->be->ops->copy(stage->be, v->v + (size_t)to * v->page_bytes_v, v->v + (size_t)from * v->page_bytes_v, v->page_bytes_v);
    }
}

/* Takes the pages; the caller has made sure that there are enough. */
static void hybrid__kv_take(hybrid__kv *kv, hybrid__forward *f, hybrid__seq *s, int32_t from, int32_t end)
{
    int32_t pages = (end + HYBRID__PAGE - 1) / HYBRID__PAGE, at = from / HYBRID__PAGE;
    if (from % HYBRID__PAGE && at < s->n_pages && kv->refs[s->pages[at]] > 1) {
        int32_t page = kv->free_pages[--kv->n_free];
        hybrid__page_copy(kv, f, page, s->pages[at]);
        kv->refs[page] = 1;
        hybrid__page_drop(kv, s->pages[at]);
        s->pages[at] = page;
    }
    while (s->n_pages < pages) {
        int32_t page = kv->free_pages[--kv->n_free];
        kv->refs[page] = 1;
        s->pages[s->n_pages++] = page;
    }
}

/* Keeps the first n_pages of a sequence's pages. */
static void hybrid__kv_trim(hybrid__kv *kv, hybrid__seq *s, int32_t n_pages)
{
    while (s->n_pages > n_pages) hybrid__page_drop(kv, s->pages[--s->n_pages]);
}

static void hybrid__kv_share(hybrid__kv *kv, const hybrid__seq *from, hybrid__seq *to)
{
    int32_t i;
    hybrid__kv_trim(kv, to, 0);
    for (i = 0; i < from->n_pages; i++) kv->refs[to->pages[i] = from->pages[i]]++;
    to->n_pages = from->n_pages;
    to->length = from->length;
}
