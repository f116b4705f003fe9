#!/usr/bin/env python3
"""What llama.cpp and hybrid make of files that leave a key out, or say it in another way: for every tiny model, each
optional key dropped in turn, and some values set. Writes data/models/FILES.md: a line for each file of which the two
think differently, and why that is so.

    python tests/oracle/check_files.py [--hybrid PROGRAM] [MODEL...]      needs gguf, llama-cpp-python, a C compiler
"""
import argparse
import os
import select
import subprocess
import sys
import tempfile

import gguf
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "data", "models")
ROOT = os.path.dirname(os.path.dirname(HERE))
PROGRAM = r"""
#define HYBRID_IMPLEMENTATION
#include "hybrid.h"
#include <stdio.h>
int main(int argc, char **argv)
{
    hybrid_model_desc d; hybrid_context_desc cd; hybrid_model *m; hybrid_context *c; hybrid_error e; hybrid_model_info info;
    int32_t ids[64]; int n = 0, i;
    memset(&d, 0, sizeof d); memset(&cd, 0, sizeof cd);
    for (i = 2; i < argc; i++) ids[n++] = atoi(argv[i]);
    d.path = argv[1]; cd.n_ctx = 64; cd.n_logits = 64; cd.kv = HYBRID_KV_F32;
    if (hybrid_model_load(NULL, &d, &m, &e)) return fprintf(stderr, "%s", e.message), 1;
    hybrid_model_describe(m, &info);
    cd.n_ctx = info.n_ctx_train < 128 ? 64 : 256;      /* longrope chooses by it; llama.cpp has 256 */
    if (hybrid_context_create(m, &cd, &c, &e) || hybrid_batch_add_logits(c, 0, ids, n, n, &e) || hybrid_decode(c, &e))
        return fprintf(stderr, "%s", e.message), 1;
    for (i = 0; i < n; i++) fwrite(hybrid_logits_at(c, 0, i), 4, info.n_vocab, stdout);
    return 0;
}
"""
# keys that both read; the architecture goes before them. (suffix, value): a value set; the tokenizer's are left alone.
SET = [("rope.scaling.factor", 0.0), ("rope.scaling.factor", 4.0), ("rope.scale_linear", 4.0),
       ("rope.scale_linear", 0.0), ("rope.scaling.original_context_length", 0),
       ("rope.scaling.attn_factor", 2.0), ("rope.scaling.attn_factor", 0.0), ("rope.freq_base", 0.0),
       ("rope.freq_base_swa", 500.0), ("rope.dimension_count", 0),
       ("rope.scaling.type", "none"), ("rope.scaling.type", "yarn"), ("rope.scaling.type", "longrope"),
       ("attention.scale", 0.3), ("attention.scale", 0.0),
       ("attention.sliding_window", 0), ("attention.sliding_window", 8), ("attention.sliding_window_pattern", 3),
       ("attn_logit_softcapping", 0.0),
       ("final_logit_softcapping", 0.0), ("attn_logit_softcapping", 5.0), ("final_logit_softcapping", 5.0),
       ("expert_used_count", 0), ("expert_count", 0),
       ("expert_weights_norm", False), ("expert_weights_scale", 2.0), ("attention.causal", False),
       ("logit_scale", 0.5), ("rope.scaling.yarn_ext_factor", 0.0),
       ("attention.layer_norm_rms_epsilon", 0.0), ("attention.key_length_swa", 8), ("use_parallel_residual", True),
       ("attention.clamp_kqv", 1.0)]
PAIRS = [(("rope.scaling.type", "none"), ("rope.scaling.factor", 4.0)),
         (("rope.scaling.type", "yarn"), ("rope.scaling.factor", 4.0)),
         (("rope.scaling.type", "yarn"), ("rope.scaling.factor", 0.0)),
         (("rope.scaling.factor", 2.0), ("rope.scale_linear", 4.0)),
         (("rope.scaling.type", "longrope"), ("rope.scaling.factor", 4.0)),
         (("rope.scaling.factor", 4.0), ("rope.scaling.attn_factor", 2.0))]
# of families whose layers are no transformer's
RECURRENT = [("wkv.head_size", 16), ("wkv.head_size", 0), ("wkv.head_size", 24), ("token_shift_count", 1),
             ("token_shift_count", 2),
             ("shortconv.l_cache", 4), ("shortconv.l_cache", 1), ("rescale_every_n_layers", 1),
             ("attention.head_count", 7),
             ("attention.head_count_kv", 1), ("attention.gate_lora_rank", 0), ("attention.decay_lora_rank", 9),
             ("attention.group_norm_epsilon", 0.1), ("attention.layer_norm_epsilon", 0.1), ("feed_forward_length", 7)]
HEAD = """# Files with keys left out or set, in hybrid and in llama.cpp

Made by `check_files.py` with llama-cpp-python %s, f32 KV cache. Every optional key of a tiny model dropped in turn, and keys set; 24 tokens.
%d files give the same logits (within 5e-3 of the largest: llama.cpp's GELU is a table of halves) or are refused by both. The others:

- hybrid computes attention.scale, softcaps, windows and weights of experts wherever a file has the key; llama.cpp reads each for some architectures only.
- hybrid refuses what it would have to leave out; llama.cpp leaves it out.
- A window or cap of 0 is none in hybrid; llama.cpp divides by it.
- gemma2 with scaling "none" and a factor: llama.cpp stretches the layers with a window all the same, hybrid none.
- RWKV-7 and ARWKV-7 with heads of 32 here; llama.cpp computes something else where 32 does not divide the size of a head, and aborts without
  token_shift_count in an ARWKV-7 file.
- No epsilon in a gpt2 file: 1e-5, as every GPT-2 has. No width of the shared expert: that of its matrix.

| file | models | |
| --- | --- | --- |
"""
REQUIRED = ("block_count", "context_length", "embedding_length")


def write(path, reader, drop, put):
    """The file with keys dropped and set."""
    arch = reader.fields["general.architecture"].contents()
    w = gguf.GGUFWriter(path, arch)
    put = {arch + "." + k: v for k, v in put}
    for name, f in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or name in drop or name in put:
            continue
        kind = f.types[0]
        w.add_key_value(name, f.contents(), kind, f.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    for name, v in put.items():
        w.add_bool(name, v) if isinstance(v, bool) else w.add_string(name, v) if isinstance(v, str) else w.add_float32(name, v) if isinstance(v, float) else w.add_uint32(name, v)
    for t in reader.tensors:
        w.add_tensor(t.name, np.array(t.data, np.float32).reshape([int(n) for n in t.shape[::-1]]))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def wide_rwkv(name, path):
    """make_rwkv.py's model with heads that llama.cpp can compute."""
    import make_rwkv
    m = make_rwkv.MODELS[name]
    m.update(n=64, s=32)
    make_rwkv.write_model(path, "wide " + name, m["arch"], make_rwkv.make_model(name), m["tokenizer"])
    return path


def ours(program, path, ids):
    p = subprocess.run([program, path] + [str(i) for i in ids], capture_output=True)
    if p.returncode:
        return p.stderr.decode()
    return np.frombuffer(p.stdout, np.float32).reshape(len(ids), -1)


THEIRS = r"""
import sys, ctypes
sys.path.insert(0, sys.argv[1])
import crosscheck, llama_cpp as L, numpy as np
silent = L.llama_log_callback(lambda level, text, user: None)
L.llama_log_set(silent, ctypes.c_void_p(0))
L.llama_backend_init()
for line in sys.stdin:
    path, *ids = line.split()
    try:
        out = crosscheck.llama_logits(path, [int(i) for i in ids])
        np.save(path + ".npy", out)
        print("ok", flush=True)
    except SystemExit as e:
        print("refused", flush=True)
"""


class Theirs:
    """llama.cpp in a process of its own, since some files abort it, and since it refuses everything after some
    failures."""
    def __init__(self):
        self.p = None

    def ask(self, line):
        if not self.p:
            self.p = subprocess.Popen([sys.executable, "-c", THEIRS, HERE], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True, env=dict(os.environ, GGML_NO_BACKTRACE="1"))
        try:
            self.p.stdin.write(line)
            self.p.stdin.flush()
            ready = select.select([self.p.stdout], [], [], 30)[0]      # what aborts may hang in its own backtrace
            answer = self.p.stdout.readline().strip() if ready else ""
        except BrokenPipeError:
            answer = ""
        if answer != "ok":
            self.p.kill()
            self.p = None
        return answer

    def logits(self, path, ids):
        line = " ".join([path] + [str(i) for i in ids]) + "\n"
        answer = self.ask(line)
        if answer == "refused":
            answer = self.ask(line)
        if answer == "ok":
            out = np.load(path + ".npy")
            os.remove(path + ".npy")
            return out
        return "refuses" if answer else "aborts"


def verdict(a, b, base):
    """a: hybrid's logits or words, b: llama.cpp's."""
    if isinstance(a, str) and isinstance(b, str):
        return "both refuse", True
    if isinstance(a, str):
        what = "llama.cpp computes what it would without the key" if base is not None and np.abs(b - base).max(
            ) < 1e-6 else "llama.cpp gives NaN" if not np.isfinite(b).all() else "llama.cpp computes"
        return "hybrid refuses, %s" % what, False
    if isinstance(b, str):
        return "llama.cpp " + b, False
    if not np.isfinite(b).all() or not b.any():
        return "llama.cpp gives NaN" if b.any() else "llama.cpp gives zeros", False
    d = np.abs(a - b).max() / np.abs(b).max()
    return "%.1e apart" % d, d < 5e-3


def main():
    o = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    o.add_argument("--hybrid")
    o.add_argument("models", nargs="*")
    o = o.parse_args()
    names = o.models or ["gpt2", "llama", "llama-rope-linear", "qwen2", "qwen3", "gemma2", "gemma3",
                         "gemma3-rope-linear", "phi3", "phi3-longrope", "mixtral", "qwen2moe", "qwen3moe", "openelm",
                         "lfm2",
                         "lfm2-conv", "rwkv7", "arwkv7"]
    rows, same, theirs = {}, 0, Theirs()
    with tempfile.TemporaryDirectory() as tmp:
        program = o.hybrid or os.path.join(tmp, "hybrid")
        if not o.hybrid:
            source = os.path.join(tmp, "h.c")
            open(source, "w").write(PROGRAM)
            subprocess.check_call(["cc", "-O1", "-w", "-DHYBRID_NO_SIMD", "-I", ROOT, source, "-o", program, "-lm"])
        for name in names:
            recurs = name in ("lfm2", "lfm2-conv", "rwkv7", "arwkv7")
            path = os.path.join(OUT, name + ".gguf")
            reader = gguf.GGUFReader(wide_rwkv(name, os.path.join(tmp, "wide.gguf")) if "rwkv" in name else path)
            arch = reader.fields["general.architecture"].contents()
            ids = [int(i * 37 + 5) % 128 for i in range(24)]
            own = [k for k in reader.fields if k.startswith(arch + ".") and k.split(".", 1)[1] not in REQUIRED]
            files = [([], [])] + [([k], []) for k in own]
            files += [([], [s]) for s in SET + RECURRENT * recurs] + [([], list(p)) for p in PAIRS]
            base = None
            for n, (drop, put) in enumerate(files):
                path = os.path.join(tmp, "%s-%d.gguf" % (name, n))
                write(path, reader, drop, put)
                a, b = ours(program, path, ids), theirs.logits(path, ids)
                if n == 0:
                    base = b
                words, good = verdict(a, b, base)
                same += good
                said = ", ".join(["without " + k.split(".", 1)[1] for k in drop] +
                                 ["%s = %s" % s for s in put]) or "as it is"
                if not good:
                    rows.setdefault((said, "other logits" if "apart" in words else words), []).append(name)
                    print("%-20s %-60s %s" % (name, said, words), flush=True)
                os.remove(path)
    print("%d alike, %d not" % (same, sum(map(len, rows.values()))))
    if not o.models:
        import llama_cpp
        with open(os.path.join(OUT, "FILES.md"), "w") as f:
            f.write(HEAD % (llama_cpp.__version__, same) +
                    "".join("| %s | %s | %s |\n" % (said, " ".join(sorted(who)), words) for (said, words),
                            who in sorted(rows.items())))


if __name__ == "__main__":
    main()
