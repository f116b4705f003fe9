/* The library that run_tests.py links the fuzzers with: compiled once for all of them, instrumented as they are. */
#define HYBRID_IMPLEMENTATION
#include "../../src/hybrid_all.c"
