#!/usr/bin/env python3
"""RWKV-7 as GGUF: tiny random models with what rwkv7.py computes for them, and a trained one of rwkv.cpp converted.

    python tests/oracle/make_rwkv.py [NAME...]             needs numpy and gguf
    python tests/oracle/make_rwkv.py --check [FILE]        compares larger models (and one of rwkv.cpp) with llama.cpp
    python tests/oracle/make_rwkv.py --convert FILE OUT    a byte-level model of rwkv.cpp (version 101, RWKV-7) as GGUF

Writes data/models/NAME.gguf and NAME.ref.gguf in the form of make_models.py. Their heads are small, to keep the files
small. llama.cpp's kernels with vectors take heads of a multiple of 32 and compute something else for these, so --check
compares models that differ in nothing but the size. The references are computed in double precision. In a reference
file ref.embd is what goes into layer 0, after the norm of the embeddings.
"""
import argparse
import os
import sys
import tempfile
import zlib

import gguf
import numpy as np

import rwkv7
from make_models import N_GREEDY, OUT, finish, input_ids, write_reference
from tiny_tokenizers import N_VOCAB, TOKENIZERS

# n: n_embd; s: size of a head; ranks of w, a, v, g. All differ, so that none can stand for another.
MODELS = {
    "rwkv7": dict(arch="rwkv7", n=32, s=16, n_ff=64, n_layer=3, tokenizer="rwkv", w=8, a=12, v=4, g=20),
    "arwkv7": dict(arch="arwkv7", n=32, s=8, n_ff=48, n_layer=2, tokenizer="qwen2", w=12, a=4, v=8, g=0),
}
SEEDS = {"rwkv7": 4, "arwkv7": 1}      # as in make_models.py

CHECKED = [(64, 32), (128, 64), (64, 64)]      # n_embd and size of a head of the models that llama.cpp computes

# names of the checkpoint to those of GGUF
HEAD = {"emb.weight": "token_embd.weight", "ln0.weight": "token_embd_norm.weight", "ln0.bias": "token_embd_norm.bias",
        "ln_out.weight": "output_norm.weight", "ln_out.bias": "output_norm.bias", "head.weight": "output.weight"}
LAYER = {"ln1.weight": "attn_norm.weight", "ln1.bias": "attn_norm.bias",
         "ln2.weight": "attn_norm_2.weight", "ln2.bias": "attn_norm_2.bias",
         "att.x_rwkvag": "time_mix_lerp_fused.weight",
         "att.receptance.weight": "time_mix_receptance.weight", "att.key.weight": "time_mix_key.weight",
         "att.value.weight": "time_mix_value.weight", "att.output.weight": "time_mix_output.weight",
         "att.ln_x.weight": "time_mix_ln.weight", "att.ln_x.bias": "time_mix_ln.bias",
         "ffn.x_k": "channel_mix_lerp_k.weight", "ffn.key.weight": "channel_mix_key.weight",
         "ffn.value.weight": "channel_mix_value.weight", "ffn.norm.weight": "ffn_norm.weight",
         "ffn.gate.weight": "ffn_gate.weight", "ffn.up.weight": "ffn_up.weight", "ffn.down.weight": "ffn_down.weight"}
LAYER.update({"att." + k: "time_mix_%s.weight" % k for k in "w0 w1 w2 a0 a1 a2 v0 v1 v2 g1 g2 k_k k_a r_k".split()})


def make_model(name):
    """Weights with which the state matters: decays from fast to slow, keys that overlap, no layer drowns others."""
    m = MODELS[name]
    n, n_ff = m["n"], m["n_ff"]

    def normal(key, *shape):
        rng = np.random.default_rng([SEEDS[name], zlib.crc32(key.encode())])
        return rng.standard_normal(shape).astype(np.float32)

    def matrix(key, rows, cols, gain=1.0):
        return normal(key, rows, cols) * np.float32(gain / np.sqrt(cols))

    def vector(key, mean, spread, size=n):
        return (mean + spread * normal(key, size)).astype(np.float32)
    goose = m["arch"] == "rwkv7"
    head = {"emb.weight": normal("emb", N_VOCAB, n), "ln_out.weight": vector("ln_out", 1, 0.2),
            "head.weight": matrix("head", N_VOCAB, n, 2.0)}
    if goose:
        head.update({"ln0.weight": vector("ln0", 1, 0.2), "ln0.bias": vector("ln0b", 0, 0.2),
                     "ln_out.bias": vector("ln_outb", 0, 0.2)})
    layers = []
    for i in range(m["n_layer"]):
        at = "%d." % i
        p = {"ln1.weight": vector(at + "ln1", 1, 0.2)}
        for c, rank in (("w", m["w"]), ("a", m["a"]), ("v", m["v"]), ("g", m["g"])):
            if not rank or (c == "v" and i == 0):
                continue
            p["att.%s1" % c] = matrix(at + c + "1", rank, n, 1.5)
            p["att.%s2" % c] = matrix(at + c + "2", n, rank, 1.5)
            if c != "g":
                p["att.%s0" % c] = vector(at + c + "0", -1.0 if c == "w" else 0.0, 1.0)
        p["att.x_rwkvag"] = (0.5 + 0.4 * normal(at + "lerp", 6 if m["g"] else 5, n)).astype(np.float32)
        p["att.k_k"], p["att.k_a"] = vector(at + "k_k", 0.8, 0.3), vector(at + "k_a", 0.8, 0.3)
        p["att.r_k"] = (0.3 * normal(at + "r_k", n // m["s"], m["s"])).astype(np.float32)
        for c in ("receptance", "key", "value", "output"):
            p["att.%s.weight" % c] = matrix(at + c, n, n)
        if goose:
            p.update({"ln1.bias": vector(at + "ln1b", 0, 0.2), "ln2.weight": vector(at + "ln2", 1, 0.2),
                      "ln2.bias": vector(at + "ln2b", 0, 0.2),
                      "att.ln_x.weight": vector(at + "ln_x", 1, 0.3), "att.ln_x.bias": vector(at + "ln_xb", 0, 0.2),
                      "ffn.x_k": vector(at + "x_k", 0.5, 0.4),
                      "ffn.key.weight": matrix(at + "up", n_ff, n), "ffn.value.weight": matrix(at + "down", n, n_ff)})
        else:
            p.update({"ffn.norm.weight": vector(at + "ln2", 1, 0.2), "ffn.gate.weight": matrix(at + "gate", n_ff, n),
                      "ffn.up.weight": matrix(at + "up", n_ff, n), "ffn.down.weight": matrix(at + "down", n, n_ff)})
        layers.append(p)
    return dict(head=head, layers=layers, n_head=n // m["s"])


def write_model(path, name, arch, model, tokenizer):
    """The keys and tensors that llama.cpp's converter writes. llama.cpp wants v0, v1, v2 in layer 0, too, where it does
    not use them: they are copies of a's."""
    layers = model["layers"]
    n_vocab, n = model["head"]["emb.weight"].shape
    later = layers[1] if len(layers) > 1 else layers[0]
    w = gguf.GGUFWriter(path, arch)
    w.add_name(name)
    w.add_file_type(0)
    w.add_context_length(1048576)
    w.add_embedding_length(n)
    w.add_block_count(len(layers))
    w.add_feed_forward_length(len(layers[0].get("ffn.key.weight", layers[0].get("ffn.gate.weight"))))
    w.add_head_count(0)
    w.add_wkv_head_size(n // model["n_head"])
    w.add_decay_lora_rank(len(later["att.w1"]))
    w.add_iclr_lora_rank(len(later["att.a1"]))
    w.add_value_residual_mix_lora_rank(len(later["att.v1"]))
    w.add_gate_lora_rank(len(later["att.g1"]) if "att.g1" in later else 0)
    if arch == "rwkv7":
        w.add_layer_norm_eps(rwkv7.LN_EPS)
    else:
        w.add_layer_norm_rms_eps(rwkv7.RMS_EPS)
        w.add_token_shift_count(1)
    TOKENIZERS[tokenizer](w)
    for key, to in HEAD.items():
        if key in model["head"]:
            w.add_tensor(to, np.ascontiguousarray(model["head"][key], np.float32))
    for i, p in enumerate(layers):
        p = dict({"att.v" + k: p["att.a" + k] for k in "012"}, **p)
        for key, x in p.items():
            if key == "att.x_rwkvag":
                x = x.reshape(-1, 1, 1, n)
            if key == "att.r_k":
                x = x.ravel()
            w.add_tensor("blk.%d.%s" % (i, LAYER[key]), np.ascontiguousarray(x, np.float32))
    finish(w)


def reference(name, model):
    ids = input_ids(name)
    out = rwkv7.run(model, ids)
    more, greedy, gaps = list(ids), [], []
    for _ in range(N_GREEDY):
        last = rwkv7.run(model, more)["logits"][-1]
        a, b = np.argsort(last, kind="stable")[::-1][:2]
        greedy.append(int(a))
        gaps.append(float(last[a] - last[b]))
        more.append(int(a))
    out.update(ids=np.array(ids), greedy=np.array(greedy), greedy_gap=np.array(gaps))
    return out


def make(name):
    model = make_model(name)
    out = reference(name, model)
    m = MODELS[name]
    write_model(os.path.join(OUT, name + ".gguf"), "tiny " + name, m["arch"], model, m["tokenizer"])
    write_reference(name, out, "tests/oracle/rwkv7.py, float64")
    sizes = [os.path.getsize(os.path.join(OUT, name + end)) for end in (".gguf", ".ref.gguf")]
    print("%-20s logit std %.2f, greedy: %2d distinct, least gap %.4f, %d + %d bytes" % (
        name, out["logits"].std(), len(set(out["greedy"])), out["greedy_gap"].min(), *sizes), flush=True)


def compare(path, model, ids):
    """Largest difference of a logit to llama.cpp's, relative to the largest: all tokens at once, and one by one."""
    from crosscheck import llama_logits
    want = rwkv7.run(model, ids)["logits"]
    return [np.abs(llama_logits(path, ids, n_batch) - want).max() / np.abs(want).max() for n_batch in (len(ids), 1)]


def check(trained):
    import crosscheck
    crosscheck.be_silent()
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.gguf")
        for name, m in MODELS.items():
            for n, s in CHECKED:
                m.update(n=n, s=s)
                model = make_model(name)
                write_model(path, name, m["arch"], model, m["tokenizer"])
                off = compare(path, model, input_ids(name))
                print("%-8s n_embd %3d, heads of %d: %.1e at once, %.1e one by one" % (name, n, s, *off), flush=True)
                worst = max(worst, *off)
        if trained:
            model = rwkv7.read_rwkv_cpp(trained)
            write_model(path, "trained", "rwkv7", model, "rwkv-bytes")
            off = compare(path, model, list(b'"in the beginning was the word'))
            print("%s: %.1e at once, %.1e one by one" % (os.path.basename(trained), *off))
            worst = max(worst, *off)
    return worst > 1e-5


def find_seeds(names):
    for name in names:
        for seed in range(1, 400):
            SEEDS[name] = seed
            out = reference(name, make_model(name))
            if out["greedy_gap"].min() > 0.04 and len(set(out["greedy"])) >= 10:
                break
        print('    "%s": %d,' % (name, seed), flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("names", nargs="*", metavar="NAME")
    a.add_argument("--check", nargs="?", const="", metavar="FILE")
    a.add_argument("--convert", nargs=2, metavar=("FILE", "OUT"))
    a.add_argument("--find-seeds", action="store_true", help="print a SEEDS table instead of making")
    o = a.parse_args()
    if o.convert:
        model = rwkv7.read_rwkv_cpp(o.convert[0])
        assert len(model["head"]["emb.weight"]) == 256, "not a model of bytes"
        write_model(o.convert[1], os.path.basename(o.convert[0]), "rwkv7", model, "rwkv-bytes")
    elif o.check is not None:
        sys.exit(check(o.check))
    elif o.find_seeds:
        find_seeds(o.names or MODELS)
    else:
        for name in o.names or MODELS:
            make(name)


if __name__ == "__main__":
    main()
