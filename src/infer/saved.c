/* infer/saved: the state of a sequence as bytes, and a sequence from such bytes: bit for bit, in any context that keeps
 * the same layers in the same types, whatever its pages, threads, instruction set or device. What a saved game is made
 * of; who it belongs to, the adapters' names and a checksum are in the archive around it.
 *
 *     head    what it is, of what shape, how long: hyb_saved_head, little-endian, without gaps
 *     ids     int32 (length): the tokens
 *     sets    int32 (length): which adapters each was read with: 0 none, else one of those that the sequence refers to
 *     layers  of each layer: of each page the rows of K, then those of V, (kv heads, positions, row), positions that
 * are not in use left out; then the values of the slot, and of the one before, where there are such
 *
 *     head | ids | sets | layer 0: K0 V0 K1 V1 .. slot before | layer 1: ..
 *
 * One walk serves both directions, so that they cannot disagree. Bytes that are read are a stranger's: whatever they
 * are, the context stays usable, and a read that fails has changed nothing. */
#ifndef HYB_INFER_SAVED_C
#define HYB_INFER_SAVED_C
#include "decode.c"
#include "../core/file.c"
#include "adapters.c"

enum { HYB_SAVED_VERSION = 1, HYB_SAVED_TOKENS = -1 };

typedef struct hyb_saved_head {
    char magic[8]; /* "hybstate" */
    uint32_t version, page;
    uint64_t shape; /* hyb_saved_shape */
    int32_t type;   /* of keys and values; HYB_SAVED_TOKENS: there are no layers, they are computed again */
    int32_t length, length_before, n_slots;
    int32_t zero[2];
} hyb_saved_head;
typedef char hyb_saved_head_has_no_gaps[sizeof(hyb_saved_head) == 48 ? 1 : -1];

/* Bytes on their way, in one direction: from a sequence to `write`, or from `source` into a sequence. */
typedef struct hyb_carrier {
    hybrid_write_fn write; /* NULL: the other direction */
    void *user;
    hyb_file *source;
    uint64_t at, end;      /* the next byte of the source, and where the state ends */
    bool tokens_only;      /* to write */
    const int32_t *known;  /* to read: for the number of each set of adapters its place in this context's table */
    int32_t n_known, rank; /* the largest of their ranks */
    char *room;            /* for memory that the host cannot reach */
    size_t room_size;      /* a page's K or V, or a slot: whichever is largest */
} hyb_carrier;

/* What two contexts must agree on. */
static uint64_t hyb_saved_shape(const hyb_state *s)
{
    hyb_hash_key key;
    int32_t i, values[4];
    values[0] = s->n_layer;
    values[1] = s->hp->head_dim_k;
    values[2] = s->hp->head_dim_v;
    values[3] = s->hp->n_vocab;
    key.k0 = key.k1 = 0;
    key.k0 = hyb_hash(&key, values, sizeof values);
    for (i = 0; i < s->n_layer; i++) {
        values[0] = s->hp->layers[i].n_head_kv;
        values[1] = (int32_t)hyb_layer_slot(s->hp, i);
        values[2] = (int32_t)hyb_layer_slot_mixer(s->hp, i);
        key.k0 = hyb_hash(&key, values, 3 * sizeof *values);
    }
    return key.k0;
}

static void hyb_saved_head_of(const hyb_state *s, const hyb_seq *seq, bool tokens_only, hyb_saved_head *head)
{
    memset(head, 0, sizeof *head);
    memcpy(head->magic, "hybstate", 8);
    head->version = HYB_SAVED_VERSION;
    head->page = HYB_PAGE;
    head->shape = hyb_saved_shape(s);
    head->type = tokens_only ? HYB_SAVED_TOKENS : (int32_t)s->type;
    head->length = seq->length;
    if (tokens_only) return;
    head->length_before = seq->before >= 0 ? seq->length_before : 0;
    head->n_slots = (seq->slot >= 0) + (seq->before >= 0);
}

/* Bytes of a state of this shape; what is held in memory can be counted. */
static uint64_t hyb_saved_size(const hyb_state *s, const hyb_saved_head *head)
{
    uint64_t position = 2 * sizeof(int32_t), slot = 0;
    int32_t i;
    for (i = 0; i < s->n_layer && head->type != HYB_SAVED_TOKENS; i++) {
        const hyb_kv_view *v = &s->layers[i].kv;
        position += (uint64_t)v->n_head_kv * (v->row_bytes_k + v->row_bytes_v);
        slot += (uint64_t)hyb_layer_slot(s->hp, i) * sizeof(float);
    }
    return sizeof *head + (uint64_t)head->length * position + (uint64_t)head->n_slots * slot;
}

/* ---- one walk, two directions ---- */

static hybrid_result hyb_carry(hyb_carrier *c, void *host, size_t n, hybrid_error *error)
{
    hybrid_result r;
    if (c->write) {
        if (c->write(c->user, host, n)) return HYBRID_OK;
        return hyb_fail(error, HYBRID_ERROR_IO,
                        "the state of a sequence could not be written: the function that takes its bytes refused them, "
                        "or the disk is full");
    }
    r = hyb_file_read(c->source, c->at, host, n, error);
    c->at += n;
    return r;
}

/* n bytes of a stage's memory, room_size of them at most. */
static hybrid_result hyb_carry_stage(hyb_carrier *c, const hyb_stage *stage, void *address, size_t n,
                                     hybrid_error *error)
{
    hyb_backend *be = stage->be;
    hybrid_result r;
    if (stage->device->ops->is_host) return hyb_carry(c, address, n, error);
    if (c->write) {
        be->ops->read(be, c->room, address, n);
        if ((r = be->ops->sync(be, error)) != HYBRID_OK) return r;
        return hyb_carry(c, c->room, n, error);
    }
    if ((r = hyb_carry(c, c->room, n, error)) == HYBRID_OK) be->ops->write(be, address, c->room, n);
    return r;
}

/* The first n positions of a page's K or V: as one where it is full, else head by head. */
static hybrid_result hyb_carry_page(hyb_carrier *c, const hyb_stage *stage, char *page, int32_t n, size_t row_bytes,
                                    int n_head_kv, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int h;
    if (n == HYB_PAGE) return hyb_carry_stage(c, stage, page, row_bytes * HYB_PAGE * (size_t)n_head_kv, error);
    for (h = 0; h < n_head_kv && !r; h++)
        r = hyb_carry_stage(c, stage, page + row_bytes * HYB_PAGE * (size_t)h, row_bytes * (size_t)n, error);
    return r;
}

static hybrid_result hyb_carry_pages(hyb_carrier *c, const hyb_stage *stage, const hyb_kv_view *v, const hyb_seq *seq,
                                     int32_t length, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    int32_t i;
    for (i = 0; v->n_head_kv && i * HYB_PAGE < length && !r; i++) {
        const size_t page = (size_t)seq->pages[i];
        const int32_t n = HYB_MIN(length - i * HYB_PAGE, (int32_t)HYB_PAGE);
        r = hyb_carry_page(c, stage, v->k + page * v->page_bytes_k, n, v->row_bytes_k, v->n_head_kv, error);
        if (!r) r = hyb_carry_page(c, stage, v->v + page * v->page_bytes_v, n, v->row_bytes_v, v->n_head_kv, error);
    }
    return r;
}

static hybrid_result hyb_carry_layers(hyb_carrier *c, const hyb_state *s, const hyb_forward *f, const hyb_seq *seq,
                                      int32_t length, hybrid_error *error)
{
    const hyb_stage *stage = f->stages;
    hybrid_result r = HYBRID_OK;
    int32_t i;
    for (i = 0; i < s->n_layer && !r; i++) {
        const hyb_layer_state *l = &s->layers[i];
        const size_t slot = (size_t)hyb_layer_slot(s->hp, i) * sizeof(float);
        while (i >= stage->layer_end) stage++;
        r = hyb_carry_pages(c, stage, &l->kv, seq, length, error);
        if (!r && slot && seq->slot >= 0)
            r = hyb_carry_stage(c, stage, l->mixer.data + seq->slot * l->mixer.stride, slot, error);
        if (!r && slot && seq->before >= 0)
            r = hyb_carry_stage(c, stage, l->mixer.data + seq->before * l->mixer.stride, slot, error);
    }
    for (i = 0; i < f->n_stages && !r; i++) r = f->stages[i].be->ops->sync(f->stages[i].be, error);
    return r;
}

/* Memory, where the context lost it with its GPU; and room for what goes through the host, if anything does. */
static hybrid_result hyb_carrier_begin(hyb_carrier *c, hybrid_context *context, hybrid_error *error)
{
    const hyb_state *s = &context->state;
    hybrid_result r;
    int32_t i;
    if (!context->forward.n_stages && (r = hyb_context_again(context, error)) != HYBRID_OK) return r;
    if (context->forward.stages[context->forward.n_stages - 1].device->ops->is_host) return HYBRID_OK;
    for (i = 0; i < s->n_layer; i++) {
        const hyb_kv_view *v = &s->layers[i].kv;
        c->room_size = HYB_MAX(c->room_size, HYB_MAX(v->page_bytes_k, v->page_bytes_v));
        c->room_size = HYB_MAX(c->room_size, (size_t)hyb_layer_slot(s->hp, i) * sizeof(float));
    }
    if ((c->room = (char *)hyb_alloc(context->rt, c->room_size))) return HYBRID_OK;
    return hyb_fail_memory(error, c->room_size);
}

/* ---- from a sequence ---- */

/* Positions of a sequence in the page of position i, from there on. */
static size_t hyb_saved_in_page(const hyb_seq *seq, int32_t i)
{
    return (size_t)HYB_MIN(seq->length - i, (int32_t)HYB_PAGE);
}

/* The number of a set among those that are marked. */
static int32_t hyb_saved_number(const hyb_worn *w, int32_t place)
{
    int32_t i, number = place > 0;
    for (i = 1; i < place; i++) number += w->sets[i].used;
    return number;
}

/* The sets of a page's positions, by their numbers. */
static hybrid_result hyb_saved_write_sets(const hybrid_context *context, const hyb_seq *seq, int32_t at, hyb_carrier *c,
                                          hybrid_error *error)
{
    const int32_t *places = context->state.sets + hyb_seq_place(seq, at);
    const size_t n = hyb_saved_in_page(seq, at);
    int32_t numbers[HYB_PAGE];
    size_t i;
    for (i = 0; i < n; i++)
        numbers[i] = i && places[i] == places[i - 1] ? numbers[i - 1] : hyb_saved_number(&context->worn, places[i]);
    return hyb_carry(c, numbers, n * sizeof *numbers, error);
}

static hybrid_result hyb_saved_write_to(hybrid_context *context, const hyb_seq *seq, hyb_carrier *c,
                                        hybrid_error *error)
{
    hyb_state *s = &context->state;
    hyb_saved_head head;
    hybrid_result r;
    int32_t i;
    hyb_saved_head_of(s, seq, c->tokens_only, &head);
    r = hyb_carry(c, &head, sizeof head, error);
    for (i = 0; i < seq->length && !r; i += HYB_PAGE)
        r = hyb_carry(c, s->ids + hyb_seq_place(seq, i), sizeof(int32_t) * hyb_saved_in_page(seq, i), error);
    for (i = 0; i < seq->length && !r; i += HYB_PAGE) r = hyb_saved_write_sets(context, seq, i, c, error);
    return r || c->tokens_only ? r : hyb_carry_layers(c, s, &context->forward, seq, seq->length, error);
}

/* Bytes that hyb_saved_write will write. */
static uint64_t hyb_saved_write_size(const hybrid_context *context, int32_t seq, bool tokens_only)
{
    hyb_saved_head head;
    hyb_saved_head_of(&context->state, &context->state.seqs[seq], tokens_only, &head);
    return hyb_saved_size(&context->state, &head);
}

/* The state of a sequence, piece by piece; the sets that it refers to, and no others, are marked. A decode may be under
 * way: until it is done, it writes only what is not part of the sequence yet. If a GPU fails, that is the result, and
 * the next decode goes on without. */
static hybrid_result hyb_saved_write(hybrid_context *context, int32_t seq, bool tokens_only, hybrid_write_fn write,
                                     void *user, hybrid_error *error)
{
    hyb_carrier c;
    hybrid_result r;
    memset(&c, 0, sizeof c);
    c.write = write;
    c.user = user;
    c.tokens_only = tokens_only;
    if ((r = hyb_carrier_begin(&c, context, error)) == HYBRID_OK)
        r = hyb_saved_write_to(context, &context->state.seqs[seq], &c, error);
    hyb_free(context->rt, c.room);
    return r;
}

/* ---- into a sequence ---- */

static hybrid_result hyb_saved_check_kind(const hyb_state *s, const hyb_saved_head *head, hybrid_error *error)
{
    if (memcmp(head->magic, "hybstate", 8))
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "these bytes are not the state of a sequence");
    if (head->version != HYB_SAVED_VERSION || head->page != HYB_PAGE)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "the state of a sequence has version %u with pages of %u positions; this hybrid reads version "
                        "%d with pages of %d",
                        head->version, head->page, HYB_SAVED_VERSION, HYB_PAGE);
    if (head->shape != hyb_saved_shape(s))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "the state of a sequence is another model's: its layers keep other sizes than this model's");
    if (head->type == (int32_t)s->type || head->type == HYB_SAVED_TOKENS) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "the state of a sequence has keys and values of another type; this context keeps them as %s: "
                    "create it with the kv that the saved one had",
                    hybrid_type_name(s->type));
}

/* n_free: pages that it can have. */
static hybrid_result hyb_saved_check_sizes(const hybrid_context *context, const hyb_saved_head *head, int32_t n_free,
                                           hybrid_error *error)
{
    const bool learned = (context->model->hp.arch->has & HYB_HAS_POS_EMBD) != 0;
    const int32_t n_ctx = context->desc.n_ctx, n = head->length;
    const int32_t slots = context->state.slots.n && head->type != HYB_SAVED_TOKENS ? n > 0 : 0,
                  pages = (n + HYB_PAGE - 1) / HYB_PAGE;
    if (n < 0 || head->zero[0] || head->zero[1] || head->n_slots < slots || head->n_slots > 2 * slots ||
        head->length_before < 0 ||
        (head->n_slots < 2 ? head->length_before != 0 : head->length_before < 1 || head->length_before >= n))
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "the state of a sequence is damaged: it says %d tokens, %d slots, the last decode after %d", n,
                        head->n_slots, head->length_before);
    if (n > n_ctx || (learned && n > context->model->hp.n_ctx_train))
        return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                        "the state of a sequence has %d tokens, and the context has room for %d: create it with a "
                        "larger n_ctx",
                        n, n > n_ctx ? n_ctx : context->model->hp.n_ctx_train);
    if (pages > n_free)
        return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                        "the state of a sequence needs %d pages of %d positions, but only %d are free: remove "
                        "sequences, or create a context with a larger n_ctx",
                        pages, HYB_PAGE, n_free);
    return HYBRID_OK;
}

/* Reads the head of a state, whose bytes end at c->end, and checks it. */
static hybrid_result hyb_saved_read_head(hybrid_context *context, hyb_carrier *c, int32_t n_free, hyb_saved_head *head,
                                         hybrid_error *error)
{
    const hyb_state *s = &context->state;
    const uint64_t left = c->end - c->at;
    hybrid_result r;
    if (left < sizeof *head)
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "these bytes are not the state of a sequence: they are too few");
    if ((r = hyb_carry(c, head, sizeof *head, error)) != HYBRID_OK) return r;
    if ((r = hyb_saved_check_kind(s, head, error)) != HYBRID_OK) return r;
    if ((r = hyb_saved_check_sizes(context, head, n_free, error)) != HYBRID_OK) return r;
    if (left == hyb_saved_size(s, head)) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_FORMAT, "the state of a sequence is %s: it has %llu of %llu bytes",
                    left < hyb_saved_size(s, head) ? "truncated" : "damaged", (unsigned long long)left,
                    (unsigned long long)hyb_saved_size(s, head));
}

/* Whether a state can take the place of what a sequence holds now. */
static hybrid_result hyb_saved_look(hybrid_context *context, int32_t seq, hyb_file *source, uint64_t at, uint64_t end,
                                    hybrid_error *error)
{
    const hyb_seq *old = &context->state.seqs[seq];
    int32_t n_free = context->state.pages.n_free, i;
    hyb_saved_head head;
    hyb_carrier c;
    memset(&c, 0, sizeof c);
    c.source = source;
    c.at = at;
    c.end = end;
    for (i = 0; i < old->n_pages; i++) n_free += context->state.pages.refs[old->pages[i]] == 1;
    return hyb_saved_read_head(context, &c, n_free, &head, error);
}

/* Tokens, or numbers of sets, of one page after the other; each is checked. */
static hybrid_result hyb_saved_read_row(const hybrid_context *context, const hyb_seq *seq, hyb_carrier *c,
                                        int32_t length, bool sets, hybrid_error *error)
{
    const int32_t most = sets ? c->n_known : context->model->hp.n_vocab;
    int32_t i, k;
    hybrid_result r;
    for (i = 0; i < length; i += HYB_PAGE) {
        int32_t *values = (sets ? context->state.sets : context->state.ids) + hyb_seq_place(seq, i);
        const int32_t n = HYB_MIN(length - i, (int32_t)HYB_PAGE);
        if ((r = hyb_carry(c, values, (size_t)n * sizeof *values, error)) != HYBRID_OK) return r;
        for (k = 0; k < n; k++) {
            const int32_t value = values[k];
            if (value < 0 || value >= most)
                return hyb_fail_at(error, HYBRID_ERROR_FORMAT, c->at,
                                   "the state of a sequence is damaged: position %d has the %s %d", i + k,
                                   sets ? "adapters" : "token", value);
            if (sets) values[k] = c->known[value];
        }
    }
    return HYBRID_OK;
}

/* What the layers keep of tokens that are known, computed from them. */
static hybrid_result hyb_saved_compute(hybrid_context *context, hyb_seq *seq, int32_t length, hybrid_error *error)
{
    const hybrid_trace_fn trace = context->forward.trace;
    hybrid_result r = HYBRID_OK;
    if (context->n_logits_here < context->n_logits_made && !hyb_logits_fetch(context))
        return hyb_fail(error, HYBRID_ERROR_DEVICE, "the GPU failed; the next decode goes on without it");
    if (context->state.slots.n && length) seq->slot = hyb_counted_take(&context->state.slots);
    seq->length = length;
    context->forward.trace = NULL;
    r = hyb_seq_again(context, seq, error);
    context->forward.trace = trace;
    return r;
}

/* Into pages and slots that the sequence, which was empty, has taken. */
static hybrid_result hyb_saved_fill(hybrid_context *context, hyb_seq *seq, hyb_carrier *c, const hyb_saved_head *head,
                                    hybrid_error *error)
{
    const bool compute = head->type == HYB_SAVED_TOKENS;
    hybrid_result r = hyb_saved_read_row(context, seq, c, head->length, false, error);
    if (!r) r = hyb_saved_read_row(context, seq, c, head->length, true, error);
    if (!r && !compute) r = hyb_carry_layers(c, &context->state, &context->forward, seq, head->length, error);
    if (!r) r = hyb_adapters_room(context, c->rank, error);
    return r || !compute ? r : hyb_saved_compute(context, seq, head->length, error);
}

static hybrid_result hyb_saved_read_from(hybrid_context *context, hyb_seq *seq, hyb_carrier *c, hybrid_error *error)
{
    hyb_state *s = &context->state;
    hyb_saved_head head;
    hybrid_result r = hyb_saved_read_head(context, c, s->pages.n_free, &head, error);
    if (r) return r;
    while (seq->n_pages * HYB_PAGE < head.length) seq->pages[seq->n_pages++] = hyb_counted_take(&s->pages);
    if (head.n_slots > 0) seq->slot = hyb_counted_take(&s->slots);
    if (head.n_slots > 1) seq->before = hyb_counted_take(&s->slots);
    if ((r = hyb_saved_fill(context, seq, c, &head, error)) == HYBRID_OK) {
        seq->length = head.length;
        seq->length_before = head.length_before;
        return HYBRID_OK;
    }
    hyb_seq_drop_before(s, seq);
    hyb_counted_drop(&s->slots, seq->slot);
    seq->slot = -1;
    seq->length = 0;
    hyb_seq_trim(s, seq, 0);
    return r;
}

/* What hyb_saved_write wrote, bytes at..end of a source, into a sequence that is empty (hyb_seq_cut to 0): two slots
 * are always free for it, and a failure leaves it empty. known: for the number of each set of adapters in the bytes its
 * place in this context's table; {0}: no position was read with any; rank: the largest of their ranks. What the
 * sequence wears from now on is not said here. No decode is under way. */
static hybrid_result hyb_saved_read(hybrid_context *context, int32_t seq, hyb_file *source, uint64_t at, uint64_t end,
                                    const int32_t *known, int32_t n_known, int32_t rank, hybrid_error *error)
{
    hyb_carrier c;
    hybrid_result r;
    memset(&c, 0, sizeof c);
    c.source = source;
    c.at = at;
    c.end = end;
    c.known = known;
    c.n_known = n_known;
    c.rank = rank;
    if ((r = hyb_carrier_begin(&c, context, error)) == HYBRID_OK)
        r = hyb_saved_read_from(context, &context->state.seqs[seq], &c, error);
    hyb_free(context->rt, c.room);
    return r;
}
#endif
