#!/usr/bin/env python3
"""Makes the oracle files of tests/test_quant.c: what other people's code says about our formats.

    quant_decode.bin   per type: u32 type, u32 bytes, u32 values, random blocks, and their values by gguf-py (pip: gguf, numpy)
    quant_error.txt    per type and kind of rows: the error (RMS, in 1e-9 of the unit) that llama.cpp's encoders leave
                       (pip: llama-cpp-python 0.3.36, for its libggml); the rows are made by the same arithmetic in test_quant.c

    python3 tests/oracle/quant.py
"""
import ctypes
import glob
import os
import struct

import gguf
import llama_cpp
import numpy as np

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
BLOCK_TYPES = dict(Q4_0=2, Q4_1=3, Q5_0=6, Q5_1=7, Q8_0=8, Q2_K=10, Q3_K=11, Q4_K=12, Q5_K=13, Q6_K=14)
TYPES = dict(BLOCK_TYPES, F16=1, BF16=30)
# where the halves lie in a block, so that random bytes do not make them NaN
HALVES = dict(Q4_0=[0], Q4_1=[0, 2], Q5_0=[0], Q5_1=[0, 2], Q8_0=[0], Q2_K=[80, 82], Q3_K=[108], Q4_K=[0, 2], Q5_K=[0, 2], Q6_K=[208])


def decode():
    rng = np.random.default_rng(20)
    with open(os.path.join(HERE, "quant_decode.bin"), "wb") as f:
        for name, number in TYPES.items():
            kind = gguf.GGMLQuantizationType(number)
            block, size = gguf.GGML_QUANT_SIZES[kind]
            n = 256 if block > 1 else 64
            raw = rng.integers(0, 256, (n // block, size), dtype=np.uint8)
            for at in HALVES.get(name, []):
                raw[:, at:at + 2] = (rng.normal(0, 0.1, n // block)).astype(np.float16).reshape(-1, 1).view(np.uint8)
            if block == 1:
                raw = rng.normal(0, 1, n).astype(np.float16).view(np.uint8)
            values = np.asarray(gguf.quants.dequantize(raw.reshape(-1), kind), np.float32).reshape(-1)
            assert values.size == n and np.isfinite(values).all()
            f.write(struct.pack("<III", number, raw.size, n) + raw.tobytes() + values.tobytes())


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
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
    with open(os.path.join(HERE, "quant_error.txt"), "w") as f:
        for name, number in BLOCK_TYPES.items():
            kind = gguf.GGMLQuantizationType(number)
            block, size = gguf.GGML_QUANT_SIZES[kind]
            for row_kind in KINDS + ["importance"]:
                x = rows("normal" if row_kind == "importance" else row_kind)
                w = importance() if row_kind == "importance" else None
                raw = np.zeros(x.size // block * size, np.uint8)
                lib.ggml_quantize_chunk(number, x.ctypes.data, raw.ctypes.data, 0, x.shape[0], x.shape[1], w.ctypes.data if w is not None else None)
                y = gguf.quants.dequantize(raw, kind).reshape(x.shape).astype(np.float64)
                e = np.sqrt(((1.0 if w is None else w.astype(np.float64)) * (y - x) ** 2).mean())
                f.write(f"{number} {row_kind} {e * 1e9:.6g}\n")


decode()
error()
