/* libFuzzer: any bytes as a GGUF file, from memory and through a reader; what opens is looked at whole, written again,
 * and must then open with the same content. The same bytes are also given to the writer as values made by hand; and,
 * cut wherever "GGUF" stands, they are opened as a model that was split, from memory and through readers, in this order
 * and the other way round.
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_gguf.c -o fuzz_gguf -lm && ./fuzz_gguf
 *     corpus tests/fuzz/fuzz_gguf */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"

static void must(bool condition)
{
    if (!condition) __builtin_trap();
}

typedef struct span {
    const unsigned char *data;
    size_t size;
} span;

static bool read_at(void *user, uint64_t offset, void *dst, size_t n)
{
    span *s = (span *)user;
    must(offset <= s->size && n <= s->size - offset);
    memcpy(dst, s->data + offset, n);
    return true;
}

static uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = (const unsigned char *)data;
    while (n--) h = (h ^ *p++) * 0x100000001B3u;
    return h;
}

static uint64_t hash_value(uint64_t h, const hybrid_gguf_value *v)
{
    uint64_t i;
    h = (h ^ (uint64_t)v->item_type) * 31 + v->count;
    if (v->item_type != HYBRID_GGUF_STRING && v->item_type != HYBRID_GGUF_ARRAY) {
        double d = v->count ? hybrid_gguf_item_f64(v, v->count - 1) : 0;
        h = hash_bytes(h, &d, sizeof d) + (uint64_t)hybrid_gguf_item_i64(v, 0);
        return hash_bytes(h, v->data, (size_t)v->size);
    }
    for (i = 0; i < v->count; i++) {
        hybrid_gguf_value item;
        if (v->item_type == HYBRID_GGUF_STRING) {
            hybrid_string s = hybrid_gguf_item_string(v, i);
            h = hash_bytes(h * 31 + s.size, s.data, s.size);
        } else {
            must(hybrid_gguf_item_array(v, i, &item));
            h = hash_value(h, &item);
        }
    }
    return h;
}

/* Of keys, and of tensors that hybrid knows; offsets aside, because tensors may be written in another order. */
static uint64_t hash_file(hybrid_gguf *g)
{
    uint64_t h = 1;
    size_t i;
    for (i = 0; i < hybrid_gguf_key_count(g); i++) {
        hybrid_gguf_value v;
        hybrid_string key = hybrid_gguf_key(g, i, &v);
        h = hash_value(hash_bytes(h, key.data, key.size), &v);
    }
    for (i = 0; i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        const uint64_t size = hybrid_gguf_part_size(g, t->part),
                       alignment = hybrid_gguf_part_count(g) > 1 ? 8 : hybrid_gguf_alignment(g);
        const bool empty = !t->ne[0] || !t->ne[1] || !t->ne[2] || !t->ne[3];
        char *copy;
        must(t->part < hybrid_gguf_part_count(g) && t->offset % alignment == 0 && t->n_dims <= 4);
        must(empty ? !t->size : t->offset <= size && t->size <= size - t->offset);
        if (t->type == HYBRID_TYPE_LAST_) continue;
        copy = (char *)malloc((size_t)t->size + 1);
        must(!t->size == empty && copy && !hybrid_gguf_read_tensor(g, t, copy, NULL));
        h = hash_bytes(hash_bytes(h, t->name.data, t->name.size), copy, (size_t)t->size) + t->ne[0] * 3 + t->ne[3];
        free(copy);
    }
    return h;
}

typedef struct sink {
    unsigned char *data;
    size_t size, room;
} sink;

static bool write_more(void *user, const void *data, size_t n)
{
    sink *s = (sink *)user;
    if (s->size + n > s->room) s->data = (unsigned char *)realloc(s->data, s->room = (s->size + n) * 2);
    memcpy(s->data + s->size, data, n);
    s->size += n;
    return true;
}

/* Writes g again. false: g has what the writer refuses (names with zero bytes or without any, an odd type of its
 * alignment). */
static bool write_again(hybrid_runtime *rt, hybrid_gguf *g, sink *out)
{
    hybrid_gguf_writer *w;
    hybrid_gguf_value v;
    bool good = true;
    size_t i;
    for (i = 0; i < hybrid_gguf_key_count(g); i++) good = good && hybrid_gguf_key(g, i, NULL).size;
    if (hybrid_gguf_find(g, "general.alignment", &v)) good = good && v.type == HYBRID_GGUF_U32;
    must(!hybrid_gguf_writer_create(rt, &w, NULL));
    if (good) must(!hybrid_gguf_copy_keys(w, g, NULL));
    for (i = 0; good && i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        char *name = (char *)calloc(1, t->name.size + 1);
        memcpy(name, t->name.data, t->name.size);
        good = t->name.size && strlen(name) == t->name.size;
        if (good && t->type != HYBRID_TYPE_LAST_)
            must(!hybrid_gguf_add_tensor(w, name, t->type, t->n_dims, t->ne, NULL));
        free(name);
    }
    if (good) must(!hybrid_gguf_begin(w, write_more, out, NULL));
    for (i = 0; good && i < hybrid_gguf_tensor_count(g); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(g, i);
        if (t->type != HYBRID_TYPE_LAST_) must(!hybrid_gguf_write(w, t->data, (size_t)t->size, NULL));
    }
    if (good) must(!hybrid_gguf_end(w, NULL));
    hybrid_gguf_writer_destroy(w);
    return good;
}

static void fuzz_value(hybrid_runtime *rt, const unsigned char *data, size_t size)
{
    hybrid_gguf_writer *w;
    hybrid_gguf_value v;
    sink out = { NULL, 0, 0 };
    if (size < 3) return;
    v.type = (hybrid_gguf_type)(data[0] & 15);
    v.item_type = (hybrid_gguf_type)(data[1] & 15);
    v.count = data[2];
    v.data = data + 3;
    v.size = size - 3;
    v.index = NULL;
    must(!hybrid_gguf_writer_create(rt, &w, NULL));
    if (!hybrid_gguf_set(w, "key", &v, NULL) &&
        !hybrid_gguf_set_arrays(w, "arrays", &v, v.type == HYBRID_GGUF_ARRAY, NULL)) {
        hybrid_source source;
        hybrid_gguf *g;
        memset(&source, 0, sizeof source);
        must(!hybrid_gguf_begin(w, write_more, &out, NULL) && !hybrid_gguf_end(w, NULL));
        source.data = out.data;
        source.size = out.size;
        must(!hybrid_gguf_open(rt, &source, &g, NULL) && hybrid_gguf_key_count(g) == 2);
        hash_file(g);
        hybrid_gguf_destroy(g);
    }
    hybrid_gguf_writer_destroy(w);
    free(out.data);
}

enum { MOST_PARTS = 6 };

static void fuzz_parts(hybrid_runtime *rt, const unsigned char *data, size_t size)
{
    hybrid_source list[4][MOST_PARTS], source; /* from memory, through readers; the same backwards */
    span spans[MOST_PARTS];
    hybrid_gguf *g[4];
    size_t n = 0, i;
    int way;
    for (i = 0; i + 4 <= size && n < MOST_PARTS; i++) {
        if (memcmp(data + i, "GGUF", 4)) continue;
        if (n) spans[n - 1].size = (size_t)(data + i - spans[n - 1].data);
        spans[n].data = data + i;
        spans[n++].size = size - i;
    }
    if (n < 2) return;
    memset(list, 0, sizeof list);
    memset(&source, 0, sizeof source);
    for (way = 0; way < 4; way++) {
        for (i = 0; i < n; i++) {
            span *s = &spans[way < 2 ? i : n - 1 - i];
            if (way % 2) {
                list[way][i].reader.read_at = read_at;
                list[way][i].reader.size = s->size;
                list[way][i].reader.user = s;
            } else {
                list[way][i].data = s->data;
                list[way][i].size = s->size;
            }
        }
        source.parts = list[way];
        source.n_parts = n;
        if (hybrid_gguf_open(rt, &source, &g[way], NULL)) must(!g[way]);
        must(!g[way] == !g[0]);
    }
    if (g[0]) {
        sink out = { NULL, 0, 0 };
        const uint64_t hash = hash_file(g[0]);
        for (way = 1; way < 4; way++) must(hash_file(g[way]) == hash);
        must(hybrid_gguf_part_count(g[0]) == n);
        if (write_again(rt, g[0], &out)) {
            hybrid_gguf *again;
            memset(&source, 0, sizeof source);
            source.data = out.data;
            source.size = out.size;
            must(!hybrid_gguf_open(rt, &source, &again, NULL));
            must(hash_file(again) == hash && hybrid_gguf_part_count(again) == 1);
            hybrid_gguf_destroy(again);
        }
        free(out.data);
    }
    for (way = 0; way < 4; way++) hybrid_gguf_destroy(g[way]);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    static const unsigned char nothing = 0;
    hybrid_runtime_desc desc;
    hybrid_runtime *rt;
    hybrid_source memory, reader;
    hybrid_gguf *g, *other;
    hybrid_result r;
    span s;
    memset(&desc, 0, sizeof desc);
    memset(&memory, 0, sizeof memory);
    memset(&reader, 0, sizeof reader);
    desc.n_threads = 1;
    must(!hybrid_runtime_create(&desc, &rt, NULL));
    memory.data = data && size ? data : &nothing;
    memory.size = size;
    s.data = data;
    s.size = size;
    reader.reader.read_at = read_at;
    reader.reader.size = size;
    reader.reader.user = &s;
    r = hybrid_gguf_open(rt, &memory, &g, NULL);
    must(hybrid_gguf_open(rt, &reader, &other, NULL) == r);
    if (!r) {
        sink out = { NULL, 0, 0 };
        uint64_t hash = hash_file(g);
        must(hash_file(other) == hash);
        if (write_again(rt, g, &out)) {
            hybrid_gguf *again;
            memory.data = out.data;
            memory.size = out.size;
            must(!hybrid_gguf_open(rt, &memory, &again, NULL));
            must(hash_file(again) == hash);
            hybrid_gguf_destroy(again);
        }
        free(out.data);
    }
    hybrid_gguf_destroy(g);
    hybrid_gguf_destroy(other);
    fuzz_value(rt, data, size);
    fuzz_parts(rt, data, size);
    hybrid_runtime_destroy(rt);
    return 0;
}
