#!/usr/bin/env python3
"""Makes tests/oracle/data/ops.gguf: what PyTorch and transformers make of the operations of a transformer, computed in double precision.

    python tests/oracle/make_ops.py             (needs torch, transformers, gguf: the environment of `make oracles`)

The functions are those of the models themselves: the rotations of GPT-J (pairs 2i, 2i+1) and Llama (pairs i, i + n/2), the attention of Gemma 2
(groups, soft-cap, window) and gpt-oss (groups, sinks, window). tests/test_ops.c reads the file."""
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


def attention(put):
    n, heads, heads_kv, dim, window = 40, 4, 2, 16, 20
    seen = sliding_window_causal_mask_function(window)
    at = torch.arange(n)
    mask = torch.where(seen(0, 0, at[:, None], at[None, :]), 0.0, float("-inf")).double()[None, None]
    sinks = random(heads)
    put("attention.sinks", sinks)
    for name, forward, extra in (("gemma2", modeling_gemma2.eager_attention_forward, {"softcap": 2.0}), ("gpt_oss", modeling_gpt_oss.eager_attention_forward, {})):
        q, k, v = 2 * random(1, heads, n, dim), random(1, heads_kv, n, dim), random(1, heads_kv, n, dim)
        module = SimpleNamespace(num_key_value_groups=heads // heads_kv, sinks=sinks, training=False, head_dim=dim)
        # gemma2 makes its weights float before it multiplies by them: to be as exact as the rest, leave that out
        softmax, F.softmax = F.softmax, lambda x, dim, dtype=None: softmax(x, dim=dim)
        out = forward(module, q, k, v, mask, scaling=dim ** -0.5, **extra)[0]
        F.softmax = softmax
        for part, value in (("q", q.transpose(1, 2)), ("k", k.transpose(1, 2)), ("v", v.transpose(1, 2)), ("out", out)):
            put("attention.%s.%s" % (name, part), value)


def main():
    torch.manual_seed(1)
    writer = gguf.GGUFWriter(OUT, "ops")
    writer.add_string("made.by", "tests/oracle/make_ops.py, torch " + torch.__version__)
    put = lambda name, value: writer.add_tensor(name, value.float().contiguous().numpy())
    rotations(put)
    rows(put)
    attention(put)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
