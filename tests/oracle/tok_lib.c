/* What tests/oracle/tok_*.py call through ctypes: the public interface, and the cuts of a pre-tokenizer. */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"

typedef struct split_out {
    const uint8_t *classes, *begin;
    uint32_t *ends;
    size_t n;
} split_out;

static void split(split_out *out, const hyb_split_fn *fn, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    for (; p < end; p = q) {
        q = fn[0](out->classes, p, end);
        if (fn[1])
            split(out, fn + 1, p, q);
        else
            out->ends[out->n++] = (uint32_t)(q - out->begin);
    }
}

/* Ends of the words of a text; ends has room for size of them. Returns how many there are. */
HYBRID_API size_t tok_split(const char *pre, const char *text, size_t size, uint32_t *ends)
{
    static uint8_t classes[65536];
    const hyb_pretokenizer *p = hyb_find_pretokenizer(pre, strlen(pre));
    split_out out = { classes, (const uint8_t *)text, ends, 0 };
    if (!p) return (size_t)-1;
    hyb_unicode_expand(classes);
    split(&out, p->splits, out.begin, out.begin + size);
    return out.n;
}

HYBRID_API unsigned tok_class(uint32_t code_point) { return hyb_unicode_class(code_point); }

HYBRID_API hybrid_tokenizer *tok_open(const char *path, char message[256])
{
    hybrid_source source = { path, NULL, 0, { NULL, NULL, 0, NULL }, NULL, 0 };
    hybrid_gguf *gguf;
    hybrid_tokenizer *tok = NULL;
    hybrid_error error = { HYBRID_OK, 0, "" };
    if (hybrid_gguf_open(NULL, &source, &gguf, &error) == HYBRID_OK) {
        hybrid_tokenizer_from_gguf(NULL, gguf, &tok, &error);
        hybrid_gguf_destroy(gguf);
    }
    memcpy(message, error.message, 256);
    return tok;
}
