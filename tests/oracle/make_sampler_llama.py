#!/usr/bin/env python3
"""Sampler vectors: what the samplers of llama.cpp leave of random logits. Writes tests/oracle/data/sampler_llama.gguf.
Needs llama-cpp-python, gguf, and a vocabulary of ../shared/data (for the breakers of DRY).

For every case N, all F32:
    N.settings  dry_multiplier, dry_base, dry_allowed_length, dry_last_n, temperature, temperature_range,
                temperature_exponent, top_n_sigma, xtc_probability (1), xtc_threshold, mirostat, mirostat_tau (0: off)
    N.history   accepted ids (empty: absent)        N.breakers  ids (empty: absent)
    N.logits    (n_vocab)                           N.probs  (n_vocab): what remains, 0 where it is filtered out
The samplers stand in our order. llama.cpp computes in single precision.
"""
import ctypes
import os

import gguf
import llama_cpp as L
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
VOCAB = os.path.join(os.environ.get("HYBRID_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data")), "vocab",
                     "ggml-vocab-qwen2.gguf")
N_VOCAB = 300
CASES = [  # the settings; tokens of history; kinds of tokens in it
    (0.8, 1.75, 2, 1024, 1.0, 0, 1, 0, 0, 0, 0, 0, 60, 3), (0.8, 1.75, 2, 1024, 1.0, 0, 1, 0, 0, 0, 0, 0, 200, 4),
    (1.5, 1.2, 3, 50, 1.0, 0, 1, 0, 0, 0, 0, 0, 200, 2), (2.0, 3.0, 1, 300, 1.0, 0, 1, 0, 0, 0, 0, 0, 250, 5),
    (0.5, 1.75, 4, 1024, 0.8, 0, 1, 0, 0, 0, 0, 0, 300, 2), (0, 1, 0, 0, 1.0, 0.5, 1, 0, 0, 0, 0, 0, 0, 0),
    (0, 1, 0, 0, 0.8, 0.8, 1, 0, 0, 0, 0, 0, 0, 0), (0, 1, 0, 0, 1.5, 0.7, 2.0, 0, 0, 0, 0, 0, 0, 0),
    (0, 1, 0, 0, 1.0, 0.9, 0.5, 0, 0, 0, 0, 0, 0, 0), (0, 1, 0, 0, 1.0, 0, 1, 1.0, 0, 0, 0, 0, 0, 0),
    (0, 1, 0, 0, 0.7, 0, 1, 2.0, 0, 0, 0, 0, 0, 0), (0, 1, 0, 0, 1.3, 0, 1, 0.3, 0, 0, 0, 0, 0, 0),
    (0, 1, 0, 0, 1.0, 0, 1, 0, 1, 0.1, 0, 0, 0, 0), (0, 1, 0, 0, 1.5, 0, 1, 0, 1, 0.05, 0, 0, 0, 0),
    (0, 1, 0, 0, 2.0, 0, 1, 0, 1, 0.02, 0, 0, 0, 0), (0, 1, 0, 0, 1.0, 0, 1, 0, 0, 0, 1, 5.0, 0, 0),
    (0, 1, 0, 0, 1.0, 0, 1, 0, 0, 0, 1, 2.0, 0, 0), (0, 1, 0, 0, 0.8, 0, 1, 0, 0, 0, 1, 1.2, 0, 0),
    (0, 1, 0, 0, 1.0, 0, 1, 0, 0, 0, 2, 3.0, 0, 0), (0, 1, 0, 0, 1.4, 0, 1, 0, 0, 0, 2, 2.0, 0, 0),
    (0, 1, 0, 0, 1.0, 0, 1, 0, 0, 0, 2, 1.0, 0, 0), (0.8, 1.75, 2, 1024, 1.2, 0.4, 1, 1.5, 1, 0.1, 0, 0, 150, 3),
]


def model():
    silent = L.llama_log_callback(lambda level, text, user: None)
    L.llama_log_set(silent, ctypes.c_void_p(0))
    L.llama_backend_init()
    p = L.llama_model_default_params()
    p.vocab_only = True
    return silent, L.llama_model_load_from_file(VOCAB.encode(), p)


def with_line_ends(vocab):
    found, room = [], ctypes.create_string_buffer(256)
    for i in range(N_VOCAB):
        n = L.llama_token_to_piece(vocab, i, room, 256, 0, True)
        if b"\n" in room.raw[:max(n, 0)]:
            found.append(i)
    return found


def chain(vocab, s):
    out = []
    if s[0]:
        texts = (ctypes.c_char_p * 1)(b"\n")
        out.append(L.llama_sampler_init_dry(vocab, s[0], s[1], int(s[2]), int(s[3]), texts, 1))
    out.append(L.llama_sampler_init_temp_ext(s[4], s[5], s[6]))
    if s[7]:
        out.append(L.llama_sampler_init_top_n_sigma(s[7]))
    if s[8]:
        out.append(L.llama_sampler_init_xtc(s[8], s[9], 0, 1))
    if s[10] == 1:
        out.append(L.llama_sampler_init_mirostat(N_VOCAB, 1, s[11], 0.1, 100))
    if s[10] == 2:
        out.append(L.llama_sampler_init_mirostat_v2(1, s[11], 0.1))
    return out


def left(samplers, logits, history):
    data = (L.llama_token_data * N_VOCAB)()
    for i in range(N_VOCAB):
        data[i].id, data[i].logit, data[i].p = i, float(logits[i]), 0.0
    array = L.llama_token_data_array(data, N_VOCAB, -1, False)
    for sampler in samplers:
        for token in history:
            L.llama_sampler_accept(sampler, int(token))
        L.llama_sampler_apply(sampler, ctypes.byref(array))
    kept = np.full(N_VOCAB, -np.inf)
    for i in range(array.size):
        kept[array.data[i].id] = array.data[i].logit
    p = np.exp(kept - kept.max())
    return p / p.sum()


def main():
    _, m = model()
    vocab = L.llama_model_get_vocab(m)
    breakers = with_line_ends(vocab)
    w = gguf.GGUFWriter(os.path.join(HERE, "data", "sampler_llama.gguf"), "reference")
    for n, case in enumerate(CASES):
        rng = np.random.default_rng([6, n])
        logits = (rng.standard_normal(N_VOCAB) * 2.5).astype(np.float32)
        kinds = np.concatenate([rng.integers(0, N_VOCAB, case[13]), breakers[:1]])
        history = kinds[np.minimum(rng.integers(0, 5 * (case[13] or 1) + 1, case[12]) // 5, case[13])]
        samplers = chain(vocab, case)
        probs = left(samplers, logits, history)
        for sampler in samplers:
            L.llama_sampler_free(sampler)
        w.add_tensor("%d.settings" % n, np.array(case[:12], np.float32))
        if len(history):
            w.add_tensor("%d.history" % n, history.astype(np.float32))
        if case[0]:
            w.add_tensor("%d.breakers" % n, np.array(breakers, np.float32))
        w.add_tensor("%d.logits" % n, logits)
        w.add_tensor("%d.probs" % n, probs.astype(np.float32))
        print(n, case, "left: %d" % (probs > 0).sum())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


if __name__ == "__main__":
    main()
