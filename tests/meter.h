/* meter: an allocator that fails after so many blocks, and counts those that are out. */
#ifndef METER_H
#define METER_H
#include <stdlib.h>

typedef struct meter {
    long until, blocks; /* allocations that still succeed; blocks that were not freed */
} meter;
static void *meter_alloc(void *user, size_t size)
{
    meter *m = (meter *)user;
    void *p = m->until-- > 0 ? malloc(size) : NULL;
    if (p) m->blocks++;
    return p;
}
static void meter_free(void *user, void *block)
{
    ((meter *)user)->blocks--;
    free(block);
}
#endif
