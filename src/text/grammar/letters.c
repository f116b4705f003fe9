/* text/grammar/letters: what plain characters do to a state: whether all lead to one other, and so on, so that only
 * their number matters; or nearly all, and which do not.
 *
 *     root ::= [^aeiou]{1,9}     all letters lead from a state to the next one; apart are a, e, i, o, u: none
 *     ([^x] | "xy")*             apart is x, which leads elsewhere
 *
 * A path is the states that the others, which are not apart, lead through. */
#ifndef HYB_TEXT_GRAMMAR_LETTERS_C
#define HYB_TEXT_GRAMMAR_LETTERS_C
#include "lexicon.c"
#include "match.c"

/* ---- plain characters ---- */

enum { HYB_PLAIN_STATES = 8 };

/* The states that bytes low..high lead to from some states; false: more than a few, or no memory. */
static bool hyb_plain_advance(hyb_match *m, const uint32_t *from, int n_from, int low, int high, uint32_t *to,
                              int *n_to)
{
    int i, k, b;
    uint32_t next;
    *n_to = 0;
    for (i = 0; i < n_from; i++)
        for (b = low; b <= high; b++) {
            if (b > low && m->rules->class_of[b] == m->rules->class_of[b - 1]) continue;
            if (hyb_match_next(m, from[i], (uint8_t)b, &next, NULL)) return false;
            for (k = 0; k < *n_to && to[k] != next; k++) {}
            if (k == HYB_PLAIN_STATES) return false;
            if (k == *n_to) to[(*n_to)++] = next;
        }
    return true;
}

/* Whether all characters beyond ASCII lead from a state to one other (or to none: HYB_MATCH_DEAD). */
static bool hyb_plain_beyond(hyb_match *m, uint32_t state, uint32_t *next)
{
    static const uint8_t longer[8][5] = { { 0xC2, 0xDF, 0x80, 0xBF, 0 }, { 0xE0, 0xE0, 0xA0, 0xBF, 1 },
                                          { 0xE1, 0xEC, 0x80, 0xBF, 1 }, { 0xED, 0xED, 0x80, 0x9F, 1 },
                                          { 0xEE, 0xEF, 0x80, 0xBF, 1 }, { 0xF0, 0xF0, 0x90, 0xBF, 2 },
                                          { 0xF1, 0xF3, 0x80, 0xBF, 2 }, { 0xF4, 0xF4, 0x80, 0x8F, 2 } };
    uint32_t a[HYB_PLAIN_STATES], b[HYB_PLAIN_STATES];
    int n, i, k;
    for (i = 0; i < 8; i++) {
        if (!hyb_plain_advance(m, &state, 1, longer[i][0], longer[i][1], a, &n) ||
            !hyb_plain_advance(m, a, n, longer[i][2], longer[i][3], b, &n))
            return false;
        for (k = 0; k < longer[i][4]; k++) {
            memcpy(a, b, sizeof a);
            if (!hyb_plain_advance(m, a, n, 0x80, 0xBF, b, &n)) return false;
        }
        if (n != 1 || (i && b[0] != *next)) return false;
        *next = b[0];
    }
    return true;
}

/* Whether all plain characters lead from a state to one other (or to none: HYB_MATCH_DEAD). */
static bool hyb_plain_look(hyb_match *m, uint32_t state, uint32_t *next)
{
    static const uint8_t ascii[3][2] = { { 0x20, 0x21 }, { 0x23, 0x5B }, { 0x5D, 0x7E } };
    uint32_t to[HYB_PLAIN_STATES], beyond;
    int n, i;
    if (hyb_match_next(m, state, ' ', next, NULL)) return false;
    for (i = 0; i < 3; i++)
        if (!hyb_plain_advance(m, &state, 1, ascii[i][0], ascii[i][1], to, &n) || n != 1 || to[0] != *next)
            return false;
    return hyb_plain_beyond(m, state, &beyond) && beyond == *next;
}

/* The same, looked at once. */
static bool hyb_plain_same(hyb_match *m, uint32_t state, uint32_t *next)
{
    if (m->plain[state] == HYB_MATCH_UNKNOWN) {
        const bool same = hyb_plain_look(m, state, next);
        m->plain[state] = same ? *next : HYB_MATCH_UNEQUAL;
    }
    *next = m->plain[state];
    return *next != HYB_MATCH_UNEQUAL;
}

/* How many plain characters may follow, whichever they are, `most` at most; false: with more, that depends on them. */
static bool hyb_plain_room(hyb_match *m, uint32_t state, uint32_t most, uint32_t *room)
{
    uint32_t next;
    for (*room = 0; *room < most; ++*room, state = next) {
        if (!hyb_plain_same(m, state, &next)) return false;
        if (next == HYB_MATCH_DEAD) return true;
        if (next == state) *room = most - 1;
    }
    return true;
}

/* ---- letters that are apart ---- */

enum {
    HYB_LETTERS_APART = 24, /* in one state, at most */
    HYB_PATH_STATES = 33,   /* longer tokens are few: */
    HYB_LONG_TOKENS = 2048, /* so many at most are tried one by one */
    HYB_CUT_STATES = 2,     /* where shapes tell of so many, they are asked */
    HYB_SPOT_SHARE = 32     /* a share of the nodes at most is looked at for their letters */
};

typedef struct hyb_path {
    uint32_t states[HYB_PATH_STATES]; /* after so many characters */
    uint32_t n;                       /* the last of them is that after all more, too */
    uint32_t room;                    /* characters of the tokens that it tells about */
    bool more;                        /* longer ones may fit, too */
    bool cut;                         /* letters that shapes hold for the same are not */
    uint32_t apart[3];                /* letters that are, in any of the states */
    uint32_t refused[3];              /* of these, those that fit in none of them */
} hyb_path;

HYB_INLINE bool hyb_letter_in(const uint32_t letters[3], uint32_t k) { return letters[k / 32] >> k % 32 & 1; }
HYB_INLINE void hyb_letter_put(uint32_t letters[3], uint32_t k) { letters[k / 32] |= 1u << k % 32; }

/* The states that the letters lead to; false: no memory. to[k] of the two that are not plain is that of the space. */
static bool hyb_letters_each(hyb_match *m, uint32_t state, uint32_t to[HYB_LETTER_BEYOND])
{
    uint32_t k;
    for (k = 0; k < HYB_LETTER_BEYOND; k++)
        if (hyb_match_next(m, state, (uint8_t)(k == '"' - 0x20 || k == '\\' - 0x20 ? ' ' : k + 0x20), &to[k], NULL))
            return false;
    return true;
}

/* Where most of the letters lead that fit; HYB_MATCH_DEAD: none does; HYB_MATCH_UNEQUAL: too many are apart. */
static uint32_t hyb_letters_most(const uint32_t to[HYB_LETTER_BEYOND])
{
    uint32_t k, most = HYB_MATCH_DEAD, votes = 0, fit = 0, apart = 0;
    for (k = 0; k < HYB_LETTER_BEYOND; k++) {
        if (to[k] == HYB_MATCH_DEAD) continue;
        fit++;
        if (!votes) most = to[k];
        votes += to[k] == most ? 1u : 0xFFFFFFFFu;
    }
    for (k = 0; k < HYB_LETTER_BEYOND && fit; k++) apart += to[k] != most;
    return apart > HYB_LETTERS_APART ? HYB_MATCH_UNEQUAL : most;
}

/* What the letters do in a state, looked at once. */
static const hyb_letters *hyb_letters_of(hyb_match *m, uint32_t state)
{
    uint32_t to[HYB_LETTER_BEYOND], beyond, k;
    hyb_letters l;
    if (m->letters[state].next != HYB_MATCH_UNKNOWN) return &m->letters[state];
    memset(&l, 0, sizeof l);
    l.next = hyb_letters_each(m, state, to) ? hyb_letters_most(to) : HYB_MATCH_UNEQUAL;
    if (l.next != HYB_MATCH_UNEQUAL) {
        for (k = 0; k < HYB_LETTER_BEYOND; k++) {
            if (to[k] != l.next) hyb_letter_put(l.apart, k);
            if (to[k] != l.next && to[k] != HYB_MATCH_DEAD) hyb_letter_put(l.fit, k);
        }
        if (!hyb_plain_beyond(m, state, &beyond))
            l.next = HYB_MATCH_UNEQUAL;
        else if (beyond != l.next && beyond != HYB_MATCH_DEAD)
            l.next = HYB_MATCH_UNEQUAL;
        else if (beyond != l.next)
            hyb_letter_put(l.apart, HYB_LETTER_BEYOND);
    }
    m->letters[state] = l; /* the array may have moved meanwhile */
    return &m->letters[state];
}

/* Whether letters that shapes hold for the same do different things: otherwise shapes tell. */
static bool hyb_letters_cut(const uint32_t apart[3])
{
    static const char ranges[3][2] = { { '0', '9' }, { 'A', 'Z' }, { 'a', 'z' } };
    uint32_t i, k, n;
    for (i = 0; i < 3; i++) {
        const uint32_t first = ranges[i][0] - 0x20u, last = ranges[i][1] - 0x20u;
        for (n = 0, k = first; k <= last; k++) n += hyb_letter_in(apart, k);
        if (n && n <= last - first) return true;
    }
    return false;
}

/* How often the letters that are apart, and not refused, stand in the tree of plain tokens. */
static uint32_t hyb_path_spots(const hyb_path *p, const hybrid_lexicon *x)
{
    uint32_t k, n = 0;
    for (k = 0; k < HYB_PLAIN_LETTERS; k++) {
        if (!hyb_letter_in(p->apart, k) || hyb_letter_in(p->refused, k)) continue;
        if (k == HYB_LETTER_BEYOND || !x->spots) return HYB_MATCH_UNKNOWN;
        n += x->spot_first[k + 1] - x->spot_first[k];
    }
    return n;
}

/* One more state of the path; false: it would take longer than to look at all tokens. */
static bool hyb_path_add(hyb_path *p, uint32_t state, const hyb_letters *l, const hybrid_lexicon *x)
{
    int i;
    for (i = 0; i < 3; i++) {
        const uint32_t refused = l->apart[i] & ~l->fit[i];
        p->apart[i] |= l->apart[i];
        p->refused[i] = p->n ? p->refused[i] & refused : refused;
    }
    p->states[p->n++] = state;
    p->cut = p->cut || hyb_letters_cut(l->apart);
    return (p->cut || p->n < HYB_CUT_STATES) && hyb_path_spots(p, x) <= x->plain.n / HYB_SPOT_SHARE;
}

/* The path from a state; false: it tells nothing that shapes do not, or not of most tokens, or not soon. */
static bool hyb_path_make(hyb_match *m, uint32_t state, const hybrid_lexicon *x, hyb_path *p)
{
    memset(p, 0, sizeof *p);
    p->room = x->longest;
    while (p->n < x->longest) {
        const hyb_letters *l = hyb_letters_of(m, state);
        if (l->next == HYB_MATCH_DEAD || l->next == HYB_MATCH_UNEQUAL || p->n == HYB_PATH_STATES) {
            p->more = l->next != HYB_MATCH_DEAD;
            p->room = p->n;
            break;
        }
        if (!hyb_path_add(p, state, l, x)) return false;
        if (l->next == state) break;
        state = l->next;
    }
    return p->cut && p->room && (!p->more || x->n_plain - x->lengths[p->room + 1] <= HYB_LONG_TOKENS);
}
#endif
