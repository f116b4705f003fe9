#!/usr/bin/env python3
"""PyTorch as a measuring stick on a GPU: a model of random bf16 weights, the shapes and the numbers of bench_cuda.c; a
line of JSON each.

    peer_torch_cuda.py plain SHAPE          a small Llama with a static cache and SDPA: eager, captured as a CUDA graph,
    and compiled + captured peer_torch_cuda.py transformers SHAPE   the same shape in Hugging Face's transformers:
    static cache, compiled by it peer_torch_cuda.py gemm 8192            bf16 products and copies, for comparison with
    the ceilings that bench_cuda measures

The small one is written to be fast: one product for q, k, v and one for gate and up, nothing allocated, blocks compiled
once and replayed as one graph. A step ends when the host has the next token's id. What takes long comes last: what was
printed before a time limit counts.
"""
import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

SHAPES = {
    "qwen2.5-0.5b": dict(L=24, E=896, H=14, KV=2, D=64, FF=4864, V=151936, base=1e6, tied=True, bias=True),
    "llama-7b": dict(L=32, E=4096, H=32, KV=32, D=128, FF=11008, V=32000, base=1e4, tied=False, bias=False),
    "tiny": dict(L=2, E=256, H=4, KV=2, D=64, FF=512, V=512, base=1e4, tied=False, bias=False),
}
DEPTH = 128


def out(**row):
    print(json.dumps(row), flush=True)


def say(text):
    print("peer_torch_cuda: " + text, file=sys.stderr, flush=True)


def sync(device):
    if device == "cuda":
        torch.cuda.synchronize()


# ---- the small model -------------------------------------------------------------------------------------------------

class Block(nn.Module):
    def __init__(self, s, batch, n_ctx, device, dtype):
        super().__init__()
        self.s = s
        make = lambda o, i, b=False: nn.Linear(i, o, bias=b, device=device, dtype=dtype)
        self.qkv = make((s["H"] + 2 * s["KV"]) * s["D"], s["E"], s["bias"])
        self.o = make(s["E"], s["H"] * s["D"])
        self.gate_up = make(2 * s["FF"], s["E"])
        self.down = make(s["E"], s["FF"])
        self.n1 = nn.Parameter(torch.ones(s["E"], device=device, dtype=dtype))
        self.n2 = nn.Parameter(torch.ones(s["E"], device=device, dtype=dtype))
        self.cache(batch, n_ctx, device, dtype)

    def cache(self, batch, n_ctx, device, dtype):
        self.register_buffer("k", torch.zeros(batch, self.s["KV"], n_ctx, self.s["D"], device=device, dtype=dtype),
                             persistent=False)
        self.register_buffer("v", torch.zeros_like(self.k), persistent=False)

    def forward(self, x, cos, sin, pos, mask):
        """x (batch, n, E); pos (n,) where they go in the cache; mask (n, n_ctx), or None: a prompt from position 0."""
        s = self.s
        b, n, _ = x.shape
        h = F.rms_norm(x, (s["E"],), self.n1, 1e-5)
        q, k, v = self.qkv(h).view(b, n, -1, s["D"]).transpose(1, 2).split((s["H"], s["KV"], s["KV"]), dim=1)
        turn = lambda y: y * cos + torch.cat((-y[..., s["D"] // 2:], y[..., :s["D"] // 2]), -1) * sin
        q, k = turn(q), turn(k)
        self.k.index_copy_(2, pos, k)
        self.v.index_copy_(2, pos, v)
        if mask is None:
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=s["H"] != s["KV"])
        else:
            a = F.scaled_dot_product_attention(q, self.k, self.v, attn_mask=mask, enable_gqa=s["H"] != s["KV"])
        x = x + self.o(a.transpose(1, 2).reshape(b, n, -1))
        gate, up = self.gate_up(F.rms_norm(x, (s["E"],), self.n2, 1e-5)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Model(nn.Module):
    def __init__(self, s, device, dtype):
        super().__init__()
        self.s, self.device, self.dtype = s, device, dtype
        self.embed = nn.Embedding(s["V"], s["E"], device=device, dtype=dtype)
        self.blocks = nn.ModuleList(Block(s, 1, 1, device, dtype) for _ in range(s["L"]))
        self.norm = nn.Parameter(torch.ones(s["E"], device=device, dtype=dtype))
        head = None if s["tied"] else torch.empty(s["V"], s["E"], device=device, dtype=dtype)
        self.head = self.embed.weight if s["tied"] else nn.Parameter(head)
        for p in self.parameters():
            if p.dim() == 2:
                p.data.normal_(0, 0.02)

    def room(self, batch, n_ctx):
        for b in self.blocks:
            b.cache(batch, n_ctx, self.device, self.dtype)
        half = torch.arange(0, self.s["D"], 2, device=self.device, dtype=torch.float64) / self.s["D"]
        angle = torch.outer(torch.arange(n_ctx, device=self.device, dtype=torch.float64), self.s["base"] ** -half)
        angle = torch.cat((angle, angle), -1)
        self.cos, self.sin = angle.cos().to(self.dtype), angle.sin().to(self.dtype)

    def forward(self, ids, pos, mask):
        """The id that each sequence goes on with (batch,)."""
        x = self.embed(ids)
        cos, sin = self.cos[pos], self.sin[pos]
        for b in self.blocks:
            x = b(x, cos, sin, pos, mask)
        return (F.rms_norm(x[:, -1], (self.s["E"],), self.norm, 1e-5) @ self.head.T).argmax(-1)


def captured(device, step):
    """step, or its replay as one CUDA graph."""
    if device != "cuda":
        return step, None
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = step()
    return graph.replay, result


def decode(model, mode, batch, n_gen, runs):
    device, n_ctx = model.device, DEPTH + n_gen
    model.room(batch, n_ctx)
    ids = torch.randint(model.s["V"], (batch, 1), device=device)
    pos = torch.full((1,), DEPTH, device=device)
    mask = torch.zeros(1, n_ctx, dtype=torch.bool, device=device)
    places = torch.arange(n_ctx, device=device)

    def step():
        torch.le(places, pos, out=mask[0])
        ids.copy_(model(ids, pos, mask)[:, None])
        pos.add_(1)
        return ids
    if mode == "eager":
        go = step
    else:
        go, _ = captured(device, step)
    times = []
    for r in range(runs + 1):
        pos.fill_(DEPTH)
        sync(device)
        t = time.perf_counter()
        for _ in range(n_gen):
            go()
            ids.cpu()
        times.append((time.perf_counter() - t) / n_gen)
    out(what="decode", peer="torch", mode=mode, batch=batch, steps=n_gen, depth=DEPTH, seconds_a_step=times[1:])


def prompt(model, mode, n, runs):
    device = model.device
    model.room(1, n)
    ids = torch.randint(model.s["V"], (1, n), device=device)
    pos = torch.arange(n, device=device)
    result = [None]

    def step():
        result[0] = model(ids, pos, None)
        return result[0]
    if mode == "eager":
        go = step
    else:
        go, kept = captured(device, step)
        result[0] = kept if kept is not None else result[0]
    times = []
    for r in range(runs + 1):
        sync(device)
        t = time.perf_counter()
        go()
        result[0].cpu()
        times.append(time.perf_counter() - t)
    out(what="prompt", peer="torch", mode=mode, n=n, seconds=times[1:])


def plain(a, s, device, dtype):
    with torch.inference_mode():
        t = time.perf_counter()
        model = Model(s, device, dtype)
        sync(device)
        out(what="info", peer="torch", version=torch.__version__, dtype=str(dtype).replace("torch.", ""),
            made_s=time.perf_counter() - t)
        for mode in a.modes.split(","):
            if mode == "compiled":                       # one block, compiled once a shape, serves every layer
                torch._dynamo.config.cache_size_limit = 64
                for b in model.blocks:
                    b.compile(dynamic=False)
            for f, sizes in ((decode, a.batches), (prompt, a.prompts)):
                for size in sizes.split(","):
                    try:
                        t = time.perf_counter()
                        f(model, mode, int(size), *((a.generate, a.runs) if f is decode else (a.runs,)))
                        say("%s %s %s took %.1f s" % (mode, f.__name__, size, time.perf_counter() - t))
                    except Exception as wrong:           # a mode that does not work leaves the others
                        out(what="failed", peer="torch", mode=mode, test="%s %s" % (f.__name__, size),
                            why=" ".join(str(wrong).split())[:400])


# ---- transformers ----------------------------------------------------------------------------------------------------

def hugging_face(a, s, device, dtype):
    import transformers
    kind = (transformers.LlamaConfig, transformers.LlamaForCausalLM)
    if s["bias"]:
        kind = (transformers.Qwen2Config, transformers.Qwen2ForCausalLM)
    config = kind[0](vocab_size=s["V"], hidden_size=s["E"], intermediate_size=s["FF"], num_hidden_layers=s["L"],
                     num_attention_heads=s["H"], num_key_value_heads=s["KV"],
                     max_position_embeddings=8192, tie_word_embeddings=s["tied"], bos_token_id=None, eos_token_id=None,
                     pad_token_id=0)
    config._attn_implementation = "sdpa"
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = kind[1](config).eval()
    torch.set_default_dtype(before)
    out(what="info", peer="transformers", version=transformers.__version__, dtype=str(dtype).replace("torch.", ""))
    with torch.inference_mode():
        for n in a.prompts.split(","):
            ids = torch.randint(s["V"], (1, int(n)), device=device)
            times = []
            for r in range(a.runs + 1):
                sync(device)
                t = time.perf_counter()
                model(ids, use_cache=True, logits_to_keep=1).logits.argmax(-1).cpu()
                times.append(time.perf_counter() - t)
            out(what="prompt", peer="transformers", mode="eager", n=int(n), seconds=times[1:])
        for mode in ("dynamic cache", "static cache, compiled"):
            for batch in a.batches.split(","):
                ids = torch.randint(s["V"], (int(batch), DEPTH), device=device)
                options = dict(do_sample=False, pad_token_id=0, attention_mask=torch.ones_like(ids))
                if mode != "dynamic cache":
                    options["cache_implementation"] = "static"
                try:
                    def run(n):
                        sync(device)
                        t = time.perf_counter()
                        model.generate(ids, max_new_tokens=n, min_new_tokens=n, **options)
                        sync(device)
                        return time.perf_counter() - t
                    for _ in range(3 if mode != "dynamic cache" else 1):
                        run(a.generate + 1)
                    one = min(run(1) for _ in range(3))
                    times = [(run(a.generate + 1) - one) / a.generate for _ in range(a.runs)]
                    out(what="decode", peer="transformers", mode=mode, batch=int(batch), steps=a.generate, depth=DEPTH,
                        seconds_a_step=times)
                except Exception as wrong:
                    out(what="failed", peer="transformers", mode=mode, test="decode %s" % batch,
                        why=" ".join(str(wrong).split())[:400])


# ---- ceilings --------------------------------------------------------------------------------------------------------

def gemm(n, device):
    x, w = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    big = torch.empty(min(1 << 30, n * n * 16), device=device, dtype=torch.float32)
    other = torch.empty_like(big)
    for what, step, key, amount in (("gemm_bf16", lambda: x @ w, "flop", 2.0 * n ** 3),
                                    ("copy", lambda: other.copy_(big), "bytes_moved", 8.0 * big.numel())):
        times = []
        for r in range(9):
            sync(device)
            t = time.perf_counter()
            for _ in range(10):
                step()
            sync(device)
            times.append((time.perf_counter() - t) / 10)
        out(what=what, peer="torch", seconds=times[1:], **{key: amount})


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", choices=("plain", "transformers", "gemm"))
    p.add_argument("shape", help="a shape, or the size of the product")
    p.add_argument("--batches", default="1,8,32")
    p.add_argument("--prompts", default="512,4096")
    p.add_argument("--generate", type=int, default=32)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--modes", default="graph,compiled", help="of eager, graph, compiled")
    p.add_argument("--device", default="cuda")
    a = p.parse_args()
    if a.device == "cuda" and not torch.cuda.is_available():
        sys.exit("peer_torch_cuda: this torch (%s) sees no GPU" % torch.__version__)
    torch.manual_seed(1)
    if a.what == "gemm":
        return gemm(int(a.shape), a.device)
    (plain if a.what == "plain" else hugging_face)(a, SHAPES[a.shape], a.device, torch.bfloat16)


if __name__ == "__main__":
    main()
