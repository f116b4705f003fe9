"""RWKV-7 by its published formulas, token by token in numpy, and a reader of the files of rwkv.cpp. Also ARWKV-7:
RWKV-7's time mixing in the place of attention of a transformer with RMS norms and SwiGLU.

    python tests/oracle/rwkv7.py FILE LOGITS      computes the prompt `"in` with a model of rwkv.cpp and compares with
                                                  the stored logits

A model is a dictionary of float32 arrays (numpy's shapes: output rows first) under the names of the original
checkpoints, without the `blocks.N.` in front of a layer's own: `layers[N]["att.w1"]`. Matrices are (out, in)
throughout, so the low-rank factors are, too.
"""
import struct
import sys

import numpy as np

LN_EPS, RMS_EPS, GROUP_EPS, L2_EPS = 1e-5, 1e-6, 64e-5, 1e-12
LERPS = "rwkvag"                                         # the order of the rows of att.x_rwkvag


def read_rwkv_cpp(path):
    """Version 101 of rwkv.cpp's format: six int32, then per tensor its rank, length of name, type, sizes (fastest
    first), name, data."""
    with open(path, "rb") as f:
        data = f.read()
    magic, version, n_vocab, n_embd, n_layer, _ = struct.unpack_from("<6i", data)
    assert (magic, version) == (0x67676d66, 101), "not a file of rwkv.cpp, version 101"
    at, head, layers = 24, {}, [{} for _ in range(n_layer)]
    while at < len(data):
        rank, length, kind = struct.unpack_from("<3i", data, at)
        shape = struct.unpack_from("<%di" % rank, data, at + 12)[::-1]
        at += 12 + 4 * rank
        name = data[at:at + length].decode()
        at += length
        dtype = np.dtype({0: "<f4", 1: "<f2"}[kind])
        size = int(np.prod(shape))
        x = np.frombuffer(data, dtype, size, at).reshape(shape).astype(np.float32)
        at += size * dtype.itemsize
        x = x.squeeze() if x.ndim == 3 else x            # (n, 1, 1) is a vector there
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            layers[int(layer)][rest] = x
        else:
            head[name] = x
    assert head["emb.weight"].shape == (n_vocab, n_embd)
    head["ln0.weight"], head["ln0.bias"] = layers[0].pop("ln0.weight"), layers[0].pop("ln0.bias")
    return dict(head=head, layers=layers, n_head=layers[0]["att.r_k"].shape[0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def layer_norm(x, weight, bias, eps=LN_EPS):
    d = x - x.mean(-1, keepdims=True)
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + eps) * weight + bias


def rms_norm(x, weight):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + RMS_EPS) * weight


def norm(table, name, x):
    """LayerNorm, RMS where there is no bias (ARWKV-7)."""
    if name + ".bias" in table:
        return layer_norm(x, table[name + ".weight"], table[name + ".bias"])
    return rms_norm(x, table[name + ".weight"])


class State:
    """What a sequence carries from token to token: per layer two rows of the last token, and a matrix (value, key) per
    head; all 0 first."""

    def __init__(self, model, dtype):
        n_layer, n_embd, n_head = len(model["layers"]), model["head"]["emb.weight"].shape[1], model["n_head"]
        n = n_embd // n_head
        self.att = np.zeros((n_layer, n_embd), dtype)
        self.ffn = np.zeros((n_layer, n_embd), dtype)
        self.wkv = np.zeros((n_layer, n_head, n, n), dtype)


def time_mix(p, x, last, s, v_first, n_head):
    """x: the normed row; last: that of the token before; s: (head, value, key), changed in place. Returns the row and
    v_first."""
    n = x.size // n_head
    heads = lambda y: y.reshape(n_head, n)  # noqa: E731
    x_r, x_w, x_k, x_v, x_a, x_g = list(x + (last - x) * p["att.x_rwkvag"]) + [None] * (6 - len(p["att.x_rwkvag"]))
    r = p["att.receptance.weight"] @ x_r
    k = p["att.key.weight"] @ x_k
    v = p["att.value.weight"] @ x_v
    w = np.exp(-np.exp(-0.5) * sigmoid(p["att.w0"] + p["att.w2"] @ np.tanh(p["att.w1"] @ x_w)))
    a = sigmoid(p["att.a0"] + p["att.a2"] @ (p["att.a1"] @ x_a))
    if v_first is None:
        v_first = v
    else:
        v = v + (v_first - v) * sigmoid(p["att.v0"] + p["att.v2"] @ (p["att.v1"] @ x_v))
    kk = heads(k * p["att.k_k"])
    kk = kk / np.maximum(np.sqrt((kk * kk).sum(-1, keepdims=True)), L2_EPS)
    k = k * (1 + (a - 1) * p["att.k_a"])
    r, w, k, v, a = map(heads, (r, w, k, v, a))
    s[:] = s * w[:, None] - (s @ kk[..., None]) * (kk * a)[:, None] + v[..., None] * k[:, None]
    y = (s @ r[..., None])[..., 0]
    if "att.ln_x.weight" in p:
        y = layer_norm(y, heads(p["att.ln_x.weight"]), heads(p["att.ln_x.bias"]), GROUP_EPS)
    y = y + (r * k * heads(p["att.r_k"])).sum(-1, keepdims=True) * v
    y = y.ravel()
    if "att.g1" in p:
        y = y * (p["att.g2"] @ sigmoid(p["att.g1"] @ x_g))
    return p["att.output.weight"] @ y, v_first


def channel_mix(p, x, last):
    h = p["ffn.key.weight"] @ (x + (last - x) * p["ffn.x_k"])
    return p["ffn.value.weight"] @ np.square(np.maximum(h, 0))


def swiglu(p, x):
    gate = p["ffn.gate.weight"] @ x
    return p["ffn.down.weight"] @ (gate * sigmoid(gate) * (p["ffn.up.weight"] @ x))


def cast(model, dtype):
    def each(table):
        return {k: v.astype(dtype) for k, v in table.items()}
    return dict(head=each(model["head"]), layers=[each(p) for p in model["layers"]], n_head=model["n_head"])


def step(model, token, state):
    """One token. Returns what a reference file holds of it: embd (after ln0), layer.N, norm, logits."""
    h, out, v_first = model["head"], {}, None
    x = h["emb.weight"][token]
    x = norm(h, "ln0", x) if "ln0.weight" in h else x
    out["embd"] = x
    for i, p in enumerate(model["layers"]):
        normed = norm(p, "ln1", x)
        y, v_first = time_mix(p, normed, state.att[i], state.wkv[i], v_first, model["n_head"])
        state.att[i] = normed
        x = x + y
        if "ffn.gate.weight" in p:
            x = x + swiglu(p, norm(p, "ffn.norm", x))
        else:
            normed = norm(p, "ln2", x)
            x = x + channel_mix(p, normed, state.ffn[i])
            state.ffn[i] = normed
        out["layer.%d" % i] = x
    out["norm"] = norm(h, "ln_out", x)
    out["logits"] = h["head.weight"] @ out["norm"]
    return out


def run(model, ids, dtype=np.float64):
    """All tokens from an empty state; every entry of step() with a row per token."""
    model = cast(model, dtype)
    state = State(model, dtype)
    rows = [step(model, t, state) for t in ids]
    return {k: np.stack([r[k] for r in rows]) for k in rows[0]}


def main():
    path, logits = sys.argv[1:]
    model, want = read_rwkv_cpp(path), np.fromfile(logits, "<f4")
    for dtype in (np.float64, np.float32):
        got = run(model, list(b'"in'), dtype)["logits"][-1]
        off, most = np.abs(got - want).max(), np.abs(want).max()
        print("%s: largest difference %.3g of logits up to %.3g" % (dtype.__name__, off, most))


if __name__ == "__main__":
    main()
