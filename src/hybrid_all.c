/* The library as one translation unit: the rooms in dependency order. Daily work includes this file; amalgamate.py turns it into
 * hybrid.h. A file can use only what stands above it. */
#include "api/api.h"

#ifdef HYBRID_IMPLEMENTATION
#ifndef HYBRID_IMPLEMENTED
#define HYBRID_IMPLEMENTED
#include "core/begin.h"
#include "core/macros.h"

#include "core/base.c"
#include "core/fpenv.c"
#include "core/number.c"
#include "core/fma.c"
#include "core/utf8.c"
#include "core/decimal.c"
#include "core/thread.c"
#include "core/cpu.c"
#include "core/hash.c"
#include "core/memory.c"
#include "core/stack.c"
#include "core/device.c"
#include "core/runtime.c"
#include "core/file.c"
#include "core/output.c"
#include "core/random.c"
#include "core/json.c"

/* gguf */
#include "gguf/names.c"
#include "gguf/value.c"
#include "gguf/scan.c"
#include "gguf/read.c"
#include "gguf/open.c"
#include "gguf/write.c"

/* quant */
#include "quant/blocks.c"
#include "quant/search.c"
#include "quant/floats.c"
#include "quant/legacy.c"
#include "quant/k_affine.c"
#include "quant/k_symmetric.c"
#include "quant/types.c"
#include "quant/convert.c"
#include "quant/mix.c"

/* text */
#ifndef HYBRID_NO_TEXT
#include "text/unicode_data.c"
#include "text/unicode.c"
#include "text/normalize.c"
#include "text/pretokenize.c"
#include "text/families.c"
#include "text/automaton.c"
#include "text/fingerprint.c"
#include "text/vocab.c"
#include "text/special.c"
#include "text/bpe.c"
#include "text/tokenizer.c"
#include "text/tokenizer_gguf.c"
#include "text/stop.c"
#include "text/jinja_value.c"
#include "text/jinja_print.c"
#include "text/jinja_call.c"
#include "text/jinja_case.c"
#include "text/jinja_string.c"
#include "text/jinja_format.c"
#include "text/jinja_ops.c"
#include "text/jinja_filter.c"
#include "text/jinja_test.c"
#include "text/jinja_lex.c"
#include "text/jinja_parse.c"
#include "text/jinja_statement.c"
#include "text/jinja_eval.c"
#include "text/template.c"
#include "text/chat.c"
#endif

/* compute */
#include "compute/ops.inc"
#include "compute/op.c"
#include "compute/backend.c"
#include "compute/target.c"
#include "compute/trig.c"
#include "compute/cpu_kernels.c"
#include "compute/cpu_generic.c"
#include "compute/matmul_kernel.c"
#include "compute/cpu_int_unpack.c"
#include "compute/cpu_int_act.c"
#include "compute/cpu_int_generic.c"
#include "compute/cpu_int_avx512.c"
#include "compute/cpu_int_panel.c"
#include "compute/cpu_int_gemm.c"
#include "compute/cpu_int_amx.c"
#include "compute/cpu_int_avx2.c"
#include "compute/cpu_int_repack.c"
#include "compute/cpu_int_avx2_gemm.c"
#include "compute/cpu_int_neon.c"
#include "compute/cpu_int.c"
#include "compute/cpu_float.c"
#include "compute/cpu_x86.c"
#include "compute/cpu_arm.c"
#include "compute/cpu_select.c"
#include "compute/matmul.c"
#include "compute/cpu_experts.c"
#include "compute/cpu.c"

/* model */
#include "model/keys.c"
#include "model/hparams.c"
#include "model/weights.c"
#include "model/rope.c"
#include "model/unused.c"
#include "model/forward.c"
#include "model/place.c"
#include "model/repack.c"
#include "model/model.c"

/* infer */
#include "infer/select.c"
#include "infer/sampler.c"
#include "infer/kv.c"
#include "infer/context.c"
#include "infer/next.c"
#include "infer/plan.c"
#ifndef HYBRID_NO_TEXT
#include "infer/dialog.c"
#include "infer/session.c"
#endif

#include "core/end.h"
#endif
#endif
