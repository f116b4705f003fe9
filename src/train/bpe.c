/* train/bpe: the merging of byte-level BPE (Sennrich et al. 2016; on bytes: GPT-2). Every word begins as its bytes. The
 * pair of neighbours that comes most often, over all words as often as each comes, becomes one token; again and again.
 *
 * Words lie one after the other, a slot a byte. A token stands in its first slot, and its last one says how long it is,
 * so neighbours on both sides are found in one step. All places of a pair are threaded into a list, which a merge
 * walks; it touches nothing else but the pairs beside those places (Larsson, Moffat 1999):
 *
 *     word "banana", an merged:    | b | an | -2 | an | -2 | a | -1 |      -1: the end of a word
 *     pairs:                         b,an   an,an     an,a
 *
 * A merge takes one token away at each place, so all merges of a text of n slots touch at most n places, whatever the
 * text is. Pairs that a merge makes hold the new token: a pair that is there never gets more places later on. So a heap
 * needs an entry for a pair only once, and one that became rarer is put right when it comes to the top.
 *
 * No two merges make the same bytes. Tokens only grow, so where a token's place has no token that reaches over its
 * borders, it never had one: what stood there was merged as if the place were alone, the same at all places. (Runs
 * like aaaa are merged from the left, and a place inside a run begins where a token does.) */
#ifndef HYB_TRAIN_BPE_C
#define HYB_TRAIN_BPE_C
#include "words.c"

#define HYB_LEARN_NONE   UINT32_MAX
#define HYB_LEARN_REPORT ((size_t)1 << 20) /* places that are merged between two calls of progress */
enum { HYB_LEARN_END = -1 };

typedef struct hyb_learn_slot {
    int32_t token;          /* HYB_LEARN_END after each word; in the last slot of a longer token -size */
    uint32_t before, after; /* places of the same pair; a pair's place is the slot of its left token */
    uint32_t pair;          /* HYB_LEARN_NONE: nothing follows */
    uint32_t word;
} hyb_learn_slot;

typedef enum hyb_learn_state {
    HYB_LEARN_NEW,   /* of the merge that is under way: made or merged by it */
    HYB_LEARN_WAITS, /* in the heap */
    HYB_LEARN_SLEEPS /* comes too seldom, or would be too long: it is never merged */
} hyb_learn_state;

typedef struct hyb_learn_pair {
    uint64_t count;
    uint32_t left, right; /* tokens */
    uint32_t first;       /* place; in the list of free ones the next of them */
    uint32_t state;       /* hyb_learn_state */
} hyb_learn_pair;

typedef struct hyb_learn_entry { /* of the heap */
    uint64_t count;              /* at least the pair's */
    uint32_t pair;
} hyb_learn_entry;

typedef struct hyb_learn_token {
    uint64_t head; /* its first eight bytes, the first one on top, zeros after the last */
    uint32_t at;   /* in the words' bytes, where it comes */
    uint32_t size;
} hyb_learn_token;

typedef struct hyb_learn_merge {
    uint32_t left, right;
} hyb_learn_merge;

typedef struct hyb_learner {
    hyb_budget *memory;
    const hyb_words *words;
    bool by_ids; /* of pairs as frequent the one of lower ids, else the one of greater bytes */
    uint64_t least;
    uint32_t longest; /* bytes that a token may have */
    uint32_t n_first; /* tokens before the merges: special ones, then the 256 bytes */
    hyb_learn_slot *slots;
    size_t n_slots;
    hyb_learn_token *tokens;
    size_t n_tokens, most;   /* tokens; most: room for them, and of those by token below */
    hyb_learn_merge *merges; /* most; [i] made token n_first + i */
    uint32_t *by_left;       /* most: the pair of the newest token with what stands before it, HYB_LEARN_NONE */
    uint32_t *by_right;      /* most */
    uint32_t *fresh;         /* 2 * most: pairs that the last merge made */
    size_t n_fresh;
    hyb_learn_pair *pairs;
    size_t n_pairs, pairs_room, n_gone; /* gone: in the heap, without places */
    uint32_t free;                      /* list of pairs that can be used again */
    hyb_learn_entry *heap;
    size_t n_heap, heap_room;
    uint64_t last_count;
    hybrid_progress_fn progress;
    void *user;
    float from;  /* how much of the whole work was done before the merges */
    size_t work; /* places that were merged since the last call of progress */
    bool cancelled;
} hyb_learner;

static void hyb_learn_free(hyb_learner *b)
{
    hyb_budget_free(b->memory, b->slots, b->n_slots * sizeof *b->slots);
    hyb_budget_free(b->memory, b->tokens, b->most * sizeof *b->tokens);
    hyb_budget_free(b->memory, b->merges, b->most * sizeof *b->merges);
    hyb_budget_free(b->memory, b->by_left, 4 * b->most * sizeof *b->by_left);
    hyb_budget_free(b->memory, b->pairs, b->pairs_room * sizeof *b->pairs);
    hyb_budget_free(b->memory, b->heap, b->heap_room * sizeof *b->heap);
}

HYB_INLINE const uint8_t *hyb_learn_bytes(const hyb_learner *b, uint32_t token)
{
    return b->words->bytes + b->tokens[token].at;
}

/* ---- the heap ---------------------------------------------------------------------------------------------------- */

/* Which of two tokens is the greater string of bytes: < 0, 0, > 0. */
static int hyb_learn_compare(const hyb_learner *b, uint32_t x, uint32_t y)
{
    const hyb_learn_token *s = &b->tokens[x], *t = &b->tokens[y];
    const size_t n = HYB_MIN(s->size, t->size);
    int order;
    if (s->head != t->head) return s->head < t->head ? -1 : 1;
    HYB_STEPS(n / 32);
    order = n > 8 ? memcmp(hyb_learn_bytes(b, x) + 8, hyb_learn_bytes(b, y) + 8, n - 8) : 0;
    return order ? order : s->size < t->size ? -1 : s->size > t->size;
}

/* Whether pair x goes before pair y, which comes as often. */
static bool hyb_learn_goes_before(const hyb_learner *b, uint32_t x, uint32_t y)
{
    const hyb_learn_pair *p = &b->pairs[x], *q = &b->pairs[y];
    if (b->by_ids) return p->left != q->left ? p->left < q->left : p->right < q->right;
    if (p->left != q->left) return hyb_learn_compare(b, p->left, q->left) > 0;
    return p->right != q->right && hyb_learn_compare(b, p->right, q->right) > 0;
}

HYB_INLINE bool hyb_learn_above(const hyb_learner *b, const hyb_learn_entry *x, const hyb_learn_entry *y)
{
    return x->count != y->count ? x->count > y->count : hyb_learn_goes_before(b, x->pair, y->pair);
}

/* Puts an entry where it belongs, at or below `at`. */
static void hyb_learn_sink(hyb_learner *b, size_t at, hyb_learn_entry entry)
{
    size_t child;
    for (; (child = 2 * at + 1) < b->n_heap; at = child) {
        HYB_STEPS(1);
        if (child + 1 < b->n_heap && hyb_learn_above(b, &b->heap[child + 1], &b->heap[child])) child++;
        if (!hyb_learn_above(b, &b->heap[child], &entry)) break;
        b->heap[at] = b->heap[child];
    }
    b->heap[at] = entry;
}

static bool hyb_learn_push(hyb_learner *b, uint32_t pair)
{
    hyb_learn_entry entry;
    size_t at = b->n_heap;
    if (at == b->heap_room) {
        void *block = b->heap;
        if (!hyb_budget_grow(b->memory, &block, &b->heap_room, at + 1, sizeof *b->heap)) return false;
        b->heap = (hyb_learn_entry *)block;
    }
    entry.count = b->pairs[pair].count;
    entry.pair = pair;
    b->pairs[pair].state = HYB_LEARN_WAITS;
    b->n_heap++;
    for (; at && hyb_learn_above(b, &entry, &b->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        HYB_STEPS(1);
        b->heap[at] = b->heap[(at - 1) / 2];
    }
    b->heap[at] = entry;
    return true;
}

/* Puts a new pair into the heap, if it can ever be merged. */
static bool hyb_learn_wait(hyb_learner *b, uint32_t pair)
{
    hyb_learn_pair *p = &b->pairs[pair];
    if (p->count >= b->least && b->tokens[p->left].size + b->tokens[p->right].size <= b->longest)
        return hyb_learn_push(b, pair);
    p->state = HYB_LEARN_SLEEPS;
    return true;
}

static void hyb_learn_release(hyb_learner *b, uint32_t pair)
{
    b->pairs[pair].first = b->free;
    b->free = pair;
}

/* Takes the pairs without places out of the heap. */
static void hyb_learn_sweep(hyb_learner *b)
{
    size_t i, n = 0;
    HYB_STEPS(b->n_heap);
    for (i = 0; i < b->n_heap; i++) {
        if (b->pairs[b->heap[i].pair].count)
            b->heap[n++] = b->heap[i];
        else
            hyb_learn_release(b, b->heap[i].pair);
    }
    b->n_heap = n;
    b->n_gone = 0;
    for (i = n / 2; i-- > 0;) hyb_learn_sink(b, i, b->heap[i]);
}

/* The pair that comes most often, out of the heap; HYB_LEARN_NONE: none comes often enough. */
static uint32_t hyb_learn_pop(hyb_learner *b)
{
    while (b->n_heap) {
        hyb_learn_entry top = b->heap[0];
        hyb_learn_pair *pair = &b->pairs[top.pair];
        HYB_STEPS(1);
        if (top.count < b->least) break;
        if (pair->count && pair->count < top.count) {
            top.count = pair->count;
            hyb_learn_sink(b, 0, top);
            continue;
        }
        if (--b->n_heap) hyb_learn_sink(b, 0, b->heap[b->n_heap]);
        pair->state = HYB_LEARN_NEW;
        if (pair->count) return top.pair;
        b->n_gone--;
        hyb_learn_release(b, top.pair);
    }
    return HYB_LEARN_NONE;
}

/* ---- pairs and their places -------------------------------------------------------------------------------------- */

/* A pair without places; HYB_LEARN_NONE: no memory. */
static uint32_t hyb_learn_new_pair(hyb_learner *b, uint32_t left, uint32_t right)
{
    hyb_learn_pair *pair;
    uint32_t id = b->free;
    if (id != HYB_LEARN_NONE)
        b->free = b->pairs[id].first;
    else {
        if (b->n_pairs == b->pairs_room) {
            void *block = b->pairs;
            if (!hyb_budget_grow(b->memory, &block, &b->pairs_room, b->n_pairs + 1, sizeof *b->pairs))
                return HYB_LEARN_NONE;
            b->pairs = (hyb_learn_pair *)block;
        }
        id = (uint32_t)b->n_pairs++;
    }
    pair = &b->pairs[id];
    pair->count = 0;
    pair->left = left;
    pair->right = right;
    pair->first = HYB_LEARN_NONE;
    pair->state = HYB_LEARN_NEW;
    return id;
}

HYB_INLINE void hyb_learn_link(hyb_learner *b, uint32_t place, uint32_t pair)
{
    hyb_learn_slot *slot = &b->slots[place];
    hyb_learn_pair *p = &b->pairs[pair];
    slot->pair = pair;
    slot->before = HYB_LEARN_NONE;
    slot->after = p->first;
    if (p->first != HYB_LEARN_NONE) b->slots[p->first].before = place;
    p->first = place;
    p->count += b->words->words[slot->word].count;
}

HYB_INLINE void hyb_learn_unlink(hyb_learner *b, uint32_t place)
{
    hyb_learn_slot *slot = &b->slots[place];
    hyb_learn_pair *p = &b->pairs[slot->pair];
    if (slot->before != HYB_LEARN_NONE)
        b->slots[slot->before].after = slot->after;
    else
        p->first = slot->after;
    if (slot->after != HYB_LEARN_NONE) b->slots[slot->after].before = slot->before;
    p->count -= b->words->words[slot->word].count;
    if (!p->count && p->state == HYB_LEARN_WAITS) b->n_gone++;
    if (!p->count && p->state == HYB_LEARN_SLEEPS) hyb_learn_release(b, slot->pair);
    slot->pair = HYB_LEARN_NONE;
}

/* The slot of the token before the one at place; only where there is one. */
HYB_INLINE uint32_t hyb_learn_before(const hyb_learner *b, uint32_t place)
{
    const int32_t last = b->slots[place - 1].token;
    return last < HYB_LEARN_END ? place - (uint32_t)-last : place - 1;
}

/* Threads place into the pair of the newest token (with its neighbour: by_left or by_right), which may be new itself.
 */
HYB_INLINE bool hyb_learn_join(hyb_learner *b, uint32_t place, uint32_t left, uint32_t right, uint32_t *pair)
{
    if (*pair == HYB_LEARN_NONE) {
        if ((*pair = hyb_learn_new_pair(b, left, right)) == HYB_LEARN_NONE) return false;
        b->fresh[b->n_fresh++] = *pair;
    }
    hyb_learn_link(b, place, *pair);
    return true;
}

/* The token at place and the one after it become `token`. */
HYB_INLINE bool hyb_learn_merge_at(hyb_learner *b, uint32_t place, uint32_t token)
{
    hyb_learn_slot *slots = b->slots;
    const uint32_t size = b->tokens[token].size, end = place + size;
    const uint32_t right = place + b->tokens[slots[place].token].size;
    HYB_STEPS(1);
    hyb_learn_unlink(b, place);
    if (slots[right].pair != HYB_LEARN_NONE) hyb_learn_unlink(b, right);
    slots[place].token = (int32_t)token;
    slots[end - 1].token = -(int32_t)size;
    if (slots[place - 1].token != HYB_LEARN_END) {
        const uint32_t before = hyb_learn_before(b, place), other = (uint32_t)slots[before].token;
        hyb_learn_unlink(b, before);
        if (!hyb_learn_join(b, before, other, token, other == token ? &b->by_right[token] : &b->by_left[other]))
            return false;
    }
    if (slots[end].token != HYB_LEARN_END) {
        const uint32_t other = (uint32_t)slots[end].token;
        if (!hyb_learn_join(b, place, token, other, &b->by_right[other])) return false;
    }
    return true;
}

static HYB_NOINLINE bool hyb_learn_report(hyb_learner *b)
{
    const float done = (float)((double)(b->n_tokens - b->n_first) / (double)(b->most - b->n_first));
    b->work = 0;
    b->cancelled = !hyb_report(b->progress, b->user, b->from + (1 - b->from) * HYB_MIN(done, 1.0f));
    return !b->cancelled;
}

static hybrid_result hyb_learn_fail(const hyb_learner *b, hybrid_error *error)
{
    if (b->cancelled) return hyb_fail(error, HYBRID_ERROR_CANCELLED, "training a tokenizer was cancelled");
    return hyb_budget_fail(b->memory, "merging", error);
}

/* All places of a pair, which then has none. A pair of equal tokens lies on itself in a run of them: runs are merged
 * from the left, each in one go. */
static bool hyb_learn_merge_all(hyb_learner *b, uint32_t pair, uint32_t token)
{
    const uint32_t left = b->pairs[pair].left, size = b->tokens[left].size;
    const bool twins = left == b->pairs[pair].right;
    uint32_t place;
    while ((place = b->pairs[pair].first) != HYB_LEARN_NONE) {
        if (b->work++ >= HYB_LEARN_REPORT && !hyb_learn_report(b)) return false;
        if (!twins) {
            if (!hyb_learn_merge_at(b, place, token)) return false;
            continue;
        }
        while (b->slots[place - 1].token != HYB_LEARN_END) {
            const uint32_t before = hyb_learn_before(b, place);
            HYB_STEPS(1);
            if (b->slots[before].token != (int32_t)left) break;
            place = before;
        }
        while (b->slots[place].token == (int32_t)left && b->slots[place].pair == pair) {
            b->work++;
            if (!hyb_learn_merge_at(b, place, token)) return false;
            place += 2 * size;
        }
    }
    return true;
}

/* What the merge of a pair into `token` leaves to do: its pair is free, those that it made wait for their turn. */
static bool hyb_learn_finish(hyb_learner *b, uint32_t pair)
{
    size_t i;
    hyb_learn_release(b, pair);
    for (i = 0; i < b->n_fresh; i++) {
        const uint32_t id = b->fresh[i];
        const hyb_learn_pair *p = &b->pairs[id];
        HYB_STEPS(1);
        b->by_left[p->left] = b->by_right[p->right] = HYB_LEARN_NONE;
        if (!p->count)
            hyb_learn_release(b, id);
        else if (!hyb_learn_wait(b, id))
            return false;
    }
    b->n_fresh = 0;
    if (b->n_gone > b->n_heap / 2) hyb_learn_sweep(b);
    return true;
}

/* ---- from words to merges ---------------------------------------------------------------------------------------- */

static uint64_t hyb_learn_head(const uint8_t *p, size_t size)
{
    uint64_t head = 0;
    size_t i;
    for (i = 0; i < 8; i++) head = head << 8 | (i < size ? p[i] : 0);
    return head;
}

static void hyb_learn_add_token(hyb_learner *b, uint32_t at, uint32_t size)
{
    hyb_learn_token *token = &b->tokens[b->n_tokens++];
    token->at = at;
    token->size = size;
    token->head = hyb_learn_head(b->words->bytes + at, size);
}

/* Slots, and room for tokens. */
static bool hyb_learn_make_room(hyb_learner *b, size_t vocab_size)
{
    const size_t n = 1 + b->words->used + b->words->n;
    b->most = HYB_MIN(vocab_size, b->n_first + n); /* a merge takes at least one token away */
    b->tokens = (hyb_learn_token *)hyb_budget_alloc(b->memory, b->most * sizeof *b->tokens);
    b->merges = (hyb_learn_merge *)hyb_budget_alloc(b->memory, b->most * sizeof *b->merges);
    b->by_left = (uint32_t *)hyb_budget_alloc(b->memory, 4 * b->most * sizeof *b->by_left);
    b->slots = (hyb_learn_slot *)hyb_budget_alloc(b->memory, n * sizeof *b->slots);
    b->n_slots = b->slots ? n : 0;
    if (!b->tokens || !b->merges || !b->by_left || !b->slots) return false;
    b->by_right = b->by_left + b->most;
    b->fresh = b->by_right + b->most;
    memset(b->by_left, 0xFF, 2 * b->most * sizeof *b->by_left);
    return true;
}

/* The special tokens, which no word holds, and the bytes. */
static void hyb_learn_first_tokens(hyb_learner *b, const uint8_t bytes[256])
{
    size_t i;
    memset(b->tokens, 0, b->n_first * sizeof *b->tokens);
    for (i = 0; i < 256; i++) {
        hyb_learn_token *token = &b->tokens[b->n_first - 256 + i];
        token->head = (uint64_t)bytes[i] << 56;
        token->size = 1;
    }
    b->n_tokens = b->n_first;
}

/* Every word, a slot a byte. */
static void hyb_learn_fill(hyb_learner *b, const uint8_t bytes[256])
{
    const hyb_words *w = b->words;
    uint32_t ids[256];
    size_t at = 0, i, k;
    for (i = 0; i < 256; i++) ids[bytes[i]] = (uint32_t)(b->n_first - 256 + i);
    b->slots[at++].token = HYB_LEARN_END;
    for (i = 0; i < w->n; i++) {
        const hyb_counted_word *word = &w->words[i];
        for (k = 0; k <= word->size; k++, at++) {
            b->slots[at].token = k < word->size ? (int32_t)ids[w->bytes[word->at + k]] : HYB_LEARN_END;
            b->slots[at].pair = HYB_LEARN_NONE;
            b->slots[at].word = (uint32_t)i;
        }
    }
}

/* Threads all pairs of bytes, from the last place to the first, and makes the heap. table: 65536 */
static bool hyb_learn_thread(hyb_learner *b, uint32_t *table)
{
    size_t i;
    memset(table, 0xFF, 65536 * sizeof *table);
    for (i = b->n_slots; i-- > 1;) {
        const int32_t left = b->slots[i - 1].token, right = b->slots[i].token;
        uint32_t *pair;
        HYB_STEPS(1);
        if (left == HYB_LEARN_END || right == HYB_LEARN_END) continue;
        pair = &table[((uint32_t)left - b->n_first + 256) << 8 | ((uint32_t)right - b->n_first + 256)];
        if (*pair == HYB_LEARN_NONE &&
            (*pair = hyb_learn_new_pair(b, (uint32_t)left, (uint32_t)right)) == HYB_LEARN_NONE)
            return false;
        hyb_learn_link(b, (uint32_t)(i - 1), *pair);
    }
    for (i = 0; i < b->n_pairs; i++)
        if (!hyb_learn_wait(b, (uint32_t)i)) return false;
    return true;
}

/* bytes: in the order of their ids */
static hybrid_result hyb_learn_begin(hyb_learner *b, size_t vocab_size, const uint8_t bytes[256], hybrid_error *error)
{
    uint32_t *table;
    bool ok;
    b->free = HYB_LEARN_NONE;
    if (!hyb_learn_make_room(b, vocab_size) ||
        !(table = (uint32_t *)hyb_budget_alloc(b->memory, 65536 * sizeof *table)))
        return hyb_learn_fail(b, error);
    hyb_learn_first_tokens(b, bytes);
    hyb_learn_fill(b, bytes);
    ok = hyb_learn_thread(b, table);
    hyb_budget_free(b->memory, table, 65536 * sizeof *table);
    return ok ? HYBRID_OK : hyb_learn_fail(b, error);
}

/* Merges until there are as many tokens as are wanted, or no pair comes often enough. */
static hybrid_result hyb_learn_run(hyb_learner *b, hybrid_error *error)
{
    uint32_t pair;
    while (b->n_tokens < b->most && (pair = hyb_learn_pop(b)) != HYB_LEARN_NONE) {
        const hyb_learn_pair *p = &b->pairs[pair];
        const uint32_t token = (uint32_t)b->n_tokens;
        b->last_count = p->count;
        b->merges[token - b->n_first].left = p->left;
        b->merges[token - b->n_first].right = p->right;
        /* a slot stands for a byte, but for the first one and those after words */
        hyb_learn_add_token(b, p->first - 1 - b->slots[p->first].word,
                            b->tokens[p->left].size + b->tokens[p->right].size);
        if (!hyb_learn_merge_all(b, pair, token) || !hyb_learn_finish(b, pair)) return hyb_learn_fail(b, error);
        if (!(b->n_tokens & 1023) && !hyb_learn_report(b)) return hyb_learn_fail(b, error);
    }
    return HYBRID_OK;
}
#endif
