#!/usr/bin/env python3
"""gpt-nano-sort (a trained minGPT that sorts six letters A, B, C) as GGUF, with its published activations as reference
files.

    python tests/oracle/make_gpt_nano_sort.py      needs torch, transformers, gguf, and models/gpt-nano-sort of
    HYBRID_DATA (default ../shared/data)

Source of the weights and activations: bbycroft/llm-viz (MIT). Writes to tests/oracle/data/models:
  gpt-nano-sort.gguf
  gpt-nano-sort@0.ref.gguf, @1, @2    the three published inputs of 11 letters: what PyTorch gave there (see
  make_models.py); no greedy
  gpt-nano-sort@sort.ref.gguf         six letters and the six that follow greedily:
                                      the same letters in order (computed by transformers)
A reference of NAME@anything belongs to NAME.gguf.
"""
import base64
import json
import os
import sys

import gguf
import numpy as np

from make_models import OUT, finish, run, write_reference


def load(path):
    with open(path) as f:
        j = json.load(f)
    return j["config"], {k: np.frombuffer(base64.b64decode(v["data"]), "<f4").reshape(v["shape"]) for k,
                         v in j.items() if "data" in v}


def write_model(config, tensors):
    n_embd, n_layer = config["n_embd"], config["n_layer"]
    w = gguf.GGUFWriter(os.path.join(OUT, "gpt-nano-sort.gguf"), "gpt2")
    w.add_name("gpt-nano-sort")
    w.add_file_type(0)
    w.add_license("MIT")
    w.add_source_url("https://github.com/bbycroft/llm-viz")
    w.add_block_count(n_layer)
    w.add_context_length(config["block_size"])
    w.add_embedding_length(n_embd)
    w.add_feed_forward_length(4 * n_embd)
    w.add_head_count(config["n_head"])
    w.add_layer_norm_eps(1e-5)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(["A", "B", "C"])
    w.add_token_types([1, 1, 1])
    w.add_token_merges(["A A"])                          # llama.cpp wants one; "AA" is no token, so it never applies
    w.add_bos_token_id(0)
    w.add_eos_token_id(0)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GPT2, n_layer)
    for key, x in tensors.items():
        if not key.endswith(".attn.bias"):               # the causal mask
            w.add_tensor(names.get_name(key, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(x))
    finish(w)


def hugging_face(config, tensors):
    import torch
    import transformers
    c = transformers.GPT2Config(vocab_size=config["vocab_size"], n_embd=config["n_embd"], n_head=config["n_head"],
                                n_layer=config["n_layer"],
                                n_positions=config["block_size"], tie_word_embeddings=False)
    c._attn_implementation = "eager"
    model = transformers.GPT2LMHeadModel(c).eval()
    state = model.state_dict()
    for key, x in tensors.items():
        if not key.endswith(".attn.bias"):
            x = torch.from_numpy(np.array(x))
            # transformers keeps Conv1D as (in, out)
            turn = x.ndim == 2 and any(s in key for s in (".attn.", ".mlp."))
            state[key].copy_(x.T if turn else x)
    return model


def main(folder):
    config, tensors = load(os.path.join(folder, "gpt-nano-sort-model.json"))
    _, part = load(os.path.join(folder, "gpt-nano-sort-t0-partials.json"))
    write_model(config, tensors)
    model = hugging_face(config, tensors)
    for i, ids in enumerate(part["idx"].astype(int)):
        out = dict(ids=ids, embd=part["x"][i], norm=part["ln_f"][i], logits=part["lm_head"][i])
        out.update({"layer.%d" % n: part["block%d" % n][i] for n in range(config["n_layer"])})
        again = run(model, ids.tolist())
        print(i, ids, "transformers differs by %.1e" % max(np.abs(again[k] - out[k]).max() for k in again))
        write_reference("gpt-nano-sort@%d" % i, out, "bbycroft/llm-viz gpt-nano-sort-t0-partials.json (PyTorch)")
    ids = [2, 1, 0, 1, 1, 0]
    out, more, gaps = run(model, ids), list(ids), []
    for _ in range(6):
        last = run(model, more)["logits"][-1]
        gaps.append(float(np.diff(np.sort(last)[-2:])[0]))
        more.append(int(last.argmax()))
    assert more[6:] == sorted(ids), more
    out.update(ids=np.array(ids), greedy=np.array(more[6:]), greedy_gap=np.array(gaps))
    write_reference("gpt-nano-sort@sort", out, "transformers on the weights of bbycroft/llm-viz gpt-nano-sort")
    print(ids, "->", more[6:], "least gap %.3f" % min(gaps))


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    main(os.path.join(os.environ.get("HYBRID_DATA") or os.path.join(root, "..", "shared", "data"), "models",
                      "gpt-nano-sort"))
