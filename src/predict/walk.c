/* predict/walk: how a part of the predictor becomes bytes of a checkpoint, and is read from them: one function each,
 * which names what the part remembers. It is walked three times: to count, to write, to read.
 *
 *     static void hyb_law_walk(hyb_law *law, hyb_byte_walk *w)
 *     {
 *         HYB_WALK(w, law->a);                                 a number, or a struct of numbers without holes
 *         hyb_walk_bytes(w, law->ring, sizeof law->ring);
 *     }
 *
 * Pointers, and whatever can be made again, are left out. Bytes are the host's own order and sizes: all values have
 * types of fixed size. A part may check what it has read, and sets failed where its own sizes or ranges forbid it. */
#ifndef HYB_PREDICT_WALK_C
#define HYB_PREDICT_WALK_C
#include "../core/base.c"

typedef struct hyb_byte_walk {
    unsigned char *at; /* where the next bytes are; NULL: they are only counted */
    size_t n;          /* bytes so far */
    size_t size;       /* bytes that there are, where they are read or written */
    bool reads;
    bool failed; /* what is read is shorter, or not what was written */
} hyb_byte_walk;

static void hyb_walk_bytes(hyb_byte_walk *w, void *data, size_t n)
{
    if (!n || w->failed) return;
    if (w->at && w->size - w->n < n) {
        w->failed = true;
        return;
    }
    if (w->at && w->reads)
        memcpy(data, w->at + w->n, n);
    else if (w->at)
        memcpy(w->at + w->n, data, n);
    w->n += n;
}
#define HYB_WALK(w, value) hyb_walk_bytes(w, &(value), sizeof(value))

/* A number that must be what it was: sizes of arrays, a version. */
static void hyb_walk_same(hyb_byte_walk *w, int64_t value)
{
    int64_t got = value;
    HYB_WALK(w, got);
    if (w->reads && got != value) w->failed = true;
}
#endif
