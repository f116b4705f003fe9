/* Models against transformers: every layer, logits and greedy text of tiny models of all architectures
 * (tests/oracle/make_models.py), and decode against prefill, bit for bit; mixtures of experts also with quantized
 * matrices. */
#include "private.h"

#define TOLERANCE     1e-4
#define SAME(a, b, n) (!memcmp(a, b, (size_t)(n) * sizeof(float)))
#include "models.inc"
#include "rwkv_cpp.inc"

int main(void)
{
    check_all_models();
    check_quantized("mixtral", HYBRID_MIX_Q8_0, 4, 0.05);
    check_quantized("mixtral", HYBRID_MIX_Q4_0, 4, 0.5);
    check_quantized("qwen2moe", HYBRID_MIX_Q8_0, 5, 0.05);
    check_quantized("qwen3moe", HYBRID_MIX_Q8_0, 9, 0.05);
    check_quantized("rwkv7", HYBRID_MIX_F16, 0, 2e-3); /* and the narrow products, as llama.cpp's converter has them */
    check_quantized("rwkv7", HYBRID_MIX_Q8_0, 0, 0.05);
    check_quantized("lfm2", HYBRID_MIX_Q8_0, 0, 0.15);
    check_trained_rwkv();
    return test_end();
}
