/* predict/named: settings by name, for command lines and files: every field of hybrid_predict_desc, and every key of
 * the configurations of the ancestors (hybrid-predict-trainer-rs and its notes) under its name there, with what it
 * means here, or a sentence why it cannot be set. One table. */
#ifndef HYB_PREDICT_NAMED_C
#define HYB_PREDICT_NAMED_C
#include "../api/predict.h"
#include "../core/base.c"
#include "../core/decimal.c"
#include "../core/fpenv.c"
#include "series.c"
#include "settings.c"

typedef enum hyb_named_kind {
    HYB_NAMED_COUNT,  /* int32_t */
    HYB_NAMED_NUMBER, /* float */
    HYB_NAMED_SWITCH, /* bool */
    HYB_NAMED_SEED,   /* uint64_t */
    HYB_NAMED_PARTS,  /* HYBRID_TUNE_ bits */
    HYB_NAMED_MODE,
    HYB_NAMED_RULE,
    HYB_NAMED_PLACEBO,
    HYB_NAMED_FORMAT, /* of a phase */
    HYB_NAMED_NONE    /* cannot be set: the meaning says why */
} hyb_named_kind;

typedef struct hyb_named {
    const char *name;
    hyb_named_kind kind;
    size_t at; /* of the field; its name, as settings.c checks it: */
    const char *field;
    const char *meaning;
} hyb_named;

/* clang-format off */
#define HYB_NAMED(kind, field, name, meaning) \
    { name, HYB_NAMED_##kind, offsetof(hybrid_predict_desc, field), #field, meaning }
#define HYB_WHY(name, why) { name, HYB_NAMED_NONE, 0, "", why }
static const hyb_named hyb_named_all[] = {
    /* fields by their names */
    HYB_NAMED(MODE, mode, "mode", "auto, off, A, A2, B, C or D: how weights are moved"),
    HYB_NAMED(COUNT, warmup_steps, "warmup_steps", "true steps before the first prediction"),
    HYB_NAMED(COUNT, full_steps, "full_steps", "true steps after a jump of the rate, or after something went wrong"),
    HYB_NAMED(COUNT, window, "window", "true steps of a window"),
    HYB_NAMED(NUMBER, eta, "eta", "mode A: the step over windows; c_d is eta - 1"),
    HYB_NAMED(NUMBER, mu, "mu", "mode A: the momentum over windows; c_b is eta mu"),
    HYB_NAMED(NUMBER, gamma, "gamma", "of the slow mean of displacements, what stays after a window"),
    HYB_NAMED(NUMBER, beta, "beta", "mode A2: how far along the mean step"),
    HYB_NAMED(NUMBER, amplitude, "amplitude", "modes B and C: of what the mean displacement promises"),
    HYB_NAMED(COUNT, horizon, "horizon", "mode B: steps that a jump stands for; C: of a prediction"),
    HYB_NAMED(COUNT, correction_interval, "correction_interval", "mode C: one step in 2, 4 or 8 is a true one"),
    HYB_NAMED(COUNT, correct_steps, "correct_steps", "true steps after a move that count as Correct"),
    HYB_NAMED(NUMBER, predict_until, "predict_until", "modes B and C: part of the run after which there are none"),
    HYB_NAMED(NUMBER, fraction, "fraction", "mode D: of a step's batches, the part that goes back"),
    HYB_NAMED(NUMBER, trust, "trust", "a move is at most so many times as long as what the window did"),
    HYB_NAMED(NUMBER, sigma, "sigma", "deviations of its noise at which a loss is suspicious"),
    HYB_NAMED(NUMBER, explodes, "explodes", "a gradient so many times as long as usual is one that explodes"),
    HYB_NAMED(NUMBER, vanishes, "vanishes", "a gradient shorter than this part of the usual is one that vanishes"),
    HYB_NAMED(SWITCH, vectors, "vectors", "norms and biases are moved along as well"),
    HYB_NAMED(SWITCH, no_snapshot, "no_snapshot", "less memory, and nothing can go back"),
    HYB_NAMED(COUNT, members, "members", "world models of the ensemble; 0: none"),
    HYB_NAMED(SWITCH, learned, "learned", "coefficients are what the ensemble foretells"),
    HYB_NAMED(SWITCH, keep_last, "keep_last", "moves are judged by the very window before them"),
    HYB_NAMED(SWITCH, correct, "correct", "coefficients are corrected by recursive least squares"),
    HYB_NAMED(COUNT, residuals, "residuals", "windows whose residuals are kept, to correct similar ones"),
    HYB_NAMED(SWITCH, correct_loss, "correct_loss", "the expected loss is corrected by residuals"),
    HYB_NAMED(SWITCH, accumulate, "accumulate", "all that weights are moved by is added up"),
    HYB_NAMED(COUNT, compress_rank, "compress_rank", "rank of what is kept of a window besides; 0: none"),
    HYB_NAMED(COUNT, audit_every, "audit_every", "one move in so many is tried against none; 0: none is"),
    HYB_NAMED(COUNT, audit_steps, "audit_steps", "steps of each branch of an audit, a multiple of 4"),
    HYB_NAMED(NUMBER, audit_share, "audit_share", "part of all steps that audits may take"),
    HYB_NAMED(PLACEBO, placebo, "placebo", "none, random or mirror: directions that are worth nothing, for studies"),
    HYB_NAMED(SEED, seed, "seed", "of all that is drawn"),
    HYB_NAMED(RULE, rule, "rule", "auto, static or adaptive: what says when it is predicted"),
    HYB_NAMED(COUNT, max_predict_steps, "max_predict_steps", "rules static and adaptive: most steps of a prediction"),
    HYB_NAMED(COUNT, max_consecutive, "max_consecutive", "rules static and adaptive: predictions in a row"),
    HYB_NAMED(NUMBER, confidence_threshold, "confidence_threshold", "rules static and adaptive: the least confidence"),
    HYB_NAMED(PARTS, tune, "tune", "what looks on and recommends: health+groups+plateau+horizons+batches, all or none"),
    HYB_NAMED(PARTS, tune_acts, "tune_acts", "what of that is carried out"),
    HYB_NAMED(COUNT, most_batches, "most_batches", "batches of a step that tuning may ask for"),
    HYB_NAMED(SWITCH, formats, "formats", "each phase has a number format"),
    HYB_NAMED(FORMAT, phase_format[0], "warmup_precision", "f32, bf16 or f16: products of the warm-up; sets formats"),
    HYB_NAMED(FORMAT, phase_format[1], "full_precision", "the same of Full"),
    HYB_NAMED(FORMAT, phase_format[2], "predict_precision", "the same of true steps inside of Predict"),
    HYB_NAMED(FORMAT, phase_format[3], "correct_precision", "the same of Correct"),
    HYB_NAMED(SWITCH, park, "park", "on a GPU moments are in the host's memory while steps are predicted"),
    /* the ancestors' other names */
    HYB_NAMED(COUNT, max_consecutive, "max_consecutive_predicts", "max_consecutive"),
    HYB_NAMED(NUMBER, sigma, "divergence_threshold", "sigma"),
    HYB_NAMED(NUMBER, sigma, "divergence_sigma", "sigma"),
    HYB_NAMED(NUMBER, explodes, "gradient_explosion_multiplier", "explodes"),
    HYB_NAMED(NUMBER, vanishes, "gradient_vanishing_threshold", "vanishes"),
    HYB_NAMED(COUNT, members, "ensemble_size", "members"),
    HYB_NAMED(COUNT, correct_steps, "validation_samples", "correct_steps: they are true steps here"),
    HYB_NAMED(COUNT, residuals, "residual_store_size", "residuals"),
    HYB_NAMED(SWITCH, correct, "corrector", "correct"),
    HYB_NAMED(PARTS, tune, "auto_tuning", "tune; what is carried out is tune_acts"),
    HYB_NAMED(NUMBER, trust, "rho0", "trust"),
    HYB_NAMED(NUMBER, gamma, "gamma_s", "gamma"),
    HYB_NAMED(NUMBER, audit_share, "audit_frac", "audit_share"),
    HYB_NAMED(COUNT, audit_steps, "audit_len", "audit_steps"),
    HYB_NAMED(SWITCH, park, "optimizer_offload", "park; for good it is hybrid_trainer_desc.offload_optimizer"),
    HYB_NAMED(SWITCH, formats, "mixed_precision", "formats"),
    HYB_NAMED(SEED, seed, "predictor_seed", "seed"),
    /* what cannot be set, and why */
    HYB_WHY("fallback_loss", "the ancestor computed it and never used it; sigma says what is suspicious"),
    HYB_WHY("check_interval", "the monitor looks at every step, before it is taken: that costs nothing"),
    HYB_WHY("prediction_error_threshold", "errors are held against the band of 90 %, whose width is learnt"),
    HYB_WHY("oscillation_threshold", "turning points are held against those of noise: that has no threshold"),
    HYB_WHY("accuracy_threshold", "a prediction is judged by the window after it, not by one forward pass"),
    HYB_WHY("predictor", "there is one kind: an ensemble of recurrent state-space models, of `members`; 0: the law"),
    HYB_WHY("deterministic_dim", "the sizes of a world model are those that a run of some hundred windows can fill"),
    HYB_WHY("stochastic_dim", "the sizes of a world model are those that a run of some hundred windows can fill"),
    HYB_WHY("hidden_dim", "the sizes of a world model are those that a run of some hundred windows can fill"),
    HYB_WHY("latent_dim", "the sizes of a world model are those that a run of some hundred windows can fill"),
    HYB_WHY("num_categoricals", "the sizes of a world model are those that a run of some hundred windows can fill"),
    HYB_WHY("learning_rate", "that of the world models falls from 1e-3 to 3e-4; the run's is the trainer's"),
    HYB_WHY("bptt_steps", "world models learn through all 16 ticks of a piece of the run"),
    HYB_WHY("grad_clip", "the gradient of world models is clipped at 5; the run's is hybrid_trainer_desc.clip"),
    HYB_WHY("max_grad_norm", "it is hybrid_trainer_desc.clip"),
    HYB_WHY("predictor_memory_budget", "hybrid_predictor_plan says what it takes, below the trainer's max_bytes"),
    HYB_WHY("collect_metrics", "hybrid_predictor_metrics are always there: they cost nothing"),
    HYB_WHY("metrics_ring", "hybrid_curve keeps every step, and writes a line of JSON for each"),
    HYB_WHY("checkpoint_interval", "checkpoints are the caller's: hybrid_trainer_save, with all of the predictor"),
    HYB_WHY("checkpoint_keep", "checkpoints are the caller's: a name that is used again is replaced in one move"),
    HYB_WHY("checkpoint_include_predictor", "a checkpoint always has all of it: a run goes on with the same bits"),
    HYB_WHY("max_steps", "it is hybrid_trainer_desc.n_steps"),
    HYB_WHY("memory_profiler", "the plan is exact to the byte before anything is allocated: hybrid_trainer_plan"),
    HYB_WHY("activation_checkpointing", "it is hybrid_trainer_desc.recompute_every, the same in all phases"),
    HYB_WHY("checkpoint_phases", "layers are recomputed in every phase or in none; Predict has no activations"),
    HYB_WHY("offload_layers", "layers stay on the device; hybrid_trainer_desc.offload_optimizer moves the states"),
    HYB_WHY("prefetch", "what is offloaded travels through three buffers while the device computes"),
    HYB_WHY("offload_bandwidth", "copies are waited for, not timed"),
    HYB_WHY("restore_lookahead", "states come back when a true step begins, and its update waits for them"),
    HYB_WHY("drop_and_reinitialize", "dropping moments changes the optimization: they are parked, not dropped"),
    HYB_WHY("compress_in_place", "moments keep all their bits"),
    HYB_WHY("discard_activations", "a prediction makes no activations that could be dropped"),
    HYB_WHY("int8_predict", "predicted steps multiply nothing: an increment is added to fp32 weights"),
    HYB_WHY("gradient_accumulation", "it is hybrid_trainer_desc.n_batches; tune=batches says how many"),
    HYB_WHY("scale_lr", "a rate that is divided by the number of batches only trains AdamW as much slower"),
    HYB_WHY("normalize_gradients", "gradients are always the mean over all targets of a step"),
    HYB_WHY("num_similar", "ten similar residuals are asked, as many as the ancestor's default"),
    HYB_WHY("max_correction_factor", "corrections of the loss are at most a fifth of it, as the ancestor's default"),
    HYB_WHY("temporal_decay", "residuals count 0.95 as much after each hundred steps, as the ancestor's default"),
    HYB_WHY("residual_ema", "a running mean of residuals has no use here; their similarity decides"),
    HYB_NAMED(COUNT, compress_rank, "compression_rank", "compress_rank"),
    HYB_NAMED(COUNT, compress_rank, "rank", "compress_rank"),
    HYB_WHY("bandit_alpha", "arms are drawn by Thompson's rule from what is known of them: it has no such number"),
    HYB_WHY("bandit_epsilon", "arms are drawn by Thompson's rule from what is known of them: it has no such number"),
    HYB_WHY("bandit_lambda", "the prior of an arm is what its directions were worth to others"),
    HYB_WHY("block", "arms are chosen window by window, not in blocks of windows"),
    HYB_WHY("deterministic", "every run is: it has the same bits for all numbers of threads and instruction sets"),
    HYB_WHY("act", "it is tune_acts, part by part"),
    HYB_WHY("vram_warn", "a plan that does not fit is refused before the run, not cleaned up in it"),
    HYB_WHY("vram_cleanup", "a plan that does not fit is refused before the run, not cleaned up in it"),
    HYB_WHY("vram_critical", "a plan that does not fit is refused before the run, not cleaned up in it"),
    HYB_WHY("kfac", "no curvature is computed, so there is nothing to show the predictor of it")
};
/* clang-format on */

static const hyb_named *hyb_named_find(const char *name)
{
    size_t i;
    for (i = 0; i < HYB_COUNT(hyb_named_all); i++)
        if (!strcmp(hyb_named_all[i].name, name)) return &hyb_named_all[i];
    return NULL;
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

/* The number of a word in a list; -1: it is not there. */
static int hyb_named_word(const char *value, const char *const *words, int n)
{
    int i;
    for (i = 0; i < n; i++)
        if (!strcmp(value, words[i])) return i;
    return -1;
}

static bool hyb_named_number(const char *value, double *x)
{
    const size_t n = strlen(value);
    return n && hyb_decimal_read(value, value + n, x) == n && hyb_is_finite(*x);
}

/* "health+groups", "all", "none". */
static bool hyb_named_parts(const char *value, uint32_t *parts)
{
    static const char *const words[] = { "health", "groups", "plateau", "horizons", "batches", "all", "none" };
    const char *end;
    *parts = 0;
    for (;; value = end + 1) {
        char word[12];
        size_t n;
        int i;
        for (end = value; *end && *end != '+'; end++) {}
        n = (size_t)(end - value);
        if (n >= sizeof word) return false;
        memcpy(word, value, n);
        word[n] = 0;
        if ((i = hyb_named_word(word, words, (int)HYB_COUNT(words))) < 0) return false;
        *parts |= i < 5 ? 1u << i : i == 5 ? (uint32_t)HYBRID_TUNE_ALL : 0;
        if (!*end) return true;
    }
}

/* What a value of that kind looks like, for the sentence of one that does not. */
static const char *hyb_named_kind_text(hyb_named_kind kind)
{
    static const char *const texts[] = { "a whole number",
                                         "a number",
                                         "0 or 1",
                                         "a whole number, at least 0",
                                         "health, groups, plateau, horizons, batches, joined by +, or all, or none",
                                         "auto, off, A, A2, B, C or D",
                                         "auto, static or adaptive",
                                         "none, random or mirror",
                                         "f32, bf16 or f16" };
    return texts[kind];
}

static bool hyb_named_choice(hyb_named_kind kind, const char *value, void *field)
{
    static const char *const modes[] = { "auto", "off", "A", "A2", "B", "C", "D" };
    static const char *const rules[] = { "auto", "static", "adaptive" };
    static const char *const placebos[] = { "none", "random", "mirror" };
    static const char *const formats[] = { "f32", "bf16", "f16" };
    static const hybrid_type types[] = { HYBRID_TYPE_F32, HYBRID_TYPE_BF16, HYBRID_TYPE_F16 };
    int i = -1;
    if (kind == HYB_NAMED_MODE && (i = hyb_named_word(value, modes, 7)) >= 0)
        *(hybrid_predict_mode *)field = (hybrid_predict_mode)i;
    if (kind == HYB_NAMED_RULE && (i = hyb_named_word(value, rules, 3)) >= 0)
        *(hybrid_predict_rule *)field = (hybrid_predict_rule)i;
    if (kind == HYB_NAMED_PLACEBO && (i = hyb_named_word(value, placebos, 3)) >= 0)
        *(hybrid_placebo *)field = (hybrid_placebo)i;
    if (kind == HYB_NAMED_FORMAT && (i = hyb_named_word(value, formats, 3)) >= 0) *(hybrid_type *)field = types[i];
    return i >= 0;
}

/* Takes a value; false: it is not of that kind. */
static bool hyb_named_take(hyb_named_kind kind, const char *value, void *field)
{
    double x = 0;
    uint32_t parts;
    const bool number = hyb_named_number(value, &x), whole = number && x == floor(x);
    switch (kind) {
    case HYB_NAMED_COUNT:
        if (!whole || fabs(x) > 2147483647.0) return false;
        *(int32_t *)field = (int32_t)x;
        return true;
    case HYB_NAMED_NUMBER:
        if (!number || fabs(x) > 1e30) return false;
        *(float *)field = (float)x;
        return true;
    case HYB_NAMED_SWITCH:
        if (!whole || (x != 0 && x != 1)) return false;
        *(bool *)field = x == 1;
        return true;
    case HYB_NAMED_SEED:
        if (!whole || x < 0 || x > 9007199254740992.0) return false;
        *(uint64_t *)field = (uint64_t)x;
        return true;
    case HYB_NAMED_PARTS:
        if (!hyb_named_parts(value, &parts)) return false;
        *(uint32_t *)field = parts;
        return true;
    case HYB_NAMED_NONE: return false;
    default: return hyb_named_choice(kind, value, field);
    }
}

/* Sets a field. When it fails nothing is changed. */
static hybrid_result hyb_named_set(hybrid_predict_desc *d, const char *name, const char *value, const char *function,
                                 hybrid_error *error)
{
    const hyb_named *key = hyb_named_find(name);
    hybrid_predict_desc next = *d, used;
    hybrid_result r;
    if (!key)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: there is no setting '%.60s': hybrid_predict_key lists them",
                        function, name);
    if (key->kind == HYB_NAMED_NONE)
        return hyb_fail(error, HYBRID_ERROR_UNSUPPORTED, "%s: '%s' cannot be set: %s", function, name, key->meaning);
    if (!hyb_named_take(key->kind, value, (char *)&next + key->at))
        return hyb_fail(error, HYBRID_ERROR_INVALID, "%s: '%s' takes %s, not '%.60s'", function, name,
                        hyb_named_kind_text(key->kind), value);
    if (key->kind == HYB_NAMED_FORMAT) next.formats = true;
    used = next;
    hyb_predict_defaults(&used);
    if ((r = hyb_predict_check_rows(&used, key->field, function, error)) != HYBRID_OK) return r;
    *d = next;
    return HYBRID_OK;
}

/* ---- presets ----------------------------------------------------------------------------------------------------- */

/* clang-format off */
/* Keys and values of each, and what it is for. The ancestors' three have their numbers, and their rule. */
static const char *const hyb_presets[][3] = {
    { "default", "", "mode auto: as much of mode A as hindsight says that it is worth" },
    { "watch", "mode=off members=5 tune=all", "nothing is moved; everything that looks on does" },
    { "conservative",
      "mode=C rule=static warmup_steps=200 full_steps=30 max_predict_steps=25 confidence_threshold=0.9 sigma=2.2",
      "the ancestors' of this name" },
    { "balanced",
      "mode=C rule=static warmup_steps=100 full_steps=20 max_predict_steps=40 confidence_threshold=0.85 sigma=2.5",
      "the ancestors' of this name" },
    { "aggressive",
      "mode=C rule=static warmup_steps=50 full_steps=15 max_predict_steps=80 confidence_threshold=0.75 sigma=3.5",
      "the ancestors' of this name" },
    { "micro_correction", "mode=C horizon=64 correction_interval=8 confidence_threshold=0.6",
      "the ancestors', whose 75 steps with a correction each 15 are 64 and 8 here: corrections are true steps" },
    { "learned", "members=5 learned=1 correct=1 residuals=1000 correct_loss=1", "auto, with all that is learnt" },
    { "memory", "no_snapshot=1", "the least memory: nothing can go back" }
};
/* clang-format on */

/* Sets "key=value key=value". */
static hybrid_result hyb_preset_take(const char *text, hybrid_predict_desc *d, hybrid_error *error)
{
    char word[2][40];
    hybrid_result r = HYBRID_OK;
    while (*text && !r) {
        int i;
        for (i = 0; i < 2; i++) {
            const size_t n = strcspn(text, i ? " " : "=");
            memcpy(word[i], text, HYB_MIN(n, sizeof word[i] - 1));
            word[i][HYB_MIN(n, sizeof word[i] - 1)] = 0;
            text += n + (text[n] != 0);
        }
        r = hyb_named_set(d, word[0], word[1], "hybrid_predict_preset", error);
    }
    return r;
}

/* ---- the public calls -------------------------------------------------------------------------------------------- */

HYB_BORDER(hybrid_result, hybrid_predict_set,
           (hybrid_predict_desc *desc, const char *key, const char *value, hybrid_error *error),
           (desc, key, value, error))
{
    if (!desc || !key || !value)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_predict_set: %s is NULL",
                        !desc  ? "desc"
                        : !key ? "key"
                               : "value");
    return hyb_named_set(desc, key, value, "hybrid_predict_set", error);
}

HYB_BORDER(hybrid_result, hybrid_predict_preset, (const char *name, hybrid_predict_desc *desc, hybrid_error *error),
           (name, desc, error))
{
    hybrid_predict_desc d;
    hybrid_result r;
    size_t i;
    if (!desc || !name)
        return hyb_fail(error, HYBRID_ERROR_INVALID, "hybrid_predict_preset: %s is NULL", name ? "desc" : "name");
    for (i = 0; i < HYB_COUNT(hyb_presets) && strcmp(hyb_presets[i][0], name) != 0; i++) {}
    if (i == HYB_COUNT(hyb_presets))
        return hyb_fail(error, HYBRID_ERROR_INVALID,
                        "hybrid_predict_preset: there is no preset '%.60s': hybrid_predict_preset_name lists them",
                        name);
    memset(&d, 0, sizeof d);
    d.trainer = desc->trainer;
    d.seed = desc->seed;
    d.mark = desc->mark;
    d.go_back = desc->go_back;
    d.user = desc->user;
    if ((r = hyb_preset_take(hyb_presets[i][1], &d, error)) != HYBRID_OK) return r;
    *desc = d;
    return HYBRID_OK;
}

HYB_BORDER(const char *, hybrid_predict_key, (size_t i, bool *can_be_set, const char **meaning),
           (i, can_be_set, meaning))
{
    const hyb_named *key = i < HYB_COUNT(hyb_named_all) ? &hyb_named_all[i] : NULL;
    if (can_be_set) *can_be_set = key && key->kind != HYB_NAMED_NONE;
    if (meaning) *meaning = key ? key->meaning : "";
    return key ? key->name : NULL;
}

HYB_BORDER(const char *, hybrid_predict_preset_name, (size_t i, const char **meaning), (i, meaning))
{
    const bool is = i < HYB_COUNT(hyb_presets);
    if (meaning) *meaning = is ? hyb_presets[i][2] : "";
    return is ? hyb_presets[i][0] : NULL;
}
#endif
