/* text/grammar/dfa: sets of texts, as automata that read a character at a time and always know where they are. So
 * "both", "one but not the other" and "is there any" have answers, which a network does not give. */
#ifndef HYB_TEXT_GRAMMAR_DFA_C
#define HYB_TEXT_GRAMMAR_DFA_C
#include "draft.c"

#define HYB_DFA_MAX_STATES 65536
#define HYB_DFA_MAX_ARCS   524288
#define HYB_DFA_DEAD       0xFFFFFFFFu
#define HYB_CHAR_LAST      0x10FFFFu

typedef struct hyb_arc {
    uint32_t low, high, to; /* a character low..high */
} hyb_arc;

typedef struct hyb_dfa_state {
    uint32_t first; /* arcs, sorted; they end where those of the next state begin */
    bool end;       /* a text may end here */
} hyb_dfa_state;

typedef struct hyb_dfa {
    hyb_dfa_state *states; /* 0: the beginning */
    hyb_arc *arcs;
    size_t n, n_arcs, capacity, arc_capacity;
} hyb_dfa;

static void hyb_dfa_free(hybrid_runtime *rt, hyb_dfa *a)
{
    hyb_free(rt, a->states);
    hyb_free(rt, a->arcs);
    memset(a, 0, sizeof *a);
}

HYB_INLINE uint32_t hyb_dfa_arcs_end(const hyb_dfa *a, size_t state)
{
    return state + 1 < a->n ? a->states[state + 1].first : (uint32_t)a->n_arcs;
}

static hybrid_result hyb_dfa_full(hybrid_error *error)
{
    return hyb_fail(error, HYBRID_ERROR_LIMIT,
                    "the texts that are allowed need more than %d states: make patterns, lengths and bounds simpler",
                    HYB_DFA_MAX_STATES);
}

/* A new state, the last one, to which arcs are added in order. */
static hybrid_result hyb_dfa_state_add(hybrid_runtime *rt, hyb_dfa *a, bool end, hybrid_error *error)
{
    hybrid_result r;
    if (a->n == HYB_DFA_MAX_STATES) return hyb_dfa_full(error);
    if ((r = HYB_GROW(rt, a->states, a->capacity, a->n, a->n + 1, error)) != HYBRID_OK) return r;
    a->states[a->n].first = (uint32_t)a->n_arcs;
    a->states[a->n++].end = end;
    return HYBRID_OK;
}

static hybrid_result hyb_dfa_arc_add(hybrid_runtime *rt, hyb_dfa *a, uint32_t low, uint32_t high, uint32_t to,
                                     hybrid_error *error)
{
    hyb_arc *last = a->n_arcs > a->states[a->n - 1].first ? &a->arcs[a->n_arcs - 1] : NULL;
    hybrid_result r;
    HYB_STEPS(1);
    if (last && last->to == to && last->high + 1 == low) {
        last->high = high;
        return HYBRID_OK;
    }
    if (a->n_arcs == HYB_DFA_MAX_ARCS) return hyb_dfa_full(error);
    if ((r = HYB_GROW(rt, a->arcs, a->arc_capacity, a->n_arcs, a->n_arcs + 1, error)) != HYBRID_OK) return r;
    a->arcs[a->n_arcs].low = low;
    a->arcs[a->n_arcs].high = high;
    a->arcs[a->n_arcs++].to = to;
    return HYBRID_OK;
}

/* All texts of least to most characters (most HYB_DFA_DEAD: without end). */
static hybrid_result hyb_dfa_lengths(hybrid_runtime *rt, uint32_t least, uint32_t most, hyb_dfa *out,
                                     hybrid_error *error)
{
    const uint32_t last = most == HYB_DFA_DEAD ? least : most;
    hybrid_result r = HYBRID_OK;
    uint32_t i;
    memset(out, 0, sizeof *out);
    if (last >= HYB_DFA_MAX_STATES) return hyb_dfa_full(error);
    for (i = 0; i <= last && !r; i++) {
        r = hyb_dfa_state_add(rt, out, i >= least && least <= most, error);
        if (!r && (i < last || most == HYB_DFA_DEAD))
            r = hyb_dfa_arc_add(rt, out, 0, HYB_CHAR_LAST, HYB_MIN(i + 1, last), error);
    }
    if (r) hyb_dfa_free(rt, out);
    return r;
}

/* Whether there is any text: all states are reached from the beginning. */
static bool hyb_dfa_any(const hyb_dfa *a)
{
    size_t i;
    for (i = 0; i < a->n && !a->states[i].end; i++) {}
    return i < a->n;
}

/* ---- two of them ---- */

typedef enum hyb_dfa_how { HYB_DFA_BOTH, HYB_DFA_BUT_NOT, HYB_DFA_EITHER } hyb_dfa_how;

typedef struct hyb_dfa_product {
    hybrid_runtime *rt;
    const hyb_dfa *a, *b;
    hyb_dfa_how how;
    hyb_dfa *out;
    uint32_t (*pairs)[2]; /* the states of a and b that each state of out stands for */
    uint32_t *slots;      /* hash table of pair + 1 */
    size_t n, capacity, n_slots;
    hybrid_error *error;
} hyb_dfa_product;

static size_t hyb_dfa_product_slot(const hyb_dfa_product *p, uint32_t a, uint32_t b)
{
    uint32_t h = (a * 0x9E3779B1u ^ b) * 0x85EBCA77u;
    size_t at = (h ^ h >> 15) & (p->n_slots - 1);
    while (p->slots[at] && (p->pairs[p->slots[at] - 1][0] != a || p->pairs[p->slots[at] - 1][1] != b))
        at = (at + 1) & (p->n_slots - 1);
    return at;
}

static hybrid_result hyb_dfa_product_find(hyb_dfa_product *p, uint32_t a, uint32_t b, uint32_t *state)
{
    hybrid_result r;
    size_t at, i;
    if (p->n_slots <= 2 * p->n) {
        uint32_t *slots = (uint32_t *)hyb_calloc(p->rt, HYB_MAX(64, 4 * p->n_slots), sizeof *slots);
        if (!slots) return hyb_fail_memory(p->error, 4 * p->n_slots * sizeof *slots);
        hyb_free(p->rt, p->slots);
        p->slots = slots;
        p->n_slots = HYB_MAX(64, 4 * p->n_slots);
        for (i = 0; i < p->n; i++) p->slots[hyb_dfa_product_slot(p, p->pairs[i][0], p->pairs[i][1])] = (uint32_t)i + 1;
    }
    at = hyb_dfa_product_slot(p, a, b);
    if (!p->slots[at]) {
        if (p->n == HYB_DFA_MAX_STATES) return hyb_dfa_full(p->error);
        if ((r = HYB_GROW(p->rt, p->pairs, p->capacity, p->n, p->n + 1, p->error)) != HYBRID_OK) return r;
        p->pairs[p->n][0] = a;
        p->pairs[p->n][1] = b;
        p->slots[at] = (uint32_t)++p->n;
    }
    *state = p->slots[at] - 1;
    return HYBRID_OK;
}

/* Where the arcs of a state are read: those that begin at or after `from`. */
typedef struct hyb_dfa_reader {
    const hyb_arc *arc, *end;
    uint32_t low; /* of the next piece; HYB_DFA_DEAD: there is none */
} hyb_dfa_reader;

static void hyb_dfa_reader_begin(hyb_dfa_reader *r, const hyb_dfa *a, uint32_t state)
{
    r->arc = r->end = NULL;
    if (state != HYB_DFA_DEAD && a->n_arcs) {
        r->arc = a->arcs + a->states[state].first;
        r->end = a->arcs + hyb_dfa_arcs_end(a, state);
    }
    r->low = r->arc < r->end ? r->arc->low : HYB_DFA_DEAD;
}

/* From low on: the last character up to which nothing changes, and where it leads. */
static uint32_t hyb_dfa_reader_piece(const hyb_dfa_reader *r, uint32_t low, uint32_t *to)
{
    *to = r->low == low ? r->arc->to : HYB_DFA_DEAD;
    return r->low == low ? r->arc->high : r->low - 1;
}

static void hyb_dfa_reader_skip(hyb_dfa_reader *r, uint32_t high)
{
    if (r->low > high) return;
    if (r->arc->high > high)
        r->low = high + 1;
    else
        r->low = ++r->arc < r->end ? r->arc->low : HYB_DFA_DEAD;
}

static hybrid_result hyb_dfa_product_state(hyb_dfa_product *p, uint32_t a, uint32_t b)
{
    const bool in_a = a != HYB_DFA_DEAD && p->a->states[a].end, in_b = b != HYB_DFA_DEAD && p->b->states[b].end;
    hyb_dfa_reader x, y;
    hybrid_result r;
    r = hyb_dfa_state_add(p->rt, p->out,
                          p->how == HYB_DFA_BOTH      ? in_a && in_b
                          : p->how == HYB_DFA_BUT_NOT ? in_a && !in_b
                                                      : in_a || in_b,
                          p->error);
    hyb_dfa_reader_begin(&x, p->a, a);
    hyb_dfa_reader_begin(&y, p->b, b);
    while (!r && (x.low != HYB_DFA_DEAD || y.low != HYB_DFA_DEAD)) {
        const uint32_t low = HYB_MIN(x.low, y.low);
        uint32_t to_a, to_b, to;
        const uint32_t high_a = hyb_dfa_reader_piece(&x, low, &to_a), high_b = hyb_dfa_reader_piece(&y, low, &to_b);
        const uint32_t high = HYB_MIN(high_a, high_b);
        hyb_dfa_reader_skip(&x, high);
        hyb_dfa_reader_skip(&y, high);
        if ((p->how == HYB_DFA_BOTH && to_b == HYB_DFA_DEAD) || (p->how != HYB_DFA_EITHER && to_a == HYB_DFA_DEAD))
            continue;
        if ((r = hyb_dfa_product_find(p, to_a, to_b, &to)) == HYBRID_OK)
            r = hyb_dfa_arc_add(p->rt, p->out, low, high, to, p->error);
    }
    return r;
}

/* The texts of both, of a but not of b, or of either. out is neither of them. */
static hybrid_result hyb_dfa_join(hybrid_runtime *rt, const hyb_dfa *a, const hyb_dfa *b, hyb_dfa_how how, hyb_dfa *out,
                                  hybrid_error *error)
{
    hyb_dfa_product p;
    hybrid_result r;
    uint32_t state;
    size_t i;
    memset(&p, 0, sizeof p);
    memset(out, 0, sizeof *out);
    p.rt = rt;
    p.a = a;
    p.b = b;
    p.how = how;
    p.out = out;
    p.error = error;
    r = hyb_dfa_product_find(&p, 0, 0, &state);
    for (i = 0; i < p.n && !r; i++) r = hyb_dfa_product_state(&p, p.pairs[i][0], p.pairs[i][1]);
    hyb_free(rt, p.pairs);
    hyb_free(rt, p.slots);
    if (r) hyb_dfa_free(rt, out);
    return r;
}

/* The same, a being replaced by the result, or left as it is by a failure. b is used up in any case. */
static hybrid_result hyb_dfa_narrow(hybrid_runtime *rt, hyb_dfa *a, hyb_dfa *b, hyb_dfa_how how, hybrid_error *error)
{
    hyb_dfa out;
    hybrid_result r = HYBRID_OK;
    if (a->n) {
        if ((r = hyb_dfa_join(rt, a, b, how, &out, error)) == HYBRID_OK) {
            hyb_dfa_free(rt, a);
            *a = out;
        }
        hyb_dfa_free(rt, b);
        return r;
    }
    if (how != HYB_DFA_BUT_NOT) { /* nothing was asked of a yet: all texts */
        *a = *b;
        memset(b, 0, sizeof *b);
        return HYBRID_OK;
    }
    if ((r = hyb_dfa_lengths(rt, 0, HYB_DFA_DEAD, a, error)) != HYBRID_OK) {
        hyb_dfa_free(rt, b);
        return r;
    }
    return hyb_dfa_narrow(rt, a, b, how, error);
}

/* Whether a text is one of them. */
static bool hyb_dfa_holds(const hyb_dfa *a, const char *text, size_t size)
{
    const char *end = text + size;
    uint32_t at = 0, code = 0;
    while (text < end) {
        const size_t n = hyb_utf8_read(text, end, &code);
        uint32_t i = a->states[at].first;
        const uint32_t stop = hyb_dfa_arcs_end(a, at);
        while (i < stop && a->arcs[i].high < code) i++;
        if (!n || i == stop || a->arcs[i].low > code) return false;
        at = a->arcs[i].to;
        text += n;
    }
    return a->states[at].end;
}

/* ---- from a network ---- */

/* The sets of positions that a text can lead to. */
typedef struct hyb_subsets {
    const hyb_draft *draft;
    hybrid_runtime *rt;
    hyb_dfa *out;
    uint32_t end;         /* where texts are complete */
    uint32_t *members;    /* of all sets, sorted */
    uint32_t (*sets)[2];  /* first member, number of them */
    uint32_t *slots;      /* hash table of set + 1 */
    uint32_t *mark;       /* (positions) the last look at each */
    uint32_t *list;       /* (positions) the set that is being made */
    hyb_arc *arcs, *open; /* of a set; those around a character */
    uint32_t *cuts;
    uint32_t round;
    size_t n, n_members, n_slots, n_list, capacity, member_capacity, arc_capacity, open_capacity, cut_capacity;
    hybrid_error *error;
} hyb_subsets;

static int hyb_uint_order(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void hyb_subsets_see(hyb_subsets *s, uint32_t position)
{
    if (s->mark[position] == s->round) return;
    s->mark[position] = s->round;
    s->list[s->n_list++] = position;
}

/* What can be reached from the list without a character. begin, end: at the beginning or the end of the text. */
static void hyb_subsets_close(hyb_subsets *s, bool begin, bool end)
{
    size_t i;
    uint32_t e;
    for (i = 0; i < s->n_list; i++)
        for (e = s->draft->first[s->list[i]]; e != HYB_DRAFT_NONE; e = s->draft->edges[e].next) {
            const hyb_edge *edge = &s->draft->edges[e];
            HYB_STEPS(1);
            if (edge->kind == HYB_EDGE_EMPTY || (edge->kind == HYB_EDGE_BEGIN && begin) ||
                (edge->kind == HYB_EDGE_END && end))
                hyb_subsets_see(s, edge->to);
        }
}

/* The number of the set that the list is, closed, which takes it. */
static hybrid_result hyb_subsets_find(hyb_subsets *s, uint32_t *number)
{
    uint32_t h = (uint32_t)s->n_list;
    size_t at, i;
    hybrid_result r;
    if (s->n_list > 1) qsort(s->list, s->n_list, sizeof *s->list, hyb_uint_order);
    for (i = 0; i < s->n_list; i++) h = (h ^ s->list[i] ^ h >> 15) * 0x9E3779B1u;
    h ^= h >> 13;
    if (s->n_slots <= 2 * s->n) {
        const size_t n = HYB_MAX(64, 4 * s->n_slots);
        uint32_t *slots = (uint32_t *)hyb_calloc(s->rt, n, sizeof *slots);
        if (!slots) return hyb_fail_memory(s->error, n * sizeof *slots);
        for (i = 0; i < s->n; i++) {
            uint32_t k = (uint32_t)s->sets[i][1], j;
            for (j = 0; j < s->sets[i][1]; j++) k = (k ^ s->members[s->sets[i][0] + j] ^ k >> 15) * 0x9E3779B1u;
            for (at = (k ^ k >> 13) & (n - 1); slots[at];) at = (at + 1) & (n - 1);
            slots[at] = (uint32_t)i + 1;
        }
        hyb_free(s->rt, s->slots);
        s->slots = slots;
        s->n_slots = n;
    }
    for (at = h & (s->n_slots - 1); s->slots[at]; at = (at + 1) & (s->n_slots - 1)) {
        *number = s->slots[at] - 1;
        if (s->sets[*number][1] == s->n_list &&
            (!s->n_list || !memcmp(s->members + s->sets[*number][0], s->list, s->n_list * sizeof *s->list)))
            return HYBRID_OK;
    }
    if (s->n == HYB_DFA_MAX_STATES || s->n_members + s->n_list > HYB_DFA_MAX_ARCS) return hyb_dfa_full(s->error);
    if ((r = HYB_GROW(s->rt, s->sets, s->capacity, s->n, s->n + 1, s->error)) != HYBRID_OK ||
        (r = HYB_GROW(s->rt, s->members, s->member_capacity, s->n_members, s->n_members + s->n_list, s->error)) !=
            HYBRID_OK)
        return r;
    s->sets[s->n][0] = (uint32_t)s->n_members;
    s->sets[s->n][1] = (uint32_t)s->n_list;
    if (s->n_list) memcpy(s->members + s->n_members, s->list, s->n_list * sizeof *s->list);
    s->n_members += s->n_list;
    *number = (uint32_t)s->n++;
    s->slots[at] = (uint32_t)s->n;
    return HYBRID_OK;
}

/* The arcs of a set, and where they begin and end. */
static hybrid_result hyb_subsets_arcs(hyb_subsets *s, size_t number, size_t *n, size_t *n_cuts)
{
    uint32_t i, e;
    hybrid_result r;
    *n = *n_cuts = 0;
    for (i = 0; i < s->sets[number][1]; i++)
        for (e = s->draft->first[s->members[s->sets[number][0] + i]]; e != HYB_DRAFT_NONE;
             e = s->draft->edges[e].next) {
            const hyb_edge *edge = &s->draft->edges[e];
            if (edge->kind != HYB_EDGE_CHARS) continue;
            if ((r = HYB_GROW(s->rt, s->arcs, s->arc_capacity, *n, *n + 1, s->error)) != HYBRID_OK ||
                (r = HYB_GROW(s->rt, s->open, s->open_capacity, *n, *n + 1, s->error)) != HYBRID_OK ||
                (r = HYB_GROW(s->rt, s->cuts, s->cut_capacity, *n_cuts, *n_cuts + 2, s->error)) != HYBRID_OK)
                return r;
            s->arcs[*n].low = edge->low;
            s->arcs[*n].high = edge->high;
            s->arcs[(*n)++].to = edge->to;
            s->cuts[(*n_cuts)++] = edge->low;
            s->cuts[(*n_cuts)++] = edge->high + 1;
        }
    if (*n > 1) qsort(s->arcs, *n, sizeof *s->arcs, hyb_uint_order);
    if (*n) qsort(s->cuts, *n_cuts, sizeof *s->cuts, hyb_uint_order);
    return HYBRID_OK;
}

/* One state: from cut to cut, the arcs that lie around. */
static hybrid_result hyb_subsets_state(hyb_subsets *s, size_t number)
{
    size_t n, n_cuts, n_open = 0, next = 0, i, c;
    bool end;
    hybrid_result r;
    s->round++;
    s->n_list = 0;
    for (i = 0; i < s->sets[number][1]; i++) hyb_subsets_see(s, s->members[s->sets[number][0] + i]);
    hyb_subsets_close(s, !number, true);
    end = s->mark[s->end] == s->round;
    if ((r = hyb_dfa_state_add(s->rt, s->out, end, s->error)) != HYBRID_OK ||
        (r = hyb_subsets_arcs(s, number, &n, &n_cuts)) != HYBRID_OK)
        return r;
    for (c = 0; c + 1 < n_cuts; c++) {
        const uint32_t low = s->cuts[c];
        uint32_t to;
        size_t kept = 0;
        if (s->cuts[c + 1] == low) continue;
        for (; next < n && s->arcs[next].low <= low; next++) s->open[n_open++] = s->arcs[next];
        s->round++;
        s->n_list = 0;
        for (i = 0; i < n_open; i++) {
            if (s->open[i].high < low) continue;
            hyb_subsets_see(s, s->open[i].to);
            s->open[kept++] = s->open[i];
        }
        n_open = kept;
        if (!n_open) continue;
        hyb_subsets_close(s, false, false);
        if ((r = hyb_subsets_find(s, &to)) != HYBRID_OK ||
            (r = hyb_dfa_arc_add(s->rt, s->out, low, s->cuts[c + 1] - 1, to, s->error)) != HYBRID_OK)
            return r;
    }
    return HYBRID_OK;
}

/* The texts that lead from start to end in a network without calls and bytes. No edge leads to start, so that no other
 * set is the first one, which alone is at the beginning of a text. */
static hybrid_result hyb_dfa_of(const hyb_draft *draft, uint32_t start, uint32_t end, hyb_dfa *out, hybrid_error *error)
{
    hyb_subsets s;
    hybrid_result r;
    uint32_t number;
    size_t i;
    memset(&s, 0, sizeof s);
    memset(out, 0, sizeof *out);
    if (draft->failed) return draft->failed;
    s.draft = draft;
    s.rt = draft->rt;
    s.out = out;
    s.end = end;
    s.error = error;
    s.mark = (uint32_t *)hyb_calloc(s.rt, draft->n, sizeof *s.mark);
    s.list = (uint32_t *)hyb_calloc(s.rt, draft->n, sizeof *s.list);
    r = s.mark && s.list ? HYBRID_OK : hyb_fail_memory(error, draft->n * sizeof *s.mark);
    if (!r) {
        s.round = 1;
        hyb_subsets_see(&s, start);
        hyb_subsets_close(&s, true, false);
        r = hyb_subsets_find(&s, &number);
    }
    for (i = 0; i < s.n && !r; i++) r = hyb_subsets_state(&s, i);
    hyb_free(s.rt, s.members);
    hyb_free(s.rt, s.sets);
    hyb_free(s.rt, s.slots);
    hyb_free(s.rt, s.mark);
    hyb_free(s.rt, s.list);
    hyb_free(s.rt, s.arcs);
    hyb_free(s.rt, s.open);
    hyb_free(s.rt, s.cuts);
    if (r) hyb_dfa_free(s.rt, out);
    return r;
}
#endif
