/* model/rope: the cosines and sines that a batch of positions needs, once for all layers and heads.
 *
 * angle(pos, i) = pos * inv_freq[i], inv_freq[i] = base^(-2i / n_rot), stretched by one of:
 *   divisors   a tensor of factors (Llama 3's rope_freqs, longrope's short or long factors)
 *   linear     all frequencies divided by the factor
 *   YaRN       (Peng et al. 2023) a ramp between the two, by how often a frequency turns in the original context
 * Sources: Su et al. 2021 (RoPE); transformers' modeling_rope_utils for the exact formulas. */
#ifndef HYB_MODEL_ROPE_C
#define HYB_MODEL_ROPE_C
#include "pass.c"

/* Dimension (a real number) whose frequency turns `turns` times in the original context. */
static double hyb_yarn_dim(const hyb_hparams *hp, double base, double turns)
{
    return hp->n_rot * log(hp->n_ctx_orig / (turns * 6.283185307179586)) / (2 * log(base));
}

/* Fills inv_freq (n_rot / 2). n_ctx decides between longrope's two sets. Returns the factor for cos and sin. */
static float hyb_rope_frequencies(const hyb_hparams *hp, const hyb_net *net, const hyb_tensor *tensors, bool local,
                                  int32_t n_ctx, double *inv_freq)
{
    const double base = local ? hp->rope_base_local : hp->rope_base;
    const bool stretched = !(local && hp->arch->local_rope_base != 0); /* a base of its own: not stretched */
    const float *divisors = (const float *)tensors[net->rope_freqs].data;
    double lo = 0, hi = 0;
    int i, half = hp->n_rot / 2;
    if (hp->rope_scaling == HYB_SCALING_LONGROPE)
        divisors = (const float *)(tensors[n_ctx > hp->n_ctx_orig ? net->rope_long : net->rope_short].data);
    if (hp->rope_scaling == HYB_SCALING_YARN) {
        lo = HYB_MAX(floor(hyb_yarn_dim(hp, base, hp->yarn_beta_fast)), 0);
        hi = HYB_MIN(ceil(hyb_yarn_dim(hp, base, hp->yarn_beta_slow)), hp->n_rot - 1);
        if (hi <= lo) hi = lo + 0.001;
    }
    for (i = 0; i < half; i++) {
        double f = pow(base, -2.0 * i / hp->n_rot);
        if (stretched && divisors) f /= hyb_load_f32(divisors + i);
        if (stretched && hp->rope_scaling == HYB_SCALING_LINEAR) f /= hp->rope_factor;
        if (stretched && hp->rope_scaling == HYB_SCALING_YARN) {
            double ramp = HYB_MIN(HYB_MAX((i - lo) / (hi - lo), 0), 1); /* 0: keep, 1: stretch */
            f = f * (1 - ramp) + f / hp->rope_factor * ramp;
        }
        inv_freq[i] = f;
    }
    if (stretched && hp->rope_scaling == HYB_SCALING_YARN)
        return hp->rope_attn_factor * (float)(0.1 * log(hp->rope_factor) + 1);
    return hp->rope_attn_factor;
}
#endif
