#!/usr/bin/env python3
"""llama.cpp on a GPU as a measuring stick: the numbers of 'bench_cuda model' for the same file, a line of JSON each.

    PYTHONPATH=FOLDER peer_llama_cuda.py MODEL.gguf --batches 1,8,32 --prompts 512,4096

FOLDER is what build_llama_cuda.sh made (--cpu tries this script without a GPU). Prompts longer than 512 run with
micro-batches of 512, its default, and of their whole length. A step ends when the logits of all sequences are on the
host.
"""
import argparse
import ctypes
import json
import time

import llama_cpp as L

DEPTH = 128


def out(**row):
    print(json.dumps(row), flush=True)


class Context:
    def __init__(self, model, n_ctx, n_seq, n_batch, n_ubatch):
        p = L.llama_context_default_params()
        p.n_ctx, p.n_seq_max, p.n_batch, p.n_ubatch = n_ctx, n_seq, n_batch, n_ubatch
        p.no_perf = True
        if hasattr(p, "kv_unified"):
            p.kv_unified = False
        self.p = L.llama_init_from_model(model, p)
        if not self.p:
            raise SystemExit("peer_llama_cuda: no context")
        self.batch = L.llama_batch_init(n_batch, 0, 1)
        self.memory = L.llama_get_memory(self.p)

    def run(self, rows):
        """rows: (token, position, sequence, wants logits)."""
        b = self.batch
        b.n_tokens = len(rows)
        for i, (token, pos, seq, wants) in enumerate(rows):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = token, pos, 1, wants
            b.seq_id[i][0] = seq
        t = time.perf_counter()
        r = L.llama_decode(self.p, b)
        for i in range(len(rows)):
            if rows[i][3]:
                L.llama_get_logits_ith(self.p, i)        # waits
        if r:
            raise SystemExit("peer_llama_cuda: llama_decode returned %d" % r)
        return time.perf_counter() - t

    def close(self):
        L.llama_batch_free(self.batch)
        L.llama_free(self.p)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("model")
    a.add_argument("--batches", default="1,8,32")
    a.add_argument("--prompts", default="512,4096")
    a.add_argument("--generate", type=int, default=32)
    a.add_argument("--runs", type=int, default=5)
    a.add_argument("--cpu", action="store_true")
    o = a.parse_args()
    quiet = L.llama_log_callback(lambda level, text, user: None)
    L.llama_log_set(quiet, ctypes.c_void_p(0))
    L.llama_backend_init()
    if not o.cpu and not L.llama_supports_gpu_offload():
        raise SystemExit("peer_llama_cuda: this build of llama.cpp has no GPU, or finds none")
    mp = L.llama_model_default_params()
    mp.n_gpu_layers = 0 if o.cpu else 999
    t = time.perf_counter()
    model = L.llama_model_load_from_file(o.model.encode(), mp)
    if not model:
        raise SystemExit("peer_llama_cuda: llama.cpp cannot load %s" % o.model)
    load = time.perf_counter() - t
    n_vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    token = lambda i: (i * 7919 + 13) % n_vocab
    t = time.perf_counter()
    c = Context(model, 512, 1, 512, 512)
    first = c.run([(token(i), i, 0, i == 63) for i in range(64)])
    out(what="first", peer="llama.cpp", version=L.__version__, load_s=load, context_s=time.perf_counter() - t - first,
        seconds=[first], system=L.llama_print_system_info().decode())
    c.close()
    for n in map(int, o.batches.split(",")):
        c = Context(model, n * (DEPTH + o.generate + 64), n, 512, 512)
        for s in range(n):
            c.run([(token(s * DEPTH + i), i, s, i == DEPTH - 1) for i in range(DEPTH)])
        times = []
        for r in range(o.runs + 1):
            for s in range(n):
                L.llama_memory_seq_rm(c.memory, s, DEPTH, -1)
            times.append(sum(c.run([(token(i * n + s), DEPTH + i, s, True) for s in range(n)])
                             for i in range(o.generate)) / o.generate)
        out(what="decode", peer="llama.cpp", batch=n, steps=o.generate, depth=DEPTH, seconds_a_step=times[1:])
        c.close()
    for n in map(int, o.prompts.split(",")):
        for n_ubatch in sorted({min(n, 512), n}):
            c = Context(model, n + 64, 1, n, n_ubatch)
            times = []
            for r in range(o.runs + 1):
                L.llama_memory_clear(c.memory, True)
                times.append(c.run([(token(i), i, 0, i == n - 1) for i in range(n)]))
            out(what="prompt", peer="llama.cpp", n=n, n_batch=n_ubatch, seconds=times[1:])
            c.close()


if __name__ == "__main__":
    main()
