/* The library as one translation unit: the rooms in dependency order. Daily work includes this file; amalgamate.py
 * makes hybrid.h of it. A file can use only what stands above it. */
#include "api/api.h"

#ifdef HYBRID_IMPLEMENTATION
#ifndef HYBRID_IMPLEMENTED
#define HYBRID_IMPLEMENTED
#include "core/begin.h"
#include "core/macros.h"

#include "core/base.c"
#include "core/fpenv.c"
#include "core/abi.c"
#include "core/number.c"
#include "core/fma.c"
#include "core/utf8.c"
HYB_TEPID_BEGIN
#include "core/decimal.c"
HYB_TEPID_END
#include "core/thread.c"
#include "core/cpu.c"
#include "core/hash.c"
HYB_TEPID_BEGIN
#include "core/runtime.c"
#include "core/memory.c"
#include "core/grow.c"
#include "core/stack.c"
#include "core/device.c"
#include "core/lifetime.c"
#include "core/file.c"
#include "core/output.c"
#include "core/checksum.c"
#include "core/random.c"
HYB_TEPID_END
HYB_COLD_BEGIN
#include "core/json.c"
HYB_COLD_END

/* gguf */
HYB_TEPID_BEGIN
#include "gguf/names.c"
#include "gguf/value.c"
#include "gguf/scan.c"
#include "gguf/read.c"
#include "gguf/open.c"
HYB_TEPID_END
HYB_COLD_BEGIN
#include "gguf/write.c"
HYB_COLD_END

/* quant */
#include "quant/blocks.c"
#include "quant/search.c"
#include "quant/floats.c"
#include "quant/legacy.c"
#include "quant/k_affine.c"
#include "quant/k_symmetric.c"
#include "quant/iq4.c"
#include "quant/types.inc"
HYB_TEPID_BEGIN
#include "quant/types.c"
#include "quant/convert.c"
#include "quant/mix.c"
HYB_TEPID_END

/* text */
#ifndef HYBRID_NO_TEXT
#include "text/unicode_data.c"
#include "text/unicode.c"
#include "text/tokenizer/normalize.c"
#include "text/tokenizer/pretokenize.c"
HYB_TEPID_BEGIN
#include "text/tokenizer/families.c"
HYB_TEPID_END
#include "text/automaton.c"
#include "text/tokenizer/fingerprint.c"
HYB_TEPID_BEGIN
#include "text/tokenizer/vocab.c"
HYB_TEPID_END
#include "text/tokenizer/special.c"
#include "text/tokenizer/bpe.c"
#include "text/tokenizer/greedy.c"
#include "text/tokenizer/wordpiece_data.c"
#include "text/tokenizer/wordpiece.c"
#include "text/tokenizer/tokenizer.c"
#include "text/tokenizer/with.c"
HYB_TEPID_BEGIN
#include "text/tokenizer/gguf.c"
#include "text/stop.c"
HYB_TEPID_END
HYB_COLD_BEGIN
#include "text/tokenizer/export.c"
#include "text/jinja/arena.c"
#include "text/jinja/value.c"
#include "text/jinja/dict.c"
#include "text/jinja/print.c"
#include "text/jinja/call.c"
#include "text/jinja/case.c"
#include "text/jinja/chars.c"
#include "text/jinja/string.c"
#include "text/jinja/format.c"
#include "text/jinja/time.c"
#include "text/jinja/ops.c"
#include "text/jinja/filters/member.c"
#include "text/jinja/filters/text.c"
#include "text/jinja/filters/number.c"
#include "text/jinja/filters/value.c"
#include "text/jinja/filters/pprint.c"
#include "text/jinja/filters/sequence.c"
#include "text/jinja/filter.c"
#include "text/jinja/test.c"
#include "text/jinja/lex.c"
#include "text/jinja/parse.c"
#include "text/jinja/statement.c"
#include "text/jinja/eval.c"
#include "text/template.c"
#include "text/chat.c"
#include "text/pieces.c"
HYB_COLD_END
#ifndef HYBRID_NO_GRAMMAR
HYB_COLD_BEGIN
#include "text/grammar/draft.c"
#include "text/grammar/trigger.c"
#include "text/grammar/gbnf.c"
#include "text/grammar/dfa.c"
#include "text/grammar/pattern.c"
#include "text/grammar/bounds.c"
#include "text/grammar/schema.c"
#include "text/grammar/terms.c"
#include "text/grammar/forms.c"
#include "text/grammar/parts.c"
#include "text/grammar/rules.c"
#include "text/grammar/layout.c"
HYB_COLD_END
#include "text/grammar/lexicon.c"
#include "text/grammar/match.c"
#include "text/grammar/letters.c"
#include "text/grammar/mask.c"
HYB_TEPID_BEGIN
#include "text/grammar/grammar.c"
#include "text/grammar/forced.c"
HYB_TEPID_END
#endif
#endif

/* compute */
#include "compute/ops.inc"
#include "compute/ops/batch.c"
#include "compute/ops/norms.c"
#include "compute/ops/products.c"
#include "compute/ops/heads.c"
#include "compute/ops/recurrent.c"
#include "compute/ops/experts.c"
#include "compute/ops/values.c"
#include "compute/ops/training.c"
#include "compute/ops/rssm.c"
#include "compute/op.c"
#include "compute/backend.c"
HYB_COLD_BEGIN
#include "compute/profile.c"
HYB_COLD_END
#include "compute/call.c"
#include "compute/slicer.c"
#include "compute/cpu/target.c"
#include "compute/cpu/trig.c"
#include "compute/cpu/kernels.c"
#include "compute/cpu/generic.c"
#include "compute/cpu/train_generic.c"
#include "compute/cpu/recurrent_back.c"
#include "compute/cpu/matmul_kernel.c"
#include "compute/cpu/int/unpack.c"
#include "compute/cpu/int/act.c"
#include "compute/cpu/int/generic.c"
#include "compute/cpu/int/avx512.c"
#include "compute/cpu/int/panel.c"
#include "compute/cpu/int/gemm.c"
#include "compute/cpu/int/amx.c"
#include "compute/cpu/int/avx2.c"
#include "compute/cpu/int/repack.c"
#include "compute/cpu/int/avx2_gemm.c"
#include "compute/cpu/int/neon.c"
#include "compute/cpu/int/select.c"
#include "compute/cpu/float.c"
#include "compute/cpu/x86.c"
#include "compute/cpu/arm.c"
#include "compute/cpu/select.c"
#include "compute/cpu/pace.c"
#include "compute/cpu/matmul.c"
#include "compute/cpu/experts.c"
#include "compute/cpu/job.c"
#include "compute/cpu/train.c"
#include "compute/cpu/experts_back.c"
#include "compute/cpu/orthogonal.c"
#include "compute/cpu/lowrank.c"
#include "compute/cpu/rssm/panel.c"
#include "compute/cpu/rssm/latent.c"
#include "compute/cpu/rssm/gru.c"
#include "compute/cpu/rssm/heads.c"
#include "compute/cpu/rssm/rollout.c"
#include "compute/cpu/rssm/rollout_back.c"
#include "compute/cpu/rssm/members.c"
#include "compute/cpu/backend.c"

/* model */
HYB_COLD_BEGIN
#include "model/arch.c"
#include "model/keys.c"
#include "model/hparams.c"
#include "model/weights.c"
#include "model/adapter.c"
HYB_COLD_END
#include "model/adapter_worn.c"
HYB_TEPID_BEGIN
#include "model/pass.c"
#include "model/back.c"
#include "model/parts/attention.c"
#include "model/parts/shortconv.c"
#include "model/parts/time_mix.c"
#include "model/parts/ffn.c"
#include "model/parts/experts_adapter.c"
#include "model/parts/experts.c"
#include "model/parts/channel_mix.c"
HYB_TEPID_END
HYB_COLD_BEGIN
#include "model/net.c"
#include "model/unused.c"
#include "model/rope.c"
HYB_COLD_END
HYB_TEPID_BEGIN
#include "model/forward.c"
#include "model/backward.c"
HYB_TEPID_END
HYB_COLD_BEGIN
#include "model/place.c"
#include "model/repack.c"
#include "model/model.c"
#include "model/adapter_make.c"
#include "model/adapter_file.c"
#include "model/identity.c"
HYB_COLD_END

/* infer */
#include "infer/weigh.c"
#include "infer/select.c"
#include "infer/spread.c"
#include "infer/repeats.c"
#include "infer/sampler.c"
HYB_TEPID_BEGIN
#include "infer/state.c"
#include "infer/worn.c"
#include "infer/gain.c"
#include "infer/context.c"
#include "infer/batch.c"
#include "infer/decode.c"
#include "infer/adapters.c"
#include "infer/archive.c"
#include "infer/saved.c"
#include "infer/seq_saved.c"
#include "infer/next.c"
#include "infer/texts.c"
#include "infer/score.c"
#include "infer/embed.c"
HYB_TEPID_END
#ifndef HYBRID_NO_TEXT
HYB_TEPID_BEGIN
#include "infer/lookup.c"
#include "infer/drafter.c"
#include "infer/stream.c"
#include "infer/stream/form.c"
#include "infer/stream/make.c"
#include "infer/stream/answer.c"
#include "infer/stream/piece.c"
#include "infer/speculate.c"
#include "infer/drafting.c"
#include "infer/streams.c"
HYB_TEPID_END
#endif
HYB_COLD_BEGIN
#include "infer/plan.c"
#ifndef HYBRID_NO_TEXT
#include "infer/prompt.c"
#include "infer/dialog.c"
#include "infer/session.c"
#include "infer/sampler_saved.c"
#include "infer/session_saved.c"
#include "infer/crowd.c"
#endif
HYB_COLD_END

/* train */
#ifndef HYBRID_NO_TRAIN
HYB_TEPID_BEGIN
#include "train/permute.c"
HYB_TEPID_END
#ifndef HYBRID_NO_TEXT
#include "train/budget.c"
#include "train/documents.c"
#include "train/words.c"
#include "train/bpe.c"
#include "train/bpe_trainer.c"
HYB_TEPID_BEGIN
#include "train/corpus.c"
#include "train/conversation.c"
#include "train/data.c"
HYB_TEPID_END
#endif
HYB_TEPID_BEGIN
#include "train/shape.c"
#include "train/schedule.c"
#include "train/store.c"
#include "train/rider.c"
#include "train/optimizer.c"
#include "train/format.c"
#include "train/objective.c"
#include "train/transformer.c"
#include "train/room.c"
#include "train/reduce.c"
#include "train/noise.c"
#include "train/own.c"
#include "train/trainer.c"
#include "train/step.c"
#include "train/lesson.c"
#include "train/learn.c"
#include "train/export.c"
#include "train/merge.c"
#include "train/checkpoint/layout.c"
#include "train/checkpoint/save.c"
#include "train/checkpoint/load.c"
#include "train/checkpoint.c"
HYB_TEPID_END
HYB_COLD_BEGIN
#include "train/curve.c"
#include "train/picture/frame.c"
#include "train/picture/curves.c"
#include "train/picture/predictor.c"
#include "train/picture.c"
HYB_COLD_END

/* predict */
#ifndef HYBRID_NO_PREDICT
HYB_COOL_BEGIN
#include "predict/walk.c"
HYB_COOL_END
#include "predict/trust.c"
#include "predict/member.c"
HYB_TEPID_BEGIN
#include "predict/replay.c"
#include "predict/world.c"
#include "predict/members.c"
#include "predict/world_device.c"
#include "predict/world_learn.c"
#include "predict/foresee.c"
HYB_TEPID_END
HYB_COOL_BEGIN
#include "predict/series.c"
#include "predict/features.c"
#include "predict/law.c"
#include "predict/calibration.c"
#include "predict/monitor.c"
#include "predict/arms.c"
#include "predict/bandit.c"
#include "predict/phase.c"
#include "predict/phases.c"
#include "predict/lowrank.c"
#include "predict/fit.c"
#include "predict/residuals.c"
#include "predict/corrector.c"
#include "predict/loss_corrector.c"
#include "predict/accumulator.c"
#include "predict/recovery.c"
#include "predict/health.c"
#include "predict/plateau.c"
#include "predict/horizons.c"
#include "predict/group_tuner.c"
#include "predict/ramp.c"
#include "predict/tuning.c"
#include "predict/variate.c"
#include "predict/settings.c"
#include "predict/named.c"
#include "predict/displacement.c"
#include "predict/remainder.c"
#include "predict/hindsight.c"
#include "predict/state.c"
#include "predict/partial.c"
#include "predict/mind.c"
#include "predict/moves.c"
#include "predict/steer.c"
#include "predict/audit.c"
#include "predict/mend.c"
#include "predict/upkeep.c"
#include "predict/loop.c"
#include "predict/predictor.c"
HYB_COOL_END
#endif
#endif

#include "core/end.h"
#endif
#endif
