/* model/repack: the copy of a model's matrices that decode reads instead of the file's blocks, where
 * hybrid_model_desc.repack asks for it: those that run on the host, of a type that the kernels of its processor have a
 * layout for (compute/cpu_int_repack.c). Matrices of experts are left out. */

typedef struct hyb_repacked {
    char *data; /* NULL: none */
    size_t bytes;
} hyb_repacked;

/* What is in the copy of t: a multiple of 8. */
static int64_t hyb_repacked_rows(const hyb_tensor *t) { return t->ne[1] / HYB_REPACK_ROWS * HYB_REPACK_ROWS; }

/* Bytes of the copy of a tensor of the host's table w; 0: it gets none. Rows of an embedding are looked up, not
 * multiplied. */
static size_t hyb_repacked_bytes_of(const hybrid_runtime *rt, const hyb_place *place, const hyb_weights *w,
                                    const hyb_tensor *t)
{
    if (!t->name || t->is_vector || t->ne[2] != 1 || t == &w->embd || t == &w->pos_embd) return 0;
    if (place->gpu && (t == &w->head || hyb_place_holds(place, w, t))) return 0;
    return hyb_repack_for(rt->isa, t->type) ? hyb_align((size_t)hyb_repacked_rows(t) * t->nb[1], 64) : 0;
}
static size_t hyb_repacked_bytes(const hybrid_runtime *rt, const hyb_place *place, hyb_weights *w,
                                 const hyb_hparams *hp)
{
    const hyb_tensor *t;
    size_t i, bytes = 0;
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++) bytes += hyb_repacked_bytes_of(rt, place, w, t);
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
static hybrid_result hyb_repack_weights(hyb_repacked *copy, hybrid_runtime *rt, hyb_place *place, hyb_weights *w,
                                        const hyb_hparams *hp, bool (*progress)(void *, float), void *user,
                                        hybrid_error *error)
{
    const size_t bytes = hyb_repacked_bytes(rt, place, w, hp);
    hyb_tensor *t;
    size_t i, n, at = 0;
    if (!bytes) {
        hyb_log(rt, HYBRID_LOG_INFO,
                "nothing is repacked: for the matrices that run on the CPU, the %s kernels have no other layout",
                hyb_isa_name(rt->isa));
        return HYBRID_OK;
    }
    if (!(copy->data = (char *)hyb_alloc_aligned(rt, bytes))) return hyb_fail_memory(error, bytes);
    copy->bytes = bytes;
    for (i = 0; (t = hyb_weights_item(w, hp, i)) != NULL; i++) {
        if (!(n = hyb_repacked_bytes_of(rt, place, w, t))) continue;
        hyb_repack_tensor(rt, t, copy->data + at);
        t->repacked = copy->data + at;
        if (place->gpu) hyb_weights_item(&place->w, hp, i)->repacked = t->repacked;
        at += n;
        if (!hyb_report(progress, user, (float)((double)at / (double)bytes)))
            return hyb_fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    hyb_log(rt, HYBRID_LOG_INFO, "%llu MB of weights are repacked for decoding", (unsigned long long)(bytes >> 20));
    return HYBRID_OK;
}
