/* private: for tests that call private functions. Alone (cc tests/test_x.c -lm) such a test holds the library, as a
 * program of one file does. run_tests.py links it with a library that is compiled once for all tests (opened.py). */
#ifndef PRIVATE_H
#define PRIVATE_H
#ifndef HYBRID_IMPLEMENTATION
    #define HYBRID_IMPLEMENTATION
#endif
#include "../src/hybrid_all.c"
#include "check.h"
#endif
