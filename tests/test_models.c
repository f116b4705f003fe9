/* Models against transformers: every layer, logits and greedy text of tiny models of all architectures (tests/oracle/make_models.py),
 * and decode against prefill, bit for bit. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include "check.h"

#define TOLERANCE 1e-4
#define SAME(a, b, n) (!memcmp(a, b, (size_t)(n) * sizeof(float)))
#include "models.inc"

int main(void)
{
    check_all_models();
    return test_end();
}
