#!/usr/bin/env python3
"""Reference models: a tiny random one of every architecture, as GGUF, with what transformers computes for it.

    python tests/oracle/make_models.py [NAME...]      needs torch, transformers, gguf; llama-cpp-python for --check
    python tests/oracle/make_models.py --check        compares every file with llama.cpp (f32 KV cache) and writes
    CROSSCHECK.md python tests/oracle/make_models.py --list

For each NAME two files in tests/oracle/data/models:
  NAME.gguf      the model (F32), with the keys and tensors that llama.cpp's converter writes
  NAME.ref.gguf  what the Hugging Face implementation gives in float32 with eager attention; tensors, all
                 F32, ne[0] first:
      ref.ids         (n_tokens)             the input ids, as floats
      ref.embd        (n_embd, n_tokens)     what goes into layer 0 (Gemma: after the scale; GPT-2: token + position)
      ref.layer.N     (n_embd, n_tokens)     the residual stream after layer N
      ref.norm        (n_embd, n_tokens)     after the final norm
      ref.logits      (n_vocab, n_tokens)    of every position
      ref.greedy      (24)                   the greedy continuation, each step computed from nothing (no cache)
      ref.greedy_gap  (24)                   best minus second-best logit of each step: how near a tie it is
All NAMEs have at least 40 input tokens and end at position 64, so windows (12-16), pages of 32 and, where there is one,
the original context of the RoPE scaling are crossed.

Where transformers and llama.cpp differ, the reference is transformers. CROSSCHECK.md names those cases.
"""
import argparse
import math
import os
import sys
import zlib

import gguf
import numpy as np

from tiny_tokenizers import N_VOCAB, TOKENIZERS

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "models")
N_TOKENS, N_GREEDY, N_CTX = 40, 24, 128

# name: transformers class prefix, GGUF architecture, tokenizer, configuration. The common part is in config_of().
BIG = dict(hidden_size=64, intermediate_size=64, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2)
SMALL = dict(hidden_size=32, intermediate_size=48, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=3)
LONG, SHORT = [1.0, 1.3, 2.0, 3.1, 5.0, 7.5, 11.0, 16.0], [1.0, 1.0, 1.05, 1.1, 1.2, 1.3, 1.5, 1.7]
LFM2_LAYERS = ["conv", "conv", "full_attention", "conv", "full_attention", "conv"]
PHI3 = dict(SMALL, num_key_value_heads=2, num_hidden_layers=2, tie_word_embeddings=False,
            pad_token_id=0, rms_norm_eps=1e-5)


def longrope(original, factor):
    return dict(max_position_embeddings=original * factor, original_max_position_embeddings=original,
                sliding_window=None,
                rope_parameters=dict(rope_type="longrope", rope_theta=1e4, long_factor=LONG, short_factor=SHORT,
                                     original_max_position_embeddings=original))


MODELS = {
    "gpt2": ("GPT2", "gpt2", "gpt2", dict(n_embd=32, n_head=2, n_layer=3, n_positions=N_CTX // 2, n_inner=None)),
    "llama": ("Llama", "llama", "llama2", dict(BIG, tie_word_embeddings=False)),
    "llama-biases": ("Llama", "llama", "llama2",
                     dict(SMALL, num_hidden_layers=2, tie_word_embeddings=False, attention_bias=True, mlp_bias=True)),
    "llama-rope-freqs": ("Llama", "llama", "llama3", dict(
        BIG, hidden_size=48, head_dim=16, num_attention_heads=3, num_key_value_heads=1, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=1e4, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                             original_max_position_embeddings=64))),
    "llama-rope-linear": ("Llama", "llama", "llama2", dict(
        SMALL, tie_word_embeddings=False, rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=4.0))),
    "smollm": ("Llama", "llama", "smollm", dict(
        SMALL, hidden_size=48, num_attention_heads=3, num_hidden_layers=2, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1e5))),
    "mistral": ("Mistral", "llama", "llama2", dict(SMALL, tie_word_embeddings=False, sliding_window=16)),
    "qwen2": ("Qwen2", "qwen2", "qwen2", dict(
        BIG, tie_word_embeddings=True, rms_norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "qwen2-untied": ("Qwen2", "qwen2", "qwen2", dict(
        SMALL, tie_word_embeddings=False, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1e4))),
    "qwen3": ("Qwen3", "qwen3", "qwen2", dict(
        SMALL, head_dim=24, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2,
        tie_word_embeddings=True, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "mixtral": ("Mixtral", "llama", "llama2", dict(
        SMALL, intermediate_size=32, num_hidden_layers=2, num_local_experts=4, num_experts_per_tok=2,
        tie_word_embeddings=False)),
    "qwen2moe": ("Qwen2Moe", "qwen2moe", "qwen2", dict(
        SMALL, num_hidden_layers=3, num_experts=5, num_experts_per_tok=3, moe_intermediate_size=16,
        shared_expert_intermediate_size=24, norm_topk_prob=False,
        tie_word_embeddings=False, rms_norm_eps=1e-6)),
    "qwen3moe": ("Qwen3Moe", "qwen3moe", "qwen2", dict(
        SMALL, head_dim=24, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, num_experts=9,
        num_experts_per_tok=4, moe_intermediate_size=20,
        norm_topk_prob=True, tie_word_embeddings=True, rms_norm_eps=1e-6,
        rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "gemma2": ("Gemma2", "gemma2", "gemma", dict(
        SMALL, head_dim=16, num_hidden_layers=4, query_pre_attn_scalar=16, sliding_window=12,
        attn_logit_softcapping=5.0,
        final_logit_softcapping=6.0, rms_norm_eps=1e-6, tie_word_embeddings=True)),
    "gemma3": ("Gemma3", "gemma3", "gemma", dict(
        SMALL, head_dim=24, intermediate_size=32, num_hidden_layers=7, query_pre_attn_scalar=24, sliding_window=12,
        rms_norm_eps=1e-6, tie_word_embeddings=True,
        rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=1e4),
                             full_attention=dict(rope_type="default", rope_theta=1e6)))),
    "gemma3-rope-linear": ("Gemma3", "gemma3", "gemma", dict(
        SMALL, head_dim=16, intermediate_size=32, num_hidden_layers=6, query_pre_attn_scalar=16, sliding_window=12,
        rms_norm_eps=1e-6,
        tie_word_embeddings=True, rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=1e4),
                                                       full_attention=dict(rope_type="linear", rope_theta=1e6,
                                                                           factor=8.0)))),
    "lfm2": ("Lfm2", "lfm2", "lfm2", dict(
        SMALL, num_hidden_layers=6, layer_types=LFM2_LAYERS, conv_L_cache=3, block_auto_adjust_ff_dim=False,
        tie_word_embeddings=True, rope_parameters=dict(rope_type="default", rope_theta=1e6))),
    "lfm2-conv": ("Lfm2", "lfm2", "lfm2", dict(
        SMALL, num_hidden_layers=3, layer_types=["full_attention", "conv", "conv"], conv_L_cache=5,
        block_auto_adjust_ff_dim=False,
        tie_word_embeddings=False, norm_eps=1e-6, rope_parameters=dict(rope_type="default", rope_theta=1e4))),
    "phi3": ("Phi3", "phi3", "phi3", dict(PHI3, sliding_window=None)),
    "phi3-window": ("Phi3", "phi3", "phi3", dict(PHI3, sliding_window=12)),
    "phi3-longrope": ("Phi3", "phi3", "phi3", dict(PHI3, **longrope(32, 4))),
    "phi3-shortrope": ("Phi3", "phi3", "phi3", dict(PHI3, **longrope(4096, 4))),
}
# Seeds are chosen so that no greedy step is near a tie (least gap > 0.04) and the text is not one token repeated.
SEEDS = {
    "gpt2": 344, "llama": 1, "llama-biases": 5, "llama-rope-freqs": 4, "llama-rope-linear": 6, "smollm": 6,
    "mistral": 13, "qwen2": 7,
    "qwen2-untied": 5, "qwen3": 6, "gemma3": 1, "gemma3-rope-linear": 9, "phi3": 3, "phi3-window": 5,
    "phi3-longrope": 7,
    "phi3-shortrope": 1, "lfm2": 2, "lfm2-conv": 6, "gemma2": 8, "mixtral": 4, "qwen2moe": 1, "qwen3moe": 2,
}


# ---------------------------------------------------------------- the Hugging Face side
def make_model(name):
    import torch
    import transformers
    family, _, _, extra = MODELS[name]
    common = dict(vocab_size=N_VOCAB, bos_token_id=1, eos_token_id=2)
    if family != "GPT2":
        common.update(max_position_embeddings=N_CTX, hidden_act="silu", rms_norm_eps=1e-5,
                      rope_parameters=dict(rope_type="default", rope_theta=1e4))
    if family in ("Gemma2", "Gemma3", "Lfm2"):
        del common["hidden_act"]
    if family == "Lfm2":
        common["norm_eps"] = common.pop("rms_norm_eps")
    config = getattr(transformers, family + ("TextConfig" if family == "Gemma3" else "Config"))(**dict(common, **extra))
    cls = getattr(transformers, dict(GPT2="GPT2LMHeadModel").get(family, family + "ForCausalLM"))
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = cls(config).float().eval()
    fill(model, family, config, SEEDS.get(name, 1))
    return model


def fill(model, family, config, seed):
    """Weights large enough that attention is sharp (scores of standard deviation about 2) and logits have about 2."""
    import torch
    tied = model.get_input_embeddings().weight.data_ptr() == model.get_output_embeddings().weight.data_ptr()
    n_embd = config.hidden_size
    for name, p in model.named_parameters():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        x = rng.standard_normal(tuple(p.shape)).astype(np.float32)
        if p.ndim == 1:
            if "norm" in name or ".ln_" in name:
                final = tied and (name.endswith(("model.norm.weight", "embedding_norm.weight")) or ".ln_f." in name)
                gain = 1.3 if any(q in name for q in ("q_norm", "k_norm", "q_layernorm",
                                                      "k_layernorm")) else 4.0 if final else 1.0
                x = x * 0.2 + (gain if name.endswith("weight") else 0.0) - (1.0 if family.startswith("Gemma") else 0.0)
            else:
                x = x * 0.3
        elif any(s in name for s in ("embed_tokens", "wte", "lm_head")):
            # a tied embedding is small, its final norm large: else every token predicts itself
            x = x * (0.5 / math.sqrt(n_embd) if tied else 2.0 / math.sqrt(n_embd) if "lm_head" in name else 1.0)
        elif "wpe" in name:
            x = x * (0.3 / math.sqrt(n_embd))
        else:
            fan_in = p.shape[0] if family == "GPT2" else p.shape[-1]
            gain = 1.4 if any(s in name for s in ("q_proj", "k_proj", "qkv_proj", "c_attn")) else 1.0
            # the choice of experts is clear, but not one-sided
            gain = 1.5 if name.endswith(("mlp.gate.weight", "shared_expert_gate.weight")) else gain
            x = x * (gain / math.sqrt(fan_in))
        p.data.copy_(torch.from_numpy(x.astype(np.float32)))


def run(model, ids):
    """Every intermediate tensor of one forward pass over ids, without a cache."""
    import torch
    inner = model.get_decoder() if not hasattr(model, "transformer") else model.transformer
    layers = inner.h if hasattr(inner, "h") else inner.layers
    norm = next(getattr(inner, n) for n in ("ln_f", "embedding_norm", "norm") if hasattr(inner, n))
    kept, hooks = {}, []

    def first(x):
        return x[0] if isinstance(x, tuple) else x

    def keep(key):
        return lambda module, inputs, output: kept.__setitem__(key, first(output)[0].detach().numpy().copy())

    def keep_input(module, args, kwargs):
        kept["embd"] = (args[0] if args else kwargs["hidden_states"])[0].detach().numpy().copy()
    hooks.append(layers[0].register_forward_pre_hook(keep_input, with_kwargs=True))
    for i, layer in enumerate(layers):
        hooks.append(layer.register_forward_hook(keep("layer.%d" % i)))
    hooks.append(norm.register_forward_hook(keep("norm")))
    with torch.no_grad():
        kept["logits"] = model(torch.tensor([ids]), use_cache=False).logits[0].numpy().copy()
    for h in hooks:
        h.remove()
    return kept


def reference(model, ids):
    out = run(model, ids)
    more, greedy, gaps = list(ids), [], []
    for _ in range(N_GREEDY):
        last = run(model, more)["logits"][-1]
        a, b = np.argsort(last, kind="stable")[::-1][:2]
        greedy.append(int(a))
        gaps.append(float(last[a] - last[b]))
        more.append(int(a))
    out.update(ids=np.array(ids), greedy=np.array(greedy), greedy_gap=np.array(gaps))
    return out


def input_ids(name, n=N_TOKENS):
    rng = np.random.default_rng([7, zlib.crc32(name.encode())])
    return [1] + [int(x) for x in rng.integers(4, N_VOCAB - 8, n - 1)]


# ---------------------------------------------------------------- the GGUF side
def rope_permute(w, n_head):
    """llama.cpp's llama rotates the pairs (2i, 2i+1), transformers (i, i + d/2): the rows of every head of q and k
    change places."""
    d = w.shape[0] // n_head
    order = np.stack([np.arange(d // 2), np.arange(d // 2) + d // 2], axis=1).ravel()
    return w.reshape(n_head, d, -1)[:, order].reshape(w.shape)


def llama3_rope_freqs(head_dim, rope):
    """What each frequency is divided by (Llama 3.1 and later): 1 for short waves, the factor for long ones, in between
    a blend of 1/x."""
    wave = 2 * np.pi * rope["rope_theta"] ** (np.arange(0, head_dim, 2) / head_dim)
    turns = rope["original_max_position_embeddings"] / wave
    blend = (turns - rope["low_freq_factor"]) / (rope["high_freq_factor"] - rope["low_freq_factor"])
    blend = np.clip(blend, 0, 1)
    return (1 / ((1 - blend) / rope["factor"] + blend)).astype(np.float32)


def write_keys(w, name, config):
    family, arch, tokenizer, _ = MODELS[name]
    w.add_name("tiny " + name)
    w.add_file_type(0)
    if family == "GPT2":
        w.add_block_count(config.n_layer)
        w.add_context_length(config.n_positions)
        w.add_embedding_length(config.n_embd)
        w.add_feed_forward_length(4 * config.n_embd)
        w.add_head_count(config.n_head)
        w.add_layer_norm_eps(config.layer_norm_epsilon)
        TOKENIZERS[tokenizer](w)
        return
    rope = config.rope_parameters
    local = rope.get("sliding_attention")
    rope = rope.get("full_attention", rope)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    if family == "Lfm2":
        w.add_head_count_kv([config.num_key_value_heads if t == "full_attention" else 0 for t in config.layer_types])
        w.add_shortconv_l_cache(config.conv_L_cache)
        w.add_layer_norm_rms_eps(config.norm_eps)
    else:
        w.add_head_count_kv(config.num_key_value_heads)
        w.add_layer_norm_rms_eps(config.rms_norm_eps)
    if family != "Gemma2":
        w.add_rope_freq_base(rope["rope_theta"])
    if family in ("Qwen3", "Qwen3Moe", "Gemma2", "Gemma3"):
        w.add_key_length(head_dim)
        w.add_value_length(head_dim)
    if family in ("Mixtral", "Qwen2Moe", "Qwen3Moe"):
        w.add_expert_count(config.num_local_experts if family == "Mixtral" else config.num_experts)
        w.add_expert_used_count(config.num_experts_per_tok)
    if family in ("Qwen2Moe", "Qwen3Moe"):
        w.add_expert_feed_forward_length(config.moe_intermediate_size)
    if family == "Qwen2Moe":
        w.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    if family in ("Llama", "Mistral", "Mixtral", "Phi3", "Lfm2"):
        w.add_vocab_size(config.vocab_size) if family != "Phi3" else None
        w.add_rope_dimension_count(head_dim) if family != "Lfm2" else None
    if rope["rope_type"] == "linear":
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        w.add_rope_scaling_factor(rope["factor"])
    if family == "Gemma2":
        w.add_attn_logit_softcapping(config.attn_logit_softcapping)
        w.add_final_logit_softcapping(config.final_logit_softcapping)
    if family in ("Gemma2", "Gemma3"):
        w.add_sliding_window(config.sliding_window)
    if family == "Gemma3":
        assert local["rope_theta"] == 1e4                # the converter writes no key for it
    if family == "Mistral":
        w.add_sliding_window(config.sliding_window)      # the converter does not; see CROSSCHECK.md
    if family == "Phi3":
        original = getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings
        w.add_rope_scaling_orig_ctx_len(original)
        w.add_sliding_window(config.sliding_window or 0)
        if rope["rope_type"] == "longrope":
            scale = config.max_position_embeddings / original
            w.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(scale) / math.log(original)))
    TOKENIZERS[tokenizer](w)


def gguf_tensors(name, model, gemma=1.0):
    """(name, array) of every parameter, as a GGUF has it. Gemma's norms are stored with `gemma` added."""
    family, arch, _, _ = MODELS[name]
    config = model.config
    names = gguf.get_tensor_name_map(next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch),
                                     config.num_hidden_layers)
    for hf, p in model.named_parameters():
        x = p.detach().numpy().copy()
        if hf.endswith("experts.gate_up_proj"):          # (expert, gate and up, in)
            for half, to in zip(np.split(x, 2, axis=1), ("ffn_gate_exps", "ffn_up_exps")):
                yield "blk.%s.%s.weight" % (hf.split(".")[2], to), half
            continue
        if hf.endswith("experts.down_proj"):
            yield "blk.%s.ffn_down_exps.weight" % hf.split(".")[2], x
            continue
        if hf.endswith("shared_expert_gate.weight"):
            x = x[0]                                     # a vector there
        if hf.endswith("conv.conv.weight"):
            x = x[:, 0]                                  # (channel, 1, column)
        to = names.get_name(hf, try_suffixes=(".weight", ".bias"))
        if not to:
            raise SystemExit("no GGUF name for " + hf)
        if family == "GPT2" and hf.rsplit(".", 2)[-2] in ("c_attn", "c_proj", "c_fc") and x.ndim == 2:
            x = np.ascontiguousarray(x.T)                # Conv1D stores (in, out)
        if arch == "llama" and (".q_proj." in hf or ".k_proj." in hf):
            x = rope_permute(x, config.num_attention_heads if ".q_proj." in hf else config.num_key_value_heads)
        if family.startswith("Gemma") and hf.endswith("norm.weight"):
            x = x + gemma
        yield to, x


def write_model(name, model):
    config = model.config
    w = gguf.GGUFWriter(os.path.join(OUT, name + ".gguf"), MODELS[name][1])
    write_keys(w, name, config)
    for to, x in gguf_tensors(name, model):
        w.add_tensor(to, np.ascontiguousarray(x, np.float32))
    rope = getattr(config, "rope_parameters", None) or {}
    if rope.get("rope_type") == "llama3":
        w.add_tensor("rope_freqs.weight", llama3_rope_freqs(config.head_dim, rope))
    if rope.get("rope_type") == "longrope":
        w.add_tensor("rope_factors_long.weight", np.array(rope["long_factor"], np.float32))
        w.add_tensor("rope_factors_short.weight", np.array(rope["short_factor"], np.float32))
    finish(w)


def write_reference(name, out, source):
    w = gguf.GGUFWriter(os.path.join(OUT, name + ".ref.gguf"), "reference")
    w.add_string("reference.made_by", source)
    for key, value in out.items():
        w.add_tensor("ref." + key, np.ascontiguousarray(value, np.float32))
    finish(w)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def make(name):
    import torch
    import transformers
    model = make_model(name)
    out = reference(model, input_ids(name))
    write_model(name, model)
    write_reference(name, out, "transformers %s, torch %s, float32, eager attention" %
                    (transformers.__version__, torch.__version__))
    print("%-20s logit std %.2f, greedy: %2d distinct, least gap %.4f, %d + %d bytes" % (
        name, out["logits"].std(), len(set(out["greedy"])), out["greedy_gap"].min(),
        os.path.getsize(os.path.join(OUT, name + ".gguf")), os.path.getsize(os.path.join(OUT, name + ".ref.gguf"))),
        flush=True)


def rounded_gelu_logits(name, ids):
    """The logits with llama.cpp's GELU, a table from f16 to f16; None for a model without GELU."""
    import torch

    class Rounded(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.gelu(x.half().float(), approximate="tanh").half().float()
    if name not in MODELS or not MODELS[name][0].startswith(("GPT2", "Gemma")):
        return None
    model = make_model(name)
    for key, module in list(model.named_modules()):
        if key.endswith((".mlp.act", ".mlp.act_fn")):
            parent = model.get_submodule(key.rsplit(".", 1)[0])
            setattr(parent, key.rsplit(".", 1)[1], Rounded())
    return run(model, ids)["logits"]


def find_seeds(names):
    """Prints seeds that make a lively greedy text without near-ties."""
    for name in names:
        for seed in range(1, 400):
            SEEDS[name] = seed
            out = reference(make_model(name), input_ids(name))
            if out["greedy_gap"].min() > 0.04 and len(set(out["greedy"])) >= 10:
                break
        print('    "%s": %d,' % (name, seed), flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("names", nargs="*", metavar="NAME")
    a.add_argument("--list", action="store_true")
    a.add_argument("--check", action="store_true", help="compare with llama.cpp instead of making")
    a.add_argument("--find-seeds", action="store_true", help="print a SEEDS table instead of making")
    o = a.parse_args()
    names = o.names or list(MODELS)
    if o.list:
        print("\n".join(MODELS))
    elif o.find_seeds:
        find_seeds(names)
    elif o.check:
        import crosscheck
        sys.exit(crosscheck.main(OUT, o.names, rounded_gelu_logits))
    else:
        os.makedirs(OUT, exist_ok=True)
        for name in names:
            make(name)


if __name__ == "__main__":
    main()
