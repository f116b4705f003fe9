/* gguf/write: makes a GGUF file. Every key is kept as the very bytes that the file will hold, so that writing,
 * replacing and copying are the same thing; each is walked by the reader's own scan before it is accepted. */
#ifndef HYB_GGUF_WRITE_C
#define HYB_GGUF_WRITE_C
#include "../core/grow.c"
#include "../core/output.c"
#include "open.c"

typedef struct hyb_gguf_entry {
    unsigned char *bytes; /* size and characters of the key, type, value */
    size_t size;
} hyb_gguf_entry;

typedef struct hyb_gguf_planned {
    char *name;                /* own copy */
    hybrid_gguf_tensor tensor; /* offset: relative to the data section */
} hyb_gguf_planned;

typedef enum hyb_gguf_stage { HYB_GGUF_COLLECTING, HYB_GGUF_WRITING, HYB_GGUF_ENDED } hyb_gguf_stage;

struct hybrid_gguf_writer {
    hybrid_runtime *rt;
    hyb_gguf_stage stage;
    hybrid_error failure; /* the first failure; result HYBRID_OK: none */
    hyb_names key_names, tensor_names;
    hyb_gguf_entry *entries;   /* one for each of key_names */
    hyb_gguf_planned *tensors; /* one for each of tensor_names */
    size_t entry_capacity, tensor_capacity;
    uint64_t metadata;         /* bytes so far */
    uint64_t alignment, written;
    size_t current; /* tensor whose bytes come next, and how many of them have come */
    uint64_t got;
    hybrid_write_fn write; /* NULL: output */
    void *user;
    hyb_output output;
    uint64_t in_use; /* a call is under way: its callbacks (writing, log, memory) may not begin another */
};

HYB_BORDER(hybrid_result, hybrid_gguf_writer_create,
           (hybrid_runtime *runtime, hybrid_gguf_writer **writer, hybrid_error *error), (runtime, writer, error))
{
    hybrid_runtime *rt;
    hybrid_result r;
    if (!writer) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_writer_create: writer is NULL");
    *writer = NULL;
    if ((r = hyb_runtime_retain(runtime, &rt, error))) return r;
    if (!(*writer = (hybrid_gguf_writer *)hyb_calloc(rt, 1, sizeof **writer))) {
        hyb_runtime_release(rt);
        return hyb_fail_memory(error, sizeof **writer);
    }
    (*writer)->rt = rt;
    (*writer)->metadata = 24;
    return HYBRID_OK;
}

HYB_BORDER_VOID(hybrid_gguf_writer_destroy, (hybrid_gguf_writer *w), (w))
{
    hybrid_runtime *rt;
    size_t i;
    if (!w) return;
    rt = w->rt;
    if (hyb_busy(w->in_use)) {
        hyb_log(rt, HYBRID_LOG_ERROR,
                "hybrid_gguf_writer_destroy: the writer is in use: one of its callbacks called it again; it was not "
                "destroyed");
        return;
    }
    w->in_use = hyb_process();
    for (i = 0; i < w->key_names.count; i++) hyb_free(rt, w->entries[i].bytes);
    for (i = 0; i < w->tensor_names.count; i++) hyb_free(rt, w->tensors[i].name);
    hyb_names_free(rt, &w->key_names);
    hyb_names_free(rt, &w->tensor_names);
    hyb_free(rt, w->entries);
    hyb_free(rt, w->tensors);
    hyb_output_abandon(rt, &w->output);
    hyb_free(rt, w);
    hyb_runtime_release(rt);
}

/* Begins a call of the writer, if none is under way. */
static hybrid_result hyb_gguf_enter(hybrid_gguf_writer *w, const char *function, hybrid_error *error)
{
    if (hyb_busy(w->in_use))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: the writer is in use: one of its callbacks called it again",
                        function);
    w->in_use = hyb_process();
    return HYBRID_OK;
}

/* Ends a call. Keeps the first failure, hands every failure to the caller. */
static hybrid_result hyb_gguf_note(hybrid_gguf_writer *w, const hybrid_error *failure, hybrid_error *error)
{
    w->in_use = 0;
    if (!failure->result) return HYBRID_OK;
    if (!w->failure.result && w->stage == HYB_GGUF_COLLECTING) w->failure = *failure;
    if (error) *error = *failure;
    return failure->result;
}

/* Room for n more keys. */
static bool hyb_gguf_grow_keys(hybrid_gguf_writer *w, size_t n)
{
    const size_t count = w->key_names.count;
    return !HYB_GROW(w->rt, w->entries, w->entry_capacity, count, count + n, NULL) &&
           hyb_names_reserve(w->rt, &w->key_names, count + n);
}

/* Room for one more tensor. */
static bool hyb_gguf_grow_tensors(hybrid_gguf_writer *w)
{
    const size_t count = w->tensor_names.count;
    return !HYB_GROW(w->rt, w->tensors, w->tensor_capacity, count, count + 1, NULL) &&
           hyb_names_reserve(w->rt, &w->tensor_names, count + 1);
}

/* A record for a key with room for a value of `size` bytes, filled in up to the value; not yet in the writer. NULL:
 * error is filled in. */
static unsigned char *hyb_gguf_record(hybrid_gguf_writer *w, hybrid_string key, hybrid_gguf_type type, uint64_t size,
                                      hybrid_error *error)
{
    char text[64];
    unsigned char *bytes;
    if (w->stage != HYB_GGUF_COLLECTING) {
        hyb_fail(error, HYBRID_ERROR_INVALID, "key '%s' comes too late: writing has begun", hyb_printable(key, text));
        return NULL;
    }
    if (!key.size) {
        hyb_fail(error, HYBRID_ERROR_INVALID, "a key needs a name");
        return NULL;
    }
    if (key.size > HYBRID_GGUF_MAX_NAME || size > HYBRID_GGUF_MAX_METADATA ||
        w->metadata + key.size + size + 12 > HYBRID_GGUF_MAX_METADATA) {
        hyb_fail(error, HYBRID_ERROR_LIMIT,
                 "key '%s': there would be more than %d bytes of metadata, or %d in its name", hyb_printable(key, text),
                 HYBRID_GGUF_MAX_METADATA, HYBRID_GGUF_MAX_NAME);
        return NULL;
    }
    if (!(bytes = (unsigned char *)hyb_alloc(w->rt, 12 + key.size + (size_t)size))) {
        hyb_fail_memory(error, 12 + key.size + size);
        return NULL;
    }
    hyb_gguf_store_u64(bytes, key.size);
    memcpy(bytes + 8, key.data, key.size);
    hyb_store_u32(bytes + 8 + key.size, (uint32_t)type);
    return bytes;
}

/* Whether a record holds what its type and counts say. */
static bool hyb_gguf_record_holds(hybrid_gguf_writer *w, const unsigned char *bytes, size_t key_size, size_t size,
                                  hybrid_error *error)
{
    hyb_gguf_scan s;
    hyb_gguf_span span;
    hybrid_result r;
    memset(&s, 0, sizeof s);
    s.rt = w->rt;
    s.bytes = bytes;
    s.size = s.have = size;
    s.at = 8 + key_size;
    s.kind = "key";
    s.name_at = 8;
    s.name_size = key_size;
    s.error = error;
    r = hyb_gguf_scan_value(&s, &span);
    hyb_free(w->rt, s.index);
    if (!r && s.at == s.size) return true;
    if (r != HYBRID_ERROR_MEMORY) {
        char subject[96];
        hyb_fail(error, HYBRID_ERROR_INVALID,
                 "the value of %s is malformed: its %llu bytes are not what its type and count say, or it nests more "
                 "than %d deep",
                 hyb_gguf_subject(&s, subject), (unsigned long long)(size - 12 - key_size), HYBRID_GGUF_MAX_DEPTH);
    }
    return false;
}

static hybrid_string hyb_gguf_record_key(const unsigned char *bytes)
{
    hybrid_string key;
    key.data = (const char *)bytes + 8;
    key.size = (size_t)hyb_load_u64(bytes);
    return key;
}

/* Puts a record that has been checked in its place, for which there is room. Cannot fail. */
static void hyb_gguf_put(hybrid_gguf_writer *w, unsigned char *bytes, size_t size)
{
    const hybrid_string key = hyb_gguf_record_key(bytes);
    size_t i = hyb_names_find(&w->key_names, key);
    if (i == HYB_NO_NAME) {
        i = w->key_names.count;
        hyb_names_add(&w->key_names, key);
    } else {
        w->key_names.names[i] = key;
        w->metadata -= w->entries[i].size;
        hyb_free(w->rt, w->entries[i].bytes);
    }
    w->entries[i].bytes = bytes;
    w->entries[i].size = size;
    w->metadata += size;
}

/* Takes over a finished record, which is freed on failure. */
static hybrid_result hyb_gguf_accept(hybrid_gguf_writer *w, unsigned char *bytes, size_t size, hybrid_error *error)
{
    const hybrid_string key = hyb_gguf_record_key(bytes);
    bool room;
    if (!hyb_gguf_record_holds(w, bytes, key.size, size, error)) {
        hyb_free(w->rt, bytes);
        return error->result;
    }
    if (hyb_names_find(&w->key_names, key) == HYB_NO_NAME) {
        room = w->key_names.count < HYBRID_GGUF_MAX_KEYS;
        if (!room || !hyb_gguf_grow_keys(w, 1)) {
            hyb_free(w->rt, bytes);
            return room ? hyb_fail_memory(error, size)
                        : hyb_fail(error, HYBRID_ERROR_LIMIT, "a file has at most %d keys", HYBRID_GGUF_MAX_KEYS);
        }
    }
    hyb_gguf_put(w, bytes, size);
    return HYBRID_OK;
}

/* The record of a value, and its size; NULL: error is filled in. */
static unsigned char *hyb_gguf_value_record(hybrid_gguf_writer *w, hybrid_string key, const hybrid_gguf_value *value,
                                            size_t *size, hybrid_error *error)
{
    const size_t header = value->type == HYBRID_GGUF_ARRAY ? 12 : value->type == HYBRID_GGUF_STRING ? 8 : 0;
    char text[64];
    unsigned char *bytes, *p;
    if ((!value->data && value->size) || value->size > HYBRID_GGUF_MAX_METADATA) {
        hyb_fail(error, HYBRID_ERROR_INVALID, "the value of key '%s' has no data, or too much",
                 hyb_printable(key, text));
        return NULL;
    }
    if (!(bytes = hyb_gguf_record(w, key, value->type, header + value->size, error))) return NULL;
    p = bytes + 12 + key.size;
    if (header == 12) {
        hyb_store_u32(p, (uint32_t)value->item_type);
        hyb_gguf_store_u64(p + 4, value->count);
    }
    if (header == 8) hyb_gguf_store_u64(p, value->size);
    if (value->size) memcpy(p + header, value->data, (size_t)value->size);
    *size = 12 + key.size + header + (size_t)value->size;
    return bytes;
}

static void hyb_gguf_set_value(hybrid_gguf_writer *w, hybrid_string key, const hybrid_gguf_value *value,
                               hybrid_error *error)
{
    size_t size;
    unsigned char *bytes = hyb_gguf_value_record(w, key, value, &size, error);
    if (bytes) hyb_gguf_accept(w, bytes, size, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_set,
           (hybrid_gguf_writer *w, const char *key, const hybrid_gguf_value *value, hybrid_error *error),
           (w, key, value, error))
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !key || !value) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set: an argument is NULL");
    if ((e.result = hyb_gguf_enter(w, "hybrid_gguf_set", error)) != HYBRID_OK) return e.result;
    hyb_gguf_set_value(w, hyb_string(key), value, &e);
    return hyb_gguf_note(w, &e, error);
}

/* A value of one number, string or array of numbers. */
static hybrid_result hyb_gguf_set_plain(hybrid_gguf_writer *w, const char *key, hybrid_gguf_type type,
                                        hybrid_gguf_type item_type, const void *data, uint64_t count, uint64_t size,
                                        hybrid_error *error)
{
    hybrid_gguf_value value;
    value.type = type;
    value.item_type = item_type;
    value.count = count;
    value.data = data;
    value.size = size;
    value.index = NULL;
    return hybrid_gguf_set(w, key, &value, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_set_int,
           (hybrid_gguf_writer *w, const char *key, hybrid_gguf_type type, int64_t value, hybrid_error *error),
           (w, key, type, value, error))
{
    hybrid_error e;
    int64_t back;
    unsigned char bytes[8];
    hyb_gguf_store_u64(bytes, (uint64_t)value);
    if ((unsigned)type < HYB_GGUF_N_TYPES && hyb_gguf_load_i64(type, bytes, &back) && back == value)
        return hyb_gguf_set_plain(w, key, type, type, bytes, 1, hyb_gguf_number_size(type), error);
    if (!w || !key) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_int: an argument is NULL");
    if ((e.result = hyb_gguf_enter(w, "hybrid_gguf_set_int", error)) != HYBRID_OK) return e.result;
    hyb_fail(&e, HYBRID_ERROR_INVALID, "key '%.63s': %lld is not a value of type %d", key, (long long)value, (int)type);
    return hyb_gguf_note(w, &e, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_set_float,
           (hybrid_gguf_writer *w, const char *key, hybrid_gguf_type type, double value, hybrid_error *error),
           (w, key, type, value, error))
{
    hybrid_error e;
    float single = (float)value;
    if (type == HYBRID_GGUF_F32) return hyb_gguf_set_plain(w, key, type, type, &single, 1, 4, error);
    if (type == HYBRID_GGUF_F64) return hyb_gguf_set_plain(w, key, type, type, &value, 1, 8, error);
    if (!w || !key) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_float: an argument is NULL");
    if ((e.result = hyb_gguf_enter(w, "hybrid_gguf_set_float", error)) != HYBRID_OK) return e.result;
    hyb_fail(&e, HYBRID_ERROR_INVALID, "key '%.63s': type %d is neither F32 nor F64", key, (int)type);
    return hyb_gguf_note(w, &e, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_set_string,
           (hybrid_gguf_writer *w, const char *key, const char *text, hybrid_error *error), (w, key, text, error))
{
    if (!text) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_string: text is NULL");
    return hyb_gguf_set_plain(w, key, HYBRID_GGUF_STRING, HYBRID_GGUF_STRING, text, 1, strlen(text), error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_set_numbers,
           (hybrid_gguf_writer *w, const char *key, hybrid_gguf_type item_type, const void *items, size_t count,
            hybrid_error *error),
           (w, key, item_type, items, count, error))
{
    size_t size = (unsigned)item_type < HYB_GGUF_N_TYPES ? hyb_gguf_number_size(item_type) : 0;
    uint64_t bytes = count > HYBRID_GGUF_MAX_METADATA ? UINT64_MAX : (uint64_t)count * size;
    return hyb_gguf_set_plain(w, key, HYBRID_GGUF_ARRAY, item_type, items, count, bytes, error);
}

/* What set_strings and set_arrays share: the items are strings when values is NULL. */
static void hyb_gguf_set_items(hybrid_gguf_writer *w, hybrid_string key, const hybrid_string *strings,
                               const hybrid_gguf_value *values, size_t count, hybrid_error *error)
{
    uint64_t size = 12, header = values ? 12 : 8, part;
    unsigned char *bytes, *p;
    size_t i;
    for (i = 0; i < count; i++) {
        const void *data = values ? values[i].data : strings[i].data;
        part = values ? values[i].size : strings[i].size;
        if ((part && !data) || (values && values[i].type != HYBRID_GGUF_ARRAY)) {
            hyb_fail(error, HYBRID_ERROR_INVALID, "key '%.63s': item %llu has no data, or is not an array", key.data,
                     (unsigned long long)i);
            return;
        }
        /* too much is noticed below; the sum cannot wrap */
        size += header + HYB_MIN(part, (uint64_t)HYBRID_GGUF_MAX_METADATA);
    }
    if (!(bytes = hyb_gguf_record(w, key, HYBRID_GGUF_ARRAY, size, error))) return;
    p = bytes + 12 + key.size;
    hyb_store_u32(p, values ? (uint32_t)HYBRID_GGUF_ARRAY : (uint32_t)HYBRID_GGUF_STRING);
    hyb_gguf_store_u64(p + 4, count);
    p += 12;
    for (i = 0; i < count; i++) {
        part = values ? values[i].size : strings[i].size;
        if (values) {
            hyb_store_u32(p, (uint32_t)values[i].item_type);
            hyb_gguf_store_u64(p + 4, values[i].count);
        } else
            hyb_gguf_store_u64(p, part);
        p += header;
        if (part) memcpy(p, values ? values[i].data : strings[i].data, (size_t)part);
        p += part;
    }
    hyb_gguf_accept(w, bytes, (size_t)(p - bytes), error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_set_strings,
           (hybrid_gguf_writer *w, const char *key, const hybrid_string *items, size_t count, hybrid_error *error),
           (w, key, items, count, error))
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !key || (!items && count))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_strings: an argument is NULL");
    if ((e.result = hyb_gguf_enter(w, "hybrid_gguf_set_strings", error)) != HYBRID_OK) return e.result;
    hyb_gguf_set_items(w, hyb_string(key), items, NULL, count, &e);
    return hyb_gguf_note(w, &e, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_set_arrays,
           (hybrid_gguf_writer *w, const char *key, const hybrid_gguf_value *items, size_t count, hybrid_error *error),
           (w, key, items, count, error))
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !key || !items)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_arrays: an argument is NULL");
    if ((e.result = hyb_gguf_enter(w, "hybrid_gguf_set_arrays", error)) != HYBRID_OK) return e.result;
    hyb_gguf_set_items(w, hyb_string(key), NULL, items, count, &e);
    return hyb_gguf_note(w, &e, error);
}

/* Records of all keys of a file into list (from->n_keys), *n of them so far; and room for them. */
static void hyb_gguf_records(hybrid_gguf_writer *w, const hybrid_gguf *from, hyb_gguf_entry *list, size_t *n,
                             hybrid_error *error)
{
    const uint64_t metadata = w->metadata;
    hybrid_gguf_value value;
    size_t n_new = 0;
    while (*n < from->n_keys && !error->result) {
        const hybrid_string key = hybrid_gguf_key(from, *n, &value);
        hyb_gguf_entry *one = &list[*n];
        if (!(one->bytes = hyb_gguf_value_record(w, key, &value, &one->size, error))) break;
        ++*n;
        hyb_gguf_record_holds(w, one->bytes, key.size, one->size, error);
        n_new += hyb_names_find(&w->key_names, key) == HYB_NO_NAME;
        w->metadata += one->size; /* so that all together stay below the limit */
    }
    w->metadata = metadata;
    if (error->result) return;
    if (w->key_names.count + n_new > HYBRID_GGUF_MAX_KEYS)
        hyb_fail(error, HYBRID_ERROR_LIMIT, "a file has at most %d keys", HYBRID_GGUF_MAX_KEYS);
    else if (!hyb_gguf_grow_keys(w, n_new))
        hyb_fail_memory(error, n_new * sizeof *list);
}

/* All of them or none. */
HYB_BORDER(hybrid_result, hybrid_gguf_copy_keys, (hybrid_gguf_writer *w, const hybrid_gguf *from, hybrid_error *error),
           (w, from, error))
{
    hyb_gguf_entry *list;
    hybrid_error e;
    size_t n = 0, i;
    e.result = HYBRID_OK;
    if (!w || !from) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_copy_keys: an argument is NULL");
    if ((e.result = hyb_gguf_enter(w, "hybrid_gguf_copy_keys", error)) != HYBRID_OK) return e.result;
    if (!(list = (hyb_gguf_entry *)hyb_calloc(w->rt, from->n_keys, sizeof *list)))
        hyb_fail_memory(&e, from->n_keys * sizeof *list);
    else
        hyb_gguf_records(w, from, list, &n, &e);
    for (i = 0; i < n; i++) {
        if (e.result)
            hyb_free(w->rt, list[i].bytes);
        else
            hyb_gguf_put(w, list[i].bytes, list[i].size);
    }
    hyb_free(w->rt, list);
    return hyb_gguf_note(w, &e, error);
}

/* Moves all keys of another writer, which then has none: all of them or none. */
static void hyb_gguf_take_keys(hybrid_gguf_writer *w, hybrid_gguf_writer *from, hybrid_error *error)
{
    const size_t n = from->key_names.count;
    size_t i, n_new = 0;
    if (w->stage != HYB_GGUF_COLLECTING) {
        hyb_fail(error, HYBRID_ERROR_INVALID, "these keys come too late: writing has begun");
        return;
    }
    for (i = 0; i < n; i++) n_new += hyb_names_find(&w->key_names, from->key_names.names[i]) == HYB_NO_NAME;
    if (w->key_names.count + n_new > HYBRID_GGUF_MAX_KEYS)
        hyb_fail(error, HYBRID_ERROR_LIMIT, "a file has at most %d keys", HYBRID_GGUF_MAX_KEYS);
    else if (w->metadata + from->metadata - 24 > HYBRID_GGUF_MAX_METADATA)
        hyb_fail(error, HYBRID_ERROR_LIMIT, "there would be more than %d bytes of metadata", HYBRID_GGUF_MAX_METADATA);
    else if (!hyb_gguf_grow_keys(w, n_new))
        hyb_fail_memory(error, n_new * sizeof *w->entries);
    if (error->result) return;
    for (i = 0; i < n; i++) hyb_gguf_put(w, from->entries[i].bytes, from->entries[i].size);
    from->key_names.count = 0;
}

static void hyb_gguf_plan_tensor(hybrid_gguf_writer *w, const char *name, hybrid_type type, int n_dims,
                                 const uint64_t *ne, hybrid_error *error)
{
    hyb_gguf_planned *planned;
    hybrid_string key = hyb_string(name);
    hybrid_gguf_tensor t;
    const char *wrong = NULL;
    int i;
    memset(&t, 0, sizeof t);
    t.type_id = (uint32_t)type;
    t.n_dims = n_dims;
    for (i = 0; i < 4; i++) t.ne[i] = i < n_dims && ne ? ne[i] : 1;
    if (w->stage != HYB_GGUF_COLLECTING)
        wrong = "tensors must be added before writing begins";
    else if (!key.size || key.size > HYBRID_GGUF_MAX_NAME)
        wrong = "its name is empty or too long";
    else if (n_dims < 0 || n_dims > 4 || (n_dims && !ne))
        wrong = "it must have 0 to 4 dimensions";
    else if (!(wrong = hyb_gguf_size_tensor(&t)) && t.type == HYBRID_TYPE_LAST_)
        wrong = "hybrid does not know its type";
    else if (!wrong && hyb_names_find(&w->tensor_names, key) != HYB_NO_NAME)
        wrong = "another tensor has this name already";
    if (wrong) {
        hyb_fail(error, HYBRID_ERROR_INVALID, "tensor '%.63s': %s", name, wrong);
        return;
    }
    if (w->tensor_names.count >= HYBRID_GGUF_MAX_TENSORS) {
        hyb_fail(error, HYBRID_ERROR_LIMIT, "a file has at most %d tensors", HYBRID_GGUF_MAX_TENSORS);
        return;
    }
    if (!hyb_gguf_grow_tensors(w)) {
        hyb_fail_memory(error, sizeof *w->tensors);
        return;
    }
    planned = &w->tensors[w->tensor_names.count];
    if (!(planned->name = (char *)hyb_alloc(w->rt, key.size))) {
        hyb_fail_memory(error, key.size);
        return;
    }
    memcpy(planned->name, name, key.size);
    t.name.data = planned->name;
    t.name.size = key.size;
    planned->tensor = t;
    hyb_names_add(&w->tensor_names, t.name);
}

HYB_BORDER(hybrid_result, hybrid_gguf_add_tensor,
           (hybrid_gguf_writer *w, const char *name, hybrid_type type, int32_t n_dims, const uint64_t *ne,
            hybrid_error *error),
           (w, name, type, n_dims, ne, error))
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !name) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_add_tensor: an argument is NULL");
    if ((e.result = hyb_gguf_enter(w, "hybrid_gguf_add_tensor", error)) != HYBRID_OK) return e.result;
    hyb_gguf_plan_tensor(w, name, type, n_dims, ne, &e);
    return hyb_gguf_note(w, &e, error);
}

/* ---- from here on bytes go out; a failure is final --------------------------------------------------------------- */

static bool hyb_gguf_emit(hybrid_gguf_writer *w, const void *data, size_t n)
{
    bool good;
    if (w->failure.result) return false;
    good = !n || (w->write ? w->write(w->user, data, n) : hyb_output_write(&w->output, data, n));
    hyb_fp_plain();
    if (good) {
        w->written += n;
        return true;
    }
    hyb_fail_at(&w->failure, HYBRID_ERROR_IO, w->written, "writing failed at byte %llu: %s",
                (unsigned long long)w->written, w->write ? "the callback returned false" : "is the disk full?");
    return false;
}

static bool hyb_gguf_emit_u64(hybrid_gguf_writer *w, uint64_t value, size_t n)
{
    unsigned char bytes[8];
    hyb_gguf_store_u64(bytes, value);
    return hyb_gguf_emit(w, bytes, n);
}

static bool hyb_gguf_pad(hybrid_gguf_writer *w)
{
    static const unsigned char zeros[64] = { 0 };
    uint64_t n = (w->alignment - w->written % w->alignment) % w->alignment;
    for (; n > sizeof zeros; n -= sizeof zeros)
        if (!hyb_gguf_emit(w, zeros, sizeof zeros)) return false;
    return hyb_gguf_emit(w, zeros, (size_t)n);
}

/* Offsets of the tensors, and the alignment that the keys ask for. */
static hybrid_result hyb_gguf_arrange(hybrid_gguf_writer *w, hybrid_error *error)
{
    hybrid_string key = hyb_string("general.alignment");
    size_t i = hyb_names_find(&w->key_names, key), n = w->tensor_names.count;
    uint64_t at = 0;
    int64_t alignment = 32;
    if (i != HYB_NO_NAME) {
        const unsigned char *type = w->entries[i].bytes + 8 + key.size;
        if (hyb_load_u32(type) != HYBRID_GGUF_U32 || !hyb_gguf_load_i64(HYBRID_GGUF_U32, type + 4, &alignment) ||
            !hyb_gguf_good_alignment(alignment))
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "key 'general.alignment' must be of type U32 and a power of two of at least 8");
    }
    w->alignment = (uint64_t)alignment;
    for (i = 0; i < n; i++) {
        hybrid_gguf_tensor *t = &w->tensors[i].tensor;
        t->offset = at;
        if (t->size > INT64_MAX / 4 || at > INT64_MAX / 4)
            return hyb_fail(error, HYBRID_ERROR_LIMIT, "the tensors have more than 2^61 bytes");
        at = (at + t->size + w->alignment - 1) / w->alignment * w->alignment;
    }
    return HYBRID_OK;
}

static void hyb_gguf_emit_metadata(hybrid_gguf_writer *w)
{
    size_t i;
    int d;
    hyb_gguf_emit(w, "GGUF\3\0\0\0", 8);
    hyb_gguf_emit_u64(w, w->tensor_names.count, 8);
    hyb_gguf_emit_u64(w, w->key_names.count, 8);
    for (i = 0; i < w->key_names.count; i++) hyb_gguf_emit(w, w->entries[i].bytes, w->entries[i].size);
    for (i = 0; i < w->tensor_names.count; i++) {
        const hybrid_gguf_tensor *t = &w->tensors[i].tensor;
        hyb_gguf_emit_u64(w, t->name.size, 8);
        hyb_gguf_emit(w, t->name.data, t->name.size);
        hyb_gguf_emit_u64(w, (uint64_t)t->n_dims, 4);
        for (d = 0; d < t->n_dims; d++) hyb_gguf_emit_u64(w, t->ne[d], 8);
        hyb_gguf_emit_u64(w, t->type_id, 4);
        hyb_gguf_emit_u64(w, t->offset, 8);
    }
    if (w->tensor_names.count) hyb_gguf_pad(w);
}

/* Tensors without bytes are complete when their turn comes. */
static void hyb_gguf_skip_empty(hybrid_gguf_writer *w)
{
    while (w->current < w->tensor_names.count && !w->tensors[w->current].tensor.size) w->current++;
}

static hybrid_result hyb_gguf_start(hybrid_gguf_writer *w, hybrid_write_fn write, void *user, const char *path,
                                    hybrid_error *error)
{
    hybrid_result r;
    if (w->stage != HYB_GGUF_COLLECTING)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_begin: writing has begun already");
    if (!w->failure.result) {
        if ((r = hyb_gguf_arrange(w, error)) != HYBRID_OK) return r;
        if (path && (r = hyb_output_open(w->rt, path, false, &w->output, error)) != HYBRID_OK) return r;
        w->stage = HYB_GGUF_WRITING;
        w->write = write;
        w->user = user;
        hyb_gguf_emit_metadata(w);
        hyb_gguf_skip_empty(w);
    }
    return hyb_kept(&w->failure, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_begin,
           (hybrid_gguf_writer *w, hybrid_write_fn write, void *user, hybrid_error *error), (w, write, user, error))
{
    hybrid_result r;
    if (!w || !write) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_begin: an argument is NULL");
    if ((r = hyb_gguf_enter(w, "hybrid_gguf_begin", error)) != HYBRID_OK) return r;
    r = hyb_gguf_start(w, write, user, NULL, error);
    w->in_use = 0;
    return r;
}

HYB_BORDER(hybrid_result, hybrid_gguf_begin_path, (hybrid_gguf_writer *w, const char *path, hybrid_error *error),
           (w, path, error))
{
    hybrid_result r;
    if (!w || !path) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_begin_path: an argument is NULL");
    if ((r = hyb_gguf_enter(w, "hybrid_gguf_begin_path", error)) != HYBRID_OK) return r;
    r = hyb_gguf_start(w, NULL, NULL, path, error);
    w->in_use = 0;
    return r;
}

static hybrid_result hyb_gguf_give(hybrid_gguf_writer *w, const void *data, size_t n, hybrid_error *error)
{
    char text[64];
    const hybrid_gguf_tensor *t;
    if (!w->failure.result && w->stage != HYB_GGUF_WRITING)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_gguf_write: call it between hybrid_gguf_begin and hybrid_gguf_end");
    if (!w->failure.result && n) {
        t = w->current < w->tensor_names.count ? &w->tensors[w->current].tensor : NULL;
        if (!t)
            return hyb_fail(error, HYBRID_ERROR_INVALID,
                            "hybrid_gguf_write: all tensors are complete, but %llu bytes more are given",
                            (unsigned long long)n);
        if (n > t->size - w->got)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "tensor '%s' has %llu bytes to come, but %llu are given",
                            hyb_printable(t->name, text), (unsigned long long)(t->size - w->got),
                            (unsigned long long)n);
        if (hyb_gguf_emit(w, data, n) && (w->got += n) == t->size) {
            w->current++;
            w->got = 0;
            hyb_gguf_pad(w);
            hyb_gguf_skip_empty(w);
        }
    }
    return hyb_kept(&w->failure, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_write, (hybrid_gguf_writer *w, const void *data, size_t n, hybrid_error *error),
           (w, data, n, error))
{
    hybrid_result r;
    if (!w || (!data && n)) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_write: an argument is NULL");
    if ((r = hyb_gguf_enter(w, "hybrid_gguf_write", error)) != HYBRID_OK) return r;
    r = hyb_gguf_give(w, data, n, error);
    w->in_use = 0;
    return r;
}

static hybrid_result hyb_gguf_finish(hybrid_gguf_writer *w, hybrid_error *error)
{
    char text[64];
    if (w->stage != HYB_GGUF_WRITING) {
        if (!w->failure.result)
            return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_end: call it once, after hybrid_gguf_begin");
        return hyb_kept(&w->failure, error);
    }
    if (!w->failure.result && w->current < w->tensor_names.count) {
        const hybrid_gguf_tensor *t = &w->tensors[w->current].tensor;
        return hyb_fail(error, HYBRID_ERROR_INVALID, "tensor '%s' lacks %llu of its %llu bytes",
                        hyb_printable(t->name, text), (unsigned long long)(t->size - w->got),
                        (unsigned long long)t->size);
    }
    w->stage = HYB_GGUF_ENDED;
    if (w->failure.result)
        hyb_output_abandon(w->rt, &w->output);
    else if (!w->write)
        hyb_output_finish(w->rt, &w->output, &w->failure);
    return hyb_kept(&w->failure, error);
}

HYB_BORDER(hybrid_result, hybrid_gguf_end, (hybrid_gguf_writer *w, hybrid_error *error), (w, error))
{
    hybrid_result r;
    if (!w) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_end: writer is NULL");
    if ((r = hyb_gguf_enter(w, "hybrid_gguf_end", error)) != HYBRID_OK) return r;
    r = hyb_gguf_finish(w, error);
    w->in_use = 0;
    return r;
}
#endif
