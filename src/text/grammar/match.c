/* text/grammar/match: where a text stands in a grammar.
 *
 * A state is a set of items: a position in a rule, and a *return*: where the rule's caller goes on, or rather all the
 * places where its callers do, because one rule that is entered at one byte by several callers is followed once. A
 * return is a set of pairs (position, return of that one); 0 is the return of the whole text.
 *
 *     state  = { (position, return), ... }        sorted, with bytes to come; and whether the text may end
 *     return = { (position, return), ... }        sorted; a smaller number than that of any that holds it
 *
 * Both are kept once, however often they come up, so that a number says what a state is, and where a byte leads from it
 * is remembered in a table: a text of a kind that was seen before costs one look-up a byte. A call at the end of a rule
 * returns to where its rule would have (position HYB_AT_LAST), so repetition by recursion does not nest.
 *
 * When a table is full, all but what a state needs is forgotten. What cannot be kept then is an error: LIMIT. */
#ifndef HYB_TEXT_GRAMMAR_MATCH_C
#define HYB_TEXT_GRAMMAR_MATCH_C
#include "rules.c"

#define HYB_MATCH_MAX_STATES 8192
#define HYB_MATCH_MAX_SETS   32768 /* states and returns together */
#define HYB_MATCH_MAX_PAIRS  524288
#define HYB_MATCH_MAX_ITEMS  16384 /* in one step */
#define HYB_MATCH_MAX_CALLS  65536
#define HYB_MATCH_NEW        0x80000000u
#define HYB_MATCH_UNKNOWN    0xFFFFFFFFu
#define HYB_MATCH_UNEQUAL    0xFFFFFFFEu
#define HYB_MATCH_DEAD       0u
#define HYB_MATCH_SPANS      16u /* ranges of bytes, for masks */

typedef struct hyb_pair {
    uint32_t position, ret;
} hyb_pair;

typedef struct hyb_set {
    uint32_t first, n; /* pairs */
    uint32_t hash;
    uint32_t state; /* the number of the state that this is, or HYB_MATCH_UNKNOWN: a return */
    bool end;       /* of a state: the text may end */
} hyb_set;

/* What the letters of plain text do in a state: all lead to one other, but those that are apart (letters.c). */
typedef struct hyb_letters {
    uint32_t next;     /* HYB_MATCH_DEAD: none fits; HYB_MATCH_UNEQUAL: too many are apart; HYB_MATCH_UNKNOWN */
    uint32_t apart[3]; /* a bit for each letter */
    uint32_t fit[3];   /* of these, those that fit */
} hyb_letters;

typedef struct hyb_match {
    hybrid_runtime *rt;
    const hyb_rules *rules;
    hyb_set *sets; /* 0: no pairs: the return of the whole text */
    hyb_pair *pairs;
    uint32_t *slots;     /* hash table of set + 1 */
    uint32_t *state_set; /* the set of each state; state 0: no item, no end: dead */
    uint32_t *next;      /* (n_states, n_classes) or HYB_MATCH_UNKNOWN */
    uint32_t *plain;     /* (n_states) where all plain characters lead, for masks; HYB_MATCH_UNEQUAL, _UNKNOWN */
    uint32_t *span;      /* (n_states, HYB_MATCH_SPANS) where all bytes of each range lead, for masks; the same */
    hyb_letters *letters; /* (n_states) for masks, too */
    size_t n_sets, n_pairs, n_slots, n_states;
    size_t set_capacity, pair_capacity, state_capacity, next_capacity, plain_capacity, span_capacity, letters_capacity;
    /* the step that is being made */
    hyb_pair *items;
    uint32_t *seen; /* hash table of item + 1 */
    size_t n_items, item_capacity, n_seen;
    uint32_t *made;    /* (n_rules) of a rule that was entered: its pairs, the last one added; else UNKNOWN */
    hyb_pair *entered; /* (n_rules) the rules that were entered: rank, rule */
    size_t n_entered;
    hyb_pair *calls; /* the pairs of all rules that were entered */
    uint32_t *call_next;
    size_t n_calls, call_capacity, call_next_capacity;
    bool end;
    bool full;            /* a table was full */
    uint32_t n_forgotten; /* how often the numbers of states have changed */
    uint32_t start;       /* the state at the beginning of a text */
    uint32_t kept;        /* one that somebody comes back to; HYB_MATCH_DEAD: none */
} hyb_match;

static void hyb_match_free(hyb_match *m)
{
    void *const blocks[] = { m->sets,  m->pairs, m->slots, m->state_set, m->next,      m->plain, m->span,
                             m->letters, m->items, m->seen, m->made, m->entered, m->calls, m->call_next };
    size_t i;
    for (i = 0; i < HYB_COUNT(blocks); i++) hyb_free(m->rt, blocks[i]);
    memset(m, 0, sizeof *m);
}

static uint32_t hyb_pair_hash(uint32_t h, const hyb_pair *p)
{
    h = (h ^ p->position) * 0x9E3779B1u;
    h = (h ^ h >> 15 ^ p->ret) * 0x85EBCA77u;
    return h ^ h >> 13;
}

static hybrid_result hyb_match_full(hyb_match *m, hybrid_error *error, const char *what)
{
    m->full = true;
    return hyb_fail(error, HYBRID_ERROR_LIMIT, "the text cannot be followed any further: %s", what);
}

/* ---- sets, each kept once ---- */

static int hyb_pair_order(const void *a, const void *b)
{
    const hyb_pair *x = (const hyb_pair *)a, *y = (const hyb_pair *)b;
    if (x->position != y->position) return x->position < y->position ? -1 : 1;
    return (x->ret > y->ret) - (x->ret < y->ret);
}

static uint32_t hyb_set_seed(size_t n, bool state, bool end)
{
    return (uint32_t)n * 4 + (state ? 1 : 0) + (end ? 2 : 0);
}

static void hyb_match_place(const hyb_match *m, uint32_t *slots, size_t n, size_t set)
{
    size_t at = m->sets[set].hash & (n - 1);
    while (slots[at]) at = (at + 1) & (n - 1);
    slots[at] = (uint32_t)set + 1;
}

static hybrid_result hyb_match_rehash(hyb_match *m, size_t n, hybrid_error *error)
{
    uint32_t *slots = (uint32_t *)hyb_calloc(m->rt, n, sizeof *slots);
    size_t i;
    if (!slots) return hyb_fail_memory(error, n * sizeof *slots);
    for (i = 0; i < m->n_sets; i++) hyb_match_place(m, slots, n, i);
    hyb_free(m->rt, m->slots);
    m->slots = slots;
    m->n_slots = n;
    return HYBRID_OK;
}

/* The number of the set of these pairs (sorted, each once). */
static hybrid_result hyb_match_set(hyb_match *m, const hyb_pair *pairs, size_t n, bool state, bool end,
                                   uint32_t *number, hybrid_error *error)
{
    uint32_t h = hyb_set_seed(n, state, end);
    hyb_set *set;
    hybrid_result r;
    size_t i, at;
    for (i = 0; i < n; i++) h = hyb_pair_hash(h, &pairs[i]);
    if (m->n_slots <= 2 * m->n_sets && (r = hyb_match_rehash(m, HYB_MAX(256, 2 * m->n_slots), error)) != HYBRID_OK)
        return r;
    for (at = h & (m->n_slots - 1); m->slots[at]; at = (at + 1) & (m->n_slots - 1)) {
        *number = m->slots[at] - 1;
        set = &m->sets[*number];
        if (set->hash == h && set->n == n && (set->state != HYB_MATCH_UNKNOWN) == state && set->end == end &&
            (!n || !memcmp(m->pairs + set->first, pairs, n * sizeof *pairs)))
            return HYBRID_OK;
    }
    if (m->n_sets == HYB_MATCH_MAX_SETS || n > HYB_MATCH_MAX_PAIRS - m->n_pairs ||
        (state && m->n_states == HYB_MATCH_MAX_STATES))
        return hyb_match_full(m, error, "it nests too deep, or can be read in too many ways");
    if ((r = HYB_GROW(m->rt, m->sets, m->set_capacity, m->n_sets, m->n_sets + 1, error)) != HYBRID_OK ||
        (r = HYB_GROW(m->rt, m->pairs, m->pair_capacity, m->n_pairs, m->n_pairs + n, error)) != HYBRID_OK)
        return r;
    if (state) {
        const size_t k = m->rules->n_classes;
        if ((r = HYB_GROW(m->rt, m->state_set, m->state_capacity, m->n_states, m->n_states + 1, error)) != HYBRID_OK ||
            (r = HYB_GROW(m->rt, m->plain, m->plain_capacity, m->n_states, m->n_states + 1, error)) != HYBRID_OK ||
            (r = HYB_GROW(m->rt, m->letters, m->letters_capacity, m->n_states, m->n_states + 1, error)) != HYBRID_OK ||
            (r = HYB_GROW(m->rt, m->span, m->span_capacity, m->n_states * HYB_MATCH_SPANS,
                          (m->n_states + 1) * HYB_MATCH_SPANS, error)) != HYBRID_OK ||
            (r = HYB_GROW(m->rt, m->next, m->next_capacity, m->n_states * k, (m->n_states + 1) * k, error)) !=
                HYBRID_OK)
            return r;
        m->plain[m->n_states] = m->letters[m->n_states].next = HYB_MATCH_UNKNOWN;
        memset(m->span + m->n_states * HYB_MATCH_SPANS, 0xFF, HYB_MATCH_SPANS * sizeof *m->span);
        memset(m->next + m->n_states * k, 0xFF, k * sizeof *m->next);
        m->state_set[m->n_states] = (uint32_t)m->n_sets;
    }
    *number = (uint32_t)m->n_sets;
    set = &m->sets[m->n_sets++];
    set->first = (uint32_t)m->n_pairs;
    set->n = (uint32_t)n;
    set->hash = h;
    set->end = end;
    set->state = state ? (uint32_t)m->n_states++ : HYB_MATCH_UNKNOWN;
    if (n) memcpy(m->pairs + m->n_pairs, pairs, n * sizeof *pairs);
    m->n_pairs += n;
    m->slots[at] = *number + 1;
    return HYBRID_OK;
}

/* ---- one step ---- */

static hybrid_result hyb_match_more_seen(hyb_match *m, hybrid_error *error)
{
    const size_t n = HYB_MAX(256, 2 * m->n_seen);
    uint32_t *seen = (uint32_t *)hyb_calloc(m->rt, n, sizeof *seen);
    size_t i, at;
    if (!seen) return hyb_fail_memory(error, n * sizeof *seen);
    for (i = 0; i < m->n_items; i++) {
        for (at = hyb_pair_hash(0, &m->items[i]) & (n - 1); seen[at];) at = (at + 1) & (n - 1);
        seen[at] = (uint32_t)i + 1;
    }
    hyb_free(m->rt, m->seen);
    m->seen = seen;
    m->n_seen = n;
    return HYBRID_OK;
}

/* Adds an item, unless it is there. */
static hybrid_result hyb_match_add(hyb_match *m, uint32_t position, uint32_t ret, hybrid_error *error)
{
    hyb_pair item;
    hybrid_result r;
    size_t at;
    item.position = position;
    item.ret = ret;
    if (m->n_seen <= 2 * m->n_items && (r = hyb_match_more_seen(m, error)) != HYBRID_OK) return r;
    for (at = hyb_pair_hash(0, &item) & (m->n_seen - 1); m->seen[at]; at = (at + 1) & (m->n_seen - 1)) {
        const hyb_pair *other = &m->items[m->seen[at] - 1];
        if (other->position == position && other->ret == ret) return HYBRID_OK;
    }
    if (m->n_items == HYB_MATCH_MAX_ITEMS)
        return hyb_match_full(m, error, "at one byte it can be read in more than 16384 ways");
    if ((r = HYB_GROW(m->rt, m->items, m->item_capacity, m->n_items, m->n_items + 1, error)) != HYBRID_OK) return r;
    HYB_STEPS(1);
    m->items[m->n_items++] = item;
    m->seen[at] = (uint32_t)m->n_items;
    return HYBRID_OK;
}

/* A rule is entered, and its caller goes on at (position, ret). */
static hybrid_result hyb_match_enter(hyb_match *m, uint32_t rule, uint32_t position, uint32_t ret, hybrid_error *error)
{
    const hyb_rule *callee = &m->rules->rules[rule];
    hybrid_result r = HYBRID_OK;
    if (callee->nullable) r = hyb_match_add(m, position, ret, error);
    if (r || (m->rules->at[position] & HYB_AT_LAST)) return r ? r : hyb_match_add(m, callee->start, ret, error);
    if (m->n_calls == HYB_MATCH_MAX_CALLS)
        return hyb_match_full(m, error, "at one byte more than 65536 rules can begin");
    if ((r = HYB_GROW(m->rt, m->calls, m->call_capacity, m->n_calls, m->n_calls + 1, error)) != HYBRID_OK ||
        (r = HYB_GROW(m->rt, m->call_next, m->call_next_capacity, m->n_calls, m->n_calls + 1, error)) != HYBRID_OK)
        return r;
    if (m->made[rule] == HYB_MATCH_UNKNOWN) {
        m->entered[m->n_entered].position = callee->rank;
        m->entered[m->n_entered++].ret = rule;
        if ((r = hyb_match_add(m, callee->start, HYB_MATCH_NEW | rule, error)) != HYBRID_OK) return r;
    }
    m->calls[m->n_calls].position = position;
    m->calls[m->n_calls].ret = ret;
    m->call_next[m->n_calls] = m->made[rule];
    m->made[rule] = (uint32_t)m->n_calls++;
    return HYBRID_OK;
}

/* Adds everything that can be reached from the items without a byte. A rule that ends where it was entered needs no
 * return: its callers went on when they entered it (nullable). */
static hybrid_result hyb_match_close(hyb_match *m, hybrid_error *error)
{
    const hyb_rules *rules = m->rules;
    hybrid_result r = HYBRID_OK;
    size_t i;
    uint32_t k;
    for (i = 0; i < m->n_items && !r; i++) {
        const hyb_pair item = m->items[i];
        for (k = rules->begin[item.position]; k < rules->begin[item.position + 1] && !r; k++) {
            const hyb_rule_step *step = &rules->steps[k];
            if (step->kind == HYB_EDGE_EMPTY) r = hyb_match_add(m, step->to, item.ret, error);
            if (step->kind == HYB_EDGE_CALL) r = hyb_match_enter(m, step->rule, step->to, item.ret, error);
        }
        if (!(rules->at[item.position] & HYB_AT_END) || (item.ret & HYB_MATCH_NEW)) continue;
        if (!item.ret) m->end = true;
        for (k = 0; k < m->sets[item.ret].n && !r; k++) {
            const hyb_pair back = m->pairs[m->sets[item.ret].first + k];
            r = hyb_match_add(m, back.position, back.ret, error);
        }
    }
    return r;
}

static size_t hyb_pairs_unique(hyb_pair *pairs, size_t n)
{
    size_t i, kept = 0;
    if (n > 1) qsort(pairs, n, sizeof *pairs, hyb_pair_order);
    for (i = 0; i < n; i++)
        if (!kept || hyb_pair_order(&pairs[kept - 1], &pairs[i])) pairs[kept++] = pairs[i];
    return kept;
}

/* The returns of the rules that were entered, the outer ones first: what an inner one refers to is then there. Leaves
 * in made[] their sets. */
static hybrid_result hyb_match_returns(hyb_match *m, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    size_t i, n;
    uint32_t c, next;
    if (m->n_entered > 1) qsort(m->entered, m->n_entered, sizeof *m->entered, hyb_pair_order);
    for (i = 0; i < m->n_entered && !r; i++) {
        const uint32_t rule = m->entered[i].ret;
        /* room behind the calls, to sort them in */
        for (n = 0, c = m->made[rule]; c != HYB_MATCH_UNKNOWN; c = m->call_next[c]) n++;
        if ((r = HYB_GROW(m->rt, m->calls, m->call_capacity, m->n_calls, m->n_calls + n, error)) != HYBRID_OK) break;
        for (n = 0, c = m->made[rule]; c != HYB_MATCH_UNKNOWN; c = next, n++) {
            hyb_pair pair = m->calls[c];
            next = m->call_next[c];
            if (pair.ret & HYB_MATCH_NEW) pair.ret = m->made[pair.ret & ~HYB_MATCH_NEW];
            m->calls[m->n_calls + n] = pair;
        }
        n = hyb_pairs_unique(m->calls + m->n_calls, n);
        r = hyb_match_set(m, m->calls + m->n_calls, n, false, false, &m->made[rule], error);
    }
    return r;
}

/* Begins a step: no items. */
static void hyb_match_begin(hyb_match *m)
{
    size_t i;
    if (m->n_items * 8 < m->n_seen)
        for (i = 0; i < m->n_items; i++) {
            size_t at = hyb_pair_hash(0, &m->items[i]) & (m->n_seen - 1);
            while (m->seen[at]) {
                m->seen[at] = 0;
                at = (at + 1) & (m->n_seen - 1);
            }
        }
    else if (m->n_seen)
        memset(m->seen, 0, m->n_seen * sizeof *m->seen);
    for (i = 0; i < m->n_entered; i++) m->made[m->entered[i].ret] = HYB_MATCH_UNKNOWN;
    m->n_items = m->n_entered = m->n_calls = 0;
    m->end = false;
}

/* Ends it: the state that the items make. */
static hybrid_result hyb_match_finish(hyb_match *m, uint32_t *state, hybrid_error *error)
{
    hybrid_result r = hyb_match_close(m, error);
    size_t i, n = 0;
    uint32_t set;
    if (!r) r = hyb_match_returns(m, error);
    if (r) return r;
    for (i = 0; i < m->n_items; i++)
        if (m->rules->at[m->items[i].position] & HYB_AT_BYTES) n++;
    if ((r = HYB_GROW(m->rt, m->calls, m->call_capacity, m->n_calls, m->n_calls + n + 1, error)) != HYBRID_OK) return r;
    for (i = n = 0; i < m->n_items; i++) {
        hyb_pair item = m->items[i];
        if (!(m->rules->at[item.position] & HYB_AT_BYTES)) continue;
        if (item.ret & HYB_MATCH_NEW) item.ret = m->made[item.ret & ~HYB_MATCH_NEW];
        m->calls[m->n_calls + n++] = item;
    }
    n = hyb_pairs_unique(m->calls + m->n_calls, n);
    if ((r = hyb_match_set(m, m->calls + m->n_calls, n, true, m->end, &set, error)) != HYBRID_OK) return r;
    *state = m->sets[set].state;
    return HYBRID_OK;
}

/* Where a byte of a class leads from a state, computed; and with it the classes around it that the same steps take. */
static hybrid_result hyb_match_step(hyb_match *m, uint32_t state, uint32_t class_index, uint32_t *next,
                                    hybrid_error *error)
{
    const hyb_rules *rules = m->rules;
    const hyb_set set = m->sets[m->state_set[state]];
    const uint32_t byte = rules->class_byte[class_index];
    uint32_t *row, i, k, low = 0, high = 255;
    hybrid_result r = HYBRID_OK;
    hyb_match_begin(m);
    for (i = 0; i < set.n && !r; i++) {
        const hyb_pair item = m->pairs[set.first + i];
        for (k = rules->begin[item.position]; k < rules->begin[item.position + 1] && !r; k++) {
            const hyb_rule_step *step = &rules->steps[k];
            if (step->kind != HYB_EDGE_BYTES) continue;
            if (step->low > byte)
                high = HYB_MIN(high, step->low - 1u);
            else if (step->high < byte)
                low = HYB_MAX(low, step->high + 1u);
            else {
                low = HYB_MAX(low, step->low);
                high = HYB_MIN(high, step->high);
                r = hyb_match_add(m, step->to, item.ret, error);
            }
        }
    }
    if (!r) r = hyb_match_finish(m, next, error);
    if (r) return r;
    row = m->next + (size_t)state * rules->n_classes;
    for (k = rules->class_of[low]; k <= rules->class_of[high]; k++) row[k] = *next;
    return HYBRID_OK;
}

/* Where a byte leads from a state: HYB_MATCH_DEAD, or a state that something can come of. */
HYB_INLINE hybrid_result hyb_match_next(hyb_match *m, uint32_t state, uint8_t byte, uint32_t *next, hybrid_error *error)
{
    const uint32_t k = m->rules->class_of[byte];
    *next = m->next[(size_t)state * m->rules->n_classes + k];
    return HYB_LIKELY(*next != HYB_MATCH_UNKNOWN) ? HYBRID_OK : hyb_match_step(m, state, k, next, error);
}

HYB_INLINE bool hyb_match_end(const hyb_match *m, uint32_t state) { return m->sets[m->state_set[state]].end; }

/* ---- forgetting ---- */

/* Forgets everything but the dead state, these (n), and what they need. Numbers change, those in states[] too, but not
 * their order: sorted pairs stay sorted. Fails only for want of memory, and has changed nothing then. */
static hybrid_result hyb_match_forget(hyb_match *m, uint32_t *const *states, size_t n_kept, hybrid_error *error)
{
    uint32_t *to = (uint32_t *)hyb_calloc(m->rt, m->n_sets, sizeof *to);
    const size_t k = m->rules->n_classes;
    size_t i, n = 0, pairs = 0;
    uint32_t j;
    if (!to) return hyb_fail_memory(error, m->n_sets * sizeof *to);
    to[0] = to[m->state_set[HYB_MATCH_DEAD]] = 1;
    for (i = 0; i < n_kept; i++) to[*states[i] = m->state_set[*states[i]]] = 1;
    for (i = m->n_sets; i-- > 0;) /* a set refers to smaller numbers only */
        for (j = 0; j < m->sets[i].n && to[i]; j++) to[m->pairs[m->sets[i].first + j].ret] = 1;
    m->n_states = 0;
    for (i = 0; i < m->n_sets; i++) {
        hyb_set set = m->sets[i];
        if (!to[i]) continue;
        to[i] = (uint32_t)n;
        set.hash = hyb_set_seed(set.n, set.state != HYB_MATCH_UNKNOWN, set.end);
        for (j = 0; j < set.n; j++) {
            hyb_pair pair = m->pairs[set.first + j];
            pair.ret = to[pair.ret];
            m->pairs[pairs + j] = pair;
            set.hash = hyb_pair_hash(set.hash, &pair);
        }
        set.first = (uint32_t)pairs;
        pairs += set.n;
        if (set.state != HYB_MATCH_UNKNOWN) {
            m->state_set[m->n_states] = (uint32_t)n;
            set.state = (uint32_t)m->n_states++;
        }
        m->sets[n++] = set;
    }
    m->n_sets = n;
    m->n_pairs = pairs;
    for (i = 0; i < n_kept; i++) *states[i] = m->sets[to[*states[i]]].state;
    memset(m->plain, 0xFF, m->n_states * sizeof *m->plain);
    memset(m->letters, 0xFF, m->n_states * sizeof *m->letters);
    memset(m->span, 0xFF, m->n_states * HYB_MATCH_SPANS * sizeof *m->span);
    memset(m->next, 0xFF, m->n_states * k * sizeof *m->next);
    memset(m->next, 0, k * sizeof *m->next);
    memset(m->slots, 0, m->n_slots * sizeof *m->slots);
    for (i = 0; i < n; i++) hyb_match_place(m, m->slots, m->n_slots, i);
    m->full = false;
    m->n_forgotten++;
    hyb_free(m->rt, to);
    return HYBRID_OK;
}

/* ---- texts ---- */

/* The state at the beginning of a text. */
static hybrid_result hyb_match_start(hyb_match *m, uint32_t *state, hybrid_error *error)
{
    hybrid_result r;
    if (m->start == HYB_MATCH_UNKNOWN) {
        hyb_match_begin(m);
        if ((r = hyb_match_add(m, m->rules->rules[0].start, 0, error)) != HYBRID_OK ||
            (r = hyb_match_finish(m, &m->start, error)) != HYBRID_OK)
            return r;
    }
    *state = m->start;
    return HYBRID_OK;
}

static hybrid_result hyb_match_make(hyb_match *m, const hyb_rules *rules, uint32_t *state, hybrid_error *error)
{
    hybrid_result r;
    uint32_t number;
    memset(m, 0, sizeof *m);
    m->rt = rules->rt;
    m->rules = rules;
    m->start = HYB_MATCH_UNKNOWN;
    m->made = (uint32_t *)hyb_alloc(m->rt, rules->n_rules * sizeof *m->made);
    m->entered = (hyb_pair *)hyb_alloc(m->rt, rules->n_rules * sizeof *m->entered);
    r = m->made && m->entered ? HYBRID_OK : hyb_fail_memory(error, rules->n_rules * sizeof *m->made);
    if (!r) memset(m->made, 0xFF, rules->n_rules * sizeof *m->made);
    if (!r) r = hyb_match_set(m, NULL, 0, false, false, &number, error); /* 0: the return of the whole text */
    if (!r) r = hyb_match_set(m, NULL, 0, true, false, &number, error);  /* state 0: dead, for ever */
    if (!r) memset(m->next, 0, rules->n_classes * sizeof *m->next);
    if (!r) r = hyb_match_start(m, state, error);
    if (r) hyb_match_free(m);
    return r;
}

/* After a failure at *at: true when tables were full, and are not any more. from: where the call began. */
static bool hyb_match_again(hyb_match *m, uint32_t *from, uint32_t *at)
{
    uint32_t *states[4];
    states[0] = &m->start;
    states[1] = from;
    states[2] = at;
    states[3] = &m->kept;
    return m->full && !hyb_match_forget(m, states, 4, NULL);
}

/* Follows bytes from *state, which changes only when all of them fit. *n: how many did. FORMAT (without a sentence):
 * the next one does not. */
static hybrid_result hyb_match_bytes(hyb_match *m, uint32_t *state, const uint8_t *bytes, size_t size, size_t *n,
                                     hybrid_error *error)
{
    uint32_t at = *state, next = 0;
    hybrid_result r;
    for (*n = 0; *n < size; ++*n) {
        m->full = false;
        if ((r = hyb_match_next(m, at, bytes[*n], &next, error)) != HYBRID_OK &&
            (!hyb_match_again(m, state, &at) || (r = hyb_match_next(m, at, bytes[*n], &next, error)) != HYBRID_OK))
            return r;
        if (next == HYB_MATCH_DEAD) return HYBRID_ERROR_FORMAT;
        at = next;
    }
    *state = at;
    return HYBRID_OK;
}

/* *byte: the one that must come next, or -1: there is a choice, or the text may end. */
static hybrid_result hyb_match_only(hyb_match *m, uint32_t state, int *byte, hybrid_error *error)
{
    const hyb_rules *rules = m->rules;
    uint32_t k, next;
    hybrid_result r;
    int found = -1;
    *byte = -1;
    if (hyb_match_end(m, state)) return HYBRID_OK;
    for (k = 0; k < rules->n_classes; k++) {
        const int first = rules->class_byte[k];
        if ((r = hyb_match_next(m, state, (uint8_t)first, &next, error)) != HYBRID_OK) return r;
        if (next == HYB_MATCH_DEAD) continue;
        if (found >= 0 || (first < 255 && rules->class_of[first + 1] == k)) return HYBRID_OK;
        found = first;
    }
    *byte = found;
    return HYBRID_OK;
}
#endif
