#!/usr/bin/env python3
"""Makes the oracle files of tests/test_quant.c: what other people's code says about our formats.

    quant_decode.bin   per type: u32 number, values and bytes of a block, values of all, the name in 8 characters,
                       random blocks, and their values by gguf-py (pip: gguf, numpy)
    quant_error.txt    per type and kind of rows: the error (RMS, in 1e-9 of the unit) that llama.cpp's encoders leave
                       (pip: llama-cpp-python 0.3.36, for its libggml); the rows are made by the same arithmetic in
                       test_quant.c

    quant_mix.txt      for small models of several kinds, the type that llama.cpp gives each tensor in each mix

    python3 tests/oracle/make_quant.py
"""
import ctypes
import glob
import os
import re
import struct
import tempfile

import gguf
import llama_cpp
import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


def types_of(lists):
    """The names in a list of src/quant/types.inc, which gguf-py has, too."""
    with open(os.path.join(HERE, "..", "..", "..", "src", "quant", "types.inc"), encoding="utf-8") as f:
        rows = re.search(r"#define %s\(X\)((?:.*\\\n)*.*\n)" % lists, f.read()).group(1)
    return re.findall(r"X\((\w+),", rows)


FLOAT_TYPES, BLOCK_TYPES = types_of("HYB_FLOAT_TYPES"), types_of("HYB_BLOCK_TYPES")


def kind_of(name):
    kind = gguf.GGMLQuantizationType[name]
    return (kind, *gguf.GGML_QUANT_SIZES[kind])


def decoded(raw, kind):
    with np.errstate(all="ignore"):
        return np.asarray(gguf.quants.dequantize(raw.reshape(-1), kind), np.float32).reshape(-1)


def random_block(rng, kind, size):
    """Bytes at random, which are numbers: scales of any size, so nobody has to know where they lie."""
    while True:
        raw = rng.integers(0, 256, size, dtype=np.uint8)
        if np.isfinite(decoded(raw, kind)).all():
            return raw


def decode():
    with open(os.path.join(HERE, "quant_decode.bin"), "wb") as f:
        for name in FLOAT_TYPES + BLOCK_TYPES:
            kind, block, size = kind_of(name)
            rng = np.random.default_rng(20 + kind)
            n = 256 if block > 1 else 64
            if block == 1:
                raw = rng.normal(0, 1, n).astype(np.float32 if size == 4 else np.float16).view(np.uint8)
            else:
                raw = np.concatenate([random_block(rng, kind, size) for _ in range(n // block)])
            f.write(struct.pack("<IIII8s", kind, block, size, n, name.encode()) + raw.tobytes() +
                    decoded(raw, kind).tobytes())


class Random:
    def __init__(self, seed):
        self.state = seed

    def __call__(self):                     # 0 <= u < 1, 24 bits
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 40) / 16777216.0


KINDS = ["normal", "heavy", "outliers", "tiny", "subnormal", "offset", "sparse", "constant", "steps"]


def rows(kind, seed=1, n_rows=16, n=256):
    """The same as make_rows in test_quant.c, operation for operation."""
    u, k, out = Random(seed), KINDS.index(kind), []
    level = 0.0
    for i in range(n_rows * n):
        z = u() + u() + u() + u() - 2.0
        pick = u()
        if k == 0: v = 0.05 * z
        elif k == 1: v = 0.05 * z * z * z
        elif k == 2: v = 0.05 * z * (30.0 if pick < 0.01 else 1.0)
        elif k == 3: v = 1e-5 * z
        elif k == 4: v = 3e-7 * z
        elif k == 5: v = 5.0 + 0.3 * z
        elif k == 6: v = 0.05 * z if pick < 0.1 else 0.0
        elif k == 7:
            if i % n == 0: level = z
            v = level
        else:
            if i % 16 == 0: level = 0.001 + pick * pick * pick
            v = level * z
        out.append(v)
    return np.array(out).astype(np.float32).reshape(n_rows, n)


def importance(n=256):
    u, out = Random(7), []
    for _ in range(n):
        a = u()
        out.append(0.01 + a * a * a)
    return np.array(out).astype(np.float32)


def error():
    lib = ctypes.CDLL(glob.glob(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))[0])
    lib.ggml_quantize_chunk.restype = ctypes.c_size_t
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p,
                                        ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    with open(os.path.join(HERE, "quant_error.txt"), "w") as f:
        for name in BLOCK_TYPES:
            kind, block, size = kind_of(name)
            for row_kind in KINDS + ["importance"]:
                x = rows("normal" if row_kind == "importance" else row_kind)
                w = importance() if row_kind == "importance" else None
                raw = np.zeros(x.size // block * size, np.uint8)
                lib.ggml_quantize_chunk(int(kind), x.ctypes.data, raw.ctypes.data, 0, x.shape[0], x.shape[1],
                                        w.ctypes.data if w is not None else None)
                y = gguf.quants.dequantize(raw, kind).reshape(x.shape).astype(np.float64)
                e = np.sqrt(((1.0 if w is None else w.astype(np.float64)) * (y - x) ** 2).mean())
                f.write(f"{int(kind)} {row_kind} {e * 1e9:.6g}\n")


MIXES = [0, 1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 32]
MODELS = [  # name, architecture, layers, experts, heads, kv heads, width, feed-forward, tied output
    ("usual", "llama", 18, 0, 4, 4, 256, 512, False),
    ("tied, few kv heads", "qwen2", 10, 0, 8, 2, 256, 768, True),
    ("one matrix for q, k, v", "phi3", 9, 0, 4, 4, 256, 512, False),
    ("experts", "llama", 8, 8, 8, 2, 256, 512, False),
    ("experts", "qwen3moe", 8, 16, 8, 2, 256, 512, False),
    ("rows of 64 and of 40", "llama", 8, 0, 4, 2, 64, 40, False),
    ("its own rules", "falcon", 16, 0, 4, 4, 256, 512, False),
    ("its own rules", "gpt2", 8, 0, 4, 4, 256, 512, False),
    ("no attention", "rwkv7", 8, 0, 4, 4, 256, 512, False),
    ("attention in some layers", "lfm2", 12, 0, 8, 2, 256, 512, True),
]
RWKV7 = {"lerp_fused": (6, 1, 1, 256), "w0": (256,), "w1": (64, 256), "w2": (256, 64), "a1": (64, 256),
         "a2": (256, 64), "v1": (64, 256),
         "v2": (256, 64), "g1": (64, 256), "g2": (256, 64), "k_k": (256,), "r_k": (256,), "receptance": (256, 256),
         "key": (256, 256),
         "value": (256, 256), "output": (256, 256), "ln": (256,)}


def attends(arch, i):
    return arch != "rwkv7" and (arch != "lfm2" or i % 3 == 2)


def recurrent_tensors(arch, i, width):
    b = f"blk.{i}."
    if arch == "lfm2":
        yield b + "shortconv.conv.weight", (width, 3)
        yield b + "shortconv.in_proj.weight", (2, width)
        yield b + "shortconv.out_proj.weight", (2, width)
    elif i < 2:
        for name, shape in RWKV7.items():
            yield b + f"time_mix_{name}.weight", shape
        yield b + "channel_mix_lerp_k.weight", (1, 1, width)
        yield b + "channel_mix_key.weight", (2, width)
        yield b + "channel_mix_value.weight", (2, width)


def tensors(arch, layers, experts, width, ff, tied):
    yield "token_embd.weight", (2, width)
    if arch == "gpt2":
        yield "position_embd.weight", (2, width)
    if not tied:
        yield "output.weight", (2, width)
    yield "output_norm.weight", (width,)
    for i in range(layers):
        b = f"blk.{i}."
        if arch == "rwkv7":
            yield from recurrent_tensors(arch, i, width)
            continue
        if not attends(arch, i):
            yield from recurrent_tensors(arch, i, width)
            yield b + "ffn_down.weight", (2, ff)
            continue
        if i == (2 if arch == "lfm2" else 0):                          # nothing about these depends on the layer
            yield b + "attn_norm.weight", (width,)
            yield b + "attn_output.bias", (width,)
            yield b + "attn_output.weight", (2, width)
            yield b + ("ffn_up_exps.weight" if experts else "ffn_up.weight"), (2, 2, width) if experts else (2, width)
            if experts:
                yield b + "ffn_gate_inp.weight", (2, width)
            if arch not in ("phi3", "falcon", "gpt2"):
                yield b + "attn_q.weight", (2, width)
                yield b + "attn_k.weight", (2, width)
        yield b + ("attn_qkv.weight" if arch in ("phi3", "falcon", "gpt2") else "attn_v.weight"), (2, width)
        yield b + ("ffn_down_exps.weight" if experts else "ffn_down.weight"), (2, 2, ff) if experts else (2, ff)


def mix():
    quiet = llama_cpp.llama_log_callback(lambda level, text, user: None)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(HERE, "quant_mix.txt"), "w") as f:
        source, result = os.path.join(folder, "in.gguf"), os.path.join(folder, "out.gguf")
        for what, arch, layers, experts, heads, kv, width, ff, tied in MODELS:
            w = gguf.GGUFWriter(source, arch)
            w.add_block_count(layers)
            w.add_context_length(64)
            w.add_embedding_length(width)
            w.add_feed_forward_length(ff)
            w.add_head_count(heads)
            w.add_head_count_kv([kv * attends(arch, i) for i in range(layers)] if arch == "lfm2" else kv)
            w.add_shortconv_l_cache(3)
            w.add_wkv_head_size(64)
            for rank in (w.add_decay_lora_rank, w.add_iclr_lora_rank, w.add_value_residual_mix_lora_rank,
                         w.add_gate_lora_rank):
                rank(64)
            w.add_layer_norm_rms_eps(1e-5)
            w.add_layer_norm_eps(1e-5)
            w.add_vocab_size(2)
            w.add_tokenizer_model("no_vocab")
            if arch == "phi3":
                w.add_rope_dimension_count(width // heads)
                w.add_sliding_window(64)
            if experts:
                w.add_expert_count(experts)
                w.add_expert_used_count(2)
                w.add_expert_feed_forward_length(ff)
            names = []
            for name, shape in tensors(arch, layers, experts, width, ff, tied):
                names.append(name)
                w.add_tensor(name, np.ones(shape, np.float32))
            w.write_header_to_file()
            w.write_kv_data_to_file()
            w.write_tensors_to_file()
            w.close()
            f.write(f"model {arch} {layers} {experts} {heads} {kv} {int(tied)} {len(names)}\n")
            if arch == "lfm2":
                f.write("heads " + " ".join(str(kv * attends(arch, i)) for i in range(layers)) + "\n")
            for name, shape in tensors(arch, layers, experts, width, ff, tied):
                f.write(" ".join(map(str, [name, len(shape), *shape[::-1]])) + "\n")
            for number in MIXES:
                p = llama_cpp.llama_model_quantize_default_params()
                p.ftype = number
                p.nthread = 1
                if llama_cpp.llama_model_quantize(source.encode(), result.encode(), ctypes.byref(p)):
                    raise SystemExit(f"llama.cpp does not make mix {number} of {what} {arch}")
                types = {t.name: int(t.tensor_type) for t in gguf.GGUFReader(result).tensors}
                f.write(f"mix {number} " + " ".join(str(types[n]) for n in names) + "\n")


decode()
error()
mix()
