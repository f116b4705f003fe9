/* interface: for tests that see the library as a program does. They do not hold it: run_tests.py links them with
 * tests/library.c, which is compiled once for all of them. */
#ifndef INTERFACE_H
#define INTERFACE_H
#include "../src/hybrid_all.c"
#include "check.h"
#include <math.h>
#ifdef _WIN32
    #include <process.h>
    #define getpid _getpid
#else
    #include <unistd.h>
#endif

#define COUNT(array)  ((int)(sizeof(array) / sizeof *(array)))
#define SMALLER(a, b) ((a) < (b) ? (a) : (b))
#define LARGER(a, b)  ((a) > (b) ? (a) : (b))

static inline hybrid_model_info model_info(const hybrid_model *m)
{
    hybrid_model_info info;
    hybrid_model_describe(m, &info);
    return info;
}

#endif
