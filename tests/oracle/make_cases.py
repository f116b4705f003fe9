#!/usr/bin/env python3
"""Right values of files that people sent (../shared/cases): the last row of logits, by transformers in float32.

    python tests/oracle/make_cases.py [FOLDER]      needs torch, transformers, gguf; the folder defaults to
    ../shared/cases

Writes tests/oracle/data/cases.gguf with a vector a case, all for the tokens IDS:
  case.01   a Llama with biases in the feed-forward (mlp_bias)
  case.11   a Llama whose key rope.scaling.factor is 0, which means no scaling
  case.20   a Gemma 3 whose file has no key for a window: every layer sees everything, with the global base
"""
import os
import sys

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
IDS = [10, 257, 40, 99, 12, 13, 200, 31, 5, 77, 80, 81]
NAMES = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
         "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
LLAMA = dict(NAMES, ffn_norm="post_attention_layernorm")
GEMMA = dict(NAMES, ffn_norm="pre_feedforward_layernorm", post_attention_norm="post_attention_layernorm",
             post_ffw_norm="post_feedforward_layernorm")


def unpermute(w, n_head):
    d = w.shape[0] // n_head
    order = np.argsort(np.stack([np.arange(d // 2), np.arange(d // 2) + d // 2], axis=1).ravel())
    return w.reshape(n_head, d, -1)[:, order].reshape(w.shape)


def state_of(reader, names, heads, gemma):
    state = {}
    for t in reader.tensors:
        x = np.array(t.data, np.float32).reshape([int(n) for n in t.shape[::-1]])
        part = t.name.split(".")
        if part[0] == "blk":
            name = "model.layers.%s.%s.%s" % (part[1], names[part[2]], part[3])
            if not gemma and part[2] in heads:
                x = unpermute(x, heads[part[2]])
        else:
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm",
                    "output": "lm_head"}[part[0]] + "." + part[1]
        if gemma and "norm" in name:
            x = x - 1
        state[name] = x
    return state


def logits(path, gemma):
    import torch
    import transformers
    reader = gguf.GGUFReader(path)
    arch = "gemma3" if gemma else "llama"

    def key(suffix):
        return reader.fields[arch + "." + suffix].contents()
    state = state_of(reader, GEMMA if gemma else LLAMA,
                     {"attn_q": key("attention.head_count"), "attn_k": key("attention.head_count_kv")}, gemma)
    n = key("block_count")
    common = dict(vocab_size=state["model.embed_tokens.weight"].shape[0], hidden_size=key("embedding_length"),
                  intermediate_size=key("feed_forward_length"),
                  num_hidden_layers=n, num_attention_heads=key("attention.head_count"),
                  num_key_value_heads=key("attention.head_count_kv"),
                  rms_norm_eps=key("attention.layer_norm_rms_epsilon"),
                  tie_word_embeddings="lm_head.weight" not in state,
                  max_position_embeddings=key("context_length"))
    if gemma:
        rope = dict(rope_type="default", rope_theta=key("rope.freq_base"))
        config = transformers.Gemma3TextConfig(head_dim=key("attention.key_length"),
                                               query_pre_attn_scalar=key("attention.key_length"),
                                               layer_types=["full_attention"] * n,
                                               rope_parameters=dict(sliding_attention=rope, full_attention=rope),
                                               **common)
        cls = transformers.Gemma3ForCausalLM
    else:
        config = transformers.LlamaConfig(mlp_bias="model.layers.0.mlp.gate_proj.bias" in state, **common)
        cls = transformers.LlamaForCausalLM
    config._attn_implementation = "eager"
    model = cls(config).float().eval()
    missing = model.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in state.items()}, strict=False)
    assert not missing.unexpected_keys and [m for m in missing.missing_keys if m != "lm_head.weight"] == [], missing
    with torch.no_grad():
        return model(torch.tensor([IDS]), use_cache=False).logits[0, -1].numpy().copy()


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "..", "shared", "cases")
    w = gguf.GGUFWriter(os.path.join(HERE, "data", "cases.gguf"), "reference")
    w.add_string("reference.made_by", "tests/oracle/make_cases.py, transformers, float32")
    for number, path in (("01", "01-mlp-gate-bias/mlp_bias.gguf"), ("11", "11-rope-factor-zero/rope_factor0.gguf"),
                         ("20", "20-gemma3-no-window/g3.gguf")):
        w.add_tensor("case." + number, logits(os.path.join(folder, path), number == "20"))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
