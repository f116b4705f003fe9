#!/usr/bin/env python3
"""The order of training windows (src/train/permute.c) once more, by its description: prints the numbers that
tests/test_data.c knows. Needs nothing but Python."""


def philox(seed, stream, counter):
    c = [counter & 0xFFFFFFFF, counter >> 32, stream & 0xFFFFFFFF, stream >> 32]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b & 0xFFFFFFFF, (a >> 32) ^ c[3] ^ k[1], a & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def permute(seed, epoch, n, i):
    bits = max(1, (n - 1).bit_length())
    while True:
        high, low = bits - bits // 2, bits // 2
        for turn in range(8):
            left, right = divmod(i, 1 << low)
            random = philox(seed, epoch, right << 8 | turn)
            left ^= (random[1] << 32 | random[0]) % (1 << high)
            i = right << high | left
            high, low = low, high
        if i < n:
            return i


assert sorted(permute(7, 1, 1000, i) for i in range(1000)) == list(range(1000))
for bits in (40, 41):
    print(", ".join(str(permute(1234, 5, 1 << bits, i)) for i in range(3)))
