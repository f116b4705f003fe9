#!/usr/bin/env python3
"""Sampler vectors: what the logits processors of transformers leave of random logits. Writes
tests/oracle/data/sampler.gguf. Needs torch, transformers, gguf.

For every case N, all F32:
    N.settings  repetition penalty, temperature, top_k, top_p, min_p, typical_p (0: off), in our order of application
    N.history   accepted ids (empty: the tensor is absent)        N.bias   (2, n): pairs of id and bias (absent: none)
    N.logits    (n_vocab)                                         N.probs  (n_vocab): what remains, 0 where
                it is filtered out
"""
import os

import gguf
import numpy as np
import torch
from transformers.generation import logits_process as P

N_VOCAB = 151
CASES = [  # repetition, temperature, top_k, top_p, min_p, typical, history, bias
    (0, 1.0, 0, 0, 0, 0, 0, 0), (0, 0.5, 0, 0, 0, 0, 0, 0), (0, 1.7, 12, 0, 0, 0, 0, 0), (0, 1.0, 1, 0, 0, 0, 0, 0),
    (0, 0.8, 0, 0.9, 0, 0, 0, 0),
    (0, 1.0, 0, 0.05, 0, 0, 0, 0), (0, 1.2, 0, 0.999, 0, 0, 0, 0), (0, 1.0, 0, 0, 0.1, 0, 0, 0),
    (0, 1.3, 0, 0, 0.01, 0, 0, 0), (0, 1.0, 0, 0, 0, 0.5, 0, 0),
    (0, 0.7, 0, 0, 0, 0.95, 0, 0), (0, 1.0, 0, 0, 0, 0.2, 0, 0), (0, 0.9, 40, 0.95, 0.05, 0, 0, 0),
    (0, 1.1, 30, 0.8, 0.02, 0.9, 0, 0), (1.3, 1.0, 0, 0, 0, 0, 20, 0),
    (1.2, 0.8, 20, 0.9, 0, 0, 30, 0), (0.8, 1.0, 0, 0.7, 0, 0, 10, 0), (0, 1.0, 10, 0, 0, 0, 0, 5),
    (1.5, 1.0, 0, 0.9, 0.03, 0.95, 25, 8),
]


def chain(case, bias, ids, scores):
    repetition, temperature, top_k, top_p, min_p, typical = case[:6]
    if repetition:
        scores = P.RepetitionPenaltyLogitsProcessor(float(repetition))(ids, scores)
    if len(bias):
        scores = P.SequenceBiasLogitsProcessor([[[int(i)], float(b)] for i, b in bias])(ids, scores)
    if temperature != 1:
        scores = P.TemperatureLogitsWarper(float(temperature))(ids, scores)
    if top_k:
        scores = P.TopKLogitsWarper(int(top_k))(ids, scores)
    if top_p:
        scores = P.TopPLogitsWarper(float(top_p))(ids, scores)
    if min_p:
        scores = P.MinPLogitsWarper(float(min_p))(ids, scores)
    if typical:
        scores = P.TypicalLogitsWarper(float(typical))(ids, scores)
    return torch.softmax(scores.double(), -1)[0].numpy()


def main():
    out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "sampler.gguf")
    w = gguf.GGUFWriter(out, "reference")
    for n, case in enumerate(CASES):
        rng = np.random.default_rng([5, n])
        logits = (rng.standard_normal(N_VOCAB) * 2.5).astype(np.float32)
        history = rng.integers(0, N_VOCAB, case[6])
        bias = np.stack([rng.permutation(N_VOCAB)[:case[7]], np.round(rng.standard_normal(case[7]) * 3, 2)],
                        axis=1) if case[7] else np.zeros((0, 2))
        ids = torch.tensor(np.array([history]), dtype=torch.long)
        probs = chain(case, bias, ids, torch.tensor(logits[None]))
        w.add_tensor("%d.settings" % n, np.array(case[:6], np.float32))
        if len(history):
            w.add_tensor("%d.history" % n, history.astype(np.float32))
        if len(bias):
            w.add_tensor("%d.bias" % n, np.ascontiguousarray(bias, np.float32))
        w.add_tensor("%d.logits" % n, logits)
        w.add_tensor("%d.probs" % n, probs.astype(np.float32))
        print(n, case, "left: %d" % (probs > 0).sum())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
