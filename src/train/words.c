/* train/words: how often every word of a corpus comes, words being what the pre-tokenizer cuts texts into: a
 * tokenizer's training needs no more of a text. */
#ifndef HYB_TRAIN_WORDS_C
#define HYB_TRAIN_WORDS_C
#include "../text/tokenizer/tokenizer.c"
#include "documents.c"

#ifndef HYB_WORDS_REPORT
    #define HYB_WORDS_REPORT ((size_t)4 << 20) /* bytes of text between two calls of progress */
#endif

typedef struct hyb_counted_word {
    uint64_t count;
    uint32_t at, size; /* in the table's bytes */
} hyb_counted_word;

typedef struct hyb_words {
    hyb_budget *memory;
    hyb_counted_word *words;
    uint8_t *bytes;
    uint64_t *index;               /* high half of the hash << 32 | number of the word + 1; 0: empty */
    size_t n, room;                /* words */
    size_t used, size;             /* bytes */
    size_t mask;                   /* of the index */
    uint64_t total;                /* words of the texts, the same ones counted again */
    uint64_t n_documents, n_bytes; /* of the texts */
    /* how far it is */
    const hyb_documents *documents;
    hybrid_progress_fn progress;
    void *user;
    size_t silent; /* bytes since the last call of progress */
    float share;   /* of the whole work */
    bool cancelled, too_many;
} hyb_words;

static void hyb_words_free_index(hyb_words *w)
{
    hyb_budget_free(w->memory, w->index, (w->mask + 1) * sizeof *w->index);
    w->index = NULL;
}

static void hyb_words_free(hyb_words *w)
{
    hyb_budget_free(w->memory, w->words, w->room * sizeof *w->words);
    hyb_budget_free(w->memory, w->bytes, w->size);
    hyb_words_free_index(w);
    w->words = NULL;
    w->bytes = NULL;
}

/* An index of twice the size. */
static bool hyb_words_grow_index(hyb_words *w)
{
    const size_t size = w->index ? 2 * (w->mask + 1) : 4096;
    uint64_t *index = (uint64_t *)hyb_budget_alloc(w->memory, size * sizeof *index);
    size_t i, at;
    if (!index) return false;
    memset(index, 0, size * sizeof *index);
    for (i = 0; i < w->n; i++) {
        const uint64_t hash = hyb_hash(&w->memory->rt->hash_key, w->bytes + w->words[i].at, w->words[i].size);
        HYB_STEPS(1 + w->words[i].size / 8);
        for (at = (size_t)hash & (size - 1); index[at]; at = (at + 1) & (size - 1)) HYB_STEPS(1);
        index[at] = (hash & 0xFFFFFFFF00000000u) | (uint64_t)(i + 1);
    }
    hyb_words_free_index(w);
    w->index = index;
    w->mask = size - 1;
    return true;
}

/* A word that was not there; at: its place in the index. */
static HYB_NOINLINE bool hyb_words_insert(hyb_words *w, const uint8_t *p, size_t size, uint64_t hash, size_t at)
{
    void *block;
    if (size > INT32_MAX / 2 || w->used + size + w->n > INT32_MAX - 8) {
        w->too_many = true;
        return false;
    }
    if (w->n == w->room) {
        block = w->words;
        if (!hyb_budget_grow(w->memory, &block, &w->room, w->n + 1, sizeof *w->words)) return false;
        w->words = (hyb_counted_word *)block;
    }
    if (w->size - w->used < size) {
        block = w->bytes;
        if (!hyb_budget_grow(w->memory, &block, &w->size, w->used + size, 1)) return false;
        w->bytes = (uint8_t *)block;
    }
    memcpy(w->bytes + w->used, p, size);
    w->words[w->n].count = 1;
    w->words[w->n].at = (uint32_t)w->used;
    w->words[w->n].size = (uint32_t)size;
    w->used += size;
    w->index[at] = (hash & 0xFFFFFFFF00000000u) | (uint64_t)++w->n;
    return w->n <= w->mask / 2 || hyb_words_grow_index(w);
}

static HYB_NOINLINE bool hyb_words_report(hyb_words *w)
{
    w->silent = 0;
    if (!w->progress) return true;
    w->cancelled = !hyb_report(w->progress, w->user, w->share * hyb_documents_fraction(w->documents));
    return !w->cancelled;
}

/* One word of a text. false: it cannot go on. */
HYB_INLINE bool hyb_words_add(hyb_words *w, const uint8_t *p, size_t size)
{
    const uint64_t hash = hyb_hash(&w->memory->rt->hash_key, p, size);
    size_t at = (size_t)hash & w->mask;
    HYB_STEPS(1 + size / 8);
    w->total++;
    w->silent += size;
    if (HYB_UNLIKELY(w->silent >= HYB_WORDS_REPORT) && !hyb_words_report(w)) return false;
    for (; w->index[at]; at = (at + 1) & w->mask) {
        HYB_STEPS(1);
        if (!((w->index[at] ^ hash) >> 32)) {
            hyb_counted_word *word = &w->words[(uint32_t)w->index[at] - 1];
            if (word->size == size && hyb_same_bytes(w->bytes + word->at, p, size)) {
                word->count++;
                return true;
            }
        }
    }
    return hyb_words_insert(w, p, size, hash, at);
}

/* Cuts a piece as the pre-tokenizer's splits say, from the given one on. */
static bool hyb_words_cut(hyb_words *w, const uint8_t *classes, const hyb_split_fn *split, const uint8_t *p,
                          const uint8_t *end)
{
    const uint8_t *q;
    for (; p < end; p = q) {
        q = split[0](classes, p, end);
        if (!(split[1] ? hyb_words_cut(w, classes, split + 1, p, q) : hyb_words_add(w, p, (size_t)(q - p))))
            return false;
    }
    return true;
}

/* Tables of the pre-tokenizer: HYB_NFC_BITS, where it normalizes, after 65536 classes. */
static bool hyb_words_document(hyb_words *w, const uint8_t *tables, const hyb_pretokenizer *pre,
                               const hyb_document *document)
{
    const uint8_t *p = document->text, *end = p + document->size;
    hyb_nfc_text text = { NULL, 0, 0 };
    bool ok;
    if (!document->size) return true;
    w->n_documents++;
    w->n_bytes += document->size;
    if (pre->nfc && !hyb_nfc(w->memory->rt, tables + 65536, p, document->size, &text)) {
        w->memory->missing = document->size;
        return false;
    }
    if (text.bytes) {
        p = text.bytes;
        end = p + text.n;
    }
    ok = hyb_words_cut(w, tables, pre->splits, p, end);
    hyb_free(w->memory->rt, text.bytes);
    return ok;
}

static hybrid_result hyb_words_fail(const hyb_words *w, hybrid_error *error)
{
    if (w->cancelled) return hyb_fail(error, HYBRID_ERROR_CANCELLED, "training a tokenizer was cancelled");
    if (w->too_many)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "the texts have more than 2 GiB of different words: train on a part of them");
    return hyb_budget_fail(w->memory, "counting words", error);
}

/* Counts the words of all documents. */
static hybrid_result hyb_words_count(hyb_words *w, hyb_documents *documents, const hyb_pretokenizer *pre,
                                     hybrid_error *error)
{
    uint8_t *tables = (uint8_t *)hyb_budget_alloc(w->memory, 65536 + HYB_NFC_BITS);
    hyb_document document;
    hybrid_result r = HYBRID_OK;
    bool more = true;
    if (!tables || !hyb_words_grow_index(w))
        r = hyb_words_fail(w, error);
    else {
        hyb_unicode_expand(tables);
        if (pre->nfc) hyb_nfc_expand(tables + 65536);
    }
    while (!r) {
        r = hyb_documents_next(documents, &document, &more, error);
        if (r || !more) break;
        if (!hyb_words_document(w, tables, pre, &document)) r = hyb_words_fail(w, error);
    }
    hyb_budget_free(w->memory, tables, 65536 + HYB_NFC_BITS);
    hyb_words_free_index(w);
    return r;
}
#endif
