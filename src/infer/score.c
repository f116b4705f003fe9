/* infer/score: how likely a model finds texts after a prompt.
 *
 *     prompt   The capital of France is |           computed once, in the first of the empty sequences
 *     text 0                            | Paris .   forks of it, as many as there are sequences and room for,
 *     text 1                            | Rome .    token by token the logarithm of its probability:
 *                                         row of `is`  row of `Paris`
 *
 * The first token of every text is judged by the prompt's last row, and the last token of a text is not computed: no
 * row is wanted after it. */
#ifndef HYB_INFER_SCORE_C
#define HYB_INFER_SCORE_C
#include "../api/score.h"
#include "select.c"
#include "texts.c"

/* What is to be scored, as tokens. */
typedef struct hyb_score_text {
    const int32_t *ids;
    int32_t n, done, seq; /* tokens, those that have been computed, and in which sequence; -1: none yet */
    size_t first;         /* of its places in `each` */
} hyb_score_text;

typedef struct hyb_score_token {
    double log_p;
    bool is_best;
} hyb_score_token;

typedef struct hyb_scorer {
    hybrid_context *c;
    hyb_lent lent; /* the first holds the prompt */
    const int32_t *prompt;
    int32_t n_prompt;
    hyb_score_text *texts;
    size_t n_texts;
    hyb_score_token *each; /* of all tokens of all texts */
} hyb_scorer;

/* ---- one token --------------------------------------------------------------------------------------------------- */

/* ln of the share of token id in a row of n logits. */
static hybrid_result hyb_score_row(const float *row, int32_t n, int32_t id, hyb_score_token *token, hybrid_error *error)
{
    double sum = 0;
    float most = row[0];
    int32_t i;
    for (i = 1; i < n; i++) most = HYB_MAX(most, row[i]);
    for (i = 0; i < n; i++) {
        const double z = (double)row[i] - (double)most;
        if (z != z)
            return hyb_fail(error, HYBRID_ERROR_NUMERIC,
                            "hybrid_score: logit %d is not a number, or infinite: the model is damaged", i);
        if (z > -HYB_SELECT_NOTHING) sum += hyb_exp_negative(z);
    }
    token->log_p = (double)row[id] - (double)most - log(sum);
    token->is_best = row[id] == most;
    return HYBRID_OK;
}

/* Token `at` of a text, by row `row` of a sequence. */
static hybrid_result hyb_score_at(hyb_scorer *s, const hyb_score_text *t, int32_t at, int32_t seq, int32_t row,
                                  hybrid_error *error)
{
    const float *logits = hybrid_logits_at(s->c, seq, row);
    if (logits)
        return hyb_score_row(logits, s->c->forward.n_tokens, t->ids[at], &s->each[t->first + (size_t)at], error);
    return hyb_fail(error, HYBRID_ERROR_DEVICE, "hybrid_score: the logits went with the GPU, which failed: call again");
}

/* ---- the texts --------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_score_prompt(hyb_scorer *s, hybrid_error *error)
{
    const int32_t seq = s->lent.seqs[0];
    hybrid_result r = hybrid_batch_add(s->c, seq, s->prompt, (size_t)s->n_prompt, error);
    size_t i;
    if (!r) r = hybrid_decode(s->c, error);
    for (i = 0; i < s->n_texts && !r; i++) r = hyb_score_at(s, &s->texts[i], 0, seq, 0, error);
    return r;
}

/* Forks the prompt for texts from `from` on, as many as there are sequences and pages for, and one at least. Returns
 * the text after the last of them. */
static size_t hyb_score_fork(hyb_scorer *s, size_t from, hybrid_error *error)
{
    hybrid_context *c = s->c;
    int32_t room = c->state.pages.n_free, used = 1;
    for (; from < s->n_texts && used < s->lent.n; from++) {
        hyb_score_text *t = &s->texts[from];
        const int32_t need = hyb_pages_more(s->n_prompt, t->n - 1);
        if (t->n == 1) continue;
        if (need > room && used > 1) break;
        room -= need;
        t->seq = s->lent.seqs[used++];
        hybrid_seq_fork(c, s->lent.seqs[0], t->seq, error);
    }
    return from;
}

/* Queues what has been forked and is not computed yet, as far as there are rows for logits. Returns how many rows. */
static int32_t hyb_score_queue(hyb_scorer *s, size_t from, size_t end, int32_t *queued, hybrid_result *r,
                               hybrid_error *error)
{
    int32_t rows = HYB_MIN(s->c->desc.n_logits, s->c->desc.n_ctx), used = 0;
    for (; from < end && !*r; from++) {
        const hyb_score_text *t = &s->texts[from];
        const int32_t n = HYB_MIN(t->n - 1 - t->done, rows - used);
        queued[from] = 0;
        if (t->seq < 0 || n <= 0) continue;
        *r = hybrid_batch_add_logits(s->c, t->seq, t->ids + t->done, (size_t)n, n, error);
        queued[from] = n;
        used += n;
    }
    return used;
}

/* Texts from..end, which have their sequences. */
static hybrid_result hyb_score_round(hyb_scorer *s, size_t from, size_t end, int32_t *queued, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    size_t i;
    int32_t k;
    while (hyb_score_queue(s, from, end, queued, &r, error) && !r) {
        r = hybrid_decode(s->c, error);
        for (i = from; i < end && !r; i++) {
            hyb_score_text *t = &s->texts[i];
            for (k = 0; k < queued[i] && !r; k++) r = hyb_score_at(s, t, t->done + k + 1, t->seq, k, error);
            t->done += queued[i];
        }
    }
    return r;
}

static void hyb_score_tell(const hyb_scorer *s, hybrid_score_info *scores)
{
    size_t i;
    int32_t k;
    for (i = 0; i < s->n_texts; i++) {
        const hyb_score_text *t = &s->texts[i];
        hybrid_score_info *info = &scores[i];
        info->sum = 0;
        info->n_tokens = (size_t)t->n;
        info->n_best = 0;
        for (k = 0; k < t->n; k++) {
            const hyb_score_token *token = &s->each[t->first + (size_t)k];
            info->sum += token->log_p;
            info->n_best += token->is_best;
            if (info->each && (size_t)k < info->n_room) info->each[k] = (float)token->log_p;
        }
        info->mean = info->sum / (double)t->n;
    }
}

/* Everything is allocated before the first decode. */
static hybrid_result hyb_score_all(hyb_scorer *s, hybrid_score_info *scores, hybrid_error *error)
{
    const size_t n = s->texts[s->n_texts - 1].first + (size_t)s->texts[s->n_texts - 1].n, bytes = n * sizeof *s->each;
    int32_t *queued = (int32_t *)hyb_calloc(s->c->rt, s->n_texts, sizeof *queued);
    hybrid_result r = HYBRID_OK;
    size_t from, end;
    s->each = (hyb_score_token *)hyb_alloc(s->c->rt, bytes);
    if (!s->each || !queued) r = hyb_fail_memory(error, bytes);
    if (!r) r = hyb_score_prompt(s, error);
    for (from = 0; from < s->n_texts && !r; from = end) {
        end = hyb_score_fork(s, from, error);
        r = hyb_score_round(s, from, end, queued, error);
        hyb_lent_clear(&s->lent, 1);
    }
    if (s->each && queued) hyb_lent_clear(&s->lent, 0);
    if (!r) hyb_score_tell(s, scores);
    hyb_free(s->c->rt, queued);
    hyb_free(s->c->rt, s->each);
    return r;
}

/* ---- what is asked ----------------------------------------------------------------------------------------------- */

static hybrid_result hyb_score_check_ids(const hyb_scorer *s, const int32_t *ids, size_t n, int32_t n_ids,
                                         const char *what, size_t which, hybrid_error *error)
{
    size_t i;
    if (!ids || !n)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_score: %s %.0f has no tokens, and must have one or more",
                        what, (double)which);
    if (n > (size_t)s->c->desc.n_ctx)
        return hyb_fail(error, HYBRID_ERROR_CONTEXT_FULL,
                        "hybrid_score: %s %.0f has %.0f tokens, but the context has n_ctx = %d", what, (double)which,
                        (double)n, s->c->desc.n_ctx);
    for (i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= n_ids)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_score: token %.0f of %s %.0f is %d, but the model's tokens are 0..%d", (double)i,
                            what, (double)which, ids[i], n_ids - 1);
    return HYBRID_OK;
}

static hybrid_result hyb_score_ids(hyb_scorer *s, const int32_t *prompt, size_t n_prompt, const int32_t *const *ids,
                                   const size_t *n_ids, hybrid_score_info *scores, hybrid_error *error)
{
    const size_t bytes = s->n_texts * sizeof *s->texts;
    hybrid_result r = hyb_score_check_ids(s, prompt, n_prompt, s->c->model->hp.n_vocab, "prompt", 0, error);
    size_t i, first = 0;
    for (i = 0; i < s->n_texts && !r; i++)
        r = hyb_score_check_ids(s, ids[i], n_ids[i], s->c->forward.n_tokens, "text", i, error);
    if (r) return r;
    if (!(s->texts = (hyb_score_text *)hyb_calloc(s->c->rt, s->n_texts, sizeof *s->texts)))
        return hyb_fail_memory(error, bytes);
    s->prompt = prompt;
    s->n_prompt = (int32_t)n_prompt;
    for (i = 0; i < s->n_texts; i++) {
        s->texts[i].ids = ids[i];
        s->texts[i].n = (int32_t)n_ids[i];
        s->texts[i].seq = -1;
        s->texts[i].first = first;
        first += n_ids[i];
    }
    if ((r = hyb_lent_take(&s->lent, s->c, 2, "hybrid_score", error)) == HYBRID_OK) {
        r = hyb_score_all(s, scores, error);
        hyb_lent_free(&s->lent);
    }
    hyb_free(s->c->rt, s->texts);
    return r;
}

#ifndef HYBRID_NO_TEXT
/* The prompt alone, and followed by each text: n_texts + 1 arrays of tokens. */
typedef struct hyb_score_words {
    int32_t **ids;
    size_t *n, n_arrays;
    char *joined; /* the prompt and a text */
} hyb_score_words;

static void hyb_score_words_free(hyb_score_words *w, hybrid_runtime *rt)
{
    size_t i;
    for (i = 0; w->ids && i < w->n_arrays; i++) hyb_free(rt, w->ids[i]);
    hyb_free(rt, w->ids);
    hyb_free(rt, w->n);
    hyb_free(rt, w->joined);
}

static hybrid_result hyb_score_words_make(hyb_score_words *w, const hybrid_model *m, const hybrid_score_desc *desc,
                                          hybrid_error *error)
{
    const hybrid_string prompt = hyb_string(desc->prompt ? desc->prompt : "");
    const unsigned flags = HYBRID_TOKENIZE_ADD_SPECIAL | (desc->special ? HYBRID_TOKENIZE_PARSE_SPECIAL : 0);
    hybrid_result r = HYBRID_OK;
    hybrid_string whole;
    size_t i, most = 0;
    for (i = 0; i < desc->n_texts; i++) {
        if (!desc->texts[i] || !desc->texts[i][0])
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_score: text %.0f is empty", (double)i);
        most = HYB_MAX(most, strlen(desc->texts[i]));
    }
    w->n_arrays = desc->n_texts + 1;
    w->ids = (int32_t **)hyb_calloc(m->rt, w->n_arrays, sizeof *w->ids);
    w->n = (size_t *)hyb_calloc(m->rt, w->n_arrays, sizeof *w->n);
    w->joined = (char *)hyb_alloc(m->rt, prompt.size + most);
    if (!w->ids || !w->n || !w->joined) return hyb_fail_memory(error, prompt.size + most);
    memcpy(w->joined, prompt.data, prompt.size);
    whole.data = w->joined;
    for (i = 0; i < w->n_arrays && !r; i++) {
        const hybrid_string text = hyb_string(i ? desc->texts[i - 1] : "");
        memcpy(w->joined + prompt.size, text.data, text.size);
        whole.size = prompt.size + text.size;
        r = hyb_text_ids(m, whole, flags, &w->ids[i], &w->n[i], error);
        if (!r && w->n[i] && hybrid_tokenizer_adds_eos(m->tokenizer)) w->n[i]--; /* the text goes on */
    }
    return r;
}

/* Tokens that the prompt has in common with all of the texts, so that each has one left at least. */
static size_t hyb_score_common(const hyb_score_words *w)
{
    size_t common = w->n[0], i, k;
    for (i = 1; i < w->n_arrays; i++) {
        common = HYB_MIN(common, w->n[i] ? w->n[i] - 1 : 0);
        for (k = 0; k < common && w->ids[i][k] == w->ids[0][k]; k++) {}
        common = k;
    }
    return common;
}

static hybrid_result hyb_score_texts(hyb_scorer *s, const hybrid_score_desc *desc, hybrid_score_info *scores,
                                     hybrid_error *error)
{
    hybrid_runtime *rt = s->c->rt;
    hyb_score_words w;
    hybrid_result r;
    size_t common, i;
    memset(&w, 0, sizeof w);
    r = hyb_score_words_make(&w, s->c->model, desc, error);
    if (!r && (common = hyb_score_common(&w)) == 0)
        r = hyb_fail(error, HYBRID_ERROR_INVALID,
                     "hybrid_score: the texts have no token before them that all of them share: give a prompt");
    else if (!r) {
        const int32_t **tails = (const int32_t **)hyb_alloc(rt, s->n_texts * sizeof *tails);
        for (i = 0; i < s->n_texts && tails; i++) {
            tails[i] = w.ids[i + 1] + common;
            w.n[i + 1] -= common;
        }
        r = tails ? hyb_score_ids(s, w.ids[0], common, tails, w.n + 1, scores, error)
                  : hyb_fail_memory(error, s->n_texts * sizeof *tails);
        hyb_free(rt, tails);
    }
    hyb_score_words_free(&w, rt);
    return r;
}
#endif

HYB_BORDER(hybrid_result, hybrid_score,
           (hybrid_context * context, const hybrid_score_desc *desc, hybrid_score_info *scores, hybrid_error *error),
           (context, desc, scores, error))
{
    hyb_scorer s;
    hybrid_result r;
    if (!context || !desc || !scores)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_score: %s is NULL",
                        !context ? "context"
                        : desc   ? "scores"
                                 : "desc");
    if ((r = hyb_check_idle(context, error)) != HYBRID_OK) return r;
    if (!desc->n_texts || (!desc->texts && (!desc->text_ids || !desc->n_text_ids)))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_score: there are no texts to score");
    memset(&s, 0, sizeof s);
    s.c = context;
    s.n_texts = desc->n_texts;
    if (!desc->texts)
        return hyb_score_ids(&s, desc->prompt_ids, desc->n_prompt_ids, desc->text_ids, desc->n_text_ids, scores, error);
#ifndef HYBRID_NO_TEXT
    return hyb_score_texts(&s, desc, scores, error);
#else
    return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                    "hybrid_score: this build has no tokenizers (HYBRID_NO_TEXT): give tokens");
#endif
}
#endif
