/* model/unused: tensors of the file that the model is not computed with.
 *
 * Few of them are harmless; they are named in the log. For any other the model is refused: without it the answers
 * would be those of another model, and nobody would notice. */
#ifndef HYB_MODEL_UNUSED_C
#define HYB_MODEL_UNUSED_C
#include "weights.c"

typedef struct hyb_unused {
    hybrid_runtime *rt;
    hybrid_gguf *gguf;
    const hyb_hparams *hp;
    hybrid_error *error;
    hybrid_error failure; /* of reading values; what is wrong with them goes to error */
} hyb_unused;

/* The values of a short vector; the caller frees them. NULL: not F32, F16 or BF16, too long, or a failure
 * (u->failure). */
static float *hyb_unused_values(hyb_unused *u, const hybrid_gguf_tensor *t)
{
    enum { MOST = 65536 };
    const size_t n = (size_t)t->ne[0];
    float *values;
    if (!hyb_is_vector_type(t->type) || t->ne[0] > MOST || t->ne[1] * t->ne[2] * t->ne[3] != 1) return NULL;
    if (!(values = (float *)hyb_alloc(u->rt, n * sizeof *values))) {
        hyb_fail_memory(&u->failure, n * sizeof *values);
        return NULL;
    }
    if (!hyb_floats_read(u->gguf, t, (unsigned char *)values, &u->failure)) return values;
    hyb_free(u->rt, values);
    return NULL;
}

/* Divisors of rope frequencies that this model does not use: harmless when all are 1. */
static bool hyb_unused_ones(hyb_unused *u, const hybrid_gguf_tensor *t)
{
    float *values = hyb_unused_values(u, t);
    bool good = values != NULL;
    size_t i;
    for (i = 0; good && i < t->ne[0]; i++) good = values[i] == 1;
    hyb_free(u->rt, values);
    return good;
}

/* Frequencies that a training program kept: harmless when they are those that the model is computed with. */
static bool hyb_unused_frequencies(hyb_unused *u, const hybrid_gguf_tensor *t)
{
    const int n_rot = u->hp->n_rot;
    const double part = t->type == HYBRID_TYPE_F32 ? 1e-4 : 1e-2, most = t->type == HYBRID_TYPE_F16 ? 6e-8 : 0;
    float *values;
    bool good;
    int i;
    if (!n_rot || t->ne[0] != (uint64_t)n_rot / 2) return false;
    values = hyb_unused_values(u, t);
    good = values != NULL;
    for (i = 0; good && i < n_rot / 2; i++) {
        const double want = pow(u->hp->rope_base, -2.0 * i / n_rot);
        good = fabs(values[i] - want) <= want * part + most;
    }
    hyb_free(u->rt, values);
    return good;
}

static bool hyb_unused_vision(const hyb_unused *u, hybrid_string name)
{
    char key[HYB_KEY_ROOM];
    if (!hyb_string_begins(name, "v.") && !hyb_string_begins(name, "mm.")) return false;
    snprintf(key, sizeof key, "%s.vision.block_count", u->hp->arch->name);
    return hybrid_gguf_find(u->gguf, key, NULL);
}

/* The tensors that would mix the values of RWKV-7's first layer with its own: converters write them, too. */
static bool hyb_unused_first_values(const hyb_unused *u, hybrid_string name)
{
    return u->hp->arch->mixer == HYB_PART_TIME_MIX &&
           (hyb_string_is(name, "blk.0.time_mix_v0.weight") || hyb_string_is(name, "blk.0.time_mix_v1.weight") ||
            hyb_string_is(name, "blk.0.time_mix_v2.weight"));
}

/* What a checkpoint holds beside the model (train/checkpoint). */
static bool hyb_unused_training(const hybrid_gguf *gguf, hybrid_string name)
{
    return hyb_string_begins(name, "hybrid.") && hybrid_gguf_find(gguf, "hybrid.checkpoint.version", NULL);
}

/* Why a tensor may be left out; NULL: it may not. This is the whole list. */
static const char *hyb_unused_harmless(hyb_unused *u, const hybrid_gguf_tensor *t)
{
    const hybrid_string name = t->name;
    const bool square = t->ne[0] > 1 && t->ne[0] == t->ne[1] && t->ne[2] * t->ne[3] == 1;
    const bool single = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3] == 1;
    if (!t->ne[0] || !t->ne[1] || !t->ne[2] || !t->ne[3]) return "it holds no values";
    if (hyb_string_is(name, "rope_freqs.weight") || hyb_string_is(name, "rope_factors_long.weight") ||
        hyb_string_is(name, "rope_factors_short.weight"))
        return hyb_unused_ones(u, t) ? "it divides the frequencies by 1" : NULL;
    if (hyb_string_ends(name, ".attn_rot_embd.weight") || hyb_string_ends(name, ".rotary_emb.inv_freq") ||
        hyb_string_is(name, "rope.freqs"))
        return hyb_unused_frequencies(u, t) ? "its frequencies are those that the keys give" : NULL;
    if (hyb_unused_first_values(u, name)) return "the values of the first layer are not mixed with others";
    if ((hyb_string_ends(name, ".attn.bias") || hyb_string_ends(name, ".attention.bias")) && square)
        return "a mask that was kept from training";
    if ((hyb_string_ends(name, ".attn.masked_bias") || hyb_string_ends(name, ".attention.masked_bias")) && single)
        return "a mask's value that was kept from training";
    if (hyb_unused_vision(u, name)) return "it belongs to the half of the model that sees; text is computed without it";
    return NULL;
}

/* The number of the layer in a name; -1: there is none. */
static long hyb_unused_layer(hybrid_string name)
{
    long layer = 0;
    size_t i;
    if (!hyb_string_begins(name, "blk.")) return -1;
    for (i = 4; i < name.size && i < 13 && name.data[i] >= '0' && name.data[i] <= '9'; i++)
        layer = layer * 10 + (name.data[i] - '0');
    return i > 4 ? layer : -1;
}

static hybrid_result hyb_unused_refuse(const hyb_unused *u, const hybrid_gguf_tensor *t)
{
    const hybrid_string name = t->name;
    const char *what = "hybrid's models of this architecture do not have it";
    const long layer = hyb_unused_layer(name);
    char text[64];
    hyb_printable(name, text);
    if (layer >= u->hp->n_layer)
        return hyb_fail_at(u->error, HYBRID_ERROR_UNSUPPORTED, t->offset,
                           "the model has a tensor '%s' of layer %ld, but its key '%s.block_count' says that "
                           "there are %d layers: hybrid would leave it out, and the answers would be wrong",
                           text, layer, u->hp->arch->name, u->hp->n_layer);
    if (hyb_string_ends(name, "scale"))
        what = "factors beside a matrix are not supported";
    else if (hyb_string_ends(name, "sinks.weight") || hyb_string_ends(name, "sinks"))
        what = "attention sinks are not supported";
    else if (hyb_string_ends(name, ".bias"))
        what = "a bias at this place is not supported";
    else if (hyb_string_begins(name, "rope_f"))
        what = "it contradicts the keys that say how positions are stretched";
    else if (hyb_string_begins(name, "cls"))
        what = "classifiers are not supported";
    else if (hyb_string_ends(name, ".lora_a") || hyb_string_ends(name, ".lora_b"))
        what = "adapters (LoRA) are not supported yet";
    return hyb_fail_at(u->error, HYBRID_ERROR_UNSUPPORTED, t->offset,
                       "the model has a tensor '%s', which hybrid does not compute with (%s): the answers "
                       "would be wrong without it",
                       text, what);
}

/* Judges the tensors that hyb_net_find did not mark. */
static hybrid_result hyb_weights_settle(hybrid_runtime *rt, hybrid_gguf *gguf, const hyb_hparams *hp, hyb_weights *w,
                                        hybrid_error *error)
{
    const size_t n = hybrid_gguf_tensor_count(gguf);
    hyb_unused u;
    size_t i;
    u.rt = rt;
    u.gguf = gguf;
    u.hp = hp;
    u.error = error;
    u.failure.result = HYBRID_OK;
    for (i = 0; i < n; i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(gguf, i);
        const char *reason;
        char text[64];
        if (w->used[i] || hyb_unused_training(gguf, t->name)) continue;
        reason = hyb_unused_harmless(&u, t);
        if (u.failure.result) return hyb_kept(&u.failure, error);
        if (!reason) return hyb_unused_refuse(&u, t);
        hyb_log(rt, HYBRID_LOG_INFO, "the tensor '%s' is not computed with: %s", hyb_printable(t->name, text), reason);
    }
    hyb_free(rt, w->used);
    w->used = NULL;
    return HYBRID_OK;
}
#endif
