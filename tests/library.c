/* The library alone, and the seams of private.h: what run_tests.py links tests with. */
#define CHECK_H /* no test stands here */
#include "private.h"

#define SEAM(name) \
    extern __typeof__(hyb_##name) *const seam_##name; \
    __typeof__(hyb_##name) *const seam_##name = hyb_##name;
SEAMS(SEAM)
