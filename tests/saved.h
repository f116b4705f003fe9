/* saved: the state of a sequence is written, read into another context, and both go on with the same bits. For tests
 * that see private functions: test_saved on the host, test_cuda_models on the emulated GPU. */
#ifndef SAVED_H
#define SAVED_H
#include <stdlib.h>
#include <string.h>

typedef struct saved_blob {
    unsigned char *bytes;
    size_t size, room;
    long calls, until; /* the call that fails; 0: none */
} saved_blob;

static bool saved_put(void *user, const void *data, size_t n)
{
    saved_blob *b = (saved_blob *)user;
    if (++b->calls == b->until) return false;
    if (b->size + n > b->room) {
        b->room = 2 * (b->size + n);
        b->bytes = (unsigned char *)realloc(b->bytes, b->room);
    }
    memcpy(b->bytes + b->size, data, n);
    b->size += n;
    return true;
}
static bool saved_get(void *user, uint64_t offset, void *dst, size_t n)
{
    saved_blob *b = (saved_blob *)user;
    if (++b->calls == b->until || offset > b->size || n > b->size - offset) return false;
    memcpy(dst, b->bytes + offset, n);
    return true;
}

/* The size that was promised is the size that comes. */
static saved_blob saved_of(hybrid_context *c, int32_t seq)
{
    saved_blob b;
    hybrid_error e;
    memset(&b, 0, sizeof b);
    CHECK(!hyb_saved_write(c, seq, false, saved_put, &b, &e), "%s", e.message);
    CHECK(b.size == hyb_saved_write_size(c, seq, false), "%llu bytes, not %llu", (unsigned long long)b.size,
          (unsigned long long)hyb_saved_write_size(c, seq, false));
    return b;
}

static hybrid_result saved_read_known(hybrid_context *c, int32_t seq, saved_blob *b, const int32_t *known, int32_t n,
                                      hybrid_error *e)
{
    hyb_file file;
    hybrid_result r = hyb_load_check(c, seq, e);
    if (r) return r;
    memset(&file, 0, sizeof file);
    file.reader.read_at = saved_get;
    file.reader.user = b;
    file.size = b->size;
    b->calls = 0;
    return hyb_saved_read(c, seq, &file, 0, b->size, known, n, 0, e);
}
static hybrid_result saved_read(hybrid_context *c, int32_t seq, saved_blob *b, hybrid_error *e)
{
    static const int32_t none = 0;
    return saved_read_known(c, seq, b, &none, 1, e);
}

static void saved_decode(hybrid_context *c, int32_t seq, int first, int n)
{
    int32_t ids[96];
    hybrid_error e;
    int i;
    for (i = 0; i < n; i++) ids[i] = (first + i * 7) % 120 + 3;
    CHECK(!hybrid_batch_add(c, seq, ids, (size_t)n, &e) && !hybrid_decode(c, &e), "%s", e.message);
}

static bool saved_same(hybrid_context *a, int32_t seq_a, hybrid_context *b, int32_t seq_b, int n_vocab)
{
    const float *x = hybrid_logits(a, seq_a), *y = hybrid_logits(b, seq_b);
    return x && y && !memcmp(x, y, (size_t)n_vocab * sizeof *x);
}

/* A sequence of 75 tokens, whose pages a fork shares and whose last page is not full, moves from sequence 0 of one
 * context to sequence 1 of another, in which others have taken pages before it. */
static void saved_move(hybrid_context *a, hybrid_context *b, int n_vocab)
{
    saved_blob one, two;
    hybrid_error e;
    int i;
    saved_decode(a, 0, 11, 40);
    CHECK(!hybrid_seq_fork(a, 0, 1, &e), "%s", e.message);
    saved_decode(a, 1, 90, 3);
    saved_decode(a, 0, 55, 31);
    saved_decode(a, 0, 17, 4);
    saved_decode(b, 0, 99, 37);
    saved_decode(b, 1, 44, 33);
    saved_decode(b, 2, 23, 5);
    CHECK(!hybrid_seq_remove(b, 0, 0, &e), "%s", e.message);
    CHECK(!hybrid_seq_remove(b, 1, 0, &e), "%s", e.message);
    one = saved_of(a, 0);
    CHECK(!saved_read(b, 1, &one, &e), "%s", e.message);
    CHECK(hybrid_seq_length(b, 1) == 75, "%d", hybrid_seq_length(b, 1));
    two = saved_of(b, 1);
    CHECK(one.size == two.size && !memcmp(one.bytes, two.bytes, one.size), "written again, %llu bytes are others",
          (unsigned long long)one.size);
    for (i = 74; i >= 70; i--)
        CHECK(hybrid_seq_back(a, 0, i) == hybrid_seq_back(b, 1, i), "from %d back to %d and %d", i,
              hybrid_seq_back(a, 0, i), hybrid_seq_back(b, 1, i));
    CHECK(!hybrid_seq_remove(a, 0, 71, &e) && !hybrid_seq_remove(b, 1, 71, &e), "%s", e.message);
    for (i = 0; i < 3; i++) {
        saved_decode(a, 0, 5 + i, 1 + 13 * i);
        saved_decode(b, 1, 5 + i, 1 + 13 * i);
        CHECK(saved_same(a, 0, b, 1, n_vocab), "other bits after %d decodes", i + 1);
    }
    free(one.bytes);
    free(two.bytes);
}
#endif
