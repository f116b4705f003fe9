/* text/jinja_string: the methods of strings, lists and dicts: what stands behind a dot. Those that would change a value are refused,
 * as in the sandbox that transformers uses. */

/* ---- kinds and case of characters, as Python's str has them ---- */

/* The run of a table (width numbers each) that c is in, NULL: none. Runs of every second character may lie in each other, eight deep. */
static const uint32_t *hybrid__jcase_run(const uint32_t *table, size_t n, size_t width, uint32_t c)
{
    size_t low = 0, high = n / width, back;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (table[middle * width] <= c) low = middle; else high = middle;
    }
    for (back = 0; back < 8 && back <= low; back++) {
        const uint32_t *run = table + (low - back) * width, step = 1 + (run[1] & 1);
        if (c >= run[0] && c - run[0] < run[1] / 2 * step && (c - run[0]) % step == 0) return run;
    }
    return NULL;
}
#define HYBRID__JCASE_IS(table, c) (hybrid__jcase_run(hybrid__jcase_##table, HYBRID__COUNT(hybrid__jcase_##table), 2, c) != NULL)
#define HYBRID__JCASE_MAP(table, c) hybrid__jcase_run(hybrid__jcase_##table, HYBRID__COUNT(hybrid__jcase_##table), 3, c)

static bool hybrid__jis_letter(uint32_t c)
{
    unsigned k;
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    k = hybrid__unicode_class(c);
    return k >= HYBRID__CHAR_LU && k <= HYBRID__CHAR_LO;
}
/* The value of a decimal digit of any script, -1: it is none. */
static int hybrid__jdecimal(uint32_t c)
{
    uint32_t back;
    if (c < 0x80) return c >= '0' && c <= '9' ? (int)(c - '0') : -1;
    if (hybrid__unicode_class(c) != HYBRID__CHAR_NUMBER) return -1;
    for (back = 0; back < 10; back++) if (HYBRID__JCASE_IS(zeros, c - back)) return (int)back;
    return -1;
}
static bool hybrid__jis_digit(uint32_t c) { return hybrid__jdecimal(c) >= 0 || (c >= 0x80 && HYBRID__JCASE_IS(digits, c)); }
static bool hybrid__jis_numeric(uint32_t c)
{
    if (c < 0x80) return c >= '0' && c <= '9';
    return hybrid__unicode_class(c) == HYBRID__CHAR_NUMBER || HYBRID__JCASE_IS(numbers, c);
}
/* \w of regular expressions */
static bool hybrid__jis_word(uint32_t c) { return c == '_' || hybrid__jis_letter(c) || hybrid__jis_numeric(c); }
static bool hybrid__jis_upper(uint32_t c) { return c < 0x80 ? c >= 'A' && c <= 'Z' : HYBRID__JCASE_IS(is_upper, c); }
static bool hybrid__jis_lower(uint32_t c) { return c < 0x80 ? c >= 'a' && c <= 'z' : HYBRID__JCASE_IS(is_lower, c); }
static bool hybrid__jis_title(uint32_t c) { return c >= 0x80 && hybrid__unicode_class(c) == HYBRID__CHAR_LT; }
static bool hybrid__jis_cased(uint32_t c) { return hybrid__jis_upper(c) || hybrid__jis_lower(c) || hybrid__jis_title(c); }
static bool hybrid__jis_name(uint32_t c, bool first)
{
    if (c < 0x80) return hybrid__jis_word(c) && !(first && c <= '9');
    if (first) return hybrid__jis_letter(c) ? !HYBRID__JCASE_IS(no_names, c) : HYBRID__JCASE_IS(names, c);
    if (hybrid__jis_letter(c) || hybrid__jdecimal(c) >= 0 || hybrid__unicode_class(c) == HYBRID__CHAR_MARK) return !HYBRID__JCASE_IS(no_inside, c);
    return HYBRID__JCASE_IS(inside, c);
}
static bool hybrid__jis_identifier(const char *p, const char *end)
{
    const char *start = p;
    uint32_t code;
    size_t n;
    for (; p < end; p += n) {
        n = hybrid__utf8_next(p, end, &code);
        if (!hybrid__jis_name(code, p == start)) return false;
    }
    return p > start;
}

typedef enum hybrid__jcasing { HYBRID__J_UPPER, HYBRID__J_LOWER, HYBRID__J_FOLD, HYBRID__J_CAPITALIZE, HYBRID__J_TITLE, HYBRID__J_SWAP } hybrid__jcasing;

/* One of the characters that become several: up to three in to; 0: it is none of them. */
static size_t hybrid__jcase_many(const uint16_t *table, size_t n, uint32_t c, uint32_t to[3])
{
    size_t low = 0, high = n / 4, i;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (table[middle * 4] <= c) low = middle; else high = middle;
    }
    if (table[low * 4] != c) return 0;
    for (i = 0; i < 3 && table[low * 4 + 1 + i]; i++) to[i] = table[low * 4 + 1 + i];
    return i;
}
#define HYBRID__JCASE_MANY(table, c, to) hybrid__jcase_many(hybrid__jcase_##table, HYBRID__COUNT(hybrid__jcase_##table), c, to)

/* c in upper, lower, title (TITLE) or folded case: how many characters, in to. A final sigma is the caller's matter. */
static size_t hybrid__jcase_of(uint32_t c, hybrid__jcasing how, uint32_t to[3])
{
    const uint32_t *run = NULL;
    size_t n = 0;
    *to = c;
    if (c < 0x80) {
        if (how == HYBRID__J_UPPER || how == HYBRID__J_TITLE ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') *to = c ^ 32;
        return 1;
    }
    if (how == HYBRID__J_UPPER) n = HYBRID__JCASE_MANY(uppers, c, to);
    else if (how == HYBRID__J_TITLE) n = HYBRID__JCASE_MANY(titles, c, to);
    else if (how == HYBRID__J_FOLD) n = HYBRID__JCASE_MANY(folds, c, to);
    else if (c == 0x130) { to[0] = 'i'; to[1] = 0x307; n = 2; }
    if (n) return n;
    if (how == HYBRID__J_TITLE) run = HYBRID__JCASE_MAP(title, c);
    if (how == HYBRID__J_FOLD) run = HYBRID__JCASE_MAP(fold, c);
    if (!run) run = how == HYBRID__J_UPPER || how == HYBRID__J_TITLE ? HYBRID__JCASE_MAP(upper, c) : HYBRID__JCASE_MAP(lower, c);
    if (run) *to = c + run[2];
    return 1;
}

/* Whether a letter follows a sigma (at [p, end)), with nothing but signs that belong to letters between them. */
static bool hybrid__jletter_follows(const char *p, const char *end)
{
    uint32_t c;
    while (p < end) {
        p += hybrid__utf8_next(p, end, &c);
        if (c < 0x80 ? !strchr("'.:^`", (int)c) || !c : !HYBRID__JCASE_IS(ignorable, c)) return hybrid__jis_cased(c);
    }
    return false;
}

/* [p, end) in another case, added to b. */
static bool hybrid__jinja_cased(hybrid__jinja *j, hybrid__jbuffer *b, const char *p, const char *end, hybrid__jcasing how)
{
    const char *start = p;
    bool after = false, word = false;                        /* a letter came before: signs skipped, or right before */
    if (!hybrid__jarena_work(&j->arena, (uint64_t)(end - p) / 2)) return hybrid__jinja_spent(j);
    while (p < end) {
        uint32_t c, to[3];
        size_t used = hybrid__utf8_read(p, end, &c), n, i;
        hybrid__jcasing one = how;
        char made[4];
        bool cased;
        if (!used) { if (!hybrid__jinja_put(j, b, p++, 1)) return false; after = word = false; continue; }
        cased = hybrid__jis_cased(c);
        if (how == HYBRID__J_CAPITALIZE) one = p == start ? HYBRID__J_TITLE : HYBRID__J_LOWER;
        if (how == HYBRID__J_TITLE) one = word ? HYBRID__J_LOWER : HYBRID__J_TITLE;
        if (how == HYBRID__J_SWAP) one = hybrid__jis_upper(c) ? HYBRID__J_LOWER : HYBRID__J_UPPER;
        if (how == HYBRID__J_SWAP && !hybrid__jis_upper(c) && !hybrid__jis_lower(c)) { to[0] = c; n = 1; }
        else n = hybrid__jcase_of(c, one, to);
        if (c == 0x3A3 && one == HYBRID__J_LOWER && after && !hybrid__jletter_follows(p + used, end)) to[0] = 0x3C2;
        for (i = 0; i < n; i++) if (!hybrid__jinja_put(j, b, made, hybrid__utf8_write(to[i], made))) return false;
        if (c < 0x80 ? !strchr("'.:^`", (int)c) || !c : !HYBRID__JCASE_IS(ignorable, c)) after = cased;
        word = cased;
        p += used;
    }
    return true;
}
static bool hybrid__jinja_casing(hybrid__jinja *j, const hybrid__jstring *s, hybrid__jcasing how, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    return hybrid__jinja_cased(j, &b, s->p, s->p + s->n, how) && hybrid__jinja_text(j, &b, out);
}

static bool hybrid__jm_case(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    static const hybrid__jcasing how[] = { HYBRID__J_UPPER, HYBRID__J_LOWER, HYBRID__J_TITLE, HYBRID__J_CAPITALIZE, HYBRID__J_SWAP, HYBRID__J_FOLD };
    return hybrid__jinja_casing(j, c->self.u.s, how[hybrid__jword("upper lower title capitalize swapcase casefold", c->name, strlen(c->name))], out);
}

/* Whether v is text that was marked safe. */
HYBRID__INLINE bool hybrid__jis_safe(hybrid__jvalue v) { return v.type == HYBRID__J_STRING && v.mark; }

/* v as text that is safe: escaped, unless it is marked so (or double: escaped in any case). */
static bool hybrid__jinja_escape(hybrid__jinja *j, hybrid__jvalue v, bool again, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p, *end, *plain;
    if (!hybrid__jinja_to_string(j, v, out)) return false;
    if (hybrid__jis_safe(*out) && !again) return true;
    for (p = plain = out->u.s->p, end = p + out->u.s->n; p < end; p++) {
        const char *entity = *p == '&' ? "&amp;" : *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : *p == '"' ? "&#34;" : *p == '\'' ? "&#39;" : NULL;
        if (!entity) continue;
        if (!hybrid__jinja_put(j, &b, plain, (size_t)(p - plain)) || !hybrid__jinja_puts(j, &b, entity)) return false;
        plain = p + 1;
    }
    if (!hybrid__jarena_work(&j->arena, out->u.s->n / 8)) return hybrid__jinja_spent(j);
    if (plain == out->u.s->p) { if (!hybrid__jinja_view(j, plain, out->u.s->n, out)) return false; }
    else if (!hybrid__jinja_put(j, &b, plain, (size_t)(end - plain)) || !hybrid__jinja_text(j, &b, out)) return false;
    out->mark = !j->js;
    return true;
}

/* The text without characters of `set` (white space when there is none) at its ends. */
static bool hybrid__jinja_strip(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue set, bool left, bool right, hybrid__jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    hybrid__jstring *chars;
    if (set.type == HYBRID__J_MISSING || set.type == HYBRID__J_NONE) {
        hybrid__jtrim(&p, &end, left, right);
        return hybrid__jinja_view(j, p, (size_t)(end - p), out);
    }
    if (!hybrid__jinja_want_string(j, c->name, set, &chars)) return false;
    while (left && p < end) {
        uint32_t code;
        size_t n = hybrid__utf8_next(p, end, &code);
        if (hybrid__jfind(chars->p, chars->n, p, n, 0) == SIZE_MAX) break;
        p += n;
        if (!hybrid__jarena_work(&j->arena, 1 + chars->n / 16)) return hybrid__jinja_spent(j);
    }
    while (right && p < end) {
        const char *q = hybrid__jlast_char(p, end);
        if (hybrid__jfind(chars->p, chars->n, q, (size_t)(end - q), 0) == SIZE_MAX) break;
        end = q;
        if (!hybrid__jarena_work(&j->arena, 1 + chars->n / 16)) return hybrid__jinja_spent(j);
    }
    return hybrid__jinja_view(j, p, (size_t)(end - p), out);
}
static bool hybrid__jm_strip(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_strip(j, c, c->a[0], true, true, out); }
static bool hybrid__jm_lstrip(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_strip(j, c, c->a[0], true, false, out); }
static bool hybrid__jm_rstrip(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_strip(j, c, c->a[0], false, true, out); }

static bool hybrid__jinja_push_view(hybrid__jinja *j, hybrid__jvalue list, const char *p, const char *end)
{
    hybrid__jvalue piece;
    return hybrid__jinja_view(j, p, (size_t)(end - p), &piece) && hybrid__jinja_push(j, list, piece);
}
static void hybrid__jlist_reverse(hybrid__jlist *l)
{
    size_t i;
    for (i = 0; i < l->n / 2; i++) { hybrid__jvalue t = l->items[i]; l->items[i] = l->items[l->n - 1 - i]; l->items[l->n - 1 - i] = t; }
}

/* Words between white space, from the left or the right; after `most` cuts the rest is one piece, blanks at its far end included. */
static bool hybrid__jinja_words(hybrid__jinja *j, const hybrid__jstring *s, uint64_t most, bool right, hybrid__jvalue *out)
{
    const char *p = s->p, *end = p + s->n, *q, *one;
    uint32_t code;
    if (!hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return false;
    for (hybrid__jtrim(&p, &end, !right, right); p < end; hybrid__jtrim(&p, &end, !right, right)) {
        if (!most--) {
            if (!hybrid__jinja_push_view(j, *out, p, end)) return false;
            break;
        }
        if (right) {
            for (q = end; q > p; q = one) {
                one = hybrid__jlast_char(p, q);
                hybrid__utf8_next(one, q, &code);
                if (hybrid__jspace(code)) break;
            }
            if (!hybrid__jinja_push_view(j, *out, q, end)) return false;
            end = q;
        } else {
            for (q = p; q < end; q = one) {
                one = q + hybrid__utf8_next(q, end, &code);
                if (hybrid__jspace(code)) break;
            }
            if (!hybrid__jinja_push_view(j, *out, p, q)) return false;
            p = q;
        }
    }
    if (right) hybrid__jlist_reverse(out->u.list);
    return true;
}

static bool hybrid__jinja_cut(hybrid__jinja *j, const hybrid__jstring *s, const hybrid__jstring *by, uint64_t most, bool right, hybrid__jvalue *out)
{
    const char *p = s->p, *end = p + s->n;
    size_t at;
    if (!by->n) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "split: the separator is empty");
    if (!hybrid__jarena_work(&j->arena, s->n / 16) || !hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return hybrid__jinja_spent(j);
    if (!right) {
        for (; most && (at = hybrid__jfind(p, (size_t)(end - p), by->p, by->n, 0)) != SIZE_MAX; most--, p += at + by->n)
            if (!hybrid__jinja_push_view(j, *out, p, p + at)) return false;
        return hybrid__jinja_push_view(j, *out, p, end);
    }
    for (; most; most--) {
        if ((at = hybrid__jfind_last(&j->arena, p, (size_t)(end - p), by->p, by->n)) == SIZE_MAX) break;
        if (!hybrid__jinja_push_view(j, *out, p + at + by->n, end)) return false;
        end = p + at;
    }
    if (!hybrid__jinja_push_view(j, *out, p, end)) return false;
    hybrid__jlist_reverse(out->u.list);
    return true;
}

static bool hybrid__jinja_split(hybrid__jinja *j, hybrid__jcall *c, bool right, hybrid__jvalue *out)
{
    hybrid__jstring *by;
    int64_t most;
    if (!hybrid__jinja_want_int(j, c->name, c->a[1], -1, &most)) return false;
    if (c->a[0].type == HYBRID__J_MISSING || c->a[0].type == HYBRID__J_NONE)
        return hybrid__jinja_words(j, c->self.u.s, most < 0 ? UINT64_MAX : (uint64_t)most, right, out);
    return hybrid__jinja_want_string(j, c->name, c->a[0], &by) && hybrid__jinja_cut(j, c->self.u.s, by, most < 0 ? UINT64_MAX : (uint64_t)most, right, out);
}
static bool hybrid__jm_split(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_split(j, c, false, out); }
static bool hybrid__jm_rsplit(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_split(j, c, true, out); }

/* Bytes of the line break at p (p < end), 0: none. All that Python takes for one, "\r\n" as one. */
static size_t hybrid__jline_break(const char *p, const char *end)
{
    uint32_t c;
    size_t n = hybrid__utf8_next(p, end, &c);
    if (c == '\r' && p + 1 < end && p[1] == '\n') return 2;
    return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029 ? n : 0;
}
/* Where the line at p ends; *next: where the one after it begins. */
static const char *hybrid__jline_end(const char *p, const char *end, const char **next)
{
    size_t n = 0;
    uint32_t c;
    while (p < end && (n = hybrid__jline_break(p, end)) == 0) p += hybrid__utf8_next(p, end, &c);
    *next = p + n;
    return p;
}
static bool hybrid__jm_splitlines(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n, *next, *stop;
    bool keep = hybrid__jflag(c->a[0], false);
    if (!hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return false;
    for (; p < end; p = next) {
        stop = hybrid__jline_end(p, end, &next);
        if (!hybrid__jinja_push_view(j, *out, p, keep ? next : stop)) return false;
    }
    return true;
}

/* Tabs become blanks up to the next column that is a multiple of the size. */
static bool hybrid__jm_expandtabs(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    int64_t size, column = 0, blanks;
    if (!hybrid__jinja_want_int(j, c->name, c->a[0], 8, &size)) return false;
    if (size > INT32_MAX) size = INT32_MAX;
    while (p < end) {
        uint32_t code;
        size_t n = hybrid__utf8_next(p, end, &code);
        if (code != '\t') {
            if (!hybrid__jinja_put(j, &b, p, n)) return false;
            column = code == '\n' || code == '\r' ? 0 : column + 1;
        } else if (size > 0) {
            blanks = size - column % size;
            column += blanks;
            if (!hybrid__jarena_work(&j->arena, (uint64_t)blanks)) return hybrid__jinja_spent(j);
            for (; blanks; blanks--) if (!hybrid__jinja_put(j, &b, " ", 1)) return false;
        }
        p += n;
    }
    return hybrid__jinja_text(j, &b, out);
}

/* (before, separator, after) */
static bool hybrid__jinja_partition(hybrid__jinja *j, hybrid__jcall *c, bool right, hybrid__jvalue *out)
{
    const hybrid__jstring *s = c->self.u.s;
    hybrid__jstring *by;
    size_t at;
    if (!hybrid__jinja_want_string(j, c->name, c->a[0], &by)) return false;
    if (!by->n) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the separator is empty", c->name);
    if (!hybrid__jarena_work(&j->arena, s->n / 16) || !hybrid__jinja_new_list(j, 3, HYBRID__J_TUPLE, out)) return hybrid__jinja_spent(j);
    at = right ? hybrid__jfind_last(&j->arena, s->p, s->n, by->p, by->n) : hybrid__jfind(s->p, s->n, by->p, by->n, 0);
    if (at == SIZE_MAX && right)
        return hybrid__jinja_push_view(j, *out, "", "") && hybrid__jinja_push_view(j, *out, "", "") && hybrid__jinja_push(j, *out, c->self);
    if (at == SIZE_MAX)
        return hybrid__jinja_push(j, *out, c->self) && hybrid__jinja_push_view(j, *out, s->p, s->p) && hybrid__jinja_push_view(j, *out, s->p, s->p);
    return hybrid__jinja_push_view(j, *out, s->p, s->p + at) && hybrid__jinja_push(j, *out, c->a[0])
        && hybrid__jinja_push_view(j, *out, s->p + at + by->n, s->p + s->n);
}
static bool hybrid__jm_partition(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_partition(j, c, false, out); }
static bool hybrid__jm_rpartition(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_partition(j, c, true, out); }

/* A position of Python's slices: from the end when negative, then kept within 0..n. */
static size_t hybrid__jclamp(int64_t i, size_t n)
{
    if (i < 0) i += (int64_t)n;
    return i < 0 ? 0 : HYBRID__MIN((uint64_t)i, (uint64_t)n);
}

/* The part [a[1]:a[2]] of the text that a method looks into, as bytes; false: error, or (*none) there is no such part. */
static bool hybrid__jinja_part(hybrid__jinja *j, hybrid__jcall *c, size_t *from, size_t *to, bool *none)
{
    hybrid__jstring *s = c->self.u.s;
    size_t chars = hybrid__jstring_chars(&j->arena, s);
    int64_t a, b;
    *none = false;
    if (!hybrid__jinja_want_int(j, c->name, c->a[1], 0, &a) || !hybrid__jinja_want_int(j, c->name, c->a[2], INT64_MAX, &b)) return false;
    *none = a > (int64_t)chars || hybrid__jclamp(a, chars) > hybrid__jclamp(b, chars);
    *from = hybrid__jstring_at(&j->arena, s, hybrid__jclamp(a, chars));
    *to = hybrid__jstring_at(&j->arena, s, hybrid__jclamp(b, chars));
    return !j->arena.result || hybrid__jinja_spent(j);
}

/* startswith, endswith: one affix or a tuple of them. */
static bool hybrid__jinja_affix(hybrid__jinja *j, hybrid__jcall *c, bool at_end, hybrid__jvalue *out)
{
    const hybrid__jstring *s = c->self.u.s;
    hybrid__jvalue *one = &c->a[0];
    size_t n = 1, i, from = 0, to = s->n;
    hybrid__jstring *affix;
    bool none = false;
    if (c->a[0].type == HYBRID__J_LIST && (c->a[0].u.list->kind == HYBRID__J_TUPLE || j->js)) {
        one = c->a[0].u.list->items;
        n = c->a[0].u.list->n;
    }
    if (c->a[1].type != HYBRID__J_MISSING && !hybrid__jinja_part(j, c, &from, &to, &none)) return false;
    *out = hybrid__jbool(false);
    if (!hybrid__jarena_work(&j->arena, n)) return hybrid__jinja_spent(j);
    for (i = 0; i < n && !out->u.b; i++) {
        if (!hybrid__jinja_want_string(j, c->name, one[i], &affix)) return false;
        if (!hybrid__jarena_work(&j->arena, affix->n / 16)) return hybrid__jinja_spent(j);
        out->u.b = !none && affix->n <= to - from && !memcmp(at_end ? s->p + to - affix->n : s->p + from, affix->p, affix->n);
    }
    return true;
}
static bool hybrid__jm_startswith(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_affix(j, c, false, out); }
static bool hybrid__jm_endswith(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_affix(j, c, true, out); }

static bool hybrid__jm_removeprefix(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const hybrid__jstring *s = c->self.u.s;
    hybrid__jvalue has;
    size_t n;
    if (!hybrid__jinja_affix(j, c, false, &has) || c->a[0].type != HYBRID__J_STRING) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "removeprefix expects a string");
    n = has.u.b ? c->a[0].u.s->n : 0;
    return hybrid__jinja_view(j, s->p + n, s->n - n, out);
}
static bool hybrid__jm_removesuffix(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const hybrid__jstring *s = c->self.u.s;
    hybrid__jvalue has;
    if (!hybrid__jinja_affix(j, c, true, &has) || c->a[0].type != HYBRID__J_STRING) return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "removesuffix expects a string");
    return hybrid__jinja_view(j, s->p, s->n - (has.u.b ? c->a[0].u.s->n : 0), out);
}

static bool hybrid__jinja_replace(hybrid__jinja *j, const hybrid__jstring *s, const hybrid__jstring *from, const hybrid__jstring *to, int64_t most, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p = s->p, *end = p + s->n;
    uint64_t left = most < 0 ? UINT64_MAX : (uint64_t)most;
    if (!hybrid__jarena_work(&j->arena, s->n / 16)) return hybrid__jinja_spent(j);
    for (; left; left--) {
        size_t at = from->n ? hybrid__jfind(p, (size_t)(end - p), from->p, from->n, 0) : 0;
        if (at == SIZE_MAX) break;
        if (!hybrid__jinja_put(j, &b, p, at) || !hybrid__jinja_put(j, &b, to->p, to->n)) return false;
        p += at + from->n;
        if (!from->n) {                                      /* between all characters */
            uint32_t code;
            if (p == end) break;
            at = hybrid__utf8_next(p, end, &code);
            if (!hybrid__jinja_put(j, &b, p, at)) return false;
            p += at;
        }
        if (!hybrid__jarena_work(&j->arena, 1)) return hybrid__jinja_spent(j);
    }
    return hybrid__jinja_put(j, &b, p, (size_t)(end - p)) && hybrid__jinja_text(j, &b, out);
}
static bool hybrid__jm_replace(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jstring *from, *to;
    int64_t most;
    if (hybrid__jis_safe(c->self) && !hybrid__jinja_escape(j, c->a[1], false, &c->a[1])) return false;
    return hybrid__jinja_want_string(j, c->name, c->a[0], &from) && hybrid__jinja_want_string(j, c->name, c->a[1], &to)
        && hybrid__jinja_want_int(j, c->name, c->a[2], -1, &most) && hybrid__jinja_replace(j, c->self.u.s, from, to, most, out);
}

/* The place of a needle in code points, -1: none. */
static bool hybrid__jinja_position(hybrid__jinja *j, hybrid__jcall *c, bool right, int64_t *place)
{
    hybrid__jstring *s = c->self.u.s, *needle;
    size_t from, to, at;
    bool none;
    if (!hybrid__jinja_want_string(j, c->name, c->a[0], &needle) || !hybrid__jinja_part(j, c, &from, &to, &none)) return false;
    if (!hybrid__jarena_work(&j->arena, 1 + s->n / 16)) return hybrid__jinja_spent(j);
    *place = -1;
    if (none) return true;
    if (!right) at = hybrid__jfind(s->p, to, needle->p, needle->n, from);
    else if ((at = hybrid__jfind_last(&j->arena, s->p + from, to - from, needle->p, needle->n)) != SIZE_MAX) at += from;
    if (j->arena.result) return hybrid__jinja_spent(j);
    if (at == SIZE_MAX) return true;
    if (hybrid__jstring_chars(&j->arena, s) == s->n) *place = (int64_t)at;
    else {
        hybrid__jstring head;
        head.p = s->p; head.n = at; head.chars = SIZE_MAX; head.buffer = NULL;
        *place = (int64_t)hybrid__jstring_chars(&j->arena, &head);
    }
    return true;
}
static bool hybrid__jm_find(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { *out = hybrid__jint(0); return hybrid__jinja_position(j, c, false, &out->u.i); }
static bool hybrid__jm_rfind(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { *out = hybrid__jint(0); return hybrid__jinja_position(j, c, true, &out->u.i); }
static bool hybrid__jm_index(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    *out = hybrid__jint(0);
    if (!hybrid__jinja_position(j, c, c->name[0] == 'r', &out->u.i)) return false;
    return out->u.i >= 0 || hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the text does not occur", c->name);
}
static bool hybrid__jm_count(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jstring *s = c->self.u.s, *needle, part;
    size_t at, to;
    bool none;
    if (!hybrid__jinja_want_string(j, c->name, c->a[0], &needle) || !hybrid__jinja_part(j, c, &at, &to, &none)) return false;
    *out = hybrid__jint(0);
    if (none) return true;
    if (!needle->n) {
        part.p = s->p + at; part.n = to - at; part.chars = SIZE_MAX; part.buffer = NULL;
        out->u.i = (int64_t)hybrid__jstring_chars(&j->arena, &part) + 1;
        return true;
    }
    for (; (at = hybrid__jfind(s->p, to, needle->p, needle->n, at)) != SIZE_MAX; at += needle->n) {
        out->u.i++;
        if (!hybrid__jarena_work(&j->arena, 1)) return hybrid__jinja_spent(j);
    }
    return hybrid__jarena_work(&j->arena, s->n / 16) || hybrid__jinja_spent(j);
}

/* is...(): every character is of the kind, and (but for ascii and printable) there is one. */
static bool hybrid__jm_is(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    int kind = hybrid__jword("digit numeric decimal alpha alnum ascii space printable", c->name + 2, strlen(c->name + 2));
    bool all = p < end || kind == 5 || kind == 7;
    uint32_t code;
    if (!hybrid__jarena_work(&j->arena, c->self.u.s->n / 8)) return hybrid__jinja_spent(j);
    while (p < end && all) {
        p += hybrid__utf8_next(p, end, &code);
        switch (kind) {
        case 0: all = hybrid__jis_digit(code); break;
        case 1: all = hybrid__jis_numeric(code); break;
        case 2: all = hybrid__jdecimal(code) >= 0; break;
        case 3: all = hybrid__jis_letter(code); break;
        case 4: all = hybrid__jis_letter(code) || hybrid__jis_numeric(code); break;
        case 5: all = code < 0x80; break;
        case 6: all = hybrid__jspace(code); break;
        default: all = hybrid__jprintable(code); break;
        }
    }
    *out = hybrid__jbool(all);
    return true;
}
/* isupper, islower: no letter of another case, and one of this. istitle: words begin with a large letter, small ones follow. */
static bool hybrid__jm_is_case(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    char kind = c->name[2];
    bool any = false, word = false, all = true;
    uint32_t code;
    if (!hybrid__jarena_work(&j->arena, c->self.u.s->n / 8)) return hybrid__jinja_spent(j);
    while (p < end && all) {
        bool upper, lower, title;
        p += hybrid__utf8_next(p, end, &code);
        upper = hybrid__jis_upper(code);
        lower = !upper && hybrid__jis_lower(code);
        title = !upper && !lower && hybrid__jis_title(code);
        if (kind == 'u') all = !lower && !title;
        else if (kind == 'l') all = !upper && !title;
        else if (upper || title) all = !word;
        else if (lower) all = word;
        any = any || (kind == 'u' ? upper : kind == 'l' ? lower : upper || lower || title);
        word = upper || lower || title;
    }
    *out = hybrid__jbool(all && any);
    return true;
}
static bool hybrid__jm_isidentifier(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    if (!hybrid__jarena_work(&j->arena, c->self.u.s->n / 8)) return hybrid__jinja_spent(j);
    *out = hybrid__jbool(hybrid__jis_identifier(c->self.u.s->p, c->self.u.s->p + c->self.u.s->n));
    return true;
}

/* ljust, rjust, center, zfill */
static bool hybrid__jm_pad(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jstring *s = c->self.u.s, *fill = NULL;
    int64_t width, room, left, i;
    bool zero = c->name[0] == 'z', sign = zero && s->n && (s->p[0] == '-' || s->p[0] == '+');
    if (!hybrid__jinja_want_int(j, c->name, c->a[0], 0, &width)) return false;
    if (hybrid__jis_safe(c->self) && c->a[1].type == HYBRID__J_STRING && !hybrid__jinja_escape(j, c->a[1], false, &c->a[1])) return false;
    if (c->a[1].type != HYBRID__J_MISSING && (!hybrid__jinja_want_string(j, c->name, c->a[1], &fill) || hybrid__jstring_chars(&j->arena, fill) != 1))
        return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the fill must be one character", c->name);
    room = width - (int64_t)hybrid__jstring_chars(&j->arena, s);
    if (width < 0 || room <= 0) { *out = c->self; return true; }
    left = c->name[0] == 'l' ? 0 : c->name[0] == 'c' ? room / 2 + (room & width & 1) : room;
    if (sign && !hybrid__jinja_put(j, &b, s->p, 1)) return false;
    for (i = 0; i <= room; i++) {
        if (i == left && !hybrid__jinja_put(j, &b, s->p + sign, s->n - sign)) return false;
        if (i < room && !hybrid__jinja_put(j, &b, zero ? "0" : fill ? fill->p : " ", zero || !fill ? 1 : fill->n)) return false;
        if (!hybrid__jarena_work(&j->arena, 1)) return hybrid__jinja_spent(j);
    }
    return hybrid__jinja_text(j, &b, out);
}

/* 'sep'.join(items): in Python all must be strings. */
static bool hybrid__jm_join(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    hybrid__jlist *items;
    hybrid__jstring *one;
    size_t i;
    if (!hybrid__jinja_items(j, c->a[0], &items)) return false;
    for (i = 0; i < items->n; i++) {
        hybrid__jvalue v = items->items[i];
        if (hybrid__jis_safe(c->self) && !hybrid__jinja_escape(j, v, false, &v)) return false;
        if ((i && !hybrid__jinja_put(j, &b, c->self.u.s->p, c->self.u.s->n)) || !hybrid__jinja_want_string(j, c->name, v, &one)
            || !hybrid__jinja_put(j, &b, one->p, one->n)) return false;
    }
    return hybrid__jinja_text(j, &b, out);
}

static bool hybrid__jm_format(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out);

static bool hybrid__jm_format_map(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out);

static const hybrid__jbuiltin hybrid__jstring_methods[] = {
    { "strip", "/chars", 0, hybrid__jm_strip }, { "lstrip", "/chars", 0, hybrid__jm_lstrip }, { "rstrip", "/chars", 0, hybrid__jm_rstrip },
    { "split", "sep maxsplit", 0, hybrid__jm_split }, { "rsplit", "sep maxsplit", 0, hybrid__jm_rsplit },
    { "splitlines", "keepends", 0, hybrid__jm_splitlines }, { "startswith", "/prefix start end", 1, hybrid__jm_startswith },
    { "endswith", "/suffix start end", 1, hybrid__jm_endswith }, { "replace", "/old new count", 2, hybrid__jm_replace },
    { "upper", "", 0, hybrid__jm_case }, { "lower", "", 0, hybrid__jm_case }, { "casefold", "", 0, hybrid__jm_case },
    { "title", "", 0, hybrid__jm_case }, { "capitalize", "", 0, hybrid__jm_case }, { "swapcase", "", 0, hybrid__jm_case },
    { "find", "/sub start end", 1, hybrid__jm_find }, { "rfind", "/sub start end", 1, hybrid__jm_rfind },
    { "index", "/sub start end", 1, hybrid__jm_index }, { "rindex", "/sub start end", 1, hybrid__jm_index },
    { "count", "/sub start end", 1, hybrid__jm_count }, { "join", "/iterable", 1, hybrid__jm_join }, { "format", "*", 0, hybrid__jm_format },
    { "format_map", "/mapping", 1, hybrid__jm_format_map },
    { "partition", "/sep", 1, hybrid__jm_partition }, { "rpartition", "/sep", 1, hybrid__jm_rpartition },
    { "removeprefix", "/prefix", 1, hybrid__jm_removeprefix }, { "removesuffix", "/suffix", 1, hybrid__jm_removesuffix },
    { "ljust", "/width fillchar", 1, hybrid__jm_pad }, { "rjust", "/width fillchar", 1, hybrid__jm_pad },
    { "center", "/width fillchar", 1, hybrid__jm_pad }, { "zfill", "/width", 1, hybrid__jm_pad },
    { "expandtabs", "tabsize", 0, hybrid__jm_expandtabs }, { "isidentifier", "", 0, hybrid__jm_isidentifier },
    { "isdigit", "", 0, hybrid__jm_is }, { "isnumeric", "", 0, hybrid__jm_is }, { "isdecimal", "", 0, hybrid__jm_is },
    { "isalpha", "", 0, hybrid__jm_is }, { "isalnum", "", 0, hybrid__jm_is }, { "isascii", "", 0, hybrid__jm_is },
    { "isspace", "", 0, hybrid__jm_is }, { "isprintable", "", 0, hybrid__jm_is },
    { "isupper", "", 0, hybrid__jm_is_case }, { "islower", "", 0, hybrid__jm_is_case }, { "istitle", "", 0, hybrid__jm_is_case }
};

/* What a method of safe text gives is safe too: a text, or the texts in a list. */
static void hybrid__jmark_safe(hybrid__jvalue *v)
{
    size_t i;
    if (v->type == HYBRID__J_STRING) v->mark = 1;
    if (v->type != HYBRID__J_LIST) return;
    for (i = 0; i < v->u.list->n; i++) if (v->u.list->items[i].type == HYBRID__J_STRING) v->u.list->items[i].mark = 1;
}

/* ---- lists and dicts ---- */

static bool hybrid__jm_list_index(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const hybrid__jlist *l = c->self.u.list;
    int64_t from = 0, to = INT64_MAX;
    size_t i;
    if (c->name[0] == 'i' && (!hybrid__jinja_want_int(j, c->name, c->a[1], 0, &from) || !hybrid__jinja_want_int(j, c->name, c->a[2], to, &to))) return false;
    *out = hybrid__jint(0);
    for (i = hybrid__jclamp(from, l->n); i < hybrid__jclamp(to, l->n); i++) {
        int same = hybrid__jequal(&j->arena, l->items[i], c->a[0], j->depth);
        if (same < 0) return hybrid__jinja_spent(j);
        if (same && c->name[0] == 'i') { *out = hybrid__jint((int64_t)i); return true; }
        out->u.i += same;
    }
    return c->name[0] == 'c' || hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "index: the value is not in the list");
}
static bool hybrid__jm_copy(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { HYBRID__UNUSED(j); *out = c->self; return true; }
static bool hybrid__jm_forbidden(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    HYBRID__UNUSED(out);
    return hybrid__jinja_fail(j, HYBRID_ERROR_FORMAT, "'%s' would change a %s: templates must not", c->name, hybrid__jtype_name(c->self));
}

static bool hybrid__jm_get(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const hybrid__jentry *e;
    if (!hybrid__jinja_key(j, c->a[0])) return false;
    e = hybrid__jdict_find(&j->arena, c->self.u.dict, c->a[0]);
    *out = e ? e->value : c->a[1].type != HYBRID__J_MISSING ? c->a[1] : hybrid__jnone();
    return !j->arena.result || hybrid__jinja_spent(j);
}
static bool hybrid__jinja_dict_view(hybrid__jinja *j, const hybrid__jdict *d, char what, hybrid__jlist_kind kind, hybrid__jvalue *out)
{
    uint32_t i;
    if (!hybrid__jinja_new_list(j, d->n, kind, out)) return false;
    if (kind == HYBRID__J_VIEW) out->u.list->label = what == 'k' ? "dict_keys" : what == 'v' ? "dict_values" : "dict_items";
    for (i = 0; i < d->n; i++) {
        hybrid__jvalue v = what == 'k' ? d->entries[i].key : d->entries[i].value;
        if ((what == 'i' && !hybrid__jinja_pair(j, d->entries[i].key, d->entries[i].value, &v)) || !hybrid__jinja_push(j, *out, v)) return false;
    }
    return true;
}
static bool hybrid__jm_dict_view(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    return hybrid__jinja_dict_view(j, c->self.u.dict, c->name[0], HYBRID__J_VIEW, out);
}

enum { HYBRID__J_SEQUENCE_METHODS = 2 };                     /* the first ones: what tuples and ranges have */
static const hybrid__jbuiltin hybrid__jlist_methods[] = {
    { "index", "/value start stop", 1, hybrid__jm_list_index }, { "count", "/value", 1, hybrid__jm_list_index }, { "copy", "", 0, hybrid__jm_copy },
    { "append", "*", 0, hybrid__jm_forbidden }, { "extend", "*", 0, hybrid__jm_forbidden }, { "insert", "*", 0, hybrid__jm_forbidden },
    { "pop", "*", 0, hybrid__jm_forbidden }, { "remove", "*", 0, hybrid__jm_forbidden }, { "clear", "*", 0, hybrid__jm_forbidden },
    { "sort", "*", 0, hybrid__jm_forbidden }, { "reverse", "*", 0, hybrid__jm_forbidden }
};
static const hybrid__jbuiltin hybrid__jdict_methods[] = {
    { "get", "/key default", 1, hybrid__jm_get }, { "items", "", 0, hybrid__jm_dict_view }, { "keys", "", 0, hybrid__jm_dict_view },
    { "values", "", 0, hybrid__jm_dict_view }, { "copy", "", 0, hybrid__jm_copy },
    { "update", "*", 0, hybrid__jm_forbidden }, { "pop", "*", 0, hybrid__jm_forbidden }, { "popitem", "*", 0, hybrid__jm_forbidden },
    { "setdefault", "*", 0, hybrid__jm_forbidden }, { "clear", "*", 0, hybrid__jm_forbidden }
};

/* What a value has behind a dot, NULL: no such method. */
static const hybrid__jbuiltin *hybrid__jmethod(hybrid__jvalue v, const hybrid__jstring *name)
{
    if (v.type == HYBRID__J_STRING) return hybrid__jbuiltin_find(hybrid__jstring_methods, HYBRID__COUNT(hybrid__jstring_methods), name->p, name->n);
    if (v.type == HYBRID__J_LIST && v.u.list->kind <= HYBRID__J_RANGE)
        return hybrid__jbuiltin_find(hybrid__jlist_methods, v.u.list->kind == HYBRID__J_PLAIN ? HYBRID__COUNT(hybrid__jlist_methods)
            : (size_t)HYBRID__J_SEQUENCE_METHODS, name->p, name->n);
    if (v.type == HYBRID__J_DICT) return hybrid__jbuiltin_find(hybrid__jdict_methods, HYBRID__COUNT(hybrid__jdict_methods), name->p, name->n);
    return NULL;
}
