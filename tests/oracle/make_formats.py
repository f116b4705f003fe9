#!/usr/bin/env python3
"""Losses of training in number formats, by PyTorch: the operands of every product are rounded, all else is not.

    python tests/oracle/make_formats.py                needs torch, transformers, peft, gguf

Writes data/formats.gguf. Of every model NAME, KIND and FORMAT:
  NAME.KIND.FORMAT       (20 or 10)  the loss before each step
  NAME.FORMAT/TENSOR     (n)         of the gradient g of the first step: g[i * STEP % size] for i < n (KIND full)
KIND full: 20 steps of AdamW on the tiny models of make_models.py, the batch of make_train.py in every step, as the run
adamw of make_optim.py; KIND lora: 10 steps of make_lora.py. FORMAT fp32 is all in double precision. So are bf16 and
fp16, but for what a product reads, which they round to nearest even:

    y = r(x) r(W)^T + b      dx = r(dy) r(W)      dW = r(dy)^T r(x)      db = sum of dy

In fp16 the loss is multiplied by 65536 on the way back, and the gradients divided by it. A product is
that of a Linear or a Conv1D, the head included; those of attention are computed as everything else.

Two implementations cannot agree better than this allows: where their sums differ in the last bit of a float, one value
in some ten thousand is rounded the other way, and that is a hundredth of all that a format changes.
"""
import os
import sys

import gguf
import numpy as np
import torch
import transformers

import make_lora
import make_models
import make_optim
import make_train
from make_models import finish

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "formats.gguf")
KINDS = {"bf16": torch.bfloat16, "fp16": torch.float16}
STEPS, N_VALUES = 20, 32


class Product(torch.autograd.Function):
    kind = None

    @staticmethod
    def rounded(x):
        return x if Product.kind is None else x.float().to(Product.kind).to(x.dtype)

    @staticmethod
    def forward(ctx, x, weight):                            # (.., in), (out, in)
        x, weight = Product.rounded(x), Product.rounded(weight)
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dy = Product.rounded(dy)
        assert torch.isfinite(dy).all()
        return dy @ weight, dy.flatten(0, -2).T @ x.flatten(0, -2)


def linear(x, weight, bias=None):
    y = Product.apply(x, weight)
    return y if bias is None else y + bias


def conv1d(self, x):
    return linear(x, self.weight.T, self.bias)


def transposed(self, x):
    return linear(x, self.weight, self.bias)


def values(g):
    g = np.ascontiguousarray(g, np.float64).ravel()
    return np.float32(g[np.arange(min(g.size, N_VALUES)) * make_train.STEP % g.size])


def gradients(name, model):
    """As in a file of the model."""
    kept = [p.data for p in model.parameters()]
    for p in model.parameters():
        p.data = p.grad.clone()
    found = make_optim.tensors(name, model)
    for p, data in zip(model.parameters(), kept):
        p.data = data
    return {to: values(g) for to, g in found.items()}


def full(name, scale):
    ids, targets, weights = make_train.batch_of(name)
    model = make_models.make_model(name).to(torch.float64)
    model.get_input_embeddings().padding_idx = None
    make_optim.transpose(model)
    step, losses = make_optim.make_run("adamw", model), []
    for _ in range(STEPS):
        loss, back = make_train.loss_of(model(torch.tensor(ids), use_cache=False).logits, targets, weights)
        (back * scale).backward()
        for p in model.parameters():
            p.grad /= scale
        if not losses:
            found = gradients(name, model)
        losses.append(loss.item())
        step()
    return losses, found


def lora(name, scale):
    model, params = make_lora.adapted(name)
    optimizer = torch.optim.AdamW([p for _, p, _ in params], lr=make_lora.RATE, betas=make_lora.BETAS,
                                  eps=make_lora.EPS, weight_decay=make_lora.DECAY)
    losses = []
    for step in range(make_lora.STEPS):
        loss, back = make_lora.loss_of(model, name, step)
        losses.append(loss.item())
        optimizer.zero_grad()
        (back * scale).backward()
        for _, p, _ in params:
            p.grad /= scale
        optimizer.step()
    return losses, {}


def main():
    torch.set_num_threads(1)
    torch.nn.functional.linear = linear
    transformers.pytorch_utils.Conv1D.forward = conv1d
    make_optim.Transposed.forward = transposed
    w = gguf.GGUFWriter(OUT, "formats")
    w.add_string("made.by", "peft, transformers %s, torch %s, float64" % (transformers.__version__, torch.__version__))
    for name in ("gpt2", "llama"):
        for kind, run in (("full", full), ("lora", lora)):
            for fmt in ("fp32", "bf16", "fp16"):
                Product.kind = KINDS.get(fmt)
                losses, found = run(name, 65536.0 if fmt == "fp16" else 1.0)
                w.add_tensor("%s.%s.%s" % (name, kind, fmt), np.float32(losses))
                for to, g in found.items() if fmt != "fp32" else ():
                    w.add_tensor("%s.%s/%s" % (name, fmt, to), g)
                print(name, kind, fmt, "%.6f ... %.6f" % (losses[0], losses[-1]), flush=True)
    finish(w)
    print("%d bytes" % os.path.getsize(OUT))


if __name__ == "__main__":
    sys.exit(main())
