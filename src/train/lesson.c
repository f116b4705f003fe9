/* train/lesson: examples as tokens, and the batches of a step.
 *
 *     ids       | a b c d e | f g h | ...      items one after the other, each from `at` of its number on
 *     targets   | - - d e . | - h . | ...      what should come next, where the answer is; -1 elsewhere
 *
 * The items of a step are cut into batches of about equal length, filled up to the longest of each. */
#ifndef HYB_TRAIN_LESSON_C
#define HYB_TRAIN_LESSON_C
#include "../api/learn.h"
#include "../core/grow.c"
#include "../model/model.c"
#include "permute.c"
#ifndef HYBRID_NO_TEXT
    #include "conversation.c"
#endif

enum { HYB_LESSON_ROWS = 512 }; /* of a batch, unless one example is longer */

typedef struct hyb_item {
    size_t at;
    int32_t n; /* tokens that are read: one less than it has */
    float weight;
} hyb_item;

typedef struct hyb_lesson {
    hybrid_runtime *rt;
    int32_t *ids, *targets;
    size_t n_tokens, ids_room, targets_room;
    hyb_item *items;
    size_t n_items, items_room;
    int32_t longest; /* of the items */
    /* of the step that is under way: */
    int32_t *row_ids, *row_targets; /* of its batches */
    float *row_weights;
    hybrid_train_batch *batches;
    int32_t n_batches;
    void *block; /* of these four */
    /* the lesson: */
    hybrid_learn_desc desc; /* with every zero replaced by what is used; its examples are gone */
    int32_t done;           /* steps */
    double loss, first_loss;
    double round_loss; /* sums over the steps of a round */
    int32_t round_steps;
} hyb_lesson;

static void hyb_lesson_free(hyb_lesson *l)
{
    if (!l) return;
    hyb_free(l->rt, l->ids);
    hyb_free(l->rt, l->targets);
    hyb_free(l->rt, l->items);
    hyb_free(l->rt, l->block);
    hyb_free(l->rt, l);
}

/* ---- items ------------------------------------------------------------------------------------------------------- */

/* Room for an item of n + 1 tokens at the end; it is there once it is filled. */
static hybrid_result hyb_lesson_room(hyb_lesson *l, size_t n, hybrid_error *error)
{
    hybrid_result r = HYB_GROW(l->rt, l->ids, l->ids_room, l->n_tokens, l->n_tokens + n, error);
    if (!r) r = HYB_GROW(l->rt, l->targets, l->targets_room, l->n_tokens, l->n_tokens + n, error);
    if (!r) r = HYB_GROW(l->rt, l->items, l->items_room, l->n_items, l->n_items + 1, error);
    return r;
}

static void hyb_lesson_take(hyb_lesson *l, size_t n, float weight)
{
    hyb_item *item = &l->items[l->n_items++];
    item->at = l->n_tokens;
    item->n = (int32_t)n;
    item->weight = weight;
    l->n_tokens += n;
    l->longest = HYB_MAX(l->longest, item->n);
}

static hybrid_result hyb_lesson_long(const hybrid_model *m, size_t i, size_t n, hybrid_error *error)
{
    const int32_t most = m->hp.n_ctx_train;
    if (n <= (size_t)most + 1) return HYBRID_OK;
    return hyb_fail(error, HYBRID_ERROR_LIMIT, "example %llu has %llu tokens, and the model's context %d: cut it",
                    (unsigned long long)i, (unsigned long long)n, most);
}

static hybrid_result hyb_lesson_ids(hyb_lesson *l, const hybrid_model *m, const hybrid_example *e, size_t i,
                                    hybrid_error *error)
{
    size_t k;
    hybrid_result r;
    if (!e->ids || e->n_prompt < 1 || e->n_prompt >= e->n_ids)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "example %llu has neither an answer nor tokens of one: %llu ids, of which %llu are its prompt",
                        (unsigned long long)i, (unsigned long long)e->n_ids, (unsigned long long)e->n_prompt);
    if ((r = hyb_lesson_long(m, i, e->n_ids, error)) != HYBRID_OK) return r;
    for (k = 0; k < e->n_ids; k++)
        if (e->ids[k] < 0 || e->ids[k] >= m->hp.n_vocab)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "token %llu of example %llu is %d; the model has 0 to %d",
                            (unsigned long long)k, (unsigned long long)i, e->ids[k], m->hp.n_vocab - 1);
    if ((r = hyb_lesson_room(l, e->n_ids, error)) != HYBRID_OK) return r;
    for (k = 0; k + 1 < e->n_ids; k++) {
        l->ids[l->n_tokens + k] = e->ids[k];
        l->targets[l->n_tokens + k] = k + 1 < e->n_prompt ? -1 : e->ids[k + 1];
    }
    hyb_lesson_take(l, e->n_ids - 1, e->weight == 0 ? 1 : e->weight);
    return HYBRID_OK;
}

#ifndef HYBRID_NO_TEXT
/* The pieces that an example became. */
static hybrid_result hyb_lesson_pieces(hyb_lesson *l, const hybrid_model *m, const hyb_corpus *c,
                                       const hybrid_example *e, size_t i, hybrid_error *error)
{
    size_t p, k;
    hybrid_result r = HYBRID_OK;
    for (p = 0; p < c->n_pieces && !r; p++) {
        const hyb_piece *piece = &c->pieces[p];
        const size_t n = (size_t)piece->n - 1;
        int32_t *ids, *targets;
        if ((r = hyb_lesson_long(m, i, n + 1, error)) != HYBRID_OK) return r;
        if ((r = hyb_lesson_room(l, n + 1, error)) != HYBRID_OK) return r;
        ids = l->ids + l->n_tokens;
        targets = l->targets + l->n_tokens;
        if ((r = hyb_corpus_read(c, 0, piece->at, n + 1, ids, error)) != HYBRID_OK) return r;
        for (k = 0; k < n; k++) targets[k] = hyb_corpus_marked(c, piece->at + k + 1) ? ids[k + 1] : -1;
        hyb_lesson_take(l, n, e->weight == 0 ? 1 : e->weight);
    }
    return r;
}

/* {"role": ROLE, "content": TEXT} */
static bool hyb_lesson_message(hyb_conversation *c, const char *before, const char *role, const char *text)
{
    return hyb_conversation_write(c, before, strlen(before)) && hyb_conversation_write(c, "{\"role\":\"", 9) &&
           hyb_conversation_write(c, role, strlen(role)) && hyb_conversation_write(c, "\",\"content\":", 12) &&
           hyb_json_quote(text, strlen(text), false, hyb_conversation_write, c) && hyb_conversation_write(c, "}", 1);
}

/* In the model's template. */
static hybrid_result hyb_lesson_rendered(hyb_conversation *c, const hybrid_example *e, hybrid_error *error)
{
    hybrid_result r;
    char *line;
    size_t size;
    bool ok;
    c->json_size = 0;
    ok = hyb_conversation_write(c, "{\"messages\":[", 13);
    if (ok && e->system) ok = hyb_lesson_message(c, "", "system", e->system);
    if (ok && e->prompt) ok = hyb_lesson_message(c, e->system ? "," : "", "user", e->prompt);
    if (ok) ok = hyb_lesson_message(c, e->prompt || e->system ? "," : "", "assistant", e->answer);
    if (!ok || !hyb_conversation_write(c, "]}", 2)) return hyb_fail_memory(error, c->json_size);
    size = c->json_size;
    if (!(line = (char *)hyb_alloc(c->rt, size))) return hyb_fail_memory(error, size);
    memcpy(line, c->json, size); /* which is written over while it is read */
    r = hyb_conversation_add(c, line, size, error);
    hyb_free(c->rt, line);
    return r;
}

/* As a session writes it for a model without a template, up to the head of the next turn, which ends an answer. */
static hybrid_result hyb_lesson_plain(hyb_conversation *c, const hybrid_example *e, hybrid_error *error)
{
    static const char next[] = "\nUser:";
    hybrid_chat_message list[2];
    hybrid_prompt_desc d;
    hybrid_result r;
    size_t begin, n = 0;
    memset(&d, 0, sizeof d);
    c->n_spans = 0;
    list[0].role = "system";
    list[0].content = e->system;
    n += e->system != NULL;
    list[n].role = "user";
    list[n].content = e->prompt;
    n += e->prompt != NULL;
    d.messages = list;
    d.n_messages = n;
    c->prompt.size = 0;
    if ((r = hyb_prompt_plain(c->rt, &d, &c->prompt, error)) != HYBRID_OK) return r;
    c->json_size = 0;
    begin = c->prompt.size;
    if (!hyb_conversation_write(c, c->prompt.data, begin) || !hyb_conversation_write(c, " ", 1) ||
        !hyb_conversation_write(c, e->answer, strlen(e->answer)) || !hyb_conversation_write(c, next, sizeof next - 1))
        return hyb_fail_memory(error, c->json_size);
    if ((r = hyb_text_set(c->rt, &c->whole, c->json, c->json_size, error)) != HYBRID_OK) return r;
    if ((r = hyb_conversation_span(c, begin, c->whole.size, true, error)) != HYBRID_OK) return r;
    return hyb_conversation_take(c, &c->whole, error);
}

static hybrid_result hyb_lesson_text(hyb_lesson *l, const hybrid_model *m, hyb_conversation *c, const hybrid_example *e,
                                     size_t i, hybrid_error *error)
{
    hybrid_error why;
    hybrid_result r;
    hyb_corpus_cut(c->corpus, 0, 0);
    r = c->tmpl ? hyb_lesson_rendered(c, e, &why) : hyb_lesson_plain(c, e, &why);
    if (!r) return hyb_lesson_pieces(l, m, c->corpus, e, i, error);
    if (r == HYBRID_ERROR_MEMORY) return hyb_kept(&why, error);
    return hyb_fail(error, r == HYBRID_ERROR_FORMAT ? HYBRID_ERROR_UNSUPPORTED : r, "example %llu: %.200s",
                    (unsigned long long)i, why.message);
}

static hybrid_result hyb_lesson_texts(hyb_lesson *l, const hybrid_model *m, const hybrid_learn_desc *desc,
                                      hybrid_error *error)
{
    hyb_corpus corpus;
    hyb_conversation *c = (hyb_conversation *)hyb_calloc(l->rt, 1, sizeof *c);
    hybrid_result r = HYBRID_OK;
    size_t i;
    if (!c) return hyb_fail_memory(error, sizeof *c);
    memset(&corpus, 0, sizeof corpus);
    corpus.memory.rt = l->rt;
    corpus.width = 4;
    corpus.n_vocab = (uint32_t)m->hp.n_vocab;
    corpus.n_ctx = 1 << 30; /* each is one piece */
    c->rt = l->rt;
    c->corpus = &corpus;
    c->tok = hybrid_model_tokenizer(m);
    c->tmpl = hybrid_model_template(m);
    hyb_conversation_make(c);
    for (i = 0; i < desc->n_examples && !r; i++)
        r = desc->examples[i].answer ? hyb_lesson_text(l, m, c, &desc->examples[i], i, error)
                                     : hyb_lesson_ids(l, m, &desc->examples[i], i, error);
    hyb_conversation_free(c);
    hyb_corpus_free(&corpus);
    hyb_free(l->rt, c);
    return r;
}
#else
static hybrid_result hyb_lesson_texts(hyb_lesson *l, const hybrid_model *m, const hybrid_learn_desc *desc,
                                      hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    size_t i;
    for (i = 0; i < desc->n_examples && !r; i++) r = hyb_lesson_ids(l, m, &desc->examples[i], i, error);
    return r;
}
#endif

/* ---- begin ------------------------------------------------------------------------------------------------------- */

static hybrid_result hyb_lesson_desc(const hybrid_learn_desc *given, hybrid_learn_desc *d, hybrid_error *error)
{
    size_t i;
    *d = *given;
    if (!d->examples || !d->n_examples)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_adapter_learn: there are no examples");
    if (!d->n_steps) d->n_steps = 32;
    if (d->rate == 0) d->rate = 1e-3f;
    if (d->clip == 0) d->clip = 1;
    if (d->n_steps < 0 || d->n_batch < 0 || d->n_examples > INT32_MAX / 2 || !(d->rate > 0 && d->rate < HUGE_VALF) ||
        !(d->clip > 0) || !(d->decay >= 0 && d->decay < HUGE_VALF) || !(d->enough >= 0))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_adapter_learn: n_steps %d, n_batch %d, decay %g and enough %g must not be negative, "
                        "rate %g and clip %g positive",
                        d->n_steps, d->n_batch, (double)d->decay, (double)d->enough, (double)d->rate, (double)d->clip);
    for (i = 0; i < d->n_examples; i++)
        if (!(d->examples[i].weight >= 0 && d->examples[i].weight < HUGE_VALF))
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "the weight of example %llu is %g: it must be finite and not negative",
                            (unsigned long long)i, (double)d->examples[i].weight);
    return HYBRID_OK;
}

/* Memory of the batches of a step. */
static hybrid_result hyb_lesson_rows(hyb_lesson *l, hybrid_error *error)
{
    const size_t n = (size_t)l->desc.n_batch, batches = hyb_align(n * sizeof *l->batches, 64);
    size_t rows, bytes;
    char *at;
    if (!hyb_mul_size(n, (size_t)l->longest, &rows) || !hyb_mul_size(rows, 12, &bytes) || bytes > SIZE_MAX - batches ||
        !(l->block = at = (char *)hyb_alloc(l->rt, bytes + batches)))
        return hyb_fail_memory(error, SIZE_MAX);
    l->batches = (hybrid_train_batch *)(void *)at;
    l->row_ids = (int32_t *)(void *)(at + batches);
    l->row_targets = l->row_ids + rows;
    l->row_weights = (float *)(void *)(l->row_targets + rows);
    return HYBRID_OK;
}

static hybrid_result hyb_lesson_create(hybrid_runtime *rt, const hybrid_model *m, const hybrid_learn_desc *desc,
                                       hyb_lesson **lesson, hybrid_error *error)
{
    hybrid_learn_desc d;
    hyb_lesson *l;
    hybrid_result r = hyb_lesson_desc(desc, &d, error);
    *lesson = NULL;
    if (r) return r;
    if (!(l = (hyb_lesson *)hyb_calloc(rt, 1, sizeof *l))) return hyb_fail_memory(error, sizeof *l);
    l->rt = rt;
    if ((r = hyb_lesson_texts(l, m, &d, error)) == HYBRID_OK) {
        l->desc = d;
        l->desc.examples = NULL;
        if (!d.n_batch) l->desc.n_batch = 16;
        l->desc.n_batch = (int32_t)HYB_MIN((size_t)l->desc.n_batch, l->n_items);
        r = hyb_lesson_rows(l, error);
    }
    if (r)
        hyb_lesson_free(l);
    else
        *lesson = l;
    return r;
}

/* ---- a step's batches -------------------------------------------------------------------------------------------- */

/* Sequences of a batch at most, when the longest has n_ctx tokens. */
static int32_t hyb_lesson_n_seq(const hyb_lesson *l)
{
    return HYB_MAX(HYB_MIN(l->desc.n_batch, HYB_LESSON_ROWS / l->longest), 1);
}

/* Items first to first + n - 1 of those that have their turn in a row, from row `row` of the arrays on. Returns the
 * rows. */
static size_t hyb_lesson_fill(hyb_lesson *l, uint64_t first, int32_t n, size_t row)
{
    hybrid_train_batch *b = &l->batches[l->n_batches++];
    int32_t i, k, n_ctx = 0;
    for (i = 0; i < n; i++) {
        const uint64_t turn = first + (uint64_t)i;
        const uint64_t item = hyb_permute(l->desc.seed, turn / l->n_items, l->n_items, turn % l->n_items);
        n_ctx = HYB_MAX(n_ctx, l->items[item].n);
    }
    for (i = 0; i < n; i++) {
        const uint64_t turn = first + (uint64_t)i;
        const uint64_t at = hyb_permute(l->desc.seed, turn / l->n_items, l->n_items, turn % l->n_items);
        const hyb_item *item = &l->items[at];
        const size_t to = row + (size_t)i * (size_t)n_ctx;
        for (k = 0; k < n_ctx; k++) {
            l->row_ids[to + (size_t)k] = k < item->n ? l->ids[item->at + (size_t)k] : 0;
            l->row_targets[to + (size_t)k] = k < item->n ? l->targets[item->at + (size_t)k] : -1;
            l->row_weights[to + (size_t)k] = item->weight;
        }
    }
    memset(b, 0, sizeof *b);
    b->ids = l->row_ids + row;
    b->targets = l->row_targets + row;
    b->weights = l->row_weights + row;
    b->n_seq = n;
    b->n_ctx = n_ctx;
    return (size_t)n * (size_t)n_ctx;
}

/* The batches of the next step. */
static void hyb_lesson_next(hyb_lesson *l)
{
    const int32_t n_seq = hyb_lesson_n_seq(l), n = l->desc.n_batch;
    const int32_t cuts = (n + n_seq - 1) / n_seq;
    const uint64_t first = (uint64_t)l->done * (uint64_t)n;
    size_t row = 0;
    int32_t i;
    l->n_batches = 0;
    for (i = 0; i < cuts; i++) {
        const int32_t from = (int32_t)((int64_t)n * i / cuts), to = (int32_t)((int64_t)n * (i + 1) / cuts);
        row += hyb_lesson_fill(l, first + (uint64_t)from, to - from, row);
    }
}

/* A step was done. */
static void hyb_lesson_done(hyb_lesson *l, double loss)
{
    const int32_t round = (int32_t)((l->n_items + (size_t)l->desc.n_batch - 1) / (size_t)l->desc.n_batch);
    if (!l->done) l->first_loss = loss;
    l->loss = loss;
    l->done++;
    l->round_loss += loss;
    if (++l->round_steps < round) return;
    if (l->round_loss / l->round_steps < (double)l->desc.enough) l->desc.n_steps = l->done;
    l->round_loss = 0;
    l->round_steps = 0;
}
#endif
