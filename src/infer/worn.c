/* infer/worn: which adapters each sequence of a context wears, and what its positions were read with.
 *
 *     seq     [ 2 | 0 | 2 | 5 ]            of each sequence: a place in
 *     sets    [ none | - | a | - | - | a + 0.5 b ]
 *
 * Equal sets have one place, so that runs which wear the same are known by a number. A place is free again when neither
 * a sequence nor a position of one refers to it; a set holds its adapters until then. Positions refer to sets because
 * what the cache holds may be computed again, each position with what it was read with: when a GPU is lost, and when a
 * game was saved without it. */
#ifndef HYB_INFER_WORN_C
#define HYB_INFER_WORN_C
#include "../model/model.c"
#include "state.c"

typedef struct hyb_worn {
    hyb_adapter_set *sets; /* the first is none; n < 0: free */
    int32_t n_sets;        /* 0: nothing was ever worn */
    int32_t *seq, *run;    /* of each sequence; of each run of a batch */
} hyb_worn;

static void hyb_worn_drop(hyb_adapter_set *set)
{
    for (; set->n > 0; set->n--) hyb_adapter_release(set->use[set->n - 1].adapter);
    set->n = -1;
}

static void hyb_worn_free(hyb_worn *w, hybrid_runtime *rt)
{
    for (; w->n_sets > 0; w->n_sets--) hyb_worn_drop(&w->sets[w->n_sets - 1]);
    hyb_free(rt, w->sets);
    w->sets = NULL;
}

static bool hyb_worn_same(const hyb_adapter_set *a, const hyb_adapter_set *b)
{
    int32_t i;
    for (i = 0; i < a->n && a->n == b->n; i++)
        if (a->use[i].adapter != b->use[i].adapter || a->use[i].scale != b->use[i].scale) return false;
    return a->n == b->n;
}

/* The place of a set, taken if it is new; negative: a result. */
static int32_t hyb_worn_place(hyb_worn *w, hybrid_runtime *rt, const hyb_adapter_set *set, hybrid_error *error)
{
    const size_t old_bytes = (size_t)w->n_sets * sizeof *w->sets, bytes = old_bytes + 2 * sizeof *w->sets;
    hyb_adapter_set *more;
    int32_t i, k, at = w->n_sets;
    for (i = 0; i < w->n_sets; i++) {
        if (hyb_worn_same(&w->sets[i], set)) return i;
        if (w->sets[i].n < 0) at = i;
    }
    if (!set->n && !w->n_sets) return 0;
    if (at == w->n_sets) {
        if (!(more = (hyb_adapter_set *)hyb_realloc(rt, w->sets, old_bytes, bytes)))
            return (int32_t)hyb_fail_memory(error, bytes);
        if (!w->n_sets) memset(more, 0, sizeof *more); /* none */
        at = HYB_MAX(at, 1);
        memset(&more[at], 0, sizeof *more);
        w->sets = more;
        w->n_sets = at + 1;
    }
    w->sets[at] = *set;
    for (k = 0; k < set->n; k++) hyb_adapter_retain(set->use[k].adapter);
    return at;
}

/* Marks the places that a sequence and its positions refer to. */
static void hyb_worn_mark(hyb_worn *w, const hyb_state *s, int32_t seq)
{
    int32_t p;
    if (!w->n_sets) return;
    w->sets[w->seq[seq]].used = true;
    for (p = 0; p < s->seqs[seq].length; p++) w->sets[s->sets[hyb_seq_place(&s->seqs[seq], p)]].used = true;
}

static void hyb_worn_unmark(hyb_worn *w)
{
    int32_t i;
    for (i = 0; i < w->n_sets; i++) w->sets[i].used = false;
}

/* Frees the places that neither a sequence nor one of its positions refers to. */
static void hyb_worn_sweep(hyb_worn *w, const hyb_state *s)
{
    int32_t i;
    hyb_worn_unmark(w);
    for (i = 0; i < s->n_seq; i++) hyb_worn_mark(w, s, i);
    for (i = 1; i < w->n_sets; i++)
        if (w->sets[i].n > 0 && !w->sets[i].used) hyb_worn_drop(&w->sets[i]);
}

/* For a pass over these runs, whose sets are in w->run. */
static void hyb_worn_begin(const hyb_worn *w, hyb_forward *f, int32_t n_runs)
{
    int32_t i;
    f->sets = w->sets;
    f->set_of_run = NULL;
    for (i = 0; i < n_runs && !f->set_of_run; i++)
        if (w->run[i]) f->set_of_run = w->run;
}
#endif
