/* model/repack: the copy of a model's matrices that decode reads instead of the file's blocks, where
 * hybrid_model_desc.repack asks for it: those that run on the host, of a type that the kernels of its processor have a
 * layout for (compute/cpu/int/repack.c). Matrices of experts are left out. */
#ifndef HYB_MODEL_REPACK_C
#define HYB_MODEL_REPACK_C
#include "../compute/cpu/int/repack.c"
#include "place.c"

typedef struct hyb_repacked {
    char *data; /* NULL: none */
    size_t bytes;
} hyb_repacked;

/* What is in the copy of t: a multiple of 8. */
static int64_t hyb_repacked_rows(const hyb_tensor *t) { return t->ne[1] / HYB_REPACK_ROWS * HYB_REPACK_ROWS; }

/* Bytes of the copy of tensor i of the host's table; 0: it gets none. Rows of an embedding are looked up, not
 * multiplied. */
static size_t hyb_repacked_bytes_of(const hybrid_runtime *rt, const hyb_place *place, const hyb_net *net,
                                    const hyb_weights *w, hyb_weight i)
{
    const hyb_tensor *t = &w->tensors[i];
    if (t->is_vector || t->ne[2] != 1 || i == net->embd || i == net->pos_embd || i == net->types) return 0;
    if (place->gpu && (i == net->head || hyb_place_holds(place, net, w, i))) return 0;
    return hyb_repack_for(rt->isa, t->type) ? hyb_align((size_t)hyb_repacked_rows(t) * t->nb[1], 64) : 0;
}
static size_t hyb_repacked_bytes(const hybrid_runtime *rt, const hyb_place *place, const hyb_net *net,
                                 const hyb_weights *w)
{
    size_t bytes = 0;
    int32_t i;
    for (i = 1; i < w->n_tensors; i++) bytes += hyb_repacked_bytes_of(rt, place, net, w, i);
    return bytes;
}

typedef struct hyb_repack_job {
    const hyb_repack *repack;
    const hyb_tensor *w;
    char *to;
    int64_t rows; /* of a chunk */
} hyb_repack_job;
static void hyb_repack_chunk(void *arg, int chunk, int lane)
{
    const hyb_repack_job *job = (const hyb_repack_job *)arg;
    const int64_t r0 = chunk * job->rows, r1 = HYB_MIN(r0 + job->rows, hyb_repacked_rows(job->w));
    HYB_UNUSED(lane);
    job->repack->lay((const char *)job->w->data, job->w->nb[1], job->w->ne[0], r0, r1, job->to);
}
static void hyb_repack_tensor(hybrid_runtime *rt, const hyb_tensor *t, char *to)
{
    const int64_t rows = hyb_repacked_rows(t);
    hyb_repack_job job;
    job.repack = hyb_repack_for(rt->isa, t->type);
    job.w = t;
    job.to = to;
    job.rows = (rows / 8192 + 1) * HYB_REPACK_ROWS; /* some 1000 chunks at most */
    hyb_parallel(rt, (int)((rows + job.rows - 1) / job.rows), hyb_repack_chunk, &job);
}

/* Makes the copy, with all threads. The weights have been read, and placed. */
static hybrid_result hyb_repack_weights(hyb_repacked *copy, hybrid_runtime *rt, hyb_place *place, const hyb_net *net,
                                        hyb_weights *w, bool (*progress)(void *, float), void *user,
                                        hybrid_error *error)
{
    const size_t bytes = hyb_repacked_bytes(rt, place, net, w);
    size_t n, at = 0;
    int32_t i;
    if (!bytes) {
        hyb_log(rt, HYBRID_LOG_INFO,
                "nothing is repacked: the %s kernels have no other layout for the matrices that run on the CPU",
                hyb_isa_name(rt->isa));
        return HYBRID_OK;
    }
    if (!(copy->data = (char *)hyb_alloc_streamed(rt, bytes))) return hyb_fail_memory(error, bytes);
    copy->bytes = bytes;
    for (i = 1; i < w->n_tensors; i++) {
        if (!(n = hyb_repacked_bytes_of(rt, place, net, w, i))) continue;
        hyb_repack_tensor(rt, &w->tensors[i], copy->data + at);
        w->tensors[i].repacked = copy->data + at;
        if (place->gpu) place->tensors[i].repacked = copy->data + at;
        at += n;
        if (!hyb_report(progress, user, (float)((double)at / (double)bytes)))
            return hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    hyb_log(rt, HYBRID_LOG_INFO, "%llu MB of weights are repacked for decoding", (unsigned long long)(bytes >> 20));
    return HYBRID_OK;
}
#endif
