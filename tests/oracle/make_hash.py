#!/usr/bin/env python3
"""Vectors of SipHash-1-3, from CPython 3.11 and later, which hashes bytes with it: PYTHONHASHSEED=n gives it a known
key.

    python3 tests/oracle/make_hash.py > tests/oracle/data/hash.txt

A line: key 0, key 1, number of bytes, hash. The bytes are 0, 1, 2, ... modulo 251. CPython has no vector for no bytes
at all (it returns 0 there), and -1 is -2 to it: the latter is left out."""
import os
import subprocess
import sys

LENGTHS = list(range(1, 34)) + [63, 64, 65, 255, 256, 257, 1000]


def key_of(seed):
    """The 16 bytes that CPython makes of PYTHONHASHSEED (its lcg_urandom); 0 is a key of zeros."""
    x, out = seed, bytearray()
    for _ in range(16 if seed else 0):
        x = (x * 214013 + 2531011) & 0xFFFFFFFF
        out.append(x >> 16 & 255)
    out = bytes(out) or bytes(16)
    return int.from_bytes(out[:8], "little"), int.from_bytes(out[8:], "little")


def main():
    assert sys.hash_info.algorithm == "siphash13" and sys.hash_info.cutoff == 0, "this Python hashes by something else"
    program = "for n in %r: print(n, hash(bytes(i %% 251 for i in range(n))))" % LENGTHS
    for seed in (0, 20261129, 4294967295):
        told = subprocess.run([sys.executable, "-c", program], env=dict(os.environ, PYTHONHASHSEED=str(seed)),
                              stdout=subprocess.PIPE, check=True)
        for line in told.stdout.decode().splitlines():
            n, value = map(int, line.split())
            if value != -2:
                print("%016x %016x %d %016x" % (key_of(seed) + (n, value & 0xFFFFFFFFFFFFFFFF)))


main()
