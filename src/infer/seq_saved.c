/* infer/seq_saved: a sequence as a saved game: its state, and the adapters that it wears or was read with.
 *
 *     "wear"   adapters: how many (u32), and of each its hash (u64), rank (u32) and name (u64 of bytes, the bytes);
 *              sets of them: how many (u32), and of each how many adapters (u32) and their places (u32) and factors
 *              (f32); the number of the set that the sequence wears (u32): 0 is none, the first set is 1
 *     "stat"   infer/saved.c */
#ifndef HYB_INFER_SEQ_SAVED_C
#define HYB_INFER_SEQ_SAVED_C
#include "../model/identity.c"
#include "archive.c"
#include "saved.c"

enum { HYB_SAVED_MAX_ID = 255 };

static hybrid_result hyb_save_check(const hybrid_context *context, const hybrid_save_desc *desc, hybrid_error *error)
{
    size_t i;
    if (desc->n_adapters && !desc->adapters)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "n_adapters is %llu, but adapters is NULL",
                        (unsigned long long)desc->n_adapters);
    for (i = 0; i < desc->n_adapters; i++) {
        const hybrid_named_adapter *a = &desc->adapters[i];
        if (!a->adapter || a->adapter->model != context->model)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "adapter %llu %s", (unsigned long long)i,
                            a->adapter ? "belongs to another model" : "is NULL");
        if (a->id && strlen(a->id) > HYB_SAVED_MAX_ID)
            return hyb_fail(error, HYBRID_ERROR_LIMIT, "the name of adapter %llu is longer than %d bytes",
                            (unsigned long long)i, HYB_SAVED_MAX_ID);
    }
    return HYBRID_OK;
}

/* ---- out ---- */

static const char *hyb_save_id(const hybrid_save_desc *desc, const hybrid_adapter *adapter)
{
    size_t i;
    for (i = 0; i < desc->n_adapters; i++)
        if (desc->adapters[i].adapter == adapter && desc->adapters[i].id) return desc->adapters[i].id;
    return "";
}

/* The place of an adapter in a list, to which it is added if it is new. */
static uint32_t hyb_save_adapter(hyb_pack *list, const hybrid_adapter *adapter)
{
    const size_t n = list->n / sizeof adapter;
    size_t i;
    for (i = 0; i < n; i++)
        if (!memcmp(list->data + i * sizeof adapter, &adapter, sizeof adapter)) return (uint32_t)i;
    hyb_pack_bytes(list, &adapter, sizeof adapter);
    return (uint32_t)n;
}

/* The marked sets; their adapters come into the list. */
static void hyb_save_sets(const hyb_worn *w, hyb_pack *list, hyb_pack *out)
{
    int32_t i, k;
    uint32_t n = 0;
    for (i = 1; i < w->n_sets; i++) n += w->sets[i].used;
    hyb_pack_u32(out, n);
    for (i = 1; i < w->n_sets; i++) {
        const hyb_adapter_set *set = &w->sets[i];
        if (!set->used) continue;
        hyb_pack_u32(out, (uint32_t)set->n);
        for (k = 0; k < set->n; k++) {
            hyb_pack_u32(out, hyb_save_adapter(list, set->use[k].adapter));
            hyb_pack_f32(out, set->use[k].scale);
        }
    }
}

static void hyb_save_list(const hyb_pack *list, const hybrid_save_desc *desc, bool hash, hyb_pack *out)
{
    const hybrid_adapter *a;
    const size_t n = list->n / sizeof a;
    size_t i;
    hyb_pack_u32(out, (uint32_t)n);
    for (i = 0; i < n; i++) {
        const char *id;
        memcpy(&a, list->data + i * sizeof a, sizeof a);
        id = hyb_save_id(desc, a);
        hyb_pack_u64(out, hash ? hyb_adapter_identity(a) : 0);
        hyb_pack_u32(out, (uint32_t)a->max_rank);
        hyb_pack_text(out, id, strlen(id));
    }
}

/* What a sequence wears and its positions were read with, which is then marked. hash: without it only the size counts.
 * out->data is freed by the caller. */
static hybrid_result hyb_save_worn(const hybrid_context *context, int32_t seq, const hybrid_save_desc *desc, bool hash,
                                   hyb_pack *out, hybrid_error *error)
{
    hyb_worn *w = (hyb_worn *)&context->worn; /* only its marks change */
    hyb_pack list, sets;
    memset(&list, 0, sizeof list);
    list.rt = context->rt;
    list.error = error;
    sets = *out = list;
    hyb_worn_unmark(w);
    hyb_worn_mark(w, &context->state, seq);
    hyb_save_sets(w, &list, &sets);
    hyb_save_list(&list, desc, hash, out);
    hyb_pack_bytes(out, sets.data, sets.n);
    hyb_pack_u32(out, (uint32_t)hyb_saved_number(w, w->seq[seq]));
    if (list.result || sets.result) out->result = list.result ? list.result : sets.result;
    hyb_free(context->rt, list.data);
    hyb_free(context->rt, sets.data);
    return out->result;
}

/* Bytes of both parts. */
static uint64_t hyb_save_seq_size(const hybrid_context *context, int32_t seq, const hybrid_save_desc *desc,
                                  const hyb_pack *worn)
{
    return worn->n + hyb_saved_write_size(context, seq, desc->recompute);
}

/* Both parts. */
static hybrid_result hyb_save_seq_parts(hybrid_context *context, int32_t seq, const hybrid_save_desc *desc,
                                        const hyb_pack *worn, hyb_archive_out *out, hybrid_error *error)
{
    hybrid_result r = hyb_archive_packed(out, "wear", worn, error);
    if (!r) r = hyb_archive_part(out, "stat", hyb_saved_write_size(context, seq, desc->recompute), error);
    return r ? r : hyb_saved_write(context, seq, desc->recompute, hyb_archive_write_some, out, error);
}

static hybrid_result hyb_seq_save(hybrid_context *context, int32_t seq, const hybrid_save_desc *desc,
                                  const hybrid_target *to, hybrid_error *error)
{
    hyb_archive_out out;
    hyb_pack worn;
    hybrid_result r = hyb_save_worn(context, seq, desc, true, &worn, error);
    if (!r) {
        const uint64_t size = hyb_archive_size(2, hyb_save_seq_size(context, seq, desc, &worn));
        r = hyb_archive_begin(&out, context->rt, to, HYB_ARCHIVE_SEQ, hyb_model_identity(context->model), size, error);
        if (!r) r = hyb_save_seq_parts(context, seq, desc, &worn, &out, error);
        r = hyb_archive_end(&out, r, error);
    }
    hyb_free(context->rt, worn.data);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_seq_save,
           (hybrid_context * context, int32_t seq, const hybrid_save_desc *desc, const hybrid_target *to,
            hybrid_error *error),
           (context, seq, desc, to, error))
{
    hybrid_save_desc zero;
    hybrid_result r;
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    if (!context || !to)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_save: %s is NULL", context ? "to" : "context");
    if ((r = hyb_check_free(context, error)) != HYBRID_OK || (r = hyb_check_seq(context, seq, error)) != HYBRID_OK ||
        (r = hyb_save_check(context, desc, error)) != HYBRID_OK)
        return r;
    context->in_use = hyb_process();
    r = hyb_seq_save(context, seq, desc, to, error);
    context->in_use = 0;
    return r;
}

HYB_BORDER(uint64_t, hybrid_seq_save_size, (const hybrid_context *context, int32_t seq, const hybrid_save_desc *desc),
           (context, seq, desc))
{
    hybrid_save_desc zero;
    hyb_pack worn;
    uint64_t size = 0;
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    if (!context || hyb_busy(context->in_use) || hyb_check_seq(context, seq, NULL) ||
        hyb_save_check(context, desc, NULL))
        return 0;
    if (!hyb_save_worn(context, seq, desc, false, &worn, NULL))
        size = hyb_archive_size(2, hyb_save_seq_size(context, seq, desc, &worn));
    hyb_free(context->rt, worn.data);
    return size;
}

/* ---- in ---- */

/* What the part "wear" says, in terms of this context. */
typedef struct hyb_load_worn {
    hybrid_adapter **list; /* (n_list) */
    int32_t *known;        /* (n_known): the place of each set in the context's table; the first is none's */
    uint32_t n_list, n_known;
    int32_t rank, worn; /* the largest rank; the place of what the sequence wears */
} hyb_load_worn;

static hybrid_result hyb_load_damaged(hybrid_error *error)
{
    return hyb_fail(error, HYBRID_ERROR_FORMAT, "the saved game is damaged: what it says of adapters makes no sense");
}

/* The adapter with these values; where several have them, the one of that name. */
static hybrid_result hyb_load_adapter(const hybrid_save_desc *desc, uint64_t hash, uint32_t rank, hybrid_string id,
                                      hybrid_adapter **found, hybrid_error *error)
{
    const bool named = id.size != 0;
    bool same_name = false;
    char text[64];
    size_t i;
    *found = NULL;
    for (i = 0; i < desc->n_adapters; i++) {
        const hybrid_named_adapter *a = &desc->adapters[i];
        const bool same = named && a->id && strlen(a->id) == id.size && !memcmp(a->id, id.data, id.size);
        same_name = same_name || same;
        if ((*found && !same) || hyb_adapter_identity(a->adapter) != hash) continue;
        *found = a->adapter;
    }
    if (*found) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_NOT_FOUND, "the saved game needs the adapter '%s' of rank %lu: %s",
                    hyb_printable(id, text), (unsigned long)rank,
                    same_name ? "the one of that name has other values than it had when the game was saved"
                              : "give it in adapters");
}

static hybrid_result hyb_load_list(const hybrid_context *context, const hybrid_save_desc *desc, hyb_unpack *u,
                                   hyb_load_worn *w, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    uint32_t i;
    w->n_list = hyb_unpack_u32(u);
    if (w->n_list > u->n / 20) return hyb_load_damaged(error); /* bytes of one at least */
    if (!(w->list = (hybrid_adapter **)hyb_calloc(context->rt, w->n_list, sizeof *w->list)))
        return hyb_fail_memory(error, w->n_list * sizeof *w->list);
    for (i = 0; i < w->n_list && !r; i++) {
        const uint64_t hash = hyb_unpack_u64(u);
        const uint32_t rank = hyb_unpack_u32(u);
        const hybrid_string id = hyb_unpack_text(u);
        r = u->bad ? hyb_load_damaged(error) : hyb_load_adapter(desc, hash, rank, id, &w->list[i], error);
    }
    return r;
}

/* The next set, and its place in the table. */
static hybrid_result hyb_load_set(hybrid_context *context, hyb_unpack *u, hyb_load_worn *w, int32_t *place,
                                  hybrid_error *error)
{
    hybrid_adapter *adapters[HYBRID_SEQ_MAX_ADAPTERS];
    float scales[HYBRID_SEQ_MAX_ADAPTERS];
    hyb_adapter_set set;
    hybrid_result r;
    const uint32_t n = hyb_unpack_u32(u);
    uint32_t i, at;
    if (u->bad || !n || n > HYBRID_SEQ_MAX_ADAPTERS) return hyb_load_damaged(error);
    for (i = 0; i < n; i++) {
        at = hyb_unpack_u32(u);
        scales[i] = hyb_unpack_f32(u);
        if (u->bad || at >= w->n_list) return hyb_load_damaged(error);
        adapters[i] = w->list[at];
    }
    if ((r = hyb_adapters_check(context->model, adapters, scales, n, &set, error)) != HYBRID_OK) return r;
    w->rank = HYB_MAX(w->rank, hyb_adapters_rank(&set));
    *place = hyb_worn_place(&context->worn, context->rt, &set, error);
    return *place < 0 ? (hybrid_result)*place : HYBRID_OK;
}

static hybrid_result hyb_load_sets(hybrid_context *context, hyb_unpack *u, hyb_load_worn *w, hybrid_error *error)
{
    const uint32_t n = hyb_unpack_u32(u);
    hybrid_result r = HYBRID_OK;
    uint32_t i, worn;
    if (n > u->n / 12) return hyb_load_damaged(error); /* bytes of one at least */
    if (!(w->known = (int32_t *)hyb_calloc(context->rt, (size_t)n + 1, sizeof *w->known)))
        return hyb_fail_memory(error, ((size_t)n + 1) * sizeof *w->known);
    w->n_known = n + 1;
    for (i = 1; i < w->n_known && !r; i++) r = hyb_load_set(context, u, w, &w->known[i], error);
    if (r) return r;
    worn = hyb_unpack_u32(u);
    if (!hyb_unpack_done(u) || worn >= w->n_known) return hyb_load_damaged(error);
    w->worn = w->known[worn];
    return HYBRID_OK;
}

static void hyb_load_worn_free(hybrid_context *context, hyb_load_worn *w)
{
    hyb_worn_sweep(&context->worn, &context->state);
    hyb_free(context->rt, w->list);
    hyb_free(context->rt, w->known);
}

/* The part "wear". After this, hyb_load_worn_free, whether it fails or not. */
static hybrid_result hyb_load_worn_read(hybrid_context *context, const hybrid_save_desc *desc, hyb_archive_in *in,
                                        hyb_load_worn *w, hybrid_error *error)
{
    hyb_unpack u;
    hybrid_result r = hyb_archive_take(in, "wear", &u, error);
    memset(w, 0, sizeof *w);
    if (!r) r = hyb_load_list(context, desc, &u, w, error);
    if (!r) r = hyb_load_sets(context, &u, w, error);
    hyb_free(context->rt, u.data);
    return r;
}

/* The part "stat" into a sequence that is empty. */
static hybrid_result hyb_load_state(hybrid_context *context, int32_t seq, hyb_archive_in *in, int state,
                                    const hyb_load_worn *w, hybrid_error *error)
{
    const uint64_t at = in->parts[state].at;
    const hybrid_result r = hyb_saved_read(context, seq, &in->file, at, at + in->parts[state].size, w->known,
                                           (int32_t)w->n_known, w->rank, error);
    if (!r) context->worn.seq[seq] = w->worn;
    return r;
}

static hybrid_result hyb_load_find_state(hyb_archive_in *in, int *state, hybrid_error *error)
{
    *state = hyb_archive_find(in, "stat");
    if (*state >= 0) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_FORMAT, "the saved game is damaged: it has no sequence");
}

/* The two parts of an archive that is open, into a sequence that is empty. On failure it is as it was. */
static hybrid_result hyb_load_seq_parts(hybrid_context *context, int32_t seq, const hybrid_save_desc *desc,
                                        hyb_archive_in *in, hybrid_error *error)
{
    hyb_load_worn w;
    int state;
    hybrid_result r = hyb_load_worn_read(context, desc, in, &w, error);
    if (!r) r = hyb_load_find_state(in, &state, error);
    if (!r) r = hyb_archive_all(in, error);
    if (!r) r = hyb_load_state(context, seq, in, state, &w, error);
    hyb_load_worn_free(context, &w);
    return r;
}

/* Whether something can be loaded into a sequence now. */
static hybrid_result hyb_load_check(hybrid_context *context, int32_t seq, hybrid_error *error)
{
    hybrid_result r = hyb_check_free(context, error);
    if (!r) r = hyb_check_seq(context, seq, error);
    if (!r) r = hyb_check_idle(context, error);
    if (r) return r;
    if (context->state.seqs[seq].length)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "sequence %d has %d tokens: remove them before a saved one takes their place", seq,
                        context->state.seqs[seq].length);
    if (hyb_entry_of(context, seq))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "sequence %d has tokens in the batch: decode or clear it before a saved one is loaded", seq);
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_seq_load,
           (hybrid_context * context, int32_t seq, const hybrid_save_desc *desc, const hybrid_source *from,
            hybrid_error *error),
           (context, seq, desc, from, error))
{
    hybrid_save_desc zero;
    hyb_archive_in in;
    hybrid_result r;
    memset(&zero, 0, sizeof zero);
    if (!desc) desc = &zero;
    if (!context || !from) {
        if (from && from->reader.close) from->reader.close(from->reader.user);
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_load: %s is NULL", context ? "from" : "context");
    }
    r = hyb_load_check(context, seq, error);
    if (!r) r = hyb_save_check(context, desc, error);
    if (r) {
        if (from->reader.close) from->reader.close(from->reader.user);
        return r;
    }
    context->in_use = hyb_process();
    r = hyb_archive_open(&in, context->rt, from, HYB_ARCHIVE_SEQ, hyb_model_identity(context->model), error);
    if (!r) {
        r = hyb_load_seq_parts(context, seq, desc, &in, error);
        hyb_archive_close(&in);
    }
    context->in_use = 0;
    return r;
}
#endif
