/* The library alone: what run_tests.py links tests with. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
