/* libFuzzer: any bytes as a template, and (after a zero byte) as the JSON that it is given. The first byte chooses
 * dialect, white space and what allocation fails. What is JSON must survive being written and read again; a template
 * must give the same twice; and a byte that only a message has is never the template's own.
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_template.c -o fuzz_template -lm &&
 *     ./fuzz_template corpus tests/fuzz/fuzz_template */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"

static void must(bool condition)
{
    if (!condition) __builtin_trap();
}

static size_t countdown;
static void *fuzz_alloc(void *user, size_t size)
{
    HYB_UNUSED(user);
    if (!countdown) return NULL;
    countdown--;
    return malloc(size);
}
static void fuzz_free(void *user, void *block)
{
    HYB_UNUSED(user);
    free(block);
}

typedef struct sink {
    char data[65536];
    size_t size;
} sink;
static bool put(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    if (n > sizeof s->data - s->size) return false;
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return true;
}

static void json(hybrid_runtime *rt, const char *text, size_t n)
{
    static sink a, b;
    hyb_json_doc doc;
    if (hyb_json_parse(rt, text, n, 100, 10000, &doc, NULL)) return;
    a.size = b.size = 0;
    if (hyb_json_write(doc.root, put, &a)) {
        hyb_json_free(&doc);
        if (hyb_json_parse(rt, a.data, a.size, 100, 10000, &doc, NULL)) {
            must(countdown == 0 || hyb_jfind(a.data, a.size, "Infinity", 8, 0) != SIZE_MAX);
            return;
        }
        must(hyb_json_write(doc.root, put, &b) && a.size == b.size && !memcmp(a.data, b.data, a.size));
    }
    hyb_json_free(&doc);
}

/* Spans are in order and within the text; where `strange`, none holds a byte 127. */
static void whose(const hybrid_text *t, bool strange)
{
    size_t i;
    for (i = 0; i < t->n_own; i++) {
        must(t->own[i].begin < t->own[i].end && t->own[i].end <= t->size);
        must(!i || t->own[i - 1].end < t->own[i].begin);
        must(!strange || !memchr(t->data + t->own[i].begin, 127, t->own[i].end - t->own[i].begin));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hybrid_runtime_desc rd;
    hybrid_template_desc td;
    hybrid_render_desc d;
    hybrid_chat_desc c;
    hybrid_chat_message m[2];
    hybrid_runtime *rt;
    hybrid_template *t;
    hybrid_text out = { NULL, 0, 0, NULL, NULL, 0, 0 }, again = { NULL, 0, 0, NULL, NULL, 0, 0 };
    hybrid_error err;
    hybrid_result r;
    const char *text, *zero;
    char *context;
    size_t n;
    if (size < 2) return 0;
    memset(&rd, 0, sizeof rd);
    memset(&td, 0, sizeof td);
    memset(&d, 0, sizeof d);
    memset(&c, 0, sizeof c);
    text = (const char *)data + 1;
    size--;
    zero = (const char *)memchr(text, 0, size);
    n = zero ? (size_t)(zero - text) : size;
    if (!n) return 0;
    context = (char *)malloc(size - n + 1);
    memcpy(context, text + n + (zero != NULL), size - n - (zero != NULL));
    context[size - n - (zero != NULL)] = 0;

    countdown = SIZE_MAX;
    rd.allocator.alloc = fuzz_alloc;
    rd.allocator.free = fuzz_free;
    rd.n_threads = 1;
    must(!hybrid_runtime_create(&rd, &rt, NULL));
    td.text = text;
    td.size = n;
    td.dialect = data[0] & 1 ? HYBRID_TEMPLATE_JS : HYBRID_TEMPLATE_PYTHON;
    td.no_trim_blocks = (data[0] & 2) != 0;
    td.no_lstrip_blocks = (data[0] & 4) != 0;
    d.context = *context ? context : NULL;
    d.now = 1752148800 + data[0] * (int64_t)7777777777;
    d.limits.max_memory = 4 << 20;
    d.limits.max_output = 1 << 20;
    d.limits.max_steps = 200000;
    d.limits.max_depth = 100;
    c.messages = strlen(context) > 2 && data[0] & 8 ? context : NULL;
    c.limits = d.limits;
    c.now = d.now;
    c.bos_token = "<s>";
    c.merge_system = true;
    m[0].role = "system";
    m[0].content = "S \xC3\xA4";
    m[1].role = "user";
    m[1].content = context;
    if (data[0] >> 4) countdown = (size_t)(data[0] >> 4) * 2;
    r = hybrid_template_create(rt, &td, &t, &err);
    if (r)
        must(!t && err.result == r && err.message[0]);
    else {
        r = hybrid_template_render(t, &d, &out, &err);
        must(r ? err.result == r && err.message[0] && !out.size : out.data && strlen(out.data) <= out.size);
        whose(&out, false);
        if (!r && !hybrid_template_render(t, &d, &again, NULL))
            must(again.size == out.size && !memcmp(again.data, out.data, out.size));
        r = hybrid_chat_render(t, m, 2, &c, &out, &err);
        must(r ? err.result == r && err.message[0] && !out.size : out.data != NULL);
        whose(&out, false);
        m[1].content = "\x7F<|\x7F|>&\"\\\n {}%s\x7F\x7F";
        c.messages = NULL;
        r = hybrid_chat_render(t, m, 2, &c, &out, &err);
        whose(&out, !memchr(text, 127, n) && !memchr(text, '\\', n)); /* "\x7f" makes one */
        hybrid_text_free(&out);
        hybrid_text_free(&again);
        hybrid_template_destroy(t);
    }
    json(rt, context, strlen(context));
    hybrid_runtime_destroy(rt);
    free(context);
    return 0;
}
