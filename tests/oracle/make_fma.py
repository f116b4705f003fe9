"""Makes data/fma.txt: a * b + c of floats, rounded once, in exact rational arithmetic. Only Python's own integers are
used.

    python3 tests/oracle/make_fma.py

A line: a b c result, the bits in hexadecimal. Half ways, their neighbours, subnormal results, overflow, cancellation,
signed zeros.
"""
import os
import random
from fractions import Fraction

HERE = os.path.dirname(os.path.abspath(__file__))


def value(bits):
    """The number behind the bits of a finite float."""
    sign, exponent, fraction = bits >> 31, bits >> 23 & 255, bits & 0x7FFFFF
    number = Fraction(fraction | (0x800000 if exponent else 0)) * Fraction(2) ** (max(exponent, 1) - 150)
    return -number if sign else number


def nearest(number, zero_sign):
    """Bits of the float nearest to a number, ties to even."""
    if number == 0:
        return zero_sign << 31
    sign, size = (1 if number < 0 else 0), abs(number)
    exponent = -149
    while size / Fraction(2) ** exponent >= 1 << 24:
        exponent += 1
    units = size / Fraction(2) ** exponent
    whole, rest = int(units), units - int(units)
    whole += rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole & 1)
    if whole == 1 << 24:
        whole, exponent = whole >> 1, exponent + 1
    if exponent > 104:
        return sign << 31 | 0x7F800000
    if whole < 1 << 23:
        return sign << 31 | whole
    return sign << 31 | (exponent + 150) << 23 | (whole & 0x7FFFFF)


def fma(a, b, c):
    exact = value(a) * value(b) + value(c)
    product_sign = (a ^ b) >> 31
    both = product_sign and c >> 31
    zero = value(a) * value(b) == 0 and value(c) == 0
    return nearest(exact, 1 if zero and both else 0)


def main():
    random.seed(20261129)
    cases = []

    def some(low, high):
        return random.getrandbits(1) << 31 | random.randint(low, high) << 23 | random.getrandbits(23)
    edge = [0, 1 << 31, 1, 0x007FFFFF, 0x00800000, 0x3F800000, 0x3F800001, 0xBF800000, 0x7F7FFFFF, 0xFF7FFFFF,
            0x00000003, 0x33800000, 0x34000000]
    for a in edge:
        for b in edge[2:9]:
            cases.append((a, b, random.choice(edge)))
    for _ in range(120):                                            # anything
        cases.append((some(1, 254), some(1, 254), some(1, 254)))
    for _ in range(120):                                            # subnormal results
        a, b = some(50, 80), some(20, 60)
        cases.append((a, b, some(0, 2)))
    # c half a last place of the product, and a little more or less
    for _ in range(200):
        a = 0x3F800000 | random.getrandbits(12) << 11
        b = 0x3F800000 | random.getrandbits(11) << 12
        cases.append((a, b, random.getrandbits(1) << 31 |
                      random.choice([0x33000000, 0x33800000, 0x0D800000, 0x05000001, 1, 0x80000000])))
    for _ in range(120):                                            # a product far below half a last place of c decides
        c = some(120, 130)
        tiny = some(60, 64)
        cases.append((tiny, some(20, 60), c))
        half = (c >> 23 & 255) - 24
        cases.append((half << 23, 0x3F800000 | random.choice([0, 1, 0x7FFFFF]), c))
        cases.append((random.getrandbits(1) << 31 | half << 23 | 1, 0x3F7FFFFF, c))
    for _ in range(60):                                             # cancellation
        a, b = some(100, 150), some(100, 150)
        cases.append((a, b, nearest(-value(a) * value(b), 0)))
    with open(os.path.join(HERE, "data", "fma.txt"), "w") as f:
        for a, b, c in cases:
            f.write("%08x %08x %08x %08x\n" % (a, b, c, fma(a, b, c)))


main()
