#!/usr/bin/env python3
"""Ten steps of every optimizer on the tiny gpt2 and llama of make_models.py, by torch.optim through transformers.

    python tests/oracle/make_optim.py                  needs torch (2.9 and later have Muon), transformers, gguf

Writes data/optim.gguf. The batch is that of make_train.py, in every step the same. Of every model NAME and run RUN:
  NAME.RUN (key, 10 float64)   the loss before each step
  NAME.RUN/TENSOR     (3 + n)  of the weights w after the last: their norm, the largest, the sum of w[i] * cos(i), and
                               n of their values: w[i * STEP % size] for i < n
  NAME.ema/TENSOR              the same of the average of the weights in the run adamw, 0.9 of the last one and 0.1 of w

All is computed in double precision: torch's Muon, which rounds to bfloat16, is told that this is float64. Weight decay
of SGD is decoupled, as everywhere here: the weights are multiplied by 1 - rate * decay before a step without it.
"""
import os
import sys

import gguf
import numpy as np
import torch

import make_models
import make_train
from make_models import finish, gguf_tensors

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "optim.gguf")
STEPS, N_VALUES, EMA = 10, 24, 0.9
DECAY = 0.1
TABLES = ("wte", "wpe", "embed_tokens", "lm_head")      # AdamW takes care of these in a run of Muon


class Transposed(torch.nn.Module):
    """A Conv1D of GPT-2 whose weight is (out, in): it is this shape that Muon scales by."""

    def __init__(self, conv):
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(conv.weight.detach().T.contiguous()), conv.bias

    def forward(self, x):
        return x @ self.weight.T + self.bias


def transpose(model):
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child).__name__ == "Conv1D":
                setattr(module, name, Transposed(child))


def make_run(run, model):
    """A function that takes a step, when the gradients are there."""
    named = list(model.named_parameters())
    matrices = [p for _, p in named if p.ndim == 2]
    vectors = [p for _, p in named if p.ndim != 2]

    def adamw(params, decay):
        return torch.optim.AdamW(params, lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)
    if run == "adamw":
        optimizers = [adamw(matrices, DECAY), adamw(vectors, 0)]
    elif run == "muon":
        hidden = [p for n, p in named if p.ndim == 2 and not any(t in n for t in TABLES)]
        tables = [p for n, p in named if p.ndim == 2 and any(t in n for t in TABLES)]
        optimizers = [adamw(tables, DECAY), adamw(vectors, 0),
                      torch.optim.Muon(hidden, lr=0.02, weight_decay=DECAY, momentum=0.95, nesterov=True)]
    else:
        momentum = 0 if run == "sgd" else 0.9
        optimizers = [torch.optim.SGD(list(p for _, p in named), lr=0.05, momentum=momentum,
                                      nesterov=run == "nesterov")]

    def step():
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        if run in ("sgd", "momentum", "nesterov"):
            with torch.no_grad():
                for p in matrices:
                    p.mul_(1 - 0.05 * DECAY)
        kind, torch.bfloat16 = torch.bfloat16, torch.float64
        for o in optimizers:
            o.step()
        torch.bfloat16 = kind
        model.zero_grad()
    return step


def summary(x):
    x = np.ascontiguousarray(x, np.float64).ravel()
    values = x[np.arange(min(x.size, N_VALUES)) * make_train.STEP % x.size]
    return np.concatenate([[np.sqrt((x * x).sum()), np.abs(x).max(), (x * np.cos(np.arange(x.size))).sum()], values])


def tensors(name, model):
    """As in a file of the model: what was transposed goes back to what gguf_tensors expects."""
    for module in model.modules():
        if isinstance(module, Transposed):
            module.weight.data = module.weight.data.T
    out = {to: x.copy() for to, x in gguf_tensors(name, model)}
    for module in model.modules():
        if isinstance(module, Transposed):
            module.weight.data = module.weight.data.T
    return out


def train(name, run):
    ids, targets, weights = make_train.batch_of(name)
    model = make_models.make_model(name).to(torch.float64)
    model.get_input_embeddings().padding_idx = None
    transpose(model)
    step, losses, ema = make_run(run, model), [], tensors(name, model)
    for _ in range(STEPS):
        loss, back = make_train.loss_of(model(torch.tensor(ids), use_cache=False).logits, targets, weights)
        back.backward()
        losses.append(loss.item())
        step()
        ema = {to: EMA * ema[to] + (1 - EMA) * x for to, x in tensors(name, model).items()}
    return losses, tensors(name, model), ema


def main():
    torch.set_num_threads(1)
    import transformers
    w = gguf.GGUFWriter(OUT, "optim")
    w.add_string("made.by", "transformers %s, torch %s, float64, eager attention" %
                 (transformers.__version__, torch.__version__))
    for name in ("gpt2", "llama"):
        for run in ("adamw", "sgd", "momentum", "nesterov", "muon"):
            losses, after, ema = train(name, run)
            w.add_array(name + "." + run, [float(x) for x in losses])
            for key, x in after.items():
                w.add_tensor("%s.%s/%s" % (name, run, key), np.float32(summary(x)))
                if run == "adamw":
                    w.add_tensor("%s.ema/%s" % (name, key), np.float32(summary(ema[key])))
            print("%-6s %-9s %s" % (name, run, " ".join("%.4f" % x for x in losses)), flush=True)
    finish(w)
    print("%d bytes" % os.path.getsize(OUT))


if __name__ == "__main__":
    sys.exit(main())
