/* train/shape: models from nothing. One is written as the head of a GGUF, in memory; the loader reads its tensors from
 * where there are only zeros, and then every one is filled by its name. So there is one way into a model. */
#ifndef HYB_TRAIN_SHAPE_C
#define HYB_TRAIN_SHAPE_C
#include "../api/shape.h"
#include "../core/grow.c"
#include "../core/random.c"
#include "../gguf/write.c"
#include "../model/model.c"
#ifndef HYBRID_NO_TEXT
    #include "../text/tokenizer/export.c"
#endif

/* A tensor of a shape: sizes by letter. E: n_embd, F: n_ff, Q, K: heads of queries and keys, V: n_vocab, T: n_ctx, 3:
 * q, k and v. */
typedef struct hyb_shape_tensor {
    const char *name;
    char ne0, ne1; /* ne1 0: a vector */
    bool is_layers, is_residual;
} hyb_shape_tensor;

static const hyb_shape_tensor hyb_shape_gpt2[] = {
    { "token_embd.weight", 'E', 'V', false, false },
    { "position_embd.weight", 'E', 'T', false, false },
    { "attn_norm.weight", 'E', 0, true, false },
    { "attn_norm.bias", 'E', 0, true, false },
    { "attn_qkv.weight", 'E', '3', true, false },
    { "attn_qkv.bias", '3', 0, true, false },
    { "attn_output.weight", 'E', 'E', true, true },
    { "attn_output.bias", 'E', 0, true, false },
    { "ffn_norm.weight", 'E', 0, true, false },
    { "ffn_norm.bias", 'E', 0, true, false },
    { "ffn_up.weight", 'E', 'F', true, false },
    { "ffn_up.bias", 'F', 0, true, false },
    { "ffn_down.weight", 'F', 'E', true, true },
    { "ffn_down.bias", 'E', 0, true, false },
    { "output_norm.weight", 'E', 0, false, false },
    { "output_norm.bias", 'E', 0, false, false },
    { NULL, 0, 0, false, false },
};
static const hyb_shape_tensor hyb_shape_llama[] = {
    { "token_embd.weight", 'E', 'V', false, false },
    { "attn_norm.weight", 'E', 0, true, false },
    { "attn_q.weight", 'E', 'Q', true, false },
    { "attn_k.weight", 'E', 'K', true, false },
    { "attn_v.weight", 'E', 'K', true, false },
    { "attn_output.weight", 'Q', 'E', true, true },
    { "ffn_norm.weight", 'E', 0, true, false },
    { "ffn_gate.weight", 'E', 'F', true, false },
    { "ffn_up.weight", 'E', 'F', true, false },
    { "ffn_down.weight", 'F', 'E', true, true },
    { "output_norm.weight", 'E', 0, false, false },
    { "output.weight", 'E', 'V', false, false },
    { NULL, 0, 0, false, false },
};

static bool hyb_shape_is_llama(const hybrid_model_shape *s) { return !strcmp(s->architecture, "llama"); }

static uint64_t hyb_shape_size(const hybrid_model_shape *s, char letter)
{
    const int32_t head = s->n_embd / s->n_head;
    switch (letter) {
    case 'E': return (uint64_t)s->n_embd;
    case 'F': return (uint64_t)s->n_ff;
    case 'Q': return (uint64_t)s->n_embd;
    case 'K': return (uint64_t)s->n_head_kv * (uint64_t)head;
    case 'V': return (uint64_t)s->n_vocab;
    case 'T': return (uint64_t)s->n_ctx;
    case '3': return 3 * (uint64_t)s->n_embd;
    default: return 1;
    }
}

/* ---- sizes ---- */

static hybrid_result hyb_shape_check(const hybrid_model_shape *s, hybrid_error *error)
{
    if (s->n_vocab < 1 || s->n_ctx < 1 || s->n_embd < 1 || s->n_layer < 1 || s->n_head < 1 || s->n_head_kv < 1 ||
        s->n_ff < 1)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_model_create: n_vocab %d, n_ctx %d, n_embd %d, n_layer %d, n_head %d, n_head_kv %d and "
                        "n_ff %d must be at least 1",
                        s->n_vocab, s->n_ctx, s->n_embd, s->n_layer, s->n_head, s->n_head_kv, s->n_ff);
    if (s->n_vocab > (1 << 24) || s->n_ctx > (1 << 20) || s->n_embd > (1 << 16) || s->n_layer > 1024 ||
        s->n_ff > (1 << 20))
        return hyb_fail(error, HYBRID_ERROR_LIMIT,
                        "hybrid_model_create: n_vocab %d may be 16777216 at most, n_ctx %d 1048576, n_embd %d 65536, "
                        "n_layer %d 1024, n_ff %d 1048576",
                        s->n_vocab, s->n_ctx, s->n_embd, s->n_layer, s->n_ff);
    if (s->n_embd % s->n_head || s->n_head % s->n_head_kv || (hyb_shape_is_llama(s) && s->n_embd / s->n_head % 2))
        return hyb_fail(
            error, HYBRID_ERROR_INVALID,
            "hybrid_model_create: n_embd %d must be a multiple of n_head %d (llama: an even one), and n_head "
            "of n_head_kv %d",
            s->n_embd, s->n_head, s->n_head_kv);
    return HYBRID_OK;
}

/* shape with every zero replaced. */
static hybrid_result hyb_shape_defaults(const hybrid_model_shape *shape, hybrid_model_shape *s, hybrid_error *error)
{
    int32_t n_tokens = 0;
    *s = *shape;
    if (!s->architecture) s->architecture = "gpt2";
    if (!s->name) s->name = "model";
    if (strcmp(s->architecture, "gpt2") && !hyb_shape_is_llama(s))
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED,
                        "hybrid_model_create makes models of the architectures \"gpt2\" and \"llama\", not \"%.32s\"",
                        s->architecture);
#ifndef HYBRID_NO_TEXT
    if (!s->tokenizer) return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_model_create: the tokenizer is NULL");
    n_tokens = (int32_t)hybrid_vocab_size(s->tokenizer);
#endif
    if (!s->n_vocab) s->n_vocab = (int32_t)hyb_align((size_t)n_tokens, 64);
    if (s->n_vocab < n_tokens)
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_model_create: n_vocab is %d, but the tokenizer has %d tokens", s->n_vocab, n_tokens);
    if (!s->n_ctx) s->n_ctx = 256;
    if (!s->n_embd) s->n_embd = 384;
    if (!s->n_layer) s->n_layer = 6;
    if (!s->n_head) s->n_head = HYB_MAX(s->n_embd / 64, 1);
    if (!s->n_head_kv) s->n_head_kv = s->n_head;
    if (!s->n_ff && s->n_embd > 0 && s->n_embd <= (1 << 16))
        s->n_ff = hyb_shape_is_llama(s) ? (int32_t)hyb_align((size_t)s->n_embd * 8 / 3, 64) : 4 * s->n_embd;
    return hyb_shape_check(s, error);
}

/* ---- the head of its file ---- */

typedef struct hyb_shape_file {
    hybrid_runtime *rt;
    unsigned char *head;
    size_t size, capacity;
    hybrid_error failure; /* of writing: no memory */
} hyb_shape_file;

static bool hyb_shape_write(void *user, const void *data, size_t n)
{
    hyb_shape_file *f = (hyb_shape_file *)user;
    if (HYB_GROW(f->rt, f->head, f->capacity, f->size, f->size + n, &f->failure)) return false;
    memcpy(f->head + f->size, data, n);
    f->size += n;
    return true;
}
static bool hyb_shape_read_at(void *user, uint64_t offset, void *dst, size_t n)
{
    const hyb_shape_file *f = (const hyb_shape_file *)user;
    const size_t here = offset < f->size ? HYB_MIN(n, f->size - (size_t)offset) : 0;
    if (here) memcpy(dst, f->head + offset, here);
    memset((unsigned char *)dst + here, 0, n - here);
    return true;
}

static void hyb_shape_key(hybrid_gguf_writer *w, const hybrid_model_shape *s, const char *key, int64_t value)
{
    char name[64];
    snprintf(name, sizeof name, "%s.%s", s->architecture, key);
    hybrid_gguf_set_int(w, name, HYBRID_GGUF_U32, value, NULL);
}

/* The writer keeps the first failure. */
static void hyb_shape_keys(hybrid_gguf_writer *w, const hybrid_model_shape *s)
{
    const bool llama = hyb_shape_is_llama(s);
    hybrid_gguf_set_string(w, "general.architecture", s->architecture, NULL);
    hybrid_gguf_set_string(w, "general.name", s->name, NULL);
    hybrid_gguf_set_int(w, "general.file_type", HYBRID_GGUF_U32, 0, NULL); /* F32 */
    hyb_shape_key(w, s, "context_length", s->n_ctx);
    hyb_shape_key(w, s, "embedding_length", s->n_embd);
    hyb_shape_key(w, s, "block_count", s->n_layer);
    hyb_shape_key(w, s, "feed_forward_length", s->n_ff);
    hyb_shape_key(w, s, "attention.head_count", s->n_head);
    if (llama) {
        hyb_shape_key(w, s, "attention.head_count_kv", s->n_head_kv);
        hyb_shape_key(w, s, "rope.dimension_count", s->n_embd / s->n_head);
        hyb_shape_key(w, s, "vocab_size", s->n_vocab);
        hybrid_gguf_set_float(w, "llama.rope.freq_base", HYBRID_GGUF_F32, 1e4, NULL);
        hybrid_gguf_set_float(w, "llama.attention.layer_norm_rms_epsilon", HYBRID_GGUF_F32, (double)1e-5f, NULL);
    } else
        hybrid_gguf_set_float(w, "gpt2.attention.layer_norm_epsilon", HYBRID_GGUF_F32, (double)1e-5f, NULL);
}

/* *bytes: of all tensors, at most. */
static void hyb_shape_tensors(hybrid_gguf_writer *w, const hybrid_model_shape *s, uint64_t *bytes)
{
    const hyb_shape_tensor *t = hyb_shape_is_llama(s) ? hyb_shape_llama : hyb_shape_gpt2;
    int32_t i;
    for (*bytes = 0; t->name; t++) {
        const uint64_t ne[2] = { hyb_shape_size(s, t->ne0), hyb_shape_size(s, t->ne1) };
        if (!strcmp(t->name, "output.weight") && !s->untied_head) continue;
        for (i = 0; i < (t->is_layers ? s->n_layer : 1); i++) {
            char name[64];
            if (t->is_layers)
                snprintf(name, sizeof name, "blk.%d.%s", i, t->name);
            else
                snprintf(name, sizeof name, "%s", t->name);
            hybrid_gguf_add_tensor(w, name, HYBRID_TYPE_F32, t->ne1 ? 2 : 1, ne, NULL);
            *bytes += sizeof(float) * ne[0] * ne[1] + 32;
        }
    }
}

#ifndef HYBRID_NO_TEXT
/* Other programs (llama.cpp) have a row of the embedding for every token and a token for every row: those that the
 * tokenizer does not have are called as llama.cpp's converter calls them, and of the type that no text becomes. */
static hybrid_result hyb_shape_padding(hybrid_gguf_writer *w, const hyb_export *e, int32_t n_vocab, hybrid_error *error)
{
    enum { ROOM = 24, UNUSED = 5 };
    hybrid_runtime *rt = e->t->rt;
    const size_t n = (size_t)n_vocab, had = e->t->n_tokens;
    hybrid_string *tokens = (hybrid_string *)hyb_calloc(rt, n, sizeof *tokens);
    int32_t *types = (int32_t *)hyb_calloc(rt, n, sizeof *types);
    char *names = (char *)hyb_calloc(rt, n - had, ROOM);
    hybrid_result r = HYBRID_OK;
    size_t i;
    if (!tokens || !types || !names) r = hyb_fail_memory(error, n * (sizeof *tokens + sizeof *types + ROOM));
    for (i = 0; i < n && !r; i++) {
        char *name = names + (HYB_MAX(i, had) - had) * ROOM;
        tokens[i].data = i < had ? e->tokens[i].data : name;
        tokens[i].size = i < had ? e->tokens[i].size : (size_t)snprintf(name, ROOM, "[PAD%lu]", (unsigned long)i);
        types[i] = i < had ? e->types[i] : UNUSED;
    }
    if (!r) r = hybrid_gguf_set_strings(w, "tokenizer.ggml.tokens", tokens, n, error);
    if (!r) r = hybrid_gguf_set_numbers(w, "tokenizer.ggml.token_type", HYBRID_GGUF_I32, types, n, error);
    hyb_free(rt, names);
    hyb_free(rt, types);
    hyb_free(rt, tokens);
    return r;
}

static hybrid_result hyb_shape_tokenizer(hybrid_gguf_writer *w, const hybrid_model_shape *s, hybrid_error *error)
{
    hyb_export all;
    hybrid_result r = hybrid_tokenizer_to_gguf(s->tokenizer, w, error);
    if (r || s->n_vocab <= (int32_t)s->tokenizer->n_tokens) return r;
    if ((r = hyb_export_make(&all, s->tokenizer, "hybrid_model_create", error)) != HYBRID_OK) return r;
    r = hyb_shape_padding(w, &all, s->n_vocab, error);
    hyb_export_free(&all);
    return r;
}
#endif

static hybrid_result hyb_shape_file_make(hyb_shape_file *f, const hybrid_model_shape *s, uint64_t *bytes,
                                         hybrid_error *error)
{
    hybrid_gguf_writer *w;
    hybrid_result r = hybrid_gguf_writer_create(f->rt, &w, error);
    if (r) return r;
    hyb_shape_keys(w, s);
#ifndef HYBRID_NO_TEXT
    r = hyb_shape_tokenizer(w, s, error);
#endif
    hyb_shape_tensors(w, s, bytes);
    if (!r) r = hybrid_gguf_begin(w, hyb_shape_write, f, error);
    hybrid_gguf_writer_destroy(w);
    return f->failure.result ? hyb_kept(&f->failure, error) : r;
}

/* ---- weights ---- */

/* About normal, by adding (Irwin and Hall): 8 numbers of 16 bits, whose sum has a variance of 8/12. Exact, so the same
 * everywhere. */
static float hyb_shape_normal(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t r[4], sum = 0;
    int i;
    hyb_philox(seed, stream, counter, r);
    for (i = 0; i < 4; i++) sum += (r[i] & 0xFFFFu) + (r[i] >> 16);
    return ((float)sum - 262140.0f) * (1.0f / 53509.0f); /* 8 * 65535 / 2; 65536 sqrt(8 / 12) */
}

/* Streams go by the place in the file, so a tensor's values depend on nothing else. */
static void hyb_shape_fill(hybrid_model *m, const hybrid_model_shape *s)
{
    const float residual = 0.02f / sqrtf(2 * (float)s->n_layer);
    int32_t i;
    for (i = 1; i < m->weights.n_tensors; i++) {
        const hyb_tensor *t = &m->weights.tensors[i];
        const hybrid_string name = hyb_weights_source(m->gguf, t)->name;
        const float size =
            hyb_string_ends(name, "attn_output.weight") || hyb_string_ends(name, "ffn_down.weight") ? residual : 0.02f;
        float *x = (float *)(void *)(m->weights.owned + ((const unsigned char *)t->data - m->weights.owned));
        const int64_t n = t->ne[0] * t->ne[1];
        int64_t j;
        if (t->same_as) continue;
        for (j = 0; j < n; j++)
            x[j] = !t->is_vector                    ? size * hyb_shape_normal(s->seed, t->source, (uint64_t)j)
                   : hyb_string_ends(name, ".bias") ? 0.0f
                                                    : 1.0f;
    }
}

HYB_BORDER(hybrid_result, hybrid_model_create,
           (hybrid_runtime *runtime, const hybrid_model_shape *shape, hybrid_model **model, hybrid_error *error),
           (runtime, shape, model, error))
{
    hyb_shape_file file;
    hybrid_model_shape s;
    hybrid_model_desc desc;
    uint64_t bytes = 0;
    hybrid_result r;
    if (model) *model = NULL;
    if (!shape || !model)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_model_create: %s is NULL", shape ? "model" : "shape");
    if ((r = hyb_shape_defaults(shape, &s, error)) != HYBRID_OK) return r;
    memset(&file, 0, sizeof file);
    if ((r = hyb_runtime_retain(runtime, &file.rt, error)) != HYBRID_OK) return r;
    r = hyb_shape_file_make(&file, &s, &bytes, error);
    memset(&desc, 0, sizeof desc);
    desc.source.reader.read_at = hyb_shape_read_at;
    desc.source.reader.user = &file;
    desc.source.reader.size = file.size + bytes;
    desc.trainable = true;
    if (!r) r = hybrid_model_load(file.rt, &desc, model, error);
    if (!r) hyb_shape_fill(*model, &s);
    if (!r && (*model)->place.trained) r = hyb_place_upload_trained(&(*model)->place, &(*model)->weights, error);
    if (r) {
        hybrid_model_destroy(*model);
        *model = NULL;
    }
    hyb_free(file.rt, file.head);
    hyb_runtime_release(file.rt);
    return r;
}
#endif
