#!/usr/bin/env python3
"""Oracles of the GGUF reader and writer, made by gguf-py (pip: gguf).

    python tests/oracle/make_gguf.py            writes tests/oracle/data/gguf/types.gguf and
    tests/oracle/data/gguf/dump.txt python tests/oracle/make_gguf.py FILE...    prints the dump of any files

types.gguf (a few KB): all 13 types of values, arrays of all of them, arrays in arrays, alignment 64, tensors of several
types and dimensions. types-0000N-of-00003.gguf: the same without that alignment, split by gguf-py. empty.gguf: tensors
with a dimension of zero. dump.txt: what gguf-py sees in it and in every GGUF file of the test data (HYBRID_DATA,
default ../shared/data):

    F path version n_keys n_tensors alignment
    K type item_type count crc32 name            (crc32 of the value's bytes after its type; item_type -1: no array)
    T n_tensors crc32                            (crc32 of one text line a tensor: "name type n_dims ne0 ... offset size
    crc32(data)")
"""
import os
import sys
import zlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFValueType as V

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "data", "gguf")
DATA = os.environ.get("HYBRID_DATA", os.path.join(HERE, "..", "..", "..", "shared", "data"))

# Integers that need every byte and the sign; floats that are no short decimals.
SCALARS = [
    ("u8", V.UINT8, 200), ("i8", V.INT8, -100), ("u16", V.UINT16, 60000), ("i16", V.INT16, -30000),
    ("u32", V.UINT32, 4000000000),
    ("i32", V.INT32, -2000000000), ("f32", V.FLOAT32, 0.1), ("bool", V.BOOL, True),
    ("u64", V.UINT64, 18000000000000000000),
    ("i64", V.INT64, -9000000000000000000), ("f64", V.FLOAT64, 0.1),
]
LISTS = {
    "u8": [0, 255, 7], "i8": [-128, 127, 0], "u16": [0, 65535], "i16": [-32768, 32767], "u32": [0, 4294967295],
    "i32": [-2147483648, 2147483647],
    "f32": [1.5, -0.25, 3e38], "bool": [True, False, True, True], "u64": [0, 18446744073709551615],
    "i64": [-9223372036854775808, 9223372036854775807],
    "f64": [1e-300, -1e300],
}
STRINGS = ["", "a", "schön", "日本語", "line\nbreak", "end"]
NUMBERS_2D = [[1, 2, 3], [4], [5, 6]]
STRINGS_2D = [["x", ""], ["yy"], ["", "", "zzz"]]
NUMBERS_3D = [[[1], [2, 3]], [[4, 5, 6]]]


def types_file(path, alignment, **split):
    w = gguf.GGUFWriter(path, "types", **split)
    if alignment:
        w.add_custom_alignment(alignment)
    for name, vtype, value in SCALARS:
        w.add_key_value("one." + name, value, vtype)
    w.add_string("one.string", "grüße\n")
    w.add_key_value("one.empty", "", V.STRING)
    for name, vtype, _ in SCALARS:
        w.add_key_value("list." + name, LISTS[name], V.ARRAY, sub_type=vtype)
    w.add_key_value("list.string", STRINGS, V.ARRAY, sub_type=V.STRING)
    w.add_key_value("nested.i32", NUMBERS_2D, V.ARRAY)
    w.add_key_value("nested.string", STRINGS_2D, V.ARRAY)
    w.add_key_value("nested.deep", NUMBERS_3D, V.ARRAY)
    rng = np.random.default_rng(1)
    w.add_tensor("one_dim", rng.standard_normal(5).astype(np.float32))
    w.add_tensor("two_dim", rng.standard_normal((3, 7)).astype(np.float16))
    w.add_tensor("four_dim", rng.standard_normal((2, 1, 3, 4)).astype(np.float32))
    w.add_tensor("q8_0", gguf.quants.quantize(rng.standard_normal((2, 64)).astype(np.float32), Q.Q8_0),
                 raw_dtype=Q.Q8_0)
    w.add_tensor("q4_0", gguf.quants.quantize(rng.standard_normal((3, 32)).astype(np.float32), Q.Q4_0),
                 raw_dtype=Q.Q4_0)
    w.add_tensor("q6_K", rng.integers(0, 256, (1, 210), dtype=np.uint8), raw_dtype=Q.Q6_K)
    w.add_tensor("bf16", rng.integers(0, 256, (4, 6), dtype=np.uint8), raw_dtype=Q.BF16)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def empty_file(path):
    w = gguf.GGUFWriter(path, "empty")
    rng = np.random.default_rng(2)
    w.add_tensor("first_empty", np.zeros((3, 0), np.float32))
    w.add_tensor("full", rng.standard_normal((3, 5)).astype(np.float32))
    w.add_tensor("no_rows", np.zeros((0, 5), np.float16))
    w.add_tensor("q8_0_no_rows", np.zeros((0, 2, 34), np.uint8), raw_dtype=Q.Q8_0)
    w.add_tensor("full_q8_0", gguf.quants.quantize(rng.standard_normal((2, 64)).astype(np.float32), Q.Q8_0),
                 raw_dtype=Q.Q8_0)
    w.add_tensor("four_dims", np.zeros((2, 0, 3, 4), np.float32))
    w.add_tensor("last_empty", np.zeros((0,), np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def dump(path, name):
    reader = gguf.GGUFReader(path)
    fields = [f for f in reader.fields.values() if not f.name.startswith("GGUF.")]
    yield "F %s %d %d %d %d" % (name, reader.fields["GGUF.version"].parts[0][0], len(fields), len(reader.tensors),
                                reader.alignment)
    for f in fields:
        array = f.types[0] == V.ARRAY
        value = f.parts[3:]
        crc = zlib.crc32(b"".join(p.tobytes() for p in value))
        yield "K %d %d %d %08x %s" % (f.types[0], value[0][0] if array else -1, value[1][0] if array else 1, crc,
                                      f.name)
    crc = 0
    for t in reader.tensors:
        data = zlib.crc32(t.data.tobytes())
        line = "%s %d %d %s %d %d %08x\n" % (t.name, t.tensor_type, len(t.shape), " ".join(str(n) for n in t.shape),
                                             t.data_offset, t.n_bytes, data)
        crc = zlib.crc32(line.encode(), crc)
    yield "T %d %08x" % (len(reader.tensors), crc)


def main():
    if len(sys.argv) > 1:
        for path in sys.argv[1:]:
            print("\n".join(dump(path, path)))
        return
    os.makedirs(OUT, exist_ok=True)
    types_file(os.path.join(OUT, "types.gguf"), 64)
    # gguf-py tells only the first part of an alignment
    types_file(os.path.join(OUT, "types.gguf"), None, split_max_tensors=3)
    empty_file(os.path.join(OUT, "empty.gguf"))
    files = [(name, os.path.join(OUT, name)) for name in ("types.gguf", "empty.gguf")]
    for folder, _, names in sorted(os.walk(DATA)):
        files += [(os.path.relpath(os.path.join(folder, n), DATA), os.path.join(folder, n)) for n in sorted(names)
                  if n.endswith(".gguf")]
    with open(os.path.join(OUT, "dump.txt"), "w", encoding="utf-8", newline="\n") as f:
        for name, path in files:
            f.writelines(line + "\n" for line in dump(path, name))


if __name__ == "__main__":
    main()
