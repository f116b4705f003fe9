/* text/grammar/draft: rules as a network while they are made: positions, and edges between them that take a character,
 * a byte, nothing, or a whole rule. A piece of a rule is made by adding to the end, so it is a run of positions and a
 * run of edges, and repeating it is copying the runs.
 *
 * The first failure is kept; after it every call does nothing, so that those who build can look once in a while. */
#ifndef HYB_TEXT_GRAMMAR_DRAFT_C
#define HYB_TEXT_GRAMMAR_DRAFT_C
#include "../../core/decimal.c"
#include "../../core/grow.c"
#include "../../core/utf8.c"

#define HYB_DRAFT_MAX_POSITIONS 262144
#define HYB_DRAFT_MAX_EDGES     1048576
#define HYB_DRAFT_NONE          0xFFFFFFFFu

typedef enum hyb_edge_kind {
    HYB_EDGE_CHARS, /* a code point low..high */
    HYB_EDGE_BYTES, /* a byte low..high */
    HYB_EDGE_EMPTY,
    HYB_EDGE_CALL,  /* a text of the rule `low` */
    HYB_EDGE_BEGIN, /* nothing, at the beginning of the text; */
    HYB_EDGE_END    /* nothing, at its end: both in patterns only */
} hyb_edge_kind;

typedef struct hyb_edge {
    uint32_t kind, low, high, to;
    uint32_t next; /* of the same position, HYB_DRAFT_NONE: the last */
} hyb_edge;

typedef struct hyb_draft_rule {
    uint32_t start, end; /* HYB_DRAFT_NONE: not defined (yet) */
} hyb_draft_rule;

typedef struct hyb_draft {
    hybrid_runtime *rt;
    uint32_t *first; /* edge of each position, the last one added */
    hyb_edge *edges;
    hyb_draft_rule *rules;
    size_t n, n_edges, n_rules, capacity, edge_capacity, rule_capacity;
    hybrid_result failed;
    hybrid_error *error;
} hyb_draft;

typedef struct hyb_fragment {
    uint32_t start, end;
} hyb_fragment;

/* Where a piece begins in the two arrays. */
typedef struct hyb_draft_mark {
    size_t position, edge;
} hyb_draft_mark;

static void hyb_draft_free(hyb_draft *draft)
{
    hyb_free(draft->rt, draft->first);
    hyb_free(draft->rt, draft->edges);
    hyb_free(draft->rt, draft->rules);
    draft->first = NULL;
    draft->edges = NULL;
    draft->rules = NULL;
}

static void hyb_draft_begin(hyb_draft *draft, hybrid_runtime *rt, hybrid_error *error)
{
    memset(draft, 0, sizeof *draft);
    draft->rt = rt;
    draft->error = error;
}

static void hyb_draft_too_large(hyb_draft *draft)
{
    draft->failed = hyb_fail(draft->error, HYBRID_ERROR_LIMIT,
                             "the grammar has more than %d positions when its repetitions are written out: repeat less",
                             HYB_DRAFT_MAX_POSITIONS);
}

/* n new positions without edges; the first of them. */
static uint32_t hyb_draft_positions(hyb_draft *draft, size_t n)
{
    const size_t at = draft->n;
    size_t i;
    if (draft->failed) return 0;
    if (n > HYB_DRAFT_MAX_POSITIONS - at) hyb_draft_too_large(draft);
    if (!draft->failed) draft->failed = HYB_GROW(draft->rt, draft->first, draft->capacity, at, at + n, draft->error);
    if (draft->failed) return 0;
    for (i = 0; i < n; i++) draft->first[at + i] = HYB_DRAFT_NONE;
    draft->n += n;
    return (uint32_t)at;
}

static void hyb_draft_edge(hyb_draft *draft, uint32_t from, hyb_edge_kind kind, uint32_t low, uint32_t high,
                           uint32_t to)
{
    hyb_edge *e;
    if (draft->failed) return;
    if (draft->n_edges == HYB_DRAFT_MAX_EDGES) hyb_draft_too_large(draft);
    if (!draft->failed)
        draft->failed =
            HYB_GROW(draft->rt, draft->edges, draft->edge_capacity, draft->n_edges, draft->n_edges + 1, draft->error);
    if (draft->failed) return;
    e = &draft->edges[draft->n_edges];
    e->kind = (uint32_t)kind;
    e->low = low;
    e->high = high;
    e->to = to;
    e->next = draft->first[from];
    draft->first[from] = (uint32_t)draft->n_edges++;
}

static void hyb_draft_empty(hyb_draft *draft, uint32_t from, uint32_t to)
{
    hyb_draft_edge(draft, from, HYB_EDGE_EMPTY, 0, 0, to);
}

/* A new position after `from` behind one edge. */
static uint32_t hyb_draft_then(hyb_draft *draft, uint32_t from, hyb_edge_kind kind, uint32_t low, uint32_t high)
{
    const uint32_t to = hyb_draft_positions(draft, 1);
    hyb_draft_edge(draft, from, kind, low, high, to);
    return to;
}

static hyb_draft_mark hyb_draft_here(const hyb_draft *draft)
{
    hyb_draft_mark mark;
    mark.position = draft->n;
    mark.edge = draft->n_edges;
    return mark;
}

/* One more copy, at the end, of the piece that lies between two marks; edges to positions before it lead there too. */
static void hyb_draft_copy(hyb_draft *draft, hyb_draft_mark from, hyb_draft_mark to)
{
    const size_t by = draft->n - from.position, edge_by = draft->n_edges - from.edge;
    size_t i;
    HYB_STEPS(to.position - from.position + to.edge - from.edge);
    hyb_draft_positions(draft, to.position - from.position);
    if (!draft->failed && to.edge - from.edge > HYB_DRAFT_MAX_EDGES - draft->n_edges) hyb_draft_too_large(draft);
    if (!draft->failed)
        draft->failed = HYB_GROW(draft->rt, draft->edges, draft->edge_capacity, draft->n_edges,
                                 draft->n_edges + (to.edge - from.edge), draft->error);
    if (draft->failed) return;
    for (i = from.position; i < to.position; i++)
        draft->first[i + by] = draft->first[i] == HYB_DRAFT_NONE ? HYB_DRAFT_NONE : draft->first[i] + (uint32_t)edge_by;
    for (i = from.edge; i < to.edge; i++) {
        hyb_edge e = draft->edges[i];
        if (e.to >= from.position) e.to += (uint32_t)by;
        if (e.next != HYB_DRAFT_NONE) e.next += (uint32_t)edge_by;
        draft->edges[draft->n_edges++] = e;
    }
}

/* The piece that was made since mark, least to most times (most HYB_DRAFT_NONE: without end). No edge may lead out of
 * it or into it yet. */
static hyb_fragment hyb_draft_repeat(hyb_draft *draft, hyb_draft_mark mark, hyb_fragment piece, uint32_t least,
                                     uint32_t most)
{
    const hyb_draft_mark end = hyb_draft_here(draft);
    const uint32_t copies = most == HYB_DRAFT_NONE ? HYB_MAX(least, 1) : most;
    const uint32_t size = (uint32_t)(end.position - mark.position);
    hyb_fragment whole;
    uint32_t i;
    for (i = 1; i < copies && !draft->failed; i++) hyb_draft_copy(draft, mark, end); /* before edges join them */
    whole.start = hyb_draft_positions(draft, 2);
    whole.end = whole.start + 1;
    if (!least || !most) hyb_draft_empty(draft, whole.start, whole.end);
    for (i = 0; i < copies && !draft->failed; i++) {
        const uint32_t start = piece.start + i * size, stop = piece.end + i * size;
        hyb_draft_empty(draft, i ? stop - size : whole.start, start);
        if (i + 1 >= least) hyb_draft_empty(draft, stop, whole.end);
        if (i + 1 == copies && most == HYB_DRAFT_NONE) hyb_draft_empty(draft, stop, start);
    }
    return whole;
}
#endif
