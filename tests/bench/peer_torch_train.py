#!/usr/bin/env python3
"""PyTorch as a measuring stick for training: the GPT-2 of bench_train.c, F32, SDPA, fused AdamW. A line of JSON for
each step, then the peak of memory.

    peer_torch_train.py N_SEQ N_CTX N_THREADS N_STEPS eager|compiled [cpu|cuda]
"""
import json
import resource
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

E, LAYERS, HEADS, VOCAB, POSITIONS = 768, 12, 12, 50257, 1024


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(E), nn.LayerNorm(E)
        self.qkv, self.out = nn.Linear(E, 3 * E), nn.Linear(E, E)
        self.up, self.down = nn.Linear(E, 4 * E), nn.Linear(4 * E, E)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = (part.view(n, t, HEADS, E // HEADS).transpose(1, 2)
                   for part in self.qkv(self.norm_1(x)).split(E, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, E)
        x = x + self.out(y)
        return x + self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh"))


class GPT2(nn.Module):
    def __init__(self):
        super().__init__()
        self.embd, self.pos = nn.Embedding(VOCAB, E), nn.Embedding(POSITIONS, E)
        self.blocks, self.norm = nn.ModuleList(Block() for _ in range(LAYERS)), nn.LayerNorm(E)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                nn.init.normal_(p, 0, 0.02)

    def forward(self, ids, targets):
        x = self.embd(ids) + self.pos(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(F.linear(self.norm(x), self.embd.weight).view(-1, VOCAB), targets.view(-1))


def main():
    n_seq, n_ctx, threads, steps = map(int, sys.argv[1:5])
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = sys.argv[6] if len(sys.argv) > 6 else "cpu"
    model = GPT2().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=0.1, fused=True)
    loss_of = torch.compile(model) if sys.argv[5] == "compiled" else model
    ids = torch.randint(0, VOCAB, (n_seq, n_ctx)).to(device)
    targets = torch.roll(ids, -1)
    for _ in range(steps):
        since = time.perf_counter()
        loss = loss_of(ids, targets)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - since
        print(json.dumps(dict(tokens_per_second=n_seq * n_ctx / seconds, loss=loss.item())), flush=True)
    print(json.dumps(dict(peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)), flush=True)


if __name__ == "__main__":
    main()
