#!/usr/bin/env python3
"""Gradients of the tiny models of make_models.py and make_layers.py, by PyTorch's autograd through transformers.

    python tests/oracle/make_train.py                  needs torch, transformers, gguf

Writes data/train.gguf. Of every model NAME the mean cross-entropy of a batch of two sequences, and the gradients of
every tensor of NAME.gguf, in its layout:
  NAME.loss (key, float64)  the mean over the targets that count
  NAME.ids      (T, 2)      what is read, as floats
  NAME.targets  (T, 2)      what should come next; -1: not counted
  NAME.weights  (T, 2)      how much each target counts in the gradients, where the model has them; else 1 each
  NAME/TENSOR   (3 + n)     of the gradient g: its norm, its largest value, the sum of g[i] * cos(i), and n of its
                            values: g[i * STEP % size] for i < n

The models are computed in double precision. transformers goes through float32 in norms, rotations and probabilities
even then, but the difference from a pass in float32 alone, which is printed, says that this is far below 1e-4.
"""
import os
import sys
import zlib

import gguf
import numpy as np
import torch

import make_layers
import make_models
from make_models import finish, gguf_tensors, rope_permute
from tiny_tokenizers import N_VOCAB

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "train.gguf")
T, STEP, N_VALUES = 56, 7919, 96
WITHOUT = ("mixtral", "qwen2moe", "qwen3moe", "lfm2", "lfm2-conv")        # cannot be trained
WEIGHTED = ("llama-biases", "qwen2-untied", "gemma3")                     # have weights of targets


def batch_of(name):
    rng = np.random.default_rng([11, zlib.crc32(name.encode())])
    ids, targets = (rng.integers(0, N_VOCAB, (2, T)) for _ in range(2))
    ids[:, 5::7] = ids[0, 0]                                              # a token that comes often
    targets[:, :-1] = ids[:, 1:]
    targets[0, 3:9] = targets[1, 17] = targets[1, T - 1] = -1
    weights = np.float32(rng.uniform(0, 2, (2, T))) if name in WEIGHTED else np.ones((2, T), np.float32)
    return ids, targets, weights


def loss_of(logits, targets, weights):
    """What is stored, and what is gone back from."""
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.tensor(targets).flatten(), ignore_index=-1,
                                             reduction="none")
    count, w = torch.tensor(targets.ravel() >= 0).to(each), torch.tensor(weights.ravel()).to(each)
    return (each * count).sum() / count.sum(), (each * count * w).sum() / (count * w).sum()


def gradients(name, kind):
    """The loss and {GGUF name: gradient} of a model of transformers, computed in `kind`."""
    ids, targets, weights = batch_of(name)
    model = make_models.make_model(name).to(kind)
    model.get_input_embeddings().padding_idx = None                       # whose gradient PyTorch leaves out
    loss, back = loss_of(model(torch.tensor(ids), use_cache=False).logits, targets, weights)
    back.backward()
    for _, p in model.named_parameters():
        p.data = p.grad
    return loss.item(), dict(gguf_tensors(name, model, gemma=0.0))


# ---------------------------------------------------------------- models of make_layers.py
def rms(x, weight):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + make_layers.EPS) * weight


def rotate(x):
    """(head, token, HEAD): the pairs (i, i + HEAD / 2)."""
    half = make_layers.HEAD // 2
    angle = torch.arange(x.shape[1], dtype=x.dtype)[:, None] * make_layers.THETA ** (
        -torch.arange(half, dtype=x.dtype) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)


def layers_logits(m, p, ids):
    def heads(key, x, n):
        y = (x @ p[key].T).reshape(len(x), n, make_layers.HEAD)
        return (rms(y, p[key + "_norm"]) if key + "_norm" in p else y).transpose(0, 1)
    x = p["token_embd"][torch.tensor(ids)]
    for i, (h, kv) in enumerate(zip(m["heads"], m["kv"])):
        at = "blk.%d." % i
        y = rms(x, p[at + "attn_norm"])
        q, k, v = rotate(heads(at + "attn_q", y, h)), rotate(heads(at + "attn_k", y, kv)), heads(at + "attn_v", y, kv)
        k, v = (z.repeat_interleave(h // kv, 0) for z in (k, v))
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + y.transpose(0, 1).reshape(len(ids), -1) @ p[at + "attn_output"].T
        y = rms(x, p[at + "ffn_norm"])
        x = x + (torch.nn.functional.silu(y @ p[at + "ffn_gate"].T) * (y @ p[at + "ffn_up"].T)) @ p[at + "ffn_down"].T
    return rms(x, p["output_norm"]) @ p.get("output", p["token_embd"]).T


def layers_gradients(name, kind):
    m, model, (ids, targets, weights) = make_layers.MODELS[name], make_layers.make_model(name), batch_of(name)
    p = {key: torch.tensor(x).to(kind).requires_grad_() for key, x in model.items()}
    logits = torch.stack([layers_logits(m, p, row) for row in ids])
    off = np.abs(logits[0].detach().numpy() - make_layers.run(name, model, ids[0])["logits"]).max()
    assert off < 1e-4, off
    loss, back = loss_of(logits, targets, weights)
    back.backward()
    out = {}
    for key, x in p.items():
        part, g = key.rsplit(".", 1)[-1], x.grad.numpy()
        if m["arch"] == "llama" and part in ("attn_q", "attn_k"):
            g = rope_permute(g, len(g) // make_layers.HEAD)
        if m["fused"] and part in ("attn_q", "attn_k", "attn_v"):         # in this order
            key = key[:-1 - len(part)] + ".attn_qkv"
            g = np.concatenate([out[key + ".weight"], g]) if key + ".weight" in out else g
        out[key + ".weight"] = g
    return loss.item(), out


# ---------------------------------------------------------------- the file
def summary(g):
    g = np.ascontiguousarray(g, np.float64).ravel()
    assert g.size % STEP
    values = g[np.arange(min(g.size, N_VALUES)) * STEP % g.size]
    return np.concatenate([[np.sqrt((g * g).sum()), np.abs(g).max(), (g * np.cos(np.arange(g.size))).sum()], values])


def apart(a, b):
    return max(np.abs(a[key] - b[key]).max() / np.abs(b[key]).max() for key in b)


def main():
    torch.set_num_threads(1)
    w = gguf.GGUFWriter(OUT, "train")
    import transformers
    w.add_string("made.by", "transformers %s, torch %s, float64, eager attention" %
                 (transformers.__version__, torch.__version__))
    for name in [n for n in make_models.MODELS if n not in WITHOUT] + list(make_layers.MODELS):
        of = layers_gradients if name in make_layers.MODELS else gradients
        (loss, grads), (loss_32, grads_32) = of(name, torch.float64), of(name, torch.float32)
        w.add_float64(name + ".loss", loss)
        for key, x in zip(("ids", "targets", "weights"), batch_of(name)):
            if key != "weights" or name in WEIGHTED:
                w.add_tensor(name + "." + key, np.float32(x))
        for key, g in grads.items():
            w.add_tensor(name + "/" + key, np.float32(summary(g)))
        print("%-20s loss %.6f, %3d tensors; float32: loss %.1e apart, gradients %.1e" % (
            name, loss, len(grads), abs(loss_32 - loss), apart(grads_32, grads)), flush=True)
    finish(w)
    print("%d bytes" % os.path.getsize(OUT))


if __name__ == "__main__":
    sys.exit(main())
