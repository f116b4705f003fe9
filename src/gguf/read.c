/* gguf/read: opens a GGUF file: header, keys, tensors, and every rule of the format that a reader can check. */

typedef struct hybrid__gguf_key {
    hybrid__gguf_span value;
    size_t            name_at, name_size;
} hybrid__gguf_key;

typedef struct hybrid__gguf_tensor_record {
    hybrid_gguf_tensor tensor;           /* name is filled in when the metadata stopped moving */
    size_t             name_at, name_size;
} hybrid__gguf_tensor_record;

struct hybrid_gguf {
    hybrid_runtime             *rt;
    hybrid__file                file;
    const unsigned char        *bytes;           /* the metadata: of the map, or owned */
    unsigned char              *owned;
    uint32_t                   *index;
    hybrid__gguf_key           *keys;
    hybrid__gguf_tensor_record *tensors;
    hybrid__names               key_names, tensor_names;
    size_t                      n_keys, n_tensors;
    uint64_t                    alignment;
    int                         version;
};

HYBRID_API void hybrid_gguf_destroy(hybrid_gguf *g)
{
    hybrid_runtime *rt;
    if (!g) return;
    rt = g->rt;
    hybrid__file_close(&g->file);
    hybrid__names_free(rt, &g->key_names);
    hybrid__names_free(rt, &g->tensor_names);
    hybrid__free(rt, g->tensors);
    hybrid__free(rt, g->keys);
    hybrid__free(rt, g->index);
    hybrid__free(rt, g->owned);
    hybrid__free(rt, g);
    hybrid__runtime_release(rt);
}

/* What a file without GGUF's magic bytes is, for the message: people meet these. */
static const char *hybrid__gguf_not(const unsigned char *p, uint64_t n)
{
    if (n >= 7 && !memcmp(p, "version", 7)) return "it looks like a Git LFS pointer: fetch the file itself with 'git lfs pull'";
    if (n >= 1 && *p == '<') return "it looks like a web page: download the file itself";
    if (n >= 4 && (!memcmp(p, "lmgg", 4) || !memcmp(p, "fmgg", 4) || !memcmp(p, "tjgg", 4) || !memcmp(p, "algg", 4)))
        return "it is a model file from before GGUF: look for a newer one";
    if (n >= 4 && !memcmp(p, "PK\3\4", 4)) return "it looks like a PyTorch checkpoint or zip archive: convert it to GGUF";
    if (n >= 9 && p[8] == '{') return "it looks like a safetensors file: convert it to GGUF";
    return "its first bytes are not 'GGUF'";
}

static hybrid_result hybrid__gguf_scan_header(hybrid__gguf_scan *s, uint32_t *version, uint64_t *n_tensors, uint64_t *n_keys)
{
    hybrid_result r;
    s->kind = "header";
    if (!s->size) return hybrid__fail(s->error, HYBRID_ERROR_FORMAT, "the file is empty: download or copy it again");
    if ((r = hybrid__gguf_need(s, HYBRID__MIN(s->size, 16)))) return r;
    if (s->size < 4 || memcmp(s->bytes, "GGUF", 4))
        return hybrid__fail(s->error, HYBRID_ERROR_FORMAT, "this is no GGUF file: %s", hybrid__gguf_not(s->bytes, HYBRID__MIN(s->size, 16)));
    s->at = 4;
    if ((r = hybrid__gguf_scan_u32(s, version))) return r;
    if (*version && !(*version & 0xFFFF))
        return hybrid__fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4, "this GGUF file is big-endian, hybrid reads little-endian ones: convert it with gguf-py's gguf-convert-endian");
    if (*version == 1)
        return hybrid__fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4, "this GGUF file has version 1 of 2023, hybrid reads versions 2 and 3: look for a newer file of this model");
    if (*version != 2 && *version != 3)
        return hybrid__fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4, "this GGUF file has version %lu, hybrid reads versions 2 and 3", (unsigned long)*version);
    if ((r = hybrid__gguf_scan_u64(s, n_tensors)) || (r = hybrid__gguf_scan_u64(s, n_keys))) return r;
    if (*n_tensors > HYBRID_GGUF_MAX_TENSORS || *n_keys > HYBRID_GGUF_MAX_KEYS)
        return hybrid__fail_at(s->error, HYBRID_ERROR_LIMIT, 8, "%llu tensors and %llu keys are more than hybrid accepts (%d and %d): the file is damaged",
                               (unsigned long long)*n_tensors, (unsigned long long)*n_keys, HYBRID_GGUF_MAX_TENSORS, HYBRID_GGUF_MAX_KEYS);
    /* A key has at least the size of its name, a type and a byte; a tensor the size of its name, its dimensions, type and offset. */
    if (*n_keys * 13 + *n_tensors * 24 > s->size - s->at)
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, 8, "truncated or damaged: %llu tensors and %llu keys do not fit in %llu bytes: download or copy it again",
                               (unsigned long long)*n_tensors, (unsigned long long)*n_keys, (unsigned long long)s->size);
    return HYBRID_OK;
}

/* Type and bytes of a tensor whose type_id and ne are filled in. NULL, or what is wrong with them. */
static const char *hybrid__gguf_size_tensor(hybrid_gguf_tensor *t)
{
    uint64_t elements = 1, block, bytes;
    int i;
    for (i = 0; i < 4; i++) {
        if (!t->ne[i]) return "one of its dimensions is zero";
        if (t->ne[i] > INT64_MAX / elements) return "its dimensions multiply to more than 2^63 elements";
        elements *= t->ne[i];
    }
    t->type = t->type_id < HYBRID_TYPE_LAST_ && hybrid_type_block_size((hybrid_type)t->type_id) ? (hybrid_type)t->type_id : HYBRID_TYPE_LAST_;
    if (t->type == HYBRID_TYPE_LAST_) return NULL;
    block = hybrid_type_block_size(t->type);
    bytes = hybrid_type_block_bytes(t->type);
    if (t->ne[0] % block) return "its rows are no whole number of its type's blocks";
    if (elements / block > INT64_MAX / bytes) return "it would have more than 2^63 bytes";
    t->size = elements / block * bytes;
    return NULL;
}

static hybrid_result hybrid__gguf_scan_tensor(hybrid__gguf_scan *s, uint64_t number, hybrid__gguf_tensor_record *record)
{
    char subject[96];
    hybrid_gguf_tensor *t = &record->tensor;
    const char *wrong;
    uint32_t n_dims, i;
    hybrid_result r;
    if ((r = hybrid__gguf_scan_name(s, "tensor", number)) || (r = hybrid__gguf_scan_u32(s, &n_dims))) return r;
    record->name_at = s->name_at;
    record->name_size = s->name_size;
    if (n_dims > 4)
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, s->at - 4, "%s: %lu dimensions, at most 4 can be: the file is damaged", hybrid__gguf_subject(s, subject), (unsigned long)n_dims);
    t->n_dims = (int)n_dims;
    for (i = 0; i < 4; i++) t->ne[i] = 1;
    for (i = 0; i < n_dims; i++) if ((r = hybrid__gguf_scan_u64(s, &t->ne[i]))) return r;
    if ((r = hybrid__gguf_scan_u32(s, &t->type_id)) || (r = hybrid__gguf_scan_u64(s, &t->offset))) return r;
    if ((wrong = hybrid__gguf_size_tensor(t)))
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, s->name_at, "%s: %s: the file is damaged", hybrid__gguf_subject(s, subject), wrong);
    return HYBRID_OK;
}

static hybrid_result hybrid__gguf_name_all(hybrid_gguf *g, hybrid_error *error)
{
    char text[64];
    hybrid_string name;
    size_t i;
    if (!hybrid__names_reserve(g->rt, &g->key_names, g->n_keys)) return hybrid__fail_memory(error, g->n_keys * 24);
    if (!hybrid__names_reserve(g->rt, &g->tensor_names, g->n_tensors)) return hybrid__fail_memory(error, g->n_tensors * 24);
    for (i = 0; i < g->n_keys; i++) {
        name.data = (const char *)g->bytes + g->keys[i].name_at;
        name.size = g->keys[i].name_size;
        if (!hybrid__names_add(&g->key_names, name))
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, g->keys[i].name_at, "two keys are named '%s': the file is damaged", hybrid__printable(name, text));
    }
    for (i = 0; i < g->n_tensors; i++) {
        name.data = (const char *)g->bytes + g->tensors[i].name_at;
        name.size = g->tensors[i].name_size;
        if (!hybrid__names_add(&g->tensor_names, name))
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, g->tensors[i].name_at, "two tensors are named '%s': the file is damaged", hybrid__printable(name, text));
        g->tensors[i].tensor.name = name;
    }
    return HYBRID_OK;
}

static bool hybrid__gguf_good_alignment(int64_t n) { return n >= 8 && n <= HYBRID_GGUF_MAX_METADATA && !(n & (n - 1)); }

/* Keys that say how to read the rest. */
static hybrid_result hybrid__gguf_read_general(hybrid_gguf *g, hybrid_error *error)
{
    hybrid_gguf_value value;
    int64_t alignment = 32, parts = 1, part = 0;
    bool given = hybrid_gguf_find(g, "general.alignment", &value);
    if (given && (!hybrid_gguf_get_i64(g, "general.alignment", &alignment) || !hybrid__gguf_good_alignment(alignment)))
        return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, (uint64_t)((const unsigned char *)value.data - g->bytes),
                               "key 'general.alignment' is no power of two of at least 8: the file is damaged");
    g->alignment = (uint64_t)alignment;
    hybrid_gguf_get_i64(g, "split.count", &parts);
    hybrid_gguf_get_i64(g, "split.no", &part);
    if (parts > 1)
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is part %lld of a model split in %lld (key 'split.count'): join them with 'llama-gguf-split --merge'",
                            (long long)part + 1, (long long)parts);
    return HYBRID_OK;
}

/* Are the places of the tensors in ascending order? If not, sorts a copy of the pointers: a heap, because a file must not be able to
 * choose a slow case. */
static void hybrid__gguf_sort(const hybrid_gguf_tensor **heap, size_t n)
{
    size_t start = n / 2, end = n, root, child;
    const hybrid_gguf_tensor *moved;
    while (end > 1) {
        if (start) moved = heap[root = --start];
        else { moved = heap[--end]; heap[end] = heap[0]; root = 0; }
        while ((child = 2 * root + 1) < end) {
            HYBRID__STEPS(1);
            if (child + 1 < end && heap[child + 1]->offset > heap[child]->offset) child++;
            if (heap[child]->offset <= moved->offset) break;
            heap[root] = heap[child];
            root = child;
        }
        heap[root] = moved;
    }
}

static hybrid_result hybrid__gguf_check_overlap(hybrid_gguf *g, hybrid_error *error)
{
    char a[64], b[64];
    const hybrid_gguf_tensor **order = (const hybrid_gguf_tensor **)hybrid__alloc(g->rt, g->n_tensors * sizeof *order);
    bool ascending = true;
    hybrid_result r = HYBRID_OK;
    size_t n = 0, i;
    if (!order) return hybrid__fail_memory(error, g->n_tensors * sizeof *order);
    for (i = 0; i < g->n_tensors; i++) {
        if (!g->tensors[i].tensor.size) continue;
        order[n++] = &g->tensors[i].tensor;
        ascending = ascending && (n == 1 || order[n - 2]->offset < order[n - 1]->offset);
    }
    if (!ascending) hybrid__gguf_sort(order, n);
    for (i = 1; i < n && !r; i++)
        if (order[i]->offset - order[i - 1]->offset < order[i - 1]->size)
            r = hybrid__fail_at(error, HYBRID_ERROR_FORMAT, order[i]->offset, "tensors '%s' and '%s' overlap at byte %llu: the file is damaged",
                                hybrid__printable(order[i - 1]->name, a), hybrid__printable(order[i]->name, b), (unsigned long long)order[i]->offset);
    hybrid__free(g->rt, (void *)order);
    return r;
}

/* Places of the tensors: relative to the data section until here, in the file from here on. */
static hybrid_result hybrid__gguf_place_tensors(hybrid_gguf *g, uint64_t metadata_end, hybrid_error *error)
{
    char text[64];
    uint64_t start = (metadata_end + g->alignment - 1) / g->alignment * g->alignment, size = g->file.size;
    size_t i;
    if (!g->n_tensors) return HYBRID_OK;
    for (i = 0; i < g->n_tensors; i++) {
        hybrid_gguf_tensor *t = &g->tensors[i].tensor;
        if (t->offset % g->alignment)
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, g->tensors[i].name_at, "tensor '%s' begins at %llu, which is no multiple of the alignment %llu: the file is damaged",
                                   hybrid__printable(t->name, text), (unsigned long long)t->offset, (unsigned long long)g->alignment);
        if (start > size || t->offset > size - start || t->size > size - start - t->offset)
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, size, "truncated: tensor '%s' has %llu bytes at %llu + %llu, but the file ends at %llu: download or copy it again",
                                   hybrid__printable(t->name, text), (unsigned long long)t->size, (unsigned long long)start, (unsigned long long)t->offset, (unsigned long long)size);
        t->offset += start;
        if (g->file.data && t->type != HYBRID_TYPE_LAST_) t->data = g->file.data + t->offset;
    }
    return hybrid__gguf_check_overlap(g, error);
}

static hybrid_result hybrid__gguf_scan_all(hybrid_gguf *g, hybrid__gguf_scan *s)
{
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_keys = 0, i;
    hybrid_result r = hybrid__gguf_scan_header(s, &version, &n_tensors, &n_keys);
    if (r) return r;
    g->version = (int)version;
    g->n_keys = (size_t)n_keys;
    g->n_tensors = (size_t)n_tensors;
    if (!(g->keys = (hybrid__gguf_key *)hybrid__calloc(g->rt, g->n_keys, sizeof *g->keys))) return hybrid__fail_memory(s->error, n_keys * sizeof *g->keys);
    if (!(g->tensors = (hybrid__gguf_tensor_record *)hybrid__calloc(g->rt, g->n_tensors, sizeof *g->tensors))) return hybrid__fail_memory(s->error, n_tensors * sizeof *g->tensors);
    for (i = 0; i < n_keys; i++) {
        if ((r = hybrid__gguf_scan_name(s, "key", i))) return r;
        g->keys[i].name_at = s->name_at;
        g->keys[i].name_size = s->name_size;
        if ((r = hybrid__gguf_scan_value(s, &g->keys[i].value))) return r;
    }
    for (i = 0; i < n_tensors; i++) if ((r = hybrid__gguf_scan_tensor(s, i, &g->tensors[i]))) return r;
    return HYBRID_OK;
}

static hybrid_result hybrid__gguf_read(hybrid_gguf *g, hybrid_error *error)
{
    hybrid__gguf_scan s;
    hybrid_result r;
    memset(&s, 0, sizeof s);
    s.rt = g->rt;
    s.file = &g->file;
    s.size = g->file.size;
    s.bytes = g->file.data;
    s.have = g->file.data ? HYBRID__MIN(s.size, (uint64_t)HYBRID_GGUF_MAX_METADATA) : 0;
    s.error = error;
    r = hybrid__gguf_scan_all(g, &s);
    g->bytes = s.bytes;
    g->owned = s.owned;
    g->index = s.index;
    if (r || (r = hybrid__gguf_name_all(g, error)) || (r = hybrid__gguf_read_general(g, error))) return r;
    return hybrid__gguf_place_tensors(g, s.at, error);
}

HYBRID_API hybrid_result hybrid_gguf_open(hybrid_runtime *runtime, const hybrid_source *source, hybrid_gguf **gguf, hybrid_error *error)
{
    hybrid__file file;
    hybrid_runtime *rt;
    hybrid_gguf *g;
    hybrid_result r;
    if (gguf) *gguf = NULL;
    if (!source) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_open: source is NULL");
    if ((r = hybrid__file_open(source, &file, error))) return r;
    if (!gguf) r = hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_open: gguf is NULL");
    else r = hybrid__runtime_retain(runtime, &rt, error);
    if (r) { hybrid__file_close(&file); return r; }
    if (!(g = (hybrid_gguf *)hybrid__calloc(rt, 1, sizeof *g))) {
        hybrid__file_close(&file);
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof *g);
    }
    g->rt = rt;
    g->file = file;
    if ((r = hybrid__gguf_read(g, error))) { hybrid_gguf_destroy(g); return r; }
    *gguf = g;
    return HYBRID_OK;
}

HYBRID_API int hybrid_gguf_version(const hybrid_gguf *g) { return g ? g->version : 0; }
HYBRID_API uint64_t hybrid_gguf_file_size(const hybrid_gguf *g) { return g ? g->file.size : 0; }
HYBRID_API uint64_t hybrid_gguf_alignment(const hybrid_gguf *g) { return g ? g->alignment : 0; }
HYBRID_API size_t hybrid_gguf_key_count(const hybrid_gguf *g) { return g ? g->n_keys : 0; }
HYBRID_API size_t hybrid_gguf_tensor_count(const hybrid_gguf *g) { return g ? g->n_tensors : 0; }

static void hybrid__gguf_value_of(const hybrid_gguf *g, size_t i, hybrid_gguf_value *value)
{
    const hybrid__gguf_span *span = &g->keys[i].value;
    value->type = span->type;
    value->item_type = span->item_type;
    value->count = span->count;
    value->data = g->bytes + span->at;
    value->size = span->size;
    value->index = g->index && span->type == HYBRID_GGUF_ARRAY && !hybrid__gguf_number_size(span->item_type) ? g->index + span->index : NULL;
}

HYBRID_API hybrid_string hybrid_gguf_key(const hybrid_gguf *g, size_t i, hybrid_gguf_value *value)
{
    if (!g || i >= g->n_keys) return hybrid__string(NULL);
    if (value) hybrid__gguf_value_of(g, i, value);
    return g->key_names.names[i];
}

HYBRID_API bool hybrid_gguf_find(const hybrid_gguf *g, const char *key, hybrid_gguf_value *value)
{
    size_t i = g && key ? hybrid__names_find(&g->key_names, hybrid__string(key)) : HYBRID__NO_NAME;
    if (i == HYBRID__NO_NAME) return false;
    if (value) hybrid__gguf_value_of(g, i, value);
    return true;
}

HYBRID_API bool hybrid_gguf_get_i64(const hybrid_gguf *g, const char *key, int64_t *out)
{
    hybrid_gguf_value v;
    return hybrid_gguf_find(g, key, &v) && hybrid__gguf_load_i64(v.type, (const unsigned char *)v.data, out);
}

HYBRID_API bool hybrid_gguf_get_f64(const hybrid_gguf *g, const char *key, double *out)
{
    hybrid_gguf_value v;
    return hybrid_gguf_find(g, key, &v) && hybrid__gguf_load_f64(v.type, (const unsigned char *)v.data, out);
}

HYBRID_API bool hybrid_gguf_get_string(const hybrid_gguf *g, const char *key, hybrid_string *out)
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

HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_find_tensor(const hybrid_gguf *g, const char *name)
{
    size_t i = g && name ? hybrid__names_find(&g->tensor_names, hybrid__string(name)) : HYBRID__NO_NAME;
    return i == HYBRID__NO_NAME ? NULL : &g->tensors[i].tensor;
}

HYBRID_API hybrid_result hybrid_gguf_read_tensor(hybrid_gguf *g, const hybrid_gguf_tensor *tensor, void *dst, hybrid_error *error)
{
    char text[64];
    if (!g || !tensor || !dst) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_read_tensor: an argument is NULL");
    if (tensor->type == HYBRID_TYPE_LAST_)
        return hybrid__fail_at(error, HYBRID_ERROR_UNSUPPORTED, tensor->offset, "tensor '%s' has type %lu (%s), which hybrid cannot read: get this model in another quantization, Q4_K_M or Q8_0",
                               hybrid__printable(tensor->name, text), (unsigned long)tensor->type_id, hybrid_gguf_tensor_type_name(tensor->type_id));
    if (tensor->size > SIZE_MAX) return hybrid__fail_at(error, HYBRID_ERROR_MEMORY, tensor->offset, "tensor '%s' has more bytes than this machine can address", hybrid__printable(tensor->name, text));
    return hybrid__file_read(&g->file, tensor->offset, dst, (size_t)tensor->size, error);
}
