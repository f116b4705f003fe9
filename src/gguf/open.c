/* gguf/open: a model's file, or all parts of one that was split, as one set of keys and tensors.
 *
 * A part says how many there are and which it is (split.count, split.no). Its file is named so, too:
 * NAME-00002-of-00003.gguf, so that one path is enough to find the others. The keys that describe the model are in
 * the first part; a key of another part counts as well, unless it contradicts the first part. Tensors may lie in any
 * part. */
#ifndef HYB_GGUF_OPEN_C
#define HYB_GGUF_OPEN_C
#include "../core/decimal.c"
#include "../core/lifetime.c"
#include "read.c"

struct hybrid_gguf {
    hybrid_runtime *rt;
    hyb_gguf_part *parts; /* in the order of split.no */
    size_t n_parts;
    hyb_gguf_key *keys;
    hyb_gguf_tensor_record *tensors;
    hyb_names key_names, tensor_names;
    size_t n_keys, n_tensors;
    bool lent;       /* the readers are the caller's: not to be closed */
    bool map;        /* paths may be mapped */
    uint64_t in_use; /* hybrid_gguf_read_tensor is under way: its reader may not call back */
};

HYB_BORDER_VOID(hybrid_gguf_destroy, (hybrid_gguf *g), (g))
{
    hybrid_runtime *rt;
    size_t i;
    if (!g) return;
    rt = g->rt;
    if (hyb_busy(g->in_use)) {
        hyb_log(rt, HYBRID_LOG_ERROR,
                "hybrid_gguf_destroy: the file is in use: its reader called it again; it was not destroyed");
        return;
    }
    g->in_use = hyb_process();
    for (i = 0; i < g->n_parts; i++) hyb_gguf_part_free(rt, &g->parts[i]);
    hyb_names_free(rt, &g->key_names);
    hyb_names_free(rt, &g->tensor_names);
    hyb_free(rt, g->parts);
    hyb_free(rt, g->tensors);
    hyb_free(rt, g->keys);
    hyb_free(rt, g);
    hyb_runtime_release(rt);
}

/* Closes the readers of a source that is not going to be opened, from part `first` on. */
static void hyb_source_close(const hybrid_source *source, size_t first)
{
    size_t i;
    if (!source->parts || !first) {
        if (source->reader.close) source->reader.close(source->reader.user);
    }
    for (i = first; source->parts && i < source->n_parts; i++)
        if (source->parts[i].reader.close) source->parts[i].reader.close(source->parts[i].reader.user);
}

/* ---- the names of parts ------------------------------------------------------------------------------------------ */

typedef struct hyb_gguf_numbers {
    size_t at, width; /* of the digits of the part's number */
    long number, count;
} hyb_gguf_numbers;

static long hyb_gguf_digits(const char *p, size_t n)
{
    long value = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        if (!hyb_is_digit(p[i]) || i == 9) return -1;
        value = value * 10 + (p[i] - '0');
    }
    return n ? value : -1;
}

/* Takes NAME-00002-of-00003.gguf apart. false: the name is not of that form. */
static bool hyb_gguf_numbers_of(const char *path, hyb_gguf_numbers *n)
{
    const size_t base = hyb_path_base(path);
    size_t i = base, of = 0, digits = 0;
    for (; path[i]; i++)
        if (!strncmp(path + i, "-of-", 4)) of = i;
    if (!of) return false;
    for (i = of; i > base && hyb_is_digit(path[i - 1]); i--) {}
    n->at = i;
    n->width = of - i;
    while (hyb_is_digit(path[of + 4 + digits])) digits++;
    n->number = hyb_gguf_digits(path + n->at, n->width);
    n->count = hyb_gguf_digits(path + of + 4, digits);
    return n->number >= 0 && n->count >= 0 && i > base && path[i - 1] == '-';
}

/* The path of another part; freed by the caller. */
static char *hyb_gguf_path_of(hybrid_runtime *rt, const char *path, const hyb_gguf_numbers *n, long number)
{
    const size_t size = strlen(path) + 16;
    char *other = (char *)hyb_alloc(rt, size);
    if (other) snprintf(other, size, "%.*s%0*ld%s", (int)n->at, path, (int)n->width, number, path + n->at + n->width);
    return other;
}

/* ---- reading the parts ------------------------------------------------------------------------------------------- */

/* Adds to the sentence which part it is about. */
static hybrid_result hyb_gguf_blame(hybrid_error *error, hybrid_result r, const char *part)
{
    hybrid_error whole;
    if (!error) return r;
    whole = *error;
    return hyb_fail_at(error, r, whole.offset, "%.80s: %.170s", part, whole.message);
}

/* Opens one file, reads it, and puts it in its place; the first file tells how many there are. On failure nothing of
 * the file stays open. */
static hybrid_result hyb_gguf_take(hybrid_gguf *g, const hybrid_source *source, hybrid_error *error)
{
    hyb_gguf_part part;
    hybrid_source own = *source;
    hybrid_result r;
    memset(&part, 0, sizeof part);
    if (g->lent) own.reader.close = NULL;
    if ((r = hyb_file_open_as(&own, g->map, &part.file, error)) != HYBRID_OK) return r;
    r = hyb_gguf_part_read(g->rt, &part, error);
    if (!r && !g->parts) {
        if (!(g->parts = (hyb_gguf_part *)hyb_calloc(g->rt, (size_t)part.count, sizeof part)))
            r = hyb_fail_memory(error, (size_t)part.count * sizeof part);
        else
            g->n_parts = (size_t)part.count;
    }
    if (!r && (size_t)part.count != g->n_parts)
        r = hyb_fail(error, HYBRID_ERROR_FORMAT,
                     "it is one of %lld parts, another is one of %lld: they belong to different models",
                     (long long)part.count, (long long)g->n_parts);
    if (!r && g->parts[part.no].version)
        r = hyb_fail(error, HYBRID_ERROR_FORMAT, "it is part %lld of %lld, and so is another file",
                     (long long)part.no + 1, (long long)part.count);
    if (r)
        hyb_gguf_part_free(g->rt, &part);
    else
        g->parts[part.no] = part;
    return r;
}

/* The parts beside the one that was opened by this path. */
static hybrid_result hyb_gguf_take_neighbours(hybrid_gguf *g, const char *path, hybrid_error *error)
{
    const size_t n = g->n_parts;
    hyb_gguf_numbers numbers;
    size_t first, i;
    hybrid_result r = HYBRID_OK;
    for (first = 0; !g->parts[first].version; first++) {}
    if (!hyb_gguf_numbers_of(path, &numbers))
        return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                        "this file is part %llu of %llu, but its name does not end in '-%05llu-of-%05llu.gguf', by "
                        "which the others are found: rename it, or give all parts",
                        (unsigned long long)first + 1, (unsigned long long)n, (unsigned long long)first + 1,
                        (unsigned long long)n);
    if (numbers.number != (long)first + 1 || numbers.count != (long)n)
        return hyb_fail(error, HYBRID_ERROR_FORMAT, "'%s' is part %llu of %llu, as its keys say: rename it back",
                        hyb_path_end(path, 120), (unsigned long long)first + 1, (unsigned long long)n);
    for (i = 0; i < n && !r; i++) {
        hybrid_source source;
        char *other;
        if (i == first) continue;
        if (!(other = hyb_gguf_path_of(g->rt, path, &numbers, (long)i + 1)))
            return hyb_fail_memory(error, strlen(path) + 16);
        memset(&source, 0, sizeof source);
        source.path = other;
        r = hyb_gguf_take(g, &source, error);
        if (r == HYBRID_ERROR_IO && !hyb_file_exists(other))
            r = hyb_fail(error, r,
                         "part %llu of %llu is missing: '%s' is not there; download all parts into one folder",
                         (unsigned long long)i + 1, (unsigned long long)n, hyb_path_end(other, 120));
        else if (r && r != HYBRID_ERROR_MEMORY)
            r = hyb_gguf_blame(error, r, hyb_path_end(other, 80));
        else if (!r && !g->parts[i].version)
            r = hyb_fail(error, HYBRID_ERROR_FORMAT, "'%s' is not the part that its name says: rename it back",
                         hyb_path_end(other, 120));
        hyb_free(g->rt, other);
    }
    return r;
}

/* All parts, given one by one, in any order. On failure all readers are closed, except the caller's own. */
static hybrid_result hyb_gguf_take_list(hybrid_gguf *g, const hybrid_source *source, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    size_t i;
    for (i = 0; i < source->n_parts && !r; i++) {
        char label[48];
        if (!(r = hyb_gguf_take(g, &source->parts[i], error)) || r == HYBRID_ERROR_MEMORY) continue;
        snprintf(label, sizeof label, "number %llu of the given parts", (unsigned long long)i + 1);
        r = hyb_gguf_blame(error, r, label);
    }
    if (r && !g->lent && i < source->n_parts) hyb_source_close(source, i);
    for (i = 0; i < g->n_parts && !r; i++)
        if (!g->parts[i].version)
            r = hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                         "part %llu of %llu is missing: %llu were given; give all of them", (unsigned long long)i + 1,
                         (unsigned long long)g->n_parts, (unsigned long long)source->n_parts);
    return r;
}

static hybrid_result hyb_gguf_take_all(hybrid_gguf *g, const hybrid_source *source, hybrid_error *error)
{
    hybrid_result r;
    size_t i;
    if (source->parts) return hyb_gguf_take_list(g, source, error);
    if ((r = hyb_gguf_take(g, source, error)) != HYBRID_OK || g->n_parts == 1) return r;
    if (source->path) return hyb_gguf_take_neighbours(g, source->path, error);
    for (i = 0; !g->parts[i].version; i++) {}
    return hyb_fail(error, HYBRID_ERROR_NOT_FOUND,
                    "this is part %llu of a model split in %llu: give all of them (hybrid_source.parts), or join them "
                    "with 'llama-gguf-split --merge'",
                    (unsigned long long)i + 1, (unsigned long long)g->n_parts);
}

/* ---- one set of them --------------------------------------------------------------------------------------------- */

/* Keys that say how a file is cut, or laid out, say nothing about the model. */
static bool hyb_gguf_is_of_part(hybrid_string name, uint32_t part)
{
    if (part && hyb_string_is(name, "general.alignment")) return true;
    return hyb_string_is(name, "split.no") || hyb_string_is(name, "split.count") ||
           hyb_string_is(name, "split.tensors.count");
}

/* Whether a key that an earlier part has as well is equal there, or one that may differ. */
static bool hyb_gguf_agrees(const hybrid_gguf *g, const hyb_gguf_key *a, const hyb_gguf_key *b, hybrid_string name)
{
    const hyb_gguf_span *va = &a->value, *vb = &b->value;
    if (a->part == b->part) return false;
    if (name.size >= 8 && !memcmp(name.data, "general.", 8) && !hyb_string_is(name, "general.architecture"))
        return true;
    return va->type == vb->type && va->item_type == vb->item_type && va->size == vb->size &&
           !memcmp(g->parts[a->part].bytes + va->at, g->parts[b->part].bytes + vb->at, (size_t)va->size);
}

static hybrid_result hyb_gguf_add_key(hybrid_gguf *g, const hyb_gguf_key *key, hybrid_error *error)
{
    char text[64];
    const hybrid_string name = hyb_gguf_part_name(&g->parts[key->part], key->name_at, key->name_size);
    const hyb_gguf_key *same;
    if (g->n_parts > 1 && hyb_gguf_is_of_part(name, key->part)) return HYBRID_OK;
    if (hyb_names_add(&g->key_names, name)) {
        g->keys[g->n_keys++] = *key;
        return HYBRID_OK;
    }
    same = &g->keys[hyb_names_find(&g->key_names, name)];
    if (hyb_gguf_agrees(g, same, key, name)) return HYBRID_OK;
    if (same->part == key->part)
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, key->name_at, "two keys are named '%s': the file is damaged",
                           hyb_printable(name, text));
    return hyb_fail_at(error, HYBRID_ERROR_FORMAT, key->name_at,
                       "parts %u and %u differ in key '%s': they belong to different models", (unsigned)same->part + 1,
                       (unsigned)key->part + 1, hyb_printable(name, text));
}

static hybrid_result hyb_gguf_add_record(hybrid_gguf *g, const hyb_gguf_tensor_record *record, hybrid_error *error)
{
    char text[64];
    const hybrid_gguf_tensor *same, *t = &record->tensor;
    if (hyb_names_add(&g->tensor_names, t->name)) {
        g->tensors[g->n_tensors++] = *record;
        return HYBRID_OK;
    }
    same = &g->tensors[hyb_names_find(&g->tensor_names, t->name)].tensor;
    if (same->part == t->part)
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, record->name_at,
                           "two tensors are named '%s': the file is damaged", hyb_printable(t->name, text));
    return hyb_fail_at(error, HYBRID_ERROR_FORMAT, record->name_at,
                       "parts %u and %u both have a tensor '%s': they belong to different models",
                       (unsigned)same->part + 1, (unsigned)t->part + 1, hyb_printable(t->name, text));
}

/* Room for the keys and tensors of all parts. Those of a single file stay where they are. */
static hybrid_result hyb_gguf_make_room(hybrid_gguf *g, hybrid_error *error)
{
    size_t n_keys = 0, n_tensors = 0, i;
    for (i = 0; i < g->n_parts; i++) {
        n_keys += g->parts[i].n_keys;
        n_tensors += g->parts[i].n_tensors;
    }
    if (n_keys > HYBRID_GGUF_MAX_KEYS || n_tensors > HYBRID_GGUF_MAX_TENSORS)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "%llu tensors and %llu keys in all parts are more than hybrid accepts (%d and %d)",
                        (unsigned long long)n_tensors, (unsigned long long)n_keys, HYBRID_GGUF_MAX_TENSORS,
                        HYBRID_GGUF_MAX_KEYS);
    if (!hyb_names_reserve(g->rt, &g->key_names, n_keys)) return hyb_fail_memory(error, n_keys * 24);
    if (!hyb_names_reserve(g->rt, &g->tensor_names, n_tensors)) return hyb_fail_memory(error, n_tensors * 24);
    if (g->n_parts == 1) return HYBRID_OK;
    if (!(g->keys = (hyb_gguf_key *)hyb_calloc(g->rt, n_keys, sizeof *g->keys)))
        return hyb_fail_memory(error, n_keys * sizeof *g->keys);
    if (!(g->tensors = (hyb_gguf_tensor_record *)hyb_calloc(g->rt, n_tensors, sizeof *g->tensors)))
        return hyb_fail_memory(error, n_tensors * sizeof *g->tensors);
    return HYBRID_OK;
}

static hybrid_result hyb_gguf_add_part(hybrid_gguf *g, size_t number, hybrid_error *error)
{
    hyb_gguf_part *p = &g->parts[number];
    hyb_gguf_key *keys = p->keys;
    hyb_gguf_tensor_record *tensors = p->tensors;
    hybrid_result r = HYBRID_OK;
    size_t i;
    if (g->n_parts == 1) {
        g->keys = keys;
        g->tensors = tensors;
        p->keys = NULL;
        p->tensors = NULL;
    }
    for (i = 0; i < p->n_keys && !r; i++) {
        keys[i].part = (uint32_t)number;
        r = hyb_gguf_add_key(g, &keys[i], error);
    }
    for (i = 0; i < p->n_tensors && !r; i++) {
        tensors[i].tensor.part = (uint32_t)number;
        r = hyb_gguf_add_record(g, &tensors[i], error);
    }
    hyb_free(g->rt, p->keys);
    hyb_free(g->rt, p->tensors);
    p->keys = NULL;
    p->tensors = NULL;
    return r;
}

static hybrid_result hyb_gguf_join(hybrid_gguf *g, hybrid_error *error)
{
    size_t i;
    hybrid_result r = hyb_gguf_make_room(g, error);
    for (i = 0; i < g->n_parts && !r; i++) r = hyb_gguf_add_part(g, i, error);
    for (i = 0; i < g->n_parts && !r && g->n_parts > 1; i++) {
        const int64_t said = g->parts[i].n_tensors_in_all;
        if (said >= 0 && (uint64_t)said != g->n_tensors)
            r = hyb_fail(error, HYBRID_ERROR_FORMAT,
                         "part %llu of %llu says that there are %lld tensors, but all parts have %llu: they are of "
                         "different models",
                         (unsigned long long)i + 1, (unsigned long long)g->n_parts, (long long)said,
                         (unsigned long long)g->n_tensors);
    }
    return r;
}

/* lent: the source's readers are the caller's, and are never closed here. map: a path may be mapped. */
static hybrid_result hyb_gguf_open_source(hybrid_runtime *runtime, const hybrid_source *source, bool lent, bool map,
                                          hybrid_gguf **gguf, hybrid_error *error)
{
    hybrid_runtime *rt = NULL;
    hybrid_gguf *g = NULL;
    hybrid_result r = HYBRID_OK;
    *gguf = NULL;
    if (source->parts && (source->path || source->data || source->reader.read_at))
        r = hyb_fail(error, HYBRID_ERROR_INVALID, "give exactly one of path, data, reader and parts");
    else if (source->parts && !source->n_parts)
        r = hyb_fail(error, HYBRID_ERROR_INVALID, "the list of parts is empty");
    else
        r = hyb_runtime_retain(runtime, &rt, error);
    if (!r && !(g = (hybrid_gguf *)hyb_calloc(rt, 1, sizeof *g))) {
        hyb_runtime_release(rt);
        r = hyb_fail_memory(error, sizeof *g);
    }
    if (r) {
        if (!lent) hyb_source_close(source, 0);
        return r;
    }
    g->rt = rt;
    g->lent = lent;
    g->map = map;
    if ((r = hyb_gguf_take_all(g, source, error)) != HYBRID_OK || (r = hyb_gguf_join(g, error)) != HYBRID_OK) {
        hybrid_gguf_destroy(g);
        return r;
    }
    *gguf = g;
    return HYBRID_OK;
}

HYB_BORDER(hybrid_result, hybrid_gguf_open,
           (hybrid_runtime *runtime, const hybrid_source *source, hybrid_gguf **gguf, hybrid_error *error),
           (runtime, source, gguf, error))
{
    if (gguf) *gguf = NULL;
    if (!source) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_open: source is NULL");
    if (!gguf) {
        hyb_source_close(source, 0);
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_open: gguf is NULL");
    }
    return hyb_gguf_open_source(runtime, source, false, true, gguf, error);
}

/* ---- looking at it ----------------------------------------------------------------------------------------------- */

HYB_BORDER(size_t, hybrid_gguf_part_count, (const hybrid_gguf *g), (g)) { return g ? g->n_parts : 0; }
HYB_BORDER(uint64_t, hybrid_gguf_part_size, (const hybrid_gguf *g, size_t i), (g, i))
{
    return g && i < g->n_parts ? g->parts[i].file.size : 0;
}
HYBRID_API uint64_t hybrid_gguf_file_size(const hybrid_gguf *g)
{
    uint64_t size = 0;
    size_t i;
    for (i = 0; g && i < g->n_parts; i++) size += g->parts[i].file.size;
    return size;
}

HYBRID_API int32_t hybrid_gguf_version(const hybrid_gguf *g) { return g ? g->parts[0].version : 0; }
HYBRID_API uint64_t hybrid_gguf_alignment(const hybrid_gguf *g) { return g ? g->parts[0].alignment : 0; }
HYBRID_API size_t hybrid_gguf_key_count(const hybrid_gguf *g) { return g ? g->n_keys : 0; }
HYBRID_API size_t hybrid_gguf_tensor_count(const hybrid_gguf *g) { return g ? g->n_tensors : 0; }

static void hyb_gguf_value_of(const hybrid_gguf *g, size_t i, hybrid_gguf_value *value)
{
    const hyb_gguf_span *span = &g->keys[i].value;
    const hyb_gguf_part *p = &g->parts[g->keys[i].part];
    value->type = span->type;
    value->item_type = span->item_type;
    value->count = span->count;
    value->data = p->bytes + span->at;
    value->size = span->size;
    value->index = p->index && span->type == HYBRID_GGUF_ARRAY && !hyb_gguf_number_size(span->item_type)
                       ? p->index + span->index
                       : NULL;
}

HYB_BORDER(hybrid_string, hybrid_gguf_key, (const hybrid_gguf *g, size_t i, hybrid_gguf_value *value), (g, i, value))
{
    if (!g || i >= g->n_keys) return hyb_string(NULL);
    if (value) hyb_gguf_value_of(g, i, value);
    return g->key_names.names[i];
}

HYB_BORDER(bool, hybrid_gguf_find, (const hybrid_gguf *g, const char *key, hybrid_gguf_value *value), (g, key, value))
{
    size_t i = g && key ? hyb_names_find(&g->key_names, hyb_string(key)) : HYB_NO_NAME;
    if (i == HYB_NO_NAME) return false;
    if (value) hyb_gguf_value_of(g, i, value);
    return true;
}

HYB_BORDER(bool, hybrid_gguf_get_i64, (const hybrid_gguf *g, const char *key, int64_t *out), (g, key, out))
{
    hybrid_gguf_value v;
    return hybrid_gguf_find(g, key, &v) && hyb_gguf_load_i64(v.type, (const unsigned char *)v.data, out);
}

HYB_BORDER(bool, hybrid_gguf_get_f64, (const hybrid_gguf *g, const char *key, double *out), (g, key, out))
{
    hybrid_gguf_value v;
    return hybrid_gguf_find(g, key, &v) && hyb_gguf_load_f64(v.type, (const unsigned char *)v.data, out);
}

HYB_BORDER(bool, hybrid_gguf_get_string, (const hybrid_gguf *g, const char *key, hybrid_string *out), (g, key, out))
{
    hybrid_gguf_value v;
    if (!hybrid_gguf_find(g, key, &v) || v.type != HYBRID_GGUF_STRING) return false;
    *out = hybrid_gguf_item_string(&v, 0);
    return true;
}

HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_tensor_at(const hybrid_gguf *g, size_t i)
{
    return g && i < g->n_tensors ? &g->tensors[i].tensor : NULL;
}

/* The number of a tensor of this file. */
static size_t hyb_gguf_tensor_index(const hybrid_gguf *g, const hybrid_gguf_tensor *t)
{
    return (size_t)((const hyb_gguf_tensor_record *)(const void *)t - g->tensors);
}

HYB_BORDER(const hybrid_gguf_tensor *, hybrid_gguf_find_tensor, (const hybrid_gguf *g, const char *name), (g, name))
{
    size_t i = g && name ? hyb_names_find(&g->tensor_names, hyb_string(name)) : HYB_NO_NAME;
    return i == HYB_NO_NAME ? NULL : &g->tensors[i].tensor;
}

HYB_BORDER(hybrid_result, hybrid_gguf_read_tensor,
           (hybrid_gguf *g, const hybrid_gguf_tensor *tensor, void *dst, hybrid_error *error), (g, tensor, dst, error))
{
    char text[64];
    hybrid_result r;
    if (!g || !tensor || !dst)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_read_tensor: an argument is NULL");
    if (hyb_busy(g->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_gguf_read_tensor: the file is in use: its reader called it again");
    if (tensor->type == HYBRID_TYPE_LAST_)
        return hyb_fail_at(error, HYBRID_ERROR_UNSUPPORTED, tensor->offset,
                           "tensor '%s' has type %lu (%s), which hybrid cannot read: get this model in another "
                           "quantization, Q4_K_M or Q8_0",
                           hyb_printable(tensor->name, text), (unsigned long)tensor->type_id,
                           hybrid_gguf_tensor_type_name(tensor->type_id));
    if (tensor->part >= g->n_parts)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_gguf_read_tensor: the tensor does not belong to this file");
    if (!tensor->size) return HYBRID_OK;
    if (tensor->size > SIZE_MAX)
        return hyb_fail_at(error, HYBRID_ERROR_MEMORY, tensor->offset,
                           "tensor '%s' has more bytes than this machine can address",
                           hyb_printable(tensor->name, text));
    g->in_use = hyb_process();
    r = hyb_file_read(&g->parts[tensor->part].file, tensor->offset, dst, (size_t)tensor->size, error);
    g->in_use = 0;
    return r;
}

/* The tensor that this name belongs to: the very characters of the file, not equal ones. */
static const hybrid_gguf_tensor *hyb_gguf_tensor_named(const hybrid_gguf *g, const char *name)
{
    hybrid_string s;
    size_t i;
    s.data = name;
    s.size = (size_t)hyb_load_u64(name - 8);
    i = hyb_names_find(&g->tensor_names, s);
    return i == HYB_NO_NAME ? NULL : &g->tensors[i].tensor;
}
#endif
