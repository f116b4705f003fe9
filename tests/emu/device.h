/* The emulated device: runs one launch; used by driver.cpp. */
#ifndef EMU_DEVICE_H
#define EMU_DEVICE_H
#include "abi.h"
#include "common.h"

struct emu_launch {
    const emu_kernel *kernel;
    const emu_module *module;
    emu_uint3 grid, block;
    unsigned dynamic_bytes;
    void **params;
    uintptr_t image_base, image_end; /* of the module: constants, __device__ variables */
};
/* Runs all blocks. 0, or the CUresult that a device would give: 700 illegal address, 715 illegal instruction (a trap),
   716 misaligned, 719 launch failed (deadlock and other misuse). The report is on stderr by then. */
int emu_run(const emu_launch *launch);
/* A line about a kernel error; counts as a finding: the process then ends with status 97 (see README.md). */
void emu_report(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *emu_where();                  /* "kernel k, block (..), thread (..)" */
std::string emu_source(const void *pc);   /* "text.cu:12" of an address in a kernel, or "" */
std::string emu_line(int line);           /* its text, of the program of the running kernel */
std::string emu_about(uintptr_t address); /* in words: which buffer, how far behind its end (driver.cpp) */
[[noreturn]] void emu_stop(int result);   /* gives up the running launch */

/* check.cpp */
extern bool emu_checking;
void emu_check_setup(uintptr_t base, uint64_t bytes); /* the address range of device memory */
void emu_check_written(uintptr_t p, uint64_t bytes);  /* by the host, a memset */
void emu_check_copied(uintptr_t to, uintptr_t from, uint64_t bytes);
void emu_check_launch(const emu_launch *launch, uintptr_t stacks, uint64_t stack_bytes);
void emu_check_block(char *dynamic, unsigned bytes);
void emu_check_access(const void *p, int bytes, int kind, const void *pc); /* EMU_READ.. */
enum { EMU_READ, EMU_WRITE, EMU_ATOMIC_ACCESS, EMU_ASYNC_WRITE, EMU_ASYNC_DONE };
void emu_check_fence();
bool emu_inside(uintptr_t p, uint64_t bytes); /* of one buffer of device memory (driver.cpp) */
bool emu_mapped_host(uintptr_t p);            /* page-locked host memory, which kernels may use */
bool emu_own_stack(uintptr_t p);              /* of the running thread (device.cpp) */
struct emu_clock {
    uint32_t now, block_sync, warp_sync[32];
};
extern int emu_current;    /* the running thread of the block (linear) */
extern emu_clock emu_time; /* of the running block: counts barriers and warp syncs */
#endif
