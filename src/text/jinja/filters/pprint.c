/* text/jinja/filters/pprint: as Python's pprint.pformat, 80 columns wide. */
#ifndef HYB_TEXT_JINJA_FILTERS_PPRINT_C
#define HYB_TEXT_JINJA_FILTERS_PPRINT_C
#include "../ops.c"

/* A copy of v whose dicts are in the order of their keys; dicts with keys of several types stay as they are. */
static bool hyb_jinja_sorted_dicts(hyb_jinja *j, hyb_jvalue v, hyb_jvalue *out)
{
    hyb_jlist *keys = NULL;
    hyb_jvalue one;
    bool strings = true, numbers = true, ok = true;
    size_t i;
    *out = v;
    if (v.type != HYB_J_DICT && (v.type != HYB_J_LIST || v.u.list->kind > HYB_J_TUPLE)) return true;
    if (!hyb_jinja_enter(j)) return false;
    if (v.type == HYB_J_LIST) {
        ok = hyb_jinja_new_list(j, v.u.list->n, v.u.list->kind, out);
        for (i = 0; ok && i < v.u.list->n; i++)
            ok = hyb_jinja_sorted_dicts(j, v.u.list->items[i], &one) && hyb_jinja_push(j, *out, one);
    } else {
        for (i = 0; i < v.u.dict->n; i++) {
            strings = strings && v.u.dict->entries[i].key.type == HYB_J_STRING;
            numbers = numbers && hyb_jis_number(v.u.dict->entries[i].key);
        }
        ok = (!(strings || numbers) || hyb_jinja_sort_keys(j, v.u.dict, &keys)) &&
             hyb_jinja_check(j, hyb_jdict_new(&j->arena, out));
        for (i = 0; ok && i < v.u.dict->n; i++) {
            hyb_jvalue key = keys ? keys->items[i] : v.u.dict->entries[i].key;
            const hyb_jentry *e = hyb_jdict_find(&j->arena, v.u.dict, key);
            ok = e ? hyb_jinja_sorted_dicts(j, e->value, &one) : hyb_jinja_spent(j);
            ok = ok && hyb_jinja_check(j, hyb_jdict_set(&j->arena, out->u.dict, key, one));
        }
    }
    j->depth++;
    return ok;
}

/* repr(v), and its length in characters. */
static bool hyb_jinja_repr_length(hyb_jinja *j, hyb_jvalue v, hyb_jvalue *text, int64_t *n)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    if (!hyb_jinja_repr(j, &b, v) || !hyb_jinja_text(j, &b, text)) return false;
    *n = (int64_t)hyb_jstring_chars(&j->arena, text->u.s);
    return true;
}

static bool hyb_jinja_pretty_break(hyb_jinja *j, hyb_jbuffer *b, int64_t indent)
{
    if (!hyb_jinja_put(j, b, "\n", 1)) return false;
    for (; indent > 0; indent--)
        if (!hyb_jinja_put(j, b, " ", 1)) return false;
    return true;
}

/* A long text as several, broken at line ends and after blanks. chunks: their reprs. */
static bool hyb_jinja_pretty_chunks(hyb_jinja *j, const hyb_jstring *s, int64_t width, int64_t allowance,
                                    hyb_jvalue chunks)
{
    const char *p, *end = s->p + s->n, *next, *q, *from;
    hyb_jvalue piece, text;
    uint32_t code;
    int64_t n;
    for (p = s->p; p < end; p = next) {
        hyb_jline_end(p, end, &next);
        if (!hyb_jinja_view(j, p, (size_t)(next - p), &piece) || !hyb_jinja_repr_length(j, piece, &text, &n))
            return false;
        if (n <= width - (next == end ? allowance : 0)) {
            if (!hyb_jinja_push(j, chunks, text)) return false;
            continue;
        }
        for (from = q = p; q < next;) { /* [from, q) is what fits so far */
            const char *r = q;
            size_t used;
            while (r < next && (used = hyb_utf8_next(r, next, &code)) != 0 && !hyb_jspace(code)) r += used;
            while (r < next && (used = hyb_utf8_next(r, next, &code)) != 0 && hyb_jspace(code)) r += used;
            if (!hyb_jinja_view(j, from, (size_t)(r - from), &piece) || !hyb_jinja_repr_length(j, piece, &text, &n))
                return false;
            if (n > width - (r == end ? allowance : 0) && q > from) {
                if (!hyb_jinja_view(j, from, (size_t)(q - from), &piece) ||
                    !hyb_jinja_repr_length(j, piece, &text, &n) || !hyb_jinja_push(j, chunks, text))
                    return false;
                from = q;
            }
            q = r;
        }
        if (!hyb_jinja_view(j, from, (size_t)(q - from), &piece) || !hyb_jinja_repr_length(j, piece, &text, &n) ||
            !hyb_jinja_push(j, chunks, text))
            return false;
    }
    return true;
}
static bool hyb_jinja_pretty_text(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, hyb_jvalue repr, int64_t indent,
                                  int64_t allowance, bool top)
{
    hyb_jvalue chunks;
    const hyb_jlist *l;
    size_t i;
    indent += top;
    if (!hyb_jinja_new_list(j, 0, HYB_J_PLAIN, &chunks) ||
        !hyb_jinja_pretty_chunks(j, v.u.s, 80 - indent, allowance + top, chunks))
        return false;
    l = chunks.u.list;
    if (l->n < 2) return hyb_jinja_put(j, b, repr.u.s->p, repr.u.s->n);
    if (top && !hyb_jinja_put(j, b, "(", 1)) return false;
    for (i = 0; i < l->n; i++)
        if ((i && !hyb_jinja_pretty_break(j, b, indent)) ||
            !hyb_jinja_put(j, b, l->items[i].u.s->p, l->items[i].u.s->n))
            return false;
    return !top || hyb_jinja_put(j, b, ")", 1);
}

static bool hyb_jinja_pretty(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, int64_t indent, int64_t allowance, bool top);

static bool hyb_jinja_pretty_items(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, int64_t indent, int64_t allowance)
{
    bool dict = v.type == HYB_J_DICT, tuple = !dict && v.u.list->kind == HYB_J_TUPLE;
    size_t n = dict ? v.u.dict->n : v.u.list->n, i;
    const char *close = dict ? "}" : !tuple ? "]" : n == 1 ? ",)" : ")";
    int64_t width;
    if (!hyb_jinja_put(j, b, dict ? "{" : tuple ? "(" : "[", 1)) return false;
    indent++;
    for (i = 0; i < n; i++) {
        hyb_jvalue key;
        if (i && (!hyb_jinja_put(j, b, ",", 1) || !hyb_jinja_pretty_break(j, b, indent))) return false;
        width = 0;
        if (dict) {
            if (!hyb_jinja_repr_length(j, v.u.dict->entries[i].key, &key, &width) ||
                !hyb_jinja_put(j, b, key.u.s->p, key.u.s->n) || !hyb_jinja_put(j, b, ": ", 2))
                return false;
            width += 2;
        }
        if (!hyb_jinja_pretty(j, b, dict ? v.u.dict->entries[i].value : v.u.list->items[i], indent + width,
                              i + 1 == n ? allowance + (int64_t)strlen(close) : 1, false))
            return false;
    }
    return hyb_jinja_puts(j, b, close);
}
/* What fits into its line stands there; else dicts, lists and long texts take several. */
static bool hyb_jinja_pretty(hyb_jinja *j, hyb_jbuffer *b, hyb_jvalue v, int64_t indent, int64_t allowance, bool top)
{
    hyb_jvalue text;
    int64_t n;
    bool ok;
    if (!hyb_jinja_repr_length(j, v, &text, &n) || !hyb_jinja_enter(j)) return false;
    if (n > 80 - indent - allowance &&
        (v.type == HYB_J_DICT ? v.u.dict->n > 0 : v.type == HYB_J_LIST && v.u.list->kind <= HYB_J_TUPLE && v.u.list->n))
        ok = hyb_jinja_pretty_items(j, b, v, indent, allowance);
    else if (n > 80 - indent - allowance && v.type == HYB_J_STRING && !v.mark && v.u.s->n)
        ok = hyb_jinja_pretty_text(j, b, v, text, indent, allowance, top);
    else
        ok = hyb_jinja_put(j, b, text.u.s->p, text.u.s->n);
    j->depth++;
    return ok;
}
static bool hyb_jf_pprint(hyb_jinja *j, hyb_jcall *c, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    hyb_jvalue v;
    return hyb_jinja_sorted_dicts(j, c->self, &v) && hyb_jinja_pretty(j, &b, v, 0, 0, true) &&
           hyb_jinja_text(j, &b, out);
}
#endif
