/* What tests/oracle/check_schema.py asks: for each line {"schema": ..., "texts": [...], "walks": N} of the input a line
 * {"error": sentence}, or {"accepted": "01...", "walks": [texts that a random walk through the grammar wrote]}. */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"

static uint64_t seed = 1;
static uint32_t chance(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static bool print(void *user, const void *data, size_t n) { return fwrite(data, 1, n, (FILE *)user) == n; }

typedef struct paper {
    char text[1 << 20];
    size_t n;
} paper;

static bool put(void *user, const void *data, size_t n)
{
    paper *p = (paper *)user;
    if (n > sizeof p->text - p->n) return false;
    memcpy(p->text + p->n, data, n);
    p->n += n;
    return true;
}

/* One byte of those that may follow; what closes something is likelier the longer the text is. -1: none. */
static int step(hybrid_matcher *m, size_t length)
{
    static const char closing[] = "\"]}";
    const hyb_rules *rules = m->match.rules;
    int found = -1, bytes = 0, b;
    uint32_t next;
    for (b = 0; b < 3 && chance(100) < length; b++)
        if (!hyb_match_next(&m->match, m->state, (uint8_t)closing[b], &next, NULL) && next != HYB_MATCH_DEAD)
            return closing[b];
    if (chance(2)) { /* any class of bytes, or any byte */
        for (b = 0; b < (int)rules->n_classes; b++)
            if (!hyb_match_next(&m->match, m->state, rules->class_byte[b], &next, NULL) && next != HYB_MATCH_DEAD &&
                !chance((uint32_t)++bytes))
                found = rules->class_byte[b];
        return found;
    }
    for (b = 0; b < 256; b++)
        if (!hyb_match_next(&m->match, m->state, (uint8_t)b, &next, NULL) && next != HYB_MATCH_DEAD &&
            !chance((uint32_t)++bytes))
            found = b;
    return found;
}

/* A text, or false where it got too long. */
static bool walk(hybrid_matcher *m, paper *p)
{
    hybrid_matcher_reset(m);
    for (p->n = 0; p->n < 600; p->n++) {
        int byte;
        if (hybrid_matcher_can_end(m) && (hyb_matcher_complete(m) || !chance(3))) return true;
        if ((byte = step(m, p->n)) < 0) return hybrid_matcher_can_end(m);
        p->text[p->n] = (char)byte;
        if (hybrid_matcher_accept(m, p->text + p->n, 1, NULL)) return false;
    }
    return false;
}

static void answer(hybrid_grammar *g, const hyb_json *texts, int64_t walks, paper *p)
{
    hybrid_matcher *m;
    const hyb_json *t;
    uint32_t i;
    bool first = true;
    if (hybrid_matcher_create(g, &m, NULL)) exit(1);
    printf("{\"accepted\": \"");
    for (i = 0, t = hyb_json_first(texts); i < texts->n; i++, t = hyb_json_next(t)) {
        hybrid_matcher_reset(m);
        putchar(!hybrid_matcher_accept(m, t->u.s, t->n, NULL) && hybrid_matcher_can_end(m) ? '1' : '0');
    }
    printf("\", \"walks\": [");
    for (; walks--;) {
        if (!walk(m, p)) continue;
        printf(first ? "" : ", ");
        hyb_json_quote(p->text, p->n, false, print, stdout);
        first = false;
    }
    printf("]}\n");
    hybrid_matcher_destroy(m);
}

int main(void)
{
    static char line[1 << 22];
    static paper p;
    hybrid_runtime *rt;
    if (hybrid_runtime_create(NULL, &rt, NULL)) return 1;
    while (fgets(line, sizeof line, stdin)) {
        hybrid_grammar_desc d;
        hybrid_grammar *g;
        hybrid_error err;
        hyb_json_doc doc;
        if (hyb_json_parse(rt, line, strlen(line), 100, 1000000, &doc, &err)) {
            fprintf(stderr, "%s\n", err.message);
            return 1;
        }
        memset(&d, 0, sizeof d);
        p.n = 0;
        hyb_json_write(hyb_json_get(doc.root, "schema"), put, &p);
        d.schema = p.text;
        d.schema_size = p.n;
        if (hybrid_grammar_create(rt, &d, &g, &err)) {
            printf("{\"error\": ");
            hyb_json_quote(err.message, strlen(err.message), false, print, stdout);
            printf("}\n");
        } else
            answer(g, hyb_json_get(doc.root, "texts"), hyb_json_get(doc.root, "walks")->u.i, &p);
        hybrid_grammar_destroy(g);
        hyb_json_free(&doc);
    }
    hybrid_runtime_destroy(rt);
    return 0;
}
