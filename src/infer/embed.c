/* infer/embed: texts as vectors: the final states of their tokens, pooled.
 *
 *     texts      The cat sleeps. | A cat is asleep. | ...      a round: as many as there are sequences and room for
 *     chunk      x x x x x x       x x x x x x                 rows of a pass through the model
 *     states     s s s s s s       s s s s s s                 (rows, E), each added to the sum of its text
 *     vectors         v                 v                      pooled, and made as long as 1
 *
 * Sums are in double precision and in the order of a text's tokens, so they do not depend on how chunks are cut. */
#ifndef HYB_INFER_EMBED_C
#define HYB_INFER_EMBED_C
#include "../api/embed.h"
#include "texts.c"

typedef struct hyb_embed_text {
    const int32_t *ids;
    int32_t n;
    int32_t *own; /* NULL, or the block of ids */
} hyb_embed_text;

typedef struct hyb_embedder {
    hybrid_context *c;
    const hybrid_embed_desc *desc;
    hyb_lent lent;
    hybrid_pooling pooling;
    int32_t most;          /* tokens of a text */
    hyb_embed_text *round; /* n_round texts, and room for one more, which did not fit */
    int32_t n_round;
    bool is_left;    /* round[n_round] is the next text */
    double *sums;    /* (lent.n, E) */
    float *states;   /* (n_batch, E) */
    int32_t at, row; /* text of the round, and token of it, of the next row */
} hyb_embedder;

/* ---- pooling ----------------------------------------------------------------------------------------------------- */

/* n rows of states, in the order of the texts. */
static void hyb_embed_add(hyb_embedder *e, int32_t n)
{
    const int64_t width = e->c->model->hp.n_embd;
    int64_t k;
    int32_t i;
    for (i = 0; i < n; i++) {
        const int32_t last = e->round[e->at].n - 1;
        const float *state = e->states + i * width;
        double *sum = e->sums + e->at * width;
        const bool is_first = e->row == 0;
        if (is_first) memset(sum, 0, (size_t)width * sizeof *sum);
        if (e->pooling == HYBRID_POOLING_MEAN || (e->pooling == HYBRID_POOLING_CLS && is_first) ||
            (e->pooling == HYBRID_POOLING_LAST && e->row == last))
            for (k = 0; k < width; k++) sum[k] += (double)state[k];
        if (e->row++ < last) continue;
        e->at++;
        e->row = 0;
    }
}

/* vector (E) = what a text of n tokens has summed up to. */
static hybrid_result hyb_embed_tell(const hyb_embedder *e, const double *sum, int32_t n, float *vector,
                                    hybrid_error *error)
{
    const int32_t width = e->c->model->hp.n_embd;
    double squares = 0, factor = e->pooling == HYBRID_POOLING_MEAN ? 1.0 / n : 1;
    int32_t k;
    for (k = 0; k < width; k++) squares += sum[k] * sum[k];
    if (!(squares < HUGE_VAL))
        return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                        "hybrid_embed: states are not finite numbers: the model is damaged");
    if (!e->desc->raw && squares > 0) factor = 1 / sqrt(squares);
    for (k = 0; k < width; k++) vector[k] = (float)(sum[k] * factor);
    return HYBRID_OK;
}

/* ---- a round ----------------------------------------------------------------------------------------------------- */

static void hyb_embed_forget(hyb_embedder *e, int32_t from, int32_t end)
{
    for (; from < end; from++) {
        hyb_free(e->c->rt, e->round[from].own);
        memset(&e->round[from], 0, sizeof e->round[from]);
    }
}

/* The tokens of text i of the call. */
static hybrid_result hyb_embed_ids(hyb_embedder *e, size_t i, hyb_embed_text *t, hybrid_error *error)
{
    const hybrid_embed_desc *d = e->desc;
    const hybrid_model *m = e->c->model;
    size_t n = 0, k;
    if (!d->texts) {
        t->ids = d->ids[i];
        n = t->ids ? d->n_ids[i] : 0;
    }
#ifndef HYBRID_NO_TEXT
    if (d->texts && d->texts[i]) {
        const hybrid_result r =
            hyb_text_ids(m, hyb_string(d->texts[i]), HYBRID_TOKENIZE_ADD_SPECIAL, &t->own, &n, error);
        if (r) return r;
        t->ids = t->own;
    }
#endif
    if (!n) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_embed: text %.0f has no tokens", (double)i);
    for (k = 0; k < n; k++)
        if (t->ids[k] < 0 || t->ids[k] >= m->hp.n_vocab)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_embed: token %.0f of text %.0f is %d, but the model's tokens are 0..%d", (double)k,
                            (double)i, t->ids[k], m->hp.n_vocab - 1);
    if (n > (size_t)e->most && !d->truncate)
        return hyb_fail(
            error, HYBRID_ERROR_LIMIT,
            "hybrid_embed: text %.0f has %.0f tokens, and the context and the model can take %d: cut it, or "
            "set truncate",
            (double)i, (double)n, e->most);
    t->n = (int32_t)HYB_MIN(n, (size_t)e->most);
#ifndef HYBRID_NO_TEXT
    if ((size_t)t->n < n && t->own && hybrid_tokenizer_adds_eos(m->tokenizer)) t->own[t->n - 1] = t->own[n - 1];
#endif
    return HYBRID_OK;
}

/* Texts from `from` on, as many as there are sequences, tokens of a batch and pages for. One more may have been read:
 * it is the first of the next round. */
static hybrid_result hyb_embed_fill(hyb_embedder *e, size_t from, hybrid_error *error)
{
    const hybrid_context *c = e->c;
    int32_t tokens = 0, pages = 0;
    hybrid_result r;
    if (e->is_left) {
        e->round[0] = e->round[e->n_round];
        if (e->n_round) memset(&e->round[e->n_round], 0, sizeof *e->round);
    }
    for (e->n_round = 0; e->n_round < e->lent.n && from < e->desc->n_texts; e->n_round++, from++) {
        hyb_embed_text *t = &e->round[e->n_round];
        if (!e->is_left && (r = hyb_embed_ids(e, from, t, error)) != HYBRID_OK) return r;
        e->is_left = true;
        tokens += t->n;
        pages += hyb_pages_more(0, t->n);
        if (e->n_round && (tokens > c->desc.n_ctx || pages > c->state.pages.n_free)) return HYBRID_OK;
        e->is_left = false;
    }
    return HYBRID_OK;
}

/* Decodes what is queued, and pools the states of each chunk. A GPU that fails begins the batch anew. */
static hybrid_result hyb_embed_decode(hyb_embedder *e, hybrid_error *error)
{
    hybrid_context *c = e->c;
    hybrid_result r = c->forward.n_stages ? HYBRID_OK : hyb_context_again(c, error);
    if (!r) r = hyb_decode_begin(c, error);
    while (!r && c->progress.running) {
        if (!c->progress.entry && !c->progress.offset && c->progress.layer == HYB_CHUNK_NEXT) e->at = e->row = 0;
        r = hyb_decode_unit_any(c, UINT64_MAX, error);
        if (!r && c->progress.layer == HYB_CHUNK_NEXT && c->progress.chunk.n) {
            hyb_embed_add(e, c->progress.chunk.n);
            c->progress.chunk.n = 0;
        }
    }
    return r;
}

static hybrid_result hyb_embed_round(hyb_embedder *e, float *vectors, hybrid_error *error)
{
    hybrid_context *c = e->c;
    const int64_t width = c->model->hp.n_embd;
    hybrid_result r = HYBRID_OK;
    int32_t i;
    c->forward.states = e->states;
    for (i = 0; i < e->n_round && !r; i++)
        r = hybrid_batch_add_logits(c, e->lent.seqs[i], e->round[i].ids, (size_t)e->round[i].n, 0, error);
    if (!r) {
        c->in_use = hyb_process();
        r = hyb_embed_decode(e, error);
        c->in_use = 0;
    }
    c->forward.states = NULL;
    memset(c->logits_n, 0, (size_t)c->desc.n_seq * sizeof *c->logits_n);
    hyb_lent_clear(&e->lent, 0);
    for (i = 0; i < e->n_round && !r; i++)
        r = hyb_embed_tell(e, e->sums + i * width, e->round[i].n, vectors + i * width, error);
    return r;
}

/* ---- the call ---------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_embed_all(hyb_embedder *e, float *vectors, hybrid_error *error)
{
    const hybrid_embed_desc *d = e->desc;
    const int64_t width = e->c->model->hp.n_embd;
    hybrid_result r = HYBRID_OK;
    size_t at;
    for (at = 0; at < d->n_texts && !r; at += (size_t)e->n_round) {
        if ((r = hyb_embed_fill(e, at, error)) != HYBRID_OK) break;
        r = hyb_embed_round(e, vectors + (int64_t)at * width, error);
        hyb_embed_forget(e, 0, e->n_round);
        if (!r &&
            !hyb_report(d->progress, d->progress_user, (float)((double)(at + (size_t)e->n_round) / (double)d->n_texts)))
            r = hyb_fail(error, HYBRID_ERROR_CANCELLED, "hybrid_embed: cancelled after %.0f of %.0f texts",
                         (double)(at + (size_t)e->n_round), (double)d->n_texts);
    }
    hyb_embed_forget(e, 0, e->lent.n + 1);
    return r;
}

/* What the file says, where the caller does not. */
static hybrid_result hyb_embed_pooling(const hyb_hparams *hp, hybrid_pooling asked, hybrid_pooling *pooling,
                                       hybrid_error *error)
{
    *pooling = asked;
    if ((unsigned)asked > HYBRID_POOLING_LAST)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_embed: pooling is %d, which is not one of hybrid_pooling",
                        (int)asked);
    if (asked) return HYBRID_OK;
    *pooling = hp->pooling > 0 ? (hybrid_pooling)hp->pooling : HYBRID_POOLING_MEAN;
    if (hp->pooling <= (int32_t)HYBRID_POOLING_LAST) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                    "hybrid_embed: the model's key 'pooling_type' is %d, which hybrid does not do: ask for another "
                    "pooling",
                    hp->pooling);
}

/* Memory for rounds, all of it before the first one. */
static hybrid_result hyb_embed_memory(hyb_embedder *e, hybrid_error *error)
{
    const size_t width = (size_t)e->c->model->hp.n_embd, n = (size_t)e->lent.n;
    const size_t states = width * (size_t)e->c->desc.n_batch * sizeof(float);
    hybrid_runtime *rt = e->c->rt;
    e->round = (hyb_embed_text *)hyb_calloc(rt, n + 1, sizeof *e->round);
    e->sums = (double *)hyb_calloc(rt, n * width, sizeof *e->sums);
    e->states = (float *)hyb_alloc(rt, states);
    return e->round && e->sums && e->states ? HYBRID_OK : hyb_fail_memory(error, states);
}

static hybrid_result hyb_embed(hyb_embedder *e, float *vectors, hybrid_error *error)
{
    const hybrid_context *c = e->c;
    const hyb_hparams *hp = &c->model->hp;
    hybrid_result r;
    e->most = hp->arch->has & HYB_HAS_POS_EMBD ? HYB_MIN(c->desc.n_ctx, hp->n_ctx_train) : c->desc.n_ctx;
    if (hyb_context_encodes(c)) e->most = HYB_MIN(e->most, c->desc.n_batch);
    if ((r = hyb_embed_pooling(hp, e->desc->pooling, &e->pooling, error)) != HYBRID_OK ||
        (r = hyb_lent_take(&e->lent, e->c, 1, "hybrid_embed", error)) != HYBRID_OK)
        return r;
    r = hyb_embed_memory(e, error);
    if (!r) r = hyb_embed_all(e, vectors, error);
    hyb_free(c->rt, e->round);
    hyb_free(c->rt, e->sums);
    hyb_free(c->rt, e->states);
    hyb_lent_free(&e->lent);
    return r;
}

HYB_BORDER(hybrid_result, hybrid_embed,
           (hybrid_context * context, const hybrid_embed_desc *desc, float *vectors, hybrid_error *error),
           (context, desc, vectors, error))
{
    hyb_embedder e;
    hybrid_result r;
    if (!context || !desc || !vectors)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_embed: %s is NULL",
                        !context ? "context"
                        : desc   ? "vectors"
                                 : "desc");
    if ((r = hyb_check_idle(context, error)) != HYBRID_OK) return r;
    if (!desc->n_texts || (!desc->texts && (!desc->ids || !desc->n_ids)))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_embed: there are no texts");
#ifdef HYBRID_NO_TEXT
    if (desc->texts)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "hybrid_embed: this build has no tokenizers (HYBRID_NO_TEXT): give tokens");
#endif
    memset(&e, 0, sizeof e);
    e.c = context;
    e.desc = desc;
    return hyb_embed(&e, vectors, error);
}
#endif
