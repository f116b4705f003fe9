/* What a compiled kernel and the emulated device know of each other. Included by shim.h (kernel side, no other header
   is there) and by the sources of libcuda. */
#ifndef EMU_ABI_H
#define EMU_ABI_H
extern "C" {

struct emu_uint3 {
    unsigned x, y, z;
};

/* The running thread, kept up to date by the scheduler: one host thread runs one device thread at a time. */
struct emu_state {
    struct emu_uint3 thread, block, block_dim, grid_dim;
    unsigned lane; /* linear thread & 31 */
    char *dynamic; /* dynamic shared memory of the block */
};
extern struct emu_state emu_now;

/* Barriers and warp collectives. `line` names the call in reports; the lanes of `mask` that still live must all
 * come. */
void emu_block_sync(int line);
void emu_warp_sync(unsigned mask, int line);
unsigned emu_shuffle(unsigned value, int source, unsigned mask, int line); /* value of lane `source` */
/* all values; returns the lanes present */
unsigned emu_gather(unsigned value, unsigned out[32], unsigned mask, int line);
/* kind: 0 f16, 1 bf16 (m16n8k16), 2 s8 (m16n8k32) */
void emu_mma(int kind, void *d, const unsigned *a, const unsigned *b, int line);
void emu_ldmatrix(unsigned *r, const void *row, int n, int transposed, int line);
void emu_cp_async(void *shared, const void *global, int bytes, int valid);
void emu_cp_commit(void);
void emu_cp_wait(int groups_left);
void emu_fence(void);                      /* __threadfence */
void emu_atomic(const void *p, int bytes); /* told before each atomic operation (check mode) */
void emu_misaligned(const void *p, int alignment, int line);
void emu_trap(const char *text, int line); /* __trap, failed assertion */

/* One kernel of a module; `call` unpacks the parameters by the types of the kernel itself. */
struct emu_kernel {
    const char *name;
    void (*call)(void **params);
    int n_params, max_threads; /* max_threads: __launch_bounds__, 0 = none */
    const int *sizes;          /* bytes of each parameter */
    const unsigned char *is_pointer;
};
struct emu_global {
    const char *name;
    void *address;
    unsigned long bytes;
};
struct emu_module {
    int abi; /* EMU_ABI */
    int n_kernels, n_globals;
    const struct emu_kernel *kernels;
    const struct emu_global *globals;
    char *shared, *shared_end; /* the static __shared__ variables of all kernels */
    const char *text;          /* the program: reports quote its lines */
};
#define EMU_ABI 5
}

/* A "cubin" is the shared library itself; as in real ones, e_flags of the ELF header says for which architecture:
   EMU_FLAGS | compiled for check mode << 12 | 80 for sm_80. */
#define EMU_FLAGS 0x48590000u
#endif
