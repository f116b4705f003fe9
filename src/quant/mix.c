/* quant/mix: which type each tensor of a model gets in a mix like Q4_K_M. The rules are llama.cpp's, so that files are
 * alike: most matrices in the type of the name, those that hurt most (output, attention values, the second matrix of
 * the feed-forward, first and last layers) in a better one, norms and the like as they are. */
#ifndef HYB_QUANT_MIX_C
#define HYB_QUANT_MIX_C
#include "../api/quant.h"
#include "../core/fpenv.c"

typedef struct hyb_mix_row {
    hybrid_mix mix;
    const char *name;
    hybrid_type type;
} hyb_mix_row;

static const hyb_mix_row *hyb_mix_rows(size_t *count)
{
    /* clang-format off */
    static const hyb_mix_row rows[] = {
        { HYBRID_MIX_F32, "F32", HYBRID_TYPE_F32 }, { HYBRID_MIX_F16, "F16", HYBRID_TYPE_F16 },
        { HYBRID_MIX_BF16, "BF16", HYBRID_TYPE_BF16 },
        { HYBRID_MIX_Q8_0, "Q8_0", HYBRID_TYPE_Q8_0 }, { HYBRID_MIX_Q6_K, "Q6_K", HYBRID_TYPE_Q6_K },
        { HYBRID_MIX_Q5_K_M, "Q5_K_M", HYBRID_TYPE_Q5_K }, { HYBRID_MIX_Q5_K_S, "Q5_K_S", HYBRID_TYPE_Q5_K },
        { HYBRID_MIX_Q5_1, "Q5_1", HYBRID_TYPE_Q5_1 }, { HYBRID_MIX_Q5_0, "Q5_0", HYBRID_TYPE_Q5_0 },
        { HYBRID_MIX_Q4_K_M, "Q4_K_M", HYBRID_TYPE_Q4_K }, { HYBRID_MIX_Q4_K_S, "Q4_K_S", HYBRID_TYPE_Q4_K },
        { HYBRID_MIX_Q4_1, "Q4_1", HYBRID_TYPE_Q4_1 }, { HYBRID_MIX_Q4_0, "Q4_0", HYBRID_TYPE_Q4_0 },
        { HYBRID_MIX_Q3_K_L, "Q3_K_L", HYBRID_TYPE_Q3_K }, { HYBRID_MIX_Q3_K_M, "Q3_K_M", HYBRID_TYPE_Q3_K },
        { HYBRID_MIX_Q3_K_S, "Q3_K_S", HYBRID_TYPE_Q3_K }, { HYBRID_MIX_Q2_K, "Q2_K", HYBRID_TYPE_Q2_K }
    };
    /* clang-format on */
    *count = HYB_COUNT(rows);
    return rows;
}

HYBRID_API const char *hybrid_mix_name(hybrid_mix mix)
{
    size_t n, i;
    const hyb_mix_row *rows = hyb_mix_rows(&n);
    for (i = 0; i < n; i++)
        if (rows[i].mix == mix) return rows[i].name;
    return NULL;
}

HYB_BORDER(bool, hybrid_mix_at, (size_t i, hybrid_mix *mix), (i, mix))
{
    size_t n;
    const hyb_mix_row *rows = hyb_mix_rows(&n);
    if (i >= n || !mix) return false;
    *mix = rows[i].mix;
    return true;
}

static bool hyb_same_letters(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if ((*a >= 'a' && *a <= 'z' ? *a - 32 : *a) != *b) return false;
    return !*a && !*b;
}

HYB_BORDER(bool, hybrid_mix_find, (const char *name, hybrid_mix *mix), (name, mix))
{
    size_t n, i;
    const hyb_mix_row *rows = hyb_mix_rows(&n);
    for (i = 0; name && i < n; i++)
        if (hyb_same_letters(name, rows[i].name)) {
            *mix = rows[i].mix;
            return true;
        }
    /* the short names of the usual ones */
    if (name && hyb_same_letters(name, "Q3_K")) return hybrid_mix_find("Q3_K_M", mix);
    if (name && hyb_same_letters(name, "Q4_K")) return hybrid_mix_find("Q4_K_M", mix);
    if (name && hyb_same_letters(name, "Q5_K")) return hybrid_mix_find("Q5_K_M", mix);
    return false;
}

/* Matrices whose name ends in "weight", but for those that are small, or looked up, or steer (norms, routers,
 * positions, recurrences). */
static bool hyb_mix_encodes(const char *name, int n_dims, const uint64_t *ne)
{
    static const char *const kept[] = {
        "_norm.weight", "ffn_gate_inp.weight", "ffn_gate_tid2eid.weight", "altup", "laurel", "per_layer_model_proj",
        "ssm_conv1d", "shortconv.conv.weight", "indexer.k_proj.weight", "indexer.q_proj.weight",
        "time_mix_first.weight", "time_mix_w0.weight", "time_mix_w1.weight", "time_mix_w2.weight", "time_mix_v0.weight",
        "time_mix_v1.weight", "time_mix_v2.weight", "time_mix_a0.weight", "time_mix_a1.weight", "time_mix_a2.weight",
        "time_mix_g1.weight", "time_mix_g2.weight", "time_mix_decay_w1.weight", "time_mix_decay_w2.weight",
        "time_mix_lerp_fused.weight", "attn_rel_b.weight", ".position_embd", ".rel_pos", ".patch_embd", ".patch_merger"
    };
    size_t length = strlen(name), i;
    int d, used = 1;
    for (d = 1; d < n_dims; d++)
        if (ne[d] > 1) used = d + 1;
    if (used < 2 || length < 6 || strcmp(name + length - 6, "weight")) return false;
    if (!strcmp(name, "position_embd.weight") || !strcmp(name, "token_types.weight")) return false;
    for (i = 0; i < HYB_COUNT(kept); i++)
        if (strstr(name, kept[i])) return false;
    return true;
}

/* The first and the last eighth of the layers, and every third between. */
static bool hyb_mix_more_bits(int layer, int n_layer)
{
    return layer < n_layer / 8 || layer >= 7 * n_layer / 8 || (layer - n_layer / 8) % 3 == 2;
}

/* How many layers before this one have attention. */
static int hyb_mix_attending(const hybrid_mix_model *m, int layer)
{
    int i, n = 0;
    if (!m->n_head_kv_of) return layer;
    for (i = 0; i < layer && i < m->n_layer; i++) n += m->n_head_kv_of[i] > 0;
    return n;
}

static hybrid_type hyb_mix_attention_value(hybrid_mix mix, const hybrid_mix_model *m, int layer, hybrid_type type)
{
    const int n_layer = hyb_mix_attending(m, m->n_layer), n_head_kv = m->n_head_kv_of ? *m->n_head_kv_of : m->n_head_kv;
    bool shared = n_head_kv > 0 && m->n_head / n_head_kv >= 4; /* few of them: more bits cost little */
    layer = hyb_mix_attending(m, layer);
    if (m->n_expert == 8) return HYBRID_TYPE_Q8_0;
    if (mix == HYBRID_MIX_Q2_K)
        type = shared ? HYBRID_TYPE_Q4_K : HYBRID_TYPE_Q3_K;
    else if (mix == HYBRID_MIX_Q3_K_M)
        type = layer < 2 ? HYBRID_TYPE_Q5_K : HYBRID_TYPE_Q4_K;
    else if (mix == HYBRID_MIX_Q3_K_L)
        type = HYBRID_TYPE_Q5_K;
    else if (mix == HYBRID_MIX_Q4_K_S && layer < 4)
        type = HYBRID_TYPE_Q5_K;
    else if ((mix == HYBRID_MIX_Q4_K_M || mix == HYBRID_MIX_Q5_K_M) && hyb_mix_more_bits(layer, n_layer))
        type = HYBRID_TYPE_Q6_K;
    if (m->n_layer == 80 && m->n_head != m->n_head_kv && m->architecture && !strcmp(m->architecture, "llama") &&
        (type == HYBRID_TYPE_Q3_K || type == HYBRID_TYPE_Q4_K))
        type = HYBRID_TYPE_Q5_K; /* the 70B ones */
    return type;
}

static hybrid_type hyb_mix_ffn_down(hybrid_mix mix, bool falcon, int layer, int n_layer, hybrid_type type)
{
    bool more = hyb_mix_more_bits(layer, n_layer);
    if (mix == HYBRID_MIX_Q2_K) return HYBRID_TYPE_Q3_K;
    if (mix == HYBRID_MIX_Q3_K_M)
        return layer < n_layer / 16 ? HYBRID_TYPE_Q5_K : !falcon || more ? HYBRID_TYPE_Q4_K : HYBRID_TYPE_Q3_K;
    if (mix == HYBRID_MIX_Q3_K_L) return falcon ? HYBRID_TYPE_Q4_K : HYBRID_TYPE_Q5_K;
    if (mix == HYBRID_MIX_Q4_K_M && falcon)
        return layer < n_layer / 16 ? HYBRID_TYPE_Q6_K : more ? HYBRID_TYPE_Q5_K : HYBRID_TYPE_Q4_K;
    if ((mix == HYBRID_MIX_Q4_K_M || mix == HYBRID_MIX_Q5_K_M) && more) return HYBRID_TYPE_Q6_K;
    if (mix == HYBRID_MIX_Q4_K_S && !falcon && layer < n_layer / 8) return HYBRID_TYPE_Q5_K;
    return type;
}

static hybrid_type hyb_mix_attention_output(hybrid_mix mix, bool falcon, int n_expert, hybrid_type type)
{
    if (falcon) return mix == HYBRID_MIX_Q3_K_L ? HYBRID_TYPE_Q4_K : type;
    if (n_expert == 8)
        return mix == HYBRID_MIX_Q2_K || mix == HYBRID_MIX_Q3_K_S || mix == HYBRID_MIX_Q3_K_M ||
                       mix == HYBRID_MIX_Q4_K_S || mix == HYBRID_MIX_Q4_K_M
                   ? HYBRID_TYPE_Q5_K
                   : type;
    return mix == HYBRID_MIX_Q2_K     ? HYBRID_TYPE_Q3_K
           : mix == HYBRID_MIX_Q3_K_M ? HYBRID_TYPE_Q4_K
           : mix == HYBRID_MIX_Q3_K_L ? HYBRID_TYPE_Q5_K
                                      : type;
}

/* A row that super-blocks do not divide gets the next better type of 32 values a block; one that 32 does not divide,
 * halves. */
static hybrid_type hyb_mix_fits(hybrid_type type, uint64_t row)
{
    if (row % hybrid_type_block_size(type)) {
        if (type == HYBRID_TYPE_Q2_K || type == HYBRID_TYPE_Q3_K)
            type = HYBRID_TYPE_Q4_0;
        else if (type == HYBRID_TYPE_Q4_K)
            type = HYBRID_TYPE_Q5_0;
        else if (type == HYBRID_TYPE_Q5_K)
            type = HYBRID_TYPE_Q5_1;
        else if (type == HYBRID_TYPE_Q6_K)
            type = HYBRID_TYPE_Q8_0;
    }
    return row % hybrid_type_block_size(type) ? HYBRID_TYPE_F16 : type;
}

static int hyb_mix_layer(const char *name)
{
    int layer = 0;
    if (strncmp(name, "blk.", 4)) return 0;
    for (name += 4; *name >= '0' && *name <= '9' && layer < 100000; name++) layer = layer * 10 + (*name - '0');
    return layer;
}

HYB_BORDER(hybrid_type, hybrid_quantize_type_for,
           (hybrid_mix mix, const hybrid_mix_model *model, const char *name, int32_t n_dims, const uint64_t *ne,
            hybrid_type now),
           (mix, model, name, n_dims, ne, now))
{
    size_t n, i;
    const hyb_mix_row *rows = hyb_mix_rows(&n);
    hybrid_type type;
    bool falcon, output;
    int layer;
    for (i = 0; i < n && rows[i].mix != mix; i++) {}
    if (i == n || !model || !name || !ne || !hyb_mix_encodes(name, n_dims, ne)) return now;
    type = rows[i].type;
    if (hybrid_type_block_size(type) == 1) return type;
    falcon = model->architecture && !strcmp(model->architecture, "falcon");
    output = !strcmp(name, "output.weight");
    layer = hyb_mix_layer(name);
    if (output || !strcmp(name, "token_embd.weight") || !strcmp(name, "per_layer_token_embd.weight")) {
        if (output || model->tied_output) { /* the matrix that makes the logits */
            if (falcon || ne[0] % hybrid_type_block_size(type))
                type = HYBRID_TYPE_Q8_0;
            else if (type != HYBRID_TYPE_Q8_0)
                type = HYBRID_TYPE_Q6_K;
        }
    } else if (strstr(name, "attn_v.weight") || strstr(name, "attn_qkv.weight") || strstr(name, "attn_kv_b.weight")) {
        type = hyb_mix_attention_value(mix, model, layer, type);
    } else if (strstr(name, "attn_k.weight")) {
        if (model->n_expert == 8) type = HYBRID_TYPE_Q8_0;
    } else if (strstr(name, "ffn_down")) {
        type = hyb_mix_ffn_down(mix, falcon, layer, model->n_layer, type);
    } else if (strstr(name, "attn_output.weight")) {
        type = hyb_mix_attention_output(mix, falcon, model->n_expert, type);
    }
    return hyb_mix_fits(type, ne[0]);
}
#endif
