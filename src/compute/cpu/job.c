/* compute/cpu/job: the CPU back end itself, and how an op's rows are cut into chunks for the lanes. */
#ifndef HYB_COMPUTE_CPU_JOB_C
#define HYB_COMPUTE_CPU_JOB_C
#include "../../core/runtime.c"
#include "../backend.c"
#include "kernels.c"
#include "pace.c"

enum {
    HYB_CPU_SPLIT = 4096 /* values that are worth a chunk of their own in element-wise work (a few microseconds) */
};

typedef struct hyb_cpu {
    hyb_backend base;
    const hyb_cpu_kernels *kernels;
    hyb_isa isa;
    char *scratch;      /* of the op in progress: shared by all ops */
    size_t lane_bytes;  /* attention's part of it for one lane */
    size_t train_bytes; /* and that of the ops that only training asks for */
    hyb_pace pace;
} hyb_cpu;

/* What the chunks of one op read. rows_a_chunk or pieces: see each. */
typedef struct hyb_cpu_job {
    const hyb_cpu *cpu;
    const void *op;
    int64_t n_rows, rows_a_chunk;
} hyb_cpu_job;

static hyb_cpu *hyb_cpu_of(hyb_backend *be) { return (hyb_cpu *)be; }

/* The chunks of an op: all that ops of a forward pass do, they do in here. */
static void hyb_cpu_parallel(hyb_backend *be, int n, hyb_chunk_fn fn, void *job)
{
    hyb_pace_run(&hyb_cpu_of(be)->pace, be->rt, n, fn, job);
}

/* Runs fn over n_rows rows of n values each, in chunks of some thousand values. */
static void hyb_cpu_rows(hyb_backend *be, const void *op, int64_t n_rows, int64_t n, hyb_chunk_fn fn)
{
    hyb_cpu_job job;
    job.cpu = hyb_cpu_of(be);
    job.op = op;
    job.n_rows = n_rows;
    job.rows_a_chunk = HYB_MAX(HYB_CPU_SPLIT / HYB_MAX(n, 1), 1);
    hyb_cpu_parallel(be, (int)((n_rows + job.rows_a_chunk - 1) / job.rows_a_chunk), fn, &job);
}
static int64_t hyb_cpu_row_begin(const hyb_cpu_job *job, int chunk) { return chunk * job->rows_a_chunk; }
static int64_t hyb_cpu_row_end(const hyb_cpu_job *job, int chunk)
{
    return HYB_MIN((chunk + 1) * job->rows_a_chunk, job->n_rows);
}
#endif
