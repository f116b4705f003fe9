/* model/repack: the copy of a model's matrices that decode reads instead of the file's blocks, where hybrid_model_desc.repack asks for it: those that
 * run on the host, of a type that the kernels of its processor have a layout for (compute/cpu_int_repack.c). Matrices of experts are left out. */

typedef struct hybrid__repacked {
    char  *data;                           /* NULL: none */
    size_t bytes;
} hybrid__repacked;

/* What is in the copy of t: a multiple of 8. */
static int64_t hybrid__repacked_rows(const hybrid__tensor *t)
{
    return t->ne[1] / HYBRID__REPACK_ROWS * HYBRID__REPACK_ROWS;
}

/* Bytes of the copy of a tensor of the host's table w; 0: it gets none. Rows of an embedding are looked up, not multiplied. */
static size_t hybrid__repacked_bytes_of(const hybrid_runtime *rt, const hybrid__place *place, const hybrid__weights *w, const hybrid__tensor *t)
{
    if (!t->name || t->is_vector || t->ne[2] != 1 || t == &w->embd || t == &w->pos_embd) return 0;
    if (place->gpu && (t == &w->head || hybrid__place_holds(place, w, t))) return 0;
    return hybrid__repack_for(rt->isa, t->type) ? hybrid__align((size_t)hybrid__repacked_rows(t) * t->nb[1], 64) : 0;
}
static size_t hybrid__repacked_bytes(const hybrid_runtime *rt, const hybrid__place *place, hybrid__weights *w, const hybrid__hparams *hp)
{
    const hybrid__tensor *t;
    size_t i, bytes = 0;
    for (i = 0; (t = hybrid__weights_item(w, hp, i)) != NULL; i++) bytes += hybrid__repacked_bytes_of(rt, place, w, t);
    return bytes;
}

typedef struct hybrid__repack_job {
    const hybrid__repack *repack;
    const hybrid__tensor *w;
    char   *to;
    int64_t rows;                          /* of a chunk */
} hybrid__repack_job;
static void hybrid__repack_chunk(void *arg, int chunk, int lane)
{
    const hybrid__repack_job *job = (const hybrid__repack_job *)arg;
    const int64_t r0 = chunk * job->rows, r1 = HYBRID__MIN(r0 + job->rows, hybrid__repacked_rows(job->w));
    HYBRID__UNUSED(lane);
    job->repack->lay((const char *)job->w->data, job->w->nb[1], job->w->ne[0], r0, r1, job->to);
}
static void hybrid__repack_tensor(hybrid_runtime *rt, const hybrid__tensor *t, char *to)
{
    const int64_t rows = hybrid__repacked_rows(t);
    hybrid__repack_job job;
    job.repack = hybrid__repack_for(rt->isa, t->type);
    job.w = t;
    job.to = to;
    job.rows = (rows / 8192 + 1) * HYBRID__REPACK_ROWS;                                /* some 1000 chunks at most */
    hybrid__parallel(rt, (int)((rows + job.rows - 1) / job.rows), hybrid__repack_chunk, &job);
}

/* Makes the copy, with all threads. The weights have been read, and placed. */
static hybrid_result hybrid__repack_weights(hybrid__repacked *copy, hybrid_runtime *rt, hybrid__place *place, hybrid__weights *w, const hybrid__hparams *hp,
                                            bool (*progress)(void *, float), void *user, hybrid_error *error)
{
    const size_t bytes = hybrid__repacked_bytes(rt, place, w, hp);
    hybrid__tensor *t;
    size_t i, n, at = 0;
    if (!bytes) {
        hybrid__log(rt, HYBRID_LOG_INFO, "nothing is repacked: for the matrices that run on the CPU, the %s kernels have no other layout",
                    hybrid__isa_name(rt->isa));
        return HYBRID_OK;
    }
    if (!(copy->data = (char *)hybrid__alloc_aligned(rt, bytes))) return hybrid__fail_memory(error, bytes);
    copy->bytes = bytes;
    for (i = 0; (t = hybrid__weights_item(w, hp, i)) != NULL; i++) {
        if (!(n = hybrid__repacked_bytes_of(rt, place, w, t))) continue;
        hybrid__repack_tensor(rt, t, copy->data + at);
        t->repacked = copy->data + at;
        if (place->gpu) hybrid__weights_item(&place->w, hp, i)->repacked = t->repacked;
        at += n;
        if (!hybrid__report(progress, user, (float)((double)at / (double)bytes)))
            return hybrid__fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    hybrid__log(rt, HYBRID_LOG_INFO, "%llu MB of weights are repacked for decoding", (unsigned long long)(bytes >> 20));
    return HYBRID_OK;
}
