/* model/identity: by what a saved game knows its model and its adapters again. Sums of hashes, one a key or tensor, so
 * that the order of a file does not count; a file that was split, or copied to another place, is the same model. */
#ifndef HYB_MODEL_IDENTITY_C
#define HYB_MODEL_IDENTITY_C
#include "adapter.c"
#include "model.c"

/* One more thing for a hash that has seen others. */
static uint64_t hyb_identity_add(uint64_t hash, const void *data, size_t n)
{
    hyb_hash_key key;
    key.k0 = hash;
    key.k1 = n;
    return hyb_hash(&key, data, n);
}

/* Bytes of a tensor: all of a small one; of others a few from beginning to end, since a file of gigabytes is not read
 * to save a game. Whoever trains a model changes nearly all of its values. */
static uint64_t hyb_identity_samples(uint64_t hash, const void *data, size_t bytes)
{
    enum { SPANS = 8, SPAN = 64, SMALL = 4096 };
    size_t i;
    if (bytes <= SMALL) return hyb_identity_add(hash, data, bytes);
    for (i = 0; i < SPANS; i++)
        hash = hyb_identity_add(hash, (const char *)data + (bytes - SPAN) / (SPANS - 1) * i, SPAN);
    return hash;
}

static uint64_t hyb_identity_tensor(const hybrid_gguf *gguf, const hyb_tensor *t)
{
    const hybrid_string name = hyb_weights_source(gguf, t)->name;
    uint64_t numbers[5], hash = hyb_identity_add(1, name.data, name.size);
    int i;
    for (i = 0; i < 4; i++) numbers[i] = (uint64_t)t->ne[i];
    numbers[4] = (uint64_t)t->type;
    hash = hyb_identity_add(hash, numbers, sizeof numbers);
    return hyb_identity_samples(hash, t->data, hyb_weight_bytes(t));
}

/* Whether a key says something about what the model computes. */
static bool hyb_identity_counts(hybrid_string key)
{
    static const char general[] = "general.", architecture[] = "general.architecture";
    if (key.size < sizeof general - 1 || memcmp(key.data, general, sizeof general - 1)) return true;
    return key.size == sizeof architecture - 1 && !memcmp(key.data, architecture, key.size);
}

static uint64_t hyb_identity_keys(const hybrid_gguf *gguf)
{
    const size_t n = hybrid_gguf_key_count(gguf);
    uint64_t sum = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        hybrid_gguf_value value;
        const hybrid_string key = hybrid_gguf_key(gguf, i, &value);
        uint64_t hash = hyb_identity_add(2, key.data, key.size), type = (uint64_t)value.type;
        if (!hyb_identity_counts(key)) continue;
        hash = hyb_identity_add(hash, &type, sizeof type);
        sum += hyb_identity_add(hash, value.data, (size_t)value.size);
    }
    return sum;
}

/* Never 0. Computed once, unless the weights are trained. */
static uint64_t hyb_model_identity(hybrid_model *m)
{
    uint64_t sum = hyb_atomic_load(&m->identity);
    int32_t i;
    if (sum) return sum;
    sum = hyb_identity_keys(m->gguf);
    for (i = 1; i < m->weights.n_tensors; i++)
        if (!m->weights.tensors[i].same_as) sum += hyb_identity_tensor(m->gguf, &m->weights.tensors[i]);
    sum += !sum;
    if (!m->trainable) hyb_atomic_store(&m->identity, sum);
    return sum;
}

/* All values of an adapter, which is small, and what they are for. */
static uint64_t hyb_adapter_identity(const hybrid_adapter *adapter)
{
    uint64_t sum = 0;
    int32_t i;
    for (i = 0; i < adapter->n_pairs; i++) {
        const hyb_adapter_pair *p = &adapter->pairs[i];
        const hybrid_string name =
            hyb_weights_source(adapter->model->gguf, &adapter->model->weights.tensors[p->w])->name;
        uint64_t hash = hyb_identity_add(3, name.data, name.size);
        hash = hyb_identity_add(hash, &p->scale, sizeof p->scale);
        hash = hyb_identity_add(hash, adapter->values + p->a_at, sizeof(float) * hyb_adapter_count(&p->a));
        sum += hyb_identity_add(hash, adapter->values + p->b_at, sizeof(float) * hyb_adapter_count(&p->b));
    }
    return sum;
}
#endif
