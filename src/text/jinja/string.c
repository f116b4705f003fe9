/* text/jinja/string: the methods of strings, lists and dicts: what follows a dot. Those that would change a value
 * are refused, as in the sandbox that transformers uses. */
#ifndef HYB_TEXT_JINJA_STRING_C
#define HYB_TEXT_JINJA_STRING_C
#include "call.c"
#include "chars.c"

static bool hyb_jm_case(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    static const hyb_jcasing how[] = {
        HYB_J_UPPER, HYB_J_LOWER, HYB_J_TITLE, HYB_J_CAPITALIZE, HYB_J_SWAP, HYB_J_FOLD
    };
    return hyb_jinja_casing(j, c->self.u.s,
                            how[hyb_jword("upper lower title capitalize swapcase casefold", c->name, strlen(c->name))],
                            out);
}

/* Whether v is text that was marked safe. */
HYB_INLINE bool hyb_jis_safe(hyb_jvalue v) { return v.type == HYB_J_STRING && v.mark; }

/* v as text that is safe: escaped, unless it is marked so (or double: escaped in any case). */
static bool hyb_jinja_escape(hyb_jinja *j, hyb_jvalue v, bool again, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    const char *p, *end, *plain;
    if (!hyb_jinja_to_string(j, v, out)) return false;
    if (hyb_jis_safe(*out) && !again) return true;
    for (p = plain = out->u.s->p, end = p + out->u.s->n; p < end; p++) {
        const char *entity = *p == '&'    ? "&amp;"
                             : *p == '<'  ? "&lt;"
                             : *p == '>'  ? "&gt;"
                             : *p == '"'  ? "&#34;"
                             : *p == '\'' ? "&#39;"
                                          : NULL;
        if (!entity) continue;
        if (!hyb_jinja_put(j, &b, plain, (size_t)(p - plain)) || !hyb_jinja_puts(j, &b, entity)) return false;
        plain = p + 1;
    }
    if (!hyb_jarena_work(&j->arena, out->u.s->n / 8)) return hyb_jinja_spent(j);
    if (plain == out->u.s->p) {
        if (!hyb_jinja_view(j, plain, out->u.s->n, out)) return false;
    } else if (!hyb_jinja_put(j, &b, plain, (size_t)(end - plain)) || !hyb_jinja_text(j, &b, out))
        return false;
    out->mark = !j->js;
    return true;
}

/* The text without characters of `set` (white space when there is none) at its ends. */
static bool hyb_jinja_strip(hyb_jinja *j, hyb_jcall *c, hyb_jvalue set, bool left, bool right, hyb_jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    hyb_jstring *chars;
    if (set.type == HYB_J_MISSING || set.type == HYB_J_NONE) {
        hyb_jtrim(&p, &end, left, right);
        return hyb_jinja_view(j, p, (size_t)(end - p), out);
    }
    if (!hyb_jinja_want_string(j, c->name, set, &chars)) return false;
    while (left && p < end) {
        uint32_t code;
        size_t n = hyb_utf8_next(p, end, &code);
        if (hyb_jfind(chars->p, chars->n, p, n, 0) == SIZE_MAX) break;
        p += n;
        if (!hyb_jarena_work(&j->arena, 1 + chars->n / 16)) return hyb_jinja_spent(j);
    }
    while (right && p < end) {
        const char *q = hyb_jlast_char(p, end);
        if (hyb_jfind(chars->p, chars->n, q, (size_t)(end - q), 0) == SIZE_MAX) break;
        end = q;
        if (!hyb_jarena_work(&j->arena, 1 + chars->n / 16)) return hyb_jinja_spent(j);
    }
    return hyb_jinja_view(j, p, (size_t)(end - p), out);
}
static bool hyb_jm_strip(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    return hyb_jinja_strip(j, c, c->a[0], true, true, out);
}
static bool hyb_jm_lstrip(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    return hyb_jinja_strip(j, c, c->a[0], true, false, out);
}
static bool hyb_jm_rstrip(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    return hyb_jinja_strip(j, c, c->a[0], false, true, out);
}

static bool hyb_jinja_push_view(hyb_jinja *j, hyb_jvalue list, const char *p, const char *end)
{
    hyb_jvalue piece;
    return hyb_jinja_view(j, p, (size_t)(end - p), &piece) && hyb_jinja_push(j, list, piece);
}
static void hyb_jlist_reverse(hyb_jlist *l)
{
    size_t i;
    for (i = 0; i < l->n / 2; i++) {
        hyb_jvalue t = l->items[i];
        l->items[i] = l->items[l->n - 1 - i];
        l->items[l->n - 1 - i] = t;
    }
}

/* Words between white space, from the left or the right; after `most` cuts the rest is one piece, blanks at its far
 * end included. */
static bool hyb_jinja_words(hyb_jinja *j, const hyb_jstring *s, uint64_t most, bool right, hyb_jvalue *out)
{
    const char *p = s->p, *end = p + s->n, *q, *one;
    uint32_t code;
    if (!hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out)) return false;
    for (hyb_jtrim(&p, &end, !right, right); p < end; hyb_jtrim(&p, &end, !right, right)) {
        if (!most--) {
            if (!hyb_jinja_push_view(j, *out, p, end)) return false;
            break;
        }
        if (right) {
            for (q = end; q > p; q = one) {
                one = hyb_jlast_char(p, q);
                hyb_utf8_next(one, q, &code);
                if (hyb_jspace(code)) break;
            }
            if (!hyb_jinja_push_view(j, *out, q, end)) return false;
            end = q;
        } else {
            for (q = p; q < end; q = one) {
                one = q + hyb_utf8_next(q, end, &code);
                if (hyb_jspace(code)) break;
            }
            if (!hyb_jinja_push_view(j, *out, p, q)) return false;
            p = q;
        }
    }
    if (right) hyb_jlist_reverse(out->u.list);
    return true;
}

static bool hyb_jinja_cut(hyb_jinja *j, const hyb_jstring *s, const hyb_jstring *by, uint64_t most, bool right,
                          hyb_jvalue *out)
{
    const char *p = s->p, *end = p + s->n;
    size_t at;
    if (!by->n) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "split: the separator is empty");
    if (!hyb_jarena_work(&j->arena, s->n / 16) || !hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out))
        return hyb_jinja_spent(j);
    if (!right) {
        for (; most && (at = hyb_jfind(p, (size_t)(end - p), by->p, by->n, 0)) != SIZE_MAX; most--, p += at + by->n)
            if (!hyb_jinja_push_view(j, *out, p, p + at)) return false;
        return hyb_jinja_push_view(j, *out, p, end);
    }
    for (; most; most--) {
        if ((at = hyb_jfind_last(&j->arena, p, (size_t)(end - p), by->p, by->n)) == SIZE_MAX) break;
        if (!hyb_jinja_push_view(j, *out, p + at + by->n, end)) return false;
        end = p + at;
    }
    if (!hyb_jinja_push_view(j, *out, p, end)) return false;
    hyb_jlist_reverse(out->u.list);
    return true;
}

static bool hyb_jinja_split(hyb_jinja *j, hyb_jcall *c, bool right, hyb_jvalue *out)
{
    hyb_jstring *by;
    int64_t most;
    if (!hyb_jinja_want_int(j, c->name, c->a[1], -1, &most)) return false;
    if (c->a[0].type == HYB_J_MISSING || c->a[0].type == HYB_J_NONE)
        return hyb_jinja_words(j, c->self.u.s, most < 0 ? UINT64_MAX : (uint64_t)most, right, out);
    return hyb_jinja_want_string(j, c->name, c->a[0], &by) &&
           hyb_jinja_cut(j, c->self.u.s, by, most < 0 ? UINT64_MAX : (uint64_t)most, right, out);
}
static bool hyb_jm_split(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out) { return hyb_jinja_split(j, c, false, out); }
static bool hyb_jm_rsplit(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out) { return hyb_jinja_split(j, c, true, out); }

/* Bytes of the line break at p (p < end), 0: none. All that Python takes for one, "\r\n" as one. */
static size_t hyb_jline_break(const char *p, const char *end)
{
    uint32_t c;
    size_t n = hyb_utf8_next(p, end, &c);
    if (c == '\r' && p + 1 < end && p[1] == '\n') return 2;
    return (c >= 10 && c <= 13) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029 ? n : 0;
}
/* Where the line at p ends; *next: where the one after it begins. */
static const char *hyb_jline_end(const char *p, const char *end, const char **next)
{
    size_t n = 0;
    uint32_t c;
    while (p < end && (n = hyb_jline_break(p, end)) == 0) p += hyb_utf8_next(p, end, &c);
    *next = p + n;
    return p;
}
static bool hyb_jm_splitlines(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n, *next, *stop;
    bool keep = hyb_jflag(c->a[0], false);
    if (!hyb_jinja_new_list(j, 0, HYB_J_PLAIN, out)) return false;
    for (; p < end; p = next) {
        stop = hyb_jline_end(p, end, &next);
        if (!hyb_jinja_push_view(j, *out, p, keep ? next : stop)) return false;
    }
    return true;
}

/* Tabs become blanks up to the next column that is a multiple of the size. */
static bool hyb_jm_expandtabs(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    int64_t size, column = 0, blanks;
    if (!hyb_jinja_want_int(j, c->name, c->a[0], 8, &size)) return false;
    if (size > INT32_MAX) size = INT32_MAX;
    while (p < end) {
        uint32_t code;
        size_t n = hyb_utf8_next(p, end, &code);
        if (code != '\t') {
            if (!hyb_jinja_put(j, &b, p, n)) return false;
            column = code == '\n' || code == '\r' ? 0 : column + 1;
        } else if (size > 0) {
            blanks = size - column % size;
            column += blanks;
            if (!hyb_jarena_work(&j->arena, (uint64_t)blanks)) return hyb_jinja_spent(j);
            for (; blanks; blanks--)
                if (!hyb_jinja_put(j, &b, " ", 1)) return false;
        }
        p += n;
    }
    return hyb_jinja_text(j, &b, out);
}

/* (before, separator, after) */
static bool hyb_jinja_partition(hyb_jinja *j, hyb_jcall *c, bool right, hyb_jvalue *out)
{
    const hyb_jstring *s = c->self.u.s;
    hyb_jstring *by;
    size_t at;
    if (!hyb_jinja_want_string(j, c->name, c->a[0], &by)) return false;
    if (!by->n) return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the separator is empty", c->name);
    if (!hyb_jarena_work(&j->arena, s->n / 16) || !hyb_jinja_new_list(j, 3, HYB_J_TUPLE, out))
        return hyb_jinja_spent(j);
    at = right ? hyb_jfind_last(&j->arena, s->p, s->n, by->p, by->n) : hyb_jfind(s->p, s->n, by->p, by->n, 0);
    if (at == SIZE_MAX && right)
        return hyb_jinja_push_view(j, *out, "", "") && hyb_jinja_push_view(j, *out, "", "") &&
               hyb_jinja_push(j, *out, c->self);
    if (at == SIZE_MAX)
        return hyb_jinja_push(j, *out, c->self) && hyb_jinja_push_view(j, *out, s->p, s->p) &&
               hyb_jinja_push_view(j, *out, s->p, s->p);
    return hyb_jinja_push_view(j, *out, s->p, s->p + at) && hyb_jinja_push(j, *out, c->a[0]) &&
           hyb_jinja_push_view(j, *out, s->p + at + by->n, s->p + s->n);
}
static bool hyb_jm_partition(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    return hyb_jinja_partition(j, c, false, out);
}
static bool hyb_jm_rpartition(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    return hyb_jinja_partition(j, c, true, out);
}

/* A position of Python's slices: from the end when negative, then kept within 0..n. */
static size_t hyb_jclamp(int64_t i, size_t n)
{
    if (i < 0) i += (int64_t)n;
    return i < 0 ? 0 : HYB_MIN((uint64_t)i, (uint64_t)n);
}

/* The part [a[1]:a[2]] of the text that a method looks into, as bytes; false: error, or (*none) there is no such
 * part. */
static bool hyb_jinja_part(hyb_jinja *j, hyb_jcall *c, size_t *from, size_t *to, bool *none)
{
    hyb_jstring *s = c->self.u.s;
    size_t chars = hyb_jstring_chars(&j->arena, s);
    int64_t a, b;
    *none = false;
    if (!hyb_jinja_want_int(j, c->name, c->a[1], 0, &a) || !hyb_jinja_want_int(j, c->name, c->a[2], INT64_MAX, &b))
        return false;
    *none = a > (int64_t)chars || hyb_jclamp(a, chars) > hyb_jclamp(b, chars);
    *from = hyb_jstring_at(&j->arena, s, hyb_jclamp(a, chars));
    *to = hyb_jstring_at(&j->arena, s, hyb_jclamp(b, chars));
    return !j->arena.result || hyb_jinja_spent(j);
}

/* startswith, endswith: one affix or a tuple of them. */
static bool hyb_jinja_affix(hyb_jinja *j, hyb_jcall *c, bool at_end, hyb_jvalue *out)
{
    const hyb_jstring *s = c->self.u.s;
    hyb_jvalue *one = &c->a[0];
    size_t n = 1, i, from = 0, to = s->n;
    hyb_jstring *affix;
    bool none = false;
    if (c->a[0].type == HYB_J_LIST && (c->a[0].u.list->kind == HYB_J_TUPLE || j->js)) {
        one = c->a[0].u.list->items;
        n = c->a[0].u.list->n;
    }
    if (c->a[1].type != HYB_J_MISSING && !hyb_jinja_part(j, c, &from, &to, &none)) return false;
    *out = hyb_jbool(false);
    if (!hyb_jarena_work(&j->arena, n)) return hyb_jinja_spent(j);
    for (i = 0; i < n && !out->u.b; i++) {
        if (!hyb_jinja_want_string(j, c->name, one[i], &affix)) return false;
        if (!hyb_jarena_work(&j->arena, affix->n / 16)) return hyb_jinja_spent(j);
        out->u.b =
            !none && affix->n <= to - from && !memcmp(at_end ? s->p + to - affix->n : s->p + from, affix->p, affix->n);
    }
    return true;
}
static bool hyb_jm_startswith(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out) { return hyb_jinja_affix(j, c, false, out); }
static bool hyb_jm_endswith(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out) { return hyb_jinja_affix(j, c, true, out); }

static bool hyb_jm_removeprefix(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    const hyb_jstring *s = c->self.u.s;
    hyb_jvalue has;
    size_t n;
    if (!hyb_jinja_affix(j, c, false, &has) || c->a[0].type != HYB_J_STRING)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "removeprefix expects a string");
    n = has.u.b ? c->a[0].u.s->n : 0;
    return hyb_jinja_view(j, s->p + n, s->n - n, out);
}
static bool hyb_jm_removesuffix(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    const hyb_jstring *s = c->self.u.s;
    hyb_jvalue has;
    if (!hyb_jinja_affix(j, c, true, &has) || c->a[0].type != HYB_J_STRING)
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "removesuffix expects a string");
    return hyb_jinja_view(j, s->p, s->n - (has.u.b ? c->a[0].u.s->n : 0), out);
}

static bool hyb_jinja_replace(hyb_jinja *j, const hyb_jstring *s, const hyb_jstring *from, const hyb_jstring *to,
                              int64_t most, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    const char *p = s->p, *end = p + s->n;
    uint64_t left = most < 0 ? UINT64_MAX : (uint64_t)most;
    if (!hyb_jarena_work(&j->arena, s->n / 16)) return hyb_jinja_spent(j);
    for (; left; left--) {
        size_t at = from->n ? hyb_jfind(p, (size_t)(end - p), from->p, from->n, 0) : 0;
        if (at == SIZE_MAX) break;
        if (!hyb_jinja_put(j, &b, p, at) || !hyb_jinja_put(j, &b, to->p, to->n)) return false;
        p += at + from->n;
        if (!from->n) { /* between all characters */
            uint32_t code;
            if (p == end) break;
            at = hyb_utf8_next(p, end, &code);
            if (!hyb_jinja_put(j, &b, p, at)) return false;
            p += at;
        }
        if (!hyb_jarena_work(&j->arena, 1)) return hyb_jinja_spent(j);
    }
    return hyb_jinja_put(j, &b, p, (size_t)(end - p)) && hyb_jinja_text(j, &b, out);
}
static bool hyb_jm_replace(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jstring *from, *to;
    int64_t most;
    if (hyb_jis_safe(c->self) && !hyb_jinja_escape(j, c->a[1], false, &c->a[1])) return false;
    return hyb_jinja_want_string(j, c->name, c->a[0], &from) && hyb_jinja_want_string(j, c->name, c->a[1], &to) &&
           hyb_jinja_want_int(j, c->name, c->a[2], -1, &most) && hyb_jinja_replace(j, c->self.u.s, from, to, most, out);
}

/* The place of a needle in code points, -1: none. */
static bool hyb_jinja_position(hyb_jinja *j, hyb_jcall *c, bool right, int64_t *place)
{
    hyb_jstring *s = c->self.u.s, *needle;
    size_t from, to, at;
    bool none;
    if (!hyb_jinja_want_string(j, c->name, c->a[0], &needle) || !hyb_jinja_part(j, c, &from, &to, &none)) return false;
    if (!hyb_jarena_work(&j->arena, 1 + s->n / 16)) return hyb_jinja_spent(j);
    *place = -1;
    if (none) return true;
    if (!right)
        at = hyb_jfind(s->p, to, needle->p, needle->n, from);
    else if ((at = hyb_jfind_last(&j->arena, s->p + from, to - from, needle->p, needle->n)) != SIZE_MAX)
        at += from;
    if (j->arena.result) return hyb_jinja_spent(j);
    if (at == SIZE_MAX) return true;
    if (hyb_jstring_chars(&j->arena, s) == s->n)
        *place = (int64_t)at;
    else {
        hyb_jstring head;
        head.p = s->p;
        head.n = at;
        head.chars = SIZE_MAX;
        head.buffer = NULL;
        *place = (int64_t)hyb_jstring_chars(&j->arena, &head);
    }
    return true;
}
static bool hyb_jm_find(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    *out = hyb_jint(0);
    return hyb_jinja_position(j, c, false, &out->u.i);
}
static bool hyb_jm_rfind(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    *out = hyb_jint(0);
    return hyb_jinja_position(j, c, true, &out->u.i);
}
static bool hyb_jm_index(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    *out = hyb_jint(0);
    if (!hyb_jinja_position(j, c, c->name[0] == 'r', &out->u.i)) return false;
    return out->u.i >= 0 || hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the text does not occur", c->name);
}
static bool hyb_jm_count(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jstring *s = c->self.u.s, *needle, part;
    size_t at, to;
    bool none;
    if (!hyb_jinja_want_string(j, c->name, c->a[0], &needle) || !hyb_jinja_part(j, c, &at, &to, &none)) return false;
    *out = hyb_jint(0);
    if (none) return true;
    if (!needle->n) {
        part.p = s->p + at;
        part.n = to - at;
        part.chars = SIZE_MAX;
        part.buffer = NULL;
        out->u.i = (int64_t)hyb_jstring_chars(&j->arena, &part) + 1;
        return true;
    }
    for (; (at = hyb_jfind(s->p, to, needle->p, needle->n, at)) != SIZE_MAX; at += needle->n) {
        out->u.i++;
        if (!hyb_jarena_work(&j->arena, 1)) return hyb_jinja_spent(j);
    }
    return hyb_jarena_work(&j->arena, s->n / 16) || hyb_jinja_spent(j);
}

/* is...(): every character is of the kind, and (but for ascii and printable) there is one. */
static bool hyb_jm_is(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    int kind = hyb_jword("digit numeric decimal alpha alnum ascii space printable", c->name + 2, strlen(c->name + 2));
    bool all = p < end || kind == 5 || kind == 7;
    uint32_t code;
    if (!hyb_jarena_work(&j->arena, c->self.u.s->n / 8)) return hyb_jinja_spent(j);
    while (p < end && all) {
        p += hyb_utf8_next(p, end, &code);
        switch (kind) {
        case 0: all = hyb_jis_digit(code); break;
        case 1: all = hyb_jis_numeric(code); break;
        case 2: all = hyb_jdecimal(code) >= 0; break;
        case 3: all = hyb_jis_letter(code); break;
        case 4: all = hyb_jis_letter(code) || hyb_jis_numeric(code); break;
        case 5: all = code < 0x80; break;
        case 6: all = hyb_jspace(code); break;
        default: all = hyb_jprintable(code); break;
        }
    }
    *out = hyb_jbool(all);
    return true;
}
/* isupper, islower: no letter of another case, and one of this. istitle: words begin with a large letter, small ones
 * follow. */
static bool hyb_jm_is_case(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    char kind = c->name[2];
    bool any = false, word = false, all = true;
    uint32_t code;
    if (!hyb_jarena_work(&j->arena, c->self.u.s->n / 8)) return hyb_jinja_spent(j);
    while (p < end && all) {
        bool upper, lower, title;
        p += hyb_utf8_next(p, end, &code);
        upper = hyb_jis_upper(code);
        lower = !upper && hyb_jis_lower(code);
        title = !upper && !lower && hyb_jis_title(code);
        if (kind == 'u')
            all = !lower && !title;
        else if (kind == 'l')
            all = !upper && !title;
        else if (upper || title)
            all = !word;
        else if (lower)
            all = word;
        any = any || (kind == 'u' ? upper : kind == 'l' ? lower : upper || lower || title);
        word = upper || lower || title;
    }
    *out = hyb_jbool(all && any);
    return true;
}
static bool hyb_jm_isidentifier(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    if (!hyb_jarena_work(&j->arena, c->self.u.s->n / 8)) return hyb_jinja_spent(j);
    *out = hyb_jbool(hyb_jis_identifier(c->self.u.s->p, c->self.u.s->p + c->self.u.s->n));
    return true;
}

/* A character many times. What is put at once is a text of the arena, too: it keeps whose words they are. */
static bool hyb_jinja_put_times(hyb_jinja *j, hyb_jbuffer *b, const char *p, size_t n, int64_t times)
{
    enum { MANY = 64 };
    hyb_jbuffer many = { NULL, 0, 0 };
    int64_t i;
    if (!hyb_jarena_work(&j->arena, (uint64_t)times)) return hyb_jinja_spent(j);
    for (i = 0; times >= MANY && i < MANY; i++)
        if (!hyb_jinja_put(j, &many, p, n)) return false;
    for (; times >= MANY; times -= MANY)
        if (!hyb_jinja_put(j, b, many.data, many.size)) return false;
    for (; times; times--)
        if (!hyb_jinja_put(j, b, p, n)) return false;
    return true;
}

/* ljust, rjust, center, zfill */
static bool hyb_jm_pad(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jstring *s = c->self.u.s, *fill = NULL;
    int64_t width, room, left;
    size_t n = 1;
    bool zero = c->name[0] == 'z', sign = zero && s->n && (s->p[0] == '-' || s->p[0] == '+');
    const char *with = zero ? "0" : " ";
    if (!hyb_jinja_want_int(j, c->name, c->a[0], 0, &width)) return false;
    if (hyb_jis_safe(c->self) && c->a[1].type == HYB_J_STRING && !hyb_jinja_escape(j, c->a[1], false, &c->a[1]))
        return false;
    if (c->a[1].type != HYB_J_MISSING &&
        (!hyb_jinja_want_string(j, c->name, c->a[1], &fill) || hyb_jstring_chars(&j->arena, fill) != 1))
        return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "%s: the fill must be one character", c->name);
    room = width - (int64_t)hyb_jstring_chars(&j->arena, s);
    if (width < 0 || room <= 0) {
        *out = c->self;
        return true;
    }
    left = c->name[0] == 'l' ? 0 : c->name[0] == 'c' ? room / 2 + (room & width & 1) : room;
    if (fill) {
        with = fill->p;
        n = fill->n;
    }
    if ((sign && !hyb_jinja_put(j, &b, s->p, 1)) || !hyb_jinja_put_times(j, &b, with, n, left) ||
        !hyb_jinja_put(j, &b, s->p + sign, s->n - sign) || !hyb_jinja_put_times(j, &b, with, n, room - left))
        return false;
    return hyb_jinja_text(j, &b, out);
}

/* 'sep'.join(items): in Python all must be strings. */
static bool hyb_jm_join(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jlist *items;
    hyb_jstring *one;
    size_t i;
    if (!hyb_jinja_items(j, c->a[0], &items)) return false;
    for (i = 0; i < items->n; i++) {
        hyb_jvalue v = items->items[i];
        if (hyb_jis_safe(c->self) && !hyb_jinja_escape(j, v, false, &v)) return false;
        if ((i && !hyb_jinja_put(j, &b, c->self.u.s->p, c->self.u.s->n)) ||
            !hyb_jinja_want_string(j, c->name, v, &one) || !hyb_jinja_put(j, &b, one->p, one->n))
            return false;
    }
    return hyb_jinja_text(j, &b, out);
}

static bool hyb_jm_format(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out);

static bool hyb_jm_format_map(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out);

/* clang-format off */
static const hyb_jbuiltin hyb_jstring_methods[] = {
    { "strip", "/chars", 0, hyb_jm_strip }, { "lstrip", "/chars", 0, hyb_jm_lstrip },
    { "rstrip", "/chars", 0, hyb_jm_rstrip },
    { "split", "sep maxsplit", 0, hyb_jm_split }, { "rsplit", "sep maxsplit", 0, hyb_jm_rsplit },
    { "splitlines", "keepends", 0, hyb_jm_splitlines }, { "startswith", "/prefix start end", 1, hyb_jm_startswith },
    { "endswith", "/suffix start end", 1, hyb_jm_endswith }, { "replace", "/old new count", 2, hyb_jm_replace },
    { "upper", "", 0, hyb_jm_case }, { "lower", "", 0, hyb_jm_case }, { "casefold", "", 0, hyb_jm_case },
    { "title", "", 0, hyb_jm_case }, { "capitalize", "", 0, hyb_jm_case }, { "swapcase", "", 0, hyb_jm_case },
    { "find", "/sub start end", 1, hyb_jm_find }, { "rfind", "/sub start end", 1, hyb_jm_rfind },
    { "index", "/sub start end", 1, hyb_jm_index }, { "rindex", "/sub start end", 1, hyb_jm_index },
    { "count", "/sub start end", 1, hyb_jm_count }, { "join", "/iterable", 1, hyb_jm_join },
    { "format", "*", 0, hyb_jm_format },
    { "format_map", "/mapping", 1, hyb_jm_format_map },
    { "partition", "/sep", 1, hyb_jm_partition }, { "rpartition", "/sep", 1, hyb_jm_rpartition },
    { "removeprefix", "/prefix", 1, hyb_jm_removeprefix }, { "removesuffix", "/suffix", 1, hyb_jm_removesuffix },
    { "ljust", "/width fillchar", 1, hyb_jm_pad }, { "rjust", "/width fillchar", 1, hyb_jm_pad },
    { "center", "/width fillchar", 1, hyb_jm_pad }, { "zfill", "/width", 1, hyb_jm_pad },
    { "expandtabs", "tabsize", 0, hyb_jm_expandtabs }, { "isidentifier", "", 0, hyb_jm_isidentifier },
    { "isdigit", "", 0, hyb_jm_is }, { "isnumeric", "", 0, hyb_jm_is }, { "isdecimal", "", 0, hyb_jm_is },
    { "isalpha", "", 0, hyb_jm_is }, { "isalnum", "", 0, hyb_jm_is }, { "isascii", "", 0, hyb_jm_is },
    { "isspace", "", 0, hyb_jm_is }, { "isprintable", "", 0, hyb_jm_is },
    { "isupper", "", 0, hyb_jm_is_case }, { "islower", "", 0, hyb_jm_is_case }, { "istitle", "", 0, hyb_jm_is_case }
};
/* clang-format on */

/* What a method of safe text gives is safe too: a text, or the texts in a list. */
static void hyb_jmark_safe(hyb_jvalue *v)
{
    size_t i;
    if (v->type == HYB_J_STRING) v->mark = 1;
    if (v->type != HYB_J_LIST) return;
    for (i = 0; i < v->u.list->n; i++)
        if (v->u.list->items[i].type == HYB_J_STRING) v->u.list->items[i].mark = 1;
}

/* ---- lists and dicts --------------------------------------------------------------------------------------------- */

static bool hyb_jm_list_index(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    const hyb_jlist *l = c->self.u.list;
    int64_t from = 0, to = INT64_MAX;
    size_t i;
    if (c->name[0] == 'i' &&
        (!hyb_jinja_want_int(j, c->name, c->a[1], 0, &from) || !hyb_jinja_want_int(j, c->name, c->a[2], to, &to)))
        return false;
    *out = hyb_jint(0);
    for (i = hyb_jclamp(from, l->n); i < hyb_jclamp(to, l->n); i++) {
        int same = hyb_jequal(&j->arena, l->items[i], c->a[0], j->depth);
        if (same < 0) return hyb_jinja_spent(j);
        if (same && c->name[0] == 'i') {
            *out = hyb_jint((int64_t)i);
            return true;
        }
        out->u.i += same;
    }
    return c->name[0] == 'c' || hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "index: the value is not in the list");
}
static bool hyb_jm_copy(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    HYB_UNUSED(j);
    *out = c->self;
    return true;
}
static bool hyb_jm_forbidden(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    HYB_UNUSED(out);
    return hyb_jinja_fail(j, HYBRID_ERROR_FORMAT, "'%s' would change a %s: templates must not", c->name,
                          hyb_jtype_name(c->self));
}

static bool hyb_jm_get(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    const hyb_jentry *e;
    if (!hyb_jinja_key(j, c->a[0])) return false;
    e = hyb_jdict_find(&j->arena, c->self.u.dict, c->a[0]);
    *out = e ? e->value : c->a[1].type != HYB_J_MISSING ? c->a[1] : hyb_jnone();
    return !j->arena.result || hyb_jinja_spent(j);
}
static bool hyb_jinja_dict_view(hyb_jinja *j, const hyb_jdict *d, char what, hyb_jlist_kind kind, hyb_jvalue *out)
{
    uint32_t i;
    if (!hyb_jinja_new_list(j, d->n, kind, out)) return false;
    if (kind == HYB_J_VIEW) out->u.list->label = what == 'k' ? "dict_keys" : what == 'v' ? "dict_values" : "dict_items";
    for (i = 0; i < d->n; i++) {
        hyb_jvalue v = what == 'k' ? d->entries[i].key : d->entries[i].value;
        if ((what == 'i' && !hyb_jinja_pair(j, d->entries[i].key, d->entries[i].value, &v)) ||
            !hyb_jinja_push(j, *out, v))
            return false;
    }
    return true;
}
static bool hyb_jm_dict_view(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    return hyb_jinja_dict_view(j, c->self.u.dict, c->name[0], HYB_J_VIEW, out);
}

enum { HYB_J_SEQUENCE_METHODS = 2 }; /* the first ones: what tuples and ranges have */
/* clang-format off */
static const hyb_jbuiltin hyb_jlist_methods[] = {
    { "index", "/value start stop", 1, hyb_jm_list_index }, { "count", "/value", 1, hyb_jm_list_index },
    { "copy", "", 0, hyb_jm_copy },
    { "append", "*", 0, hyb_jm_forbidden }, { "extend", "*", 0, hyb_jm_forbidden },
    { "insert", "*", 0, hyb_jm_forbidden },
    { "pop", "*", 0, hyb_jm_forbidden }, { "remove", "*", 0, hyb_jm_forbidden }, { "clear", "*", 0, hyb_jm_forbidden },
    { "sort", "*", 0, hyb_jm_forbidden }, { "reverse", "*", 0, hyb_jm_forbidden }
};
/* clang-format on */
/* clang-format off */
static const hyb_jbuiltin hyb_jdict_methods[] = {
    { "get", "/key default", 1, hyb_jm_get }, { "items", "", 0, hyb_jm_dict_view }, { "keys", "", 0, hyb_jm_dict_view },
    { "values", "", 0, hyb_jm_dict_view }, { "copy", "", 0, hyb_jm_copy },
    { "update", "*", 0, hyb_jm_forbidden }, { "pop", "*", 0, hyb_jm_forbidden },
    { "popitem", "*", 0, hyb_jm_forbidden },
    { "setdefault", "*", 0, hyb_jm_forbidden }, { "clear", "*", 0, hyb_jm_forbidden }
};
/* clang-format on */

/* What a value has after a dot, NULL: no such method. */
static const hyb_jbuiltin *hyb_jmethod(hyb_jvalue v, const hyb_jstring *name)
{
    if (v.type == HYB_J_STRING)
        return hyb_jbuiltin_find(hyb_jstring_methods, HYB_COUNT(hyb_jstring_methods), name->p, name->n);
    if (v.type == HYB_J_LIST && v.u.list->kind <= HYB_J_RANGE)
        return hyb_jbuiltin_find(hyb_jlist_methods,
                                 v.u.list->kind == HYB_J_PLAIN ? HYB_COUNT(hyb_jlist_methods)
                                                               : (size_t)HYB_J_SEQUENCE_METHODS,
                                 name->p, name->n);
    if (v.type == HYB_J_DICT)
        return hyb_jbuiltin_find(hyb_jdict_methods, HYB_COUNT(hyb_jdict_methods), name->p, name->n);
    return NULL;
}
#endif
