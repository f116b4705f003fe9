"""The statistics of the study (PROTOCOL.md, "Analysis"), by the standard library alone.

    paired t and its bounds, Holm's correction, the bootstrap, and what a difference of losses is in steps
"""
import math
import random


def mean(values):
    return math.fsum(values) / len(values)


def deviation(values):
    """Of a sample: n - 1."""
    m = mean(values)
    return math.sqrt(math.fsum((v - m) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else math.nan


def incomplete_beta(a, b, x):
    """The regularised one, by the continued fraction of Lentz."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny, f, c, d = 1e-300, 1.0, 1.0, 0.0
    for i in range(400):
        m = i // 2
        if i == 0:
            term = 1.0
        elif i % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d = 1 + term * d
        d = 1 / (d if abs(d) > tiny else tiny)
        c = 1 + term / c if abs(c) > tiny else 1 + term / tiny
        f *= c * d
        if i and abs(1 - c * d) < 1e-15:
            break
    return front * (f - 1)


def t_below(t, df):
    """The part of Student's distribution below t."""
    half = 0.5 * incomplete_beta(df / 2, 0.5, df / (df + t * t))
    return 1 - half if t > 0 else half


def t_quantile(p, df):
    low, high = -1e6, 1e6
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_below(middle, df) < p else (low, middle)
    return (low + high) / 2


def paired(differences):
    """(mean, its error, t, two-sided p) of differences of pairs; p is 1 where nothing can be said."""
    n, m = len(differences), mean(differences)
    error = deviation(differences) / math.sqrt(n) if n > 1 else math.nan
    if n < 2 or error == 0:
        return m, error, math.nan, 1.0 if n < 2 or m == 0 else 0.0
    t = m / error
    return m, error, t, 2 * t_below(-abs(t), n - 1)


def upper_bound(values, level=0.95):
    """Below which the mean is with that confidence, one-sided."""
    if len(values) < 2:
        return math.nan
    return mean(values) + t_quantile(level, len(values) - 1) * deviation(values) / math.sqrt(len(values))


def holm(ps):
    """Corrected p of each, in the order of ps."""
    order, corrected, worst = sorted(range(len(ps)), key=lambda i: ps[i]), [1.0] * len(ps), 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[i]))
        corrected[i] = worst
    return corrected


def slope(curves):
    """b of loss = a(seed) - b ln(steps), by least squares within seeds. curves: a list of {steps: loss}."""
    above = below = 0.0
    for curve in curves:
        if len(curve) < 2:
            continue
        xs, ys = [math.log(n) for n in curve], list(curve.values())
        mx, my = mean(xs), mean(ys)
        above += math.fsum((x - mx) * (y - my) for x, y in zip(xs, ys))
        below += math.fsum((x - mx) ** 2 for x in xs)
    return -above / below if below > 0 else math.nan


def ratio(gain, b):
    """The part of its steps with which an arm, by `gain` below AdamW, would reach what AdamW reaches."""
    return math.exp(max(-50.0, min(50.0, -gain / b))) if b > 0 else math.nan


def bootstrap(gains, curves, n=10000, seed=12):
    """95 % interval of the mean loss difference and of the ratio of steps, seeds resampled in both.

    gains: {seed: gain}; curves: {seed: {steps: loss}} of AdamW, perhaps of fewer seeds."""
    rng, seeds, other = random.Random(seed), sorted(gains), sorted(s for s in curves if len(curves[s]) > 1)
    losses, ratios = [], []
    for _ in range(n):
        drawn = [rng.choice(seeds) for _ in seeds]
        have = [s for s in drawn if s in other] if set(seeds) <= set(other) else [rng.choice(other) for _ in other]
        gain = mean([gains[s] for s in drawn])
        losses.append(gain)
        if have:
            ratios.append(ratio(gain, slope([curves[s] for s in have])))
    return interval(losses), interval([r for r in ratios if not math.isnan(r)])


def interval(values, level=0.95):
    values = sorted(values)
    if not values:
        return math.nan, math.nan

    def at(p):
        where = p * (len(values) - 1)
        i = min(int(where), len(values) - 2)
        return values[i] + (where - i) * (values[i + 1] - values[i]) if len(values) > 1 else values[0]
    return at((1 - level) / 2), at((1 + level) / 2)


def self_test():
    """Against numbers of tables and of mpmath, and cases whose answer is known. A list of what is wrong."""
    wrong = []

    def close(what, is_, should, within=1e-9):
        if not abs(is_ - should) <= within * max(1.0, abs(should)):
            wrong.append("%s is %.12g, and should be %.12g" % (what, is_, should))
    # Student's t: tables, and the incomplete beta function of mpmath
    close("t_quantile(0.975, 7)", t_quantile(0.975, 7), 2.364624251592785)
    close("t_quantile(0.95, 7)", t_quantile(0.95, 7), 1.894578605061305)
    close("t_quantile(0.975, 1)", t_quantile(0.975, 1), 12.706204736432095)
    close("t_quantile(0.025, 30)", t_quantile(0.025, 30), -2.042272456301238)
    close("t_below(0, 3)", t_below(0, 3), 0.5)
    close("t_below(1, 1)", t_below(1, 1), 0.75)                                          # atan(1) / pi + 1/2
    close("t_below(1, 2)", t_below(1, 2), 0.5 + 1 / (2 * math.sqrt(3)))                  # closed form
    close("t_below(-12, 7)", t_below(-12, 7), 3.17915518909255e-06, 1e-16)
    # sleep data of Student 1908, paired: t = -4.0621, df = 9, p = 0.002833
    one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    two = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    m, error, t, p = paired([a - b for a, b in zip(one, two)])
    close("mean of Student's pairs", m, -1.58)
    close("t of Student's pairs", t, -4.062127683382037)
    close("p of Student's pairs", p, 0.00283289019738427)
    close("error of Student's pairs", error, 1.58 / 4.062127683382037)
    close("bound of Student's pairs", upper_bound([a - b for a, b in zip(one, two)]), -0.8669947, 1e-6)
    if paired([0.0, 0.0])[3] != 1.0 or paired([1.0])[3] != 1.0:
        wrong.append("no difference, or one pair, is no evidence")
    # Holm 1979
    for corrected, should in zip(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02]):
        close("Holm", corrected, should)
    for corrected, should in zip(holm([0.9, 0.8, 0.01]), [1.0, 1.0, 0.03]):
        close("Holm, at most one", corrected, should)
    # an exact law, with another constant in each seed
    curves = {s: {n: 3 + s - 0.4 * math.log(n) for n in (900, 1000, 1100)} for s in range(8)}
    close("slope", slope(curves.values()), 0.4)
    holes = [{n: 1 - 0.4 * math.log(n) for n in (900, 1100)}, {1: 2}]
    close("slope of curves with holes", slope(holes), 0.4)
    # 0.4 ln(1 / 0.9) nats below: nine tenths of the steps
    close("ratio", ratio(0.4 * math.log(1 / 0.9), 0.4), 0.9)
    close("ratio of a loss", ratio(-0.4 * math.log(1.1), 0.4), 1.1)
    gains = {s: 0.02 + 0.002 * (s - 3.5) for s in range(8)}
    (low, high), (least, most) = bootstrap(gains, curves, 4000)
    sigma = deviation(list(gains.values())) * math.sqrt(7 / 8) / math.sqrt(8)             # of means of resamplings
    close("bootstrap, below", low, 0.02 - 1.96 * sigma, 0.0004)
    close("bootstrap, above", high, 0.02 + 1.96 * sigma, 0.0004)
    close("bootstrap of ratios, below", least, ratio(high, 0.4), 1e-9)
    close("bootstrap of ratios, above", most, ratio(low, 0.4), 1e-9)
    return wrong


if __name__ == "__main__":
    found = self_test()
    print("\n".join(found) or "the statistics are right")
    raise SystemExit(bool(found))
