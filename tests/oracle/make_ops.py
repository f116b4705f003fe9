#!/usr/bin/env python3
"""Makes tests/oracle/data/ops.gguf: what PyTorch and transformers make of the operations of a transformer, computed in
double precision.

    python tests/oracle/make_ops.py             (needs torch, transformers, gguf: the environment of `make oracles`)

The functions are those of the models themselves: the rotations of GPT-J (pairs 2i, 2i+1) and Llama (pairs i, i + n/2),
the attention of Gemma 2 (groups, soft-cap, window) and gpt-oss (groups, sinks, window). tests/test_ops.c reads the
file."""
import os
from types import SimpleNamespace

import gguf
import torch
import torch.nn.functional as F
from transformers.masking_utils import sliding_window_causal_mask_function
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.gpt_oss import modeling_gpt_oss
from transformers.models.gptj import modeling_gptj
from transformers.models.llama import modeling_llama

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "ops.gguf")


def random(*shape):
    return torch.randn(*shape).double()          # doubles that are floats


def rotations(put):
    n, heads, dim = 5, 2, 32
    x = random(1, n, heads, dim)
    pos = torch.tensor([1.0, 2.0, 77.0, 4095.0, 131071.0]).double()
    angle = pos[:, None] * 10000.0 ** (-torch.arange(0, dim, 2).double() / dim)
    put("rope.x", x)
    put("rope.pos", pos)
    put("rope.norm", modeling_gptj.apply_rotary_pos_emb(x, angle.sin()[None], angle.cos()[None]))
    both = torch.cat([angle, angle], -1)[None]
    put("rope.neox", modeling_llama.apply_rotary_pos_emb(x, x, both.cos(), both.sin(), unsqueeze_dim=2)[0])


def rows(put):
    x = random(3, 100) + 0.5
    w, b = random(100), random(100)
    put("norm.x", x)
    put("norm.w", w)
    put("norm.b", b)
    put("norm.layer", F.layer_norm(x, (100,), w, b, 1e-5))
    put("norm.rms", F.rms_norm(x, (100,), w, 1e-5))
    g, u = 4 * random(500), random(500)
    put("glu.gate", g)
    put("glu.up", u)
    put("glu.silu", F.silu(g) * u)
    put("glu.gelu", F.gelu(g) * u)
    put("glu.gelu_tanh", F.gelu(g, approximate="tanh") * u)
    put("glu.tanh", g.tanh() * u)
    put("glu.sigmoid", g.sigmoid() * u)
    put("glu.relu2", F.relu(g) ** 2 * u)


def attention(put):
    n, heads, heads_kv, dim, window = 40, 4, 2, 16, 20
    seen = sliding_window_causal_mask_function(window)
    at = torch.arange(n)
    mask = torch.where(seen(0, 0, at[:, None], at[None, :]), 0.0, float("-inf")).double()[None, None]
    sinks = random(heads)
    put("attention.sinks", sinks)
    for name, forward, extra in (("gemma2", modeling_gemma2.eager_attention_forward, {"softcap": 2.0}),
                                 ("gpt_oss", modeling_gpt_oss.eager_attention_forward, {})):
        q, k, v = 2 * random(1, heads, n, dim), random(1, heads_kv, n, dim), random(1, heads_kv, n, dim)
        module = SimpleNamespace(num_key_value_groups=heads // heads_kv, sinks=sinks, training=False, head_dim=dim)
        # gemma2 makes its weights float before it multiplies by them: to be as exact as the rest, leave that out
        softmax, F.softmax = F.softmax, lambda x, dim, dtype=None: softmax(x, dim=dim)
        out = forward(module, q, k, v, mask, scaling=dim ** -0.5, **extra)[0]
        F.softmax = softmax
        for part, value in (("q", q.transpose(1, 2)), ("k", k.transpose(1, 2)), ("v", v.transpose(1, 2)), ("out", out)):
            put("attention.%s.%s" % (name, part), value)


def recurrent(put):
    """A run of 11 rows that goes on from a state. The matrices of RWKV-7 are those of the paper, S (value, key) of a
    head: S = S G + v k~^T with G = diag(w) - kk^T (a kk) (Peng et al. 2025, section 4), which multiplies matrices
    instead of adding element by element; what a slot keeps is S transposed. The convolution is PyTorch's, of the
    columns with the state before them."""
    n, heads, size = 11, 2, 16
    width = heads * size
    r, k, v, decay, rate, value_gate, gate, v_first = (random(n, width) for _ in range(8))
    k_k, k_a, r_k, ln_w, ln_b = (random(width) for _ in range(5))
    state = random(heads, size, size)
    for name, value in zip("r k v decay rate value_gate gate v_first k_k k_a r_k ln_w ln_b".split(),
                           (r, k, v, decay, rate, value_gate, gate, v_first, k_k, k_a, r_k, ln_w, ln_b)):
        put("wkv7." + name, value)
    put("wkv7.state", state.transpose(1, 2))
    each = lambda x: x.reshape(*x.shape[:-1], heads, size)
    mixed = each(torch.lerp(v, v_first, value_gate.sigmoid()))
    w, a = each(torch.exp(-0.606531 * decay.sigmoid())), each(rate.sigmoid())
    kk = F.normalize(each(k * k_k), dim=-1, eps=1e-12)
    key = each(k) * (1 + (a - 1) * each(k_a))
    rows = []
    for t in range(n):
        turn = torch.diag_embed(w[t]) - kk[t].unsqueeze(2) @ (a[t] * kk[t]).unsqueeze(1)
        state = state @ turn + mixed[t].unsqueeze(2) @ key[t].unsqueeze(1)
        rows.append((state @ each(r)[t].unsqueeze(2)).squeeze(2).reshape(width))
    put("wkv7.left", state.transpose(1, 2))
    y = F.group_norm(torch.stack(rows), heads, ln_w, ln_b, 64e-5)
    y = y + ((each(r) * key * each(r_k)).sum(-1, keepdim=True) * mixed).reshape(n, width)
    put("wkv7.out", y * gate)
    x, before, mix = random(n, width), random(width), random(width)
    put("shift.x", x)
    put("shift.state", before)
    put("shift.mix", mix)
    put("shift.left", x[-1])
    put("shift.out", torch.lerp(x, torch.cat([before[None], x[:-1]]), mix))
    bcx, taps, kept = random(n, 3 * width), random(width, 3), random(2, width)
    b, c, x = bcx.chunk(3, -1)
    u = torch.cat([kept, b * x])
    put("shortconv.bcx", bcx)
    put("shortconv.w", taps)
    put("shortconv.state", kept)
    put("shortconv.left", u[-2:])
    put("shortconv.out", c * F.conv1d(u.t()[None], taps[:, None], groups=width)[0].t())


def main():
    torch.manual_seed(1)
    writer = gguf.GGUFWriter(OUT, "ops")
    writer.add_string("made.by", "tests/oracle/make_ops.py, torch " + torch.__version__)
    put = lambda name, value: writer.add_tensor(name, value.float().contiguous().numpy())
    rotations(put)
    rows(put)
    attention(put)
    recurrent(put)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
