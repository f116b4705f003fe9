/* The library alone, and the seams of private.h: what run_tests.py links tests with. */
#define CHECK_H                                             /* no test stands here */
#include "private.h"

#define SEAM(name) \
    extern __typeof__(hybrid__##name) *const seam_##name; \
    __typeof__(hybrid__##name) *const seam_##name = hybrid__##name;
SEAMS(SEAM)
