/* hybrid @version: runs language models (GGUF files) inside your program. One header, C99 or C++11, no dependencies.
 *
 * MADE FROM src/ BY amalgamate.py (source id @source_id): edit there, not here.
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
 * HYBRID_IMPLEMENTATION belongs in exactly one C or C++ file; every other file that uses hybrid only includes it.
 *
 * LICENCE. MIT-0 or public domain, as you prefer; the text stands at the end of this file.
 *
 * RULES OF THE LIBRARY. It never aborts, exits or prints. Every fallible call returns a hybrid_result (0: success) and
 * fills a hybrid_error, if you pass one, with a sentence (that of hybrid_session_say, _complete and _next is in
 * hybrid_session_result, that of hybrid_sample in hybrid_sampler_result); a call that fails has changed nothing. Every
 * _desc struct may be zero: zero is the default. Every _destroy accepts NULL.
 * No global state: objects hang off a hybrid_runtime, NULL gives a default one. Model files are treated as hostile
 * input. Rounding, flushing of subnormals and traps of the caller change no result and are as before, with the flags of
 * exceptions, when a call returns; callbacks run in the environment that C begins with, and what they change of it ends
 * with them. The threads that the library makes take no signals but those of their own faults: the host's come to the
 * host's threads.
 *
 * OPTIONS, defined before the #include of the implementation (those marked * before every #include):
 *   HYBRID_API *           your linkage: __declspec(dllexport), a visibility attribute...
 *   HYBRID_STATIC *        everything is static in your file
 *   HYBRID_PROFILE         counts time and bytes of every op: hybrid_context_profile
@cutouts
@cutout HYBRID_NO_STDIO        no files by path: memory and reader callbacks only
@cutout HYBRID_NO_MMAP         files are read, not mapped
@cutout HYBRID_NO_THREADS      everything runs on the calling thread (or on your parallel_for)
@cutout HYBRID_NO_SIMD         plain C only
@cutout HYBRID_NO_AVX512       no kernels for AVX-512 and AMX: those machines run the ones for AVX2
@cutout HYBRID_NO_TEXT *       token ids only: no tokenizers, chat templates and sessions
@cutout HYBRID_NO_GRAMMAR *    no grammars: answers have no form but what the model gives them
@cutout HYBRID_NO_TRAIN *      no training: no trainer, no vocabularies from raw text, no training data
@cutout HYBRID_NO_PREDICT *    no prediction of training: a trainer takes true steps only
 *
 * CONTENTS (line, file)
 *
@contents
 */
