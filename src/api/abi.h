/* ---- abi: is the library that runs the one that its caller was made for? ----------------------------------------- */
#ifndef HYB_API_ABI_H
#define HYB_API_ABI_H
#include "base.h"

/* A program that compiles this header with the implementation need not ask. One that finds hybrid in a shared library,
 * from C or from another language, asks first, since a struct of another size would be read as something else:
 *
 *     cc -O2 -shared -fPIC -x c -DHYBRID_IMPLEMENTATION hybrid.h -o libhybrid.so -lm
 *
 *     static const hybrid_struct_size mine[] = {
 *     #define X(name) { #name, sizeof(name) },
 *         HYBRID_STRUCTS(X)
 *     #undef X
 *     };
 *     if (hybrid_abi_check(HYBRID_VERSION_NUMBER, mine, sizeof mine / sizeof *mine, &error)) puts(error.message);
 *
 * examples/python does it from Python. */

/* X(name) for every public struct whose members this build of the header shows. */
/* clang-format off */
#define HYBRID_STRUCTS(X) \
    HYBRID_STRUCTS_ALWAYS(X) HYBRID_STRUCTS_TEXT(X) HYBRID_STRUCTS_GRAMMAR(X) HYBRID_STRUCTS_TRAIN(X) \
    HYBRID_STRUCTS_TRAIN_TEXT(X) HYBRID_STRUCTS_PREDICT(X)
#define HYBRID_STRUCTS_ALWAYS(X) \
    X(hybrid_error) X(hybrid_struct_size) X(hybrid_allocator) X(hybrid_logger) X(hybrid_reader) X(hybrid_source) \
    X(hybrid_kernel_cache) X(hybrid_runtime_desc) X(hybrid_device_info) X(hybrid_mix_model) X(hybrid_string) \
    X(hybrid_gguf_value) X(hybrid_gguf_tensor) X(hybrid_model_desc) X(hybrid_model_info) X(hybrid_context_desc) \
    X(hybrid_memory_plan) X(hybrid_adapter_desc) X(hybrid_adapter_info) X(hybrid_logit_bias) X(hybrid_sampler_desc) \
    X(hybrid_score_desc) X(hybrid_score_info) X(hybrid_embed_desc) X(hybrid_target) X(hybrid_named_adapter) \
    X(hybrid_save_desc)
#if defined(HYBRID_NO_TEXT)
    #define HYBRID_STRUCTS_TEXT(X)
#else
    #define HYBRID_STRUCTS_TEXT(X) \
        X(hybrid_tokenizer_desc) X(hybrid_utf8_stream) X(hybrid_text) X(hybrid_span) X(hybrid_template_desc) \
        X(hybrid_template_limits) X(hybrid_render_desc) X(hybrid_chat_message) X(hybrid_chat_desc) \
        X(hybrid_ids) X(hybrid_prompt_desc) X(hybrid_piece) X(hybrid_stream_desc) X(hybrid_stream_info) \
        X(hybrid_session_desc) X(hybrid_session_info) X(hybrid_answer_desc)
#endif
#if defined(HYBRID_NO_TEXT) || defined(HYBRID_NO_GRAMMAR)
    #define HYBRID_STRUCTS_GRAMMAR(X)
#else
    #define HYBRID_STRUCTS_GRAMMAR(X) \
        X(hybrid_grammar_desc)
#endif
#if defined(HYBRID_NO_TRAIN)
    #define HYBRID_STRUCTS_TRAIN(X)
#else
    #define HYBRID_STRUCTS_TRAIN(X) \
        X(hybrid_model_shape) X(hybrid_trainable_param) X(hybrid_trainable) X(hybrid_trainer_desc) \
        X(hybrid_train_batch) X(hybrid_predict_step) X(hybrid_train_metrics) X(hybrid_train_plan) \
        X(hybrid_curve_desc) X(hybrid_curve_point) X(hybrid_example) X(hybrid_learn_desc) X(hybrid_learn_info)
#endif
#if defined(HYBRID_NO_TRAIN) || defined(HYBRID_NO_TEXT)
    #define HYBRID_STRUCTS_TRAIN_TEXT(X)
#else
    #define HYBRID_STRUCTS_TRAIN_TEXT(X) \
        X(hybrid_bpe_desc) X(hybrid_bpe_info) X(hybrid_data_desc) X(hybrid_data_info) X(hybrid_data_position)
#endif
#if defined(HYBRID_NO_TRAIN) || defined(HYBRID_NO_PREDICT)
    #define HYBRID_STRUCTS_PREDICT(X)
#else
    #define HYBRID_STRUCTS_PREDICT(X) \
        X(hybrid_predict_desc) X(hybrid_predict_metrics)
#endif
/* clang-format on */

typedef struct hybrid_struct_size {
    const char *name; /* "hybrid_error", zero-terminated */
    size_t size;      /* bytes, as the caller has it */
} hybrid_struct_size;

/* Whether a caller and the library understand each other. version_number: the caller's HYBRID_VERSION_NUMBER; it may
 * differ in the patch. structs: n of them, in any order, as many as the caller uses; a size of pointers or a packing
 * of another kind shows there, too. HYBRID_STATIC needs no check, and passes it.
 * Errors: INVALID (structs or a name is NULL), UNSUPPORTED (another version or another size; the sentence has the
 * struct and both sizes), NOT_FOUND (a struct that this build does not have; a HYBRID_NO_... has cut it out, or it is
 * newer). Pass NULL for error when its own size is in doubt. Needs no runtime; thread-safe. */
HYBRID_API hybrid_result hybrid_abi_check(int32_t version_number, const hybrid_struct_size *structs, size_t n,
                                          hybrid_error *error);
#endif
