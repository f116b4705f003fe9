/* infer/texts: what calls share that read many texts in one context, and leave it as it was: the sequences that are
 * empty, and texts as tokens. */
#ifndef HYB_INFER_TEXTS_C
#define HYB_INFER_TEXTS_C
#include "decode.c"

/* Sequences of a context that such a call works in. */
typedef struct hyb_lent {
    hybrid_context *c;
    int32_t *seqs; /* n of them, in the order of their numbers, */
    int32_t *sets; /* and which adapters each wore: places in the context's table */
    int32_t n;
} hyb_lent;

static void hyb_lent_free(hyb_lent *lent)
{
    hyb_free(lent->c->rt, lent->seqs);
    lent->seqs = NULL;
}

/* The empty sequences; at least `least`. caller: the public function, for its sentences. */
static hybrid_result hyb_lent_take(hyb_lent *lent, hybrid_context *c, int32_t least, const char *caller,
                                   hybrid_error *error)
{
    const size_t n = (size_t)c->desc.n_seq, bytes = n * 2 * sizeof(int32_t);
    hybrid_result r = hyb_check_idle(c, error);
    int32_t i;
    memset(lent, 0, sizeof *lent);
    lent->c = c;
    if (r) return r;
    if (c->n_entries)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: tokens are queued in the batch: decode or clear it first",
                        caller);
    if (!(lent->seqs = (int32_t *)hyb_alloc(c->rt, bytes))) return hyb_fail_memory(error, bytes);
    lent->sets = lent->seqs + n;
    for (i = 0; i < c->desc.n_seq; i++) {
        if (c->state.seqs[i].length) continue;
        lent->seqs[lent->n] = i;
        lent->sets[lent->n++] = c->worn.seq[i];
    }
    if (lent->n >= least) return HYBRID_OK;
    hyb_lent_free(lent);
    return hyb_fail(error, HYBRID_ERROR_INVALID,
                    "%s works in %d empty sequence%s, but %d of the context's %d are empty: make it with a larger "
                    "n_seq, or remove sequences",
                    caller, least, least > 1 ? "s or more" : " or more", lent->n, c->desc.n_seq);
}

/* Empties the sequences from number `from` of the list on; they wear what they wore. */
static void hyb_lent_clear(const hyb_lent *lent, int32_t from)
{
    hybrid_context *c = lent->c;
    int32_t i;
    hyb_batch_give_up(c);
    for (i = from; i < lent->n; i++) {
        hyb_seq_cut(&c->state, &c->state.seqs[lent->seqs[i]], 0);
        c->worn.seq[lent->seqs[i]] = lent->sets[i];
    }
}

/* Pages that n more tokens of a sequence of this length take, once it shares what it has with another. */
static int32_t hyb_pages_more(int32_t length, int32_t n)
{
    return (length + n + HYB_PAGE - 1) / HYB_PAGE - length / HYB_PAGE;
}

#ifndef HYBRID_NO_TEXT
/* The tokens of a text, in a block of *n that the caller frees (NULL: none). */
static hybrid_result hyb_text_ids(const hybrid_model *m, hybrid_string text, unsigned flags, int32_t **ids, size_t *n,
                                  hybrid_error *error)
{
    hybrid_error why;
    hybrid_result r = hybrid_tokenize(m->tokenizer, text.data, text.size, flags, NULL, 0, n, &why);
    *ids = NULL;
    if (r && r != HYBRID_ERROR_LIMIT && error) *error = why;
    if (r != HYBRID_ERROR_LIMIT || !*n) return r;
    if (!(*ids = (int32_t *)hyb_alloc(m->rt, *n * sizeof **ids))) return hyb_fail_memory(error, *n * sizeof **ids);
    if ((r = hybrid_tokenize(m->tokenizer, text.data, text.size, flags, *ids, *n, n, error)) == HYBRID_OK) return r;
    hyb_free(m->rt, *ids);
    *ids = NULL;
    return r;
}
#endif
#endif
