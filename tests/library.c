/* The library alone: what run_tests.py links the tests with that use only its interface. */
#define HYBRID_IMPLEMENTATION
#include "../src/hybrid_all.c"
