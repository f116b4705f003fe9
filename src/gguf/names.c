/* gguf/names: names that must differ, found by hash. Holds pointers to the characters, not the characters. */
#ifndef HYB_GGUF_NAMES_C
#define HYB_GGUF_NAMES_C
#include "../api/gguf.h"
#include "../core/memory.c"

typedef struct hyb_names {
    hybrid_string *names;
    uint32_t *slots; /* index + 1 of a name, 0: free; linear probing, at most half full */
    size_t count, capacity;
    hyb_hash_key key; /* the runtime's, so that a file cannot choose where its names go */
} hyb_names;

#define HYB_NO_NAME SIZE_MAX

/* The slot of the name, or the free one where it belongs. There are 2 * capacity slots, a power of two. */
static size_t hyb_names_slot(const hyb_names *t, hybrid_string name)
{
    size_t mask = 2 * t->capacity - 1, at = (size_t)hyb_hash(&t->key, name.data, name.size) & mask;
    HYB_STEPS(1);
    for (; t->slots[at]; at = (at + 1) & mask) {
        hybrid_string other = t->names[t->slots[at] - 1];
        HYB_STEPS(1);
        if (other.size == name.size && !memcmp(other.data, name.data, name.size)) break;
    }
    return at;
}

static size_t hyb_names_find(const hyb_names *t, hybrid_string name)
{
    size_t slot;
    if (!t->count) return HYB_NO_NAME;
    slot = hyb_names_slot(t, name);
    return t->slots[slot] ? t->slots[slot] - 1 : HYB_NO_NAME;
}

static void hyb_names_free(hybrid_runtime *rt, hyb_names *t)
{
    hyb_free(rt, t->names);
    hyb_free(rt, t->slots);
    memset(t, 0, sizeof *t);
}

/* Room for n names in all. */
static bool hyb_names_reserve(hybrid_runtime *rt, hyb_names *t, size_t n)
{
    size_t capacity = 16, i;
    hyb_names bigger;
    if (n <= t->capacity) return true;
    while (capacity < n) capacity *= 2;
    bigger.capacity = capacity;
    bigger.count = t->count;
    bigger.names = (hybrid_string *)hyb_calloc(rt, capacity, sizeof(hybrid_string));
    bigger.slots = (uint32_t *)hyb_calloc(rt, 2 * capacity, sizeof(uint32_t));
    bigger.key = rt->hash_key;
    if (!bigger.names || !bigger.slots) {
        hyb_names_free(rt, &bigger);
        return false;
    }
    if (t->count) memcpy(bigger.names, t->names, t->count * sizeof(hybrid_string));
    for (i = 0; i < t->count; i++) bigger.slots[hyb_names_slot(&bigger, bigger.names[i])] = (uint32_t)i + 1;
    hyb_names_free(rt, t);
    *t = bigger;
    return true;
}

/* Adds a name, for which there must be room. false: it is there already. */
static bool hyb_names_add(hyb_names *t, hybrid_string name)
{
    size_t slot = hyb_names_slot(t, name);
    if (t->slots[slot]) return false;
    t->names[t->count++] = name;
    t->slots[slot] = (uint32_t)t->count;
    return true;
}

static hybrid_string hyb_string(const char *text)
{
    hybrid_string s;
    s.data = text;
    s.size = text ? strlen(text) : 0;
    return s;
}

static bool hyb_string_is(hybrid_string s, const char *text)
{
    return s.size == strlen(text) && (!s.size || !memcmp(s.data, text, s.size));
}

/* A name from a file, safe to print: shortened, with anything unusual as '?'. Returns text. */
static const char *hyb_printable(hybrid_string name, char text[64])
{
    size_t i, n = HYB_MIN(name.size, 63);
    for (i = 0; i < n; i++) text[i] = name.data[i] >= 32 && name.data[i] < 127 ? name.data[i] : '?';
    text[n] = 0;
    if (name.size > n) memcpy(text + 60, "...", 3);
    return text;
}
#endif
