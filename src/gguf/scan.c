/* gguf/scan: a walk over the metadata that checks every length before it believes it. Works on a mapped file, and on
 * one that is read in growing blocks; so places are offsets until the walk is over. */
#ifndef HYB_GGUF_SCAN_C
#define HYB_GGUF_SCAN_C
#include "../core/file.c"
#include "../core/grow.c"
#include "names.c"
#include "value.c"

#define HYB_GGUF_FIRST_BLOCK 0x100000

typedef struct hyb_gguf_scan {
    hybrid_runtime *rt;
    hyb_file *file;             /* NULL: bytes holds all */
    const unsigned char *bytes; /* the first `have` bytes */
    unsigned char *owned;       /* bytes, when they were read and not mapped */
    uint64_t at, have, size;    /* at <= have <= size */
    uint32_t *index;            /* where strings and arrays of arrays begin */
    size_t n_index, index_capacity;
    const char *kind; /* what is being read, for messages: "key" number, "tensor" number */
    uint64_t number;
    size_t name_at, name_size;
    hybrid_error *error;
} hyb_gguf_scan;

/* Where a value lies. */
typedef struct hyb_gguf_span {
    hybrid_gguf_type type, item_type;
    uint64_t count, at, size;
    size_t index; /* of its first entry in the index */
} hyb_gguf_span;

/* "key 12 'general.name'", for messages. */
static const char *hyb_gguf_subject(const hyb_gguf_scan *s, char text[96])
{
    char name[64];
    hybrid_string raw;
    raw.data = (const char *)s->bytes + s->name_at;
    raw.size = s->name_size;
    if (!raw.size)
        snprintf(text, 96, "%s %llu", s->kind, (unsigned long long)s->number);
    else
        snprintf(text, 96, "%s '%s'", s->kind, hyb_printable(raw, name));
    return text;
}

static hybrid_result hyb_gguf_fill(hyb_gguf_scan *s, uint64_t end)
{
    /* twice as much each time: few reads, and no large allocation for a file that lies about its size */
    while (s->have < end) {
        uint64_t next = HYB_MIN(s->size, HYB_MAX(2 * s->have, (uint64_t)HYB_GGUF_FIRST_BLOCK));
        unsigned char *grown =
            next > SIZE_MAX ? NULL : (unsigned char *)hyb_realloc(s->rt, s->owned, (size_t)s->have, (size_t)next);
        hybrid_result r;
        if (!grown) return hyb_fail_memory(s->error, next);
        s->bytes = s->owned = grown;
        if ((r = hyb_file_read(s->file, s->have, grown + s->have, (size_t)(next - s->have), s->error))) return r;
        s->have = next;
    }
    return HYBRID_OK;
}

/* Makes sure that n bytes at s->at can be looked at. */
static hybrid_result hyb_gguf_need(hyb_gguf_scan *s, uint64_t n)
{
    char subject[96];
    HYB_STEPS(1);
    if (n <= s->have - s->at) return HYBRID_OK;
    if (n > s->size - s->at)
        return hyb_fail_at(
            s->error, HYBRID_ERROR_FORMAT, s->at,
            "truncated or damaged: %s needs %llu bytes at %llu, but the file ends at %llu: download or copy it again",
            hyb_gguf_subject(s, subject), (unsigned long long)n, (unsigned long long)s->at,
            (unsigned long long)s->size);
    if (s->at + n > HYBRID_GGUF_MAX_METADATA)
        return hyb_fail_at(s->error, HYBRID_ERROR_LIMIT, s->at,
                           "%s reaches beyond the first %u bytes, which is more metadata than hybrid accepts",
                           hyb_gguf_subject(s, subject), (unsigned)HYBRID_GGUF_MAX_METADATA);
    return hyb_gguf_fill(s, s->at + n);
}

static hybrid_result hyb_gguf_scan_u32(hyb_gguf_scan *s, uint32_t *out)
{
    hybrid_result r = hyb_gguf_need(s, 4);
    if (r) return r;
    *out = hyb_load_u32(s->bytes + s->at);
    s->at += 4;
    return HYBRID_OK;
}

static hybrid_result hyb_gguf_scan_u64(hyb_gguf_scan *s, uint64_t *out)
{
    hybrid_result r = hyb_gguf_need(s, 8);
    if (r) return r;
    *out = hyb_load_u64(s->bytes + s->at);
    s->at += 8;
    return HYBRID_OK;
}

/* A string's size and characters; leaves s->at after it. */
static hybrid_result hyb_gguf_scan_string(hyb_gguf_scan *s, uint64_t *size)
{
    hybrid_result r = hyb_gguf_scan_u64(s, size);
    if (!r && !(r = hyb_gguf_need(s, *size))) s->at += *size;
    return r;
}

/* The name of the key or tensor that begins here; messages give it from now on. */
static hybrid_result hyb_gguf_scan_name(hyb_gguf_scan *s, const char *kind, uint64_t number)
{
    uint64_t size;
    hybrid_result r;
    s->kind = kind;
    s->number = number;
    s->name_size = 0;
    if ((r = hyb_gguf_scan_u64(s, &size))) return r;
    if (size > HYBRID_GGUF_MAX_NAME)
        return hyb_fail_at(s->error, HYBRID_ERROR_LIMIT, s->at - 8,
                           "the name of %s %llu has %llu bytes, must have at most %d: the file is damaged", kind,
                           (unsigned long long)number, (unsigned long long)size, HYBRID_GGUF_MAX_NAME);
    if ((r = hyb_gguf_need(s, size))) return r;
    s->name_at = (size_t)s->at;
    s->name_size = (size_t)size;
    s->at += size;
    return HYBRID_OK;
}

static hybrid_result hyb_gguf_scan_type(hyb_gguf_scan *s, hybrid_gguf_type *type)
{
    char subject[96];
    uint32_t id;
    hybrid_result r = hyb_gguf_scan_u32(s, &id);
    if (r) return r;
    if (id >= HYB_GGUF_N_TYPES)
        return hyb_fail_at(
            s->error, HYBRID_ERROR_FORMAT, s->at - 4,
            "%s: %lu at byte %llu is not the type of a value: the file is damaged, or newer than this hybrid",
            hyb_gguf_subject(s, subject), (unsigned long)id, (unsigned long long)(s->at - 4));
    *type = (hybrid_gguf_type)id;
    return HYBRID_OK;
}

/* n more entries of the index, which the caller fills in. */
static hybrid_result hyb_gguf_index_add(hyb_gguf_scan *s, size_t n)
{
    const hybrid_result r = HYB_GROW(s->rt, s->index, s->index_capacity, s->n_index, s->n_index + n, s->error);
    if (!r) s->n_index += n;
    return r;
}

/* An array from its item type on. Strings get an index of one offset each, arrays of two entries each: the offset of
 * the item, and the distance to the item's own index. Both are relative, so that the index may move and items are
 * values like any other. */
static hybrid_result hyb_gguf_scan_array(hyb_gguf_scan *s, int depth, hyb_gguf_span *span)
{
    char subject[96];
    hyb_gguf_span item;
    hybrid_result r;
    uint64_t i, size;
    span->type = span->item_type = HYBRID_GGUF_ARRAY;
    span->count = 0;
    if ((r = hyb_gguf_scan_type(s, &span->item_type)) || (r = hyb_gguf_scan_u64(s, &span->count))) return r;
    span->at = s->at;
    span->index = s->n_index;
    if (span->count > (s->size - s->at) / hyb_gguf_item_min_size(span->item_type))
        return hyb_fail_at(
            s->error, HYBRID_ERROR_FORMAT, s->at - 8,
            "truncated or damaged: %s has %llu items of type %s, but only %llu bytes follow: download or copy it again",
            hyb_gguf_subject(s, subject), (unsigned long long)span->count, hybrid_gguf_type_name(span->item_type),
            (unsigned long long)(s->size - s->at));
    if (span->item_type == HYBRID_GGUF_STRING) {
        if ((r = hyb_gguf_need(s, span->count * 8)) || (r = hyb_gguf_index_add(s, (size_t)span->count))) return r;
        for (i = 0; i < span->count; i++) {
            s->index[span->index + i] = (uint32_t)(s->at - span->at);
            if ((r = hyb_gguf_scan_string(s, &size))) return r;
        }
    } else if (span->item_type == HYBRID_GGUF_ARRAY) {
        if (depth + 1 >= HYBRID_GGUF_MAX_DEPTH)
            return hyb_fail_at(s->error, HYBRID_ERROR_LIMIT, s->at, "%s: arrays are nested more than %d deep",
                               hyb_gguf_subject(s, subject), HYBRID_GGUF_MAX_DEPTH);
        if ((r = hyb_gguf_need(s, span->count * 12)) || (r = hyb_gguf_index_add(s, 2 * (size_t)span->count))) return r;
        for (i = 0; i < span->count; i++) {
            s->index[span->index + i] = (uint32_t)(s->at - span->at);
            s->index[span->index + span->count + i] = (uint32_t)(s->n_index - span->index);
            if ((r = hyb_gguf_scan_array(s, depth + 1, &item))) return r;
        }
    } else {
        size = span->count * hyb_gguf_number_size(span->item_type);
        if ((r = hyb_gguf_need(s, size))) return r;
        s->at += size;
    }
    span->size = s->at - span->at;
    return HYBRID_OK;
}

/* A value from its type on. */
static hybrid_result hyb_gguf_scan_value(hyb_gguf_scan *s, hyb_gguf_span *span)
{
    hybrid_result r;
    memset(span, 0, sizeof *span);
    if ((r = hyb_gguf_scan_type(s, &span->type))) return r;
    if (span->type == HYBRID_GGUF_ARRAY) return hyb_gguf_scan_array(s, 0, span);
    span->item_type = span->type;
    span->count = 1;
    if (span->type == HYBRID_GGUF_STRING) {
        if ((r = hyb_gguf_scan_string(s, &span->size))) return r;
    } else {
        span->size = hyb_gguf_number_size(span->type);
        if ((r = hyb_gguf_need(s, span->size))) return r;
        s->at += span->size;
    }
    span->at = s->at - span->size;
    return HYBRID_OK;
}
#endif
