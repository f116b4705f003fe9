/* ---- engine: batches of (sequence, tokens), logits, the KV cache ------------------------------------------------- */
#ifndef HYB_API_CONTEXT_H
#define HYB_API_CONTEXT_H
#include "model.h"

/* Equal results. The logits of a token depend on the model, on the tokens before it and on the type of the cache: not
 * on the number of threads, nor on how the tokens are cut into batches, nor on which other sequences share a batch, nor
 * on the optimisation level of the compiler. Every sum has one order (src/compute/NUMERICS.md), and all instruction
 * sets keep it: scalar, AVX2 and AVX-512 give the same bits.
 * Tested by tests/test_replay.c: one hash of all logits over threads 1, 2, 3, 8, three ways to cut the batch, alone and
 * beside others, for F32, Q8_0 and Q4_K weights. Not promised: -ffast-math (refused), compilers told to contract a * b
 * + c behind our back; and a GPU, which is as exact, but takes other kernels for batches of other sizes: there
 * logits of the same token differ in the last places that the weights' type has. */

typedef struct hybrid_context hybrid_context;

/* How the keys and values of past tokens are kept. Q8_0 halves the memory of F16 and needs head sizes that are
 * multiples of 32. */
typedef enum hybrid_kv { HYBRID_KV_F16 = 0, HYBRID_KV_Q8_0 = 1, HYBRID_KV_F32 = 2 } hybrid_kv;

/* Delivers an intermediate result: name ("embd", "attn_norm", "q", ..., "l_out", "result_norm", "logits"), layer (-1:
 * none), n_rows rows (tokens of the batch) of n_cols values, row_stride values apart. data is valid during the call. */
typedef void (*hybrid_trace_fn)(void *user, const char *name, int32_t layer, const float *data, int64_t n_rows,
                                int64_t n_cols, int64_t row_stride);

typedef struct hybrid_context_desc {
    int32_t n_ctx;    /* positions, over all sequences; 0: the model's, at most 4096. More for each than it
                       * was trained on is a warning in the log */
    int32_t n_seq;    /* sequences: ids 0..n_seq-1; 0: 1 */
    int32_t n_batch;  /* tokens that go through a layer together; 0: 512. More is not faster, fewer save memory */
    int32_t n_logits; /* rows of logits that one decode can keep; 0: n_seq */
    hybrid_kv kv;
    int32_t n_candidates; /* with a GPU: of each row only the n_candidates (at most 256) largest logits come to the host
                           * at once, which is what hybrid_sample_next may need; hybrid_logits fetches the others when
                           * it is called. 0: all logits, always */
    int32_t adapter_rank; /* rows for adapters up to this rank are taken at once; 0: when one is first worn */
    hybrid_trace_fn trace; /* proves parity with other implementations, layer by layer */
    void *trace_user;
} hybrid_context_desc;

/* A context belongs to one thread at a time; several contexts of one model may run at once. */
HYBRID_API hybrid_result hybrid_context_create(hybrid_model *model, const hybrid_context_desc *desc,
                                               hybrid_context **context, hybrid_error *error);
HYBRID_API void hybrid_context_destroy(hybrid_context *context);
/* The descriptor with every zero replaced by what is used. */
HYBRID_API void hybrid_context_describe(const hybrid_context *context, hybrid_context_desc *desc);

/* With a GPU: compiles the kernels that this context can need, or takes them from the cache, so that the first decode
 * does not wait for them (some seconds once per machine). progress may be NULL. On the CPU there is nothing to do.
 * HYBRID_ERROR_DEVICE: kernels cannot be had; the context then runs on the CPU. */
HYBRID_API hybrid_result hybrid_warmup(hybrid_context *context, hybrid_progress_fn progress, void *user,
                                       hybrid_error *error);

/* Queues n tokens after the end of a sequence for the next decode; a mix of prompts and single tokens is fine. Copies
 * ids.
 * INVALID: a bad sequence or token id, or a sequence whose tokens in the batch are followed by another's.
 * CONTEXT_FULL: more than n_ctx tokens queued. Nothing is queued on failure. */
HYBRID_API hybrid_result hybrid_batch_add(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n,
                                          hybrid_error *error);
/* The same, keeping the logits of the last n_logits tokens instead of the last one (0: none). LIMIT: more rows than
 * the descriptor's n_logits; INVALID: a negative number of them. */
HYBRID_API hybrid_result hybrid_batch_add_logits(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n,
                                                 int32_t n_logits, hybrid_error *error);
/* Forgets what is queued. */
HYBRID_API void hybrid_batch_clear(hybrid_context *context);

/* Runs the queued tokens through the model. When it fails, the sequences are as they were and the batch stays queued
 * (on CONTEXT_FULL remove something and call again, or clear it). Room is checked before anything is written; what can
 * fail after that is a GPU, and then the memory for going on without it: logits of earlier decodes are gone in that
 * case only. */
HYBRID_API hybrid_result hybrid_decode(hybrid_context *context, hybrid_error *error);

/* The same in slices: works for about budget_us microseconds (at least a part of an operation for each thread; a layer
 * where a trace looks on), then returns OK with *done false; call again to go on. Until it is done, sequences are as
 * before. hybrid_batch_clear gives up a decode that is under way; there are no logits then.
 * On a GPU a chunk of n_batch tokens is the smallest slice, and a GPU that fails is made up for in one slice: choose
 * a small n_batch there. */
HYBRID_API hybrid_result hybrid_decode_step(hybrid_context *context, uint64_t budget_us, bool *done,
                                            hybrid_error *error);

/* n_vocab logits of the sequence's last token in the last decode; NULL when it had none (or when a GPU failed that held
 * them: the next decode goes on without it). Valid until the next decode. */
HYBRID_API const float *hybrid_logits(hybrid_context *context, int32_t seq);
/* Row i of the rows that hybrid_batch_add_logits asked for. */
HYBRID_API const float *hybrid_logits_at(hybrid_context *context, int32_t seq, int32_t i);

/* Tokens in a sequence (decoded ones); -1 for a bad id. */
HYBRID_API int32_t hybrid_seq_length(const hybrid_context *context, int32_t seq);
/* Removes the tokens from position `from` to the end; from 0 empties the sequence. UNSUPPORTED: the model's state
 * cannot be cut there, see hybrid_seq_back. */
HYBRID_API hybrid_result hybrid_seq_remove(hybrid_context *context, int32_t seq, int32_t from, hybrid_error *error);
/* The largest position up to `from` at which the sequence can be cut: from itself for most models. Models that carry a
 * recurrent state from token to token (hybrid_model_info.is_recurrent) can be cut where the sequence ends, where it
 * ended before its last decode (unless it was cut there since), and at 0. -1 for a bad id or a negative from. */
HYBRID_API int32_t hybrid_seq_back(const hybrid_context *context, int32_t seq, int32_t from);
/* Makes `to` a copy of `from`. The cache is shared until one of them writes: it costs one page at most. */
HYBRID_API hybrid_result hybrid_seq_fork(hybrid_context *context, int32_t from, int32_t to, hybrid_error *error);
/* Positions that could still be written, counted in whole pages. */
HYBRID_API int32_t hybrid_context_room(const hybrid_context *context);

/* Where the time of the decodes went: a table of lines (op, calls, seconds, share, GB read and written, GB/s; the
 * longest first), one for each device that layers run on. Fills text with its first size - 1 characters and a zero, and
 * returns the length of the whole, as snprintf does. Only an implementation compiled with HYBRID_PROFILE counts: it
 * waits for every op, and a GPU goes without graphs, so a decode is slower than without.
 * Compiled without, it costs nothing, and the text is a sentence that says so. With HYBRID_PROFILE=2 every op is a line
 * of the log, too (debug).
 *
 *     char text[2048];
 *     hybrid_context_profile(context, text, sizeof text);
 *     puts(text);
 */
HYBRID_API size_t hybrid_context_profile(const hybrid_context *context, char *text, size_t size);
/* Counts from zero again. */
HYBRID_API void hybrid_context_profile_reset(hybrid_context *context);

/* ---- memory plan ------------------------------------------------------------------------------------------------- */

typedef struct hybrid_memory_plan {
    uint64_t mapped;  /* bytes of the file used in place: shared, and dropped by the system under pressure */
    uint64_t weights; /* bytes of weights in own memory */
    uint64_t model;   /* bytes of everything else that a loaded model keeps: keys, tokenizer, template */
    uint64_t kv;      /* bytes of the KV cache */
    uint64_t compute; /* bytes of activations, logits and scratch */
    uint64_t total;   /* weights + model + kv + compute: what hybrid allocates of the host's memory */
    uint64_t device_weights, device_kv, device_compute; /* bytes of the GPU's memory */
    uint64_t device;                                    /* their sum */
    int32_t n_layer_device;                             /* layers that run on the GPU */
} hybrid_memory_plan;

/* What loading the model and creating a context of it would allocate, without reading the weights. Equal to what is
 * then used, apart from the runtime (a few KB), threads' stacks and, with a GPU, the pinned memory of its copies (up
 * to 16 MB for loading, 8 MB a context). Grammars come on top: see hybrid_lexicon and hybrid_matcher_create. */
HYBRID_API hybrid_result hybrid_plan(hybrid_runtime *runtime, const hybrid_model_desc *model,
                                     const hybrid_context_desc *context, hybrid_memory_plan *plan, hybrid_error *error);
#endif
