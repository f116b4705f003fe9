/* hybrid 0.1.0: runs language models (GGUF files) inside your program. One header, plain C99 or C++11, no dependencies.
 *
 * MADE FROM src/ BY amalgamate.py (source id ee20f713b07f5ce2): edit there, not here.
 *
 * QUICK START. A whole program (app.c); build it with: cc app.c -lm
 *
 *     #define HYBRID_IMPLEMENTATION
 *     #include "hybrid.h"
 *     #include <stdio.h>
 *
 *     int main(int argc, char **argv)
 *     {
 *         hybrid_error err;
 *         hybrid_model *model;
 *         hybrid_session *chat;
 *         if (hybrid_model_load(NULL, &(hybrid_model_desc){ .path = argc > 1 ? argv[1] : "" }, &model, &err) ||
 *             hybrid_session_create(model, &(hybrid_session_desc){ .system = "Answer briefly." }, &chat, &err))
 *             return fprintf(stderr, "%s\n", err.message), 1;
 *         hybrid_session_say(chat, "Why is the sky blue?");
 *         for (const char *piece; (piece = hybrid_session_next(chat)) != NULL; ) fputs(piece, stdout), fflush(stdout);
 *         hybrid_session_destroy(chat);
 *         hybrid_model_destroy(model);
 *     }
 *
 * HYBRID_IMPLEMENTATION belongs into exactly one C or C++ file; every other file that uses hybrid only includes it.
 *
 * LICENCE. MIT-0 or public domain, as you prefer; the text stands at the end of this file.
 *
 * RULES OF THE LIBRARY. It never aborts, exits or prints. Every fallible call returns a hybrid_result (0 is success) and fills a
 * hybrid_error, if you pass one, with a sentence. Every _desc struct may be zero: zero is the default. Every _destroy accepts NULL.
 * No global state: objects hang off a hybrid_runtime, NULL gives a default one. Model files are treated as hostile input.
 *
 * OPTIONS, defined before the #include of the implementation (those marked * before every #include):
 *   HYBRID_API *           your linkage: __declspec(dllexport), a visibility attribute...
 *   HYBRID_STATIC *        everything is static in your file
 *   HYBRID_NO_MMAP         files are read, not mapped
 *   HYBRID_NO_SIMD         plain C only
 *   HYBRID_NO_STDIO        no files by path: memory and reader callbacks only
 *   HYBRID_NO_THREADS      everything runs on the calling thread (or on your parallel_for)
 *
 * CONTENTS (line, file)
 *
 *   src/api: the public interface, documented
 *      138  base.h             version, linkage, results, errors, allocator, log
 *      235  runtime.h          what models and sessions share: memory, log, worker threads
 *      264  quant.h            names, sizes, encode, decode
 *      329  gguf.h             what is in a model file, and writing one
 *      473  tokenizer.h        text to tokens and back
 *      587  model.h            load, describe
 *      631  context.h          batches of (sequence, tokens), logits, the KV cache
 *      705  sampler.h          from logits to the next token
 *      753  session.h          a conversation
 *
 *   src/core: errors, memory, threads, files, processor features, random numbers
 *      817  begin.h            opens the implementation: system headers, and what the compilers are told about this part of...
 *      876  base.c             what every room uses: macros of compilers, results, errors, checked sizes
 *      950  number.c           half and brain floats, bit casts, loads of little-endian bytes at any alignment
 *      999  thread.c           atomics, threads, and the worker pool
 *     1278  cpu.c              what this processor and its operating system can do
 *     1346  runtime.c          the object that everything hangs off: memory, log, workers
 *     1492  file.c             bytes from a path (mapped where the system can), from memory, or from the host's callbacks
 *     1644  random.c           Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"...
 *    13726  end.h              closes what core/begin opened
 *
 *   src/gguf: reading, checking and writing model files
 *     1674  names.c            names that must differ, found by hash
 *     1774  value.c            the 13 types of metadata values and their items
 *     1890  scan.c             a walk over the metadata, which checks every length before it is believed
 *     2093  read.c             opens a GGUF file: header, keys, tensors, and every rule of the format that a reader can check
 *     2460  output.c           a file that appears under its name only when it is complete
 *     2559  write.c            makes a GGUF file
 *
 *   src/quant: formats of numbers, a file a family
 *     3040  blocks.c           how the bytes of every quantized type lie in a file, and nothing else
 *     3121  search.c           what the encoders share: the search for the scale (and offset) of a block
 *     3420  floats.c           the types that are plain numbers
 *     3459  legacy.c           the types of 32 values a block: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0. Layouts: quant/blocks
 *     3652  k_affine.c         super-blocks whose sub-blocks have a scale and a minimum, value = d * scale * q - dmin * min:...
 *     3880  k_symmetric.c      super-blocks whose values lie around zero, value = d * scale * q: Q3_K Q6_K. Layouts: quant/b...
 *     4020  types.c            the table of all types, and the public functions over it
 *     4121  convert.c          whole matrices from one type to another, by all threads of a runtime
 *     4190  mix.c              which type each tensor of a model gets in a mix like Q4_K_M. The rules are llama.cpp's, so th...
 *
 *   src/text: Unicode, tokenizers, chat templates
 *     4363  unicode_data.c     made by tests/oracle/make_unicode.py from the Unicode Character Database 16.0.0; do not edit
 *     4608  unicode.c          UTF-8, the classes of code points that pre-tokenizers speak of, and a stream that never shows...
 *     4749  pretokenize.c      cuts text into the words inside which BPE merges
 *     5159  vocab.c            the tables of a tokenizer: the bytes of every token, the way from bytes to token, the merges,...
 *     5535  special.c          tokens that are not made by merging: what they are for, which of them end an answer, and find...
 *     5710  bpe.c              the merging
 *     6001  tokenizer.c        making tokenizers, text to ids, ids to text
 *     6290  tokenizer_gguf.c   the tokenizer that a model file carries, in the keys tokenizer.ggml.*.
 *     6418  stop.c             finds strings that end an answer in bytes that come in pieces
 *
 *   src/compute: the table of operations, and its kernels for each instruction set
 *     6585  backend.c          the seam between models and devices: tensors, and one table of operations that every back end...
 *     6718  target.c           the marks of functions that use instructions beyond the compiler's flags
 *     6733  trig.c             sine and cosine in double, for tables of rotations: the same bits on every machine, whatever...
 *     6758  cpu_kernels.c      what the CPU back end needs of an instruction set besides matrix products: one table of row f...
 *     6830  cpu_generic.c      every row function in scalar C: the statement of NUMERICS.md that the fast ones are compared...
 *     7180  matmul_kernel.c    what a matrix product needs of one weight type on one ISA: two ways to prepare activations, a...
 *     7209  cpu_int_unpack.c   one block of every integer type as plain integers: what the scalar kernels multiply, and the...
 *     7317  cpu_int_act.c      activations as 8-bit integers, in natural order: what the gemm of every ISA reads
 *     7387  cpu_int_generic.c  products with integer blocks in scalar C. This states the order of every sum (NUMERICS.md); e...
 *     7482  cpu_int_avx512.c   decode (one row of activations) with AVX-512 and VNNI, straight from the blocks of the file
 *     7850  cpu_int_panel.c    prefill with AVX-512: activations and weights as the micro-kernels of VNNI and AMX read them
 *     8184  cpu_int_gemm.c     prefill with AVX-512: panels of weights times tiles of activations, by VNNI or by AMX. See cp...
 *     8434  cpu_int_amx.c      prefill with AMX: tiles of 16 activation rows x 16 weight rows; the panels and activations of...
 *     8627  cpu_int.c          the table of integer-block kernels
 *     8672  cpu_float.c        matrix products of F32, F16 and BF16 weights in scalar C: 32 partial sums over k % 32, halved...
 *     8739  cpu_x86.c          row functions, attention and float matrices of AVX2 and AVX-512: the same texts, stamped twice
 *    10735  cpu_select.c       the kernels of an instruction set
 *    10765  matmul.c           the matrix product of the CPU back end: which kernel, how the work is split, bias and accumul...
 *    10935  cpu.c              the CPU back end: the op table over the kernels of one instruction set, split over the lanes...
 *
 *   src/model: architectures, weights, memory plan, the forward pass
 *    11230  hparams.c          the table of architectures, and the numbers of one model, read from its GGUF keys
 *    11437  weights.c          the tensors of a model by role, found by name, checked against the hyperparameters
 *    11631  rope.c             the cosines and sines that a batch of positions needs, once for all layers and heads
 *    11689  model.c            a loaded model: file, numbers, weights, tokenizer, chat template
 *    11834  forward.c          one transformer for all families, over the op table
 *
 *   src/infer: KV cache, sequences, sampling, sessions
 *    12136  select.c           filters and a draw over the logits of a whole vocabulary, without sorting it and without memo...
 *    12472  sampler.c          the chain penalties, bias, temperature, top-k, top-p, min-p, typical, draw; and the memory of...
 *    12685  kv.c               the cache of keys and values: pages of HYBRID__PAGE positions, counted, so that sequences can...
 *    12815  context.c          sequences, the batch, and the pass of a batch through the model, chunk by chunk and layer by...
 *    13198  plan.c             the bytes of a model and a context before they are loaded
 *    13287  dialog.c           the messages of a conversation, and the prompt that they make
 *    13369  session.c          a conversation: prompts that reuse what is in the cache, and answers piece by piece
 */

/* ==== begin src/api/api.h ==== */
/* hybrid: runs and trains language models inside your program. One header, plain C, no dependencies. */
#ifndef HYBRID_H
#define HYBRID_H

/* ==== begin src/api/base.h ==== */
/* ---- base: version, linkage, results, errors, allocator, log ------------------------------------------------------ */

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

#define HYBRID_VERSION "0.1.0"

/* Linkage. HYBRID_STATIC: everything static in your file. HYBRID_API: your own export attribute. */
#ifndef HYBRID_API
    #ifdef HYBRID_STATIC
        #define HYBRID_API static
    #elif defined(__cplusplus)
        #define HYBRID_API extern "C"
    #else
        #define HYBRID_API extern
    #endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Every fallible call returns one of these. Zero is success, failures are negative, the numbers never change. */
#define HYBRID_RESULTS(X)                                                                    \
    X(HYBRID_OK,                    0, "ok")                                                 \
    X(HYBRID_ERROR_INVALID,        -1, "an argument is invalid")                             \
    X(HYBRID_ERROR_MEMORY,         -2, "out of memory")                                      \
    X(HYBRID_ERROR_IO,             -3, "reading or writing failed")                          \
    X(HYBRID_ERROR_FORMAT,         -4, "the data is malformed")                              \
    X(HYBRID_ERROR_UNSUPPORTED,    -5, "valid, but not supported by this build of hybrid")   \
    X(HYBRID_ERROR_NOT_FOUND,      -6, "something that was asked for is not there")          \
    X(HYBRID_ERROR_LIMIT,          -7, "a limit was exceeded")                               \
    X(HYBRID_ERROR_CONTEXT_FULL,   -8, "the context has no room for that many tokens")       \
    X(HYBRID_ERROR_CANCELLED,      -9, "cancelled by the caller")                            \
    X(HYBRID_ERROR_NUMERIC,       -10, "a result is not a number: the weights or inputs are damaged")

typedef enum hybrid_result {
#define HYBRID__X(name, value, text) name = value,
    HYBRID_RESULTS(HYBRID__X)
#undef HYBRID__X
    HYBRID_RESULT_LAST_ = 1
} hybrid_result;

/* The text of a result code: a constant string, never NULL. Thread-safe. */
HYBRID_API const char *hybrid_result_text(hybrid_result result);

/* What went wrong. Pass a pointer to any fallible call, or NULL when the code is enough. Written only on failure.
 * message: one sentence: what was wrong, where, and what to do. offset: byte position in the input, where that means something. */
typedef struct hybrid_error {
    hybrid_result result;
    uint64_t      offset;
    char          message[256];
} hybrid_error;

/* "0.1.0" and the id of the sources that a header was made from ("dev" in a source tree). Thread-safe. */
HYBRID_API const char *hybrid_version(void);
HYBRID_API const char *hybrid_source_id(void);

/* Memory. alloc returns NULL when there is none: every call of hybrid survives that. Blocks must be aligned for any C type.
 * Both are called from the thread that calls hybrid, never from workers. Leave zero for malloc and free. */
typedef struct hybrid_allocator {
    void *(*alloc)(void *user, size_t size);
    void  (*free)(void *user, void *block);
    void   *user;
} hybrid_allocator;

typedef enum hybrid_log_level { HYBRID_LOG_ERROR = 1, HYBRID_LOG_WARN = 2, HYBRID_LOG_INFO = 3, HYBRID_LOG_DEBUG = 4 } hybrid_log_level;

/* Silent by default. message is one line without a newline, valid during the call. */
typedef struct hybrid_logger {
    void (*log)(void *user, hybrid_log_level level, const char *message);
    void  *user;
} hybrid_logger;

/* A file that is not a path: a pak file, a download, an asset system. read_at must fill all n bytes and return true, or return
 * false. close may be NULL; it is called once when the object that owns the reader ends (also when opening it failed). */
typedef struct hybrid_reader {
    bool    (*read_at)(void *user, uint64_t offset, void *dst, size_t n);
    void    (*close)(void *user);
    uint64_t  size;
    void     *user;
} hybrid_reader;

/* Receives bytes in order; returns false to stop. */
typedef bool (*hybrid_write_fn)(void *user, const void *data, size_t n);

/* Where bytes come from: exactly one of the three. Zero-terminated UTF-8 path, memory that outlives the object, or a reader. */
typedef struct hybrid_source {
    const char    *path;
    const void    *data;
    size_t         size;         /* of data */
    hybrid_reader  reader;
} hybrid_source;
/* ==== end src/api/base.h ==== */

/* ==== begin src/api/runtime.h ==== */
/* ---- runtime: what models and sessions share: memory, log, worker threads ------------------------------------------ */

typedef struct hybrid_runtime hybrid_runtime;

/* One piece of parallel work. Called with every index in 0..n-1, in any order, from any thread. */
typedef void (*hybrid_task_fn)(void *arg, int index);

typedef struct hybrid_runtime_desc {
    hybrid_allocator allocator;
    hybrid_logger    logger;
    int              n_threads;  /* threads that compute, the caller's included; 0: the number of physical cores, at most 16 */
    /* The host's job system instead of own threads: must run fn(arg, i) for all i in 0..n-1 and return when all are done.
     * It may run them all on the calling thread. Own threads are then never started. */
    void           (*parallel_for)(void *user, int n, hybrid_task_fn fn, void *arg);
    void            *parallel_user;
    const char      *isa;        /* NULL: the best that this CPU has; "generic", "avx2", "avx512", "neon": at most that */
} hybrid_runtime_desc;

/* Creates a runtime; desc may be NULL. Objects keep it alive: it may be destroyed before them. Threads start on first use and
 * sleep when idle. A runtime may be used by several threads; one parallel section runs at a time, others compute alone. */
HYBRID_API hybrid_result hybrid_runtime_create(const hybrid_runtime_desc *desc, hybrid_runtime **runtime, hybrid_error *error);
HYBRID_API void hybrid_runtime_destroy(hybrid_runtime *runtime);

/* "avx512", "avx2", "neon" or "generic": what the kernels of this runtime use. */
HYBRID_API const char *hybrid_runtime_isa(const hybrid_runtime *runtime);
HYBRID_API int hybrid_runtime_threads(const hybrid_runtime *runtime);
/* ==== end src/api/runtime.h ==== */

/* ==== begin src/api/quant.h ==== */
/* ---- types of tensors: names, sizes, encode, decode ---------------------------------------------------------------- */

/* The numbers are those of the GGUF format. */
typedef enum hybrid_type {
    HYBRID_TYPE_F32 = 0, HYBRID_TYPE_F16 = 1, HYBRID_TYPE_Q4_0 = 2, HYBRID_TYPE_Q4_1 = 3, HYBRID_TYPE_Q5_0 = 6, HYBRID_TYPE_Q5_1 = 7,
    HYBRID_TYPE_Q8_0 = 8, HYBRID_TYPE_Q2_K = 10, HYBRID_TYPE_Q3_K = 11, HYBRID_TYPE_Q4_K = 12, HYBRID_TYPE_Q5_K = 13,
    HYBRID_TYPE_Q6_K = 14, HYBRID_TYPE_BF16 = 30,
    HYBRID_TYPE_LAST_ = 64
} hybrid_type;

/* Name ("Q4_K"), elements a block, bytes a block of a type. NULL / 0 for a type that hybrid does not know. Thread-safe. */
HYBRID_API const char *hybrid_type_name(hybrid_type type);
HYBRID_API size_t hybrid_type_block_size(hybrid_type type);
HYBRID_API size_t hybrid_type_block_bytes(hybrid_type type);
/* Bytes of n elements; 0 when the type is unknown or n is no multiple of the block. */
HYBRID_API size_t hybrid_type_row_bytes(hybrid_type type, size_t n);

/* n values (a multiple of the type's block size) from blocks to floats, bit-exact to the GGUF reference decoder. blocks is 2-byte
 * aligned (the float types: any address). HYBRID_ERROR_INVALID for an unknown type, a wrong n, NULL. Thread-safe, no allocation. */
HYBRID_API hybrid_result hybrid_dequantize(hybrid_type type, const void *blocks, float *values, size_t n);

/* And back: hybrid_type_row_bytes(type, n) bytes are written. The block types search for the scales that make the sum of
 * importance[i] * (error of value i)^2 small; importance is n finite values >= 0, or NULL for all equal. The result depends on the
 * arguments only, not on the machine or the compiler. Values beyond the range of a type's scales (65504 times its steps) become the
 * largest that it can hold; in F16 and BF16 they become infinite, as IEEE 754 rounds them.
 * HYBRID_ERROR_INVALID as above, or for a bad importance: nothing is written. HYBRID_ERROR_NUMERIC: a value is NaN or infinite, which
 * blocks cannot hold; all is written, and the blocks with such values decode to NaN. (The float types keep NaN and infinity: HYBRID_OK.)
 * Thread-safe, no allocation. */
HYBRID_API hybrid_result hybrid_quantize(hybrid_type type, const float *values, void *blocks, size_t n, const float *importance);

/* n_rows rows of `row` values each, from one type to another (as hybrid_dequantize and hybrid_quantize do it), on all threads of runtime
 * (NULL: a default one). importance: `row` values, the same for every row, or NULL. The result does not depend on the threads.
 * HYBRID_ERROR_INVALID, _MEMORY, _NUMERIC (all is written, as for hybrid_quantize). */
HYBRID_API hybrid_result hybrid_convert(hybrid_runtime *runtime, hybrid_type from, const void *src, hybrid_type to, void *dst,
                                        size_t n_rows, size_t row, const float *importance, hybrid_error *error);

/* A mix: how a whole model is quantized. The number is that of GGUF's key general.file_type. */
typedef enum hybrid_mix {
    HYBRID_MIX_F32 = 0, HYBRID_MIX_F16 = 1, HYBRID_MIX_Q4_0 = 2, HYBRID_MIX_Q4_1 = 3, HYBRID_MIX_Q8_0 = 7, HYBRID_MIX_Q5_0 = 8, HYBRID_MIX_Q5_1 = 9,
    HYBRID_MIX_Q2_K = 10, HYBRID_MIX_Q3_K_S = 11, HYBRID_MIX_Q3_K_M = 12, HYBRID_MIX_Q3_K_L = 13, HYBRID_MIX_Q4_K_S = 14, HYBRID_MIX_Q4_K_M = 15,
    HYBRID_MIX_Q5_K_S = 16, HYBRID_MIX_Q5_K_M = 17, HYBRID_MIX_Q6_K = 18, HYBRID_MIX_BF16 = 32
} hybrid_mix;

/* "Q4_K_M" (NULL for an unknown number), and back, in any case; "Q4_K" means Q4_K_M, and so for Q3_K and Q5_K. hybrid_mix_at: all mixes,
 * from the largest files to the smallest; false beyond the last. Thread-safe. */
HYBRID_API const char *hybrid_mix_name(hybrid_mix mix);
HYBRID_API bool hybrid_mix_find(const char *name, hybrid_mix *mix);
HYBRID_API bool hybrid_mix_at(size_t i, hybrid_mix *mix);

/* What the mixes ask of a model: GGUF's keys of the same names. */
typedef struct hybrid_mix_model {
    const char *architecture;    /* "llama" */
    int         n_layer;         /* block_count */
    int         n_expert;        /* 0 or 1: none */
    int         n_head, n_head_kv;
    bool        tied_output;     /* there is no tensor "output.weight": the token embedding makes the logits */
} hybrid_mix_model;

/* The type that a tensor with GGUF's name and sizes (ne[0] contiguous) gets in a mix; `now` for one that a mix leaves as it is (norms, biases,
 * routers, positions). A row that the blocks of the wanted type do not divide gets another: Q2_K, Q3_K: Q4_0; Q4_K: Q5_0; Q5_K: Q5_1;
 * Q6_K: Q8_0; and F16 when 32 does not divide it either. The same types as llama.cpp gives. Thread-safe. */
HYBRID_API hybrid_type hybrid_quantize_type_for(hybrid_mix mix, const hybrid_mix_model *model, const char *name, int n_dims, const uint64_t *ne, hybrid_type now);
/* ==== end src/api/quant.h ==== */

/* ==== begin src/api/gguf.h ==== */
/* ---- gguf: what is in a model file, and writing one ----------------------------------------------------------------
 *
 *     hybrid_gguf *file;
 *     hybrid_source source = { 0 };
 *     source.path = "model.gguf";
 *     if (hybrid_gguf_open(NULL, &source, &file, &error)) puts(error.message);
 *
 * A file is untrusted: opening it checks everything but the numbers inside the tensors. Versions 2 and 3, little-endian. */

/* Bytes of a file: not zero-terminated, not necessarily UTF-8. They live as long as the object that gave them. */
typedef struct hybrid_string {
    const char *data;
    size_t      size;
} hybrid_string;

/* What a file may hold at most; more is HYBRID_ERROR_LIMIT. Counts are also checked against the size of the file before
 * anything is allocated for them. */
#define HYBRID_GGUF_MAX_KEYS     65536
#define HYBRID_GGUF_MAX_TENSORS  65536
#define HYBRID_GGUF_MAX_NAME     65535          /* bytes of a key or of a tensor's name */
#define HYBRID_GGUF_MAX_METADATA 0x40000000     /* bytes before the tensors' data: 1 GiB */
#define HYBRID_GGUF_MAX_DEPTH    8              /* arrays in arrays in ... */

/* Types of values; the numbers are those of the format. */
typedef enum hybrid_gguf_type {
    HYBRID_GGUF_U8 = 0, HYBRID_GGUF_I8, HYBRID_GGUF_U16, HYBRID_GGUF_I16, HYBRID_GGUF_U32, HYBRID_GGUF_I32, HYBRID_GGUF_F32,
    HYBRID_GGUF_BOOL, HYBRID_GGUF_STRING, HYBRID_GGUF_ARRAY, HYBRID_GGUF_U64, HYBRID_GGUF_I64, HYBRID_GGUF_F64
} hybrid_gguf_type;

/* "u8", "string", "array"...; NULL for a number that is no type. Thread-safe. */
HYBRID_API const char *hybrid_gguf_type_name(hybrid_gguf_type type);

/* The value of a key. A number or string looks like an array of one item, so that hybrid_gguf_item_... read it at index 0.
 * data is as in the file: little-endian, unaligned; for one string its characters; for an array its items one after another (strings
 * with a u64 of their size before them, arrays with a u32 of their item type and a u64 of their count). */
typedef struct hybrid_gguf_value {
    hybrid_gguf_type type;
    hybrid_gguf_type item_type;  /* of the items of an array, else type */
    uint64_t         count;      /* of the items of an array, else 1 */
    const void      *data;
    uint64_t         size;       /* bytes at data */
    const uint32_t  *index;      /* private: where the strings or arrays of an array begin; NULL in values of your own */
} hybrid_gguf_value;

/* A tensor. ne[0] is the contiguous dimension; unused dimensions are 1. A type that hybrid does not know keeps its number in type_id;
 * type is then HYBRID_TYPE_LAST_ and size 0: the file can be looked at, the tensor cannot be read. */
typedef struct hybrid_gguf_tensor {
    hybrid_string name;
    hybrid_type   type;
    uint32_t      type_id;
    int           n_dims;        /* 0..4 */
    uint64_t      ne[4];
    uint64_t      offset;        /* of the first byte in the file */
    uint64_t      size;          /* bytes */
    const void   *data;          /* when the file is mapped or in memory, else NULL: hybrid_gguf_read_tensor */
} hybrid_gguf_tensor;

typedef struct hybrid_gguf hybrid_gguf;

/* Opens and checks a file. runtime may be NULL. A path is mapped where the system can; the bytes of a memory source must outlive the
 * gguf; a reader is asked for a few large blocks and closed by hybrid_gguf_destroy (or at once on failure).
 * HYBRID_ERROR_FORMAT: no GGUF, truncated or damaged (error->offset says where). HYBRID_ERROR_UNSUPPORTED: version 1, big-endian, or
 * one part of a split model. HYBRID_ERROR_LIMIT, _MEMORY, _IO, _INVALID.
 * Thread-safe. An open gguf never changes: any number of threads may look into it; hybrid_gguf_read_tensor is for one at a time. */
HYBRID_API hybrid_result hybrid_gguf_open(hybrid_runtime *runtime, const hybrid_source *source, hybrid_gguf **gguf, hybrid_error *error);
HYBRID_API void hybrid_gguf_destroy(hybrid_gguf *gguf);

HYBRID_API int hybrid_gguf_version(const hybrid_gguf *gguf);            /* 2 or 3 */
HYBRID_API uint64_t hybrid_gguf_file_size(const hybrid_gguf *gguf);     /* bytes */
HYBRID_API uint64_t hybrid_gguf_alignment(const hybrid_gguf *gguf);     /* of every tensor's offset: general.alignment, else 32 */

/* Keys in the order of the file: the name, and (when value is not NULL) the value. An empty name beyond the last. */
HYBRID_API size_t hybrid_gguf_key_count(const hybrid_gguf *gguf);
HYBRID_API hybrid_string hybrid_gguf_key(const hybrid_gguf *gguf, size_t i, hybrid_gguf_value *value);

/* By name, hashed. false when the key is absent or its value is of another kind (out then stays as it is: set your default before).
 * i64 takes every integer and bool that fits; f64 takes every number. value may be NULL. */
HYBRID_API bool hybrid_gguf_find(const hybrid_gguf *gguf, const char *key, hybrid_gguf_value *value);
HYBRID_API bool hybrid_gguf_get_i64(const hybrid_gguf *gguf, const char *key, int64_t *out);
HYBRID_API bool hybrid_gguf_get_f64(const hybrid_gguf *gguf, const char *key, double *out);
HYBRID_API bool hybrid_gguf_get_string(const hybrid_gguf *gguf, const char *key, hybrid_string *out);

/* Item i of a value, in constant time. Zero or empty when i is out of range or the item is of another kind; i64 takes integers and
 * bools, f64 every number. Items of an array of arrays are values themselves. */
HYBRID_API hybrid_string hybrid_gguf_item_string(const hybrid_gguf_value *value, uint64_t i);
HYBRID_API int64_t hybrid_gguf_item_i64(const hybrid_gguf_value *value, uint64_t i);
HYBRID_API double hybrid_gguf_item_f64(const hybrid_gguf_value *value, uint64_t i);
HYBRID_API bool hybrid_gguf_item_array(const hybrid_gguf_value *value, uint64_t i, hybrid_gguf_value *item);

/* Tensors in the order of the file, and by name (hashed); NULL when there is none. */
HYBRID_API size_t hybrid_gguf_tensor_count(const hybrid_gguf *gguf);
HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_tensor_at(const hybrid_gguf *gguf, size_t i);
HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_find_tensor(const hybrid_gguf *gguf, const char *name);

/* Copies all bytes of a tensor of this gguf to dst (tensor->size bytes). HYBRID_ERROR_IO, or _UNSUPPORTED for an unknown type. */
HYBRID_API hybrid_result hybrid_gguf_read_tensor(hybrid_gguf *gguf, const hybrid_gguf_tensor *tensor, void *dst, hybrid_error *error);

/* Writing. Collect keys and tensors, begin, give the tensors' bytes in the order in which they were added, end:
 *
 *     hybrid_gguf_writer_create(NULL, &w, &error);
 *     hybrid_gguf_set_string(w, "general.architecture", "llama", NULL);
 *     hybrid_gguf_set_int(w, "llama.block_count", HYBRID_GGUF_U32, 22, NULL);
 *     hybrid_gguf_add_tensor(w, "output.weight", HYBRID_TYPE_Q8_0, 2, ne, NULL);
 *     if (hybrid_gguf_begin_path(w, "out.gguf", &error) || hybrid_gguf_write(w, blocks, size, &error) || hybrid_gguf_end(w, &error))
 *         puts(error.message);
 *     hybrid_gguf_writer_destroy(w);
 *
 * The first failure of a set or add is kept and given again by begin, so it is enough to look there. A writer is used by one thread at a
 * time. What is written has version 3, and the bytes depend on nothing but the calls. */
typedef struct hybrid_gguf_writer hybrid_gguf_writer;

/* runtime may be NULL. Destroying a writer that has begun a path and not ended removes the unfinished file. */
HYBRID_API hybrid_result hybrid_gguf_writer_create(hybrid_runtime *runtime, hybrid_gguf_writer **writer, hybrid_error *error);
HYBRID_API void hybrid_gguf_writer_destroy(hybrid_gguf_writer *writer);

/* A key and its value, which are copied; an earlier value of the key is replaced in its place. HYBRID_ERROR_INVALID, _LIMIT, _MEMORY.
 * set: any value, as a reader gives it or made by hand (index may be NULL). set_int: type is an integer or bool, and the value fits.
 * set_float: type is F32 or F64. set_numbers: count items of a number type, packed. set_arrays: count values that are arrays. */
HYBRID_API hybrid_result hybrid_gguf_set(hybrid_gguf_writer *writer, const char *key, const hybrid_gguf_value *value, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_int(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type type, int64_t value, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_float(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type type, double value, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_string(hybrid_gguf_writer *writer, const char *key, const char *text, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_numbers(hybrid_gguf_writer *writer, const char *key, hybrid_gguf_type item_type, const void *items, size_t count, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_strings(hybrid_gguf_writer *writer, const char *key, const hybrid_string *items, size_t count, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_set_arrays(hybrid_gguf_writer *writer, const char *key, const hybrid_gguf_value *items, size_t count, hybrid_error *error);

/* Sets every key of an open file. */
HYBRID_API hybrid_result hybrid_gguf_copy_keys(hybrid_gguf_writer *writer, const hybrid_gguf *from, hybrid_error *error);

/* Announces a tensor with n_dims (0..4) sizes ne, the contiguous one first. llama.cpp reads names of at most 63 bytes. */
HYBRID_API hybrid_result hybrid_gguf_add_tensor(hybrid_gguf_writer *writer, const char *name, hybrid_type type, int n_dims, const uint64_t *ne, hybrid_error *error);

/* Writes everything before the tensors' data: to a callback, or to a file, which has a temporary name beside path until end. */
HYBRID_API hybrid_result hybrid_gguf_begin(hybrid_gguf_writer *writer, hybrid_write_fn write, void *user, hybrid_error *error);
HYBRID_API hybrid_result hybrid_gguf_begin_path(hybrid_gguf_writer *writer, const char *path, hybrid_error *error);

/* The next n bytes of the current tensor: a whole one or a piece, not beyond its end (HYBRID_ERROR_INVALID). Padding is added. */
HYBRID_API hybrid_result hybrid_gguf_write(hybrid_gguf_writer *writer, const void *data, size_t n, hybrid_error *error);

/* Checks that all tensors are complete, and gives a file its name, replacing what was there. */
HYBRID_API hybrid_result hybrid_gguf_end(hybrid_gguf_writer *writer, hybrid_error *error);
/* ==== end src/api/gguf.h ==== */

/* ==== begin src/api/tokenizer.h ==== */
/* ---- tokenizer: text to tokens and back ------------------------------------------------------------------------------
 *
 *     hybrid_tokenizer *tok;
 *     int32_t ids[256];
 *     size_t n;
 *     hybrid_tokenizer_from_gguf(NULL, file, &tok, &error);
 *     hybrid_tokenize(tok, "Hello", 5, HYBRID_TOKENIZE_ADD_SPECIAL, ids, 256, &n, &error);
 *
 * Byte-level BPE and SentencePiece BPE, the tokens being those of HF tokenizers, tiktoken and llama.cpp. Text is any bytes: what is no
 * UTF-8 is kept, byte by byte, by vocabularies that know all bytes. A tokenizer never changes: any number of threads may use it. */

typedef struct hybrid_tokenizer hybrid_tokenizer;

/* The numbers are those of the GGUF format. */
typedef enum hybrid_token_type {
    HYBRID_TOKEN_NORMAL = 1,
    HYBRID_TOKEN_UNKNOWN = 2,        /* stands for what the vocabulary cannot say */
    HYBRID_TOKEN_CONTROL = 3,        /* <s>, <|im_start|>: not text; only HYBRID_TOKENIZE_PARSE_SPECIAL finds them in a text */
    HYBRID_TOKEN_USER_DEFINED = 4,   /* text that is always one token */
    HYBRID_TOKEN_UNUSED = 5,         /* never made from text */
    HYBRID_TOKEN_BYTE = 6            /* one byte of what has no other token */
} hybrid_token_type;

/* What some tokens are for. */
typedef enum hybrid_token_role {
    HYBRID_ROLE_BOS, HYBRID_ROLE_EOS, HYBRID_ROLE_EOT, HYBRID_ROLE_EOM, HYBRID_ROLE_UNKNOWN, HYBRID_ROLE_SEPARATOR, HYBRID_ROLE_PADDING,
    HYBRID_ROLE_MASK, HYBRID_ROLE_FIM_PREFIX, HYBRID_ROLE_FIM_SUFFIX, HYBRID_ROLE_FIM_MIDDLE, HYBRID_ROLE_FIM_PAD, HYBRID_ROLE_FIM_REPO,
    HYBRID_ROLE_FIM_SEPARATOR, HYBRID_ROLE_COUNT_
} hybrid_token_role;

/* A vocabulary in memory. Everything is copied. */
typedef struct hybrid_tokenizer_desc {
    const char          *model;      /* "bpe": byte-level BPE (also when NULL); "spm": SentencePiece BPE */
    const char          *pre;        /* bpe: how text is cut into words: "gpt-2" (also when NULL), "llama-bpe", "qwen2", "cl100k", "gpt-4o"... */
    const hybrid_string *tokens;     /* n_tokens, the text of every id as GGUF and HF spell it; an empty one is never used */
    size_t               n_tokens;
    const uint8_t       *types;      /* n_tokens, hybrid_token_type; NULL: all are normal */
    const float         *scores;     /* spm: n_tokens, the highest is merged first; NULL: earlier ids first */
    const hybrid_string *merges;     /* bpe: n_merges times "left right", the most important first */
    size_t               n_merges;
    bool                 raw_tokens; /* bpe: tokens are plain bytes and ids are ranks, as in tiktoken files; merges are not needed */
    bool                 add_bos;    /* what HYBRID_TOKENIZE_ADD_SPECIAL adds */
    bool                 add_eos;
    bool                 no_space_prefix;   /* spm: no space before the first word */
    bool                 strip_right;       /* white space after special tokens belongs to them (but <s>, <unk>, <|endoftext|>): phi-3 */
    const char          *roles[HYBRID_ROLE_COUNT_];   /* text of the token that has a role; NULL: a well-known one that is there, or none */
} hybrid_tokenizer_desc;

/* Makes a tokenizer from a vocabulary in memory, or from the tokenizer.ggml.* keys of a file (which may be closed then). runtime may be
 * NULL. HYBRID_ERROR_UNSUPPORTED: a model or pre-tokenizer that hybrid does not have (WordPiece, Unigram...); HYBRID_ERROR_FORMAT: tables
 * that contradict each other; HYBRID_ERROR_NOT_FOUND: no vocabulary in the file; HYBRID_ERROR_MEMORY, _INVALID, _LIMIT. */
HYBRID_API hybrid_result hybrid_tokenizer_create(hybrid_runtime *runtime, const hybrid_tokenizer_desc *desc, hybrid_tokenizer **tokenizer, hybrid_error *error);
HYBRID_API hybrid_result hybrid_tokenizer_from_gguf(hybrid_runtime *runtime, const hybrid_gguf *gguf, hybrid_tokenizer **tokenizer, hybrid_error *error);
HYBRID_API void hybrid_tokenizer_destroy(hybrid_tokenizer *tokenizer);

#define HYBRID_TOKENIZE_ADD_SPECIAL    1u   /* BOS before and EOS after, where the vocabulary says so */
#define HYBRID_TOKENIZE_PARSE_SPECIAL  2u   /* control tokens that are spelled out in the text become tokens; leave it off for text of strangers */

/* size bytes of text to ids. *n is the number of tokens of the whole text, also when it is more than capacity: then the result is
 * HYBRID_ERROR_LIMIT, the first capacity ids are there, and nothing else is written (ids may be NULL when capacity is 0).
 * n_bytes + 2 ids are always enough for bpe, 3 * size + 3 for spm. HYBRID_ERROR_MEMORY, _INVALID. Thread-safe. */
HYBRID_API hybrid_result hybrid_tokenize(const hybrid_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                                         int32_t *ids, size_t capacity, size_t *n, hybrid_error *error);

#define HYBRID_DETOKENIZE_SPECIAL      1u   /* show control and unknown tokens by their names; else they are nothing */

/* n ids to text, the space that spm put before the first word taken away again. Sizes as in hybrid_tokenize; no zero is appended.
 * HYBRID_ERROR_INVALID: an id is negative; ids beyond the vocabulary (rows that a model was padded with) are nothing. Thread-safe. */
HYBRID_API hybrid_result hybrid_detokenize(const hybrid_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, unsigned flags,
                                           char *text, size_t capacity, size_t *size, hybrid_error *error);

/* The bytes that a token stands for (a control token: its name), in constant time; perhaps not whole characters, see hybrid_utf8_feed.
 * Empty for an id out of range. They live as long as the tokenizer. */
HYBRID_API hybrid_string hybrid_token_bytes(const hybrid_tokenizer *tokenizer, int32_t id);
HYBRID_API hybrid_token_type hybrid_token_kind(const hybrid_tokenizer *tokenizer, int32_t id);   /* HYBRID_TOKEN_UNUSED out of range */
HYBRID_API bool hybrid_token_is_end(const hybrid_tokenizer *tokenizer, int32_t id);              /* generation ends here: EOS, <|im_end|>, <|eot_id|>... */
HYBRID_API int32_t hybrid_token_role_id(const hybrid_tokenizer *tokenizer, hybrid_token_role role);   /* -1: there is none */
HYBRID_API int32_t hybrid_token_find(const hybrid_tokenizer *tokenizer, const char *bytes, size_t size);   /* by its bytes; -1 */
HYBRID_API size_t hybrid_vocab_size(const hybrid_tokenizer *tokenizer);                          /* tokens; a model may have more rows */
HYBRID_API bool hybrid_tokenizer_adds_bos(const hybrid_tokenizer *tokenizer);
HYBRID_API bool hybrid_tokenizer_adds_eos(const hybrid_tokenizer *tokenizer);

/* ---- streams: what may be shown of text that arrives token by token ---- */

/* Zero is the beginning. Holds back at most three bytes of an unfinished character. */
typedef struct hybrid_utf8_stream {
    unsigned char pending[4];
    unsigned char size;
} hybrid_utf8_stream;

#define HYBRID_UTF8_ROOM(size) (3 * (size) + 9)

/* Whole characters of what was fed so far go to out (at least HYBRID_UTF8_ROOM(size) bytes); bytes that are no UTF-8 become U+FFFD, one
 * for each maximal part as Unicode recommends. However the bytes are cut, the output is the same. Returns the bytes written. */
HYBRID_API size_t hybrid_utf8_feed(hybrid_utf8_stream *stream, const void *bytes, size_t size, char *out);
/* The end: an unfinished character becomes U+FFFD. At most 9 bytes. The stream is then at its beginning. */
HYBRID_API size_t hybrid_utf8_flush(hybrid_utf8_stream *stream, char *out);

/* Looks for strings that end an answer, also where they begin in one token and end in another. One thread at a time. */
typedef struct hybrid_stop_matcher hybrid_stop_matcher;

/* n_stops strings of at least one byte, copied. With none, everything fed is given at once. runtime may be NULL. */
HYBRID_API hybrid_result hybrid_stop_create(hybrid_runtime *runtime, const hybrid_string *stops, size_t n_stops, hybrid_stop_matcher **matcher, hybrid_error *error);
HYBRID_API void hybrid_stop_destroy(hybrid_stop_matcher *matcher);
/* Feeds bytes. *safe: what can be shown now because no stop string can begin in it (until the next call). *which: the stop string that
 * is complete (of those that end first the longest), or -1; what stood before it is in *safe, and nothing more comes until reset.
 * HYBRID_ERROR_MEMORY: nothing was fed. */
HYBRID_API hybrid_result hybrid_stop_feed(hybrid_stop_matcher *matcher, const void *bytes, size_t size, hybrid_string *safe, int *which, hybrid_error *error);
/* The end came otherwise: gives what was held back. */
HYBRID_API hybrid_string hybrid_stop_flush(hybrid_stop_matcher *matcher);
HYBRID_API void hybrid_stop_reset(hybrid_stop_matcher *matcher);
/* ==== end src/api/tokenizer.h ==== */

/* ==== begin src/api/model.h ==== */
/* ---- models: load, describe ---------------------------------------------------------------------------------------- */

typedef struct hybrid_model hybrid_model;
typedef struct hybrid_template hybrid_template;

typedef struct hybrid_model_desc {
    /* The GGUF file: exactly one of path (UTF-8), data (must outlive the model; used in place) and reader. */
    const char    *path;
    const void    *data;
    size_t         size;
    hybrid_reader  reader;
    /* A path is mapped and its pages are shared with other processes; true reads it into memory instead. A reader is always read. */
    bool           no_map;
    /* Called now and then while loading; fraction 0..1. Return false to cancel (HYBRID_ERROR_CANCELLED). */
    bool         (*progress)(void *user, float fraction);
    void          *progress_user;
} hybrid_model_desc;

/* Loads a model. runtime NULL: one of its own, with default settings. On failure *model is NULL and nothing is left behind.
 * A model is immutable: any number of contexts and threads may use it at a time. */
HYBRID_API hybrid_result hybrid_model_load(hybrid_runtime *runtime, const hybrid_model_desc *desc, hybrid_model **model, hybrid_error *error);

/* Contexts and sessions of the model must be destroyed before it. */
HYBRID_API void hybrid_model_destroy(hybrid_model *model);

typedef struct hybrid_model_info {
    char     architecture[32];   /* "llama", "qwen2", ... */
    char     name[64];           /* general.name, cut to fit */
    uint64_t n_params;           /* values in all tensors */
    uint64_t n_bytes;            /* their bytes */
    int32_t  n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim, n_ff;
    bool     has_template;       /* carries a chat template */
} hybrid_model_info;

HYBRID_API void hybrid_model_describe(const hybrid_model *model, hybrid_model_info *info);

/* Parts of the model, valid as long as it. The template is NULL when the file has none. */
HYBRID_API const hybrid_tokenizer *hybrid_model_tokenizer(const hybrid_model *model);
HYBRID_API const hybrid_gguf *hybrid_model_gguf(const hybrid_model *model);
HYBRID_API const hybrid_template *hybrid_model_template(const hybrid_model *model);
HYBRID_API hybrid_runtime *hybrid_model_runtime(const hybrid_model *model);
/* ==== end src/api/model.h ==== */

/* ==== begin src/api/context.h ==== */
/* ---- engine: batches of (sequence, tokens), logits, the KV cache ----------------------------------------------------- */

typedef struct hybrid_context hybrid_context;

/* How the keys and values of past tokens are kept. Q8_0 halves the memory of F16 and needs head sizes that are multiples of 32. */
typedef enum hybrid_kv { HYBRID_KV_F16 = 0, HYBRID_KV_Q8_0 = 1, HYBRID_KV_F32 = 2 } hybrid_kv;

/* Delivers an intermediate result: name ("embd", "attn_norm", "q", ..., "l_out", "result_norm", "logits"), layer (-1: none),
 * n_rows rows (tokens of the batch) of n_cols values, row_stride values apart. data is valid during the call. */
typedef void (*hybrid_trace_fn)(void *user, const char *name, int layer, const float *data, int64_t n_rows, int64_t n_cols, int64_t row_stride);

typedef struct hybrid_context_desc {
    int32_t   n_ctx;             /* positions, over all sequences; 0: the model's, at most 4096 */
    int32_t   n_seq;             /* sequences: ids 0..n_seq-1; 0: 1 */
    int32_t   n_batch;           /* tokens that go through a layer together; 0: 512. More is no faster, less saves memory */
    int32_t   n_logits;          /* rows of logits that one decode can keep; 0: n_seq */
    hybrid_kv kv;
    hybrid_trace_fn trace;       /* proves parity with other implementations, layer by layer */
    void     *trace_user;
} hybrid_context_desc;

/* A context belongs to one thread at a time; several contexts of one model may run at once. */
HYBRID_API hybrid_result hybrid_context_create(hybrid_model *model, const hybrid_context_desc *desc, hybrid_context **context, hybrid_error *error);
HYBRID_API void hybrid_context_destroy(hybrid_context *context);
/* The descriptor with every zero replaced by what is used. */
HYBRID_API void hybrid_context_describe(const hybrid_context *context, hybrid_context_desc *desc);

/* Queues n tokens behind the end of a sequence for the next decode; a mix of prompts and single tokens is fine. Copies ids.
 * INVALID: a bad sequence or token id. CONTEXT_FULL: more than n_ctx tokens queued. Nothing is queued on failure. */
HYBRID_API hybrid_result hybrid_batch_add(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n, hybrid_error *error);
/* The same, keeping the logits of the last n_logits tokens instead of the last one (0: none). LIMIT: more rows than the descriptor's n_logits. */
HYBRID_API hybrid_result hybrid_batch_add_logits(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n, size_t n_logits, hybrid_error *error);
/* Forgets what is queued. */
HYBRID_API void hybrid_batch_clear(hybrid_context *context);

/* Runs the queued tokens through the model. Room is checked before anything is written: on CONTEXT_FULL the cache is as it was and
 * the batch stays queued (remove something and call again, or clear it). */
HYBRID_API hybrid_result hybrid_decode(hybrid_context *context, hybrid_error *error);

/* The same in slices: works for about budget_us microseconds (at least one layer of one chunk), then returns OK with *done false; call
 * again to go on. Until it is done, sequences are as before. hybrid_batch_clear gives up a decode that is under way. */
HYBRID_API hybrid_result hybrid_decode_step(hybrid_context *context, uint64_t budget_us, bool *done, hybrid_error *error);

/* n_vocab logits of the sequence's last token in the last decode; NULL when it had none. Valid until the next decode. */
HYBRID_API const float *hybrid_logits(const hybrid_context *context, int32_t seq);
/* Row i of the rows that hybrid_batch_add_logits asked for. */
HYBRID_API const float *hybrid_logits_at(const hybrid_context *context, int32_t seq, size_t i);

/* Tokens in a sequence (decoded ones); -1 for a bad id. */
HYBRID_API int32_t hybrid_seq_length(const hybrid_context *context, int32_t seq);
/* Removes the tokens from position `from` to the end; from 0 empties the sequence. */
HYBRID_API hybrid_result hybrid_seq_remove(hybrid_context *context, int32_t seq, int32_t from, hybrid_error *error);
/* Makes `to` a copy of `from`. The cache is shared until one of them writes: it costs one page at most. */
HYBRID_API hybrid_result hybrid_seq_fork(hybrid_context *context, int32_t from, int32_t to, hybrid_error *error);
/* Positions that could still be written, counted in whole pages. */
HYBRID_API int32_t hybrid_context_free(const hybrid_context *context);

/* ---- memory plan ----------------------------------------------------------------------------------------------------- */

typedef struct hybrid_memory_plan {
    uint64_t mapped;             /* bytes of the file used in place: shared, and dropped by the system under pressure */
    uint64_t weights;            /* bytes of weights in own memory */
    uint64_t model;              /* bytes of everything else that a loaded model keeps: keys, tokenizer, template */
    uint64_t kv;                 /* bytes of the KV cache */
    uint64_t compute;            /* bytes of activations, logits and scratch */
    uint64_t total;              /* weights + model + kv + compute: what hybrid allocates in all */
} hybrid_memory_plan;

/* What loading the model and creating a context of it would allocate, without reading the weights. Equal to what is then used,
 * apart from the runtime (a few KB) and threads' stacks. */
HYBRID_API hybrid_result hybrid_plan(hybrid_runtime *runtime, const hybrid_model_desc *model, const hybrid_context_desc *context, hybrid_memory_plan *plan, hybrid_error *error);
/* ==== end src/api/context.h ==== */

/* ==== begin src/api/sampler.h ==== */
/* ---- sampler: from logits to the next token ------------------------------------------------------------------------ */

typedef struct hybrid_sampler hybrid_sampler;

/* Added to the logit of a token. -INFINITY forbids it; INFINITY forces it (of several forced ones, the lowest id). */
typedef struct hybrid_logit_bias {
    int32_t id;
    float   bias;
} hybrid_logit_bias;

/* Zero is greedy: always the likeliest token (of equals the lowest id). The fields stand in the order in which they are applied.
 * "The likeliest" below: in order of falling logit, equals by rising id. */
typedef struct hybrid_sampler_desc {
    /* Penalties, over the last penalty_last_n accepted tokens (prompt tokens that you accept included). Each is applied once per
     * distinct token: a logit l of a token that occurs c times becomes (l > 0 ? l / repetition : l * repetition) - c * frequency - presence. */
    float    repetition_penalty;          /* > 0; 0 and 1: none. Usual: 1.05 to 1.3 */
    float    frequency_penalty;           /* 0: none; negative encourages */
    float    presence_penalty;            /* 0: none; negative encourages */
    int      penalty_last_n;              /* 0: 64 */
    const hybrid_logit_bias *bias;        /* copied; ids that are not in the vocabulary have no effect */
    size_t   n_bias;
    float    temperature;                 /* logits are divided by it. 0: greedy, and nothing below matters */
    int      top_k;                       /* only the top_k likeliest; 0: all */
    float    top_p;                       /* of those the fewest likeliest whose probabilities sum to top_p or more; 0 and 1: all */
    float    min_p;                       /* of those the ones that are at least min_p times as probable as the best; 0: all */
    float    typical_p;                   /* of those the fewest most typical (information nearest to the entropy) that sum to typical_p; 0 and 1: all */
    uint64_t seed;                        /* the same seed gives the same tokens, on every machine; 0 is a seed like any other */
} hybrid_sampler_desc;

/* desc may be NULL. HYBRID_ERROR_INVALID names the field that is out of range. All memory is taken here (about 64 KB, whatever the
 * vocabulary's size). A sampler is used by one thread at a time; every sequence has its own. */
HYBRID_API hybrid_result hybrid_sampler_create(hybrid_runtime *runtime, const hybrid_sampler_desc *desc, hybrid_sampler **sampler, hybrid_error *error);
HYBRID_API void hybrid_sampler_destroy(hybrid_sampler *sampler);

/* Chooses a token: logits (n_vocab), not changed. Give the number of real tokens as n_vocab, so that padding is never chosen; a logit of
 * -INFINITY excludes a token. Returns the id, or a negative hybrid_result: HYBRID_ERROR_INVALID (no logits), HYBRID_ERROR_NUMERIC (a
 * logit is NaN or +infinite, or all are excluded). What is drawn depends on the logits, the settings, the accepted tokens and the number
 * of tries since the last of them: a second call without an accept draws again. Follow it by hybrid_sampler_accept when you take the token. */
HYBRID_API int32_t hybrid_sample(hybrid_sampler *sampler, const float *logits, int32_t n_vocab);

/* The sequence goes on with this token: the penalties see it, and the next draw is a new one. Negative ids are ignored. */
HYBRID_API void hybrid_sampler_accept(hybrid_sampler *sampler, int32_t id);

/* Back to the state after create: no tokens accepted, the random numbers from the start. */
HYBRID_API void hybrid_sampler_reset(hybrid_sampler *sampler);
/* ==== end src/api/sampler.h ==== */

/* ==== begin src/api/session.h ==== */
/* ---- easy: a conversation ---------------------------------------------------------------------------------------------- */

typedef struct hybrid_session hybrid_session;

typedef struct hybrid_session_desc {
    const char          *system;        /* system prompt; NULL: none */
    hybrid_sampler_desc  sampler;       /* zero: greedy */
    int32_t              max_tokens;    /* per answer; 0: until the model ends it or the context is full */
    const char *const   *stops;         /* texts that end an answer; they are not shown */
    size_t               n_stops;
    hybrid_context_desc  context;       /* n_seq and n_logits are the session's business */
} hybrid_session_desc;

typedef enum hybrid_stop {
    HYBRID_STOP_NONE = 0,               /* the answer is still running, or there is none */
    HYBRID_STOP_END,                    /* the model said that it is done */
    HYBRID_STOP_TEXT,                   /* one of the stop texts */
    HYBRID_STOP_LIMIT,                  /* max_tokens */
    HYBRID_STOP_CONTEXT,                /* the context is full */
    HYBRID_STOP_ERROR                   /* see hybrid_session_result */
} hybrid_stop;

typedef struct hybrid_session_info {
    hybrid_stop stop;
    int32_t     n_ctx, n_used;          /* positions of the context, and those taken */
    int32_t     n_prompt, n_cached;     /* tokens of the last prompt, and how many of them were already in the cache */
    int32_t     n_generated;            /* tokens of the last answer */
    uint64_t    prompt_us, generate_us; /* time that they took, in microseconds */
    int32_t     n_forgotten;            /* messages dropped from the front so that the conversation fits */
} hybrid_session_info;

/* A session belongs to one thread at a time. desc may be NULL. */
HYBRID_API hybrid_result hybrid_session_create(hybrid_model *model, const hybrid_session_desc *desc, hybrid_session **session, hybrid_error *error);
HYBRID_API void hybrid_session_destroy(hybrid_session *session);

/* Adds a user message and starts an answer, which hybrid_session_next delivers. Uses the model's chat template (a model without one
 * gets "User: ... Assistant:"). Only what is new is computed. The oldest messages are dropped when the conversation no longer fits. */
HYBRID_API hybrid_result hybrid_session_say(hybrid_session *session, const char *text);
/* Starts a continuation of plain text, without any template; it follows what is there already. */
HYBRID_API hybrid_result hybrid_session_complete(hybrid_session *session, const char *text);

/* The next piece of the answer: zero-terminated valid UTF-8, valid until the next call. NULL: the answer has ended. */
HYBRID_API const char *hybrid_session_next(hybrid_session *session);

/* Why the last answer ended; with HYBRID_STOP_ERROR, or when say failed, what was wrong. error may be NULL. */
HYBRID_API hybrid_result hybrid_session_result(const hybrid_session *session, hybrid_error *error);
HYBRID_API void hybrid_session_describe(const hybrid_session *session, hybrid_session_info *info);

/* Forgets the conversation; the system prompt stays. */
HYBRID_API void hybrid_session_reset(hybrid_session *session);
/* ==== end src/api/session.h ==== */

#ifdef __cplusplus
}
#endif
#endif /* HYBRID_H */
/* ==== end src/api/api.h ==== */

#ifdef HYBRID_IMPLEMENTATION
#ifndef HYBRID_IMPLEMENTED
#define HYBRID_IMPLEMENTED
#define HYBRID__SOURCE_ID "ee20f713b07f5ce2"

/* ==== begin src/core/begin.h ==== */
/* core/begin: opens the implementation: system headers, and what the compilers are told about this part of the file only. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(_WIN32)
    #ifndef WIN32_LEAN_AND_MEAN
        #define WIN32_LEAN_AND_MEAN
        #define HYBRID__WIN32_LEAN
    #endif
    #ifndef NOMINMAX
        #define NOMINMAX
        #define HYBRID__NOMINMAX
    #endif
    #include <windows.h>
    #ifdef _MSC_VER
        #include <intrin.h>
    #endif
#else
    #include <fcntl.h>
    #include <sys/mman.h>
    #include <sys/stat.h>
    #include <sys/time.h>
    #include <unistd.h>
    #ifndef HYBRID_NO_THREADS
        #include <pthread.h>
        #include <sched.h>
    #endif
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
    #include <immintrin.h>
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
    #include <arm_neon.h>
#endif

/* Determinism: products and sums are fused only where the code says fma. */
#if defined(__clang__)
    #pragma clang diagnostic push
    #pragma clang diagnostic ignored "-Wunused-function"
    #pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
    #pragma GCC diagnostic push
    #pragma GCC diagnostic ignored "-Wunused-function"
    #pragma GCC push_options
    #pragma GCC optimize("fp-contract=off")
#elif defined(_MSC_VER)
    #pragma warning(push, 3)
    #pragma fp_contract(off)
#endif
#if defined(__FAST_MATH__)
    #error "hybrid: -ffast-math breaks the promise of equal results (and NaN checks); compile the file with the implementation without it"
#endif
/* ==== end src/core/begin.h ==== */

/* ==== begin src/core/base.c ==== */
/* core/base: what every room uses: macros of compilers, results, errors, checked sizes. */

#define HYBRID__UNUSED(x) ((void)(x))
#define HYBRID__COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define HYBRID__MIN(a, b) ((a) < (b) ? (a) : (b))
#define HYBRID__MAX(a, b) ((a) > (b) ? (a) : (b))

#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__INLINE static inline __attribute__((always_inline))
    #define HYBRID__NOINLINE __attribute__((noinline))
    #define HYBRID__LIKELY(x) __builtin_expect(!!(x), 1)
    #define HYBRID__UNLIKELY(x) __builtin_expect(!!(x), 0)
    #define HYBRID__RESTRICT __restrict__
    #define HYBRID__PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
    #define HYBRID__INLINE static __forceinline
    #define HYBRID__NOINLINE __declspec(noinline)
    #define HYBRID__LIKELY(x) (x)
    #define HYBRID__UNLIKELY(x) (x)
    #define HYBRID__RESTRICT __restrict
    #define HYBRID__PRINTF(fmt, args)
#endif

HYBRID_API const char *hybrid_result_text(hybrid_result result)
{
    switch (result) {
#define HYBRID__X(name, value, text) case name: return text;
        HYBRID_RESULTS(HYBRID__X)
#undef HYBRID__X
        case HYBRID_RESULT_LAST_: break;
    }
    return "unknown result";
}

HYBRID_API const char *hybrid_version(void) { return HYBRID_VERSION; }

#ifndef HYBRID__SOURCE_ID
    #define HYBRID__SOURCE_ID "dev"
#endif
HYBRID_API const char *hybrid_source_id(void) { return HYBRID__SOURCE_ID; }

/* Fills err (if any) and returns result, so that a failing line reads: return hybrid__fail(err, HYBRID_ERROR_FORMAT, "..."); */
static HYBRID__PRINTF(4, 5) hybrid_result hybrid__fail_at(hybrid_error *err, hybrid_result result, uint64_t offset, const char *format, ...)
{
    va_list args;
    if (!err) return result;
    err->result = result;
    err->offset = offset;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    return result;
}
#define hybrid__fail(err, result, ...) hybrid__fail_at(err, result, 0, __VA_ARGS__)
#define hybrid__fail_memory(err, bytes) \
    hybrid__fail_at(err, HYBRID_ERROR_MEMORY, 0, "out of memory: an allocation of %llu bytes failed", (unsigned long long)(bytes))

/* Checked arithmetic on sizes: false on overflow. */
static bool hybrid__mul_size(size_t a, size_t b, size_t *out)
{
    if (b && a > SIZE_MAX / b) return false;
    *out = a * b;
    return true;
}
static bool hybrid__add_size(size_t a, size_t b, size_t *out)
{
    if (a > SIZE_MAX - b) return false;
    *out = a + b;
    return true;
}
HYBRID__INLINE size_t hybrid__align(size_t n, size_t to) { return (n + to - 1) / to * to; }
/* ==== end src/core/base.c ==== */

/* ==== begin src/core/number.c ==== */
/* core/number: half and brain floats, bit casts, loads of little-endian bytes at any alignment. */

HYBRID__INLINE uint32_t hybrid__f32_bits(float f) { uint32_t u; memcpy(&u, &f, 4); return u; }
HYBRID__INLINE float hybrid__bits_f32(uint32_t u) { float f; memcpy(&f, &u, 4); return f; }

/* IEEE half -> float, exact, subnormals included; NaN payloads are kept. */
HYBRID__INLINE float hybrid__f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = (h >> 10) & 31, man = h & 1023;
    if (exp == 31) return hybrid__bits_f32(sign | 0x7F800000u | (man ? 0x400000u : 0) | (man << 13));
    if (exp == 0) {
        float f = (float)man * 5.9604644775390625e-8f;   /* man * 2^-24 */
        return sign ? -f : f;
    }
    return hybrid__bits_f32(sign | ((exp + 112) << 23) | (man << 13));
}

/* float -> IEEE half, round to nearest even, as F16C does it. */
HYBRID__INLINE uint16_t hybrid__f32_to_f16(float f)
{
    uint32_t u = hybrid__f32_bits(f), sign = (u >> 16) & 0x8000u, a = u & 0x7FFFFFFFu;
    if (a > 0x7F800000u) return (uint16_t)(sign | 0x7E00u | ((a >> 13) & 0x3FFu));
    if (a >= 0x477FF000u) return (uint16_t)(sign | 0x7C00u);                       /* rounds to infinity */
    if (a < 0x38800000u) {                                                        /* subnormal half */
        float v = hybrid__bits_f32(a) + 0.5f;                                     /* the adder rounds for us: ulp of 0.5 is 2^-24 */
        return (uint16_t)(sign | (hybrid__f32_bits(v) - 0x3F000000u));
    }
    a += 0xC8000FFFu + ((a >> 13) & 1);                                           /* rebias by -112, round to even */
    return (uint16_t)(sign | (a >> 13));
}

HYBRID__INLINE float hybrid__bf16_to_f32(uint16_t h) { return hybrid__bits_f32((uint32_t)h << 16); }
HYBRID__INLINE uint16_t hybrid__f32_to_bf16(float f)
{
    uint32_t u = hybrid__f32_bits(f);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)((u >> 16) | 64);        /* NaN stays NaN */
    return (uint16_t)((u + 0x7FFFu + ((u >> 16) & 1)) >> 16);
}

/* Files are little-endian; so is every machine that hybrid runs on today. These only deal with alignment. */
HYBRID__INLINE uint16_t hybrid__load_u16(const void *p) { uint16_t v; memcpy(&v, p, 2); return v; }
HYBRID__INLINE uint32_t hybrid__load_u32(const void *p) { uint32_t v; memcpy(&v, p, 4); return v; }
HYBRID__INLINE uint64_t hybrid__load_u64(const void *p) { uint64_t v; memcpy(&v, p, 8); return v; }
HYBRID__INLINE float hybrid__load_f32(const void *p) { float v; memcpy(&v, p, 4); return v; }
HYBRID__INLINE void hybrid__store_u16(void *p, uint16_t v) { memcpy(p, &v, 2); }
HYBRID__INLINE void hybrid__store_u32(void *p, uint32_t v) { memcpy(p, &v, 4); }
/* ==== end src/core/number.c ==== */

/* ==== begin src/core/thread.c ==== */
/* core/thread: atomics, threads, and the worker pool.
 *
 * The pool runs one section at a time: n chunks, taken by whoever is free. A section is finished when its chunks are done, not when
 * the workers have said so: a worker that wakes late finds nothing and costs nothing, and a worker that lost its core delays the
 * others by one chunk at most. Workers spin for about a millisecond after a section, then sleep. */

#ifndef HYBRID_NO_THREADS
    #if defined(_WIN32)
        #define HYBRID__THREADS_WIN32
    #else
        #define HYBRID__THREADS_POSIX
    #endif
#endif

#if defined(_MSC_VER) && !defined(__clang__)
    HYBRID__INLINE uint64_t hybrid__atomic_load(volatile uint64_t *p) { return (uint64_t)_InterlockedOr64((volatile long long *)p, 0); }
    HYBRID__INLINE void hybrid__atomic_store(volatile uint64_t *p, uint64_t v) { _InterlockedExchange64((volatile long long *)p, (long long)v); }
    HYBRID__INLINE uint64_t hybrid__atomic_add(volatile uint64_t *p, uint64_t v) { return (uint64_t)_InterlockedExchangeAdd64((volatile long long *)p, (long long)v); }
    HYBRID__INLINE bool hybrid__atomic_cas(volatile uint64_t *p, uint64_t *expected, uint64_t v)
    {
        uint64_t old = (uint64_t)_InterlockedCompareExchange64((volatile long long *)p, (long long)v, (long long)*expected);
        bool ok = old == *expected;
        *expected = old;
        return ok;
    }
    HYBRID__INLINE void hybrid__pause(void) { YieldProcessor(); }
#else
    HYBRID__INLINE uint64_t hybrid__atomic_load(volatile uint64_t *p) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }
    HYBRID__INLINE void hybrid__atomic_store(volatile uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
    HYBRID__INLINE uint64_t hybrid__atomic_add(volatile uint64_t *p, uint64_t v) { return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST); }
    HYBRID__INLINE bool hybrid__atomic_cas(volatile uint64_t *p, uint64_t *expected, uint64_t v)
    {
        return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    HYBRID__INLINE void hybrid__pause(void)
    {
    #if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
    #elif defined(__aarch64__) || defined(__arm__)
        __asm__ volatile("yield" ::: "memory");
    #endif
    }
#endif

/* Microseconds of a clock that does not go back. */
static uint64_t hybrid__now_us(void)
{
#if defined(_WIN32)
    LARGE_INTEGER now, rate;
    QueryPerformanceCounter(&now);
    QueryPerformanceFrequency(&rate);
    return (uint64_t)(now.QuadPart / rate.QuadPart) * 1000000u + (uint64_t)(now.QuadPart % rate.QuadPart) * 1000000u / (uint64_t)rate.QuadPart;
#else
    #if defined(CLOCK_MONOTONIC)
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
    #else                                                    /* -std=c99 hides the better clock */
    struct timeval t;
    gettimeofday(&t, NULL);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_usec;
    #endif
#endif
}

static int hybrid__cpu_count(void)
{
#if defined(_WIN32)
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return (int)info.dwNumberOfProcessors;
#elif defined(_SC_NPROCESSORS_ONLN)
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
#else
    return 1;
#endif
}

enum { HYBRID__MAX_THREADS = 256, HYBRID__MAX_CHUNKS = 65535, HYBRID__SPIN_US = 1000 };

/* fn(arg, chunk, lane): lane is below hybrid__pool_lanes() and no two chunks run on one lane at a time, so scratch memory can be per lane. */
typedef void (*hybrid__chunk_fn)(void *arg, int chunk, int lane);

typedef struct hybrid__pool hybrid__pool;
typedef struct hybrid__worker {
    hybrid__pool *pool;
    int           lane;
#if defined(HYBRID__THREADS_POSIX)
    pthread_t     thread;
#elif defined(HYBRID__THREADS_WIN32)
    HANDLE        thread;
#endif
} hybrid__worker;

struct hybrid__pool {
    int    n_lanes;                      /* caller included */
    void (*host_for)(void *user, int n, hybrid_task_fn fn, void *arg);
    void  *host_user;
    volatile uint64_t ticket;            /* section number << 32 | chunks << 16 | next chunk: one word, so that a chunk is taken at once */
    volatile uint64_t done;              /* chunks finished in this section */
    volatile uint64_t busy;              /* a section is running: others compute alone */
    volatile uint64_t sleepers;
    volatile uint64_t stop;
    hybrid__chunk_fn fn;                 /* of the section; read only by who holds one of its chunks */
    void  *arg;
    bool   started;                      /* by who holds busy */
    int    n_workers;                    /* that could be started: at most n_lanes - 1 */
    hybrid__worker *workers;
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_t mutex;
    pthread_cond_t  wake;
#elif defined(HYBRID__THREADS_WIN32)
    SRWLOCK mutex;
    CONDITION_VARIABLE wake;
#endif
};

/* Takes chunks of the current section until there are none. */
static void hybrid__pool_work(hybrid__pool *pool, int lane)
{
    uint64_t ticket = hybrid__atomic_load(&pool->ticket);
    for (;;) {
        uint32_t next = (uint32_t)(ticket & 0xFFFF), n = (uint32_t)(ticket >> 16) & 0xFFFF;
        if (next >= n) return;
        if (!hybrid__atomic_cas(&pool->ticket, &ticket, ticket + 1)) continue;
        pool->fn(pool->arg, (int)next, lane);                /* fn and arg stand: the section cannot end before this chunk */
        hybrid__atomic_add(&pool->done, 1);
        ticket = hybrid__atomic_load(&pool->ticket);
    }
}

#if defined(HYBRID__THREADS_POSIX) || defined(HYBRID__THREADS_WIN32)
static void hybrid__pool_lock(hybrid__pool *pool)
{
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_lock(&pool->mutex);
#else
    AcquireSRWLockExclusive(&pool->mutex);
#endif
}
static void hybrid__pool_unlock(hybrid__pool *pool)
{
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_unlock(&pool->mutex);
#else
    ReleaseSRWLockExclusive(&pool->mutex);
#endif
}
static void hybrid__pool_wake(hybrid__pool *pool)
{
    hybrid__pool_lock(pool);
#if defined(HYBRID__THREADS_POSIX)
    pthread_cond_broadcast(&pool->wake);
#else
    WakeAllConditionVariable(&pool->wake);
#endif
    hybrid__pool_unlock(pool);
}

static void hybrid__worker_main(hybrid__worker *worker)
{
    hybrid__pool *pool = worker->pool;
    uint64_t seen = 0;
    for (;;) {
        uint64_t since = hybrid__now_us(), spins = 0;
        while (hybrid__atomic_load(&pool->ticket) >> 32 == seen) {
            if (hybrid__atomic_load(&pool->stop)) return;
            hybrid__pause();
            if (++spins % 64 == 0 && hybrid__now_us() - since > HYBRID__SPIN_US) {
                hybrid__pool_lock(pool);
                hybrid__atomic_add(&pool->sleepers, 1);
                while (hybrid__atomic_load(&pool->ticket) >> 32 == seen && !hybrid__atomic_load(&pool->stop)) {
#if defined(HYBRID__THREADS_POSIX)
                    pthread_cond_wait(&pool->wake, &pool->mutex);
#else
                    SleepConditionVariableSRW(&pool->wake, &pool->mutex, INFINITE, 0);
#endif
                }
                hybrid__atomic_add(&pool->sleepers, (uint64_t)-1);
                hybrid__pool_unlock(pool);
                since = hybrid__now_us();
            }
        }
        seen = hybrid__atomic_load(&pool->ticket) >> 32;
        hybrid__pool_work(pool, worker->lane);
    }
}

#if defined(HYBRID__THREADS_POSIX)
static void *hybrid__worker_entry(void *arg) { hybrid__worker_main((hybrid__worker *)arg); return NULL; }
#else
static DWORD WINAPI hybrid__worker_entry(LPVOID arg) { hybrid__worker_main((hybrid__worker *)arg); return 0; }
#endif

/* Starts the workers at the first section. One that cannot be started leaves a smaller pool: its lane stays empty. */
static void hybrid__pool_start(hybrid__pool *pool)
{
    int i;
    pool->started = true;
    for (i = 0; i + 1 < pool->n_lanes; i++) {
        hybrid__worker *w = &pool->workers[i];
        w->pool = pool;
        w->lane = i + 1;
#if defined(HYBRID__THREADS_POSIX)
        if (pthread_create(&w->thread, NULL, hybrid__worker_entry, w)) break;
#else
        if (!(w->thread = CreateThread(NULL, 0, hybrid__worker_entry, w, 0, NULL))) break;
#endif
        pool->n_workers++;
    }
}
#endif

typedef struct hybrid__host_section { hybrid__chunk_fn fn; void *arg; volatile uint64_t next; int n; } hybrid__host_section;
static void hybrid__host_lane(void *arg, int lane)
{
    hybrid__host_section *s = (hybrid__host_section *)arg;
    uint64_t chunk;
    while ((chunk = hybrid__atomic_add(&s->next, 1)) < (uint64_t)s->n) s->fn(s->arg, (int)chunk, lane);
}

/* Runs fn for chunks 0..n-1 and returns when all are done. */
static void hybrid__pool_run(hybrid__pool *pool, int n, hybrid__chunk_fn fn, void *arg)
{
    uint64_t idle = 0;
    int i, lanes = pool->n_lanes;
    if (n > 1 && lanes > 1 && n <= HYBRID__MAX_CHUNKS && hybrid__atomic_cas(&pool->busy, &idle, 1)) {
        if (pool->host_for) {
            hybrid__host_section section;
            section.fn = fn; section.arg = arg; section.next = 0; section.n = n;
            pool->host_for(pool->host_user, HYBRID__MIN(n, lanes), hybrid__host_lane, &section);
        } else {
#if defined(HYBRID__THREADS_POSIX) || defined(HYBRID__THREADS_WIN32)
            uint64_t section = (hybrid__atomic_load(&pool->ticket) >> 32) + 1;
            if (!pool->started) hybrid__pool_start(pool);
            pool->fn = fn;
            pool->arg = arg;
            hybrid__atomic_store(&pool->done, 0);
            hybrid__atomic_store(&pool->ticket, (section & 0xFFFFFFFFu) << 32 | (uint64_t)n << 16);
            if (hybrid__atomic_load(&pool->sleepers)) hybrid__pool_wake(pool);
            hybrid__pool_work(pool, 0);
            for (i = 0; hybrid__atomic_load(&pool->done) < (uint64_t)n; i++) {
                hybrid__pause();
    #if defined(HYBRID__THREADS_POSIX)
                if (i > 2000) sched_yield();                 /* a worker lost its core: give it ours */
    #endif
            }
#endif
        }
        hybrid__atomic_store(&pool->busy, 0);
        return;
    }
    for (i = 0; i < n; i++) fn(arg, i, 0);
}

static void hybrid__pool_stop(hybrid__pool *pool)
{
#if defined(HYBRID__THREADS_POSIX) || defined(HYBRID__THREADS_WIN32)
    int i;
    if (!pool->started) return;
    hybrid__atomic_store(&pool->stop, 1);
    hybrid__pool_wake(pool);
    for (i = 0; i < pool->n_workers; i++) {
#if defined(HYBRID__THREADS_POSIX)
        pthread_join(pool->workers[i].thread, NULL);
#else
        WaitForSingleObject(pool->workers[i].thread, INFINITE);
        CloseHandle(pool->workers[i].thread);
#endif
    }
    pool->started = false;
#else
    HYBRID__UNUSED(pool);
#endif
}
/* ==== end src/core/thread.c ==== */

/* ==== begin src/core/cpu.c ==== */
/* core/cpu: what this processor and its operating system can do. */

#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
    #define HYBRID__X86 1
#endif
#if !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
    #define HYBRID__ARM 1
#endif

/* The ISA classes that kernels are written for. Each holds all of the one before it on the same machine. */
typedef enum hybrid__isa { HYBRID__ISA_GENERIC, HYBRID__ISA_AVX2, HYBRID__ISA_AVX512, HYBRID__ISA_NEON, HYBRID__ISA_COUNT } hybrid__isa;

static const char *hybrid__isa_name(hybrid__isa isa)
{
    static const char *const names[] = { "generic", "avx2", "avx512", "neon" };
    return (unsigned)isa < HYBRID__ISA_COUNT ? names[isa] : "?";
}

#if defined(HYBRID__X86)
static void hybrid__cpuid(uint32_t leaf, uint32_t sub, uint32_t r[4])
{
#if defined(_MSC_VER) && !defined(__clang__)
    int v[4];
    __cpuidex(v, (int)leaf, (int)sub);
    r[0] = (uint32_t)v[0]; r[1] = (uint32_t)v[1]; r[2] = (uint32_t)v[2]; r[3] = (uint32_t)v[3];
#else
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(sub));
#endif
}
static uint64_t hybrid__xgetbv(void)
{
#if defined(_MSC_VER) && !defined(__clang__)
    return _xgetbv(0);
#else
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
#endif
}
#endif

/* AVX2 class: AVX2 + FMA + F16C. AVX512 class: F, BW, DQ, VL + VNNI (+ all of AVX2). Both also need the OS to save the registers. */
static hybrid__isa hybrid__cpu_isa(void)
{
#if defined(HYBRID__X86)
    uint32_t r[4], max;
    uint64_t xcr;
    hybrid__cpuid(0, 0, r);
    max = r[0];
    if (max < 7) return HYBRID__ISA_GENERIC;
    hybrid__cpuid(1, 0, r);
    if (!(r[2] & 1u << 27) || !(r[2] & 1u << 28) || !(r[2] & 1u << 12) || !(r[2] & 1u << 29)) return HYBRID__ISA_GENERIC;
    xcr = hybrid__xgetbv();
    if ((xcr & 6) != 6) return HYBRID__ISA_GENERIC;
    hybrid__cpuid(7, 0, r);
    if (!(r[1] & 1u << 5)) return HYBRID__ISA_GENERIC;
    if ((r[1] & 1u << 16) && (r[1] & 1u << 17) && (r[1] & 1u << 30) && (r[1] & 1u << 31) && (r[2] & 1u << 11) && (xcr & 0xE6) == 0xE6)
        return HYBRID__ISA_AVX512;
    return HYBRID__ISA_AVX2;
#elif defined(HYBRID__ARM)
    return HYBRID__ISA_NEON;
#else
    return HYBRID__ISA_GENERIC;
#endif
}
/* ==== end src/core/cpu.c ==== */

/* ==== begin src/core/runtime.c ==== */
/* core/runtime: the object that everything hangs off: memory, log, workers. Counted, so that objects may outlive the caller's handle. */

struct hybrid_runtime {
    hybrid_allocator  allocator;
    hybrid_logger     logger;
    hybrid__isa       isa;
    hybrid__pool      pool;
    volatile uint64_t references;
};

static void *hybrid__default_alloc(void *user, size_t size) { HYBRID__UNUSED(user); return malloc(size); }
static void hybrid__default_free(void *user, void *block) { HYBRID__UNUSED(user); free(block); }

/* Uninitialised memory, or NULL. size 0 gives a block too, so that NULL always means failure. */
static void *hybrid__alloc(hybrid_runtime *rt, size_t size) { return rt->allocator.alloc(rt->allocator.user, size ? size : 1); }
static void hybrid__free(hybrid_runtime *rt, void *block) { if (block) rt->allocator.free(rt->allocator.user, block); }

/* Zeroed memory for count elements, or NULL (also when count * size overflows). */
static void *hybrid__calloc(hybrid_runtime *rt, size_t count, size_t size)
{
    size_t bytes;
    void *p;
    if (!hybrid__mul_size(count, size, &bytes)) return NULL;
    if ((p = hybrid__alloc(rt, bytes))) memset(p, 0, bytes);
    return p;
}

/* Grows block from old_size to new_size bytes; on failure NULL, and the old block stands. */
static void *hybrid__realloc(hybrid_runtime *rt, void *block, size_t old_size, size_t new_size)
{
    void *p = hybrid__alloc(rt, new_size);
    if (!p) return NULL;
    if (block) memcpy(p, block, HYBRID__MIN(old_size, new_size));
    hybrid__free(rt, block);
    return p;
}

/* For kernels: 64-byte aligned, freed by hybrid__free_aligned. */
static void *hybrid__alloc_aligned(hybrid_runtime *rt, size_t size)
{
    size_t total;
    unsigned char *raw, *p;
    if (!hybrid__add_size(size, 64 + sizeof(void *), &total) || !(raw = (unsigned char *)hybrid__alloc(rt, total))) return NULL;
    p = raw + sizeof(void *) + (64 - ((uintptr_t)raw + sizeof(void *)) % 64) % 64;
    memcpy(p - sizeof(void *), &raw, sizeof(void *));
    return p;
}
static void hybrid__free_aligned(hybrid_runtime *rt, void *block)
{
    void *raw;
    if (!block) return;
    memcpy(&raw, (unsigned char *)block - sizeof(void *), sizeof(void *));
    hybrid__free(rt, raw);
}

static HYBRID__PRINTF(3, 4) void hybrid__log(hybrid_runtime *rt, hybrid_log_level level, const char *format, ...)
{
    char line[512];
    va_list args;
    if (!rt->logger.log) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    rt->logger.log(rt->logger.user, level, line);
}

static void hybrid__runtime_release(hybrid_runtime *rt)
{
    if (!rt || hybrid__atomic_add(&rt->references, (uint64_t)-1) != 1) return;
    hybrid__pool_stop(&rt->pool);
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_destroy(&rt->pool.mutex);
    pthread_cond_destroy(&rt->pool.wake);
#endif
    hybrid__free(rt, rt->pool.workers);
    { hybrid_allocator a = rt->allocator; a.free(a.user, rt); }
}

HYBRID_API hybrid_result hybrid_runtime_create(const hybrid_runtime_desc *desc, hybrid_runtime **runtime, hybrid_error *error)
{
    static const hybrid_runtime_desc zero = { { NULL, NULL, NULL }, { NULL, NULL }, 0, NULL, NULL, NULL };
    hybrid_allocator a;
    hybrid_runtime *rt;
    int i;
    if (!runtime) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: runtime is NULL");
    *runtime = NULL;
    if (!desc) desc = &zero;
    a = desc->allocator;
    if (!a.alloc != !a.free) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: give both alloc and free, or neither");
    if (desc->n_threads < 0 || desc->n_threads > HYBRID__MAX_THREADS)
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: n_threads is %d, must be 0..%d", desc->n_threads, HYBRID__MAX_THREADS);
    if (!a.alloc) { a.alloc = hybrid__default_alloc; a.free = hybrid__default_free; }
    if (!(rt = (hybrid_runtime *)a.alloc(a.user, sizeof *rt))) return hybrid__fail_memory(error, sizeof *rt);
    memset(rt, 0, sizeof *rt);
    rt->allocator = a;
    rt->logger = desc->logger;
    rt->references = 1;
    rt->isa = hybrid__cpu_isa();
    if (desc->isa) {
        for (i = 0; i < HYBRID__ISA_COUNT && strcmp(desc->isa, hybrid__isa_name((hybrid__isa)i)); i++) {}
        if (i == HYBRID__ISA_COUNT) {
            a.free(a.user, rt);
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_runtime_create: isa \"%.32s\" is none of generic, avx2, avx512, neon", desc->isa);
        }
        if (i == HYBRID__ISA_NEON ? rt->isa == HYBRID__ISA_NEON : i < (int)rt->isa) rt->isa = (hybrid__isa)i;
    }
    rt->pool.n_lanes = desc->n_threads ? desc->n_threads : HYBRID__MIN(hybrid__cpu_count(), 16);
    rt->pool.host_for = desc->parallel_for;
    rt->pool.host_user = desc->parallel_user;
#if !defined(HYBRID__THREADS_POSIX) && !defined(HYBRID__THREADS_WIN32)
    if (!rt->pool.host_for) rt->pool.n_lanes = 1;
#endif
#if defined(HYBRID__THREADS_POSIX)
    pthread_mutex_init(&rt->pool.mutex, NULL);
    pthread_cond_init(&rt->pool.wake, NULL);
#elif defined(HYBRID__THREADS_WIN32)
    InitializeSRWLock(&rt->pool.mutex);
    InitializeConditionVariable(&rt->pool.wake);
#endif
    if (!(rt->pool.workers = (hybrid__worker *)hybrid__calloc(rt, (size_t)rt->pool.n_lanes, sizeof(hybrid__worker)))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, (size_t)desc->n_threads * sizeof(hybrid__worker));
    }
    *runtime = rt;
    return HYBRID_OK;
}

HYBRID_API void hybrid_runtime_destroy(hybrid_runtime *runtime) { hybrid__runtime_release(runtime); }
HYBRID_API const char *hybrid_runtime_isa(const hybrid_runtime *runtime) { return runtime ? hybrid__isa_name(runtime->isa) : hybrid__isa_name(hybrid__cpu_isa()); }
HYBRID_API int hybrid_runtime_threads(const hybrid_runtime *runtime) { return runtime ? runtime->pool.n_lanes : 1; }

/* The runtime that an object keeps: the caller's, counted once more, or (NULL) a default one of its own. */
static hybrid_result hybrid__runtime_retain(hybrid_runtime *runtime, hybrid_runtime **own, hybrid_error *error)
{
    if (!runtime) return hybrid_runtime_create(NULL, own, error);
    hybrid__atomic_add(&runtime->references, 1);
    *own = runtime;
    return HYBRID_OK;
}

/* fn(arg, chunk, lane) for chunk 0..n-1; lane < hybrid__lanes(rt). The order of chunks is free: no result may depend on it. */
static void hybrid__parallel(hybrid_runtime *rt, int n, hybrid__chunk_fn fn, void *arg) { hybrid__pool_run(&rt->pool, n, fn, arg); }
static int hybrid__lanes(const hybrid_runtime *rt) { return rt->pool.n_lanes; }
/* ==== end src/core/runtime.c ==== */

/* ==== begin src/core/file.c ==== */
/* core/file: bytes from a path (mapped where the system can), from memory, or from the host's callbacks. */

typedef struct hybrid__file {
    const unsigned char *data;          /* all bytes, when mapped or in memory; else NULL: use hybrid__file_read */
    uint64_t             size;
    hybrid_reader        reader;        /* when !data */
    void                *map;           /* to unmap */
    size_t               map_size;
#ifndef HYBRID_NO_STDIO
    #if defined(_WIN32)
    FILE                *stream;        /* when neither */
    #else
    int                  fd;            /* when neither: descriptor + 1; plain read and lseek, which every -std shows */
    #endif
#endif
} hybrid__file;

#if !defined(HYBRID_NO_MMAP) && !defined(HYBRID_NO_STDIO)
    #if defined(_WIN32)
        #define HYBRID__MMAP_WIN32
    #elif defined(__unix__) || defined(__APPLE__)
        #define HYBRID__MMAP_POSIX
    #endif
#endif

static void hybrid__file_close(hybrid__file *f)
{
#if defined(HYBRID__MMAP_POSIX)
    if (f->map) munmap(f->map, f->map_size);
#elif defined(HYBRID__MMAP_WIN32)
    if (f->map) UnmapViewOfFile(f->map);
#endif
#ifndef HYBRID_NO_STDIO
    #if defined(_WIN32)
    if (f->stream) fclose(f->stream);
    #else
    if (f->fd) close(f->fd - 1);
    #endif
#endif
    if (f->reader.close) f->reader.close(f->reader.user);
    memset(f, 0, sizeof *f);
}

#if !defined(HYBRID_NO_STDIO) && defined(_WIN32)
static hybrid_result hybrid__file_open_path(const char *path, hybrid__file *f, hybrid_error *error)
{
    wchar_t wide[1024];
    long long size;
    if (MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) <= 0)
        return hybrid__fail(error, HYBRID_ERROR_IO, "'%.160s' is no valid UTF-8 path", path);
#if defined(HYBRID__MMAP_WIN32)
    {
        HANDLE file = CreateFileW(wide, GENERIC_READ, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL), mapping;
        LARGE_INTEGER bytes;
        if (file == INVALID_HANDLE_VALUE) return hybrid__fail(error, HYBRID_ERROR_IO, "cannot open '%.160s' (error %lu)", path, GetLastError());
        if (GetFileSizeEx(file, &bytes) && bytes.QuadPart && (mapping = CreateFileMappingW(file, NULL, PAGE_READONLY, 0, 0, NULL)) != NULL) {
            f->size = (uint64_t)bytes.QuadPart;
            f->map = MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0);
            f->data = (const unsigned char *)f->map;
            CloseHandle(mapping);
        }
        CloseHandle(file);
        if (f->data) return HYBRID_OK;
    }
#endif
    if (!(f->stream = _wfopen(wide, L"rb"))) return hybrid__fail(error, HYBRID_ERROR_IO, "cannot open '%.160s'", path);
    if (_fseeki64(f->stream, 0, SEEK_END) || (size = _ftelli64(f->stream)) < 0)
        return hybrid__fail(error, HYBRID_ERROR_IO, "cannot tell the size of '%.160s'", path);
    f->size = (uint64_t)size;
    return HYBRID_OK;
}
static bool hybrid__file_read_at(hybrid__file *f, uint64_t offset, void *dst, size_t n)
{
    return f->stream && !_fseeki64(f->stream, (long long)offset, SEEK_SET) && fread(dst, 1, n, f->stream) == n;
}
#elif !defined(HYBRID_NO_STDIO)
static hybrid_result hybrid__file_open_path(const char *path, hybrid__file *f, hybrid_error *error)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    if (fd < 0) return hybrid__fail(error, HYBRID_ERROR_IO, "cannot open '%.160s': %.60s", path, strerror(errno));
    f->fd = fd + 1;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) return hybrid__fail(error, HYBRID_ERROR_IO, "'%.160s' is not a regular file", path);
    f->size = (uint64_t)st.st_size;
#if defined(HYBRID__MMAP_POSIX)
    if (f->size && f->size <= SIZE_MAX) {
        void *map = mmap(NULL, (size_t)f->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map != MAP_FAILED) { f->map = map; f->map_size = (size_t)f->size; f->data = (const unsigned char *)map; }
    }
#endif
    return HYBRID_OK;
}
static bool hybrid__file_read_at(hybrid__file *f, uint64_t offset, void *dst, size_t n)
{
    char *to = (char *)dst;
    if (!f->fd || lseek(f->fd - 1, (off_t)offset, SEEK_SET) != (off_t)offset) return false;
    while (n) {
        ssize_t got = read(f->fd - 1, to, HYBRID__MIN(n, (size_t)1 << 30));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        to += got;
        n -= (size_t)got;
    }
    return true;
}
#else
static bool hybrid__file_read_at(hybrid__file *f, uint64_t offset, void *dst, size_t n)
{
    HYBRID__UNUSED(f); HYBRID__UNUSED(offset); HYBRID__UNUSED(dst); HYBRID__UNUSED(n);
    return false;
}
#endif

/* Opens one of the three. On failure nothing is left open, and a reader's close has been called. */
static hybrid_result hybrid__file_open(const hybrid_source *source, hybrid__file *f, hybrid_error *error)
{
    int given = !!source->path + !!source->data + !!source->reader.read_at;
    hybrid_result r = HYBRID_OK;
    memset(f, 0, sizeof *f);
    f->reader = source->reader;
    if (given != 1) r = hybrid__fail(error, HYBRID_ERROR_INVALID, "give exactly one of path, data and reader, not %d of them", given);
    else if (source->data) { f->data = (const unsigned char *)source->data; f->size = source->size; }
    else if (source->path) {
#ifndef HYBRID_NO_STDIO
        r = hybrid__file_open_path(source->path, f, error);
#else
        r = hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this build has no files (HYBRID_NO_STDIO): use data or reader");
#endif
    }
    else f->size = source->reader.size;
    if (r) hybrid__file_close(f);
    return r;
}

/* n bytes at offset, all or an error. */
static hybrid_result hybrid__file_read(hybrid__file *f, uint64_t offset, void *dst, size_t n, hybrid_error *error)
{
    if (offset > f->size || n > f->size - offset)
        return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, offset, "the file ends at byte %llu, but %llu bytes at %llu are needed: it is truncated",
                               (unsigned long long)f->size, (unsigned long long)n, (unsigned long long)offset);
    if (!n) return HYBRID_OK;
    if (f->data) { memcpy(dst, f->data + offset, n); return HYBRID_OK; }
    if (f->reader.read_at) {
        if (f->reader.read_at(f->reader.user, offset, dst, n)) return HYBRID_OK;
        return hybrid__fail_at(error, HYBRID_ERROR_IO, offset, "the reader failed to deliver %llu bytes at %llu", (unsigned long long)n, (unsigned long long)offset);
    }
    if (hybrid__file_read_at(f, offset, dst, n)) return HYBRID_OK;
    return hybrid__fail_at(error, HYBRID_ERROR_IO, offset, "reading %llu bytes at %llu failed", (unsigned long long)n, (unsigned long long)offset);
}
/* ==== end src/core/file.c ==== */

/* ==== begin src/core/random.c ==== */
/* core/random: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3"): a number is a function
 * of (seed, stream, counter), so it depends on no thread, no batch and no device. */

static void hybrid__philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4])
{
    uint32_t c[4], k[2];
    int i;
    c[0] = (uint32_t)counter; c[1] = (uint32_t)(counter >> 32); c[2] = (uint32_t)stream; c[3] = (uint32_t)(stream >> 32);
    k[0] = (uint32_t)seed; k[1] = (uint32_t)(seed >> 32);
    for (i = 0; i < 10; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k[0], n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k[1];
        c[1] = (uint32_t)p1; c[3] = (uint32_t)p0; c[0] = n0; c[2] = n2;
        k[0] += 0x9E3779B9u; k[1] += 0xBB67AE85u;
    }
    memcpy(out, c, sizeof c);
}

/* Uniform in [0, 1), 53 bits. */
static double hybrid__random_uniform(uint64_t seed, uint64_t stream, uint64_t counter)
{
    uint32_t r[4];
    hybrid__philox(seed, stream, counter, r);
    return (double)(((uint64_t)r[0] << 32 | r[1]) >> 11) * (1.0 / 9007199254740992.0);
}
/* ==== end src/core/random.c ==== */

/* gguf */

/* ==== begin src/gguf/names.c ==== */
/* gguf/names: names that must differ, found by hash. Holds pointers to the characters, not the characters. */

typedef struct hybrid__names {
    hybrid_string *names;
    uint32_t      *slots;        /* index + 1 of a name, 0: free; linear probing, at most half full */
    size_t         count, capacity;
    uint64_t       seed;
} hybrid__names;

#define HYBRID__NO_NAME SIZE_MAX

static uint64_t hybrid__names_hash(const hybrid__names *t, hybrid_string name)
{
    uint64_t h = t->seed ^ name.size, w;
    size_t i;
    for (i = 0; name.size - i >= 8; i += 8) {
        h = (h ^ hybrid__load_u64(name.data + i)) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    for (w = 0; i < name.size; i++) w = w << 8 | (unsigned char)name.data[i];
    h = (h ^ w) * 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

/* The slot of the name, or the free one where it belongs. There are 2 * capacity slots, a power of two. */
static size_t hybrid__names_slot(const hybrid__names *t, hybrid_string name)
{
    size_t mask = 2 * t->capacity - 1, at = (size_t)hybrid__names_hash(t, name) & mask;
    for (; t->slots[at]; at = (at + 1) & mask) {
        hybrid_string other = t->names[t->slots[at] - 1];
        if (other.size == name.size && !memcmp(other.data, name.data, name.size)) break;
    }
    return at;
}

static size_t hybrid__names_find(const hybrid__names *t, hybrid_string name)
{
    size_t slot;
    if (!t->count) return HYBRID__NO_NAME;
    slot = hybrid__names_slot(t, name);
    return t->slots[slot] ? t->slots[slot] - 1 : HYBRID__NO_NAME;
}

static void hybrid__names_free(hybrid_runtime *rt, hybrid__names *t)
{
    hybrid__free(rt, t->names);
    hybrid__free(rt, t->slots);
    memset(t, 0, sizeof *t);
}

/* Room for n names in all. The seed is an address: a file cannot be made to collide everywhere. */
static bool hybrid__names_reserve(hybrid_runtime *rt, hybrid__names *t, size_t n)
{
    size_t capacity = 16, i;
    hybrid__names bigger;
    if (n <= t->capacity) return true;
    while (capacity < n) capacity *= 2;
    bigger.capacity = capacity;
    bigger.count = t->count;
    bigger.names = (hybrid_string *)hybrid__calloc(rt, capacity, sizeof(hybrid_string));
    bigger.slots = (uint32_t *)hybrid__calloc(rt, 2 * capacity, sizeof(uint32_t));
    bigger.seed = (uint64_t)(uintptr_t)bigger.slots * 0xFF51AFD7ED558CCDu;
    if (!bigger.names || !bigger.slots) { hybrid__names_free(rt, &bigger); return false; }
    if (t->count) memcpy(bigger.names, t->names, t->count * sizeof(hybrid_string));
    for (i = 0; i < t->count; i++) bigger.slots[hybrid__names_slot(&bigger, bigger.names[i])] = (uint32_t)i + 1;
    hybrid__names_free(rt, t);
    *t = bigger;
    return true;
}

/* Adds a name, for which there must be room. false: it is there already. */
static bool hybrid__names_add(hybrid__names *t, hybrid_string name)
{
    size_t slot = hybrid__names_slot(t, name);
    if (t->slots[slot]) return false;
    t->names[t->count++] = name;
    t->slots[slot] = (uint32_t)t->count;
    return true;
}

static hybrid_string hybrid__string(const char *text)
{
    hybrid_string s;
    s.data = text;
    s.size = text ? strlen(text) : 0;
    return s;
}

/* A name from a file, safe to print: shortened, with anything unusual as '?'. Returns text. */
static const char *hybrid__printable(hybrid_string name, char text[64])
{
    size_t i, n = HYBRID__MIN(name.size, 63);
    for (i = 0; i < n; i++) text[i] = name.data[i] >= 32 && name.data[i] < 127 ? name.data[i] : '?';
    text[n] = 0;
    if (name.size > n) memcpy(text + 60, "...", 3);
    return text;
}
/* ==== end src/gguf/names.c ==== */

/* ==== begin src/gguf/value.c ==== */
/* gguf/value: the 13 types of metadata values and their items. */

#define HYBRID__GGUF_N_TYPES 13

HYBRID_API const char *hybrid_gguf_type_name(hybrid_gguf_type type)
{
    static const char *const names[HYBRID__GGUF_N_TYPES] = { "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64" };
    return (unsigned)type < HYBRID__GGUF_N_TYPES ? names[type] : NULL;
}

HYBRID__INLINE void hybrid__gguf_store_u64(void *p, uint64_t v) { memcpy(p, &v, 8); }

/* Bytes of a number; 0 for strings and arrays. */
static size_t hybrid__gguf_number_size(hybrid_gguf_type type)
{
    static const unsigned char sizes[HYBRID__GGUF_N_TYPES] = { 1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8 };
    return sizes[type];
}

/* Fewest bytes that an item of an array can have: an empty string is its size, an empty array its header. */
static size_t hybrid__gguf_item_min_size(hybrid_gguf_type type)
{
    return type == HYBRID_GGUF_STRING ? 8 : type == HYBRID_GGUF_ARRAY ? 12 : hybrid__gguf_number_size(type);
}

static bool hybrid__gguf_load_i64(hybrid_gguf_type type, const unsigned char *p, int64_t *out)
{
    uint64_t u;
    switch (type) {
        case HYBRID_GGUF_U8:   *out = *p; return true;
        case HYBRID_GGUF_I8:   *out = (int8_t)*p; return true;
        case HYBRID_GGUF_U16:  *out = hybrid__load_u16(p); return true;
        case HYBRID_GGUF_I16:  *out = (int16_t)hybrid__load_u16(p); return true;
        case HYBRID_GGUF_U32:  *out = hybrid__load_u32(p); return true;
        case HYBRID_GGUF_I32:  *out = (int32_t)hybrid__load_u32(p); return true;
        case HYBRID_GGUF_BOOL: *out = *p != 0; return true;
        case HYBRID_GGUF_I64:  *out = (int64_t)hybrid__load_u64(p); return true;
        case HYBRID_GGUF_U64:
            if ((u = hybrid__load_u64(p)) > INT64_MAX) return false;
            *out = (int64_t)u;
            return true;
        case HYBRID_GGUF_F32: case HYBRID_GGUF_F64: case HYBRID_GGUF_STRING: case HYBRID_GGUF_ARRAY: break;
    }
    return false;
}

static bool hybrid__gguf_load_f64(hybrid_gguf_type type, const unsigned char *p, double *out)
{
    int64_t i;
    if (type == HYBRID_GGUF_F32) *out = hybrid__load_f32(p);
    else if (type == HYBRID_GGUF_F64) memcpy(out, p, 8);
    else if (type == HYBRID_GGUF_U64) *out = (double)hybrid__load_u64(p);
    else if (hybrid__gguf_load_i64(type, p, &i)) *out = (double)i;
    else return false;
    return true;
}

/* The bytes of number i of a value; NULL when there is none. */
static const unsigned char *hybrid__gguf_number_at(const hybrid_gguf_value *value, uint64_t i)
{
    size_t size;
    if (!value || !value->data || (unsigned)value->item_type >= HYBRID__GGUF_N_TYPES || i >= value->count) return NULL;
    size = hybrid__gguf_number_size(value->item_type);
    return size ? (const unsigned char *)value->data + i * size : NULL;
}

HYBRID_API int64_t hybrid_gguf_item_i64(const hybrid_gguf_value *value, uint64_t i)
{
    const unsigned char *p = hybrid__gguf_number_at(value, i);
    int64_t out = 0;
    if (p) hybrid__gguf_load_i64(value->item_type, p, &out);
    return out;
}

HYBRID_API double hybrid_gguf_item_f64(const hybrid_gguf_value *value, uint64_t i)
{
    const unsigned char *p = hybrid__gguf_number_at(value, i);
    double out = 0;
    if (p) hybrid__gguf_load_f64(value->item_type, p, &out);
    return out;
}

HYBRID_API hybrid_string hybrid_gguf_item_string(const hybrid_gguf_value *value, uint64_t i)
{
    hybrid_string s = { NULL, 0 };
    if (!value || value->item_type != HYBRID_GGUF_STRING || i >= value->count) return s;
    if (value->type == HYBRID_GGUF_STRING) {
        s.data = (const char *)value->data;
        s.size = (size_t)value->size;
    }
    else if (value->index) {
        s.data = (const char *)value->data + value->index[i] + 8;
        s.size = (size_t)hybrid__load_u64(s.data - 8);
    }
    return s;
}

/* The index of n arrays: n offsets from data, then n distances from this index to that of the item; see hybrid__gguf_scan_array. */
HYBRID_API bool hybrid_gguf_item_array(const hybrid_gguf_value *value, uint64_t i, hybrid_gguf_value *item)
{
    const unsigned char *p;
    uint64_t end;
    if (!value || !item || value->type != HYBRID_GGUF_ARRAY || value->item_type != HYBRID_GGUF_ARRAY || i >= value->count || !value->index) return false;
    p = (const unsigned char *)value->data + value->index[i];
    end = i + 1 < value->count ? value->index[i + 1] : value->size;
    item->type = HYBRID_GGUF_ARRAY;
    item->item_type = (hybrid_gguf_type)hybrid__load_u32(p);
    item->count = hybrid__load_u64(p + 4);
    item->size = end - value->index[i] - 12;
    item->index = hybrid__gguf_number_size(item->item_type) ? NULL : value->index + value->index[value->count + i];
    item->data = p + 12;
    return true;
}
/* ==== end src/gguf/value.c ==== */

/* ==== begin src/gguf/scan.c ==== */
/* gguf/scan: a walk over the metadata, which checks every length before it is believed. Works on a mapped file, and on one that is
 * read in growing blocks; so places are offsets until the walk is over. */

#define HYBRID__GGUF_FIRST_BLOCK 0x100000

typedef struct hybrid__gguf_scan {
    hybrid_runtime      *rt;
    hybrid__file        *file;           /* NULL: bytes holds all */
    const unsigned char *bytes;          /* the first `have` bytes */
    unsigned char       *owned;          /* bytes, when they were read and not mapped */
    uint64_t             at, have, size; /* at <= have <= size */
    uint32_t            *index;          /* where strings and arrays of arrays begin */
    size_t               n_index, index_capacity;
    const char          *kind;           /* what is being read, for messages: "key" number, "tensor" number */
    uint64_t             number;
    size_t               name_at, name_size;
    hybrid_error        *error;
} hybrid__gguf_scan;

/* Where a value lies. */
typedef struct hybrid__gguf_span {
    hybrid_gguf_type type, item_type;
    uint64_t         count, at, size;
    size_t           index;              /* of its first entry in the index */
} hybrid__gguf_span;

/* "key 12 'general.name'", for messages. */
static const char *hybrid__gguf_subject(const hybrid__gguf_scan *s, char text[96])
{
    char name[64];
    hybrid_string raw;
    raw.data = (const char *)s->bytes + s->name_at;
    raw.size = s->name_size;
    if (!raw.size) snprintf(text, 96, "%s %llu", s->kind, (unsigned long long)s->number);
    else snprintf(text, 96, "%s '%s'", s->kind, hybrid__printable(raw, name));
    return text;
}

static hybrid_result hybrid__gguf_fill(hybrid__gguf_scan *s, uint64_t end)
{
    while (s->have < end) {              /* twice as much each time: few reads, and no big allocation for a file that lies */
        uint64_t next = HYBRID__MIN(s->size, HYBRID__MAX(2 * s->have, (uint64_t)HYBRID__GGUF_FIRST_BLOCK));
        unsigned char *grown = next > SIZE_MAX ? NULL : (unsigned char *)hybrid__realloc(s->rt, s->owned, (size_t)s->have, (size_t)next);
        hybrid_result r;
        if (!grown) return hybrid__fail_memory(s->error, next);
        s->bytes = s->owned = grown;
        if ((r = hybrid__file_read(s->file, s->have, grown + s->have, (size_t)(next - s->have), s->error))) return r;
        s->have = next;
    }
    return HYBRID_OK;
}

/* Makes sure that n bytes at s->at can be looked at. */
static hybrid_result hybrid__gguf_need(hybrid__gguf_scan *s, uint64_t n)
{
    char subject[96];
    if (n <= s->have - s->at) return HYBRID_OK;
    if (n > s->size - s->at)
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, s->at, "truncated or damaged: %s needs %llu bytes at %llu, but all ends at %llu: download or copy it again",
                               hybrid__gguf_subject(s, subject), (unsigned long long)n, (unsigned long long)s->at, (unsigned long long)s->size);
    if (s->at + n > HYBRID_GGUF_MAX_METADATA)
        return hybrid__fail_at(s->error, HYBRID_ERROR_LIMIT, s->at, "%s reaches beyond the first %u bytes, which is more metadata than hybrid accepts",
                               hybrid__gguf_subject(s, subject), (unsigned)HYBRID_GGUF_MAX_METADATA);
    return hybrid__gguf_fill(s, s->at + n);
}

static hybrid_result hybrid__gguf_scan_u32(hybrid__gguf_scan *s, uint32_t *out)
{
    hybrid_result r = hybrid__gguf_need(s, 4);
    if (r) return r;
    *out = hybrid__load_u32(s->bytes + s->at);
    s->at += 4;
    return HYBRID_OK;
}

static hybrid_result hybrid__gguf_scan_u64(hybrid__gguf_scan *s, uint64_t *out)
{
    hybrid_result r = hybrid__gguf_need(s, 8);
    if (r) return r;
    *out = hybrid__load_u64(s->bytes + s->at);
    s->at += 8;
    return HYBRID_OK;
}

/* A string's size and characters; leaves s->at behind it. */
static hybrid_result hybrid__gguf_scan_string(hybrid__gguf_scan *s, uint64_t *size)
{
    hybrid_result r = hybrid__gguf_scan_u64(s, size);
    if (!r && !(r = hybrid__gguf_need(s, *size))) s->at += *size;
    return r;
}

/* The name of the key or tensor that begins here; from now on messages tell it. */
static hybrid_result hybrid__gguf_scan_name(hybrid__gguf_scan *s, const char *kind, uint64_t number)
{
    uint64_t size;
    hybrid_result r;
    s->kind = kind;
    s->number = number;
    s->name_size = 0;
    if ((r = hybrid__gguf_scan_u64(s, &size))) return r;
    if (size > HYBRID_GGUF_MAX_NAME)
        return hybrid__fail_at(s->error, HYBRID_ERROR_LIMIT, s->at - 8, "the name of %s %llu has %llu bytes, at most %d can be: the file is damaged",
                               kind, (unsigned long long)number, (unsigned long long)size, HYBRID_GGUF_MAX_NAME);
    if ((r = hybrid__gguf_need(s, size))) return r;
    s->name_at = (size_t)s->at;
    s->name_size = (size_t)size;
    s->at += size;
    return HYBRID_OK;
}

static hybrid_result hybrid__gguf_scan_type(hybrid__gguf_scan *s, hybrid_gguf_type *type)
{
    char subject[96];
    uint32_t id;
    hybrid_result r = hybrid__gguf_scan_u32(s, &id);
    if (r) return r;
    if (id >= HYBRID__GGUF_N_TYPES)
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, s->at - 4, "%s: %lu at byte %llu is no type of a value: the file is damaged, or newer than this hybrid",
                               hybrid__gguf_subject(s, subject), (unsigned long)id, (unsigned long long)(s->at - 4));
    *type = (hybrid_gguf_type)id;
    return HYBRID_OK;
}

/* n more entries of the index, to be filled in by the caller. */
static hybrid_result hybrid__gguf_index_add(hybrid__gguf_scan *s, size_t n)
{
    size_t wanted = s->n_index + n, capacity = HYBRID__MAX(wanted, 2 * s->index_capacity);
    if (wanted > s->index_capacity) {
        uint32_t *grown = capacity > SIZE_MAX / 4 ? NULL : (uint32_t *)hybrid__realloc(s->rt, s->index, s->n_index * 4, capacity * 4);
        if (!grown) return hybrid__fail_memory(s->error, (uint64_t)capacity * 4);
        s->index = grown;
        s->index_capacity = capacity;
    }
    s->n_index = wanted;
    return HYBRID_OK;
}

/* An array from its item type on. Strings get an index of one offset each, arrays of two entries each: the offset of the item, and
 * the distance to the item's own index. Both are relative, so that the index may move and items are values like any other. */
static hybrid_result hybrid__gguf_scan_array(hybrid__gguf_scan *s, int depth, hybrid__gguf_span *span)
{
    char subject[96];
    hybrid__gguf_span item;
    hybrid_result r;
    uint64_t i, size;
    span->type = span->item_type = HYBRID_GGUF_ARRAY;
    span->count = 0;
    if ((r = hybrid__gguf_scan_type(s, &span->item_type)) || (r = hybrid__gguf_scan_u64(s, &span->count))) return r;
    span->at = s->at;
    span->index = s->n_index;
    if (span->count > (s->size - s->at) / hybrid__gguf_item_min_size(span->item_type))
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, s->at - 8, "truncated or damaged: %s has %llu items of type %s, but only %llu bytes follow: download or copy it again",
                               hybrid__gguf_subject(s, subject), (unsigned long long)span->count, hybrid_gguf_type_name(span->item_type), (unsigned long long)(s->size - s->at));
    if (span->item_type == HYBRID_GGUF_STRING) {
        if ((r = hybrid__gguf_need(s, span->count * 8)) || (r = hybrid__gguf_index_add(s, (size_t)span->count))) return r;
        for (i = 0; i < span->count; i++) {
            s->index[span->index + i] = (uint32_t)(s->at - span->at);
            if ((r = hybrid__gguf_scan_string(s, &size))) return r;
        }
    }
    else if (span->item_type == HYBRID_GGUF_ARRAY) {
        if (depth + 1 >= HYBRID_GGUF_MAX_DEPTH)
            return hybrid__fail_at(s->error, HYBRID_ERROR_LIMIT, s->at, "%s: arrays are nested more than %d deep", hybrid__gguf_subject(s, subject), HYBRID_GGUF_MAX_DEPTH);
        if ((r = hybrid__gguf_need(s, span->count * 12)) || (r = hybrid__gguf_index_add(s, 2 * (size_t)span->count))) return r;
        for (i = 0; i < span->count; i++) {
            s->index[span->index + i] = (uint32_t)(s->at - span->at);
            s->index[span->index + span->count + i] = (uint32_t)(s->n_index - span->index);
            if ((r = hybrid__gguf_scan_array(s, depth + 1, &item))) return r;
        }
    }
    else {
        size = span->count * hybrid__gguf_number_size(span->item_type);
        if ((r = hybrid__gguf_need(s, size))) return r;
        s->at += size;
    }
    span->size = s->at - span->at;
    return HYBRID_OK;
}

/* A value from its type on. */
static hybrid_result hybrid__gguf_scan_value(hybrid__gguf_scan *s, hybrid__gguf_span *span)
{
    hybrid_result r;
    memset(span, 0, sizeof *span);
    if ((r = hybrid__gguf_scan_type(s, &span->type))) return r;
    if (span->type == HYBRID_GGUF_ARRAY) return hybrid__gguf_scan_array(s, 0, span);
    span->item_type = span->type;
    span->count = 1;
    if (span->type == HYBRID_GGUF_STRING) {
        if ((r = hybrid__gguf_scan_string(s, &span->size))) return r;
    }
    else {
        span->size = hybrid__gguf_number_size(span->type);
        if ((r = hybrid__gguf_need(s, span->size))) return r;
        s->at += span->size;
    }
    span->at = s->at - span->size;
    return HYBRID_OK;
}
/* ==== end src/gguf/scan.c ==== */

/* ==== begin src/gguf/read.c ==== */
/* gguf/read: opens a GGUF file: header, keys, tensors, and every rule of the format that a reader can check. */

typedef struct hybrid__gguf_key {
    hybrid__gguf_span value;
    size_t            name_at, name_size;
} hybrid__gguf_key;

typedef struct hybrid__gguf_tensor_record {
    hybrid_gguf_tensor tensor;           /* name is filled in when the metadata stopped moving */
    size_t             name_at, name_size;
} hybrid__gguf_tensor_record;

struct hybrid_gguf {
    hybrid_runtime             *rt;
    hybrid__file                file;
    const unsigned char        *bytes;           /* the metadata: of the map, or owned */
    unsigned char              *owned;
    uint32_t                   *index;
    hybrid__gguf_key           *keys;
    hybrid__gguf_tensor_record *tensors;
    hybrid__names               key_names, tensor_names;
    size_t                      n_keys, n_tensors;
    uint64_t                    alignment;
    int                         version;
};

HYBRID_API void hybrid_gguf_destroy(hybrid_gguf *g)
{
    hybrid_runtime *rt;
    if (!g) return;
    rt = g->rt;
    hybrid__file_close(&g->file);
    hybrid__names_free(rt, &g->key_names);
    hybrid__names_free(rt, &g->tensor_names);
    hybrid__free(rt, g->tensors);
    hybrid__free(rt, g->keys);
    hybrid__free(rt, g->index);
    hybrid__free(rt, g->owned);
    hybrid__free(rt, g);
    hybrid__runtime_release(rt);
}

/* What a file without GGUF's magic bytes is, for the message: people meet these. */
static const char *hybrid__gguf_not(const unsigned char *p, uint64_t n)
{
    if (n >= 7 && !memcmp(p, "version", 7)) return "it looks like a Git LFS pointer: fetch the file itself with 'git lfs pull'";
    if (n >= 1 && *p == '<') return "it looks like a web page: download the file itself";
    if (n >= 4 && (!memcmp(p, "lmgg", 4) || !memcmp(p, "fmgg", 4) || !memcmp(p, "tjgg", 4) || !memcmp(p, "algg", 4)))
        return "it is a model file from before GGUF: look for a newer one";
    if (n >= 4 && !memcmp(p, "PK\3\4", 4)) return "it looks like a PyTorch checkpoint or zip archive: convert it to GGUF";
    if (n >= 9 && p[8] == '{') return "it looks like a safetensors file: convert it to GGUF";
    return "its first bytes are not 'GGUF'";
}

static hybrid_result hybrid__gguf_scan_header(hybrid__gguf_scan *s, uint32_t *version, uint64_t *n_tensors, uint64_t *n_keys)
{
    hybrid_result r;
    s->kind = "header";
    if (!s->size) return hybrid__fail(s->error, HYBRID_ERROR_FORMAT, "the file is empty: download or copy it again");
    if ((r = hybrid__gguf_need(s, HYBRID__MIN(s->size, 16)))) return r;
    if (s->size < 4 || memcmp(s->bytes, "GGUF", 4))
        return hybrid__fail(s->error, HYBRID_ERROR_FORMAT, "this is no GGUF file: %s", hybrid__gguf_not(s->bytes, HYBRID__MIN(s->size, 16)));
    s->at = 4;
    if ((r = hybrid__gguf_scan_u32(s, version))) return r;
    if (*version && !(*version & 0xFFFF))
        return hybrid__fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4, "this GGUF file is big-endian, hybrid reads little-endian ones: convert it with gguf-py's gguf-convert-endian");
    if (*version == 1)
        return hybrid__fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4, "this GGUF file has version 1 of 2023, hybrid reads versions 2 and 3: look for a newer file of this model");
    if (*version != 2 && *version != 3)
        return hybrid__fail_at(s->error, HYBRID_ERROR_UNSUPPORTED, 4, "this GGUF file has version %lu, hybrid reads versions 2 and 3", (unsigned long)*version);
    if ((r = hybrid__gguf_scan_u64(s, n_tensors)) || (r = hybrid__gguf_scan_u64(s, n_keys))) return r;
    if (*n_tensors > HYBRID_GGUF_MAX_TENSORS || *n_keys > HYBRID_GGUF_MAX_KEYS)
        return hybrid__fail_at(s->error, HYBRID_ERROR_LIMIT, 8, "%llu tensors and %llu keys are more than hybrid accepts (%d and %d): the file is damaged",
                               (unsigned long long)*n_tensors, (unsigned long long)*n_keys, HYBRID_GGUF_MAX_TENSORS, HYBRID_GGUF_MAX_KEYS);
    /* A key has at least the size of its name, a type and a byte; a tensor the size of its name, its dimensions, type and offset. */
    if (*n_keys * 13 + *n_tensors * 24 > s->size - s->at)
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, 8, "truncated or damaged: %llu tensors and %llu keys do not fit in %llu bytes: download or copy it again",
                               (unsigned long long)*n_tensors, (unsigned long long)*n_keys, (unsigned long long)s->size);
    return HYBRID_OK;
}

/* Type and bytes of a tensor whose type_id and ne are filled in. NULL, or what is wrong with them. */
static const char *hybrid__gguf_size_tensor(hybrid_gguf_tensor *t)
{
    uint64_t elements = 1, block, bytes;
    int i;
    for (i = 0; i < 4; i++) {
        if (!t->ne[i]) return "one of its dimensions is zero";
        if (t->ne[i] > INT64_MAX / elements) return "its dimensions multiply to more than 2^63 elements";
        elements *= t->ne[i];
    }
    t->type = t->type_id < HYBRID_TYPE_LAST_ && hybrid_type_block_size((hybrid_type)t->type_id) ? (hybrid_type)t->type_id : HYBRID_TYPE_LAST_;
    if (t->type == HYBRID_TYPE_LAST_) return NULL;
    block = hybrid_type_block_size(t->type);
    bytes = hybrid_type_block_bytes(t->type);
    if (t->ne[0] % block) return "its rows are no whole number of its type's blocks";
    if (elements / block > INT64_MAX / bytes) return "it would have more than 2^63 bytes";
    t->size = elements / block * bytes;
    return NULL;
}

static hybrid_result hybrid__gguf_scan_tensor(hybrid__gguf_scan *s, uint64_t number, hybrid__gguf_tensor_record *record)
{
    char subject[96];
    hybrid_gguf_tensor *t = &record->tensor;
    const char *wrong;
    uint32_t n_dims, i;
    hybrid_result r;
    if ((r = hybrid__gguf_scan_name(s, "tensor", number)) || (r = hybrid__gguf_scan_u32(s, &n_dims))) return r;
    record->name_at = s->name_at;
    record->name_size = s->name_size;
    if (n_dims > 4)
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, s->at - 4, "%s: %lu dimensions, at most 4 can be: the file is damaged", hybrid__gguf_subject(s, subject), (unsigned long)n_dims);
    t->n_dims = (int)n_dims;
    for (i = 0; i < 4; i++) t->ne[i] = 1;
    for (i = 0; i < n_dims; i++) if ((r = hybrid__gguf_scan_u64(s, &t->ne[i]))) return r;
    if ((r = hybrid__gguf_scan_u32(s, &t->type_id)) || (r = hybrid__gguf_scan_u64(s, &t->offset))) return r;
    if ((wrong = hybrid__gguf_size_tensor(t)))
        return hybrid__fail_at(s->error, HYBRID_ERROR_FORMAT, s->name_at, "%s: %s: the file is damaged", hybrid__gguf_subject(s, subject), wrong);
    return HYBRID_OK;
}

static hybrid_result hybrid__gguf_name_all(hybrid_gguf *g, hybrid_error *error)
{
    char text[64];
    hybrid_string name;
    size_t i;
    if (!hybrid__names_reserve(g->rt, &g->key_names, g->n_keys)) return hybrid__fail_memory(error, g->n_keys * 24);
    if (!hybrid__names_reserve(g->rt, &g->tensor_names, g->n_tensors)) return hybrid__fail_memory(error, g->n_tensors * 24);
    for (i = 0; i < g->n_keys; i++) {
        name.data = (const char *)g->bytes + g->keys[i].name_at;
        name.size = g->keys[i].name_size;
        if (!hybrid__names_add(&g->key_names, name))
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, g->keys[i].name_at, "two keys are named '%s': the file is damaged", hybrid__printable(name, text));
    }
    for (i = 0; i < g->n_tensors; i++) {
        name.data = (const char *)g->bytes + g->tensors[i].name_at;
        name.size = g->tensors[i].name_size;
        if (!hybrid__names_add(&g->tensor_names, name))
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, g->tensors[i].name_at, "two tensors are named '%s': the file is damaged", hybrid__printable(name, text));
        g->tensors[i].tensor.name = name;
    }
    return HYBRID_OK;
}

static bool hybrid__gguf_good_alignment(int64_t n) { return n >= 8 && n <= HYBRID_GGUF_MAX_METADATA && !(n & (n - 1)); }

/* Keys that say how to read the rest. */
static hybrid_result hybrid__gguf_read_general(hybrid_gguf *g, hybrid_error *error)
{
    hybrid_gguf_value value;
    int64_t alignment = 32, parts = 1, part = 0;
    bool given = hybrid_gguf_find(g, "general.alignment", &value);
    if (given && (!hybrid_gguf_get_i64(g, "general.alignment", &alignment) || !hybrid__gguf_good_alignment(alignment)))
        return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, (uint64_t)((const unsigned char *)value.data - g->bytes),
                               "key 'general.alignment' is no power of two of at least 8: the file is damaged");
    g->alignment = (uint64_t)alignment;
    hybrid_gguf_get_i64(g, "split.count", &parts);
    hybrid_gguf_get_i64(g, "split.no", &part);
    if (parts > 1)
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this file is part %lld of a model split in %lld (key 'split.count'): join them with 'llama-gguf-split --merge'",
                            (long long)part + 1, (long long)parts);
    return HYBRID_OK;
}

/* Are the places of the tensors in ascending order? If not, sorts a copy of the pointers: a heap, because a file must not be able to
 * choose a slow case. */
static void hybrid__gguf_sort(const hybrid_gguf_tensor **heap, size_t n)
{
    size_t start = n / 2, end = n, root, child;
    const hybrid_gguf_tensor *moved;
    while (end > 1) {
        if (start) moved = heap[root = --start];
        else { moved = heap[--end]; heap[end] = heap[0]; root = 0; }
        while ((child = 2 * root + 1) < end) {
            if (child + 1 < end && heap[child + 1]->offset > heap[child]->offset) child++;
            if (heap[child]->offset <= moved->offset) break;
            heap[root] = heap[child];
            root = child;
        }
        heap[root] = moved;
    }
}

static hybrid_result hybrid__gguf_check_overlap(hybrid_gguf *g, hybrid_error *error)
{
    char a[64], b[64];
    const hybrid_gguf_tensor **order = (const hybrid_gguf_tensor **)hybrid__alloc(g->rt, g->n_tensors * sizeof *order);
    bool ascending = true;
    hybrid_result r = HYBRID_OK;
    size_t n = 0, i;
    if (!order) return hybrid__fail_memory(error, g->n_tensors * sizeof *order);
    for (i = 0; i < g->n_tensors; i++) {
        if (!g->tensors[i].tensor.size) continue;
        order[n++] = &g->tensors[i].tensor;
        ascending = ascending && (n == 1 || order[n - 2]->offset < order[n - 1]->offset);
    }
    if (!ascending) hybrid__gguf_sort(order, n);
    for (i = 1; i < n && !r; i++)
        if (order[i]->offset - order[i - 1]->offset < order[i - 1]->size)
            r = hybrid__fail_at(error, HYBRID_ERROR_FORMAT, order[i]->offset, "tensors '%s' and '%s' overlap at byte %llu: the file is damaged",
                                hybrid__printable(order[i - 1]->name, a), hybrid__printable(order[i]->name, b), (unsigned long long)order[i]->offset);
    hybrid__free(g->rt, (void *)order);
    return r;
}

/* Places of the tensors: relative to the data section until here, in the file from here on. */
static hybrid_result hybrid__gguf_place_tensors(hybrid_gguf *g, uint64_t metadata_end, hybrid_error *error)
{
    char text[64];
    uint64_t start = (metadata_end + g->alignment - 1) / g->alignment * g->alignment, size = g->file.size;
    size_t i;
    if (!g->n_tensors) return HYBRID_OK;
    for (i = 0; i < g->n_tensors; i++) {
        hybrid_gguf_tensor *t = &g->tensors[i].tensor;
        if (t->offset % g->alignment)
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, g->tensors[i].name_at, "tensor '%s' begins at %llu, which is no multiple of the alignment %llu: the file is damaged",
                                   hybrid__printable(t->name, text), (unsigned long long)t->offset, (unsigned long long)g->alignment);
        if (start > size || t->offset > size - start || t->size > size - start - t->offset)
            return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, size, "truncated: tensor '%s' has %llu bytes at %llu + %llu, but the file ends at %llu: download or copy it again",
                                   hybrid__printable(t->name, text), (unsigned long long)t->size, (unsigned long long)start, (unsigned long long)t->offset, (unsigned long long)size);
        t->offset += start;
        if (g->file.data && t->type != HYBRID_TYPE_LAST_) t->data = g->file.data + t->offset;
    }
    return hybrid__gguf_check_overlap(g, error);
}

static hybrid_result hybrid__gguf_scan_all(hybrid_gguf *g, hybrid__gguf_scan *s)
{
    uint32_t version = 0;
    uint64_t n_tensors = 0, n_keys = 0, i;
    hybrid_result r = hybrid__gguf_scan_header(s, &version, &n_tensors, &n_keys);
    if (r) return r;
    g->version = (int)version;
    g->n_keys = (size_t)n_keys;
    g->n_tensors = (size_t)n_tensors;
    if (!(g->keys = (hybrid__gguf_key *)hybrid__calloc(g->rt, g->n_keys, sizeof *g->keys))) return hybrid__fail_memory(s->error, n_keys * sizeof *g->keys);
    if (!(g->tensors = (hybrid__gguf_tensor_record *)hybrid__calloc(g->rt, g->n_tensors, sizeof *g->tensors))) return hybrid__fail_memory(s->error, n_tensors * sizeof *g->tensors);
    for (i = 0; i < n_keys; i++) {
        if ((r = hybrid__gguf_scan_name(s, "key", i))) return r;
        g->keys[i].name_at = s->name_at;
        g->keys[i].name_size = s->name_size;
        if ((r = hybrid__gguf_scan_value(s, &g->keys[i].value))) return r;
    }
    for (i = 0; i < n_tensors; i++) if ((r = hybrid__gguf_scan_tensor(s, i, &g->tensors[i]))) return r;
    return HYBRID_OK;
}

static hybrid_result hybrid__gguf_read(hybrid_gguf *g, hybrid_error *error)
{
    hybrid__gguf_scan s;
    hybrid_result r;
    memset(&s, 0, sizeof s);
    s.rt = g->rt;
    s.file = &g->file;
    s.size = g->file.size;
    s.bytes = g->file.data;
    s.have = g->file.data ? HYBRID__MIN(s.size, (uint64_t)HYBRID_GGUF_MAX_METADATA) : 0;
    s.error = error;
    r = hybrid__gguf_scan_all(g, &s);
    g->bytes = s.bytes;
    g->owned = s.owned;
    g->index = s.index;
    if (r || (r = hybrid__gguf_name_all(g, error)) || (r = hybrid__gguf_read_general(g, error))) return r;
    return hybrid__gguf_place_tensors(g, s.at, error);
}

HYBRID_API hybrid_result hybrid_gguf_open(hybrid_runtime *runtime, const hybrid_source *source, hybrid_gguf **gguf, hybrid_error *error)
{
    hybrid__file file;
    hybrid_runtime *rt;
    hybrid_gguf *g;
    hybrid_result r;
    if (gguf) *gguf = NULL;
    if (!source) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_open: source is NULL");
    if ((r = hybrid__file_open(source, &file, error))) return r;
    if (!gguf) r = hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_open: gguf is NULL");
    else r = hybrid__runtime_retain(runtime, &rt, error);
    if (r) { hybrid__file_close(&file); return r; }
    if (!(g = (hybrid_gguf *)hybrid__calloc(rt, 1, sizeof *g))) {
        hybrid__file_close(&file);
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof *g);
    }
    g->rt = rt;
    g->file = file;
    if ((r = hybrid__gguf_read(g, error))) { hybrid_gguf_destroy(g); return r; }
    *gguf = g;
    return HYBRID_OK;
}

HYBRID_API int hybrid_gguf_version(const hybrid_gguf *g) { return g ? g->version : 0; }
HYBRID_API uint64_t hybrid_gguf_file_size(const hybrid_gguf *g) { return g ? g->file.size : 0; }
HYBRID_API uint64_t hybrid_gguf_alignment(const hybrid_gguf *g) { return g ? g->alignment : 0; }
HYBRID_API size_t hybrid_gguf_key_count(const hybrid_gguf *g) { return g ? g->n_keys : 0; }
HYBRID_API size_t hybrid_gguf_tensor_count(const hybrid_gguf *g) { return g ? g->n_tensors : 0; }

static void hybrid__gguf_value_of(const hybrid_gguf *g, size_t i, hybrid_gguf_value *value)
{
    const hybrid__gguf_span *span = &g->keys[i].value;
    value->type = span->type;
    value->item_type = span->item_type;
    value->count = span->count;
    value->data = g->bytes + span->at;
    value->size = span->size;
    value->index = g->index && span->type == HYBRID_GGUF_ARRAY && !hybrid__gguf_number_size(span->item_type) ? g->index + span->index : NULL;
}

HYBRID_API hybrid_string hybrid_gguf_key(const hybrid_gguf *g, size_t i, hybrid_gguf_value *value)
{
    if (!g || i >= g->n_keys) return hybrid__string(NULL);
    if (value) hybrid__gguf_value_of(g, i, value);
    return g->key_names.names[i];
}

HYBRID_API bool hybrid_gguf_find(const hybrid_gguf *g, const char *key, hybrid_gguf_value *value)
{
    size_t i = g && key ? hybrid__names_find(&g->key_names, hybrid__string(key)) : HYBRID__NO_NAME;
    if (i == HYBRID__NO_NAME) return false;
    if (value) hybrid__gguf_value_of(g, i, value);
    return true;
}

HYBRID_API bool hybrid_gguf_get_i64(const hybrid_gguf *g, const char *key, int64_t *out)
{
    hybrid_gguf_value v;
    return hybrid_gguf_find(g, key, &v) && hybrid__gguf_load_i64(v.type, (const unsigned char *)v.data, out);
}

HYBRID_API bool hybrid_gguf_get_f64(const hybrid_gguf *g, const char *key, double *out)
{
    hybrid_gguf_value v;
    return hybrid_gguf_find(g, key, &v) && hybrid__gguf_load_f64(v.type, (const unsigned char *)v.data, out);
}

HYBRID_API bool hybrid_gguf_get_string(const hybrid_gguf *g, const char *key, hybrid_string *out)
{
    hybrid_gguf_value v;
    if (!hybrid_gguf_find(g, key, &v) || v.type != HYBRID_GGUF_STRING) return false;
    *out = hybrid_gguf_item_string(&v, 0);
    return true;
}

HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_tensor_at(const hybrid_gguf *g, size_t i)
{
    return g && i < g->n_tensors ? &g->tensors[i].tensor : NULL;
}

HYBRID_API const hybrid_gguf_tensor *hybrid_gguf_find_tensor(const hybrid_gguf *g, const char *name)
{
    size_t i = g && name ? hybrid__names_find(&g->tensor_names, hybrid__string(name)) : HYBRID__NO_NAME;
    return i == HYBRID__NO_NAME ? NULL : &g->tensors[i].tensor;
}

HYBRID_API hybrid_result hybrid_gguf_read_tensor(hybrid_gguf *g, const hybrid_gguf_tensor *tensor, void *dst, hybrid_error *error)
{
    char text[64];
    if (!g || !tensor || !dst) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_read_tensor: an argument is NULL");
    if (tensor->type == HYBRID_TYPE_LAST_)
        return hybrid__fail_at(error, HYBRID_ERROR_UNSUPPORTED, tensor->offset, "tensor '%s' has type %lu, which hybrid does not know: get this model in another quantization",
                               hybrid__printable(tensor->name, text), (unsigned long)tensor->type_id);
    if (tensor->size > SIZE_MAX) return hybrid__fail_at(error, HYBRID_ERROR_MEMORY, tensor->offset, "tensor '%s' has more bytes than this machine can address", hybrid__printable(tensor->name, text));
    return hybrid__file_read(&g->file, tensor->offset, dst, (size_t)tensor->size, error);
}
/* ==== end src/gguf/read.c ==== */

/* ==== begin src/gguf/output.c ==== */
/* gguf/output: a file that appears under its name only when it is complete. */

typedef struct hybrid__output {
#ifndef HYBRID_NO_STDIO
    FILE *stream;
    char *path, *temporary;              /* one allocation, path first */
#else
    int   none;
#endif
} hybrid__output;

#ifndef HYBRID_NO_STDIO

#if defined(_WIN32)
static bool hybrid__output_wide(const char *path, wchar_t wide[1024]) { return MultiByteToWideChar(CP_UTF8, 0, path, -1, wide, 1024) > 0; }
static FILE *hybrid__output_create(const char *path)
{
    wchar_t wide[1024];
    return hybrid__output_wide(path, wide) ? _wfopen(wide, L"wb") : NULL;
}
static bool hybrid__output_remove(const char *path)
{
    wchar_t wide[1024];
    return hybrid__output_wide(path, wide) && DeleteFileW(wide);
}
static bool hybrid__output_rename(const char *from, const char *to)
{
    wchar_t a[1024], b[1024];
    return hybrid__output_wide(from, a) && hybrid__output_wide(to, b) && MoveFileExW(a, b, MOVEFILE_REPLACE_EXISTING);
}
static unsigned long hybrid__output_process(void) { return GetCurrentProcessId(); }
#else
static FILE *hybrid__output_create(const char *path) { return fopen(path, "wb"); }
static bool hybrid__output_remove(const char *path) { return !remove(path); }
static bool hybrid__output_rename(const char *from, const char *to) { return !rename(from, to); }
static unsigned long hybrid__output_process(void) { return (unsigned long)getpid(); }
#endif

/* Ends without a result: nothing remains. */
static void hybrid__output_abandon(hybrid_runtime *rt, hybrid__output *o)
{
    if (o->stream) { fclose(o->stream); hybrid__output_remove(o->temporary); }
    hybrid__free(rt, o->path);
    memset(o, 0, sizeof *o);
}

static hybrid_result hybrid__output_open(hybrid_runtime *rt, const char *path, hybrid__output *o, hybrid_error *error)
{
    size_t n = strlen(path), room = n + 32;
    memset(o, 0, sizeof *o);
    if (!(o->path = (char *)hybrid__alloc(rt, n + 1 + room))) return hybrid__fail_memory(error, n + 1 + room);
    memcpy(o->path, path, n + 1);
    o->temporary = o->path + n + 1;
    snprintf(o->temporary, room, "%s.%lu.part", path, hybrid__output_process());
    if ((o->stream = hybrid__output_create(o->temporary))) return HYBRID_OK;
    hybrid__output_abandon(rt, o);
    return hybrid__fail(error, HYBRID_ERROR_IO, "cannot create a file beside '%.120s': %.60s", path, strerror(errno));
}

static bool hybrid__output_write(hybrid__output *o, const void *data, size_t n) { return fwrite(data, 1, n, o->stream) == n; }

static hybrid_result hybrid__output_finish(hybrid_runtime *rt, hybrid__output *o, hybrid_error *error)
{
    bool good = !fflush(o->stream);
    hybrid_result r = HYBRID_OK;
    good = !fclose(o->stream) && good;
    o->stream = NULL;
    if (!good) r = hybrid__fail(error, HYBRID_ERROR_IO, "writing '%.120s' failed: %.60s", o->path, strerror(errno));
    else if (!hybrid__output_rename(o->temporary, o->path))
        r = hybrid__fail(error, HYBRID_ERROR_IO, "cannot put the finished file in the place of '%.120s': %.60s", o->path, strerror(errno));
    if (r) hybrid__output_remove(o->temporary);
    hybrid__output_abandon(rt, o);
    return r;
}

#else

static void hybrid__output_abandon(hybrid_runtime *rt, hybrid__output *o) { HYBRID__UNUSED(rt); HYBRID__UNUSED(o); }
static hybrid_result hybrid__output_open(hybrid_runtime *rt, const char *path, hybrid__output *o, hybrid_error *error)
{
    HYBRID__UNUSED(rt); HYBRID__UNUSED(path);
    o->none = 0;
    return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "this build has no files (HYBRID_NO_STDIO): write through a callback");
}
static bool hybrid__output_write(hybrid__output *o, const void *data, size_t n)
{
    HYBRID__UNUSED(o); HYBRID__UNUSED(data); HYBRID__UNUSED(n);
    return false;
}
static hybrid_result hybrid__output_finish(hybrid_runtime *rt, hybrid__output *o, hybrid_error *error)
{
    HYBRID__UNUSED(rt); HYBRID__UNUSED(o); HYBRID__UNUSED(error);
    return HYBRID_OK;
}

#endif
/* ==== end src/gguf/output.c ==== */

/* ==== begin src/gguf/write.c ==== */
/* gguf/write: makes a GGUF file. Every key is kept as the very bytes that the file will hold, so that writing, replacing and copying
 * are the same thing; each is walked by the reader's own scan before it is accepted. */

typedef struct hybrid__gguf_entry {
    unsigned char *bytes;                /* size and characters of the key, type, value */
    size_t         size;
} hybrid__gguf_entry;

typedef struct hybrid__gguf_planned {
    char              *name;             /* own copy */
    hybrid_gguf_tensor tensor;           /* offset: relative to the data section */
} hybrid__gguf_planned;

typedef enum hybrid__gguf_stage { HYBRID__GGUF_COLLECTING, HYBRID__GGUF_WRITING, HYBRID__GGUF_ENDED } hybrid__gguf_stage;

struct hybrid_gguf_writer {
    hybrid_runtime       *rt;
    hybrid__gguf_stage    stage;
    hybrid_error          failed;        /* the first failure; result HYBRID_OK: none */
    hybrid__names         key_names, tensor_names;
    hybrid__gguf_entry   *entries;       /* of key_names.capacity */
    hybrid__gguf_planned *tensors;       /* of tensor_names.capacity */
    uint64_t              metadata;      /* bytes so far */
    uint64_t              alignment, written;
    size_t                current;       /* tensor whose bytes come next, and how many it has got */
    uint64_t              got;
    hybrid_write_fn       write;         /* NULL: output */
    void                 *user;
    hybrid__output        output;
};

HYBRID_API hybrid_result hybrid_gguf_writer_create(hybrid_runtime *runtime, hybrid_gguf_writer **writer, hybrid_error *error)
{
    hybrid_runtime *rt;
    hybrid_result r;
    if (!writer) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_writer_create: writer is NULL");
    *writer = NULL;
    if ((r = hybrid__runtime_retain(runtime, &rt, error))) return r;
    if (!(*writer = (hybrid_gguf_writer *)hybrid__calloc(rt, 1, sizeof **writer))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof **writer);
    }
    (*writer)->rt = rt;
    (*writer)->metadata = 24;
    return HYBRID_OK;
}

HYBRID_API void hybrid_gguf_writer_destroy(hybrid_gguf_writer *w)
{
    hybrid_runtime *rt;
    size_t i;
    if (!w) return;
    rt = w->rt;
    for (i = 0; i < w->key_names.count; i++) hybrid__free(rt, w->entries[i].bytes);
    for (i = 0; i < w->tensor_names.count; i++) hybrid__free(rt, w->tensors[i].name);
    hybrid__names_free(rt, &w->key_names);
    hybrid__names_free(rt, &w->tensor_names);
    hybrid__free(rt, w->entries);
    hybrid__free(rt, w->tensors);
    hybrid__output_abandon(rt, &w->output);
    hybrid__free(rt, w);
    hybrid__runtime_release(rt);
}

/* Keeps the first failure, hands every failure to the caller. */
static hybrid_result hybrid__gguf_note(hybrid_gguf_writer *w, const hybrid_error *failure, hybrid_error *error)
{
    if (!failure->result) return HYBRID_OK;
    if (!w->failed.result && w->stage == HYBRID__GGUF_COLLECTING) w->failed = *failure;
    if (error) *error = *failure;
    return failure->result;
}

/* The array beside t, grown if t is full, so that it has room for one more item; NULL: no memory, and the old one stands. */
static void *hybrid__gguf_grow(hybrid_runtime *rt, const hybrid__names *t, void *items, size_t item_size)
{
    if (t->count < t->capacity) return items;
    return hybrid__realloc(rt, items, t->capacity * item_size, (t->capacity ? 2 * t->capacity : 16) * item_size);
}

/* Room for one more key, or tensor. */
static bool hybrid__gguf_grow_keys(hybrid_gguf_writer *w)
{
    void *grown = hybrid__gguf_grow(w->rt, &w->key_names, w->entries, sizeof *w->entries);
    if (grown) w->entries = (hybrid__gguf_entry *)grown;
    return grown && hybrid__names_reserve(w->rt, &w->key_names, w->key_names.count + 1);
}
static bool hybrid__gguf_grow_tensors(hybrid_gguf_writer *w)
{
    void *grown = hybrid__gguf_grow(w->rt, &w->tensor_names, w->tensors, sizeof *w->tensors);
    if (grown) w->tensors = (hybrid__gguf_planned *)grown;
    return grown && hybrid__names_reserve(w->rt, &w->tensor_names, w->tensor_names.count + 1);
}

/* A record for a key with room for a value of `size` bytes, filled in up to the value; not yet in the writer. NULL: error is filled in. */
static unsigned char *hybrid__gguf_record(hybrid_gguf_writer *w, hybrid_string key, hybrid_gguf_type type, uint64_t size, hybrid_error *error)
{
    char text[64];
    unsigned char *bytes;
    if (w->stage != HYBRID__GGUF_COLLECTING) { hybrid__fail(error, HYBRID_ERROR_INVALID, "key '%s' comes too late: writing has begun", hybrid__printable(key, text)); return NULL; }
    if (!key.size) { hybrid__fail(error, HYBRID_ERROR_INVALID, "a key needs a name"); return NULL; }
    if (key.size > HYBRID_GGUF_MAX_NAME || size > HYBRID_GGUF_MAX_METADATA || w->metadata + key.size + size + 12 > HYBRID_GGUF_MAX_METADATA) {
        hybrid__fail(error, HYBRID_ERROR_LIMIT, "key '%s': there would be more than %d bytes of metadata, or %d in its name", hybrid__printable(key, text), HYBRID_GGUF_MAX_METADATA, HYBRID_GGUF_MAX_NAME);
        return NULL;
    }
    if (!(bytes = (unsigned char *)hybrid__alloc(w->rt, 12 + key.size + (size_t)size))) { hybrid__fail_memory(error, 12 + key.size + size); return NULL; }
    hybrid__gguf_store_u64(bytes, key.size);
    memcpy(bytes + 8, key.data, key.size);
    hybrid__store_u32(bytes + 8 + key.size, (uint32_t)type);
    return bytes;
}

/* Does a record hold what its type and counts say? */
static bool hybrid__gguf_record_holds(hybrid_gguf_writer *w, const unsigned char *bytes, size_t key_size, size_t size, hybrid_error *error)
{
    hybrid__gguf_scan s;
    hybrid__gguf_span span;
    hybrid_result r;
    memset(&s, 0, sizeof s);
    s.rt = w->rt;
    s.bytes = bytes;
    s.size = s.have = size;
    s.at = 8 + key_size;
    s.kind = "key";
    s.name_at = 8;
    s.name_size = key_size;
    s.error = error;
    r = hybrid__gguf_scan_value(&s, &span);
    hybrid__free(w->rt, s.index);
    if (!r && s.at == s.size) return true;
    if (r != HYBRID_ERROR_MEMORY) {
        char subject[96];
        hybrid__fail(error, HYBRID_ERROR_INVALID, "the value of %s is malformed: its %llu bytes are not what its type and count say, or it nests more than %d deep",
                     hybrid__gguf_subject(&s, subject), (unsigned long long)(size - 12 - key_size), HYBRID_GGUF_MAX_DEPTH);
    }
    return false;
}

/* Takes over a finished record, which is freed on failure. */
static hybrid_result hybrid__gguf_accept(hybrid_gguf_writer *w, unsigned char *bytes, size_t size, hybrid_error *error)
{
    hybrid_string key;
    size_t i;
    key.data = (const char *)bytes + 8;
    key.size = (size_t)hybrid__load_u64(bytes);
    if (!hybrid__gguf_record_holds(w, bytes, key.size, size, error)) { hybrid__free(w->rt, bytes); return error->result; }
    if ((i = hybrid__names_find(&w->key_names, key)) == HYBRID__NO_NAME) {
        bool room = w->key_names.count < HYBRID_GGUF_MAX_KEYS;
        if (!room || !hybrid__gguf_grow_keys(w)) {
            hybrid__free(w->rt, bytes);
            return room ? hybrid__fail_memory(error, size) : hybrid__fail(error, HYBRID_ERROR_LIMIT, "a file has at most %d keys", HYBRID_GGUF_MAX_KEYS);
        }
        i = w->key_names.count;
        hybrid__names_add(&w->key_names, key);
    }
    else {
        w->key_names.names[i] = key;
        w->metadata -= w->entries[i].size;
        hybrid__free(w->rt, w->entries[i].bytes);
    }
    w->entries[i].bytes = bytes;
    w->entries[i].size = size;
    w->metadata += size;
    return HYBRID_OK;
}

static void hybrid__gguf_set_value(hybrid_gguf_writer *w, hybrid_string key, const hybrid_gguf_value *value, hybrid_error *error)
{
    size_t header = value->type == HYBRID_GGUF_ARRAY ? 12 : value->type == HYBRID_GGUF_STRING ? 8 : 0;
    char text[64];
    unsigned char *bytes, *p;
    if ((!value->data && value->size) || value->size > HYBRID_GGUF_MAX_METADATA) {
        hybrid__fail(error, HYBRID_ERROR_INVALID, "the value of key '%s' has no data, or too much", hybrid__printable(key, text));
        return;
    }
    if (!(bytes = hybrid__gguf_record(w, key, value->type, header + value->size, error))) return;
    p = bytes + 12 + key.size;
    if (header == 12) { hybrid__store_u32(p, (uint32_t)value->item_type); hybrid__gguf_store_u64(p + 4, value->count); }
    if (header == 8) hybrid__gguf_store_u64(p, value->size);
    if (value->size) memcpy(p + header, value->data, (size_t)value->size);
    hybrid__gguf_accept(w, bytes, 12 + key.size + header + (size_t)value->size, error);
}

HYBRID_API hybrid_result hybrid_gguf_set(hybrid_gguf_writer *w, const char *key, const hybrid_gguf_value *value, hybrid_error *error)
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !key || !value) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set: an argument is NULL");
    hybrid__gguf_set_value(w, hybrid__string(key), value, &e);
    return hybrid__gguf_note(w, &e, error);
}

/* A value of one number, string or array of numbers. */
static hybrid_result hybrid__gguf_set_plain(hybrid_gguf_writer *w, const char *key, hybrid_gguf_type type, hybrid_gguf_type item_type, const void *data,
                                            uint64_t count, uint64_t size, hybrid_error *error)
{
    hybrid_gguf_value value;
    value.type = type;
    value.item_type = item_type;
    value.count = count;
    value.data = data;
    value.size = size;
    value.index = NULL;
    return hybrid_gguf_set(w, key, &value, error);
}

HYBRID_API hybrid_result hybrid_gguf_set_int(hybrid_gguf_writer *w, const char *key, hybrid_gguf_type type, int64_t value, hybrid_error *error)
{
    hybrid_error e;
    int64_t back;
    unsigned char bytes[8];
    hybrid__gguf_store_u64(bytes, (uint64_t)value);
    if ((unsigned)type < HYBRID__GGUF_N_TYPES && hybrid__gguf_load_i64(type, bytes, &back) && back == value)
        return hybrid__gguf_set_plain(w, key, type, type, bytes, 1, hybrid__gguf_number_size(type), error);
    if (!w || !key) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_int: an argument is NULL");
    hybrid__fail(&e, HYBRID_ERROR_INVALID, "key '%.63s': %lld is no value of type %d", key, (long long)value, (int)type);
    return hybrid__gguf_note(w, &e, error);
}

HYBRID_API hybrid_result hybrid_gguf_set_float(hybrid_gguf_writer *w, const char *key, hybrid_gguf_type type, double value, hybrid_error *error)
{
    hybrid_error e;
    float single = (float)value;
    if (type == HYBRID_GGUF_F32) return hybrid__gguf_set_plain(w, key, type, type, &single, 1, 4, error);
    if (type == HYBRID_GGUF_F64) return hybrid__gguf_set_plain(w, key, type, type, &value, 1, 8, error);
    if (!w || !key) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_float: an argument is NULL");
    hybrid__fail(&e, HYBRID_ERROR_INVALID, "key '%.63s': type %d is neither F32 nor F64", key, (int)type);
    return hybrid__gguf_note(w, &e, error);
}

HYBRID_API hybrid_result hybrid_gguf_set_string(hybrid_gguf_writer *w, const char *key, const char *text, hybrid_error *error)
{
    if (!text) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_string: text is NULL");
    return hybrid__gguf_set_plain(w, key, HYBRID_GGUF_STRING, HYBRID_GGUF_STRING, text, 1, strlen(text), error);
}

HYBRID_API hybrid_result hybrid_gguf_set_numbers(hybrid_gguf_writer *w, const char *key, hybrid_gguf_type item_type, const void *items, size_t count, hybrid_error *error)
{
    size_t size = (unsigned)item_type < HYBRID__GGUF_N_TYPES ? hybrid__gguf_number_size(item_type) : 0;
    uint64_t bytes = count > HYBRID_GGUF_MAX_METADATA ? UINT64_MAX : (uint64_t)count * size;
    return hybrid__gguf_set_plain(w, key, HYBRID_GGUF_ARRAY, item_type, items, count, bytes, error);
}

/* What set_strings and set_arrays share: the items are strings when values is NULL. */
static void hybrid__gguf_set_items(hybrid_gguf_writer *w, hybrid_string key, const hybrid_string *strings, const hybrid_gguf_value *values, size_t count, hybrid_error *error)
{
    uint64_t size = 12, header = values ? 12 : 8, part;
    unsigned char *bytes, *p;
    size_t i;
    for (i = 0; i < count; i++) {
        const void *data = values ? values[i].data : strings[i].data;
        part = values ? values[i].size : strings[i].size;
        if ((part && !data) || (values && values[i].type != HYBRID_GGUF_ARRAY)) {
            hybrid__fail(error, HYBRID_ERROR_INVALID, "key '%.63s': item %llu has no data, or is no array", key.data, (unsigned long long)i);
            return;
        }
        size += header + HYBRID__MIN(part, (uint64_t)HYBRID_GGUF_MAX_METADATA);    /* too much is noticed below; the sum cannot wrap */
    }
    if (!(bytes = hybrid__gguf_record(w, key, HYBRID_GGUF_ARRAY, size, error))) return;
    p = bytes + 12 + key.size;
    hybrid__store_u32(p, values ? (uint32_t)HYBRID_GGUF_ARRAY : (uint32_t)HYBRID_GGUF_STRING);
    hybrid__gguf_store_u64(p + 4, count);
    p += 12;
    for (i = 0; i < count; i++) {
        part = values ? values[i].size : strings[i].size;
        if (values) { hybrid__store_u32(p, (uint32_t)values[i].item_type); hybrid__gguf_store_u64(p + 4, values[i].count); }
        else hybrid__gguf_store_u64(p, part);
        p += header;
        if (part) memcpy(p, values ? values[i].data : strings[i].data, (size_t)part);
        p += part;
    }
    hybrid__gguf_accept(w, bytes, (size_t)(p - bytes), error);
}

HYBRID_API hybrid_result hybrid_gguf_set_strings(hybrid_gguf_writer *w, const char *key, const hybrid_string *items, size_t count, hybrid_error *error)
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !key || (!items && count)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_strings: an argument is NULL");
    hybrid__gguf_set_items(w, hybrid__string(key), items, NULL, count, &e);
    return hybrid__gguf_note(w, &e, error);
}

HYBRID_API hybrid_result hybrid_gguf_set_arrays(hybrid_gguf_writer *w, const char *key, const hybrid_gguf_value *items, size_t count, hybrid_error *error)
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !key || !items) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_set_arrays: an argument is NULL");
    hybrid__gguf_set_items(w, hybrid__string(key), NULL, items, count, &e);
    return hybrid__gguf_note(w, &e, error);
}

HYBRID_API hybrid_result hybrid_gguf_copy_keys(hybrid_gguf_writer *w, const hybrid_gguf *from, hybrid_error *error)
{
    hybrid_gguf_value value;
    hybrid_error e;
    size_t i;
    e.result = HYBRID_OK;
    if (!w || !from) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_copy_keys: an argument is NULL");
    for (i = 0; i < from->n_keys && !e.result; i++) {
        hybrid_string key = hybrid_gguf_key(from, i, &value);
        hybrid__gguf_set_value(w, key, &value, &e);
    }
    return hybrid__gguf_note(w, &e, error);
}

static void hybrid__gguf_plan_tensor(hybrid_gguf_writer *w, const char *name, hybrid_type type, int n_dims, const uint64_t *ne, hybrid_error *error)
{
    hybrid__gguf_planned *planned;
    hybrid_string key = hybrid__string(name);
    hybrid_gguf_tensor t;
    const char *wrong = NULL;
    int i;
    memset(&t, 0, sizeof t);
    t.type_id = (uint32_t)type;
    t.n_dims = n_dims;
    for (i = 0; i < 4; i++) t.ne[i] = i < n_dims && ne ? ne[i] : 1;
    if (w->stage != HYBRID__GGUF_COLLECTING) wrong = "it comes too late: writing has begun";
    else if (!key.size || key.size > HYBRID_GGUF_MAX_NAME) wrong = "its name is empty or too long";
    else if (n_dims < 0 || n_dims > 4 || (n_dims && !ne)) wrong = "it must have 0 to 4 dimensions";
    else if (!(wrong = hybrid__gguf_size_tensor(&t)) && t.type == HYBRID_TYPE_LAST_) wrong = "hybrid does not know its type";
    else if (!wrong && hybrid__names_find(&w->tensor_names, key) != HYBRID__NO_NAME) wrong = "there is one of this name already";
    if (wrong) { hybrid__fail(error, HYBRID_ERROR_INVALID, "tensor '%.63s': %s", name, wrong); return; }
    if (w->tensor_names.count >= HYBRID_GGUF_MAX_TENSORS) { hybrid__fail(error, HYBRID_ERROR_LIMIT, "a file has at most %d tensors", HYBRID_GGUF_MAX_TENSORS); return; }
    if (!hybrid__gguf_grow_tensors(w)) { hybrid__fail_memory(error, sizeof *w->tensors); return; }
    planned = &w->tensors[w->tensor_names.count];
    if (!(planned->name = (char *)hybrid__alloc(w->rt, key.size))) { hybrid__fail_memory(error, key.size); return; }
    memcpy(planned->name, name, key.size);
    t.name.data = planned->name;
    t.name.size = key.size;
    planned->tensor = t;
    hybrid__names_add(&w->tensor_names, t.name);
}

HYBRID_API hybrid_result hybrid_gguf_add_tensor(hybrid_gguf_writer *w, const char *name, hybrid_type type, int n_dims, const uint64_t *ne, hybrid_error *error)
{
    hybrid_error e;
    e.result = HYBRID_OK;
    if (!w || !name) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_add_tensor: an argument is NULL");
    hybrid__gguf_plan_tensor(w, name, type, n_dims, ne, &e);
    return hybrid__gguf_note(w, &e, error);
}

/* ---- from here on bytes go out; a failure is final ---- */

static bool hybrid__gguf_emit(hybrid_gguf_writer *w, const void *data, size_t n)
{
    if (w->failed.result) return false;
    if (!n || (w->write ? w->write(w->user, data, n) : hybrid__output_write(&w->output, data, n))) { w->written += n; return true; }
    hybrid__fail_at(&w->failed, HYBRID_ERROR_IO, w->written, "writing failed at byte %llu: %s", (unsigned long long)w->written,
                    w->write ? "the callback returned false" : "is the disk full?");
    return false;
}

static bool hybrid__gguf_emit_u64(hybrid_gguf_writer *w, uint64_t value, size_t n)
{
    unsigned char bytes[8];
    hybrid__gguf_store_u64(bytes, value);
    return hybrid__gguf_emit(w, bytes, n);
}

static bool hybrid__gguf_pad(hybrid_gguf_writer *w)
{
    static const unsigned char zeros[64] = { 0 };
    uint64_t n = (w->alignment - w->written % w->alignment) % w->alignment;
    for (; n > sizeof zeros; n -= sizeof zeros) if (!hybrid__gguf_emit(w, zeros, sizeof zeros)) return false;
    return hybrid__gguf_emit(w, zeros, (size_t)n);
}

/* Offsets of the tensors, and the alignment that the keys ask for. */
static hybrid_result hybrid__gguf_arrange(hybrid_gguf_writer *w)
{
    hybrid_string key = hybrid__string("general.alignment");
    size_t i = hybrid__names_find(&w->key_names, key), n = w->tensor_names.count;
    uint64_t at = 0;
    int64_t alignment = 32;
    if (i != HYBRID__NO_NAME) {
        const unsigned char *type = w->entries[i].bytes + 8 + key.size;
        if (hybrid__load_u32(type) != HYBRID_GGUF_U32 || !hybrid__gguf_load_i64(HYBRID_GGUF_U32, type + 4, &alignment) || !hybrid__gguf_good_alignment(alignment))
            return hybrid__fail(&w->failed, HYBRID_ERROR_INVALID, "key 'general.alignment' must be of type U32 and a power of two of at least 8");
    }
    w->alignment = (uint64_t)alignment;
    for (i = 0; i < n; i++) {
        hybrid_gguf_tensor *t = &w->tensors[i].tensor;
        t->offset = at;
        if (t->size > INT64_MAX / 4 || at > INT64_MAX / 4) return hybrid__fail(&w->failed, HYBRID_ERROR_LIMIT, "the tensors have more than 2^61 bytes");
        at = (at + t->size + w->alignment - 1) / w->alignment * w->alignment;
    }
    return HYBRID_OK;
}

static void hybrid__gguf_emit_metadata(hybrid_gguf_writer *w)
{
    size_t i;
    int d;
    hybrid__gguf_emit(w, "GGUF\3\0\0\0", 8);
    hybrid__gguf_emit_u64(w, w->tensor_names.count, 8);
    hybrid__gguf_emit_u64(w, w->key_names.count, 8);
    for (i = 0; i < w->key_names.count; i++) hybrid__gguf_emit(w, w->entries[i].bytes, w->entries[i].size);
    for (i = 0; i < w->tensor_names.count; i++) {
        const hybrid_gguf_tensor *t = &w->tensors[i].tensor;
        hybrid__gguf_emit_u64(w, t->name.size, 8);
        hybrid__gguf_emit(w, t->name.data, t->name.size);
        hybrid__gguf_emit_u64(w, (uint64_t)t->n_dims, 4);
        for (d = 0; d < t->n_dims; d++) hybrid__gguf_emit_u64(w, t->ne[d], 8);
        hybrid__gguf_emit_u64(w, t->type_id, 4);
        hybrid__gguf_emit_u64(w, t->offset, 8);
    }
    if (w->tensor_names.count) hybrid__gguf_pad(w);
}

static hybrid_result hybrid__gguf_start(hybrid_gguf_writer *w, hybrid_write_fn write, void *user, const char *path, hybrid_error *error)
{
    hybrid_result r;
    if (w->stage != HYBRID__GGUF_COLLECTING) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_begin: writing has begun already");
    if (!w->failed.result && !hybrid__gguf_arrange(w)) {
        if (!write && (r = hybrid__output_open(w->rt, path, &w->output, error))) return r;
        w->stage = HYBRID__GGUF_WRITING;
        w->write = write;
        w->user = user;
        hybrid__gguf_emit_metadata(w);
    }
    if (w->failed.result && error) *error = w->failed;
    return w->failed.result;
}

HYBRID_API hybrid_result hybrid_gguf_begin(hybrid_gguf_writer *w, hybrid_write_fn write, void *user, hybrid_error *error)
{
    if (!w || !write) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_begin: an argument is NULL");
    return hybrid__gguf_start(w, write, user, NULL, error);
}

HYBRID_API hybrid_result hybrid_gguf_begin_path(hybrid_gguf_writer *w, const char *path, hybrid_error *error)
{
    if (!w || !path) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_begin_path: an argument is NULL");
    return hybrid__gguf_start(w, NULL, NULL, path, error);
}

HYBRID_API hybrid_result hybrid_gguf_write(hybrid_gguf_writer *w, const void *data, size_t n, hybrid_error *error)
{
    char text[64];
    const hybrid_gguf_tensor *t;
    if (!w || (!data && n)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_write: an argument is NULL");
    if (!w->failed.result && w->stage != HYBRID__GGUF_WRITING) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_write: call it between hybrid_gguf_begin and hybrid_gguf_end");
    if (!w->failed.result && n) {
        t = w->current < w->tensor_names.count ? &w->tensors[w->current].tensor : NULL;
        if (!t) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_write: all tensors are complete, but %llu bytes more are given", (unsigned long long)n);
        if (n > t->size - w->got)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "tensor '%s' has %llu bytes to come, but %llu are given", hybrid__printable(t->name, text),
                                (unsigned long long)(t->size - w->got), (unsigned long long)n);
        if (hybrid__gguf_emit(w, data, n) && (w->got += n) == t->size) {
            w->current++;
            w->got = 0;
            hybrid__gguf_pad(w);
        }
    }
    if (w->failed.result && error) *error = w->failed;
    return w->failed.result;
}

HYBRID_API hybrid_result hybrid_gguf_end(hybrid_gguf_writer *w, hybrid_error *error)
{
    char text[64];
    if (!w) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_end: writer is NULL");
    if (!w->failed.result && w->stage != HYBRID__GGUF_WRITING) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_gguf_end: call it once, after hybrid_gguf_begin");
    if (!w->failed.result && w->current < w->tensor_names.count) {
        const hybrid_gguf_tensor *t = &w->tensors[w->current].tensor;
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "tensor '%s' lacks %llu of its %llu bytes", hybrid__printable(t->name, text),
                            (unsigned long long)(t->size - w->got), (unsigned long long)t->size);
    }
    w->stage = HYBRID__GGUF_ENDED;
    if (w->failed.result) hybrid__output_abandon(w->rt, &w->output);
    else if (!w->write) hybrid__output_finish(w->rt, &w->output, &w->failed);
    if (w->failed.result && error) *error = w->failed;
    return w->failed.result;
}
/* ==== end src/gguf/write.c ==== */

/* quant */

/* ==== begin src/quant/blocks.c ==== */
/* quant/blocks: how the bytes of every quantized type lie in a file, and nothing else. Encoders, decoders and kernels share these.
 *
 * A row of n values is n / 32 or n / 256 blocks, one after the other. d and dmin (m) are IEEE halves, little-endian. "q[i]" below is the
 * unsigned number that is stored for value i of the block.
 *
 * Blocks of 32. qs[j] holds q[j] in its low nibble and q[j + 16] in its high one; bit i of qh (a little-endian 32-bit number) is bit 4 of q[i].
 *   Q4_0  value = d * (q - 8)             Q4_1  value = d * q + m
 *   Q5_0  value = d * (q - 16)            Q5_1  value = d * q + m           Q8_0  value = d * qs[i]
 *
 * Super-blocks of 256, in sub-blocks of 16 (Q2_K Q3_K Q6_K) or 32 (Q4_K Q5_K) values; sub-block s of value i is i / 16 or i / 32.
 *   Q2_K  value = (d * sc[s]) * q - (dmin * m[s])    scales[s] = sc | m << 4
 *         q: halves of 128 values h = i / 128; within one, value v = i % 128 is bits 2(v/32), +1 of qs[32h + v % 32]
 *   Q3_K  value = (d * (sc[s] - 32)) * (q - 4)       sc: 6 bits, packed in 12 bytes (below)
 *         bits 0, 1 of q as Q2_K; bit 2 is bit i / 32 of hmask[i % 32]
 *   Q4_K  value = (d * sc[s]) * q - (dmin * m[s])    sc, m: 6 bits each, packed in 12 bytes (below)
 *         q: quarters of 64 values c = i / 64; value v = i % 64 is the low (v < 32) or high nibble of qs[32c + v % 32]
 *   Q5_K  as Q4_K; bit 4 of q is bit i / 32 of qh[i % 32]
 *   Q6_K  value = (d * sc[s]) * (q - 32)             sc: signed bytes
 *         halves of 128, h = i / 128, v = i % 128: the low 4 bits are the low (v < 64) or high nibble of ql[64h + v % 64],
 *         the high 2 are bits 2(v/32), +1 of qh[32h + v % 32] */

enum { HYBRID__QK = 32, HYBRID__QK_K = 256 };     /* values of a block, of a super-block */

typedef struct hybrid__block_q4_0 { uint16_t d; uint8_t qs[16]; } hybrid__block_q4_0;
typedef struct hybrid__block_q4_1 { uint16_t d, m; uint8_t qs[16]; } hybrid__block_q4_1;
typedef struct hybrid__block_q5_0 { uint16_t d; uint8_t qh[4]; uint8_t qs[16]; } hybrid__block_q5_0;
typedef struct hybrid__block_q5_1 { uint16_t d, m; uint8_t qh[4]; uint8_t qs[16]; } hybrid__block_q5_1;
typedef struct hybrid__block_q8_0 { uint16_t d; int8_t qs[32]; } hybrid__block_q8_0;
typedef struct hybrid__block_q2_K { uint8_t scales[16]; uint8_t qs[64]; uint16_t d, dmin; } hybrid__block_q2_K;
typedef struct hybrid__block_q3_K { uint8_t hmask[32]; uint8_t qs[64]; uint8_t scales[12]; uint16_t d; } hybrid__block_q3_K;
typedef struct hybrid__block_q4_K { uint16_t d, dmin; uint8_t scales[12]; uint8_t qs[128]; } hybrid__block_q4_K;
typedef struct hybrid__block_q5_K { uint16_t d, dmin; uint8_t scales[12]; uint8_t qh[32]; uint8_t qs[128]; } hybrid__block_q5_K;
typedef struct hybrid__block_q6_K { uint8_t ql[128]; uint8_t qh[64]; int8_t scales[16]; uint16_t d; } hybrid__block_q6_K;

#define HYBRID__BLOCK_SIZE(type, bytes) typedef char hybrid__size_of_##type[sizeof(hybrid__block_##type) == (bytes) ? 1 : -1]
HYBRID__BLOCK_SIZE(q4_0, 18); HYBRID__BLOCK_SIZE(q4_1, 20); HYBRID__BLOCK_SIZE(q5_0, 22); HYBRID__BLOCK_SIZE(q5_1, 24);
HYBRID__BLOCK_SIZE(q8_0, 34); HYBRID__BLOCK_SIZE(q2_K, 84); HYBRID__BLOCK_SIZE(q3_K, 110); HYBRID__BLOCK_SIZE(q4_K, 144);
HYBRID__BLOCK_SIZE(q5_K, 176); HYBRID__BLOCK_SIZE(q6_K, 210);
#undef HYBRID__BLOCK_SIZE

/* The 12 bytes of Q4_K and Q5_K: 8 scales and 8 mins of 6 bits. Bytes 0-3: sc[0-3], 4-7: m[0-3], in the low 6 bits; bytes 8-11: the low
 * nibbles of sc[4-7] and m[4-7]; their two high bits are on top of bytes 0-3 and 4-7. Three words at once. */
HYBRID__INLINE void hybrid__scales_k4_unpack(const uint8_t *packed, uint8_t *sc, uint8_t *m)
{
    uint32_t a = hybrid__load_u32(packed), b = hybrid__load_u32(packed + 4), c = hybrid__load_u32(packed + 8);
    hybrid__store_u32(sc, a & 0x3F3F3F3Fu);
    hybrid__store_u32(sc + 4, (c & 0x0F0F0F0Fu) | ((a >> 2) & 0x30303030u));
    hybrid__store_u32(m, b & 0x3F3F3F3Fu);
    hybrid__store_u32(m + 4, ((c >> 4) & 0x0F0F0F0Fu) | ((b >> 2) & 0x30303030u));
}
HYBRID__INLINE void hybrid__scales_k4_pack(const uint8_t *sc, const uint8_t *m, uint8_t *packed)
{
    uint32_t s0 = hybrid__load_u32(sc), s1 = hybrid__load_u32(sc + 4), m0 = hybrid__load_u32(m), m1 = hybrid__load_u32(m + 4);
    hybrid__store_u32(packed, s0 | ((s1 & 0x30303030u) << 2));
    hybrid__store_u32(packed + 4, m0 | ((m1 & 0x30303030u) << 2));
    hybrid__store_u32(packed + 8, (s1 & 0x0F0F0F0Fu) | ((m1 & 0x0F0F0F0Fu) << 4));
}

/* The 12 bytes of Q3_K: 16 scales of 6 bits. Low nibbles: sc[0-7] in the low, sc[8-15] in the high nibbles of bytes 0-7; two high bits of
 * sc[s]: bits 2(s/4), +1 of byte 8 + s % 4. Unpacked as sc - 32, -32..31. */
HYBRID__INLINE void hybrid__scales_q3_unpack(const uint8_t *packed, int8_t *sc)
{
    int s;
    for (s = 0; s < 16; s++) {
        int low = (packed[s % 8] >> (s / 8 * 4)) & 15, high = (packed[8 + s % 4] >> (s / 4 * 2)) & 3;
        sc[s] = (int8_t)((low | high << 4) - 32);
    }
}
HYBRID__INLINE void hybrid__scales_q3_pack(const int8_t *sc, uint8_t *packed)
{
    int s;
    memset(packed, 0, 12);
    for (s = 0; s < 16; s++) {
        int q = sc[s] + 32;
        packed[s % 8] = (uint8_t)(packed[s % 8] | (q & 15) << (s / 8 * 4));
        packed[8 + s % 4] = (uint8_t)(packed[8 + s % 4] | (q >> 4) << (s / 4 * 2));
    }
}
/* ==== end src/quant/blocks.c ==== */

/* ==== begin src/quant/search.c ==== */
/* quant/search: what the encoders share: the search for the scale (and offset) of a block.
 *
 * A block is to become x = scale * q + offset with small integers q. For a given (scale, offset) the best q is rounding; for given q the
 * best (scale, offset) is linear least squares. The error has many local minima, so the search tries candidates, eight at a time (lanes
 * that a compiler turns into SIMD, with sums in one fixed order), takes the least-squares line of the best, and looks again around it.
 * Scales are stored rounded, so the encoders then choose among the stored scales by the error that the decoder will really see. */

enum { HYBRID__LANES = 8, HYBRID__HALF_LARGEST = 0x7BFF, HYBRID__HALF_INFINITY = 0x7C00, HYBRID__HALF_NAN = 0x7E00 };

/* n values of a block, multiplied by a power of two so that the largest magnitude is in 4..8: squares neither over- nor underflow. */
typedef struct hybrid__encode_input {
    float x[HYBRID__QK_K], w[HYBRID__QK_K];   /* values, weights of their errors (the largest in 1..4) */
    float unit, per_unit;                     /* value = x * unit; both powers of two */
} hybrid__encode_input;

typedef enum hybrid__encode_kind { HYBRID__ENCODE_ZERO, HYBRID__ENCODE_NORMAL, HYBRID__ENCODE_DAMAGED } hybrid__encode_kind;

static uint32_t hybrid__largest_bits(const float *values, int n)
{
    uint32_t largest = 0;
    int i;
    for (i = 0; i < n; i++) {
        uint32_t a = hybrid__f32_bits(values[i]) & 0x7FFFFFFFu;
        largest = HYBRID__MAX(largest, a);
    }
    return largest;
}

/* ZERO: nothing in the block is as large as half the smallest step that a half-float scale can make. DAMAGED: NaN or infinity. */
static hybrid__encode_kind hybrid__encode_begin(hybrid__encode_input *in, const float *values, const float *importance, int n)
{
    int exponent = (int)(hybrid__largest_bits(values, n) >> 23) - 127, i;
    if (exponent == 128) return HYBRID__ENCODE_DAMAGED;
    if (exponent < -26) return HYBRID__ENCODE_ZERO;
    in->unit = hybrid__bits_f32((uint32_t)(exponent + 125) << 23);
    in->per_unit = hybrid__bits_f32((uint32_t)(129 - exponent) << 23);
    for (i = 0; i < n; i++) in->x[i] = values[i] * in->per_unit;
    exponent = importance ? (int)(hybrid__largest_bits(importance, n) >> 23) - 127 : -127;
    if (exponent == -127 || exponent == 128) {               /* none, all zero, or not numbers: all alike */
        for (i = 0; i < n; i++) in->w[i] = 1;
    } else {
        float scale = hybrid__bits_f32((uint32_t)(127 - HYBRID__MIN(exponent, 126)) << 23);
        for (i = 0; i < n; i++) in->w[i] = importance[i] * scale;
    }
    return HYBRID__ENCODE_NORMAL;
}

/* The finite half nearest to v (in units of x), moved by some steps away from (< 0: towards) zero; *stored is what the decoder will see,
 * in units of x. The steps matter where halves are coarse: below 2^-14. */
static uint16_t hybrid__encode_half(const hybrid__encode_input *in, float v, int steps, float *stored)
{
    uint16_t h = hybrid__f32_to_f16(v * in->unit);
    int magnitude = (h & 0x7FFF) + steps;
    magnitude = magnitude < 0 ? 0 : magnitude > HYBRID__HALF_LARGEST ? HYBRID__HALF_LARGEST : magnitude;
    h = (uint16_t)((h & 0x8000) | magnitude);
    *stored = hybrid__f16_to_f32(h) * in->per_unit;
    return h;
}

/* ---- four floats at once: what every x86-64 and ARMv8 has. The plain C gives the same bits. ---- */

#if !defined(HYBRID_NO_SIMD) && (defined(__x86_64__) || defined(_M_X64))
typedef __m128 hybrid__f4;
HYBRID__INLINE hybrid__f4 hybrid__f4_load(const float *p) { return _mm_loadu_ps(p); }
HYBRID__INLINE void hybrid__f4_store(float *p, hybrid__f4 a) { _mm_storeu_ps(p, a); }
HYBRID__INLINE hybrid__f4 hybrid__f4_all(float a) { return _mm_set1_ps(a); }
HYBRID__INLINE hybrid__f4 hybrid__f4_add(hybrid__f4 a, hybrid__f4 b) { return _mm_add_ps(a, b); }
HYBRID__INLINE hybrid__f4 hybrid__f4_sub(hybrid__f4 a, hybrid__f4 b) { return _mm_sub_ps(a, b); }
HYBRID__INLINE hybrid__f4 hybrid__f4_mul(hybrid__f4 a, hybrid__f4 b) { return _mm_mul_ps(a, b); }
HYBRID__INLINE hybrid__f4 hybrid__f4_max(hybrid__f4 a, hybrid__f4 b) { return _mm_max_ps(a, b); }   /* a > b ? a : b; b for NaN */
HYBRID__INLINE hybrid__f4 hybrid__f4_min(hybrid__f4 a, hybrid__f4 b) { return _mm_min_ps(a, b); }   /* a < b ? a : b */
#elif !defined(HYBRID_NO_SIMD) && (defined(__aarch64__) || defined(_M_ARM64))
typedef float32x4_t hybrid__f4;
HYBRID__INLINE hybrid__f4 hybrid__f4_load(const float *p) { return vld1q_f32(p); }
HYBRID__INLINE void hybrid__f4_store(float *p, hybrid__f4 a) { vst1q_f32(p, a); }
HYBRID__INLINE hybrid__f4 hybrid__f4_all(float a) { return vdupq_n_f32(a); }
HYBRID__INLINE hybrid__f4 hybrid__f4_add(hybrid__f4 a, hybrid__f4 b) { return vaddq_f32(a, b); }
HYBRID__INLINE hybrid__f4 hybrid__f4_sub(hybrid__f4 a, hybrid__f4 b) { return vsubq_f32(a, b); }
HYBRID__INLINE hybrid__f4 hybrid__f4_mul(hybrid__f4 a, hybrid__f4 b) { return vmulq_f32(a, b); }
HYBRID__INLINE hybrid__f4 hybrid__f4_max(hybrid__f4 a, hybrid__f4 b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
HYBRID__INLINE hybrid__f4 hybrid__f4_min(hybrid__f4 a, hybrid__f4 b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
#else
typedef struct hybrid__f4 { float v[4]; } hybrid__f4;
HYBRID__INLINE hybrid__f4 hybrid__f4_load(const float *p) { hybrid__f4 r; memcpy(r.v, p, sizeof r.v); return r; }
HYBRID__INLINE void hybrid__f4_store(float *p, hybrid__f4 a) { memcpy(p, a.v, sizeof a.v); }
HYBRID__INLINE hybrid__f4 hybrid__f4_all(float a) { hybrid__f4 r; r.v[0] = r.v[1] = r.v[2] = r.v[3] = a; return r; }
#define HYBRID__F4_EACH(name, expression) \
    HYBRID__INLINE hybrid__f4 name(hybrid__f4 a, hybrid__f4 b) \
    { \
        int i; \
        for (i = 0; i < 4; i++) a.v[i] = expression; \
        return a; \
    }
HYBRID__F4_EACH(hybrid__f4_add, a.v[i] + b.v[i])
HYBRID__F4_EACH(hybrid__f4_sub, a.v[i] - b.v[i])
HYBRID__F4_EACH(hybrid__f4_mul, a.v[i] * b.v[i])
HYBRID__F4_EACH(hybrid__f4_max, a.v[i] > b.v[i] ? a.v[i] : b.v[i])
HYBRID__F4_EACH(hybrid__f4_min, a.v[i] < b.v[i] ? a.v[i] : b.v[i])
#undef HYBRID__F4_EACH
#endif

/* The nearest integer in lo..hi (to even; NaN: lo), without a call: adding 1.5 * 2^23 leaves no room for a fraction. */
#define HYBRID__ROUNDER 12582912.0f
HYBRID__INLINE float hybrid__round_clamped(float v, float lo, float hi)
{
    v = v > lo ? v : lo;
    v = v < hi ? v : hi;
    return (v + HYBRID__ROUNDER) - HYBRID__ROUNDER;
}
HYBRID__INLINE hybrid__f4 hybrid__f4_round_clamped(hybrid__f4 v, hybrid__f4 lo, hybrid__f4 hi)
{
    hybrid__f4 rounder = hybrid__f4_all(HYBRID__ROUNDER);
    v = hybrid__f4_min(hybrid__f4_max(v, lo), hi);
    return hybrid__f4_sub(hybrid__f4_add(v, rounder), rounder);
}

HYBRID__INLINE float hybrid__inverse(float v) { return v != 0 ? 1.0f / v : 0.0f; }

/* err[k] = sum of w (x - (scale[k] q + offset[k]))^2 with the best q in lo..hi for each of 8 lines. */
static void hybrid__try_lines(const float *x, const float *w, int n, const float *scale, const float *offset, float lo, float hi, float *err)
{
    hybrid__f4 low = hybrid__f4_all(lo), high = hybrid__f4_all(hi);
    int i, k;
    for (k = 0; k < HYBRID__LANES; k += 4) {
        float inverses[4] = { hybrid__inverse(scale[k]), hybrid__inverse(scale[k + 1]), hybrid__inverse(scale[k + 2]), hybrid__inverse(scale[k + 3]) };
        hybrid__f4 s = hybrid__f4_load(scale + k), o = hybrid__f4_load(offset + k), inverse = hybrid__f4_load(inverses), sum = hybrid__f4_all(0);
        for (i = 0; i < n; i++) {
            hybrid__f4 t = hybrid__f4_sub(hybrid__f4_all(x[i]), o);
            hybrid__f4 e = hybrid__f4_sub(t, hybrid__f4_mul(hybrid__f4_round_clamped(hybrid__f4_mul(t, inverse), low, high), s));
            sum = hybrid__f4_add(sum, hybrid__f4_mul(hybrid__f4_mul(hybrid__f4_all(w[i]), e), e));
        }
        hybrid__f4_store(err + k, sum);
    }
}

/* The integers of one line, as lo..hi. */
static void hybrid__apply_line(const float *x, int n, float scale, float offset, float lo, float hi, float *q)
{
    float inverse = scale != 0 ? 1.0f / scale : 0.0f;
    int i;
    for (i = 0; i < n; i++) q[i] = hybrid__round_clamped((x[i] - offset) * inverse, lo, hi);
}

static int hybrid__smallest(const float *err)
{
    int k, best = 0;
    for (k = 1; k < HYBRID__LANES; k++) if (err[k] < err[best]) best = k;
    return best;
}

/* ---- value = scale * q ---- */

/* For each of 8 scales 1 / inverse[k]: the least-squares scale of its integers, and how far that lowers the error below sum w x^2. */
static void hybrid__try_scales(const float *x, const float *w, int n, const float *inverse, float lo, float hi, float *scale, float *gain)
{
    hybrid__f4 low = hybrid__f4_all(lo), high = hybrid__f4_all(hi);
    float wxq[HYBRID__LANES], wqq[HYBRID__LANES];
    int i, k;
    for (k = 0; k < HYBRID__LANES; k += 4) {
        hybrid__f4 per_scale = hybrid__f4_load(inverse + k), sum_xq = hybrid__f4_all(0), sum_qq = hybrid__f4_all(0);
        for (i = 0; i < n; i++) {
            hybrid__f4 v = hybrid__f4_all(x[i]), q = hybrid__f4_round_clamped(hybrid__f4_mul(v, per_scale), low, high), wq = hybrid__f4_mul(hybrid__f4_all(w[i]), q);
            sum_xq = hybrid__f4_add(sum_xq, hybrid__f4_mul(wq, v));
            sum_qq = hybrid__f4_add(sum_qq, hybrid__f4_mul(wq, q));
        }
        hybrid__f4_store(wxq + k, sum_xq);
        hybrid__f4_store(wqq + k, sum_qq);
    }
    for (k = 0; k < HYBRID__LANES; k++) {
        scale[k] = wqq[k] > 0 ? wxq[k] / wqq[k] : 0.0f;
        gain[k] = scale[k] * wxq[k];
    }
}

/* The value of largest magnitude. */
static float hybrid__peak(const float *x, int n)
{
    float peak = 0;
    int i;
    for (i = 0; i < n; i++) if (fabsf(x[i]) > fabsf(peak)) peak = x[i];
    return peak;
}

/* The best scale of a block with q in lo..hi (-lo = hi + 1). Its sign says which side gets the extra step. The peak becomes, in turn, about
 * lo and about hi, or less than that where clipping it pays; the fewer the steps, the closer the candidates in absolute terms. */
static float hybrid__fit_scale(const float *x, const float *w, int n, float lo, float hi)
{
    float inverse[HYBRID__LANES], scale[HYBRID__LANES], gain[HYBRID__LANES], best_scale = 0, best_gain = 0;
    float peak = hybrid__peak(x, n), apart = 0.11f * sqrtf(-lo);
    int k, side;
    if (!(fabsf(peak) > 1e-30f)) return 0;
    for (side = 0; side < 2; side++) {
        for (k = 0; k < HYBRID__LANES; k++) inverse[k] = (side == 0 ? lo - 0.6f + apart * (float)k : hi + 0.6f - apart * (float)k) / peak;
        hybrid__try_scales(x, w, n, inverse, lo, hi, scale, gain);
        for (k = 0; k < HYBRID__LANES; k++)
            if (gain[k] > best_gain) { best_gain = gain[k]; best_scale = scale[k]; }
    }
    return best_scale;
}

/* ---- value = scale * q + offset ---- */

typedef struct hybrid__line { float scale, offset; } hybrid__line;

/* For each of 8 lines: the least-squares line of its integers and its error. offset <= most. */
static void hybrid__try_fits(const float *x, const float *w, int n, const hybrid__line *line, float hi, float most, hybrid__line *fit, float *err)
{
    hybrid__f4 low = hybrid__f4_all(0), high = hybrid__f4_all(hi);
    float wq[HYBRID__LANES], wqq[HYBRID__LANES], wxq[HYBRID__LANES], sw = 0, wx = 0, wxx = 0;
    int i, j, k;
    for (k = 0; k < HYBRID__LANES; k += 4) {
        float inverses[4], offsets[4];
        hybrid__f4 offset, inverse, sum_q = low, sum_qq = low, sum_xq = low;
        for (j = 0; j < 4; j++) {
            inverses[j] = hybrid__inverse(line[k + j].scale);
            offsets[j] = line[k + j].offset;
        }
        offset = hybrid__f4_load(offsets);
        inverse = hybrid__f4_load(inverses);
        for (i = 0; i < n; i++) {
            hybrid__f4 v = hybrid__f4_all(x[i]), q = hybrid__f4_round_clamped(hybrid__f4_mul(hybrid__f4_sub(v, offset), inverse), low, high);
            hybrid__f4 a = hybrid__f4_mul(hybrid__f4_all(w[i]), q);
            sum_q = hybrid__f4_add(sum_q, a);
            sum_qq = hybrid__f4_add(sum_qq, hybrid__f4_mul(a, q));
            sum_xq = hybrid__f4_add(sum_xq, hybrid__f4_mul(a, v));
        }
        hybrid__f4_store(wq + k, sum_q);
        hybrid__f4_store(wqq + k, sum_qq);
        hybrid__f4_store(wxq + k, sum_xq);
    }
    for (i = 0; i < n; i++) {
        float wv = w[i] * x[i];
        sw += w[i];
        wx += wv;
        wxx += wv * x[i];
    }
    for (k = 0; k < HYBRID__LANES; k++) {
        float det = sw * wqq[k] - wq[k] * wq[k], s = 0, o = sw > 0 ? wx / sw : 0.0f;
        if (det > 1e-6f * sw * wqq[k]) {
            s = (sw * wxq[k] - wx * wq[k]) / det;
            o = (wqq[k] * wx - wq[k] * wxq[k]) / det;
        }
        if (o > most) {
            o = most;
            s = wqq[k] > 0 ? (wxq[k] - o * wq[k]) / wqq[k] : 0.0f;
        }
        fit[k].scale = s;
        fit[k].offset = o;
        err[k] = wxx - 2 * (s * wxq[k] + o * wx) + s * s * wqq[k] + 2 * s * o * wq[k] + o * o * sw;
    }
}

/* The line through the smallest (at most `most`) and the largest value. */
static hybrid__line hybrid__plain_line(const float *x, int n, float hi, float most)
{
    hybrid__line line;
    float low = x[0], high = x[0];
    int i;
    for (i = 1; i < n; i++) {
        if (x[i] < low) low = x[i];
        if (x[i] > high) high = x[i];
    }
    if (low > most) low = most;
    line.offset = low;
    line.scale = (high - low) / hi;
    return line;
}

/* The best line of a block with q in 0..hi, offset <= most. First lines that clip the ends by -0.2, 0.1 or 0.4 steps (only the upper end
 * when the lower one is bound by `most`), then the neighbours of the best: up to a step longer or shorter, moved by up to 0.3 steps. */
static hybrid__line hybrid__fit_line(const float *x, const float *w, int n, float hi, float most)
{
    hybrid__line line[HYBRID__LANES], fit[HYBRID__LANES], plain = hybrid__plain_line(x, n, hi, most), best = plain;
    float err[HYBRID__LANES], least = 0;
    int k, round;
    if (!(plain.scale > 1e-30f)) return plain;
    for (round = 0; round < 2; round++) {
        for (k = 0; k < HYBRID__LANES; k++) {
            float u = (float)(k % 3), v = (float)(k / 3);
            if (round == 1) {
                line[k].scale = best.scale * (1 + (u - 1) / hi);
                line[k].offset = best.offset + best.scale * 0.3f * (v - 1);
            } else if (plain.offset == most) {
                line[k].scale = plain.scale * (1 - 0.1f * (float)k / hi);
                line[k].offset = most;
            } else {
                line[k].scale = plain.scale * (1 - (0.3f * (u + v) - 0.4f) / hi);
                line[k].offset = plain.offset + plain.scale * (0.3f * u - 0.2f);
            }
        }
        hybrid__try_fits(x, w, n, line, hi, most, fit, err);
        for (k = 0; k < HYBRID__LANES; k++)
            if ((round == 0 && k == 0) || err[k] < least) { least = err[k]; best = fit[k]; }
    }
    return best;
}
/* ==== end src/quant/search.c ==== */

/* ==== begin src/quant/floats.c ==== */
/* quant/floats: the types that are plain numbers. Encoding rounds to nearest even and ignores importance: each value stands alone. */

static void hybrid__dequantize_f32(const void *blocks, float *y, size_t n) { memcpy(y, blocks, n * sizeof *y); }
static void hybrid__quantize_f32(const float *x, void *blocks, size_t n, const float *importance)
{
    HYBRID__UNUSED(importance);
    memcpy(blocks, x, n * sizeof *x);
}

static void hybrid__dequantize_f16(const void *blocks, float *y, size_t n)
{
    const unsigned char *p = (const unsigned char *)blocks;
    size_t i;
    for (i = 0; i < n; i++) y[i] = hybrid__f16_to_f32(hybrid__load_u16(p + 2 * i));
}
static void hybrid__quantize_f16(const float *x, void *blocks, size_t n, const float *importance)
{
    unsigned char *p = (unsigned char *)blocks;
    size_t i;
    HYBRID__UNUSED(importance);
    for (i = 0; i < n; i++) hybrid__store_u16(p + 2 * i, hybrid__f32_to_f16(x[i]));
}

static void hybrid__dequantize_bf16(const void *blocks, float *y, size_t n)
{
    const unsigned char *p = (const unsigned char *)blocks;
    size_t i;
    for (i = 0; i < n; i++) y[i] = hybrid__bf16_to_f32(hybrid__load_u16(p + 2 * i));
}
static void hybrid__quantize_bf16(const float *x, void *blocks, size_t n, const float *importance)
{
    unsigned char *p = (unsigned char *)blocks;
    size_t i;
    HYBRID__UNUSED(importance);
    for (i = 0; i < n; i++) hybrid__store_u16(p + 2 * i, hybrid__f32_to_bf16(x[i]));
}
/* ==== end src/quant/floats.c ==== */

/* ==== begin src/quant/legacy.c ==== */
/* quant/legacy: the types of 32 values a block: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0. Layouts: quant/blocks. */

static void hybrid__dequantize_q4_0(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q4_0 *b = (const hybrid__block_q4_0 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15) - 8) * d;
            y[j + 16] = (float)((b->qs[j] >> 4) - 8) * d;
        }
    }
}

static void hybrid__dequantize_q4_1(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q4_1 *b = (const hybrid__block_q4_1 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d), m = hybrid__f16_to_f32(b->m);
        for (j = 0; j < 16; j++) {
            y[j] = (float)(b->qs[j] & 15) * d + m;
            y[j + 16] = (float)(b->qs[j] >> 4) * d + m;
        }
    }
}

static void hybrid__dequantize_q5_0(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q5_0 *b = (const hybrid__block_q5_0 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d);
        uint32_t qh = hybrid__load_u32(b->qh);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((int)((b->qs[j] & 15u) | (qh >> j & 1) << 4) - 16) * d;
            y[j + 16] = (float)((int)((b->qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) - 16) * d;
        }
    }
}

static void hybrid__dequantize_q5_1(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q5_1 *b = (const hybrid__block_q5_1 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d), m = hybrid__f16_to_f32(b->m);
        uint32_t qh = hybrid__load_u32(b->qh);
        for (j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15u) | (qh >> j & 1) << 4) * d + m;
            y[j + 16] = (float)((b->qs[j] >> 4) | (qh >> (j + 16) & 1) << 4) * d + m;
        }
    }
}

static void hybrid__dequantize_q8_0(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q8_0 *b = (const hybrid__block_q8_0 *)blocks, *end = b + n / HYBRID__QK;
    int j;
    for (; b < end; b++, y += HYBRID__QK) {
        float d = hybrid__f16_to_f32(b->d);
        for (j = 0; j < HYBRID__QK; j++) y[j] = (float)b->qs[j] * d;
    }
}

/* ---- encoding ---- */

/* value = d * q: the half d and the integers q in lo..hi of 32 values. */
static uint16_t hybrid__encode_scale_32(const float *values, const float *importance, float lo, float hi, float *q)
{
    hybrid__encode_input in;
    float scale[HYBRID__LANES], offset[HYBRID__LANES], err[HYBRID__LANES], fit;
    uint16_t half[HYBRID__LANES];
    int k, kind = (int)hybrid__encode_begin(&in, values, importance, HYBRID__QK);
    memset(q, 0, HYBRID__QK * sizeof *q);
    if (kind != HYBRID__ENCODE_NORMAL) return kind == HYBRID__ENCODE_DAMAGED ? HYBRID__HALF_NAN : 0;
    fit = hybrid__fit_scale(in.x, in.w, HYBRID__QK, lo, hi);
    for (k = 0; k < HYBRID__LANES; k++) {                    /* the last: no search, exact for one value */
        half[k] = k < 7 ? hybrid__encode_half(&in, fit, k - 3, &scale[k]) : hybrid__encode_half(&in, hybrid__peak(in.x, HYBRID__QK) / lo, 0, &scale[k]);
        offset[k] = 0;
    }
    hybrid__try_lines(in.x, in.w, HYBRID__QK, scale, offset, lo, hi, err);
    k = hybrid__smallest(err);
    hybrid__apply_line(in.x, HYBRID__QK, scale[k], 0, lo, hi, q);
    return half[k];
}

/* value = d * q + m: the halves d and m, and the integers q in 0..hi of 32 values. */
static void hybrid__encode_line_32(const float *values, const float *importance, float hi, uint16_t *d, uint16_t *m, float *q)
{
    hybrid__encode_input in;
    hybrid__line line;
    float scale[HYBRID__LANES], offset[HYBRID__LANES], err[HYBRID__LANES], middle;
    uint16_t half_d[HYBRID__LANES], half_m[HYBRID__LANES];
    int i, k, kind = (int)hybrid__encode_begin(&in, values, importance, HYBRID__QK);
    memset(q, 0, HYBRID__QK * sizeof *q);
    *d = *m = kind == HYBRID__ENCODE_DAMAGED ? HYBRID__HALF_NAN : 0;
    if (kind != HYBRID__ENCODE_NORMAL) return;
    middle = in.x[0];                                        /* around zero, so that the sums do not cancel */
    for (i = 0; i < HYBRID__QK; i++) in.x[i] -= middle;
    line = hybrid__fit_line(in.x, in.w, HYBRID__QK, hi, 1e30f);
    for (i = 0; i < HYBRID__QK; i++) in.x[i] += middle;
    for (k = 0; k < HYBRID__LANES; k++) {
        half_d[k] = hybrid__encode_half(&in, line.scale, k / 3 - 1, &scale[k]);
        half_m[k] = hybrid__encode_half(&in, line.offset + middle, k % 3 - 1, &offset[k]);
    }
    hybrid__try_lines(in.x, in.w, HYBRID__QK, scale, offset, 0, hi, err);
    k = hybrid__smallest(err);
    hybrid__apply_line(in.x, HYBRID__QK, scale[k], offset[k], 0, hi, q);
    *d = half_d[k];
    *m = half_m[k];
}

/* q as 4 bits, and the fifth bits into qh (when there are any). */
static void hybrid__pack_nibbles(const float *q, float plus, uint8_t *qs, uint8_t *qh)
{
    uint32_t high = 0;
    int j;
    for (j = 0; j < 16; j++) {
        uint32_t a = (uint32_t)(q[j] + plus), b = (uint32_t)(q[j + 16] + plus);
        qs[j] = (uint8_t)((a & 15) | (b & 15) << 4);
        high |= (a >> 4) << j | (b >> 4) << (j + 16);
    }
    if (qh) hybrid__store_u32(qh, high);
}

static void hybrid__quantize_q4_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q4_0 *b = (hybrid__block_q4_0 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        b->d = hybrid__encode_scale_32(x + i, importance ? importance + i : NULL, -8, 7, q);
        hybrid__pack_nibbles(q, 8, b->qs, NULL);
    }
}

static void hybrid__quantize_q4_1(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q4_1 *b = (hybrid__block_q4_1 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        hybrid__encode_line_32(x + i, importance ? importance + i : NULL, 15, &b->d, &b->m, q);
        hybrid__pack_nibbles(q, 0, b->qs, NULL);
    }
}

static void hybrid__quantize_q5_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q5_0 *b = (hybrid__block_q5_0 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        b->d = hybrid__encode_scale_32(x + i, importance ? importance + i : NULL, -16, 15, q);
        hybrid__pack_nibbles(q, 16, b->qs, b->qh);
    }
}

static void hybrid__quantize_q5_1(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q5_1 *b = (hybrid__block_q5_1 *)blocks;
    float q[HYBRID__QK];
    size_t i;
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        hybrid__encode_line_32(x + i, importance ? importance + i : NULL, 31, &b->d, &b->m, q);
        hybrid__pack_nibbles(q, 0, b->qs, b->qh);
    }
}

/* 8 bits need no search: the largest magnitude becomes 127, the rest is rounded by the scale as it is stored. */
static void hybrid__quantize_q8_0(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q8_0 *b = (hybrid__block_q8_0 *)blocks;
    size_t i;
    int j;
    HYBRID__UNUSED(importance);
    for (i = 0; i < n; i += HYBRID__QK, b++) {
        uint32_t peak = hybrid__largest_bits(x + i, HYBRID__QK);
        uint16_t d = hybrid__f32_to_f16(hybrid__bits_f32(peak) / 127.0f);
        float inverse;
        if (peak >= 0x7F800000u) d = HYBRID__HALF_NAN;
        else if (d == HYBRID__HALF_INFINITY) d = HYBRID__HALF_LARGEST;
        else if (d == 0 && peak) d = 1;                      /* the smallest step there is */
        inverse = d == 0 || d == HYBRID__HALF_NAN ? 0.0f : 1.0f / hybrid__f16_to_f32(d);
        b->d = d;
        for (j = 0; j < HYBRID__QK; j++) b->qs[j] = (int8_t)(d == HYBRID__HALF_NAN ? 0.0f : hybrid__round_clamped(x[i + (size_t)j] * inverse, -127, 127));
    }
}
/* ==== end src/quant/legacy.c ==== */

/* ==== begin src/quant/k_affine.c ==== */
/* quant/k_affine: super-blocks whose sub-blocks have a scale and a minimum, value = d * scale * q - dmin * min: Q2_K Q4_K Q5_K.
 * Layouts: quant/blocks. */

static void hybrid__dequantize_q2_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q2_K *b = (const hybrid__block_q2_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d), dmin = hybrid__f16_to_f32(b->dmin);
        for (s = 0; s < 16; s++) {                           /* 16 values from i = 16 s: half s / 8, bits 2(s % 8 / 2), +1 */
            const uint8_t *qs = b->qs + s / 8 * 32 + s % 2 * 16;
            float scale = d * (float)(b->scales[s] & 15), min = dmin * (float)(b->scales[s] >> 4);
            for (i = 0; i < 16; i++) y[16 * s + i] = scale * (float)(qs[i] >> (s % 8 / 2 * 2) & 3) - min;
        }
    }
}

static void hybrid__dequantize_q4_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q4_K *b = (const hybrid__block_q4_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d), dmin = hybrid__f16_to_f32(b->dmin);
        uint8_t sc[8], m[8];
        hybrid__scales_k4_unpack(b->scales, sc, m);
        for (s = 0; s < 8; s++) {                            /* 32 values from i = 32 s: nibble s % 2 of 32 bytes */
            const uint8_t *qs = b->qs + s / 2 * 32;
            float scale = d * (float)sc[s], min = dmin * (float)m[s];
            for (i = 0; i < 32; i++) y[32 * s + i] = scale * (float)(qs[i] >> (s % 2 * 4) & 15) - min;
        }
    }
}

static void hybrid__dequantize_q5_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q5_K *b = (const hybrid__block_q5_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d), dmin = hybrid__f16_to_f32(b->dmin);
        uint8_t sc[8], m[8];
        hybrid__scales_k4_unpack(b->scales, sc, m);
        for (s = 0; s < 8; s++) {
            const uint8_t *qs = b->qs + s / 2 * 32;
            float scale = d * (float)sc[s], min = dmin * (float)m[s];
            for (i = 0; i < 32; i++) y[32 * s + i] = scale * (float)((qs[i] >> (s % 2 * 4) & 15) | (b->qh[i] >> s & 1) << 4) - min;
        }
    }
}

/* ---- encoding ---- */

typedef struct hybrid__affine {
    uint16_t d, dmin;
    float    sc[16], m[16], q[HYBRID__QK_K], err;
} hybrid__affine;

/* Sums for the least-squares (d, dmin) of x = d u - dmin v, u = sc * q, v = m. */
typedef struct hybrid__affine_sums { float uu, vv, uv, xu, xv; } hybrid__affine_sums;

/* The least-squares steps, where the sums determine them; both at least 0. */
static void hybrid__solve_affine(const hybrid__affine_sums *t, float *d, float *dmin)
{
    float det = t->uu * t->vv - t->uv * t->uv;
    if (det > 1e-6f * t->uu * t->vv) {
        *d = (t->xu * t->vv - t->xv * t->uv) / det;
        *dmin = (t->xu * t->uv - t->xv * t->uu) / det;
    } else if (t->uu > 0 && t->vv == 0) *d = t->xu / t->uu;
    else if (t->vv > 0 && t->uu == 0) *dmin = -t->xv / t->vv;
    if (!(*d > 0)) *d = 0;
    if (!(*dmin > 0)) *dmin = 0;
}

/* Fills out for one pair of steps: around the line fit[s], four scales; for each, the offset that keeps the middle of the sub-block where
 * it is, as the two nearest mins; of these eight, the one with the least error. Moves d and dmin to the least squares of what was chosen. */
static void hybrid__try_affine(const hybrid__encode_input *in, const hybrid__line *fit, const float *mean, int len, float sc_hi, float hi,
                               float *d, float *dmin, hybrid__affine *out)
{
    hybrid__affine_sums t = { 0, 0, 0, 0, 0 };
    float step, step_min;
    int i, k, s;
    out->d = hybrid__encode_half(in, *d, 0, &step);
    out->dmin = hybrid__encode_half(in, *dmin, 0, &step_min);
    if (step == 0 && *d > 0) out->d = hybrid__encode_half(in, *d, 1, &step);
    if (step_min == 0 && *dmin > 0) out->dmin = hybrid__encode_half(in, *dmin, 1, &step_min);
    out->err = 0;
    for (s = 0; s < HYBRID__QK_K / len; s++) {
        const float *x = in->x + len * s, *w = in->w + len * s;
        float scale[HYBRID__LANES], offset[HYBRID__LANES], sc[HYBRID__LANES], m[HYBRID__LANES], err[HYBRID__LANES], *q = out->q + len * s;
        float below = step > 0 ? floorf(fit[s].scale / step) : 0, q_mean = fit[s].scale > 0 ? (mean[s] - fit[s].offset) / fit[s].scale : 0;
        for (k = 0; k < HYBRID__LANES; k++) {
            float ideal;
            sc[k] = hybrid__round_clamped(below + (float)(k / 2 - 1), 0, sc_hi);
            scale[k] = step * sc[k];
            ideal = -(fit[s].offset + (fit[s].scale - scale[k]) * q_mean);
            m[k] = step_min > 0 ? hybrid__round_clamped(floorf(ideal / step_min) + (float)(k % 2), 0, sc_hi) : 0;
            offset[k] = -(step_min * m[k]);
        }
        hybrid__try_lines(x, w, len, scale, offset, 0, hi, err);
        k = hybrid__smallest(err);
        out->err += err[k];
        out->sc[s] = sc[k];
        out->m[s] = m[k];
        hybrid__apply_line(x, len, scale[k], offset[k], 0, hi, q);
        for (i = 0; i < len; i++) {
            float u = sc[k] * q[i], v = m[k], wu = w[i] * u, wv = w[i] * v;
            t.uu += wu * u;
            t.uv -= wu * v;
            t.vv += wv * v;
            t.xu += wu * x[i];
            t.xv -= wv * x[i];
        }
    }
    hybrid__solve_affine(&t, d, dmin);
}

/* The largest steps that the lines need. */
static void hybrid__affine_steps(const hybrid__line *fit, int n_sub, float sc_hi, float *d, float *dmin)
{
    int s;
    *d = *dmin = 0;
    for (s = 0; s < n_sub; s++) {
        *d = HYBRID__MAX(*d, fit[s].scale / sc_hi);
        *dmin = HYBRID__MAX(*dmin, -fit[s].offset / sc_hi);
    }
}

/* d, dmin, the scales sc and mins m in 0..sc_hi of 256 / len sub-blocks, and the integers q in 0..hi of 256 values. The steps are tried as
 * the best lines suggest and by least squares. When hardly any error is left (a constant, few distinct values) it is the rounding of the
 * steps to halves: eight more draws. */
static void hybrid__encode_affine(const float *values, const float *importance, int len, float sc_hi, float hi,
                                  uint16_t *d, uint16_t *dmin, uint8_t *sc, uint8_t *m, float *q)
{
    hybrid__encode_input in;
    hybrid__affine now, best;
    hybrid__line fit[16];
    float mean[16], step, step_min, xx = 0;
    int i, s, pass, n_sub = HYBRID__QK_K / len, kind = (int)hybrid__encode_begin(&in, values, importance, HYBRID__QK_K);
    memset(sc, 0, (size_t)n_sub);
    memset(m, 0, (size_t)n_sub);
    memset(q, 0, HYBRID__QK_K * sizeof *q);
    *d = *dmin = kind == HYBRID__ENCODE_DAMAGED ? HYBRID__HALF_NAN : 0;
    if (kind != HYBRID__ENCODE_NORMAL) return;
    for (s = 0; s < n_sub; s++) {
        const float *x = in.x + len * s, *w = in.w + len * s;
        float sum_w = 0, sum_wx = 0;
        fit[s] = hybrid__fit_line(x, w, len, hi, 0);
        for (i = 0; i < len; i++) {
            sum_w += w[i];
            sum_wx += w[i] * x[i];
            xx += w[i] * x[i] * x[i];
        }
        mean[s] = sum_w > 0 ? sum_wx / sum_w : 0;
    }
    hybrid__affine_steps(fit, n_sub, sc_hi, &step, &step_min);
    hybrid__try_affine(&in, fit, mean, len, sc_hi, hi, &step, &step_min, &best);
    for (pass = 0; pass < 9; pass++) {
        if (pass > 0 && !(best.err > 0 && best.err < 5e-5f * xx)) break;
        if (pass == 1) for (s = 0; s < n_sub; s++) fit[s] = hybrid__plain_line(in.x + len * s, len, hi, 0);
        if (pass > 0) hybrid__affine_steps(fit, n_sub, sc_hi - (float)(pass - 1), &step, &step_min);
        hybrid__try_affine(&in, fit, mean, len, sc_hi, hi, &step, &step_min, &now);
        if (now.err < best.err) best = now;
    }
    *d = best.d;
    *dmin = best.dmin;
    memcpy(q, best.q, sizeof best.q);
    for (s = 0; s < n_sub; s++) {
        sc[s] = (uint8_t)best.sc[s];
        m[s] = (uint8_t)best.m[s];
    }
}

static void hybrid__quantize_q2_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q2_K *b = (hybrid__block_q2_K *)blocks;
    float q[HYBRID__QK_K];
    uint8_t sc[16], m[16];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYBRID__QK_K, b++) {
        memset(b, 0, sizeof *b);
        hybrid__encode_affine(x + at, importance ? importance + at : NULL, 16, 15, 3, &b->d, &b->dmin, sc, m, q);
        for (i = 0; i < 16; i++) b->scales[i] = (uint8_t)(sc[i] | m[i] << 4);
        for (i = 0; i < HYBRID__QK_K; i++) {
            uint8_t *qs = &b->qs[i / 128 * 32 + i % 32];
            *qs = (uint8_t)(*qs | (unsigned)q[i] << (i % 128 / 32 * 2));
        }
    }
}

static void hybrid__quantize_q4_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q4_K *b = (hybrid__block_q4_K *)blocks;
    float q[HYBRID__QK_K];
    uint8_t sc[8], m[8];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYBRID__QK_K, b++) {
        hybrid__encode_affine(x + at, importance ? importance + at : NULL, 32, 63, 15, &b->d, &b->dmin, sc, m, q);
        hybrid__scales_k4_pack(sc, m, b->scales);
        for (i = 0; i < 128; i++) {
            const float *p = q + i / 32 * 64 + i % 32;
            b->qs[i] = (uint8_t)((unsigned)p[0] | (unsigned)p[32] << 4);
        }
    }
}

static void hybrid__quantize_q5_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q5_K *b = (hybrid__block_q5_K *)blocks;
    float q[HYBRID__QK_K];
    uint8_t sc[8], m[8];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYBRID__QK_K, b++) {
        hybrid__encode_affine(x + at, importance ? importance + at : NULL, 32, 63, 31, &b->d, &b->dmin, sc, m, q);
        hybrid__scales_k4_pack(sc, m, b->scales);
        memset(b->qh, 0, sizeof b->qh);
        for (i = 0; i < 128; i++) {
            const float *p = q + i / 32 * 64 + i % 32;
            unsigned v = (unsigned)p[0], u = (unsigned)p[32];
            b->qs[i] = (uint8_t)((v & 15) | (u & 15) << 4);
            b->qh[i % 32] = (uint8_t)(b->qh[i % 32] | (v >> 4) << (i / 32 * 2) | (u >> 4) << (i / 32 * 2 + 1));
        }
    }
}
/* ==== end src/quant/k_affine.c ==== */

/* ==== begin src/quant/k_symmetric.c ==== */
/* quant/k_symmetric: super-blocks whose values lie around zero, value = d * scale * q: Q3_K Q6_K. Layouts: quant/blocks. */

static void hybrid__dequantize_q3_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q3_K *b = (const hybrid__block_q3_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d);
        int8_t sc[16];
        hybrid__scales_q3_unpack(b->scales, sc);
        for (s = 0; s < 16; s++) {                           /* 16 values from i = 16 s: half s / 8, bits 2(s % 8 / 2), +1 */
            const uint8_t *qs = b->qs + s / 8 * 32 + s % 2 * 16, *hmask = b->hmask + s % 2 * 16;
            float scale = d * (float)sc[s];
            for (i = 0; i < 16; i++) {
                int q = (qs[i] >> (s % 8 / 2 * 2) & 3) | (hmask[i] >> (s / 2) & 1) << 2;
                y[16 * s + i] = scale * (float)(q - 4);
            }
        }
    }
}

static void hybrid__dequantize_q6_K(const void *blocks, float *y, size_t n)
{
    const hybrid__block_q6_K *b = (const hybrid__block_q6_K *)blocks, *end = b + n / HYBRID__QK_K;
    int i, s;
    for (; b < end; b++, y += HYBRID__QK_K) {
        float d = hybrid__f16_to_f32(b->d);
        for (s = 0; s < 16; s++) {                           /* 16 values from i = 16 s: half s / 8, quarter of it s % 8 / 2 */
            const uint8_t *ql = b->ql + s / 8 * 64 + s % 4 * 16, *qh = b->qh + s / 8 * 32 + s % 2 * 16;
            float scale = d * (float)b->scales[s];
            for (i = 0; i < 16; i++) {
                int q = (ql[i] >> (s % 8 / 4 * 4) & 15) | (qh[i] >> (s % 8 / 2 * 2) & 3) << 4;
                y[16 * s + i] = scale * (float)(q - 32);
            }
        }
    }
}

/* ---- encoding ---- */

typedef struct hybrid__symmetric {
    uint16_t d;
    float    sc[16], q[HYBRID__QK_K], err;
} hybrid__symmetric;

/* Fills out for one d: of the sixteen scales next to fit[s] / d, the one with the least error. */
static void hybrid__try_symmetric(const hybrid__encode_input *in, const float *fit, float d, float sc_lo, float sc_hi, float lo, float hi, hybrid__symmetric *out)
{
    static const float zero[HYBRID__LANES] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    float stored;
    int k, s, half;
    out->d = hybrid__encode_half(in, d, 0, &stored);
    if (stored == 0) out->d = hybrid__encode_half(in, d, 1, &stored);
    out->err = 0;
    for (s = 0; s < 16; s++) {
        float scale[HYBRID__LANES], sc[HYBRID__LANES], err[HYBRID__LANES], least = 0, nearest = hybrid__round_clamped(fit[s] / stored, sc_lo, sc_hi);
        const float *x = in->x + 16 * s, *w = in->w + 16 * s;
        for (half = 0; half < 2; half++) {
            for (k = 0; k < HYBRID__LANES; k++) {
                sc[k] = hybrid__round_clamped(nearest + (float)(k - (half == 0 ? 3 : k < 4 ? 7 : -1)), sc_lo, sc_hi);
                scale[k] = stored * sc[k];
            }
            hybrid__try_lines(x, w, 16, scale, zero, lo, hi, err);
            k = hybrid__smallest(err);
            if (half == 0 || err[k] < least) { least = err[k]; out->sc[s] = sc[k]; }
        }
        out->err += least;
        hybrid__apply_line(x, 16, stored * out->sc[s], 0, lo, hi, out->q + 16 * s);
    }
}

/* The scale d, the 16 scales sc in sc_lo..sc_hi and the integers q in lo..hi of 256 values. d is as the best scales of the sub-blocks
 * suggest. When hardly any error is left (a constant, few distinct values) it is the rounding of d to a half: eight more draws. */
static uint16_t hybrid__encode_symmetric(const float *values, const float *importance, float sc_lo, float sc_hi, float lo, float hi, int8_t *sc, float *q)
{
    hybrid__encode_input in;
    hybrid__symmetric now, best;
    float fit[16], peak, xx = 0;
    int i, s, draw, kind = (int)hybrid__encode_begin(&in, values, importance, HYBRID__QK_K);
    memset(sc, 0, 16);
    memset(q, 0, HYBRID__QK_K * sizeof *q);
    if (kind != HYBRID__ENCODE_NORMAL) return kind == HYBRID__ENCODE_DAMAGED ? HYBRID__HALF_NAN : 0;
    for (s = 0; s < 16; s++) fit[s] = hybrid__fit_scale(in.x + 16 * s, in.w + 16 * s, 16, lo, hi);
    peak = hybrid__peak(fit, 16);
    if (peak == 0) return 0;
    hybrid__try_symmetric(&in, fit, peak / sc_lo, sc_lo, sc_hi, lo, hi, &best);
    for (i = 0; i < HYBRID__QK_K; i++) xx += in.w[i] * in.x[i] * in.x[i];
    for (draw = 0; draw < 8 && best.err > 0 && best.err < 5e-5f * xx; draw++) {
        if (draw == 0) {
            for (s = 0; s < 16; s++) fit[s] = hybrid__peak(in.x + 16 * s, 16) / lo;
            peak = hybrid__peak(fit, 16);
        }
        hybrid__try_symmetric(&in, fit, peak / (sc_lo + (float)draw), sc_lo, sc_hi, lo, hi, &now);
        if (now.err < best.err) best = now;
    }
    for (s = 0; s < 16; s++) sc[s] = (int8_t)best.sc[s];
    memcpy(q, best.q, sizeof best.q);
    return best.d;
}

static void hybrid__quantize_q3_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q3_K *b = (hybrid__block_q3_K *)blocks;
    float q[HYBRID__QK_K];
    int8_t sc[16];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYBRID__QK_K, b++) {
        memset(b, 0, sizeof *b);
        b->d = hybrid__encode_symmetric(x + at, importance ? importance + at : NULL, -32, 31, -4, 3, sc, q);
        hybrid__scales_q3_pack(sc, b->scales);
        for (i = 0; i < HYBRID__QK_K; i++) {
            unsigned v = (unsigned)(q[i] + 4);
            uint8_t *qs = &b->qs[i / 128 * 32 + i % 32], *hmask = &b->hmask[i % 32];
            *qs = (uint8_t)(*qs | (v & 3) << (i % 128 / 32 * 2));
            *hmask = (uint8_t)(*hmask | (v >> 2) << (i / 32));
        }
    }
}

static void hybrid__quantize_q6_K(const float *x, void *blocks, size_t n, const float *importance)
{
    hybrid__block_q6_K *b = (hybrid__block_q6_K *)blocks;
    float q[HYBRID__QK_K];
    size_t at;
    int i;
    for (at = 0; at < n; at += HYBRID__QK_K, b++) {
        memset(b, 0, sizeof *b);
        b->d = hybrid__encode_symmetric(x + at, importance ? importance + at : NULL, -128, 127, -32, 31, b->scales, q);
        for (i = 0; i < HYBRID__QK_K; i++) {
            unsigned v = (unsigned)(q[i] + 32);
            uint8_t *ql = &b->ql[i / 128 * 64 + i % 64], *qh = &b->qh[i / 128 * 32 + i % 32];
            *ql = (uint8_t)(*ql | (v & 15) << (i % 128 / 64 * 4));
            *qh = (uint8_t)(*qh | (v >> 4) << (i % 128 / 32 * 2));
        }
    }
}
/* ==== end src/quant/k_symmetric.c ==== */

/* ==== begin src/quant/types.c ==== */
/* quant/types: the table of all types, and the public functions over it. A new type is a file with two functions, and a line here. */

typedef struct hybrid__type_traits {
    const char *name;
    size_t      block_size, block_bytes;   /* values, bytes */
    void      (*dequantize_row)(const void *blocks, float *values, size_t n);
    void      (*quantize_row)(const float *values, void *blocks, size_t n, const float *importance);
} hybrid__type_traits;

/* NULL for a number that hybrid does not know. n of the two functions must be a multiple of block_size; blocks 2-byte aligned. */
static const hybrid__type_traits *hybrid__type_info(hybrid_type type)
{
#define HYBRID__TYPE(id, block_size, block_bytes, suffix) \
    case HYBRID_TYPE_##id: { \
        static const hybrid__type_traits traits = { #id, block_size, block_bytes, hybrid__dequantize_##suffix, hybrid__quantize_##suffix }; \
        return &traits; \
    }
#define HYBRID__BLOCK_TYPE(id, block_size, suffix) HYBRID__TYPE(id, block_size, sizeof(hybrid__block_##suffix), suffix)
    switch ((int)type) {
        HYBRID__TYPE(F32, 1, 4, f32)
        HYBRID__TYPE(F16, 1, 2, f16)
        HYBRID__TYPE(BF16, 1, 2, bf16)
        HYBRID__BLOCK_TYPE(Q4_0, HYBRID__QK, q4_0)
        HYBRID__BLOCK_TYPE(Q4_1, HYBRID__QK, q4_1)
        HYBRID__BLOCK_TYPE(Q5_0, HYBRID__QK, q5_0)
        HYBRID__BLOCK_TYPE(Q5_1, HYBRID__QK, q5_1)
        HYBRID__BLOCK_TYPE(Q8_0, HYBRID__QK, q8_0)
        HYBRID__BLOCK_TYPE(Q2_K, HYBRID__QK_K, q2_K)
        HYBRID__BLOCK_TYPE(Q3_K, HYBRID__QK_K, q3_K)
        HYBRID__BLOCK_TYPE(Q4_K, HYBRID__QK_K, q4_K)
        HYBRID__BLOCK_TYPE(Q5_K, HYBRID__QK_K, q5_K)
        HYBRID__BLOCK_TYPE(Q6_K, HYBRID__QK_K, q6_K)
    }
#undef HYBRID__BLOCK_TYPE
#undef HYBRID__TYPE
    return NULL;
}

HYBRID_API const char *hybrid_type_name(hybrid_type type)
{
    const hybrid__type_traits *t = hybrid__type_info(type);
    return t ? t->name : NULL;
}
HYBRID_API size_t hybrid_type_block_size(hybrid_type type)
{
    const hybrid__type_traits *t = hybrid__type_info(type);
    return t ? t->block_size : 0;
}
HYBRID_API size_t hybrid_type_block_bytes(hybrid_type type)
{
    const hybrid__type_traits *t = hybrid__type_info(type);
    return t ? t->block_bytes : 0;
}
HYBRID_API size_t hybrid_type_row_bytes(hybrid_type type, size_t n)
{
    const hybrid__type_traits *t = hybrid__type_info(type);
    size_t bytes;
    if (!t || n % t->block_size || !hybrid__mul_size(n / t->block_size, t->block_bytes, &bytes)) return 0;
    return bytes;
}

/* What both public functions ask of their arguments. Blocks hold 16-bit numbers: an odd address would be a crash on some machines. */
static bool hybrid__quant_arguments(const hybrid__type_traits *t, const void *blocks, const float *values, size_t n)
{
    return t && n % t->block_size == 0 && (n == 0 || (blocks && values && (t->block_size == 1 || (uintptr_t)blocks % 2 == 0)));
}

HYBRID_API hybrid_result hybrid_dequantize(hybrid_type type, const void *blocks, float *values, size_t n)
{
    const hybrid__type_traits *t = hybrid__type_info(type);
    if (!hybrid__quant_arguments(t, blocks, values, n)) return HYBRID_ERROR_INVALID;
    if (n) t->dequantize_row(blocks, values, n);
    return HYBRID_OK;
}

static bool hybrid__all_finite(const float *values, size_t n)
{
    uint32_t worst = 0;
    size_t i;
    for (i = 0; i < n; i++) {
        uint32_t a = hybrid__f32_bits(values[i]) & 0x7FFFFFFFu;
        worst = HYBRID__MAX(worst, a);
    }
    return worst < 0x7F800000u;
}

HYBRID_API hybrid_result hybrid_quantize(hybrid_type type, const float *values, void *blocks, size_t n, const float *importance)
{
    const hybrid__type_traits *t = hybrid__type_info(type);
    size_t i;
    if (!hybrid__quant_arguments(t, blocks, values, n)) return HYBRID_ERROR_INVALID;
    if (importance) {
        if (!hybrid__all_finite(importance, n)) return HYBRID_ERROR_INVALID;
        for (i = 0; i < n; i++) if (importance[i] < 0) return HYBRID_ERROR_INVALID;
    }
    if (n) t->quantize_row(values, blocks, n, importance);
    return t->block_size == 1 || hybrid__all_finite(values, n) ? HYBRID_OK : HYBRID_ERROR_NUMERIC;
}
/* ==== end src/quant/types.c ==== */

/* ==== begin src/quant/convert.c ==== */
/* quant/convert: whole matrices from one type to another, by all threads of a runtime. */

typedef struct hybrid__convert {
    const hybrid__type_traits *from, *to;
    const char  *src;
    char        *dst;
    size_t       src_row, dst_row;           /* bytes */
    size_t       row, n_rows, rows_a_chunk;  /* values, rows */
    const float *importance;
    float       *scratch;                    /* a row a lane */
    volatile uint64_t damaged;               /* rows with NaN or infinity that blocks cannot hold */
} hybrid__convert;

static void hybrid__convert_chunk(void *arg, int chunk, int lane)
{
    hybrid__convert *c = (hybrid__convert *)arg;
    size_t r = (size_t)chunk * c->rows_a_chunk, end = HYBRID__MIN(r + c->rows_a_chunk, c->n_rows);
    float *values = c->scratch + (size_t)lane * c->row;
    for (; r < end; r++) {
        c->from->dequantize_row(c->src + r * c->src_row, values, c->row);
        if (c->to->block_size > 1 && !hybrid__all_finite(values, c->row)) hybrid__atomic_add(&c->damaged, 1);
        c->to->quantize_row(values, c->dst + r * c->dst_row, c->row, c->importance);
    }
}

HYBRID_API hybrid_result hybrid_convert(hybrid_runtime *runtime, hybrid_type from, const void *src, hybrid_type to, void *dst,
                                        size_t n_rows, size_t row, const float *importance, hybrid_error *error)
{
    hybrid__convert c;
    hybrid_runtime *rt;
    hybrid_result r;
    size_t bytes, i;
    memset(&c, 0, sizeof c);
    c.from = hybrid__type_info(from);
    c.to = hybrid__type_info(to);
    if (!c.from || !c.to) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_convert: %d is no type that hybrid knows", (int)(c.from ? to : from));
    if (row % c.from->block_size || row % c.to->block_size)
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_convert: rows of %llu values do not divide into blocks of %s and %s", (unsigned long long)row, c.from->name, c.to->name);
    if (!n_rows || !row) return HYBRID_OK;
    if (!src || !dst || (c.from->block_size > 1 && (uintptr_t)src % 2) || (c.to->block_size > 1 && (uintptr_t)dst % 2))
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_convert: src or dst is NULL or an odd address");
    for (i = 0; importance && i < row; i++)
        if (!(importance[i] >= 0 && importance[i] < INFINITY)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_convert: importance %llu is negative or no number", (unsigned long long)i);
    if ((r = hybrid__runtime_retain(runtime, &rt, error))) return r;
    c.src = (const char *)src;
    c.dst = (char *)dst;
    c.src_row = hybrid_type_row_bytes(from, row);
    c.dst_row = hybrid_type_row_bytes(to, row);
    c.row = row;
    c.n_rows = n_rows;
    c.rows_a_chunk = n_rows / 1024 + 1;
    c.importance = importance;
    if (!hybrid__mul_size(row, (size_t)hybrid__lanes(rt), &bytes) || !hybrid__mul_size(bytes, sizeof(float), &bytes)) bytes = SIZE_MAX;
    c.scratch = bytes == SIZE_MAX ? NULL : (float *)hybrid__alloc(rt, bytes);
    if (!c.scratch) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, bytes);
    }
    hybrid__parallel(rt, (int)((n_rows + c.rows_a_chunk - 1) / c.rows_a_chunk), hybrid__convert_chunk, &c);
    hybrid__free(rt, c.scratch);
    hybrid__runtime_release(rt);
    if (c.damaged)
        return hybrid__fail(error, HYBRID_ERROR_NUMERIC, "%llu of %llu rows hold NaN or infinity, which %s cannot: the source is damaged",
                            (unsigned long long)c.damaged, (unsigned long long)n_rows, c.to->name);
    return HYBRID_OK;
}
/* ==== end src/quant/convert.c ==== */

/* ==== begin src/quant/mix.c ==== */
/* quant/mix: which type each tensor of a model gets in a mix like Q4_K_M. The rules are llama.cpp's, so that files are alike: most matrices
 * in the type of the name, those that hurt most (output, attention values, the second matrix of the feed-forward, first and last layers)
 * in a better one, norms and the like as they are. */

typedef struct hybrid__mix_row { hybrid_mix mix; const char *name; hybrid_type type; } hybrid__mix_row;

static const hybrid__mix_row *hybrid__mix_rows(size_t *count)
{
    static const hybrid__mix_row rows[] = {
        { HYBRID_MIX_F32, "F32", HYBRID_TYPE_F32 }, { HYBRID_MIX_F16, "F16", HYBRID_TYPE_F16 }, { HYBRID_MIX_BF16, "BF16", HYBRID_TYPE_BF16 },
        { HYBRID_MIX_Q8_0, "Q8_0", HYBRID_TYPE_Q8_0 }, { HYBRID_MIX_Q6_K, "Q6_K", HYBRID_TYPE_Q6_K },
        { HYBRID_MIX_Q5_K_M, "Q5_K_M", HYBRID_TYPE_Q5_K }, { HYBRID_MIX_Q5_K_S, "Q5_K_S", HYBRID_TYPE_Q5_K },
        { HYBRID_MIX_Q5_1, "Q5_1", HYBRID_TYPE_Q5_1 }, { HYBRID_MIX_Q5_0, "Q5_0", HYBRID_TYPE_Q5_0 },
        { HYBRID_MIX_Q4_K_M, "Q4_K_M", HYBRID_TYPE_Q4_K }, { HYBRID_MIX_Q4_K_S, "Q4_K_S", HYBRID_TYPE_Q4_K },
        { HYBRID_MIX_Q4_1, "Q4_1", HYBRID_TYPE_Q4_1 }, { HYBRID_MIX_Q4_0, "Q4_0", HYBRID_TYPE_Q4_0 },
        { HYBRID_MIX_Q3_K_L, "Q3_K_L", HYBRID_TYPE_Q3_K }, { HYBRID_MIX_Q3_K_M, "Q3_K_M", HYBRID_TYPE_Q3_K },
        { HYBRID_MIX_Q3_K_S, "Q3_K_S", HYBRID_TYPE_Q3_K }, { HYBRID_MIX_Q2_K, "Q2_K", HYBRID_TYPE_Q2_K } };
    *count = HYBRID__COUNT(rows);
    return rows;
}

HYBRID_API const char *hybrid_mix_name(hybrid_mix mix)
{
    size_t n, i;
    const hybrid__mix_row *rows = hybrid__mix_rows(&n);
    for (i = 0; i < n; i++) if (rows[i].mix == mix) return rows[i].name;
    return NULL;
}

HYBRID_API bool hybrid_mix_at(size_t i, hybrid_mix *mix)
{
    size_t n;
    const hybrid__mix_row *rows = hybrid__mix_rows(&n);
    if (i >= n) return false;
    *mix = rows[i].mix;
    return true;
}

static bool hybrid__same_letters(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) if ((*a >= 'a' && *a <= 'z' ? *a - 32 : *a) != *b) return false;
    return !*a && !*b;
}

HYBRID_API bool hybrid_mix_find(const char *name, hybrid_mix *mix)
{
    size_t n, i;
    const hybrid__mix_row *rows = hybrid__mix_rows(&n);
    for (i = 0; name && i < n; i++)
        if (hybrid__same_letters(name, rows[i].name)) {
            *mix = rows[i].mix;
            return true;
        }
    /* the short names of the usual ones */
    if (name && hybrid__same_letters(name, "Q3_K")) return hybrid_mix_find("Q3_K_M", mix);
    if (name && hybrid__same_letters(name, "Q4_K")) return hybrid_mix_find("Q4_K_M", mix);
    if (name && hybrid__same_letters(name, "Q5_K")) return hybrid_mix_find("Q5_K_M", mix);
    return false;
}

/* Matrices whose name ends in "weight", but for those that are small, or looked up, or steer (norms, routers, positions, recurrences). */
static bool hybrid__mix_encodes(const char *name, int n_dims, const uint64_t *ne)
{
    static const char *const kept[] = {
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj", "ssm_conv1d", "shortconv.conv.weight",
        "indexer.k_proj.weight", "indexer.q_proj.weight", "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight",
        "time_mix_v0.weight", "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
        "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight", "time_mix_lerp_fused.weight",
        "attn_rel_b.weight", ".position_embd", ".rel_pos", ".patch_embd", ".patch_merger" };
    size_t length = strlen(name), i;
    int d, used = 1;
    for (d = 1; d < n_dims; d++) if (ne[d] > 1) used = d + 1;
    if (used < 2 || length < 6 || strcmp(name + length - 6, "weight")) return false;
    if (!strcmp(name, "position_embd.weight") || !strcmp(name, "token_types.weight")) return false;
    for (i = 0; i < HYBRID__COUNT(kept); i++) if (strstr(name, kept[i])) return false;
    return true;
}

/* The first and the last eighth of the layers, and every third between. */
static bool hybrid__mix_more_bits(int layer, int n_layer)
{
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

static hybrid_type hybrid__mix_attention_value(hybrid_mix mix, const hybrid_mix_model *m, int layer, hybrid_type type)
{
    bool shared = m->n_head_kv > 0 && m->n_head / m->n_head_kv >= 4;                       /* few of them: more bits cost little */
    if (m->n_expert == 8) return HYBRID_TYPE_Q8_0;
    if (mix == HYBRID_MIX_Q2_K) type = shared ? HYBRID_TYPE_Q4_K : HYBRID_TYPE_Q3_K;
    else if (mix == HYBRID_MIX_Q3_K_M) type = layer < 2 ? HYBRID_TYPE_Q5_K : HYBRID_TYPE_Q4_K;
    else if (mix == HYBRID_MIX_Q3_K_L) type = HYBRID_TYPE_Q5_K;
    else if (mix == HYBRID_MIX_Q4_K_S && layer < 4) type = HYBRID_TYPE_Q5_K;
    else if ((mix == HYBRID_MIX_Q4_K_M || mix == HYBRID_MIX_Q5_K_M) && hybrid__mix_more_bits(layer, m->n_layer)) type = HYBRID_TYPE_Q6_K;
    if (m->n_layer == 80 && m->n_head != m->n_head_kv && m->architecture && !strcmp(m->architecture, "llama") &&
        (type == HYBRID_TYPE_Q3_K || type == HYBRID_TYPE_Q4_K)) type = HYBRID_TYPE_Q5_K;   /* the 70B ones */
    return type;
}

static hybrid_type hybrid__mix_ffn_down(hybrid_mix mix, bool falcon, int layer, int n_layer, hybrid_type type)
{
    bool more = hybrid__mix_more_bits(layer, n_layer);
    if (mix == HYBRID_MIX_Q2_K) return HYBRID_TYPE_Q3_K;
    if (mix == HYBRID_MIX_Q3_K_M) return layer < n_layer / 16 ? HYBRID_TYPE_Q5_K : !falcon || more ? HYBRID_TYPE_Q4_K : HYBRID_TYPE_Q3_K;
    if (mix == HYBRID_MIX_Q3_K_L) return falcon ? HYBRID_TYPE_Q4_K : HYBRID_TYPE_Q5_K;
    if (mix == HYBRID_MIX_Q4_K_M && falcon) return layer < n_layer / 16 ? HYBRID_TYPE_Q6_K : more ? HYBRID_TYPE_Q5_K : HYBRID_TYPE_Q4_K;
    if ((mix == HYBRID_MIX_Q4_K_M || mix == HYBRID_MIX_Q5_K_M) && more) return HYBRID_TYPE_Q6_K;
    if (mix == HYBRID_MIX_Q4_K_S && !falcon && layer < n_layer / 8) return HYBRID_TYPE_Q5_K;
    return type;
}

static hybrid_type hybrid__mix_attention_output(hybrid_mix mix, bool falcon, int n_expert, hybrid_type type)
{
    if (falcon) return mix == HYBRID_MIX_Q3_K_L ? HYBRID_TYPE_Q4_K : type;
    if (n_expert == 8)
        return mix == HYBRID_MIX_Q2_K || mix == HYBRID_MIX_Q3_K_S || mix == HYBRID_MIX_Q3_K_M || mix == HYBRID_MIX_Q4_K_S || mix == HYBRID_MIX_Q4_K_M ? HYBRID_TYPE_Q5_K : type;
    return mix == HYBRID_MIX_Q2_K ? HYBRID_TYPE_Q3_K : mix == HYBRID_MIX_Q3_K_M ? HYBRID_TYPE_Q4_K : mix == HYBRID_MIX_Q3_K_L ? HYBRID_TYPE_Q5_K : type;
}

/* A row that super-blocks do not divide gets the next better type of 32 values a block; one that 32 does not divide, halves. */
static hybrid_type hybrid__mix_fits(hybrid_type type, uint64_t row)
{
    if (row % hybrid_type_block_size(type)) {
        if (type == HYBRID_TYPE_Q2_K || type == HYBRID_TYPE_Q3_K) type = HYBRID_TYPE_Q4_0;
        else if (type == HYBRID_TYPE_Q4_K) type = HYBRID_TYPE_Q5_0;
        else if (type == HYBRID_TYPE_Q5_K) type = HYBRID_TYPE_Q5_1;
        else if (type == HYBRID_TYPE_Q6_K) type = HYBRID_TYPE_Q8_0;
    }
    return row % hybrid_type_block_size(type) ? HYBRID_TYPE_F16 : type;
}

static int hybrid__mix_layer(const char *name)
{
    int layer = 0;
    if (strncmp(name, "blk.", 4)) return 0;
    for (name += 4; *name >= '0' && *name <= '9' && layer < 100000; name++) layer = layer * 10 + (*name - '0');
    return layer;
}

HYBRID_API hybrid_type hybrid_quantize_type_for(hybrid_mix mix, const hybrid_mix_model *model, const char *name, int n_dims, const uint64_t *ne, hybrid_type now)
{
    size_t n, i;
    const hybrid__mix_row *rows = hybrid__mix_rows(&n);
    hybrid_type type;
    bool falcon, output;
    int layer;
    for (i = 0; i < n && rows[i].mix != mix; i++) {}
    if (i == n || !model || !name || !ne || !hybrid__mix_encodes(name, n_dims, ne)) return now;
    type = rows[i].type;
    if (hybrid_type_block_size(type) == 1) return type;
    falcon = model->architecture && !strcmp(model->architecture, "falcon");
    output = !strcmp(name, "output.weight");
    layer = hybrid__mix_layer(name);
    if (output || !strcmp(name, "token_embd.weight") || !strcmp(name, "per_layer_token_embd.weight")) {
        if (output || model->tied_output) {                  /* the matrix that makes the logits */
            if (falcon || ne[0] % hybrid_type_block_size(type)) type = HYBRID_TYPE_Q8_0;
            else if (type != HYBRID_TYPE_Q8_0) type = HYBRID_TYPE_Q6_K;
        }
    } else if (strstr(name, "attn_v.weight") || strstr(name, "attn_qkv.weight") || strstr(name, "attn_kv_b.weight")) {
        type = hybrid__mix_attention_value(mix, model, layer, type);
    } else if (strstr(name, "attn_k.weight")) {
        if (model->n_expert == 8) type = HYBRID_TYPE_Q8_0;
    } else if (strstr(name, "ffn_down")) {
        type = hybrid__mix_ffn_down(mix, falcon, layer, model->n_layer, type);
    } else if (strstr(name, "attn_output.weight")) {
        type = hybrid__mix_attention_output(mix, falcon, model->n_expert, type);
    }
    return hybrid__mix_fits(type, ne[0]);
}
/* ==== end src/quant/mix.c ==== */

/* text */

/* ==== begin src/text/unicode_data.c ==== */
/* text/unicode_data: made by tests/oracle/make_unicode.py from the Unicode Character Database 16.0.0; do not edit.
 * Every entry begins a run of code points of one class: first code point << 4 | class (hybrid__char_class in text/unicode.c). */
static const uint32_t hybrid__unicode_runs[3576] = {
    0x0, 0x9A, 0xAB, 0xBA, 0xDB, 0xE0, 0x20A, 0x218, 0x249, 0x258, 0x2B9, 0x2C8, 0x307, 0x3A8, 0x3C9, 0x3F8,
    0x411, 0x5B8, 0x5E9, 0x5F8, 0x609, 0x613, 0x7B8, 0x7C9, 0x7D8, 0x7E9, 0x7F0, 0x85A, 0x860, 0xA0A, 0xA18, 0xA29,
    0xA78, 0xA89, 0xAA5, 0xAB8, 0xAC9, 0xAD0, 0xAE9, 0xB27, 0xB49, 0xB53, 0xB68, 0xB89, 0xB97, 0xBA5, 0xBB8, 0xBC7,
    0xBF8, 0xC01, 0xD79, 0xD81, 0xDF3, 0xF79, 0xF83, 0x1001, 0x1013, 0x1021, 0x1033, 0x1041, 0x1053, 0x1061, 0x1073, 0x1081,
    0x1093, 0x10A1, 0x10B3, 0x10C1, 0x10D3, 0x10E1, 0x10F3, 0x1101, 0x1113, 0x1121, 0x1133, 0x1141, 0x1153, 0x1161, 0x1173, 0x1181,
    0x1193, 0x11A1, 0x11B3, 0x11C1, 0x11D3, 0x11E1, 0x11F3, 0x1201, 0x1213, 0x1221, 0x1233, 0x1241, 0x1253, 0x1261, 0x1273, 0x1281,
    0x1293, 0x12A1, 0x12B3, 0x12C1, 0x12D3, 0x12E1, 0x12F3, 0x1301, 0x1313, 0x1321, 0x1333, 0x1341, 0x1353, 0x1361, 0x1373, 0x1391,
    0x13A3, 0x13B1, 0x13C3, 0x13D1, 0x13E3, 0x13F1, 0x1403, 0x1411, 0x1423, 0x1431, 0x1443, 0x1451, 0x1463, 0x1471, 0x1483, 0x14A1,
    0x14B3, 0x14C1, 0x14D3, 0x14E1, 0x14F3, 0x1501, 0x1513, 0x1521, 0x1533, 0x1541, 0x1553, 0x1561, 0x1573, 0x1581, 0x1593, 0x15A1,
    0x15B3, 0x15C1, 0x15D3, 0x15E1, 0x15F3, 0x1601, 0x1613, 0x1621, 0x1633, 0x1641, 0x1653, 0x1661, 0x1673, 0x1681, 0x1693, 0x16A1,
    0x16B3, 0x16C1, 0x16D3, 0x16E1, 0x16F3, 0x1701, 0x1713, 0x1721, 0x1733, 0x1741, 0x1753, 0x1761, 0x1773, 0x1781, 0x17A3, 0x17B1,
    0x17C3, 0x17D1, 0x17E3, 0x1811, 0x1833, 0x1841, 0x1853, 0x1861, 0x1883, 0x1891, 0x18C3, 0x18E1, 0x1923, 0x1931, 0x1953, 0x1961,
    0x1993, 0x19C1, 0x19E3, 0x19F1, 0x1A13, 0x1A21, 0x1A33, 0x1A41, 0x1A53, 0x1A61, 0x1A83, 0x1A91, 0x1AA3, 0x1AC1, 0x1AD3, 0x1AE1,
    0x1B03, 0x1B11, 0x1B43, 0x1B51, 0x1B63, 0x1B71, 0x1B93, 0x1BB5, 0x1BC1, 0x1BD3, 0x1C05, 0x1C41, 0x1C52, 0x1C63, 0x1C71, 0x1C82,
    0x1C93, 0x1CA1, 0x1CB2, 0x1CC3, 0x1CD1, 0x1CE3, 0x1CF1, 0x1D03, 0x1D11, 0x1D23, 0x1D31, 0x1D43, 0x1D51, 0x1D63, 0x1D71, 0x1D83,
    0x1D91, 0x1DA3, 0x1DB1, 0x1DC3, 0x1DE1, 0x1DF3, 0x1E01, 0x1E13, 0x1E21, 0x1E33, 0x1E41, 0x1E53, 0x1E61, 0x1E73, 0x1E81, 0x1E93,
    0x1EA1, 0x1EB3, 0x1EC1, 0x1ED3, 0x1EE1, 0x1EF3, 0x1F11, 0x1F22, 0x1F33, 0x1F41, 0x1F53, 0x1F61, 0x1F93, 0x1FA1, 0x1FB3, 0x1FC1,
    0x1FD3, 0x1FE1, 0x1FF3, 0x2001, 0x2013, 0x2021, 0x2033, 0x2041, 0x2053, 0x2061, 0x2073, 0x2081, 0x2093, 0x20A1, 0x20B3, 0x20C1,
    0x20D3, 0x20E1, 0x20F3, 0x2101, 0x2113, 0x2121, 0x2133, 0x2141, 0x2153, 0x2161, 0x2173, 0x2181, 0x2193, 0x21A1, 0x21B3, 0x21C1,
    0x21D3, 0x21E1, 0x21F3, 0x2201, 0x2213, 0x2221, 0x2233, 0x2241, 0x2253, 0x2261, 0x2273, 0x2281, 0x2293, 0x22A1, 0x22B3, 0x22C1,
    0x22D3, 0x22E1, 0x22F3, 0x2301, 0x2313, 0x2321, 0x2333, 0x23A1, 0x23C3, 0x23D1, 0x23F3, 0x2411, 0x2423, 0x2431, 0x2473, 0x2481,
    0x2493, 0x24A1, 0x24B3, 0x24C1, 0x24D3, 0x24E1, 0x24F3, 0x2945, 0x2953, 0x2B04, 0x2C29, 0x2C64, 0x2D29, 0x2E04, 0x2E59, 0x2EC4,
    0x2ED9, 0x2EE4, 0x2EF9, 0x3006, 0x3701, 0x3713, 0x3721, 0x3733, 0x3744, 0x3759, 0x3761, 0x3773, 0x3780, 0x37A4, 0x37B3, 0x37E8,
    0x37F1, 0x3800, 0x3849, 0x3861, 0x3878, 0x3881, 0x38B0, 0x38C1, 0x38D0, 0x38E1, 0x3903, 0x3911, 0x3A20, 0x3A31, 0x3AC3, 0x3CF1,
    0x3D03, 0x3D21, 0x3D53, 0x3D81, 0x3D93, 0x3DA1, 0x3DB3, 0x3DC1, 0x3DD3, 0x3DE1, 0x3DF3, 0x3E01, 0x3E13, 0x3E21, 0x3E33, 0x3E41,
    0x3E53, 0x3E61, 0x3E73, 0x3E81, 0x3E93, 0x3EA1, 0x3EB3, 0x3EC1, 0x3ED3, 0x3EE1, 0x3EF3, 0x3F41, 0x3F53, 0x3F69, 0x3F71, 0x3F83,
    0x3F91, 0x3FB3, 0x3FD1, 0x4303, 0x4601, 0x4613, 0x4621, 0x4633, 0x4641, 0x4653, 0x4661, 0x4673, 0x4681, 0x4693, 0x46A1, 0x46B3,
    0x46C1, 0x46D3, 0x46E1, 0x46F3, 0x4701, 0x4713, 0x4721, 0x4733, 0x4741, 0x4753, 0x4761, 0x4773, 0x4781, 0x4793, 0x47A1, 0x47B3,
    0x47C1, 0x47D3, 0x47E1, 0x47F3, 0x4801, 0x4813, 0x4829, 0x4836, 0x48A1, 0x48B3, 0x48C1, 0x48D3, 0x48E1, 0x48F3, 0x4901, 0x4913,
    0x4921, 0x4933, 0x4941, 0x4953, 0x4961, 0x4973, 0x4981, 0x4993, 0x49A1, 0x49B3, 0x49C1, 0x49D3, 0x49E1, 0x49F3, 0x4A01, 0x4A13,
    0x4A21, 0x4A33, 0x4A41, 0x4A53, 0x4A61, 0x4A73, 0x4A81, 0x4A93, 0x4AA1, 0x4AB3, 0x4AC1, 0x4AD3, 0x4AE1, 0x4AF3, 0x4B01, 0x4B13,
    0x4B21, 0x4B33, 0x4B41, 0x4B53, 0x4B61, 0x4B73, 0x4B81, 0x4B93, 0x4BA1, 0x4BB3, 0x4BC1, 0x4BD3, 0x4BE1, 0x4BF3, 0x4C01, 0x4C23,
    0x4C31, 0x4C43, 0x4C51, 0x4C63, 0x4C71, 0x4C83, 0x4C91, 0x4CA3, 0x4CB1, 0x4CC3, 0x4CD1, 0x4CE3, 0x4D01, 0x4D13, 0x4D21, 0x4D33,
    0x4D41, 0x4D53, 0x4D61, 0x4D73, 0x4D81, 0x4D93, 0x4DA1, 0x4DB3, 0x4DC1, 0x4DD3, 0x4DE1, 0x4DF3, 0x4E01, 0x4E13, 0x4E21, 0x4E33,
    0x4E41, 0x4E53, 0x4E61, 0x4E73, 0x4E81, 0x4E93, 0x4EA1, 0x4EB3, 0x4EC1, 0x4ED3, 0x4EE1, 0x4EF3, 0x4F01, 0x4F13, 0x4F21, 0x4F33,
    0x4F41, 0x4F53, 0x4F61, 0x4F73, 0x4F81, 0x4F93, 0x4FA1, 0x4FB3, 0x4FC1, 0x4FD3, 0x4FE1, 0x4FF3, 0x5001, 0x5013, 0x5021, 0x5033,
    0x5041, 0x5053, 0x5061, 0x5073, 0x5081, 0x5093, 0x50A1, 0x50B3, 0x50C1, 0x50D3, 0x50E1, 0x50F3, 0x5101, 0x5113, 0x5121, 0x5133,
    0x5141, 0x5153, 0x5161, 0x5173, 0x5181, 0x5193, 0x51A1, 0x51B3, 0x51C1, 0x51D3, 0x51E1, 0x51F3, 0x5201, 0x5213, 0x5221, 0x5233,
    0x5241, 0x5253, 0x5261, 0x5273, 0x5281, 0x5293, 0x52A1, 0x52B3, 0x52C1, 0x52D3, 0x52E1, 0x52F3, 0x5300, 0x5311, 0x5570, 0x5594,
    0x55A8, 0x5603, 0x5898, 0x58B0, 0x58D9, 0x5900, 0x5916, 0x5BE8, 0x5BF6, 0x5C08, 0x5C16, 0x5C38, 0x5C46, 0x5C68, 0x5C76, 0x5C80,
    0x5D05, 0x5EB0, 0x5EF5, 0x5F38, 0x5F50, 0x6069, 0x6098, 0x60B9, 0x60C8, 0x60E9, 0x6106, 0x61B8, 0x61C0, 0x61D8, 0x6205, 0x6404,
    0x6415, 0x64B6, 0x6607, 0x66A8, 0x66E5, 0x6706, 0x6715, 0x6D48, 0x6D55, 0x6D66, 0x6DD0, 0x6DE9, 0x6DF6, 0x6E54, 0x6E76, 0x6E99,
    0x6EA6, 0x6EE5, 0x6F07, 0x6FA5, 0x6FD9, 0x6FF5, 0x7008, 0x70E0, 0x7105, 0x7116, 0x7125, 0x7306, 0x74B0, 0x74D5, 0x7A66, 0x7B15,
    0x7B20, 0x7C07, 0x7CA5, 0x7EB6, 0x7F44, 0x7F69, 0x7F78, 0x7FA4, 0x7FB0, 0x7FD6, 0x7FE9, 0x8005, 0x8166, 0x81A4, 0x81B6, 0x8244,
    0x8256, 0x8284, 0x8296, 0x82E0, 0x8308, 0x83F0, 0x8405, 0x8596, 0x85C0, 0x85E8, 0x85F0, 0x8605, 0x86B0, 0x8705, 0x8889, 0x8895,
    0x88F0, 0x8976, 0x8A05, 0x8C94, 0x8CA6, 0x8E20, 0x8E36, 0x9045, 0x93A6, 0x93D5, 0x93E6, 0x9505, 0x9516, 0x9585, 0x9626, 0x9648,
    0x9667, 0x9708, 0x9714, 0x9725, 0x9816, 0x9840, 0x9855, 0x98D0, 0x98F5, 0x9910, 0x9935, 0x9A90, 0x9AA5, 0x9B10, 0x9B25, 0x9B30,
    0x9B65, 0x9BA0, 0x9BC6, 0x9BD5, 0x9BE6, 0x9C50, 0x9C76, 0x9C90, 0x9CB6, 0x9CE5, 0x9CF0, 0x9D76, 0x9D80, 0x9DC5, 0x9DE0, 0x9DF5,
    0x9E26, 0x9E40, 0x9E67, 0x9F05, 0x9F29, 0x9F47, 0x9FA9, 0x9FC5, 0x9FD8, 0x9FE6, 0x9FF0, 0xA016, 0xA040, 0xA055, 0xA0B0, 0xA0F5,
    0xA110, 0xA135, 0xA290, 0xA2A5, 0xA310, 0xA325, 0xA340, 0xA355, 0xA370, 0xA385, 0xA3A0, 0xA3C6, 0xA3D0, 0xA3E6, 0xA430, 0xA476,
    0xA490, 0xA4B6, 0xA4E0, 0xA516, 0xA520, 0xA595, 0xA5D0, 0xA5E5, 0xA5F0, 0xA667, 0xA706, 0xA725, 0xA756, 0xA768, 0xA770, 0xA816,
    0xA840, 0xA855, 0xA8E0, 0xA8F5, 0xA920, 0xA935, 0xAA90, 0xAAA5, 0xAB10, 0xAB25, 0xAB40, 0xAB55, 0xABA0, 0xABC6, 0xABD5, 0xABE6,
    0xAC60, 0xAC76, 0xACA0, 0xACB6, 0xACE0, 0xAD05, 0xAD10, 0xAE05, 0xAE26, 0xAE40, 0xAE67, 0xAF08, 0xAF19, 0xAF20, 0xAF95, 0xAFA6,
    0xB000, 0xB016, 0xB040, 0xB055, 0xB0D0, 0xB0F5, 0xB110, 0xB135, 0xB290, 0xB2A5, 0xB310, 0xB325, 0xB340, 0xB355, 0xB3A0, 0xB3C6,
    0xB3D5, 0xB3E6, 0xB450, 0xB476, 0xB490, 0xB4B6, 0xB4E0, 0xB556, 0xB580, 0xB5C5, 0xB5E0, 0xB5F5, 0xB626, 0xB640, 0xB667, 0xB709,
    0xB715, 0xB727, 0xB780, 0xB826, 0xB835, 0xB840, 0xB855, 0xB8B0, 0xB8E5, 0xB910, 0xB925, 0xB960, 0xB995, 0xB9B0, 0xB9C5, 0xB9D0,
    0xB9E5, 0xBA00, 0xBA35, 0xBA50, 0xBA85, 0xBAB0, 0xBAE5, 0xBBA0, 0xBBE6, 0xBC30, 0xBC66, 0xBC90, 0xBCA6, 0xBCE0, 0xBD05, 0xBD10,
    0xBD76, 0xBD80, 0xBE67, 0xBF39, 0xBFB0, 0xC006, 0xC055, 0xC0D0, 0xC0E5, 0xC110, 0xC125, 0xC290, 0xC2A5, 0xC3A0, 0xC3C6, 0xC3D5,
    0xC3E6, 0xC450, 0xC466, 0xC490, 0xC4A6, 0xC4E0, 0xC556, 0xC570, 0xC585, 0xC5B0, 0xC5D5, 0xC5E0, 0xC605, 0xC626, 0xC640, 0xC667,
    0xC700, 0xC778, 0xC787, 0xC7F9, 0xC805, 0xC816, 0xC848, 0xC855, 0xC8D0, 0xC8E5, 0xC910, 0xC925, 0xCA90, 0xCAA5, 0xCB40, 0xCB55,
    0xCBA0, 0xCBC6, 0xCBD5, 0xCBE6, 0xCC50, 0xCC66, 0xCC90, 0xCCA6, 0xCCE0, 0xCD56, 0xCD70, 0xCDD5, 0xCDF0, 0xCE05, 0xCE26, 0xCE40,
    0xCE67, 0xCF00, 0xCF15, 0xCF36, 0xCF40, 0xD006, 0xD045, 0xD0D0, 0xD0E5, 0xD110, 0xD125, 0xD3B6, 0xD3D5, 0xD3E6, 0xD450, 0xD466,
    0xD490, 0xD4A6, 0xD4E5, 0xD4F9, 0xD500, 0xD545, 0xD576, 0xD587, 0xD5F5, 0xD626, 0xD640, 0xD667, 0xD799, 0xD7A5, 0xD800, 0xD816,
    0xD840, 0xD855, 0xD970, 0xD9A5, 0xDB20, 0xDB35, 0xDBC0, 0xDBD5, 0xDBE0, 0xDC05, 0xDC70, 0xDCA6, 0xDCB0, 0xDCF6, 0xDD50, 0xDD66,
    0xDD70, 0xDD86, 0xDE00, 0xDE67, 0xDF00, 0xDF26, 0xDF48, 0xDF50, 0xE015, 0xE316, 0xE325, 0xE346, 0xE3B0, 0xE3F9, 0xE405, 0xE464,
    0xE476, 0xE4F8, 0xE507, 0xE5A8, 0xE5C0, 0xE815, 0xE830, 0xE845, 0xE850, 0xE865, 0xE8B0, 0xE8C5, 0xEA40, 0xEA55, 0xEA60, 0xEA75,
    0xEB16, 0xEB25, 0xEB46, 0xEBD5, 0xEBE0, 0xEC05, 0xEC50, 0xEC64, 0xEC70, 0xEC86, 0xECF0, 0xED07, 0xEDA0, 0xEDC5, 0xEE00, 0xF005,
    0xF019, 0xF048, 0xF139, 0xF148, 0xF159, 0xF186, 0xF1A9, 0xF207, 0xF349, 0xF356, 0xF369, 0xF376, 0xF389, 0xF396, 0xF3A8, 0xF3E6,
    0xF405, 0xF480, 0xF495, 0xF6D0, 0xF716, 0xF858, 0xF866, 0xF885, 0xF8D6, 0xF980, 0xF996, 0xFBD0, 0xFBE9, 0xFC66, 0xFC79, 0xFCD0,
    0xFCE9, 0xFD08, 0xFD59, 0xFD98, 0xFDB0, 0x10005, 0x102B6, 0x103F5, 0x10407, 0x104A8, 0x10505, 0x10566, 0x105A5, 0x105E6, 0x10615, 0x10626,
    0x10655, 0x10676, 0x106E5, 0x10716, 0x10755, 0x10826, 0x108E5, 0x108F6, 0x10907, 0x109A6, 0x109E9, 0x10A01, 0x10C60, 0x10C71, 0x10C80, 0x10CD1,
    0x10CE0, 0x10D03, 0x10FB8, 0x10FC4, 0x10FD3, 0x11005, 0x12490, 0x124A5, 0x124E0, 0x12505, 0x12570, 0x12585, 0x12590, 0x125A5, 0x125E0, 0x12605,
    0x12890, 0x128A5, 0x128E0, 0x12905, 0x12B10, 0x12B25, 0x12B60, 0x12B85, 0x12BF0, 0x12C05, 0x12C10, 0x12C25, 0x12C60, 0x12C85, 0x12D70, 0x12D85,
    0x13110, 0x13125, 0x13160, 0x13185, 0x135B0, 0x135D6, 0x13608, 0x13697, 0x137D0, 0x13805, 0x13909, 0x139A0, 0x13A01, 0x13F60, 0x13F83, 0x13FE0,
    0x14008, 0x14015, 0x166D9, 0x166E8, 0x166F5, 0x1680A, 0x16815, 0x169B8, 0x169D0, 0x16A05, 0x16EB8, 0x16EE7, 0x16F15, 0x16F90, 0x17005, 0x17126,
    0x17160, 0x171F5, 0x17326, 0x17358, 0x17370, 0x17405, 0x17526, 0x17540, 0x17605, 0x176D0, 0x176E5, 0x17710, 0x17726, 0x17740, 0x17805, 0x17B46,
    0x17D48, 0x17D74, 0x17D88, 0x17DB9, 0x17DC5, 0x17DD6, 0x17DE0, 0x17E07, 0x17EA0, 0x17F07, 0x17FA0, 0x18008, 0x180B6, 0x180E0, 0x180F6, 0x18107,
    0x181A0, 0x18205, 0x18434, 0x18445, 0x18790, 0x18805, 0x18856, 0x18875, 0x18A96, 0x18AA5, 0x18AB0, 0x18B05, 0x18F60, 0x19005, 0x191F0, 0x19206,
    0x192C0, 0x19306, 0x193C0, 0x19409, 0x19410, 0x19448, 0x19467, 0x19505, 0x196E0, 0x19705, 0x19750, 0x19805, 0x19AC0, 0x19B05, 0x19CA0, 0x19D07,
    0x19DB0, 0x19DE9, 0x1A005, 0x1A176, 0x1A1C0, 0x1A1E8, 0x1A205, 0x1A556, 0x1A5F0, 0x1A606, 0x1A7D0, 0x1A7F6, 0x1A807, 0x1A8A0, 0x1A907, 0x1A9A0,
    0x1AA08, 0x1AA74, 0x1AA88, 0x1AAE0, 0x1AB06, 0x1ACF0, 0x1B006, 0x1B055, 0x1B346, 0x1B455, 0x1B4D0, 0x1B4E8, 0x1B507, 0x1B5A8, 0x1B619, 0x1B6B6,
    0x1B749, 0x1B7D8, 0x1B806, 0x1B835, 0x1BA16, 0x1BAE5, 0x1BB07, 0x1BBA5, 0x1BE66, 0x1BF40, 0x1BFC8, 0x1C005, 0x1C246, 0x1C380, 0x1C3B8, 0x1C407,
    0x1C4A0, 0x1C4D5, 0x1C507, 0x1C5A5, 0x1C784, 0x1C7E8, 0x1C803, 0x1C891, 0x1C8A3, 0x1C8B0, 0x1C901, 0x1CBB0, 0x1CBD1, 0x1CC08, 0x1CC80, 0x1CD06,
    0x1CD38, 0x1CD46, 0x1CE95, 0x1CED6, 0x1CEE5, 0x1CF46, 0x1CF55, 0x1CF76, 0x1CFA5, 0x1CFB0, 0x1D003, 0x1D2C4, 0x1D6B3, 0x1D784, 0x1D793, 0x1D9B4,
    0x1DC06, 0x1E001, 0x1E013, 0x1E021, 0x1E033, 0x1E041, 0x1E053, 0x1E061, 0x1E073, 0x1E081, 0x1E093, 0x1E0A1, 0x1E0B3, 0x1E0C1, 0x1E0D3, 0x1E0E1,
    0x1E0F3, 0x1E101, 0x1E113, 0x1E121, 0x1E133, 0x1E141, 0x1E153, 0x1E161, 0x1E173, 0x1E181, 0x1E193, 0x1E1A1, 0x1E1B3, 0x1E1C1, 0x1E1D3, 0x1E1E1,
    0x1E1F3, 0x1E201, 0x1E213, 0x1E221, 0x1E233, 0x1E241, 0x1E253, 0x1E261, 0x1E273, 0x1E281, 0x1E293, 0x1E2A1, 0x1E2B3, 0x1E2C1, 0x1E2D3, 0x1E2E1,
    0x1E2F3, 0x1E301, 0x1E313, 0x1E321, 0x1E333, 0x1E341, 0x1E353, 0x1E361, 0x1E373, 0x1E381, 0x1E393, 0x1E3A1, 0x1E3B3, 0x1E3C1, 0x1E3D3, 0x1E3E1,
    0x1E3F3, 0x1E401, 0x1E413, 0x1E421, 0x1E433, 0x1E441, 0x1E453, 0x1E461, 0x1E473, 0x1E481, 0x1E493, 0x1E4A1, 0x1E4B3, 0x1E4C1, 0x1E4D3, 0x1E4E1,
    0x1E4F3, 0x1E501, 0x1E513, 0x1E521, 0x1E533, 0x1E541, 0x1E553, 0x1E561, 0x1E573, 0x1E581, 0x1E593, 0x1E5A1, 0x1E5B3, 0x1E5C1, 0x1E5D3, 0x1E5E1,
    0x1E5F3, 0x1E601, 0x1E613, 0x1E621, 0x1E633, 0x1E641, 0x1E653, 0x1E661, 0x1E673, 0x1E681, 0x1E693, 0x1E6A1, 0x1E6B3, 0x1E6C1, 0x1E6D3, 0x1E6E1,
    0x1E6F3, 0x1E701, 0x1E713, 0x1E721, 0x1E733, 0x1E741, 0x1E753, 0x1E761, 0x1E773, 0x1E781, 0x1E793, 0x1E7A1, 0x1E7B3, 0x1E7C1, 0x1E7D3, 0x1E7E1,
    0x1E7F3, 0x1E801, 0x1E813, 0x1E821, 0x1E833, 0x1E841, 0x1E853, 0x1E861, 0x1E873, 0x1E881, 0x1E893, 0x1E8A1, 0x1E8B3, 0x1E8C1, 0x1E8D3, 0x1E8E1,
    0x1E8F3, 0x1E901, 0x1E913, 0x1E921, 0x1E933, 0x1E941, 0x1E953, 0x1E9E1, 0x1E9F3, 0x1EA01, 0x1EA13, 0x1EA21, 0x1EA33, 0x1EA41, 0x1EA53, 0x1EA61,
    0x1EA73, 0x1EA81, 0x1EA93, 0x1EAA1, 0x1EAB3, 0x1EAC1, 0x1EAD3, 0x1EAE1, 0x1EAF3, 0x1EB01, 0x1EB13, 0x1EB21, 0x1EB33, 0x1EB41, 0x1EB53, 0x1EB61,
    0x1EB73, 0x1EB81, 0x1EB93, 0x1EBA1, 0x1EBB3, 0x1EBC1, 0x1EBD3, 0x1EBE1, 0x1EBF3, 0x1EC01, 0x1EC13, 0x1EC21, 0x1EC33, 0x1EC41, 0x1EC53, 0x1EC61,
    0x1EC73, 0x1EC81, 0x1EC93, 0x1ECA1, 0x1ECB3, 0x1ECC1, 0x1ECD3, 0x1ECE1, 0x1ECF3, 0x1ED01, 0x1ED13, 0x1ED21, 0x1ED33, 0x1ED41, 0x1ED53, 0x1ED61,
    0x1ED73, 0x1ED81, 0x1ED93, 0x1EDA1, 0x1EDB3, 0x1EDC1, 0x1EDD3, 0x1EDE1, 0x1EDF3, 0x1EE01, 0x1EE13, 0x1EE21, 0x1EE33, 0x1EE41, 0x1EE53, 0x1EE61,
    0x1EE73, 0x1EE81, 0x1EE93, 0x1EEA1, 0x1EEB3, 0x1EEC1, 0x1EED3, 0x1EEE1, 0x1EEF3, 0x1EF01, 0x1EF13, 0x1EF21, 0x1EF33, 0x1EF41, 0x1EF53, 0x1EF61,
    0x1EF73, 0x1EF81, 0x1EF93, 0x1EFA1, 0x1EFB3, 0x1EFC1, 0x1EFD3, 0x1EFE1, 0x1EFF3, 0x1F081, 0x1F103, 0x1F160, 0x1F181, 0x1F1E0, 0x1F203, 0x1F281,
    0x1F303, 0x1F381, 0x1F403, 0x1F460, 0x1F481, 0x1F4E0, 0x1F503, 0x1F580, 0x1F591, 0x1F5A0, 0x1F5B1, 0x1F5C0, 0x1F5D1, 0x1F5E0, 0x1F5F1, 0x1F603,
    0x1F681, 0x1F703, 0x1F7E0, 0x1F803, 0x1F882, 0x1F903, 0x1F982, 0x1FA03, 0x1FA82, 0x1FB03, 0x1FB50, 0x1FB63, 0x1FB81, 0x1FBC2, 0x1FBD9, 0x1FBE3,
    0x1FBF9, 0x1FC23, 0x1FC50, 0x1FC63, 0x1FC81, 0x1FCC2, 0x1FCD9, 0x1FD03, 0x1FD40, 0x1FD63, 0x1FD81, 0x1FDC0, 0x1FDD9, 0x1FE03, 0x1FE81, 0x1FED9,
    0x1FF00, 0x1FF23, 0x1FF50, 0x1FF63, 0x1FF81, 0x1FFC2, 0x1FFD9, 0x1FFF0, 0x2000A, 0x200B0, 0x20108, 0x2028A, 0x202A0, 0x202FA, 0x20308, 0x20449,
    0x20458, 0x20529, 0x20538, 0x205FA, 0x20600, 0x20707, 0x20714, 0x20720, 0x20747, 0x207A9, 0x207D8, 0x207F4, 0x20807, 0x208A9, 0x208D8, 0x208F0,
    0x20904, 0x209D0, 0x20A09, 0x20C10, 0x20D06, 0x20F10, 0x21009, 0x21021, 0x21039, 0x21071, 0x21089, 0x210A3, 0x210B1, 0x210E3, 0x21101, 0x21133,
    0x21149, 0x21151, 0x21169, 0x21191, 0x211E9, 0x21241, 0x21259, 0x21261, 0x21279, 0x21281, 0x21299, 0x212A1, 0x212E9, 0x212F3, 0x21301, 0x21343,
    0x21355, 0x21393, 0x213A9, 0x213C3, 0x213E1, 0x21409, 0x21451, 0x21463, 0x214A9, 0x214E3, 0x214F9, 0x21507, 0x21831, 0x21843, 0x21857, 0x218A9,
    0x218C0, 0x21909, 0x23088, 0x230C9, 0x23298, 0x232B9, 0x242A0, 0x24409, 0x244B0, 0x24607, 0x249C9, 0x24EA7, 0x25009, 0x27688, 0x27767, 0x27949,
    0x27C58, 0x27C79, 0x27E68, 0x27F09, 0x29838, 0x29999, 0x29D88, 0x29DC9, 0x29FC8, 0x29FE9, 0x2B740, 0x2B769, 0x2B960, 0x2B979, 0x2C001, 0x2C303,
    0x2C601, 0x2C613, 0x2C621, 0x2C653, 0x2C671, 0x2C683, 0x2C691, 0x2C6A3, 0x2C6B1, 0x2C6C3, 0x2C6D1, 0x2C713, 0x2C721, 0x2C733, 0x2C751, 0x2C763,
    0x2C7C4, 0x2C7E1, 0x2C813, 0x2C821, 0x2C833, 0x2C841, 0x2C853, 0x2C861, 0x2C873, 0x2C881, 0x2C893, 0x2C8A1, 0x2C8B3, 0x2C8C1, 0x2C8D3, 0x2C8E1,
    0x2C8F3, 0x2C901, 0x2C913, 0x2C921, 0x2C933, 0x2C941, 0x2C953, 0x2C961, 0x2C973, 0x2C981, 0x2C993, 0x2C9A1, 0x2C9B3, 0x2C9C1, 0x2C9D3, 0x2C9E1,
    0x2C9F3, 0x2CA01, 0x2CA13, 0x2CA21, 0x2CA33, 0x2CA41, 0x2CA53, 0x2CA61, 0x2CA73, 0x2CA81, 0x2CA93, 0x2CAA1, 0x2CAB3, 0x2CAC1, 0x2CAD3, 0x2CAE1,
    0x2CAF3, 0x2CB01, 0x2CB13, 0x2CB21, 0x2CB33, 0x2CB41, 0x2CB53, 0x2CB61, 0x2CB73, 0x2CB81, 0x2CB93, 0x2CBA1, 0x2CBB3, 0x2CBC1, 0x2CBD3, 0x2CBE1,
    0x2CBF3, 0x2CC01, 0x2CC13, 0x2CC21, 0x2CC33, 0x2CC41, 0x2CC53, 0x2CC61, 0x2CC73, 0x2CC81, 0x2CC93, 0x2CCA1, 0x2CCB3, 0x2CCC1, 0x2CCD3, 0x2CCE1,
    0x2CCF3, 0x2CD01, 0x2CD13, 0x2CD21, 0x2CD33, 0x2CD41, 0x2CD53, 0x2CD61, 0x2CD73, 0x2CD81, 0x2CD93, 0x2CDA1, 0x2CDB3, 0x2CDC1, 0x2CDD3, 0x2CDE1,
    0x2CDF3, 0x2CE01, 0x2CE13, 0x2CE21, 0x2CE33, 0x2CE59, 0x2CEB1, 0x2CEC3, 0x2CED1, 0x2CEE3, 0x2CEF6, 0x2CF21, 0x2CF33, 0x2CF40, 0x2CF98, 0x2CFD7,
    0x2CFE8, 0x2D003, 0x2D260, 0x2D273, 0x2D280, 0x2D2D3, 0x2D2E0, 0x2D305, 0x2D680, 0x2D6F4, 0x2D708, 0x2D710, 0x2D7F6, 0x2D805, 0x2D970, 0x2DA05,
    0x2DA70, 0x2DA85, 0x2DAF0, 0x2DB05, 0x2DB70, 0x2DB85, 0x2DBF0, 0x2DC05, 0x2DC70, 0x2DC85, 0x2DCF0, 0x2DD05, 0x2DD70, 0x2DD85, 0x2DDF0, 0x2DE06,
    0x2E008, 0x2E2F4, 0x2E308, 0x2E509, 0x2E528, 0x2E5E0, 0x2E809, 0x2E9A0, 0x2E9B9, 0x2EF40, 0x2F009, 0x2FD60, 0x2FF09, 0x3000A, 0x30018, 0x30049,
    0x30054, 0x30065, 0x30077, 0x30088, 0x30129, 0x30148, 0x30209, 0x30217, 0x302A6, 0x30308, 0x30314, 0x30369, 0x30387, 0x303B4, 0x303C5, 0x303D8,
    0x303E9, 0x30400, 0x30415, 0x30970, 0x30996, 0x309B9, 0x309D4, 0x309F5, 0x30A08, 0x30A15, 0x30FB8, 0x30FC4, 0x30FF5, 0x31000, 0x31055, 0x31300,
    0x31315, 0x318F0, 0x31909, 0x31927, 0x31969, 0x31A05, 0x31C09, 0x31E60, 0x31EF9, 0x31F05, 0x32009, 0x321F0, 0x32207, 0x322A9, 0x32487, 0x32509,
    0x32517, 0x32609, 0x32807, 0x328A9, 0x32B17, 0x32C09, 0x34005, 0x4DC09, 0x4E005, 0xA0154, 0xA0165, 0xA48D0, 0xA4909, 0xA4C70, 0xA4D05, 0xA4F84,
    0xA4FE8, 0xA5005, 0xA60C4, 0xA60D8, 0xA6105, 0xA6207, 0xA62A5, 0xA62C0, 0xA6401, 0xA6413, 0xA6421, 0xA6433, 0xA6441, 0xA6453, 0xA6461, 0xA6473,
    0xA6481, 0xA6493, 0xA64A1, 0xA64B3, 0xA64C1, 0xA64D3, 0xA64E1, 0xA64F3, 0xA6501, 0xA6513, 0xA6521, 0xA6533, 0xA6541, 0xA6553, 0xA6561, 0xA6573,
    0xA6581, 0xA6593, 0xA65A1, 0xA65B3, 0xA65C1, 0xA65D3, 0xA65E1, 0xA65F3, 0xA6601, 0xA6613, 0xA6621, 0xA6633, 0xA6641, 0xA6653, 0xA6661, 0xA6673,
    0xA6681, 0xA6693, 0xA66A1, 0xA66B3, 0xA66C1, 0xA66D3, 0xA66E5, 0xA66F6, 0xA6738, 0xA6746, 0xA67E8, 0xA67F4, 0xA6801, 0xA6813, 0xA6821, 0xA6833,
    0xA6841, 0xA6853, 0xA6861, 0xA6873, 0xA6881, 0xA6893, 0xA68A1, 0xA68B3, 0xA68C1, 0xA68D3, 0xA68E1, 0xA68F3, 0xA6901, 0xA6913, 0xA6921, 0xA6933,
    0xA6941, 0xA6953, 0xA6961, 0xA6973, 0xA6981, 0xA6993, 0xA69A1, 0xA69B3, 0xA69C4, 0xA69E6, 0xA6A05, 0xA6E67, 0xA6F06, 0xA6F28, 0xA6F80, 0xA7009,
    0xA7174, 0xA7209, 0xA7221, 0xA7233, 0xA7241, 0xA7253, 0xA7261, 0xA7273, 0xA7281, 0xA7293, 0xA72A1, 0xA72B3, 0xA72C1, 0xA72D3, 0xA72E1, 0xA72F3,
    0xA7321, 0xA7333, 0xA7341, 0xA7353, 0xA7361, 0xA7373, 0xA7381, 0xA7393, 0xA73A1, 0xA73B3, 0xA73C1, 0xA73D3, 0xA73E1, 0xA73F3, 0xA7401, 0xA7413,
    0xA7421, 0xA7433, 0xA7441, 0xA7453, 0xA7461, 0xA7473, 0xA7481, 0xA7493, 0xA74A1, 0xA74B3, 0xA74C1, 0xA74D3, 0xA74E1, 0xA74F3, 0xA7501, 0xA7513,
    0xA7521, 0xA7533, 0xA7541, 0xA7553, 0xA7561, 0xA7573, 0xA7581, 0xA7593, 0xA75A1, 0xA75B3, 0xA75C1, 0xA75D3, 0xA75E1, 0xA75F3, 0xA7601, 0xA7613,
    0xA7621, 0xA7633, 0xA7641, 0xA7653, 0xA7661, 0xA7673, 0xA7681, 0xA7693, 0xA76A1, 0xA76B3, 0xA76C1, 0xA76D3, 0xA76E1, 0xA76F3, 0xA7704, 0xA7713,
    0xA7791, 0xA77A3, 0xA77B1, 0xA77C3, 0xA77D1, 0xA77F3, 0xA7801, 0xA7813, 0xA7821, 0xA7833, 0xA7841, 0xA7853, 0xA7861, 0xA7873, 0xA7884, 0xA7899,
    0xA78B1, 0xA78C3, 0xA78D1, 0xA78E3, 0xA78F5, 0xA7901, 0xA7913, 0xA7921, 0xA7933, 0xA7961, 0xA7973, 0xA7981, 0xA7993, 0xA79A1, 0xA79B3, 0xA79C1,
    0xA79D3, 0xA79E1, 0xA79F3, 0xA7A01, 0xA7A13, 0xA7A21, 0xA7A33, 0xA7A41, 0xA7A53, 0xA7A61, 0xA7A73, 0xA7A81, 0xA7A93, 0xA7AA1, 0xA7AF3, 0xA7B01,
    0xA7B53, 0xA7B61, 0xA7B73, 0xA7B81, 0xA7B93, 0xA7BA1, 0xA7BB3, 0xA7BC1, 0xA7BD3, 0xA7BE1, 0xA7BF3, 0xA7C01, 0xA7C13, 0xA7C21, 0xA7C33, 0xA7C41,
    0xA7C83, 0xA7C91, 0xA7CA3, 0xA7CB1, 0xA7CD3, 0xA7CE0, 0xA7D01, 0xA7D13, 0xA7D20, 0xA7D33, 0xA7D40, 0xA7D53, 0xA7D61, 0xA7D73, 0xA7D81, 0xA7D93,
    0xA7DA1, 0xA7DB3, 0xA7DC1, 0xA7DD0, 0xA7F24, 0xA7F51, 0xA7F63, 0xA7F75, 0xA7F84, 0xA7FA3, 0xA7FB5, 0xA8026, 0xA8035, 0xA8066, 0xA8075, 0xA80B6,
    0xA80C5, 0xA8236, 0xA8289, 0xA82C6, 0xA82D0, 0xA8307, 0xA8369, 0xA83A0, 0xA8405, 0xA8748, 0xA8780, 0xA8806, 0xA8825, 0xA8B46, 0xA8C60, 0xA8CE8,
    0xA8D07, 0xA8DA0, 0xA8E06, 0xA8F25, 0xA8F88, 0xA8FB5, 0xA8FC8, 0xA8FD5, 0xA8FF6, 0xA9007, 0xA90A5, 0xA9266, 0xA92E8, 0xA9305, 0xA9476, 0xA9540,
    0xA95F8, 0xA9605, 0xA97D0, 0xA9806, 0xA9845, 0xA9B36, 0xA9C18, 0xA9CE0, 0xA9CF4, 0xA9D07, 0xA9DA0, 0xA9DE8, 0xA9E05, 0xA9E56, 0xA9E64, 0xA9E75,
    0xA9F07, 0xA9FA5, 0xA9FF0, 0xAA005, 0xAA296, 0xAA370, 0xAA405, 0xAA436, 0xAA445, 0xAA4C6, 0xAA4E0, 0xAA507, 0xAA5A0, 0xAA5C8, 0xAA605, 0xAA704,
    0xAA715, 0xAA779, 0xAA7A5, 0xAA7B6, 0xAA7E5, 0xAAB06, 0xAAB15, 0xAAB26, 0xAAB55, 0xAAB76, 0xAAB95, 0xAABE6, 0xAAC05, 0xAAC16, 0xAAC25, 0xAAC30,
    0xAADB5, 0xAADD4, 0xAADE8, 0xAAE05, 0xAAEB6, 0xAAF08, 0xAAF25, 0xAAF34, 0xAAF56, 0xAAF70, 0xAB015, 0xAB070, 0xAB095, 0xAB0F0, 0xAB115, 0xAB170,
    0xAB205, 0xAB270, 0xAB285, 0xAB2F0, 0xAB303, 0xAB5B9, 0xAB5C4, 0xAB603, 0xAB694, 0xAB6A9, 0xAB6C0, 0xAB703, 0xABC05, 0xABE36, 0xABEB8, 0xABEC6,
    0xABEE0, 0xABF07, 0xABFA0, 0xAC005, 0xD7A40, 0xD7B05, 0xD7C70, 0xD7CB5, 0xD7FC0, 0xF9005, 0xFA6E0, 0xFA705, 0xFADA0, 0xFB003, 0xFB070, 0xFB133,
    0xFB180, 0xFB1D5, 0xFB1E6, 0xFB1F5, 0xFB299, 0xFB2A5, 0xFB370, 0xFB385, 0xFB3D0, 0xFB3E5, 0xFB3F0, 0xFB405, 0xFB420, 0xFB435, 0xFB450, 0xFB465,
    0xFBB29, 0xFBC30, 0xFBD35, 0xFD3E8, 0xFD409, 0xFD505, 0xFD900, 0xFD925, 0xFDC80, 0xFDCF9, 0xFDD00, 0xFDF05, 0xFDFC9, 0xFE006, 0xFE108, 0xFE1A0,
    0xFE206, 0xFE308, 0xFE530, 0xFE548, 0xFE629, 0xFE638, 0xFE649, 0xFE670, 0xFE688, 0xFE699, 0xFE6A8, 0xFE6C0, 0xFE705, 0xFE750, 0xFE765, 0xFEFD0,
    0xFF018, 0xFF049, 0xFF058, 0xFF0B9, 0xFF0C8, 0xFF107, 0xFF1A8, 0xFF1C9, 0xFF1F8, 0xFF211, 0xFF3B8, 0xFF3E9, 0xFF3F8, 0xFF409, 0xFF413, 0xFF5B8,
    0xFF5C9, 0xFF5D8, 0xFF5E9, 0xFF5F8, 0xFF665, 0xFF704, 0xFF715, 0xFF9E4, 0xFFA05, 0xFFBF0, 0xFFC25, 0xFFC80, 0xFFCA5, 0xFFD00, 0xFFD25, 0xFFD80,
    0xFFDA5, 0xFFDD0, 0xFFE09, 0xFFE70, 0xFFE89, 0xFFEF0, 0xFFFC9, 0xFFFE0, 0x100005, 0x1000C0, 0x1000D5, 0x100270, 0x100285, 0x1003B0, 0x1003C5, 0x1003E0,
    0x1003F5, 0x1004E0, 0x100505, 0x1005E0, 0x100805, 0x100FB0, 0x101008, 0x101030, 0x101077, 0x101340, 0x101379, 0x101407, 0x101799, 0x1018A7, 0x1018C9, 0x1018F0,
    0x101909, 0x1019D0, 0x101A09, 0x101A10, 0x101D09, 0x101FD6, 0x101FE0, 0x102805, 0x1029D0, 0x102A05, 0x102D10, 0x102E06, 0x102E17, 0x102FC0, 0x103005, 0x103207,
    0x103240, 0x1032D5, 0x103417, 0x103425, 0x1034A7, 0x1034B0, 0x103505, 0x103766, 0x1037B0, 0x103805, 0x1039E0, 0x1039F8, 0x103A05, 0x103C40, 0x103C85, 0x103D08,
    0x103D17, 0x103D60, 0x104001, 0x104283, 0x104505, 0x1049E0, 0x104A07, 0x104AA0, 0x104B01, 0x104D40, 0x104D83, 0x104FC0, 0x105005, 0x105280, 0x105305, 0x105640,
    0x1056F8, 0x105701, 0x1057B0, 0x1057C1, 0x1058B0, 0x1058C1, 0x105930, 0x105941, 0x105960, 0x105973, 0x105A20, 0x105A33, 0x105B20, 0x105B33, 0x105BA0, 0x105BB3,
    0x105BD0, 0x105C05, 0x105F40, 0x106005, 0x107370, 0x107405, 0x107560, 0x107605, 0x107680, 0x107804, 0x107860, 0x107874, 0x107B10, 0x107B24, 0x107BB0, 0x108005,
    0x108060, 0x108085, 0x108090, 0x1080A5, 0x108360, 0x108375, 0x108390, 0x1083C5, 0x1083D0, 0x1083F5, 0x108560, 0x108578, 0x108587, 0x108605, 0x108779, 0x108797,
    0x108805, 0x1089F0, 0x108A77, 0x108B00, 0x108E05, 0x108F30, 0x108F45, 0x108F60, 0x108FB7, 0x109005, 0x109167, 0x1091C0, 0x1091F8, 0x109205, 0x1093A0, 0x1093F8,
    0x109400, 0x109805, 0x109B80, 0x109BC7, 0x109BE5, 0x109C07, 0x109D00, 0x109D27, 0x10A005, 0x10A016, 0x10A040, 0x10A056, 0x10A070, 0x10A0C6, 0x10A105, 0x10A140,
    0x10A155, 0x10A180, 0x10A195, 0x10A360, 0x10A386, 0x10A3B0, 0x10A3F6, 0x10A407, 0x10A490, 0x10A508, 0x10A590, 0x10A605, 0x10A7D7, 0x10A7F8, 0x10A805, 0x10A9D7,
    0x10AA00, 0x10AC05, 0x10AC89, 0x10AC95, 0x10AE56, 0x10AE70, 0x10AEB7, 0x10AF08, 0x10AF70, 0x10B005, 0x10B360, 0x10B398, 0x10B405, 0x10B560, 0x10B587, 0x10B605,
    0x10B730, 0x10B787, 0x10B805, 0x10B920, 0x10B998, 0x10B9D0, 0x10BA97, 0x10BB00, 0x10C005, 0x10C490, 0x10C801, 0x10CB30, 0x10CC03, 0x10CF30, 0x10CFA7, 0x10D005,
    0x10D246, 0x10D280, 0x10D307, 0x10D3A0, 0x10D407, 0x10D4A5, 0x10D4E4, 0x10D4F5, 0x10D501, 0x10D660, 0x10D696, 0x10D6E8, 0x10D6F4, 0x10D703, 0x10D860, 0x10D8E9,
    0x10D900, 0x10E607, 0x10E7F0, 0x10E805, 0x10EAA0, 0x10EAB6, 0x10EAD8, 0x10EAE0, 0x10EB05, 0x10EB20, 0x10EC25, 0x10EC50, 0x10EFC6, 0x10F005, 0x10F1D7, 0x10F275,
    0x10F280, 0x10F305, 0x10F466, 0x10F517, 0x10F558, 0x10F5A0, 0x10F705, 0x10F826, 0x10F868, 0x10F8A0, 0x10FB05, 0x10FC57, 0x10FCC0, 0x10FE05, 0x10FF70, 0x110006,
    0x110035, 0x110386, 0x110478, 0x1104E0, 0x110527, 0x110706, 0x110715, 0x110736, 0x110755, 0x110760, 0x1107F6, 0x110835, 0x110B06, 0x110BB8, 0x110BD0, 0x110BE8,
    0x110C26, 0x110C30, 0x110D05, 0x110E90, 0x110F07, 0x110FA0, 0x111006, 0x111035, 0x111276, 0x111350, 0x111367, 0x111408, 0x111445, 0x111456, 0x111475, 0x111480,
    0x111505, 0x111736, 0x111748, 0x111765, 0x111770, 0x111806, 0x111835, 0x111B36, 0x111C15, 0x111C58, 0x111C96, 0x111CD8, 0x111CE6, 0x111D07, 0x111DA5, 0x111DB8,
    0x111DC5, 0x111DD8, 0x111E00, 0x111E17, 0x111F50, 0x112005, 0x112120, 0x112135, 0x1122C6, 0x112388, 0x1123E6, 0x1123F5, 0x112416, 0x112420, 0x112805, 0x112870,
    0x112885, 0x112890, 0x1128A5, 0x1128E0, 0x1128F5, 0x1129E0, 0x1129F5, 0x112A98, 0x112AA0, 0x112B05, 0x112DF6, 0x112EB0, 0x112F07, 0x112FA0, 0x113006, 0x113040,
    0x113055, 0x1130D0, 0x1130F5, 0x113110, 0x113135, 0x113290, 0x1132A5, 0x113310, 0x113325, 0x113340, 0x113355, 0x1133A0, 0x1133B6, 0x1133D5, 0x1133E6, 0x113450,
    0x113476, 0x113490, 0x1134B6, 0x1134E0, 0x113505, 0x113510, 0x113576, 0x113580, 0x1135D5, 0x113626, 0x113640, 0x113666, 0x1136D0, 0x113706, 0x113750, 0x113805,
    0x1138A0, 0x1138B5, 0x1138C0, 0x1138E5, 0x1138F0, 0x113905, 0x113B60, 0x113B75, 0x113B86, 0x113C10, 0x113C26, 0x113C30, 0x113C56, 0x113C60, 0x113C76, 0x113CB0,
    0x113CC6, 0x113D15, 0x113D26, 0x113D35, 0x113D48, 0x113D60, 0x113D78, 0x113D90, 0x113E16, 0x113E30, 0x114005, 0x114356, 0x114475, 0x1144B8, 0x114507, 0x1145A8,
    0x1145C0, 0x1145D8, 0x1145E6, 0x1145F5, 0x114620, 0x114805, 0x114B06, 0x114C45, 0x114C68, 0x114C75, 0x114C80, 0x114D07, 0x114DA0, 0x115805, 0x115AF6, 0x115B60,
    0x115B86, 0x115C18, 0x115D85, 0x115DC6, 0x115DE0, 0x116005, 0x116306, 0x116418, 0x116445, 0x116450, 0x116507, 0x1165A0, 0x116608, 0x1166D0, 0x116805, 0x116AB6,
    0x116B85, 0x116B98, 0x116BA0, 0x116C07, 0x116CA0, 0x116D07, 0x116E40, 0x117005, 0x1171B0, 0x1171D6, 0x1172C0, 0x117307, 0x1173C8, 0x1173F9, 0x117405, 0x117470,
    0x118005, 0x1182C6, 0x1183B8, 0x1183C0, 0x118A01, 0x118C03, 0x118E07, 0x118F30, 0x118FF5, 0x119070, 0x119095, 0x1190A0, 0x1190C5, 0x119140, 0x119155, 0x119170,
    0x119185, 0x119306, 0x119360, 0x119376, 0x119390, 0x1193B6, 0x1193F5, 0x119406, 0x119415, 0x119426, 0x119448, 0x119470, 0x119507, 0x1195A0, 0x119A05, 0x119A80,
    0x119AA5, 0x119D16, 0x119D80, 0x119DA6, 0x119E15, 0x119E28, 0x119E35, 0x119E46, 0x119E50, 0x11A005, 0x11A016, 0x11A0B5, 0x11A336, 0x11A3A5, 0x11A3B6, 0x11A3F8,
    0x11A476, 0x11A480, 0x11A505, 0x11A516, 0x11A5C5, 0x11A8A6, 0x11A9A8, 0x11A9D5, 0x11A9E8, 0x11AA30, 0x11AB05, 0x11AF90, 0x11B008, 0x11B0A0, 0x11BC05, 0x11BE18,
    0x11BE20, 0x11BF07, 0x11BFA0, 0x11C005, 0x11C090, 0x11C0A5, 0x11C2F6, 0x11C370, 0x11C386, 0x11C405, 0x11C418, 0x11C460, 0x11C507, 0x11C6D0, 0x11C708, 0x11C725,
    0x11C900, 0x11C926, 0x11CA80, 0x11CA96, 0x11CB70, 0x11D005, 0x11D070, 0x11D085, 0x11D0A0, 0x11D0B5, 0x11D316, 0x11D370, 0x11D3A6, 0x11D3B0, 0x11D3C6, 0x11D3E0,
    0x11D3F6, 0x11D465, 0x11D476, 0x11D480, 0x11D507, 0x11D5A0, 0x11D605, 0x11D660, 0x11D675, 0x11D690, 0x11D6A5, 0x11D8A6, 0x11D8F0, 0x11D906, 0x11D920, 0x11D936,
    0x11D985, 0x11D990, 0x11DA07, 0x11DAA0, 0x11EE05, 0x11EF36, 0x11EF78, 0x11EF90, 0x11F006, 0x11F025, 0x11F036, 0x11F045, 0x11F110, 0x11F125, 0x11F346, 0x11F3B0,
    0x11F3E6, 0x11F438, 0x11F507, 0x11F5A6, 0x11F5B0, 0x11FB05, 0x11FB10, 0x11FC07, 0x11FD59, 0x11FF20, 0x11FFF8, 0x120005, 0x1239A0, 0x124007, 0x1246F0, 0x124708,
    0x124750, 0x124805, 0x125440, 0x12F905, 0x12FF18, 0x12FF30, 0x130005, 0x134300, 0x134406, 0x134415, 0x134476, 0x134560, 0x134605, 0x143FB0, 0x144005, 0x146470,
    0x161005, 0x1611E6, 0x161307, 0x1613A0, 0x168005, 0x16A390, 0x16A405, 0x16A5F0, 0x16A607, 0x16A6A0, 0x16A6E8, 0x16A705, 0x16ABF0, 0x16AC07, 0x16ACA0, 0x16AD05,
    0x16AEE0, 0x16AF06, 0x16AF58, 0x16AF60, 0x16B005, 0x16B306, 0x16B378, 0x16B3C9, 0x16B404, 0x16B448, 0x16B459, 0x16B460, 0x16B507, 0x16B5A0, 0x16B5B7, 0x16B620,
    0x16B635, 0x16B780, 0x16B7D5, 0x16B900, 0x16D404, 0x16D435, 0x16D6B4, 0x16D6D8, 0x16D707, 0x16D7A0, 0x16E401, 0x16E603, 0x16E807, 0x16E978, 0x16E9B0, 0x16F005,
    0x16F4B0, 0x16F4F6, 0x16F505, 0x16F516, 0x16F880, 0x16F8F6, 0x16F934, 0x16FA00, 0x16FE04, 0x16FE28, 0x16FE34, 0x16FE46, 0x16FE50, 0x16FF06, 0x16FF20, 0x170005,
    0x187F80, 0x188005, 0x18CD60, 0x18CFF5, 0x18D090, 0x1AFF04, 0x1AFF40, 0x1AFF54, 0x1AFFC0, 0x1AFFD4, 0x1AFFF0, 0x1B0005, 0x1B1230, 0x1B1325, 0x1B1330, 0x1B1505,
    0x1B1530, 0x1B1555, 0x1B1560, 0x1B1645, 0x1B1680, 0x1B1705, 0x1B2FC0, 0x1BC005, 0x1BC6B0, 0x1BC705, 0x1BC7D0, 0x1BC805, 0x1BC890, 0x1BC905, 0x1BC9A0, 0x1BC9C9,
    0x1BC9D6, 0x1BC9F8, 0x1BCA00, 0x1CC009, 0x1CCF07, 0x1CCFA0, 0x1CD009, 0x1CEB40, 0x1CF006, 0x1CF2E0, 0x1CF306, 0x1CF470, 0x1CF509, 0x1CFC40, 0x1D0009, 0x1D0F60,
    0x1D1009, 0x1D1270, 0x1D1299, 0x1D1656, 0x1D16A9, 0x1D16D6, 0x1D1730, 0x1D17B6, 0x1D1839, 0x1D1856, 0x1D18C9, 0x1D1AA6, 0x1D1AE9, 0x1D1EB0, 0x1D2009, 0x1D2426,
    0x1D2459, 0x1D2460, 0x1D2C07, 0x1D2D40, 0x1D2E07, 0x1D2F40, 0x1D3009, 0x1D3570, 0x1D3607, 0x1D3790, 0x1D4001, 0x1D41A3, 0x1D4341, 0x1D44E3, 0x1D4550, 0x1D4563,
    0x1D4681, 0x1D4823, 0x1D49C1, 0x1D49D0, 0x1D49E1, 0x1D4A00, 0x1D4A21, 0x1D4A30, 0x1D4A51, 0x1D4A70, 0x1D4A91, 0x1D4AD0, 0x1D4AE1, 0x1D4B63, 0x1D4BA0, 0x1D4BB3,
    0x1D4BC0, 0x1D4BD3, 0x1D4C40, 0x1D4C53, 0x1D4D01, 0x1D4EA3, 0x1D5041, 0x1D5060, 0x1D5071, 0x1D50B0, 0x1D50D1, 0x1D5150, 0x1D5161, 0x1D51D0, 0x1D51E3, 0x1D5381,
    0x1D53A0, 0x1D53B1, 0x1D53F0, 0x1D5401, 0x1D5450, 0x1D5461, 0x1D5470, 0x1D54A1, 0x1D5510, 0x1D5523, 0x1D56C1, 0x1D5863, 0x1D5A01, 0x1D5BA3, 0x1D5D41, 0x1D5EE3,
    0x1D6081, 0x1D6223, 0x1D63C1, 0x1D6563, 0x1D6701, 0x1D68A3, 0x1D6A60, 0x1D6A81, 0x1D6C19, 0x1D6C23, 0x1D6DB9, 0x1D6DC3, 0x1D6E21, 0x1D6FB9, 0x1D6FC3, 0x1D7159,
    0x1D7163, 0x1D71C1, 0x1D7359, 0x1D7363, 0x1D74F9, 0x1D7503, 0x1D7561, 0x1D76F9, 0x1D7703, 0x1D7899, 0x1D78A3, 0x1D7901, 0x1D7A99, 0x1D7AA3, 0x1D7C39, 0x1D7C43,
    0x1D7CA1, 0x1D7CB3, 0x1D7CC0, 0x1D7CE7, 0x1D8009, 0x1DA006, 0x1DA379, 0x1DA3B6, 0x1DA6D9, 0x1DA756, 0x1DA769, 0x1DA846, 0x1DA859, 0x1DA878, 0x1DA8C0, 0x1DA9B6,
    0x1DAA00, 0x1DAA16, 0x1DAB00, 0x1DF003, 0x1DF0A5, 0x1DF0B3, 0x1DF1F0, 0x1DF253, 0x1DF2B0, 0x1E0006, 0x1E0070, 0x1E0086, 0x1E0190, 0x1E01B6, 0x1E0220, 0x1E0236,
    0x1E0250, 0x1E0266, 0x1E02B0, 0x1E0304, 0x1E06E0, 0x1E08F6, 0x1E0900, 0x1E1005, 0x1E12D0, 0x1E1306, 0x1E1374, 0x1E13E0, 0x1E1407, 0x1E14A0, 0x1E14E5, 0x1E14F9,
    0x1E1500, 0x1E2905, 0x1E2AE6, 0x1E2AF0, 0x1E2C05, 0x1E2EC6, 0x1E2F07, 0x1E2FA0, 0x1E2FF9, 0x1E3000, 0x1E4D05, 0x1E4EB4, 0x1E4EC6, 0x1E4F07, 0x1E4FA0, 0x1E5D05,
    0x1E5EE6, 0x1E5F05, 0x1E5F17, 0x1E5FB0, 0x1E5FF8, 0x1E6000, 0x1E7E05, 0x1E7E70, 0x1E7E85, 0x1E7EC0, 0x1E7ED5, 0x1E7EF0, 0x1E7F05, 0x1E7FF0, 0x1E8005, 0x1E8C50,
    0x1E8C77, 0x1E8D06, 0x1E8D70, 0x1E9001, 0x1E9223, 0x1E9446, 0x1E94B4, 0x1E94C0, 0x1E9507, 0x1E95A0, 0x1E95E8, 0x1E9600, 0x1EC717, 0x1ECAC9, 0x1ECAD7, 0x1ECB09,
    0x1ECB17, 0x1ECB50, 0x1ED017, 0x1ED2E9, 0x1ED2F7, 0x1ED3E0, 0x1EE005, 0x1EE040, 0x1EE055, 0x1EE200, 0x1EE215, 0x1EE230, 0x1EE245, 0x1EE250, 0x1EE275, 0x1EE280,
    0x1EE295, 0x1EE330, 0x1EE345, 0x1EE380, 0x1EE395, 0x1EE3A0, 0x1EE3B5, 0x1EE3C0, 0x1EE425, 0x1EE430, 0x1EE475, 0x1EE480, 0x1EE495, 0x1EE4A0, 0x1EE4B5, 0x1EE4C0,
    0x1EE4D5, 0x1EE500, 0x1EE515, 0x1EE530, 0x1EE545, 0x1EE550, 0x1EE575, 0x1EE580, 0x1EE595, 0x1EE5A0, 0x1EE5B5, 0x1EE5C0, 0x1EE5D5, 0x1EE5E0, 0x1EE5F5, 0x1EE600,
    0x1EE615, 0x1EE630, 0x1EE645, 0x1EE650, 0x1EE675, 0x1EE6B0, 0x1EE6C5, 0x1EE730, 0x1EE745, 0x1EE780, 0x1EE795, 0x1EE7D0, 0x1EE7E5, 0x1EE7F0, 0x1EE805, 0x1EE8A0,
    0x1EE8B5, 0x1EE9C0, 0x1EEA15, 0x1EEA40, 0x1EEA55, 0x1EEAA0, 0x1EEAB5, 0x1EEBC0, 0x1EEF09, 0x1EEF20, 0x1F0009, 0x1F02C0, 0x1F0309, 0x1F0940, 0x1F0A09, 0x1F0AF0,
    0x1F0B19, 0x1F0C00, 0x1F0C19, 0x1F0D00, 0x1F0D19, 0x1F0F60, 0x1F1007, 0x1F10D9, 0x1F1AE0, 0x1F1E69, 0x1F2030, 0x1F2109, 0x1F23C0, 0x1F2409, 0x1F2490, 0x1F2509,
    0x1F2520, 0x1F2609, 0x1F2660, 0x1F3009, 0x1F6D80, 0x1F6DC9, 0x1F6ED0, 0x1F6F09, 0x1F6FD0, 0x1F7009, 0x1F7770, 0x1F77B9, 0x1F7DA0, 0x1F7E09, 0x1F7EC0, 0x1F7F09,
    0x1F7F10, 0x1F8009, 0x1F80C0, 0x1F8109, 0x1F8480, 0x1F8509, 0x1F85A0, 0x1F8609, 0x1F8880, 0x1F8909, 0x1F8AE0, 0x1F8B09, 0x1F8BC0, 0x1F8C09, 0x1F8C20, 0x1F9009,
    0x1FA540, 0x1FA609, 0x1FA6E0, 0x1FA709, 0x1FA7D0, 0x1FA809, 0x1FA8A0, 0x1FA8F9, 0x1FAC70, 0x1FACE9, 0x1FADD0, 0x1FADF9, 0x1FAEA0, 0x1FAF09, 0x1FAF90, 0x1FB009,
    0x1FB930, 0x1FB949, 0x1FBF07, 0x1FBFA0, 0x200005, 0x2A6E00, 0x2A7005, 0x2B73A0, 0x2B7405, 0x2B81E0, 0x2B8205, 0x2CEA20, 0x2CEB05, 0x2EBE10, 0x2EBF05, 0x2EE5E0,
    0x2F8005, 0x2FA1E0, 0x300005, 0x3134B0, 0x313505, 0x323B00, 0xE01006, 0xE01F00
};

/* First and last code points: the letters that DeepSeek-LLM's pre-tokenizer spells out. */
static const uint32_t hybrid__deepseek_letters[174] = {
    0x41, 0x5A, 0x61, 0x7A, 0xB5, 0xB5, 0xC0, 0xD6, 0xD8, 0xF6, 0xF8, 0x1BA, 0x1BC, 0x1BF, 0x1C4, 0x293, 0x295, 0x2AF,
    0x370, 0x373, 0x376, 0x376, 0x377, 0x377, 0x37B, 0x37D, 0x37F, 0x37F, 0x386, 0x386, 0x388, 0x38A, 0x38C, 0x38C, 0x38E, 0x3A1,
    0x3A3, 0x3F5, 0x3F7, 0x481, 0x48A, 0x52F, 0x531, 0x556, 0x10A0, 0x10C5, 0x13A0, 0x13F5, 0x13F8, 0x13FD, 0x1C90, 0x1CBA, 0x1CBD, 0x1CBF,
    0x1D00, 0x1D2B, 0x1D6B, 0x1D77, 0x1D79, 0x1D9A, 0x1E00, 0x1F15, 0x1F18, 0x1F1D, 0x1F20, 0x1F45, 0x1F48, 0x1F4D, 0x1F50, 0x1F57, 0x1F59, 0x1F59,
    0x1F5B, 0x1F5B, 0x1F5D, 0x1F5D, 0x1F5F, 0x1F7D, 0x1F80, 0x1FB4, 0x1FB6, 0x1FBC, 0x1FBE, 0x1FBE, 0x1FC2, 0x1FC4, 0x1FC6, 0x1FCC, 0x1FD0, 0x1FD3,
    0x1FD6, 0x1FDB, 0x1FE0, 0x1FEC, 0x1FF2, 0x1FF4, 0x1FF6, 0x1FFC, 0x2102, 0x2102, 0x2107, 0x2107, 0x210A, 0x2113, 0x2115, 0x2115, 0x2119, 0x211D,
    0x2124, 0x2124, 0x2126, 0x2126, 0x2128, 0x2128, 0x212A, 0x212D, 0x212F, 0x2134, 0x2139, 0x2139, 0x213C, 0x213F, 0x2145, 0x2149, 0x214E, 0x214E,
    0x2183, 0x2183, 0x2184, 0x2184, 0x2C00, 0x2C7B, 0x2C7E, 0x2CE4, 0x2CEB, 0x2CEE, 0x2CF2, 0x2CF2, 0x2CF3, 0x2CF3, 0xA640, 0xA66D, 0xA680, 0xA69B,
    0xA722, 0xA76F, 0xA771, 0xA787, 0xA78B, 0xA78E, 0xAB70, 0xABBF, 0xFB00, 0xFB06, 0xFB13, 0xFB17, 0xFF21, 0xFF3A, 0xFF41, 0xFF5A, 0x10400, 0x1044F,
    0x104B0, 0x104D3, 0x104D8, 0x104FB, 0x10C80, 0x10CB2, 0x10CC0, 0x10CF2, 0x118A0, 0x118DF, 0x1E900, 0x1E943
};
/* ==== end src/text/unicode_data.c ==== */

/* ==== begin src/text/unicode.c ==== */
/* text/unicode: UTF-8, the classes of code points that pre-tokenizers speak of, and a stream that never shows half a character. */

/* \p{Lu} ... \p{S}; SPACE is \s without NEWLINE (\r and \n). Bytes that are no UTF-8 and everything else are OTHER. */
typedef enum hybrid__char_class {
    HYBRID__CHAR_OTHER, HYBRID__CHAR_LU, HYBRID__CHAR_LT, HYBRID__CHAR_LL, HYBRID__CHAR_LM, HYBRID__CHAR_LO, HYBRID__CHAR_MARK,
    HYBRID__CHAR_NUMBER, HYBRID__CHAR_PUNCTUATION, HYBRID__CHAR_SYMBOL, HYBRID__CHAR_SPACE, HYBRID__CHAR_NEWLINE
} hybrid__char_class;

/* Length of the well-formed UTF-8 sequence at p (p < end) and its code point; 0 when there is none (overlong forms, surrogates
 * and code points beyond U+10FFFF included). *valid: how many bytes at p could still begin one (at least 1). */
static size_t hybrid__utf8_decode(const uint8_t *p, const uint8_t *end, uint32_t *code_point, size_t *valid)
{
    uint32_t c = *p, low = 0x80, high = 0xBF;
    size_t n, i;
    *valid = 1;
    if (c < 0x80) { *code_point = c; return 1; }
    if (c < 0xC2 || c > 0xF4) return 0;
    n = c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    if (c == 0xE0) low = 0xA0;
    else if (c == 0xED) high = 0x9F;
    else if (c == 0xF0) low = 0x90;
    else if (c == 0xF4) high = 0x8F;
    c &= 0x7Fu >> n;
    for (i = 1; i < n; i++) {
        if (p + i == end || p[i] < low || p[i] > high) return 0;
        c = c << 6 | (p[i] & 0x3F);
        low = 0x80; high = 0xBF;
        *valid = i + 1;
    }
    *code_point = c;
    return n;
}

/* Writes code_point (a valid one) to out; the number of bytes, 1..4. */
static size_t hybrid__utf8_encode(uint32_t code_point, uint8_t out[4])
{
    if (code_point < 0x80) { out[0] = (uint8_t)code_point; return 1; }
    if (code_point < 0x800) {
        out[0] = (uint8_t)(0xC0 | code_point >> 6);
        out[1] = (uint8_t)(0x80 | (code_point & 63));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code_point >> 12);
        out[1] = (uint8_t)(0x80 | (code_point >> 6 & 63));
        out[2] = (uint8_t)(0x80 | (code_point & 63));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code_point >> 18);
    out[1] = (uint8_t)(0x80 | (code_point >> 12 & 63));
    out[2] = (uint8_t)(0x80 | (code_point >> 6 & 63));
    out[3] = (uint8_t)(0x80 | (code_point & 63));
    return 4;
}

static unsigned hybrid__unicode_class(uint32_t code_point)
{
    size_t low = 0, high = HYBRID__COUNT(hybrid__unicode_runs);
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (hybrid__unicode_runs[middle] >> 4 <= code_point) low = middle; else high = middle;
    }
    return hybrid__unicode_runs[low] & 15;
}

/* The classes of the code points below U+10000, flat, so that reading a text costs one load a character. */
static void hybrid__unicode_expand(uint8_t table[65536])
{
    size_t i;
    for (i = 0; i < HYBRID__COUNT(hybrid__unicode_runs) && hybrid__unicode_runs[i] >> 4 < 65536; i++) {
        uint32_t first = hybrid__unicode_runs[i] >> 4;
        uint32_t last = i + 1 < HYBRID__COUNT(hybrid__unicode_runs) ? HYBRID__MIN(hybrid__unicode_runs[i + 1] >> 4, 65536u) : 65536u;
        memset(table + first, (int)(hybrid__unicode_runs[i] & 15), last - first);
    }
}

/* The character at p (p < end): its class, its length and, for the few that ask, its code point (UINT32_MAX: a byte that is no UTF-8). */
HYBRID__INLINE unsigned hybrid__char_at(const uint8_t *table, const uint8_t *p, const uint8_t *end, size_t *length, uint32_t *code_point)
{
    size_t valid;
    if (HYBRID__LIKELY(*p < 0x80)) { *length = 1; *code_point = *p; return table[*p]; }
    *length = hybrid__utf8_decode(p, end, code_point, &valid);
    if (!*length) { *length = 1; *code_point = UINT32_MAX; return HYBRID__CHAR_OTHER; }
    return *code_point < 65536 ? table[*code_point] : hybrid__unicode_class(*code_point);
}

/* ---- streaming ---- */

/* Replaces what is no UTF-8 as Unicode (3.9, "maximal subpart") and WHATWG say, and keeps back an unfinished character. */
static size_t hybrid__utf8_filter(const uint8_t *p, const uint8_t *end, bool last, char *out, size_t *used)
{
    static const char replacement[3] = { '\xEF', '\xBF', '\xBD' };
    const uint8_t *begin = p;
    size_t n = 0, length, valid;
    uint32_t code_point;
    while (p < end) {
        if ((length = hybrid__utf8_decode(p, end, &code_point, &valid)) != 0) {
            memcpy(out + n, p, length);
            n += length;
            p += length;
            continue;
        }
        if (!last && p + valid == end && *p >= 0xC2 && *p <= 0xF4) break;   /* may still become a character */
        memcpy(out + n, replacement, 3);
        n += 3;
        p += valid;
    }
    *used = (size_t)(p - begin);
    return n;
}

HYBRID_API size_t hybrid_utf8_feed(hybrid_utf8_stream *stream, const void *bytes, size_t size, char *out)
{
    const uint8_t *p = (const uint8_t *)bytes;
    size_t n = 0, used, i;
    uint8_t head[4];
    while (stream->size && size) {                       /* finish the character that was begun, byte by byte */
        memcpy(head, stream->pending, stream->size);
        head[stream->size] = *p++;
        size--;
        n += hybrid__utf8_filter(head, head + stream->size + 1, false, out + n, &used);
        i = (size_t)stream->size + 1 - used;
        memcpy(stream->pending, head + used, i);
        stream->size = (unsigned char)i;
    }
    if (!size) return n;
    n += hybrid__utf8_filter(p, p + size, false, out + n, &used);
    stream->size = (unsigned char)(size - used);
    memcpy(stream->pending, p + used, size - used);
    return n;
}

HYBRID_API size_t hybrid_utf8_flush(hybrid_utf8_stream *stream, char *out)
{
    size_t used, n = hybrid__utf8_filter(stream->pending, stream->pending + stream->size, true, out, &used);
    stream->size = 0;
    return n;
}
/* ==== end src/text/unicode.c ==== */

/* ==== begin src/text/pretokenize.c ==== */
/* text/pretokenize: cuts text into the words inside which BPE merges. Each model family was trained with its own regular expressions;
 * here every one is a small matcher by hand, quoted above it, and a family is a row of up to six of them, each applied inside the
 * pieces of the one before. A matcher gets p < end, the beginning and the end of a piece, and returns the end of the first word. */

typedef const uint8_t *(*hybrid__split_fn)(const uint8_t *classes, const uint8_t *p, const uint8_t *end);

typedef struct hybrid__pretokenizer {
    const char      *name;
    hybrid__split_fn splits[7];       /* zero ends the list */
    bool             whole_words;     /* a word that is a token is that token, whatever the merges say ("ignore_merges") */
    bool             add_bos;
} hybrid__pretokenizer;

#define HYBRID__CHARS(name) (1u << HYBRID__CHAR_##name)
#define HYBRID__CASED_UP  (HYBRID__CHARS(LU) | HYBRID__CHARS(LT))
#define HYBRID__CASELESS  (HYBRID__CHARS(LM) | HYBRID__CHARS(LO))
#define HYBRID__LETTERS   (HYBRID__CASED_UP | HYBRID__CHARS(LL) | HYBRID__CASELESS)
#define HYBRID__SPACES    (HYBRID__CHARS(SPACE) | HYBRID__CHARS(NEWLINE))
#define HYBRID__REST      (0xFFFu & ~(HYBRID__LETTERS | HYBRID__CHARS(NUMBER) | HYBRID__SPACES))     /* [^\s\p{L}\p{N}] */

HYBRID__INLINE bool hybrid__in_set(unsigned set, unsigned char_class) { return (set >> char_class & 1) != 0; }

/* The class of the character at p and its length. */
HYBRID__INLINE unsigned hybrid__class_at(const uint8_t *classes, const uint8_t *p, const uint8_t *end, size_t *length)
{
    uint32_t code_point;
    return hybrid__char_at(classes, p, end, length, &code_point);
}

/* Beyond the characters from p that are in the set. */
HYBRID__INLINE const uint8_t *hybrid__chars_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned set)
{
    size_t length;
    while (p < end && hybrid__in_set(set, hybrid__class_at(classes, p, end, &length))) p += length;
    return p;
}

/* Beyond one character that is in the set; p itself when it is not. */
HYBRID__INLINE const uint8_t *hybrid__char_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned set)
{
    size_t length;
    return p < end && hybrid__in_set(set, hybrid__class_at(classes, p, end, &length)) ? p + length : p;
}

/* 's|'t|'re|'ve|'m|'ll|'d at p; p when it is none. Without case, s is also U+017F, as Unicode folds it. */
HYBRID__INLINE const uint8_t *hybrid__match_contraction(const uint8_t *p, const uint8_t *end, bool any_case)
{
    uint8_t a, b, fold = any_case ? 0x20 : 0;
    if (end - p < 2 || *p != '\'') return p;
    a = (uint8_t)(p[1] | fold);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return p + 2;
    if (end - p < 3) return p;
    b = (uint8_t)(p[2] | fold);
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return p + 3;
    return any_case && p[1] == 0xC5 && p[2] == 0xBF ? p + 3 : p;
}

/* \s+(?!\S)|\s+ : white space from p to the end of its run, but its last character only where nothing follows or nothing else is there. */
HYBRID__INLINE const uint8_t *hybrid__match_spaces(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *last = p, *q = p;
    size_t length;
    while (q < end && hybrid__in_set(HYBRID__SPACES, hybrid__class_at(classes, q, end, &length))) { last = q; q += length; }
    return q == end || last == p ? q : last;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ : as above, but first up to the last line break of the run. */
HYBRID__INLINE const uint8_t *hybrid__match_lines(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = p, *line = p;
    size_t length;
    if (HYBRID__LIKELY(end - p > 1 && p[0] == ' ' && p[1] > ' ' && p[1] < 0x7F)) return p + 1;
    while (q < end) {
        unsigned k = hybrid__class_at(classes, q, end, &length);
        if (!hybrid__in_set(HYBRID__SPACES, k)) break;
        q += length;
        if (k == HYBRID__CHAR_NEWLINE) line = q;
    }
    return line > p ? line : hybrid__match_spaces(classes, p, end);
}

/* GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static const uint8_t *hybrid__split_gpt2(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    size_t length;
    unsigned k;
    if (*p == '\'' && (q = hybrid__match_contraction(p, end, false)) != p) return q;
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    k = hybrid__class_at(classes, q, end, &length);
    if (hybrid__in_set(HYBRID__LETTERS, k)) return hybrid__chars_of(classes, q + length, end, HYBRID__LETTERS);
    if (k == HYBRID__CHAR_NUMBER) return hybrid__chars_of(classes, q + length, end, HYBRID__CHARS(NUMBER));
    if (hybrid__in_set(HYBRID__REST, k)) return hybrid__chars_of(classes, q + length, end, HYBRID__REST);
    return hybrid__match_spaces(classes, p, end);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?LETTERS+|\p{N}{1,DIGITS}| ?[^\s LETTERS \p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
HYBRID__INLINE const uint8_t *hybrid__split_gpt4(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned letters, int digits)
{
    const unsigned rest = HYBRID__REST & ~letters;
    const uint8_t *q;
    size_t length;
    unsigned k, next;
    if (*p == '\'' && (q = hybrid__match_contraction(p, end, true)) != p) return q;
    k = hybrid__class_at(classes, p, end, &length);
    q = p + length;
    if (k == HYBRID__CHAR_NUMBER) {
        while (--digits > 0) q = hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
        return q;
    }
    if (hybrid__in_set(HYBRID__LETTERS, k)) return hybrid__chars_of(classes, q, end, letters);
    next = HYBRID__CHAR_SPACE;
    if (q < end) {
        next = hybrid__class_at(classes, q, end, &length);
        if (k != HYBRID__CHAR_NEWLINE && hybrid__in_set(letters, next)) return hybrid__chars_of(classes, q + length, end, letters);
    }
    if (hybrid__in_set(letters, k)) return hybrid__chars_of(classes, q, end, letters);     /* a mark, where marks are letters */
    if (*p == ' ' && hybrid__in_set(rest, next)) q += length;
    else if (!hybrid__in_set(rest, k)) return hybrid__match_lines(classes, p, end);
    return hybrid__chars_of(classes, hybrid__chars_of(classes, q, end, rest), end, HYBRID__CHARS(NEWLINE));
}

static const uint8_t *hybrid__split_llama3(const uint8_t *classes, const uint8_t *p, const uint8_t *end) { return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS, 3); }
static const uint8_t *hybrid__split_qwen2(const uint8_t *classes, const uint8_t *p, const uint8_t *end) { return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS, 1); }
static const uint8_t *hybrid__split_qwen35(const uint8_t *classes, const uint8_t *p, const uint8_t *end) { return hybrid__split_gpt4(classes, p, end, HYBRID__LETTERS | HYBRID__CHARS(MARK), 1); }

/* [^\r\n\p{L}\p{N}]?U*W+S?|[^\r\n\p{L}\p{N}]?U+W*S?, U = [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}], W = [\p{Ll}\p{Lm}\p{Lo}\p{M}], S the contractions;
 * p when there is none. U* takes all it can and gives back from its end until W+ finds a first character, so what matters is the last
 * character of the run of U that is in W too. */
HYBRID__INLINE const uint8_t *hybrid__cased_word(const uint8_t *classes, const uint8_t *p, const uint8_t *end, bool suffix)
{
    const unsigned both = HYBRID__CASELESS | HYBRID__CHARS(MARK), upper = HYBRID__CASED_UP | both, lower = HYBRID__CHARS(LL) | both;
    const uint8_t *q = p, *begin, *common = NULL, *stop;
    size_t length;
    unsigned k = hybrid__class_at(classes, p, end, &length), first = k;
    if (!hybrid__in_set(HYBRID__LETTERS | HYBRID__CHARS(NUMBER) | HYBRID__CHARS(NEWLINE), k)) q = p + length;
    for (begin = q; q < end && hybrid__in_set(upper, k = hybrid__class_at(classes, q, end, &length)); q += length)
        if (hybrid__in_set(both, k)) common = q + length;
    if (q < end && k == HYBRID__CHAR_LL) stop = hybrid__chars_of(classes, q, end, lower);
    else if (common) stop = common;
    else if (begin > p && first == HYBRID__CHAR_MARK) stop = begin;      /* the optional character is itself the W */
    else if (q > begin) stop = q;
    else return p;
    return suffix ? hybrid__match_contraction(stop, end, true) : stop;
}

/* the words above| \p{N}{1,DIGITS}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+ */
HYBRID__INLINE const uint8_t *hybrid__split_cased(const uint8_t *classes, const uint8_t *p, const uint8_t *end, bool suffix, int digits)
{
    const uint8_t *q = hybrid__cased_word(classes, p, end, suffix);
    size_t length;
    if (q != p) return q;
    if ((q = hybrid__char_of(classes, p, end, HYBRID__CHARS(NUMBER))) != p) {
        while (--digits > 0) q = hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
        return q;
    }
    q = *p == ' ' && end - p > 1 ? p + 1 : p;
    if (!hybrid__in_set(HYBRID__REST, hybrid__class_at(classes, q, end, &length))) return hybrid__match_lines(classes, p, end);
    q = hybrid__chars_of(classes, q, end, HYBRID__REST);
    while (q < end && (*q == '\r' || *q == '\n' || *q == '/')) q++;
    return q;
}

static const uint8_t *hybrid__split_gpt4o(const uint8_t *classes, const uint8_t *p, const uint8_t *end) { return hybrid__split_cased(classes, p, end, true, 3); }
static const uint8_t *hybrid__split_tekken(const uint8_t *classes, const uint8_t *p, const uint8_t *end) { return hybrid__split_cased(classes, p, end, false, 1); }

/* ---- splits of one kind of character: the pieces are the matches and what lies between them ---- */

/* SET+ */
HYBRID__INLINE const uint8_t *hybrid__runs_of(const uint8_t *classes, const uint8_t *p, const uint8_t *end, unsigned set)
{
    const uint8_t *q = hybrid__chars_of(classes, p, end, set);
    return q != p ? q : hybrid__chars_of(classes, p, end, 0xFFFu & ~set);
}

/* \p{N}+, \p{N}{1,3}, \p{N} */
static const uint8_t *hybrid__split_numbers(const uint8_t *classes, const uint8_t *p, const uint8_t *end) { return hybrid__runs_of(classes, p, end, HYBRID__CHARS(NUMBER)); }

static const uint8_t *hybrid__split_number3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hybrid__char_of(classes, p, end, HYBRID__CHARS(NUMBER));
    if (q == p) return hybrid__chars_of(classes, p, end, 0xFFFu & ~HYBRID__CHARS(NUMBER));
    q = hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
    return hybrid__char_of(classes, q, end, HYBRID__CHARS(NUMBER));
}

static const uint8_t *hybrid__split_number1(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hybrid__char_of(classes, p, end, HYBRID__CHARS(NUMBER));
    return q != p ? q : hybrid__chars_of(classes, p, end, 0xFFFu & ~HYBRID__CHARS(NUMBER));
}

/* [0-9][0-9][0-9] */
HYBRID__INLINE bool hybrid__three_digits(const uint8_t *p, const uint8_t *end)
{
    return end - p >= 3 && p[0] >= '0' && p[0] <= '9' && p[1] >= '0' && p[1] <= '9' && p[2] >= '0' && p[2] <= '9';
}
static const uint8_t *hybrid__split_digits3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYBRID__UNUSED(classes);
    if (hybrid__three_digits(p, end)) return p + 3;
    while (p < end && !hybrid__three_digits(p, end)) p++;
    return p;
}

/* [\r\n] */
static const uint8_t *hybrid__split_line_breaks(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    HYBRID__UNUSED(classes);
    if (*p == '\r' || *p == '\n') return p + 1;
    while (p < end && *p != '\r' && *p != '\n') p++;
    return p;
}

/* What the runs below are made of. */
typedef bool (*hybrid__member_fn)(unsigned char_class, uint32_t code_point);

/* \s?MEMBER+ (space) or MEMBER+ at p; p when there is none. */
HYBRID__INLINE const uint8_t *hybrid__match_members(const uint8_t *classes, const uint8_t *p, const uint8_t *end, hybrid__member_fn member, bool space)
{
    const uint8_t *begin = space ? hybrid__char_of(classes, p, end, HYBRID__SPACES) : p, *q;
    size_t length;
    uint32_t c;
    unsigned k;
    for (;;) {
        for (q = begin; q < end; q += length) {
            k = hybrid__char_at(classes, q, end, &length, &c);
            if (!member(k, c)) break;
        }
        if (q != begin) return q;
        if (begin == p) return p;
        begin = p;                                       /* white space can be a member itself (U+3000) */
    }
}

/* The same, or all that lies before the next match. */
HYBRID__INLINE const uint8_t *hybrid__split_members(const uint8_t *classes, const uint8_t *p, const uint8_t *end, hybrid__member_fn member, bool space)
{
    const uint8_t *q = hybrid__match_members(classes, p, end, member, space);
    size_t length;
    if (q != p) return q;
    do {
        hybrid__class_at(classes, q, end, &length);
        q += length;
    } while (q < end && hybrid__match_members(classes, q, end, member, space) == q);
    return q;
}

static bool hybrid__is_falcon_mark(unsigned k, uint32_t c)        /* [\p{P}\$\+<=>\^~\|`] */
{
    return k == HYBRID__CHAR_PUNCTUATION || c == '$' || c == '+' || (c >= '<' && c <= '>') || c == '^' || c == '~' || c == '|' || c == '`';
}
static bool hybrid__is_default_mark(unsigned k, uint32_t c) { return c != '`' && hybrid__is_falcon_mark(k, c); }
static bool hybrid__is_letter(unsigned k, uint32_t c) { HYBRID__UNUSED(c); return hybrid__in_set(HYBRID__LETTERS, k); }
static bool hybrid__is_punctuation(unsigned k, uint32_t c) { HYBRID__UNUSED(c); return k == HYBRID__CHAR_PUNCTUATION; }

static bool hybrid__is_deepseek_letter(unsigned k, uint32_t c)
{
    size_t i;
    if (c < 0x80) return hybrid__in_set(HYBRID__LETTERS, k);
    for (i = 0; i < HYBRID__COUNT(hybrid__deepseek_letters) && hybrid__deepseek_letters[i] <= c; i += 2)
        if (c <= hybrid__deepseek_letters[i + 1]) return true;
    return false;
}
static bool hybrid__is_deepseek_mark(unsigned k, uint32_t c)      /* [!-/:-~\uFF01-\uFF0F\uFF1A-\uFF5E\u2018-\u201F\u3000-\u3002] */
{
    HYBRID__UNUSED(k);
    return (c >= 0x21 && c <= 0x2F) || (c >= 0x3A && c <= 0x7E) || (c >= 0xFF01 && c <= 0xFF0F) || (c >= 0xFF1A && c <= 0xFF5E) ||
           (c >= 0x2018 && c <= 0x201F) || (c >= 0x3000 && c <= 0x3002);
}
static bool hybrid__is_deepseek_cjk(unsigned k, uint32_t c)       /* [\u4E00-\u9FA5\u0800-\u4E00\uAC00-\uD7FF] */
{
    HYBRID__UNUSED(k);
    return (c >= 0x800 && c <= 0x9FA5) || (c >= 0xAC00 && c <= 0xD7FF);
}
static bool hybrid__is_deepseek3_cjk(unsigned k, uint32_t c)      /* [\u4E00-\u9FA5\u3040-\u309F\u30A0-\u30FF] */
{
    HYBRID__UNUSED(k);
    return (c >= 0x4E00 && c <= 0x9FA5) || (c >= 0x3040 && c <= 0x30FF);
}

#define HYBRID__SPLIT_MEMBERS(name, member, space)                                                                        \
    static const uint8_t *hybrid__split_##name(const uint8_t *classes, const uint8_t *p, const uint8_t *end)               \
    {                                                                                                                      \
        return hybrid__split_members(classes, p, end, member, space);                                                      \
    }
HYBRID__SPLIT_MEMBERS(falcon_marks, hybrid__is_falcon_mark, false)
HYBRID__SPLIT_MEMBERS(default_marks, hybrid__is_default_mark, false)
HYBRID__SPLIT_MEMBERS(letters, hybrid__is_letter, true)
HYBRID__SPLIT_MEMBERS(punctuation, hybrid__is_punctuation, true)
HYBRID__SPLIT_MEMBERS(deepseek_letters, hybrid__is_deepseek_letter, true)
HYBRID__SPLIT_MEMBERS(deepseek_marks, hybrid__is_deepseek_mark, true)
HYBRID__SPLIT_MEMBERS(deepseek_cjk, hybrid__is_deepseek_cjk, false)
HYBRID__SPLIT_MEMBERS(deepseek3_cjk, hybrid__is_deepseek3_cjk, false)
#undef HYBRID__SPLIT_MEMBERS

/* \s+$ */
static const uint8_t *hybrid__split_trailing_space(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hybrid__chars_of(classes, p, end, HYBRID__SPACES);
    if (q == end) return end;
    do {
        p = hybrid__chars_of(classes, q, end, 0xFFFu & ~HYBRID__SPACES);
        q = hybrid__chars_of(classes, p, end, HYBRID__SPACES);
    } while (q != end);
    return p;
}

/* [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ and what lies between */
static const uint8_t *hybrid__match_deepseek3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const unsigned word = HYBRID__LETTERS | HYBRID__CHARS(MARK), marks = HYBRID__CHARS(PUNCTUATION) | HYBRID__CHARS(SYMBOL);
    const uint8_t *q;
    size_t length;
    unsigned k = hybrid__class_at(classes, p, end, &length);
    if (*p < 0x80 && hybrid__in_set(marks, k)) {
        for (q = p + 1; q < end && (uint8_t)((*q | 0x20) - 'a') < 26; q++) {}
        if (q > p + 1) return q;
    }
    if (!hybrid__in_set(HYBRID__LETTERS | marks | HYBRID__CHARS(NEWLINE), k) && (q = hybrid__chars_of(classes, p + length, end, word)) != p + length) return q;
    if ((q = hybrid__chars_of(classes, p, end, word)) != p) return q;
    q = *p == ' ' ? p + 1 : p;
    if (q < end && hybrid__in_set(marks, hybrid__class_at(classes, q, end, &length)))
        return hybrid__chars_of(classes, hybrid__chars_of(classes, q, end, marks), end, HYBRID__CHARS(NEWLINE));
    return hybrid__in_set(HYBRID__SPACES, k) ? hybrid__match_lines(classes, p, end) : p;
}
static const uint8_t *hybrid__split_deepseek3(const uint8_t *classes, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q = hybrid__match_deepseek3(classes, p, end);
    size_t length;
    if (q != p) return q;
    do {
        hybrid__class_at(classes, q, end, &length);
        q += length;
    } while (q < end && hybrid__match_deepseek3(classes, q, end) == q);
    return q;
}

/* ---- the families ---- */

#define HYBRID__GPT2      { hybrid__split_gpt2, NULL, NULL, NULL, NULL, NULL, NULL }
#define HYBRID__LLAMA3    { hybrid__split_llama3, NULL, NULL, NULL, NULL, NULL, NULL }
#define HYBRID__QWEN2     { hybrid__split_qwen2, NULL, NULL, NULL, NULL, NULL, NULL }
#define HYBRID__GPT4O     { hybrid__split_gpt4o, NULL, NULL, NULL, NULL, NULL, NULL }
#define HYBRID__STARCODER { hybrid__split_number1, hybrid__split_gpt2, NULL, NULL, NULL, NULL, NULL }
#define HYBRID__DEEPSEEK3 { hybrid__split_number3, hybrid__split_deepseek3_cjk, hybrid__split_deepseek3, NULL, NULL, NULL, NULL }

/* The name of tokenizer.ggml.pre (or of a tiktoken encoding); nothing at all is gpt-2. NULL: hybrid does not have it. */
static const hybrid__pretokenizer *hybrid__find_pretokenizer(const char *name, size_t size)
{
    static const hybrid__pretokenizer table[] = {
        { "gpt-2",            HYBRID__GPT2,      false, false },
        { "r50k",             HYBRID__GPT2,      false, false },
        { "p50k",             HYBRID__GPT2,      false, false },
        { "phi-2",            HYBRID__GPT2,      false, false },
        { "olmo",             HYBRID__GPT2,      false, false },
        { "mpt",              HYBRID__GPT2,      false, false },
        { "jais",             HYBRID__GPT2,      false, false },
        { "trillion",         HYBRID__GPT2,      false, false },
        { "exaone4",          HYBRID__GPT2,      false, false },
        { "gigachat",         HYBRID__GPT2,      false, false },
        { "a.x-4.0",          HYBRID__GPT2,      false, false },
        { "llama-bpe",        HYBRID__LLAMA3,    true,  true  },
        { "llama3",           HYBRID__LLAMA3,    true,  true  },
        { "llama-v3",         HYBRID__LLAMA3,    true,  true  },
        { "falcon3",          HYBRID__LLAMA3,    true,  true  },
        { "falcon-h1",        HYBRID__LLAMA3,    true,  true  },
        { "pixtral",          HYBRID__LLAMA3,    true,  true  },
        { "midm-2.0",         HYBRID__LLAMA3,    true,  true  },
        { "lfm2",             HYBRID__LLAMA3,    true,  true  },
        { "cl100k",           HYBRID__LLAMA3,    false, false },
        { "dbrx",             HYBRID__LLAMA3,    false, false },
        { "smaug-bpe",        HYBRID__LLAMA3,    false, false },
        { "chatglm-bpe",      HYBRID__LLAMA3,    false, false },
        { "glm4",             HYBRID__LLAMA3,    false, false },
        { "qwen2",            HYBRID__QWEN2,     false, false },
        { "deepseek-r1-qwen", HYBRID__QWEN2,     false, false },
        { "stablelm2",        HYBRID__QWEN2,     false, false },
        { "hunyuan",          HYBRID__QWEN2,     false, false },
        { "megrez",           HYBRID__QWEN2,     false, false },
        { "qwen35",           { hybrid__split_qwen35, NULL, NULL, NULL, NULL, NULL, NULL }, false, false },
        { "gpt-4o",           HYBRID__GPT4O,     false, false },
        { "o200k",            HYBRID__GPT4O,     false, false },
        { "llama4",           HYBRID__GPT4O,     false, false },
        { "tekken",           { hybrid__split_tekken, NULL, NULL, NULL, NULL, NULL, NULL }, true, true },
        { "starcoder",        HYBRID__STARCODER, false, false },
        { "refact",           HYBRID__STARCODER, false, false },
        { "command-r",        HYBRID__STARCODER, false, false },
        { "smollm",           HYBRID__STARCODER, false, false },
        { "codeshell",        HYBRID__STARCODER, false, false },
        { "exaone",           HYBRID__STARCODER, false, false },
        { "minerva-7b",       HYBRID__STARCODER, false, false },
        { "falcon",           { hybrid__split_falcon_marks, hybrid__split_gpt2, hybrid__split_digits3, NULL, NULL, NULL, NULL }, false, false },
        { "default",          { hybrid__split_default_marks, hybrid__split_gpt2, hybrid__split_numbers, hybrid__split_digits3, NULL, NULL, NULL }, false, false },
        { "deepseek-coder",   { hybrid__split_line_breaks, hybrid__split_letters, hybrid__split_punctuation, hybrid__split_deepseek_cjk,
                                hybrid__split_number1, NULL, NULL }, false, false },
        { "deepseek-llm",     { hybrid__split_line_breaks, hybrid__split_deepseek_letters, hybrid__split_deepseek_marks,
                                hybrid__split_trailing_space, hybrid__split_deepseek_cjk, hybrid__split_numbers, NULL }, false, false },
        { "deepseek-v3",      HYBRID__DEEPSEEK3, false, false },
        { "hunyuan-dense",    HYBRID__DEEPSEEK3, false, false }
    };
    size_t i;
    if (!size) return &table[0];
    for (i = 0; i < HYBRID__COUNT(table); i++)
        if (strlen(table[i].name) == size && !memcmp(table[i].name, name, size)) return &table[i];
    return NULL;
}
/* ==== end src/text/pretokenize.c ==== */

/* ==== begin src/text/vocab.c ==== */
/* text/vocab: the tables of a tokenizer: the bytes of every token, the way from bytes to token, the merges, the special tokens. They are
 * made once when a model is loaded, so making them is kept cheap: one arena for all bytes, flat tables, nothing allocated per token. */

/* One merge of byte-level BPE, in an open-addressing table; left == UINT32_MAX: empty. */
typedef struct hybrid__merge {
    uint32_t left, right, rank, result;
} hybrid__merge;

#define HYBRID__BEGINS_TEXT    1u     /* a user-defined token: they count in every text */
#define HYBRID__BEGINS_CONTROL 2u     /* a control or unknown token */

#define HYBRID__TOKEN_TYPE   7u       /* in hybrid_tokenizer.kinds: a hybrid_token_type */
#define HYBRID__TOKEN_END    8u       /* generation ends with it */
#define HYBRID__TOKEN_STRIP  16u      /* takes the white space after it along */
#define HYBRID__TOKEN_FOREIGN 32u     /* normal, but spelled with what no byte is mapped to: never made from text */

struct hybrid_tokenizer {
    hybrid_runtime *rt;
    bool            spm, raw, whole_words, add_bos, add_eos, add_space;
    size_t          n_tokens;
    uint8_t        *bytes;            /* of all tokens, one after another */
    uint32_t       *offsets;          /* n_tokens + 1, into bytes */
    uint8_t        *kinds;            /* n_tokens: HYBRID__TOKEN_... */
    uint32_t       *ranks;            /* spm, raw: n_tokens, the least is merged first */
    uint64_t       *index;            /* bytes -> id: hash << 32 | id + 1, 0: empty */
    uint32_t        index_mask;
    hybrid__merge  *merges;
    uint32_t        merge_mask;
    int32_t         byte_ids[256];    /* the token of one byte, -1: none */
    int32_t         roles[HYBRID_ROLE_COUNT_];
    bool            fuse_unknown;     /* spm without all byte tokens: what is unknown side by side is one unknown token */
    int32_t        *specials;         /* control, user-defined and unknown tokens, sorted by their bytes */
    uint32_t        special_begin[257];   /* where those with a first byte begin in specials */
    uint8_t         special_first[256];   /* what a byte may begin: HYBRID__BEGINS_... */
    uint32_t       *special_pairs;    /* a bit for every pair of bytes that may begin one */
    uint32_t       *joined;           /* spm: a bit for every pair of bytes that stand side by side in some token */
    uint8_t        *classes;          /* bpe: of the code points below U+10000 */
    const hybrid__pretokenizer *pre;  /* bpe */
};

/* Strings from memory or from a file. */
typedef struct hybrid__strings {
    const hybrid_string     *list;
    const hybrid_gguf_value *array;
    size_t                   count;
} hybrid__strings;

HYBRID__INLINE hybrid_string hybrid__string_at(const hybrid__strings *s, size_t i) { return s->list ? s->list[i] : hybrid_gguf_item_string(s->array, i); }

/* What both ways to make a tokenizer come down to. */
typedef struct hybrid__vocab_source {
    bool              spm, raw, add_bos, add_eos, add_space, strip_right;
    const hybrid__pretokenizer *pre;
    hybrid__strings   tokens, merges;
    const uint8_t    *types;                     /* n_tokens, or NULL */
    const void       *scores;                    /* n_tokens floats at any alignment, or NULL */
    int32_t           roles[HYBRID_ROLE_COUNT_]; /* -1: look for the well-known names */
} hybrid__vocab_source;

HYBRID__INLINE unsigned hybrid__token_type(const hybrid_tokenizer *t, int32_t id) { return t->kinds[id] & HYBRID__TOKEN_TYPE; }

/* Tokens that merging may make: not those whose names would let a text speak with the voice of the program. */
HYBRID__INLINE bool hybrid__token_mergeable(const hybrid_tokenizer *t, int32_t id)
{
    return (t->kinds[id] & (HYBRID__TOKEN_TYPE | HYBRID__TOKEN_FOREIGN)) == HYBRID_TOKEN_NORMAL;
}

/* ---- bytes -> id ---- */

HYBRID__INLINE uint64_t hybrid__bytes_hash(const uint8_t *p, size_t n)
{
    uint64_t h = n * 0x9E3779B97F4A7C15u, w;
    for (; n >= 8; p += 8, n -= 8) {
        h = (h ^ hybrid__load_u64(p)) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    if (n >= 4) w = hybrid__load_u32(p) | (uint64_t)hybrid__load_u32(p + n - 4) << 32;
    else w = n ? (uint64_t)p[0] | (uint64_t)p[n >> 1] << 8 | (uint64_t)p[n - 1] << 16 : 0;
    h = (h ^ w) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return h ^ h >> 32;
}

/* A text of the size of a token's is compared eight bytes at a time; most are short. */
HYBRID__INLINE bool hybrid__same_bytes(const uint8_t *a, const uint8_t *b, size_t n)
{
    if (n >= 8) return hybrid__load_u64(a) == hybrid__load_u64(b) && hybrid__load_u64(a + n - 8) == hybrid__load_u64(b + n - 8) && (n <= 16 || !memcmp(a, b, n));
    if (n >= 4) return hybrid__load_u32(a) == hybrid__load_u32(b) && hybrid__load_u32(a + n - 4) == hybrid__load_u32(b + n - 4);
    return !n || (a[0] == b[0] && a[n >> 1] == b[n >> 1] && a[n - 1] == b[n - 1]);
}

/* The token with these bytes, -1 when there is none. Of a normal one and another with the same bytes, the normal one. */
HYBRID__INLINE int32_t hybrid__vocab_find(const hybrid_tokenizer *t, const uint8_t *p, size_t n)
{
    uint64_t h = hybrid__bytes_hash(p, n);
    uint32_t at = (uint32_t)h & t->index_mask, tag = (uint32_t)(h >> 32);
    for (; t->index[at]; at = (at + 1) & t->index_mask) {
        if ((uint32_t)(t->index[at] >> 32) == tag) {
            uint32_t id = (uint32_t)t->index[at] - 1, begin = t->offsets[id];
            if (t->offsets[id + 1] - begin == n && hybrid__same_bytes(t->bytes + begin, p, n)) return (int32_t)id;
        }
    }
    return -1;
}

/* The same for merging: -1 also for a token that text must not become. */
HYBRID__INLINE int32_t hybrid__vocab_find_mergeable(const hybrid_tokenizer *t, const uint8_t *p, size_t n)
{
    int32_t id = hybrid__vocab_find(t, p, n);
    return id >= 0 && hybrid__token_mergeable(t, id) ? id : -1;
}

static void hybrid__vocab_insert(hybrid_tokenizer *t, int32_t id)
{
    const uint8_t *p = t->bytes + t->offsets[id];
    size_t n = t->offsets[id + 1] - t->offsets[id];
    uint64_t h = hybrid__bytes_hash(p, n);
    uint32_t at = (uint32_t)h & t->index_mask, tag = (uint32_t)(h >> 32);
    if (!n) return;
    for (; t->index[at]; at = (at + 1) & t->index_mask) {
        if ((uint32_t)(t->index[at] >> 32) == tag) {
            uint32_t other = (uint32_t)t->index[at] - 1;
            if (t->offsets[other + 1] - t->offsets[other] == n && !memcmp(t->bytes + t->offsets[other], p, n)) {
                if (hybrid__token_mergeable(t, (int32_t)other) || !hybrid__token_mergeable(t, id)) return;
                break;
            }
        }
    }
    t->index[at] = (uint64_t)tag << 32 | (uint32_t)(id + 1);
}

/* ---- spellings -> bytes ---- */

/* GPT-2's way to write bytes as printable characters: those of Latin-1 that can be seen stand for themselves, the others for U+0100 on.
 * to_byte[c] for c < 324: the byte, or -1. */
static void hybrid__byte_spelling(int16_t to_byte[324])
{
    int c, next = 256;
    for (c = 0; c < 324; c++) to_byte[c] = -1;
    for (c = 0; c < 256; c++) {
        bool seen = (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || c >= 0xAE;
        to_byte[seen ? c : next++] = (int16_t)c;
    }
}

/* Bytes of one spelled token, written to out (at least s.size bytes); SIZE_MAX when it is spelled with other characters. */
static size_t hybrid__spelled_bytes(hybrid_string s, const int16_t to_byte[324], uint8_t *out)
{
    const uint8_t *p = (const uint8_t *)s.data, *end = p + s.size;
    size_t n = 0;
    while (p < end) {
        uint32_t c = *p++;
        if (c >= 0x80) {                                  /* two bytes are enough for U+0080..U+0143 */
            if (c < 0xC2 || c > 0xC5 || p == end || (*p & 0xC0) != 0x80) return SIZE_MAX;
            c = (c & 31) << 6 | (*p++ & 63);
        }
        if (c >= 324 || to_byte[c] < 0) return SIZE_MAX;
        out[n++] = (uint8_t)to_byte[c];
    }
    return n;
}

/* SentencePiece writes a space as U+2581. */
static size_t hybrid__unescape_spaces(const uint8_t *p, size_t size, uint8_t *out)
{
    size_t i = 0, n = 0;
    while (i < size) {
        if (p[i] == 0xE2 && size - i >= 3 && p[i + 1] == 0x96 && p[i + 2] == 0x81) { out[n++] = ' '; i += 3; }
        else out[n++] = p[i++];
    }
    return n;
}

/* "<0x0A>" -> 10; -1 for anything else. */
static int hybrid__byte_token(hybrid_string s)
{
    int i, value = 0;
    if (s.size != 6 || memcmp(s.data, "<0x", 3) || s.data[5] != '>') return -1;
    for (i = 3; i < 5; i++) {
        char c = s.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* Fills bytes, offsets and kinds. */
static hybrid_result hybrid__vocab_read_tokens(hybrid_tokenizer *t, const hybrid__vocab_source *source, hybrid_error *error)
{
    int16_t to_byte[324];
    size_t i, size = 0, at = 0, n;
    for (i = 0; i < t->n_tokens; i++) {
        hybrid_string s = hybrid__string_at(&source->tokens, i);
        if (s.size && !s.data) return hybrid__fail(error, HYBRID_ERROR_INVALID, "the text of token %llu is NULL", (unsigned long long)i);
        if (!hybrid__add_size(size, s.size, &size) || size > UINT32_MAX / 2)
            return hybrid__fail(error, HYBRID_ERROR_LIMIT, "the tokens of the vocabulary are more than 2 GiB of text");
    }
    t->bytes = (uint8_t *)hybrid__alloc(t->rt, size);
    t->offsets = (uint32_t *)hybrid__calloc(t->rt, t->n_tokens + 1, sizeof *t->offsets);
    t->kinds = (uint8_t *)hybrid__alloc(t->rt, t->n_tokens);
    if (!t->bytes || !t->offsets || !t->kinds) return hybrid__fail_memory(error, size + t->n_tokens * 5);
    hybrid__byte_spelling(to_byte);
    for (i = 0; i < t->n_tokens; i++) {
        hybrid_string s = hybrid__string_at(&source->tokens, i);
        uint8_t type = source->types ? source->types[i] : (uint8_t)HYBRID_TOKEN_NORMAL;
        int byte;
        if (type < HYBRID_TOKEN_NORMAL || type > HYBRID_TOKEN_BYTE) type = HYBRID_TOKEN_UNUSED;
        if (t->spm && !source->types && hybrid__byte_token(s) >= 0) type = HYBRID_TOKEN_BYTE;
        t->offsets[i] = (uint32_t)at;
        t->kinds[i] = type;
        n = s.size;
        if (type == HYBRID_TOKEN_NORMAL && t->spm) n = hybrid__unescape_spaces((const uint8_t *)s.data, s.size, t->bytes + at);
        else if (type == HYBRID_TOKEN_NORMAL && !t->raw && (n = hybrid__spelled_bytes(s, to_byte, t->bytes + at)) != SIZE_MAX) {}
        else if (type == HYBRID_TOKEN_BYTE && (byte = hybrid__byte_token(s)) >= 0) {
            t->bytes[at] = (uint8_t)byte;
            n = 1;
            t->byte_ids[byte] = (int32_t)i;
        }
        else {
            if (n == SIZE_MAX) t->kinds[i] |= HYBRID__TOKEN_FOREIGN;
            n = s.size;
            if (n) memcpy(t->bytes + at, s.data, n);
        }
        at += n;
    }
    t->offsets[t->n_tokens] = (uint32_t)at;
    return HYBRID_OK;
}

static uint32_t hybrid__table_size(size_t count)
{
    uint32_t size = 16;
    while (size < count + count / 2) size *= 2;
    return size;
}

static hybrid_result hybrid__vocab_make_index(hybrid_tokenizer *t, hybrid_error *error)
{
    uint32_t size = hybrid__table_size(t->n_tokens);
    size_t i;
    t->index_mask = size - 1;
    if (!(t->index = (uint64_t *)hybrid__calloc(t->rt, size, sizeof *t->index))) return hybrid__fail_memory(error, size * sizeof *t->index);
    for (i = 0; i < t->n_tokens; i++)
        if (hybrid__token_type(t, (int32_t)i) != HYBRID_TOKEN_BYTE) hybrid__vocab_insert(t, (int32_t)i);
    return HYBRID_OK;
}

/* ---- merges ---- */

HYBRID__INLINE uint32_t hybrid__merge_slot(uint32_t left, uint32_t right)
{
    uint64_t h = ((uint64_t)left << 32 | right) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 15);
}

HYBRID__INLINE const hybrid__merge *hybrid__merge_find(const hybrid_tokenizer *t, uint32_t left, uint32_t right)
{
    uint32_t at = hybrid__merge_slot(left, right) & t->merge_mask;
    for (; t->merges[at].left != UINT32_MAX; at = (at + 1) & t->merge_mask)
        if (t->merges[at].left == left && t->merges[at].right == right) return &t->merges[at];
    return NULL;
}

/* "left right" of a file as token ids. The result is mostly the token after that of the merge before, which saves a search. */
static bool hybrid__merge_parse(const hybrid_tokenizer *t, hybrid_string s, const int16_t to_byte[324], uint8_t *bytes, int32_t guess, hybrid__merge *out)
{
    const char *space = s.size > 1 ? (const char *)memchr(s.data + 1, ' ', s.size - 1) : NULL;
    hybrid_string half;
    size_t n_left, n_right;
    int32_t left, right, result;
    if (!space) return false;
    half.data = s.data;
    half.size = (size_t)(space - s.data);
    if ((n_left = hybrid__spelled_bytes(half, to_byte, bytes)) == SIZE_MAX) return false;
    half.data = space + 1;
    half.size = s.size - half.size - 1;
    if ((n_right = hybrid__spelled_bytes(half, to_byte, bytes + n_left)) == SIZE_MAX || !n_right) return false;
    if ((left = hybrid__vocab_find_mergeable(t, bytes, n_left)) < 0 || (right = hybrid__vocab_find_mergeable(t, bytes + n_left, n_right)) < 0) return false;
    if ((size_t)guess < t->n_tokens && t->offsets[guess + 1] - t->offsets[guess] == n_left + n_right && hybrid__token_mergeable(t, guess) &&
        !memcmp(t->bytes + t->offsets[guess], bytes, n_left + n_right)) result = guess;
    else if ((result = hybrid__vocab_find_mergeable(t, bytes, n_left + n_right)) < 0) return false;
    out->left = (uint32_t)left;
    out->right = (uint32_t)right;
    out->result = (uint32_t)result;
    return true;
}

static hybrid_result hybrid__vocab_make_merges(hybrid_tokenizer *t, const hybrid__vocab_source *source, hybrid_error *error)
{
    uint32_t size = hybrid__table_size(source->merges.count), at;
    int16_t to_byte[324];
    size_t i, longest = 0, unusable = 0;
    hybrid__merge m;
    uint8_t *bytes;
    for (i = 0; i < source->merges.count; i++) longest = HYBRID__MAX(longest, hybrid__string_at(&source->merges, i).size);
    t->merge_mask = size - 1;
    t->merges = (hybrid__merge *)hybrid__alloc(t->rt, (size_t)size * sizeof *t->merges);
    if (!t->merges || !(bytes = (uint8_t *)hybrid__alloc(t->rt, longest))) return hybrid__fail_memory(error, size * sizeof *t->merges + longest);
    memset(t->merges, 0xFF, (size_t)size * sizeof *t->merges);
    hybrid__byte_spelling(to_byte);
    m.result = (uint32_t)-2;
    for (i = 0; i < source->merges.count; i++) {
        if (!hybrid__merge_parse(t, hybrid__string_at(&source->merges, i), to_byte, bytes, (int32_t)(m.result + 1), &m)) { unusable++; continue; }
        m.rank = (uint32_t)i;
        for (at = hybrid__merge_slot(m.left, m.right) & t->merge_mask; t->merges[at].left != UINT32_MAX; at = (at + 1) & t->merge_mask)
            if (t->merges[at].left == m.left && t->merges[at].right == m.right) break;      /* said twice: the first counts */
        if (t->merges[at].left == UINT32_MAX) t->merges[at] = m;
    }
    hybrid__free(t->rt, bytes);
    if (unusable) hybrid__log(t->rt, HYBRID_LOG_WARN, "tokenizer: %llu of %llu merges name tokens that do not exist",
                              (unsigned long long)unusable, (unsigned long long)source->merges.count);
    return HYBRID_OK;
}

/* spm and tiktoken merge whatever together is a token, by the token's score or id. Ranks order floats as unsigned integers, best first. */
static hybrid_result hybrid__vocab_make_ranks(hybrid_tokenizer *t, const void *scores, hybrid_error *error)
{
    size_t i;
    if (!(t->ranks = (uint32_t *)hybrid__alloc(t->rt, t->n_tokens * sizeof *t->ranks))) return hybrid__fail_memory(error, t->n_tokens * sizeof *t->ranks);
    for (i = 0; i < t->n_tokens; i++) {
        uint32_t bits = scores ? hybrid__load_u32((const uint8_t *)scores + i * 4) : 0;
        if (!scores) t->ranks[i] = (uint32_t)i;
        else if ((bits & 0x7FFFFFFF) > 0x7F800000) t->ranks[i] = UINT32_MAX - 1;             /* not a number: last */
        else if (bits & 0x80000000) t->ranks[i] = bits == 0x80000000 ? 0x7FFFFFFF : bits - 1; /* -0 is 0 */
        else t->ranks[i] = 0x7FFFFFFF - bits;
    }
    return HYBRID_OK;
}

static hybrid_result hybrid__vocab_make_joined(hybrid_tokenizer *t, hybrid_error *error)
{
    size_t i;
    uint32_t at;
    if (!(t->joined = (uint32_t *)hybrid__calloc(t->rt, 2048, sizeof *t->joined))) return hybrid__fail_memory(error, 8192);
    for (i = 0; i < t->n_tokens; i++) {
        if (!hybrid__token_mergeable(t, (int32_t)i)) continue;
        for (at = t->offsets[i]; at + 1 < t->offsets[i + 1]; at++) {
            uint32_t pair = (uint32_t)t->bytes[at] << 8 | t->bytes[at + 1];
            t->joined[pair >> 5] |= 1u << (pair & 31);
        }
    }
    return HYBRID_OK;
}

/* The tokens of single bytes: what byte-level BPE begins with, and what spm ends with where it knows no character. */
static void hybrid__vocab_find_bytes(hybrid_tokenizer *t)
{
    int i;
    for (i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;
        if (!t->spm) t->byte_ids[i] = hybrid__vocab_find_mergeable(t, &byte, 1);
        else if (t->byte_ids[i] < 0) t->fuse_unknown = true;
    }
}

static void hybrid__vocab_destroy(hybrid_tokenizer *t)
{
    hybrid_runtime *rt = t->rt;
    hybrid__free(rt, t->bytes);
    hybrid__free(rt, t->offsets);
    hybrid__free(rt, t->kinds);
    hybrid__free(rt, t->ranks);
    hybrid__free(rt, t->index);
    hybrid__free(rt, t->merges);
    hybrid__free(rt, t->specials);
    hybrid__free(rt, t->special_pairs);
    hybrid__free(rt, t->joined);
    hybrid__free(rt, t->classes);
    hybrid__free(rt, t);
    hybrid__runtime_release(rt);
}
/* ==== end src/text/vocab.c ==== */

/* ==== begin src/text/special.c ==== */
/* text/special: tokens that are not made by merging: what they are for, which of them end an answer, and finding them in a text. */

/* Well-known names, the more telling one first. */
typedef struct hybrid__role_name {
    hybrid_token_role role;
    const char       *name;
} hybrid__role_name;

static int32_t hybrid__find_name(const hybrid_tokenizer *t, const char *name) { return hybrid__vocab_find(t, (const uint8_t *)name, strlen(name)); }

/* A name that means something is a control token, whatever the file says. */
static void hybrid__make_control(hybrid_tokenizer *t, int32_t id)
{
    t->kinds[id] = (uint8_t)((t->kinds[id] & ~(HYBRID__TOKEN_TYPE | HYBRID__TOKEN_FOREIGN)) | HYBRID_TOKEN_CONTROL);
}

static void hybrid__special_roles(hybrid_tokenizer *t)
{
    static const hybrid__role_name names[] = {
        { HYBRID_ROLE_EOT, "<|eot_id|>" }, { HYBRID_ROLE_EOT, "<|im_end|>" }, { HYBRID_ROLE_EOT, "<|end|>" }, { HYBRID_ROLE_EOT, "<end_of_turn>" },
        { HYBRID_ROLE_EOT, "<|endoftext|>" }, { HYBRID_ROLE_EOT, "<EOT>" }, { HYBRID_ROLE_EOT, "_<EOT>" }, { HYBRID_ROLE_EOT, "[EOT]" },
        { HYBRID_ROLE_EOT, "<\xEF\xBD\x9C" "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>" }, { HYBRID_ROLE_EOT, "<end_of_utterance>" },
        { HYBRID_ROLE_EOM, "<|eom_id|>" },
        { HYBRID_ROLE_FIM_PREFIX, "<|fim_prefix|>" }, { HYBRID_ROLE_FIM_PREFIX, "<fim-prefix>" }, { HYBRID_ROLE_FIM_PREFIX, "<fim_prefix>" },
        { HYBRID_ROLE_FIM_PREFIX, "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "begin\xEF\xBD\x9C>" }, { HYBRID_ROLE_FIM_PREFIX, "<PRE>" },
        { HYBRID_ROLE_FIM_PREFIX, "\xE2\x96\x81<PRE>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<|fim_suffix|>" }, { HYBRID_ROLE_FIM_SUFFIX, "<fim-suffix>" }, { HYBRID_ROLE_FIM_SUFFIX, "<fim_suffix>" },
        { HYBRID_ROLE_FIM_SUFFIX, "<\xEF\xBD\x9C" "fim\xE2\x96\x81hole\xEF\xBD\x9C>" }, { HYBRID_ROLE_FIM_SUFFIX, "<SUF>" },
        { HYBRID_ROLE_FIM_SUFFIX, "\xE2\x96\x81<SUF>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<|fim_middle|>" }, { HYBRID_ROLE_FIM_MIDDLE, "<fim-middle>" }, { HYBRID_ROLE_FIM_MIDDLE, "<fim_middle>" },
        { HYBRID_ROLE_FIM_MIDDLE, "<\xEF\xBD\x9C" "fim\xE2\x96\x81" "end\xEF\xBD\x9C>" }, { HYBRID_ROLE_FIM_MIDDLE, "<MID>" },
        { HYBRID_ROLE_FIM_MIDDLE, "\xE2\x96\x81<MID>" },
        { HYBRID_ROLE_FIM_PAD, "<|fim_pad|>" }, { HYBRID_ROLE_FIM_PAD, "<fim-pad>" }, { HYBRID_ROLE_FIM_PAD, "<fim_pad>" }, { HYBRID_ROLE_FIM_PAD, "<PAD>" },
        { HYBRID_ROLE_FIM_REPO, "<|fim_repo|>" }, { HYBRID_ROLE_FIM_REPO, "<|repo_name|>" }, { HYBRID_ROLE_FIM_REPO, "<fim-repo>" },
        { HYBRID_ROLE_FIM_REPO, "<REPO>" }, { HYBRID_ROLE_FIM_REPO, "<reponame>" },
        { HYBRID_ROLE_FIM_SEPARATOR, "<|file_sep|>" }
    };
    size_t i;
    for (i = 0; i < HYBRID__COUNT(names); i++) {
        int32_t id;
        if (t->roles[names[i].role] >= 0 || (id = hybrid__find_name(t, names[i].name)) < 0) continue;
        t->roles[names[i].role] = id;
        hybrid__make_control(t, id);
    }
}

/* Tokens after which nothing more is to be said: those with a role that says so, and those with a name that does. */
static void hybrid__special_ends(hybrid_tokenizer *t)
{
    static const char *const names[] = {
        "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>", "<|endoftext|>", "</s>",
        "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>", "<end_of_utterance>", "<eos>", "<turn|>"
    };
    static const hybrid_token_role roles[] = { HYBRID_ROLE_EOS, HYBRID_ROLE_EOT, HYBRID_ROLE_EOM, HYBRID_ROLE_FIM_PAD, HYBRID_ROLE_FIM_REPO, HYBRID_ROLE_FIM_SEPARATOR };
    int32_t id, call = hybrid__find_name(t, "<|call|>"), result = hybrid__find_name(t, "<|return|>");
    int32_t calls = hybrid__find_name(t, "<|calls|>"), flush = hybrid__find_name(t, "<|flush|>");
    size_t i;
    for (i = 0; i < HYBRID__COUNT(names); i++) {
        if ((id = hybrid__find_name(t, names[i])) < 0) continue;
        hybrid__make_control(t, id);
        t->kinds[id] |= HYBRID__TOKEN_END;
    }
    for (i = 0; i < HYBRID__COUNT(roles); i++)
        if ((id = t->roles[roles[i]]) >= 0) t->kinds[id] |= HYBRID__TOKEN_END;
    /* Formats with channels: <|end|> ends a message there, not the answer. */
    if (((call >= 0 && result >= 0) || (calls >= 0 && flush >= 0)) && (id = hybrid__find_name(t, "<|end|>")) >= 0) t->kinds[id] &= (uint8_t)~HYBRID__TOKEN_END;
}

static bool hybrid__is_special(const hybrid_tokenizer *t, int32_t id)
{
    unsigned type = hybrid__token_type(t, id);
    return (type == HYBRID_TOKEN_CONTROL || type == HYBRID_TOKEN_USER_DEFINED || type == HYBRID_TOKEN_UNKNOWN) && t->offsets[id] < t->offsets[id + 1];
}

/* By bytes, a beginning before what it begins. */
static bool hybrid__special_before(const hybrid_tokenizer *t, int32_t a, int32_t b)
{
    size_t n_a = t->offsets[a + 1] - t->offsets[a], n_b = t->offsets[b + 1] - t->offsets[b];
    int order = memcmp(t->bytes + t->offsets[a], t->bytes + t->offsets[b], HYBRID__MIN(n_a, n_b));
    return order ? order < 0 : n_a < n_b;
}

static void hybrid__special_sort(const hybrid_tokenizer *t, int32_t *ids, size_t n)      /* Shell's: some thousands at most in practice */
{
    size_t gap, i, j;
    for (gap = 1; gap < n / 3; gap = gap * 3 + 1) {}
    for (; gap; gap /= 3) {
        for (i = gap; i < n; i++) {
            int32_t id = ids[i];
            for (j = i; j >= gap && hybrid__special_before(t, id, ids[j - gap]); j -= gap) ids[j] = ids[j - gap];
            ids[j] = id;
        }
    }
}

static void hybrid__special_add_pair(hybrid_tokenizer *t, const uint8_t *p, size_t n)
{
    uint32_t pair = (uint32_t)p[0] << 8, i;
    if (n > 1) { pair |= p[1]; t->special_pairs[pair >> 5] |= 1u << (pair & 31); }
    else for (i = 0; i < 8; i++) t->special_pairs[(pair >> 5) + i] = UINT32_MAX;
}

/* Phi-3's tokens that do not take the white space after them along, as its tokenizer.json says. */
static bool hybrid__keeps_space(const uint8_t *p, size_t n)
{
    return (n == 3 && !memcmp(p, "<s>", 3)) || (n == 5 && !memcmp(p, "<unk>", 5)) || (n == 13 && !memcmp(p, "<|endoftext|>", 13));
}

/* Which tokens have roles, which end, and the tables that find them in a text. */
static hybrid_result hybrid__vocab_make_specials(hybrid_tokenizer *t, bool strip_right, hybrid_error *error)
{
    size_t i, n = 0, count = 0;
    hybrid__special_roles(t);
    hybrid__special_ends(t);
    for (i = 0; i < t->n_tokens; i++) count += hybrid__is_special(t, (int32_t)i);
    t->specials = (int32_t *)hybrid__alloc(t->rt, count * sizeof *t->specials);
    t->special_pairs = (uint32_t *)hybrid__calloc(t->rt, 2048, sizeof *t->special_pairs);
    if (!t->specials || !t->special_pairs) return hybrid__fail_memory(error, count * sizeof *t->specials + 8192);
    for (i = 0; i < t->n_tokens; i++) {
        const uint8_t *p = t->bytes + t->offsets[i];
        if (!hybrid__is_special(t, (int32_t)i)) continue;
        t->specials[n++] = (int32_t)i;
        t->special_first[*p] |= (uint8_t)(hybrid__token_type(t, (int32_t)i) == HYBRID_TOKEN_USER_DEFINED ? HYBRID__BEGINS_TEXT : HYBRID__BEGINS_CONTROL);
        t->special_begin[*p + 1]++;
        hybrid__special_add_pair(t, p, t->offsets[i + 1] - t->offsets[i]);
        if (strip_right && !hybrid__keeps_space(p, t->offsets[i + 1] - t->offsets[i])) t->kinds[i] |= HYBRID__TOKEN_STRIP;
    }
    for (i = 0; i < 256; i++) t->special_begin[i + 1] += t->special_begin[i];
    hybrid__special_sort(t, t->specials, n);
    return HYBRID_OK;
}

HYBRID__INLINE uint8_t hybrid__special_byte(const hybrid_tokenizer *t, uint32_t at, size_t k) { return t->bytes[t->offsets[t->specials[at]] + k]; }

/* The longest special token at p that counts (begins: HYBRID__BEGINS_...), -1 when there is none. The tokens that agree with the text so
 * far are a range of the sorted list; every further byte narrows it. */
static int32_t hybrid__special_match(const hybrid_tokenizer *t, const uint8_t *p, const uint8_t *end, unsigned begins)
{
    uint32_t low = t->special_begin[*p], high = t->special_begin[*p + 1];
    int32_t best = -1;
    size_t k;
    for (k = 1; low < high; k++) {
        for (; low < high && t->offsets[t->specials[low] + 1] - t->offsets[t->specials[low]] == k; low++) {
            bool text = hybrid__token_type(t, t->specials[low]) == HYBRID_TOKEN_USER_DEFINED;
            if (begins & (text ? HYBRID__BEGINS_TEXT : HYBRID__BEGINS_CONTROL)) best = t->specials[low];
        }
        if (p + k == end || low == high) break;
        if (hybrid__special_byte(t, low, k) != p[k] || hybrid__special_byte(t, high - 1, k) != p[k]) {
            uint32_t a = low, b = high, middle;
            while (a < b) { middle = a + (b - a) / 2; if (hybrid__special_byte(t, middle, k) < p[k]) a = middle + 1; else b = middle; }
            low = a;
            for (b = high; a < b; ) { middle = a + (b - a) / 2; if (hybrid__special_byte(t, middle, k) <= p[k]) a = middle + 1; else b = middle; }
            high = a;
        }
    }
    return best;
}

/* The first special token in the text that counts: where it begins (end when there is none) and its id. */
static const uint8_t *hybrid__special_search(const hybrid_tokenizer *t, const uint8_t *p, const uint8_t *end, unsigned begins, int32_t *id)
{
    for (; p < end; p++) {
        uint32_t pair;
        if (HYBRID__LIKELY(!(t->special_first[*p] & begins))) continue;
        if (p + 1 < end) {
            pair = (uint32_t)p[0] << 8 | p[1];
            if (!(t->special_pairs[pair >> 5] >> (pair & 31) & 1)) continue;
        }
        if ((*id = hybrid__special_match(t, p, end, begins)) >= 0) return p;
    }
    return end;
}
/* ==== end src/text/special.c ==== */

/* ==== begin src/text/bpe.c ==== */
/* text/bpe: the merging. A word becomes its bytes (spm: its characters), and of all neighbours that may become one token those with the
 * least rank do, leftmost first, until none may. Words come again and again, so a call remembers what became of them. */

#define HYBRID__WORD_SHORT  64          /* bytes: up to here all pairs are looked through at every step, beyond a heap finds the best */
#define HYBRID__CACHE_TEXT  3           /* 8-byte pieces of a word that is remembered */
#define HYBRID__CACHE_IDS   9

typedef struct hybrid__cached_word {    /* a cache line */
    uint64_t text[HYBRID__CACHE_TEXT];
    uint8_t  size, n;
    int32_t  ids[HYBRID__CACHE_IDS];
} hybrid__cached_word;

/* One call of hybrid_tokenize. */
typedef struct hybrid__tokenize_job {
    const hybrid_tokenizer *t;
    int32_t                *ids;
    size_t                  capacity, n;
    int32_t                 last;       /* id */
    hybrid__cached_word    *cache;      /* zero: empty */
    size_t                  cache_mask;
    const uint8_t          *end;        /* of the memory that the words are in */
    bool                    out_of_memory;
} hybrid__tokenize_job;

HYBRID__INLINE void hybrid__emit_token(hybrid__tokenize_job *job, int32_t id)
{
    if (job->t->fuse_unknown) {
        if (job->last == id && id == job->t->roles[HYBRID_ROLE_UNKNOWN]) return;
        job->last = id;
    }
    if (job->n < job->capacity) job->ids[job->n] = id;
    job->n++;
}

/* What becomes of neighbours: the rank of their merge (UINT32_MAX: they have none) and the token. begin, end: the bytes of both in the word. */
HYBRID__INLINE uint32_t hybrid__bpe_rank(const hybrid_tokenizer *t, const uint8_t *word, int32_t left, int32_t right, size_t begin, size_t end, int32_t *result)
{
    if (t->merges) {
        const hybrid__merge *m = left < 0 || right < 0 ? NULL : hybrid__merge_find(t, (uint32_t)left, (uint32_t)right);
        if (!m) return UINT32_MAX;
        *result = (int32_t)m->result;
        return m->rank;
    }
    *result = hybrid__vocab_find_mergeable(t, word + begin, end - begin);
    return *result < 0 ? UINT32_MAX : t->ranks[*result];
}

/* The token of the first character (bpe: byte) at p, -1 when there is none, and its length. */
HYBRID__INLINE int32_t hybrid__first_symbol(const hybrid_tokenizer *t, const uint8_t *p, const uint8_t *end, size_t *length)
{
    uint32_t code_point;
    size_t valid;
    *length = 1;
    if (!t->spm) return t->byte_ids[*p];
    if ((*length = hybrid__utf8_decode(p, end, &code_point, &valid)) == 0) *length = 1;
    return hybrid__vocab_find_mergeable(t, p, *length);
}

/* A symbol that is left over: its token; else (spm) its bytes, or the unknown token where there are none for them. Returns the ids written. */
static size_t hybrid__symbol_ids(const hybrid_tokenizer *t, int32_t id, const uint8_t *p, size_t size, int32_t *out)
{
    size_t i;
    if (id >= 0) { *out = id; return 1; }
    if (!t->spm) return 0;
    for (i = 0; i < size; i++) {
        if (t->byte_ids[p[i]] < 0) {
            *out = t->roles[HYBRID_ROLE_UNKNOWN];
            return *out >= 0;
        }
        out[i] = t->byte_ids[p[i]];
    }
    return size;
}

/* A word of at most HYBRID__WORD_SHORT bytes; out has room for as many ids. Returns how many there are. */
static size_t hybrid__merge_short(const hybrid_tokenizer *t, const uint8_t *word, size_t size, int32_t *out)
{
    int32_t id[HYBRID__WORD_SHORT + 1], result[HYBRID__WORD_SHORT + 1];
    uint32_t rank[HYBRID__WORD_SHORT + 1];
    uint8_t begin[HYBRID__WORD_SHORT + 2];
    size_t n = 0, at = 0, i, count = 0, length;
    for (; at < size; at += length, n++) {
        begin[n] = (uint8_t)at;
        id[n] = hybrid__first_symbol(t, word + at, word + size, &length);
    }
    begin[n] = (uint8_t)size;
    for (i = 0; i + 1 < n; i++) rank[i] = hybrid__bpe_rank(t, word, id[i], id[i + 1], begin[i], begin[i + 2], &result[i]);
    while (n > 1) {
        uint32_t best = rank[0];
        at = 0;
        for (i = 1; i + 1 < n; i++) if (rank[i] < best) { best = rank[i]; at = i; }
        if (best == UINT32_MAX) break;
        id[at] = result[at];
        n--;
        for (i = at + 1; i < n; i++) {                    /* symbol at + 1 is gone, and with it the pair that it began */
            id[i] = id[i + 1];
            begin[i] = begin[i + 1];
            rank[i] = rank[i + 1];
            result[i] = result[i + 1];
        }
        begin[n] = (uint8_t)size;
        if (at > 0) rank[at - 1] = hybrid__bpe_rank(t, word, id[at - 1], id[at], begin[at - 1], begin[at + 1], &result[at - 1]);
        if (at + 1 < n) rank[at] = hybrid__bpe_rank(t, word, id[at], id[at + 1], begin[at], begin[at + 2], &result[at]);
    }
    for (i = 0; i < n; i++) count += hybrid__symbol_ids(t, id[i], word + begin[i], (size_t)begin[i + 1] - begin[i], out + count);
    return count;
}

/* ---- long words: a heap of the pairs that may merge ---- */

typedef struct hybrid__bpe_symbol {
    uint32_t begin, previous, next;     /* bytes of the word, symbols; next of the last: UINT32_MAX */
    int32_t  id;
} hybrid__bpe_symbol;

typedef struct hybrid__bpe_pair {
    uint32_t rank, left, size;          /* of the left symbol's place; bytes of both: a pair is out of date when they are others */
    int32_t  result;
} hybrid__bpe_pair;

typedef struct hybrid__bpe_heap {
    hybrid__bpe_pair *items;
    size_t        n, capacity;
} hybrid__bpe_heap;

HYBRID__INLINE bool hybrid__bpe_before(const hybrid__bpe_pair *a, const hybrid__bpe_pair *b) { return a->rank != b->rank ? a->rank < b->rank : a->left < b->left; }

static bool hybrid__bpe_push(hybrid_runtime *rt, hybrid__bpe_heap *heap, hybrid__bpe_pair pair)
{
    size_t i = heap->n;
    if (i == heap->capacity) {
        size_t capacity = heap->capacity * 2;
        hybrid__bpe_pair *items = (hybrid__bpe_pair *)hybrid__realloc(rt, heap->items, i * sizeof *items, capacity * sizeof *items);
        if (!items) return false;
        heap->items = items;
        heap->capacity = capacity;
    }
    heap->n++;
    for (; i && hybrid__bpe_before(&pair, &heap->items[(i - 1) / 2]); i = (i - 1) / 2) heap->items[i] = heap->items[(i - 1) / 2];
    heap->items[i] = pair;
    return true;
}

static hybrid__bpe_pair hybrid__bpe_pop(hybrid__bpe_heap *heap)
{
    hybrid__bpe_pair top = heap->items[0], last = heap->items[--heap->n];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < heap->n) {
        if (child + 1 < heap->n && hybrid__bpe_before(&heap->items[child + 1], &heap->items[child])) child++;
        if (!hybrid__bpe_before(&heap->items[child], &last)) break;
        heap->items[i] = heap->items[child];
        i = child;
    }
    if (heap->n) heap->items[i] = last;
    return top;
}

HYBRID__INLINE uint32_t hybrid__bpe_symbol_end(const hybrid__bpe_symbol *symbols, uint32_t i, size_t size)
{
    return symbols[i].next == UINT32_MAX ? (uint32_t)size : symbols[symbols[i].next].begin;
}

static bool hybrid__bpe_offer(const hybrid_tokenizer *t, hybrid__bpe_heap *heap, const uint8_t *word, size_t size, const hybrid__bpe_symbol *symbols, uint32_t left)
{
    uint32_t right = symbols[left].next, end;
    hybrid__bpe_pair pair;
    if (right == UINT32_MAX) return true;
    end = hybrid__bpe_symbol_end(symbols, right, size);
    pair.rank = hybrid__bpe_rank(t, word, symbols[left].id, symbols[right].id, symbols[left].begin, end, &pair.result);
    if (pair.rank == UINT32_MAX) return true;
    pair.left = left;
    pair.size = end - symbols[left].begin;
    return hybrid__bpe_push(t->rt, heap, pair);
}

static bool hybrid__merge_all(const hybrid_tokenizer *t, hybrid__bpe_heap *heap, const uint8_t *word, size_t size, hybrid__bpe_symbol *symbols)
{
    while (heap->n) {
        hybrid__bpe_pair pair = hybrid__bpe_pop(heap);
        hybrid__bpe_symbol *left = &symbols[pair.left];
        uint32_t right = left->next;
        if (left->begin == UINT32_MAX || right == UINT32_MAX || hybrid__bpe_symbol_end(symbols, right, size) - left->begin != pair.size) continue;
        left->id = pair.result;
        left->next = symbols[right].next;
        if (left->next != UINT32_MAX) symbols[left->next].previous = pair.left;
        symbols[right].begin = UINT32_MAX;                /* gone */
        if (left->previous != UINT32_MAX && !hybrid__bpe_offer(t, heap, word, size, symbols, left->previous)) return false;
        if (!hybrid__bpe_offer(t, heap, word, size, symbols, pair.left)) return false;
    }
    return true;
}

static void hybrid__merge_long(hybrid__tokenize_job *job, const uint8_t *word, size_t size)
{
    const hybrid_tokenizer *t = job->t;
    hybrid__bpe_symbol *symbols = NULL;
    hybrid__bpe_heap heap = { NULL, 0, 0 };
    size_t at, length, bytes, i;
    uint32_t n = 0, k;
    bool ok = size < UINT32_MAX / 2 && hybrid__mul_size(size, sizeof *symbols, &bytes);
    heap.capacity = size / 2;
    if (ok) {
        symbols = (hybrid__bpe_symbol *)hybrid__alloc(t->rt, bytes);
        heap.items = (hybrid__bpe_pair *)hybrid__alloc(t->rt, heap.capacity * sizeof *heap.items);
        ok = symbols && heap.items;
    }
    for (at = 0; ok && at < size; at += length, n++) {
        symbols[n].id = hybrid__first_symbol(t, word + at, word + size, &length);
        symbols[n].begin = (uint32_t)at;
        symbols[n].previous = n - 1;
        symbols[n].next = at + length < size ? n + 1 : UINT32_MAX;
    }
    for (k = 0; ok && k < n; k++) ok = hybrid__bpe_offer(t, &heap, word, size, symbols, k);
    ok = ok && hybrid__merge_all(t, &heap, word, size, symbols);
    for (k = 0; ok && k != UINT32_MAX; k = symbols[k].next) {
        int32_t ids[4];
        length = hybrid__symbol_ids(t, symbols[k].id, word + symbols[k].begin, hybrid__bpe_symbol_end(symbols, k, size) - symbols[k].begin, ids);
        for (i = 0; i < length; i++) hybrid__emit_token(job, ids[i]);
    }
    if (!ok) job->out_of_memory = true;
    hybrid__free(t->rt, symbols);
    hybrid__free(t->rt, heap.items);
}

/* ---- words ---- */

/* A word that is not remembered. At most HYBRID__WORD_SHORT bytes go to out (the number of ids is returned), a longer one to the job. */
static size_t hybrid__merge_word(hybrid__tokenize_job *job, const uint8_t *word, size_t size, int32_t *out)
{
    const hybrid_tokenizer *t = job->t;
    if (t->whole_words && (*out = hybrid__vocab_find_mergeable(t, word, size)) >= 0) return 1;
    if (size <= HYBRID__WORD_SHORT) return hybrid__merge_short(t, word, size, out);
    hybrid__merge_long(job, word, size);
    return 0;
}

/* The word as zero-padded 8-byte pieces; safe: 24 bytes can be read. */
HYBRID__INLINE void hybrid__word_pieces(const uint8_t *word, size_t size, bool safe, uint64_t w[HYBRID__CACHE_TEXT])
{
    uint8_t copy[8 * HYBRID__CACHE_TEXT];
    if (HYBRID__UNLIKELY(!safe)) {
        memset(copy, 0, sizeof copy);
        memcpy(copy, word, size);
        word = copy;
    }
    w[1] = w[2] = 0;
    w[0] = hybrid__load_u64(word);
    if (size <= 8) { w[0] &= UINT64_MAX >> (64 - 8 * size); return; }
    w[1] = hybrid__load_u64(word + 8);
    if (size <= 16) { w[1] &= UINT64_MAX >> (128 - 8 * size); return; }
    w[2] = hybrid__load_u64(word + 16) & UINT64_MAX >> (192 - 8 * size);
}

/* A word (size > 0) to ids. */
static void hybrid__tokenize_word(hybrid__tokenize_job *job, const uint8_t *word, size_t size)
{
    int32_t ids[HYBRID__WORD_SHORT];
    hybrid__cached_word *e;
    uint64_t w[HYBRID__CACHE_TEXT], h;
    size_t i, n;
    if (size > 8 * HYBRID__CACHE_TEXT) {
        n = hybrid__merge_word(job, word, size, ids);
        for (i = 0; i < n; i++) hybrid__emit_token(job, ids[i]);
        return;
    }
    hybrid__word_pieces(word, size, (size_t)(job->end - word) >= sizeof w, w);
    h = (w[0] * 0x9E3779B97F4A7C15u) ^ (w[1] * 0xD6E8FEB86659FD93u) ^ (w[2] * 0xC2B2AE3D27D4EB4Fu) ^ size;
    h = (h ^ h >> 32) * 0x9E3779B97F4A7C15u;
    e = &job->cache[(size_t)(h >> 40) & job->cache_mask];
    if (HYBRID__LIKELY(e->size == size && e->text[0] == w[0] && e->text[1] == w[1] && e->text[2] == w[2])) {
        if (HYBRID__LIKELY(job->n + HYBRID__CACHE_IDS <= job->capacity && !job->t->fuse_unknown)) {
            int32_t *out = job->ids + job->n;             /* the first three without asking: most words have no more */
            out[0] = e->ids[0]; out[1] = e->ids[1]; out[2] = e->ids[2];
            for (i = 3; i < e->n; i++) out[i] = e->ids[i];
            job->n += e->n;
        }
        else for (i = 0; i < e->n; i++) hybrid__emit_token(job, e->ids[i]);
        return;
    }
    n = hybrid__merge_word(job, word, size, ids);
    for (i = 0; i < n; i++) hybrid__emit_token(job, ids[i]);
    if (n > HYBRID__CACHE_IDS) return;
    memcpy(e->text, w, sizeof e->text);
    e->size = (uint8_t)size;
    e->n = (uint8_t)n;
    memcpy(e->ids, ids, n * sizeof *ids);
}
/* ==== end src/text/bpe.c ==== */

/* ==== begin src/text/tokenizer.c ==== */
/* text/tokenizer: making tokenizers, text to ids, ids to text. */

/* ---- making ---- */

static hybrid_result hybrid__tokenizer_build(hybrid_tokenizer *t, const hybrid__vocab_source *source, hybrid_error *error)
{
    hybrid_result r;
    int i;
    t->spm = source->spm;
    t->raw = source->raw;
    t->add_bos = source->add_bos;
    t->add_eos = source->add_eos;
    t->add_space = source->add_space;
    t->pre = source->pre;
    t->whole_words = source->raw || (source->pre && source->pre->whole_words);
    t->n_tokens = source->tokens.count;
    memcpy(t->roles, source->roles, sizeof t->roles);
    for (i = 0; i < 256; i++) t->byte_ids[i] = -1;
    if (!t->n_tokens) return hybrid__fail(error, HYBRID_ERROR_INVALID, "the vocabulary has no tokens");
    if (t->n_tokens > INT32_MAX / 2 || source->merges.count > INT32_MAX / 2) return hybrid__fail(error, HYBRID_ERROR_LIMIT, "the vocabulary has more than a billion entries");
    if ((r = hybrid__vocab_read_tokens(t, source, error)) != HYBRID_OK || (r = hybrid__vocab_make_index(t, error)) != HYBRID_OK ||
        (r = hybrid__vocab_make_specials(t, source->strip_right, error)) != HYBRID_OK) return r;
    hybrid__vocab_find_bytes(t);
    if (t->spm || t->raw) {
        if ((r = hybrid__vocab_make_ranks(t, source->scores, error)) != HYBRID_OK) return r;
    }
    else if ((r = hybrid__vocab_make_merges(t, source, error)) != HYBRID_OK) return r;
    if (t->spm) return hybrid__vocab_make_joined(t, error);
    if (!(t->classes = (uint8_t *)hybrid__alloc(t->rt, 65536))) return hybrid__fail_memory(error, 65536);
    hybrid__unicode_expand(t->classes);
    return HYBRID_OK;
}

static hybrid_result hybrid__tokenizer_make(hybrid_runtime *runtime, const hybrid__vocab_source *source, hybrid_tokenizer **tokenizer, hybrid_error *error)
{
    hybrid_runtime *rt;
    hybrid_tokenizer *t;
    hybrid_result r = hybrid__runtime_retain(runtime, &rt, error);
    if (r != HYBRID_OK) return r;
    if (!(t = (hybrid_tokenizer *)hybrid__calloc(rt, 1, sizeof *t))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof *t);
    }
    t->rt = rt;
    if ((r = hybrid__tokenizer_build(t, source, error)) != HYBRID_OK) hybrid__vocab_destroy(t);
    else *tokenizer = t;
    return r;
}

HYBRID_API void hybrid_tokenizer_destroy(hybrid_tokenizer *tokenizer)
{
    if (tokenizer) hybrid__vocab_destroy(tokenizer);
}

/* The token of a role by the text that the caller gave; these are looked up here because ids are all that the tables know. */
static hybrid_result hybrid__desc_roles(const hybrid_tokenizer_desc *desc, int32_t roles[HYBRID_ROLE_COUNT_], hybrid_error *error)
{
    static const char *const usual[3][4] = { { "<s>", "<bos>", "<|begin_of_text|>", NULL }, { "</s>", "<eos>", "<|end_of_text|>", "<|endoftext|>" }, { "<unk>", NULL, NULL, NULL } };
    static const hybrid_token_role usual_role[3] = { HYBRID_ROLE_BOS, HYBRID_ROLE_EOS, HYBRID_ROLE_UNKNOWN };
    size_t i, k;
    int role;
    for (role = 0; role < HYBRID_ROLE_COUNT_; role++) roles[role] = -1;
    for (i = 0; i < desc->n_tokens; i++) {
        const hybrid_string s = desc->tokens[i];
        if (!s.size || !s.data) continue;
        for (role = 0; role < HYBRID_ROLE_COUNT_; role++)
            if (desc->roles[role] && strlen(desc->roles[role]) == s.size && !memcmp(desc->roles[role], s.data, s.size)) roles[role] = (int32_t)i;
        if (*s.data != '<') continue;
        for (role = 0; role < 3; role++)
            for (k = 0; k < 4 && usual[role][k]; k++)
                if (!desc->roles[usual_role[role]] && roles[usual_role[role]] < 0 && strlen(usual[role][k]) == s.size && !memcmp(usual[role][k], s.data, s.size))
                    roles[usual_role[role]] = (int32_t)i;
    }
    for (role = 0; role < HYBRID_ROLE_COUNT_; role++)
        if (desc->roles[role] && roles[role] < 0)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "roles[%d] is \"%.64s\", which is no token of the vocabulary", role, desc->roles[role]);
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_tokenizer_create(hybrid_runtime *runtime, const hybrid_tokenizer_desc *desc, hybrid_tokenizer **tokenizer, hybrid_error *error)
{
    hybrid__vocab_source source;
    hybrid_result r;
    if (!tokenizer) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_create: tokenizer is NULL");
    *tokenizer = NULL;
    if (!desc || !desc->tokens || (desc->n_merges && !desc->merges)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_create: desc, its tokens or its merges are NULL");
    memset(&source, 0, sizeof source);
    if (desc->model && !strcmp(desc->model, "spm")) source.spm = true;
    else if (desc->model && strcmp(desc->model, "bpe")) return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "tokenizer model \"%.32s\" is none of bpe, spm", desc->model);
    if (!source.spm && !(source.pre = hybrid__find_pretokenizer(desc->pre, desc->pre ? strlen(desc->pre) : 0)))
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "pre-tokenizer \"%.32s\" is not known to this version of hybrid", desc->pre);
    source.raw = !source.spm && desc->raw_tokens;
    source.tokens.list = desc->tokens;
    source.tokens.count = desc->n_tokens;
    source.merges.list = desc->merges;
    source.merges.count = source.raw ? 0 : desc->n_merges;
    source.types = desc->types;
    source.scores = desc->scores;
    source.add_bos = desc->add_bos;
    source.add_eos = desc->add_eos;
    source.add_space = source.spm && !desc->no_space_prefix;
    source.strip_right = desc->strip_right;
    if ((r = hybrid__desc_roles(desc, source.roles, error)) != HYBRID_OK) return r;
    return hybrid__tokenizer_make(runtime, &source, tokenizer, error);
}

/* ---- text to ids ---- */

/* Cuts a piece as the pre-tokenizer's splits say, from the given one on, and tokenizes the words. */
static void hybrid__tokenize_piece(hybrid__tokenize_job *job, const hybrid__split_fn *split, const uint8_t *p, const uint8_t *end)
{
    const uint8_t *classes = job->t->classes, *q;
    if (split[1]) {
        for (; p < end; p = q) {
            q = split[0](classes, p, end);
            hybrid__tokenize_piece(job, split + 1, p, q);
        }
    }
    else for (; p < end; p = q) {
        q = split[0](classes, p, end);
        hybrid__tokenize_word(job, p, (size_t)(q - p));
    }
}

/* spm knows no words, but between two bytes that stand side by side in no token nothing can merge: there the text is cut, with the same
 * result, into words that come again. */
static void hybrid__tokenize_joined(hybrid__tokenize_job *job, const uint8_t *p, const uint8_t *end)
{
    const uint32_t *joined = job->t->joined;
    const uint8_t *q;
    for (; p < end; p = q) {
        for (q = p + 1; q < end; q++) {
            uint32_t pair = (uint32_t)q[-1] << 8 | *q;
            if (!(joined[pair >> 5] >> (pair & 31) & 1) && (*q & 0xC0) != 0x80) break;
        }
        hybrid__tokenize_word(job, p, (size_t)(q - p));
    }
}

static bool hybrid__has_escaped_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (p = (const uint8_t *)memchr(p, 0xE2, (size_t)(end - p))) != NULL) {
        if (end - p >= 3 && p[1] == 0x96 && p[2] == 0x81) return true;
        p++;
    }
    return false;
}

/* Text between special tokens. first: it begins the text or follows a special token. */
static void hybrid__tokenize_fragment(hybrid__tokenize_job *job, const uint8_t *p, const uint8_t *end, bool first)
{
    const hybrid_tokenizer *t = job->t;
    const uint8_t *before = job->end;
    size_t size = (size_t)(end - p), bytes;
    uint8_t *copy;
    bool space = t->add_space && first;
    if (p == end) return;
    if (!t->spm) { hybrid__tokenize_piece(job, t->pre->splits, p, end); return; }
    if (!space && !hybrid__has_escaped_space(p, end)) { hybrid__tokenize_joined(job, p, end); return; }
    if (!hybrid__add_size(size, 1 + 8 * HYBRID__CACHE_TEXT, &bytes) || !(copy = (uint8_t *)hybrid__alloc(t->rt, bytes))) {
        job->out_of_memory = true;
        return;
    }
    memset(copy + size, 0, 1 + 8 * HYBRID__CACHE_TEXT);
    copy[0] = ' ';
    size = hybrid__unescape_spaces(p, size, copy + space) + space;
    job->end = copy + bytes;
    hybrid__tokenize_joined(job, copy, copy + size);
    job->end = before;
    hybrid__free(t->rt, copy);
}

static void hybrid__tokenize_text(hybrid__tokenize_job *job, const uint8_t *p, const uint8_t *end, unsigned flags)
{
    const hybrid_tokenizer *t = job->t;
    unsigned begins = flags & HYBRID_TOKENIZE_PARSE_SPECIAL ? HYBRID__BEGINS_TEXT | HYBRID__BEGINS_CONTROL : HYBRID__BEGINS_TEXT;
    bool first = true;
    while (p < end && !job->out_of_memory) {
        int32_t id = -1;
        const uint8_t *q = hybrid__special_search(t, p, end, begins, &id);
        hybrid__tokenize_fragment(job, p, q, first);
        if (q == end) return;
        hybrid__emit_token(job, id);
        p = q + (t->offsets[id + 1] - t->offsets[id]);
        if (t->kinds[id] & HYBRID__TOKEN_STRIP) while (p < end && (*p == ' ' || (*p >= '\t' && *p <= '\r'))) p++;
        first = true;
    }
}

HYBRID_API hybrid_result hybrid_tokenize(const hybrid_tokenizer *tokenizer, const char *text, size_t size, unsigned flags,
                                         int32_t *ids, size_t capacity, size_t *n, hybrid_error *error)
{
    const hybrid_tokenizer *t = tokenizer;
    hybrid__tokenize_job job;
    hybrid__cached_word few[64];
    size_t words = HYBRID__COUNT(few);
    if (!t || (!text && size) || (!ids && capacity) || !n) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenize: tokenizer, text, ids or n is NULL");
    *n = 0;
    if (!text) text = "";
    memset(&job, 0, sizeof job);
    job.t = t;
    job.ids = ids;
    job.capacity = capacity;
    job.last = -1;
    job.end = (const uint8_t *)text + size;
    job.cache = few;
    if (size > 2048) {
        while (words < 32768 && words < size / 16) words *= 2;
        if (!(job.cache = (hybrid__cached_word *)hybrid__alloc(t->rt, words * sizeof *job.cache))) return hybrid__fail_memory(error, words * sizeof *job.cache);
    }
    memset(job.cache, 0, words * sizeof *job.cache);
    job.cache_mask = words - 1;
    if (flags & HYBRID_TOKENIZE_ADD_SPECIAL && t->add_bos && t->roles[HYBRID_ROLE_BOS] >= 0) hybrid__emit_token(&job, t->roles[HYBRID_ROLE_BOS]);
    hybrid__tokenize_text(&job, (const uint8_t *)text, (const uint8_t *)text + size, flags);
    if (flags & HYBRID_TOKENIZE_ADD_SPECIAL && t->add_eos && t->roles[HYBRID_ROLE_EOS] >= 0) hybrid__emit_token(&job, t->roles[HYBRID_ROLE_EOS]);
    if (job.cache != few) hybrid__free(t->rt, job.cache);
    if (job.out_of_memory) return hybrid__fail(error, HYBRID_ERROR_MEMORY, "out of memory while tokenizing %llu bytes", (unsigned long long)size);
    *n = job.n;
    if (job.n > capacity) return hybrid__fail(error, HYBRID_ERROR_LIMIT, "the text has %llu tokens, there is room for %llu", (unsigned long long)job.n, (unsigned long long)capacity);
    return HYBRID_OK;
}

/* ---- ids to text ---- */

HYBRID_API hybrid_string hybrid_token_bytes(const hybrid_tokenizer *tokenizer, int32_t id)
{
    hybrid_string s = { NULL, 0 };
    if (!tokenizer || id < 0 || (size_t)id >= tokenizer->n_tokens) return s;
    s.data = (const char *)tokenizer->bytes + tokenizer->offsets[id];
    s.size = tokenizer->offsets[id + 1] - tokenizer->offsets[id];
    return s;
}

HYBRID_API hybrid_token_type hybrid_token_kind(const hybrid_tokenizer *tokenizer, int32_t id)
{
    if (!tokenizer || id < 0 || (size_t)id >= tokenizer->n_tokens) return HYBRID_TOKEN_UNUSED;
    return (hybrid_token_type)hybrid__token_type(tokenizer, id);
}

HYBRID_API hybrid_result hybrid_detokenize(const hybrid_tokenizer *tokenizer, const int32_t *ids, size_t n_ids, unsigned flags,
                                           char *text, size_t capacity, size_t *size, hybrid_error *error)
{
    size_t i, n = 0;
    bool space = tokenizer && tokenizer->add_space;      /* the one that tokenizing put before the first word */
    if (!tokenizer || (!ids && n_ids) || (!text && capacity) || !size) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_detokenize: tokenizer, ids, text or size is NULL");
    *size = 0;
    for (i = 0; i < n_ids; i++) {
        hybrid_token_type type = hybrid_token_kind(tokenizer, ids[i]);
        hybrid_string s = hybrid_token_bytes(tokenizer, ids[i]);
        if (ids[i] < 0) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_detokenize: ids[%llu] is %ld", (unsigned long long)i, (long)ids[i]);
        if ((type == HYBRID_TOKEN_CONTROL || type == HYBRID_TOKEN_UNKNOWN) && !(flags & HYBRID_DETOKENIZE_SPECIAL)) continue;
        if (space && s.size) {
            space = false;
            if (*s.data == ' ') { s.data++; s.size--; }
        }
        if (s.size && n < capacity) memcpy(text + n, s.data, HYBRID__MIN(s.size, capacity - n));
        n += s.size;
    }
    *size = n;
    if (n > capacity) return hybrid__fail(error, HYBRID_ERROR_LIMIT, "the text has %llu bytes, there is room for %llu", (unsigned long long)n, (unsigned long long)capacity);
    return HYBRID_OK;
}

/* ---- questions ---- */

HYBRID_API bool hybrid_token_is_end(const hybrid_tokenizer *tokenizer, int32_t id)
{
    return tokenizer && id >= 0 && (size_t)id < tokenizer->n_tokens && (tokenizer->kinds[id] & HYBRID__TOKEN_END);
}

HYBRID_API int32_t hybrid_token_role_id(const hybrid_tokenizer *tokenizer, hybrid_token_role role)
{
    return tokenizer && (unsigned)role < HYBRID_ROLE_COUNT_ ? tokenizer->roles[role] : -1;
}

HYBRID_API int32_t hybrid_token_find(const hybrid_tokenizer *tokenizer, const char *bytes, size_t size)
{
    int32_t id;
    if (!tokenizer || !bytes || !size) return -1;
    id = hybrid__vocab_find(tokenizer, (const uint8_t *)bytes, size);
    return id < 0 && size == 1 ? tokenizer->byte_ids[(uint8_t)*bytes] : id;
}

HYBRID_API size_t hybrid_vocab_size(const hybrid_tokenizer *tokenizer) { return tokenizer ? tokenizer->n_tokens : 0; }
HYBRID_API bool hybrid_tokenizer_adds_bos(const hybrid_tokenizer *tokenizer) { return tokenizer && tokenizer->add_bos && tokenizer->roles[HYBRID_ROLE_BOS] >= 0; }
HYBRID_API bool hybrid_tokenizer_adds_eos(const hybrid_tokenizer *tokenizer) { return tokenizer && tokenizer->add_eos && tokenizer->roles[HYBRID_ROLE_EOS] >= 0; }
/* ==== end src/text/tokenizer.c ==== */

/* ==== begin src/text/tokenizer_gguf.c ==== */
/* text/tokenizer_gguf: the tokenizer that a model file carries, in the keys tokenizer.ggml.*. */

static bool hybrid__vocab_gguf_flag(const hybrid_gguf *g, const char *key, bool value)
{
    int64_t v;
    return hybrid_gguf_get_i64(g, key, &v) ? v != 0 : value;
}

static bool hybrid__string_is(hybrid_string s, const char *text) { return s.size == strlen(text) && (!s.size || !memcmp(s.data, text, s.size)); }

typedef struct hybrid__role_key {
    const char       *key;
    hybrid_token_role role;
} hybrid__role_key;

/* Ids of special tokens; one that is no token (files write -1 as unsigned) leaves what was there. */
static void hybrid__vocab_gguf_roles(const hybrid_gguf *g, size_t n_tokens, int32_t roles[HYBRID_ROLE_COUNT_])
{
    static const hybrid__role_key keys[] = {
        { "tokenizer.ggml.prefix_token_id", HYBRID_ROLE_FIM_PREFIX },    /* the older names first: the newer ones count */
        { "tokenizer.ggml.suffix_token_id", HYBRID_ROLE_FIM_SUFFIX },
        { "tokenizer.ggml.middle_token_id", HYBRID_ROLE_FIM_MIDDLE },
        { "tokenizer.ggml.bos_token_id", HYBRID_ROLE_BOS },
        { "tokenizer.ggml.eos_token_id", HYBRID_ROLE_EOS },
        { "tokenizer.ggml.eot_token_id", HYBRID_ROLE_EOT },
        { "tokenizer.ggml.eom_token_id", HYBRID_ROLE_EOM },
        { "tokenizer.ggml.unknown_token_id", HYBRID_ROLE_UNKNOWN },
        { "tokenizer.ggml.seperator_token_id", HYBRID_ROLE_SEPARATOR },  /* spelled so in the format */
        { "tokenizer.ggml.padding_token_id", HYBRID_ROLE_PADDING },
        { "tokenizer.ggml.mask_token_id", HYBRID_ROLE_MASK },
        { "tokenizer.ggml.fim_pre_token_id", HYBRID_ROLE_FIM_PREFIX },
        { "tokenizer.ggml.fim_suf_token_id", HYBRID_ROLE_FIM_SUFFIX },
        { "tokenizer.ggml.fim_mid_token_id", HYBRID_ROLE_FIM_MIDDLE },
        { "tokenizer.ggml.fim_pad_token_id", HYBRID_ROLE_FIM_PAD },
        { "tokenizer.ggml.fim_rep_token_id", HYBRID_ROLE_FIM_REPO },
        { "tokenizer.ggml.fim_sep_token_id", HYBRID_ROLE_FIM_SEPARATOR }
    };
    size_t i;
    int64_t id;
    for (i = 0; i < HYBRID__COUNT(keys); i++)
        if (hybrid_gguf_get_i64(g, keys[i].key, &id) && id >= 0 && (uint64_t)id < n_tokens) roles[keys[i].role] = (int32_t)id;
}

static hybrid_result hybrid__vocab_gguf_model(const hybrid_gguf *g, hybrid__vocab_source *source, hybrid_error *error)
{
    hybrid_string model = { NULL, 0 }, pre = { NULL, 0 }, architecture = { NULL, 0 };
    int i;
    if (!hybrid_gguf_get_string(g, "tokenizer.ggml.model", &model)) return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "the file has no key tokenizer.ggml.model: it carries no vocabulary");
    hybrid_gguf_get_string(g, "tokenizer.ggml.pre", &pre);
    hybrid_gguf_get_string(g, "general.architecture", &architecture);
    for (i = 0; i < HYBRID_ROLE_COUNT_; i++) source->roles[i] = -1;
    if (hybrid__string_is(model, "llama")) {
        source->spm = source->add_bos = source->add_space = true;
        source->strip_right = hybrid__string_is(architecture, "phi3");
        source->roles[HYBRID_ROLE_UNKNOWN] = 0;
        source->roles[HYBRID_ROLE_BOS] = 1;
        source->roles[HYBRID_ROLE_EOS] = 2;
        return HYBRID_OK;
    }
    if (!hybrid__string_is(model, "gpt2"))
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "tokenizer.ggml.model is \"%.*s\"; hybrid has gpt2 (byte-level BPE) and llama (SentencePiece BPE)",
                            (int)HYBRID__MIN(model.size, 32), model.data);
    if (!(source->pre = hybrid__find_pretokenizer(pre.data, pre.size)))
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "tokenizer.ggml.pre is \"%.*s\", which is not known to this version of hybrid", (int)HYBRID__MIN(pre.size, 32), pre.data);
    source->add_bos = source->pre->add_bos;
    return HYBRID_OK;
}

/* Tables of the file; *types (n_tokens) is allocated. Everything must be as long as the list of tokens. */
static hybrid_result hybrid__vocab_gguf_tables(const hybrid_gguf *g, hybrid_runtime *rt, hybrid__vocab_source *source, hybrid_gguf_value *tokens,
                                         hybrid_gguf_value *merges, uint8_t **types, hybrid_error *error)
{
    hybrid_gguf_value v;
    size_t i;
    if (!hybrid_gguf_find(g, "tokenizer.ggml.tokens", tokens)) return hybrid__fail(error, HYBRID_ERROR_NOT_FOUND, "the file has no key tokenizer.ggml.tokens: it carries no vocabulary");
    if (tokens->type != HYBRID_GGUF_ARRAY || tokens->item_type != HYBRID_GGUF_STRING || !tokens->count || tokens->count > INT32_MAX / 2)
        return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.tokens is not a list of strings");
    source->tokens.array = tokens;
    source->tokens.count = (size_t)tokens->count;
    if (hybrid_gguf_find(g, "tokenizer.ggml.scores", &v)) {
        if (v.item_type != HYBRID_GGUF_F32 || v.count != tokens->count) return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.scores is not one f32 for each token");
        source->scores = v.data;
    }
    if (hybrid_gguf_find(g, "tokenizer.ggml.token_type", &v)) {
        if (v.count != tokens->count) return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.token_type has %llu items, there are %llu tokens",
                                                          (unsigned long long)v.count, (unsigned long long)tokens->count);
        if (!(*types = (uint8_t *)hybrid__alloc(rt, source->tokens.count))) return hybrid__fail_memory(error, source->tokens.count);
        for (i = 0; i < source->tokens.count; i++) {
            int64_t type = hybrid_gguf_item_i64(&v, i);
            (*types)[i] = (uint8_t)(type >= 1 && type <= 6 ? type : (int64_t)HYBRID_TOKEN_UNUSED);
        }
        source->types = *types;
    }
    if (source->spm) return HYBRID_OK;
    if (!hybrid_gguf_find(g, "tokenizer.ggml.merges", merges) || merges->type != HYBRID_GGUF_ARRAY || (merges->item_type != HYBRID_GGUF_STRING && merges->count))
        return hybrid__fail(error, HYBRID_ERROR_FORMAT, "tokenizer.ggml.merges is not there or not a list of strings");
    source->merges.array = merges;
    source->merges.count = merges->count > INT32_MAX / 2 ? INT32_MAX : (size_t)merges->count;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_tokenizer_from_gguf(hybrid_runtime *runtime, const hybrid_gguf *gguf, hybrid_tokenizer **tokenizer, hybrid_error *error)
{
    hybrid__vocab_source source;
    hybrid_gguf_value tokens, merges;
    uint8_t *types = NULL;
    hybrid_runtime *rt;
    hybrid_result r;
    if (!tokenizer) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_from_gguf: tokenizer is NULL");
    *tokenizer = NULL;
    if (!gguf) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_tokenizer_from_gguf: gguf is NULL");
    memset(&source, 0, sizeof source);
    if ((r = hybrid__vocab_gguf_model(gguf, &source, error)) != HYBRID_OK) return r;
    if ((r = hybrid__runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if ((r = hybrid__vocab_gguf_tables(gguf, rt, &source, &tokens, &merges, &types, error)) == HYBRID_OK) {
        hybrid__vocab_gguf_roles(gguf, source.tokens.count, source.roles);
        source.add_bos = hybrid__vocab_gguf_flag(gguf, "tokenizer.ggml.add_bos_token", source.add_bos);
        source.add_eos = hybrid__vocab_gguf_flag(gguf, "tokenizer.ggml.add_eos_token", source.add_eos);
        source.add_space = source.spm && hybrid__vocab_gguf_flag(gguf, "tokenizer.ggml.add_space_prefix", source.add_space);
        r = hybrid__tokenizer_make(rt, &source, tokenizer, error);
    }
    hybrid__free(rt, types);
    hybrid__runtime_release(rt);
    return r;
}
/* ==== end src/text/tokenizer_gguf.c ==== */

/* ==== begin src/text/stop.c ==== */
/* text/stop: finds strings that end an answer in bytes that come in pieces. Every stop string is followed by its own automaton (Knuth,
 * Morris, Pratt): after each byte it knows how much of the string the text so far ends with, which is also what must be held back. */

struct hybrid_stop_matcher {
    hybrid_runtime *rt;
    size_t          n;
    uint8_t       **text;        /* n stop strings */
    uint32_t      **fail;        /* of each: for every length matched, the longest shorter beginning that it ends with */
    uint32_t       *size, *state;
    uint8_t        *held;        /* bytes not shown yet, and those of the last feed */
    size_t          n_held, n_shown, capacity;      /* n_shown: at the front of held, given to the caller by the last call */
    bool            stopped;
};

HYBRID_API void hybrid_stop_destroy(hybrid_stop_matcher *matcher)
{
    hybrid_runtime *rt;
    size_t i;
    if (!matcher) return;
    rt = matcher->rt;
    for (i = 0; i < matcher->n; i++) {
        if (matcher->text) hybrid__free(rt, matcher->text[i]);
        if (matcher->fail) hybrid__free(rt, matcher->fail[i]);
    }
    hybrid__free(rt, matcher->text);
    hybrid__free(rt, matcher->fail);
    hybrid__free(rt, matcher->size);
    hybrid__free(rt, matcher->state);
    hybrid__free(rt, matcher->held);
    hybrid__free(rt, matcher);
    hybrid__runtime_release(rt);
}

static bool hybrid__stop_add(hybrid_stop_matcher *m, size_t i, hybrid_string stop)
{
    uint32_t k = 0, *fail;
    size_t at;
    m->text[i] = (uint8_t *)hybrid__alloc(m->rt, stop.size);
    fail = m->fail[i] = (uint32_t *)hybrid__calloc(m->rt, stop.size + 1, sizeof *fail);
    if (!m->text[i] || !fail) return false;
    memcpy(m->text[i], stop.data, stop.size);
    m->size[i] = (uint32_t)stop.size;
    for (at = 1; at < stop.size; at++) {
        while (k && m->text[i][k] != m->text[i][at]) k = fail[k];
        if (m->text[i][k] == m->text[i][at]) k++;
        fail[at + 1] = k;
    }
    return true;
}

HYBRID_API hybrid_result hybrid_stop_create(hybrid_runtime *runtime, const hybrid_string *stops, size_t n_stops, hybrid_stop_matcher **matcher, hybrid_error *error)
{
    hybrid_runtime *rt;
    hybrid_stop_matcher *m;
    hybrid_result r;
    size_t i;
    bool ok;
    if (!matcher) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: matcher is NULL");
    *matcher = NULL;
    if (n_stops && !stops) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: stops is NULL");
    for (i = 0; i < n_stops; i++)
        if (!stops[i].size || !stops[i].data || stops[i].size > 65536)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_create: stop string %llu has %llu bytes, must be 1..65536", (unsigned long long)i, (unsigned long long)stops[i].size);
    if ((r = hybrid__runtime_retain(runtime, &rt, error)) != HYBRID_OK) return r;
    if (!(m = (hybrid_stop_matcher *)hybrid__calloc(rt, 1, sizeof *m))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof *m);
    }
    m->rt = rt;
    m->n = n_stops;
    m->text = (uint8_t **)hybrid__calloc(rt, n_stops, sizeof *m->text);
    m->fail = (uint32_t **)hybrid__calloc(rt, n_stops, sizeof *m->fail);
    m->size = (uint32_t *)hybrid__calloc(rt, n_stops, sizeof *m->size);
    m->state = (uint32_t *)hybrid__calloc(rt, n_stops, sizeof *m->state);
    ok = m->text && m->fail && m->size && m->state;
    for (i = 0; ok && i < n_stops; i++) ok = hybrid__stop_add(m, i, stops[i]);
    if (!ok) {
        hybrid_stop_destroy(m);
        return hybrid__fail(error, HYBRID_ERROR_MEMORY, "out of memory for %llu stop strings", (unsigned long long)n_stops);
    }
    *matcher = m;
    return HYBRID_OK;
}

/* Forgets what the last call gave to the caller. */
static void hybrid__stop_forget(hybrid_stop_matcher *m)
{
    m->n_held -= m->n_shown;
    if (m->n_held) memmove(m->held, m->held + m->n_shown, m->n_held);
    m->n_shown = 0;
}

/* One byte: the longest stop string that is complete with it, or -1; *keep: bytes from the end that may still become one. */
static int hybrid__stop_step(hybrid_stop_matcher *m, uint8_t byte, size_t *keep)
{
    int found = -1;
    size_t i;
    *keep = 0;
    for (i = 0; i < m->n; i++) {
        uint32_t k = m->state[i];
        while (k && m->text[i][k] != byte) k = m->fail[i][k];
        if (m->text[i][k] == byte) k++;
        m->state[i] = k;
        if (k == m->size[i] && (found < 0 || k > m->size[found])) found = (int)i;
        *keep = HYBRID__MAX(*keep, k);
    }
    return found;
}

HYBRID_API hybrid_result hybrid_stop_feed(hybrid_stop_matcher *matcher, const void *bytes, size_t size, hybrid_string *safe, int *which, hybrid_error *error)
{
    hybrid_stop_matcher *m = matcher;
    const uint8_t *p = (const uint8_t *)bytes;
    size_t i, keep = 0, need;
    int found = -1;
    if (!m || (!bytes && size) || !safe || !which) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_stop_feed: matcher, bytes, safe or which is NULL");
    safe->data = NULL;
    safe->size = 0;
    *which = -1;
    hybrid__stop_forget(m);
    if (m->stopped) return HYBRID_OK;
    if (!hybrid__add_size(m->n_held, size, &need)) return hybrid__fail(error, HYBRID_ERROR_LIMIT, "hybrid_stop_feed: too many bytes");
    if (need > m->capacity) {
        size_t capacity = HYBRID__MAX(need, HYBRID__MAX(2 * m->capacity, 256));
        uint8_t *held = (uint8_t *)hybrid__realloc(m->rt, m->held, m->capacity, capacity);
        if (!held) return hybrid__fail_memory(error, capacity);
        m->held = held;
        m->capacity = capacity;
    }
    for (i = 0; i < size && found < 0; i++) {
        m->held[m->n_held++] = p[i];
        found = hybrid__stop_step(m, p[i], &keep);
    }
    if (!size) for (i = 0; i < m->n; i++) keep = HYBRID__MAX(keep, m->state[i]);
    if (found >= 0) { keep = m->size[found]; m->stopped = true; }
    safe->data = (const char *)m->held;
    safe->size = m->n_shown = m->n_held - keep;
    *which = found;
    if (m->stopped) m->n_held = m->n_shown;              /* the stop string itself is never shown */
    return HYBRID_OK;
}

HYBRID_API hybrid_string hybrid_stop_flush(hybrid_stop_matcher *matcher)
{
    hybrid_string s = { NULL, 0 };
    size_t i;
    if (!matcher) return s;
    hybrid__stop_forget(matcher);
    s.data = (const char *)matcher->held;
    s.size = matcher->n_shown = matcher->n_held;
    for (i = 0; i < matcher->n; i++) matcher->state[i] = 0;
    return s;
}

HYBRID_API void hybrid_stop_reset(hybrid_stop_matcher *matcher)
{
    size_t i;
    if (!matcher) return;
    matcher->n_held = matcher->n_shown = 0;
    matcher->stopped = false;
    for (i = 0; i < matcher->n; i++) matcher->state[i] = 0;
}
/* ==== end src/text/stop.c ==== */

/* compute */

/* ==== begin src/compute/backend.c ==== */
/* compute/backend: the seam between models and devices: tensors, and one table of operations that every back end fills.
 *
 * Activations are float32 rows, contiguous inside a row, rows `stride` floats apart. Weights are tensors in the type of their file.
 * Calls are imperative and in order. A back end may defer them: results may be read after sync(). */

typedef struct hybrid__tensor {
    const char *name;
    hybrid_type type;
    int64_t     ne[4];                  /* sizes; ne[0] is contiguous. A matrix W[out][in] has ne = { in, out, 1, 1 } */
    size_t      nb[4];                  /* byte strides; nb[1] = bytes of a row */
    const void *data;                   /* NULL: no such tensor */
} hybrid__tensor;

typedef struct hybrid__backend hybrid__backend;

/* out (n, n_embd) = table[ids] * scale (+ out, when add) */
typedef struct hybrid__op_embed {
    const hybrid__tensor *table;        /* (n_embd, n_vocab), any type */
    const int32_t *ids;                 /* n, each checked by the caller */
    int    n;
    float  scale;                       /* 1 for none */
    bool   add;
    float *out;
} hybrid__op_embed;

/* RMS:   out = x / sqrt(mean(x^2) + eps) * w          Layer: out = (x - mean) / sqrt(var + eps) * w + b   (var is biased)
 * n_rows rows of n values. w, b may be NULL (1 and 0). out may be x. */
typedef enum hybrid__norm_kind { HYBRID__NORM_RMS, HYBRID__NORM_LAYER } hybrid__norm_kind;
typedef struct hybrid__op_norm {
    hybrid__norm_kind kind;
    const float *x; int64_t x_stride;
    float *out; int64_t out_stride;
    const float *w, *b;
    int64_t n_rows, n;
    float   eps;
} hybrid__op_norm;

/* Up to 4 matrices that read the same rows: y_i (n, out_i) = x (n, k) . W_i (out_i, k)^T + bias_i, or y_i += that. */
typedef struct hybrid__matmul_out {
    const hybrid__tensor *w;            /* ne[0] = k, ne[1] = out */
    const float *bias;                  /* out values, or NULL */
    float  *y; int64_t y_stride;
    bool    add;                        /* y += instead of y = */
} hybrid__matmul_out;
typedef struct hybrid__op_matmul {
    const float *x; int64_t x_stride;
    int n;
    int n_out;
    hybrid__matmul_out out[4];
} hybrid__op_matmul;

/* Rotates the first n_rot values of each head: NORM pairs (2i, 2i+1), NEOX pairs (i, i + n_rot/2). table (n, n_rot/2, 2) holds cos and sin
 * of every row's position. In place. */
typedef enum hybrid__rope_kind { HYBRID__ROPE_NORM, HYBRID__ROPE_NEOX } hybrid__rope_kind;
typedef struct hybrid__op_rope {
    hybrid__rope_kind kind;
    float *x; int64_t x_stride;
    int    n, n_head, head_dim, n_rot;
    const float *table;
} hybrid__op_rope;

/* Consecutive rows of a batch that belong to one sequence at consecutive positions. */
typedef struct hybrid__run {
    int      first_row, n_rows;
    int32_t  pos;                       /* position of the first row */
    const int32_t *pages;               /* page table of the sequence: position p lives in page pages[p / HYBRID__PAGE] */
} hybrid__run;
enum { HYBRID__PAGE = 32 };             /* positions a page of the KV cache */

/* One layer's cache. K: page p, kv head h, slot s, at k + p * page_bytes_k + (h * HYBRID__PAGE + s) * row_bytes_k; V alike. A row is
 * head_dim values of `type` (F16, Q8_0, F32; Q8_0 needs head_dim % 32 == 0). */
typedef struct hybrid__kv_view {
    hybrid_type type;
    char   *k, *v;
    size_t  page_bytes_k, page_bytes_v, row_bytes_k, row_bytes_v;
    int     n_head_kv, head_dim_k, head_dim_v;
} hybrid__kv_view;

/* Writes the k and v rows of a batch into the cache. */
typedef struct hybrid__op_kv_store {
    const hybrid__kv_view *kv;
    const float *k; int64_t k_stride;
    const float *v; int64_t v_stride;
    const hybrid__run *runs; int n_runs;
} hybrid__op_kv_store;

/* out (n, n_head * head_dim_v): causal attention of each row over its sequence's cache (its own position included, already stored).
 * s = q.k * scale; soft-cap: s = cap * tanh(s / cap); window > 0: only positions > pos - window; sinks (n_head): exp(sink - max) joins the
 * denominator. Query head h reads kv head h / (n_head / n_head_kv). */
typedef struct hybrid__op_attention {
    const hybrid__kv_view *kv;
    const float *q; int64_t q_stride;
    float *out; int64_t out_stride;
    const hybrid__run *runs; int n_runs;
    int    n_head;
    float  scale, softcap;              /* softcap 0: none */
    int32_t window;
    const float *sinks;
} hybrid__op_attention;

/* out = act(gate) * up, or act(gate) when up is NULL. n_rows rows of n values. out may be gate or up. */
typedef enum hybrid__act_kind { HYBRID__ACT_SILU, HYBRID__ACT_GELU_TANH, HYBRID__ACT_GELU } hybrid__act_kind;
typedef struct hybrid__op_glu {
    hybrid__act_kind act;
    const float *gate; int64_t gate_stride;
    const float *up; int64_t up_stride;
    float *out; int64_t out_stride;
    int64_t n_rows, n;
} hybrid__op_glu;

typedef struct hybrid__backend_ops {
    const char *name;
    void (*embed)(hybrid__backend *be, const hybrid__op_embed *op);
    void (*norm)(hybrid__backend *be, const hybrid__op_norm *op);
    void (*matmul)(hybrid__backend *be, const hybrid__op_matmul *op);
    void (*rope)(hybrid__backend *be, const hybrid__op_rope *op);
    void (*kv_store)(hybrid__backend *be, const hybrid__op_kv_store *op);
    void (*attention)(hybrid__backend *be, const hybrid__op_attention *op);
    void (*glu)(hybrid__backend *be, const hybrid__op_glu *op);
    void (*add)(hybrid__backend *be, float *y, const float *x, int64_t n);                      /* y += x */
    void (*scale)(hybrid__backend *be, float *y, float factor, int64_t n);                      /* y *= factor */
    void (*softcap)(hybrid__backend *be, float *y, float cap, int64_t n);                       /* y = cap * tanh(y / cap) */
    hybrid_result (*sync)(hybrid__backend *be, hybrid_error *error);
    void (*destroy)(hybrid__backend *be);
} hybrid__backend_ops;

struct hybrid__backend {
    const hybrid__backend_ops *ops;
    hybrid_runtime *rt;
};
/* ==== end src/compute/backend.c ==== */

/* ==== begin src/compute/target.c ==== */
/* compute/target: the marks of functions that use instructions beyond the compiler's flags. A function with intrinsics carries one, and so
 * does every helper that is inlined into it. */

#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__TARGET_AVX2   __attribute__((target("avx2,fma,f16c")))
    #define HYBRID__TARGET_AVX512 __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
    #define HYBRID__TARGET_AMX    __attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")))
#else
    #define HYBRID__TARGET_AVX2
    #define HYBRID__TARGET_AVX512
    #define HYBRID__TARGET_AMX
#endif
/* ==== end src/compute/target.c ==== */

/* ==== begin src/compute/trig.c ==== */
/* compute/trig: sine and cosine in double, for tables of rotations: the same bits on every machine, whatever its libm. */

/* |error| < 2^-51 for |x| < 2^26 (ten million radians: position times frequency); it grows with |x| beyond. NaN and inf give NaN. */
static void hybrid__sincos(double x, double *sine, double *cosine)
{
    /* pi / 2 in three parts; n times the first two is exact for n < 2^23 */
    static const double part1 = 1.57079632580280303955078125, part2 = 9.920935791635221e-10, part3 = 5.170182981794105e-19;
    static const double s[8] = { -1.0 / 6, 1.0 / 120, -1.0 / 5040, 1.0 / 362880, -1.0 / 39916800, 1.0 / 6227020800.0, -1.0 / 1307674368000.0, 1.0 / 355687428096000.0 };
    static const double c[8] = { 1.0 / 24, -1.0 / 720, 1.0 / 40320, -1.0 / 3628800, 1.0 / 479001600, -1.0 / 87178291200.0, 1.0 / 20922789888000.0, -1.0 / 6402373705728000.0 };
    double t = x * 0.63661977236758134308 + 6755399441055744.0;      /* 1.5 * 2^52: rounds to the nearest quarter turn, kept in the low bits */
    double n = t - 6755399441055744.0, r = ((x - n * part1) - n * part2) - n * part3, z = r * r, ps = s[7], pc = c[7];
    uint64_t quadrant;
    int i;
    memcpy(&quadrant, &t, 8);
    for (i = 6; i >= 0; i--) { ps = ps * z + s[i]; pc = pc * z + c[i]; }
    ps = r + r * z * ps;
    pc = (1 - z / 2) + z * z * pc;
    *sine   = quadrant & 1 ? pc : ps;
    *cosine = quadrant & 1 ? ps : pc;
    if (quadrant & 2) *sine = -*sine;
    if ((quadrant + 1) & 2) *cosine = -*cosine;
}
/* ==== end src/compute/trig.c ==== */

/* ==== begin src/compute/cpu_kernels.c ==== */
/* compute/cpu_kernels: what the CPU back end needs of an instruction set besides matrix products: one table of row functions, in the order of
 * NUMERICS.md. cpu_generic.c fills it in scalar C and is the reference; every other table gives the same bits. */

/* Before a loop of known, small length over an array of vectors: without it gcc -O2 leaves the array in memory. */
#if defined(__clang__)
    #define HYBRID__UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
    #define HYBRID__UNROLL _Pragma("GCC unroll 16")
#else
    #define HYBRID__UNROLL
#endif

typedef struct hybrid__cpu_kernels {
    void (*norm)(const hybrid__op_norm *op, int64_t row);
    void (*rope)(const hybrid__op_rope *op, int row);
    void (*glu)(hybrid__act_kind act, const float *gate, const float *up, float *out, int64_t n);      /* up may be NULL, out may be either */
    void (*add)(float *y, const float *x, int64_t n);
    void (*add_scaled)(float *y, const float *x, float factor, int64_t n);                             /* y += x * factor, each rounded */
    void (*scale)(float *y, float factor, int64_t n);
    void (*softcap)(float *y, float cap, int64_t n);
    void (*kv_row)(hybrid_type type, const float *x, void *row, int n);                                /* one head's row, to the cache's type */
    /* Rows row0 .. row0 + n_rows of a run, query heads head0 .. head0 + n_heads of one kv head; n_rows * n_heads <= HYBRID__ATTENTION_QUERIES.
     * scratch: hybrid__attention_bytes, aligned to 64. */
    void (*attention)(const hybrid__op_attention *op, const hybrid__run *run, int row0, int n_rows, int head0, int n_heads, void *scratch);
} hybrid__cpu_kernels;

enum { HYBRID__ATTENTION_QUERIES = 64 };

/* Where attention keeps what it works on, for one lane. Rows are padded with zeros to a multiple of 32 values. */
typedef struct hybrid__attention_scratch {
    float *page_k, *page_k_t, *page_v;     /* a page as floats: K (32, dim_k), K transposed (dim_k, 32), V (32, dim_v) */
    float *q, *e, *acc;                    /* each query's row (dim_k), its scores of a page (32), its running sum of V (dim_v) */
    float *m, *l, *c;                      /* each query's running maximum and sum, and the factor that the new page puts on what came before */
    int    dim_k, dim_v;                   /* padded */
} hybrid__attention_scratch;

/* Lays it out in memory (NULL: only counts) and returns its bytes. */
static size_t hybrid__attention_layout(hybrid__attention_scratch *s, float *memory, int head_dim_k, int head_dim_v)
{
    size_t k = hybrid__align((size_t)head_dim_k, 32), v = hybrid__align((size_t)head_dim_v, 32), n = HYBRID__ATTENTION_QUERIES, page = HYBRID__PAGE, at = 0;
    s->dim_k = (int)k;
    s->dim_v = (int)v;
#define HYBRID__PLACE(name, count) s->name = memory ? memory + at : NULL; at += (count)
    HYBRID__PLACE(page_k, page * k); HYBRID__PLACE(page_k_t, page * k); HYBRID__PLACE(page_v, page * v);
    HYBRID__PLACE(q, n * k); HYBRID__PLACE(e, n * page); HYBRID__PLACE(acc, n * v);
    HYBRID__PLACE(m, n); HYBRID__PLACE(l, n); HYBRID__PLACE(c, n);
#undef HYBRID__PLACE
    return at * sizeof(float);
}
static size_t hybrid__attention_bytes(int head_dim_k, int head_dim_v)
{
    hybrid__attention_scratch s;
    return hybrid__attention_layout(&s, NULL, head_dim_k, head_dim_v);
}

/* The first position that a row at position pos may see. */
HYBRID__INLINE int32_t hybrid__attention_first(const hybrid__op_attention *op, int32_t pos)
{
    return op->window > 0 && pos >= op->window ? pos - op->window + 1 : 0;
}

HYBRID__INLINE const char *hybrid__k_row(const hybrid__kv_view *kv, int32_t page, int head, int slot)
{
    return kv->k + (size_t)page * kv->page_bytes_k + ((size_t)head * HYBRID__PAGE + (size_t)slot) * kv->row_bytes_k;
}
HYBRID__INLINE const char *hybrid__v_row(const hybrid__kv_view *kv, int32_t page, int head, int slot)
{
    return kv->v + (size_t)page * kv->page_bytes_v + ((size_t)head * HYBRID__PAGE + (size_t)slot) * kv->row_bytes_v;
}
/* ==== end src/compute/cpu_kernels.c ==== */

/* ==== begin src/compute/cpu_generic.c ==== */
/* compute/cpu_generic: every row function in scalar C: the statement of NUMERICS.md that the fast ones are compared with, bit by bit. */

/* ==== begin src/compute/cpu_vec_scalar.inc ==== */
/* compute/cpu_vec_scalar: the vector macros (cpu_vec_avx2.inc says what each means) on one float: the reference of the others. */
#define HYBRID__V                  float
#define HYBRID__V_MASK             bool
#define HYBRID__V_N                1
#define HYBRID__V_FN(name)         hybrid__##name##_scalar
#define HYBRID__V_TARGET

#define HYBRID__V_SET1(x)          (x)
#define HYBRID__V_ADD(a, b)        ((a) + (b))
#define HYBRID__V_SUB(a, b)        ((a) - (b))
#define HYBRID__V_MUL(a, b)        ((a) * (b))
#define HYBRID__V_DIV(a, b)        ((a) / (b))
#define HYBRID__V_FMA(a, b, c)     fmaf(a, b, c)
#define HYBRID__V_MAX(a, b)        hybrid__max_scalar(a, b)
#define HYBRID__V_MIN(a, b)        hybrid__min_scalar(a, b)
#define HYBRID__V_LESS(a, b)       ((a) < (b))
#define HYBRID__V_SELECT(m, a, b)  ((m) ? (a) : (b))
#define HYBRID__V_ABS(a)           hybrid__bits_f32(hybrid__f32_bits(a) & 0x7FFFFFFFu)
#define HYBRID__V_NEG(a)           hybrid__bits_f32(hybrid__f32_bits(a) ^ 0x80000000u)
#define HYBRID__V_COPYSIGN(a, s)   hybrid__bits_f32(hybrid__f32_bits(a) | (hybrid__f32_bits(s) & 0x80000000u))
#define HYBRID__V_LDEXP(p, t)      hybrid__v_ldexp_scalar(p, t)

HYBRID__INLINE float hybrid__max_scalar(float a, float b) { return a > b ? a : b; }
HYBRID__INLINE float hybrid__min_scalar(float a, float b) { return a < b ? a : b; }

/* In two steps, because 2^n alone may not be a float where p * 2^n is one; only the second step can round. */
HYBRID__INLINE float hybrid__v_ldexp_scalar(float p, float t)
{
    uint32_t n = hybrid__f32_bits(t) - 0x4B400000u, half = (n >> 1) | (n & 0x80000000u);
    return p * hybrid__bits_f32((half + 127) << 23) * hybrid__bits_f32((n - half + 127) << 23);
}
/* ==== end src/compute/cpu_vec_scalar.inc ==== */

/* ==== begin src/compute/math.inc ==== */
/* compute/math: exp, tanh, silu, gelu and its tanh form. One text, stamped for each instruction set by the HYBRID__V_ macros; the same
 * operations in the same order everywhere, so the same bits. Errors against the true value are below 2 ulp over all floats whose result is
 * a normal number (tests/test_ops.c walks them). NaN gives NaN. The polynomials are minimax fits (relative error), coefficients rounded to float. */

/* e^x * (1 + low): low is the part of the argument that did not fit in x, |low| << 1.
 * x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 Q(r). Below -104 and above 89 the result is 0 and inf anyway. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(exp2part)(HYBRID__V x, HYBRID__V low)
{
    const HYBRID__V magic = HYBRID__V_SET1(12582912.0f);         /* 1.5 * 2^23: adding it rounds to an integer, kept in the low bits */
    HYBRID__V t, n, r, q;
    x = HYBRID__V_MIN(HYBRID__V_SET1(89.0f), HYBRID__V_MAX(HYBRID__V_SET1(-104.0f), x));        /* these pass a NaN on */
    t = HYBRID__V_FMA(x, HYBRID__V_SET1(1.44269504f), magic);
    n = HYBRID__V_SUB(t, magic);
    r = HYBRID__V_FMA(n, HYBRID__V_SET1(-0.693359375f), x);      /* 9 bits: n times it is exact */
    r = HYBRID__V_FMA(n, HYBRID__V_SET1(2.12194440e-4f), r);
    r = HYBRID__V_ADD(r, low);
    q = HYBRID__V_SET1(1.381431590e-3f);
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(8.368850686e-3f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(4.166840017e-2f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(1.666651964e-1f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(4.999999404e-1f));
    q = HYBRID__V_FMA(HYBRID__V_MUL(r, r), q, r);
    return HYBRID__V_LDEXP(HYBRID__V_ADD(q, HYBRID__V_SET1(1.0f)), t);
}

HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(exp)(HYBRID__V x) { return HYBRID__V_FN(exp2part)(x, HYBRID__V_SET1(0.0f)); }

/* Small: x + x^3 P(x^2). Else 1 - 2 / (e^2x + 1), with the sign of x. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(tanh)(HYBRID__V x)
{
    HYBRID__V a = HYBRID__V_ABS(x), z = HYBRID__V_MUL(a, a), p, e;
    p = HYBRID__V_SET1(-5.717041902e-3f);
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(2.065058425e-2f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(-5.374349654e-2f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(1.333149076e-1f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(-3.333328366e-1f));
    p = HYBRID__V_FMA(HYBRID__V_MUL(a, z), p, a);
    e = HYBRID__V_ADD(HYBRID__V_FN(exp)(HYBRID__V_ADD(a, a)), HYBRID__V_SET1(1.0f));
    e = HYBRID__V_SUB(HYBRID__V_SET1(1.0f), HYBRID__V_DIV(HYBRID__V_SET1(2.0f), e));
    return HYBRID__V_COPYSIGN(HYBRID__V_SELECT(HYBRID__V_LESS(a, HYBRID__V_SET1(0.625f)), p, e), x);
}

/* x / (1 + e^-w) for w = (w + low) of the sign of x: for w < 0 as x e^w / (1 + e^w), which neither overflows nor cancels. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(times_sigmoid)(HYBRID__V x, HYBRID__V w, HYBRID__V low)
{
    const HYBRID__V zero = HYBRID__V_SET1(0.0f);
    HYBRID__V_MASK negative = HYBRID__V_LESS(w, zero);
    HYBRID__V e = HYBRID__V_FN(exp2part)(HYBRID__V_NEG(HYBRID__V_ABS(w)), HYBRID__V_SELECT(negative, low, HYBRID__V_NEG(low)));
    HYBRID__V top = HYBRID__V_MUL(HYBRID__V_MAX(HYBRID__V_SET1(-3e38f), x), e);          /* -inf * 0 shall be 0 */
    return HYBRID__V_DIV(HYBRID__V_SELECT(negative, top, x), HYBRID__V_ADD(e, HYBRID__V_SET1(1.0f)));
}

HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(silu)(HYBRID__V x) { return HYBRID__V_FN(times_sigmoid)(x, x, HYBRID__V_SET1(0.0f)); }

/* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x sigmoid(w), w = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a.
 * For x < 0 an error of w is one of the result, |w| times enlarged: w is computed in two parts. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(gelu_tanh)(HYBRID__V x)
{
    const HYBRID__V a = HYBRID__V_SET1(1.59576917f), a_low = HYBRID__V_SET1(-4.53407e-8f), b = HYBRID__V_SET1(0.0713548139f), b_low = HYBRID__V_SET1(2.39883e-9f);
    HYBRID__V y = HYBRID__V_MIN(HYBRID__V_SET1(20.0f), HYBRID__V_MAX(HYBRID__V_SET1(-20.0f), x));  /* sigmoid is 0 or 1 beyond */
    HYBRID__V s = HYBRID__V_MUL(y, y), s_low = HYBRID__V_FMA(y, y, HYBRID__V_NEG(s));
    HYBRID__V p = HYBRID__V_MUL(b, s), p_low = HYBRID__V_FMA(b, s, HYBRID__V_NEG(p));
    HYBRID__V u = HYBRID__V_ADD(a, p), part = HYBRID__V_SUB(u, a), low, w;
    low = HYBRID__V_ADD(HYBRID__V_SUB(a, HYBRID__V_SUB(u, part)), HYBRID__V_SUB(p, part));         /* what a + p lost */
    p_low = HYBRID__V_FMA(b, s_low, HYBRID__V_FMA(b_low, s, p_low));
    low = HYBRID__V_ADD(low, HYBRID__V_ADD(p_low, a_low));
    w = HYBRID__V_MUL(y, u);
    low = HYBRID__V_FMA(y, low, HYBRID__V_FMA(y, u, HYBRID__V_NEG(w)));
    return HYBRID__V_FN(times_sigmoid)(x, w, low);
}

/* x Phi(x). Phi(-t) = e^(-t^2 / 2) R(t), t = |x|; R(t) = P(1 - 6 / (t + 3)) / (t + 3) for t in 0..14.6, where the result leaves the floats. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(gelu)(HYBRID__V x)
{
    const HYBRID__V one = HYBRID__V_SET1(1.0f);
    HYBRID__V t = HYBRID__V_MIN(HYBRID__V_SET1(14.6f), HYBRID__V_ABS(x)), s = HYBRID__V_MUL(t, t), s_low, inv, u, p, e;
    s_low = HYBRID__V_FMA(t, t, HYBRID__V_NEG(s));
    e = HYBRID__V_FN(exp2part)(HYBRID__V_MUL(HYBRID__V_SET1(-0.5f), s), HYBRID__V_MUL(HYBRID__V_SET1(-0.5f), s_low));
    inv = HYBRID__V_DIV(one, HYBRID__V_ADD(t, HYBRID__V_SET1(3.0f)));
    u = HYBRID__V_FMA(HYBRID__V_SET1(-6.0f), inv, one);
    p = HYBRID__V_SET1(5.446403884e-5f);
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(1.312734094e-4f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-2.447491279e-4f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-1.032536966e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(1.024776837e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(6.969304755e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-1.046251878e-2f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-4.726268724e-2f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(2.300177068e-1f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-5.093320012e-1f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(7.290837169e-1f));
    p = HYBRID__V_MUL(p, inv);
    s = HYBRID__V_MUL(HYBRID__V_MUL(HYBRID__V_MAX(HYBRID__V_SET1(-3e38f), x), p), e);
    return HYBRID__V_SELECT(HYBRID__V_LESS(x, HYBRID__V_SET1(0.0f)), s, HYBRID__V_FMA(HYBRID__V_NEG(HYBRID__V_MUL(p, e)), t, x));
}
/* ==== end src/compute/math.inc ==== */

/* ==== begin src/compute/cpu_vec_end.inc ==== */
/* compute/cpu_vec_end: forgets the vector macros, before the next instruction set defines its own. */
#undef HYBRID__V
#undef HYBRID__V_MASK
#undef HYBRID__V_N
#undef HYBRID__V_FN
#undef HYBRID__V_TARGET
#undef HYBRID__V_TILE
#undef HYBRID__V_COLUMNS
#undef HYBRID__V_SET1
#undef HYBRID__V_ADD
#undef HYBRID__V_SUB
#undef HYBRID__V_MUL
#undef HYBRID__V_DIV
#undef HYBRID__V_FMA
#undef HYBRID__V_MAX
#undef HYBRID__V_MIN
#undef HYBRID__V_LESS
#undef HYBRID__V_SELECT
#undef HYBRID__V_ABS
#undef HYBRID__V_NEG
#undef HYBRID__V_COPYSIGN
#undef HYBRID__V_LDEXP
#undef HYBRID__V_MAX_BITS
#undef HYBRID__V_LOAD
#undef HYBRID__V_STORE
#undef HYBRID__V_LOAD_N
#undef HYBRID__V_STORE_N
#undef HYBRID__V_FIRST
#undef HYBRID__V_LOAD_F16
#undef HYBRID__V_LOAD_BF16
#undef HYBRID__V_LOAD_I8
#undef HYBRID__V_STORE_F16
#undef HYBRID__V_STORE_I8
#undef HYBRID__V_HALVE
#undef HYBRID__V_TRANSPOSE
#undef HYBRID__V_PAIR_EVEN
#undef HYBRID__V_PAIR_ODD
#undef HYBRID__V_PAIR_SWAP
#undef HYBRID__V_NEG_EVEN
#undef HYBRID__V_EVENS
#undef HYBRID__V_ODDS
/* ==== end src/compute/cpu_vec_end.inc ==== */

/* Sums p[0..n) by halves; p is spoilt. */
HYBRID__INLINE float hybrid__halve(float *p, int n)
{
    int h, i;
    for (h = n / 2; h; h /= 2)
        for (i = 0; i < h; i++) p[i] = p[i] + p[i + h];
    return p[0];
}

/* ---- norms ---------------------------------------------------------------------------------------------------------- */

static float hybrid__sum_generic(const float *x, int64_t n)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < n; i++) p[i % 32] = p[i % 32] + x[i];
    return hybrid__halve(p, 32);
}

/* Sum of (x - mean)^2. */
static float hybrid__sum_squares_generic(const float *x, float mean, int64_t n)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < n; i++) p[i % 32] = fmaf(x[i] - mean, x[i] - mean, p[i % 32]);
    return hybrid__halve(p, 32);
}

static void hybrid__norm_generic(const hybrid__op_norm *op, int64_t row)
{
    const float *x = op->x + row * op->x_stride;
    float *out = op->out + row * op->out_stride;
    float mean = op->kind == HYBRID__NORM_LAYER ? hybrid__sum_generic(x, op->n) / (float)op->n : 0.0f;
    float scale = 1.0f / sqrtf(hybrid__sum_squares_generic(x, mean, op->n) / (float)op->n + op->eps);
    int64_t i;
    for (i = 0; i < op->n; i++) {
        float v = (x[i] - mean) * scale;
        if (op->w) v = v * op->w[i];
        if (op->b) v = v + op->b[i];
        out[i] = v;
    }
}

/* ---- element by element --------------------------------------------------------------------------------------------- */

static void hybrid__rope_generic(const hybrid__op_rope *op, int row)
{
    const float *table = op->table + (int64_t)row * op->n_rot;
    int h, i, half = op->n_rot / 2, step = op->kind == HYBRID__ROPE_NORM ? 2 : 1, pair = op->kind == HYBRID__ROPE_NORM ? 1 : half;
    for (h = 0; h < op->n_head; h++) {
        float *x = op->x + row * op->x_stride + (int64_t)h * op->head_dim;
        for (i = 0; i < half; i++) {
            float c = table[2 * i], s = table[2 * i + 1], a = x[i * step], b = x[i * step + pair];
            x[i * step] = a * c - b * s;
            x[i * step + pair] = a * s + b * c;
        }
    }
}

static void hybrid__glu_generic(hybrid__act_kind act, const float *gate, const float *up, float *out, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i++) {
        float g = gate[i], v;
        if (act == HYBRID__ACT_SILU) v = hybrid__silu_scalar(g);
        else if (act == HYBRID__ACT_GELU) v = hybrid__gelu_scalar(g);
        else v = hybrid__gelu_tanh_scalar(g);
        out[i] = up ? v * up[i] : v;
    }
}

static void hybrid__add_generic(float *y, const float *x, int64_t n) { int64_t i; for (i = 0; i < n; i++) y[i] = y[i] + x[i]; }
static void hybrid__add_scaled_generic(float *y, const float *x, float factor, int64_t n) { int64_t i; for (i = 0; i < n; i++) y[i] = y[i] + x[i] * factor; }
static void hybrid__scale_generic(float *y, float factor, int64_t n) { int64_t i; for (i = 0; i < n; i++) y[i] = y[i] * factor; }
static void hybrid__softcap_generic(float *y, float cap, int64_t n) { int64_t i; for (i = 0; i < n; i++) y[i] = cap * hybrid__tanh_scalar(y[i] / cap); }

/* ---- the cache ------------------------------------------------------------------------------------------------------ */

/* A block of Q8_0: d = max |x| / 127, q = x / d rounded to even. Not finite x: d is that, and every q is 0: reads as NaN. */
static void hybrid__kv_q8_0_generic(const float *x, hybrid__block_q8_0 *block)
{
    uint32_t most = 0;                                          /* as bits, where NaN is above inf, and no order of the maxima matters */
    float d, inverse;
    int i;
    for (i = 0; i < 32; i++) most = HYBRID__MAX(most, hybrid__f32_bits(x[i]) & 0x7FFFFFFFu);
    d = hybrid__bits_f32(most) / 127.0f;
    inverse = d != 0.0f ? 1.0f / d : 0.0f;
    block->d = hybrid__f32_to_f16(d);
    for (i = 0; i < 32; i++) {
        float t = most < 0x7F800000u ? x[i] * inverse + 12582912.0f : 12582912.0f;    /* 1.5 * 2^23: the sum rounds to an integer */
        block->qs[i] = (int8_t)(t - 12582912.0f);
    }
}

static void hybrid__kv_row_generic(hybrid_type type, const float *x, void *row, int n)
{
    int i;
    if (type == HYBRID_TYPE_F32) memcpy(row, x, (size_t)n * sizeof *x);
    else if (type == HYBRID_TYPE_F16) for (i = 0; i < n; i++) hybrid__store_u16((char *)row + 2 * i, hybrid__f32_to_f16(x[i]));
    else for (i = 0; i < n / 32; i++) hybrid__kv_q8_0_generic(x + 32 * i, (hybrid__block_q8_0 *)row + i);
}

HYBRID__INLINE float hybrid__kv_value_generic(hybrid_type type, const char *row, int i)
{
    const hybrid__block_q8_0 *block;
    if (type == HYBRID_TYPE_F32) return hybrid__load_f32(row + 4 * i);
    if (type == HYBRID_TYPE_F16) return hybrid__f16_to_f32(hybrid__load_u16(row + 2 * i));
    block = (const hybrid__block_q8_0 *)(const void *)row + i / 32;
    return hybrid__f16_to_f32(block->d) * (float)block->qs[i % 32];
}

/* ---- attention ------------------------------------------------------------------------------------------------------ */

static float hybrid__score_generic(const hybrid__op_attention *op, const float *q, const char *k)
{
    float p[32] = { 0 }, s;
    int i;
    for (i = 0; i < op->kv->head_dim_k; i++) p[i % 32] = fmaf(hybrid__kv_value_generic(op->kv->type, k, i), q[i], p[i % 32]);
    s = hybrid__halve(p, 32) * op->scale;
    return op->softcap > 0 ? op->softcap * hybrid__tanh_scalar(s / op->softcap) : s;
}

static void hybrid__attention_row_generic(const hybrid__op_attention *op, const int32_t *pages, int32_t pos, int head, const float *q, float *out)
{
    const hybrid__kv_view *kv = op->kv;
    int head_kv = head / (op->n_head / kv->n_head_kv), dim = kv->head_dim_v, s, i;
    int32_t page, first = hybrid__attention_first(op, pos);
    float m = -HUGE_VALF, l = 0;
    for (i = 0; i < dim; i++) out[i] = 0;
    for (page = first / HYBRID__PAGE; page <= pos / HYBRID__PAGE; page++) {
        int low = HYBRID__MAX(first - page * HYBRID__PAGE, 0), high = HYBRID__MIN(pos - page * HYBRID__PAGE + 1, HYBRID__PAGE);
        float e[HYBRID__PAGE], p[HYBRID__PAGE] = { 0 }, m_new = m, c;
        for (s = low; s < high; s++) {
            e[s] = hybrid__score_generic(op, q, hybrid__k_row(kv, pages[page], head_kv, s));
            m_new = hybrid__max_scalar(m_new, e[s]);
        }
        c = hybrid__exp_scalar(m - m_new);
        for (s = low; s < high; s++) e[s] = p[s] = hybrid__exp_scalar(e[s] - m_new);
        l = l * c;
        l = l + hybrid__halve(p, HYBRID__PAGE);
        for (i = 0; i < dim; i++) out[i] = out[i] * c;
        for (s = low; s < high; s++)
            for (i = 0; i < dim; i++) out[i] = fmaf(e[s], hybrid__kv_value_generic(kv->type, hybrid__v_row(kv, pages[page], head_kv, s), i), out[i]);
        m = m_new;
    }
    if (op->sinks) {
        float m_new = hybrid__max_scalar(m, op->sinks[head]), c = hybrid__exp_scalar(m - m_new);
        l = l * c;
        l = l + hybrid__exp_scalar(op->sinks[head] - m_new);
        for (i = 0; i < dim; i++) out[i] = out[i] * c;
    }
    l = 1.0f / l;
    for (i = 0; i < dim; i++) out[i] = out[i] * l;
}

static void hybrid__attention_generic(const hybrid__op_attention *op, const hybrid__run *run, int row0, int n_rows, int head0, int n_heads, void *scratch)
{
    int r, h;
    HYBRID__UNUSED(scratch);
    for (r = row0; r < row0 + n_rows; r++)
        for (h = head0; h < head0 + n_heads; h++)
            hybrid__attention_row_generic(op, run->pages, run->pos + r, h, op->q + (run->first_row + r) * op->q_stride + (int64_t)h * op->kv->head_dim_k,
                op->out + (run->first_row + r) * op->out_stride + (int64_t)h * op->kv->head_dim_v);
}

static const hybrid__cpu_kernels hybrid__cpu_kernels_generic = {
    hybrid__norm_generic, hybrid__rope_generic, hybrid__glu_generic, hybrid__add_generic, hybrid__add_scaled_generic, hybrid__scale_generic,
    hybrid__softcap_generic, hybrid__kv_row_generic, hybrid__attention_generic
};
/* ==== end src/compute/cpu_generic.c ==== */

/* ==== begin src/compute/matmul_kernel.c ==== */
/* compute/matmul_kernel: what a matrix product needs of one weight type on one ISA: two ways to prepare activations, and two kernels.
 *
 * y (n, rows) = x (n, k) . w (rows, k)^T. Weights stay in their file format; an activation row is prepared once (for integer types:
 * quantized, see NUMERICS.md) and read by all matrices whose kernels name the same format. gemv and gemm give the same bits, for any n and
 * any split of the rows, and so do all ISAs. A kernel reads no byte outside rows r0..r1 of w and writes no y outside them. */

/* How an activation row lies in memory. Two kernels share prepared rows when they point at the same format. */
typedef struct hybrid__act_format {
    size_t (*bytes)(int64_t k);                             /* of one row: a multiple of 64; rows are aligned to 64 */
    void   (*prepare)(const float *x, int64_t k, void *act);
} hybrid__act_format;

typedef struct hybrid__matmul_kernel {
    const hybrid__act_format *one;                          /* what gemv reads */
    const hybrid__act_format *many;                         /* what gemm reads: n rows, many->bytes(k) apart */
    int    gemv_up_to;                                      /* up to this n, gemv for each row of x beats gemm */
    int    row_step;                                        /* gemm likes r0, and r1 where rows go on, to be multiples of this (never required) */

    /* y[r - r0] for r0 <= r < r1 and one row of x. k is a multiple of the type's block. */
    void   (*gemv)(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1);

    /* y[i * y_stride + r - r0] for i < n, r0 <= r < r1. scratch: scratch_bytes(k, n), aligned to 64, one for each lane. */
    size_t (*scratch_bytes)(int64_t k, int n);
    void   (*gemm)(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,
                   int64_t r0, int64_t r1, void *scratch);
} hybrid__matmul_kernel;
/* ==== end src/compute/matmul_kernel.c ==== */

/* ==== begin src/compute/cpu_int_unpack.c ==== */
/* compute/cpu_int_unpack: one block of every integer type as plain integers: what the scalar kernels multiply, and the oracle of the rest.
 *
 * Blocks of 32: value i is d * q[i] + m (m: Q4_1 and Q5_1 only).
 * Super-blocks: value i is d * q[i] - dmin * m[i / 16], where q[i] = scale of its sub-block times the stored number: exact in 16 bits. */

typedef struct hybrid__ints32 { float d, m; int8_t q[32]; } hybrid__ints32;
typedef struct hybrid__ints256 { float d, dmin; uint8_t m[16]; int16_t q[256]; } hybrid__ints256;

static void hybrid__unpack_nibbles(const uint8_t *qs, uint32_t high, int offset, int8_t *q)
{
    int j;
    for (j = 0; j < 16; j++) {
        q[j] = (int8_t)(((qs[j] & 15) | (high >> j & 1) << 4) - (unsigned)offset);
        q[j + 16] = (int8_t)((qs[j] >> 4 | (high >> (j + 16) & 1) << 4) - (unsigned)offset);
    }
}
static void hybrid__ints_q4_0(const void *block, hybrid__ints32 *o)
{
    const hybrid__block_q4_0 *b = (const hybrid__block_q4_0 *)block;
    o->d = hybrid__f16_to_f32(b->d);
    hybrid__unpack_nibbles(b->qs, 0, 8, o->q);
}
static void hybrid__ints_q4_1(const void *block, hybrid__ints32 *o)
{
    const hybrid__block_q4_1 *b = (const hybrid__block_q4_1 *)block;
    o->d = hybrid__f16_to_f32(b->d);
    o->m = hybrid__f16_to_f32(b->m);
    hybrid__unpack_nibbles(b->qs, 0, 0, o->q);
}
static void hybrid__ints_q5_0(const void *block, hybrid__ints32 *o)
{
    const hybrid__block_q5_0 *b = (const hybrid__block_q5_0 *)block;
    o->d = hybrid__f16_to_f32(b->d);
    hybrid__unpack_nibbles(b->qs, hybrid__load_u32(b->qh), 16, o->q);
}
static void hybrid__ints_q5_1(const void *block, hybrid__ints32 *o)
{
    const hybrid__block_q5_1 *b = (const hybrid__block_q5_1 *)block;
    o->d = hybrid__f16_to_f32(b->d);
    o->m = hybrid__f16_to_f32(b->m);
    hybrid__unpack_nibbles(b->qs, hybrid__load_u32(b->qh), 0, o->q);
}
static void hybrid__ints_q8_0(const void *block, hybrid__ints32 *o)
{
    const hybrid__block_q8_0 *b = (const hybrid__block_q8_0 *)block;
    o->d = hybrid__f16_to_f32(b->d);
    memcpy(o->q, b->qs, 32);
}

static void hybrid__ints_q2_K(const void *block, hybrid__ints256 *o)
{
    const hybrid__block_q2_K *b = (const hybrid__block_q2_K *)block;
    int i;
    o->d = hybrid__f16_to_f32(b->d);
    o->dmin = hybrid__f16_to_f32(b->dmin);
    for (i = 0; i < 16; i++) o->m[i] = (uint8_t)(b->scales[i] >> 4);
    for (i = 0; i < 256; i++) o->q[i] = (int16_t)((b->scales[i / 16] & 15) * (b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3));
}
static void hybrid__ints_q3_K(const void *block, hybrid__ints256 *o)
{
    const hybrid__block_q3_K *b = (const hybrid__block_q3_K *)block;
    int8_t sc[16];
    int i;
    o->d = hybrid__f16_to_f32(b->d);
    hybrid__scales_q3_unpack(b->scales, sc);
    for (i = 0; i < 256; i++) {
        int low = b->qs[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3, high = b->hmask[i % 32] >> (i / 32) & 1;
        o->q[i] = (int16_t)(sc[i / 16] * ((low | high << 2) - 4));
    }
}
static void hybrid__ints_q4_K(const void *block, hybrid__ints256 *o)
{
    const hybrid__block_q4_K *b = (const hybrid__block_q4_K *)block;
    uint8_t sc[8], m[8];
    int i;
    o->d = hybrid__f16_to_f32(b->d);
    o->dmin = hybrid__f16_to_f32(b->dmin);
    hybrid__scales_k4_unpack(b->scales, sc, m);
    for (i = 0; i < 16; i++) o->m[i] = m[i / 2];
    for (i = 0; i < 256; i++) o->q[i] = (int16_t)(sc[i / 32] * (b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15));
}
static void hybrid__ints_q5_K(const void *block, hybrid__ints256 *o)
{
    const hybrid__block_q5_K *b = (const hybrid__block_q5_K *)block;
    uint8_t sc[8], m[8];
    int i;
    o->d = hybrid__f16_to_f32(b->d);
    o->dmin = hybrid__f16_to_f32(b->dmin);
    hybrid__scales_k4_unpack(b->scales, sc, m);
    for (i = 0; i < 16; i++) o->m[i] = m[i / 2];
    for (i = 0; i < 256; i++) {
        int low = b->qs[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15, high = b->qh[i % 32] >> (i / 32) & 1;
        o->q[i] = (int16_t)(sc[i / 32] * (low | high << 4));
    }
}
static void hybrid__ints_q6_K(const void *block, hybrid__ints256 *o)
{
    const hybrid__block_q6_K *b = (const hybrid__block_q6_K *)block;
    int i;
    o->d = hybrid__f16_to_f32(b->d);
    for (i = 0; i < 256; i++) {
        int low = b->ql[i / 128 * 64 + i % 64] >> (i / 64 % 2 * 4) & 15, high = b->qh[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        o->q[i] = (int16_t)(b->scales[i / 16] * ((low | high << 4) - 32));
    }
}
/* ==== end src/compute/cpu_int_unpack.c ==== */

/* ==== begin src/compute/cpu_int_act.c ==== */
/* compute/cpu_int_act: activations as 8-bit integers, in natural order: what the gemm of every ISA reads.
 *
 * A row for 32-weight blocks:  q: k int8;  d: k/32 floats;   s: k/32 floats, the sum of the block's q.
 * A row for super-blocks:      q: k int8;  d: k/256 floats;  s: k/16 int16, sums of 16 q.
 * Each part starts at a multiple of 64 bytes; a row is an odd number of 64-byte lines, so that equal columns of many rows spread over the
 * sets of a cache. */

HYBRID__INLINE size_t hybrid__act32_d(int64_t k) { return hybrid__align((size_t)k, 64); }
HYBRID__INLINE size_t hybrid__act32_s(int64_t k) { return hybrid__act32_d(k) + hybrid__align((size_t)k / 8, 64); }
static size_t hybrid__act32_bytes(int64_t k) { return (hybrid__act32_s(k) + hybrid__align((size_t)k / 8, 64)) | 64; }
HYBRID__INLINE size_t hybrid__act256_d(int64_t k) { return (size_t)k; }
HYBRID__INLINE size_t hybrid__act256_s(int64_t k) { return (size_t)k + hybrid__align((size_t)k / 64, 64); }
static size_t hybrid__act256_bytes(int64_t k) { return (hybrid__act256_s(k) + hybrid__align((size_t)k / 8, 64)) | 64; }

/* 1/d where the block can be scaled, 0 where it is all zeros (or below 127 * the smallest normal float), infinite or NaN. */
HYBRID__INLINE float hybrid__act_inverse(float d) { return d >= 1.17549435e-38f && d <= 3.402823466e+38f ? 1.0f / d : 0.0f; }

/* n values to int8; returns d. */
static float hybrid__act_quantize(const float *x, int n, int8_t *q)
{
    uint32_t a = 0;
    float d, id;
    int i;
    for (i = 0; i < n; i++) {
        uint32_t u = hybrid__f32_bits(x[i]) & 0x7FFFFFFFu;                /* as integers: NaN > infinity > numbers */
        a = HYBRID__MAX(a, u);
    }
    d = hybrid__bits_f32(a) / 127.0f;
    id = hybrid__act_inverse(d);
    for (i = 0; i < n; i++) {
        float v = x[i] * id + 12582912.0f;                                /* 1.5 * 2^23: the adder rounds to nearest even */
        int r = (int)(hybrid__f32_bits(v) - 0x4B400000u);
        q[i] = (int8_t)(id > 0 ? HYBRID__MIN(r, 127) : 0);
        if (id > 0 && r < -127) q[i] = -127;
    }
    return d;
}

static void hybrid__act32_prepare(const float *x, int64_t k, void *act)
{
    int8_t *q = (int8_t *)act;
    float *d = (float *)(void *)((char *)act + hybrid__act32_d(k)), *s = (float *)(void *)((char *)act + hybrid__act32_s(k));
    int64_t b;
    int i, sum;
    for (b = 0; b < k / 32; b++) {
        d[b] = hybrid__act_quantize(x + b * 32, 32, q + b * 32);
        for (sum = 0, i = 0; i < 32; i++) sum += q[b * 32 + i];
        s[b] = (float)sum;
    }
}

static void hybrid__act256_prepare(const float *x, int64_t k, void *act)
{
    int8_t *q = (int8_t *)act;
    float *d = (float *)(void *)((char *)act + hybrid__act256_d(k));
    int16_t *s = (int16_t *)(void *)((char *)act + hybrid__act256_s(k));
    int64_t b;
    int i, sum;
    for (b = 0; b < k / 256; b++) d[b] = hybrid__act_quantize(x + b * 256, 256, q + b * 256);
    for (b = 0; b < k / 16; b++) {
        for (sum = 0, i = 0; i < 16; i++) sum += q[b * 16 + i];
        s[b] = (int16_t)sum;
    }
}

static const hybrid__act_format hybrid__act32_generic = { hybrid__act32_bytes, hybrid__act32_prepare };
static const hybrid__act_format hybrid__act256_generic = { hybrid__act256_bytes, hybrid__act256_prepare };
/* ==== end src/compute/cpu_int_act.c ==== */

/* ==== begin src/compute/cpu_int_generic.c ==== */
/* compute/cpu_int_generic: products with integer blocks in scalar C. This states the order of every sum (NUMERICS.md); every other kernel
 * must give the same bits. */

typedef void (*hybrid__ints32_fn)(const void *block, hybrid__ints32 *o);
typedef void (*hybrid__ints256_fn)(const void *block, hybrid__ints256 *o);

HYBRID__INLINE float hybrid__halve8(const float *p) { return ((p[0] + p[4]) + (p[2] + p[6])) + ((p[1] + p[5]) + (p[3] + p[7])); }

/* One row of w by n rows of x: each block is unpacked once. sums: n * 8 floats. affine: the type has mins. */
static void hybrid__generic_row32(hybrid__ints32_fn unpack, size_t block_bytes, bool affine, const void *w, int64_t k, const void *acts, int n,
                                  float *y, int64_t y_stride, float *sums)
{
    size_t act_bytes = hybrid__act32_bytes(k);
    hybrid__ints32 block;
    int64_t b;
    int i, j, isum;
    memset(sums, 0, (size_t)n * 8 * sizeof *sums);
    for (b = 0; b < k / 32; b++) {
        unpack((const char *)w + (size_t)b * block_bytes, &block);
        for (i = 0; i < n; i++) {
            const char *act = (const char *)acts + (size_t)i * act_bytes;
            const int8_t *x = (const int8_t *)act + b * 32;
            float d = hybrid__load_f32(act + hybrid__act32_d(k) + b * 4), s = hybrid__load_f32(act + hybrid__act32_s(k) + b * 4);
            float *p = sums + i * 8 + b % 8, t;
            for (isum = 0, j = 0; j < 32; j++) isum += block.q[j] * x[j];
            t = (float)isum * block.d;
            if (affine) t = fmaf(block.m, s, t);
            *p = fmaf(t, d, *p);
        }
    }
    for (i = 0; i < n; i++) y[i * y_stride] = hybrid__halve8(sums + i * 8);
}

static void hybrid__generic_row256(hybrid__ints256_fn unpack, size_t block_bytes, bool affine, const void *w, int64_t k, const void *acts, int n,
                                   float *y, int64_t y_stride, float *sums)
{
    size_t act_bytes = hybrid__act256_bytes(k);
    hybrid__ints256 block;
    int64_t b;
    int i, j, isum, msum;
    memset(sums, 0, (size_t)n * 8 * sizeof *sums);
    for (b = 0; b < k / 256; b++) {
        unpack((const char *)w + (size_t)b * block_bytes, &block);
        for (i = 0; i < n; i++) {
            const char *act = (const char *)acts + (size_t)i * act_bytes;
            const int8_t *x = (const int8_t *)act + b * 256;
            const int16_t *s = (const int16_t *)(const void *)(act + hybrid__act256_s(k)) + b * 16;
            float d = hybrid__load_f32(act + hybrid__act256_d(k) + b * 4), *p = sums + i * 8 + b % 8, t;
            for (isum = 0, j = 0; j < 256; j++) isum += block.q[j] * x[j];
            t = (float)isum * block.d;
            if (affine) {
                for (msum = 0, j = 0; j < 16; j++) msum += block.m[j] * s[j];
                t = fmaf(-(float)msum, block.dmin, t);
            }
            *p = fmaf(t, d, *p);
        }
    }
    for (i = 0; i < n; i++) y[i * y_stride] = hybrid__halve8(sums + i * 8);
}

static size_t hybrid__generic_scratch(int64_t k, int n) { HYBRID__UNUSED(k); return (size_t)n * 8 * sizeof(float); }

/* A type's two kernels and its entry. family: 32 or 256. */
#define HYBRID__GENERIC_TYPE(type, family, affine)                                                                                             \
    static void hybrid__gemm_generic_##type(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,   \
                                            int64_t r0, int64_t r1, void *scratch)                                                             \
    {                                                                                                                                          \
        int64_t r;                                                                                                                             \
        for (r = r0; r < r1; r++)                                                                                                              \
            hybrid__generic_row##family(hybrid__ints_##type, sizeof(hybrid__block_##type), affine, (const char *)w + (size_t)r * row_bytes,    \
                                        k, acts, n, y + (r - r0), y_stride, (float *)scratch);                                                 \
    }                                                                                                                                          \
    static void hybrid__gemv_generic_##type(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1)     \
    {                                                                                                                                          \
        float sums[8];                                                                                                                        \
        hybrid__gemm_generic_##type(w, row_bytes, k, act, 1, y, 0, r0, r1, sums);                                                              \
    }                                                                                                                                          \
    static const hybrid__matmul_kernel hybrid__kernel_generic_##type = {                                                                       \
        &hybrid__act##family##_generic, &hybrid__act##family##_generic, 1, 1, hybrid__gemv_generic_##type, hybrid__generic_scratch,            \
        hybrid__gemm_generic_##type                                                                                                            \
    };
HYBRID__GENERIC_TYPE(q4_0, 32, false)
HYBRID__GENERIC_TYPE(q4_1, 32, true)
HYBRID__GENERIC_TYPE(q5_0, 32, false)
HYBRID__GENERIC_TYPE(q5_1, 32, true)
HYBRID__GENERIC_TYPE(q8_0, 32, false)
HYBRID__GENERIC_TYPE(q2_K, 256, true)
HYBRID__GENERIC_TYPE(q3_K, 256, false)
HYBRID__GENERIC_TYPE(q4_K, 256, true)
HYBRID__GENERIC_TYPE(q5_K, 256, true)
HYBRID__GENERIC_TYPE(q6_K, 256, false)
#undef HYBRID__GENERIC_TYPE
/* ==== end src/compute/cpu_int_generic.c ==== */

/* ==== begin src/compute/cpu_int_avx512.c ==== */
/* compute/cpu_int_avx512: decode (one row of activations) with AVX-512 and VNNI, straight from the blocks of the file.
 *
 * vpdpbusd multiplies unsigned weights by signed activations, four products to an int32 lane. What the file stores is unsigned or made so;
 * the offset is taken back through the sum of the block's activations. Lanes of 16 blocks (8 super-blocks) are summed together by one tree
 * of shuffles, so that scales are applied to 16 (8) blocks at once; lane b % 8 of the float sums is p[b % 8] of NUMERICS.md. */
#if defined(HYBRID__X86)

/* One row for 32-weight blocks, in groups of 16 blocks: for e = 0..3: first halves of blocks e, e+4, e+8, e+12, then their second halves;
 * then d[16] (float) and the sums of q [16] (int32). Missing blocks of the last group are zeros. */
enum { HYBRID__GROUP16 = 640, HYBRID__GROUP16_D = 512, HYBRID__GROUP16_S = 576 };
static size_t hybrid__one32_bytes_avx512(int64_t k) { return (size_t)((k + 511) / 512) * HYBRID__GROUP16; }

/* 16 floats to int8, all of one block, whose 1 / d is id (0: all zeros). */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__quant16_avx512(__m512 x, float id)
{
    __m512i q = _mm512_maskz_cvtps_epi32((__mmask16)(id > 0 ? 0xFFFF : 0), _mm512_mul_ps(x, _mm512_set1_ps(id)));
    return _mm512_max_epi32(_mm512_min_epi32(q, _mm512_set1_epi32(127)), _mm512_set1_epi32(-127));
}
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__abs_bits_avx512(__m512 x) { return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7FFFFFFF)); }

/* 32 floats to two vectors of 16 int32; returns d. */
HYBRID__INLINE HYBRID__TARGET_AVX512 float hybrid__quant32_avx512(const float *x, __m512i *q0, __m512i *q1)
{
    __m512 x0 = _mm512_loadu_ps(x), x1 = _mm512_loadu_ps(x + 16);
    float d = hybrid__bits_f32(_mm512_reduce_max_epu32(_mm512_max_epu32(hybrid__abs_bits_avx512(x0), hybrid__abs_bits_avx512(x1)))) / 127.0f;
    float id = hybrid__act_inverse(d);
    *q0 = hybrid__quant16_avx512(x0, id);
    *q1 = hybrid__quant16_avx512(x1, id);
    return d;
}

HYBRID__TARGET_AVX512 static void hybrid__one32_prepare_avx512(const float *x, int64_t k, void *act)
{
    int64_t b, blocks = k / 32;
    char *last = (char *)act + hybrid__one32_bytes_avx512(k) - HYBRID__GROUP16;
    if (blocks % 16) memset(last, 0, HYBRID__GROUP16);
    for (b = 0; b < blocks; b++) {
        char *group = (char *)act + b / 16 * HYBRID__GROUP16, *at = group + b % 4 * 128 + b % 16 / 4 * 16;
        __m512i q0, q1;
        float d = hybrid__quant32_avx512(x + b * 32, &q0, &q1);
        _mm_storeu_si128((__m128i *)(void *)at, _mm512_cvtepi32_epi8(q0));
        _mm_storeu_si128((__m128i *)(void *)(at + 64), _mm512_cvtepi32_epi8(q1));
        ((float *)(void *)(group + HYBRID__GROUP16_D))[b % 16] = d;
        ((int32_t *)(void *)(group + HYBRID__GROUP16_S))[b % 16] = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
    }
}
static const hybrid__act_format hybrid__one32_avx512 = { hybrid__one32_bytes_avx512, hybrid__one32_prepare_avx512 };

/* 16 bytes from each of blocks 0, 4, 8, 12. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__four_avx512(const char *p, size_t stride)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)p));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 4 * stride)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 8 * stride)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(p + 12 * stride)), 3);
}
/* The same of two bytes each, as a mask of 64 bits. */
HYBRID__INLINE uint64_t hybrid__four_bits(const char *p, size_t stride)
{
    return (uint64_t)hybrid__load_u16(p) | (uint64_t)hybrid__load_u16(p + 4 * stride) << 16 | (uint64_t)hybrid__load_u16(p + 8 * stride) << 32 |
           (uint64_t)hybrid__load_u16(p + 12 * stride) << 48;
}
/* The first 4 bytes of 16 blocks. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__heads_avx512(const char *p, size_t s)
{
#define HYBRID__HEAD4(i) _mm_set_epi32((int)hybrid__load_u32(p + (i + 3) * s), (int)hybrid__load_u32(p + (i + 2) * s), (int)hybrid__load_u32(p + (i + 1) * s), (int)hybrid__load_u32(p + i * s))
    __m512i v = _mm512_castsi128_si512(HYBRID__HEAD4(0));
    v = _mm512_inserti32x4(v, HYBRID__HEAD4(4), 1);
    v = _mm512_inserti32x4(v, HYBRID__HEAD4(8), 2);
    return _mm512_inserti32x4(v, HYBRID__HEAD4(12), 3);
#undef HYBRID__HEAD4
}

/* The sums of 4 dwords in every 128-bit lane of 4 vectors: lane L, dword e: lane L of v_e. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__sum_lanes_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3)
{
    __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v0, v1), _mm512_unpackhi_epi32(v0, v1));
    __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v2, v3), _mm512_unpackhi_epi32(v2, v3));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

/* Blocks e, e+4, e+8, e+12 of a group times their activations: 4 partial sums a block. qs: where the numbers start, qh: the fifth bits (0: none). */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__dot_four_avx512(const char *w, size_t stride, size_t qs, size_t qh, bool bytes, const char *x)
{
    const __m512i low4 = _mm512_set1_epi8(15), bit4 = _mm512_set1_epi8(16), top = _mm512_set1_epi8(-128);
    __m512i lo, hi;
    if (bytes) {
        lo = _mm512_xor_si512(hybrid__four_avx512(w + qs, stride), top);                 /* signed q -> q + 128 */
        hi = _mm512_xor_si512(hybrid__four_avx512(w + qs + 16, stride), top);
    } else {
        hi = hybrid__four_avx512(w + qs, stride);
        lo = _mm512_and_si512(hi, low4);
        hi = _mm512_and_si512(_mm512_srli_epi16(hi, 4), low4);
        if (qh) {
            lo = _mm512_mask_add_epi8(lo, hybrid__four_bits(w + qh, stride), lo, bit4);
            hi = _mm512_mask_add_epi8(hi, hybrid__four_bits(w + qh + 2, stride), hi, bit4);
        }
    }
    return _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), lo, _mm512_load_si512(x)), hi, _mm512_load_si512(x + 64));
}

/* t of 16 blocks. offset: log2 of what was added to the signed q; affine: q is unsigned and the block has a min. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512 hybrid__dot16_avx512(const char *w, size_t stride, size_t qs, size_t qh, bool bytes, bool affine, int offset, const char *x)
{
    __m512i heads = hybrid__heads_avx512(w, stride), s = _mm512_load_si512(x + HYBRID__GROUP16_S), isum;
    __m512 t;
    isum = hybrid__sum_lanes_avx512(hybrid__dot_four_avx512(w, stride, qs, qh, bytes, x), hybrid__dot_four_avx512(w + stride, stride, qs, qh, bytes, x + 128),
                                    hybrid__dot_four_avx512(w + 2 * stride, stride, qs, qh, bytes, x + 256),
                                    hybrid__dot_four_avx512(w + 3 * stride, stride, qs, qh, bytes, x + 384));
    if (!affine) isum = _mm512_sub_epi32(isum, _mm512_slli_epi32(s, (unsigned)offset));
    t = _mm512_mul_ps(_mm512_cvtepi32_ps(isum), _mm512_cvtph_ps(_mm512_cvtepi32_epi16(heads)));
    if (affine) t = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(heads, 16))), _mm512_cvtepi32_ps(s), t);
    return t;
}

/* halve(p, 8) */
HYBRID__INLINE HYBRID__TARGET_AVX512 float hybrid__halve_avx512(__m256 p)
{
    __m128 h = _mm_add_ps(_mm256_castps256_ps128(p), _mm256_extractf128_ps(p, 1));
    h = _mm_add_ps(h, _mm_movehl_ps(h, h));
    return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
}

/* A row's last group reads on into the next rows, whose blocks count for nothing; at the end of the rows it comes from a copy. */
#define HYBRID__GEMV32_AVX512(type, qs, qh, bytes, affine, offset)                                                                                     \
    HYBRID__TARGET_AVX512 static void hybrid__gemv_avx512_##type(const void *w, size_t row_bytes, int64_t k, const void *act, float *y,                \
                                                                 int64_t r0, int64_t r1)                                                               \
    {                                                                                                                                                  \
        const size_t stride = sizeof(hybrid__block_##type);                                                                                            \
        const char *row_end = (const char *)w + (size_t)r1 * row_bytes;                                                                                \
        int64_t blocks = k / 32, b, r;                                                                                                                 \
        char copy[16 * sizeof(hybrid__block_##type)];                                                                                                  \
        memset(copy, 0, sizeof copy);                                                                                                                  \
        for (r = r0; r < r1; r++) {                                                                                                                    \
            const char *row = (const char *)w + (size_t)r * row_bytes, *x = (const char *)act;                                                         \
            __m256 p = _mm256_setzero_ps();                                                                                                            \
            for (b = 0; b < blocks; b += 16, row += 16 * stride, x += HYBRID__GROUP16) {                                                               \
                unsigned valid = blocks - b < 16 ? (1u << (blocks - b)) - 1 : 0xFFFF;                                                                  \
                const float *d = (const float *)(const void *)(x + HYBRID__GROUP16_D);                                                                 \
                const char *from = row;                                                                                                                \
                __m512 t;                                                                                                                              \
                if ((size_t)(row_end - row) < 16 * stride) from = (const char *)memcpy(copy, row, (size_t)(blocks - b) * stride);                      \
                t = hybrid__dot16_avx512(from, stride, qs, qh, bytes, affine, offset, x);                                                              \
                p = _mm256_mask3_fmadd_ps(_mm512_castps512_ps256(t), _mm256_load_ps(d), p, (__mmask8)valid);                                           \
                p = _mm256_mask3_fmadd_ps(_mm512_extractf32x8_ps(t, 1), _mm256_load_ps(d + 8), p, (__mmask8)(valid >> 8));                             \
            }                                                                                                                                          \
            y[r - r0] = hybrid__halve_avx512(p);                                                                                                       \
        }                                                                                                                                              \
    }
HYBRID__GEMV32_AVX512(q4_0, 2, 0, false, false, 3)
HYBRID__GEMV32_AVX512(q4_1, 4, 0, false, true, 0)
HYBRID__GEMV32_AVX512(q5_0, 6, 2, false, false, 4)
HYBRID__GEMV32_AVX512(q5_1, 8, 4, false, true, 0)
HYBRID__GEMV32_AVX512(q8_0, 2, 0, true, false, 7)
#undef HYBRID__GEMV32_AVX512

/* One row for super-blocks: as cpu_int_act.c has it, then sums of 32 (k/32 int16). */
HYBRID__INLINE size_t hybrid__one256_s32(int64_t k) { return hybrid__act256_s(k) + hybrid__align((size_t)k / 8, 64); }
static size_t hybrid__one256_bytes_avx512(int64_t k) { return hybrid__one256_s32(k) + hybrid__align((size_t)k / 16, 64); }

HYBRID__TARGET_AVX512 static void hybrid__one256_prepare_avx512(const float *x, int64_t k, void *act)
{
    int8_t *q = (int8_t *)act;
    float *d = (float *)(void *)((char *)act + hybrid__act256_d(k));
    int16_t *s16 = (int16_t *)(void *)((char *)act + hybrid__act256_s(k)), *s32 = (int16_t *)(void *)((char *)act + hybrid__one256_s32(k));
    int64_t b;
    int i;
    for (b = 0; b < k / 256; b++, x += 256, q += 256, s16 += 16, s32 += 8) {
        __m512i a = _mm512_setzero_si512();
        float id;
        for (i = 0; i < 16; i++) a = _mm512_max_epu32(a, hybrid__abs_bits_avx512(_mm512_loadu_ps(x + i * 16)));
        d[b] = hybrid__bits_f32(_mm512_reduce_max_epu32(a)) / 127.0f;
        id = hybrid__act_inverse(d[b]);
        for (i = 0; i < 16; i++) {
            __m512i v = hybrid__quant16_avx512(_mm512_loadu_ps(x + i * 16), id);
            _mm_store_si128((__m128i *)(void *)(q + i * 16), _mm512_cvtepi32_epi8(v));
            s16[i] = (int16_t)_mm512_reduce_add_epi32(v);
        }
        for (i = 0; i < 8; i++) s32[i] = (int16_t)(s16[2 * i] + s16[2 * i + 1]);
    }
}
static const hybrid__act_format hybrid__one256_avx512 = { hybrid__one256_bytes_avx512, hybrid__one256_prepare_avx512 };

/* 32 bytes, twice. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__twice_avx512(const void *p) { return _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p)); }
/* a in the low, b in the high 256 bits, as dwords */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__halves_avx512(int a, int b) { return _mm512_inserti64x4(_mm512_set1_epi32(a), _mm256_set1_epi32(b), 1); }

/* Weights 64c..64c+63 of a super-block as unsigned bytes in order (c is a constant). */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__q2_avx512(const uint8_t *qs, int c)
{
    return _mm512_and_si512(_mm512_srlv_epi32(hybrid__twice_avx512(qs + c / 2 * 32), hybrid__halves_avx512(c % 2 * 4, c % 2 * 4 + 2)), _mm512_set1_epi8(3));
}
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__q4_avx512(const uint8_t *qs, int c)
{
    return _mm512_and_si512(_mm512_srlv_epi32(hybrid__twice_avx512(qs + c * 32), hybrid__halves_avx512(0, 4)), _mm512_set1_epi8(15));
}
/* q | bit 2c (low half), 2c+1 (high half) of the 32 bytes at p, moved to bit `to`. A rotation of dwords moves bits inside their bytes, too. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__high_bit_avx512(__m512i q, const uint8_t *p, int c, int to)
{
    __m512i h = _mm512_rolv_epi32(hybrid__twice_avx512(p), hybrid__halves_avx512(to - 2 * c, to - 2 * c - 1));
    return _mm512_ternarylogic_epi32(q, h, _mm512_set1_epi8((char)(1 << to)), 0xF8);
}
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__q6_avx512(const hybrid__block_q6_K *b, int c)
{
    __m512i q = _mm512_loadu_si512(b->ql + c / 2 * 64);
    __m512i h = _mm512_rolv_epi32(hybrid__twice_avx512(b->qh + c / 2 * 32), hybrid__halves_avx512(4 - c % 2 * 4, 2 - c % 2 * 4));
    q = _mm512_and_si512(c % 2 ? _mm512_srli_epi16(q, 4) : q, _mm512_set1_epi8(15));
    return _mm512_ternarylogic_epi32(q, h, _mm512_set1_epi8(0x30), 0xF8);
}

HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__dot64_avx512(__m512i w, const int8_t *x) { return _mm512_dpbusd_epi32(_mm512_setzero_si512(), w, _mm512_load_si512(x)); }

/* Four vectors of sums of 4 products (they fit 16 bits) times the scales of their sub-blocks: 16 partial sums of the super-block. sc32: 8
 * unsigned scales of sub-blocks of 32; sc16: 16 signed ones of sub-blocks of 16. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__scale32_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3, uint64_t sc32)
{
    const __m512i even = _mm512_set_epi64((int64_t)0x8007800780078007, (int64_t)0x8005800580058005, (int64_t)0x8007800780078007, (int64_t)0x8005800580058005,
                                          (int64_t)0x8006800680068006, (int64_t)0x8004800480048004, (int64_t)0x8006800680068006, (int64_t)0x8004800480048004);
    const __m512i four = _mm512_set1_epi16(4);
    __m512i sc = _mm512_set1_epi64((int64_t)sc32);
    __m512i a = _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_packs_epi32(v0, v1), _mm512_shuffle_epi8(sc, _mm512_sub_epi8(even, four)));
    return _mm512_dpwssd_epi32(a, _mm512_packs_epi32(v2, v3), _mm512_shuffle_epi8(sc, even));
}
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__scale16_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3, __m128i sc16)
{
    /* lane L: scales L and 4 + L (8 more for v2, v3), in the high bytes of words */
    const __m512i at = _mm512_set_epi64(0x0780078007800780, 0x0380038003800380, 0x0680068006800680, 0x0280028002800280, 0x0580058005800580, 0x0180018001800180,
                                        0x0480048004800480, 0x0080008000800080);
    const __m512i eight = _mm512_set1_epi16(0x0800);
    __m512i sc = _mm512_broadcast_i32x4(sc16);
    __m512i s01 = _mm512_srai_epi16(_mm512_shuffle_epi8(sc, at), 8), s23 = _mm512_srai_epi16(_mm512_shuffle_epi8(sc, _mm512_add_epi8(at, eight)), 8);
    return _mm512_dpwssd_epi32(_mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_packs_epi32(v0, v1), s01), _mm512_packs_epi32(v2, v3), s23);
}
/* sum of m[s] * s16[s], 8 partial sums */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m256i hybrid__mins16_avx512(__m128i m, const int16_t *s16) { return _mm256_madd_epi16(_mm256_cvtepi8_epi16(m), _mm256_load_si256((const __m256i *)(const void *)s16)); }
HYBRID__INLINE HYBRID__TARGET_AVX512 __m256i hybrid__mins32_avx512(uint64_t m, const int16_t *s32)
{
    return _mm256_zextsi128_si256(_mm_madd_epi16(_mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)m)), _mm_load_si128((const __m128i *)(const void *)s32)));
}

/* One super-block by its activations: partial sums of isum, and of msum (or of what is to be subtracted from isum). Returns d | dmin << 16. */
HYBRID__INLINE HYBRID__TARGET_AVX512 uint32_t hybrid__super_avx512_q2_K(const void *block, const int8_t *x, const int16_t *s16, const int16_t *s32, __m512i *isum, __m256i *msum)
{
    const hybrid__block_q2_K *b = (const hybrid__block_q2_K *)block;
    __m128i scales = _mm_loadu_si128((const __m128i *)(const void *)b->scales), low4 = _mm_set1_epi8(15);
    HYBRID__UNUSED(s32);
    *isum = hybrid__scale16_avx512(hybrid__dot64_avx512(hybrid__q2_avx512(b->qs, 0), x), hybrid__dot64_avx512(hybrid__q2_avx512(b->qs, 1), x + 64),
                                   hybrid__dot64_avx512(hybrid__q2_avx512(b->qs, 2), x + 128), hybrid__dot64_avx512(hybrid__q2_avx512(b->qs, 3), x + 192),
                                   _mm_and_si128(scales, low4));
    *msum = hybrid__mins16_avx512(_mm_and_si128(_mm_srli_epi16(scales, 4), low4), s16);
    return hybrid__load_u32(&b->d);
}
/* The 16 scales, -32..31. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m128i hybrid__scales_q3_avx512(const uint8_t *p)
{
    uint64_t low = hybrid__load_u64(p), high = hybrid__load_u32(p + 8), two = 0x0303030303030303u;
    uint64_t h0 = (high | high << 30) & two, h1 = (high >> 4 | (high >> 6) << 32) & two;
    uint64_t s0 = (low & 0x0F0F0F0F0F0F0F0Fu) | h0 << 4, s1 = (low >> 4 & 0x0F0F0F0F0F0F0F0Fu) | h1 << 4;
    return _mm_sub_epi8(_mm_set_epi64x((int64_t)s1, (int64_t)s0), _mm_set1_epi8(32));
}
HYBRID__INLINE HYBRID__TARGET_AVX512 uint32_t hybrid__super_avx512_q3_K(const void *block, const int8_t *x, const int16_t *s16, const int16_t *s32, __m512i *isum, __m256i *msum)
{
    const hybrid__block_q3_K *b = (const hybrid__block_q3_K *)block;
    __m128i sc = hybrid__scales_q3_avx512(b->scales);
    HYBRID__UNUSED(s32);
#define HYBRID__Q3(c) hybrid__dot64_avx512(hybrid__high_bit_avx512(hybrid__q2_avx512(b->qs, c), b->hmask, c, 2), x + c * 64)
    *isum = hybrid__scale16_avx512(HYBRID__Q3(0), HYBRID__Q3(1), HYBRID__Q3(2), HYBRID__Q3(3), sc);
#undef HYBRID__Q3
    *msum = _mm256_slli_epi32(hybrid__mins16_avx512(sc, s16), 2);
    return hybrid__load_u16(&b->d);
}
/* sc, m: 8 bytes each (hybrid__scales_k4_unpack) */
HYBRID__INLINE void hybrid__scales_k4_words(const uint8_t *p, uint64_t *sc, uint64_t *m)
{
    uint32_t a = hybrid__load_u32(p), b = hybrid__load_u32(p + 4), c = hybrid__load_u32(p + 8);
    *sc = (a & 0x3F3F3F3Fu) | (uint64_t)((c & 0x0F0F0F0Fu) | (a >> 2 & 0x30303030u)) << 32;
    *m = (b & 0x3F3F3F3Fu) | (uint64_t)((c >> 4 & 0x0F0F0F0Fu) | (b >> 2 & 0x30303030u)) << 32;
}
HYBRID__INLINE HYBRID__TARGET_AVX512 uint32_t hybrid__super_avx512_q4_K(const void *block, const int8_t *x, const int16_t *s16, const int16_t *s32, __m512i *isum, __m256i *msum)
{
    const hybrid__block_q4_K *b = (const hybrid__block_q4_K *)block;
    uint64_t sc, m;
    HYBRID__UNUSED(s16);
    hybrid__scales_k4_words(b->scales, &sc, &m);
    *isum = hybrid__scale32_avx512(hybrid__dot64_avx512(hybrid__q4_avx512(b->qs, 0), x), hybrid__dot64_avx512(hybrid__q4_avx512(b->qs, 1), x + 64),
                                   hybrid__dot64_avx512(hybrid__q4_avx512(b->qs, 2), x + 128), hybrid__dot64_avx512(hybrid__q4_avx512(b->qs, 3), x + 192), sc);
    *msum = hybrid__mins32_avx512(m, s32);
    return hybrid__load_u32(&b->d);
}
HYBRID__INLINE HYBRID__TARGET_AVX512 uint32_t hybrid__super_avx512_q5_K(const void *block, const int8_t *x, const int16_t *s16, const int16_t *s32, __m512i *isum, __m256i *msum)
{
    const hybrid__block_q5_K *b = (const hybrid__block_q5_K *)block;
    uint64_t sc, m;
    HYBRID__UNUSED(s16);
    hybrid__scales_k4_words(b->scales, &sc, &m);
#define HYBRID__Q5(c) hybrid__dot64_avx512(hybrid__high_bit_avx512(hybrid__q4_avx512(b->qs, c), b->qh, c, 4), x + c * 64)
    *isum = hybrid__scale32_avx512(HYBRID__Q5(0), HYBRID__Q5(1), HYBRID__Q5(2), HYBRID__Q5(3), sc);
#undef HYBRID__Q5
    *msum = hybrid__mins32_avx512(m, s32);
    return hybrid__load_u32(&b->d);
}
HYBRID__INLINE HYBRID__TARGET_AVX512 uint32_t hybrid__super_avx512_q6_K(const void *block, const int8_t *x, const int16_t *s16, const int16_t *s32, __m512i *isum, __m256i *msum)
{
    const hybrid__block_q6_K *b = (const hybrid__block_q6_K *)block;
    __m128i sc = _mm_loadu_si128((const __m128i *)(const void *)b->scales);
    HYBRID__UNUSED(s32);
    *isum = hybrid__scale16_avx512(hybrid__dot64_avx512(hybrid__q6_avx512(b, 0), x), hybrid__dot64_avx512(hybrid__q6_avx512(b, 1), x + 64),
                                   hybrid__dot64_avx512(hybrid__q6_avx512(b, 2), x + 128), hybrid__dot64_avx512(hybrid__q6_avx512(b, 3), x + 192), sc);
    *msum = _mm256_slli_epi32(hybrid__mins16_avx512(sc, s16), 5);
    return hybrid__load_u16(&b->d);
}

/* Vectors 0..3 hold two sets of 8 partial sums each (sets j and j + 4): the 8 sums. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m256i hybrid__sum_sets_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3)
{
    __m512i v = hybrid__sum_lanes_avx512(v0, v1, v2, v3);
    return _mm512_castsi512_si256(_mm512_add_epi32(_mm512_shuffle_i32x4(v, v, 0x08), _mm512_shuffle_i32x4(v, v, 0x0D)));
}
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__fold_avx512(__m512i a, __m512i b) { return _mm512_add_epi32(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xEE)); }
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__join_avx512(const __m256i *m) { return _mm512_inserti64x4(_mm512_castsi256_si512(m[0]), m[4], 1); }

#define HYBRID__GEMV256_AVX512(type, affine)                                                                                                           \
    HYBRID__TARGET_AVX512 static void hybrid__gemv_avx512_##type(const void *w, size_t row_bytes, int64_t k, const void *act, float *y,                \
                                                                 int64_t r0, int64_t r1)                                                               \
    {                                                                                                                                                  \
        const int16_t *s16 = (const int16_t *)(const void *)((const char *)act + hybrid__act256_s(k));                                                 \
        const int16_t *s32 = (const int16_t *)(const void *)((const char *)act + hybrid__one256_s32(k));                                               \
        const float *d = (const float *)(const void *)((const char *)act + hybrid__act256_d(k));                                                       \
        __m512i isum[8];                                                                                                                               \
        __m256i msum[8];                                                                                                                               \
        uint32_t heads[8];                                                                                                                             \
        int64_t blocks = k / 256, b, r;                                                                                                                \
        int j;                                                                                                                                         \
        for (j = 0; j < 8; j++) { isum[j] = _mm512_setzero_si512(); msum[j] = _mm256_setzero_si256(); heads[j] = 0; }                                  \
        for (r = r0; r < r1; r++) {                                                                                                                    \
            const char *row = (const char *)w + (size_t)r * row_bytes;                                                                                 \
            __m256 p = _mm256_setzero_ps(), t;                                                                                                         \
            for (b = 0; b < blocks; b += 8) {                                                                                                          \
                int count = (int)HYBRID__MIN(blocks - b, 8);                                                                                           \
                __m256i i8, m8, h8;                                                                                                                    \
                for (j = 0; j < count; j++, row += sizeof(hybrid__block_##type))                                                                       \
                    heads[j] = hybrid__super_avx512_##type(row, (const int8_t *)act + (b + j) * 256, s16 + (b + j) * 16, s32 + (b + j) * 8,            \
                                                           &isum[j], &msum[j]);                                                                        \
                i8 = hybrid__sum_sets_avx512(hybrid__fold_avx512(isum[0], isum[4]), hybrid__fold_avx512(isum[1], isum[5]),                             \
                                             hybrid__fold_avx512(isum[2], isum[6]), hybrid__fold_avx512(isum[3], isum[7]));                            \
                m8 = hybrid__sum_sets_avx512(hybrid__join_avx512(msum), hybrid__join_avx512(msum + 1), hybrid__join_avx512(msum + 2),                  \
                                             hybrid__join_avx512(msum + 3));                                                                           \
                h8 = _mm256_loadu_si256((const __m256i *)(const void *)heads);                                                                         \
                if (!affine) i8 = _mm256_sub_epi32(i8, m8);                                                                                            \
                t = _mm256_mul_ps(_mm256_cvtepi32_ps(i8), _mm256_cvtph_ps(_mm256_cvtepi32_epi16(h8)));                                                 \
                if (affine) t = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(m8), _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32(h8, 16))), t);        \
                p = _mm256_mask3_fmadd_ps(t, _mm256_loadu_ps(d + b), p, (__mmask8)((1u << count) - 1));                                                \
            }                                                                                                                                          \
            y[r - r0] = hybrid__halve_avx512(p);                                                                                                       \
        }                                                                                                                                              \
    }
HYBRID__GEMV256_AVX512(q2_K, true)
HYBRID__GEMV256_AVX512(q3_K, false)
HYBRID__GEMV256_AVX512(q4_K, true)
HYBRID__GEMV256_AVX512(q5_K, true)
HYBRID__GEMV256_AVX512(q6_K, false)
#undef HYBRID__GEMV256_AVX512

#endif
/* ==== end src/compute/cpu_int_avx512.c ==== */

/* ==== begin src/compute/cpu_int_panel.c ==== */
/* compute/cpu_int_panel: prefill with AVX-512: activations and weights as the micro-kernels of VNNI and AMX read them.
 *
 * A panel is 16 rows of weights, unpacked once and multiplied with all rows of activations: for every 4 k a vector of 16 rows x 4 bytes.
 * Blocks (and super-blocks) lie in the order of their sums, all of p[0] first, then p[4], p[2], p[6], p[1], p[5], p[3], p[7]: a run of blocks
 * adds into one set of registers, and halve(p, 8) is met by adding finished runs pairwise, like carries of a binary counter. */
#if defined(HYBRID__X86)

/* Position of the first block of every run; run[8] is their number. Run j is p[hybrid__run_sum[j]]. */
static const uint8_t hybrid__run_sum[8] = { 0, 4, 2, 6, 1, 5, 3, 7 };
static void hybrid__runs(int64_t blocks, int64_t run[9])
{
    int j;
    run[0] = 0;
    for (j = 0; j < 8; j++) run[j + 1] = run[j] + (blocks + 7 - hybrid__run_sum[j]) / 8;
}
HYBRID__INLINE int64_t hybrid__run_position(const int64_t run[9], int64_t b)
{
    static const uint8_t order[8] = { 0, 4, 2, 6, 1, 5, 3, 7 };          /* its own inverse */
    return run[order[b % 8]] + b / 8;
}

/* ---- activations ----
 * 32-weight blocks: q: 32 int8 a block; d: floats; s: floats, sum of q; c: int32, bits of 1.5 * 2^23 minus 128 * sum.
 * Super-blocks: q: 256 int8; d: floats; c3, c6: int32, -124 and -32768 times the sum of q; s16: 16 int16, sums of 16; b16: the same sums as 16
 * pairs of bfloat16, the first a multiple of 16, the second 0..15: both exact. */
HYBRID__INLINE size_t hybrid__many32_d(int64_t k) { return hybrid__align((size_t)k, 64); }
HYBRID__INLINE size_t hybrid__many32_part(int64_t k) { return hybrid__align((size_t)k / 8, 64); }
static size_t hybrid__many32_bytes(int64_t k) { return (hybrid__many32_d(k) + 3 * hybrid__many32_part(k)) | 64; }
HYBRID__INLINE size_t hybrid__many256_d(int64_t k) { return (size_t)k; }
HYBRID__INLINE size_t hybrid__many256_part(int64_t k) { return hybrid__align((size_t)k / 64, 64); }
HYBRID__INLINE size_t hybrid__many256_s16(int64_t k) { return (size_t)k + 3 * hybrid__many256_part(k); }
HYBRID__INLINE size_t hybrid__many256_b16(int64_t k) { return hybrid__many256_s16(k) + hybrid__align((size_t)k / 8, 64); }
static size_t hybrid__many256_bytes(int64_t k) { return (hybrid__many256_b16(k) + (size_t)k / 4) | 64; }

HYBRID__TARGET_AVX512 static void hybrid__many32_prepare(const float *x, int64_t k, void *act)
{
    char *base = (char *)act + hybrid__many32_d(k);
    float *d = (float *)(void *)base, *s = (float *)(void *)(base + hybrid__many32_part(k));
    int32_t *c = (int32_t *)(void *)(base + 2 * hybrid__many32_part(k));
    int64_t run[9], b;
    hybrid__runs(k / 32, run);
    for (b = 0; b < k / 32; b++) {
        int64_t at = hybrid__run_position(run, b);
        __m512i q0, q1;
        int sum;
        d[at] = hybrid__quant32_avx512(x + b * 32, &q0, &q1);
        sum = _mm512_reduce_add_epi32(_mm512_add_epi32(q0, q1));
        s[at] = (float)sum;
        c[at] = 0x4B400000 - 128 * sum;
        _mm_store_si128((__m128i *)(void *)((char *)act + at * 32), _mm512_cvtepi32_epi8(q0));
        _mm_store_si128((__m128i *)(void *)((char *)act + at * 32 + 16), _mm512_cvtepi32_epi8(q1));
    }
}

HYBRID__TARGET_AVX512 static void hybrid__many256_prepare(const float *x, int64_t k, void *act)
{
    char *base = (char *)act + hybrid__many256_d(k);
    float *d = (float *)(void *)base;
    int32_t *c3 = (int32_t *)(void *)(base + hybrid__many256_part(k)), *c6 = (int32_t *)(void *)(base + 2 * hybrid__many256_part(k));
    int64_t run[9], b;
    int i;
    hybrid__runs(k / 256, run);
    for (b = 0; b < k / 256; b++, x += 256) {
        int64_t at = hybrid__run_position(run, b);
        int16_t *s16 = (int16_t *)(void *)((char *)act + hybrid__many256_s16(k)) + at * 16;
        char *q = (char *)act + at * 256;
        __m512i a = _mm512_setzero_si512(), hi, lo;
        float id;
        int sum;
        for (i = 0; i < 16; i++) a = _mm512_max_epu32(a, hybrid__abs_bits_avx512(_mm512_loadu_ps(x + i * 16)));
        d[at] = hybrid__bits_f32(_mm512_reduce_max_epu32(a)) / 127.0f;
        id = hybrid__act_inverse(d[at]);
        for (i = 0; i < 16; i++) {
            __m512i v = hybrid__quant16_avx512(_mm512_loadu_ps(x + i * 16), id);
            _mm_store_si128((__m128i *)(void *)(q + i * 16), _mm512_cvtepi32_epi8(v));
            s16[i] = (int16_t)_mm512_reduce_add_epi32(v);
        }
        a = _mm512_cvtepi16_epi32(_mm256_load_si256((const __m256i *)(const void *)s16));
        sum = _mm512_reduce_add_epi32(a);
        c3[at] = -124 * sum;
        c6[at] = -32768 * sum;
        lo = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_and_si512(a, _mm512_set1_epi32(15))));
        hi = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_andnot_si512(_mm512_set1_epi32(15), a)));
        _mm512_store_si512((char *)act + hybrid__many256_b16(k) + at * 64, _mm512_or_si512(lo, _mm512_srli_epi32(hi, 16)));
    }
}
static const hybrid__act_format hybrid__many32_avx512 = { hybrid__many32_bytes, hybrid__many32_prepare };
static const hybrid__act_format hybrid__many256_avx512 = { hybrid__many256_bytes, hybrid__many256_prepare };

/* ---- panels ----
 * Of a 32-weight block, HYBRID__PANEL32 bytes: 8 vectors of signed weights, d[16], m[16] (floats).
 * Of a super-block, HYBRID__PANEL256 bytes: 64 vectors: scale * q as unsigned bytes, the low byte where it takes two (Q3_K: plus 124); then 64
 * vectors of high bytes (Q6_K: plus 128); d[16], dmin[16]; mins: 16 vectors, the min of each 16 weights as a pair of equal bfloat16;
 * 8 vectors, the mins of pairs of 16 weights as int16. */
enum {
    HYBRID__PANEL32 = 640, HYBRID__PANEL32_D = 512, HYBRID__PANEL32_M = 576,
    HYBRID__PANEL256_HIGH = 4096, HYBRID__PANEL256_D = 8192, HYBRID__PANEL256_MB = 8320, HYBRID__PANEL256_MS = 9344, HYBRID__PANEL256 = 9856
};

/* Byte at of rows e, e+4, e+8, e+12, 16 bytes each. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__rows4_avx512(const char *const *rows, int e, size_t at)
{
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(const void *)(rows[e] + at)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(rows[e + 4] + at)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(rows[e + 8] + at)), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(const void *)(rows[e + 12] + at)), 3);
}
/* o[j]: dword j of all 16 rows, where v[e] holds rows e, e+4, e+8, e+12. */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__transpose_avx512(__m512i v0, __m512i v1, __m512i v2, __m512i v3, __m512i o[4])
{
    __m512i t0 = _mm512_unpacklo_epi32(v0, v1), t1 = _mm512_unpackhi_epi32(v0, v1), t2 = _mm512_unpacklo_epi32(v2, v3), t3 = _mm512_unpackhi_epi32(v2, v3);
    o[0] = _mm512_unpacklo_epi64(t0, t2); o[1] = _mm512_unpackhi_epi64(t0, t2);
    o[2] = _mm512_unpacklo_epi64(t1, t3); o[3] = _mm512_unpackhi_epi64(t1, t3);
}
/* 16 bytes at `at` of 16 rows, as 4 vectors of 16 rows x 4 bytes. */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__piece_avx512(const char *const *rows, size_t at, __m512i o[4])
{
    hybrid__transpose_avx512(hybrid__rows4_avx512(rows, 0, at), hybrid__rows4_avx512(rows, 1, at), hybrid__rows4_avx512(rows, 2, at), hybrid__rows4_avx512(rows, 3, at), o);
}
/* 4 bytes at `at` of 16 rows; 2 bytes. */
HYBRID__TARGET_AVX512 static __m512i hybrid__dwords_avx512(const char *const *rows, size_t at)
{
    uint32_t v[16];
    int i;
    for (i = 0; i < 16; i++) v[i] = hybrid__load_u32(rows[i] + at);
    return _mm512_loadu_si512(v);
}
HYBRID__TARGET_AVX512 static __m512 hybrid__floats_avx512(const char *const *rows, size_t at)
{
    uint16_t v[16];
    int i;
    for (i = 0; i < 16; i++) v[i] = hybrid__load_u16(rows[i] + at);
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)v));
}

/* One block of 16 rows (rows[i] points at the block). */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__panel32_avx512(const char *const *rows, size_t qs, size_t qh, bool bytes, bool affine, int offset, char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), off = _mm512_set1_epi8((char)offset);
    __m512i o[4], h, spread, bit;
    int half, j;
    if (bytes) {
        for (half = 0; half < 2; half++) {
            hybrid__piece_avx512(rows, qs + 16 * (size_t)half, o);
            for (j = 0; j < 4; j++) _mm512_store_si512(panel + half * 256 + j * 64, o[j]);
        }
    } else {
        hybrid__piece_avx512(rows, qs, o);
        h = qh ? hybrid__dwords_avx512(rows, qh) : _mm512_setzero_si512();
        for (half = 0; half < 2; half++)
            for (j = 0; j < 4; j++) {
                __m512i q = _mm512_and_si512(half ? _mm512_srli_epi16(o[j], 4) : o[j], low4);
                if (qh) {                                             /* 4 bits of h to bit 4 of 4 bytes */
                    spread = _mm512_shuffle_epi8(h, _mm512_add_epi8(_mm512_set4_epi32(0x0C0C0C0C, 0x08080808, 0x04040404, 0), _mm512_set1_epi8((char)(half * 2 + j / 2))));
                    bit = _mm512_set1_epi32(j % 2 ? (int)0x80402010u : 0x08040201);
                    q = _mm512_mask_add_epi8(q, _mm512_test_epi8_mask(spread, bit), q, _mm512_set1_epi8(16));
                }
                if (offset) q = _mm512_sub_epi8(q, off);
                _mm512_store_si512(panel + half * 256 + j * 64, q);
            }
    }
    _mm512_store_ps((float *)(void *)(panel + HYBRID__PANEL32_D), hybrid__floats_avx512(rows, 0));
    if (affine) _mm512_store_ps((float *)(void *)(panel + HYBRID__PANEL32_M), hybrid__floats_avx512(rows, 2));
}

/* Byte s % 4 of every dword of v (4 sub-blocks a dword), zero- or sign-extended to both words. */
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__scale_words_avx512(__m512i v, int s, bool is_signed)
{
    const __m512i at = _mm512_set4_epi32((int)0x0C800C80, (int)0x08800880, (int)0x04800480, (int)0x00800080);     /* to the high bytes */
    __m512i w = _mm512_shuffle_epi8(v, _mm512_add_epi8(at, _mm512_set1_epi16((short)(s % 4 << 8))));
    return is_signed ? _mm512_srai_epi16(w, 8) : _mm512_srli_epi16(w, 8);
}
/* Words of products of even and odd bytes: low bytes to at, high bytes (plus flip) to the second plane. */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__store_planes_avx512(__m512i even, __m512i odd, int flip, char *at)
{
    const __m512i low = _mm512_set1_epi16(0xFF);
    __m512i hi = _mm512_ternarylogic_epi32(low, odd, _mm512_srli_epi16(even, 8), 0xAE);                          /* (odd & ~low) | even >> 8 */
    _mm512_store_si512(at, _mm512_ternarylogic_epi32(even, low, _mm512_slli_epi16(odd, 8), 0xEA));                /* (even & low) | odd << 8 */
    _mm512_store_si512(at + HYBRID__PANEL256_HIGH, flip ? _mm512_xor_si512(hi, _mm512_set1_epi8((char)flip)) : hi);
}
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__store_product_avx512(__m512i q, __m512i sc, char *at)
{
    hybrid__store_planes_avx512(_mm512_mullo_epi16(_mm512_and_si512(q, _mm512_set1_epi16(0xFF)), sc), _mm512_mullo_epi16(_mm512_srli_epi16(q, 8), sc), 0, at);
}
/* Mins of 4 sub-blocks of 16 (a byte each of every dword) to the two forms of the panel; first: the number of the first one. */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__store_mins_avx512(__m512i m, int first, char *panel)
{
    int j;
    for (j = 0; j < 4; j++) {
        __m512i f = _mm512_castps_si512(_mm512_cvtepi32_ps(_mm512_and_si512(_mm512_srli_epi32(m, (unsigned)(8 * j)), _mm512_set1_epi32(255))));
        _mm512_store_si512(panel + HYBRID__PANEL256_MB + (first + j) * 64, _mm512_or_si512(f, _mm512_srli_epi32(f, 16)));
    }
    for (j = 0; j < 2; j++) {
        __m512i at = _mm512_add_epi8(_mm512_set4_epi32((int)0x800D800C, (int)0x80098008, (int)0x80058004, (int)0x80018000), _mm512_set1_epi16((short)(2 * j)));
        _mm512_store_si512(panel + HYBRID__PANEL256_MS + (first / 2 + j) * 64, _mm512_shuffle_epi8(m, at));
    }
}
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__store_scales_avx512(__m512i heads, bool affine, char *panel)
{
    _mm512_store_ps((float *)(void *)(panel + HYBRID__PANEL256_D), _mm512_cvtph_ps(_mm512_cvtepi32_epi16(heads)));
    if (affine) _mm512_store_ps((float *)(void *)(panel + HYBRID__PANEL256_D + 64), _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(heads, 16))));
}

HYBRID__TARGET_AVX512 static void hybrid__panel_q2_K(const char *const *rows, char *panel)
{
    __m512i o[4], sc[4];
    int h, p, t, j;
    hybrid__piece_avx512(rows, 0, o);
    for (j = 0; j < 4; j++) {
        sc[j] = _mm512_and_si512(o[j], _mm512_set1_epi8(15));
        hybrid__store_mins_avx512(_mm512_and_si512(_mm512_srli_epi16(o[j], 4), _mm512_set1_epi8(15)), j * 4, panel);
    }
    hybrid__store_scales_avx512(hybrid__dwords_avx512(rows, 80), true, panel);
    for (h = 0; h < 2; h++)
        for (p = 0; p < 2; p++) {
            hybrid__piece_avx512(rows, 16 + (size_t)(32 * h + 16 * p), o);
            for (t = 0; t < 4; t++) {
                int s = 8 * h + 2 * t + p;
                __m512i scale = hybrid__scale_words_avx512(sc[s / 4], s, false);
                for (j = 0; j < 4; j++)                                /* two products of at most 45 in one word */
                    _mm512_store_si512(panel + (s * 4 + j) * 64, _mm512_mullo_epi16(_mm512_and_si512(_mm512_srl_epi16(o[j], _mm_cvtsi32_si128(2 * t)), _mm512_set1_epi8(3)), scale));
            }
        }
}

HYBRID__TARGET_AVX512 static void hybrid__panel_q3_K(const char *const *rows, char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), high2 = _mm512_set1_epi8(0x30), byte = _mm512_set1_epi16(0xFF), four = _mm512_set1_epi16(4);
    __m512i o[4], sc[4], hm[2][4];
    int h, p, t, j;
    hybrid__transpose_avx512(_mm512_bsrli_epi128(hybrid__rows4_avx512(rows, 0, 94), 2), _mm512_bsrli_epi128(hybrid__rows4_avx512(rows, 1, 94), 2),
                             _mm512_bsrli_epi128(hybrid__rows4_avx512(rows, 2, 94), 2), _mm512_bsrli_epi128(hybrid__rows4_avx512(rows, 3, 94), 2), o);
    sc[0] = _mm512_or_si512(_mm512_and_si512(o[0], low4), _mm512_and_si512(_mm512_slli_epi16(o[2], 4), high2));
    sc[1] = _mm512_or_si512(_mm512_and_si512(o[1], low4), _mm512_and_si512(_mm512_slli_epi16(o[2], 2), high2));
    sc[2] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(o[0], 4), low4), _mm512_and_si512(o[2], high2));
    sc[3] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(o[1], 4), low4), _mm512_and_si512(_mm512_srli_epi16(o[2], 2), high2));
    for (j = 0; j < 4; j++) sc[j] = _mm512_sub_epi8(sc[j], _mm512_set1_epi8(32));
    hybrid__store_scales_avx512(o[3], false, panel);
    hybrid__piece_avx512(rows, 0, hm[0]);
    hybrid__piece_avx512(rows, 16, hm[1]);
    for (h = 0; h < 2; h++)
        for (p = 0; p < 2; p++) {
            hybrid__piece_avx512(rows, 32 + (size_t)(32 * h + 16 * p), o);
            for (t = 0; t < 4; t++) {
                int s = 8 * h + 2 * t + p;
                __m512i scale = hybrid__scale_words_avx512(sc[s / 4], s, true);
                __m128i low_by = _mm_cvtsi32_si128(2 * t), high_by = _mm_cvtsi32_si128(4 * h + t);
                for (j = 0; j < 4; j++) {
                    __m512i q = _mm512_and_si512(_mm512_srl_epi16(o[j], low_by), _mm512_set1_epi8(3)), even, odd;
                    q = _mm512_or_si512(q, _mm512_slli_epi16(_mm512_and_si512(_mm512_srl_epi16(hm[p][j], high_by), _mm512_set1_epi8(1)), 2));
                    even = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_and_si512(q, byte), four), scale);
                    odd = _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_srli_epi16(q, 8), four), scale);
                    q = _mm512_ternarylogic_epi32(even, byte, _mm512_slli_epi16(odd, 8), 0xEA);
                    _mm512_store_si512(panel + (s * 4 + j) * 64, _mm512_add_epi8(q, _mm512_set1_epi8(124)));          /* -124..128 */
                }
            }
        }
}

/* Q4_K, and Q5_K with its fifth bits. */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__panel_k45_avx512(const char *const *rows, bool five, char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), low6 = _mm512_set1_epi8(0x3F), high2 = _mm512_set1_epi8(0x30), bit4 = _mm512_set1_epi8(16);
    __m512i o[4], sc[2], m[2], qh[2][4];
    int c, p, j, s;
    hybrid__piece_avx512(rows, 0, o);                                  /* d, dmin; the 12 bytes of scales and mins */
    hybrid__store_scales_avx512(o[0], true, panel);
    sc[0] = _mm512_and_si512(o[1], low6);
    sc[1] = _mm512_or_si512(_mm512_and_si512(o[3], low4), _mm512_and_si512(_mm512_srli_epi16(o[1], 2), high2));
    m[0] = _mm512_and_si512(o[2], low6);
    m[1] = _mm512_or_si512(_mm512_and_si512(_mm512_srli_epi16(o[3], 4), low4), _mm512_and_si512(_mm512_srli_epi16(o[2], 2), high2));
    for (j = 0; j < 4; j++) {                                          /* each min counts for two groups of 16 */
        __m512i at = _mm512_add_epi8(_mm512_set4_epi32(0x0D0D0C0C, 0x09090808, 0x05050404, 0x01010000), _mm512_set1_epi8((char)(j % 2 * 2)));
        hybrid__store_mins_avx512(_mm512_shuffle_epi8(m[j / 2], at), j * 4, panel);
    }
    if (five) {
        hybrid__piece_avx512(rows, 16, qh[0]);
        hybrid__piece_avx512(rows, 32, qh[1]);
    }
    for (c = 0; c < 4; c++)
        for (p = 0; p < 2; p++) {
            hybrid__piece_avx512(rows, (size_t)((five ? 48 : 16) + 32 * c + 16 * p), o);
            for (s = 2 * c; s < 2 * c + 2; s++) {
                __m512i scale = hybrid__scale_words_avx512(sc[s / 4], s, false);
                for (j = 0; j < 4; j++) {
                    __m512i q = _mm512_and_si512(s % 2 ? _mm512_srli_epi16(o[j], 4) : o[j], low4);
                    if (five) q = _mm512_ternarylogic_epi32(q, _mm512_rolv_epi32(qh[p][j], _mm512_set1_epi32(4 - s)), bit4, 0xF8);
                    hybrid__store_product_avx512(q, scale, panel + (s * 8 + p * 4 + j) * 64);
                }
            }
        }
}
HYBRID__TARGET_AVX512 static void hybrid__panel_q4_K(const char *const *rows, char *panel) { hybrid__panel_k45_avx512(rows, false, panel); }
HYBRID__TARGET_AVX512 static void hybrid__panel_q5_K(const char *const *rows, char *panel) { hybrid__panel_k45_avx512(rows, true, panel); }

HYBRID__TARGET_AVX512 static void hybrid__panel_q6_K(const char *const *rows, char *panel)
{
    const __m512i low4 = _mm512_set1_epi8(15), high2 = _mm512_set1_epi8(0x30), byte = _mm512_set1_epi16(0xFF), off = _mm512_set1_epi16(32);
    __m512i o[4], sc[4], qh[2][4];
    int h, p, n, j;
    hybrid__piece_avx512(rows, 192, sc);
    _mm512_store_ps((float *)(void *)(panel + HYBRID__PANEL256_D), hybrid__floats_avx512(rows, 208));
    for (h = 0; h < 2; h++) {
        hybrid__piece_avx512(rows, 128 + (size_t)(32 * h), qh[0]);
        hybrid__piece_avx512(rows, 128 + (size_t)(32 * h + 16), qh[1]);
        for (p = 0; p < 4; p++) {
            hybrid__piece_avx512(rows, (size_t)(64 * h + 16 * p), o);
            for (n = 0; n < 2; n++) {                                  /* low, high nibbles */
                int s = 8 * h + 4 * n + p;
                __m512i scale = hybrid__scale_words_avx512(sc[s / 4], s, true), by = _mm512_set1_epi32(4 - (4 * n + p / 2 * 2));
                for (j = 0; j < 4; j++) {
                    __m512i q = _mm512_and_si512(n ? _mm512_srli_epi16(o[j], 4) : o[j], low4);
                    q = _mm512_ternarylogic_epi32(q, _mm512_rolv_epi32(qh[p % 2][j], by), high2, 0xF8);
                    hybrid__store_planes_avx512(_mm512_mullo_epi16(_mm512_sub_epi16(_mm512_and_si512(q, byte), off), scale),
                                                _mm512_mullo_epi16(_mm512_sub_epi16(_mm512_srli_epi16(q, 8), off), scale), 0x80, panel + (s * 4 + j) * 64);
                }
            }
        }
    }
}

#define HYBRID__PANEL32_TYPE(type, qs, qh, bytes, affine, offset) \
    HYBRID__TARGET_AVX512 static void hybrid__panel_##type(const char *const *rows, char *panel) { hybrid__panel32_avx512(rows, qs, qh, bytes, affine, offset, panel); }
HYBRID__PANEL32_TYPE(q4_0, 2, 0, false, false, 8)
HYBRID__PANEL32_TYPE(q4_1, 4, 0, false, true, 0)
HYBRID__PANEL32_TYPE(q5_0, 6, 2, false, false, 16)
HYBRID__PANEL32_TYPE(q5_1, 8, 4, false, true, 0)
HYBRID__PANEL32_TYPE(q8_0, 2, 0, true, false, 0)
#undef HYBRID__PANEL32_TYPE

#endif
/* ==== end src/compute/cpu_int_panel.c ==== */

/* ==== begin src/compute/cpu_int_gemm.c ==== */
/* compute/cpu_int_gemm: prefill with AVX-512: panels of weights times tiles of activations, by VNNI or by AMX. See cpu_int_panel.c. */
#if defined(HYBRID__X86)

/* A tile: rows of activations, one panel, and where the results go: out[i] = 16 results for activation row i. */
typedef struct hybrid__tile {
    const char *acts;                   /* prepared rows, act_bytes apart */
    size_t      act_bytes;
    int64_t     k;
    const char *panel;
    float      *out;                    /* vectors of 16 */
} hybrid__tile;
#if defined(__GNUC__) || defined(__clang__)
    #define HYBRID__ALIGN64 __attribute__((aligned(64)))
#else
    #define HYBRID__ALIGN64 __declspec(align(64))
#endif

typedef void (*hybrid__panel_fn)(const char *const *rows, char *panel);
typedef void (*hybrid__tile_fn)(const hybrid__tile *tile);

typedef struct hybrid__int_gemm {
    hybrid__panel_fn unpack;
    hybrid__tile_fn  tile;
    void (*begin)(void), (*end)(void); /* around the work of a thread, or NULL */
    int     tile_rows;                  /* activation rows that `tile` takes: 8 or 16 */
    int     block, panel_bytes;         /* weights and panel bytes of a block */
    size_t  block_bytes;
    size_t (*act_bytes)(int64_t k);
} hybrid__int_gemm;

enum { HYBRID__PANEL_BUDGET = 640 << 10, HYBRID__PANELS_MAX = 4, HYBRID__TILE_ROWS_MAX = 16 };

HYBRID__INLINE size_t hybrid__int_gemm_panel(const hybrid__int_gemm *g, int64_t k) { return (size_t)(k / g->block) * (size_t)g->panel_bytes; }
/* Panels unpacked at a time: what the second-level cache holds beside the activations. */
HYBRID__INLINE int hybrid__int_gemm_panels(const hybrid__int_gemm *g, int64_t k)
{
    size_t n = HYBRID__PANEL_BUDGET / hybrid__int_gemm_panel(g, k);
    return n < 1 ? 1 : n > HYBRID__PANELS_MAX ? (int)HYBRID__PANELS_MAX : (int)n;
}
static size_t hybrid__int_gemm_scratch(const hybrid__int_gemm *g, int64_t k)
{
    return hybrid__int_gemm_panel(g, k) * (size_t)hybrid__int_gemm_panels(g, k) + g->act_bytes(k) * HYBRID__TILE_ROWS_MAX + HYBRID__TILE_ROWS_MAX * 64;
}

/* Rows r..r+15 (those from r1 on are r1 - 1 again) of w to a panel, in the order of runs. */
static void hybrid__int_gemm_unpack(const hybrid__int_gemm *g, const char *w, size_t row_bytes, int64_t k, int64_t r, int64_t r1, char *panel)
{
    int64_t blocks = k / g->block, b;
    int i, j;
    for (j = 0; j < 8; j++)
        for (b = hybrid__run_sum[j]; b < blocks; b += 8, panel += g->panel_bytes) {
            const char *rows[16];
            for (i = 0; i < 16; i++) rows[i] = w + (size_t)HYBRID__MIN(r + i, r1 - 1) * row_bytes + (size_t)b * g->block_bytes;
            g->unpack(rows, panel);
        }
}

static void hybrid__int_gemm_run(const hybrid__int_gemm *g, const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,
                                 int64_t r0, int64_t r1, void *scratch)
{
    size_t panel_bytes = hybrid__int_gemm_panel(g, k), act_bytes = g->act_bytes(k);
    int panels = hybrid__int_gemm_panels(g, k), p, i, j;
    char *packed = (char *)scratch, *pad = packed + panel_bytes * (size_t)panels;
    hybrid__tile tile;
    int64_t r, at;
    tile.act_bytes = act_bytes;
    tile.k = k;
    tile.out = (float *)(void *)(pad + act_bytes * HYBRID__TILE_ROWS_MAX);
    if (g->begin) g->begin();
    for (r = r0; r < r1; r += 16 * panels) {
        int count = (int)HYBRID__MIN((r1 - r + 15) / 16, panels);
        for (p = 0; p < count; p++) hybrid__int_gemm_unpack(g, (const char *)w, row_bytes, k, r + 16 * p, r1, packed + (size_t)p * panel_bytes);
        for (i = 0; i < n; i += g->tile_rows) {
            int rows = HYBRID__MIN(n - i, g->tile_rows);
            tile.acts = (const char *)acts + (size_t)i * act_bytes;
            if (rows < g->tile_rows) {                                /* the rest of the tile: zeros */
                memcpy(pad, tile.acts, act_bytes * (size_t)rows);
                memset(pad + act_bytes * (size_t)rows, 0, act_bytes * (size_t)(g->tile_rows - rows));
                tile.acts = pad;
            }
            for (p = 0; p < count; p++) {
                at = r + 16 * p;
                tile.panel = packed + (size_t)p * panel_bytes;
                g->tile(&tile);
                for (j = 0; j < rows; j++) memcpy(y + (i + j) * y_stride + (at - r0), tile.out + 16 * j, (size_t)HYBRID__MIN(r1 - at, 16) * sizeof *y);
            }
        }
    }
    if (g->end) g->end();
}

/* ---- VNNI: 8 rows of activations ---- */

#define HYBRID__EACH8(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7)
#define HYBRID__EACH16(X) HYBRID__EACH8(X) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)

/* Address of value `at` of row i (a constant) from four bases, so that all rows need 3 registers more. */
#define HYBRID__ROW(base, i) ((base)[(i) / 4] + ((i) % 4 == 3 ? stride3 : (size_t)((i) % 4) * stride))

/* A finished run (sum v of one activation row) joins the runs before it: run 0 waits; 1 joins 0; 2 waits; 3 joins 2, then both join 0 and 1; ... */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__merge_avx512(__m512 v, int i, int run, float (*waiting)[256], float *out)
{
    if (run & 1) v = _mm512_add_ps(_mm512_load_ps(waiting[0] + 16 * i), v);
    if ((run & 3) == 3) v = _mm512_add_ps(_mm512_load_ps(waiting[1] + 16 * i), v);
    if (run == 7) _mm512_store_ps(out + 16 * i, _mm512_add_ps(_mm512_load_ps(waiting[2] + 16 * i), v));
    else _mm512_store_ps(waiting[(run & 3) == 3 ? 2 : run & 1] + 16 * i, v);
}

HYBRID__INLINE HYBRID__TARGET_AVX512 __m512 hybrid__splat_avx512(const char *p) { return _mm512_set1_ps(hybrid__load_f32(p)); }
HYBRID__INLINE HYBRID__TARGET_AVX512 __m512i hybrid__splat_int_avx512(const char *p) { return _mm512_set1_epi32((int)hybrid__load_u32(p)); }

HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__tile32_vnni(const hybrid__tile *tile, bool affine)
{
    const __m512 magic = _mm512_set1_ps(-12582912.0f);
    const __m512i top = _mm512_set1_epi8(-128);
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hybrid__many32_part(tile->k);
    const char *panel = tile->panel, *x[2], *d[2];
    HYBRID__ALIGN64 float waiting[3][256];
    int64_t run[9], at;
    int j, q;
    x[0] = tile->acts; x[1] = x[0] + 4 * stride;
    d[0] = x[0] + hybrid__many32_d(tile->k); d[1] = d[0] + 4 * stride;
    hybrid__runs(tile->k / 32, run);
    for (j = 0; j < 8; j++) {
        __m512 v[8];
#define HYBRID__X(i) v[i] = _mm512_setzero_ps();
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
        for (at = run[j]; at < run[j + 1]; at++) {
            __m512i s[8];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL32_D)), dm = _mm512_mul_ps(dw, magic), m = dw;
            if (affine) m = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL32_M));
#define HYBRID__X(i) s[i] = hybrid__splat_int_avx512(HYBRID__ROW(d, i) + 2 * part);
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            for (q = 0; q < 8; q++) {
                __m512i w = _mm512_xor_si512(_mm512_load_si512(panel + q * 64), top);
#define HYBRID__X(i) s[i] = _mm512_dpbusd_epi32(s[i], w, hybrid__splat_int_avx512(HYBRID__ROW(x, i) + q * 4));
                HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            }
#define HYBRID__X(i) {                                                                                    \
                __m512 t = _mm512_fmadd_ps(_mm512_castsi512_ps(s[i]), dw, dm);                            \
                if (affine) t = _mm512_fmadd_ps(m, hybrid__splat_avx512(HYBRID__ROW(d, i) + part), t);    \
                v[i] = _mm512_fmadd_ps(t, hybrid__splat_avx512(HYBRID__ROW(d, i)), v[i]); }
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            panel += HYBRID__PANEL32;
            x[0] += 32; x[1] += 32;
            d[0] += 4; d[1] += 4;
        }
#define HYBRID__X(i) hybrid__merge_avx512(v[i], i, j, waiting, tile->out);
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
    }
}
HYBRID__TARGET_AVX512 static void hybrid__tile32_vnni_plain(const hybrid__tile *tile) { hybrid__tile32_vnni(tile, false); }
HYBRID__TARGET_AVX512 static void hybrid__tile32_vnni_affine(const hybrid__tile *tile) { hybrid__tile32_vnni(tile, true); }

/* two: the panel has high bytes. affine: it has mins. correction: 0, or which of c3, c6 (1, 2) starts the sums. */
HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__tile256_vnni(const hybrid__tile *tile, bool two, bool affine, int correction)
{
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hybrid__many256_part(tile->k);
    const char *panel = tile->panel, *x[2], *d[2], *s16[2];
    HYBRID__ALIGN64 float waiting[3][256];
    int64_t run[9], at;
    int j, q;
    x[0] = tile->acts; x[1] = x[0] + 4 * stride;
    d[0] = x[0] + hybrid__many256_d(tile->k); d[1] = d[0] + 4 * stride;
    s16[0] = x[0] + hybrid__many256_s16(tile->k); s16[1] = s16[0] + 4 * stride;
    hybrid__runs(tile->k / 256, run);
    for (j = 0; j < 8; j++) {
        __m512 v[8];
#define HYBRID__X(i) v[i] = _mm512_setzero_ps();
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
        for (at = run[j]; at < run[j + 1]; at++) {
            __m512i s[8], h[8];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL256_D)), dm = dw;
            if (affine) dm = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL256_D + 64));
#define HYBRID__X(i) s[i] = correction ? hybrid__splat_int_avx512(HYBRID__ROW(d, i) + (size_t)correction * part) : _mm512_setzero_si512(); h[i] = _mm512_setzero_si512();
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            for (q = 0; q < 64; q++) {
                __m512i w = _mm512_load_si512(panel + q * 64), wh = w, xi;
                if (two) wh = _mm512_load_si512(panel + HYBRID__PANEL256_HIGH + q * 64);
#define HYBRID__X(i) xi = hybrid__splat_int_avx512(HYBRID__ROW(x, i) + q * 4); s[i] = _mm512_dpbusd_epi32(s[i], w, xi); if (two) h[i] = _mm512_dpbusd_epi32(h[i], wh, xi);
                HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            }
#define HYBRID__X(i) if (two) s[i] = _mm512_add_epi32(s[i], _mm512_slli_epi32(h[i], 8)); h[i] = _mm512_setzero_si512();
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            if (affine)
                for (q = 0; q < 8; q++) {
                    __m512i m = _mm512_load_si512(panel + HYBRID__PANEL256_MS + q * 64);
#define HYBRID__X(i) h[i] = _mm512_dpwssd_epi32(h[i], m, hybrid__splat_int_avx512(HYBRID__ROW(s16, i) + q * 4));
                    HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
                }
#define HYBRID__X(i) {                                                                                    \
                __m512 t = _mm512_mul_ps(_mm512_cvtepi32_ps(s[i]), dw);                                   \
                if (affine) t = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(h[i]), dm, t);                        \
                v[i] = _mm512_fmadd_ps(t, hybrid__splat_avx512(HYBRID__ROW(d, i)), v[i]); }
            HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
            panel += HYBRID__PANEL256;
            x[0] += 256; x[1] += 256;
            d[0] += 4; d[1] += 4;
            s16[0] += 32; s16[1] += 32;
        }
#define HYBRID__X(i) hybrid__merge_avx512(v[i], i, j, waiting, tile->out);
        HYBRID__EACH8(HYBRID__X)
#undef HYBRID__X
    }
}
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q2(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, false, true, 0); }
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q3(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, false, false, 1); }
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q45(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, true, true, 0); }
HYBRID__TARGET_AVX512 static void hybrid__tile256_vnni_q6(const hybrid__tile *tile) { hybrid__tile256_vnni(tile, true, false, 2); }

/* ---- the kernels of every type ---- */
#define HYBRID__KERNEL_PANELS(isa, type, family, tile, tile_rows, begin, end)                                                                   \
    static const hybrid__int_gemm hybrid__gemm_plan_##isa##_##type = {                                                                          \
        hybrid__panel_##type, tile, begin, end, tile_rows, family, HYBRID__PANEL##family, sizeof(hybrid__block_##type),                         \
        hybrid__many##family##_bytes                                                                                                            \
    };                                                                                                                                          \
    static size_t hybrid__gemm_scratch_##isa##_##type(int64_t k, int n) { HYBRID__UNUSED(n); return hybrid__int_gemm_scratch(&hybrid__gemm_plan_##isa##_##type, k); } \
    static void hybrid__gemm_##isa##_##type(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,    \
                                            int64_t r0, int64_t r1, void *scratch)                                                              \
    { hybrid__int_gemm_run(&hybrid__gemm_plan_##isa##_##type, w, row_bytes, k, acts, n, y, y_stride, r0, r1, scratch); }                        \
    static const hybrid__matmul_kernel hybrid__kernel_##isa##_##type = {                                                                        \
        &hybrid__one##family##_avx512, &hybrid__many##family##_avx512, 6, 16, hybrid__gemv_avx512_##type, hybrid__gemm_scratch_##isa##_##type,  \
        hybrid__gemm_##isa##_##type                                                                                                             \
    };
HYBRID__KERNEL_PANELS(avx512, q4_0, 32, hybrid__tile32_vnni_plain, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q4_1, 32, hybrid__tile32_vnni_affine, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q5_0, 32, hybrid__tile32_vnni_plain, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q5_1, 32, hybrid__tile32_vnni_affine, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q8_0, 32, hybrid__tile32_vnni_plain, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q2_K, 256, hybrid__tile256_vnni_q2, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q3_K, 256, hybrid__tile256_vnni_q3, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q4_K, 256, hybrid__tile256_vnni_q45, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q5_K, 256, hybrid__tile256_vnni_q45, 8, NULL, NULL)
HYBRID__KERNEL_PANELS(avx512, q6_K, 256, hybrid__tile256_vnni_q6, 8, NULL, NULL)

#endif
/* ==== end src/compute/cpu_int_gemm.c ==== */

/* ==== begin src/compute/cpu_int_amx.c ==== */
/* compute/cpu_int_amx: prefill with AMX: tiles of 16 activation rows x 16 weight rows; the panels and activations of cpu_int_panel.c.
 *
 * The tile unit sums a block's products as int32; the tile goes through memory, and vectors scale and add it while the unit works on the
 * next one. While the unit is busy only one port is left for vectors, so their number is what counts: two for a 32-weight block (sums
 * start at the bits of 1.5 * 2^23, see NUMERICS.md), and for a super-block scales are already in the weights: two planes of bytes. The mins of
 * a super-block are products of small integers: exact in bfloat16, and they come out as floats. */
#if defined(HYBRID__X86) && (defined(__GNUC__) || defined(__clang__)) && defined(__linux__)
#define HYBRID__AMX 1

#define HYBRID__TILE_LOAD(t, p, stride) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"((const void *)(p)), "r"((size_t)(stride)) : "memory")
#define HYBRID__TILE_STORE(t, p, stride) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"((void *)(p)), "r"((size_t)(stride)) : "memory")
#define HYBRID__TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : : : "memory")
#define HYBRID__TILE_DOT(c, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")     /* signed, signed */
#define HYBRID__TILE_DOT_U(c, a, b) __asm__ volatile("tdpbsud %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")   /* signed a, unsigned b */
#define HYBRID__TILE_DOT_BF16(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")

/* Tiles 0-2: sums; 3, 4: weights and activations of 64 k; 5, 6: of 32 k. */
typedef struct hybrid__tile_config { uint8_t palette, start, zero[14]; uint16_t row_bytes[16]; uint8_t rows[16]; } hybrid__tile_config;
HYBRID__TARGET_AMX static void hybrid__amx_begin(void)
{
    hybrid__tile_config c;
    int i;
    memset(&c, 0, sizeof c);
    c.palette = 1;
    for (i = 0; i < 7; i++) { c.rows[i] = 16; c.row_bytes[i] = 64; }
    c.rows[5] = 8;
    c.row_bytes[6] = 32;
    __asm__ volatile("ldtilecfg %0" : : "m"(c));
}
HYBRID__TARGET_AMX static void hybrid__amx_end(void) { __asm__ volatile("tilerelease" : : : "memory"); }

/* The system call, which the C library does not declare everywhere. */
static int64_t hybrid__arch_prctl(uint64_t what, uint64_t argument)
{
    int64_t result;
    __asm__ volatile("syscall" : "=a"(result) : "0"((uint64_t)158), "D"(what), "S"(argument) : "rcx", "r11", "memory");
    return result;
}

/* Whether this process may use the tiles (int8 and bfloat16). Linux wants to be asked, once a process; asking again is harmless. */
static bool hybrid__amx_usable(void)
{
    uint32_t r[4];
    uint64_t granted = 0;
    hybrid__cpuid(7, 0, r);
    if ((r[3] >> 22 & 1) == 0 || (r[3] >> 24 & 3) != 3 || (hybrid__xgetbv() & 0x60000) != 0x60000) return false;
    hybrid__arch_prctl(0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tile data */);
    return !hybrid__arch_prctl(0x1022 /* ARCH_GET_XCOMP_PERM */, (uint64_t)(uintptr_t)&granted) && (granted >> 18 & 1);
}

HYBRID__INLINE HYBRID__TARGET_AMX void hybrid__tile32_amx(const hybrid__tile *tile, bool affine)
{
    const __m512 magic = _mm512_set1_ps(-12582912.0f);
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hybrid__many32_part(tile->k);
    const char *panel = tile->panel, *x = tile->acts, *ahead = tile->panel, *d[4];
    HYBRID__ALIGN64 float waiting[3][256], start[16];
    HYBRID__ALIGN64 char sums[4][1024];
    int64_t run[9], at, issued = 0;
    int j;
    for (j = 0; j < 16; j++) start[j] = 12582912.0f;
    d[0] = tile->acts + hybrid__many32_d(tile->k);
    for (j = 1; j < 4; j++) d[j] = d[j - 1] + 4 * stride;
    hybrid__runs(tile->k / 32, run);
#define HYBRID__ISSUE                                                                                        \
    if (issued < run[8]) {                                                                                   \
        HYBRID__TILE_LOAD(0, start, 0);                                                                      \
        HYBRID__TILE_LOAD(6, x, stride);                                                                     \
        HYBRID__TILE_LOAD(5, ahead, 64);                                                                     \
        HYBRID__TILE_DOT(0, 6, 5);                                                                           \
        HYBRID__TILE_STORE(0, sums[issued & 3], 64);                                                         \
        issued++;                                                                                            \
        x += 32;                                                                                             \
        ahead += HYBRID__PANEL32;                                                                            \
    }
    HYBRID__ISSUE
    HYBRID__ISSUE
    for (j = 0; j < 8; j++) {
        __m512 v[16];
#define HYBRID__X(i) v[i] = _mm512_setzero_ps();
        HYBRID__EACH16(HYBRID__X)
#undef HYBRID__X
        for (at = run[j]; at < run[j + 1]; at++) {
            const char *sum = sums[at & 3];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL32_D)), dm = _mm512_mul_ps(dw, magic), m = dw;
            if (affine) m = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL32_M));
            HYBRID__ISSUE
#define HYBRID__X(i) {                                                                                       \
                __m512 t = _mm512_fmadd_ps(_mm512_load_ps((const float *)(const void *)(sum + 64 * i)), dw, dm);  \
                if (affine) t = _mm512_fmadd_ps(m, hybrid__splat_avx512(HYBRID__ROW(d, i) + part), t);       \
                v[i] = _mm512_fmadd_ps(t, hybrid__splat_avx512(HYBRID__ROW(d, i)), v[i]); }
            HYBRID__EACH16(HYBRID__X)
#undef HYBRID__X
            panel += HYBRID__PANEL32;
            d[0] += 4; d[1] += 4; d[2] += 4; d[3] += 4;
        }
#define HYBRID__X(i) hybrid__merge_avx512(v[i], i, j, waiting, tile->out);
        HYBRID__EACH16(HYBRID__X)
#undef HYBRID__X
    }
#undef HYBRID__ISSUE
}
HYBRID__TARGET_AMX static void hybrid__tile32_amx_plain(const hybrid__tile *tile) { hybrid__tile32_amx(tile, false); }
HYBRID__TARGET_AMX static void hybrid__tile32_amx_affine(const hybrid__tile *tile) { hybrid__tile32_amx(tile, true); }

HYBRID__INLINE HYBRID__TARGET_AMX void hybrid__tile256_amx(const hybrid__tile *tile, bool two, bool affine, int correction)
{
    const size_t stride = tile->act_bytes, stride3 = 3 * stride, part = hybrid__many256_part(tile->k);
    const char *panel = tile->panel, *x = tile->acts, *b16 = tile->acts + hybrid__many256_b16(tile->k), *ahead = tile->panel, *d[4];
    HYBRID__ALIGN64 float waiting[3][256];
    HYBRID__ALIGN64 char sums[2][3][1024];
    int64_t run[9], at, issued = 0;
    int j, c;
    d[0] = tile->acts + hybrid__many256_d(tile->k);
    for (j = 1; j < 4; j++) d[j] = d[j - 1] + 4 * stride;
    hybrid__runs(tile->k / 256, run);
#define HYBRID__ISSUE                                                                                        \
    if (issued < run[8]) {                                                                                   \
        char (*to)[1024] = sums[issued & 1];                                                                 \
        HYBRID__TILE_ZERO(0);                                                                                \
        if (two) HYBRID__TILE_ZERO(1);                                                                       \
        for (c = 0; c < 4; c++) {                                                                            \
            HYBRID__TILE_LOAD(4, x + c * 64, stride);                                                        \
            HYBRID__TILE_LOAD(3, ahead + c * 1024, 64);                                                      \
            HYBRID__TILE_DOT_U(0, 4, 3);                                                                     \
            if (two) {                                                                                       \
                HYBRID__TILE_LOAD(3, ahead + HYBRID__PANEL256_HIGH + c * 1024, 64);                          \
                HYBRID__TILE_DOT_U(1, 4, 3);                                                                 \
            }                                                                                                \
        }                                                                                                    \
        HYBRID__TILE_STORE(0, to[0], 64);                                                                    \
        if (two) HYBRID__TILE_STORE(1, to[1], 64);                                                           \
        if (affine) {                                                                                        \
            HYBRID__TILE_ZERO(2);                                                                            \
            HYBRID__TILE_LOAD(4, b16, stride);                                                               \
            HYBRID__TILE_LOAD(3, ahead + HYBRID__PANEL256_MB, 64);                                           \
            HYBRID__TILE_DOT_BF16(2, 4, 3);                                                                  \
            HYBRID__TILE_STORE(2, to[2], 64);                                                                \
        }                                                                                                    \
        issued++;                                                                                            \
        x += 256;                                                                                            \
        b16 += 64;                                                                                           \
        ahead += HYBRID__PANEL256;                                                                           \
    }
    HYBRID__ISSUE
    for (j = 0; j < 8; j++) {
        __m512 v[16];
#define HYBRID__X(i) v[i] = _mm512_setzero_ps();
        HYBRID__EACH16(HYBRID__X)
#undef HYBRID__X
        for (at = run[j]; at < run[j + 1]; at++) {
            char (*sum)[1024] = sums[at & 1];
            __m512 dw = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL256_D)), dm = dw;
            if (affine) dm = _mm512_load_ps((const float *)(const void *)(panel + HYBRID__PANEL256_D + 64));
            HYBRID__ISSUE
#define HYBRID__X(i) {                                                                                                          \
                __m512i s = _mm512_load_si512(sum[0] + 64 * i);                                                                 \
                __m512 t;                                                                                                       \
                if (two) s = _mm512_add_epi32(s, _mm512_slli_epi32(_mm512_load_si512(sum[1] + 64 * i), 8));                     \
                if (correction) s = _mm512_add_epi32(s, hybrid__splat_int_avx512(HYBRID__ROW(d, i) + (size_t)correction * part)); \
                t = _mm512_mul_ps(_mm512_cvtepi32_ps(s), dw);                                                                   \
                if (affine) t = _mm512_fnmadd_ps(_mm512_load_ps((const float *)(const void *)(sum[2] + 64 * i)), dm, t);        \
                v[i] = _mm512_fmadd_ps(t, hybrid__splat_avx512(HYBRID__ROW(d, i)), v[i]); }
            HYBRID__EACH16(HYBRID__X)
#undef HYBRID__X
            panel += HYBRID__PANEL256;
            d[0] += 4; d[1] += 4; d[2] += 4; d[3] += 4;
        }
#define HYBRID__X(i) hybrid__merge_avx512(v[i], i, j, waiting, tile->out);
        HYBRID__EACH16(HYBRID__X)
#undef HYBRID__X
    }
#undef HYBRID__ISSUE
}
HYBRID__TARGET_AMX static void hybrid__tile256_amx_q2(const hybrid__tile *tile) { hybrid__tile256_amx(tile, false, true, 0); }
HYBRID__TARGET_AMX static void hybrid__tile256_amx_q3(const hybrid__tile *tile) { hybrid__tile256_amx(tile, false, false, 1); }
HYBRID__TARGET_AMX static void hybrid__tile256_amx_q45(const hybrid__tile *tile) { hybrid__tile256_amx(tile, true, true, 0); }
HYBRID__TARGET_AMX static void hybrid__tile256_amx_q6(const hybrid__tile *tile) { hybrid__tile256_amx(tile, true, false, 2); }

HYBRID__KERNEL_PANELS(amx, q4_0, 32, hybrid__tile32_amx_plain, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q4_1, 32, hybrid__tile32_amx_affine, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q5_0, 32, hybrid__tile32_amx_plain, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q5_1, 32, hybrid__tile32_amx_affine, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q8_0, 32, hybrid__tile32_amx_plain, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q2_K, 256, hybrid__tile256_amx_q2, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q3_K, 256, hybrid__tile256_amx_q3, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q4_K, 256, hybrid__tile256_amx_q45, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q5_K, 256, hybrid__tile256_amx_q45, 16, hybrid__amx_begin, hybrid__amx_end)
HYBRID__KERNEL_PANELS(amx, q6_K, 256, hybrid__tile256_amx_q6, 16, hybrid__amx_begin, hybrid__amx_end)

#endif
/* ==== end src/compute/cpu_int_amx.c ==== */

/* ==== begin src/compute/cpu_int.c ==== */
/* compute/cpu_int: the table of integer-block kernels. */

#define HYBRID__INT_KERNELS(isa)                                          \
    switch (type) {                                                       \
        case HYBRID_TYPE_Q4_0: return &hybrid__kernel_##isa##_q4_0;       \
        case HYBRID_TYPE_Q4_1: return &hybrid__kernel_##isa##_q4_1;       \
        case HYBRID_TYPE_Q5_0: return &hybrid__kernel_##isa##_q5_0;       \
        case HYBRID_TYPE_Q5_1: return &hybrid__kernel_##isa##_q5_1;       \
        case HYBRID_TYPE_Q8_0: return &hybrid__kernel_##isa##_q8_0;       \
        case HYBRID_TYPE_Q2_K: return &hybrid__kernel_##isa##_q2_K;       \
        case HYBRID_TYPE_Q3_K: return &hybrid__kernel_##isa##_q3_K;       \
        case HYBRID_TYPE_Q4_K: return &hybrid__kernel_##isa##_q4_K;       \
        case HYBRID_TYPE_Q5_K: return &hybrid__kernel_##isa##_q5_K;       \
        case HYBRID_TYPE_Q6_K: return &hybrid__kernel_##isa##_q6_K;       \
        default: return NULL;                                             \
    }

/* Kernels of one set: as hybrid__isa, but AMX apart. NULL: not an integer type. */
static const hybrid__matmul_kernel *hybrid__int_kernel_of(hybrid__isa isa, bool amx, hybrid_type type)
{
#if defined(HYBRID__AMX)
    if (isa == HYBRID__ISA_AVX512 && amx) HYBRID__INT_KERNELS(amx)
#endif
#if defined(HYBRID__X86)
    if (isa == HYBRID__ISA_AVX512) HYBRID__INT_KERNELS(avx512)
#endif
    HYBRID__UNUSED(isa);
    HYBRID__UNUSED(amx);
    HYBRID__INT_KERNELS(generic)
}
#undef HYBRID__INT_KERNELS

static const hybrid__matmul_kernel *hybrid__int_kernel_for(hybrid__isa isa, hybrid_type type)
{
#if defined(HYBRID__AMX)
    static volatile int known;                          /* a CPU feature, idempotent. 0: not asked yet; 1: no; 2: yes */
    if (isa == HYBRID__ISA_AVX512 && !known) known = hybrid__amx_usable() ? 2 : 1;
    return hybrid__int_kernel_of(isa, known == 2, type);
#else
    return hybrid__int_kernel_of(isa, false, type);
#endif
}
/* ==== end src/compute/cpu_int.c ==== */

/* ==== begin src/compute/cpu_float.c ==== */
/* compute/cpu_float: matrix products of F32, F16 and BF16 weights in scalar C: 32 partial sums over k % 32, halved (NUMERICS.md). */

static size_t hybrid__act_f32_bytes(int64_t k) { return hybrid__align((size_t)k, 32) * sizeof(float); }
static void hybrid__act_f32_prepare(const float *x, int64_t k, void *act)
{
    memcpy(act, x, (size_t)k * sizeof *x);
    memset((float *)act + k, 0, hybrid__act_f32_bytes(k) - (size_t)k * sizeof *x);
}
static const hybrid__act_format hybrid__act_f32 = { hybrid__act_f32_bytes, hybrid__act_f32_prepare };    /* the row, zeros up to 32 */

HYBRID__INLINE float hybrid__weight_generic(hybrid_type type, const char *row, int64_t i)
{
    if (type == HYBRID_TYPE_F32) return hybrid__load_f32(row + 4 * i);
    return type == HYBRID_TYPE_F16 ? hybrid__f16_to_f32(hybrid__load_u16(row + 2 * i)) : hybrid__bf16_to_f32(hybrid__load_u16(row + 2 * i));
}

/* A row that is no multiple of 32 ends in zeros: fma(0, 0, p) makes a -0 that an underflow left a 0, as the vector kernels do. */
HYBRID__INLINE float hybrid__dot_generic(hybrid_type type, const char *w, const float *x, int64_t k)
{
    float p[32] = { 0 };
    int64_t i;
    for (i = 0; i < k; i++) p[i % 32] = fmaf(hybrid__weight_generic(type, w, i), x[i], p[i % 32]);
    for (; i % 32; i++) p[i % 32] = p[i % 32] + 0.0f;
    return hybrid__halve(p, 32);
}

static size_t hybrid__no_scratch(int64_t k, int n) { HYBRID__UNUSED(k); HYBRID__UNUSED(n); return 0; }

#define HYBRID__FLOAT_GENERIC(suffix, type)                                                                                                 \
    static void hybrid__gemv_##suffix##_generic(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1) \
    {                                                                                                                                       \
        int64_t r;                                                                                                                          \
        for (r = r0; r < r1; r++) y[r - r0] = hybrid__dot_generic(type, (const char *)w + (size_t)r * row_bytes, (const float *)act, k);    \
    }                                                                                                                                       \
    static void hybrid__gemm_##suffix##_generic(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y,              \
                                                int64_t y_stride, int64_t r0, int64_t r1, void *scratch)                                    \
    {                                                                                                                                       \
        int i;                                                                                                                              \
        HYBRID__UNUSED(scratch);                                                                                                            \
        for (i = 0; i < n; i++)                                                                                                             \
            hybrid__gemv_##suffix##_generic(w, row_bytes, k, (const char *)acts + (size_t)i * hybrid__act_f32_bytes(k), y + i * y_stride, r0, r1); \
    }                                                                                                                                       \
    static const hybrid__matmul_kernel hybrid__matmul_##suffix##_generic = { &hybrid__act_f32, &hybrid__act_f32, 1, 1,                      \
        hybrid__gemv_##suffix##_generic, hybrid__no_scratch, hybrid__gemm_##suffix##_generic };
HYBRID__FLOAT_GENERIC(f32, HYBRID_TYPE_F32)
HYBRID__FLOAT_GENERIC(f16, HYBRID_TYPE_F16)
HYBRID__FLOAT_GENERIC(bf16, HYBRID_TYPE_BF16)
#undef HYBRID__FLOAT_GENERIC

/* ---- what cpu_float.inc needs once ---------------------------------------------------------------------------------- */

/* x[32 i + l] goes to act[hybrid__residue(l) * run + i], run = k / 32 rounded up: residues in the order of halving, 0 16 8 24 4 .. */
HYBRID__INLINE int hybrid__residue(int l) { return (l & 1) << 4 | (l & 2) << 2 | (l & 4) | (l & 8) >> 2 | (l & 16) >> 4; }

/* The 64 bytes more keep rows from falling on the same lines of a cache. */
static size_t hybrid__act_split_bytes(int64_t k) { return hybrid__align((size_t)k, 32) * sizeof(float) + 64; }

/* A chunk of residues (their panel stays in a near cache while all columns pass), and where its sums wait for the next chunks. */
typedef struct hybrid__gemm_chunk {
    int64_t run;
    int     residues, index, last;         /* residues: a power of 2. Chunk index of 0 .. last */
    float  *waiting;                       /* [level][column of all][R] */
    int64_t level_size;
} hybrid__gemm_chunk;
/* ==== end src/compute/cpu_float.c ==== */

/* ==== begin src/compute/cpu_x86.c ==== */
/* compute/cpu_x86: row functions, attention and float matrices of AVX2 and AVX-512: the same texts, stamped twice. */
#if defined(HYBRID__X86)

/* ==== begin src/compute/cpu_vec_avx2.inc ==== */
/* compute/cpu_vec_avx2: the vector macros for AVX2 + FMA + F16C, and what each means. A file that is stamped for each instruction set (math.inc,
 * cpu_rows.inc, cpu_attention.inc, cpu_dot.inc) is written in these alone, so that a new instruction set is a file like this one.
 *
 * No macro rounds in another way than its scalar twin. With a NaN, MAX and MIN give the second operand or a NaN: use MAX(constant, x). */
#define HYBRID__V                  __m256                       /* N floats */
#define HYBRID__V_MASK             __m256                       /* a truth value for each */
#define HYBRID__V_N                8
#define HYBRID__V_FN(name)         hybrid__##name##_avx2
#define HYBRID__V_TARGET           HYBRID__TARGET_AVX2
#define HYBRID__V_TILE             3                            /* attention: queries a tile: 4 * TILE vectors are in registers */
#define HYBRID__V_COLUMNS          6                            /* gemm: columns a tile: 2 * COLUMNS vectors are in registers */

#define HYBRID__V_SET1(x)          _mm256_set1_ps(x)
#define HYBRID__V_ADD(a, b)        _mm256_add_ps(a, b)
#define HYBRID__V_SUB(a, b)        _mm256_sub_ps(a, b)
#define HYBRID__V_MUL(a, b)        _mm256_mul_ps(a, b)
#define HYBRID__V_DIV(a, b)        _mm256_div_ps(a, b)
#define HYBRID__V_FMA(a, b, c)     _mm256_fmadd_ps(a, b, c)     /* a * b + c */
#define HYBRID__V_MAX(a, b)        _mm256_max_ps(a, b)
#define HYBRID__V_MIN(a, b)        _mm256_min_ps(a, b)
#define HYBRID__V_LESS(a, b)       _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define HYBRID__V_SELECT(m, a, b)  _mm256_blendv_ps(b, a, m)    /* m ? a : b */
#define HYBRID__V_ABS(a)           _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define HYBRID__V_NEG(a)           _mm256_xor_ps(_mm256_set1_ps(-0.0f), a)
#define HYBRID__V_COPYSIGN(a, s)   _mm256_or_ps(a, _mm256_and_ps(s, _mm256_set1_ps(-0.0f)))     /* a >= 0 */
#define HYBRID__V_LDEXP(p, t)      hybrid__v_ldexp_avx2(p, t)     /* p * 2^n, t = n + 1.5 * 2^23 */
#define HYBRID__V_MAX_BITS(a, b)   _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)))   /* of a, b >= 0: NaN is above inf */

#define HYBRID__V_LOAD(p)          _mm256_loadu_ps(p)
#define HYBRID__V_STORE(p, v)      _mm256_storeu_ps(p, v)
#define HYBRID__V_LOAD_N(p, n)     _mm256_maskload_ps(p, hybrid__v_first_avx2(n))         /* the first n (any int), zeros above; touches no others */
#define HYBRID__V_STORE_N(p, v, n) _mm256_maskstore_ps(p, hybrid__v_first_avx2(n), v)
#define HYBRID__V_FIRST(n)         _mm256_castsi256_ps(hybrid__v_first_avx2(n))           /* lanes below n */
#define HYBRID__V_LOAD_F16(p)      _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p)))
#define HYBRID__V_LOAD_BF16(p)     _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))), 16))
#define HYBRID__V_LOAD_I8(p)       _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(p))))
#define HYBRID__V_STORE_F16(p, v)  _mm_storeu_si128((__m128i *)(void *)(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#define HYBRID__V_STORE_I8(p, v)   hybrid__v_store_i8_avx2(p, v)  /* v: whole numbers, -128..127 */

#define HYBRID__V_HALVE(v)         hybrid__v_halve_avx2(v)        /* the sum in the order of NUMERICS.md: lanes i and i + N/2, and so on */
#define HYBRID__V_TRANSPOSE(v)     hybrid__v_transpose_avx2(v)    /* an array of N vectors, in place */
#define HYBRID__V_PAIR_EVEN(v)     _mm256_moveldup_ps(v)        /* lanes 0 0 2 2 .. */
#define HYBRID__V_PAIR_ODD(v)      _mm256_movehdup_ps(v)        /* lanes 1 1 3 3 .. */
#define HYBRID__V_PAIR_SWAP(v)     _mm256_permute_ps(v, 0xB1)   /* lanes 1 0 3 2 .. */
#define HYBRID__V_NEG_EVEN(v)      _mm256_xor_ps(v, _mm256_setr_ps(-0.0f, 0, -0.0f, 0, -0.0f, 0, -0.0f, 0))
#define HYBRID__V_EVENS(a, b)      _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0x88)), 0xD8))     /* lanes 0 2 4 .. of a, then b */
#define HYBRID__V_ODDS(a, b)       _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, 0xDD)), 0xD8))

HYBRID__INLINE HYBRID__TARGET_AVX2 __m256i hybrid__v_first_avx2(int n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

HYBRID__INLINE HYBRID__TARGET_AVX2 __m256 hybrid__v_ldexp_avx2(__m256 p, __m256 t)
{
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(t), _mm256_set1_epi32(0x4B400000)), half = _mm256_srai_epi32(n, 1), one = _mm256_set1_epi32(127);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, one), 23)));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), one), 23)));
}

HYBRID__INLINE HYBRID__TARGET_AVX2 void hybrid__v_store_i8_avx2(void *p, __m256 v)
{
    __m256i i = _mm256_cvtps_epi32(v);
    __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packs_epi16(w, w));
}

HYBRID__INLINE HYBRID__TARGET_AVX2 float hybrid__v_halve_avx2(__m256 v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

HYBRID__INLINE HYBRID__TARGET_AVX2 void hybrid__v_transpose_avx2(__m256 v[8])
{
    __m256 a[8], b[8];
    int i;
    HYBRID__UNROLL
    for (i = 0; i < 4; i++) { a[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]); a[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]); }
    HYBRID__UNROLL
    for (i = 0; i < 2; i++) {                                   /* b[4i + j]: column j (and j + 4 in the upper half) of rows 4i .. 4i + 3 */
        b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xEE);
        b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xEE);
    }
    HYBRID__UNROLL
    for (i = 0; i < 4; i++) { v[i] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x20); v[i + 4] = _mm256_permute2f128_ps(b[i], b[i + 4], 0x31); }
}
/* ==== end src/compute/cpu_vec_avx2.inc ==== */

/* ==== begin src/compute/math.inc ==== */
/* compute/math: exp, tanh, silu, gelu and its tanh form. One text, stamped for each instruction set by the HYBRID__V_ macros; the same
 * operations in the same order everywhere, so the same bits. Errors against the true value are below 2 ulp over all floats whose result is
 * a normal number (tests/test_ops.c walks them). NaN gives NaN. The polynomials are minimax fits (relative error), coefficients rounded to float. */

/* e^x * (1 + low): low is the part of the argument that did not fit in x, |low| << 1.
 * x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 Q(r). Below -104 and above 89 the result is 0 and inf anyway. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(exp2part)(HYBRID__V x, HYBRID__V low)
{
    const HYBRID__V magic = HYBRID__V_SET1(12582912.0f);         /* 1.5 * 2^23: adding it rounds to an integer, kept in the low bits */
    HYBRID__V t, n, r, q;
    x = HYBRID__V_MIN(HYBRID__V_SET1(89.0f), HYBRID__V_MAX(HYBRID__V_SET1(-104.0f), x));        /* these pass a NaN on */
    t = HYBRID__V_FMA(x, HYBRID__V_SET1(1.44269504f), magic);
    n = HYBRID__V_SUB(t, magic);
    r = HYBRID__V_FMA(n, HYBRID__V_SET1(-0.693359375f), x);      /* 9 bits: n times it is exact */
    r = HYBRID__V_FMA(n, HYBRID__V_SET1(2.12194440e-4f), r);
    r = HYBRID__V_ADD(r, low);
    q = HYBRID__V_SET1(1.381431590e-3f);
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(8.368850686e-3f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(4.166840017e-2f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(1.666651964e-1f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(4.999999404e-1f));
    q = HYBRID__V_FMA(HYBRID__V_MUL(r, r), q, r);
    return HYBRID__V_LDEXP(HYBRID__V_ADD(q, HYBRID__V_SET1(1.0f)), t);
}

HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(exp)(HYBRID__V x) { return HYBRID__V_FN(exp2part)(x, HYBRID__V_SET1(0.0f)); }

/* Small: x + x^3 P(x^2). Else 1 - 2 / (e^2x + 1), with the sign of x. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(tanh)(HYBRID__V x)
{
    HYBRID__V a = HYBRID__V_ABS(x), z = HYBRID__V_MUL(a, a), p, e;
    p = HYBRID__V_SET1(-5.717041902e-3f);
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(2.065058425e-2f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(-5.374349654e-2f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(1.333149076e-1f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(-3.333328366e-1f));
    p = HYBRID__V_FMA(HYBRID__V_MUL(a, z), p, a);
    e = HYBRID__V_ADD(HYBRID__V_FN(exp)(HYBRID__V_ADD(a, a)), HYBRID__V_SET1(1.0f));
    e = HYBRID__V_SUB(HYBRID__V_SET1(1.0f), HYBRID__V_DIV(HYBRID__V_SET1(2.0f), e));
    return HYBRID__V_COPYSIGN(HYBRID__V_SELECT(HYBRID__V_LESS(a, HYBRID__V_SET1(0.625f)), p, e), x);
}

/* x / (1 + e^-w) for w = (w + low) of the sign of x: for w < 0 as x e^w / (1 + e^w), which neither overflows nor cancels. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(times_sigmoid)(HYBRID__V x, HYBRID__V w, HYBRID__V low)
{
    const HYBRID__V zero = HYBRID__V_SET1(0.0f);
    HYBRID__V_MASK negative = HYBRID__V_LESS(w, zero);
    HYBRID__V e = HYBRID__V_FN(exp2part)(HYBRID__V_NEG(HYBRID__V_ABS(w)), HYBRID__V_SELECT(negative, low, HYBRID__V_NEG(low)));
    HYBRID__V top = HYBRID__V_MUL(HYBRID__V_MAX(HYBRID__V_SET1(-3e38f), x), e);          /* -inf * 0 shall be 0 */
    return HYBRID__V_DIV(HYBRID__V_SELECT(negative, top, x), HYBRID__V_ADD(e, HYBRID__V_SET1(1.0f)));
}

HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(silu)(HYBRID__V x) { return HYBRID__V_FN(times_sigmoid)(x, x, HYBRID__V_SET1(0.0f)); }

/* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x sigmoid(w), w = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a.
 * For x < 0 an error of w is one of the result, |w| times enlarged: w is computed in two parts. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(gelu_tanh)(HYBRID__V x)
{
    const HYBRID__V a = HYBRID__V_SET1(1.59576917f), a_low = HYBRID__V_SET1(-4.53407e-8f), b = HYBRID__V_SET1(0.0713548139f), b_low = HYBRID__V_SET1(2.39883e-9f);
    HYBRID__V y = HYBRID__V_MIN(HYBRID__V_SET1(20.0f), HYBRID__V_MAX(HYBRID__V_SET1(-20.0f), x));  /* sigmoid is 0 or 1 beyond */
    HYBRID__V s = HYBRID__V_MUL(y, y), s_low = HYBRID__V_FMA(y, y, HYBRID__V_NEG(s));
    HYBRID__V p = HYBRID__V_MUL(b, s), p_low = HYBRID__V_FMA(b, s, HYBRID__V_NEG(p));
    HYBRID__V u = HYBRID__V_ADD(a, p), part = HYBRID__V_SUB(u, a), low, w;
    low = HYBRID__V_ADD(HYBRID__V_SUB(a, HYBRID__V_SUB(u, part)), HYBRID__V_SUB(p, part));         /* what a + p lost */
    p_low = HYBRID__V_FMA(b, s_low, HYBRID__V_FMA(b_low, s, p_low));
    low = HYBRID__V_ADD(low, HYBRID__V_ADD(p_low, a_low));
    w = HYBRID__V_MUL(y, u);
    low = HYBRID__V_FMA(y, low, HYBRID__V_FMA(y, u, HYBRID__V_NEG(w)));
    return HYBRID__V_FN(times_sigmoid)(x, w, low);
}

/* x Phi(x). Phi(-t) = e^(-t^2 / 2) R(t), t = |x|; R(t) = P(1 - 6 / (t + 3)) / (t + 3) for t in 0..14.6, where the result leaves the floats. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(gelu)(HYBRID__V x)
{
    const HYBRID__V one = HYBRID__V_SET1(1.0f);
    HYBRID__V t = HYBRID__V_MIN(HYBRID__V_SET1(14.6f), HYBRID__V_ABS(x)), s = HYBRID__V_MUL(t, t), s_low, inv, u, p, e;
    s_low = HYBRID__V_FMA(t, t, HYBRID__V_NEG(s));
    e = HYBRID__V_FN(exp2part)(HYBRID__V_MUL(HYBRID__V_SET1(-0.5f), s), HYBRID__V_MUL(HYBRID__V_SET1(-0.5f), s_low));
    inv = HYBRID__V_DIV(one, HYBRID__V_ADD(t, HYBRID__V_SET1(3.0f)));
    u = HYBRID__V_FMA(HYBRID__V_SET1(-6.0f), inv, one);
    p = HYBRID__V_SET1(5.446403884e-5f);
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(1.312734094e-4f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-2.447491279e-4f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-1.032536966e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(1.024776837e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(6.969304755e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-1.046251878e-2f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-4.726268724e-2f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(2.300177068e-1f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-5.093320012e-1f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(7.290837169e-1f));
    p = HYBRID__V_MUL(p, inv);
    s = HYBRID__V_MUL(HYBRID__V_MUL(HYBRID__V_MAX(HYBRID__V_SET1(-3e38f), x), p), e);
    return HYBRID__V_SELECT(HYBRID__V_LESS(x, HYBRID__V_SET1(0.0f)), s, HYBRID__V_FMA(HYBRID__V_NEG(HYBRID__V_MUL(p, e)), t, x));
}
/* ==== end src/compute/math.inc ==== */

/* ==== begin src/compute/cpu_rows.inc ==== */
/* compute/cpu_rows: norms, rotations, activations, sums and the writing of the cache, in vectors. Stamped for each instruction set;
 * cpu_generic.c says what each does. */

/* The next N of n values, or the left < N that there are (the plain forms are much faster than the masked ones on some processors). */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(get)(const float *p, int64_t left)
{
    if (left >= HYBRID__V_N) return HYBRID__V_LOAD(p);
    return HYBRID__V_LOAD_N(p, (int)left);
}
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(put)(float *p, HYBRID__V v, int64_t left)
{
    if (left >= HYBRID__V_N) HYBRID__V_STORE(p, v);
    else HYBRID__V_STORE_N(p, v, (int)left);
}

/* ---- norms ---------------------------------------------------------------------------------------------------------- */

enum { HYBRID__V_FN(vectors) = 32 / HYBRID__V_N };         /* vectors that hold 32 partial sums */

/* p[0 .. 32) by halves; p is spoilt. */
HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(halve32)(HYBRID__V *p)
{
    int h, i;
    HYBRID__UNROLL
    for (h = 16 / HYBRID__V_N; h; h /= 2)
        HYBRID__UNROLL
        for (i = 0; i < h; i++) p[i] = HYBRID__V_ADD(p[i], p[i + h]);
    return HYBRID__V_HALVE(p[0]);
}

HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(sum)(const float *x, int64_t n)
{
    HYBRID__V p[HYBRID__V_FN(vectors)];
    int64_t i;
    int j;
    for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_SET1(0.0f);
    for (i = 0; i + 32 <= n; i += 32)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_ADD(p[j], HYBRID__V_LOAD(x + i + j * HYBRID__V_N));
    if (i < n)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_ADD(p[j], HYBRID__V_LOAD_N(x + i + j * HYBRID__V_N, (int)(n - i) - j * HYBRID__V_N));
    return HYBRID__V_FN(halve32)(p);
}

/* Sum of (x - mean)^2. */
HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(sum_squares)(const float *x, float mean, int64_t n)
{
    const HYBRID__V shift = HYBRID__V_SET1(mean);
    HYBRID__V p[HYBRID__V_FN(vectors)];
    int64_t i;
    int j;
    for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_SET1(0.0f);
    for (i = 0; i + 32 <= n; i += 32)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) {
            HYBRID__V d = HYBRID__V_SUB(HYBRID__V_LOAD(x + i + j * HYBRID__V_N), shift);
            p[j] = HYBRID__V_FMA(d, d, p[j]);
        }
    if (i < n)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) {
            int left = (int)(n - i) - j * HYBRID__V_N;
            HYBRID__V d = HYBRID__V_SUB(HYBRID__V_LOAD_N(x + i + j * HYBRID__V_N, left), shift);
            d = HYBRID__V_SELECT(HYBRID__V_FIRST(left), d, HYBRID__V_SET1(0.0f));
            p[j] = HYBRID__V_FMA(d, d, p[j]);
        }
    return HYBRID__V_FN(halve32)(p);
}

static HYBRID__V_TARGET void HYBRID__V_FN(norm)(const hybrid__op_norm *op, int64_t row)
{
    const float *x = op->x + row * op->x_stride;
    float *out = op->out + row * op->out_stride;
    float mean = op->kind == HYBRID__NORM_LAYER ? HYBRID__V_FN(sum)(x, op->n) / (float)op->n : 0.0f;
    float scale = 1.0f / sqrtf(HYBRID__V_FN(sum_squares)(x, mean, op->n) / (float)op->n + op->eps);
    const HYBRID__V shift = HYBRID__V_SET1(mean), factor = HYBRID__V_SET1(scale);
    int64_t i;
    for (i = 0; i < op->n; i += HYBRID__V_N) {
        HYBRID__V v = HYBRID__V_MUL(HYBRID__V_SUB(HYBRID__V_FN(get)(x + i, op->n - i), shift), factor);
        if (op->w) v = HYBRID__V_MUL(v, HYBRID__V_FN(get)(op->w + i, op->n - i));
        if (op->b) v = HYBRID__V_ADD(v, HYBRID__V_FN(get)(op->b + i, op->n - i));
        HYBRID__V_FN(put)(out + i, v, op->n - i);
    }
}

/* ---- element by element --------------------------------------------------------------------------------------------- */

/* One head. A pair (a, b) becomes (a c - b s, a s + b c). */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(rope_head)(hybrid__rope_kind kind, float *x, int n_rot, const float *table)
{
    int half = n_rot / 2, i = 0, step = kind == HYBRID__ROPE_NORM ? 2 : 1, pair = kind == HYBRID__ROPE_NORM ? 1 : half;
    if (kind == HYBRID__ROPE_NORM) {
        for (; 2 * i + HYBRID__V_N <= n_rot; i += HYBRID__V_N / 2) {
            HYBRID__V v = HYBRID__V_LOAD(x + 2 * i), t = HYBRID__V_LOAD(table + 2 * i);
            HYBRID__V other = HYBRID__V_MUL(HYBRID__V_PAIR_SWAP(v), HYBRID__V_PAIR_ODD(t));
            HYBRID__V_STORE(x + 2 * i, HYBRID__V_ADD(HYBRID__V_MUL(v, HYBRID__V_PAIR_EVEN(t)), HYBRID__V_NEG_EVEN(other)));
        }
    } else {
        for (; i + HYBRID__V_N <= half; i += HYBRID__V_N) {
            HYBRID__V a = HYBRID__V_LOAD(x + i), b = HYBRID__V_LOAD(x + half + i), t = HYBRID__V_LOAD(table + 2 * i), u = HYBRID__V_LOAD(table + 2 * i + HYBRID__V_N);
            HYBRID__V c = HYBRID__V_EVENS(t, u), s = HYBRID__V_ODDS(t, u);
            HYBRID__V_STORE(x + i, HYBRID__V_SUB(HYBRID__V_MUL(a, c), HYBRID__V_MUL(b, s)));
            HYBRID__V_STORE(x + half + i, HYBRID__V_ADD(HYBRID__V_MUL(a, s), HYBRID__V_MUL(b, c)));
        }
    }
    for (; i < half; i++) {
        float c = table[2 * i], s = table[2 * i + 1], a = x[i * step], b = x[i * step + pair];
        x[i * step] = a * c - b * s;
        x[i * step + pair] = a * s + b * c;
    }
}
static HYBRID__V_TARGET void HYBRID__V_FN(rope)(const hybrid__op_rope *op, int row)
{
    int h;
    for (h = 0; h < op->n_head; h++)
        HYBRID__V_FN(rope_head)(op->kind, op->x + row * op->x_stride + (int64_t)h * op->head_dim, op->n_rot, op->table + (int64_t)row * op->n_rot);
}

static HYBRID__V_TARGET void HYBRID__V_FN(glu)(hybrid__act_kind act, const float *gate, const float *up, float *out, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N) {
        HYBRID__V v = HYBRID__V_FN(get)(gate + i, n - i);
        if (act == HYBRID__ACT_SILU) v = HYBRID__V_FN(silu)(v);
        else if (act == HYBRID__ACT_GELU) v = HYBRID__V_FN(gelu)(v);
        else v = HYBRID__V_FN(gelu_tanh)(v);
        if (up) v = HYBRID__V_MUL(v, HYBRID__V_FN(get)(up + i, n - i));
        HYBRID__V_FN(put)(out + i, v, n - i);
    }
}

static HYBRID__V_TARGET void HYBRID__V_FN(add)(float *y, const float *x, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_ADD(HYBRID__V_FN(get)(y + i, n - i), HYBRID__V_FN(get)(x + i, n - i)), n - i);
}
static HYBRID__V_TARGET void HYBRID__V_FN(add_scaled)(float *y, const float *x, float factor, int64_t n)
{
    const HYBRID__V f = HYBRID__V_SET1(factor);
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_ADD(HYBRID__V_FN(get)(y + i, n - i), HYBRID__V_MUL(HYBRID__V_FN(get)(x + i, n - i), f)), n - i);
}
static HYBRID__V_TARGET void HYBRID__V_FN(scale)(float *y, float factor, int64_t n)
{
    const HYBRID__V f = HYBRID__V_SET1(factor);
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_MUL(HYBRID__V_FN(get)(y + i, n - i), f), n - i);
}
static HYBRID__V_TARGET void HYBRID__V_FN(softcap)(float *y, float cap, int64_t n)
{
    const HYBRID__V c = HYBRID__V_SET1(cap);
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_MUL(c, HYBRID__V_FN(tanh)(HYBRID__V_DIV(HYBRID__V_FN(get)(y + i, n - i), c))), n - i);
}

/* ---- the cache ------------------------------------------------------------------------------------------------------ */

HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(kv_q8_0)(const float *x, hybrid__block_q8_0 *block)
{
    const HYBRID__V magic = HYBRID__V_SET1(12582912.0f);
    HYBRID__V most = HYBRID__V_ABS(HYBRID__V_LOAD(x)), factor;
    float lanes[HYBRID__V_N], d;
    uint32_t bits = 0;
    int i;
    for (i = HYBRID__V_N; i < 32; i += HYBRID__V_N) most = HYBRID__V_MAX_BITS(most, HYBRID__V_ABS(HYBRID__V_LOAD(x + i)));
    HYBRID__V_STORE(lanes, most);
    for (i = 0; i < HYBRID__V_N; i++) bits = HYBRID__MAX(bits, hybrid__f32_bits(lanes[i]));
    d = hybrid__bits_f32(bits) / 127.0f;
    block->d = hybrid__f32_to_f16(d);
    if (bits >= 0x7F800000u) { memset(block->qs, 0, sizeof block->qs); return; }
    factor = HYBRID__V_SET1(d != 0.0f ? 1.0f / d : 0.0f);
    for (i = 0; i < 32; i += HYBRID__V_N) {
        HYBRID__V t = HYBRID__V_ADD(HYBRID__V_MUL(HYBRID__V_LOAD(x + i), factor), magic);
        HYBRID__V_STORE_I8(block->qs + i, HYBRID__V_SUB(t, magic));
    }
}

static HYBRID__V_TARGET void HYBRID__V_FN(kv_row)(hybrid_type type, const float *x, void *row, int n)
{
    int i = 0;
    if (type == HYBRID_TYPE_F32) memcpy(row, x, (size_t)n * sizeof *x);
    else if (type == HYBRID_TYPE_F16) {
        for (; i + HYBRID__V_N <= n; i += HYBRID__V_N) HYBRID__V_STORE_F16((char *)row + 2 * i, HYBRID__V_LOAD(x + i));
        for (; i < n; i++) hybrid__store_u16((char *)row + 2 * i, hybrid__f32_to_f16(x[i]));
    } else for (; i < n / 32; i++) HYBRID__V_FN(kv_q8_0)(x + 32 * i, (hybrid__block_q8_0 *)row + i);
}
/* ==== end src/compute/cpu_rows.inc ==== */

/* ==== begin src/compute/cpu_attention.inc ==== */
/* compute/cpu_attention: attention of a block of rows over the pages of a cache, in vectors. Stamped for each instruction set.
 *
 * A query is one row's one head; all queries of a block share a kv head, so a page is turned into floats once for all of them. K is transposed:
 * a vector holds one number of 16 (8) slots, and the scores of a query are built without sums across lanes. For every page:
 *     scores (all queries) -> scale, soft-cap, mask, new maximum -> exp, sums -> acc = acc * c + e V.
 * A row's result is that of hybrid__attention_row_generic, bit for bit, whatever else is in the block. */

enum { HYBRID__V_FN(page_vectors) = HYBRID__PAGE / HYBRID__V_N };      /* vectors over the slots of a page */

/* ---- a page as floats ----------------------------------------------------------------------------------------------- */

/* x[0 .. padded) = the n values of a cache row, then zeros. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(kv_load)(hybrid_type type, const char *row, int n, int padded, float *x)
{
    int i = 0;
    if (type == HYBRID_TYPE_F16) {
        for (; i + HYBRID__V_N <= n; i += HYBRID__V_N) HYBRID__V_STORE(x + i, HYBRID__V_LOAD_F16(row + 2 * i));
        for (; i < n; i++) x[i] = hybrid__f16_to_f32(hybrid__load_u16(row + 2 * i));
    } else if (type == HYBRID_TYPE_F32) {
        memcpy(x, row, (size_t)n * sizeof *x);
        i = n;
    } else for (; i < n; i += 32) {
        const hybrid__block_q8_0 *block = (const hybrid__block_q8_0 *)(const void *)row + i / 32;
        const HYBRID__V d = HYBRID__V_SET1(hybrid__f16_to_f32(block->d));
        int j;
        for (j = 0; j < 32; j += HYBRID__V_N) HYBRID__V_STORE(x + i + j, HYBRID__V_MUL(d, HYBRID__V_LOAD_I8(block->qs + j)));
    }
    for (; i < padded; i++) x[i] = 0;
}

/* Slots low .. high of a page of one kv head; the others read as zeros, whatever is stored there. */
static HYBRID__V_TARGET void HYBRID__V_FN(page_load)(const hybrid__kv_view *kv, int32_t page, int head, int low, int high, hybrid__attention_scratch *s)
{
    int slot, i, j;
    for (slot = 0; slot < HYBRID__PAGE; slot++) {
        float *k = s->page_k + slot * s->dim_k, *v = s->page_v + slot * s->dim_v;
        if (slot < low || slot >= high) { memset(k, 0, (size_t)s->dim_k * sizeof *k); continue; }
        HYBRID__V_FN(kv_load)(kv->type, hybrid__k_row(kv, page, head, slot), kv->head_dim_k, s->dim_k, k);
        HYBRID__V_FN(kv_load)(kv->type, hybrid__v_row(kv, page, head, slot), kv->head_dim_v, s->dim_v, v);
    }
    for (slot = 0; slot < HYBRID__PAGE; slot += HYBRID__V_N)
        for (i = 0; i < s->dim_k; i += HYBRID__V_N) {
            HYBRID__V block[HYBRID__V_N];
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) block[j] = HYBRID__V_LOAD(s->page_k + (slot + j) * s->dim_k + i);
            HYBRID__V_TRANSPOSE(block);
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) HYBRID__V_STORE(s->page_k_t + (i + j) * HYBRID__PAGE + slot, block[j]);
        }
}

/* ---- scores --------------------------------------------------------------------------------------------------------- */

/* The dot products of n queries with two vectors of slots. The 32 partial sums of a product are taken two by two, i and i + 16, in the
 * order in which halving joins them; what waits for its partner lies on a stack. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(score_tile)(const int n, const hybrid__attention_scratch *s, const float *q, const float *k, float *e)
{
    static const unsigned char order[16] = { 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15 };
    HYBRID__V stack[4][HYBRID__V_TILE][2];
    const int dim = s->dim_k;
    int t, i, j;
    for (t = 0; t < 16; t++) {
        HYBRID__V a[HYBRID__V_TILE][2], b[HYBRID__V_TILE][2];
        int level = 0;
        HYBRID__UNROLL
        for (j = 0; j < n; j++) a[j][0] = a[j][1] = b[j][0] = b[j][1] = HYBRID__V_SET1(0.0f);
        for (i = order[t]; i < dim; i += 32) {
            const float *ka = k + i * HYBRID__PAGE, *kb = ka + 16 * HYBRID__PAGE;
            HYBRID__V k0 = HYBRID__V_LOAD(ka), k1 = HYBRID__V_LOAD(ka + HYBRID__V_N), x;
            HYBRID__UNROLL
            for (j = 0; j < n; j++) {
                x = HYBRID__V_SET1(q[j * dim + i]);
                a[j][0] = HYBRID__V_FMA(k0, x, a[j][0]);
                a[j][1] = HYBRID__V_FMA(k1, x, a[j][1]);
            }
            k0 = HYBRID__V_LOAD(kb); k1 = HYBRID__V_LOAD(kb + HYBRID__V_N);
            HYBRID__UNROLL
            for (j = 0; j < n; j++) {
                x = HYBRID__V_SET1(q[j * dim + i + 16]);
                b[j][0] = HYBRID__V_FMA(k0, x, b[j][0]);
                b[j][1] = HYBRID__V_FMA(k1, x, b[j][1]);
            }
        }
        HYBRID__UNROLL
        for (j = 0; j < n; j++) { a[j][0] = HYBRID__V_ADD(a[j][0], b[j][0]); a[j][1] = HYBRID__V_ADD(a[j][1], b[j][1]); }
        for (; t >> level & 1; level++) {
            HYBRID__UNROLL
            for (j = 0; j < n; j++) { a[j][0] = HYBRID__V_ADD(stack[level][j][0], a[j][0]); a[j][1] = HYBRID__V_ADD(stack[level][j][1], a[j][1]); }
        }
        if (level < 4) {
            HYBRID__UNROLL
            for (j = 0; j < n; j++) { stack[level][j][0] = a[j][0]; stack[level][j][1] = a[j][1]; }
        } else {
            HYBRID__UNROLL
            for (j = 0; j < n; j++) { HYBRID__V_STORE(e + j * HYBRID__PAGE, a[j][0]); HYBRID__V_STORE(e + j * HYBRID__PAGE + HYBRID__V_N, a[j][1]); }
        }
    }
}

/* ---- acc = acc + e V ------------------------------------------------------------------------------------------------ */

/* n queries, width vectors of the head, slots low .. high. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(value_tile)(const int n, const int width, const float *e, const float *v, float *acc, int dim, int low, int high)
{
    HYBRID__V a[HYBRID__V_TILE][4], x[4];
    int i, j, slot;
    HYBRID__UNROLL
    for (j = 0; j < n; j++)
        HYBRID__UNROLL
        for (i = 0; i < width; i++) a[j][i] = HYBRID__V_LOAD(acc + j * dim + i * HYBRID__V_N);
    for (slot = low; slot < high; slot++) {
        HYBRID__UNROLL
        for (i = 0; i < width; i++) x[i] = HYBRID__V_LOAD(v + slot * dim + i * HYBRID__V_N);
        HYBRID__UNROLL
        for (j = 0; j < n; j++) {
            HYBRID__V y = HYBRID__V_SET1(e[j * HYBRID__PAGE + slot]);
            HYBRID__UNROLL
            for (i = 0; i < width; i++) a[j][i] = HYBRID__V_FMA(y, x[i], a[j][i]);
        }
    }
    HYBRID__UNROLL
    for (j = 0; j < n; j++)
        HYBRID__UNROLL
        for (i = 0; i < width; i++) HYBRID__V_STORE(acc + j * dim + i * HYBRID__V_N, a[j][i]);
}

/* The whole head of n queries. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(value_rows)(const int n, const hybrid__attention_scratch *s, int q, int low, int high)
{
    int i = 0, dim = s->dim_v;
    for (; i + 4 * HYBRID__V_N <= dim; i += 4 * HYBRID__V_N)
        HYBRID__V_FN(value_tile)(n, 4, s->e + q * HYBRID__PAGE, s->page_v + i, s->acc + q * dim + i, dim, low, high);
    if (i < dim) HYBRID__V_FN(value_tile)(n, 2, s->e + q * HYBRID__PAGE, s->page_v + i, s->acc + q * dim + i, dim, low, high);
}

/* Both steps are compiled for some numbers of queries; others are put together. */
#define HYBRID__V_TILES(n)                                                                                                                   \
    static HYBRID__V_TARGET void HYBRID__V_FN(score_##n)(const hybrid__attention_scratch *s, int q)                                          \
    {                                                                                                                                        \
        int slot;                                                                                                                            \
        for (slot = 0; slot < HYBRID__PAGE; slot += 2 * HYBRID__V_N)                                                                         \
            HYBRID__V_FN(score_tile)(n, s, s->q + q * s->dim_k, s->page_k_t + slot, s->e + q * HYBRID__PAGE + slot);                         \
    }                                                                                                                                        \
    static HYBRID__V_TARGET void HYBRID__V_FN(value_##n)(const hybrid__attention_scratch *s, int q, int low, int high) { HYBRID__V_FN(value_rows)(n, s, q, low, high); }
HYBRID__V_TILES(1)
HYBRID__V_TILES(2)
HYBRID__V_TILES(3)
#if HYBRID__V_TILE == 6
HYBRID__V_TILES(4)
HYBRID__V_TILES(6)
#endif
#undef HYBRID__V_TILES

/* The largest compiled number of queries that is at most left. */
HYBRID__INLINE int HYBRID__V_FN(tile)(int left)
{
    if (left >= HYBRID__V_TILE) return HYBRID__V_TILE;
    return left == 5 ? 4 : left;
}
static HYBRID__V_TARGET void HYBRID__V_FN(scores)(const hybrid__attention_scratch *s, int q, int n)
{
    switch (n) {
        case 1: HYBRID__V_FN(score_1)(s, q); break;
        case 2: HYBRID__V_FN(score_2)(s, q); break;
        case 3: HYBRID__V_FN(score_3)(s, q); break;
#if HYBRID__V_TILE == 6
        case 4: HYBRID__V_FN(score_4)(s, q); break;
        case 6: HYBRID__V_FN(score_6)(s, q); break;
#endif
    }
}
static HYBRID__V_TARGET void HYBRID__V_FN(values)(const hybrid__attention_scratch *s, int q, int n, int low, int high)
{
    if (low >= high) return;
    switch (n) {
        case 1: HYBRID__V_FN(value_1)(s, q, low, high); break;
        case 2: HYBRID__V_FN(value_2)(s, q, low, high); break;
        case 3: HYBRID__V_FN(value_3)(s, q, low, high); break;
#if HYBRID__V_TILE == 6
        case 4: HYBRID__V_FN(value_4)(s, q, low, high); break;
        case 6: HYBRID__V_FN(value_6)(s, q, low, high); break;
#endif
    }
}

/* ---- softmax -------------------------------------------------------------------------------------------------------- */

HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(max_lanes)(HYBRID__V v)
{
    float x[HYBRID__V_N];
    int i, h;
    HYBRID__V_STORE(x, v);
    for (h = HYBRID__V_N / 2; h; h /= 2)
        HYBRID__UNROLL
        for (i = 0; i < h; i++) x[i] = hybrid__max_scalar(x[i], x[i + h]);
    return x[0];
}

/* Scores of slots low .. high become final, the others -inf; m becomes the new maximum and c the difference to the old one. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(softmax_max)(const hybrid__op_attention *op, float *e, int low, int high, float *m, float *c)
{
    const HYBRID__V scale = HYBRID__V_SET1(op->scale), cap = HYBRID__V_SET1(op->softcap), none = HYBRID__V_SET1(-HUGE_VALF);
    HYBRID__V most = none;
    float old = *m;
    int i;
    for (i = 0; i < HYBRID__PAGE; i += HYBRID__V_N) {
        HYBRID__V x = HYBRID__V_MUL(HYBRID__V_LOAD(e + i), scale);
        if (op->softcap > 0) x = HYBRID__V_MUL(cap, HYBRID__V_FN(tanh)(HYBRID__V_DIV(x, cap)));
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(high - i), x, none);
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(low - i), none, x);
        HYBRID__V_STORE(e + i, x);
        most = HYBRID__V_MAX(most, x);
    }
    *m = hybrid__max_scalar(old, HYBRID__V_FN(max_lanes)(most));
    *c = old - *m;
}

/* e = exp(e - m), 0 outside low .. high; returns the sum. */
HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(softmax_exp)(float *e, int low, int high, float m)
{
    const HYBRID__V shift = HYBRID__V_SET1(m), zero = HYBRID__V_SET1(0.0f);
    HYBRID__V p[HYBRID__V_FN(page_vectors)];
    int i;
    HYBRID__UNROLL
    for (i = 0; i < HYBRID__V_FN(page_vectors); i++) {
        HYBRID__V x = HYBRID__V_FN(exp)(HYBRID__V_SUB(HYBRID__V_LOAD(e + i * HYBRID__V_N), shift));
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(high - i * HYBRID__V_N), x, zero);
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(low - i * HYBRID__V_N), zero, x);
        HYBRID__V_STORE(e + i * HYBRID__V_N, x);
        p[i] = x;
    }
    return HYBRID__V_FN(halve32)(p);
}

HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(times)(float *x, float factor, int n)
{
    const HYBRID__V f = HYBRID__V_SET1(factor);
    int i;
    for (i = 0; i < n; i += HYBRID__V_N) HYBRID__V_STORE(x + i, HYBRID__V_MUL(HYBRID__V_LOAD(x + i), f));
}

/* ---- one block ------------------------------------------------------------------------------------------------------ */

/* What slots of a page a row sees: *low .. *high, empty when low >= high. */
HYBRID__INLINE void HYBRID__V_FN(visible)(const hybrid__op_attention *op, int32_t pos, int32_t page, int *low, int *high)
{
    *low = HYBRID__MAX(hybrid__attention_first(op, pos) - page * HYBRID__PAGE, 0);
    *high = HYBRID__MIN(pos - page * HYBRID__PAGE + 1, HYBRID__PAGE);
}

/* Queries q .. q + n take in a page. All their scores are final, their exps taken, their acc scaled. Where the rows see different slots, those
 * that all see are one tile's work, and the rest is done row by row, before and after: slots stay in order. */
static HYBRID__V_TARGET void HYBRID__V_FN(page_values)(const hybrid__attention_scratch *s, const int *low, const int *high, int q, int n)
{
    int all_low = low[q], all_high = high[q], i;
    for (i = q + 1; i < q + n; i++) { all_low = HYBRID__MAX(all_low, low[i]); all_high = HYBRID__MIN(all_high, high[i]); }
    if (all_low >= all_high) {
        for (i = q; i < q + n; i++) HYBRID__V_FN(values)(s, i, 1, low[i], high[i]);
        return;
    }
    for (i = q; i < q + n; i++) HYBRID__V_FN(values)(s, i, 1, low[i], all_low);
    HYBRID__V_FN(values)(s, q, n, all_low, all_high);
    for (i = q; i < q + n; i++) HYBRID__V_FN(values)(s, i, 1, all_high, high[i]);
}

static HYBRID__V_TARGET void HYBRID__V_FN(attention_page)(const hybrid__op_attention *op, hybrid__attention_scratch *s, int32_t pos0, int32_t page, int n_heads, int n)
{
    int low[HYBRID__ATTENTION_QUERIES], high[HYBRID__ATTENTION_QUERIES], q, step, from = n, to = 0;
    for (q = 0; q < n; q++) {
        HYBRID__V_FN(visible)(op, pos0 + q / n_heads, page, &low[q], &high[q]);
        if (low[q] < high[q]) { from = HYBRID__MIN(from, q); to = q + 1; }             /* the rows that see a page are consecutive */
    }
    for (q = from; q < to; q += step) HYBRID__V_FN(scores)(s, q, step = HYBRID__V_FN(tile)(to - q));
    for (q = from; q < to; q++) HYBRID__V_FN(softmax_max)(op, s->e + q * HYBRID__PAGE, low[q], high[q], &s->m[q], &s->c[q]);
    for (q = from; q < to; q += HYBRID__V_N) HYBRID__V_FN(put)(s->c + q, HYBRID__V_FN(exp)(HYBRID__V_FN(get)(s->c + q, to - q)), to - q);
    for (q = from; q < to; q++) {
        float sum = HYBRID__V_FN(softmax_exp)(s->e + q * HYBRID__PAGE, low[q], high[q], s->m[q]);
        s->l[q] = s->l[q] * s->c[q] + sum;
        HYBRID__V_FN(times)(s->acc + q * s->dim_v, s->c[q], s->dim_v);
    }
    for (q = from; q < to; q += step) HYBRID__V_FN(page_values)(s, low, high, q, step = HYBRID__V_FN(tile)(to - q));
}

static HYBRID__V_TARGET void HYBRID__V_FN(attention)(const hybrid__op_attention *op, const hybrid__run *run, int row0, int n_rows, int head0, int n_heads, void *memory)
{
    const hybrid__kv_view *kv = op->kv;
    hybrid__attention_scratch s;
    int n = n_rows * n_heads, head_kv = head0 / (op->n_head / kv->n_head_kv), q, i;
    int32_t pos0 = run->pos + row0, pos1 = pos0 + n_rows - 1, first = hybrid__attention_first(op, pos0), page;
    hybrid__attention_layout(&s, (float *)memory, kv->head_dim_k, kv->head_dim_v);
    memset(s.acc, 0, sizeof(float) * (size_t)n * (size_t)s.dim_v);
    for (q = 0; q < n; q++) {
        const float *x = op->q + (run->first_row + row0 + q / n_heads) * op->q_stride + (int64_t)(head0 + q % n_heads) * kv->head_dim_k;
        memcpy(s.q + q * s.dim_k, x, (size_t)kv->head_dim_k * sizeof *x);
        for (i = kv->head_dim_k; i < s.dim_k; i++) s.q[q * s.dim_k + i] = 0;
        s.m[q] = -HUGE_VALF;
        s.l[q] = 0;
    }
    for (page = first / HYBRID__PAGE; page <= pos1 / HYBRID__PAGE; page++) {
        HYBRID__V_FN(page_load)(kv, run->pages[page], head_kv, HYBRID__MAX(first - page * HYBRID__PAGE, 0), HYBRID__MIN(pos1 - page * HYBRID__PAGE + 1, HYBRID__PAGE), &s);
        HYBRID__V_FN(attention_page)(op, &s, pos0, page, n_heads, n);
    }
    for (q = 0; q < n; q++) {
        float *out = op->out + (run->first_row + row0 + q / n_heads) * op->out_stride + (int64_t)(head0 + q % n_heads) * kv->head_dim_v, *acc = s.acc + q * s.dim_v;
        if (op->sinks) {
            float sink = op->sinks[head0 + q % n_heads], m = hybrid__max_scalar(s.m[q], sink), c = hybrid__exp_scalar(s.m[q] - m);
            s.l[q] = s.l[q] * c + hybrid__exp_scalar(sink - m);
            HYBRID__V_FN(times)(acc, c, s.dim_v);
        }
        HYBRID__V_FN(times)(acc, 1.0f / s.l[q], s.dim_v);
        memcpy(out, acc, (size_t)kv->head_dim_v * sizeof *out);
    }
}

static const hybrid__cpu_kernels HYBRID__V_FN(cpu_kernels) = {
    HYBRID__V_FN(norm), HYBRID__V_FN(rope), HYBRID__V_FN(glu), HYBRID__V_FN(add), HYBRID__V_FN(add_scaled), HYBRID__V_FN(scale), HYBRID__V_FN(softcap),
    HYBRID__V_FN(kv_row), HYBRID__V_FN(attention)
};
/* ==== end src/compute/cpu_attention.inc ==== */

/* ==== begin src/compute/cpu_float.inc ==== */
/* compute/cpu_float.inc: matrix products of F32, F16 and BF16 weights, in vectors. Stamped for each instruction set.
 *
 * The order (NUMERICS.md): 32 partial sums over k % 32, joined by halves. gemv has them in the lanes of one row of weights. gemm has rows of
 * weights in lanes, so a partial sum is a run over the k of one residue: weights are packed and activations prepared residue by residue, in the
 * order in which halving joins them, and finished sums wait for their partner on a stack. */

enum {
    HYBRID__V_FN(panel) = 2 * HYBRID__V_N,         /* rows of weights a tile: two vectors */
    HYBRID__V_FN(panels) = 64 / (2 * HYBRID__V_N)  /* panels that are packed at once, at most */
};

/* N weights as floats. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(weights)(const hybrid_type type, const char *p)
{
    if (type == HYBRID_TYPE_F32) return HYBRID__V_LOAD((const float *)(const void *)p);
    if (type == HYBRID_TYPE_F16) return HYBRID__V_LOAD_F16(p);
    return HYBRID__V_LOAD_BF16(p);
}

/* ---- one row of x --------------------------------------------------------------------------------------------------- */

HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(dot)(const hybrid_type type, const char *w, const float *x, int64_t k)
{
    const int size = type == HYBRID_TYPE_F32 ? 4 : 2;
    HYBRID__V p[HYBRID__V_FN(vectors)];
    int64_t i;
    int j;
    HYBRID__UNROLL
    for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_SET1(0.0f);
    for (i = 0; i + 32 <= k; i += 32)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++)
            p[j] = HYBRID__V_FMA(HYBRID__V_FN(weights)(type, w + (i + j * HYBRID__V_N) * size), HYBRID__V_LOAD(x + i + j * HYBRID__V_N), p[j]);
    if (i < k) {
        char tail[32 * 4] = { 0 };
        memcpy(tail, w + i * size, (size_t)(k - i) * (size_t)size);
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++)
            p[j] = HYBRID__V_FMA(HYBRID__V_FN(weights)(type, tail + j * HYBRID__V_N * size), HYBRID__V_LOAD(x + i + j * HYBRID__V_N), p[j]);
    }
    return HYBRID__V_FN(halve32)(p);
}

/* ---- many rows: how x and w are laid out (cpu_float.c) ----------------------------------------------------------------- */

static HYBRID__V_TARGET void HYBRID__V_FN(act_prepare)(const float *x, int64_t k, void *act)
{
    int64_t run = (k + 31) / 32, i;
    int l, j;
    for (i = 0; i < run; i += HYBRID__V_N)
        for (l = 0; l < 32; l += HYBRID__V_N) {
            HYBRID__V block[HYBRID__V_N];
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) {
                int64_t at = (i + j) * 32 + l;
                block[j] = at < k ? HYBRID__V_FN(get)(x + at, k - at) : HYBRID__V_SET1(0.0f);
            }
            HYBRID__V_TRANSPOSE(block);
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) HYBRID__V_FN(put)((float *)act + hybrid__residue(l + j) * run + i, block[j], run - i);
        }
}

/* panel[(residue(l) * run + i) * R + r] = w[r][32 i + l] for R rows, of which n exist. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(pack)(const hybrid_type type, const char *w, size_t row_bytes, int64_t k, int n, float *panel)
{
    const int size = type == HYBRID_TYPE_F32 ? 4 : 2;
    int64_t run = (k + 31) / 32, i;
    int l, r, j;
    for (i = 0; i < run; i++)
        for (r = 0; r < HYBRID__V_FN(panel); r += HYBRID__V_N)
            for (l = 0; l < 32; l += HYBRID__V_N) {
                int64_t at = i * 32 + l, left = k - at;
                HYBRID__V block[HYBRID__V_N];
                HYBRID__UNROLL
                for (j = 0; j < HYBRID__V_N; j++) {
                    const char *p = w + (size_t)(r + j) * row_bytes + at * size;
                    if (r + j >= n || left <= 0) block[j] = HYBRID__V_SET1(0.0f);
                    else if (left >= HYBRID__V_N) block[j] = HYBRID__V_FN(weights)(type, p);
                    else {
                        char tail[HYBRID__V_N * 4] = { 0 };
                        memcpy(tail, p, (size_t)left * (size_t)size);
                        block[j] = HYBRID__V_FN(weights)(type, tail);
                    }
                }
                HYBRID__V_TRANSPOSE(block);
                HYBRID__UNROLL
                for (j = 0; j < HYBRID__V_N; j++) HYBRID__V_STORE(panel + (hybrid__residue(l + j) * run + i) * HYBRID__V_FN(panel) + r, block[j]);
            }
}

/* ---- the tile ------------------------------------------------------------------------------------------------------- */

/* A panel times n columns of x: x[c * x_stride + i]. y: n columns, y_stride apart, of which rows are written when the last chunk is done. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(gemm_tile)(const int n, const hybrid__gemm_chunk *chunk, const float *panel, const float *x, int64_t x_stride,
    float *waiting, float *y, int64_t y_stride, int rows)
{
    HYBRID__V stack[5][HYBRID__V_COLUMNS][2], a[HYBRID__V_COLUMNS][2];
    int64_t i;
    int t, c, level;
    for (t = 0; t < chunk->residues; t++) {
        HYBRID__UNROLL
        for (c = 0; c < n; c++) a[c][0] = a[c][1] = HYBRID__V_SET1(0.0f);
        for (i = 0; i < chunk->run; i++) {
            HYBRID__V w0 = HYBRID__V_LOAD(panel), w1 = HYBRID__V_LOAD(panel + HYBRID__V_N);
            HYBRID__UNROLL
            for (c = 0; c < n; c++) {
                HYBRID__V v = HYBRID__V_SET1(x[c / 3 * 3 * x_stride + c % 3 * x_stride]);
                a[c][0] = HYBRID__V_FMA(w0, v, a[c][0]);
                a[c][1] = HYBRID__V_FMA(w1, v, a[c][1]);
            }
            panel += HYBRID__V_FN(panel);
            x++;
        }
        for (level = 0; t >> level & 1; level++) {
            HYBRID__UNROLL
            for (c = 0; c < n; c++) { a[c][0] = HYBRID__V_ADD(stack[level][c][0], a[c][0]); a[c][1] = HYBRID__V_ADD(stack[level][c][1], a[c][1]); }
        }
        if (t + 1 < chunk->residues) {
            HYBRID__UNROLL
            for (c = 0; c < n; c++) { stack[level][c][0] = a[c][0]; stack[level][c][1] = a[c][1]; }
        }
    }
    for (level = 0; chunk->index >> level & 1; level++) {
        const float *p = waiting + level * chunk->level_size;
        HYBRID__UNROLL
        for (c = 0; c < n; c++) {
            a[c][0] = HYBRID__V_ADD(HYBRID__V_LOAD(p + c * HYBRID__V_FN(panel)), a[c][0]);
            a[c][1] = HYBRID__V_ADD(HYBRID__V_LOAD(p + c * HYBRID__V_FN(panel) + HYBRID__V_N), a[c][1]);
        }
    }
    if (chunk->index < chunk->last) {
        float *p = waiting + level * chunk->level_size;
        HYBRID__UNROLL
        for (c = 0; c < n; c++) { HYBRID__V_STORE(p + c * HYBRID__V_FN(panel), a[c][0]); HYBRID__V_STORE(p + c * HYBRID__V_FN(panel) + HYBRID__V_N, a[c][1]); }
    } else {
        HYBRID__UNROLL
        for (c = 0; c < n; c++) {
            HYBRID__V_FN(put)(y + c * y_stride, a[c][0], rows);
            if (rows > HYBRID__V_N) HYBRID__V_FN(put)(y + c * y_stride + HYBRID__V_N, a[c][1], rows - HYBRID__V_N);
        }
    }
}

#define HYBRID__V_TILE_OF(n)                                                                                                                \
    static HYBRID__V_TARGET HYBRID__NOINLINE void HYBRID__V_FN(gemm_tile_##n)(const hybrid__gemm_chunk *chunk, const float *panel, const float *x, int64_t x_stride, \
        float *waiting, float *y, int64_t y_stride, int rows)                                                                               \
    {                                                                                                                                       \
        HYBRID__V_FN(gemm_tile)(n, chunk, panel, x, x_stride, waiting, y, y_stride, rows);                                                  \
    }
HYBRID__V_TILE_OF(1)
HYBRID__V_TILE_OF(2)
HYBRID__V_TILE_OF(4)
HYBRID__V_TILE_OF(6)
#if HYBRID__V_COLUMNS == 12
HYBRID__V_TILE_OF(12)
#endif
#undef HYBRID__V_TILE_OF

/* ---- the loops around it ---------------------------------------------------------------------------------------------- */

enum {
    HYBRID__V_FN(chunk_bytes) = 48 << 10,          /* of a packed panel: what stays near while the columns pass */
    HYBRID__V_FN(packed_bytes) = 1 << 20           /* of all panels that are packed at once */
};

/* How a product is cut: residues of a chunk, panels packed at once, levels of waiting sums. */
static void HYBRID__V_FN(gemm_plan)(int64_t k, int *residues, int *panels, int *levels)
{
    int64_t panel = (k + 31) / 32 * 32 * HYBRID__V_FN(panel) * (int64_t)sizeof(float);
    *levels = 0;
    for (*residues = 32; *residues > 1 && panel * *residues / 32 > HYBRID__V_FN(chunk_bytes); *residues /= 2) ++*levels;
    for (*panels = HYBRID__V_FN(panels); *panels > 1 && panel * *panels > HYBRID__V_FN(packed_bytes); *panels /= 2) {}
}
static size_t HYBRID__V_FN(gemm_scratch)(int64_t k, int n)
{
    int residues, panels, levels;
    HYBRID__V_FN(gemm_plan)(k, &residues, &panels, &levels);
    return sizeof(float) * (size_t)panels * HYBRID__V_FN(panel) * ((size_t)(k + 31) / 32 * 32 + (size_t)n * (size_t)levels);
}

/* Columns first .. first + n of one panel in one chunk. */
static HYBRID__V_TARGET void HYBRID__V_FN(gemm_columns)(const hybrid__gemm_chunk *chunk, const float *panel, const char *acts, size_t act_bytes, int n, float *waiting, float *y, int64_t y_stride, int rows)
{
    int64_t x_stride = (int64_t)(act_bytes / sizeof(float));
    int c = 0;
#define HYBRID__V_TILE_OF(m)                                                                                                                \
    for (; c + m <= n; c += m)                                                                                                              \
        HYBRID__V_FN(gemm_tile_##m)(chunk, panel, (const float *)(const void *)(acts + (size_t)c * act_bytes) + chunk->index * chunk->residues * chunk->run, x_stride,   \
            waiting + c * HYBRID__V_FN(panel), y + c * y_stride, y_stride, rows);
#if HYBRID__V_COLUMNS == 12
    HYBRID__V_TILE_OF(12)
#endif
    HYBRID__V_TILE_OF(6)
    HYBRID__V_TILE_OF(4)
    HYBRID__V_TILE_OF(2)
    HYBRID__V_TILE_OF(1)
#undef HYBRID__V_TILE_OF
}

HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(gemm)(const hybrid_type type, const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,
    int64_t r0, int64_t r1, void *scratch)
{
    const int R = HYBRID__V_FN(panel);
    hybrid__gemm_chunk chunk;
    int64_t r, panel_size = (k + 31) / 32 * 32 * R;
    float *packed = (float *)scratch;
    int panels, levels, p, c, step;
    HYBRID__V_FN(gemm_plan)(k, &chunk.residues, &panels, &levels);
    chunk.run = (k + 31) / 32;
    chunk.last = 32 / chunk.residues - 1;
    chunk.waiting = packed + panels * panel_size;
    chunk.level_size = (int64_t)n * R * panels;
    for (r = r0; r < r1; r += panels * R) {
        int here = (int)HYBRID__MIN((r1 - r + R - 1) / R, (int64_t)panels);
        for (p = 0; p < here; p++)
            HYBRID__V_FN(pack)(type, (const char *)w + (size_t)(r + p * R) * row_bytes, row_bytes, k, (int)HYBRID__MIN(r1 - r - p * R, (int64_t)R), packed + p * panel_size);
        for (chunk.index = 0; chunk.index <= chunk.last; chunk.index++)
            for (c = 0; c < n; c += step)
                for (step = HYBRID__MIN(n - c, HYBRID__V_COLUMNS), p = 0; p < here; p++)
                    HYBRID__V_FN(gemm_columns)(&chunk, packed + p * panel_size + chunk.index * chunk.residues * chunk.run * R, (const char *)acts + (size_t)c * hybrid__act_split_bytes(k),
                        hybrid__act_split_bytes(k), step, chunk.waiting + ((int64_t)p * n + c) * R, y + c * y_stride + (r - r0) + p * R, y_stride, (int)HYBRID__MIN(r1 - r - p * R, (int64_t)R));
    }
}

/* ---- the three types ------------------------------------------------------------------------------------------------ */

static const hybrid__act_format HYBRID__V_FN(act_format) = { hybrid__act_split_bytes, HYBRID__V_FN(act_prepare) };

#define HYBRID__V_FLOAT(suffix, type)                                                                                                       \
    static HYBRID__V_TARGET void HYBRID__V_FN(gemv_##suffix)(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1) \
    {                                                                                                                                       \
        int64_t r;                                                                                                                          \
        for (r = r0; r < r1; r++) y[r - r0] = HYBRID__V_FN(dot)(type, (const char *)w + (size_t)r * row_bytes, (const float *)act, k);      \
    }                                                                                                                                       \
    static HYBRID__V_TARGET void HYBRID__V_FN(gemm_##suffix)(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, \
        int64_t y_stride, int64_t r0, int64_t r1, void *scratch)                                                                            \
    {                                                                                                                                       \
        HYBRID__V_FN(gemm)(type, w, row_bytes, k, acts, n, y, y_stride, r0, r1, scratch);                                                   \
    }                                                                                                                                       \
    static const hybrid__matmul_kernel HYBRID__V_FN(matmul_##suffix) = { &hybrid__act_f32, &HYBRID__V_FN(act_format), 3, HYBRID__V_FN(panel), \
        HYBRID__V_FN(gemv_##suffix), HYBRID__V_FN(gemm_scratch), HYBRID__V_FN(gemm_##suffix) };
HYBRID__V_FLOAT(f32, HYBRID_TYPE_F32)
HYBRID__V_FLOAT(f16, HYBRID_TYPE_F16)
HYBRID__V_FLOAT(bf16, HYBRID_TYPE_BF16)
#undef HYBRID__V_FLOAT
/* ==== end src/compute/cpu_float.inc ==== */

/* ==== begin src/compute/cpu_vec_end.inc ==== */
/* compute/cpu_vec_end: forgets the vector macros, before the next instruction set defines its own. */
#undef HYBRID__V
#undef HYBRID__V_MASK
#undef HYBRID__V_N
#undef HYBRID__V_FN
#undef HYBRID__V_TARGET
#undef HYBRID__V_TILE
#undef HYBRID__V_COLUMNS
#undef HYBRID__V_SET1
#undef HYBRID__V_ADD
#undef HYBRID__V_SUB
#undef HYBRID__V_MUL
#undef HYBRID__V_DIV
#undef HYBRID__V_FMA
#undef HYBRID__V_MAX
#undef HYBRID__V_MIN
#undef HYBRID__V_LESS
#undef HYBRID__V_SELECT
#undef HYBRID__V_ABS
#undef HYBRID__V_NEG
#undef HYBRID__V_COPYSIGN
#undef HYBRID__V_LDEXP
#undef HYBRID__V_MAX_BITS
#undef HYBRID__V_LOAD
#undef HYBRID__V_STORE
#undef HYBRID__V_LOAD_N
#undef HYBRID__V_STORE_N
#undef HYBRID__V_FIRST
#undef HYBRID__V_LOAD_F16
#undef HYBRID__V_LOAD_BF16
#undef HYBRID__V_LOAD_I8
#undef HYBRID__V_STORE_F16
#undef HYBRID__V_STORE_I8
#undef HYBRID__V_HALVE
#undef HYBRID__V_TRANSPOSE
#undef HYBRID__V_PAIR_EVEN
#undef HYBRID__V_PAIR_ODD
#undef HYBRID__V_PAIR_SWAP
#undef HYBRID__V_NEG_EVEN
#undef HYBRID__V_EVENS
#undef HYBRID__V_ODDS
/* ==== end src/compute/cpu_vec_end.inc ==== */

/* ==== begin src/compute/cpu_vec_avx512.inc ==== */
/* compute/cpu_vec_avx512: the vector macros for AVX-512 (F, BW, DQ, VL). cpu_vec_avx2.inc says what each means. */
#define HYBRID__V                  __m512
#define HYBRID__V_MASK             __mmask16
#define HYBRID__V_N                16
#define HYBRID__V_FN(name)         hybrid__##name##_avx512
#define HYBRID__V_TARGET           HYBRID__TARGET_AVX512
#define HYBRID__V_TILE             6
#define HYBRID__V_COLUMNS          12

#define HYBRID__V_SET1(x)          _mm512_set1_ps(x)
#define HYBRID__V_ADD(a, b)        _mm512_add_ps(a, b)
#define HYBRID__V_SUB(a, b)        _mm512_sub_ps(a, b)
#define HYBRID__V_MUL(a, b)        _mm512_mul_ps(a, b)
#define HYBRID__V_DIV(a, b)        _mm512_div_ps(a, b)
#define HYBRID__V_FMA(a, b, c)     _mm512_fmadd_ps(a, b, c)
#define HYBRID__V_MAX(a, b)        _mm512_max_ps(a, b)
#define HYBRID__V_MIN(a, b)        _mm512_min_ps(a, b)
#define HYBRID__V_LESS(a, b)       _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define HYBRID__V_SELECT(m, a, b)  _mm512_mask_mov_ps(b, m, a)
#define HYBRID__V_ABS(a)           _mm512_andnot_ps(_mm512_set1_ps(-0.0f), a)
#define HYBRID__V_NEG(a)           _mm512_xor_ps(_mm512_set1_ps(-0.0f), a)
#define HYBRID__V_COPYSIGN(a, s)   _mm512_or_ps(a, _mm512_and_ps(s, _mm512_set1_ps(-0.0f)))
#define HYBRID__V_LDEXP(p, t)      _mm512_scalef_ps(p, _mm512_sub_ps(t, _mm512_set1_ps(12582912.0f)))
#define HYBRID__V_MAX_BITS(a, b)   _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)))

#define HYBRID__V_LOAD(p)          _mm512_loadu_ps(p)
#define HYBRID__V_STORE(p, v)      _mm512_storeu_ps(p, v)
#define HYBRID__V_LOAD_N(p, n)     _mm512_maskz_loadu_ps(hybrid__v_first_avx512(n), p)
#define HYBRID__V_STORE_N(p, v, n) _mm512_mask_storeu_ps(p, hybrid__v_first_avx512(n), v)
#define HYBRID__V_FIRST(n)         hybrid__v_first_avx512(n)
#define HYBRID__V_LOAD_F16(p)      _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)(p)))
#define HYBRID__V_LOAD_BF16(p)     _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(p))), 16))
#define HYBRID__V_LOAD_I8(p)       _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(p))))
#define HYBRID__V_STORE_F16(p, v)  _mm256_storeu_si256((__m256i *)(void *)(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#define HYBRID__V_STORE_I8(p, v)   _mm_storeu_si128((__m128i *)(void *)(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)))

#define HYBRID__V_HALVE(v)         hybrid__v_halve_avx512(v)
#define HYBRID__V_TRANSPOSE(v)     hybrid__v_transpose_avx512(v)
#define HYBRID__V_PAIR_EVEN(v)     _mm512_moveldup_ps(v)
#define HYBRID__V_PAIR_ODD(v)      _mm512_movehdup_ps(v)
#define HYBRID__V_PAIR_SWAP(v)     _mm512_permute_ps(v, 0xB1)
#define HYBRID__V_NEG_EVEN(v)      _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(v), _mm512_set1_epi64(0x80000000)))
#define HYBRID__V_EVENS(a, b)      _mm512_permutex2var_ps(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b)
#define HYBRID__V_ODDS(a, b)       _mm512_permutex2var_ps(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b)

HYBRID__INLINE HYBRID__TARGET_AVX512 __mmask16 hybrid__v_first_avx512(int n)
{
    return (__mmask16)(n <= 0 ? 0 : n >= 16 ? 0xFFFF : (1 << n) - 1);
}

HYBRID__INLINE HYBRID__TARGET_AVX512 float hybrid__v_halve_avx512(__m512 v)
{
    __m256 y = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}

HYBRID__INLINE HYBRID__TARGET_AVX512 void hybrid__v_transpose_avx512(__m512 v[16])
{
    __m512 a[16], b[16];
    int i;
    HYBRID__UNROLL
    for (i = 0; i < 8; i++) { a[2 * i] = _mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]); a[2 * i + 1] = _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]); }
    HYBRID__UNROLL
    for (i = 0; i < 4; i++) {                                   /* b[4i + j]: columns j, j + 4, j + 8, j + 12 of rows 4i .. 4i + 3, a quarter each */
        b[4 * i] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
        b[4 * i + 1] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0xEE);
        b[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
        b[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xEE);
    }
    HYBRID__UNROLL
    for (i = 0; i < 4; i++) {                                   /* a transposition of quarters, for each j */
        __m512 lo = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88), lo2 = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xDD);
        __m512 hi = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88), hi2 = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xDD);
        v[i] = _mm512_shuffle_f32x4(lo, hi, 0x88);
        v[i + 4] = _mm512_shuffle_f32x4(lo2, hi2, 0x88);
        v[i + 8] = _mm512_shuffle_f32x4(lo, hi, 0xDD);
        v[i + 12] = _mm512_shuffle_f32x4(lo2, hi2, 0xDD);
    }
}
/* ==== end src/compute/cpu_vec_avx512.inc ==== */

/* ==== begin src/compute/math.inc ==== */
/* compute/math: exp, tanh, silu, gelu and its tanh form. One text, stamped for each instruction set by the HYBRID__V_ macros; the same
 * operations in the same order everywhere, so the same bits. Errors against the true value are below 2 ulp over all floats whose result is
 * a normal number (tests/test_ops.c walks them). NaN gives NaN. The polynomials are minimax fits (relative error), coefficients rounded to float. */

/* e^x * (1 + low): low is the part of the argument that did not fit in x, |low| << 1.
 * x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 Q(r). Below -104 and above 89 the result is 0 and inf anyway. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(exp2part)(HYBRID__V x, HYBRID__V low)
{
    const HYBRID__V magic = HYBRID__V_SET1(12582912.0f);         /* 1.5 * 2^23: adding it rounds to an integer, kept in the low bits */
    HYBRID__V t, n, r, q;
    x = HYBRID__V_MIN(HYBRID__V_SET1(89.0f), HYBRID__V_MAX(HYBRID__V_SET1(-104.0f), x));        /* these pass a NaN on */
    t = HYBRID__V_FMA(x, HYBRID__V_SET1(1.44269504f), magic);
    n = HYBRID__V_SUB(t, magic);
    r = HYBRID__V_FMA(n, HYBRID__V_SET1(-0.693359375f), x);      /* 9 bits: n times it is exact */
    r = HYBRID__V_FMA(n, HYBRID__V_SET1(2.12194440e-4f), r);
    r = HYBRID__V_ADD(r, low);
    q = HYBRID__V_SET1(1.381431590e-3f);
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(8.368850686e-3f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(4.166840017e-2f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(1.666651964e-1f));
    q = HYBRID__V_FMA(q, r, HYBRID__V_SET1(4.999999404e-1f));
    q = HYBRID__V_FMA(HYBRID__V_MUL(r, r), q, r);
    return HYBRID__V_LDEXP(HYBRID__V_ADD(q, HYBRID__V_SET1(1.0f)), t);
}

HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(exp)(HYBRID__V x) { return HYBRID__V_FN(exp2part)(x, HYBRID__V_SET1(0.0f)); }

/* Small: x + x^3 P(x^2). Else 1 - 2 / (e^2x + 1), with the sign of x. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(tanh)(HYBRID__V x)
{
    HYBRID__V a = HYBRID__V_ABS(x), z = HYBRID__V_MUL(a, a), p, e;
    p = HYBRID__V_SET1(-5.717041902e-3f);
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(2.065058425e-2f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(-5.374349654e-2f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(1.333149076e-1f));
    p = HYBRID__V_FMA(p, z, HYBRID__V_SET1(-3.333328366e-1f));
    p = HYBRID__V_FMA(HYBRID__V_MUL(a, z), p, a);
    e = HYBRID__V_ADD(HYBRID__V_FN(exp)(HYBRID__V_ADD(a, a)), HYBRID__V_SET1(1.0f));
    e = HYBRID__V_SUB(HYBRID__V_SET1(1.0f), HYBRID__V_DIV(HYBRID__V_SET1(2.0f), e));
    return HYBRID__V_COPYSIGN(HYBRID__V_SELECT(HYBRID__V_LESS(a, HYBRID__V_SET1(0.625f)), p, e), x);
}

/* x / (1 + e^-w) for w = (w + low) of the sign of x: for w < 0 as x e^w / (1 + e^w), which neither overflows nor cancels. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(times_sigmoid)(HYBRID__V x, HYBRID__V w, HYBRID__V low)
{
    const HYBRID__V zero = HYBRID__V_SET1(0.0f);
    HYBRID__V_MASK negative = HYBRID__V_LESS(w, zero);
    HYBRID__V e = HYBRID__V_FN(exp2part)(HYBRID__V_NEG(HYBRID__V_ABS(w)), HYBRID__V_SELECT(negative, low, HYBRID__V_NEG(low)));
    HYBRID__V top = HYBRID__V_MUL(HYBRID__V_MAX(HYBRID__V_SET1(-3e38f), x), e);          /* -inf * 0 shall be 0 */
    return HYBRID__V_DIV(HYBRID__V_SELECT(negative, top, x), HYBRID__V_ADD(e, HYBRID__V_SET1(1.0f)));
}

HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(silu)(HYBRID__V x) { return HYBRID__V_FN(times_sigmoid)(x, x, HYBRID__V_SET1(0.0f)); }

/* x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) = x sigmoid(w), w = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a.
 * For x < 0 an error of w is one of the result, |w| times enlarged: w is computed in two parts. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(gelu_tanh)(HYBRID__V x)
{
    const HYBRID__V a = HYBRID__V_SET1(1.59576917f), a_low = HYBRID__V_SET1(-4.53407e-8f), b = HYBRID__V_SET1(0.0713548139f), b_low = HYBRID__V_SET1(2.39883e-9f);
    HYBRID__V y = HYBRID__V_MIN(HYBRID__V_SET1(20.0f), HYBRID__V_MAX(HYBRID__V_SET1(-20.0f), x));  /* sigmoid is 0 or 1 beyond */
    HYBRID__V s = HYBRID__V_MUL(y, y), s_low = HYBRID__V_FMA(y, y, HYBRID__V_NEG(s));
    HYBRID__V p = HYBRID__V_MUL(b, s), p_low = HYBRID__V_FMA(b, s, HYBRID__V_NEG(p));
    HYBRID__V u = HYBRID__V_ADD(a, p), part = HYBRID__V_SUB(u, a), low, w;
    low = HYBRID__V_ADD(HYBRID__V_SUB(a, HYBRID__V_SUB(u, part)), HYBRID__V_SUB(p, part));         /* what a + p lost */
    p_low = HYBRID__V_FMA(b, s_low, HYBRID__V_FMA(b_low, s, p_low));
    low = HYBRID__V_ADD(low, HYBRID__V_ADD(p_low, a_low));
    w = HYBRID__V_MUL(y, u);
    low = HYBRID__V_FMA(y, low, HYBRID__V_FMA(y, u, HYBRID__V_NEG(w)));
    return HYBRID__V_FN(times_sigmoid)(x, w, low);
}

/* x Phi(x). Phi(-t) = e^(-t^2 / 2) R(t), t = |x|; R(t) = P(1 - 6 / (t + 3)) / (t + 3) for t in 0..14.6, where the result leaves the floats. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(gelu)(HYBRID__V x)
{
    const HYBRID__V one = HYBRID__V_SET1(1.0f);
    HYBRID__V t = HYBRID__V_MIN(HYBRID__V_SET1(14.6f), HYBRID__V_ABS(x)), s = HYBRID__V_MUL(t, t), s_low, inv, u, p, e;
    s_low = HYBRID__V_FMA(t, t, HYBRID__V_NEG(s));
    e = HYBRID__V_FN(exp2part)(HYBRID__V_MUL(HYBRID__V_SET1(-0.5f), s), HYBRID__V_MUL(HYBRID__V_SET1(-0.5f), s_low));
    inv = HYBRID__V_DIV(one, HYBRID__V_ADD(t, HYBRID__V_SET1(3.0f)));
    u = HYBRID__V_FMA(HYBRID__V_SET1(-6.0f), inv, one);
    p = HYBRID__V_SET1(5.446403884e-5f);
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(1.312734094e-4f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-2.447491279e-4f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-1.032536966e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(1.024776837e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(6.969304755e-3f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-1.046251878e-2f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-4.726268724e-2f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(2.300177068e-1f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(-5.093320012e-1f));
    p = HYBRID__V_FMA(p, u, HYBRID__V_SET1(7.290837169e-1f));
    p = HYBRID__V_MUL(p, inv);
    s = HYBRID__V_MUL(HYBRID__V_MUL(HYBRID__V_MAX(HYBRID__V_SET1(-3e38f), x), p), e);
    return HYBRID__V_SELECT(HYBRID__V_LESS(x, HYBRID__V_SET1(0.0f)), s, HYBRID__V_FMA(HYBRID__V_NEG(HYBRID__V_MUL(p, e)), t, x));
}
/* ==== end src/compute/math.inc ==== */

/* ==== begin src/compute/cpu_rows.inc ==== */
/* compute/cpu_rows: norms, rotations, activations, sums and the writing of the cache, in vectors. Stamped for each instruction set;
 * cpu_generic.c says what each does. */

/* The next N of n values, or the left < N that there are (the plain forms are much faster than the masked ones on some processors). */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(get)(const float *p, int64_t left)
{
    if (left >= HYBRID__V_N) return HYBRID__V_LOAD(p);
    return HYBRID__V_LOAD_N(p, (int)left);
}
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(put)(float *p, HYBRID__V v, int64_t left)
{
    if (left >= HYBRID__V_N) HYBRID__V_STORE(p, v);
    else HYBRID__V_STORE_N(p, v, (int)left);
}

/* ---- norms ---------------------------------------------------------------------------------------------------------- */

enum { HYBRID__V_FN(vectors) = 32 / HYBRID__V_N };         /* vectors that hold 32 partial sums */

/* p[0 .. 32) by halves; p is spoilt. */
HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(halve32)(HYBRID__V *p)
{
    int h, i;
    HYBRID__UNROLL
    for (h = 16 / HYBRID__V_N; h; h /= 2)
        HYBRID__UNROLL
        for (i = 0; i < h; i++) p[i] = HYBRID__V_ADD(p[i], p[i + h]);
    return HYBRID__V_HALVE(p[0]);
}

HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(sum)(const float *x, int64_t n)
{
    HYBRID__V p[HYBRID__V_FN(vectors)];
    int64_t i;
    int j;
    for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_SET1(0.0f);
    for (i = 0; i + 32 <= n; i += 32)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_ADD(p[j], HYBRID__V_LOAD(x + i + j * HYBRID__V_N));
    if (i < n)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_ADD(p[j], HYBRID__V_LOAD_N(x + i + j * HYBRID__V_N, (int)(n - i) - j * HYBRID__V_N));
    return HYBRID__V_FN(halve32)(p);
}

/* Sum of (x - mean)^2. */
HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(sum_squares)(const float *x, float mean, int64_t n)
{
    const HYBRID__V shift = HYBRID__V_SET1(mean);
    HYBRID__V p[HYBRID__V_FN(vectors)];
    int64_t i;
    int j;
    for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_SET1(0.0f);
    for (i = 0; i + 32 <= n; i += 32)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) {
            HYBRID__V d = HYBRID__V_SUB(HYBRID__V_LOAD(x + i + j * HYBRID__V_N), shift);
            p[j] = HYBRID__V_FMA(d, d, p[j]);
        }
    if (i < n)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++) {
            int left = (int)(n - i) - j * HYBRID__V_N;
            HYBRID__V d = HYBRID__V_SUB(HYBRID__V_LOAD_N(x + i + j * HYBRID__V_N, left), shift);
            d = HYBRID__V_SELECT(HYBRID__V_FIRST(left), d, HYBRID__V_SET1(0.0f));
            p[j] = HYBRID__V_FMA(d, d, p[j]);
        }
    return HYBRID__V_FN(halve32)(p);
}

static HYBRID__V_TARGET void HYBRID__V_FN(norm)(const hybrid__op_norm *op, int64_t row)
{
    const float *x = op->x + row * op->x_stride;
    float *out = op->out + row * op->out_stride;
    float mean = op->kind == HYBRID__NORM_LAYER ? HYBRID__V_FN(sum)(x, op->n) / (float)op->n : 0.0f;
    float scale = 1.0f / sqrtf(HYBRID__V_FN(sum_squares)(x, mean, op->n) / (float)op->n + op->eps);
    const HYBRID__V shift = HYBRID__V_SET1(mean), factor = HYBRID__V_SET1(scale);
    int64_t i;
    for (i = 0; i < op->n; i += HYBRID__V_N) {
        HYBRID__V v = HYBRID__V_MUL(HYBRID__V_SUB(HYBRID__V_FN(get)(x + i, op->n - i), shift), factor);
        if (op->w) v = HYBRID__V_MUL(v, HYBRID__V_FN(get)(op->w + i, op->n - i));
        if (op->b) v = HYBRID__V_ADD(v, HYBRID__V_FN(get)(op->b + i, op->n - i));
        HYBRID__V_FN(put)(out + i, v, op->n - i);
    }
}

/* ---- element by element --------------------------------------------------------------------------------------------- */

/* One head. A pair (a, b) becomes (a c - b s, a s + b c). */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(rope_head)(hybrid__rope_kind kind, float *x, int n_rot, const float *table)
{
    int half = n_rot / 2, i = 0, step = kind == HYBRID__ROPE_NORM ? 2 : 1, pair = kind == HYBRID__ROPE_NORM ? 1 : half;
    if (kind == HYBRID__ROPE_NORM) {
        for (; 2 * i + HYBRID__V_N <= n_rot; i += HYBRID__V_N / 2) {
            HYBRID__V v = HYBRID__V_LOAD(x + 2 * i), t = HYBRID__V_LOAD(table + 2 * i);
            HYBRID__V other = HYBRID__V_MUL(HYBRID__V_PAIR_SWAP(v), HYBRID__V_PAIR_ODD(t));
            HYBRID__V_STORE(x + 2 * i, HYBRID__V_ADD(HYBRID__V_MUL(v, HYBRID__V_PAIR_EVEN(t)), HYBRID__V_NEG_EVEN(other)));
        }
    } else {
        for (; i + HYBRID__V_N <= half; i += HYBRID__V_N) {
            HYBRID__V a = HYBRID__V_LOAD(x + i), b = HYBRID__V_LOAD(x + half + i), t = HYBRID__V_LOAD(table + 2 * i), u = HYBRID__V_LOAD(table + 2 * i + HYBRID__V_N);
            HYBRID__V c = HYBRID__V_EVENS(t, u), s = HYBRID__V_ODDS(t, u);
            HYBRID__V_STORE(x + i, HYBRID__V_SUB(HYBRID__V_MUL(a, c), HYBRID__V_MUL(b, s)));
            HYBRID__V_STORE(x + half + i, HYBRID__V_ADD(HYBRID__V_MUL(a, s), HYBRID__V_MUL(b, c)));
        }
    }
    for (; i < half; i++) {
        float c = table[2 * i], s = table[2 * i + 1], a = x[i * step], b = x[i * step + pair];
        x[i * step] = a * c - b * s;
        x[i * step + pair] = a * s + b * c;
    }
}
static HYBRID__V_TARGET void HYBRID__V_FN(rope)(const hybrid__op_rope *op, int row)
{
    int h;
    for (h = 0; h < op->n_head; h++)
        HYBRID__V_FN(rope_head)(op->kind, op->x + row * op->x_stride + (int64_t)h * op->head_dim, op->n_rot, op->table + (int64_t)row * op->n_rot);
}

static HYBRID__V_TARGET void HYBRID__V_FN(glu)(hybrid__act_kind act, const float *gate, const float *up, float *out, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N) {
        HYBRID__V v = HYBRID__V_FN(get)(gate + i, n - i);
        if (act == HYBRID__ACT_SILU) v = HYBRID__V_FN(silu)(v);
        else if (act == HYBRID__ACT_GELU) v = HYBRID__V_FN(gelu)(v);
        else v = HYBRID__V_FN(gelu_tanh)(v);
        if (up) v = HYBRID__V_MUL(v, HYBRID__V_FN(get)(up + i, n - i));
        HYBRID__V_FN(put)(out + i, v, n - i);
    }
}

static HYBRID__V_TARGET void HYBRID__V_FN(add)(float *y, const float *x, int64_t n)
{
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_ADD(HYBRID__V_FN(get)(y + i, n - i), HYBRID__V_FN(get)(x + i, n - i)), n - i);
}
static HYBRID__V_TARGET void HYBRID__V_FN(add_scaled)(float *y, const float *x, float factor, int64_t n)
{
    const HYBRID__V f = HYBRID__V_SET1(factor);
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_ADD(HYBRID__V_FN(get)(y + i, n - i), HYBRID__V_MUL(HYBRID__V_FN(get)(x + i, n - i), f)), n - i);
}
static HYBRID__V_TARGET void HYBRID__V_FN(scale)(float *y, float factor, int64_t n)
{
    const HYBRID__V f = HYBRID__V_SET1(factor);
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_MUL(HYBRID__V_FN(get)(y + i, n - i), f), n - i);
}
static HYBRID__V_TARGET void HYBRID__V_FN(softcap)(float *y, float cap, int64_t n)
{
    const HYBRID__V c = HYBRID__V_SET1(cap);
    int64_t i;
    for (i = 0; i < n; i += HYBRID__V_N)
        HYBRID__V_FN(put)(y + i, HYBRID__V_MUL(c, HYBRID__V_FN(tanh)(HYBRID__V_DIV(HYBRID__V_FN(get)(y + i, n - i), c))), n - i);
}

/* ---- the cache ------------------------------------------------------------------------------------------------------ */

HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(kv_q8_0)(const float *x, hybrid__block_q8_0 *block)
{
    const HYBRID__V magic = HYBRID__V_SET1(12582912.0f);
    HYBRID__V most = HYBRID__V_ABS(HYBRID__V_LOAD(x)), factor;
    float lanes[HYBRID__V_N], d;
    uint32_t bits = 0;
    int i;
    for (i = HYBRID__V_N; i < 32; i += HYBRID__V_N) most = HYBRID__V_MAX_BITS(most, HYBRID__V_ABS(HYBRID__V_LOAD(x + i)));
    HYBRID__V_STORE(lanes, most);
    for (i = 0; i < HYBRID__V_N; i++) bits = HYBRID__MAX(bits, hybrid__f32_bits(lanes[i]));
    d = hybrid__bits_f32(bits) / 127.0f;
    block->d = hybrid__f32_to_f16(d);
    if (bits >= 0x7F800000u) { memset(block->qs, 0, sizeof block->qs); return; }
    factor = HYBRID__V_SET1(d != 0.0f ? 1.0f / d : 0.0f);
    for (i = 0; i < 32; i += HYBRID__V_N) {
        HYBRID__V t = HYBRID__V_ADD(HYBRID__V_MUL(HYBRID__V_LOAD(x + i), factor), magic);
        HYBRID__V_STORE_I8(block->qs + i, HYBRID__V_SUB(t, magic));
    }
}

static HYBRID__V_TARGET void HYBRID__V_FN(kv_row)(hybrid_type type, const float *x, void *row, int n)
{
    int i = 0;
    if (type == HYBRID_TYPE_F32) memcpy(row, x, (size_t)n * sizeof *x);
    else if (type == HYBRID_TYPE_F16) {
        for (; i + HYBRID__V_N <= n; i += HYBRID__V_N) HYBRID__V_STORE_F16((char *)row + 2 * i, HYBRID__V_LOAD(x + i));
        for (; i < n; i++) hybrid__store_u16((char *)row + 2 * i, hybrid__f32_to_f16(x[i]));
    } else for (; i < n / 32; i++) HYBRID__V_FN(kv_q8_0)(x + 32 * i, (hybrid__block_q8_0 *)row + i);
}
/* ==== end src/compute/cpu_rows.inc ==== */

/* ==== begin src/compute/cpu_attention.inc ==== */
/* compute/cpu_attention: attention of a block of rows over the pages of a cache, in vectors. Stamped for each instruction set.
 *
 * A query is one row's one head; all queries of a block share a kv head, so a page is turned into floats once for all of them. K is transposed:
 * a vector holds one number of 16 (8) slots, and the scores of a query are built without sums across lanes. For every page:
 *     scores (all queries) -> scale, soft-cap, mask, new maximum -> exp, sums -> acc = acc * c + e V.
 * A row's result is that of hybrid__attention_row_generic, bit for bit, whatever else is in the block. */

enum { HYBRID__V_FN(page_vectors) = HYBRID__PAGE / HYBRID__V_N };      /* vectors over the slots of a page */

/* ---- a page as floats ----------------------------------------------------------------------------------------------- */

/* x[0 .. padded) = the n values of a cache row, then zeros. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(kv_load)(hybrid_type type, const char *row, int n, int padded, float *x)
{
    int i = 0;
    if (type == HYBRID_TYPE_F16) {
        for (; i + HYBRID__V_N <= n; i += HYBRID__V_N) HYBRID__V_STORE(x + i, HYBRID__V_LOAD_F16(row + 2 * i));
        for (; i < n; i++) x[i] = hybrid__f16_to_f32(hybrid__load_u16(row + 2 * i));
    } else if (type == HYBRID_TYPE_F32) {
        memcpy(x, row, (size_t)n * sizeof *x);
        i = n;
    } else for (; i < n; i += 32) {
        const hybrid__block_q8_0 *block = (const hybrid__block_q8_0 *)(const void *)row + i / 32;
        const HYBRID__V d = HYBRID__V_SET1(hybrid__f16_to_f32(block->d));
        int j;
        for (j = 0; j < 32; j += HYBRID__V_N) HYBRID__V_STORE(x + i + j, HYBRID__V_MUL(d, HYBRID__V_LOAD_I8(block->qs + j)));
    }
    for (; i < padded; i++) x[i] = 0;
}

/* Slots low .. high of a page of one kv head; the others read as zeros, whatever is stored there. */
static HYBRID__V_TARGET void HYBRID__V_FN(page_load)(const hybrid__kv_view *kv, int32_t page, int head, int low, int high, hybrid__attention_scratch *s)
{
    int slot, i, j;
    for (slot = 0; slot < HYBRID__PAGE; slot++) {
        float *k = s->page_k + slot * s->dim_k, *v = s->page_v + slot * s->dim_v;
        if (slot < low || slot >= high) { memset(k, 0, (size_t)s->dim_k * sizeof *k); continue; }
        HYBRID__V_FN(kv_load)(kv->type, hybrid__k_row(kv, page, head, slot), kv->head_dim_k, s->dim_k, k);
        HYBRID__V_FN(kv_load)(kv->type, hybrid__v_row(kv, page, head, slot), kv->head_dim_v, s->dim_v, v);
    }
    for (slot = 0; slot < HYBRID__PAGE; slot += HYBRID__V_N)
        for (i = 0; i < s->dim_k; i += HYBRID__V_N) {
            HYBRID__V block[HYBRID__V_N];
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) block[j] = HYBRID__V_LOAD(s->page_k + (slot + j) * s->dim_k + i);
            HYBRID__V_TRANSPOSE(block);
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) HYBRID__V_STORE(s->page_k_t + (i + j) * HYBRID__PAGE + slot, block[j]);
        }
}

/* ---- scores --------------------------------------------------------------------------------------------------------- */

/* The dot products of n queries with two vectors of slots. The 32 partial sums of a product are taken two by two, i and i + 16, in the
 * order in which halving joins them; what waits for its partner lies on a stack. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(score_tile)(const int n, const hybrid__attention_scratch *s, const float *q, const float *k, float *e)
{
    static const unsigned char order[16] = { 0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15 };
    HYBRID__V stack[4][HYBRID__V_TILE][2];
    const int dim = s->dim_k;
    int t, i, j;
    for (t = 0; t < 16; t++) {
        HYBRID__V a[HYBRID__V_TILE][2], b[HYBRID__V_TILE][2];
        int level = 0;
        HYBRID__UNROLL
        for (j = 0; j < n; j++) a[j][0] = a[j][1] = b[j][0] = b[j][1] = HYBRID__V_SET1(0.0f);
        for (i = order[t]; i < dim; i += 32) {
            const float *ka = k + i * HYBRID__PAGE, *kb = ka + 16 * HYBRID__PAGE;
            HYBRID__V k0 = HYBRID__V_LOAD(ka), k1 = HYBRID__V_LOAD(ka + HYBRID__V_N), x;
            HYBRID__UNROLL
            for (j = 0; j < n; j++) {
                x = HYBRID__V_SET1(q[j * dim + i]);
                a[j][0] = HYBRID__V_FMA(k0, x, a[j][0]);
                a[j][1] = HYBRID__V_FMA(k1, x, a[j][1]);
            }
            k0 = HYBRID__V_LOAD(kb); k1 = HYBRID__V_LOAD(kb + HYBRID__V_N);
            HYBRID__UNROLL
            for (j = 0; j < n; j++) {
                x = HYBRID__V_SET1(q[j * dim + i + 16]);
                b[j][0] = HYBRID__V_FMA(k0, x, b[j][0]);
                b[j][1] = HYBRID__V_FMA(k1, x, b[j][1]);
            }
        }
        HYBRID__UNROLL
        for (j = 0; j < n; j++) { a[j][0] = HYBRID__V_ADD(a[j][0], b[j][0]); a[j][1] = HYBRID__V_ADD(a[j][1], b[j][1]); }
        for (; t >> level & 1; level++) {
            HYBRID__UNROLL
            for (j = 0; j < n; j++) { a[j][0] = HYBRID__V_ADD(stack[level][j][0], a[j][0]); a[j][1] = HYBRID__V_ADD(stack[level][j][1], a[j][1]); }
        }
        if (level < 4) {
            HYBRID__UNROLL
            for (j = 0; j < n; j++) { stack[level][j][0] = a[j][0]; stack[level][j][1] = a[j][1]; }
        } else {
            HYBRID__UNROLL
            for (j = 0; j < n; j++) { HYBRID__V_STORE(e + j * HYBRID__PAGE, a[j][0]); HYBRID__V_STORE(e + j * HYBRID__PAGE + HYBRID__V_N, a[j][1]); }
        }
    }
}

/* ---- acc = acc + e V ------------------------------------------------------------------------------------------------ */

/* n queries, width vectors of the head, slots low .. high. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(value_tile)(const int n, const int width, const float *e, const float *v, float *acc, int dim, int low, int high)
{
    HYBRID__V a[HYBRID__V_TILE][4], x[4];
    int i, j, slot;
    HYBRID__UNROLL
    for (j = 0; j < n; j++)
        HYBRID__UNROLL
        for (i = 0; i < width; i++) a[j][i] = HYBRID__V_LOAD(acc + j * dim + i * HYBRID__V_N);
    for (slot = low; slot < high; slot++) {
        HYBRID__UNROLL
        for (i = 0; i < width; i++) x[i] = HYBRID__V_LOAD(v + slot * dim + i * HYBRID__V_N);
        HYBRID__UNROLL
        for (j = 0; j < n; j++) {
            HYBRID__V y = HYBRID__V_SET1(e[j * HYBRID__PAGE + slot]);
            HYBRID__UNROLL
            for (i = 0; i < width; i++) a[j][i] = HYBRID__V_FMA(y, x[i], a[j][i]);
        }
    }
    HYBRID__UNROLL
    for (j = 0; j < n; j++)
        HYBRID__UNROLL
        for (i = 0; i < width; i++) HYBRID__V_STORE(acc + j * dim + i * HYBRID__V_N, a[j][i]);
}

/* The whole head of n queries. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(value_rows)(const int n, const hybrid__attention_scratch *s, int q, int low, int high)
{
    int i = 0, dim = s->dim_v;
    for (; i + 4 * HYBRID__V_N <= dim; i += 4 * HYBRID__V_N)
        HYBRID__V_FN(value_tile)(n, 4, s->e + q * HYBRID__PAGE, s->page_v + i, s->acc + q * dim + i, dim, low, high);
    if (i < dim) HYBRID__V_FN(value_tile)(n, 2, s->e + q * HYBRID__PAGE, s->page_v + i, s->acc + q * dim + i, dim, low, high);
}

/* Both steps are compiled for some numbers of queries; others are put together. */
#define HYBRID__V_TILES(n)                                                                                                                   \
    static HYBRID__V_TARGET void HYBRID__V_FN(score_##n)(const hybrid__attention_scratch *s, int q)                                          \
    {                                                                                                                                        \
        int slot;                                                                                                                            \
        for (slot = 0; slot < HYBRID__PAGE; slot += 2 * HYBRID__V_N)                                                                         \
            HYBRID__V_FN(score_tile)(n, s, s->q + q * s->dim_k, s->page_k_t + slot, s->e + q * HYBRID__PAGE + slot);                         \
    }                                                                                                                                        \
    static HYBRID__V_TARGET void HYBRID__V_FN(value_##n)(const hybrid__attention_scratch *s, int q, int low, int high) { HYBRID__V_FN(value_rows)(n, s, q, low, high); }
HYBRID__V_TILES(1)
HYBRID__V_TILES(2)
HYBRID__V_TILES(3)
#if HYBRID__V_TILE == 6
HYBRID__V_TILES(4)
HYBRID__V_TILES(6)
#endif
#undef HYBRID__V_TILES

/* The largest compiled number of queries that is at most left. */
HYBRID__INLINE int HYBRID__V_FN(tile)(int left)
{
    if (left >= HYBRID__V_TILE) return HYBRID__V_TILE;
    return left == 5 ? 4 : left;
}
static HYBRID__V_TARGET void HYBRID__V_FN(scores)(const hybrid__attention_scratch *s, int q, int n)
{
    switch (n) {
        case 1: HYBRID__V_FN(score_1)(s, q); break;
        case 2: HYBRID__V_FN(score_2)(s, q); break;
        case 3: HYBRID__V_FN(score_3)(s, q); break;
#if HYBRID__V_TILE == 6
        case 4: HYBRID__V_FN(score_4)(s, q); break;
        case 6: HYBRID__V_FN(score_6)(s, q); break;
#endif
    }
}
static HYBRID__V_TARGET void HYBRID__V_FN(values)(const hybrid__attention_scratch *s, int q, int n, int low, int high)
{
    if (low >= high) return;
    switch (n) {
        case 1: HYBRID__V_FN(value_1)(s, q, low, high); break;
        case 2: HYBRID__V_FN(value_2)(s, q, low, high); break;
        case 3: HYBRID__V_FN(value_3)(s, q, low, high); break;
#if HYBRID__V_TILE == 6
        case 4: HYBRID__V_FN(value_4)(s, q, low, high); break;
        case 6: HYBRID__V_FN(value_6)(s, q, low, high); break;
#endif
    }
}

/* ---- softmax -------------------------------------------------------------------------------------------------------- */

HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(max_lanes)(HYBRID__V v)
{
    float x[HYBRID__V_N];
    int i, h;
    HYBRID__V_STORE(x, v);
    for (h = HYBRID__V_N / 2; h; h /= 2)
        HYBRID__UNROLL
        for (i = 0; i < h; i++) x[i] = hybrid__max_scalar(x[i], x[i + h]);
    return x[0];
}

/* Scores of slots low .. high become final, the others -inf; m becomes the new maximum and c the difference to the old one. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(softmax_max)(const hybrid__op_attention *op, float *e, int low, int high, float *m, float *c)
{
    const HYBRID__V scale = HYBRID__V_SET1(op->scale), cap = HYBRID__V_SET1(op->softcap), none = HYBRID__V_SET1(-HUGE_VALF);
    HYBRID__V most = none;
    float old = *m;
    int i;
    for (i = 0; i < HYBRID__PAGE; i += HYBRID__V_N) {
        HYBRID__V x = HYBRID__V_MUL(HYBRID__V_LOAD(e + i), scale);
        if (op->softcap > 0) x = HYBRID__V_MUL(cap, HYBRID__V_FN(tanh)(HYBRID__V_DIV(x, cap)));
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(high - i), x, none);
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(low - i), none, x);
        HYBRID__V_STORE(e + i, x);
        most = HYBRID__V_MAX(most, x);
    }
    *m = hybrid__max_scalar(old, HYBRID__V_FN(max_lanes)(most));
    *c = old - *m;
}

/* e = exp(e - m), 0 outside low .. high; returns the sum. */
HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(softmax_exp)(float *e, int low, int high, float m)
{
    const HYBRID__V shift = HYBRID__V_SET1(m), zero = HYBRID__V_SET1(0.0f);
    HYBRID__V p[HYBRID__V_FN(page_vectors)];
    int i;
    HYBRID__UNROLL
    for (i = 0; i < HYBRID__V_FN(page_vectors); i++) {
        HYBRID__V x = HYBRID__V_FN(exp)(HYBRID__V_SUB(HYBRID__V_LOAD(e + i * HYBRID__V_N), shift));
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(high - i * HYBRID__V_N), x, zero);
        x = HYBRID__V_SELECT(HYBRID__V_FIRST(low - i * HYBRID__V_N), zero, x);
        HYBRID__V_STORE(e + i * HYBRID__V_N, x);
        p[i] = x;
    }
    return HYBRID__V_FN(halve32)(p);
}

HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(times)(float *x, float factor, int n)
{
    const HYBRID__V f = HYBRID__V_SET1(factor);
    int i;
    for (i = 0; i < n; i += HYBRID__V_N) HYBRID__V_STORE(x + i, HYBRID__V_MUL(HYBRID__V_LOAD(x + i), f));
}

/* ---- one block ------------------------------------------------------------------------------------------------------ */

/* What slots of a page a row sees: *low .. *high, empty when low >= high. */
HYBRID__INLINE void HYBRID__V_FN(visible)(const hybrid__op_attention *op, int32_t pos, int32_t page, int *low, int *high)
{
    *low = HYBRID__MAX(hybrid__attention_first(op, pos) - page * HYBRID__PAGE, 0);
    *high = HYBRID__MIN(pos - page * HYBRID__PAGE + 1, HYBRID__PAGE);
}

/* Queries q .. q + n take in a page. All their scores are final, their exps taken, their acc scaled. Where the rows see different slots, those
 * that all see are one tile's work, and the rest is done row by row, before and after: slots stay in order. */
static HYBRID__V_TARGET void HYBRID__V_FN(page_values)(const hybrid__attention_scratch *s, const int *low, const int *high, int q, int n)
{
    int all_low = low[q], all_high = high[q], i;
    for (i = q + 1; i < q + n; i++) { all_low = HYBRID__MAX(all_low, low[i]); all_high = HYBRID__MIN(all_high, high[i]); }
    if (all_low >= all_high) {
        for (i = q; i < q + n; i++) HYBRID__V_FN(values)(s, i, 1, low[i], high[i]);
        return;
    }
    for (i = q; i < q + n; i++) HYBRID__V_FN(values)(s, i, 1, low[i], all_low);
    HYBRID__V_FN(values)(s, q, n, all_low, all_high);
    for (i = q; i < q + n; i++) HYBRID__V_FN(values)(s, i, 1, all_high, high[i]);
}

static HYBRID__V_TARGET void HYBRID__V_FN(attention_page)(const hybrid__op_attention *op, hybrid__attention_scratch *s, int32_t pos0, int32_t page, int n_heads, int n)
{
    int low[HYBRID__ATTENTION_QUERIES], high[HYBRID__ATTENTION_QUERIES], q, step, from = n, to = 0;
    for (q = 0; q < n; q++) {
        HYBRID__V_FN(visible)(op, pos0 + q / n_heads, page, &low[q], &high[q]);
        if (low[q] < high[q]) { from = HYBRID__MIN(from, q); to = q + 1; }             /* the rows that see a page are consecutive */
    }
    for (q = from; q < to; q += step) HYBRID__V_FN(scores)(s, q, step = HYBRID__V_FN(tile)(to - q));
    for (q = from; q < to; q++) HYBRID__V_FN(softmax_max)(op, s->e + q * HYBRID__PAGE, low[q], high[q], &s->m[q], &s->c[q]);
    for (q = from; q < to; q += HYBRID__V_N) HYBRID__V_FN(put)(s->c + q, HYBRID__V_FN(exp)(HYBRID__V_FN(get)(s->c + q, to - q)), to - q);
    for (q = from; q < to; q++) {
        float sum = HYBRID__V_FN(softmax_exp)(s->e + q * HYBRID__PAGE, low[q], high[q], s->m[q]);
        s->l[q] = s->l[q] * s->c[q] + sum;
        HYBRID__V_FN(times)(s->acc + q * s->dim_v, s->c[q], s->dim_v);
    }
    for (q = from; q < to; q += step) HYBRID__V_FN(page_values)(s, low, high, q, step = HYBRID__V_FN(tile)(to - q));
}

static HYBRID__V_TARGET void HYBRID__V_FN(attention)(const hybrid__op_attention *op, const hybrid__run *run, int row0, int n_rows, int head0, int n_heads, void *memory)
{
    const hybrid__kv_view *kv = op->kv;
    hybrid__attention_scratch s;
    int n = n_rows * n_heads, head_kv = head0 / (op->n_head / kv->n_head_kv), q, i;
    int32_t pos0 = run->pos + row0, pos1 = pos0 + n_rows - 1, first = hybrid__attention_first(op, pos0), page;
    hybrid__attention_layout(&s, (float *)memory, kv->head_dim_k, kv->head_dim_v);
    memset(s.acc, 0, sizeof(float) * (size_t)n * (size_t)s.dim_v);
    for (q = 0; q < n; q++) {
        const float *x = op->q + (run->first_row + row0 + q / n_heads) * op->q_stride + (int64_t)(head0 + q % n_heads) * kv->head_dim_k;
        memcpy(s.q + q * s.dim_k, x, (size_t)kv->head_dim_k * sizeof *x);
        for (i = kv->head_dim_k; i < s.dim_k; i++) s.q[q * s.dim_k + i] = 0;
        s.m[q] = -HUGE_VALF;
        s.l[q] = 0;
    }
    for (page = first / HYBRID__PAGE; page <= pos1 / HYBRID__PAGE; page++) {
        HYBRID__V_FN(page_load)(kv, run->pages[page], head_kv, HYBRID__MAX(first - page * HYBRID__PAGE, 0), HYBRID__MIN(pos1 - page * HYBRID__PAGE + 1, HYBRID__PAGE), &s);
        HYBRID__V_FN(attention_page)(op, &s, pos0, page, n_heads, n);
    }
    for (q = 0; q < n; q++) {
        float *out = op->out + (run->first_row + row0 + q / n_heads) * op->out_stride + (int64_t)(head0 + q % n_heads) * kv->head_dim_v, *acc = s.acc + q * s.dim_v;
        if (op->sinks) {
            float sink = op->sinks[head0 + q % n_heads], m = hybrid__max_scalar(s.m[q], sink), c = hybrid__exp_scalar(s.m[q] - m);
            s.l[q] = s.l[q] * c + hybrid__exp_scalar(sink - m);
            HYBRID__V_FN(times)(acc, c, s.dim_v);
        }
        HYBRID__V_FN(times)(acc, 1.0f / s.l[q], s.dim_v);
        memcpy(out, acc, (size_t)kv->head_dim_v * sizeof *out);
    }
}

static const hybrid__cpu_kernels HYBRID__V_FN(cpu_kernels) = {
    HYBRID__V_FN(norm), HYBRID__V_FN(rope), HYBRID__V_FN(glu), HYBRID__V_FN(add), HYBRID__V_FN(add_scaled), HYBRID__V_FN(scale), HYBRID__V_FN(softcap),
    HYBRID__V_FN(kv_row), HYBRID__V_FN(attention)
};
/* ==== end src/compute/cpu_attention.inc ==== */

/* ==== begin src/compute/cpu_float.inc ==== */
/* compute/cpu_float.inc: matrix products of F32, F16 and BF16 weights, in vectors. Stamped for each instruction set.
 *
 * The order (NUMERICS.md): 32 partial sums over k % 32, joined by halves. gemv has them in the lanes of one row of weights. gemm has rows of
 * weights in lanes, so a partial sum is a run over the k of one residue: weights are packed and activations prepared residue by residue, in the
 * order in which halving joins them, and finished sums wait for their partner on a stack. */

enum {
    HYBRID__V_FN(panel) = 2 * HYBRID__V_N,         /* rows of weights a tile: two vectors */
    HYBRID__V_FN(panels) = 64 / (2 * HYBRID__V_N)  /* panels that are packed at once, at most */
};

/* N weights as floats. */
HYBRID__INLINE HYBRID__V_TARGET HYBRID__V HYBRID__V_FN(weights)(const hybrid_type type, const char *p)
{
    if (type == HYBRID_TYPE_F32) return HYBRID__V_LOAD((const float *)(const void *)p);
    if (type == HYBRID_TYPE_F16) return HYBRID__V_LOAD_F16(p);
    return HYBRID__V_LOAD_BF16(p);
}

/* ---- one row of x --------------------------------------------------------------------------------------------------- */

HYBRID__INLINE HYBRID__V_TARGET float HYBRID__V_FN(dot)(const hybrid_type type, const char *w, const float *x, int64_t k)
{
    const int size = type == HYBRID_TYPE_F32 ? 4 : 2;
    HYBRID__V p[HYBRID__V_FN(vectors)];
    int64_t i;
    int j;
    HYBRID__UNROLL
    for (j = 0; j < HYBRID__V_FN(vectors); j++) p[j] = HYBRID__V_SET1(0.0f);
    for (i = 0; i + 32 <= k; i += 32)
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++)
            p[j] = HYBRID__V_FMA(HYBRID__V_FN(weights)(type, w + (i + j * HYBRID__V_N) * size), HYBRID__V_LOAD(x + i + j * HYBRID__V_N), p[j]);
    if (i < k) {
        char tail[32 * 4] = { 0 };
        memcpy(tail, w + i * size, (size_t)(k - i) * (size_t)size);
        HYBRID__UNROLL
        for (j = 0; j < HYBRID__V_FN(vectors); j++)
            p[j] = HYBRID__V_FMA(HYBRID__V_FN(weights)(type, tail + j * HYBRID__V_N * size), HYBRID__V_LOAD(x + i + j * HYBRID__V_N), p[j]);
    }
    return HYBRID__V_FN(halve32)(p);
}

/* ---- many rows: how x and w are laid out (cpu_float.c) ----------------------------------------------------------------- */

static HYBRID__V_TARGET void HYBRID__V_FN(act_prepare)(const float *x, int64_t k, void *act)
{
    int64_t run = (k + 31) / 32, i;
    int l, j;
    for (i = 0; i < run; i += HYBRID__V_N)
        for (l = 0; l < 32; l += HYBRID__V_N) {
            HYBRID__V block[HYBRID__V_N];
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) {
                int64_t at = (i + j) * 32 + l;
                block[j] = at < k ? HYBRID__V_FN(get)(x + at, k - at) : HYBRID__V_SET1(0.0f);
            }
            HYBRID__V_TRANSPOSE(block);
            HYBRID__UNROLL
            for (j = 0; j < HYBRID__V_N; j++) HYBRID__V_FN(put)((float *)act + hybrid__residue(l + j) * run + i, block[j], run - i);
        }
}

/* panel[(residue(l) * run + i) * R + r] = w[r][32 i + l] for R rows, of which n exist. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(pack)(const hybrid_type type, const char *w, size_t row_bytes, int64_t k, int n, float *panel)
{
    const int size = type == HYBRID_TYPE_F32 ? 4 : 2;
    int64_t run = (k + 31) / 32, i;
    int l, r, j;
    for (i = 0; i < run; i++)
        for (r = 0; r < HYBRID__V_FN(panel); r += HYBRID__V_N)
            for (l = 0; l < 32; l += HYBRID__V_N) {
                int64_t at = i * 32 + l, left = k - at;
                HYBRID__V block[HYBRID__V_N];
                HYBRID__UNROLL
                for (j = 0; j < HYBRID__V_N; j++) {
                    const char *p = w + (size_t)(r + j) * row_bytes + at * size;
                    if (r + j >= n || left <= 0) block[j] = HYBRID__V_SET1(0.0f);
                    else if (left >= HYBRID__V_N) block[j] = HYBRID__V_FN(weights)(type, p);
                    else {
                        char tail[HYBRID__V_N * 4] = { 0 };
                        memcpy(tail, p, (size_t)left * (size_t)size);
                        block[j] = HYBRID__V_FN(weights)(type, tail);
                    }
                }
                HYBRID__V_TRANSPOSE(block);
                HYBRID__UNROLL
                for (j = 0; j < HYBRID__V_N; j++) HYBRID__V_STORE(panel + (hybrid__residue(l + j) * run + i) * HYBRID__V_FN(panel) + r, block[j]);
            }
}

/* ---- the tile ------------------------------------------------------------------------------------------------------- */

/* A panel times n columns of x: x[c * x_stride + i]. y: n columns, y_stride apart, of which rows are written when the last chunk is done. */
HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(gemm_tile)(const int n, const hybrid__gemm_chunk *chunk, const float *panel, const float *x, int64_t x_stride,
    float *waiting, float *y, int64_t y_stride, int rows)
{
    HYBRID__V stack[5][HYBRID__V_COLUMNS][2], a[HYBRID__V_COLUMNS][2];
    int64_t i;
    int t, c, level;
    for (t = 0; t < chunk->residues; t++) {
        HYBRID__UNROLL
        for (c = 0; c < n; c++) a[c][0] = a[c][1] = HYBRID__V_SET1(0.0f);
        for (i = 0; i < chunk->run; i++) {
            HYBRID__V w0 = HYBRID__V_LOAD(panel), w1 = HYBRID__V_LOAD(panel + HYBRID__V_N);
            HYBRID__UNROLL
            for (c = 0; c < n; c++) {
                HYBRID__V v = HYBRID__V_SET1(x[c / 3 * 3 * x_stride + c % 3 * x_stride]);
                a[c][0] = HYBRID__V_FMA(w0, v, a[c][0]);
                a[c][1] = HYBRID__V_FMA(w1, v, a[c][1]);
            }
            panel += HYBRID__V_FN(panel);
            x++;
        }
        for (level = 0; t >> level & 1; level++) {
            HYBRID__UNROLL
            for (c = 0; c < n; c++) { a[c][0] = HYBRID__V_ADD(stack[level][c][0], a[c][0]); a[c][1] = HYBRID__V_ADD(stack[level][c][1], a[c][1]); }
        }
        if (t + 1 < chunk->residues) {
            HYBRID__UNROLL
            for (c = 0; c < n; c++) { stack[level][c][0] = a[c][0]; stack[level][c][1] = a[c][1]; }
        }
    }
    for (level = 0; chunk->index >> level & 1; level++) {
        const float *p = waiting + level * chunk->level_size;
        HYBRID__UNROLL
        for (c = 0; c < n; c++) {
            a[c][0] = HYBRID__V_ADD(HYBRID__V_LOAD(p + c * HYBRID__V_FN(panel)), a[c][0]);
            a[c][1] = HYBRID__V_ADD(HYBRID__V_LOAD(p + c * HYBRID__V_FN(panel) + HYBRID__V_N), a[c][1]);
        }
    }
    if (chunk->index < chunk->last) {
        float *p = waiting + level * chunk->level_size;
        HYBRID__UNROLL
        for (c = 0; c < n; c++) { HYBRID__V_STORE(p + c * HYBRID__V_FN(panel), a[c][0]); HYBRID__V_STORE(p + c * HYBRID__V_FN(panel) + HYBRID__V_N, a[c][1]); }
    } else {
        HYBRID__UNROLL
        for (c = 0; c < n; c++) {
            HYBRID__V_FN(put)(y + c * y_stride, a[c][0], rows);
            if (rows > HYBRID__V_N) HYBRID__V_FN(put)(y + c * y_stride + HYBRID__V_N, a[c][1], rows - HYBRID__V_N);
        }
    }
}

#define HYBRID__V_TILE_OF(n)                                                                                                                \
    static HYBRID__V_TARGET HYBRID__NOINLINE void HYBRID__V_FN(gemm_tile_##n)(const hybrid__gemm_chunk *chunk, const float *panel, const float *x, int64_t x_stride, \
        float *waiting, float *y, int64_t y_stride, int rows)                                                                               \
    {                                                                                                                                       \
        HYBRID__V_FN(gemm_tile)(n, chunk, panel, x, x_stride, waiting, y, y_stride, rows);                                                  \
    }
HYBRID__V_TILE_OF(1)
HYBRID__V_TILE_OF(2)
HYBRID__V_TILE_OF(4)
HYBRID__V_TILE_OF(6)
#if HYBRID__V_COLUMNS == 12
HYBRID__V_TILE_OF(12)
#endif
#undef HYBRID__V_TILE_OF

/* ---- the loops around it ---------------------------------------------------------------------------------------------- */

enum {
    HYBRID__V_FN(chunk_bytes) = 48 << 10,          /* of a packed panel: what stays near while the columns pass */
    HYBRID__V_FN(packed_bytes) = 1 << 20           /* of all panels that are packed at once */
};

/* How a product is cut: residues of a chunk, panels packed at once, levels of waiting sums. */
static void HYBRID__V_FN(gemm_plan)(int64_t k, int *residues, int *panels, int *levels)
{
    int64_t panel = (k + 31) / 32 * 32 * HYBRID__V_FN(panel) * (int64_t)sizeof(float);
    *levels = 0;
    for (*residues = 32; *residues > 1 && panel * *residues / 32 > HYBRID__V_FN(chunk_bytes); *residues /= 2) ++*levels;
    for (*panels = HYBRID__V_FN(panels); *panels > 1 && panel * *panels > HYBRID__V_FN(packed_bytes); *panels /= 2) {}
}
static size_t HYBRID__V_FN(gemm_scratch)(int64_t k, int n)
{
    int residues, panels, levels;
    HYBRID__V_FN(gemm_plan)(k, &residues, &panels, &levels);
    return sizeof(float) * (size_t)panels * HYBRID__V_FN(panel) * ((size_t)(k + 31) / 32 * 32 + (size_t)n * (size_t)levels);
}

/* Columns first .. first + n of one panel in one chunk. */
static HYBRID__V_TARGET void HYBRID__V_FN(gemm_columns)(const hybrid__gemm_chunk *chunk, const float *panel, const char *acts, size_t act_bytes, int n, float *waiting, float *y, int64_t y_stride, int rows)
{
    int64_t x_stride = (int64_t)(act_bytes / sizeof(float));
    int c = 0;
#define HYBRID__V_TILE_OF(m)                                                                                                                \
    for (; c + m <= n; c += m)                                                                                                              \
        HYBRID__V_FN(gemm_tile_##m)(chunk, panel, (const float *)(const void *)(acts + (size_t)c * act_bytes) + chunk->index * chunk->residues * chunk->run, x_stride,   \
            waiting + c * HYBRID__V_FN(panel), y + c * y_stride, y_stride, rows);
#if HYBRID__V_COLUMNS == 12
    HYBRID__V_TILE_OF(12)
#endif
    HYBRID__V_TILE_OF(6)
    HYBRID__V_TILE_OF(4)
    HYBRID__V_TILE_OF(2)
    HYBRID__V_TILE_OF(1)
#undef HYBRID__V_TILE_OF
}

HYBRID__INLINE HYBRID__V_TARGET void HYBRID__V_FN(gemm)(const hybrid_type type, const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, int64_t y_stride,
    int64_t r0, int64_t r1, void *scratch)
{
    const int R = HYBRID__V_FN(panel);
    hybrid__gemm_chunk chunk;
    int64_t r, panel_size = (k + 31) / 32 * 32 * R;
    float *packed = (float *)scratch;
    int panels, levels, p, c, step;
    HYBRID__V_FN(gemm_plan)(k, &chunk.residues, &panels, &levels);
    chunk.run = (k + 31) / 32;
    chunk.last = 32 / chunk.residues - 1;
    chunk.waiting = packed + panels * panel_size;
    chunk.level_size = (int64_t)n * R * panels;
    for (r = r0; r < r1; r += panels * R) {
        int here = (int)HYBRID__MIN((r1 - r + R - 1) / R, (int64_t)panels);
        for (p = 0; p < here; p++)
            HYBRID__V_FN(pack)(type, (const char *)w + (size_t)(r + p * R) * row_bytes, row_bytes, k, (int)HYBRID__MIN(r1 - r - p * R, (int64_t)R), packed + p * panel_size);
        for (chunk.index = 0; chunk.index <= chunk.last; chunk.index++)
            for (c = 0; c < n; c += step)
                for (step = HYBRID__MIN(n - c, HYBRID__V_COLUMNS), p = 0; p < here; p++)
                    HYBRID__V_FN(gemm_columns)(&chunk, packed + p * panel_size + chunk.index * chunk.residues * chunk.run * R, (const char *)acts + (size_t)c * hybrid__act_split_bytes(k),
                        hybrid__act_split_bytes(k), step, chunk.waiting + ((int64_t)p * n + c) * R, y + c * y_stride + (r - r0) + p * R, y_stride, (int)HYBRID__MIN(r1 - r - p * R, (int64_t)R));
    }
}

/* ---- the three types ------------------------------------------------------------------------------------------------ */

static const hybrid__act_format HYBRID__V_FN(act_format) = { hybrid__act_split_bytes, HYBRID__V_FN(act_prepare) };

#define HYBRID__V_FLOAT(suffix, type)                                                                                                       \
    static HYBRID__V_TARGET void HYBRID__V_FN(gemv_##suffix)(const void *w, size_t row_bytes, int64_t k, const void *act, float *y, int64_t r0, int64_t r1) \
    {                                                                                                                                       \
        int64_t r;                                                                                                                          \
        for (r = r0; r < r1; r++) y[r - r0] = HYBRID__V_FN(dot)(type, (const char *)w + (size_t)r * row_bytes, (const float *)act, k);      \
    }                                                                                                                                       \
    static HYBRID__V_TARGET void HYBRID__V_FN(gemm_##suffix)(const void *w, size_t row_bytes, int64_t k, const void *acts, int n, float *y, \
        int64_t y_stride, int64_t r0, int64_t r1, void *scratch)                                                                            \
    {                                                                                                                                       \
        HYBRID__V_FN(gemm)(type, w, row_bytes, k, acts, n, y, y_stride, r0, r1, scratch);                                                   \
    }                                                                                                                                       \
    static const hybrid__matmul_kernel HYBRID__V_FN(matmul_##suffix) = { &hybrid__act_f32, &HYBRID__V_FN(act_format), 3, HYBRID__V_FN(panel), \
        HYBRID__V_FN(gemv_##suffix), HYBRID__V_FN(gemm_scratch), HYBRID__V_FN(gemm_##suffix) };
HYBRID__V_FLOAT(f32, HYBRID_TYPE_F32)
HYBRID__V_FLOAT(f16, HYBRID_TYPE_F16)
HYBRID__V_FLOAT(bf16, HYBRID_TYPE_BF16)
#undef HYBRID__V_FLOAT
/* ==== end src/compute/cpu_float.inc ==== */

/* ==== begin src/compute/cpu_vec_end.inc ==== */
/* compute/cpu_vec_end: forgets the vector macros, before the next instruction set defines its own. */
#undef HYBRID__V
#undef HYBRID__V_MASK
#undef HYBRID__V_N
#undef HYBRID__V_FN
#undef HYBRID__V_TARGET
#undef HYBRID__V_TILE
#undef HYBRID__V_COLUMNS
#undef HYBRID__V_SET1
#undef HYBRID__V_ADD
#undef HYBRID__V_SUB
#undef HYBRID__V_MUL
#undef HYBRID__V_DIV
#undef HYBRID__V_FMA
#undef HYBRID__V_MAX
#undef HYBRID__V_MIN
#undef HYBRID__V_LESS
#undef HYBRID__V_SELECT
#undef HYBRID__V_ABS
#undef HYBRID__V_NEG
#undef HYBRID__V_COPYSIGN
#undef HYBRID__V_LDEXP
#undef HYBRID__V_MAX_BITS
#undef HYBRID__V_LOAD
#undef HYBRID__V_STORE
#undef HYBRID__V_LOAD_N
#undef HYBRID__V_STORE_N
#undef HYBRID__V_FIRST
#undef HYBRID__V_LOAD_F16
#undef HYBRID__V_LOAD_BF16
#undef HYBRID__V_LOAD_I8
#undef HYBRID__V_STORE_F16
#undef HYBRID__V_STORE_I8
#undef HYBRID__V_HALVE
#undef HYBRID__V_TRANSPOSE
#undef HYBRID__V_PAIR_EVEN
#undef HYBRID__V_PAIR_ODD
#undef HYBRID__V_PAIR_SWAP
#undef HYBRID__V_NEG_EVEN
#undef HYBRID__V_EVENS
#undef HYBRID__V_ODDS
/* ==== end src/compute/cpu_vec_end.inc ==== */

#endif
/* ==== end src/compute/cpu_x86.c ==== */

/* ==== begin src/compute/cpu_select.c ==== */
/* compute/cpu_select: the kernels of an instruction set. isa is at most what the machine has. */

static const hybrid__cpu_kernels *hybrid__cpu_kernels_for(hybrid__isa isa)
{
#if defined(HYBRID__X86)
    if (isa == HYBRID__ISA_AVX512) return &hybrid__cpu_kernels_avx512;
    if (isa == HYBRID__ISA_AVX2) return &hybrid__cpu_kernels_avx2;
#endif
    HYBRID__UNUSED(isa);
    return &hybrid__cpu_kernels_generic;
}

/* NULL when type is not one of F32, F16, BF16. */
static const hybrid__matmul_kernel *hybrid__matmul_float_kernel(hybrid__isa isa, hybrid_type type)
{
#define HYBRID__FLOAT_KERNELS(isa_)                                            \
    if (type == HYBRID_TYPE_F32) return &hybrid__matmul_f32_##isa_;            \
    if (type == HYBRID_TYPE_F16) return &hybrid__matmul_f16_##isa_;            \
    return type == HYBRID_TYPE_BF16 ? &hybrid__matmul_bf16_##isa_ : NULL
#if defined(HYBRID__X86)
    if (isa == HYBRID__ISA_AVX512) { HYBRID__FLOAT_KERNELS(avx512); }
    if (isa == HYBRID__ISA_AVX2) { HYBRID__FLOAT_KERNELS(avx2); }
#endif
    HYBRID__UNUSED(isa);
    HYBRID__FLOAT_KERNELS(generic);
#undef HYBRID__FLOAT_KERNELS
}
/* ==== end src/compute/cpu_select.c ==== */

/* ==== begin src/compute/matmul.c ==== */
/* compute/matmul: the matrix product of the CPU back end: which kernel, how the work is split, bias and accumulation.
 *
 * One parallel section prepares the activations (none for n = 1), one runs all matrices of the op. Work is split by rows of the weights, in
 * chunks of some 10-50 us, several a lane, so that a lost core delays the others by one chunk only. */

enum {
    HYBRID__MATMUL_CHUNK = 192 << 10,      /* decode: at most this many bytes of weights a chunk, */
    HYBRID__MATMUL_CHUNK_MIN = 16 << 10,   /* at least this many, */
    HYBRID__MATMUL_CHUNKS_A_LANE = 4,      /* and about this many chunks a lane where there is enough work */
    HYBRID__MATMUL_WARM = 24 << 10,        /* n > 1 by gemv: bytes of weights that stay in L1 / L2 while the rows of x take turns */
    HYBRID__MATMUL_ROWS = 64,              /* prefill: at most this many rows a chunk */
    HYBRID__MATMUL_PREPARE = 4             /* rows of x that are prepared in one chunk */
};

/* The kernel of a type, or NULL when the type has none. isa is at most what the machine has. */
static const hybrid__matmul_kernel *hybrid__matmul_kernel_for(hybrid__isa isa, hybrid_type type)
{
    const hybrid__matmul_kernel *kernel = hybrid__int_kernel_for(isa, type);
    return kernel ? kernel : hybrid__matmul_float_kernel(isa, type);
}

typedef struct hybrid__matmul_part {       /* one matrix of the op */
    const hybrid__matmul_kernel *kernel;
    const hybrid__act_format *format;
    const char *acts;                      /* n prepared rows */
    size_t  act_bytes;
    int64_t chunk_rows;
    int     first_chunk;
} hybrid__matmul_part;

typedef struct hybrid__matmul_job {
    const hybrid__op_matmul *op;
    hybrid__matmul_part part[4];
    const hybrid__act_format *format[4];   /* the distinct ones */
    char   *format_acts[4];
    int     n_formats, n_chunks;
    char   *lane_scratch;
    size_t  lane_bytes;                    /* scratch of a lane: the kernel's, then a tile of results for y += */
    size_t  tile_at;
} hybrid__matmul_job;

static bool hybrid__matmul_by_gemv(const hybrid__matmul_kernel *kernel, int n) { return n <= HYBRID__MAX(kernel->gemv_up_to, 1); }

/* low <= v <= high; low wins. */
static int64_t hybrid__matmul_clamp(int64_t v, int64_t low, int64_t high)
{
    v = HYBRID__MIN(v, high);
    return HYBRID__MAX(v, low);
}

/* Rows of a chunk of matrix w: follows from w, n and lanes alone, so that scratch can be planned. */
static int64_t hybrid__matmul_chunk_rows(const hybrid__matmul_kernel *kernel, const hybrid__tensor *w, int n, int lanes)
{
    int64_t rows = w->ne[1], bytes = (int64_t)hybrid_type_row_bytes(w->type, (size_t)w->ne[0]), step = kernel->row_step;
    int64_t shares = (int64_t)lanes * HYBRID__MATMUL_CHUNKS_A_LANE;
    if (rows < 1 || bytes < 1) return 1;
    if (!hybrid__matmul_by_gemv(kernel, n)) return hybrid__matmul_clamp(rows / shares / step * step, step, HYBRID__MATMUL_ROWS / step * step);
    if (lanes == 1) return hybrid__matmul_clamp(HYBRID__MATMUL_CHUNK / bytes, 1, rows);
    return hybrid__matmul_clamp(hybrid__matmul_clamp(rows * bytes / shares, HYBRID__MATMUL_CHUNK_MIN, HYBRID__MATMUL_CHUNK) / bytes, 1, rows);
}

/* Lays out the job in scratch (NULL: only counts) and returns the bytes that it takes. */
static size_t hybrid__matmul_plan(hybrid__matmul_job *job, hybrid__isa isa, int lanes, char *scratch, const hybrid__op_matmul *op)
{
    size_t at = 0, kernel_bytes = 0, tile_bytes = 0;
    int i, f;
    memset(job, 0, sizeof *job);
    job->op = op;
    for (i = 0; i < op->n_out; i++) {
        const hybrid__tensor *w = op->out[i].w;
        hybrid__matmul_part *part = &job->part[i];
        const hybrid__matmul_kernel *kernel = hybrid__matmul_kernel_for(isa, w->type);
        if (!kernel || w->ne[1] < 1 || op->n < 1) continue;
        part->kernel = kernel;
        part->format = hybrid__matmul_by_gemv(kernel, op->n) ? kernel->one : kernel->many;
        part->act_bytes = part->format->bytes(w->ne[0]);
        for (f = 0; f < job->n_formats && job->format[f] != part->format; f++) {}
        if (f == job->n_formats) {
            job->format[job->n_formats++] = part->format;
            job->format_acts[f] = scratch ? scratch + at : NULL;
            at += part->act_bytes * (size_t)op->n;
        }
        part->acts = job->format_acts[f];
        part->chunk_rows = hybrid__matmul_chunk_rows(kernel, w, op->n, lanes);
        part->first_chunk = job->n_chunks;
        job->n_chunks += (int)((w->ne[1] + part->chunk_rows - 1) / part->chunk_rows);
        if (!hybrid__matmul_by_gemv(kernel, op->n)) kernel_bytes = HYBRID__MAX(kernel_bytes, hybrid__align(kernel->scratch_bytes(w->ne[0], op->n), 64));
        tile_bytes = HYBRID__MAX(tile_bytes, (size_t)op->n * (size_t)part->chunk_rows * sizeof(float));
    }
    job->tile_at = kernel_bytes;
    job->lane_bytes = kernel_bytes + hybrid__align(tile_bytes, 64);
    job->lane_scratch = scratch ? scratch + at : NULL;
    return at + job->lane_bytes * (size_t)lanes;
}

/* Bytes of scratch that hybrid__cpu_matmul needs for an op: reads its n, n_out, and type and sizes of every out[i].w. */
static size_t hybrid__cpu_matmul_bytes(hybrid__isa isa, int lanes, const hybrid__op_matmul *op)
{
    hybrid__matmul_job job;
    return hybrid__matmul_plan(&job, isa, lanes, NULL, op);
}

static void hybrid__matmul_prepare(void *arg, int chunk, int lane)
{
    hybrid__matmul_job *job = (hybrid__matmul_job *)arg;
    const hybrid__op_matmul *op = job->op;
    int64_t k = op->out[0].w->ne[0];
    int i, f, end = HYBRID__MIN(op->n, (chunk + 1) * HYBRID__MATMUL_PREPARE);
    HYBRID__UNUSED(lane);
    for (i = chunk * HYBRID__MATMUL_PREPARE; i < end; i++)
        for (f = 0; f < job->n_formats; f++)
            job->format[f]->prepare(op->x + i * op->x_stride, k, job->format_acts[f] + (size_t)i * job->format[f]->bytes(k));
}

/* Rows r0..r1 of one matrix, for all rows of x, to y[i * y_stride + r - r0]. */
static void hybrid__matmul_rows(const hybrid__matmul_part *part, const hybrid__tensor *w, int n, float *y, int64_t y_stride, int64_t r0, int64_t r1, char *scratch)
{
    size_t row_bytes = w->nb[1];
    int64_t r, step = n == 1 ? r1 - r0 : HYBRID__MAX((int64_t)(HYBRID__MATMUL_WARM / row_bytes), 1);
    int i;
    if (!hybrid__matmul_by_gemv(part->kernel, n)) {
        part->kernel->gemm(w->data, row_bytes, w->ne[0], part->acts, n, y, y_stride, r0, r1, scratch);
        return;
    }
    for (r = r0; r < r1; r += step)
        for (i = 0; i < n; i++)
            part->kernel->gemv(w->data, row_bytes, w->ne[0], part->acts + (size_t)i * part->act_bytes, y + i * y_stride + (r - r0), r, HYBRID__MIN(r + step, r1));
}

static void hybrid__matmul_chunk(void *arg, int chunk, int lane)
{
    hybrid__matmul_job *job = (hybrid__matmul_job *)arg;
    const hybrid__op_matmul *op = job->op;
    char *scratch = job->lane_scratch + (size_t)lane * job->lane_bytes;
    float *tile = (float *)(void *)(scratch + job->tile_at);
    const hybrid__matmul_out *out;
    const hybrid__matmul_part *part;
    int64_t r0, r1, r, n;
    int i, p = op->n_out - 1;
    while (!job->part[p].kernel || job->part[p].first_chunk > chunk) p--;
    out = &op->out[p];
    part = &job->part[p];
    r0 = (chunk - part->first_chunk) * part->chunk_rows;
    r1 = HYBRID__MIN(r0 + part->chunk_rows, out->w->ne[1]);
    n = r1 - r0;
    if (!out->add) hybrid__matmul_rows(part, out->w, op->n, out->y + r0, out->y_stride, r0, r1, scratch);
    else hybrid__matmul_rows(part, out->w, op->n, tile, part->chunk_rows, r0, r1, scratch);
    if (!out->add && !out->bias) return;
    for (i = 0; i < op->n; i++) {
        float *y = out->y + i * out->y_stride + r0;
        const float *t = tile + i * part->chunk_rows, *bias = out->bias ? out->bias + r0 : NULL;
        if (out->add && bias) for (r = 0; r < n; r++) y[r] += t[r] + bias[r];
        else if (out->add) for (r = 0; r < n; r++) y[r] += t[r];
        else for (r = 0; r < n; r++) y[r] += bias[r];
    }
}

/* All matrices of op must have the same ne[0] and a type that hybrid__matmul_kernel_for knows (the model's loader checks both).
 * scratch: hybrid__cpu_matmul_bytes(isa, hybrid__lanes(rt), op), aligned to 64. x and y may not overlap. */
static void hybrid__cpu_matmul(hybrid_runtime *rt, hybrid__isa isa, void *scratch, const hybrid__op_matmul *op)
{
    hybrid__matmul_job job;
    hybrid__matmul_plan(&job, isa, hybrid__lanes(rt), (char *)scratch, op);
    if (!job.n_chunks) return;
    hybrid__parallel(rt, (op->n + HYBRID__MATMUL_PREPARE - 1) / HYBRID__MATMUL_PREPARE, hybrid__matmul_prepare, &job);
    hybrid__parallel(rt, job.n_chunks, hybrid__matmul_chunk, &job);
}
/* ==== end src/compute/matmul.c ==== */

/* ==== begin src/compute/cpu.c ==== */
/* compute/cpu: the CPU back end: the op table over the kernels of one instruction set, split over the lanes of the runtime. Work is split by
 * output element only, so that no result depends on the number of lanes. */

enum {
    HYBRID__CPU_SPLIT = 4096,              /* values that are worth a chunk of their own in element-wise work (a few microseconds) */
    HYBRID__CPU_FORMATS = 8                /* distinct formats of activations that the matrices of one model may ask for */
};

/* What a model will ask of its back end, so that scratch memory is known beforehand. Zero it, set the sizes, then show it every matrix. */
typedef struct hybrid__cpu_limits {
    int n_rows;                            /* rows of the largest batch */
    int head_dim_k, head_dim_v;            /* the largest ones; 0 without attention */
    /* filled by hybrid__cpu_limits_matrix */
    const hybrid__act_format *format[HYBRID__CPU_FORMATS];
    size_t format_bytes[HYBRID__CPU_FORMATS];      /* n_rows prepared rows */
    size_t lanes_bytes;                            /* scratch of all lanes */
    int    n_formats;
} hybrid__cpu_limits;

typedef struct hybrid__cpu {
    hybrid__backend base;
    const hybrid__cpu_kernels *kernels;
    hybrid__isa isa;
    char   *scratch;                       /* of the op in progress: shared by all ops */
    size_t  lane_bytes;                    /* attention's part of it for one lane */
} hybrid__cpu;

/* Notes one matrix (type and sizes; data is not read). n_rows must be set. False: no kernel for its type. */
static bool hybrid__cpu_limits_matrix(const hybrid_runtime *rt, hybrid__cpu_limits *limits, const hybrid__tensor *w)
{
    hybrid__op_matmul op;
    hybrid__matmul_job job;
    int n, f, lanes;
    memset(&op, 0, sizeof op);
    op.n_out = 1;
    op.out[0].w = w;
    if (!hybrid__matmul_kernel_for(rt->isa, w->type)) return false;
    for (n = 1; n <= limits->n_rows; n = n < 16 || n == limits->n_rows ? n + 1 : limits->n_rows) {    /* small batches are split in another way */
        op.n = n;
        for (lanes = 1; lanes <= hybrid__lanes(rt); lanes++) {                                         /* a thread may fail to start */
            hybrid__matmul_plan(&job, rt->isa, lanes, NULL, &op);
            if (!job.n_chunks) return true;
            limits->lanes_bytes = HYBRID__MAX(limits->lanes_bytes, job.lane_bytes * (size_t)lanes);
        }
        for (f = 0; f < limits->n_formats && limits->format[f] != job.format[0]; f++) {}
        if (f == HYBRID__CPU_FORMATS) return false;
        limits->n_formats = HYBRID__MAX(limits->n_formats, f + 1);
        limits->format[f] = job.format[0];
        limits->format_bytes[f] = HYBRID__MAX(limits->format_bytes[f], job.part[0].act_bytes * (size_t)n);
    }
    return true;
}

/* Bytes of scratch that a back end with these limits allocates, and never exceeds. */
static size_t hybrid__cpu_scratch_bytes(const hybrid_runtime *rt, const hybrid__cpu_limits *limits)
{
    size_t attention = hybrid__attention_bytes(limits->head_dim_k, limits->head_dim_v) * (size_t)hybrid__lanes(rt), matmul = limits->lanes_bytes;
    int f;
    for (f = 0; f < limits->n_formats; f++) matmul += limits->format_bytes[f];
    return HYBRID__MAX(attention, matmul);
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

/* What the chunks of one op read. rows_a_chunk or pieces: see each. */
typedef struct hybrid__cpu_job {
    const hybrid__cpu *cpu;
    const void *op;
    int64_t n_rows, rows_a_chunk;
} hybrid__cpu_job;

static hybrid__cpu *hybrid__cpu_of(hybrid__backend *be) { return (hybrid__cpu *)be; }

/* Runs fn over n_rows rows of n values each, in chunks of some thousand values. */
static void hybrid__cpu_rows(hybrid__backend *be, const void *op, int64_t n_rows, int64_t n, hybrid__chunk_fn fn)
{
    hybrid__cpu_job job;
    job.cpu = hybrid__cpu_of(be);
    job.op = op;
    job.n_rows = n_rows;
    job.rows_a_chunk = HYBRID__MAX(HYBRID__CPU_SPLIT / HYBRID__MAX(n, 1), 1);
    hybrid__parallel(be->rt, (int)((n_rows + job.rows_a_chunk - 1) / job.rows_a_chunk), fn, &job);
}
static int64_t hybrid__cpu_row_begin(const hybrid__cpu_job *job, int chunk) { return chunk * job->rows_a_chunk; }
static int64_t hybrid__cpu_row_end(const hybrid__cpu_job *job, int chunk) { return HYBRID__MIN((chunk + 1) * job->rows_a_chunk, job->n_rows); }

static void hybrid__cpu_embed_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_embed *op = (const hybrid__op_embed *)job->op;
    const hybrid__type_traits *type = hybrid__type_info(op->table->type);
    const hybrid__cpu_kernels *kernels = job->cpu->kernels;
    int64_t row, end = hybrid__cpu_row_end(job, chunk), i, n = op->table->ne[0];
    HYBRID__UNUSED(lane);
    for (row = hybrid__cpu_row_begin(job, chunk); row < end; row++) {
        const char *src = (const char *)op->table->data + (size_t)op->ids[row] * op->table->nb[1];
        float *out = op->out + row * n, piece[HYBRID__QK_K];
        if (!op->add) {
            type->dequantize_row(src, out, (size_t)n);
            if (op->scale != 1.0f) kernels->scale(out, op->scale, n);
        } else for (i = 0; i < n; i += HYBRID__QK_K) {
            size_t part = (size_t)HYBRID__MIN(n - i, (int64_t)HYBRID__QK_K);
            type->dequantize_row(src + (size_t)i / type->block_size * type->block_bytes, piece, part);
            kernels->add_scaled(out + i, piece, op->scale, (int64_t)part);
        }
    }
}
static void hybrid__cpu_embed(hybrid__backend *be, const hybrid__op_embed *op) { hybrid__cpu_rows(be, op, op->n, op->table->ne[0], hybrid__cpu_embed_chunk); }

static void hybrid__cpu_norm_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    int64_t row, end = hybrid__cpu_row_end(job, chunk);
    HYBRID__UNUSED(lane);
    for (row = hybrid__cpu_row_begin(job, chunk); row < end; row++) job->cpu->kernels->norm((const hybrid__op_norm *)job->op, row);
}
static void hybrid__cpu_norm(hybrid__backend *be, const hybrid__op_norm *op) { hybrid__cpu_rows(be, op, op->n_rows, op->n, hybrid__cpu_norm_chunk); }

static void hybrid__cpu_rope_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    int64_t row, end = hybrid__cpu_row_end(job, chunk);
    HYBRID__UNUSED(lane);
    for (row = hybrid__cpu_row_begin(job, chunk); row < end; row++) job->cpu->kernels->rope((const hybrid__op_rope *)job->op, (int)row);
}
static void hybrid__cpu_rope(hybrid__backend *be, const hybrid__op_rope *op) { hybrid__cpu_rows(be, op, op->n, (int64_t)op->n_head * op->n_rot, hybrid__cpu_rope_chunk); }

/* ---- values: rows are split too, so that a single long row uses all lanes --------------------------------------------- */

static void hybrid__cpu_glu_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_glu *op = (const hybrid__op_glu *)job->op;
    int64_t pieces = (op->n + HYBRID__CPU_SPLIT - 1) / HYBRID__CPU_SPLIT, at, row;
    HYBRID__UNUSED(lane);
    for (at = hybrid__cpu_row_begin(job, chunk); at < hybrid__cpu_row_end(job, chunk); at++) {
        int64_t i = at % pieces * HYBRID__CPU_SPLIT;
        row = at / pieces;
        job->cpu->kernels->glu(op->act, op->gate + row * op->gate_stride + i, op->up ? op->up + row * op->up_stride + i : NULL,
            op->out + row * op->out_stride + i, HYBRID__MIN(op->n - i, (int64_t)HYBRID__CPU_SPLIT));
    }
}
static void hybrid__cpu_glu(hybrid__backend *be, const hybrid__op_glu *op)
{
    int64_t pieces = (op->n + HYBRID__CPU_SPLIT - 1) / HYBRID__CPU_SPLIT;
    hybrid__cpu_rows(be, op, op->n_rows * pieces, HYBRID__MIN(op->n, (int64_t)HYBRID__CPU_SPLIT), hybrid__cpu_glu_chunk);
}

typedef enum hybrid__cpu_values_kind { HYBRID__CPU_ADD, HYBRID__CPU_SCALE, HYBRID__CPU_SOFTCAP } hybrid__cpu_values_kind;
typedef struct hybrid__cpu_values { hybrid__cpu_values_kind kind; float *y; const float *x; float factor; } hybrid__cpu_values;
static void hybrid__cpu_values_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__cpu_values *op = (const hybrid__cpu_values *)job->op;
    int64_t at = hybrid__cpu_row_begin(job, chunk), n = hybrid__cpu_row_end(job, chunk) - at;
    HYBRID__UNUSED(lane);
    if (op->kind == HYBRID__CPU_ADD) job->cpu->kernels->add(op->y + at, op->x + at, n);
    else if (op->kind == HYBRID__CPU_SCALE) job->cpu->kernels->scale(op->y + at, op->factor, n);
    else job->cpu->kernels->softcap(op->y + at, op->factor, n);
}
static void hybrid__cpu_values_run(hybrid__backend *be, float *y, const float *x, float factor, int64_t n, hybrid__cpu_values_kind kind)
{
    hybrid__cpu_values op;
    op.kind = kind; op.y = y; op.x = x; op.factor = factor;
    hybrid__cpu_rows(be, &op, n, 1, hybrid__cpu_values_chunk);
}
static void hybrid__cpu_add(hybrid__backend *be, float *y, const float *x, int64_t n) { hybrid__cpu_values_run(be, y, x, 0, n, HYBRID__CPU_ADD); }
static void hybrid__cpu_scale(hybrid__backend *be, float *y, float factor, int64_t n) { hybrid__cpu_values_run(be, y, NULL, factor, n, HYBRID__CPU_SCALE); }
static void hybrid__cpu_softcap(hybrid__backend *be, float *y, float cap, int64_t n) { hybrid__cpu_values_run(be, y, NULL, cap, n, HYBRID__CPU_SOFTCAP); }

/* ---- the cache ------------------------------------------------------------------------------------------------------ */

static int hybrid__cpu_n_rows(const hybrid__run *runs, int n_runs)
{
    int i, n = 0;
    for (i = 0; i < n_runs; i++) n += runs[i].n_rows;
    return n;
}

static void hybrid__cpu_kv_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_job *job = (const hybrid__cpu_job *)arg;
    const hybrid__op_kv_store *op = (const hybrid__op_kv_store *)job->op;
    const hybrid__kv_view *kv = op->kv;
    int64_t at;
    int h;
    HYBRID__UNUSED(lane);
    for (at = hybrid__cpu_row_begin(job, chunk); at < hybrid__cpu_row_end(job, chunk); at++) {
        const hybrid__run *run = op->runs;
        int64_t r = at, row;
        int32_t pos, page, slot;
        while (r >= run->n_rows) r -= run++->n_rows;
        row = run->first_row + r;
        pos = run->pos + (int32_t)r;
        page = run->pages[pos / HYBRID__PAGE];
        slot = pos % HYBRID__PAGE;
        for (h = 0; h < kv->n_head_kv; h++) {
            job->cpu->kernels->kv_row(kv->type, op->k + row * op->k_stride + (int64_t)h * kv->head_dim_k, (char *)hybrid__k_row(kv, page, h, slot), kv->head_dim_k);
            job->cpu->kernels->kv_row(kv->type, op->v + row * op->v_stride + (int64_t)h * kv->head_dim_v, (char *)hybrid__v_row(kv, page, h, slot), kv->head_dim_v);
        }
    }
}
static void hybrid__cpu_kv_store(hybrid__backend *be, const hybrid__op_kv_store *op)
{
    const hybrid__kv_view *kv = op->kv;
    hybrid__cpu_rows(be, op, hybrid__cpu_n_rows(op->runs, op->n_runs), (int64_t)kv->n_head_kv * (kv->head_dim_k + kv->head_dim_v), hybrid__cpu_kv_chunk);
}

/* ---- attention ------------------------------------------------------------------------------------------------------ */

/* A chunk is a block of rows of one run times some query heads of one kv head: as many as fit in HYBRID__ATTENTION_QUERIES, fewer when
 * there would be too few chunks for the lanes. */
typedef struct hybrid__cpu_attention_job {
    const hybrid__cpu *cpu;
    const hybrid__op_attention *op;
    int heads, rows;                       /* of a chunk */
    int head_chunks;                       /* chunks of heads, over all kv heads */
} hybrid__cpu_attention_job;

static void hybrid__cpu_attention_chunk(void *arg, int chunk, int lane)
{
    const hybrid__cpu_attention_job *job = (const hybrid__cpu_attention_job *)arg;
    const hybrid__op_attention *op = job->op;
    const hybrid__run *run = op->runs;
    int group = op->n_head / op->kv->n_head_kv, per_group = (group + job->heads - 1) / job->heads;
    int h = chunk % job->head_chunks, head0 = h / per_group * group + h % per_group * job->heads, block = chunk / job->head_chunks, blocks;
    int n_heads = HYBRID__MIN(job->heads, h / per_group * group + group - head0), row0;
    while (block >= (blocks = (run->n_rows + job->rows - 1) / job->rows)) { block -= blocks; run++; }
    row0 = (blocks - 1 - block) * job->rows;                                           /* the long rows first: a short one evens out the end */
    job->cpu->kernels->attention(op, run, row0, HYBRID__MIN(job->rows, run->n_rows - row0), head0, n_heads, job->cpu->scratch + (size_t)lane * job->cpu->lane_bytes);
}

static void hybrid__cpu_attention(hybrid__backend *be, const hybrid__op_attention *op)
{
    hybrid__cpu_attention_job job;
    int group = op->n_head / op->kv->n_head_kv, n = hybrid__cpu_n_rows(op->runs, op->n_runs), lanes = hybrid__lanes(be->rt), blocks = 0, i;
    job.cpu = hybrid__cpu_of(be);
    job.op = op;
    job.heads = HYBRID__MIN(group, HYBRID__ATTENTION_QUERIES);
    while (job.heads > 1 && (int64_t)n * op->kv->n_head_kv * ((group + job.heads - 1) / job.heads) < 2 * lanes) job.heads = (job.heads + 1) / 2;
    job.rows = HYBRID__ATTENTION_QUERIES / job.heads;
    job.head_chunks = op->kv->n_head_kv * ((group + job.heads - 1) / job.heads);
    for (i = 0; i < op->n_runs; i++) blocks += (op->runs[i].n_rows + job.rows - 1) / job.rows;
    hybrid__parallel(be->rt, blocks * job.head_chunks, hybrid__cpu_attention_chunk, &job);
}

/* ---- the table ------------------------------------------------------------------------------------------------------ */

static void hybrid__cpu_op_matmul(hybrid__backend *be, const hybrid__op_matmul *op)
{
    hybrid__cpu *cpu = hybrid__cpu_of(be);
    hybrid__cpu_matmul(be->rt, cpu->isa, cpu->scratch, op);
}

static hybrid_result hybrid__cpu_sync(hybrid__backend *be, hybrid_error *error) { HYBRID__UNUSED(be); HYBRID__UNUSED(error); return HYBRID_OK; }

static void hybrid__cpu_destroy(hybrid__backend *be)
{
    hybrid_runtime *rt;
    if (!be) return;
    rt = be->rt;
    hybrid__free_aligned(rt, hybrid__cpu_of(be)->scratch);
    hybrid__free(rt, be);
    hybrid__runtime_release(rt);
}

/* A back end for ops within limits. Keeps rt alive. One thread at a time. HYBRID_ERROR_MEMORY. */
static hybrid_result hybrid__cpu_backend_create(hybrid_runtime *rt, const hybrid__cpu_limits *limits, hybrid__backend **be, hybrid_error *error)
{
    static const hybrid__backend_ops ops = {
        "cpu", hybrid__cpu_embed, hybrid__cpu_norm, hybrid__cpu_op_matmul, hybrid__cpu_rope, hybrid__cpu_kv_store, hybrid__cpu_attention, hybrid__cpu_glu,
        hybrid__cpu_add, hybrid__cpu_scale, hybrid__cpu_softcap, hybrid__cpu_sync, hybrid__cpu_destroy
    };
    size_t bytes = hybrid__cpu_scratch_bytes(rt, limits);
    hybrid__cpu *cpu = (hybrid__cpu *)hybrid__calloc(rt, 1, sizeof *cpu);
    *be = NULL;
    if (!cpu) return hybrid__fail_memory(error, sizeof *cpu);
    if (!(cpu->scratch = (char *)hybrid__alloc_aligned(rt, bytes))) {
        hybrid__free(rt, cpu);
        return hybrid__fail_memory(error, bytes);
    }
    cpu->base.ops = &ops;
    cpu->base.rt = rt;
    cpu->isa = rt->isa;
    cpu->kernels = hybrid__cpu_kernels_for(rt->isa);
    cpu->lane_bytes = hybrid__attention_bytes(limits->head_dim_k, limits->head_dim_v);
    hybrid__atomic_add(&rt->references, 1);
    *be = &cpu->base;
    return HYBRID_OK;
}
/* ==== end src/compute/cpu.c ==== */

/* model */

/* ==== begin src/model/hparams.c ==== */
/* model/hparams: the table of architectures, and the numbers of one model, read from its GGUF keys.
 *
 * A family is a row of switches. What a file shows by having a tensor or not (biases, fused matrices, norms of q and k, norms after
 * a block, a tied head) is not in the table: model/weights looks. */

typedef enum hybrid__window_kind {
    HYBRID__WINDOW_NONE,
    HYBRID__WINDOW_ALL,                 /* every layer, when the file gives a window */
    HYBRID__WINDOW_PATTERN              /* every layer but each `period`-th */
} hybrid__window_kind;

typedef struct hybrid__arch {
    const char         *name;           /* general.architecture */
    hybrid__norm_kind   norm;
    hybrid__rope_kind   rope;
    hybrid__act_kind    act;
    bool                learned_pos;    /* a table of positions instead of rope */
    bool                scale_embd;     /* embeddings times sqrt(n_embd) */
    hybrid__window_kind window;
    int                 window_period;
    float               local_rope_base;/* base of windowed layers; 0: the same as elsewhere */
} hybrid__arch;

static const hybrid__arch hybrid__archs[] = {
    /* name      norm                rope                act                    pos    scale  window                   period base */
    { "llama",   HYBRID__NORM_RMS,   HYBRID__ROPE_NORM,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_ALL,      0, 0 },
    { "mistral", HYBRID__NORM_RMS,   HYBRID__ROPE_NORM,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_ALL,      0, 0 },
    { "qwen2",   HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_NONE,     0, 0 },
    { "qwen3",   HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_NONE,     0, 0 },
    { "phi3",    HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_SILU,      false, false, HYBRID__WINDOW_ALL,      0, 0 },
    { "gemma2",  HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_GELU_TANH, false, true,  HYBRID__WINDOW_PATTERN,  2, 0 },
    { "gemma3",  HYBRID__NORM_RMS,   HYBRID__ROPE_NEOX,  HYBRID__ACT_GELU_TANH, false, true,  HYBRID__WINDOW_PATTERN,  6, 10000 },
    { "gpt2",    HYBRID__NORM_LAYER, HYBRID__ROPE_NORM,  HYBRID__ACT_GELU_TANH, true,  false, HYBRID__WINDOW_NONE,     0, 0 },
};

/* How positions are stretched beyond the context of training: see model/rope. */
typedef enum hybrid__rope_scaling { HYBRID__SCALING_NONE, HYBRID__SCALING_LINEAR, HYBRID__SCALING_YARN, HYBRID__SCALING_LONGROPE } hybrid__rope_scaling;

typedef struct hybrid__hparams {
    const hybrid__arch *arch;
    int32_t n_vocab, n_ctx_train, n_embd, n_layer, n_head, n_head_kv, head_dim_k, head_dim_v, n_ff;
    float   norm_eps;
    int32_t n_rot;
    float   rope_base, rope_base_local;
    hybrid__rope_scaling rope_scaling;
    float   rope_factor;                /* linear, yarn: positions stretched by it */
    float   rope_attn_factor;           /* longrope, yarn: cos and sin times it */
    float   yarn_beta_fast, yarn_beta_slow;
    int32_t n_ctx_orig;                 /* context before stretching */
    int32_t window, window_period;      /* window 0: none */
    float   attn_scale, attn_softcap, logit_softcap, embd_scale;
} hybrid__hparams;

static bool hybrid__layer_is_local(const hybrid__hparams *hp, int layer)
{
    if (!hp->window || hp->arch->window == HYBRID__WINDOW_NONE) return false;
    return hp->arch->window == HYBRID__WINDOW_ALL || (layer + 1) % hp->window_period != 0;
}

/* ---- keys of the form "<arch>.<suffix>"; the first thing that is wrong sticks in `result` ---- */

typedef struct hybrid__keys { const hybrid_gguf *gguf; const char *arch; hybrid_error *error; hybrid_result result; } hybrid__keys;

static void hybrid__key_fail(hybrid__keys *keys, const char *suffix, const char *what)
{
    if (keys->result) return;
    keys->result = hybrid__fail(keys->error, HYBRID_ERROR_FORMAT, "the model's key '%s.%s' %s", keys->arch, suffix, what);
}

static bool hybrid__key_find(const hybrid__keys *keys, const char *suffix, char key[128], hybrid_gguf_value *value)
{
    snprintf(key, 128, "%s.%s", keys->arch, suffix);
    return hybrid_gguf_find(keys->gguf, key, value);
}

/* An integer in lo..hi, or `fallback` when absent (fallback below lo: required). An array (a number for each layer) must hold one value. */
static int32_t hybrid__key_int(hybrid__keys *keys, const char *suffix, int64_t lo, int64_t hi, int64_t fallback)
{
    char key[128];
    hybrid_gguf_value value;
    int64_t v = 0;
    uint64_t i;
    if (!hybrid__key_find(keys, suffix, key, &value)) {
        if (fallback < lo) hybrid__key_fail(keys, suffix, "is missing");
        return (int32_t)HYBRID__MAX(fallback, lo);
    }
    if (value.type == HYBRID_GGUF_ARRAY) {
        v = value.count ? hybrid_gguf_item_i64(&value, 0) : lo - 1;
        for (i = 1; i < value.count && !keys->result; i++)
            if (hybrid_gguf_item_i64(&value, i) != v)
                keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "the model's key '%s' differs from layer to layer, which is not supported", key);
    } else if (!hybrid_gguf_get_i64(keys->gguf, key, &v)) {
        hybrid__key_fail(keys, suffix, "is not an integer");
        return (int32_t)lo;
    }
    if (v < lo || v > hi) {
        if (!keys->result) keys->result = hybrid__fail(keys->error, HYBRID_ERROR_FORMAT, "the model's key '%s' is %lld, must be %lld..%lld", key, (long long)v, (long long)lo, (long long)hi);
        return (int32_t)lo;
    }
    return (int32_t)v;
}

/* A finite number, or fallback when absent (NAN: required). */
static float hybrid__key_float(hybrid__keys *keys, const char *suffix, float fallback)
{
    char key[128];
    double v;
    hybrid_gguf_value value;
    if (!hybrid__key_find(keys, suffix, key, &value)) {
        if (fallback != fallback) hybrid__key_fail(keys, suffix, "is missing");
        return fallback;
    }
    if (!hybrid_gguf_get_f64(keys->gguf, key, &v) || !(v > -3e38 && v < 3e38)) {
        hybrid__key_fail(keys, suffix, "is not a finite number");
        return 0;
    }
    return (float)v;
}

static void hybrid__read_rope(hybrid__keys *keys, hybrid__hparams *hp)
{
    char key[128];
    hybrid_string scaling;
    hp->n_rot = hybrid__key_int(keys, "rope.dimension_count", 0, hp->head_dim_k, hp->head_dim_k);
    if (hp->n_rot % 2) hybrid__key_fail(keys, "rope.dimension_count", "is odd");
    hp->rope_base = hybrid__key_float(keys, "rope.freq_base", 10000);
    hp->rope_base_local = hybrid__key_float(keys, "rope.freq_base_swa", hp->arch->local_rope_base != 0 ? hp->arch->local_rope_base : hp->rope_base);
    if (!(hp->rope_base > 0) || !(hp->rope_base_local > 0)) hybrid__key_fail(keys, "rope.freq_base", "is not positive");
    hp->rope_factor = hybrid__key_float(keys, "rope.scaling.factor", hybrid__key_float(keys, "rope.scale_linear", 1));
    if (!(hp->rope_factor > 0)) hybrid__key_fail(keys, "rope.scaling.factor", "is not positive");
    hp->rope_attn_factor = hybrid__key_float(keys, "rope.scaling.attn_factor", 1);
    hp->yarn_beta_fast = hybrid__key_float(keys, "rope.scaling.yarn_beta_fast", 32);
    hp->yarn_beta_slow = hybrid__key_float(keys, "rope.scaling.yarn_beta_slow", 1);
    hp->n_ctx_orig = hybrid__key_int(keys, "rope.scaling.original_context_length", 1, INT32_MAX, hp->n_ctx_train);
    hp->rope_scaling = hp->rope_factor != 1 ? HYBRID__SCALING_LINEAR : HYBRID__SCALING_NONE;
    snprintf(key, sizeof key, "%s.rope.scaling.type", keys->arch);
    if (!hybrid_gguf_get_string(keys->gguf, key, &scaling)) {
        if (hybrid_gguf_find_tensor(keys->gguf, "rope_factors_long.weight")) hp->rope_scaling = HYBRID__SCALING_LONGROPE;
        return;
    }
    if (hybrid__string_is(scaling, "none")) hp->rope_scaling = HYBRID__SCALING_NONE;
    else if (hybrid__string_is(scaling, "linear")) hp->rope_scaling = HYBRID__SCALING_LINEAR;
    else if (hybrid__string_is(scaling, "yarn")) hp->rope_scaling = HYBRID__SCALING_YARN;
    else if (hybrid__string_is(scaling, "longrope")) hp->rope_scaling = HYBRID__SCALING_LONGROPE;
    else if (!keys->result)
        keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "rope scaling '%.*s' is not supported", (int)HYBRID__MIN(scaling.size, 32), scaling.data);
}

/* Newer files spell the pattern out: a number (every n-th layer sees everything) or a flag for each layer, which must be such a pattern. */
static void hybrid__read_window(hybrid__keys *keys, hybrid__hparams *hp)
{
    char key[128];
    hybrid_gguf_value value;
    uint64_t i;
    if (hp->arch->window == HYBRID__WINDOW_NONE) return;
    hp->window = hybrid__key_int(keys, "attention.sliding_window", 0, INT32_MAX, hp->arch->window == HYBRID__WINDOW_PATTERN ? 4096 : 0);
    hp->window_period = hp->arch->window_period;
    if (hp->arch->window != HYBRID__WINDOW_PATTERN || !hybrid__key_find(keys, "attention.sliding_window_pattern", key, &value)) return;
    if (value.type != HYBRID_GGUF_ARRAY) hp->window_period = hybrid__key_int(keys, "attention.sliding_window_pattern", 1, 1 << 20, 1);
    else for (i = 0; i < value.count && i < (uint64_t)hp->n_layer; i++)
        if ((hybrid_gguf_item_i64(&value, i) != 0) != ((i + 1) % (uint64_t)hp->window_period != 0) && !keys->result)
            keys->result = hybrid__fail(keys->error, HYBRID_ERROR_UNSUPPORTED, "this pattern of sliding windows is not supported (layer %d)", (int)i);
}

/* Reads and checks everything but n_vocab, which is a matter of tensors. Sizes are bounded so that products of two fit 63 bits. */
static hybrid_result hybrid__hparams_read(const hybrid_gguf *gguf, hybrid__hparams *hp, hybrid_error *error)
{
    const int64_t most = 1 << 24;
    hybrid_string name;
    hybrid__keys keys;
    size_t i;
    memset(hp, 0, sizeof *hp);
    if (!hybrid_gguf_get_string(gguf, "general.architecture", &name))
        return hybrid__fail(error, HYBRID_ERROR_FORMAT, "the file has no key 'general.architecture': it is not a model");
    for (i = 0; i < HYBRID__COUNT(hybrid__archs) && !hybrid__string_is(name, hybrid__archs[i].name); i++) {}
    if (i == HYBRID__COUNT(hybrid__archs))
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "architecture '%.*s' is not supported (supported: llama, mistral, qwen2, qwen3, phi3, gemma2, gemma3, gpt2)",
                            (int)HYBRID__MIN(name.size, 40), name.data);
    hp->arch = &hybrid__archs[i];
    keys.gguf = gguf; keys.arch = hp->arch->name; keys.error = error; keys.result = HYBRID_OK;
    hp->n_embd = hybrid__key_int(&keys, "embedding_length", 1, most, 0);
    hp->n_layer = hybrid__key_int(&keys, "block_count", 1, 4096, 0);
    hp->n_ctx_train = hybrid__key_int(&keys, "context_length", 1, INT32_MAX, 0);
    hp->n_ff = hybrid__key_int(&keys, "feed_forward_length", 1, most, 0);
    hp->n_head = hybrid__key_int(&keys, "attention.head_count", 1, 4096, 0);
    hp->n_head_kv = hybrid__key_int(&keys, "attention.head_count_kv", 1, 4096, hp->n_head);
    if (hp->n_head % hp->n_head_kv) hybrid__key_fail(&keys, "attention.head_count", "is no multiple of head_count_kv");
    if (keys.result) return keys.result;
    hp->head_dim_k = hybrid__key_int(&keys, "attention.key_length", 1, 4096, hp->n_embd / hp->n_head);
    hp->head_dim_v = hybrid__key_int(&keys, "attention.value_length", 1, 4096, hp->n_embd / hp->n_head);
    hp->norm_eps = hp->arch->norm == HYBRID__NORM_LAYER ? hybrid__key_float(&keys, "attention.layer_norm_epsilon", 1e-5f)
                                                        : hybrid__key_float(&keys, "attention.layer_norm_rms_epsilon", NAN);
    if (!hp->arch->learned_pos) hybrid__read_rope(&keys, hp);
    hybrid__read_window(&keys, hp);
    hp->attn_softcap = hybrid__key_float(&keys, "attn_logit_softcapping", 0);
    hp->logit_softcap = hybrid__key_float(&keys, "final_logit_softcapping", 0);
    hp->embd_scale = hp->arch->scale_embd ? sqrtf((float)hp->n_embd) : 1;
    hp->attn_scale = hybrid__key_float(&keys, "attention.scale", 0);
    if (hp->attn_scale == 0) hp->attn_scale = 1 / sqrtf((float)hp->head_dim_k);
    /* the 27B models of two families scale by the width of a head that they do not have; their files do not say so */
    if ((hp->n_layer == 46 && !strcmp(hp->arch->name, "gemma2")) || (hp->n_layer == 62 && !strcmp(hp->arch->name, "gemma3")))
        hp->attn_scale = 1 / sqrtf((float)hp->n_embd / (float)hp->n_head);
    return keys.result;
}
/* ==== end src/model/hparams.c ==== */

/* ==== begin src/model/weights.c ==== */
/* model/weights: the tensors of a model by role, found by name, checked against the hyperparameters.
 *
 * The names are those of GGUF. A tensor that is absent has no data. Which ones a family needs follows from what is there: separate or
 * fused q, k, v; gated, fused-gated or plain feed-forward. */

typedef struct hybrid__layer {
    hybrid__tensor attn_norm, attn_norm_b;
    hybrid__tensor wqkv, bqkv;                         /* fused, or */
    hybrid__tensor wq, wk, wv, bq, bk, bv;
    hybrid__tensor q_norm, k_norm;                     /* over each head */
    hybrid__tensor wo, bo;
    hybrid__tensor attn_post_norm;
    hybrid__tensor ffn_norm, ffn_norm_b;
    hybrid__tensor gate, up, up_b, down, down_b;       /* gate absent and up twice as high: fused, gate first */
    hybrid__tensor ffn_post_norm;
} hybrid__layer;

typedef struct hybrid__weights {
    hybrid__tensor embd, pos_embd, out_norm, out_norm_b, head;
    hybrid__tensor rope_freqs, rope_long, rope_short;  /* divisors of the rope frequencies */
    hybrid__layer *layers;
    unsigned char *owned;                              /* the bytes of all tensors, when they are not used in place */
} hybrid__weights;

typedef struct hybrid__weight_loader {
    const hybrid_gguf     *gguf;
    const hybrid__hparams *hp;
    hybrid_error          *error;
    hybrid_result          result;
} hybrid__weight_loader;

/* Looks a tensor up; ne1 = 0: a vector of ne0 floats. A wrong shape or type is an error, absence is one when `required`. */
static void hybrid__weight(hybrid__weight_loader *wl, hybrid__tensor *t, bool required, int64_t ne0, int64_t ne1, const char *name)
{
    const hybrid_gguf_tensor *src = hybrid_gguf_find_tensor(wl->gguf, name);
    memset(t, 0, sizeof *t);
    if (wl->result) return;
    if (!src) {
        if (required) wl->result = hybrid__fail(wl->error, HYBRID_ERROR_FORMAT, "the model has no tensor '%s', which its architecture '%s' needs", name, wl->hp->arch->name);
        return;
    }
    if (src->ne[0] != (uint64_t)ne0 || src->ne[1] != (uint64_t)(ne1 ? ne1 : 1) || src->ne[2] != 1 || src->ne[3] != 1) {
        wl->result = hybrid__fail_at(wl->error, HYBRID_ERROR_FORMAT, src->offset, "tensor '%s' is %llu x %llu, but the model's keys ask for %lld x %lld", name,
                                     (unsigned long long)src->ne[0], (unsigned long long)src->ne[1], (long long)ne0, (long long)(ne1 ? ne1 : 1));
        return;
    }
    if (!hybrid_type_block_bytes(src->type)) {
        wl->result = hybrid__fail_at(wl->error, HYBRID_ERROR_UNSUPPORTED, src->offset, "tensor '%s' has type %d, which this version of hybrid does not run", name, (int)src->type);
        return;
    }
    if (!ne1 && src->type != HYBRID_TYPE_F32) {
        wl->result = hybrid__fail_at(wl->error, HYBRID_ERROR_UNSUPPORTED, src->offset, "tensor '%s' has type %s; vectors must be F32", name, hybrid_type_name(src->type));
        return;
    }
    t->name = src->name.data;
    t->type = src->type;
    t->ne[0] = ne0; t->ne[1] = ne1 ? ne1 : 1; t->ne[2] = t->ne[3] = 1;
    t->nb[0] = hybrid_type_block_bytes(src->type);
    t->nb[1] = hybrid_type_row_bytes(src->type, (size_t)ne0);
    t->nb[2] = t->nb[3] = t->nb[1] * (size_t)t->ne[1];
    t->data = src->data;                               /* NULL when not in place, until hybrid__weights_read */
}

static bool hybrid__layer_has(const hybrid__weight_loader *wl, int layer, const char *suffix)
{
    char name[64];
    snprintf(name, sizeof name, "blk.%d.%s", layer, suffix);
    return hybrid_gguf_find_tensor(wl->gguf, name) != NULL;
}

static void hybrid__layer_find(hybrid__weight_loader *wl, hybrid__layer *l, int layer)
{
    const hybrid__hparams *hp = wl->hp;
    const int64_t e = hp->n_embd, q = (int64_t)hp->n_head * hp->head_dim_k, k = (int64_t)hp->n_head_kv * hp->head_dim_k,
                  v = (int64_t)hp->n_head_kv * hp->head_dim_v, o = (int64_t)hp->n_head * hp->head_dim_v, f = hp->n_ff;
    const bool biased_norm = hp->arch->norm == HYBRID__NORM_LAYER, gated = hybrid__layer_has(wl, layer, "ffn_gate.weight");
    const bool fused_gate = !gated && hp->arch->norm == HYBRID__NORM_RMS;
    char name[64];
#define HYBRID__FIND(field, required, ne0, ne1, suffix) \
    (snprintf(name, sizeof name, "blk.%d." suffix, layer), hybrid__weight(wl, &l->field, required, ne0, ne1, name))
    HYBRID__FIND(attn_norm, true, e, 0, "attn_norm.weight");
    HYBRID__FIND(attn_norm_b, biased_norm, e, 0, "attn_norm.bias");
    if (hybrid__layer_has(wl, layer, "attn_qkv.weight")) {
        HYBRID__FIND(wqkv, true, e, q + k + v, "attn_qkv.weight");
        HYBRID__FIND(bqkv, false, q + k + v, 0, "attn_qkv.bias");
    } else {
        HYBRID__FIND(wq, true, e, q, "attn_q.weight");
        HYBRID__FIND(wk, true, e, k, "attn_k.weight");
        HYBRID__FIND(wv, true, e, v, "attn_v.weight");
        HYBRID__FIND(bq, false, q, 0, "attn_q.bias");
        HYBRID__FIND(bk, false, k, 0, "attn_k.bias");
        HYBRID__FIND(bv, false, v, 0, "attn_v.bias");
    }
    HYBRID__FIND(q_norm, false, hp->head_dim_k, 0, "attn_q_norm.weight");
    HYBRID__FIND(k_norm, false, hp->head_dim_k, 0, "attn_k_norm.weight");
    HYBRID__FIND(wo, true, o, e, "attn_output.weight");
    HYBRID__FIND(bo, false, e, 0, "attn_output.bias");
    HYBRID__FIND(attn_post_norm, false, e, 0, "post_attention_norm.weight");
    HYBRID__FIND(ffn_norm, true, e, 0, "ffn_norm.weight");
    HYBRID__FIND(ffn_norm_b, biased_norm, e, 0, "ffn_norm.bias");
    if (gated) HYBRID__FIND(gate, true, e, f, "ffn_gate.weight");
    HYBRID__FIND(up, true, e, fused_gate ? 2 * f : f, "ffn_up.weight");
    HYBRID__FIND(up_b, false, f, 0, "ffn_up.bias");
    HYBRID__FIND(down, true, f, e, "ffn_down.weight");
    HYBRID__FIND(down_b, false, e, 0, "ffn_down.bias");
    HYBRID__FIND(ffn_post_norm, false, e, 0, "post_ffw_norm.weight");
#undef HYBRID__FIND
}

/* Finds and checks every tensor; sets hp->n_vocab from the embedding. */
static hybrid_result hybrid__weights_find(hybrid_runtime *rt, const hybrid_gguf *gguf, hybrid__hparams *hp, hybrid__weights *w, hybrid_error *error)
{
    const hybrid_gguf_tensor *embd = hybrid_gguf_find_tensor(gguf, "token_embd.weight");
    const bool biased_norm = hp->arch->norm == HYBRID__NORM_LAYER, longrope = hp->rope_scaling == HYBRID__SCALING_LONGROPE;
    hybrid__weight_loader wl;
    int i;
    if (!embd) return hybrid__fail(error, HYBRID_ERROR_FORMAT, "the file has no tensor 'token_embd.weight': it is not a whole model (a vocabulary only, or one part of a split file?)");
    if (embd->ne[1] < 1 || embd->ne[1] > (1 << 28)) return hybrid__fail_at(error, HYBRID_ERROR_FORMAT, embd->offset, "'token_embd.weight' has %llu rows", (unsigned long long)embd->ne[1]);
    hp->n_vocab = (int32_t)embd->ne[1];
    if (!(w->layers = (hybrid__layer *)hybrid__calloc(rt, (size_t)hp->n_layer, sizeof *w->layers))) return hybrid__fail_memory(error, (size_t)hp->n_layer * sizeof *w->layers);
    wl.gguf = gguf; wl.hp = hp; wl.error = error; wl.result = HYBRID_OK;
    hybrid__weight(&wl, &w->embd, true, hp->n_embd, hp->n_vocab, "token_embd.weight");
    if (hp->arch->learned_pos) hybrid__weight(&wl, &w->pos_embd, true, hp->n_embd, hp->n_ctx_train, "position_embd.weight");
    hybrid__weight(&wl, &w->out_norm, true, hp->n_embd, 0, "output_norm.weight");
    hybrid__weight(&wl, &w->out_norm_b, biased_norm, hp->n_embd, 0, "output_norm.bias");
    hybrid__weight(&wl, &w->head, false, hp->n_embd, hp->n_vocab, "output.weight");
    if (hp->n_rot) {
        hybrid__weight(&wl, &w->rope_freqs, false, hp->n_rot / 2, 0, "rope_freqs.weight");
        hybrid__weight(&wl, &w->rope_long, longrope, hp->n_rot / 2, 0, "rope_factors_long.weight");
        hybrid__weight(&wl, &w->rope_short, longrope, hp->n_rot / 2, 0, "rope_factors_short.weight");
    }
    for (i = 0; i < hp->n_layer && !wl.result; i++) hybrid__layer_find(&wl, &w->layers[i], i);
    if (!w->head.name) w->head = w->embd;              /* tied */
    return wl.result;
}

/* The i-th tensor of the model, NULL behind the last. */
static hybrid__tensor *hybrid__weights_item(hybrid__weights *w, const hybrid__hparams *hp, size_t i)
{
    const size_t n_top = offsetof(hybrid__weights, layers) / sizeof(hybrid__tensor), n_layer = sizeof(hybrid__layer) / sizeof(hybrid__tensor);
    if (i < n_top) return (hybrid__tensor *)(void *)w + i;
    i -= n_top;
    return i < n_layer * (size_t)hp->n_layer ? (hybrid__tensor *)(void *)&w->layers[i / n_layer] + i % n_layer : NULL;
}

static bool hybrid__weights_is_tied(const hybrid__weights *w, const hybrid__tensor *t) { return t == &w->head && w->head.name == w->embd.name; }

/* Bytes of own memory that hybrid__weights_read takes: 0 when the file is used in place. */
static size_t hybrid__weights_bytes(hybrid__weights *w, const hybrid__hparams *hp)
{
    size_t i, bytes = 0;
    const hybrid__tensor *t;
    for (i = 0; (t = hybrid__weights_item(w, hp, i)) != NULL; i++)
        if (t->name && !t->data && !hybrid__weights_is_tied(w, t)) bytes += hybrid__align(t->nb[2], 64);
    return bytes;
}

static const hybrid_gguf_tensor *hybrid__weights_source(const hybrid_gguf *gguf, const hybrid__tensor *t)
{
    size_t i;
    for (i = 0; i < hybrid_gguf_tensor_count(gguf); i++)
        if (hybrid_gguf_tensor_at(gguf, i)->name.data == t->name) return hybrid_gguf_tensor_at(gguf, i);
    return NULL;
}

/* Reads what is not in place. progress may be NULL. */
static hybrid_result hybrid__weights_read(hybrid_runtime *rt, hybrid_gguf *gguf, const hybrid__hparams *hp, hybrid__weights *w,
                                          bool (*progress)(void *, float), void *user, hybrid_error *error)
{
    const size_t bytes = hybrid__weights_bytes(w, hp);
    size_t i, at = 0;
    hybrid__tensor *t;
    if (!bytes) return HYBRID_OK;
    if (!(w->owned = (unsigned char *)hybrid__alloc_aligned(rt, bytes))) return hybrid__fail_memory(error, bytes);
    for (i = 0; (t = hybrid__weights_item(w, hp, i)) != NULL; i++) {
        hybrid_result r;
        if (!t->name || t->data || hybrid__weights_is_tied(w, t)) continue;
        if ((r = hybrid_gguf_read_tensor(gguf, hybrid__weights_source(gguf, t), w->owned + at, error)) != HYBRID_OK) return r;
        t->data = w->owned + at;
        at += hybrid__align(t->nb[2], 64);
        if (progress && !progress(user, (float)((double)at / (double)bytes))) return hybrid__fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    }
    if (hybrid__weights_is_tied(w, &w->head)) w->head = w->embd;
    return HYBRID_OK;
}

static void hybrid__weights_free(hybrid_runtime *rt, hybrid__weights *w)
{
    hybrid__free_aligned(rt, w->owned);
    hybrid__free(rt, w->layers);
}
/* ==== end src/model/weights.c ==== */

/* ==== begin src/model/rope.c ==== */
/* model/rope: the cosines and sines that a batch of positions needs, once for all layers and heads.
 *
 * angle(pos, i) = pos * inv_freq[i], inv_freq[i] = base^(-2i / n_rot), stretched by one of:
 *   divisors   a tensor of factors (Llama 3's rope_freqs, longrope's short or long factors)
 *   linear     all frequencies divided by the factor
 *   YaRN       (Peng et al. 2023) a ramp between the two, by how often a frequency turns in the original context
 * Sources: Su et al. 2021 (RoPE); transformers' modeling_rope_utils for the exact formulas. */

/* Dimension (a real number) whose frequency turns `turns` times in the original context. */
static double hybrid__yarn_dim(const hybrid__hparams *hp, double base, double turns)
{
    return hp->n_rot * log(hp->n_ctx_orig / (turns * 6.283185307179586)) / (2 * log(base));
}

/* Fills inv_freq (n_rot / 2). n_ctx decides between longrope's two sets. Returns the factor for cos and sin. */
static float hybrid__rope_frequencies(const hybrid__hparams *hp, const hybrid__weights *w, bool local, int32_t n_ctx, double *inv_freq)
{
    const double base = local ? hp->rope_base_local : hp->rope_base;
    const bool stretched = !(local && hp->arch->local_rope_base != 0);    /* a base of its own: not stretched */
    const float *divisors = (const float *)w->rope_freqs.data;
    double lo = 0, hi = 0;
    int i, half = hp->n_rot / 2;
    if (hp->rope_scaling == HYBRID__SCALING_LONGROPE) divisors = (const float *)(n_ctx > hp->n_ctx_orig ? w->rope_long.data : w->rope_short.data);
    if (hp->rope_scaling == HYBRID__SCALING_YARN) {
        lo = HYBRID__MAX(floor(hybrid__yarn_dim(hp, base, hp->yarn_beta_fast)), 0);
        hi = HYBRID__MIN(ceil(hybrid__yarn_dim(hp, base, hp->yarn_beta_slow)), hp->n_rot - 1);
        if (hi <= lo) hi = lo + 0.001;
    }
    for (i = 0; i < half; i++) {
        double f = pow(base, -2.0 * i / hp->n_rot);
        if (stretched && divisors) f /= hybrid__load_f32(divisors + i);
        if (stretched && hp->rope_scaling == HYBRID__SCALING_LINEAR) f /= hp->rope_factor;
        if (stretched && hp->rope_scaling == HYBRID__SCALING_YARN) {
            double ramp = HYBRID__MIN(HYBRID__MAX((i - lo) / (hi - lo), 0), 1);           /* 0: keep, 1: stretch */
            f = f * (1 - ramp) + f / hp->rope_factor * ramp;
        }
        inv_freq[i] = f;
    }
    if (hp->rope_scaling == HYBRID__SCALING_YARN) return hp->rope_attn_factor * (float)(0.1 * log(hp->rope_factor) + 1);
    if (hp->rope_scaling == HYBRID__SCALING_LONGROPE) return hp->rope_attn_factor;
    return 1;
}

/* table (n_rows, n_rot / 2, 2) = cos, sin of pos * inv_freq, times scale. */
static void hybrid__rope_table(const double *inv_freq, int half, float scale, const int32_t *pos, int n_rows, float *table)
{
    int r, i;
    for (r = 0; r < n_rows; r++)
        for (i = 0; i < half; i++, table += 2) {
            double c, s;
            hybrid__sincos(pos[r] * inv_freq[i], &s, &c);
            table[0] = (float)c * scale;
            table[1] = (float)s * scale;
        }
}
/* ==== end src/model/rope.c ==== */

/* ==== begin src/model/model.c ==== */
/* model/model: a loaded model: file, numbers, weights, tokenizer, chat template. */

struct hybrid_model {
    hybrid_runtime   *rt;
    hybrid_gguf      *gguf;
    hybrid__hparams   hp;
    hybrid__weights   weights;
    hybrid_tokenizer *tokenizer;
#ifdef HYBRID__TEMPLATES
    hybrid_template  *chat;
#endif
};

static hybrid_result hybrid__model_open_template(hybrid_model *m, hybrid_error *error)
{
#ifdef HYBRID__TEMPLATES
    hybrid_string text;
    hybrid_error why;
    hybrid_result r;
    if (!hybrid_gguf_get_string(m->gguf, "tokenizer.chat_template", &text)) return HYBRID_OK;
    r = hybrid_template_create(m->rt, text.data, text.size, &m->chat, &why);
    if (r == HYBRID_ERROR_MEMORY) { if (error) *error = why; return r; }
    /* A template beyond us must not keep the model from being used: the session falls back to plain text, and says so. */
    if (r) hybrid__log(m->rt, HYBRID_LOG_WARN, "the model's chat template is not usable: %s", why.message);
#else
    HYBRID__UNUSED(m); HYBRID__UNUSED(error);
#endif
    return HYBRID_OK;
}

/* Everything but the weights' bytes. */
static hybrid_result hybrid__model_open(hybrid_model *m, const hybrid_model_desc *desc, hybrid_error *error)
{
    hybrid_source source;
    hybrid_result r;
    memset(&source, 0, sizeof source);
    source.path = desc->path;
    source.data = desc->data;
    source.size = desc->size;
    source.reader = desc->reader;
    if ((r = hybrid_gguf_open(m->rt, &source, &m->gguf, error)) != HYBRID_OK) return r;
    if ((r = hybrid__hparams_read(m->gguf, &m->hp, error)) != HYBRID_OK) return r;
    if ((r = hybrid__weights_find(m->rt, m->gguf, &m->hp, &m->weights, error)) != HYBRID_OK) return r;
    if (desc->no_map && !desc->data) {                 /* read what could be used in place */
        size_t i;
        hybrid__tensor *t;
        for (i = 0; (t = hybrid__weights_item(&m->weights, &m->hp, i)) != NULL; i++) t->data = NULL;
    }
    if ((r = hybrid_tokenizer_from_gguf(m->rt, m->gguf, &m->tokenizer, error)) != HYBRID_OK) return r;
    if (hybrid_vocab_size(m->tokenizer) > (size_t)m->hp.n_vocab)
        return hybrid__fail(error, HYBRID_ERROR_FORMAT, "the tokenizer has %llu tokens, but the model only %d: they do not belong together", (unsigned long long)hybrid_vocab_size(m->tokenizer), m->hp.n_vocab);
    return hybrid__model_open_template(m, error);
}

static hybrid_result hybrid__model_create(hybrid_runtime *runtime, const hybrid_model_desc *desc, hybrid_model **model, hybrid_error *error)
{
    hybrid_runtime *rt;
    hybrid_result r = hybrid__runtime_retain(runtime, &rt, error);
    if (r) {
        if (desc->reader.close) desc->reader.close(desc->reader.user);
        return r;
    }
    if (!(*model = (hybrid_model *)hybrid__calloc(rt, 1, sizeof **model))) {
        if (desc->reader.close) desc->reader.close(desc->reader.user);
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof **model);
    }
    (*model)->rt = rt;
    return hybrid__model_open(*model, desc, error);
}

HYBRID_API void hybrid_model_destroy(hybrid_model *model)
{
    hybrid_runtime *rt;
    if (!model) return;
    rt = model->rt;
#ifdef HYBRID__TEMPLATES
    hybrid_template_destroy(model->chat);
#endif
    hybrid_tokenizer_destroy(model->tokenizer);
    hybrid__weights_free(rt, &model->weights);
    hybrid_gguf_destroy(model->gguf);
    hybrid__free(rt, model);
    hybrid__runtime_release(rt);
}

HYBRID_API hybrid_result hybrid_model_load(hybrid_runtime *runtime, const hybrid_model_desc *desc, hybrid_model **model, hybrid_error *error)
{
    hybrid_model *m = NULL;
    hybrid_result r;
    if (!model || !desc) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_model_load: %s is NULL", model ? "desc" : "model");
    *model = NULL;
    r = hybrid__model_create(runtime, desc, &m, error);
    if (!r && desc->progress && !desc->progress(desc->progress_user, 0)) r = hybrid__fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    if (!r) r = hybrid__weights_read(m->rt, m->gguf, &m->hp, &m->weights, desc->progress, desc->progress_user, error);
    if (!r && desc->progress && !desc->progress(desc->progress_user, 1)) r = hybrid__fail(error, HYBRID_ERROR_CANCELLED, "loading was cancelled");
    if (r) {
        hybrid_model_destroy(m);
        return r;
    }
    hybrid__log(m->rt, HYBRID_LOG_INFO, "loaded a %s model: %d layers, %d wide, %d tokens, kernels for %s", m->hp.arch->name, m->hp.n_layer, m->hp.n_embd,
                m->hp.n_vocab, hybrid__isa_name(m->rt->isa));
    *model = m;
    return HYBRID_OK;
}

HYBRID_API void hybrid_model_describe(const hybrid_model *model, hybrid_model_info *info)
{
    hybrid_string name;
    size_t i;
    memset(info, 0, sizeof *info);
    if (!model) return;
    snprintf(info->architecture, sizeof info->architecture, "%s", model->hp.arch->name);
    if (hybrid_gguf_get_string(model->gguf, "general.name", &name)) snprintf(info->name, sizeof info->name, "%.*s", (int)HYBRID__MIN(name.size, 63), name.data);
    for (i = 0; i < hybrid_gguf_tensor_count(model->gguf); i++) {
        const hybrid_gguf_tensor *t = hybrid_gguf_tensor_at(model->gguf, i);
        info->n_params += t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
        info->n_bytes += t->size;
    }
    info->n_vocab = model->hp.n_vocab;
    info->n_ctx_train = model->hp.n_ctx_train;
    info->n_embd = model->hp.n_embd;
    info->n_layer = model->hp.n_layer;
    info->n_head = model->hp.n_head;
    info->n_head_kv = model->hp.n_head_kv;
    info->head_dim = model->hp.head_dim_k;
    info->n_ff = model->hp.n_ff;
    info->has_template = hybrid_model_template(model) != NULL;
}

HYBRID_API const hybrid_tokenizer *hybrid_model_tokenizer(const hybrid_model *model) { return model->tokenizer; }
HYBRID_API const hybrid_gguf *hybrid_model_gguf(const hybrid_model *model) { return model->gguf; }
HYBRID_API hybrid_runtime *hybrid_model_runtime(const hybrid_model *model) { return model->rt; }
HYBRID_API const hybrid_template *hybrid_model_template(const hybrid_model *model)
{
#ifdef HYBRID__TEMPLATES
    return model->chat;
#else
    HYBRID__UNUSED(model);
    return NULL;
#endif
}
/* ==== end src/model/model.c ==== */

/* ==== begin src/model/forward.c ==== */
/* model/forward: one transformer for all families, over the op table.
 *
 * A chunk is up to n_batch tokens, of any mix of sequences, that go through the layers together. The pass is three kinds of calls that
 * the caller makes one by one, so that it can be left and re-entered: forward_begin, forward_layer for each layer, forward_end. */

typedef struct hybrid__chunk {
    const int32_t *ids, *pos;              /* n each */
    int n;
    const hybrid__run *runs; int n_runs;
    const int32_t *out_rows; int n_out;    /* rows whose logits are wanted, ascending */
    float *logits;                         /* (n_out, n_vocab) */
} hybrid__chunk;

/* Memory of a pass, laid out by hybrid__activations_layout. E = n_embd, rows R = n_batch. */
typedef struct hybrid__activations {
    float *x;                              /* (R, E) the residual stream */
    float *h;                              /* (R, E) a normed copy of it, or what a block adds to it */
    float *qkv;                            /* (R, q + k + v) */
    float *attn;                           /* (R, n_head * head_dim_v) */
    float *ffn;                            /* (R, 2 * n_ff): gate, up; the product replaces gate */
    float *rope, *rope_local;              /* (R, n_rot / 2, 2) */
    double *inv_freq, *inv_freq_local;     /* n_rot / 2 */
    float  rope_scale, rope_scale_local;
    size_t bytes;
} hybrid__activations;

typedef struct hybrid__forward {
    const hybrid__hparams *hp;
    const hybrid__weights *w;
    hybrid__backend *be;
    const hybrid__kv_view *kv;             /* one a layer */
    hybrid__activations a;
    hybrid_trace_fn trace;
    void *trace_user;
} hybrid__forward;

static int64_t hybrid__width_q(const hybrid__hparams *hp) { return (int64_t)hp->n_head * hp->head_dim_k; }
static int64_t hybrid__width_k(const hybrid__hparams *hp) { return (int64_t)hp->n_head_kv * hp->head_dim_k; }
static int64_t hybrid__width_v(const hybrid__hparams *hp) { return (int64_t)hp->n_head_kv * hp->head_dim_v; }
static int64_t hybrid__width_qkv(const hybrid__hparams *hp) { return hybrid__width_q(hp) + hybrid__width_k(hp) + hybrid__width_v(hp); }
static int64_t hybrid__width_attn(const hybrid__hparams *hp) { return (int64_t)hp->n_head * hp->head_dim_v; }

/* Places the buffers from base on (NULL: only counts). Every one is a multiple of 64 bytes. */
static void hybrid__activations_layout(hybrid__activations *a, const hybrid__hparams *hp, int n_batch, char *base)
{
    const size_t rows = (size_t)n_batch, half = (size_t)hp->n_rot / 2;
    size_t at = 0;
    memset(a, 0, sizeof *a);
#define HYBRID__PLACE(field, type, count) \
    (a->field = base ? (type *)(void *)(base + at) : NULL, at += hybrid__align(sizeof(type) * (count), 64))
    HYBRID__PLACE(x, float, rows * (size_t)hp->n_embd);
    HYBRID__PLACE(h, float, rows * (size_t)hp->n_embd);
    HYBRID__PLACE(qkv, float, rows * (size_t)HYBRID__MAX(hybrid__width_qkv(hp), hybrid__width_attn(hp)));
    HYBRID__PLACE(attn, float, rows * (size_t)hybrid__width_attn(hp));
    HYBRID__PLACE(ffn, float, rows * (size_t)hp->n_ff * 2);
    HYBRID__PLACE(rope, float, rows * half * 2);
    HYBRID__PLACE(rope_local, float, hp->arch->local_rope_base != 0 ? rows * half * 2 : 0);
    HYBRID__PLACE(inv_freq, double, half);
    HYBRID__PLACE(inv_freq_local, double, half);
#undef HYBRID__PLACE
    a->bytes = at;
}

static void hybrid__activations_rope(hybrid__activations *a, const hybrid__hparams *hp, const hybrid__weights *w, int32_t n_ctx)
{
    if (!hp->n_rot) return;
    a->rope_scale = hybrid__rope_frequencies(hp, w, false, n_ctx, a->inv_freq);
    a->rope_scale_local = hybrid__rope_frequencies(hp, w, true, n_ctx, a->inv_freq_local);
}

/* ---- pieces ---- */

static void hybrid__traced(hybrid__forward *f, const char *name, int layer, const float *data, int64_t rows, int64_t cols, int64_t stride)
{
    if (!f->trace || f->be->ops->sync(f->be, NULL)) return;
    f->trace(f->trace_user, name, layer, data, rows, cols, stride);
}

static const float *hybrid__vector(const hybrid__tensor *t) { return (const float *)t->data; }

static void hybrid__normed(hybrid__forward *f, float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t n_rows, int64_t n, const hybrid__tensor *w, const hybrid__tensor *b)
{
    hybrid__op_norm op;
    op.kind = f->hp->arch->norm;
    op.x = x; op.x_stride = x_stride;
    op.out = out; op.out_stride = out_stride;
    op.w = hybrid__vector(w); op.b = b ? hybrid__vector(b) : NULL;
    op.n_rows = n_rows; op.n = n;
    op.eps = f->hp->norm_eps;
    f->be->ops->norm(f->be, &op);
}

static void hybrid__matmul_out_set(hybrid__op_matmul *op, const hybrid__tensor *w, const hybrid__tensor *bias, float *y, int64_t y_stride, bool add)
{
    hybrid__matmul_out *o = &op->out[op->n_out++];
    o->w = w;
    o->bias = bias && bias->data ? hybrid__vector(bias) : NULL;
    o->y = y; o->y_stride = y_stride;
    o->add = add;
}

static void hybrid__matmul_begin(hybrid__op_matmul *op, const float *x, int64_t x_stride, int n)
{
    memset(op, 0, sizeof *op);
    op->x = x; op->x_stride = x_stride; op->n = n;
}

/* x (n, E) += y W^T + b, through a norm of its own where the family has one. */
static void hybrid__block_out(hybrid__forward *f, const char *name, int layer, int n, const float *y, int64_t y_stride, const hybrid__tensor *w, const hybrid__tensor *b, const hybrid__tensor *post_norm)
{
    const int64_t e = f->hp->n_embd;
    hybrid__op_matmul op;
    hybrid__matmul_begin(&op, y, y_stride, n);
    if (!post_norm->data) {
        hybrid__matmul_out_set(&op, w, b, f->a.x, e, true);
        f->be->ops->matmul(f->be, &op);
        return;
    }
    hybrid__matmul_out_set(&op, w, b, f->a.h, e, false);
    f->be->ops->matmul(f->be, &op);
    hybrid__traced(f, name, layer, f->a.h, n, e, e);
    hybrid__normed(f, f->a.h, e, f->a.h, e, n, e, post_norm, NULL);
    f->be->ops->add(f->be, f->a.x, f->a.h, n * e);
}

/* ---- the pass ---- */

static void hybrid__forward_begin(hybrid__forward *f, const hybrid__chunk *c)
{
    const hybrid__hparams *hp = f->hp;
    hybrid__op_embed op;
    op.table = &f->w->embd; op.ids = c->ids; op.n = c->n; op.scale = hp->embd_scale; op.add = false; op.out = f->a.x;
    f->be->ops->embed(f->be, &op);
    if (hp->arch->learned_pos) {
        op.table = &f->w->pos_embd; op.ids = c->pos; op.scale = 1; op.add = true;
        f->be->ops->embed(f->be, &op);
    } else if (hp->n_rot) {
        hybrid__rope_table(f->a.inv_freq, hp->n_rot / 2, f->a.rope_scale, c->pos, c->n, f->a.rope);
        if (hp->arch->local_rope_base != 0) hybrid__rope_table(f->a.inv_freq_local, hp->n_rot / 2, f->a.rope_scale_local, c->pos, c->n, f->a.rope_local);
    }
    hybrid__traced(f, "embd", -1, f->a.x, c->n, hp->n_embd, hp->n_embd);
}

/* h -> q, k, v in their strided place, normed, rotated, k and v stored */
static void hybrid__forward_qkv(hybrid__forward *f, const hybrid__chunk *c, int layer)
{
    const hybrid__hparams *hp = f->hp;
    const hybrid__layer *l = &f->w->layers[layer];
    const int64_t stride = hybrid__width_qkv(hp);
    float *q = f->a.qkv, *k = q + hybrid__width_q(hp), *v = k + hybrid__width_k(hp);
    hybrid__op_matmul mm;
    hybrid__op_kv_store store;
    int i, r;
    hybrid__matmul_begin(&mm, f->a.h, hp->n_embd, c->n);
    if (l->wqkv.data) hybrid__matmul_out_set(&mm, &l->wqkv, &l->bqkv, q, stride, false);
    else {
        hybrid__matmul_out_set(&mm, &l->wq, &l->bq, q, stride, false);
        hybrid__matmul_out_set(&mm, &l->wk, &l->bk, k, stride, false);
        hybrid__matmul_out_set(&mm, &l->wv, &l->bv, v, stride, false);
    }
    f->be->ops->matmul(f->be, &mm);
    hybrid__traced(f, "q", layer, q, c->n, hybrid__width_q(hp), stride);
    hybrid__traced(f, "k", layer, k, c->n, hybrid__width_k(hp), stride);
    hybrid__traced(f, "v", layer, v, c->n, hybrid__width_v(hp), stride);
    for (r = 0; l->q_norm.data && r < c->n; r++) hybrid__normed(f, q + r * stride, hp->head_dim_k, q + r * stride, hp->head_dim_k, hp->n_head, hp->head_dim_k, &l->q_norm, NULL);
    for (r = 0; l->k_norm.data && r < c->n; r++) hybrid__normed(f, k + r * stride, hp->head_dim_k, k + r * stride, hp->head_dim_k, hp->n_head_kv, hp->head_dim_k, &l->k_norm, NULL);
    for (i = 0; i < 2 && hp->n_rot; i++) {
        hybrid__op_rope rope;
        rope.kind = hp->arch->rope;
        rope.x = i ? k : q; rope.x_stride = stride;
        rope.n = c->n; rope.n_head = i ? hp->n_head_kv : hp->n_head;
        rope.head_dim = hp->head_dim_k; rope.n_rot = hp->n_rot;
        rope.table = hp->arch->local_rope_base != 0 && hybrid__layer_is_local(hp, layer) ? f->a.rope_local : f->a.rope;
        f->be->ops->rope(f->be, &rope);
    }
    hybrid__traced(f, "q_rope", layer, q, c->n, hybrid__width_q(hp), stride);
    hybrid__traced(f, "k_rope", layer, k, c->n, hybrid__width_k(hp), stride);
    store.kv = &f->kv[layer];
    store.k = k; store.k_stride = stride;
    store.v = v; store.v_stride = stride;
    store.runs = c->runs; store.n_runs = c->n_runs;
    f->be->ops->kv_store(f->be, &store);
}

static void hybrid__forward_attention(hybrid__forward *f, const hybrid__chunk *c, int layer)
{
    const hybrid__hparams *hp = f->hp;
    hybrid__op_attention op;
    memset(&op, 0, sizeof op);
    op.kv = &f->kv[layer];
    op.q = f->a.qkv; op.q_stride = hybrid__width_qkv(hp);
    op.out = f->a.attn; op.out_stride = hybrid__width_attn(hp);
    op.runs = c->runs; op.n_runs = c->n_runs;
    op.n_head = hp->n_head;
    op.scale = hp->attn_scale;
    op.softcap = hp->attn_softcap;
    op.window = hybrid__layer_is_local(hp, layer) ? hp->window : 0;
    f->be->ops->attention(f->be, &op);
    hybrid__traced(f, "attn", layer, op.out, c->n, op.out_stride, op.out_stride);
}

/* h (n, E) -> ffn (n, F) at stride 2F: act(gate) * up, or act(up) */
static void hybrid__forward_ffn(hybrid__forward *f, int n, int layer)
{
    const hybrid__hparams *hp = f->hp;
    const hybrid__layer *l = &f->w->layers[layer];
    const int64_t stride = 2 * (int64_t)hp->n_ff;
    const bool plain = !l->gate.data && l->up.ne[1] == hp->n_ff;
    hybrid__op_matmul mm;
    hybrid__op_glu glu;
    hybrid__matmul_begin(&mm, f->a.h, hp->n_embd, n);
    if (l->gate.data) hybrid__matmul_out_set(&mm, &l->gate, NULL, f->a.ffn, stride, false);
    hybrid__matmul_out_set(&mm, &l->up, &l->up_b, l->gate.data ? f->a.ffn + hp->n_ff : f->a.ffn, stride, false);
    f->be->ops->matmul(f->be, &mm);
    glu.act = hp->arch->act;
    glu.gate = f->a.ffn; glu.gate_stride = stride;
    glu.up = plain ? NULL : f->a.ffn + hp->n_ff; glu.up_stride = stride;
    glu.out = f->a.ffn; glu.out_stride = stride;
    glu.n_rows = n; glu.n = hp->n_ff;
    f->be->ops->glu(f->be, &glu);
    hybrid__traced(f, "ffn_act", layer, f->a.ffn, n, hp->n_ff, stride);
}

/* dst (n_out, cols) = the rows of src whose logits are wanted */
static void hybrid__gather(hybrid__forward *f, const hybrid__chunk *c, float *dst, const float *src, int64_t cols)
{
    hybrid__tensor table;
    hybrid__op_embed op;
    memset(&table, 0, sizeof table);
    table.type = HYBRID_TYPE_F32;
    table.ne[0] = cols; table.ne[1] = c->n; table.ne[2] = table.ne[3] = 1;
    table.nb[0] = sizeof(float); table.nb[1] = (size_t)cols * sizeof(float); table.nb[2] = table.nb[3] = table.nb[1] * (size_t)c->n;
    table.data = src;
    op.table = &table; op.ids = c->out_rows; op.n = c->n_out; op.scale = 1; op.add = false; op.out = dst;
    f->be->ops->embed(f->be, &op);
}

static void hybrid__swap_xh(hybrid__forward *f)
{
    float *x = f->a.x;
    f->a.x = f->a.h;
    f->a.h = x;
}
static void hybrid__gather_x(hybrid__forward *f, const hybrid__chunk *c)
{
    hybrid__gather(f, c, f->a.h, f->a.x, f->hp->n_embd);
    hybrid__swap_xh(f);
}

/* One layer. Behind the last attention only the rows with wanted logits go on, unless somebody watches. */
static void hybrid__forward_layer(hybrid__forward *f, const hybrid__chunk *c, int layer)
{
    const hybrid__hparams *hp = f->hp;
    const hybrid__layer *l = &f->w->layers[layer];
    const int64_t e = hp->n_embd;
    const bool last = layer + 1 == hp->n_layer && !f->trace && c->n_out < c->n;
    int n = c->n;
    hybrid__normed(f, f->a.h, e, f->a.x, e, n, e, &l->attn_norm, &l->attn_norm_b);
    hybrid__traced(f, "attn_norm", layer, f->a.h, n, e, e);
    hybrid__forward_qkv(f, c, layer);
    if (last && !c->n_out) return;
    hybrid__forward_attention(f, c, layer);
    if (last) {
        n = c->n_out;
        hybrid__gather_x(f, c);
        hybrid__gather(f, c, f->a.qkv, f->a.attn, hybrid__width_attn(hp));
        hybrid__block_out(f, "attn_out", layer, n, f->a.qkv, hybrid__width_attn(hp), &l->wo, &l->bo, &l->attn_post_norm);
    } else hybrid__block_out(f, "attn_out", layer, n, f->a.attn, hybrid__width_attn(hp), &l->wo, &l->bo, &l->attn_post_norm);
    hybrid__traced(f, "ffn_in", layer, f->a.x, n, e, e);
    hybrid__normed(f, f->a.h, e, f->a.x, e, n, e, &l->ffn_norm, &l->ffn_norm_b);
    hybrid__traced(f, "ffn_norm", layer, f->a.h, n, e, e);
    hybrid__forward_ffn(f, n, layer);
    hybrid__block_out(f, "ffn_out", layer, n, f->a.ffn, 2 * (int64_t)hp->n_ff, &l->down, &l->down_b, &l->ffn_post_norm);
    hybrid__traced(f, "l_out", layer, f->a.x, n, e, e);
}

/* x -> logits of the wanted rows */
static hybrid_result hybrid__forward_end(hybrid__forward *f, const hybrid__chunk *c, hybrid_error *error)
{
    const hybrid__hparams *hp = f->hp;
    const int64_t e = hp->n_embd;
    const int n = f->trace ? c->n : c->n_out;          /* the rows that the last layer left */
    hybrid__op_matmul mm;
    if (!c->n_out && !f->trace) return f->be->ops->sync(f->be, error);
    hybrid__normed(f, f->a.h, e, f->a.x, e, n, e, &f->w->out_norm, &f->w->out_norm_b);
    hybrid__traced(f, "result_norm", -1, f->a.h, n, e, e);
    if (f->trace && c->n_out < c->n) hybrid__gather(f, c, f->a.x, f->a.h, e);
    if (f->trace && c->n_out < c->n) hybrid__swap_xh(f);
    if (c->n_out) {
        hybrid__matmul_begin(&mm, f->a.h, e, c->n_out);
        hybrid__matmul_out_set(&mm, &f->w->head, NULL, c->logits, hp->n_vocab, false);
        f->be->ops->matmul(f->be, &mm);
        if (hp->logit_softcap > 0) f->be->ops->softcap(f->be, c->logits, hp->logit_softcap, (int64_t)c->n_out * hp->n_vocab);
        hybrid__traced(f, "logits", -1, c->logits, c->n_out, hp->n_vocab, hp->n_vocab);
    }
    return f->be->ops->sync(f->be, error);
}
/* ==== end src/model/forward.c ==== */

/* infer */

/* ==== begin src/infer/select.c ==== */
/* infer/select: filters and a draw over the logits of a whole vocabulary, without sorting it and without memory of its size.
 *
 * A filter that keeps the first of an order (top-k by count, top-p by probability) needs no sorted list, only the key of the last one kept
 * and how many of that key: a cut. It is found by histograms over the bits of the keys, 11 + 11 + 10, from the top. As soon as all that can
 * be kept fits into a small list of candidates, the rest happens there; so a usual draw reads a large vocabulary three or four times.
 * Everything is summed in order of id, in double: the result depends on nothing else. */

#define HYBRID__SELECT_CHUNK      512
#define HYBRID__SELECT_BINS       2048
#define HYBRID__SELECT_CANDIDATES 2048
#define HYBRID__SELECT_NOTHING    50.0      /* e^-50 of the best is no probability: the draw resolves 2^-53 */

/* Keeps the keys above key, and the first `equal` (by id) of those equal to it. */
typedef struct hybrid__cut {
    uint32_t key;
    int64_t  equal;
} hybrid__cut;

enum { HYBRID__BY_LOGIT, HYBRID__BY_TYPICAL, HYBRID__CUTS };

typedef struct hybrid__select {
    /* Writes the logits of ids first..first+n-1 to x (n). */
    void      (*load)(const void *user, int32_t first, int32_t n, float *x);
    const void *user;
    int32_t     n_vocab, best;            /* best: the likeliest id */
    float       max, low;                 /* the logit of best; logits below low are out */
    double      scale;                    /* 1 / temperature; a logit x weighs e^z, z = (x - max) * scale */
    double      min_weight;               /* what weighs less is out; 0: nothing */
    double      center;                   /* the mean of z */
    int         n_peaks;
    float       peak[HYBRID__SELECT_BINS]; /* the largest logit of each of the first chunks */
    hybrid__cut cut[HYBRID__CUTS];
    bool        gathered;                 /* everything that is left is in the candidates, in order of id */
    int32_t     n_candidates;
    int32_t     candidate_id[HYBRID__SELECT_CANDIDATES];
    float       candidate[HYBRID__SELECT_CANDIDATES];
    double      sum[HYBRID__SELECT_BINS];
    int64_t     count[HYBRID__SELECT_BINS];
    int32_t     id[HYBRID__SELECT_CHUNK]; /* what hybrid__select_next found */
    float       x[HYBRID__SELECT_CHUNK];
    double      weight[HYBRID__SELECT_CHUNK];
} hybrid__select;

/* A walk over what is left, in order of id. */
typedef struct hybrid__walk {
    int32_t     at;
    hybrid__cut cut[HYBRID__CUTS];
} hybrid__walk;

/* e^z for z in -700..0, relative error below 1e-13: z = n ln 2 + r, a polynomial in r, |r| <= ln 2 / 2. */
HYBRID__INLINE double hybrid__exp_negative(double z)
{
    const double magic = 6755399441055744.0;         /* 1.5 * 2^52: adding it rounds to an integer, in the low bits */
    double t = z * 1.4426950408889634 + magic, n = t - magic, r = z - n * 6.93147180369123816e-01 - n * 1.90821492927058770e-10, p;
    uint64_t bits, power;
    p = 1.0 / 39916800.0;
    p = p * r + 1.0 / 3628800.0;
    p = p * r + 1.0 / 362880.0;
    p = p * r + 1.0 / 40320.0;
    p = p * r + 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    memcpy(&power, &t, sizeof power);
    memcpy(&bits, &p, sizeof bits);
    bits += power << 52;                             /* times 2^n */
    memcpy(&p, &bits, sizeof p);
    return p;
}

HYBRID__INLINE double hybrid__select_exponent(const hybrid__select *s, float x) { return ((double)x - (double)s->max) * s->scale; }
HYBRID__INLINE double hybrid__select_weight(const hybrid__select *s, float x) { return hybrid__exp_negative(hybrid__select_exponent(s, x)); }

/* The weights of x[0..m-1], in rounds of a constant length, which compilers turn into vector code. */
static void hybrid__select_weights(hybrid__select *s, int m)
{
    int first, i;
    for (first = 0; first < m; first += 64)
        for (i = first; i < first + 64; i++) s->weight[i] = hybrid__select_weight(s, s->x[i]);
}

/* Unsigned integers in the order of the floats (-0 = 0). */
HYBRID__INLINE uint32_t hybrid__float_order(float x)
{
    uint32_t u = hybrid__f32_bits(x + 0.0f);
    return u & 0x80000000u ? ~u : u | 0x80000000u;
}

HYBRID__INLINE uint32_t hybrid__select_key(const hybrid__select *s, int by, float x)
{
    double d;
    if (by == HYBRID__BY_LOGIT) return hybrid__float_order(x);
    d = hybrid__select_exponent(s, x) - s->center;
    return hybrid__float_order((float)(d < 0 ? d : -d));
}

HYBRID__INLINE bool hybrid__cut_keeps(hybrid__cut *cut, uint32_t key)
{
    return key > cut->key || (key == cut->key && cut->equal-- > 0);
}

static void hybrid__walk_begin(const hybrid__select *s, hybrid__walk *walk)
{
    walk->at = 0;
    memcpy(walk->cut, s->cut, sizeof walk->cut);
}

/* The next ids that pass all cuts, into s->id and s->x. False at the end; *n may be 0 before it. */
static bool hybrid__select_next(hybrid__select *s, hybrid__walk *walk, int *n)
{
    const bool typical = s->cut[HYBRID__BY_TYPICAL].key != 0;
    int32_t end = s->gathered ? s->n_candidates : s->n_vocab, first = walk->at, i, size;
    const float *from = s->x;                        /* written from the front as it is read: m <= i */
    int m = 0;
    if (first >= end) return false;
    size = HYBRID__MIN(end - first, HYBRID__SELECT_CHUNK);
    if (s->gathered) from = s->candidate + first;
    else s->load(s->user, first, size, s->x);
    for (i = 0; i < size; i++) {
        float x = from[i];
        if (x < s->low || !hybrid__cut_keeps(&walk->cut[HYBRID__BY_LOGIT], hybrid__float_order(x))) continue;
        if (s->min_weight > 0 && hybrid__select_weight(s, x) < s->min_weight) continue;
        if (typical && !hybrid__cut_keeps(&walk->cut[HYBRID__BY_TYPICAL], hybrid__select_key(s, HYBRID__BY_TYPICAL, x))) continue;
        s->x[m] = x;
        s->id[m++] = s->gathered ? s->candidate_id[first + i] : first + i;
    }
    walk->at = first + size;
    *n = m;
    return true;
}

/* Starts over with n_vocab logits and finds the best, and in passing the best of every chunk. False when one is NaN or +inf, or none
 * is above -inf. */
static bool hybrid__select_begin(hybrid__select *s, int32_t n_vocab)
{
    int32_t first, i, size;
    s->n_vocab = n_vocab;
    s->gathered = false;
    s->best = -1;
    s->max = -INFINITY;
    s->n_peaks = 0;
    for (first = 0; first < n_vocab; first += size) {
        float peak = -INFINITY;
        int32_t at = 0;
        size = HYBRID__MIN(n_vocab - first, HYBRID__SELECT_CHUNK);
        s->load(s->user, first, size, s->x);
        for (i = 0; i < size; i++) {
            if (HYBRID__LIKELY(s->x[i] <= peak)) continue;
            if (!(s->x[i] < INFINITY)) return false;
            peak = s->x[i];
            at = i;
        }
        if (s->n_peaks < HYBRID__SELECT_BINS) s->peak[s->n_peaks++] = peak;
        if (peak > s->max) {
            s->max = peak;
            s->best = first + at;
        }
    }
    return s->best >= 0;
}

/* Sets what a logit weighs; nothing is filtered yet. temperature > 0. */
static void hybrid__select_temperature(hybrid__select *s, float temperature)
{
    s->scale = 1.0 / (double)temperature;
    s->low = (float)((double)s->max - HYBRID__SELECT_NOTHING * (double)temperature);
    s->min_weight = 0;
    memset(s->cut, 0, sizeof s->cut);
    s->cut[HYBRID__BY_LOGIT].key = hybrid__float_order(-INFINITY);
}

/* All that is left, which must fit, into the candidates. */
static void hybrid__select_gather(hybrid__select *s)
{
    hybrid__walk walk;
    int32_t n = 0;
    int m;
    for (hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); n += m) {
        memcpy(s->candidate + n, s->x, (size_t)m * sizeof *s->x);
        memcpy(s->candidate_id + n, s->id, (size_t)m * sizeof *s->id);
    }
    s->n_candidates = n;
    s->gathered = true;
}

/* The same of those whose key is at least `lowest`; the cut stays as it was, for its `equal` still counts. */
static void hybrid__select_gather_from(hybrid__select *s, int by, uint32_t lowest)
{
    hybrid__cut cut = s->cut[by];
    if (lowest > cut.key) {
        s->cut[by].key = lowest - 1;
        s->cut[by].equal = 0;
    }
    hybrid__select_gather(s);
    s->cut[by] = cut;
}

/* One histogram: count and sum (of weights, or of ones) per value of the `width` bits at `shift`, of the keys that continue `prefix`. */
static void hybrid__select_histogram(hybrid__select *s, int by, bool by_weight, uint32_t prefix, int shift, int width)
{
    const uint32_t mask = (1u << width) - 1;
    const bool all = shift + width == 32;
    hybrid__walk walk;
    int i, m;
    memset(s->sum, 0, sizeof s->sum);
    memset(s->count, 0, sizeof s->count);
    for (hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); ) {
        if (by_weight && all) hybrid__select_weights(s, m);
        for (i = 0; i < m; i++) {
            uint32_t key = hybrid__select_key(s, by, s->x[i]);
            if (!all && key >> (shift + width) != prefix) continue;
            s->count[key >> shift & mask]++;
            if (by_weight) s->sum[key >> shift & mask] += all ? s->weight[i] : hybrid__select_weight(s, s->x[i]);
        }
    }
    if (!by_weight) for (i = 0; i < HYBRID__SELECT_BINS; i++) s->sum[i] = (double)s->count[i];
}

/* Keeps the fewest first ones, by falling key, that reach `want`: so many (by_weight false), or such a part of the whole weight. */
static void hybrid__select_keep(hybrid__select *s, int by, bool by_weight, double want)
{
    static const int shifts[3] = { 21, 10, 0 }, widths[3] = { 11, 11, 10 };
    uint32_t prefix = 0;                             /* of the key of the last one kept */
    double above = 0, before = 0;                    /* sum of those with a key above that prefix */
    int64_t n_above = 0, n_before = 0, equal = 0;
    hybrid__walk walk;
    int level, b, i, m;
    for (level = 0; level < 3; level++) {
        hybrid__select_histogram(s, by, by_weight, prefix, shifts[level], widths[level]);
        if (!level && by_weight) {
            double whole = 0;
            for (b = 0; b < HYBRID__SELECT_BINS; b++) whole += s->sum[b];
            want *= whole;
        }
        for (b = 1 << widths[level], i = 0; b-- > 0; ) {             /* i: the bin that reaches want, or (rounding) the last that is not empty */
            if (!s->count[b]) continue;
            i = b;
            before = above;
            n_before = n_above;
            above += s->sum[b];
            n_above += s->count[b];
            if (above >= want) break;
        }
        prefix = prefix << widths[level] | (uint32_t)i;
        if (!s->gathered && n_above <= HYBRID__SELECT_CANDIDATES) hybrid__select_gather_from(s, by, prefix << shifts[level]);
        above = before;
        n_above = n_before;
    }
    for (hybrid__walk_begin(s, &walk); above < want && hybrid__select_next(s, &walk, &m); ) {
        for (i = 0; i < m && above < want; i++) {
            if (hybrid__select_key(s, by, s->x[i]) != prefix) continue;
            above += by_weight ? hybrid__select_weight(s, s->x[i]) : 1;
            equal++;
        }
    }
    s->cut[by].key = prefix;
    s->cut[by].equal = equal;
}

static int hybrid__falling(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

/* Keeps the k likeliest. The first filter: nothing below the k-th of the chunks' peaks can be among them, which spares the histograms
 * nearly all of a large vocabulary. */
static void hybrid__select_top(hybrid__select *s, int k)
{
    if (k <= s->n_peaks) {
        qsort(s->peak, (size_t)s->n_peaks, sizeof *s->peak, hybrid__falling);
        s->low = HYBRID__MAX(s->low, s->peak[k - 1]);
    }
    hybrid__select_keep(s, HYBRID__BY_LOGIT, false, (double)k);
}

/* Drops what weighs less than part (0..1) of the best. */
static void hybrid__select_min(hybrid__select *s, double part)
{
    int exponent;
    double low;
    frexp(part, &exponent);                          /* part >= 2^(exponent - 1): drops most of the vocabulary without an exponential */
    low = (double)s->max + ((exponent - 1) * 0.6931471805599453 - 1e-3) / s->scale;
    if (low > (double)s->low) s->low = (float)low;
    s->min_weight = part;
}

/* Keeps the fewest whose information is nearest to the entropy H and that reach `part` of the whole. With weights w = e^z of sum Z,
 * information - H = (ln Z - z) - (ln Z - sum(w z) / Z) = mean - z: no logarithm is needed. */
static void hybrid__select_typical(hybrid__select *s, double part)
{
    hybrid__walk walk;
    double whole = 0, mean = 0;
    int i, m;
    for (hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); ) {
        hybrid__select_weights(s, m);
        for (i = 0; i < m; i++) {
            whole += s->weight[i];
            mean += s->weight[i] * hybrid__select_exponent(s, s->x[i]);
        }
    }
    s->center = mean / whole;
    hybrid__select_keep(s, HYBRID__BY_TYPICAL, true, part);
}

/* The id at which the running sum of weights, in order of id, passes u (0..1) of the whole. The first walk leaves a sum per few chunks, so
 * that the second needs few exponentials. */
static int32_t hybrid__select_draw(hybrid__select *s, double u)
{
    int32_t n = s->gathered ? s->n_candidates : s->n_vocab, last = s->best;
    int per_bin = (n / HYBRID__SELECT_CHUNK + 1) / HYBRID__SELECT_BINS + 1, chunk, bin, i, m;
    double whole = 0, passed = 0, target;
    hybrid__walk walk;
    memset(s->sum, 0, sizeof s->sum);
    for (chunk = 0, hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); chunk++) {
        hybrid__select_weights(s, m);
        for (i = 0; i < m; i++) s->sum[chunk / per_bin] += s->weight[i];
    }
    for (bin = 0; bin < HYBRID__SELECT_BINS; bin++) whole += s->sum[bin];
    target = u * whole;
    for (bin = 0; bin < HYBRID__SELECT_BINS - 1 && passed + s->sum[bin] <= target; bin++) passed += s->sum[bin];
    for (chunk = 0, hybrid__walk_begin(s, &walk); hybrid__select_next(s, &walk, &m); chunk++) {
        if (m) last = s->id[m - 1];
        if (chunk / per_bin < bin) continue;
        for (i = 0; i < m; i++)
            if ((passed += hybrid__select_weight(s, s->x[i])) > target) return s->id[i];
    }
    return last;                                     /* rounding: u was nearly 1 */
}
/* ==== end src/infer/select.c ==== */

/* ==== begin src/infer/sampler.c ==== */
/* infer/sampler: the chain penalties, bias, temperature, top-k, top-p, min-p, typical, draw; and the memory of what was accepted. */

#define HYBRID__SAMPLER_MAX_LAST_N (1 << 20)

typedef struct hybrid__seen { int32_t id, count; } hybrid__seen;

struct hybrid_sampler {
    hybrid_runtime      *rt;
    hybrid_sampler_desc  desc;
    hybrid_logit_bias   *bias;            /* (desc.n_bias), in order of id */
    const float         *logits;          /* of the call under way */
    int32_t             *history;         /* ring of the last accepted ids (desc.penalty_last_n); NULL without penalties */
    hybrid__seen        *seen;            /* the same, each id once, in order of id */
    size_t               n_history, n_seen;
    uint64_t             position, tries; /* tokens accepted; draws since the last of them */
    hybrid__select       select;
};

/* The first index whose id is not below id; list: n structs of `stride` bytes that begin with their id, in order of id. */
static size_t hybrid__find_id(const void *list, size_t n, size_t stride, int32_t id)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int32_t at;
        memcpy(&at, (const char *)list + mid * stride, sizeof at);
        if (at < id) low = mid + 1;
        else high = mid;
    }
    return low;
}

/* The logits of ids first..first+n-1, with penalties and bias. */
static void hybrid__sampler_load(const void *user, int32_t first, int32_t n, float *x)
{
    const hybrid_sampler *s = (const hybrid_sampler *)user;
    const float repetition = s->desc.repetition_penalty;
    size_t i;
    memcpy(x, s->logits + first, (size_t)n * sizeof *x);
    for (i = hybrid__find_id(s->seen, s->n_seen, sizeof *s->seen, first); i < s->n_seen && s->seen[i].id - first < n; i++) {
        float *l = x + (s->seen[i].id - first);
        *l = *l > 0 ? *l / repetition : *l * repetition;
        *l = *l - (float)s->seen[i].count * s->desc.frequency_penalty - s->desc.presence_penalty;
    }
    for (i = hybrid__find_id(s->bias, s->desc.n_bias, sizeof *s->bias, first); i < s->desc.n_bias && s->bias[i].id - first < n; i++)
        x[s->bias[i].id - first] += s->bias[i].bias;
}

static hybrid_result hybrid__sampler_check(const hybrid_sampler_desc *d, hybrid_error *error)
{
    const struct { const char *name; double value, low, high; } range[] = {
        { "repetition_penalty", (double)d->repetition_penalty, 0, 1e6 },
        { "frequency_penalty", (double)d->frequency_penalty, -1e6, 1e6 },
        { "presence_penalty", (double)d->presence_penalty, -1e6, 1e6 },
        { "penalty_last_n", (double)d->penalty_last_n, 0, HYBRID__SAMPLER_MAX_LAST_N },
        { "temperature", (double)d->temperature, 0, 1e6 },
        { "top_k", (double)d->top_k, 0, 2147483647.0 },
        { "top_p", (double)d->top_p, 0, 1 },
        { "min_p", (double)d->min_p, 0, 1 },
        { "typical_p", (double)d->typical_p, 0, 1 }
    };
    size_t i;
    for (i = 0; i < HYBRID__COUNT(range); i++)
        if (!(range[i].value >= range[i].low && range[i].value <= range[i].high))
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: %s is %g, must be %g to %g",
                                range[i].name, range[i].value, range[i].low, range[i].high);
    if (d->n_bias && !d->bias) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: n_bias is not 0, but bias is NULL");
    return HYBRID_OK;
}

static int hybrid__bias_order(const void *a, const void *b)
{
    int32_t x = ((const hybrid_logit_bias *)a)->id, y = ((const hybrid_logit_bias *)b)->id;
    return (x > y) - (x < y);
}

static hybrid_result hybrid__sampler_copy_bias(hybrid_sampler *s, const hybrid_sampler_desc *d, hybrid_error *error)
{
    size_t i, bytes;
    if (!hybrid__mul_size(d->n_bias, sizeof *s->bias, &bytes)) return hybrid__fail(error, HYBRID_ERROR_LIMIT, "hybrid_sampler_create: n_bias is too large");
    if (!(s->bias = (hybrid_logit_bias *)hybrid__alloc(s->rt, bytes))) return hybrid__fail_memory(error, bytes);
    memcpy(s->bias, d->bias, bytes);
    qsort(s->bias, d->n_bias, sizeof *s->bias, hybrid__bias_order);
    for (i = 0; i < d->n_bias; i++) {
        int id = (int)s->bias[i].id;
        if (id < 0) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: a bias has the id %d", id);
        if (s->bias[i].bias != s->bias[i].bias) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: the bias of id %d is NaN", id);
        if (i && s->bias[i - 1].id == s->bias[i].id)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: two biases for id %d: give their sum", id);
    }
    s->desc.n_bias = d->n_bias;
    return HYBRID_OK;
}

static hybrid_result hybrid__sampler_make_history(hybrid_sampler *s, hybrid_error *error)
{
    size_t n = (size_t)s->desc.penalty_last_n;
    s->history = (int32_t *)hybrid__calloc(s->rt, n, sizeof *s->history);
    s->seen = (hybrid__seen *)hybrid__calloc(s->rt, n, sizeof *s->seen);
    if (!s->history || !s->seen) return hybrid__fail_memory(error, n * (sizeof *s->history + sizeof *s->seen));
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_sampler_create(hybrid_runtime *runtime, const hybrid_sampler_desc *desc, hybrid_sampler **sampler, hybrid_error *error)
{
    hybrid_sampler_desc d;
    hybrid_sampler *s;
    hybrid_runtime *rt;
    hybrid_result r;
    if (!sampler) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_sampler_create: sampler is NULL");
    *sampler = NULL;
    memset(&d, 0, sizeof d);
    if (desc) d = *desc;
    if ((r = hybrid__sampler_check(&d, error))) return r;
    if (d.repetition_penalty <= 0) d.repetition_penalty = 1;
    if (!d.penalty_last_n) d.penalty_last_n = 64;
    if ((r = hybrid__runtime_retain(runtime, &rt, error))) return r;
    if (!(s = (hybrid_sampler *)hybrid__calloc(rt, 1, sizeof *s))) {
        hybrid__runtime_release(rt);
        return hybrid__fail_memory(error, sizeof *s);
    }
    s->rt = rt;
    s->desc = d;
    s->desc.bias = NULL;
    s->desc.n_bias = 0;
    s->select.load = hybrid__sampler_load;
    s->select.user = s;
    if (d.n_bias) r = hybrid__sampler_copy_bias(s, &d, error);
    if (!r && (d.repetition_penalty != 1 || d.frequency_penalty != 0 || d.presence_penalty != 0)) r = hybrid__sampler_make_history(s, error);
    if (r) {
        hybrid_sampler_destroy(s);
        return r;
    }
    *sampler = s;
    return HYBRID_OK;
}

HYBRID_API void hybrid_sampler_destroy(hybrid_sampler *s)
{
    hybrid_runtime *rt;
    if (!s) return;
    rt = s->rt;
    hybrid__free(rt, s->bias);
    hybrid__free(rt, s->history);
    hybrid__free(rt, s->seen);
    hybrid__free(rt, s);
    hybrid__runtime_release(rt);
}

/* All filters of the chain; what is left stands in s->select. temperature > 0. */
static void hybrid__sampler_filter(hybrid_sampler *s, int32_t n_vocab)
{
    const hybrid_sampler_desc *d = &s->desc;
    hybrid__select_temperature(&s->select, d->temperature);
    if (d->top_k > 0 && d->top_k < n_vocab) hybrid__select_top(&s->select, d->top_k);
    if (d->top_p > 0 && d->top_p < 1) hybrid__select_keep(&s->select, HYBRID__BY_LOGIT, true, (double)d->top_p);
    if (d->min_p > 0) hybrid__select_min(&s->select, (double)d->min_p);
    if (d->typical_p > 0 && d->typical_p < 1) hybrid__select_typical(&s->select, (double)d->typical_p);
}

HYBRID_API int32_t hybrid_sample(hybrid_sampler *s, const float *logits, int32_t n_vocab)
{
    size_t i;
    if (!s || !logits || n_vocab <= 0) return (int32_t)HYBRID_ERROR_INVALID;
    for (i = 0; i < s->desc.n_bias && s->bias[i].id < n_vocab; i++)
        if (s->bias[i].bias > 0 && s->bias[i].bias == INFINITY) return s->bias[i].id;
    s->logits = logits;
    if (!hybrid__select_begin(&s->select, n_vocab)) return (int32_t)HYBRID_ERROR_NUMERIC;
    if (s->desc.temperature <= 0) return s->select.best;
    hybrid__sampler_filter(s, n_vocab);
    return hybrid__select_draw(&s->select, hybrid__random_uniform(s->desc.seed, s->position, s->tries++));
}

/* Adds by (1 or -1) to the count of id. */
static void hybrid__sampler_count(hybrid_sampler *s, int32_t id, int by)
{
    size_t at = hybrid__find_id(s->seen, s->n_seen, sizeof *s->seen, id);
    hybrid__seen *e = s->seen + at;
    if (at == s->n_seen || e->id != id) {
        memmove(e + 1, e, (s->n_seen - at) * sizeof *e);
        e->id = id;
        e->count = 0;
        s->n_seen++;
    }
    if ((e->count += by) == 0) {
        s->n_seen--;
        memmove(e, e + 1, (s->n_seen - at) * sizeof *e);
    }
}

HYBRID_API void hybrid_sampler_accept(hybrid_sampler *s, int32_t id)
{
    if (!s || id < 0) return;
    if (s->history) {
        size_t size = (size_t)s->desc.penalty_last_n, at = (size_t)(s->position % size);
        if (s->n_history == size) hybrid__sampler_count(s, s->history[at], -1);
        else s->n_history++;
        s->history[at] = id;
        hybrid__sampler_count(s, id, 1);
    }
    s->position++;
    s->tries = 0;
}

HYBRID_API void hybrid_sampler_reset(hybrid_sampler *s)
{
    if (!s) return;
    s->n_history = s->n_seen = 0;
    s->position = s->tries = 0;
}
/* ==== end src/infer/sampler.c ==== */

/* ==== begin src/infer/kv.c ==== */
/* infer/kv: the cache of keys and values: pages of HYBRID__PAGE positions, counted, so that sequences can share them.
 *
 * A sequence is a table of pages. A fork shares all pages; who writes into a shared page first gets a copy of it. */

typedef struct hybrid__seq {
    int32_t  length;                       /* tokens decoded */
    int32_t  n_pages;
    int32_t *pages;
} hybrid__seq;

typedef struct hybrid__kv {
    hybrid__kv_view *layers;               /* n_layer */
    int32_t          n_layer, n_pages, n_seq, pages_a_seq;
    int32_t         *refs;                 /* of each page */
    int32_t         *free_pages, n_free;   /* a stack */
    hybrid__seq     *seqs;
    char            *data;
    size_t           data_bytes, table_bytes;
} hybrid__kv;

static hybrid_type hybrid__kv_type(hybrid_kv kv) { return kv == HYBRID_KV_F32 ? HYBRID_TYPE_F32 : kv == HYBRID_KV_Q8_0 ? HYBRID_TYPE_Q8_0 : HYBRID_TYPE_F16; }

/* Sizes from the hyperparameters; no allocation. Every sequence may leave its last page half empty: they get a page each on top. */
static hybrid_result hybrid__kv_plan(hybrid__kv *kv, const hybrid__hparams *hp, const hybrid_context_desc *desc, hybrid_error *error)
{
    const hybrid_type type = hybrid__kv_type(desc->kv);
    const size_t row_k = hybrid_type_row_bytes(type, (size_t)hp->head_dim_k), row_v = hybrid_type_row_bytes(type, (size_t)hp->head_dim_v);
    size_t page, all;
    memset(kv, 0, sizeof *kv);
    if (!row_k || !row_v)
        return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "a %s cache needs head sizes that are multiples of 32; this model has %d and %d: use HYBRID_KV_F16", hybrid_type_name(type), hp->head_dim_k, hp->head_dim_v);
    kv->n_layer = hp->n_layer;
    kv->n_seq = desc->n_seq;
    kv->pages_a_seq = (desc->n_ctx + HYBRID__PAGE - 1) / HYBRID__PAGE;
    kv->n_pages = kv->pages_a_seq + desc->n_seq - 1;
    page = (row_k + row_v) * (size_t)hp->n_head_kv * HYBRID__PAGE;
    if (!hybrid__mul_size(page, (size_t)kv->n_pages, &all) || !hybrid__mul_size(all, (size_t)kv->n_layer, &kv->data_bytes))
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "a cache for %d positions is beyond the address space", desc->n_ctx);
    kv->table_bytes = hybrid__align((size_t)kv->n_layer * sizeof *kv->layers, 64) + hybrid__align((size_t)kv->n_seq * sizeof *kv->seqs, 64)
                    + (size_t)kv->n_pages * 2 * sizeof(int32_t) + (size_t)kv->n_seq * (size_t)kv->pages_a_seq * sizeof(int32_t);
    return HYBRID_OK;
}

/* After hybrid__kv_plan: data and tables are the caller's blocks of data_bytes and table_bytes. */
static void hybrid__kv_init(hybrid__kv *kv, const hybrid__hparams *hp, const hybrid_context_desc *desc, char *data, char *tables)
{
    const hybrid_type type = hybrid__kv_type(desc->kv);
    const size_t row_k = hybrid_type_row_bytes(type, (size_t)hp->head_dim_k), row_v = hybrid_type_row_bytes(type, (size_t)hp->head_dim_v);
    int32_t i;
    kv->data = data;
    kv->layers = (hybrid__kv_view *)(void *)tables; tables += hybrid__align((size_t)kv->n_layer * sizeof *kv->layers, 64);
    kv->seqs = (hybrid__seq *)(void *)tables;       tables += hybrid__align((size_t)kv->n_seq * sizeof *kv->seqs, 64);
    kv->refs = (int32_t *)(void *)tables;
    kv->free_pages = kv->refs + kv->n_pages;
    memset(kv->refs, 0, (size_t)kv->n_pages * sizeof *kv->refs);
    for (i = 0; i < kv->n_layer; i++) {
        hybrid__kv_view *v = &kv->layers[i];
        v->type = type;
        v->row_bytes_k = row_k; v->row_bytes_v = row_v;
        v->n_head_kv = hp->n_head_kv; v->head_dim_k = hp->head_dim_k; v->head_dim_v = hp->head_dim_v;
        v->page_bytes_k = row_k * (size_t)hp->n_head_kv * HYBRID__PAGE;
        v->page_bytes_v = row_v * (size_t)hp->n_head_kv * HYBRID__PAGE;
        v->k = data; data += v->page_bytes_k * (size_t)kv->n_pages;
        v->v = data; data += v->page_bytes_v * (size_t)kv->n_pages;
    }
    for (i = 0; i < kv->n_seq; i++) {
        kv->seqs[i].length = kv->seqs[i].n_pages = 0;
        kv->seqs[i].pages = kv->free_pages + kv->n_pages + (size_t)i * (size_t)kv->pages_a_seq;
    }
    for (kv->n_free = 0; kv->n_free < kv->n_pages; kv->n_free++) kv->free_pages[kv->n_free] = kv->n_pages - 1 - kv->n_free;
}

static void hybrid__page_drop(hybrid__kv *kv, int32_t page)
{
    if (--kv->refs[page] == 0) kv->free_pages[kv->n_free++] = page;
}

/* Pages that must be taken from the stack before a sequence can be written from `from` to `end`; shared ones are copied. */
static int32_t hybrid__kv_need(const hybrid__kv *kv, const hybrid__seq *s, int32_t from, int32_t end)
{
    int32_t pages = (end + HYBRID__PAGE - 1) / HYBRID__PAGE, need = pages > s->n_pages ? pages - s->n_pages : 0;
    if (from % HYBRID__PAGE && from / HYBRID__PAGE < s->n_pages && kv->refs[s->pages[from / HYBRID__PAGE]] > 1) need++;
    return need;
}

static void hybrid__page_copy(hybrid__kv *kv, int32_t to, int32_t from)
{
    int32_t i;
    for (i = 0; i < kv->n_layer; i++) {
        const hybrid__kv_view *v = &kv->layers[i];
        memcpy(v->k + (size_t)to * v->page_bytes_k, v->k + (size_t)from * v->page_bytes_k, v->page_bytes_k);
        memcpy(v->v + (size_t)to * v->page_bytes_v, v->v + (size_t)from * v->page_bytes_v, v->page_bytes_v);
    }
}

/* Takes the pages; the caller has made sure that there are enough. */
static void hybrid__kv_take(hybrid__kv *kv, hybrid__seq *s, int32_t from, int32_t end)
{
    int32_t pages = (end + HYBRID__PAGE - 1) / HYBRID__PAGE, at = from / HYBRID__PAGE;
    if (from % HYBRID__PAGE && at < s->n_pages && kv->refs[s->pages[at]] > 1) {
        int32_t page = kv->free_pages[--kv->n_free];
        hybrid__page_copy(kv, page, s->pages[at]);
        kv->refs[page] = 1;
        hybrid__page_drop(kv, s->pages[at]);
        s->pages[at] = page;
    }
    while (s->n_pages < pages) {
        int32_t page = kv->free_pages[--kv->n_free];
        kv->refs[page] = 1;
        s->pages[s->n_pages++] = page;
    }
}

/* Keeps the first n_pages of a sequence's pages. */
static void hybrid__kv_trim(hybrid__kv *kv, hybrid__seq *s, int32_t n_pages)
{
    while (s->n_pages > n_pages) hybrid__page_drop(kv, s->pages[--s->n_pages]);
}

static void hybrid__kv_share(hybrid__kv *kv, const hybrid__seq *from, hybrid__seq *to)
{
    int32_t i;
    hybrid__kv_trim(kv, to, 0);
    for (i = 0; i < from->n_pages; i++) kv->refs[to->pages[i] = from->pages[i]]++;
    to->n_pages = from->n_pages;
    to->length = from->length;
}
/* ==== end src/infer/kv.c ==== */

/* ==== begin src/infer/context.c ==== */
/* infer/context: sequences, the batch, and the pass of a batch through the model, chunk by chunk and layer by layer. */

typedef struct hybrid__entry {             /* what is queued for one sequence */
    int32_t seq, first_id, n, n_logits;
} hybrid__entry;

/* Where a decode stands: a chunk begins, goes through the layers, ends; then the next. */
typedef struct hybrid__progress {
    bool    running;
    int32_t entry, offset;                 /* first token of the chunk: entry, and token in it */
    int32_t next_entry, next_offset;
    int32_t layer;                         /* next layer of the chunk; -1: the chunk has not begun */
    int32_t n_rows_done;                   /* rows of logits made by earlier chunks */
    hybrid__chunk chunk;
} hybrid__progress;

struct hybrid_context {
    hybrid_model        *model;
    hybrid_runtime      *rt;
    hybrid_context_desc  desc;
    hybrid__kv           kv;
    hybrid__forward      forward;
    hybrid__progress     progress;
    hybrid__entry       *entries; int32_t n_entries;      /* n_seq at most */
    int32_t             *ids; int32_t n_ids;              /* queued, n_ctx at most */
    int32_t             *chunk_pos, *chunk_out;           /* n_batch each */
    hybrid__run         *runs;                            /* n_seq */
    int32_t             *logits_row, *logits_n;           /* per sequence, of the last decode: first row, rows */
    float               *logits;                          /* (n_logits, n_vocab) */
    int32_t              n_rows_queued;
    char                *memory_kv, *memory;              /* the two blocks */
};

/* ---- creation: one plan for what is allocated and for hybrid_plan ---- */

typedef struct hybrid__context_layout { hybrid__activations a; size_t table, entries, ids, chunk_pos, chunk_out, runs, logits_row, logits, bytes; } hybrid__context_layout;

static hybrid_result hybrid__context_defaults(const hybrid__hparams *hp, const hybrid_context_desc *given, hybrid_context_desc *d, hybrid_error *error)
{
    if (given) *d = *given;
    else memset(d, 0, sizeof *d);
    if (d->n_ctx < 0 || d->n_seq < 0 || d->n_batch < 0 || d->n_logits < 0 || (unsigned)d->kv > HYBRID_KV_F32)
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "a number of the context's descriptor is out of range (n_ctx %d, n_seq %d, n_batch %d, n_logits %d)", d->n_ctx, d->n_seq, d->n_batch, d->n_logits);
    if (!d->n_ctx) d->n_ctx = HYBRID__MIN(hp->n_ctx_train, 4096);
    if (!d->n_seq) d->n_seq = 1;
    if (!d->n_batch) d->n_batch = 512;
    d->n_batch = HYBRID__MIN(d->n_batch, d->n_ctx);
    if (!d->n_logits) d->n_logits = d->n_seq;
    if (d->n_seq > 65536 || d->n_batch > 65536 || d->n_ctx > INT32_MAX - 65536 - HYBRID__PAGE)
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "n_seq and n_batch may be 65536 at most, n_ctx %d", INT32_MAX - 65536 - HYBRID__PAGE);
    if (hp->arch->learned_pos && d->n_ctx > hp->n_ctx_train && d->n_seq == 1)
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "n_ctx is %d, but the model has a table of %d positions and cannot go beyond it", d->n_ctx, hp->n_ctx_train);
    return HYBRID_OK;
}

static hybrid_result hybrid__context_layout_make(const hybrid__hparams *hp, const hybrid__kv *kv, const hybrid_context_desc *d, hybrid__context_layout *l, hybrid_error *error)
{
    size_t logits;
    hybrid__activations_layout(&l->a, hp, d->n_batch, NULL);
    l->bytes = l->a.bytes;
#define HYBRID__PLACE(field, size) (l->field = l->bytes, l->bytes += hybrid__align(size, 64))
    HYBRID__PLACE(table, kv->table_bytes);
    HYBRID__PLACE(entries, (size_t)d->n_seq * sizeof(hybrid__entry));
    HYBRID__PLACE(ids, (size_t)d->n_ctx * sizeof(int32_t));
    HYBRID__PLACE(chunk_pos, (size_t)d->n_batch * sizeof(int32_t));
    HYBRID__PLACE(chunk_out, (size_t)d->n_batch * sizeof(int32_t));
    HYBRID__PLACE(runs, (size_t)d->n_seq * sizeof(hybrid__run));
    HYBRID__PLACE(logits_row, (size_t)d->n_seq * 2 * sizeof(int32_t));
    if (!hybrid__mul_size((size_t)d->n_logits * sizeof(float), (size_t)hp->n_vocab, &logits))
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "%d rows of logits are beyond the address space", d->n_logits);
    HYBRID__PLACE(logits, logits);
#undef HYBRID__PLACE
    return HYBRID_OK;
}

/* What the back end must be ready for: the largest of everything. */
static hybrid_result hybrid__context_limits(hybrid_model *m, const hybrid_context_desc *d, hybrid__cpu_limits *limits, hybrid_error *error)
{
    size_t i;
    const hybrid__tensor *t;
    memset(limits, 0, sizeof *limits);
    limits->n_rows = d->n_batch;
    limits->head_dim_k = m->hp.head_dim_k;
    limits->head_dim_v = m->hp.head_dim_v;
    for (i = 0; (t = hybrid__weights_item(&m->weights, &m->hp, i)) != NULL; i++)
        if (t->name && t->ne[1] > 1 && t != &m->weights.embd && t != &m->weights.pos_embd && !hybrid__cpu_limits_matrix(m->rt, limits, t))
            return hybrid__fail(error, HYBRID_ERROR_UNSUPPORTED, "there is no kernel for matrices of type %s", hybrid_type_name(t->type));
    return HYBRID_OK;
}

HYBRID_API void hybrid_context_destroy(hybrid_context *context)
{
    if (!context) return;
    if (context->forward.be) context->forward.be->ops->destroy(context->forward.be);
    hybrid__free_aligned(context->rt, context->memory);
    hybrid__free_aligned(context->rt, context->memory_kv);
    hybrid__free(context->rt, context);
}

static hybrid_result hybrid__context_build(hybrid_context *c, const hybrid_context_desc *desc, hybrid_error *error)
{
    hybrid_model *m = c->model;
    hybrid__context_layout l;
    hybrid__cpu_limits limits;
    hybrid_result r;
    if ((r = hybrid__context_defaults(&m->hp, desc, &c->desc, error)) != HYBRID_OK) return r;
    if ((r = hybrid__kv_plan(&c->kv, &m->hp, &c->desc, error)) != HYBRID_OK) return r;
    if ((r = hybrid__context_layout_make(&m->hp, &c->kv, &c->desc, &l, error)) != HYBRID_OK) return r;
    if (!(c->memory_kv = (char *)hybrid__alloc_aligned(c->rt, c->kv.data_bytes))) return hybrid__fail_memory(error, c->kv.data_bytes);
    if (!(c->memory = (char *)hybrid__alloc_aligned(c->rt, l.bytes))) return hybrid__fail_memory(error, l.bytes);
    if ((r = hybrid__context_limits(m, &c->desc, &limits, error)) != HYBRID_OK) return r;
    if ((r = hybrid__cpu_backend_create(c->rt, &limits, &c->forward.be, error)) != HYBRID_OK) return r;
    hybrid__kv_init(&c->kv, &m->hp, &c->desc, c->memory_kv, c->memory + l.table);
    hybrid__activations_layout(&c->forward.a, &m->hp, c->desc.n_batch, c->memory);
    hybrid__activations_rope(&c->forward.a, &m->hp, &m->weights, c->desc.n_ctx);
    c->entries = (hybrid__entry *)(void *)(c->memory + l.entries);
    c->ids = (int32_t *)(void *)(c->memory + l.ids);
    c->chunk_pos = (int32_t *)(void *)(c->memory + l.chunk_pos);
    c->chunk_out = (int32_t *)(void *)(c->memory + l.chunk_out);
    c->runs = (hybrid__run *)(void *)(c->memory + l.runs);
    c->logits_row = (int32_t *)(void *)(c->memory + l.logits_row);
    c->logits_n = c->logits_row + c->desc.n_seq;
    c->logits = (float *)(void *)(c->memory + l.logits);
    memset(c->logits_row, 0, (size_t)c->desc.n_seq * 2 * sizeof(int32_t));
    c->forward.hp = &m->hp;
    c->forward.w = &m->weights;
    c->forward.kv = c->kv.layers;
    c->forward.trace = c->desc.trace;
    c->forward.trace_user = c->desc.trace_user;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_context_create(hybrid_model *model, const hybrid_context_desc *desc, hybrid_context **context, hybrid_error *error)
{
    hybrid_context *c;
    hybrid_result r;
    if (!model || !context) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_context_create: %s is NULL", model ? "context" : "model");
    *context = NULL;
    if (!(c = (hybrid_context *)hybrid__calloc(model->rt, 1, sizeof *c))) return hybrid__fail_memory(error, sizeof *c);
    c->model = model;
    c->rt = model->rt;
    if ((r = hybrid__context_build(c, desc, error)) != HYBRID_OK) {
        hybrid_context_destroy(c);
        return r;
    }
    *context = c;
    return HYBRID_OK;
}

HYBRID_API void hybrid_context_describe(const hybrid_context *context, hybrid_context_desc *desc) { *desc = context->desc; }

/* ---- the batch ---- */

static hybrid__entry *hybrid__entry_of(hybrid_context *c, int32_t seq)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) if (c->entries[i].seq == seq) return &c->entries[i];
    return NULL;
}

static hybrid_result hybrid__check_seq(const hybrid_context *c, int32_t seq, hybrid_error *error)
{
    if (seq >= 0 && seq < c->desc.n_seq) return HYBRID_OK;
    return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d does not exist: the context has %d (0..%d); see n_seq", seq, c->desc.n_seq, c->desc.n_seq - 1);
}

static hybrid_result hybrid__check_idle(const hybrid_context *c, hybrid_error *error)
{
    if (!c->progress.running) return HYBRID_OK;
    return hybrid__fail(error, HYBRID_ERROR_INVALID, "a decode is under way: finish it with hybrid_decode_step, or give it up with hybrid_batch_clear");
}

HYBRID_API hybrid_result hybrid_batch_add_logits(hybrid_context *c, int32_t seq, const int32_t *ids, size_t n, size_t n_logits, hybrid_error *error)
{
    hybrid_result r;
    hybrid__entry *e;
    size_t i;
    if (!c || (!ids && n)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_batch_add: %s is NULL", c ? "ids" : "context");
    if ((r = hybrid__check_seq(c, seq, error)) != HYBRID_OK || (r = hybrid__check_idle(c, error)) != HYBRID_OK) return r;
    if (!n) return hybrid__fail(error, HYBRID_ERROR_INVALID, "there are no tokens to add to sequence %d (an empty prompt? give it at least the BOS token)", seq);
    for (i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= c->model->hp.n_vocab)
            return hybrid__fail(error, HYBRID_ERROR_INVALID, "token %llu of the batch is %d, but the model's tokens are 0..%d", (unsigned long long)i, ids[i], c->model->hp.n_vocab - 1);
    if (n > (size_t)(c->desc.n_ctx - c->n_ids))
        return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "%llu more tokens do not fit the batch: it holds %d of n_ctx = %d", (unsigned long long)n, c->n_ids, c->desc.n_ctx);
    n_logits = HYBRID__MIN(n_logits, n);
    e = hybrid__entry_of(c, seq);
    if (e && e != &c->entries[c->n_entries - 1])
        return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d already has tokens in this batch, with others behind them", seq);
    if ((size_t)(c->n_rows_queued - (e ? e->n_logits : 0)) + n_logits > (size_t)c->desc.n_logits)
        return hybrid__fail(error, HYBRID_ERROR_LIMIT, "this decode would keep more rows of logits than the descriptor's n_logits = %d", c->desc.n_logits);
    if (!e) {
        e = &c->entries[c->n_entries++];
        e->seq = seq; e->first_id = c->n_ids; e->n = 0; e->n_logits = 0;
    }
    c->n_rows_queued += (int32_t)n_logits - e->n_logits;
    e->n_logits = (int32_t)n_logits;
    memcpy(c->ids + c->n_ids, ids, n * sizeof *ids);
    c->n_ids += (int32_t)n;
    e->n += (int32_t)n;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_batch_add(hybrid_context *context, int32_t seq, const int32_t *ids, size_t n, hybrid_error *error)
{
    return hybrid_batch_add_logits(context, seq, ids, n, 1, error);
}

/* Pages beyond the sequences' lengths go back: those that a decode took and did not finish with. */
static void hybrid__batch_forget(hybrid_context *c)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) {
        hybrid__seq *s = &c->kv.seqs[c->entries[i].seq];
        hybrid__kv_trim(&c->kv, s, (s->length + HYBRID__PAGE - 1) / HYBRID__PAGE);
    }
    c->n_entries = c->n_ids = c->n_rows_queued = 0;
    c->progress.running = false;
}

HYBRID_API void hybrid_batch_clear(hybrid_context *context) { if (context) hybrid__batch_forget(context); }

/* ---- decode ---- */

static hybrid_result hybrid__decode_begin(hybrid_context *c, hybrid_error *error)
{
    int32_t i, need = 0;
    if (!c->n_entries) return hybrid__fail(error, HYBRID_ERROR_INVALID, "the batch is empty: call hybrid_batch_add first");
    for (i = 0; i < c->n_entries; i++) {
        const hybrid__entry *e = &c->entries[i];
        const hybrid__seq *s = &c->kv.seqs[e->seq];
        if (e->n > c->desc.n_ctx - s->length)
            return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "sequence %d has %d tokens and %d more are queued, but n_ctx is %d", e->seq, s->length, e->n, c->desc.n_ctx);
        if (c->model->hp.arch->learned_pos && e->n > c->model->hp.n_ctx_train - s->length)
            return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "sequence %d would pass position %d, the last one of the model", e->seq, c->model->hp.n_ctx_train - 1);
        need += hybrid__kv_need(&c->kv, s, s->length, s->length + e->n);
    }
    if (need > c->kv.n_free)
        return hybrid__fail(error, HYBRID_ERROR_CONTEXT_FULL, "the batch needs %d pages of %d positions, but only %d are free: remove sequences, or make a context with a larger n_ctx", need, HYBRID__PAGE, c->kv.n_free);
    for (i = 0; i < c->n_entries; i++) {
        hybrid__seq *s = &c->kv.seqs[c->entries[i].seq];
        hybrid__kv_take(&c->kv, s, s->length, s->length + c->entries[i].n);
    }
    memset(c->logits_n, 0, (size_t)c->desc.n_seq * sizeof *c->logits_n);
    memset(&c->progress, 0, sizeof c->progress);
    c->progress.running = true;
    c->progress.layer = -1;
    return HYBRID_OK;
}

/* Fills the chunk with the next n_batch tokens, and the runs, positions and wanted rows that belong to them. */
static void hybrid__chunk_next(hybrid_context *c)
{
    hybrid__progress *p = &c->progress;
    hybrid__chunk *k = &p->chunk;
    int32_t entry = p->entry, offset = p->offset, i;
    memset(k, 0, sizeof *k);
    k->ids = c->ids + c->entries[entry].first_id + offset;
    k->pos = c->chunk_pos;
    k->runs = c->runs;
    k->out_rows = c->chunk_out;
    k->logits = c->logits + (size_t)p->n_rows_done * (size_t)c->model->hp.n_vocab;
    while (entry < c->n_entries && k->n < c->desc.n_batch) {
        const hybrid__entry *e = &c->entries[entry];
        const hybrid__seq *s = &c->kv.seqs[e->seq];
        hybrid__run *run = &c->runs[k->n_runs++];
        run->first_row = k->n;
        run->n_rows = HYBRID__MIN(e->n - offset, c->desc.n_batch - k->n);
        run->pos = s->length + offset;
        run->pages = s->pages;
        for (i = 0; i < run->n_rows; i++) {
            c->chunk_pos[k->n + i] = run->pos + i;
            if (offset + i < e->n - e->n_logits) continue;
            if (!c->logits_n[e->seq]++) c->logits_row[e->seq] = p->n_rows_done + k->n_out;
            c->chunk_out[k->n_out++] = k->n + i;
        }
        k->n += run->n_rows;
        offset += run->n_rows;
        if (offset == e->n) { entry++; offset = 0; }
    }
    p->next_entry = entry;
    p->next_offset = offset;
}

static void hybrid__decode_finish(hybrid_context *c)
{
    int32_t i;
    for (i = 0; i < c->n_entries; i++) c->kv.seqs[c->entries[i].seq].length += c->entries[i].n;
    hybrid__batch_forget(c);
}

/* One unit of work: begins a chunk, or runs a layer of it (and what follows the last one). */
static hybrid_result hybrid__decode_unit(hybrid_context *c, hybrid_error *error)
{
    hybrid__progress *p = &c->progress;
    hybrid_result r;
    if (p->layer < 0) {
        hybrid__chunk_next(c);
        hybrid__forward_begin(&c->forward, &p->chunk);
        p->layer = 0;
    }
    hybrid__forward_layer(&c->forward, &p->chunk, p->layer);
    if (++p->layer < c->model->hp.n_layer) return HYBRID_OK;
    if ((r = hybrid__forward_end(&c->forward, &p->chunk, error)) != HYBRID_OK) return r;
    p->n_rows_done += p->chunk.n_out;
    p->entry = p->next_entry;
    p->offset = p->next_offset;
    p->layer = -1;
    if (p->entry == c->n_entries) hybrid__decode_finish(c);
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_decode_step(hybrid_context *context, uint64_t budget_us, bool *done, hybrid_error *error)
{
    const uint64_t since = budget_us == UINT64_MAX ? 0 : hybrid__now_us();
    hybrid_result r;
    if (done) *done = false;
    if (!context || !done) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_decode_step: %s is NULL", context ? "done" : "context");
    if (!context->progress.running && (r = hybrid__decode_begin(context, error)) != HYBRID_OK) return r;
    do {
        if ((r = hybrid__decode_unit(context, error)) != HYBRID_OK) {
            hybrid__batch_forget(context);
            return r;
        }
    } while (context->progress.running && (budget_us == UINT64_MAX || hybrid__now_us() - since < budget_us));
    *done = !context->progress.running;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_decode(hybrid_context *context, hybrid_error *error)
{
    bool done;
    return hybrid_decode_step(context, UINT64_MAX, &done, error);
}

HYBRID_API const float *hybrid_logits_at(const hybrid_context *context, int32_t seq, size_t i)
{
    if (!context || hybrid__check_seq(context, seq, NULL) || context->progress.running || i >= (size_t)context->logits_n[seq]) return NULL;
    return context->logits + ((size_t)context->logits_row[seq] + i) * (size_t)context->model->hp.n_vocab;
}

HYBRID_API const float *hybrid_logits(const hybrid_context *context, int32_t seq)
{
    if (!context || hybrid__check_seq(context, seq, NULL) || !context->logits_n[seq]) return NULL;
    return hybrid_logits_at(context, seq, (size_t)context->logits_n[seq] - 1);
}

/* ---- sequences ---- */

HYBRID_API int32_t hybrid_seq_length(const hybrid_context *context, int32_t seq)
{
    return context && !hybrid__check_seq(context, seq, NULL) ? context->kv.seqs[seq].length : -1;
}

HYBRID_API hybrid_result hybrid_seq_remove(hybrid_context *context, int32_t seq, int32_t from, hybrid_error *error)
{
    hybrid__seq *s;
    hybrid_result r;
    if (!context) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_remove: context is NULL");
    if ((r = hybrid__check_seq(context, seq, error)) != HYBRID_OK || (r = hybrid__check_idle(context, error)) != HYBRID_OK) return r;
    s = &context->kv.seqs[seq];
    if (from < 0 || from > s->length) return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d has %d tokens: nothing begins at %d", seq, s->length, from);
    s->length = from;
    hybrid__kv_trim(&context->kv, s, (from + HYBRID__PAGE - 1) / HYBRID__PAGE);
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_seq_fork(hybrid_context *context, int32_t from, int32_t to, hybrid_error *error)
{
    hybrid_result r;
    if (!context) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_seq_fork: context is NULL");
    if ((r = hybrid__check_seq(context, from, error)) != HYBRID_OK || (r = hybrid__check_seq(context, to, error)) != HYBRID_OK ||
        (r = hybrid__check_idle(context, error)) != HYBRID_OK) return r;
    if (from == to) return HYBRID_OK;
    if (hybrid__entry_of(context, to)) return hybrid__fail(error, HYBRID_ERROR_INVALID, "sequence %d has tokens in the batch: decode or clear it before it becomes a copy", to);
    hybrid__kv_share(&context->kv, &context->kv.seqs[from], &context->kv.seqs[to]);
    return HYBRID_OK;
}

HYBRID_API int32_t hybrid_context_free(const hybrid_context *context) { return context ? context->kv.n_free * HYBRID__PAGE : 0; }
/* ==== end src/infer/context.c ==== */

/* ==== begin src/infer/plan.c ==== */
/* infer/plan: the bytes of a model and a context before they are loaded. It opens the file as loading does, with an allocator that
 * counts, and lays the context out with the functions that create it. */

typedef struct hybrid__counter { hybrid_allocator base; uint64_t live; } hybrid__counter;

static void *hybrid__counter_alloc(void *user, size_t size)
{
    hybrid__counter *c = (hybrid__counter *)user;
    size_t total;
    unsigned char *p;
    if (!hybrid__add_size(size, 16, &total) || !(p = (unsigned char *)c->base.alloc(c->base.user, total))) return NULL;
    memcpy(p, &size, sizeof size);
    c->live += size;
    return p + 16;
}
static void hybrid__counter_free(void *user, void *block)
{
    hybrid__counter *c = (hybrid__counter *)user;
    size_t size;
    unsigned char *p = (unsigned char *)block - 16;
    memcpy(&size, p, sizeof size);
    c->live -= size;
    c->base.free(c->base.user, p);
}

/* What hybrid__alloc_aligned takes for `size` bytes. */
static uint64_t hybrid__aligned_cost(size_t size) { return (uint64_t)size + 64 + sizeof(void *); }

static hybrid_result hybrid__plan_context(hybrid_model *m, const hybrid_context_desc *desc, hybrid_memory_plan *plan, hybrid_error *error)
{
    hybrid_context_desc d;
    hybrid__kv kv;
    hybrid__context_layout l;
    hybrid__cpu_limits limits;
    hybrid_result r;
    if ((r = hybrid__context_defaults(&m->hp, desc, &d, error)) != HYBRID_OK) return r;
    if ((r = hybrid__kv_plan(&kv, &m->hp, &d, error)) != HYBRID_OK) return r;
    if ((r = hybrid__context_layout_make(&m->hp, &kv, &d, &l, error)) != HYBRID_OK) return r;
    if ((r = hybrid__context_limits(m, &d, &limits, error)) != HYBRID_OK) return r;
    plan->kv = hybrid__aligned_cost(kv.data_bytes);
    plan->compute = sizeof(hybrid_context) + hybrid__aligned_cost(l.bytes) + sizeof(hybrid__cpu) + hybrid__aligned_cost(hybrid__cpu_scratch_bytes(m->rt, &limits));
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_plan(hybrid_runtime *runtime, const hybrid_model_desc *model, const hybrid_context_desc *context, hybrid_memory_plan *plan, hybrid_error *error)
{
    hybrid_runtime_desc rd;
    hybrid_runtime *rt = NULL;
    hybrid__counter counter;
    hybrid_model_desc desc;
    hybrid_model *m = NULL;
    uint64_t before, owned;
    hybrid_result r;
    if (!model || !plan) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_plan: %s is NULL", model ? "plan" : "model");
    memset(plan, 0, sizeof *plan);
    memset(&rd, 0, sizeof rd);
    memset(&counter, 0, sizeof counter);
    counter.base.alloc = runtime ? runtime->allocator.alloc : hybrid__default_alloc;
    counter.base.free = runtime ? runtime->allocator.free : hybrid__default_free;
    counter.base.user = runtime ? runtime->allocator.user : NULL;
    rd.allocator.alloc = hybrid__counter_alloc;
    rd.allocator.free = hybrid__counter_free;
    rd.allocator.user = &counter;
    if (runtime) {
        rd.logger = runtime->logger;
        rd.n_threads = runtime->pool.n_lanes;
        rd.isa = hybrid__isa_name(runtime->isa);
    }
    if ((r = hybrid_runtime_create(&rd, &rt, error)) != HYBRID_OK) return r;
    before = counter.live;
    desc = *model;
    desc.reader.close = NULL;                          /* the caller's: it is used again for loading */
    r = hybrid__model_create(rt, &desc, &m, error);
    if (!r) {
        size_t i, bytes = hybrid__weights_bytes(&m->weights, &m->hp);
        owned = bytes ? hybrid__aligned_cost(bytes) : 0;
        plan->model = counter.live - before;
        plan->weights = owned;
        for (i = 0; !bytes && i < hybrid_gguf_tensor_count(m->gguf); i++) plan->mapped += hybrid_gguf_tensor_at(m->gguf, i)->size;
        r = hybrid__plan_context(m, context, plan, error);
        plan->total = plan->model + plan->weights + plan->kv + plan->compute;
    }
    hybrid_model_destroy(m);
    hybrid_runtime_destroy(rt);
    return r;
}
/* ==== end src/infer/plan.c ==== */

/* ==== begin src/infer/dialog.c ==== */
/* infer/dialog: the messages of a conversation, and the prompt that they make. */

enum { HYBRID__ROLE_SYSTEM, HYBRID__ROLE_USER, HYBRID__ROLE_ASSISTANT };

typedef struct hybrid__message {
    int   role;
    char *text;                            /* zero-terminated, own */
} hybrid__message;

typedef struct hybrid__dialog {
    hybrid_runtime  *rt;
    hybrid__message *messages;
    size_t           n, capacity;
} hybrid__dialog;

static void hybrid__dialog_drop(hybrid__dialog *d, size_t i)
{
    hybrid__free(d->rt, d->messages[i].text);
    memmove(d->messages + i, d->messages + i + 1, (d->n - i - 1) * sizeof *d->messages);
    d->n--;
}

static void hybrid__dialog_free(hybrid__dialog *d)
{
    while (d->n) hybrid__dialog_drop(d, d->n - 1);
    hybrid__free(d->rt, d->messages);
}

static hybrid_result hybrid__dialog_add(hybrid__dialog *d, int role, const char *text, size_t size, hybrid_error *error)
{
    hybrid__message m;
    if (d->n == d->capacity) {
        size_t capacity = d->capacity ? 2 * d->capacity : 8;
        hybrid__message *grown = (hybrid__message *)hybrid__realloc(d->rt, d->messages, d->n * sizeof *grown, capacity * sizeof *grown);
        if (!grown) return hybrid__fail_memory(error, capacity * sizeof *grown);
        d->messages = grown;
        d->capacity = capacity;
    }
    m.role = role;
    if (!(m.text = (char *)hybrid__alloc(d->rt, size + 1))) return hybrid__fail_memory(error, size + 1);
    memcpy(m.text, text, size);
    m.text[size] = 0;
    d->messages[d->n++] = m;
    return HYBRID_OK;
}

/* Drops the oldest message that is not the system prompt, and its answer. False: only the last message is left. */
static bool hybrid__dialog_forget(hybrid__dialog *d, int32_t *n_forgotten)
{
    size_t first = d->n && d->messages[0].role == HYBRID__ROLE_SYSTEM;
    if (d->n < first + 2) return false;
    do {
        hybrid__dialog_drop(d, first);
        ++*n_forgotten;
    } while (d->n > first + 1 && d->messages[first].role == HYBRID__ROLE_ASSISTANT);
    return true;
}

static const char *hybrid__message_role(int role) { return role == HYBRID__ROLE_SYSTEM ? "system" : role == HYBRID__ROLE_USER ? "user" : "assistant"; }

/* Without a template: what a model that only continues text understands best. */
static hybrid_result hybrid__dialog_plain(const hybrid__dialog *d, char **text, size_t *size, hybrid_error *error)
{
    static const char *const heads[] = { "", "User: ", "Assistant: " }, end[] = "Assistant:";
    size_t i, n = sizeof end;
    char *p;
    for (i = 0; i < d->n; i++) n += strlen(heads[d->messages[i].role]) + strlen(d->messages[i].text) + 2;
    if (!(p = *text = (char *)hybrid__alloc(d->rt, n))) return hybrid__fail_memory(error, n);
    for (i = 0; i < d->n; i++) {
        const char *head = heads[d->messages[i].role], *body = d->messages[i].text;
        memcpy(p, head, strlen(head)); p += strlen(head);
        memcpy(p, body, strlen(body)); p += strlen(body);
        *p++ = '\n';
        if (d->messages[i].role == HYBRID__ROLE_SYSTEM) *p++ = '\n';
    }
    memcpy(p, end, sizeof end);
    *size = (size_t)(p - *text) + sizeof end - 1;
    return HYBRID_OK;
}
/* ==== end src/infer/dialog.c ==== */

/* ==== begin src/infer/session.c ==== */
/* infer/session: a conversation: prompts that reuse what is in the cache, and answers piece by piece. */

struct hybrid_session {
    hybrid_model        *model;
    hybrid_runtime      *rt;
    hybrid_context      *ctx;
    hybrid_sampler      *sampler;
    hybrid_stop_matcher *stops;
    hybrid_utf8_stream   utf8;
    hybrid__dialog       dialog;
    bool                 is_chat;          /* the running answer belongs to the dialog */
    int32_t             *ids; int32_t n_ids;                   /* tokens in the cache and in the batch, n_ctx at most */
    char                *answer; size_t answer_size, answer_capacity;   /* of the running answer, as shown */
    char                *piece; size_t piece_capacity;
    int32_t              max_tokens, n_vocab;
    bool                 prompt_pending;   /* the batch holds a prompt */
    bool                 running;
    hybrid_session_info  info;
    hybrid_error         error;
    hybrid_result        result;
};

HYBRID_API void hybrid_session_destroy(hybrid_session *session)
{
    hybrid_runtime *rt;
    if (!session) return;
    rt = session->rt;
    hybrid_context_destroy(session->ctx);
    hybrid_sampler_destroy(session->sampler);
    hybrid_stop_destroy(session->stops);
    hybrid__dialog_free(&session->dialog);
    hybrid__free(rt, session->ids);
    hybrid__free(rt, session->answer);
    hybrid__free(rt, session->piece);
    hybrid__free(rt, session);
}

/* The caller's stop texts, and for models without a template the head of the next turn. */
static hybrid_result hybrid__session_stops(hybrid_session *s, const hybrid_session_desc *desc, hybrid_error *error)
{
    static const char turn[] = "\nUser:";
    const size_t extra = hybrid_model_template(s->model) == NULL;
    hybrid_string *list = (hybrid_string *)hybrid__calloc(s->rt, desc->n_stops + extra, sizeof *list);
    hybrid_result r;
    size_t i;
    if (!list) return hybrid__fail_memory(error, (desc->n_stops + extra) * sizeof *list);
    for (i = 0; i < desc->n_stops; i++) {
        list[i].data = desc->stops[i];
        list[i].size = desc->stops[i] ? strlen(desc->stops[i]) : 0;
    }
    if (extra) { list[i].data = turn; list[i].size = sizeof turn - 1; }
    r = hybrid_stop_create(s->rt, list, desc->n_stops + extra, &s->stops, error);
    hybrid__free(s->rt, list);
    return r;
}

static hybrid_result hybrid__session_build(hybrid_session *s, const hybrid_session_desc *desc, hybrid_error *error)
{
    hybrid_context_desc cd = desc->context;
    hybrid_result r;
    if (desc->max_tokens < 0) return hybrid__fail(error, HYBRID_ERROR_INVALID, "max_tokens is %d, must not be negative", desc->max_tokens);
    if (desc->n_stops && !desc->stops) return hybrid__fail(error, HYBRID_ERROR_INVALID, "n_stops is %llu, but stops is NULL", (unsigned long long)desc->n_stops);
    cd.n_seq = 1;
    cd.n_logits = 1;
    if ((r = hybrid_context_create(s->model, &cd, &s->ctx, error)) != HYBRID_OK) return r;
    hybrid_context_describe(s->ctx, &cd);
    if ((r = hybrid_sampler_create(s->rt, &desc->sampler, &s->sampler, error)) != HYBRID_OK) return r;
    if ((r = hybrid__session_stops(s, desc, error)) != HYBRID_OK) return r;
    if (!(s->ids = (int32_t *)hybrid__calloc(s->rt, (size_t)cd.n_ctx, sizeof *s->ids))) return hybrid__fail_memory(error, (size_t)cd.n_ctx * sizeof *s->ids);
    s->max_tokens = desc->max_tokens;
    s->n_vocab = (int32_t)hybrid_vocab_size(hybrid_model_tokenizer(s->model));
    s->info.n_ctx = cd.n_ctx;
    return desc->system && desc->system[0] ? hybrid__dialog_add(&s->dialog, HYBRID__ROLE_SYSTEM, desc->system, strlen(desc->system), error) : HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_session_create(hybrid_model *model, const hybrid_session_desc *desc, hybrid_session **session, hybrid_error *error)
{
    hybrid_session_desc zero;
    hybrid_session *s;
    hybrid_result r;
    if (!model || !session) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_session_create: %s is NULL", model ? "session" : "model");
    *session = NULL;
    memset(&zero, 0, sizeof zero);
    if (!(s = (hybrid_session *)hybrid__calloc(model->rt, 1, sizeof *s))) return hybrid__fail_memory(error, sizeof *s);
    s->model = model;
    s->rt = s->dialog.rt = model->rt;
    if ((r = hybrid__session_build(s, desc ? desc : &zero, error)) != HYBRID_OK) {
        hybrid_session_destroy(s);
        return r;
    }
    *session = s;
    return HYBRID_OK;
}

/* ---- prompts ---- */

static hybrid_result hybrid__session_tokenize(hybrid_session *s, const char *text, size_t size, unsigned flags, int32_t **ids, size_t *n, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    hybrid_result r = hybrid_tokenize(tok, text, size, flags, NULL, 0, n, error);
    *ids = NULL;
    if (r && r != HYBRID_ERROR_LIMIT) return r;
    if (!(*ids = (int32_t *)hybrid__calloc(s->rt, *n + 1, sizeof **ids))) return hybrid__fail_memory(error, (*n + 1) * sizeof **ids);
    if ((r = hybrid_tokenize(tok, text, size, flags, *ids, *n, n, error)) != HYBRID_OK) {
        hybrid__free(s->rt, *ids);
        *ids = NULL;
    }
    return r;
}

/* Makes ids the content of the cache: what it begins with already is kept, the rest goes into the batch. */
static hybrid_result hybrid__session_prompt(hybrid_session *s, const int32_t *ids, int32_t n, hybrid_error *error)
{
    const int32_t length = hybrid_seq_length(s->ctx, 0);
    int32_t same = 0, i;
    hybrid_result r;
    hybrid_batch_clear(s->ctx);
    while (same < length && same < n - 1 && s->ids[same] == ids[same]) same++;       /* one token at least must run, for its logits */
    if ((r = hybrid_seq_remove(s->ctx, 0, same, error)) != HYBRID_OK) return r;
    s->n_ids = same;
    if ((r = hybrid_batch_add(s->ctx, 0, ids + same, (size_t)(n - same), error)) != HYBRID_OK) return r;
    memcpy(s->ids + same, ids + same, (size_t)(n - same) * sizeof *ids);
    s->n_ids = n;
    for (i = same; i < n; i++) hybrid_sampler_accept(s->sampler, ids[i]);
    memset(&s->utf8, 0, sizeof s->utf8);
    hybrid_stop_reset(s->stops);
    s->answer_size = 0;
    s->running = s->prompt_pending = true;
    s->info.stop = HYBRID_STOP_NONE;
    s->info.n_prompt = n;
    s->info.n_cached = same;
    s->info.n_generated = 0;
    s->info.prompt_us = s->info.generate_us = 0;
    return HYBRID_OK;
}

/* The prompt of the whole dialog, freed by the caller. */
static hybrid_result hybrid__dialog_render(hybrid_session *s, char **text, size_t *size, hybrid_error *error)
{
    return hybrid__dialog_plain(&s->dialog, text, size, error);
}

/* The tokens of the whole dialog, BOS included where the model wants one and the template has none. */
static hybrid_result hybrid__session_dialog_ids(hybrid_session *s, int32_t **ids, size_t *n, hybrid_error *error)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const int32_t bos = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    char *text = NULL;
    size_t size = 0;
    hybrid_result r = hybrid__dialog_render(s, &text, &size, error);
    if (!r) r = hybrid__session_tokenize(s, text, size, HYBRID_TOKENIZE_PARSE_SPECIAL, ids, n, error);
    hybrid__free(s->rt, text);
    if (!r && hybrid_tokenizer_adds_bos(tok) && bos >= 0 && (!*n || (*ids)[0] != bos)) {
        memmove(*ids + 1, *ids, *n * sizeof **ids);    /* hybrid__session_tokenize leaves room for one more */
        (*ids)[0] = bos;
        ++*n;
    }
    return r;
}

/* What has been shown of an answer becomes a message of the dialog. */
static hybrid_result hybrid__session_keep_answer(hybrid_session *s, hybrid_error *error)
{
    hybrid_result r = HYBRID_OK;
    if (s->is_chat && s->dialog.n && s->dialog.messages[s->dialog.n - 1].role == HYBRID__ROLE_USER)
        r = hybrid__dialog_add(&s->dialog, HYBRID__ROLE_ASSISTANT, s->answer ? s->answer : "", s->answer_size, error);
    if (!r) s->is_chat = s->running = false;
    return r;
}

static hybrid_result hybrid__session_failed(hybrid_session *s, hybrid_result r)
{
    s->result = r;
    s->error.result = r;
    s->info.stop = HYBRID_STOP_ERROR;
    s->running = false;
    hybrid_batch_clear(s->ctx);
    s->n_ids = hybrid_seq_length(s->ctx, 0);
    return r;
}

HYBRID_API hybrid_result hybrid_session_say(hybrid_session *session, const char *text)
{
    hybrid_session *s = session;
    int32_t *ids = NULL;
    size_t n = 0;
    hybrid_result r;
    if (!s) return HYBRID_ERROR_INVALID;
    s->result = HYBRID_OK;
    if (!text) return hybrid__session_failed(s, hybrid__fail(&s->error, HYBRID_ERROR_INVALID, "hybrid_session_say: text is NULL"));
    if ((r = hybrid__session_keep_answer(s, &s->error)) != HYBRID_OK) return hybrid__session_failed(s, r);
    if ((r = hybrid__dialog_add(&s->dialog, HYBRID__ROLE_USER, text, strlen(text), &s->error)) != HYBRID_OK) return hybrid__session_failed(s, r);
    for (;;) {                                         /* room for an answer: an eighth of the context, or what max_tokens asks */
        const int32_t room = s->max_tokens ? HYBRID__MIN(s->max_tokens, s->info.n_ctx / 2) : s->info.n_ctx / 8;
        if ((r = hybrid__session_dialog_ids(s, &ids, &n, &s->error)) != HYBRID_OK) break;
        if (n + (size_t)room <= (size_t)s->info.n_ctx || !hybrid__dialog_forget(&s->dialog, &s->info.n_forgotten)) break;
        hybrid__free(s->rt, ids);
        ids = NULL;
    }
    if (!r && n >= (size_t)s->info.n_ctx)
        r = hybrid__fail(&s->error, HYBRID_ERROR_CONTEXT_FULL, "the message makes a prompt of %llu tokens, but the context has only %d: shorten it, or raise n_ctx", (unsigned long long)n, s->info.n_ctx);
    if (!r) r = hybrid__session_prompt(s, ids, (int32_t)n, &s->error);
    hybrid__free(s->rt, ids);
    if (r) {                                           /* as if it had not been said */
        if (s->dialog.n && s->dialog.messages[s->dialog.n - 1].role == HYBRID__ROLE_USER) hybrid__dialog_drop(&s->dialog, s->dialog.n - 1);
        return hybrid__session_failed(s, r);
    }
    s->is_chat = true;
    return HYBRID_OK;
}

HYBRID_API hybrid_result hybrid_session_complete(hybrid_session *session, const char *text)
{
    hybrid_session *s = session;
    const hybrid_tokenizer *tok;
    int32_t *ids = NULL, *all = NULL, length;
    size_t n = 0;
    hybrid_result r;
    if (!s) return HYBRID_ERROR_INVALID;
    s->result = HYBRID_OK;
    if (!text) return hybrid__session_failed(s, hybrid__fail(&s->error, HYBRID_ERROR_INVALID, "hybrid_session_complete: text is NULL"));
    if ((r = hybrid__session_keep_answer(s, &s->error)) != HYBRID_OK) return hybrid__session_failed(s, r);
    tok = hybrid_model_tokenizer(s->model);
    length = s->n_ids;
    r = hybrid__session_tokenize(s, text, strlen(text), HYBRID_TOKENIZE_PARSE_SPECIAL | (length ? 0u : HYBRID_TOKENIZE_ADD_SPECIAL), &ids, &n, &s->error);
    if (!r && n > 1 && !length && hybrid_tokenizer_adds_eos(tok)) n--;                          /* text that goes on has no end */
    if (!r && !n && !length && hybrid_token_role_id(tok, HYBRID_ROLE_BOS) >= 0) ids[n++] = hybrid_token_role_id(tok, HYBRID_ROLE_BOS);
    if (!r && !n && !length) r = hybrid__fail(&s->error, HYBRID_ERROR_INVALID, "the prompt is empty, and this model has no token to begin with: give it some text");
    if (!r && n + (size_t)length >= (size_t)s->info.n_ctx)
        r = hybrid__fail(&s->error, HYBRID_ERROR_CONTEXT_FULL, "%llu tokens of text behind the %d that are there do not fit the context of %d", (unsigned long long)n, length, s->info.n_ctx);
    if (!r && !(all = (int32_t *)hybrid__calloc(s->rt, n + (size_t)length, sizeof *all))) r = hybrid__fail_memory(&s->error, (n + (size_t)length) * sizeof *all);
    if (!r) {
        memcpy(all, s->ids, (size_t)length * sizeof *all);
        memcpy(all + length, ids, n * sizeof *all);
        r = hybrid__session_prompt(s, all, length + (int32_t)n, &s->error);
    }
    hybrid__free(s->rt, ids);
    hybrid__free(s->rt, all);
    return r ? hybrid__session_failed(s, r) : HYBRID_OK;
}

/* ---- answers ---- */

static bool hybrid__grow(hybrid_runtime *rt, char **data, size_t *capacity, size_t used, size_t need)
{
    size_t to = HYBRID__MAX(need, 2 * *capacity);
    char *p;
    if (need <= *capacity) return true;
    if (!(p = (char *)hybrid__realloc(rt, *data, used, to))) return false;
    *data = p;
    *capacity = to;
    return true;
}

/* Bytes that may be shown become characters, behind the `at` bytes of the piece. */
static hybrid_result hybrid__session_show(hybrid_session *s, hybrid_string bytes, size_t *at)
{
    if (!hybrid__grow(s->rt, &s->piece, &s->piece_capacity, *at, *at + HYBRID_UTF8_ROOM(bytes.size) + 16)) return hybrid__fail_memory(&s->error, bytes.size);
    *at += hybrid_utf8_feed(&s->utf8, bytes.data, bytes.size, s->piece + *at);
    return HYBRID_OK;
}

/* The answer is over: what was held back is shown, unless a stop text ended it. */
static hybrid_result hybrid__session_stop(hybrid_session *s, hybrid_stop stop, size_t *at)
{
    hybrid_result r = stop == HYBRID_STOP_TEXT ? HYBRID_OK : hybrid__session_show(s, hybrid_stop_flush(s->stops), at);
    if (r) return r;
    if (!hybrid__grow(s->rt, &s->piece, &s->piece_capacity, *at, *at + 16)) return hybrid__fail_memory(&s->error, *at + 16);
    *at += hybrid_utf8_flush(&s->utf8, s->piece + *at);
    s->info.stop = stop;
    s->running = false;
    return HYBRID_OK;
}

/* Runs the model on what is queued and takes the next token; *at counts the bytes of the piece. */
static hybrid_result hybrid__session_token(hybrid_session *s, size_t *at)
{
    const hybrid_tokenizer *tok = hybrid_model_tokenizer(s->model);
    const uint64_t since = hybrid__now_us();
    hybrid_string bytes;
    int32_t id;
    int which;
    hybrid_result r = hybrid_decode(s->ctx, &s->error);
    if (r) return r;
    if (s->prompt_pending) s->info.prompt_us += hybrid__now_us() - since;
    id = hybrid_sample(s->sampler, hybrid_logits(s->ctx, 0), s->n_vocab);
    if (!s->prompt_pending) s->info.generate_us += hybrid__now_us() - since;
    s->prompt_pending = false;
    if (id < 0) return hybrid__fail(&s->error, (hybrid_result)id, "no next token: a logit is not a number, or all tokens are forbidden (damaged weights?)");
    if (hybrid_token_is_end(tok, id)) return hybrid__session_stop(s, HYBRID_STOP_END, at);
    hybrid_sampler_accept(s->sampler, id);
    s->info.n_generated++;
    if (hybrid_token_kind(tok, id) != HYBRID_TOKEN_CONTROL) {
        bytes = hybrid_token_bytes(tok, id);
        if ((r = hybrid_stop_feed(s->stops, bytes.data, bytes.size, &bytes, &which, &s->error)) != HYBRID_OK) return r;
        if ((r = hybrid__session_show(s, bytes, at)) != HYBRID_OK) return r;
        if (which >= 0) return hybrid__session_stop(s, HYBRID_STOP_TEXT, at);
    }
    if (s->n_ids == s->info.n_ctx) return hybrid__session_stop(s, HYBRID_STOP_CONTEXT, at);
    if ((r = hybrid_batch_add(s->ctx, 0, &id, 1, &s->error)) != HYBRID_OK) return r;
    s->ids[s->n_ids++] = id;
    if (s->max_tokens && s->info.n_generated >= s->max_tokens) {
        hybrid_batch_clear(s->ctx);                    /* known, but not needed now: it is decoded with the next prompt */
        return hybrid__session_stop(s, HYBRID_STOP_LIMIT, at);
    }
    return HYBRID_OK;
}

HYBRID_API const char *hybrid_session_next(hybrid_session *session)
{
    hybrid_session *s = session;
    size_t at = 0;
    hybrid_result r = HYBRID_OK;
    if (!s || !s->running) return NULL;
    while (!r && s->running && !at) r = hybrid__session_token(s, &at);
    if (!r && at && !hybrid__grow(s->rt, &s->answer, &s->answer_capacity, s->answer_size, s->answer_size + at)) r = hybrid__fail_memory(&s->error, s->answer_size + at);
    if (r) {
        hybrid__session_failed(s, r);
        return NULL;
    }
    if (!at) return NULL;
    memcpy(s->answer + s->answer_size, s->piece, at);
    s->answer_size += at;
    s->piece[at] = 0;                                  /* HYBRID_UTF8_ROOM and + 16 leave room for it */
    return s->piece;
}

HYBRID_API hybrid_result hybrid_session_result(const hybrid_session *session, hybrid_error *error)
{
    if (!session) return hybrid__fail(error, HYBRID_ERROR_INVALID, "hybrid_session_result: session is NULL");
    if (session->result && error) *error = session->error;
    return session->result;
}

HYBRID_API void hybrid_session_describe(const hybrid_session *session, hybrid_session_info *info)
{
    *info = session->info;
    info->n_used = hybrid_seq_length(session->ctx, 0);
}

HYBRID_API void hybrid_session_reset(hybrid_session *session)
{
    hybrid__dialog *d;
    if (!session) return;
    d = &session->dialog;
    hybrid_batch_clear(session->ctx);
    hybrid_seq_remove(session->ctx, 0, 0, NULL);
    hybrid_sampler_reset(session->sampler);
    while (d->n && d->messages[d->n - 1].role != HYBRID__ROLE_SYSTEM) hybrid__dialog_drop(d, d->n - 1);
    session->n_ids = 0;
    session->running = session->is_chat = false;
    session->info.stop = HYBRID_STOP_NONE;
    session->info.n_forgotten = 0;
}
/* ==== end src/infer/session.c ==== */

/* ==== begin src/core/end.h ==== */
/* core/end: closes what core/begin opened. */
#if defined(__clang__)
    #pragma clang diagnostic pop
    #pragma STDC FP_CONTRACT DEFAULT
#elif defined(__GNUC__)
    #pragma GCC pop_options
    #pragma GCC diagnostic pop
#elif defined(_MSC_VER)
    #pragma warning(pop)
#endif
/* ==== end src/core/end.h ==== */

/* No private macro stays behind. */
#ifdef HYBRID__WIN32_LEAN
    #undef WIN32_LEAN_AND_MEAN
#endif
#ifdef HYBRID__NOMINMAX
    #undef NOMINMAX
#endif
#undef HYBRID__ALIGN64
#undef HYBRID__AMX
#undef HYBRID__ARM
#undef HYBRID__BEGINS_CONTROL
#undef HYBRID__BEGINS_TEXT
#undef HYBRID__BLOCK_SIZE
#undef HYBRID__BLOCK_TYPE
#undef HYBRID__CACHE_IDS
#undef HYBRID__CACHE_TEXT
#undef HYBRID__CASED_UP
#undef HYBRID__CASELESS
#undef HYBRID__CHARS
#undef HYBRID__COUNT
#undef HYBRID__DEEPSEEK3
#undef HYBRID__EACH16
#undef HYBRID__EACH8
#undef HYBRID__F4_EACH
#undef HYBRID__FIND
#undef HYBRID__FLOAT_GENERIC
#undef HYBRID__FLOAT_KERNELS
#undef HYBRID__GEMV256_AVX512
#undef HYBRID__GEMV32_AVX512
#undef HYBRID__GENERIC_TYPE
#undef HYBRID__GGUF_FIRST_BLOCK
#undef HYBRID__GGUF_N_TYPES
#undef HYBRID__GPT2
#undef HYBRID__GPT4O
#undef HYBRID__HEAD4
#undef HYBRID__INLINE
#undef HYBRID__INT_KERNELS
#undef HYBRID__ISSUE
#undef HYBRID__KERNEL_PANELS
#undef HYBRID__LETTERS
#undef HYBRID__LIKELY
#undef HYBRID__LLAMA3
#undef HYBRID__MAX
#undef HYBRID__MIN
#undef HYBRID__MMAP_POSIX
#undef HYBRID__MMAP_WIN32
#undef HYBRID__NOINLINE
#undef HYBRID__NOMINMAX
#undef HYBRID__NO_NAME
#undef HYBRID__PANEL32_TYPE
#undef HYBRID__PLACE
#undef HYBRID__PRINTF
#undef HYBRID__Q3
#undef HYBRID__Q5
#undef HYBRID__QWEN2
#undef HYBRID__REST
#undef HYBRID__RESTRICT
#undef HYBRID__ROUNDER
#undef HYBRID__ROW
#undef HYBRID__SAMPLER_MAX_LAST_N
#undef HYBRID__SELECT_BINS
#undef HYBRID__SELECT_CANDIDATES
#undef HYBRID__SELECT_CHUNK
#undef HYBRID__SELECT_NOTHING
#undef HYBRID__SOURCE_ID
#undef HYBRID__SPACES
#undef HYBRID__SPLIT_MEMBERS
#undef HYBRID__STARCODER
#undef HYBRID__TARGET_AMX
#undef HYBRID__TARGET_AVX2
#undef HYBRID__TARGET_AVX512
#undef HYBRID__THREADS_POSIX
#undef HYBRID__THREADS_WIN32
#undef HYBRID__TILE_DOT
#undef HYBRID__TILE_DOT_BF16
#undef HYBRID__TILE_DOT_U
#undef HYBRID__TILE_LOAD
#undef HYBRID__TILE_STORE
#undef HYBRID__TILE_ZERO
#undef HYBRID__TOKEN_END
#undef HYBRID__TOKEN_FOREIGN
#undef HYBRID__TOKEN_STRIP
#undef HYBRID__TOKEN_TYPE
#undef HYBRID__TYPE
#undef HYBRID__UNLIKELY
#undef HYBRID__UNROLL
#undef HYBRID__UNUSED
#undef HYBRID__V
#undef HYBRID__V_ABS
#undef HYBRID__V_ADD
#undef HYBRID__V_COLUMNS
#undef HYBRID__V_COPYSIGN
#undef HYBRID__V_DIV
#undef HYBRID__V_EVENS
#undef HYBRID__V_FIRST
#undef HYBRID__V_FLOAT
#undef HYBRID__V_FMA
#undef HYBRID__V_FN
#undef HYBRID__V_HALVE
#undef HYBRID__V_LDEXP
#undef HYBRID__V_LESS
#undef HYBRID__V_LOAD
#undef HYBRID__V_LOAD_BF16
#undef HYBRID__V_LOAD_F16
#undef HYBRID__V_LOAD_I8
#undef HYBRID__V_LOAD_N
#undef HYBRID__V_MASK
#undef HYBRID__V_MAX
#undef HYBRID__V_MAX_BITS
#undef HYBRID__V_MIN
#undef HYBRID__V_MUL
#undef HYBRID__V_N
#undef HYBRID__V_NEG
#undef HYBRID__V_NEG_EVEN
#undef HYBRID__V_ODDS
#undef HYBRID__V_PAIR_EVEN
#undef HYBRID__V_PAIR_ODD
#undef HYBRID__V_PAIR_SWAP
#undef HYBRID__V_SELECT
#undef HYBRID__V_SET1
#undef HYBRID__V_STORE
#undef HYBRID__V_STORE_F16
#undef HYBRID__V_STORE_I8
#undef HYBRID__V_STORE_N
#undef HYBRID__V_SUB
#undef HYBRID__V_TARGET
#undef HYBRID__V_TILE
#undef HYBRID__V_TILES
#undef HYBRID__V_TILE_OF
#undef HYBRID__V_TRANSPOSE
#undef HYBRID__WIN32_LEAN
#undef HYBRID__WORD_SHORT
#undef HYBRID__X
#undef HYBRID__X86
#undef hybrid__fail
#undef hybrid__fail_memory
#endif
#endif

/*
 * hybrid is available under two licences: choose the one that you prefer.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE A - MIT No Attribution License (MIT-0)
 *
 * Copyright (c) 2026 the authors of hybrid
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of
 * this software and associated documentation files (the "Software"), to deal in
 * the Software without restriction, including without limitation the rights to
 * use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies
 * of the Software, and to permit persons to whom the Software is furnished to do
 * so.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
 * LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
 * OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
 * SOFTWARE.
 *
 * ------------------------------------------------------------------------------
 * ALTERNATIVE B - Public Domain (www.unlicense.org)
 *
 * This is free and unencumbered software released into the public domain.
 *
 * Anyone is free to copy, modify, publish, use, compile, sell, or distribute this
 * software, either in source code form or as a compiled binary, for any purpose,
 * commercial or non-commercial, and by any means.
 *
 * In jurisdictions that recognize copyright laws, the author or authors of this
 * software dedicate any and all copyright interest in the software to the public
 * domain. We make this dedication for the benefit of the public at large and to
 * the detriment of our heirs and successors. We intend this dedication to be an
 * overt act of relinquishment in perpetuity of all present and future rights to
 * this software under copyright law.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
 * IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
 * FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
 * AUTHORS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN
 * ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION
 * WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */
