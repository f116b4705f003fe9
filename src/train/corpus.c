/* train/corpus: tokens, and the pieces of them that windows are cut from. A piece is a document: it begins with the
 * token that ended the one before, where there is such a token, so that its first word is predicted from something.
 *
 *     tokens    a b <eos> c d e <eos> f g
 *     pieces    a b <eos>
 *                   <eos> c d e <eos>
 *                               <eos> f g
 */
#ifndef HYB_TRAIN_CORPUS_C
#define HYB_TRAIN_CORPUS_C
#include "budget.c"
#include "documents.c"

enum { HYB_CORPUS_BLOCK = 16384 }; /* tokens that are read at a time */

typedef struct hyb_piece {
    uint64_t first; /* number of its first window, in its part */
    uint64_t at;    /* token */
    uint64_t n;     /* tokens, at least 2 */
    uint32_t source;
} hyb_piece;

/* Targets that count less than others. */
typedef struct hyb_weighed {
    size_t begin, end; /* tokens */
    float weight;
} hyb_weighed;

typedef struct hyb_corpus {
    hyb_budget memory;
    int width;        /* bytes of a token: 2, 4 */
    uint32_t n_vocab; /* ids from there on are not tokens */
    int32_t n_ctx;
    uint64_t header; /* bytes before the tokens of a file */
    /* either files, or */
    hyb_file *files;
    size_t n_files;
    /* tokens in memory, all of source 0 */
    uint8_t *tokens;
    size_t n_tokens, room;
    uint8_t *marks; /* conversations: a bit for every token that is a target; NULL: all are */
    size_t marks_room;
    hyb_weighed *weighed; /* conversations: in the order of tokens; all others count 1 */
    size_t n_weighed, weighed_room;
    hyb_piece *pieces;
    size_t n_pieces, pieces_room;
    size_t n_train; /* pieces; the others are for validation */
} hyb_corpus;

static void hyb_corpus_free(hyb_corpus *c)
{
    size_t i;
    for (i = 0; i < c->n_files; i++) hyb_file_close(&c->files[i]);
    hyb_free(c->memory.rt, c->files);
    hyb_budget_free(&c->memory, c->tokens, c->room);
    hyb_budget_free(&c->memory, c->marks, c->marks_room);
    hyb_budget_free(&c->memory, c->weighed, c->weighed_room * sizeof *c->weighed);
    hyb_budget_free(&c->memory, c->pieces, c->pieces_room * sizeof *c->pieces);
}

HYB_INLINE uint64_t hyb_piece_windows(const hyb_corpus *c, const hyb_piece *p)
{
    return (p->n - 1 + (uint64_t)c->n_ctx - 1) / (uint64_t)c->n_ctx;
}

/* A piece of at least two tokens. false: no memory. */
static bool hyb_corpus_add_piece(hyb_corpus *c, uint32_t source, uint64_t at, uint64_t n)
{
    hyb_piece *p;
    if (c->n_pieces == c->pieces_room) {
        void *block = c->pieces;
        if (!hyb_budget_grow(&c->memory, &block, &c->pieces_room, c->n_pieces + 1, sizeof *c->pieces)) return false;
        c->pieces = (hyb_piece *)block;
    }
    p = &c->pieces[c->n_pieces++];
    p->first = 0;
    p->source = source;
    p->at = at;
    p->n = n;
    return true;
}

/* The next n tokens count less than others. false: no memory. */
static bool hyb_corpus_weigh(hyb_corpus *c, size_t n, float weight)
{
    void *block = c->weighed;
    hyb_weighed *w;
    if (c->n_weighed == c->weighed_room) {
        if (!hyb_budget_grow(&c->memory, &block, &c->weighed_room, c->n_weighed + 1, sizeof *w)) return false;
        c->weighed = (hyb_weighed *)block;
    }
    w = &c->weighed[c->n_weighed++];
    w->begin = c->n_tokens;
    w->end = c->n_tokens + n;
    w->weight = weight;
    return true;
}

/* What a target counts. */
static float hyb_corpus_weight(const hyb_corpus *c, uint64_t token)
{
    size_t i = 0, end = c->n_weighed;
    while (end - i > 1) {
        const size_t middle = i + (end - i) / 2;
        if (c->weighed[middle].begin <= token)
            i = middle;
        else
            end = middle;
    }
    return i < end && token >= c->weighed[i].begin && token < c->weighed[i].end ? c->weighed[i].weight : 1;
}

/* n tokens after those in memory; marked: they are targets (conversations). */
static bool hyb_corpus_append(hyb_corpus *c, const int32_t *ids, size_t n, bool marked)
{
    void *block = c->tokens;
    size_t i, need;
    if (!hyb_mul_size(c->n_tokens + n, (size_t)c->width, &need)) return false;
    if (need > c->room && !hyb_budget_grow(&c->memory, &block, &c->room, need, 1)) return false;
    c->tokens = (uint8_t *)block;
    for (i = 0; i < n; i++) {
        const uint32_t id = (uint32_t)ids[i];
        const uint16_t half = (uint16_t)id;
        if (c->width == 2)
            memcpy(c->tokens + (c->n_tokens + i) * 2, &half, 2);
        else
            memcpy(c->tokens + (c->n_tokens + i) * 4, &id, 4);
    }
    if (c->marks || marked) {
        const size_t old = c->marks_room;
        block = c->marks;
        if ((c->n_tokens + n) / 8 + 1 > old) {
            if (!hyb_budget_grow(&c->memory, &block, &c->marks_room, (c->n_tokens + n) / 8 + 1, 1)) return false;
            c->marks = (uint8_t *)block;
            memset(c->marks + old, 0, c->marks_room - old);
        }
        for (i = 0; i < n && marked; i++) c->marks[(c->n_tokens + i) >> 3] |= (uint8_t)(1u << ((c->n_tokens + i) & 7));
    }
    c->n_tokens += n;
    return true;
}

HYB_INLINE bool hyb_corpus_marked(const hyb_corpus *c, uint64_t token)
{
    return !c->marks || (c->marks[(size_t)(token >> 3)] >> (token & 7) & 1) != 0;
}

/* Forgets the tokens and pieces after the first so many. */
static void hyb_corpus_cut(hyb_corpus *c, size_t n_tokens, size_t n_pieces)
{
    size_t i;
    for (i = n_tokens; c->marks && i < c->n_tokens; i++) c->marks[i >> 3] &= (uint8_t) ~(1u << (i & 7));
    while (c->n_weighed && c->weighed[c->n_weighed - 1].begin >= n_tokens) c->n_weighed--;
    c->n_tokens = n_tokens;
    c->n_pieces = n_pieces;
}

static uint64_t hyb_corpus_source_size(const hyb_corpus *c, uint32_t source)
{
    return c->n_files ? (c->files[source].size - c->header) / (uint64_t)c->width : c->n_tokens;
}

/* n tokens from `at` on of a source; they are looked at, for a file may have changed. */
static hybrid_result hyb_corpus_read(const hyb_corpus *c, uint32_t source, uint64_t at, size_t n, int32_t *ids,
                                     hybrid_error *error)
{
    uint8_t *bytes = (uint8_t *)ids; /* the tokens lie at its end, until they are spread */
    size_t i;
    hybrid_result r;
    if (!n) return HYBRID_OK;
    bytes += n * (4 - (size_t)c->width);
    if (!c->n_files)
        memcpy(bytes, c->tokens + (size_t)at * (size_t)c->width, n * (size_t)c->width);
    else if ((r = hyb_file_read(&c->files[source], c->header + at * (uint64_t)c->width, bytes, n * (size_t)c->width,
                                error)) != HYBRID_OK)
        return r;
    for (i = 0; i < n; i++) {
        uint32_t id = 0;
        uint16_t half;
        if (c->width == 2) {
            memcpy(&half, bytes + i * 2, 2);
            id = half;
        } else
            memcpy(&id, bytes + i * 4, 4);
        if (id >= c->n_vocab)
            return hyb_fail_at(error, HYBRID_ERROR_FORMAT, c->header + (at + i) * (uint64_t)c->width,
                               "token %llu of source %lu is %lu, but there are only %lu tokens",
                               (unsigned long long)(at + i), (unsigned long)source, (unsigned long)id,
                               (unsigned long)c->n_vocab);
        memcpy(&ids[i], &id, 4);
    }
    return HYBRID_OK;
}

/* Pieces of a token file, by the token that ends documents (-1: none). first: a token that begins documents, which then
 * begin there and not at the end of the one before; -1: none. */
static hybrid_result hyb_corpus_scan(hyb_corpus *c, uint32_t source, int32_t separator, int32_t first, int32_t *block,
                                     hybrid_error *error)
{
    const uint64_t size = hyb_corpus_source_size(c, source);
    uint64_t at, begin = 0;
    bool ended = false; /* the token before is a separator */
    size_t i, n;
    hybrid_result r;
    for (at = 0; at < size; at += n) {
        n = (size_t)HYB_MIN(size - at, (uint64_t)HYB_CORPUS_BLOCK);
        if ((r = hyb_corpus_read(c, source, at, n, block, error)) != HYBRID_OK) return r;
        for (i = 0; i < n; i++) {
            if (ended && block[i] == first) begin = at + i;
            if (block[i] == separator) {
                /* two separators side by side are an empty document */
                if (!ended && at + i > begin && !hyb_corpus_add_piece(c, source, begin, at + i - begin + 1))
                    return hyb_budget_fail(&c->memory, "listing documents", error);
                begin = at + i;
            }
            ended = block[i] == separator;
        }
    }
    if (size && size - begin > 1 && !hyb_corpus_add_piece(c, source, begin, size - begin))
        return hyb_budget_fail(&c->memory, "listing documents", error);
    return HYBRID_OK;
}

/* Whether b begins where a ends: with its last token, or the one after it. */
static bool hyb_corpus_touch(const hyb_piece *a, const hyb_piece *b)
{
    return a->source == b->source && (b->at == a->at + a->n - 1 || b->at == a->at + a->n);
}

/* Splits off the part of the targets that is for validation, and joins what may be joined (across). cut: a document may
 * be cut in two. */
static bool hyb_corpus_split(hyb_corpus *c, double part, bool across, bool cut)
{
    uint64_t total = 0, train = 0, want, nearest = 0;
    size_t i, to = 0, best = 0;
    for (i = 0; i < c->n_pieces; i++) total += c->pieces[i].n - 1;
    want = total - (uint64_t)((double)total * part);
    if (part > 0 && want == total && total > 1) want--;
    for (i = 0; i <= c->n_pieces; i++) { /* the border that is nearest to `want` */
        const uint64_t distance = train > want ? train - want : want - train;
        if (!i || distance < nearest) {
            nearest = distance;
            best = i;
        }
        if (i < c->n_pieces) train += c->pieces[i].n - 1;
    }
    if (part > 0 && cut && nearest * 2 > total - want) {
        for (i = 0, train = 0; train + c->pieces[i].n - 1 < want; i++) train += c->pieces[i].n - 1;
        if (want > train && want < train + c->pieces[i].n - 1) {
            const hyb_piece whole = c->pieces[i];
            const uint64_t n = want - train; /* targets that stay */
            if (!hyb_corpus_add_piece(c, 0, 0, 0)) return false;
            memmove(&c->pieces[i + 1], &c->pieces[i], (c->n_pieces - 1 - i) * sizeof *c->pieces);
            c->pieces[i].n = n + 1;
            c->pieces[i + 1].at = whole.at + n;
            c->pieces[i + 1].n = whole.n - n;
        }
        best = i + 1;
    }
    if (!(part > 0)) best = c->n_pieces;
    c->n_train = 0;
    for (i = 0; i < c->n_pieces; i++) {
        hyb_piece *last = to ? &c->pieces[to - 1] : NULL;
        if (i == best) c->n_train = to;
        if (across && last && i != best && hyb_corpus_touch(last, &c->pieces[i]))
            last->n = c->pieces[i].at + c->pieces[i].n - last->at;
        else
            c->pieces[to++] = c->pieces[i];
    }
    if (best >= c->n_pieces) c->n_train = to;
    c->n_pieces = to;
    return true;
}

/* Numbers the windows of pieces from i to end; returns how many there are. targets: what is counted in them. */
static uint64_t hyb_corpus_number(hyb_corpus *c, size_t i, size_t end, uint64_t *targets)
{
    uint64_t n = 0, k;
    *targets = 0;
    for (; i < end; i++) {
        c->pieces[i].first = n;
        n += hyb_piece_windows(c, &c->pieces[i]);
        if (!c->marks) *targets += c->pieces[i].n - 1;
        for (k = 1; c->marks && k < c->pieces[i].n; k++) *targets += hyb_corpus_marked(c, c->pieces[i].at + k);
    }
    return n;
}

/* One window of the part that begins with piece i and ends before piece end. scratch: n_ctx + 1; weights may be
 * NULL. */
static hybrid_result hyb_corpus_window(const hyb_corpus *c, size_t i, size_t end, uint64_t window, int32_t *scratch,
                                       int32_t *ids, int32_t *targets, float *weights, hybrid_error *error)
{
    const hyb_piece *p;
    uint64_t skip;
    int32_t k, n;
    hybrid_result r;
    while (end - i > 1) {
        const size_t middle = i + (end - i) / 2;
        if (c->pieces[middle].first <= window)
            i = middle;
        else
            end = middle;
    }
    p = &c->pieces[i];
    skip = (window - p->first) * (uint64_t)c->n_ctx;
    n = (int32_t)HYB_MIN(p->n - 1 - skip, (uint64_t)c->n_ctx);
    if ((r = hyb_corpus_read(c, p->source, p->at + skip, (size_t)n + 1, scratch, error)) != HYBRID_OK) return r;
    for (k = 0; k < c->n_ctx; k++) {
        ids[k] = k < n ? scratch[k] : 0;
        targets[k] = k < n && hyb_corpus_marked(c, p->at + skip + (uint64_t)k + 1) ? scratch[k + 1] : -1;
        if (weights) weights[k] = targets[k] < 0 ? 0 : hyb_corpus_weight(c, p->at + skip + (uint64_t)k + 1);
    }
    return HYBRID_OK;
}
#endif
