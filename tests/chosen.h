/* chosen: what the library leaves to tests. A test that is linked with tests/library.c and one that holds the library
 * itself find the same variables here, with the library's own values until they choose others. */
#ifndef CHOSEN_H
#define CHOSEN_H
#include <stddef.h>
#define CHOSEN __attribute__((weak)) /* of all objects that have one, one is taken */

/* Work whose amount a file or a text may choose; each thread counts its own. */
CHOSEN __thread unsigned long long all_steps;
#define HYB_STEPS(n) (all_steps += (unsigned long long)(n))

CHOSEN int pretend_big_endian;
#define HYB_BIG_ENDIAN pretend_big_endian

CHOSEN size_t document_block = (size_t)1 << 20, words_report = (size_t)4 << 20;
#define HYB_DOCUMENT_BLOCK document_block
#define HYB_WORDS_REPORT   words_report
#endif
