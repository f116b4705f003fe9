/* core/checksum: whether all bytes of a file of our own are those that were written: each block's hash is the key of
 * the next one's. It finds damage; it does not keep out those who know the formula. */
#ifndef HYB_CORE_CHECKSUM_C
#define HYB_CORE_CHECKSUM_C
#include "hash.c"

enum { HYB_CHECKSUM_BLOCK = 1 << 16 };

/* Zero is a new one. Larger than a stack can be asked for. */
typedef struct hyb_checksum {
    unsigned char block[HYB_CHECKSUM_BLOCK];
    size_t have;
    uint64_t hash, n_blocks;
} hyb_checksum;

static void hyb_checksum_fold(hyb_checksum *s, const void *data, size_t n)
{
    hyb_hash_key key;
    key.k0 = s->hash;
    key.k1 = s->n_blocks++;
    s->hash = hyb_hash(&key, data, n);
}

static void hyb_checksum_add(hyb_checksum *s, const void *data, size_t n)
{
    const unsigned char *p = (const unsigned char *)data;
    while (n) {
        const size_t part = HYB_MIN(n, sizeof s->block - s->have);
        if (part == sizeof s->block)
            hyb_checksum_fold(s, p, part);
        else {
            memcpy(s->block + s->have, p, part);
            if ((s->have += part) == sizeof s->block) {
                hyb_checksum_fold(s, s->block, s->have);
                s->have = 0;
            }
        }
        p += part;
        n -= part;
    }
}

static uint64_t hyb_checksum_end(hyb_checksum *s)
{
    hyb_checksum_fold(s, s->block, s->have);
    return s->hash;
}
#endif
