/* compute/cpu/rssm/latent: the random part of a member's state: 4 choices of one among 8 (Hafner et al. 2021, 2023).
 *
 *     soft = softmax(logits) of each choice;  p = 0.99 soft + 0.01 / 8: no class is ever impossible
 *     z    = a sample of each, as 0 and 1;    its gradient is taken for that of p ("straight through")
 *     KL   = sum over the choices of q ln(q / p), in nats
 *
 * A latent is one column of 32 rows of a panel. Sums go class after class. */
#ifndef HYB_COMPUTE_CPU_RSSM_LATENT_C
#define HYB_COMPUTE_CPU_RSSM_LATENT_C
#include "panel.c"

#ifndef HYBRID_NO_TRAIN

    #define HYB_LATENT_MIX 0.01f

/* soft holds logits, and becomes their softmax; p: mixed. */
static void hyb_latent_chances(float *soft, float *p)
{
    const int64_t row = HYB_PANEL_ROW;
    int g, i;
    for (g = 0; g < HYB_LATENT_CHOICES; g++, soft += HYB_LATENT_CLASSES * row, p += HYB_LATENT_CLASSES * row) {
        float most = soft[0], sum = 0;
        for (i = 1; i < HYB_LATENT_CLASSES; i++) most = HYB_MAX(most, soft[i * row]);
        for (i = 0; i < HYB_LATENT_CLASSES; i++) {
            soft[i * row] = hyb_exp_scalar(soft[i * row] - most);
            sum += soft[i * row];
        }
        for (i = 0; i < HYB_LATENT_CLASSES; i++) {
            soft[i * row] = soft[i * row] / sum;
            p[i * row] = (1.0f - HYB_LATENT_MIX) * soft[i * row] + HYB_LATENT_MIX / HYB_LATENT_CLASSES;
        }
    }
}

/* random: 32 bits for each choice. */
static void hyb_latent_sample(const float *p, const uint32_t random[HYB_LATENT_CHOICES], float *z)
{
    const int64_t row = HYB_PANEL_ROW;
    int g, i;
    for (g = 0; g < HYB_LATENT_CHOICES; g++, p += HYB_LATENT_CLASSES * row, z += HYB_LATENT_CLASSES * row) {
        const double u = random[g] / 4294967296.0;
        double below = 0;
        int chosen = HYB_LATENT_CLASSES - 1;
        for (i = HYB_LATENT_CLASSES - 1; i >= 0; i--) z[i * row] = 0;
        for (i = 0; i < chosen; i++)
            if (u < (below += p[i * row])) chosen = i;
        z[chosen * row] = 1;
    }
}

/* KL(q || p); logs: ln(q / p) of each class, for its gradients. */
static double hyb_latent_kl(const float *q, const float *p, float logs[HYB_LATENT])
{
    double sum = 0;
    int i;
    for (i = 0; i < HYB_LATENT; i++) {
        const float a = q[i * HYB_PANEL_ROW], b = p[i * HYB_PANEL_ROW];
        logs[i] = (float)(hyb_plain_log(a) - hyb_plain_log(b));
        sum += (double)a * logs[i];
    }
    return sum;
}

/* d, the gradient of p, becomes that of the logits. */
static void hyb_latent_back(const float *soft, float *d)
{
    const int64_t row = HYB_PANEL_ROW;
    int g, i;
    for (g = 0; g < HYB_LATENT_CHOICES; g++, soft += HYB_LATENT_CLASSES * row, d += HYB_LATENT_CLASSES * row) {
        float mean = 0;
        for (i = 0; i < HYB_LATENT_CLASSES; i++) mean += soft[i * row] * d[i * row];
        for (i = 0; i < HYB_LATENT_CLASSES; i++)
            d[i * row] = (1.0f - HYB_LATENT_MIX) * (soft[i * row] * (d[i * row] - mean));
    }
}
#endif
#endif
