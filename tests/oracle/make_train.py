#!/usr/bin/env python3
"""Gradients of the tiny models of make_models.py, make_layers.py and make_rwkv.py, by PyTorch's autograd: through
transformers, and of the last two through their formulas.

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
import make_rwkv
import rwkv7
from make_models import finish, gguf_tensors, rope_permute
from tiny_tokenizers import N_VOCAB

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "train.gguf")
T, STEP, N_VALUES = 56, 7919, 96
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


# ---------------------------------------------------------------- models of make_rwkv.py
def layer_norm(x, w, b, eps):
    x = x - x.mean(-1, keepdim=True)
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * w + b


def rwkv_norm(p, name, x):
    if name + ".bias" in p:
        return layer_norm(x, p[name + ".weight"], p[name + ".bias"], rwkv7.LN_EPS)
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + rwkv7.RMS_EPS) * p[name + ".weight"]


def before(x):
    return torch.cat([torch.zeros_like(x[:1]), x[:-1]])


def wkv7(r, w, k, v, kk, a):
    """All (token, head, value or key)."""
    s, out = torch.zeros(*v.shape[1:], k.shape[-1], dtype=v.dtype), []
    for t in range(len(r)):
        s = s * w[t][:, None] - (s @ kk[t][..., None]) * (kk[t] * a[t])[:, None] + v[t][..., None] * k[t][:, None]
        out.append((s @ r[t][..., None])[..., 0])
    return torch.stack(out)


def time_mix(p, x, v_first, n_head):
    heads = lambda y: y.reshape(*y.shape[:-1], n_head, -1)  # noqa: E731
    low = lambda c, y, act=lambda z: z: act(y @ p["att.%s1" % c].T) @ p["att.%s2" % c].T  # noqa: E731
    mixed = [x + (before(x) - x) * mix for mix in p["att.x_rwkvag"]]
    r, k, v = (mixed[i] @ p["att.%s.weight" % c].T for i, c in ((0, "receptance"), (2, "key"), (3, "value")))
    w = torch.exp(-np.exp(-0.5) * torch.sigmoid(p["att.w0"] + low("w", mixed[1], torch.tanh)))
    a = torch.sigmoid(p["att.a0"] + low("a", mixed[4]))
    if v_first is None:
        v_first = v
    else:
        v = v + (v_first - v) * torch.sigmoid(p["att.v0"] + low("v", mixed[3]))
    kk = heads(k * p["att.k_k"])
    kk = kk / torch.clamp(torch.sqrt((kk * kk).sum(-1, keepdim=True)), min=rwkv7.L2_EPS)
    k = k * (1 + (a - 1) * p["att.k_a"])
    r, w, k, v, a = map(heads, (r, w, k, v, a))
    y = wkv7(r, w, k, v, kk, a)
    if "att.ln_x.weight" in p:
        y = layer_norm(y, heads(p["att.ln_x.weight"]), heads(p["att.ln_x.bias"]), rwkv7.GROUP_EPS)
    y = (y + (r * k * p["att.r_k"]).sum(-1, keepdim=True) * v).flatten(1)
    if "att.g1" in p:
        y = y * low("g", mixed[5], torch.sigmoid)
    return y @ p["att.output.weight"].T, v_first


def rwkv_logits(head, layers, n_head, ids):
    x, v_first = head["emb.weight"][torch.tensor(ids)], None
    x = rwkv_norm(head, "ln0", x) if "ln0.weight" in head else x
    for p in layers:
        y, v_first = time_mix(p, rwkv_norm(p, "ln1", x), v_first, n_head)
        x = x + y
        if "ffn.gate.weight" in p:
            y = rwkv_norm(p, "ffn.norm", x)
            y = torch.nn.functional.silu(y @ p["ffn.gate.weight"].T) * (y @ p["ffn.up.weight"].T)
            x = x + y @ p["ffn.down.weight"].T
        else:
            y = rwkv_norm(p, "ln2", x)
            y = (y + (before(y) - y) * p["ffn.x_k"]) @ p["ffn.key.weight"].T
            x = x + torch.relu(y) ** 2 @ p["ffn.value.weight"].T
    return rwkv_norm(head, "ln_out", x) @ head["head.weight"].T


def rwkv_gradients(name, kind):
    model, (ids, targets, weights) = make_rwkv.make_model(name), batch_of(name)
    head, *layers = ({key: torch.tensor(x).to(kind).requires_grad_() for key, x in p.items()}
                     for p in [model["head"]] + model["layers"])
    logits = torch.stack([rwkv_logits(head, layers, model["n_head"], row) for row in ids])
    off = np.abs(logits[0].detach().numpy() - rwkv7.run(model, ids[0])["logits"]).max()
    assert off < 1e-4, off
    loss, back = loss_of(logits, targets, weights)
    back.backward()
    out = {make_rwkv.HEAD[key]: x.grad.numpy() for key, x in head.items()}
    for i, p in enumerate(layers):
        out.update(("blk.%d.%s" % (i, make_rwkv.LAYER[key]), x.grad.numpy()) for key, x in p.items())
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
    for name in list(make_models.MODELS) + list(make_layers.MODELS) + list(make_rwkv.MODELS):
        of = layers_gradients if name in make_layers.MODELS else gradients
        of = rwkv_gradients if name in make_rwkv.MODELS else of
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
