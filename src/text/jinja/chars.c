/* text/jinja/chars: kinds and case of characters, as Python's str has them. */
#ifndef HYB_TEXT_JINJA_CHARS_C
#define HYB_TEXT_JINJA_CHARS_C
#include "call.c"
#include "case.c"

/* The run of a table (width numbers each) that c is in, NULL: none. Runs of every second character may lie in each
 * other, eight deep. */
static const uint32_t *hyb_jcase_run(const uint32_t *table, size_t n, size_t width, uint32_t c)
{
    size_t low = 0, high = n / width, back;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (table[middle * width] <= c)
            low = middle;
        else
            high = middle;
    }
    for (back = 0; back < 8 && back <= low; back++) {
        const uint32_t *run = table + (low - back) * width, step = 1 + (run[1] & 1);
        if (c >= run[0] && c - run[0] < run[1] / 2 * step && (c - run[0]) % step == 0) return run;
    }
    return NULL;
}
#define HYB_JCASE_IS(table, c)  (hyb_jcase_run(hyb_jcase_##table, HYB_COUNT(hyb_jcase_##table), 2, c) != NULL)
#define HYB_JCASE_MAP(table, c) hyb_jcase_run(hyb_jcase_##table, HYB_COUNT(hyb_jcase_##table), 3, c)

static bool hyb_jis_letter(uint32_t c)
{
    unsigned k;
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    k = hyb_unicode_class(c);
    return k >= HYB_CHAR_LU && k <= HYB_CHAR_LO;
}
/* The value of a decimal digit of any script, -1: it is none. */
static int hyb_jdecimal(uint32_t c)
{
    uint32_t back;
    if (c < 0x80) return c >= '0' && c <= '9' ? (int)(c - '0') : -1;
    if (hyb_unicode_class(c) != HYB_CHAR_NUMBER) return -1;
    for (back = 0; back < 10; back++)
        if (HYB_JCASE_IS(zeros, c - back)) return (int)back;
    return -1;
}
static bool hyb_jis_digit(uint32_t c) { return hyb_jdecimal(c) >= 0 || (c >= 0x80 && HYB_JCASE_IS(digits, c)); }
static bool hyb_jis_numeric(uint32_t c)
{
    if (c < 0x80) return c >= '0' && c <= '9';
    return hyb_unicode_class(c) == HYB_CHAR_NUMBER || HYB_JCASE_IS(numbers, c);
}
/* \w of regular expressions */
static bool hyb_jis_word(uint32_t c) { return c == '_' || hyb_jis_letter(c) || hyb_jis_numeric(c); }
static bool hyb_jis_upper(uint32_t c) { return c < 0x80 ? c >= 'A' && c <= 'Z' : HYB_JCASE_IS(is_upper, c); }
static bool hyb_jis_lower(uint32_t c) { return c < 0x80 ? c >= 'a' && c <= 'z' : HYB_JCASE_IS(is_lower, c); }
static bool hyb_jis_title(uint32_t c) { return c >= 0x80 && hyb_unicode_class(c) == HYB_CHAR_LT; }
static bool hyb_jis_cased(uint32_t c) { return hyb_jis_upper(c) || hyb_jis_lower(c) || hyb_jis_title(c); }
static bool hyb_jis_name(uint32_t c, bool first)
{
    if (c < 0x80) return hyb_jis_word(c) && !(first && c <= '9');
    if (first) return hyb_jis_letter(c) ? !HYB_JCASE_IS(no_names, c) : HYB_JCASE_IS(names, c);
    if (hyb_jis_letter(c) || hyb_jdecimal(c) >= 0 || hyb_unicode_class(c) == HYB_CHAR_MARK)
        return !HYB_JCASE_IS(no_inside, c);
    return HYB_JCASE_IS(inside, c);
}
static bool hyb_jis_identifier(const char *p, const char *end)
{
    const char *start = p;
    uint32_t code;
    size_t n;
    for (; p < end; p += n) {
        n = hyb_utf8_next(p, end, &code);
        if (!hyb_jis_name(code, p == start)) return false;
    }
    return p > start;
}

typedef enum hyb_jcasing {
    HYB_J_UPPER,
    HYB_J_LOWER,
    HYB_J_FOLD,
    HYB_J_CAPITALIZE,
    HYB_J_TITLE,
    HYB_J_SWAP
} hyb_jcasing;

/* One of the characters that become several: up to three in to; 0: it is none of them. */
static size_t hyb_jcase_many(const uint16_t *table, size_t n, uint32_t c, uint32_t to[3])
{
    size_t low = 0, high = n / 4, i;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (table[middle * 4] <= c)
            low = middle;
        else
            high = middle;
    }
    if (table[low * 4] != c) return 0;
    for (i = 0; i < 3 && table[low * 4 + 1 + i]; i++) to[i] = table[low * 4 + 1 + i];
    return i;
}
#define HYB_JCASE_MANY(table, c, to) hyb_jcase_many(hyb_jcase_##table, HYB_COUNT(hyb_jcase_##table), c, to)

/* c in upper, lower, title (TITLE) or folded case: how many characters, in to. A final sigma is the caller's matter. */
static size_t hyb_jcase_of(uint32_t c, hyb_jcasing how, uint32_t to[3])
{
    const uint32_t *run = NULL;
    size_t n = 0;
    *to = c;
    if (c < 0x80) {
        if (how == HYB_J_UPPER || how == HYB_J_TITLE ? c >= 'a' && c <= 'z' : c >= 'A' && c <= 'Z') *to = c ^ 32;
        return 1;
    }
    if (how == HYB_J_UPPER)
        n = HYB_JCASE_MANY(uppers, c, to);
    else if (how == HYB_J_TITLE)
        n = HYB_JCASE_MANY(titles, c, to);
    else if (how == HYB_J_FOLD)
        n = HYB_JCASE_MANY(folds, c, to);
    else if (c == 0x130) {
        to[0] = 'i';
        to[1] = 0x307;
        n = 2;
    }
    if (n) return n;
    if (how == HYB_J_TITLE) run = HYB_JCASE_MAP(title, c);
    if (how == HYB_J_FOLD) run = HYB_JCASE_MAP(fold, c);
    if (!run) run = how == HYB_J_UPPER || how == HYB_J_TITLE ? HYB_JCASE_MAP(upper, c) : HYB_JCASE_MAP(lower, c);
    if (run) *to = c + run[2];
    return 1;
}

/* Whether a letter follows a sigma (at [p, end)), with nothing but signs that belong to letters between them. */
static bool hyb_jletter_follows(const char *p, const char *end)
{
    uint32_t c;
    while (p < end) {
        p += hyb_utf8_next(p, end, &c);
        if (c < 0x80 ? !strchr("'.:^`", (int)c) || !c : !HYB_JCASE_IS(ignorable, c)) return hyb_jis_cased(c);
    }
    return false;
}

/* [p, end) in another case, added to b. */
static bool hyb_jinja_cased(hyb_jinja *j, hyb_jbuffer *b, const char *p, const char *end, hyb_jcasing how)
{
    const char *start = p;
    bool after = false, word = false; /* a letter came before: signs skipped, or right before */
    if (!hyb_jarena_work(&j->arena, (uint64_t)(end - p) / 2)) return hyb_jinja_spent(j);
    while (p < end) {
        uint32_t c, to[3];
        size_t used = hyb_utf8_read(p, end, &c), n, i;
        hyb_jcasing one = how;
        char made[4];
        bool cased;
        if (!used) {
            if (!hyb_jinja_put(j, b, p++, 1)) return false;
            after = word = false;
            continue;
        }
        cased = hyb_jis_cased(c);
        if (how == HYB_J_CAPITALIZE) one = p == start ? HYB_J_TITLE : HYB_J_LOWER;
        if (how == HYB_J_TITLE) one = word ? HYB_J_LOWER : HYB_J_TITLE;
        if (how == HYB_J_SWAP) one = hyb_jis_upper(c) ? HYB_J_LOWER : HYB_J_UPPER;
        if (how == HYB_J_SWAP && !hyb_jis_upper(c) && !hyb_jis_lower(c)) {
            to[0] = c;
            n = 1;
        } else
            n = hyb_jcase_of(c, one, to);
        if (c == 0x3A3 && one == HYB_J_LOWER && after && !hyb_jletter_follows(p + used, end)) to[0] = 0x3C2;
        for (i = 0; i < n; i++)
            if (!hyb_jinja_put_for(j, b, made, hyb_utf8_write(to[i], made), p, used)) return false;
        if (c < 0x80 ? !strchr("'.:^`", (int)c) || !c : !HYB_JCASE_IS(ignorable, c)) after = cased;
        word = cased;
        p += used;
    }
    return true;
}
static bool hyb_jinja_casing(hyb_jinja *j, const hyb_jstring *s, hyb_jcasing how, hyb_jvalue *out)
{
    hyb_jbuffer b = { NULL, 0, 0 };
    return hyb_jinja_cased(j, &b, s->p, s->p + s->n, how) && hyb_jinja_text(j, &b, out);
}
#endif
