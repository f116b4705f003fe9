#!/usr/bin/env python3
"""The 64 numbers that the predictor sees of a run (src/predict/features.c), computed once more.

    python tests/oracle/make_features.py               needs numpy

Writes data/features.txt: of a made-up run of 320 steps, which test_predict.c makes up in the same way, the numbers of
windows 1, 2, 5 and 16, 20 steps each. Straight lines are numpy's polyfit, averages are sums of weights that are written
out, so that nothing here is how the library does it.
"""
import os

import numpy as np

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "features.txt")
STEPS, WINDOW, SHOWN = 320, 20, (1, 2, 5, 16)
LN_V = np.log(512.0)


def noise(i):
    """In [-1, 1]."""
    return np.sin(i * 12.9898) * np.cos(i * 78.233 + 1)


def sight(t):
    """What step t (from 0) shows."""
    rate = 1e-3 * min((t + 1) / 50, 1.0) * (0.5 if t >= 200 else 1.0)
    return dict(loss=1.5 + 4 * np.exp(-t / 120.0) + 0.2 * noise(t),
                grad_norm=0.8 + 2 * np.exp(-t / 60.0) + 0.3 * noise(t + 0.5),
                rate=rate, peak_rate=1e-3, noise_scale=900 + 300 * noise(t + 0.25), batch_tokens=768.0,
                budget=t / 400.0, cos_moment=0.4 + 0.1 * noise(t + 0.75), cos_gradient=0.1 * noise(t + 0.125),
                accumulation=0.25, clipped=t % 3 == 0, phase=(0 if t < 50 else 1 + t // 20 % 3), phase_step=t % 20,
                since_predict=t % 60, consecutive=t // 20 % 5)


def geometry(k):
    """How the weights moved in window k (from 1)."""
    return dict(weights=50 + 0.5 * k, d=1.2 + 0.3 * noise(k), b=2 + 0.4 * noise(k + 0.5), r=0.9 + 0.2 * noise(k + 0.25),
                step=0.1 + 0.02 * noise(k + 0.75), path=3 + 0.2 * noise(k + 0.3),
                cos_prev=0 if k < 2 else 0.1 * noise(k + 0.6), cos_b=0 if k < 2 else 0.2 * noise(k + 0.7),
                cos_s=0 if k < 2 else 0.3 * noise(k + 0.8), hindsight=0 if k < 3 else 0.35 + 0.2 * noise(k + 0.9),
                unexplained=0.9 + 0.05 * noise(k + 0.15),
                by_group=[0 if k < 3 else 0.3 * noise(k + 0.01 * g) for g in range(8)],
                m_mean=1e-3 * (1 + 0.2 * noise(k)), m_std=2e-3, v_mean=3e-3 * (1 + 0.1 * noise(k + 0.35)),
                v_std=4e-3, bias2=1 - 0.95 ** (20 * k), law_residual=0 if k < 4 else 0.05 * noise(k + 0.45),
                law_slope=0 if k < 4 else -0.02 + 0.01 * noise(k + 0.55))


def average(values, part):
    """Of which the newest makes `part`, and the first all there was before it."""
    n = len(values)
    weights = part * (1 - part) ** np.arange(n - 1, -1, -1)
    weights[0] = (1 - part) ** (n - 1)
    return float(weights @ values)


def rest(y):
    x = np.arange(len(y))
    return y - np.polyval(np.polyfit(x, y, 1), x)


def slope(y):
    return np.polyfit(np.arange(len(y)), y, 1)[0]


def known(x):
    return x if x != 0 else np.nan


def raw(t_end, k):
    """NaN where it is not known."""
    seen = [sight(t) for t in range(t_end)]
    g, last = geometry(k), seen[-1]
    l = np.log([s["loss"] for s in seen])
    norms = np.array([s["grad_norm"] for s in seen])
    fast, med, slow = (average(l, a) for a in (1 / 4, 1 / 16, 1 / 64))
    l64, g64 = l[-64:], np.log(norms[-64:])
    sigma = np.std(rest(l64))
    turns = np.sum(np.diff(np.sign(np.diff(l[-32:]))) != 0) / (len(l[-32:]) - 2)
    half = len(l64) // 2
    x = [l[-1] - slow, fast - slow, med - slow, np.log(np.std(rest(l[-32:]))), np.log(np.std(rest(l[-256:]))),
         1e3 * slope(l[-16:]), 1e3 * slope(l[-64:]), 1e3 * slope(l[-256:]),
         1e3 * (slope(l64[half:]) - slope(l64[:half])), 10 * known(g["law_residual"]), known(g["law_slope"]),
         rest(l64)[-1] / sigma, turns - 2 / 3, np.sum(rest(l64)[1:] * rest(l64)[:-1]) / np.sum(rest(l64) ** 2),
         max(l64[j] - l64[i] for i in range(len(l64)) for j in range(i, len(l64))) / sigma, slow - np.log(LN_V)]
    x += [np.log(norms[-1]), np.log(norms[-1]) - average(np.log(norms), 1 / 16),
          np.std(norms[-64:]) / np.mean(norms[-64:]), 1e3 * slope(g64),
          np.mean([s["clipped"] for s in seen[-64:]]), np.log(last["noise_scale"] / 768),
          last["cos_moment"], last["cos_gradient"]]
    x += [np.log(g["step"] / g["weights"]), np.log(g["d"] / g["weights"]), np.log(g["b"] / g["weights"]),
          known(g["cos_prev"]), known(g["cos_b"]), known(g["cos_s"]), g["d"] / g["path"], np.log(g["r"] / g["d"]),
          known(g["hindsight"]), g["unexplained"] if g["hindsight"] else np.nan] + [known(c) for c in g["by_group"]]
    rates = np.array([s["rate"] for s in seen])
    jumps = [0] + [i for i in range(1, t_end) if abs(np.log(rates[i] / rates[i - 1])) > 0.1]
    before = rates[t_end - 1 - WINDOW] if k > 1 else np.nan
    x += [np.log(rates[-1]), rates[-1] / 1e-3, np.log(rates[-1] / before), last["budget"],
          np.log(1 + (t_end - 1 - jumps[-1])), np.log(g["m_mean"]), np.log(g["m_std"]), np.log(g["v_mean"]),
          np.log(g["v_std"]), g["bias2"]]
    x += [float(last["phase"] == i) for i in range(4)]
    x += [last["phase_step"] / 100, last["since_predict"] / 100, last["consecutive"] / 5, 0.25]
    judged = [(j % 3 != 0, abs(2 * noise(j + 0.65)), 5 * noise(j + 0.85)) for j in range(2, k + 1)]
    x += [average(np.array(column, float), 0.1) for column in zip(*judged)] if judged else [np.nan] * 3
    return np.array(x + [1.0])


def standard(history):
    """The newest row by the mean and deviation of all rows, 0.999 as much for each window that they are older."""
    out = np.zeros(64)
    for i in range(64):
        column = history[:, i]
        if 52 <= i < 56 or i == 63:
            out[i] = column[-1]
        elif not np.isnan(column[-1]):
            y = column[~np.isnan(column)]
            w = 0.999 ** np.arange(len(y) - 1, -1, -1)
            mean = np.sum(w * y) / np.sum(w)
            std = np.sqrt(np.sum(w * (y - mean) ** 2) / np.sum(w))
            out[i] = np.clip((y[-1] - mean) / max(std, 1e-3), -5, 5)
    return out


def main():
    rows = np.array([raw(k * WINDOW, k) for k in range(1, STEPS // WINDOW + 1)])
    with open(OUT, "w", encoding="utf-8") as f:
        for k in SHOWN:
            f.write("%d\n%s\n" % (k, "\n".join(" ".join("%.7g" % (x + 0.0) for x in part)
                                              for part in np.split(standard(rows[:k]), 8))))


if __name__ == "__main__":
    main()
