/* Both halves of the library: what run_tests.py links tests with. */
#include "chosen.h"
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
#include "../hybrid_cuda.h"
