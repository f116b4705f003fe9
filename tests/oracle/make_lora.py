#!/usr/bin/env python3
"""Gradients and losses of adapters (LoRA) over the tiny models of make_models.py, by PEFT and PyTorch's AdamW.

    python tests/oracle/make_lora.py                   needs torch, transformers, peft, gguf

Writes data/lora.gguf. Of every model NAME, adapted by matrices of rank RANK with alpha ALPHA, in double precision:
  NAME.losses   (STEPS)     the mean cross-entropy before each of STEPS steps of AdamW (RATE, BETAS, EPS, DECAY) over
                            the batches of make_train.py, of which step i has every token i * 5 further
  NAME/TENSOR   (3 + n)     of every gradient of the first batch, TENSOR as in an adapter of llama.cpp: as there
The matrices begin with values that whoever has their names can make (value_of). Their rows are those of a GGUF: of the
llama family, those of the matrices of q and k have changed places.
"""
import os
import sys

import gguf
import numpy as np
import peft
import torch
import transformers

import make_models
import make_train
from make_models import MODELS, finish, rope_permute

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "lora.gguf")
RANK, ALPHA, STEPS = 4, 8, 10
RATE, BETAS, EPS, DECAY = 5e-3, (0.9, 0.95), 1e-8, 0.01
N_VALUES = 24
NAMES = ("llama", "gpt2", "gemma3", "phi3", "qwen3", "llama-biases")
TARGETS = {"gpt2": ["c_attn", "c_proj", "c_fc"], "phi3": ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]}
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def value_of(name, shape, scale):
    """(rows, columns), uniform in +- scale: a hash of the name (FNV-1a), stirred with the place of a value."""
    h = 2166136261
    for c in name.encode():
        h = (h ^ c) * 16777619 & 0xFFFFFFFF
    i = np.arange(shape[0] * shape[1], dtype=np.uint64)
    x = (i * np.uint64(2654435761) + np.uint64(h)) & np.uint64(0xFFFFFFFF)
    x = (x ^ (x >> np.uint64(15))) * np.uint64(2246822519) & np.uint64(0xFFFFFFFF)
    x = x >> np.uint64(8)                                                 # 24 bits: exact in a float
    return (np.float32(x) / np.float32(1 << 23) - np.float32(1)).reshape(shape) * np.float32(scale)


def rope_restore(w, n_head):
    """The inverse of rope_permute."""
    order = rope_permute(np.arange(len(w))[:, None].astype(np.int64), n_head).ravel()
    out = np.empty_like(w)
    out[order] = w
    return out


def adapted(name):
    """A model of PEFT, and [(name in a GGUF, its parameter, how many heads its rows have changed places in or 0)]."""
    family, arch, _, _ = MODELS[name]
    base = make_models.make_model(name)
    config = base.config
    names = gguf.get_tensor_name_map(next(k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == arch),
                                     base.config.num_hidden_layers)
    model = peft.get_peft_model(base, peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS.get(name, ALL), bias="none",
        fan_in_fan_out=family == "GPT2")).to(torch.float64)
    params = []
    for key, p in model.named_parameters():
        if not p.requires_grad:
            continue
        hf, ab = key[len("base_model.model."):].split(".lora_")
        to = "%s.weight.lora_%s" % (names.get_name(hf), ab[0].lower())
        heads = 0
        if arch == "llama" and ab[0] == "B" and hf.endswith(("q_proj", "k_proj")):
            heads = config.num_attention_heads if hf.endswith("q_proj") else config.num_key_value_heads
        x = value_of(to, tuple(p.shape), 0.2 if ab[0] == "A" else 0.1)
        p.data = torch.tensor(rope_restore(x, heads) if heads else x).to(torch.float64)
        params.append((to, p, heads))
    return model, params


def loss_of(model, name, step):
    ids, targets, weights = make_train.batch_of(name)
    ids = (ids + 5 * step) % make_train.N_VOCAB
    targets = np.where(targets < 0, -1, (targets + 5 * step) % make_train.N_VOCAB)
    return make_train.loss_of(model(input_ids=torch.tensor(ids), use_cache=False).logits, targets, weights)


def main():
    torch.set_num_threads(1)
    make_train.N_VALUES = N_VALUES
    w = gguf.GGUFWriter(OUT, "lora")
    w.add_string("made.by", "peft %s, transformers %s, torch %s, float64" %
                 (peft.__version__, transformers.__version__, torch.__version__))
    w.add_uint32("lora.rank", RANK)
    w.add_float32("lora.alpha", ALPHA)
    for name in NAMES:
        model, params = adapted(name)
        optimizer = torch.optim.AdamW([p for _, p, _ in params], lr=RATE, betas=BETAS, eps=EPS, weight_decay=DECAY)
        losses = []
        for step in range(STEPS):
            loss, back = loss_of(model, name, step)
            losses.append(loss.item())
            optimizer.zero_grad()
            back.backward()
            for to, p, heads in params if step == 0 else ():
                g = p.grad.numpy()
                w.add_tensor(name + "/" + to, np.float32(make_train.summary(rope_permute(g, heads) if heads else g)))
            optimizer.step()
        w.add_tensor(name + ".losses", np.float32(losses))
        print("%-14s %3d tensors, losses %.6f ... %.6f" % (name, len(params), losses[0], losses[-1]), flush=True)
    finish(w)
    print("%d bytes" % os.path.getsize(OUT))


if __name__ == "__main__":
    sys.exit(main())
