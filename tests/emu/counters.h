/* What a test may ask the emulated driver: void *h = dlopen("libcuda.so.1"), then dlsym(h, "emu_counters"). Plain C. */
#ifndef EMU_COUNTERS_H
#define EMU_COUNTERS_H
#include <stddef.h>
typedef struct emu_counts {
    unsigned long long calls;              /* of driver functions */
    unsigned long long allocations, frees; /* of device memory */
    unsigned long long bytes, peak_bytes;  /* of device memory now and at most */
    unsigned long long pinned_bytes;       /* page-locked host memory now */
    unsigned long long launches;           /* kernels run, those in graphs and cuBLAS products included */
    unsigned long long graph_launches, gemms;
    unsigned long long copies_in, bytes_in;   /* host to device */
    unsigned long long copies_out, bytes_out; /* device to host */
    unsigned long long copies_on_device;
    unsigned long long syncs;        /* stream, event and context synchronizations */
    unsigned long long modules;      /* loaded */
    unsigned long long findings;     /* faults of kernels reported on stderr */
    unsigned long long blas_handles; /* of cuBLAS now */
} emu_counts;
typedef const emu_counts *(*emu_counters_function)(void); /* emu_counters: the live numbers */
typedef const char *(*emu_reports_function)(void);        /* emu_reports: text of the findings, "" when none */
typedef void (*emu_forgive_function)(void); /* emu_forgive: forget the findings (a test that wanted them) */
/* emu_forbid: check mode reports kernels that touch these bytes of a buffer */
typedef void (*emu_forbid_function)(const void *p, size_t bytes, int forbidden);
#endif
