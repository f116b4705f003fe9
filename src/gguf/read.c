/* gguf/read: reads one GGUF file, which may be a part of a set: header, keys, tensors, and every rule that a file must
 * keep. */
#ifndef HYB_GGUF_READ_C
#define HYB_GGUF_READ_C
#include "scan.c"

typedef struct hyb_gguf_key {
    hyb_gguf_span value;
    size_t name_at, name_size;
    uint32_t part;
} hyb_gguf_key;

typedef struct hyb_gguf_tensor_record {
    hybrid_gguf_tensor tensor; /* name is filled in once the metadata no longer moves */
    size_t name_at, name_size;
} hyb_gguf_tensor_record;

/* A file of a set; most models are a set of one. Its keys and tensors move to the set once all parts have been read. */
typedef struct hyb_gguf_part {
    hyb_file file;
    const unsigned char *bytes; /* the metadata: of the map, or owned */
    unsigned char *owned;
    uint32_t *index;
    hyb_gguf_key *keys;
    hyb_gguf_tensor_record *tensors;
    size_t n_keys, n_tensors;
    uint64_t alignment;
    int64_t no, count;        /* split.no and split.count: 0 and 1 of a file that is whole */
    int64_t n_tensors_in_all; /* split.tensors.count; -1: not given */
    int version;
} hyb_gguf_part;

static void hyb_gguf_part_free(hybrid_runtime *rt, hyb_gguf_part *p)
{
    hyb_file_close(&p->file);
    hyb_free(rt, p->tensors);
    hyb_free(rt, p->keys);
    hyb_free(rt, p->index);
    hyb_free(rt, p->owned);
    memset(p, 0, sizeof *p);
}

static hybrid_string hyb_gguf_part_name(const hyb_gguf_part *p, size_t name_at, size_t name_size)
{
    hybrid_string name;
    name.data = (const char *)p->bytes + name_at;
    name.size = name_size;
    return name;
}

/* What a file without GGUF's magic bytes is likely to be, for the message. */
static const char *hyb_gguf_not(const unsigned char *p, uint64_t n)
{
    if (n >= 7 && !memcmp(p, "version", 7))
        return "it looks like a Git LFS pointer: fetch the file itself with 'git lfs pull'";
    if (n >= 1 && *p == '<') return "it looks like a web page: download the file itself";
    if (n >= 4 && (!memcmp(p, "lmgg", 4) || !memcmp(p, "fmgg", 4) || !memcmp(p, "tjgg", 4) || !memcmp(p, "algg", 4)))
        return "it is a model file from before GGUF: look for a newer one";
    if (n >= 4 && !memcmp(p, "PK\3\4", 4))
        return "it looks like a PyTorch checkpoint or zip archive: convert it to GGUF";
    if (n >= 9 && p[8] == '{') return "it looks like a safetensors file: convert it to GGUF";
    return "its first bytes are not 'GGUF'";
}

static hybrid_result hyb_gguf_scan_header(hyb_gguf_scan *s, uint32_t *version, uint64_t *n_tensors, uint64_t *n_keys)
{
    hybrid_result r;
    s->kind = "header";
    if (!s->size) return hyb_fail(s->error, HYBRID_ERROR_FORMAT, "the file is empty: download or copy it again");
    if ((r = hyb_gguf_need(s, HYB_MIN(s->size, 16)))) return r;
    if (s->size < 4 || memcmp(s->bytes, "GGUF", 4))
        return hyb_fail(s->error, HYBRID_ERROR_FORMAT, "this is not a GGUF file: %s",
                        hyb_gguf_not(s->bytes, HYB_MIN(s->size, 16)));
    s->at = 4;
    if ((r = hyb_gguf_scan_u32(s, version))) return r;
    if (*version && !(*version & 0xFFFF))
        return hyb_fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4,
                           "this GGUF file is big-endian, hybrid reads little-endian ones: convert it with gguf-py's "
                           "gguf-convert-endian");
    if (*version == 1)
        return hyb_fail_at(
            s->error, HYBRID_ERROR_UNSUPPORTED, 4,
            "this GGUF file has version 1 of 2023, hybrid reads versions 2 and 3: look for a newer file of this model");
    if (*version != 2 && *version != 3)
        return hyb_fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4,
                           "this GGUF file has version %lu, hybrid reads versions 2 and 3", (unsigned long)*version);
    if ((r = hyb_gguf_scan_u64(s, n_tensors)) || (r = hyb_gguf_scan_u64(s, n_keys))) return r;
    if (*n_tensors > HYBRID_GGUF_MAX_TENSORS || *n_keys > HYBRID_GGUF_MAX_KEYS)
        return hyb_fail_at(s->error, HYBRID_ERROR_LIMIT, 8,
                           "%llu tensors and %llu keys are more than hybrid accepts (%d and %d): the file is damaged",
                           (unsigned long long)*n_tensors, (unsigned long long)*n_keys, HYBRID_GGUF_MAX_TENSORS,
                           HYBRID_GGUF_MAX_KEYS);
    /* A key has at least the size of its name, a type and a byte; a tensor the size of its name, its dimensions,
     * type and offset. */
    if (*n_keys * 13 + *n_tensors * 24 > s->size - s->at)
        return hyb_fail_at(
            s->error, HYBRID_ERROR_FORMAT, 8,
            "truncated or damaged: %llu tensors and %llu keys do not fit in %llu bytes: download or copy it again",
            (unsigned long long)*n_tensors, (unsigned long long)*n_keys, (unsigned long long)s->size);
    return HYBRID_OK;
}

/* Fills in type and size of a tensor whose type_id and ne are set. Returns NULL, or what is wrong with them. */
static const char *hyb_gguf_size_tensor(hybrid_gguf_tensor *t)
{
    uint64_t elements = 1, block, bytes;
    bool empty = false;
    int i;
    for (i = 0; i < 4; i++) {
        if (t->ne[i] > INT64_MAX) return "its dimensions multiply to more than 2^63 elements";
        empty = empty || !t->ne[i];
    }
    for (i = 0; i < 4; i++) {
        if (!empty && t->ne[i] > INT64_MAX / elements) return "its dimensions multiply to more than 2^63 elements";
        elements = empty ? 0 : elements * t->ne[i];
    }
    t->type = t->type_id < HYBRID_TYPE_LAST_ && hybrid_type_block_size((hybrid_type)t->type_id)
                  ? (hybrid_type)t->type_id
                  : HYBRID_TYPE_LAST_;
    if (t->type == HYBRID_TYPE_LAST_) return NULL;
    block = hybrid_type_block_size(t->type);
    bytes = hybrid_type_block_bytes(t->type);
    if (t->ne[0] % block) return "its rows are not a whole number of its type's blocks";
    if (elements / block > INT64_MAX / bytes) return "it would have more than 2^63 bytes";
    t->size = elements / block * bytes;
    return NULL;
}

static hybrid_result hyb_gguf_scan_tensor(hyb_gguf_scan *s, uint64_t number, hyb_gguf_tensor_record *record)
{
    char subject[96];
    hybrid_gguf_tensor *t = &record->tensor;
    const char *wrong;
    uint32_t n_dims, i;
    hybrid_result r;
    if ((r = hyb_gguf_scan_name(s, "tensor", number)) || (r = hyb_gguf_scan_u32(s, &n_dims))) return r;
    record->name_at = s->name_at;
    record->name_size = s->name_size;
    if (n_dims > 4)
        return hyb_fail_at(s->error, HYBRID_ERROR_FORMAT, s->at - 4,
                           "%s has %lu dimensions, must have at most 4: the file is damaged",
                           hyb_gguf_subject(s, subject), (unsigned long)n_dims);
    t->n_dims = (int)n_dims;
    for (i = 0; i < 4; i++) t->ne[i] = 1;
    for (i = 0; i < n_dims; i++)
        if ((r = hyb_gguf_scan_u64(s, &t->ne[i]))) return r;
    if ((r = hyb_gguf_scan_u32(s, &t->type_id)) || (r = hyb_gguf_scan_u64(s, &t->offset))) return r;
    if ((wrong = hyb_gguf_size_tensor(t)))
        return hyb_fail_at(s->error, HYBRID_ERROR_FORMAT, s->name_at, "%s: %s: the file is damaged",
                           hyb_gguf_subject(s, subject), wrong);
    return HYBRID_OK;
}

static bool hyb_gguf_good_alignment(int64_t n) { return n >= 8 && n <= HYBRID_GGUF_MAX_METADATA && !(n & (n - 1)); }

/* A whole number that says how to read the file. false: it is absent; wrong is set when it is there twice, or is not a
 * number. */
static bool hyb_gguf_part_number(const hyb_gguf_part *p, const char *key, int64_t *out, const hyb_gguf_key **wrong)
{
    const hyb_gguf_key *found = NULL;
    size_t i;
    for (i = 0; i < p->n_keys; i++) {
        const hyb_gguf_key *k = &p->keys[i];
        if (!hyb_string_is(hyb_gguf_part_name(p, k->name_at, k->name_size), key)) continue;
        if (found || !hyb_gguf_load_i64(k->value.type, p->bytes + k->value.at, out)) *wrong = k;
        found = k;
    }
    return found != NULL;
}

/* Keys that say how to read the rest. */
static hybrid_result hyb_gguf_read_general(hyb_gguf_part *p, hybrid_error *error)
{
    const hyb_gguf_key *wrong = NULL;
    int64_t alignment = 32;
    char text[64];
    p->count = 1;
    p->n_tensors_in_all = -1;
    hyb_gguf_part_number(p, "split.no", &p->no, &wrong);
    hyb_gguf_part_number(p, "split.count", &p->count, &wrong);
    hyb_gguf_part_number(p, "split.tensors.count", &p->n_tensors_in_all, &wrong);
    hyb_gguf_part_number(p, "general.alignment", &alignment, &wrong);
    if (wrong)
        return hyb_fail_at(error, HYBRID_ERROR_FORMAT, wrong->name_at,
                           "key '%s' is there twice, or is not a whole number: the file is damaged",
                           hyb_printable(hyb_gguf_part_name(p, wrong->name_at, wrong->name_size), text));
    if (!hyb_gguf_good_alignment(alignment))
        return hyb_fail(error, HYBRID_ERROR_FORMAT,
                        "key 'general.alignment' is not a power of two of at least 8: the file is damaged");
    p->alignment = (uint64_t)alignment;
    /* a set that was joined says 0 */
    if (p->count <= 1) {
        p->no = 0;
        p->count = 1;
    }
    if (p->count > HYBRID_GGUF_MAX_PARTS)
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "this file is one of %lld parts (key 'split.count'), hybrid accepts %d: join them with "
                        "'llama-gguf-split --merge'",
                        (long long)p->count, HYBRID_GGUF_MAX_PARTS);
    if (p->no < 0 || p->no >= p->count)
        return hyb_fail(
            error, HYBRID_ERROR_FORMAT,
            "this file is number %lld of %lld parts, counted from 0 (keys 'split.no' and 'split.count'): it is damaged",
            (long long)p->no, (long long)p->count);
    return HYBRID_OK;
}

/* Looks whether the tensors lie in ascending order. If not, sorts a copy of the pointers: with a heap, because a file
 * must not be able to choose a slow case. */
static void hyb_gguf_sort(const hybrid_gguf_tensor **heap, size_t n)
{
    size_t start = n / 2, end = n, root, child;
    const hybrid_gguf_tensor *moved;
    while (end > 1) {
        if (start)
            moved = heap[root = --start];
        else {
            moved = heap[--end];
            heap[end] = heap[0];
            root = 0;
        }
        while ((child = 2 * root + 1) < end) {
            HYB_STEPS(1);
            if (child + 1 < end && heap[child + 1]->offset > heap[child]->offset) child++;
            if (heap[child]->offset <= moved->offset) break;
            heap[root] = heap[child];
            root = child;
        }
        heap[root] = moved;
    }
}

static hybrid_result hyb_gguf_check_overlap(hybrid_runtime *rt, hyb_gguf_part *g, hybrid_error *error)
{
    char a[64], b[64];
    const hybrid_gguf_tensor **order = (const hybrid_gguf_tensor **)hyb_alloc(rt, g->n_tensors * sizeof *order);
    bool ascending = true;
    hybrid_result r = HYBRID_OK;
    size_t n = 0, i;
    if (!order) return hyb_fail_memory(error, g->n_tensors * sizeof *order);
    for (i = 0; i < g->n_tensors; i++) {
        if (!g->tensors[i].tensor.size) continue;
        order[n++] = &g->tensors[i].tensor;
        ascending = ascending && (n == 1 || order[n - 2]->offset < order[n - 1]->offset);
    }
    if (!ascending) hyb_gguf_sort(order, n);
    for (i = 1; i < n && !r; i++)
        if (order[i]->offset - order[i - 1]->offset < order[i - 1]->size)
            r = hyb_fail_at(error, HYBRID_ERROR_FORMAT, order[i]->offset,
                            "tensors '%s' and '%s' overlap at byte %llu: the file is damaged",
                            hyb_printable(order[i - 1]->name, a), hyb_printable(order[i]->name, b),
                            (unsigned long long)order[i]->offset);
    hyb_free(rt, (void *)order);
    return r;
}

/* The last place for a tensor without bytes: the padded end, which a file need not reach. */
static uint64_t hyb_gguf_last_place(const hyb_gguf_part *g, uint64_t start)
{
    return HYB_MAX(start, (g->file.size + g->alignment - 1) / g->alignment * g->alignment);
}

/* Places of the tensors: relative to the data section until here, in the file from here on. A tensor without elements
 * has no bytes, and may lie where others do, or at the end. */
static hybrid_result hyb_gguf_place_tensors(hybrid_runtime *rt, hyb_gguf_part *g, uint64_t metadata_end,
                                            hybrid_error *error)
{
    char text[64];
    uint64_t start = (metadata_end + g->alignment - 1) / g->alignment * g->alignment, size = g->file.size;
    size_t i;
    if (!g->n_tensors) return HYBRID_OK;
    for (i = 0; i < g->n_tensors; i++) {
        hybrid_gguf_tensor *t = &g->tensors[i].tensor;
        const bool empty = !t->ne[0] || !t->ne[1] || !t->ne[2] || !t->ne[3];
        const uint64_t end = empty ? hyb_gguf_last_place(g, start) : size;
        t->name = hyb_gguf_part_name(g, g->tensors[i].name_at, g->tensors[i].name_size);
        if (t->offset % g->alignment)
            return hyb_fail_at(
                error, HYBRID_ERROR_FORMAT, g->tensors[i].name_at,
                "tensor '%s' begins at %llu, which is not a multiple of the alignment %llu: the file is damaged",
                hyb_printable(t->name, text), (unsigned long long)t->offset, (unsigned long long)g->alignment);
        if (start > end || t->offset > end - start || t->size > end - start - t->offset)
            return hyb_fail_at(error, HYBRID_ERROR_FORMAT, size,
                               "truncated: tensor '%s' has %llu bytes at %llu + %llu, but the file ends at %llu: "
                               "download or copy it again",
                               hyb_printable(t->name, text), (unsigned long long)t->size, (unsigned long long)start,
                               (unsigned long long)t->offset, (unsigned long long)size);
        t->offset += start;
        if (g->file.data && t->type != HYBRID_TYPE_LAST_) t->data = g->file.data + HYB_MIN(t->offset, size);
    }
    return hyb_gguf_check_overlap(rt, g, error);
}

static hybrid_result hyb_gguf_scan_all(hyb_gguf_part *g, hyb_gguf_scan *s)
{
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_keys = 0, i;
    hybrid_result r = hyb_gguf_scan_header(s, &version, &n_tensors, &n_keys);
    if (r) return r;
    g->version = (int)version;
    g->n_keys = (size_t)n_keys;
    g->n_tensors = (size_t)n_tensors;
    if (!(g->keys = (hyb_gguf_key *)hyb_calloc(s->rt, g->n_keys, sizeof *g->keys)))
        return hyb_fail_memory(s->error, n_keys * sizeof *g->keys);
    if (!(g->tensors = (hyb_gguf_tensor_record *)hyb_calloc(s->rt, g->n_tensors, sizeof *g->tensors)))
        return hyb_fail_memory(s->error, n_tensors * sizeof *g->tensors);
    for (i = 0; i < n_keys; i++) {
        if ((r = hyb_gguf_scan_name(s, "key", i))) return r;
        g->keys[i].name_at = s->name_at;
        g->keys[i].name_size = s->name_size;
        if ((r = hyb_gguf_scan_value(s, &g->keys[i].value))) return r;
    }
    for (i = 0; i < n_tensors; i++)
        if ((r = hyb_gguf_scan_tensor(s, i, &g->tensors[i]))) return r;
    return HYBRID_OK;
}

/* Reads p->file, which is open. On failure p still owns what it has taken. */
static hybrid_result hyb_gguf_part_read(hybrid_runtime *rt, hyb_gguf_part *p, hybrid_error *error)
{
    hyb_gguf_scan s;
    hybrid_result r;
    memset(&s, 0, sizeof s);
    s.rt = rt;
    s.file = &p->file;
    s.size = p->file.size;
    s.bytes = p->file.data;
    s.have = p->file.data ? HYB_MIN(s.size, (uint64_t)HYBRID_GGUF_MAX_METADATA) : 0;
    s.error = error;
    r = hyb_gguf_scan_all(p, &s);
    p->bytes = s.bytes;
    p->owned = s.owned;
    p->index = s.index;
    if (r || (r = hyb_gguf_read_general(p, error)) != HYBRID_OK) return r;
    return hyb_gguf_place_tensors(rt, p, s.at, error);
}
#endif
