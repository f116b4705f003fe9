/* text/tokenizer/bpe: the merging. A word becomes its bytes (spm: its characters), and of all neighbours that may
 * become one token those with the least rank do, leftmost first, until none may. Words come again and again, so a call
 * remembers what became of them. */
#ifndef HYB_TEXT_TOKENIZER_BPE_C
#define HYB_TEXT_TOKENIZER_BPE_C
#include "../../core/grow.c"
#include "vocab.c"

#define HYB_CACHE_TEXT 3 /* 8-byte pieces of a word that is remembered */
#define HYB_CACHE_IDS  9

typedef struct hyb_cached_word { /* a cache line; where two words fall on one place, the newer stands first */
    uint64_t text[HYB_CACHE_TEXT];
    uint8_t size, n;
    int32_t ids[HYB_CACHE_IDS];
} hyb_cached_word;

/* One call of hybrid_tokenize. */
typedef struct hyb_tokenize_job {
    const hybrid_tokenizer *t;
    int32_t *ids;
    size_t capacity, n;
    int32_t last;           /* id */
    hyb_cached_word *cache; /* pairs; zero: empty */
    size_t cache_mask;      /* of the pairs */
    const uint8_t *end;     /* of the memory that the words are in */
    bool out_of_memory;
} hyb_tokenize_job;

HYB_INLINE void hyb_emit_token(hyb_tokenize_job *job, int32_t id)
{
    if (job->t->fuse_unknown) {
        if (job->last == id && id == job->t->roles[HYBRID_ROLE_UNKNOWN]) return;
        job->last = id;
    }
    if (job->n < job->capacity) job->ids[job->n] = id;
    job->n++;
}

/* What becomes of neighbours: the rank of their merge (UINT32_MAX: they have none) and the token. Where there is a
 * table of merges, the two ids say it; else the bytes of both do: size from p, with their fingerprint. */
HYB_INLINE uint32_t hyb_bpe_rank_of_ids(const hybrid_tokenizer *t, int32_t left, int32_t right, int32_t *result)
{
    const hyb_merge *m = left < 0 || right < 0 ? NULL : hyb_merge_find(t, (uint32_t)left, (uint32_t)right);
    if (!m) return UINT32_MAX;
    *result = (int32_t)m->result;
    return m->rank;
}
HYB_INLINE uint32_t hyb_bpe_rank_of_bytes(const hybrid_tokenizer *t, uint64_t print, const uint8_t *p, size_t size,
                                          int32_t *result)
{
    *result = hyb_vocab_find_mergeable_print(t, print, p, size);
    return *result < 0 ? UINT32_MAX : t->ranks[*result];
}

/* The token of the first character (bpe: byte) at p, -1 when there is none, and its length. */
HYB_INLINE int32_t hyb_first_symbol(const hybrid_tokenizer *t, const uint8_t *p, const uint8_t *end, size_t *length)
{
    uint32_t code_point;
    size_t valid;
    *length = 1;
    if (!t->spm) return t->byte_ids[*p];
    if ((*length = hyb_utf8_decode(p, end, &code_point, &valid)) == 0) *length = 1;
    return hyb_vocab_find_mergeable(t, p, *length);
}

/* A symbol that is left over: its token; else (spm) its bytes, or the unknown token where there are none for them.
 * Returns the ids written. */
static size_t hyb_symbol_ids(const hybrid_tokenizer *t, int32_t id, const uint8_t *p, size_t size, int32_t *out)
{
    size_t i;
    if (id >= 0) {
        *out = id;
        return 1;
    }
    if (!t->spm) return 0;
    for (i = 0; i < size; i++) {
        if (t->byte_ids[p[i]] < 0) {
            *out = t->roles[HYBRID_ROLE_UNKNOWN];
            return *out >= 0;
        }
        out[i] = t->byte_ids[p[i]];
    }
    return size;
}

/* The symbols of a short word, and what neighbours become. */
typedef struct hyb_short_word {
    const uint8_t *bytes;
    uint64_t print[HYB_WORD_SHORT + 1]; /* of each symbol, where tokens are found by their bytes */
    int32_t id[HYB_WORD_SHORT + 1], result[HYB_WORD_SHORT + 1];
    uint32_t rank[HYB_WORD_SHORT + 1];
    uint8_t begin[HYB_WORD_SHORT + 2];
} hyb_short_word;

HYB_INLINE void hyb_short_rank(const hybrid_tokenizer *t, hyb_short_word *w, size_t i, bool by_bytes)
{
    const size_t middle = w->begin[i + 1], size = (size_t)w->begin[i + 2] - w->begin[i];
    if (!by_bytes)
        w->rank[i] = hyb_bpe_rank_of_ids(t, w->id[i], w->id[i + 1], &w->result[i]);
    else if (size > t->longest)
        w->rank[i] = UINT32_MAX;
    else
        w->rank[i] = hyb_bpe_rank_of_bytes(t,
                                           hyb_print_join(w->print[i], t->point.powers[w->begin[i + 2] - middle],
                                                          w->print[i + 1]),
                                           w->bytes + w->begin[i], size, &w->result[i]);
}

/* A word of at most HYB_WORD_SHORT bytes; out has room for as many ids. Returns how many there are. */
HYB_INLINE size_t hyb_merge_short_by(const hybrid_tokenizer *t, const uint8_t *word, size_t size, int32_t *out,
                                     bool by_bytes)
{
    hyb_short_word w;
    size_t n = 0, at = 0, i, count = 0, length;
    w.bytes = word;
    for (; at < size; at += length, n++) {
        w.begin[n] = (uint8_t)at;
        w.id[n] = hyb_first_symbol(t, word + at, word + size, &length);
        if (by_bytes) w.print[n] = hyb_print_of(&t->point, word + at, length);
    }
    w.begin[n] = (uint8_t)size;
    for (i = 0; i + 1 < n; i++) hyb_short_rank(t, &w, i, by_bytes);
    while (n > 1) {
        uint32_t best = w.rank[0];
        at = 0;
        for (i = 1; i + 1 < n; i++)
            if (w.rank[i] < best) {
                best = w.rank[i];
                at = i;
            }
        if (best == UINT32_MAX) break;
        w.id[at] = w.result[at];
        if (by_bytes)
            w.print[at] =
                hyb_print_join(w.print[at], t->point.powers[w.begin[at + 2] - w.begin[at + 1]], w.print[at + 1]);
        n--;
        for (i = at + 1; i < n; i++) { /* symbol at + 1 is gone, and with it the pair that it began */
            w.id[i] = w.id[i + 1];
            w.begin[i] = w.begin[i + 1];
            w.rank[i] = w.rank[i + 1];
            w.result[i] = w.result[i + 1];
            if (by_bytes) w.print[i] = w.print[i + 1];
        }
        w.begin[n] = (uint8_t)size;
        if (at > 0) hyb_short_rank(t, &w, at - 1, by_bytes);
        if (at + 1 < n) hyb_short_rank(t, &w, at, by_bytes);
    }
    for (i = 0; i < n; i++)
        count += hyb_symbol_ids(t, w.id[i], word + w.begin[i], (size_t)w.begin[i + 1] - w.begin[i], out + count);
    return count;
}

static HYB_NOINLINE size_t hyb_merge_short_ids(const hybrid_tokenizer *t, const uint8_t *word, size_t size,
                                               int32_t *out)
{
    return hyb_merge_short_by(t, word, size, out, false);
}
static HYB_NOINLINE size_t hyb_merge_short_bytes(const hybrid_tokenizer *t, const uint8_t *word, size_t size,
                                                 int32_t *out)
{
    return hyb_merge_short_by(t, word, size, out, true);
}
HYB_INLINE size_t hyb_merge_short(const hybrid_tokenizer *t, const uint8_t *word, size_t size, int32_t *out)
{
    return t->merges ? hyb_merge_short_ids(t, word, size, out) : hyb_merge_short_bytes(t, word, size, out);
}

/* ---- long words: a heap of the pairs that may merge -------------------------------------------------------------- */

typedef struct hyb_bpe_symbol {
    uint64_t print;                 /* where tokens are found by their bytes */
    uint32_t begin, previous, next; /* bytes of the word, symbols; next of the last: UINT32_MAX */
    int32_t id;
} hyb_bpe_symbol;

typedef struct hyb_bpe_pair {
    /* of the left symbol's place; bytes of both: a pair is out of date when they are others */
    uint32_t rank, left, size;
    int32_t result;
} hyb_bpe_pair;

typedef struct hyb_bpe_heap {
    hyb_bpe_pair *items;
    size_t n, capacity;
} hyb_bpe_heap;

HYB_INLINE bool hyb_bpe_before(const hyb_bpe_pair *a, const hyb_bpe_pair *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static bool hyb_bpe_push(hybrid_runtime *rt, hyb_bpe_heap *heap, hyb_bpe_pair pair)
{
    size_t i = heap->n;
    HYB_STEPS(1);
    if (HYB_GROW(rt, heap->items, heap->capacity, i, i + 1, NULL)) return false;
    heap->n++;
    for (; i && hyb_bpe_before(&pair, &heap->items[(i - 1) / 2]); i = (i - 1) / 2)
        heap->items[i] = heap->items[(i - 1) / 2];
    heap->items[i] = pair;
    return true;
}

static hyb_bpe_pair hyb_bpe_pop(hyb_bpe_heap *heap)
{
    hyb_bpe_pair top = heap->items[0], last = heap->items[--heap->n];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < heap->n) {
        if (child + 1 < heap->n && hyb_bpe_before(&heap->items[child + 1], &heap->items[child])) child++;
        if (!hyb_bpe_before(&heap->items[child], &last)) break;
        heap->items[i] = heap->items[child];
        i = child;
    }
    if (heap->n) heap->items[i] = last;
    return top;
}

HYB_INLINE uint32_t hyb_bpe_symbol_end(const hyb_bpe_symbol *symbols, uint32_t i, size_t size)
{
    return symbols[i].next == UINT32_MAX ? (uint32_t)size : symbols[symbols[i].next].begin;
}

/* The fingerprint of a symbol and the one after it, which ends at end. */
HYB_INLINE uint64_t hyb_bpe_print(const hybrid_tokenizer *t, const hyb_bpe_symbol *left, const hyb_bpe_symbol *right,
                                  uint32_t end)
{
    const size_t size = end - right->begin;
    return hyb_print_join(left->print, hyb_print_power_at(&t->point, size), right->print);
}

static bool hyb_bpe_offer(const hybrid_tokenizer *t, hyb_bpe_heap *heap, const uint8_t *word, size_t size,
                          const hyb_bpe_symbol *symbols, uint32_t i)
{
    const hyb_bpe_symbol *left = &symbols[i], *right;
    uint32_t end;
    hyb_bpe_pair pair;
    if (left->next == UINT32_MAX) return true;
    right = &symbols[left->next];
    end = hyb_bpe_symbol_end(symbols, left->next, size);
    pair.left = i;
    pair.size = end - left->begin;
    if (t->merges)
        pair.rank = hyb_bpe_rank_of_ids(t, left->id, right->id, &pair.result);
    else if (pair.size > t->longest)
        return true;
    else
        pair.rank =
            hyb_bpe_rank_of_bytes(t, hyb_bpe_print(t, left, right, end), word + left->begin, pair.size, &pair.result);
    return pair.rank == UINT32_MAX || hyb_bpe_push(t->rt, heap, pair);
}

static bool hyb_merge_all(const hybrid_tokenizer *t, hyb_bpe_heap *heap, const uint8_t *word, size_t size,
                          hyb_bpe_symbol *symbols)
{
    while (heap->n) {
        hyb_bpe_pair pair = hyb_bpe_pop(heap);
        hyb_bpe_symbol *left = &symbols[pair.left];
        uint32_t right = left->next;
        if (left->begin == UINT32_MAX || right == UINT32_MAX ||
            hyb_bpe_symbol_end(symbols, right, size) - left->begin != pair.size)
            continue;
        left->id = pair.result;
        if (!t->merges) left->print = hyb_bpe_print(t, left, &symbols[right], left->begin + pair.size);
        left->next = symbols[right].next;
        if (left->next != UINT32_MAX) symbols[left->next].previous = pair.left;
        symbols[right].begin = UINT32_MAX; /* gone */
        if (left->previous != UINT32_MAX && !hyb_bpe_offer(t, heap, word, size, symbols, left->previous)) return false;
        if (!hyb_bpe_offer(t, heap, word, size, symbols, pair.left)) return false;
    }
    return true;
}

static void hyb_merge_long(hyb_tokenize_job *job, const uint8_t *word, size_t size)
{
    const hybrid_tokenizer *t = job->t;
    hyb_bpe_symbol *symbols = NULL;
    hyb_bpe_heap heap = { NULL, 0, 0 };
    size_t at, length, bytes, i;
    uint32_t n = 0, k;
    bool ok = size < UINT32_MAX / 2 && hyb_mul_size(size, sizeof *symbols, &bytes);
    ok = ok && (symbols = (hyb_bpe_symbol *)hyb_alloc(t->rt, bytes)) != NULL &&
         !HYB_GROW(t->rt, heap.items, heap.capacity, 0, size / 2, NULL);
    for (at = 0; ok && at < size; at += length, n++) {
        symbols[n].id = hyb_first_symbol(t, word + at, word + size, &length);
        symbols[n].begin = (uint32_t)at;
        symbols[n].print = t->merges ? 0 : hyb_print_of(&t->point, word + at, length);
        symbols[n].previous = n - 1;
        symbols[n].next = at + length < size ? n + 1 : UINT32_MAX;
    }
    for (k = 0; ok && k < n; k++) ok = hyb_bpe_offer(t, &heap, word, size, symbols, k);
    ok = ok && hyb_merge_all(t, &heap, word, size, symbols);
    for (k = 0; ok && k != UINT32_MAX; k = symbols[k].next) {
        int32_t ids[4];
        length = hyb_symbol_ids(t, symbols[k].id, word + symbols[k].begin,
                                hyb_bpe_symbol_end(symbols, k, size) - symbols[k].begin, ids);
        for (i = 0; i < length; i++) hyb_emit_token(job, ids[i]);
    }
    if (!ok) job->out_of_memory = true;
    hyb_free(t->rt, symbols);
    hyb_free(t->rt, heap.items);
}

/* ---- words ------------------------------------------------------------------------------------------------------- */

/* Between two bytes that stand side by side in no token nothing can merge: there a text may be cut without a change of
 * the result. The first such place after p, or end. Characters stay whole, because spm begins with them. */
HYB_INLINE const uint8_t *hyb_next_cut(const hybrid_tokenizer *t, const uint8_t *p, const uint8_t *end)
{
    for (p++; p < end; p++) {
        uint32_t pair = (uint32_t)p[-1] << 8 | *p;
        if (!(t->joined[pair >> 5] >> (pair & 31) & 1) && (*p & 0xC0) != 0x80) break;
    }
    return p;
}

/* A word that is not remembered. At most HYB_WORD_SHORT bytes go to out (the number of ids is returned), a longer
 * one to the job. */
static size_t hyb_merge_word(hyb_tokenize_job *job, const uint8_t *word, size_t size, int32_t *out)
{
    const hybrid_tokenizer *t = job->t;
    const uint8_t *end = word + size, *cut;
    size_t i, n;
    if (t->whole_words && (*out = hyb_vocab_find_mergeable(t, word, size)) >= 0) return 1;
    if (size <= HYB_WORD_SHORT) return hyb_merge_short(t, word, size, out);
    for (; word < end && !job->out_of_memory; word = cut) {
        cut = hyb_next_cut(t, word, end);
        if (cut - word > HYB_WORD_SHORT) {
            hyb_merge_long(job, word, (size_t)(cut - word));
            continue;
        }
        n = hyb_merge_short(t, word, (size_t)(cut - word), out);
        for (i = 0; i < n; i++) hyb_emit_token(job, out[i]);
    }
    return 0;
}

/* The word as zero-padded 8-byte pieces; safe: 24 bytes can be read. */
HYB_INLINE void hyb_word_pieces(const uint8_t *word, size_t size, bool safe, uint64_t w[HYB_CACHE_TEXT])
{
    uint8_t copy[8 * HYB_CACHE_TEXT];
    if (HYB_UNLIKELY(!safe)) {
        memset(copy, 0, sizeof copy);
        memcpy(copy, word, size);
        word = copy;
    }
    w[1] = w[2] = 0;
    w[0] = hyb_load_u64(word);
    if (size <= 8) {
        w[0] &= UINT64_MAX >> (64 - 8 * size);
        return;
    }
    w[1] = hyb_load_u64(word + 8);
    if (size <= 16) {
        w[1] &= UINT64_MAX >> (128 - 8 * size);
        return;
    }
    w[2] = hyb_load_u64(word + 16) & UINT64_MAX >> (192 - 8 * size);
}

HYB_INLINE bool hyb_is_cached(const hyb_cached_word *e, const uint64_t w[HYB_CACHE_TEXT], size_t size)
{
    return e->size == size && e->text[0] == w[0] && e->text[1] == w[1] && e->text[2] == w[2];
}

HYB_INLINE void hyb_emit_cached(hyb_tokenize_job *job, const hyb_cached_word *e)
{
    size_t i;
    if (HYB_LIKELY(job->n + HYB_CACHE_IDS <= job->capacity && !job->t->fuse_unknown)) {
        int32_t *out = job->ids + job->n; /* the first three without asking: most words have no more */
        out[0] = e->ids[0];
        out[1] = e->ids[1];
        out[2] = e->ids[2];
        for (i = 3; i < e->n; i++) out[i] = e->ids[i];
        job->n += e->n;
    } else
        for (i = 0; i < e->n; i++) hyb_emit_token(job, e->ids[i]);
}

/* A word that was not remembered: merges it and, when it is small enough, remembers it at e. */
static HYB_NOINLINE void hyb_new_word(hyb_tokenize_job *job, const uint8_t *word, size_t size, hyb_cached_word *e,
                                      const uint64_t w[HYB_CACHE_TEXT])
{
    int32_t ids[HYB_WORD_SHORT];
    size_t i, n = hyb_merge_word(job, word, size, ids);
    for (i = 0; i < n; i++) hyb_emit_token(job, ids[i]);
    if (!e || n > HYB_CACHE_IDS) return;
    e[1] = e[0];
    memcpy(e->text, w, sizeof e->text);
    e->size = (uint8_t)size;
    e->n = (uint8_t)n;
    memcpy(e->ids, ids, n * sizeof *ids);
}

/* A word (size > 0) to ids. */
HYB_INLINE void hyb_tokenize_word(hyb_tokenize_job *job, const uint8_t *word, size_t size)
{
    hyb_cached_word *e;
    uint64_t w[HYB_CACHE_TEXT], h;
    if (HYB_UNLIKELY(size > sizeof w)) {
        hyb_new_word(job, word, size, NULL, NULL);
        return;
    }
    hyb_word_pieces(word, size, (size_t)(job->end - word) >= sizeof w, w);
    h = (w[0] * 0x9E3779B97F4A7C15u) ^ (w[1] * 0xD6E8FEB86659FD93u) ^ (w[2] * 0xC2B2AE3D27D4EB4Fu) ^ size;
    h = (h ^ h >> 32) * 0x9E3779B97F4A7C15u;
    e = &job->cache[2 * ((size_t)(h >> 40) & job->cache_mask)];
    if (HYB_LIKELY(hyb_is_cached(e, w, size)))
        hyb_emit_cached(job, e);
    else if (hyb_is_cached(e + 1, w, size))
        hyb_emit_cached(job, e + 1);
    else
        hyb_new_word(job, word, size, e, w);
}
#endif
