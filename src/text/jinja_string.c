/* text/jinja_string: the methods of strings, lists and dicts: what stands behind a dot. Those that would change a value are refused,
 * as in the sandbox that transformers uses. */

/* Simple case mapping of the alphabets that have case and are common (Latin, Greek, Cyrillic, Armenian, full width); others stay. */
static uint32_t hybrid__jupper(uint32_t c)
{
    if (c < 0x80) return c >= 'a' && c <= 'z' ? c - 32 : c;
    if (c == 0xB5) return 0x39C;
    if (c >= 0xE0 && c <= 0xFE && c != 0xF7) return c - 32;
    if (c == 0xFF) return 0x178;
    if (c == 0x131) return 'I';
    if (c == 0x17F) return 'S';
    if ((c >= 0x100 && c <= 0x137) || (c >= 0x14A && c <= 0x177) || (c >= 0x460 && c <= 0x481) || (c >= 0x48A && c <= 0x4BF)
        || (c >= 0x4D0 && c <= 0x52F) || (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF)) return c & 1 && c != 0x131 ? c - 1 : c;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c & 1 ? c : c - 1;
    if (c == 0x3C2) return 0x3A3;
    if (c >= 0x3B1 && c <= 0x3CB) return c - 32;
    if (c == 0x3AC) return 0x386;
    if (c >= 0x3AD && c <= 0x3AF) return c - 37;
    if (c == 0x3CC) return 0x38C;
    if (c == 0x3CD || c == 0x3CE) return c - 63;
    if (c >= 0x430 && c <= 0x44F) return c - 32;
    if (c >= 0x450 && c <= 0x45F) return c - 80;
    if (c >= 0x561 && c <= 0x586) return c - 48;
    if (c >= 0xFF41 && c <= 0xFF5A) return c - 32;
    return c;
}
static uint32_t hybrid__jlower(uint32_t c)
{
    if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    if (c >= 0xC0 && c <= 0xDE && c != 0xD7) return c + 32;
    if (c == 0x178) return 0xFF;
    if (c == 0x130 || c == 0x1E9E) return c == 0x130 ? 'i' : 0xDF;
    if ((c >= 0x100 && c <= 0x137) || (c >= 0x14A && c <= 0x177) || (c >= 0x460 && c <= 0x481) || (c >= 0x48A && c <= 0x4BF)
        || (c >= 0x4D0 && c <= 0x52F) || (c >= 0x1E00 && c <= 0x1E95) || (c >= 0x1EA0 && c <= 0x1EFF)) return c | 1;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E)) return c & 1 ? c + 1 : c;
    if (c >= 0x391 && c <= 0x3AB && c != 0x3A2) return c + 32;
    if (c == 0x386) return 0x3AC;
    if (c >= 0x388 && c <= 0x38A) return c + 37;
    if (c == 0x38C) return 0x3CC;
    if (c == 0x38E || c == 0x38F) return c + 63;
    if (c >= 0x410 && c <= 0x42F) return c + 32;
    if (c >= 0x400 && c <= 0x40F) return c + 80;
    if (c >= 0x531 && c <= 0x556) return c + 48;
    if (c >= 0xFF21 && c <= 0xFF3A) return c + 32;
    return c;
}
static bool hybrid__jcased(uint32_t c) { return hybrid__jupper(c) != c || hybrid__jlower(c) != c || c == 0xDF; }

/* Letters: exact in ASCII; beyond it whatever is no space, no punctuation and no symbol by its block. */
static bool hybrid__jletter(uint32_t c)
{
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (c < 0xC0) return c == 0xAA || c == 0xB5 || c == 0xBA;
    return c != 0xD7 && c != 0xF7 && !hybrid__jspace(c) && !(c >= 0x2000 && c <= 0x2BFF) && !(c >= 0x3000 && c <= 0x3004)
        && !(c >= 0x3007 && c <= 0x3030) && !(c >= 0xE000 && c <= 0xF8FF) && !(c >= 0xFE10 && c <= 0xFE6F) && !(c >= 0xFF00 && c <= 0xFF20)
        && c < 0x1F000 && c != 0xFFFD;
}

typedef enum hybrid__jcasing { HYBRID__J_UPPER, HYBRID__J_LOWER, HYBRID__J_CAPITALIZE, HYBRID__J_TITLE, HYBRID__J_SWAP, HYBRID__J_TITLE_FILTER } hybrid__jcasing;

/* TITLE starts a word after what has no case (str.title), TITLE_FILTER after blanks, dashes and opening brackets (the filter). */
static bool hybrid__jinja_casing(hybrid__jinja *j, const hybrid__jstring *s, hybrid__jcasing how, hybrid__jvalue *out)
{
    hybrid__jbuffer b = { NULL, 0, 0 };
    const char *p = s->p, *end = p + s->n;
    bool start = true;
    while (p < end) {
        char made[4];
        uint32_t c, to;
        size_t used = hybrid__utf8_read(p, end, &c);
        bool upper = how == HYBRID__J_UPPER || (how == HYBRID__J_SWAP ? hybrid__jlower(c) == c : how != HYBRID__J_LOWER && start);
        if (!used) {
            if (!hybrid__jinja_put(j, &b, p++, 1)) return false;
            continue;
        }
        to = upper ? hybrid__jupper(c) : hybrid__jlower(c);
        if (upper && c == 0xDF) { if (!hybrid__jinja_put(j, &b, how == HYBRID__J_TITLE || how == HYBRID__J_CAPITALIZE ? "Ss" : "SS", 2)) return false; }
        else if (!hybrid__jinja_put(j, &b, made, hybrid__utf8_write(to, made))) return false;
        if (how == HYBRID__J_CAPITALIZE) start = false;
        else if (how == HYBRID__J_TITLE) start = !hybrid__jcased(c);
        else start = hybrid__jspace(c) || (c < 0x80 && c && strchr("-({[<", (int)c) != NULL);
        p += used;
    }
    return hybrid__jinja_text(j, &b, out);
}

static bool hybrid__jm_upper(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_casing(j, c->self.u.s, HYBRID__J_UPPER, out); }
static bool hybrid__jm_lower(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_casing(j, c->self.u.s, HYBRID__J_LOWER, out); }
static bool hybrid__jm_title(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_casing(j, c->self.u.s, HYBRID__J_TITLE, out); }
static bool hybrid__jm_capitalize(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_casing(j, c->self.u.s, HYBRID__J_CAPITALIZE, out); }
static bool hybrid__jm_swapcase(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out) { return hybrid__jinja_casing(j, c->self.u.s, HYBRID__J_SWAP, out); }

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

static bool hybrid__jm_splitlines(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n;
    bool keep = hybrid__jflag(c->a[0], false);
    if (!hybrid__jinja_new_list(j, 0, HYBRID__J_PLAIN, out)) return false;
    while (p < end) {
        const char *q = p, *next;
        while (q < end && *q != '\n' && *q != '\r') q++;
        next = q + (q < end) + (q + 1 < end && q[0] == '\r' && q[1] == '\n');
        if (!hybrid__jinja_push_view(j, *out, p, keep ? next : q)) return false;
        p = next;
    }
    return true;
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

/* startswith, endswith: one affix or a tuple of them. */
static bool hybrid__jinja_affix(hybrid__jinja *j, hybrid__jcall *c, bool at_end, hybrid__jvalue *out)
{
    const hybrid__jstring *s = c->self.u.s;
    hybrid__jvalue *one = &c->a[0];
    size_t n = 1, i;
    hybrid__jstring *affix;
    if (c->a[0].type == HYBRID__J_LIST) { one = c->a[0].u.list->items; n = c->a[0].u.list->n; }
    *out = hybrid__jbool(false);
    for (i = 0; i < n && !out->u.b; i++) {
        if (!hybrid__jinja_want_string(j, c->name, one[i], &affix)) return false;
        out->u.b = affix->n <= s->n && !memcmp(at_end ? s->p + s->n - affix->n : s->p, affix->p, affix->n);
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
    return hybrid__jinja_want_string(j, c->name, c->a[0], &from) && hybrid__jinja_want_string(j, c->name, c->a[1], &to)
        && hybrid__jinja_want_int(j, c->name, c->a[2], -1, &most) && hybrid__jinja_replace(j, c->self.u.s, from, to, most, out);
}

/* A position of Python's slices: from the end when negative, then kept within 0..n. */
static size_t hybrid__jclamp(int64_t i, size_t n)
{
    if (i < 0) i += (int64_t)n;
    return i < 0 ? 0 : HYBRID__MIN((uint64_t)i, (uint64_t)n);
}

/* The place of a needle in code points, -1: none. */
static bool hybrid__jinja_position(hybrid__jinja *j, hybrid__jcall *c, bool right, int64_t *place)
{
    hybrid__jstring *s = c->self.u.s, *needle;
    size_t chars = hybrid__jstring_chars(&j->arena, s), from, to, at;
    int64_t a, b;
    if (!hybrid__jinja_want_string(j, c->name, c->a[0], &needle) || !hybrid__jinja_want_int(j, c->name, c->a[1], 0, &a)
        || !hybrid__jinja_want_int(j, c->name, c->a[2], INT64_MAX, &b)) return false;
    if (!hybrid__jarena_work(&j->arena, 1 + s->n / 16)) return hybrid__jinja_spent(j);
    from = hybrid__jstring_at(&j->arena, s, hybrid__jclamp(a, chars));
    to = hybrid__jstring_at(&j->arena, s, hybrid__jclamp(b, chars));
    *place = -1;
    if (from > to || a > (int64_t)chars) return true;
    if (!right) at = hybrid__jfind(s->p, to, needle->p, needle->n, from);
    else if ((at = hybrid__jfind_last(&j->arena, s->p + from, to - from, needle->p, needle->n)) != SIZE_MAX) at += from;
    if (at == SIZE_MAX) return true;
    if (chars == s->n) *place = (int64_t)at;
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
    hybrid__jstring *s = c->self.u.s, *needle;
    size_t at = 0;
    if (!hybrid__jinja_want_string(j, c->name, c->a[0], &needle)) return false;
    *out = hybrid__jint(0);
    if (!needle->n) { out->u.i = (int64_t)hybrid__jstring_chars(&j->arena, s) + 1; return true; }
    for (; (at = hybrid__jfind(s->p, s->n, needle->p, needle->n, at)) != SIZE_MAX; at += needle->n) out->u.i++;
    return hybrid__jarena_work(&j->arena, s->n / 16) || hybrid__jinja_spent(j);
}

/* is...(): every character is of the kind, and there is one. For upper and lower: every one that has case. */
static bool hybrid__jm_is(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const char *p = c->self.u.s->p, *end = p + c->self.u.s->n, *kind = c->name + 2;
    bool any = false, all = true;
    uint32_t code;
    if (!hybrid__jarena_work(&j->arena, c->self.u.s->n / 16)) return hybrid__jinja_spent(j);
    for (; p < end && all; p += hybrid__utf8_next(p, end, &code)) {
        bool digit, letter;
        hybrid__utf8_next(p, end, &code);
        digit = code >= '0' && code <= '9';
        letter = hybrid__jletter(code);
        if (*kind == 'u' || *kind == 'l') {
            if (!hybrid__jcased(code)) continue;
            all = *kind == 'u' ? hybrid__jlower(code) != code : hybrid__jupper(code) != code || code == 0xDF;
        } else {
            all = *kind == 's' ? hybrid__jspace(code) : *kind == 'd' || *kind == 'n' ? digit : kind[2] == 'n' ? digit || letter
                : kind[1] == 's' ? code < 0x80 : letter;
        }
        any = true;
    }
    *out = hybrid__jbool(all && (any || (kind[0] == 'a' && kind[1] == 's')));
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
    for (i = 0; i < items->n; i++)
        if ((i && !hybrid__jinja_put(j, &b, c->self.u.s->p, c->self.u.s->n)) || !hybrid__jinja_want_string(j, c->name, items->items[i], &one)
            || !hybrid__jinja_put(j, &b, one->p, one->n)) return false;
    return hybrid__jinja_text(j, &b, out);
}

static bool hybrid__jm_format(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out);

static const hybrid__jbuiltin hybrid__jstring_methods[] = {
    { "strip", "chars", 0, hybrid__jm_strip }, { "lstrip", "chars", 0, hybrid__jm_lstrip }, { "rstrip", "chars", 0, hybrid__jm_rstrip },
    { "split", "sep maxsplit", 0, hybrid__jm_split }, { "rsplit", "sep maxsplit", 0, hybrid__jm_rsplit },
    { "splitlines", "keepends", 0, hybrid__jm_splitlines }, { "startswith", "prefix", 1, hybrid__jm_startswith },
    { "endswith", "suffix", 1, hybrid__jm_endswith }, { "replace", "old new count", 2, hybrid__jm_replace },
    { "upper", "", 0, hybrid__jm_upper }, { "lower", "", 0, hybrid__jm_lower }, { "casefold", "", 0, hybrid__jm_lower },
    { "title", "", 0, hybrid__jm_title }, { "capitalize", "", 0, hybrid__jm_capitalize }, { "swapcase", "", 0, hybrid__jm_swapcase },
    { "find", "sub start end", 1, hybrid__jm_find }, { "rfind", "sub start end", 1, hybrid__jm_rfind },
    { "index", "sub start end", 1, hybrid__jm_index }, { "rindex", "sub start end", 1, hybrid__jm_index },
    { "count", "sub", 1, hybrid__jm_count }, { "join", "iterable", 1, hybrid__jm_join }, { "format", "*", 0, hybrid__jm_format },
    { "partition", "sep", 1, hybrid__jm_partition }, { "rpartition", "sep", 1, hybrid__jm_rpartition },
    { "removeprefix", "prefix", 1, hybrid__jm_removeprefix }, { "removesuffix", "suffix", 1, hybrid__jm_removesuffix },
    { "ljust", "width fillchar", 1, hybrid__jm_pad }, { "rjust", "width fillchar", 1, hybrid__jm_pad },
    { "center", "width fillchar", 1, hybrid__jm_pad }, { "zfill", "width", 1, hybrid__jm_pad },
    { "isdigit", "", 0, hybrid__jm_is }, { "isnumeric", "", 0, hybrid__jm_is }, { "isdecimal", "", 0, hybrid__jm_is },
    { "isalpha", "", 0, hybrid__jm_is }, { "isalnum", "", 0, hybrid__jm_is }, { "isascii", "", 0, hybrid__jm_is },
    { "isspace", "", 0, hybrid__jm_is }, { "isupper", "", 0, hybrid__jm_is }, { "islower", "", 0, hybrid__jm_is }
};

/* ---- lists and dicts ---- */

static bool hybrid__jm_list_index(hybrid__jinja *j, hybrid__jcall *c, hybrid__jvalue *out)
{
    const hybrid__jlist *l = c->self.u.list;
    size_t i;
    *out = hybrid__jint(0);
    for (i = 0; i < l->n; i++) {
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
    const hybrid__jentry *e = hybrid__jdict_find(&j->arena, c->self.u.dict, c->a[0]);
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

static const hybrid__jbuiltin hybrid__jlist_methods[] = {
    { "index", "value", 1, hybrid__jm_list_index }, { "count", "value", 1, hybrid__jm_list_index }, { "copy", "", 0, hybrid__jm_copy },
    { "append", "*", 0, hybrid__jm_forbidden }, { "extend", "*", 0, hybrid__jm_forbidden }, { "insert", "*", 0, hybrid__jm_forbidden },
    { "pop", "*", 0, hybrid__jm_forbidden }, { "remove", "*", 0, hybrid__jm_forbidden }, { "clear", "*", 0, hybrid__jm_forbidden },
    { "sort", "*", 0, hybrid__jm_forbidden }, { "reverse", "*", 0, hybrid__jm_forbidden }
};
static const hybrid__jbuiltin hybrid__jdict_methods[] = {
    { "get", "key default", 1, hybrid__jm_get }, { "items", "", 0, hybrid__jm_dict_view }, { "keys", "", 0, hybrid__jm_dict_view },
    { "values", "", 0, hybrid__jm_dict_view }, { "copy", "", 0, hybrid__jm_copy },
    { "update", "*", 0, hybrid__jm_forbidden }, { "pop", "*", 0, hybrid__jm_forbidden }, { "popitem", "*", 0, hybrid__jm_forbidden },
    { "setdefault", "*", 0, hybrid__jm_forbidden }, { "clear", "*", 0, hybrid__jm_forbidden }
};

/* What a value has behind a dot, NULL: no such method. */
static const hybrid__jbuiltin *hybrid__jmethod(hybrid__jvalue v, const hybrid__jstring *name)
{
    if (v.type == HYBRID__J_STRING) return hybrid__jbuiltin_find(hybrid__jstring_methods, HYBRID__COUNT(hybrid__jstring_methods), name->p, name->n);
    if (v.type == HYBRID__J_LIST) return hybrid__jbuiltin_find(hybrid__jlist_methods, HYBRID__COUNT(hybrid__jlist_methods), name->p, name->n);
    if (v.type == HYBRID__J_DICT) return hybrid__jbuiltin_find(hybrid__jdict_methods, HYBRID__COUNT(hybrid__jdict_methods), name->p, name->n);
    return NULL;
}
